/* master/deploy.c - from a request to a change under way.
 *
 *   files named -> all uploaded? -> plug-ins described (helper thread) -> parsed -> placed
 *   -> translated once, to see that it fits -> ids and plan durable -> change started -> 202
 *
 * Owns:       struct deploying, from the request until it is answered.
 * Runs on:    the master loop; describing runs beside it. */
#include "master/master.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct describing { /* one plug-in whose types are not known yet */
    char digest[SHA256_HEX_BYTES];
    char *file; /* as in the YAML */
    char *path;
    char *json; /* the result, or NULL and `f` */
    struct fail f;
};

struct deploying {
    struct master *master;
    struct exchange *x;
    struct deploy_request request;
    struct describing *plugins;
    size_t plugin_count;
};

static bool find_files(struct deploying *g, json_t *files, struct diags *d);
static void describe_all(void *arg);
static void on_described(void *arg);
static void plan(struct deploying *g);
static void finish(struct deploying *g);

void deploy_start(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES)
{
    struct deploying *g = mem_alloc(sizeof *g);
    struct diags d = {0};
    struct fail f = {0};
    *g = (struct deploying){.master = m, .x = x, .request = *r};
    json_t *files = topology_files(r->yaml, r->yaml_bytes, &d);
    if (files == NULL) {
        api_diags(x, &d);
        finish(g);
    } else if (!find_files(g, files, &d)) {
        finish(g);
    } else if (g->plugin_count == 0) {
        plan(g);
    } else if (jobs_has_room(&m->jobs)) {
        job_start(&m->jobs, describe_all, on_described, g);
    } else {
        fail_set(&f, ERR_FULL, "try again in a moment", "too many plug-ins are being looked at");
        api_fail(x, 503, &f, "");
        finish(g);
    }
    json_decref(files);
    diags_fini(&d);
}

/* Every file the YAML names must be here by digest.  false: answered. */
static bool find_files(struct deploying *g, json_t *files, struct diags *d)
{
    struct master *m = g->master;
    size_t i;
    json_t *name;
    (void)d;
    g->plugins = mem_array(json_array_size(files), sizeof *g->plugins);
    json_array_foreach(files, i, name)
    {
        const char *file = json_string_value(name);
        const char *digest = json_string_value(json_object_get(g->request.artifacts, file));
        struct fail f = {0};
        if (digest == NULL || !sha256_is_hex(digest)) {
            fail_set(&f, ERR_NOTFOUND,
                     "upload it with PUT /v1/artifacts/SHA256 and name it in \"artifacts\"",
                     "the topology names the file %.200s, which was not sent", file);
        } else if (!artifacts_has(&m->artifacts, digest)) {
            fail_set(&f, ERR_NOTFOUND, "upload it with PUT /v1/artifacts/SHA256",
                     "there is no artifact %s (for %.200s)", digest, file);
        } else if (types_plugin(&m->types, digest) == NULL) {
            struct describing *p = &g->plugins[g->plugin_count++];
            memcpy(p->digest, digest, sizeof p->digest);
            p->file = mem_dup(file);
            p->path = artifacts_path(&m->artifacts, digest);
        }
        if (f.code != ERR_OK) {
            api_fail(g->x, 422, &f, file);
            return false;
        }
    }
    return true;
}

static void describe_all(void *arg) /* helper thread: touches only its plug-ins */
{
    struct deploying *g = arg;
    for (size_t i = 0; i < g->plugin_count; i++) {
        struct describing *p = &g->plugins[i];
        if (types_describe(p->path, &p->json, &p->f) != ERR_OK) {
            p->json = NULL;
        }
    }
}

static void on_described(void *arg)
{
    struct deploying *g = arg;
    for (size_t i = 0; i < g->plugin_count; i++) {
        struct describing *p = &g->plugins[i];
        if (p->json == NULL) {
            api_fail(g->x, 422, &p->f, p->file);
            finish(g);
            return;
        }
        types_plugin_put(&g->master->types, p->digest, p->json);
        p->json = NULL;
    }
    plan(g);
}

