/* pe/infer/ops/table.c - the list of all families, in which op_find looks. */
#include "pe/infer/ops/ops.h"

const struct op *const op_families[] = {
    ops_identity,
    ops_unary,
    ops_binary,
    ops_variadic,
    ops_reduce,
    ops_shape,
    ops_move,
    ops_make,
    ops_gather,
    ops_select,
    ops_matmul,
    ops_einsum,
    ops_conv,
    ops_pool,
    ops_norm,
    ops_softmax,
    ops_recurrent,
    ops_quantise,
    ops_loss,
    ops_resize,
    ops_vision,
    ops_control,
    ops_fused,
    NULL,
};
