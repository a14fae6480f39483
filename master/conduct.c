/* master/conduct.c - performs what the machines say: the only caller of change_step and life_step.
 *
 * Runs on:    the master loop.
 * Invariants: W2, W3 of master/master.h.  Actions are performed in the order given; a decision that
 *             is written feeds its own event, and what follows from it joins the same list. */
#include "master/master.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void perform(struct master *m, struct deployment *d, struct change_action a,
                    struct change_actions *out);
static void decide(struct master *m, struct deployment *d, struct change_actions *out);
static bool has_to_wait(struct master *m, struct deployment *d);
static void keep_why(struct deployment *d, const struct fail *why, const char *where);
static void send_stop(struct master *m, const struct deployment *d, bool now, bool retire);
static void save(struct master *m, struct deployment *d);
static void after_done(struct master *m, struct deployment *d);
static bool is_live_part(const struct deployment *d, const struct part *p, const struct member *w,
                         const struct msg_REPORT *r);

void conduct_change(struct master *m, struct deployment *d, struct change_event in,
                    const struct fail *why, const char *where)
{
    struct change_actions out = {0};
    enum change_state before = d->change.state;
    if (change_step(&d->change, &in, &out)) {
        upgrade_mark(d);
        if (d->change.state != before) {
            tell_phase(m, d);
        }
        bool explains = in.kind == CHANGE_IN_NOT_READY || in.kind == CHANGE_IN_DEADLINE ||
                        in.kind == CHANGE_IN_LOST;
        if (explains && change_is_over(&d->change)) {
            keep_why(d, why, where);
        }
        for (size_t i = 0; i < out.count; i++) { /* `out` may grow meanwhile */
            perform(m, d, out.items[i], &out);
        }
    }
    change_actions_fini(&out);
}

void conduct_life(struct master *m, struct deployment *d, enum life_event on,
                  const struct fail *why, const char *where)
{
    unsigned to;
    unsigned run = life_step(d->state, on, &to);
    if (to == TOPOLOGY_FAILED && d->state != TOPOLOGY_FAILED) {
        keep_why(d, why, where);
    }
    if (to != d->state) {
        log_event(to == TOPOLOGY_FAILED ? LOG_WARN : LOG_INFO, "topology.state",
                  "topology=%s version=%" PRIu64 " from=%s to=%s why=\"%s\"", d->name, d->version,
                  topology_state_name(d->state), topology_state_name(to),
                  to == TOPOLOGY_FAILED ? d->fail.what : "");
        d->state = to;
        d->timing = d->timing && !deployment_is_over(d);
        tell_topology(m, d);
    }
    if ((run & LIFE_DO_CANCEL) != 0) {
        conduct_change(m, d, (struct change_event){.kind = CHANGE_IN_CANCEL}, NULL, NULL);
    }
    if ((run & (LIFE_DO_DRAIN | LIFE_DO_DROP | LIFE_DO_RETIRE)) != 0) {
        send_stop(m, d, (run & LIFE_DO_DROP) != 0, (run & LIFE_DO_RETIRE) != 0);
    }
    if ((run & LIFE_DO_SAVE) != 0) {
        save(m, d);
    }
}

/* A change that is not decided gives way to what happens to the version that runs. */
static void cancel_next(struct master *m, struct deployment *d, const struct fail *why)
{
    if (d->next != NULL && !change_is_decided(&d->next->change)) {
        if (why != NULL) {
            keep_why(d->next, why, "");
        }
        conduct_change(m, d->next, (struct change_event){.kind = CHANGE_IN_CANCEL}, NULL, NULL);
    }
}

void conduct_supersede(struct master *m, struct deployment *d, const char *why)
{
    struct fail f = {0};
    fail_set(&f, ERR_STALE, "see `oxbow history`", "%s", why);
    cancel_next(m, d, &f);
}

