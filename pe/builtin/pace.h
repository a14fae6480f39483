/* pe/builtin/pace.h - how many tuples a source may emit by now, so that a rate is exact over time.
 *
 * Owns:       struct pace: the start on the monotonic clock, and how many tuples were let through.
 * Invariants: C1 after t seconds at most rate*t + 1 tuples were let through; a source that was held
 *             up catches up, so that nothing drifts.
 *             C2 up to PACE_SINGLE tuples per second each goes at its own time; above, they go
 *             in groups PACE_SLICE_US apart. */
#ifndef OXB_PE_BUILTIN_PACE_H
#define OXB_PE_BUILTIN_PACE_H

#include <math.h>
#include <stdint.h>

#define PACE_SINGLE 1000.0 /* per second */
#define PACE_SLICE_US 500u
#define PACE_RATE_MIN 0.001 /* the range of `rate` parameters */
#define PACE_RATE_MAX 1e9

struct pace {          /* zeroed: no limit */
    double rate;       /* tuples per second; 0: no limit */
    uint64_t start_us; /* monotonic; 0: not begun */
    uint64_t used;     /* tuples let through since */
};

/* pace_room - tuples that may go now.  The first call starts the clock. */
static inline uint64_t pace_room(struct pace *p, uint64_t now_us)
{
    if (p->rate <= 0) {
        return UINT64_MAX;
    }
    if (p->start_us == 0) {
        p->start_us = now_us;
    }
    uint64_t elapsed_us = now_us > p->start_us ? now_us - p->start_us : 0;
    uint64_t due = (uint64_t)((double)elapsed_us * p->rate / 1e6) + 1;
    return due > p->used ? due - p->used : 0;
}

/* pace_next_us - when to ask again, after pace_room gave 0 or all of it was used. */
static inline uint64_t pace_next_us(const struct pace *p, uint64_t now_us)
{
    uint64_t due_us = p->start_us + (uint64_t)ceil((double)p->used * 1e6 / p->rate);
    uint64_t soonest_us = now_us + (p->rate > PACE_SINGLE ? PACE_SLICE_US : 1);
    return due_us > soonest_us ? due_us : soonest_us;
}

#endif
