/* topology/recovery.c - the fixpoint of the recovery set, by a work list. */
#include "topology/recovery.h"

#include "core/mem.h"

/* The channels of each instance at one of their ends: those of i are items[first[i]..first[i+1]).
 */
struct ends {
    uint32_t *first, *items;
};

static uint32_t end_of(const struct pchannel *c, bool inputs)
{
    return inputs ? c->to : c->from;
}

static struct ends ends_make(const struct pgraph *g, bool inputs)
{
    struct ends e = {mem_array((size_t)g->instance_count + 2, sizeof(uint32_t)),
                     mem_array(g->channel_count, sizeof(uint32_t))};
    uint32_t *at = e.first + 1; /* while it is filled, shifted by one */
    for (uint32_t k = 0; k < g->channel_count; k++) {
        at[end_of(&g->channels[k], inputs) + 1]++;
    }
    for (uint32_t i = 0; i < g->instance_count; i++) {
        at[i + 1] += at[i];
    }
    for (uint32_t k = 0; k < g->channel_count; k++) {
        e.items[at[end_of(&g->channels[k], inputs)]++] = k;
    }
    return e;
}

static void ends_fini(struct ends *e)
{
    mem_free(e->first);
    mem_free(e->items);
}

struct finding {
    const struct recovery_input *in;
    struct recovery *out;
    uint32_t *work; /* [instances]: members whose channels are still to be looked at */
    uint32_t work_count;
    struct ends outputs, inputs;
};

static void enter(struct finding *f, uint32_t i)
{
    if (!f->out->in[i]) {
        f->out->in[i] = true;
        f->out->count++;
        f->work[f->work_count++] = i;
    }
}

static void follow(struct finding *f, uint32_t i)
{
    const struct pgraph *g = f->in->graph;
    for (uint32_t n = f->outputs.first[i]; n < f->outputs.first[i + 1]; n++) {
        enter(f, g->channels[f->outputs.items[n]].to);
    }
    for (uint32_t n = f->inputs.first[i]; n < f->inputs.first[i + 1]; n++) {
        uint32_t k = f->inputs.items[n];
        if (g->channels[k].fused || f->in->retained == NULL || !f->in->retained[k]) {
            enter(f, g->channels[k].from);
        }
    }
}

void recovery_make(const struct recovery_input *in, struct recovery *out)
{
    const struct pgraph *g = in->graph;
    *out = (struct recovery){.in = mem_array(g->instance_count, sizeof(bool)),
                             .targets = mem_array(g->instance_count, sizeof(bool)),
                             .unreplayable = INDEX_NONE};
    struct finding f = {.in = in,
                        .out = out,
                        .work = mem_array(g->instance_count, sizeof(uint32_t)),
                        .outputs = ends_make(g, false),
                        .inputs = ends_make(g, true)};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (in->lost[i] || (in->covering != NULL && in->covering[i])) {
            enter(&f, i);
        }
    }
    while (f.work_count > 0) {
        follow(&f, f.work[--f.work_count]);
    }
    mem_free(f.work);
    ends_fini(&f.outputs);
    ends_fini(&f.inputs);
    for (uint32_t k = 0; k < g->channel_count; k++) {
        const struct pchannel *c = &g->channels[k];
        if (out->in[c->to] && !out->in[c->from] && !out->targets[c->from]) {
            out->targets[c->from] = true;
            out->target_count++;
        }
    }
    for (uint32_t i = 0; i < g->instance_count && out->unreplayable == INDEX_NONE; i++) {
        const struct pe *p = &g->topology->pes[g->instances[i].pe];
        if (out->in[i] && p->desc->source && !p->desc->replayable) {
            out->unreplayable = g->instances[i].pe;
        }
    }
}

void recovery_fini(struct recovery *r)
{
    mem_free(r->in);
    mem_free(r->targets);
    *r = (struct recovery){0};
}
