/* pe/infer/ops/control.c - If: one of two subgraphs, by what the data says.
 *
 * Inputs:     the condition; then what `then_branch` captures from outside; then what `else_branch`
 *             does (load.c).
 * Shapes:     known while compiling when both branches give the same, or the condition is constant.
 * Why:        a branch runs node by node by the references, whatever the device: branches are small
 *             or rare, and which is taken is known only when the data is there.
 * See:        https://onnx.ai/onnx/operators/onnx__If.html */
#include "pe/infer/ops/ops.h"

#include "core/mem.h"
#include "pe/infer/exec.h"
#include "pe/infer/specialise.h"

#include <string.h>

struct branch {
    const struct graph *graph;
    unsigned first; /* input of the node that is its first capture */
};

static enum op_result answer_of(struct op_ctx *ctx, enum err e)
{
    switch (e) {
    case ERR_OK:
        return OP_OK;
    case ERR_NOTFOUND:
        return OP_UNSUPPORTED;
    case ERR_AGAIN:
        return op_unsupported(ctx, "shapes inside a branch depend on its data");
    case ERR_LIMIT:
    case ERR_NOMEM:
        return OP_FAILED;
    default:
        return OP_INVALID;
    }
}

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
static enum op_result find_branches(struct op_ctx *ctx, struct branch branches[2])
{
    branches[1] = (struct branch){op_attr_graph(ctx, "then_branch"), 1};
    branches[0] = (struct branch){op_attr_graph(ctx, "else_branch"), 1};
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

/* What a branch captures, borrowed; caller frees. */
static struct tensor *inputs_of(const struct op_ctx *ctx, const struct branch *b)
{
    struct tensor *in = mem_array(b->graph->input_count, sizeof *in);
    for (uint32_t i = 0; i < b->graph->input_count; i++) {
        const struct tensor *t = op_in(ctx, b->first + i);
        in[i] = tensor_borrow(t->dtype, &t->shape, t->data);
    }
    return in;
}

/* @types: [out_count]; of the outputs, without data. */
static enum op_result branch_types(struct op_ctx *ctx, const struct branch *b, struct tensor *types)
{
    struct graph *g = graph_clone(b->graph);
    struct tensor *in = inputs_of(ctx, b);
    enum err e = graph_specialise(g, in, ctx->fail);
    if (e == ERR_OK && graph_is_dynamic(g)) {
        e = ERR_AGAIN;
    }
    for (unsigned i = 0; i < ctx->out_count && e == ERR_OK; i++) {
        const struct tensor *t = &g->values[g->outputs[i]].type;
        types[i] = tensor_borrow(t->dtype, &t->shape, NULL);
    }
    mem_free(in);
    graph_free(g);
    return answer_of(ctx, e);
}

static enum op_result set_types(struct op_ctx *ctx, const struct tensor *types)
{
    for (unsigned i = 0; i < ctx->out_count; i++) {
        TRY(op_set_out(ctx, i, types[i].dtype, &types[i].shape));
    }
    return OP_OK;
}

static bool same_types(const struct tensor *a, const struct tensor *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (a[i].dtype != b[i].dtype || !shape_equal(&a[i].shape, &b[i].shape)) {
            return false;
        }
    }
    return true;
}

static enum op_result if_infer_by(struct op_ctx *ctx, struct tensor *types)
{
    struct branch branches[2];
    const struct tensor *condition = op_in(ctx, 0);
    TRY(op_want_dtypes(ctx, 0, DTS_BOOL));
    TRY(find_branches(ctx, branches));
    if (tensor_count(condition) != 1) {
        return op_invalid(ctx, "the condition has %zu elements", tensor_count(condition));
    }
    if (condition->data != NULL) {
        TRY(branch_types(ctx, &branches[tensor_u8(condition)[0] != 0], types));
        return set_types(ctx, types);
    }
    TRY(branch_types(ctx, &branches[0], types));
    TRY(branch_types(ctx, &branches[1], types + ctx->out_count));
    return same_types(types, types + ctx->out_count, ctx->out_count) ? set_types(ctx, types)
                                                                     : op_needs(ctx, 0);
}

static enum op_result if_infer(struct op_ctx *ctx)
{
    struct tensor *types = mem_array(2 * (size_t)ctx->out_count, sizeof *types);
    enum op_result r = if_infer_by(ctx, types);
    mem_free(types);
    return r;
}

static enum op_result take_outputs(struct op_ctx *ctx, const struct tensor *from)
{
    for (unsigned i = 0; i < ctx->out_count; i++) {
        struct tensor *to = op_out(ctx, i);
        if (to == NULL || tensor_bytes(to) == 0) {
            continue;
        }
        if (!same_types(to, &from[i], 1)) {
            return op_failed(ctx, "output %u came out in another shape than was worked out", i);
        }
        memcpy(to->data, from[i].data, tensor_bytes(to));
    }
    return OP_OK;
}

static enum op_result if_run(struct op_ctx *ctx)
{
    struct branch branches[2];
    TRY(find_branches(ctx, branches));
    const struct branch *b = &branches[tensor_u8(op_in(ctx, 0))[0] != 0];
    struct tensor *in = inputs_of(ctx, b), *out = mem_array(ctx->out_count, sizeof *out);
    enum op_result r = answer_of(ctx, graph_run(b->graph, in, out, ctx->fail));
    if (r == OP_OK) {
        r = take_outputs(ctx, out);
    }
    for (unsigned i = 0; i < ctx->out_count; i++) {
        tensor_fini(&out[i]);
    }
    mem_free(in);
    mem_free(out);
    return r;
}

const struct op ops_control[] = {
    {"If", NULL, 1, OP_LATEST, 1, OP_ANY, 1, OP_ANY, OP_HEAVY, if_infer, if_run},
    {.name = NULL},
};
