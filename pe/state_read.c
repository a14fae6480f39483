/* pe/state_read.c - readers: a table as of one instant, copied piece by piece while it changes.
 *
 * Owns:       struct state_reader: per group what was copied, what changed since, and how far the
 *             copy of the present freeze has come.
 * Runs on:    the instance's thread, a slice at a time; there is nothing to lock.
 * Method:     the first write to an entry in a version of the table is noted (slot_note).  Since a
 *             freeze begins a version, the first write after it finds the entry as it was: if it
 *             is still to be copied it is copied then, alone.  The note is also what makes the next
 *             delta cost as much as was written, not as much as there is.
 * A group:    NONE -> FROZEN (freeze) -> WALKING (slices) -> DONE (all of it was handed out); or
 *             WALKED, when something is done to it as a whole (group_thaw): the rest is copied
 *             then.  A walk follows the notes; where there are none, or too many, the slots.
 * Invariants: S2 of an entry that a freeze covers the reader hands out its value at the freeze,
 * once at least; twice does no harm, since it is the same. R1 a base moves to the freeze only when
 * all groups of the freeze were handed out; a freeze given up (frozen again before that) leaves it
 * where it was. R2 while listed[g], noted[g] has every entry of g that was stamped after since[g],
 *                once, and since[g] is the base unless a freeze is under way.
 *             R3 what was walked stays where it was, or `places` tells: see group_rebuild.
 * See:        pe/state.h, tests/unit/pe/state_reader_test.c */
#include "pe/state_table.h"

#include <string.h>

#define PIECE_BITS 24 /* version of a piece: of the table << 24 | its number in the freeze */
#define SLOTS_PER_SLICE 4096u /* looked at, though most may be unchanged or empty */
#define NOTES_MIN 64u

enum phase { PHASE_NONE, PHASE_FROZEN, PHASE_WALKING, PHASE_WALKED, PHASE_DONE };

struct of_group {
    uint32_t base; /* version copied up to; 0: nothing yet */
    uint64_t told; /* the same as its last piece named it */
    bool restart;  /* it was replaced during the freeze: base returns to 0 */
    /* since when what was written is noted: R2 */
    uint32_t since;
    bool listed;
    struct hashes noted;
    /* the freeze */
    enum phase phase;
    bool whole;    /* all of it is copied, not a delta */
    bool by_notes; /* the walk follows `telling` */
    struct hashes telling;
    uint64_t last; /* piece handed out; 0: none */
    uint32_t pieces;
    struct strbuf rest; /* entries copied before they were written */
    uint32_t rest_count;
};

struct state_reader {
    struct oxb_state *state;
    struct state_reader *next;
    struct of_group groups[KEY_GROUPS];
    uint32_t freeze;    /* version frozen; 0: none */
    unsigned remaining; /* groups frozen and not handed out */
    unsigned group;     /* being walked */
    size_t index;       /* of its slots, or of `telling` */
    uint32_t places;
};

/* settle - everything was handed out: move the bases. */
static void settle(struct state_reader *r)
{
    if (r->freeze == 0 || r->remaining > 0) {
        return;
    }
    for (unsigned n = 0; n < KEY_GROUPS; n++) {
        struct of_group *g = &r->groups[n];
        if (g->phase == PHASE_DONE) {
            g->base = g->restart ? 0 : r->freeze;
            g->told = g->restart ? 0 : g->last != 0 ? g->last : g->told;
            g->listed = g->listed && !g->restart;
        }
        g->phase = PHASE_NONE;
        g->restart = false;
    }
    r->freeze = 0;
}

struct state_reader *state_reader_new(struct oxb_state *s)
{
    struct state_reader *r = mem_alloc(sizeof(*r));
    r->state = s;
    r->next = s->readers;
    s->readers = r;
    state_watch(s);
    return r;
}

