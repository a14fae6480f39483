/* master/metrics.c - everything counted, as Prometheus text (format 0.0.4).
 *
 * Runs on:    the master loop; pure.
 * Invariants: P1 a family's lines stand together under one HELP and TYPE.  P2 label values are
 *             escaped.  P3 counters only grow while a version runs. */
#include "master/master.h"

#include "core/hist.h"
#include "core/mem.h"

#include <inttypes.h>
#include <string.h>

struct labels { /* of one instance */
    const char *topology, *pe, *worker;
    uint32_t index;
};

static void label(struct strbuf *out, const char *name, const char *value, bool first);
static void family(struct strbuf *out, const char *name, const char *type, const char *help);
static void instance_families(const struct deployments *ds, struct strbuf *out);
static void latency_families(const struct deployments *ds, struct strbuf *out);
static void channel_families(const struct deployments *ds, struct strbuf *out);
static void checkpoint_families(const struct deployments *ds, struct strbuf *out);
static void worker_families(const struct members *ms, const struct deployments *ds,
                            struct strbuf *out);
static void upgrade_families(const struct tally *t, struct strbuf *out);
static void own_families(const struct deployments *ds, struct strbuf *out);

void metrics_text(const struct members *ms, const struct deployments *ds, const struct tally *t,
                  struct strbuf *out)
{
    instance_families(ds, out);
    latency_families(ds, out);
    channel_families(ds, out);
    checkpoint_families(ds, out);
    worker_families(ms, ds, out);
    upgrade_families(t, out);
    own_families(ds, out);
}

