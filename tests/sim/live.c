/* tests/sim/live.c - one upgrade through the worker's own code, step by step. */
#include "tests/sim/live.h"

#include "core/mem.h"
#include "pe/keys.h"
#include "pe/registry.h"
#include "tests/sim/live_os.h"
#include "tests/sim/live_pe.h"
#include "tests/sim/live_plan.h"
#include "tests/sim/order.h"
#include "worker/change.h"

#include <stdlib.h>
#include <string.h>

enum { OP_DEPLOY = 1, OP_CHANGE = 2, ROUNDS_MAX = 400000 };

struct tuple { /* what `seq` is the number of */
    uint8_t source, key;
    uint32_t order;
};

static struct {
    struct world *w;            /* image and oracle; its own actors rest */
    const struct image *im;
    uint32_t *node_of;          /* [ids] */
    uint32_t id_count;
    struct tuple tuples[IDENTS];
    uint32_t total[64];         /* [sources]: rows to emit */
    uint64_t epoch;             /* of the change under way */
    struct pool *pool;
    struct part_env envs[WORKERS];
    char names[WORKERS][4];
    struct part *parts[WORKERS];/* what runs there, or was staged as new */
    bool prepared[WORKERS], concerned[WORKERS], gone[WORKERS], done[WORKERS], fresh[WORKERS];
    enum { BEFORE, STAGED, GOING, OVER } phase;
    bool abort;
    uint64_t pace;              /* how seldom master and workers hear of each other */
    uint64_t retain;            /* bytes of logs, on each worker */
    const char *why;
    struct prng r;
} sim; /* one simulation at a time */

static void wrong(enum violation v, const char *why)
{
    if (sim.w->found == FINE) {
        sim.why = why;
    }
    violate(sim.w, v, NONE);
}

/* ---------------------------------------------------------------- PEs that keep the books */

struct self {
    struct oxb_state *counts;
    uint32_t position;          /* of a source */
};

static uint32_t node_of(struct oxb_pe *pe)
{
    struct instance *i = live_host_of(pe);
    uint32_t n = sim.node_of[i->id];
    if (instance_task(i) != live_running()) {
        wrong(V_CONFLICT, "an instance is called from a task that is not its own");
    }
    if (i->finished) {
        wrong(V_AFTER_END, "an instance is called after its end");
    }
    bool born = !sim.im->nodes[n].there[SIDE_V];
    sim.w->nodes[n].cut = born || atomic_load(&i->cut_epoch) == sim.epoch;
    return n;
}

static void note(uint32_t n, int64_t seq)
{
    const struct tuple *t = &sim.tuples[seq];
    struct entry e = {.ident = (uint16_t)seq, .key = t->key, .source = t->source,
                      .order = t->order};
    TRACE(sim.w, "node %u%s processes tuple %u, key %u", n, sim.w->nodes[n].cut ? "'" : "",
          (unsigned)seq, t->key);
    const struct inode *i = &sim.im->nodes[n];
    const uint16_t *owners = sim.im->pes[i->pe].owners[SIDE_NEW];
    if (sim.w->nodes[n].cut && owners != NULL && owners[sim.w->k.groups[t->key]] == i->index) {
        sim.w->owner[i->pe * KEYS + t->key] = n; /* that its state came too, its count shows */
    }
    oracle_processed(sim.w, n, &e);
}

static void write_row(struct oxb_pe *pe, int64_t seq)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, seq);
    oxb_put_i64(w, 1, row, sim.tuples[seq].key);
    oxb_commit(w);
}

static int src_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct self *self = oxb_self(pe);
    uint32_t n = node_of(pe), s = sim.im->nodes[n].source;
    (void)rows_max;
    for (uint64_t rows = 1 + prng_below(&sim.r, 3); rows > 0; rows--) {
        if (self->position >= sim.total[s]) {
            return OXB_END;
        }
        uint16_t ident = oracle_born(sim.w, n);
        sim.tuples[ident] = (struct tuple){(uint8_t)s, (uint8_t)prng_below(&sim.r, KEYS),
                                           order_of_source(++self->position)};
        write_row(pe, ident);
    }
    return OXB_OK;
}

