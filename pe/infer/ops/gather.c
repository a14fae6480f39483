/* pe/infer/ops/gather.c - operators that read or write at indices: Gather*, Scatter*.
 *
 * Every index comes from a model or a stream and is checked where it is used: -dim .. dim-1.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <string.h>

/* index_at - element k of the indices, brought to 0..dim-1. */
static enum op_result index_at(struct op_ctx *ctx, const struct tensor *indices, size_t k,
                               int64_t dim, int64_t *out)
{
    int64_t i = indices->dtype == DT_I64 ? tensor_i64(indices)[k] : tensor_get_i64(indices, k);
    if (i < -dim || i >= dim) {
        return op_invalid(ctx, "index %lld is out of range, the dim has %lld", (long long)i,
                          (long long)dim);
    }
    *out = i < 0 ? i + dim : i;
    return OP_OK;
}

static enum op_result gather_axis(struct op_ctx *ctx, unsigned *axis)
{
    return op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), op_in(ctx, 0)->shape.rank, axis);
}

/* ---- Gather ---- */

static enum op_result gather_infer(struct op_ctx *ctx)
{
    const struct shape *data = &op_in(ctx, 0)->shape, *indices = &op_in(ctx, 1)->shape;
    struct shape out = {0};
    unsigned axis = 0;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DTS_INDEX));
    TRY(gather_axis(ctx, &axis));
    if (data->rank - 1 + indices->rank > TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "the result would have more than %u dims", TENSOR_RANK_MAX);
    }
    for (unsigned d = 0; d < axis; d++) {
        out.dims[out.rank++] = data->dims[d];
    }
    for (unsigned d = 0; d < indices->rank; d++) {
        out.dims[out.rank++] = indices->dims[d];
    }
    for (unsigned d = axis + 1; d < data->rank; d++) {
        out.dims[out.rank++] = data->dims[d];
    }
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

static enum op_result gather_run(struct op_ctx *ctx)
{
    const struct tensor *data = op_in(ctx, 0), *indices = op_in(ctx, 1);
    unsigned axis = 0;
    TRY(gather_axis(ctx, &axis));
    size_t outer = shape_count_range(&data->shape, 0, axis), picks = tensor_count(indices);
    size_t dim = (size_t)data->shape.dims[axis];
    size_t bytes = shape_count_range(&data->shape, axis + 1, data->shape.rank) *
                   dtype_size(data->dtype);
    uint8_t *to = op_out(ctx, 0)->data;
    for (size_t k = 0; k < picks; k++) {
        int64_t i = 0;
        TRY(index_at(ctx, indices, k, (int64_t)dim, &i));
        for (size_t o = 0; o < outer && bytes > 0; o++) {
            memcpy(to + (o * picks + k) * bytes,
                   (const uint8_t *)data->data + (o * dim + (size_t)i) * bytes, bytes);
        }
    }
    return OP_OK;
}

/* ---- GatherElements, ScatterElements: one element per index, same rank ---- */

/* elements_check - indices lie inside data in every dim but the axis. */
static enum op_result elements_check(struct op_ctx *ctx)
{
    const struct shape *data = &op_in(ctx, 0)->shape, *indices = &op_in(ctx, 1)->shape;
    unsigned axis = 0;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DTS_INDEX));
    if (data->rank != indices->rank || data->rank == 0) {
        return op_invalid(ctx, "data has %u dims, indices %u", data->rank, indices->rank);
    }
    TRY(gather_axis(ctx, &axis));
    for (unsigned d = 0; d < data->rank; d++) {
        if (d != axis && indices->dims[d] > data->dims[d]) {
            return op_invalid(ctx, "indices are larger than data in dim %u", d);
        }
    }
    return OP_OK;
}

/* element_at - where in data the index at place k of the indices points. */
static enum op_result element_at(struct op_ctx *ctx, unsigned axis, size_t k, size_t *out)
{
    const struct tensor *data = op_in(ctx, 0), *indices = op_in(ctx, 1);
    int64_t place[TENSOR_RANK_MAX], at = 0;
    size_t rest = k;
    for (unsigned d = data->shape.rank; d-- > 0;) {
        place[d] = (int64_t)(rest % (size_t)indices->shape.dims[d]);
        rest /= (size_t)indices->shape.dims[d];
    }
    TRY(index_at(ctx, indices, k, data->shape.dims[axis], &place[axis]));
    for (unsigned d = 0; d < data->shape.rank; d++) {
        at = at * data->shape.dims[d] + place[d];
    }
    *out = (size_t)at;
    return OP_OK;
}

static enum op_result gather_elements_infer(struct op_ctx *ctx)
{
    TRY(elements_check(ctx));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &op_in(ctx, 1)->shape);
}

static enum op_result gather_elements_run(struct op_ctx *ctx)
{
    const struct tensor *data = op_in(ctx, 0);
    size_t size = dtype_size(data->dtype), from;
    unsigned axis = 0;
    TRY(gather_axis(ctx, &axis));
    for (size_t k = 0; k < tensor_count(op_in(ctx, 1)); k++) {
        TRY(element_at(ctx, axis, k, &from));
        memcpy((uint8_t *)op_out(ctx, 0)->data + k * size,
               (const uint8_t *)data->data + from * size, size);
    }
    return OP_OK;
}

