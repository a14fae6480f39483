/* master/status.c - topologies and workers as JSON: docs/API.md describes the bodies.
 *
 * Runs on:    the master loop; pure.
 * Invariants: T1 rates come from two reports of one worker, never from two clocks.
 *             T2 what is over has no rate. */
#include "master/master.h"

#include "core/hist.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>

struct rates {
    double in, out;       /* per second */
    double busy, blocked; /* 0..1 */
};

static struct rates rates_of(const struct deployment *d, const struct samples *s);
static json_t *pes_json(const struct deployment *d);
static json_t *streams_json(const struct deployment *d);
static const char *phase(const struct deployment *d);

json_t *status_text(const char *s)
{
    if (s != NULL && !text_is_utf8(s, strlen(s))) {
        return json_string("(text is not UTF-8)");
    }
    return json_string(s != NULL ? s : "");
}

json_t *status_error(const struct fail *f, const char *where)
{
    return json_pack("{s:o, s:o, s:o}", "message", status_text(f->what), "hint",
                     status_text(f->hint), "where", status_text(where));
}

static json_t *latency_json(const struct hist *h)
{
    return json_pack("{s:I, s:I, s:I}", "p50", (json_int_t)hist_quantile(h, 0.5), "p99",
                     (json_int_t)hist_quantile(h, 0.99), "max", (json_int_t)h->max);
}

/* The version it is changing to, and how far that is; null: none. */
static json_t *change_json(const struct deployment *d)
{
    return d->next == NULL ? json_null()
                           : json_pack("{s:I, s:s}", "version", (json_int_t)d->next->version,
                                       "state", change_state_name(d->next->change.state));
}

/* The checkpoint that the recovery under way, or else the latest one, has passed over; null: none.
 */
static json_t *damaged_json(const struct keeping *k)
{
    bool now = k->bad_epoch != 0;
    uint64_t epoch = now ? k->bad_epoch : k->passed_epoch;
    return epoch == 0 ? json_null()
                      : json_pack("{s:I, s:o}", "epoch", (json_int_t)epoch, "what",
                                  status_text(now ? k->bad_why : k->passed_why));
}

/* NULL as JSON when the topology takes none. */
static json_t *checkpoint_json(const struct deployment *d)
{
    const struct keeping *k = d->keeping;
    if (k == NULL) {
        return json_null();
    }
    const struct checkpoint *c = &k->machine;
    return json_pack("{s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "epoch",
                     (json_int_t)c->complete, "live", (int)checkpoint_is_live(c), "completed",
                     (json_int_t)c->completed, "failed", (json_int_t)c->failed, "voided",
                     (json_int_t)c->voided, "last_us", (json_int_t)c->last_us, "last_bytes",
                     (json_int_t)k->last_bytes, "last_pause_us", (json_int_t)k->last_pause_us,
                     "recoveries", (json_int_t)k->recoveries, "error",
                     k->last_error[0] != '\0' ? status_text(k->last_error) : json_null(),
                     "damaged", damaged_json(k));
}

json_t *status_topology(const struct deployment *d)
{
    if (d->graph == NULL && d->final != NULL) {
        json_t *last = json_loads(d->final, 0, NULL);
        if (last != NULL) {
            return last;
        }
    }
    char created[28];
    text_rfc3339_us(d->created_at_us, created);
    struct hist latency = {0};
    for (uint32_t i = 0; d->graph != NULL && i < d->graph->worker_count; i++) {
        (void)hist_decode(&latency, d->parts[i].latency.data, d->parts[i].latency.bytes);
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                     d->name, "version", (json_int_t)d->version, "state",
                     topology_state_name(d->state),
                     "digest", d->digest, "created_at", created, "error",
                     d->state == TOPOLOGY_FAILED ? status_error(&d->fail, d->fail_where)
                                                 : json_null(),
                     "phase", phase(d), "change", change_json(d), "pes", pes_json(d), "streams",
                     streams_json(d), "checkpoint", checkpoint_json(d),
                     "crashes", trouble_crashes(d), "latency_us", latency_json(&latency));
}

json_t *status_topologies(const struct deployments *ds)
{
    json_t *all = json_array();
    for (size_t i = 0; i < ds->count; i++) {
        const struct deployment *d = ds->items[i];
        char created[28];
        text_rfc3339_us(d->created_at_us, created);
        json_array_append_new(
            all, json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:s}", "name", d->name, "version",
                           (json_int_t)d->version, "state", topology_state_name(d->state), "pes",
                           (json_int_t)d->pe_count, "instances", (json_int_t)d->instance_count,
                           "workers", (json_int_t)d->worker_count, "created_at", created));
    }
    return all;
}

