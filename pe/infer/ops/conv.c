/* pe/infer/ops/conv.c - Conv and ConvTranspose, and Conv of quantised integers.
 *
 * An output row (all of the last dim) is summed as doubles, one kernel element at a time: for Conv
 * the row gathers from input rows, for ConvTranspose input rows scatter into it.  Products of bytes
 * sum exactly that way.  What lies in the padding counts as zero, for integers as the zero point.
 * See:        https://onnx.ai/onnx/operators/onnx__Conv.html */
#include "pe/infer/ops/window.h"

#include <math.h>
#include <string.h>

struct conv {
    struct window w;
    const struct tensor *x, *weights;
    double x_zero;
    const struct tensor *w_zero; /* NULL: zero; one, or one per output channel */
    bool transposed;             /* weights are [C, M / group, ...], not [M, C / group, ...] */
    int64_t n, c, m, group;
    int64_t in_plane, kernel_plane; /* elements of all spatial dims */
    double *row;                 /* the sums, [out[last]] */
    double *input;               /* a row of the input, [in[last]] */
};

/* ---- shapes ---- */

static int64_t product(const int64_t *v, unsigned count)
{
    int64_t p = 1;
    for (unsigned k = 0; k < count; k++) {
        p *= v[k];
    }
    return p;
}

/* channels_of - x is [N, C, ...], the weights are its filters in `group` groups. */
static enum op_result channels_of(struct op_ctx *ctx, unsigned x, unsigned weights, struct conv *c)
{
    const struct shape *sx = &op_in(ctx, x)->shape, *sw = &op_in(ctx, weights)->shape;
    c->x = op_in(ctx, x);
    c->weights = op_in(ctx, weights);
    c->group = op_attr_i(ctx, "group", 1);
    if (sx->rank != sw->rank || sx->rank < 3) {
        return op_invalid(ctx, "the input has %u dims, the weights %u", sx->rank, sw->rank);
    }
    if (c->group < 1 || c->group > (int64_t)TENSOR_BYTES_MAX) {
        return op_invalid(ctx, "%lld groups", (long long)c->group);
    }
    c->n = sx->dims[0];
    c->c = sx->dims[1];
    int64_t want = c->transposed ? sw->dims[0] : sw->dims[1] * c->group;
    if (want != c->c) {
        return op_invalid(ctx, "the weights want %lld channels, the input has %lld",
                          (long long)want, (long long)c->c);
    }
    c->m = c->transposed ? sw->dims[1] * c->group : sw->dims[0];
    if (c->c % c->group != 0 || c->m % c->group != 0) {
        return op_invalid(ctx, "%lld groups do not divide %lld channels into %lld",
                          (long long)c->group, (long long)c->c, (long long)c->m);
    }
    TRY(window_of(ctx, sx, sw->dims + 2, &c->w));
    c->in_plane = product(c->w.in, c->w.dims);
    c->kernel_plane = product(c->w.kernel, c->w.dims);
    return OP_OK;
}

static enum op_result conv_of(struct op_ctx *ctx, unsigned x, unsigned weights, struct conv *c)
{
    memset(c, 0, sizeof(*c));
    TRY(channels_of(ctx, x, weights, c));
    return window_slide(ctx, &c->w, false);
}

/* unslide - the output of a ConvTranspose: as large as `output_shape` or auto_pad say, or as the
 * pads leave. */
static enum op_result unslide(struct op_ctx *ctx, struct window *w)
{
    unsigned extra_count, shape_count_;
    const int64_t *extra = op_attr_ints(ctx, "output_padding", &extra_count);
    const int64_t *shape = op_attr_ints(ctx, "output_shape", &shape_count_);
    if ((extra_count != 0 && extra_count != w->dims) ||
        (shape_count_ != 0 && shape_count_ != w->dims && shape_count_ != w->dims + 2)) {
        return op_invalid(ctx, "output_padding or output_shape has not %u numbers", w->dims);
    }
    if (shape_count_ == w->dims + 2) { /* some give N and C too */
        shape += 2;
    }
    for (unsigned d = 0; d < w->dims; d++) {
        int64_t more = extra_count != 0 ? extra[d] : 0;
        if (more < 0 || more > (int64_t)TENSOR_BYTES_MAX || w->in[d] == 0) {
            return op_invalid(ctx, "output_padding of %lld, or an empty dim", (long long)more);
        }
        int64_t full = w->stride[d] * (w->in[d] - 1) + more + window_extent(w, d);
        if (shape_count_ == 0 && !w->same_upper && !w->same_lower) {
            w->out[d] = full - w->before[d] - w->after[d];
        } else {
            w->out[d] = shape_count_ != 0 ? shape[d] : w->in[d] * w->stride[d];
            if (w->out[d] < 0 || w->out[d] > (int64_t)TENSOR_BYTES_MAX) {
                return op_invalid(ctx, "output_shape has %lld", (long long)w->out[d]);
            }
            int64_t total = full > w->out[d] ? full - w->out[d] : 0;
            w->before[d] = w->same_upper ? total / 2 : total - total / 2;
        }
        if (w->out[d] < 0) {
            return op_invalid(ctx, "pads cut more than dim %u has", d);
        }
    }
    return OP_OK;
}

