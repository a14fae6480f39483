/* pe/infer/call.h - one operator call: finds the tensors of a node's inputs and outputs.
 *
 * Owns:       struct call: the pointer arrays of an op_ctx, reused from node to node, and what
 *             subgraphs may still do. */
#ifndef OXB_PE_INFER_CALL_H
#define OXB_PE_INFER_CALL_H

#include "pe/infer/op.h"

struct call { /* zeroed, then call_init */
    struct op_ctx ctx;
    const struct tensor **in;
    struct tensor **out;
    unsigned in_capacity;
    unsigned out_capacity;
    struct op_budget budget; /* what ctx.budget points to, unless the call is in a subgraph */
};

/* It stays where it is until call_fini. */
void call_init(struct call *c, struct fail *f);
/* call_begin - an inference begins, with a whole budget. */
void call_begin(struct call *c);
void call_fini(struct call *c);
/* call_bind - point the context at `n`.  The tensor of value v lies `stride` * v bytes behind
 * `first`. */
void call_bind(struct call *c, const struct node *n, void *first, size_t stride);
/* call_err - what an operator's answer means to whoever runs a graph. */
enum err call_err(enum op_result r);

#endif
