/* bench/lone_host.h - a host for an instance that runs without a worker.
 *
 * What it emits goes where the bench says; it gets neither timers nor descriptors, and nobody wakes
 * it: the bench calls it. */
#ifndef OXB_BENCH_LONE_HOST_H
#define OXB_BENCH_LONE_HOST_H

#include "pe/host.h"

/* lone_host - @emit: as in struct pe_host; called with @ctx. */
struct pe_host lone_host(void *ctx, void (*emit)(void *ctx, unsigned port, struct batch *batch));

#endif
