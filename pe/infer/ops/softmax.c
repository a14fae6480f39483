/* pe/infer/ops/softmax.c - Softmax, LogSoftmax and Hardmax.
 *
 * Before opset 13 the input is seen as a matrix: all dims before `axis` are rows, all from it on
 * columns.  Since, only the axis itself is normalised.
 * See:        https://onnx.ai/onnx/operators/onnx__Softmax.html */
#include "pe/infer/ops/ops.h"

#include <math.h>

/* A line is what is normalised together: `count` elements, `stride` apart. */
struct lines {
    size_t outer, count, stride;
};

static enum op_result lines_of(struct op_ctx *ctx, struct lines *out)
{
    const struct shape *s = &op_in(ctx, 0)->shape;
    bool matrix = ctx->opset < 13;
    int64_t given = op_attr_i(ctx, "axis", matrix ? 1 : -1);
    unsigned axis = s->rank;
    if (!(matrix && given == (int64_t)s->rank)) { /* a matrix may have columns of one */
        TRY(op_axis(ctx, "axis", given, s->rank, &axis));
    }
    unsigned end = matrix ? s->rank : axis + 1;
    out->outer = shape_count_range(s, 0, axis);
    out->count = shape_count_range(s, axis, end);
    out->stride = shape_count_range(s, end, s->rank);
    return OP_OK;
}

static enum op_result softmax_infer(struct op_ctx *ctx)
{
    struct lines lines;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(lines_of(ctx, &lines));
    return ops_same(ctx);
}

typedef void line_fn(double *v, size_t count);

static double largest(const double *v, size_t count)
{
    double most = -INFINITY;
    for (size_t k = 0; k < count; k++) {
        most = v[k] > most || isnan(v[k]) ? v[k] : most;
    }
    return most;
}

static void softmax(double *v, size_t count)
{
    double most = largest(v, count), sum = 0;
    for (size_t k = 0; k < count; k++) {
        v[k] = exp(v[k] - most);
        sum += v[k];
    }
    for (size_t k = 0; k < count; k++) {
        v[k] /= sum;
    }
}

static void log_softmax(double *v, size_t count)
{
    double most = largest(v, count), sum = 0;
    for (size_t k = 0; k < count; k++) {
        v[k] -= most;
        sum += exp(v[k]);
    }
    sum = log(sum);
    for (size_t k = 0; k < count; k++) {
        v[k] -= sum;
    }
}

static void hardmax(double *v, size_t count) /* 1 at the first of the largest */
{
    double most = largest(v, count);
    bool found = false;
    for (size_t k = 0; k < count; k++) {
        bool first = !found && (v[k] == most || isnan(v[k]));
        v[k] = first ? 1 : 0;
        found |= first;
    }
}

static enum op_result run_lines(struct op_ctx *ctx, line_fn *fn)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    struct lines l = {0};
    TRY(lines_of(ctx, &l));
    double *v = op_scratch(ctx, l.count, sizeof(*v));
    if (v == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t o = 0; o < l.outer && l.count > 0; o++) {
        for (size_t i = 0; i < l.stride; i++) {
            int64_t at = (int64_t)(o * l.count * l.stride + i);
            num_load_f64(v, x->dtype, x->data, at, (int64_t)l.stride, l.count);
            fn(v, l.count);
            num_store_f64(v, y->dtype, y->data, at, (int64_t)l.stride, l.count);
        }
    }
    return OP_OK;
}

static enum op_result softmax_run(struct op_ctx *ctx)
{
    return run_lines(ctx, softmax);
}

static enum op_result log_softmax_run(struct op_ctx *ctx)
{
    return run_lines(ctx, log_softmax);
}

static enum op_result hardmax_run(struct op_ctx *ctx)
{
    return run_lines(ctx, hardmax);
}

const struct op ops_softmax[] = {
    {"Softmax", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, softmax_infer, softmax_run},
    {"LogSoftmax", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, softmax_infer, log_softmax_run},
    {"Hardmax", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, softmax_infer, hardmax_run},
    {.name = NULL},
};
