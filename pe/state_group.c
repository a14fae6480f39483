/* pe/state_group.c - one key group's range of slots: search, insert, grow, remove, purge.
 *
 * Runs on:    the instance's thread.
 * Method:     linear probing without wrapping.  A removal closes the gap by moving later entries
 *             up, so that there are tombstones only where a reader needs them.
 * Invariants: T1, T2, T3 of pe/state_table.h.
 *             G1 a range is replaced as a whole: entries are moved into a new one, then it is
 *                exchanged; blobs and long keys move by pointer.
 * See:        pe/state_table.h, tests/unit/pe/state_test.c */
#include "pe/state_table.h"

#include "core/hash.h"
#include "core/mem.h"

#include <string.h>

#define HOME_BITS_MIN 2u
#define SLACK_MIN 4u
#define GROUP_EXPECTED_MAX (1u << 22) /* a promise of more is not believed beforehand */

void state_count_bytes(struct oxb_state *s, size_t more, size_t less)
{
    uint64_t now = atomic_load_explicit(&s->bytes, memory_order_relaxed) + more;
    /* What a moved group holds outside its slots is estimated: see pe/state_move.c. */
    atomic_store_explicit(&s->bytes, now > less ? now - less : 0, memory_order_relaxed);
}

/* ---- keys in slots ---- */

static uint64_t unhash_i64(uint64_t x) /* the inverse of hash_i64, step by step backwards */
{
    x = x ^ (x >> 31) ^ (x >> 62);
    x *= 0x319642b2d24d8ec3u; /* inverse of 0x94d049bb133111eb modulo 2^64 */
    x = x ^ (x >> 27) ^ (x >> 54);
    x *= 0x96de1b173f119089u; /* inverse of 0xbf58476d1ce4e5b9 */
    x = x ^ (x >> 30) ^ (x >> 60);
    return x - 0x9e3779b97f4a7c15u;
}

static uint8_t *inline_key(struct slot *p)
{
    return (uint8_t *)(p + 1);
}

static uint8_t *long_key(struct slot *p)
{
    uint8_t *key;
    memcpy(&key, inline_key(p), sizeof(key));
    return key;
}

bool key_is_narrow(struct oxb_key key)
{
    uint64_t word;
    if (key.bytes != sizeof(word)) {
        return false;
    }
    memcpy(&word, key.data, sizeof(word));
    return hash_i64(word) == key.hash;
}

struct oxb_key slot_key(const struct oxb_state *s, struct slot *p, uint64_t *room)
{
    struct oxb_key key = {p->hash, NULL, p->key_bytes};
    if (!s->wide) {
        *room = unhash_i64(p->hash);
        key.data = (const uint8_t *)room;
    } else {
        key.data = p->key_bytes <= KEY_INLINE_BYTES ? inline_key(p) : long_key(p);
    }
    return key;
}

static void free_key(struct oxb_state *s, struct slot *p)
{
    if (s->wide && p->key_bytes > KEY_INLINE_BYTES) {
        state_count_bytes(s, 0, p->key_bytes);
        mem_free(long_key(p));
    }
}

void slot_clear_cells(struct oxb_state *s, struct slot *p)
{
    uint64_t *cells = slot_cells(s, p);
    for (uint32_t c = 0; s->has_blobs && c < s->cell_count; c++) {
        if (s->values[c].type == OXB_BYTES) {
            oxb_cell_set(s, &cells[c], NULL, 0);
        }
    }
    memset(cells, 0, s->cell_count * sizeof(*cells));
}

/* ---- ranges ---- */

static uint32_t group_limit(unsigned group, uint32_t home)
{
    if (home <= 64) {
        return home * 3 / 8; /* small tables: fewer collisions are worth more than the memory */
    }
    uint64_t share = (group * 167u) & 255u; /* an odd factor: neighbours get distant limits */
    return (uint32_t)((uint64_t)home * (640 + share / 2) / 1024); /* 0.62 to 0.75 */
}

/* tight_limit - of a first range for entries that are known to come: the memory that a restore
 * touches is most of its time, and as many as there were need not grow at once. */
