/* bench/upgrade/rows.c - many changes in a row of one running topology, a row per strategy.
 *
 * Switch and pause are what the receipts say, over all changes; the side branch's latency while
 * they are made is compared with a quiet time and with one in which the same commands change
 * nothing.  "full / idle" is asked of a set without a channel inside (docs/PROTOCOL.md, H21). */
#include "bench/upgrade/upgrade.h"

#include <stdio.h>
#include <string.h>

#define QUIET_MS 4000u
#define ONE .workers = 1, .steps = 3, .width = 1, .from = 1, .to = 1, .keys = 1024
#define IDLE .rate = 1000
#define HALF .rate = 50000, .busy_ns = 10000
#define FULL .rate = 0, .busy_ns = 10000

static const struct scenario scenarios[] = {
    {.name = "PE, idle", ONE, IDLE, .changed = 1},
    {.name = "PE, half load", ONE, HALF, .changed = 1},
    {.name = "PE, queues full", ONE, FULL, .changed = 1},
    {.name = "stream, idle", ONE, IDLE, .stream = true},
    {.name = "stream, half load", ONE, HALF, .stream = true},
    {.name = "stream, queues full", ONE, FULL, .stream = true},
    {.name = "three PEs, idle", ONE, IDLE, .changed = 3},
    {.name = "three PEs, half load", ONE, HALF, .changed = 3},
    {.name = "three PEs, queues full", ONE, FULL, .changed = 3},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static void print_head(void)
{
    printf("%-22s %-23s %4s  %-20s %-20s %-16s  %-14s %-14s %-14s %-11s %-14s %-14s %-11s %s\n",
           "changes", "strategy", "n", "switch p50/p99/max", "pause p50/p99/max", "total p50/p99",
           "side: quiet", "commands only", "during", "during/only", "far: only", "during",
           "during/only", "lost/dbl/ord");
}

static void three(double *v, unsigned n, const char *fmt, int width)
{
    char text[80];
    double p50 = percentile_of(v, n, 50);
    if (n == 0 || p50 < 0) {
        printf("%-*s ", width, "-");
        return;
    }
    snprintf(text, sizeof text, fmt, p50, percentile_of(v, n, 99), v[n - 1]);
    printf("%-*s ", width, text);
}

static void two(const struct spread *s, int width)
{
    char text[80];
    snprintf(text, sizeof text, s->count > 0 ? "%.2f/%.2f" : "-", s->p50, s->p99);
    printf("%-*s ", width, text);
}

static bool print_row(const struct scenario *sc, enum strategy how, const struct outcome *o,
                      struct changes *c)
{
    const struct spread *base = c->commands.count > 0 ? &c->commands : &c->quiet;
    printf("%-22s %-23s %4u  ", sc->name, strategy_name(how), c->count);
    three(c->switch_ms, c->count, "%.2f/%.2f/%.2f", 20);
    three(c->pause_ms, c->count, "%.3f/%.3f/%.3f", 20);
    char total[40];
    snprintf(total, sizeof total, "%.0f/%.0f", percentile_of(c->total_ms, c->count, 50),
             percentile_of(c->total_ms, c->count, 99));
    printf("%-16s  ", total);
    two(&c->quiet, 14);
    two(&c->commands, 14);
    two(&c->during, 14);
    printf("%4.2f %4.2f   ", c->during.p50 / base->p50, c->during.p99 / base->p99);
    two(&c->far_commands, 14);
    two(&c->far_during, 14);
    printf("%4.2f %4.2f   ", c->far_during.p50 / c->far_commands.p50,
           c->far_during.p99 / c->far_commands.p99);
    printf("%llu/%llu/%llu\n", (unsigned long long)o->lost, (unsigned long long)o->doubled,
           (unsigned long long)o->disordered);
    fflush(stdout);
    return how == RESTART || o->lost + o->doubled + o->disordered == 0;
}

bool rows_run(struct bench *b)
{
    static const enum strategy shown[] = {RESTART, GLOBAL, OURS};
    static struct changes c; /* tidy: too large for a stack */
    bool all = true;
    print_head();
    for (size_t i = 0; i < SCENARIOS; i++) {
        const struct scenario *sc = &scenarios[i];
        for (size_t k = 0; k < sizeof shown / sizeof shown[0]; k++) {
            char dir[4200], row[100];
            snprintf(row, sizeof row, "%s, %s", sc->name, strategy_name(shown[k]));
            if (!is_wanted(b, row)) {
                continue;
            }
            bench_folder(b, dir, sizeof dir);
            c = (struct changes){.wanted = b->changes, .quiet_ms = QUIET_MS};
            struct outcome o = repeat_run(sc, shown[k], b->bin, dir, &c);
            if (!o.ok) {
                printf("%-22s %-23s failed: %s\n", sc->name, strategy_name(shown[k]), o.why);
            }
            all = o.ok && print_row(sc, shown[k], &o, &c) && all;
        }
    }
    return all;
}
