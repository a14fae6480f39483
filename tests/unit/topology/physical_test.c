/* tests/unit/topology/physical_test.c - instances, channels, placement and fusion.
 *
 * Goal:   G1 to G4 of physical.h, the rules of place.c, and clear refusals.
 * Method: small topologies on invented workers; random topologies whose graphs are checked against
 *         the invariants from first principles. */
#include "tests/unit/topology/model_fixture.h"

#include "core/prng.h"
#include "core/strbuf.h"

#define HEAD "oxbow: 1\ntopology: t\n"

static struct worker_info worker(const char *name, uint32_t slots)
{
    struct worker_info w = {.slots = slots, .host = "h"};
    snprintf(w.name, sizeof w.name, "%s", name);
    return w;
}

static struct pgraph *must_place(const struct topology *t, const struct worker_info *workers,
                                 uint32_t count)
{
    uint64_t id = 1;
    struct fail f = {0};
    struct pgraph *g = physical_expand(t, workers, count, &placer_default, &id, &f);
    if (g == NULL) {
        fail_msg("%s (%s)", f.what, f.hint);
    }
    assert_int_equal(id, 1 + g->instance_count + g->channel_count);
    return g;
}

static const struct pinstance *instance(const struct pgraph *g, const char *pe, uint32_t index)
{
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (g->instances[i].index == index &&
            strcmp(g->topology->pes[g->instances[i].pe].name, pe) == 0) {
            return &g->instances[i];
        }
    }
    fail_msg("no instance %s[%u]", pe, index);
    return NULL;
}

static const char *worker_of(const struct pgraph *g, const char *pe, uint32_t index)
{
    return g->workers[instance(g, pe, index)->worker].name;
}

static uint32_t count_channels(const struct pgraph *g, const char *stream, uint32_t *fused)
{
    uint32_t count = 0;
    *fused = 0;
    for (uint32_t i = 0; i < g->channel_count; i++) {
        if (strcmp(g->topology->streams[g->channels[i].stream].name, stream) == 0) {
            count++;
            *fused += g->channels[i].fused;
        }
    }
    return count;
}

static const char pipeline[] = HEAD "pes:\n"
                                    "  a: {use: sequence, parallelism: 3}\n"
                                    "  b: {use: delay, parallelism: 3}\n"
                                    "  c: {use: count, parallelism: 2, with: {by: key}}\n"
                                    "  d: {use: delay}\n"
                                    "  e: {use: null-sink}\n"
                                    "streams:\n"
                                    "  - {from: a, to: b}\n"
                                    "  - {from: b, to: c, by: key}\n"
                                    "  - {from: c, to: d}\n"
                                    "  - {from: d, to: e}\n";

static void partitioning_decides_the_channels(void **state)
{
    struct topology *t = must_parse(*state, pipeline);
    struct worker_info w = worker("w1", 64);
    struct pgraph *g = must_place(t, &w, 1);
    uint32_t fused;
    assert_int_equal(g->instance_count, 10);
    assert_int_equal(count_channels(g, "a->b", &fused), 3); /* equal parallelism: forward */
    assert_int_equal(fused, 3);
    assert_int_equal(count_channels(g, "b->c", &fused), 6);
    assert_int_equal(fused, 0);
    assert_int_equal(count_channels(g, "c->d", &fused), 2);
    assert_int_equal(fused, 0);
    assert_int_equal(count_channels(g, "d->e", &fused), 1);
    assert_int_equal(fused, 1);
    assert_int_equal(instance(g, "a", 1)->chain, instance(g, "b", 1)->chain);
    assert_int_not_equal(instance(g, "a", 1)->chain, instance(g, "b", 2)->chain);
    assert_int_equal(instance(g, "d", 0)->chain, instance(g, "e", 0)->chain);
    pgraph_free(g);
    topology_free(t);
}

/* fused_when - is a->b fused in a topology of a, b and what else is given? */
static bool fused_when(const struct catalog *c, const char *a, const char *b, const char *more)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml, HEAD "pes:\n  a: {use: sequence%s}\n  b: {use: union%s}\n%s", a, b,
             more);
    struct topology *t = must_parse(c, yaml);
    struct worker_info w = worker("w1", 64);
    struct pgraph *g = must_place(t, &w, 1);
    uint32_t fused;
    assert_true(count_channels(g, "a->b", &fused) > 0);
    pgraph_free(g);
    topology_free(t);
    return fused > 0;
}

