/* tests/unit/builtin/words_test.c - splitting text into words.
 *
 * Goal:   the fast splitter gives what a naive one gives, for any bytes, lengths and batch ends.
 * Method: random bytes of several mixes against a loop over isalnum-like tests; edge cases by
 *         hand. */
#include "core/prng.h"
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void naive(const unsigned char *p, size_t bytes, struct strbuf *out)
{
    bool inside = false;
    for (size_t i = 0; i <= bytes; i++) {
        unsigned char c = i < bytes ? p[i] : ' ';
        c = (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (is_word && !inside) {
            strbuf_text_add(out, "{\"word\":\"");
        }
        if (is_word) {
            strbuf_char(out, (char)c);
        }
        if (!is_word && inside) {
            strbuf_text_add(out, "\"}\n");
        }
        inside = is_word;
    }
}

/* check - one batch of rows cut from `text` at random places. */
static void check(struct pe_run *r, struct prng *rng, const unsigned char *text, size_t bytes)
{
    struct builder rows;
    struct strbuf wanted = {0};
    builder_init(&rows, r->pool, r->in, NULL, NULL);
    strbuf_clear(&r->out);
    for (size_t at = 0; at < bytes;) {
        size_t n = prng_below(rng, 700);
        n = n < bytes - at ? n : bytes - at;
        if (rows.pub.rows > 0 && (rows.pub.rows == rows.pub.rows_max || rows.pub.heap_left == 0)) {
            pe_process(r->pe, 0, builder_finish(&rows));
        }
        uint32_t row = oxb_row(&rows.pub);
        oxb_put_str(&rows.pub, 0, row, (const char *)text + at, (uint32_t)n);
        oxb_commit(&rows.pub);
        naive(text + at, n, &wanted);
        at += n;
    }
    pe_process(r->pe, 0, builder_finish(&rows));
    pe_flush_writers(r->pe);
    builder_fini(&rows);
    assert_string_equal(pe_run_text(r), strbuf_text(&wanted));
    strbuf_fini(&wanted);
}

static void random_bytes_split_as_a_naive_splitter_does(void **state)
{
    (void)state;
    static const char sparse[] = "aZ09 -_@[`{/:\x7f\x80\xc3\xa9";
    struct prng rng = {.state = 7};
    struct pe_run r;
    assert_true(pe_run_open(&r, &builtin_words, "{}", "line: str", "word: str", 0, 1));
    assert_true(pe_run_start(&r));
    unsigned char *text = malloc(60000);
    for (unsigned round = 0; round < 40; round++) {
        size_t bytes = 1 + prng_below(&rng, 59999);
        for (size_t i = 0; i < bytes; i++) {
            uint64_t v = prng_u64(&rng) >> 24;
            text[i] = round % 4 == 0   ? (unsigned char)v
                      : round % 4 == 1 ? (unsigned char)sparse[v % (sizeof sparse - 1)]
                      : round % 4 == 2 ? (unsigned char)(v % 97 == 0 ? ' ' : 'Q')
                                       : (unsigned char)(v % 2 == 0 ? ' ' : 'x');
        }
        check(&r, &rng, text, bytes);
    }
    free(text);
    pe_run_close(&r);
}

static void a_word_of_a_megabyte_is_one_word(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(pe_run_open(&r, &builtin_words, "{}", "line: str", "word: str", 0, 1));
    assert_true(pe_run_start(&r));
    size_t bytes = 1u << 20;
    char *json = malloc(bytes + 64);
    memcpy(json, "{\"line\":\"-", 10);
    memset(json + 10, 'A', bytes);
    memcpy(json + 10 + bytes, "- b\"}", 6);
    assert_int_equal(pe_run_feed(&r, json), OXB_OK);
    assert_int_equal(r.rows, 2);
    assert_int_equal(strlen(pe_run_text(&r)), bytes + 12 + 13);
    free(json);
    pe_run_close(&r);
}

static void only_live_rows_are_split_and_empty_text_gives_nothing(void **state)
{
    (void)state;
    struct pe_run r;
    const uint16_t sel[] = {1, 2, 4};
    assert_true(
        pe_run_open(&r, &builtin_words, "{\"field\":\"t\"}", "n: i64, t: str", "word: str", 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_sel(&r,
                                "{\"n\":0,\"t\":\"no\"}\n{\"n\":1,\"t\":\"Ab, c3\"}\n"
                                "{\"n\":2,\"t\":\"\"}\n{\"n\":3,\"t\":\"no\"}\n"
                                "{\"n\":4,\"t\":\" .d\"}",
                                sel, 3),
                     OXB_OK);
    assert_string_equal(pe_run_text(&r),
                        "{\"word\":\"ab\"}\n{\"word\":\"c3\"}\n{\"word\":\"d\"}\n");
    pe_run_close(&r);
}

static void a_field_that_is_no_text_is_an_error(void **state)
{
    (void)state;
    struct pe_run r;
    assert_false(pe_run_open(&r, &builtin_words, "{\"field\":\"n\"}", "n: i64", "word: str", 0, 1));
    assert_non_null(strstr(r.fail.what, "`n` is no text"));
    pe_run_close(&r);
    assert_false(pe_run_open(&r, &builtin_words, "{}", "n: i64", "word: str", 0, 1));
    assert_non_null(strstr(r.fail.what, "no field `line`"));
    pe_run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes_split_as_a_naive_splitter_does),
        cmocka_unit_test(a_word_of_a_megabyte_is_one_word),
        cmocka_unit_test(only_live_rows_are_split_and_empty_text_gives_nothing),
        cmocka_unit_test(a_field_that_is_no_text_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
