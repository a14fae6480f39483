/* worker/checkpoint_acks.h - what this worker has said of checkpoints, kept until the next one: a
 * master that was away asks again.
 *
 * Owns:       struct acks: the results of the newest epoch of each topology.
 * Threads:    the loop's. */
#ifndef OXB_WORKER_CHECKPOINT_ACKS_H
#define OXB_WORKER_CHECKPOINT_ACKS_H

#include "worker/checkpoint.h"

struct acks { /* a zeroed struct is empty */
    struct saved *items;
    size_t count, capacity;
};
void acks_fini(struct acks *a);
void acks_keep(struct acks *a, const struct saved *s); /* copied; older epochs of it are dropped */
/* acks_each - those of that epoch. */
void acks_each(const struct acks *a, const char *topology, uint64_t gen, uint64_t epoch,
               void (*fn)(void *arg, const struct saved *s), void *arg);
/* acks_message - borrows from `s`. */
void acks_message(const struct saved *s, uint64_t incarnation, struct msg *out);

#endif
