/* tests/unit/worker/channel_test.c - numbering, the ledger, spilling and waking, one channel alone.
 *
 * Goal:   every fault of a channel is found and told apart: tuples missing, come again, come late,
 *         a count that differs at a marker, an end or a close; what does not fit keeps its order.
 * Method: items accounted by hand with planted faults, also at random against a naive model of the
 *         receiver; a LOCAL channel whose ends only count their wake-ups. */
#include "core/prng.h"
#include "tests/support/ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct rig {
    struct pool *pool;
    struct executors *executors;
    struct end from, to;
    struct channel *c;
};

static void rig_init(struct rig *r)
{
    r->pool = pool_new(1 << 20);
    r->executors = executors_new(1);
    end_init(&r->from, r->executors);
    end_init(&r->to, r->executors);
    r->c = ends_channel(7, r->pool, &r->from, &r->to);
}

static void rig_fini(struct rig *r)
{
    end_fini(&r->from);
    end_fini(&r->to);
    executors_free(r->executors);
    channel_free(r->c);
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

struct counts {
    uint64_t received, gaps, repeats, reordered, compared, mismatched;
};

static void check(const struct channel *c, struct counts want)
{
    const struct ledger *l = &c->ledger;
    assert_int_equal(atomic_load(&l->received), want.received);
    assert_int_equal(atomic_load(&l->gaps), want.gaps);
    assert_int_equal(atomic_load(&l->repeats), want.repeats);
    assert_int_equal(atomic_load(&l->reordered), want.reordered);
    assert_int_equal(atomic_load(&l->compared), want.compared);
    assert_int_equal(atomic_load(&l->mismatched), want.mismatched);
}

static enum take batch(struct channel *c, uint64_t first, uint32_t count)
{
    struct item it = {.kind = ITEM_BATCH, .first = first, .count = count};
    return channel_account(c, &it);
}

static void mark(struct channel *c, enum item_kind kind, uint64_t sent)
{
    struct item it = {.kind = kind, .first = sent, .epoch = 1};
    assert_int_equal(channel_account(c, &it), TAKE_OK);
}

/* ---------------------------------------------------------------- the ledger */

static void a_clean_channel_balances_at_every_marker(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    assert_int_equal(batch(r.c, 0, 10), TAKE_OK);
    mark(r.c, ITEM_MARKER_CHECKPOINT, 10);
    assert_int_equal(batch(r.c, 10, 1), TAKE_OK);
    mark(r.c, ITEM_MARKER_SWITCH, 11);
    mark(r.c, ITEM_END, 11);
    assert_true(atomic_load(&r.c->ledger.ended));
    mark(r.c, ITEM_CLOSE, 11);
    check(r.c, (struct counts){.received = 11, .compared = 4});
    rig_fini(&r);
}

static void a_gap_is_lost_tuples_and_nothing_else(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    assert_int_equal(batch(r.c, 0, 10), TAKE_OK);
    assert_int_equal(batch(r.c, 15, 5), TAKE_OK);
    check(r.c, (struct counts){.received = 20, .gaps = 5});
    assert_int_equal(batch(r.c, 20, 5), TAKE_OK);
    mark(r.c, ITEM_END, 25);
    check(r.c, (struct counts){.received = 25, .gaps = 5, .compared = 1});
    rig_fini(&r);
}

static void a_repeat_is_dropped_and_counted(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    assert_int_equal(batch(r.c, 0, 10), TAKE_OK);
    assert_int_equal(batch(r.c, 0, 10), TAKE_REPEAT);
    assert_int_equal(batch(r.c, 5, 5), TAKE_REPEAT);
    mark(r.c, ITEM_MARKER_CHECKPOINT, 10);
    check(r.c, (struct counts){.received = 10, .repeats = 15, .compared = 1});
    rig_fini(&r);
}

static void a_late_batch_is_reordered_not_repeated(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    assert_int_equal(batch(r.c, 0, 10), TAKE_OK);
    assert_int_equal(batch(r.c, 30, 10), TAKE_OK); /* 10..29 overtaken */
    assert_int_equal(batch(r.c, 10, 10), TAKE_REPEAT);
    check(r.c, (struct counts){.received = 40, .gaps = 20, .reordered = 10});
    assert_int_equal(batch(r.c, 10, 10), TAKE_REPEAT); /* the late one comes again */
    check(r.c, (struct counts){.received = 40, .gaps = 20, .reordered = 10, .repeats = 10});
    assert_int_equal(batch(r.c, 20, 10), TAKE_REPEAT);
    check(r.c, (struct counts){.received = 40, .gaps = 20, .reordered = 20, .repeats = 10});
    rig_fini(&r);
}

static void a_wrong_count_is_found_at_marker_end_and_close(void **state)
{
    (void)state;
    static const enum item_kind kinds[] = {ITEM_MARKER_CHECKPOINT, ITEM_MARKER_SWITCH, ITEM_END,
                                           ITEM_CLOSE};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct rig r;
        rig_init(&r);
        assert_int_equal(batch(r.c, 0, 10), TAKE_OK);
        mark(r.c, kinds[k], 11); /* the last tuple never came */
        check(r.c, (struct counts){.received = 10, .compared = 1, .mismatched = 1});
        mark(r.c, kinds[k], 9);
        check(r.c, (struct counts){.received = 10, .compared = 2, .mismatched = 2});
        rig_fini(&r);
    }
}

