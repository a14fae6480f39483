/* pe/infer/cl/recipe_conv.c - convolutions in two dimensions, with activation, residual and pool.
 *
 * Bias, weights: packed per panel of output channels, see kernels/conv_cpu.cl.  Scratch of a
 * work-group: the finished lines of one panel, then one image with its border. */
#include "pe/infer/cl/recipe.h"

#include <stdio.h>
#include <string.h>

struct conv {
    const struct place *x, *w, *bias, *add, *y;
    uint64_t groups, group_in, group_out;
    uint64_t h, wide;        /* of the input */
    uint64_t kh, kw, sy, sx, dy, dx;
    uint64_t top, left, bottom, right;
    uint64_t ch, cw;         /* of the convolution */
    uint64_t oh, ow;         /* of the result */
    int pool;                /* 0; 1 max, 2 average */
    uint64_t nv, px, width;  /* width: columns of a panel */
};

static void pack_filters(void *to, const struct ocl_pack *p)
{
    const struct conv *v = p->context;
    const float *w = p->sources[0].data;
    uint64_t taps = v->group_in * v->kh * v->kw;
    uint64_t panels = (v->group_out + v->width - 1) / v->width;
    for (uint64_t o = 0; o < v->groups * v->group_out; o++) {
        uint64_t g = o / v->group_out, n = o % v->group_out;
        float *out = (float *)to + (g * panels + n / v->width) * taps * v->width + n % v->width;
        for (uint64_t t = 0; t < taps; t++) {
            out[t * v->width] = w[o * taps + t];
        }
    }
}

static void pack_bias(void *to, const struct ocl_pack *p)
{
    const struct conv *v = p->context;
    const float *bias = p->sources[0].data;
    uint64_t panels = (v->group_out + v->width - 1) / v->width;
    for (uint64_t o = 0; o < v->groups * v->group_out && bias != NULL; o++) {
        ((float *)to)[o / v->group_out * panels * v->width + o % v->group_out] = bias[o];
    }
}

static void ints2(const struct node *n, const char *name, uint64_t *a, uint64_t *b)
{
    const struct attr *at = node_attr(n, name);
    if (at != NULL && at->count == 2) {
        *a = (uint64_t)at->ints[0];
        *b = (uint64_t)at->ints[1];
    }
}

static uint64_t effective(uint64_t k, uint64_t dilation)
{
    return (k - 1) * dilation + 1;
}

/* The borders, also where `auto_pad` says them. */
static bool read_pads(const struct node *n, struct conv *v)
{
    const struct attr *pads = node_attr(n, "pads");
    const char *automatic = recipe_attr_s(n, "auto_pad", "NOTSET");
    if (strncmp(automatic, "SAME", 4) == 0) {
        uint64_t oh = (v->h + v->sy - 1) / v->sy, ow = (v->wide + v->sx - 1) / v->sx;
        uint64_t need_h = (oh - 1) * v->sy + effective(v->kh, v->dy);
        uint64_t need_w = (ow - 1) * v->sx + effective(v->kw, v->dx);
        uint64_t rest_h = need_h > v->h ? need_h - v->h : 0;
        uint64_t rest_w = need_w > v->wide ? need_w - v->wide : 0;
        bool upper = strcmp(automatic, "SAME_UPPER") == 0;
        v->top = upper ? rest_h / 2 : rest_h - rest_h / 2;
        v->left = upper ? rest_w / 2 : rest_w - rest_w / 2;
        v->bottom = rest_h - v->top;
        v->right = rest_w - v->left;
    } else if (strcmp(automatic, "VALID") != 0 && pads != NULL) {
        if (pads->count != 4) {
            return false;
        }
        for (int i = 0; i < 4; i++) {
            if (pads->ints[i] < 0) {
                return false;
            }
        }
        v->top = (uint64_t)pads->ints[0];
        v->left = (uint64_t)pads->ints[1];
        v->bottom = (uint64_t)pads->ints[2];
        v->right = (uint64_t)pads->ints[3];
    }
    uint64_t ph = v->h + v->top + v->bottom, pw = v->wide + v->left + v->right;
    if (ph < effective(v->kh, v->dy) || pw < effective(v->kw, v->dx)) {
        return false;
    }
    v->ch = (ph - effective(v->kh, v->dy)) / v->sy + 1;
    v->cw = (pw - effective(v->kw, v->dx)) / v->sx + 1;
    return true;
}

