/* worker/agent.c - joining the master, carrying out its messages, reporting. */
#include "worker/agent.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/strbuf.h"
#include "worker/about.h"
#include "worker/change.h"
#include "worker/checkpoint_acks.h"
#include "worker/hold.h"
#include "worker/probe.h"
#include "worker/wills.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPORT_SHARE = 16 }; /* reports of news take a sixteenth of the loop's time, at most */

struct fetch { /* one artifact at a time */
    char digest[SHA256_HEX_BYTES];
    struct strbuf bytes;
    bool active;
};

struct agent {
    struct agent_options o;
    struct part_env env;
    char *name, *artifact_dir, *host, *types;
    struct labels labels;
    struct conn *conn;
    bool joined;
    uint64_t term;          /* highest seen */
    uint64_t retry_ms;
    struct timer *retry, *report;
    struct part *parts;
    struct saver *saver;
    struct acks acks;       /* of the newest checkpoints: the master may ask again */
    struct wills wills;
    struct fetch fetch;
    struct crash *crash;    /* not told yet; NULL: none */
    void (*on_idle)(void *arg);
    void *idle_arg;
};

static void connect_now(void *arg);
static void report_all(void *arg);
static struct part *find(struct agent *a, const char *topology);
static void on_lacking(void *arg, struct part *d);
static void on_prepared(void *arg, struct part *d);
static void on_change(void *arg, struct part *d);
static void on_dropped(void *arg, struct part *d);
static void on_saved(void *arg, const struct saved *s);
static bool on_will(void *arg, const struct saved *s);
static void send_from_will(void *arg, const struct msg *m);
static void advance_all(void *arg);
static void will_idle(void *arg);
static void follow_change(struct agent *a, struct part *d);
static void follow_after(struct agent *a, struct part *d);

/* ---------------------------------------------------------------- making */

struct agent *agent_new(const struct agent_options *o, struct fail *f)
{
    struct agent *a = mem_alloc(sizeof *a);
    a->o = *o;
    a->name = mem_dup(o->name);
    a->artifact_dir = mem_printf("%s/artifacts", o->data_dir);
    a->host = about_host();
    a->types = about_types();
    a->retry_ms = RECONNECT_MS_MIN;
    a->saver = saver_new(&(struct saver_options){.loop = o->loop,
                                                 .master = o->master,
                                                 .worker = a->name,
                                                 .incarnation = o->incarnation,
                                                 .on_saved = on_saved,
                                                 .on_will = on_will,
                                                 .arg = a});
    a->env = (struct part_env){.loop = o->loop,
                                     .pool = o->pool,
                                     .executors = o->executors,
                                     .links = o->links,
                                     .worker_name = a->name,
                                     .artifact_dir = a->artifact_dir,
                                     .saver = a->saver,
                                     .master = o->master,
                                     .incarnation = o->incarnation,
                                     .on_lacking = on_lacking,
                                     .on_prepared = on_prepared,
                                     .on_change = on_change,
                                     .on_dropped = on_dropped,
                                     .arg = a};
    a->wills = (struct wills){
        .send = send_from_will, .wanted = advance_all, .idle = will_idle, .arg = a};
    wills_init(&a->wills, &a->env);
    a->crash = about_crash(o->crash_path);
    a->retry = timer_new(o->loop, connect_now, a);
    a->report = timer_new(o->loop, report_all, a);
    if (about_labels(o->labels, &a->labels, f) != ERR_OK ||
        file_make_dirs(a->artifact_dir, f) != ERR_OK) {
        agent_free(a);
        return NULL;
    }
    connect_now(a);
    return a;
}

void agent_free(struct agent *a)
{
    if (a == NULL) {
        return;
    }
    if (a->conn != NULL) {
        static const struct conn_ops nobody = {0};
        conn_set(a->conn, &nobody, NULL);
        conn_close(a->conn, "the worker ends");
    }
    timer_free(a->retry);
    timer_free(a->report);
    saver_free(a->saver);
    acks_fini(&a->acks);
    labels_fini(&a->labels);
    mem_free(a->crash);
    strbuf_fini(&a->fetch.bytes);
    mem_free(a->name);
    mem_free(a->artifact_dir);
    mem_free(a->host);
    mem_free(a->types);
    mem_free(a);
}

/* ---------------------------------------------------------------- sending */