static int src_snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    const struct self *self = oxb_self(pe);
    oxb_blob_add(out, &self->position, sizeof self->position);
    return OXB_OK;
}

static int src_restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct self *self = oxb_self(pe);
    (void)version;
    memcpy(&self->position, data, bytes < sizeof self->position ? bytes : sizeof self->position);
    return OXB_OK;
}

static int map_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    uint32_t n = node_of(pe);
    const int64_t *seq = oxb_i64s(in, 0);
    OXB_EACH (in, i) {
        note(n, seq[i]);
    }
    if (sim.im->pes[sim.im->nodes[n].pe].kind != KIND_SINK) {
        oxb_forward(pe, 0, in);
    }
    return OXB_OK;
}

static int many_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    uint32_t n = node_of(pe);
    const int64_t *seq = oxb_i64s(in, 0);
    OXB_EACH (in, i) {
        note(n, seq[i]);
        struct tuple t = sim.tuples[seq[i]];
        for (uint32_t k = 0; k < 2; k++) {
            uint16_t ident = oracle_born(sim.w, n);
            sim.tuples[ident] = t;
            sim.tuples[ident].order = order_of_child(t.order, k);
            write_row(pe, ident);
        }
    }
    return OXB_OK;
}

static int keyed_prepare(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    self->counts = oxb_state(pe, "n");
    return OXB_OK;
}

static int keyed_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    struct self *self = oxb_self(pe);
    uint32_t n = node_of(pe);
    const int64_t *seq = oxb_i64s(in, 0), *key = oxb_i64s(in, 1);
    OXB_EACH (in, i) {
        note(n, seq[i]);
        int64_t *count = oxb_state_put(self->counts, oxb_key_i64(&key[i]));
        *count += 1;
        if (*count != sim.w->truth[sim.im->nodes[n].pe * KEYS + sim.tuples[seq[i]].key]) {
            wrong(V_STATE, "the count of a key is not how often it was processed");
        }
    }
    if (sim.im->pes[sim.im->nodes[n].pe].kind == KIND_KEYED) {
        oxb_forward(pe, 0, in);
    }
    return OXB_OK;
}

