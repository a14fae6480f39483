/* tests/unit/pe/state_wire_test.c - key groups as bytes: what is refused, and groups that move.
 *
 * Goal:   bytes from a file or a peer never harm the taker: a refusal changes nothing, and what is
 *         taken in is well-formed.  Groups that move keep the sums.
 * Method: every truncation and many random changes of a good group, each in memory of its exact
 *         size so that a sanitizer sees one byte too many. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"

static const struct oxb_value rich_values[] = {{"n", OXB_I64},     {"x", OXB_F64},
                                               {"flag", OXB_BOOL}, {"blob", OXB_BYTES},
                                               {"seen", OXB_TIME}, {NULL, OXB_NONE}};
static const struct oxb_state_decl rich_decl = {"rich", rich_values};

static void rich_fill(struct oxb_state *s, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t *cells = oxb_state_put(s, oxb_key_i64(&i));
        double x = (double)i / 3;
        char text[64];
        memset(text, 'a', sizeof(text));
        cells[0] = (uint64_t)-i;
        memcpy(&cells[1], &x, sizeof(x));
        cells[2] = i % 2 == 0;
        oxb_cell_set(s, &cells[3], text, (uint32_t)(i % 64));
        cells[4] = (uint64_t)i << 20;
    }
}

static void read_group(struct oxb_state *s, unsigned group, struct strbuf *out)
{
    bool groups[KEY_GROUPS] = {false};
    groups[group] = true;
    struct state_reader *r = state_reader_new(s);
    state_freeze(r, groups, NULL);
    assert_int_equal(state_read_group(r, group, out), ERR_OK);
    state_reader_free(r);
}

static void every_type_of_cell_comes_back(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&rich_decl), *copy = state_new(&rich_decl);
    struct strbuf bytes = {0};
    rich_fill(s, 5000);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        read_group(s, g, &bytes);
        assert_int_equal(state_write_group(copy, g, bytes.data, bytes.bytes, NULL), ERR_OK);
        strbuf_clear(&bytes);
    }
    assert_int_equal(oxb_state_count(copy), 5000);
    for (int64_t i = 0; i < 5000; i++) {
        uint64_t *a = oxb_state_get(s, oxb_key_i64(&i)), *b = oxb_state_get(copy, oxb_key_i64(&i));
        assert_memory_equal(a, b, 3 * sizeof(*a));
        assert_int_equal(a[4], b[4]);
        struct oxb_str x = oxb_cell_get(&a[3]), y = oxb_cell_get(&b[3]);
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.p, y.p, x.len);
    }
    strbuf_fini(&bytes);
    state_free(s);
    state_free(copy);
}

/* offer - hand the bytes over in a block of their own. */
static enum err offer(struct oxb_state *to, unsigned group, const void *data, size_t bytes,
                      struct fail *f)
{
    uint8_t *block = mem_alloc(bytes);
    memcpy(block, data, bytes);
    enum err e = state_write_group(to, group, block, bytes, f);
    mem_free(block);
    return e;
}

static void every_truncation_is_refused_and_changes_nothing(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&rich_decl), *to = state_new(&rich_decl);
    struct strbuf bytes = {0};
    rich_fill(s, 4000);
    rich_fill(to, 1000);
    read_group(s, 7, &bytes);
    uint64_t before = state_bytes(to), count = state_group_count(to, 7);
    assert_true(state_group_count(s, 7) > 3);
    for (size_t n = 0; n < bytes.bytes; n++) {
        struct fail f = {0};
        assert_int_equal(offer(to, 7, bytes.data, n, &f), ERR_INVALID);
        assert_non_null(strstr(f.what, "ends too early"));
        assert_int_equal(state_bytes(to), before);
        assert_int_equal(state_group_count(to, 7), count);
    }
    strbuf_char(&bytes, 0);
    assert_int_equal(offer(to, 7, bytes.data, bytes.bytes, NULL), ERR_INVALID);
    assert_int_equal(offer(to, 8, bytes.data, bytes.bytes - 1, NULL), ERR_INVALID);
    assert_int_equal(offer(to, 7, bytes.data, bytes.bytes - 1, NULL), ERR_OK);
    assert_int_equal(state_group_count(to, 7), state_group_count(s, 7));
    strbuf_fini(&bytes);
    state_free(s);
    state_free(to);
}