void conduct_stop(struct master *m, struct deployment *d, bool now)
{
    struct fail why = {0};
    fail_set(&why, ERR_DENIED, "", "the topology was stopped before the change was decided");
    cancel_next(m, d, &why);
    if (d->next != NULL) { /* decided: it stops when it has changed over */
        d->next->stop_asked = now ? STOP_NOW : STOP_DRAIN;
        return;
    }
    if (d->stop_asked < (now ? STOP_NOW : STOP_DRAIN)) {
        d->stop_asked = now ? STOP_NOW : STOP_DRAIN;
    }
    conduct_life(m, d, now ? LIFE_STOP_NOW : LIFE_STOP, NULL, NULL);
}

/* The change of `d` is decided, and `w` belongs to what it will be. */
static bool is_changing(struct deployment *d, const struct member *w)
{
    return d != NULL && !deployment_is_over(d) && !change_is_over(&d->change) &&
           change_is_decided(&d->change) && deployment_involved(d, w->id) != NULL;
}

static void clean(struct master *m, struct member *w, const struct msg_REPORT *r)
{
    if (w->reporting) { /* W3; later it would only be an echo of a STOP on its way */
        const struct msg stop = {.kind = M_STOP,
                                 .STOP = {m->term, r->topology, r->gen, true, true}};
        log_event(LOG_INFO, "worker.cleans", "worker=%s topology=%s gen=%" PRIu64, w->name,
                  r->topology, r->gen);
        conn_send(w->conn, &stop);
    }
}

static void after_report(struct master *m, struct deployment *d, const struct part *p,
                         const struct member *w, const struct instance_view *failed)
{
    if ((failed != NULL || p->state == DEPLOYMENT_FAILED) && change_is_decided(&d->change)) {
        const struct pinstance *n = failed ? &d->graph->instances[failed->number] : NULL;
        const char *pe = n != NULL ? d->topology->pes[n->pe].name : "";
        struct fail why = {0};
        fail_set(&why, ERR_INVALID, "see the worker's log, then deploy again",
                 "%s%s%s failed on worker %s: %s", n != NULL ? "PE " : "a PE", pe,
                 n != NULL ? "" : " instance", w->name,
                 failed != NULL && failed->error != NULL ? failed->error : "no reason was given");
        cancel_next(m, d, &why);
        conduct_life(m, d, LIFE_FAILED, &why, pe);
    } else if (deployment_all_ended(d)) {
        conduct_ended(m, d);
    }
}

void conduct_ended(struct master *m, struct deployment *d)
{
    struct fail why = {0};
    fail_set(&why, ERR_DENIED, "", "the topology ended before the change was decided");
    cancel_next(m, d, &why);
    if (!keeping_holds_end(m, d)) {
        conduct_life(m, d, LIFE_ENDED, NULL, NULL);
    }
}

void conduct_report(struct master *m, struct member *w, const struct msg_REPORT *r)
{
    struct deployment *d = deployments_find(&m->deployments, r->topology);
    struct part *p = d != NULL ? deployment_part(d, w->id) : NULL;
    const struct instance_view *failed = NULL;
    if (d != NULL && is_changing(d->next, w)) {
        struct part *q = deployment_part(d->next, w->id);
        if (q != NULL) {
            translate_report(d->next, q, r, &failed);
        }
    }
    if (!is_live_part(d, p, w, r)) {
        if (p != NULL && r->gen < d->token.gen) {
            p->older = true;
        }
        if (d == NULL || (!is_changing(d, w) && !is_changing(d->next, w) && !recover_spares(d))) {
            clean(m, w, r);
        }
        return;
    }
    translate_report(d, p, r, &failed);
    tell_faults(m, d);
    trouble_tell(m, d);
    bool fresh = d->upgrade == NULL || recover_is_under_way(d);
    if (fresh && r->op == d->token.op && p->state >= DEPLOYMENT_RUNNING) {
        conduct_change(m, d, /* as good as its DONE */
                       (struct change_event){.kind = CHANGE_IN_DONE,
                                             .worker_id = w->id,
                                             .incarnation = w->incarnation,
                                             .term = d->token.term,
                                             .op = r->op},
                       NULL, NULL);
    }
    if (d->state == TOPOLOGY_RECOVERING) {
        return; /* what could not be restored is told by READY, what fails later is told again */
    }
    if (d->next != NULL && change_is_decided(&d->next->change)) {
        return; /* what ended or failed is told again when the change is over */
    }
    after_report(m, d, p, w, failed);
}

