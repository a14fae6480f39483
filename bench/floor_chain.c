/* bench/floor_chain.c - the fused chain by hand: what one core can do with plain C structs.
 *
 * Source, map, filter (a selection of row numbers), keyed running sum in an open-addressing table,
 * sink; 256 rows at a time, each stage a function the compiler may not merge with the next, as
 * stages of separate units are. */
#include "bench/bench.h"
#include "bench/rows.h"
#include "core/clock.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 256u /* 12 KiB of rows: the level-one cache keeps them */
#define TABLE_BITS 12u

struct chain {
    struct row rows[ROWS];
    uint16_t sel[ROWS];
    uint32_t live;
    int64_t keys[1u << TABLE_BITS]; /* key + 1; 0: empty */
    int64_t sums[1u << TABLE_BITS];
    uint64_t count;
    uint64_t check;
};

__attribute__((noipa)) static void stage_source(struct chain *c, uint64_t first, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t i = first + r;
        struct row *row = &c->rows[r];
        row->k = row_key(i);
        row->v = row_value(i);
        row->x = row_real(i);
        memcpy(row->s, row_texts[i % ROW_TEXTS], ROW_TEXT_BYTES);
        row->b = (uint8_t)(i & 1);
    }
}

__attribute__((noipa)) static void stage_map(struct chain *c, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++) {
        c->rows[r].v = row_map(c->rows[r].v);
    }
}

__attribute__((noipa)) static void stage_filter(struct chain *c, uint32_t rows)
{
    uint32_t live = 0;
    for (uint32_t r = 0; r < rows; r++) {
        c->sel[live] = (uint16_t)r;
        live += row_keep(c->rows[r].v) ? 1u : 0u;
    }
    c->live = live;
}

__attribute__((noipa)) static void stage_sum(struct chain *c)
{
    for (uint32_t n = 0; n < c->live; n++) {
        struct row *row = &c->rows[c->sel[n]];
        uint64_t at = hash_i64((uint64_t)row->k) >> (64 - TABLE_BITS);
        while (c->keys[at] != row->k + 1) {
            if (c->keys[at] == 0) {
                c->keys[at] = row->k + 1;
                break;
            }
            at = (at + 1) & ((1u << TABLE_BITS) - 1);
        }
        c->sums[at] += row->v;
        row->v = c->sums[at];
    }
}

__attribute__((noipa)) static void stage_sink(struct chain *c)
{
    uint64_t check = 0;
    for (uint32_t n = 0; n < c->live; n++) {
        const struct row *row = &c->rows[c->sel[n]];
        check += (uint64_t)row->k ^ (uint64_t)row->v;
    }
    c->check += check;
    c->count += c->live;
}

struct result floor_chain(uint64_t rows)
{
    struct chain *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return result_fail("out of memory");
    }
    uint64_t start = clock_now_ns();
    for (uint64_t i = 0; i < rows; i += ROWS) {
        uint32_t n = rows - i < ROWS ? (uint32_t)(rows - i) : ROWS;
        stage_source(c, i, n);
        stage_map(c, n);
        stage_filter(c, n);
        stage_sum(c);
        stage_sink(c);
    }
    double ns = (double)(clock_now_ns() - start);
    struct result r = {.ok = true,
                       .value = (double)rows * 1e3 / ns,
                       .count = c->count,
                       .check = c->check};
    free(c);
    return r;
}
