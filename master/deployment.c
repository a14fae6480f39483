/* master/deployment.c - one topology as the master sees it: life, views, rates. */
#include "master/deployment.h"

#include "core/mem.h"
#include "master/upgrade.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct life {
    unsigned to; /* 0: the event does not matter here */
    unsigned run;
};

#define DROP (LIFE_DO_DROP | LIFE_DO_SAVE)
#define RETIRE (LIFE_DO_RETIRE | LIFE_DO_SAVE)

/* Rows that are absent (all of the three final states: D1) ignore everything. */
static const struct life lives[TOPOLOGY_STATES][LIFE_EVENTS] = {
    [TOPOLOGY_DEPLOYING] = {
        [LIFE_WENT] = {TOPOLOGY_RUNNING, LIFE_DO_SAVE},
        [LIFE_ABORTED] = {TOPOLOGY_FAILED, LIFE_DO_SAVE},
        [LIFE_CANCELLED] = {TOPOLOGY_STOPPED, LIFE_DO_SAVE},
        [LIFE_STOP] = {TOPOLOGY_DEPLOYING, LIFE_DO_CANCEL},
        [LIFE_STOP_NOW] = {TOPOLOGY_DEPLOYING, LIFE_DO_CANCEL},
        [LIFE_FAILED] = {TOPOLOGY_FAILED, DROP},
    },
    [TOPOLOGY_RUNNING] = {
        [LIFE_STOP] = {TOPOLOGY_DRAINING, LIFE_DO_DRAIN | LIFE_DO_SAVE},
        [LIFE_STOP_NOW] = {TOPOLOGY_STOPPED, DROP},
        [LIFE_ENDED] = {TOPOLOGY_FINISHED, RETIRE},
        [LIFE_FAILED] = {TOPOLOGY_FAILED, DROP},
        [LIFE_LOST] = {TOPOLOGY_RECOVERING, LIFE_DO_SAVE},
    },
    [TOPOLOGY_DRAINING] = {
        [LIFE_STOP_NOW] = {TOPOLOGY_STOPPED, DROP},
        [LIFE_ENDED] = {TOPOLOGY_STOPPED, RETIRE},
        [LIFE_FAILED] = {TOPOLOGY_FAILED, DROP},
        [LIFE_LOST] = {TOPOLOGY_RECOVERING, LIFE_DO_SAVE},
    },
    [TOPOLOGY_RECOVERING] = { /* a stop waits until it runs again: what is owed is drained */
        [LIFE_WENT] = {TOPOLOGY_RUNNING, LIFE_DO_SAVE},
        [LIFE_STOP_NOW] = {TOPOLOGY_STOPPED, DROP},
        [LIFE_FAILED] = {TOPOLOGY_FAILED, DROP},
    },
};

static void free_views(struct deployment *d);
static uint32_t part_of_instance(const struct deployment *d, uint32_t number);

unsigned life_step(unsigned from, enum life_event on, unsigned *to)
{
    assert(from < TOPOLOGY_STATES && on < LIFE_EVENTS);
    const struct life *l = &lives[from][on];
    *to = l->to != 0 ? l->to : from;
    return l->run;
}

static int by_id(const void *a, const void *b) /* both views start with their id */
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void deployment_init_views(struct deployment *d)
{
    const struct pgraph *g = d->graph;
    d->pe_count = d->topology->pe_count;
    d->instance_count = g->instance_count;
    d->parts = mem_array(g->worker_count, sizeof *d->parts);
    d->instances = mem_array(g->instance_count, sizeof *d->instances);
    d->channels = mem_array(g->channel_count, sizeof *d->channels);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        d->instances[i].id = g->instances[i].id;
        d->instances[i].number = i;
        d->parts[g->instances[i].worker].used = true;
        d->parts[g->instances[i].worker].involved = true;
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        d->channels[i].id = g->channels[i].id;
        d->channels[i].number = i;
        d->channels[i].from_part = part_of_instance(d, g->channels[i].from);
        d->channels[i].to_part = part_of_instance(d, g->channels[i].to);
    }
    d->worker_count = 0;
    for (uint32_t i = 0; i < g->worker_count; i++) {
        d->worker_count += d->parts[i].used;
    }
    qsort(d->instances, g->instance_count, sizeof *d->instances, by_id);
    qsort(d->channels, g->channel_count, sizeof *d->channels, by_id);
}

/* What stays keeps its counters: from `was`, which loses them. */
static void take_views(struct deployment *d, struct deployment *was)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        struct instance_view *v = &d->instances[i];
        struct instance_view *old = deployment_instance(was, v->id);
        if (old != NULL) {
            uint32_t number = v->number;
            *v = *old;
            v->number = number;
            *old = (struct instance_view){.id = old->id, .number = old->number};
        }
    }
    for (uint32_t i = 0; i < d->graph->channel_count; i++) {
        struct channel_view *v = &d->channels[i];
        const struct channel_view *old = deployment_channel(was, v->id);
        if (old != NULL) {
            struct channel_view now = *v;
            *v = *old;
            v->number = now.number;
            v->from_part = now.from_part;
            v->to_part = now.to_part;
        }
    }
}

void deployment_take_views(struct deployment *d, struct deployment *was)
{
    take_views(d, was);
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        struct part *p = &d->parts[i];
        struct part *old = deployment_part(was, d->graph->workers[i].id);
        if (old != NULL) {
            struct strbuf none = p->latency;
            *p = *old;
            old->latency = none;
        }
    }
}