static void only_neighbours_one_to_one_on_shared_threads_are_fused(void **state)
{
    struct catalog *c = *state;
    static const char *const only = "streams: [{from: a, to: b}]\n";
    assert_true(fused_when(c, "", "", only));
    assert_true(fused_when(c, "", "", "streams: [{from: a, to: b, by: key}]\n"));
    assert_true(fused_when(c, "", "", "streams: [{from: a, to: b, to_all: true}]\n"));
    assert_true(fused_when(c, ", parallelism: 2", ", parallelism: 2", only));
    assert_false(fused_when(c, ", parallelism: 2", ", parallelism: 2",
                            "streams: [{from: a, to: b, by: key}]\n"));
    assert_false(fused_when(c, ", parallelism: 2", "", only));
    assert_false(fused_when(c, ", threads: own", "", only));
    assert_false(fused_when(c, "", ", threads: own", only));
    assert_false(fused_when(c, "", "", "fusion: off\nstreams: [{from: a, to: b}]\n"));
    assert_false(fused_when(c, "", "",
                            "  c: {use: null-sink}\n"
                            "streams: [{from: a, to: b}, {from: a, to: c}]\n"));
    assert_false(fused_when(c, "", "",
                            "  c: {use: sequence}\n"
                            "streams: [{from: a, to: b}, {from: c, to: b}]\n"));
}

static void a_long_chain_is_cut_at_the_depth_limit(void **state)
{
    struct strbuf b = {0};
    strbuf_text_add(&b, HEAD "pes:\n  p0: {use: sequence}\n");
    for (unsigned i = 1; i < 80; i++) {
        strbuf_printf(&b, "  p%u: {use: delay}\n", i);
    }
    strbuf_text_add(&b, "streams:\n");
    for (unsigned i = 1; i < 80; i++) {
        strbuf_printf(&b, "  - {from: p%u, to: p%u}\n", i - 1, i);
    }
    struct topology *t = must_parse(*state, strbuf_text(&b));
    struct worker_info w = worker("w1", 100);
    struct pgraph *g = must_place(t, &w, 1);
    uint32_t sizes[128] = {0};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        sizes[g->instances[i].chain]++;
    }
    assert_int_equal(sizes[instance(g, "p0", 0)->chain], FUSION_DEPTH_MAX);
    assert_int_equal(sizes[instance(g, "p32", 0)->chain], FUSION_DEPTH_MAX);
    assert_int_equal(sizes[instance(g, "p64", 0)->chain], 80 - 2 * FUSION_DEPTH_MAX);
    pgraph_free(g);
    topology_free(t);
    strbuf_fini(&b);
}

static void lanes_stay_together_and_instances_of_a_pe_spread(void **state)
{
    struct topology *t = must_parse(*state, pipeline);
    struct worker_info w[] = {worker("w2", 64), worker("w3", 64), worker("w1", 64)};
    struct pgraph *g = must_place(t, w, 3);
    assert_string_equal(g->workers[0].name, "w1"); /* in order of name */
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(worker_of(g, "a", i), worker_of(g, "b", i));
        assert_string_not_equal(worker_of(g, "a", i), worker_of(g, "a", (i + 1) % 3));
    }
    assert_string_not_equal(worker_of(g, "c", 0), worker_of(g, "c", 1));
    assert_string_equal(worker_of(g, "d", 0), worker_of(g, "e", 0));
    pgraph_free(g);
    topology_free(t);
}

static void single_instances_stay_on_one_worker(void **state)
{
    struct topology *t = must_parse(*state, HEAD "pes:\n  a: {use: sequence}\n  b: {use: union}\n"
                                                 "  c: {use: sequence}\n  d: {use: null-sink}\n"
                                                 "  e: {use: null-sink}\n"
                                                 "streams: [{from: a, to: b}, {from: c, to: b},"
                                                 " {from: b, to: d}, {from: b, to: e}]\n");
    struct worker_info w[] = {worker("w1", 8), worker("w2", 9), worker("w3", 8)};
    struct pgraph *g = must_place(t, w, 3);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        assert_string_equal(g->workers[g->instances[i].worker].name, "w2"); /* most free slots */
    }
    pgraph_free(g);
    topology_free(t);
}