/* A receiver that keeps every number it has seen, on purpose without the ledger's arithmetic. */
enum { NUMBERS = 4000 };
struct naive {
    bool seen[NUMBERS];
    uint64_t highest; /* seen + 1 */
    uint64_t taken, again, late, missing;
};

static void naive_take(struct naive *n, uint64_t first, uint32_t count)
{
    bool fresh = first >= n->highest;
    for (uint64_t k = first; k < first + count; k++) {
        uint64_t *of = fresh ? &n->taken : n->seen[k] ? &n->again : &n->late;
        ++*of;
        n->seen[k] = true;
    }
    if (fresh) {
        n->missing += first - n->highest;
        n->highest = first + count;
    }
}

static void random_faults_agree_with_a_naive_receiver(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rig r;
        rig_init(&r);
        static struct naive n; /* tidy: large, test only */
        memset(&n, 0, sizeof n);
        struct prng g = {seed};
        uint64_t next = 0, before = 0, held = UINT64_MAX;
        uint32_t before_count = 0, held_count = 0;
        while (next < NUMBERS - 64) {
            uint32_t count = 1 + (uint32_t)(prng_u64(&g) % 20);
            uint64_t what = prng_u64(&g) % 16;
            if (what == 0 && held == UINT64_MAX) { /* to be overtaken by one other */
                held = next;
                held_count = count;
            } else if (what != 1 || held != UINT64_MAX) { /* else it is lost */
                naive_take(&n, next, count);
                (void)batch(r.c, next, count);
                before = next;
                before_count = count;
                if (held != UINT64_MAX) {
                    naive_take(&n, held, held_count);
                    assert_int_equal(batch(r.c, held, held_count), TAKE_REPEAT);
                    held = UINT64_MAX;
                }
            }
            next += count;
            if (what == 2 && before_count > 0) {
                naive_take(&n, before, before_count);
                assert_int_equal(batch(r.c, before, before_count), TAKE_REPEAT);
            }
        }
        check(r.c, (struct counts){.received = n.highest, .gaps = n.missing, .repeats = n.again,
                                   .reordered = n.late});
        rig_fini(&r);
    }
}

/* ---------------------------------------------------------------- ring, spill, waking */

