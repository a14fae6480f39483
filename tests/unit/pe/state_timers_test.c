/* tests/unit/pe/state_timers_test.c - timers of keys, at the table.
 *
 * Goal:   Y1-Y3 of pe/state_timers.c: each timer comes once, not before its time, whether it was
 * set, put off, brought forward, cleared, deleted with its entry or brought by a piece, by pointer,
 * by a migration or by a swap; and the heap does not grow with the number of writes. Method: random
 * operations beside an array of due times. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"

static const struct oxb_value timed_values[] = {
    {"sum", OXB_I64}, {"due", OXB_TIME}, {"late", OXB_TIME}, {NULL, OXB_NONE}};
static const struct oxb_state_decl timed_decl = {"timed", timed_values};

struct times { /* what should come: [id][cell - 1]; 0: nothing */
    int64_t at[IDS][2];
};

static struct oxb_state *timed_new(void)
{
    struct oxb_state *s = state_new(&timed_decl);
    state_keep_timers(s, true);
    return s;
}

static void set(struct oxb_state *s, struct times *t, enum key_form form, uint32_t id,
                unsigned cell, int64_t at)
{
    static uint8_t room[KEY_ROOM];
    void *cells = oxb_state_put(s, model_key(form, id, room));
    ((int64_t *)cells)[0] = id;
    assert_true(oxb_key_timer_set(s, cells, cell, at));
    t->at[id][cell - 1] = at;
}

/* All that is due by `now` comes, and nothing else. */
static void check_due(struct oxb_state *s, struct times *t, int64_t now)
{
    struct strbuf text = {0};
    struct oxb_key key;
    unsigned cell;
    int64_t next = INT64_MAX;
    while (state_timer_take(s, now, &text, &key, &cell)) {
        int64_t *cells = oxb_state_get(s, key);
        assert_non_null(cells);
        int64_t *at = &t->at[cells[0]][cell - 1];
        assert_true(*at != 0 && *at <= now);
        assert_int_equal(cells[cell], 0);
        *at = 0;
    }
    for (uint32_t id = 0; id < IDS; id++) {
        for (int c = 0; c < 2; c++) {
            assert_true(t->at[id][c] == 0 || t->at[id][c] > now);
            next = t->at[id][c] != 0 && t->at[id][c] < next ? t->at[id][c] : next;
        }
    }
    assert_true(state_timer_next(s) <= next); /* it may be early, never late */
    strbuf_fini(&text);
}

static void random_step(struct oxb_state *s, struct times *t, enum key_form form, struct prng *p,
                        int64_t now)
{
    static uint8_t room[KEY_ROOM];
    uint32_t id = (uint32_t)prng_below(p, IDS);
    unsigned cell = 1 + (unsigned)prng_below(p, 2);
    switch (prng_below(p, 6)) {
    case 0:
        oxb_state_delete(s, model_key(form, id, room));
        t->at[id][0] = t->at[id][1] = 0;
        break;
    case 1:
        set(s, t, form, id, cell, 0);
        break;
    default:
        set(s, t, form, id, cell, now + 1 + (int64_t)prng_below(p, 1000));
    }
}

static void each_comes_once_and_in_time(void **unused)
{
    (void)unused;
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = timed_new();
        struct times *t = mem_alloc(sizeof *t);
        struct prng p = {form + 1};
        for (int64_t now = 1; now < 3000; now += 1 + (int64_t)prng_below(&p, 20)) {
            for (int n = 0; n < 50; n++) {
                random_step(s, t, form, &p, now);
            }
            check_due(s, t, now);
        }
        check_due(s, t, 5000);
        assert_int_equal(state_timer_next(s), INT64_MAX);
        mem_free(t);
        state_free(s);
    }
}

static void move_all(struct oxb_state *to, struct oxb_state *from)
{
    bool all[KEY_GROUPS];
    memset(all, true, sizeof all);
    struct strbuf bytes = {0};
    struct fail f = {0};
    struct state_mover *m = state_mover_new(from, all);
    while (state_mover_slice(m, 4096, &bytes)) {
    }
    assert_int_equal(state_take_pieces(to, bytes.data, bytes.bytes, &f), ERR_OK);
    state_mover_free(m);
    strbuf_fini(&bytes);
}

