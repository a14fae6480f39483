/* pe/infer/ops/loop.c - Loop: a body again and again, while a condition holds, up to a count.
 *
 * Inputs:     the count M (may be left out), the condition (may be left out), what is carried from
 *             trip to trip; then what the body captures (load.c).
 * Body:       trip, condition, carried -> condition, carried, what is piled up trip by trip.
 * Shapes:     known while compiling when what is carried keeps its shape and nothing is piled up,
 *             or M is constant and the condition cannot become false: given that it is true, the
 *             body says that it is true.  Else run makes the outputs.
 * See:        https://onnx.ai/onnx/operators/onnx__Loop.html */
#include "pe/infer/ops/ops.h"

#include "core/mem.h"
#include "pe/infer/ops/subgraph.h"

#include <string.h>

struct loop {
    struct subgraph body;
    unsigned carried, piled;
    bool has_count;
    uint64_t count; /* valid if has_count: M's value is known, or M is left out */
    bool has_condition;
    uint8_t condition; /* likewise, before the first trip */
};

static enum op_result look_at_inputs(struct op_ctx *ctx, struct loop *l)
{
    const struct tensor *m = op_in(ctx, 0), *c = op_in(ctx, 1);
    TRY(op_want_dtypes(ctx, 0, DT_BIT(DT_I64)));
    TRY(op_want_dtypes(ctx, 1, DTS_BOOL));
    if ((m != NULL && tensor_count(m) != 1) || (c != NULL && tensor_count(c) != 1)) {
        return op_invalid(ctx, "the count and the condition want one element each");
    }
    l->has_count = m == NULL || m->data != NULL;
    l->count = UINT64_MAX;
    if (m != NULL && m->data != NULL) {
        int64_t count = tensor_i64(m)[0];
        l->count = count > 0 ? (uint64_t)count : 0;
    }
    l->has_condition = c == NULL || c->data != NULL;
    l->condition = c == NULL || (c->data != NULL && tensor_u8(c)[0] != 0);
    return OP_OK;
}

static enum op_result loop_look(struct op_ctx *ctx, struct loop *l)
{
    TRY(subgraph_body(ctx, &l->body));
    if (l->body.first < 2) {
        return op_invalid(ctx, "%u inputs, want at least 2", l->body.first);
    }
    l->carried = l->body.first - 2;
    unsigned own = subgraph_own(&l->body), outputs = l->body.graph->output_count;
    if (own != 2 + l->carried || outputs < 1 + l->carried || outputs != 1 + ctx->out_count) {
        return op_invalid(ctx,
                          "a body of %u inputs and %u outputs does not fit a node of %u and %u",
                          own, outputs, l->body.first, ctx->out_count);
    }
    for (unsigned i = 0; i < l->carried; i++) {
        if (op_in(ctx, 2 + i) == NULL) {
            return op_invalid(ctx, "input %u is left out, but not optional", 2 + i);
        }
    }
    l->piled = outputs - 1 - l->carried;
    return look_at_inputs(ctx, l);
}

/* Exporters declare trip and condition as scalars or as lists of one: either gets what it wants. */
static struct shape declared(const struct subgraph *body, unsigned i)
{
    const struct value *v = &body->graph->values[body->graph->inputs[i]];
    bool is_list = v->has_shape && v->type.shape.rank == 1;
    return (struct shape){.rank = is_list ? 1 : 0, .dims = {1}};
}

/* ---- shapes */

/* What is carried may not change its type; whether it keeps its shape is the answer. */
static enum op_result keeps_shapes(struct op_ctx *ctx, const struct loop *l,
                                   const struct tensor *types, bool *keeps)
{
    *keeps = true;
    for (unsigned i = 0; i < l->carried; i++) {
        const struct tensor *before = op_in(ctx, 2 + i), *after = &types[1 + i];
        if (after->dtype != before->dtype) {
            return op_invalid(ctx, "the body makes %s of carried value %u, which is %s",
                              dtype_name(after->dtype), i, dtype_name(before->dtype));
        }
        *keeps = *keeps && shape_equal(&after->shape, &before->shape);
    }
    return OP_OK;
}