/* The version to come loses a worker, or what it held: given up, or, when decided, recovered.  `d`
 * may be replaced by it. */
static void lose_next(struct master *m, struct deployment *d, const struct member *w,
                      uint64_t incarnation, const struct fail *why)
{
    struct part *p = d->next != NULL ? deployment_involved(d->next, w->id) : NULL;
    if (p == NULL || p->incarnation != incarnation) {
        return;
    }
    conduct_change(m, d->next,
                   (struct change_event){
                       .kind = CHANGE_IN_LOST, .worker_id = w->id, .incarnation = incarnation},
                   why, w->name);
}

/* What that process held of `d` is gone.  @since_us: as of recover_lost. */
static void lose_part(struct master *m, struct deployment *d, const struct member *w,
                      uint64_t incarnation, const struct fail *why, uint64_t since_us)
{
    if (!change_is_over(&d->change)) {
        conduct_change(m, d,
                       (struct change_event){
                           .kind = CHANGE_IN_LOST, .worker_id = w->id, .incarnation = incarnation},
                       why, w->name);
    } else if (!recover_lost(m, d, why->what, since_us)) {
        conduct_life(m, d, LIFE_FAILED, why, w->name);
    }
}

/* lacks - it is decided that `w` holds a part of `d`, and `w` did not report it.  Or a recovery is
 * prepared in which others stay, and `w` holds nothing: who stays feeds what is prepared elsewhere
 * from when it is there, and that may be gone with it, so asking `w` once more is not enough. */
static bool lacks(struct deployment *d, const struct member *w)
{
    const struct part *p = d != NULL ? deployment_part(d, w->id) : NULL;
    if (p == NULL || p->incarnation != w->incarnation || deployment_is_over(d) || p->reported) {
        return false;
    }
    return change_is_decided(&d->change) || (recover_spares(d) && !p->older);
}

/* came_without - is what it should hold gone?  Then it is lost as with the worker. */
static bool came_without(struct master *m, size_t i, const struct member *w)
{
    struct deployment *d = m->deployments.items[i];
    bool now = lacks(d, w);
    if (!now && !lacks(d->next, w)) {
        return false;
    }
    struct fail why = {0};
    fail_set(&why, ERR_NOTFOUND, "deploy again",
             "worker %s came back without its part of the topology", w->name);
    lose_next(m, d, w, w->incarnation, &why);
    if (now && m->deployments.items[i] == d) {
        lose_part(m, d, w, w->incarnation, &why, 0);
    }
    return true;
}

static void came_back(struct master *m, struct deployment *d, struct member *w)
{
    struct part *p = deployment_part(d, w->id);
    const struct change_event back = {
        .kind = CHANGE_IN_BACK, .worker_id = w->id, .incarnation = w->incarnation};
    if (d->next != NULL) {
        conduct_change(m, d->next, back, NULL, NULL);
    }
    if (p == NULL && is_changing(d, w)) {
        conduct_change(m, d, back, NULL, NULL);
    }
    if (p == NULL || p->incarnation != w->incarnation ||
        (deployment_is_over(d) && change_is_decided(&d->change))) {
        return;
    }
    conduct_change(m, d, back, NULL, NULL);
    keeping_back(m, d, w->id);
    if (d->state == TOPOLOGY_DRAINING) { /* the STOP may have been lost */
        const struct msg stop = {.kind = M_STOP,
                                 .STOP = {m->term, d->name, d->token.gen, false, false}};
        conn_send(w->conn, &stop);
    }
}

void conduct_joined(struct master *m, struct member *w)
{
    if (members_is_renewing(w)) {
        repair_renew(m, w); /* it may not have heard */
        return;
    }
    for (size_t i = 0; i < m->deployments.count; i++) {
        if (!came_without(m, i, w)) {
            came_back(m, m->deployments.items[i], w);
        }
    }
}

