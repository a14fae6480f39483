/* What every kernel begins with.  LANES (16 or 8) is the width of a vector, VF its type.
 *
 * Kernels for CPUs have work-groups of one work-item; each takes its share of `tiles` by
 * TILES(t, count), so one launch of one group does all of it on a synchronous device.  The last
 * argument of each is `rows`, the filled rows of the batch; all other sizes are macros. */
#if LANES == 16
typedef float16 VF;
typedef int16 VI;
typedef uint16 VU;
#define VLOAD(p) vload16(0, p)
#define VSTORE(v, p) vstore16(v, 0, p)
#define AS_VF as_float16
#define AS_VI as_int16
#define TO_VI convert_int16
#define TO_VF convert_float16
#else
typedef float8 VF;
typedef int8 VI;
typedef uint8 VU;
#define VLOAD(p) vload8(0, p)
#define VSTORE(v, p) vstore8(v, 0, p)
#define AS_VF as_float8
#define AS_VI as_int8
#define TO_VI convert_int8
#define TO_VF convert_float8
#endif

#define GROUP get_group_id(0) /* a chain says otherwise */
#define GROUPS get_num_groups(0)
#define TILES(t, count) (uint t = GROUP; t < (count); t += GROUPS)
#define UNROLL _Pragma("unroll")

/* The first n (1..LANES) lanes. */
static void store_part(VF v, global float *p, uint n)
{
#if LANES == 16
    if (n >= 16) {
        vstore16(v, 0, p);
        return;
    }
    float8 h = v.lo;
    if (n & 8) {
        vstore8(h, 0, p);
        p += 8;
        h = v.hi;
    }
#else
    if (n >= 8) {
        vstore8(v, 0, p);
        return;
    }
    float8 h = v;
#endif
    float4 q = h.lo;
    if (n & 4) {
        vstore4(q, 0, p);
        p += 4;
        q = h.hi;
    }
    float2 r = q.lo;
    if (n & 2) {
        vstore2(r, 0, p);
        p += 2;
        r = q.hi;
    }
    if (n & 1) {
        *p = r.x;
    }
}

/* The first n (1..LANES) lanes; the others are `fill`. */
static VF load_part(global const float *p, uint n, float fill)
{
    if (n >= LANES) {
        return VLOAD(p);
    }
    float t[LANES];
    for (uint i = 0; i < LANES; i++) {
        t[i] = i < n ? p[i] : fill;
    }
    VF v;
#if LANES == 16
    v = vload16(0, t);
#else
    v = vload8(0, t);
#endif
    return v;
}

static float sum_lanes(VF v)
{
#if LANES == 16
    float8 a = v.lo + v.hi;
#else
    float8 a = v;
#endif
    float4 b = a.lo + a.hi;
    float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static float max_lanes(VF v)
{
#if LANES == 16
    float8 a = fmax(v.lo, v.hi);
#else
    float8 a = v;
#endif
    float4 b = fmax(a.lo, a.hi);
    float2 c = fmax(b.lo, b.hi);
    return fmax(c.x, c.y);
}

/* Between lo and hi; NaN stays NaN. */
static VF clamp_nan(VF x, float lo, float hi)
{
    x = select(x, (VF)(lo), x < (VF)(lo));
    return select(x, (VF)(hi), x > (VF)(hi));
}

/* exp after Cephes' expf: range reduction by log 2 in two parts, a polynomial of degree 5; within
 * 2 ulp, saturating: below -87.3 it is the smallest normal number, above 88 the largest. */
static VF vexp(VF x)
{
    x = clamp_nan(x, -87.3f, 88.0f);
    VF n = rint(x * 1.44269504088896341f);
    VF r = fma(n, (VF)(-0.693359375f), x);
    r = fma(n, (VF)(2.12194440e-4f), r);
    VF p = fma((VF)(1.9875691500e-4f), r, (VF)(1.3981999507e-3f));
    p = fma(p, r, (VF)(8.3334519073e-3f));
    p = fma(p, r, (VF)(4.1665795894e-2f));
    p = fma(p, r, (VF)(1.6666665459e-1f));
    p = fma(p, r, (VF)(5.0000001201e-1f));
    p = fma(p, r * r, r + 1.0f);
    return p * AS_VF((TO_VI(n) + 127) << 23);
}

static VF vsigmoid(VF x)
{
    return 1.0f / (1.0f + vexp(-x));
}

/* Near 0 by an odd polynomial (Cephes' tanhf), else through exp. */
static VF vtanh(VF x)
{
    VF a = fabs(x);
    VF z = x * x;
    VF p = fma((VF)(-5.70498872745e-3f), z, (VF)(2.06390887954e-2f));
    p = fma(p, z, (VF)(-5.37397155531e-2f));
    p = fma(p, z, (VF)(1.33314422036e-1f));
    p = fma(p, z, (VF)(-3.33332819422e-1f));
    VF near = fma(p * z, x, x);
    VF far = copysign(1.0f - 2.0f / (vexp(2.0f * a) + 1.0f), x);
    return select(far, near, a < (VF)(0.625f));
}

/* erfc for x >= 0 with a relative error below 1.2e-7 (Chebyshev fit as in Numerical Recipes,
 * section 6.2). */
static VF verfc_pos(VF x)
{
    VF t = 1.0f / fma(x, (VF)(0.5f), (VF)(1.0f));
    VF p = fma((VF)(0.17087277f), t, (VF)(-0.82215223f));
    p = fma(p, t, (VF)(1.48851587f));
    p = fma(p, t, (VF)(-1.13520398f));
    p = fma(p, t, (VF)(0.27886807f));
    p = fma(p, t, (VF)(-0.18628806f));
    p = fma(p, t, (VF)(0.09678418f));
    p = fma(p, t, (VF)(0.37409196f));
    p = fma(p, t, (VF)(1.00002368f));
    p = fma(p, t, (VF)(-1.26551223f));
    return t * vexp(fma(-x, x, p));
}

static VF verf(VF x)
{
    return copysign(1.0f - verfc_pos(fabs(x)), x);
}

/* x * Phi(x), by erfc so that the tail keeps its relative accuracy. */
static VF vgelu(VF x)
{
    VF half_tail = 0.5f * verfc_pos(fabs(x) * 0.70710678118654752f);
    return x * select(1.0f - half_tail, half_tail, x < (VF)(0.0f));
}

static VF vgelu_tanh(VF x)
{
    VF u = 0.79788456080286536f * fma(x * x * x, (VF)(0.044715f), x);
    return 0.5f * x * (1.0f + vtanh(u));
}
