/* tests/unit/pe/batch_test.c - views and open batches.
 *
 * Goal:   sharing, selecting, narrowing, projecting and owning never change what others see; an
 *         open batch grows, fills and gathers as declared.
 * Method: batches built by hand; the pool must be empty at the end of each test. */
#include "core/limits.h"
#include "core/mem.h"
#include "pe/batch.h"
#include "pe/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct oxb_schema *schema(const char *text)
{
    const struct oxb_schema *s = NULL;
    assert_int_equal(schema_parse(text, &s, NULL), ERR_OK);
    return s;
}

static struct pool *open_pool(void)
{
    return pool_new(64u << 20);
}

static void close_pool(struct pool *p)
{
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

/* rows n = first.., s = "r<n>" */
static struct batch *numbered(struct pool *p, int64_t first, uint32_t rows)
{
    struct builder b;
    builder_init(&b, p, schema("n: i64, s: str, x: f64"), NULL, NULL);
    for (uint32_t i = 0; i < rows; i++) {
        char text[32];
        int len = snprintf(text, sizeof text, "r%lld", (long long)first + i);
        uint32_t r = oxb_row(&b.pub);
        oxb_put_i64(&b.pub, 0, r, first + i);
        oxb_put_str(&b.pub, 1, r, text, (uint32_t)len);
        oxb_put_f64(&b.pub, 2, r, (double)i / 4);
        oxb_commit(&b.pub);
    }
    struct batch *out = builder_finish(&b);
    builder_fini(&b);
    return out;
}

static void pool_blocks_are_aligned_and_come_back_last_in_first_out(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    for (size_t bytes = 1; bytes < (1u << 20); bytes = bytes * 3 + 1) {
        struct buf *a = buf_new(p, bytes);
        assert_true(a->bytes >= bytes);
        assert_int_equal((uintptr_t)a->data % 64, 0);
        memset(a->data, 0xaa, bytes);
        buf_unref(a);
        struct buf *b = buf_new(p, bytes);
        assert_ptr_equal(a, b);
        buf_unref(b);
    }
    close_pool(p);
}

static void pool_keeps_no_more_than_its_limit(void **state)
{
    (void)state;
    struct pool *p = pool_new(0);
    buf_unref(buf_new(p, 1000));
    close_pool(p);
}

static void schemas_are_interned_and_canonical(void **state)
{
    (void)state;
    const struct oxb_schema *a = schema(" path :str,img:f32[ 1, 28,28 ] , ok: bool ");
    assert_string_equal(a->text, "path: str, img: f32[1,28,28], ok: bool");
    assert_ptr_equal(a, schema(a->text));
    assert_int_equal(a->fields[1].elements, 784);
    assert_int_equal(a->fields[1].dims[2], 28);
    assert_int_equal(schema_row_bytes(a), 8 + 784 * 4 + 1);
    assert_int_equal(oxb_field(a, "ok"), 2);
    assert_int_equal(oxb_field(a, "o"), -1);
}

static void malformed_schemas_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a", "a:", "a: i65", "a: i64,", "a: i64 b: i64",
        "a: i64, a: f64", "1a: i64", "a: f32", "a: f32[]", "a: f32[0]", "a: f32[1", "a: i64[3]",
        "a: f32[1,1,1,1,1,1,1,1,1]", "a: f32[4194305]", "a: f32[4096,4096]", "a b: i64", ",",
        "a: f32[99999999999999999999]", "a: f32[4000000], b: f32[4000000]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct oxb_schema *s = NULL;
        struct fail f = {0};
        assert_int_not_equal(schema_parse(bad[i], &s, &f), ERR_OK);
        assert_null(s);
        assert_int_not_equal(f.what[0], 0);
    }
}