static enum op_result body_types(struct op_ctx *ctx, const struct loop *l, struct tensor *types)
{
    static const uint8_t yes = 1;
    struct tensor *in = subgraph_inputs(ctx, &l->body);
    struct shape trip = declared(&l->body, 0), condition = declared(&l->body, 1);
    in[0] = tensor_borrow(DT_I64, &trip, NULL);
    in[1] = tensor_borrow(DT_BOOL, &condition, (void *)(uintptr_t)&yes); /* or there is no trip */
    for (unsigned i = 0; i < l->carried; i++) {
        const struct tensor *t = op_in(ctx, 2 + i);
        in[2 + i] = tensor_borrow(t->dtype, &t->shape, NULL);
    }
    enum op_result r = subgraph_types(ctx, &l->body, in, types);
    mem_free(in);
    return r;
}

/* Return: is the number of trips known?  *trips: which. */
static bool trips_known(const struct loop *l, const struct tensor *condition, uint64_t *trips)
{
    bool never = (l->has_condition && !l->condition) || (l->has_count && l->count == 0);
    bool stays = condition->data != NULL; /* always what the first trip makes it */
    *trips = never ? 0 : stays && tensor_u8(condition)[0] == 0 ? 1 : l->count;
    return never || (l->has_condition && l->has_count && stays);
}

static enum op_result loop_infer_by(struct op_ctx *ctx, const struct loop *l, struct tensor *types)
{
    uint64_t trips = 0;
    bool keeps = true;
    TRY(body_types(ctx, l, types));
    if (types[0].dtype != DT_BOOL || tensor_count(&types[0]) != 1) {
        return op_invalid(ctx, "the body's first output is no condition");
    }
    TRY(keeps_shapes(ctx, l, types, &keeps));
    bool known = trips_known(l, &types[0], &trips);
    if (!keeps || (l->piled != 0 && !known)) {
        return op_dynamic(ctx);
    }
    for (unsigned i = l->carried; i < ctx->out_count; i++) {
        struct shape *s = &types[1 + i].shape;
        if (s->rank == TENSOR_RANK_MAX) {
            return op_unsupported(ctx, "output %u would have rank %u", i, s->rank + 1);
        }
        memmove(&s->dims[1], &s->dims[0], s->rank * sizeof s->dims[0]);
        s->dims[0] = trips > INT64_MAX ? INT64_MAX : (int64_t)trips;
        s->rank++;
    }
    return subgraph_set_types(ctx, types + 1);
}

static enum op_result loop_infer(struct op_ctx *ctx)
{
    struct loop l = {.carried = 0};
    TRY(loop_look(ctx, &l));
    struct tensor *types = mem_array(l.body.graph->output_count, sizeof *types);
    enum op_result r = loop_infer_by(ctx, &l, types);
    mem_free(types);
    return r;
}

/* ---- running */

struct run { /* of one call */
    struct trips trips;
    uint64_t trip;
    uint8_t condition;
};

static enum op_result take_condition(struct op_ctx *ctx, struct run *run)
{
    const struct tensor *c = &run->trips.out[0];
    if (c->dtype != DT_BOOL || tensor_count(c) != 1) {
        return op_invalid(ctx, "the body's first output is no condition");
    }
    run->condition = tensor_u8(c)[0] != 0;
    return OP_OK;
}

/* In memory of their own in each trip: the body may hand them on to the next one. */
static enum op_result number_trip(struct op_ctx *ctx, const struct loop *l, struct run *run)
{
    struct shape trip = declared(&l->body, 0), condition = declared(&l->body, 1);
    struct tensor *in = run->trips.in;
    if (tensor_alloc(&in[0], DT_I64, &trip, ctx->fail) != ERR_OK ||
        tensor_alloc(&in[1], DT_BOOL, &condition, ctx->fail) != ERR_OK) {
        return OP_FAILED;
    }
    tensor_i64(&in[0])[0] = (int64_t)run->trip;
    tensor_u8(&in[1])[0] = run->condition;
    return OP_OK;
}

