/* pe/infer/ops/binary.c - operators on two inputs that broadcast against each other.
 *
 * A row of BINARY is a whole operator: what it makes of a and b, as floats, as signed and as
 * unsigned integers.  Integers wrap; a division by zero gives 0, as in NumPy.  Before opset 7 the
 * second input broadcasts only where `broadcast` says so, placed by `axis`.
 * See:        https://onnx.ai/onnx/operators/ , https://github.com/onnx/onnx Broadcasting.md */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

/* a[k] = a[k] op b[k] */
typedef void binary_fn(union block *a, const union block *b, size_t count);

struct binary {
    binary_fn *f, *i, *u; /* per class of input 0 */
};

static int64_t div_i(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static int64_t rem_i(int64_t a, int64_t b) /* has the sign of a */
{
    return b == 0 || b == -1 ? 0 : a % b;
}

static int64_t mod_i(int64_t a, int64_t b) /* has the sign of b */
{
    int64_t r = rem_i(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static uint64_t pow_u(uint64_t base, uint64_t exponent) /* wraps */
{
    uint64_t r = 1;
    for (; exponent > 0; exponent >>= 1, base *= base) {
        r *= exponent & 1 ? base : 1;
    }
    return r;
}

static int64_t pow_i(int64_t base, int64_t exponent)
{
    if (exponent >= 0) {
        return (int64_t)pow_u((uint64_t)base, (uint64_t)exponent);
    }
    return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
}

/* X(function, float member and value, signed ..., unsigned ...) */
#define BINARY(X)                                                                                  \
    X(add, f, a + b, u, a + b, u, a + b)                                                           \
    X(sub, f, a - b, u, a - b, u, a - b)                                                           \
    X(mul, f, a *b, u, a *b, u, a *b)                                                              \
    X(divide, f, a / b, i, div_i(a, b), u, b == 0 ? 0 : a / b)                                     \
    X(power, f, pow(a, b), i, pow_i(a, b), u, pow_u(a, b))                                         \
    X(modulo, f, b == 0 ? NAN : a - b * floor(a / b), i, mod_i(a, b), u, b == 0 ? 0 : a % b)       \
    X(fmodulo, f, fmod(a, b), i, rem_i(a, b), u, b == 0 ? 0 : a % b)                               \
    X(prelu, f, a < 0 ? a * b : a, i, a < 0 ? (int64_t)((uint64_t)a * (uint64_t)b) : a, u, a)      \
    X(and, u, a &b, u, a &b, u, a &b)                                                              \
    X(or, u, a | b, u, a | b, u, a | b)                                                            \
    X(xor, u, a ^ b, u, a ^ b, u, a ^ b)                                                           \
    X(shift_left, u, b < 64 ? a << b : 0, u, b < 64 ? a << b : 0, u, b < 64 ? a << b : 0)          \
    X(shift_right, u, b < 64 ? a >> b : 0, u, b < 64 ? a >> b : 0, u, b < 64 ? a >> b : 0)

/* X(function, test): the result is a bool, in u, whatever the class */
#define COMPARISONS(X)                                                                             \
    X(equal, a == b)                                                                               \
    X(greater, a > b)                                                                              \
    X(greater_or_equal, a >= b)                                                                    \
    X(less, a < b)                                                                                 \
    X(less_or_equal, a <= b)

#define CLASS_FN(name, class, member, out, value)                                                  \
    static void name##_##class(union block *x, const union block *y, size_t count)                 \
    {                                                                                              \
        for (size_t k = 0; k < count; k++) {                                                       \
            const __typeof__(x->member[0]) a = x->member[k], b = y->member[k];                     \
            (void)b;                                                                               \
            x->out[k] = (value);                                                                   \
        }                                                                                          \
    }

static enum op_result binary_run(struct op_ctx *ctx, const struct binary *op);

#define X(name, mf, vf, mi, vi, mu, vu)                                                            \
    CLASS_FN(name, f, mf, mf, vf)                                                                  \
    CLASS_FN(name, i, mi, mi, vi)                                                                  \
    CLASS_FN(name, u, mu, mu, vu)                                                                  \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        static const struct binary op = {name##_f, name##_i, name##_u};                            \
        return binary_run(ctx, &op);                                                               \
    }
BINARY(X)
#undef X

#define X(name, test)                                                                              \
    CLASS_FN(name, f, f, u, test)                                                                  \
    CLASS_FN(name, i, i, u, test)                                                                  \
    CLASS_FN(name, u, u, u, test)                                                                  \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        static const struct binary op = {name##_f, name##_i, name##_u};                            \
        return binary_run(ctx, &op);                                                               \
    }
COMPARISONS(X)
#undef X

/* ---- shapes ---- */

/* second_shape - input 1's shape as it lies against input 0's; before opset 7 that is said by
 * attributes: the dims of input 1 are those of input 0 from `axis` on (default: the last). */
static enum op_result second_shape(struct op_ctx *ctx, struct shape *out)
{
    const struct shape *a = &op_in(ctx, 0)->shape, *b = &op_in(ctx, 1)->shape;
    *out = *b;
    if (ctx->opset >= 7) {
        return OP_OK;
    }
    if (op_attr_i(ctx, "broadcast", 0) == 0) {
        return shape_equal(a, b) ? OP_OK : op_invalid(ctx, "shapes differ and do not broadcast");
    }
    if (b->rank > a->rank) {
        return op_invalid(ctx, "input 1 has %u dims, input 0 only %u", b->rank, a->rank);
    }
    unsigned axis = a->rank - b->rank;
    if (op_attr_has(ctx, "axis") && b->rank > 0) {
        TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), a->rank, &axis));
    }
    if (axis + b->rank > a->rank) {
        return op_invalid(ctx, "axis %u leaves no room for %u dims", axis, b->rank);
    }
    out->rank = a->rank - axis;
    for (unsigned d = 0; d < out->rank; d++) {
        out->dims[d] = d < b->rank ? b->dims[d] : 1;
    }
    return OP_OK;
}

