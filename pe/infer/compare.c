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

/* One step apart in the order of bf16's values; -0 and 0 are the same. */
static bool are_neighbours(uint16_t a, uint16_t b)
{
    int32_t x = (a & 0x8000) != 0 ? -(int32_t)(a & 0x7fff) : (int32_t)a;
    int32_t y = (b & 0x8000) != 0 ? -(int32_t)(b & 0x7fff) : (int32_t)b;
    return x - y >= -1 && x - y <= 1;
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
    if (x.dtype == DT_C64 || x.dtype == DT_C128) { /* real and imaginary parts side by side */
        x.dtype = y.dtype = x.dtype == DT_C64 ? DT_F32 : DT_F64;
        count *= 2;
    }
    for (size_t i = 0; i < count; i++) {
        double g = tensor_get_f64(&x, i), w = tensor_get_f64(&y, i);
        bool near = x.dtype == DT_BF16 && isfinite(g) && isfinite(w) &&
                    are_neighbours(((const uint16_t *)x.data)[i], ((const uint16_t *)y.data)[i]);
        if (!near && !close(g, w, rtol, atol)) {
            return fail_set(f, ERR_CORRUPT, "", "element %zu of %zu is %.9g, want %.9g", i, count,
                            g, w);
        }
    }
    return ERR_OK;
}
