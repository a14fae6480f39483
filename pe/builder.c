/* pe/builder.c - an open batch: rows appended by column until it is full.
 *
 * Owns:       struct builder: one block for all values, one per heap.
 * Threads:    the builder's holder.
 * Invariants: D1 while open, rows <= rows_max <= BATCH_ROWS_MAX.  D2 refs end at heap_used.
 * Why:        columns start a cache line apart from a multiple of 4 KiB, so that a row's cells do
 *             not share a cache set; a batch of few rows is copied out of the large block, so that
 *             light load does not pin full blocks in the rings.
 * See:        pe/pe.h (oxb_row, oxb_put_*), tests/unit/pe/builder_test.c */
#include "core/limits.h"
#include "core/mem.h"
#include "pe/batch.h"
#include "pe/schema.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_BYTES 64u
#define HEAP_BYTES_MIN 512u
#define COMPACT_SHARE 8u /* a batch below this share of its block is copied into a small one */

static size_t line_after(size_t at);   /* rounded up to a cache line */
static size_t column_start(size_t at); /* where the next column begins: aligned, staggered */
static void heap_grow(struct builder *b, unsigned field, uint64_t need);
static struct batch *finish_compact(struct builder *b, size_t bytes);
static struct batch *finish_whole(struct builder *b);
static uint32_t rows_that_fit(const struct builder *to, const struct batch *b,
                              const uint16_t *sel, uint32_t n, const int16_t *map);
static void gather_values(void *to, const void *from, uint32_t width, const uint16_t *sel,
                          uint32_t n);
static void gather_refs(struct builder *to, unsigned field, const struct oxb_col *from,
                        const uint16_t *sel, uint32_t n);

void builder_init(struct builder *b, struct pool *p, const struct oxb_schema *schema,
                  void (*on_full)(void *arg, struct builder *b), void *arg)
{
    const struct schema *s = schema_of(schema);
    uint32_t fields = schema->field_count;
    size_t fixed_max = s->heap_count > 0 ? BATCH_BYTES_SOFT / 4 * 3 : BATCH_BYTES_SOFT;
    size_t rows = fixed_max / (s->row_bytes > 0 ? s->row_bytes : 1);
    rows = rows < 1 ? 1 : rows > BATCH_ROWS_MAX ? BATCH_ROWS_MAX : rows;
    size_t used = rows * s->row_bytes;
    *b = (struct builder){
        .pool = p,
        .schema = schema,
        .on_full = on_full,
        .arg = arg,
        .rows_limit = (uint32_t)rows,
        .heap_limit = (uint32_t)(used + BATCH_BYTES_SOFT / 4 < BATCH_BYTES_SOFT
                                     ? BATCH_BYTES_SOFT - used
                                     : BATCH_BYTES_SOFT / 4),
    };
    b->pub.field_count = fields;
    b->pub.cols = mem_array(fields, sizeof *b->pub.cols);
    b->heaps = mem_array(fields, sizeof(struct buf *));
    b->heap_hint = mem_array(fields, sizeof *b->heap_hint);
    for (uint32_t i = 0; i < fields; i++) {
        b->block_bytes =
            column_start(b->block_bytes) + (size_t)type_width(&schema->fields[i]) * rows;
    }
}

void builder_fini(struct builder *b)
{
    if (b->schema == NULL) {
        return;
    }
    for (uint32_t i = 0; i < b->pub.field_count; i++) {
        buf_unref(b->heaps[i]);
    }
    buf_unref(b->fixed);
    mem_free(b->pub.cols);
    mem_free(b->heaps);
    mem_free(b->heap_hint);
    *b = (struct builder){0};
}

void builder_open(struct builder *b)
{
    if (b->fixed != NULL) {
        return;
    }
    b->fixed = buf_new(b->pool, b->block_bytes);
    size_t at = 0;
    for (uint32_t i = 0; i < b->pub.field_count; i++) {
        struct oxb_wcol *c = &b->pub.cols[i];
        const struct oxb_field *f = &b->schema->fields[i];
        at = column_start(at);
        *c = (struct oxb_wcol){.data = b->fixed->data + at};
        at += (size_t)type_width(f) * b->rows_limit;
        if (type_has_heap(f->type)) {
            uint32_t hint = b->heap_hint[i];
            b->heaps[i] = buf_new(b->pool, hint > HEAP_BYTES_MIN ? hint : HEAP_BYTES_MIN);
            c->heap = b->heaps[i]->data;
            c->heap_max = (uint32_t)b->heaps[i]->bytes;
        }
    }
    b->pub.rows = 0;
    b->pub.rows_max = b->rows_limit;
    b->pub.heap_left = b->heap_limit;
}

