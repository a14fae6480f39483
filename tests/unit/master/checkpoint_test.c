/* tests/unit/master/checkpoint_test.c - when checkpoints are taken and which of them count.
 *
 * Goal:   P1-P5 of master/checkpoint.h.
 * Method: by hand, then random walks of 2,000 runs with 300 events each, checked after every step
 *         against what was said before: one live epoch, none injected between a decision and its
 *         end, complete only what was stored, stored only what all have acknowledged. */
#include "core/prng.h"
#include "master/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static struct checkpoint_actions feed(struct checkpoint *c, enum checkpoint_input kind,
                                      uint64_t epoch, uint64_t instance, uint64_t now_us)
{
    struct checkpoint_actions out = {0};
    struct checkpoint_event in = {
        .kind = kind, .now_us = now_us, .epoch = epoch, .instance = instance};
    checkpoint_step(c, &in, &out);
    return out;
}

static void expect(struct checkpoint_actions out, const char *wanted)
{
    static const char names[] = {'B', 'I', 'S', 'C', 'G'};
    char got[CHECKPOINT_ACTIONS_MAX + 1] = "";
    for (size_t i = 0; i < out.count; i++) {
        got[i] = names[out.items[i].what];
    }
    assert_string_equal(got, wanted);
}

static void set_up(struct checkpoint *c)
{
    static const uint64_t ids[] = {30, 10, 20};
    checkpoint_init(c, 1000, 0);
    checkpoint_of(c, ids, 3);
}

static void begin(struct checkpoint *c, uint64_t epoch, uint64_t now_us)
{
    expect(feed(c, CHECKPOINT_IN_TICK, 0, 0, now_us), "B");
    expect(feed(c, CHECKPOINT_IN_BEGUN, epoch, 0, now_us), "I");
}

static void one_is_taken_in_time_and_counts_when_all_have_it(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 999), "");
    begin(&c, 7, 1000);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 9000), ""); /* P1 */
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 10, 9000), "");
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 10, 9000), ""); /* told twice */
    expect(feed(&c, CHECKPOINT_IN_ACK, 6, 20, 9000), ""); /* of an older one */
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 40, 9000), ""); /* of nobody */
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 30, 9000), "");
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 20, 9000), "S");
    assert_int_equal(c.complete, 0); /* P4 */
    expect(feed(&c, CHECKPOINT_IN_STORED, 7, 0, 9500), "C");
    assert_int_equal(c.complete, 7);
    assert_int_equal(c.stale, 3);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 10499), "");
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 10500), "B");
    checkpoint_fini(&c);
}

static void one_that_cannot_be_saved_is_given_up_and_tried_again(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    begin(&c, 7, 1000);
    expect(feed(&c, CHECKPOINT_IN_FAILED, 7, 10, 1100), "G");
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 20, 1200), "");
    begin(&c, 8, 2100);
    expect(feed(&c, CHECKPOINT_IN_ACK, 8, 10, 2200), "");
    expect(feed(&c, CHECKPOINT_IN_ACK, 8, 20, 2200), "");
    expect(feed(&c, CHECKPOINT_IN_ACK, 8, 30, 2200), "S");
    expect(feed(&c, CHECKPOINT_IN_NOT_STORED, 8, 0, 2200), "G");
    assert_int_equal(c.complete, 0);
    assert_int_equal(c.failed, 2);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 3200), "B");
    expect(feed(&c, CHECKPOINT_IN_BEGUN, 0, 0, 3200), ""); /* no epoch to be had */
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 4200), "B");
    checkpoint_fini(&c);
}

static void a_decision_voids_what_is_live_and_one_follows_the_change(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    begin(&c, 7, 1000);
    expect(feed(&c, CHECKPOINT_IN_DECIDED, 0, 0, 1100), "G");
    for (uint64_t id = 10; id <= 30; id += 10) {
        expect(feed(&c, CHECKPOINT_IN_ACK, 7, id, 1200), ""); /* late */
    }
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 99000), ""); /* P2 */
    expect(feed(&c, CHECKPOINT_IN_ASKED, 0, 0, 99000), "");
    expect(feed(&c, CHECKPOINT_IN_DONE, 0, 0, 99000), "B"); /* R18 */
    expect(feed(&c, CHECKPOINT_IN_BEGUN, 9, 0, 99000), "I");
    assert_int_equal(c.voided, 1);
    checkpoint_fini(&c);
}

