/* bench/floor_hop.c - rows from one thread to another by hand: a ring of sixteen blocks of structs.
 *
 * The producer fills a block in place, the consumer reads two of the five fields in place: no copy,
 * no allocation, no lock.  Who has to wait spins a little, then yields. */
#include "bench/bench.h"
#include "bench/rows.h"
#include "core/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 1024u
#define BLOCKS 16u

struct ring {
    struct row rows[BLOCKS][ROWS];
    uint32_t filled[BLOCKS];
    _Alignas(128) _Atomic uint64_t head; /* blocks written */
    _Alignas(128) _Atomic uint64_t tail; /* blocks read */
    _Alignas(128) uint64_t total;        /* rows to send */
};

static void pause_turn(unsigned *turns)
{
    if (++*turns < 1000) {
        __asm__ volatile("" : : : "memory");
    } else {
        sched_yield();
    }
}

static void fill(struct row *rows, uint64_t first, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++) {
        uint64_t i = first + r;
        rows[r].k = row_key(i);
        rows[r].v = row_value(i);
        rows[r].x = row_real(i);
        memcpy(rows[r].s, row_texts[i % ROW_TEXTS], ROW_TEXT_BYTES);
        rows[r].b = (uint8_t)(i & 1);
    }
}

static void *producer(void *arg)
{
    struct ring *q = arg;
    uint64_t head = 0;
    for (uint64_t i = 0; i < q->total; i += ROWS, head++) {
        unsigned turns = 0;
        while (head - atomic_load_explicit(&q->tail, memory_order_acquire) >= BLOCKS) {
            pause_turn(&turns);
        }
        uint32_t n = q->total - i < ROWS ? (uint32_t)(q->total - i) : ROWS;
        fill(q->rows[head % BLOCKS], i, n);
        q->filled[head % BLOCKS] = n;
        atomic_store_explicit(&q->head, head + 1, memory_order_release);
    }
    return NULL;
}

static void consume(struct ring *q, struct result *r)
{
    for (uint64_t tail = 0; r->count < q->total; tail++) {
        unsigned turns = 0;
        while (atomic_load_explicit(&q->head, memory_order_acquire) == tail) {
            pause_turn(&turns);
        }
        uint32_t n = q->filled[tail % BLOCKS];
        const struct row *rows = q->rows[tail % BLOCKS];
        uint64_t check = 0;
        for (uint32_t k = 0; k < n; k++) {
            check += (uint64_t)rows[k].k ^ (uint64_t)rows[k].v;
        }
        r->check += check;
        r->count += n;
        atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
    }
}

struct result floor_hop(uint64_t rows)
{
    struct ring *q = aligned_alloc(128, (sizeof *q + 127) / 128 * 128);
    pthread_t thread;
    if (q == NULL) {
        return result_fail("out of memory");
    }
    memset(q, 0, sizeof *q);
    q->total = rows;
    struct result r = {.ok = true};
    uint64_t start = clock_now_ns();
    if (pthread_create(&thread, NULL, producer, q) != 0) {
        free(q);
        return result_fail("no thread");
    }
    consume(q, &r);
    r.value = (double)rows * 1e3 / (double)(clock_now_ns() - start);
    pthread_join(thread, NULL);
    free(q);
    return r;
}