static void sources_and_local_pes_stay_on_the_first_host(void **state)
{
    struct topology *t = must_parse(*state, HEAD "pes:\n"
                                                 "  s: {use: sequence, parallelism: 2}\n"
                                                 "  d: {use: delay, parallelism: 4}\n"
                                                 "  f: {use: file-sink, with: {path: x}}\n"
                                                 "streams: [{from: s, to: d}, {from: d, to: f}]\n");
    struct worker_info w[] = {worker("w1", 8), worker("w2", 8), worker("w3", 8)};
    snprintf(w[1].host, sizeof w[1].host, "other");
    struct pgraph *g = must_place(t, w, 3);
    assert_string_equal(g->workers[instance(g, "s", 0)->worker].host, "h");
    assert_string_equal(g->workers[instance(g, "s", 1)->worker].host, "h");
    assert_string_equal(g->workers[instance(g, "f", 0)->worker].host, "h");
    bool other = false;
    for (uint32_t i = 0; i < 4; i++) {
        other = other || strcmp(worker_of(g, "d", i), "w2") == 0;
    }
    assert_true(other);
    pgraph_free(g);
    topology_free(t);
}

static void labels_types_and_draining_narrow_the_choice(void **state)
{
    struct topology *t = must_parse(*state, HEAD "pes:\n  a: {use: sequence}\n"
                                                 "  b: {use: delay, place: {labels: {zone: x}}}\n"
                                                 "  c: {use: union}\n"
                                                 "streams: [{from: a, to: b}, {from: b, to: c}]\n");
    struct worker_info w[] = {worker("w1", 8), worker("w2", 8), worker("w3", 8)};
    w[0].draining = true;
    w[2].labels = json_pack("{s:s}", "zone", "x");
    w[1].types = json_pack("[s]", "union");
    struct pgraph *g = must_place(t, w, 3);
    assert_string_not_equal(worker_of(g, "a", 0), "w1");
    assert_string_equal(worker_of(g, "b", 0), "w3");
    assert_string_equal(worker_of(g, "c", 0), "w2");
    pgraph_free(g);
    json_decref(w[2].labels);
    w[2].labels = NULL;
    uint64_t id = 7;
    struct fail f = {0};
    assert_null(physical_expand(t, w, 3, &placer_default, &id, &f));
    assert_int_equal(id, 7);
    assert_non_null(strstr(f.what, "'b'"));
    assert_non_null(strstr(f.what, "zone"));
    json_decref(w[1].types);
    topology_free(t);
}

static void too_few_slots_are_refused_with_numbers(void **state)
{
    struct topology *t = must_parse(*state, pipeline);
    struct worker_info w[] = {worker("w1", 6), worker("w2", 8)};
    w[1].slots_used = 5;
    uint64_t id = 1;
    struct fail f = {0};
    assert_null(physical_expand(t, w, 2, &placer_default, &id, &f));
    assert_int_equal(f.code, ERR_FULL);
    assert_non_null(strstr(f.what, "10 instances"));
    assert_non_null(strstr(f.what, "9 free"));
    w[0].slots = 7;
    pgraph_free(must_place(t, w, 2));
    assert_null(physical_expand(t, NULL, 0, &placer_default, &id, &f));
    assert_non_null(strstr(f.what, "no worker"));
    topology_free(t);
}

static enum err place_all_on_first(void *ctx, struct pgraph *g, struct fail *f)
{
    (void)f;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        g->instances[i].worker = *(uint32_t *)ctx;
    }
    return ERR_OK;
}

static void a_foreign_placer_is_checked(void **state)
{
    struct topology *t = must_parse(*state, pipeline);
    struct worker_info w = worker("w1", 9);
    uint32_t where = 0;
    struct placer p = {&where, place_all_on_first};
    uint64_t id = 1;
    struct fail f = {0};
    assert_null(physical_expand(t, &w, 1, &p, &id, &f)); /* nine slots for ten instances */
    w.slots = 10;
    where = 1;
    assert_null(physical_expand(t, &w, 1, &p, &id, &f)); /* there is no worker 1 */
    where = 0;
    struct pgraph *g = physical_expand(t, &w, 1, &p, &id, &f);
    assert_non_null(g);
    pgraph_free(g);
    topology_free(t);
}

static void key_groups_have_owners_in_contiguous_ranges(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= KEY_GROUPS; n++) {
        uint32_t last = 0;
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
            uint32_t owner = physical_owner(group, n);
            assert_true(owner == last || owner == last + 1); /* so nobody is left out */
            last = owner;
        }
        assert_int_equal(last, n - 1);
    }
}