static void a_decision_while_an_epoch_is_reserved_wins(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 1000), "B");
    expect(feed(&c, CHECKPOINT_IN_DECIDED, 0, 0, 1000), "");
    expect(feed(&c, CHECKPOINT_IN_BEGUN, 7, 0, 1000), "");
    assert_false(checkpoint_is_live(&c));
    checkpoint_fini(&c);
}

static void none_begins_while_a_change_is_planned(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    begin(&c, 7, 1000);
    expect(feed(&c, CHECKPOINT_IN_PLANNED, 0, 0, 1100), "");
    for (uint64_t id = 10; id <= 20; id += 10) {
        expect(feed(&c, CHECKPOINT_IN_ACK, 7, id, 1200), "");
    }
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 30, 1200), "S"); /* what is live goes on */
    expect(feed(&c, CHECKPOINT_IN_STORED, 7, 0, 1200), "C");
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 9000), "");
    expect(feed(&c, CHECKPOINT_IN_ABORTED, 0, 0, 9000), "B");
    checkpoint_fini(&c);
}

/* Found by the simulator: with the workers that were left it was complete, and counted as one of
 * the new version, while what the lost one still had to take was nowhere. */
static void none_begins_while_a_loss_is_recovered(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    begin(&c, 7, 1000);
    expect(feed(&c, CHECKPOINT_IN_LOST, 0, 0, 1100), "G");
    expect(feed(&c, CHECKPOINT_IN_ACK, 7, 10, 5000), ""); /* late, and the next would be due */
    expect(feed(&c, CHECKPOINT_IN_ASKED, 0, 0, 5000), "");
    expect(feed(&c, CHECKPOINT_IN_ABORTED, 0, 0, 5000), ""); /* a change that is given up for it */
    expect(feed(&c, CHECKPOINT_IN_DONE, 0, 0, 5000), "");
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 9000), "");
    expect(feed(&c, CHECKPOINT_IN_RESET, 0, 0, 9000), "");
    begin(&c, 8, 10000);
    checkpoint_fini(&c);
}

static void a_loss_while_an_epoch_is_reserved_wins(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    expect(feed(&c, CHECKPOINT_IN_TICK, 0, 0, 1000), "B");
    expect(feed(&c, CHECKPOINT_IN_LOST, 0, 0, 1000), "");
    expect(feed(&c, CHECKPOINT_IN_BEGUN, 7, 0, 1000), "");
    assert_false(checkpoint_is_live(&c));
    checkpoint_fini(&c);
}

static void the_third_is_not_voided(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    for (uint64_t i = 0; i < 2; i++) {
        assert_false(checkpoint_bars_change(&c));
        expect(feed(&c, i == 0 ? CHECKPOINT_IN_ASKED : CHECKPOINT_IN_DONE, 0, 0, i), "B");
        expect(feed(&c, CHECKPOINT_IN_BEGUN, 7 + i, 0, i), "I");
        expect(feed(&c, CHECKPOINT_IN_DECIDED, 0, 0, i), "G");
    }
    assert_false(checkpoint_bars_change(&c));
    expect(feed(&c, CHECKPOINT_IN_DONE, 0, 0, 5), "B");
    assert_true(checkpoint_bars_change(&c)); /* P5 */
    expect(feed(&c, CHECKPOINT_IN_BEGUN, 9, 0, 5), "I");
    for (uint64_t id = 10; id <= 20; id += 10) {
        expect(feed(&c, CHECKPOINT_IN_ACK, 9, id, 6), "");
    }
    assert_true(checkpoint_bars_change(&c));
    expect(feed(&c, CHECKPOINT_IN_ACK, 9, 30, 6), "S");
    expect(feed(&c, CHECKPOINT_IN_STORED, 9, 0, 6), "C");
    assert_false(checkpoint_bars_change(&c));
    checkpoint_fini(&c);
}

static void a_worker_that_comes_back_is_told_again(void **state)
{
    (void)state;
    struct checkpoint c;
    set_up(&c);
    expect(feed(&c, CHECKPOINT_IN_BACK, 0, 0, 10), "");
    c.complete = 5;
    begin(&c, 7, 1000);
    struct checkpoint_actions out = feed(&c, CHECKPOINT_IN_BACK, 0, 0, 1100);
    expect(out, "CI");
    assert_int_equal(out.items[0].epoch, 5);
    assert_int_equal(out.items[1].epoch, 7);
    checkpoint_fini(&c);
}

/* ---- random walks */

struct model {
    uint64_t live, stored, complete, next;
    unsigned acked; /* bits */
    bool held, lost, begun;
};

