/* tests/unit/master/change_test.c - the change coordinator.
 *
 * Goal:   GO only after the decision, ABORT only before it, and no answer of another change,
 *         worker, term or process ever counts.
 * Method: every (state, trigger) pair against a table written here by hand; then whole walks with
 *         the actions they ask for; then stale answers one by one; then random event sequences in
 *         which C1, C2 and C4 are watched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/prng.h"
#include "master/change.h"

#include <string.h>

static const struct change_token token = {.term = 7, .gen = 2, .op = 40, .epoch = 41};
static const struct change_part two[] = {{.worker_id = 1, .incarnation = 11},
                                         {.worker_id = 2, .incarnation = 22}};

static bool feed(struct change *c, struct change_actions *out, enum change_input kind,
                 uint64_t worker)
{
    struct change_event in = {.kind = kind,
                              .worker_id = worker,
                              .incarnation = worker * 11,
                              .term = c->token.term,
                              .op = c->token.op};
    out->count = 0;
    return change_step(c, &in, out);
}

static size_t asked(const struct change_actions *out, enum change_do what)
{
    size_t n = 0;
    for (size_t i = 0; i < out->count; i++) {
        n += out->items[i].what == what;
    }
    return n;
}

/* One letter per trigger, in the order of enum change_trigger: the state it leads to
 * (P preparing, R ready, G going, X done, A aborted, V recovering, D decided), '.' ignored,
 * '!' illegal. */
static const char *const expected[CHANGE_STATES] = {
    /*  start ready all not deadline decided undecidable done alldone lost back cancel */
    [CHANGE_PLANNED] = "P....!!..A.A",
    [CHANGE_PREPARING] = "!PRAA!!..APA",
    [CHANGE_READY] = "!..A.GA..APA",
    [CHANGE_DECIDED] = "G....!!DXV..",
    [CHANGE_GOING] = "!...G!!GXVG.",
    [CHANGE_DONE] = "!....!!.....",
    [CHANGE_ABORTED] = "!....!!...A.",
    [CHANGE_RECOVERING] = "!....!!.....",
};

static void every_pair_of_state_and_trigger_is_as_documented(void **state)
{
    (void)state;
    static const char letters[CHANGE_STATES + 1] = "-PRDGXAV";
    for (unsigned from = 0; from < CHANGE_STATES; from++) {
        assert_int_equal(strlen(expected[from]), CHANGE_TRIGGERS);
        for (unsigned on = 0; on < CHANGE_TRIGGERS; on++) {
            enum change_state to;
            enum change_verdict v = change_table(from, on, &to);
            char found = v == VERDICT_ILLEGAL ? '!' : v == VERDICT_IGNORED ? '.' : letters[to];
            if (found != expected[from][on]) {
                fail_msg("state %s, trigger %u: %c, documented is %c", change_state_name(from), on,
                         found, expected[from][on]);
            }
        }
    }
}

static void no_way_leads_back_from_a_decision(void **state)
{
    (void)state;
    for (unsigned from = CHANGE_DECIDED; from < CHANGE_STATES; from++) {
        for (unsigned on = 0; from != CHANGE_ABORTED && on < CHANGE_TRIGGERS; on++) {
            enum change_state to;
            if (change_table(from, on, &to) == VERDICT_TAKEN) {
                assert_true(to != CHANGE_ABORTED && to != CHANGE_PREPARING && to != CHANGE_READY);
            }
        }
    }
}

static void all_ready_then_decided_then_go_then_done(void **state)
{
    (void)state;
    struct change c;
    struct change_actions out = {0};
    change_init(&c, token, two, 2, CHANGE_PLANNED);
    assert_true(feed(&c, &out, CHANGE_IN_START, 0));
    assert_int_equal(asked(&out, CHANGE_DO_PREPARE), 2);
    assert_int_equal(asked(&out, CHANGE_DO_TIMER), 1);
    assert_true(feed(&c, &out, CHANGE_IN_READY, 2));
    assert_int_equal(out.count, 0);
    assert_true(feed(&c, &out, CHANGE_IN_READY, 1));
    assert_int_equal(asked(&out, CHANGE_DO_DECIDE), 1);
    assert_int_equal(asked(&out, CHANGE_DO_GO), 0);
    assert_true(feed(&c, &out, CHANGE_IN_DECIDED, 0));
    assert_int_equal(asked(&out, CHANGE_DO_GO), 2);
    assert_true(feed(&c, &out, CHANGE_IN_DONE, 1));
    assert_int_equal(out.count, 0);
    assert_true(feed(&c, &out, CHANGE_IN_DONE, 2));
    assert_int_equal(asked(&out, CHANGE_DO_DONE), 1);
    assert_int_equal(c.state, CHANGE_DONE);
    change_actions_fini(&out);
    change_fini(&c);
}