static void tell_parts(struct agent *a)
{
    unsigned parts = 0;
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        parts++;
    }
    if (a->o.callbacks.on_parts != NULL) {
        a->o.callbacks.on_parts(a->o.callbacks.arg, parts);
    }
}

static void send_report(struct agent *a, struct part *d)
{
    if (!a->joined) {
        return;
    }
    uint64_t start_us = clock_now_us();
    struct msg m = {0};
    struct report_arena *arena = part_report(d, &m);
    conn_send(a->conn, &m);
    report_arena_free(arena);
    d->reported_us = clock_now_us();
    d->report_took_us = d->reported_us - start_us;
}

/* News that can wait for the next report of all: of 65,536 channels it takes a while, and a change
 * of a wide graph brings hundreds of news. */
static void report_soon(struct agent *a, struct part *d)
{
    if (clock_now_us() - d->reported_us >= d->report_took_us * REPORT_SHARE) {
        send_report(a, d);
    }
}

/* ---------------------------------------------------------------- checkpoints */

static void send_ack(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    struct msg m;
    acks_message(s, a->o.incarnation, &m);
    if (a->joined) {
        conn_send(a->conn, &m);
    }
}

static void on_saved(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    acks_keep(&a->acks, s);
    send_ack(a, s);
}

/* H1 of the change: DONE waits for it. */
static bool on_will(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    struct part *d = find(a, s->topology);
    FAILPOINT("will.stored");
    if (d == NULL || d->gen != s->gen || !change_on_will(d, s->instance, s->epoch, s->ok)) {
        return false;
    }
    if (s->ok) {
        follow_change(a, d);
    }
    return !s->ok;
}

static void send_from_will(void *arg, const struct msg *m)
{
    struct agent *a = arg;
    if (a->joined) {
        conn_send(a->conn, m);
    }
}

/* The sinks here may have committed what is complete. */
static void follow_commit(struct agent *a, struct part *d)
{
    const char *pe = "";
    if (d->commit_epoch == d->committed_epoch || !a->joined || !part_committed(d, &pe)) {
        return;
    }
    char what[NAME_BYTES_MAX + 80] = "";
    if (pe[0] != '\0') {
        snprintf(what, sizeof what, "PE %s could not commit: see the worker's log", pe);
    }
    struct msg m = {.kind = M_COMMITTED};
    m.COMMITTED = (struct msg_COMMITTED){.topology = d->name,
                                         .gen = d->gen,
                                         .epoch = d->commit_epoch,
                                         .incarnation = a->o.incarnation,
                                         .ok = pe[0] == '\0',
                                         .what = what};
    d->committed_epoch = d->commit_epoch;
    FAILPOINT("checkpoint.committed");
    conn_send(a->conn, &m);
}

static void on_checkpoint(struct agent *a, const struct msg_CHECKPOINT *m)
{
    struct part *d = find(a, m->topology);
    if (d != NULL && d->gen == m->gen && d->state >= DEPLOYMENT_RUNNING &&
        d->state <= DEPLOYMENT_ENDED) {
        acks_each(&a->acks, m->topology, m->gen, m->epoch, send_ack, a); /* asked again */
        part_inject(d, m->epoch);
    }
}

/* In a folder it is workers that remove what nobody needs. */
static void sweep_folder(struct agent *a, const struct part *d,
                         const struct msg_CHECKPOINT_COMPLETE *m)
{
    const char *location = d->plan.PREPARE.location;
    size_t count = m->needed.bytes / sizeof(uint64_t);
    if (location[0] == '\0' || count == 0) {
        return;
    }
    uint64_t *needed = mem_array(count, sizeof *needed);
    memcpy(needed, m->needed.data, count * sizeof *needed);
    saver_sweep(a->saver, location, d->name, needed, count, m->epoch);
}

static void on_complete(struct agent *a, const struct msg_CHECKPOINT_COMPLETE *m)
{
    struct part *d = find(a, m->topology);
    if (d == NULL || d->gen != m->gen || d->state < DEPLOYMENT_RUNNING) {
        return;
    }
    if (m->epoch == d->committed_epoch) {
        d->committed_epoch = 0; /* told before, and asked again */
    }
    FAILPOINT("checkpoint.complete");
    sweep_folder(a, d, m);
    part_commit(d, m->epoch);
    follow_commit(a, d);
}

