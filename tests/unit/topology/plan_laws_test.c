/* tests/unit/topology/plan_laws_test.c - the planner's laws, on random topologies and edits.
 *
 * Goal:   apply(plan(A, B)) is B, plan(A, A) is empty, A to B to A restores A; who may stay stays,
 *         and no more key groups move than must.
 * Method: the instructions of each plan are carried out on a set of ids and compared with a fresh
 *         expansion; by seed, so that a failure can be repeated. */
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
            bool same = old == INDEX_NONE || p->diff->from->pes[old].desc->state_version ==
                                                 t->pes[pe].desc->state_version;
            bool stays = from == INDEX_NONE || (p->match->instance_new[from] == to && same);
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
        WITH(a_plan_of_a_thousand_pes_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
