/* tests/sim/live_main.c - `make sim-live`: upgrades through the worker's own code, by seed.
 *
 *   sim-live                     until the time is over
 *   sim-live --seed N            one, with everything that happens
 * A seed is plan * SCHEDULES_PER_PLAN + schedule, as in main.c. */
#include "tests/sim/live.h"

#include "core/log.h"
#include "core/mem.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void on_alarm(int number)
{
    (void)number;
    over = 1;
}

static int show(uint64_t seed)
{
    struct draft *d = draft_new(seed / SCHEDULES_PER_PLAN, 0);
    char *text = draft_text(d);
    fputs(text, stdout);
    mem_free(text);
    setvbuf(stdout, NULL, _IONBF, 0);
    struct live_result r = live_run(d, seed, stdout);
    printf("--- %s: %s%s%s after %" PRIu64 " steps\n",
           r.refused ? "refused" : r.changed ? "changed" : "not changed", violation_name(r.found),
           r.why != NULL ? ", " : "", r.why != NULL ? r.why : "", r.steps);
    draft_free(d);
    return r.found == FINE ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, seconds = 60, from = 1, schedules = 0, changed = 0, found = 0, refused = 0;
    log_setup("sim-live", LOG_ERROR);
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 0);
        seed = strcmp(argv[i], "--seed") == 0 ? n : seed;
        seconds = strcmp(argv[i], "--seconds") == 0 ? n : seconds;
        from = strcmp(argv[i], "--from") == 0 ? n : from;
    }
    if (seed != 0) {
        return show(seed);
    }
    signal(SIGALRM, on_alarm); /* the clock is the simulation's */
    alarm((unsigned)seconds);
    for (uint64_t plan = from; over == 0; plan++) {
        struct draft *d = draft_new(plan, 0);
        for (uint64_t k = 0; k < SCHEDULES_PER_PLAN; k++) {
            uint64_t s = plan * SCHEDULES_PER_PLAN + k;
            struct live_result r = live_run(d, s, NULL);
            if (r.refused) {
                refused++;
                break;
            }
            schedules++;
            changed += r.changed;
            if (r.found != FINE) {
                printf("sim-live: seed %" PRIu64 ": %s, %s\n", s, violation_name(r.found),
                       r.why != NULL ? r.why : "seen by the oracle");
                fflush(stdout);
                found++;
                break; /* what is left of it is not cleaned up */
            }
        }
        draft_free(d);
    }
    printf("sim-live: %" PRIu64 " schedules, %" PRIu64 " changed, %" PRIu64
           " plans refused, %" PRIu64 " violations\n", schedules, changed, refused, found);
    return found > 0 ? 1 : 0;
}
