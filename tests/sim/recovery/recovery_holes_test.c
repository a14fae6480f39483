/* tests/sim/recovery/recovery_holes_test.c - the known ways to get a recovery wrong, each by name.
 *
 * Goal:   each scenario is clean under all rules, and goes wrong without the one it is about: so
 *         the scenario is real, and the rule is what keeps it from happening.
 * Method: a fixed topology and upgrade, thousands of schedules.  The numbers are those of the table
 *         of holes the protocol was made from; scenarios without one were found by `make sim`: a
 *         seed alone would mean something else after a change of the generator. */
#include "tests/sim/recovery/world_of.h"

#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct hole {
    const char *name;
    const char *pes_a, *streams_a, *pes_b, *streams_b;
    uint32_t workers;
    uint64_t finals; /* bit n: uid un emits at its end */
    uint32_t off;
    uint32_t schedules;
    unsigned kinds; /* bits of enum wrong: what has to be found */
    bool drain;
};

#define KIND(v) (1u << (v))
#define PE(name, use, n) "  " name ": {use: " use ", parallelism: " n "}\n"
#define PE_V(name, use, n) "  " name ": {use: " use ", parallelism: " n ", with: {v: 1}}\n"
#define PE_U(name, use, n, uid) "  " name ": {use: " use ", uid: " uid ", parallelism: " n "}\n"
#define TO(a, b) "  - {from: " a ", to: " b "}\n"
#define BY(a, b) "  - {from: " a ", to: " b ", by: key}\n"
#define ALL(a, b) "  - {from: " a ", to: " b ", to_all: true}\n"

/* a forks to two sinks below a merge; m is changed in place */
#define FORK                                                                                       \
    PE("a", "src", "1")                                                                            \
    PE("b", "src", "1") PE("m", "map", "1") PE("s", "sink", "1") PE("t", "sink", "1")
#define FORK_V                                                                                     \
    PE("a", "src", "1")                                                                            \
    PE("b", "src", "1") PE_V("m", "map", "1") PE("s", "sink", "1") PE("t", "sink", "1")
#define FORK_TO TO("a", "m") TO("b", "m") TO("m", "s") TO("m", "t")
#define CHAIN PE("r", "src", "1") PE("h", "map", "1") PE("p", "keyed", "2") PE("s", "sink", "1")
#define CHAIN_V                                                                                    \
    PE("r", "src", "1") PE_V("h", "map", "1") PE_V("p", "keyed", "2") PE("s", "sink", "1")
#define CHAIN_TO TO("r", "h") BY("h", "p") TO("p", "s")

static const struct hole holes[] = {
    {"H4: a checkpoint and a switch wait for each other", FORK, FORK_TO, FORK_V, FORK_TO, 3, 0,
     NO_VOID, 2000, KIND(WRONG_STUCK) | KIND(WRONG_CONFLICT), false},
    {"H5: a lost merge emits in another order than who has its output remembers", FORK, FORK_TO,
     FORK_V, FORK_TO, 3, 0, NO_DESCENDANTS, 2000, KIND(WRONG_CHANNEL), false},
    {"H6: a PE dies behind a cut that no checkpoint covers", CHAIN, CHAIN_TO, CHAIN_V, CHAIN_TO, 3,
     0, NO_COVERING, 30000, KIND(WRONG_MIXED), false},
    {"H13: a late GO of an upgrade that a recovery has ended", CHAIN, CHAIN_TO, CHAIN_V, CHAIN_TO,
     3, 0, NO_GO_FENCE, 2000, KIND(WRONG_BOTH), false},
    {"H14: a process that starts again is taken for the one that died", CHAIN, CHAIN_TO, CHAIN_V,
     CHAIN_TO, 3, 0, NO_INCARNATION | NO_LACK, 2000, KIND(WRONG_STUCK), false},
    {"H14: channels go on under their old ids", CHAIN, CHAIN_TO, CHAIN_V, CHAIN_TO, 3, 0,
     NO_FRESH_IDS, 2000, KIND(WRONG_SEQUENCE) | KIND(WRONG_CHANNEL), false},
    {"H24: snapshots lie on the machine that died", CHAIN, CHAIN_TO, CHAIN_V, CHAIN_TO, 3, 0,
     NO_PLACE, 2000, KIND(WRONG_ABSENT), false},
    {"H25: a worker that only the master cannot reach comes back and commits", FORK, FORK_TO,
     FORK_V, FORK_TO, 3, 0, NO_GEN, 4000,
     KIND(WRONG_COMMIT) | KIND(WRONG_LOST) | KIND(WRONG_SEQUENCE) | KIND(WRONG_CHANNEL), false},
    {"a master dies while it injects: some wait for a marker that others never had",
     PE("a", "src", "1") PE("b", "src", "1") PE("k", "map", "1") PE("s", "sink", "1"),
     TO("a", "k") TO("b", "k") TO("k", "s") TO("a", "s"),
     PE("a", "src", "1") PE("b", "src", "1") PE_V("k", "map", "1") PE("s", "sink", "1"),
     TO("a", "k") TO("b", "k") TO("k", "s") TO("a", "s"), 3, 0, NO_RELEASE, 30000,
     KIND(WRONG_STUCK), false},
    {"R21: void markers come again with the log",
     PE("a", "src", "1") PE("b", "src", "1") PE("k", "map", "1") PE("s", "sink", "1"),
     TO("a", "k") TO("b", "k") TO("k", "s") TO("a", "s"),
     PE("a", "src", "1") PE("b", "src", "1") PE_V("k", "map", "1") PE("s", "sink", "1"),
     TO("a", "k") TO("b", "k") TO("k", "s") TO("a", "s"), 3, 0, NO_FLOOR | NO_RELEASE, 30000,
     KIND(WRONG_STUCK) | KIND(WRONG_CONFLICT), false},
    {"a sink that is removed commits what a recovery takes back", FORK, FORK_TO,
     PE("a", "src", "1") PE("b", "src", "1") PE("m", "map", "1") PE("s", "sink", "1"),
     TO("a", "m") TO("b", "m") TO("m", "s"), 3, 0, NO_LATE_COMMIT, 2000, KIND(WRONG_COMMIT), false},
    {"a target ended before the checkpoint", FORK, FORK_TO, FORK_V, FORK_TO, 3, 0, NO_END_AGAIN,
     4000, KIND(WRONG_STUCK), false},
    {"H11: who had ended gets an input from who has ended since the checkpoint",
     PE("a", "src", "1") PE("b", "src", "1") PE_U("m", "keyed", "1", "u3") PE("s", "sink", "1"),
     TO("a", "m") TO("m", "s") TO("b", "s"),
     PE("a", "src", "1") PE("b", "src", "1") PE_U("m", "keyed", "1", "u3") PE("s", "sink", "1"),
     TO("a", "m") TO("b", "m") TO("m", "s") TO("b", "s"), 3, 1u << 3, NO_PROBE, 60000,
     KIND(WRONG_AFTER_END), false},
    {"H11: who had ended in the checkpoint gets an input before it ends again",
     PE("a", "src", "1") PE("b", "src", "1") PE_U("m", "keyed", "1", "u3") PE("s", "sink", "1"),
     TO("a", "m") TO("m", "s") TO("b", "s"),
     PE("a", "src", "1") PE("b", "src", "1") PE_U("m", "keyed", "1", "u3") PE("s", "sink", "1"),
     TO("a", "m") TO("b", "m") TO("m", "s") TO("b", "s"), 3, 1u << 3, NO_HAD, 30000,
     KIND(WRONG_AFTER_END), false},
};

