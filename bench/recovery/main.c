/* bench/recovery/main.c - how long a killed worker is missed, and what checkpoints cost.
 *
 *   source -> step -> keep (keyed state, alone on the worker that is killed) -> sink
 *
 * The source makes tuples that are due at a pace of their own, and loads the state first; the sink
 * notes number, due time and arrival of each (bench/upgrade/pes.c).  Everything is judged by these
 * notes.  First table: SIGKILL, the process is started again at once, as a supervisor would;
 * `first` is when output comes again, `last` when it is no later than it was before the kill,
 * `replayed` the tuples that came twice.  Second table: the same load with and without checkpoints
 * every second, in turn, 1 % of the keys changing; at a pace (latency) and unpaced (throughput).
 * Figures are medians, ratios the median of each round's own; no time is asserted.  Latency before
 * is the p99 of two seconds. */
#include "bench/cluster.h"
#include "bench/procs.h"
#include "bench/upgrade/upgrade.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 99u
#define KEYS_PER_MIB UINT64_C(5860) /* of up-keep, about */
#define MS UINT64_C(1000000)
#define FLOW_S 120u

struct run {
    char dir[4200], yaml[4300], out[4300], series[4300];
    struct cluster cluster;
    uint64_t keys; /* that are loaded; 1 % of them change, or all where there are few */
    double rate;
    bool checkpoints;
};
struct figures {
    double first_ms, last_ms, replayed, p99_ms, per_second;
};

static char bin[4000], scratch[4096]; /* tidy: of the one program, set up once */
static unsigned runs;                 /* tidy: names their folders */

static void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    nanosleep(&t, NULL);
}

static bool write_yaml(const struct run *r)
{
    FILE *f = fopen(r->yaml, "we");
    if (f == NULL) {
        return false;
    }
    uint64_t moving = r->keys >= 100000 ? r->keys / 100 : 1000;
    fprintf(f, "oxbow: 1\ntopology: river\nfusion: off\n%spes:\n",
            r->checkpoints ? "checkpoint: {every: 1s, keep: 2}\n" : "");
    fprintf(f,
            "  source: {use: '%s/bench/upgrade/pes.so:up-source', place: {labels: {side: a}}, "
            "with: {rate: %.0f, keys: %llu, preload: %llu}}\n",
            bin, r->rate, (unsigned long long)moving, (unsigned long long)r->keys);
    fprintf(f, "  step: {use: '%s/bench/upgrade/pes.so:up-step', place: {labels: {side: a}}}\n",
            bin);
    fprintf(f, "  keep: {use: '%s/bench/upgrade/pes.so:up-keep', place: {labels: {side: b}}}\n",
            bin);
    fprintf(f,
            "  sink: {use: '%s/bench/upgrade/pes.so:up-series', place: {labels: {side: a}}, "
            "with: {path: '%s'}}\n",
            bin, r->series);
    fprintf(f, "streams:\n  - {from: source, to: step}\n  - {from: step, to: keep, by: key}\n"
               "  - {from: keep, to: sink}\n");
    return fclose(f) == 0;
}

static bool oxbow(const struct run *r, const char *verb, const char *what)
{
    char program[4200], tail[200];
    snprintf(program, sizeof program, "%s/oxbow", bin);
    const char *argv[] = {program, "--master", r->cluster.url, verb, what, NULL};
    int status = proc_wait(proc_start(argv, r->out), FLOW_S);
    if (status != 0) {
        log_tail(r->out, tail, sizeof tail);
        printf("oxbow %s: status %d: %s\n", verb, status, tail);
    }
    return status == 0;
}

