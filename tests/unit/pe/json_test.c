/* tests/unit/pe/json_test.c - rows to JSON and back.
 *
 * Goal:   what is written is read back to equal values; hostile text is refused without a trace.
 * Method: tables of texts; random f64 bits; every truncation of one line. */
#include "core/prng.h"
#include "core/strbuf.h"
#include "core/text.h"
#include "pe/batch.h"
#include "pe/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct rows {
    struct pool *pool;
    struct builder b;
};

static void rows_open(struct rows *r, const char *schema)
{
    const struct oxb_schema *s = NULL;
    assert_int_equal(schema_parse(schema, &s, NULL), ERR_OK);
    r->pool = pool_new(0);
    builder_init(&r->b, r->pool, s, NULL, NULL);
}

static void rows_close(struct rows *r)
{
    builder_fini(&r->b);
    pool_free(r->pool);
}

static void expect_written(const char *schema, const char *in, const char *out)
{
    struct rows r;
    struct fail f = {0};
    struct strbuf text = {0};
    rows_open(&r, schema);
    enum err e = row_parse_json(&r.b, in, strlen(in), &f);
    assert_string_equal(f.what, "");
    assert_int_equal(e, ERR_OK);
    struct batch *batch = builder_finish(&r.b);
    batch_json_row(&batch->pub, 0, &text);
    assert_string_equal(strbuf_text(&text), out);
    strbuf_fini(&text);
    batch_free(batch);
    rows_close(&r);
}

static void expect_refused(const char *schema, const char *in, const char *mention)
{
    struct rows r;
    struct fail f = {0};
    rows_open(&r, schema);
    assert_int_not_equal(row_parse_json(&r.b, in, strlen(in), &f), ERR_OK);
    if (strstr(f.what, mention) == NULL) {
        fail_msg("`%s` lacks `%s`", f.what, mention);
    }
    assert_null(builder_finish(&r.b));
    rows_close(&r);
}

static void every_type_is_written_as_documented(void **state)
{
    (void)state;
    expect_written("a: i64, b: f64, c: bool, d: str, e: bytes, f: time, g: f32[2,2]",
                   " { \"g\":[1.5,2,3,4e-1], \"f\" : \"2026-11-22T15:04:05.123456Z\" ,"
                   "\"a\":-9223372036854775808,\"b\":3,\"c\":false,\"d\":\"x\",\"e\":\"AAH/\"} ",
                   "{\"a\":-9223372036854775808,\"b\":3.0,\"c\":false,\"d\":\"x\","
                   "\"e\":\"AAH/\",\"f\":\"2026-11-22T15:04:05.123456Z\","
                   "\"g\":[[1.5,2],[3,0.4]]}");
    expect_written("a: i64", "{\"a\":9223372036854775807}", "{\"a\":9223372036854775807}");
    expect_written("g: f32[1,2,2]", "{\"g\":[[[1,2],[3,null]]]}", "{\"g\":[[[1,2],[3,null]]]}");
    expect_written("e: bytes", "{\"e\":\"/w\"}", "{\"e\":\"/w==\"}");
    expect_written("f: time", "{\"f\":0}", "{\"f\":\"1970-01-01T00:00:00.000000Z\"}");
}

static void strings_keep_escapes_and_unicode(void **state)
{
    (void)state;
    expect_written("s: str", "{\"s\":\"a\\\"b\\\\c\\/d\\n\\t\"}",
                   "{\"s\":\"a\\\"b\\\\c/d\\n\\t\"}");
    expect_written("s: str", "{\"s\":\"\\u00e9\\ud83d\\ude00\\u0041\"}",
                   "{\"s\":\"\xc3\xa9\xf0\x9f\x98\x80"
                   "A\"}");
    expect_written("s: str", "{\"s\":\"\\ud83d!\"}", "{\"s\":\"\xef\xbf\xbd!\"}");
    expect_written("s: str, n: i64", "{\"s\":\"\\u0000\",\"n\":1}",
                   "{\"s\":\"\\u0000\",\"n\":1}");
}

static void members_that_the_schema_does_not_name_are_skipped(void **state)
{
    (void)state;
    expect_written("n: i64",
                   "{\"x\":{\"y\":[1,{\"z\":\"}\"}]},\"n\":4,\"w\":\"\\\"\",\"v\":null}",
                   "{\"n\":4}");
}

