/* pe/state_move.c - movers: groups told to another table while their owner goes on; and groups
 * that change tables by pointer.
 *
 * Owns:       struct state_mover: the place in the first walk, and what was written since.
 * Runs on:    the instance's thread; a staged table's functions: its helper's.
 * Method:     writes are found by stamps: the first write to an entry in a version of the table
 *             puts its hash into the mover's list for the group.  A round takes the lists, begins
 *             another version, and tells what the entries are by then.  So what a round costs
 *             follows the number of entries written, not that of entries; and since a round tells
 *             the newest values, an entry that is told twice does no harm.
 * Pieces:     u32 length (little-endian), then a group's bytes as in state_wire.c.  Versions in
 *             them count the pieces of the group: 0 -> 1, 1 -> 2 ..., so that a missing or
 *             repeated piece is refused.
 * Invariants: M1 an entry of the group whose newest value was not told is either still ahead in the
 *                first walk or in a list.
 *             M2 while a group has a mover its deletions leave tombstones, and no tombstone goes.
 *             M3 the first walk begins a group again when entries of it got other places.
 * See:        pe/state.h, tests/unit/pe/state_move_test.c */
#include "pe/state_table.h"

#include "core/mem.h"

#include <string.h>

#define SLOTS_PER_SLICE 8192u /* looked at in the first walk, though most may be empty */

struct state_mover {
    struct oxb_state *state;
    bool groups[KEY_GROUPS];
    uint64_t pieces[KEY_GROUPS]; /* told so far */
    /* the first walk */
    unsigned group; /* KEY_GROUPS: it is over */
    uint32_t index, places;
    /* rounds */
    struct hashes noted[KEY_GROUPS]; /* written since the round began */
    struct hashes telling[KEY_GROUPS];
    unsigned telling_group;
    size_t told; /* of telling[telling_group] */
    uint64_t noted_count, telling_count;
    unsigned rounds;
};

static void next_group(struct state_mover *m, unsigned from)
{
    m->group = from;
    while (m->group < KEY_GROUPS && !m->groups[m->group]) {
        m->group++;
    }
    m->index = 0;
    m->places = m->group < KEY_GROUPS ? m->state->groups[m->group].places : 0;
}

struct state_mover *state_mover_new(struct oxb_state *s, const bool *groups)
{
    struct state_mover *m = mem_alloc(sizeof *m);
    m->state = s;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        m->groups[g] = groups[g];
        if (groups[g]) {
            assert(s->groups[g].mover == NULL);
            s->groups[g].mover = m;
            s->moving = true;
        }
    }
    state_watch(s);
    assert(s->version < STAMP_VERSION_MAX);
    s->version++; /* from now on writes are seen */
    m->telling_group = KEY_GROUPS;
    next_group(m, 0);
    return m;
}

void state_mover_free(struct state_mover *m)
{
    if (m == NULL) {
        return;
    }
    struct oxb_state *s = m->state;
    s->moving = false;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (m->groups[g]) {
            s->groups[g].mover = NULL;
        }
        s->moving = s->moving || s->groups[g].mover != NULL;
        mem_free(m->noted[g].items);
        mem_free(m->telling[g].items);
    }
    state_watch(s);
    mem_free(m);
}

void mover_note(struct oxb_state *s, uint64_t hash)
{
    unsigned group = (unsigned)(hash >> 56);
    struct state_mover *m = s->groups[group].mover;
    if (m != NULL) {
        hashes_add(&m->noted[group], hash);
        m->noted_count++;
    }
}

/* ---- telling ---- */

struct piece {
    size_t at, count_at;
    uint32_t count;
};

static struct piece piece_begin(struct state_mover *m, unsigned group, struct strbuf *out)
{
    struct piece p = {.at = out->bytes};
    static const char room[4] = {0};
    strbuf_add(out, room, sizeof room);
    p.count_at = wire_head(group, m->pieces[group], m->pieces[group] + 1, out);
    return p;
}

