/* tests/unit/topology/plan_test.c - the planner's laws, and what it refuses.
 *
 * Goal:   a plan leads from A to B and nowhere else, keeps what can be kept, and is refused with
 *         its reason where state, order or room would be lost.
 * Method: random topologies and edits whose instructions are carried out on a set of ids; tables
 *         of refusals; the holes of the protocol by number. */
#include "tests/unit/topology/plan_random.h"

#include "core/clock.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- carrying out */

struct ids {
    uint64_t *items;
    size_t count, capacity;
};

static void ids_add(struct ids *s, uint64_t id)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i] == id) {
            return;
        }
    }
    s->items = mem_grow(s->items, s->count, &s->capacity, sizeof s->items[0]);
    s->items[s->count++] = id;
}

static bool ids_remove(struct ids *s, uint64_t id)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i] == id) {
            s->items[i] = s->items[--s->count];
            return true;
        }
    }
    return false;
}

/* carry_out - what workers would do by the instructions alone: must give V' (L1). */
static void carry_out(const struct plan *p)
{
    const struct pgraph *a = p->match->from, *b = p->to;
    struct ids instances = {0}, channels = {0}, closed = {0};
    for (uint32_t i = 0; i < a->instance_count; i++) {
        ids_add(&instances, a->instances[i].id);
    }
    for (uint32_t i = 0; i < a->channel_count; i++) {
        ids_add(&channels, a->channels[i].id);
    }
    for (size_t i = 0; i < p->instruction_count; i++) {
        const struct instruction *x = &p->instructions[i];
        if (x->kind == DO_CREATE) {
            assert_int_equal(b->instances[x->new].worker, x->worker);
            assert_false(ids_remove(&instances, b->instances[x->new].id)); /* K3 */
            ids_add(&instances, b->instances[x->new].id);
        } else if (x->kind == DO_REMOVE) {
            assert_true(ids_remove(&instances, a->instances[x->old].id));
        } else if (x->kind == DO_REPLACE || x->kind == DO_SET_POLICY || x->kind == DO_REWIRE) {
            assert_int_equal(a->instances[x->old].id, b->instances[x->new].id);
        } else if (x->kind == DO_OPEN) {
            ids_add(&channels, b->channels[x->channel].id);
        } else if (x->kind == DO_CLOSE) {
            uint64_t id = a->channels[x->channel].id;
            assert_true(ids_remove(&channels, id) || ids_remove(&closed, id));
            const struct pchannel *c = &a->channels[x->channel];
            if (a->instances[c->from].worker != a->instances[c->to].worker) {
                ids_add(&closed, id); /* the other end follows */
            }
        }
    }
    for (uint32_t i = 0; i < b->instance_count; i++) {
        assert_true(ids_remove(&instances, b->instances[i].id));
    }
    for (uint32_t i = 0; i < b->channel_count; i++) {
        assert_true(ids_remove(&channels, b->channels[i].id));
    }
    assert_int_equal(instances.count + channels.count, 0);
    mem_free(instances.items);
    mem_free(channels.items);
    mem_free(closed.items);
}

/* same_shape - V' is what a deployment of its topology would be, but for ids, places and fusion. */
static void same_shape(const struct pgraph *g, struct worker_info *workers, uint32_t count)
{
    struct fail f;
    uint64_t id = 1;
    bool draining = workers[0].draining;
    workers[0].draining = false;
    struct pgraph *fresh = physical_expand(g->topology, workers, count, &placer_default, &id, &f);
    workers[0].draining = draining;
    assert_non_null(fresh);
    assert_int_equal(g->instance_count, fresh->instance_count);
    assert_int_equal(g->channel_count, fresh->channel_count);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        assert_int_equal(g->instances[i].pe, fresh->instances[i].pe);
        assert_int_equal(g->instances[i].index, fresh->instances[i].index);
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i], *d = &fresh->channels[i];
        assert_true(c->stream == d->stream && c->from == d->from && c->to == d->to);
        assert_true(!c->fused || g->instances[c->from].worker == g->instances[c->to].worker);
        assert_true(!c->fused || g->instances[c->from].chain == g->instances[c->to].chain);
    }
    pgraph_free(fresh);
}

