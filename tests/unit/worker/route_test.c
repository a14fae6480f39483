/* tests/unit/worker/route_test.c - routing of random batches against a naive reference.
 *
 * Goal:   whatever the partitioning, the number of destinations (1..64), the selections and the
 *         sizes: each live tuple reaches exactly the destinations it must, whole, once, in the
 *         order of emission per destination; peers get dense batches only.
 * Method: a port over channels whose ends only count wake-ups; destinations to a peer are channels
 *         of a link that is never connected.  The reference routes row by row. */
#include "core/mem.h"
#include "core/prng.h"
#include "tests/support/ends.h"
#include "worker/frame.h"
#include "worker/link_own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { DESTS_MAX = 64, KEYS = 97, TUPLES = 40000 };

struct rig {
    struct pool *pool;
    struct executors *executors;
    struct end from, to;
    struct link_out link; /* notified: so nothing is ever posted */
    struct out_stream stream;
    struct out_port port;
    struct channel *channels[DESTS_MAX];
    uint64_t sent;
    int8_t expected[TUPLES + BATCH_ROWS_MAX]; /* seq -> destination; -1: any one */
    /* what came */
    uint8_t came[TUPLES + BATCH_ROWS_MAX];
    int64_t last[DESTS_MAX];
    uint64_t marks[DESTS_MAX], numbered[DESTS_MAX];
};

static void rig_init(struct rig *r, struct prng *g, enum route_kind kind, uint32_t dests)
{
    memset(r, 0, sizeof *r);
    r->pool = pool_new(1 << 20);
    r->executors = executors_new(1);
    end_init(&r->from, r->executors);
    end_init(&r->to, r->executors);
    atomic_store(&r->link.notified, true);
    r->stream = (struct out_stream){.kind = kind, .channel_count = dests,
                                    .channels = r->channels, .key_count = 1, .keys = {1}};
    for (uint32_t d = 0; d < dests; d++) {
        bool remote = prng_below(g, 3) == 0;
        struct channel *c = channel_new(d + 1, remote ? CHANNEL_OUT : CHANNEL_LOCAL, ends_schema(),
                                        r->pool);
        c->from = &r->from.instance;
        c->to = remote ? NULL : &r->to.instance;
        c->out = remote ? &r->link : NULL;
        r->channels[d] = c;
        r->last[d] = -1;
    }
    for (unsigned k = 0; k < KEY_GROUPS; k++) {
        r->stream.owners[k] = (uint16_t)prng_below(g, dests);
    }
    r->port = (struct out_port){.streams = &r->stream, .stream_count = 1};
}

static void rig_fini(struct rig *r)
{
    end_fini(&r->from);
    end_fini(&r->to);
    executors_free(r->executors);
    for (uint32_t d = 0; d < r->stream.channel_count; d++) {
        channel_free(r->channels[d]);
    }
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

static void came(struct rig *r, uint32_t d, const struct item *it)
{
    const struct batch *b = it->batch;
    assert_int_equal(it->first, r->numbered[d]);
    if (it->kind != ITEM_BATCH) {
        r->marks[d]++;
        return;
    }
    assert_int_equal(it->count, b->pub.live);
    assert_true(b->pub.live > 0);
    r->numbered[d] += it->count;
    ends_check(b, KEYS);
    if (it->frame != NULL) {
        assert_null(b->pub.sel);
        assert_int_equal(b->pub.live, b->pub.rows);
    }
    OXB_EACH (&b->pub, i) {
        int64_t seq = oxb_i64s(&b->pub, 0)[i];
        assert_true(seq > r->last[d]);
        r->last[d] = seq;
        if (r->stream.kind == ROUTE_KEYED) {
            assert_int_equal(r->expected[seq], d);
        }
        r->came[seq]++;
    }
}

static void drop(struct item *it)
{
    if (it->frame != NULL) {
        frame_free(it->frame);
    } else {
        batch_free(it->batch);
    }
}

static void take_all(struct rig *r)
{
    for (uint32_t d = 0; d < r->stream.channel_count; d++) {
        for (bool more = true; more;) {
            for (struct item it; ends_take(r->channels[d], &it);) {
                came(r, d, &it);
                drop(&it);
            }
            more = channel_has_spill(r->channels[d]);
            (void)channel_drain(r->channels[d]);
        }
    }
}

static void emit(struct rig *r, struct prng *g)
{
    static const uint32_t sizes[] = {1, 2, 7, 40, 300, BATCH_ROWS_MAX};
    uint32_t live = 1 + (uint32_t)prng_below(g, sizes[prng_below(g, 6)]);
    struct batch *b = ends_batch(r->pool, (int64_t)r->sent, live, KEYS, prng_below(g, 2) == 0);
    uint64_t hashes[BATCH_ROWS_MAX];
    batch_hash_keys(&b->pub, r->stream.keys, 1, hashes);
    for (uint32_t k = 0; k < live; k++) {
        r->expected[r->sent + k] = (int8_t)r->stream.owners[key_group(hashes[k])];
    }
    r->sent += live;
    route_emit(&r->port, b);
}

static void run(enum route_kind kind, uint32_t dests, uint64_t seed)
{
    static struct rig r; /* tidy: large, test only */
    struct prng g = {seed};
    rig_init(&r, &g, kind, dests);
    uint64_t marks = 0;
    while (r.sent < TUPLES) {
        emit(&r, &g);
        if (prng_below(&g, 50) == 0) {
            route_flush(&r.port);
            assert_false(route_has_open(&r.port));
        }
        if (prng_below(&g, 50) == 0) {
            route_mark(&r.port, ITEM_MARKER_CHECKPOINT, ++marks);
        }
        if (prng_below(&g, 4) == 0) {
            take_all(&r);
            assert_true(route_drain(&r.port));
        }
    }
    route_mark(&r.port, ITEM_END, 0);
    take_all(&r);
    assert_true(route_drain(&r.port));
    assert_int_equal(r.from.chain.spilled, 0);
    for (uint64_t seq = 0; seq < r.sent; seq++) {
        assert_int_equal(r.came[seq], kind == ROUTE_ALL ? dests : 1);
    }
    for (uint32_t d = 0; d < dests; d++) {
        assert_int_equal(r.marks[d], marks + 1);
        assert_int_equal(atomic_load(&r.channels[d]->ledger.sent), r.numbered[d]);
    }
    rig_fini(&r);
}

static void one_destination_gets_all_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        run(ROUTE_ONE, 1, seed);
        run(ROUTE_KEYED, 1, seed);
        run(ROUTE_ALL, 1, seed);
        run(ROUTE_ROUND_ROBIN, 1, seed);
    }
}