static void family(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label(struct strbuf *out, const char *name, const char *value, bool first)
{
    strbuf_printf(out, "%s%s=\"", first ? "{" : ",", name);
    for (const char *p = value; *p != '\0'; p++) { /* P2 */
        if (*p == '\n') {
            strbuf_text_add(out, "\\n");
        } else {
            if (*p == '"' || *p == '\\') {
                strbuf_char(out, '\\');
            }
            strbuf_char(out, *p);
        }
    }
    strbuf_char(out, '"');
}

static void instance_labels(struct strbuf *out, const struct labels *l)
{
    label(out, "topology", l->topology, true);
    label(out, "pe", l->pe, false);
    strbuf_printf(out, ",instance=\"%" PRIu32 "\"", l->index);
    label(out, "worker", l->worker, false);
}

static struct labels labels_of(const struct deployment *d, const struct instance_view *v)
{
    const struct pinstance *n = &d->graph->instances[v->number];
    return (struct labels){.topology = d->name,
                           .pe = d->topology->pes[n->pe].name,
                           .worker = d->graph->workers[n->worker].name,
                           .index = n->index};
}

/* ---- per instance ---- */

static double value_in(const struct deployment *d, const struct instance_view *v)
{
    (void)d;
    return (double)v->tuples_in;
}

static double value_out(const struct deployment *d, const struct instance_view *v)
{
    (void)d;
    return (double)v->tuples_out;
}

static double value_errors(const struct deployment *d, const struct instance_view *v)
{
    (void)d;
    return (double)v->errors;
}

static double value_failed(const struct deployment *d, const struct instance_view *v)
{
    (void)d;
    return (double)v->failed;
}

static double value_held(const struct deployment *d, const struct instance_view *v)
{
    return !deployment_is_over(d) && v->held != 0 ? 1 : 0;
}

static double value_kept(const struct deployment *d, const struct instance_view *v)
{
    return deployment_is_over(d) ? 0 : (double)v->kept;
}

static double value_stuck(const struct deployment *d, const struct instance_view *v)
{
    return deployment_is_over(d) ? 0 : (double)v->call_us / 1e6;
}

static double share(const struct deployment *d, const struct instance_view *v, bool busy)
{
    struct sample a, b;
    if (deployment_is_over(d) || !samples_span(&v->samples, &a, &b)) {
        return 0;
    }
    uint64_t us = busy ? b.busy_us - a.busy_us : b.blocked_us - a.blocked_us;
    double ratio = (double)us / (double)(b.at_us - a.at_us);
    return ratio < 1 ? ratio : 1;
}

static double value_busy(const struct deployment *d, const struct instance_view *v)
{
    return share(d, v, true);
}

static double value_blocked(const struct deployment *d, const struct instance_view *v)
{
    return share(d, v, false);
}

static void instance_families(const struct deployments *ds, struct strbuf *out)
{
    static const struct {
        const char *name, *type, *help;
        double (*value)(const struct deployment *d, const struct instance_view *v);
    } families[] = {
        {"oxbow_pe_tuples_in_total", "counter", "Tuples taken in.", value_in},
        {"oxbow_pe_tuples_out_total", "counter", "Tuples given out.", value_out},
        {"oxbow_pe_errors_total", "counter", "Tuples on which the PE reported an error.",
         value_errors},
        {"oxbow_pe_failed_total", "counter", "Tuples given up: dropped or dead-lettered.",
         value_failed},
        {"oxbow_pe_held", "gauge", "1: it keeps its input, for a tuple it cannot process.",
         value_held},
        {"oxbow_pe_kept_tuples", "gauge", "Tuples that wait at a held instance.", value_kept},
        {"oxbow_pe_stuck_seconds", "gauge", "For so long it has not come back from a call.",
         value_stuck},
        {"oxbow_pe_busy_ratio", "gauge", "Share of time spent in the PE.", value_busy},
        {"oxbow_pe_blocked_ratio", "gauge", "Share of time waiting for room downstream.",
         value_blocked},
    };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < ds->count; i++) {
            const struct deployment *d = ds->items[i];
            for (uint32_t k = 0; d->graph != NULL && k < d->graph->instance_count; k++) {
                struct labels l = labels_of(d, &d->instances[k]);
                strbuf_text_add(out, families[f].name);
                instance_labels(out, &l);
                strbuf_printf(out, "} %.17g\n", families[f].value(d, &d->instances[k]));
            }
            for (uint32_t k = 0; d->carry.pes != NULL && k < d->topology->pe_count; k++) {
                const struct carry_pe c = d->carry.pes[k];
                uint64_t gone[] = {c.in, c.out, c.errors};
                if (f < 3 && c.in + c.out > 0) { /* P3: of instances that changes have removed */
                    const struct labels l = {d->name, d->topology->pes[k].name, "", 0};
                    strbuf_text_add(out, families[f].name);
                    label(out, "topology", l.topology, true);
                    label(out, "pe", l.pe, false);
                    strbuf_printf(out, ",instance=\"removed\",worker=\"\"} %" PRIu64 "\n",
                                  gone[f]);
                }
            }
        }
    }
}

/* ---- histograms: powers of four, from 1 us ---- */

static void histogram(struct strbuf *out, const char *name, const struct strbuf *labels,
                      const struct hist *h)
{
    uint64_t below = 0;
    unsigned bucket = 0;
    for (uint64_t le_us = 1; le_us <= UINT64_C(1) << 26; le_us *= 4) { /* 67 s */
        while (bucket < HIST_BUCKETS && hist_bucket_high(bucket) <= le_us) {
            below += h->buckets[bucket++];
        }
        strbuf_printf(out, "%s_bucket%s%sle=\"%g\"} %" PRIu64 "\n", name, labels->data,
                      labels->data[1] != '\0' ? "," : "", (double)le_us / 1e6, below);
    }
    uint64_t count = below;
    while (bucket < HIST_BUCKETS) {
        count += h->buckets[bucket++];
    }
    strbuf_printf(out, "%s_bucket%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels->data,
                  labels->data[1] != '\0' ? "," : "", count);
    const char *end = labels->data[0] == '{' && labels->data[1] == '\0' ? "" : "}";
    const char *own = end[0] == '\0' ? "" : labels->data;
    strbuf_printf(out, "%s_sum%s%s %.17g\n", name, own, end, (double)h->sum / 1e6);
    strbuf_printf(out, "%s_count%s%s %" PRIu64 "\n", name, own, end, count);
}

