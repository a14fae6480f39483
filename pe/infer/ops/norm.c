/* pe/infer/ops/norm.c - operators that bring data to a mean and a spread: *Normalization, LRN.
 *
 * Means and variances are of the population, in double.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>
#include <math.h>

static double epsilon(struct op_ctx *ctx)
{
    return (double)op_attr_f(ctx, "epsilon", 1e-5f);
}

/* vector_of - input i is one number for each of `count` channels. */
static enum op_result vector_of(struct op_ctx *ctx, unsigned i, int64_t count)
{
    const struct tensor *t = op_in(ctx, i);
    TRY(op_want_dtypes(ctx, i, DTS_FLOAT));
    if (t != NULL && (t->shape.rank != 1 || t->shape.dims[0] != count)) {
        return op_invalid(ctx, "input %u is not one number for each of %lld channels", i,
                          (long long)count);
    }
    return OP_OK;
}

/* affine_span - y = (x - mean) * scale + bias over `count` elements from `at`. */
static void affine_span(const struct tensor *x, struct tensor *y, size_t at, size_t count,
                        double mean, double scale, double bias)
{
    double v[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        num_load_f64(v, x->dtype, x->data, (int64_t)(at + done), 1, n);
        for (size_t k = 0; k < n; k++) {
            v[k] = (v[k] - mean) * scale + bias;
        }
        num_store_f64(v, y->dtype, y->data, (int64_t)(at + done), 1, n);
    }
}

struct moments { /* of values added so far */
    double sum, squares; /* squares: of the distances from `origin` */
    double origin;
    size_t count;
};

static void add_span(struct moments *m, const struct tensor *x, size_t at, size_t count)
{
    double v[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        num_load_f64(v, x->dtype, x->data, (int64_t)(at + done), 1, n);
        for (size_t k = 0; k < n; k++) {
            double d = v[k] - m->origin;
            m->sum += v[k];
            m->squares += d * d;
        }
    }
    m->count += count;
}

/* ---- BatchNormalization ---- */

static enum op_result batch_norm_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t channels = x->shape.rank > 1 ? x->shape.dims[1] : 1;
    struct shape of_channel = {.rank = 1, .dims = {channels}};
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (x->shape.rank < 1) {
        return op_invalid(ctx, "the input is a scalar");
    }
    if (ctx->opset < 9 && op_attr_i(ctx, "spatial", 1) == 0) {
        return op_unsupported(ctx, "spatial=0 is not supported");
    }
    for (unsigned i = 1; i < 5; i++) {
        TRY(vector_of(ctx, i, channels));
    }
    TRY(op_set_out(ctx, 0, x->dtype, &x->shape));
    bool trains = op_attr_i(ctx, "training_mode", 0) != 0;
    for (unsigned i = 1; i < ctx->out_count; i++) {
        if (op_out(ctx, i) != NULL && (ctx->opset < 14 || !trains || i > 2)) {
            return op_unsupported(ctx, "output %u exists in training only", i);
        }
        TRY(op_set_out(ctx, i, op_in(ctx, 3)->dtype, &of_channel));
    }
    return OP_OK;
}

/* channel_moments - mean and variance of channel c over all images. */
static void channel_moments(const struct tensor *x, size_t c, size_t channels, double *mean,
                            double *variance)
{
    size_t images = (size_t)x->shape.dims[0];
    size_t plane = x->shape.rank > 2 ? shape_count_range(&x->shape, 2, x->shape.rank) : 1;
    struct moments m = {0};
    for (unsigned pass = 0; pass < 2; pass++) {
        m = (struct moments){.origin = pass > 0 ? m.sum / (double)m.count : 0};
        for (size_t i = 0; i < images; i++) {
            add_span(&m, x, (i * channels + c) * plane, plane);
        }
    }
    *mean = m.sum / (double)m.count;
    *variance = m.squares / (double)m.count;
}

static enum op_result batch_norm_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool trains = ctx->opset >= 14 && op_attr_i(ctx, "training_mode", 0) != 0;
    double momentum = (double)op_attr_f(ctx, "momentum", 0.9f);
    size_t images = (size_t)x->shape.dims[0];
    size_t channels = x->shape.rank > 1 ? (size_t)x->shape.dims[1] : 1;
    size_t plane = x->shape.rank > 2 ? shape_count_range(&x->shape, 2, x->shape.rank) : 1;
    for (size_t c = 0; c < channels; c++) {
        double moments[2] = {tensor_get_f64(op_in(ctx, 3), c), tensor_get_f64(op_in(ctx, 4), c)};
        if (trains) {
            double running[2] = {moments[0], moments[1]};
            channel_moments(x, c, channels, &moments[0], &moments[1]);
            for (unsigned i = 0; i < 2; i++) {
                if (op_out(ctx, i + 1) != NULL) {
                    tensor_set_f64(op_out(ctx, i + 1), c,
                                   running[i] * momentum + moments[i] * (1 - momentum));
                }
            }
        }
        double scale = tensor_get_f64(op_in(ctx, 1), c) / sqrt(moments[1] + epsilon(ctx));
        for (size_t i = 0; i < images && op_out(ctx, 0) != NULL; i++) {
            affine_span(x, op_out(ctx, 0), (i * channels + c) * plane, plane, moments[0], scale,
                        tensor_get_f64(op_in(ctx, 2), c));
        }
    }
    return OP_OK;
}