static enum op_result broadcast_infer(struct op_ctx *ctx, enum dtype out)
{
    struct shape b, shape;
    char text[2][SHAPE_TEXT_BYTES];
    TRY(second_shape(ctx, &b));
    if (!shape_broadcast(&op_in(ctx, 0)->shape, &b, &shape)) {
        return op_invalid(ctx, "shapes %s and %s do not broadcast",
                          shape_text(&op_in(ctx, 0)->shape, text[0]), shape_text(&b, text[1]));
    }
    return op_set_out(ctx, 0, out, &shape);
}

static enum op_result typed_infer(struct op_ctx *ctx, unsigned types, bool compares)
{
    TRY(op_want_dtypes(ctx, 0, types));
    TRY(op_want_dtypes(ctx, 1, types));
    if (op_in(ctx, 0)->dtype != op_in(ctx, 1)->dtype) {
        return op_invalid(ctx, "inputs are %s and %s", dtype_name(op_in(ctx, 0)->dtype),
                          dtype_name(op_in(ctx, 1)->dtype));
    }
    return broadcast_infer(ctx, compares ? DT_BOOL : op_in(ctx, 0)->dtype);
}

static enum op_result number_infer(struct op_ctx *ctx)
{
    return typed_infer(ctx, DTS_NUMBER, false);
}

static enum op_result bool_infer(struct op_ctx *ctx)
{
    return typed_infer(ctx, DTS_BOOL, false);
}

static enum op_result int_infer(struct op_ctx *ctx)
{
    return typed_infer(ctx, DTS_INT, false);
}

static enum op_result compare_infer(struct op_ctx *ctx)
{
    return typed_infer(ctx, DTS_NUMBER, true);
}

static enum op_result equal_infer(struct op_ctx *ctx)
{
    return typed_infer(ctx, DTS_REAL, true);
}

/* ---- running ---- */