static uint32_t tight_limit(unsigned group, uint32_t home)
{
    uint32_t usual = group_limit(group, home);
    uint64_t share = (group * 167u) & 255u;
    return home <= 64 ? usual : (uint32_t)((uint64_t)home * (768 + share / 5) / 1024);
}

static uint8_t *range_new(size_t slots, uint32_t slot_bytes)
{
    return mem_pages(slots * slot_bytes); /* both are bounded: group_grow */
}

static void range_free(uint8_t *range, size_t slots, uint32_t slot_bytes)
{
    mem_pages_free(range, slots * slot_bytes);
}

static void group_become(struct oxb_state *s, unsigned group, uint8_t *slots, uint32_t bits,
                         uint32_t slack)
{
    struct group *g = &s->groups[group];
    uint32_t count = (1u << bits) + slack + 1;
    state_count_bytes(s, (size_t)count * s->slot_bytes, (size_t)g->slot_count * s->slot_bytes);
    if (g->slot_count > 0) {
        range_free(s->ranges[group].slots, g->slot_count, s->slot_bytes);
    }
    g->slot_count = count;
    g->places++;
    g->slack = slack;
    g->limit = group_limit(group, 1u << bits);
    s->ranges[group].slots = slots;
    s->ranges[group].shift = 64 - bits;
}

static void group_vacate(struct oxb_state *s, unsigned group) /* its entries are gone already */
{
    struct group *g = &s->groups[group];
    state_count_bytes(s, 0, (size_t)g->slot_count * s->slot_bytes);
    if (g->slot_count > 0) {
        range_free(s->ranges[group].slots, g->slot_count, s->slot_bytes);
    }
    g->slot_count = g->slack = g->limit = g->used = g->dead = 0;
    g->places++;
    s->ranges[group].slots = s->nothing;
    s->ranges[group].shift = 63;
}

/* place - the first empty slot for the hash in a range, or NULL when only the last one is left. */
static struct slot *place(const struct oxb_state *s, uint8_t *slots, uint32_t bits, uint32_t slack,
                          uint64_t hash)
{
    struct slot *last =
        (struct slot *)(void *)(slots + (size_t)((1u << bits) + slack) * s->slot_bytes);
    uint64_t home = (hash << 8) >> (64 - bits);
    struct slot *p = (struct slot *)(void *)(slots + home * s->slot_bytes);
    while (p->stamp != 0) {
        p = slot_next(s, p);
    }
    return p != last ? p : NULL;
}

/* move_entries - copy what is alive or a needed tombstone.  Return: false when it does not fit. */
static bool move_entries(const struct oxb_state *s, unsigned group, uint8_t *to, uint32_t bits,
                         uint32_t slack, uint32_t dead_below)
{
    for (uint32_t i = 0; i < s->groups[group].slot_count; i++) {
        const struct slot *p = slot_at(s, group, i);
        bool needed = slot_is_live(p) || (p->stamp & ~STAMP_DEAD) > dead_below;
        if (p->stamp == 0 || !needed) {
            continue;
        }
        struct slot *q = place(s, to, bits, slack, p->hash);
        if (q == NULL) {
            return false;
        }
        memcpy(q, p, s->slot_bytes);
    }
    return true;
}

/* forget_dead - after a rebuild: count, and free the keys of, the tombstones left behind. */
static void forget_dead(struct oxb_state *s, unsigned group, uint32_t dead_below)
{
    struct group *g = &s->groups[group];
    g->dead_oldest = STAMP_VERSION_MAX;
    for (uint32_t i = 0; g->dead > 0 && i < g->slot_count; i++) {
        struct slot *p = slot_at(s, group, i);
        if (p->stamp == 0 || slot_is_live(p)) {
            continue;
        }
        uint32_t version = p->stamp & ~STAMP_DEAD;
        if (version <= dead_below) {
            free_key(s, p);
            g->dead--;
            g->used--;
            s->dead--;
        } else if (version < g->dead_oldest) {
            g->dead_oldest = version;
        }
    }
}

