/* master/control.c - connections of workers: who may speak, and where what they say goes. */
#include "master/master.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"

#include <inttypes.h>
#include <string.h>

static void on_message(void *arg, struct conn *c, struct msg *m);
static void on_closed(void *arg, struct conn *c, const char *why);

const struct conn_ops control_ops = {.on_message = on_message, .on_closed = on_closed};

void control_send(struct master *m, uint64_t worker_id, uint64_t incarnation, const struct msg *msg)
{
    struct member *w = members_by_id(&m->members, worker_id);
    if (w != NULL && w->state == MEMBER_UP && w->incarnation == incarnation) {
        conn_send(w->conn, msg);
    }
}

void control_tick(struct master *m, uint64_t now_us)
{
    for (struct member *w; (w = members_overdue(&m->members, now_us)) != NULL;) {
        log_event(LOG_WARN, "worker.lost", "worker=%s incarnation=%" PRIx64, w->name,
                  w->incarnation);
        tell_worker(m, w);
        conduct_lost(m, w, w->incarnation);
    }
}

bool control_may_save(void *arg, const char *worker, uint64_t incarnation, const char *topology,
                      uint64_t gen)
{
    struct master *m = arg;
    const struct member *w = members_find(&m->members, worker);
    const struct deployment *d = deployments_find(&m->deployments, topology);
    return w != NULL && w->state == MEMBER_UP && w->incarnation == incarnation && d != NULL &&
           !deployment_is_over(d) && (gen == 0 || gen == d->token.gen);
}

static void refuse(struct conn *c, const struct fail *f)
{
    log_event(LOG_WARN, "worker.refused", "peer=%s what=\"%s\"", conn_peer(c), f->what);
    const struct msg m = {.kind = M_REFUSED, .REFUSED = {.what = f->what, .hint = f->hint}};
    conn_send(c, &m);
    conn_close(c, f->what);
}

/* The process is who it says; give the name a connection. */
static void admit(struct master *m, struct conn *c, const struct member_hello *h,
                  const struct msg_HELLO *hello)
{
    struct fail f = {0};
    struct member *known = members_find(&m->members, h->name);
    uint64_t id = known != NULL ? known->id : 0;
    if (known == NULL && m->store->ops->worker_id(m->store, h->name, &id, &f) != ERR_OK) {
        refuse(c, &f);
        return;
    }
    if (known != NULL && known->state == MEMBER_UP) { /* its old connection is half open */
        struct conn *old = known->conn;
        members_closed(known, clock_now_us(), 0);
        conn_close(old, "replaced by a newer connection");
    }
    uint64_t lost = 0;
    struct member *w = members_join(&m->members, h, id, c, clock_now_us(), &lost);
    trouble_crash(m, w, hello);
    if (lost != 0) {
        conduct_lost(m, w, lost);
    }
    for (size_t i = 0; i < m->deployments.count; i++) {
        struct deployment *d = m->deployments.items[i];
        for (; d != NULL; d = d->next) {
            struct part *p = deployment_part(d, w->id);
            if (p != NULL) {
                p->reported = p->older = false;
            }
        }
    }
    conn_accepted(c);
    conn_limit(c, FRAME_BYTES_MAX);
    const struct msg welcome = {.kind = M_WELCOME,
                                .WELCOME = {.protocol = h->protocol,
                                            .term = m->term,
                                            .worker_id = w->id,
                                            .heartbeat_ms = HEARTBEAT_MS}};
    conn_send(c, &welcome);
    conn_heartbeat(c);
    tell_worker(m, w);
    log_event(LOG_INFO, "worker.joined", "worker=%s incarnation=%" PRIx64 " address=%s", w->name,
              w->incarnation, w->address);
}

/* A process that was killed and started again may be heard before its old connection's end is. */
static void close_dead(struct master *m, const char *name, uint64_t incarnation)
{
    struct member *w = members_find(&m->members, name);
    if (w != NULL && w->state == MEMBER_UP && w->incarnation != incarnation &&
        conn_peer_is_gone(w->conn)) {
        struct conn *old = w->conn;
        members_closed(w, clock_now_us(), 0);
        conn_close(old, "its process is gone");
    }
}

static void on_hello(struct master *m, struct conn *c, const struct msg_HELLO *hello)
{
    struct member_hello h = {0};
    struct fail f = {0};
    close_dead(m, hello->name, hello->incarnation);
    if (translate_hello(hello, conn_peer_host(c), &h, &f) != ERR_OK ||
        members_check(&m->members, &h, m->term, &f) != ERR_OK) {
        refuse(c, &f);
    } else {
        admit(m, c, &h, hello);
    }
    translate_hello_fini(&h);
}

static bool is_answer_to(const struct deployment *d, const struct member *w, uint64_t term,
                         uint64_t op, uint64_t incarnation)
{
    return d->token.term == term && d->token.op == op && w->incarnation == incarnation &&
           !change_is_over(&d->change);
}

