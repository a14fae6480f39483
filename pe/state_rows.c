/* pe/state_rows.c - oxb_state_rows: the entries of a whole batch at once.
 *
 * Runs on:    the instance's thread.
 * Method:     the search for a row starts AHEAD rows before it is finished: hash, prefetch the home
 *             slot, and go on; so that cache misses overlap, and in cache the arithmetic does.
 *             Three kinds of keys: one field of 8 bytes in a narrow table, one string, anything.
 * Invariants: L1 slots[] is right for all rows when the call returns: rows whose group was moved by
 *                the growth that a later row caused are looked up again at the end.
 * See:        pe/state_table.h, bench/state_bench.c */
#include "pe/state_table.h"

#include "core/hash.h"
#include "pe/keys.h"

#include <string.h>

#define AHEAD 32u
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum kind { KIND_NARROW, KIND_TEXT, KIND_ANY };

struct lookup {
    struct oxb_state *s;
    const struct oxb_batch *in;
    unsigned field;                          /* NARROW, TEXT */
    void **slots;                            /* [live]; slot while ahead, cells when found */
    uint64_t hashes[BATCH_ROWS_MAX];
    uint32_t key_at[BATCH_ROWS_MAX + 1];     /* ANY: encoded keys in s->scratch */
    bool any_moved;
    bool moved[KEY_GROUPS];
};

static ALWAYS_INLINE uint32_t row_of(const struct lookup *l, bool dense, uint32_t k)
{
    return dense ? k : l->in->sel[k];
}

static ALWAYS_INLINE struct oxb_key key_of(const struct lookup *l, enum kind kind, bool dense,
                                           uint32_t k)
{
    struct oxb_key key = {.hash = l->hashes[k]};
    uint32_t row = row_of(l, dense, k);
    if (kind == KIND_NARROW) {
        key.data = (const uint8_t *)l->in->cols[l->field].data + (size_t)row * 8;
        key.bytes = 8;
    } else if (kind == KIND_TEXT) {
        struct oxb_str s = oxb_str_at(l->in, l->field, row);
        key.data = (const uint8_t *)s.p;
        key.bytes = s.len;
    } else {
        key.data = (const uint8_t *)l->s->scratch.data + l->key_at[k];
        key.bytes = l->key_at[k + 1] - l->key_at[k];
    }
    return key;
}

/* aim - hash the key of row k and send for its home slot. */
static ALWAYS_INLINE void aim(struct lookup *l, enum kind kind, bool dense, uint32_t k)
{
    struct oxb_state *s = l->s;
    if (kind == KIND_NARROW) {
        l->hashes[k] = hash_i64(key_word(l->in, l->field, row_of(l, dense, k)));
    } else if (kind == KIND_TEXT) {
        struct oxb_str text = oxb_str_at(l->in, l->field, row_of(l, dense, k));
        l->hashes[k] = hash_bytes(text.p, text.len);
    }
    uint64_t hash = l->hashes[k];
    if (__builtin_expect(s->ranges[hash >> 56].changed != s->version, 0)) {
        group_touch(s, (unsigned)(hash >> 56));
    }
    struct slot *p = range_home(s, hash);
    __builtin_prefetch(p, 1);
    l->slots[k] = p;
}

