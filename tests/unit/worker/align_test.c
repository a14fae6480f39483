/* tests/unit/worker/align_test.c - the alignment machine, event by event.
 *
 * Goal:   invariants A1-A5 of worker/align.h.
 * Method: drive the pure machine with hand-made orders, then with random interleavings of several
 *         epochs over several inputs, against a model that counts deliveries. */
#include "core/prng.h"
#include "worker/align.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void completes_when_every_input_has_delivered(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 3);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 7), ALIGN_WAIT);
    assert_true(align_blocks(&a, 1));
    assert_false(align_blocks(&a, 0));
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 7), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 2, ITEM_MARKER_CHECKPOINT, 7), ALIGN_COMPLETE);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(align_blocks(&a, i));
    }
    align_fini(&a);
}

static void one_input_completes_at_once(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 1);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_SWITCH, 1), ALIGN_COMPLETE);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_SWITCH, 1), ALIGN_DROP);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 2), ALIGN_COMPLETE);
    align_fini(&a);
}

static void a_switch_voids_an_older_checkpoint(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 2);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 4), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_SWITCH, 5), ALIGN_WAIT);
    assert_false(align_blocks(&a, 0)); /* released */
    assert_true(align_blocks(&a, 1));
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_SWITCH, 5), ALIGN_COMPLETE);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 4), ALIGN_DROP); /* late */
    align_fini(&a);
}

/* Found by the simulator: the set was looked at only when nothing was aligning, so that a switch
 * that met a checkpoint waited for the marker of inputs from outside, for ever. */
static void a_switch_that_meets_a_checkpoint_waits_for_its_own_set_only(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 3);
    const bool in_set[3] = {false, true, true};
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 4), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 4), ALIGN_WAIT);
    assert_int_equal(align_switch(&a, 2, 5, in_set), ALIGN_WAIT);
    assert_false(align_blocks(&a, 0));
    assert_false(align_blocks(&a, 1));
    assert_int_equal(align_switch(&a, 1, 5, in_set), ALIGN_COMPLETE);
    align_fini(&a);
}

static void voiding_by_the_go_ahead_releases_inputs(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 2);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 4), ALIGN_WAIT);
    assert_true(align_void(&a, 5));
    assert_false(align_blocks(&a, 0));
    assert_false(align_void(&a, 5));
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 4), ALIGN_DROP);
    align_fini(&a);
}

static void two_live_epochs_are_a_conflict(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 2);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_SWITCH, 5), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_SWITCH, 6), ALIGN_CONFLICT);
    align_fini(&a);
}

static void a_newer_checkpoint_releases_one_that_was_given_up(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 3);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 5), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 6), ALIGN_WAIT);
    assert_false(align_blocks(&a, 0));
    assert_int_equal(align_marker(&a, 2, ITEM_MARKER_CHECKPOINT, 5), ALIGN_DROP);
    assert_int_equal(align_marker(&a, 2, ITEM_MARKER_CHECKPOINT, 6), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 6), ALIGN_COMPLETE);
    align_fini(&a);
}

/* A master that dies while it injects 5 reaches some workers only; the next one injects 6. */
static void a_checkpoint_that_was_given_up_may_come_after_a_newer_one(void **state)
{
    (void)state;
    struct align a;
    align_init(&a, 3);
    assert_int_equal(align_marker(&a, 0, ITEM_MARKER_CHECKPOINT, 6), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 5), ALIGN_DROP);
    assert_true(align_blocks(&a, 0));
    assert_false(align_blocks(&a, 1));
    assert_int_equal(align_marker(&a, 1, ITEM_MARKER_CHECKPOINT, 6), ALIGN_WAIT);
    assert_int_equal(align_marker(&a, 2, ITEM_MARKER_CHECKPOINT, 6), ALIGN_COMPLETE);
    align_fini(&a);
}

static void random_interleavings_complete_each_epoch_once(void **state)
{
    (void)state;
    struct prng p = {.state = 1};
    for (int round = 0; round < 2000; round++) {
        uint32_t inputs = 1 + (uint32_t)prng_below(&p, 5);
        uint64_t sent[5] = {0}; /* per input: epochs delivered */
        uint64_t completed = 0;
        struct align a;
        align_init(&a, inputs);
        while (completed < 20) {
            uint32_t i = (uint32_t)prng_below(&p, inputs);
            if (align_blocks(&a, i) || sent[i] == 20) {
                continue; /* A2: a blocked input delivers nothing */
            }
            enum align_action act = align_marker(&a, i, ITEM_MARKER_CHECKPOINT, ++sent[i]);
            assert_true(act == ALIGN_WAIT || act == ALIGN_COMPLETE);
            if (act == ALIGN_COMPLETE) {
                completed++;
                for (uint32_t k = 0; k < inputs; k++) {
                    assert_int_equal(sent[k], completed);
                }
            }
        }
        align_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completes_when_every_input_has_delivered),
        cmocka_unit_test(one_input_completes_at_once),
        cmocka_unit_test(a_switch_voids_an_older_checkpoint),
        cmocka_unit_test(a_switch_that_meets_a_checkpoint_waits_for_its_own_set_only),
        cmocka_unit_test(voiding_by_the_go_ahead_releases_inputs),
        cmocka_unit_test(two_live_epochs_are_a_conflict),
        cmocka_unit_test(a_newer_checkpoint_releases_one_that_was_given_up),
        cmocka_unit_test(a_checkpoint_that_was_given_up_may_come_after_a_newer_one),
        cmocka_unit_test(random_interleavings_complete_each_epoch_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