/* group_rebuild - into a range of the given size at least.  Requires: group_touch or thawed. */
static void group_rebuild(struct oxb_state *s, unsigned group, uint32_t bits, uint32_t slack)
{
    uint32_t below = s->groups[group].dead > 0 ? group_dead_below(s, group) : 0;
    uint8_t *to;
    for (;;) {
        size_t slots = (size_t)(1u << bits) + slack + 1;
        to = range_new(slots, s->slot_bytes);
        if (move_entries(s, group, to, bits, slack, below)) {
            break;
        }
        range_free(to, slots, s->slot_bytes);
        slack *= 2;
    }
    forget_dead(s, group, below);
    group_become(s, group, to, bits, slack);
}

/* group_grow - twice the homes; where the group is nearly empty and yet full at its end, which only
 * a bad spread of hashes brings about, twice the slack instead. */
static void group_grow(struct oxb_state *s, unsigned group)
{
    const struct group *g = &s->groups[group];
    if (g->slot_count == 0) {
        uint32_t first = HOME_BITS_MIN;
        while (tight_limit(group, 1u << first) < g->expected) {
            first++;
        }
        group_rebuild(s, group, first, SLACK_MIN + (g->expected > 0 ? (1u << first) / 8 : 0));
        if (g->expected > g->limit) {
            s->groups[group].limit = tight_limit(group, 1u << first);
        }
        return;
    }
    uint32_t bits = 64 - s->ranges[group].shift;
    if (bits > 6 && g->used < (1u << bits) / 4) {
        group_rebuild(s, group, bits, g->slack * 2);
        return;
    }
    assert(bits < 30);
    uint32_t slack = SLACK_MIN + (2u << bits) / 8;
    group_rebuild(s, group, bits + 1, slack > g->slack ? slack : g->slack);
}

void group_purge_step(struct oxb_state *s)
{
    unsigned group = s->purge_next;
    s->purge_next = (group + 1) % KEY_GROUPS;
    struct group *g = &s->groups[group];
    if (g->dead == 0 || g->dead_oldest > group_dead_below(s, group) || group_is_held(s, group)) {
        return;
    }
    group_rebuild(s, group, 64 - s->ranges[group].shift, g->slack);
    if (g->used == 0) {
        group_vacate(s, group);
    }
}

void group_clear(struct oxb_state *s, unsigned group)
{
    struct group *g = &s->groups[group];
    bool plain = !s->wide && !s->has_blobs; /* nothing hangs at its slots */
    for (uint32_t i = 0; !plain && i < g->slot_count; i++) {
        struct slot *p = slot_at(s, group, i);
        if (p->stamp != 0) {
            slot_clear_cells(s, p);
            free_key(s, p);
        }
    }
    s->count -= g->used - g->dead;
    s->dead -= g->dead;
    group_timers_free(s, group);
    group_vacate(s, group);
}

/* state_widen - give every slot room for any key.  Once in the life of a table, as a rule while it
 * is empty: a table whose keys are of one kind is widened by its first key or never. */
void state_widen(struct oxb_state *s)
{
    assert(!s->wide && !s->iterating);
    uint32_t narrow = s->slot_bytes;
    s->wide = true;
    s->slot_bytes += KEY_INLINE_BYTES;
    s->cells_at += KEY_INLINE_BYTES;
    for (unsigned group = 0; group < KEY_GROUPS; group++) {
        uint32_t count = s->groups[group].slot_count;
        if (count == 0) {
            continue;
        }
        uint8_t *from = s->ranges[group].slots;
        uint8_t *to = range_new(count, s->slot_bytes);
        for (uint32_t i = 0; i < count; i++) {
            const struct slot *p = (const struct slot *)(void *)(from + (size_t)i * narrow);
            struct slot *q = (struct slot *)(void *)(to + (size_t)i * s->slot_bytes);
            uint64_t word = unhash_i64(p->hash);
            if (p->stamp != 0) {
                *q = *p;
                memcpy(inline_key(q), &word, sizeof(word));
                memcpy(slot_cells(s, q), p + 1, s->cell_count * sizeof(uint64_t));
            }
        }
        range_free(from, count, narrow);
        s->ranges[group].slots = to;
        state_count_bytes(s, (size_t)count * KEY_INLINE_BYTES, 0);
    }
}

