/* pe/infer/ops/reduce.c - operators that fold whole axes into one element: Reduce*, ArgMax, CumSum.
 *
 * Floats are folded as doubles; integers exactly, wrapping.  Of nothing, the sum is 0, the product
 * 1, the mean NaN, the largest the least value of the type.  NaN is larger and smaller than all.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum fold {
    FOLD_SUM,
    FOLD_MEAN,
    FOLD_MAX,
    FOLD_MIN,
    FOLD_PROD,
    FOLD_L1,
    FOLD_SQUARES,
    FOLD_L2,
    FOLD_LOG_SUM,
    FOLD_LOG_SUM_EXP,
};

/* ---- which axes ---- */

/* reduced_axes - as a mask; *noop: nothing is to be reduced, not even over no axes. */
static enum op_result reduced_axes(struct op_ctx *ctx, uint32_t *mask, bool *noop)
{
    uint32_t rank = op_in(ctx, 0)->shape.rank;
    int since = strcmp(ctx->node->op, "ReduceSum") == 0 ? 13 : 18; /* axes are an input */
    bool given;
    TRY(ops_axes(ctx, ctx->opset >= since ? 1 : UINT_MAX, rank, mask, &given));
    *noop = *mask == 0 && op_attr_i(ctx, "noop_with_empty_axes", 0) != 0;
    if (*mask == 0 && !*noop) {
        *mask = (1u << rank) - 1;
    }
    return OP_OK;
}

static struct shape reduced_shape(const struct shape *in, uint32_t mask, bool keep)
{
    struct shape out = {0};
    for (unsigned d = 0; d < in->rank; d++) {
        if (!(mask & 1u << d)) {
            out.dims[out.rank++] = in->dims[d];
        } else if (keep) {
            out.dims[out.rank++] = 1;
        }
    }
    return out;
}

static enum op_result reduce_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    uint32_t mask;
    bool noop;
    TRY(op_want_dtypes(ctx, 0, DTS_REAL));
    TRY(reduced_axes(ctx, &mask, &noop));
    struct shape out = reduced_shape(&x->shape, mask, op_attr_i(ctx, "keepdims", 1) != 0);
    return op_set_out(ctx, 0, x->dtype, &out);
}

/* ---- folding ---- */

static double start_f(enum fold fold)
{
    return fold == FOLD_MAX    ? -INFINITY
           : fold == FOLD_MIN  ? INFINITY
           : fold == FOLD_PROD ? 1
                               : 0;
}

static void fold_floats(enum fold fold, double *acc, const double *v, size_t n, double most)
{
    for (size_t k = 0; k < n; k++) {
        switch (fold) {
        case FOLD_MAX:
            *acc = v[k] > *acc || isnan(v[k]) ? v[k] : *acc;
            break;
        case FOLD_MIN:
            *acc = v[k] < *acc || isnan(v[k]) ? v[k] : *acc;
            break;
        case FOLD_PROD:
            *acc *= v[k];
            break;
        case FOLD_L1:
            *acc += fabs(v[k]);
            break;
        case FOLD_SQUARES:
        case FOLD_L2:
            *acc += v[k] * v[k];
            break;
        case FOLD_LOG_SUM_EXP:
            *acc += exp(v[k] - most);
            break;
        case FOLD_SUM:
        case FOLD_MEAN:
        case FOLD_LOG_SUM:
            *acc += v[k];
            break;
        }
    }
}

static double finish_f(enum fold fold, double acc, size_t count, double most)
{
    switch (fold) {
    case FOLD_MEAN:
        return acc / (double)count;
    case FOLD_L2:
        return sqrt(acc);
    case FOLD_LOG_SUM:
        return log(acc);
    case FOLD_LOG_SUM_EXP:
        return most + log(acc);
    default:
        return acc;
    }
}

