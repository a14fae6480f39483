/* bench/main.c - measures the engine beside hand-written C, turn by turn, and prints one table.
 *
 * Every round runs a floor and then the engine on the same work, so that both see the same machine;
 * the ratio is taken round by round.  Figures are median [min, max]; nothing here asserts a time,
 * but a count or checksum that differs from the floor's is an error. */
#include "bench/bench.h"
#include "bench/rows.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_MAX 99u

struct options {
    unsigned rounds;
    double scale;
    const char *only; /* NULL: all rows */
    bool keep;
};

struct context {
    struct options o;
    struct engine engine;
    char text[4200];
    uint64_t text_bytes;
};

struct line { /* one row of the table */
    const char *name;
    const char *unit;
    const char *floor_name;
    bool latency;  /* smaller is better; a second figure is the 99th percentile */
    bool compared; /* counts and checksums must be equal */
    struct result (*floor)(struct context *c);
    struct result (*engine)(struct context *c); /* NULL: a floor alone */
};

struct result result_fail(const char *fmt, ...)
{
    struct result r = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(r.why, sizeof r.why, fmt, args);
    va_end(args);
    return r;
}

static uint64_t scaled(const struct context *c, double n)
{
    return (uint64_t)(n * c->o.scale) + 1024;
}

static struct result chain_floor(struct context *c)
{
    return floor_chain(scaled(c, 40e6));
}
static struct result chain_alone(struct context *c)
{
    return alone_chain(scaled(c, 40e6));
}
static struct result chain_engine(struct context *c)
{
    return engine_chain(&c->engine, scaled(c, 40e6));
}
static struct result hop_floor(struct context *c)
{
    return floor_hop(scaled(c, 20e6));
}
static struct result hop_engine(struct context *c)
{
    return engine_hop(&c->engine, scaled(c, 20e6));
}
static struct result tcp_floor(struct context *c)
{
    return floor_tcp(scaled(c, 20e6) * ROW_WIRE_BYTES);
}
static struct result tcp_engine(struct context *c)
{
    return engine_tcp(&c->engine, scaled(c, 20e6));
}
static struct result wake_floor(struct context *c)
{
    return floor_wake(scaled(c, 10e3));
}
static struct result wake_engine(struct context *c)
{
    return engine_latency(&c->engine, scaled(c, 20e3));
}
static struct result words_floor(struct context *c)
{
    return floor_words(c->text);
}
static struct result words_engine(struct context *c)
{
    return engine_words(&c->engine, c->text, c->text_bytes);
}
static struct result memory_floor(struct context *c)
{
    return floor_memcpy(scaled(c, 10e9));
}

static const struct line lines[] = {
    {"chain", "M tuples/s", "C structs, one thread", false, true, chain_floor, chain_engine},
    {"chain-alone", "M tuples/s", "C structs, one thread", false, true, chain_floor, chain_alone},
    {"hop", "M tuples/s", "C structs, ring", false, true, hop_floor, hop_engine},
    {"tcp", "GB/s", "raw loopback TCP", false, false, tcp_floor, tcp_engine},
    {"latency", "us", "eventfd, half round trip", true, false, wake_floor, wake_engine},
    {"words", "MB/s", "C table, one thread", false, true, words_floor, words_engine},
    {"memcpy", "GB/s", "64 KiB blocks", false, false, memory_floor, NULL},
};

/* ---------------------------------------------------------------- figures */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* figure - "12.3 [11.0, 14.1]" of v[n]; sorts v. */
static void figure(double *v, unsigned n, char *out, size_t bytes)
{
    qsort(v, n, sizeof *v, by_value);
    double middle = n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
    snprintf(out, bytes, "%.3g [%.3g, %.3g]", middle, v[0], v[n - 1]);
}

struct series {
    double floor[ROUNDS_MAX], engine[ROUNDS_MAX], ratio[ROUNDS_MAX];
    double floor99[ROUNDS_MAX], engine99[ROUNDS_MAX];
    unsigned count;
};

static bool one_round(struct context *c, const struct line *l, struct series *s)
{
    struct result f = l->floor(c);
    struct result e = f.ok && l->engine != NULL ? l->engine(c) : f;
    if (!f.ok || !e.ok) {
        printf("%-12s failed: %s\n", l->name, f.ok ? e.why : f.why);
        return false;
    }
    if (l->compared && (f.count != e.count || f.check != e.check)) {
        printf("%-12s WRONG RESULT: count %" PRIu64 " against %" PRIu64 ", checksum %016" PRIx64
               " against %016" PRIx64 "\n",
               l->name, e.count, f.count, e.check, f.check);
        return false;
    }
    unsigned n = s->count++;
    s->floor[n] = f.value;
    s->engine[n] = e.value;
    s->ratio[n] = e.value / f.value;
    s->floor99[n] = f.value99;
    s->engine99[n] = e.value99;
    return true;
}

