/* worker/checkpoint_restore.h - bringing an instance back from the files of a checkpoint.
 *
 * Threads:    the part's helper, while it is prepared; blocks.
 * Invariants: J1 nothing of a damaged file, or of one that belongs to another instance or epoch, is
 *             used: the part is not ready then, and says which file and why.
 *             J4 of a group whose final output had left at the checkpoint none leaves again,
 *             whoever it belongs to now (PROTOCOL R3). */
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

/* restore_instance - from those of the list that are for it.  `i` is prepared and not started.
 * @out: zeroed before; caller: restored_fini. */
MUST_CHECK enum err restore_instance(const struct restore_from *from,
                                     const struct rec_RESTORE *list, size_t count,
                                     struct instance *i, struct restored *out, struct fail *f);

#endif
