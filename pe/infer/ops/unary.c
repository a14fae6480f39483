/* pe/infer/ops/unary.c - operators that make each element from one element: Relu, Exp, Cast, Clip.
 *
 * A row of UNARY_FLOAT or UNARY_NUMBER is a whole operator: what it does to x, with its float
 * attributes as p[0], p[1].
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

struct unary {
    void (*f)(double *v, const double *p, size_t count);   /* floats */
    void (*i)(int64_t *v, const double *p, size_t count);  /* signed integers; NULL: through f */
    void (*u)(uint64_t *v, const double *p, size_t count); /* unsigned ones; NULL: through f */
    const char *name[2];                                   /* float attributes; NULL: none */
    double fallback[2];
};

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x; /* NaN stays */
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double clamp01(double x) /* NaN stays */
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* X(name, since, value of a float x, name and default of p[0], of p[1]) */
#define UNARY_FLOAT(X)                                                                             \
    X(Acos, 7, acos(x), NULL, 0, NULL, 0)                                                          \
    X(Acosh, 9, acosh(x), NULL, 0, NULL, 0)                                                        \
    X(Asin, 7, asin(x), NULL, 0, NULL, 0)                                                          \
    X(Asinh, 9, asinh(x), NULL, 0, NULL, 0)                                                        \
    X(Atan, 7, atan(x), NULL, 0, NULL, 0)                                                          \
    X(Atanh, 9, atanh(x), NULL, 0, NULL, 0)                                                        \
    X(Ceil, 1, ceil(x), NULL, 0, NULL, 0)                                                          \
    X(Celu, 12, x > 0 ? x : x < 0 ? p[0] * expm1(x / p[0]) : x, "alpha", 1, NULL, 0)               \
    X(Cos, 7, cos(x), NULL, 0, NULL, 0)                                                            \
    X(Cosh, 9, cosh(x), NULL, 0, NULL, 0)                                                          \
    X(Elu, 1, x < 0 ? p[0] * expm1(x) : x, "alpha", 1, NULL, 0)                                    \
    X(Exp, 1, exp(x), NULL, 0, NULL, 0)                                                            \
    X(Floor, 1, floor(x), NULL, 0, NULL, 0)                                                        \
    X(HardSigmoid, 1, clamp01(p[0] * x + p[1]), "alpha", (double)0.2f, "beta", 0.5)                \
    X(HardSwish, 14, x *clamp01(x / 6 + 0.5), NULL, 0, NULL, 0)                                    \
    X(LeakyRelu, 1, x < 0 ? p[0] * x : x, "alpha", (double)0.01f, NULL, 0)                         \
    X(Log, 1, log(x), NULL, 0, NULL, 0)                                                            \
    X(Mish, 18, x *tanh(softplus(x)), NULL, 0, NULL, 0)                                            \
    X(Reciprocal, 1, 1 / x, NULL, 0, NULL, 0)                                                      \
    X(Round, 11, rint(x), NULL, 0, NULL, 0)                                                        \
    X(Selu, 6, p[1] * (x > 0 ? x : p[0] * expm1(x)), "alpha", (double)1.67326319217681884765625f,  \
      "gamma", (double)1.05070102214813232421875f)                                                 \
    X(Sigmoid, 1, sigmoid(x), NULL, 0, NULL, 0)                                                    \
    X(Sin, 7, sin(x), NULL, 0, NULL, 0)                                                            \
    X(Sinh, 9, sinh(x), NULL, 0, NULL, 0)                                                          \
    X(Softplus, 1, softplus(x), NULL, 0, NULL, 0)                                                  \
    X(Softsign, 1, x / (1 + fabs(x)), NULL, 0, NULL, 0)                                            \
    X(Sqrt, 1, sqrt(x), NULL, 0, NULL, 0)                                                          \
    X(Swish, 24, x *sigmoid(p[0] * x), "alpha", 1, NULL, 0)                                        \
    X(Tan, 7, tan(x), NULL, 0, NULL, 0)                                                            \
    X(Tanh, 1, tanh(x), NULL, 0, NULL, 0)                                                          \
    X(ThresholdedRelu, 10, x > p[0] || isnan(x) ? x : 0, "alpha", 1, NULL, 0)

