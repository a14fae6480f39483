/* tests/unit/builtin/keyed_test.c - the built-in PEs `count` and `sum`.
 *
 * Goal:   running and final results per group, for one field and several, of both number types.
 * Method: the harness; final results come in no order, so their lines are looked for one by one. */
#include "pe/builtin/keyed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/mem.h"
#include "pe/batch.h"
#include "pe/keys.h"

#include <stdio.h>

extern const struct oxb_pe_type builtin_count;
extern const struct oxb_pe_type builtin_sum;

static struct oxb_harness *open_harness(const struct oxb_pe_type *type, const char *params,
                                        const char *in)
{
    char err[512] = "";
    struct oxb_harness *h = oxb_harness_new(type, params, in, NULL, err, sizeof err);
    assert_string_equal(err, "");
    assert_non_null(h);
    return h;
}

static void feed(struct oxb_harness *h, const char *lines)
{
    assert_int_equal(oxb_harness_feed(h, lines), OXB_OK);
    assert_string_equal(oxb_harness_error(h), "");
}

static void count_gives_a_running_number_per_tuple(void **unused)
{
    (void)unused;
    struct oxb_harness *h = open_harness(&builtin_count, "{\"by\":\"w\"}", "n: i64, w: str");
    feed(h, "{\"n\":1,\"w\":\"a\"}\n{\"n\":2,\"w\":\"b\"}\n{\"n\":3,\"w\":\"a\"}");
    feed(h, "{\"n\":4,\"w\":\"a\"}");
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    assert_string_equal(oxb_harness_output(h, 0),
                        "{\"w\":\"a\",\"count\":1}\n{\"w\":\"b\",\"count\":1}\n"
                        "{\"w\":\"a\",\"count\":2}\n{\"w\":\"a\",\"count\":3}\n");
    oxb_harness_free(h);
}

static void a_field_called_count_does_not_stand_in_for_the_result(void **unused)
{
    (void)unused;
    struct oxb_harness *h = open_harness(&builtin_count, "{\"by\":[\"k\"]}", "count: i64, k: i64");
    feed(h, "{\"count\":70,\"k\":5}\n{\"count\":80,\"k\":5}");
    assert_string_equal(oxb_harness_output(h, 0), "{\"k\":5,\"count\":1}\n{\"k\":5,\"count\":2}\n");
    oxb_harness_free(h);
    h = open_harness(&builtin_sum, "{\"by\":\"k\",\"field\":\"sum\"}", "sum: i64, k: i64");
    feed(h, "{\"sum\":70,\"k\":5}\n{\"sum\":80,\"k\":5}");
    assert_string_equal(oxb_harness_output(h, 0), "{\"k\":5,\"sum\":70}\n{\"k\":5,\"sum\":150}\n");
    oxb_harness_free(h);
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n' ? 1 : 0;
    }
    return n;
}

static void final_results_come_once_per_group_at_the_end(void **unused)
{
    (void)unused;
    struct oxb_harness *h = open_harness(
        &builtin_count, "{\"by\":[\"w\",\"b\"],\"emit\":\"final\"}", "w: str, n: i64, b: bool");
    feed(h, "{\"w\":\"x\",\"n\":1,\"b\":true}\n{\"w\":\"x\",\"n\":1,\"b\":false}\n"
            "{\"w\":\"\",\"n\":1,\"b\":true}\n{\"w\":\"x\",\"n\":2,\"b\":true}");
    assert_string_equal(oxb_harness_output(h, 0), "");
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    const char *out = oxb_harness_output(h, 0);
    assert_int_equal(lines_of(out), 3);
    assert_non_null(strstr(out, "{\"w\":\"x\",\"b\":true,\"count\":2}\n"));
    assert_non_null(strstr(out, "{\"w\":\"x\",\"b\":false,\"count\":1}\n"));
    assert_non_null(strstr(out, "{\"w\":\"\",\"b\":true,\"count\":1}\n"));
    oxb_harness_free(h);
}

static void sums_are_of_the_type_of_their_field(void **unused)
{
    (void)unused;
    struct oxb_harness *h =
        open_harness(&builtin_sum, "{\"by\":\"k\",\"field\":\"x\"}", "x: f64, k: i64");
    feed(h, "{\"x\":1.5,\"k\":1}\n{\"x\":-4,\"k\":2}\n{\"x\":0.25,\"k\":1}");
    assert_non_null(strstr(oxb_harness_output(h, 0), "{\"k\":1,\"sum\":1.75}\n"));
    assert_int_equal(lines_of(oxb_harness_output(h, 0)), 3);
    oxb_harness_free(h);
    h = open_harness(&builtin_sum, "{\"by\":\"k\",\"field\":\"x\",\"emit\":\"final\"}",
                     "k: i64, x: i64");
    feed(h, "{\"x\":9223372036854775807,\"k\":1}\n{\"x\":-4,\"k\":2}\n{\"x\":1,\"k\":1}");
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    assert_non_null(strstr(oxb_harness_output(h, 0), "{\"k\":1,\"sum\":-9223372036854775808}\n"));
    assert_non_null(strstr(oxb_harness_output(h, 0), "{\"k\":2,\"sum\":-4}\n"));
    oxb_harness_free(h);
}

