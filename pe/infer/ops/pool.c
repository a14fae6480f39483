/* pe/infer/ops/pool.c - MaxPool, AveragePool, LpPool and their global forms.
 *
 * Each output element folds the part of its window that lies inside the input.
 * See:        https://onnx.ai/onnx/operators/onnx__MaxPool.html */
#include "pe/infer/ops/window.h"

#include <math.h>
#include <string.h>

enum pool { POOL_MAX, POOL_AVERAGE, POOL_LP };

/* What is folded out of one window. */
struct fold {
    enum pool pool;
    double p;           /* of POOL_LP */
    double value;
    int64_t best;       /* POOL_MAX: where, in the input; -1: nowhere yet */
    int64_t count;      /* elements inside */
};

static void fold_row(struct fold *f, const struct tensor *x, int64_t at, int64_t step, size_t len)
{
    for (size_t k = 0; k < len; k++) {
        int64_t place = at + (int64_t)k * step;
        double v = tensor_get_f64(x, (size_t)place);
        if (f->pool == POOL_MAX) {
            bool more = f->best < 0 || v > f->value || (isnan(v) && !isnan(f->value));
            f->value = more ? v : f->value;
            f->best = more ? place : f->best;
        } else {
            f->value += f->pool == POOL_LP ? pow(fabs(v), f->p) : v;
        }
    }
    f->count += (int64_t)len;
}

/* window_at - the part of the window at output index o[] that lies inside the input, as a walk; and
 * how many elements it has with the padding. */
static bool window_at(const struct window *w, const int64_t *o, const int64_t *strides,
                      int64_t base, struct walk *walk, double *padded)
{
    *walk = (struct walk){.rank = w->dims, .ways = 1, .at = {base}};
    *padded = 1;
    for (unsigned d = 0; d < w->dims; d++) {
        int64_t first = o[d] * w->stride[d] - w->before[d], step = w->dilation[d];
        int64_t skip = first < 0 ? (-first + step - 1) / step : 0;
        int64_t end = first < w->in[d] ? (w->in[d] - first + step - 1) / step : 0;
        int64_t end_padded = (w->in[d] + w->after[d] - first + step - 1) / step;
        end = end < w->kernel[d] ? end : w->kernel[d];
        *padded *= (double)(end_padded < w->kernel[d] ? end_padded : w->kernel[d]);
        walk->dims[d] = end > skip ? end - skip : 0;
        if (walk->dims[d] > 0) {
            walk->strides[0][d] = walk->dims[d] > 1 ? strides[d] * step : 0;
            walk->at[0] += strides[d] * (first + skip * step);
        }
    }
    return walk_start(walk);
}

/* column_major - the place in the input, counted with the spatial dims in reverse order. */
static int64_t column_major(const struct window *w, int64_t place, int64_t plane)
{
    int64_t in_plane = place % plane, at = 0, index[SPATIAL_MAX];
    for (unsigned d = w->dims; d-- > 0;) {
        index[d] = in_plane % w->in[d];
        in_plane /= w->in[d];
    }
    for (unsigned d = w->dims; d-- > 0;) {
        at = at * w->in[d] + index[d];
    }
    return place - place % plane + at;
}

struct pooling {
    const struct window *w;
    enum pool pool;
    bool count_padding, columns_first;
    double p;
};

static void store(struct op_ctx *ctx, const struct pooling *pool, struct fold *f, double padded,
                  int64_t plane, size_t at)
{
    struct tensor *y = op_out(ctx, 0), *indices = op_out(ctx, 1);
    if (pool->pool == POOL_AVERAGE) {
        f->value /= pool->count_padding ? padded : (double)f->count;
    } else if (pool->pool == POOL_LP) {
        f->value = pow(f->value, 1 / pool->p);
    } else if (f->best < 0) {
        f->value = -INFINITY; /* the window lies in the padding alone */
    }
    if (y != NULL) {
        num_store_f64(&f->value, y->dtype, y->data, (int64_t)at, 1, 1);
    }
    if (indices != NULL && f->best >= 0 && pool->columns_first) {
        f->best = column_major(pool->w, f->best, plane);
    }
    if (indices != NULL) {
        tensor_i64(indices)[at] = f->best;
    }
}

static enum op_result pool_run(struct op_ctx *ctx, const struct pooling *pool)
{
    const struct window *w = pool->w;
    const struct tensor *x = op_in(ctx, 0);
    int64_t strides[TENSOR_RANK_MAX], o[SPATIAL_MAX] = {0};
    size_t images = shape_count_range(&x->shape, 0, 2), at = 0;
    int64_t plane = (int64_t)shape_count_range(&x->shape, 2, x->shape.rank), windows = 1;
    shape_strides(&x->shape, strides);
    for (unsigned d = 0; d < w->dims; d++) {
        windows *= w->out[d];
    }
    for (size_t i = 0; i < images; i++) {
        for (int64_t k = 0; k < windows; k++, at++) {
            struct walk walk;
            struct fold f = {.pool = pool->pool, .p = pool->p, .best = -1};
            double padded;
            bool more = window_at(w, o, strides + 2, (int64_t)i * plane, &walk, &padded);
            for (; more; more = walk_next(&walk)) {
                fold_row(&f, x, walk.at[0], walk.step[0], walk.len);
            }
            store(ctx, pool, &f, padded, plane, at);
            for (unsigned d = w->dims; d-- > 0 && ++o[d] == w->out[d];) {
                o[d] = 0;
            }
        }
    }
    return OP_OK;
}

