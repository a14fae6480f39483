/* tests/unit/cli/validate_test.c - what `oxbow validate` says of good and bad files.
 *
 * Goal:   every problem with its place, in order of line; `ok` with counts; the same as JSON.
 * Method: files written to a temporary folder; no cluster. */
#include "cli/validate.h"
#include "core/file.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct validated {
    char path[64];
    struct loaded l;
    char *text;
    int code;
};

static void validate(struct validated *v, const char *yaml)
{
    struct fail f = {0};
    size_t bytes = 0;
    snprintf(v->path, sizeof v->path, "/tmp/oxbow-validate-XXXXXX");
    int fd = mkstemp(v->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
    assert_int_equal(load_read(v->path, &v->l, &f), ERR_OK);
    load_check(&v->l, "/bin/false");
    FILE *out = open_memstream(&v->text, &bytes);
    v->code = validate_report(&v->l, out);
    fclose(out);
}

static void validated_fini(struct validated *v)
{
    unlink(v->path);
    load_fini(&v->l);
    free(v->text);
}

static const char good[] = "oxbow: 1\n"
                           "topology: small\n"
                           "pes:\n"
                           "  numbers: {use: sequence, with: {count: 3}}\n"
                           "  end: {use: null-sink}\n"
                           "streams:\n"
                           "  - {from: numbers, to: end}\n";

static void a_good_file_is_ok_with_counts(void **state)
{
    (void)state;
    struct validated v;
    validate(&v, good);
    assert_string_equal(v.text, "ok: small, 2 PEs, 1 stream\n");
    assert_int_equal(v.code, EXIT_DONE);
    json_t *document = validate_json(&v.l);
    assert_true(json_is_true(json_object_get(document, "ok")));
    assert_int_equal(json_integer_value(json_object_get(document, "pes")), 2);
    json_decref(document);
    validated_fini(&v);
}

static void every_problem_is_told_with_its_place_in_order(void **state)
{
    (void)state;
    struct validated v;
    validate(&v, "oxbow: 1\n"
                 "topology: small\n"
                 "pes:\n"
                 "  numbers: {use: sequenc, with: {count: 3}}\n"
                 "  end: {use: null-sink, paralelism: 2}\n"
                 "streams:\n"
                 "  - {from: numbers, to: ende}\n");
    assert_int_equal(v.code, EXIT_REFUSED);
    char *first = mem_printf("%s:4:18: ", v.path);
    char *second = mem_printf("%s:5:", v.path);
    char *third = mem_printf("%s:7:", v.path);
    const char *at_first = strstr(v.text, first);
    assert_non_null(at_first);
    const char *at_second = strstr(at_first, second);
    assert_non_null(at_second);
    assert_non_null(strstr(at_second, third));
    assert_non_null(strstr(v.text, "sequence"));
    assert_non_null(strstr(v.text, "parallelism"));
    assert_non_null(strstr(v.text, " errors, 0 warnings\n"));
    json_t *document = validate_json(&v.l);
    assert_true(json_is_false(json_object_get(document, "ok")));
    assert_true(json_array_size(json_object_get(document, "problems")) >= 3);
    json_decref(document);
    validated_fini(&v);
    mem_free(first);
    mem_free(second);
    mem_free(third);
}

static void a_missing_plug_in_is_told_once_where_it_is_named(void **state)
{
    (void)state;
    struct validated v;
    validate(&v, "oxbow: 1\n"
                 "topology: small\n"
                 "pes:\n"
                 "  numbers: {use: sequence, with: {count: 3}}\n"
                 "  odd:\n"
                 "    use: ./missing.so\n"
                 "streams:\n"
                 "  - {from: numbers, to: odd}\n");
    assert_int_equal(v.code, EXIT_REFUSED);
    char *place = mem_printf("%s:6:10: ./missing.so: ", v.path);
    const char *at = strstr(v.text, place);
    assert_non_null(at);
    assert_non_null(strstr(at, "No such file"));
    assert_int_equal(v.l.diags.errors, 1);
    validated_fini(&v);
    mem_free(place);
}

static void text_that_is_no_yaml_is_one_problem(void **state)
{
    (void)state;
    struct validated v;
    validate(&v, "oxbow: [1\n");
    assert_int_equal(v.code, EXIT_REFUSED);
    assert_int_equal(v.l.diags.errors, 1);
    validated_fini(&v);
    validate(&v, "");
    assert_int_equal(v.code, EXIT_REFUSED);
    validated_fini(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_ok_with_counts),
        cmocka_unit_test(every_problem_is_told_with_its_place_in_order),
        cmocka_unit_test(a_missing_plug_in_is_told_once_where_it_is_named),
        cmocka_unit_test(text_that_is_no_yaml_is_one_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