static void random_changes_are_refused_or_harmless(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&rich_decl);
    struct strbuf bytes = {0};
    struct prng p = {123};
    unsigned taken = 0;
    rich_fill(s, 4000);
    read_group(s, 200, &bytes);
    uint8_t *bad = mem_alloc(bytes.bytes);
    struct oxb_state *to = state_new(&rich_decl);
    for (int i = 0; i < 20000; i++) {
        memcpy(bad, bytes.data, bytes.bytes);
        size_t within = i % 2 == 0 ? bytes.bytes : 60; /* half of them early: heads, lengths */
        for (uint64_t n = 1 + prng_below(&p, 3); n > 0; n--) {
            bad[prng_below(&p, within)] = (uint8_t)prng_u64(&p);
        }
        enum err e = offer(to, 200, bad, bytes.bytes, NULL);
        assert_true(e == ERR_OK || e == ERR_INVALID || e == ERR_STALE);
        taken += e == ERR_OK ? 1 : 0;
        assert_int_equal(state_group_count(to, 200), oxb_state_count(to));
    }
    assert_true(taken > 100); /* flips within values are not ours to see */
    mem_free(bad);
    strbuf_fini(&bytes);
    state_free(s);
    state_free(to);
}

static void another_number_or_type_of_values_is_refused_by_name(void **unused)
{
    (void)unused;
    static const struct oxb_value two[] = {{"a", OXB_I64}, {"b", OXB_I64}, {NULL, OXB_NONE}};
    static const struct oxb_value real[] = {{"a", OXB_F64}, {NULL, OXB_NONE}};
    static const struct oxb_state_decl two_decl = {"pairs", two}, real_decl = {"reals", real};
    struct oxb_state *one = state_new(&model_decl), *pair = state_new(&two_decl);
    struct oxb_state *reals = state_new(&real_decl);
    struct strbuf bytes = {0};
    struct fail f = {0};
    int64_t k = 5;
    unsigned group = (unsigned)(oxb_key_i64(&k).hash >> 56);
    oxb_state_put(one, oxb_key_i64(&k));
    oxb_state_put(pair, oxb_key_i64(&k));
    read_group(pair, group, &bytes);
    assert_int_equal(state_write_group(one, group, bytes.data, bytes.bytes, &f), ERR_INVALID);
    assert_non_null(strstr(f.what, "sums"));
    assert_non_null(strstr(f.what, "another number of values"));
    strbuf_clear(&bytes);
    read_group(one, group, &bytes);
    assert_int_equal(state_write_group(pair, group, bytes.data, bytes.bytes, &f), ERR_INVALID);
    assert_int_equal(state_write_group(reals, group, bytes.data, bytes.bytes, &f), ERR_INVALID);
    assert_non_null(strstr(f.what, "expected type"));
    assert_int_equal(state_write_group(one, KEY_GROUPS, bytes.data, bytes.bytes, &f), ERR_INVALID);
    strbuf_fini(&bytes);
    state_free(one);
    state_free(pair);
    state_free(reals);
}

