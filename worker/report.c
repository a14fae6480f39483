/* worker/report.c - what a worker tells the master of one topology: states and counters.
 *
 * Threads:    the loop's; reads what executors write, relaxed. */
#include "core/counter.h"
#include "worker/part.h"

#include "core/clock.h"
#include "core/mem.h"
#include "worker/hold.h"
#include "worker/retain.h"
#include "worker/watch.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct report_arena {
    struct rec_INSTANCE_STATUS *instances;
    struct rec_CHANNEL_STATUS *channels;
    struct strbuf *latencies; /* [instances] */
    char **metrics;           /* [instances] */
    struct held_texts {
        struct strbuf error, tuple, stream;
    } * held; /* [instances] */
    uint32_t count;
    struct strbuf end_to_end;
};

static void add_metric(void *arg, const char *name, const char *doc, int64_t value)
{
    (void)doc;
    json_object_set_new(arg, name, json_integer(value));
}

/* What keeps it from going on, if anything does. */
static void report_trouble(struct instance *i, struct rec_INSTANCE_STATUS *out,
                           struct held_texts *texts)
{
    struct held h = hold_read(i, &texts->error, &texts->tuple, &texts->stream);
    out->held = h.number;
    out->kept = h.tuples;
    out->held_tuple = strbuf_text(&texts->tuple);
    out->held_stream = strbuf_text(&texts->stream);
    if (h.number != 0) {
        out->error = strbuf_text(&texts->error);
    }
    uint64_t call_us = watch_stuck_us(i, clock_now_us());
    if (call_us > 0) {
        out->state = INSTANCE_STUCK;
        out->call_us = call_us;
        strbuf_clear(&texts->error);
        strbuf_printf(&texts->error, "its code has not come back from one call for %llu s",
                      (unsigned long long)(call_us / 1000000));
        out->error = strbuf_text(&texts->error);
    }
}

static void report_instance(struct instance *i, struct rec_INSTANCE_STATUS *out,
                            struct strbuf *latency, char **metrics, struct held_texts *texts)
{
    struct pe_counters *n = pe_counters(i->pe);
    uint64_t since = counter_get(&i->stats.blocked_since_ns);
    uint64_t blocked =
        counter_get(&i->stats.blocked_ns) + (since != 0 ? clock_now_ns() - since : 0);
    hist_encode(&i->stats.service_us, latency);
    json_t *own = json_object();
    pe_metrics_each(i->pe, add_metric, own);
    *metrics = json_object_size(own) > 0 ? json_dumps(own, JSON_COMPACT) : NULL;
    json_decref(own);
    unsigned state = atomic_load(&i->state);
    *out = (struct rec_INSTANCE_STATUS){.id = i->id,
                                        .state = state,
                                        .tuples_in = counter_get(&n->tuples_in),
                                        .tuples_out = counter_get(&n->tuples_out),
                                        .batches_in = counter_get(&n->batches_in),
                                        .batches_out = counter_get(&n->batches_out),
                                        .bytes_in = counter_get(&n->bytes_in),
                                        .bytes_out = counter_get(&n->bytes_out),
                                        .errors = counter_get(&n->errors),
                                        .failed = counter_get(&n->failed),
                                        .busy_us = counter_get(&i->stats.busy_ns) / 1000,
                                        .blocked_us = blocked / 1000,
                                        .state_bytes = counter_get(&i->stats.state_bytes),
                                        .error = state == INSTANCE_FAILED ? i->error : "",
                                        .latency = {(const uint8_t *)latency->data, latency->bytes},
                                        .metrics = *metrics != NULL ? *metrics : ""};
    out->had_ended = i->had_finished;
    report_trouble(i, out, texts);
}

static void report_channel(struct channel *c, struct rec_CHANNEL_STATUS *out)
{
    struct ledger *l = &c->ledger;
    struct retained *log = channel_log(c);
    *out = (struct rec_CHANNEL_STATUS){.id = c->id,
                                       .sent = c->from != NULL ? counter_get(&l->sent) : 0,
                                       .received = c->to != NULL ? counter_get(&l->received) : 0,
                                       .depth = ring_used(&c->ring),
                                       .gaps = counter_get(&l->gaps),
                                       .repeats = counter_get(&l->repeats),
                                       .reordered = counter_get(&l->reordered),
                                       .compared = counter_get(&l->compared),
                                       .mismatched = counter_get(&l->mismatched),
                                       .ended = atomic_load(&l->ended),
                                       .reach = log != NULL ? counter_get(&log->reach) : 0,
                                       .retained = log != NULL ? counter_get(&log->bytes) : 0};
}

struct report_arena *part_report(struct part *d, struct msg *m)
{
    struct report_arena *a = mem_alloc(sizeof *a);
    bool built = !d->preparing && d->state != DEPLOYMENT_PREPARING && !d->failed;
    a->count = built ? d->instance_count : 0;
    a->instances = mem_array(a->count, sizeof *a->instances);
    a->latencies = mem_array(a->count, sizeof *a->latencies);
    a->metrics = mem_array(a->count, sizeof *a->metrics);
    a->held = mem_array(a->count, sizeof *a->held);
    a->channels = mem_array(built ? d->channel_count : 0, sizeof *a->channels);
    struct hist *end_to_end = mem_alloc(sizeof *end_to_end);
    for (uint32_t k = 0; k < a->count; k++) {
        report_instance(d->instances[k], &a->instances[k], &a->latencies[k], &a->metrics[k],
                        &a->held[k]);
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
    m->REPORT =
        (struct msg_REPORT){.topology = d->name,
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
        strbuf_fini(&a->held[k].error);
        strbuf_fini(&a->held[k].tuple);
        strbuf_fini(&a->held[k].stream);
    }
    strbuf_fini(&a->end_to_end);
    mem_free(a->instances);
    mem_free(a->latencies);
    mem_free(a->metrics);
    mem_free(a->held);
    mem_free(a->channels);
    mem_free(a);
}
