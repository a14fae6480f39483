/* pe/infer/ops/vision.c - boxes, regions and sampling grids: what vision models end with.
 *
 * NonMaxSuppression, RoiAlign, GridSample, MaxUnpool; and Det.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/window.h"

#include <math.h>
#include <string.h>

/* ---- NonMaxSuppression: how many it selects depends on the data, so infer selects too ---- */

struct nms {
    size_t batches, classes, boxes;
    int64_t most;            /* per batch and class */
    double iou, score;       /* thresholds */
    bool has_score, centred; /* boxes are [x, y, w, h] of their centre */
    const struct tensor *box, *scores;
};

static enum op_result nms_of(struct op_ctx *ctx, struct nms *n)
{
    const struct shape *b = &op_in(ctx, 0)->shape, *s = &op_in(ctx, 1)->shape;
    double most;
    TRY(op_want_dtypes(ctx, 0, DT_BIT(DT_F32)));
    TRY(op_want_dtypes(ctx, 1, DT_BIT(DT_F32)));
    if (b->rank != 3 || s->rank != 3 || b->dims[2] != 4 || b->dims[0] != s->dims[0] ||
        b->dims[1] != s->dims[2]) {
        return op_invalid(ctx, "boxes are not [N, B, 4] or scores not [N, C, B]");
    }
    *n = (struct nms){.batches = (size_t)s->dims[0],
                      .classes = (size_t)s->dims[1],
                      .boxes = (size_t)s->dims[2],
                      .has_score = op_in(ctx, 4) != NULL,
                      .centred = op_attr_i(ctx, "center_point_box", 0) != 0,
                      .box = op_in(ctx, 0),
                      .scores = op_in(ctx, 1)};
    TRY(ops_input_f(ctx, 2, 0, &most));
    TRY(ops_input_f(ctx, 3, 0, &n->iou));
    TRY(ops_input_f(ctx, 4, 0, &n->score));
    n->most = most > (double)n->boxes ? (int64_t)n->boxes : most > 0 ? (int64_t)most : 0;
    for (unsigned i = 0; i < 2; i++) {
        if (op_in(ctx, i)->data == NULL) {
            return op_needs(ctx, i);
        }
    }
    return OP_OK;
}

struct box {
    double low[2], high[2];
};

static struct box box_at(const struct nms *n, size_t batch, size_t k)
{
    const float *v = tensor_f32(n->box) + (batch * n->boxes + k) * 4;
    struct box b;
    for (unsigned d = 0; d < 2; d++) {
        double a = (double)v[d], c = (double)v[d + 2];
        b.low[d] = n->centred ? a - c / 2 : fmin(a, c);
        b.high[d] = n->centred ? a + c / 2 : fmax(a, c);
    }
    return b;
}

static double overlap(const struct box *a, const struct box *b) /* intersection over union */
{
    double both = 1, first = 1, second = 1;
    for (unsigned d = 0; d < 2; d++) {
        both *= fmax(0, fmin(a->high[d], b->high[d]) - fmax(a->low[d], b->low[d]));
        first *= a->high[d] - a->low[d];
        second *= b->high[d] - b->low[d];
    }
    double all = first + second - both;
    return all > 0 ? both / all : 0;
}

/* best_left - the box of the highest score that is neither taken nor out; boxes: none. */
static size_t best_left(const struct nms *n, const float *scores, const bool *out)
{
    size_t best = n->boxes;
    for (size_t k = 0; k < n->boxes; k++) {
        bool allowed = !out[k] && !(n->has_score && !((double)scores[k] > n->score));
        if (allowed && (best == n->boxes || scores[k] > scores[best])) {
            best = k;
        }
    }
    return best;
}

