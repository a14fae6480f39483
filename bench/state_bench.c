/* bench/state_bench.c - keyed sum through oxb_state_rows against a hand-written table.
 *
 * Method:     both add a column of values per key over the same batches of 1024 rows.  The hand
 * loop has 16-byte slots {key, value} at half load and no versions; with `prefetch` it sends for
 * the slot 32 rows ahead, as oxb_state_rows does.  Variants alternate; the median of seven rounds
 * counts. Run:        state_bench [KEYS]... (default 1024 and 1000000) */
#include "core/clock.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/state.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS 1024u
#define ROUNDS 7
#define AHEAD 32u

struct hand_slot {
    int64_t key; /* 0: empty */
    int64_t value;
};

struct hand {
    struct hand_slot *slots;
    uint64_t mask;
    unsigned shift;
};

static inline void hand_add(const struct hand *h, uint64_t at, int64_t key, int64_t value)
{
    while (h->slots[at].key != key) {
        if (h->slots[at].key == 0) {
            h->slots[at].key = key;
            break;
        }
        at = (at + 1) & h->mask;
    }
    h->slots[at].value += value;
}

__attribute__((noinline)) static void hand_plain(const struct hand *h, const int64_t *keys,
                                                 const int64_t *values)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        hand_add(h, hash_i64((uint64_t)keys[i]) >> h->shift, keys[i], values[i]);
    }
}

__attribute__((noinline)) static void hand_prefetch(const struct hand *h, const int64_t *keys,
                                                    const int64_t *values)
{
    uint64_t at[ROWS];
    for (uint32_t i = 0; i < ROWS + AHEAD; i++) {
        if (i < ROWS) {
            at[i] = hash_i64((uint64_t)keys[i]) >> h->shift;
            __builtin_prefetch(&h->slots[at[i]], 1);
        }
        if (i >= AHEAD) {
            hand_add(h, at[i - AHEAD], keys[i - AHEAD], values[i - AHEAD]);
        }
    }
}

__attribute__((noinline)) static void state_sum(struct oxb_state *s, struct oxb_batch *b,
                                                const int64_t *values)
{
    static const unsigned by[1] = {0};
    void *slots[ROWS];
    (void)oxb_state_rows(s, b, by, 1, slots);
    for (uint32_t i = 0; i < ROWS; i++) {
        *(int64_t *)slots[i] += values[i];
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *rates)
{
    qsort(rates, ROUNDS, sizeof(rates[0]), by_value);
    return rates[ROUNDS / 2];
}

struct data {
    int64_t *keys;
    int64_t *values;
    size_t rows;
    unsigned repeats;
};

/* run - M rows/s of one variant: 0 hand, 1 hand with prefetch, 2 state. */
static double run(int variant, const struct data *d, const struct hand *h, struct oxb_state *s)
{
    struct oxb_field field = {.name = "k", .type = OXB_I64, .elements = 1};
    struct oxb_schema schema = {.field_count = 1, .fields = &field, .text = "k: i64"};
    struct oxb_col col = {0};
    struct oxb_batch b = {.rows = ROWS, .live = ROWS, .schema = &schema, .cols = &col};
    uint64_t start = clock_now_ns();
    for (unsigned r = 0; r < d->repeats; r++) {
        for (size_t i = 0; i < d->rows; i += ROWS) {
            col.data = d->keys + i;
            if (variant == 2) {
                state_sum(s, &b, d->values + i);
            } else if (variant == 1) {
                hand_prefetch(h, d->keys + i, d->values + i);
            } else {
                hand_plain(h, d->keys + i, d->values + i);
            }
        }
    }
    return (double)(d->rows * d->repeats) * 1e3 / (double)(clock_now_ns() - start);
}

static void bench(uint64_t key_count)
{
    struct data d = {.rows = 4u << 20, .repeats = key_count > 100000 ? 2 : 4};
    d.keys = mem_array(d.rows, sizeof(int64_t));
    d.values = mem_array(d.rows, sizeof(int64_t));
    struct prng p = {7};
    for (size_t i = 0; i < d.rows; i++) {
        d.keys[i] = (int64_t)prng_below(&p, key_count) + 1;
        d.values[i] = (int64_t)(i & 15);
    }
    struct hand h = {.shift = 63};
    while ((1ull << (64 - h.shift)) < key_count * 2) {
        h.shift--;
    }
    h.mask = (1ull << (64 - h.shift)) - 1;
    h.slots = mem_array(h.mask + 1, sizeof(struct hand_slot));
    struct oxb_value values[] = {{"sum", OXB_I64}, {NULL, OXB_NONE}};
    struct oxb_state_decl decl = {"sum", values};
    struct oxb_state *s = state_new(&decl);
    double rates[3][ROUNDS];
    double fill = run(2, &d, &h, s); /* growth included */
    for (int i = -1; i < ROUNDS; i++) {
        for (int v = 0; v < 3; v++) {
            double rate = run(v, &d, &h, s);
            rates[v][i < 0 ? 0 : i] = rate;
        }
    }
    double hand = median(rates[0]), ahead = median(rates[1]), state = median(rates[2]);
    printf("%8llu keys  hand %6.1f  hand+prefetch %6.1f  state %6.1f M/s = %.2f, %.2f  "
           "(first pass %.1f; %.1f MiB)\n",
           (unsigned long long)key_count, hand, ahead, state, state / hand, state / ahead, fill,
           (double)state_bytes(s) / 1048576.0);
    state_free(s);
    mem_free(h.slots);
    mem_free(d.keys);
    mem_free(d.values);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bench(strtoull(argv[i], NULL, 10));
    }
    if (argc == 1) {
        bench(1024);
        bench(1000000);
    }
    return 0;
}
