/* pe/infer/ops/scan.c - Scan: a body over the elements of sequences, with state from one to the
 * next.
 *
 * Inputs:     (before opset 9: lengths, may be left out); states; sequences; what the body
 * captures. Body:       states, an element of each sequence -> states, an element of each output.
 * Shapes:     known while compiling: sequences say how many trips there are, and a state keeps its
 *             shape.  Only where the body's own shapes depend on data run makes the outputs.
 * Before opset 9 every input has the batch in front, the axis of sequences is the next one, and
 *             each row of the batch has a length of its own; behind it outputs are 0.
 * See:        https://onnx.ai/onnx/operators/onnx__Scan.html */
#include "pe/infer/ops/ops.h"

#include "core/mem.h"
#include "pe/infer/ops/subgraph.h"

#include <string.h>

struct scan {
    struct subgraph body;
    unsigned first; /* input of the node that is its first state */
    unsigned states, sequences, outputs;
    bool batched; /* before opset 9 */
    int64_t batch, length;
    const int64_t *in_axes, *in_backward, *out_axes, *out_backward; /* NULL: all 0 */
};

/* ---- what the node says */

static enum op_result list_of(struct op_ctx *ctx, const char *name, unsigned want,
                              const int64_t **out)
{
    unsigned count = 0;
    *out = op_attr_ints(ctx, name, &count);
    if (*out != NULL && count != want) {
        return op_invalid(ctx, "%s has %u entries, want %u", name, count, want);
    }
    return OP_OK;
}

static enum op_result look_at_lists(struct op_ctx *ctx, struct scan *s)
{
    if (s->batched) {
        return list_of(ctx, "directions", s->sequences, &s->in_backward);
    }
    TRY(list_of(ctx, "scan_input_axes", s->sequences, &s->in_axes));
    TRY(list_of(ctx, "scan_input_directions", s->sequences, &s->in_backward));
    TRY(list_of(ctx, "scan_output_axes", s->outputs, &s->out_axes));
    return list_of(ctx, "scan_output_directions", s->outputs, &s->out_backward);
}

static enum op_result sequence_axis(struct op_ctx *ctx, const struct scan *s, unsigned i,
                                    unsigned *axis)
{
    const struct tensor *t = op_in(ctx, s->first + s->states + i);
    *axis = 1;
    return s->batched ? OP_OK
                      : op_axis(ctx, "scan_input_axes", s->in_axes != NULL ? s->in_axes[i] : 0,
                                t->shape.rank, axis);
}

static enum op_result look_at_batch(struct op_ctx *ctx, struct scan *s)
{
    const struct tensor *lengths = s->first != 0 ? op_in(ctx, 0) : NULL;
    for (unsigned i = 0; i < s->states + s->sequences; i++) {
        const struct shape *shape = &op_in(ctx, s->first + i)->shape;
        uint32_t least = i < s->states ? 1 : 2;
        if (shape->rank < least || shape->dims[0] != op_in(ctx, s->first)->shape.dims[0]) {
            return op_invalid(ctx, "input %u has no batch as the others", s->first + i);
        }
        s->batch = shape->dims[0];
    }
    if (lengths != NULL &&
        (lengths->dtype != DT_I64 || tensor_count(lengths) != (size_t)s->batch)) {
        return op_invalid(ctx, "lengths want one i64 for each row of the batch");
    }
    return OP_OK;
}

static enum op_result look_at_inputs(struct op_ctx *ctx, struct scan *s)
{
    for (unsigned i = s->first; i < s->body.first; i++) {
        if (op_in(ctx, i) == NULL) {
            return op_invalid(ctx, "input %u is left out, but not optional", i);
        }
    }
    s->batch = 1;
    if (s->batched) {
        TRY(look_at_batch(ctx, s));
    }
    for (unsigned i = 0; i < s->sequences; i++) {
        unsigned axis = 0;
        TRY(sequence_axis(ctx, s, i, &axis));
        int64_t length = op_in(ctx, s->first + s->states + i)->shape.dims[axis];
        if (i > 0 && length != s->length) {
            return op_invalid(ctx, "sequences of %lld and %lld elements", (long long)s->length,
                              (long long)length);
        }
        s->length = length;
    }
    return OP_OK;
}

