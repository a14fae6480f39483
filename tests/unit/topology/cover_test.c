/* tests/unit/topology/cover_test.c - who must agree on a cut, and that each rule is needed for it.
 *
 * Goal:   the covering set is what the protocol's section 1 says: neither less (old and new would
 *         mix, or a key's order turn) nor more (what is not concerned must not notice).
 * Method: for each closure a scenario in which a member is lost when it is switched off; the holes
 *         of the protocol by number; and, on random topologies and edits, a slow second
 *         implementation straight from the definitions. */
#include "tests/unit/topology/plan_random.h"

#define OFF(bit) (COVER_EXACT & ~(unsigned)(bit))

/* covers - whether all instances of a PE are members under these closures. */
static bool covers(struct scene *s, unsigned closures, const char *pe)
{
    struct cover_options options = {closures};
    s->in.cover = &options;
    struct plan *p = scene_plan(s);
    s->in.cover = NULL;
    uint32_t n = topology_pe(s->b, pe) != NULL ? topology_pe(s->b, pe)->parallelism
                                               : topology_pe(s->a, pe)->parallelism;
    bool all = true;
    for (uint32_t i = 0; i < n; i++) {
        all = all && member_of(p, pe, i) != NULL;
    }
    return all;
}

static void a_change_in_place_has_one_member_no_channel_and_no_marker(void **state)
{
    struct scene s;
    struct plan *p = scene_of(&s, *state,
                              "pes:\n  a: {use: src}\n  b: {use: map}\n  c: {use: sink}\n"
                              "streams: [{from: a, to: b}, {from: b, to: c}]\n",
                              *state,
                              "pes:\n  a: {use: src}\n  b: {use: map, with: {v: 1}}\n"
                              "  c: {use: sink}\nstreams: [{from: a, to: b}, {from: b, to: c}]\n",
                              1);
    assert_int_equal(p->cover->member_count, 1);
    assert_int_equal(p->cover->channels_inside, 0);
    const struct cover_member *m = member_of(p, "b", 0);
    assert_int_equal(m->role, ROLE_ADOPTED);
    assert_true(m->head);
    assert_int_equal(m->lists[LIST_NEW_INPUTS].count, 0);
    assert_int_equal(count_of(p, DO_REPLACE), 1);
    assert_int_equal(p->instruction_count, 1);
    scene_fini(&s);
}

static void closure_a_takes_in_who_lies_between_two_members(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  b: {use: map, with: {v: %d}}\n"
                               "  m: {use: map}\n  c: {use: map, with: {v: %d}}\n  z: {use: sink}\n"
                               "streams: [{from: a, to: b}, {from: b, to: m}, {from: m, to: c}, "
                               "{from: c, to: z}]\n";
    char *x = mem_printf(text, 0, 0), *y = mem_printf(text, 1, 1);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "m"));
    assert_false(covers(&s, OFF(COVER_PATH), "m"));
    assert_false(covers(&s, COVER_EXACT, "z"));
    struct plan *p = scene_plan(&s);
    const struct cover_member *m = member_of(p, "m", 0); /* H9: it waits and passes the marker on */
    assert_int_equal(m->role, ROLE_STAYING);
    assert_int_equal(m->lists[LIST_OLD_INPUTS].count, 1);
    assert_int_equal(m->lists[LIST_STAYING_OUTPUTS].count, 1);
    assert_true(member_of(p, "b", 0)->head);
    assert_false(m->head);
    assert_int_equal(p->cover->depth, 2);
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* H2: A forks to H and straight to M; only M changes: the two copies would meet two versions. */
static void h2_closure_b_takes_in_who_makes_copies(void **state)
{
    static const char text[] = "pes:\n  s: {use: src}\n  a: {use: map}\n  h: {use: map}\n"
                               "  m: {use: map, with: {v: %d}}\n  z: {use: sink}\n"
                               "streams: [{from: s, to: a}, {from: a, to: h}, {from: a, to: m}, "
                               "{from: h, to: m}, {from: m, to: z}]\n";
    char *x = mem_printf(text, 0), *y = mem_printf(text, 1);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "a"));
    assert_true(covers(&s, COVER_EXACT, "h")); /* then on the path */
    assert_false(covers(&s, OFF(COVER_FORK), "a"));
    assert_false(covers(&s, COVER_EXACT, "s"));
    assert_true(member_of(scene_plan(&s), "a", 0)->head);
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

