/* worker/wired.h - the channels of a plan, by the instances at their ends; things by id.
 *
 * Owns:       struct wired_list, struct ids: both for the time in which a plan is built.
 * Threads:    the caller's.
 * Why:        a shuffle of 256 by 256 has 65,536 channels; whoever looks through all of them for
 *             each instance, or each channel, holds the loop for longer than a worker may be
 *             silent. */
#ifndef OXB_WORKER_WIRED_H
#define OXB_WORKER_WIRED_H

#include "net/messages.h"

struct channel;
struct instance;

/* ---- by id */
struct ids {
    struct id_at {
        uint64_t id;
        void *at;
    } *items;
    size_t count, capacity;
};
void ids_add(struct ids *x, uint64_t id, void *at);
void ids_sort(struct ids *x); /* after the last ids_add, before the first ids_find */
void *ids_find(const struct ids *x, uint64_t id); /* NULL: none has it */
void ids_fini(struct ids *x);

/* ---- channels of V' */
struct wired { /* with its ends; NULL: at a peer */
    struct channel *channel;
    const struct rec_CHANNEL_SPEC *spec;
    struct instance *from, *to;
    bool old; /* in V too */
};
struct wired_end {
    const struct instance *who;
    const struct wired *at;
};
struct wired_list {
    struct wired *items; /* [count], by stream, from, to */
    size_t count;
    struct wired_end *by_from, *by_to; /* [count], by instance, then as in items */
};
struct wired_range {
    const struct wired_end *items;
    size_t count;
};
/* wired_init - @items: TAKES; sorted here unless `sorted`. */
void wired_init(struct wired_list *l, struct wired *items, size_t count, bool sorted);
void wired_fini(struct wired_list *l); /* accepts a zeroed struct */
struct wired_range wired_from(const struct wired_list *l, const struct instance *i);
struct wired_range wired_to(const struct wired_list *l, const struct instance *i);

#endif
