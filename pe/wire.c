/* pe/wire.c - batches as bytes between workers: columns as they lie in memory.
 *
 * Threads:    any; pure.
 * Invariants: W1 batch_decode accepts exactly what batch_encode writes: the sizes add up to the
 *                body, padding is zero, and B2 holds afterwards.
 *             W2 nothing of a body is used before it was checked.
 * Why:        checked once, at the link; measured at well under 1 ns per tuple, so no later reader
 *             needs a check.  UTF-8 is checked where text enters the system, not here.
 * See:        pe/batch.h (the layout), tests/unit/pe/wire_test.c, tests/fuzz/batch_fuzz.c */
#include "core/limits.h"
#include "pe/batch.h"

#include <assert.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "columns travel as they lie in memory: little-endian"
#endif

#define FIXED_HEAD_BYTES 24u /* rows, column_count, schema_id, at_us */
#define COLUMN_HEAD_BYTES 8u /* value_bytes, heap_bytes */

static_assert(WIRE_IOV_MAX >= 1 + 4 * FIELDS_MAX, "an entry per part of every column");

static const uint8_t zeros[8];

static size_t padded(size_t bytes);
static bool padding_is_zero(const uint8_t *p, size_t bytes);
static bool column_is_good(const struct oxb_field *f, const struct oxb_col *c, uint32_t rows);
static int iov_add(struct iovec *iov, int n, const void *p, size_t bytes);

size_t batch_wire_head_bytes(const struct oxb_schema *s)
{
    return FIXED_HEAD_BYTES + (size_t)s->field_count * COLUMN_HEAD_BYTES;
}

int batch_encode(const struct batch *b, uint8_t *head, struct iovec *iov, size_t *total)
{
    const struct oxb_schema *s = b->pub.schema;
    assert(b->pub.sel == NULL && b->pub.live == b->pub.rows);
    memcpy(head, &b->pub.rows, 4);
    memcpy(head + 4, &s->field_count, 4);
    memcpy(head + 8, &s->id, 8);
    memcpy(head + 16, &b->pub.at_us, 8);
    size_t head_bytes = batch_wire_head_bytes(s);
    size_t bytes = head_bytes;
    int n = iov_add(iov, 0, head, head_bytes);
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct oxb_col *c = &b->pub.cols[i];
        uint32_t value_bytes = type_width(&s->fields[i]) * b->pub.rows;
        uint32_t heap_bytes = type_has_heap(s->fields[i].type) ? c->heap_bytes : 0;
        uint8_t *at = head + FIXED_HEAD_BYTES + (size_t)i * COLUMN_HEAD_BYTES;
        memcpy(at, &value_bytes, 4);
        memcpy(at + 4, &heap_bytes, 4);
        n = iov_add(iov, n, c->data, value_bytes);
        n = iov_add(iov, n, zeros, padded(value_bytes) - value_bytes);
        n = iov_add(iov, n, c->heap, heap_bytes);
        n = iov_add(iov, n, zeros, padded(heap_bytes) - heap_bytes);
        bytes += padded(value_bytes) + padded(heap_bytes);
    }
    *total = bytes;
    return n;
}

enum err batch_decode(struct buf *block, size_t offset, size_t bytes,
                      const struct oxb_schema *schema, struct batch **out)
{
    enum err e = ERR_INVALID;
    struct batch *b = NULL;
    uint32_t rows, column_count;
    uint64_t schema_id;
    size_t at = batch_wire_head_bytes(schema);
    if (offset % 8 != 0 || offset > block->bytes || bytes > block->bytes - offset ||
        bytes > BATCH_BYTES_MAX || bytes < at) {
        goto release_block;
    }
    const uint8_t *body = block->data + offset;
    memcpy(&rows, body, 4);
    memcpy(&column_count, body + 4, 4);
    memcpy(&schema_id, body + 8, 8);
    if (rows == 0 || rows > BATCH_ROWS_MAX || column_count != schema->field_count ||
        schema_id != schema->id) {
        goto release_block;
    }
    b = batch_new(block->pool, schema, rows);
    memcpy(&b->pub.at_us, body + 16, 8);
    for (uint32_t i = 0; i < column_count; i++) {
        const struct oxb_field *f = &schema->fields[i];
        uint32_t value_bytes, heap_bytes;
        memcpy(&value_bytes, body + FIXED_HEAD_BYTES + (size_t)i * COLUMN_HEAD_BYTES, 4);
        memcpy(&heap_bytes, body + FIXED_HEAD_BYTES + (size_t)i * COLUMN_HEAD_BYTES + 4, 4);
        size_t whole = padded(value_bytes) + padded(heap_bytes);
        if (value_bytes != (uint64_t)type_width(f) * rows || whole > bytes - at ||
            (heap_bytes != 0 && !type_has_heap(f->type))) {
            goto free_batch;
        }
        struct oxb_col *c = &b->pub.cols[i];
        c->data = block->data + offset + at;
        c->heap = type_has_heap(f->type) ? body + at + padded(value_bytes) : NULL;
        c->heap_bytes = heap_bytes;
        if (heap_bytes == 0 && c->heap != NULL) {
            c->heap = body; /* never past the end of the block */
        }
        if (!padding_is_zero(body + at + value_bytes, padded(value_bytes) - value_bytes) ||
            !padding_is_zero(body + at + whole - (padded(heap_bytes) - heap_bytes),
                             padded(heap_bytes) - heap_bytes) ||
            !column_is_good(f, c, rows)) {
            goto free_batch;
        }
        at += whole;
    }
    if (at != bytes) {
        goto free_batch;
    }
    batch_hold(b, block);
    *out = b;
    return ERR_OK;

free_batch:
    batch_free(b);
release_block:
    buf_unref(block);
    return e;
}

static size_t padded(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

static bool padding_is_zero(const uint8_t *p, size_t bytes)
{
    return bytes == 0 || memcmp(p, zeros, bytes) == 0;
}

/* Written without early exits, so that the compiler makes vector loops of it. */
static bool column_is_good(const struct oxb_field *f, const struct oxb_col *c, uint32_t rows)
{
    uint64_t bad = 0;
    if (type_has_heap(f->type)) {
        const struct oxb_ref *refs = c->data;
        for (uint32_t i = 0; i < rows; i++) { /* B2 */
            bad |= (uint64_t)refs[i].off + refs[i].len > c->heap_bytes;
        }
    } else if (f->type == OXB_BOOL) {
        const uint8_t *v = c->data;
        for (uint32_t i = 0; i < rows; i++) {
            bad |= v[i] > 1;
        }
    }
    return bad == 0;
}

static int iov_add(struct iovec *iov, int n, const void *p, size_t bytes)
{
    if (bytes == 0) {
        return n;
    }
    iov[n].iov_base = (void *)(uintptr_t)p; /* iovec has no const; nobody writes through it */
    iov[n].iov_len = bytes;
    return n + 1;
}
