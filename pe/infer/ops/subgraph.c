/* pe/infer/ops/subgraph.c - running a subgraph as part of its node, and typing what it gives. */
#include "pe/infer/ops/subgraph.h"

#include "core/mem.h"
#include "pe/infer/exec.h"
#include "pe/infer/ops/ops.h"
#include "pe/infer/specialise.h"

#include <string.h>

#define TYPES_COST 3 /* of working out what an operator gives, when running a small one is 1 */

static enum op_result answer_of(enum err e)
{
    switch (e) {
    case ERR_OK:
        return OP_OK;
    case ERR_NOTFOUND:
        return OP_UNSUPPORTED;
    case ERR_AGAIN:
        return OP_NEEDS_DATA;
    case ERR_LIMIT:
    case ERR_NOMEM:
        return OP_FAILED;
    default:
        return OP_INVALID;
    }
}

enum op_result subgraph_body(struct op_ctx *ctx, struct subgraph *out)
{
    const struct graph *g = op_attr_graph(ctx, "body");
    if (g == NULL) {
        return op_invalid(ctx, "the body is missing");
    }
    if (g->capture_count > ctx->in_count) {
        return op_invalid(ctx, "%u inputs, but the body captures %u values", ctx->in_count,
                          g->capture_count);
    }
    *out = (struct subgraph){g, ctx->in_count - g->capture_count};
    return OP_OK;
}

struct tensor *subgraph_inputs(const struct op_ctx *ctx, const struct subgraph *s)
{
    struct tensor *in = mem_array(s->graph->input_count, sizeof *in);
    unsigned own = subgraph_own(s);
    for (uint32_t i = 0; i < s->graph->capture_count; i++) {
        const struct tensor *t = op_in(ctx, s->first + i);
        in[own + i] = tensor_borrow(t->dtype, &t->shape, t->data);
    }
    return in;
}

/* A condition that is always the same, told beyond the life of the graph it stands in. */
static struct tensor type_of(const struct value *v)
{
    static const uint8_t bits[2] = {0, 1};
    const struct tensor *t = &v->type;
    void *data = NULL;
    if (v->kind == VALUE_CONST && t->dtype == DT_BOOL && tensor_count(t) == 1) {
        data = (void *)(uintptr_t)&bits[tensor_u8(t)[0] != 0];
    }
    return tensor_borrow(t->dtype, &t->shape, data);
}

static bool is_folded(const struct graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead) {
            return false;
        }
    }
    return true;
}

/* Its declared inputs are the node's business: nothing inside can be named for them. */
static enum op_result check_inputs(struct op_ctx *ctx, const struct subgraph *s,
                                   const struct tensor *in)
{
    struct fail f = {0};
    enum err e = graph_check_inputs(s->graph, in, &f);
    return e == ERR_OK ? OP_OK : op_invalid(ctx, "its subgraph: %.200s", f.what);
}

/* One more time through a subgraph: counted in what one inference may do.  Names and constants cost
 * something even where there is no operator. */
static enum op_result charge(struct op_ctx *ctx, const struct subgraph *s, unsigned times)
{
    uint64_t values = s->graph->value_count / 4, nodes = s->graph->node_count;
    uint64_t cost = times * (1 + (nodes > values ? nodes : values)); /* inner ones: by theirs */
    if (ctx->budget->steps < cost) {
        return op_failed(ctx, "loops would run more than %u operators in one inference",
                         INFER_LOOP_STEPS_MAX);
    }
    ctx->budget->steps -= cost;
    return OP_OK;
}

enum op_result subgraph_types(struct op_ctx *ctx, const struct subgraph *s, const struct tensor *in,
                              struct tensor *types)
{
    TRY(charge(ctx, s, TYPES_COST));
    TRY(check_inputs(ctx, s, in));
    struct graph *g = graph_clone(s->graph);
    size_t fold_bytes = ctx->budget->fold_bytes;
    enum err e = graph_specialise_within(g, in, ctx->budget, ctx->fail);
    ctx->budget->fold_bytes = fold_bytes; /* what was folded goes with the clone */
    ctx->folds = e == ERR_OK && is_folded(g);
    if (e == ERR_OK && graph_is_dynamic(g)) {
        e = ERR_AGAIN;
        (void)op_dynamic(ctx);
    }
    for (uint32_t i = 0; i < g->output_count && e == ERR_OK; i++) {
        types[i] = type_of(&g->values[g->outputs[i]]);
    }
    graph_free(g);
    return answer_of(e);
}