/* ---- random topologies */

static char *random_yaml(struct prng *p)
{
    struct strbuf b = {0};
    unsigned pes = 2 + (unsigned)prng_below(p, 12);
    strbuf_text_add(&b, HEAD "pes:\n");
    for (unsigned i = 0; i < pes; i++) {
        strbuf_printf(&b, "  p%u: {use: %s, parallelism: %u%s}\n", i, i == 0 ? "sequence" : "union",
                      1 + (unsigned)prng_below(p, 4),
                      prng_below(p, 5) == 0 ? ", threads: own" : "");
    }
    strbuf_text_add(&b, "streams:\n");
    for (unsigned i = 1; i < pes; i++) {
        unsigned inputs = 1 + (unsigned)prng_below(p, 2);
        for (unsigned k = 0; k < inputs; k++) {
            static const char *const parts[] = {"", ", by: key", ", to_all: true"};
            strbuf_printf(&b, "  - {from: p%u, to: p%u, name: s%u-%u%s}\n",
                          (unsigned)prng_below(p, i), i, i, k, parts[prng_below(p, 3)]);
        }
    }
    return strbuf_take(&b);
}

static void check_fusion(const struct pgraph *g) /* G1, one channel after the other */
{
    const struct topology *t = g->topology;
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        const struct pinstance *from = &g->instances[c->from], *to = &g->instances[c->to];
        if (!c->fused) {
            continue;
        }
        assert_int_equal(from->worker, to->worker);
        assert_int_equal(from->chain, to->chain);
        assert_false(t->pes[from->pe].own_thread || t->pes[to->pe].own_thread);
        for (uint32_t k = 0; k < g->channel_count; k++) {
            const struct pchannel *o = &g->channels[k];
            assert_true(k == i || o->to != c->to);
            assert_true(k == i || o->from != c->from ||
                        t->streams[o->stream].from_port != t->streams[c->stream].from_port);
        }
    }
}

static void check_slots(const struct pgraph *g) /* G3 */
{
    uint32_t used[8] = {0};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        used[g->instances[i].worker]++;
        assert_true(g->instances[i].chain > 0);
    }
    for (uint32_t i = 0; i < g->worker_count; i++) {
        assert_true(used[i] + g->workers[i].slots_used <= g->workers[i].slots);
    }
}

static void random_graphs_keep_the_invariants_and_are_deterministic(void **state)
{
    struct prng p = {42};
    for (unsigned round = 0; round < 300; round++) {
        char *yaml = random_yaml(&p);
        struct topology *t = must_parse(*state, yaml);
        struct worker_info w[3] = {worker("w1", 1 + (uint32_t)prng_below(&p, 30)),
                                   worker("w2", 1 + (uint32_t)prng_below(&p, 30)),
                                   worker("w3", 20)};
        struct worker_info shuffled[3] = {w[2], w[0], w[1]};
        uint64_t id = 1, id2 = 1;
        struct fail f = {0};
        struct pgraph *g = physical_expand(t, w, 3, &placer_default, &id, &f);
        struct pgraph *h = physical_expand(t, shuffled, 3, &placer_default, &id2, &f);
        assert_true((g == NULL) == (h == NULL));
        if (g != NULL) {
            check_fusion(g);
            check_slots(g);
            size_t bytes = g->instance_count * sizeof g->instances[0];
            assert_memory_equal(g->instances, h->instances, bytes); /* G4 */
        }
        pgraph_free(g);
        pgraph_free(h);
        topology_free(t);
        free(yaml);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitioning_decides_the_channels),
        cmocka_unit_test(only_neighbours_one_to_one_on_shared_threads_are_fused),
        cmocka_unit_test(a_long_chain_is_cut_at_the_depth_limit),
        cmocka_unit_test(lanes_stay_together_and_instances_of_a_pe_spread),
        cmocka_unit_test(single_instances_stay_on_one_worker),
        cmocka_unit_test(sources_and_local_pes_stay_on_the_first_host),
        cmocka_unit_test(labels_types_and_draining_narrow_the_choice),
        cmocka_unit_test(too_few_slots_are_refused_with_numbers),
        cmocka_unit_test(a_foreign_placer_is_checked),
        cmocka_unit_test(key_groups_have_owners_in_contiguous_ranges),
        cmocka_unit_test(random_graphs_keep_the_invariants_and_are_deterministic),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
