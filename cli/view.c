/* cli/view.c - the master's documents as tables: topologies, one topology, workers.
 *
 * Runs on:    anywhere; pure.
 * See:        docs/API.md, tests/unit/cli/view_test.c */
#include "cli/view.h"

#include "cli/print.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static void cell_count(struct table *t, const json_t *object, const char *key)
{
    char text[NUMBER_TEXT_BYTES];
    number_count(json_count_of(object, key), text);
    table_cell(t, text);
}

static void cell_rate(struct table *t, const json_t *object, const char *key)
{
    char text[NUMBER_TEXT_BYTES];
    number_rate(json_real_of(object, key), text);
    table_cell(t, text);
}

static void cell_share(struct table *t, const json_t *object, const char *key)
{
    char text[NUMBER_TEXT_BYTES];
    double share = json_real_of(object, key);
    number_share(share, text);
    table_styled(t, text, share >= 0.9 ? TABLE_WARN : TABLE_PLAIN);
}

static void cell_state(struct table *t, const char *state)
{
    bool known = state[0] != '\0' && strcmp(state, "unknown") != 0; /* no report has come yet */
    table_styled(t, known ? state : "-", state_style(state));
}

static bool has_latency(const json_t *latency)
{
    return json_real_of(latency, "max") > 0; /* all 0 while nothing has been measured */
}

void view_topologies(const json_t *topologies, FILE *out, bool color)
{
    static const char *const heads[] = {"TOPOLOGY",   ">VERSION", "STATE",  ">PES",
                                        ">INSTANCES", ">WORKERS", "CREATED"};
    struct table t;
    size_t i;
    json_t *topology;
    if (json_array_size(topologies) == 0) {
        fprintf(out, "no topologies; start one with `oxbow deploy FILE`\n");
        return;
    }
    table_init(&t, heads, COUNT_OF(heads));
    json_array_foreach(topologies, i, topology)
    {
        const json_t *workers = json_object_get(topology, "workers");
        char text[NUMBER_TEXT_BYTES];
        table_cell(&t, json_text_of(topology, "name"));
        cell_count(&t, topology, "version");
        cell_state(&t, json_text_of(topology, "state"));
        cell_count(&t, topology, "pes");
        cell_count(&t, topology, "instances");
        number_count(json_is_array(workers) ? json_array_size(workers)
                                            : json_count_of(topology, "workers"),
                     text);
        table_cell(&t, text);
        table_cell(&t, json_text_of(topology, "created_at"));
    }
    table_print(&t, out, color);
    table_fini(&t);
}

static char *labels_text(const json_t *labels)
{
    char *text = mem_dup("");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)labels, key, value)
    {
        char *longer = mem_printf("%s%s%s=%s", text, text[0] != '\0' ? "," : "", key,
                                  json_string_value(value) != NULL ? json_string_value(value) : "");
        mem_free(text);
        text = longer;
    }
    return text;
}

void view_workers(const json_t *workers, FILE *out, bool color)
{
    static const char *const heads[] = {"WORKER",  "STATE",    "ADDRESS", ">SLOTS",
                                        ">USED",   ">THREADS", "GPU",     ">PID",
                                        "VERSION", ">AGE MS",  "LABELS"};
    struct table t;
    size_t i;
    json_t *worker;
    if (json_array_size(workers) == 0) {
        fprintf(out, "no workers; start one with `oxbow-worker --master HOST:PORT`\n");
        return;
    }
    table_init(&t, heads, COUNT_OF(heads));
    json_array_foreach(workers, i, worker)
    {
        char *labels = labels_text(json_object_get(worker, "labels"));
        char pid[NUMBER_TEXT_BYTES];
        snprintf(pid, sizeof pid, "%" PRIu64, json_count_of(worker, "pid"));
        const json_t *gpu = json_object_get(worker, "gpu");
        bool has_gpu = json_is_true(gpu) || (json_is_string(gpu) && json_string_length(gpu) > 0);
        table_cell(&t, json_text_of(worker, "name"));
        bool drained = json_is_true(json_object_get(worker, "draining"));
        if (drained && strcmp(json_text_of(worker, "state"), "up") == 0) {
            table_styled(&t, "up, drained", TABLE_WARN);
        } else {
            cell_state(&t, json_text_of(worker, "state"));
        }
        table_cell(&t, json_text_of(worker, "address"));
        cell_count(&t, worker, "slots");
        cell_count(&t, worker, "slots_used");
        cell_count(&t, worker, "threads");
        table_cell(&t, json_is_string(gpu) && has_gpu ? json_string_value(gpu)
                       : has_gpu                      ? "yes"
                                                      : "no");
        table_cell(&t, pid);
        table_cell(&t, json_text_of(worker, "version"));
        cell_count(&t, worker, "heartbeat_age_ms");
        table_cell(&t, labels[0] != '\0' ? labels : "-");
        mem_free(labels);
    }
    table_print(&t, out, color);
    table_fini(&t);
}