/* select_boxes - [batch, class, box] of each selected one to `to`, which may be NULL. */
static enum op_result select_boxes(struct op_ctx *ctx, const struct nms *n, int64_t *to,
                                   size_t *count)
{
    bool *out = op_scratch(ctx, n->boxes, sizeof(*out));
    if (out == NULL) {
        return op_failed(ctx, "out of memory");
    }
    *count = 0;
    for (size_t line = 0; line < n->batches * n->classes; line++) {
        const float *scores = tensor_f32(n->scores) + line * n->boxes;
        memset(out, 0, n->boxes);
        for (int64_t taken = 0; taken < n->most; taken++) {
            size_t best = best_left(n, scores, out);
            if (best == n->boxes) {
                break;
            }
            struct box chosen = box_at(n, line / n->classes, best);
            for (size_t k = 0; k < n->boxes; k++) {
                struct box other = box_at(n, line / n->classes, k);
                out[k] |= k == best || overlap(&chosen, &other) > n->iou;
            }
            if (to != NULL) {
                to[3 * *count] = (int64_t)(line / n->classes);
                to[3 * *count + 1] = (int64_t)(line % n->classes);
                to[3 * *count + 2] = (int64_t)best;
            }
            (*count)++;
        }
    }
    return OP_OK;
}

static enum op_result nms_infer(struct op_ctx *ctx)
{
    struct nms n;
    size_t count = 0;
    TRY(nms_of(ctx, &n));
    TRY(select_boxes(ctx, &n, NULL, &count));
    struct shape out = {.rank = 2, .dims = {(int64_t)count, 3}};
    return op_set_out(ctx, 0, DT_I64, &out);
}

static enum op_result nms_run(struct op_ctx *ctx)
{
    struct nms n;
    size_t count;
    TRY(nms_of(ctx, &n));
    return select_boxes(ctx, &n, tensor_i64(op_out(ctx, 0)), &count);
}

/* ---- planes: pictures that are read between their pixels ---- */

struct plane {
    const struct tensor *t;
    size_t at; /* of pixel 0,0 */
    int64_t h, w;
};

static double pixel(const struct plane *p, int64_t y, int64_t x)
{
    return tensor_get_f64(p->t, p->at + (size_t)(y * p->w + x));
}

/* ---- RoiAlign ---- */

#define SAMPLES_MAX 1024 /* per bin and dim */

struct roi_align {
    int64_t h, w, ratio;
    double scale, shift;
    bool maximum;
};

static enum op_result roi_of(struct op_ctx *ctx, struct roi_align *r)
{
    const struct shape *x = &op_in(ctx, 0)->shape, *rois = &op_in(ctx, 1)->shape;
    const struct shape *images = &op_in(ctx, 2)->shape;
    const char *mode = op_attr_s(ctx, "mode", "avg");
    const char *place = op_attr_s(ctx, "coordinate_transformation_mode",
                                  ctx->opset < 16 ? "output_half_pixel" : "half_pixel");
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_want_dtypes(ctx, 2, DT_BIT(DT_I64)));
    if (op_in(ctx, 1)->dtype != op_in(ctx, 0)->dtype || x->rank != 4 || rois->rank != 2 ||
        rois->dims[1] != 4 || images->rank != 1 || images->dims[0] != rois->dims[0]) {
        return op_invalid(ctx, "want X [N, C, H, W], rois [R, 4] of its type, batch_indices [R]");
    }
    *r = (struct roi_align){.h = op_attr_i(ctx, "output_height", 1),
                            .w = op_attr_i(ctx, "output_width", 1),
                            .ratio = op_attr_i(ctx, "sampling_ratio", 0),
                            .scale = (double)op_attr_f(ctx, "spatial_scale", 1),
                            .shift = strcmp(place, "half_pixel") == 0 ? 0.5 : 0,
                            .maximum = strcmp(mode, "max") == 0};
    if ((!r->maximum && strcmp(mode, "avg") != 0) ||
        (r->shift == 0 && strcmp(place, "output_half_pixel") != 0)) {
        return op_invalid(ctx, "mode '%.20s' or '%.20s' is unknown", mode, place);
    }
    if (r->h < 1 || r->w < 1 || r->ratio < 0 || r->ratio > SAMPLES_MAX) {
        return op_invalid(ctx, "the output has no pixels, or sampling_ratio is out of 0..%d",
                          SAMPLES_MAX);
    }
    return OP_OK;
}

