/* worker/wills.h - what PEs that changes removed have left uncommitted, shown when it counts.
 *
 * A will is the last snapshot of such an instance, stored like one of a checkpoint (keeper_leave).
 * When the first checkpoint of the new version is complete the master sends WILL to some worker
 * that can reach what the PE writes to: the PE is made once more in a part of its own, restored,
 * started, asked to commit, and dropped.  Nothing is kept here: a worker that dies in the middle is
 * as good as one that was never asked, for to commit is idempotent.
 *
 * Owns:       struct wills: the parts of those at work.
 * Threads:    the loop's.
 * Invariants: N1 one will is carried out once at a time in one worker.
 *             N2 WILL_DONE says ok only after the PE has committed. */
#ifndef OXB_WORKER_WILLS_H
#define OXB_WORKER_WILLS_H

#include "worker/part.h"

struct wills {
    struct part_env env; /* the worker's, with callbacks of our own */
    struct part *first;
    void (*send)(void *arg, const struct msg *m); /* to the master; dropped when there is none */
    void (*wanted)(void *arg); /* a part lacks an artifact, or may begin: see wills_advance */
    void (*idle)(void *arg);   /* the last one has gone */
    void *arg;
};

void wills_init(struct wills *w, const struct part_env *env);
/* wills_take - carry it out; what is at work already goes on. */
void wills_take(struct wills *w, const struct msg_WILL *m);
/* wills_waiting - the next part after `after` (NULL: the first) that has not begun to prepare. */
struct part *wills_waiting(struct wills *w, const struct part *after);
/* wills_fail - a part that cannot be prepared, for d->fail. */
void wills_fail(struct wills *w, struct part *d);
void wills_halt(struct wills *w); /* all of them; `idle` follows unless there are none */

#endif
