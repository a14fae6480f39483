/* tests/unit/builtin/filter_test.c - which tuples pass a comparison.
 *
 * Goal:   every comparison on every type of field, dense and selected batches, constants that
 *         do not fit.
 * Method: a table of (schema, parameters, rows that pass) over the same few rows; the selected form
 *         of each must give the intersection. */
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCHEMA "i: i64, f: f64, b: bool, s: str, t: time, n: i64, y: bytes, v: f32[2]"
#define ROW(I, F, B, S, T, N, Y)                                                                   \
    "{\"i\":" I ",\"f\":" F ",\"b\":" B ",\"s\":\"" S "\",\"t\":\"" T "\",\"n\":" N ",\"y\":\"" Y  \
    "\",\"v\":[1,2]}\n"
#define ROWS                                                                                       \
    ROW("-5", "-0.5", "true", "apple", "2026-01-01T00:00:00.000000Z", "0", "YQ==")                 \
    ROW("0", "1.5", "false", "app", "2026-01-02T00:00:00.000000Z", "1", "")                        \
    ROW("7", "2.5", "true", "", "2026-01-03T00:00:00.000000Z", "2", "YWE=")                        \
    ROW("7", "1e300", "false", "zebra", "2026-01-02T00:00:00.000000Z", "3", "/w==")
#define ROW_COUNT 4u

static const struct {
    const char *params;
    unsigned pass; /* bit n: row n */
} cases[] = {
    {"{\"field\":\"i\",\"eq\":7}", 0xc},
    {"{\"field\":\"i\",\"ne\":7}", 0x3},
    {"{\"field\":\"i\",\"lt\":0}", 0x1},
    {"{\"field\":\"i\",\"le\":0}", 0x3},
    {"{\"field\":\"i\",\"gt\":0}", 0xc},
    {"{\"field\":\"i\",\"ge\":0}", 0xe},
    {"{\"field\":\"i\",\"eq\":\"7\"}", 0xc},
    {"{\"field\":\"i\",\"gt\":100}", 0x0},
    {"{\"field\":\"i\",\"lt\":100}", 0xf},
    {"{\"field\":\"f\",\"eq\":1.5}", 0x2},
    {"{\"field\":\"f\",\"ne\":1.5}", 0xd},
    {"{\"field\":\"f\",\"lt\":2}", 0x3},
    {"{\"field\":\"f\",\"le\":2.5}", 0x7},
    {"{\"field\":\"f\",\"gt\":2.5}", 0x8},
    {"{\"field\":\"f\",\"ge\":2.5}", 0xc},
    {"{\"field\":\"b\",\"eq\":true}", 0x5},
    {"{\"field\":\"b\",\"ne\":true}", 0xa},
    {"{\"field\":\"b\",\"eq\":false}", 0xa},
    {"{\"field\":\"s\",\"eq\":\"app\"}", 0x2},
    {"{\"field\":\"s\",\"ne\":\"app\"}", 0xd},
    {"{\"field\":\"s\",\"lt\":\"apple\"}", 0x6},
    {"{\"field\":\"s\",\"le\":\"apple\"}", 0x7},
    {"{\"field\":\"s\",\"gt\":\"app\"}", 0x9},
    {"{\"field\":\"s\",\"ge\":\"app\"}", 0xb},
    {"{\"field\":\"s\",\"eq\":\"\"}", 0x4},
    {"{\"field\":\"s\",\"match\":\"^app(le)?$\"}", 0x3},
    {"{\"field\":\"s\",\"match\":\"^$\"}", 0x4},
    {"{\"field\":\"s\",\"match\":\"b|l\"}", 0x9},
    {"{\"field\":\"t\",\"eq\":\"2026-01-02T00:00:00Z\"}", 0xa},
    {"{\"field\":\"t\",\"gt\":\"2026-01-02T00:00:00Z\"}", 0x4},
    {"{\"field\":\"t\",\"lt\":\"2026-01-02T00:00:00Z\"}", 0x1},
    {"{\"field\":\"t\",\"ge\":0}", 0xf},
    {"{\"field\":\"y\",\"gt\":\"a\"}", 0xc},
    {"{\"field\":\"y\",\"eq\":\"aa\"}", 0x4},
};

static unsigned passed(const char *text)
{
    unsigned pass = 0;
    for (const char *at = text; (at = strstr(at, "\"n\":")) != NULL; at++) {
        unsigned n = (unsigned)atoi(at + 4);
        assert_int_equal(pass & (~0u << n), 0); /* in order, once */
        pass |= 1u << n;
    }
    return pass;
}

static void every_comparison_passes_what_it_says(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (unsigned alive = 1; alive < 1u << ROW_COUNT; alive++) {
            uint16_t sel[ROW_COUNT];
            uint32_t live = 0;
            for (unsigned n = 0; n < ROW_COUNT; n++) {
                sel[live] = (uint16_t)n;
                live += alive >> n & 1;
            }
            struct pe_run r;
            if (!pe_run_open(&r, &builtin_filter, cases[c].params, SCHEMA, SCHEMA, 0, 1)) {
                fail_msg("%s: %s", cases[c].params, r.fail.what);
            }
            assert_true(pe_run_start(&r));
            bool is_dense = live == ROW_COUNT;
            assert_int_equal(pe_run_sel(&r, ROWS, is_dense ? NULL : sel, live), OXB_OK);
            unsigned pass = passed(pe_run_text(&r));
            if (pass != (cases[c].pass & alive)) {
                fail_msg("%s of rows %x passes %x", cases[c].params, alive, pass);
            }
            pe_run_close(&r);
        }
    }
}

static void what_cannot_be_compared_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        const char *why;
    } bad[] = {
        {"{\"field\":\"i\"}", "none of eq"},
        {"{\"field\":\"i\",\"eq\":1,\"lt\":2}", "more than one"},
        {"{\"field\":\"i\",\"eq\":1.5}", "a whole number"},
        {"{\"field\":\"i\",\"eq\":\"x\"}", "a whole number"},
        {"{\"field\":\"f\",\"eq\":\"x\"}", "a number"},
        {"{\"field\":\"b\",\"lt\":true}", "cannot compare field `b`"},
        {"{\"field\":\"b\",\"eq\":1}", "true or false"},
        {"{\"field\":\"s\",\"eq\":200}", "in quotes"},
        {"{\"field\":\"i\",\"match\":\"x\"}", "cannot compare field `i`"},
        {"{\"field\":\"s\",\"match\":\"(\"}", "regular expression"},
        {"{\"field\":\"t\",\"lt\":\"yesterday\"}", "a time such as"},
        {"{\"field\":\"v\",\"eq\":1}", "cannot compare field `v`"},
        {"{\"field\":\"none\",\"eq\":1}", "no field `none`"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pe_run r;
        bool opened = pe_run_open(&r, &builtin_filter, bad[i].params, SCHEMA, SCHEMA, 0, 1);
        if (opened || strstr(r.fail.what, bad[i].why) == NULL) {
            fail_msg("%s: %s", bad[i].params, r.fail.what);
        }
        pe_run_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_comparison_passes_what_it_says),
        cmocka_unit_test(what_cannot_be_compared_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
