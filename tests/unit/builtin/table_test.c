/* tests/unit/builtin/table_test.c - the tables that feed the parser, `oxbow pe show` and the docs.
 *
 * Goal:   every built-in type is well-formed, in order, and says what it and its parameters are;
 *         the expressions of its ports can be resolved.
 * Method: a walk over builtin_types; the harness resolves the expressions that depend on
 *         parameters. */
#include "pe/builtin/builtin.h"
#include "pe/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void types_are_in_order_of_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "count",     "delay",      "file-sink", "file-source", "filter",
        "infer",     "null-sink",  "sequence",  "set",         "stdout-sink",
        "sum",       "tcp-sink",   "tcp-source", "union",      "words",
    };
    size_t count = sizeof names / sizeof *names;
    for (size_t i = 0; i < count; i++) {
        assert_non_null(builtin_types[i]);
        assert_string_equal(builtin_types[i]->name, names[i]);
    }
    assert_null(builtin_types[count]);
}

static void every_table_is_well_formed_and_documented(void **state)
{
    (void)state;
    for (size_t i = 0; builtin_types[i] != NULL; i++) {
        const struct oxb_pe_type *t = builtin_types[i];
        struct fail f;
        if (type_check(t, &f) != ERR_OK) {
            fail_msg("%s: %s", t->name, f.what);
        }
        assert_true(t->doc != NULL && t->doc[0] != '\0');
        assert_true(t->state_version >= 1);
        for (const struct oxb_param *p = t->params; p != NULL && p->name != NULL; p++) {
            bool is_required = (p->flags & OXB_REQUIRED) != 0;
            if (p->doc == NULL || p->doc[0] == '\0' || (is_required && p->fallback != NULL)) {
                fail_msg("%s: parameter %s", t->name, p->name);
            }
        }
        bool is_source = (t->flags & OXB_SOURCE) != 0;
        assert_true(is_source == (t->produce != NULL));
        assert_true((t->snapshot != NULL) == (t->restore != NULL));
        assert_true((t->flags & OXB_REPLAYABLE) == 0 || t->snapshot != NULL);
    }
}

static void a_format_decides_the_schema_of_a_source(void **state)
{
    (void)state;
    static const struct {
        const struct oxb_pe_type *type;
        const char *params;
        const char *declared;
        bool good;
    } cases[] = {
        {&builtin_file_source, "{\"path\":\"/etc/passwd\"}", NULL, true},
        {&builtin_file_source, "{\"path\":\"/etc/passwd\",\"format\":\"csv\"}", "n: i64", true},
        {&builtin_file_source, "{\"path\":\"/etc/passwd\",\"format\":\"jsonl\"}", NULL, false},
        {&builtin_tcp_source, "{\"listen\":\"127.0.0.1:0\"}", NULL, true},
        {&builtin_tcp_source, "{\"listen\":\"127.0.0.1:0\",\"format\":\"jsonl\"}", NULL, false},
        {&builtin_sequence, "{\"bytes\":0}", NULL, true},
        {&builtin_sequence, "{\"bytes\":9}", NULL, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char err[512] = "";
        struct oxb_harness *h = oxb_harness_new(cases[i].type, cases[i].params, NULL,
                                                cases[i].declared, err, sizeof err);
        if ((h != NULL) != cases[i].good) {
            fail_msg("%s %s: %s", cases[i].type->name, cases[i].params, err);
        }
        oxb_harness_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_in_order_of_name),
        cmocka_unit_test(every_table_is_well_formed_and_documented),
        cmocka_unit_test(a_format_decides_the_schema_of_a_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
