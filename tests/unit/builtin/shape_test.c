/* tests/unit/builtin/shape_test.c - the small PEs: set, delay, union, null-sink.
 *
 * Goal:   fields are added and replaced with the right types; a delay keeps its time, its order and
 *         hands on parts; union and null-sink pass and drop.
 * Method: the harness for shapes, real time for the delay. */
#include "core/clock.h"
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void set_adds_and_replaces_fields(void **state)
{
    (void)state;
    char err[256] = "";
    struct oxb_harness *h = oxb_harness_new(
        &builtin_set,
        "{\"fields\":{\"who\":\"me\",\"n\":1,\"x\":2.5,\"b\":true,\"s\":\"new\",\"k\":9}}",
        "k: i64, s: str, keep: str", NULL, err, sizeof err);
    assert_string_equal(err, "");
    assert_int_equal(oxb_harness_feed(h, "{\"k\":1,\"s\":\"old\",\"keep\":\"a\"}\n"
                                         "{\"k\":2,\"s\":\"old\",\"keep\":\"b\"}"),
                     OXB_OK);
    const char *text = oxb_harness_output(h, 0);
    static const char *const parts[] = {"\"who\":\"me\"", "\"n\":1",       "\"x\":2.5",
                                        "\"b\":true",     "\"s\":\"new\"", "\"keep\":\"b\"",
                                        "\"k\":9"};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("%s is not in %s", parts[i], text);
        }
    }
    assert_null(strstr(text, "old"));
    oxb_harness_free(h);
}

static void set_refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct pe_run r;
    assert_false(pe_run_open(&r, &builtin_set, "{\"fields\":{\"n\":\"x\"}}", "k: i64",
                             "k: i64, n: i64", 0, 1));
    assert_non_null(strstr(r.fail.what, "does not fit field `n`"));
    pe_run_close(&r);
    assert_false(pe_run_open(&r, &builtin_set, "{\"fields\":{}}", "k: i64", "k: i64", 0, 1));
    pe_run_close(&r);
    assert_true(pe_run_open(&r, &builtin_set, "{\"fields\":{\"t\":\"1970-01-01T00:00:01Z\"}}",
                            "k: i64", "k: i64, t: time", 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_feed(&r, "{\"k\":1}"), OXB_OK);
    assert_string_equal(pe_run_text(&r), "{\"k\":1,\"t\":\"1970-01-01T00:00:01.000000Z\"}\n");
    pe_run_close(&r);
}

static void delay_keeps_its_time_and_hands_on_parts(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        uint64_t us;
        uint64_t batches_min;
    } cases[] = {
        {"{\"us\":0}", 0, 1},
        {"{\"us\":100}", 500, 1},
        {"{\"us\":400,\"mode\":\"sleep\"}", 2000, 2},
        {"{\"us\":2000,\"mode\":\"sleep\"}", 10000, 5},
    };
    const uint16_t sel[] = {0, 1, 3, 4, 5};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pe_run r;
        assert_true(pe_run_open(&r, &builtin_delay, cases[i].params, "n: i64", "n: i64", 0, 1));
        assert_true(pe_run_start(&r));
        uint64_t from_us = clock_now_us();
        assert_int_equal(pe_run_sel(&r,
                                    "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n"
                                    "{\"n\":5}",
                                    sel, 5),
                         OXB_OK);
        assert_true(clock_now_us() - from_us >= cases[i].us);
        assert_true(r.batches >= cases[i].batches_min);
        assert_string_equal(pe_run_text(&r),
                            "{\"n\":0}\n{\"n\":1}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n");
        if (cases[i].batches_min == 5) { /* the first did not wait for the last */
            assert_true(r.last_us - r.first_us >= 4 * 2000 - 1000);
        }
        pe_run_close(&r);
    }
}

static void union_passes_and_null_sink_drops(void **state)
{
    (void)state;
    char err[256] = "";
    struct oxb_harness *h = oxb_harness_new(&builtin_union, "{}", "n: i64", NULL, err, sizeof err);
    assert_non_null(h);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1}\n{\"n\":2}"), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0), "{\"n\":1}\n{\"n\":2}\n");
    oxb_harness_free(h);
    h = oxb_harness_new(&builtin_null_sink, "{}", "n: i64", NULL, err, sizeof err);
    assert_non_null(h);
    assert_int_equal(oxb_harness_feed(h, "{\"n\":1}"), OXB_OK);
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    oxb_harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_adds_and_replaces_fields),
        cmocka_unit_test(set_refuses_what_does_not_fit),
        cmocka_unit_test(delay_keeps_its_time_and_hands_on_parts),
        cmocka_unit_test(union_passes_and_null_sink_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
