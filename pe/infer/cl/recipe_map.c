/* pe/infer/cl/recipe_map.c - element by element, and dims in another order. */
#include "pe/infer/cl/recipe.h"

#include <stdlib.h>
#include <string.h>

/* ---- one operand */

static enum err unary(struct builder *b, const char *op)
{
    const struct place *x = recipe_in(b, 0), *y = &b->spec->out[0];
    if (!recipe_is_f32(x) || x->constant) {
        return recipe_decline(b, "elements of this type");
    }
    struct work all = recipe_work(y, tensor_count(y->type));
    struct work each = recipe_work(y, 1);
    all.per_row = 1;
    struct launch *l = recipe_launch(b, all);
    recipe_place(b, l, x);
    recipe_place(b, l, y);
    recipe_size(b, l, each.per_row);
    recipe_size(b, l, 1);
    recipe_define(b, "OP(v)", "%s", op);
    recipe_define(b, "BINARY", "0");
    recipe_define(b, "B_STEP", "0");
    return recipe_build(b, l, "map_cpu", "map");
}

static enum err cook_unary(struct builder *b)
{
    static const struct {
        const char *op;
        const char *text;
    } known[] = {
        {"Relu", "select((VF)(0.0f), (v), (v) > (VF)(0.0f))"},
        {"Sigmoid", "vsigmoid(v)"},
        {"Tanh", "vtanh(v)"},
        {"Exp", "exp(v)"},
        {"Erf", "verf(v)"},
        {"Neg", "-(v)"},
        {"Abs", "fabs(v)"},
        {"Sqrt", "sqrt(v)"},
        {"Reciprocal", "(1.0f / (v))"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].op, b->spec->node->op) == 0) {
            return unary(b, known[i].text);
        }
    }
    return recipe_decline(b, "%s", b->spec->node->op);
}

static enum err cook_gelu(struct builder *b)
{
    return unary(b, recipe_attr_i(b->spec->node, "tanh", 0) != 0 ? "vgelu_tanh(v)" : "vgelu(v)");
}

static enum err cook_leaky(struct builder *b)
{
    recipe_float(b, "SLOPE", recipe_attr_f(b->spec->node, "alpha", 0.01f));
    return unary(b, "select((v), (v) * SLOPE, (v) < (VF)(0.0f))");
}

/* ---- two operands */

struct pair {
    const struct place *big, *small;
    bool swapped;       /* the small one comes first */
    uint64_t width;     /* of a line */
    uint64_t small_lines;
    bool step;          /* the small one has a line too */
};

static uint64_t product(const struct shape *s, uint32_t from, uint32_t to)
{
    return from < to ? shape_count_range(s, from, to) : 1;
}

/* The small operand has one run of dims in common with the big one; those before repeat it, those
 * behind stretch it. */
static bool read_pair(struct pair *p)
{
    const struct shape *s = &p->big->type->shape, *t = &p->small->type->shape;
    if (t->rank > s->rank || p->small->batched) {
        return shape_equal(s, t) && p->small->batched == p->big->batched;
    }
    uint32_t shift = s->rank - t->rank, first = s->rank, last = 0;
    for (uint32_t i = 0; i < t->rank; i++) {
        if (t->dims[i] != 1) {
            first = first == s->rank ? shift + i : first;
            last = shift + i + 1;
        }
    }
    for (uint32_t i = first; i < last; i++) {
        if (s->dims[i] != t->dims[i - shift]) {
            return false;
        }
    }
    if (first >= last) { /* one element for all */
        p->step = false;
        p->small_lines = 1;
        p->width = product(s, p->big->batched ? 1 : 0, s->rank);
        return p->width != 0;
    }
    if (p->big->batched && first == 0) {
        return false;
    }
    p->width = product(s, last, s->rank);
    p->step = p->width == 1;
    p->small_lines = product(s, first, last);
    if (p->step) {
        p->width = p->small_lines;
        p->small_lines = 1;
    }
    return true;
}

static bool same_shape(struct pair *p)
{
    if (!shape_equal(&p->big->type->shape, &p->small->type->shape) ||
        p->big->batched != p->small->batched) {
        return false;
    }
    p->step = true;
    p->width = recipe_work(p->big, 1).per_row;
    p->small_lines = UINT32_MAX;
    return true;
}

