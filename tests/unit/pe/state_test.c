/* tests/unit/pe/state_test.c - keyed tables: entries, batches, growth, keys and cells.
 *
 * Goal:   a table behaves as a map whatever the keys and the order of operations, and the pointers
 *         of oxb_state_rows hold for their whole batch.
 * Method: random operations beside an array (state_model.h); batches made by hand, so that only the
 *         table is under test. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"
#include "pe/keys.h"

#define OPS 1500000u

static void random_operations_equal_a_map(void **unused)
{
    (void)unused;
    static uint8_t room[KEY_ROOM];
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct oxb_state *s = state_new(&model_decl);
        struct model *m = mem_alloc(sizeof(*m));
        struct prng p = {form + 1};
        uint64_t empty = state_bytes(s);
        for (uint32_t i = 0; i < OPS; i++) {
            /* The share of deletions swings, so that the table fills and empties several times. */
            bool filling = (i / 50000) % 2 == 0;
            uint32_t id = (uint32_t)prng_below(&p, IDS);
            struct oxb_key key = model_key(form, id, room);
            if (prng_below(&p, 10) < (filling ? 3u : 7u)) {
                assert_int_equal(oxb_state_delete(s, key), model_delete(m, id));
            } else {
                int64_t *cells = oxb_state_put(s, key);
                assert_int_equal(*cells, m->there[id] ? m->value[id] : 0);
                *cells = (int64_t)i;
                model_put(m, id, (int64_t)i);
            }
            if (i % 100000 == 0) {
                model_check(m, s, form);
            }
        }
        model_check(m, s, form);
        for (uint32_t id = 0; id < IDS; id++) {
            assert_int_equal(oxb_state_delete(s, model_key(form, id, room)), model_delete(m, id));
        }
        assert_int_equal(state_bytes(s), empty);
        state_free(s);
        mem_free(m);
    }
}

/* ---- batches by hand ---- */

#define ROWS 1024u

struct table { /* a batch of k: i64, s: str, b: bool, f: f64 and its memory */
    struct oxb_batch batch;
    struct oxb_schema schema;
    struct oxb_field fields[4];
    struct oxb_col cols[4];
    int64_t k[ROWS];
    struct oxb_ref s[ROWS];
    uint8_t b[ROWS];
    double f[ROWS];
    uint16_t sel[ROWS];
    uint8_t heap[ROWS * 24];
};

static void table_init(struct table *t)
{
    static const char *const names[4] = {"k", "s", "b", "f"};
    static const enum oxb_type types[4] = {OXB_I64, OXB_STR, OXB_BOOL, OXB_F64};
    *t = (struct table){0};
    for (unsigned i = 0; i < 4; i++) {
        t->fields[i] = (struct oxb_field){names[i], types[i], 1, 0, NULL};
    }
    t->cols[0].data = t->k;
    t->cols[1] = (struct oxb_col){t->s, t->heap, sizeof(t->heap)};
    t->cols[2].data = t->b;
    t->cols[3].data = t->f;
    t->schema = (struct oxb_schema){0, 4, t->fields, ""};
    t->batch = (struct oxb_batch){ROWS, ROWS, NULL, 0, &t->schema, t->cols};
}

static void table_fill(struct table *t, struct prng *p, uint64_t keys, bool select)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        uint64_t id = prng_below(p, keys);
        t->k[i] = (int64_t)id;
        t->b[i] = id % 3 == 0;
        t->f[i] = id >= 9 ? (double)(id / 9) : prng_below(p, 2) != 0 ? 0.0 : -0.0; /* one key */
        int n = snprintf((char *)t->heap + used, 24, "%s%llu", id % 2 != 0 ? "a-longer-key-" : "",
                         (unsigned long long)id);
        t->s[i] = (struct oxb_ref){used, (uint32_t)n};
        used += (uint32_t)n;
    }
    t->batch.live = ROWS;
    t->batch.sel = NULL;
    if (select) {
        t->batch.live = 0;
        for (uint32_t i = 0; i < ROWS; i++) {
            t->sel[t->batch.live] = (uint16_t)i;
            t->batch.live += prng_below(p, 4) != 0 ? 1 : 0;
        }
        t->batch.sel = t->sel;
    }
}

/* count_batches - count keys by oxb_state_rows; each cell must end as the array's. */
static void count_batches(const unsigned *by, unsigned by_count, uint64_t keys, unsigned batches)
{
    struct oxb_state *s = state_new(&model_decl);
    struct table *t = mem_alloc(sizeof(*t));
    int64_t *expected = mem_array(keys, sizeof(*expected));
    void *slots[ROWS];
    struct prng p = {keys};
    uint64_t distinct = 0;
    table_init(t);
    for (unsigned n = 0; n < batches; n++) {
        table_fill(t, &p, keys, n % 2 == 1);
        assert_int_equal(oxb_state_rows(s, &t->batch, by, by_count, slots), OXB_OK);
        uint32_t k = 0;
        OXB_EACH (&t->batch, i) {
            int64_t *cell = slots[k++];
            assert_int_equal(*cell, expected[t->k[i]]);
            distinct += expected[t->k[i]] == 0 ? 1 : 0;
            expected[t->k[i]]++;
            ++*cell; /* growth by a later row would have lost this */
        }
        assert_int_equal(k, t->batch.live);
        assert_int_equal(oxb_state_count(s), distinct);
    }
    state_free(s);
    mem_free(expected);
    mem_free(t);
}

