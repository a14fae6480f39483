/* worker/retain.h - what a channel keeps of what it has sent, so that a consumer that goes back to
 * a checkpoint is fed again while its producer goes on (PROTOCOL R20-R22, R26).
 *
 *   OFF --(the marker of a checkpoint is sent: `base`)--> ON --(over budget)--> ON from a later
 *   marker that is kept, or OFF until the next one
 *
 * What is kept is a reference, never a copy: the frame that went to a peer, or a view of the
 * batch.  The same list holds what has not been sent yet because nobody is there to take it: then
 * the channel *lags*, and its producer works on until the budget is full (H23).
 *
 * Owns:       struct retained: the log of one channel, sender's side.
 * Threads:    the sending instance's; `budget` is set, `reach` and `bytes` read by anyone.
 * Invariants: B1 while ON, what is kept is everything sent since the marker of `base`, in order.
 *             B2 what waits to be sent is never dropped; what was sent is dropped once a later
 *                checkpoint is complete (R22), or for room: never an error, never a reason to wait.
 *             B3 bytes are those of the blocks that are held, not of the rows in them.
 * Why off:    a log that has lost its beginning serves nobody until the next marker, and would
 *             only keep blocks from the pool, whose next user finds them out of cache.  For the
 * same reason it does not begin at a marker when what passed since the one before it was more than
 * RETAIN_FUTILE budgets: it would be off again for most of the time. */
#ifndef OXB_WORKER_RETAIN_H
#define OXB_WORKER_RETAIN_H

#include "worker/ring.h"

#include <stddef.h>

struct logged {
    struct item it; /* its batch or frame: a reference of the log's own */
    size_t bytes;
};

struct retained {
    struct logged *slots; /* a ring of [capacity], a power of two */
    size_t capacity, head;
    size_t dead;    /* the oldest so many: needed no more, not freed yet */
    size_t sent;    /* the next so many were sent */
    size_t waiting; /* the rest */
    uint64_t base;  /* checkpoint that it reaches back to, while on */
    bool on;
    uint64_t passed;         /* bytes sent since the last marker of a checkpoint, kept or not */
    bool pinned;             /* a recovery counts on it: nothing is dropped for room */
    size_t live_bytes;       /* of `sent` and `waiting` */
    _Atomic uint64_t budget; /* bytes */
    _Atomic uint64_t reach;  /* base + 1; 0: off */
    _Atomic uint64_t bytes;  /* of all */
};

/* retained_new - @from: the checkpoint that the channel's beginning belongs to (0: the beginning of
 * the topology); RETAIN_NOTHING: none, it begins with the next marker. */
#define RETAIN_NOTHING UINT64_MAX
#define RETAIN_FUTILE 3u
struct retained *retained_new(uint64_t from, uint64_t budget);
void retained_free(struct retained *r); /* accepts NULL */

/* retain_sent - `it` is about to be sent; its batch or frame is shared.  Return: it is kept. */
bool retain_sent(struct retained *r, const struct item *it);
/* retain_wait - `it` is to be sent later.  Its batch: taken over; it has no frame. */
void retain_wait(struct retained *r, const struct item *it);
/* retain_next - the oldest that waits, or NULL.  Borrowed until the next call. */
const struct item *retain_next(const struct retained *r);
/* retain_went - that one is sent, as `it`, which has a batch of its own. */
void retain_went(struct retained *r, const struct item *it);
/* retain_recall - the newest `count` that were sent have not been, after all. */
void retain_recall(struct retained *r, size_t count);
static inline bool retain_over(const struct retained *r)
{
    return r->live_bytes > atomic_load_explicit(&r->budget, memory_order_relaxed);
}
/* retain_shed - over budget: drop what was sent, up to a marker or all. */
void retain_shed(struct retained *r);
/* retain_trim - checkpoint `epoch` is complete (R22). */
void retain_trim(struct retained *r, uint64_t epoch);
/* retain_reaches - would retain_rewind find its place? */
bool retain_reaches(const struct retained *r, uint64_t epoch);
/* retain_rewind - every batch since the marker of `epoch` waits again; all else is gone: markers
 * are void, and the end is for the caller to say. Return: how many tuples that are.  Requires:
 * retain_reaches. */
uint64_t retain_rewind(struct retained *r, uint64_t epoch);
/* retain_sweep - free some of what is needed no more.  Return: there is more. */
bool retain_sweep(struct retained *r, size_t count);

#endif
