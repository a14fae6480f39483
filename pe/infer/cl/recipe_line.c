/* pe/infer/cl/recipe_line.c - softmax and layer normalisation over the last axis. */
#include "pe/infer/cl/recipe.h"

#include <string.h>

static bool is_last_axis(const struct place *p, int64_t axis)
{
    int64_t rank = p->type->shape.rank;
    return rank > 0 && (axis == -1 || axis == rank - 1);
}

static uint64_t width_of(const struct place *p)
{
    return (uint64_t)p->type->shape.dims[p->type->shape.rank - 1];
}

/* A mask that repeats: its dims, from its first above 1, are the last ones of the scores. */
static bool is_repeated(const struct place *mask, const struct place *x)
{
    const struct shape *m = &mask->type->shape, *s = &x->type->shape;
    if (m->rank > s->rank || m->rank == 0) {
        return false;
    }
    bool inside = false;
    for (uint32_t i = 0; i < m->rank; i++) {
        inside = inside || m->dims[i] != 1;
        if (inside && m->dims[i] != s->dims[s->rank - m->rank + i]) {
            return false;
        }
    }
    return m->dims[m->rank - 1] == s->dims[s->rank - 1] && !mask->batched;
}

static enum err softmax(struct builder *b, const struct place *mask, float scale, bool logs)
{
    const struct place *x = recipe_in(b, 0), *y = &b->spec->out[0];
    if (!recipe_is_f32(x) || x->constant || (mask != NULL && !recipe_is_f32(mask))) {
        return recipe_decline(b, "softmax of this type");
    }
    if (mask != NULL && !is_repeated(mask, x)) {
        return recipe_decline(b, "a mask of this shape");
    }
    struct launch *l = recipe_launch(b, recipe_lines(x));
    recipe_place(b, l, x);
    if (mask != NULL) {
        recipe_place(b, l, mask);
    }
    recipe_place(b, l, y);
    recipe_size(b, l, width_of(x));
    recipe_size(b, l, mask != NULL ? tensor_count(mask->type) / width_of(x) : 1);
    recipe_define(b, "LOG", "%d", logs);
    recipe_define(b, "MASK", "%d", mask != NULL);
    recipe_float(b, "SCALE", scale);
    recipe_define(b, "EPS", "0.0f");
    recipe_define(b, "BIAS", "0");
    return recipe_build(b, l, "line_cpu", "softmax");
}

static enum err cook_plain(struct builder *b, bool logs)
{
    const struct node *n = b->spec->node;
    int64_t axis = recipe_attr_i(n, "axis", n->opset < 13 ? 1 : -1);
    if (!is_last_axis(recipe_in(b, 0), axis)) {
        return recipe_decline(b, "softmax over an inner axis");
    }
    return softmax(b, NULL, 1.0f, logs);
}

static enum err cook_softmax(struct builder *b)
{
    return cook_plain(b, false);
}

static enum err cook_log_softmax(struct builder *b)
{
    return cook_plain(b, true);
}

static enum err cook_attention(struct builder *b)
{
    return softmax(b, recipe_in(b, 1), recipe_attr_f(b->spec->node, "scale", 1.0f), false);
}

static enum err cook_norm(struct builder *b)
{
    const struct step_spec *s = b->spec;
    const struct place *x = recipe_in(b, 0), *scale = recipe_in(b, 1), *bias = recipe_in(b, 2);
    if (!recipe_is_f32(x) || x->constant || !recipe_is_f32(scale) || !scale->constant ||
        (bias != NULL && !bias->constant) ||
        !is_last_axis(x, recipe_attr_i(s->node, "axis", -1)) ||
        tensor_count(scale->type) != width_of(x) ||
        (bias != NULL && tensor_count(bias->type) != width_of(x))) {
        return recipe_decline(b, "layer normalisation of this kind");
    }
    for (uint32_t i = 1; i < s->node->output_count; i++) {
        if (s->out[i].type != NULL) {
            return recipe_decline(b, "layer normalisation that also gives the mean");
        }
    }
    struct launch *l = recipe_launch(b, recipe_lines(x));
    recipe_place(b, l, x);
    recipe_place(b, l, scale);
    if (bias != NULL) {
        recipe_place(b, l, bias);
    }
    recipe_place(b, l, &s->out[0]);
    recipe_size(b, l, width_of(x));
    recipe_define(b, "LOG", "0");
    recipe_define(b, "MASK", "0");
    recipe_define(b, "SCALE", "1.0f");
    recipe_float(b, "EPS", recipe_attr_f(s->node, "epsilon", 1e-5f));
    recipe_define(b, "BIAS", "%d", bias != NULL);
    return recipe_build(b, l, "line_cpu", "norm");
}

const struct recipe recipes_line[] = {
    {"Softmax", "", cook_softmax},
    {"LogSoftmax", "", cook_log_softmax},
    {"AttnSoftmax", OXBOW_DOMAIN, cook_attention},
    {"LayerNormalization", "", cook_norm},
    {NULL, NULL, NULL},
};
