/* pe/infer/ops/select.c - operators that pick elements by their value: TopK, NonZero, Compress,
 * Unique.
 *
 * How much NonZero, Compress and Unique find depends on the data, so their infer looks at it.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* compare - as numbers; NaN is larger than all and equal to itself. */
static int compare(const struct tensor *t, size_t a, size_t b)
{
    union block left, right;
    block_load(&left, t->dtype, t->data, (int64_t)a, 1, 1);
    block_load(&right, t->dtype, t->data, (int64_t)b, 1, 1);
    switch (num_class_of(t->dtype)) {
    case NUM_FLOAT:
        if (isnan(left.f[0]) || isnan(right.f[0])) {
            return (isnan(left.f[0]) ? 1 : 0) - (isnan(right.f[0]) ? 1 : 0);
        }
        return (left.f[0] > right.f[0]) - (left.f[0] < right.f[0]);
    case NUM_INT:
        return (left.i[0] > right.i[0]) - (left.i[0] < right.i[0]);
    default:
        return (left.u[0] > right.u[0]) - (left.u[0] < right.u[0]);
    }
}

/* ---- sorting places by what stands there ---- */

struct order {
    const struct tensor *t;
    size_t count, stride; /* of an item: elements compared one after the other, and how far apart */
    size_t inner;         /* elements next to each other within an item */
    bool falling;
};

/* items_compare - two items, each `count` runs of `inner` elements, by their first difference. */
static int items_compare(const struct order *o, size_t a, size_t b)
{
    for (size_t k = 0; k < o->count; k++) {
        for (size_t i = 0; i < o->inner; i++) {
            int c = compare(o->t, a + k * o->stride + i, b + k * o->stride + i);
            if (c != 0) {
                return o->falling ? -c : c;
            }
        }
    }
    return 0;
}

static int by_value(const void *a, const void *b, void *order)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    int c = items_compare(order, left, right);
    return c != 0 ? c : (left > right) - (left < right); /* stable: the earlier place first */
}

static int by_place(const void *a, const void *b)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    return (left > right) - (left < right);
}

/* ---- TopK: k as an attribute before opset 10, as an input since ---- */

static enum op_result top_of(struct op_ctx *ctx, unsigned *axis, int64_t *k)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    unsigned count = 1;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), in->rank, axis));
    *k = op_attr_i(ctx, "k", -1);
    if (ctx->opset >= 10) {
        TRY(op_in_ints(ctx, 1, k, 1, &count));
    }
    if (count != 1 || *k < 0 || *k > in->dims[*axis]) {
        return op_invalid(ctx, "k is %lld, the axis has %lld", (long long)*k,
                          (long long)in->dims[*axis]);
    }
    return OP_OK;
}

static enum op_result top_infer(struct op_ctx *ctx)
{
    struct shape out = op_in(ctx, 0)->shape;
    unsigned axis = 0;
    int64_t k = 0;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    TRY(top_of(ctx, &axis, &k));
    out.dims[axis] = k;
    TRY(op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out));
    return op_set_out(ctx, 1, DT_I64, &out);
}

static enum op_result top_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *values = op_out(ctx, 0), *indices = op_out(ctx, 1);
    struct order order = {x, 1, 0, 1, op_attr_i(ctx, "largest", 1) != 0};
    bool sorted = op_attr_i(ctx, "sorted", 1) != 0;
    size_t size = dtype_size(x->dtype);
    unsigned axis = 0;
    int64_t k = 0;
    TRY(top_of(ctx, &axis, &k));
    size_t dim = (size_t)x->shape.dims[axis];
    size_t stride = shape_count_range(&x->shape, axis + 1, x->shape.rank);
    size_t *places = op_scratch(ctx, dim, sizeof(*places));
    if (places == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t line = 0; dim > 0 && line < tensor_count(x) / dim; line++) {
        size_t at = line / stride * stride * dim + line % stride;
        for (size_t i = 0; i < dim; i++) {
            places[i] = at + i * stride;
        }
        qsort_r(places, dim, sizeof(*places), by_value, &order);
        if (!sorted) {
            qsort(places, (size_t)k, sizeof(*places), by_place);
        }
        size_t to = line / stride * stride * (size_t)k + line % stride;
        for (size_t i = 0; i < (size_t)k; i++, to += stride) {
            if (values != NULL) {
                memcpy((uint8_t *)values->data + to * size,
                       (const uint8_t *)x->data + places[i] * size, size);
            }
            if (indices != NULL) {
                tensor_i64(indices)[to] = (int64_t)((places[i] - at) / stride);
            }
        }
    }
    return OP_OK;
}

/* ---- NonZero ---- */

static bool is_zero(const struct tensor *t, size_t k)
{
    static const uint8_t zero[16];
    size_t size = dtype_size(t->dtype);
    if (dtype_is_float(t->dtype)) {
        return tensor_get_f64(t, k) == 0; /* -0 too */
    }
    return memcmp((const uint8_t *)t->data + k * size, zero, size) == 0;
}

