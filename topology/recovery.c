/* topology/recovery.c - the fixpoint of the recovery set, by a work list. */
#include "topology/recovery.h"

#include "core/mem.h"

struct finding {
    const struct recovery_input *in;
    struct recovery *out;
    uint32_t *work; /* [instances]: members whose channels are still to be looked at */
    uint32_t work_count;
};

static void enter(struct finding *f, uint32_t i)
{
    if (!f->out->in[i]) {
        f->out->in[i] = true;
        f->out->count++;
        f->work[f->work_count++] = i;
    }
}

void recovery_make(const struct recovery_input *in, struct recovery *out)
{
    const struct pgraph *g = in->graph;
    *out = (struct recovery){.in = mem_array(g->instance_count, sizeof(bool)),
                             .targets = mem_array(g->instance_count, sizeof(bool)),
                             .unreplayable = INDEX_NONE};
    struct finding f = {in, out, mem_array(g->instance_count, sizeof(uint32_t)), 0};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (in->lost[i] || (in->covering != NULL && in->covering[i])) {
            enter(&f, i);
        }
    }
    while (f.work_count > 0) {
        uint32_t i = f.work[--f.work_count];
        for (uint32_t k = 0; k < g->channel_count; k++) {
            const struct pchannel *c = &g->channels[k];
            if (c->from == i) {
                enter(&f, c->to);
            } else if (c->to == i && (in->retained == NULL || !in->retained[k])) {
                enter(&f, c->from);
            }
        }
    }
    mem_free(f.work);
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
