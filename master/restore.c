/* master/restore.c - after a restart: what the store says, until the workers say the same.
 *
 *   over            -> shown as it was
 *   not decided     -> failed: no decision on record is an abort; workers that ask are told so
 *   decided         -> model and graph are rebuilt; its workers are expected back; GO is sent again
 *                      to those that had not all answered
 *
 * Runs on:    the master loop, before anything is listened to. */
#include "master/master.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/upgrade.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void restore_one(void *arg, const struct store_version *v);
static enum err rebuild(struct master *m, struct deployment *d, const struct store_version *v,
                        struct fail *f);

static void restore_drained(void *arg, const char *worker)
{
    struct master *m = arg;
    members_set_drained(&m->members, worker, true);
}

static void learn(void *arg, const struct store_version *v)
{
    struct master *m = arg;
    json_t *about = v->about[0] != '\0' ? json_loads(v->about, 0, NULL) : NULL;
    json_t *receipt = v->receipt[0] != '\0' ? json_loads(v->receipt, 0, NULL) : NULL;
    tally_learn(&m->tally, json_object_get(about, "features"), receipt);
    json_decref(about);
    json_decref(receipt);
}

enum err restore_all(struct master *m, struct fail *f)
{
    enum err e = m->store->ops->each_drained(m->store, restore_drained, m, f);
    if (e == ERR_OK) {
        e = m->store->ops->newest(m->store, restore_one, m, f);
    }
    for (size_t i = 0; e == ERR_OK && i < m->deployments.count; i++) {
        e = m->store->ops->history(m->store, m->deployments.items[i]->name, learn, m, f);
    }
    for (size_t i = 0; e == ERR_OK && i < m->deployments.count; i++) {
        struct deployment *d = m->deployments.items[i];
        if (d->state == TOPOLOGY_DEPLOYING && d->graph != NULL) {
            conduct_change(m, d, (struct change_event){.kind = CHANGE_IN_START}, NULL, NULL);
        } else if (d->state == TOPOLOGY_DEPLOYING) { /* rebuild or decision is missing */
            conduct_life(m, d, LIFE_ABORTED, NULL, NULL);
        } else if (d->graph == NULL) {
            conduct_life(m, d, LIFE_FAILED, NULL, NULL);
        } else if (d->state == TOPOLOGY_RECOVERING) { /* begun by the master before: once more */
            (void)recover_lost(m, d, "the master was restarted", 0);
        } else {
            keeping_went(m, d);
            keeping_recall(m, d);
        }
    }
    return e;
}

static unsigned state_of(const char *name)
{
    for (unsigned s = TOPOLOGY_DEPLOYING; s < TOPOLOGY_STATES; s++) {
        if (strcmp(topology_state_name(s), name) == 0) {
            return s;
        }
    }
    return TOPOLOGY_FAILED;
}

static void read_error(struct deployment *d, const char *json)
{
    json_t *error = json_loads(json, 0, NULL);
    const char *what = json_string_value(json_object_get(error, "message"));
    const char *hint = json_string_value(json_object_get(error, "hint"));
    const char *where = json_string_value(json_object_get(error, "where"));
    snprintf(d->fail.what, sizeof d->fail.what, "%s", what != NULL ? what : "");
    snprintf(d->fail.hint, sizeof d->fail.hint, "%s", hint != NULL ? hint : "");
    snprintf(d->fail_where, sizeof d->fail_where, "%s", where != NULL ? where : "");
    d->fail.code = what != NULL ? ERR_INVALID : ERR_OK;
    json_decref(error);
}

/* Every PE has exactly one row with number 0. */
static void count_rows(struct deployment *d, const struct store_version *v)
{
    d->instance_count = (uint32_t)v->instance_count;
    for (size_t i = 0; i < v->instance_count; i++) {
        size_t first = 0;
        while (strcmp(v->instances[first].worker, v->instances[i].worker) != 0) {
            first++;
        }
        d->worker_count += first == i;
        d->pe_count += v->instances[i].index == 0;
    }
}