static void print_line(const struct line *l, struct series *s)
{
    char floor[64];
    char engine[64] = "-";
    char ratio[64] = "-";
    figure(s->floor, s->count, floor, sizeof floor);
    if (l->engine != NULL) {
        figure(s->engine, s->count, engine, sizeof engine);
        figure(s->ratio, s->count, ratio, sizeof ratio);
    }
    printf("%-12s %-11s %-25s %-24s %-24s %s\n", l->name, l->unit, l->floor_name, floor, engine,
           ratio);
    if (l->latency) {
        figure(s->floor99, s->count, floor, sizeof floor);
        figure(s->engine99, s->count, engine, sizeof engine);
        printf("%-12s %-11s %-25s %-24s %-24s\n", "  p99", l->unit, "", floor, engine);
    }
    fflush(stdout);
}

static bool wanted(const struct options *o, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = o->only; at != NULL && *at != '\0';) {
        size_t word = strcspn(at, ",");
        if (word == len && strncmp(at, name, len) == 0) {
            return true;
        }
        at += word + (at[word] == ',' ? 1 : 0);
    }
    return o->only == NULL;
}

/* measure - all wanted rows, round after round.  Return: false when any failed. */
static bool measure(struct context *c)
{
    enum { LINES = sizeof lines / sizeof lines[0] };
    struct series *series = calloc(LINES, sizeof *series);
    bool good[LINES];
    bool all = true;
    if (series == NULL) {
        return false;
    }
    for (unsigned n = 0; n < LINES; n++) {
        good[n] = wanted(&c->o, lines[n].name);
    }
    for (unsigned round = 0; round < c->o.rounds; round++) {
        for (unsigned n = 0; n < LINES; n++) {
            if (good[n] && !one_round(c, &lines[n], &series[n])) {
                good[n] = false;
                all = false;
            }
        }
    }
    printf("%-12s %-11s %-25s %-24s %-24s %s\n", "what", "unit", "floor", "floor: median [..]",
           "engine: median [..]", "engine / floor");
    for (unsigned n = 0; n < LINES; n++) {
        if (good[n] && series[n].count > 0) {
            print_line(&lines[n], &series[n]);
        }
    }
    free(series);
    return all;
}

/* ---------------------------------------------------------------- setting up */

static bool run_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool run_shell(const char *fmt, ...)
{
    char command[9000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    int status = system(command); /* fixed words and paths of ours */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool set_up(struct context *c)
{
    char self[4000];
    struct stat st;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return false;
    }
    self[n] = '\0';
    for (unsigned up = 0; up < 2; up++) { /* build/bench/oxbow-bench -> build */
        char *slash = strrchr(self, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    snprintf(c->engine.bin, sizeof c->engine.bin, "%s", self);
    snprintf(c->engine.dir, sizeof c->engine.dir, "/tmp/oxbow-bench-XXXXXX");
    if (mkdtemp(c->engine.dir) == NULL) {
        return false;
    }
    if (!wanted(&c->o, "words")) {
        return true;
    }
    snprintf(c->text, sizeof c->text, "%s/text", c->engine.dir);
    if (!run_shell("'%s/bench/gentext' %.3f >'%s'", c->engine.bin, 200.0 * c->o.scale, c->text) ||
        stat(c->text, &st) != 0) {
        return false;
    }
    c->text_bytes = (uint64_t)st.st_size;
    return true;
}

static int usage(FILE *to, int status)
{
    fputs("usage: oxbow-bench [-r ROUNDS] [-s SCALE] [-k] [ROW,ROW...]\n"
          "  -r N  rounds (3)      -s X  share of the full work, e.g. 0.1 (1)\n"
          "  -k    keep the scratch folder\n"
          "rows: chain chain-alone hop tcp latency words memcpy\n",
          to);
    return status;
}

int main(int argc, char **argv)
{
    static struct context c = {.o = {3, 1.0, NULL, false}}; /* tidy: too large for a stack */
    int opt;
    while ((opt = getopt(argc, argv, "r:s:kh")) != -1) {
        switch (opt) {
        case 'r':
            c.o.rounds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            c.o.scale = strtod(optarg, NULL);
            break;
        case 'k':
            c.o.keep = true;
            break;
        case 'h':
            return usage(stdout, 0);
        default:
            return usage(stderr, 2);
        }
    }
    c.o.only = optind < argc ? argv[optind] : NULL;
    if (c.o.rounds == 0 || c.o.rounds > ROUNDS_MAX || c.o.scale <= 0 || c.o.scale > 100) {
        return usage(stderr, 2);
    }
    if (!set_up(&c)) {
        fputs("error: cannot set up a scratch folder below /tmp\n", stderr);
        return 1;
    }
    bool ok = measure(&c);
    if (c.o.keep) {
        printf("kept %s\n", c.engine.dir);
    } else {
        run_shell("rm -rf '%s'", c.engine.dir);
    }
    return ok ? 0 : 1;
}
