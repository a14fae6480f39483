/* tests/unit/pe/wire_test.c - batches as bytes, and hostile bytes.
 *
 * Goal:   what is encoded decodes to equal rows; every truncation is refused, and no flipped byte
 *         makes the decoder or a reader of its result leave the block.
 * Method: a small frame with every type; each decode into a block of exactly its size, so that
 *         ASan sees one byte too many. */
#include "core/strbuf.h"
#include "pe/batch.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ALL "a: i64, b: f64, c: bool, d: str, e: bytes, f: time, g: f32[3]"

struct frame {
    uint8_t bytes[4096];
    size_t total;
};

static const struct oxb_schema *all_types(void)
{
    const struct oxb_schema *s = NULL;
    assert_int_equal(schema_parse(ALL, &s, NULL), ERR_OK);
    return s;
}

static void encode_rows(struct pool *p, struct frame *frame, struct strbuf *json)
{
    static const char *const lines[] = {
        "{\"a\":1,\"b\":0.5,\"c\":true,\"d\":\"hello\",\"e\":\"AAEC\",\"f\":1000000,"
        "\"g\":[1,2,3]}",
        "{\"a\":-2,\"b\":1e300,\"c\":false,\"d\":\"\",\"e\":\"\",\"f\":-1,\"g\":[0,0.25,-1]}",
        "{\"a\":3,\"b\":-0.1,\"c\":true,\"d\":\"w\\u00f6rld\",\"e\":\"/w==\",\"f\":0,"
        "\"g\":[7,8,9]}",
    };
    struct builder b;
    builder_init(&b, p, all_types(), NULL, NULL);
    for (int i = 0; i < 3; i++) {
        struct fail f = {0};
        assert_int_equal(row_parse_json(&b, lines[i], strlen(lines[i]), &f), ERR_OK);
    }
    b.at_us = 123;
    struct batch *batch = builder_finish(&b);
    uint8_t head[256];
    struct iovec iov[WIRE_IOV_MAX];
    int n = batch_encode(batch, head, iov, &frame->total);
    assert_true(frame->total <= sizeof frame->bytes && frame->total % 8 == 0);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        memcpy(frame->bytes + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_int_equal(at, frame->total);
    for (uint32_t i = 0; i < 3; i++) {
        batch_json_row(&batch->pub, i, json);
    }
    batch_free(batch);
    builder_fini(&b);
}

static enum err decode(struct pool *p, const uint8_t *bytes, size_t count, struct batch **out)
{
    struct buf *block = buf_new(p, count + 8);
    size_t offset = (block->bytes - count) & ~(size_t)7; /* as near to the end as it can lie */
    memcpy(block->data + offset, bytes, count);
    return batch_decode(block, offset, count, all_types(), out);
}

static void read_everything(struct batch *b)
{
    struct strbuf text = {0};
    for (uint32_t i = 0; i < b->pub.rows; i++) {
        batch_json_row(&b->pub, i, &text);
        batch_tsv_row(&b->pub, i, &text);
    }
    strbuf_fini(&text);
}

static void rows_survive_the_wire(void **state)
{
    (void)state;
    struct pool *p = pool_new(1u << 20);
    struct frame frame;
    struct strbuf before = {0}, after = {0};
    encode_rows(p, &frame, &before);
    struct batch *b = NULL;
    assert_int_equal(decode(p, frame.bytes, frame.total, &b), ERR_OK);
    assert_int_equal(b->pub.rows, 3);
    assert_int_equal(b->pub.at_us, 123);
    for (uint32_t i = 0; i < 3; i++) {
        batch_json_row(&b->pub, i, &after);
    }
    assert_string_equal(strbuf_text(&before), strbuf_text(&after));
    batch_column_own(b, 0); /* sole owner of the block: in place */
    batch_free(b);
    strbuf_fini(&before);
    strbuf_fini(&after);
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

static void every_truncation_and_extension_is_refused(void **state)
{
    (void)state;
    struct pool *p = pool_new(0);
    struct frame frame = {.total = 0};
    struct strbuf json = {0};
    encode_rows(p, &frame, &json);
    struct batch *b = NULL;
    for (size_t n = 0; n < frame.total; n++) {
        assert_int_equal(decode(p, frame.bytes, n, &b), ERR_INVALID);
    }
    assert_int_equal(decode(p, frame.bytes, frame.total + 8, &b), ERR_INVALID);
    assert_null(b);
    strbuf_fini(&json);
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

static void no_flipped_byte_leads_out_of_the_block(void **state)
{
    (void)state;
    struct pool *p = pool_new(0);
    struct frame frame;
    struct strbuf json = {0};
    encode_rows(p, &frame, &json);
    unsigned refused = 0;
    static const uint8_t flips[] = {0x01, 0x02, 0x10, 0x7f, 0x80, 0xff};
    for (size_t n = 0; n < frame.total; n++) {
        for (size_t k = 0; k < sizeof flips; k++) {
            struct batch *b = NULL;
            frame.bytes[n] ^= flips[k];
            if (decode(p, frame.bytes, frame.total, &b) == ERR_OK) {
                read_everything(b);
                batch_free(b);
            } else {
                refused++;
            }
            frame.bytes[n] ^= flips[k];
        }
    }
    assert_true(refused > 300);
    strbuf_fini(&json);
    assert_int_equal(pool_bytes_used(p), 0);
    pool_free(p);
}

static void misaligned_body_is_refused(void **state)
{
    (void)state;
    struct pool *p = pool_new(0);
    struct frame frame;
    struct strbuf json = {0};
    encode_rows(p, &frame, &json);
    struct buf *block = buf_new(p, frame.total + 8);
    memcpy(block->data + 4, frame.bytes, frame.total);
    struct batch *b = NULL;
    assert_int_equal(batch_decode(block, 4, frame.total, all_types(), &b), ERR_INVALID);
    strbuf_fini(&json);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_survive_the_wire),
        cmocka_unit_test(every_truncation_and_extension_is_refused),
        cmocka_unit_test(no_flipped_byte_leads_out_of_the_block),
        cmocka_unit_test(misaligned_body_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