static void restore_one(void *arg, const struct store_version *v)
{
    struct master *m = arg;
    struct deployment *d = mem_alloc(sizeof *d);
    struct fail f = {0};
    *d = (struct deployment){.name = mem_dup(v->topology),
                             .version = v->version,
                             .last_version = v->last,
                             .token = {m->term, v->gen, v->op, v->epoch},
                             .yaml = mem_dup(v->yaml),
                             .base_dir = mem_dup(v->base_dir),
                             .artifacts = mem_dup(v->artifacts),
                             .types = mem_dup(v->types),
                             .digest = mem_dup(v->digest),
                             .created_at_us = v->created_at_us,
                             .state = state_of(v->state)};
    read_error(d, v->error);
    count_rows(d, v);
    if (deployment_is_over(d)) {
        d->final = v->final[0] != '\0' ? mem_dup(v->final) : NULL;
    } else if (!v->decided) {
        fail_set(&d->fail, ERR_STALE, "deploy again",
                 "the master was restarted before the change was decided");
    } else if (rebuild(m, d, v, &f) != ERR_OK) {
        fail_set(&d->fail, ERR_INVALID, "deploy again",
                 "after a restart of the master the topology could not be read back: %.300s",
                 f.what);
    }
    log_event(LOG_INFO, "topology.restored", "topology=%s version=%" PRIu64 " state=%s decided=%d",
              d->name, d->version, topology_state_name(d->state), (int)v->decided);
    deployments_put(&m->deployments, d);
}

/* ---- model and graph from their rows ---- */

static int by_place(const void *a, const void *b)
{
    const struct pinstance *x = a, *y = b;
    if (x->pe != y->pe) {
        return x->pe < y->pe ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_channel(const void *a, const void *b)
{
    const struct pchannel *x = a, *y = b;
    if (x->stream != y->stream) {
        return x->stream < y->stream ? -1 : 1;
    }
    if (x->from != y->from) {
        return x->from < y->from ? -1 : 1;
    }
    return x->to < y->to ? -1 : x->to > y->to;
}

static uint32_t worker_number(struct master *m, struct pgraph *g, const char *name)
{
    for (uint32_t i = 0; i < g->worker_count; i++) {
        if (strcmp(g->workers[i].name, name) == 0) {
            return i;
        }
    }
    struct worker_info *w = &g->workers[g->worker_count];
    struct fail f = {0};
    snprintf(w->name, sizeof w->name, "%s", name);
    if (m->store->ops->worker_id(m->store, name, &w->id, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.worker", "what=\"%s\"", f.what);
    }
    return g->worker_count++;
}

static enum err rebuild_instances(struct master *m, struct pgraph *g, const struct store_version *v,
                                  struct fail *f)
{
    json_t *told = v->base != 0 ? json_loads(v->parts, 0, NULL) : NULL;
    g->workers = mem_array(v->instance_count + json_object_size(told), sizeof *g->workers);
    g->instances = mem_array(v->instance_count, sizeof *g->instances);
    for (size_t i = 0; i < v->instance_count; i++) {
        const struct store_instance *s = &v->instances[i];
        const struct pe *pe = topology_pe(g->topology, s->pe);
        if (pe == NULL || s->index >= pe->parallelism) {
            json_decref(told);
            return fail_set(f, ERR_INVALID, "", "instance of an unknown PE %s", s->pe);
        }
        g->instances[g->instance_count++] =
            (struct pinstance){.id = s->id,
                               .pe = (uint32_t)(pe - g->topology->pes),
                               .index = s->index,
                               .worker = worker_number(m, g, s->worker),
                               .chain = s->chain};
    }
    const char *name;
    json_t *incarnation;
    json_object_foreach(told, name, incarnation)
    {
        (void)worker_number(m, g, name); /* it may hold only what goes */
    }
    json_decref(told);
    qsort(g->instances, g->instance_count, sizeof *g->instances, by_place);
    return ERR_OK;
}

/* Who owns which key group: as at first, but where the store says otherwise. */
static void rebuild_owners(struct pgraph *g, const struct store_version *v)
{
    g->owners = mem_array(g->topology->pe_count, sizeof g->owners[0]);
    for (uint32_t pe = 0; pe < g->topology->pe_count; pe++) {
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
            g->owners[pe][group] =
                (uint16_t)physical_owner(group, g->topology->pes[pe].parallelism);
        }
    }
    for (size_t i = 0; i < v->instance_count; i++) {
        const struct store_instance *s = &v->instances[i];
        const struct pe *pe = topology_pe(g->topology, s->pe);
        if (strlen(s->groups) != KEY_GROUPS / 4) {
            continue;
        }
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
            char digit[2] = {s->groups[group / 4], '\0'};
            if ((strtoul(digit, NULL, 16) >> (3 - group % 4) & 1u) != 0) {
                g->owners[pe - g->topology->pes][group] = (uint16_t)s->index;
            }
        }
    }
}

static bool instance_number(const struct pgraph *g, uint64_t id, uint32_t *number)
{
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (g->instances[i].id == id) {
            *number = i;
            return true;
        }
    }
    return false;
}