static void latency_families(const struct deployments *ds, struct strbuf *out)
{
    static const char pe_name[] = "oxbow_pe_latency_seconds";
    static const char end_name[] = "oxbow_end_to_end_latency_seconds";
    struct strbuf labels = {0};
    family(out, pe_name, "histogram", "Service time of a PE per batch.");
    for (size_t i = 0; i < ds->count; i++) {
        const struct deployment *d = ds->items[i];
        for (uint32_t k = 0; d->graph != NULL && k < d->graph->instance_count; k++) {
            const struct instance_view *v = &d->instances[k];
            struct labels l = labels_of(d, v);
            struct hist h = {0};
            (void)hist_decode(&h, v->latency.data, v->latency.bytes);
            strbuf_clear(&labels);
            instance_labels(&labels, &l);
            histogram(out, pe_name, &labels, &h);
        }
    }
    family(out, end_name, "histogram", "Time from source to sink.");
    for (size_t i = 0; i < ds->count; i++) {
        const struct deployment *d = ds->items[i];
        struct hist h = {0};
        for (uint32_t k = 0; d->graph != NULL && k < d->graph->worker_count; k++) {
            (void)hist_decode(&h, d->parts[k].latency.data, d->parts[k].latency.bytes);
        }
        strbuf_clear(&labels);
        label(&labels, "topology", d->name, true);
        if (d->graph != NULL) {
            histogram(out, end_name, &labels, &h);
        }
    }
    strbuf_fini(&labels);
}

/* ---- streams ---- */

static void channel_families(const struct deployments *ds, struct strbuf *out)
{
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        {"oxbow_channel_depth_batches", "gauge", "Batches waiting in the channels of a stream."},
        {"oxbow_channel_gaps_total", "counter", "Tuples missing at a receiver by their numbers."},
        {"oxbow_channel_repeats_total", "counter", "Tuples that came twice, by their numbers."},
        {"oxbow_channel_reordered_total", "counter", "Tuples out of order, by their numbers."},
        {"oxbow_channel_mismatches_total", "counter",
         "Comparisons of sender and receiver that differed."},
        {"oxbow_stream_tuples_total", "counter", "Tuples sent on a stream."},
        {"oxbow_channel_retained_bytes", "gauge",
         "Held by the logs of a stream's channels, to be sent again in a recovery."},
    };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < ds->count; i++) {
            const struct deployment *d = ds->items[i];
            if (d->graph == NULL) {
                continue;
            }
            uint64_t *sums = mem_array(d->topology->stream_count, sizeof *sums);
            for (uint32_t k = 0; k < d->graph->channel_count; k++) {
                const struct channel_view *v = &d->channels[k];
                uint64_t values[] = {v->depth_from + v->depth_to, v->gaps, v->repeats,
                                     v->reordered, v->mismatched, v->sent, v->retained};
                sums[d->graph->channels[v->number].stream] += values[f];
            }
            for (uint32_t k = 0; k < d->topology->stream_count; k++) {
                const struct carry_stream c = carry_of_stream(d, k);
                uint64_t gone[] = {0,           c.gaps,      c.repeats, c.reordered,
                                   c.mismatched, c.sent,      0};
                sums[k] += gone[f];
                strbuf_text_add(out, families[f].name);
                label(out, "topology", d->name, true);
                label(out, "stream", d->topology->streams[k].name, false);
                strbuf_printf(out, "} %" PRIu64 "\n", sums[k]);
            }
            mem_free(sums);
        }
    }
}

/* ---- checkpoints ---- */

