/* bench/swap_bench.c - what a stream feels while its next model loads, at full load.
 *
 * Method: a real master and worker run  source -> infer -> sink;  the source is only held by the
 *         queues, so all processors are busy.  The sink writes when each tuple was made and when it
 *         arrived.  One model is exchanged for another, whose kernels are not known, and then back
 *         and forth, when all are: latency before, from the order to the end of the change, and
 *         after.  Both models cost the same, so that the three compare.  Each change has a control:
 *         a window as long as it in which nothing is changed, with a window of its own before it:
 *         how much latency varies by itself.  It lies behind a change to new kernels, whose length
 *         nobody knows before, and before the others.
 *         Lost, doubled or disordered tuples are errors.
 * Run:    swap_bench [-f] [-r ROUNDS]; -f: only changes to new kernels.
 *         build/bench/upgrade/pes.so must be there (`make bench-upgrade`). */
#include "bench/cluster.h"
#include "bench/infer_models.h"
#include "bench/procs.h"
#include "bench/upgrade/upgrade.h"
#include "core/clock.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FLOW_SECONDS 120u
#define WINDOW_MS 4000u
#define MARGIN_NS UINT64_C(300000000) /* between the window of no change and the change */
#define SWAPS 4                       /* with known kernels, in a round */
#define PATH_BYTES 600u
#define ROUNDS_MAX 50

struct swap_bench {
    char bin[400], dir[64];
    char yaml[PATH_BYTES], out[PATH_BYTES], arrivals[PATH_BYTES];
    bool only_fresh;
    struct cluster cluster;
};

struct window { /* of one change, or of none */
    uint64_t begin_ns, end_ns;
};

enum kind { FRESH, FRESH_STILL, KNOWN, KNOWN_STILL, KINDS }; /* _STILL: its control */
enum { PERCENTILES = 2, WINDOWS_MAX = ROUNDS_MAX * SWAPS };

static const char *const kind_names[KINDS] = {"new kernels", "  no change", "known kernels",
                                              "  no change"};

struct ratios { /* during / before, of all windows of a kind, in their order */
    double of[PERCENTILES][WINDOWS_MAX];
    int count;
};

static _Noreturn void give_up(struct swap_bench *b, const char *what)
{
    char tail[200];
    log_tail(b->out, tail, sizeof tail);
    fprintf(stderr, "swap_bench: %s: %s; see %s\n", what, tail, b->dir);
    cluster_stop(&b->cluster);
    exit(1);
}

static void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    nanosleep(&t, NULL);
}

static void write_topology(struct swap_bench *b, const char *model)
{
    FILE *f = fopen(b->yaml, "we");
    if (f == NULL) {
        give_up(b, b->yaml);
    }
    fprintf(f,
            "oxbow: 1\ntopology: swap\nfusion: off\npes:\n"
            "  source: {use: '%s/bench/upgrade/pes.so:up-source', with: {keys: 1000}}\n"
            "  net:\n    use: infer\n    with:\n      model: %s\n      device: cpu\n"
            "      batch: {max: 32}\n      in: {x: [key",
            b->bin, model);
    for (int i = 1; i < 64; i++) {
        fputs(", key", f);
    }
    fprintf(f,
            "]}\n"
            "  sink: {use: '%s/bench/upgrade/pes.so:up-series', with: {path: '%s'}}\n"
            "streams:\n  - {from: source, to: net}\n  - {from: net, to: sink}\n",
            b->bin, b->arrivals);
    if (fclose(f) != 0) {
        give_up(b, b->yaml);
    }
}

static void oxbow(struct swap_bench *b, const char *verb, const char *what, const char *more)
{
    char program[PATH_BYTES];
    snprintf(program, sizeof program, "%s/oxbow", b->bin);
    const char *argv[] = {program, "--master", b->cluster.url, verb, what, more, NULL};
    if (proc_wait(proc_start(argv, b->out), FLOW_SECONDS) != 0) {
        give_up(b, verb);
    }
}

