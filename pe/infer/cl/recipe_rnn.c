/* pe/infer/cl/recipe_rnn.c - GRU and LSTM: a whole sequence in one launch.
 *
 * Time comes first in ONNX's layout 0, so nothing here is batched in the sense of the plan: the
 * lines of all rows are computed.  Peepholes, lengths per line, other activations and clipping are
 * the reference's. */
#include "pe/infer/cl/recipe.h"

#include <stdio.h>
#include <string.h>

struct rnn {
    const struct place *x, *w, *r, *bias, *h0, *c0;
    const struct place *y, *yh, *yc; /* NULL: not wanted */
    uint64_t gates;                  /* 4 LSTM, 3 GRU */
    uint64_t steps, batch, in, hidden, hp, dirs, lanes;
    bool reverse, lbr;
};

static void pack_weights(void *to, const struct ocl_pack *p)
{
    const struct rnn *v = p->context;
    const float *w = p->sources[0].data, *r = p->sources[1].data;
    uint64_t depth = v->in + v->hidden, width = v->gates * v->lanes;
    for (uint64_t i = 0; i < v->dirs * v->gates * v->hidden; i++) {
        uint64_t d = i / (v->gates * v->hidden), g = i / v->hidden % v->gates, n = i % v->hidden;
        float *out = (float *)to + (d * (v->hp / v->lanes) + n / v->lanes) * depth * width +
                     g * v->lanes + n % v->lanes;
        for (uint64_t k = 0; k < v->in; k++) {
            out[k * width] = w[i * v->in + k];
        }
        for (uint64_t k = 0; k < v->hidden; k++) {
            out[(v->in + k) * width] = r[i * v->hidden + k];
        }
    }
}

/* ONNX has a bias for the input and one for the state; only a late reset keeps them apart. */
static void pack_bias(void *to, const struct ocl_pack *p)
{
    const struct rnn *v = p->context;
    const float *bias = p->sources[0].data;
    for (uint64_t i = 0; i < v->dirs * v->gates * v->hidden && bias != NULL; i++) {
        uint64_t per = v->gates * v->hidden;
        uint64_t d = i / per, g = i % per / v->hidden, n = i % v->hidden;
        float of_input = bias[d * 2 * per + i % per], of_state = bias[d * 2 * per + per + i % per];
        float *out = (float *)to + (d * (v->hp / v->lanes) + n / v->lanes) * 4 * v->lanes +
                     n % v->lanes;
        if (v->gates == 3 && g == 2 && v->lbr) {
            out[2 * v->lanes] = of_input;
            out[3 * v->lanes] = of_state;
        } else {
            out[g * v->lanes] = of_input + of_state;
        }
    }
}

static bool is_plain(const struct builder *b)
{
    const struct node *n = b->spec->node;
    const struct place *lengths = recipe_in(b, 4), *peepholes = recipe_in(b, 7);
    return node_attr(n, "activations") == NULL && node_attr(n, "clip") == NULL &&
           lengths == NULL && peepholes == NULL && recipe_attr_i(n, "layout", 0) == 0 &&
           recipe_attr_i(n, "input_forget", 0) == 0;
}

static bool read_shapes(const struct builder *b, struct rnn *v)
{
    const char *direction = recipe_attr_s(b->spec->node, "direction", "forward");
    if (!is_plain(b) || !recipe_is_f32(v->x) || v->x->constant || !recipe_is_f32(v->w) ||
        !recipe_is_f32(v->r) || !v->w->constant || !v->r->constant ||
        (v->bias != NULL && !v->bias->constant)) {
        return false;
    }
    const int64_t *x = v->x->type->shape.dims;
    v->steps = (uint64_t)x[0];
    v->batch = (uint64_t)x[1];
    v->in = (uint64_t)x[2];
    v->dirs = (uint64_t)v->w->type->shape.dims[0];
    v->hidden = (uint64_t)v->r->type->shape.dims[2];
    v->lanes = b->device->ocl->lanes;
    v->hp = (v->hidden + v->lanes - 1) / v->lanes * v->lanes;
    v->reverse = strcmp(direction, "reverse") == 0;
    return v->dirs == (strcmp(direction, "bidirectional") == 0 ? 2u : 1u);
}

