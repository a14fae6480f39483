/* tests/unit/pe/state_reader_test.c - readers: freezing, deltas, tombstones, two threads.
 *
 * Goal:   what a reader hands out is the table as of its freeze, whatever is written meanwhile and
 *         whoever copies first; base and deltas applied in order give the table exactly.
 * Method: random writes beside an array (state_model.h); copies are applied to a second table,
 * which is compared with the array as it was at the freeze.  The threaded test is for SAN=thread as
 * well. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"

#include <pthread.h>
#include <sched.h>

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

static void apply(struct oxb_state *to, unsigned group, struct strbuf *bytes)
{
    struct fail f = {0};
    enum err e = state_write_group(to, group, bytes->data, bytes->bytes, &f);
    assert_string_equal(f.what, "");
    assert_int_equal(e, ERR_OK);
    strbuf_clear(bytes);
}

/* copy_all - hand out every group and take it in elsewhere. */
static void copy_all(struct state_reader *r, struct oxb_state *to)
{
    struct strbuf bytes = {0};
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert_int_equal(state_read_group(r, g, &bytes), ERR_OK);
        apply(to, g, &bytes);
    }
    strbuf_fini(&bytes);
}

static void base_and_deltas_give_the_table_exactly(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = state_new(&model_decl), *copy = state_new(&model_decl);
        struct model *m = mem_alloc(sizeof(*m)), *then = mem_alloc(sizeof(*then));
        struct prng p = {form + 40};
        struct state_reader *r = state_reader_new(s);
        random_writes(s, m, form, &p, 10000);
        for (int round = 0; round < 30; round++) {
            state_freeze(r, all);
            *then = *m;
            random_writes(s, m, form, &p, round % 3 == 0 ? 3000 : 50); /* copy on write */
            copy_all(r, copy);
            model_check(then, copy, form);
            model_check(m, s, form);
            random_writes(s, m, form, &p, 500);
        }
        state_reader_free(r);
        state_free(s);
        state_free(copy);
        mem_free(m);
        mem_free(then);
    }
}

static void readers_keep_bases_of_their_own(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    struct oxb_state *s = state_new(&model_decl);
    struct model *m = mem_alloc(sizeof(*m));
    struct prng p = {9};
    struct state_reader *readers[3];
    struct oxb_state *copies[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = state_reader_new(s);
        copies[i] = state_new(&model_decl);
    }
    for (int round = 0; round < 60; round++) {
        random_writes(s, m, FORM_I64, &p, 300);
        int i = round % 7 == 0 ? 2 : round % 3 == 0 ? 1 : 0;
        state_freeze(readers[i], all);
        if (round % 5 != 4) { /* else: given up; the next freeze starts from the same base */
            copy_all(readers[i], copies[i]);
            model_check(m, copies[i], FORM_I64);
        }
    }
    for (int i = 0; i < 3; i++) {
        state_freeze(readers[i], all);
    }
    struct model *then = mem_alloc(sizeof(*then));
    *then = *m;
    random_writes(s, m, FORM_I64, &p, 5000); /* copies every group for all three */
    for (int i = 0; i < 3; i++) {
        copy_all(readers[i], copies[i]);
        model_check(then, copies[i], FORM_I64);
        state_reader_free(readers[i]);
        state_free(copies[i]);
    }
    state_free(s);
    mem_free(m);
    mem_free(then);
}

static void a_reader_of_some_groups_misses_no_change_of_the_others(void **unused)
{
    (void)unused;
    bool even[KEY_GROUPS], odd[KEY_GROUPS];
    struct oxb_state *s = state_new(&model_decl), *copy = state_new(&model_decl);
    struct model *m = mem_alloc(sizeof(*m));
    struct strbuf bytes = {0};
    struct prng p = {77};
    struct state_reader *r = state_reader_new(s);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        even[g] = g % 2 == 0;
        odd[g] = !even[g];
    }
    for (int round = 0; round < 11; round++) {
        random_writes(s, m, FORM_STR, &p, 400);
        state_freeze(r, round % 2 == 0 ? even : odd);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            bool asked = round % 2 == 0 ? even[g] : odd[g];
            assert_int_equal(state_read_group(r, g, &bytes), asked ? ERR_OK : ERR_NOTFOUND);
            if (asked) {
                apply(copy, g, &bytes);
            }
        }
    }
    state_freeze(r, odd);
    for (unsigned g = 1; g < KEY_GROUPS; g += 2) {
        assert_int_equal(state_read_group(r, g, &bytes), ERR_OK);
        assert_int_equal(state_read_group(r, g, &bytes), ERR_NOTFOUND);
        apply(copy, g, &bytes);
    }
    model_check(m, copy, FORM_STR);
    state_reader_free(r);
    state_free(s);
    state_free(copy);
    strbuf_fini(&bytes);
    mem_free(m);
}

