/* bench/recovery/steady.c - what checkpoints cost while nothing goes wrong.
 *
 * One cluster, its state loaded and saved once; then windows with a checkpoint every second and
 * windows without, in turn (the first one changes from round to round), under the same load.  A
 * ratio is of the two windows of one round, for the machine is another one a minute later.  At a
 * pace for latency, and unpaced for throughput.
 *
 * Throughput says little where somebody else works on the same cores: beside it is what a tuple
 * costs, the processor time of master and workers, which waits for nobody; and the share of the
 * cores that others had meanwhile, which says how much the throughput is worth. */
#include "bench/recovery/recovery.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_MS 4000u
#define SAVED_MAX 4096u

struct saved { /* of the checkpoints in the windows, as the master says */
    double bytes[SAVED_MAX], took_ms[SAVED_MAX], pause_ms[SAVED_MAX];
    unsigned count;
};

struct window { /* what was measured in one */
    struct latency latency;
    double tuple_ns; /* processor time of master and workers, of each tuple at the sink */
    double others;   /* share of all cores that others had */
};

static double number_behind(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    return at != NULL ? strtod(at + strlen(key), NULL) : 0;
}

/* read_saved - what the master has said since `from` (bytes of its log).  Return: the log's end. */
static long read_saved(const struct run *r, long from, struct saved *s)
{
    char line[1024];
    FILE *f = fopen(r->log, "re");
    if (f == NULL || fseek(f, from, SEEK_SET) != 0) {
        return from;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (s != NULL && strstr(line, "checkpoint.complete") != NULL && s->count < SAVED_MAX) {
            s->bytes[s->count] = number_behind(line, " bytes=");
            s->took_ms[s->count] = number_behind(line, " took_us=") / 1000;
            s->pause_ms[s->count++] = number_behind(line, " pause_us=") / 1000;
        }
    }
    from = ftell(f);
    fclose(f);
    return from;
}

/* window - of one kind.  The arrivals before it are dropped, or they would fill the disk. */
static bool window(struct run *r, bool checkpoints, struct window *w, struct saved *saved)
{
    if (!run_every(r, checkpoints ? "1s" : "1h") || !run_checkpoint(r)) {
        return false;
    }
    pause_ms(1000);
    long log = read_saved(r, 0, NULL);
    if (truncate(r->series, 0) != 0) {
        return false;
    }
    uint64_t from_ns = clock_now_ns();
    struct spent before = run_spent(r);
    pause_ms(WINDOW_MS);
    uint64_t to_ns = clock_now_ns();
    struct spent after = run_spent(r);
    struct series *s = series_read(r->series);
    if (s == NULL) {
        return false;
    }
    double seconds = (double)(to_ns - from_ns) / 1e9, ours = after.ours - before.ours;
    w->latency = latency_of(s, r->one_of, from_ns, to_ns);
    w->tuple_ns = ours / (w->latency.per_second * seconds);
    w->others = (after.anyone - before.anyone - ours) / 1e9 / seconds /
                (double)sysconf(_SC_NPROCESSORS_ONLN);
    series_free(s);
    (void)read_saved(r, log, checkpoints ? saved : NULL);
    return true;
}

/* print_ratio - with / without, round by round: the median, and the least and the most. */
static void print_ratio(const double *with, const double *without, unsigned rounds)
{
    double ratio[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        ratio[k] = with[k] / without[k];
    }
    double middle = median(ratio, rounds);
    printf("   %5.3f [%.3f, %.3f]", middle, ratio[0], ratio[rounds - 1]);
}

static void print_latency(struct window (*w)[2], unsigned rounds)
{
    double p50[2][ROUNDS_MAX], p99[2][ROUNDS_MAX], most[2][ROUNDS_MAX], by_round[2][ROUNDS_MAX];
    for (unsigned one = 0; one < 2; one++) {
        for (unsigned k = 0; k < rounds; k++) {
            p50[one][k] = w[k][one].latency.p50;
            p99[one][k] = by_round[one][k] = w[k][one].latency.p99;
            most[one][k] = w[k][one].latency.max;
        }
        printf("  %6.2f %6.2f %7.1f", median(p50[one], rounds), median(p99[one], rounds),
               median(most[one], rounds));
    }
    print_ratio(by_round[0], by_round[1], rounds);
}

static void print_throughput(struct window (*w)[2], unsigned rounds)
{
    double v[2][2][ROUNDS_MAX], others[2 * ROUNDS_MAX]; /* v: [which][with, without] */
    for (unsigned k = 0; k < rounds; k++) {
        for (unsigned one = 0; one < 2; one++) {
            v[0][one][k] = w[k][one].latency.per_second / 1000;
            v[1][one][k] = w[k][one].tuple_ns;
            others[2 * k + one] = w[k][one].others;
        }
    }
    for (unsigned which = 0; which < 2; which++) {
        print_ratio(v[which][0], v[which][1], rounds);
        printf(" %7.*f %7.*f", (int)which, median(v[which][0], rounds), (int)which,
               median(v[which][1], rounds));
    }
    printf("   %4.0f %%", 100 * median(others, 2 * rounds));
}

double capacity(uint64_t mib)
{
    struct window w = {0};
    struct run r = {0};
    bool good = run_begin(&r, mib, 0, "1h") && window(&r, false, &w, NULL);
    return run_end(&r, good) ? w.latency.per_second : 0;
}

bool steady(uint64_t mib, double rate, unsigned rounds)
{
    struct window w[ROUNDS_MAX][2]; /* with, without */
    struct saved *saved = calloc(1, sizeof *saved);
    struct run r = {0};
    bool good = saved != NULL && run_begin(&r, mib, rate, "1h") && run_checkpoint(&r) &&
                (rate <= 0 || run_caught_up(&r, 20));
    for (unsigned k = 0; k < rounds && good; k++) {
        for (unsigned turn = 0; turn < 2 && good; turn++) {
            unsigned one = turn ^ (k & 1);
            good = window(&r, one == 0, &w[k][one], saved);
        }
    }
    good = run_end(&r, good);
    if (good) {
        printf("%9llu ", (unsigned long long)mib);
        if (rate > 0) {
            printf("%7.0f", rate / 1000);
        }
        (rate > 0 ? print_latency : print_throughput)(w, rounds);
        printf("   %7.2f %7.0f %7.2f", median(saved->bytes, saved->count) / 1e6,
               median(saved->took_ms, saved->count), median(saved->pause_ms, saved->count));
        printf(" %7.2f\n", saved->count > 0 ? saved->pause_ms[saved->count - 1] : 0);
        fflush(stdout);
    }
    free(saved);
    return good;
}
