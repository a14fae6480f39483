/* master/change_running.c - a running topology becomes another one: plan, begin, end, look back.
 *
 * Runs on:    the master loop.
 * Invariants: U1 of upgrade.h.  U4 one change of a topology at a time.  U5 what was replaced or
 *             given up lives on until the next tick: a caller further up may still look at it. */
#include "master/master.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/upgrade.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <string.h>

struct deployment *running_of_op(struct master *m, const char *name, uint64_t op)
{
    struct deployment *d = deployments_find(&m->deployments, name);
    return d != NULL && d->next != NULL && d->next->token.op == op ? d->next : d;
}

/* ---- plan */

/* What stands in the way of any change of `d`. */
static enum err check_running(const struct deployment *d, const char *name, struct fail *f)
{
    if (d == NULL) {
        return fail_set(f, ERR_NOTFOUND, "use `oxbow deploy`", "there is no topology %s", name);
    }
    if (d->state != TOPOLOGY_RUNNING || d->graph == NULL) {
        bool failed = d->state == TOPOLOGY_FAILED;
        return fail_set(f, ERR_DENIED,
                        deployment_is_over(d) ? "start it anew: oxbow deploy"
                                              : "only what runs can be changed while it runs",
                        "topology %s is %s%s%.200s", d->name, topology_state_name(d->state),
                        failed ? ": " : "", failed ? d->fail.what : "");
    }
    return ERR_OK;
}

/* It is not cut over but recovered, if some PE that it changes is stuck. */
static char *plan_lines(const struct plan *p, const json_t *repairs)
{
    char *text = plan_text(p);
    struct strbuf lines = {0};
    size_t i;
    const json_t *one;
    strbuf_text_add(&lines, text);
    json_array_foreach(repairs, i, one)
    {
        strbuf_printf(&lines,
                      "note: %s[%lld] is stuck: worker %s begins anew, and what it held is "
                      "recovered under the new version, with what depends on it\n",
                      json_string_value(json_object_get(one, "pe")),
                      (long long)json_integer_value(json_object_get(one, "instance")),
                      json_string_value(json_object_get(one, "worker")));
    }
    mem_free(text);
    return strbuf_take(&lines);
}

static json_t *plan_answer(const struct deployment *d, const struct plan *p)
{
    json_t *doc = plan_json(p);
    json_t *repairs = repair_of(d, p);
    char *text = plan_lines(p, repairs);
    struct fail f = {0};
    const char *where;
    enum err e = upgrade_refusal(p, &f, &where);
    json_object_set_new(doc, "text", status_text(text));
    json_object_set_new(doc, "refused", e != ERR_OK ? status_error(&f, where) : json_null());
    json_object_set_new(doc, "repairs", repairs != NULL ? repairs : json_array());
    mem_free(text);
    return doc;
}

static void answer_refusal(struct exchange *x, const struct deployment *d, const struct plan *p,
                           const struct fail *f, const char *where)
{
    json_t *error = status_error(f, where);
    json_object_set_new(error, "code", json_string(err_name(f->code)));
    json_t *body = json_pack("{s:o}", "error", error);
    json_object_set_new(body, "plan", plan_answer(d, p));
    api_json(x, 422, body);
}

static bool answer_repair(struct master *m, struct deployment *d, struct deployment *next,
                          struct plan *p, json_t *repairs, struct exchange *x)
{
    struct fail f = {0};
    const char *where = json_string_value(json_object_get(json_array_get(repairs, 0), "pe"));
    if (repair_check(m, d, p, repairs, &f) != ERR_OK) {
        answer_refusal(x, d, p, &f, where);
        return false;
    }
    if (repair_begin(m, d, next, p, repairs, x, &f) != ERR_OK) {
        api_fail(x, 503, &f, d->name);
        return false;
    }
    return true;
}