/* check_owners - G2, and the moves of state are what differs between the two maps. */
static void check_owners(const struct plan *p)
{
    const struct topology *t = p->diff->to;
    for (uint32_t pe = 0; pe < t->pe_count; pe++) {
        uint32_t has[KEY_GROUPS] = {0}, least = KEY_GROUPS, most = 0, old = p->diff->pe_old[pe];
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            uint32_t owner = pgraph_owner(p->to, pe, g);
            assert_true(owner < t->pes[pe].parallelism);
            has[owner]++;
            uint32_t from = old != INDEX_NONE && t->pes[pe].desc->stateful &&
                                    p->diff->from->pes[old].desc->stateful && !p->drops[pe]
                                ? p->match->first_old[old] + pgraph_owner(p->match->from, old, g)
                                : INDEX_NONE;
            uint32_t to = p->match->first_new[pe] + owner, moved = 0;
            for (size_t i = 0; i < p->move_count; i++) {
                const struct state_move *m = &p->moves[i];
                moved += m->pe == pe && m->old == from && m->new == to &&state_move_has(m, g);
            }
            bool stays = from == INDEX_NONE || p->match->instance_new[from] == to;
            assert_int_equal(moved, stays ? 0 : 1);
        }
        for (uint32_t i = 0; i < t->pes[pe].parallelism; i++) {
            least = has[i] < least ? has[i] : least;
            most = has[i] > most ? has[i] : most;
        }
        assert_true(most - least <= 1);
    }
}

/* check_stays - K1: what is in both and may stay keeps id and worker. */
static void check_stays(const struct plan *p)
{
    const struct match *m = p->match;
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        uint32_t old = m->heir_old[i];
        if (old == INDEX_NONE) {
            continue;
        }
        uint32_t w = m->worker_new[m->from->instances[old].worker];
        bool stays = m->instance_old[i] == old;
        assert_int_equal(stays, !p->to->workers[w].draining);
        assert_int_equal(stays, p->to->instances[i].id == m->from->instances[old].id);
        assert_true(!stays || p->to->instances[i].worker == w);
    }
}

static void a_plan_leads_from_a_to_b_and_back_to_a(void **state)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct prng r = {seed * 7919};
        struct random_draft d = draft_make(&r);
        struct topology *a = draft_topology(*state, &d);
        for (unsigned n = 1 + below(&r, 4); n > 0; n--) {
            draft_edit(&d, &r);
        }
        struct scene s;
        scene_init(&s, a, draft_topology(*state, &d), 1 + below(&r, 3));
        s.workers[0].draining = s.worker_count > 1 && below(&r, 6) == 0;
        struct plan *p = scene_plan(&s);
        assert_non_null(p->match);
        carry_out(p);
        same_shape(p->to, s.workers, s.worker_count);
        check_owners(p);
        check_stays(p);
        s.workers[0].draining = false;
        struct plan_input back = s.in;
        back.running = p->to;
        back.next = s.a;
        back.next_id = p->next_id;
        struct plan *q = plan_make(&back);
        assert_non_null(q->match);
        carry_out(q);
        same_shape(q->to, s.workers, s.worker_count);
        check_owners(q);
        for (uint32_t i = 0; i < q->to->instance_count;
             i++) { /* who stayed both times is the same */
            const struct pinstance *x = &q->to->instances[i], *y = &s.running->instances[i];
            uint32_t b = p->match->instance_new[i];
            assert_int_equal(x->id == y->id, b != INDEX_NONE && q->match->instance_old[i] == b);
        }
        struct diff *none = diff_topologies(s.a, q->diff->to);
        assert_int_equal(none->count, 0);
        diff_free(none);
        plan_free(q);
        scene_fini(&s);
    }
}

static void a_plan_to_the_same_is_empty(void **state)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct prng r = {seed * 104729};
        struct random_draft d = draft_make(&r);
        struct scene s;
        scene_init(&s, draft_topology(*state, &d), draft_topology(*state, &d), 1 + below(&r, 3));
        struct plan *p = scene_plan(&s);
        assert_true(plan_is_empty(p));
        assert_int_equal(p->cover->member_count, 0);
        assert_int_equal(p->refusal_count, 0);
        assert_int_equal(p->next_id, s.next_id);
        assert_int_equal(p->predicted_pause_us, 0);
        char *text = plan_text(p);
        assert_non_null(strstr(text, "no change"));
        mem_free(text);
        for (uint32_t i = 0; i < s.running->instance_count; i++) {
            assert_memory_equal(&s.running->instances[i], &p->to->instances[i],
                                sizeof(struct pinstance));
        }
        scene_fini(&s);
    }
}