/* ---- InstanceNormalization, GroupNormalization: moments of one image's channels ---- */

static enum op_result instance_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (x->shape.rank < 3) {
        return op_invalid(ctx, "the input has %u dims, want at least 3", x->shape.rank);
    }
    TRY(vector_of(ctx, 1, x->shape.dims[1]));
    TRY(vector_of(ctx, 2, x->shape.dims[1]));
    return ops_same(ctx);
}

static enum op_result group_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t groups = op_attr_i(ctx, "num_groups", 0);
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (x->shape.rank < 2 || groups < 1 || x->shape.dims[1] % groups != 0) {
        return op_invalid(ctx, "%lld groups do not divide the channels", (long long)groups);
    }
    int64_t vector = ctx->opset < 21 ? groups : x->shape.dims[1]; /* what scale and bias count */
    TRY(vector_of(ctx, 1, vector));
    TRY(vector_of(ctx, 2, vector));
    return ops_same(ctx);
}

/* span_moments - of `count` elements that lie together. */
static void span_moments(const struct tensor *x, size_t at, size_t count, double *mean,
                         double *variance)
{
    struct moments m = {0};
    add_span(&m, x, at, count);
    m = (struct moments){.origin = m.sum / (double)m.count};
    add_span(&m, x, at, count);
    *mean = m.origin;
    *variance = m.squares / (double)m.count;
}

static enum op_result group_run(struct op_ctx *ctx, size_t groups, bool by_group)
{
    const struct tensor *x = op_in(ctx, 0);
    size_t images = (size_t)x->shape.dims[0], channels = (size_t)x->shape.dims[1];
    size_t plane = shape_count_range(&x->shape, 2, x->shape.rank), size = channels / groups;
    for (size_t g = 0; g < images * groups && size * plane > 0; g++) {
        double mean, variance;
        span_moments(x, g * size * plane, size * plane, &mean, &variance);
        for (size_t k = 0; k < size; k++) {
            size_t c = g % groups * size + k, v = by_group ? g % groups : c;
            double scale = tensor_get_f64(op_in(ctx, 1), v) / sqrt(variance + epsilon(ctx));
            affine_span(x, op_out(ctx, 0), (g * size + k) * plane, plane, mean, scale,
                        tensor_get_f64(op_in(ctx, 2), v));
        }
    }
    return OP_OK;
}

static enum op_result instance_run(struct op_ctx *ctx)
{
    size_t channels = (size_t)op_in(ctx, 0)->shape.dims[1];
    return channels > 0 ? group_run(ctx, channels, false) : OP_OK;
}

static enum op_result group_norm_run(struct op_ctx *ctx)
{
    return group_run(ctx, (size_t)op_attr_i(ctx, "num_groups", 1), ctx->opset < 21);
}

/* ---- LayerNormalization, RMSNormalization: over all dims from `axis` on ---- */

static enum op_result layer_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape norm = x->shape, wide, stats = x->shape;
    unsigned axis;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), x->shape.rank, &axis));
    norm.rank -= axis;
    for (unsigned d = axis; d < x->shape.rank; d++) {
        norm.dims[d - axis] = x->shape.dims[d];
        stats.dims[d] = 1;
    }
    for (unsigned i = 1; i < 3; i++) {
        const struct tensor *t = op_in(ctx, i);
        TRY(op_want_dtypes(ctx, i, DTS_FLOAT));
        if (t != NULL && (!shape_broadcast(&t->shape, &norm, &wide) ||
                          !shape_equal(&wide, &norm))) {
            return op_invalid(ctx, "input %u does not broadcast to the normalised dims", i);
        }
    }
    TRY(op_set_out(ctx, 0, x->dtype, &x->shape));
    enum dtype stash = op_attr_i(ctx, "stash_type", 1) == DT_F32 ? DT_F32 : x->dtype;
    TRY(op_set_out(ctx, 1, stash, &stats));
    return op_set_out(ctx, 2, stash, &stats);
}