static enum op_result transposed_of(struct op_ctx *ctx, struct conv *c)
{
    memset(c, 0, sizeof(*c));
    c->transposed = true;
    TRY(channels_of(ctx, 0, 1, c));
    return unslide(ctx, &c->w);
}

/* ---- sums ---- */

/* input_row - which row of the input's plane the kernel's outer index touches for the output's
 * outer index: its first element, or -1 when it lies in the padding. */
static int64_t input_row(const struct conv *c, int64_t out_row, int64_t kernel_row)
{
    const struct window *w = &c->w;
    int64_t at = 0, scale = w->in[w->dims - 1];
    for (unsigned d = w->dims - 1; d-- > 0;) {
        int64_t o = out_row % w->out[d], k = kernel_row % w->kernel[d], i;
        out_row /= w->out[d];
        kernel_row /= w->kernel[d];
        if (c->transposed) {
            i = o + w->before[d] - k * w->dilation[d];
            if (i % w->stride[d] != 0) {
                return -1;
            }
            i /= w->stride[d];
        } else {
            i = o * w->stride[d] + k * w->dilation[d] - w->before[d];
        }
        if (i < 0 || i >= w->in[d]) {
            return -1;
        }
        at += i * scale;
        scale *= w->in[d];
    }
    return at;
}

static int64_t ceil_div(int64_t a, int64_t b) /* b > 0 */
{
    return a / b + (a % b > 0);
}

/* gather - row[o] += v * input[o * stride + shift] wherever that is inside. */
static void gather(const struct window *w, double *row, const double *input, double v,
                   int64_t shift)
{
    unsigned last = w->dims - 1;
    int64_t stride = w->stride[last];
    int64_t from = shift < 0 ? ceil_div(-shift, stride) : 0;
    int64_t end = shift < w->in[last] ? ceil_div(w->in[last] - shift, stride) : 0;
    end = end < w->out[last] ? end : w->out[last];
    if (stride == 1) {
        for (int64_t o = from; o < end; o++) {
            row[o] += v * input[o + shift];
        }
        return;
    }
    for (int64_t o = from; o < end; o++) {
        row[o] += v * input[o * stride + shift];
    }
}

/* scatter - row[i * stride + shift] += v * input[i] wherever that is inside. */
static void scatter(const struct window *w, double *row, const double *input, double v,
                    int64_t shift)
{
    unsigned last = w->dims - 1;
    int64_t stride = w->stride[last];
    int64_t from = shift < 0 ? ceil_div(-shift, stride) : 0;
    int64_t end = shift < w->out[last] ? ceil_div(w->out[last] - shift, stride) : 0;
    end = end < w->in[last] ? end : w->in[last];
    for (int64_t i = from; i < end; i++) {
        row[i * stride + shift] += v * input[i];
    }
}

/* add_kernel_row - one input row times the kernel elements of one kernel row. */
static void add_kernel_row(const struct conv *c, int64_t x_at, int64_t w_at, double w_zero)
{
    const struct window *w = &c->w;
    unsigned last = w->dims - 1;
    size_t width = (size_t)w->in[last];
    num_load_f64(c->input, c->x->dtype, c->x->data, x_at, 1, width);
    for (size_t k = 0; k < width && c->x_zero != 0; k++) {
        c->input[k] -= c->x_zero;
    }
    for (int64_t k = 0; k < w->kernel[last]; k++) {
        double v;
        num_load_f64(&v, c->weights->dtype, c->weights->data, w_at + k, 1, 1);
        int64_t shift = k * w->dilation[last] - w->before[last];
        if (c->transposed) {
            scatter(w, c->row, c->input, v - w_zero, shift);
        } else {
            gather(w, c->row, c->input, v - w_zero, shift);
        }
    }
}

static double per_channel(const struct tensor *t, int64_t m)
{
    return t == NULL ? 0 : tensor_get_f64(t, tensor_count(t) == 1 ? 0 : (size_t)m);
}

