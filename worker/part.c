/* worker/part.c - the life of one topology's part on this worker. */
#include "worker/part.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/strbuf.h"
#include "worker/change.h"
#include "worker/moves.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *helper_main(void *arg);
static void prepared_on_loop(void *arg);

/* ---------------------------------------------------------------- preparing */

struct part *part_new(const struct part_env *env, const struct msg *prepare)
{
    assert(prepare->kind == M_PREPARE);
    struct part *d = mem_alloc(sizeof *d);
    d->env = env;
    d->state = DEPLOYMENT_PREPARING;
    msg_copy(prepare, &d->plan);
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    snprintf(d->name, sizeof d->name, "%s", plan->topology);
    d->version = plan->version;
    d->gen = plan->gen;
    d->op = plan->op;
    d->epoch = plan->epoch;
    return d;
}

static const char *missing_artifact(const struct part *d, const struct rec_INSTANCE_SPEC *specs,
                                    size_t count)
{
    for (size_t k = 0; k < count; k++) {
        const char *digest = specs[k].artifact;
        if (digest[0] == '\0') {
            continue;
        }
        char *file = mem_printf("%s/%s.so", d->env->artifact_dir, digest);
        bool here = access(file, R_OK) == 0;
        mem_free(file);
        if (!here) {
            return digest;
        }
    }
    return NULL;
}

const char *part_artifact(const struct part *d)
{
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    const char *digest = missing_artifact(d, plan->add_instances, plan->add_instances_count);
    return digest != NULL
               ? digest
               : missing_artifact(d, plan->adopt_instances, plan->adopt_instances_count);
}

void part_prepare(struct part *d)
{
    d->preparing = true;
    if (pthread_create(&d->helper, NULL, helper_main, d) != 0) {
        d->preparing = false;
        d->failed = true;
        (void)fail_set(&d->fail, ERR_NOMEM, "end something on this machine",
                       "no thread could be started to prepare the topology");
        d->env->on_prepared(d->env->arg, d);
    }
}

/* What is in the folder may have been damaged since it was fetched: it is not used then, and
 * fetched anew. */
static bool artifacts_are_whole(const struct part *d, const struct rec_INSTANCE_SPEC *specs,
                                size_t count)
{
    bool whole = true;
    for (size_t k = 0; k < count; k++) {
        const char *digest = specs[k].artifact;
        bool seen = digest[0] == '\0';
        for (size_t n = 0; n < k && !seen; n++) {
            seen = strcmp(specs[n].artifact, digest) == 0;
        }
        if (seen) {
            continue;
        }
        char found[SHA256_HEX_BYTES] = "";
        struct fail f = {0};
        char *file = mem_printf("%s/%s.so", d->env->artifact_dir, digest);
        if (sha256_file(file, found, &f) != ERR_OK || strcmp(found, digest) != 0) {
            log_event(LOG_ERROR, "artifact.damaged", "file=%s what=\"%s\"", file,
                      f.what[0] != '\0' ? f.what : "its digest is another");
            unlink(file);
            whole = false;
        }
        mem_free(file);
    }
    return whole;
}

static void *helper_main(void *arg)
{
    struct part *d = arg;
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    pthread_setname_np(pthread_self(), "oxb-prepare");
    bool whole = artifacts_are_whole(d, plan->add_instances, plan->add_instances_count);
    d->lacking =
        !artifacts_are_whole(d, plan->adopt_instances, plan->adopt_instances_count) || !whole;
    d->failed = !d->lacking && build_instances(d) != ERR_OK;
    loop_post(d->env->loop, prepared_on_loop, d);
    return NULL;
}

