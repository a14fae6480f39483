/* tests/sim/main.c - `make sim`: millions of upgrades, or one of them in every detail.
 *
 *   sim                 schedules until the time is over, on every core
 *   sim --seed N        one schedule, with the topologies, the plan and every step
 *
 * A seed stands for one plan and one schedule of it (draft.h) and gives the same output always. */
#include "tests/sim/draft.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64 };

struct options {
    uint64_t seed, from, seconds, count;
    unsigned jobs, off;
    bool one, storm;
};

struct tally {
    uint64_t plans, refused, schedules, steps, outcomes[OUTCOMES], found[V_COUNT];
    uint64_t first_seed[V_COUNT];
    uint64_t next_plan;
};

static uint64_t take_number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        fprintf(stderr, "sim: \"%s\" is no number\n", text);
        exit(2);
    }
    return n;
}

static struct options take_options(int argc, char **argv)
{
    struct options o = {.from = 1, .seconds = 60, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = take_number(argv[i + 1]);
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
            fprintf(stderr, "sim: unknown option %s; see tests/sim/README.md\n", argv[i]);
            exit(2);
        }
    }
    return o;
}

static int run_one(const struct options *o)
{
    struct draft *d = draft_new(o->seed / SCHEDULES_PER_PLAN, o->off);
    char *text = draft_text(d);
    fputs(text, stdout);
    mem_free(text);
    struct world *w = draft_world(d);
    enum violation v = FINE;
    if (w == NULL) {
        puts("--- nothing to simulate: no change, a refusal, or too large");
    } else {
        puts("--- schedule");
        w->storm = o->storm;
        v = world_run(w, o->seed, o->off, stdout);
        static const char *const outcomes[] = {"changed", "aborted", "recovering"};
        printf("--- %s after %" PRIu64 " steps: %s\n", outcomes[w->outcome], w->steps,
               violation_name(v));
    }
    draft_free(d);
    return v == FINE ? 0 : 1;
}

static void run_plan(uint64_t plan, const struct options *o, struct tally *t)
{
    struct draft *d = draft_new(plan, o->off);
    struct world *w = draft_world(d);
    t->plans++;
    t->refused += w == NULL;
    for (uint64_t s = 0; w != NULL && s < SCHEDULES_PER_PLAN; s++) {
        uint64_t seed = plan * SCHEDULES_PER_PLAN + s;
        w->storm = o->storm;
        enum violation v = world_run(w, seed, o->off, NULL);
        t->schedules++;
        t->steps += w->steps;
        t->outcomes[w->outcome]++;
        t->found[v]++;
        if (v != FINE && t->first_seed[v] == 0) {
            t->first_seed[v] = seed;
            printf("sim: seed %" PRIu64 ": %s\n", seed, violation_name(v));
            fflush(stdout);
        }
    }
    draft_free(d);
}

static void run_job(unsigned job, const struct options *o, struct tally *t)
{
    uint64_t until = clock_now_us() + o->seconds * 1000000;
    for (uint64_t plan = o->from + job; o->count == 0 || t->plans < o->count; plan += o->jobs) {
        t->next_plan = plan + o->jobs;
        run_plan(plan, o, t);
        if (o->count == 0 && clock_now_us() >= until) {
            break;
        }
    }
}

static int run_all(const struct options *o)
{
    struct tally *all = mmap(NULL, sizeof *all * JOBS_MAX, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t start = clock_now_us();
    int bad = all == MAP_FAILED;
    for (unsigned job = 0; job < o->jobs && !bad; job++) {
        pid_t pid = fork();
        if (pid == 0) {
            run_job(job, o, &all[job]);
            fflush(stdout);
            _exit(0);
        }
        bad = pid < 0;
    }
    for (int status; wait(&status) > 0;) {
        bad |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    struct tally sum = {0};
    for (unsigned job = 0; job < o->jobs; job++) {
        for (size_t k = 0; k < sizeof sum / sizeof(uint64_t); k++) {
            ((uint64_t *)&sum)[k] += ((const uint64_t *)&all[job])[k];
        }
    }
    double seconds = (double)(clock_now_us() - start) / 1e6;
    uint64_t found = sum.schedules - sum.found[FINE];
    printf("sim: %" PRIu64 " schedules of %" PRIu64 " plans (%" PRIu64 " refused or too large), %"
           PRIu64 " steps, %.0f schedules/s, from plan %" PRIu64 "\n",
           sum.schedules, sum.plans, sum.refused, sum.steps, (double)sum.schedules / seconds,
           o->from);
    printf("sim: %" PRIu64 " changed, %" PRIu64 " aborted, %" PRIu64 " left to recovery\n",
           sum.outcomes[CHANGED], sum.outcomes[ABORTED], sum.outcomes[RECOVERING]);
    for (unsigned v = 1; v < V_COUNT; v++) {
        if (sum.found[v] > 0) {
            printf("sim: %-16s %" PRIu64 "\n", violation_name(v), sum.found[v]);
        }
    }
    printf("sim: %" PRIu64 " violations\n", found);
    return found > 0 || bad ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = take_options(argc, argv);
    log_setup("sim", LOG_WARN);
    return o.one ? run_one(&o) : run_all(&o);
}
