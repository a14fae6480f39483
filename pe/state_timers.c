/* pe/state_timers.c - timers of keys: cells of entries that hold a time, found when it has come.
 *
 * Owns:       struct due_heap, one per key group that has timers.
 * Runs on:    who may write to the group: the instance's thread, or who takes its entries in.
 * Method:     the cell is the timer; it is saved, moved, migrated and deleted with its entry, and
 *             nothing else has to be.  The heap only says where to look, by hash, and may be
 *             behind: what it names and the cell does not say any more is dropped when its time
 *             comes, and a timer that was put off since goes back into it then.  So putting a timer
 *             off with every tuple costs a store.
 * Invariants: Y1 a cell with a time T has an item in its group's heap that is due at T or before.
 *             Y2 a heap has at most twice as many items as its group has timer cells, and some.
 *             Y3 a heap goes where its group goes, by pointer.
 * See:        pe/state_table.h, tests/unit/pe/state_timers_test.c */
#include "pe/state_table.h"

#include "core/mem.h"

#include <string.h>

#define STALE_MAX 64u /* items of a heap that are not worth a look at the whole group */

struct due {
    int64_t at_us;
    uint64_t hash;
};

struct due_heap {
    struct due *items; /* binary, the first due first */
    size_t count, capacity;
};

/* ---- the heap ---- */

static void sift_up(struct due_heap *h, size_t at)
{
    struct due x = h->items[at];
    while (at > 0 && h->items[(at - 1) / 2].at_us > x.at_us) {
        h->items[at] = h->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->items[at] = x;
}

static void sift_down(struct due_heap *h, size_t at)
{
    struct due x = h->items[at];
    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        child += child + 1 < h->count && h->items[child + 1].at_us < h->items[child].at_us;
        if (h->items[child].at_us >= x.at_us) {
            break;
        }
        h->items[at] = h->items[child];
    }
    h->items[at] = x;
}

static void push(struct oxb_state *s, unsigned group, struct due x)
{
    struct due_heap **heap = &s->groups[group].timers;
    if (*heap == NULL) {
        *heap = mem_alloc(sizeof **heap);
        state_count_bytes(s, sizeof **heap, 0);
    }
    struct due_heap *h = *heap;
    size_t capacity = h->capacity;
    h->items = mem_grow(h->items, h->count, &h->capacity, sizeof h->items[0]);
    state_count_bytes(s, (h->capacity - capacity) * sizeof h->items[0], 0);
    h->items[h->count++] = x;
    sift_up(h, h->count - 1);
}

void group_timers_free(struct oxb_state *s, unsigned group)
{
    struct due_heap *h = s->groups[group].timers;
    if (h != NULL) {
        state_count_bytes(s, 0, sizeof *h + h->capacity * sizeof h->items[0]);
        mem_free(h->items);
        mem_free(h);
        s->groups[group].timers = NULL;
    }
}

/* ---- what it leads to ---- */

static bool is_timer(const struct oxb_state *s, uint32_t cell)
{
    return s->values[cell].type == OXB_TIME;
}

/* The first of the entry's timers; INT64_MAX: it has none. */
static int64_t first_of(const struct oxb_state *s, struct slot *p)
{
    const uint64_t *cells = slot_cells(s, p);
    int64_t first = INT64_MAX;
    for (uint32_t c = 0; c < s->cell_count; c++) {
        if (is_timer(s, c) && cells[c] != 0 && (int64_t)cells[c] < first) {
            first = (int64_t)cells[c];
        }
    }
    return first;
}

void group_timers_renew(struct oxb_state *s, unsigned group)
{
    group_timers_free(s, group);
    for (uint32_t i = 0; s->timed && i < s->groups[group].slot_count; i++) {
        struct slot *p = slot_at(s, group, i);
        int64_t first = slot_is_live(p) ? first_of(s, p) : INT64_MAX;
        if (first != INT64_MAX) {
            push(s, group, (struct due){first, p->hash});
        }
    }
}

