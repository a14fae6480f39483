/* bench/upgrade/sweeps.c - one thing varied at a time, the rest held.
 *
 * Load (how full the queues are), parallelism of what changes, number of neighbours that change,
 * state that moves.  The first three: some changes in a row at each point, there and back; state:
 * one change per round, each from a fresh start. */
#include "bench/upgrade/upgrade.h"

#include <stdio.h>
#include <string.h>

#define CHANGES 10u
#define KEYS_PER_GIB UINT64_C(6000000) /* of up-keep, about */

struct point {
    const char *name;
    bool shown; /* also when not every point is asked for */
    struct scenario sc;
};

#define LOAD .workers = 1, .steps = 3, .changed = 1, .width = 1, .from = 1, .to = 1, .keys = 1024
#define WIDE .workers = 1, .rate = 50000, .busy_ns = 10000, .steps = 3, .changed = 3
#define WIDE_KEEP .from = 1, .to = 1, .keys = 1024
#define LONG .workers = 1, .rate = 0, .busy_ns = 10000, .steps = 8, .width = 1
#define MOVE .workers = 2, .rate = 100000, .steps = 1, .width = 1, .from = 2, .to = 3

static const struct point loads[] = {
    {"idle", true, {LOAD, .rate = 1000}},
    {"25 %", false, {LOAD, .rate = 25000, .busy_ns = 10000}},
    {"50 %", true, {LOAD, .rate = 50000, .busy_ns = 10000}},
    {"75 %", false, {LOAD, .rate = 75000, .busy_ns = 10000}},
    {"90 %", false, {LOAD, .rate = 90000, .busy_ns = 10000}},
    {"queues full", true, {LOAD, .rate = 0, .busy_ns = 10000}},
};
static const struct point widths[] = {
    {"1", true, {WIDE, WIDE_KEEP, .width = 1}},
    {"2", false, {WIDE, WIDE_KEEP, .width = 2}},
    {"4", true, {WIDE, WIDE_KEEP, .width = 4}},
    {"8", false, {WIDE, WIDE_KEEP, .width = 8}},
};
static const struct point lengths[] = {
    {"1", true, {LONG, WIDE_KEEP, .changed = 1}},
    {"2", false, {LONG, WIDE_KEEP, .changed = 2}},
    {"4", true, {LONG, WIDE_KEEP, .changed = 4}},
    {"8", true, {LONG, WIDE_KEEP, .changed = 8}},
};
static const struct point states[] = {
    {"0", true, {MOVE, .keys = 1024, .stateful = true}},
    {"64 MiB", true, {MOVE, .keys = KEYS_PER_GIB / 16, .stateful = true}},
    {"256 MiB", false, {MOVE, .keys = KEYS_PER_GIB / 4, .stateful = true}},
    {"1 GiB", false, {MOVE, .keys = KEYS_PER_GIB, .stateful = true}},
    {"2 GiB", false, {MOVE, .keys = KEYS_PER_GIB * 2, .stateful = true}},
};

static const struct sweep {
    const char *name, *file;
    const struct point *points;
    unsigned count;
} sweeps[] = {
    {"load, one of three PEs changes", "load", loads, sizeof loads / sizeof loads[0]},
    {"parallelism of three PEs that change, half load", "parallelism", widths,
     sizeof widths / sizeof widths[0]},
    {"how many of eight PEs change, queues full", "pes", lengths,
     sizeof lengths / sizeof lengths[0]},
    {"state that moves, rescale 2 to 3", "state", states, sizeof states / sizeof states[0]},
};

struct figures {
    double switch_ms, pause_ms, total_ms;
    uint64_t wrong;
};

static bool measure_changes(struct bench *b, const struct scenario *sc, enum strategy how,
                            struct figures *f, char *why, size_t bytes)
{
    static struct changes c; /* tidy: too large for a stack */
    char dir[4200];
    bench_folder(b, dir, sizeof dir);
    c = (struct changes){.wanted = b->changes > 0 ? b->changes : CHANGES};
    struct outcome o = repeat_run(sc, how, b->bin, dir, &c);
    snprintf(why, bytes, "%s", o.why);
    *f = (struct figures){
        percentile_of(c.switch_ms, c.count, 50), percentile_of(c.pause_ms, c.count, 50),
        percentile_of(c.total_ms, c.count, 50), o.lost + o.doubled + o.disordered};
    return o.ok;
}

