/* tests/unit/builtin/lines_test.c - cutting bytes into lines and csv records.
 *
 * Goal:   any way in which bytes arrive gives the same lines; malformed UTF-8 is replaced; csv
 *         follows RFC 4180, complete or not.
 * Method: texts fed in every chunk size; tables of records. */
#include "pe/builtin/csv.h"
#include "pe/builtin/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* join - the lines of `text`, arriving `chunk` bytes at a time, each in brackets. */
static void join(const char *text, size_t bytes, size_t chunk, struct strbuf *out)
{
    struct lines in = {0};
    struct line line;
    size_t taken = 0;
    strbuf_clear(out);
    for (size_t at = 0; at <= bytes; at += chunk) {
        size_t n = bytes - at < chunk ? bytes - at : chunk;
        memcpy(lines_space(&in, chunk), text + at, n);
        lines_filled(&in, n);
        in.is_final = n < chunk;
        while (lines_next(&in, &line)) {
            strbuf_printf(out, "[%.*s]", (int)line.bytes, line.text);
            taken += line.taken;
            lines_untake(&in, &line);
            assert_true(lines_next(&in, &line));
        }
    }
    assert_int_equal(taken, bytes);
    lines_fini(&in);
}

static void lines_do_not_depend_on_how_bytes_arrive(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"", ""},
        {"\n", "[]"},
        {"a", "[a]"},
        {"a\n", "[a]"},
        {"a\r\nb\n\n c", "[a][b][][ c]"},
        {"\r\n\r\n", "[][]"},
        {"one\ntwo three\nfour\r", "[one][two three][four\r]"},
        {"a\rb\n", "[a\rb]"},
    };
    struct strbuf out = {0};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t bytes = strlen(texts[i][0]);
        for (size_t chunk = 1; chunk <= bytes + 1; chunk++) {
            join(texts[i][0], bytes, chunk, &out);
            assert_string_equal(strbuf_text(&out), texts[i][1]);
        }
    }
    strbuf_fini(&out);
}

static void bytes_above_ascii_are_noticed_until_they_are_taken(void **state)
{
    (void)state;
    struct lines in = {0};
    struct line line;
    memcpy(lines_space(&in, 40), "\xc3\xa9\nplain text that is longer than that\n", 40);
    lines_filled(&in, 40);
    assert_true(in.has_other);
    assert_true(lines_next(&in, &line));
    assert_true(in.has_other);
    lines_space(&in, 40);
    assert_false(in.has_other);
    lines_fini(&in);
}

static bool cut_all(const char *text, size_t chunk, struct strbuf *out, const char **why)
{
    struct csv c = {0};
    size_t bytes = strlen(text);
    size_t at = 0;
    size_t have = chunk < bytes ? chunk : bytes;
    bool good = true;
    strbuf_clear(out);
    *why = NULL;
    while (good && (at < bytes)) {
        size_t taken;
        char *exact = malloc(have - at + 1); /* so that reading beyond is seen */
        memcpy(exact, text + at, have - at);
        enum csv_cut cut = csv_cut(&c, exact, have - at, have == bytes, &taken, why);
        if (cut == CSV_RECORD) {
            for (uint32_t i = 0; i < c.cell_count; i++) {
                strbuf_printf(out, "<%.*s%s>", (int)c.cells[i].bytes, c.cells[i].text,
                              c.cells[i].has_doubled ? "#" : "");
            }
            strbuf_char(out, ';');
            at += taken;
        } else if (cut == CSV_MORE) {
            assert_true(have < bytes);
            have = have + chunk < bytes ? have + chunk : bytes;
        } else {
            good = false;
        }
        free(exact);
    }
    csv_fini(&c);
    return good;
}

static void csv_records_follow_rfc_4180_however_they_arrive(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"a,b\r\nc,d\r\n", "<a><b>;<c><d>;"},
        {"a,b\nc,d", "<a><b>;<c><d>;"},
        {",\n,,\n", "<><>;<><><>;"},
        {"\"a,b\",\"c\nd\"\n", "<a,b><c\nd>;"},
        {"\"say \"\"hi\"\"\",x\n", "<say \"\"hi\"\"#><x>;"},
        {"\"\",\"\"\"\"\r\n", "<><\"\"#>;"},
        {"a \"quoted\" b,c\n", "<a \"quoted\" b><c>;"},
        {"\"x\"", "<x>;"},
        {"\"x\"\r\n\"y\"\r\n", "<x>;<y>;"},
        {"a\n\nb\n", "<a>;<>;<b>;"},
    };
    struct strbuf out = {0};
    const char *why;
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t chunk = 1; chunk <= strlen(texts[i][0]); chunk++) {
            assert_true(cut_all(texts[i][0], chunk, &out, &why));
            assert_string_equal(strbuf_text(&out), texts[i][1]);
        }
    }
    for (size_t chunk = 1; chunk < 8; chunk++) {
        assert_false(cut_all("\"open,x\n", chunk, &out, &why));
        assert_string_equal(why, "a quote is never closed");
        assert_false(cut_all("\"a\"b,c\n", chunk, &out, &why));
        assert_string_equal(why, "text follows a closing quote");
        assert_false(cut_all("\"a\"\rb\n", chunk, &out, &why));
    }
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_do_not_depend_on_how_bytes_arrive),
        cmocka_unit_test(bytes_above_ascii_are_noticed_until_they_are_taken),
        cmocka_unit_test(csv_records_follow_rfc_4180_however_they_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