static void wrong_text_is_refused_and_named(void **state)
{
    (void)state;
    expect_refused("n: i64", "{}", "`n`: missing");
    expect_refused("n: i64", "{\"n\":1.0}", "`n`");
    expect_refused("n: i64", "{\"n\":\"1\"}", "`n`");
    expect_refused("n: i64", "{\"n\":9223372036854775808}", "64 bits");
    expect_refused("n: i64", "{\"n\":01}", "start with 0");
    expect_refused("n: i64", "{\"n\":-}", "integer");
    expect_refused("n: f64", "{\"n\":1e999}", "range");
    expect_refused("n: f64", "{\"n\":.5}", "number");
    expect_refused("n: f64", "{\"n\":1.}", "digits");
    expect_refused("b: bool", "{\"b\":1}", "true or false");
    expect_refused("s: str", "{\"s\":\"\x01\"}", "control");
    expect_refused("s: str", "{\"s\":\"\\x\"}", "escape");
    expect_refused("s: str", "{\"s\":\"\\u12g4\"}", "escape");
    expect_refused("s: str", "{\"s\":\"\xff\"}", "UTF-8");
    expect_refused("s: str", "{\"s\":\"abc}", "no end");
    expect_refused("e: bytes", "{\"e\":\"A\"}", "base64");
    expect_refused("e: bytes", "{\"e\":\"AA=A\"}", "base64");
    expect_refused("f: time", "{\"f\":\"yesterday\"}", "time");
    expect_refused("g: f32[2]", "{\"g\":[1]}", "too few");
    expect_refused("g: f32[2]", "{\"g\":[1,2,3]}", "too many");
    expect_refused("g: f32[2]", "{\"g\":[1,2,]}", "number");
    expect_refused("g: f32[2]", "{\"g\":[[[[[[[[[1,2]]]]]]]]]}", "deeply");
    expect_refused("n: i64", "{\"n\":1} x", "after the object");
    expect_refused("n: i64", "[1]", "object");
    expect_refused("n: i64", "", "object");
    expect_refused("n: i64", "{\"n\":1,}", "name in quotes");
}

static void every_truncation_is_refused_and_leaves_no_bytes(void **state)
{
    (void)state;
    static const char line[] = "{\"s\":\"a\\u00e9b\",\"n\":12,\"x\":-1.5e3,\"b\":true,"
                               "\"e\":\"AAEC\",\"f\":\"2026-11-22T15:04:05.123456Z\","
                               "\"g\":[1,2],\"extra\":[{}]}";
    struct rows r;
    rows_open(&r, "s: str, n: i64, x: f64, b: bool, e: bytes, f: time, g: f32[2]");
    for (size_t n = 0; n + 1 < sizeof line; n++) {
        char *exact = malloc(n + 1); /* ASan sees a read past the end */
        memcpy(exact, line, n);
        assert_int_not_equal(row_parse_json(&r.b, exact, n, NULL), ERR_OK);
        assert_int_equal(r.b.pub.cols[0].heap_used, 0); /* J3 */
        free(exact);
    }
    assert_int_equal(row_parse_json(&r.b, line, sizeof line - 1, NULL), ERR_OK);
    rows_close(&r);
}

static void f64_take_the_shortest_form_that_reads_back(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } table[] = {{0, "0.0"}, {-0.0, "-0.0"}, {0.1, "0.1"}, {1.25, "1.25"}, {-3, "-3.0"},
                 {1e21, "1e+21"}, {123456789.125, "123456789.125"},
                 {5e-324, "4.94065645841247e-324"},
                 {0.30000000000000004, "0.30000000000000004"}, {1e15, "1e+15"},
                 {INFINITY, "null"}, {NAN, "null"}};
    char text[64];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        *json_put_f64(text, table[i].v) = '\0';
        assert_string_equal(text, table[i].text);
    }
}

static void random_f64_read_back_bit_for_bit(void **state)
{
    (void)state;
    struct prng prng = {42};
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = prng_u64(&prng);
        double v, back = 0;
        if (i % 2 == 0) {
            memcpy(&v, &bits, sizeof v);
        } else {
            v = (double)(int64_t)(bits % 2000000000) / 1000.0;
        }
        if (!isfinite(v)) {
            continue;
        }
        char text[64];
        char *end = json_put_f64(text, v);
        struct json_cursor c = {.at = text, .end = end};
        assert_true(json_number(&c, &back));
        assert_ptr_equal(c.at, end);
        assert_memory_equal(&back, &v, sizeof v);
    }
}

static void tsv_escapes_what_would_break_a_line(void **state)
{
    (void)state;
    static const char line[] = "{\"s\":\"a\\tb\\nc\\\\\",\"n\":1,\"e\":\"/w==\"}";
    struct rows r;
    struct strbuf text = {0};
    rows_open(&r, "s: str, n: i64, e: bytes");
    assert_int_equal(row_parse_json(&r.b, line, sizeof line - 1, NULL), ERR_OK);
    struct batch *batch = builder_finish(&r.b);
    batch_tsv_row(&batch->pub, 0, &text);
    assert_string_equal(strbuf_text(&text), "a\\tb\\nc\\\\\t1\t/w==");
    strbuf_fini(&text);
    batch_free(batch);
    rows_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_written_as_documented),
        cmocka_unit_test(strings_keep_escapes_and_unicode),
        cmocka_unit_test(members_that_the_schema_does_not_name_are_skipped),
        cmocka_unit_test(wrong_text_is_refused_and_named),
        cmocka_unit_test(every_truncation_is_refused_and_leaves_no_bytes),
        cmocka_unit_test(f64_take_the_shortest_form_that_reads_back),
        cmocka_unit_test(random_f64_read_back_bit_for_bit),
        cmocka_unit_test(tsv_escapes_what_would_break_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