/* X(name, since, value of a float x, of a signed x, of an unsigned x).  -x wraps. */
#define UNARY_NUMBER(X)                                                                            \
    X(Abs, 1, fabs(x), x < 0 ? (int64_t)(0 - (uint64_t)x) : x, x)                                  \
    X(Neg, 1, -x, (int64_t)(0 - (uint64_t)x), 0 - x)                                               \
    X(Relu, 1, x < 0 ? 0 : x, x < 0 ? 0 : x, x)                                                    \
    X(Sign, 9, sign(x), (x > 0) - (x < 0), x > 0)

#define LOOP(type, value)                                                                          \
    for (size_t k = 0; k < count; k++) {                                                           \
        const type x = v[k];                                                                       \
        v[k] = (value);                                                                            \
    }

static enum op_result unary_run(struct op_ctx *ctx, const struct unary *op);

#define X(name, since, value, name0, default0, name1, default1)                                    \
    static void name##_f(double *v, const double *p, size_t count)                                 \
    {                                                                                              \
        (void)p;                                                                                   \
        LOOP(double, value)                                                                        \
    }                                                                                              \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        static const struct unary op = {                                                           \
            name##_f, NULL, NULL, {name0, name1}, {default0, default1}};                           \
        return unary_run(ctx, &op);                                                                \
    }
UNARY_FLOAT(X)
#undef X

#define X(name, since, of_float, of_signed, of_unsigned)                                           \
    static void name##_f(double *v, const double *p, size_t count)                                 \
    {                                                                                              \
        (void)p;                                                                                   \
        LOOP(double, of_float)                                                                     \
    }                                                                                              \
    static void name##_i(int64_t *v, const double *p, size_t count)                                \
    {                                                                                              \
        (void)p;                                                                                   \
        LOOP(int64_t, of_signed)                                                                   \
    }                                                                                              \
    static void name##_u(uint64_t *v, const double *p, size_t count)                               \
    {                                                                                              \
        (void)p;                                                                                   \
        LOOP(uint64_t, of_unsigned)                                                                \
    }                                                                                              \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        static const struct unary op = {name##_f, name##_i, name##_u, {NULL, NULL}, {0, 0}};       \
        return unary_run(ctx, &op);                                                                \
    }
UNARY_NUMBER(X)
#undef X

static void unary_block(const struct unary *op, enum num_class class, union block *b,
                        const double *p, size_t n)
{
    if (class == NUM_INT) {
        op->i(b->i, p, n);
    } else if (class == NUM_UINT) {
        op->u(b->u, p, n);
    } else {
        op->f(b->f, p, n);
    }
}

static enum op_result unary_run(struct op_ctx *ctx, const struct unary *op)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    enum num_class class = num_class_of(x->dtype);
    bool convert = class != NUM_FLOAT && op->i == NULL; /* e.g. Erf of integers */
    double p[2] = {0, 0};
    for (unsigned k = 0; k < 2 && op->name[k] != NULL; k++) {
        p[k] = (double)op_attr_f(ctx, op->name[k], (float)op->fallback[k]);
    }
    union block b;
    for (size_t done = 0, count = tensor_count(x); done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        if (convert) {
            num_load_f64(b.f, x->dtype, x->data, (int64_t)done, 1, n);
            op->f(b.f, p, n);
            num_store_f64(b.f, y->dtype, y->data, (int64_t)done, 1, n);
            continue;
        }
        block_load(&b, x->dtype, x->data, (int64_t)done, 1, n);
        unary_block(op, class, &b, p, n);
        block_store(&b, y->dtype, y->data, (int64_t)done, 1, n);
    }
    return OP_OK;
}

static enum op_result float_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    return ops_same(ctx);
}

static enum op_result number_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    return ops_same(ctx);
}

/* ---- those that are of numbers of any kind, but computed as floats ---- */

static void erf_f(double *v, const double *p, size_t count)
{
    (void)p;
    LOOP(double, erf(x))
}

static enum op_result erf_run(struct op_ctx *ctx)
{
    static const struct unary op = {erf_f, NULL, NULL, {NULL, NULL}, {0, 0}};
    return unary_run(ctx, &op);
}