static enum op_result one_trip(struct op_ctx *ctx, const struct loop *l, struct run *run)
{
    struct trips *t = &run->trips;
    TRY(number_trip(ctx, l, run));
    TRY(trips_run(t, ctx, l->carried));
    TRY(take_condition(ctx, run));
    for (unsigned i = 0; i < l->carried; i++) {
        const struct tensor *before = &t->in[2 + i], *after = &t->out[1 + i];
        if (after->dtype != before->dtype) {
            return op_invalid(ctx, "the body makes %s of carried value %u, which is %s",
                              dtype_name(after->dtype), i, dtype_name(before->dtype));
        }
        trips_carry(t, 2 + i, 1 + i);
    }
    return OP_OK;
}

static enum op_result all_trips(struct op_ctx *ctx, const struct loop *l, struct run *run)
{
    enum op_result r = OP_OK;
    for (unsigned i = 0; i < l->carried; i++) {
        tensor_share(&run->trips.in[2 + i], op_in(ctx, 2 + i));
    }
    run->condition = l->condition;
    while (r == OP_OK && run->condition && run->trip < l->count) {
        r = one_trip(ctx, l, run);
        trips_end(&run->trips);
        run->trip++;
    }
    return r;
}

/* Without a trip only infer or the model's file can say what one would have been like. */
static struct tensor piled_type(struct op_ctx *ctx, const struct loop *l, const struct pile *p,
                                unsigned i)
{
    const struct tensor *typed = op_out(ctx, l->carried + i);
    if (p->count == 0 && typed != NULL && typed->dtype != DT_NONE) {
        return tensor_borrow(typed->dtype, &typed->shape, NULL);
    }
    const struct graph *g = l->body.graph;
    const struct value *declared = &g->values[g->outputs[1 + l->carried + i]];
    const struct tensor *one = p->count != 0 ? &p->type : &declared->type;
    struct shape s = {.rank = one->shape.rank + 1, .dims = {(int64_t)p->count}};
    for (unsigned d = 0; d < one->shape.rank && d + 1 < TENSOR_RANK_MAX; d++) {
        s.dims[d + 1] = one->shape.dims[d] != DIM_FREE ? one->shape.dims[d] : 0;
    }
    return tensor_borrow(one->dtype, &s, p->data);
}

static enum op_result give_all(struct op_ctx *ctx, const struct loop *l, const struct trips *t)
{
    for (unsigned i = 0; i < l->carried; i++) {
        TRY(subgraph_give(ctx, i, &t->in[2 + i]));
    }
    for (unsigned i = 0; i < l->piled; i++) {
        struct tensor all = piled_type(ctx, l, &t->piles[i], i);
        if (all.dtype == DT_NONE || all.shape.rank > TENSOR_RANK_MAX) {
            return op_unsupported(ctx, "output %u has no trip and no type, or too high a rank",
                                  l->carried + i);
        }
        TRY(subgraph_give(ctx, l->carried + i, &all));
    }
    return OP_OK;
}

static enum op_result loop_run(struct op_ctx *ctx)
{
    struct loop l = {.carried = 0};
    TRY(loop_look(ctx, &l));
    struct run run = {.trip = 0};
    trips_init(&run.trips, ctx, &l.body, 1 + l.carried);
    enum op_result r = all_trips(ctx, &l, &run);
    r = r == OP_OK ? give_all(ctx, &l, &run.trips) : r;
    trips_fini(&run.trips);
    return r;
}

const struct op ops_loop[] = {
    {"Loop", NULL, 1, OP_LATEST, 0, OP_ANY, 0, OP_ANY, OP_HEAVY | OP_LOOPS | OP_MAKES, loop_infer,
     loop_run},
    {.name = NULL},
};