static const struct place *output(const struct builder *b, uint32_t i)
{
    const struct step_spec *s = b->spec;
    return i < s->node->output_count && s->out[i].type != NULL ? &s->out[i] : NULL;
}

static void rnn_weights(struct builder *b, struct launch *l, const struct rnn *v)
{
    char layout[160];
    uint64_t panels = v->dirs * (v->hp / v->lanes);
    struct ocl_pack pack = {
        .layout = layout,
        .bytes = panels * (v->in + v->hidden) * v->gates * v->lanes * sizeof(float),
        .pack = pack_weights,
        .context = v};
    snprintf(layout, sizeof(layout), "rnn %llu %llu %llu %llu %llu", (unsigned long long)v->gates,
             (unsigned long long)v->dirs, (unsigned long long)v->in,
             (unsigned long long)v->hidden, (unsigned long long)v->lanes);
    pack.sources[0].data = v->w->type->data;
    pack.sources[0].bytes = tensor_bytes(v->w->type);
    pack.sources[1].data = v->r->type->data;
    pack.sources[1].bytes = tensor_bytes(v->r->type);
    recipe_weights(b, l, &pack);
    snprintf(layout, sizeof(layout), "rnn bias %llu %d %llu %llu %llu",
             (unsigned long long)v->gates, v->lbr, (unsigned long long)v->dirs,
             (unsigned long long)v->hidden, (unsigned long long)v->lanes);
    pack = (struct ocl_pack){.layout = layout,
                             .bytes = panels * 4 * v->lanes * sizeof(float),
                             .pack = pack_bias,
                             .context = v};
    if (v->bias != NULL) {
        pack.sources[0].data = v->bias->type->data;
        pack.sources[0].bytes = tensor_bytes(v->bias->type);
    }
    recipe_weights(b, l, &pack);
}

static enum err rnn_cook(struct builder *b, struct rnn *v)
{
    v->x = recipe_in(b, 0);
    v->w = recipe_in(b, 1);
    v->r = recipe_in(b, 2);
    v->bias = recipe_in(b, 3);
    v->h0 = recipe_in(b, 5);
    v->y = output(b, 0);
    v->yh = output(b, 1);
    if (!read_shapes(b, v)) {
        return recipe_decline(b, "a recurrent layer of this kind");
    }
    struct launch *l = recipe_launch(b, (struct work){1, false});
    recipe_place(b, l, v->x);
    rnn_weights(b, l, v);
    const struct {
        const char *name;
        const struct place *place;
    } before[] = {{"HAS_H0", v->h0}, {"HAS_C0", v->c0}},
      after[] = {{"HAS_Y", v->y}, {"HAS_YH", v->yh}, {"HAS_YC", v->yc}};
    for (size_t i = 0; i < 2; i++) {
        recipe_define(b, before[i].name, "%d", before[i].place != NULL);
        if (before[i].place != NULL) {
            recipe_place(b, l, before[i].place);
        }
    }
    recipe_scratch(b, l, 16 * v->hp);
    for (size_t i = 0; i < 3; i++) {
        recipe_define(b, after[i].name, "%d", after[i].place != NULL);
        if (after[i].place != NULL) {
            recipe_place(b, l, after[i].place);
        }
    }
    recipe_define(b, "GATES", "%llu", (unsigned long long)v->gates);
    recipe_define(b, "LBR", "%d", v->lbr);
    const uint64_t sizes[] = {v->steps, v->batch, v->in, v->hidden, v->hp, v->dirs, v->reverse};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        recipe_size(b, l, sizes[i]);
    }
    return recipe_build(b, l, "rnn_cpu", "rnn");
}

static enum err cook_gru(struct builder *b)
{
    struct rnn v = {.gates = 3,
                    .lbr = recipe_attr_i(b->spec->node, "linear_before_reset", 0) != 0};
    return rnn_cook(b, &v);
}

static enum err cook_lstm(struct builder *b)
{
    struct rnn v = {.gates = 4, .c0 = recipe_in(b, 6), .yc = output(b, 2)};
    return rnn_cook(b, &v);
}

const struct recipe recipes_rnn[] = {
    {"GRU", "", cook_gru},
    {"LSTM", "", cook_lstm},
    {NULL, NULL, NULL},
};