static enum op_result scan_look(struct op_ctx *ctx, struct scan *s)
{
    TRY(subgraph_body(ctx, &s->body));
    s->batched = ctx->opset < 9;
    s->first = s->batched ? 1 : 0;
    int64_t sequences = op_attr_i(ctx, "num_scan_inputs", 0);
    int64_t own = (int64_t)s->body.first - s->first;
    if (sequences < 1 || sequences > own) {
        return op_invalid(ctx, "num_scan_inputs is %lld, of %lld inputs", (long long)sequences,
                          (long long)own);
    }
    s->sequences = (unsigned)sequences;
    s->states = (unsigned)(own - sequences);
    if (subgraph_own(&s->body) != own || s->body.graph->output_count != ctx->out_count ||
        ctx->out_count < s->states) {
        return op_invalid(ctx, "a body of %u inputs and %u outputs does not fit",
                          subgraph_own(&s->body), s->body.graph->output_count);
    }
    s->outputs = ctx->out_count - s->states;
    TRY(look_at_lists(ctx, s));
    return look_at_inputs(ctx, s);
}

/* ---- shapes */

static void drop_axis(struct shape *s, unsigned axis)
{
    for (unsigned d = axis; d + 1 < s->rank; d++) {
        s->dims[d] = s->dims[d + 1];
    }
    s->rank--;
}

static enum op_result add_axis(struct op_ctx *ctx, struct shape *s, unsigned axis, int64_t dim)
{
    if (s->rank == TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "an output would have rank %u", s->rank + 1);
    }
    for (unsigned d = s->rank; d > axis; d--) {
        s->dims[d] = s->dims[d - 1];
    }
    s->dims[axis] = dim;
    s->rank++;
    return OP_OK;
}

/* The type of the body's input i, one of its own. */
static enum op_result element_type(struct op_ctx *ctx, const struct scan *s, unsigned i,
                                   struct tensor *out)
{
    const struct tensor *t = op_in(ctx, s->first + i);
    struct shape shape = t->shape;
    if (i >= s->states) {
        unsigned axis = 0;
        TRY(sequence_axis(ctx, s, i - s->states, &axis));
        drop_axis(&shape, axis);
    }
    if (s->batched) {
        drop_axis(&shape, 0);
    }
    *out = tensor_borrow(t->dtype, &shape, NULL);
    return OP_OK;
}

static enum op_result body_types(struct op_ctx *ctx, const struct scan *s, struct tensor *types)
{
    struct tensor *in = subgraph_inputs(ctx, &s->body);
    enum op_result r = OP_OK;
    for (unsigned i = 0; i < s->states + s->sequences && r == OP_OK; i++) {
        r = element_type(ctx, s, i, &in[i]);
    }
    r = r == OP_OK ? subgraph_types(ctx, &s->body, in, types) : r;
    for (unsigned i = 0; i < s->states && r == OP_OK; i++) {
        if (!subgraph_same_type(&in[i], &types[i])) {
            char have[SHAPE_TEXT_BYTES], want[SHAPE_TEXT_BYTES];
            r = op_invalid(ctx, "the body makes %s%s of state %u, which is %s%s",
                           dtype_name(types[i].dtype), shape_text(&types[i].shape, have), i,
                           dtype_name(in[i].dtype), shape_text(&in[i].shape, want));
        }
    }
    mem_free(in);
    return r;
}

/* From what the body gives to what the node does. */
static enum op_result grow(struct op_ctx *ctx, const struct scan *s, unsigned i,
                           struct tensor *type)
{
    if (i >= s->states) {
        unsigned axis = 0, k = i - s->states;
        if (s->out_axes != NULL) {
            TRY(op_axis(ctx, "scan_output_axes", s->out_axes[k], type->shape.rank + 1, &axis));
        }
        TRY(add_axis(ctx, &type->shape, axis, s->length));
    }
    return s->batched ? add_axis(ctx, &type->shape, 0, s->batch) : OP_OK;
}

