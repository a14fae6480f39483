/* pe/infer/ops/ops.h - the families of operators; each is an array of rows in a file of its own.
 *
 * A new family: declare it here, list it in table.c. */
#ifndef OXB_PE_INFER_OPS_OPS_H
#define OXB_PE_INFER_OPS_OPS_H

#include "pe/infer/op.h"

extern const struct op ops_identity[]; /* Identity and other operators that only rename */

#endif
