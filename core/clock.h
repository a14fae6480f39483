/* core/clock.h - the two clocks: monotonic for every interval, wall only for what people read. */
#ifndef OXB_CORE_CLOCK_H
#define OXB_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void) /* monotonic; costs about 24 ns: never per tuple */
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_now_us(void)
{
    return clock_now_ns() / 1000u;
}

static inline int64_t clock_wall_us(void) /* microseconds since 1970-01-01 UTC */
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif
