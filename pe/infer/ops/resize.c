/* pe/infer/ops/resize.c - Resize and Upsample.
 *
 * Interpolation is separable: every place along every dim of the output has a few taps, input
 * places with weights, and an output element is the sum over the product of its dims' taps.
 * See:        https://onnx.ai/onnx/operators/onnx__Resize.html */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

enum coordinates {
    AT_HALF_PIXEL,
    AT_PYTORCH_HALF_PIXEL,
    AT_ALIGN_CORNERS,
    AT_ASYMMETRIC,
    AT_CROP,
    COORDINATES
};
enum nearest { TO_PREFER_FLOOR, TO_PREFER_CEIL, TO_FLOOR, TO_CEIL, NEARESTS };
enum interpolation { BY_NEAREST, BY_LINEAR, BY_CUBIC, INTERPOLATIONS };

#define TAPS_MAX 4

struct tap {
    int64_t at[TAPS_MAX];
    double weight[TAPS_MAX];
    unsigned count; /* 0: outside the crop, the value is the extrapolation's */
};

struct resize {
    enum interpolation by;
    enum coordinates coordinates;
    enum nearest nearest;
    double cubic_a, extrapolation;
    bool exclude_outside;
    struct shape out;
    double scale[TENSOR_RANK_MAX];
    double start[TENSOR_RANK_MAX], end[TENSOR_RANK_MAX]; /* of AT_CROP, in 0..1 of the input */
    const struct tap *taps[TENSOR_RANK_MAX];             /* [out.dims[d]] */
};

/* ---- attributes ---- */

static enum op_result choice(struct op_ctx *ctx, const char *name, const char *const *names,
                             unsigned count, unsigned fallback, unsigned *out)
{
    const char *given = op_attr_s(ctx, name, names[fallback]);
    for (*out = 0; *out < count; (*out)++) {
        if (strcmp(given, names[*out]) == 0) {
            return OP_OK;
        }
    }
    return op_unsupported(ctx, "%s '%.30s'", name, given);
}

