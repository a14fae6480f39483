/* master/repair.c - an upgrade that gives other code to a PE that is stuck: by recovery.
 *
 *   planned as any upgrade -> its code changes, and an instance of it is stuck, which never comes
 *   to the place where it could cut -> what stands in the way? refused, nothing has changed
 *   -> the new version is decided in one commit, nothing is prepared -> the stuck one's worker is
 *   told to begin anew (RENEW): only the end of its process ends the call -> from here on a
 *   recovery of the new version from the newest checkpoint (recover.c): lost is what that worker
 *   held, and all whose code changes; what neither depends on them nor has to feed them goes on.
 *
 * Why:        a thread cannot be taken out of foreign code.  Left behind, it may wake at any time
 *             and write to whatever it was given: so nothing of its process may be gone on with.
 *             The cut of an ordinary change is replaced by the checkpoint, which is one as well:
 *             all that has other code goes back to it, together with all that depends on it.
 * Runs on:    the master loop.
 * Invariants: R1 nothing has changed when it is refused.  R2 the call that hangs has ended before
 *             the instance that replaces it is made: a worker that was told to begin anew takes
 *             part in nothing until another process has its name.
 *             R3 it changes what PEs do, not how many instances and channels there are. */
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/master.h"
#include "master/upgrade.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <string.h>

/* ---- is it one? */

static bool changes_code(const struct plan *p, uint32_t old_pe)
{
    uint32_t pe = p->diff->pe_new[old_pe];
    return pe != INDEX_NONE && !pe_goes_on(&p->diff->from->pes[old_pe], &p->diff->to->pes[pe]);
}

json_t *repair_of(const struct deployment *d, const struct plan *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < d->graph->instance_count && p->match != NULL; i++) {
        const struct instance_view *v = &d->instances[i];
        const struct pinstance *n = &d->graph->instances[v->number];
        if (v->state == INSTANCE_STUCK && changes_code(p, n->pe)) {
            json_array_append_new(
                list, json_pack("{s:s, s:i, s:s}", "pe", d->topology->pes[n->pe].name, "instance",
                                (int)n->index, "worker", d->graph->workers[n->worker].name));
        }
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- what stands in the way */

/* R3 */
static bool is_same_shape(const struct plan *p)
{
    const struct match *m = p->match;
    bool same = m->from->instance_count == m->to->instance_count;
    for (uint32_t i = 0; same && i < m->to->instance_count; i++) {
        same = m->instance_old[i] != INDEX_NONE;
    }
    return same;
}

static bool is_same_wiring(const struct plan *p)
{
    const struct match *m = p->match;
    bool same = m->from->channel_count == m->to->channel_count;
    for (uint32_t i = 0; same && i < m->to->channel_count; i++) {
        same = m->channel_old[i] != INDEX_NONE;
    }
    return same;
}

/* Which topology would the end of that process stop for good?  NULL: none. */
static const char *without_checkpoints(const struct master *m, uint64_t worker_id)
{
    for (size_t i = 0; i < m->deployments.count; i++) {
        const struct deployment *d = m->deployments.items[i];
        if (!deployment_is_over(d) && d->topology != NULL &&
            d->topology->checkpoint_every_us == 0 && deployment_slots(d, worker_id) > 0) {
            return d->name;
        }
    }
    return NULL;
}

static enum err check_workers(struct master *m, const struct deployment *d, struct fail *f)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        const struct instance_view *v = &d->instances[i];
        const struct pinstance *n = &d->graph->instances[v->number];
        const struct part *p = &d->parts[n->worker];
        const struct member *w = members_by_id(&m->members, p->worker_id);
        if (v->state != INSTANCE_STUCK || w == NULL || w->incarnation != p->incarnation) {
            continue;
        }
        if (!w->renews) {
            return fail_set(f, ERR_DENIED, "end that program and start it again; it is recovered",
                            "PE %s[%u] is stuck, and worker %s, inside a program, cannot begin "
                            "anew by itself",
                            d->topology->pes[n->pe].name, n->index, w->name);
        }
        const char *other = without_checkpoints(m, w->id);
        if (other != NULL) {
            return fail_set(f, ERR_DENIED, "stop that one first, or move it: oxbow drain",
                            "PE %s[%u] is stuck, so worker %s has to begin anew, which topology %s "
                            "would not survive: it takes no checkpoints",
                            d->topology->pes[n->pe].name, n->index, w->name, other);
        }
    }
    return ERR_OK;
}