static void share_sees_old_values_after_the_owner_writes(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 0, 1000);
    struct batch *b = batch_share(a);
    batch_column_own(a, 0);
    ((int64_t *)a->pub.cols[0].data)[7] = -1;
    assert_int_equal(oxb_i64s(&b->pub, 0)[7], 7);
    assert_int_equal(oxb_i64s(&a->pub, 0)[7], -1);
    assert_ptr_equal(a->pub.cols[1].data, b->pub.cols[1].data); /* the rest stays shared */
    batch_free(b);
    void *before = a->pub.cols[2].data;
    batch_column_own(a, 2); /* nobody shares any more */
    assert_ptr_equal(a->pub.cols[2].data, before);
    batch_free(a);
    close_pool(p);
}

static void column_that_is_twice_in_a_view_is_copied_before_writing(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 0, 200);
    const int16_t map[] = {0, 0};
    struct batch *b = batch_project(a, schema("n: i64, m: i64"), map);
    batch_free(a);
    batch_column_own(b, 1);
    ((int64_t *)b->pub.cols[1].data)[3] = 99;
    assert_int_equal(oxb_i64s(&b->pub, 0)[3], 3);
    batch_free(b);
    close_pool(p);
}

static void projection_lets_go_of_blocks_it_does_not_use(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 0, 1000);
    const int16_t map[] = {2, -1};
    struct batch *b = batch_project(a, schema("x: f64, extra: i64"), map);
    assert_int_equal(b->buf_count, 1); /* the values, not the heap */
    assert_null(b->pub.cols[1].data);
    batch_column_new(b, 1, 0);
    memset(b->pub.cols[1].data, 0, 8000);
    batch_free(a);
    assert_true(oxb_f64s(&b->pub, 0)[4] > 0.99 && oxb_f64s(&b->pub, 0)[4] < 1.01);
    for (int i = 0; i < 20; i++) { /* blocks no column uses are dropped on the way */
        batch_column_new(b, 1, 0);
        assert_true(b->buf_count <= b->buf_capacity);
    }
    batch_free(b);
    close_pool(p);
}

static void selections_narrow_step_by_step(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 0, 10);
    const uint16_t odd[] = {1, 3, 5, 7, 9};
    const uint16_t some[] = {3, 9};
    struct batch *b = batch_select(a, odd, 5);
    assert_null(a->pub.sel);
    batch_narrow(b, some, 2);
    int64_t sum = 0;
    uint32_t n = 0;
    OXB_EACH (&b->pub, i) {
        sum += oxb_i64s(&b->pub, 0)[i];
        n++;
    }
    assert_int_equal(n, 2);
    assert_int_equal(sum, 12);
    batch_narrow(b, some, 0);
    OXB_EACH (&b->pub, i) {
        n += i + 1;
    }
    assert_int_equal(n, 2);
    uint16_t all[10];
    for (uint16_t i = 0; i < 10; i++) {
        all[i] = i;
    }
    batch_narrow(a, all, 10);
    assert_null(a->pub.sel); /* B3 */
    batch_free(a);
    batch_free(b);
    close_pool(p);
}

struct taken {
    struct batch *batches[64];
    unsigned count;
};

static void take(void *arg, struct builder *b)
{
    struct taken *t = arg;
    t->batches[t->count++] = builder_finish(b);
}

static void builder_fills_by_rows_and_by_bytes(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct taken t = {0};
    struct builder b;
    char text[700];
    memset(text, 'x', sizeof text);
    builder_init(&b, p, schema("s: str, n: i64"), take, &t);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t r = oxb_row(&b.pub);
        oxb_put_str(&b.pub, 0, r, text, sizeof text);
        oxb_put_i64(&b.pub, 1, r, i);
        oxb_commit(&b.pub);
    }
    take(&t, &b);
    int64_t next = 0;
    assert_true(t.count > 5);
    for (unsigned k = 0; k < t.count; k++) {
        struct batch *batch = t.batches[k];
        assert_true(batch_bytes(batch) <= BATCH_BYTES_SOFT + 2048);
        for (uint32_t i = 0; i < batch->pub.rows; i++) {
            assert_int_equal(oxb_i64s(&batch->pub, 1)[i], next++);
            assert_memory_equal(oxb_str_at(&batch->pub, 0, i).p, text, sizeof text);
        }
        batch_free(batch);
    }
    assert_int_equal(next, 1000);
    assert_null(builder_finish(&b));
    builder_fini(&b);
    close_pool(p);
}

