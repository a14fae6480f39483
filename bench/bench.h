/* bench/bench.h - what the parts of oxbow-bench share: one measurement's result, floors, engine.
 *
 * Threads: main thread; floors that need a second thread start and join it inside the call. */
#ifndef OXB_BENCH_BENCH_H
#define OXB_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct result {
    bool ok;
    char why[240];   /* when not ok */
    double value;    /* in the row's unit */
    double value99;  /* rows of latency: 99th percentile; else 0 */
    uint64_t count;  /* tuples (words) that reached the end; 0: not compared */
    uint64_t check;  /* checksum over them */
};

/* ---- floors, by hand: bench/floor_*.c */
struct result floor_chain(uint64_t rows);       /* M tuples/s of the source */
struct result floor_hop(uint64_t rows);         /* M tuples/s over a ring between two threads */
struct result floor_tcp(uint64_t bytes);        /* GB/s over loopback, 256 KiB writes */
struct result floor_wake(uint64_t round_trips); /* us: half an eventfd round trip, p50 and p99 */
struct result floor_memcpy(uint64_t bytes);     /* GB/s, 64 KiB blocks */
struct result floor_words(const char *path);    /* MB/s of text */

/* ---- the chain through pe/ alone, without a worker: bench/alone.c */
struct result alone_chain(uint64_t rows);

/* ---- the engine as a user runs it: bench/engine.c */
struct engine {
    char bin[4096];  /* folder of oxbow, oxbow-master, oxbow-worker */
    char dir[4096];  /* scratch folder of this run */
    unsigned runs;   /* sub-folders used so far */
};
struct result engine_chain(struct engine *e, uint64_t rows);
struct result engine_hop(struct engine *e, uint64_t rows);
struct result engine_tcp(struct engine *e, uint64_t rows);
struct result engine_latency(struct engine *e, uint64_t rows); /* at 20,000 tuples/s */
struct result engine_words(struct engine *e, const char *path, uint64_t bytes);

struct result result_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