static void finish(struct deploying *g)
{
    for (size_t i = 0; i < g->plugin_count; i++) {
        mem_free(g->plugins[i].file);
        mem_free(g->plugins[i].path);
        mem_free(g->plugins[i].json);
    }
    mem_free(g->plugins);
    deploy_request_fini(&g->request);
    mem_free(g);
}

/* ---- the plan ---- */

static struct deployment *parse(struct deploying *g);
static enum err place(struct master *m, struct deployment *d, uint64_t *ids, struct fail *f);

static void plan(struct deploying *g)
{
    struct master *m = g->master;
    struct fail f = {0};
    if (g->request.ask != ASK_DEPLOY && ask_must_wait(m, &g->request, g->x)) {
        finish(g); /* something began while its plug-ins were described */
        return;
    }
    struct deployment *d = parse(g); /* answers when it fails */
    if (d == NULL) {
        finish(g);
        return;
    }
    if (g->request.ask != ASK_DEPLOY && g->request.ask != ASK_PLAN && wills_bar_return(m, d)) {
        deployment_free(d);
        ask_again(m, &g->request, "the output of a removed PE that is to come back", g->x);
        finish(g);
        return;
    }
    if (g->request.ask != ASK_DEPLOY) {
        running_plan(m, d, &g->request, g->x);
        finish(g);
        return;
    }
    const struct deployment *old = deployments_find(&m->deployments, d->name);
    uint64_t ids = 0;
    int status = 503;
    enum err e;
    if (old != NULL && !deployment_is_over(old)) {
        status = 409;
        e = fail_set(&f, ERR_EXISTS, "use `oxbow upgrade`, or `oxbow stop` first",
                     "topology %s is %s already", d->name, topology_state_name(old->state));
    } else {
        d->version = old != NULL ? old->last_version + 1 : 1;
        d->last_version = d->version;
        d->token.gen = old != NULL ? old->token.gen + 1 : 1;
        e = place(m, d, &ids, &f);
        if (e == ERR_OK) {
            e = deploy_fits(m, d, &f);
        }
        if (e == ERR_OK) {
            e = deploy_keep(m, d, ids, &f);
        }
    }
    if (e != ERR_OK) {
        api_fail(g->x, status, &f, d->name);
        deployment_free(d);
        finish(g);
        return;
    }
    log_event(LOG_INFO, "topology.planned", "topology=%s version=%" PRIu64 " op=%" PRIu64,
              d->name, d->version, d->token.op);
    deployments_put(&m->deployments, d);
    json_t *body = json_pack("{s:s, s:I, s:s}", "topology", d->name, "version",
                             (json_int_t)d->version, "state", topology_state_name(d->state));
    conduct_change(m, d, (struct change_event){.kind = CHANGE_IN_START}, NULL, NULL);
    api_json(g->x, 202, body);
    finish(g);
}

static struct deployment *parse(struct deploying *g)
{
    struct master *m = g->master;
    struct deployment *d = mem_alloc(sizeof *d);
    struct fail f = {0};
    struct diags diags = {0};
    d->state = TOPOLOGY_DEPLOYING;
    d->yaml = mem_dup_n(g->request.yaml, g->request.yaml_bytes);
    d->base_dir = mem_dup(g->request.base_dir);
    d->artifacts = json_dumps(g->request.artifacts, JSON_COMPACT | JSON_SORT_KEYS);
    d->created_at_us = clock_wall_us();
    if (types_catalog(&m->types, &m->members, g->request.artifacts, &d->catalog, &d->types, &f) !=
        ERR_OK) {
        api_fail(g->x, 422, &f, "");
        goto failed;
    }
    d->topology =
        topology_parse(d->yaml, g->request.yaml_bytes, d->base_dir, d->catalog, &diags);
    if (d->topology == NULL) {
        api_diags(g->x, &diags);
        goto failed;
    }
    diags_fini(&diags);
    d->name = mem_dup(d->topology->name);
    d->digest = mem_dup(d->topology->digest);
    return d;
failed:
    diags_fini(&diags);
    deployment_free(d);
    return NULL;
}

