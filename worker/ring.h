/* worker/ring.h - the bounded single-producer single-consumer ring that every channel is made of.
 *
 * Owns:       struct item (what travels on a channel), struct ring.
 * Threads:    one producer thread and one consumer thread at a time; which threads these are may
 *             change while the task they run in is handed over by the scheduler.
 * Invariants: K1 data items occupy at most RING_BATCHES slots; the rest is kept for markers and
 *                ends, which need no credit.
 *             K2 items leave in the order they entered.
 * Why:        the head and tail are stored and loaded with sequential consistency, because the
 *             sleeping protocol of worker/task.h relies on "store tail, then load state" not being
 *             reordered on either side. */
#ifndef OXB_WORKER_RING_H
#define OXB_WORKER_RING_H

#include "core/limits.h"
#include "pe/batch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum item_kind {
    ITEM_BATCH = 1,
    ITEM_MARKER_CHECKPOINT,
    ITEM_MARKER_SWITCH,
    ITEM_END,   /* the data has ended; markers may still follow */
    ITEM_CLOSE, /* nothing follows: the channel is being removed */
};

struct item {
    enum item_kind kind;
    uint32_t count;      /* ITEM_BATCH: live tuples; else 0 */
    uint64_t first;      /* ITEM_BATCH: number of its first tuple; else tuples sent so far */
    uint64_t epoch;      /* markers */
    struct batch *batch; /* ITEM_BATCH; owned */
    struct frame *frame; /* towards a peer: the encoded form, which owns the batch; else NULL */
};

#define RING_SLOTS 16u
static_assert((RING_SLOTS & (RING_SLOTS - 1)) == 0, "index by mask");
static_assert(RING_BATCHES + RING_RESERVED <= RING_SLOTS, "reserved slots exist");

struct ring {
    _Alignas(64) _Atomic uint64_t tail; /* items ever pushed; written by the producer */
    uint64_t head_seen;                 /* producer's copy */
    _Alignas(64) _Atomic uint64_t head; /* items ever popped; written by the consumer */
    uint64_t tail_seen;                 /* consumer's copy */
    _Alignas(64) struct item slots[RING_SLOTS];
};

static inline uint32_t ring_used(const struct ring *r) /* any thread; a moment's truth */
{
    uint64_t head = atomic_load(&r->head);
    return (uint32_t)(atomic_load(&r->tail) - head);
}

/* ring_push - producer.  @batches: how many data items may be in it, 1..RING_BATCHES.
 * Return: false when there is no room for this kind of item. */
static inline bool ring_push(struct ring *r, const struct item *in, uint32_t batches)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t room = in->kind == ITEM_BATCH ? batches : RING_SLOTS;
    if (tail - r->head_seen >= room) {
        r->head_seen = atomic_load(&r->head);
        if (tail - r->head_seen >= room) {
            return false;
        }
    }
    r->slots[tail & (RING_SLOTS - 1)] = *in;
    atomic_store(&r->tail, tail + 1);
    return true;
}

/* ring_has_room - producer: would ring_push of such an item succeed now? */
static inline bool ring_has_room(const struct ring *r, enum item_kind kind, uint32_t batches)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    return tail - atomic_load(&r->head) < (kind == ITEM_BATCH ? batches : RING_SLOTS);
}

/* ring_peek - consumer: the oldest item, or NULL.  Borrowed until ring_drop. */
static inline struct item *ring_peek(struct ring *r)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->tail_seen) {
        r->tail_seen = atomic_load(&r->tail);
        if (head == r->tail_seen) {
            return NULL;
        }
    }
    return &r->slots[head & (RING_SLOTS - 1)];
}

static inline void ring_drop(struct ring *r) /* consumer: remove what ring_peek gave */
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    atomic_store(&r->head, head + 1);
}

#endif