/* A hundred edits in a row: ids stay unique, chains stay apart, owners balanced. */
static void many_plans_in_a_row_keep_the_graph_sound(void **state)
{
    struct prng r = {42};
    struct random_draft d = draft_make(&r);
    struct topology *t = draft_topology(*state, &d);
    struct worker_info workers[3];
    struct fail f;
    uint64_t id = 1;
    plan_workers(workers, 3, 500);
    struct pgraph *g = physical_expand(t, workers, 3, &placer_default, &id, &f);
    for (unsigned round = 0; round < 100; round++) {
        draft_edit(&d, &r);
        struct topology *next = draft_topology(*state, &d);
        struct plan_input in = {.running = g,
                                .next = next,
                                .workers = workers,
                                .worker_count = 3,
                                .base_version = round + 1,
                                .next_id = id};
        struct plan *p = plan_make(&in);
        carry_out(p);
        check_owners(p);
        id = p->next_id;
        struct pgraph *to = plan_take_graph(p);
        plan_free(p);
        pgraph_free(g);
        topology_free(t);
        g = to;
        t = next;
        for (uint32_t i = 0; i < g->channel_count; i++) {
            const struct pinstance *x = &g->instances[g->channels[i].from];
            const struct pinstance *y = &g->instances[g->channels[i].to];
            assert_true(!g->channels[i].fused || (x->chain == y->chain && x->worker == y->worker));
        }
    }
    pgraph_free(g);
    topology_free(t);
}

static int descending(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x > *y ? -1 : *x < *y;
}

static void rebalancing_moves_no_more_groups_than_it_must(void **state)
{
    (void)state;
    struct prng r = {3};
    for (unsigned round = 0; round < 2000; round++) {
        uint16_t owners[KEY_GROUPS], before[KEY_GROUPS];
        uint32_t from = 1 + below(&r, 256), to = 1 + below(&r, round % 2 == 0 ? 8 : 256);
        uint32_t has[KEY_GROUPS] = {0}, keep = 0, moved = 0;
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            owners[g] = before[g] = (uint16_t)below(&r, from);
            has[owners[g]] += owners[g] < to;
        }
        uint32_t said = owners_rebalance(owners, to);
        qsort(has, KEY_GROUPS, sizeof has[0], descending);
        for (uint32_t i = 0; i < to; i++) { /* the largest may keep the odd one more */
            uint32_t may = KEY_GROUPS / to + (i < KEY_GROUPS % to);
            keep += has[i] < may ? has[i] : may;
        }
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            moved += owners[g] != before[g];
        }
        assert_int_equal(moved, KEY_GROUPS - keep);
        assert_int_equal(said, moved);
    }
}

/* ---- refusals */

struct refused {
    const char *a, *b; /* PEs and streams */
    const char *what;  /* part of the reason; NULL: allowed */
    const char *note;  /* part of a note, or NULL */
};

#define TAB(pe, stream)                                                                            \
    "pes:\n  a: {use: src}\n  k: {" pe "}\n  z: {use: sink}\nstreams: [{from: a, to: k" stream     \
    "}, {from: k, to: z}]\n"
#define BARE "pes:\n  a: {use: src}\n  z: {use: sink}\nstreams: [{from: a, to: z}]\n"

