/* worker/checkpoint_restore.h - bringing an instance back from the files of a checkpoint.
 *
 * Threads:    the part's helper, while it is prepared; blocks.
 * Invariants: J1 nothing of a damaged file, or of one that belongs to another instance or epoch, is
 *             used: the part is not ready then, and says which file and why. */
#ifndef OXB_WORKER_CHECKPOINT_RESTORE_H
#define OXB_WORKER_CHECKPOINT_RESTORE_H

#include "net/conn.h"
#include "worker/instance.h"

struct restore_from {
    const struct address *master;
    const char *worker; /* name */
    uint64_t incarnation;
    const char *topology;
    const char *location; /* folder; "": the master */
};

struct restored;

/* restore_instance - `i` is prepared and not started.  @out: in and out, zeroed before the first of
 * an instance's restores; caller: restored_fini. */
MUST_CHECK enum err restore_instance(const struct restore_from *from, const struct rec_RESTORE *r,
                                     struct instance *i, struct restored *out, struct fail *f);

#endif