static void prepared_on_loop(void *arg)
{
    struct part *d = arg;
    pthread_join(d->helper, NULL);
    d->preparing = false;
    if (d->dropping && d->base == NULL) {
        d->env->on_dropped(d->env->arg, d);
        return;
    }
    if (d->lacking && !d->dropping) {
        d->lacking = false;
        d->env->on_lacking(d->env->arg, d);
        return;
    }
    if (d->base != NULL && (d->dropping || !d->failed)) { /* what failed stays until its ABORT */
        d->base->pending = NULL;
    }
    if (d->dropping) { /* a staged change that nobody wants any more */
        struct part *base = d->base;
        part_free(d);
        if (base->after != NULL && !base->dropping) {
            base->env->on_change(base->env->arg, base);
        }
        part_check_dropped(base);
        return;
    }
    if (!d->failed) {
        d->failed = (d->base != NULL ? change_prepare(d) : build_graph(d)) != ERR_OK;
    }
    if (!d->failed && d->base == NULL) {
        d->failed = change_expect(d) != ERR_OK;
    }
    if (!d->failed && d->base != NULL && !change_is_ready(d->base)) {
        return; /* state is being copied: part_moves_changed */
    }
    d->state = d->failed ? DEPLOYMENT_FAILED : DEPLOYMENT_READY;
    d->env->on_prepared(d->env->arg, d);
}

void part_moves_changed(struct part *base)
{
    if (base->arriving != NULL && !base->dropping) {
        base->env->on_change(base->env->arg, base);
    }
    if (base->change == NULL) {
        return;
    }
    struct part *staged = change_staged(base);
    if (staged->state != DEPLOYMENT_PREPARING) {
        base->env->on_change(base->env->arg, base);
        return;
    }
    const struct fail *why = change_fail(base);
    if (why != NULL) {
        staged->failed = true;
        staged->fail = *why;
        staged->state = DEPLOYMENT_FAILED;
        staged->env->on_prepared(staged->env->arg, staged);
    } else if (change_is_ready(base)) {
        staged->state = DEPLOYMENT_READY;
        staged->env->on_prepared(staged->env->arg, staged);
    }
}

/* ---------------------------------------------------------------- running */

void part_go(struct part *d)
{
    if (d->state != DEPLOYMENT_READY) {
        return;
    }
    d->state = DEPLOYMENT_RUNNING;
    for (uint32_t k = d->chain_count; k-- > 0;) {
        chain_go(d->chains[k]);
    }
}

void part_drain(struct part *d)
{
    if (d->state != DEPLOYMENT_RUNNING) {
        return;
    }
    d->state = DEPLOYMENT_DRAINING;
    for (uint32_t k = 0; k < d->chain_count; k++) {
        if (d->chains[k]->members[0]->source) {
            chain_drain(d->chains[k]);
        }
    }
}

void part_inject(struct part *d, uint64_t epoch)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        if (d->chains[k]->members[0]->source) {
            chain_inject(d->chains[k], epoch);
        }
    }
}

void part_commit(struct part *d, uint64_t epoch)
{
    if (epoch <= d->commit_epoch) {
        return;
    }
    d->commit_epoch = epoch;
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_commit(d->chains[k], epoch);
    }
}

void part_void(struct part *d, uint64_t epoch)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_void(d->chains[k], epoch);
    }
}

bool part_committed(struct part *d, const char **what)
{
    *what = "";
    for (uint32_t k = 0; k < d->instance_count; k++) {
        struct instance *i = d->instances[k];
        if (!pe_commits(i->pe) || atomic_load(&i->committed) >= d->commit_epoch) {
            continue;
        }
        if (atomic_load(&i->uncommitted) < d->commit_epoch) {
            return false;
        }
        *what = name_text(&i->pe_name);
    }
    return true;
}

static bool all_ended(const struct part *d)
{
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (atomic_load(&d->instances[k]->state) != INSTANCE_ENDED) {
            return false;
        }
    }
    for (uint32_t k = 0; k < d->channel_count; k++) {
        if (d->channels[k]->kind == CHANNEL_OUT && !link_out_drained(d->channels[k])) {
            return false;
        }
    }
    return true;
}

bool part_update(struct part *d)
{
    enum deployment_state before = d->state;
    if (before != DEPLOYMENT_RUNNING && before != DEPLOYMENT_DRAINING) {
        return false;
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (atomic_load(&d->instances[k]->state) == INSTANCE_FAILED) {
            d->state = DEPLOYMENT_FAILED;
        }
    }
    bool waits = d->change != NULL || d->pending != NULL || d->after != NULL; /* for new ones */
    if (d->state != DEPLOYMENT_FAILED && !waits && all_ended(d)) {
        d->state = DEPLOYMENT_ENDED;
    }
    return d->state != before;
}

