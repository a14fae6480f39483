/* pe/state.c - a keyed table as a whole: life, single entries, and walking all of them.
 *
 * Owns:       struct oxb_state.
 * Runs on:    the instance's thread; state_bytes: any.
 * Invariants: S1 an entry is found in its own group's range only.
 *             S3 the sum over groups of live entries is oxb_state_count.
 * Files:      state_rows.c searches for whole batches, state_group.c keeps the ranges,
 *             state_read.c readers, state_wire.c bytes, state_cell.c keys and blobs,
 *             state_timers.c timers of keys.
 * See:        pe/state.h, pe/state_table.h, tests/unit/pe/state_test.c */
#include "pe/state_table.h"

#include "core/mem.h"

#include <string.h>

struct oxb_state *state_new(const struct oxb_state_decl *decl)
{
    struct oxb_state *s = mem_alloc(sizeof(*s));
    while (decl->values != NULL && decl->values[s->cell_count].name != NULL) {
        s->cell_count++;
    }
    assert(s->cell_count <= FIELDS_MAX);
    s->values = mem_array(s->cell_count + 1, sizeof(*s->values));
    for (uint32_t i = 0; i < s->cell_count; i++) {
        s->values[i].name = mem_dup(decl->values[i].name);
        s->values[i].type = decl->values[i].type;
        s->has_blobs = s->has_blobs || s->values[i].type == OXB_BYTES;
    }
    s->decl.name =
        mem_dup(decl->name); /* copies: the state may outlive the code that declared it */
    s->decl.values = s->values;
    s->version = 1;
    s->cells_at = sizeof(struct slot);
    s->slot_bytes = s->cells_at + s->cell_count * (uint32_t)sizeof(uint64_t);
    s->nothing = mem_array(2, s->slot_bytes + KEY_INLINE_BYTES);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        s->ranges[g] = (struct range){s->nothing, 0, 63};
    }
    state_count_bytes(s, sizeof(*s), 0);
    return s;
}

struct oxb_state *state_new_like(const struct oxb_state *s)
{
    struct oxb_state *like = state_new(&s->decl);
    like->timed = s->timed;
    return like;
}

void state_free(struct oxb_state *s)
{
    if (s == NULL) {
        return;
    }
    assert(s->readers == NULL && !s->moving);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        group_clear(s, g);
    }
    for (uint32_t i = 0; i < s->cell_count; i++) {
        mem_free((void *)(uintptr_t)s->values[i].name);
    }
    mem_free((void *)(uintptr_t)s->decl.name);
    mem_free(s->values);
    mem_free(s->nothing);
    strbuf_fini(&s->scratch);
    mem_free(s);
}

const struct oxb_state_decl *state_decl(const struct oxb_state *s)
{
    return &s->decl;
}

uint64_t state_bytes(const struct oxb_state *s)
{
    return atomic_load_explicit(&s->bytes, memory_order_relaxed);
}

uint64_t state_group_count(const struct oxb_state *s, unsigned group)
{
    assert(group < KEY_GROUPS);
    return s->groups[group].used - s->groups[group].dead;
}

uint64_t state_version(const struct oxb_state *s)
{
    return s->version;
}

uint64_t oxb_state_count(struct oxb_state *s)
{
    return s->count;
}

uint64_t state_writes(const struct oxb_state *s)
{
    return s->writes;
}

void *oxb_state_get(struct oxb_state *s, struct oxb_key key)
{
    struct slot *p = group_find(s, key);
    return p != NULL && slot_is_live(p) ? slot_cells(s, p) : NULL;
}

void *oxb_state_put(struct oxb_state *s, struct oxb_key key)
{
    if (s->dead > 0 && !s->iterating) {
        group_purge_step(s);
    }
    s->writes++;
    struct slot *p = group_enter(s, key, NULL);
    return slot_cells(s, p);
}

bool oxb_state_delete(struct oxb_state *s, struct oxb_key key)
{
    assert(!s->iterating);
    if (s->dead > 0) {
        group_purge_step(s);
    }
    struct slot *p = group_find(s, key);
    if (p == NULL || !slot_is_live(p)) {
        return false;
    }
    s->writes++;
    group_remove(s, p);
    return true;
}

/* each_in_group - what `fn` changed is found by comparing cells, so that walking a table does not
 * make the next delta as large as the table.  Return: false when fn wants no more. */
static bool each_in_group(struct oxb_state *s, unsigned group,
                          bool (*fn)(void *arg, struct oxb_key key, void *cells), void *arg)
{
    uint64_t before[FIELDS_MAX];
    size_t bytes = s->cell_count * sizeof(before[0]);
    bool more = true;
    group_thaw(s, group); /* `fn` writes before anybody is told */
    for (uint32_t i = 0; more && i < s->groups[group].slot_count; i++) {
        struct slot *p = slot_at(s, group, i);
        if (!slot_is_live(p)) {
            continue;
        }
        uint64_t room;
        uint64_t *cells = slot_cells(s, p);
        memcpy(before, cells, bytes);
        more = fn(arg, slot_key(s, p, &room), cells);
        if (memcmp(before, cells, bytes) != 0) {
            s->writes++;
            group_touch(s, group);
            slot_stamp(s, p, 0);
        }
    }
    return more;
}

void oxb_state_each(struct oxb_state *s, bool (*fn)(void *arg, struct oxb_key key, void *cells),
                    void *arg)
{
    bool outer = s->iterating;
    bool more = true;
    s->iterating = true;
    for (unsigned g = 0; more && g < KEY_GROUPS; g++) {
        more = s->groups[g].used == 0 || each_in_group(s, g, fn, arg);
    }
    s->iterating = outer;
}

bool state_fits(const struct oxb_state *a, const struct oxb_state *b)
{
    if (a->cell_count != b->cell_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->cell_count; i++) {
        if (a->values[i].type != b->values[i].type ||
            strcmp(a->values[i].name, b->values[i].name) != 0) {
            return false;
        }
    }
    return true;
}

bool state_swap(struct oxb_state *a, struct oxb_state *b)
{
    assert(a->readers == NULL && b->readers == NULL && !a->iterating && !b->iterating);
    assert(!a->moving && !b->moving);
    if (!state_fits(a, b)) {
        return false;
    }
    struct oxb_state_decl decl_a = a->decl, decl_b = b->decl;
    struct oxb_value *values_a = a->values, *values_b = b->values;
    bool timed_a = a->timed, timed_b = b->timed;
    void *whole = mem_alloc(sizeof *a);
    memcpy(whole, a, sizeof *a);
    memcpy((void *)a, b, sizeof *a);
    memcpy((void *)b, whole, sizeof *b);
    mem_free(whole);
    a->decl = decl_a;
    b->decl = decl_b;
    a->values = values_a;
    b->values = values_b;
    state_keep_timers(a, timed_a);
    state_keep_timers(b, timed_b);
    return true;
}