static void checkpoint_families(const struct deployments *ds, struct strbuf *out)
{
    static const struct {
        const char *name, *type, *help;
        double scale;
    } families[] = {
        {"oxbow_checkpoint_duration_seconds", "gauge",
         "Marker to manifest, of the newest complete checkpoint.", 1e-6},
        {"oxbow_checkpoint_pause_seconds", "gauge",
         "Longest that one instance was held by it.", 1e-6},
        {"oxbow_checkpoint_bytes", "gauge", "Written for it.", 1},
        {"oxbow_checkpoints_total", "counter", "Complete checkpoints.", 1},
        {"oxbow_checkpoints_failed_total", "counter", "Given up: something was not saved.", 1},
        {"oxbow_checkpoints_voided_total", "counter", "Given up for an upgrade.", 1},
        {"oxbow_recoveries_total", "counter", "Recoveries from a checkpoint.", 1},
    };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < ds->count; i++) {
            const struct keeping *k = ds->items[i]->keeping;
            if (k == NULL) {
                continue;
            }
            const uint64_t values[] = {k->machine.last_us,   k->last_pause_us,
                                       k->last_bytes,        k->machine.completed,
                                       k->machine.failed,    k->machine.voided,
                                       k->recoveries};
            strbuf_text_add(out, families[f].name);
            label(out, "topology", ds->items[i]->name, true);
            strbuf_printf(out, "} %.9g\n", (double)values[f] * families[f].scale);
        }
    }
}

/* ---- workers and the program ---- */

static void worker_families(const struct members *ms, const struct deployments *ds,
                            struct strbuf *out)
{
    family(out, "oxbow_worker_up", "gauge", "1 when the worker is connected.");
    for (size_t i = 0; i < ms->count; i++) {
        strbuf_text_add(out, "oxbow_worker_up");
        label(out, "worker", ms->items[i]->name, true);
        strbuf_printf(out, "} %d\n", ms->items[i]->state == MEMBER_UP);
    }
    family(out, "oxbow_topology_state", "gauge", "1 for the state a topology is in.");
    for (size_t i = 0; i < ds->count; i++) {
        strbuf_text_add(out, "oxbow_topology_state");
        label(out, "topology", ds->items[i]->name, true);
        label(out, "state", topology_state_name(ds->items[i]->state), false);
        strbuf_text_add(out, "} 1\n");
    }
    family(out, "oxbow_build_info", "gauge", "1, with the version as a label.");
    strbuf_text_add(out, "oxbow_build_info");
    label(out, "version", OXBOW_VERSION, true);
    strbuf_text_add(out, "} 1\n");
}

static void upgrade_families(const struct tally *t, struct strbuf *out)
{
    struct strbuf none = {0};
    strbuf_char(&none, '{');
    family(out, "oxbow_upgrades_total", "counter", "Changes of running topologies, by result.");
    for (unsigned i = 0; i < TALLY_RESULTS; i++) {
        strbuf_text_add(out, "oxbow_upgrades_total");
        label(out, "result", tally_result_name(i), true);
        strbuf_printf(out, "} %" PRIu64 "\n", t->results[i]);
    }
    family(out, "oxbow_upgrade_pause_seconds", "histogram",
           "Longest pause of an input, per change that made one wait.");
    histogram(out, "oxbow_upgrade_pause_seconds", &none, &t->pause_us);
    strbuf_fini(&none);
}

/* ---- what PEs count themselves: pe/pe.h, oxb_metric ---- */

struct own { /* one family */
    char *name; /* with oxbow_ */
    const char *type;
    struct strbuf lines;
};

struct owns {
    struct own *items;
    size_t count, capacity;
};

static size_t name_bytes(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n > 0 && (s[0] < '0' || s[0] > '9') ? n : 0;
}

/* `{key="value",key="value"}` or nothing, with nothing in it to escape (P2). */
static bool labels_ok(const char *s)
{
    if (*s == '\0') {
        return true;
    }
    do {
        s++; /* the brace or comma */
        size_t key = name_bytes(s);
        if (key == 0 || strncmp(s + key, "=\"", 2) != 0) {
            return false;
        }
        s += key + 2;
        s += strcspn(s, "\"\\\n");
        if (*s++ != '"') {
            return false;
        }
    } while (*s == ',');
    return strcmp(s, "}") == 0;
}