static enum op_result roi_infer(struct op_ctx *ctx)
{
    struct roi_align r;
    TRY(roi_of(ctx, &r));
    struct shape out = {.rank = 4,
                        .dims = {op_in(ctx, 1)->shape.dims[0], op_in(ctx, 0)->shape.dims[1], r.h,
                                 r.w}};
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

/* between - bilinear; further than one pixel outside it is 0. */
static double between(const struct plane *p, double y, double x)
{
    if (!(y >= -1 && y <= (double)p->h && x >= -1 && x <= (double)p->w) || p->h * p->w == 0) {
        return 0;
    }
    y = fmin(fmax(y, 0), (double)(p->h - 1));
    x = fmin(fmax(x, 0), (double)(p->w - 1));
    int64_t y0 = (int64_t)y, x0 = (int64_t)x;
    int64_t y1 = y0 + 1 < p->h ? y0 + 1 : y0, x1 = x0 + 1 < p->w ? x0 + 1 : x0;
    double fy = y - (double)y0, fx = x - (double)x0;
    return (1 - fy) * ((1 - fx) * pixel(p, y0, x0) + fx * pixel(p, y0, x1)) +
           fy * ((1 - fx) * pixel(p, y1, x0) + fx * pixel(p, y1, x1));
}

/* roi_pixel - one pixel of the output: folds a grid of samples of its bin. */
static double roi_pixel(const struct roi_align *r, const struct plane *p, const double start[2],
                        const double bin[2], const int64_t grid[2], int64_t oy, int64_t ox)
{
    double sum = 0, most = -INFINITY;
    for (int64_t iy = 0; iy < grid[0]; iy++) {
        for (int64_t ix = 0; ix < grid[1]; ix++) {
            double y = start[0] + ((double)oy + ((double)iy + 0.5) / (double)grid[0]) * bin[0];
            double x = start[1] + ((double)ox + ((double)ix + 0.5) / (double)grid[1]) * bin[1];
            double v = between(p, y, x);
            sum += v;
            most = fmax(most, v);
        }
    }
    return r->maximum ? most : sum / (double)(grid[0] * grid[1]);
}

/* roi_grid - where region k starts, how large its bins are, how many samples each has. */
static enum op_result roi_grid(struct op_ctx *ctx, const struct roi_align *r, size_t k,
                               double start[2], double bin[2], int64_t grid[2])
{
    int64_t out[2] = {r->h, r->w};
    for (unsigned d = 0; d < 2; d++) { /* y, x; regions are x1 y1 x2 y2 */
        double from = tensor_get_f64(op_in(ctx, 1), 4 * k + 1 - d) * r->scale - r->shift;
        double to = tensor_get_f64(op_in(ctx, 1), 4 * k + 3 - d) * r->scale - r->shift;
        double size = r->shift != 0 ? to - from : fmax(to - from, 1);
        start[d] = from;
        bin[d] = size / (double)out[d];
        double samples = r->ratio > 0 ? (double)r->ratio : ceil(bin[d]);
        if (!(samples <= SAMPLES_MAX)) {
            return op_unsupported(ctx, "region %zu wants %g samples, %d are the most", k, samples,
                                  SAMPLES_MAX);
        }
        grid[d] = samples >= 1 ? (int64_t)samples : 1;
    }
    return OP_OK;
}

static enum op_result roi_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t channels = x->shape.dims[1], at = 0;
    struct plane p = {x, 0, x->shape.dims[2], x->shape.dims[3]};
    struct roi_align r = {0};
    TRY(roi_of(ctx, &r));
    for (size_t k = 0; k < (size_t)op_in(ctx, 1)->shape.dims[0]; k++) {
        int64_t image = tensor_i64(op_in(ctx, 2))[k], grid[2] = {0};
        double start[2] = {0}, bin[2] = {0};
        if (image < 0 || image >= x->shape.dims[0]) {
            return op_invalid(ctx, "region %zu is of image %lld", k, (long long)image);
        }
        TRY(roi_grid(ctx, &r, k, start, bin, grid));
        for (int64_t c = 0; c < channels; c++) {
            p.at = (size_t)((image * channels + c) * p.h * p.w);
            for (int64_t o = 0; o < r.h * r.w; o++, at++) {
                double v = roi_pixel(&r, &p, start, bin, grid, o / r.w, o % r.w);
                num_store_f64(&v, x->dtype, op_out(ctx, 0)->data, at, 1, 1);
            }
        }
    }
    return OP_OK;
}

