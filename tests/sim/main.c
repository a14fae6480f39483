/* tests/sim/main.c - `make sim`: millions of upgrades, or one of them in every detail.
 *
 * Options: driver.h. */
#include "tests/sim/draft.h"
#include "tests/sim/driver.h"

#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static_assert((int)V_COUNT <= (int)DRIVER_KINDS_MAX && (int)OUTCOMES <= (int)DRIVER_OWN_MAX,
              "they are counted by the driver");

static const struct driver driver;

static const char *kind(unsigned found)
{
    return violation_name((enum violation)found);
}

static unsigned show(uint64_t seed, const struct driver_options *o)
{
    struct draft *d = draft_new(seed / SCHEDULES_PER_PLAN, o->off);
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
        v = world_run(w, seed, o->off, stdout);
        static const char *const outcomes[] = {"changed", "aborted", "recovering"};
        printf("--- %s after %" PRIu64 " steps: %s\n", outcomes[w->outcome], w->steps,
               violation_name(v));
    }
    draft_free(d);
    return v;
}

static void run_plan(uint64_t plan, const struct driver_options *o, struct driver_tally *t)
{
    struct draft *d = draft_new(plan, o->off);
    struct world *w = draft_world(d);
    t->refused += w == NULL;
    for (uint64_t s = 0; w != NULL && s < SCHEDULES_PER_PLAN; s++) {
        uint64_t seed = plan * SCHEDULES_PER_PLAN + s;
        w->storm = o->storm;
        enum violation v = world_run(w, seed, o->off, NULL);
        t->own[w->outcome]++;
        driver_count(&driver, t, seed, w->steps, v);
    }
    draft_free(d);
}

static void print(const struct driver_tally *sum)
{
    printf("sim: %" PRIu64 " changed, %" PRIu64 " aborted, %" PRIu64 " left to recovery\n",
           sum->own[CHANGED], sum->own[ABORTED], sum->own[RECOVERING]);
}

static const struct driver driver = {
    .name = "sim", .kind = kind, .one = show, .plan = run_plan, .print = print};

int main(int argc, char **argv)
{
    return driver_main(&driver, argc, argv);
}
