/* bench/engine.c - measures the engine as a user runs it: real processes, YAML, a plug-in.
 *
 * Each run has a folder of its own with the topology, the data and the reports that the PEs write;
 * times are taken inside the PEs, so starting and stopping processes is not in them. */
#include "bench/bench.h"
#include "bench/cluster.h"
#include "bench/procs.h"
#include "bench/rows.h"
#include "core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RUN_SECONDS_MAX 120u

struct run {
    char dir[4200];
    char yaml[4300];
    char log[4300];
};

struct report {
    uint64_t first_ns, last_ns, count, check, p50_ns, p99_ns;
};

static bool run_open(struct engine *e, struct run *r)
{
    snprintf(r->dir, sizeof r->dir, "%s/%u", e->dir, e->runs++);
    snprintf(r->yaml, sizeof r->yaml, "%s/topology.yaml", r->dir);
    snprintf(r->log, sizeof r->log, "%s/log", r->dir);
    return mkdir(r->dir, 0700) == 0;
}

__attribute__((format(printf, 2, 3))) static bool run_write(const struct run *r, const char *fmt,
                                                            ...)
{
    FILE *f = fopen(r->yaml, "we");
    if (f == NULL) {
        return false;
    }
    va_list args;
    va_start(args, fmt);
    vfprintf(f, fmt, args);
    va_end(args);
    return fclose(f) == 0;
}

/* report_read - every NAME=VALUE of DIR/name.  Return: false when the file is not there. */
static bool report_read(const struct run *r, const char *name, struct report *out)
{
    static const char *const names[] = {"first_ns", "last_ns", "count",
                                        "check",    "p50_ns",  "p99_ns"};
    uint64_t *const values[] = {&out->first_ns, &out->last_ns, &out->count,
                                &out->check,    &out->p50_ns,  &out->p99_ns};
    char path[4400];
    char word[64];
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    while (fscanf(f, "%63s", word) == 1) {
        char *eq = strchr(word, '=');
        for (size_t i = 0; eq != NULL && i < sizeof names / sizeof names[0]; i++) {
            size_t len = strlen(names[i]);
            if ((size_t)(eq - word) == len && strncmp(word, names[i], len) == 0) {
                *values[i] = strtoull(eq + 1, NULL, 10);
            }
        }
    }
    fclose(f);
    return true;
}

static struct result run_failed(const struct run *r, const char *what, int status)
{
    char tail[160];
    log_tail(r->log, tail, sizeof tail);
    return result_fail("%s: status %d: %s", what, status, tail);
}

/* run_local - `oxbow run`, then the reports.  `value` is left to the caller. */
static struct result run_local(const struct engine *e, const struct run *r, struct report *from,
                               struct report *to)
{
    char program[4200];
    char data[4400];
    snprintf(program, sizeof program, "%s/oxbow", e->bin);
    snprintf(data, sizeof data, "%s/data", r->dir);
    const char *argv[] = {program, "run", r->yaml, "--data", data, NULL};
    pid_t pid = proc_start(argv, r->log);
    int status = pid < 0 ? -1 : proc_wait(pid, RUN_SECONDS_MAX);
    if (status != 0) {
        return run_failed(r, "oxbow run", status);
    }
    if (!report_read(r, "from", from) || !report_read(r, "to", to)) {
        return run_failed(r, "no report", status);
    }
    return (struct result){.ok = true, .count = to->count, .check = to->check};
}

static double rate_m(uint64_t tuples, const struct report *from, const struct report *to)
{
    return (double)tuples * 1e3 / (double)(to->last_ns - from->first_ns);
}

struct result engine_chain(struct engine *e, uint64_t rows)
{
    struct run r;
    struct report from = {0};
    struct report to = {0};
    if (!run_open(e, &r) ||
        !run_write(&r,
                   "oxbow: 1\ntopology: bench-chain\npes:\n"
                   "  rows: {use: '%s/bench/bench_pes.so:bench-rows',"
                   " with: {count: %" PRIu64 ", report: '%s/from'}}\n"
                   "  map: {use: '%s/bench/bench_pes.so:bench-map'}\n"
                   "  filter: {use: '%s/bench/bench_pes.so:bench-filter'}\n"
                   "  sum: {use: '%s/bench/bench_pes.so:bench-sum'}\n"
                   "  sink: {use: '%s/bench/bench_pes.so:bench-sink',"
                   " with: {fields: [k, sum], report: '%s/to'}}\n"
                   "streams:\n"
                   "  - {from: rows, to: map}\n  - {from: map, to: filter}\n"
                   "  - {from: filter, to: sum, by: k}\n  - {from: sum, to: sink}\n",
                   e->bin, rows, r.dir, e->bin, e->bin, e->bin, e->bin, r.dir)) {
        return result_fail("cannot write below %s", e->dir);
    }
    struct result out = run_local(e, &r, &from, &to);
    out.value = out.ok ? rate_m(rows, &from, &to) : 0;
    return out;
}

