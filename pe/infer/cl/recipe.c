/* pe/infer/cl/recipe.c - the builder that recipes describe their launches to. */
#include "pe/infer/cl/recipe.h"

#include "core/clock.h"
#include "core/mem.h"
#include "pe/infer/cl/kernels.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

/* -cl-fast-relaxed-math is left out on purpose: NaN and infinity must come out as ONNX wants. */
#define BUILD_OPTIONS "-cl-std=CL1.2 -cl-mad-enable"

enum err recipe_decline(struct builder *b, const char *fmt, ...)
{
    if (b->err == ERR_OK) {
        char what[256];
        va_list args;
        va_start(args, fmt);
        vsnprintf(what, sizeof(what), fmt, args);
        va_end(args);
        b->err = fail_set(b->fail, ERR_NOTFOUND, "", "no kernel for %s", what);
    }
    return b->err;
}

void recipe_define(struct builder *b, const char *name, const char *fmt, ...)
{
    char value[96];
    va_list args;
    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);
    int plain = (int)strcspn(name, "(");
    strbuf_printf(&b->text, "#undef %.*s\n#define %s %s\n", plain, name, name, value);
}

void recipe_float(struct builder *b, const char *name, float v)
{
    uint32_t bits = 0;
    memcpy(&bits, &v, sizeof(bits));
    recipe_define(b, name, "as_float(0x%08xu)", bits);
}

struct launch *recipe_launch(struct builder *b, struct work w)
{
    if (b->step->launch_count == LAUNCHES_MAX) {
        (void)recipe_decline(b, "more than %d launches", LAUNCHES_MAX);
        return &b->step->launches[0];
    }
    struct launch *l = &b->step->launches[b->step->launch_count++];
    l->per_row = w.per_row;
    l->batched = w.batched;
    l->groups[0] = l->groups[1] = l->local[0] = l->local[1] = 1;
    const struct ocl_device *d = b->device->ocl;
    if (!d->synchronous) { /* several groups per unit even out their lengths */
        l->groups[0] = (size_t)d->units * (d->kind == OCL_GPU ? 32 : 4);
    }
    return l;
}

static struct operand *operand_new(struct builder *b, struct launch *l)
{
    if (l->operand_count == OPERANDS_MAX) {
        (void)recipe_decline(b, "more than %d operands", OPERANDS_MAX);
        return &l->operands[0];
    }
    return &l->operands[l->operand_count++];
}

void recipe_weights(struct builder *b, struct launch *l, const struct ocl_pack *p)
{
    if (b->err != ERR_OK) {
        return;
    }
    struct ocl_shared *s = NULL;
    b->err = ocl_shared_weights(b->device->ocl, p, &s, b->fail);
    if (b->err == ERR_OK) {
        struct operand *o = operand_new(b, l);
        if (b->err != ERR_OK) {
            ocl_shared_unref(s);
            return;
        }
        o->constant = s;
    }
}

void recipe_place(struct builder *b, struct launch *l, const struct place *p)
{
    if (b->err != ERR_OK) {
        return;
    }
    if (p->constant) {
        size_t bytes = tensor_bytes(p->type);
        struct ocl_pack pack = {.layout = "plain", .bytes = bytes};
        pack.sources[0].data = p->type->data;
        pack.sources[0].bytes = bytes;
        if (bytes == 0) {
            (void)recipe_decline(b, "an empty constant");
            return;
        }
        recipe_weights(b, l, &pack);
        return;
    }
    struct operand *o = operand_new(b, l);
    o->kind = OPERAND_ARENA;
    o->offset = p->offset / dtype_size(p->type->dtype);
}

void recipe_scratch(struct builder *b, struct launch *l, uint64_t elements)
{
    size_t bytes = (size_t)elements * l->groups[0] * sizeof(float);
    if (bytes > TENSOR_BYTES_MAX) {
        (void)recipe_decline(b, "an operand of this size");
    }
    if (b->err == ERR_OK) {
        operand_new(b, l)->kind = OPERAND_SCRATCH;
        if (bytes > b->step->scratch_bytes) {
            b->step->scratch_bytes = bytes;
        }
    }
}

