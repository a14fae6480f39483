/* master/master.c - puts a master together: lock, store, term, what ran before, then the doors. */
#include "master/master.h"

#include "core/clock.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 100

static void on_tick(void *arg)
{
    struct master *m = arg;
    uint64_t now_us = clock_now_us();
    control_tick(m, now_us);
    conduct_tick(m, now_us);
    events_tick(&m->events, now_us);
}

/* Plug-ins are loaded by path in a child: a relative folder would depend on who looks. */
static enum err make_absolute(struct master *m, struct fail *f)
{
    char *path = realpath(m->options.data, NULL);
    if (path == NULL) {
        return fail_set(f, ERR_IO, "check the folder and its permissions", "cannot resolve %s: %s",
                        m->options.data, strerror(errno));
    }
    mem_free((void *)(uintptr_t)m->options.data);
    m->options.data = path;
    return ERR_OK;
}

static enum err open_parts(struct master *m, struct fail *f)
{
    enum err e = file_make_dirs(m->options.data, f);
    if (e == ERR_OK) {
        e = make_absolute(m, f);
    }
    if (e == ERR_OK) {
        e = file_lock(m->options.data, "stop the other master, or give this one its own --data",
                      &m->lock, f); /* for the life of the process */
    }
    if (e == ERR_OK) {
        e = store_sqlite_open(m->options.data, &m->store, f);
    }
    if (e == ERR_OK) {
        m->term = m->store->ops->term(m->store); /* durable: W1 */
        m->cluster = m->store->ops->cluster(m->store);
        events_init(&m->events, m->term);
        e = artifacts_init(&m->artifacts, m->options.data, f);
    }
    if (e == ERR_OK) {
        m->snapshots = (struct snapshots){
            .loop = m->loop, .jobs = &m->jobs, .may = control_may_save, .arg = m};
        e = snapshots_init(&m->snapshots, m->options.data, f);
    }
    if (e == ERR_OK) {
        types_init(&m->types);
        e = wills_load(m, f);
    }
    if (e == ERR_OK) {
        e = restore_all(m, f);
    }
    return e;
}

static enum err open_doors(struct master *m, struct fail *f)
{
    m->listener = listener_open(m->loop, &m->options.listen, WORKERS_MAX, &control_ops, m, f);
    if (m->listener == NULL) {
        return f->code;
    }
    m->http = http_open(m->loop, &m->options.http, &api_ops, m, m->options.request_ms, f);
    return m->http != NULL ? ERR_OK : f->code;
}

struct master *master_new(struct loop *loop, const struct master_options *o, struct fail *f)
{
    struct master *m = mem_alloc(sizeof *m);
    *m = (struct master){.options = *o, .loop = loop, .lock = -1};
    m->options.data = mem_dup(o->data);
    jobs_init(&m->jobs, loop);
    if (open_parts(m, f) != ERR_OK || open_doors(m, f) != ERR_OK) {
        master_free(m);
        return NULL;
    }
    m->tick = timer_new(loop, on_tick, m);
    timer_set(m->tick, TICK_MS, true);
    log_event(LOG_INFO, "master.up", "term=%" PRIu64 " topologies=%zu", m->term,
              m->deployments.count);
    return m;
}

void master_free(struct master *m)
{
    if (m == NULL) {
        return;
    }
    jobs_fini(&m->jobs); /* their answers still need the exchanges */
    if (m->tick != NULL) {
        timer_free(m->tick);
    }
    http_close(m->http);
    ask_fini(m);
    events_fini(&m->events);
    if (m->listener != NULL) {
        listener_close(m->listener);
    }
    snapshots_fini(&m->snapshots);
    running_sweep(m);
    deployments_fini(&m->deployments);
    wills_fini(&m->wills);
    members_fini(&m->members);
    types_fini(&m->types);
    artifacts_fini(&m->artifacts);
    if (m->store != NULL) {
        m->store->ops->close(m->store);
    }
    if (m->lock >= 0) {
        close(m->lock);
    }
    mem_free((void *)(uintptr_t)m->options.data);
    mem_free(m);
}