/* Takes what is there; the numbers go on from *next without gap.  Return: items taken. */
static unsigned take_all(struct rig *r, uint64_t *next, uint64_t *marks)
{
    unsigned n = 0;
    for (struct item it; ends_take(r->c, &it); n++) {
        assert_int_equal(channel_account(r->c, &it), TAKE_OK);
        assert_int_equal(it.first, *next);
        if (it.kind == ITEM_BATCH) {
            ends_check(it.batch, 100);
            OXB_EACH (&it.batch->pub, row) {
                assert_int_equal(oxb_i64s(&it.batch->pub, 0)[row], *next);
                ++*next;
            }
            batch_free(it.batch);
        } else {
            assert_int_equal(it.epoch, ++*marks);
        }
    }
    return n;
}

static void what_does_not_fit_waits_in_order(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    uint64_t sent = 0, next = 0, marked = 0, marks = 0;
    for (unsigned k = 0; k < 60; k++) {
        channel_send(r.c, ends_batch(r.pool, (int64_t)sent, 3, 100, false));
        sent += 3;
        if (k % 5 == 4) {
            channel_mark(r.c, ITEM_MARKER_CHECKPOINT, ++marked);
        }
        assert_int_equal(r.from.chain.spilled, channel_has_spill(r.c) ? 1 : 0);
    }
    assert_true(channel_has_spill(r.c));
    unsigned taken = take_all(&r, &next, &marks);
    assert_true(taken >= RING_BATCHES && taken <= RING_SLOTS);
    while (!channel_drain(r.c)) {
        assert_int_equal(r.from.chain.spilled, 1);
        assert_true(take_all(&r, &next, &marks) > 0);
    }
    take_all(&r, &next, &marks);
    assert_int_equal(r.from.chain.spilled, 0);
    assert_int_equal(next, sent);
    assert_int_equal(marks, marked);
    check(r.c, (struct counts){.received = sent, .compared = marked});
    rig_fini(&r);
}

static void a_marker_finds_room_where_a_batch_does_not(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    for (unsigned k = 0; k < RING_BATCHES; k++) {
        channel_send(r.c, ends_batch(r.pool, k, 1, 100, false));
    }
    assert_false(channel_has_spill(r.c));
    channel_mark(r.c, ITEM_MARKER_SWITCH, 1);
    assert_false(channel_has_spill(r.c));
    channel_send(r.c, ends_batch(r.pool, RING_BATCHES, 1, 100, false));
    assert_true(channel_has_spill(r.c));
    channel_mark(r.c, ITEM_MARKER_SWITCH, 2); /* behind the batch, though the ring had room */
    uint64_t next = 0, marks = 0;
    take_all(&r, &next, &marks);
    assert_int_equal(marks, 1);
    assert_true(channel_drain(r.c));
    take_all(&r, &next, &marks);
    assert_int_equal(next, RING_BATCHES + 1);
    assert_int_equal(marks, 2);
    rig_fini(&r);
}

static void a_waiting_producer_is_woken_when_half_the_ring_is_free(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    for (unsigned k = 0; k < RING_BATCHES + 4; k++) {
        channel_send(r.c, ends_batch(r.pool, k, 1, 100, false));
    }
    assert_false(channel_drain(r.c)); /* asks to be woken */
    struct item it;
    for (unsigned k = 0; k < RING_BATCHES / 2; k++) {
        assert_int_equal(end_wakes(&r.from), 0);
        assert_true(ends_take(r.c, &it));
        batch_free(it.batch);
    }
    end_wait_woken(&r.from);
    assert_true(channel_drain(r.c));
    while (ends_take(r.c, &it)) {
        batch_free(it.batch);
    }
    assert_int_equal(end_wakes(&r.from), 0); /* once is enough */
    rig_fini(&r);
}

static void count_tell(void *arg, struct chain *c)
{
    (void)c;
    ++*(unsigned *)arg;
}

static bool take_and_book(struct rig *r)
{
    struct item it;
    if (!ends_take(r->c, &it)) {
        return false;
    }
    assert_int_equal(channel_account(r->c, &it), TAKE_OK);
    channel_look_squeezed(r->c);
    batch_free(it.batch);
    return true;
}

