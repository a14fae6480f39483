/* master/drain.c - a worker is emptied: one change for each topology that has instances there.
 *
 * Runs on:    the master loop.
 * Invariants: W1 every topology is planned before any begins: a drain that one of them refuses
 *             changes nothing.  W2 the mark is durable before the first change begins, and stays,
 *             whatever becomes of the changes, until undrain. */
#include "master/master.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/upgrade.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <string.h>

struct draining { /* one topology */
    struct deployment *d, *next;
    struct plan *plan;
    uint64_t first_id;
};

/* What has instances there and does not end anyway. */
static bool is_there(const struct deployment *d, uint64_t worker_id)
{
    return !deployment_is_over(d) && d->state != TOPOLOGY_DRAINING &&
           (deployment_slots(d, worker_id) > 0 ||
            (d->next != NULL && deployment_slots(d->next, worker_id) > 0));
}

bool drain_must_wait(const struct master *m, const char *worker)
{
    const struct member *w = members_find(&m->members, worker);
    for (size_t i = 0; w != NULL && i < m->deployments.count; i++) {
        const struct deployment *d = m->deployments.items[i];
        if (is_there(d, w->id) && (d->next != NULL || d->state == TOPOLOGY_DEPLOYING)) {
            return true;
        }
    }
    return false;
}

/* The same version once more, to be placed anew. */
static enum err again(struct master *m, const struct deployment *d, struct deployment **out,
                      struct fail *f)
{
    struct diags diags = {0};
    struct deployment *next = mem_alloc(sizeof *next);
    next->state = TOPOLOGY_DEPLOYING;
    next->name = mem_dup(d->name);
    next->yaml = mem_dup(d->yaml);
    next->base_dir = mem_dup(d->base_dir);
    next->artifacts = mem_dup(d->artifacts);
    next->types = mem_dup(d->types);
    next->digest = mem_dup(d->digest);
    next->created_at_us = clock_wall_us();
    enum err e = types_catalog_again(&m->types, d->types, &next->catalog, f);
    if (e == ERR_OK) {
        next->topology =
            topology_parse(next->yaml, strlen(next->yaml), next->base_dir, next->catalog, &diags);
    }
    if (e == ERR_OK && next->topology == NULL) {
        e = fail_set(f, ERR_INVALID, "", "its YAML cannot be read again");
    }
    diags_fini(&diags);
    if (e != ERR_OK) {
        deployment_free(next);
        return e;
    }
    *out = next;
    return ERR_OK;
}

static enum err plan_one(struct master *m, struct deployment *d, uint64_t timeout_us,
                         struct draining *g, struct fail *f)
{
    const char *where = "";
    g->d = d;
    if (d->state != TOPOLOGY_RUNNING || d->graph == NULL) {
        return fail_set(f, ERR_DENIED, "wait, or stop it", "topology %s is %s", d->name,
                        topology_state_name(d->state));
    }
    enum err e = again(m, d, &g->next, f);
    if (e == ERR_OK) {
        e = running_plan_make(m, d, g->next, clock_now_us(), timeout_us, &g->plan, &g->first_id,
                              f);
    }
    if (e == ERR_OK) {
        struct fail why = {0};
        e = upgrade_refusal(g->plan, &why, &where);
        if (e != ERR_OK) {
            fail_set(f, e, why.hint, "topology %s: %.300s", d->name, why.what);
        }
    }
    return e;
}

static void drop_one(struct draining *g)
{
    plan_free(g->plan);
    deployment_free(g->next);
    *g = (struct draining){0};
}

/* What began before it has taken ids and slots. */
static enum err plan_anew(struct master *m, struct draining *g, struct fail *f)
{
    struct deployment *d = g->d;
    uint64_t asked_us = g->next->upgrade->asked_us;
    uint64_t timeout_us = g->next->upgrade->deadline_us - asked_us;
    uint64_t now = 0;
    enum err e = m->store->ops->reserve(m->store, 0, &now, f);
    if (e != ERR_OK || now == g->first_id) {
        return e;
    }
    drop_one(g);
    return plan_one(m, d, timeout_us, g, f);
}