static void check_actions(struct model *m, const struct checkpoint_actions *out)
{
    for (size_t i = 0; i < out->count; i++) {
        uint64_t epoch = out->items[i].epoch;
        switch (out->items[i].what) {
        case CHECKPOINT_DO_BEGIN:
            assert_true(m->live == 0 && !m->held && !m->lost);
            m->begun = true;
            break;
        case CHECKPOINT_DO_INJECT:
            assert_false(m->held || m->lost);
            assert_true(epoch > m->complete);
            m->live = epoch;
            m->acked = 0;
            break;
        case CHECKPOINT_DO_STORE:
            assert_int_equal(epoch, m->live);
            assert_int_equal(m->acked, 7);
            m->stored = epoch;
            break;
        case CHECKPOINT_DO_COMPLETE:
            assert_int_equal(epoch, m->stored);
            assert_false(m->held || m->lost);
            m->complete = epoch;
            m->live = 0;
            break;
        case CHECKPOINT_DO_GIVE_UP:
            assert_int_equal(epoch, m->live);
            m->live = 0;
            break;
        }
    }
}

static void random_walks_keep_the_invariants(void **state)
{
    (void)state;
    uint64_t completed = 0, voided = 0;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct prng p = {.state = seed};
        struct checkpoint c;
        struct model m = {.next = 1};
        uint64_t now = 0;
        set_up(&c);
        for (int n = 0; n < 300; n++) {
            static const enum checkpoint_input kinds[] = {
                CHECKPOINT_IN_TICK,    CHECKPOINT_IN_ASKED,  CHECKPOINT_IN_BEGUN,
                CHECKPOINT_IN_ACK,     CHECKPOINT_IN_ACK,    CHECKPOINT_IN_ACK,
                CHECKPOINT_IN_ACK,     CHECKPOINT_IN_FAILED, CHECKPOINT_IN_STORED,
                CHECKPOINT_IN_DECIDED, CHECKPOINT_IN_DONE,   CHECKPOINT_IN_RESET,
                CHECKPOINT_IN_LOST};
            enum checkpoint_input kind = kinds[prng_below(&p, sizeof kinds / sizeof kinds[0])];
            unsigned who = (unsigned)prng_below(&p, 3);
            uint64_t epoch = kind == CHECKPOINT_IN_BEGUN ? m.next++ : m.live;
            now += prng_below(&p, 400);
            if ((kind == CHECKPOINT_IN_FAILED || kind == CHECKPOINT_IN_LOST ||
                 kind == CHECKPOINT_IN_DECIDED || (kind == CHECKPOINT_IN_RESET && !m.lost)) &&
                prng_below(&p, 8) != 0) {
                continue;
            }
            if (kind == CHECKPOINT_IN_ACK && prng_below(&p, 5) == 0) {
                epoch = prng_below(&p, m.next); /* late, or never heard of */
            }
            if (kind == CHECKPOINT_IN_ACK && m.live != 0 && epoch == m.live) {
                m.acked |= 1u << who;
            }
            if (kind == CHECKPOINT_IN_DECIDED || kind == CHECKPOINT_IN_DONE) {
                m.held = kind == CHECKPOINT_IN_DECIDED;
            }
            m.held = m.held && kind != CHECKPOINT_IN_RESET;
            m.lost = kind == CHECKPOINT_IN_LOST || (m.lost && kind != CHECKPOINT_IN_RESET);
            struct checkpoint_actions out = feed(&c, kind, epoch, 10 * (who + 1), now);
            check_actions(&m, &out);
            assert_int_equal(c.complete, m.complete);
        }
        completed += c.completed;
        voided += c.voided;
        checkpoint_fini(&c);
    }
    assert_true(completed > 2000 && voided > 2000); /* the walks do get somewhere */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_taken_in_time_and_counts_when_all_have_it),
        cmocka_unit_test(one_that_cannot_be_saved_is_given_up_and_tried_again),
        cmocka_unit_test(a_decision_voids_what_is_live_and_one_follows_the_change),
        cmocka_unit_test(a_decision_while_an_epoch_is_reserved_wins),
        cmocka_unit_test(none_begins_while_a_change_is_planned),
        cmocka_unit_test(none_begins_while_a_loss_is_recovered),
        cmocka_unit_test(a_loss_while_an_epoch_is_reserved_wins),
        cmocka_unit_test(the_third_is_not_voided),
        cmocka_unit_test(a_worker_that_comes_back_is_told_again),
        cmocka_unit_test(random_walks_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
