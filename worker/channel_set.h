/* worker/channel_set.h - the channels of one end of a link, found by id.
 *
 * Owns:       struct channel_set: an open-addressing table of borrowed channels.
 * Threads:    the loop's.
 * Invariants: S1 at most half of the slots are used; a removal moves later entries back, so that a
 *                search ends at the first empty slot.
 * Why:        a pair of workers can share a hundred thousand channels, and every item and every
 *             credit names one. */
#ifndef OXB_WORKER_CHANNEL_SET_H
#define OXB_WORKER_CHANNEL_SET_H

#include <stddef.h>
#include <stdint.h>

struct channel;

struct channel_set {
    struct channel **slots; /* [capacity]; NULL: empty */
    size_t capacity;        /* 0 or a power of two */
    size_t count;
};

void channel_set_fini(struct channel_set *s); /* accepts a zeroed struct */
/* channel_set_add - Requires: no channel of that id is in it. */
void channel_set_add(struct channel_set *s, struct channel *c);
void channel_set_remove(struct channel_set *s, const struct channel *c); /* if it is there */
struct channel *channel_set_find(const struct channel_set *s, uint64_t id); /* or NULL */
/* channel_set_next - in no order: start with *at = 0, until NULL.  No change in between. */
struct channel *channel_set_next(const struct channel_set *s, size_t *at);

#endif
