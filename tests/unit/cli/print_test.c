/* tests/unit/cli/print_test.c - errors, numbers and tables look as documented.
 *
 * Goal:   the exact bytes that people and scripts see.
 * Method: streams in memory. */
#include "cli/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct memory {
    char *text;
    size_t bytes;
};

static void text_is(struct memory *m, const char *want)
{
    assert_string_equal(m->text, want);
    free(m->text);
}

static void an_error_names_what_why_and_what_to_do(void **state)
{
    (void)state;
    struct memory m;
    struct cli cli = {.err = open_memstream(&m.text, &m.bytes)};
    cli_error(&cli, "a", "b", "c");
    cli_error(&cli, "a", NULL, "c");
    cli_error(&cli, "a", "", NULL);
    fclose(cli.err);
    text_is(&m, "error: a; b; c\nerror: a; c\nerror: a\n");
}

static void the_kind_of_failure_chooses_the_exit_code(void **state)
{
    (void)state;
    static const struct {
        enum err code;
        int want;
    } cases[] = {
        {ERR_CLOSED, EXIT_UNREACHABLE}, {ERR_TIMEOUT, EXIT_TIMEOUT}, {ERR_INVALID, EXIT_REFUSED},
        {ERR_NOTFOUND, EXIT_REFUSED},   {ERR_IO, EXIT_FAILED},       {ERR_NOMEM, EXIT_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct memory m;
        struct cli cli = {.err = open_memstream(&m.text, &m.bytes)};
        struct fail f = {.code = cases[i].code, .what = "w", .hint = "h"};
        assert_int_equal(cli_fail(&cli, &f), cases[i].want);
        fclose(cli.err);
        text_is(&m, "error: w; h\n");
    }
}

static void a_refusal_prints_its_diagnostics_with_the_file(void **state)
{
    (void)state;
    struct memory m;
    struct cli cli = {.err = open_memstream(&m.text, &m.bytes)};
    struct client_reply r = {.status = 422};
    r.json = json_pack("{s:{s:s, s:s, s:[{s:s, s:i, s:i, s:s, s:s}]}}", "error", "message",
                       "topology refused", "hint", "correct it", "diags", "level", "error", "line",
                       3, "column", 7, "message", "unknown PE", "hint", "count?");
    assert_int_equal(cli_refused(&cli, &r, "a.yaml"), EXIT_REFUSED);
    fclose(cli.err);
    text_is(&m, "a.yaml:3:7: unknown PE (count?)\nerror: topology refused; correct it\n");
    client_reply_fini(&r);
}

static void numbers_are_short_and_readable(void **state)
{
    (void)state;
    char out[NUMBER_TEXT_BYTES];
    number_count(0, out);
    assert_string_equal(out, "0");
    number_count(999, out);
    assert_string_equal(out, "999");
    number_count(1234567, out);
    assert_string_equal(out, "1,234,567");
    number_count(UINT64_MAX, out);
    assert_string_equal(out, "18,446,744,073,709,551,615");
    number_rate(0, out);
    assert_string_equal(out, "0");
    number_rate(12.5, out);
    assert_string_equal(out, "12.5");
    number_rate(980, out);
    assert_string_equal(out, "980");
    number_rate(52000, out);
    assert_string_equal(out, "52.0k");
    number_rate(999960, out);
    assert_string_equal(out, "1.0M");
    number_share(0.314, out);
    assert_string_equal(out, "31%");
    number_us(12, out);
    assert_string_equal(out, "12 us");
    number_us(2000, out);
    assert_string_equal(out, "2.0 ms");
    number_us(1500000, out);
    assert_string_equal(out, "1.5 s");
}

static void fill(struct table *t)
{
    static const char *const heads[] = {"NAME", ">COUNT", "WHAT"};
    table_init(t, heads, 3);
    table_cell(t, "a");
    table_cell(t, "1,000,000");
    table_styled(t, "x|y", TABLE_GOOD);
    table_cell(t, "longer");
    table_cell(t, "2");
    table_cell(t, "");
}

static void a_table_aligns_its_columns(void **state)
{
    (void)state;
    struct memory m;
    struct table t;
    fill(&t);
    FILE *out = open_memstream(&m.text, &m.bytes);
    table_print(&t, out, false);
    fclose(out);
    text_is(&m, "NAME        COUNT  WHAT\n"
                "a       1,000,000  x|y\n"
                "longer          2  \n");
    out = open_memstream(&m.text, &m.bytes);
    table_print(&t, out, true);
    fclose(out);
    text_is(&m, "NAME        COUNT  WHAT\n"
                "a       1,000,000  \033[32mx|y\033[0m\n"
                "longer          2  \n");
    out = open_memstream(&m.text, &m.bytes);
    table_markdown(&t, out);
    fclose(out);
    text_is(&m, "| name | count | what |\n|---|---:|---|\n| a | 1,000,000 | x\\|y |\n"
                "| longer | 2 |  |\n");
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_what_why_and_what_to_do),
        cmocka_unit_test(the_kind_of_failure_chooses_the_exit_code),
        cmocka_unit_test(a_refusal_prints_its_diagnostics_with_the_file),
        cmocka_unit_test(numbers_are_short_and_readable),
        cmocka_unit_test(a_table_aligns_its_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