void conduct_lost(struct master *m, const struct member *w, uint64_t incarnation)
{
    for (size_t i = 0; i < m->deployments.count; i++) {
        struct deployment *d = m->deployments.items[i];
        struct fail why = {0};
        fail_set(&why, ERR_CLOSED, "see why the worker died and start it again",
                 "worker %s was lost during the change", w->name);
        lose_next(m, d, w, incarnation, &why);
        d = m->deployments.items[i]; /* may be another one now */
        struct part *p = deployment_involved(d, w->id);
        if (p == NULL || p->incarnation != incarnation || deployment_is_over(d) ||
            (!p->used && change_is_over(&d->change))) {
            continue;
        }
        if (p->state == DEPLOYMENT_ENDED && change_is_over(&d->change) && d->keeping == NULL) {
            continue; /* it had nothing left to do, and its links were drained */
        }
        fail_set(&why, ERR_CLOSED, "see why the worker died, start it again and deploy again",
                 "worker %s was lost; it held %" PRIu32 " of %" PRIu32 " instances", w->name,
                 deployment_slots(d, w->id), d->instance_count);
        if (w->crash[0] != '\0') {
            fail_set(&why, ERR_CLOSED, "repair that PE, then deploy again", "%s", w->crash);
        }
        lose_part(m, d, w, incarnation, &why, w->left_us);
    }
}

/* There is no way back: it is said once, and GO goes out again. */
static void say_overdue(struct master *m, struct deployment *d, const char *missing,
                        uint64_t now_us)
{
    struct upgrade *u = d->upgrade;
    struct fail f = {0};
    if (u == NULL || u->overdue || u->deadline_us == 0 || now_us < u->deadline_us) {
        return;
    }
    u->overdue = true;
    fail_set(&f, ERR_TIMEOUT, "see the logs of these workers",
             "the change to version %" PRIu64 " is decided and not over in its time; missing:%s",
             d->version, missing);
    log_event(LOG_ERROR, "change.overdue", "topology=%s what=\"%s\"", d->name, f.what);
    tell_error(m, d, &f, "");
}

static void check_deadline(struct master *m, struct deployment *d, uint64_t now_us)
{
    if (!d->timing || d->deadline_us > now_us) {
        return;
    }
    d->timing = false;
    struct fail why = {0};
    bool decided = change_is_decided(&d->change);
    char missing[200] = "";
    for (size_t k = 0; k < d->change.part_count; k++) {
        const struct change_part *p = &d->change.parts[k];
        struct member *w = members_by_id(&m->members, p->worker_id);
        size_t used = strlen(missing);
        if (!(decided ? p->done : p->ready) && w != NULL) {
            snprintf(missing + used, sizeof missing - used, " %s", w->name);
        }
    }
    if (decided) {
        say_overdue(m, d, missing, now_us);
    } else {
        uint64_t time_us = d->upgrade != NULL ? d->upgrade->deadline_us - d->upgrade->asked_us
                                              : (uint64_t)m->options.prepare_ms * 1000u;
        recover_refused(d);
        fail_set(&why, ERR_TIMEOUT, "see the logs of these workers",
                 "not every worker was ready within %" PRIu64 " s; missing:%s",
                 (time_us + 999999) / 1000000, missing);
    }
    conduct_change(m, d, (struct change_event){.kind = CHANGE_IN_DEADLINE}, &why, "");
}

void conduct_tick(struct master *m, uint64_t now_us)
{
    running_sweep(m);
    wills_tick(m, now_us);
    ask_resume(m);
    for (size_t i = 0; i < m->deployments.count; i++) {
        struct deployment *d = m->deployments.items[i];
        check_deadline(m, d, now_us);
        keeping_tick(m, d, now_us);
        if (d->next != NULL) {
            check_deadline(m, d->next, now_us);
        }
    }
}

/* ---- helpers ---- */

static void send_prepare(struct master *m, struct deployment *d, const struct part *p)
{
    struct msg msg;
    struct fail f = {0};
    if (translate_prepare(d, &m->members, (uint32_t)(p - d->parts), &msg, &f) != ERR_OK) {
        log_event(LOG_ERROR, "change.prepare", "what=\"%s\"", f.what); /* checked when planned */
        return;
    }
    msg.PREPARE.cluster = m->cluster;
    control_send(m, p->worker_id, p->incarnation, &msg);
    translate_prepare_fini(&msg);
}

