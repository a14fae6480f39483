/* master/ask.c - what is asked of running topologies: now, after what is under way, or never.
 *
 *   asked --nothing under way--------------------------> resolved to a YAML, then deploy.c
 *         --a change that is not decided--> that one is aborted, then as above
 *         --a change that is decided------> waits; when that is over, asked again on the new base;
 *                                           when its own time is over: answered with 504
 *   waiting --a newer upgrade of the same topology--> answered with 409
 *
 * A drain is asked of a worker: it waits for all topologies there, and never aborts what others
 * have asked for.
 *
 * Owns:       struct waiting.
 * Runs on:    the master loop.
 * Invariants: A1 what waits is not resolved: `scale` and `rollback` mean the version they find when
 *             their turn comes.  A2 at most CHANGES_WAITING_MAX wait.  A3 a request whose client
 *             has left is not carried out: nobody was told of it. */
#include "master/master.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/upgrade.h"
#include "topology/edit.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct waiting {
    struct waiting *next;
    struct deploy_request request; /* of a topology; without a name: */
    char *worker;                  /* a drain */
    struct exchange *x;
    uint64_t until_us;
};

void deploy_request_fini(struct deploy_request *r)
{
    mem_free(r->yaml);
    mem_free(r->base_dir);
    mem_free(r->name);
    mem_free(r->digest);
    json_decref(r->artifacts);
    json_decref(r->scale);
    *r = (struct deploy_request){0};
}

static void waiting_free(struct waiting *w)
{
    deploy_request_fini(&w->request);
    mem_free(w->worker);
    mem_free(w);
}

void ask_fini(struct master *m)
{
    while (m->waiting != NULL) {
        struct waiting *w = m->waiting;
        m->waiting = w->next;
        waiting_free(w); /* its exchange went with the server */
    }
}

/* ---- waiting */

static bool is_newer_of(const struct waiting *w, const struct deploy_request *r)
{
    return w->worker == NULL && w->request.ask != ASK_PLAN && r->ask != ASK_PLAN &&
           strcmp(w->request.name, r->name) == 0;
}