void state_reader_free(struct state_reader *r)
{
    if (r == NULL) {
        return;
    }
    struct state_reader **link = &r->state->readers;
    while (*link != r) {
        link = &(*link)->next;
    }
    *link = r->next;
    state_watch(r->state);
    for (unsigned n = 0; n < KEY_GROUPS; n++) {
        mem_free(r->groups[n].noted.items);
        mem_free(r->groups[n].telling.items);
        strbuf_fini(&r->groups[n].rest);
    }
    mem_free(r);
}

bool state_reader_resume(struct state_reader *r, const uint64_t *told)
{
    struct oxb_state *s = r->state;
    uint64_t newest = s->version;
    for (unsigned n = 0; n < KEY_GROUPS; n++) {
        uint64_t version = told[n] >> PIECE_BITS;
        newest = version > newest ? version : newest;
    }
    if (newest >= STAMP_VERSION_MAX - 1) {
        return false;
    }
    for (unsigned n = 0; n < KEY_GROUPS; n++) {
        struct of_group *g = &r->groups[n];
        assert(g->base == 0 && g->phase == PHASE_NONE);
        if (told[n] != 0) {
            g->told = told[n];
            g->base = g->since = (uint32_t)newest;
            g->listed = true;
        }
    }
    s->version = (uint32_t)newest + 1; /* R2: what is written from now on is noted */
    return true;
}

unsigned state_changed(struct state_reader *r, bool *groups)
{
    unsigned count = 0;
    settle(r);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        groups[g] = r->state->ranges[g].changed > r->groups[g].base;
        count += groups[g];
    }
    return count;
}

uint64_t state_reader_changed(const struct state_reader *r, unsigned group)
{
    const struct of_group *g = &r->groups[group];
    uint64_t all = r->state->groups[group].used;
    if (r->state->ranges[group].changed <= g->base) {
        return 0;
    }
    return g->listed && g->base > 0 ? g->noted.count : all;
}

uint64_t state_reader_told(const struct state_reader *r, unsigned group)
{
    const struct of_group *g = &r->groups[group];
    return g->phase != PHASE_NONE && g->last != 0 ? g->last : g->told;
}

/* freeze_group - what it takes from `listed`: that there is nothing to copy but what was noted. */
static void freeze_group(struct state_reader *r, unsigned group, bool whole)
{
    struct of_group *g = &r->groups[group];
    g->whole = whole || g->base == 0;
    g->by_notes = g->listed && !g->whole;
    g->told = g->base == 0 ? 0 : g->told;
    g->last = 0;
    g->pieces = 0;
    g->phase = PHASE_FROZEN;
    struct hashes done = g->telling;
    g->telling = g->noted;
    done.count = 0;
    g->noted = done;
    g->since = r->state->version;
    g->listed = true;
    r->remaining++;
}

void state_freeze(struct state_reader *r, const bool *groups, const bool *whole)
{
    struct oxb_state *s = r->state;
    assert(s->version < STAMP_VERSION_MAX);
    settle(r);
    r->remaining = 0;
    for (unsigned n = 0; n < KEY_GROUPS; n++) {
        struct of_group *g = &r->groups[n];
        if (g->phase != PHASE_NONE) { /* given up: what it was to tell is not in the notes */
            g->listed = false;
        }
        strbuf_clear(&g->rest);
        g->rest_count = 0;
        /* A group replaced in a freeze that was given up has base 0 already. */
        g->restart = false;
        g->phase = PHASE_NONE;
        if (groups[n]) {
            freeze_group(r, n, whole != NULL && whole[n]);
        }
    }
    r->freeze = s->version;
    r->group = KEY_GROUPS;
    s->version++; /* every entry is noted again at its next write: T4 */
}

/* ---- walking ---- */

static bool is_covered(const struct state_reader *r, const struct of_group *g, const struct slot *p)
{
    uint32_t version = p->stamp & ~STAMP_DEAD;
    if (p->stamp == 0 || version > r->freeze) {
        return false;
    }
    return g->whole ? slot_is_live(p) : version > g->base;
}