struct batch *builder_finish(struct builder *b)
{
    if (b->fixed == NULL || b->pub.rows == 0) {
        return NULL;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < b->pub.field_count; i++) {
        bytes = line_after(bytes) + (size_t)type_width(&b->schema->fields[i]) * b->pub.rows;
        bytes += b->pub.cols[i].heap_used;
    }
    if (bytes > BATCH_BYTES_MAX && bytes > b->tuple_bytes_over) {
        b->tuple_bytes_over = bytes;
    }
    bool small = bytes * COMPACT_SHARE <= b->block_bytes;
    struct batch *out = small ? finish_compact(b, bytes) : finish_whole(b);
    out->pub.at_us = b->at_us;
    b->at_us = 0;
    b->pub.rows = 0;
    return out;
}

void oxb_writer_flush(struct oxb_writer *w)
{
    struct builder *b = (struct builder *)w;
    if (w->rows > 0 && b->on_full != NULL) {
        b->on_full(b->arg, b);
    }
    assert(w->rows == 0 && "on_full takes the batch");
    builder_open(b);
}

void oxb_writer_heap(struct oxb_writer *w, unsigned field, uint32_t more)
{
    struct builder *b = (struct builder *)w;
    struct oxb_wcol *c = &w->cols[field];
    uint64_t need = (uint64_t)c->heap_used + more;
    if (need > UINT32_MAX) {
        fprintf(stderr, "error: the strings of one batch reach 4 GiB; field `%s`\n",
                b->schema->fields[field].name);
        abort();
    }
    if (more > TUPLE_BYTES_MAX && more > b->tuple_bytes_over) {
        b->tuple_bytes_over = more; /* the owner turns this into an error, see emit.c */
    }
    heap_grow(b, field, need);
}

static void heap_grow(struct builder *b, unsigned field, uint64_t need)
{
    struct oxb_wcol *c = &b->pub.cols[field];
    uint64_t size = (uint64_t)c->heap_max * 2;
    if (size < need) {
        size = need;
    }
    struct buf *bigger = buf_new(b->pool, size);
    memcpy(bigger->data, c->heap, c->heap_used);
    buf_unref(b->heaps[field]);
    b->heaps[field] = bigger;
    c->heap = bigger->data;
    c->heap_max = bigger->bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bigger->bytes;
}

uint32_t builder_gather(struct builder *to, const struct batch *b, const uint16_t *sel, uint32_t n,
                        const int16_t *map)
{
    builder_open(to);
    assert(map != NULL || b->pub.schema == to->schema);
    n = rows_that_fit(to, b, sel, n, map);
    if (n == 0) {
        return 0;
    }
    uint32_t at = to->pub.rows;
    for (uint32_t i = 0; i < to->pub.field_count; i++) {
        const struct oxb_field *f = &to->schema->fields[i];
        const struct oxb_col *from = &b->pub.cols[map != NULL ? map[i] : (int)i];
        if (type_has_heap(f->type)) {
            gather_refs(to, i, from, sel, n);
        } else {
            uint32_t width = type_width(f);
            gather_values((uint8_t *)to->pub.cols[i].data + (size_t)at * width, from->data, width,
                          sel, n);
        }
    }
    to->pub.rows += n;
    int64_t at_us = b->pub.at_us;
    if (to->at_us == 0 || (at_us != 0 && at_us < to->at_us)) {
        to->at_us = at_us;
    }
    return n;
}

