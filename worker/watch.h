/* worker/watch.h - in which call an instance's code is, and for how long.
 *
 * Threads:    the instance's writes, the loop reads; one word.
 * Invariants: Q1 of instances that call each other, the one whose code runs is in a call: its
 * caller is not, until it is back. Why:        a PE that hangs is found by what it does not do.
 * Nothing can make it stop; it can be named, kept from holding others up, and replaced. */
#ifndef OXB_WORKER_WATCH_H
#define OXB_WORKER_WATCH_H

#include "worker/crash.h"
#include "worker/fault.h"
#include "worker/instance.h"

/* watch_begin - @call: literal. */
static inline void watch_begin(struct instance *i, uint64_t now_ns, const char *call)
{
    i->call = call;
    crash_call(i->id, call);
    atomic_store_explicit(&i->call_since_ns, now_ns, memory_order_relaxed);
}
static inline void watch_end(struct instance *i)
{
    atomic_store_explicit(&i->call_since_ns, 0, memory_order_relaxed);
    crash_call(0, "");
}
/* watch_call_us - for so long it has been in its present call; 0: it is in none. */
static inline uint64_t watch_call_us(const struct instance *i, uint64_t now_us)
{
    uint64_t since_us = atomic_load_explicit(&i->call_since_ns, memory_order_relaxed) / 1000;
    return since_us != 0 && now_us > since_us ? now_us - since_us : 0;
}
/* watch_stuck_us - likewise, once that is longer than its policy allows; else 0. */
static inline uint64_t watch_stuck_us(const struct instance *i, uint64_t now_us)
{
    uint64_t us = watch_call_us(i, now_us);
    struct policy p = policy_unpack(atomic_load_explicit(&i->policy, memory_order_relaxed));
    return p.stuck_after_ms > 0 && us > (uint64_t)p.stuck_after_ms * 1000 ? us : 0;
}

#endif
