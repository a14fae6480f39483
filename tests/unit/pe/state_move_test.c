/* tests/unit/pe/state_move_test.c - movers and groups that change tables by pointer.
 *
 * Goal:   what a mover has told, taken in elsewhere, is the owner's table exactly whenever nothing
 *         is left to tell; deletions and growth between two slices included; a lost or repeated
 *         piece is refused; groups handed over by pointer are whole, and both tables go on.
 * Method: random writes beside an array (state_model.h), slices of random size. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"

static void random_writes(struct oxb_state *s, struct model *m, enum key_form form, struct prng *p,
                          uint32_t writes)
{
    static uint8_t room[KEY_ROOM];
    for (uint32_t i = 0; i < writes; i++) {
        uint32_t id = (uint32_t)prng_below(p, IDS);
        struct oxb_key key = model_key(form, id, room);
        if (prng_below(p, 5) < 2) {
            assert_int_equal(oxb_state_delete(s, key), model_delete(m, id));
        } else {
            int64_t value = (int64_t)(prng_u64(p) >> 1);
            *(int64_t *)oxb_state_put(s, key) = value;
            model_put(m, id, value);
        }
    }
}

static void take(struct oxb_state *to, const struct strbuf *bytes)
{
    struct fail f = {0};
    enum err e = state_take_pieces(to, bytes->data, bytes->bytes, &f);
    assert_string_equal(f.what, "");
    assert_int_equal(e, ERR_OK);
}

static void what_was_told_is_the_table(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        for (uint32_t writes = 0; writes < 60; writes += 20) {
            struct oxb_state *s = state_new(&model_decl), *copy = state_new(&model_decl);
            struct model *m = mem_alloc(sizeof(*m));
            struct prng p = {form + writes};
            struct strbuf bytes = {0};
            random_writes(s, m, form, &p, 5000);
            struct state_mover *mover = state_mover_new(s, all);
            for (int round = 0; round < 20; round++) {
                for (int n = 0; state_mover_slice(mover, 100 + prng_below(&p, 5000), &bytes); n++) {
                    take(copy, &bytes);
                    strbuf_clear(&bytes);
                    random_writes(s, m, form, &p, n < 300 ? writes / 10 : 0);
                }
                take(copy, &bytes);
                strbuf_clear(&bytes);
                assert_int_equal(state_mover_behind(mover), 0);
                model_check(m, copy, form);
                model_check(m, s, form);
                random_writes(s, m, form, &p, round % 4 == 0 ? 3000 : writes);
            }
            state_mover_free(mover);
            random_writes(s, m, form, &p, 100); /* the tombstones may go now */
            model_check(m, s, form);
            state_free(s);
            state_free(copy);
            strbuf_fini(&bytes);
            mem_free(m);
        }
    }
}

/* Three takers of one giver: each gets its groups and no other. */
static void groups_go_to_several_takers(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl), *to[3];
    struct state_mover *mover[3];
    struct model *m = mem_alloc(sizeof(*m));
    struct prng p = {9};
    random_writes(s, m, FORM_I64, &p, 5000);
    for (unsigned k = 0; k < 3; k++) {
        bool groups[KEY_GROUPS] = {0};
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            groups[g] = g % 3 == k;
        }
        to[k] = state_new(&model_decl);
        mover[k] = state_mover_new(s, groups);
    }
    for (unsigned k = 0; k < 3; k++) {
        struct strbuf bytes = {0};
        random_writes(s, m, FORM_I64, &p, 500);
        for (int n = 0; state_mover_slice(mover[k], 2000, &bytes); n++) {
            random_writes(s, m, FORM_I64, &p, n < 300 ? 5 : 0); /* noted by all three */
        }
        take(to[k], &bytes);
        strbuf_fini(&bytes);
    }
    for (unsigned k = 0; k < 3; k++) {
        struct strbuf bytes = {0};
        while (state_mover_slice(mover[k], 2000, &bytes)) {
        }
        take(to[k], &bytes);
        strbuf_fini(&bytes);
    }
    uint64_t sum = 0;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert_int_equal(state_group_count(to[g % 3], g), state_group_count(s, g));
        sum += state_group_count(to[g % 3], g);
    }
    assert_int_equal(sum, m->count);
    for (unsigned k = 0; k < 3; k++) {
        state_mover_free(mover[k]);
        state_free(to[k]);
    }
    state_free(s);
    mem_free(m);
}

