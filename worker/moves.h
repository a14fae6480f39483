/* worker/moves.h - the moves of state of one change, as one worker sees them.
 *
 * Owns:       struct moves: every move with an end here; the helper thread that parses what comes.
 * A move:     from one giver to one taker: key groups, what `snapshot` writes, or nothing at all (a
 *             token, PROTOCOL R11).  Both on this worker, and of one state version: the groups go
 *             by pointer at the giver's cut.  Else the giver tells its entries beforehand, slice by
 *             slice, and goes on telling what is written until its cut; the taker's worker builds
 *             tables of it on a helper,
 *             which has the taker's new code migrate each entry if its state version is another.
 *             Code that is replaced by code of another state version: a move from the instance to
 *             itself.  So what is migrated within a worker is told to the helper as to a peer.
 * Gate:       from its own cut on (a new instance: from its start) a taker takes no input until all
 *             of its moves have come: simpler than by input or by group, and as short, because the
 *             last part of all moves leaves in the same instant.  What is fused with it waits too.
 * Threads:    moves_ the loop's; move_ the executor's that runs the instance.
 * Invariants: N1 a giver tells nothing of a group after its cut, and the taker processes nothing of
 *                it before it has it (I3).
 *             N2 everything moved is counted by entries where it leaves and where it comes in.
 *             N3 nothing here waits: neither the loop nor an executor.
 * See:        worker/handover.h (who sends what when), worker/stage.h, pe/state.h (movers). */
#ifndef OXB_WORKER_MOVES_H
#define OXB_WORKER_MOVES_H

#include "net/messages.h"
#include "worker/part.h"

struct moves;
struct move;

/* ---- loop ---- */
/* moves_new - of a staged part whose instances and cuts are made.  *out: NULL when there are none.
 * ERR_*: staged->fail says why. */
MUST_CHECK enum err moves_new(struct part *staged, struct moves **out);
void moves_begin(struct moves *ms);  /* from now on instances know of it */
bool moves_ready(const struct moves *ms);  /* everything that can be done before the cut is done */
const struct fail *moves_fail(const struct moves *ms); /* NULL: nothing has gone wrong */
/* moves_cancel - before the decision: givers stop telling.  moves_over: nobody holds on to it. */
void moves_cancel(struct moves *ms);
bool moves_over(struct moves *ms);
bool moves_done(const struct moves *ms); /* given, and taken in, all of them (R15) */
void moves_facts(struct moves *ms, struct change_result *out);
void moves_free(struct moves *ms); /* accepts NULL; moves_over, or every chain is dead */
/* What peers say.  Return: was it of one of these moves? */
bool moves_on_state(struct moves *ms, const struct msg_LINK_STATE *m);
bool moves_on_ack(struct moves *ms, const struct msg_LINK_STATE_ACK *m);
void moves_on_peer(struct moves *ms);   /* some peer's link to here is up (again) */

/* ---- executors ---- */
void move_turn(struct instance *i);     /* tell a slice, if one was asked for; or stop telling */
void move_collect(struct instance *i);  /* at the cut, before the code stops */
void move_publish(struct instance *i);  /* at the cut, after it: the takers may have it */
/* move_take - the instance's moves, if all have come: then its gate is open. */
bool move_take(struct instance *i);
bool move_ready(const struct instance *i); /* have they all come? */
/* moves_gate - in each turn of a chain: what givers are asked for, and whether takers must wait.
 * Return: some must. */
bool moves_gate(struct chain *c);
/* move_pause - an input waited so long for the gate of `i`; before move_take. */
void move_pause(struct instance *i, uint32_t us);

#endif