/* scale_rows - y = v * scale (+ bias), in row order over the normalised dims. */
static void scale_rows(struct op_ctx *ctx, const struct shape *norm, double *v, size_t count)
{
    for (unsigned i = 1; i < 3; i++) {
        const struct tensor *t = op_in(ctx, i);
        struct walk w;
        if (t == NULL) {
            continue;
        }
        walk_broadcast(&w, norm, (const struct shape *[]){&t->shape}, 1);
        for (bool more = count > 0 && walk_start(&w); more; more = walk_next(&w)) {
            for (size_t k = 0; k < w.len; k++) {
                double p = tensor_get_f64(t, (size_t)(w.at[1] + (int64_t)k * w.step[1]));
                double *to = &v[w.at[0] + (int64_t)k];
                *to = i == 1 ? *to * p : *to + p;
            }
        }
    }
}

static enum op_result layer_run(struct op_ctx *ctx, bool centred)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape norm = {0};
    unsigned axis = 0;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), x->shape.rank, &axis));
    for (unsigned d = axis; d < x->shape.rank; d++) {
        norm.dims[norm.rank++] = x->shape.dims[d];
    }
    size_t count = shape_count_range(&x->shape, axis, x->shape.rank);
    double *v = op_scratch(ctx, count, sizeof(*v));
    if (v == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t r = 0; r < shape_count_range(&x->shape, 0, axis); r++) {
        double mean, spread;
        span_moments(x, r * count, count, &mean, &spread);
        spread += centred ? 0 : mean * mean; /* the mean of the squares */
        mean = centred ? mean : 0;
        double inverse = 1 / sqrt(spread + epsilon(ctx));
        num_load_f64(v, x->dtype, x->data, (int64_t)(r * count), 1, count);
        for (size_t k = 0; k < count; k++) {
            v[k] = (v[k] - mean) * inverse;
        }
        scale_rows(ctx, &norm, v, count);
        double stats[2] = {mean, inverse};
        for (unsigned i = 1; i < 3; i++) {
            if (op_out(ctx, i) != NULL) {
                tensor_set_f64(op_out(ctx, i), r, stats[i - 1]);
            }
        }
        if (op_out(ctx, 0) != NULL) {
            struct tensor *y = op_out(ctx, 0);
            num_store_f64(v, y->dtype, y->data, (int64_t)(r * count), 1, count);
        }
    }
    return OP_OK;
}

static enum op_result layer_norm_run(struct op_ctx *ctx)
{
    return layer_run(ctx, true);
}

static enum op_result rms_norm_run(struct op_ctx *ctx)
{
    return layer_run(ctx, false);
}

/* ---- MeanVarianceNormalization ---- */

static enum op_result mvn_axes(struct op_ctx *ctx, uint32_t *mask)
{
    bool given;
    TRY(ops_axes(ctx, UINT_MAX, op_in(ctx, 0)->shape.rank, mask, &given));
    *mask = given ? *mask : 0xd; /* 0, 2, 3 */
    if (!given && op_in(ctx, 0)->shape.rank != 4) {
        return op_invalid(ctx, "without axes the input has 4 dims");
    }
    return OP_OK;
}

static enum op_result mvn_infer(struct op_ctx *ctx)
{
    uint32_t mask;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(mvn_axes(ctx, &mask));
    return ops_same(ctx);
}

/* mvn_one - normalise what `inner` walks over; three passes: mean, variance, result. */
static void mvn_one(const struct tensor *x, struct tensor *y, const struct walk *inner)
{
    double mean = 0, squares = 0, count = 0;
    for (unsigned pass = 0; pass < 3; pass++) {
        struct walk w = *inner;
        for (bool more = walk_start(&w); more; more = walk_next(&w)) {
            for (size_t k = 0; k < w.len; k++) {
                size_t at = (size_t)(w.at[0] + (int64_t)k * w.step[0]);
                double v = tensor_get_f64(x, at);
                if (pass == 0) {
                    mean += v;
                    count++;
                } else if (pass == 1) {
                    squares += (v - mean) * (v - mean);
                } else {
                    tensor_set_f64(y, at, (v - mean) / (sqrt(squares / count) + 1e-9));
                }
            }
        }
        mean = pass == 0 ? mean / count : mean;
    }
}