static enum op_result read_modes(struct op_ctx *ctx, struct resize *r)
{
    static const char *const modes[INTERPOLATIONS] = {"nearest", "linear", "cubic"};
    static const char *const places[COORDINATES] = {
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"};
    static const char *const nearests[NEARESTS] = {"round_prefer_floor", "round_prefer_ceil",
                                                   "floor", "ceil"};
    static const char *const later[] = {"antialias", "axes", "keep_aspect_ratio_policy"};
    bool old = ctx->opset < 11 || strcmp(ctx->node->op, "Upsample") == 0;
    unsigned by, at, to;
    for (unsigned k = 0; k < 3; k++) {
        if (op_attr_has(ctx, later[k])) {
            return op_unsupported(ctx, "the attribute `%s` is not supported", later[k]);
        }
    }
    TRY(choice(ctx, "mode", modes, INTERPOLATIONS, BY_NEAREST, &by));
    TRY(choice(ctx, "coordinate_transformation_mode", places, COORDINATES,
               old ? AT_ASYMMETRIC : AT_HALF_PIXEL, &at));
    TRY(choice(ctx, "nearest_mode", nearests, NEARESTS, old ? TO_FLOOR : TO_PREFER_FLOOR, &to));
    r->by = (enum interpolation)by;
    r->coordinates = (enum coordinates)at;
    r->nearest = (enum nearest)to;
    r->cubic_a = (double)op_attr_f(ctx, "cubic_coeff_a", -0.75f);
    r->extrapolation = (double)op_attr_f(ctx, "extrapolation_value", 0);
    r->exclude_outside = op_attr_i(ctx, "exclude_outside", 0) != 0;
    return OP_OK;
}

/* floats_of - input i as `count` numbers. */
static enum op_result floats_of(struct op_ctx *ctx, unsigned i, unsigned count, double *out)
{
    const struct tensor *t = op_in(ctx, i);
    TRY(op_want_dtypes(ctx, i, DTS_FLOAT));
    if (t == NULL || t->shape.rank != 1 || t->shape.dims[0] != (int64_t)count) {
        return op_invalid(ctx, "input %u is not one number for each of %u dims", i, count);
    }
    if (t->data == NULL) {
        return op_needs(ctx, i);
    }
    num_load_f64(out, t->dtype, t->data, 0, 1, count);
    return OP_OK;
}

static enum op_result read_roi(struct op_ctx *ctx, struct resize *r, unsigned rank)
{
    double roi[2 * TENSOR_RANK_MAX];
    for (unsigned d = 0; d < rank; d++) {
        r->start[d] = 0;
        r->end[d] = 1;
    }
    if (r->coordinates != AT_CROP) {
        return OP_OK;
    }
    TRY(floats_of(ctx, 1, 2 * rank, roi));
    memcpy(r->start, roi, rank * sizeof(roi[0]));
    memcpy(r->end, roi + rank, rank * sizeof(roi[0]));
    return OP_OK;
}

/* by_scales - out = floor(in * scale), of the part that is cropped. */
static enum op_result by_scales(struct op_ctx *ctx, struct resize *r, const struct shape *in)
{
    for (unsigned d = 0; d < in->rank; d++) {
        double size = floor((double)in->dims[d] * (r->end[d] - r->start[d]) * r->scale[d]);
        if (!(r->scale[d] > 0) || !(size >= 0 && size <= (double)TENSOR_BYTES_MAX)) {
            return op_invalid(ctx, "dim %u cannot be scaled by %g", d, r->scale[d]);
        }
        r->out.dims[d] = (int64_t)size;
    }
    return OP_OK;
}

static bool is_given(const struct tensor *t) /* an empty list stands for nothing */
{
    return t != NULL && tensor_count(t) > 0;
}

static enum op_result resize_of(struct op_ctx *ctx, struct resize *r)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    bool upsample = strcmp(ctx->node->op, "Upsample") == 0;
    unsigned count, scales = ctx->opset < 11 || upsample ? 1 : 2;
    *r = (struct resize){.out = {.rank = in->rank}};
    TRY(read_modes(ctx, r));
    TRY(read_roi(ctx, r, in->rank));
    if (upsample && ctx->opset < 9) {
        const float *given = op_attr_floats(ctx, "scales", &count);
        if (count != in->rank) {
            return op_invalid(ctx, "%u scales for %u dims", count, in->rank);
        }
        num_load_f64(r->scale, DT_F32, given, 0, 1, count);
        return by_scales(ctx, r, in);
    }
    if (scales == 1 || !is_given(op_in(ctx, 3))) {
        TRY(floats_of(ctx, scales, in->rank, r->scale));
        return by_scales(ctx, r, in);
    }
    if (is_given(op_in(ctx, 2))) {
        return op_invalid(ctx, "both scales and sizes are given");
    }
    TRY(op_in_ints(ctx, 3, r->out.dims, TENSOR_RANK_MAX, &count));
    if (count != in->rank) {
        return op_invalid(ctx, "%u sizes for %u dims", count, in->rank);
    }
    for (unsigned d = 0; d < in->rank; d++) {
        if (in->dims[d] == 0 && r->out.dims[d] > 0) {
            return op_invalid(ctx, "dim %u is empty", d);
        }
        r->scale[d] = (double)r->out.dims[d] / (double)in->dims[d];
    }
    return OP_OK;
}

static enum op_result resize_infer(struct op_ctx *ctx)
{
    struct resize r;
    TRY(op_want_dtypes(ctx, 0, DTS_REAL));
    TRY(resize_of(ctx, &r));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &r.out);
}

/* ---- taps ---- */

/* place_of - where in the input the output's place o along dim d lies.  align_corners spreads over
 * the scaled size before it is rounded down to a whole one, as ONNX's own implementation. */
static double place_of(const struct resize *r, unsigned d, int64_t o, int64_t in)
{
    double x = (double)o, scale = r->scale[d], last = (double)(in - 1);
    double out = (double)r->out.dims[d];
    switch (r->coordinates) {
    case AT_PYTORCH_HALF_PIXEL:
        return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case AT_ALIGN_CORNERS:
        return (double)in * scale > 1 ? x * last / ((double)in * scale - 1) : 0;
    case AT_ASYMMETRIC:
        return x / scale;
    case AT_CROP:
        return out > 1 ? r->start[d] * last + x * (r->end[d] - r->start[d]) * last / (out - 1)
                       : 0.5 * (r->start[d] + r->end[d]) * last;
    default:
        return (x + 0.5) / scale - 0.5;
    }
}

static double nearest_to(enum nearest to, double x)
{
    switch (to) {
    case TO_FLOOR:
        return floor(x);
    case TO_CEIL:
        return ceil(x);
    case TO_PREFER_CEIL:
        return floor(x + 0.5);
    default:
        return ceil(x - 0.5);
    }
}

/* cubic - Keys' convolution kernel at distance t. */
static double cubic(double a, double t)
{
    t = fabs(t);
    return t <= 1  ? ((a + 2) * t - (a + 3)) * t * t + 1
           : t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
                   : 0;
}

