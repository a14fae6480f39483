/* tests/sim/recovery/main.c - `make sim`: millions of lives with failures, or one in every detail.
 *
 *   sim-recovery                 schedules until the time is over, on every core
 *   sim-recovery --seed N        one schedule, with the topologies, the plan and every step
 *
 * A seed stands for one plan and one schedule of it and gives the same output always. */
#include "tests/sim/draft.h"
#include "tests/sim/recovery/rs.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64, AMPLIFICATION_MAX = 120 };

struct options {
    uint64_t seed, from, seconds, count;
    unsigned jobs;
    uint32_t off;
    bool one;
};

struct tally {
    uint64_t plans, refused, schedules, steps, found[WRONGS], first_seed[WRONGS];
    struct rs_stats stats;
};

static uint64_t take_number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        fprintf(stderr, "sim-recovery: \"%s\" is no number\n", text);
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
        } else if (strcmp(argv[i], "--off") == 0) {
            o.off = (uint32_t)n;
        } else {
            fprintf(stderr, "sim-recovery: unknown option %s; see tests/sim/README.md\n", argv[i]);
            exit(2);
        }
    }
    return o;
}

static struct rs *make_world(struct draft *d)
{
    const struct image *im = draft_image(d);
    return im != NULL && im->amplification <= AMPLIFICATION_MAX ? rs_new(im) : NULL;
}

static int run_one(const struct options *o)
{
    struct draft *d = draft_new(o->seed / SCHEDULES_PER_PLAN, 0);
    char *text = draft_text(d);
    fputs(text, stdout);
    mem_free(text);
    struct rs *w = make_world(d);
    enum wrong v = NOTHING;
    if (w == NULL) {
        puts("--- nothing to simulate: no change, a refusal, or too large");
    } else {
        puts("--- schedule");
        v = rs_run(w, o->seed, o->off, stdout);
        printf("--- %" PRIu64 " steps: %s%s\n", w->steps, wrong_name(v),
               w->too_big ? ", too large" : "");
    }
    rs_free(w);
    draft_free(d);
    return v == NOTHING ? 0 : 1;
}

static void run_plan(uint64_t plan, const struct options *o, struct tally *t)
{
    struct draft *d = draft_new(plan, 0);
    struct rs *w = make_world(d);
    t->plans++;
    t->refused += w == NULL;
    for (uint64_t s = 0; w != NULL && s < SCHEDULES_PER_PLAN; s++) {
        uint64_t seed = plan * SCHEDULES_PER_PLAN + s;
        enum wrong v = rs_run(w, seed, o->off, NULL);
        t->schedules++;
        t->steps += w->steps;
        t->found[v]++;
        if (v != NOTHING && t->first_seed[v] == 0) {
            t->first_seed[v] = seed;
            printf("sim-recovery: seed %" PRIu64 ": %s\n", seed, wrong_name(v));
            fflush(stdout);
        }
    }
    for (size_t k = 0; w != NULL && k < sizeof w->stats / sizeof(uint64_t); k++) {
        ((uint64_t *)&t->stats)[k] += ((const uint64_t *)&w->stats)[k];
    }
    rs_free(w);
    draft_free(d);
}

static void run_job(unsigned job, const struct options *o, struct tally *t)
{
    uint64_t until = clock_now_us() + o->seconds * 1000000;
    for (uint64_t plan = o->from + job; o->count == 0 || t->plans < o->count; plan += o->jobs) {
        run_plan(plan, o, t);
        if (o->count == 0 && clock_now_us() >= until) {
            break;
        }
    }
}

static void print_sum(const struct tally *sum, const struct options *o, double seconds)
{
    const struct rs_stats *s = &sum->stats;
    printf("sim-recovery: %" PRIu64 " schedules of %" PRIu64 " plans (%" PRIu64
           " refused or too large), %" PRIu64 " steps, %.0f schedules/s, from plan %" PRIu64 "\n",
           sum->schedules, sum->plans, sum->refused, sum->steps,
           (double)sum->schedules / seconds, o->from);
    printf("sim-recovery: %" PRIu64 " kills, %" PRIu64 " cut off, %" PRIu64
           " masters died; %" PRIu64 " recoveries begun, %" PRIu64 " of a part, %" PRIu64
           " again, %" PRIu64 " in an upgrade\n",
           s->kills, s->zombies, s->crashes, s->recoveries, s->partial, s->again, s->in_upgrade);
    printf("sim-recovery: %" PRIu64 " checkpoints, %" PRIu64 " void; %" PRIu64
           " instances restored, %" PRIu64 " left, %" PRIu64 " items sent again; %" PRIu64
           " upgrades, %" PRIu64 " aborts; %" PRIu64 " too large\n",
           s->checkpoints, s->voids, s->restored, s->kept, s->resent, s->upgrades, s->aborts,
           s->too_big);
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
    print_sum(&sum, o, (double)(clock_now_us() - start) / 1e6);
    uint64_t found = sum.schedules - sum.found[NOTHING];
    for (unsigned v = 1; v < WRONGS; v++) {
        if (sum.found[v] > 0) {
            printf("sim-recovery: %-20s %" PRIu64 "\n", wrong_name(v), sum.found[v]);
        }
    }
    printf("sim-recovery: %" PRIu64 " violations\n", found);
    return found > 0 || bad ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = take_options(argc, argv);
    log_setup("sim-recovery", LOG_WARN);
    return o.one ? run_one(&o) : run_all(&o);
}
