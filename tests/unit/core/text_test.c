/* tests/unit/core/text_test.c - names, units, nearest words, escapes and times as text.
 *
 * Goal:   what people write is read exactly or refused; what is written can be read back.
 * Method: tables of texts with their values, and round trips over random ones. */
#include "core/text.h"

#include "core/prng.h"
#include "core/strbuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void names_are_dns_labels_and_fields_are_identifiers(void **state)
{
    (void)state;
    char longest[65];
    memset(longest, 'a', 64);
    longest[64] = '\0';
    assert_true(text_is_name("per-path2"));
    assert_true(text_is_name(longest + 1));
    assert_false(text_is_name(longest));
    assert_false(text_is_name(""));
    assert_false(text_is_name("2a"));
    assert_false(text_is_name("A"));
    assert_false(text_is_name("a_b"));
    assert_true(text_is_field("_Ab9"));
    assert_true(text_is_field(longest + 1));
    assert_false(text_is_field(longest));
    assert_false(text_is_field("9a"));
    assert_false(text_is_field("a-b"));
    assert_false(text_is_field(""));
}

static void integers_are_read_whole_and_within_64_bits(void **state)
{
    (void)state;
    int64_t v = 7;
    assert_true(text_parse_i64("-9223372036854775808", &v));
    assert_true(v == INT64_MIN);
    assert_true(text_parse_i64("+9223372036854775807", &v));
    assert_true(v == INT64_MAX);
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "1 ",
                                      " 1",
                                      "1.0",
                                      "0x1",
                                      "--1",
                                      "1e3",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        v = 7;
        assert_false(text_parse_i64(bad[i], &v));
        assert_int_equal(v, 7);
    }
}

static void decimals_are_finite_and_neither_hex_nor_words(void **state)
{
    (void)state;
    double v = 7;
    assert_true(text_parse_f64("-1.5e3", &v));
    assert_true(v == -1500.0);
    assert_true(text_parse_f64(".5", &v));
    assert_true(v == 0.5);
    assert_true(text_parse_f64("3.", &v));
    assert_true(v == 3.0);
    static const char *const bad[] = {"", ".", "nan", "inf", "0x1p3", "1e", "1e999", "1,5", "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(text_parse_f64(bad[i], &v));
    }
}

static void durations_and_sizes_carry_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } durations[] = {{"10us", 10},       {"10ms", 10000}, {"5s", 5000000},   {"2m", 120000000},
                     {"1h", 3600000000}, {"0s", 0},       {"1.5s", 1500000}, {"0.001ms", 1}},
      sizes[] = {{"512", 512},  {"64KiB", 65536}, {"1MiB", 1 << 20}, {"2GiB", (int64_t)1 << 31},
                 {"1KB", 1000}, {"7B", 7},        {"1.5KiB", 1536}};
    int64_t v;
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        assert_true(text_parse_duration_us(durations[i].text, &v));
        assert_true(v == durations[i].value);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_true(text_parse_size(sizes[i].text, &v));
        assert_true(v == sizes[i].value);
    }
    static const char *const bad[] = {"",
                                      "10",
                                      "-1s",
                                      "1 s",
                                      "s",
                                      "1.s",
                                      "0.0001ms",
                                      "1d",
                                      "9223372036854775807h",
                                      "1.0000000000s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(text_parse_duration_us(bad[i], &v));
    }
    assert_false(text_parse_size("-1", &v));
    assert_false(text_parse_size("64kib", &v));
    assert_false(text_parse_size("9223372036854775808", &v));
}

static void durations_are_written_in_their_shortest_exact_form(void **state)
{
    (void)state;
    struct prng p = {1};
    char text[32];
    text_duration(0, text, sizeof text);
    assert_string_equal(text, "0s");
    text_duration(90000000, text, sizeof text);
    assert_string_equal(text, "90s");
    for (unsigned i = 0; i < 10000; i++) {
        int64_t us = (int64_t)(prng_u64(&p) >> (1 + prng_below(&p, 60))), back;
        text_duration(us, text, sizeof text);
        assert_true(text_parse_duration_us(text, &back));
        assert_true(back == us);
    }
}

