/* pe/const.c - columns filled once with a constant, shared by any number of batches.
 *
 * Owns:       struct oxb_const; each lives as long as its instance.
 * Threads:    the instance's; the blocks are shared by reference count.
 * Invariants: C1 a constant's blocks keep one reference here, so no view may write them in place.
 * See:        pe/pe.h (oxb_set_column), tests/unit/pe/emit_test.c */
#include "core/mem.h"
#include "pe/instance.h"

#include <assert.h>

struct oxb_const {
    struct oxb_const *next;
    enum oxb_type type;    /* OXB_STR stands for bytes, OXB_I64 for time, too */
    struct buf *block;     /* BATCH_ROWS_MAX values, then the heap */
    uint32_t heap_bytes;
    uint32_t heap_at;
};

static struct oxb_const *const_new(struct oxb_pe *pe, enum oxb_type type, const void *value,
                                   uint32_t width, uint32_t heap_bytes);

struct oxb_const *oxb_const_i64(struct oxb_pe *pe, int64_t value)
{
    return const_new(pe, OXB_I64, &value, sizeof value, 0);
}

struct oxb_const *oxb_const_f64(struct oxb_pe *pe, double value)
{
    return const_new(pe, OXB_F64, &value, sizeof value, 0);
}

struct oxb_const *oxb_const_bool(struct oxb_pe *pe, bool value)
{
    uint8_t byte = value ? 1 : 0;
    return const_new(pe, OXB_BOOL, &byte, 1, 0);
}

struct oxb_const *oxb_const_str(struct oxb_pe *pe, const char *p, uint32_t len)
{
    struct oxb_ref ref = {0, len};
    struct oxb_const *c = const_new(pe, OXB_STR, &ref, sizeof ref, len);
    memcpy(c->block->data + c->heap_at, p, len);
    return c;
}

void oxb_set_column(struct oxb_pe *pe, struct oxb_batch *b, unsigned field, struct oxb_const *c)
{
    assert(field < b->schema->field_count);
    enum oxb_type t = b->schema->fields[field].type;
    t = t == OXB_TIME ? OXB_I64 : t == OXB_BYTES ? OXB_STR : t;
    if (t != c->type) {
        oxb_fail(pe, "the field `%s` was set to a constant of another type",
                 b->schema->fields[field].name);
        return;
    }
    emit_before_change(batch_of(b));
    b->cols[field] = (struct oxb_col){0};
    buf_ref(c->block);
    batch_hold(batch_of(b), c->block);
    b->cols[field] = (struct oxb_col){
        .data = c->block->data,
        .heap = c->type == OXB_STR ? c->block->data + c->heap_at : NULL,
        .heap_bytes = c->heap_bytes,
    };
}

void consts_free(struct oxb_pe *pe)
{
    while (pe->consts != NULL) {
        struct oxb_const *next = pe->consts->next;
        buf_unref(pe->consts->block);
        mem_free(pe->consts);
        pe->consts = next;
    }
}

static struct oxb_const *const_new(struct oxb_pe *pe, enum oxb_type type, const void *value,
                                   uint32_t width, uint32_t heap_bytes)
{
    struct oxb_const *c = mem_alloc(sizeof *c);
    c->type = type;
    c->heap_at = BATCH_ROWS_MAX * width;
    c->heap_bytes = heap_bytes;
    c->block = buf_new(pe->pool, (size_t)c->heap_at + heap_bytes + 1);
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++) {
        memcpy(c->block->data + (size_t)i * width, value, width);
    }
    c->next = pe->consts;
    pe->consts = c;
    return c;
}