/* What is not sent yet need not be: the master recovers what this process held. */
static void renew(struct agent *a, const char *why)
{
    if (a->o.callbacks.on_renew != NULL) {
        log_event(LOG_WARN, "worker.renews", "why=\"%s\"", why);
        a->o.callbacks.on_renew(a->o.callbacks.arg, why);
    }
}

static void report_all(void *arg)
{
    struct agent *a = arg;
    char why[2 * NAME_BYTES_MAX + 100];
    if (probe_must_renew(a->parts, why, sizeof why)) {
        renew(a, why);
    }
    agent_links_open(a); /* or not: deadlines */
    saver_again(a->saver);
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping) {
            follow_change(a, d);
            follow_after(a, d);
            follow_commit(a, d);
            part_update(d);
            send_report(a, d);
        }
    }
}

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

/* ---------------------------------------------------------------- parts */

static struct part *find(struct agent *a, const char *topology)
{
    struct part *d = a->parts;
    while (d != NULL && (d->dropping || strcmp(d->name, topology) != 0)) {
        d = d->next;
    }
    return d;
}

static void ask_artifact(struct agent *a)
{
    struct msg m = {.kind = M_ARTIFACT_GET};
    m.ARTIFACT_GET.digest = a->fetch.digest;
    m.ARTIFACT_GET.offset = a->fetch.bytes.bytes;
    conn_send(a->conn, &m);
}

static void begin_part(struct agent *a, struct part *d)
{
    const char *digest = part_artifact(d);
    if (digest == NULL) {
        part_prepare(d);
    } else if (!sha256_is_hex(digest)) {
        d->failed = true;
        (void)fail_set(&d->fail, ERR_INVALID, "", "malformed artifact digest");
        d->env->on_prepared(d->env->arg, d);
    } else if (!a->fetch.active && a->joined) {
        a->fetch.active = true;
        snprintf(a->fetch.digest, sizeof a->fetch.digest, "%s", digest);
        strbuf_clear(&a->fetch.bytes);
        ask_artifact(a);
    }
}

/* Start what can start: fetch the next artifact somebody lacks, prepare those who lack none. */
static void advance(struct agent *a)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->pending != NULL ? p->pending : p;
        if (!d->dropping && !d->preparing && d->state == DEPLOYMENT_PREPARING) {
            begin_part(a, d);
        }
    }
    for (struct part *d = NULL; (d = wills_waiting(&a->wills, d)) != NULL;) {
        begin_part(a, d);
    }
}

static void advance_all(void *arg)
{
    advance(arg);
}

static void on_lacking(void *arg, struct part *d)
{
    (void)d;
    advance(arg);
}

static void fail_waiting(struct agent *a, const char *what)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->pending != NULL ? p->pending : p;
        const char *digest = d->preparing || d->dropping || d->state != DEPLOYMENT_PREPARING
                                 ? NULL
                                 : part_artifact(d);
        if (digest != NULL && strcmp(digest, a->fetch.digest) == 0) {
            d->failed = true;
            d->state = DEPLOYMENT_FAILED;
            (void)fail_set(&d->fail, ERR_NOTFOUND, "deploy again", "artifact %.12s: %s", digest,
                           what);
            on_prepared(a, d);
        }
    }
    for (struct part *d = NULL; (d = wills_waiting(&a->wills, d)) != NULL;) {
        const char *digest = part_artifact(d);
        if (digest != NULL && strcmp(digest, a->fetch.digest) == 0) {
            (void)fail_set(&d->fail, ERR_NOTFOUND, "", "artifact %.12s: %s", digest, what);
            wills_fail(&a->wills, d);
        }
    }
}

static void on_chunk(struct agent *a, const struct msg_ARTIFACT_CHUNK *c)
{
    struct fetch *fetch = &a->fetch;
    if (!fetch->active || strcmp(c->digest, fetch->digest) != 0 ||
        c->offset != fetch->bytes.bytes) {
        return;
    }
    bool bad = c->missing || c->total > HTTP_ARTIFACT_BYTES_MAX ||
               (c->data.bytes == 0 && c->total > c->offset);
    if (!bad) {
        strbuf_add(&fetch->bytes, c->data.data, c->data.bytes);
        if (fetch->bytes.bytes < c->total) {
            ask_artifact(a);
            return;
        }
    }
    char digest[SHA256_HEX_BYTES];
    sha256_hex(fetch->bytes.data, fetch->bytes.bytes, digest);
    struct fail f = {.what = "the master does not have it"};
    if (!bad && strcmp(digest, fetch->digest) != 0) {
        (void)fail_set(&f, ERR_CORRUPT, "", "the bytes received have another digest");
        bad = true;
    }
    if (!bad) {
        char *file = mem_printf("%s/%s.so", a->artifact_dir, digest);
        bad = file_make_dirs(a->artifact_dir, &f) != ERR_OK ||
              file_write_safe(file, fetch->bytes.data, fetch->bytes.bytes, &f) != ERR_OK;
        mem_free(file);
    }
    fetch->active = false;
    if (bad) {
        fail_waiting(a, f.what);
    }
    advance(a);
}