static const struct refused table[] = {
    /* state would go */
    {TAB("use: keyed", ""), BARE, "'k' goes, and its state with it", NULL},
    {TAB("use: op", ""), BARE, "'k' goes, and its state with it", NULL},
    {TAB("use: keyed, state: drop", ""), BARE, NULL, "k: its state is dropped"},
    {TAB("use: map", ""), BARE, NULL, NULL},
    {TAB("use: keyed", ""), TAB("use: map", ""), "has no place for", NULL},
    {TAB("use: op", ""), TAB("use: map", ""), "has no place for", NULL},
    {TAB("use: keyed", ""), TAB("use: map, state: drop", ""), NULL, "dropped"},
    {TAB("use: map", ""), TAB("use: keyed", ""), NULL, NULL},
    /* H28: another key, and state that is not divided by key */
    {TAB("use: keyed", ", by: key"), TAB("use: keyed", ", by: seq"), "has state by 'key'", NULL},
    {TAB("use: keyed", ", by: key"), TAB("use: keyed, state: drop", ", by: seq"), NULL, "dropped"},
    {TAB("use: map", ", by: key"), TAB("use: map", ", by: seq"), NULL, NULL},
    {TAB("use: keyed, with: {by: key}", ""), TAB("use: keyed, with: {by: seq}", ""),
     "kept by the fields of 'by'", NULL},
    {TAB("use: keyed", ", by: key"), TAB("use: keyed, parallelism: 3", ", by: key"), NULL, NULL},
    {TAB("use: keyed", ""), TAB("use: keyed, parallelism: 3", ", by: key"), NULL, NULL},
    {TAB("use: keyed, parallelism: 3", ", by: key"), TAB("use: keyed", ""), NULL, NULL},
    /* H29: a new instance never saw the history */
    {TAB("use: op", ""), TAB("use: op, parallelism: 2", ""), "has state besides its keys", NULL},
    {TAB("use: op, parallelism: 2", ", to_all: true"),
     TAB("use: op, parallelism: 3", ", to_all: true"), "has state besides its keys", NULL},
    {TAB("use: op", ""), TAB("use: op, parallelism: 2, state: drop", ""), NULL, "dropped"},
    {"pes:\n  a: {use: src}\n", "pes:\n  a: {use: src, parallelism: 2}\n", "how far it has read",
     NULL},
    /* order */
    {TAB("use: map, parallelism: 2", ""), TAB("use: map, parallelism: 3", ""), NULL, NULL},
    {TAB("use: map", ""), TAB("use: map, parallelism: 2", ""), NULL, "order ends here: a->k"},
    {TAB("use: map, parallelism: 2", ", by: key"), TAB("use: map, parallelism: 2", ""), NULL,
     "order ends here: a->k"},
    {"pes:\n  a: {use: src}\n  k: {use: map, parallelism: 2}\n  l: {use: map, parallelism: 2}\n"
     "streams: [{from: a, to: k, by: key}, {from: k, to: l}]\n",
     "pes:\n  a: {use: src}\n  k: {use: map, parallelism: 2}\n  l: {use: map, parallelism: 3}\n"
     "streams: [{from: a, to: k, by: key}, {from: k, to: l}]\n",
     NULL, "order ends here: k->l"},
    /* before it is too late */
    {BARE, TAB("use: map", ""), NULL, "there are no checkpoints"},
};

static void what_would_lose_state_or_order_is_refused_or_said(void **state)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct refused *t = &table[i];
        struct scene s;
        struct plan *p = scene_of(&s, *state, t->a, *state, t->b, 1);
        if (t->what == NULL ? p->refusal_count > 0
                            : p->refusal_count != 1 || !is_refused(p, t->what)) {
            fail_msg("%zu: %s\n%u refusals: %s", i, t->b, (unsigned)p->refusal_count,
                     p->refusal_count > 0 ? p->refusals[0].what : "");
        }
        if (t->note != NULL && !has_note(p, t->note)) {
            fail_msg("%zu: %s\nno note: %s", i, t->b, t->note);
        }
        s.in.drop_state = true; /* the user agrees to all of it */
        assert_int_equal(scene_plan(&s)->refusal_count, 0);
        scene_fini(&s);
    }
}

struct coded {
    unsigned from, to; /* state versions */
    bool migrates;
    const char *what;
};

static void new_code_must_take_over_the_state(void **state)
{
    (void)state;
    static const struct coded codes[] = {{1, 1, false, NULL},
                                         {1, 2, false, "no `migrate`"},
                                         {1, 2, true, NULL},
                                         {2, 1, false, "no `migrate`"}};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct catalog *x = plan_catalog(PF_A64, codes[i].from, false);
        struct catalog *y = plan_catalog(PF_B64, codes[i].to, codes[i].migrates);
        struct scene s;
        struct plan *p = scene_of(&s, x, TAB("use: ./st.so", ""), y, TAB("use: ./st.so", ""), 1);
        assert_int_equal(p->refusal_count, codes[i].what != NULL);
        assert_true(codes[i].what == NULL || is_refused(p, codes[i].what));
        assert_int_equal(count_of(p, DO_FETCH), 1);
        assert_memory_equal(p->instructions[0].artifact, PF_B64, 64);
        assert_int_equal(count_of(p, DO_REPLACE), 1);
        assert_int_equal(p->move_count, 0); /* stays where it is */
        scene_fini(&s);
        catalog_free(x);
        catalog_free(y);
    }
}