static size_t line_after(size_t at)
{
    return (at + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
}

static size_t column_start(size_t at)
{
    return line_after(at) + LINE_BYTES;
}

static struct batch *finish_whole(struct builder *b)
{
    struct batch *out = batch_new(b->pool, b->schema, b->pub.rows);
    batch_hold(out, b->fixed);
    b->fixed = NULL;
    for (uint32_t i = 0; i < b->pub.field_count; i++) {
        struct oxb_wcol *c = &b->pub.cols[i];
        out->pub.cols[i] =
            (struct oxb_col){.data = c->data, .heap = c->heap, .heap_bytes = c->heap_used};
        if (b->heaps[i] != NULL) {
            batch_hold(out, b->heaps[i]);
            b->heaps[i] = NULL;
            b->heap_hint[i] = c->heap_used + c->heap_used / 8;
            if (b->heap_hint[i] > BATCH_BYTES_SOFT) {
                b->heap_hint[i] = BATCH_BYTES_SOFT;
            }
        }
        *c = (struct oxb_wcol){0};
    }
    b->pub.rows_max = 0; /* the next oxb_row opens a new block */
    b->pub.heap_left = 0;
    return out;
}

static struct batch *finish_compact(struct builder *b, size_t bytes)
{
    uint32_t rows = b->pub.rows;
    struct batch *out = batch_new(b->pool, b->schema, rows);
    struct buf *block = buf_new(b->pool, bytes);
    batch_hold(out, block);
    size_t at = 0;
    for (uint32_t i = 0; i < b->pub.field_count; i++) {
        struct oxb_wcol *c = &b->pub.cols[i];
        size_t values = (size_t)type_width(&b->schema->fields[i]) * rows;
        at = line_after(at);
        out->pub.cols[i].data = block->data + at;
        memcpy(block->data + at, c->data, values);
        at += values;
        if (b->heaps[i] != NULL) {
            out->pub.cols[i].heap = c->heap_used > 0 ? block->data + at : block->data;
            out->pub.cols[i].heap_bytes = c->heap_used;
            memcpy(block->data + at, c->heap, c->heap_used);
            at += c->heap_used;
            c->heap_used = 0;
        }
    }
    b->pub.heap_left = b->heap_limit;
    return out;
}

static uint32_t rows_that_fit(const struct builder *to, const struct batch *b,
                              const uint16_t *sel, uint32_t n, const int16_t *map)
{
    uint32_t room = to->pub.rows_max - to->pub.rows;
    n = n < room ? n : room;
    if (schema_of(to->schema)->heap_count == 0) {
        return n;
    }
    uint64_t left = to->pub.heap_left; /* as in oxb_row: full when it reaches 0 */
    uint32_t k = 0;
    while (k < n && left > 0) {
        uint32_t row = sel != NULL ? sel[k] : k;
        for (uint32_t i = 0; i < to->pub.field_count; i++) {
            if (to->heaps[i] != NULL) {
                const struct oxb_col *c = &b->pub.cols[map != NULL ? map[i] : (int)i];
                uint32_t len = ((const struct oxb_ref *)c->data)[row].len;
                left = len < left ? left - len : 0;
            }
        }
        k++;
    }
    return k;
}

static void gather_values(void *to, const void *from, uint32_t width, const uint16_t *sel,
                          uint32_t n)
{
    if (sel == NULL) {
        memcpy(to, from, (size_t)width * n);
    } else if (width == 8) {
        for (uint32_t k = 0; k < n; k++) {
            memcpy((uint8_t *)to + 8u * k, (const uint8_t *)from + 8u * sel[k], 8);
        }
    } else if (width == 1) {
        for (uint32_t k = 0; k < n; k++) {
            ((uint8_t *)to)[k] = ((const uint8_t *)from)[sel[k]];
        }
    } else {
        for (uint32_t k = 0; k < n; k++) {
            memcpy((uint8_t *)to + (size_t)k * width,
                   (const uint8_t *)from + (size_t)sel[k] * width, width);
        }
    }
}

static void gather_refs(struct builder *to, unsigned field, const struct oxb_col *from,
                        const uint16_t *sel, uint32_t n)
{
    struct oxb_writer *w = &to->pub;
    const struct oxb_ref *refs = from->data;
    uint64_t sum = 0;
    for (uint32_t k = 0; k < n; k++) {
        sum += refs[sel != NULL ? sel[k] : k].len;
    }
    struct oxb_wcol *c = &w->cols[field];
    if (sum > c->heap_max - c->heap_used) {
        assert(sum <= BATCH_BYTES_SOFT + (uint64_t)BATCH_BYTES_MAX); /* by rows_that_fit */
        heap_grow(to, field, c->heap_used + sum);
    }
    struct oxb_ref *out = (struct oxb_ref *)c->data + w->rows;
    uint8_t *heap = c->heap;
    uint32_t used = c->heap_used;
    for (uint32_t k = 0; k < n; k++) {
        struct oxb_ref r = refs[sel != NULL ? sel[k] : k];
        if (r.len <= 16 && from->heap_bytes - r.off >= 16 && c->heap_max - used >= 16) {
            memcpy(heap + used, from->heap + r.off, 16); /* of fixed size: no call */
        } else {
            memcpy(heap + used, from->heap + r.off, r.len);
        }
        out[k] = (struct oxb_ref){used, r.len};
        used += r.len;
    }
    c->heap_used = used;
    w->heap_left = sum < w->heap_left ? w->heap_left - (uint32_t)sum : 0;
}