static void rows_of_a_batch_keep_their_pointers_while_the_table_grows(void **unused)
{
    (void)unused;
    static const unsigned by_k[] = {0}, by_s[] = {1}, by_many[] = {2, 1, 0, 3};
    count_batches(by_k, 1, 100000, 300);
    count_batches(by_k, 1, 50, 20);
    count_batches(by_s, 1, 50000, 150);
    count_batches(by_many, 4, 20000, 60);
}

static void hashes_of_rows_are_those_of_single_keys(void **unused)
{
    (void)unused;
    static const unsigned by[] = {0, 1};
    struct table *t = mem_alloc(sizeof(*t));
    uint64_t hashes[ROWS];
    struct prng p = {3};
    table_init(t);
    table_fill(t, &p, 500, true);
    struct oxb_state *narrow = state_new(&model_decl);
    struct oxb_state *wide = state_new(&model_decl);
    void *slots[ROWS];
    assert_int_equal(oxb_state_rows(narrow, &t->batch, by, 1, slots), OXB_OK);
    assert_int_equal(oxb_state_rows(wide, &t->batch, by + 1, 1, slots), OXB_OK);
    key_hash_batch(&t->batch, by, 2, hashes);
    uint32_t k = 0;
    OXB_EACH (&t->batch, i) {
        struct oxb_str text = oxb_str_at(&t->batch, 1, i);
        struct oxb_key number = oxb_key_i64(&t->k[i]), name = oxb_key_str(text.p, text.len);
        assert_non_null(oxb_state_get(narrow, number));
        assert_ptr_equal(oxb_state_get(wide, name), slots[k]);
        assert_int_equal(hashes[k], hash_mix(number.hash, name.hash));
        assert_int_equal(hashes[k], key_hash_row(&t->batch, by, 2, i));
        k++;
    }
    state_free(narrow);
    state_free(wide);
    mem_free(t);
}

static void keys_of_tensors_and_of_no_field_are_refused(void **unused)
{
    (void)unused;
    static const unsigned by[] = {0};
    struct table *t = mem_alloc(sizeof(*t));
    void *slots[ROWS];
    table_init(t);
    struct oxb_state *s = state_new(&model_decl);
    assert_int_equal(oxb_state_rows(s, &t->batch, by, 0, slots), OXB_ERROR);
    t->fields[0].type = OXB_F32;
    assert_int_equal(oxb_state_rows(s, &t->batch, by, 1, slots), OXB_ERROR);
    assert_int_equal(oxb_state_count(s), 0);
    state_free(s);
    mem_free(t);
}

static void a_table_of_numbers_takes_strings_too(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl);
    for (int64_t i = 0; i < 5000; i++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&i)) = i * 3;
    }
    *(int64_t *)oxb_state_put(s, oxb_key_str("a string", 8)) = -1;
    for (int64_t i = 0; i < 5000; i++) {
        int64_t *cell = oxb_state_get(s, oxb_key_i64(&i));
        assert_non_null(cell);
        assert_int_equal(*cell, i * 3);
    }
    assert_int_equal(*(int64_t *)oxb_state_get(s, oxb_key_str("a string", 8)), -1);
    assert_null(oxb_state_get(s, oxb_key_str("a strinG", 8)));
    assert_int_equal(oxb_state_count(s), 5001);
    state_free(s);
}

static void equal_hashes_of_different_keys_are_kept_apart(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl);
    char text[20];
    for (uint32_t i = 0; i < 600; i++) { /* all in one home slot: the slack takes them */
        int n = snprintf(text, sizeof(text), "key%u", i);
        struct oxb_key key = {0x42ull << 56 | 7, (const uint8_t *)text, (uint32_t)n};
        *(int64_t *)oxb_state_put(s, key) = i;
    }
    for (uint32_t i = 0; i < 600; i++) {
        int n = snprintf(text, sizeof(text), "key%u", i);
        struct oxb_key key = {0x42ull << 56 | 7, (const uint8_t *)text, (uint32_t)n};
        assert_int_equal(*(int64_t *)oxb_state_get(s, key), i);
        assert_int_equal(oxb_state_delete(s, key), true);
    }
    assert_true(state_bytes(s) < 1u << 20);
    assert_int_equal(oxb_state_count(s), 0);
    state_free(s);
}

static bool recover_number(void *arg, struct oxb_key key, void *cells)
{
    int64_t v;
    (void)arg;
    assert_int_equal(key.bytes, sizeof(v));
    memcpy(&v, key.data, sizeof(v));
    assert_int_equal(v, *(int64_t *)cells);
    ++*(uint64_t *)cells;
    return true;
}