static json_t *begin_one(struct master *m, struct draining *g)
{
    struct fail f = {0};
    if (plan_is_empty(g->plan)) {
        drop_one(g);
        return NULL;
    }
    if (plan_anew(m, g, &f) != ERR_OK ||
        running_begin(m, g->d, g->next, g->plan, g->first_id, &f) != ERR_OK) {
        json_t *error = status_error(&f, g->d->name);
        json_object_set_new(error, "code", json_string(err_name(f.code)));
        json_t *one = json_pack("{s:s, s:o}", "topology", g->d->name, "error", error);
        drop_one(g);
        return one;
    }
    json_t *one = running_answer(m, g->d, g->next, g->plan);
    conduct_change(m, g->next, (struct change_event){.kind = CHANGE_IN_START}, NULL, NULL);
    *g = (struct draining){0};
    return one;
}

static enum err mark(struct master *m, const char *name, bool drained, struct fail *f)
{
    enum err e = m->store->ops->drained(m->store, name, drained, f);
    if (e == ERR_OK) {
        members_set_drained(&m->members, name, drained);
    }
    return e;
}

void drain_start(struct master *m, const char *worker, uint64_t timeout_us,
                 struct exchange *x TAKES)
{
    struct fail f = {0};
    const struct member *w = members_find(&m->members, worker);
    if (w == NULL) {
        fail_set(&f, ERR_NOTFOUND, "list them with `oxbow workers`", "there is no worker %s",
                 worker);
        api_fail(x, 404, &f, worker);
        return;
    }
    struct draining *list = mem_array(m->deployments.count, sizeof *list);
    size_t count = 0;
    enum err e = ERR_OK;
    bool before = members_is_drained(&m->members, worker);
    members_set_drained(&m->members, worker, true); /* so that plans see it */
    for (size_t i = 0; e == ERR_OK && i < m->deployments.count; i++) { /* W1 */
        struct deployment *d = m->deployments.items[i];
        if (is_there(d, w->id)) {
            e = plan_one(m, d, timeout_us, &list[count++], &f);
        }
    }
    int status = 422;
    if (e == ERR_OK) {
        e = mark(m, worker, true, &f); /* W2 */
        status = 503;
    }
    if (e != ERR_OK) {
        members_set_drained(&m->members, worker, before);
        for (size_t i = 0; i < count; i++) {
            drop_one(&list[i]);
        }
        api_fail(x, status, &f, worker);
    } else {
        json_t *changes = json_array();
        log_event(LOG_INFO, "worker.drain", "worker=%s topologies=%zu", worker, count);
        tell_worker(m, w);
        for (size_t i = 0; i < count; i++) {
            json_t *one = begin_one(m, &list[i]);
            if (one != NULL) {
                json_array_append_new(changes, one);
            }
        }
        api_json(x, json_array_size(changes) > 0 ? 202 : 200,
                 json_pack("{s:s, s:b, s:o}", "worker", worker, "draining", 1, "changes",
                           changes));
    }
    mem_free(list);
}

void drain_end(struct master *m, const char *worker, struct exchange *x TAKES)
{
    struct fail f = {0};
    const struct member *w = members_find(&m->members, worker);
    if (w == NULL && !members_is_drained(&m->members, worker)) {
        fail_set(&f, ERR_NOTFOUND, "list them with `oxbow workers`", "there is no worker %s",
                 worker);
        api_fail(x, 404, &f, worker);
        return;
    }
    if (mark(m, worker, false, &f) != ERR_OK) {
        api_fail(x, 503, &f, worker);
        return;
    }
    if (w != NULL) {
        tell_worker(m, w);
    }
    api_json(x, 200, json_pack("{s:s, s:b}", "worker", worker, "draining", 0));
}
