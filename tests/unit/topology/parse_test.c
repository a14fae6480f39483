/* tests/unit/topology/parse_test.c - what a good YAML becomes, and what hostile ones cost.
 *
 * Goal:   every part of the format reaches the model, schemas resolve, and no text of 1 MiB can
 * hold up its reader. Method: small topologies against a catalogue by hand; generated hostile texts
 * under a clock with generous bounds, which only a quadratic reader misses. */
#include "core/limits.h"
#include "tests/unit/topology/model_fixture.h"

#include "core/clock.h"
#include "core/strbuf.h"

static const char access_yaml[] =
    "oxbow: 1\n"
    "topology: access\n"
    "pes:\n"
    "  lines:\n"
    "    use: file-source\n"
    "    with: {path: ./logs//access.log}\n"
    "  parse:\n"
    "    use: ./parse.so\n"
    "    parallelism: 2\n"
    "    out: {path: str, status: i64, img: f32[1, 28,28]}\n"
    "  per-path:\n"
    "    use: count\n"
    "    with: {by: path}\n"
    "    parallelism: 4\n"
    "    uid: counts\n"
    "    threads: own\n"
    "    state: drop\n"
    "    on_error: {retries: 3, then: drop}\n"
    "    place: {labels: {zone: a}, device: cpu}\n"
    "  hits: {use: file-sink, with: {path: /tmp/hits.jsonl}}\n"
    "  rejects: {use: null-sink}\n"
    "streams:\n"
    "  - {from: lines, to: parse}\n"
    "  - {from: parse, to: per-path, by: path}\n"
    "  - {from: parse.errors, to: rejects, name: bad}\n"
    "  - {from: per-path, to: hits, to_all: true}\n"
    "checkpoint: {every: 10s, keep: 5, location: \"file:///var/ck\", retain: 1MiB}\n"
    "upgrade: {consistency: per-pe, timeout: 2m}\n"
    "fusion: off\n";

static void every_part_of_the_format_reaches_the_model(void **state)
{
    struct topology *t = must_parse(*state, access_yaml);
    assert_string_equal(t->name, "access");
    assert_int_equal(t->pe_count, 5);
    assert_string_equal(t->pes[0].name, "hits"); /* in order of name */
    assert_int_equal(t->checkpoint_every_us, 10000000);
    assert_int_equal(t->checkpoint_keep, 5);
    assert_string_equal(t->checkpoint_location, "file:///var/ck");
    assert_int_equal(t->checkpoint_retain_bytes, 1 << 20);
    assert_int_equal(t->consistency, CONSISTENCY_PER_PE);
    assert_false(t->fusion);
    assert_int_equal(t->upgrade_timeout_us, 120000000);
    const struct pe *p = topology_pe(t, "per-path");
    assert_string_equal(p->uid, "counts");
    assert_int_equal(p->parallelism, 4);
    assert_true(p->own_thread);
    assert_true(p->state_drop);
    assert_int_equal(p->retries, 3);
    assert_int_equal(p->then, THEN_DROP);
    assert_string_equal(p->device, "cpu");
    assert_string_equal(json_string_value(json_object_get(p->labels, "zone")), "a");
    assert_null(topology_pe(t, "nobody"));
    topology_free(t);
}

static void absent_parts_have_their_defaults(void **state)
{
    struct topology *t = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n  a: {use: sequence}\n");
    assert_int_equal(t->checkpoint_every_us, 0);
    assert_int_equal(t->checkpoint_retain_bytes, RETAIN_BYTES_DEFAULT);
    assert_int_equal(t->consistency, CONSISTENCY_EXACT);
    assert_true(t->fusion);
    assert_int_equal(t->upgrade_timeout_us, 60000000);
    const struct pe *p = topology_pe(t, "a");
    assert_int_equal(p->parallelism, 1);
    assert_string_equal(p->uid, "a");
    assert_string_equal(p->device, "any");
    assert_int_equal(p->then, THEN_STOP);
    assert_int_equal(json_integer_value(json_object_get(p->with, "keys")), 1);
    assert_null(json_object_get(p->with, "count"));
    topology_free(t);
}