void state_expect(struct oxb_state *s, unsigned group, uint64_t entries)
{
    assert(group < KEY_GROUPS);
    s->groups[group].expected =
        entries < GROUP_EXPECTED_MAX ? (uint32_t)entries : GROUP_EXPECTED_MAX;
}

/* ---- entries ---- */

static bool slot_has_key(const struct oxb_state *s, struct slot *p, struct oxb_key key)
{
    if (p->hash != key.hash || p->key_bytes != key.bytes) {
        return false;
    }
    if (!s->wide) {
        return true; /* the key is narrow too: the hash is the key */
    }
    const uint8_t *data = key.bytes <= KEY_INLINE_BYTES ? inline_key(p) : long_key(p);
    return key.bytes == 0 || memcmp(data, key.data, key.bytes) == 0;
}

struct slot *group_find(const struct oxb_state *s, struct oxb_key key)
{
    if (!s->wide && !key_is_narrow(key)) {
        return NULL;
    }
    struct slot *p = range_home(s, key.hash);
    while (p->stamp != 0) {
        if (slot_has_key(s, p, key)) {
            return p;
        }
        p = slot_next(s, p);
    }
    return NULL;
}

static struct slot *group_make(struct oxb_state *s, struct oxb_key key, bool *moved)
{
    unsigned group = (unsigned)(key.hash >> 56);
    struct group *g = &s->groups[group];
    struct slot *p = NULL;
    while (p == NULL) {
        if (g->used < g->limit) {
            p = place(s, s->ranges[group].slots, 64 - s->ranges[group].shift, g->slack, key.hash);
        }
        if (p == NULL) {
            group_grow(s, group);
            *moved = true;
        }
    }
    p->hash = key.hash;
    p->key_bytes = key.bytes;
    if (s->wide && key.bytes > KEY_INLINE_BYTES) {
        uint8_t *copy = mem_alloc(key.bytes);
        memcpy(copy, key.data, key.bytes);
        memcpy(inline_key(p), &copy, sizeof(copy));
        state_count_bytes(s, key.bytes, 0);
    } else if (s->wide && key.bytes > 0) {
        memcpy(inline_key(p), key.data, key.bytes);
    }
    g->used++;
    s->count++;
    return p;
}

struct slot *group_enter(struct oxb_state *s, struct oxb_key key, bool *moved)
{
    bool ignored = false;
    if (!s->wide && !key_is_narrow(key)) {
        state_widen(s);
    }
    unsigned group = (unsigned)(key.hash >> 56);
    group_touch(s, group);
    struct slot *p = group_find(s, key);
    if (p == NULL) {
        assert(!s->iterating);
        p = group_make(s, key, moved != NULL ? moved : &ignored);
    } else if (!slot_is_live(p)) { /* a tombstone comes back to life with cells of 0 */
        s->groups[group].dead--;
        s->dead--;
        s->count++;
    }
    slot_stamp(s, p, 0);
    return p;
}

void group_remove(struct oxb_state *s, struct slot *p)
{
    unsigned group = (unsigned)(p->hash >> 56);
    struct group *g = &s->groups[group];
    group_touch(s, group);
    slot_note(s, p);
    slot_clear_cells(s, p);
    s->count--;
    if (group_dead_needed(s, group)) {
        g->dead_oldest = g->dead == 0 || s->version < g->dead_oldest ? s->version : g->dead_oldest;
        p->stamp = s->version | STAMP_DEAD;
        g->dead++;
        s->dead++;
        return;
    }
    free_key(s, p);
    struct slot *gap = p;
    for (struct slot *q = slot_next(s, p); q->stamp != 0; q = slot_next(s, q)) {
        if (range_home(s, q->hash) <= gap) {
            memcpy(gap, q, s->slot_bytes);
            gap = q;
        }
    }
    memset(gap, 0, s->slot_bytes);
    g->used--;
    if (g->used == 0) {
        group_vacate(s, group);
    }
}