/* ---- what scattering does where it writes ---- */

enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN, REDUCTIONS };

static enum op_result reduction_of(struct op_ctx *ctx, enum reduction *out)
{
    static const char *const names[REDUCTIONS] = {"none", "add", "mul", "max", "min"};
    const char *name = op_attr_s(ctx, "reduction", "none");
    for (unsigned k = 0; k < REDUCTIONS; k++) {
        if (strcmp(name, names[k]) == 0) {
            *out = (enum reduction)k;
            if (k != REDUCE_NONE) {
                TRY(op_want_dtypes(ctx, 0, DTS_REAL));
            }
            return OP_OK;
        }
    }
    return op_invalid(ctx, "unknown reduction '%.20s'", name);
}

#define REDUCE(m, sum, product)                                                                    \
    do {                                                                                           \
        const __typeof__(a->m[0]) x = a->m[k], y = b->m[k];                                        \
        a->m[k] = r == REDUCE_ADD   ? (sum)                                                        \
                  : r == REDUCE_MUL ? (product)                                                    \
                  : r == REDUCE_MAX ? (y > x || y != y ? y : x)                                    \
                                    : (y < x || y != y ? y : x);                                   \
    } while (0)

static void reduce_block(enum reduction r, enum num_class class, union block *a,
                         const union block *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        if (class == NUM_FLOAT) {
            REDUCE(f, x + y, x * y);
        } else if (class == NUM_INT) {
            REDUCE(i, (int64_t)((uint64_t)x + (uint64_t)y), (int64_t)((uint64_t)x * (uint64_t)y));
        } else {
            REDUCE(u, x + y, x * y);
        }
    }
}

/* put - `count` elements of the updates, from `from` on, into y from `to` on. */
static void put(enum reduction r, struct tensor *y, size_t to, const struct tensor *updates,
                size_t from, size_t count)
{
    size_t size = dtype_size(y->dtype);
    union block a, b;
    if (r == REDUCE_NONE) {
        memcpy((uint8_t *)y->data + to * size, (const uint8_t *)updates->data + from * size,
               count * size);
        return;
    }
    for (size_t done = 0; done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        block_load(&a, y->dtype, y->data, (int64_t)(to + done), 1, n);
        block_load(&b, y->dtype, updates->data, (int64_t)(from + done), 1, n);
        reduce_block(r, num_class_of(y->dtype), &a, &b, n);
        block_store(&a, y->dtype, y->data, (int64_t)(to + done), 1, n);
    }
}

static enum op_result scatter_elements_infer(struct op_ctx *ctx)
{
    enum reduction r = REDUCE_NONE;
    TRY(elements_check(ctx));
    TRY(reduction_of(ctx, &r));
    if (op_in(ctx, 2)->dtype != op_in(ctx, 0)->dtype ||
        !shape_equal(&op_in(ctx, 1)->shape, &op_in(ctx, 2)->shape)) {
        return op_invalid(ctx, "the updates differ from data in type or from indices in shape");
    }
    return ops_same(ctx);
}

static enum op_result scatter_elements_run(struct op_ctx *ctx)
{
    enum reduction r = REDUCE_NONE;
    unsigned axis = 0;
    size_t to;
    TRY(gather_axis(ctx, &axis));
    TRY(reduction_of(ctx, &r));
    TRY(ops_copy(ctx));
    for (size_t k = 0; k < tensor_count(op_in(ctx, 1)); k++) {
        TRY(element_at(ctx, axis, k, &to));
        put(r, op_out(ctx, 0), to, op_in(ctx, 2), k, 1);
    }
    return OP_OK;
}

/* ---- GatherND, ScatterND: the last dim of indices is a place in data ---- */

struct nd {
    unsigned batch;  /* leading dims common to data and indices */
    unsigned depth;  /* numbers per index */
    size_t picks;    /* indices in all */
    size_t per_batch;/* indices per batch entry */
    size_t slice;    /* elements that one index stands for */
};

static enum op_result nd_of(struct op_ctx *ctx, struct nd *out)
{
    const struct shape *data = &op_in(ctx, 0)->shape, *indices = &op_in(ctx, 1)->shape;
    int64_t batch = op_attr_i(ctx, "batch_dims", 0);
    if (data->rank == 0 || indices->rank == 0 || batch < 0 || batch >= (int64_t)data->rank ||
        batch >= (int64_t)indices->rank) {
        return op_invalid(ctx, "ranks %u and %u do not allow %lld batch dims", data->rank,
                          indices->rank, (long long)batch);
    }
    int64_t depth = indices->dims[indices->rank - 1];
    if (depth < 1 || depth > (int64_t)data->rank - batch) {
        return op_invalid(ctx, "indices of %lld numbers into %u dims", (long long)depth,
                          data->rank);
    }
    out->batch = (unsigned)batch;
    out->depth = (unsigned)depth;
    for (unsigned d = 0; d < out->batch; d++) {
        if (data->dims[d] != indices->dims[d]) {
            return op_invalid(ctx, "batch dim %u differs", d);
        }
    }
    out->picks = shape_count_range(indices, 0, indices->rank - 1);
    out->per_batch = shape_count_range(indices, out->batch, indices->rank - 1);
    out->slice = shape_count_range(data, out->batch + out->depth, data->rank);
    return OP_OK;
}

