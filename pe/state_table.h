/* pe/state_table.h - the inside of a keyed table, for pe/state*.c only.
 *
 * Layout:     256 ranges of slots, one per key group (top eight bits of the hash).  A range has
 *             2^n home slots chosen by the next n bits of the hash, a slack that the last of them
 *             spill into, and one slot that is always empty and ends every search.
 * Slots:      narrow while every key is eight bytes hashed by hash_i64, which is a bijection: the
 *             hash is the key.  Wide from the first other key on: 16 bytes of key follow the head,
 *             or a pointer to a longer one.
 * Why:        a range per group, each grown by itself, measures the same as one allocation for all
 *             (bench: 1.0 and 1.0 of each other, with the searches of a batch interleaved), needs
 *             no second table during growth, and costs nothing for the groups other instances own.
 * Growth:     one group at a time; the groups' limits are staggered, so that groups that fill alike
 *             do not all grow in the same call.
 * Invariants: T1 the last slot of a range is empty; used <= slot_count - 1.
 *             T2 used = live + dead entries of the group; count = live entries of all groups.
 *             T3 no slot of a group is written in a version before group_touch(g) in that version.
 *             T4 no slot is written in a version before slot_note(p) in that version. */
#ifndef OXB_PE_STATE_TABLE_H
#define OXB_PE_STATE_TABLE_H

#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/state.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KEY_INLINE_BYTES 16
#define STAMP_DEAD 0x80000000u /* a tombstone: key kept, cells gone */
#define STAMP_VERSION_MAX (STAMP_DEAD - 1)

struct slot {
    uint64_t hash;
    uint32_t stamp; /* version of the last write, with STAMP_DEAD for a tombstone; 0: empty */
    uint32_t key_bytes;
};
static_assert(sizeof(struct slot) == 16, "three slots of one cell in 72 bytes");

struct range {        /* what a search reads of a group */
    uint8_t *slots;   /* never NULL: absent groups share oxb_state.nothing */
    uint32_t changed; /* version of the last write into the group */
    uint32_t shift;   /* home slot = (hash << 8) >> shift */
};

struct group {           /* the rest of it */
    uint32_t slot_count; /* 0: absent */
    uint32_t slack;
    uint32_t limit; /* grow when this many are used */
    uint32_t used;
    uint32_t dead;        /* tombstones among them */
    uint32_t dead_oldest; /* lower bound of their versions; valid if dead > 0 */
    uint32_t expected;    /* entries that are about to come; the first range has room for them */
    uint32_t places;      /* times its entries got other places: see pe/state_move.c */
    struct state_mover *mover; /* it is on its way to another table, or NULL */
    uint64_t imported;         /* version of the writer up to which it was taken in; 0: never */
    struct due_heap *timers;   /* of its keys; NULL: none */
};

struct hashes { /* of entries */
    uint64_t *items;
    size_t count, capacity;
};
static inline void hashes_add(struct hashes *h, uint64_t hash)
{
    h->items = mem_grow(h->items, h->count, &h->capacity, sizeof h->items[0]);
    h->items[h->count++] = hash;
}

struct oxb_state {
    struct range ranges[KEY_GROUPS];
    uint32_t version; /* 1..STAMP_VERSION_MAX; raised by every freeze */
    uint32_t slot_bytes;
    uint32_t cells_at; /* offset of the cells in a slot */
    uint32_t cell_count;
    bool wide;
    bool has_blobs;
    bool iterating;
    bool moving;  /* some group has a mover */
    bool watched; /* there is a reader or a mover: first writes to entries are noted */
    bool timed;   /* its OXB_TIME cells are timers */
    unsigned purge_next;
    uint64_t count;  /* live entries */
    uint64_t dead;   /* tombstones */
    uint64_t writes; /* of state_writes */
    _Atomic uint64_t bytes;
    struct group groups[KEY_GROUPS];
    uint8_t *nothing; /* two empty slots */
    struct state_reader *readers;
    struct strbuf scratch; /* encoded keys of a batch */
    struct oxb_state_decl decl;
    struct oxb_value *values;
};

struct blob { /* what an OXB_BYTES cell points to */
    uint32_t bytes;
    uint8_t data[];
};

