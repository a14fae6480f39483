/* pe/state_cell.c - keys made and taken apart, and cells that own a blob.
 *
 * Runs on:    the instance's thread.
 * Invariants: C1 a cell of OXB_BYTES is 0 or owns one struct blob.
 *             C2 oxb_cell_set gives a cell a new blob before it frees the old one, so that a
 *                changed blob is a changed cell.
 * See:        pe/keys.h for the encoding, pe/state_table.h */
#include "pe/state_table.h"

#include "core/mem.h"
#include "pe/keys.h"

#include <string.h>

struct oxb_key oxb_key_i64(const int64_t *v)
{
    return (struct oxb_key){hash_i64((uint64_t)*v), (const uint8_t *)v, sizeof(*v)};
}

struct oxb_key oxb_key_str(const char *p, uint32_t len)
{
    return (struct oxb_key){hash_bytes(p, len), (const uint8_t *)p, len};
}

void oxb_cell_set(struct oxb_state *s, void *cell, const void *data, uint32_t bytes)
{
    struct blob *old;
    struct blob *new = NULL;
    memcpy(&old, cell, sizeof(old));
    if (bytes > 0) {
        new = mem_alloc(sizeof(*new) + bytes);
        new->bytes = bytes;
        memcpy(new->data, data, bytes);
    }
    memcpy(cell, &new, sizeof(new));
    state_count_bytes(s, new != NULL ? sizeof(*new) + bytes : 0,
                      old != NULL ? sizeof(*old) + old->bytes : 0);
    mem_free(old);
}

struct oxb_str oxb_cell_get(const void *cell)
{
    const struct blob *blob;
    memcpy(&blob, cell, sizeof(blob));
    if (blob == NULL) {
        return (struct oxb_str){"", 0};
    }
    return (struct oxb_str){(const char *)blob->data, blob->bytes};
}

struct rest { /* what is left of an encoded key */
    const uint8_t *p;
    uint32_t bytes;
};

/* take - the next bytes of the key; NULL when it is too short, which no key of the schema is. */
static const uint8_t *take(struct rest *k, uint32_t bytes)
{
    if (k->bytes < bytes) {
        k->bytes = 0;
        return NULL;
    }
    const uint8_t *p = k->p;
    k->p += bytes;
    k->bytes -= bytes;
    return p;
}

static void put_text(struct oxb_writer *w, unsigned field, uint32_t row, struct rest *k, bool whole)
{
    uint32_t len = k->bytes;
    if (!whole) {
        const uint8_t *p = take(k, sizeof(len));
        len = 0;
        if (p != NULL) {
            memcpy(&len, p, sizeof(len));
        }
    }
    const uint8_t *text = take(k, len);
    oxb_put_str(w, field, row, (const char *)text, text != NULL ? len : 0);
}

void oxb_put_key(struct oxb_writer *w, const struct oxb_schema *schema, unsigned first,
                 unsigned key_count, uint32_t row, struct oxb_key key)
{
    struct rest k = {key.data, key.bytes};
    for (unsigned i = 0; i < key_count; i++) {
        enum oxb_type type = schema->fields[first + i].type;
        if (key_type_is_text(type)) {
            put_text(w, first + i, row, &k, key_count == 1);
        } else if (type == OXB_BOOL) {
            const uint8_t *p = take(&k, 1);
            oxb_put_bool(w, first + i, row, p != NULL && *p != 0);
        } else {
            int64_t v = 0; /* a double travels as its bits */
            const uint8_t *p = take(&k, sizeof(v));
            if (p != NULL) {
                memcpy(&v, p, sizeof(v));
            }
            memcpy((uint8_t *)w->cols[first + i].data + (size_t)row * sizeof(v), &v, sizeof(v));
        }
    }
}