/* Bits of both integer classes: sums, products and squares wrap the same way. */
static void fold_ints(enum fold fold, bool is_signed, union num *acc, const union block *b,
                      size_t n)
{
    for (size_t k = 0; k < n; k++) {
        bool more = is_signed ? b->i[k] > acc->i : b->u[k] > acc->u;
        switch (fold) {
        case FOLD_MAX:
            acc->u = more ? b->u[k] : acc->u;
            break;
        case FOLD_MIN:
            acc->u = more ? acc->u : b->u[k];
            break;
        case FOLD_PROD:
            acc->u *= b->u[k];
            break;
        case FOLD_L1:
            acc->u += is_signed && b->i[k] < 0 ? 0 - b->u[k] : b->u[k];
            break;
        case FOLD_SQUARES:
            acc->u += b->u[k] * b->u[k];
            break;
        default: /* sum and mean */
            acc->u += b->u[k];
            break;
        }
    }
}

static union num start_int(enum fold fold, enum dtype t)
{
    unsigned bits = t == DT_BOOL ? 1 : (unsigned)dtype_size(t) * 8;
    uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    bool is_signed = dtype_is_signed(t);
    union num start = {.u = fold == FOLD_PROD};
    if (fold == FOLD_MIN) {
        start.u = is_signed ? most >> 1 : most;
    } else if (fold == FOLD_MAX && is_signed) {
        start.i = -(int64_t)(most >> 1) - 1;
    }
    return start;
}

struct reduction {
    enum fold fold;
    const struct tensor *x;
    struct walk inner; /* over the reduced axes; way 0: x */
    size_t count;      /* elements folded into one */
};

/* fold_one_f - the reduced axes that begin at x[at], as doubles. */
static double fold_one_f(const struct reduction *r, enum fold fold, int64_t at, double most)
{
    double acc = start_f(fold), v[BLOCK];
    struct walk w = r->inner;
    w.at[0] = at;
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t done = 0; done < w.len; done += BLOCK) {
            size_t n = block_len(done, w.len);
            num_load_f64(v, r->x->dtype, r->x->data, w.at[0] + (int64_t)done * w.step[0],
                         w.step[0], n);
            fold_floats(fold, &acc, v, n, most);
        }
    }
    return acc;
}

static union num fold_one_int(const struct reduction *r, int64_t at)
{
    bool is_signed = dtype_is_signed(r->x->dtype);
    union num acc = start_int(r->fold, r->x->dtype);
    union block b;
    struct walk w = r->inner;
    w.at[0] = at;
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t done = 0; done < w.len; done += BLOCK) {
            size_t n = block_len(done, w.len);
            block_load(&b, r->x->dtype, r->x->data, w.at[0] + (int64_t)done * w.step[0],
                       w.step[0], n);
            fold_ints(r->fold, is_signed, &acc, &b, n);
        }
    }
    if (r->fold == FOLD_MEAN) {
        acc.u = r->count == 0 ? 0
                : is_signed   ? (uint64_t)(acc.i / (int64_t)r->count)
                              : acc.u / r->count;
    }
    return acc;
}

static void reduce_one(const struct reduction *r, struct tensor *y, int64_t to, int64_t from)
{
    enum fold fold = r->fold;
    bool as_float = dtype_is_float(r->x->dtype) || fold >= FOLD_L2;
    if (!as_float) {
        union block b;
        b.u[0] = fold_one_int(r, from).u;
        block_store(&b, y->dtype, y->data, to, 1, 1);
        return;
    }
    double most = 0;
    if (fold == FOLD_LOG_SUM_EXP) {
        most = fold_one_f(r, FOLD_MAX, from, 0);
        most = isinf(most) ? 0 : most; /* inf - inf would be NaN */
    }
    double v = finish_f(fold, fold_one_f(r, fold, from, most), r->count, most);
    num_store_f64(&v, y->dtype, y->data, to, 1, 1);
}

