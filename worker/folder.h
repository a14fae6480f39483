/* worker/folder.h - a folder for checkpoints that all workers share: LOCATION/TOPOLOGY.
 *
 *   .owner            the cluster (a master's store) whose topology it is
 *   .probe.OP.WORKER  written by each worker of a deploy, and looked for by all the others
 *   EPOCH.UID.INDEX   snapshots
 *
 * Threads:    any; blocks.
 * Invariants: T1 two clusters never keep a topology of the same name in one folder: their epochs
 *             would be mixed up.  T2 a deploy that is ready has seen that all its workers see the
 *             same folder; whoever comes later finds `.owner`.
 *             T3 only snapshots are removed, of epochs that no checkpoint needs, below the newest.
 */
#ifndef OXB_WORKER_FOLDER_H
#define OXB_WORKER_FOLDER_H

#include "core/err.h"
#include "net/messages.h"

/* folder_check - before a part is ready.  Waits for the probes of a deploy's other workers. */
MUST_CHECK enum err folder_check(const struct msg_PREPARE *plan, const char *worker,
                                 struct fail *f);
/* folder_sweep - T3.  @needed: epochs. */
void folder_sweep(const char *location, const char *topology, const uint64_t *needed, size_t count,
                  uint64_t below);

#endif