static void refuse_beside(struct agent *a, const struct msg_PREPARE *plan)
{
    struct fail why = {0};
    (void)fail_set(&why, ERR_AGAIN, "the whole topology is recovered instead",
                   "topology \"%s\" is changing or ending", plan->topology);
    send_ready(a, plan, NULL, &why);
}

/* What a recovery left beside what was staged, or an ABORT, is gone: the next one's turn. */
static void follow_after(struct agent *a, struct part *d)
{
    switch (beside_turn(d)) {
    case BESIDE_WAITS:
        break;
    case BESIDE_BEGINS:
        advance(a);
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

static void on_prepare(struct agent *a, const struct msg *m)
{
    const struct msg_PREPARE *plan = &m->PREPARE;
    struct part *d = find(a, plan->topology);
    if (d != NULL && d->op == plan->op) { /* asked again by a master that came back */
        if (d->state == DEPLOYMENT_READY || d->failed) {
            on_prepared(a, d);
        }
        return;
    }
    if (d != NULL && change_op(d) == plan->op) {
        if (change_staged(d)->state != DEPLOYMENT_PREPARING) { /* else READY comes in its time */
            on_prepared(a, change_staged(d));
        }
        return;
    }
    if (d != NULL && ((d->pending != NULL && d->pending->op == plan->op && !d->pending->failed) ||
                      (d->after != NULL && d->after->op == plan->op))) {
        return; /* the same */
    }
    if (d != NULL && plan->gen > d->gen && plan->stay_instances_count > 0) {
        if (beside_take(d, m)) {
            follow_after(a, d);
        } else {
            refuse_beside(a, plan);
        }
        return;
    }
    if (d != NULL && plan->gen > d->gen && plan->base_version == 0) {
        part_drop(d); /* a recovery: what ran before it is void; READY waits until it is gone */
        d = NULL;
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
        advance(a);
        return;
    } else {
        d = part_new(&a->env, m);
        d->next = a->parts;
        a->parts = d;
        tell_parts(a);
        advance(a);
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
    bool narrow = d->base == NULL || waited_us >= (uint64_t)SQUEEZE_MS * 1000 ||
                  change_squeezed(d->base);
    return peer != NULL || !narrow || (d->base != NULL && !change_ends_are_known(d->base));
}

static void on_prepared(void *arg, struct part *d)
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
        send_report(a, d->base);
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
static void follow_change(struct agent *a, struct part *d)
{
    struct change_result r;
    if (change_is_made(d)) {
        send_report(a, d); /* the last that is said of what it removes */
    }
    if (change_update(d, &r)) {
        mem_free(d->last_change.pauses_us);
        d->last_change = r;
        log_event(LOG_INFO, "part.changed", "topology=%s op=%" PRIu64 " switch_us=%" PRIu64,
                  d->name, d->op, r.switch_us);
        if (part_update(d)) {
            send_report(a, d); /* first: when all is done, the master asks whether all has ended */
        }
        send_done(a, d);
    }
    change_sweep(d);
}

static void on_change(void *arg, struct part *d)
{
    struct agent *a = arg;
    part_look_ready(d);
    struct part *staged = d->change != NULL ? change_staged(d) : NULL;
    if (staged != NULL && staged->waits_since_us != 0 && !d->dropping) {
        on_prepared(a, staged);
    }
    follow_change(a, d);
    follow_commit(a, d);
    bool changed = part_update(d);
    if (changed) {
        log_event(LOG_INFO, "part.state", "topology=%s state=%d", d->name, (int)d->state);
    }
    follow_after(a, d);
    if (changed) {
        send_report(a, d);
    } else {
        report_soon(a, d);
    }
}

static void on_dropped(void *arg, struct part *d)
{
    struct agent *a = arg;
    struct part **at = &a->parts;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    log_event(LOG_INFO, "part.dropped", "topology=%s", d->name);
    struct part *next = find(a, d->name);
    part_free(d);
    tell_parts(a);
    if (next != NULL && !next->preparing &&
        (next->state == DEPLOYMENT_READY || next->state == DEPLOYMENT_FAILED)) {
        on_prepared(a, next); /* it waited for this one to be gone */
    }
    will_idle(a);
}

static void will_idle(void *arg)
{
    struct agent *a = arg;
    if (a->parts == NULL && a->wills.first == NULL && a->on_idle != NULL) {
        a->on_idle(a->idle_arg);
    }
}

static void go(struct agent *a, const char *topology, uint64_t op, uint64_t gen)
{
    struct part *d = find(a, topology);
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

static void on_go(struct agent *a, const struct msg_GO *m)
{
    go(a, m->topology, m->op, m->gen);
    struct part *d = find(a, m->topology);
    if (d != NULL && d->op == m->op && d->state >= DEPLOYMENT_RUNNING && d->arriving == NULL) {
        send_done(a, d);
    } else if (d != NULL) {
        follow_change(a, d); /* nothing here may have had to cut */
    }
}

static void on_abort(struct agent *a, const struct msg_ABORT *m)
{
    struct part *d = find(a, m->topology);
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

static void on_stop(struct agent *a, const struct msg_STOP *m)
{
    struct part *d = find(a, m->topology);
    if (d == NULL || m->gen < d->gen) { /* I6: of what ran before */
        return;
    }
    if (m->now || m->retire) {
        part_drop(d);
    } else {
        part_drain(d);
    }
}

static void on_skip(struct agent *a, const struct msg_SKIP *m)
{
    struct part *d = find(a, m->topology);
    struct instance *i = d != NULL && d->gen == m->gen ? part_instance(d, m->instance) : NULL;
    if (i != NULL && atomic_load(&i->chain) != NULL) {
        hold_skip(i, m->held);
    }
}

void agent_links_open(struct agent *a)
{
    for (struct part *p = a->parts; p != NULL; p = p->next) {
        struct part *d = p->change != NULL ? change_staged(p) : p;
        if (d->waits_since_us != 0 && !d->dropping) {
            on_prepared(a, d);
        }
    }
}

void agent_links_drained(struct agent *a)
{
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping) {
            follow_change(a, d);
        }
        if (!d->dropping && part_update(d)) {
            send_report(a, d);
        }
    }
}

void agent_state(struct agent *a, const struct msg_LINK_STATE *m)
{
    struct part *d = find(a, m->topology);
    if (d != NULL) {
        change_on_state(d, m);
    }
}

void agent_state_ack(struct agent *a, const struct msg_LINK_STATE_ACK *m)
{
    struct part *d = find(a, m->topology);
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

void agent_halt(struct agent *a, void (*on_idle)(void *arg), void *arg)
{
    a->on_idle = on_idle;
    a->idle_arg = arg;
    if (a->parts == NULL && a->wills.first == NULL) {
        on_idle(arg);
        return;
    }
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        part_drop(d);
    }
    wills_halt(&a->wills);
}

/* ---------------------------------------------------------------- the connection */

static void on_open(void *arg, struct conn *c)
{
    struct agent *a = arg;
    struct msg m = {.kind = M_HELLO};
    char *address = mem_printf("%s:%u", a->o.listen_host, links_port(a->o.links));
    m.HELLO = (struct msg_HELLO){.protocol = PROTOCOL_VERSION,
                                 .name = a->name,
                                 .incarnation = a->o.incarnation,
                                 .address = address,
                                 .host = a->host,
                                 .slots = a->o.slots,
                                 .threads = a->o.threads,
                                 .types = a->types,
                                 .term_seen = a->term,
                                 .labels = a->labels.items,
                                 .labels_count = a->labels.count,
                                 .version = OXBOW_VERSION,
                                 .pid = (uint64_t)getpid(),
                                 .renews = a->o.callbacks.on_renew != NULL};
    about_add_crash(a->crash, &m.HELLO);
    conn_send(c, &m);
    mem_free(address);
}

static void on_welcome(struct agent *a, const struct msg_WELCOME *m)
{
    if (m->term < a->term) {
        conn_close(a->conn, "a master of an older term");
        return;
    }
    a->term = m->term;
    a->joined = true;
    a->retry_ms = RECONNECT_MS_MIN;
    about_told(&a->crash, a->o.crash_path);
    timer_stop(a->retry);
    conn_accepted(a->conn);
    conn_limit(a->conn, FRAME_BYTES_MAX);
    conn_heartbeat(a->conn);
    report_all(a);
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping && d->change != NULL && !change_is_going(d)) {
            on_prepared(a, change_staged(d)); /* R2: ready, and asks what was decided */
        }
    }
    struct msg end = {.kind = M_REPORT_END};
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        end.REPORT_END.count += d->dropping ? 0 : 1;
    }
    conn_send(a->conn, &end);
    timer_set(a->report, HEARTBEAT_MS, true);
    a->fetch.active = false;
    advance(a);
    a->o.callbacks.on_ready(a->o.callbacks.arg, a->name, links_port(a->o.links));
}