enum err repair_check(struct master *m, const struct deployment *d, const struct plan *p,
                      const json_t *repairs, struct fail *f)
{
    const json_t *first = json_array_get(repairs, 0);
    const char *pe = json_string_value(json_object_get(first, "pe"));
    if (d->keeping == NULL) {
        return fail_set(f, ERR_DENIED, "stop it --now and deploy it anew",
                        "PE %s is stuck and topology %s takes no checkpoints to go back to", pe,
                        d->name);
    }
    if (!is_same_shape(p)) {
        return fail_set(f, ERR_DENIED, "first repair this PE by a change of its own",
                        "PE %s is stuck: a change that replaces it cannot add, remove or move "
                        "instances as well",
                        pe);
    }
    return check_workers(m, d, f);
}

/* ---- begin */

static void take_newest(void *arg, const struct store_checkpoint *c)
{
    uint64_t *epoch = arg;
    *epoch = *epoch == 0 ? c->epoch : *epoch;
}

/* Nothing is under way but what recover.c will begin. */
static void settle_change(struct master *m, struct deployment *next)
{
    struct change_part *parts = mem_array(next->graph->worker_count, sizeof *parts);
    size_t count = 0;
    for (uint32_t i = 0; i < next->graph->worker_count; i++) {
        const struct part *p = &next->parts[i];
        if (p->used) {
            parts[count++] = (struct change_part){p->worker_id, p->incarnation, true, true};
        }
    }
    next->token.term = m->term;
    change_init(&next->change, next->token, parts, count, CHANGE_DONE);
    mem_free(parts);
}

/* Whose code or policy is another one: they go back, so that no old one meets what a new one has
 * made. */
static bool *find_repaired(const struct plan *p)
{
    bool *repaired = mem_array(p->diff->to->pe_count, sizeof *repaired);
    for (size_t i = 0; i < p->diff->count; i++) {
        const struct diff_item *c = &p->diff->items[i];
        if (change_is_pe(c->kind) && c->new != INDEX_NONE) {
            repaired[c->new] = true;
        }
    }
    return repaired;
}

/* R2: whatever is stuck there, named or not, keeps its worker from taking part in a recovery. */
static void renew_workers(struct master *m, const struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        const struct instance_view *v = &d->instances[i];
        const struct part *p = &d->parts[d->graph->instances[v->number].worker];
        struct member *w = members_by_id(&m->members, p->worker_id);
        if (v->state == INSTANCE_STUCK && w != NULL && w->renews &&
            w->incarnation == p->incarnation && w->renewing != w->incarnation) {
            w->renewing = w->incarnation;
            repair_renew(m, w);
        }
    }
}

void repair_renew(struct master *m, const struct member *w)
{
    const struct msg renew = {
        .kind = M_RENEW, .RENEW = {m->term, w->renewing, "a PE here is stuck, and is replaced"}};
    log_event(LOG_WARN, "worker.renews", "worker=%s incarnation=%" PRIx64, w->name, w->renewing);
    control_send(m, w->id, w->renewing, &renew);
}

static void become_next(struct deployment *d, struct deployment *next, struct plan *p)
{
    upgrade_free(next->upgrade, p->to);
    next->upgrade = NULL;
    next->graph = p->to;
    next->version = d->last_version + 1;
    next->last_version = next->version;
    next->token.gen = d->token.gen;
    next->state = TOPOLOGY_RECOVERING;
    next->back.from = d->version;
    deployment_init_views(next);
    for (uint32_t i = 0; i < next->graph->worker_count; i++) {
        const struct part *was = deployment_part(d, next->graph->workers[i].id);
        next->parts[i].worker_id = next->graph->workers[i].id;
        next->parts[i].incarnation = was != NULL ? was->incarnation : 0;
    }
}