static bool measure_rounds(struct bench *b, const struct scenario *sc, enum strategy how,
                           struct figures *f, char *why, size_t bytes)
{
    double values[3][CHANGES_MAX];
    *f = (struct figures){0};
    for (unsigned round = 0; round < b->rounds; round++) {
        char dir[4200];
        struct series *s;
        bench_folder(b, dir, sizeof dir);
        struct outcome o = trial_run(sc, how, b->bin, dir, &s);
        series_free(s);
        snprintf(why, bytes, "%s", o.why);
        if (!o.ok) {
            return false;
        }
        values[0][round] = o.switch_ms;
        values[1][round] = o.pause_ms;
        values[2][round] = o.total_ms;
        f->wrong += o.lost + o.doubled + o.disordered;
    }
    f->switch_ms = median_of(values[0], b->rounds);
    f->pause_ms = median_of(values[1], b->rounds);
    f->total_ms = median_of(values[2], b->rounds);
    return true;
}

/* one_point - by each strategy that can.  Return: false when one failed. */
static bool one_point(struct bench *b, const struct point *p, unsigned at,
                      struct sweep_line lines[STRATEGIES])
{
    bool all = true;
    for (unsigned how = GLOBAL; how < STRATEGIES; how++) {
        struct figures f;
        char why[300];
        if ((how == ALL_STATE) != p->sc.stateful && how != OURS) {
            continue;
        }
        bool ok = (p->sc.stateful ? measure_rounds : measure_changes)(b, &p->sc, (enum strategy)how,
                                                                      &f, why, sizeof why);
        if (!ok) {
            printf("  %-12s %-24s failed: %s\n", p->name, strategy_name((enum strategy)how), why);
            all = false;
            continue;
        }
        lines[how].switch_ms[at] = f.switch_ms;
        lines[how].pause_ms[at] = f.pause_ms;
        printf("  %-12s %-24s %9.2f %9.3f %9.0f  %llu\n", p->name,
               strategy_name((enum strategy)how), f.switch_ms, f.pause_ms, f.total_ms,
               (unsigned long long)f.wrong);
        fflush(stdout);
        all = all && f.wrong == 0;
    }
    return all;
}

static bool one_sweep(struct bench *b, const struct sweep *sw)
{
    struct sweep_line lines[STRATEGIES];
    const char *names[POINTS_MAX];
    unsigned count = 0;
    bool all = true;
    for (unsigned k = 0; k < STRATEGIES; k++) {
        for (unsigned n = 0; n < POINTS_MAX; n++) {
            lines[k].switch_ms[n] = lines[k].pause_ms[n] = -1;
        }
    }
    printf("%s\n  %-12s %-24s %9s %9s %9s  %s\n", sw->name, "", "strategy", "switch ms", "pause ms",
           "total ms", "lost, doubled or out of order");
    for (unsigned n = 0; n < sw->count; n++) {
        if (sw->points[n].shown || b->whole) {
            all = one_point(b, &sw->points[n], count, lines) && all;
            names[count++] = sw->points[n].name;
        }
    }
    if (b->draw != NULL) {
        char path[4300];
        snprintf(path, sizeof path, "%s/sweep-%s.svg", b->draw, sw->file);
        if (!draw_sweep(path, sw->name, names, count, lines)) {
            printf("cannot write %s\n", path);
            return false;
        }
    }
    return all;
}

bool sweeps_run(struct bench *b)
{
    bool all = true;
    for (size_t k = 0; k < sizeof sweeps / sizeof sweeps[0]; k++) {
        if (is_wanted(b, sweeps[k].name)) {
            all = one_sweep(b, &sweeps[k]) && all;
        }
    }
    return all;
}
