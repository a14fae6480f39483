/* tests/support/numbered.h - a collector of numbered tuples: how many, which, in order per key?
 *
 * The tuples are those of NUMBERED, `key` below NUMBERED_KEYS.  It looks at the tuples themselves,
 * so it does not depend on the ledgers of the channels. */
#ifndef OXB_TESTS_SUPPORT_NUMBERED_H
#define OXB_TESTS_SUPPORT_NUMBERED_H

#include "pe/pe.h"

#include <pthread.h>
#include <stdint.h>

#define NUMBERED "seq: i64, key: i64, at: time"
enum { NUMBERED_KEYS = 1000 };

struct numbered { /* begins with `lock = PTHREAD_MUTEX_INITIALIZER` and zeros */
    pthread_mutex_t lock;
    uint64_t tuples, sum, ends; /* sum: of `seq` */
    uint64_t out_of_order;      /* within their key */
    uint64_t batches;
    int64_t last[NUMBERED_KEYS]; /* per key: last seq + 1 */
};

/* numbered_collect - For oxb_collector_new; @arg: a struct numbered.  Any thread. */
void numbered_collect(void *arg, const struct oxb_batch *b);

void numbered_reset(struct numbered *n); /* nobody collects meanwhile */

#endif
