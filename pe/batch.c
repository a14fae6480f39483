/* pe/batch.c - views of shared columns: a selection and a column table over blocks.
 *
 * Owns:       struct batch; one pooled block holds its header, columns, blocks and selection.
 * Threads:    the view's holder.
 * Invariants: B1, B3 of pe/batch.h.  V1 every column with data lies in a block the view holds.
 * Why:        dropping, adding and renaming a field is a new column table, not a copy.
 * See:        tests/unit/pe/batch_test.c */
#include "pe/batch.h"

#include "core/limits.h"
#include "pe/schema.h"

#include <assert.h>

static bool lies_in(const struct buf *block, const void *p);
static void drop_unused_blocks(struct batch *b);
static uint32_t bufs_capacity(const struct oxb_schema *s);
static bool column_is_alone(const struct batch *b, unsigned field);

struct batch *batch_new(struct pool *p, const struct oxb_schema *schema, uint32_t rows)
{
    size_t cols_bytes = schema->field_count * sizeof(struct oxb_col);
    uint32_t capacity = bufs_capacity(schema);
    size_t bufs_bytes = capacity * sizeof(struct buf *);
    struct buf *block = buf_new(p, sizeof(struct batch) + cols_bytes + bufs_bytes + 2u * rows);
    uint8_t *at = block->data + sizeof(struct batch);
    struct batch *b = (struct batch *)(void *)block->data;
    *b = (struct batch){
        .pub = {.rows = rows, .live = rows, .schema = schema,
                .cols = (struct oxb_col *)(void *)at},
        .pool = p,
        .buf_capacity = capacity,
        .bufs = (struct buf **)(void *)(at + cols_bytes),
        .sel_store = (uint16_t *)(void *)(at + cols_bytes + bufs_bytes),
        .block = block,
    };
    memset(b->pub.cols, 0, cols_bytes);
    return b;
}

void batch_hold(struct batch *b, struct buf *block)
{
    if (b->buf_count == b->buf_capacity) {
        drop_unused_blocks(b);
    }
    assert(b->buf_count < b->buf_capacity); /* at most two blocks per column, see bufs_capacity */
    b->bufs[b->buf_count++] = block;
}

void batch_free(struct batch *b)
{
    if (b == NULL) {
        return;
    }
    for (uint32_t i = 0; i < b->buf_count; i++) {
        buf_unref(b->bufs[i]);
    }
    buf_unref(b->block);
}

struct batch *batch_share(const struct batch *b)
{
    struct batch *c = batch_new(b->pool, b->pub.schema, b->pub.rows);
    memcpy(c->pub.cols, b->pub.cols, b->pub.schema->field_count * sizeof *c->pub.cols);
    for (uint32_t i = 0; i < b->buf_count; i++) {
        buf_ref(b->bufs[i]);
        c->bufs[i] = b->bufs[i];
    }
    c->buf_count = b->buf_count;
    c->pub.at_us = b->pub.at_us;
    if (b->pub.sel != NULL) {
        batch_narrow(c, b->pub.sel, b->pub.live);
    }
    return c;
}

struct batch *batch_select(const struct batch *b, const uint16_t *sel, uint32_t live)
{
    struct batch *c = batch_new(b->pool, b->pub.schema, b->pub.rows);
    memcpy(c->pub.cols, b->pub.cols, b->pub.schema->field_count * sizeof *c->pub.cols);
    for (uint32_t i = 0; i < b->buf_count; i++) {
        buf_ref(b->bufs[i]);
        c->bufs[i] = b->bufs[i];
    }
    c->buf_count = b->buf_count;
    c->pub.at_us = b->pub.at_us;
    batch_narrow(c, sel, live);
    return c;
}

void batch_narrow(struct batch *b, const uint16_t *sel, uint32_t live)
{
    assert(live <= b->pub.live);
    if (live == b->pub.rows) { /* B3: ascending and complete means every row */
        b->pub.sel = NULL;
        b->pub.live = live;
        return;
    }
    if (live > 0) {
        assert(sel[live - 1] < b->pub.rows);
        memmove(b->sel_store, sel, live * sizeof *sel);
    }
    b->pub.sel = b->sel_store;
    b->pub.live = live;
}

