/* topology/match.h - the physical graph V' that keeps as much of the running one as it can.
 *
 * Owns:       struct match: V' and who in it is who in V.
 * Runs on:    anywhere; pure.
 * Invariants: K1 an instance of V stays (id, worker) exactly when its PE and index are in V' and
 *                its worker may still run it; what is on a worker that may not moves: new id.
 *             K2 a channel stays (id) exactly when both ends stay and its stream has the same ends,
 *                schema, way of dividing and fusion; a channel's properties never change.
 *             K3 new ids come from the counter, never from V.
 *             K4 key groups move only from who has too many, or goes, to who has too few:
 *                afterwards no two instances of a PE differ by more than one group, and no fewer
 *                moves do it.
 *             K5 an instance that stays keeps its chain's number when its chain's first member that
 *                stays had it. */
#ifndef OXB_TOPOLOGY_MATCH_H
#define OXB_TOPOLOGY_MATCH_H

#include "topology/diff.h"

struct match {
    const struct pgraph *from;      /* V, borrowed */
    struct pgraph *to;              /* V' */
    uint32_t *instance_old;         /* [instances of V']: the one of V that stays, or INDEX_NONE */
    uint32_t *instance_new;         /* [instances of V] */
    uint32_t *heir_old;             /* [instances of V']: same PE and index, stays or moves */
    uint32_t *heir_new;             /* [instances of V] */
    uint32_t *channel_old, *channel_new;
    uint32_t *worker_new;           /* [workers of V]: its number in V', or INDEX_NONE: missing */
    uint32_t *first_old, *first_new;/* [PEs + 1]: first instance of a PE */
    const bool *anew;               /* [PEs of V']: those that stay lose their state; borrowed from
                                     * the plan; NULL: none */
};

/* match_graphs - V' placed on these workers, with ids.
 * @diff:    of V's topology and the one to come.
 * @workers: all that may be used; `slots_used` without this topology.
 * @next_id: in/out counter; advanced on success only.
 * Return:   NULL with `f` set: a worker of V is missing, too few slots, nobody may run a PE. */
struct match *match_graphs(const struct pgraph *running, const struct diff *diff,
                           const struct worker_info *workers, uint32_t worker_count,
                           const struct placer *placer, uint64_t *next_id, struct fail *f);
void match_free(struct match *m);

/* owners_rebalance - K4 for one PE.
 * @owners: in/out; instance index per key group, those >= `count` have gone.
 * Return:  how many groups moved. */
uint32_t owners_rebalance(uint16_t owners[KEY_GROUPS], uint32_t count);

#endif