static void a_delta_without_its_base_is_refused(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl), *to = state_new(&model_decl);
    struct strbuf parts[3] = {{0}, {0}, {0}};
    bool groups[KEY_GROUPS];
    struct state_reader *r = state_reader_new(s);
    int64_t k = 5;
    unsigned group = (unsigned)(oxb_key_i64(&k).hash >> 56);
    all_groups(groups);
    for (int64_t i = 0; i < 3; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&k)) = i;
        state_freeze(r, groups, NULL);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            struct strbuf other = {0};
            assert_int_equal(state_read_group(r, g, g == group ? &parts[i] : &other), ERR_OK);
            strbuf_fini(&other);
        }
    }
    struct strbuf *p = parts;
    assert_int_equal(state_write_group(to, group, p[1].data, p[1].bytes, NULL), ERR_STALE);
    assert_int_equal(state_write_group(to, group, p[0].data, p[0].bytes, NULL), ERR_OK);
    assert_int_equal(state_write_group(to, group, p[2].data, p[2].bytes, NULL), ERR_STALE);
    assert_int_equal(state_write_group(to, group, p[1].data, p[1].bytes, NULL), ERR_OK);
    assert_int_equal(state_write_group(to, group, p[1].data, p[1].bytes, NULL), ERR_OK); /* again */
    assert_int_equal(state_write_group(to, group, p[2].data, p[2].bytes, NULL), ERR_OK);
    assert_int_equal(*(int64_t *)oxb_state_get(to, oxb_key_i64(&k)), 2);
    for (int i = 0; i < 3; i++) {
        strbuf_fini(&parts[i]);
    }
    state_reader_free(r);
    state_free(s);
    state_free(to);
}

static uint64_t total(struct oxb_state *s)
{
    struct model_walk w = {0};
    oxb_state_each(s, model_visit, &w);
    return w.sum;
}

/* Groups wander between three tables while a checkpoint reader of each follows with deltas. */
static void moving_groups_conserves_the_sums_and_the_checkpoints(void **unused)
{
    (void)unused;
    static uint8_t room[KEY_ROOM];
    struct oxb_state *tables[3], *checkpoints[3];
    struct state_reader *readers[3];
    unsigned owner[KEY_GROUPS] = {0};
    bool all[KEY_GROUPS];
    struct strbuf bytes = {0};
    struct prng p = {31};
    uint64_t sum = 0;
    all_groups(all);
    for (int i = 0; i < 3; i++) {
        tables[i] = state_new(&model_decl);
        checkpoints[i] = state_new(&model_decl);
        readers[i] = state_reader_new(tables[i]);
    }
    for (int round = 0; round < 200; round++) {
        for (int n = 0; n < 100; n++) {
            struct oxb_key key = model_key(FORM_STR, 2 + (uint32_t)prng_below(&p, 998), room);
            *(int64_t *)oxb_state_put(tables[owner[key.hash >> 56]], key) += n;
            sum += (uint64_t)n;
        }
        for (int n = 0; n < 5; n++) {
            unsigned g = (unsigned)prng_below(&p, KEY_GROUPS), to = (unsigned)prng_below(&p, 3);
            if (to != owner[g]) {
                strbuf_clear(&bytes);
                read_group(tables[owner[g]], g, &bytes);
                assert_int_equal(state_write_group(tables[to], g, bytes.data, bytes.bytes, NULL),
                                 ERR_OK);
                state_drop_group(tables[owner[g]], g);
                owner[g] = to;
            }
        }
        assert_int_equal(total(tables[0]) + total(tables[1]) + total(tables[2]), sum);
        unsigned i = (unsigned)prng_below(&p, 3);
        state_freeze(readers[i], all, NULL);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            strbuf_clear(&bytes);
            assert_int_equal(state_read_group(readers[i], g, &bytes), ERR_OK);
            if (bytes.bytes > 0) {
                assert_int_equal(
                    state_write_group(checkpoints[i], g, bytes.data, bytes.bytes, NULL), ERR_OK);
            }
        }
        assert_int_equal(total(checkpoints[i]), total(tables[i]));
        assert_int_equal(oxb_state_count(checkpoints[i]), oxb_state_count(tables[i]));
    }
    for (int i = 0; i < 3; i++) {
        state_reader_free(readers[i]);
        state_free(tables[i]);
        state_free(checkpoints[i]);
    }
    strbuf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_cell_comes_back),
        cmocka_unit_test(every_truncation_is_refused_and_changes_nothing),
        cmocka_unit_test(random_changes_are_refused_or_harmless),
        cmocka_unit_test(another_number_or_type_of_values_is_refused_by_name),
        cmocka_unit_test(a_delta_without_its_base_is_refused),
        cmocka_unit_test(moving_groups_conserves_the_sums_and_the_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