/* grows - until a thousand more measured tuples are there. */
static bool grows(const struct run *r)
{
    struct stat st = {0};
    off_t from = stat(r->series, &st) == 0 ? st.st_size : 0;
    uint64_t deadline = clock_now_ns() + FLOW_S * 1000 * MS;
    do {
        pause_ms(5);
        (void)stat(r->series, &st);
    } while (st.st_size < from + (off_t)(1000 * sizeof(struct arrival)) &&
             clock_now_ns() < deadline);
    return clock_now_ns() < deadline;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double late_ms(const struct arrival *a)
{
    return a->at_ns > a->due_ns ? (double)(a->at_ns - a->due_ns) / 1e6 : 0;
}

/* window - p99 of latency, and tuples per second, of what arrived in [from, to). */
static void window(const struct series *s, uint64_t from_ns, uint64_t to_ns, struct figures *f)
{
    double *late = malloc((s->count + 1) * sizeof *late);
    size_t n = 0;
    for (size_t i = 0; late != NULL && i < s->count; i++) {
        if (s->items[i].at_ns >= from_ns && s->items[i].at_ns < to_ns) {
            late[n++] = late_ms(&s->items[i]);
        }
    }
    if (n > 0) {
        qsort(late, n, sizeof *late, by_value);
        f->p99_ms = late[n - 1 - n / 100];
    }
    f->per_second = (double)n * 1e9 / (double)(to_ns - from_ns);
    free(late);
}

/* judge_kill - in order of arrival: output stops, what is older comes again, then what is due. */
static void judge_kill(const struct series *s, uint64_t killed_ns, struct figures *f)
{
    uint64_t newest = 0;
    size_t gap = s->count;
    uint64_t longest = 0;
    window(s, killed_ns - 2000 * MS, killed_ns, f);
    f->first_ms = f->last_ms = -1;
    for (size_t i = 1; i < s->count; i++) { /* what was on its way still comes: the longest gap */
        uint64_t wait = s->items[i].at_ns - s->items[i - 1].at_ns;
        if (s->items[i].at_ns > killed_ns && wait > longest) {
            longest = wait;
            gap = i;
        }
    }
    for (size_t i = 0; i < gap; i++) {
        newest = s->items[i].seq > newest ? s->items[i].seq : newest;
    }
    for (size_t i = gap; i < s->count; i++) {
        double since_ms = (double)(s->items[i].at_ns - killed_ns) / 1e6;
        f->first_ms = i == gap ? since_ms : f->first_ms;
        f->replayed += s->items[i].seq <= newest;
        if (s->items[i].seq > newest && f->last_ms < 0 && late_ms(&s->items[i]) <= f->p99_ms) {
            f->last_ms = since_ms;
        }
    }
}

static bool begin(struct run *r)
{
    snprintf(r->dir, sizeof r->dir, "%s/%u", scratch, runs++);
    snprintf(r->yaml, sizeof r->yaml, "%s/river.yaml", r->dir);
    snprintf(r->out, sizeof r->out, "%s/out", r->dir);
    snprintf(r->series, sizeof r->series, "%s/arrivals", r->dir);
    return mkdir(r->dir, 0700) == 0 && cluster_start(&r->cluster, bin, r->dir, 2) &&
           write_yaml(r) && oxbow(r, "deploy", r->yaml) && grows(r);
}

static bool end(struct run *r, bool good, uint64_t at_ns, bool killed, struct figures *f)
{
    struct series *s = NULL;
    good = good && oxbow(r, "stop", "river") && (s = series_read(r->series)) != NULL;
    cluster_stop(&r->cluster);
    *f = (struct figures){0};
    if (good && killed) {
        judge_kill(s, at_ns, f);
    } else if (good) {
        window(s, at_ns, at_ns + 5000 * MS, f);
    }
    series_free(s);
    if (!good) {
        printf("failed; see %s\n", r->dir);
    }
    return good;
}

static bool one_kill(uint64_t mib, double rate, struct figures *f)
{
    struct run r = {.keys = mib * KEYS_PER_MIB + (mib == 0), .rate = rate, .checkpoints = true};
    bool good = begin(&r) && oxbow(&r, "checkpoint", "river"); /* with all of the state in it */
    pause_ms(3300);
    uint64_t at_ns = clock_now_ns();
    good = good && cluster_kill(&r.cluster, bin, r.dir, 1) && grows(&r);
    pause_ms(3000 + (unsigned)mib * 10);
    return end(&r, good, at_ns, true, f);
}

static bool one_steady(uint64_t mib, double rate, bool checkpoints, struct figures *f)
{
    struct run r = {
        .keys = mib * KEYS_PER_MIB + (mib == 0), .rate = rate, .checkpoints = checkpoints};
    bool good = begin(&r) && (!checkpoints || oxbow(&r, "checkpoint", "river"));
    pause_ms(1000);
    uint64_t at_ns = clock_now_ns();
    pause_ms(5000);
    return end(&r, good, at_ns, false, f);
}

static double median(double *v, unsigned n)
{
    qsort(v, n, sizeof *v, by_value);
    return n == 0 ? -1 : n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static bool kills(uint64_t mib, double rate, unsigned rounds)
{
    double first[ROUNDS_MAX], last[ROUNDS_MAX], replayed[ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        struct figures f;
        if (!one_kill(mib, rate, &f)) {
            return false;
        }
        first[k] = f.first_ms;
        last[k] = f.last_ms;
        replayed[k] = f.replayed;
    }
    printf("%9llu %12.1f %12.1f %12.0f\n", (unsigned long long)mib, median(first, rounds),
           median(last, rounds), median(replayed, rounds));
    fflush(stdout);
    return true;
}

/* Each round measures with and without in turn, the other one first every other round; a ratio is
 * of the two of one round, for the machine is another one a minute later. */
static bool steady(uint64_t mib, double rate, unsigned rounds)
{
    double with[2][ROUNDS_MAX], without[2][ROUNDS_MAX], ratio[2][ROUNDS_MAX];
    for (unsigned k = 0; k < rounds; k++) {
        for (unsigned what = 0; what < 2; what++) { /* latency at a pace; throughput */
            struct figures f[2];
            for (unsigned turn = 0; turn < 2; turn++) {
                unsigned one = turn ^ (k & 1);
                if (!one_steady(mib, what == 0 ? rate : 0, one == 0, &f[one])) {
                    return false;
                }
            }
            with[what][k] = what == 0 ? f[0].p99_ms : f[0].per_second;
            without[what][k] = what == 0 ? f[1].p99_ms : f[1].per_second;
            ratio[what][k] = with[what][k] / without[what][k];
        }
    }
    printf("%9llu %10.2f %10.2f %7.2f %12.0f %12.0f %7.3f\n", (unsigned long long)mib,
           median(with[0], rounds), median(without[0], rounds), median(ratio[0], rounds),
           median(with[1], rounds), median(without[1], rounds), median(ratio[1], rounds));
    fflush(stdout);
    return true;
}

static bool set_up(void)
{
    ssize_t n = readlink("/proc/self/exe", bin, sizeof bin - 1);
    bin[n > 0 ? n : 0] = '\0';
    for (unsigned up = 0; up < 3; up++) { /* build/bench/recovery/NAME -> build */
        char *slash = strrchr(bin, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    snprintf(scratch, sizeof scratch, "/tmp/oxbow-bench-XXXXXX");
    return mkdtemp(scratch) != NULL;
}

int main(int argc, char **argv)
{
    uint64_t sizes[16] = {0, 64, 256, 1024};
    size_t count = 4, given = 0;
    unsigned rounds = 3;
    double rate = 20000;
    int opt;
    while ((opt = getopt(argc, argv, "r:t:h")) != -1) {
        rounds = opt == 'r' ? (unsigned)strtoul(optarg, NULL, 10) : rounds;
        rate = opt == 't' ? strtod(optarg, NULL) : rate;
        if (opt == 'h' || opt == '?' || rounds == 0 || rounds > ROUNDS_MAX || !(rate > 0)) {
            fputs("usage: oxbow-bench-recovery [-r ROUNDS] [-t TUPLES-PER-SECOND] [MIB...]\n",
                  opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
    }
    for (int i = optind; i < argc && given < 16; i++) {
        sizes[given++] = strtoull(argv[i], NULL, 10);
    }
    count = given > 0 ? given : count;
    bool good = set_up();
    printf("state MiB     first ms      last ms     replayed   (worker killed, %.0f tuples/s)\n",
           rate);
    for (size_t i = 0; i < count && good; i++) {
        good = kills(sizes[i], rate, rounds);
    }
    puts("\nstate MiB   p99 with  without   ratio     t/s with      without   ratio   (every 1s)");
    for (size_t i = 0; i < count && good; i++) {
        good = steady(sizes[i], rate, rounds);
    }
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return good && system(command) == 0 ? 0 : 1;
}