static void copies_of_a_broadcast_are_a_fork_and_those_of_two_ports_are_none(void **state)
{
    static const char cast[] =
        "pes:\n  s: {use: src}\n  m: {use: map, parallelism: 2, with: {v: %d}}"
        "\nstreams: [{from: s, to: m, to_all: true}]\n";
    char *x = mem_printf(cast, 0), *y = mem_printf(cast, 1);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "s"));
    assert_false(covers(&s, OFF(COVER_FORK), "s"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
    static const char ports[] = "pes:\n  s: {use: src}\n  m: {use: map, with: {v: %d}}\n"
                                "  n: {use: map, with: {v: %d}}\nstreams: [{from: s, to: m}, "
                                "{from: s.bad, to: n}]\n";
    x = mem_printf(ports, 0, 0);
    y = mem_printf(ports, 1, 1);
    scene_of(&s, *state, x, *state, y, 1);
    assert_false(covers(&s, COVER_EXACT, "s"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

static void source_wide_takes_in_who_emits_many(void **state)
{
    static const char text[] = "pes:\n  s: {use: src}\n  w: {use: many}\n"
                               "  m: {use: map, with: {v: %d}}\n"
                               "streams: [{from: s, to: w}, {from: w, to: m}]\n";
    char *x = mem_printf(text, 0), *y = mem_printf(text, 1);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_false(covers(&s, COVER_EXACT, "w"));
    assert_true(covers(&s, COVER_EXACT | COVER_MANY, "w"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* H1: P moves; S behind it would take the new P's output before the old one's tail. */
static void h1_closure_c_takes_in_consumers_of_what_moves_or_is_scaled(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  p: {use: keyed, parallelism: %d}\n"
                               "  s: {use: map, parallelism: 2}\n  t: {use: map, parallelism: 2}\n"
                               "  z: {use: sink}\nstreams: [{from: a, to: p, by: key}, {from: p, "
                               "to: s, by: key}, {from: s, to: t}, {from: t, to: z}]\n";
    char *x = mem_printf(text, 2), *y = mem_printf(text, 3);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "s"));
    assert_true(covers(&s, COVER_EXACT, "a"));  /* routes to p */
    assert_false(covers(&s, COVER_EXACT, "t")); /* s is not relocated */
    scene_fini(&s);
    scene_of(&s, *state, x, *state, x, 2); /* the same topology, but w1 is drained */
    s.workers[1].draining = true;
    assert_true(covers(&s, COVER_EXACT, "s"));
    assert_true(s.plan->diff->count == 0 && s.plan->instruction_count > 0);
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

static void closure_c_follows_forward_streams_from_what_is_relocated(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  p: {use: map, parallelism: 2, "
                               "place: {labels: {%s: \"\"}}}\n  q: {use: map, parallelism: 2}\n"
                               "  r: {use: map, parallelism: 2}\n  z: {use: sink}\n"
                               "streams: [{from: a, to: p, by: key}, {from: p, to: q}, "
                               "{from: q, to: r, by: key}, {from: r, to: z}]\n";
    char *x = mem_printf(text, "any"), *y = mem_printf(text, "other");
    char *xy = mem_printf("oxbow: 1\ntopology: t\n%s", x);
    char *yy = mem_printf("oxbow: 1\ntopology: t\n%s", y);
    struct scene s = {.a = must_parse(*state, xy), .b = must_parse(*state, yy), .next_id = 1};
    struct fail f;
    plan_workers(s.workers, 2, 100);
    s.workers[0].labels = json_pack("{s:s}", "any", "");
    s.workers[1].labels = json_pack("{s:s}", "other", "");
    s.running = physical_expand(s.a, s.workers, 2, &placer_default, &s.next_id, &f);
    s.in = (struct plan_input){.running = s.running,
                               .next = s.b,
                               .workers = s.workers,
                               .worker_count = 2,
                               .next_id = s.next_id};
    struct plan *p = scene_plan(&s);
    assert_true(member_of(p, "p", 0)->relocated);
    assert_true(member_of(p, "q", 0)->relocated); /* fed by forward */
    assert_true(covers(&s, COVER_EXACT, "r"));    /* its consumer */
    assert_false(covers(&s, OFF(COVER_ORDER), "r"));
    assert_false(covers(&s, COVER_EXACT, "z"));
    json_decref(s.workers[0].labels);
    json_decref(s.workers[1].labels);
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
    mem_free(xy);
    mem_free(yy);
}

/* A -> B becomes A -> C; both go on to M, whose own channels do not change. */
static void closure_c_takes_in_where_the_old_and_the_new_way_meet(void **state)
{
    static const char text[] =
        "pes:\n  s: {use: src}\n  a: {use: map}\n  o: {use: src}\n"
        "  b: {use: map}\n  c: {use: map}\n  m: {use: map}\n  z: {use: sink}\n"
        "streams: [{from: s, to: a}, {from: a, to: %s, name: x}, {from: o, "
        "to: b}, {from: o.bad, to: c}, {from: b, to: m}, {from: c, to: m}, "
        "{from: m, to: z}]\n";
    char *x = mem_printf(text, "b"), *y = mem_printf(text, "c");
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "m"));
    assert_false(covers(&s, OFF(COVER_ORDER), "m"));
    assert_true(covers(&s, COVER_PER_PE, "m")); /* H33: per-pe keeps c */
    assert_false(covers(&s, COVER_EXACT, "z"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* H8: a new PE X -> B: B's new input is blocked until its cut. */
static void h8_new_inputs_are_listed_and_a_new_instance_is_no_head(void **state)
{
    struct scene s;
    struct plan *p = scene_of(
        &s, *state,
        "fusion: off\npes:\n  a: {use: src}\n  b: {use: map}\n  z: {use: sink}\n"
        "streams: [{from: a, to: b}, {from: b, to: z}]\n",
        *state,
        "fusion: off\npes:\n  a: {use: src}\n  b: {use: map}\n  x: {use: src}\n  z: {use: sink}\n"
        "streams: [{from: a, to: b}, {from: b, to: z}, {from: x, to: b}]\n",
        1);
    const struct cover_member *b = member_of(p, "b", 0), *x = member_of(p, "x", 0);
    assert_true(b->head);
    assert_int_equal(x->role, ROLE_NEW);
    assert_false(x->head);
    assert_int_equal(x->lists[LIST_NEW_OUTPUTS].count, 1);
    assert_null(member_of(p, "z", 0));
    assert_int_equal(b->lists[LIST_NEW_INPUTS].count, 1);
    assert_null(member_of(p, "a", 0));
    scene_fini(&s);
}

/* A fused hop becomes a ring (or the reverse): another channel, so that both ends agree on when. */
static void a_chain_that_is_split_has_both_its_ends_in_the_set(void **state)
{
    struct scene s;
    struct plan *p =
        scene_of(&s, *state,
                 "pes:\n  a: {use: src}\n  b: {use: map}\n  z: {use: sink}\n"
                 "streams: [{from: a, to: b}, {from: b, to: z}]\n",
                 *state,
                 "pes:\n  a: {use: src}\n  b: {use: map}\n  x: {use: src}\n  z: {use: sink}\n"
                 "streams: [{from: a, to: b}, {from: b, to: z}, {from: x, to: b}]\n",
                 1);
    assert_true(s.running->channels[0].fused);
    assert_int_equal(member_of(p, "b", 0)->lists[LIST_NEW_INPUTS].count, 2);
    assert_true(member_of(p, "a", 0)->head);
    assert_null(member_of(p, "z", 0));
    scene_fini(&s);
}

static void a_sink_that_is_relocated_needs_the_token(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  z: {use: sink, parallelism: %d}\n"
                               "streams: [{from: a, to: z, by: key}]\n";
    char *x = mem_printf(text, 2), *y = mem_printf(text, 3);
    struct scene s;
    struct plan *p = scene_of(&s, *state, x, *state, y, 1); /* R11, H7 */
    assert_true(member_of(p, "z", 0)->token && member_of(p, "z", 2)->token);
    assert_int_equal(member_of(p, "z", 0)->role, ROLE_ADOPTED); /* what it opens may depend on it */
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* Found by the simulator (seed 28802058759): a's tuples came to z undivided, and now come by a
 * stream that was there before, divided by key: a key may meet another instance of z. */
static void an_old_way_that_was_divided_otherwise_relocates_too(void **state)
{
    static const char text[] =
        "pes:\n  a: {use: src, parallelism: 2}\n  b: {use: src}\n  m: {use: map}\n"
        "  z: {use: sink, parallelism: 2}\n"
        "streams: [{from: a, to: %s, name: x}, {from: b, to: m}, {from: m, to: z, by: key}]\n";
    char *x = mem_printf(text, "z"), *y = mem_printf(text, "m");
    struct scene s;
    struct plan *p = scene_of(&s, *state, x, *state, y, 1);
    assert_true(member_of(p, "z", 0)->relocated);
    assert_true(member_of(p, "z", 0)->token && member_of(p, "z", 1)->token);
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* global: the marker starts at every source and passes everybody, also who has no part in it. */
static void global_takes_everybody_as_soon_as_something_changes(void **state)
{
    static const char text[] =
        "upgrade: {consistency: global}\npes:\n  a: {use: src}\n  b: {use: src}\n"
        "  m: {use: map, with: {v: %d}}\n  z: {use: sink}\n  y: {use: sink}\n"
        "streams: [{from: a, to: m}, {from: m, to: z}, {from: b, to: y}]\n";
    char *x = mem_printf(text, 0), *y = mem_printf(text, 1);
    struct scene s;
    struct plan *p = scene_of(&s, *state, x, *state, y, 1);
    assert_int_equal(cover_options_of(s.b).closures, COVER_GLOBAL);
    assert_int_equal(p->cover->member_count, 5);
    assert_int_equal(p->cover->head_count, 2);
    assert_true(member_of(p, "a", 0)->head && member_of(p, "b", 0)->head);
    assert_int_equal(member_of(p, "y", 0)->why, WHY_GLOBAL);
    assert_false(covers(&s, COVER_EXACT, "y"));
    scene_fini(&s);
    p = scene_of(&s, *state, x, *state, x, 1);
    assert_int_equal(p->cover->member_count, 0); /* no change: nobody */
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* H33: per-pe gives up closure b, never the ends of channels; and a neither, or it may hang for
 * ever (tests/sim/holes_test.c). */
static void h33_per_pe_drops_forks_only(void **state)
{
    static const char text[] = "upgrade: {consistency: per-pe}\npes:\n  a: {use: src}\n"
                               "  b: {use: set, with: {fields: {%s: 1}}}\n  m: {use: map}\n"
                               "  n: {use: map}\n  c: {use: map, with: {v: %d}}\n  z: {use: sink}\n"
                               "streams: [{from: a, to: b}, {from: b, to: z, name: bz}, "
                               "{from: a, to: m}, {from: m, to: n}, {from: n, to: c}]\n";
    char *x = mem_printf(text, "x", 0), *y = mem_printf(text, "y", 1);
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_int_equal(cover_options_of(s.b).closures, COVER_PER_PE);
    struct plan *p = scene_plan(&s);
    assert_non_null(member_of(p, "z", 0)); /* the schema of bz changes */
    assert_null(member_of(p, "a", 0));     /* forks to b and c */
    assert_null(member_of(p, "m", 0));
    assert_true(covers(&s, COVER_EXACT, "a"));
    assert_true(covers(&s, COVER_EXACT, "m"));
    assert_false(covers(&s, COVER_PER_PE & ~(unsigned)COVER_ENDS, "a"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

static void both_ends_of_a_changed_channel_are_members(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  b: {use: map, parallelism: 2}\n"
                               "streams: [{from: a, to: b, by: %s}]\n";
    char *x = mem_printf(text, "key"), *y = mem_printf(text, "seq");
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    assert_true(covers(&s, COVER_EXACT, "a") && covers(&s, COVER_EXACT, "b"));
    assert_false(covers(&s, OFF(COVER_ENDS), "a"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* ---- the definitions once more, slowly */

#define NODES_MAX 96

struct slow {
    uint32_t count, olds;
    bool edge[NODES_MAX][NODES_MAX];  /* V u V' */
    bool reach[NODES_MAX][NODES_MAX]; /* by at least one edge */
    bool in[NODES_MAX];
};

static uint32_t slow_node(const struct plan *p, uint32_t new)
{
    uint32_t node = p->match->from->instance_count;
    if (p->match->instance_old[new] != INDEX_NONE) {
        return p->match->instance_old[new];
    }
    for (uint32_t i = 0; i < new; i++) {
        node += p->match->instance_old[i] == INDEX_NONE;
    }
    return node;
}

static void slow_graph(struct slow *g, const struct plan *p)
{
    *g = (struct slow){.olds = p->match->from->instance_count};
    g->count = g->olds;
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        g->count += p->match->instance_old[i] == INDEX_NONE;
    }
    assert_true(g->count <= NODES_MAX);
    for (uint32_t i = 0; i < p->match->from->channel_count; i++) {
        const struct pchannel *c = &p->match->from->channels[i];
        g->edge[c->from][c->to] = true;
    }
    for (uint32_t i = 0; i < p->to->channel_count; i++) {
        const struct pchannel *c = &p->to->channels[i];
        g->edge[slow_node(p, c->from)][slow_node(p, c->to)] = true;
    }
    memcpy(g->reach, g->edge, sizeof g->reach);
    for (uint32_t k = 0; k < g->count; k++) {
        for (uint32_t i = 0; i < g->count; i++) {
            for (uint32_t j = 0; g->reach[i][k] && j < g->count; j++) {
                g->reach[i][j] = g->reach[i][j] || g->reach[k][j];
            }
        }
    }
}

static bool slow_between(const struct slow *g, uint32_t x)
{
    bool above = false, under = false;
    for (uint32_t i = 0; i < g->count; i++) {
        above = above || (g->in[i] && g->reach[i][x]);
        under = under || (g->in[i] && g->reach[x][i]);
    }
    return above && under;
}

/* slow_forks - copies of one tuple that x makes at one port and that come to members. */
static bool slow_forks(const struct slow *g, const struct plan *p, uint32_t x)
{
    const struct pgraph *a = p->match->from;
    const struct topology *t = a->topology;
    uint32_t copies[PORTS_MAX] = {0};
    for (uint32_t s = 0; s < t->stream_count; s++) {
        uint32_t hits = 0;
        for (uint32_t i = 0; i < a->channel_count; i++) {
            const struct pchannel *c = &a->channels[i];
            bool hit = c->stream == s && c->from == x && g->in[c->to];
            for (uint32_t k = 0; c->stream == s && c->from == x && k < g->count; k++) {
                hit = hit || (g->in[k] && g->reach[c->to][k]);
            }
            hits += hit;
        }
        bool all = t->streams[s].partitioning == PART_BROADCAST;
        copies[t->streams[s].from_port] += all ? hits : hits > 0;
    }
    for (unsigned i = 0; i < PORTS_MAX; i++) {
        if (copies[i] > 1) {
            return true;
        }
    }
    return false;
}

static void slow_close(struct slow *g, const struct plan *p, unsigned closures)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t x = 0; x < g->count; x++) {
            bool joins = ((closures & COVER_PATH) != 0 && slow_between(g, x)) ||
                         ((closures & COVER_FORK) != 0 && x < g->olds && slow_forks(g, p, x));
            more = more || (joins && !g->in[x]);
            g->in[x] = g->in[x] || joins;
        }
    }
}

/* check_lists - heads, roles and lists of one member against the graphs. */
static void check_member(const struct plan *p, const struct cover_member *m)
{
    const struct match *k = p->match;
    uint32_t waits = 0;
    for (uint32_t i = 0; i < k->from->channel_count; i++) {
        const struct pchannel *c = &k->from->channels[i];
        waits += m->old != INDEX_NONE && c->to == m->old && p->cover->of_old[c->from] != INDEX_NONE;
    }
    assert_int_equal(waits, m->lists[LIST_OLD_INPUTS].count);
    assert_int_equal(m->head, m->old != INDEX_NONE && waits == 0); /* C2 */
    assert_int_equal(m->role == ROLE_OLD, m->new == INDEX_NONE);
    assert_int_equal(m->role == ROLE_NEW, m->old == INDEX_NONE);
    for (uint32_t i = 0; i < m->lists[LIST_STAYING_OUTPUTS].count; i++) {
        uint32_t c = m->lists[LIST_STAYING_OUTPUTS].items[i];
        assert_true(k->channel_new[c] != INDEX_NONE && k->from->channels[c].from == m->old);
    }
    for (uint32_t i = 0; i < m->lists[LIST_NEW_INPUTS].count; i++) {
        uint32_t c = m->lists[LIST_NEW_INPUTS].items[i];
        assert_true(k->channel_old[c] == INDEX_NONE && p->to->channels[c].to == m->new);
    }
}

/* check_outside - C3: who is no member has all of its channels still. */
static void check_outside(const struct plan *p)
{
    const struct match *k = p->match;
    for (uint32_t i = 0; i < k->from->channel_count; i++) {
        const struct pchannel *c = &k->from->channels[i];
        bool both =
            p->cover->of_old[c->from] != INDEX_NONE && p->cover->of_old[c->to] != INDEX_NONE;
        assert_true(both || k->channel_new[i] != INDEX_NONE);
    }
    for (uint32_t i = 0; i < p->to->channel_count; i++) {
        const struct pchannel *c = &p->to->channels[i];
        bool both =
            p->cover->of_new[c->from] != INDEX_NONE && p->cover->of_new[c->to] != INDEX_NONE;
        assert_true(both || k->channel_old[i] != INDEX_NONE);
    }
}

static void a_random_edit_has_the_set_that_the_definitions_give(void **state)
{
    static struct slow g; /* tidy: 20 KB, too large for a stack under sanitizers */
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct prng r = {seed};
        struct random_draft d = draft_make(&r);
        struct topology *a = draft_topology(*state, &d);
        for (unsigned n = 1 + below(&r, 3); n > 0; n--) {
            draft_edit(&d, &r);
        }
        struct scene s;
        scene_init(&s, a, draft_topology(*state, &d), 1 + below(&r, 3));
        s.workers[0].draining = s.worker_count > 1 && below(&r, 6) == 0;
        struct plan *p = scene_plan(&s);
        assert_non_null(p->cover);
        slow_graph(&g, p);
        for (uint32_t i = 0; i < p->cover->member_count; i++) {
            const struct cover_member *m = &p->cover->members[i];
            uint32_t x = m->old != INDEX_NONE ? m->old : slow_node(p, m->new);
            g.in[x] = (m->why & ~(unsigned)(WHY_PATH | WHY_FORK)) != 0;
            check_member(p, m);
        }
        slow_close(&g, p, cover_options_of(s.b).closures);
        uint32_t count = 0;
        for (uint32_t i = 0; i < g.count; i++) {
            count += g.in[i];
        }
        if (count != p->cover->member_count) {
            fail_msg("seed %llu: %u members, %u by the definitions", (unsigned long long)seed,
                     p->cover->member_count, count);
        }
        check_outside(p);
        scene_fini(&s);
    }
}

#define WITH(t) cmocka_unit_test_setup_teardown(t, plan_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_change_in_place_has_one_member_no_channel_and_no_marker),
        WITH(closure_a_takes_in_who_lies_between_two_members),
        WITH(h2_closure_b_takes_in_who_makes_copies),
        WITH(copies_of_a_broadcast_are_a_fork_and_those_of_two_ports_are_none),
        WITH(source_wide_takes_in_who_emits_many),
        WITH(h1_closure_c_takes_in_consumers_of_what_moves_or_is_scaled),
        WITH(closure_c_follows_forward_streams_from_what_is_relocated),
        WITH(closure_c_takes_in_where_the_old_and_the_new_way_meet),
        WITH(h8_new_inputs_are_listed_and_a_new_instance_is_no_head),
        WITH(a_chain_that_is_split_has_both_its_ends_in_the_set),
        WITH(a_sink_that_is_relocated_needs_the_token),
        WITH(an_old_way_that_was_divided_otherwise_relocates_too),
        WITH(global_takes_everybody_as_soon_as_something_changes),
        WITH(h33_per_pe_drops_forks_only),
        WITH(both_ends_of_a_changed_channel_are_members),
        WITH(a_random_edit_has_the_set_that_the_definitions_give),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
