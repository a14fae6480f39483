/* master/snapshots.h - the files of checkpoints: DATA/checkpoints/TOPOLOGY/EPOCH.UID.INDEX.
 *
 * Workers send and fetch them on connections of their own, which begin with SNAPSHOT_PUT or
 * SNAPSHOT_GET instead of HELLO.
 *
 * Owns:       struct snapshots: the folder, the connections, the uploads.
 * Runs on:    the loop; the fsync of an upload runs beside it (job.h).
 * Invariants: F1 STORED says ok only after the file and its folder are durable.
 *             F2 only a process that is a member now may speak here, and only of generations that
 *                run now may be written.  F3 no name leaves the folder. */
#ifndef OXB_MASTER_SNAPSHOTS_H
#define OXB_MASTER_SNAPSHOTS_H

#include "master/job.h"
#include "net/conn.h"

struct snapshots {
    char *dir;
    struct loop *loop;   /* borrowed */
    struct jobs *jobs;   /* borrowed */
    struct stream_conn *first;
    unsigned count;
    /* is this process a member, and (gen != 0) does that generation of the topology run? */
    bool (*may)(void *arg, const char *worker, uint64_t incarnation, const char *topology,
                uint64_t gen);
    void *arg;
};

MUST_CHECK enum err snapshots_init(struct snapshots *s, const char *data_dir, struct fail *f);
void snapshots_fini(struct snapshots *s); /* after the loop has stopped and the jobs are done */
/* snapshots_take - the first message of a connection was PUT or GET: it belongs here now. */
void snapshots_take(struct snapshots *s, struct conn *c, const struct msg *first);
/* snapshots_sweep - remove the topology's files of epochs below `below` that are not in `kept`
 * (ascending). */
void snapshots_sweep(struct snapshots *s, const char *topology, const uint64_t *kept, size_t count,
                     uint64_t below);

#endif
