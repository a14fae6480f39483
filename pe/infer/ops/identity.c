/* pe/infer/ops/identity.c - operators that hand their input on: Identity.
 *
 * See:        https://onnx.ai/onnx/operators/onnx__Identity.html */
#include "pe/infer/ops/ops.h"

#include <string.h>

static enum op_result same_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    return op_set_out(ctx, 0, x->dtype, &x->shape);
}

static enum op_result same_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    if (y != NULL && y->data != x->data && tensor_bytes(x) > 0) {
        memcpy(y->data, x->data, tensor_bytes(x));
    }
    return OP_OK;
}

const struct op ops_identity[] = {
    {"Identity", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_ALIAS | OP_IN_PLACE, same_infer, same_run},
    {.name = NULL},
};