static struct tap tap_of(const struct resize *r, unsigned d, int64_t o, int64_t in)
{
    double x = place_of(r, d, o, in), last = (double)(in - 1), sum = 0;
    struct tap tap = {.count = r->by == BY_NEAREST ? 1 : r->by == BY_LINEAR ? 2 : 4};
    if (r->coordinates == AT_CROP && !(x >= 0 && x <= last)) {
        tap.count = 0;
        return tap;
    }
    x = !(x > -2) ? -2 : x > last + 2 ? last + 2 : x; /* NaN too; the clamp below does the rest */
    double first = r->by == BY_NEAREST ? nearest_to(r->nearest, x)
                                       : floor(x) - (r->by == BY_CUBIC ? 1 : 0);
    for (unsigned k = 0; k < tap.count; k++) {
        double at = first + k;
        double weight = r->by == BY_NEAREST  ? 1
                        : r->by == BY_LINEAR ? 1 - fabs(x - at)
                                             : cubic(r->cubic_a, x - at);
        bool outside = at < 0 || at > last;
        tap.weight[k] = outside && r->exclude_outside && r->by != BY_NEAREST ? 0 : weight;
        tap.at[k] = (int64_t)(at < 0 ? 0 : at > last ? last : at);
        sum += tap.weight[k];
    }
    for (unsigned k = 0; k < tap.count && r->exclude_outside && sum != 0; k++) {
        tap.weight[k] /= sum;
    }
    return tap;
}

static enum op_result make_taps(struct op_ctx *ctx, struct resize *r)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    for (unsigned d = 0; d < in->rank; d++) {
        struct tap *taps = op_scratch(ctx, (size_t)r->out.dims[d], sizeof(*taps));
        bool same = r->coordinates != AT_CROP && r->scale[d] == 1;
        if (taps == NULL) {
            return op_failed(ctx, "out of memory");
        }
        for (int64_t o = 0; o < r->out.dims[d]; o++) {
            taps[o] = same ? (struct tap){.count = 1, .at = {o}, .weight = {1}}
                           : tap_of(r, d, o, in->dims[d]);
        }
        r->taps[d] = taps;
    }
    return OP_OK;
}

/* ---- sums ---- */

/* blend - the sum over the taps of dims d.. of the element at index[]; `at`: place so far. */
static double blend(const struct resize *r, const struct tensor *x, const int64_t *index,
                    unsigned d, int64_t at)
{
    if (d == x->shape.rank) {
        return tensor_get_f64(x, (size_t)at);
    }
    const struct tap *tap = &r->taps[d][index[d]];
    double sum = 0;
    for (unsigned k = 0; k < tap->count; k++) {
        if (tap->weight[k] != 0) {
            sum += tap->weight[k] *
                   blend(r, x, index, d + 1, at * x->shape.dims[d] + tap->at[k]);
        }
    }
    return sum;
}

/* only - the one element that all dims' single taps choose, or -1: outside the crop. */
static int64_t only(const struct resize *r, const struct shape *in, const int64_t *index)
{
    int64_t at = 0;
    for (unsigned d = 0; d < in->rank; d++) {
        const struct tap *tap = &r->taps[d][index[d]];
        if (tap->count == 0) {
            return -1;
        }
        at = at * in->dims[d] + tap->at[0];
    }
    return at;
}

static enum op_result resize_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    int64_t index[TENSOR_RANK_MAX] = {0};
    size_t size = dtype_size(x->dtype);
    struct resize r = {0};
    TRY(resize_of(ctx, &r));
    if (tensor_count(y) == 0) {
        return OP_OK;
    }
    TRY(make_taps(ctx, &r));
    for (size_t k = 0; k < tensor_count(y); k++) {
        int64_t at = only(&r, &x->shape, index);
        if (at >= 0 && r.by == BY_NEAREST) {
            memcpy((uint8_t *)y->data + k * size, (const uint8_t *)x->data + (size_t)at * size,
                   size);
        } else {
            tensor_set_f64(y, k, at < 0 ? r.extrapolation : blend(&r, x, index, 0, 0));
        }
        for (unsigned d = y->shape.rank; d-- > 0 && ++index[d] == y->shape.dims[d];) {
            index[d] = 0;
        }
    }
    return OP_OK;
}

const struct op ops_resize[] = {
    {"Resize", NULL, 10, 10, 2, 2, 1, 1, OP_HEAVY, resize_infer, resize_run},
    {"Resize", NULL, 11, OP_LATEST, 1, 4, 1, 1, OP_HEAVY, resize_infer, resize_run},
    {"Upsample", NULL, 7, 8, 1, 1, 1, 1, OP_HEAVY, resize_infer, resize_run},
    {"Upsample", NULL, 9, 9, 2, 2, 1, 1, OP_HEAVY, resize_infer, resize_run},
    {.name = NULL},
};
