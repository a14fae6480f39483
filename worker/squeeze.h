/* worker/squeeze.h - little waits between the members of a change, so that its cut comes soon.
 *
 * Owns:       struct squeeze: the channels between members, and the chains at their ends.
 * Threads:    squeeze_: the loop's.  chain_squeeze_: the chain's own.
 * What:       two batches may wait in such a channel, not eight.  A chain at an end of one takes
 *             batches in slices of some two milliseconds of the slowest member's work, hands on at
 *             once what came of each, and takes none while two wait behind it: with one alone the
 *             next member starves while this one is woken.  So a marker finds two slices per
 *             channel before it, whatever waits outside (H21).
 * Invariants: M1 a squeezed chain takes markers, ends and closes all the same.
 *             M2 an instance that has cut is not held back: what it feeds now is of the new graph
 *                (I4).
 *             M3 where a member is held up, also by what is outside, slices are the least there are:
 *                its channel out of the set fills with slices, so that room for the next comes soon. */
#ifndef OXB_WORKER_SQUEEZE_H
#define OXB_WORKER_SQUEEZE_H

#include "worker/chain.h"

struct squeeze {
    struct channel **inside; /* of V, between members: until the change is over */
    size_t count, capacity;
    struct chain **chains; /* at their ends, on this worker */
    size_t chain_count;
};

void squeeze_fini(struct squeeze *s);
void squeeze_add(struct squeeze *s, struct channel *ch);
/* squeeze_begin - the members have their cuts.  @op: of the change, which tells it from others. */
void squeeze_begin(struct squeeze *s, struct instance *const *members, uint32_t member_count,
                   uint64_t op);
/* squeeze_end - the change is over; what it removes stays as narrow as it is. */
void squeeze_end(struct squeeze *s);
/* squeeze_is_tight - is what was sent before it through, and does no more wait than may?  If not:
 * instance_tell follows. */
bool squeeze_is_tight(const struct squeeze *s);

/* chain_squeeze_turn - at the begin of a turn: notes from where on its output is sliced.
 * chain_squeeze_rows - how many rows of a batch it may take at once, now; 0: none.
 * chain_squeeze_pass - after each: what came of it leaves. */
void chain_squeeze_turn(struct chain *c);
uint32_t chain_squeeze_rows(const struct chain *c);
void chain_squeeze_pass(struct chain *c);
/* item_split - the first `rows` of a batch of more, as an item of their own. */
struct item item_split(struct item *it, uint32_t rows);

static inline bool chain_is_squeezed(const struct chain *c)
{
    return atomic_load_explicit(&c->squeeze, memory_order_relaxed) != 0;
}

#endif