/* ---- GridSample ---- */

enum padding { PAD_ZEROS, PAD_BORDER, PAD_REFLECTION, PADDINGS };
enum sampling { SAMPLE_BILINEAR, SAMPLE_NEAREST, SAMPLE_BICUBIC, SAMPLINGS };

struct grid {
    enum padding padding;
    enum sampling sampling;
    bool corners; /* -1 and 1 are the centres of the outermost pixels, not their edges */
};

static enum op_result word(struct op_ctx *ctx, const char *name, const char *const (*words)[2],
                           unsigned count, unsigned *out)
{
    const char *given = op_attr_s(ctx, name, words[0][0]);
    for (*out = 0; *out < count; (*out)++) {
        if (strcmp(given, words[*out][0]) == 0 || strcmp(given, words[*out][1]) == 0) {
            return OP_OK;
        }
    }
    return op_invalid(ctx, "unknown %s '%.20s'", name, given);
}

static enum op_result grid_of(struct op_ctx *ctx, struct grid *g)
{
    /* the second spelling is that of opset 20 */
    static const char *const modes[SAMPLINGS][2] = {
        {"bilinear", "linear"}, {"nearest", "nearest"}, {"bicubic", "cubic"}};
    static const char *const paddings[PADDINGS][2] = {
        {"zeros", "zeros"}, {"border", "border"}, {"reflection", "reflection"}};
    const struct shape *x = &op_in(ctx, 0)->shape, *grid = &op_in(ctx, 1)->shape;
    unsigned mode, padding;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_want_dtypes(ctx, 1, DTS_FLOAT));
    if (x->rank == 5) {
        return op_unsupported(ctx, "only pictures of two dims are supported");
    }
    if (x->rank != 4 || grid->rank != 4 || grid->dims[3] != 2 || grid->dims[0] != x->dims[0] ||
        x->dims[2] * x->dims[3] == 0) {
        return op_invalid(ctx, "want X [N, C, H, W] with pixels, and a grid [N, H, W, 2]");
    }
    TRY(word(ctx, "mode", modes, SAMPLINGS, &mode));
    TRY(word(ctx, "padding_mode", paddings, PADDINGS, &padding));
    *g = (struct grid){(enum padding)padding, (enum sampling)mode,
                       op_attr_i(ctx, "align_corners", 0) != 0};
    return OP_OK;
}

