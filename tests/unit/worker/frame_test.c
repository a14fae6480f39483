/* tests/unit/worker/frame_test.c - items of a channel to bytes and back.
 *
 * Goal:   what was encoded is what is decoded; every truncation, every changed bit and every head
 *         that cannot be true is refused.
 * Method: frames flattened into memory of their exact size, so that a read beyond it is found under
 *         SAN=address; bits flipped one by one in small frames, at random in large ones. */
#include "core/hash.h"
#include "core/mem.h"
#include "core/prng.h"
#include "tests/support/ends.h"
#include "worker/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { KEYS = 50 };

/* The frame's bytes, in memory of that size.  Caller frees. */
static uint8_t *flatten(const struct frame *f)
{
    uint8_t *bytes = mem_alloc(f->bytes);
    size_t at = 0;
    for (int k = 0; k < f->piece_count; k++) {
        memcpy(bytes + at, f->pieces[k].iov_base, f->pieces[k].iov_len);
        at += f->pieces[k].iov_len;
    }
    assert_int_equal(at, f->bytes);
    return bytes;
}

static struct frame *data_frame(struct pool *p, uint32_t rows)
{
    struct item it = {.kind = ITEM_BATCH, .count = rows, .first = 1000,
                      .batch = ends_batch(p, 1000, rows, KEYS, false)};
    return frame_new(42, 17, &it);
}

static enum err decode(struct pool *p, const uint8_t *body, size_t bytes, struct item_head *head,
                       struct batch **out)
{
    enum err e = frame_check_item(body, bytes, head);
    if (e != ERR_OK || head->item != ITEM_BATCH) {
        return e;
    }
    struct buf *block = buf_new(p, bytes);
    memcpy(block->data, body, bytes);
    return batch_decode(block, sizeof *head, bytes - sizeof *head, ends_schema(), out);
}