static void shrink_f(double *v, const double *p, size_t count)
{
    LOOP(double, x < -p[1] ? x + p[0] : x > p[1] ? x - p[0] : isnan(x) ? x : 0)
}

static enum op_result shrink_run(struct op_ctx *ctx)
{
    static const struct unary op = {shrink_f, NULL, NULL, {"bias", "lambd"}, {0, 0.5}};
    return unary_run(ctx, &op);
}

static void gelu_f(double *v, const double *p, size_t count)
{
    (void)p;
    LOOP(double, x * 0.5 * erfc(-x * M_SQRT1_2))
}

static void gelu_tanh_f(double *v, const double *p, size_t count)
{
    (void)p;
    LOOP(double, 0.5 * x * (1 + tanh(M_SQRT2 * M_2_SQRTPI / 2 * (x + 0.044715 * x * x * x))))
}

static enum op_result gelu_run(struct op_ctx *ctx)
{
    static const struct unary exact = {gelu_f, NULL, NULL, {NULL, NULL}, {0, 0}};
    static const struct unary by_tanh = {gelu_tanh_f, NULL, NULL, {NULL, NULL}, {0, 0}};
    bool approximate = strcmp(op_attr_s(ctx, "approximate", "none"), "tanh") == 0;
    return unary_run(ctx, approximate ? &by_tanh : &exact);
}

/* ---- logic ---- */

static enum op_result not_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_BOOL));
    return ops_same(ctx);
}

static enum op_result not_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    for (size_t k = 0; k < tensor_count(x); k++) {
        tensor_u8(op_out(ctx, 0))[k] = !tensor_u8(x)[k];
    }
    return OP_OK;
}

static enum op_result bitwise_not_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_INT));
    return ops_same(ctx);
}

static enum op_result bitwise_not_run(struct op_ctx *ctx)
{
    const uint8_t *x = op_in(ctx, 0)->data;
    uint8_t *y = op_out(ctx, 0)->data;
    for (size_t k = 0; k < tensor_bytes(op_in(ctx, 0)); k++) {
        y[k] = (uint8_t)~x[k];
    }
    return OP_OK;
}

static enum op_result float_test_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    return op_set_out(ctx, 0, DT_BOOL, &op_in(ctx, 0)->shape);
}

static enum op_result is_nan_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    for (size_t k = 0; k < tensor_count(x); k++) {
        bool nan = isnan(tensor_get_f64(x, k));
        tensor_u8(op_out(ctx, 0))[k] = nan;
    }
    return OP_OK;
}

static enum op_result is_inf_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool negative = op_attr_i(ctx, "detect_negative", 1) != 0;
    bool positive = op_attr_i(ctx, "detect_positive", 1) != 0;
    for (size_t k = 0; k < tensor_count(x); k++) {
        double v = tensor_get_f64(x, k);
        tensor_u8(op_out(ctx, 0))[k] = isinf(v) && (v < 0 ? negative : positive);
    }
    return OP_OK;
}

/* ---- Cast ---- */

static enum op_result cast_to(struct op_ctx *ctx, int64_t to)
{
    if (to == DT_STR || op_in(ctx, 0)->dtype == DT_STR) {
        return op_unsupported(ctx, "strings are not supported");
    }
    if (to <= 0 || to >= DT_COUNT || !(DT_BIT(to) & DTS_REAL)) {
        return op_unsupported(ctx, "casting to ONNX type %lld is not supported", (long long)to);
    }
    TRY(op_want_dtypes(ctx, 0, DTS_REAL));
    return op_set_out(ctx, 0, (enum dtype)to, &op_in(ctx, 0)->shape);
}

static enum op_result cast_infer(struct op_ctx *ctx)
{
    if (!op_attr_has(ctx, "to")) {
        return op_invalid(ctx, "the attribute `to` is missing");
    }
    return cast_to(ctx, op_attr_i(ctx, "to", 0));
}

static enum op_result cast_like_infer(struct op_ctx *ctx)
{
    return cast_to(ctx, op_in(ctx, 1)->dtype);
}