/* Return: true when `next` and `p` are in use from now on. */
static bool answer_upgrade(struct master *m, struct deployment *d, struct deployment *next,
                           struct plan *p, uint64_t first_id, const struct deploy_request *r,
                           struct exchange *x)
{
    struct fail f = {0};
    const char *where;
    if (r->digest != NULL && strcmp(r->digest, p->digest) != 0) {
        fail_set(&f, ERR_STALE, "look at the new plan: oxbow plan FILE",
                 "the plan is another one now: %s", p->digest);
        api_fail(x, 409, &f, d->name);
        return false;
    }
    if (plan_is_empty(p)) {
        api_json(x, 200, json_pack("{s:s, s:s, s:I}", "topology", d->name, "result", "no change",
                                   "version", (json_int_t)d->version));
        return false;
    }
    if (upgrade_refusal(p, &f, &where) != ERR_OK) {
        answer_refusal(x, d, p, &f, where);
        return false;
    }
    json_t *repairs = repair_of(d, p);
    if (repairs != NULL) {
        bool begun = answer_repair(m, d, next, p, repairs, x);
        json_decref(repairs);
        return begun;
    }
    if (running_begin(m, d, next, p, first_id, &f) != ERR_OK) {
        api_fail(x, 503, &f, d->name);
        return false;
    }
    json_t *body = running_answer(m, d, next, p);
    conduct_change(m, next, (struct change_event){.kind = CHANGE_IN_START}, NULL, NULL);
    api_json(x, 202, body);
    return true;
}

enum err running_plan_make(struct master *m, const struct deployment *d, struct deployment *next,
                           uint64_t asked_us, uint64_t timeout_us, struct plan **out,
                           uint64_t *first, struct fail *f)
{
    enum err e = m->store->ops->reserve(m->store, 0, first, f);
    if (e != ERR_OK) {
        return e;
    }
    uint64_t time_us = timeout_us != 0 ? timeout_us : next->topology->upgrade_timeout_us;
    next->upgrade = mem_alloc(sizeof *next->upgrade);
    *next->upgrade = (struct upgrade){.base = d->version,
                                      .asked_us = asked_us,
                                      .deadline_us = asked_us + time_us,
                                      .parsed_us = clock_now_us()};
    struct pause_model model = tally_model(&m->tally);
    struct plan_input in = {.running = d->graph,
                            .model = &model,
                            .next = next->topology,
                            .base_version = d->version,
                            .gen = d->token.gen,
                            .next_id = *first};
    struct worker_info *workers = deploy_workers(m, d, &in.worker_count);
    struct state_size *sizes = mem_array(d->graph->instance_count, sizeof *sizes);
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        sizes[i] = (struct state_size){.instance = d->instances[i].id,
                                       .bytes = d->instances[i].state_bytes};
    }
    in.workers = workers;
    in.sizes = sizes;
    in.size_count = d->graph->instance_count;
    *out = plan_make(&in);
    mem_free(workers);
    mem_free(sizes);
    next->upgrade->planned_us = clock_now_us();
    return ERR_OK;
}

json_t *running_answer(const struct master *m, const struct deployment *d,
                       const struct deployment *next, const struct plan *p)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:s, s:I}", "topology", d->name, "from",
                     (json_int_t)d->version, "version", (json_int_t)next->version, "op",
                     (json_int_t)next->token.op, "plan", p->digest, "event",
                     (json_int_t)events_last(&m->events));
}

void running_plan(struct master *m, struct deployment *next TAKES, const struct deploy_request *r,
                  struct exchange *x TAKES)
{
    struct deployment *d = deployments_find(&m->deployments, r->name);
    struct fail f = {0};
    uint64_t first = 0;
    enum err e = check_running(d, r->name, &f);
    if (e == ERR_OK && strcmp(next->name, d->name) != 0) {
        e = fail_set(&f, ERR_INVALID, "name it as the one that runs",
                     "the topology given is %s, not %s", next->name, d->name);
    }
    struct plan *p = NULL;
    if (e == ERR_OK) {
        e = running_plan_make(m, d, next, r->asked_us, r->timeout_us, &p, &first, &f);
    }
    if (e != ERR_OK) {
        api_fail(x, e == ERR_NOTFOUND ? 404 : e == ERR_INVALID ? 422 : 409, &f, r->name);
        deployment_free(next);
        return;
    }
    bool used = false;
    if (r->ask == ASK_PLAN) {
        api_json(x, 200, plan_answer(d, p));
    } else {
        used = answer_upgrade(m, d, next, p, first, r, x);
    }
    if (!used) {
        plan_free(p);
        deployment_free(next);
    }
}

