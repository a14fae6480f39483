/* pe/infer/cl/recipe_gemm.c - products with a constant right side: Gemm, MatMul and their fusions.
 *
 * W is packed once into panels, see kernels/gemm_cpu.cl; alpha goes into W and beta into the bias.
 * A product of two computed matrices is cook_small's (small, one per head of attention). */
#include "pe/infer/cl/recipe.h"

#include <stdio.h>
#include <string.h>

struct gemm {
    const struct place *x, *w, *c, *y;
    uint64_t n, k;
    bool trans_w;
    float alpha, beta;
    struct tile tile;
    uint32_t nv; /* vectors of a panel */
};

struct panels {
    const struct gemm *g;
    uint64_t width; /* columns of a panel */
};

static void pack_panels(void *to, const struct ocl_pack *p)
{
    const struct panels *c = p->context;
    const struct gemm *g = c->g;
    const float *w = p->sources[0].data;
    float *out = to;
    for (uint64_t n = 0; n < g->n; n++) {
        float *column = out + n / c->width * g->k * c->width + n % c->width;
        for (uint64_t k = 0; k < g->k; k++) {
            column[k * c->width] = g->alpha * (g->trans_w ? w[n * g->k + k] : w[k * g->n + n]);
        }
    }
}

static void pack_bias(void *to, const struct ocl_pack *p)
{
    const struct gemm *g = p->context;
    const float *c = p->sources[0].data;
    float *out = to;
    size_t count = p->sources[0].bytes / sizeof(float);
    for (uint64_t n = 0; n < g->n && count != 0; n++) {
        out[n] = g->beta * c[count == 1 ? 0 : n];
    }
}

static bool is_bias(const struct place *c, uint64_t n)
{
    if (c == NULL || !c->constant || c->type->shape.rank > 2) {
        return false;
    }
    size_t count = tensor_count(c->type);
    return count == 1 ||
           (count == n && (uint64_t)c->type->shape.dims[c->type->shape.rank - 1] == n);
}

static bool is_addend(const struct gemm *g)
{
    return recipe_is_f32(g->c) && shape_equal(&g->c->type->shape, &g->y->type->shape) &&
           g->beta == 1.0f && g->c->batched == g->y->batched;
}

static void gemm_operands(struct builder *b, struct launch *l, const struct gemm *g, bool add)
{
    char layout[128];
    struct panels panels = {g, (uint64_t)g->nv * b->device->ocl->lanes};
    uint64_t count = (g->n + panels.width - 1) / panels.width;
    struct ocl_pack pack = {.layout = layout,
                            .bytes = count * panels.width * g->k * sizeof(float),
                            .pack = pack_panels,
                            .context = &panels};
    snprintf(layout, sizeof(layout), "panels %llu %llu %llu %d %a", (unsigned long long)g->n,
             (unsigned long long)g->k, (unsigned long long)panels.width, g->trans_w,
             (double)g->alpha);
    pack.sources[0].data = g->w->type->data;
    pack.sources[0].bytes = tensor_bytes(g->w->type);
    recipe_place(b, l, g->x);
    recipe_weights(b, l, &pack);
    snprintf(layout, sizeof(layout), "bias %llu %a", (unsigned long long)g->n, (double)g->beta);
    pack = (struct ocl_pack){.layout = layout,
                             .bytes = count * panels.width * sizeof(float),
                             .pack = pack_bias,
                             .context = g};
    if (g->c != NULL && !add) {
        pack.sources[0].data = g->c->type->data;
        pack.sources[0].bytes = tensor_bytes(g->c->type);
    }
    recipe_weights(b, l, &pack);
    if (add) {
        recipe_place(b, l, g->c);
    }
    recipe_place(b, l, g->y);
}

/* Of every candidate of tune.c: work-items of a group, and local memory. */
enum { GPU_GROUP_MAX = 128, GPU_LOCAL_BYTES_MAX = 16 << 10 };

static bool has_tiles(const struct ocl_device *d)
{
    return d->kind == OCL_GPU && d->group_max >= GPU_GROUP_MAX &&
           d->local_bytes >= GPU_LOCAL_BYTES_MAX;
}

/* One vector for narrow matrices; a GPU without local memory takes the processors' first tile. */
static void choose_tile(struct device *d, struct gemm *g)
{
    g->tile =
        d->ocl->kind == OCL_GPU && !has_tiles(d->ocl) ? (struct tile){6, 2, 0, 0} : tune_tile(d);
    g->nv = g->tile.vectors;
    if (!has_tiles(d->ocl) && g->n <= d->ocl->lanes) {
        g->nv = 1;
        g->tile.lines = g->tile.lines < 8 ? 6 : 8;
    }
}

static enum err gemm_on_gpu(struct builder *b, struct launch *l, const struct gemm *g)
{
    const struct tile *t = &g->tile;
    uint64_t width = (uint64_t)t->vectors * b->device->ocl->lanes;
    l->divide[0] = t->lines;
    l->local[0] = (size_t)t->vectors * t->lines / t->per_item;
    l->groups[1] = (size_t)((g->n + width - 1) / width);
    recipe_define(b, "WI_N", "%u", t->vectors);
    recipe_define(b, "WI_M", "%u", t->per_item);
    recipe_define(b, "TILE_M", "%u", t->lines);
    recipe_define(b, "KT", "%u", t->depth);
    return recipe_build(b, l, "gemm_gpu", "gemm");
}

