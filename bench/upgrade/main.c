/* bench/upgrade/main.c - the same graph and load changed under four strategies; one table.
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
    {"one PE, idle", 1, 1000, 0, 3, 1, 1, 1, 1024, false},
    {"one PE, half load", 1, 50000, 10000, 3, 1, 1, 1, 1024, false},
    {"one PE, queues full", 1, 0, 10000, 3, 1, 1, 1, 1024, false},
    {"three PEs, idle", 1, 1000, 0, 3, 3, 1, 1, 1024, false},
    {"three PEs, half load", 1, 50000, 10000, 3, 3, 1, 1, 1024, false},
    {"three PEs, queues full", 1, 0, 10000, 3, 3, 1, 1, 1024, false},
    {"eight PEs, half load", 1, 20000, 10000, 8, 8, 1, 1, 1024, false},
    {"one PE, two workers", 2, 20000, 0, 3, 1, 2, 2, 1024, false},
    {"rescale 2 to 3, no state", 2, 20000, 0, 1, 0, 2, 3, 1024, true},
    {"rescale 2 to 3, 64 MiB", 2, 100000, 0, 1, 0, 2, 3, KEYS_PER_GIB / 16, true},
    {"rescale 2 to 3, 256 MiB", 2, 100000, 0, 1, 0, 2, 3, KEYS_PER_GIB / 4, true},
    {"rescale 2 to 3, 1 GiB", 2, 100000, 0, 1, 0, 2, 3, KEYS_PER_GIB, true},
    {"rescale 2 to 3, 2 GiB", 2, 100000, 0, 1, 0, 2, 3, KEYS_PER_GIB * 2, true},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

struct options {
    unsigned rounds;
    const char *only; /* text that the name of a scenario must contain; NULL: all */
    const char *draw; /* folder for the drawings; NULL: none */
    bool keep;
};

static char bin[4000], scratch[4096]; /* tidy: of the one program, set up once */
static unsigned trials;               /* tidy: names their folders */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct outcome *o, unsigned n, size_t offset)
{
    double v[ROUNDS_MAX];
    for (unsigned i = 0; i < n; i++) {
        v[i] = *(const double *)((const char *)&o[i] + offset);
    }
    qsort(v, n, sizeof *v, by_value);
    return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
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
static bool one_scenario(const struct scenario *sc, const struct options *opt)
{
    static struct outcome outcomes[STRATEGIES][ROUNDS_MAX]; /* tidy: too large for a stack */
    struct series *shown[STRATEGIES] = {NULL};
    unsigned good[STRATEGIES] = {0};
    bool all = true;
    for (unsigned round = 0; round < opt->rounds; round++) {
        for (unsigned how = 0; how < STRATEGIES; how++) {
            char dir[4200];
            struct series *s;
            if (!wanted(sc, how)) {
                continue;
            }
            snprintf(dir, sizeof dir, "%s/%u", scratch, trials++);
            struct outcome o = trial_run(sc, how, bin, dir, &s);
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
    if (opt->draw != NULL) {
        char path[4300];
        snprintf(path, sizeof path, "%s/upgrade-%zu.svg", opt->draw, (size_t)(sc - scenarios));
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

static bool set_up(void)
{
    ssize_t n = readlink("/proc/self/exe", bin, sizeof bin - 1);
    if (n <= 0) {
        return false;
    }
    bin[n] = '\0';
    for (unsigned up = 0; up < 3; up++) { /* build/bench/upgrade/NAME -> build */
        char *slash = strrchr(bin, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    snprintf(scratch, sizeof scratch, "/tmp/oxbow-bench-XXXXXX");
    return mkdtemp(scratch) != NULL;
}

static int usage(FILE *to, int status)
{
    fputs("usage: oxbow-bench-upgrade [-r ROUNDS] [-d FOLDER] [-k] [TEXT]\n"
          "  -r N       rounds (3)       -d FOLDER  draw latency over time as SVG there\n"
          "  -k         keep the scratch folder\n"
          "TEXT: only changes whose name contains it:\n",
          to);
    for (size_t i = 0; i < SCENARIOS; i++) {
        fprintf(to, "  %s\n", scenarios[i].name);
    }
    return status;
}

static bool read_options(struct options *o, int argc, char **argv, int *status)
{
    int opt;
    *o = (struct options){.rounds = 3};
    while ((opt = getopt(argc, argv, "r:d:kh")) != -1) {
        switch (opt) {
        case 'r':
            o->rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            o->draw = optarg;
            break;
        case 'k':
            o->keep = true;
            break;
        default:
            *status = usage(opt == 'h' ? stdout : stderr, opt == 'h' ? 0 : 2);
            return false;
        }
    }
    o->only = optind < argc ? argv[optind] : NULL;
    if (o->rounds == 0 || o->rounds > ROUNDS_MAX) {
        *status = usage(stderr, 2);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o;
    int status = 0;
    if (!read_options(&o, argc, argv, &status)) {
        return status;
    }
    if (!set_up()) {
        fputs("error: cannot set up a scratch folder below /tmp\n", stderr);
        return 1;
    }
    print_head();
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (o.only == NULL || strstr(scenarios[i].name, o.only) != NULL) {
            status |= one_scenario(&scenarios[i], &o) ? 0 : 1;
        }
    }
    if (o.keep) {
        printf("kept %s\n", scratch);
    } else {
        char command[4200];
        snprintf(command, sizeof command, "rm -rf '%s'", scratch);
        status |= system(command) == 0 ? 0 : 1;
    }
    return status;
}