static void a_batch_comes_back_as_it_went(void **state)
{
    (void)state;
    struct pool *p = pool_new(1 << 20);
    for (uint32_t rows = 1; rows <= BATCH_ROWS_MAX; rows = rows * 2 + rows % 3) {
        rows = rows < BATCH_ROWS_MAX ? rows : BATCH_ROWS_MAX;
        struct frame *f = data_frame(p, rows);
        uint8_t *bytes = flatten(f);
        struct frame_head outer;
        memcpy(&outer, bytes, sizeof outer);
        assert_int_equal(outer.body_bytes, f->bytes - sizeof outer);
        assert_int_equal(outer.kind, FRAME_ITEM);
        struct item_head head;
        struct batch *b = NULL;
        assert_int_equal(decode(p, bytes + sizeof outer, outer.body_bytes, &head, &b), ERR_OK);
        assert_int_equal(head.channel, 42);
        assert_int_equal(head.number, 17);
        assert_int_equal(head.first, 1000);
        assert_int_equal(head.count, rows);
        assert_int_equal(b->pub.live, rows);
        ends_check(b, KEYS);
        for (uint32_t i = 0; i < rows; i++) {
            assert_int_equal(oxb_i64s(&b->pub, 0)[i], 1000 + i);
        }
        batch_free(b);
        mem_free(bytes);
        frame_free(f);
    }
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

static void markers_and_ends_come_back_as_they_went(void **state)
{
    (void)state;
    for (enum item_kind kind = ITEM_MARKER_CHECKPOINT; kind <= ITEM_CLOSE; kind++) {
        struct item it = {.kind = kind, .first = 12345, .epoch = 678};
        struct frame *f = frame_new(9, 3, &it);
        uint8_t *bytes = flatten(f);
        struct item_head head;
        assert_int_equal(frame_check_item(bytes + 8, f->bytes - 8, &head), ERR_OK);
        assert_int_equal(head.item, kind);
        assert_int_equal(head.first, 12345);
        assert_int_equal(head.epoch, 678);
        assert_int_equal(head.channel, 9);
        mem_free(bytes);
        frame_free(f);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct pool *p = pool_new(1 << 20);
    struct frame *f = data_frame(p, 20);
    uint8_t *bytes = flatten(f);
    size_t body = f->bytes - 8;
    for (size_t n = 0; n < body; n++) {
        uint8_t *part = mem_alloc(n > 0 ? n : 1);
        memcpy(part, bytes + 8, n);
        struct item_head head;
        assert_int_not_equal(frame_check_item(part, n, &head), ERR_OK);
        mem_free(part);
    }
    mem_free(bytes);
    frame_free(f);
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

static void every_changed_bit_is_found(void **state)
{
    (void)state;
    struct pool *p = pool_new(1 << 20);
    struct frame *f = data_frame(p, 20);
    uint8_t *bytes = flatten(f);
    size_t body = f->bytes - 8;
    struct item_head head;
    for (size_t bit = 0; bit < body * 8; bit++) {
        bytes[8 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(frame_check_item(bytes + 8, body, &head), ERR_OK);
        bytes[8 + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(frame_check_item(bytes + 8, body, &head), ERR_OK);
    mem_free(bytes);
    frame_free(f);
    pool_free(p);
}

/* What a hostile peer sends has a good check sum. */
static void seal(uint8_t *body, size_t bytes)
{
    uint64_t check = hash_bytes(body + 8, bytes - 8);
    memcpy(body, &check, sizeof check);
}

static void a_head_that_cannot_be_true_is_refused_though_sealed(void **state)
{
    (void)state;
    struct pool *p = pool_new(1 << 20);
    struct frame *f = data_frame(p, 20);
    uint8_t *bytes = flatten(f), *body = bytes + 8;
    size_t n = f->bytes - 8;
    struct item_head good, bad, out;
    memcpy(&good, body, sizeof good);
    static const struct {
        uint32_t item, count;
        bool cut; /* to the head alone */
    } lies[] = {{0, 20, false},          {ITEM_CLOSE + 1, 20, false}, {UINT32_MAX, 20, false},
                {ITEM_BATCH, 0, false},  {ITEM_BATCH, BATCH_ROWS_MAX + 1, false},
                {ITEM_BATCH, 20, true},  {ITEM_END, 0, false},        {ITEM_END, 1, true},
                {ITEM_MARKER_SWITCH, 5, false}};
    for (size_t k = 0; k < sizeof lies / sizeof lies[0]; k++) {
        bad = good;
        bad.item = lies[k].item;
        bad.count = lies[k].count;
        memcpy(body, &bad, sizeof bad);
        size_t bytes_used = lies[k].cut ? sizeof bad : n;
        seal(body, bytes_used);
        assert_int_equal(frame_check_item(body, bytes_used, &out), ERR_INVALID);
    }
    mem_free(bytes);
    frame_free(f);
    pool_free(p);
}

static void sealed_damage_never_decodes_to_something_unsafe(void **state)
{
    (void)state;
    struct pool *p = pool_new(1 << 20);
    struct prng g = {1};
    struct frame *f = data_frame(p, 20);
    uint8_t *bytes = flatten(f), *body = bytes + 8;
    size_t n = f->bytes - 8;
    uint8_t *good = mem_alloc(n);
    memcpy(good, body, n);
    for (unsigned k = 0; k < 20000; k++) {
        memcpy(body, good, n);
        for (uint64_t flips = 1 + prng_below(&g, 4); flips > 0; flips--) {
            body[8 + prng_below(&g, n - 8)] ^= (uint8_t)(1u << prng_below(&g, 8));
        }
        seal(body, n);
        struct item_head head;
        struct batch *b = NULL;
        if (decode(p, body, n, &head, &b) == ERR_OK && b != NULL) {
            uint64_t sum = 0;
            OXB_EACH (&b->pub, i) { /* every byte it names can be read */
                struct oxb_str name = oxb_str_at(&b->pub, 2, i);
                for (uint32_t at = 0; at < name.len; at++) {
                    sum += (uint8_t)name.p[at];
                }
            }
            assert_true(sum < UINT64_MAX);
            batch_free(b);
        }
    }
    mem_free(good);
    mem_free(bytes);
    frame_free(f);
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_comes_back_as_it_went),
        cmocka_unit_test(markers_and_ends_come_back_as_they_went),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_bit_is_found),
        cmocka_unit_test(a_head_that_cannot_be_true_is_refused_though_sealed),
        cmocka_unit_test(sealed_damage_never_decodes_to_something_unsafe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