static void enter_group(struct state_reader *r, unsigned group)
{
    r->group = group;
    r->index = 0;
    r->places = r->state->groups[group].places;
    r->groups[group].phase = PHASE_WALKING;
}

static uint32_t copy_noted(const struct state_reader *r, const struct of_group *g, uint64_t hash,
                           struct strbuf *out)
{
    const struct oxb_state *s = r->state;
    uint32_t count = 0;
    for (struct slot *p = range_home(s, hash); p->stamp != 0; p = slot_next(s, p)) {
        if (p->hash == hash && is_covered(r, g, p)) {
            wire_entry(s, p, out);
            count++;
        }
    }
    return count;
}

static uint32_t copy_at(const struct state_reader *r, const struct of_group *g, struct slot *p,
                        struct strbuf *out)
{
    if (!is_covered(r, g, p)) {
        return 0;
    }
    wire_entry(r->state, p, out);
    return 1;
}

/* walk_on - the group's entries, for so many bytes or slots.  *left: what may still be looked at.
 * Return: entries. */
static uint32_t walk_on(struct state_reader *r, size_t until, uint32_t *left, struct strbuf *out)
{
    const struct oxb_state *s = r->state;
    const struct group *table = &s->groups[r->group];
    const struct of_group *g = &r->groups[r->group];
    uint32_t count = 0;
    if (!g->by_notes && table->places != r->places) {
        enter_group(r, r->group); /* R3 */
    }
    size_t end = g->by_notes ? g->telling.count : table->slot_count;
    enum { AHEAD = 8 };
    while (r->index < end && out->bytes<until && * left> 0) {
        if (!g->by_notes) {
            count += copy_at(r, g, slot_at(s, r->group, (uint32_t)r->index), out);
        } else {
            if (r->index + AHEAD < end) {
                __builtin_prefetch(range_home(s, g->telling.items[r->index + AHEAD]));
            }
            count += copy_noted(r, g, g->telling.items[r->index], out);
        }
        r->index++;
        (*left)--;
    }
    return count;
}

static bool walk_is_over(const struct state_reader *r)
{
    const struct of_group *g = &r->groups[r->group];
    const struct group *table = &r->state->groups[r->group];
    if (g->phase == PHASE_WALKED) {
        return true;
    }
    return g->by_notes ? r->index >= g->telling.count
                       : r->index >= table->slot_count && table->places == r->places;
}

/* ---- handing out ---- */

/* tell - a piece of the group that is being walked; none if there is nothing to say.  Return: is
 * the group through? */
static bool tell(struct state_reader *r, size_t until, uint32_t *left, struct strbuf *out)
{
    struct of_group *g = &r->groups[r->group];
    size_t at = out->bytes;
    uint64_t base = g->last != 0 ? g->last : g->whole ? 0 : g->told;
    uint64_t version = (uint64_t)r->freeze << PIECE_BITS | (g->pieces + 1);
    size_t count_at = wire_head(r->group, base, version, out);
    uint32_t count = g->rest_count;
    if (count > 0) {
        strbuf_add(out, g->rest.data, g->rest.bytes);
        strbuf_clear(&g->rest);
    }
    g->rest_count = 0;
    if (g->phase == PHASE_WALKING) {
        count += walk_on(r, until, left, out);
    }
    bool over = walk_is_over(r);
    if (count == 0 && !(over && g->whole && g->pieces == 0)) {
        out->bytes = at;
    } else {
        wire_count(out, count_at, count);
        g->pieces++;
        g->last = version;
    }
    if (over) {
        strbuf_fini(&g->rest);
        g->phase = PHASE_DONE;
        r->remaining--;
        r->group = KEY_GROUPS;
    }
    return over;
}

/* next_group - one that is not through.  Requires: remaining > 0. */
static void next_group(struct state_reader *r)
{
    unsigned n = 0;
    while (r->groups[n].phase == PHASE_NONE || r->groups[n].phase == PHASE_DONE) {
        n++;
    }
    if (r->groups[n].phase == PHASE_WALKED) {
        r->group = n;
    } else {
        enter_group(r, n);
    }
}

