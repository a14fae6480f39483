/* bench/upgrade/trial.c - one change of one running topology by one strategy. */
#include "bench/upgrade/trial.h"

#include "bench/procs.h"
#include "core/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FLOW_SECONDS 60u
#define BEFORE_MS 2500u
#define AFTER_MS 2000u

const char *strategy_name(enum strategy how)
{
    static const char *const names[] = {"stop and restart", "marker from all sources",
                                        "all state at the cut", "oxbow"};
    return names[how];
}

void trial_sleep(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    nanosleep(&t, NULL);
}

/* ---------------------------------------------------------------- the topology */

static void write_steps(const struct trial *t, FILE *f, bool next)
{
    const struct scenario *sc = t->sc;
    for (unsigned i = 1; i <= sc->steps; i++) {
        fprintf(f,
                "  s%u: {use: '%s/bench/upgrade/pes.so:up-step', parallelism: %u,"
                " with: {busy_ns: %u, mark: %d}}\n",
                i, t->bin, sc->width, i == sc->steps ? sc->busy_ns : 0, next && i <= sc->changed);
    }
}

static void write_streams(const struct trial *t, FILE *f, bool next)
{
    const struct scenario *sc = t->sc;
    fprintf(f,
            "streams:\n  - {from: source, to: side}\n  - {from: side, to: side-sink}\n"
            "  - {from: far-source, to: far}\n  - {from: far, to: far-sink}\n"
            "  - {from: source, to: s1%s}\n",
            sc->width > 1 ? ", by: key" : ""); /* else its order would end here */
    for (unsigned i = 1; i < sc->steps; i++) {
        fprintf(f, "  - {from: s%u, to: s%u}\n", i, i + 1);
    }
    fprintf(f, "  - {from: s%u, to: keep, by: key}\n  - {from: keep, to: sink}\n", sc->steps);
    if (sc->stream) {
        fprintf(f, "  - {from: other, to: aside}\n  - {from: aside, to: aside-sink}\n");
    }
    if (sc->stream && next) {
        fprintf(f, "  - {from: s1, to: aside}\n");
    }
}

bool trial_write(const struct trial *t, bool next)
{
    const struct scenario *sc = t->sc;
    FILE *f = fopen(t->yaml, "we");
    if (f == NULL) {
        return false;
    }
    fprintf(f, "oxbow: 1\ntopology: river\nfusion: off\n%spes:\n",
            t->how == GLOBAL ? "upgrade: {consistency: global}\n" : "");
    fprintf(f,
            "  source: {use: '%s/bench/upgrade/pes.so:up-source', with: {rate: %.0f, keys: %llu, "
            "preload: %llu, first: %llu, zero: %llu}}\n",
            t->bin, sc->rate, (unsigned long long)sc->keys, (unsigned long long)t->preload,
            (unsigned long long)t->first, (unsigned long long)t->zero_ns);
    write_steps(t, f, next);
    fprintf(f, "  keep: {use: '%s/bench/upgrade/pes.so:up-keep', parallelism: %u}\n", t->bin,
            next ? sc->to : sc->from);
    fprintf(f, "  side: {use: '%s/bench/upgrade/pes.so:up-step'}\n", t->bin);
    fprintf(f, "  sink: {use: '%s/bench/upgrade/pes.so:up-series', with: {path: '%s'}}\n", t->bin,
            t->main);
    fprintf(f, "  side-sink: {use: '%s/bench/upgrade/pes.so:up-series', with: {path: '%s'}}\n",
            t->bin, t->side);
    fprintf(f, "  far-source: {use: '%s/bench/upgrade/pes.so:up-source', with: {rate: 1000}}\n",
            t->bin);
    fprintf(f, "  far: {use: '%s/bench/upgrade/pes.so:up-step'}\n", t->bin);
    fprintf(f, "  far-sink: {use: '%s/bench/upgrade/pes.so:up-series', with: {path: '%s'}}\n",
            t->bin, t->far);
    if (sc->stream) {
        fprintf(f, "  other: {use: '%s/bench/upgrade/pes.so:up-source', with: {rate: 1000}}\n",
                t->bin);
        fprintf(f, "  aside: {use: '%s/bench/upgrade/pes.so:up-step'}\n", t->bin);
        fprintf(f, "  aside-sink: {use: null-sink}\n");
    }
    write_streams(t, f, next);
    return fclose(f) == 0;
}

/* ---------------------------------------------------------------- what a user would type */

