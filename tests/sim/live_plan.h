/* tests/sim/live_plan.h - the PREPARE messages of a plan, as the master itself writes them.
 *
 * A file of its own, because master and worker each have a `struct part`. */
#ifndef OXB_TESTS_SIM_LIVE_PLAN_H
#define OXB_TESTS_SIM_LIVE_PLAN_H

#include "net/messages.h"
#include "topology/plan.h"

/* live_prepare - for worker `worker` (number in V').  @change: V to V'; else V as a deploy.
 * @retain: bytes that logs may hold there; 0: nothing is retained.
 * Return: does it concern the worker?  If so: live_prepare_fini. */
bool live_prepare(const struct plan *p, bool change, uint32_t worker, uint64_t op, uint64_t retain,
                  struct msg *out);
void live_prepare_fini(struct msg *m);
/* live_refused - today's worker cannot carry it out (master/upgrade.h), or the live simulator: a
 * helper thread of worker/moves.c that waits cannot be a step. */
bool live_refused(const struct plan *p);

#endif