static void tombstones_go_when_no_reader_needs_them(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    struct oxb_state *s = state_new(&model_decl), *copy = state_new(&model_decl);
    uint64_t empty = state_bytes(s);
    struct state_reader *r = state_reader_new(s);
    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < 20000; i++) {
            *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i;
        }
        state_freeze(r, all);
        copy_all(r, copy);
        for (int64_t i = 0; i < 20000; i++) {
            assert_true(oxb_state_delete(s, oxb_key_i64(&i)));
        }
        assert_int_equal(oxb_state_count(s), 0);
        assert_true(state_bytes(s) > empty + 20000 * 8);
        if (round == 0) {
            state_freeze(r, all); /* the delta has the deletions */
            copy_all(r, copy);
            assert_int_equal(oxb_state_count(copy), 0);
        } else {
            state_reader_free(r);
        }
        int64_t absent = -1;
        for (unsigned i = 0; i < KEY_GROUPS; i++) {
            assert_false(oxb_state_delete(s, oxb_key_i64(&absent)));
        }
        assert_int_equal(state_bytes(s), empty);
    }
    state_free(s);
    state_free(copy);
}

static bool raise_some(void *arg, struct oxb_key key, void *cells)
{
    uint64_t *left = arg;
    (void)key;
    if (*left > 0) {
        (*left)--;
        ++*(int64_t *)cells;
    }
    return true;
}

static void walking_a_table_changes_only_what_it_writes(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    struct oxb_state *s = state_new(&model_decl);
    for (int64_t i = 0; i < 3000; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i;
    }
    struct state_reader *r = state_reader_new(s);
    struct strbuf base = {0}, delta = {0};
    state_freeze(r, all);
    uint64_t raise = 3000;
    oxb_state_each(s, raise_some, &raise); /* the reader must not see this */
    struct oxb_state *copy = state_new(&model_decl);
    copy_all(r, copy);
    for (int64_t i = 0; i < 3000; i++) {
        assert_int_equal(*(int64_t *)oxb_state_get(copy, oxb_key_i64(&i)), i);
    }
    state_freeze(r, all);
    copy_all(r, copy);
    raise = 10;
    oxb_state_each(s, raise_some, &raise);
    state_freeze(r, all);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert_int_equal(state_read_group(r, g, &delta), ERR_OK);
    }
    assert_true(delta.bytes < KEY_GROUPS * 40 + 10 * 60);
    strbuf_fini(&base);
    strbuf_fini(&delta);
    state_reader_free(r);
    state_free(s);
    state_free(copy);
}

/* ---- two threads ---- */

struct helper {
    struct state_reader *reader;
    struct strbuf groups[KEY_GROUPS];
    unsigned start;
};

static void *read_all(void *arg)
{
    struct helper *h = arg;
    for (unsigned i = 0; i < KEY_GROUPS; i++) {
        unsigned g = (h->start + i) % KEY_GROUPS;
        if (state_read_group(h->reader, g, &h->groups[g]) != ERR_OK) {
            abort();
        }
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

static void a_helper_reads_the_freeze_while_the_owner_writes(void **unused)
{
    (void)unused;
    bool all[KEY_GROUPS];
    all_groups(all);
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = state_new(&model_decl);
        struct oxb_state *copies[2] = {state_new(&model_decl), state_new(&model_decl)};
        struct model *m = mem_alloc(sizeof(*m)), *then = mem_alloc(sizeof(*then));
        struct helper helpers[2] = {{.reader = state_reader_new(s), .start = 0},
                                    {.reader = state_reader_new(s), .start = 99}};
        struct prng p = {form + 5};
        for (int round = 0; round < 25; round++) {
            pthread_t threads[2];
            random_writes(s, m, form, &p, 2000);
            *then = *m;
            for (int i = 0; i < 2; i++) {
                state_freeze(helpers[i].reader, all);
                assert_int_equal(pthread_create(&threads[i], NULL, read_all, &helpers[i]), 0);
            }
            random_writes(s, m, form, &p, 4000);
            for (int i = 0; i < 2; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                for (unsigned g = 0; g < KEY_GROUPS; g++) {
                    apply(copies[i], g, &helpers[i].groups[g]);
                }
                model_check(then, copies[i], form);
            }
            model_check(m, s, form);
        }
        for (int i = 0; i < 2; i++) {
            for (unsigned g = 0; g < KEY_GROUPS; g++) {
                strbuf_fini(&helpers[i].groups[g]);
            }
            state_reader_free(helpers[i].reader);
            state_free(copies[i]);
        }
        state_free(s);
        mem_free(m);
        mem_free(then);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_and_deltas_give_the_table_exactly),
        cmocka_unit_test(readers_keep_bases_of_their_own),
        cmocka_unit_test(a_reader_of_some_groups_misses_no_change_of_the_others),
        cmocka_unit_test(tombstones_go_when_no_reader_needs_them),
        cmocka_unit_test(walking_a_table_changes_only_what_it_writes),
        cmocka_unit_test(a_helper_reads_the_freeze_while_the_owner_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