/* Everything that can be refused is refused before `next` is hung up. */
enum err running_begin(struct master *m, struct deployment *d, struct deployment *next,
                       struct plan *p, uint64_t first_id, struct fail *f)
{
    next->upgrade->plan = p;
    next->upgrade->about = upgrade_about(p);
    next->drops = json_incref(json_object_get(next->upgrade->about, "drops"));
    next->graph = p->to;
    next->version = d->last_version + 1;
    next->last_version = next->version;
    next->token.gen = d->token.gen;
    deployment_init_views(next);
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        for (uint32_t k = 0; k < next->graph->worker_count; k++) {
            if (d->parts[i].used && next->graph->workers[k].id == d->parts[i].worker_id) {
                next->parts[k].involved = true; /* also when it is not concerned: it counts
                                                 * versions, and refuses a plan from another */
            }
        }
    }
    deploy_parts(m, next, p->next_id);
    enum err e = deploy_fits(m, next, f);
    if (e == ERR_OK) {
        e = deploy_keep(m, next, p->next_id - first_id, f);
    }
    if (e == ERR_OK) {
        d->next = next;
        keeping_planned(d);
        d->last_version = next->version;
        log_event(LOG_INFO, "topology.changes",
                  "topology=%s from=%" PRIu64 " to=%" PRIu64 " op=%" PRIu64, d->name, d->version,
                  next->version, next->token.op);
    } else {
        next->upgrade->plan = NULL; /* the caller's again, with its graph */
        deployment_drop_graph(next);
    }
    return e;
}

/* ---- over */

static void bury(struct master *m, struct deployment *d)
{
    d->next = m->replaced;
    m->replaced = d;
}

void running_sweep(struct master *m)
{
    while (m->replaced != NULL) {
        struct deployment *d = m->replaced;
        m->replaced = d->next;
        d->next = NULL;
        deployment_free(d);
    }
}

static void resume(void *arg)
{
    ask_resume(arg);
}

static void keep_receipt(struct master *m, struct deployment *next, const char *result)
{
    struct fail f = {0};
    json_t *receipt = upgrade_receipt(next, result);
    char *text = json_dumps(receipt, JSON_COMPACT | JSON_REAL_PRECISION(10));
    if (m->store->ops->receipt(m->store, next->name, next->version, text, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.receipt", "topology=%s what=\"%s\"", next->name, f.what);
    }
    log_event(LOG_INFO, "topology.receipt", "topology=%s receipt=%s", next->name, text);
    tell_receipt(m, next, receipt);
    tally_count(&m->tally, receipt);
    tally_learn(&m->tally, json_object_get(next->upgrade->about, "features"), receipt);
    mem_free(text);
    json_decref(receipt);
}

/* Workers that hold nothing of the new version forget the topology. */
static void retire_elsewhere(struct master *m, const struct deployment *next)
{
    for (uint32_t i = 0; i < next->graph->worker_count; i++) {
        const struct part *p = &next->parts[i];
        const struct msg stop = {.kind = M_STOP,
                                 .STOP = {m->term, next->name, next->token.gen, true, true}};
        if (p->involved && !p->used) {
            control_send(m, p->worker_id, p->incarnation, &stop);
        }
    }
}

static void keep_carried(struct master *m, struct deployment *next, const struct deployment *d)
{
    struct fail f = {0};
    carry_over(next, d);
    json_t *carried = carry_json(next);
    char *text = json_dumps(carried, JSON_COMPACT);
    if (m->store->ops->carry(m->store, next->name, text, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.carry", "topology=%s what=\"%s\"", next->name, f.what);
    }
    mem_free(text);
    json_decref(carried);
}

