/* tests/unit/topology/recovery_test.c - the recovery set, against a naive fixpoint.
 *
 * Goal:   C1, C2 of topology/recovery.h, and PROTOCOL R20 clause by clause.
 * Method: small graphs by hand; then random layered graphs with random losses and retained logs,
 *         where the set must equal what repeated application of the four rules gives. */
#include "tests/unit/topology/model_fixture.h"

#include "core/mem.h"
#include "core/prng.h"
#include "topology/recovery.h"

static const char two_regions[] = "oxbow: 1\n"
                                  "topology: two\n"
                                  "pes:\n"
                                  "  a: {use: sequence}\n"
                                  "  b: {use: count, parallelism: 2, with: {by: key}}\n"
                                  "  c: {use: null-sink}\n"
                                  "  x: {use: sequence}\n"
                                  "  y: {use: null-sink}\n"
                                  "streams:\n"
                                  "  - {from: a, to: b, by: key}\n"
                                  "  - {from: b, to: c}\n"
                                  "  - {from: x, to: y}\n";

static uint32_t find(const struct pgraph *g, const char *pe, uint32_t index)
{
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (strcmp(g->topology->pes[g->instances[i].pe].name, pe) == 0 &&
            g->instances[i].index == index) {
            return i;
        }
    }
    fail_msg("no instance %s", pe);
    return 0;
}

static void without_retention_a_region_goes_whole_and_others_stay(void **state)
{
    struct topology *t = must_parse(*state, two_regions);
    struct pgraph *g = pgraph_outline(t, NULL, 0);
    bool *lost = mem_array(g->instance_count, sizeof *lost);
    struct recovery r;
    lost[find(g, "b", 1)] = true;
    recovery_make(&(struct recovery_input){.graph = g, .lost = lost}, &r);
    assert_int_equal(r.count, 4);
    assert_int_equal(r.target_count, 0); /* C2 */
    assert_false(r.in[find(g, "x", 0)]);
    assert_false(r.in[find(g, "y", 0)]);
    assert_int_equal(r.unreplayable, INDEX_NONE);
    recovery_fini(&r);
    mem_free(lost);
    pgraph_free(g);
    topology_free(t);
}

static void a_retained_log_leaves_its_sender_outside_as_target(void **state)
{
    struct topology *t = must_parse(*state, two_regions);
    struct pgraph *g = pgraph_outline(t, NULL, 0);
    bool *lost = mem_array(g->instance_count, sizeof *lost);
    bool *retained = mem_array(g->channel_count, sizeof *retained);
    struct recovery r;
    for (uint32_t k = 0; k < g->channel_count; k++) {
        retained[k] = true;
    }
    lost[find(g, "b", 1)] = true;
    recovery_make(&(struct recovery_input){.graph = g, .lost = lost, .retained = retained}, &r);
    assert_int_equal(r.count, 2); /* b[1] and c */
    assert_int_equal(r.target_count, 2);
    assert_true(r.targets[find(g, "a", 0)]);
    assert_true(r.targets[find(g, "b", 0)]); /* c restores, so it needs b[0]'s log too */
    recovery_fini(&r);
    mem_free(lost);
    mem_free(retained);
    pgraph_free(g);
    topology_free(t);
}

static void who_is_called_directly_goes_back_with_its_caller(void **state)
{
    struct topology *t = must_parse(*state, two_regions);
    struct pgraph *g = pgraph_outline(t, NULL, 0);
    bool *lost = mem_array(g->instance_count, sizeof *lost);
    bool *retained = mem_array(g->channel_count, sizeof *retained);
    struct recovery r;
    for (uint32_t k = 0; k < g->channel_count; k++) {
        retained[k] = true;
        g->channels[k].fused = g->channels[k].from == find(g, "x", 0);
    }
    lost[find(g, "y", 0)] = true;
    recovery_make(&(struct recovery_input){.graph = g, .lost = lost, .retained = retained}, &r);
    assert_int_equal(r.count, 2);
    assert_true(r.in[find(g, "x", 0)]);
    assert_int_equal(r.target_count, 0);
    recovery_fini(&r);
    mem_free(lost);
    mem_free(retained);
    pgraph_free(g);
    topology_free(t);
}

