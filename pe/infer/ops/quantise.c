/* pe/infer/ops/quantise.c - QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
 *
 * Scales and zero points are one number, or since opset 13 one per index along `axis`.
 * See:        https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html */
#include "pe/infer/ops/ops.h"

#include <math.h>

#define DTS_BYTE (DT_BIT(DT_U8) | DT_BIT(DT_I8))

/* quotient - as f32 arithmetic has it: ties of the rounding that follows depend on it. */
static double quotient(double v, double scale)
{
    return (double)(float)(v / scale);
}

/* spread_of - how scale and zero point lie along x: element k has number k / inner % count. */
static enum op_result spread_of(struct op_ctx *ctx, size_t *inner, size_t *count)
{
    const struct tensor *x = op_in(ctx, 0), *scale = op_in(ctx, 1), *zero = op_in(ctx, 2);
    unsigned axis;
    *inner = *count = 1;
    if (zero != NULL && tensor_count(zero) != tensor_count(scale)) {
        return op_invalid(ctx, "%zu scales, but %zu zero points", tensor_count(scale),
                          tensor_count(zero));
    }
    if (tensor_count(scale) == 1) {
        return OP_OK;
    }
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 1), x->shape.rank, &axis));
    if (ctx->opset < 13 || scale->shape.rank != 1 || scale->shape.dims[0] != x->shape.dims[axis]) {
        return op_invalid(ctx, "%zu scales do not fit the input", tensor_count(scale));
    }
    *count = (size_t)x->shape.dims[axis];
    *inner = shape_count_range(&x->shape, axis + 1, x->shape.rank);
    return OP_OK;
}

static enum op_result quantise_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *zero = op_in(ctx, 2);
    size_t inner, count;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT | DT_BIT(DT_I32)));
    TRY(op_want_dtypes(ctx, 1, DTS_FLOAT));
    TRY(op_want_dtypes(ctx, 2, DTS_BYTE | DT_BIT(DT_U16) | DT_BIT(DT_I16)));
    TRY(spread_of(ctx, &inner, &count));
    return op_set_out(ctx, 0, zero != NULL ? zero->dtype : DT_U8, &x->shape);
}

static enum op_result quantise_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *zero = op_in(ctx, 2);
    size_t inner = 1, count = 1;
    TRY(spread_of(ctx, &inner, &count));
    for (size_t k = 0; k < tensor_count(x); k++) {
        size_t i = count > 1 ? k / inner % count : 0;
        double scale = tensor_get_f64(op_in(ctx, 1), i);
        double v = rint(quotient(tensor_get_f64(x, k), scale));
        tensor_set_f64(op_out(ctx, 0), k, v + (zero != NULL ? tensor_get_f64(zero, i) : 0));
    }
    return OP_OK;
}

static enum op_result dequantise_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *zero = op_in(ctx, 2);
    size_t inner, count;
    TRY(op_want_dtypes(ctx, 0, DTS_INT));
    TRY(op_want_dtypes(ctx, 1, DTS_FLOAT));
    if (zero != NULL && zero->dtype != x->dtype) {
        return op_invalid(ctx, "the zero point is of another type than the input");
    }
    TRY(spread_of(ctx, &inner, &count));
    return op_set_out(ctx, 0, op_in(ctx, 1)->dtype, &x->shape);
}

static enum op_result dequantise_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0), *zero = op_in(ctx, 2);
    size_t inner = 1, count = 1;
    TRY(spread_of(ctx, &inner, &count));
    for (size_t k = 0; k < tensor_count(x); k++) {
        size_t i = count > 1 ? k / inner % count : 0;
        double v = tensor_get_f64(x, k) - (zero != NULL ? tensor_get_f64(zero, i) : 0);
        tensor_set_f64(op_out(ctx, 0), k, v * tensor_get_f64(op_in(ctx, 1), i));
    }
    return OP_OK;
}

static enum op_result dynamic_infer(struct op_ctx *ctx)
{
    struct shape scalar = {0};
    TRY(op_want_dtypes(ctx, 0, DT_BIT(DT_F32)));
    TRY(op_set_out(ctx, 0, DT_U8, &op_in(ctx, 0)->shape));
    TRY(op_set_out(ctx, 1, DT_F32, &scalar));
    return op_set_out(ctx, 2, DT_U8, &scalar);
}

static enum op_result dynamic_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    float low = 0, high = 0; /* the range is widened to include 0 */
    for (size_t k = 0; k < tensor_count(x); k++) {
        float v = tensor_f32(x)[k];
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    float scale = (float)(((double)high - (double)low) / 255);
    double zero = scale > 0 ? rint(fmin(fmax(quotient(-(double)low, (double)scale), 0), 255)) : 0;
    if (op_out(ctx, 1) != NULL) {
        tensor_f32(op_out(ctx, 1))[0] = scale;
    }
    if (op_out(ctx, 2) != NULL) {
        tensor_set_f64(op_out(ctx, 2), 0, zero);
    }
    for (size_t k = 0; k < tensor_count(x) && op_out(ctx, 0) != NULL; k++) {
        double v = scale > 0 ? rint(quotient((double)tensor_f32(x)[k], (double)scale)) : 0;
        tensor_set_f64(op_out(ctx, 0), k, v + zero);
    }
    return OP_OK;
}

const struct op ops_quantise[] = {
    {"QuantizeLinear", NULL, 10, OP_LATEST, 2, 3, 1, 1, 0, quantise_infer, quantise_run},
    {"DequantizeLinear", NULL, 10, OP_LATEST, 2, 3, 1, 1, 0, dequantise_infer, dequantise_run},
    {"DynamicQuantizeLinear", NULL, 11, OP_LATEST, 1, 1, 1, 3, 0, dynamic_infer, dynamic_run},
    {.name = NULL},
};
