/* master/keeping.c - performs what the checkpoint coordinator says. */
#include "master/keeping.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/master.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void feed(struct master *m, struct deployment *d, struct checkpoint_event in);

static void clear_live(struct keeping *k)
{
    store_checkpoint_fini(&k->live);
    k->live_pause_us = 0;
    mem_free(k->live_tuples.items);
    k->live_tuples = (struct tuples_list){0};
}

struct keeping *keeping_new(const struct deployment *d)
{
    if (d->topology == NULL || d->topology->checkpoint_every_us == 0) {
        return NULL;
    }
    struct keeping *k = mem_alloc(sizeof *k);
    checkpoint_init(&k->machine, d->topology->checkpoint_every_us, clock_now_us());
    return k;
}

void keeping_free(struct keeping *k)
{
    if (k == NULL) {
        return;
    }
    clear_live(k);
    checkpoint_fini(&k->machine);
    for (size_t i = 0; i < k->restore_count; i++) {
        mem_free((void *)(uintptr_t)k->restores[i].uid);
        mem_free((void *)(uintptr_t)k->restores[i].epochs.data);
        mem_free((void *)(uintptr_t)k->restores[i].groups.data);
    }
    mem_free(k->restores);
    crashes_fini(&k->crashes);
    mem_free(k->stays);
    mem_free(k->repaired);
    mem_free(k->replaces);
    mem_free(k->tuples.items);
    mem_free(k->live_tuples.items);
    mem_free(k);
}

/* ---- what is told to workers */

static void tell(struct master *m, const struct deployment *d, uint64_t worker_id,
                 const struct msg *msg)
{
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        const struct part *p = &d->parts[i];
        if (p->used && (worker_id == 0 || worker_id == p->worker_id)) {
            control_send(m, p->worker_id, p->incarnation, msg);
        }
    }
}

struct needed { /* by the checkpoints that are kept */
    uint64_t *epochs;
    size_t count, capacity;
    uint64_t oldest;
};

static void add_needed(void *arg, const struct store_checkpoint *c)
{
    struct needed *n = arg;
    for (size_t i = 0; i < c->snapshot_count; i++) {
        for (size_t k = 0; k < c->snapshots[i].epoch_count; k++) {
            uint64_t epoch = c->snapshots[i].epochs[k];
            bool known = false;
            for (size_t e = 0; e < n->count && !known; e++) {
                known = n->epochs[e] == epoch;
            }
            if (known) {
                continue;
            }
            n->epochs = mem_grow(n->epochs, n->count, &n->capacity, sizeof *n->epochs);
            n->epochs[n->count++] = epoch;
            n->oldest = epoch < n->oldest ? epoch : n->oldest;
        }
    }
}

static enum err find_needed(struct master *m, const struct deployment *d, uint64_t epoch,
                            struct needed *n)
{
    struct fail f = {0};
    *n = (struct needed){.oldest = epoch};
    for (size_t i = 0; i < m->wills.count; i++) {
        const struct store_will *w = &m->wills.items[i].row;
        if (strcmp(w->topology, d->name) == 0) {
            n->epochs = mem_grow(n->epochs, n->count, &n->capacity, sizeof *n->epochs);
            n->epochs[n->count++] = w->epoch;
            n->oldest = w->epoch < n->oldest ? w->epoch : n->oldest;
        }
    }
    return m->store->ops->checkpoints(m->store, d->name, add_needed, n, &f);
}

/* Files that no kept checkpoint stands on go.  From the newest epoch on they may still arrive. */
static void tell_complete(struct master *m, struct deployment *d, uint64_t epoch,
                          uint64_t worker_id)
{
    struct needed n;
    struct msg msg = {.kind = M_CHECKPOINT_COMPLETE};
    msg.CHECKPOINT_COMPLETE = (struct msg_CHECKPOINT_COMPLETE){
        .term = m->term, .topology = d->name, .gen = d->token.gen, .epoch = epoch};
    if (find_needed(m, d, epoch, &n) == ERR_OK) {
        snapshots_sweep(&m->snapshots, d->name, n.epochs, n.count, epoch);
        msg.CHECKPOINT_COMPLETE.oldest = n.oldest;
        msg.CHECKPOINT_COMPLETE.needed =
            (struct msg_bin){(const uint8_t *)n.epochs, n.count * sizeof *n.epochs};
    }
    tell(m, d, worker_id, &msg);
    mem_free(n.epochs);
}

