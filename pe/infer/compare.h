/* pe/infer/compare.h - are two tensors equal within a tolerance? */
#ifndef OXB_PE_INFER_COMPARE_H
#define OXB_PE_INFER_COMPARE_H

#include "pe/infer/tensor.h"

#define RTOL_DEFAULT 1e-3
#define ATOL_DEFAULT 1e-7

/* tensor_close - same type and shape, and |got - want| <= atol + rtol * |want| for each element;
 * NaN equals NaN.  For bf16 rtol is at least 2^-7, one unit in its last place: ONNX's own tests
 * compare its bits as an integer, which allows several.  Otherwise ERR_CORRUPT with the first
 * difference in `f`. */
MUST_CHECK enum err tensor_close(const struct tensor *got, const struct tensor *want, double rtol,
                                 double atol, struct fail *f);

#endif