static int keyed_finish(struct oxb_pe *pe) /* KIND_FINAL: one tuple per key it has */
{
    struct self *self = oxb_self(pe);
    uint32_t n = node_of(pe), of = sim.im->nodes[n].pe;
    for (int64_t key = 0; sim.im->pes[of].kind == KIND_FINAL && key < KEYS; key++) {
        const int64_t *count = oxb_state_get(self->counts, oxb_key_i64(&key));
        if (count != NULL && *count > 0) {
            oracle_final(sim.w, n, (unsigned)key);
            uint16_t ident = oracle_born(sim.w, n);
            sim.tuples[ident] = (struct tuple){255, (uint8_t)key, 0};
            write_row(pe, ident);
        }
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {{.name = "v", .type = OXB_P_I64, .fallback = "0"},
                                          {.name = NULL}};
static const struct oxb_port in_ports[] = {{"in", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_port pass[] = {{"out", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_port made[] = {{"out", "seq: i64, key: i64", NULL},
                                       {"bad", "seq: i64, key: i64", NULL},
                                       {NULL, NULL, NULL}};
static const struct oxb_value values[] = {{"n", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl states[] = {{"n", values}, {NULL, NULL}};

static const struct oxb_pe_type types[] = {
    {.name = "src", .flags = OXB_SOURCE, .outputs = made, .produce = src_produce,
     .snapshot = src_snapshot, .restore = src_restore},
    {.name = "map", .flags = OXB_MERGES, .inputs = in_ports, .outputs = pass,
     .process = map_process},
    {.name = "many", .flags = OXB_MERGES | OXB_MANY, .inputs = in_ports, .outputs = pass,
     .process = many_process},
    {.name = "keyed", .flags = OXB_MERGES, .inputs = in_ports, .outputs = pass, .states = states,
     .prepare = keyed_prepare, .process = keyed_process, .finish = keyed_finish},
    {.name = "sink", .flags = OXB_MERGES, .inputs = in_ports, .process = map_process},
};
enum { TYPES = sizeof types / sizeof types[0] };

static void register_types(void)
{
    static struct oxb_pe_type full[TYPES];
    for (size_t i = 0; i < TYPES && full[i].name == NULL; i++) {
        full[i] = types[i];
        full[i].abi = OXB_ABI;
        full[i].doc = "of the simulator";
        full[i].params = params;
        full[i].state_version = 1;
        full[i].self_bytes = sizeof(struct self);
        if (oxb_register(&full[i]) != 0) {
            abort();
        }
    }
}

/* ---------------------------------------------------------------- the agent's few decisions */

static uint32_t worker_of(const struct part *p)
{
    uint32_t k = 0;
    while (k < WORKERS && sim.parts[k] != p && (p->base == NULL || sim.parts[k] != p->base)) {
        k++;
    }
    return k;
}

static void on_prepared(void *arg, struct part *p)
{
    (void)arg;
    if (p->failed) {
        TRACE(sim.w, "not prepared: %s", p->fail.what);
        sim.abort = true; /* R3 */
    }
    sim.prepared[worker_of(p)] = true;
}

static void follow(struct part *p)
{
    struct change_result result;
    uint32_t k = worker_of(p);
    if (change_update(p, &result)) {
        TRACE(sim.w, "w%u has changed", k);
        sim.done[k] = true;
        if (result.lost + result.duplicated + result.reordered + result.uncompared > 0) {
            wrong(V_SEQUENCE, "the ledgers of the closed channels");
        }
        mem_free(result.pauses_us);
    }
    change_sweep(p);
    part_update(p);
    if (p->state == DEPLOYMENT_FAILED) {
        wrong(V_CONFLICT, "an instance failed");
    }
}

static void on_change(void *arg, struct part *p)
{
    (void)arg;
    follow(p);
}

static void on_dropped(void *arg, struct part *p)
{
    (void)arg;
    sim.parts[worker_of(p)] = NULL;
    part_free(p);
}

static void deliver(uint32_t worker, struct msg *m)
{
    struct part *p = sim.parts[worker];
    if (p != NULL && !p->dropping && m->kind == M_LINK_STATE) {
        change_on_state(p, &m->LINK_STATE);
    } else if (p != NULL && !p->dropping && m->kind == M_LINK_STATE_ACK) {
        change_on_ack(p, &m->LINK_STATE_ACK);
    }
}

static void deploy(const struct plan *p)
{
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        struct msg m;
        if (live_prepare(p, false, k, OP_DEPLOY, sim.retain, &m)) {
            sim.parts[k] = part_new(&sim.envs[k], &m);
            live_prepare_fini(&m);
            part_prepare(sim.parts[k]);
        }
    }
    while (live_post_step()) {
    }
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        if (sim.parts[k] != NULL) {
            part_go(sim.parts[k]);
        }
    }
}

static bool any_running(void)
{
    bool running = false;
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        running = running || (sim.parts[k] != NULL && sim.parts[k]->state == DEPLOYMENT_RUNNING);
    }
    return running;
}

static void stage(const struct plan *p)
{
    sim.phase = OVER;
    if (!any_running()) {
        return; /* the topology has ended, and the master says so */
    }
    sim.phase = STAGED;
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        struct msg m;
        sim.prepared[k] = false;
        sim.concerned[k] = live_prepare(p, true, k, OP_CHANGE, sim.retain, &m);
        if (!sim.concerned[k]) {
            continue;
        }
        struct part *staged;
        if (sim.parts[k] != NULL) {
            staged = part_stage(sim.parts[k], &m);
        } else {
            staged = sim.parts[k] = part_new(&sim.envs[k], &m);
            sim.fresh[k] = true;
        }
        live_prepare_fini(&m);
        part_prepare(staged);
    }
    TRACE(sim.w, "staged");
}

static void call_off(void)
{
    TRACE(sim.w, "aborted");
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        if (sim.fresh[k]) {
            part_drop(sim.parts[k]);
        } else if (sim.concerned[k]) {
            change_abort(sim.parts[k]);
        }
    }
    sim.phase = OVER;
}

/* R3, as master/conduct.c asks it before it decides. */
static bool ended_refuse(const struct plan *p)
{
    bool ended[64] = {false};
    struct fail f = {0};
    const char *where;
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        const struct part *d = sim.parts[k];
        for (uint32_t n = 0; d != NULL && !sim.fresh[k] && n < d->instance_count; n++) {
            ended[sim.node_of[d->instances[n]->id]] =
                atomic_load(&d->instances[n]->state) == INSTANCE_ENDED;
        }
        if (sim.concerned[k] && !sim.fresh[k] && !change_ends_are_known(d)) {
            wrong(V_STUCK, "a step has ended in the middle of an end");
        }
    }
    bool refused = plan_check_ended(p, ended, false, &f, &where) != ERR_OK;
    if (refused) {
        TRACE(sim.w, "not decided: %s", f.what);
    }
    return refused;
}

static bool control(const struct plan *p)
{
    uint32_t waiting = 0, going = 0, last = 0;
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        waiting += sim.concerned[k] && !sim.prepared[k];
        if (sim.concerned[k] && !sim.gone[k] && prng_below(&sim.r, ++going) == 0) {
            last = k;
        }
    }
    if (sim.phase == BEFORE) {
        stage(p);
        return true;
    }
    if (sim.phase == STAGED && waiting == 0) {
        if (sim.abort || ended_refuse(p)) {
            call_off();
        } else {
            sim.phase = GOING;
        }
        return true;
    }
    if (sim.phase != GOING || going == 0) {
        return false;
    }
    sim.gone[last] = true;
    TRACE(sim.w, "w%u goes", last);
    if (sim.fresh[last]) {
        part_go(sim.parts[last]);
        sim.done[last] = true;
    } else {
        change_go(sim.parts[last]);
    }
    return true;
}

/* ---------------------------------------------------------------- a run */

static void map_ids(const struct plan *p)
{
    const struct pgraph *v = p->match->from, *to = p->to;
    uint32_t next = v->instance_count;
    sim.id_count = (uint32_t)p->next_id + 1;
    sim.node_of = mem_array(sim.id_count, sizeof *sim.node_of);
    for (uint32_t i = 0; i < v->instance_count; i++) {
        sim.node_of[v->instances[i].id] = i;
    }
    for (uint32_t i = 0; i < to->instance_count; i++) {
        if (p->match->instance_old[i] == INDEX_NONE) {
            sim.node_of[to->instances[i].id] = next++;
        }
    }
}

static void begin(struct world *w, uint64_t seed, FILE *trace)
{
    struct pool *pool = pool_new(1u << 20);
    register_types();
    memset(&sim, 0, sizeof sim);
    sim.w = w;
    sim.im = w->im;
    sim.pool = pool;
    sim.r = (struct prng){seed};
    sim.epoch = OP_CHANGE;
    sim.abort = prng_below(&sim.r, 6) == 0;
    sim.pace = 4u << prng_below(&sim.r, 5);
    live_os_reset(seed ^ 0x5bd1e995);
    for (uint32_t k = 0; k < WORKERS; k++) {
        snprintf(sim.names[k], sizeof sim.names[k], "w%u", k % 10);
        sim.envs[k] = (struct part_env){.pool = pool,
                                        .links = live_links(k),
                                        .worker_name = sim.names[k],
                                        .artifact_dir = "/",
                                        .on_prepared = on_prepared,
                                        .on_change = on_change,
                                        .on_dropped = on_dropped};
    }
    w->trace = trace;
    w->steps = 0;
    w->off = 0;
    w->found = FINE;
    w->too_big = false;
    w->transfer_count = 0;
    for (unsigned key = 0; key < KEYS; key++) {
        w->k.groups[key] = (uint8_t)key_group(hash_i64(key));
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        w->nodes[n].cut = !w->im->nodes[n].there[SIDE_V];
        w->nodes[n].finished = false;
    }
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        w->chans[c] = (struct chan){0};
    }
    oracle_reset(w);
    uint32_t most = 1200 / (w->im->amplification + 1);
    most = most < 2 ? 2 : most > 120 ? 120 : most;
    most = prng_below(&sim.r, 2) == 0 ? 1 + most / 4 : most; /* they end while it is prepared */
    for (uint32_t s = 0; s < w->im->source_count && s < 64; s++) {
        sim.total[s] = (uint32_t)prng_below(&sim.r, most + 1);
    }
}