static void a_rename_without_uid_is_refused_with_the_way_out(void **state)
{
    struct scene s;
    struct plan *p = scene_of(&s, *state, TAB("use: keyed", ""), *state,
                              "pes:\n  a: {use: src}\n  counts: {use: keyed}\n  z: {use: sink}\n"
                              "streams: [{from: a, to: counts}, {from: counts, to: z}]\n",
                              1);
    assert_int_equal(p->refusal_count, 1);
    assert_non_null(strstr(p->refusals[0].hint, "`uid: k`"));
    scene_fini(&s);
    p = scene_of(&s, *state, TAB("use: keyed", ""), *state,
                 "pes:\n  a: {use: src}\n  counts: {use: keyed, uid: k}\n  z: {use: sink}\n"
                 "streams: [{from: a, to: counts}, {from: counts, to: z}]\n",
                 1);
    assert_int_equal(p->refusal_count, 0);
    assert_int_equal(p->cover->member_count, 0); /* a name is no behaviour */
    assert_int_equal(p->instruction_count, 1);
    assert_int_equal(p->instructions[0].kind, DO_SET_POLICY);
    scene_fini(&s);
}

/* ---- places */

static void draining_moves_what_may_move_and_refuses_what_may_not(void **state)
{
    struct scene s;
    scene_of(&s, *state, TAB("use: keyed, parallelism: 2", ", by: key"), *state,
             TAB("use: keyed, parallelism: 2", ", by: key"), 2);
    s.workers[1].draining = true;
    struct state_size sizes[2] = {{0}};
    uint32_t k = pe_number(s.a, "k"), first = s.plan->match->first_old[k];
    for (uint32_t i = 0; i < 2; i++) {
        sizes[i] = (struct state_size){s.running->instances[first + i].id, 1000, 0};
    }
    s.in.sizes = sizes;
    s.in.size_count = 2;
    struct plan *p = scene_plan(&s);
    assert_int_equal(p->refusal_count, 0);
    assert_int_equal(p->diff->count, 0);
    assert_false(plan_is_empty(p));
    assert_int_equal(p->move_count, 1);
    assert_int_equal(p->moves[0].group_count, 128);
    assert_int_equal(p->moves[0].bytes, 1000);
    assert_int_equal(p->remote_bytes, 1000);
    assert_int_equal(count_of(p, DO_EXPORT), 1);
    assert_int_equal(count_of(p, DO_IMPORT), 1);
    assert_true(p->predicted_pause_us > 0);
    scene_fini(&s);

    static const char live[] = "pes:\n  a: {use: live}\n  z: {use: sink}\n"
                               "streams: [{from: a, to: z}]\n";
    scene_of(&s, *state, live, *state, live, 2);
    uint32_t at = s.running->instances[0].worker;
    s.workers[at].draining = true;
    p = scene_plan(&s);
    assert_int_equal(p->refusal_count, 1); /* H19: its port is on that machine */
    assert_true(is_refused(p, "bound to files or ports"));
    memcpy(s.workers[1 - at].host, s.workers[at].host, sizeof s.workers[0].host);
    p = scene_plan(&s); /* the other worker is on the same machine, but what was read is unknown */
    assert_true(is_refused(p, "cannot say how far"));
    scene_fini(&s);
}

static void a_missing_worker_and_too_few_slots_are_refused(void **state)
{
    struct scene s;
    scene_of(&s, *state, TAB("use: map, parallelism: 2", ""), *state,
             TAB("use: map, parallelism: 8", ""), 2);
    s.in.worker_count = 1;
    struct plan *p = scene_plan(&s);
    assert_null(p->match);
    assert_true(is_refused(p, "'w1', which runs a part of the topology, is missing"));
    char *text = plan_text(p);
    assert_non_null(strstr(text, "refused: worker 'w1'"));
    mem_free(text);
    json_decref(plan_json(p));
    s.in.worker_count = 2;
    s.workers[0].slots = s.workers[1].slots = 4;
    p = scene_plan(&s);
    assert_int_equal(p->refusal_count, 1);
    assert_int_equal(p->refusals[0].code, ERR_FULL);
    scene_fini(&s);
}

