/* pe/infer/exec.h - runs a graph node by node with the references: the oracle, and the way for
 * models whose shapes depend on their data.
 *
 * Every value has memory of its own, freed after its last reader. */
#ifndef OXB_PE_INFER_EXEC_H
#define OXB_PE_INFER_EXEC_H

#include "pe/infer/op.h"

/* graph_run - @inputs: [g->input_count], with data.  @outputs: [g->output_count], zeroed; filled on
 * success, the caller finis them.  Errors: as graph_specialise's, and ERR_NOMEM. */
MUST_CHECK enum err graph_run(const struct graph *g, const struct tensor *inputs,
                              struct tensor *outputs, struct fail *f);

/* graph_run_within - likewise as part of an inference: what it does is taken off its budget. */
MUST_CHECK enum err graph_run_within(const struct graph *g, const struct tensor *inputs,
                                     struct tensor *outputs, struct op_budget *budget,
                                     struct fail *f);

#endif
