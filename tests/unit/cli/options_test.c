/* tests/unit/cli/options_test.c - the command line means what --help says.
 *
 * Goal:   global options work on both sides of the verb; whatever is not understood is refused.
 * Method: a small verb table of our own; errors are written to memory and read back. */
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sample_options {
    bool quick;
    uint32_t workers;
    const char *http;
    const char *format;
    uint64_t timeout_us;
};

static const struct option sample_list[] = {
    {.name = "--quick",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct sample_options, quick),
     .doc = "quickly"},
    {.name = "--workers",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct sample_options, workers),
     .value = "N",
     .min = 1,
     .max = 8,
     .doc = "how many"},
    {.name = "--http",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct sample_options, http),
     .value = "ADDRESS",
     .doc = "where"},
    {.name = "--format",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct sample_options, format),
     .value = "F",
     .choices = "text dot svg",
     .doc = "how"},
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct sample_options, timeout_us),
     .value = "S",
     .doc = "how long"},
    {.name = NULL},
};

static const struct verb sample = {
    .name = "sample",
    .usage = "sample FILE",
    .brief = "does it",
    .help = "Example: oxbow sample f",
    .args_min = 1,
    .args_max = 2,
    .options = sample_list,
    .options_bytes = sizeof(struct sample_options),
};
static const struct verb plain = {
    .name = "plain", .usage = "plain", .brief = "does that", .help = "Example: oxbow plain"};
static const struct verb *const verbs[] = {&sample, &plain, NULL};

struct parsed {
    struct cli cli;
    struct command command;
    char *errors;
    int code;
    char line[512]; /* cut into words */
};

static void parse(struct parsed *p, const char *line) /* words separated by one blank */
{
    char *argv[32] = {(char *)"oxbow"};
    int argc = 1;
    size_t bytes = 0;
    memset(p, 0, sizeof *p);
    p->cli.master = "default";
    p->cli.err = open_memstream(&p->errors, &bytes);
    snprintf(p->line, sizeof p->line, "%s", line);
    for (char *word = p->line; word != NULL && *word != '\0';) {
        argv[argc++] = word;
        word = strchr(word, ' ');
        if (word != NULL) {
            *word++ = '\0';
        }
    }
    p->code = options_parse(&p->cli, verbs, argc, argv, &p->command);
    fclose(p->cli.err);
}

static void parsed_fini(struct parsed *p)
{
    command_fini(&p->command);
    free(p->errors);
}

static void refuses(const char *line, const char *error)
{
    struct parsed p;
    parse(&p, line);
    assert_int_equal(p.code, EXIT_USAGE);
    assert_string_equal(p.errors, error);
    parsed_fini(&p);
}

static void every_kind_of_option_is_read(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "sample --quick --workers 3 --http=h:1 a --format svg --timeout 90 b");
    const struct sample_options *o = p.command.options;
    assert_int_equal(p.code, EXIT_DONE);
    assert_true(o->quick);
    assert_int_equal(o->workers, 3);
    assert_string_equal(o->http, "h:1");
    assert_string_equal(o->format, "svg");
    assert_int_equal(o->timeout_us, 90000000);
    assert_int_equal(p.command.arg_count, 2);
    assert_string_equal(p.command.args[1], "b");
    parsed_fini(&p);
    parse(&p, "sample a --timeout 500ms");
    o = p.command.options;
    assert_int_equal(o->timeout_us, 500000);
    parsed_fini(&p);
}

static void global_options_stand_before_or_after_the_verb(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "--master m:1 -o json sample f", "sample f -ojson --master=m:1",
        "-o json sample --master m:1 f", "sample --output json f --master m:1"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed p;
        parse(&p, lines[i]);
        assert_int_equal(p.code, EXIT_DONE);
        assert_string_equal(p.cli.master, "m:1");
        assert_true(p.cli.json);
        assert_ptr_equal(p.command.verb, &sample);
        assert_string_equal(p.command.args[0], "f");
        parsed_fini(&p);
    }
}

static void help_and_version_need_no_arguments(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "sample --help");
    assert_int_equal(p.code, EXIT_DONE);
    assert_true(p.command.help);
    parsed_fini(&p);
    parse(&p, "--version");
    assert_true(p.command.version);
    parsed_fini(&p);
    parse(&p, "help sample");
    assert_int_equal(p.code, EXIT_DONE);
    assert_null(p.command.verb);
    assert_string_equal(p.command.args[1], "sample");
    parsed_fini(&p);
}

static void words_after_two_dashes_are_arguments(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "sample -- --quick");
    assert_int_equal(p.code, EXIT_DONE);
    assert_string_equal(p.command.args[0], "--quick");
    parsed_fini(&p);
}

static void what_is_not_understood_is_refused(void **state)
{
    (void)state;
    refuses("smaple f", "error: unknown verb `smaple`; did you mean `sample`?\n");
    refuses("xyzzy-something",
            "error: unknown verb `xyzzy-something`; see `oxbow --help` for the verbs\n");
    refuses("sample f --worker 2", "error: unknown option `--worker`; did you mean `--workers`?\n");
    refuses("sample f --workers 9",
            "error: `9` is no value for --workers; use a whole number, 1..8\n");
    refuses("sample f --workers x",
            "error: `x` is no value for --workers; use a whole number, 1..8\n");
    refuses("sample f --format sv",
            "error: `sv` is no value for --format; use one of: text dot svg\n");
    refuses("sample f --workers", "error: --workers needs a value; write `--workers N`\n");
    refuses("sample f --quick=1", "error: --quick takes no value; leave out the `=`\n");
    refuses("sample", "error: `oxbow sample` needs more arguments; usage: oxbow sample FILE\n");
    refuses("plain f", "error: unexpected argument `f`; usage: oxbow plain\n");
    refuses("plain -o yaml", "error: `yaml` is no value for -o; use one of: text json\n");
}

static void every_help_starts_with_an_example(void **state)
{
    (void)state;
    static const struct verb *const all[] = {&verb_run,    &verb_validate, &verb_graph,
                                             &verb_deploy, &verb_status,   &verb_workers,
                                             &verb_stop,   &verb_pe,       &verb_new};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char *text = NULL;
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);
        options_help_verb(out, all[i]);
        fclose(out);
        assert_int_equal(strncmp(text, "Example: oxbow ", 15), 0);
        assert_non_null(strstr(text, all[i]->usage));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_option_is_read),
        cmocka_unit_test(global_options_stand_before_or_after_the_verb),
        cmocka_unit_test(help_and_version_need_no_arguments),
        cmocka_unit_test(words_after_two_dashes_are_arguments),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(every_help_starts_with_an_example),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
