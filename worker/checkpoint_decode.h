/* worker/checkpoint_decode.h - threads that unpack key groups and put them into an instance's
 * tables.
 *
 * Owns:       struct decoders: the threads, a queue for each, and tables of their own in which they
 *             build.
 * Threads:    decoders_ the restoring thread's.  Until decoders_wait nobody else may look at the
 *             instance's tables.
 * Method:     a key group is always the same thread's, so pieces of it are taken in in order.  It
 *             is lent to that thread's own table, by pointer, and comes back.
 * Invariants: J2 what waits is bounded.
 *             J3 code of a PE (`migrate`) runs in one thread at a time. */
#ifndef OXB_WORKER_CHECKPOINT_DECODE_H
#define OXB_WORKER_CHECKPOINT_DECODE_H

#include "core/blockfile.h"
#include "pe/host.h"

struct decoders;

/* decoders_new - for the tables of `pe`, which is prepared and not started. */
struct decoders *decoders_new(struct oxb_pe *pe);
void decoders_free(struct decoders *d); /* what waits is not done; accepts NULL */

struct group_block { /* where a block goes */
    unsigned state, group;
    uint32_t version;  /* state_version of who wrote it */
    uint64_t expected; /* entries of the group, or 0 */
    uint64_t epoch;    /* of its file */
};
/* decoders_put - may wait until there is room. */
void decoders_put(struct decoders *d, const struct packed_block *b, struct group_block to);
/* decoders_wait - until all that was put is done.  Return: the first failure of all. */
MUST_CHECK enum err decoders_wait(struct decoders *d, struct fail *f);

struct group_taken {        /* what was put into a group */
    uint64_t whole, newest; /* epochs of its last whole copy, and of its newest piece; 0: none */
    uint64_t deltas;        /* entries of pieces since the whole copy */
    bool migrated;          /* entries of it are not as they were written */
};
/* decoders_taken - after decoders_wait.  Borrowed. */
const struct group_taken *decoders_taken(const struct decoders *d, unsigned state, unsigned group);

#endif
