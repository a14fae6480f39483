/* pe/infer/ops/make.c - operators that make tensors from little: Constant, Range, OneHot, Pad ...
 *
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- Constant ---- */

struct literal { /* what the node's attributes say */
    enum dtype dtype;
    struct shape shape;
    const void *data;
    int64_t i;
    float f;
};

static enum op_result literal_of(struct op_ctx *ctx, struct literal *out)
{
    const struct tensor *t = op_attr_tensor(ctx, "value");
    unsigned count = 0;
    *out = (struct literal){0};
    if (t != NULL) {
        *out = (struct literal){.dtype = t->dtype, .shape = t->shape, .data = t->data};
    } else if (op_attr_has(ctx, "value_float")) {
        out->dtype = DT_F32;
        out->f = op_attr_f(ctx, "value_float", 0);
        out->data = &out->f;
    } else if (op_attr_has(ctx, "value_int")) {
        out->dtype = DT_I64;
        out->i = op_attr_i(ctx, "value_int", 0);
        out->data = &out->i;
    } else if (op_attr_has(ctx, "value_floats")) {
        out->dtype = DT_F32;
        out->data = op_attr_floats(ctx, "value_floats", &count);
        out->shape = (struct shape){.rank = 1, .dims = {count}};
    } else if (op_attr_has(ctx, "value_ints")) {
        out->dtype = DT_I64;
        out->data = op_attr_ints(ctx, "value_ints", &count);
        out->shape = (struct shape){.rank = 1, .dims = {count}};
    } else {
        return op_unsupported(ctx, "only dense numbers are supported as a constant");
    }
    return OP_OK;
}

static enum op_result constant_infer(struct op_ctx *ctx)
{
    struct literal l;
    TRY(literal_of(ctx, &l));
    return op_set_out(ctx, 0, l.dtype, &l.shape);
}

static enum op_result constant_run(struct op_ctx *ctx)
{
    struct literal l;
    TRY(literal_of(ctx, &l));
    size_t bytes = tensor_bytes(op_out(ctx, 0));
    if (bytes > 0) {
        memcpy(op_out(ctx, 0)->data, l.data, bytes);
    }
    return OP_OK;
}

/* ---- ConstantOfShape ---- */

static enum op_result constant_of_shape_infer(struct op_ctx *ctx)
{
    const struct tensor *value = op_attr_tensor(ctx, "value");
    struct shape out = {0};
    if (value != NULL && tensor_count(value) != 1) {
        return op_invalid(ctx, "the value has %zu elements, not one", tensor_count(value));
    }
    TRY(op_in_ints(ctx, 0, out.dims, TENSOR_RANK_MAX, &out.rank));
    return op_set_out(ctx, 0, value != NULL ? value->dtype : DT_F32, &out);
}

static enum op_result constant_of_shape_run(struct op_ctx *ctx)
{
    static const float zero = 0;
    const struct tensor *value = op_attr_tensor(ctx, "value");
    struct tensor *y = op_out(ctx, 0);
    num_fill(y->data, dtype_size(y->dtype), value != NULL ? value->data : &zero, tensor_count(y));
    return OP_OK;
}

/* ---- Range ---- */

struct range {
    union num start, delta;
    size_t count;
};

/* range_count_int - 0 where delta leads away from the limit; wrapped differences are exact. */
static uint64_t range_count_int(int64_t start, int64_t limit, int64_t delta)
{
    if (delta > 0) {
        uint64_t way = (uint64_t)limit - (uint64_t)start;
        return limit > start ? (way - 1) / (uint64_t)delta + 1 : 0;
    }
    uint64_t way = (uint64_t)start - (uint64_t)limit;
    return start > limit ? (way - 1) / (0 - (uint64_t)delta) + 1 : 0;
}