/* sum_row - c->row for image n, channel m and the output's row of that index. */
static void sum_row(const struct conv *c, int64_t n, int64_t m, int64_t out_row)
{
    unsigned last = c->w.dims - 1;
    int64_t per_group = c->c / c->group, m_per_group = c->m / c->group, g = m / m_per_group;
    int64_t kernel_rows = c->kernel_plane / c->w.kernel[last];
    double w_zero = per_channel(c->w_zero, m);
    memset(c->row, 0, (size_t)c->w.out[last] * sizeof(*c->row));
    for (int64_t i = 0; i < per_group; i++) {
        int64_t channel = g * per_group + i;
        int64_t filter = c->transposed ? channel * m_per_group + m % m_per_group
                                       : m * per_group + i;
        for (int64_t k = 0; k < kernel_rows; k++) {
            int64_t at = input_row(c, out_row, k);
            if (at >= 0) {
                add_kernel_row(c, (n * c->c + channel) * c->in_plane + at,
                               filter * c->kernel_plane + k * c->w.kernel[last], w_zero);
            }
        }
    }
}

/* What becomes of a row of sums of channel m: in place. */
typedef void finish_fn(struct op_ctx *ctx, double *row, size_t count, int64_t m);

static enum op_result run_rows(struct op_ctx *ctx, struct conv *c, finish_fn *finish)
{
    struct tensor *y = op_out(ctx, 0);
    unsigned last = c->w.dims - 1;
    size_t width = (size_t)c->w.out[last];
    c->row = op_scratch(ctx, width, sizeof(*c->row));
    c->input = op_scratch(ctx, (size_t)c->w.in[last], sizeof(*c->input));
    if (c->row == NULL || c->input == NULL) {
        return op_failed(ctx, "out of memory");
    }
    if (tensor_count(y) == 0) {
        return OP_OK;
    }
    int64_t rows = product(c->w.out, last), at = 0;
    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t m = 0; m < c->m; m++) {
            for (int64_t r = 0; r < rows; r++, at += c->w.out[last]) {
                sum_row(c, n, m, r);
                finish(ctx, c->row, width, m);
                num_store_f64(c->row, y->dtype, y->data, at, 1, width);
            }
        }
    }
    return OP_OK;
}

/* ---- floats ---- */

static enum op_result float_infer(struct op_ctx *ctx, const struct conv *c)
{
    const struct tensor *x = op_in(ctx, 0), *b = op_in(ctx, 2);
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (op_in(ctx, 1)->dtype != x->dtype || (b != NULL && b->dtype != x->dtype)) {
        return op_invalid(ctx, "input, weights and bias are of different types");
    }
    if (b != NULL && (b->shape.rank != 1 || b->shape.dims[0] != c->m)) {
        return op_invalid(ctx, "the bias is not one number for each of %lld channels",
                          (long long)c->m);
    }
    struct shape out = window_shape(&c->w, c->n, c->m);
    return op_set_out(ctx, 0, x->dtype, &out);
}

static void add_bias(struct op_ctx *ctx, double *row, size_t count, int64_t m)
{
    const struct tensor *b = op_in(ctx, 2);
    double bias = b != NULL ? tensor_get_f64(b, (size_t)m) : 0;
    for (size_t k = 0; k < count && b != NULL; k++) {
        row[k] += bias;
    }
}

static enum op_result conv_infer(struct op_ctx *ctx)
{
    struct conv c;
    TRY(conv_of(ctx, 0, 1, &c));
    return float_infer(ctx, &c);
}

static enum op_result conv_run(struct op_ctx *ctx)
{
    struct conv c;
    TRY(conv_of(ctx, 0, 1, &c));
    return run_rows(ctx, &c, add_bias);
}

static enum op_result transposed_infer(struct op_ctx *ctx)
{
    struct conv c;
    TRY(transposed_of(ctx, &c));
    return float_infer(ctx, &c);
}

static enum op_result transposed_run(struct op_ctx *ctx)
{
    struct conv c;
    TRY(transposed_of(ctx, &c));
    return run_rows(ctx, &c, add_bias);
}

/* ---- quantised ---- */

#define DTS_BYTE (DT_BIT(DT_U8) | DT_BIT(DT_I8))