/* remember - of a cell that has been written. */
static void remember(struct oxb_state *s, struct due x)
{
    unsigned group = (unsigned)(x.hash >> 56);
    const struct group *g = &s->groups[group];
    if (g->timers != NULL &&
        g->timers->count > STALE_MAX + 2 * (size_t)g->used * s->cell_count) { /* Y2 */
        group_timers_renew(s, group);
    } else {
        push(s, group, x);
    }
}

void slot_timers_note(struct oxb_state *s, struct slot *p)
{
    int64_t first = first_of(s, p);
    if (first != INT64_MAX) {
        remember(s, (struct due){first, p->hash});
    }
}

void state_keep_timers(struct oxb_state *s, bool keep)
{
    bool any = false;
    for (uint32_t c = 0; c < s->cell_count; c++) {
        any = any || is_timer(s, c);
    }
    bool changes = s->timed != (keep && any);
    s->timed = keep && any;
    for (unsigned g = 0; changes && g < KEY_GROUPS; g++) {
        group_timers_renew(s, g);
    }
}

bool oxb_key_timer_set(struct oxb_state *s, void *cells, unsigned cell, int64_t at_us)
{
    if (!s->timed || cell >= s->cell_count || !is_timer(s, cell)) {
        return false;
    }
    struct slot *p = (struct slot *)(void *)((uint8_t *)cells - s->cells_at);
    group_touch(s, (unsigned)(p->hash >> 56));
    slot_stamp(s, p, 0);
    uint64_t *to = slot_cells(s, p) + cell;
    int64_t old = (int64_t)*to;
    *to = (uint64_t)at_us;
    if (at_us != 0 && (old == 0 || at_us < old)) { /* else Y1 holds by the item there is */
        remember(s, (struct due){at_us, p->hash});
    }
    return true;
}

int64_t state_timer_next(const struct oxb_state *s)
{
    int64_t next = INT64_MAX;
    for (unsigned g = 0; s->timed && g < KEY_GROUPS; g++) {
        const struct due_heap *h = s->groups[g].timers;
        if (h != NULL && h->count > 0 && h->items[0].at_us < next) {
            next = h->items[0].at_us;
        }
    }
    return next;
}

/* take_one - a timer that is due of an entry with that hash; its cell is 0 then.  The first of all
 * that is left goes back into the heap. */
static bool take_one(struct oxb_state *s, uint64_t hash, int64_t now_us, struct strbuf *key,
                     unsigned *cell)
{
    bool found = false;
    int64_t left = INT64_MAX;
    for (struct slot *p = range_home(s, hash); p->stamp != 0; p = slot_next(s, p)) {
        if (p->hash != hash || !slot_is_live(p)) {
            continue;
        }
        uint64_t *cells = slot_cells(s, p);
        for (uint32_t c = 0; !found && c < s->cell_count; c++) {
            if (is_timer(s, c) && cells[c] != 0 && (int64_t)cells[c] <= now_us) {
                uint64_t room;
                struct oxb_key k = slot_key(s, p, &room);
                strbuf_clear(key);
                strbuf_add(key, k.data, k.bytes);
                group_touch(s, (unsigned)(hash >> 56));
                slot_stamp(s, p, 0);
                cells[c] = 0;
                s->writes++;
                *cell = c;
                found = true;
            }
        }
        int64_t first = first_of(s, p);
        left = first < left ? first : left;
    }
    if (left != INT64_MAX) {
        push(s, (unsigned)(hash >> 56), (struct due){left, hash});
    }
    return found;
}

bool state_timer_take(struct oxb_state *s, int64_t now_us, struct strbuf *key, struct oxb_key *out,
                      unsigned *cell)
{
    assert(!s->iterating);
    for (unsigned g = 0; s->timed && g < KEY_GROUPS; g++) {
        struct due_heap *h = s->groups[g].timers;
        while (h != NULL && h->count > 0 && h->items[0].at_us <= now_us) {
            uint64_t hash = h->items[0].hash;
            h->items[0] = h->items[--h->count];
            if (h->count > 0) {
                sift_down(h, 0);
            }
            if (take_one(s, hash, now_us, key, cell)) {
                *out = (struct oxb_key){hash, (const uint8_t *)key->data, (uint32_t)key->bytes};
                return true;
            }
        }
    }
    return false;
}
