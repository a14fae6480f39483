/* tests/sim/recovery/main.c - `make sim`: millions of lives with failures, or one in every detail.
 *
 * Options: tests/sim/driver.h. */
#include "tests/sim/driver.h"
#include "tests/sim/recovery/world_of.h"

#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { STATS = sizeof(struct rs_stats) / sizeof(uint64_t) };
static_assert((int)WRONGS <= (int)DRIVER_KINDS_MAX && (int)STATS <= (int)DRIVER_OWN_MAX,
              "they are counted by the driver");

static const struct driver driver;

static const char *kind(unsigned found)
{
    return wrong_name((enum wrong)found);
}

static unsigned show(uint64_t seed, const struct driver_options *o)
{
    struct draft *d = draft_new(seed / SCHEDULES_PER_PLAN, 0);
    char *text = draft_text(d);
    fputs(text, stdout);
    mem_free(text);
    struct rs *w = world_of(d);
    enum wrong v = NOTHING;
    if (w == NULL) {
        puts("--- nothing to simulate: no change, a refusal, or too large");
    } else {
        puts("--- schedule");
        v = rs_run(w, seed, o->off, stdout);
        printf("--- %" PRIu64 " steps: %s%s\n", w->steps, wrong_name(v),
               w->too_big ? ", too large" : "");
    }
    rs_free(w);
    draft_free(d);
    return v;
}

static void run_plan(uint64_t plan, const struct driver_options *o, struct driver_tally *t)
{
    struct draft *d = draft_new(plan, 0);
    struct rs *w = world_of(d);
    t->refused += w == NULL;
    for (uint64_t s = 0; w != NULL && s < SCHEDULES_PER_PLAN; s++) {
        uint64_t seed = plan * SCHEDULES_PER_PLAN + s;
        enum wrong v = rs_run(w, seed, o->off, NULL);
        driver_count(&driver, t, seed, w->steps, v);
    }
    for (size_t k = 0; w != NULL && k < STATS; k++) {
        t->own[k] += ((const uint64_t *)&w->stats)[k];
    }
    rs_free(w);
    draft_free(d);
}

static void print(const struct driver_tally *sum)
{
    struct rs_stats s;
    memcpy(&s, sum->own, sizeof s);
    printf("sim-recovery: %" PRIu64 " kills, %" PRIu64 " forgot, %" PRIu64 " cut off, %" PRIu64
           " masters died; %" PRIu64 " recoveries begun, %" PRIu64 " of a part, %" PRIu64
           " again, %" PRIu64 " in an upgrade\n",
           s.kills, s.forgot, s.zombies, s.crashes, s.recoveries, s.partial, s.again, s.in_upgrade);
    printf("sim-recovery: %" PRIu64 " checkpoints, %" PRIu64 " void; %" PRIu64
           " instances restored, %" PRIu64 " left, %" PRIu64 " items sent again; %" PRIu64
           " upgrades, %" PRIu64 " repairs, %" PRIu64 " aborts; %" PRIu64 " too large\n",
           s.checkpoints, s.voids, s.restored, s.kept, s.resent, s.upgrades, s.repairs, s.aborts,
           s.too_big);
}

static const struct driver driver = {
    .name = "sim-recovery", .kind = kind, .one = show, .plan = run_plan, .print = print};

int main(int argc, char **argv)
{
    return driver_main(&driver, argc, argv);
}