static bool one_step(const struct plan *p, uint64_t start)
{
    struct world *w = sim.w;
    if (w->steps >= start && prng_below(&sim.r, sim.pace) == 0) {
        return control(p);
    }
    uint64_t what = prng_below(&sim.r, 16);
    if (what < 2) {
        return prng_below(&sim.r, 2) == 0 ? live_post_step() : live_say_step(deliver);
    }
    return what < 7 ? live_link_step(&sim.r) : live_task_step(&sim.r);
}

static bool anything(const struct plan *p)
{
    if (live_task_step(&sim.r) || live_post_step() || live_link_step(&sim.r) ||
        live_say_step(deliver) || control(p)) {
        return true;
    }
    for (uint32_t k = 0; k < WORKERS; k++) { /* what the report timer does */
        if (sim.parts[k] != NULL && !sim.parts[k]->dropping) {
            follow(sim.parts[k]);
        }
    }
    return live_tasks_due() > 0 || live_timer_step();
}

static void check_end(void)
{
    bool changed = true, ended = true;
    for (uint32_t k = 0; k < sim.im->worker_count; k++) {
        changed = changed && (!sim.concerned[k] || sim.done[k]);
        ended = ended && (sim.parts[k] == NULL || sim.parts[k]->state == DEPLOYMENT_ENDED);
    }
    bool went = sim.phase == GOING;
    if (went && !changed) {
        wrong(V_STUCK, "a worker has not changed over");
    }
    if (!ended) {
        wrong(V_STUCK, "a part has not ended");
    }
    sim.w->outcome = went ? CHANGED : ABORTED;
    for (uint32_t n = 0; n < sim.im->node_count; n++) {
        const struct inode *i = &sim.im->nodes[n];
        sim.w->nodes[n].finished = true;
        sim.w->nodes[n].cut = !i->there[SIDE_V] || (went && i->member);
    }
    oracle_end(sim.w);
}