void running_over(struct master *m, struct deployment *next, const char *result)
{
    if (next->upgrade == NULL) {
        return; /* deployed */
    }
    struct fail f = {0};
    struct deployment *d = deployments_find(&m->deployments, next->name);
    bool aborted = strcmp(result, "aborted") == 0;
    next->upgrade->silent = strcmp(result, "failed") == 0;
    next->timing = false;
    keep_receipt(m, next, result);
    loop_post(m->loop, resume, m); /* who waits for its end */
    if (next->upgrade->plan != NULL) { /* it borrows from both versions */
        upgrade_keep_covering(next, aborted || d == next ? NULL : d);
        (void)plan_take_graph(next->upgrade->plan);
        plan_free(next->upgrade->plan);
        next->upgrade->plan = NULL;
    }
    if (aborted) {
        if (m->store->ops->state(m->store, next->name, next->version, "aborted", NULL, NULL, &f) !=
            ERR_OK) {
            log_event(LOG_ERROR, "store.state", "topology=%s what=\"%s\"", next->name, f.what);
        }
        d->next = NULL;
        keeping_aborted(m, d);
        bury(m, next);
        return;
    }
    retire_elsewhere(m, next);
    if (d != next) { /* restored after the decision, it is all there is: nothing to add up */
        keep_carried(m, next, d);
    }
    for (size_t i = 0; d != next && i < m->deployments.count; i++) {
        if (m->deployments.items[i] == d) {
            m->deployments.items[i] = next;
            keeping_hand_on(m, d, next);
            bury(m, d);
            break;
        }
    }
}

/* ---- looking back */

struct looking {
    json_t *list;
    json_t *recoveries; /* receipts, oldest first; each of a version that is its "to" */
    bool receipts;
};

static void add_recovery(void *arg, const char *receipt)
{
    struct looking *l = arg;
    json_t *r = json_loads(receipt, 0, NULL);
    if (r != NULL) {
        json_array_append_new(l->recoveries, r);
    }
}

static json_t *recoveries_of(const struct looking *l, uint64_t version)
{
    json_t *list = json_array(), *r;
    size_t i;
    json_array_foreach(l->recoveries, i, r)
    {
        if (json_integer_value(json_object_get(r, "to")) == (json_int_t)version) {
            json_array_append(list, r);
        }
    }
    return list;
}

static void add_row(void *arg, const struct store_version *v)
{
    struct looking *l = arg;
    json_t *receipt = v->receipt[0] != '\0' ? json_loads(v->receipt, 0, NULL) : NULL;
    if (receipt == NULL && v->base != 0 && strcmp(v->state, "aborted") == 0) {
        receipt = json_pack("{s:s, s:I, s:I, s:s, s:{s:s, s:s, s:s}}", "topology", v->topology,
                            "from", (json_int_t)v->base, "to", (json_int_t)v->version, "result",
                            "aborted", "error", "message",
                            "the master was restarted before the change was decided", "hint",
                            "upgrade again", "where", "");
    }
    json_t *recoveries = recoveries_of(l, v->version);
    if (l->receipts) {
        if (receipt != NULL) {
            json_array_append_new(l->list, receipt);
        }
        json_array_extend(l->list, recoveries);
        json_decref(recoveries);
        return;
    }
    json_array_append_new(
        l->list, json_pack("{s:I, s:I, s:s, s:b, s:s, s:I, s:o, s:o}", "version",
                           (json_int_t)v->version, "from", (json_int_t)v->base, "state", v->state,
                           "taken", (int)v->decided, "digest", v->digest, "created_at_us",
                           (json_int_t)v->created_at_us, "receipt",
                           receipt != NULL ? receipt : json_null(), "recoveries", recoveries));
}

void running_history(struct master *m, const char *name, bool receipts, struct exchange *x TAKES)
{
    struct looking l = {
        .list = json_array(), .recoveries = json_array(), .receipts = receipts};
    struct fail f = {0};
    enum err e = m->store->ops->recoveries(m->store, name, add_recovery, &l, &f);
    if (e == ERR_OK) {
        e = m->store->ops->history(m->store, name, add_row, &l, &f);
    }
    json_decref(l.recoveries);
    if (e != ERR_OK) {
        json_decref(l.list);
        api_fail(x, 503, &f, name);
        return;
    }
    api_json(x, 200, l.list);
}