/* A pool that the kernel has: 2x2 by 2, without borders. */
static bool read_pool(const struct node *n, struct conv *v)
{
    const char *pool = recipe_attr_s(n, "pool", "");
    v->oh = v->ch;
    v->ow = v->cw;
    if (pool[0] == '\0') {
        return true;
    }
    uint64_t kernel[2] = {0, 0}, strides[2] = {1, 1};
    ints2(n, "pool_kernel", &kernel[0], &kernel[1]);
    ints2(n, "pool_strides", &strides[0], &strides[1]);
    const struct attr *pads = node_attr(n, "pool_pads");
    for (uint32_t i = 0; pads != NULL && i < pads->count; i++) {
        if (pads->ints[i] != 0) {
            return false;
        }
    }
    const char *act = recipe_attr_s(n, "act", "");
    bool cheap = strcmp(act, "") == 0 || strcmp(act, "relu") == 0 || strcmp(act, "leaky") == 0 ||
                 strcmp(act, "clip") == 0 || strcmp(act, "hardswish") == 0;
    if (kernel[0] != 2 || kernel[1] != 2 || strides[0] != 2 || strides[1] != 2 || !cheap ||
        v->add != NULL) {
        return false;
    }
    v->pool = strcmp(pool, "max") == 0 ? 1 : 2;
    v->oh = v->ch / 2;
    v->ow = v->cw / 2;
    return true;
}

static bool read_shapes(const struct builder *b, struct conv *v)
{
    if (!recipe_is_f32(v->x) || !recipe_is_f32(v->w) || !v->w->constant || v->x->constant ||
        v->x->type->shape.rank != 4 || (v->bias != NULL && !v->bias->constant)) {
        return false;
    }
    const int64_t *x = v->x->type->shape.dims, *w = v->w->type->shape.dims;
    v->groups = (uint64_t)recipe_attr_i(b->spec->node, "group", 1);
    v->group_in = (uint64_t)w[1];
    v->group_out = (uint64_t)w[0] / v->groups;
    v->h = (uint64_t)x[2];
    v->wide = (uint64_t)x[3];
    v->kh = (uint64_t)w[2];
    v->kw = (uint64_t)w[3];
    return v->groups * v->group_in == (uint64_t)x[1] && v->group_in != 0 && v->group_out != 0;
}

/* As many pixels as registers hold sums for, and no more than divide a line evenly. */
static void choose_tile(const struct ocl_device *d, struct conv *v)
{
    v->nv = v->group_out <= d->lanes ? 1 : 2;
    v->width = v->nv * d->lanes;
    uint64_t most = d->lanes == 16 ? 16 / v->nv : 12 / v->nv;
    uint64_t tiles = (v->cw + most - 1) / most;
    v->px = (v->cw + tiles - 1) / tiles;
}

