/* pe/infer/ops/table.c - the list of all families, in which op_find looks. */
#include "pe/infer/ops/ops.h"

const struct op *const op_families[] = {
    ops_identity,
    NULL,
};
