/* pe/infer/ops/control.c - If: one of two subgraphs, by what the data says.
 *
 * Inputs:     the condition; then what `then_branch` captures from outside; then what `else_branch`
 *             does (load.c).
 * Shapes:     known while compiling when both branches give the same, or the condition is constant;
 *             else when it runs.
 * See:        https://onnx.ai/onnx/operators/onnx__If.html */
#include "pe/infer/ops/ops.h"

#include "core/mem.h"
#include "pe/infer/ops/subgraph.h"

#include <string.h>

/* Attributes may stand in either order; their captures stand in the same. */
static bool comes_first(const struct node *n, const char *name, const char *other)
{
    uint32_t i = 0;
    while (i < n->attr_count && strcmp(n->attrs[i].name, name) != 0 &&
           strcmp(n->attrs[i].name, other) != 0) {
        i++;
    }
    return i < n->attr_count && strcmp(n->attrs[i].name, name) == 0;
}

/* branches[1] is taken when the condition holds. */
static enum op_result find_branches(struct op_ctx *ctx, struct subgraph branches[2])
{
    branches[1] = (struct subgraph){op_attr_graph(ctx, "then_branch"), 1};
    branches[0] = (struct subgraph){op_attr_graph(ctx, "else_branch"), 1};
    if (branches[0].graph == NULL || branches[1].graph == NULL) {
        return op_invalid(ctx, "a branch is missing");
    }
    unsigned captures[2];
    for (unsigned i = 0; i < 2; i++) {
        captures[i] = branches[i].graph->capture_count;
        if (branches[i].graph->input_count != captures[i]) {
            return op_invalid(ctx, "a branch has inputs of its own");
        }
        if (branches[i].graph->output_count != ctx->out_count) {
            return op_invalid(ctx, "a branch has %u outputs, the node %u",
                              branches[i].graph->output_count, ctx->out_count);
        }
    }
    unsigned later = comes_first(ctx->node, "then_branch", "else_branch") ? 0 : 1;
    branches[later].first = 1 + captures[1 - later];
    if (ctx->in_count != 1 + captures[0] + captures[1]) {
        return op_invalid(ctx, "%u inputs, want %u", ctx->in_count, 1 + captures[0] + captures[1]);
    }
    return OP_OK;
}

/* @types: [out_count]. */
static enum op_result branch_types(struct op_ctx *ctx, const struct subgraph *b,
                                   struct tensor *types)
{
    struct tensor *in = subgraph_inputs(ctx, b);
    enum op_result r = subgraph_types(ctx, b, in, types);
    mem_free(in);
    return r;
}

static bool same_types(const struct tensor *a, const struct tensor *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!subgraph_same_type(&a[i], &b[i])) {
            return false;
        }
    }
    return true;
}

static enum op_result if_infer_by(struct op_ctx *ctx, struct tensor *types)
{
    struct subgraph branches[2];
    const struct tensor *condition = op_in(ctx, 0);
    TRY(op_want_dtypes(ctx, 0, DTS_BOOL));
    TRY(find_branches(ctx, branches));
    if (tensor_count(condition) != 1) {
        return op_invalid(ctx, "the condition has %zu elements", tensor_count(condition));
    }
    if (condition->data != NULL) {
        TRY(branch_types(ctx, &branches[tensor_u8(condition)[0] != 0], types));
        return subgraph_set_types(ctx, types);
    }
    TRY(branch_types(ctx, &branches[0], types));
    TRY(branch_types(ctx, &branches[1], types + ctx->out_count));
    return same_types(types, types + ctx->out_count, ctx->out_count)
               ? subgraph_set_types(ctx, types)
               : op_needs(ctx, 0);
}

static enum op_result if_infer(struct op_ctx *ctx)
{
    struct tensor *types = mem_array(2 * (size_t)ctx->out_count, sizeof *types);
    enum op_result r = if_infer_by(ctx, types);
    mem_free(types);
    return r;
}

static enum op_result if_run(struct op_ctx *ctx)
{
    struct subgraph branches[2];
    TRY(find_branches(ctx, branches));
    const struct subgraph *b = &branches[tensor_u8(op_in(ctx, 0))[0] != 0];
    struct tensor *in = subgraph_inputs(ctx, b), *out = mem_array(ctx->out_count, sizeof *out);
    enum op_result r = subgraph_run(ctx, b, in, out);
    for (unsigned i = 0; i < ctx->out_count; i++) {
        r = r == OP_OK ? subgraph_give(ctx, i, &out[i]) : r;
        tensor_fini(&out[i]);
    }
    mem_free(in);
    mem_free(out);
    return r;
}

const struct op ops_control[] = {
    {"If", NULL, 1, OP_LATEST, 1, OP_ANY, 1, OP_ANY, OP_HEAVY | OP_MAKES, if_infer, if_run},
    {.name = NULL},
};
