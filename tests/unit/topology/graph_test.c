/* tests/unit/topology/graph_test.c - drawings and the JSON Schema say what the model says.
 *
 * Goal:   the drawings are well formed, complete and deterministic; boxes do not overlap; the
 *         schema is JSON and knows the catalogue.
 * Method: one topology with every kind of stream; layouts of random ones checked for L1 and L2. */
#include "tests/unit/topology/model_fixture.h"

#include "core/prng.h"
#include "core/strbuf.h"
#include "topology/layout.h"

static const char yaml[] = "oxbow: 1\ntopology: t\npes:\n"
                           "  s: {use: sequence}\n  d: {use: delay}\n"
                           "  c: {use: count, parallelism: 2, with: {by: [key, seq]}}\n"
                           "  z: {use: null-sink, parallelism: 2}\n"
                           "streams:\n"
                           "  - {from: s, to: d}\n"
                           "  - {from: d, to: c, by: [key, seq]}\n"
                           "  - {from: c, to: z, to_all: true, name: all-of-it}\n";

struct drawn {
    struct topology *t;
    struct pgraph *g;
};

static struct drawn draw(const struct catalog *c)
{
    struct worker_info w[] = {{.name = "w1", .slots = 9, .host = "h"},
                              {.name = "w2", .slots = 9, .host = "h"}};
    uint64_t id = 1;
    struct fail f;
    struct drawn d = {.t = must_parse(c, yaml)};
    d.g = physical_expand(d.t, w, 2, &placer_default, &id, &f);
    assert_non_null(d.g);
    return d;
}

static void drawn_free(struct drawn *d)
{
    pgraph_free(d->g);
    topology_free(d->t);
}

static void must_contain(char *text, const char *const *parts, size_t count) /* frees */
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("'%s' is not in:\n%s", parts[i], text);
        }
    }
    free(text);
}

static void the_text_drawing_lists_pes_with_their_streams(void **state)
{
    struct drawn d = draw(*state);
    static const char *const logical[] = {"t: 4 PEs, 3 streams\n", "  c  count x2\n",
                                          "    -> c  by key, seq\n",
                                          "    -> z  all-of-it: to all\n"};
    static const char *const placed[] = {"  c  count x2  on w1 1, w2 1\n",
                                         "    -> d  [1 channel, fused]\n", "[2 channels]",
                                         "[4 channels]"};
    must_contain(graph_text(d.t, NULL), logical, 4);
    must_contain(graph_text(d.t, d.g), placed, 4);
    drawn_free(&d);
}

static void the_dot_drawing_has_a_node_per_pe_and_an_edge_per_stream(void **state)
{
    struct drawn d = draw(*state);
    static const char *const parts[] = {
        "digraph \"t\" {",       "\"s\" [shape=cds",
        "\"z\" [shape=cylinder", "\"d\" -> \"c\" [label=\"by key, seq\"]",
        "style=dashed",          "penwidth=3"};
    must_contain(graph_dot(d.t, d.g), parts, 6);
    drawn_free(&d);
}

static void the_json_drawing_is_complete(void **state)
{
    struct drawn d = draw(*state);
    char *text = graph_json(d.t, d.g);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_int_equal(json_array_size(json_object_get(json, "pes")), 4);
    const json_t *streams = json_object_get(json, "streams");
    assert_int_equal(json_array_size(streams), 3);
    const json_t *fused = json_object_get(json_array_get(streams, 2), "fused");
    assert_true(json_is_true(fused)); /* s->d */
    const json_t *c = json_array_get(json_object_get(json, "pes"), 2);
    assert_string_equal(json_string_value(json_object_get(c, "name")), "c");
    assert_int_equal(json_array_size(json_object_get(c, "instances")), 2);
    json_decref(json);
    free(text);
    text = graph_json(d.t, NULL);
    assert_null(strstr(text, "instances"));
    free(text);
    drawn_free(&d);
}

static void the_svg_drawing_has_a_box_per_pe_and_is_deterministic(void **state)
{
    struct drawn d = draw(*state);
    char *first = graph_svg(d.t, d.g), *second = graph_svg(d.t, d.g);
    assert_string_equal(first, second);
    free(second);
    static const char *const parts[] = {"<svg xmlns",        "id=\"pe-s\"", "id=\"pe-d\"",
                                        "id=\"pe-c\"",       "id=\"pe-z\"", "class=\"e all\"",
                                        "class=\"e fused\"", "by key, seq", "</svg>\n"};
    must_contain(first, parts, 9);
    drawn_free(&d);
}

static void check_layout(const struct topology *t)
{
    double widths[64], heights[64];
    for (uint32_t i = 0; i < t->pe_count; i++) {
        widths[i] = 50 + i;
        heights[i] = 30;
    }
    struct layout *l = layout_new(t, widths, heights);
    for (uint32_t i = 0; i < t->stream_count; i++) { /* L1 */
        const struct layout_node *from = &l->nodes[t->streams[i].from_pe];
        assert_true(from->layer < l->nodes[t->streams[i].to_pe].layer);
    }
    for (uint32_t i = 0; i < l->node_count; i++) { /* L2 */
        const struct layout_node *a = &l->nodes[i];
        assert_true(a->x >= 0 && a->y >= 0 && a->x + a->width <= l->width);
        assert_true(a->y + a->height <= l->height);
        for (uint32_t k = 0; k < i; k++) {
            const struct layout_node *b = &l->nodes[k];
            assert_true(a->layer != b->layer || a->y >= b->y + b->height ||
                        b->y >= a->y + a->height);
        }
    }
    layout_free(l);
}

static void boxes_never_overlap_and_streams_go_right(void **state)
{
    struct prng p = {7};
    for (unsigned round = 0; round < 60; round++) {
        struct strbuf b = {0};
        unsigned pes = 1 + (unsigned)prng_below(&p, 40);
        strbuf_text_add(&b, "oxbow: 1\ntopology: t\npes:\n");
        for (unsigned i = 0; i < pes; i++) {
            strbuf_printf(&b, "  p%u: {use: %s}\n", i, i < 3 ? "sequence" : "union");
        }
        strbuf_text_add(&b, "streams:\n");
        for (unsigned i = 3; i < pes; i++) {
            for (unsigned k = 0; k < 1 + prng_below(&p, 3); k++) {
                strbuf_printf(&b, "  - {from: p%u, to: p%u, name: s%u-%u}\n",
                              (unsigned)prng_below(&p, i), i, i, k);
            }
        }
        struct topology *t = must_parse(*state, strbuf_text(&b));
        check_layout(t);
        topology_free(t);
        strbuf_fini(&b);
    }
}

static void the_json_schema_knows_the_catalogue(void **state)
{
    char *text = topology_schema_json(*state);
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(json);
    json_decref(json);
    static const char *const parts[] = {"\"file-source\"", "draft-07", "\"parallelism\"",
                                        "\"jsonl\"", "^[a-z][a-z0-9-]{0,62}$"};
    must_contain(text, parts, 5);
    struct catalog *empty = catalog_new();
    text = topology_schema_json(empty);
    json = json_loads(text, 0, &error);
    assert_non_null(json);
    json_decref(json);
    free(text);
    catalog_free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_drawing_lists_pes_with_their_streams),
        cmocka_unit_test(the_dot_drawing_has_a_node_per_pe_and_an_edge_per_stream),
        cmocka_unit_test(the_json_drawing_is_complete),
        cmocka_unit_test(the_svg_drawing_has_a_box_per_pe_and_is_deterministic),
        cmocka_unit_test(boxes_never_overlap_and_streams_go_right),
        cmocka_unit_test(the_json_schema_knows_the_catalogue),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
