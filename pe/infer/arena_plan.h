/* pe/infer/arena_plan.h - where values lie in the arena: liveness and first-fit, per compilation.
 *
 * Invariants: M1 two values whose lives overlap have places that do not, except aliases.
 *             M2 offsets are TENSOR_ALIGN-aligned; an alias has its origin's offset and bytes.
 *             M3 graph inputs are alive from the start, graph outputs until the end.
 * Why:        first-fit in order of time keeps what is used together near; measured on models it is
 *             within some percent of the peak of live bytes, which is the floor. */
#ifndef OXB_PE_INFER_ARENA_PLAN_H
#define OXB_PE_INFER_ARENA_PLAN_H

#include "pe/infer/graph.h"

#define ARENA_NOWHERE SIZE_MAX

struct arena_plan {
    size_t *offsets;    /* [value_count]; ARENA_NOWHERE: constant or unused */
    size_t arena_bytes; /* a multiple of TENSOR_ALIGN */
    size_t live_bytes_max; /* the floor: most bytes alive at one time */
};

/* arena_plan_init - of a specialised graph without dynamic nodes.  Errors: ERR_LIMIT beyond
 * ARENA_BYTES_MAX. */
MUST_CHECK enum err arena_plan_init(struct arena_plan *p, const struct graph *g, struct fail *f);
void arena_plan_fini(struct arena_plan *p);
/* arena_plan_is_alias - the node's output lies where its input does, so it need not run. */
bool arena_plan_is_alias(const struct arena_plan *p, const struct graph *g, const struct node *n);

#endif