void deployment_regraph(struct deployment *d, struct pgraph *g TAKES)
{
    struct deployment was = {.graph = d->graph,
                             .parts = d->parts,
                             .instances = d->instances,
                             .channels = d->channels};
    change_fini(&d->change);
    d->graph = g;
    deployment_init_views(d);
    take_views(d, &was);
    free_views(&was);
    pgraph_free(was.graph);
}

void deployment_drop_graph(struct deployment *d)
{
    free_views(d);
    change_fini(&d->change);
    d->parts = NULL;
    d->instances = NULL;
    d->channels = NULL;
    d->graph = NULL;
}

void deployment_free(struct deployment *d)
{
    if (d == NULL) {
        return;
    }
    deployment_free(d->next);
    upgrade_free(d->upgrade, d->graph);
    keeping_free(d->keeping);
    free_views(d);
    carry_fini(&d->carry);
    json_decref(d->back.repairs);
    json_decref(d->drops);
    change_fini(&d->change);
    if (d->graph != NULL) {
        pgraph_free(d->graph);
    }
    if (d->topology != NULL) {
        topology_free(d->topology);
    }
    if (d->catalog != NULL) {
        catalog_free(d->catalog);
    }
    char *texts[] = {d->name,  d->yaml,   d->base_dir, d->artifacts,
                     d->types, d->digest, d->final};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        mem_free(texts[i]);
    }
    mem_free(d);
}

bool deployment_is_over(const struct deployment *d)
{
    return d->state == TOPOLOGY_FINISHED || d->state == TOPOLOGY_STOPPED ||
           d->state == TOPOLOGY_FAILED;
}

struct part *deployment_part(struct deployment *d, uint64_t worker_id)
{
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        if (d->parts[i].used && d->parts[i].worker_id == worker_id) {
            return &d->parts[i];
        }
    }
    return NULL;
}

struct part *deployment_involved(struct deployment *d, uint64_t worker_id)
{
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        if (d->parts[i].involved && d->parts[i].worker_id == worker_id) {
            return &d->parts[i];
        }
    }
    return NULL;
}

struct instance_view *deployment_instance(struct deployment *d, uint64_t id)
{
    return d->graph == NULL ? NULL
                            : bsearch(&id, d->instances, d->graph->instance_count,
                                      sizeof *d->instances, by_id);
}

struct channel_view *deployment_channel(struct deployment *d, uint64_t id)
{
    return d->graph == NULL ? NULL
                            : bsearch(&id, d->channels, d->graph->channel_count,
                                      sizeof *d->channels, by_id);
}

bool deployment_all_ended(const struct deployment *d)
{
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        if (d->parts[i].used && d->parts[i].state != DEPLOYMENT_ENDED) {
            return false;
        }
    }
    return d->graph != NULL;
}

uint32_t deployment_slots(const struct deployment *d, uint64_t worker_id)
{
    uint32_t used = 0;
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->instance_count; i++) {
        used += d->parts[d->graph->instances[i].worker].worker_id == worker_id;
    }
    return used;
}

void samples_add(struct samples *s, struct sample now)
{
    if (s->count > 0 && s->items[s->last].at_us >= now.at_us) {
        return; /* the same report again, or one that overtook */
    }
    s->last = s->count == 0 ? 0 : (s->last + 1) % SAMPLES;
    s->items[s->last] = now;
    s->count += s->count < SAMPLES;
}

bool samples_span(const struct samples *s, struct sample *oldest, struct sample *newest)
{
    if (s->count < 2) {
        return false;
    }
    *newest = s->items[s->last];
    *oldest = s->items[(s->last + SAMPLES + 1 - s->count) % SAMPLES];
    return newest->at_us > oldest->at_us;
}

/* ---- all of them ---- */

void deployments_fini(struct deployments *ds)
{
    for (size_t i = 0; i < ds->count; i++) {
        deployment_free(ds->items[i]);
    }
    mem_free(ds->items);
    *ds = (struct deployments){0};
}

struct deployment *deployments_find(const struct deployments *ds, const char *name)
{
    for (size_t i = 0; i < ds->count; i++) {
        if (strcmp(ds->items[i]->name, name) == 0) {
            return ds->items[i];
        }
    }
    return NULL;
}

void deployments_put(struct deployments *ds, struct deployment *d TAKES)
{
    size_t i = 0;
    while (i < ds->count && strcmp(ds->items[i]->name, d->name) < 0) {
        i++;
    }
    if (i < ds->count && strcmp(ds->items[i]->name, d->name) == 0) {
        deployment_free(ds->items[i]);
        ds->items[i] = d;
        return;
    }
    ds->items = mem_grow(ds->items, ds->count, &ds->capacity, sizeof(struct deployment *));
    memmove(ds->items + i + 1, ds->items + i, (ds->count - i) * sizeof(struct deployment *));
    ds->items[i] = d;
    ds->count++;
}

void deployments_remove(struct deployments *ds, struct deployment *d TAKES)
{
    for (size_t i = 0; i < ds->count; i++) {
        if (ds->items[i] == d) {
            ds->count--;
            memmove(ds->items + i, ds->items + i + 1,
                    (ds->count - i) * sizeof(struct deployment *));
            break;
        }
    }
    deployment_free(d);
}

static uint32_t part_of_instance(const struct deployment *d, uint32_t number)
{
    return d->graph->instances[number].worker;
}

static void free_views(struct deployment *d)
{
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->instance_count; i++) {
        mem_free(d->instances[i].error);
        mem_free(d->instances[i].held_tuple);
        mem_free(d->instances[i].held_stream);
        mem_free(d->instances[i].metrics);
        strbuf_fini(&d->instances[i].latency);
    }
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        strbuf_fini(&d->parts[i].latency);
    }
    mem_free(d->instances);
    mem_free(d->channels);
    mem_free(d->parts);
}