static void drop_all(void)
{
    for (uint32_t k = 0; k < WORKERS; k++) {
        if (sim.parts[k] != NULL) {
            part_drop(sim.parts[k]);
        }
    }
    for (unsigned n = 0; n < 100000 && (live_task_step(&sim.r) || live_post_step()); n++) {
    }
    for (uint32_t k = 0; k < WORKERS; k++) {
        if (sim.parts[k] != NULL) {
            wrong(V_STUCK, "a part that is dropped does not go");
        }
    }
    if (pool_bytes_used(sim.pool) > 0 && sim.w->found == FINE) {
        wrong(V_SEQUENCE, "batches are left when all is dropped");
    }
}

/* Of half the plans: a log that always overflows, and one that holds all. */
static const uint64_t retains[] = {0, 0, 4096, 1u << 24};

struct live_result live_run(struct draft *d, uint64_t seed, FILE *trace)
{
    struct live_result out = {0};
    struct world *w = draft_world(d);
    const struct plan *p = w != NULL ? w->im->plan : NULL;
    if (w == NULL || live_refused(p)) {
        out.refused = true;
        return out;
    }
    begin(w, seed, trace);
    map_ids(p);
    sim.retain = retains[seed / 5 % (sizeof retains / sizeof retains[0])];
    deploy(p);
    uint64_t start = prng_below(&sim.r, 200);
    unsigned fails = 0;
    while (w->found == FINE && !w->too_big && ++w->steps < ROUNDS_MAX) {
        fails = one_step(p, start) ? 0 : fails + 1;
        if (fails > 20) {
            fails = 0;
            if (!anything(p)) {
                break;
            }
        }
    }
    if (w->steps >= ROUNDS_MAX) {
        wrong(V_STUCK, "it does not come to rest");
    } else if (w->found == FINE && !w->too_big) {
        check_end();
    }
    bool clean = w->found == FINE;
    if (clean) {
        drop_all();
    }
    if (clean && w->found == FINE) {
        pool_free(sim.pool);
    }
    mem_free(sim.node_of);
    out.found = w->found;
    out.changed = sim.phase == GOING;
    out.aborted = sim.phase == OVER;
    out.steps = w->steps;
    out.tuples = w->ident_count;
    out.why = sim.why;
    return out;
}
