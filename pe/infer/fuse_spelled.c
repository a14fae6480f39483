/* pe/infer/fuse_spelled.c - Gelu, LayerNormalization and the softmax of attention where a model
 * spells them out. */
#include "pe/infer/fuser.h"

#include "core/mem.h"
#include "pe/infer/op.h"

#include <math.h>
#include <string.h>

/* ---- Gelu: x * 0.5 * (1 + erf(x / sqrt 2)), in the orders exporters write it ---- */

/* If `n` multiplies by about `c`, the other input; else VALUE_NONE. */
static uint32_t times(const struct fuser *u, const struct node *n, float c)
{
    for (unsigned side = 0; side < 2 && fuser_is_onnx(n, "Mul"); side++) {
        if (fuser_scalar_near(u, n->inputs[side], c)) {
            return n->inputs[1 - side];
        }
    }
    return VALUE_NONE;
}

/* The x of 1 + erf(x / sqrt 2), or VALUE_NONE. */
static uint32_t erf_gate(const struct fuser *u, uint32_t v)
{
    struct node *add = fuser_sole_maker(u, v);
    for (unsigned side = 0; side < 2 && fuser_is_onnx(add, "Add"); side++) {
        struct node *erf = fuser_sole_maker(u, add->inputs[side]);
        if (!fuser_is_onnx(erf, "Erf") || !fuser_scalar_near(u, add->inputs[1 - side], 1)) {
            continue;
        }
        struct node *inner = fuser_sole_maker(u, erf->inputs[0]);
        if (fuser_is_onnx(inner, "Div") && fuser_scalar_near(u, inner->inputs[1], 1.41421356f)) {
            return inner->inputs[0];
        }
        return inner != NULL ? times(u, inner, 0.70710678f) : VALUE_NONE;
    }
    return VALUE_NONE;
}

/* The x of x * (1 + erf(x / sqrt 2)), or of (0.5 x) * (...) with *half set. */
static uint32_t gated(const struct fuser *u, const struct node *n, bool *half)
{
    *half = false;
    for (unsigned side = 0; side < 2 && fuser_is_onnx(n, "Mul"); side++) {
        uint32_t x = erf_gate(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side];
        if (x == VALUE_NONE) {
            continue;
        }
        if (other == x) {
            return x;
        }
        struct node *halved = fuser_sole_maker(u, other);
        if (halved != NULL && times(u, halved, 0.5f) == x) {
            *half = true;
            return x;
        }
    }
    return VALUE_NONE;
}

static bool take_gelu(struct fuser *u, struct node *n)
{
    bool half = false;
    uint32_t x = fuser_is_onnx(n, "Mul") ? gated(u, n, &half) : VALUE_NONE;
    if (x == VALUE_NONE || !half) { /* 0.5 * (x * (...)) */
        uint32_t inner = fuser_is_onnx(n, "Mul") ? times(u, n, 0.5f) : VALUE_NONE;
        struct node *product = inner != VALUE_NONE ? fuser_sole_maker(u, inner) : NULL;
        x = product != NULL ? gated(u, product, &half) : VALUE_NONE;
        if (x == VALUE_NONE || half) {
            return false;
        }
    }
    if (!fuser_is_f32(u, x) || !fuser_same_shape(u, x, n->outputs[0])) {
        return false;
    }
    node_attrs_fini(n);
    fuser_become(u, n, OXBOW_DOMAIN, "Gelu", 1, &x, 1);
    node_set_int(n, "tanh", 0);
    return true;
}

/* ---- LayerNormalization, spelled out ---- */

static bool last_axis_mean(const struct fuser *u, const struct node *n)
{
    if (!fuser_is_onnx(n, "ReduceMean") || fuser_int_attr(n, "keepdims", 1) == 0) {
        return false;
    }
    int64_t rank = fuser_type_of(u, n->inputs[0])->shape.rank;
    const struct attr *axes = node_attr(n, "axes");
    if (axes != NULL) {
        return axes->type == ATTR_INTS && axes->count == 1 &&
               (axes->ints[0] == -1 || axes->ints[0] == rank - 1);
    }
    uint32_t v = fuser_input_of(n, 1); /* opset 18 */
    return fuser_is_const(u, v) && tensor_count(fuser_type_of(u, v)) == 1 &&
           (tensor_get_i64(fuser_type_of(u, v), 0) == -1 ||
            tensor_get_i64(fuser_type_of(u, v), 0) == rank - 1);
}

/* x - mean(x): x, or VALUE_NONE. */
static uint32_t centred(const struct fuser *u, uint32_t v)
{
    struct node *sub = fuser_maker(u, v);
    struct node *mean = fuser_is_onnx(sub, "Sub") ? fuser_maker(u, sub->inputs[1]) : NULL;
    return mean != NULL && last_axis_mean(u, mean) && mean->inputs[0] == sub->inputs[0]
               ? sub->inputs[0]
               : VALUE_NONE;
}