static void one_that_is_not_ready_aborts_everywhere(void **state)
{
    (void)state;
    static const enum change_input causes[] = {CHANGE_IN_NOT_READY, CHANGE_IN_DEADLINE,
                                               CHANGE_IN_LOST, CHANGE_IN_CANCEL};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        struct change c;
        struct change_actions out = {0};
        change_init(&c, token, two, 2, CHANGE_PLANNED);
        feed(&c, &out, CHANGE_IN_START, 0);
        feed(&c, &out, CHANGE_IN_READY, 1);
        assert_true(feed(&c, &out, causes[i], 2));
        assert_int_equal(c.state, CHANGE_ABORTED);
        assert_int_equal(asked(&out, CHANGE_DO_ABORT), 2);
        assert_int_equal(asked(&out, CHANGE_DO_ABORTED), 1);
        assert_false(feed(&c, &out, CHANGE_IN_READY, 2)); /* late: ignored */
        assert_int_equal(out.count, 0);
        change_actions_fini(&out);
        change_fini(&c);
    }
}

static void a_decision_that_cannot_be_written_aborts(void **state)
{
    (void)state;
    struct change c;
    struct change_actions out = {0};
    change_init(&c, token, two, 2, CHANGE_PLANNED);
    feed(&c, &out, CHANGE_IN_START, 0);
    feed(&c, &out, CHANGE_IN_READY, 1);
    feed(&c, &out, CHANGE_IN_READY, 2);
    assert_true(feed(&c, &out, CHANGE_IN_UNDECIDABLE, 0));
    assert_int_equal(c.state, CHANGE_ABORTED);
    assert_int_equal(asked(&out, CHANGE_DO_ABORT), 2);
    assert_int_equal(asked(&out, CHANGE_DO_GO), 0);
    change_actions_fini(&out);
    change_fini(&c);
}

static void after_the_decision_a_lost_worker_means_recovery_never_abort(void **state)
{
    (void)state;
    struct change c;
    struct change_actions out = {0};
    change_init(&c, token, two, 2, CHANGE_DECIDED);
    assert_true(feed(&c, &out, CHANGE_IN_START, 0));
    assert_int_equal(asked(&out, CHANGE_DO_GO), 2);
    assert_false(feed(&c, &out, CHANGE_IN_CANCEL, 0));
    assert_true(feed(&c, &out, CHANGE_IN_LOST, 2));
    assert_int_equal(c.state, CHANGE_RECOVERING);
    assert_int_equal(asked(&out, CHANGE_DO_RECOVER), 1);
    assert_int_equal(asked(&out, CHANGE_DO_ABORT), 0);
    change_actions_fini(&out);
    change_fini(&c);
}

static void a_worker_that_comes_back_is_told_again_what_it_may_have_missed(void **state)
{
    (void)state;
    struct change c;
    struct change_actions out = {0};
    change_init(&c, token, two, 2, CHANGE_PLANNED);
    feed(&c, &out, CHANGE_IN_START, 0);
    assert_true(feed(&c, &out, CHANGE_IN_BACK, 1));
    assert_int_equal(asked(&out, CHANGE_DO_PREPARE), 1);
    feed(&c, &out, CHANGE_IN_READY, 1);
    assert_true(feed(&c, &out, CHANGE_IN_BACK, 1)); /* does it still hold what it prepared? */
    assert_int_equal(asked(&out, CHANGE_DO_PREPARE), 1);
    feed(&c, &out, CHANGE_IN_READY, 2);
    assert_int_equal(asked(&out, CHANGE_DO_DECIDE), 0);
    feed(&c, &out, CHANGE_IN_READY, 1);
    assert_int_equal(asked(&out, CHANGE_DO_DECIDE), 1);
    assert_true(feed(&c, &out, CHANGE_IN_BACK, 2)); /* while the decision waits */
    assert_int_equal(c.state, CHANGE_PREPARING);
    feed(&c, &out, CHANGE_IN_READY, 2);
    feed(&c, &out, CHANGE_IN_DECIDED, 0);
    assert_true(feed(&c, &out, CHANGE_IN_BACK, 2));
    assert_int_equal(asked(&out, CHANGE_DO_GO), 1);
    assert_int_equal(out.items[0].worker_id, 2);
    feed(&c, &out, CHANGE_IN_DONE, 2);
    feed(&c, &out, CHANGE_IN_BACK, 2);
    assert_int_equal(out.count, 0);
    assert_true(feed(&c, &out, CHANGE_IN_DEADLINE, 0)); /* once more, to the other only */
    assert_int_equal(asked(&out, CHANGE_DO_GO), 1);
    change_actions_fini(&out);
    change_fini(&c);
}