static void streams_know_their_ends_names_and_keys(void **state)
{
    struct topology *t = must_parse(*state, access_yaml);
    assert_int_equal(t->stream_count, 4);
    static const char *const names[] = {"bad", "lines->parse", "parse->per-path", "per-path->hits"};
    for (uint32_t i = 0; i < 4; i++) {
        assert_string_equal(t->streams[i].name, names[i]);
    }
    const struct stream *bad = &t->streams[0], *keyed = &t->streams[2];
    assert_string_equal(t->pes[bad->from_pe].outputs[bad->from_port].name, "errors");
    assert_int_equal(bad->partitioning, PART_BALANCED);
    assert_int_equal(keyed->partitioning, PART_KEYED);
    assert_int_equal(keyed->key_count, 1);
    assert_int_equal(keyed->keys[0], 0);
    assert_int_equal(t->streams[3].partitioning, PART_BROADCAST);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < t->pe_count; i++) { /* producers first */
        for (uint32_t k = 0; k < t->stream_count; k++) {
            assert_true(t->streams[k].to_pe != t->order[i] ||
                        (seen & (1u << t->streams[k].from_pe)) != 0);
        }
        seen |= 1u << t->order[i];
    }
    topology_free(t);
}

static void schemas_follow_the_port_expressions(void **state)
{
    struct topology *t = must_parse(
        *state, "oxbow: 1\ntopology: t\npes:\n"
                "  s: {use: sequence, with: {bytes: 8}}\n"
                "  tag: {use: set, with: {fields: {a: 1, key: x, b: 2.5, c: true, d: \"7\"}}}\n"
                "  sum: {use: sum, with: {by: [key, c], field: seq}}\n"
                "  csv: {use: file-source, with: {path: x, format: csv}, out: {u: str, v: f64}}\n"
                "  w: {use: words, with: {field: u}}\n"
                "streams:\n  - {from: s, to: tag}\n  - {from: tag, to: sum}\n"
                "  - {from: csv, to: w}\n");
    static const char *const expected[][2] = {
        {"s", "seq: i64, key: i64, at: time, pad: bytes"},
        {"tag", "seq: i64, key: str, at: time, pad: bytes, a: i64, b: f64, c: bool, d: str"},
        {"sum", "key: str, c: bool, sum: i64"},
        {"csv", "u: str, v: f64"},
        {"w", "word: str"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_string_equal(topology_pe(t, expected[i][0])->outputs[0].schema.text, expected[i][1]);
    }
    assert_string_equal(topology_pe(t, "sum")->inputs[0].schema.text, expected[1][1]);
    topology_free(t);
}

static void tensors_need_no_quotes_and_are_written_canonically(void **state)
{
    struct topology *t = must_parse(*state, access_yaml);
    assert_string_equal(topology_pe(t, "parse")->outputs[0].schema.text,
                        "path: str, status: i64, img: f32[1,28,28]");
    topology_free(t);
    t = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n  a: {use: sequence}\n"
                           "  b: {use: set, with: {fields: {x: \"f32[1,2] f32[ f32(\"}}}\n"
                           "streams: [{from: a, to: b}]\n");
    const json_t *fields = json_object_get(topology_pe(t, "b")->with, "fields");
    assert_string_equal(json_string_value(json_object_get(fields, "x")), "f32[1,2] f32[ f32(");
    topology_free(t);
}

static void parameters_become_canonical_json(void **state)
{
    struct topology *t = must_parse(*state, access_yaml);
    const struct pe *lines = topology_pe(t, "lines");
    assert_string_equal(json_string_value(json_object_get(lines->with, "path")),
                        "/base/logs/access.log");
    assert_string_equal(json_string_value(json_object_get(lines->with, "format")), "lines");
    const json_t *by = json_object_get(topology_pe(t, "per-path")->with, "by");
    assert_int_equal(json_array_size(by), 1);
    topology_free(t);
    t = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n"
                           "  a: {use: tcp-source, with: {listen: \"[::1]:80\"}}\n"
                           "  b: {use: sequence, with: {rate: 5, count: 7}}\n"
                           "  w: {use: window, with: {every: 120s}}\n"
                           "streams: [{from: b, to: w}, {from: a, to: w.rules}]\n");
    assert_int_equal(json_integer_value(json_object_get(topology_pe(t, "a")->with, "line_max")),
                     1 << 20);
    assert_true(json_is_real(json_object_get(topology_pe(t, "b")->with, "rate")));
    assert_string_equal(json_string_value(json_object_get(topology_pe(t, "w")->with, "every")),
                        "2m");
    topology_free(t);
}

static void plug_ins_are_found_by_file_and_symbol(void **state)
{
    struct topology *t = must_parse(*state, "oxbow: 1\ntopology: t\npes:\n  a: {use: sequence}\n"
                                            "  b: {use: \"./parse.so:reparse\"}\n"
                                            "streams: [{from: a, to: b}]\n");
    assert_string_equal(topology_pe(t, "b")->code, FIXTURE_DIGEST ":reparse");
    assert_string_equal(topology_pe(t, "a")->code, "sequence");
    topology_free(t);
}