bool state_reader_slice(struct state_reader *r, size_t bytes_max, struct strbuf *out,
                        unsigned *group)
{
    size_t at = out->bytes;
    uint32_t left = SLOTS_PER_SLICE;
    *group = KEY_GROUPS;
    while (r->remaining > 0 && left > 0 && out->bytes == at) {
        if (r->group == KEY_GROUPS) {
            next_group(r);
        }
        *group = r->group;
        left--;
        (void)tell(r, at + bytes_max, &left, out);
    }
    return r->remaining > 0;
}

enum err state_read_group(struct state_reader *r, unsigned group, struct strbuf *out)
{
    if (group >= KEY_GROUPS || r->groups[group].phase == PHASE_NONE ||
        r->groups[group].phase == PHASE_DONE) {
        return ERR_NOTFOUND;
    }
    if (r->groups[group].phase != PHASE_WALKED && r->group != group) {
        enter_group(r, group);
    }
    r->group = group;
    uint32_t left = UINT32_MAX;
    (void)tell(r, SIZE_MAX, &left, out);
    return ERR_OK;
}

/* ---- what the table asks and tells ---- */

void readers_note(struct oxb_state *s, struct slot *p)
{
    unsigned group = (unsigned)(p->hash >> 56);
    uint32_t version = p->stamp & ~STAMP_DEAD;
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        struct of_group *g = &r->groups[group];
        if (version > g->since) {
            continue; /* noted before, in another version */
        }
        if ((g->phase == PHASE_FROZEN || g->phase == PHASE_WALKING) && is_covered(r, g, p)) {
            wire_entry(s, p, &g->rest);
            g->rest_count++;
        }
        if (g->listed && g->noted.count < NOTES_MIN + s->groups[group].used / 2) {
            hashes_add(&g->noted, p->hash);
        } else {
            g->listed = false; /* looking at all of them is as quick */
        }
    }
}

void group_thaw(struct oxb_state *s, unsigned group)
{
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        struct of_group *g = &r->groups[group];
        if (g->phase != PHASE_FROZEN && g->phase != PHASE_WALKING) {
            continue;
        }
        unsigned walked = r->group; /* by the slices; only one group is WALKING */
        size_t index = r->index;
        uint32_t places = r->places, left = UINT32_MAX;
        if (g->phase == PHASE_FROZEN) {
            enter_group(r, group);
        }
        g->rest_count += walk_on(r, SIZE_MAX, &left, &g->rest);
        g->phase = PHASE_WALKED;
        if (walked != group) {
            r->group = walked;
            r->index = index;
            r->places = places;
        }
    }
}

bool group_dead_needed(struct oxb_state *s, unsigned group)
{
    bool any = s->groups[group].mover != NULL;
    for (struct state_reader *r = s->readers; r != NULL && !any; r = r->next) {
        settle(r);
        any = r->groups[group].base > 0 || r->groups[group].phase != PHASE_NONE;
    }
    return any;
}

uint32_t group_dead_below(struct oxb_state *s, unsigned group)
{
    uint32_t below = s->groups[group].mover != NULL ? 0 : STAMP_VERSION_MAX;
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        settle(r);
        const struct of_group *g = &r->groups[group];
        bool needs = g->base > 0 || g->phase != PHASE_NONE;
        below = needs && g->base < below ? g->base : below;
    }
    return below;
}

bool group_is_held(struct oxb_state *s, unsigned group)
{
    bool held = false;
    for (struct state_reader *r = s->readers; r != NULL && !held; r = r->next) {
        settle(r);
        enum phase phase = r->groups[group].phase;
        held = phase == PHASE_FROZEN || phase == PHASE_WALKING;
    }
    return held;
}

void group_restart_readers(struct oxb_state *s, unsigned group)
{
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        r->groups[group].base = 0;
        r->groups[group].restart = true;
        r->groups[group].listed = false;
    }
}