struct batch *batch_project(const struct batch *b, const struct oxb_schema *to, const int16_t *map)
{
    struct batch *c = batch_new(b->pool, to, b->pub.rows);
    for (uint32_t i = 0; i < to->field_count; i++) {
        if (map[i] >= 0) {
            assert((uint32_t)map[i] < b->pub.schema->field_count);
            c->pub.cols[i] = b->pub.cols[map[i]];
        }
    }
    for (uint32_t k = 0; k < b->buf_count; k++) {
        for (uint32_t i = 0; i < to->field_count; i++) {
            if (lies_in(b->bufs[k], c->pub.cols[i].data) ||
                lies_in(b->bufs[k], c->pub.cols[i].heap)) {
                buf_ref(b->bufs[k]);
                batch_hold(c, b->bufs[k]);
                break;
            }
        }
    }
    c->pub.at_us = b->pub.at_us;
    if (b->pub.sel != NULL) {
        batch_narrow(c, b->pub.sel, b->pub.live);
    }
    return c;
}

void batch_column_new(struct batch *b, unsigned field, uint32_t heap_bytes)
{
    assert(field < b->pub.schema->field_count);
    const struct oxb_field *f = &b->pub.schema->fields[field];
    bool has_heap = type_has_heap(f->type);
    assert(has_heap || heap_bytes == 0);
    size_t values = ((size_t)type_width(f) * b->pub.rows + 63) & ~(size_t)63;
    b->pub.cols[field] = (struct oxb_col){0}; /* what it was is not counted as used any more */
    struct buf *block = buf_new(b->pool, values + heap_bytes + (has_heap ? 1 : 0));
    batch_hold(b, block);
    b->pub.cols[field] = (struct oxb_col){
        .data = block->data,
        .heap = has_heap ? block->data + values : NULL,
        .heap_bytes = heap_bytes,
    };
}

void batch_column_own(struct batch *b, unsigned field)
{
    if (column_is_alone(b, field)) {
        return;
    }
    struct oxb_col old = b->pub.cols[field];
    const struct oxb_field *f = &b->pub.schema->fields[field];
    size_t values = (size_t)type_width(f) * b->pub.rows;
    struct buf *block = buf_new(b->pool, values);
    memcpy(block->data, old.data, values);
    b->pub.cols[field].data = block->data; /* a heap is only read, so it stays shared */
    batch_hold(b, block);
}

size_t batch_bytes(const struct batch *b)
{
    const struct schema *s = schema_of(b->pub.schema);
    size_t bytes = (size_t)s->row_bytes * b->pub.live;
    uint64_t heap_bytes = 0;
    for (uint32_t i = 0; s->heap_count > 0 && i < s->pub.field_count; i++) {
        heap_bytes += b->pub.cols[i].heap_bytes;
    }
    if (b->pub.live < b->pub.rows && heap_bytes > 0) { /* a division: only where it matters */
        heap_bytes = heap_bytes * b->pub.live / b->pub.rows;
    }
    return bytes + heap_bytes;
}

static uint32_t bufs_capacity(const struct oxb_schema *s)
{
    return 2 * s->field_count + 1; /* each column: its values and its heap; one in the making */
}

static bool lies_in(const struct buf *block, const void *p)
{
    return p != NULL && (const uint8_t *)p >= block->data &&
           (const uint8_t *)p < block->data + block->bytes;
}

static void drop_unused_blocks(struct batch *b)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < b->buf_count; k++) {
        struct buf *block = b->bufs[k];
        bool used = false;
        for (uint32_t i = 0; i < b->pub.schema->field_count && !used; i++) {
            used = lies_in(block, b->pub.cols[i].data) || lies_in(block, b->pub.cols[i].heap);
        }
        if (used) {
            b->bufs[kept++] = block;
        } else {
            buf_unref(block);
        }
    }
    b->buf_count = kept;
}

/* Is the column's block held by this view alone, and the column not in the table twice?  A second
 * reference of this view itself (after a projection that repeats a column) counts as sharing. */
static bool column_is_alone(const struct batch *b, unsigned field)
{
    const void *data = b->pub.cols[field].data;
    for (uint32_t i = 0; i < b->pub.schema->field_count; i++) {
        if (i != field && b->pub.cols[i].data == data) {
            return false;
        }
    }
    for (uint32_t k = 0; k < b->buf_count; k++) {
        if (lies_in(b->bufs[k], data)) {
            return atomic_load_explicit(&b->bufs[k]->refs, memory_order_acquire) == 1; /* B1 */
        }
    }
    return false;
}