/* H30: all slots taken, and the code of all PEs changes: old and new need room side by side. */
static void h30_full_slots_do_not_forbid_what_fits_before_and_after(void **state)
{
    static const char text[] = "pes:\n  a: {use: src}\n  k: {use: map, parallelism: %d, uid: %s}\n"
                               "streams: [{from: a, to: k}]\n";
    char *x = mem_printf(text, 3, "x"), *y = mem_printf(text, 3, "y");
    struct scene s;
    scene_of(&s, *state, x, *state, y, 1);
    s.workers[0].slots = 4;
    struct plan *p = scene_plan(&s);
    assert_int_equal(p->refusal_count, 0);
    assert_int_equal(p->loads[0].charged, 4);
    assert_int_equal(p->loads[0].during, 7); /* three old, three new, the source */
    s.in.overdraft_slots = 2;
    assert_true(is_refused(scene_plan(&s), "side by side"));
    scene_fini(&s);
    mem_free(x);
    mem_free(y);
}

/* H34: what stands beside itself must not act twice, nor know half. */
static void h34_copies_of_sinks_and_shares_of_state_are_refused(void **state)
{
    struct scene s;
    struct fail f;
    scene_of(&s, *state, TAB("use: keyed", ""), *state, TAB("use: keyed", ""), 1);
    assert_int_equal(plan_may_copy(topology_pe(s.a, "z"), true, &f), ERR_DENIED);
    assert_int_equal(plan_may_copy(topology_pe(s.a, "a"), true, &f), ERR_DENIED);
    assert_int_equal(plan_may_copy(topology_pe(s.a, "k"), false, &f), ERR_DENIED);
    assert_int_equal(plan_may_copy(topology_pe(s.a, "k"), true, &f), ERR_OK);
    scene_fini(&s);
}

/* ---- the rest */

static void policies_alone_need_no_cut(void **state)
{
    struct scene s;
    struct plan *p = scene_of(&s, *state, TAB("use: map", ""), *state,
                              TAB("use: map, on_error: {retries: 2, then: drop}", ""), 1);
    assert_int_equal(p->cover->member_count, 0);
    assert_int_equal(p->instruction_count, 1);
    assert_int_equal(p->instructions[0].kind, DO_SET_POLICY);
    assert_int_equal(p->predicted_pause_us, 0);
    assert_false(plan_is_empty(p));
    scene_fini(&s);
}

static void the_digest_covers_base_workers_and_content(void **state)
{
    struct scene s;
    struct plan *p = scene_of(&s, *state, BARE, *state, TAB("use: map", ""), 2);
    char first[DIGEST_HEX_BYTES];
    memcpy(first, p->digest, sizeof first);
    s.in.next_id += 1000; /* ids of what is new, sizes and the model are no part of it */
    assert_string_equal(scene_plan(&s)->digest, first);
    s.in.gen++;
    assert_string_not_equal(scene_plan(&s)->digest, first);
    s.in.gen--;
    s.in.base_version++;
    assert_string_not_equal(scene_plan(&s)->digest, first);
    s.in.base_version--;
    s.workers[1].incarnation++;
    assert_string_not_equal(scene_plan(&s)->digest, first);
    s.workers[1].incarnation--;
    s.workers[0].draining = true;
    assert_string_not_equal(scene_plan(&s)->digest, first);
    s.workers[0].draining = false;
    assert_string_equal(scene_plan(&s)->digest, first);
    scene_fini(&s);
}

static void a_plan_is_said_in_text_and_json(void **state)
{
    struct scene s;
    struct plan *p = scene_of(&s, *state, TAB("use: keyed, parallelism: 2", ", by: key"), *state,
                              TAB("use: keyed, parallelism: 3", ", by: key"), 2);
    static const char *const parts[] = {"~ pe k  parallelism: 2 => 3",
                                        "= 2 PEs, 2 streams unchanged",
                                        "cut: ",
                                        "state of k: ",
                                        "predicted pause: ",
                                        "digest: "};
    char *text = plan_text(p);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("no `%s` in\n%s", parts[i], text);
        }
    }
    mem_free(text);
    json_t *doc = plan_json(p);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(doc, "counts"), "pes_changed")), 1);
    assert_true(json_array_size(json_object_get(doc, "moves")) >= 2);
    size_t groups = 0;
    for (size_t i = 0; i < p->move_count; i++) {
        groups += p->moves[i].group_count;
    }
    assert_int_equal(groups, 85); /* 256 / 3: what the new one must have, and no more */
    json_decref(doc);
    scene_fini(&s);
}