static bool everything_ended(const struct deployment *d)
{
    return deployment_all_ended(d) && d->next == NULL;
}

static void begin(struct master *m, struct deployment *d)
{
    struct keeping *k = d->keeping;
    struct fail f = {0};
    uint64_t epoch = 0;
    if (m->store->ops->reserve(m->store, 1, &epoch, &f) != ERR_OK) {
        log_event(LOG_ERROR, "checkpoint.begin", "topology=%s what=\"%s\"", d->name, f.what);
        epoch = 0;
    }
    clear_live(k);
    k->final_epoch = everything_ended(d) ? epoch : 0;
    k->live = (struct store_checkpoint){
        .topology = mem_dup(d->name),
        .epoch = epoch,
        .gen = d->token.gen,
        .version = d->version,
        .created_at_us = clock_wall_us(),
        .snapshots = mem_array(d->graph->instance_count, sizeof *k->live.snapshots)};
    feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_BEGUN, .epoch = epoch});
}

static void store_manifest(struct master *m, struct deployment *d)
{
    struct keeping *k = d->keeping;
    struct fail f = {0};
    k->live.took_us = clock_now_us() - k->machine.begun_us;
    enum err e = m->store->ops->manifest(m->store, &k->live, d->topology->checkpoint_keep, &f);
    if (e == ERR_OK) {
        k->last_bytes = k->live.bytes;
        k->complete_version = k->live.version;
        mem_free(k->tuples.items);
        k->tuples = k->live_tuples;
        k->tuples.epoch = k->live.epoch;
        k->live_tuples = (struct tuples_list){0};
        k->last_pause_us = k->live_pause_us;
        log_event(LOG_INFO, "checkpoint.complete",
                  "topology=%s epoch=%" PRIu64 " bytes=%" PRIu64 " took_us=%" PRIu64
                  " pause_us=%" PRIu64,
                  d->name, k->live.epoch, k->live.bytes, k->live.took_us, k->live_pause_us);
    } else {
        snprintf(k->last_error, sizeof k->last_error, "%.250s", f.what);
        log_event(LOG_WARN, "checkpoint.manifest", "topology=%s what=\"%s\"", d->name, f.what);
    }
    feed(m, d,
         (struct checkpoint_event){.kind = e == ERR_OK ? CHECKPOINT_IN_STORED
                                                       : CHECKPOINT_IN_NOT_STORED});
}

static void perform(struct master *m, struct deployment *d, struct checkpoint_action a)
{
    switch (a.what) {
    case CHECKPOINT_DO_BEGIN:
        begin(m, d);
        break;
    case CHECKPOINT_DO_INJECT: {
        const struct msg msg = {.kind = M_CHECKPOINT,
                                .CHECKPOINT = {m->term, d->name, d->token.gen, a.epoch}};
        tell(m, d, a.worker_id, &msg);
        break;
    }
    case CHECKPOINT_DO_STORE:
        store_manifest(m, d);
        break;
    case CHECKPOINT_DO_COMPLETE:
        tell_complete(m, d, a.epoch, a.worker_id);
        break;
    case CHECKPOINT_DO_GIVE_UP:
        log_event(LOG_INFO, "checkpoint.given_up", "topology=%s epoch=%" PRIu64, d->name, a.epoch);
        d->keeping->final_epoch = 0;
        break;
    }
}

static void feed(struct master *m, struct deployment *d, struct checkpoint_event in)
{
    struct checkpoint_actions out = {0};
    bool barred = checkpoint_bars_change(&d->keeping->machine);
    in.now_us = clock_now_us();
    checkpoint_step(&d->keeping->machine, &in, &out);
    for (size_t i = 0; i < out.count; i++) {
        perform(m, d, out.items[i]);
    }
    if (barred && !checkpoint_bars_change(&d->keeping->machine) && d->next != NULL) {
        conduct_decide_now(m, d->next);
    }
}

/* ---- what happens */

