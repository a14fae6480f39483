/* pe/state_rows.c - oxb_state_rows: the entries of a whole batch at once.
 *
 * Runs on:    the instance's thread.
 * Method:     the search for a row starts AHEAD rows before it is finished: hash, prefetch the home
 *             slot, and go on; so that cache misses overlap, and in cache the arithmetic does.
 *             Three kinds of keys: one i64 or time in a narrow table, one string, anything.
 * Invariants: L1 slots[] is right for all rows when the call returns: rows whose group was moved by
 *                the growth that a later row caused are looked up again at the end.
 * See:        pe/state_table.h, bench/state_bench.c */
#include "pe/state_table.h"

#include "core/hash.h"
#include "pe/keys.h"

#include <string.h>

#define AHEAD 32u
#define RING (2 * AHEAD) /* hashes kept of a computed kind: all of them would crowd the L1 cache   \
                          */
#define ALWAYS_INLINE inline __attribute__((always_inline))

enum kind { KIND_NARROW, KIND_TEXT, KIND_ANY };

struct lookup {
    struct oxb_state *s;
    const struct oxb_batch *in;
    unsigned field;                      /* NARROW, TEXT */
    void **slots;                        /* [live]; slot while ahead, cells when found */
    uint64_t hashes[BATCH_ROWS_MAX];     /* ANY: all; else the last RING rows */
    uint32_t key_at[BATCH_ROWS_MAX + 1]; /* ANY: encoded keys in s->scratch */
    bool any_moved;
    bool moved[KEY_GROUPS];
};

struct frame { /* in registers: the compiler must not read these again after every store */
    uint32_t version;
    uint32_t slot_bytes;
    uint32_t cells_at;
    const uint16_t *sel;
    const uint8_t *data; /* NARROW, TEXT: of the key's column */
    const uint8_t *heap; /* TEXT */
    void **slots;
};

static ALWAYS_INLINE uint32_t row_of(struct frame f, bool dense, uint32_t k)
{
    return dense ? k : f.sel[k];
}

static ALWAYS_INLINE struct oxb_str text_of(struct frame f, uint32_t row)
{
    struct oxb_ref ref;
    memcpy(&ref, f.data + (size_t)row * sizeof(ref), sizeof(ref));
    return (struct oxb_str){(const char *)f.heap + ref.off, ref.len};
}

static ALWAYS_INLINE uint64_t *hash_at(struct lookup *l, enum kind kind, uint32_t k)
{
    return &l->hashes[kind == KIND_ANY ? k : k % RING];
}

static ALWAYS_INLINE uint64_t hash_row(const struct lookup *l, struct frame f, enum kind kind,
                                       bool dense, uint32_t k)
{
    uint32_t row = row_of(f, dense, k);
    if (kind == KIND_NARROW) {
        uint64_t word;
        memcpy(&word, f.data + (size_t)row * sizeof(word), sizeof(word));
        return hash_i64(word);
    }
    if (kind == KIND_TEXT) {
        struct oxb_str text = text_of(f, row);
        return hash_bytes(text.p, text.len);
    }
    return l->hashes[k];
}

static ALWAYS_INLINE struct oxb_key key_of(const struct lookup *l, struct frame f, enum kind kind,
                                           bool dense, uint32_t k, uint64_t hash)
{
    struct oxb_key key = {.hash = hash};
    uint32_t row = row_of(f, dense, k);
    if (kind == KIND_NARROW) {
        key.data = f.data + (size_t)row * 8;
        key.bytes = 8;
    } else if (kind == KIND_TEXT) {
        struct oxb_str text = text_of(f, row);
        key.data = (const uint8_t *)text.p;
        key.bytes = text.len;
    } else {
        key.data = (const uint8_t *)l->s->scratch.data + l->key_at[k];
        key.bytes = l->key_at[k + 1] - l->key_at[k];
    }
    return key;
}

/* aim - hash the key of row k and send for its home slot. */
static ALWAYS_INLINE void aim(struct lookup *l, struct frame f, enum kind kind, bool dense,
                              uint32_t k)
{
    uint64_t hash = hash_row(l, f, kind, dense, k);
    if (kind != KIND_ANY) {
        *hash_at(l, kind, k) = hash;
    }
    const struct range *r = &l->s->ranges[hash >> 56];
    if (__builtin_expect(r->changed != f.version, 0)) {
        group_touch(l->s, (unsigned)(hash >> 56));
    }
    void *p = r->slots + ((hash << 8) >> r->shift) * f.slot_bytes;
    __builtin_prefetch(p, 1);
    f.slots[k] = p;
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
static struct slot *enter(struct lookup *l, enum kind kind, struct oxb_key key, uint32_t k)
{
    bool moved = false;
    struct slot *p = group_enter(l->s, key, &moved);
    if (moved) {
        unsigned group = (unsigned)(key.hash >> 56);
        l->moved[group] = true;
        l->any_moved = true;
        for (uint32_t j = k + 1; j < l->in->live && j < k + AHEAD; j++) {
            uint64_t hash = *hash_at(l, kind, j);
            if (hash >> 56 == group) {
                l->slots[j] = range_home(l->s, hash);
            }
        }
    }
    return p;
}

static ALWAYS_INLINE void land(struct lookup *l, struct frame f, enum kind kind, bool dense,
                               uint32_t k)
{
    struct oxb_key key = key_of(l, f, kind, dense, k, *hash_at(l, kind, k));
    struct slot *p = f.slots[k];
    while (!is_hit(p, kind, key)) {
        if (p->stamp == 0) {
            p = enter(l, kind, key, k);
            break;
        }
        p = (struct slot *)(void *)((uint8_t *)p + f.slot_bytes);
    }
    if (p->stamp != f.version) {
        slot_stamp(l->s, p, 0);
    }
    f.slots[k] = (uint8_t *)p + f.cells_at;
}

static ALWAYS_INLINE void resolve(struct lookup *l, enum kind kind, bool dense)
{
    const struct oxb_col *col = &l->in->cols[l->field];
    const struct frame f = {l->s->version, l->s->slot_bytes, l->s->cells_at, l->in->sel,
                            col->data,     col->heap,        l->slots};
    uint32_t live = l->in->live;
    uint32_t k = 0;
    for (; k < AHEAD && k < live; k++) {
        aim(l, f, kind, dense, k);
    }
    for (k = 0; k + AHEAD < live; k++) {
        land(l, f, kind, dense, k); /* first: the other order costs a third at 1 M keys */
        aim(l, f, kind, dense, k + AHEAD);
    }
    for (; k < live; k++) {
        land(l, f, kind, dense, k);
    }
    for (k = 0; l->any_moved && k < live; k++) { /* L1 */
        uint64_t hash = hash_row(l, f, kind, dense, k);
        if (l->moved[hash >> 56]) {
            struct slot *p = group_find(l->s, key_of(l, f, kind, dense, k, hash));
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
    s->writes++;
    if (s->dead > 0) {
        group_purge_step(s);
    }
    enum oxb_type type = in->schema->fields[keys[0]].type;
    bool word = key_count == 1 && (type == OXB_I64 || type == OXB_TIME);
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
