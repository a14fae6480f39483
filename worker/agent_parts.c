/* worker/agent_parts.c - parts prepared, decided, changed, given up: the phases, at a worker. */
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/agent_own.h"
#include "worker/change.h"
#include "worker/probe.h"

#include <inttypes.h>
#include <string.h>

static void send_ready(struct agent *a, const struct msg_PREPARE *plan, const struct part *d,
                       const struct fail *why)
{
    if (!a->joined) {
        return;
    }
    struct msg m = {.kind = M_READY};
    m.READY = (struct msg_READY){.term = a->term,
                                 .topology = plan->topology,
                                 .op = plan->op,
                                 .incarnation = a->o.incarnation,
                                 .ok = why == NULL,
                                 .what = why != NULL ? why->what : "",
                                 .hint = why != NULL ? why->hint : "",
                                 .where = d != NULL ? d->fail_where : "",
                                 .code = why != NULL ? (uint64_t)why->code : 0};
    conn_send(a->conn, &m);
}

static void refuse_beside(struct agent *a, const struct msg_PREPARE *plan)
{
    struct fail why = {0};
    (void)fail_set(&why, ERR_AGAIN, "the whole topology is recovered instead",
                   "topology \"%s\" is changing or ending", plan->topology);
    send_ready(a, plan, NULL, &why);
}

/* What a recovery left beside what was staged, or an ABORT, is gone: the next one's turn. */
void agent_follow_after(struct agent *a, struct part *d)
{
    switch (beside_turn(d)) {
    case BESIDE_WAITS:
        break;
    case BESIDE_BEGINS:
        agent_advance(a);
        break;
    case BESIDE_REFUSED:
        refuse_beside(a, &d->after->plan.PREPARE);
        part_put_after(d, NULL);
        break;
    }
}

/* What has ended here may yet be moved, or get others beside it: R12. */
static bool may_change(const struct part *d)
{
    return d->state == DEPLOYMENT_RUNNING || d->state == DEPLOYMENT_ENDED;
}

/* give_up_older - a master that asks for the next change of the version that runs has no decision
 * of the one before, which another life of it had begun: its ABORT is on its way, or waits until
 * this worker says that it is ready. */
static void give_up_older(struct part *d, const struct msg_PREPARE *plan)
{
    if (plan->base_version == 0 || plan->base_version != d->version) {
        return;
    }
    if (d->pending != NULL && !d->pending->dropping && d->pending->op < plan->op) {
        part_unstage(d);
    } else if (d->change != NULL && !change_is_going(d) && change_op(d) < plan->op) {
        change_abort(d);
    }
}

void agent_prepare(struct agent *a, const struct msg *m)
{
    const struct msg_PREPARE *plan = &m->PREPARE;
    struct part *d = agent_find(a, plan->topology);
    if (d != NULL && d->op == plan->op) { /* asked again by a master that came back */
        if (d->state == DEPLOYMENT_READY || d->failed) {
            agent_on_prepared(a, d);
        }
        return;
    }
    if (d != NULL && change_op(d) == plan->op) {
        if (change_staged(d)->state != DEPLOYMENT_PREPARING) { /* else READY comes in its time */
            agent_on_prepared(a, change_staged(d));
        }
        return;
    }
    if (d != NULL && ((d->pending != NULL && d->pending->op == plan->op && !d->pending->failed) ||
                      (d->after != NULL && d->after->op == plan->op))) {
        return; /* the same */
    }
    if (d != NULL && plan->gen > d->gen && plan->stay_instances_count > 0) {
        if (beside_take(d, m)) {
            agent_follow_after(a, d);
        } else {
            refuse_beside(a, plan);
        }
        return;
    }
    if (d != NULL && plan->gen > d->gen && plan->base_version == 0) {
        part_drop(d); /* a recovery: what ran before it is void; READY waits until it is gone */
        d = NULL;
    }
    if (d != NULL) {
        give_up_older(d, plan);
    }
    struct fail why = {0};
    bool fresh = plan->remove_instances_count == 0 && plan->members_count == 0 &&
                 plan->stay_instances_count == 0;
    if (strlen(plan->topology) > NAME_BYTES_MAX || plan->topology[0] == '\0') {
        (void)fail_set(&why, ERR_INVALID, "", "malformed topology name");
    } else if (d == NULL && !fresh) {
        (void)fail_set(&why, ERR_NOTFOUND, "deploy it as a new topology",
                       "this worker does not hold version %" PRIu64, plan->base_version);
    } else if (d != NULL && (plan->base_version == 0 || plan->base_version != d->version)) {
        (void)fail_set(&why, ERR_EXISTS, "plan it from the version that runs",
                       "version %" PRIu64 " of topology \"%s\" runs here", d->version,
                       plan->topology);
    } else if (d != NULL && d->pending != NULL && d->pending->dropping && may_change(d)) {
        part_put_after(d, part_new(&a->env, m)); /* the one given up is still at it */
        return;
    } else if (d != NULL && (d->pending != NULL || d->change != NULL || !may_change(d))) {
        (void)fail_set(&why, ERR_AGAIN, "wait for it", "topology \"%s\" is changing or ending",
                       plan->topology);
    } else if (d != NULL) {
        part_stage(d, m);
        agent_advance(a);
        return;
    } else {
        d = part_new(&a->env, m);
        d->next = a->parts;
        a->parts = d;
        agent_tell_parts(a);
        agent_advance(a);
        return;
    }
    send_ready(a, plan, NULL, &why);
}