static void acknowledge_by(struct deployment *d)
{
    const struct pgraph *g = d->graph;
    uint64_t *ids = mem_array(g->instance_count, sizeof *ids);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        ids[i] = g->instances[i].id;
    }
    checkpoint_of(&d->keeping->machine, ids, g->instance_count);
    mem_free(ids);
}

void keeping_went(struct master *m, struct deployment *d)
{
    if (d->keeping == NULL) {
        d->keeping = keeping_new(d);
    }
    if (d->keeping != NULL) {
        feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_RESET});
        acknowledge_by(d);
        if (d->upgrade != NULL && d->keeping->complete_version != d->version) {
            keeping_ask(m, d); /* R18: until it is complete, a loss goes back behind the change */
        }
    }
}

static void recall(void *arg, const struct store_checkpoint *c)
{
    struct deployment *d = arg;
    struct checkpoint *machine = &d->keeping->machine;
    if (c->gen == d->token.gen && c->epoch > machine->complete) {
        machine->complete = c->epoch;
    }
}

void keeping_recall(struct master *m, struct deployment *d)
{
    struct fail f = {0};
    if (d->keeping != NULL &&
        m->store->ops->checkpoints(m->store, d->name, recall, d, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.checkpoints", "topology=%s what=\"%s\"", d->name, f.what);
    }
}

void keeping_planned(struct deployment *d)
{
    if (d->keeping != NULL) {
        struct checkpoint_actions none = {0};
        struct checkpoint_event in = {.kind = CHECKPOINT_IN_PLANNED, .now_us = clock_now_us()};
        checkpoint_step(&d->keeping->machine, &in, &none);
    }
}

void keeping_aborted(struct master *m, struct deployment *d)
{
    if (d->keeping != NULL) {
        feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_ABORTED});
    }
}

void keeping_decided(struct master *m, struct deployment *d)
{
    if (d->keeping != NULL) {
        feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_DECIDED});
    }
}

void keeping_lost(struct deployment *d)
{
    if (d->keeping != NULL) {
        struct checkpoint_event lost = {.kind = CHECKPOINT_IN_LOST, .now_us = clock_now_us()};
        struct checkpoint_actions none = {0};
        checkpoint_step(&d->keeping->machine, &lost, &none);
        d->keeping->final_epoch = 0;
    }
}

void keeping_hand_on(struct master *m, struct deployment *d, struct deployment *next)
{
    if (d->keeping == NULL) {
        return;
    }
    next->keeping = d->keeping;
    d->keeping = NULL;
    for (uint32_t i = 0; i < next->graph->worker_count; i++) {
        struct part *p = &next->parts[i];
        const struct part *was = deployment_part(d, p->worker_id);
        if (was != NULL && was->incarnation == p->incarnation) {
            p->committed = was->committed;
        }
    }
    next->keeping->machine.every_us = next->topology->checkpoint_every_us;
    acknowledge_by(next);
    feed(m, next, (struct checkpoint_event){.kind = CHECKPOINT_IN_DONE});
}

void keeping_tick(struct master *m, struct deployment *d, uint64_t now_us)
{
    recover_tick(m, d, now_us);
    bool runs = d->state == TOPOLOGY_RUNNING || d->state == TOPOLOGY_DRAINING;
    if (d->keeping != NULL && runs) {
        feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_TICK});
    }
}

void keeping_back(struct master *m, struct deployment *d, uint64_t worker_id)
{
    if (d->keeping != NULL && !d->keeping->recovering) {
        feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_BACK, .worker_id = worker_id});
    }
}

void keeping_ask(struct master *m, struct deployment *d)
{
    feed(m, d, (struct checkpoint_event){.kind = CHECKPOINT_IN_ASKED});
}

uint64_t keeping_newest(const struct deployment *d)
{
    const struct checkpoint *c = &d->keeping->machine;
    return checkpoint_is_live(c) ? c->epoch : c->complete;
}