static enum op_result mvn_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t strides[TENSOR_RANK_MAX], none[TENSOR_RANK_MAX] = {0};
    struct shape stay = x->shape, go = x->shape;
    struct walk outer, inner;
    uint32_t mask = 0;
    TRY(mvn_axes(ctx, &mask));
    shape_strides(&x->shape, strides);
    for (unsigned d = 0; d < x->shape.rank; d++) {
        *(mask & 1u << d ? &stay.dims[d] : &go.dims[d]) = 1;
    }
    walk_of(&outer, &stay, 2);
    walk_way(&outer, 0, strides, 0);
    walk_way(&outer, 1, none, 0);
    for (bool more = walk_start(&outer); more; more = walk_next(&outer)) {
        for (size_t k = 0; k < outer.len; k++) {
            walk_of(&inner, &go, 1);
            walk_way(&inner, 0, strides, outer.at[0] + (int64_t)k * outer.step[0]);
            mvn_one(x, op_out(ctx, 0), &inner);
        }
    }
    return OP_OK;
}

/* ---- LpNormalization ---- */

static enum op_result lp_infer(struct op_ctx *ctx)
{
    unsigned axis;
    int64_t p = op_attr_i(ctx, "p", 2);
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), op_in(ctx, 0)->shape.rank, &axis));
    if (p != 1 && p != 2) {
        return op_invalid(ctx, "p is %lld, not 1 or 2", (long long)p);
    }
    return ops_same(ctx);
}

static enum op_result lp_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool absolute = op_attr_i(ctx, "p", 2) == 1;
    unsigned axis = 0;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", -1), x->shape.rank, &axis));
    size_t count = (size_t)x->shape.dims[axis];
    size_t stride = shape_count_range(&x->shape, axis + 1, x->shape.rank);
    for (size_t line = 0; count > 0 && line < tensor_count(x) / count; line++) {
        size_t at = line / stride * stride * count + line % stride;
        double sum = 0;
        for (size_t k = 0; k < count; k++) {
            double v = tensor_get_f64(x, at + k * stride);
            sum += absolute ? fabs(v) : v * v;
        }
        double norm = absolute ? sum : sqrt(sum);
        for (size_t k = 0; k < count; k++) {
            double v = tensor_get_f64(x, at + k * stride);
            tensor_set_f64(op_out(ctx, 0), at + k * stride, norm == 0 ? 0 : v / norm);
        }
    }
    return OP_OK;
}

/* ---- LRN: each element by those of neighbouring channels ---- */

static enum op_result lrn_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (op_in(ctx, 0)->shape.rank < 2 || op_attr_i(ctx, "size", 0) < 1) {
        return op_invalid(ctx, "no channels, or no size");
    }
    return ops_same(ctx);
}

static enum op_result lrn_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t size = op_attr_i(ctx, "size", 1), channels = x->shape.dims[1];
    double alpha = (double)op_attr_f(ctx, "alpha", 0.0001f) / (double)size;
    double beta = (double)op_attr_f(ctx, "beta", 0.75f), bias = (double)op_attr_f(ctx, "bias", 1);
    int64_t before = (size - 1) / 2, after = size / 2;
    int64_t plane = (int64_t)shape_count_range(&x->shape, 2, x->shape.rank);
    for (int64_t k = 0; k < (int64_t)tensor_count(x); k++) {
        int64_t c = k / plane % channels, base = k - c * plane;
        int64_t from = c > before ? c - before : 0;
        int64_t to = after < channels - 1 - c ? c + after : channels - 1;
        double squares = 0;
        for (int64_t j = from; j <= to; j++) {
            double v = tensor_get_f64(x, (size_t)(base + j * plane));
            squares += v * v;
        }
        double v = tensor_get_f64(x, (size_t)k) / pow(bias + alpha * squares, beta);
        tensor_set_f64(op_out(ctx, 0), (size_t)k, v);
    }
    return OP_OK;
}

const struct op ops_norm[] = {
    {"BatchNormalization", NULL, 6, OP_LATEST, 5, 5, 1, 5, 0, batch_norm_infer, batch_norm_run},
    {"InstanceNormalization", NULL, 1, OP_LATEST, 3, 3, 1, 1, 0, instance_infer, instance_run},
    {"GroupNormalization", NULL, 18, OP_LATEST, 3, 3, 1, 1, 0, group_infer, group_norm_run},
    {"LayerNormalization", NULL, 17, OP_LATEST, 2, 3, 1, 3, 0, layer_infer, layer_norm_run},
    {"RMSNormalization", NULL, 23, OP_LATEST, 2, 2, 1, 1, 0, layer_infer, rms_norm_run},
    {"MeanVarianceNormalization", NULL, 9, OP_LATEST, 1, 1, 1, 1, 0, mvn_infer, mvn_run},
    {"LpNormalization", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, lp_infer, lp_run},
    {"LRN", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, lrn_infer, lrn_run},
    {.name = NULL},
};