/* Older ones that would only be replaced give way at once. */
static void displace(struct master *m, const struct deploy_request *r)
{
    struct fail f = {0};
    fail_set(&f, ERR_STALE, "see `oxbow history`", "a newer upgrade took its place");
    for (struct waiting **at = &m->waiting; *at != NULL;) {
        struct waiting *w = *at;
        if (!is_newer_of(w, r)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        m->waiting_count--;
        api_fail(w->x, 409, &f, w->request.name);
        waiting_free(w);
    }
}

static void put(struct master *m, struct waiting *w TAKES)
{
    struct fail f = {0};
    if (m->waiting_count >= CHANGES_WAITING_MAX) { /* A2 */
        fail_set(&f, ERR_FULL, "try again in a moment", "too many changes are waiting");
        api_fail(w->x, 503, &f, "");
        waiting_free(w);
        return;
    }
    struct waiting **at = &m->waiting;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = w;
    m->waiting_count++;
}

static uint64_t time_of(const struct deployment *d, uint64_t timeout_us)
{
    return timeout_us != 0 ? timeout_us
           : d != NULL && d->topology != NULL ? d->topology->upgrade_timeout_us
                                              : UPGRADE_TIMEOUT_US;
}

bool ask_must_wait(struct master *m, struct deploy_request *r, struct exchange *x)
{
    struct deployment *d = deployments_find(&m->deployments, r->name);
    if (d == NULL || d->next == NULL) {
        return false;
    }
    if (!change_is_decided(&d->next->change)) {
        if (r->ask != ASK_PLAN) {
            conduct_supersede(m, d, "a newer upgrade took its place");
        }
        return false;
    }
    if (r->ask != ASK_PLAN) {
        displace(m, r);
    }
    struct waiting *w = mem_alloc(sizeof *w);
    *w = (struct waiting){.request = *r,
                          .x = x,
                          .until_us = r->asked_us + time_of(d, r->timeout_us)};
    *r = (struct deploy_request){0};
    put(m, w);
    return true;
}

void ask_again(struct master *m, struct deploy_request *r TAKES, const char *what,
               struct exchange *x TAKES)
{
    struct deployment *d = deployments_find(&m->deployments, r->name);
    struct waiting *w = mem_alloc(sizeof *w);
    *w = (struct waiting){.request = *r,
                          .x = x,
                          .until_us = r->asked_us + time_of(d, r->timeout_us)};
    *r = (struct deploy_request){0};
    if (clock_now_us() < w->until_us) {
        put(m, w);
        return;
    }
    struct fail f = {0};
    fail_set(&f, ERR_TIMEOUT, "see `oxbow status`, then try again", "it would still wait for %s",
             what);
    api_fail(w->x, 504, &f, w->request.name);
    waiting_free(w);
}

static bool is_changing(const struct master *m, const struct waiting *w)
{
    if (w->worker == NULL) {
        const struct deployment *d = deployments_find(&m->deployments, w->request.name);
        return d != NULL && d->next != NULL && change_is_decided(&d->next->change);
    }
    return drain_must_wait(m, w->worker);
}

static void give_up(struct waiting *w TAKES)
{
    struct fail f = {0};
    fail_set(&f, ERR_TIMEOUT, "see `oxbow status`, then try again",
             "another change was under way for all the time given");
    api_fail(w->x, 504, &f, w->worker != NULL ? w->worker : w->request.name);
    waiting_free(w);
}

void ask_resume(struct master *m)
{
    struct waiting *w = m->waiting;
    uint64_t now_us = clock_now_us();
    m->waiting = NULL; /* who must wait again comes behind */
    m->waiting_count = 0;
    while (w != NULL) {
        struct waiting *next = w->next;
        w->next = NULL;
        if (exchange_is_gone(w->x)) { /* A3 */
            give_up(w);
        } else if (is_changing(m, w)) {
            if (now_us < w->until_us) {
                put(m, w);
            } else {
                give_up(w);
            }
        } else if (w->worker != NULL) {
            drain_start(m, w->worker, w->until_us - clock_now_us(), w->x);
            waiting_free(w);
        } else {
            ask_change(m, &w->request, w->x);
            waiting_free(w);
        }
        w = next;
    }
}

void ask_drain(struct master *m, const char *worker, uint64_t timeout_us, struct exchange *x TAKES)
{
    uint64_t time_us = timeout_us != 0 ? timeout_us : UPGRADE_TIMEOUT_US;
    if (!drain_must_wait(m, worker)) {
        drain_start(m, worker, time_us, x);
        return;
    }
    struct waiting *w = mem_alloc(sizeof *w);
    *w = (struct waiting){
        .worker = mem_dup(worker), .x = x, .until_us = clock_now_us() + time_us};
    put(m, w);
}

/* ---- resolving */

static void take_text(struct deploy_request *r, const char *yaml, const char *base_dir,
                      const char *artifacts)
{
    mem_free(r->yaml);
    mem_free(r->base_dir);
    json_decref(r->artifacts);
    r->yaml = mem_dup(yaml);
    r->yaml_bytes = strlen(yaml);
    r->base_dir = mem_dup(base_dir);
    r->artifacts = json_loads(artifacts, 0, NULL);
}

static enum err resolve_scale(const struct deployment *d, struct deploy_request *r,
                              struct fail *f)
{
    const char *pe;
    json_t *count;
    enum err e = ERR_OK;
    take_text(r, d->yaml, d->base_dir, d->artifacts);
    json_object_foreach(r->scale, pe, count)
    {
        char *edited = NULL;
        if (e == ERR_OK) {
            e = edit_parallelism(r->yaml, r->yaml_bytes, pe,
                                 (uint32_t)json_integer_value(count), &edited, f);
        }
        if (edited != NULL) {
            mem_free(r->yaml);
            r->yaml = edited;
            r->yaml_bytes = strlen(edited);
        }
    }
    return e;
}

struct looking {
    uint64_t wanted;   /* version */
    json_t *bases;     /* version -> [base, digest] */
    struct deploy_request *request;
    bool found;
};

static void find_row(void *arg, const struct store_version *v)
{
    struct looking *l = arg;
    if (v->version == l->wanted && v->decided) {
        take_text(l->request, v->yaml, v->base_dir, v->artifacts);
        l->found = true;
    }
}

static void note_base(void *arg, const struct store_version *v)
{
    struct looking *l = arg;
    char key[24];
    snprintf(key, sizeof key, "%" PRIu64, v->version);
    json_object_set_new(l->bases, key,
                        json_pack("[I, s]", (json_int_t)v->base, v->digest));
}

/* A drain makes a version of the same content. */
enum err ask_version_before(struct master *m, const struct deployment *d, uint64_t *version,
                            char digest[DIGEST_HEX_BYTES], struct fail *f)
{
    struct looking l = {.bases = json_object()};
    enum err e = m->store->ops->history(m->store, d->name, note_base, &l, f);
    uint64_t at = d->version;
    bool found = false;
    for (size_t i = 0; i <= json_object_size(l.bases) && at != 0 && !found; i++) {
        char key[24];
        snprintf(key, sizeof key, "%" PRIu64, at);
        const json_t *row = json_object_get(l.bases, key);
        const char *text = json_string_value(json_array_get(row, 1));
        found = text != NULL && strcmp(text, d->digest) != 0;
        if (found) {
            *version = at;
            snprintf(digest, DIGEST_HEX_BYTES, "%s", text);
        }
        at = (uint64_t)json_integer_value(json_array_get(row, 0));
    }
    json_decref(l.bases);
    if (e == ERR_OK && !found) {
        e = fail_set(f, ERR_NOTFOUND, "see `oxbow history`",
                     "there is no version before the first of topology %s", d->name);
    }
    return e;
}

static enum err resolve_rollback(struct master *m, const struct deployment *d,
                                 struct deploy_request *r, struct fail *f)
{
    struct looking l = {.request = r, .wanted = r->to};
    char digest[DIGEST_HEX_BYTES];
    enum err e = r->to != 0 ? ERR_OK : ask_version_before(m, d, &l.wanted, digest, f);
    if (e == ERR_OK) {
        e = m->store->ops->history(m->store, d->name, find_row, &l, f);
    }
    if (e == ERR_OK && !l.found) {
        e = fail_set(f, ERR_NOTFOUND, "see `oxbow history`",
                     "there is no such version of topology %s", d->name);
    }
    return e;
}

void ask_change(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES)
{
    struct fail f = {0};
    enum err e = ERR_OK;
    if (ask_must_wait(m, r, x)) {
        return;
    }
    struct deployment *d = deployments_find(&m->deployments, r->name);
    if (d == NULL) {
        e = fail_set(&f, ERR_NOTFOUND, "use `oxbow deploy`", "there is no topology %s", r->name);
    } else if (r->ask == ASK_SCALE) {
        e = resolve_scale(d, r, &f);
    } else if (r->ask == ASK_ROLLBACK && r->to_checkpoint) {
        rollback_start(m, r, x);
        return;
    } else if (r->ask == ASK_ROLLBACK) {
        e = resolve_rollback(m, d, r, &f);
    }
    if (e != ERR_OK) {
        api_fail(x, e == ERR_NOTFOUND ? 404 : e == ERR_INVALID ? 422 : 503, &f, r->name);
        deploy_request_fini(r);
        return;
    }
    deploy_start(m, r, x);
    *r = (struct deploy_request){0};
}