static inline struct slot *slot_next(const struct oxb_state *s, struct slot *p)
{
    return (struct slot *)(void *)((uint8_t *)p + s->slot_bytes);
}
static inline struct slot *slot_at(const struct oxb_state *s, unsigned group, uint32_t index)
{
    return (struct slot *)(void *)(s->ranges[group].slots + (size_t)index * s->slot_bytes);
}
static inline uint64_t *slot_cells(const struct oxb_state *s, struct slot *p)
{
    return (uint64_t *)(void *)((uint8_t *)p + s->cells_at);
}
static inline bool slot_is_live(const struct slot *p)
{
    return p->stamp - 1 < STAMP_VERSION_MAX; /* neither 0 nor STAMP_DEAD */
}
static inline struct slot *range_home(const struct oxb_state *s, uint64_t hash)
{
    const struct range *r = &s->ranges[hash >> 56];
    return (struct slot *)(void *)(r->slots + ((hash << 8) >> r->shift) * s->slot_bytes);
}

/* slot_key - the entry's encoded key.  @room: where a narrow key is written; the key borrows it. */
struct oxb_key slot_key(const struct oxb_state *s, struct slot *p, uint64_t *room);
bool key_is_narrow(struct oxb_key key);
void state_count_bytes(struct oxb_state *s, size_t more, size_t less);

/* pe/state_group.c */
struct slot *group_find(const struct oxb_state *s, struct oxb_key key); /* live or dead; NULL */
/* group_enter - find, revive or make the entry; stamped.  *moved: other entries of the group
 * changed their place (may be NULL). */
struct slot *group_enter(struct oxb_state *s, struct oxb_key key, bool *moved);
void group_remove(struct oxb_state *s, struct slot *p);
void group_clear(struct oxb_state *s, unsigned group); /* entries, slots and all */
void group_purge_step(struct oxb_state *s); /* looks at one group; drops tombstones nobody needs */
void state_widen(struct oxb_state *s);
void slot_clear_cells(struct oxb_state *s, struct slot *p);

/* pe/state_read.c */
/* group_thaw - its entries are about to change in a way that is not noted one by one: readers that
 * need it as it is copy what is left of it. */
void group_thaw(struct oxb_state *s, unsigned group);
void readers_note(struct oxb_state *s, struct slot *p); /* as slot_note */
/* group_dead_needed - must a deletion in the group leave a tombstone? */
bool group_dead_needed(struct oxb_state *s, unsigned group);
/* group_dead_below - tombstones of versions up to the result are needed by no reader. */
uint32_t group_dead_below(struct oxb_state *s, unsigned group);
/* group_is_held - does a reader still need the group as it is? */
bool group_is_held(struct oxb_state *s, unsigned group);
void group_restart_readers(struct oxb_state *s, unsigned group); /* their next copy is a full one */

/* pe/state_move.c */
void mover_note(struct oxb_state *s, uint64_t hash); /* first write to an entry in this version */
/* slot_note - before an entry is written: who watches the table hears of the first time in a
 * version, while the entry is as it was. */
static inline void slot_note(struct oxb_state *s, struct slot *p)
{
    if (s->watched && (p->stamp & ~STAMP_DEAD) != s->version) {
        mover_note(s, p->hash);
        readers_note(s, p);
    }
}
static inline void slot_stamp(struct oxb_state *s, struct slot *p, uint32_t dead) /* every write */
{
    slot_note(s, p);
    p->stamp = s->version | dead;
}
static inline void state_watch(struct oxb_state *s) /* a reader or mover has come or gone */
{
    s->watched = s->moving || s->readers != NULL;
}

/* pe/state_timers.c */
void slot_timers_note(struct oxb_state *s, struct slot *p); /* its cells were written otherwise */
void group_timers_free(struct oxb_state *s, unsigned group);
void group_timers_renew(struct oxb_state *s, unsigned group); /* by what its cells say */

/* pe/state_wire.c */
/* wire_head, wire_entry, wire_count - a group's bytes by hand; count_at: where the count goes. */
size_t wire_head(unsigned group, uint64_t base, uint64_t version, struct strbuf *out);
void wire_entry(const struct oxb_state *s, struct slot *p, struct strbuf *out);
void wire_count(struct strbuf *out, size_t count_at, uint32_t count);

static inline void group_touch(struct oxb_state *s, unsigned group) /* before any write: T3 */
{
    s->ranges[group].changed = s->version;
}

#endif
