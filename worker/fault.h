/* worker/fault.h - what becomes of a tuple on which a PE fails: tried again, then `on_error`.
 *
 * Threads:    the instance's; the policy is set by the loop.
 * Invariants: U1 every tuple taken is processed, given up (dropped or dead-lettered) or held: I10.
 *             U2 the rows of a batch before the one that fails are processed once, those after it
 *                after it; nothing overtakes within an input.
 *             U3 a source, a timer or an end that fails has no tuple: what is given up is the call.
 * See:        pe/host.h (pe_attempt), worker/hold.h, docs/TOPOLOGY.md (on_error). */
#ifndef OXB_WORKER_FAULT_H
#define OXB_WORKER_FAULT_H

#include "net/states.h"
#include "pe/batch.h"

#include <stdbool.h>
#include <stdint.h>

struct instance;

struct policy { /* of one PE; one word, so that the loop may change it while the PE runs */
    enum plan_then then;
    uint32_t retries;
    uint32_t stuck_after_ms; /* a call that takes longer is stuck; 0: never */
};
static inline uint64_t policy_pack(struct policy p)
{
    return (uint64_t)p.then | (uint64_t)p.retries << 8 | (uint64_t)p.stuck_after_ms << 32;
}
static inline struct policy policy_unpack(uint64_t word)
{
    return (struct policy){(enum plan_then)(word & 0xff), (uint32_t)(word >> 8 & 0xffffff),
                           (uint32_t)(word >> 32)};
}

/* fault_process - give the PE a batch, as its policy has it.  After it: all of it is processed or
 * given up, or what is left is held, or the instance has failed.
 * @stream: for a dead letter. */
void fault_process(struct instance *i, unsigned port, const char *stream,
                   struct batch *batch TAKES);
/* fault_survives - the result of a callback without a tuple: true when the instance may go on.
 * @comes_again: a source is called again by itself, so a failure is tried again by going on. */
bool fault_survives(struct instance *i, int result, bool comes_again);
/* fault_call - make such a call, again if it fails.  Return: as fault_survives. */
bool fault_call(struct instance *i, int (*call)(struct oxb_pe *pe));
/* fault_give_up - the tuple in row 0 of the live ones is given up.  @letter: a dead letter is
 * written; else it is dropped. */
void fault_give_up(struct instance *i, const char *stream, const struct batch *rest, bool letter,
                   const char *error);

#endif