static enum op_result binary_run(struct op_ctx *ctx, const struct binary *op)
{
    const struct tensor *a = op_in(ctx, 0), *b = op_in(ctx, 1);
    struct tensor *y = op_out(ctx, 0);
    enum num_class class = num_class_of(a->dtype);
    binary_fn *fn = class == NUM_FLOAT ? op->f : class == NUM_INT ? op->i : op->u;
    struct shape second;
    union block left, right;
    struct walk w;
    TRY(second_shape(ctx, &second));
    walk_broadcast(&w, &y->shape, (const struct shape *[]){&a->shape, &second}, 2);
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t done = 0; done < w.len; done += BLOCK) {
            size_t n = block_len(done, w.len);
            int64_t d = (int64_t)done;
            block_load(&left, a->dtype, a->data, w.at[1] + d * w.step[1], w.step[1], n);
            block_load(&right, b->dtype, b->data, w.at[2] + d * w.step[2], w.step[2], n);
            fn(&left, &right, n);
            block_store(&left, y->dtype, y->data, w.at[0] + d, 1, n);
        }
    }
    return OP_OK;
}

/* ---- Pow: the exponent may be of another type; the result has the type of the base ---- */

static enum op_result pow_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    TRY(op_want_dtypes(ctx, 1, DTS_NUMBER));
    return broadcast_infer(ctx, op_in(ctx, 0)->dtype);
}

/* pow_mixed - through double, but integers to an integer power exactly. */
static enum op_result pow_mixed(struct op_ctx *ctx)
{
    const struct tensor *a = op_in(ctx, 0), *b = op_in(ctx, 1);
    struct tensor *y = op_out(ctx, 0);
    bool whole = !dtype_is_float(a->dtype) && !dtype_is_float(b->dtype);
    struct walk w;
    walk_broadcast(&w, &y->shape, (const struct shape *[]){&a->shape, &b->shape}, 2);
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t k = 0; k < w.len; k++) {
            union block left, right;
            int64_t at = (int64_t)k, out = w.at[0] + at;
            int64_t at_a = w.at[1] + at * w.step[1], at_b = w.at[2] + at * w.step[2];
            if (whole) {
                block_load(&left, a->dtype, a->data, at_a, 1, 1);
                block_load(&right, b->dtype, b->data, at_b, 1, 1);
                left.i[0] = dtype_is_signed(b->dtype)
                                ? pow_i(left.i[0], right.i[0])
                                : (int64_t)pow_u(left.u[0], right.u[0]);
                block_store(&left, y->dtype, y->data, out, 1, 1);
                continue;
            }
            double v = pow(tensor_get_f64(a, (size_t)at_a), tensor_get_f64(b, (size_t)at_b));
            v = dtype_is_float(y->dtype) ? v : trunc(v);
            num_store_f64(&v, y->dtype, y->data, out, 1, 1);
        }
    }
    return OP_OK;
}

static enum op_result pow_run(struct op_ctx *ctx)
{
    bool same = op_in(ctx, 0)->dtype == op_in(ctx, 1)->dtype;
    return same ? power_run(ctx) : pow_mixed(ctx);
}

/* ---- Mod, BitShift, PRelu ---- */

static enum op_result mod_infer(struct op_ctx *ctx)
{
    TRY(number_infer(ctx));
    if (dtype_is_float(op_in(ctx, 0)->dtype) && op_attr_i(ctx, "fmod", 0) == 0) {
        return op_invalid(ctx, "floats need the attribute fmod=1");
    }
    return OP_OK;
}

static enum op_result mod_run(struct op_ctx *ctx)
{
    return op_attr_i(ctx, "fmod", 0) != 0 ? fmodulo_run(ctx) : modulo_run(ctx);
}

static enum op_result shift_infer(struct op_ctx *ctx)
{
    const char *direction = op_attr_s(ctx, "direction", "");
    if (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0) {
        return op_invalid(ctx, "direction is '%.20s', not LEFT or RIGHT", direction);
    }
    return typed_infer(ctx, DTS_UNSIGNED, false);
}

