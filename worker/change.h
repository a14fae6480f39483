/* worker/change.h - a plan carried out on a running part: instances and channels come and go.
 *
 * Owns:       struct change: the staged part, the cuts, what is retired and not yet freed.
 * Threads:    the loop's.
 * Life:       change_prepare (staged part is READY, cuts installed) -> change_go -> change_update
 *             until it is done (every member here has cut, every old channel closed and compared)
 *             -> the staged part is merged -> what was retired is freed after a grace period.
 *             Before GO: change_abort.
 * Invariants: Z1 nothing that runs notices a change before GO.  Z2 after GO there is no way back.
 *             Z3 one change per part at a time.
 *             Z4 what was retired is freed only when no executor can still hold a pointer to it. */
#ifndef OXB_WORKER_CHANGE_H
#define OXB_WORKER_CHANGE_H

#include "worker/cut.h"
#include "worker/part.h"

/* change_prepare - loop: `staged` (staged->base set, its instances built) becomes the change of its
 * base: channels, wiring, chains, cuts.  ERR_*: staged->fail says why; drop `staged`. */
MUST_CHECK enum err change_prepare(struct part *staged);
/* change_squeeze - all else is ready, so from now on little waits between members: once.
 * change_squeezed - is no more waiting between members than may be?  If not: on_change follows. */
void change_squeeze(struct part *base);
bool change_squeezed(const struct part *base);
/* change_ends_are_known - R3: does the state of each member here say whether it has ended?  It
 * does, and stays so until its cut, but for the moment in which one ends.  If not: on_change
 * follows. */
bool change_ends_are_known(const struct part *base);
/* change_expect - a new part, built: what state comes to it from where it runs already. */
MUST_CHECK enum err change_expect(struct part *d);
void change_go(struct part *base);
void change_abort(struct part *base); /* not after change_go; the staged part is dropped too */
/* change_is_made - has everybody here cut, and is all that was closed compared?  change_update says
 * so next, and what the change removes is there for the last time.
 * change_update - after news from executors or links.  Return: true once, when it is done:
 * `out` is filled (pauses: caller frees), and the part is of the new version. */
bool change_is_made(struct part *base);
bool change_update(struct part *base, struct change_result *out);
uint64_t change_op(const struct part *base); /* of the change that is READY or going; 0: none */
struct part *change_staged(const struct part *base);
/* change_members - those that have a cut; borrowed until the change is over. */
struct instance *const *change_members(const struct part *base, uint32_t *count);
bool change_is_going(const struct part *base);
bool change_is_ready(const struct part *base); /* all that can be done before the cut is done */
const struct fail *change_fail(const struct part *base); /* why it cannot be; NULL: it can */
/* change_on_state, change_on_ack - state on the move, from a peer; change_on_peer: one is back. */
void change_on_state(struct part *base, const struct msg_LINK_STATE *m);
void change_on_ack(struct part *base, const struct msg_LINK_STATE_ACK *m);
void change_on_peer(struct part *base);
/* change_on_will - what that instance, removed by the change of `epoch`, has left is stored, or not
 * yet.  Return: false when no change waits for it. */
bool change_on_will(struct part *base, uint64_t instance, uint64_t epoch, bool stored);
/* change_sweep - free what has been retired long enough.  Return: is anything left? */
bool change_sweep(struct part *base);
/* change_is_clear - nothing of what was discarded runs any more; on_change follows each chain's
 * death. */
bool change_is_clear(const struct part *base);
/* beside_take - a recovery, @prepare, that leaves some instances of `base` as they are: what is
 * prepared here is given up, and it waits for its turn as base->after.  Return: false when it
 * cannot be: nothing has changed. */
MUST_CHECK bool beside_take(struct part *base, const struct msg *prepare);
/* beside_turn - its turn: all but the instances that stay are halted and freed, then what it brings
 * is base->pending (BEGINS).  REFUSED: they cannot be told apart; base->after is for the caller to
 * drop.  Call again after news. */
enum beside { BESIDE_WAITS, BESIDE_BEGINS, BESIDE_REFUSED };
MUST_CHECK enum beside beside_turn(struct part *base);
/* change_discard - of beside_turn: what does not stay is halted and freed.  @plan: channels that it
 * replaces are named as they are here.  Return: false when it cannot be; nothing has changed. */
MUST_CHECK bool change_discard(struct part *base, struct msg_PREPARE *plan);
/* change_drop - the part is about to be halted: what is staged or retired goes with it. */
void change_drop(struct part *base);
void change_free_all(struct part *base); /* the part is being freed: every chain is dead */

#endif
