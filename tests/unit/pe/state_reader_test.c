/* tests/unit/pe/state_reader_test.c - readers: freezing, deltas, tombstones, slices.
 *
 * Goal:   what a reader hands out is the table as of its freeze, whatever is written meanwhile and
 *         however it is sliced; base and deltas applied in order give the table exactly.
 * Method: random writes beside an array (state_model.h); copies are applied to a second table,
 *         which is compared with the array as it was at the freeze. */
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

static void apply(struct oxb_state *to, unsigned group, struct strbuf *bytes)
{
    struct fail f = {0};
    if (bytes->bytes == 0) {
        return; /* nothing of it has changed */
    }
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
            state_freeze(r, all, NULL);
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
        state_freeze(readers[i], all, NULL);
        if (round % 5 != 4) { /* else: given up; the next freeze starts from the same base */
            copy_all(readers[i], copies[i]);
            model_check(m, copies[i], FORM_I64);
        }
    }
    for (int i = 0; i < 3; i++) {
        state_freeze(readers[i], all, NULL);
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
        state_freeze(r, round % 2 == 0 ? even : odd, NULL);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            bool asked = round % 2 == 0 ? even[g] : odd[g];
            assert_int_equal(state_read_group(r, g, &bytes), asked ? ERR_OK : ERR_NOTFOUND);
            if (asked) {
                apply(copy, g, &bytes);
            }
        }
    }
    state_freeze(r, odd, NULL);
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
        state_freeze(r, all, NULL);
        copy_all(r, copy);
        for (int64_t i = 0; i < 20000; i++) {
            assert_true(oxb_state_delete(s, oxb_key_i64(&i)));
        }
        assert_int_equal(oxb_state_count(s), 0);
        assert_true(state_bytes(s) > empty + 20000 * 8);
        if (round == 0) {
            state_freeze(r, all, NULL); /* the delta has the deletions */
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
    state_freeze(r, all, NULL);
    uint64_t raise = 3000;
    oxb_state_each(s, raise_some, &raise); /* the reader must not see this */
    struct oxb_state *copy = state_new(&model_decl);
    copy_all(r, copy);
    for (int64_t i = 0; i < 3000; i++) {
        assert_int_equal(*(int64_t *)oxb_state_get(copy, oxb_key_i64(&i)), i);
    }
    state_freeze(r, all, NULL);
    copy_all(r, copy);
    raise = 10;
    oxb_state_each(s, raise_some, &raise);
    state_freeze(r, all, NULL);
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

/* ---- slices ---- */

struct follower { /* takes every piece as soon as it is there */
    struct state_reader *reader;
    struct oxb_state *copy;
    struct model then;
    bool more;
};

static void follow(struct follower *f, size_t bytes_max)
{
    struct strbuf piece = {0};
    unsigned group = KEY_GROUPS;
    f->more = state_reader_slice(f->reader, bytes_max, &piece, &group);
    if (piece.bytes > 0) {
        assert_true(piece.bytes < bytes_max + 2 * KEY_ROOM);
        apply(f->copy, group, &piece);
    }
    strbuf_fini(&piece);
}

static void freeze(struct follower *f, const struct model *m, struct prng *p)
{
    bool groups[KEY_GROUPS], whole[KEY_GROUPS];
    (void)state_changed(f->reader, groups);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        whole[g] = groups[g] && prng_below(p, 6) == 0;
    }
    state_freeze(f->reader, groups, whole);
    f->then = *m;
    f->more = true;
}

static bool raise_all(void *arg, struct oxb_key key, void *cells)
{
    (void)arg;
    (void)key;
    ++*(int64_t *)cells;
    return true;
}

static void raise_model(struct model *m)
{
    for (uint32_t id = 0; id < IDS; id++) {
        m->value[id] += m->there[id];
    }
}

/* Two readers copy in slices of any size, between the owner's writes, growth, deletions, walks and
 * a group that is given away and comes back. */
static void slices_copy_the_freeze_while_the_owner_writes(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {1, 100, 3000, SIZE_MAX / 2};
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = state_new(&model_decl), *away = state_new(&model_decl);
        struct model *m = mem_alloc(sizeof(*m));
        struct follower *f = mem_array(2, sizeof(*f));
        struct prng p = {form + 5};
        for (int i = 0; i < 2; i++) {
            f[i] = (struct follower){.reader = state_reader_new(s), .copy = state_new(&model_decl)};
        }
        for (int round = 0; round < 60; round++) {
            random_writes(s, m, form, &p, round % 10 == 0 ? 3000 : 100);
            int first = (int)prng_below(&p, 2);
            freeze(&f[first], m, &p);
            random_writes(s, m, form, &p, 20);
            freeze(&f[1 - first], m, &p);
            size_t size = sizes[prng_below(&p, 4)];
            while (f[0].more || f[1].more) {
                random_writes(s, m, form, &p, (uint32_t)prng_below(&p, 3));
                follow(&f[prng_below(&p, 2)], size);
                if (prng_below(&p, 500) == 0) {
                    oxb_state_each(s, raise_all, NULL);
                    raise_model(m);
                } else if (prng_below(&p, 500) == 0) {
                    unsigned group = (unsigned)prng_below(&p, KEY_GROUPS);
                    assert_true(state_take_group(away, s, group));
                    assert_true(state_take_group(s, away, group));
                }
            }
            model_check(&f[0].then, f[0].copy, form);
            model_check(&f[1].then, f[1].copy, form);
            model_check(m, s, form);
        }
        for (int i = 0; i < 2; i++) {
            state_reader_free(f[i].reader);
            state_free(f[i].copy);
        }
        state_free(s);
        state_free(away);
        mem_free(f);
        mem_free(m);
    }
}

