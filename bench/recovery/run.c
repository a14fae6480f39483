/* bench/recovery/run.c - one cluster with keyed state: begun, changed, killed, ended. */
#include "bench/procs.h"
#include "bench/recovery/recovery.h"
#include "core/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS_PER_MIB UINT64_C(5860) /* of up-keep, about */
#define FLOW_S 120u
#define NOTED_MAX 100000.0   /* arrivals per second: more would be a load of its own */
#define SAMPLES_MAX 1000000u /* of a window, sorted for its quantiles */

static char bin[4000], scratch[4096]; /* tidy: of the one program, set up once */
static char memory[4096];             /* tidy: likewise; folder for what arrives */
static const char *retain;            /* tidy: likewise; NULL: as by default */
static unsigned runs;                 /* tidy: names their folders */

void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    nanosleep(&t, NULL);
}

/* What arrives, up to 200 MB a second, is kept in memory: on a disk it would be flushed by every
 * fsync of a checkpoint, and the sink would wait for that. */
static bool make_folders(void)
{
    snprintf(scratch, sizeof scratch, "/tmp/oxbow-bench-XXXXXX");
    snprintf(memory, sizeof memory, "/dev/shm/oxbow-bench-XXXXXX");
    if (mkdtemp(scratch) == NULL) {
        return false;
    }
    if (mkdtemp(memory) == NULL) {
        puts("no /dev/shm: arrivals go to the disk, and wait for its checkpoints");
        memory[0] = '\0';
    }
    return true;
}

bool runs_set_up(const char *budget)
{
    retain = budget;
    ssize_t n = readlink("/proc/self/exe", bin, sizeof bin - 1);
    bin[n > 0 ? n : 0] = '\0';
    for (unsigned up = 0; up < 3; up++) { /* build/bench/recovery/NAME -> build */
        char *slash = strrchr(bin, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    setenv("OXBOW_LOG", "info", 1); /* what each checkpoint has cost */
    return make_folders();
}

bool runs_remove(void)
{
    char command[8300];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", scratch, memory);
    return system(command) == 0;
}

static bool write_yaml(const struct run *r, const char *every)
{
    FILE *f = fopen(r->yaml, "we");
    if (f == NULL) {
        return false;
    }
    uint64_t moving = r->keys >= 100000 ? r->keys / 100 : 1000;
    fprintf(f, "oxbow: 1\ntopology: river\nfusion: off\ncheckpoint: {every: %s, keep: 2%s%s}\n",
            every, retain != NULL ? ", retain: " : "", retain != NULL ? retain : "");
    fprintf(f, "pes:\n");
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
            "with: {path: '%s', one_of: %llu}}\n",
            bin, r->series, (unsigned long long)r->one_of);
    fprintf(f, "streams:\n  - {from: source, to: step}\n  - {from: step, to: keep, by: key}\n"
               "  - {from: keep, to: sink}\n");
    return fclose(f) == 0;
}

static bool oxbow(const struct run *r, const char *verb, const char *what, const char *more)
{
    char program[4200], tail[200];
    snprintf(program, sizeof program, "%s/oxbow", bin);
    const char *argv[] = {program, "--master", r->cluster.url, verb, what, more, NULL};
    int status = proc_wait(proc_start(argv, r->out), FLOW_S);
    if (status != 0) {
        log_tail(r->out, tail, sizeof tail);
        printf("oxbow %s: status %d: %s\n", verb, status, tail);
    }
    return status == 0;
}

bool run_grows(const struct run *r)
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

static bool newest(const struct run *r, struct arrival *a)
{
    struct stat st = {0};
    int fd = open(r->series, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof *a &&
                pread(fd, a, sizeof *a, st.st_size - (off_t)sizeof *a) == (ssize_t)sizeof *a;
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

bool run_caught_up(const struct run *r, double late)
{
    uint64_t now = clock_now_ns(), deadline = now + FLOW_S * 1000 * MS, since = now;
    while (now < deadline && now - since < 500 * MS) {
        struct arrival a;
        pause_ms(20);
        now = clock_now_ns();
        if (!newest(r, &a) || late_ms(&a) > late || now - a.at_ns > 500 * MS) {
            since = now;
        }
    }
    return now < deadline;
}

bool run_begin(struct run *r, uint64_t mib, double rate, const char *every)
{
    r->keys = mib * KEYS_PER_MIB + (mib == 0);
    r->rate = rate;
    r->one_of = rate > 0 && rate <= NOTED_MAX ? 1
                : rate > 0                    ? (uint64_t)(rate / NOTED_MAX) + 1
                                              : 64;
    snprintf(r->dir, sizeof r->dir, "%s/%u", scratch, runs++);
    snprintf(r->yaml, sizeof r->yaml, "%s/river.yaml", r->dir);
    snprintf(r->out, sizeof r->out, "%s/out", r->dir);
    snprintf(r->series, sizeof r->series, "%s/arrivals%u", memory[0] != '\0' ? memory : scratch,
             runs);
    snprintf(r->log, sizeof r->log, "%s/master.log", r->dir);
    return mkdir(r->dir, 0700) == 0 && cluster_start(&r->cluster, bin, r->dir, 2) &&
           write_yaml(r, every) && oxbow(r, "deploy", r->yaml, NULL) && run_grows(r);
}

bool run_every(struct run *r, const char *every)
{
    return write_yaml(r, every) && oxbow(r, "upgrade", r->yaml, NULL);
}

bool run_checkpoint(struct run *r)
{
    return oxbow(r, "checkpoint", "river", NULL);
}

bool run_kill(struct run *r)
{
    return cluster_kill(&r->cluster, bin, r->dir, 1);
}

struct spent run_spent(const struct run *r)
{
    struct spent s = {proc_cpu_ns(r->cluster.master), cores_busy_ns()};
    for (unsigned w = 0; w < r->cluster.workers; w++) {
        s.ours += proc_cpu_ns(r->cluster.worker[w]);
    }
    return s;
}

bool run_end(struct run *r, bool good)
{
    good = good && oxbow(r, "stop", "river", "--now");
    cluster_stop(&r->cluster);
    (void)unlink(r->series);
    if (!good) {
        printf("failed; see %s\n", r->dir);
    }
    return good;
}

/* ---- figures */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double late_ms(const struct arrival *a)
{
    return a->at_ns > a->due_ns ? (double)(a->at_ns - a->due_ns) / 1e6 : 0;
}

struct latency latency_of(const struct series *s, uint64_t one_of, uint64_t from_ns, uint64_t to_ns)
{
    struct latency l = {0};
    size_t stride = s->count / SAMPLES_MAX + 1, n = 0, all = 0;
    double *late = malloc((s->count / stride + 1) * sizeof *late);
    for (size_t i = 0; late != NULL && i < s->count; i++) {
        if (s->items[i].at_ns >= from_ns && s->items[i].at_ns < to_ns) {
            double ms = late_ms(&s->items[i]);
            l.max = ms > l.max ? ms : l.max;
            if (all++ % stride == 0) {
                late[n++] = ms;
            }
        }
    }
    if (n > 0) {
        qsort(late, n, sizeof *late, by_value);
        l.p50 = late[n / 2];
        l.p99 = late[n - 1 - n / 100];
    }
    l.per_second = (double)all * (double)one_of * 1e9 / (double)(to_ns - from_ns);
    free(late);
    return l;
}

double median(double *v, unsigned n)
{
    qsort(v, n, sizeof *v, by_value);
    return n == 0 ? -1 : n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