static bool has_older(const struct agent *a, const struct part *d)
{
    for (const struct part *p = a->parts; p != NULL; p = p->next) {
        if (p != d && p->gen < d->gen && strcmp(p->name, d->name) == 0) {
            return true;
        }
    }
    return false;
}

/* waits - READY also says that every peer can be reached, for what is not found now would hang
 * after GO; that the master has been told who of the members has ended (R3), which the report
 * before it does; and that little waits between them, or that it gets no less. */
static bool waits(const struct agent *a, struct part *d, uint64_t waited_us)
{
    const char *peer = part_unlinked(d);
    if (peer != NULL && waited_us >= (uint64_t)HANDSHAKE_MS * 1000) {
        d->failed = true;
        (void)fail_set(&d->fail, ERR_TIMEOUT, "check that worker's --listen and the network",
                       "worker %s cannot be reached from worker %s", peer, a->name);
        return false;
    }
    if (d->base != NULL && peer == NULL) {
        switch (probe_members(d->base, waited_us, &d->fail, d->fail_where)) {
        case PROBE_NO:
            d->failed = true;
            return false;
        case PROBE_WAIT:
            return true;
        case PROBE_YES:
            break;
        }
    }
    bool narrow =
        d->base == NULL || waited_us >= (uint64_t)SQUEEZE_MS * 1000 || change_squeezed(d->base);
    return peer != NULL || !narrow || (d->base != NULL && !change_ends_are_known(d->base));
}

void agent_on_prepared(void *arg, struct part *d)
{
    struct agent *a = arg;
    if (has_older(a, d)) {
        return; /* on_dropped comes back here */
    }
    uint64_t now = clock_now_us();
    uint64_t since = d->waits_since_us != 0 ? d->waits_since_us : now;
    if (!d->failed && waits(a, d, now - since)) {
        d->waits_since_us = since;
        return;
    }
    d->waits_since_us = 0;
    log_event(d->failed ? LOG_WARN : LOG_INFO, "part.prepared",
              "topology=%s op=%" PRIu64 " ok=%d what=\"%s\"", d->name, d->op, !d->failed,
              d->fail.what);
    if (d->base != NULL && !d->failed) {
        agent_send_report(a, d->base);
    }
    send_ready(a, &d->plan.PREPARE, d, d->failed ? &d->fail : NULL);
}

static void send_done(struct agent *a, const struct part *d)
{
    if (!a->joined) {
        return;
    }
    const struct change_result *r = &d->last_change;
    struct msg done = {.kind = M_DONE};
    done.DONE = (struct msg_DONE){
        .term = a->term,
        .topology = d->name,
        .op = d->op,
        .incarnation = a->o.incarnation,
        .compared = r->compared,
        .uncompared = r->uncompared,
        .lost = r->lost,
        .duplicated = r->duplicated,
        .reordered = r->reordered,
        .switch_us = r->switch_us,
        .state_bytes = r->state_bytes,
        .exported = r->exported,
        .imported = r->imported,
        .resent = r->resent,
        .pauses_us = {(const uint8_t *)r->pauses_us, r->pause_count * sizeof *r->pauses_us}};
    conn_send(a->conn, &done);
}

/* A change may be over; what earlier ones retired may be freed. */
void agent_follow_change(struct agent *a, struct part *d)
{
    struct change_result r;
    if (change_is_made(d)) {
        agent_send_report(a, d); /* the last that is said of what it removes */
    }
    if (change_update(d, &r)) {
        mem_free(d->last_change.pauses_us);
        d->last_change = r;
        log_event(LOG_INFO, "part.changed", "topology=%s op=%" PRIu64 " switch_us=%" PRIu64,
                  d->name, d->op, r.switch_us);
        if (part_update(d)) {
            agent_send_report(
                a, d); /* first: when all is done, the master asks whether all has ended */
        }
        send_done(a, d);
    }
    change_sweep(d);
}