/* ---------------------------------------------------------------- ending */

static void dropped_on_loop(void *arg)
{
    part_check_dropped(arg);
}

void part_check_dropped(struct part *d)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        if (!d->chains[k]->dead) {
            return;
        }
    }
    if (d->dropping && d->pending == NULL) {
        d->env->on_dropped(d->env->arg, d);
    }
}

const char *part_unlinked(const struct part *d)
{
    for (uint32_t k = 0; k < d->channel_count; k++) {
        const struct channel *c = d->channels[k];
        if (c->kind == CHANNEL_OUT && c->out != NULL && !link_out_is_open(c->out)) {
            return link_out_name(c->out);
        }
    }
    return NULL;
}

void part_unstage(struct part *base)
{
    struct part *d = base->pending;
    d->dropping = true;
    if (!d->preparing) { /* it waits for an artifact */
        base->pending = NULL;
        part_free(d);
    }
}

struct part *part_stage(struct part *base, const struct msg *prepare)
{
    struct part *d = part_new(base->env, prepare);
    assert(base->pending == NULL && base->change == NULL);
    d->base = base;
    base->pending = d;
    return d;
}

void part_put_after(struct part *base, struct part *after TAKES)
{
    if (base->after != NULL) {
        part_free(base->after);
    }
    base->after = after;
    if (after != NULL) {
        after->base = base;
    }
}

void part_drop(struct part *d)
{
    if (d->dropping) {
        return;
    }
    d->dropping = true;
    part_put_after(d, NULL);
    if (d->pending != NULL) {
        part_unstage(d);
    }
    if (d->preparing) {
        return; /* prepared_on_loop goes on from here */
    }
    change_drop(d);
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_halt(d->chains[k]);
    }
    if (d->chain_count == 0) {
        loop_post(d->env->loop, dropped_on_loop, d);
    }
}

static bool in_a_chain(const struct part *d, const struct instance *i)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        for (uint32_t m = 0; m < d->chains[k]->member_count; m++) {
            if (d->chains[k]->members[m] == i) {
                return true;
            }
        }
    }
    return false;
}

void part_free(struct part *d)
{
    part_put_after(d, NULL);
    change_free_all(d);
    moves_free(d->moved);
    moves_free(d->arriving);
    for (uint32_t k = 0; k < d->channel_count; k++) {
        link_remove(d->channels[k]);
        channel_free(d->channels[k]);
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        mem_free(d->instances[k]->end_to_end_us);
        if (!in_a_chain(d, d->instances[k])) { /* a build that failed half-way */
            instance_free(d->instances[k]);
        }
    }
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_free(d->chains[k]);
    }
    for (uint32_t k = 0; k < d->adopted_count; k++) {
        pe_free(d->adopted[k].pe);
    }
    mem_free(d->adopted);
    mem_free(d->last_change.pauses_us);
    mem_free(d->chain_heads);
    mem_free(d->channels);
    mem_free(d->instances);
    mem_free(d->chains);
    msg_free(&d->plan);
    mem_free(d);
}

/* ---------------------------------------------------------------- reporting */

struct report_arena {
    struct rec_INSTANCE_STATUS *instances;
    struct rec_CHANNEL_STATUS *channels;
    struct strbuf *latencies; /* [instances] */
    char **metrics;           /* [instances] */
    uint32_t count;
    struct strbuf end_to_end;
};