static void the_model_learns_and_an_outlier_does_not_spoil_it(void **state)
{
    (void)state;
    struct prng r = {5};
    struct pause_sample samples[41];
    for (size_t i = 0; i < 41; i++) {
        double *v = samples[i].features.v;
        v[PAUSE_BASE] = 1;
        v[PAUSE_MEMBERS] = 1 + below(&r, 40);
        v[PAUSE_DEPTH] = below(&r, 5);
        v[PAUSE_HOPS] = below(&r, 3);
        v[PAUSE_GROUPS] = below(&r, 128);
        v[PAUSE_MIB_LOCAL] = below(&r, 3);
        v[PAUSE_MIB_REMOTE] = below(&r, 4);
        samples[i].pause_us = 400 + 10 * v[PAUSE_MEMBERS] + 2 * v[PAUSE_GROUPS];
    }
    samples[40].pause_us = 5e6; /* someone else's compile */
    struct pause_model m = pause_model_fit(samples, 41), start = pause_model_fit(NULL, 0);
    struct pause_model before = pause_model_default();
    assert_memory_equal(start.us, before.us, sizeof start.us);
    double off = 0;
    for (size_t i = 0; i < 40; i++) {
        double said = (double)pause_model_predict_us(&m, &samples[i].features);
        off += said > samples[i].pause_us ? said / samples[i].pause_us : samples[i].pause_us / said;
    }
    assert_true(off / 40 < 1.25);
    for (unsigned i = 0; i < PAUSE_FEATURE_COUNT; i++) {
        assert_true(m.us[i] >= 0); /* P1 */
    }
    samples[0].pause_us = -1;
    samples[1].features.v[0] = 0.0 / (double)(samples[1].pause_us < 0); /* a store may be odd */
    assert_true(pause_model_fit(samples, 2).sample_count < 2);
}

static void a_plan_of_a_thousand_pes_is_quick(void **state)
{
    struct strbuf text[2] = {{0}, {0}};
    for (unsigned v = 0; v < 2; v++) {
        strbuf_text_add(&text[v], "oxbow: 1\ntopology: t\npes:\n");
        for (unsigned i = 0; i < 1000; i++) {
            strbuf_printf(&text[v], "  p%u: {use: %s, parallelism: %u, with: {v: %u}}\n", i,
                          i % 50 == 0 ? "src" : "map", i % 50 == 0 ? 1 : 1 + (i % 7 == 0) * 3,
                          v * (i % 100 == 42));
        }
        strbuf_text_add(&text[v], "streams:\n");
        for (unsigned i = 0; i < 1000; i++) {
            if (i % 50 != 0) {
                strbuf_printf(&text[v], "  - {from: p%u, to: p%u, by: key}\n", i - 1, i);
            }
            if (i % 50 > 10 + 5 * v) {
                strbuf_printf(&text[v], "  - {from: p%u, to: p%u, name: s%u}\n", i - 7, i, i);
            }
        }
    }
    struct scene s;
    scene_init(&s, must_parse(*state, strbuf_text(&text[0])),
               must_parse(*state, strbuf_text(&text[1])), 4);
    uint64_t start_us = clock_now_us();
    struct plan *p = scene_plan(&s);
    printf("# plan of %u PEs, %u instances, %u channels, %u members: %" PRIu64 " us\n",
           s.b->pe_count, p->to->instance_count, p->to->channel_count, p->cover->member_count,
           clock_now_us() - start_us);
    scene_fini(&s);
    strbuf_fini(&text[0]);
    strbuf_fini(&text[1]);
}

#define WITH(t) cmocka_unit_test_setup_teardown(t, plan_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_plan_leads_from_a_to_b_and_back_to_a),
        WITH(a_plan_to_the_same_is_empty),
        WITH(many_plans_in_a_row_keep_the_graph_sound),
        WITH(rebalancing_moves_no_more_groups_than_it_must),
        WITH(what_would_lose_state_or_order_is_refused_or_said),
        WITH(new_code_must_take_over_the_state),
        WITH(a_rename_without_uid_is_refused_with_the_way_out),
        WITH(draining_moves_what_may_move_and_refuses_what_may_not),
        WITH(a_missing_worker_and_too_few_slots_are_refused),
        WITH(h30_full_slots_do_not_forbid_what_fits_before_and_after),
        WITH(h34_copies_of_sinks_and_shares_of_state_are_refused),
        WITH(policies_alone_need_no_cut),
        WITH(the_digest_covers_base_workers_and_content),
        WITH(a_plan_is_said_in_text_and_json),
        WITH(the_model_learns_and_an_outlier_does_not_spoil_it),
        WITH(a_plan_of_a_thousand_pes_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
