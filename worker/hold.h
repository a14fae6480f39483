/* worker/hold.h - input that waits at an instance: a tuple it cannot process, and what came behind.
 *
 * Owns:       struct hold: the batches kept, whether the instance is held, what people are told.
 * Threads:    the instance's; what is said so: the loop's.
 * Life:       hold_begin (a tuple failed, `then: hold`) -> HELD: batches are kept, markers overtake
 *             them -> skip, new code or another policy -> the kept input is processed, in order,
 *             before anything else is taken -> empty.
 *             A restored instance begins with the kept input of the checkpoint.
 * Invariants: E1 while anything is kept the instance takes no batch otherwise: order within an
 *             input.
 *             W2 kept bytes stay below HELD_BYTES_MAX and one batch; from there on its chain takes
 *             no input, so that the rings fill and the producers wait (H16).
 *             W3 a marker that overtakes kept input finds it in the snapshot (R19).
 *             W4 no change is ready that could not meet kept input which a recovery might still
 *             bring back: hold_lingers.
 * See:        worker/fault.h, worker/probe.h, docs/CHECKPOINTS.md. */
#ifndef OXB_WORKER_HOLD_H
#define OXB_WORKER_HOLD_H

#include "core/err.h"
#include "core/strbuf.h"
#include "pe/batch.h"

struct chain;
struct instance;

struct kept {
    struct batch *batch;
    unsigned port;
    char *stream; /* where it came from, for a dead letter */
};

void hold_free(struct instance *i); /* nothing runs any more */
/* hold_begin - @rest: what is left of the batch, the bad tuple first; NULL: a call without one. */
void hold_begin(struct instance *i, unsigned port, const char *stream, struct batch *rest TAKES,
                const char *error);
/* hold_keep - a batch that comes while something is kept, or from a checkpoint. */
void hold_keep(struct instance *i, unsigned port, const char *stream, struct batch *batch TAKES);
bool hold_is_held(const struct instance *i);
bool hold_is_empty(const struct instance *i);
bool hold_is_full(const struct chain *c); /* of any member */
bool hold_goes_on(const struct chain *c); /* some member is not held and has still kept input */
/* hold_turn - for every member: skips what is to be skipped, goes on with what is kept.
 * Return: is there more to do, now? */
bool hold_turn(struct chain *c);
/* hold_recode - it has new code, which is given what the old code failed on. */
void hold_recode(struct instance *i);
/* hold_share - what is kept, for a snapshot.  The list: caller frees, with kept_free. */
struct kept *hold_share(const struct instance *i, size_t *count);
/* hold_saved - what is kept now, or that it is nothing, is in the checkpoint `epoch`. */
void hold_saved(const struct instance *i, uint64_t epoch);
void kept_free(struct kept *list TAKES, size_t count);

/* ---- the loop's ---- */
/* hold_skip - give the tuple of the hold `number` up, if it still is that one. */
void hold_skip(struct instance *i, uint64_t number);
/* hold_lingers - a recovery may still begin with input that it has kept: no checkpoint up to
 * `complete` was taken after that. */
bool hold_lingers(const struct instance *i, uint64_t complete);
struct held {        /* what a report says */
    uint64_t number; /* of the hold; 0: not held */
    uint64_t tuples; /* kept, the bad one included */
};
/* hold_read - @error, @tuple (JSON; empty: a call without one), @stream: appended. */
struct held hold_read(struct instance *i, struct strbuf *error, struct strbuf *tuple,
                      struct strbuf *stream);

#endif
