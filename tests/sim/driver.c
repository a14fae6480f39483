/* tests/sim/driver.c - options, jobs, time and counts of a simulator. */
#include "tests/sim/driver.h"

#include "core/clock.h"
#include "core/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64 };

static uint64_t take_number(const struct driver *d, const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        fprintf(stderr, "%s: \"%s\" is no number\n", d->name, text);
        exit(2);
    }
    return n;
}

static struct driver_options take_options(const struct driver *d, int argc, char **argv)
{
    struct driver_options o = {
        .from = 1, .seconds = 60, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = take_number(d, argv[i + 1]);
        if (strcmp(argv[i], "--seed") == 0) {
            o.seed = n;
            o.one = true;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o.seconds = n;
        } else if (strcmp(argv[i], "--jobs") == 0) {
            o.jobs = n < 1 ? 1 : n > JOBS_MAX ? JOBS_MAX : (unsigned)n;
        } else if (strcmp(argv[i], "--from") == 0) {
            o.from = n;
        } else if (strcmp(argv[i], "--count") == 0) {
            o.count = n;
        } else if (strcmp(argv[i], "--storm") == 0) {
            o.storm = n != 0;
        } else if (strcmp(argv[i], "--off") == 0) {
            o.off = (unsigned)n;
        } else {
            fprintf(stderr, "%s: unknown option %s; see tests/sim/README.md\n", d->name, argv[i]);
            exit(2);
        }
    }
    return o;
}

void driver_count(const struct driver *d, struct driver_tally *t, uint64_t seed, uint64_t steps,
                  unsigned found)
{
    t->schedules++;
    t->steps += steps;
    if (found != 0 && t->found[found] == 0) {
        printf("%s: seed %" PRIu64 ": %s\n", d->name, seed, d->kind(found));
        fflush(stdout);
    }
    t->found[found]++;
}

static void run_job(const struct driver *d, unsigned job, const struct driver_options *o,
                    struct driver_tally *t)
{
    uint64_t until = clock_now_us() + o->seconds * 1000000;
    for (uint64_t plan = o->from + job; o->count == 0 || t->plans < o->count; plan += o->jobs) {
        t->plans++;
        d->plan(plan, o, t);
        if (o->count == 0 && clock_now_us() >= until) {
            break;
        }
    }
}

/* Return: false when a job could not be started or did not end well. */
static bool run_jobs(const struct driver *d, const struct driver_options *o,
                     struct driver_tally *all)
{
    bool good = true;
    for (unsigned job = 0; job < o->jobs && good; job++) {
        pid_t pid = fork();
        if (pid == 0) {
            run_job(d, job, o, &all[job]);
            fflush(stdout);
            _exit(0);
        }
        good = pid > 0;
    }
    for (int status; wait(&status) > 0;) {
        good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return good;
}

static int run_all(const struct driver *d, const struct driver_options *o)
{
    struct driver_tally *all = mmap(NULL, sizeof *all * JOBS_MAX, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        perror(d->name);
        return 1;
    }
    uint64_t start = clock_now_us();
    bool good = run_jobs(d, o, all);
    struct driver_tally sum = {0};
    for (unsigned job = 0; job < o->jobs; job++) {
        for (size_t k = 0; k < sizeof sum / sizeof(uint64_t); k++) {
            ((uint64_t *)&sum)[k] += ((const uint64_t *)&all[job])[k];
        }
    }
    double seconds = (double)(clock_now_us() - start) / 1e6;
    printf("%s: %" PRIu64 " schedules of %" PRIu64 " plans (%" PRIu64
           " refused or too large), %" PRIu64 " steps, %.0f schedules/s, from plan %" PRIu64 "\n",
           d->name, sum.schedules, sum.plans, sum.refused, sum.steps,
           (double)sum.schedules / seconds, o->from);
    d->print(&sum);
    for (unsigned v = 1; v < DRIVER_KINDS_MAX; v++) {
        if (sum.found[v] > 0) {
            printf("%s: %-20s %" PRIu64 "\n", d->name, d->kind(v), sum.found[v]);
        }
    }
    uint64_t violations = sum.schedules - sum.found[0];
    printf("%s: %" PRIu64 " violations\n", d->name, violations);
    return violations > 0 || !good ? 1 : 0;
}

int driver_main(const struct driver *d, int argc, char **argv)
{
    struct driver_options o = take_options(d, argc, argv);
    log_setup(d->name, LOG_WARN);
    return o.one ? d->one(o.seed, &o) != 0 : run_all(d, &o);
}
