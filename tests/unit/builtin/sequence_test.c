/* tests/unit/builtin/sequence_test.c - the counting source and its pace.
 *
 * Goal:   what is emitted does not depend on the parallelism, a rate holds over time, a restored
 *         source goes on where the snapshot was.
 * Method: instances run one by one with real time; rates are judged with room for a busy machine
 *         (never too fast; too slow only by what a loaded machine may cost). */
#include "core/clock.h"
#include "pe/builtin/builtin.h"
#include "pe/builtin/pace.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCHEMA "seq: i64, key: i64, at: time"

static void open_run(struct pe_run *r, const char *params, const char *schema, unsigned index,
                     unsigned count)
{
    assert_true(pe_run_open(r, &builtin_sequence, params, NULL, schema, index, count));
    assert_true(pe_run_start(r));
}

/* mark - count every (seq, key) of the text in seen[], offset by `start`. */
static void mark(const char *text, long long start, long long keys, unsigned char *seen, int max)
{
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        long long seq;
        long long key;
        assert_int_equal(sscanf(at, "{\"seq\":%lld,\"key\":%lld,\"at\":", &seq, &key), 2);
        assert_true(seq >= start && seq < start + max);
        assert_int_equal(key, ((seq % keys) + keys) % keys);
        seen[seq - start]++;
    }
}

static void any_parallelism_gives_the_same_tuples(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 7; count += 3) {
        unsigned char seen[5000] = {0};
        for (unsigned i = 0; i < count; i++) {
            struct pe_run r;
            open_run(&r, "{\"count\":5000,\"start\":-17,\"keys\":5}", SCHEMA, i, count);
            assert_int_equal(pe_run_to_end(&r), OXB_END);
            mark(pe_run_text(&r), -17, 5, seen, 5000);
            pe_run_close(&r);
        }
        for (int k = 0; k < 5000; k++) {
            assert_int_equal(seen[k], 1);
        }
    }
}

static void fewer_tuples_than_instances_leaves_some_empty(void **state)
{
    (void)state;
    uint64_t total = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct pe_run r;
        open_run(&r, "{\"count\":2}", SCHEMA, i, 4);
        assert_int_equal(pe_run_to_end(&r), OXB_END);
        total += r.rows;
        pe_run_close(&r);
    }
    assert_int_equal(total, 2);
}

static void pad_has_the_bytes_asked_for(void **state)
{
    (void)state;
    struct pe_run r;
    open_run(&r, "{\"count\":3000,\"bytes\":100}", SCHEMA ", pad: bytes", 0, 1);
    assert_int_equal(pe_run_to_end(&r), OXB_END);
    assert_int_equal(r.rows, 3000);
    assert_non_null(strstr(pe_run_text(&r), "\"pad\":\""));
    assert_true(r.batches > 3); /* 64 KiB hold some 500 of them */
    pe_run_close(&r);
}

static void a_rate_is_kept_over_time(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        double rate;
        uint64_t rows;
    } cases[] = {
        {"{\"rate\":200,\"count\":60}", 200, 60},
        {"{\"rate\":20000,\"count\":6000}", 20000, 6000},
        {"{\"rate\":1000000,\"count\":200000}", 1e6, 200000},
    };
    for (unsigned i = 0; i < 3; i++) {
        struct pe_run r;
        open_run(&r, cases[i].params, SCHEMA, 0, 1);
        r.keeps_text = false;
        uint64_t from_us = clock_now_us();
        assert_int_equal(pe_run_to_end(&r), OXB_END);
        double seconds = (double)(clock_now_us() - from_us) / 1e6;
        double wanted = (double)(cases[i].rows - 1) / cases[i].rate;
        assert_int_equal(r.rows, cases[i].rows);
        assert_true(seconds > wanted * 0.99 && seconds < wanted * 1.5 + 0.2);
        pe_run_close(&r);
    }
}

static void low_rates_send_single_tuples_and_higher_ones_small_groups(void **state)
{
    (void)state;
    struct pace p = {.rate = 500};
    assert_int_equal(pace_room(&p, 1000000), 1);
    p.used = 1;
    assert_int_equal(pace_room(&p, 1000000), 0);
    assert_int_equal(pace_next_us(&p, 1000000), 1002000);
    assert_int_equal(pace_room(&p, 1002000), 1);
    struct pace q = {.rate = 20000};
    assert_int_equal(pace_room(&q, 5000000), 1);
    q.used = 1;
    uint64_t at_us = 5000000;
    for (unsigned i = 0; i < 1000; i++) {
        at_us = pace_next_us(&q, at_us);
        uint64_t n = pace_room(&q, at_us);
        assert_true(n >= 1 && n <= 20); /* 1 ms */
        q.used += n;
    }
    assert_int_equal(q.used, (at_us - 5000000) / 50 + 1);
}

static void a_held_up_source_catches_up(void **state)
{
    (void)state;
    struct pace p = {.rate = 1000};
    p.used += pace_room(&p, 1000000);
    assert_int_equal(pace_room(&p, 3000000), 2000);
}

static void a_restored_source_goes_on(void **state)
{
    (void)state;
    char err[256];
    const char *params = "{\"count\":3000}";
    struct oxb_harness *a = oxb_harness_new(&builtin_sequence, params, NULL, NULL, err, sizeof err);
    assert_non_null(a);
    assert_int_equal(oxb_harness_run(a, 2), OXB_OK);
    void *saved;
    size_t bytes;
    assert_int_equal(oxb_harness_snapshot(a, &saved, &bytes), OXB_OK);
    struct oxb_harness *b = oxb_harness_new(&builtin_sequence, params, NULL, NULL, err, sizeof err);
    assert_int_equal(oxb_harness_restore(b, saved, bytes), OXB_OK);
    assert_int_equal(oxb_harness_run(b, 10), OXB_END);
    unsigned char seen[3000] = {0};
    mark(oxb_harness_output(a, 0), 0, 1, seen, 3000);
    mark(oxb_harness_output(b, 0), 0, 1, seen, 3000);
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(seen[i], 1);
    }
    free(saved);
    oxb_harness_free(a);
    oxb_harness_free(b);
}

static void a_position_of_another_parallelism_is_refused(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(pe_run_open(&r, &builtin_sequence, "{}", NULL, SCHEMA, 0, 2));
    uint64_t saved[2] = {7, 3};
    assert_int_equal(pe_restore(r.pe, saved, sizeof saved, 1, &r.fail), ERR_INVALID);
    assert_non_null(strstr(r.fail.what, "parallelism 3"));
    assert_int_equal(pe_restore(r.pe, saved, 3, 1, &r.fail), ERR_INVALID);
    pe_run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_parallelism_gives_the_same_tuples),
        cmocka_unit_test(fewer_tuples_than_instances_leaves_some_empty),
        cmocka_unit_test(pad_has_the_bytes_asked_for),
        cmocka_unit_test(a_rate_is_kept_over_time),
        cmocka_unit_test(low_rates_send_single_tuples_and_higher_ones_small_groups),
        cmocka_unit_test(a_held_up_source_catches_up),
        cmocka_unit_test(a_restored_source_goes_on),
        cmocka_unit_test(a_position_of_another_parallelism_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