static size_t count_nonzero(const struct tensor *t)
{
    size_t found = 0;
    for (size_t k = 0; k < tensor_count(t); k++) {
        found += !is_zero(t, k);
    }
    return found;
}

static enum op_result nonzero_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    TRY(op_want_dtypes(ctx, 0, DTS_REAL));
    if (x->data == NULL) {
        return op_needs(ctx, 0);
    }
    struct shape out = {.rank = 2, .dims = {x->shape.rank, (int64_t)count_nonzero(x)}};
    return op_set_out(ctx, 0, DT_I64, &out);
}

static enum op_result nonzero_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    size_t all = (size_t)y->shape.dims[1], found = 0;
    for (size_t k = 0; k < tensor_count(x) && found < all; k++) {
        if (is_zero(x, k)) {
            continue;
        }
        size_t rest = k;
        for (unsigned d = x->shape.rank; d-- > 0;) {
            tensor_i64(y)[d * all + found] = (int64_t)(rest % (size_t)x->shape.dims[d]);
            rest /= (size_t)x->shape.dims[d];
        }
        found++;
    }
    return OP_OK;
}

/* ---- Compress ---- */

/* compress_of - the elements as [outer][dim][inner]; without axis the input is flat. */
static enum op_result compress_of(struct op_ctx *ctx, unsigned *axis, size_t *dim, size_t *inner)
{
    const struct shape *in = &op_in(ctx, 0)->shape, *choice = &op_in(ctx, 1)->shape;
    *dim = tensor_count(op_in(ctx, 0));
    *inner = 1;
    *axis = 0;
    if (op_attr_has(ctx, "axis")) {
        TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), in->rank, axis));
        *dim = (size_t)in->dims[*axis];
        *inner = shape_count_range(in, *axis + 1, in->rank);
    }
    if (choice->rank != 1 || (size_t)choice->dims[0] > *dim) {
        return op_invalid(ctx, "the condition is no list, or longer than %zu", *dim);
    }
    return OP_OK;
}

static enum op_result compress_infer(struct op_ctx *ctx)
{
    struct shape out = op_in(ctx, 0)->shape;
    unsigned axis = 0;
    size_t dim, inner;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DTS_BOOL));
    TRY(compress_of(ctx, &axis, &dim, &inner));
    if (op_in(ctx, 1)->data == NULL) {
        return op_needs(ctx, 1);
    }
    if (!op_attr_has(ctx, "axis")) {
        out.rank = 1;
    }
    out.dims[axis] = (int64_t)count_nonzero(op_in(ctx, 1));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

static enum op_result compress_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *choice = op_in(ctx, 1);
    unsigned axis;
    size_t dim = 0, inner = 0, size = dtype_size(x->dtype);
    TRY(compress_of(ctx, &axis, &dim, &inner));
    uint8_t *to = op_out(ctx, 0)->data;
    size_t outer = dim * inner > 0 ? tensor_count(x) / dim / inner : 0;
    for (size_t o = 0; o < outer; o++) {
        for (size_t k = 0; k < tensor_count(choice); k++) {
            if (tensor_u8(choice)[k] != 0) {
                memcpy(to, (const uint8_t *)x->data + (o * dim + k) * inner * size, inner * size);
                to += inner * size;
            }
        }
    }
    return OP_OK;
}

/* ---- Unique ---- */

struct unique {
    struct order order;    /* of the items; a place is where an item starts */
    size_t items, found;
    size_t step;           /* from one item to the next */
    size_t *places;        /* [items]: sorted by value, equal ones by place */
    size_t *firsts;        /* [found]: the first place of each value, in the order of the output */
    size_t *counts;        /* [found] */
    int64_t *inverse;      /* [items]: which of firsts each item equals */
};

/* items_of - what is compared: elements, or slices across `axis`. */
static enum op_result items_of(struct op_ctx *ctx, struct unique *u, unsigned *axis)
{
    const struct tensor *x = op_in(ctx, 0);
    memset(u, 0, sizeof(*u));
    u->order = (struct order){.t = x, .count = 1, .inner = 1};
    u->items = tensor_count(x);
    u->step = 1;
    *axis = 0;
    if (op_attr_has(ctx, "axis")) {
        TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), x->shape.rank, axis));
        u->items = (size_t)x->shape.dims[*axis];
        u->step = shape_count_range(&x->shape, *axis + 1, x->shape.rank);
        u->order.inner = u->step;
        u->order.count = shape_count_range(&x->shape, 0, *axis);
        u->order.stride = u->step * u->items;
    }
    return OP_OK;
}

/* group - firsts, counts and inverse, in the order of the values. */
static void group(struct unique *u)
{
    for (size_t i = 0; i < u->items; i++) {
        bool same = i > 0 && items_compare(&u->order, u->places[i - 1], u->places[i]) == 0;
        if (!same) {
            u->counts[u->found] = 0;
            u->firsts[u->found++] = u->places[i];
        }
        u->counts[u->found - 1]++;
        u->inverse[u->step > 0 ? u->places[i] / u->step : i] = (int64_t)(u->found - 1);
    }
}