static enum op_result range_of(struct op_ctx *ctx, struct range *out)
{
    union block v[3];
    enum dtype t = op_in(ctx, 0)->dtype;
    for (unsigned i = 0; i < 3; i++) {
        TRY(op_want_dtypes(ctx, i, DTS_FLOAT | DTS_SIGNED));
        if (op_in(ctx, i)->dtype != t || tensor_count(op_in(ctx, i)) != 1) {
            return op_invalid(ctx, "start, limit and delta are one element each, of one type");
        }
        if (op_in(ctx, i)->data == NULL) {
            return op_needs(ctx, i);
        }
        block_load(&v[i], t, op_in(ctx, i)->data, 0, 1, 1);
    }
    *out = (struct range){.start.u = v[0].u[0], .delta.u = v[2].u[0]};
    if (dtype_is_float(t)) {
        double count = ceil((v[1].f[0] - v[0].f[0]) / v[2].f[0]);
        if (!(count <= (double)TENSOR_BYTES_MAX)) {
            return op_invalid(ctx, "from %g to %g by %g does not end", v[0].f[0], v[1].f[0],
                              v[2].f[0]);
        }
        out->count = count > 0 ? (size_t)count : 0;
        return OP_OK;
    }
    if (out->delta.i == 0) {
        return op_invalid(ctx, "delta is 0");
    }
    out->count = range_count_int(v[0].i[0], v[1].i[0], out->delta.i);
    return OP_OK;
}

static enum op_result range_infer(struct op_ctx *ctx)
{
    struct range r;
    TRY(range_of(ctx, &r));
    if (r.count > TENSOR_BYTES_MAX) {
        return op_failed(ctx, "%zu elements are too many", r.count);
    }
    struct shape out = {.rank = 1, .dims = {(int64_t)r.count}};
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

static enum op_result range_run(struct op_ctx *ctx)
{
    struct tensor *y = op_out(ctx, 0);
    struct range r;
    union block b;
    TRY(range_of(ctx, &r));
    for (size_t done = 0; done < r.count; done += BLOCK) {
        size_t n = block_len(done, r.count);
        for (size_t k = 0; k < n; k++) {
            if (dtype_is_float(y->dtype)) {
                b.f[k] = r.start.f + (double)(done + k) * r.delta.f;
            } else {
                b.u[k] = r.start.u + (done + k) * r.delta.u;
            }
        }
        block_store(&b, y->dtype, y->data, (int64_t)done, 1, n);
    }
    return OP_OK;
}

/* ---- EyeLike ---- */

static enum op_result eye_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t to = op_attr_i(ctx, "dtype", (int64_t)x->dtype);
    if (x->shape.rank != 2) {
        return op_invalid(ctx, "the input has %u dims, not 2", x->shape.rank);
    }
    if (to <= 0 || to >= DT_COUNT || !(DT_BIT(to) & DTS_REAL)) {
        return op_unsupported(ctx, "ONNX type %lld is not supported", (long long)to);
    }
    return op_set_out(ctx, 0, (enum dtype)to, &x->shape);
}

static enum op_result eye_run(struct op_ctx *ctx)
{
    struct tensor *y = op_out(ctx, 0);
    int64_t k = op_attr_i(ctx, "k", 0), rows = y->shape.dims[0], columns = y->shape.dims[1];
    double one = 1;
    if (tensor_bytes(y) > 0) {
        memset(y->data, 0, tensor_bytes(y));
    }
    for (int64_t row = 0; row < rows && k > -rows && k < columns; row++) {
        if (row + k >= 0 && row + k < columns) {
            num_store_f64(&one, y->dtype, y->data, row * columns + row + k, 1, 1);
        }
    }
    return OP_OK;
}

/* ---- OneHot ---- */

static enum op_result one_hot_infer(struct op_ctx *ctx)
{
    const struct tensor *indices = op_in(ctx, 0), *values = op_in(ctx, 2);
    struct shape out = {.rank = indices->shape.rank + 1};
    unsigned axis, from = 0;
    double depth;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    TRY(op_want_dtypes(ctx, 2, DTS_ANY));
    if (out.rank > TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "the result would have more than %u dims", TENSOR_RANK_MAX);
    }
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), out.rank, &axis));
    if (values->shape.rank != 1 || values->shape.dims[0] != 2) {
        return op_invalid(ctx, "the values are not [off, on]");
    }
    TRY(ops_input_f(ctx, 1, 0, &depth));
    if (!(depth >= 1 && depth <= (double)TENSOR_BYTES_MAX)) {
        return op_invalid(ctx, "the depth is %g", depth);
    }
    for (unsigned d = 0; d < out.rank; d++) {
        out.dims[d] = d == axis ? (int64_t)depth : indices->shape.dims[from++];
    }
    return op_set_out(ctx, 0, values->dtype, &out);
}

