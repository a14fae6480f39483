/* pe/infer/compare.c - are two tensors equal within a tolerance? */
#include "pe/infer/compare.h"

#include <math.h>

static bool close(double got, double want, double rtol, double atol)
{
    if (isnan(want) || isnan(got)) {
        return isnan(want) && isnan(got);
    }
    if (isinf(want) || isinf(got)) {
        return got == want;
    }
    return fabs(got - want) <= atol + rtol * fabs(want);
}

enum err tensor_close(const struct tensor *got, const struct tensor *want, double rtol, double atol,
                      struct fail *f)
{
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (got->dtype != want->dtype || !shape_equal(&got->shape, &want->shape)) {
        return fail_set(f, ERR_CORRUPT, "", "is %s%s, want %s%s", dtype_name(got->dtype),
                        shape_text(&got->shape, a), dtype_name(want->dtype),
                        shape_text(&want->shape, b));
    }
    struct tensor x = *got, y = *want;
    size_t count = tensor_count(got);
    if (x.dtype == DT_BF16 && rtol < 0x1p-7) {
        rtol = 0x1p-7; /* neighbours: rounding to nearest and cutting off are both conforming */
    }
    if (x.dtype == DT_C64 || x.dtype == DT_C128) { /* real and imaginary parts side by side */
        x.dtype = y.dtype = x.dtype == DT_C64 ? DT_F32 : DT_F64;
        count *= 2;
    }
    for (size_t i = 0; i < count; i++) {
        double g = tensor_get_f64(&x, i), w = tensor_get_f64(&y, i);
        if (!close(g, w, rtol, atol)) {
            return fail_set(f, ERR_CORRUPT, "", "element %zu of %zu is %.9g, want %.9g", i, count,
                            g, w);
        }
    }
    return ERR_OK;
}