static enum wrong run_hole(const struct hole *h, uint32_t off, unsigned kinds, uint64_t *seed)
{
    char a[1024], b[1024];
    snprintf(a, sizeof a, "fusion: off\npes:\n%sstreams:\n%s", h->pes_a, h->streams_a);
    snprintf(b, sizeof b, "fusion: off\npes:\n%sstreams:\n%s", h->pes_b, h->streams_b);
    struct draft *d = draft_of(a, b, h->workers, h->workers, h->drain, h->finals, 0);
    struct rs *w = world_of(d);
    assert_non_null(w);
    enum wrong found = NOTHING;
    uint32_t most = off == 0 && h->schedules > 3000 ? 3000 : h->schedules;
    for (*seed = 1; *seed <= most && found == NOTHING; ++*seed) {
        enum wrong v = rs_run(w, *seed, off, NULL);
        found = (kinds >> v & 1) != 0 ? v : NOTHING;
    }
    rs_free(w);
    draft_free(d);
    return found;
}

static void every_hole_is_closed_and_real(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        const struct hole *h = &holes[i];
        uint64_t seed = 0, first = 0;
        enum wrong v = run_hole(h, h->off, h->kinds, &first);
        print_message("# %s: %s in schedule %lu\n", h->name, wrong_name(v),
                      (unsigned long)first - 1);
        if (v == NOTHING) {
            fail_msg("%s: nothing is found without the rule", h->name);
        }
        v = run_hole(h, 0, ~KIND(NOTHING), &seed);
        if (v != NOTHING) {
            fail_msg("%s: %s with all rules on, schedule %lu", h->name, wrong_name(v),
                     (unsigned long)seed - 1);
        }
    }
}

/* The same seed gives the same schedule, whatever was played before it. */
static void a_seed_is_one_schedule(void **state)
{
    (void)state;
    for (uint64_t plan = 1; plan <= 20; plan++) {
        uint64_t steps[2] = {0}, moved[2] = {0};
        for (unsigned round = 0; round < 2; round++) {
            struct draft *d = draft_new(plan, 0);
            struct rs *w = world_of(d);
            for (uint64_t k = 0; w != NULL && k < 1 + 3 * round; k++) {
                rs_run(w, plan * SCHEDULES_PER_PLAN + (round == 0 ? 3 : k), 0, NULL);
                steps[round] = w->steps;
                moved[round] = w->moved;
            }
            rs_free(w);
            draft_free(d);
        }
        assert_int_equal(steps[0], steps[1]);
        assert_int_equal(moved[0], moved[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_hole_is_closed_and_real),
        cmocka_unit_test(a_seed_is_one_schedule),
    };
    log_setup("recovery_holes_test", LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
