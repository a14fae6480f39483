/* tests/support/numbered.c - a collector of numbered tuples. */
#include "tests/support/numbered.h"

#include <string.h>

void numbered_collect(void *arg, const struct oxb_batch *b)
{
    struct numbered *n = arg;
    pthread_mutex_lock(&n->lock);
    if (b == NULL) {
        n->ends++;
    } else {
        const int64_t *seq = oxb_i64s(b, 0), *key = oxb_i64s(b, 1);
        OXB_EACH (b, i) {
            n->tuples++;
            n->sum += (uint64_t)seq[i];
            n->out_of_order += seq[i] + 1 <= n->last[key[i]] ? 1 : 0;
            n->last[key[i]] = seq[i] + 1;
        }
        n->batches++;
    }
    pthread_mutex_unlock(&n->lock);
}

void numbered_reset(struct numbered *n)
{
    n->tuples = n->sum = n->ends = n->out_of_order = n->batches = 0;
    memset(n->last, 0, sizeof n->last);
}