static ALWAYS_INLINE bool same_bytes(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint64_t x[2], y[2];
    if (bytes > 16) {
        return memcmp(a, b, bytes) == 0;
    }
    if (bytes >= 8) {
        memcpy(&x[0], a, 8);
        memcpy(&y[0], b, 8);
        memcpy(&x[1], a + bytes - 8, 8);
        memcpy(&y[1], b + bytes - 8, 8);
        return x[0] == y[0] && x[1] == y[1];
    }
    for (uint32_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

static ALWAYS_INLINE bool is_hit(struct slot *p, enum kind kind, struct oxb_key key)
{
    if (p->hash != key.hash || !slot_is_live(p)) {
        return false;
    }
    if (kind == KIND_NARROW) {
        return true;
    }
    if (p->key_bytes != key.bytes) {
        return false;
    }
    const uint8_t *data = (const uint8_t *)(p + 1);
    if (key.bytes > KEY_INLINE_BYTES) {
        memcpy(&data, p + 1, sizeof(data));
    }
    return same_bytes(data, key.data, key.bytes);
}

/* enter - row k is not there: make its entry, and correct what its growth moved. */
static struct slot *enter(struct lookup *l, struct oxb_key key, uint32_t k)
{
    bool moved = false;
    struct slot *p = group_enter(l->s, key, &moved);
    if (moved) {
        unsigned group = (unsigned)(key.hash >> 56);
        l->moved[group] = true;
        l->any_moved = true;
        for (uint32_t j = k + 1; j < l->in->live && j <= k + AHEAD; j++) {
            if (l->hashes[j] >> 56 == group) {
                l->slots[j] = range_home(l->s, l->hashes[j]);
            }
        }
    }
    return p;
}

static ALWAYS_INLINE void land(struct lookup *l, enum kind kind, bool dense, uint32_t k)
{
    struct oxb_state *s = l->s;
    struct oxb_key key = key_of(l, kind, dense, k);
    struct slot *p = l->slots[k];
    while (!is_hit(p, kind, key)) {
        if (p->stamp == 0) {
            p = enter(l, key, k);
            break;
        }
        p = slot_next(s, p);
    }
    p->stamp = s->version;
    l->slots[k] = (uint8_t *)p + s->cells_at;
}

static ALWAYS_INLINE void resolve(struct lookup *l, enum kind kind, bool dense)
{
    uint32_t live = l->in->live;
    uint32_t k = 0;
    for (; k < AHEAD && k < live; k++) {
        aim(l, kind, dense, k);
    }
    for (k = 0; k + AHEAD < live; k++) {
        aim(l, kind, dense, k + AHEAD);
        land(l, kind, dense, k);
    }
    for (; k < live; k++) {
        land(l, kind, dense, k);
    }
    for (k = 0; l->any_moved && k < live; k++) { /* L1 */
        if (l->moved[l->hashes[k] >> 56]) {
            struct slot *p = group_find(l->s, key_of(l, kind, dense, k));
            l->slots[k] = slot_cells(l->s, p);
        }
    }
}

static void resolve_narrow(struct lookup *l)
{
    if (l->in->sel == NULL) {
        resolve(l, KIND_NARROW, true);
    } else {
        resolve(l, KIND_NARROW, false);
    }
}

static void resolve_text(struct lookup *l)
{
    if (l->in->sel == NULL) {
        resolve(l, KIND_TEXT, true);
    } else {
        resolve(l, KIND_TEXT, false);
    }
}

static void resolve_any(struct lookup *l, const unsigned *keys, unsigned key_count)
{
    uint32_t k = 0;
    strbuf_clear(&l->s->scratch);
    key_hash_batch(l->in, keys, key_count, l->hashes);
    OXB_EACH (l->in, i) {
        l->key_at[k++] = (uint32_t)l->s->scratch.bytes;
        key_encode_row(l->in, keys, key_count, i, &l->s->scratch);
    }
    l->key_at[k] = (uint32_t)l->s->scratch.bytes;
    resolve(l, KIND_ANY, true);
}

int oxb_state_rows(struct oxb_state *s, const struct oxb_batch *in, const unsigned *keys,
                   unsigned key_count, void **slots)
{
    if (key_count == 0 || key_count > KEY_FIELDS_MAX || in->live > BATCH_ROWS_MAX) {
        return OXB_ERROR;
    }
    for (unsigned i = 0; i < key_count; i++) {
        if (!key_type_ok(in->schema->fields[keys[i]].type)) {
            return OXB_ERROR;
        }
    }
    assert(!s->iterating);
    if (s->dead > 0) {
        group_purge_step(s);
    }
    enum oxb_type type = in->schema->fields[keys[0]].type;
    bool word = key_count == 1 && !key_type_is_text(type) && type != OXB_BOOL;
    if (!word && !s->wide) {
        state_widen(s);
    }
    struct lookup l; /* the arrays are written before they are read */
    l.s = s;
    l.in = in;
    l.field = keys[0];
    l.slots = slots;
    l.any_moved = false;
    memset(l.moved, 0, sizeof(l.moved));
    if (word && !s->wide) {
        resolve_narrow(&l);
    } else if (key_count == 1 && key_type_is_text(type)) {
        resolve_text(&l);
    } else {
        resolve_any(&l, keys, key_count);
    }
    return OXB_OK;
}
