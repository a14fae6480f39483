/* pe/infer/specialise.h - a graph for given input shapes: every shape known, constants folded.
 *
 * With concrete shapes the arithmetic that exporters leave in models (Shape, Gather, Concat feeding
 * a Reshape) folds away, so no symbolic algebra is needed; a free batch dimension is had by
 * specialising once per batch size. */
#ifndef OXB_PE_INFER_SPECIALISE_H
#define OXB_PE_INFER_SPECIALISE_H

#include "pe/infer/op.h"

/* graph_specialise - in place: gives every value its dtype and shape, replaces what is computed
 * from constants alone by constants, drops nodes nobody needs.  Nodes whose output shapes depend on
 * data become `dynamic`, and so does what depends on them.
 * @inputs: [g->input_count] dtype and shape of each; with data: the input is made a constant.
 * Errors: ERR_INVALID an input does not fit its declaration, or an operator refused; ERR_NOTFOUND
 * an operator is not supported; ERR_LIMIT. */
MUST_CHECK enum err graph_specialise(struct graph *g, const struct tensor *inputs,
                                     struct fail *f);
/* graph_specialise_within - likewise as a part of another graph, whose budget it has. */
MUST_CHECK enum err graph_specialise_within(struct graph *g, const struct tensor *inputs,
                                            struct op_budget *budget, struct fail *f);
/* graph_check_inputs - do tensors fit the declared types?  Part of the above. */
MUST_CHECK enum err graph_check_inputs(const struct graph *g, const struct tensor *inputs,
                                       struct fail *f);
/* graph_mark_batched - find which values carry the batch in front, by comparing `g` with the same
 * model specialised for another batch size.  Both were specialised from one graph and neither has
 * been fused since. */
void graph_mark_batched(struct graph *g, const struct graph *other);
/* graph_drop_dead - mark nodes whose outputs nobody reads. */
void graph_drop_dead(struct graph *g);
bool graph_is_dynamic(const struct graph *g); /* some live node is */
/* graph_dynamic_node - the first such node, from which the others have it; NULL: none. */
const struct node *graph_dynamic_node(const struct graph *g);

#endif
