/* bench/recovery/steady.c - what checkpoints cost while nothing goes wrong.
 *
 * One cluster, its state loaded and saved once; then windows with a checkpoint every second and
 * windows without, in turn (the first one changes from round to round), under the same load.  A
 * ratio is of the two windows of one round, for the machine is another one a minute later.  At a
 * pace for latency, and unpaced for throughput. */
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
static bool window(struct run *r, bool checkpoints, struct latency *l, struct saved *saved)
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
    pause_ms(WINDOW_MS);
    uint64_t to_ns = clock_now_ns();
    struct series *s = series_read(r->series);
    if (s == NULL) {
        return false;
    }
    *l = latency_of(s, r->one_of, from_ns, to_ns);
    series_free(s);
    (void)read_saved(r, log, checkpoints ? saved : NULL);
    return true;
}

static void print_latency(struct latency (*w)[2], unsigned rounds)
{
    double v[2][3][ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        for (unsigned one = 0; one < 2; one++) {
            v[one][0][k] = w[k][one].p50;
            v[one][1][k] = w[k][one].p99;
            v[one][2][k] = w[k][one].max;
        }
        ratio[k] = w[k][0].p99 / w[k][1].p99;
    }
    for (unsigned one = 0; one < 2; one++) {
        printf("  %6.2f %6.2f %7.1f", median(v[one][0], rounds), median(v[one][1], rounds),
               median(v[one][2], rounds));
    }
    double middle = median(ratio, rounds);
    printf("   %5.2f [%.2f, %.2f]", middle, ratio[0], ratio[rounds - 1]);
}

static void print_throughput(struct latency (*w)[2], unsigned rounds)
{
    double v[2][ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        v[0][k] = w[k][0].per_second / 1000;
        v[1][k] = w[k][1].per_second / 1000;
        ratio[k] = v[0][k] / v[1][k];
    }
    double middle = median(ratio, rounds);
    printf("  %8.0f %8.0f   %5.3f [%.3f, %.3f]", median(v[0], rounds), median(v[1], rounds), middle,
           ratio[0], ratio[rounds - 1]);
}

double capacity(uint64_t mib)
{
    struct latency l = {0};
    struct run r = {0};
    bool good = run_begin(&r, mib, 0, "1h") && window(&r, false, &l, NULL);
    return run_end(&r, good) ? l.per_second : 0;
}

bool steady(uint64_t mib, double rate, unsigned rounds)
{
    struct latency w[ROUNDS_MAX][2]; /* with, without */
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