enum op_result subgraph_run(struct op_ctx *ctx, const struct subgraph *s, const struct tensor *in,
                            struct tensor *out)
{
    TRY(charge(ctx, s, 1));
    TRY(check_inputs(ctx, s, in));
    return answer_of(graph_run_within(s->graph, in, out, ctx->budget, ctx->fail));
}

bool subgraph_same_type(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape);
}

enum op_result subgraph_give(struct op_ctx *ctx, unsigned i, const struct tensor *from)
{
    struct tensor *to = op_out(ctx, i);
    if (to == NULL) {
        return OP_OK;
    }
    if (to->dtype == DT_NONE) {
        enum err e = tensor_alloc(to, from->dtype, &from->shape, ctx->fail);
        if (e != ERR_OK) {
            return answer_of(e);
        }
    } else if (!subgraph_same_type(to, from)) {
        return op_failed(ctx, "output %u came out in another shape than was worked out", i);
    }
    if (tensor_bytes(to) != 0) {
        memcpy(to->data, from->data, tensor_bytes(to));
    }
    return OP_OK;
}

enum op_result subgraph_set_types(struct op_ctx *ctx, const struct tensor *types)
{
    for (unsigned i = 0; i < ctx->out_count; i++) {
        TRY(op_set_out(ctx, i, types[i].dtype, &types[i].shape));
    }
    return OP_OK;
}

/* ---- results of the trips */

enum op_result pile_add(struct op_ctx *ctx, struct pile *p, unsigned output, const struct tensor *t)
{
    char have[SHAPE_TEXT_BYTES], want[SHAPE_TEXT_BYTES];
    size_t bytes = tensor_bytes(t);
    if (p->type.dtype == DT_NONE) {
        p->type = tensor_borrow(t->dtype, &t->shape, NULL);
    } else if (!subgraph_same_type(&p->type, t)) {
        return op_invalid(ctx, "output %u is %s%s in trip %zu, was %s%s", output,
                          dtype_name(t->dtype), shape_text(&t->shape, have), p->count,
                          dtype_name(p->type.dtype), shape_text(&p->type.shape, want));
    }
    if (bytes > TENSOR_BYTES_MAX - p->bytes) {
        return op_failed(ctx, "output %u would have more than %llu MiB", output,
                         TENSOR_BYTES_MAX >> 20);
    }
    if (p->bytes + bytes > p->capacity) {
        p->capacity = (p->bytes + bytes) * 2;
        p->data = mem_resize(p->data, p->capacity, 1);
    }
    if (bytes != 0) {
        memcpy(p->data + p->bytes, t->data, bytes);
    }
    p->bytes += bytes;
    p->count++;
    return OP_OK;
}

void pile_fini(struct pile *p)
{
    mem_free(p->data);
    *p = (struct pile){0};
}

/* ---- trips through a body */

void trips_init(struct trips *t, const struct op_ctx *ctx, const struct subgraph *body,
                unsigned first_piled)
{
    uint32_t outputs = body->graph->output_count;
    *t = (struct trips){.body = body,
                        .in = subgraph_inputs(ctx, body),
                        .out = mem_array(outputs, sizeof *t->out),
                        .piles = mem_array(outputs - first_piled, sizeof *t->piles),
                        .first_piled = first_piled};
}

enum op_result trips_run(struct trips *t, struct op_ctx *ctx, unsigned given)
{
    TRY(subgraph_run(ctx, t->body, t->in, t->out));
    for (unsigned i = t->first_piled; i < t->body->graph->output_count; i++) {
        unsigned k = i - t->first_piled;
        TRY(pile_add(ctx, &t->piles[k], given + k, &t->out[i]));
    }
    return OP_OK;
}

void trips_carry(struct trips *t, unsigned to, unsigned from)
{
    tensor_share(&t->in[to], &t->out[from]);
}

void trips_end(struct trips *t)
{
    for (uint32_t i = 0; i < t->body->graph->output_count; i++) {
        tensor_fini(&t->out[i]);
    }
}

void trips_fini(struct trips *t)
{
    for (unsigned i = 0; i < subgraph_own(t->body); i++) {
        tensor_fini(&t->in[i]);
    }
    for (unsigned i = t->first_piled; i < t->body->graph->output_count; i++) {
        pile_fini(&t->piles[i - t->first_piled]);
    }
    mem_free(t->piles);
    mem_free(t->out);
    mem_free(t->in);
}