static void they_go_where_their_keys_go(void **unused)
{
    (void)unused;
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = timed_new(), *pieces = state_new_like(s);
        struct oxb_state *pointers = timed_new();
        struct times *t = mem_alloc(sizeof *t);
        struct prng p = {form + 7};
        for (int n = 0; n < 5000; n++) {
            random_step(s, t, form, &p, 1);
        }
        move_all(pieces, s);
        struct times *twice = mem_alloc(sizeof *twice);
        memcpy(twice, t, sizeof *t);
        check_due(pieces, twice, 500);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            assert_true(state_take_group(pointers, s, g));
        }
        assert_int_equal(state_timer_next(s), INT64_MAX);
        check_due(pointers, t, 2000);
        mem_free(t);
        mem_free(twice);
        state_free(s);
        state_free(pieces);
        state_free(pointers);
    }
}

/* Code that knows no timers had these cells: they are timers from when they come. */
static void code_that_knows_them_takes_them_over(void **unused)
{
    (void)unused;
    struct oxb_state *plain = state_new(&timed_decl), *timed = timed_new();
    struct oxb_state *by_group = timed_new(), *source = state_new(&timed_decl);
    struct times t = {0}, u = {0};
    static uint8_t room[KEY_ROOM];
    for (uint32_t id = 0; id < 100; id++) {
        int64_t *a = oxb_state_put(plain, model_key(FORM_I64, id, room));
        assert_false(oxb_key_timer_set(plain, a, 1, 5));
        a[0] = id;
        a[1] = t.at[id][0] = id + 1;
        int64_t *b = oxb_state_put(source, model_key(FORM_I64, id, room));
        b[0] = id;
        b[2] = u.at[id][1] = 200 - id;
    }
    assert_true(state_swap(timed, plain));
    check_due(timed, &t, 50);
    check_due(timed, &t, 100);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert_true(state_take_group(by_group, source, g));
    }
    check_due(by_group, &u, 150);
    check_due(by_group, &u, 200);
    assert_int_equal(state_timer_next(plain), INT64_MAX);
    state_free(plain);
    state_free(timed);
    state_free(by_group);
    state_free(source);
}

static void writes_alone_take_no_memory(void **unused)
{
    (void)unused;
    struct oxb_state *s = timed_new();
    struct times *t = mem_alloc(sizeof *t);
    struct prng p = {3};
    for (uint32_t id = 0; id < 1000; id++) {
        set(s, t, FORM_I64, id, 1, 1000000);
    }
    uint64_t before = state_bytes(s);
    for (int n = 0; n < 1000000; n++) { /* put off, brought forward, cleared */
        int64_t at = prng_below(&p, 3) == 0 ? 0 : 1 + (int64_t)prng_below(&p, 1000000);
        set(s, t, FORM_I64, (uint32_t)prng_below(&p, 1000), 1, at);
    }
    assert_true(state_bytes(s) < before + 1000000);
    check_due(s, t, 1000000);
    mem_free(t);
    state_free(s);
}

static void other_cells_are_no_timers(void **unused)
{
    (void)unused;
    struct oxb_state *s = timed_new();
    static uint8_t room[KEY_ROOM];
    void *cells = oxb_state_put(s, model_key(FORM_I64, 1, room));
    assert_false(oxb_key_timer_set(s, cells, 0, 5));
    assert_false(oxb_key_timer_set(s, cells, 3, 5));
    assert_int_equal(state_timer_next(s), INT64_MAX);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_comes_once_and_in_time),
        cmocka_unit_test(they_go_where_their_keys_go),
        cmocka_unit_test(code_that_knows_them_takes_them_over),
        cmocka_unit_test(writes_alone_take_no_memory),
        cmocka_unit_test(other_cells_are_no_timers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