/* ends - does name[0..bytes) end so?  Then *stem is what is before it. */
static bool ends(const char *name, size_t bytes, const char *suffix, size_t *stem)
{
    size_t n = strlen(suffix);
    bool is = bytes > n && memcmp(name + bytes - n, suffix, n) == 0;
    *stem = is ? bytes - n : bytes;
    return is;
}

static struct own *own_of(struct owns *all, char *name TAKES, const char *type,
                          const struct strbuf *taken)
{
    char *head = mem_printf("# TYPE %s ", name);
    bool is_taken = taken->data != NULL && strstr(taken->data, head) != NULL; /* P1 */
    struct own *found = NULL;
    mem_free(head);
    for (size_t i = 0; i < all->count && found == NULL && !is_taken; i++) {
        found = strcmp(all->items[i].name, name) == 0 ? &all->items[i] : NULL;
    }
    if (found != NULL || is_taken) {
        mem_free(name);
        return found;
    }
    all->items = mem_grow(all->items, all->count, &all->capacity, sizeof *all->items);
    all->items[all->count] = (struct own){.name = name, .type = type};
    return &all->items[all->count++];
}

static void add_own(struct owns *all, const char *full, json_int_t value, const struct labels *l,
                    const struct strbuf *taken)
{
    size_t bytes = name_bytes(full), stem, unused;
    if (bytes == 0 || (full[bytes] != '\0' && full[bytes] != '{') || !labels_ok(full + bytes)) {
        return;
    }
    bool bucket = ends(full, bytes, "_bucket", &stem) && strstr(full + bytes, "le=\"") != NULL;
    bool hist = bucket || ends(full, bytes, "_sum", &stem) || ends(full, bytes, "_count", &stem);
    bool us = ends(full, bytes, "_us_total", hist ? &unused : &stem);
    bool total = us || ends(full, bytes, "_total", &unused);
    char *name = us ? mem_printf("oxbow_%.*s_seconds_total", (int)stem, full)
                    : mem_printf("oxbow_%.*s", (int)(hist ? stem : bytes), full);
    struct own *o =
        own_of(all, name, hist ? "histogram" : total ? "counter" : "gauge", taken);
    if (o == NULL) {
        return;
    }
    strbuf_printf(&o->lines, "%s%.*s", o->name, hist ? (int)(bytes - stem) : 0, full + stem);
    instance_labels(&o->lines, l);
    size_t own = strlen(full + bytes);
    if (own > 2) {
        strbuf_printf(&o->lines, ",%.*s", (int)(own - 2), full + bytes + 1);
    }
    strbuf_printf(&o->lines, "} %.17g\n", (double)value / (us ? 1e6 : 1));
}

static void own_families(const struct deployments *ds, struct strbuf *out)
{
    struct owns all = {0};
    for (size_t i = 0; i < ds->count; i++) {
        const struct deployment *d = ds->items[i];
        for (uint32_t k = 0; d->graph != NULL && k < d->graph->instance_count; k++) {
            const struct instance_view *v = &d->instances[k];
            json_t *own = v->metrics != NULL ? json_loads(v->metrics, 0, NULL) : NULL;
            const struct labels l = labels_of(d, v);
            const char *name;
            json_t *value;
            json_object_foreach(own, name, value)
            {
                add_own(&all, name, json_integer_value(value), &l, out);
            }
            json_decref(own);
        }
    }
    for (size_t i = 0; i < all.count; i++) {
        struct own *o = &all.items[i];
        family(out, o->name, o->type, "Counted by a PE itself.");
        strbuf_add(out, o->lines.data, o->lines.bytes);
        strbuf_fini(&o->lines);
        mem_free(o->name);
    }
    mem_free(all.items);
}