static void the_nearest_word_is_close_or_none(void **state)
{
    (void)state;
    static const char *const words[] = {"count", "sum", "filter", "parallelism", "null-sink"};
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        {"cout", "count"}, {"cuont", "count"}, {"filtre", "filter"}, {"paralellism", "parallelism"},
        {"sun", "sum"},    {"count", "count"}, {"kafka", NULL},      {"", NULL},
        {"x", NULL},       {"suuum", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = text_nearest(cases[i].word, words, 5);
        if (cases[i].nearest == NULL) {
            assert_null(got);
        } else {
            assert_non_null(got);
            assert_string_equal(got, cases[i].nearest);
        }
    }
    char longest[4096];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *candidate = longest;
    assert_null(text_nearest(longest, &candidate, 1));
}

static void only_well_formed_utf8_is_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"", true},
                 {"a\xc3\xa9", true},
                 {"\xe2\x82\xac", true},
                 {"\xf0\x9f\x98\x80", true},
                 {"\x80", false},
                 {"\xc0\x80", false},
                 {"\xe0\x80\x80", false},
                 {"\xed\xa0\x80", false},
                 {"\xf4\x90\x80\x80", false},
                 {"\xf5\x80\x80\x80", false},
                 {"\xe2\x82", false},
                 {"\xc3", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(text_is_utf8(cases[i].text, strlen(cases[i].text)), cases[i].good);
    }
}

static void json_strings_escape_what_json_forbids(void **state)
{
    (void)state;
    struct strbuf b = {0};
    text_json_string(&b,
                     "a\"\\\n\x01\xc3\xa9\xff"
                     "b\0c",
                     11);
    assert_string_equal(strbuf_text(&b), "\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd"
                                         "b\\u0000c\"");
    strbuf_clear(&b);
    text_json_string(&b, "", 0);
    assert_string_equal(strbuf_text(&b), "\"\"");
    strbuf_fini(&b);
}

static void times_are_rfc3339_and_come_back(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } known[] = {{0, "1970-01-01T00:00:00.000000Z"},
                 {-1, "1969-12-31T23:59:59.999999Z"},
                 {951782400000000, "2000-02-29T00:00:00.000000Z"},
                 {1795359845123456, "2026-11-22T15:04:05.123456Z"},
                 {253402300799999999, "9999-12-31T23:59:59.999999Z"},
                 {INT64_MAX, "9999-12-31T23:59:59.999999Z"},
                 {INT64_MIN, "0000-01-01T00:00:00.000000Z"}};
    char text[28];
    int64_t back;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        text_rfc3339_us(known[i].us, text);
        assert_string_equal(text, known[i].text);
    }
    struct prng p = {2};
    for (unsigned i = 0; i < 20000; i++) {
        int64_t us = (int64_t)prng_below(&p, 315569519999999999u) - 62167219200000000;
        text_rfc3339_us(us, text);
        assert_true(text_parse_rfc3339_us(text, strlen(text), &back));
        assert_true(back == us);
    }
}

static void other_spellings_of_a_time_are_read_and_nonsense_is_not(void **state)
{
    (void)state;
    int64_t us;
    const char *offset = "1970-01-01t02:00:01.5+02:00";
    assert_true(text_parse_rfc3339_us(offset, strlen(offset), &us));
    assert_int_equal(us, 1500000);
    const char *nanos = "1970-01-01 00:00:00.123456789Z";
    assert_true(text_parse_rfc3339_us(nanos, strlen(nanos), &us));
    assert_int_equal(us, 123456);
    static const char *const bad[] = {"",
                                      "1970-01-01",
                                      "1970-01-01T00:00:00",
                                      "1970-13-01T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "1970-01-01T24:00:00Z",
                                      "1970-01-01T00:00:00.Z",
                                      "1970-01-01T00:00:00+2:00",
                                      "1970-01-01T00:00:00Zx",
                                      "1970-01-00T00:00:00Z"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(text_parse_rfc3339_us(bad[i], strlen(bad[i]), &us));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_dns_labels_and_fields_are_identifiers),
        cmocka_unit_test(integers_are_read_whole_and_within_64_bits),
        cmocka_unit_test(decimals_are_finite_and_neither_hex_nor_words),
        cmocka_unit_test(durations_and_sizes_carry_units),
        cmocka_unit_test(durations_are_written_in_their_shortest_exact_form),
        cmocka_unit_test(the_nearest_word_is_close_or_none),
        cmocka_unit_test(only_well_formed_utf8_is_utf8),
        cmocka_unit_test(json_strings_escape_what_json_forbids),
        cmocka_unit_test(times_are_rfc3339_and_come_back),
        cmocka_unit_test(other_spellings_of_a_time_are_read_and_nonsense_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
