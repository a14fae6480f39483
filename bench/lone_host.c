/* bench/lone_host.c - a host that has nothing to offer. */
#include "bench/lone_host.h"

static void no_timer_set(void *ctx, uint64_t id, uint64_t due)
{
    (void)ctx, (void)id, (void)due;
}

static void no_timer_clear(void *ctx, uint64_t id)
{
    (void)ctx, (void)id;
}

static int no_watch(void *ctx, int fd, uint32_t events)
{
    (void)ctx, (void)fd, (void)events;
    return -1;
}

static void no_wake(void *ctx)
{
    (void)ctx;
}

struct pe_host lone_host(void *ctx, void (*emit)(void *ctx, unsigned port, struct batch *batch))
{
    return (struct pe_host){ctx, emit, no_timer_set, no_timer_clear, no_watch, no_wake};
}