void agent_on_change(void *arg, struct part *d)
{
    struct agent *a = arg;
    part_look_ready(d);
    struct part *staged = d->change != NULL ? change_staged(d) : NULL;
    if (staged != NULL && staged->waits_since_us != 0 && !d->dropping) {
        agent_on_prepared(a, staged);
    }
    agent_follow_change(a, d);
    agent_follow_commit(a, d);
    bool changed = part_update(d);
    if (changed) {
        log_event(LOG_INFO, "part.state", "topology=%s state=%d", d->name, (int)d->state);
    }
    agent_follow_after(a, d);
    if (changed) {
        agent_send_report(a, d);
    } else {
        agent_report_soon(a, d);
    }
}

void agent_on_dropped(void *arg, struct part *d)
{
    struct agent *a = arg;
    struct part **at = &a->parts;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    log_event(LOG_INFO, "part.dropped", "topology=%s", d->name);
    struct part *next = agent_find(a, d->name);
    part_free(d);
    agent_tell_parts(a);
    if (next != NULL && !next->preparing &&
        (next->state == DEPLOYMENT_READY || next->state == DEPLOYMENT_FAILED)) {
        agent_on_prepared(a, next); /* it waited for this one to be gone */
    }
    agent_on_will_idle(a);
}

void agent_on_will_idle(void *arg)
{
    struct agent *a = arg;
    if (a->parts == NULL && a->wills.first == NULL && a->on_idle != NULL) {
        a->on_idle(a->idle_arg);
    }
}

static void go(struct agent *a, const char *topology, uint64_t op, uint64_t gen)
{
    struct part *d = agent_find(a, topology);
    if (d == NULL || d->gen != gen) {
        return;
    }
    if (d->op == op && d->state == DEPLOYMENT_READY) {
        part_go(d);
    } else if (change_op(d) == op && !change_is_going(d)) {
        part_void(d, change_staged(d)->epoch);
        change_go(d);
    } else {
        return;
    }
    struct msg_LINK_GO passed = {
        .term = a->term, .topology = topology, .gen = gen, .op = op, .epoch = d->epoch};
    links_send_go(a->o.links, &passed);
}

void agent_go(struct agent *a, const struct msg_GO *m)
{
    go(a, m->topology, m->op, m->gen);
    struct part *d = agent_find(a, m->topology);
    if (d != NULL && d->op == m->op && d->state >= DEPLOYMENT_RUNNING && d->arriving == NULL) {
        send_done(a, d);
    } else if (d != NULL) {
        agent_follow_change(a, d); /* nothing here may have had to cut */
    }
}

void agent_abort(struct agent *a, const struct msg_ABORT *m)
{
    struct part *d = agent_find(a, m->topology);
    if (d == NULL) {
        return;
    }
    if (d->op == m->op) {
        part_drop(d);
    } else if (d->after != NULL && d->after->op == m->op) {
        part_put_after(d, NULL);
    } else if (d->pending != NULL && d->pending->op == m->op) {
        part_unstage(d);
    } else if (change_op(d) == m->op && !change_is_going(d)) {
        change_abort(d);
    }
}

void agent_go_from_peer(struct agent *a, const struct msg_LINK_GO *m)
{
    if (m->term >= a->term) {
        go(a, m->topology, m->op, m->gen);
    }
}

void agent_links_open(struct agent *a)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->change != NULL ? change_staged(p) : p;
        if (d->waits_since_us != 0 && !d->dropping) {
            agent_on_prepared(a, d);
        }
    }
}

void agent_links_drained(struct agent *a)
{
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping) {
            agent_follow_change(a, d);
        }
        if (!d->dropping && part_update(d)) {
            agent_send_report(a, d);
        }
    }
}

void agent_state(struct agent *a, const struct msg_LINK_STATE *m)
{
    struct part *d = agent_find(a, m->topology);
    if (d != NULL) {
        change_on_state(d, m);
    }
}

void agent_state_ack(struct agent *a, const struct msg_LINK_STATE_ACK *m)
{
    struct part *d = agent_find(a, m->topology);
    if (d != NULL) {
        change_on_ack(d, m);
    }
}

void agent_peer_up(struct agent *a)
{
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping) {
            change_on_peer(d);
        }
    }
}
