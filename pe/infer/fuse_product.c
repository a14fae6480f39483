/* pe/infer/fuse_product.c - products take in what is added, scaled or transposed around them; all
 * take activations. */
#include "pe/infer/fuser.h"

#include "core/mem.h"

#include <math.h>
#include <string.h>

/* ---- making them internal ---- */

static bool own_gemm(struct fuser *u, struct node *n)
{
    if (!fuser_is_onnx(n, "Gemm") || !fuser_is_f32(u, n->inputs[0])) {
        return false;
    }
    fuser_set_op(n, OXBOW_DOMAIN, "FusedGemm", 1);
    return true;
}

/* A 2-D product is a Gemm; others stay batched. */
static bool own_matmul(struct fuser *u, struct node *n)
{
    if (!fuser_is_onnx(n, "MatMul") || !fuser_is_f32(u, n->inputs[0])) {
        return false;
    }
    bool flat = fuser_type_of(u, n->inputs[0])->shape.rank == 2 &&
                fuser_type_of(u, n->inputs[1])->shape.rank == 2;
    fuser_set_op(n, OXBOW_DOMAIN, flat ? "FusedGemm" : "FusedMatMul", 1);
    return true;
}

/* ---- products and what follows them ---- */

static bool add_to_product(struct fuser *u, struct node *n)
{
    for (unsigned side = 0; side < 2 && fuser_is_onnx(n, "Add"); side++) {
        struct node *core = fuser_sole_maker(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side];
        bool gemm = fuser_is_ours(core, "FusedGemm");
        if ((!gemm && !fuser_is_ours(core, "FusedMatMul")) || !fuse_is_open(core) ||
            fuser_input_of(core, 2) != VALUE_NONE || !fuser_is_f32(u, other) ||
            !fuser_same_shape(u, n->inputs[side], n->outputs[0]) ||
            (gemm && fuser_float_attr(core, "beta", 1) != 1)) {
            continue;
        }
        fuser_swallow(u, n, core, (uint32_t[]){core->inputs[0], core->inputs[1], other}, 3);
        return true;
    }
    return false;
}

/* Mul or Div by a constant behind a batched product. */
static bool scale_product(struct fuser *u, struct node *n)
{
    float c;
    bool mul = fuser_is_onnx(n, "Mul"), div = fuser_is_onnx(n, "Div");
    if ((!mul && !div) || n->input_count != 2) {
        return false;
    }
    unsigned side = mul && fuser_is_const(u, n->inputs[0]) ? 1 : 0;
    struct node *core = fuser_sole_maker(u, n->inputs[side]);
    if (!fuser_is_ours(core, "FusedMatMul") || !fuse_is_open(core) ||
        fuser_input_of(core, 2) != VALUE_NONE || !fuser_scalar_of(u, n->inputs[1 - side], &c) ||
        (div && c == 0) || !fuser_same_shape(u, n->inputs[side], n->outputs[0])) {
        return false;
    }
    float scale = fuser_float_attr(core, "scale", 1) * (div ? 1 / c : c);
    fuser_swallow(u, n, core, core->inputs, core->input_count);
    node_set_float(n, "scale", scale);
    return true;
}

/* MatMul(A, Transpose(K)) that exchanges the last two dims. */
static bool take_transpose(struct fuser *u, struct node *n)
{
    struct node *t = fuser_is_ours(n, "FusedMatMul") ? fuser_maker(u, n->inputs[1]) : NULL;
    const struct attr *perm = fuser_is_onnx(t, "Transpose") ? node_attr(t, "perm") : NULL;
    if (perm == NULL || perm->type != ATTR_INTS || perm->count < 2 ||
        fuser_int_attr(n, "trans_b", 0) != 0) {
        return false;
    }
    uint32_t rank = perm->count;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t want = i == rank - 2 ? rank - 1 : i == rank - 1 ? rank - 2 : i;
        if (perm->ints[i] != want) {
            return false;
        }
    }
    node_set_int(n, "trans_b", 1);
    fuser_become(u, n, OXBOW_DOMAIN, "FusedMatMul", 1,
                 (uint32_t[]){n->inputs[0], t->inputs[0], fuser_input_of(n, 2)}, 3);
    return true;
}

/* ---- activations ---- */

static bool clip_bounds(const struct fuser *u, const struct node *n, float *low, float *high)
{
    *low = fuser_float_attr(n, "min", -INFINITY);
    *high = fuser_float_attr(n, "max", INFINITY);
    return (fuser_input_of(n, 1) == VALUE_NONE || fuser_scalar_of(u, n->inputs[1], low)) &&
           (fuser_input_of(n, 2) == VALUE_NONE || fuser_scalar_of(u, n->inputs[2], high));
}

/* Mul(x, Sigmoid(x)); *x is what the core makes. */
static bool is_silu(const struct fuser *u, const struct node *n, uint32_t *x)
{
    for (unsigned side = 0; side < 2 && fuser_is_onnx(n, "Mul"); side++) {
        struct node *gate = fuser_sole_maker(u, n->inputs[side]);
        if (fuser_is_onnx(gate, "Sigmoid") && gate->inputs[0] == n->inputs[1 - side]) {
            *x = n->inputs[1 - side];
            return true;
        }
    }
    return false;
}

static enum activation activation_in(const struct fuser *u, const struct node *n, uint32_t *x)
{
    static const struct {
        const char *domain, *op;
        enum activation act;
    } simple[] = {{"", "Relu", ACT_RELU},          {"", "LeakyRelu", ACT_LEAKY},
                  {"", "Sigmoid", ACT_SIGMOID},    {"", "Tanh", ACT_TANH},
                  {"", "Clip", ACT_CLIP},          {"", "HardSwish", ACT_HARDSWISH},
                  {OXBOW_DOMAIN, "Gelu", ACT_GELU}};
    *x = fuser_input_of(n, 0);
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++) {
        if (fuser_is_op(n, simple[i].domain, simple[i].op)) {
            return simple[i].act == ACT_GELU && fuser_int_attr(n, "tanh", 0) != 0 ? ACT_NONE
                                                                                  : simple[i].act;
        }
    }
    return is_silu(u, n, x) ? ACT_SILU : ACT_NONE;
}

static bool take_activation(struct fuser *u, struct node *n)
{
    uint32_t x;
    float low = 0, high = 0, alpha = fuser_float_attr(n, "alpha", 0.01f);
    enum activation act = activation_in(u, n, &x);
    struct node *core = act == ACT_NONE ? NULL : fuser_maker(u, x);
    uint32_t readers = act == ACT_SILU ? 2 : 1; /* the gate and the product */
    if (core == NULL || u->uses[x] != readers || !fuse_is_open(core) ||
        (!fuser_is_ours(core, "FusedConv") && !fuser_is_ours(core, "FusedGemm") &&
         !fuser_is_ours(core, "FusedMatMul")) ||
        (act == ACT_CLIP && !clip_bounds(u, n, &low, &high))) {
        return false;
    }
    fuser_swallow(u, n, core, core->inputs, core->input_count);
    node_set_string(n, "act", activation_name(act));
    if (act == ACT_LEAKY) {
        node_set_float(n, "act_alpha", alpha);
    } else if (act == ACT_CLIP) {
        node_set_float(n, "act_min", low);
        node_set_float(n, "act_max", high);
    }
    return true;
}

const fuse_rule fuse_product_rules[] = {own_gemm,       own_matmul,    take_transpose,
                                        add_to_product, scale_product, NULL};

const fuse_rule fuse_activation_rules[] = {take_activation, NULL};