static void many_groups_fill_several_batches(void **unused)
{
    (void)unused;
    struct oxb_harness *h =
        open_harness(&builtin_sum, "{\"by\":\"k\",\"field\":\"k\",\"emit\":\"final\"}", "k: i64");
    for (int i = 0; i < 5000; i += 100) {
        char lines[100 * 16];
        int n = 0;
        for (int k = i; k < i + 100; k++) {
            n += snprintf(lines + n, sizeof(lines) - (size_t)n, "{\"k\":%d}\n", k);
        }
        feed(h, lines);
    }
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    const char *out = oxb_harness_output(h, 0);
    assert_int_equal(lines_of(out), 5000);
    assert_non_null(strstr(out, "{\"k\":4999,\"sum\":4999}\n"));
    oxb_harness_free(h);
}

static void what_cannot_be_grouped_or_added_is_refused(void **unused)
{
    (void)unused;
    static const char *const bad[][2] = {
        {"{\"by\":\"k\",\"field\":\"s\"}", "k: i64, s: str"},
        {"{\"by\":\"k\",\"field\":\"t\"}", "k: i64, t: time"},
        {"{\"by\":\"v\",\"field\":\"k\"}", "k: i64, v: f32[4]"},
        {"{\"by\":\"none\",\"field\":\"k\"}", "k: i64"},
        {"{\"field\":\"k\"}", "k: i64"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char err[512] = "";
        struct oxb_harness *h =
            oxb_harness_new(&builtin_sum, bad[i][0], bad[i][1], NULL, err, sizeof err);
        if (h != NULL) {
            (void)oxb_harness_feed(h, "");
            snprintf(err, sizeof err, "%s", oxb_harness_error(h));
        }
        assert_string_not_equal(err, "");
        oxb_harness_free(h);
    }
}

/* Routing and state must agree on every key's hash: K1 of pe/keys.h. */
static void routing_hashes_as_state_does(void **unused)
{
    (void)unused;
    static const unsigned by[] = {2, 0, 1, 3, 4};
    const struct oxb_schema *schema;
    struct fail f;
    assert_int_equal(schema_parse("k: i64, x: f64, s: str, b: bool, t: time", &schema, &f), ERR_OK);
    struct pool *pool = pool_new(1 << 20);
    struct builder w;
    builder_init(&w, pool, schema, NULL, NULL);
    builder_open(&w);
    for (int i = 0; i < 50; i++) {
        uint32_t row = oxb_row(&w.pub);
        char text[32];
        int n = snprintf(text, sizeof text, "%*d", i % 30, i);
        oxb_put_i64(&w.pub, 0, row, i * 7919 - 50);
        oxb_put_f64(&w.pub, 1, row, i == 3 ? -0.0 : i == 4 ? 0.0 : i / 3.0);
        oxb_put_str(&w.pub, 2, row, text, (uint32_t)n);
        oxb_put_bool(&w.pub, 3, row, i % 3 == 0);
        oxb_put_i64(&w.pub, 4, row, i);
        oxb_commit(&w.pub);
    }
    struct batch *b = builder_finish(&w);
    uint64_t routed[50], stored[50];
    for (unsigned first = 0; first < 5; first++) {
        for (unsigned count = 1; first + count <= 5; count++) {
            batch_hash_keys(&b->pub, by + first, count, routed);
            key_hash_batch(&b->pub, by + first, count, stored);
            assert_memory_equal(routed, stored, sizeof routed);
        }
    }
    batch_free(b);
    builder_fini(&w);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count_gives_a_running_number_per_tuple),
        cmocka_unit_test(a_field_called_count_does_not_stand_in_for_the_result),
        cmocka_unit_test(final_results_come_once_per_group_at_the_end),
        cmocka_unit_test(sums_are_of_the_type_of_their_field),
        cmocka_unit_test(many_groups_fill_several_batches),
        cmocka_unit_test(what_cannot_be_grouped_or_added_is_refused),
        cmocka_unit_test(routing_hashes_as_state_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
