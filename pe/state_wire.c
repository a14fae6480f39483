/* pe/state_wire.c - a key group as bytes, for checkpoints and moves, and back.
 *
 * Format:     MessagePack, always in these forms, so that they can be read without a general
 *             parser: fixarray(4) [uint64 group, uint64 base, uint64 version, array32 of entries];
 *             an entry is array16 [uint64 hash, bin32 key, cell ...] with the cells as declared:
 *             int64 (i64, time), float64, true/false, bin32 (bytes); a tombstone is array16
 *             [uint64 hash, bin32 key, nil].  base 0: the whole group, which replaces what the
 *             taker has of it.  Else: what was written in the versions base+1 .. version.  A cell
 *             says its type, so that those of another declaration can be read too.
 * Pieces:     what a reader hands out of a group at one instant is one such string or several, each
 *             on top of the one before it: their versions count up.
 * Runs on:    the instance's thread; a table that nobody else knows yet, anywhere.
 * Invariants: W1 what is taken in was checked as a whole first: a refusal changes nothing, but one
 *                by a migration.
 *             W2 a delta is taken in only on top of its base, or of something newer.
 * See:        pe/state.h, tests/unit/pe/state_wire_test.c */
#include "pe/state_table.h"

#include <string.h>

enum {
    FIX_ARRAY_4 = 0x94,
    ARRAY_16 = 0xdc,
    ARRAY_32 = 0xdd,
    UINT_64 = 0xcf,
    INT_64 = 0xd3,
    FLOAT_64 = 0xcb,
    BIN_32 = 0xc6,
    NIL = 0xc0,
    FALSE = 0xc2,
    TRUE = 0xc3,
    WIRE_HEAD_BYTES = 1 + 9 + 9 + 9 + 5,
};

/* ---- writing ---- */

/* room - for so many more bytes, which the caller writes and counts. */
static uint8_t *room(struct strbuf *out, size_t bytes)
{
    if (out->capacity - out->bytes < bytes + 1) {
        size_t capacity = 2 * out->capacity + bytes + 1;
        out->data = mem_resize(out->data, capacity, 1);
        out->capacity = capacity;
    }
    return (uint8_t *)out->data + out->bytes;
}

static uint8_t *put_64(uint8_t *to, uint8_t tag, uint64_t value)
{
    uint64_t big = __builtin_bswap64(value);
    *to = tag;
    memcpy(to + 1, &big, sizeof big);
    return to + 9;
}

static uint8_t *put_32(uint8_t *to, uint8_t tag, uint32_t value)
{
    uint32_t big = __builtin_bswap32(value);
    *to = tag;
    memcpy(to + 1, &big, sizeof big);
    return to + 5;
}

static uint8_t *put_array(uint8_t *to, uint32_t fields)
{
    to[0] = ARRAY_16;
    to[1] = (uint8_t)(fields >> 8);
    to[2] = (uint8_t)fields;
    return to + 3;
}

static uint8_t *put_bytes(uint8_t *to, const void *data, uint32_t bytes)
{
    to = put_32(to, BIN_32, bytes);
    if (bytes > 0) {
        memcpy(to, data, bytes);
    }
    return to + bytes;
}

static size_t blob_bytes(const struct oxb_state *s, const uint64_t *cells)
{
    size_t bytes = 0;
    for (uint32_t c = 0; s->has_blobs && c < s->cell_count; c++) {
        bytes += s->values[c].type == OXB_BYTES ? oxb_cell_get(&cells[c]).len : 0;
    }
    return bytes;
}

static uint8_t *put_cell(uint8_t *to, enum oxb_type type, const uint64_t *cell)
{
    struct oxb_str blob;
    switch (type) {
    case OXB_F64:
        return put_64(to, FLOAT_64, *cell);
    case OXB_BOOL:
        *to = *cell != 0 ? TRUE : FALSE;
        return to + 1;
    case OXB_BYTES:
        blob = oxb_cell_get(cell);
        return put_bytes(to, blob.p, blob.len);
    default:
        return put_64(to, INT_64, *cell);
    }
}

void wire_entry(const struct oxb_state *s, struct slot *p, struct strbuf *out)
{
    uint64_t word;
    struct oxb_key key = slot_key(s, p, &word);
    const uint64_t *cells = slot_cells(s, p);
    bool live = slot_is_live(p);
    size_t most = 3 + 9 + 5 + (size_t)key.bytes + 9 * (size_t)s->cell_count + 1;
    uint8_t *to = room(out, most + (live ? blob_bytes(s, cells) : 0));
    to = put_array(to, live ? 2 + s->cell_count : 3);
    to = put_64(to, UINT_64, key.hash);
    to = put_bytes(to, key.data, key.bytes);
    if (!live) {
        *to++ = NIL;
    }
    for (uint32_t c = 0; live && c < s->cell_count; c++) {
        to = put_cell(to, s->values[c].type, &cells[c]);
    }
    out->bytes = (size_t)(to - (uint8_t *)out->data);
}

