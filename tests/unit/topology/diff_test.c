/* tests/unit/topology/diff_test.c - what counts as a change, and how it is said.
 *
 * Goal:   each kind of change is found alone, named and put in words; what only looks different is
 *         none.
 * Method: a table of edits of one small topology, each with the kind and the words expected. */
#include "tests/unit/topology/plan_fixture.h"

static const char base[] = "pes:\n"
                           "  in: {use: src}\n"
                           "  mid: {use: map, with: {v: 1}, parallelism: 2}\n"
                           "  tab: {use: keyed, uid: table, parallelism: 2}\n"
                           "  end: {use: sink}\n"
                           "  end2: {use: sink}\n"
                           "streams:\n"
                           "  - {from: in, to: mid}\n"
                           "  - {from: mid, to: tab, by: key}\n"
                           "  - {from: tab, to: end, name: out}\n"
                           "  - {from: in, to: end2}\n";

struct edit {
    const char *from, *to; /* replaced in `base` */
    enum change_kind kind;
    const char *name, *before, *after; /* part of the words; NULL: none at all */
};

static const struct edit edits[] = {
    {"  mid: {use: map, with: {v: 1}, parallelism: 2}\n",
     "  mid: {use: map, with: {v: 2}, parallelism: 2}\n", CHANGE_PE_PARAMS, "mid", "v: 1", "v: 2"},
    {"parallelism: 2}\n  tab", "parallelism: 3}\n  tab", CHANGE_PE_PARALLELISM, "mid", "2", "3"},
    {"  mid: {use: map, ", "  mid: {use: many, ", CHANGE_PE_CODE, "mid", "map", "many"},
    {"  tab: {", "  tab: {threads: own, ", CHANGE_PE_THREADS, "tab", "shared", "own"},
    {"  tab: {", "  tab: {place: {labels: {zone: a}}, ", CHANGE_PE_PLACEMENT, "tab", "no labels",
     "zone"},
    {"  tab: {", "  tab: {on_error: {retries: 3, then: drop}, ", CHANGE_PE_POLICY, "tab",
     "retries 0 then stop", "retries 3 then drop"},
    {"  tab: {", "  tab: {state: drop, ", CHANGE_PE_POLICY, "tab", "state keep", "state drop"},
    {"streams:\n", "  more: {use: src}\nstreams:\n", CHANGE_PE_ADDED, "more", NULL, "src"},
    {"streams:\n", "streams:\n  - {from: tab, to: end2}\n", CHANGE_STREAM_ADDED, "tab->end2", NULL,
     "tab.out -> end2.in, balanced"},
    {"  - {from: tab, to: end, name: out}\n", "  - {from: mid, to: end, name: out}\n",
     CHANGE_STREAM_REPOINTED, "out", "tab.out -> end.in", "mid.out -> end.in"},
    {"by: key", "by: seq", CHANGE_STREAM_REPARTITIONED, "mid->tab", "by key", "by seq"},
    {"by: key", "by: [key, seq]", CHANGE_STREAM_REPARTITIONED, "mid->tab", "by key", "by key, seq"},
    {", by: key}", ", to_all: true}", CHANGE_STREAM_REPARTITIONED, "mid->tab", "by key", "to all"},
    {"name: out", "name: results", CHANGE_STREAM_RENAMED, "results", "out", "results"},
    {"streams:\n", "checkpoint: {every: 5s}\nstreams:\n", CHANGE_POLICY, "t", "(never)", "5s"},
    {"streams:\n", "upgrade: {consistency: per-pe}\nstreams:\n", CHANGE_POLICY, "t", "exact",
     "per-pe"},
    {"streams:\n", "fusion: off\nstreams:\n", CHANGE_FUSION, "t", "auto", "off"},
};

/* edited - `base` with the first `from` replaced; caller frees. */
static char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    return mem_printf("oxbow: 1\ntopology: t\n%.*s%s%s", (int)(at - text), text, to,
                      at + strlen(from));
}

static void every_kind_of_change_is_found_alone_and_said_in_words(void **state)
{
    char *plain = edited(base, "pes:", "pes:");
    struct topology *a = must_parse(*state, plain);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        const struct edit *e = &edits[i];
        char *yaml = edited(base, e->from, e->to);
        struct topology *b = must_parse(*state, yaml);
        struct diff *d = diff_topologies(a, b);
        if (d->count != 1 || d->items[0].kind != e->kind) {
            fail_msg("%s: %zu changes, first %s", e->to, d->count,
                     d->count > 0 ? change_kind_name(d->items[0].kind) : "none");
        }
        const struct diff_item *c = &d->items[0];
        assert_string_equal(c->name, e->name);
        assert_int_equal(c->before != NULL, e->before != NULL);
        assert_true(e->before == NULL || strstr(c->before, e->before) != NULL);
        assert_non_null(strstr(c->after, e->after));
        diff_free(d);
        d = diff_topologies(b, a); /* and back */
        assert_int_equal(d->count, 1);
        diff_free(d);
        topology_free(b);
        mem_free(yaml);
    }
    topology_free(a);
    mem_free(plain);
}