static void change_done(struct master *m, struct deployment *d)
{
    if (recover_is_under_way(d)) {
        recover_over(m, d, true);
    } else {
        running_over(m, d, "done");
    }
    bool fresh = d->upgrade == NULL || d->state == TOPOLOGY_RECOVERING ||
                 d->keeping == NULL; /* restored after its decision: nobody handed it on */
    conduct_life(m, d, LIFE_WENT, NULL, NULL);
    if (fresh) {
        keeping_went(m, d);
    }
    after_done(m, d);
}

/* A worker was lost after the decision: what was decided is recovered, if there is a way. */
static void change_lost(struct master *m, struct deployment *d)
{
    if (recover_is_under_way(d)) {
        recover_over(m, d, false);
        return;
    }
    bool recovers = d->topology->checkpoint_every_us > 0;
    struct deployment *base = deployments_find(&m->deployments, d->name);
    if (base != NULL) {
        keeping_lost(base); /* the end of a change asks for a checkpoint, and this is none */
    }
    running_over(m, d, recovers ? "recovered" : "failed");
    if (recovers) {
        conduct_life(m, d, LIFE_WENT, NULL, NULL);
    }
    if (!recover_lost(m, d, d->fail.what, 0)) {
        conduct_life(m, d, LIFE_FAILED, NULL, NULL);
    }
}

/* P5 of checkpoint.h, L3 of wills.h. */
static bool has_to_wait(struct master *m, struct deployment *d)
{
    const struct deployment *base =
        d->upgrade != NULL ? deployments_find(&m->deployments, d->name) : NULL;
    d->waits = base != NULL && base != d && base->keeping != NULL &&
               (checkpoint_bars_change(&base->keeping->machine) || wills_bar_decision(m, d));
    return d->waits;
}

void conduct_decide_now(struct master *m, struct deployment *next)
{
    if (!next->waits || next->change.state != CHANGE_READY || has_to_wait(m, next)) {
        return;
    }
    struct change_actions out = {0};
    decide(m, next, &out);
    for (size_t i = 0; i < out.count; i++) {
        perform(m, next, out.items[i], &out);
    }
    change_actions_fini(&out);
}

/* Before the decision: when it is given up; after it: when GO is sent again. */
static uint64_t deadline_of(const struct master *m, const struct deployment *d)
{
    if (change_is_decided(&d->change)) {
        return clock_now_us() + GO_AGAIN_MS * UINT64_C(1000);
    }
    if (recover_is_under_way(d)) { /* large states are read; a worker that dies is noticed */
        return clock_now_us() + (uint64_t)m->options.prepare_ms * 10000u;
    }
    return d->upgrade != NULL ? d->upgrade->deadline_us
                              : clock_now_us() + (uint64_t)m->options.prepare_ms * 1000u;
}

static void perform(struct master *m, struct deployment *d, struct change_action a,
                    struct change_actions *out)
{
    struct part *p = deployment_involved(d, a.worker_id);
    struct change_token t = d->token;
    switch (a.what) {
    case CHANGE_DO_PREPARE:
        send_prepare(m, d, p);
        break;
    case CHANGE_DO_GO: {
        const struct msg go = {.kind = M_GO, .GO = {t.term, d->name, t.gen, t.op, t.epoch}};
        control_send(m, p->worker_id, p->incarnation, &go);
        break;
    }
    case CHANGE_DO_ABORT: {
        const struct msg abort = {.kind = M_ABORT, .ABORT = {t.term, d->name, t.op}};
        control_send(m, p->worker_id, p->incarnation, &abort);
        break;
    }
    case CHANGE_DO_TIMER:
        d->timing = true;
        d->deadline_us = deadline_of(m, d);
        break;
    case CHANGE_DO_NO_TIMER:
        d->timing = false;
        break;
    case CHANGE_DO_DECIDE:
        if (!has_to_wait(m, d)) {
            decide(m, d, out);
        }
        break;
    case CHANGE_DO_DONE:
        change_done(m, d);
        break;
    case CHANGE_DO_ABORTED:
        d->waits = false;
        if (recover_is_under_way(d)) {
            recover_over(m, d, false);
            break;
        }
        if (d->upgrade != NULL) { /* what runs goes on */
            running_over(m, d, "aborted");
            break;
        }
        conduct_life(m, d, d->stop_asked != STOP_NONE ? LIFE_CANCELLED : LIFE_ABORTED, NULL, NULL);
        break;
    case CHANGE_DO_RECOVER:
        change_lost(m, d);
        break;
    }
}