struct worker_info *deploy_workers(struct master *m, const struct deployment *except,
                                   uint32_t *count)
{
    struct worker_info *workers = mem_array(m->members.count, sizeof *workers);
    *count = 0;
    for (size_t i = 0; i < m->members.count; i++) {
        const struct member *w = m->members.items[i];
        uint32_t own = except != NULL ? deployment_slots(except, w->id) : 0;
        uint32_t next = except != NULL && except->next != NULL
                            ? deployment_slots(except->next, w->id)
                            : 0;
        own = own > next ? own : next; /* as status_slots_used counts it */
        if (w->state == MEMBER_UP) {
            struct worker_info *info = &workers[(*count)++];
            translate_worker(w, status_slots_used(&m->deployments, w->id) - own, info);
            info->draining = members_is_drained(&m->members, w->name);
        }
    }
    return workers;
}

/* @ids: how many ids the graph took. */
static enum err place(struct master *m, struct deployment *d, uint64_t *ids, struct fail *f)
{
    uint32_t count = 0;
    uint64_t first = 0;
    if (members_up(&m->members) == 0) {
        return fail_set(f, ERR_AGAIN, "start one: oxbow-worker --master HOST:PORT",
                        "no worker is connected");
    }
    enum err e = m->store->ops->reserve(m->store, 0, &first, f);
    if (e != ERR_OK) {
        return e;
    }
    struct worker_info *workers = deploy_workers(m, NULL, &count);
    uint64_t next = first;
    d->graph = physical_expand(d->topology, workers, count, &placer_default, &next, f);
    mem_free(workers);
    if (d->graph == NULL) {
        return f->code != ERR_OK ? f->code : ERR_LIMIT;
    }
    *ids = next - first;
    deployment_init_views(d);
    deploy_parts(m, d, next);
    return ERR_OK;
}

void deploy_parts(struct master *m, struct deployment *d, uint64_t next)
{
    struct change_part *parts = mem_array(d->graph->worker_count, sizeof *parts);
    size_t part_count = 0;
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        struct part *p = &d->parts[i];
        p->worker_id = d->graph->workers[i].id;
        p->incarnation = members_by_id(&m->members, p->worker_id)->incarnation;
        if (p->involved) {
            parts[part_count++] =
                (struct change_part){.worker_id = p->worker_id, .incarnation = p->incarnation};
        }
    }
    d->token.term = m->term;
    d->token.op = next; /* the two ids behind the graph's */
    d->token.epoch = next + 1;
    change_init(&d->change, d->token, parts, part_count, CHANGE_PLANNED);
    mem_free(parts);
}

enum err deploy_fits(struct master *m, struct deployment *d, struct fail *f)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < d->graph->worker_count; i++) {
        struct msg msg = {0};
        if (d->parts[i].involved) {
            e = translate_prepare(d, &m->members, i, &msg, f);
        }
        if (e == ERR_OK && d->parts[i].involved) {
            translate_prepare_fini(&msg);
        }
    }
    return e;
}

/* Who is told: a restarted master sends them GO again. */
static char *parts_text(const struct deployment *d)
{
    json_t *parts = json_object();
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        if (d->parts[i].involved) {
            json_object_set_new(parts, d->graph->workers[i].name,
                                json_integer((json_int_t)d->parts[i].incarnation));
        }
    }
    char *text = json_dumps(parts, JSON_COMPACT);
    json_decref(parts);
    return text;
}

/* Which key groups an instance owns, when some of its PE have moved.  Caller frees. */
static char *groups_text(const struct pgraph *g, const struct pinstance *n)
{
    static const char hex[] = "0123456789abcdef";
    char text[KEY_GROUPS / 4 + 1] = "";
    bool moved = false;
    for (unsigned group = 0; group < KEY_GROUPS; group++) {
        uint32_t owner = pgraph_owner(g, n->pe, group);
        moved = moved || owner != physical_owner(group, g->topology->pes[n->pe].parallelism);
        if (group % 4 == 0) {
            unsigned digit = 0;
            for (unsigned k = 0; k < 4; k++) {
                digit |= (pgraph_owner(g, n->pe, group + k) == n->index ? 8u : 0u) >> k;
            }
            text[group / 4] = hex[digit];
        }
    }
    return mem_dup(moved ? text : "");
}

