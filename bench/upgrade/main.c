/* bench/upgrade/main.c - the same graph and load changed under four strategies; one table.
 * rows.c: many changes in a row; sweeps.c: one thing varied at a time.
 *
 * Rounds interleave the strategies, so that all see the same machine.  Figures are medians.  No
 * time is asserted; a tuple lost, doubled or out of order under our strategy is an error. */
#include "bench/upgrade/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 99u
#define KEYS_PER_GIB UINT64_C(6000000) /* of up-keep, about */

static const struct scenario scenarios[] = {
    {.name = "one PE, idle",
     .workers = 1,
     .rate = 1000,
     .busy_ns = 0,
     .steps = 3,
     .changed = 1,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "one PE, half load",
     .workers = 1,
     .rate = 50000,
     .busy_ns = 10000,
     .steps = 3,
     .changed = 1,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "one PE, queues full",
     .workers = 1,
     .rate = 0,
     .busy_ns = 10000,
     .steps = 3,
     .changed = 1,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "three PEs, idle",
     .workers = 1,
     .rate = 1000,
     .busy_ns = 0,
     .steps = 3,
     .changed = 3,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "three PEs, half load",
     .workers = 1,
     .rate = 50000,
     .busy_ns = 10000,
     .steps = 3,
     .changed = 3,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "three PEs, queues full",
     .workers = 1,
     .rate = 0,
     .busy_ns = 10000,
     .steps = 3,
     .changed = 3,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "eight PEs, half load",
     .workers = 1,
     .rate = 20000,
     .busy_ns = 10000,
     .steps = 8,
     .changed = 8,
     .width = 1,
     .from = 1,
     .to = 1,
     .keys = 1024},
    {.name = "one PE, two workers",
     .workers = 2,
     .rate = 20000,
     .busy_ns = 0,
     .steps = 3,
     .changed = 1,
     .width = 1,
     .from = 2,
     .to = 2,
     .keys = 1024},
    {.name = "rescale 2 to 3, no state",
     .workers = 2,
     .rate = 20000,
     .busy_ns = 0,
     .steps = 1,
     .changed = 0,
     .width = 1,
     .from = 2,
     .to = 3,
     .keys = 1024,
     .stateful = true},
    {.name = "rescale 2 to 3, 64 MiB",
     .workers = 2,
     .rate = 100000,
     .busy_ns = 0,
     .steps = 1,
     .changed = 0,
     .width = 1,
     .from = 2,
     .to = 3,
     .keys = KEYS_PER_GIB / 16,
     .stateful = true},
    {.name = "rescale 2 to 3, 256 MiB",
     .workers = 2,
     .rate = 100000,
     .busy_ns = 0,
     .steps = 1,
     .changed = 0,
     .width = 1,
     .from = 2,
     .to = 3,
     .keys = KEYS_PER_GIB / 4,
     .stateful = true},
    {.name = "rescale 2 to 3, 1 GiB",
     .workers = 2,
     .rate = 100000,
     .busy_ns = 0,
     .steps = 1,
     .changed = 0,
     .width = 1,
     .from = 2,
     .to = 3,
     .keys = KEYS_PER_GIB,
     .stateful = true},
    {.name = "rescale 2 to 3, 2 GiB",
     .workers = 2,
     .rate = 100000,
     .busy_ns = 0,
     .steps = 1,
     .changed = 0,
     .width = 1,
     .from = 2,
     .to = 3,
     .keys = KEYS_PER_GIB * 2,
     .stateful = true},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double percentile_of(double *v, unsigned n, unsigned percent)
{
    qsort(v, n, sizeof *v, by_value);
    return n > 0 ? v[n * percent / 100 < n ? n * percent / 100 : n - 1] : 0;
}

double median_of(const double *in, unsigned n)
{
    double v[ROUNDS_MAX];
    memcpy(v, in, n * sizeof *v);
    qsort(v, n, sizeof *v, by_value);
    return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static double median(const struct outcome *o, unsigned n, size_t offset)
{
    double v[ROUNDS_MAX];
    for (unsigned i = 0; i < n; i++) {
        v[i] = *(const double *)((const char *)&o[i] + offset);
    }
    return median_of(v, n);
}

void bench_folder(struct bench *b, char *dir, size_t bytes)
{
    snprintf(dir, bytes, "%s/%u", b->scratch, b->trials++);
}

#define MEDIAN(o, n, field) median(o, n, offsetof(struct outcome, field))

static void print_head(void)
{
    printf("%-25s %-23s %9s %9s %8s  %-22s %-22s %-22s %9s %8s %9s %10s %s\n", "change", "strategy",
           "outage ms", "side ms", "quiet ms", "before p50/p99/max ms", "during p50/p99/max ms",
           "after p50/p99/max ms", "total ms", "switch", "pause ms", "moved MiB", "lost/dbl/ord");
}

static void figure(double v, const char *fmt, int width)
{
    if (v < 0) {
        printf("%*s ", width, "-");
    } else {
        printf(fmt, v);
        putchar(' ');
    }
}

static bool print_row(const char *name, enum strategy how, const struct outcome *o, unsigned n)
{
    char text[3][64];
    uint64_t lost = 0, doubled = 0, disordered = 0;
    for (unsigned i = 0; i < n; i++) {
        lost += o[i].lost;
        doubled += o[i].doubled;
        disordered += o[i].disordered;
    }
    snprintf(text[0], sizeof text[0], "%.2f/%.2f/%.2f", MEDIAN(o, n, before.p50),
             MEDIAN(o, n, before.p99), MEDIAN(o, n, before.max));
    snprintf(text[1], sizeof text[1], "%.2f/%.2f/%.2f", MEDIAN(o, n, during.p50),
             MEDIAN(o, n, during.p99), MEDIAN(o, n, during.max));
    snprintf(text[2], sizeof text[2], "%.2f/%.2f/%.2f", MEDIAN(o, n, after.p50),
             MEDIAN(o, n, after.p99), MEDIAN(o, n, after.max));
    printf("%-25s %-23s %9.2f %9.2f %8.2f  %-22s %-22s %-22s %9.1f ", name, strategy_name(how),
           MEDIAN(o, n, outage_ms), MEDIAN(o, n, side_outage_ms), MEDIAN(o, n, quiet_ms), text[0],
           text[1], text[2], MEDIAN(o, n, total_ms));
    figure(MEDIAN(o, n, switch_ms), "%8.2f", 8);
    figure(MEDIAN(o, n, pause_ms), "%9.3f", 9);
    double moved = MEDIAN(o, n, moved_bytes);
    figure(moved < 0 ? moved : moved / 1048576.0, "%10.1f", 10);
    printf("%llu/%llu/%llu\n", (unsigned long long)lost, (unsigned long long)doubled,
           (unsigned long long)disordered);
    fflush(stdout);
    return how == RESTART || lost + doubled + disordered == 0;
}

static bool wanted(const struct scenario *sc, enum strategy how)
{
    if (how == ALL_STATE) {
        return sc->stateful;
    }
    return how != RESTART || !sc->stateful;
}

/* one_scenario - all its strategies, round after round.  Return: false when one failed. */
static bool one_scenario(const struct scenario *sc, struct bench *b)
{
    static struct outcome outcomes[STRATEGIES][ROUNDS_MAX]; /* tidy: too large for a stack */
    struct series *shown[STRATEGIES] = {NULL};
    unsigned good[STRATEGIES] = {0};
    bool all = true;
    for (unsigned round = 0; round < b->rounds; round++) {
        for (unsigned how = 0; how < STRATEGIES; how++) {
            char dir[4200];
            struct series *s;
            if (!wanted(sc, how)) {
                continue;
            }
            bench_folder(b, dir, sizeof dir);
            struct outcome o = trial_run(sc, how, b->bin, dir, &s);
            if (o.ok) {
                outcomes[how][good[how]++] = o;
            } else {
                printf("%-25s %-23s failed: %s\n", sc->name, strategy_name(how), o.why);
                all = false;
            }
            series_free(shown[how]);
            shown[how] = s;
        }
    }
    for (unsigned how = 0; how < STRATEGIES; how++) {
        all = (good[how] == 0 || print_row(sc->name, how, outcomes[how], good[how])) && all;
    }
    if (b->draw != NULL) {
        char path[4300];
        snprintf(path, sizeof path, "%s/upgrade-%zu.svg", b->draw, (size_t)(sc - scenarios));
        if (!draw(path, sc->name, shown)) {
            printf("cannot write %s\n", path);
            all = false;
        }
    }
    for (unsigned how = 0; how < STRATEGIES; how++) {
        series_free(shown[how]);
    }
    return all;
}

/* ---------------------------------------------------------------- setting up */

bool is_wanted(const struct bench *b, const char *name)
{
    for (char **text = b->only; *text != NULL; text++) {
        if (strstr(name, *text) == NULL) {
            return false;
        }
    }
    return true;
}

static bool set_up(struct bench *b)
{
    ssize_t n = readlink("/proc/self/exe", b->bin, sizeof b->bin - 1);
    if (n <= 0) {
        return false;
    }
    b->bin[n] = '\0';
    for (unsigned up = 0; up < 3; up++) { /* build/bench/upgrade/NAME -> build */
        char *slash = strrchr(b->bin, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    snprintf(b->scratch, sizeof b->scratch, "/tmp/oxbow-bench-XXXXXX");
    return mkdtemp(b->scratch) != NULL;
}

static int usage(FILE *to, int status)
{
    fputs("usage: oxbow-bench-upgrade [-r ROUNDS] [-d FOLDER] [-k] [TEXT]...\n"
          "       oxbow-bench-upgrade -n CHANGES [-k] [TEXT]...\n"
          "       oxbow-bench-upgrade -s | -S [-r ROUNDS] [-d FOLDER] [-k] [TEXT]...\n"
          "  -r N       rounds (3)       -d FOLDER  draw as SVG there\n"
          "  -n N       N changes in a row of one running topology, instead of one\n"
          "  -s, -S     one thing varied at a time: a few points of each, every point\n"
          "  -k         keep the scratch folder\n"
          "TEXT: only changes whose name (with -n: and strategy) contains each:\n",
          to);
    for (size_t i = 0; i < SCENARIOS; i++) {
        fprintf(to, "  %s\n", scenarios[i].name);
    }
    return status;
}

static bool read_options(struct bench *b, bool *sweeps, int argc, char **argv, int *status)
{
    int opt;
    *b = (struct bench){.rounds = 3};
    *sweeps = false;
    while ((opt = getopt(argc, argv, "r:n:d:sSkh")) != -1) {
        switch (opt) {
        case 'r':
            b->rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            b->changes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            b->draw = optarg;
            break;
        case 's':
        case 'S':
            *sweeps = true;
            b->whole = opt == 'S';
            break;
        case 'k':
            b->keep = true;
            break;
        default:
            *status = usage(opt == 'h' ? stdout : stderr, opt == 'h' ? 0 : 2);
            return false;
        }
    }
    b->only = argv + optind;
    if (b->rounds == 0 || b->rounds > ROUNDS_MAX || b->changes > CHANGES_MAX) {
        *status = usage(stderr, 2);
        return false;
    }
    return true;
}

static bool single_changes(struct bench *b)
{
    bool all = true;
    print_head();
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (is_wanted(b, scenarios[i].name)) {
            all = one_scenario(&scenarios[i], b) && all;
        }
    }
    return all;
}

int main(int argc, char **argv)
{
    static struct bench b; /* tidy: of the one program */
    bool sweeps;
    int status = 0;
    if (!read_options(&b, &sweeps, argc, argv, &status)) {
        return status;
    }
    if (!set_up(&b)) {
        fputs("error: cannot set up a scratch folder below /tmp\n", stderr);
        return 1;
    }
    bool all = sweeps ? sweeps_run(&b) : b.changes > 0 ? rows_run(&b) : single_changes(&b);
    status = all ? 0 : 1;
    if (b.keep) {
        printf("kept %s\n", b.scratch);
    } else {
        char command[4200];
        snprintf(command, sizeof command, "rm -rf '%s'", b.scratch);
        status |= system(command) == 0 ? 0 : 1;
    }
    return status;
}
