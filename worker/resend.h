/* worker/resend.h - an instance that feeds a recovery from outside, a target (PROTOCOL R20), sends
 * its logs again; and logs are trimmed when a checkpoint is complete (R22).
 *
 *   loop: ASKED  --(own thread: every log reaches back, and is pinned)--> PINNED, or else LOST
 *   loop, GO:  GOING --(own thread: the new channels take the place of the old ones)--> SENT
 *
 * Before GO the old channels lag: their consumers are gone, the instance works on (H23).  That a
 * target answers from its own thread is what READY waits for: what a log reaches is not to be known
 * elsewhere, and one that is stuck would not send (R3).
 *
 * Owns:       struct resend (one target), struct resends (those of one recovery here).
 * Threads:    made and freed on the loop; carried out on the target's executor, between two turns.
 * Invariants: P1 old channels are not touched by the target once it is SENT.
 *             P2 a target has at most one resend; it is freed after a grace period. */
#ifndef OXB_WORKER_RESEND_H
#define OXB_WORKER_RESEND_H

#include "worker/part.h"

enum resend_state { RESEND_ASKED, RESEND_PINNED, RESEND_LOST, RESEND_GOING, RESEND_SENT };

struct resend_pair {
    struct channel *old, *fresh;
};

struct resend {
    struct instance *target;
    uint64_t epoch; /* of the checkpoint that is restored */
    struct resend_pair *pairs;
    uint32_t pair_count;
    _Atomic unsigned state; /* enum resend_state */
    uint64_t tuples;        /* that come again; valid once SENT */
};

struct resends { /* a zeroed struct is empty */
    struct resend **items;
    uint32_t count;
};

/* resends_find - loop: what the plan says a channel replaces is what the try before it made, or was
 * to make; put in its place the one that leads there now, and has the log.  Return: false when
 * there is none. */
MUST_CHECK bool resends_find(const struct part *base, struct msg_PREPARE *plan);
/* resends_make - loop: those that the plan of `staged` asks for, its channels built. */
MUST_CHECK enum err resends_make(struct part *staged, struct resends *out);
void resends_fini(struct resends *r); /* no target knows them any more */
void resends_ask(const struct resends *r);
/* resends_forget - nothing is asked of the targets any more; fini after a grace period. */
void resends_forget(const struct resends *r);
bool resends_pinned(const struct resends *r);
const struct instance *resends_lost(const struct resends *r); /* NULL: none is */
void resends_go(const struct resends *r);
bool resends_sent(const struct resends *r);
uint64_t resends_tuples(const struct resends *r);

/* ---- own thread, between two turns ---- */
void resend_turn(struct chain *c);
/* retain_turn - logs of the chain's members: trimmed, and freed bit by bit.  Return: there is more
 * to free. */
bool retain_turn(struct chain *c);

/* ---- loop ---- */
/* retain_divide - every log of the part gets the same share of what the plan allows. */
void retain_divide(struct part *d);

#endif