static void keyed_rows_go_to_the_owner_of_their_group(void **state)
{
    (void)state;
    for (uint32_t dests = 2; dests <= DESTS_MAX; dests += dests < 8 ? 1 : 7) {
        run(ROUTE_KEYED, dests, dests);
    }
    run(ROUTE_KEYED, DESTS_MAX, 99);
}

static void round_robin_gives_each_row_to_one(void **state)
{
    (void)state;
    for (uint32_t dests = 2; dests <= DESTS_MAX; dests += dests < 8 ? 1 : 13) {
        run(ROUTE_ROUND_ROBIN, dests, dests);
    }
}

static void broadcast_gives_each_row_to_all(void **state)
{
    (void)state;
    for (uint32_t dests = 2; dests <= DESTS_MAX; dests += dests < 8 ? 2 : 27) {
        run(ROUTE_ALL, dests, dests);
    }
}

static void round_robin_passes_by_who_is_full(void **state)
{
    (void)state;
    static struct rig r; /* tidy: large, test only */
    struct prng g = {5};
    rig_init(&r, &g, ROUTE_ROUND_ROBIN, 4);
    struct channel *full = r.channels[2];
    for (unsigned k = 0; k < 200; k++) { /* the third destination never takes anything */
        route_emit(&r.port, ends_batch(r.pool, (int64_t)r.sent, 300, KEYS, false));
        r.sent += 300;
        for (uint32_t d = 0; d < 4; d++) {
            struct item it;
            while (d != 2 && ends_take(r.channels[d], &it)) {
                drop(&it);
            }
        }
    }
    assert_int_equal(ring_used(&full->ring), RING_BATCHES);
    assert_false(channel_has_spill(full));
    rig_fini(&r);
}

static void every_stream_of_a_port_gets_everything(void **state)
{
    (void)state;
    static struct rig a, b; /* tidy: large, test only */
    struct prng g = {6};
    rig_init(&a, &g, ROUTE_KEYED, 5);
    rig_init(&b, &g, ROUTE_ALL, 2);
    struct out_stream both[] = {a.stream, b.stream};
    struct out_port port = {.streams = both, .stream_count = 2};
    struct pool *pool = pool_new(1 << 20);
    for (unsigned k = 0; k < 200; k++) {
        uint32_t live = 1 + (uint32_t)prng_below(&g, 500);
        struct batch *out = ends_batch(pool, (int64_t)a.sent, live, KEYS, k % 2 == 0);
        uint64_t hashes[BATCH_ROWS_MAX];
        batch_hash_keys(&out->pub, a.stream.keys, 1, hashes);
        for (uint32_t i = 0; i < live; i++) {
            a.expected[a.sent + i] = (int8_t)a.stream.owners[key_group(hashes[i])];
        }
        a.sent += live;
        route_emit(&port, out);
        a.sent = a.sent < TUPLES ? a.sent : TUPLES;
        route_flush(&port);
        take_all(&a);
        take_all(&b);
        if (a.sent == TUPLES) {
            break;
        }
    }
    for (uint64_t seq = 0; seq < a.sent; seq++) {
        assert_int_equal(a.came[seq], 1);
        assert_int_equal(b.came[seq], 2);
    }
    rig_fini(&a);
    rig_fini(&b);
    assert_int_equal(pool_bytes_used(pool), 0);
    pool_free(pool);
}

static void a_port_without_streams_drops_what_it_gets(void **state)
{
    (void)state;
    struct pool *pool = pool_new(1 << 20);
    struct out_port none = {0};
    route_emit(&none, ends_batch(pool, 0, 100, KEYS, true));
    route_mark(&none, ITEM_END, 0);
    assert_true(route_drain(&none));
    assert_int_equal(pool_bytes_used(pool), 0);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_destination_gets_all_in_order),
        cmocka_unit_test(keyed_rows_go_to_the_owner_of_their_group),
        cmocka_unit_test(round_robin_gives_each_row_to_one),
        cmocka_unit_test(broadcast_gives_each_row_to_all),
        cmocka_unit_test(round_robin_passes_by_who_is_full),
        cmocka_unit_test(every_stream_of_a_port_gets_everything),
        cmocka_unit_test(a_port_without_streams_drops_what_it_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