static void comments_order_and_formatting_are_no_change(void **state)
{
    char *plain = edited(base, "pes:", "pes:");
    struct topology *a = must_parse(*state, plain);
    struct topology *b = must_parse(
        *state, "# all of it\ntopology: t\noxbow: 1\nstreams:\n"
                "- from: in\n  to: end2\n"
                "- {to: end, from: tab, name: out} # last\n"
                "- {by: [key], from: mid.out, to: tab.in}\n"
                "- {from: in.out, to: mid}\n"
                "pes:\n    end2: {use: sink}\n    end: {use: sink, parallelism: 1}\n"
                "    tab: {parallelism: 2, uid: table, use: keyed, threads: shared}\n"
                "    mid: {parallelism: 2, use: map, with: {\"v\": 1}}\n    in: {use: src}\n");
    struct diff *d = diff_topologies(a, b);
    assert_int_equal(d->count, 0);
    diff_free(d);
    topology_free(a);
    topology_free(b);
    mem_free(plain);
}

static void a_rebuilt_plug_in_is_a_change_and_nothing_else(void **state)
{
    (void)state;
    static const char yaml[] = "oxbow: 1\ntopology: t\npes:\n  in: {use: src}\n"
                               "  s: {use: ./st.so}\nstreams:\n  - {from: in, to: s}\n";
    struct catalog *x = plan_catalog(PF_A64, 1, false), *y = plan_catalog(PF_B64, 1, false);
    struct topology *a = must_parse(x, yaml), *b = must_parse(y, yaml);
    struct diff *d = diff_topologies(a, b);
    assert_int_equal(d->count, 1);
    assert_int_equal(d->items[0].kind, CHANGE_PE_CODE);
    assert_string_equal(d->items[0].before, "./st.so aaaaaaaaaaaa (state 1)");
    assert_string_equal(d->items[0].after, "./st.so bbbbbbbbbbbb (state 1)");
    assert_int_equal(d->pes_changed, 1);
    diff_free(d);
    topology_free(a);
    topology_free(b);
    catalog_free(x);
    catalog_free(y);
}

static void a_rename_is_followed_by_its_uid_and_takes_its_streams_along(void **state)
{
    char *plain = edited(base, "pes:", "pes:");
    char *one = edited(base, "  tab: {", "  counts: {");
    char *two = edited(strstr(one, "pes:"), "to: tab", "to: counts");
    char *yaml = edited(strstr(two, "pes:"), "from: tab", "from: counts");
    struct topology *a = must_parse(*state, plain), *b = must_parse(*state, yaml);
    struct diff *d = diff_topologies(a, b);
    assert_int_equal(d->count, 1);
    assert_int_equal(d->items[0].kind, CHANGE_PE_RENAMED);
    assert_string_equal(d->items[0].name, "counts");
    assert_string_equal(d->items[0].before, "tab");
    assert_int_equal(d->streams_added + d->streams_removed + d->streams_updated, 0);
    diff_free(d);
    topology_free(a);
    topology_free(b);
    mem_free(plain);
    mem_free(one);
    mem_free(two);
    mem_free(yaml);
}

static void without_uid_a_renamed_pe_goes_and_another_comes(void **state)
{
    struct topology *a = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n  a: {use: src}\n");
    struct topology *b = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n  b: {use: src}\n");
    struct diff *d = diff_topologies(a, b);
    assert_int_equal(d->pes_added, 1);
    assert_int_equal(d->pes_removed, 1);
    assert_int_equal(d->count, 2);
    diff_free(d);
    topology_free(a);
    topology_free(b);
}

static void a_schema_change_is_seen_at_every_pe_that_passes_it_on(void **state)
{
    static const char text[] = "oxbow: 1\ntopology: t\npes:\n  in: {use: src}\n"
                               "  add: {use: set, with: {fields: {%s: 1}}}\n  m: {use: map}\n"
                               "  n: {use: map}\n  o: {use: sink}\nstreams:\n"
                               "  - {from: in, to: add}\n  - {from: add, to: m}\n"
                               "  - {from: m, to: n}\n  - {from: in, to: o}\n";
    char *x = mem_printf(text, "x"), *y = mem_printf(text, "y");
    struct topology *a = must_parse(*state, x), *b = must_parse(*state, y);
    struct diff *d = diff_topologies(a, b);
    size_t schemas = 0;
    for (size_t i = 0; i < d->count; i++) {
        schemas += d->items[i].kind == CHANGE_PE_SCHEMA;
    }
    assert_int_equal(schemas, 3);  /* add, m, n */
    assert_int_equal(d->count, 4); /* and the parameters of add */
    diff_free(d);
    topology_free(a);
    topology_free(b);
    mem_free(x);
    mem_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_kind_of_change_is_found_alone_and_said_in_words,
                                        plan_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(comments_order_and_formatting_are_no_change, plan_set_up,
                                        fixture_tear_down),
        cmocka_unit_test(a_rebuilt_plug_in_is_a_change_and_nothing_else),
        cmocka_unit_test_setup_teardown(a_rename_is_followed_by_its_uid_and_takes_its_streams_along,
                                        plan_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(without_uid_a_renamed_pe_goes_and_another_comes,
                                        plan_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_schema_change_is_seen_at_every_pe_that_passes_it_on,
                                        plan_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