static void conv_operands(struct builder *b, struct launch *l, const struct conv *v, bool border)
{
    char layout[160];
    uint64_t taps = v->group_in * v->kh * v->kw;
    uint64_t panels = v->groups * ((v->group_out + v->width - 1) / v->width);
    struct ocl_pack pack = {.layout = layout,
                            .bytes = panels * taps * v->width * sizeof(float),
                            .pack = pack_filters,
                            .context = v};
    snprintf(layout, sizeof(layout), "filters %llu %llu %llu %llu", (unsigned long long)v->groups,
             (unsigned long long)v->group_out, (unsigned long long)taps,
             (unsigned long long)v->width);
    pack.sources[0].data = v->w->type->data;
    pack.sources[0].bytes = tensor_bytes(v->w->type);
    recipe_place(b, l, v->x);
    recipe_weights(b, l, &pack);
    snprintf(layout, sizeof(layout), "filter bias %llu %llu %llu", (unsigned long long)v->groups,
             (unsigned long long)v->group_out, (unsigned long long)v->width);
    pack = (struct ocl_pack){.layout = layout,
                             .bytes = panels * v->width * sizeof(float),
                             .pack = pack_bias,
                             .context = v};
    if (v->bias != NULL) {
        pack.sources[0].data = v->bias->type->data;
        pack.sources[0].bytes = tensor_bytes(v->bias->type);
    }
    recipe_weights(b, l, &pack);
    if (v->add != NULL) {
        recipe_place(b, l, v->add);
    }
    uint64_t ph = v->h + v->top + v->bottom, pw = v->wide + v->left + v->right;
    uint64_t scratch = ((v->pool != 0 ? 2 : 1) * v->cw + b->device->ocl->lanes) * v->width +
                       (border ? v->groups * v->group_in * ph * pw : 0);
    scratch = (scratch + 31) / 32 * 32;
    recipe_scratch(b, l, scratch);
    recipe_place(b, l, v->y);
    const uint64_t sizes[] = {v->groups, v->group_in, v->group_out, v->h, v->wide, v->top, v->left,
                              ph, pw, v->cw, v->oh, v->ow, scratch};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        recipe_size(b, l, sizes[i]);
    }
}

static enum err cook_conv(struct builder *b)
{
    const struct node *n = b->spec->node;
    struct conv v = {.x = recipe_in(b, 0),
                     .w = recipe_in(b, 1),
                     .bias = recipe_in(b, 2),
                     .add = recipe_in(b, 3),
                     .y = &b->spec->out[0],
                     .sy = 1,
                     .sx = 1,
                     .dy = 1,
                     .dx = 1};
    if (!read_shapes(b, &v)) {
        return recipe_decline(b, "a convolution of this rank or of computed weights");
    }
    ints2(n, "strides", &v.sy, &v.sx);
    ints2(n, "dilations", &v.dy, &v.dx);
    if (!read_pads(n, &v) || !read_pool(n, &v)) {
        return recipe_decline(b, "a convolution with these borders or this pool");
    }
    const int64_t *y = v.y->type->shape.dims;
    if ((uint64_t)y[2] != v.oh || (uint64_t)y[3] != v.ow) {
        return recipe_decline(b, "a convolution whose result has another shape");
    }
    choose_tile(b->device->ocl, &v);
    if (recipe_act(b) != ERR_OK) {
        return b->err;
    }
    bool border = v.top + v.left + v.bottom + v.right != 0;
    size_t image = (size_t)(v.groups * v.group_out * v.oh * v.ow);
    struct launch *l = recipe_launch(b, recipe_work(v.y, image));
    conv_operands(b, l, &v, border);
    const struct {
        const char *name;
        uint64_t value;
    } macros[] = {{"KH", v.kh}, {"KW", v.kw}, {"SY", v.sy},
                  {"SX", v.sx}, {"DY", v.dy}, {"DX", v.dx},
                  {"NV", v.nv}, {"PX", v.px}, {"POOL", (uint64_t)v.pool},
                  {"CP", border}, {"ADD", v.add != NULL}};
    for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
        recipe_define(b, macros[i].name, "%llu", (unsigned long long)macros[i].value);
    }
    return recipe_build(b, l, "conv_cpu", "conv");
}

const struct recipe recipes_conv[] = {
    {"Conv", "", cook_conv},
    {"FusedConv", OXBOW_DOMAIN, cook_conv},
    {NULL, NULL, NULL},
};