size_t wire_head(unsigned group, uint64_t base, uint64_t version, struct strbuf *out)
{
    uint8_t *to = room(out, WIRE_HEAD_BYTES);
    *to++ = FIX_ARRAY_4;
    to = put_64(to, UINT_64, group);
    to = put_64(to, UINT_64, base);
    to = put_64(to, UINT_64, version);
    (void)put_32(to, ARRAY_32, 0);
    out->bytes += WIRE_HEAD_BYTES;
    return out->bytes - 4;
}

void wire_count(struct strbuf *out, size_t count_at, uint32_t count)
{
    for (unsigned i = 0; i < 4; i++) {
        out->data[count_at + i] = (char)(uint8_t)(count >> (24 - 8 * i));
    }
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *start;
    const uint8_t *p;
    const uint8_t *end;
    const char *problem;         /* NULL: none so far */
    struct state_migration *how; /* the cells are of another declaration; NULL: of the table's */
};

static inline uint64_t take_number(struct cursor *c, uint8_t tag, unsigned bytes)
{
    if (c->problem != NULL) {
        return 0;
    }
    if ((size_t)(c->end - c->p) < 1 + (size_t)bytes) {
        c->problem = "it ends too early";
        return 0;
    }
    if (*c->p != tag) {
        c->problem = "a value is not of the expected type";
        return 0;
    }
    uint64_t value = 0; /* big-endian: its bytes are the last of the eight */
    if (bytes == 8) {
        memcpy(&value, c->p + 1, 8);
        value = __builtin_bswap64(value);
    } else {
        for (unsigned i = 1; i <= bytes; i++) {
            value = value << 8 | c->p[i];
        }
    }
    c->p += 1 + bytes;
    return value;
}

static struct oxb_str take_bytes(struct cursor *c)
{
    struct oxb_str s = {"", 0};
    uint64_t bytes = take_number(c, BIN_32, 4);
    if (c->problem == NULL && bytes > (size_t)(c->end - c->p)) {
        c->problem = "it ends too early";
    } else if (c->problem == NULL && bytes > BATCH_BYTES_MAX) {
        c->problem = "a key or value is too long";
    } else if (c->problem == NULL) {
        s.p = (const char *)c->p;
        s.len = (uint32_t)bytes;
        c->p += bytes;
    }
    return s;
}

static bool take_bool(struct cursor *c)
{
    bool yes = c->problem == NULL && c->p < c->end && *c->p == TRUE;
    take_number(c, yes ? TRUE : FALSE, 0);
    return yes;
}

/* take_cells - check them, and write them where `to` is not NULL. */
static void take_cells(struct oxb_state *s, struct cursor *c, uint64_t *to)
{
    for (uint32_t i = 0; i < s->cell_count; i++) {
        uint64_t word = 0;
        if (s->values[i].type == OXB_BYTES) {
            struct oxb_str blob = take_bytes(c);
            if (to != NULL) {
                oxb_cell_set(s, &to[i], blob.p, blob.len);
            }
            continue;
        }
        if (s->values[i].type == OXB_F64) {
            word = take_number(c, FLOAT_64, 8);
        } else if (s->values[i].type == OXB_BOOL) {
            word = take_bool(c);
        } else {
            word = take_number(c, INT_64, 8);
        }
        if (to != NULL) {
            to[i] = word;
        }
    }
}

/* One cell of whatever type it was written as.  Return: it is a blob, which *to owns. */
static bool take_any_cell(struct oxb_state *s, struct cursor *c, uint64_t *to)
{
    uint8_t tag = c->p < c->end ? *c->p : NIL;
    uint64_t word = 0;
    if (tag == BIN_32) {
        struct oxb_str blob = take_bytes(c);
        if (to != NULL) {
            oxb_cell_set(s, to, blob.p, blob.len);
        }
        return true;
    }
    if (tag == TRUE || tag == FALSE) {
        word = take_bool(c);
    } else {
        word = take_number(c, tag == FLOAT_64 ? FLOAT_64 : INT_64, 8);
    }
    if (to != NULL) {
        *to = word;
    }
    return false;
}

static void take_old_cells(struct oxb_state *s, struct cursor *c, uint64_t count,
                           struct oxb_key key, bool apply)
{
    bool blobs[FIELDS_MAX];
    uint64_t *old = c->how->old;
    if (count > FIELDS_MAX) {
        c->problem = "an entry has more values than a state can have";
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        blobs[i] = take_any_cell(s, c, apply ? &old[i] : NULL);
    }
    if (!apply) {
        return;
    }
    struct slot *p = group_enter(s, key, NULL);
    slot_clear_cells(s, p);
    if (!c->how->entry(c->how, s, slot_cells(s, p))) {
        c->problem = c->how->fail.what;
    }
    if (s->timed) {
        slot_timers_note(s, p);
    }
    for (uint64_t i = 0; i < count; i++) {
        if (blobs[i]) {
            oxb_cell_set(s, &old[i], NULL, 0);
        }
    }
}

