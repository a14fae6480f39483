/* tests/unit/master/crashes_test.c - what follows when a PE kills its worker.
 *
 * Goal:   K1, K2 of master/crashes.h: how often it is tried again, when its tuples are given one by
 *         one, when it is held or stops, and what clears it.
 * Method: every policy against the same crashes, step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "master/crashes.h"

#include <string.h>

static char uid[] = "first";

static struct pe pe_of(enum error_then then, uint32_t retries)
{
    return (struct pe){.uid = uid, .digest = "aaaa", .then = then, .retries = retries};
}

static bool note_of(struct crashes *cs, const struct pe *pe, uint64_t incarnation, uint64_t epoch,
                    bool processing, uint64_t sum)
{
    return crashes_note(cs, pe, 0,
                        &(struct crash_note){.incarnation = incarnation,
                                             .epoch = epoch,
                                             .processing = processing,
                                             .sum = sum,
                                             .tuple = sum != 0 ? "{\"a\":1}" : "",
                                             .error = "signal 11"});
}

/* By a process of its own. */
static bool note(struct crashes *cs, const struct pe *pe, uint64_t epoch, bool processing,
                 uint64_t sum)
{
    const struct crash_of *c = crashes_find(cs, pe, 0);
    return note_of(cs, pe, c != NULL ? c->incarnation + 1 : 1, epoch, processing, sum);
}

static enum crash_then then_of(const struct crashes *cs, const struct pe *pe)
{
    const struct crash_of *c = crashes_find(cs, pe, 0);
    assert_non_null(c);
    return crashes_then(c, pe);
}

static void it_is_tried_again_so_often_and_then_stops(void **state)
{
    (void)state;
    for (uint32_t retries = 0; retries < 6; retries++) {
        struct crashes cs = {0};
        struct pe pe = pe_of(THEN_STOP, retries);
        unsigned allowed = retries + 1 > CRASHES_MIN ? retries + 1 : CRASHES_MIN;
        for (unsigned n = 1; n < allowed; n++) {
            assert_false(note(&cs, &pe, 7, true, 0));
            assert_int_equal(then_of(&cs, &pe), CRASH_AGAIN);
        }
        note(&cs, &pe, 7, true, 0);
        assert_int_equal(then_of(&cs, &pe), CRASH_STOP);
        note(&cs, &pe, 8, true, 0); /* it had got further */
        assert_int_equal(then_of(&cs, &pe), CRASH_AGAIN);
        crashes_fini(&cs);
    }
}

static void its_tuples_are_given_one_by_one_until_the_killer_is_known(void **state)
{
    (void)state;
    static const enum error_then thens[] = {THEN_DROP, THEN_DEAD_LETTER, THEN_HOLD};
    for (size_t k = 0; k < 3; k++) {
        struct crashes cs = {0};
        struct pe pe = pe_of(thens[k], 0);
        for (unsigned n = 0; n < CRASHES_MIN; n++) {
            note(&cs, &pe, 7, true, 0);
        }
        assert_int_equal(then_of(&cs, &pe), CRASH_SINGLY);
        assert_int_equal(crashes_find(&cs, &pe, 0)->killer_count, 0);
        assert_true(note(&cs, &pe, 7, true, 99));
        uint64_t newest = crashes_find(&cs, &pe, 0)->incarnation;
        assert_false(note_of(&cs, &pe, newest, 7, true, 99)); /* told twice */
        assert_int_equal(crashes_find(&cs, &pe, 0)->killer_count, 1);
        assert_string_equal(crashes_find(&cs, &pe, 0)->tuple, "{\"a\":1}");
        assert_int_equal(then_of(&cs, &pe), CRASH_SINGLY);
        assert_true(note(&cs, &pe, 9, true, 100)); /* a checkpoint later, another one */
        assert_int_equal(then_of(&cs, &pe), CRASH_SINGLY);
        assert_true(note(&cs, &pe, 9, true, 100)); /* one that is equal to it */
        assert_int_equal(crashes_find(&cs, &pe, 0)->killer_count, 3);
        crashes_fini(&cs);
    }
}

static void what_has_no_tuple_is_held_or_stops(void **state)
{
    (void)state;
    struct crashes cs = {0};
    struct pe pe = pe_of(THEN_HOLD, 0);
    for (unsigned n = 0; n < CRASHES_MIN; n++) {
        note(&cs, &pe, 7, false, 0);
    }
    assert_int_equal(then_of(&cs, &pe), CRASH_HOLD);
    pe.then = THEN_DROP;
    assert_int_equal(then_of(&cs, &pe), CRASH_STOP);
    crashes_forgive(&cs, &pe, 0);
    assert_int_equal(then_of(&cs, &pe), CRASH_AGAIN);
    crashes_fini(&cs);
}

static void tuples_beyond_measure_end_it(void **state) /* K2 */
{
    (void)state;
    struct crashes cs = {0};
    struct pe pe = pe_of(THEN_DROP, 0);
    for (uint64_t sum = 1; sum <= KILLERS_MAX; sum++) {
        assert_true(note(&cs, &pe, 7, true, sum));
    }
    assert_false(note(&cs, &pe, 7, true, KILLERS_MAX + 1));
    assert_int_equal(then_of(&cs, &pe), CRASH_STOP);
    pe.then = THEN_HOLD;
    assert_int_equal(then_of(&cs, &pe), CRASH_HOLD);
    crashes_fini(&cs);
}

static void other_code_begins_with_nothing_against_it(void **state) /* K1 */
{
    (void)state;
    struct crashes cs = {0};
    struct pe pe = pe_of(THEN_STOP, 0);
    for (unsigned n = 0; n < CRASHES_MIN; n++) {
        note(&cs, &pe, 7, true, 50);
    }
    assert_null(crashes_find(&cs, &pe, 1)); /* another instance */
    struct pe mended = pe;
    mended.digest[0] = 'b';
    assert_null(crashes_find(&cs, &mended, 0));
    (void)note_of(&cs, &mended, 1000, 7, true, 0);
    assert_int_equal(then_of(&cs, &mended), CRASH_AGAIN);
    assert_int_equal(crashes_find(&cs, &mended, 0)->killer_count, 0);
    crashes_fini(&cs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_tried_again_so_often_and_then_stops),
        cmocka_unit_test(its_tuples_are_given_one_by_one_until_the_killer_is_known),
        cmocka_unit_test(what_has_no_tuple_is_held_or_stops),
        cmocka_unit_test(tuples_beyond_measure_end_it),
        cmocka_unit_test(other_code_begins_with_nothing_against_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