static void piece_end(struct state_mover *m, unsigned group, struct piece p, struct strbuf *out)
{
    if (p.count == 0) {
        out->bytes = p.at; /* nothing to say */
        return;
    }
    m->pieces[group]++;
    wire_count(out, p.count_at, p.count);
    size_t bytes = out->bytes - p.at - 4;
    for (unsigned i = 0; i < 4; i++) {
        out->data[p.at + i] = (char)(uint8_t)(bytes >> (8 * i));
    }
}

/* Return: slots looked at. */
static uint32_t walk_on(struct state_mover *m, size_t until, uint32_t slots, struct strbuf *out)
{
    struct oxb_state *s = m->state;
    unsigned group = m->group;
    if (s->groups[group].places != m->places) {
        next_group(m, group); /* M3 */
    }
    struct piece p = piece_begin(m, group, out);
    uint32_t first = m->index, count = s->groups[group].slot_count;
    uint32_t last = count - first < slots ? count : first + slots;
    while (m->index < last && out->bytes < until) {
        struct slot *slot = slot_at(s, group, m->index++);
        if (slot_is_live(slot)) {
            wire_entry(s, slot, out);
            p.count++;
        }
    }
    uint32_t seen = m->index - first;
    piece_end(m, group, p, out);
    if (m->index >= count) {
        next_group(m, group + 1);
    }
    return seen + 1;
}

static bool begin_round(struct state_mover *m)
{
    if (m->noted_count == 0) {
        return false;
    }
    assert(m->state->version < STAMP_VERSION_MAX);
    m->state->version++;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        struct hashes done = m->telling[g];
        m->telling[g] = m->noted[g];
        done.count = 0;
        m->noted[g] = done;
    }
    m->telling_count = m->noted_count;
    m->noted_count = 0;
    m->telling_group = 0;
    m->told = 0;
    m->rounds++;
    return true;
}

static uint32_t tell_hash(const struct oxb_state *s, uint64_t hash, struct strbuf *out)
{
    uint32_t count = 0;
    for (struct slot *p = range_home(s, hash); p->stamp != 0; p = slot_next(s, p)) {
        if (p->hash == hash) {
            wire_entry(s, p, out);
            count++;
        }
    }
    return count;
}

static void tell_on(struct state_mover *m, size_t until, struct strbuf *out)
{
    unsigned group = m->telling_group;
    struct hashes *h = &m->telling[group];
    if (m->told < h->count) {
        struct piece p = piece_begin(m, group, out);
        do { /* one at least, though the piece's head may have filled the slice */
            p.count += tell_hash(m->state, h->items[m->told++], out);
            m->telling_count--;
        } while (m->told < h->count && out->bytes < until);
        piece_end(m, group, p, out);
    }
    if (m->told >= h->count) {
        h->count = 0;
        m->told = 0;
        m->telling_group++;
    }
}

bool state_mover_slice(struct state_mover *m, size_t bytes_max, struct strbuf *out)
{
    size_t until = out->bytes + bytes_max;
    uint32_t slots = 0;
    while (out->bytes < until && slots < SLOTS_PER_SLICE) {
        if (m->group < KEY_GROUPS) {
            slots += walk_on(m, until, SLOTS_PER_SLICE - slots, out);
        } else if (m->telling_count > 0) {
            tell_on(m, until, out);
        } else if (!begin_round(m)) {
            return false;
        }
    }
    return true;
}

unsigned state_mover_rounds(const struct state_mover *m)
{
    return m->rounds;
}

uint64_t state_mover_behind(const struct state_mover *m)
{
    return m->noted_count + m->telling_count;
}

/* ---- taking ---- */

enum err state_take_pieces(struct oxb_state *s, const void *data, size_t bytes, struct fail *f)
{
    return state_migrate_pieces(s, data, bytes, NULL, f);
}

enum err state_migrate_pieces(struct oxb_state *s, const void *data, size_t bytes,
                              struct state_migration *how, struct fail *f)
{
    const uint8_t *p = data;
    const uint8_t *end = p + bytes;
    while (p < end) {
        uint32_t length = 0;
        for (unsigned i = 0; i < 4 && p + i < end; i++) {
            length |= (uint32_t)p[i] << (8 * i);
        }
        /* Behind the array's head comes the group as uint64, big-endian: its last byte. */
        if (end - p < 4 + 10 || length < 10 || length > (size_t)(end - p) - 4) {
            return fail_set(f, ERR_INVALID, "use workers of the same release",
                            "state `%s`: a piece ends too early", s->decl.name);
        }
        enum err e = state_migrate_group(s, p[4 + 9], p + 4, length, how, f);
        if (e != ERR_OK) {
            return e;
        }
        p += 4 + length;
    }
    return ERR_OK;
}

