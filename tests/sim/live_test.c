/* tests/sim/live_test.c - upgrades through the worker's own code, ordered by seeds.
 *
 * Goal:   parts, chains, cuts and changes keep what the protocol promises in whatever order their
 *         tasks, links and posted functions run; nothing is left in memory afterwards.
 * Method: random plans as `make sim-live` draws them, and fixed ones for what it has found. */
#include "tests/sim/live.h"

#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void random_upgrades_lose_double_and_mix_nothing(void **state)
{
    (void)state;
    uint64_t changed = 0, aborted = 0;
    for (uint64_t plan = 1; plan <= 60; plan++) {
        struct draft *d = draft_new(plan, 0);
        for (uint64_t k = 0; k < SCHEDULES_PER_PLAN; k++) {
            uint64_t seed = plan * SCHEDULES_PER_PLAN + k;
            struct live_result r = live_run(d, seed, NULL);
            if (r.found != FINE) {
                fail_msg("seed %lu: %s, %s", (unsigned long)seed, violation_name(r.found),
                         r.why != NULL ? r.why : "seen by the oracle");
            }
            if (r.refused) {
                break;
            }
            changed += r.changed;
            aborted += r.aborted;
        }
        draft_free(d);
    }
    print_message("# %lu changed, %lu aborted or too late\n", (unsigned long)changed,
                  (unsigned long)aborted);
    assert_true(changed > 100);
    assert_true(aborted > 10);
}

struct finding {
    const char *what, *a, *b;
    uint32_t workers;
    uint64_t finals;
};

#define PES "pes:\n  a: {use: src}\n  m: {use: map}\n  s: {use: sink}\n"
#define TWO "pes:\n  a: {use: src, parallelism: 2}\n"

static const struct finding findings[] = {
    {"the first stream of an output that had none", /* the PE went on to drop what it emitted */
     PES "streams:\n  - {from: a, to: m}\n  - {from: a, to: s}\n",
     PES "streams:\n  - {from: a, to: m}\n  - {from: m, to: s}\n", 1, 0},
    {"who has ended is fused to somebody who runs elsewhere", /* called before it had come */
     "fusion: off\n" PES "streams:\n  - {from: a, to: m}\n  - {from: m, to: s}\n",
     PES "streams:\n  - {from: a, to: m}\n  - {from: m, to: s}\n", 1, 0},
    {"the inputs end while a new one is prepared", /* final results came before the last tuples */
     TWO "  k: {use: keyed, uid: u3}\n  s: {use: sink}\n"
         "streams:\n  - {from: a, to: k}\n  - {from: k, to: s}\n",
     TWO "  b: {use: src}\n  k: {use: keyed, uid: u3}\n  s: {use: sink}\n"
         "streams:\n  - {from: a, to: k}\n  - {from: b, to: k}\n  - {from: k, to: s}\n",
     2, 1u << 3},
    {"its only input ends while others are prepared", /* it ended though the others had not */
     "pes:\n  a: {use: src, parallelism: 2}\n  m: {use: map, parallelism: 2}\n  s: {use: sink}\n"
     "streams:\n  - {from: a, to: m}\n  - {from: m, to: s}\n",
     "pes:\n  a: {use: src, parallelism: 2}\n  m: {use: map, parallelism: 2}\n  s: {use: sink}\n"
     "streams:\n  - {from: a, to: m, to_all: true}\n  - {from: m, to: s}\n", 1, 0},
    {"who is called by one that is fused to another goes with it", /* it stayed behind */
     PES "  n: {use: map}\n  x: {use: sink}\n"
         "streams:\n  - {from: a, to: m}\n  - {from: a, to: x}\n  - {from: m, to: n}\n"
         "  - {from: n, to: s}\n",
     PES "  n: {use: map}\n"
         "streams:\n  - {from: a, to: m}\n  - {from: m, to: n}\n  - {from: n, to: s}\n", 1, 0},
    {"a change deep in a chain whose head is far above it", /* it went to a chain of its own */
     PES "  n: {use: map}\n"
         "streams:\n  - {from: a, to: m}\n  - {from: m, to: n}\n  - {from: n, to: s}\n",
     "pes:\n  a: {use: src}\n  m: {use: map}\n  n: {use: map}\n"
     "  s: {use: sink, with: {v: 1}}\n"
     "streams:\n  - {from: a, to: m}\n  - {from: m, to: n}\n  - {from: n, to: s}\n", 1, 0},
    {"chains are split and joined on three workers",
     TWO "  m: {use: map, parallelism: 2}\n  n: {use: map, parallelism: 2}\n  s: {use: sink}\n"
         "streams:\n  - {from: a, to: m}\n  - {from: m, to: n}\n  - {from: n, to: s}\n",
     TWO "  m: {use: map, parallelism: 2}\n  n: {use: map, parallelism: 2}\n  s: {use: sink}\n"
         "  x: {use: map, parallelism: 2}\n"
         "streams:\n  - {from: a, to: x}\n  - {from: x, to: m}\n  - {from: m, to: n, by: key}\n"
         "  - {from: n, to: s}\n", 3, 0},
};

static void what_was_found_stays_mended(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof findings / sizeof findings[0]; i++) {
        const struct finding *f = &findings[i];
        struct draft *d = draft_of(f->a, f->b, f->workers, f->workers, false, f->finals, 0);
        uint64_t changed = 0;
        for (uint64_t seed = 1; seed <= 300; seed++) {
            struct live_result r = live_run(d, seed, NULL);
            assert_false(r.refused);
            changed += r.changed;
            if (r.found != FINE) {
                fail_msg("%s: seed %lu: %s, %s", f->what, (unsigned long)seed,
                         violation_name(r.found), r.why != NULL ? r.why : "seen by the oracle");
            }
        }
        print_message("# %s: %lu changed\n", f->what, (unsigned long)changed);
        assert_true(changed > 10);
        draft_free(d);
    }
}

static void a_seed_is_one_run(void **state)
{
    (void)state;
    uint64_t steps[2];
    for (unsigned round = 0; round < 2; round++) {
        struct draft *d = draft_new(3, 0);
        struct live_result r = live_run(d, 99, NULL);
        steps[round] = r.steps * 1000 + r.tuples;
        draft_free(d);
    }
    assert_int_equal(steps[0], steps[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_upgrades_lose_double_and_mix_nothing),
        cmocka_unit_test(what_was_found_stays_mended),
        cmocka_unit_test(a_seed_is_one_run),
    };
    log_setup("live_test", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