static uint64_t get(_Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void add_metric(void *arg, const char *name, const char *doc, int64_t value)
{
    (void)doc;
    json_object_set_new(arg, name, json_integer(value));
}

static void report_instance(struct instance *i, struct rec_INSTANCE_STATUS *out,
                            struct strbuf *latency, char **metrics)
{
    struct pe_counters *n = pe_counters(i->pe);
    uint64_t since = get(&i->stats.blocked_since_ns);
    uint64_t blocked = get(&i->stats.blocked_ns) + (since != 0 ? clock_now_ns() - since : 0);
    hist_encode(&i->stats.service_us, latency);
    json_t *own = json_object();
    pe_metrics_each(i->pe, add_metric, own);
    *metrics = json_object_size(own) > 0 ? json_dumps(own, JSON_COMPACT) : NULL;
    json_decref(own);
    unsigned state = atomic_load(&i->state);
    *out = (struct rec_INSTANCE_STATUS){.id = i->id,
                                        .state = state,
                                        .tuples_in = get(&n->tuples_in),
                                        .tuples_out = get(&n->tuples_out),
                                        .batches_in = get(&n->batches_in),
                                        .batches_out = get(&n->batches_out),
                                        .bytes_in = get(&n->bytes_in),
                                        .bytes_out = get(&n->bytes_out),
                                        .errors = get(&n->errors),
                                        .busy_us = get(&i->stats.busy_ns) / 1000,
                                        .blocked_us = blocked / 1000,
                                        .state_bytes = get(&i->stats.state_bytes),
                                        .error = state == INSTANCE_FAILED ? i->error : "",
                                        .latency = {(const uint8_t *)latency->data, latency->bytes},
                                        .metrics = *metrics != NULL ? *metrics : ""};
}

static void report_channel(struct channel *c, struct rec_CHANNEL_STATUS *out)
{
    struct ledger *l = &c->ledger;
    *out = (struct rec_CHANNEL_STATUS){.id = c->id,
                                       .sent = c->from != NULL ? get(&l->sent) : 0,
                                       .received = c->to != NULL ? get(&l->received) : 0,
                                       .depth = ring_used(&c->ring),
                                       .gaps = get(&l->gaps),
                                       .repeats = get(&l->repeats),
                                       .reordered = get(&l->reordered),
                                       .compared = get(&l->compared),
                                       .mismatched = get(&l->mismatched),
                                       .ended = atomic_load(&l->ended)};
}

struct report_arena *part_report(struct part *d, struct msg *m)
{
    struct report_arena *a = mem_alloc(sizeof *a);
    bool built = !d->preparing && d->state != DEPLOYMENT_PREPARING && !d->failed;
    a->count = built ? d->instance_count : 0;
    a->instances = mem_array(a->count, sizeof *a->instances);
    a->latencies = mem_array(a->count, sizeof *a->latencies);
    a->metrics = mem_array(a->count, sizeof *a->metrics);
    a->channels = mem_array(built ? d->channel_count : 0, sizeof *a->channels);
    struct hist *end_to_end = mem_alloc(sizeof *end_to_end);
    for (uint32_t k = 0; k < a->count; k++) {
        report_instance(d->instances[k], &a->instances[k], &a->latencies[k], &a->metrics[k]);
        if (d->instances[k]->end_to_end_us != NULL) {
            hist_merge(end_to_end, d->instances[k]->end_to_end_us);
        }
    }
    for (uint32_t k = 0; built && k < d->channel_count; k++) {
        report_channel(d->channels[k], &a->channels[k]);
    }
    hist_encode(end_to_end, &a->end_to_end);
    mem_free(end_to_end);
    m->kind = M_REPORT;
    m->REPORT = (struct msg_REPORT){
        .topology = d->name,
        .version = d->version,
        .gen = d->gen,
        .op = d->op,
        .state = d->state,
        .at_us = clock_now_us(),
        .instances = a->instances,
        .instances_count = a->count,
        .channels = a->channels,
        .channels_count = built ? d->channel_count : 0,
        .pool_bytes = pool_bytes_used(d->env->pool),
        .latency = {(const uint8_t *)a->end_to_end.data, a->end_to_end.bytes}};
    return a;
}

void report_arena_free(struct report_arena *a)
{
    for (uint32_t k = 0; k < a->count; k++) {
        strbuf_fini(&a->latencies[k]);
        free(a->metrics[k]);
    }
    strbuf_fini(&a->end_to_end);
    mem_free(a->instances);
    mem_free(a->latencies);
    mem_free(a->metrics);
    mem_free(a->channels);
    mem_free(a);
}