static enum op_result scan_infer_by(struct op_ctx *ctx, const struct scan *s, struct tensor *types)
{
    TRY(body_types(ctx, s, types));
    for (unsigned i = 0; i < ctx->out_count; i++) {
        TRY(grow(ctx, s, i, &types[i]));
    }
    return subgraph_set_types(ctx, types);
}

static enum op_result scan_infer(struct op_ctx *ctx)
{
    struct scan s = {.first = 0};
    TRY(scan_look(ctx, &s));
    struct tensor *types = mem_array(s.body.graph->output_count, sizeof *types);
    enum op_result r = scan_infer_by(ctx, &s, types);
    mem_free(types);
    return r;
}

/* ---- running */

struct run { /* of one call */
    struct trips trips;
    struct tensor *all; /* [out_count]: what the node gives, held */
};

/* Element `at` of sequence i, in row `row` of the batch. */
static enum op_result take_element(struct op_ctx *ctx, const struct scan *s, unsigned i,
                                   int64_t row, int64_t at, struct tensor *out)
{
    const struct tensor *t = op_in(ctx, s->first + s->states + i);
    struct tensor type;
    unsigned axis = 0;
    TRY(sequence_axis(ctx, s, i, &axis));
    TRY(element_type(ctx, s, s->states + i, &type));
    if (tensor_alloc(out, type.dtype, &type.shape, ctx->fail) != ERR_OK) {
        return OP_FAILED;
    }
    unsigned outer_from = s->batched ? 1 : 0;
    size_t outer = shape_count_range(&t->shape, outer_from, axis);
    size_t bytes = shape_count_range(&t->shape, axis + 1, t->shape.rank) * dtype_size(t->dtype);
    const uint8_t *from = t->data;
    for (size_t o = 0; o < outer && bytes != 0; o++) {
        size_t line = ((size_t)row * outer + o) * (size_t)s->length + (size_t)at;
        memcpy((uint8_t *)out->data + o * bytes, from + line * bytes, bytes);
    }
    return OP_OK;
}

static enum op_result one_trip(struct op_ctx *ctx, const struct scan *s, int64_t row,
                               int64_t length, int64_t at, struct trips *t)
{
    for (unsigned i = 0; i < s->sequences; i++) {
        bool backward = s->in_backward != NULL && s->in_backward[i] != 0;
        TRY(take_element(ctx, s, i, row, backward ? length - 1 - at : at, &t->in[s->states + i]));
    }
    TRY(trips_run(t, ctx, s->states));
    for (unsigned i = 0; i < s->states; i++) {
        if (!subgraph_same_type(&t->in[i], &t->out[i])) {
            return op_invalid(ctx, "the body changes the shape of state %u", i);
        }
        trips_carry(t, i, i);
    }
    return OP_OK;
}

static enum op_result take_states(struct op_ctx *ctx, const struct scan *s, int64_t row,
                                  struct trips *t)
{
    for (unsigned i = 0; i < s->states; i++) {
        struct tensor type;
        TRY(element_type(ctx, s, i, &type));
        size_t bytes = tensor_bytes(&type);
        if (tensor_alloc(&t->in[i], type.dtype, &type.shape, ctx->fail) != ERR_OK) {
            return OP_FAILED;
        }
        if (bytes != 0) {
            const uint8_t *from = op_in(ctx, s->first + i)->data;
            memcpy(t->in[i].data, from + (size_t)row * bytes, bytes);
        }
    }
    return OP_OK;
}

/* The pile in the place of its row: element k of the pile stands at `at` of the axis. */
static void place_pile(const struct scan *s, unsigned i, int64_t row, const struct pile *p,
                       unsigned axis, struct tensor *all)
{
    const struct shape *one = &p->type.shape;
    bool backward = s->out_backward != NULL && s->out_backward[i] != 0;
    size_t outer = shape_count_range(one, 0, axis);
    size_t bytes = shape_count_range(one, axis, one->rank) * dtype_size(p->type.dtype);
    for (size_t k = 0; k < p->count; k++) {
        size_t at = backward ? p->count - 1 - k : k;
        for (size_t o = 0; o < outer && bytes != 0; o++) {
            size_t line = ((size_t)row * outer + o) * (size_t)s->length + at;
            memcpy((uint8_t *)all->data + line * bytes, p->data + (k * outer + o) * bytes, bytes);
        }
    }
}