/* ---- the windows ---- */

static enum op_result pool_of(struct op_ctx *ctx, struct window *w)
{
    TRY(window_of(ctx, &op_in(ctx, 0)->shape, NULL, w));
    return window_slide(ctx, w, op_attr_i(ctx, "ceil_mode", 0) != 0);
}

static enum op_result pool_infer(struct op_ctx *ctx, unsigned types)
{
    const struct tensor *x = op_in(ctx, 0);
    struct window w;
    TRY(op_want_dtypes(ctx, 0, types));
    TRY(pool_of(ctx, &w));
    struct shape out = window_shape(&w, x->shape.dims[0], x->shape.dims[1]);
    TRY(op_set_out(ctx, 0, x->dtype, &out));
    return op_set_out(ctx, 1, DT_I64, &out);
}

static enum op_result max_infer(struct op_ctx *ctx)
{
    return pool_infer(ctx, DTS_FLOAT | DT_BIT(DT_I8) | DT_BIT(DT_U8));
}

static enum op_result float_infer(struct op_ctx *ctx)
{
    return pool_infer(ctx, DTS_FLOAT);
}

static enum op_result max_run(struct op_ctx *ctx)
{
    struct window w;
    TRY(pool_of(ctx, &w));
    struct pooling pool = {
        .w = &w, .pool = POOL_MAX, .columns_first = op_attr_i(ctx, "storage_order", 0) != 0};
    return pool_run(ctx, &pool);
}

static enum op_result average_run(struct op_ctx *ctx)
{
    struct window w;
    TRY(pool_of(ctx, &w));
    struct pooling pool = {.w = &w,
                           .pool = POOL_AVERAGE,
                           .count_padding = op_attr_i(ctx, "count_include_pad", 0) != 0};
    return pool_run(ctx, &pool);
}

static enum op_result lp_infer(struct op_ctx *ctx)
{
    if (op_attr_i(ctx, "p", 2) < 1) {
        return op_invalid(ctx, "p is less than 1");
    }
    return float_infer(ctx);
}

static enum op_result lp_run(struct op_ctx *ctx)
{
    struct window w;
    TRY(pool_of(ctx, &w));
    struct pooling pool = {.w = &w, .pool = POOL_LP, .p = (double)op_attr_i(ctx, "p", 2)};
    return pool_run(ctx, &pool);
}

/* ---- one window over everything ---- */

static enum op_result global_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape out = x->shape;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (out.rank < 2 || op_attr_i(ctx, "p", 2) < 1) {
        return op_invalid(ctx, "the input has %u dims, or p is less than 1", out.rank);
    }
    for (unsigned d = 2; d < out.rank; d++) {
        out.dims[d] = 1;
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result global_run(struct op_ctx *ctx, enum pool kind)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    struct window w = {.dims = in->rank - 2};
    for (unsigned d = 0; d < w.dims; d++) {
        w.in[d] = w.kernel[d] = in->dims[d + 2];
        w.stride[d] = w.dilation[d] = w.out[d] = 1;
    }
    struct pooling pool = {.w = &w, .pool = kind, .p = (double)op_attr_i(ctx, "p", 2)};
    return pool_run(ctx, &pool);
}

static enum op_result global_max_run(struct op_ctx *ctx)
{
    return global_run(ctx, POOL_MAX);
}

static enum op_result global_average_run(struct op_ctx *ctx)
{
    return global_run(ctx, POOL_AVERAGE);
}

static enum op_result global_lp_run(struct op_ctx *ctx)
{
    return global_run(ctx, POOL_LP);
}

const struct op ops_pool[] = {
    {"MaxPool", NULL, 1, OP_LATEST, 1, 1, 1, 2, OP_HEAVY, max_infer, max_run},
    {"AveragePool", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_HEAVY, float_infer, average_run},
    {"LpPool", NULL, 2, OP_LATEST, 1, 1, 1, 1, OP_HEAVY, lp_infer, lp_run},
    {"GlobalMaxPool", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, global_infer, global_max_run},
    {"GlobalAveragePool", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, global_infer, global_average_run},
    {"GlobalLpPool", NULL, 2, OP_LATEST, 1, 1, 1, 1, 0, global_infer, global_lp_run},
    {.name = NULL},
};