static enum err gemm_cook(struct builder *b, struct gemm *g)
{
    if (!recipe_is_f32(g->x) || !recipe_is_f32(g->w) || !recipe_is_f32(g->y) || g->x->constant) {
        return recipe_decline(b, "a product of these types");
    }
    bool add = g->c != NULL && !is_bias(g->c, g->n) && is_addend(g);
    if (g->c != NULL && !add && !is_bias(g->c, g->n)) {
        return recipe_decline(b, "a product with an addend of this shape");
    }
    if (recipe_act(b) != ERR_OK) {
        return b->err;
    }
    choose_tile(b->device, g);
    struct launch *l = recipe_launch(b, recipe_lines(g->y));
    gemm_operands(b, l, g, add);
    recipe_size(b, l, g->n);
    recipe_size(b, l, g->k);
    recipe_define(b, "BIAS", "%d", g->c != NULL && !add);
    recipe_define(b, "ADD", "%d", add);
    if (has_tiles(b->device->ocl)) {
        return gemm_on_gpu(b, l, g);
    }
    recipe_define(b, "MR", "%u", g->tile.lines);
    recipe_define(b, "NV", "%u", g->nv);
    recipe_define(b, "MC", b->device->ocl->synchronous ? "0x7fffffff" : "24");
    return recipe_build(b, l, "gemm_cpu", "gemm");
}

/* Gemm and FusedGemm. */
static enum err cook_gemm(struct builder *b)
{
    const struct node *n = b->spec->node;
    struct gemm g = {.x = recipe_in(b, 0),
                     .w = recipe_in(b, 1),
                     .c = recipe_in(b, 2),
                     .y = &b->spec->out[0],
                     .trans_w = recipe_attr_i(n, "transB", 0) != 0,
                     .alpha = recipe_attr_f(n, "alpha", 1.0f),
                     .beta = recipe_attr_f(n, "beta", 1.0f)};
    if (recipe_attr_i(n, "transA", 0) != 0 || !g.w->constant || g.w->type->shape.rank != 2) {
        return recipe_decline(b, "Gemm with a transposed left or a computed right side");
    }
    const int64_t *dims = g.w->type->shape.dims;
    g.k = (uint64_t)dims[g.trans_w ? 1 : 0];
    g.n = (uint64_t)dims[g.trans_w ? 0 : 1];
    return gemm_cook(b, &g);
}

/* Two computed matrices, or stacks of them: the same leading dims on both sides. */
static enum err cook_small(struct builder *b, const struct gemm *g)
{
    const struct shape *x = &g->x->type->shape, *w = &g->w->type->shape;
    bool same = x->rank == w->rank && x->rank >= 2 && !g->w->constant && !g->x->constant &&
                g->x->batched == g->w->batched && g->x->batched == g->y->batched &&
                (!g->x->batched || x->rank > 2);
    for (uint32_t i = 0; same && i + 2 < x->rank; i++) {
        same = x->dims[i] == w->dims[i];
    }
    if (!same || g->c != NULL || !recipe_is_f32(g->x) || !recipe_is_f32(g->w)) {
        return recipe_decline(b, "a product of two computed matrices of these shapes");
    }
    if (recipe_act(b) != ERR_OK) {
        return b->err;
    }
    uint64_t m = (uint64_t)x->dims[x->rank - 2], k = (uint64_t)x->dims[x->rank - 1];
    uint64_t n = (uint64_t)w->dims[w->rank - (g->trans_w ? 2 : 1)], lanes = b->device->ocl->lanes;
    uint64_t np = (n + lanes - 1) / lanes * lanes;
    struct launch *l = recipe_launch(b, recipe_work(g->y, (size_t)(m * n)));
    recipe_place(b, l, g->x);
    recipe_place(b, l, g->w);
    recipe_scratch(b, l, k * np);
    recipe_place(b, l, g->y);
    recipe_size(b, l, m);
    recipe_size(b, l, n);
    recipe_size(b, l, k);
    recipe_size(b, l, np);
    recipe_define(b, "TRANS_B", "%d", g->trans_w);
    recipe_float(b, "ALPHA", g->alpha);
    return recipe_build(b, l, "bmm_cpu", "bmm");
}

/* MatMul and FusedMatMul. */
static enum err cook_matmul(struct builder *b)
{
    const struct node *n = b->spec->node;
    struct gemm g = {.x = recipe_in(b, 0),
                     .w = recipe_in(b, 1),
                     .c = recipe_in(b, 2),
                     .y = &b->spec->out[0],
                     .trans_w = recipe_attr_i(n, "trans_b", 0) != 0,
                     .alpha = recipe_attr_f(n, "scale", 1.0f),
                     .beta = 1.0f};
    if (!g.w->constant || g.w->type->shape.rank != 2 || g.x->type->shape.rank < 2) {
        return cook_small(b, &g);
    }
    const int64_t *dims = g.w->type->shape.dims;
    g.k = (uint64_t)dims[g.trans_w ? 1 : 0];
    g.n = (uint64_t)dims[g.trans_w ? 0 : 1];
    return gemm_cook(b, &g);
}

const struct recipe recipes_gemm[] = {
    {"Gemm", "", cook_gemm},     {"FusedGemm", OXBOW_DOMAIN, cook_gemm},
    {"MatMul", "", cook_matmul}, {"FusedMatMul", OXBOW_DOMAIN, cook_matmul},
    {NULL, NULL, NULL},
};