static enum op_result one_hot_run(struct op_ctx *ctx)
{
    const struct tensor *indices = op_in(ctx, 0), *values = op_in(ctx, 2);
    struct tensor *y = op_out(ctx, 0);
    size_t size = dtype_size(y->dtype);
    unsigned axis = 0;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), y->shape.rank, &axis));
    int64_t depth = y->shape.dims[axis];
    size_t inner = shape_count_range(&y->shape, axis + 1, y->shape.rank);
    num_fill(y->data, size, values->data, tensor_count(y));
    for (size_t k = 0; k < tensor_count(indices); k++) {
        int64_t hot = tensor_get_i64(indices, k);
        hot = hot < 0 && hot >= -depth ? hot + depth : hot;
        if (hot >= 0 && hot < depth) { /* else all stay off */
            size_t at = (k / inner * (size_t)depth + (size_t)hot) * inner + k % inner;
            memcpy((uint8_t *)y->data + at * size, (const uint8_t *)values->data + size, size);
        }
    }
    return OP_OK;
}

/* ---- Pad: pads as an attribute before opset 11, as an input since ---- */

static bool is_small(int64_t v)
{
    return v >= -(int64_t)TENSOR_BYTES_MAX && v <= (int64_t)TENSOR_BYTES_MAX;
}

/* pad_amounts - before and after each dim; negative ones cut off. */
static enum op_result pad_amounts(struct op_ctx *ctx, int64_t before[TENSOR_RANK_MAX],
                                  int64_t after[TENSOR_RANK_MAX])
{
    uint32_t rank = op_in(ctx, 0)->shape.rank;
    int64_t given[2 * TENSOR_RANK_MAX], axes[TENSOR_RANK_MAX];
    const int64_t *pads = given;
    unsigned count, listed = rank;
    uint32_t seen = 0;
    if (ctx->opset < 11) {
        pads = op_attr_ints(ctx, "pads", &count);
    } else {
        TRY(op_in_ints(ctx, 1, given, 2 * TENSOR_RANK_MAX, &count));
    }
    memset(before, 0, TENSOR_RANK_MAX * sizeof(before[0]));
    memset(after, 0, TENSOR_RANK_MAX * sizeof(after[0]));
    bool chosen = op_in(ctx, 3) != NULL;
    if (chosen) {
        TRY(op_in_ints(ctx, 3, axes, TENSOR_RANK_MAX, &listed));
    }
    if (count != 2 * listed) {
        return op_invalid(ctx, "%u pads for %u dims", count, listed);
    }
    for (unsigned k = 0; k < listed; k++) {
        unsigned axis = k;
        if (chosen) {
            TRY(op_axis(ctx, "axes", axes[k], rank, &axis));
        }
        if (seen & 1u << axis) {
            return op_invalid(ctx, "axis %u is listed twice", axis);
        }
        seen |= 1u << axis;
        before[axis] = pads[k];
        after[axis] = pads[listed + k];
        if (!is_small(before[axis]) || !is_small(after[axis])) {
            return op_failed(ctx, "pads of dim %u are too large", axis);
        }
    }
    return OP_OK;
}

enum pad_mode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_WRAP, PAD_MODES };

static enum op_result pad_mode(struct op_ctx *ctx, enum pad_mode *out)
{
    static const char *const names[PAD_MODES] = {"constant", "edge", "reflect", "wrap"};
    const char *mode = op_attr_s(ctx, "mode", "constant");
    for (unsigned k = 0; k < PAD_MODES; k++) {
        if (strcmp(mode, names[k]) == 0) {
            *out = (enum pad_mode)k;
            return OP_OK;
        }
    }
    return op_invalid(ctx, "unknown mode '%.20s'", mode);
}

