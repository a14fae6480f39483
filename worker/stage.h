/* worker/stage.h - state between two instances: taken out of one, not yet in the other.
 *
 * Owns:       struct stage: tables as the giver's PE declares them, with the key groups on the
 *             move;
 *             what its `snapshot` wrote; what else the taker has to know.
 * Threads:    one at a time: the giver's executor or a helper fills it, the taker's empties it; who
 *             hands it on says so with a release that the next one acquires.
 * Why:        a cut must cost what was written lately, not what there is.  So everything that
 *             depends
 *             on the size (parsing, checking, building tables) is done to a stage, off the
 *             executors, and what is left for them goes by pointer, group by group.
 * Invariants: G1 a stage holds entries of its groups only.
 *             G2 stage_from and stage_into cost the number of groups, not of entries. */
#ifndef OXB_WORKER_STAGE_H
#define OXB_WORKER_STAGE_H

#include "core/limits.h"
#include "pe/host.h"
#include "pe/state.h"

struct stage {
    bool groups[KEY_GROUPS];
    struct oxb_state **states;   /* [state_count] */
    unsigned state_count;
    void *other;                 /* of `snapshot`; malloc'd; NULL: none */
    size_t other_bytes;
    uint32_t other_version;      /* state_version that wrote it */
    bool finished;               /* the giver had emitted its final output */
};

/* stage_new - @like: whose keyed states are declared alike; not kept. */
struct stage *stage_new(struct oxb_pe *like, const bool *groups /* [KEY_GROUPS] */);
void stage_free(struct stage *s); /* accepts NULL; costs what is left in it */
/* stage_fits - may `pe` take the states in?  Return: the name of one that it cannot, or NULL. */
const char *stage_misfit(const struct stage *s, struct oxb_pe *pe);
/* stage_pieces - of state_mover_slice, for the keyed state of that name, told by code of that
 * state_version.  @code: like which the stage was made; entered when it has another:
 * pe_take_pieces. */
MUST_CHECK enum err stage_pieces(struct stage *s, struct oxb_pe *code, const char *state,
                                 uint32_t version, const void *data, size_t bytes, struct fail *f);
void stage_from(struct stage *s, struct oxb_pe *giver); /* its groups, by pointer; giver's thread */
/* stage_into - the keyed states, by pointer.  ERR_VERSION: see stage_misfit.  Taker's thread. */
MUST_CHECK enum err stage_into(struct stage *s, struct oxb_pe *taker, struct fail *f);
uint64_t stage_entries(const struct stage *s); /* keyed entries in it */

#endif