/* nd_at - the first element of data that index k stands for. */
static enum op_result nd_at(struct op_ctx *ctx, const struct nd *nd, size_t k, size_t *out)
{
    const struct tensor *data = op_in(ctx, 0), *indices = op_in(ctx, 1);
    int64_t at = (int64_t)(k / nd->per_batch);
    for (unsigned d = 0; d < nd->depth; d++) {
        int64_t dim = data->shape.dims[nd->batch + d], i = 0;
        TRY(index_at(ctx, indices, k * nd->depth + d, dim, &i));
        at = at * dim + i;
    }
    *out = (size_t)at * nd->slice;
    return OP_OK;
}

/* nd_shape - of what all indices together stand for. */
static enum op_result nd_shape(struct op_ctx *ctx, const struct nd *nd, struct shape *out)
{
    const struct shape *data = &op_in(ctx, 0)->shape, *indices = &op_in(ctx, 1)->shape;
    *out = (struct shape){0};
    if (indices->rank - 1 + data->rank - nd->batch - nd->depth > TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "the result would have more than %u dims", TENSOR_RANK_MAX);
    }
    for (unsigned d = 0; d + 1 < indices->rank; d++) {
        out->dims[out->rank++] = indices->dims[d];
    }
    for (unsigned d = nd->batch + nd->depth; d < data->rank; d++) {
        out->dims[out->rank++] = data->dims[d];
    }
    return OP_OK;
}

static enum op_result gather_nd_infer(struct op_ctx *ctx)
{
    struct shape out;
    struct nd nd;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DT_BIT(DT_I64)));
    TRY(nd_of(ctx, &nd));
    TRY(nd_shape(ctx, &nd, &out));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

static enum op_result gather_nd_run(struct op_ctx *ctx)
{
    struct nd nd;
    TRY(nd_of(ctx, &nd));
    size_t from, bytes = nd.slice * dtype_size(op_in(ctx, 0)->dtype);
    for (size_t k = 0; k < nd.picks && bytes > 0; k++) {
        TRY(nd_at(ctx, &nd, k, &from));
        memcpy((uint8_t *)op_out(ctx, 0)->data + k * bytes,
               (const uint8_t *)op_in(ctx, 0)->data + from * dtype_size(op_in(ctx, 0)->dtype),
               bytes);
    }
    return OP_OK;
}

static enum op_result scatter_nd_infer(struct op_ctx *ctx)
{
    struct shape updates;
    enum reduction r = REDUCE_NONE;
    struct nd nd;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DT_BIT(DT_I64)));
    TRY(nd_of(ctx, &nd));
    TRY(reduction_of(ctx, &r));
    TRY(nd_shape(ctx, &nd, &updates));
    if (op_in(ctx, 2)->dtype != op_in(ctx, 0)->dtype ||
        !shape_equal(&updates, &op_in(ctx, 2)->shape)) {
        return op_invalid(ctx, "the updates have another type or shape than is to be written");
    }
    return ops_same(ctx);
}

static enum op_result scatter_nd_run(struct op_ctx *ctx)
{
    enum reduction r = REDUCE_NONE;
    struct nd nd;
    size_t to;
    TRY(nd_of(ctx, &nd));
    TRY(reduction_of(ctx, &r));
    TRY(ops_copy(ctx));
    for (size_t k = 0; k < nd.picks && nd.slice > 0; k++) {
        TRY(nd_at(ctx, &nd, k, &to));
        put(r, op_out(ctx, 0), to, op_in(ctx, 2), k * nd.slice, nd.slice);
    }
    return OP_OK;
}

const struct op ops_gather[] = {
    {"Gather", NULL, 1, OP_LATEST, 2, 2, 1, 1, 0, gather_infer, gather_run},
    {"GatherElements", NULL, 11, OP_LATEST, 2, 2, 1, 1, 0, gather_elements_infer,
     gather_elements_run},
    {"GatherND", NULL, 11, OP_LATEST, 2, 2, 1, 1, 0, gather_nd_infer, gather_nd_run},
    {"Scatter", NULL, 9, OP_LATEST, 3, 3, 1, 1, 0, scatter_elements_infer, scatter_elements_run},
    {"ScatterElements", NULL, 11, OP_LATEST, 3, 3, 1, 1, 0, scatter_elements_infer,
     scatter_elements_run},
    {"ScatterND", NULL, 11, OP_LATEST, 3, 3, 1, 1, 0, scatter_nd_infer, scatter_nd_run},
    {.name = NULL},
};
