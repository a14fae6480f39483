/* core/hist.c - log-linear histogram. */
#include "core/hist.h"

#include "core/counter.h"
#include "core/strbuf.h"

#include <string.h>

enum { LINEAR = 16, STEP_BITS = 4, EXP_MIN = 4, EXP_MAX = 40 };

unsigned hist_bucket(uint64_t value)
{
    if (value < LINEAR) {
        return (unsigned)value;
    }
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    if (exponent > EXP_MAX) {
        return HIST_BUCKETS - 1;
    }
    unsigned step = (unsigned)(value >> (exponent - STEP_BITS)) & (LINEAR - 1);
    return LINEAR + (exponent - EXP_MIN) * LINEAR + step;
}

uint64_t hist_bucket_low(unsigned bucket)
{
    if (bucket < LINEAR) {
        return bucket;
    }
    unsigned exponent = EXP_MIN + (bucket - LINEAR) / LINEAR;
    uint64_t step = (bucket - LINEAR) % LINEAR;
    return (LINEAR + step) << (exponent - STEP_BITS);
}

uint64_t hist_bucket_high(unsigned bucket)
{
    return bucket + 1 < HIST_BUCKETS ? hist_bucket_low(bucket + 1) - 1 : UINT64_MAX;
}

void hist_add(struct hist *h, uint64_t value, uint64_t times)
{
    counter_add(&h->buckets[hist_bucket(value)], times);
    counter_add(&h->count, times);
    counter_add(&h->sum, value * times);
    if (value > atomic_load_explicit(&h->max, memory_order_relaxed)) {
        atomic_store_explicit(&h->max, value, memory_order_relaxed);
    }
}

void hist_merge(struct hist *to, const struct hist *from)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        atomic_fetch_add_explicit(&to->buckets[i],
                                  atomic_load_explicit(&from->buckets[i], memory_order_relaxed),
                                  memory_order_relaxed);
    }
    atomic_fetch_add(&to->count, atomic_load_explicit(&from->count, memory_order_relaxed));
    atomic_fetch_add(&to->sum, atomic_load_explicit(&from->sum, memory_order_relaxed));
    uint64_t max = atomic_load_explicit(&from->max, memory_order_relaxed);
    if (max > atomic_load_explicit(&to->max, memory_order_relaxed)) {
        atomic_store_explicit(&to->max, max, memory_order_relaxed);
    }
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        count += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    }
    if (count == 0) {
        return 0;
    }
    uint64_t want = (uint64_t)(q * (double)count);
    uint64_t max = atomic_load_explicit(&h->max, memory_order_relaxed);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        if (seen > want || seen == count) {
            uint64_t high = hist_bucket_high(i);
            return high < max ? high : max;
        }
    }
    return max;
}

static void put_u64(struct strbuf *out, uint64_t v)
{
    strbuf_add(out, &v, sizeof v);
}

void hist_encode(const struct hist *h, struct strbuf *out)
{
    put_u64(out, atomic_load_explicit(&h->count, memory_order_relaxed));
    put_u64(out, atomic_load_explicit(&h->sum, memory_order_relaxed));
    put_u64(out, atomic_load_explicit(&h->max, memory_order_relaxed));
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        if (n != 0) {
            uint16_t bucket = (uint16_t)i;
            strbuf_add(out, &bucket, sizeof bucket);
            put_u64(out, n);
        }
    }
}

int hist_decode(struct hist *h, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    if (bytes == 0) {
        return 0;
    }
    if (bytes < 24 || (bytes - 24) % 10 != 0) {
        return -1;
    }
    struct hist in = {0};
    uint64_t v[3];
    memcpy(v, p, sizeof v);
    atomic_store(&in.count, v[0]);
    atomic_store(&in.sum, v[1]);
    atomic_store(&in.max, v[2]);
    for (p += 24, bytes -= 24; bytes >= 10; p += 10, bytes -= 10) {
        uint16_t bucket;
        uint64_t n;
        memcpy(&bucket, p, sizeof bucket);
        memcpy(&n, p + 2, sizeof n);
        if (bucket >= HIST_BUCKETS) {
            return -1;
        }
        atomic_store(&in.buckets[bucket], n);
    }
    hist_merge(h, &in);
    return 0;
}