static void tuple_of_one_mebibyte_goes_through(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct taken t = {0};
    struct builder b;
    uint32_t big = 1u << 20;
    char *text = mem_alloc(big);
    builder_init(&b, p, schema("s: bytes, n: i64"), take, &t);
    for (uint32_t i = 0; i < 3; i++) {
        memset(text, 'a' + (int)i, big);
        uint32_t r = oxb_row(&b.pub);
        oxb_put_str(&b.pub, 0, r, text, big);
        oxb_put_i64(&b.pub, 1, r, i);
        oxb_commit(&b.pub);
    }
    take(&t, &b);
    assert_int_equal(t.count, 3);
    for (unsigned k = 0; k < 3; k++) {
        struct oxb_str s = oxb_str_at(&t.batches[k]->pub, 0, 0);
        assert_int_equal(s.len, big);
        assert_int_equal(s.p[big - 1], 'a' + (int)k);
        batch_free(t.batches[k]);
    }
    assert_int_equal(b.tuple_bytes_over, 0);
    builder_fini(&b);
    mem_free(text);
    close_pool(p);
}

static void string_over_the_limit_is_noted(void **state)
{
    (void)state;
    struct pool *p = pool_new(0);
    struct builder b;
    builder_init(&b, p, schema("s: bytes"), NULL, NULL);
    uint32_t r = oxb_row(&b.pub);
    oxb_put_space(&b.pub, 0, r, TUPLE_BYTES_MAX + 1);
    assert_int_equal(b.tuple_bytes_over, TUPLE_BYTES_MAX + 1);
    builder_fini(&b);
    close_pool(p);
}

static void few_rows_leave_the_large_block_open(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct builder b;
    builder_init(&b, p, schema("n: i64, s: str"), NULL, NULL);
    for (int round = 0; round < 3; round++) {
        uint32_t r = oxb_row(&b.pub);
        oxb_put_i64(&b.pub, 0, r, round);
        oxb_put_str(&b.pub, 1, r, "abc", round == 1 ? 0 : 3);
        oxb_commit(&b.pub);
        void *block = b.fixed;
        struct batch *batch = builder_finish(&b);
        assert_ptr_equal(b.fixed, block);
        assert_int_equal(oxb_i64s(&batch->pub, 0)[0], round);
        assert_int_equal(oxb_str_at(&batch->pub, 1, 0).len, round == 1 ? 0 : 3);
        assert_int_equal((uintptr_t)batch->pub.cols[1].data % 64, 0);
        batch_free(batch);
    }
    builder_fini(&b);
    close_pool(p);
}

static void gather_takes_selected_rows_and_mapped_columns(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 100, 900);
    struct builder b;
    builder_init(&b, p, schema("s: str, n: i64"), NULL, NULL);
    const int16_t map[] = {1, 0};
    uint16_t sel[900];
    for (uint16_t i = 0; i < 300; i++) {
        sel[i] = (uint16_t)(i * 3);
    }
    a->pub.at_us = 77;
    assert_int_equal(builder_gather(&b, a, sel, 300, map), 300);
    assert_int_equal(builder_gather(&b, a, NULL, 900, map), 724); /* full at 1024 rows */
    struct batch *out = builder_finish(&b);
    assert_int_equal(out->pub.at_us, 77);
    for (uint32_t i = 0; i < 1024; i++) {
        int64_t want = 100 + (i < 300 ? (int64_t)i * 3 : (int64_t)i - 300);
        char text[32];
        int len = snprintf(text, sizeof text, "r%lld", (long long)want);
        assert_int_equal(oxb_i64s(&out->pub, 1)[i], want);
        assert_int_equal(oxb_str_at(&out->pub, 0, i).len, len);
        assert_memory_equal(oxb_str_at(&out->pub, 0, i).p, text, (size_t)len);
    }
    batch_free(out);
    batch_free(a);
    builder_fini(&b);
    close_pool(p);
}

