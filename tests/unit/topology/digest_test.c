/* tests/unit/topology/digest_test.c - equal content has equal digests, and every change shows.
 *
 * Goal:   T3 of model.h, on which upgrades rely: what is equal is left alone, what differs is not.
 * Method: pairs of texts that say the same in different ways, and edits of one text that each
 * change exactly the digests they should. */
#include "tests/unit/topology/model_fixture.h"

static const char base[] = "oxbow: 1\ntopology: t\npes:\n"
                           "  a: {use: sequence, with: {rate: 5, count: 10}}\n"
                           "  w: {use: window, with: {every: 60s}}\n"
                           "  c: {use: count, with: {by: key}}\n"
                           "  f: {use: file-sink, with: {path: x/y}}\n"
                           "streams:\n"
                           "  - {from: a, to: w}\n"
                           "  - {from: a, to: w.rules, to_all: true}\n"
                           "  - {from: w, to: c, by: key}\n"
                           "  - {from: c, to: f}\n"
                           "checkpoint: {every: 10s}\n";

static void the_way_of_writing_does_not_change_a_digest(void **state)
{
    static const char other[] =
        "# the same\n"
        "checkpoint:\n  keep: 3\n  every: 10000ms\n"
        "streams:\n"
        "  - to: f.in\n    from: c.out\n"
        "  - {by: [key], to: c, from: w}\n"
        "  - {from: a, to: w.rules, to_all: true}\n"
        "  - {from: \"a\", to: 'w', to_all: false}\n"
        "pes:\n"
        "  f:\n    with: {format: jsonl, path: ./x//y}\n    use: file-sink\n"
        "  c: {with: {emit: each, by: [key]}, use: count, parallelism: 1, uid: c}\n"
        "  w: {with: {every: 1m}, use: window, place: {device: any}}\n"
        "  a: {use: sequence, with: {count: 10, rate: 5.0, keys: 1}, on_error: {then: stop}}\n"
        "fusion: auto\n"
        "upgrade: {consistency: exact, timeout: 1m}\n"
        "topology: t\noxbow: 1\n";
    struct topology *x = must_parse(*state, base), *y = must_parse(*state, other);
    assert_string_equal(x->canonical, y->canonical);
    assert_string_equal(x->digest, y->digest);
    for (uint32_t i = 0; i < x->pe_count; i++) {
        assert_string_equal(x->pes[i].digest, y->pes[i].digest);
    }
    topology_free(x);
    topology_free(y);
}

/* edited - `base` with one piece of text replaced. */
static struct topology *edited(const struct catalog *c, const char *from, const char *to)
{
    char text[2048];
    const char *at = strstr(base, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from));
    return must_parse(c, text);
}

static void every_change_shows_in_the_digests_it_concerns(void **state)
{
    static const struct {
        const char *from, *to;
        const char *changed; /* PEs whose behaviour digest changes, a letter each */
    } cases[] = {
        {"rate: 5", "rate: 6", "a"},
        {"60s", "61s", "w"},
        {"x/y", "x/z", "f"},
        {"count: 10}", "count: 10, bytes: 4}", "awc"}, /* the schema, as far as it reaches */
        {"c: {use: count,", "c: {use: count, parallelism: 2,", ""},
        {"c: {use: count,", "c: {use: count, threads: own,", ""},
        {"c: {use: count,", "c: {use: count, uid: d,", ""},
        {"c: {use: count,", "c: {use: count, state: drop,", ""},
        {"c: {use: count,", "c: {use: count, on_error: {then: drop},", ""},
        {"c: {use: count,", "c: {use: count, place: {labels: {z: a}},", ""},
        {"c: {use: count,", "c: {use: count, place: {device: cpu},", ""},
        {", to_all: true", "", ""},
        {"{from: c, to: f}", "{from: c, to: f, name: out}", ""},
        {"by: key}\n  - {from: c", "by: seq}\n  - {from: c", ""},
        {"every: 10s", "every: 11s", ""},
        {"every: 10s", "every: 10s, retain: 1MiB", ""},
        {"checkpoint: {every: 10s}\n", "", ""},
        {"topology: t", "topology: u", ""},
        {"checkpoint:", "fusion: off\ncheckpoint:", ""},
        {"checkpoint:", "upgrade: {consistency: per-pe}\ncheckpoint:", ""},
    };
    struct topology *x = must_parse(*state, base);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct topology *y = edited(*state, cases[i].from, cases[i].to);
        assert_string_not_equal(x->digest, y->digest);
        for (uint32_t k = 0; k < x->pe_count; k++) {
            bool changed = strcmp(x->pes[k].digest, y->pes[k].digest) != 0;
            bool expected = strchr(cases[i].changed, x->pes[k].name[0]) != NULL;
            if (changed != expected) {
                fail_msg("'%s' -> '%s': the digest of %s %s", cases[i].from, cases[i].to,
                         x->pes[k].name, changed ? "changed" : "did not change");
            }
        }
        topology_free(y);
    }
    topology_free(x);
}

static void a_renamed_pe_keeps_its_behaviour_digest(void **state)
{
    struct topology *x = must_parse(*state, "oxbow: 1\ntopology: t\npes: {a: {use: sequence}}\n");
    struct topology *y = must_parse(*state, "oxbow: 1\ntopology: t\npes: {b: {use: sequence}}\n");
    assert_string_equal(x->pes[0].digest, y->pes[0].digest);
    assert_string_not_equal(x->digest, y->digest);
    topology_free(x);
    topology_free(y);
}

static void other_code_of_a_plug_in_is_another_behaviour(void **state)
{
    (void)state;
    static const char yaml[] = "oxbow: 1\ntopology: t\npes:\n  a: {use: ./src.so}\n";
    static const char src[] = "{\"name\":\"src\",\"source\":true,\"params\":[],\"inputs\":[],"
                              "\"outputs\":[{\"name\":\"out\",\"schema\":\"x: i64\"}]}";
    char digests[2][DIGEST_HEX_BYTES];
    for (unsigned i = 0; i < 2; i++) {
        struct catalog *c = catalog_new();
        struct fail f;
        char sha[65];
        memset(sha, i == 0 ? 'a' : 'b', 64);
        sha[64] = '\0';
        assert_int_equal(catalog_add(c, src, "./src.so", sha, &f), ERR_OK);
        struct topology *t = must_parse(c, yaml);
        memcpy(digests[i], t->pes[0].digest, sizeof digests[i]);
        topology_free(t);
        catalog_free(c);
    }
    assert_string_not_equal(digests[0], digests[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_of_writing_does_not_change_a_digest),
        cmocka_unit_test(every_change_shows_in_the_digests_it_concerns),
        cmocka_unit_test(a_renamed_pe_keeps_its_behaviour_digest),
        cmocka_unit_test(other_code_of_a_plug_in_is_another_behaviour),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
