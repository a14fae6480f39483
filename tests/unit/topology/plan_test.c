/* tests/unit/topology/plan_test.c - what the planner refuses, says and predicts.
 *
 * Goal:   a plan is refused with its reason where state, order or room would be lost, and says what
 *         it will do.
 * Method: tables of refusals; the holes of the protocol by number.  Laws: plan_laws_test.c. */
#include "tests/unit/topology/plan_random.h"

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
        bool migrated = codes[i].from != codes[i].to; /* from itself to itself */
        assert_int_equal(p->move_count, migrated);
        assert_true(!migrated || (p->moves[0].old == p->moves[0].new &&
                                  p->moves[0].group_count == KEY_GROUPS));
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

/* ---- R3: who has ended */

#define ENDS_A                                                                                     \
    "pes:\n  a: {use: src}\n  b: {use: src}\n  k: {use: keyed, parallelism: 2}\n"                 \
    "  z: {use: sink}\nstreams: [{from: a, to: k, by: key}, {from: k, to: z}, {from: b, to: z}]\n"
#define ENDS_B                                                                                     \
    "pes:\n  a: {use: src}\n  b: {use: src}\n  k: {use: keyed, parallelism: 2}\n"                 \
    "  z: {use: sink}\nstreams: [{from: a, to: k, by: key}, {from: k, to: z}, {from: b, to: z},\n" \
    "  {from: b, to: k, by: key, name: more}]\n"
#define ENDS_SCALED                                                                                \
    "pes:\n  a: {use: src}\n  b: {use: src}\n  k: {use: keyed, parallelism: 1}\n"                 \
    "  z: {use: sink}\nstreams: [{from: a, to: k, by: key}, {from: k, to: z}, {from: b, to: z}]\n"
#define ENDS_SCALED_B                                                                              \
    "pes:\n  a: {use: src}\n  b: {use: src}\n  k: {use: keyed, parallelism: 1}\n"                 \
    "  z: {use: sink}\nstreams: [{from: a, to: k, by: key}, {from: k, to: z}, {from: b, to: z},\n" \
    "  {from: b, to: k, by: key, name: more}]\n"

/* in V: a, b, k[0], k[1], z */
static const struct {
    const char *b;
    bool moves;                /* all leave the first worker, on which all are */
    bool ended[5];
    const char *what;          /* NULL: may be decided */
    bool goes_back;            /* it takes checkpoints */
} ends[] = {
    {ENDS_B, false, {false, false, false, false, false}, NULL, false},
    {ENDS_B, false, {true, false, false, false, false}, NULL, false},
    {ENDS_B, false, {true, false, true, false, false},
     "k[0] has ended, and would get tuples", false},
    {ENDS_B, false, {true, false, false, true, false},
     "k[1] has ended, and would get tuples", false},
    {ENDS_B, false, {true, true, true, true, true}, NULL, false},
    {ENDS_B, false, {true, true, true, true, true}, "from b[0], which had not at", true},
    {ENDS_B, true, {true, true, true, true, true}, "k[0] has ended, and would get tuples", true},
    {ENDS_A, true, {true, true, true, true, true}, NULL, true}, /* what moves goes on */
    {ENDS_B, false, {true, true, false, false, false}, NULL, true},
    {ENDS_B, true, {true, false, true, true, false},
     "k[0] has ended, and would get tuples", false},
    {ENDS_A, true, {true, false, true, true, false}, NULL, false}, /* it moves, as an ended one */
    {ENDS_SCALED, false, {true, false, true, false, false},
     "k[0] has ended, and would take over", false},
    {ENDS_SCALED, false, {true, false, false, true, false}, NULL, false},
    {ENDS_SCALED, false, {true, false, true, true, false}, NULL, false},
    {ENDS_SCALED_B, false, {true, false, false, true, false},
     "k[0] would take over keys of an instance that has ended, and get tuples from b[0]", false},
    {ENDS_SCALED_B, false, {true, true, false, true, false}, NULL, false},
    {ENDS_SCALED_B, false, {true, false, false, false, false}, NULL, false},
};

static void who_has_ended_gets_nothing_from_who_has_not(void **state)
{
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct scene s;
        struct fail f = {0};
        const char *where = "";
        char *a = mem_printf("oxbow: 1\ntopology: t\n" ENDS_A);
        char *b = mem_printf("oxbow: 1\ntopology: t\n%s", ends[i].b);
        scene_init(&s, must_parse(*state, a), must_parse(*state, b), ends[i].moves ? 2 : 1);
        s.workers[0].draining = ends[i].moves;
        struct plan *p = scene_plan(&s);
        assert_int_equal(p->refusal_count, 0);
        assert_int_equal(s.running->instance_count, 5);
        enum err e = plan_check_ended(p, ends[i].ended, ends[i].goes_back, &f, &where);
        if (ends[i].what == NULL) {
            assert_int_equal(e, ERR_OK);
        } else if (e != ERR_DENIED || strstr(f.what, ends[i].what) == NULL) {
            fail_msg("%zu: %s", i, f.what);
        } else {
            assert_string_equal(where, "k");
        }
        mem_free(a);
        mem_free(b);
        scene_fini(&s);
    }
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

#define WITH(t) cmocka_unit_test_setup_teardown(t, plan_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        WITH(who_has_ended_gets_nothing_from_who_has_not),
        WITH(the_model_learns_and_an_outlier_does_not_spoil_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
