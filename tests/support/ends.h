/* tests/support/ends.h - the two ends of channels without anything running in them.
 *
 * Owns:    struct end: an instance in a chain of its own whose task only counts its wake-ups;
 *          numbered batches, and what is checked about them.
 * Threads: the test's; only the wake-ups happen on an executor. */
#ifndef OXB_TESTS_SUPPORT_ENDS_H
#define OXB_TESTS_SUPPORT_ENDS_H

#include "worker/chain.h"

#include <semaphore.h>

struct end {
    struct chain chain;
    struct instance instance;
    sem_t woken, dead;
};
void end_init(struct end *e, struct executors *executors);
void end_fini(struct end *e); /* waits until its task is dead */
/* end_wait_woken - until its task was run once more; fails the test after 60 s. */
void end_wait_woken(struct end *e);
unsigned end_wakes(struct end *e); /* wake-ups that were not waited for */

#define ENDS_SCHEMA "seq: i64, key: i64, name: str"
const struct oxb_schema *ends_schema(void);
/* ends_batch - live rows seq = first.., key = hash of seq modulo `keys`, name = "n<key>".
 * @selected: with a dead row between any two of them (up to 512 live rows). */
struct batch *ends_batch(struct pool *p, int64_t first, uint32_t live, int64_t keys, bool selected);
/* ends_check - the batch's rows are whole: name and key belong to seq. */
void ends_check(const struct batch *b, int64_t keys);
/* ends_channel - a LOCAL channel between two ends. */
struct channel *ends_channel(uint64_t id, struct pool *p, struct end *from, struct end *to);
/* ends_take - the oldest item off the ring, as the receiver does; false: nothing there. */
bool ends_take(struct channel *c, struct item *out);

#endif
