/* core/counter.h - counters with one writer and any readers.
 *
 * Threads:    counter_add: the one that owns the counter; counter_get: any.
 * Why:        a load and a store cost the writer nothing; a locked add costs some 20 cycles. */
#ifndef OXB_CORE_COUNTER_H
#define OXB_CORE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t counter_get(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void counter_add(_Atomic uint64_t *c, uint64_t by)
{
    atomic_store_explicit(c, counter_get(c) + by, memory_order_relaxed);
}

#endif