/* keep - what the instance says belongs to the manifest; once per instance. */
static void keep(struct deployment *d, const struct instance_view *v,
                 const struct msg_CHECKPOINT_ACK *r)
{
    struct store_checkpoint *live = &d->keeping->live;
    const struct pinstance *n = &d->graph->instances[v->number];
    const struct pe *pe = &d->topology->pes[n->pe];
    size_t count = r->epochs.bytes / sizeof(uint64_t);
    for (size_t i = 0; i < live->snapshot_count; i++) {
        if (live->snapshots[i].index == n->index && strcmp(live->snapshots[i].uid, pe->uid) == 0) {
            return;
        }
    }
    struct store_snapshot *s = &live->snapshots[live->snapshot_count++];
    *s = (struct store_snapshot){.uid = mem_dup(pe->uid),
                                 .index = n->index,
                                 .parallelism = pe->parallelism,
                                 .epochs = mem_array(count + 1, sizeof *s->epochs),
                                 .epoch_count = count};
    if (count > 0) {
        memcpy(s->epochs, r->epochs.data, count * sizeof *s->epochs);
    }
    live->bytes += r->bytes;
    struct tuples_list *tuples = &d->keeping->live_tuples;
    tuples->items = mem_resize(tuples->items, tuples->count + 1, sizeof *tuples->items);
    tuples->items[tuples->count++] =
        (struct tuples_at){.instance = v->id, .in = r->tuples_in, .out = r->tuples_out};
    d->keeping->live_pause_us =
        r->pause_us > d->keeping->live_pause_us ? r->pause_us : d->keeping->live_pause_us;
}

void keeping_ack(struct master *m, struct member *w, const struct msg_CHECKPOINT_ACK *r)
{
    struct deployment *d = deployments_find(&m->deployments, r->topology);
    struct keeping *k = d != NULL && d->graph != NULL ? d->keeping : NULL;
    struct part *p = k != NULL ? deployment_part(d, w->id) : NULL;
    struct instance_view *v = p != NULL ? deployment_instance(d, r->instance) : NULL;
    if (v == NULL || r->gen != d->token.gen || p->incarnation != r->incarnation ||
        &d->parts[d->graph->instances[v->number].worker] != p) {
        return; /* of what ran before, or of nobody here */
    }
    if (r->ok && r->epoch == k->machine.epoch && k->machine.state == CHECKPOINT_LIVE) {
        keep(d, v, r);
    } else if (!r->ok) {
        snprintf(k->last_error, sizeof k->last_error, "%.250s", r->what);
    }
    feed(m, d,
         (struct checkpoint_event){.kind = r->ok ? CHECKPOINT_IN_ACK : CHECKPOINT_IN_FAILED,
                                   .epoch = r->epoch,
                                   .instance = r->instance});
}

/* ---- the end (E3) */

static bool final_is_committed(const struct deployment *d)
{
    const struct keeping *k = d->keeping;
    if (k->final_epoch == 0 || k->machine.complete < k->final_epoch) {
        return false;
    }
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        if (d->parts[i].used && d->parts[i].committed < k->final_epoch) {
            return false;
        }
    }
    return true;
}

bool keeping_holds_end(struct master *m, struct deployment *d)
{
    struct keeping *k = d->keeping;
    if (k == NULL || (final_is_committed(d) && !wills_any(m, d->name))) {
        return false;
    }
    if (k->final_epoch == 0 && k->machine.state == CHECKPOINT_IDLE && !k->recovering) {
        keeping_ask(m, d);
    }
    return !final_is_committed(d) ||
           wills_any(m, d->name); /* a topology whose parts hold nothing may be over at once */
}

void keeping_committed(struct master *m, struct member *w, const struct msg_COMMITTED *r)
{
    struct deployment *d = deployments_find(&m->deployments, r->topology);
    struct part *p = d != NULL && d->keeping != NULL ? deployment_part(d, w->id) : NULL;
    if (p == NULL || p->incarnation != r->incarnation || r->gen != d->token.gen) {
        return;
    }
    if (r->ok) {
        p->committed = r->epoch > p->committed ? r->epoch : p->committed;
    } else {
        snprintf(d->keeping->last_error, sizeof d->keeping->last_error, "%.250s", r->what);
        if (r->epoch == d->keeping->final_epoch) {
            d->keeping->final_epoch = 0; /* tried again with another one */
        }
    }
    if (d->next != NULL) {
        conduct_decide_now(m, d->next);
    }
    if (everything_ended(d)) {
        conduct_ended(m, d);
    }
}