/* split_axes - one walk over the axes that stay (ways: y, x), one over those that go (way: x). */
static void split_axes(const struct shape *in, uint32_t mask, struct walk *outer,
                       struct walk *inner)
{
    struct shape stay = {0}, go = {0};
    int64_t strides[TENSOR_RANK_MAX], of_stay[TENSOR_RANK_MAX], of_go[TENSOR_RANK_MAX];
    int64_t of_y[TENSOR_RANK_MAX];
    shape_strides(in, strides);
    for (unsigned d = 0; d < in->rank; d++) {
        if (mask & 1u << d) {
            of_go[go.rank] = strides[d];
            go.dims[go.rank++] = in->dims[d];
        } else {
            of_stay[stay.rank] = strides[d];
            stay.dims[stay.rank++] = in->dims[d];
        }
    }
    shape_strides(&stay, of_y);
    walk_of(outer, &stay, 2);
    walk_way(outer, 0, of_y, 0);
    walk_way(outer, 1, of_stay, 0);
    walk_of(inner, &go, 1);
    walk_way(inner, 0, of_go, 0);
}

static enum op_result reduce_run(struct op_ctx *ctx, enum fold fold)
{
    struct tensor *y = op_out(ctx, 0);
    struct reduction r = {.fold = fold, .x = op_in(ctx, 0), .count = 1};
    struct walk outer;
    uint32_t mask;
    bool noop;
    TRY(reduced_axes(ctx, &mask, &noop));
    if (noop) {
        return ops_copy(ctx);
    }
    split_axes(&r.x->shape, mask, &outer, &r.inner);
    for (unsigned d = 0; d < r.inner.rank; d++) {
        r.count *= (size_t)r.inner.dims[d];
    }
    for (bool more = walk_start(&outer); more; more = walk_next(&outer)) {
        for (size_t k = 0; k < outer.len; k++) {
            int64_t d = (int64_t)k;
            reduce_one(&r, y, outer.at[0] + d, outer.at[1] + d * outer.step[1]);
        }
    }
    return OP_OK;
}

#define EACH_REDUCTION(X)                                                                          \
    X(ReduceSum, FOLD_SUM, 13)                                                                     \
    X(ReduceMean, FOLD_MEAN, 18)                                                                   \
    X(ReduceMax, FOLD_MAX, 18)                                                                     \
    X(ReduceMin, FOLD_MIN, 18)                                                                     \
    X(ReduceProd, FOLD_PROD, 18)                                                                   \
    X(ReduceL1, FOLD_L1, 18)                                                                       \
    X(ReduceL2, FOLD_L2, 18)                                                                       \
    X(ReduceSumSquare, FOLD_SQUARES, 18)                                                           \
    X(ReduceLogSum, FOLD_LOG_SUM, 18)                                                              \
    X(ReduceLogSumExp, FOLD_LOG_SUM_EXP, 18)

#define X(name, fold, axes_input_since)                                                            \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        return reduce_run(ctx, fold);                                                              \
    }
EACH_REDUCTION(X)
#undef X

/* ---- ArgMax, ArgMin ---- */

static enum op_result arg_infer(struct op_ctx *ctx)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    unsigned axis = 0;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), in->rank, &axis));
    if (in->dims[axis] == 0) {
        return op_invalid(ctx, "axis %u is empty", axis);
    }
    struct shape out = reduced_shape(in, 1u << axis, op_attr_i(ctx, "keepdims", 1) != 0);
    return op_set_out(ctx, 0, DT_I64, &out);
}

/* beats - the element at `a` is to be preferred to the one at `b`; NaN to everything. */
static bool beats(const struct tensor *x, int64_t a, int64_t b, bool most, bool ties)
{
    union block left, right;
    block_load(&left, x->dtype, x->data, a, 1, 1);
    block_load(&right, x->dtype, x->data, b, 1, 1);
    switch (num_class_of(x->dtype)) {
    case NUM_FLOAT:
        if (isnan(right.f[0]) || isnan(left.f[0])) {
            return isnan(left.f[0]) && (ties || !isnan(right.f[0]));
        }
        return left.f[0] == right.f[0] ? ties : (left.f[0] > right.f[0]) == most;
    case NUM_INT:
        return left.i[0] == right.i[0] ? ties : (left.i[0] > right.i[0]) == most;
    default:
        return left.u[0] == right.u[0] ? ties : (left.u[0] > right.u[0]) == most;
    }
}