/* H21: what was sent before goes its way, then no more than a batch waits; the loop hears of it
 * once. */
static void a_squeezed_channel_empties_and_stays_small(void **state)
{
    (void)state;
    struct rig r;
    unsigned told = 0;
    uint64_t sent = 0;
    rig_init(&r);
    r.to.chain.on_change = count_tell;
    r.to.chain.arg = &told;
    for (; sent < RING_BATCHES + 2; sent++) {
        channel_send(r.c, ends_batch(r.pool, (int64_t)sent, 1, 100, false));
    }
    assert_false(channel_drain(r.c));
    channel_squeeze(r.c, 1);
    assert_false(channel_is_squeezed(r.c));
    channel_note_squeezed(r.c); /* the sender knows; two are spilled still */
    for (unsigned k = 0; k < RING_BATCHES; k++) {
        assert_int_equal(ring_used(&r.c->ring), RING_BATCHES - k);
        assert_false(channel_drain(r.c)); /* the ring takes no more */
        assert_true(take_and_book(&r));
    }
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(told, 0); /* small enough, but of what was sent before */
        assert_int_equal(channel_drain(r.c), k == 1);
        assert_int_equal(ring_used(&r.c->ring), 1);
        assert_false(channel_is_squeezed(r.c));
        assert_true(take_and_book(&r));
    }
    assert_int_equal(told, 1);
    assert_true(channel_is_squeezed(r.c));
    assert_false(channel_is_in_the_way(r.c));
    channel_send(r.c, ends_batch(r.pool, (int64_t)sent, 1, 100, false));
    assert_true(channel_is_squeezed(r.c)); /* one may wait */
    while (end_wakes(&r.from) > 0) {
        end_wait_woken(&r.from);
    }
    assert_true(channel_is_in_the_way(r.c)); /* room is for one: who sends waits, and is told */
    assert_true(take_and_book(&r));
    end_wait_woken(&r.from);
    channel_squeeze(r.c, RING_BATCHES);
    channel_send(r.c, ends_batch(r.pool, (int64_t)sent + 1, 1, 100, false));
    assert_false(channel_is_in_the_way(r.c)); /* as any other again */
    assert_true(take_and_book(&r));
    assert_int_equal(told, 1);
    rig_fini(&r);
}

/* Who is idle sends nothing before or after: the squeezed channel must not wait for it. */
static void an_idle_channel_is_squeezed_when_its_sender_knows(void **state)
{
    (void)state;
    struct rig r;
    unsigned told = 0;
    rig_init(&r);
    r.to.chain.on_change = count_tell;
    r.to.chain.arg = &told;
    channel_squeeze(r.c, 1);
    assert_false(channel_is_squeezed(r.c)); /* it may be about to send a whole batch */
    channel_note_squeezed(r.c);
    assert_int_equal(told, 1);
    assert_true(channel_is_squeezed(r.c));
    channel_squeeze(r.c, RING_BATCHES);
    channel_squeeze(r.c, 1); /* by another change */
    assert_false(channel_is_squeezed(r.c));
    rig_fini(&r);
}

static void the_consumer_is_woken_for_each_thing_it_may_take(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    channel_send(r.c, ends_batch(r.pool, 0, 1, 100, false));
    end_wait_woken(&r.to);
    channel_mark(r.c, ITEM_END, 0);
    end_wait_woken(&r.to);
    uint64_t next = 0, marks = 0;
    struct item it;
    assert_true(ends_take(r.c, &it));
    batch_free(it.batch);
    assert_true(ends_take(r.c, &it));
    assert_int_equal(it.kind, ITEM_END);
    for (unsigned k = 1; k < 2 * RING_BATCHES; k++) {
        channel_send(r.c, ends_batch(r.pool, k, 1, 100, false));
    }
    end_wait_woken(&r.to);
    while (end_wakes(&r.to) > 0) {
        end_wait_woken(&r.to);
    }
    next = 1;
    atomic_store(&r.c->ledger.received, 1);
    take_all(&r, &next, &marks);
    assert_true(channel_drain(r.c));
    end_wait_woken(&r.to); /* what came up from the spill wakes it too */
    take_all(&r, &next, &marks);
    assert_int_equal(next, 2 * RING_BATCHES);
    rig_fini(&r);
}