static enum op_result make_room(struct op_ctx *ctx, const struct scan *s, unsigned i,
                                const struct tensor *one, struct tensor *all)
{
    struct tensor type = tensor_borrow(one->dtype, &one->shape, NULL);
    const struct tensor *typed = op_out(ctx, i);
    if (all->data != NULL) {
        return OP_OK; /* an earlier row has */
    }
    if (one->dtype != DT_NONE) {
        TRY(grow(ctx, s, i, &type));
    } else if (typed != NULL && typed->dtype != DT_NONE) {
        type = tensor_borrow(typed->dtype, &typed->shape, NULL);
    } else {
        return op_unsupported(ctx, "output %u has no trip, and shapes depend on data", i);
    }
    return tensor_alloc(all, type.dtype, &type.shape, ctx->fail) == ERR_OK ? OP_OK : OP_FAILED;
}

static enum op_result keep_row(struct op_ctx *ctx, const struct scan *s, int64_t row,
                               struct run *run)
{
    struct trips *t = &run->trips;
    for (unsigned i = 0; i < s->states; i++) {
        size_t bytes = tensor_bytes(&t->in[i]);
        TRY(make_room(ctx, s, i, &t->in[i], &run->all[i]));
        if (bytes != 0) {
            memcpy((uint8_t *)run->all[i].data + (size_t)row * bytes, t->in[i].data, bytes);
        }
    }
    for (unsigned i = 0; i < s->outputs; i++) {
        struct pile *p = &t->piles[i];
        struct tensor *all = &run->all[s->states + i];
        unsigned axis = 0;
        TRY(make_room(ctx, s, s->states + i, &p->type, all));
        if (p->count != 0 && s->out_axes != NULL) {
            TRY(op_axis(ctx, "scan_output_axes", s->out_axes[i], p->type.shape.rank + 1, &axis));
        }
        place_pile(s, i, row, p, axis, all);
        p->bytes = 0; /* its type stays: rows are alike */
        p->count = 0;
    }
    return OP_OK;
}

static enum op_result one_row(struct op_ctx *ctx, const struct scan *s, int64_t row,
                              struct run *run)
{
    const struct tensor *lengths = s->first != 0 ? op_in(ctx, 0) : NULL;
    int64_t length = lengths != NULL ? tensor_i64(lengths)[row] : s->length;
    enum op_result r = OP_OK;
    if (length < 0 || length > s->length) {
        return op_invalid(ctx, "a length of %lld in sequences of %lld", (long long)length,
                          (long long)s->length);
    }
    TRY(take_states(ctx, s, row, &run->trips));
    for (int64_t at = 0; at < length && r == OP_OK; at++) {
        r = one_trip(ctx, s, row, length, at, &run->trips);
        trips_end(&run->trips);
    }
    return r == OP_OK ? keep_row(ctx, s, row, run) : r;
}

static enum op_result scan_run(struct op_ctx *ctx)
{
    struct scan s = {.first = 0};
    TRY(scan_look(ctx, &s));
    struct run run = {.all = mem_array(ctx->out_count, sizeof *run.all)};
    enum op_result r = OP_OK;
    trips_init(&run.trips, ctx, &s.body, s.states);
    for (int64_t row = 0; row < s.batch && r == OP_OK; row++) {
        r = one_row(ctx, &s, row, &run);
    }
    for (unsigned i = 0; i < ctx->out_count; i++) {
        static const struct tensor none;
        r = r == OP_OK ? make_room(ctx, &s, i, &none, &run.all[i]) : r; /* of a batch of none */
        r = r == OP_OK ? subgraph_give(ctx, i, &run.all[i]) : r;
        tensor_fini(&run.all[i]);
    }
    mem_free(run.all);
    trips_fini(&run.trips);
    return r;
}

const struct op ops_scan[] = {
    {"Scan", NULL, 8, OP_LATEST, 0, OP_ANY, 1, OP_ANY, OP_HEAVY | OP_LOOPS | OP_MAKES, scan_infer,
     scan_run},
    {.name = NULL},
};