/* What a delta costs: pieces for the groups that were written, and no look at the other entries. */
static void a_delta_is_found_without_looking_at_the_table(void **unused)
{
    (void)unused;
    enum { MANY = 300000, FEW = 40 };
    bool groups[KEY_GROUPS];
    struct oxb_state *s = state_new(&model_decl);
    struct strbuf piece = {0};
    for (int64_t i = 0; i < MANY; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i;
    }
    struct state_reader *r = state_reader_new(s);
    for (int round = 0; round < 2; round++) {
        unsigned slices = 0, changed = state_changed(r, groups), group;
        uint64_t entries = 0;
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            entries += state_reader_changed(r, g);
        }
        state_freeze(r, groups, NULL);
        do {
            strbuf_clear(&piece);
            slices++;
        } while (state_reader_slice(r, SIZE_MAX / 2, &piece, &group));
        if (round == 0) {
            assert_int_equal(entries, MANY);
            assert_true(slices >= KEY_GROUPS);
        } else {
            assert_int_equal(entries, FEW);
            assert_true(slices <= changed && changed <= FEW);
        }
        for (int64_t i = 0; i < FEW; i++) {
            int64_t key = i * 1000;
            ++*(int64_t *)oxb_state_put(s, oxb_key_i64(&key));
            ++*(int64_t *)oxb_state_put(s, oxb_key_i64(&key)); /* noted once */
        }
    }
    strbuf_fini(&piece);
    state_reader_free(r);
    state_free(s);
}

static void expected_entries_come_without_growth(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl), *to = state_new(&model_decl);
    for (int64_t i = 0; i < 50000; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i;
    }
    for (int64_t i = 0; i < 50000; i++) {
        struct oxb_key key = oxb_key_i64(&i);
        unsigned group = (unsigned)(key.hash >> 56);
        state_expect(to, group, state_group_count(s, group));
    }
    state_expect(to, 0, UINT64_MAX); /* a promise is only a promise */
    state_expect(to, 0, state_group_count(s, 0));
    uint64_t held[KEY_GROUPS] = {0};
    for (int64_t i = 0; i < 50000; i++) {
        struct oxb_key key = oxb_key_i64(&i);
        unsigned group = (unsigned)(key.hash >> 56);
        uint64_t before = state_bytes(to);
        *(int64_t *)oxb_state_put(to, key) = i;
        held[group] += state_bytes(to) > before; /* a range was made */
    }
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert_int_equal(held[g], 1);
    }
    state_free(s);
    state_free(to);
}

/* A reader that goes on where pieces have led tells what was written since, and only that. */
static void a_reader_goes_on_from_what_was_taken_in(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl), *to = state_new(&model_decl);
    struct state_reader *r = state_reader_new(s);
    struct strbuf piece = {0};
    struct fail f = {0};
    bool all[KEY_GROUPS];
    uint64_t told[KEY_GROUPS];
    unsigned group = 0;
    for (int64_t i = 0; i < 5000; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i;
    }
    (void)state_changed(r, all);
    state_freeze(r, all, NULL);
    for (bool more = true; more;) {
        strbuf_clear(&piece);
        more = state_reader_slice(r, 1024, &piece, &group);
        if (piece.bytes > 0) {
            assert_int_equal(state_write_group(to, group, piece.data, piece.bytes, &f), ERR_OK);
        }
    }
    struct state_reader *on = state_reader_new(to);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        told[g] = UINT64_MAX;
    }
    assert_false(state_reader_resume(on, told)); /* no table has such a version */
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        told[g] = state_imported(to, g);
        assert_int_equal(told[g], state_reader_told(r, g));
    }
    assert_true(state_reader_resume(on, told));
    assert_int_equal(state_changed(on, all), 0);
    int64_t one = 7, other = 8;
    *(int64_t *)oxb_state_put(to, oxb_key_i64(&one)) = -1;
    assert_true(oxb_state_delete(to, oxb_key_i64(&other)));
    bool same = oxb_key_i64(&one).hash >> 56 == oxb_key_i64(&other).hash >> 56;
    assert_int_equal(state_changed(on, all), same ? 1 : 2);
    state_freeze(on, all, NULL);
    for (bool more = true; more;) { /* what they fit on is the table that told first */
        strbuf_clear(&piece);
        more = state_reader_slice(on, 1024, &piece, &group);
        struct state_piece head = {0};
        if (piece.bytes > 0) {
            assert_true(state_piece_head(piece.data, piece.bytes, &head));
            assert_int_equal(head.base, told[group]);
            assert_true(head.version > head.base && head.entries >= 1 && head.entries <= 2);
        }
    }
    strbuf_fini(&piece);
    state_reader_free(r);
    state_reader_free(on);
    state_free(s);
    state_free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_and_deltas_give_the_table_exactly),
        cmocka_unit_test(readers_keep_bases_of_their_own),
        cmocka_unit_test(a_reader_of_some_groups_misses_no_change_of_the_others),
        cmocka_unit_test(tombstones_go_when_no_reader_needs_them),
        cmocka_unit_test(a_reader_goes_on_from_what_was_taken_in),
        cmocka_unit_test(walking_a_table_changes_only_what_it_writes),
        cmocka_unit_test(slices_copy_the_freeze_while_the_owner_writes),
        cmocka_unit_test(a_delta_is_found_without_looking_at_the_table),
        cmocka_unit_test(expected_entries_come_without_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