/* ---------------------------------------------------------------- gathering */

static void gathered_rows_and_whole_batches_keep_the_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rig r;
        rig_init(&r);
        struct prng g = {seed};
        uint64_t sent = 0, next = 0, marked = 0, marks = 0;
        for (unsigned k = 0; k < 300; k++) {
            uint32_t n = 1 + (uint32_t)(prng_u64(&g) % 200);
            struct batch *b = ends_batch(r.pool, (int64_t)sent, n, 100, prng_u64(&g) % 2 == 0);
            sent += n;
            if (prng_u64(&g) % 4 == 0) {
                channel_flush(r.c); /* as routing does before it sends a whole batch */
                channel_send(r.c, b);
            } else {
                uint16_t all[BATCH_ROWS_MAX];
                for (uint32_t i = 0; i < n; i++) {
                    all[i] = b->pub.sel != NULL ? b->pub.sel[i] : (uint16_t)i;
                }
                channel_gather(r.c, b, all, n);
                batch_free(b);
            }
            if (prng_u64(&g) % 16 == 0) {
                channel_mark(r.c, ITEM_MARKER_CHECKPOINT, ++marked);
                assert_false(channel_has_open(r.c));
            }
            if (prng_u64(&g) % 3 == 0) {
                take_all(&r, &next, &marks);
                (void)channel_drain(r.c);
            }
        }
        channel_mark(r.c, ITEM_END, ++marked);
        do {
            take_all(&r, &next, &marks);
        } while (!channel_drain(r.c));
        take_all(&r, &next, &marks);
        assert_int_equal(next, sent);
        assert_int_equal(marks, marked);
        check(r.c, (struct counts){.received = sent, .compared = marked});
        rig_fini(&r);
    }
}

static void a_channel_is_freed_with_all_that_is_in_it(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    for (unsigned k = 0; k < 3 * RING_BATCHES; k++) {
        channel_send(r.c, ends_batch(r.pool, k, 1, 100, k % 2 == 0));
    }
    uint16_t first = 0;
    struct batch *b = ends_batch(r.pool, 3 * RING_BATCHES, 1, 100, false);
    channel_gather(r.c, b, &first, 1);
    batch_free(b);
    assert_true(channel_has_open(r.c));
    rig_fini(&r); /* asserts that the pool is empty */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_channel_balances_at_every_marker),
        cmocka_unit_test(a_gap_is_lost_tuples_and_nothing_else),
        cmocka_unit_test(a_repeat_is_dropped_and_counted),
        cmocka_unit_test(a_late_batch_is_reordered_not_repeated),
        cmocka_unit_test(a_wrong_count_is_found_at_marker_end_and_close),
        cmocka_unit_test(random_faults_agree_with_a_naive_receiver),
        cmocka_unit_test(what_does_not_fit_waits_in_order),
        cmocka_unit_test(a_marker_finds_room_where_a_batch_does_not),
        cmocka_unit_test(a_waiting_producer_is_woken_when_half_the_ring_is_free),
        cmocka_unit_test(a_squeezed_channel_empties_and_stays_small),
        cmocka_unit_test(an_idle_channel_is_squeezed_when_its_sender_knows),
        cmocka_unit_test(the_consumer_is_woken_for_each_thing_it_may_take),
        cmocka_unit_test(gathered_rows_and_whole_batches_keep_the_order),
        cmocka_unit_test(a_channel_is_freed_with_all_that_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