void recipe_size(struct builder *b, struct launch *l, uint64_t v)
{
    if (v > UINT32_MAX || l->size_count == SIZES_MAX) {
        (void)recipe_decline(b, "a size of %llu", (unsigned long long)v);
        return;
    }
    l->sizes[l->size_count++] = (uint32_t)v;
}

enum err recipe_build(struct builder *b, struct launch *l, const char *file, const char *kernel)
{
    if (b->err != ERR_OK) {
        strbuf_clear(&b->text);
        return b->err;
    }
    strbuf_text_add(&b->text, ocl_kernel_text("part"));
    strbuf_text_add(&b->text, ocl_kernel_text(file));
    l->text = mem_dup(strbuf_text(&b->text));
    l->entry = kernel;
    strbuf_clear(&b->text);
    return ERR_OK;
}

enum err launch_build(struct device *d, struct launch *l, const char *text, struct fail *f)
{
    char *source =
        mem_printf("#define LANES %u\n%s%s", d->ocl->lanes, ocl_kernel_text("prelude"), text);
    struct ocl_program_request r = {.source = source,
                                    .options = BUILD_OPTIONS,
                                    .cache_dir = ocl_devices_cache_dir(d->all),
                                    .apart = d->gently_until_us != 0,
                                    .gently_until_us = d->gently_until_us};
    enum err e = ocl_shared_program(d->ocl, &r, &l->program, f);
    mem_free(source);
    if (e == ERR_OK) {
        cl_int status = CL_SUCCESS;
        l->kernel = clCreateKernel(l->program->program, l->entry, &status);
        e = ocl_device_check(d->ocl, status, "clCreateKernel", f);
    }
    return e;
}

struct work recipe_work(const struct place *p, size_t elements)
{
    size_t count = tensor_count(p->type) / (elements != 0 ? elements : 1);
    if (!p->batched) {
        return (struct work){(uint32_t)count, false};
    }
    int64_t rows = p->type->shape.dims[0] / p->scale;
    return (struct work){(uint32_t)(count / (size_t)(rows != 0 ? rows : 1)), true};
}

struct work recipe_lines(const struct place *p)
{
    const struct shape *s = &p->type->shape;
    return recipe_work(p, s->rank != 0 ? (size_t)s->dims[s->rank - 1] : 1);
}

bool recipe_is_f32(const struct place *p)
{
    return p->type != NULL && p->type->dtype == DT_F32;
}

/* The numbers of enum activation, which kernels/prelude.cl knows too. */
static int act_number(const char *name)
{
    static const char *const names[ACT_COUNT] = {
        [ACT_NONE] = "",           [ACT_RELU] = "relu",           [ACT_LEAKY] = "leaky",
        [ACT_SIGMOID] = "sigmoid", [ACT_TANH] = "tanh",           [ACT_CLIP] = "clip",
        [ACT_GELU] = "gelu",       [ACT_HARDSWISH] = "hardswish", [ACT_SILU] = "silu"};
    for (int i = 0; i < ACT_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

enum err recipe_act(struct builder *b)
{
    const struct node *n = b->spec->node;
    const struct attr *a = node_attr(n, "act");
    int number = a == NULL ? ACT_NONE : act_number(a->s);
    if (number < 0) {
        return recipe_decline(b, "the activation `%s`", a->s);
    }
    recipe_define(b, "ACT", "%d", number);
    if (number == ACT_CLIP) {
        recipe_float(b, "ACT_A", recipe_attr_f(n, "act_min", -FLT_MAX));
        recipe_float(b, "ACT_B", recipe_attr_f(n, "act_max", FLT_MAX));
    } else {
        recipe_float(b, "ACT_A", recipe_attr_f(n, "act_alpha", 0.01f));
        recipe_float(b, "ACT_B", 0.0f);
    }
    return ERR_OK;
}

const struct place *recipe_in(const struct builder *b, uint32_t i)
{
    const struct step_spec *s = b->spec;
    if (i >= s->node->input_count || s->in[i].type == NULL) {
        return NULL;
    }
    return &s->in[i];
}

int64_t recipe_attr_i(const struct node *n, const char *name, int64_t fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL ? a->i : fallback;
}

float recipe_attr_f(const struct node *n, const char *name, float fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL ? a->f : fallback;
}

const char *recipe_attr_s(const struct node *n, const char *name, const char *fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->s != NULL ? a->s : fallback;
}