/* two_pes - rows -> sink, one hop.  @rows_keys, @sink_keys: further YAML of the two PEs. */
static bool two_pes(const struct engine *e, const struct run *r, uint64_t rows, double rate,
                    const char *rows_keys, const char *sink_keys, const char *sink_with)
{
    return run_write(r,
                     "oxbow: 1\ntopology: bench-hop\npes:\n"
                     "  rows: {use: '%s/bench/bench_pes.so:bench-rows', %s"
                     " with: {count: %" PRIu64 ", rate: %.0f, report: '%s/from'}}\n"
                     "  sink: {use: '%s/bench/bench_pes.so:bench-sink', %s"
                     " with: {%s, report: '%s/to'}}\n"
                     "streams:\n  - {from: rows, to: sink}\n",
                     e->bin, rows_keys, rows, rate, r->dir, e->bin, sink_keys, sink_with, r->dir);
}

struct result engine_hop(struct engine *e, uint64_t rows)
{
    struct run r;
    struct report from = {0};
    struct report to = {0};
    if (!run_open(e, &r) ||
        !two_pes(e, &r, rows, 0, "", "threads: own,", "fields: [k, v]")) {
        return result_fail("cannot write below %s", e->dir);
    }
    struct result out = run_local(e, &r, &from, &to);
    out.value = out.ok ? rate_m(rows, &from, &to) : 0;
    return out;
}

struct result engine_latency(struct engine *e, uint64_t rows)
{
    struct run r;
    struct report from = {0};
    struct report to = {0};
    if (!run_open(e, &r) ||
        !two_pes(e, &r, rows, 20000, "", "threads: own,", "fields: [v], latency: true")) {
        return result_fail("cannot write below %s", e->dir);
    }
    struct result out = run_local(e, &r, &from, &to);
    out.value = (double)to.p50_ns / 1e3;
    out.value99 = (double)to.p99_ns / 1e3;
    return out;
}

struct result engine_words(struct engine *e, const char *path, uint64_t bytes)
{
    struct run r;
    struct report from = {0};
    struct report to = {0};
    if (!run_open(e, &r) ||
        !run_write(&r,
                   "oxbow: 1\ntopology: bench-words\npes:\n"
                   "  lines: {use: file-source, with: {path: '%s'}}\n"
                   "  mark: {use: '%s/bench/bench_pes.so:bench-mark',"
                   " with: {report: '%s/from'}}\n"
                   "  split: {use: words}\n"
                   "  count: {use: count, with: {by: word, emit: final}}\n"
                   "  sink: {use: '%s/bench/bench_pes.so:bench-sink',"
                   " with: {fields: [word, count], report: '%s/to'}}\n"
                   "streams:\n  - {from: lines, to: mark}\n  - {from: mark, to: split}\n"
                   "  - {from: split, to: count, by: word}\n  - {from: count, to: sink}\n",
                   path, e->bin, r.dir, e->bin, r.dir)) {
        return result_fail("cannot write below %s", e->dir);
    }
    struct result out = run_local(e, &r, &from, &to);
    out.value = out.ok ? (double)bytes * 1e3 / (double)(to.last_ns - from.first_ns) : 0;
    return out;
}

/* ---------------------------------------------------------------- two workers over TCP */

static bool wait_report(const struct run *r, struct report *to)
{
    uint64_t deadline = clock_now_ns() + RUN_SECONDS_MAX * UINT64_C(1000000000);
    while (!report_read(r, "to", to) || to->last_ns == 0) {
        struct timespec pause = {0, 5000000};
        if (clock_now_ns() > deadline) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

struct result engine_tcp(struct engine *e, uint64_t rows)
{
    struct run r;
    struct cluster c;
    struct report from = {0};
    struct report to = {0};
    char program[4200];
    if (!run_open(e, &r) ||
        !two_pes(e, &r, rows, 0, "place: {labels: {side: a}},", "place: {labels: {side: b}},",
                 "fields: [k, v, x, s, b]")) {
        return result_fail("cannot write below %s", e->dir);
    }
    struct result out;
    if (!cluster_start(&c, e->bin, r.dir, 2)) {
        out = result_fail("the cluster did not start; see %s", r.dir);
    } else {
        snprintf(program, sizeof program, "%s/oxbow", e->bin);
        const char *argv[] = {program, "--master", c.url, "deploy", r.yaml, NULL};
        int status = proc_wait(proc_start(argv, r.log), 30);
        if (status != 0) {
            out = run_failed(&r, "oxbow deploy", status);
        } else if (!wait_report(&r, &to) || !report_read(&r, "from", &from)) {
            out = run_failed(&r, "no report", status);
        } else {
            out = (struct result){.ok = true, .count = to.count, .check = to.check};
            out.value = rate_m(rows, &from, &to) * ROW_WIRE_BYTES / 1e3; /* GB/s of columns */
        }
    }
    cluster_stop(&c);
    return out;
}
