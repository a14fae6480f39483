/* pe/infer/plan.h - where values lie in the arena: liveness and first-fit, once per compilation.
 *
 * Invariants: M1 two values whose lives overlap have places that do not, except aliases.
 *             M2 offsets are TENSOR_ALIGN-aligned; an alias has its origin's offset and bytes.
 *             M3 graph inputs are alive from the start, graph outputs until the end.
 * Why:        first-fit in order of time keeps what is used together near; measured on models it is
 *             within some percent of the peak of live bytes, which is the floor. */
#ifndef OXB_PE_INFER_PLAN_H
#define OXB_PE_INFER_PLAN_H

#include "pe/infer/graph.h"

#define PLAN_NOWHERE SIZE_MAX

struct plan {
    size_t *offsets;    /* [value_count]; PLAN_NOWHERE: constant or unused */
    size_t arena_bytes; /* a multiple of TENSOR_ALIGN */
    size_t live_bytes_max; /* the floor: most bytes alive at one time */
};

/* plan_init - of a specialised graph without dynamic nodes.  Errors: ERR_LIMIT beyond
 * ARENA_BYTES_MAX. */
MUST_CHECK enum err plan_init(struct plan *p, const struct graph *g, struct fail *f);
void plan_fini(struct plan *p);
/* plan_is_alias - the node's output lies where its input does, so it need not run. */
bool plan_is_alias(const struct plan *p, const struct graph *g, const struct node *n);

#endif