static enum op_result shift_run(struct op_ctx *ctx)
{
    bool left = strcmp(op_attr_s(ctx, "direction", ""), "LEFT") == 0;
    return left ? shift_left_run(ctx) : shift_right_run(ctx);
}

/* prelu_slope - the slope broadcasts into x, not the other way.  Before opset 7 a slope of [C] was
 * one per channel, and models of later opsets write [C] for that too where it fits nowhere else. */
static enum op_result prelu_slope(struct op_ctx *ctx, struct shape *out)
{
    const struct shape *x = &op_in(ctx, 0)->shape, *slope = &op_in(ctx, 1)->shape;
    struct shape wide;
    bool fits = shape_broadcast(x, slope, &wide) && shape_equal(&wide, x);
    *out = *slope;
    if ((ctx->opset < 7 || !fits) && slope->rank == 1 && x->rank >= 2 &&
        (slope->dims[0] == x->dims[1] || slope->dims[0] == 1)) {
        out->rank = x->rank - 1;
        for (unsigned d = 1; d < out->rank; d++) {
            out->dims[d] = 1;
        }
        return OP_OK;
    }
    return fits ? OP_OK : op_invalid(ctx, "the slope does not broadcast to the input");
}

static enum op_result prelu_infer(struct op_ctx *ctx)
{
    struct shape slope;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    if (op_in(ctx, 1)->dtype != op_in(ctx, 0)->dtype) {
        return op_invalid(ctx, "the slope is of another type than the input");
    }
    TRY(prelu_slope(ctx, &slope));
    return ops_same(ctx);
}

static enum op_result prelu_slope_run(struct op_ctx *ctx)
{
    struct tensor slope = *op_in(ctx, 1); /* borrows for this call */
    TRY(prelu_slope(ctx, &slope.shape));
    struct op_ctx inner = *ctx;
    inner.in = (const struct tensor *const[]){op_in(ctx, 0), &slope};
    inner.opset = 7;
    return prelu_run(&inner);
}

#define TWO_TO_ONE OP_LATEST, 2, 2, 1, 1

const struct op ops_binary[] = {
    {"Add", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, number_infer, add_run},
    {"Sub", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, number_infer, sub_run},
    {"Mul", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, number_infer, mul_run},
    {"Div", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, number_infer, divide_run},
    {"Pow", NULL, 7, TWO_TO_ONE, OP_IN_PLACE, pow_infer, pow_run},
    {"Pow", NULL, 1, 6, 2, 2, 1, 1, OP_IN_PLACE, number_infer, power_run},
    {"Mod", NULL, 10, TWO_TO_ONE, OP_IN_PLACE, mod_infer, mod_run},
    {"PRelu", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, prelu_infer, prelu_slope_run},
    {"And", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, bool_infer, and_run},
    {"Or", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, bool_infer, or_run},
    {"Xor", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, bool_infer, xor_run},
    {"BitwiseAnd", NULL, 18, TWO_TO_ONE, OP_IN_PLACE, int_infer, and_run},
    {"BitwiseOr", NULL, 18, TWO_TO_ONE, OP_IN_PLACE, int_infer, or_run},
    {"BitwiseXor", NULL, 18, TWO_TO_ONE, OP_IN_PLACE, int_infer, xor_run},
    {"BitShift", NULL, 11, TWO_TO_ONE, OP_IN_PLACE, shift_infer, shift_run},
    {"Equal", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, equal_infer, equal_run},
    {"Greater", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, compare_infer, greater_run},
    {"GreaterOrEqual", NULL, 12, TWO_TO_ONE, OP_IN_PLACE, compare_infer, greater_or_equal_run},
    {"Less", NULL, 1, TWO_TO_ONE, OP_IN_PLACE, compare_infer, less_run},
    {"LessOrEqual", NULL, 12, TWO_TO_ONE, OP_IN_PLACE, compare_infer, less_or_equal_run},
    {.name = NULL},
};