/* sqrt(mean(d^2) + epsilon): true when `v` is that of `d`. */
static bool deviation(const struct fuser *u, uint32_t v, uint32_t d, float *epsilon)
{
    struct node *root = fuser_sole_maker(u, v);
    struct node *add = fuser_is_onnx(root, "Sqrt") ? fuser_sole_maker(u, root->inputs[0]) : NULL;
    for (unsigned side = 0; side < 2 && fuser_is_onnx(add, "Add"); side++) {
        struct node *mean = fuser_sole_maker(u, add->inputs[side]);
        if (mean == NULL || !last_axis_mean(u, mean) ||
            !fuser_scalar_of(u, add->inputs[1 - side], epsilon)) {
            continue;
        }
        struct node *square = fuser_sole_maker(u, mean->inputs[0]);
        if (fuser_is_onnx(square, "Pow") && square->inputs[0] == d) {
            return fuser_scalar_near(u, square->inputs[1], 2);
        }
        return fuser_is_onnx(square, "Mul") && square->inputs[0] == d && square->inputs[1] == d;
    }
    return false;
}

/* `v` is a vector as long as x's last dim. */
static bool is_row(const struct fuser *u, uint32_t v, uint32_t x)
{
    const struct shape *s = &fuser_type_of(u, x)->shape;
    return fuser_is_const(u, v) && fuser_is_f32(u, v) && fuser_type_of(u, v)->shape.rank == 1 &&
           fuser_type_of(u, v)->shape.dims[0] == s->dims[s->rank - 1];
}

/* n = (d / deviation(d)) * scale + bias */
static bool take_layer_norm(struct fuser *u, struct node *n)
{
    for (unsigned a = 0; a < 4 && fuser_is_onnx(n, "Add"); a++) {
        struct node *mul = fuser_sole_maker(u, n->inputs[a & 1]);
        uint32_t bias = n->inputs[1 - (a & 1)];
        if (!fuser_is_onnx(mul, "Mul")) {
            continue;
        }
        struct node *div = fuser_sole_maker(u, mul->inputs[a >> 1]);
        uint32_t scale = mul->inputs[1 - (a >> 1)];
        uint32_t x = fuser_is_onnx(div, "Div") ? centred(u, div->inputs[0]) : VALUE_NONE;
        float epsilon = 0;
        if (x == VALUE_NONE || !fuser_is_f32(u, x) || fuser_type_of(u, x)->shape.rank == 0 ||
            !deviation(u, div->inputs[1], div->inputs[0], &epsilon) || !is_row(u, scale, x) ||
            !is_row(u, bias, x) || op_find("", "LayerNormalization", 17) == NULL) {
            continue;
        }
        node_attrs_fini(n);
        fuser_become(u, n, "", "LayerNormalization", 17, (uint32_t[]){x, scale, bias}, 3);
        node_set_int(n, "axis", -1);
        node_set_float(n, "epsilon", epsilon);
        return true;
    }
    return false;
}

/* ---- attention's softmax ---- */

static bool last_axis_softmax(const struct fuser *u, const struct node *n)
{
    int64_t rank = fuser_type_of(u, n->inputs[0])->shape.rank;
    int64_t axis = fuser_int_attr(n, "axis", n->opset < 13 ? 1 : -1);
    return rank > 0 && (axis == -1 || axis == rank - 1);
}

static bool take_softmax(struct fuser *u, struct node *n)
{
    if (!fuser_is_onnx(n, "Softmax") || !fuser_is_f32(u, n->inputs[0]) ||
        !last_axis_softmax(u, n)) {
        return false;
    }
    uint32_t scores = n->inputs[0], mask = VALUE_NONE;
    struct node *add = fuser_sole_maker(u, scores);
    if (fuser_is_onnx(add, "Add") && fuser_same_shape(u, add->inputs[0], scores)) {
        scores = add->inputs[0];
        mask = add->inputs[1];
    }
    float scale = 1, c;
    struct node *scaled =
        mask != VALUE_NONE ? fuser_sole_maker(u, scores) : fuser_sole_maker(u, n->inputs[0]);
    if (fuser_is_onnx(scaled, "Div") && fuser_scalar_of(u, scaled->inputs[1], &c) && c != 0 &&
        fuser_same_shape(u, scaled->inputs[0], scores)) {
        scores = scaled->inputs[0];
        scale = 1 / c;
    } else if (fuser_is_onnx(scaled, "Mul") && fuser_scalar_of(u, scaled->inputs[1], &c) &&
               fuser_same_shape(u, scaled->inputs[0], scores)) {
        scores = scaled->inputs[0];
        scale = c;
    }
    node_attrs_fini(n);
    fuser_become(u, n, OXBOW_DOMAIN, "AttnSoftmax", 1, (uint32_t[]){scores, mask}, 2);
    node_set_float(n, "scale", scale);
    return true;
}

const fuse_rule fuse_spelled_rules[] = {take_gelu, take_layer_norm, take_softmax, NULL};