static bool list_has(const char *list, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *p = list; bytes > 0 && (p = strstr(p, word)) != NULL; p++) {
        if ((p == list || p[-1] == ',') && (p[bytes] == ',' || p[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

static char *workers_text(const json_t *pe) /* "w1,w2", each once */
{
    char *text = mem_dup("");
    size_t i;
    json_t *instance;
    json_array_foreach(json_object_get(pe, "instances"), i, instance)
    {
        const char *worker = json_text_of(instance, "worker");
        if (worker[0] != '\0' && !list_has(text, worker)) {
            char *longer = mem_printf("%s%s%s", text, text[0] != '\0' ? "," : "", worker);
            mem_free(text);
            text = longer;
        }
    }
    return text;
}

static unsigned trouble_of(const char *state)
{
    static const char *const worse[] = {"held", "stuck", "failed"};
    for (unsigned n = 0; n < COUNT_OF(worse); n++) {
        if (strcmp(state, worse[n]) == 0) {
            return n + 1;
        }
    }
    return 0;
}

/* pe_state - the worst state of its instances: failed, stuck, held, then any not yet ended. */
static const char *pe_state(const json_t *pe)
{
    const char *state = "-";
    size_t i;
    json_t *instance;
    json_array_foreach(json_object_get(pe, "instances"), i, instance)
    {
        const char *its = json_text_of(instance, "state");
        if (trouble_of(its) > trouble_of(state) || strcmp(state, "-") == 0 ||
            (trouble_of(state) == 0 && strcmp(its, "ended") != 0)) {
            state = its;
        }
    }
    return state;
}

/* view_trouble - a line for each instance that a person should look after. */
static void view_trouble(const json_t *topology, FILE *out)
{
    size_t i, k;
    json_t *pe, *instance;
    json_array_foreach(json_object_get(topology, "pes"), i, pe)
    {
        json_array_foreach(json_object_get(pe, "instances"), k, instance)
        {
            const char *name = json_text_of(pe, "name"), *topic = json_text_of(topology, "name");
            const json_t *held = json_object_get(instance, "held");
            uint64_t index = json_count_of(instance, "index");
            if (json_is_object(held)) {
                char *tuple = json_dumps(json_object_get(held, "tuple"),
                                         JSON_COMPACT | JSON_ENCODE_ANY);
                fprintf(out, "held: %s[%" PRIu64 "]: %s; tuple %s; %" PRIu64
                        " wait; repair it by `oxbow upgrade`, or `oxbow skip %s %s`\n", name,
                        index, json_text_of(held, "error"), tuple, json_count_of(held, "kept"),
                        topic, name);
                free(tuple);
            } else if (strcmp(json_text_of(instance, "state"), "stuck") == 0) {
                fprintf(out, "stuck: %s[%" PRIu64 "]: %s\n", name, index,
                        json_text_of(instance, "error"));
            }
        }
    }
}

static void view_pes(const json_t *topology, FILE *out, bool color)
{
    static const char *const heads[] = {"PE",       "USE",     ">INST", "WORKERS", "STATE",
                                        ">IN",      ">OUT",    ">IN/S", ">OUT/S",  ">BUSY",
                                        ">BLOCKED", ">ERRORS", ">P99"};
    struct table t;
    size_t i;
    json_t *pe;
    table_init(&t, heads, COUNT_OF(heads));
    json_array_foreach(json_object_get(topology, "pes"), i, pe)
    {
        char text[NUMBER_TEXT_BYTES];
        char *workers = workers_text(pe);
        table_cell(&t, json_text_of(pe, "name"));
        table_cell(&t, json_text_of(pe, "use"));
        cell_count(&t, pe, "parallelism");
        table_cell(&t, workers[0] != '\0' ? workers : "-");
        cell_state(&t, pe_state(pe));
        cell_count(&t, pe, "tuples_in");
        cell_count(&t, pe, "tuples_out");
        cell_rate(&t, pe, "rate_in");
        cell_rate(&t, pe, "rate_out");
        cell_share(&t, pe, "busy");
        cell_share(&t, pe, "blocked");
        cell_count(&t, pe, "errors");
        const json_t *latency = json_object_get(pe, "latency_us");
        number_us(json_real_of(latency, "p99"), text);
        table_cell(&t, has_latency(latency) ? text : "-");
        mem_free(workers);
    }
    table_print(&t, out, color);
    table_fini(&t);
}

static void view_streams(const json_t *topology, FILE *out, bool color)
{
    static const char *const heads[] = {"STREAM",  "PARTITIONING", ">CHANNELS",
                                        ">TUPLES", ">RATE/S",      ">DEPTH",
                                        ">GAPS",   ">REPEATS",     ">REORDERED"};
    struct table t;
    size_t i;
    json_t *stream;
    table_init(&t, heads, COUNT_OF(heads));
    json_array_foreach(json_object_get(topology, "streams"), i, stream)
    {
        char *how = mem_printf("%s%s", json_text_of(stream, "partitioning"),
                               json_is_true(json_object_get(stream, "fused")) ? ", fused" : "");
        table_cell(&t, json_text_of(stream, "name"));
        table_cell(&t, how);
        cell_count(&t, stream, "channels");
        cell_count(&t, stream, "tuples");
        cell_rate(&t, stream, "rate");
        cell_count(&t, stream, "depth");
        cell_count(&t, stream, "gaps");
        cell_count(&t, stream, "repeats");
        cell_count(&t, stream, "reordered");
        mem_free(how);
    }
    table_print(&t, out, color);
    table_fini(&t);
}

void view_topology(const json_t *topology, FILE *out, bool color)
{
    const char *state = json_text_of(topology, "state");
    const json_t *error = json_object_get(topology, "error");
    const json_t *latency = json_object_get(topology, "latency_us");
    const char *mark = !color                             ? ""
                       : state_style(state) == TABLE_GOOD ? "\033[32m"
                       : state_style(state) == TABLE_BAD  ? "\033[31m"
                                                          : "\033[33m";
    fprintf(out, "%s version %" PRIu64 "  %s%s%s  created %s", json_text_of(topology, "name"),
            json_count_of(topology, "version"), mark, state, color ? "\033[0m" : "",
            json_text_of(topology, "created_at"));
    if (has_latency(latency)) {
        char p50[NUMBER_TEXT_BYTES], p99[NUMBER_TEXT_BYTES];
        number_us(json_real_of(latency, "p50"), p50);
        number_us(json_real_of(latency, "p99"), p99);
        fprintf(out, "  end-to-end p50 %s, p99 %s", p50, p99);
    }
    fputc('\n', out);
    if (json_is_object(error)) {
        const char *where = json_text_of(error, "where"), *hint = json_text_of(error, "hint");
        fprintf(out, "failed%s%s%s: %s%s%s\n", where[0] != '\0' ? " at '" : "", where,
                where[0] != '\0' ? "'" : "", json_text_of(error, "message"),
                hint[0] != '\0' ? "; " : "", hint);
    }
    const json_t *damaged = json_object_get(json_object_get(topology, "checkpoint"), "damaged");
    if (json_is_object(damaged)) {
        fprintf(out, "checkpoint %" PRIu64 " is damaged, the recovery took an older one: %s\n",
                json_count_of(damaged, "epoch"), json_text_of(damaged, "what"));
    }
    view_trouble(topology, out);
    fputc('\n', out);
    view_pes(topology, out, color);
    fputc('\n', out);
    view_streams(topology, out, color);
}

static bool has_stream(const json_t *topology, const char *end, const char *pe)
{
    size_t i;
    json_t *stream;
    json_array_foreach(json_object_get(topology, "streams"), i, stream)
    {
        const char *at = json_text_of(stream, end);
        size_t bytes = strcspn(at, "."); /* `parse.errors` names a port of parse */
        if (strlen(pe) == bytes && memcmp(at, pe, bytes) == 0) {
            return true;
        }
    }
    return false;
}

struct view_totals view_totals_of(const json_t *topology)
{
    struct view_totals totals = {0};
    size_t i;
    json_t *pe;
    json_array_foreach(json_object_get(topology, "pes"), i, pe)
    {
        const char *name = json_text_of(pe, "name");
        if (!has_stream(topology, "to", name)) { /* a source */
            totals.in += json_count_of(pe, "tuples_out");
            totals.rate_in += json_real_of(pe, "rate_out");
        }
        if (!has_stream(topology, "from", name)) { /* a sink */
            totals.out += json_count_of(pe, "tuples_in");
            totals.rate_out += json_real_of(pe, "rate_in");
        }
    }
    return totals;
}