static void the_files_a_topology_names_are_listed_once(void **state)
{
    (void)state;
    static const char yaml[] =
        "pes:\n  a: {use: ./p.so}\n  b: {use: './p.so:x'}\n  c: {use: q.so}\n"
        "  d: {use: count}\n  e: {use: 'q.so:y'}\n  f: {use: [x]}\n";
    struct diags d = {0};
    json_t *files = topology_files(yaml, strlen(yaml), &d);
    assert_int_equal(json_array_size(files), 2);
    assert_string_equal(json_string_value(json_array_get(files, 0)), "./p.so");
    assert_string_equal(json_string_value(json_array_get(files, 1)), "q.so");
    json_decref(files);
    assert_null(topology_files("[", 1, &d));
    assert_true(d.errors > 0);
    diags_fini(&d);
}

static void two_streams_of_the_same_ends_are_warned_of(void **state)
{
    static const char yaml[] =
        "oxbow: 1\ntopology: t\npes: {a: {use: sequence}, z: {use: null-sink}}\n"
        "streams: [{from: a, to: z}, {from: a, to: z, name: again}]\n";
    struct diags d = {0};
    struct topology *t = topology_parse(yaml, strlen(yaml), "/", *state, &d);
    assert_non_null(t);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.items[0].level, DIAG_WARNING);
    topology_free(t);
    diags_fini(&d);
}

/* ---- hostile texts */

static uint64_t parse_ms(const struct catalog *c, const char *text, size_t bytes, bool good)
{
    struct diags d = {0};
    uint64_t from = clock_now_us();
    struct topology *t = topology_parse(text, bytes, "/", c, &d);
    uint64_t us = clock_now_us() - from;
    assert_true((t != NULL) == good);
    topology_free(t);
    diags_fini(&d);
    return us / 1000;
}

static void a_mebibyte_of_anything_is_refused_quickly(void **state)
{
    static const char *const units[] = {
        "[",      "{",        "- ",         "? ",    "a: ",   "\"",
        "'",      "#",        "*a ",        "&a ",   "!a ",   "%TAG !a! b\n",
        "a: b\n", "[a, b], ", "{a: b}, ",   "-\n",   "\n",    " ",
        "a",      "|\n ",     "? a\n: b\n", "---\n", "...\n", "\xef\xbb\xbf",
        "\\",     "f32[",     "f32[1 ",     "a:\n ", "\t",    "  - {use: x}\n",
        "}",      "]",        ", ",         ": ",
    };
    static const char *const heads[] = {"", "[", "pes: {", "oxbow: 1\ntopology: t\npes:\n  a: "};
    struct strbuf b = {0};
    for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            strbuf_clear(&b);
            strbuf_text_add(&b, heads[h]);
            while (b.bytes + strlen(units[i]) <= YAML_BYTES_MAX) {
                strbuf_text_add(&b, units[i]);
            }
            uint64_t ms = parse_ms(*state, b.data, b.bytes, false);
            if (ms > 2000) { /* about 100 ms plainly; sanitizers and busy machines are slower */
                fail_msg("'%s' after '%s' took %llu ms", units[i], heads[h],
                         (unsigned long long)ms);
            }
        }
    }
    strbuf_fini(&b);
}

static void a_topology_of_a_thousand_pes_is_read_quickly(void **state)
{
    struct strbuf b = {0};
    strbuf_text_add(&b, "oxbow: 1\ntopology: t\npes:\n  p0: {use: sequence}\n");
    for (unsigned i = 1; i < PES_MAX; i++) {
        strbuf_printf(&b, "  p%u: {use: delay, with: {us: %u}}\n", i, i);
    }
    strbuf_text_add(&b, "streams:\n");
    for (unsigned i = 1; i < PES_MAX; i++) {
        strbuf_printf(&b, "  - {from: p%u, to: p%u, by: key}\n", i - 1, i);
    }
    assert_true(parse_ms(*state, b.data, b.bytes, true) < 1000); /* about 10 ms plainly */
    strbuf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_the_format_reaches_the_model),
        cmocka_unit_test(absent_parts_have_their_defaults),
        cmocka_unit_test(streams_know_their_ends_names_and_keys),
        cmocka_unit_test(schemas_follow_the_port_expressions),
        cmocka_unit_test(tensors_need_no_quotes_and_are_written_canonically),
        cmocka_unit_test(parameters_become_canonical_json),
        cmocka_unit_test(plug_ins_are_found_by_file_and_symbol),
        cmocka_unit_test(the_files_a_topology_names_are_listed_once),
        cmocka_unit_test(two_streams_of_the_same_ends_are_warned_of),
        cmocka_unit_test(a_mebibyte_of_anything_is_refused_quickly),
        cmocka_unit_test(a_topology_of_a_thousand_pes_is_read_quickly),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