static enum err write_decision(struct master *m, struct deployment *d, struct fail *f)
{
    size_t will_count = 0;
    struct store_will *wills = wills_of(m, d, &will_count);
    enum err e =
        m->store->ops->decide(m->store, d->name, d->version, d->token.op, wills, will_count, f);
    wills_rows_free(wills, will_count);
    struct fail unread = {0};
    if (e == ERR_OK && will_count > 0 && wills_load(m, &unread) != ERR_OK) {
        log_event(LOG_ERROR, "decide.wills", "what=\"they are found at the next start\"");
    }
    return e;
}

static void decide(struct master *m, struct deployment *d, struct change_actions *out)
{
    struct fail f = {0};
    const char *where = "store";
    struct deployment *base = deployments_find(&m->deployments, d->name);
    enum err e = base != NULL && base != d ? upgrade_check_ended(d, base, &f, &where) : ERR_OK;
    if (e == ERR_OK && !recover_is_under_way(d)) { /* that was decided with its generation */
        e = write_decision(m, d, &f);
    }
    if (e != ERR_OK) {
        keep_why(d, &f, where);
    } else if (base != NULL && base != d) {
        keeping_decided(m, base);
    }
    struct change_event in = {.kind = e == ERR_OK ? CHANGE_IN_DECIDED : CHANGE_IN_UNDECIDABLE};
    change_step(&d->change, &in, out);
    upgrade_mark(d);
    tell_phase(m, d);
}

/* What was asked, or happened, while the change was under way. */
static void after_done(struct master *m, struct deployment *d)
{
    if (deployment_all_ended(d)) {
        conduct_ended(m, d);
    } else if (d->stop_asked != STOP_NONE) {
        conduct_stop(m, d, d->stop_asked == STOP_NOW);
    }
}

static void keep_why(struct deployment *d, const struct fail *why, const char *where)
{
    if (why == NULL || d->fail.what[0] != '\0') {
        return; /* the first reason is the one to show */
    }
    d->fail = *why;
    snprintf(d->fail_where, sizeof d->fail_where, "%s", where != NULL ? where : "");
}

static void send_stop(struct master *m, const struct deployment *d, bool now, bool retire)
{
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        const struct msg stop = {.kind = M_STOP,
                                 .STOP = {m->term, d->name, d->token.gen, now, retire || now}};
        if (d->parts[i].used) {
            control_send(m, d->parts[i].worker_id, d->parts[i].incarnation, &stop);
        }
    }
}

static void save(struct master *m, struct deployment *d)
{
    struct fail f = {0};
    char *error = NULL, *final = NULL;
    if (d->state == TOPOLOGY_FAILED) {
        json_t *body = status_error(&d->fail, d->fail_where);
        error = json_dumps(body, JSON_COMPACT);
        json_decref(body);
    }
    if (deployment_is_over(d)) {
        json_t *body = status_topology(d);
        final = json_dumps(body, JSON_COMPACT);
        json_decref(body);
    }
    if (m->store->ops->state(m->store, d->name, d->version, topology_state_name(d->state), error,
                             final, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.state", "topology=%s what=\"%s\"", d->name, f.what);
    }
    mem_free(error);
    mem_free(final);
}

static bool is_live_part(const struct deployment *d, const struct part *p, const struct member *w,
                         const struct msg_REPORT *r)
{
    return p != NULL && !deployment_is_over(d) && r->gen == d->token.gen &&
           p->incarnation == w->incarnation;
}