static enum op_result grid_infer(struct op_ctx *ctx)
{
    struct grid g;
    TRY(grid_of(ctx, &g));
    struct shape out = op_in(ctx, 0)->shape;
    out.dims[2] = op_in(ctx, 1)->shape.dims[1];
    out.dims[3] = op_in(ctx, 1)->shape.dims[2];
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

/* mirror - bring v into low..high by reflecting it there. */
static double mirror(double v, double low, double high)
{
    double span = high - low;
    if (!(span > 0) || !isfinite(v)) {
        return low;
    }
    double d = fmod(fabs(v - low), 2 * span);
    return low + (d > span ? 2 * span - d : d);
}

/* grid_pixel - the pixel at whole places, or what the padding makes of places outside. */
static double grid_pixel(const struct grid *g, const struct plane *p, double y, double x)
{
    double last[2] = {(double)(p->h - 1), (double)(p->w - 1)}, at[2] = {y, x};
    for (unsigned d = 0; d < 2; d++) {
        bool inside = at[d] >= 0 && at[d] <= last[d];
        if (!inside && g->padding == PAD_ZEROS) {
            return 0;
        }
        if (!inside && g->padding == PAD_REFLECTION) {
            at[d] = g->corners ? mirror(at[d], 0, last[d]) : mirror(at[d], -0.5, last[d] + 0.5);
        }
        at[d] = fmin(fmax(isnan(at[d]) ? 0 : at[d], 0), last[d]);
    }
    return pixel(p, (int64_t)at[0], (int64_t)at[1]);
}

static double cubic(double t) /* Keys' kernel with a = -0.75 */
{
    const double a = -0.75;
    t = fabs(t);
    return t <= 1 ? ((a + 2) * t - (a + 3)) * t * t + 1
                  : t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

static double grid_value(const struct grid *g, const struct plane *p, double y, double x)
{
    int from = g->sampling == SAMPLE_BICUBIC ? -1 : 0, to = g->sampling == SAMPLE_BICUBIC ? 2 : 1;
    double y0 = floor(y), x0 = floor(x), sum = 0;
    if (g->sampling == SAMPLE_NEAREST) {
        return grid_pixel(g, p, rint(y), rint(x));
    }
    for (int j = from; j <= to; j++) {
        for (int i = from; i <= to; i++) {
            double dy = y - (y0 + j), dx = x - (x0 + i);
            double weight = g->sampling == SAMPLE_BICUBIC ? cubic(dy) * cubic(dx)
                                                          : (1 - fabs(dy)) * (1 - fabs(dx));
            sum += weight * grid_pixel(g, p, y0 + j, x0 + i);
        }
    }
    return sum;
}

/* grid_place - from -1..1 to pixels; then what the padding does to places, not to pixels. */
static double grid_place(const struct grid *g, double v, int64_t size)
{
    double last = (double)(size - 1);
    v = g->corners ? (v + 1) / 2 * last : ((v + 1) * (double)size - 1) / 2;
    if (g->padding == PAD_BORDER && g->sampling != SAMPLE_BICUBIC) {
        v = fmin(fmax(v, 0), last);
    } else if (g->padding == PAD_REFLECTION && g->sampling != SAMPLE_BICUBIC) {
        v = g->corners ? mirror(v, 0, last) : mirror(v, -0.5, last + 0.5);
        v = fmin(fmax(v, 0), last);
    }
    return v;
}

static enum op_result grid_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *grid = op_in(ctx, 1);
    struct tensor *out = op_out(ctx, 0);
    struct plane p = {x, 0, x->shape.dims[2], x->shape.dims[3]};
    struct grid g = {0};
    TRY(grid_of(ctx, &g));
    size_t channels = (size_t)x->shape.dims[1], at = 0;
    size_t points = shape_count_range(&grid->shape, 1, 3);
    for (size_t plane = 0; plane < (size_t)x->shape.dims[0] * channels; plane++) {
        p.at = plane * (size_t)(p.h * p.w);
        for (size_t k = 0; k < points; k++, at++) {
            size_t from = 2 * (plane / channels * points + k);
            double v = grid_value(&g, &p, grid_place(&g, tensor_get_f64(grid, from + 1), p.h),
                                  grid_place(&g, tensor_get_f64(grid, from), p.w));
            num_store_f64(&v, out->dtype, out->data, (int64_t)at, 1, 1);
        }
    }
    return OP_OK;
}

/* ---- MaxUnpool ---- */

/* unpool_natural - the shape in which the indices count: that of the input of the MaxPool which is
 * undone.  `output_shape` may be larger; what is more than natural stays 0. */
static enum op_result unpool_natural(struct op_ctx *ctx, struct shape *out)
{
    const struct tensor *x = op_in(ctx, 0);
    struct window w;
    TRY(window_of(ctx, &x->shape, NULL, &w));
    for (unsigned d = 0; d < w.dims; d++) {
        w.out[d] = (w.in[d] - 1) * w.stride[d] + w.kernel[d] - w.before[d] - w.after[d];
        if (w.out[d] < 0 || w.out[d] > (int64_t)TENSOR_BYTES_MAX) {
            return op_invalid(ctx, "dim %u would be %lld", d, (long long)w.out[d]);
        }
    }
    *out = window_shape(&w, x->shape.dims[0], x->shape.dims[1]);
    return OP_OK;
}

static enum op_result unpool_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape out;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_want_dtypes(ctx, 1, DT_BIT(DT_I64)));
    if (!shape_equal(&x->shape, &op_in(ctx, 1)->shape)) {
        return op_invalid(ctx, "the indices have another shape than the input");
    }
    TRY(unpool_natural(ctx, &out));
    if (op_in(ctx, 2) != NULL) {
        TRY(op_in_ints(ctx, 2, out.dims, TENSOR_RANK_MAX, &out.rank));
        if (out.rank != x->shape.rank || out.dims[0] != x->shape.dims[0] ||
            out.dims[1] != x->shape.dims[1]) {
            return op_invalid(ctx, "output_shape does not keep N and C");
        }
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

/* unpool_place - the place of natural index i in an output of shape `out`, or -1. */
static int64_t unpool_place(const struct shape *natural, const struct shape *out, int64_t i)
{
    int64_t place = 0, scale = 1;
    for (unsigned d = out->rank; d-- > 0;) {
        int64_t at = natural->dims[d] > 0 ? i % natural->dims[d] : 0;
        if (at >= out->dims[d]) {
            return -1;
        }
        i = natural->dims[d] > 0 ? i / natural->dims[d] : i;
        place += at * scale;
        scale *= out->dims[d];
    }
    return i == 0 ? place : -1;
}

static enum op_result unpool_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    struct shape natural = {0};
    size_t size = dtype_size(x->dtype);
    TRY(unpool_natural(ctx, &natural));
    if (tensor_bytes(y) > 0) {
        memset(y->data, 0, tensor_bytes(y));
    }
    for (size_t k = 0; k < tensor_count(x); k++) {
        int64_t i = tensor_i64(op_in(ctx, 1))[k];
        int64_t to = i < 0 ? -1 : unpool_place(&natural, &y->shape, i);
        if (to < 0) {
            return op_invalid(ctx, "index %lld is not in the output", (long long)i);
        }
        memcpy((uint8_t *)y->data + (size_t)to * size, (const uint8_t *)x->data + k * size, size);
    }
    return OP_OK;
}

