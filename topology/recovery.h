/* topology/recovery.h - which instances a recovery rolls back: the recovery set (PROTOCOL R20).
 *
 * From the dependency of output streams on input streams: R is the least set with
 *   1. every instance that is lost, stuck or held by a crash;
 *   2. with whoever is in R, all its descendants: what it re-emits may differ in order;
 *   3. when a change was decided and no checkpoint under the new version is complete: the whole
 *      covering set, for one tuple must not meet old code above and new code below;
 *   4. for a channel z -> d with d in R and z not: z, unless its retained log reaches back to the
 *      checkpoint.  A fused one has none: who calls and who is called live and die together.
 *      Sources end this by rewinding; one that cannot replay ends it with a loss.
 * Who feeds R from outside is a target: when the set is ready it resends its log.
 *
 * Owns:       struct recovery.
 * Runs on:    anywhere; pure.
 * Invariants: C1 it is the least set closed under 1-4 (checked against a naive fixpoint).
 *             C2 without retention it is a union of connected components: no channel crosses its
 *                border, so there are no targets. */
#ifndef OXB_TOPOLOGY_RECOVERY_H
#define OXB_TOPOLOGY_RECOVERY_H

#include "topology/physical.h"

struct recovery_input {
    const struct pgraph *graph;
    const bool *lost;     /* [instances]: 1 */
    const bool *covering; /* [instances]: 3; NULL: none */
    const bool *retained; /* [channels]: its log reaches back to the checkpoint; NULL: none does */
};

struct recovery {
    bool *in;               /* [instances] */
    bool *targets;          /* [instances] */
    uint32_t count, target_count;
    uint32_t unreplayable;  /* a PE in the set that is a source and cannot replay; INDEX_NONE */
};

void recovery_make(const struct recovery_input *in, struct recovery *out);
void recovery_fini(struct recovery *r);

#endif