/* one_number - input i is absent or one number, or one per channel where `channels` > 0. */
static enum op_result one_number(struct op_ctx *ctx, unsigned i, int64_t channels)
{
    const struct tensor *t = op_in(ctx, i);
    bool per = channels > 0 && t != NULL && t->shape.rank == 1 && t->shape.dims[0] == channels;
    if (t != NULL && tensor_count(t) != 1 && !per) {
        return op_invalid(ctx, "input %u is not one number%s", i,
                          channels > 0 ? ", nor one per channel" : "");
    }
    return OP_OK;
}

static enum op_result same_type(struct op_ctx *ctx, unsigned i, unsigned j)
{
    if (op_in(ctx, i) != NULL && op_in(ctx, i)->dtype != op_in(ctx, j)->dtype) {
        return op_invalid(ctx, "the zero point in input %u is of another type", i);
    }
    return OP_OK;
}

static enum op_result integer_infer(struct op_ctx *ctx)
{
    struct conv c;
    TRY(op_want_dtypes(ctx, 0, DTS_BYTE));
    TRY(op_want_dtypes(ctx, 1, DTS_BYTE));
    TRY(same_type(ctx, 2, 0));
    TRY(same_type(ctx, 3, 1));
    TRY(conv_of(ctx, 0, 1, &c));
    TRY(one_number(ctx, 2, 0));
    TRY(one_number(ctx, 3, c.m));
    struct shape out = window_shape(&c.w, c.n, c.m);
    return op_set_out(ctx, 0, DT_I32, &out);
}

static void wrap(struct op_ctx *ctx, double *row, size_t count, int64_t m)
{
    (void)ctx, (void)m;
    for (size_t k = 0; k < count; k++) {
        row[k] = (double)(int32_t)(uint32_t)(uint64_t)(int64_t)row[k];
    }
}

static enum op_result integer_run(struct op_ctx *ctx)
{
    struct conv c;
    TRY(conv_of(ctx, 0, 1, &c));
    c.x_zero = per_channel(op_in(ctx, 2), 0);
    c.w_zero = op_in(ctx, 3);
    return run_rows(ctx, &c, wrap);
}

static enum op_result qlinear_infer(struct op_ctx *ctx)
{
    static const bool scale[9] = {[1] = true, [4] = true, [6] = true};
    struct conv c;
    for (unsigned i = 0; i < 8; i++) {
        TRY(op_want_dtypes(ctx, i, scale[i] ? DTS_FLOAT : DTS_BYTE));
    }
    TRY(op_want_dtypes(ctx, 8, DT_BIT(DT_I32)));
    TRY(same_type(ctx, 2, 0));
    TRY(same_type(ctx, 5, 3));
    TRY(conv_of(ctx, 0, 3, &c));
    for (unsigned i = 1; i < 9; i++) {
        bool channels = i == 4 || i == 5 || i == 8;
        if (i != 3) {
            TRY(one_number(ctx, i, channels ? c.m : 0));
        }
    }
    if (op_in(ctx, 8) != NULL && tensor_count(op_in(ctx, 8)) != (size_t)c.m) {
        return op_invalid(ctx, "the bias is not one number per channel");
    }
    struct shape out = window_shape(&c.w, c.n, c.m);
    return op_set_out(ctx, 0, op_in(ctx, 7)->dtype, &out);
}

static void requantise(struct op_ctx *ctx, double *row, size_t count, int64_t m)
{
    double scale = per_channel(op_in(ctx, 1), 0) * per_channel(op_in(ctx, 4), m) /
                   per_channel(op_in(ctx, 6), 0);
    double bias = per_channel(op_in(ctx, 8), m), zero = per_channel(op_in(ctx, 7), 0);
    for (size_t k = 0; k < count; k++) {
        row[k] = rint((row[k] + bias) * scale) + zero; /* stored saturated */
    }
}

static enum op_result qlinear_run(struct op_ctx *ctx)
{
    struct conv c;
    TRY(conv_of(ctx, 0, 3, &c));
    c.x_zero = per_channel(op_in(ctx, 2), 0);
    c.w_zero = op_in(ctx, 5);
    return run_rows(ctx, &c, requantise);
}

const struct op ops_conv[] = {
    {"Conv", NULL, 1, OP_LATEST, 2, 3, 1, 1, OP_HEAVY, conv_infer, conv_run},
    {"ConvTranspose", NULL, 1, OP_LATEST, 2, 3, 1, 1, OP_HEAVY, transposed_infer, transposed_run},
    {"ConvInteger", NULL, 10, OP_LATEST, 2, 4, 1, 1, OP_HEAVY, integer_infer, integer_run},
    {"QLinearConv", NULL, 10, OP_LATEST, 8, 9, 1, 1, OP_HEAVY, qlinear_infer, qlinear_run},
    {.name = NULL},
};