/* by_appearance - bring what group found into the order of first appearance. */
static enum op_result by_appearance(struct op_ctx *ctx, struct unique *u)
{
    size_t *counts = op_scratch(ctx, u->found, sizeof(*counts));
    int64_t *renumber = op_scratch(ctx, u->found, sizeof(*renumber));
    if (counts == NULL || renumber == NULL) {
        return op_failed(ctx, "out of memory");
    }
    qsort(u->firsts, u->found, sizeof(*u->firsts), by_place);
    for (size_t i = 0; i < u->found; i++) {
        size_t old = (size_t)u->inverse[u->firsts[i] / u->step];
        renumber[old] = (int64_t)i;
        counts[i] = u->counts[old];
    }
    for (size_t i = 0; i < u->items; i++) {
        u->inverse[i] = renumber[u->inverse[i]];
    }
    u->counts = counts;
    return OP_OK;
}

static enum op_result unique_of(struct op_ctx *ctx, struct unique *u, unsigned *axis)
{
    TRY(items_of(ctx, u, axis));
    if (u->step * u->order.count == 0) {
        return op_unsupported(ctx, "slices without elements");
    }
    u->places = op_scratch(ctx, u->items, sizeof(*u->places));
    u->firsts = op_scratch(ctx, u->items, sizeof(*u->firsts));
    u->counts = op_scratch(ctx, u->items, sizeof(*u->counts));
    u->inverse = op_scratch(ctx, u->items, sizeof(*u->inverse));
    if (!u->places || !u->firsts || !u->counts || !u->inverse) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t i = 0; i < u->items; i++) {
        u->places[i] = i * u->step;
    }
    qsort_r(u->places, u->items, sizeof(*u->places), by_value, &u->order);
    group(u);
    return op_attr_i(ctx, "sorted", 1) != 0 ? OP_OK : by_appearance(ctx, u);
}

static enum op_result unique_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct unique u;
    unsigned axis;
    TRY(op_want_dtypes(ctx, 0, DTS_REAL));
    TRY(items_of(ctx, &u, &axis));
    if (x->data == NULL) {
        return op_needs(ctx, 0);
    }
    TRY(unique_of(ctx, &u, &axis));
    struct shape list = {.rank = 1, .dims = {(int64_t)u.found}}, out = x->shape;
    struct shape items = {.rank = 1, .dims = {(int64_t)u.items}};
    out.dims[axis] = (int64_t)u.found;
    TRY(op_set_out(ctx, 0, x->dtype, op_attr_has(ctx, "axis") ? &out : &list));
    TRY(op_set_out(ctx, 1, DT_I64, &list));
    TRY(op_set_out(ctx, 2, DT_I64, &items));
    return op_set_out(ctx, 3, DT_I64, &list);
}

static enum op_result unique_run(struct op_ctx *ctx)
{
    struct tensor *y = op_out(ctx, 0);
    const struct tensor *x = op_in(ctx, 0);
    struct unique u = {0};
    unsigned axis;
    TRY(unique_of(ctx, &u, &axis));
    size_t size = dtype_size(x->dtype), bytes = u.order.inner * size;
    for (size_t i = 0; i < u.found; i++) {
        for (size_t o = 0; o < u.order.count && y != NULL; o++) {
            memcpy((uint8_t *)y->data + (o * u.found + i) * bytes,
                   (const uint8_t *)x->data + (u.firsts[i] + o * u.order.stride) * size, bytes);
        }
        if (op_out(ctx, 1) != NULL) {
            tensor_i64(op_out(ctx, 1))[i] = (int64_t)(u.firsts[i] / u.step);
        }
        if (op_out(ctx, 3) != NULL) {
            tensor_i64(op_out(ctx, 3))[i] = (int64_t)u.counts[i];
        }
    }
    if (op_out(ctx, 2) != NULL && u.items > 0) {
        memcpy(op_out(ctx, 2)->data, u.inverse, u.items * sizeof(*u.inverse));
    }
    return OP_OK;
}

const struct op ops_select[] = {
    {"TopK", NULL, 1, 9, 1, 1, 2, 2, 0, top_infer, top_run},
    {"TopK", NULL, 10, OP_LATEST, 2, 2, 2, 2, 0, top_infer, top_run},
    {"NonZero", NULL, 9, OP_LATEST, 1, 1, 1, 1, 0, nonzero_infer, nonzero_run},
    {"Compress", NULL, 9, OP_LATEST, 2, 2, 1, 1, 0, compress_infer, compress_run},
    {"Unique", NULL, 11, OP_LATEST, 1, 1, 1, 4, 0, unique_infer, unique_run},
    {.name = NULL},
};