/* ---- Det ---- */

static enum op_result det_infer(struct op_ctx *ctx)
{
    struct shape out = op_in(ctx, 0)->shape;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (out.rank < 2 || out.dims[out.rank - 1] != out.dims[out.rank - 2]) {
        return op_invalid(ctx, "the input is no square matrix");
    }
    out.rank -= 2;
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

/* det - by elimination with the largest pivot; destroys m, [n][n]. */
static double det(double *m, size_t n)
{
    double product = 1;
    for (size_t c = 0; c < n; c++) {
        size_t pivot = c;
        for (size_t r = c + 1; r < n; r++) {
            pivot = fabs(m[r * n + c]) > fabs(m[pivot * n + c]) ? r : pivot;
        }
        if (m[pivot * n + c] == 0) {
            return 0;
        }
        for (size_t k = 0; k < n && pivot != c; k++) {
            double v = m[c * n + k];
            m[c * n + k] = m[pivot * n + k];
            m[pivot * n + k] = v;
        }
        product *= pivot != c ? -m[c * n + c] : m[c * n + c];
        for (size_t r = c + 1; r < n; r++) {
            double factor = m[r * n + c] / m[c * n + c];
            for (size_t k = c; k < n; k++) {
                m[r * n + k] -= factor * m[c * n + k];
            }
        }
    }
    return product;
}

static enum op_result det_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    size_t n = (size_t)x->shape.dims[x->shape.rank - 1];
    double *m = op_scratch(ctx, n * n, sizeof(*m));
    if (m == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t k = 0; k < tensor_count(y); k++) {
        num_load_f64(m, x->dtype, x->data, (int64_t)(k * n * n), 1, n * n);
        double v = det(m, n);
        num_store_f64(&v, y->dtype, y->data, (int64_t)k, 1, 1);
    }
    return OP_OK;
}

const struct op ops_vision[] = {
    {"NonMaxSuppression", NULL, 10, OP_LATEST, 2, 5, 1, 1, OP_HEAVY, nms_infer, nms_run},
    {"RoiAlign", NULL, 10, OP_LATEST, 3, 3, 1, 1, OP_HEAVY, roi_infer, roi_run},
    {"GridSample", NULL, 16, OP_LATEST, 2, 2, 1, 1, OP_HEAVY, grid_infer, grid_run},
    {"MaxUnpool", NULL, 9, OP_LATEST, 2, 3, 1, 1, 0, unpool_infer, unpool_run},
    {"Det", NULL, 11, OP_LATEST, 1, 1, 1, 1, OP_HEAVY, det_infer, det_run},
    {.name = NULL},
};
