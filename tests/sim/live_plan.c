/* tests/sim/live_plan.c - a plan through master/translate.h. */
#include "tests/sim/live_plan.h"

#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"

#include <stdlib.h>
#include <string.h>

bool live_refused(const struct plan *p)
{
    struct fail f;
    const char *where;
    bool moves = p->move_count > 0;
    for (uint32_t i = 0; p->cover != NULL && i < p->cover->member_count; i++) {
        const struct cover_member *x = &p->cover->members[i];
        moves = moves || x->token ||
                (x->role == ROLE_NEW && p->match->heir_old[x->new] != INDEX_NONE);
    }
    return moves || upgrade_refusal(p, &f, &where) != ERR_OK;
}

static void involve(struct deployment *d, const struct plan *p)
{
    const struct pgraph *v = p->match->from;
    for (uint32_t i = 0; i < v->instance_count; i++) {
        d->parts[p->match->worker_new[v->instances[i].worker]].involved = true;
    }
}

/* As if the topology took checkpoints: every channel but a call has a log, also inside a worker. */
static void set_retain(struct msg_PREPARE *m, uint64_t bytes)
{
    m->retain_bytes = bytes;
    for (size_t n = 0; n < m->add_channels_count; n++) {
        m->add_channels[n].retain = bytes > 0 && !m->add_channels[n].fused;
    }
}

bool live_prepare(const struct plan *p, bool change, uint32_t worker, uint64_t op, uint64_t retain,
                  struct msg *out)
{
    const struct pgraph *v = p->match->from;
    uint32_t number = worker;
    if (!change) {
        for (number = 0; number < v->worker_count; number++) {
            if (p->match->worker_new[number] == worker) {
                break;
            }
        }
    }
    struct pgraph *graph = change ? p->to : (struct pgraph *)(uintptr_t)v;
    if (number >= graph->worker_count) {
        return false;
    }
    struct upgrade up = {.base = 1, .plan = (struct plan *)(uintptr_t)p};
    struct deployment d = {.name = (char *)(uintptr_t)"t",
                           .base_dir = (char *)(uintptr_t)"/",
                           .version = change ? op : 1,
                           .token = {.term = 1, .gen = 1, .op = op, .epoch = op},
                           .topology = (struct topology *)(uintptr_t)graph->topology,
                           .graph = graph,
                           .upgrade = change ? &up : NULL};
    deployment_init_views(&d);
    if (change) {
        involve(&d, p);
    }
    for (uint32_t i = 0; i < graph->worker_count; i++) {
        d.parts[i].worker_id = graph->workers[i].id;
        d.parts[i].incarnation = graph->workers[i].incarnation;
    }
    bool involved = d.parts[number].involved;
    struct members nobody = {0};
    struct fail f;
    if (involved && translate_prepare(&d, &nobody, number, out, &f) != ERR_OK) {
        abort(); /* the drafts are small */
    }
    if (involved) {
        set_retain(&out->PREPARE, retain);
    }
    mem_free(d.parts);
    mem_free(d.instances);
    mem_free(d.channels);
    return involved;
}

void live_prepare_fini(struct msg *m)
{
    translate_prepare_fini(m);
}