/* ---- by pointer ---- */

/* What hangs at the slots of a group, estimated by its share of the entries. */
static size_t share_of_heap(const struct oxb_state *s, unsigned group)
{
    uint64_t slots = sizeof *s;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        slots += (uint64_t)s->groups[g].slot_count * s->slot_bytes;
    }
    uint64_t all = state_bytes(s);
    uint64_t heap = all > slots ? all - slots : 0;
    uint64_t here = s->groups[group].used - s->groups[group].dead;
    return s->count == 0 ? 0 : (size_t)((double)heap * (double)here / (double)s->count);
}

static void take_one_by_one(struct oxb_state *to, struct oxb_state *from, unsigned group)
{
    for (uint32_t i = 0; i < from->groups[group].slot_count; i++) {
        struct slot *p = slot_at(from, group, i);
        uint64_t room;
        if (slot_is_live(p)) {
            struct slot *q = group_enter(to, slot_key(from, p, &room), NULL);
            uint64_t *cells = slot_cells(to, q);
            memcpy(cells, slot_cells(from, p), from->cell_count * sizeof *cells);
            memset(slot_cells(from, p), 0, from->cell_count * sizeof *cells); /* blobs too */
            if (to->timed) {
                slot_timers_note(to, q);
            }
        }
    }
    group_clear(from, group);
}

static void take_range(struct oxb_state *to, struct oxb_state *from, unsigned group)
{
    struct group *g = &to->groups[group], *old = &from->groups[group];
    size_t bytes = (size_t)old->slot_count * from->slot_bytes + share_of_heap(from, group);
    state_count_bytes(from, 0, bytes);
    state_count_bytes(to, bytes, 0);
    uint32_t places = g->places + 1;
    struct state_mover *mover = g->mover;
    *g = *old;
    g->places = places;
    g->mover = mover;
    g->imported = 0;
    to->ranges[group] =
        (struct range){from->ranges[group].slots, to->version, from->ranges[group].shift};
    to->count += g->used - g->dead;
    to->dead += g->dead;
    from->count -= g->used - g->dead;
    from->dead -= g->dead;
    old->slot_count = old->slack = old->limit = old->used = old->dead = 0;
    old->timers = NULL;
    old->places++;
    from->ranges[group].slots = from->nothing;
    from->ranges[group].shift = 63;
}

bool state_take_group(struct oxb_state *to, struct oxb_state *from, unsigned group)
{
    assert(group < KEY_GROUPS && !to->iterating && !from->iterating);
    assert(from->groups[group].mover == NULL && to->groups[group].mover == NULL);
    if (!state_fits(to, from)) {
        return false;
    }
    state_drop_group(to, group);
    if (from->groups[group].slot_count == 0) {
        return true;
    }
    group_touch(from, group);
    group_thaw(from, group);
    group_restart_readers(from, group);
    if (from->wide && !to->wide) {
        state_widen(to);
    }
    /* Stamps were made by versions of `from`: all of them must be in the past of `to`. */
    assert(from->version < STAMP_VERSION_MAX && to->version < STAMP_VERSION_MAX);
    to->version = (from->version > to->version ? from->version : to->version) + 1;
    if (to->wide && !from->wide) {
        take_one_by_one(to, from, group);
    } else {
        take_range(to, from, group);
    }
    if (to->timed != from->timed) { /* only one of them has timers in these cells */
        group_timers_renew(to, group);
    }
    return true;
}

bool state_lend_group(struct oxb_state *to, struct oxb_state *from, unsigned group)
{
    uint64_t imported = from->groups[group].imported;
    if (!state_take_group(to, from, group)) {
        return false;
    }
    from->groups[group].imported = 0;
    to->groups[group].imported = imported;
    return true;
}
