/* pe/infer/ops/identity.c - operators that hand their input on, and what all families share.
 *
 * Dropout is the identity outside training; training is refused, being random.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>
#include <string.h>

enum op_result ops_same(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    return op_set_out(ctx, 0, x->dtype, &x->shape);
}

enum op_result ops_copy(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    if (y != NULL && y->data != x->data && tensor_bytes(x) > 0) {
        memcpy(y->data, x->data, tensor_bytes(x));
    }
    return OP_OK;
}

enum op_result ops_axes(struct op_ctx *ctx, unsigned input, uint32_t rank, uint32_t *mask,
                        bool *given)
{
    int64_t from_input[TENSOR_RANK_MAX];
    const int64_t *axes = from_input;
    unsigned count = 0;
    if (input == UINT_MAX) {
        axes = op_attr_ints(ctx, "axes", &count);
        *given = op_attr_has(ctx, "axes");
    } else {
        *given = op_in(ctx, input) != NULL;
        if (*given) {
            TRY(op_in_ints(ctx, input, from_input, TENSOR_RANK_MAX, &count));
        }
    }
    *mask = 0;
    for (unsigned k = 0; k < count; k++) {
        unsigned axis;
        TRY(op_axis(ctx, "axes", axes[k], rank, &axis));
        if (*mask & 1u << axis) {
            return op_invalid(ctx, "axis %u is listed twice", axis);
        }
        *mask |= 1u << axis;
    }
    return OP_OK;
}

enum op_result ops_input_f(struct op_ctx *ctx, unsigned i, double fallback, double *out)
{
    const struct tensor *t = op_in(ctx, i);
    *out = fallback;
    if (t == NULL) {
        return OP_OK;
    }
    TRY(op_want_dtypes(ctx, i, DTS_REAL));
    if (tensor_count(t) != 1) {
        return op_invalid(ctx, "input %u has %zu elements, not one", i, tensor_count(t));
    }
    if (t->data == NULL) {
        return op_needs(ctx, i);
    }
    *out = tensor_get_f64(t, 0);
    return OP_OK;
}

/* trains - would this Dropout drop anything?  Its training input may still be unknown. */
static enum op_result trains(struct op_ctx *ctx, bool *out)
{
    double ratio, training;
    TRY(ops_input_f(ctx, 1, (double)op_attr_f(ctx, "ratio", 0.5f), &ratio));
    TRY(ops_input_f(ctx, 2, 0, &training));
    if (ctx->opset < 7) {
        training = op_attr_i(ctx, "is_test", 0) == 0;
    }
    *out = training != 0 && ratio != 0;
    return OP_OK;
}

static enum op_result dropout_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool random;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(trains(ctx, &random));
    if (random) {
        return op_unsupported(ctx, "training mode is random; export the model for inference");
    }
    TRY(op_set_out(ctx, 0, x->dtype, &x->shape));
    return op_set_out(ctx, 1, ctx->opset < 10 ? x->dtype : DT_BOOL, &x->shape);
}

static enum op_result dropout_run(struct op_ctx *ctx)
{
    struct tensor *mask = op_out(ctx, 1);
    if (mask != NULL) {
        double one = 1;
        for (size_t k = 0; k < tensor_count(mask); k++) {
            num_store_f64(&one, mask->dtype, mask->data, (int64_t)k, 1, 1);
        }
    }
    return ops_copy(ctx);
}

const struct op ops_identity[] = {
    {"Identity", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_ALIAS | OP_IN_PLACE, ops_same, ops_copy},
    {"Dropout", NULL, 1, OP_LATEST, 1, 3, 1, 2, OP_ALIAS | OP_IN_PLACE, dropout_infer,
     dropout_run},
    {.name = NULL},
};