static void a_decided_change_brings_its_whole_covering_set(void **state)
{
    struct topology *t = must_parse(*state, two_regions);
    struct pgraph *g = pgraph_outline(t, NULL, 0);
    bool *lost = mem_array(g->instance_count, sizeof *lost);
    bool *covering = mem_array(g->instance_count, sizeof *covering);
    struct recovery r;
    lost[find(g, "b", 0)] = true;
    covering[find(g, "x", 0)] = true;
    recovery_make(&(struct recovery_input){.graph = g, .lost = lost, .covering = covering}, &r);
    assert_int_equal(r.count, 6);
    recovery_fini(&r);
    mem_free(lost);
    mem_free(covering);
    pgraph_free(g);
    topology_free(t);
}

static void a_source_that_cannot_replay_is_named(void **state)
{
    struct topology *t = must_parse(*state, "oxbow: 1\n"
                                            "topology: tcp\n"
                                            "pes:\n"
                                            "  in: {use: tcp-source, with: "
                                            "{listen: '127.0.0.1:9000'}}\n"
                                            "  out: {use: null-sink}\n"
                                            "streams:\n"
                                            "  - {from: in, to: out}\n");
    struct pgraph *g = pgraph_outline(t, NULL, 0);
    bool lost[2] = {false};
    struct recovery r;
    lost[find(g, "out", 0)] = true;
    recovery_make(&(struct recovery_input){.graph = g, .lost = lost}, &r);
    assert_string_equal(t->pes[r.unreplayable].name, "in");
    recovery_fini(&r);
    pgraph_free(g);
    topology_free(t);
}

/* naive - apply the rules to everything until nothing changes. */
static void naive(const struct recovery_input *in, bool *set)
{
    const struct pgraph *g = in->graph;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        set[i] = in->lost[i] || in->covering[i];
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t k = 0; k < g->channel_count; k++) {
            uint32_t z = g->channels[k].from, d = g->channels[k].to;
            if (set[z] && !set[d]) {
                set[d] = more = true;
            }
            if (set[d] && !set[z] && (!in->retained[k] || g->channels[k].fused)) {
                set[z] = more = true;
            }
        }
    }
}

static void random_graphs_give_the_least_set(void **state)
{
    enum { INSTANCES_OF_GRAPH = 24, CHANNELS_OF_GRAPH = 40 };
    struct topology *t = must_parse(*state, two_regions);
    uint32_t partial = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct prng p = {.state = seed};
        struct pinstance instances[INSTANCES_OF_GRAPH] = {0};
        struct pchannel channels[CHANNELS_OF_GRAPH] = {0};
        bool lost[INSTANCES_OF_GRAPH], covering[INSTANCES_OF_GRAPH];
        bool retained[CHANNELS_OF_GRAPH], wanted[INSTANCES_OF_GRAPH];
        struct pgraph g = {.topology = t, .instances = instances, .channels = channels};
        g.instance_count = 2 + (uint32_t)prng_below(&p, INSTANCES_OF_GRAPH - 2);
        g.channel_count = 1 + (uint32_t)prng_below(&p, CHANNELS_OF_GRAPH - 1);
        uint64_t keeps = prng_below(&p, 4); /* of 3: how many logs reach back */
        for (uint32_t k = 0; k < g.channel_count; k++) {
            uint32_t to = 1 + (uint32_t)prng_below(&p, g.instance_count - 1);
            channels[k].to = to;
            channels[k].from = (uint32_t)prng_below(&p, to);
            retained[k] = prng_below(&p, 3) < keeps;
            channels[k].fused = prng_below(&p, 6) == 0;
        }
        for (uint32_t i = 0; i < g.instance_count; i++) {
            lost[i] = prng_below(&p, 12) == 0;
            covering[i] = prng_below(&p, 40) == 0;
        }
        struct recovery_input in = {&g, lost, covering, retained};
        struct recovery r;
        recovery_make(&in, &r);
        naive(&in, wanted);
        uint32_t count = 0;
        for (uint32_t i = 0; i < g.instance_count; i++) {
            assert_int_equal(r.in[i], wanted[i]);
            count += wanted[i];
            assert_false(r.in[i] && r.targets[i]);
        }
        assert_int_equal(r.count, count);
        partial += count > 0 && count < g.instance_count;
        recovery_fini(&r);
    }
    assert_true(partial > 5000);
    topology_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_retention_a_region_goes_whole_and_others_stay),
        cmocka_unit_test(a_retained_log_leaves_its_sender_outside_as_target),
        cmocka_unit_test(who_is_called_directly_goes_back_with_its_caller),
        cmocka_unit_test(a_decided_change_brings_its_whole_covering_set),
        cmocka_unit_test(a_source_that_cannot_replay_is_named),
        cmocka_unit_test(random_graphs_give_the_least_set),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
