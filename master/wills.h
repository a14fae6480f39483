/* master/wills.h - what removed PEs have written and not committed, until it counts and is shown.
 *
 * A sink that an upgrade removes does not commit at its cut: a recovery may still go back behind
 * the upgrade, and then the new version passes the same tuples on elsewhere.  Its last snapshot is
 * stored before its worker says DONE (worker/wills.h), and a row here, in the store, names it:
 *
 *   decided -> a row, in the same commit -> the first checkpoint of the new version is complete:
 *   it is due -> WILL to a worker that can reach what the PE writes to -> WILL_DONE -> no row
 *   a recovery goes back to a checkpoint before the change -> no row: those tuples come again
 *
 * Owns:       struct wills: the rows of the store, and who is at them.
 * Runs on:    the master loop.
 * Invariants: L1 a row is there exactly from the decision until it was carried out or is void.
 *             L2 none is due before a checkpoint above its epoch is complete; none begins between
 *                the decision and the end of a change (PROTOCOL R17), so that is one of the new
 *                version.
 *             L3 a change that removes a sink decides when that has committed the newest complete
 *                checkpoint: what a recovery behind the change goes back to owes nothing.
 *             L4 a PE that comes back waits for its will: both write to the same place. */
#ifndef OXB_MASTER_WILLS_H
#define OXB_MASTER_WILLS_H

#include "core/err.h"
#include "master/store.h"

#include <stdbool.h>

struct cover_member;
struct deployment;
struct master;
struct member;
struct msg_WILL_DONE;
struct plan;

struct will {
    struct store_will row;
    uint64_t worker_id, incarnation; /* who was asked; 0: nobody yet */
    uint64_t again_us;               /* not asked again before then */
    bool failed;                     /* it could not be carried out, so far */
};

struct wills {
    struct will *items;
    size_t count, capacity;
};

void wills_fini(struct wills *w);
/* wills_load - as the store has them: at the start, and whenever the store changed them. */
MUST_CHECK enum err wills_load(struct master *m, struct fail *f);
/* wills_is_left - does this member leave one at its cut?  Pure. */
bool wills_is_left(const struct plan *p, const struct cover_member *x);
/* wills_of - the rows of `next`'s change, for its decision; wills_rows_free. */
struct store_will *wills_of(struct master *m, const struct deployment *next, size_t *count);
void wills_rows_free(struct store_will *rows, size_t count);
/* wills_bar_decision - L3. */
bool wills_bar_decision(struct master *m, const struct deployment *next);
/* wills_bar_return - L4: must the change to `next` wait? */
bool wills_bar_return(const struct master *m, const struct deployment *next);
bool wills_any(const struct master *m, const char *topology);
void wills_tick(struct master *m, uint64_t now_us);
void wills_done(struct master *m, struct member *w, const struct msg_WILL_DONE *r);

#endif