/* fill_row - as the store keeps it; texts are borrowed from `d`.  free_row. */
static void fill_row(const struct deployment *d, struct store_version *v)
{
    const struct pgraph *g = d->graph;
    *v = (struct store_version){
        .topology = d->name, .version = d->version, .gen = d->token.gen, .op = d->token.op,
        .epoch = d->token.epoch, .state = (char *)(uintptr_t)topology_state_name(d->state),
        .yaml = d->yaml, .canonical = d->topology->canonical, .digest = d->digest,
        .base_dir = d->base_dir, .artifacts = d->artifacts, .types = d->types,
        .created_at_us = d->created_at_us,
        .instances = mem_array(g->instance_count, sizeof *v->instances),
        .instance_count = g->instance_count,
        .channels = mem_array(g->channel_count, sizeof *v->channels),
        .channel_count = g->channel_count};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pinstance *n = &g->instances[i];
        v->instances[i] = (struct store_instance){.id = n->id,
                                                  .pe = d->topology->pes[n->pe].name,
                                                  .index = n->index,
                                                  .worker = g->workers[n->worker].name,
                                                  .incarnation = d->parts[n->worker].incarnation,
                                                  .chain = n->chain,
                                                  .groups = groups_text(g, n)};
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        v->channels[i] = (struct store_channel){.id = c->id,
                                                .stream = d->topology->streams[c->stream].name,
                                                .from = g->instances[c->from].id,
                                                .to = g->instances[c->to].id,
                                                .fused = c->fused};
    }
}

static void free_row(struct store_version *v)
{
    mem_free(v->parts);
    mem_free(v->about);
    for (size_t i = 0; i < v->instance_count; i++) {
        mem_free(v->instances[i].groups);
    }
    mem_free(v->instances); /* the other texts inside are borrowed */
    mem_free(v->channels);
}

/* Ids first, then the plan: an id that a crash leaves unused is never met again. */
enum err deploy_keep(struct master *m, struct deployment *d, uint64_t ids, struct fail *f)
{
    uint64_t first = 0;
    enum err e = m->store->ops->reserve(m->store, ids + 2, &first, f);
    if (e != ERR_OK) {
        return e;
    }
    assert(first + ids == d->token.op);
    struct store_version v;
    fill_row(d, &v);
    if (d->upgrade != NULL) {
        v.base = d->upgrade->base;
        v.parts = parts_text(d);
        v.about = json_dumps(d->upgrade->about, JSON_COMPACT);
    }
    e = m->store->ops->plan(m->store, &v, f);
    free_row(&v);
    return e == ERR_OK && d->upgrade == NULL ? wills_load(m, f) : e; /* begun anew: none is left */
}

enum err deploy_recover(struct master *m, struct deployment *d, uint64_t ids, struct fail *f)
{
    uint64_t first = 0;
    enum err e = m->store->ops->reserve(m->store, ids + 2, &first, f);
    if (e != ERR_OK) {
        return e;
    }
    assert(first + ids == d->token.op);
    struct store_version v;
    fill_row(d, &v);
    v.from_epoch = d->keeping->from_epoch;
    e = m->store->ops->recover(m->store, &v, f);
    free_row(&v);
    return e == ERR_OK ? wills_load(m, f) : e;
}

enum err deploy_rollback(struct master *m, struct deployment *d, uint64_t base, uint64_t epoch,
                         bool keep_output, json_t *about TAKES, struct fail *f)
{
    uint64_t first = 0;
    enum err e = m->store->ops->reserve(m->store, 2, &first, f);
    if (e != ERR_OK) {
        json_decref(about);
        return e;
    }
    d->token.op = first;
    d->token.epoch = first + 1;
    struct store_version v;
    fill_row(d, &v);
    v.decided = true;
    v.base = base;
    v.parts = mem_dup("{}");
    v.about = json_dumps(about, JSON_COMPACT);
    e = m->store->ops->rollback(m->store, &v, epoch, keep_output, f);
    json_decref(about);
    free_row(&v);
    return e;
}
