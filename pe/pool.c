/* pe/pool.c - blocks of memory by size class, given back last in, first out, so they stay in cache.
 *
 * Owns:       struct pool: a few shards, each with one list of free blocks per class.
 * Threads:    any; one leaf mutex per shard.
 * Invariants: L1 a block's data is 64-byte aligned.  L2 a free block is poisoned under ASan.
 *             L3 a block goes back to the shard it was taken from.
 * Why:        a thread takes from the shard of its processor, so executors do not meet at one lock;
 *             because of L3 a channel's producer finds what its consumer has freed.  Classes double
 *             with one step between, so a block is at most a third too large.
 * See:        pe/batch.h, tests/unit/pe/batch_test.c */
#include "core/mem.h"
#include "pe/batch.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#endif
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define HEAD_BYTES 64u      /* struct buf, then the data: keeps both aligned */
#define CLASS_BYTES_MIN 256u
#define CLASS_COUNT 40u     /* 256 B .. 192 MiB */

static_assert(sizeof(struct buf) <= HEAD_BYTES, "a block's head fits before its data");

#define SHARDS 8u

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    size_t cached_bytes;
    uint64_t taken_bytes; /* of blocks taken here and not given back */
    struct buf *free[CLASS_COUNT]; /* linked by `data` */
};

struct pool {
    size_t cached_bytes_max; /* per shard */
    struct shard shards[SHARDS];
};

static struct buf *take_elsewhere(struct pool *p, uint32_t c, unsigned not_from);
static struct buf *take(struct shard *s, uint32_t c);
static size_t class_bytes(uint32_t c);
static uint32_t class_of(size_t bytes);
static struct buf *block_new(struct pool *p, uint32_t c);

struct pool *pool_new(size_t cached_bytes_max)
{
    struct pool *p = aligned_alloc(_Alignof(struct pool), sizeof *p);
    if (p == NULL) {
        abort();
    }
    memset(p, 0, sizeof *p);
    p->cached_bytes_max = cached_bytes_max / SHARDS;
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&p->shards[i].lock, NULL);
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (p == NULL) {
        return;
    }
    assert(pool_bytes_used(p) == 0 && "a block is still out");
    for (unsigned i = 0; i < SHARDS; i++) {
        for (uint32_t c = 0; c < CLASS_COUNT; c++) {
            struct buf *b;
            while ((b = take(&p->shards[i], c)) != NULL) {
                free(b);
            }
        }
        pthread_mutex_destroy(&p->shards[i].lock);
    }
    free(p);
}

uint64_t pool_bytes_used(struct pool *p)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&p->shards[i].lock);
        bytes += p->shards[i].taken_bytes;
        pthread_mutex_unlock(&p->shards[i].lock);
    }
    return bytes;
}

struct buf *buf_new(struct pool *p, size_t bytes)
{
    uint32_t c = class_of(bytes);
    size_t usable = class_bytes(c);
    unsigned shard = (unsigned)sched_getcpu() % SHARDS;
    struct shard *s = &p->shards[shard];
    pthread_mutex_lock(&s->lock);
    s->taken_bytes += usable;
    struct buf *b = take(s, c);
    pthread_mutex_unlock(&s->lock);
    if (b == NULL) {
        b = take_elsewhere(p, c, shard);
    }
    if (b == NULL) {
        b = block_new(p, c);
    }
    b->data = (uint8_t *)b + HEAD_BYTES; /* L1 */
    b->shard = shard;
    ASAN_UNPOISON_MEMORY_REGION(b->data, usable);
    atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void buf_ref(struct buf *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void buf_unref(struct buf *b)
{
    if (b == NULL) {
        return;
    }
    /* The sole owner needs no read-modify-write: nobody else can reach the block. */
    if (atomic_load_explicit(&b->refs, memory_order_acquire) != 1) {
        unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
        assert(before > 0);
        if (before > 1) {
            return;
        }
    }
    struct pool *p = b->pool;
    struct shard *s = &p->shards[b->shard]; /* L3 */
    size_t usable = b->bytes;
    ASAN_POISON_MEMORY_REGION(b->data, usable); /* L2 */
    pthread_mutex_lock(&s->lock);
    s->taken_bytes -= usable;
    bool keep = s->cached_bytes + usable <= p->cached_bytes_max;
    if (keep) {
        s->cached_bytes += usable;
        b->data = (uint8_t *)(void *)s->free[b->size_class];
        s->free[b->size_class] = b;
    }
    pthread_mutex_unlock(&s->lock);
    if (!keep) {
        free(b);
    }
}

static struct buf *take(struct shard *s, uint32_t c)
{
    struct buf *b = s->free[c];
    if (b != NULL) {
        s->free[c] = (struct buf *)(void *)b->data;
        s->cached_bytes -= b->bytes;
    }
    return b;
}

/* take_elsewhere - from another shard that is not in use just now; better than new memory. */
static struct buf *take_elsewhere(struct pool *p, uint32_t c, unsigned not_from)
{
    struct buf *b = NULL;
    for (unsigned i = 0; i < SHARDS && b == NULL; i++) {
        if (i != not_from && pthread_mutex_trylock(&p->shards[i].lock) == 0) {
            b = take(&p->shards[i], c);
            pthread_mutex_unlock(&p->shards[i].lock);
        }
    }
    return b;
}

static size_t class_bytes(uint32_t c)
{
    size_t step = (c & 1) != 0 ? CLASS_BYTES_MIN + CLASS_BYTES_MIN / 2 : CLASS_BYTES_MIN;
    return step << (c / 2);
}

static uint32_t class_of(size_t bytes)
{
    if (bytes <= CLASS_BYTES_MIN) {
        return 0;
    }
    unsigned k = 63u - (unsigned)__builtin_clzll((unsigned long long)(bytes - 1));
    uint32_t c = 2 * (k - 8) + (bytes <= (size_t)3 << (k - 1) ? 1u : 2u);
    assert(c < CLASS_COUNT && class_bytes(c) >= bytes);
    return c;
}

static struct buf *block_new(struct pool *p, uint32_t c)
{
    size_t usable = class_bytes(c);
    struct buf *b = aligned_alloc(64, HEAD_BYTES + usable);
    if (b == NULL) {
        fprintf(stderr, "error: out of memory for a block of %zu bytes\n", usable);
        abort();
    }
    b->size_class = c;
    b->bytes = usable;
    b->pool = p;
    return b;
}
