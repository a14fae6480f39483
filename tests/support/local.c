/* tests/support/local.c - a worker without master, for tests of worker/. */
#include "tests/support/local.h"

#include "core/clock.h"
#include "core/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { DEADLINE_S = 60 };

struct local {
    struct loop *loop;
    struct pool *pool;
    struct executors *executors;
    struct links *links;
    struct part_env env;
    struct part *parts;
    pthread_t thread;
    char name[32], address[64];
    uint64_t incarnation;
    struct timer *tick;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* what the test waits for; looked at on the loop's thread, where nothing else moves */
    bool (*is)(const void *arg);
    const void *is_arg;
    bool held;
    bool dropped;
    struct change_result result;
    bool refused; /* the last DISCARD */
    bool changed_over;
};

static void changed(struct local *l)
{
    pthread_mutex_lock(&l->lock);
    if (l->is != NULL && l->is(l->is_arg)) {
        l->is = NULL;
        l->held = true;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

static void on_prepared(void *arg, struct part *d)
{
    (void)d;
    changed(arg);
}

static void on_change(void *arg, struct part *d)
{
    struct local *l = arg;
    part_look_ready(d);
    l->changed_over = change_update(d, &l->result) || l->changed_over;
    part_update(d);
    changed(arg);
}

static void on_dropped(void *arg, struct part *d)
{
    struct local *l = arg;
    part_free(d);
    l->dropped = true;
    changed(l);
}

static void on_go(void *arg, const struct msg_LINK_GO *go)
{
    (void)arg;
    (void)go;
}

static void on_tick(void *arg) /* epochs and drained links are polled, states are told */
{
    struct local *l = arg;
    for (struct part *d = l->parts; d != NULL; d = d->next) {
        if (!d->dropping) {
            l->changed_over = change_update(d, &l->result) || l->changed_over;
            part_update(d);
            change_sweep(d);
        }
    }
    changed(l);
}

static void on_state(void *arg, const struct msg_LINK_STATE *m)
{
    struct local *l = arg;
    for (struct part *d = l->parts; d != NULL; d = d->next) {
        change_on_state(d, m);
    }
}

static void on_state_ack(void *arg, const struct msg_LINK_STATE_ACK *m)
{
    struct local *l = arg;
    for (struct part *d = l->parts; d != NULL; d = d->next) {
        change_on_ack(d, m);
    }
}

static void on_peer(void *arg)
{
    struct local *l = arg;
    for (struct part *d = l->parts; d != NULL; d = d->next) {
        change_on_peer(d);
    }
}

static void *thread_main(void *arg)
{
    struct local *l = arg;
    loop_run(l->loop);
    return NULL;
}

struct local *local_new(const char *name, unsigned executors)
{
    static const struct links_ops ops = {.on_go = on_go, .on_open = on_tick, .on_drained = on_tick,
                                         .on_state = on_state, .on_state_ack = on_state_ack,
                                         .on_peer = on_peer};
    struct local *l = mem_alloc(sizeof *l);
    struct address any = {.host = "127.0.0.1", .port = 0};
    struct fail f = {0};
    snprintf(l->name, sizeof l->name, "%s", name);
    l->loop = loop_new();
    l->pool = pool_new(1 << 20);
    l->executors = executors_new(executors);
    l->links = links_new(l->loop, l->pool, &any, &ops, l, &f);
    assert_non_null(l->links);
    l->incarnation = clock_now_ns();
    links_identity(l->links, l->name, l->incarnation);
    snprintf(l->address, sizeof l->address, "127.0.0.1:%u", links_port(l->links));
    l->env = (struct part_env){.loop = l->loop,
                                     .pool = l->pool,
                                     .executors = l->executors,
                                     .links = l->links,
                                     .worker_name = l->name,
                                     .artifact_dir = "/nonexistent",
                                     .on_prepared = on_prepared,
                                     .on_change = on_change,
                                     .on_dropped = on_dropped,
                                     .arg = l};
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    l->tick = timer_new(l->loop, on_tick, l);
    timer_set(l->tick, 5, true);
    assert_int_equal(pthread_create(&l->thread, NULL, thread_main, l), 0);
    return l;
}

void local_free(struct local *l)
{
    loop_quit(l->loop);
    pthread_join(l->thread, NULL);
    timer_free(l->tick);
    links_free(l->links);
    executors_free(l->executors);
    loop_free(l->loop);
    assert_int_equal(pool_bytes_used(l->pool), 0);
    pool_free(l->pool);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

const char *local_address(const struct local *l)
{
    return l->address;
}

uint64_t local_incarnation(const struct local *l)
{
    return l->incarnation;
}

struct pool *local_pool(struct local *l)
{
    return l->pool;
}

/* ---------------------------------------------------------------- calls on the loop */

enum verb { DEPLOY, GO, DRAIN, INJECT, DROP, CHANGE, CHANGE_GO, CHANGE_ABORT, DISCARD };
struct call {
    struct local *local;
    enum verb verb;
    const struct msg *prepare;
    struct part *part, *staged;
    uint64_t epoch;
    bool done;
};

static void unlink_part(struct local *l, const struct part *d)
{
    struct part **at = &l->parts;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
}

static void call_on_loop(void *arg)
{
    struct call *c = arg;
    struct local *l = c->local;
    switch (c->verb) {
    case DEPLOY:
        c->part = part_new(&l->env, c->prepare);
        c->part->next = l->parts;
        l->parts = c->part;
        part_prepare(c->part);
        break;
    case GO:
        part_go(c->part);
        break;
    case DRAIN:
        part_drain(c->part);
        break;
    case INJECT:
        part_inject(c->part, c->epoch);
        break;
    case CHANGE:
        c->staged = part_stage(c->part, c->prepare);
        part_prepare(c->staged);
        break;
    case DISCARD:
        l->refused = !change_discard(c->part, (void *)(uintptr_t)&c->prepare->PREPARE);
        break;
    case CHANGE_GO:
        l->changed_over = false;
        if (c->part->change != NULL) {
            change_go(c->part);
        } else {
            part_go(c->part);
        }
        break;
    case CHANGE_ABORT:
        change_abort(c->part);
        break;
    case DROP:
        unlink_part(l, c->part);
        l->dropped = false;
        part_drop(c->part);
        break;
    }
    c->done = true;
    changed(l);
}

static void look(void *arg)
{
    changed(arg);
}

static void wait_until(struct local *l, bool (*is)(const void *arg), const void *arg)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    int timed_out = 0;
    pthread_mutex_lock(&l->lock);
    l->held = false;
    l->is = is;
    l->is_arg = arg;
    loop_post(l->loop, look, l);
    while (!l->held && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&l->changed, &l->lock, &until);
    }
    bool held = l->held;
    l->is = NULL;
    pthread_mutex_unlock(&l->lock);
    assert_true(held);
}

static bool call_done(const void *arg)
{
    return ((const struct call *)arg)->done;
}

static struct part *call(struct local *l, struct call c)
{
    c.local = l;
    loop_post(l->loop, call_on_loop, &c);
    wait_until(l, call_done, &c);
    return c.staged != NULL ? c.staged : c.part;
}

static bool is_prepared(const void *arg)
{
    const struct part *d = arg;
    return d->state != DEPLOYMENT_PREPARING;
}

struct part *local_deploy(struct local *l, const struct msg *prepare)
{
    struct part *d = call(l, (struct call){.verb = DEPLOY, .prepare = prepare});
    wait_until(l, is_prepared, d);
    if (d->failed) {
        fail_msg("%s: %s", d->fail_where, d->fail.what);
    }
    return d;
}

void local_go(struct local *l, struct part *d)
{
    call(l, (struct call){.verb = GO, .part = d});
}

void local_drain(struct local *l, struct part *d)
{
    call(l, (struct call){.verb = DRAIN, .part = d});
}

void local_inject(struct local *l, struct part *d, uint64_t epoch)
{
    call(l, (struct call){.verb = INJECT, .part = d, .epoch = epoch});
}

struct state_wanted {
    struct part *d;
    enum deployment_state state;
};

static bool has_state(const void *arg)
{
    const struct state_wanted *w = arg;
    return w->d->state == w->state;
}

void local_wait(struct local *l, struct part *d, enum deployment_state state)
{
    struct state_wanted w = {d, state};
    wait_until(l, has_state, &w);
}

struct epoch_wanted {
    struct part *d;
    uint64_t epoch;
};

static bool has_epoch(const void *arg)
{
    const struct epoch_wanted *w = arg;
    for (uint32_t k = 0; k < w->d->instance_count; k++) {
        if (atomic_load(&w->d->instances[k]->stats.epoch_passed) != w->epoch) {
            return false;
        }
    }
    return true;
}

void local_wait_epoch(struct local *l, struct part *d, uint64_t epoch)
{
    struct epoch_wanted w = {d, epoch};
    wait_until(l, has_epoch, &w);
}

struct links_wanted {
    const struct links *links;
    unsigned count;
};

static bool has_links(const void *arg)
{
    const struct links_wanted *w = arg;
    return links_count(w->links) == w->count;
}

void local_wait_links(struct local *l, unsigned count)
{
    struct links_wanted w = {l->links, count};
    wait_until(l, has_links, &w);
}

static bool is_staged(const void *arg) /* it is pending first, then the change's */
{
    const struct part *base = arg;
    return base->pending == NULL && base->change != NULL &&
           change_staged(base)->state != DEPLOYMENT_PREPARING;
}

static bool is_clear(const void *arg)
{
    return change_is_clear(arg);
}

bool local_discard(struct local *l, struct part *d, const struct msg *prepare)
{
    (void)call(l, (struct call){.verb = DISCARD, .part = d, .prepare = prepare});
    if (!l->refused) {
        wait_until(l, is_clear, d);
    }
    return !l->refused;
}

void local_change_begin(struct local *l, struct part *d, const struct msg *prepare)
{
    call(l, (struct call){.verb = CHANGE, .part = d, .prepare = prepare});
}

void local_change_ready(struct local *l, struct part *d)
{
    wait_until(l, is_staged, d);
    const struct part *staged = change_staged(d);
    if (staged->failed) {
        fail_msg("%s: %s", staged->fail_where, staged->fail.what);
    }
}

void local_change(struct local *l, struct part *d, const struct msg *prepare)
{
    struct part *staged = call(l, (struct call){.verb = CHANGE, .part = d, .prepare = prepare});
    wait_until(l, is_prepared, staged);
    if (staged->failed) {
        fail_msg("%s: %s", staged->fail_where, staged->fail.what);
    }
}

static bool is_changed(const void *arg)
{
    return ((const struct local *)arg)->changed_over;
}

void local_change_start(struct local *l, struct part *d)
{
    call(l, (struct call){.verb = CHANGE_GO, .part = d});
}

void local_change_wait(struct local *l, struct change_result *out)
{
    wait_until(l, is_changed, l);
    *out = l->result;
}

void local_change_go(struct local *l, struct part *d, struct change_result *out)
{
    local_change_start(l, d);
    local_change_wait(l, out);
}

void local_change_abort(struct local *l, struct part *d)
{
    call(l, (struct call){.verb = CHANGE_ABORT, .part = d});
}

static bool is_swept(const void *arg)
{
    const struct part *d = arg;
    for (uint32_t k = 0; k < d->chain_count; k++) {
        if (d->chains[k]->dead) {
            return false;
        }
    }
    return d->graves == NULL;
}

void local_wait_swept(struct local *l, struct part *d)
{
    wait_until(l, is_swept, d);
}

void local_wait_for(struct local *l, bool (*is)(const void *arg), const void *arg)
{
    wait_until(l, is, arg);
}

static bool is_dropped(const void *arg)
{
    return ((const struct local *)arg)->dropped;
}

void local_drop(struct local *l, struct part *d)
{
    call(l, (struct call){.verb = DROP, .part = d});
    wait_until(l, is_dropped, l);
}

/* ---------------------------------------------------------------- plans */

void plan_init(struct plan *p, const char *topology)
{
    memset(p, 0, sizeof *p);
    p->msg.kind = M_PREPARE;
    p->msg.PREPARE.topology = topology;
    p->msg.PREPARE.op = 1;
    p->msg.PREPARE.version = 1;
    p->msg.PREPARE.base_dir = "/";
    p->msg.PREPARE.add_instances = p->instances;
    p->msg.PREPARE.streams = p->streams;
    p->msg.PREPARE.add_channels = p->channels;
    p->msg.PREPARE.workers = p->workers;
}

unsigned plan_pe(struct plan *p, const char *type, const char *params, unsigned count,
                 const char *in_schema, const char *out_schema, const char *worker)
{
    struct msg_PREPARE *m = &p->msg.PREPARE;
    unsigned pe = p->pes++;
    p->pe_first[pe] = (unsigned)m->add_instances_count;
    p->pe_count[pe] = count;
    for (unsigned i = 0; i < count; i++) {
        size_t k = m->add_instances_count++;
        struct rec_INSTANCE_SPEC *s = &p->instances[k];
        p->where[k] = worker;
        *s = (struct rec_INSTANCE_SPEC){
            .id = k + 1, .pe = type, .type = type, .params = params, .index = i,
            .parallelism = count};
        p->ports[k][0] = (struct rec_PORT_SPEC){.name = "in", .schema = in_schema};
        p->ports[k][0].connected = true;
        p->ports[k][1] = (struct rec_PORT_SPEC){.name = "out", .schema = out_schema};
        p->ports[k][1].connected = true;
        s->inputs = &p->ports[k][0];
        s->inputs_count = in_schema[0] != '\0';
        s->outputs = &p->ports[k][1];
        s->outputs_count = out_schema[0] != '\0';
    }
    return pe;
}

void plan_stream(struct plan *p, unsigned from, unsigned to, enum plan_partitioning how,
                 uint32_t key, bool fused)
{
    struct msg_PREPARE *m = &p->msg.PREPARE;
    size_t s = m->streams_count++;
    p->keys[s] = key;
    unsigned consumers = p->pe_count[to];
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        p->owners[s][g] = (uint16_t)(g * consumers / KEY_GROUPS);
    }
    p->streams[s] = (struct rec_STREAM_SPEC){.id = s + 1, .name = "s", .partitioning = how};
    if (how == PLAN_KEYED) {
        p->streams[s].keys = (struct msg_bin){(const uint8_t *)&p->keys[s], sizeof p->keys[s]};
        p->streams[s].owners = (struct msg_bin){(const uint8_t *)p->owners[s],
                                                sizeof p->owners[s]};
    }
    bool one_to_one = how == PLAN_BALANCED && p->pe_count[from] == consumers;
    for (unsigned i = 0; i < p->pe_count[from]; i++) {
        for (unsigned k = 0; k < consumers; k++) {
            if (one_to_one && i != k) {
                continue;
            }
            unsigned a = p->pe_first[from] + i, b = p->pe_first[to] + k;
            size_t c = m->add_channels_count++;
            assert_true(c < PLAN_MAX);
            p->channels[c] = (struct rec_CHANNEL_SPEC){
                .id = c + 1, .stream = s + 1, .from = a + 1, .to = b + 1, .from_index = i,
                .to_index = k, .from_worker = p->where[a], .to_worker = p->where[b],
                .fused = fused};
            p->instances[b].chain = fused ? p->instances[a].chain : 0;
        }
    }
}

const struct msg *plan_for(struct plan *p, const char *worker)
{
    static struct plan part; /* tidy: test support, one thread */
    part = *p;
    struct msg_PREPARE *m = &part.msg.PREPARE;
    size_t kept = 0;
    for (size_t k = 0; k < p->msg.PREPARE.add_instances_count; k++) {
        if (strcmp(p->where[k], worker) == 0) {
            part.instances[kept++] = p->instances[k];
        }
    }
    m->add_instances = part.instances;
    m->add_instances_count = kept;
    kept = 0;
    for (size_t c = 0; c < p->msg.PREPARE.add_channels_count; c++) {
        if (strcmp(p->channels[c].from_worker, worker) == 0 ||
            strcmp(p->channels[c].to_worker, worker) == 0) {
            part.channels[kept++] = p->channels[c];
        }
    }
    m->add_channels = part.channels;
    m->add_channels_count = kept;
    m->workers = part.workers;
    m->workers_count = 2;
    return &part.msg;
}