static void numbers_are_recovered_from_their_hashes(void **unused)
{
    (void)unused;
    struct oxb_state *s = state_new(&model_decl);
    struct prng p = {11};
    for (int i = 0; i < 20000; i++) {
        int64_t v = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : i < 5 ? i - 3 : (int64_t)prng_u64(&p);
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&v)) = v;
    }
    oxb_state_each(s, recover_number, NULL);
    state_free(s);
}

static void blobs_belong_to_their_entries(void **unused)
{
    (void)unused;
    static const struct oxb_value values[] = {
        {"n", OXB_I64}, {"text", OXB_BYTES}, {NULL, OXB_NONE}};
    static const struct oxb_state_decl decl = {"blobs", values};
    struct oxb_state *s = state_new(&decl);
    uint64_t empty = state_bytes(s);
    for (int64_t i = 0; i < 3000; i++) {
        int64_t *cells = oxb_state_put(s, oxb_key_i64(&i));
        char text[16];
        int n = snprintf(text, sizeof(text), "v%lld", (long long)i);
        oxb_cell_set(s, &cells[1], "first", 5);
        oxb_cell_set(s, &cells[1], text, (uint32_t)n);
    }
    for (int64_t i = 0; i < 3000; i++) {
        int64_t *cells = oxb_state_get(s, oxb_key_i64(&i));
        char text[16];
        int n = snprintf(text, sizeof(text), "v%lld", (long long)i);
        struct oxb_str got = oxb_cell_get(&cells[1]);
        assert_int_equal(got.len, n);
        assert_memory_equal(got.p, text, got.len);
        if (i % 2 == 0) {
            assert_true(oxb_state_delete(s, oxb_key_i64(&i)));
        }
    }
    for (int64_t i = 1; i < 3000; i += 2) {
        oxb_cell_set(s, (int64_t *)oxb_state_put(s, oxb_key_i64(&i)) + 1, NULL, 0);
        assert_true(oxb_state_delete(s, oxb_key_i64(&i)));
    }
    assert_int_equal(state_bytes(s), empty);
    int64_t last = 5;
    int64_t *cells = oxb_state_put(s, oxb_key_i64(&last));
    assert_int_equal(oxb_cell_get(&cells[1]).len, 0);
    oxb_cell_set(s, &cells[1], "left to state_free", 18);
    state_free(s);
}

static bool put_the_key(void *arg, struct oxb_key key, void *cells)
{
    struct oxb_writer *w = arg;
    (void)cells;
    struct oxb_field fields[] = {{"b", OXB_BOOL, 1, 0, NULL},
                                 {"s", OXB_STR, 1, 0, NULL},
                                 {"f", OXB_F64, 1, 0, NULL},
                                 {"k", OXB_I64, 1, 0, NULL}};
    struct oxb_schema schema = {0, 4, fields, ""};
    oxb_put_key(w, &schema, 0, 4, w->rows, key);
    oxb_commit(w);
    return true;
}

static void a_key_of_several_fields_comes_back_as_fields(void **unused)
{
    (void)unused;
    static const unsigned by[] = {2, 1, 3, 0};
    struct table *t = mem_alloc(sizeof(*t));
    struct table *back = mem_alloc(sizeof(*back));
    struct prng p = {5};
    void *slots[ROWS];
    table_init(t);
    table_init(back);
    table_fill(t, &p, 300, false);
    struct oxb_state *s = state_new(&model_decl);
    assert_int_equal(oxb_state_rows(s, &t->batch, by, 4, slots), OXB_OK);
    struct oxb_wcol cols[4] = {{back->b, NULL, 0, 0},
                               {back->s, back->heap, 0, sizeof(back->heap)},
                               {back->f, NULL, 0, 0},
                               {back->k, NULL, 0, 0}};
    struct oxb_writer w = {0, ROWS, sizeof(back->heap), 4, cols};
    oxb_state_each(s, put_the_key, &w);
    assert_int_equal(w.rows, oxb_state_count(s));
    back->batch.rows = back->batch.live = w.rows;
    assert_int_equal(oxb_state_rows(s, &back->batch, by, 4, slots), OXB_OK);
    assert_int_equal(oxb_state_count(s), w.rows); /* all of them were there */
    state_free(s);
    mem_free(t);
    mem_free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_equal_a_map),
        cmocka_unit_test(rows_of_a_batch_keep_their_pointers_while_the_table_grows),
        cmocka_unit_test(hashes_of_rows_are_those_of_single_keys),
        cmocka_unit_test(keys_of_tensors_and_of_no_field_are_refused),
        cmocka_unit_test(a_table_of_numbers_takes_strings_too),
        cmocka_unit_test(equal_hashes_of_different_keys_are_kept_apart),
        cmocka_unit_test(numbers_are_recovered_from_their_hashes),
        cmocka_unit_test(blobs_belong_to_their_entries),
        cmocka_unit_test(a_key_of_several_fields_comes_back_as_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