static enum op_result arg_run(struct op_ctx *ctx, bool most)
{
    const struct tensor *x = op_in(ctx, 0);
    bool last = op_attr_i(ctx, "select_last_index", 0) != 0;
    struct walk outer, inner;
    unsigned axis = 0;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), x->shape.rank, &axis));
    split_axes(&x->shape, 1u << axis, &outer, &inner);
    int64_t stride = inner.strides[0][0];
    for (bool more = walk_start(&outer); more; more = walk_next(&outer)) {
        for (size_t k = 0; k < outer.len; k++) {
            int64_t at = outer.at[1] + (int64_t)k * outer.step[1], best = 0;
            for (int64_t i = 1; i < x->shape.dims[axis]; i++) {
                best = beats(x, at + i * stride, at + best * stride, most, last) ? i : best;
            }
            tensor_i64(op_out(ctx, 0))[outer.at[0] + (int64_t)k] = best;
        }
    }
    return OP_OK;
}

static enum op_result arg_max_run(struct op_ctx *ctx)
{
    return arg_run(ctx, true);
}

static enum op_result arg_min_run(struct op_ctx *ctx)
{
    return arg_run(ctx, false);
}

/* ---- CumSum ---- */

static enum op_result cum_sum_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    TRY(op_want_dtypes(ctx, 1, DTS_INDEX));
    return ops_same(ctx);
}

/* sum_along - running sums of `count` elements from `at`; step < 0 when summed backwards. */
static void sum_along(const struct tensor *x, struct tensor *y, int64_t at, int64_t step,
                      int64_t count, bool exclusive)
{
    bool floats = dtype_is_float(x->dtype);
    union block sum, v;
    sum.u[0] = 0;
    if (floats) {
        sum.f[0] = 0;
    }
    for (int64_t k = 0; k < count; k++, at += step) {
        block_load(&v, x->dtype, x->data, at, 1, 1);
        if (exclusive) {
            block_store(&sum, y->dtype, y->data, at, 1, 1);
        }
        if (floats) {
            sum.f[0] += v.f[0];
        } else {
            sum.u[0] += v.u[0];
        }
        if (!exclusive) {
            block_store(&sum, y->dtype, y->data, at, 1, 1);
        }
    }
}

static enum op_result cum_sum_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool reverse = op_attr_i(ctx, "reverse", 0) != 0;
    bool exclusive = op_attr_i(ctx, "exclusive", 0) != 0;
    int64_t given;
    unsigned count, axis;
    struct walk outer, inner;
    TRY(op_in_ints(ctx, 1, &given, 1, &count));
    if (count != 1) {
        return op_invalid(ctx, "the axis is one number");
    }
    TRY(op_axis(ctx, "axis", given, x->shape.rank, &axis));
    split_axes(&x->shape, 1u << axis, &outer, &inner);
    int64_t stride = inner.strides[0][0], dim = x->shape.dims[axis];
    if (dim == 0) {
        return OP_OK;
    }
    for (bool more = walk_start(&outer); more; more = walk_next(&outer)) {
        for (size_t k = 0; k < outer.len; k++) {
            int64_t at = outer.at[1] + (int64_t)k * outer.step[1];
            at += reverse ? (dim - 1) * stride : 0;
            sum_along(x, op_out(ctx, 0), at, reverse ? -stride : stride, dim, exclusive);
        }
    }
    return OP_OK;
}

const struct op ops_reduce[] = {
#define X(name, fold, axes_input_since)                                                            \
    {#name, NULL, 1, axes_input_since - 1, 1, 1, 1, 1, 0, reduce_infer, name##_run},               \
    {#name, NULL, axes_input_since, OP_LATEST, 1, 2, 1, 1, 0, reduce_infer, name##_run},
    EACH_REDUCTION(X)
#undef X
    {"ArgMax", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, arg_infer, arg_max_run},
    {"ArgMin", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, arg_infer, arg_min_run},
    {"CumSum", NULL, 11, OP_LATEST, 2, 2, 1, 1, 0, cum_sum_infer, cum_sum_run},
    {.name = NULL},
};
