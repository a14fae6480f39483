/* pe/state_read.c - readers: freezing groups, copying them on write, and what tombstones wait for.
 *
 * Owns:       struct state_reader (bases, phases and copies per group).
 * Threads:    the instance's thread calls everything; one helper thread per reader may call
 *             state_read_group beside it.
 * Protocol:   per group NONE -> FROZEN (freeze) -> BUSY (whoever comes first copies) -> DONE when
 *             that was the helper; COPIED when it was the writer, DONE when it is handed out.
 *             The other one waits for the end of BUSY: at most the time to copy one group.
 * Invariants: S2 a frozen group is copied exactly once per reader, before its first later write.
 *             R1 a base moves to the freeze only when all groups of the freeze were handed out; a
 *                freeze given up (frozen again before that) leaves it where it was.
 *             R2 the helper reads slots only in phase BUSY that it set itself.
 * See:        pe/state.h, tests/unit/pe/state_reader_test.c */
#include "pe/state_table.h"

#include "core/mem.h"

static enum phase claim(struct state_reader *r, unsigned group)
{
    pthread_mutex_lock(&r->lock);
    while (r->phase[group] == PHASE_BUSY) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    enum phase found = r->phase[group];
    if (found == PHASE_FROZEN) {
        r->phase[group] = PHASE_BUSY;
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

static void finish(struct state_reader *r, unsigned group, enum phase to)
{
    pthread_mutex_lock(&r->lock);
    r->phase[group] = to;
    if (to == PHASE_DONE) {
        assert(r->remaining > 0);
        r->remaining--;
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* settle - if the helper has finished, move the bases.  Requires: lock.  Thread: the instance's. */
static void settle(struct state_reader *r)
{
    if (r->freeze == 0 || r->remaining > 0) {
        return;
    }
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (r->phase[g] == PHASE_DONE) {
            r->base[g] = r->restart[g] ? 0 : r->freeze;
        }
        r->phase[g] = PHASE_NONE;
        r->restart[g] = false;
    }
    r->freeze = 0;
}

struct state_reader *state_reader_new(struct oxb_state *s)
{
    struct state_reader *r = mem_alloc(sizeof(*r));
    r->state = s;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->next = s->readers;
    s->readers = r;
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
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert(r->phase[g] != PHASE_BUSY);
        strbuf_fini(&r->copies[g]);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

unsigned state_changed(struct state_reader *r, bool *groups)
{
    unsigned count = 0;
    pthread_mutex_lock(&r->lock);
    settle(r);
    pthread_mutex_unlock(&r->lock);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        groups[g] = r->state->ranges[g].changed > r->base[g];
        count += groups[g];
    }
    return count;
}

void state_freeze(struct state_reader *r, const bool *groups)
{
    struct oxb_state *s = r->state;
    assert(s->version < STAMP_VERSION_MAX);
    pthread_mutex_lock(&r->lock);
    settle(r);
    r->remaining = 0;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        assert(r->phase[g] != PHASE_BUSY);
        strbuf_fini(&r->copies[g]);
        /* A group replaced in a freeze that was given up has base 0 already. */
        r->restart[g] = false;
        r->phase[g] = groups[g] ? PHASE_FROZEN : PHASE_NONE;
        r->remaining += groups[g] ? 1 : 0;
    }
    r->freeze = s->version;
    pthread_mutex_unlock(&r->lock);
    s->version++; /* every group is checked again before its next write: T3 */
}

enum err state_read_group(struct state_reader *r, unsigned group, struct strbuf *out)
{
    if (group >= KEY_GROUPS) {
        return ERR_NOTFOUND;
    }
    switch (claim(r, group)) {
    case PHASE_FROZEN:
        group_encode(r->state, group, r->base[group], r->freeze, out);
        break;
    case PHASE_COPIED:
        strbuf_add(out, r->copies[group].data, r->copies[group].bytes);
        strbuf_fini(&r->copies[group]);
        break;
    default:
        return ERR_NOTFOUND; /* not frozen, or handed out already */
    }
    finish(r, group, PHASE_DONE);
    return ERR_OK;
}

void group_thaw(struct oxb_state *s, unsigned group)
{
    if (s->groups[group].thawed == s->version) {
        return;
    }
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        if (claim(r, group) == PHASE_FROZEN) {
            group_encode(s, group, r->base[group], r->freeze, &r->copies[group]);
            finish(r, group, PHASE_COPIED);
        }
    }
    s->groups[group].thawed = s->version;
}

/* reader_base - its base; *needs: whether it has, or is getting, a copy of the group at all. */
static uint32_t reader_base(struct state_reader *r, unsigned group, bool *needs, bool *held)
{
    pthread_mutex_lock(&r->lock);
    settle(r);
    enum phase phase = r->phase[group];
    pthread_mutex_unlock(&r->lock);
    *needs = r->base[group] > 0 || phase != PHASE_NONE;
    *held = phase == PHASE_FROZEN || phase == PHASE_BUSY;
    return r->base[group];
}

bool group_dead_needed(struct oxb_state *s, unsigned group)
{
    bool any = s->groups[group].mover != NULL;
    for (struct state_reader *r = s->readers; r != NULL && !any; r = r->next) {
        bool held;
        reader_base(r, group, &any, &held);
    }
    return any;
}

uint32_t group_dead_below(struct oxb_state *s, unsigned group)
{
    uint32_t below = s->groups[group].mover != NULL ? 0 : STAMP_VERSION_MAX;
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        bool needs, held;
        uint32_t base = reader_base(r, group, &needs, &held);
        below = needs && base < below ? base : below;
    }
    return below;
}

bool group_is_held(struct oxb_state *s, unsigned group)
{
    bool held = false;
    for (struct state_reader *r = s->readers; r != NULL && !held; r = r->next) {
        bool needs;
        reader_base(r, group, &needs, &held);
    }
    return held;
}

void group_restart_readers(struct oxb_state *s, unsigned group)
{
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        r->base[group] = 0;
        r->restart[group] = true;
    }
}
