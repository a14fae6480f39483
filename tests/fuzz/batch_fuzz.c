/* tests/fuzz/batch_fuzz.c - hostile bytes into the two decoders of the data plane.
 *
 * Goal:   batch_decode and row_parse_json never read outside what they were given, and whatever
 *         they accept can be read, gathered, encoded and decoded again.
 * Method: libFuzzer; the first byte picks the decoder.  The schema id and the sizes of a frame are
 *         written in by half of the inputs, or no mutation would get past them. */
#include "core/limits.h"
#include "core/strbuf.h"
#include "pe/batch.h"

#include <assert.h>
#include <stdlib.h>

#define SCHEMA "a: i64, b: f64, c: bool, d: str, e: bytes, f: time, g: f32[3]"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_batch(struct pool *p, struct batch *b)
{
    struct strbuf text = {0};
    for (uint32_t i = 0; i < b->pub.rows && i < 16; i++) {
        batch_json_row(&b->pub, i, &text);
        batch_tsv_row(&b->pub, i, &text);
    }
    strbuf_fini(&text);
    const unsigned keys[] = {0, 1, 2, 3, 4, 5};
    uint64_t hashes[BATCH_ROWS_MAX];
    batch_hash_keys(&b->pub, keys, 6, hashes);
    struct builder to;
    builder_init(&to, p, b->pub.schema, NULL, NULL);
    uint16_t sel[BATCH_ROWS_MAX];
    for (uint32_t i = 0; i < b->pub.rows; i++) {
        sel[i] = (uint16_t)i;
    }
    assert(builder_gather(&to, b, sel, b->pub.rows, NULL) > 0);
    batch_free(builder_finish(&to));
    builder_fini(&to);
}

static void fuzz_frame(struct pool *p, const struct oxb_schema *s, const uint8_t *data, size_t size,
                       bool mend)
{
    struct buf *block = buf_new(p, size + 8);
    size_t offset = (block->bytes - size) & ~(size_t)7;
    uint8_t *body = block->data + offset;
    memcpy(body, data, size);
    if (mend && size >= batch_wire_head_bytes(s)) {
        uint32_t rows = 1 + body[0] % 5u;
        memcpy(body, &rows, 4);
        memcpy(body + 4, &s->field_count, 4);
        memcpy(body + 8, &s->id, 8);
        for (uint32_t i = 0; i < s->field_count; i++) {
            uint32_t value_bytes = type_width(&s->fields[i]) * rows;
            memcpy(body + 24 + 8 * i, &value_bytes, 4);
        }
    }
    struct batch *b = NULL;
    if (batch_decode(block, offset, size, s, &b) == ERR_OK) {
        read_batch(p, b);
        batch_free(b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct pool *p = pool_new(0);
    const struct oxb_schema *s = NULL;
    if (schema_parse(SCHEMA, &s, NULL) != ERR_OK) {
        abort();
    }
    if (data[0] % 3 < 2) {
        fuzz_frame(p, s, data + 1, size - 1, data[0] % 3 == 1);
    } else {
        struct builder b;
        builder_init(&b, p, s, NULL, NULL);
        if (row_parse_json(&b, (const char *)data + 1, size - 1, NULL) == ERR_OK) {
            struct batch *batch = builder_finish(&b);
            read_batch(p, batch);
            batch_free(batch);
        }
        builder_fini(&b);
    }
    assert(pool_bytes_used(p) == 0);
    pool_free(p);
    return 0;
}