uint32_t status_slots_used(const struct deployments *ds, uint64_t worker_id)
{
    uint32_t used = 0;
    for (size_t i = 0; i < ds->count; i++) {
        const struct deployment *d = ds->items[i];
        if (!deployment_is_over(d)) { /* while it changes: the larger of both */
            uint32_t now = deployment_slots(d, worker_id);
            uint32_t next = d->next != NULL ? deployment_slots(d->next, worker_id) : 0;
            used += now > next ? now : next;
        }
    }
    return used;
}

json_t *status_workers(const struct members *ms, const struct deployments *ds, uint64_t now_us)
{
    json_t *all = json_array();
    for (size_t i = 0; i < ms->count; i++) {
        const struct member *w = ms->items[i];
        uint64_t age_us = w->heard_at_us != 0 ? now_us - w->heard_at_us : 0;
        json_t *labels = w->labels != NULL ? json_deep_copy(w->labels) : json_object();
        json_array_append_new(
            all,
            json_pack("{s:s, s:I, s:s, s:b, s:o, s:o, s:i, s:i, s:i, s:b, s:o, s:I, s:o, s:I}",
                      "name", w->name, "id", (json_int_t)w->id, "state",
                      member_state_name(w->state), "draining",
                      (int)members_is_drained(ms, w->name),
                      "address", status_text(w->address), "host", status_text(w->host), "slots",
                      (int)w->slots, "slots_used", (int)status_slots_used(ds, w->id), "threads",
                      (int)w->threads, "gpu", (int)w->gpu, "labels", labels, "pid",
                      (json_int_t)w->pid, "version", status_text(w->version),
                      "heartbeat_age_ms", (json_int_t)(age_us / 1000)));
    }
    return all;
}

/* ---- helpers ---- */

static const char *phase(const struct deployment *d)
{
    switch (d->state) {
    case TOPOLOGY_DEPLOYING:
        return d->graph != NULL ? change_state_name(d->change.state) : "planned";
    case TOPOLOGY_RUNNING:
        return "run";
    case TOPOLOGY_DRAINING:
        return "drain";
    default:
        return "over";
    }
}

static struct rates rates_of(const struct deployment *d, const struct samples *s)
{
    struct sample old, new;
    struct rates r = {0};
    if (deployment_is_over(d) || !samples_span(s, &old, &new)) { /* T2 */
        return r;
    }
    double us = (double)(new.at_us - old.at_us); /* T1 */
    r.in = new.in > old.in ? (double)(new.in - old.in) * 1e6 / us : 0;
    r.out = new.out > old.out ? (double)(new.out - old.out) * 1e6 / us : 0;
    r.busy = new.busy_us > old.busy_us ? (double)(new.busy_us - old.busy_us) / us : 0;
    r.blocked = new.blocked_us > old.blocked_us
                    ? (double)(new.blocked_us - old.blocked_us) / us
                    : 0;
    r.busy = r.busy < 1 ? r.busy : 1;
    r.blocked = r.blocked < 1 ? r.blocked : 1;
    return r;
}

static json_t *instance_json(const struct deployment *d, const struct instance_view *v,
                             const struct rates *r)
{
    const struct pinstance *n = &d->graph->instances[v->number];
    json_t *metrics = v->metrics != NULL ? json_loads(v->metrics, 0, NULL) : NULL;
    return json_pack("{s:I, s:i, s:s, s:i, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:o, s:o,"
                     " s:o}",
                     "id", (json_int_t)v->id, "index", (int)n->index, "worker",
                     d->graph->workers[n->worker].name, "chain", (int)n->chain, "state",
                     instance_state_name(v->state), "tuples_in", (json_int_t)v->tuples_in,
                     "tuples_out", (json_int_t)v->tuples_out, "rate_in", r->in, "rate_out",
                     r->out, "busy", r->busy, "blocked", r->blocked, "errors",
                     (json_int_t)v->errors, "failed", (json_int_t)v->failed, "error",
                     status_text(v->error), "held", trouble_held(v), "metrics",
                     metrics != NULL ? metrics : json_object());
}