bool trial_command(struct trial *t, struct outcome *o, const char *verb, const char *what,
                   const char *more)
{
    char program[PATH_BYTES], tail[200];
    snprintf(program, sizeof program, "%s/oxbow", t->bin);
    const char *argv[] = {program, "--master", t->cluster.url, "-o", "json",
                          verb,    what,       more,           NULL};
    int status = proc_wait(proc_start(argv, t->out), FLOW_SECONDS);
    if (status != 0) {
        log_tail(t->out, tail, sizeof tail);
        snprintf(o->why, sizeof o->why, "oxbow %s: status %d: %s", verb, status, tail);
        return false;
    }
    return true;
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* flows - until `tuples` more measured ones than `from` bytes are there. */
static bool flows(const struct trial *t, off_t from, uint64_t tuples)
{
    uint64_t deadline = clock_now_ns() + FLOW_SECONDS * UINT64_C(1000000000);
    while (size_of(t->main) < from + (off_t)(tuples * sizeof(struct arrival))) {
        if (clock_now_ns() > deadline) {
            return false;
        }
        trial_sleep(2);
    }
    return true;
}

static double number(const json_t *json, const char *key, double none)
{
    const json_t *v = json_object_get(json, key);
    return json_is_number(v) ? json_number_value(v) : none;
}

/* load_answer - the document in a log that may hold progress before it.  NULL: none. */
static json_t *load_answer(const char *path)
{
    FILE *f = fopen(path, "re");
    int c = f != NULL ? getc(f) : EOF;
    for (bool line = true; c != EOF && !(line && c == '{'); c = getc(f)) {
        line = c == '\n';
    }
    json_t *json = NULL;
    if (c != EOF && ungetc(c, f) != EOF) {
        json = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
    }
    if (f != NULL) {
        fclose(f);
    }
    return json;
}

static bool read_receipt(const struct trial *t, struct outcome *o)
{
    json_t *r = load_answer(t->out);
    const char *result = json_string_value(json_object_get(r, "result"));
    bool done = result != NULL && strcmp(result, "done") == 0;
    if (!done) {
        snprintf(o->why, sizeof o->why, "the receipt says %s", result != NULL ? result : "nothing");
    }
    o->switch_ms = number(r, "switch_ms", -1);
    o->pause_ms = number(json_object_get(r, "pause_us"), "max", -1000) / 1000;
    o->predicted_ms = number(r, "predicted_pause_us", -1000) / 1000;
    o->moved_bytes = number(r, "state_bytes_moved", -1);
    json_decref(r);
    return done;
}

/* ---------------------------------------------------------------- strategies */

static bool stop_and_restart(struct trial *t, bool next, struct outcome *o)
{
    struct series *s;
    if (!trial_command(t, o, "stop", "river", NULL) || (s = series_read(t->main)) == NULL) {
        return false;
    }
    t->preload = 0;
    t->zero_ns = 0;
    for (size_t i = 0; i < s->count; i++) {
        t->first = s->items[i].seq >= t->first ? s->items[i].seq + 1 : t->first;
        t->zero_ns = s->items[i].seq == 0 ? s->items[i].due_ns : t->zero_ns;
    }
    off_t from = (off_t)(s->count * sizeof(struct arrival));
    series_free(s);
    return trial_write(t, next) && trial_command(t, o, "deploy", t->yaml, NULL) &&
           flows(t, from, 1);
}

bool trial_change(struct trial *t, bool next, struct outcome *o)
{
    o->switch_ms = o->pause_ms = o->predicted_ms = o->moved_bytes = -1;
    if (t->how == RESTART) {
        return stop_and_restart(t, next, o);
    }
    return trial_write(t, next) && trial_command(t, o, "upgrade", t->yaml, "--yes") &&
           read_receipt(t, o);
}

bool trial_open(struct trial *t, const struct scenario *sc, enum strategy how, const char *bin,
                const char *dir, struct outcome *o)
{
    *t = (struct trial){.sc = sc, .how = how, .bin = bin, .dir = dir, .preload = sc->keys};
    snprintf(t->yaml, sizeof t->yaml, "%s/river.yaml", dir);
    snprintf(t->out, sizeof t->out, "%s/out", dir);
    snprintf(t->main, sizeof t->main, "%s/arrivals", dir);
    snprintf(t->side, sizeof t->side, "%s/arrivals-side", dir);
    snprintf(t->far, sizeof t->far, "%s/arrivals-far", dir);
    if (mkdir(dir, 0700) != 0) {
        snprintf(o->why, sizeof o->why, "cannot make %s", dir);
        return false;
    }
    if (how == ALL_STATE) {
        setenv("OXBOW_FAILPOINTS", "moves.ahead=fail@0", 1); /* what the cluster inherits */
    }
    bool started = cluster_start(&t->cluster, bin, dir, sc->workers);
    unsetenv("OXBOW_FAILPOINTS");
    if (!started) {
        snprintf(o->why, sizeof o->why, "the cluster did not start; see %s", dir);
        return false;
    }
    if (!trial_write(t, false) || !trial_command(t, o, "deploy", t->yaml, NULL)) {
        return false;
    }
    if (!flows(t, 0, sc->rate > 0 && sc->rate < 1000 ? 10 : 1000)) {
        snprintf(o->why, sizeof o->why, "nothing arrives; see %s", dir);
        return false;
    }
    return true;
}

void trial_close(struct trial *t)
{
    cluster_stop(&t->cluster);
}

static bool run(struct trial *t, struct outcome *o, uint64_t *begin_ns, uint64_t *end_ns)
{
    trial_sleep(BEFORE_MS);
    *begin_ns = clock_now_ns();
    if (!trial_change(t, true, o)) {
        return false;
    }
    *end_ns = clock_now_ns();
    o->total_ms = (double)(*end_ns - *begin_ns) / 1e6;
    trial_sleep(AFTER_MS);
    return trial_command(t, o, "stop", "river", NULL);
}

struct outcome trial_run(const struct scenario *sc, enum strategy how, const char *bin,
                         const char *dir, struct series **s)
{
    struct outcome o = {0};
    struct trial t;
    uint64_t begin_ns = 0, end_ns = 0;
    *s = NULL;
    o.ok = trial_open(&t, sc, how, bin, dir, &o) && run(&t, &o, &begin_ns, &end_ns);
    trial_close(&t);
    if (!o.ok) {
        return o;
    }
    struct series *side = series_read(t.side);
    *s = series_read(t.main);
    if (*s == NULL || side == NULL) {
        o.ok = false;
        snprintf(o.why, sizeof o.why, "a sink wrote nothing; see %s", dir);
    } else {
        (*s)->begin_ns = side->begin_ns = begin_ns;
        (*s)->end_ns = side->end_ns = end_ns;
        series_judge(*s, &o);
        series_outage(side, &o.side_outage_ms, &o.side_quiet_ms);
    }
    series_free(side);
    return o;
}
