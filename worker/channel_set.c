/* worker/channel_set.c - channels by id: linear probing, multiplicative hashing. */
#include "worker/channel_set.h"

#include "core/mem.h"
#include "worker/channel.h"

enum { CAPACITY_MIN = 16 };

static size_t home_of(const struct channel_set *s, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (s->capacity - 1);
}

static size_t next_slot(const struct channel_set *s, size_t at)
{
    return (at + 1) & (s->capacity - 1);
}

/* The slot of `id`, or the empty one where it belongs.  Requires: capacity > 0. */
static size_t slot_of(const struct channel_set *s, uint64_t id)
{
    size_t at = home_of(s, id);
    while (s->slots[at] != NULL && s->slots[at]->id != id) {
        at = next_slot(s, at);
    }
    return at;
}

void channel_set_fini(struct channel_set *s)
{
    mem_free(s->slots);
    *s = (struct channel_set){0};
}

static void grow(struct channel_set *s)
{
    struct channel_set to = {.capacity = s->capacity > 0 ? s->capacity * 2 : CAPACITY_MIN};
    to.slots = mem_array(to.capacity, sizeof(struct channel *));
    to.count = s->count;
    size_t at = 0;
    for (struct channel *c; (c = channel_set_next(s, &at)) != NULL;) {
        to.slots[slot_of(&to, c->id)] = c;
    }
    mem_free(s->slots);
    *s = to;
}

void channel_set_add(struct channel_set *s, struct channel *c)
{
    if ((s->count + 1) * 2 > s->capacity) { /* S1 */
        grow(s);
    }
    s->slots[slot_of(s, c->id)] = c;
    s->count++;
}

void channel_set_remove(struct channel_set *s, const struct channel *c)
{
    if (s->capacity == 0) {
        return;
    }
    size_t hole = slot_of(s, c->id);
    if (s->slots[hole] != c) {
        return;
    }
    size_t mask = s->capacity - 1;
    for (size_t at = next_slot(s, hole); s->slots[at] != NULL; at = next_slot(s, at)) {
        size_t home = home_of(s, s->slots[at]->id);
        if (((at - home) & mask) >= ((at - hole) & mask)) { /* it may lie as early as the hole */
            s->slots[hole] = s->slots[at];
            hole = at;
        }
    }
    s->slots[hole] = NULL;
    s->count--;
}

struct channel *channel_set_find(const struct channel_set *s, uint64_t id)
{
    return s->capacity > 0 ? s->slots[slot_of(s, id)] : NULL;
}

struct channel *channel_set_next(const struct channel_set *s, size_t *at)
{
    while (*at < s->capacity) {
        struct channel *c = s->slots[(*at)++];
        if (c != NULL) {
            return c;
        }
    }
    return NULL;
}