static void a_lost_or_repeated_slice_is_refused(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    struct oxb_state *s = state_new(&model_decl), *copy = state_new(&model_decl);
    struct model *m = mem_alloc(sizeof(*m));
    struct prng p = {77};
    struct strbuf one = {0}, two = {0}, three = {0};
    struct fail f = {0};
    random_writes(s, m, FORM_STR, &p, 8000);
    struct state_mover *mover = state_mover_new(s, all);
    while (state_mover_slice(mover, 1000, &one)) {
    }
    random_writes(s, m, FORM_STR, &p, 8000);
    while (state_mover_slice(mover, 1000, &two)) {
    }
    random_writes(s, m, FORM_STR, &p, 8000);
    while (state_mover_slice(mover, 1000, &three)) {
    }
    take(copy, &one);
    assert_int_equal(state_take_pieces(copy, three.data, three.bytes, &f), ERR_STALE);
    take(copy, &two);
    take(copy, &three);
    model_check(m, copy, FORM_STR);
    size_t whole = 0;
    for (size_t cut = 1; cut < 300; cut++) { /* truncated: never read beyond its end */
        char *part = mem_alloc(cut);
        memcpy(part, one.data, cut);
        struct oxb_state *fresh = state_new(&model_decl);
        enum err e = state_take_pieces(fresh, part, cut, &f);
        size_t next = whole + 4 + (uint8_t)one.data[whole] + 256u * (uint8_t)one.data[whole + 1];
        assert_true((e == ERR_OK) == (cut == next)); /* between two pieces */
        whole = cut == next ? next : whole;
        state_free(fresh);
        mem_free(part);
    }
    state_mover_free(mover);
    state_free(s);
    state_free(copy);
    strbuf_fini(&one);
    strbuf_fini(&two);
    strbuf_fini(&three);
    mem_free(m);
}

static void groups_change_tables_by_pointer(void **unused)
{
    (void)unused;
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *a = state_new(&model_decl), *b = state_new(&model_decl);
        struct model *m = mem_alloc(sizeof(*m));
        struct prng p = {form + 3};
        random_writes(a, m, form, &p, 8000);
        for (int round = 0; round < 40; round++) {
            for (unsigned g = 0; g < KEY_GROUPS; g++) {
                assert_true(state_take_group(b, a, g));
            }
            assert_int_equal(oxb_state_count(a), 0);
            model_check(m, b, form);
            random_writes(b, m, form, &p, 300);
            bool all[KEY_GROUPS];
            all_groups(all);
            struct oxb_state *copy = state_new(&model_decl);
            struct state_mover *mover = state_mover_new(b, all);
            struct strbuf bytes = {0};
            while (state_mover_slice(mover, 1000, &bytes)) {
            }
            random_writes(b, m, form, &p, 300); /* entries with stamps of the other table */
            while (state_mover_slice(mover, 1000, &bytes)) {
            }
            take(copy, &bytes);
            model_check(m, copy, form);
            state_mover_free(mover);
            state_free(copy);
            strbuf_fini(&bytes);
            struct oxb_state *x = a;
            a = b;
            b = x;
        }
        state_free(a);
        state_free(b);
        mem_free(m);
    }
}

static void narrow_and_wide_tables_exchange_groups(void **unused)
{
    (void)unused;
    static uint8_t room[KEY_ROOM];
    struct oxb_state *narrow = state_new(&model_decl), *wide = state_new(&model_decl);
    for (uint32_t id = 0; id < 1000; id++) {
        *(int64_t *)oxb_state_put(narrow, model_key(FORM_I64, id, room)) = id;
        *(int64_t *)oxb_state_put(wide, model_key(FORM_STR, id, room)) = id;
    }
    for (unsigned g = 0; g < KEY_GROUPS / 2; g++) {
        assert_true(state_take_group(wide, narrow, g));
    }
    for (unsigned g = KEY_GROUPS / 2; g < KEY_GROUPS; g++) {
        assert_true(state_take_group(narrow, wide, g));
    }
    uint64_t expected = 0, found = oxb_state_count(narrow) + oxb_state_count(wide);
    for (uint32_t id = 0; id < 1000; id++) {
        struct oxb_key number = model_key(FORM_I64, id, room);
        int64_t *cell = oxb_state_get(wide, number);
        assert_true((cell != NULL) == (number.hash >> 56 < KEY_GROUPS / 2));
        assert_true(cell == NULL || *cell == id);
        struct oxb_key text = model_key(FORM_STR, id, room);
        cell = oxb_state_get(narrow, text);
        assert_true((cell != NULL) == (text.hash >> 56 >= KEY_GROUPS / 2));
        assert_true(cell == NULL || *cell == id);
        expected += number.hash >> 56 < KEY_GROUPS / 2;
        expected += text.hash >> 56 >= KEY_GROUPS / 2;
    }
    assert_int_equal(found, expected); /* what the taker had of a group has gone */
    state_free(narrow);
    state_free(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_told_is_the_table),
        cmocka_unit_test(groups_go_to_several_takers),
        cmocka_unit_test(a_lost_or_repeated_slice_is_refused),
        cmocka_unit_test(groups_change_tables_by_pointer),
        cmocka_unit_test(narrow_and_wide_tables_exchange_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
