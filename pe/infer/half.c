/* pe/infer/half.c - 16-bit floats: IEEE 754 binary16 and bfloat16, to and from binary32 and 64.
 *
 * Why:        not _Float16: its arithmetic differs between compilers and flags; these few lines
 *             give one result everywhere. */
#include "pe/infer/tensor.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t mantissa = h & 0x3ffu;
    if (exponent == 0x1f) { /* infinity, NaN */
        return float_of(sign | 0x7f800000u | mantissa << 13);
    }
    if (exponent == 0) { /* zero, subnormal: mantissa * 2^-24, exact in binary32 */
        float v = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -v : v;
    }
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t f16_from_f64(double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    uint16_t sign = (uint16_t)(u >> 48 & 0x8000u);
    int exponent = (int)(u >> 52 & 0x7ffu) - 1023;
    uint64_t mantissa = u & 0xfffffffffffffu;
    if (exponent == 1024) {
        return (uint16_t)(sign | (mantissa != 0 ? 0x7e00u : 0x7c00u));
    }
    if (exponent > 15) {
        return (uint16_t)(sign | 0x7c00u);
    }
    if (exponent < -26) { /* below half of the smallest subnormal, or zero */
        return sign;
    }
    unsigned shift = exponent >= -14 ? 42 : (unsigned)(42 - 14 - exponent);
    uint64_t whole = mantissa | 1ull << 52;
    uint64_t kept = whole >> shift;
    uint64_t rest = whole & ((1ull << shift) - 1);
    uint64_t half = 1ull << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1) != 0);
    /* of normals, kept has the implicit bit at 1 << 10; a carry moves into the exponent */
    uint64_t base = exponent >= -14 ? (uint64_t)(exponent + 14) << 10 : 0;
    return (uint16_t)(sign | (uint16_t)(base + kept));
}

uint16_t f16_from_f32(float v)
{
    return f16_from_f64((double)v); /* exact widening, so one rounding */
}

float bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t bf16_from_f32(float v)
{
    uint32_t u = bits_of(v);
    if (isnan(v)) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