static enum op_result pad_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *value = op_in(ctx, 2);
    int64_t before[TENSOR_RANK_MAX], after[TENSOR_RANK_MAX];
    struct shape out = x->shape;
    enum pad_mode mode = PAD_CONSTANT;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(pad_mode(ctx, &mode));
    TRY(pad_amounts(ctx, before, after));
    if (value != NULL && (value->dtype != x->dtype || tensor_count(value) != 1)) {
        return op_invalid(ctx, "the value is not one element of the type of the input");
    }
    for (unsigned d = 0; d < out.rank; d++) {
        if (!size_add(out.dims[d], before[d], &out.dims[d]) ||
            !size_add(out.dims[d], after[d], &out.dims[d])) {
            return op_failed(ctx, "the result is too large");
        }
        if (out.dims[d] < 0) {
            return op_invalid(ctx, "pads cut more from dim %u than there is", d);
        }
        if (mode != PAD_CONSTANT && x->shape.dims[d] == 0 && out.dims[d] > 0) {
            return op_invalid(ctx, "dim %u is empty, there is nothing to repeat", d);
        }
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

/* pad_source - which element of a dim stands at place i, counted from its first; -1: the value. */
static int64_t pad_source(enum pad_mode mode, int64_t i, int64_t dim)
{
    if (i >= 0 && i < dim) {
        return i;
    }
    switch (mode) {
    case PAD_EDGE:
        return i < 0 ? 0 : dim - 1;
    case PAD_WRAP:
        return (i % dim + dim) % dim;
    case PAD_REFLECT: {
        int64_t period = dim > 1 ? 2 * (dim - 1) : 1;
        i = (i % period + period) % period;
        return i < dim ? i : period - i;
    }
    default:
        return -1;
    }
}

/* pad_maps - pad_source for every place of every dim, one after the other. */
static int64_t *pad_maps(struct op_ctx *ctx, enum pad_mode mode, const int64_t *before)
{
    const struct shape *in = &op_in(ctx, 0)->shape, *out = &op_out(ctx, 0)->shape;
    size_t all = 0;
    for (unsigned d = 0; d < out->rank; d++) {
        all += (size_t)out->dims[d];
    }
    int64_t *maps = op_scratch(ctx, all, sizeof(*maps)), *p = maps;
    for (unsigned d = 0; maps != NULL && d < out->rank; d++) {
        for (int64_t i = 0; i < out->dims[d]; i++) {
            *p++ = pad_source(mode, i - before[d], in->dims[d]);
        }
    }
    return maps;
}

/* pad_from - where in x the output's element `at` (by its index in each dim) comes from, or -1. */
static int64_t pad_from(const struct tensor *x, const struct shape *out, const int64_t *maps,
                        size_t at)
{
    int64_t from = 0, index[TENSOR_RANK_MAX];
    for (unsigned d = out->rank; d-- > 0;) {
        index[d] = (int64_t)(at % (size_t)out->dims[d]);
        at /= (size_t)out->dims[d];
    }
    for (unsigned d = 0; d < out->rank; maps += out->dims[d++]) {
        if (maps[index[d]] < 0) {
            return -1;
        }
        from = from * x->shape.dims[d] + maps[index[d]];
    }
    return from;
}

static enum op_result pad_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *value = op_in(ctx, 2);
    struct tensor *y = op_out(ctx, 0);
    int64_t before[TENSOR_RANK_MAX], after[TENSOR_RANK_MAX];
    uint8_t fill[16] = {0};
    size_t size = dtype_size(x->dtype);
    enum pad_mode mode = PAD_CONSTANT;
    TRY(pad_mode(ctx, &mode));
    TRY(pad_amounts(ctx, before, after));
    if (value != NULL) {
        memcpy(fill, value->data, size);
    } else if (ctx->opset < 11 && DT_BIT(x->dtype) & DTS_REAL) {
        double v = (double)op_attr_f(ctx, "value", 0);
        num_store_f64(&v, x->dtype, fill, 0, 1, 1);
    }
    int64_t *maps = pad_maps(ctx, mode, before);
    if (maps == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t k = 0; k < tensor_count(y); k++) {
        int64_t from = pad_from(x, &y->shape, maps, k);
        memcpy((uint8_t *)y->data + k * size,
               from < 0 ? fill : (const uint8_t *)x->data + (size_t)from * size, size);
    }
    return OP_OK;
}

const struct op ops_make[] = {
    {"Constant", NULL, 1, OP_LATEST, 0, 0, 1, 1, 0, constant_infer, constant_run},
    {"ConstantOfShape", NULL, 9, OP_LATEST, 1, 1, 1, 1, 0, constant_of_shape_infer,
     constant_of_shape_run},
    {"Range", NULL, 11, OP_LATEST, 3, 3, 1, 1, 0, range_infer, range_run},
    {"EyeLike", NULL, 9, OP_LATEST, 1, 1, 1, 1, 0, eye_infer, eye_run},
    {"OneHot", NULL, 9, OP_LATEST, 3, 3, 1, 1, 0, one_hot_infer, one_hot_run},
    {"Pad", NULL, 2, 10, 1, 1, 1, 1, 0, pad_infer, pad_run},
    {"Pad", NULL, 11, OP_LATEST, 2, 4, 1, 1, 0, pad_infer, pad_run},
    {.name = NULL},
};
