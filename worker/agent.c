/* worker/agent.c - joining the master, carrying out its messages, reporting. */
#include "worker/agent_own.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/change.h"
#include "worker/hold.h"
#include "worker/probe.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { REPORT_SHARE = 16 }; /* reports of news take a sixteenth of the loop's time, at most */

static void connect_now(void *arg);
static void report_all(void *arg);

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
                                                 .on_saved = agent_on_saved,
                                                 .on_will = agent_on_will,
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
                               .on_lacking = agent_on_lacking,
                               .on_prepared = agent_on_prepared,
                               .on_change = agent_on_change,
                               .on_dropped = agent_on_dropped,
                               .arg = a};
    a->wills = (struct wills){.send = agent_send_from_will,
                              .wanted = agent_advance_all,
                              .idle = agent_on_will_idle,
                              .arg = a};
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

void agent_tell_parts(struct agent *a)
{
    unsigned parts = 0;
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        parts++;
    }
    if (a->o.callbacks.on_parts != NULL) {
        a->o.callbacks.on_parts(a->o.callbacks.arg, parts);
    }
}

void agent_send_report(struct agent *a, struct part *d)
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
void agent_report_soon(struct agent *a, struct part *d)
{
    if (clock_now_us() - d->reported_us >= d->report_took_us * REPORT_SHARE) {
        agent_send_report(a, d);
    }
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
            agent_follow_change(a, d);
            agent_follow_after(a, d);
            agent_follow_commit(a, d);
            part_update(d);
            agent_send_report(a, d);
        }
    }
}

/* ---------------------------------------------------------------- parts */

struct part *agent_find(struct agent *a, const char *topology)
{
    struct part *d = a->parts;
    while (d != NULL && (d->dropping || strcmp(d->name, topology) != 0)) {
        d = d->next;
    }
    return d;
}

static void on_stop(struct agent *a, const struct msg_STOP *m)
{
    struct part *d = agent_find(a, m->topology);
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
    struct part *d = agent_find(a, m->topology);
    struct instance *i = d != NULL && d->gen == m->gen ? part_instance(d, m->instance) : NULL;
    if (i != NULL && atomic_load(&i->chain) != NULL) {
        hold_skip(i, m->held);
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
    a->complained = false;
    a->retry_ms = RECONNECT_MS_MIN;
    about_told(&a->crash, a->o.crash_path);
    timer_stop(a->retry);
    conn_accepted(a->conn);
    conn_limit(a->conn, FRAME_BYTES_MAX);
    conn_heartbeat(a->conn);
    report_all(a);
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        if (!d->dropping && d->change != NULL && !change_is_going(d)) {
            agent_on_prepared(a, change_staged(d)); /* R2: ready, and asks what was decided */
        }
    }
    struct msg end = {.kind = M_REPORT_END};
    for (struct part *d = a->parts; d != NULL; d = d->next) {
        end.REPORT_END.count += d->dropping ? 0 : 1;
    }
    conn_send(a->conn, &end);
    timer_set(a->report, HEARTBEAT_MS, true);
    a->fetch.active = false;
    agent_advance(a);
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
            agent_prepare(a, m);
        }
        break;
    case M_GO:
        if (!stale(a, m->GO.term)) {
            agent_go(a, &m->GO);
        }
        break;
    case M_ABORT:
        if (!stale(a, m->ABORT.term)) {
            agent_abort(a, &m->ABORT);
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
            agent_checkpoint(a, &m->CHECKPOINT);
        }
        break;
    case M_CHECKPOINT_COMPLETE:
        if (!stale(a, m->CHECKPOINT_COMPLETE.term)) {
            agent_checkpoint_complete(a, &m->CHECKPOINT_COMPLETE);
        }
        break;
    case M_WILL:
        if (!stale(a, m->WILL.term)) {
            wills_take(&a->wills, &m->WILL);
        }
        break;
    case M_ARTIFACT_CHUNK:
        agent_artifact_chunk(a, &m->ARTIFACT_CHUNK);
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
    /* Of a master that is not there once is enough; it is tried on and on. */
    log_event(a->joined || !a->complained ? LOG_WARN : LOG_INFO, "agent.disconnected",
              "why=\"%s\"", why);
    a->complained = true;
    a->conn = NULL;
    a->joined = false;
    a->fetch.active = false;
    timer_stop(a->report);
    timer_set(a->retry, a->retry_ms, false);
    a->retry_ms = a->retry_ms * 2 < RECONNECT_MS_MAX ? a->retry_ms * 2 : RECONNECT_MS_MAX;
}

static const struct conn_ops agent_ops = {
    .on_open = on_open, .on_message = on_message, .on_closed = on_closed};

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