static void on_ready(struct master *m, struct member *w, const struct msg_READY *r)
{
    struct deployment *d = running_of_op(m, r->topology, r->op);
    if (d == NULL || d->graph == NULL || d->token.op != r->op ||
        (d->state != TOPOLOGY_DEPLOYING && !recover_is_under_way(d))) {
        const struct msg abort = {.kind = M_ABORT, /* no decision on record: presumed abort */
                                  .ABORT = {m->term, r->topology, r->op}};
        conn_send(w->conn, &abort);
        return;
    }
    struct fail why = {.code = r->code == ERR_DENIED ? ERR_DENIED : ERR_INVALID};
    snprintf(why.what, sizeof why.what, "%s", r->what);
    snprintf(why.hint, sizeof why.hint, "%s", r->hint);
    if (is_answer_to(d, w, r->term, r->op, r->incarnation)) {
        tell_answer(m, d, w->name, r->ok ? "ready" : "not ready", r->ok ? NULL : &why);
    }
    if (!r->ok && recover_is_under_way(d) && r->term == d->token.term) {
        why.code = r->code > 0 && r->code < ERR_COUNT ? (enum err)r->code : ERR_IO;
        recover_not_ready(m, d, why.code, &why);
        if (deployment_is_over(d)) {
            return;
        }
    }
    conduct_change(m, d,
                   (struct change_event){.kind = r->ok ? CHANGE_IN_READY : CHANGE_IN_NOT_READY,
                                         .worker_id = w->id,
                                         .incarnation = r->incarnation,
                                         .term = r->term,
                                         .op = r->op},
                   &why, r->where);
}

/* A DONE may come twice: the first one counts. */
static bool is_first_done(const struct deployment *d, const struct member *w, uint64_t incarnation)
{
    for (size_t i = 0; i < d->change.part_count; i++) {
        const struct change_part *p = &d->change.parts[i];
        if (p->worker_id == w->id && p->incarnation == incarnation) {
            return !p->done;
        }
    }
    return false;
}

static void on_done(struct master *m, struct member *w, const struct msg_DONE *r)
{
    struct deployment *d = running_of_op(m, r->topology, r->op);
    if (d != NULL && d->graph != NULL) {
        if (is_answer_to(d, w, r->term, r->op, r->incarnation)) {
            tell_answer(m, d, w->name, "done", NULL);
            if (is_first_done(d, w, r->incarnation)) {
                recover_resent(d, r->resent);
            }
        }
        upgrade_note_done(d, r, w->id);
        conduct_change(m, d,
                       (struct change_event){.kind = CHANGE_IN_DONE,
                                             .worker_id = w->id,
                                             .incarnation = r->incarnation,
                                             .term = r->term,
                                             .op = r->op},
                       NULL, NULL);
    }
}

static void on_artifact_get(struct master *m, struct conn *c, const struct msg_ARTIFACT_GET *r)
{
    uint8_t *chunk = mem_alloc(ARTIFACT_CHUNK_BYTES);
    struct msg out = {.kind = M_ARTIFACT_CHUNK,
                      .ARTIFACT_CHUNK = {.digest = r->digest, .offset = r->offset}};
    struct msg_ARTIFACT_CHUNK *a = &out.ARTIFACT_CHUNK;
    size_t got = 0;
    a->missing = artifacts_read(&m->artifacts, r->digest, r->offset, chunk, ARTIFACT_CHUNK_BYTES,
                                &got, &a->total) != ERR_OK;
    a->data = (struct msg_bin){chunk, a->missing ? 0 : got};
    conn_send(c, &out);
    mem_free(chunk);
}

static void on_message(void *arg, struct conn *c, struct msg *msg)
{
    struct master *m = arg;
    struct member *w = members_by_conn(&m->members, c);
    if (w == NULL) {
        if (msg->kind == M_HELLO) {
            on_hello(m, c, &msg->HELLO);
        } else if (msg->kind == M_SNAPSHOT_PUT || msg->kind == M_SNAPSHOT_GET) {
            snapshots_take(&m->snapshots, c, msg);
        } else {
            conn_close(c, "spoke before HELLO");
        }
        return;
    }
    w->heard_at_us = clock_now_us();
    switch (msg->kind) {
    case M_READY:
        on_ready(m, w, &msg->READY);
        break;
    case M_DONE:
        on_done(m, w, &msg->DONE);
        break;
    case M_REPORT:
        conduct_report(m, w, &msg->REPORT);
        break;
    case M_REPORT_END:
        if (w->reporting) {
            w->reporting = false;
            conduct_joined(m, w);
        }
        break;
    case M_CHECKPOINT_ACK:
        keeping_ack(m, w, &msg->CHECKPOINT_ACK);
        break;
    case M_COMMITTED:
        keeping_committed(m, w, &msg->COMMITTED);
        break;
    case M_WILL_DONE:
        wills_done(m, w, &msg->WILL_DONE);
        break;
    case M_ARTIFACT_GET:
        on_artifact_get(m, c, &msg->ARTIFACT_GET);
        break;
    case M_REFUSED:
        log_event(LOG_WARN, "worker.refuses", "worker=%s what=\"%s\" hint=\"%s\"", w->name,
                  msg->REFUSED.what, msg->REFUSED.hint);
        break;
    default:
        log_event(LOG_WARN, "worker.unexpected", "worker=%s message=%s", w->name,
                  msg_name(msg->kind));
        conn_close(c, "sent what only a master sends");
        break;
    }
}

static void on_closed(void *arg, struct conn *c, const char *why)
{
    struct master *m = arg;
    struct member *w = members_by_conn(&m->members, c);
    if (w != NULL) {
        log_event(LOG_WARN, "worker.away", "worker=%s why=\"%s\"", w->name, why);
        members_closed(w, clock_now_us(), (uint64_t)m->options.lost_ms * 1000u);
        tell_worker(m, w);
    }
}