static void gather_stops_when_the_heaps_are_full(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *one = numbered(p, 5, 1); /* many refs to one long string must not amplify */
    uint8_t *heap;
    batch_column_new(one, 1, 40000);
    heap = (uint8_t *)(uintptr_t)one->pub.cols[1].heap;
    memset(heap, 'y', 40000);
    ((struct oxb_ref *)one->pub.cols[1].data)[0] = (struct oxb_ref){0, 40000};
    struct builder b;
    builder_init(&b, p, one->pub.schema, NULL, NULL);
    const uint16_t same[8] = {0};
    assert_int_equal(builder_gather(&b, one, same, 8, NULL), 2);
    assert_int_equal(builder_gather(&b, one, same, 8, NULL), 0);
    batch_free(builder_finish(&b));
    batch_free(one);
    builder_fini(&b);
    close_pool(p);
}

static void equal_keys_hash_alike_wherever_they_lie(void **state)
{
    (void)state;
    struct pool *p = open_pool();
    struct batch *a = numbered(p, 0, 8);
    struct batch *b = numbered(p, 4, 8);
    const unsigned keys[] = {0, 1};
    uint64_t ha[8], hb[8], single[8];
    const uint16_t tail[] = {4, 5, 6, 7};
    batch_narrow(a, tail, 4);
    batch_hash_keys(&a->pub, keys, 2, ha);
    batch_hash_keys(&b->pub, keys, 2, hb);
    for (int i = 0; i < 4; i++) {
        assert_true(ha[i] == hb[i]);
        assert_true(ha[i] != hb[i + 4]);
    }
    batch_hash_keys(&a->pub, keys, 1, single);
    assert_true(single[0] != ha[0]);
    batch_hash_keys(&b->pub, keys, 1, hb);
    for (uint32_t i = 0; i < 8; i++) { /* R1 */
        assert_true(hb[i] == key_hash_row(&b->pub, keys, 1, i));
    }
    double *x = NULL;
    batch_column_own(b, 2);
    x = b->pub.cols[2].data;
    x[0] = 0.0;
    x[1] = -0.0;
    const unsigned f64_key[] = {2};
    batch_hash_keys(&b->pub, f64_key, 1, hb);
    assert_true(hb[0] == hb[1]);
    batch_free(a);
    batch_free(b);
    close_pool(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_blocks_are_aligned_and_come_back_last_in_first_out),
        cmocka_unit_test(pool_keeps_no_more_than_its_limit),
        cmocka_unit_test(schemas_are_interned_and_canonical),
        cmocka_unit_test(malformed_schemas_are_refused),
        cmocka_unit_test(share_sees_old_values_after_the_owner_writes),
        cmocka_unit_test(column_that_is_twice_in_a_view_is_copied_before_writing),
        cmocka_unit_test(projection_lets_go_of_blocks_it_does_not_use),
        cmocka_unit_test(selections_narrow_step_by_step),
        cmocka_unit_test(builder_fills_by_rows_and_by_bytes),
        cmocka_unit_test(tuple_of_one_mebibyte_goes_through),
        cmocka_unit_test(string_over_the_limit_is_noted),
        cmocka_unit_test(few_rows_leave_the_large_block_open),
        cmocka_unit_test(gather_takes_selected_rows_and_mapped_columns),
        cmocka_unit_test(gather_stops_when_the_heaps_are_full),
        cmocka_unit_test(equal_keys_hash_alike_wherever_they_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
