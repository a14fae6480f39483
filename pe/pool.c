/* pe/pool.c - blocks of memory by size class, given back last in, first out, so they stay in cache.
 *
 * Owns:       struct pool: one list of free blocks per class.
 * Threads:    any; one leaf mutex per class.
 * Invariants: L1 a block's data is 64-byte aligned.  L2 a free block is poisoned under ASan.
 * Why:        classes double with one step between, so a block is at most a third too large.
 * See:        pe/batch.h, tests/unit/pe/pool_test.c */
#include "core/mem.h"
#include "pe/batch.h"

#include <assert.h>
#include <pthread.h>
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

struct size_class {
    pthread_mutex_t lock;
    struct buf *free; /* linked by `data` */
};

struct pool {
    size_t cached_bytes_max;
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t cached_bytes;
    struct size_class classes[CLASS_COUNT];
};

static size_t class_bytes(uint32_t c);
static uint32_t class_of(size_t bytes);
static struct buf *block_new(struct pool *p, uint32_t c);

struct pool *pool_new(size_t cached_bytes_max)
{
    struct pool *p = mem_alloc(sizeof *p);
    p->cached_bytes_max = cached_bytes_max;
    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        pthread_mutex_init(&p->classes[c].lock, NULL);
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (p == NULL) {
        return;
    }
    assert(pool_bytes_used(p) == 0 && "a block is still out");
    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        struct buf *b = p->classes[c].free;
        while (b != NULL) {
            struct buf *next = (struct buf *)(void *)b->data;
            free(b);
            b = next;
        }
        pthread_mutex_destroy(&p->classes[c].lock);
    }
    mem_free(p);
}

uint64_t pool_bytes_used(struct pool *p)
{
    return atomic_load_explicit(&p->used_bytes, memory_order_relaxed);
}

struct buf *buf_new(struct pool *p, size_t bytes)
{
    uint32_t c = class_of(bytes);
    struct size_class *k = &p->classes[c];
    size_t usable = class_bytes(c);
    pthread_mutex_lock(&k->lock);
    struct buf *b = k->free;
    if (b != NULL) {
        k->free = (struct buf *)(void *)b->data;
    }
    pthread_mutex_unlock(&k->lock);
    if (b != NULL) {
        atomic_fetch_sub_explicit(&p->cached_bytes, usable, memory_order_relaxed);
        b->data = (uint8_t *)b + HEAD_BYTES;
        ASAN_UNPOISON_MEMORY_REGION(b->data, usable);
    } else {
        b = block_new(p, c);
    }
    atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->used_bytes, usable, memory_order_relaxed);
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
    size_t usable = b->bytes;
    atomic_fetch_sub_explicit(&p->used_bytes, usable, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->cached_bytes, usable, memory_order_relaxed) + usable >
        p->cached_bytes_max) {
        atomic_fetch_sub_explicit(&p->cached_bytes, usable, memory_order_relaxed);
        free(b);
        return;
    }
    ASAN_POISON_MEMORY_REGION(b->data, usable); /* L2 */
    struct size_class *k = &p->classes[b->size_class];
    pthread_mutex_lock(&k->lock);
    b->data = (uint8_t *)(void *)k->free;
    k->free = b;
    pthread_mutex_unlock(&k->lock);
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
    b->data = (uint8_t *)b + HEAD_BYTES; /* L1 */
    return b;
}
