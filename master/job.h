/* master/job.h - slow work beside the loop: one thread per job, its result back on the loop.
 *
 * Threads:    job_start and `done` on the loop; `work` on a thread of its own, touching only what
 *             its argument holds.
 * Invariants: J1 every job's `done` runs exactly once, at the latest in jobs_fini.
 *             J2 at most JOBS_MAX run at a time. */
#ifndef OXB_MASTER_JOB_H
#define OXB_MASTER_JOB_H

#include "net/conn.h"

#include <stdbool.h>

#define JOBS_MAX 16

struct jobs {
    struct loop *loop;
    struct job *first;
    unsigned count;
};

void jobs_init(struct jobs *js, struct loop *loop);
void jobs_fini(struct jobs *js); /* waits for all; after the loop has stopped for good */
bool jobs_has_room(const struct jobs *js);
/* job_start - Requires: jobs_has_room. */
void job_start(struct jobs *js, void (*work)(void *arg), void (*done)(void *arg), void *arg);

#endif