static enum err rebuild_channels(struct pgraph *g, const struct store_version *v, struct fail *f)
{
    g->channels = mem_array(v->channel_count, sizeof *g->channels);
    for (size_t i = 0; i < v->channel_count; i++) {
        const struct store_channel *s = &v->channels[i];
        struct pchannel c = {.id = s->id, .fused = s->fused};
        while (c.stream < g->topology->stream_count &&
               strcmp(g->topology->streams[c.stream].name, s->stream) != 0) {
            c.stream++;
        }
        if (c.stream == g->topology->stream_count || !instance_number(g, s->from, &c.from) ||
            !instance_number(g, s->to, &c.to)) {
            return fail_set(f, ERR_INVALID, "", "channel of an unknown stream %s", s->stream);
        }
        g->channels[g->channel_count++] = c;
    }
    qsort(g->channels, g->channel_count, sizeof *g->channels, by_channel);
    return ERR_OK;
}

static void expect_workers(struct master *m, struct deployment *d, const struct store_version *v)
{
    struct change_part *parts = mem_array(d->graph->worker_count, sizeof *parts);
    json_t *told = v->base != 0 ? json_loads(v->parts, 0, NULL) : NULL;
    bool going = d->state == TOPOLOGY_DEPLOYING;
    size_t count = 0;
    uint64_t deadline_us = clock_now_us() + (uint64_t)m->options.rejoin_ms * 1000u;
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        struct part *p = &d->parts[i];
        p->worker_id = d->graph->workers[i].id;
        for (size_t k = 0; k < v->instance_count; k++) {
            if (strcmp(v->instances[k].worker, d->graph->workers[i].name) == 0) {
                p->incarnation = v->instances[k].incarnation;
                break;
            }
        }
        json_t *known = json_object_get(told, d->graph->workers[i].name);
        if (known != NULL && going) {
            p->incarnation = (uint64_t)json_integer_value(known);
            p->involved = true;
        }
        if (!p->involved) {
            continue;
        }
        members_expect(&m->members, d->graph->workers[i].name, p->worker_id, p->incarnation,
                       deadline_us);
        parts[count++] =
            (struct change_part){.worker_id = p->worker_id, .incarnation = p->incarnation};
    }
    json_decref(told);
    change_init(&d->change, d->token, parts, count, going ? CHANGE_DECIDED : CHANGE_DONE);
    mem_free(parts);
}

enum err restore_graph(struct master *m, struct deployment *d, const struct store_version *v,
                       struct fail *f)
{
    struct diags diags = {0};
    enum err e = types_catalog_again(&m->types, v->types, &d->catalog, f);
    if (e != ERR_OK) {
        return e;
    }
    d->topology = topology_parse(v->yaml, strlen(v->yaml), v->base_dir, d->catalog, &diags);
    if (d->topology == NULL || strcmp(d->topology->canonical, v->canonical) != 0) {
        e = fail_set(f, ERR_VERSION, "", "%s",
                     diags.count > 0 ? diags.items[0].message
                                     : "this program reads the YAML differently");
        diags_fini(&diags);
        return e;
    }
    diags_fini(&diags);
    struct pgraph *g = mem_alloc(sizeof *g);
    g->topology = d->topology;
    e = rebuild_instances(m, g, v, f);
    if (e == ERR_OK) {
        rebuild_owners(g, v);
        e = rebuild_channels(g, v, f);
    }
    if (e != ERR_OK) {
        pgraph_free(g);
        return e;
    }
    d->graph = g;
    deployment_init_views(d);
    for (uint32_t i = 0; i < g->worker_count; i++) {
        d->parts[i].worker_id = g->workers[i].id;
    }
    return ERR_OK;
}

static enum err rebuild(struct master *m, struct deployment *d, const struct store_version *v,
                        struct fail *f)
{
    enum err e = restore_graph(m, d, v, f);
    if (e != ERR_OK) {
        return e;
    }
    if (v->carried[0] != '\0') {
        json_t *carried = json_loads(v->carried, 0, NULL);
        carry_read(d, carried);
        json_decref(carried);
    }
    if (v->base != 0) {
        json_t *about = json_loads(v->about, 0, NULL);
        d->drops = json_incref(json_object_get(about, "drops"));
        json_decref(about);
    }
    if (v->base != 0 && d->state == TOPOLOGY_DEPLOYING) {
        d->upgrade = mem_alloc(sizeof *d->upgrade);
        d->upgrade->base = v->base;
        d->upgrade->about = json_loads(v->about, 0, NULL);
    }
    if (v->base != 0 && d->state == TOPOLOGY_RECOVERING && v->receipt[0] == '\0') {
        json_t *about = json_loads(v->about, 0, NULL);
        json_t *repairs = json_object_get(about, "repairs");
        bool is_recovery = repairs != NULL || json_object_get(about, "to_checkpoint") != NULL;
        d->back.from = is_recovery ? v->base : 0;
        d->back.repairs = json_incref(repairs);
        json_decref(about);
    }
    expect_workers(m, d, v);
    return ERR_OK;
}
