/* pe/infer/ops/subgraph.h - running a subgraph as part of its node, and typing what it gives.
 *
 * Why: a subgraph runs node by node by the references, whatever the device: it is small or rare,
 *      and which one runs, and how often, is known only when the data is there. */
#ifndef OXB_PE_INFER_OPS_SUBGRAPH_H
#define OXB_PE_INFER_OPS_SUBGRAPH_H

#include "pe/infer/op.h"

struct subgraph {
    const struct graph *graph;
    unsigned first; /* input of the node that is its first capture */
};

/* subgraph_own - inputs that are its own, in front of the captures. */
static inline unsigned subgraph_own(const struct subgraph *s)
{
    return s->graph->input_count - s->graph->capture_count;
}

/* subgraph_body - the only subgraph of a node, in the attribute `body`; its captures are the node's
 * last inputs.  Errors: OP_INVALID there is none, or it captures more than the node has. */
enum op_result subgraph_body(struct op_ctx *ctx, struct subgraph *out);
/* subgraph_inputs - [input_count], zeroed but for the captures, borrowed; caller mem_frees. */
struct tensor *subgraph_inputs(const struct op_ctx *ctx, const struct subgraph *s);
/* subgraph_types - what it gives for inputs of these types; values where inputs have some.
 * @types: [output_count], without data, but borrowed for a constant of one byte: a condition.
 * Sets ctx->folds.
 * Return: OP_NEEDS_DATA where a shape in it depends on data. */
enum op_result subgraph_types(struct op_ctx *ctx, const struct subgraph *s, const struct tensor *in,
                              struct tensor *types);
/* subgraph_run - @out: [output_count], zeroed; caller finis.
 * Both take what they cost off the budget of the inference.  Return: OP_FAILED when it is used up.
 */
enum op_result subgraph_run(struct op_ctx *ctx, const struct subgraph *s, const struct tensor *in,
                            struct tensor *out);
bool subgraph_same_type(const struct tensor *a, const struct tensor *b);
/* subgraph_give - run's answer for output i: copied to where infer typed it, else made. */
enum op_result subgraph_give(struct op_ctx *ctx, unsigned i, const struct tensor *from);
/* subgraph_set_types - infer's answer for all outputs. */
enum op_result subgraph_set_types(struct op_ctx *ctx, const struct tensor *types);

/* ---- results of the trips, one behind the other */

struct pile {
    struct tensor type; /* of one; DT_NONE: there is none yet */
    uint8_t *data;
    size_t bytes, capacity;
    size_t count;
};

/* pile_add - Errors: OP_INVALID another type than the first; OP_FAILED too large. */
enum op_result pile_add(struct op_ctx *ctx, struct pile *p, unsigned output,
                        const struct tensor *t);
void pile_fini(struct pile *p);

/* ---- trips through a body, of Loop and Scan: what one hands to the next */

struct trips { /* zeroed, then trips_init */
    const struct subgraph *body;
    struct tensor *in;    /* of the body; its own are held */
    struct tensor *out;   /* of the body; held during a trip */
    struct pile *piles;   /* [body's outputs - first_piled] */
    unsigned first_piled; /* outputs of the body before it are not piled up */
};

void trips_init(struct trips *t, const struct op_ctx *ctx, const struct subgraph *body,
                unsigned first_piled);
/* trips_run - once through the body with t->in: its last outputs go on the piles.  The others stay
 * in t->out until trips_end.
 * @given: output of the node that the first pile makes, for messages. */
enum op_result trips_run(struct trips *t, struct op_ctx *ctx, unsigned given);
/* trips_carry - the body's output `from` is what the next trip finds as its input `to`. */
void trips_carry(struct trips *t, unsigned to, unsigned from);
void trips_end(struct trips *t); /* also of a trip that failed */
void trips_fini(struct trips *t);

#endif
