/* pe/infer/cl/chain.c - consecutive steps as one launch, on a device that runs them in this thread.
 *
 * A launch costs a microsecond there, as much as a small layer.  The text of a chain has each
 * launch's text as a part, whose names have the part's number, and a kernel that calls the parts in
 * turn.  Launches of one text (layers of one kind) share a part.  Sizes are literals in the calls:
 * the chain belongs to these shapes anyway, and fewer arguments are quicker to hand over.
 *
 * Arguments: the arena, the scratch, each constant once, all with an offset of 0; for every
 * operand in the arena its offset (`uint`); the rows.
 * Invariants: one work-item does everything, so parts need no barrier and may share the scratch.
 *             The text says nothing of offsets nor, but for recurrent layers, of the batch:
 *             buckets share the program. */
#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/cl/recipe.h"

#include <string.h>

struct chain {
    struct step *step;
    struct launch *all; /* its only launch */
    struct strbuf parts; /* text of the parts */
    struct strbuf calls; /* body of the kernel */
    uint32_t launch_count;
    const char *texts[CL_CHAIN_MAX]; /* of the parts; borrowed from the steps */
    uint32_t part_count;
};

/* The argument that `o` comes by, a new one when no earlier part has it. */
static uint32_t argument_of(struct launch *all, const struct operand *o)
{
    uint32_t i = 0;
    for (; i < all->operand_count; i++) {
        const struct operand *p = &all->operands[i];
        if (p->kind == o->kind && p->constant == o->constant) {
            return i;
        }
    }
    all->operands[all->operand_count++] = (struct operand){o->kind, 0, o->constant};
    if (o->constant != NULL) {
        ocl_shared_ref(o->constant);
    }
    return i;
}

static bool has_room(const struct launch *all, const struct launch *l)
{
    return all->operand_count + l->operand_count <= OPERANDS_MAX &&
           all->size_count + l->operand_count <= SIZES_MAX;
}

/* The part with that text, a new one when there is none. */
static uint32_t part_of(struct chain *c, const char *text)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        if (strcmp(c->texts[i], text) == 0) {
            return i;
        }
    }
    uint32_t part = c->part_count++;
    c->texts[part] = text;
    strbuf_printf(&c->parts, "#undef PART_NO\n#define PART_NO %u\n%s", part, text);
    return part;
}

static void add_launch(struct chain *c, const struct launch *l)
{
    uint32_t part = part_of(c, l->text);
    c->launch_count++;
    strbuf_printf(&c->calls, "    %s_%u(", l->entry, part);
    for (uint32_t i = 0; i < l->operand_count; i++) {
        const struct operand *o = &l->operands[i];
        strbuf_printf(&c->calls, "p%u, ", argument_of(c->all, o));
        if (o->kind == OPERAND_ARENA) {
            strbuf_printf(&c->calls, "o%u, ", c->all->size_count);
            c->all->sizes[c->all->size_count++] = (uint32_t)o->offset;
        } else {
            strbuf_text_add(&c->calls, "0, ");
        }
    }
    for (uint32_t i = 0; i < l->size_count; i++) {
        strbuf_printf(&c->calls, "%uu, ", l->sizes[i]);
    }
    strbuf_printf(&c->calls, l->batched ? "%uu * rows);\n" : "%uu);\n", l->per_row);
}

/* All launches of a step, or none of them. */
static bool add_step(struct chain *c, const struct step *s)
{
    if (c->launch_count + s->launch_count > CL_CHAIN_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < s->launch_count; i++) {
        const struct launch *l = &s->launches[i];
        bool wide = false; /* offsets are handed over as 32 bits */
        for (uint32_t j = 0; j < l->operand_count; j++) {
            wide = wide || l->operands[j].offset > UINT32_MAX;
        }
        if (wide || !has_room(c->all, l)) {
            return false;
        }
    }
    if (s->launch_count > 1) { /* has_room has looked at each alone */
        return false;
    }
    add_launch(c, &s->launches[0]);
    if (s->scratch_bytes > c->step->scratch_bytes) {
        c->step->scratch_bytes = s->scratch_bytes;
    }
    return true;
}

static enum err chain_build(struct chain *c, struct fail *f)
{
    struct strbuf text = {0};
    strbuf_text_add(&text, "#define PASTE_(x, n) x##_##n\n#define PASTE(x, n) PASTE_(x, n)\n"
                           "#define PART(x) PASTE(x, PART_NO)\n"
                           "#undef GROUP\n#undef GROUPS\n#define GROUP 0u\n#define GROUPS 1u\n"
                           "#define CPU_KERNEL static __attribute__((noinline)) void\n");
    strbuf_text_add(&text, strbuf_text(&c->parts));
    strbuf_text_add(&text, "#undef CPU_KERNEL\n__kernel "
                           "__attribute__((reqd_work_group_size(1, 1, 1))) void chain(");
    for (uint32_t i = 0; i < c->all->operand_count; i++) {
        strbuf_printf(&text, "global void *p%u, ulong at%u, ", i, i);
    }
    for (uint32_t i = 0; i < c->all->size_count; i++) {
        strbuf_printf(&text, "uint o%u, ", i);
    }
    strbuf_printf(&text, "uint rows)\n{\n%s}\n", strbuf_text(&c->calls));
    c->all->entry = "chain";
    enum err e = launch_build(c->step->device, c->all, strbuf_text(&text), f);
    c->step->built = e == ERR_OK;
    strbuf_fini(&text);
    return e;
}

enum err chain_join(struct device *d, struct step *const *steps, uint32_t *count, struct step **out,
                    struct fail *f)
{
    if (!d->ocl->synchronous) {
        return fail_set(f, ERR_NOTFOUND, "", "launches cost little here");
    }
    struct chain c = {.step = mem_alloc(sizeof(*c.step))};
    *c.step = (struct step){.device = d, .launch_count = 1, .rows = -1};
    c.all = &c.step->launches[0];
    c.all->per_row = 1;
    c.all->batched = true;
    for (int i = 0; i < 2; i++) {
        c.all->groups[i] = c.all->local[i] = 1;
    }
    uint32_t taken = 0;
    while (taken < *count && add_step(&c, steps[taken])) {
        taken++;
    }
    *count = taken != 0 ? taken : 1;
    enum err e = ERR_OK;
    if (taken < 2) {
        e = fail_set(f, ERR_NOTFOUND, "", "nothing to join");
    } else {
        e = chain_build(&c, f);
    }
    strbuf_fini(&c.parts);
    strbuf_fini(&c.calls);
    if (e != ERR_OK) {
        backend_opencl->step_free(c.step);
        return e;
    }
    *out = c.step;
    return ERR_OK;
}
