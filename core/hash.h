/* core/hash.h - the hashes whose values leave a process: they may never change.
 *
 * Keys: hash_i64 is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
 * number generators", OOPSLA 2014), a bijection; hash_bytes is XXH3-64 (xxHash 0.8, seed 0).
 * Frames and files: XXH3-64 as well, truncated where a field is narrower. */
#ifndef OXB_CORE_HASH_H
#define OXB_CORE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_i64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t hash_bytes(const void *p, size_t bytes)
{
    return XXH3_64bits(p, bytes);
}

static inline uint64_t hash_mix(uint64_t a, uint64_t b) /* keys of several fields, in order */
{
    return hash_i64(a ^ (b + 0x632be59bd9b4e019u + (a << 6) + (a >> 2)));
}

#endif