static void take_entry(struct oxb_state *s, unsigned group, struct cursor *c, bool apply)
{
    uint64_t fields = take_number(c, ARRAY_16, 2);
    struct oxb_key key = {.hash = take_number(c, UINT_64, 8)};
    struct oxb_str data = take_bytes(c);
    key.data = (const uint8_t *)data.p;
    key.bytes = data.len;
    if (c->problem == NULL && key.hash >> 56 != group) {
        c->problem = "a key is of another group";
    }
    if (!apply) {
        __builtin_prefetch(range_home(s, key.hash), 1); /* its entry is written soon */
    }
    bool dead = c->problem == NULL && fields == 3 && c->p < c->end && *c->p == NIL;
    if (dead) {
        c->p++;
    }
    bool as_declared = fields == 2 + (uint64_t)s->cell_count;
    if (c->problem == NULL && !dead && (c->how != NULL ? fields < 2 : !as_declared)) {
        c->problem = "an entry has another number of values than the state declares";
    }
    if (c->problem != NULL) {
        return;
    }
    if (!dead && c->how != NULL) {
        take_old_cells(s, c, fields - 2, key, apply);
    } else if (!dead) {
        struct slot *p = apply ? group_enter(s, key, NULL) : NULL;
        take_cells(s, c, p != NULL ? slot_cells(s, p) : NULL);
        if (p != NULL && s->timed) {
            slot_timers_note(s, p);
        }
    } else if (apply) {
        (void)oxb_state_delete(s, key);
    }
}

struct head {
    uint64_t group;
    uint64_t base;
    uint64_t version;
    uint64_t count;
};

static struct head take_head(struct cursor *c)
{
    struct head h = {0};
    take_number(c, FIX_ARRAY_4, 0);
    h.group = take_number(c, UINT_64, 8);
    h.base = take_number(c, UINT_64, 8);
    h.version = take_number(c, UINT_64, 8);
    h.count = take_number(c, ARRAY_32, 4);
    return h;
}

static enum err check(struct oxb_state *s, unsigned group, struct cursor *c, struct fail *f)
{
    struct head h = take_head(c);
    if (c->problem == NULL && h.group != group) {
        c->problem = "it is another group's";
    } else if (c->problem == NULL && (h.version == 0 || h.base >= h.version)) {
        c->problem = "its versions make no sense";
    }
    for (uint64_t i = 0; c->problem == NULL && i < h.count; i++) {
        take_entry(s, group, c, false);
    }
    if (c->problem == NULL && c->p != c->end) {
        c->problem = "there are bytes behind its end";
    }
    if (c->problem != NULL) {
        return fail_set(f, ERR_INVALID,
                        "take the state from an intact checkpoint, or start without",
                        "state `%s`, group %u, byte %zu of %zu: %s", s->decl.name, group,
                        (size_t)(c->p - c->start), (size_t)(c->end - c->start), c->problem);
    }
    if (h.base > 0 &&
        (s->groups[group].imported < h.base || s->groups[group].imported > h.version)) {
        return fail_set(
            f, ERR_STALE, "take in the base first, then each delta in order",
            "state `%s`, group %u: a delta from version %llu does not fit on top of %llu",
            s->decl.name, group, (unsigned long long)h.base,
            (unsigned long long)s->groups[group].imported);
    }
    return ERR_OK;
}

bool state_piece_head(const void *data, size_t bytes, struct state_piece *out)
{
    struct cursor c = {data, data, (const uint8_t *)data + bytes, NULL, NULL};
    struct head h = take_head(&c);
    *out = (struct state_piece){.base = h.base, .version = h.version, .entries = h.count};
    return c.problem == NULL;
}

uint64_t state_imported(const struct oxb_state *s, unsigned group)
{
    assert(group < KEY_GROUPS);
    return s->groups[group].imported;
}

enum err state_write_group(struct oxb_state *s, unsigned group, const void *data, size_t bytes,
                           struct fail *f)
{
    return state_migrate_group(s, group, data, bytes, NULL, f);
}

enum err state_migrate_group(struct oxb_state *s, unsigned group, const void *data, size_t bytes,
                             struct state_migration *how, struct fail *f)
{
    if (group >= KEY_GROUPS) {
        return fail_set(f, ERR_INVALID, "", "there is no key group %u", group);
    }
    struct cursor c = {data, data, (const uint8_t *)data + bytes, NULL, how};
    enum err e = check(s, group, &c, f);
    if (e != ERR_OK) {
        return e;
    }
    c.p = c.start;
    struct head h = take_head(&c);
    if (h.base == 0) {
        state_drop_group(s, group);
    }
    for (uint64_t i = 0; i < h.count && c.problem == NULL; i++) {
        take_entry(s, group, &c, true);
    }
    if (c.problem != NULL) { /* checked before: it is what `how` says */
        return fail_set(f, how->fail.code, how->fail.hint, "%s", how->fail.what);
    }
    s->groups[group].imported = h.version;
    return ERR_OK;
}

void state_drop_group(struct oxb_state *s, unsigned group)
{
    assert(group < KEY_GROUPS && !s->iterating);
    group_touch(s, group);
    group_thaw(s, group);
    group_clear(s, group);
    group_restart_readers(s, group);
    s->groups[group].imported = 0;
}