enum err repair_begin(struct master *m, struct deployment *d, struct deployment *next,
                      struct plan *p, json_t *repairs, struct exchange *x, struct fail *f)
{
    uint64_t epoch = 0;
    enum err e = m->store->ops->checkpoints(m->store, d->name, take_newest, &epoch, f);
    if (e != ERR_OK) {
        return e;
    }
    become_next(d, next, p);
    next->drops = upgrade_drops(p);
    e = deploy_rollback(m, next, d->version, epoch, false,
                        json_pack("{s:O, s:O}", "repairs", repairs, "drops", next->drops), f);
    if (e != ERR_OK) {
        deployment_drop_graph(next); /* the caller's plan has it */
        return e;
    }
    next->back.repairs = json_incref(repairs);
    deployment_take_views(next, d);
    settle_change(m, next);
    log_event(LOG_WARN, "topology.repairs",
              "topology=%s from=%" PRIu64 " to=%" PRIu64 " checkpoint=%" PRIu64, d->name,
              d->version, next->version, epoch);
    json_t *body = json_pack("{s:s, s:I, s:I, s:I, s:O, s:I}", "topology", d->name, "from",
                             (json_int_t)d->version, "version", (json_int_t)next->version,
                             "checkpoint", (json_int_t)epoch, "repairs", repairs, "event",
                             (json_int_t)events_last(&m->events));
    rollback_take_place(m, d, next);
    next->keeping->apart = is_same_wiring(p);
    next->keeping->repairs = d->version;
    mem_free(next->keeping->repaired);
    next->keeping->repaired = find_repaired(p);
    (void)plan_take_graph(p);
    plan_free(p);
    tell_topology(m, next);
    renew_workers(m, next);
    recover_tick(m, next, clock_now_us());
    api_json(x, 202, body);
    return ERR_OK;
}

/* ---- over */

void repair_over(struct master *m, struct deployment *d, uint64_t took_us)
{
    struct keeping *k = d->keeping;
    struct fail f = {0};
    json_t *receipt = json_pack(
        "{s:s, s:I, s:I, s:s, s:O, s:I, s:I, s:I, s:f, s:n, s:n, s:n, s:I, s:s}", "topology",
        d->name, "from", (json_int_t)d->back.from, "to", (json_int_t)d->version, "result", "done",
        "repairs", d->back.repairs, "checkpoint", (json_int_t)k->from_epoch, "gen",
        (json_int_t)d->token.gen, "instances_touched", (json_int_t)k->restored, "total_ms",
        (double)took_us / 1000.0, "lost", "duplicated", "reordered", "resent",
        (json_int_t)k->resent, "unknown", "the counters of the stuck worker died with it");
    json_object_set_new(receipt, "replayed",
                        k->toll.known ? json_integer((json_int_t)(k->resent + k->toll.reread))
                                      : json_null());
    json_object_set_new(receipt, "discarded",
                        k->toll.known ? json_integer((json_int_t)k->toll.discarded) : json_null());
    char *text = json_dumps(receipt, JSON_COMPACT | JSON_REAL_PRECISION(10));
    if (m->store->ops->receipt(m->store, d->name, d->version, text, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.receipt", "topology=%s what=\"%s\"", d->name, f.what);
    }
    log_event(LOG_INFO, "topology.repaired", "topology=%s receipt=%s", d->name, text);
    tell_receipt(m, d, receipt);
    mem_free(text);
    json_decref(receipt);
    json_decref(d->back.repairs);
    d->back.repairs = NULL;
    d->back.from = 0;
    k->repairs = 0;
    mem_free(k->repaired);
    k->repaired = NULL;
}
