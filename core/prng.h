/* core/prng.h - a seeded generator for tests, simulator and generated data: SplitMix64. */
#ifndef OXB_CORE_PRNG_H
#define OXB_CORE_PRNG_H

#include "core/hash.h"

struct prng {
    uint64_t state; /* any value */
};

static inline uint64_t prng_u64(struct prng *p)
{
    uint64_t x = hash_i64(p->state);
    p->state += 0x9e3779b97f4a7c15u;
    return x;
}

__extension__ typedef unsigned __int128 prng_u128;

static inline uint64_t prng_below(struct prng *p, uint64_t bound) /* bound > 0; 0..bound-1 */
{
    return (uint64_t)(((prng_u128)prng_u64(p) * bound) >> 64);
}

#endif