static enum err cook_binary(struct builder *b)
{
    const struct place *x = recipe_in(b, 0), *y = recipe_in(b, 1), *out = &b->spec->out[0];
    const char *op = b->spec->node->op;
    if (!recipe_is_f32(x) || !recipe_is_f32(y) || (x->constant && y->constant)) {
        return recipe_decline(b, "elements of this type");
    }
    if (node_attr(b->spec->node, "axis") != NULL) {
        return recipe_decline(b, "an operand laid out by `axis`");
    }
    bool swapped = !shape_equal(&x->type->shape, &out->type->shape) || x->constant;
    struct pair p = {.big = swapped ? y : x, .small = swapped ? x : y, .swapped = swapped};
    if (!shape_equal(&p.big->type->shape, &out->type->shape) || p.big->constant ||
        p.big->batched != out->batched ||
        (!same_shape(&p) && (p.small->batched || !read_pair(&p)))) {
        return recipe_decline(b, "operands of these shapes");
    }
    if (p.width < 4) {
        return recipe_decline(b, "lines of %llu elements", (unsigned long long)p.width);
    }
    struct launch *l = recipe_launch(b, recipe_work(p.big, p.width));
    recipe_place(b, l, p.big);
    recipe_place(b, l, p.small);
    recipe_place(b, l, out);
    recipe_size(b, l, p.width);
    recipe_size(b, l, p.small_lines);
    const char *sign = op[0] == 'A' ? "+" : op[0] == 'S' ? "-" : op[0] == 'M' ? "*" : "/";
    recipe_define(b, "OP(v, w)", swapped ? "((w) %s (v))" : "((v) %s (w))", sign);
    recipe_define(b, "BINARY", "1");
    recipe_define(b, "B_STEP", "%d", p.step);
    return recipe_build(b, l, "map_cpu", "map");
}

/* ---- transposes */

/* Neighbours that stay neighbours become one dim. */
static uint32_t merge(const struct shape *out, const int64_t *strides, uint64_t dims[8],
                      uint64_t steps[8])
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < out->rank; i++) {
        uint64_t d = (uint64_t)out->dims[i], s = (uint64_t)strides[i];
        if (d == 1 && i != 0) {
            continue;
        }
        if (rank > 1 && steps[rank - 1] == s * d) { /* dim 0, the batch, stays alone */
            dims[rank - 1] *= d;
            steps[rank - 1] = s;
        } else {
            dims[rank] = d;
            steps[rank++] = s;
        }
    }
    return rank;
}

static enum err cook_transpose(struct builder *b)
{
    const struct place *x = recipe_in(b, 0), *y = &b->spec->out[0];
    const struct shape *s = &x->type->shape;
    const struct attr *perm = node_attr(b->spec->node, "perm");
    if (dtype_size(x->type->dtype) != 4 || x->constant || s->rank == 0) {
        return recipe_decline(b, "a transpose of this type");
    }
    int64_t from[TENSOR_RANK_MAX], strides[TENSOR_RANK_MAX];
    shape_strides(s, from);
    for (uint32_t i = 0; i < s->rank; i++) {
        strides[i] = from[perm != NULL ? (uint32_t)perm->ints[i] : s->rank - 1 - i];
    }
    uint64_t dims[8] = {0}, steps[8] = {0};
    uint32_t rank = merge(&y->type->shape, strides, dims, steps);
    bool moves_batch = y->batched != x->batched || (y->batched && strides[0] != from[0]);
    if (rank > 4) {
        return recipe_decline(b, "a transpose of %u dims", rank);
    }
    while (rank < 4) { /* dims of one element behind the first */
        memmove(&dims[2], &dims[1], 6 * sizeof(dims[0]));
        memmove(&steps[2], &steps[1], 6 * sizeof(steps[0]));
        dims[1] = 1;
        steps[1] = 0;
        rank++;
    }
    struct work w = {(uint32_t)dims[0], false};
    if (y->batched && !moves_batch) {
        w = (struct work){(uint32_t)y->scale, true};
    }
    struct launch *l = recipe_launch(b, w);
    recipe_place(b, l, x);
    recipe_place(b, l, y);
    const uint64_t sizes[] = {dims[1], dims[2], dims[3], steps[0], steps[1], steps[2], steps[3]};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        recipe_size(b, l, sizes[i]);
    }
    return recipe_build(b, l, "move_cpu", "transpose");
}

const struct recipe recipes_map[] = {
    {"Relu", "", cook_unary},
    {"Sigmoid", "", cook_unary},
    {"Tanh", "", cook_unary},
    {"Exp", "", cook_unary},
    {"Erf", "", cook_unary},
    {"Neg", "", cook_unary},
    {"Abs", "", cook_unary},
    {"Sqrt", "", cook_unary},
    {"Reciprocal", "", cook_unary},
    {"LeakyRelu", "", cook_leaky},
    {"Gelu", OXBOW_DOMAIN, cook_gelu},
    {"Add", "", cook_binary},
    {"Sub", "", cook_binary},
    {"Mul", "", cook_binary},
    {"Div", "", cook_binary},
    {"Transpose", "", cook_transpose},
    {NULL, NULL, NULL},
};
