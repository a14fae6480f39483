/* pe/state_wire.c - a key group as bytes, for checkpoints and moves, and back.
 *
 * Format:     MessagePack, always in these forms, so that they can be read without a general
 *             parser: fixarray(4) [uint64 group, uint64 base, uint64 version, array32 of entries];
 *             an entry is array16 [uint64 hash, bin32 key, cell ...] with the cells as declared:
 *             int64 (i64, time), float64, true/false, bin32 (bytes); a tombstone is array16
 *             [uint64 hash, bin32 key, nil].  base 0: the whole group, which replaces what the
 *             taker has of it.  Else: what was written in the versions base+1 .. version.  A cell
 *             says its type, so that those of another declaration can be read too.
 * Runs on:    group_encode: the instance's thread or a reader's helper (R2); the rest: instance's.
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
};

/* ---- writing ---- */

static void put_number(struct strbuf *out, uint8_t tag, uint64_t value, unsigned bytes)
{
    uint8_t text[9] = {tag};
    for (unsigned i = 0; i < bytes; i++) {
        text[1 + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
    strbuf_add(out, text, 1 + bytes);
}

static void put_bytes(struct strbuf *out, const void *data, uint32_t bytes)
{
    put_number(out, BIN_32, bytes, 4);
    strbuf_add(out, data, bytes);
}

void wire_entry(const struct oxb_state *s, struct slot *p, struct strbuf *out)
{
    uint64_t room;
    struct oxb_key key = slot_key(s, p, &room);
    bool live = slot_is_live(p);
    put_number(out, ARRAY_16, live ? 2 + s->cell_count : 3, 2);
    put_number(out, UINT_64, key.hash, 8);
    put_bytes(out, key.data, key.bytes);
    if (!live) {
        strbuf_char(out, (char)NIL);
        return;
    }
    const uint64_t *cells = slot_cells(s, p);
    for (uint32_t c = 0; c < s->cell_count; c++) {
        struct oxb_str blob;
        switch (s->values[c].type) {
        case OXB_F64:
            put_number(out, FLOAT_64, cells[c], 8);
            break;
        case OXB_BOOL:
            strbuf_char(out, (char)(cells[c] != 0 ? TRUE : FALSE));
            break;
        case OXB_BYTES:
            blob = oxb_cell_get(&cells[c]);
            put_bytes(out, blob.p, blob.len);
            break;
        default:
            put_number(out, INT_64, cells[c], 8);
            break;
        }
    }
}

size_t wire_head(unsigned group, uint64_t base, uint64_t version, struct strbuf *out)
{
    strbuf_char(out, (char)FIX_ARRAY_4);
    put_number(out, UINT_64, group, 8);
    put_number(out, UINT_64, base, 8);
    put_number(out, UINT_64, version, 8);
    size_t count_at = out->bytes + 1;
    put_number(out, ARRAY_32, 0, 4);
    return count_at;
}

void wire_count(struct strbuf *out, size_t count_at, uint32_t count)
{
    for (unsigned i = 0; i < 4; i++) {
        out->data[count_at + i] = (char)(uint8_t)(count >> (24 - 8 * i));
    }
}

void group_encode(const struct oxb_state *s, unsigned group, uint32_t base, uint32_t version,
                  struct strbuf *out)
{
    size_t count_at = wire_head(group, base, version, out);
    /* An absent group is not looked into: another group may just be changing the table's width. */
    uint32_t slots = s->ranges[group].changed > base ? s->groups[group].slot_count : 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < slots; i++) {
        struct slot *p = slot_at(s, group, i);
        bool changed = (p->stamp & ~STAMP_DEAD) > base;
        if (changed && (base > 0 || slot_is_live(p))) {
            wire_entry(s, p, out);
            count++;
        }
    }
    wire_count(out, count_at, count);
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *start;
    const uint8_t *p;
    const uint8_t *end;
    const char *problem; /* NULL: none so far */
    struct state_migration *how; /* the cells are of another declaration; NULL: of the table's */
};

static uint64_t take_number(struct cursor *c, uint8_t tag, unsigned bytes)
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
    uint64_t value = 0;
    for (unsigned i = 1; i <= bytes; i++) {
        value = value << 8 | c->p[i];
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
        take_cells(s, c, apply ? slot_cells(s, group_enter(s, key, NULL)) : NULL);
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
    group_clear(s, group);
    group_restart_readers(s, group);
    s->groups[group].imported = 0;
}