static json_t *pe_json(const struct deployment *d, uint32_t number)
{
    const struct pe *pe = &d->topology->pes[number];
    const struct pgraph *g = d->graph;
    json_t *instances = json_array();
    struct rates sum = {0};
    struct hist latency = {0};
    const struct carry_pe gone = carry_of_pe(d, number);
    uint64_t in = gone.in, out = gone.out, errors = gone.errors;
    unsigned count = 0;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (g->instances[i].pe != number) {
            continue;
        }
        const struct instance_view *v =
            deployment_instance((struct deployment *)(uintptr_t)d, g->instances[i].id);
        struct rates r = rates_of(d, &v->samples);
        in += v->tuples_in;
        out += v->tuples_out;
        errors += v->errors;
        sum.in += r.in;
        sum.out += r.out;
        sum.busy += r.busy;
        sum.blocked += r.blocked;
        count++;
        (void)hist_decode(&latency, v->latency.data, v->latency.bytes);
        json_array_append_new(instances, instance_json(d, v, &r));
    }
    bool file = strcspn(pe->code, ":") == DIGEST_HEX_BYTES - 1; /* "SHA256:symbol" */
    json_t *code = file ? json_stringn(pe->code, DIGEST_HEX_BYTES - 1) : json_null();
    return json_pack("{s:s, s:o, s:i, s:s, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:o, s:o}",
                     "name", pe->name, "use", status_text(pe->use), "parallelism",
                     (int)pe->parallelism, "digest", pe->digest, "code", code, "tuples_in",
                     (json_int_t)in, "tuples_out", (json_int_t)out, "rate_in", sum.in, "rate_out",
                     sum.out, "busy", count > 0 ? sum.busy / count : 0.0, "blocked",
                     count > 0 ? sum.blocked / count : 0.0, "errors", (json_int_t)errors,
                     "latency_us", latency_json(&latency), "instances", instances);
}

static json_t *pes_json(const struct deployment *d)
{
    json_t *all = json_array();
    for (uint32_t i = 0; d->graph != NULL && i < d->topology->pe_count; i++) {
        json_array_append_new(all, pe_json(d, i));
    }
    return all;
}

static const char *partitioning_name(enum partitioning p)
{
    return p == PART_KEYED ? "keyed" : p == PART_BROADCAST ? "broadcast" : "balanced";
}

struct stream_sum {
    uint64_t sent, depth, gaps, repeats, reordered, compared, mismatched, retained;
    double rate;
    unsigned channels, fused;
};

static void add_channels(const struct deployment *d, struct stream_sum *sums)
{
    for (uint32_t i = 0; i < d->graph->channel_count; i++) {
        const struct channel_view *v = &d->channels[i];
        const struct pchannel *c = &d->graph->channels[v->number];
        struct stream_sum *s = &sums[c->stream];
        s->sent += v->sent;
        s->depth += v->depth_from + v->depth_to;
        s->retained += v->retained;
        s->gaps += v->gaps;
        s->repeats += v->repeats;
        s->reordered += v->reordered;
        s->compared += v->compared;
        s->mismatched += v->mismatched;
        s->rate += rates_of(d, &v->samples).out;
        s->channels++;
        s->fused += c->fused;
    }
}

static json_t *streams_json(const struct deployment *d)
{
    json_t *all = json_array();
    if (d->graph == NULL) {
        return all;
    }
    const struct topology *t = d->topology;
    struct stream_sum *sums = mem_array(t->stream_count, sizeof *sums);
    add_channels(d, sums);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        struct stream_sum *s = &sums[i];
        const struct carry_stream gone = carry_of_stream(d, i);
        s->sent += gone.sent;
        s->gaps += gone.gaps;
        s->repeats += gone.repeats;
        s->reordered += gone.reordered;
        s->compared += gone.compared;
        s->mismatched += gone.mismatched;
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
                           "s:i}",
                           "name", t->streams[i].name, "from", t->pes[t->streams[i].from_pe].name,
                           "to", t->pes[t->streams[i].to_pe].name, "partitioning",
                           partitioning_name(t->streams[i].partitioning), "fused",
                           s->fused == s->channels && s->channels > 0, "tuples",
                           (json_int_t)s->sent, "rate", s->rate, "depth", (json_int_t)s->depth,
                           "gaps", (json_int_t)s->gaps, "repeats", (json_int_t)s->repeats,
                           "reordered", (json_int_t)s->reordered, "compared",
                           (json_int_t)s->compared, "mismatched", (json_int_t)s->mismatched,
                           "retained", (json_int_t)s->retained, "channels",
                           (int)s->channels));
    }
    mem_free(sums);
    return all;
}