static void await_flow(struct swap_bench *b)
{
    struct stat st;
    uint64_t deadline = clock_now_ns() + FLOW_SECONDS * UINT64_C(1000000000);
    while (stat(b->arrivals, &st) != 0 || st.st_size < (off_t)(20000 * sizeof(struct arrival))) {
        if (clock_now_ns() > deadline) {
            give_up(b, "nothing arrives");
        }
        pause_ms(5);
    }
}

static struct window change(struct swap_bench *b, const char *model)
{
    struct window w;
    pause_ms(WINDOW_MS);
    write_topology(b, model);
    w.begin_ns = clock_now_ns();
    oxbow(b, "upgrade", b->yaml, "--yes");
    w.end_ns = clock_now_ns();
    return w;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void judge_window(struct series *s, enum kind kind, struct window w, struct ratios *all)
{
    struct outcome o = {0};
    struct ratios *r = &all[kind];
    s->begin_ns = w.begin_ns;
    s->end_ns = w.end_ns;
    series_judge(s, &o);
    double p50 = o.during.p50 / o.before.p50, p99 = o.during.p99 / o.before.p99;
    r->of[0][r->count] = p50;
    r->of[1][r->count++] = p99;
    printf("%-14s %6.2f s %7.2f %7.2f %8.2f %7.2f %8.2f %7.2f %7.2f %6.2f\n", kind_names[kind],
           (double)(w.end_ns - w.begin_ns) / 1e9, o.before.p50, o.before.p99, o.during.p50,
           o.during.p99, o.after.p50, o.after.p99, p50, p99);
    fflush(stdout);
    if (o.lost + o.doubled + o.disordered > 0) {
        fprintf(stderr,
                "swap_bench: %" PRIu64 " lost, %" PRIu64 " doubled, %" PRIu64 " disordered\n",
                o.lost, o.doubled, o.disordered);
        exit(1);
    }
}

/* A window as long as that of a change, but never back into the change before, which ends a little
 * before it. */
static struct window still_before(struct window w)
{
    uint64_t length = w.end_ns - w.begin_ns, end = w.begin_ns - MARGIN_NS;
    uint64_t room = (WINDOW_MS - 2000) * UINT64_C(1000000) - 2 * MARGIN_NS;
    length = length < room ? length : room;
    return (struct window){end - length, end};
}

/* As long as the change, with two seconds between them that it is compared with. */
static struct window still_after(struct window w)
{
    struct window still;
    pause_ms(WINDOW_MS);
    still.begin_ns = clock_now_ns();
    pause_ms((unsigned)((w.end_ns - w.begin_ns) / 1000000));
    still.end_ns = clock_now_ns();
    return still;
}

/* A cluster of its own, so that no kernel is known: on disk neither. */
static void run_round(struct swap_bench *b, struct ratios *all)
{
    memcpy(b->dir, "/tmp/oxbow-swap-XXXXXX", sizeof "/tmp/oxbow-swap-XXXXXX");
    if (mkdtemp(b->dir) == NULL) {
        give_up(b, "mkdtemp");
    }
    char one[PATH_BYTES], two[PATH_BYTES];
    snprintf(b->yaml, sizeof b->yaml, "%s/swap.yaml", b->dir);
    snprintf(b->out, sizeof b->out, "%s/out", b->dir);
    snprintf(b->arrivals, sizeof b->arrivals, "%s/arrivals", b->dir);
    snprintf(one, sizeof one, "%s/one.onnx", b->dir);
    snprintf(two, sizeof two, "%s/two.onnx", b->dir);
    if (!bench_write_mlp(one, 256) || !bench_write_mlp(two, 250) ||
        !cluster_start(&b->cluster, b->bin, b->dir, 1)) {
        give_up(b, "the cluster does not start");
    }
    write_topology(b, one);
    oxbow(b, "deploy", b->yaml, NULL);
    await_flow(b);
    struct window first = change(b, two), still = still_after(first), more[SWAPS];
    int swaps = b->only_fresh ? 0 : SWAPS;
    for (int i = 0; i < swaps; i++) {
        more[i] = change(b, i % 2 == 0 ? one : two);
    }
    pause_ms(WINDOW_MS);
    oxbow(b, "stop", "swap", NULL);
    cluster_stop(&b->cluster);
    struct series *s = series_read(b->arrivals);
    if (s == NULL) {
        give_up(b, "the sink wrote nothing");
    }
    judge_window(s, FRESH, first, all);
    judge_window(s, FRESH_STILL, still, all);
    for (int i = 0; i < swaps; i++) {
        judge_window(s, KNOWN_STILL, still_before(more[i]), all);
        judge_window(s, KNOWN, more[i], all);
    }
    series_free(s);
    char *command = mem_printf("rm -rf %s", b->dir);
    (void)!system(command);
    mem_free(command);
}

/* Median and extremes of each percentile's numbers, which are sorted after. */
static void print_spread(const char *name, const char *what, double of[PERCENTILES][WINDOWS_MAX],
                         int count)
{
    size_t n = (size_t)count;
    printf("%-14s %s:", name, what);
    for (int k = 0; k < PERCENTILES; k++) {
        qsort(of[k], n, sizeof(double), by_value);
        printf(" %s %.2f [%.2f, %.2f]", k == 0 ? "p50" : "p99", of[k][n / 2], of[k][0],
               of[k][n - 1]);
    }
    printf(", n=%d\n", count);
}

/* What the change does beyond what latency does by itself, round by round. */
static void print_pair(struct ratios *change, struct ratios *still, const char *name)
{
    double(*over)[WINDOWS_MAX] = mem_array(PERCENTILES, sizeof *over);
    for (int k = 0; k < PERCENTILES; k++) {
        for (int i = 0; i < change->count; i++) {
            over[k][i] = change->of[k][i] / still->of[k][i];
        }
    }
    print_spread(name, "during / before ", change->of, change->count);
    print_spread("  no change", "during / before ", still->of, still->count);
    print_spread("", "over no change  ", over, change->count);
    mem_free(over);
}

static bool parse(struct swap_bench *b, int argc, char **argv, int *rounds)
{
    for (int option; (option = getopt(argc, argv, "fr:")) != -1;) {
        if (option == '?') {
            return false;
        }
        b->only_fresh = b->only_fresh || option == 'f';
        *rounds = option == 'r' ? atoi(optarg) : *rounds;
    }
    return optind == argc && *rounds >= 1 && *rounds <= ROUNDS_MAX;
}

int main(int argc, char **argv)
{
    struct swap_bench b = {.cluster = {.master = -1}};
    struct ratios *all = mem_array(KINDS, sizeof *all);
    int rounds = 3;
    bool ok = parse(&b, argc, argv, &rounds);
    ssize_t n = readlink("/proc/self/exe", b.bin, sizeof b.bin - 1);
    char *slash = n > 0 ? strstr(b.bin, "/bench/swap_bench") : NULL;
    if (slash == NULL || !ok) {
        fprintf(stderr, "usage: swap_bench [-f] [-r 1..%d]\n", ROUNDS_MAX);
        return 2;
    }
    *slash = '\0';
    printf("%-14s %8s %15s %16s %16s %14s\n", "swap of a model", "took", "before p50, 99",
           "during p50, 99", "after p50, 99", "during/before");
    for (int i = 0; i < rounds; i++) {
        run_round(&b, all);
    }
    print_pair(&all[FRESH], &all[FRESH_STILL], kind_names[FRESH]);
    if (!b.only_fresh) {
        print_pair(&all[KNOWN], &all[KNOWN_STILL], kind_names[KNOWN]);
    }
    mem_free(all);
    return 0;
}