static void answers_of_another_term_op_worker_or_process_do_not_count(void **state)
{
    (void)state;
    struct change c;
    struct change_actions out = {0};
    change_init(&c, token, two, 2, CHANGE_PLANNED);
    feed(&c, &out, CHANGE_IN_START, 0);
    const struct change_event good = {CHANGE_IN_READY, 1, 11, token.term, token.op};
    struct change_event bad[4] = {good, good, good, good};
    bad[0].term = token.term - 1;
    bad[1].op = token.op - 1;
    bad[2].worker_id = 3;
    bad[3].incarnation = 12;
    for (size_t i = 0; i < 4; i++) {
        assert_false(change_step(&c, &bad[i], &out));
        bad[i].kind = CHANGE_IN_NOT_READY;
        assert_false(change_step(&c, &bad[i], &out));
    }
    assert_int_equal(c.stale, 8);
    assert_int_equal(c.state, CHANGE_PREPARING);
    assert_true(change_step(&c, &good, &out));
    assert_false(change_step(&c, &good, &out)); /* twice counts once */
    change_actions_fini(&out);
    change_fini(&c);
}

/* A shell that obeys: DECIDE is answered at once, by a coin. */
static void random_walk(uint64_t seed)
{
    static const enum change_input inputs[] = {
        CHANGE_IN_READY, CHANGE_IN_READY, CHANGE_IN_READY, CHANGE_IN_NOT_READY, CHANGE_IN_DEADLINE,
        CHANGE_IN_DONE,  CHANGE_IN_DONE,  CHANGE_IN_LOST,  CHANGE_IN_BACK,      CHANGE_IN_CANCEL};
    struct prng p = {seed};
    struct change c;
    struct change_actions out = {0};
    unsigned decides = 0;
    bool decided = false;
    change_init(&c, token, two, 2, CHANGE_PLANNED);
    feed(&c, &out, CHANGE_IN_START, 0);
    for (unsigned step = 0; step < 40; step++) {
        enum change_input kind = inputs[prng_below(&p, sizeof inputs / sizeof inputs[0])];
        feed(&c, &out, kind, 1 + prng_below(&p, 2));
        if (asked(&out, CHANGE_DO_DECIDE) > 0) {
            decides++;
            decided = prng_below(&p, 4) != 0;
            feed(&c, &out, decided ? CHANGE_IN_DECIDED : CHANGE_IN_UNDECIDABLE, 0);
        }
        assert_true(asked(&out, CHANGE_DO_GO) == 0 || decided);     /* C1 */
        assert_true(asked(&out, CHANGE_DO_ABORT) == 0 || !decided); /* C2 */
    }
    assert_true(decides <= 1); /* C4 */
    change_actions_fini(&out);
    change_fini(&c);
}

static void random_walks_keep_the_invariants(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20000; seed++) {
        random_walk(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_state_and_trigger_is_as_documented),
        cmocka_unit_test(no_way_leads_back_from_a_decision),
        cmocka_unit_test(all_ready_then_decided_then_go_then_done),
        cmocka_unit_test(one_that_is_not_ready_aborts_everywhere),
        cmocka_unit_test(a_decision_that_cannot_be_written_aborts),
        cmocka_unit_test(after_the_decision_a_lost_worker_means_recovery_never_abort),
        cmocka_unit_test(a_worker_that_comes_back_is_told_again_what_it_may_have_missed),
        cmocka_unit_test(answers_of_another_term_op_worker_or_process_do_not_count),
        cmocka_unit_test(random_walks_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
