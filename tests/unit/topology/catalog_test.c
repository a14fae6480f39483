/* tests/unit/topology/catalog_test.c - descriptions of PE code, which may come from foreign code.
 *
 * Goal:   good descriptions are found by name, file and symbol; bad ones are refused, never half
 *         taken.
 * Method: descriptions by hand, one defect each. */
#include "tests/unit/topology/model_fixture.h"

static void types_are_found_by_name_file_and_symbol(void **state)
{
    const struct catalog *c = *state;
    const char *digest = "";
    assert_string_equal(catalog_find(c, "count", &digest)->name, "count");
    assert_null(digest);
    assert_string_equal(catalog_find(c, "./parse.so", &digest)->name, "parse"); /* the first */
    assert_string_equal(digest, FIXTURE_DIGEST);
    assert_string_equal(catalog_find(c, "./parse.so:reparse", NULL)->name, "reparse");
    assert_null(catalog_find(c, "reparse", NULL));
    assert_null(catalog_find(c, "./parse.so:", NULL));
    assert_null(catalog_find(c, "./parse.so2", NULL));
    assert_null(catalog_find(c, "./parse", NULL));
    assert_string_equal(catalog_nearest(c, "filtre"), "filter");
    assert_null(catalog_nearest(c, "something-else"));
}

static void a_description_is_read_whole(void **state)
{
    const struct pe_desc *d = catalog_find(*state, "count", NULL);
    assert_true(d->stateful);
    assert_false(d->source);
    assert_int_equal(d->param_count, 2);
    assert_true(d->params[0].required);
    assert_int_equal(d->params[1].choice_count, 2);
    assert_string_equal(json_string_value(d->params[1].fallback), "each");
    assert_string_equal(d->outputs[0].schema, "$by, count: i64");
    assert_null(d->inputs[0].schema);
    assert_int_equal(catalog_find(*state, "window", NULL)->state_version, 2);
}

static void bad_descriptions_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[",
        "7",
        "null",
        "{}",
        "[7]",
        "{\"name\":\"A\"}",
        "{\"name\":7}",
        "{\"name\":\"a\",\"params\":[{\"name\":\"x\",\"type\":\"complex\"}]}",
        "{\"name\":\"a\",\"params\":[{\"type\":\"i64\"}]}",
        "{\"name\":\"a\",\"params\":[7]}",
        "{\"name\":\"a\",\"inputs\":[{}]}",
        "{\"name\":\"a\",\"outputs\":[{\"name\":\"a b\"}]}",
        "[{\"name\":\"a\"},{\"name\":\"a\"}]",
        "{\"name\":\"a\",\"inputs\":[1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct catalog *c = catalog_new();
        struct fail f = {0};
        assert_int_not_equal(catalog_add(c, bad[i], NULL, NULL, &f), ERR_OK);
        assert_true(f.what[0] != '\0');
        catalog_free(c);
    }
}

static void count_one(void *arg, const struct pe_desc *d)
{
    (void)d;
    ++*(unsigned *)arg;
}

static void all_types_are_visited(void **state)
{
    unsigned count = 0;
    catalog_each(*state, count_one, &count);
    assert_int_equal(count, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_found_by_name_file_and_symbol),
        cmocka_unit_test(a_description_is_read_whole),
        cmocka_unit_test(bad_descriptions_are_refused),
        cmocka_unit_test(all_types_are_visited),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
