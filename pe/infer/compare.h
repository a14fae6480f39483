/* pe/infer/compare.h - are two tensors equal within a tolerance? */
#ifndef OXB_PE_INFER_COMPARE_H
#define OXB_PE_INFER_COMPARE_H

#include "pe/infer/tensor.h"

#define RTOL_DEFAULT 1e-3
#define ATOL_DEFAULT 1e-7

/* tensor_close - same type and shape, and |got - want| <= atol + rtol * |want| for each element;
 * NaN equals NaN.  Neighbours of bf16 are close whatever the tolerance, since rounding to nearest
 * and cutting off both conform: ONNX's own runner, which sees such tensors as u16, compares their
 * bits as integers with rtol, which lets through up to 16 steps at 2.0 with its 1e-3.  Otherwise
 * ERR_CORRUPT with the first difference in `f`. */
MUST_CHECK enum err tensor_close(const struct tensor *got, const struct tensor *want, double rtol,
                                 double atol, struct fail *f);

#endif