static bool stale(struct agent *a, uint64_t term) /* V1 */
{
    if (term > a->term) {
        a->term = term;
    }
    return term < a->term;
}

static void on_message(void *arg, struct conn *c, struct msg *m)
{
    struct agent *a = arg;
    if (!a->joined && m->kind != M_WELCOME && m->kind != M_REFUSED) {
        conn_close(c, "expected WELCOME");
        return;
    }
    switch (m->kind) {
    case M_WELCOME:
        on_welcome(a, &m->WELCOME);
        break;
    case M_REFUSED:
        a->o.callbacks.on_refused(a->o.callbacks.arg, m->REFUSED.what, m->REFUSED.hint);
        break;
    case M_PREPARE:
        if (!stale(a, m->PREPARE.term)) {
            on_prepare(a, m);
        }
        break;
    case M_GO:
        if (!stale(a, m->GO.term)) {
            on_go(a, &m->GO);
        }
        break;
    case M_ABORT:
        if (!stale(a, m->ABORT.term)) {
            on_abort(a, &m->ABORT);
        }
        break;
    case M_STOP:
        if (!stale(a, m->STOP.term)) {
            on_stop(a, &m->STOP);
        }
        break;
    case M_SKIP:
        if (!stale(a, m->SKIP.term)) {
            on_skip(a, &m->SKIP);
        }
        break;
    case M_RENEW:
        if (!stale(a, m->RENEW.term) && m->RENEW.incarnation == a->o.incarnation) {
            renew(a, m->RENEW.what);
        }
        break;
    case M_CHECKPOINT:
        if (!stale(a, m->CHECKPOINT.term)) {
            on_checkpoint(a, &m->CHECKPOINT);
        }
        break;
    case M_CHECKPOINT_COMPLETE:
        if (!stale(a, m->CHECKPOINT_COMPLETE.term)) {
            on_complete(a, &m->CHECKPOINT_COMPLETE);
        }
        break;
    case M_WILL:
        if (!stale(a, m->WILL.term)) {
            wills_take(&a->wills, &m->WILL);
        }
        break;
    case M_ARTIFACT_CHUNK:
        on_chunk(a, &m->ARTIFACT_CHUNK);
        break;
    default:
        log_event(LOG_WARN, "agent.unexpected", "message=%s", msg_name(m->kind));
        break;
    }
}

static void on_closed(void *arg, struct conn *c, const char *why)
{
    struct agent *a = arg;
    if (a->conn != c) {
        return;
    }
    log_event(a->joined ? LOG_WARN : LOG_INFO, "agent.disconnected", "why=\"%s\"", why);
    a->conn = NULL;
    a->joined = false;
    a->fetch.active = false;
    timer_stop(a->report);
    timer_set(a->retry, a->retry_ms, false);
    a->retry_ms = a->retry_ms * 2 < RECONNECT_MS_MAX ? a->retry_ms * 2 : RECONNECT_MS_MAX;
}

static const struct conn_ops agent_ops = {.on_open = on_open,
                                          .on_message = on_message,
                                          .on_closed = on_closed};

static void connect_now(void *arg)
{
    struct agent *a = arg;
    if (a->conn != NULL) {
        conn_close(a->conn, "the master does not answer"); /* on_closed tries again */
        return;
    }
    a->conn = conn_open(a->o.loop, &a->o.master, &agent_ops, a);
    timer_set(a->retry, HANDSHAKE_MS, false);
}
