/* core/hist.h - log-linear histogram: 16 steps per power of two, 1 .. 2^40 (error <= 6.25 %).
 *
 * Threads: one writer; readers may read beside it (counts are relaxed atomics). */
#ifndef OXB_CORE_HIST_H
#define OXB_CORE_HIST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HIST_BUCKETS (16 + 37 * 16) /* values 0..15 exactly, then 2^4 .. 2^40 */

struct hist {
    _Atomic uint64_t buckets[HIST_BUCKETS];
    _Atomic uint64_t count, sum, max;
};

unsigned hist_bucket(uint64_t value);
uint64_t hist_bucket_low(unsigned bucket);  /* smallest value in the bucket */
uint64_t hist_bucket_high(unsigned bucket); /* largest value in the bucket */
void hist_add(struct hist *h, uint64_t value, uint64_t times);
void hist_merge(struct hist *to, const struct hist *from);
/* hist_quantile - upper bound of the bucket in which the q-th (0..1) value lies; 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);
/* Wire form: sparse list of (u16 bucket, u64 count) pairs after count, sum, max (u64 each), LE. */
struct strbuf;
void hist_encode(const struct hist *h, struct strbuf *out);
int hist_decode(struct hist *h, const void *data, size_t bytes); /* adds; -1: malformed */

#endif
