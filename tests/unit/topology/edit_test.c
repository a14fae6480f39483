/* tests/unit/topology/edit_test.c - a text is changed at one value and nowhere else.
 *
 * Goal:   comments, order and layout survive; what cannot be edited is refused, not mangled.
 * Method: texts and the exact texts expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "topology/edit.h"

#include <string.h>

static void expect(const char *yaml, const char *pe, uint32_t count, const char *wanted)
{
    char *out = NULL;
    struct fail f = {0};
    assert_int_equal(edit_parallelism(yaml, strlen(yaml), pe, count, &out, &f), ERR_OK);
    assert_string_equal(out, wanted);
    mem_free(out);
}

static void refuse(const char *yaml, const char *pe, enum err code)
{
    char *out = NULL;
    struct fail f = {0};
    assert_int_equal(edit_parallelism(yaml, strlen(yaml), pe, 3, &out, &f), code);
    assert_null(out);
    assert_true(f.what[0] != '\0');
}

static void a_number_is_replaced_where_it_stands(void **state)
{
    (void)state;
    expect("# all\npes:\n  a: {use: x, parallelism: 2} # two\n  b: {use: y, parallelism: 2}\n",
           "a", 16,
           "# all\npes:\n  a: {use: x, parallelism: 16} # two\n  b: {use: y, parallelism: 2}\n");
    expect("pes:\r\n  a:\r\n    parallelism: 20 # \xc3\xa9\r\n    use: x\r\n", "a", 3,
           "pes:\r\n  a:\r\n    parallelism: 3 # \xc3\xa9\r\n    use: x\r\n");
}

static void a_number_that_is_not_there_comes_first(void **state)
{
    (void)state;
    expect("pes: {\xc3\xa9: {use: x}, a: {use: y}}\n", "a", 2,
           "pes: {\xc3\xa9: {use: x}, a: {parallelism: 2, use: y}}\n");
    expect("pes:\n  a:\n      use: x # why\n      with: {k: 'parallelism: 9'}\n", "a", 2,
           "pes:\n  a:\n      parallelism: 2\n      use: x # why\n"
           "      with: {k: 'parallelism: 9'}\n");
}

static void what_is_not_there_or_cannot_be_edited_is_refused(void **state)
{
    (void)state;
    refuse("pes:\n  a: {use: x}\n", "b", ERR_NOTFOUND);
    refuse("pes:\n  a: {use: x\n", "a", ERR_INVALID);
    refuse("pes:\n  a: x\n", "a", ERR_INVALID);
    refuse("pes:\n  a: {use: x, parallelism: '2'}\n", "a", ERR_INVALID);
    refuse("pes:\n  a: {use: x, parallelism: [2]}\n", "a", ERR_INVALID);
    refuse("", "a", ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_replaced_where_it_stands),
        cmocka_unit_test(a_number_that_is_not_there_comes_first),
        cmocka_unit_test(what_is_not_there_or_cannot_be_edited_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