static enum op_result cast_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    num_convert(y->dtype, y->data, x->dtype, x->data, tensor_count(x));
    return OP_OK;
}

/* ---- Clip ---- */

static enum op_result clip_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, ctx->opset < 11 ? DTS_FLOAT : DTS_NUMBER));
    for (unsigned i = 1; i < 3; i++) {
        const struct tensor *bound = op_in(ctx, i);
        if (bound != NULL && (bound->dtype != op_in(ctx, 0)->dtype || tensor_count(bound) != 1)) {
            return op_invalid(ctx, "input %u is not one element of the type of input 0", i);
        }
    }
    return ops_same(ctx);
}

/* clip_bound - in b's class; where there is none, nothing is beyond it. */
static bool clip_bound(struct op_ctx *ctx, unsigned i, const char *name, union block *b)
{
    const struct tensor *bound = op_in(ctx, i);
    if (bound != NULL) {
        block_load(b, bound->dtype, bound->data, 0, 1, 1);
        return true;
    }
    b->f[0] = (double)op_attr_f(ctx, name, 0);
    return ctx->opset < 11 && op_attr_has(ctx, name);
}

static enum op_result clip_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    union block b, low, high;
    bool has_low = clip_bound(ctx, 1, "min", &low), has_high = clip_bound(ctx, 2, "max", &high);
    for (size_t done = 0, count = tensor_count(x); done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        block_load(&b, x->dtype, x->data, (int64_t)done, 1, n);
#define CLIP(m)                                                                                    \
    for (size_t k = 0; k < n; k++) {                                                               \
        b.m[k] = has_low && b.m[k] < low.m[0] ? low.m[0] : b.m[k];                                 \
        b.m[k] = has_high && b.m[k] > high.m[0] ? high.m[0] : b.m[k];                              \
    }
        if (num_class_of(x->dtype) == NUM_FLOAT) {
            CLIP(f)
        } else if (num_class_of(x->dtype) == NUM_INT) {
            CLIP(i)
        } else {
            CLIP(u)
        }
        block_store(&b, y->dtype, y->data, (int64_t)done, 1, n);
    }
    return OP_OK;
}

#define ONE_TO_ONE 1, 1, 1, 1, OP_IN_PLACE

const struct op ops_unary[] = {
#define X(name, since, value, name0, default0, name1, default1)                                    \
    {#name, NULL, since, OP_LATEST, ONE_TO_ONE, float_infer, name##_run},
    UNARY_FLOAT(X)
#undef X
#define X(name, since, of_float, of_signed, of_unsigned)                                           \
    {#name, NULL, since, OP_LATEST, ONE_TO_ONE, number_infer, name##_run},
    UNARY_NUMBER(X)
#undef X
    {"Erf", NULL, 9, OP_LATEST, ONE_TO_ONE, number_infer, erf_run},
    {"Gelu", NULL, 20, OP_LATEST, ONE_TO_ONE, float_infer, gelu_run},
    {"Shrink", NULL, 9, OP_LATEST, ONE_TO_ONE, number_infer, shrink_run},
    {"Not", NULL, 1, OP_LATEST, ONE_TO_ONE, not_infer, not_run},
    {"BitwiseNot", NULL, 18, OP_LATEST, ONE_TO_ONE, bitwise_not_infer, bitwise_not_run},
    {"IsNaN", NULL, 9, OP_LATEST, 1, 1, 1, 1, 0, float_test_infer, is_nan_run},
    {"IsInf", NULL, 10, OP_LATEST, 1, 1, 1, 1, 0, float_test_infer, is_inf_run},
    {"Cast", NULL, 6, OP_LATEST, 1, 1, 1, 1, OP_IN_PLACE, cast_infer, cast_run},
    {"CastLike", NULL, 15, OP_LATEST, 2, 2, 1, 1, OP_IN_PLACE, cast_like_infer, cast_run},
    {"Clip", NULL, 1, 10, 1, 1, 1, 1, OP_IN_PLACE, clip_infer, clip_run},
    {"Clip", NULL, 11, OP_LATEST, 1, 3, 1, 1, OP_IN_PLACE, clip_infer, clip_run},
    {.name = NULL},
};
