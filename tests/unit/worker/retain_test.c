/* tests/unit/worker/retain_test.c - logs of channels: what is kept, for how long, and sent again.
 *
 * Goal:   B1-B3 of worker/retain.h and C4 of worker/channel.h: trimmed at a complete checkpoint,
 *         dropped over budget up to a marker, void markers skipped, order and numbers when a
 *         consumer is away, comes back, or is replaced by another.
 * Method: a log alone against a list of what was sent, at random; a LOCAL channel with a log
 *         whose consumer is this test. */
#include "core/prng.h"
#include "tests/support/ends.h"
#include "worker/retain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { KEYS = 7, ROWS = 4, PLENTY = 64 << 20 };

struct rig {
    struct pool *pool;
    struct executors *executors;
    struct end from, to;
    struct channel *c, *next, *third;
    int64_t sent;  /* tuples */
    bool selected; /* some batches are views of some rows */
};

static void rig_init(struct rig *r, uint64_t from, uint64_t budget)
{
    *r = (struct rig){.pool = pool_new(1 << 20), .executors = executors_new(1)};
    end_init(&r->from, r->executors);
    end_init(&r->to, r->executors);
    r->c = ends_channel(7, r->pool, &r->from, &r->to);
    r->next = ends_channel(8, r->pool, &r->from, &r->to);
    r->third = ends_channel(9, r->pool, &r->from, &r->to);
    atomic_store(&r->c->log, retained_new(from, budget));
}

static void rig_fini(struct rig *r)
{
    end_fini(&r->from);
    end_fini(&r->to);
    executors_free(r->executors);
    channel_free(r->c);
    channel_free(r->next);
    channel_free(r->third);
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

static struct retained *log_of(const struct rig *r)
{
    return channel_log(r->c);
}

static void send(struct rig *r, unsigned batches)
{
    for (unsigned n = 0; n < batches; n++) {
        channel_send(r->c, ends_batch(r->pool, r->sent, ROWS, KEYS, r->selected && n % 3 == 1));
        r->sent += ROWS;
    }
}

static void mark(struct rig *r, uint64_t epoch)
{
    channel_mark(r->c, ITEM_MARKER_CHECKPOINT, epoch);
}

/* take - the next item of `c` and what it must be.  @seq: of its first tuple. */
static void take(struct channel *c, uint64_t first, int64_t seq)
{
    struct item it;
    assert_true(ends_take(c, &it));
    assert_int_equal(it.kind, ITEM_BATCH);
    assert_int_equal(it.first, first);
    assert_int_equal(it.count, ROWS);
    assert_int_equal(channel_account(c, &it), TAKE_OK);
    ends_check(it.batch, KEYS);
    OXB_EACH (&it.batch->pub, i) {
        assert_int_equal(oxb_i64s(&it.batch->pub, 0)[i], seq++);
    }
    batch_free(it.batch);
}

static void take_mark(struct channel *c, enum item_kind kind, uint64_t sent)
{
    struct item it;
    assert_true(ends_take(c, &it));
    assert_int_equal(it.kind, kind);
    assert_int_equal(it.first, sent);
    assert_int_equal(channel_account(c, &it), TAKE_OK);
}

static void take_all(struct channel *c, uint64_t first, int64_t seq, unsigned batches)
{
    for (unsigned n = 0; n < batches; n++) {
        take(c, first + n * ROWS, seq + (int64_t)n * ROWS);
        (void)channel_drain(c);
    }
}

/* ---------------------------------------------------------------- what is kept */

static void a_log_reaches_back_to_its_beginning_then_to_what_is_complete(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, PLENTY);
    send(&r, 2);
    mark(&r, 5);
    send(&r, 2);
    assert_true(retain_reaches(log_of(&r), 0));
    assert_true(retain_reaches(log_of(&r), 5));
    assert_false(retain_reaches(log_of(&r), 4));
    assert_int_equal(log_of(&r)->sent, 5);
    retain_trim(log_of(&r), 5);
    assert_int_equal(log_of(&r)->sent, 2); /* R22: from the marker on */
    assert_int_equal(atomic_load(&log_of(&r)->reach), 6);
    assert_false(retain_reaches(log_of(&r), 0));
    retain_trim(log_of(&r), 4); /* told late */
    retain_trim(log_of(&r), 9); /* never passed here */
    assert_int_equal(log_of(&r)->sent, 2);
    assert_true(retain_sweep(log_of(&r), 1));
    assert_false(retain_sweep(log_of(&r), 10));
    rig_fini(&r);
}

static void what_a_change_added_begins_with_the_first_marker(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, RETAIN_NOTHING, PLENTY);
    send(&r, 2);
    assert_int_equal(atomic_load(&log_of(&r)->reach), 0);
    assert_int_equal(atomic_load(&log_of(&r)->bytes), 0);
    mark(&r, 5);
    send(&r, 3);
    assert_true(retain_reaches(log_of(&r), 5));
    assert_int_equal(log_of(&r)->sent, 3);
    rig_fini(&r);
}

static size_t bytes_of_a_batch(void)
{
    struct rig r;
    rig_init(&r, 0, PLENTY);
    send(&r, 1);
    size_t bytes = log_of(&r)->live_bytes;
    rig_fini(&r);
    return bytes;
}

static void over_budget_it_begins_at_a_later_marker_or_is_off(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, 5 * bytes_of_a_batch());
    send(&r, 3);
    mark(&r, 5);
    send(&r, 2); /* one item too many: what was before the marker goes */
    assert_false(retain_reaches(log_of(&r), 0));
    assert_true(retain_reaches(log_of(&r), 5));
    assert_int_equal(log_of(&r)->sent, 2);
    take_all(r.c, 0, 0, 3); /* nobody who takes notices */
    take_mark(r.c, ITEM_MARKER_CHECKPOINT, 3 * ROWS);
    take_all(r.c, 3 * ROWS, 3 * ROWS, 2);
    send(&r, 4); /* and no marker to begin from */
    assert_false(log_of(&r)->on);
    assert_int_equal(atomic_load(&log_of(&r)->bytes), 0);
    assert_int_equal(atomic_load(&log_of(&r)->reach), 0);
    send(&r, 1);
    assert_int_equal(atomic_load(&log_of(&r)->bytes), 0); /* kept for nobody */
    mark(&r, 6);
    send(&r, 1);
    assert_true(retain_reaches(log_of(&r), 6));
    rig_fini(&r);
}

/* ---------------------------------------------------------------- nobody takes */

static void where_most_would_be_dropped_again_nothing_is_kept(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, 2 * bytes_of_a_batch());
    send(&r, 2 * RETAIN_FUTILE + 1);
    assert_false(log_of(&r)->on);
    mark(&r, 5); /* the next second will be like the last one */
    assert_false(log_of(&r)->on);
    send(&r, 2 * RETAIN_FUTILE);
    assert_int_equal(atomic_load(&log_of(&r)->bytes), 0);
    mark(&r, 6); /* less has passed since 5 */
    assert_true(retain_reaches(log_of(&r), 6));
    send(&r, 2);
    assert_true(retain_reaches(log_of(&r), 6));
    rig_fini(&r);
}

static void while_its_consumer_is_away_a_channel_lags_and_does_not_block(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, PLENTY);
    send(&r, 2);
    channel_away(r.c, AWAY_LINK, 0);
    send(&r, 3 * RING_BATCHES);
    mark(&r, 5);
    send(&r, 1);
    assert_true(r.c->lags);
    assert_true(channel_drain(r.c)); /* C4: the task goes on */
    assert_int_equal(ring_used(&r.c->ring), 2);
    take_all(r.c, 0, 0, 2);
    assert_false(ends_take(r.c, &(struct item){0}));
    channel_away(r.c, 0, AWAY_LINK);
    assert_true(channel_drain(r.c));
    take_all(r.c, 2 * ROWS, 2 * ROWS, 3 * RING_BATCHES);
    take_mark(r.c, ITEM_MARKER_CHECKPOINT, (2 + 3 * RING_BATCHES) * ROWS);
    take_all(r.c, (2 + 3 * RING_BATCHES) * ROWS, (2 + 3 * RING_BATCHES) * ROWS, 1);
    assert_false(r.c->lags);
    assert_int_equal(r.from.chain.spilled, 0);
    assert_true(retain_reaches(log_of(&r), 0)); /* all of it is still there */
    assert_int_equal(log_of(&r)->sent, 3 + 3 * RING_BATCHES + 1);
    rig_fini(&r);
}

/* A new instance of a change that joins a running chain has none until GO, and its link may be up
 * before. */
static void a_link_comes_up_before_its_sender_is_in_a_chain(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, PLENTY);
    struct chain *chain = atomic_exchange(&r.from.instance.chain, NULL);
    channel_away(r.c, AWAY_LINK, 0);
    channel_away(r.c, 0, AWAY_LINK);
    atomic_store(&r.from.instance.chain, chain);
    send(&r, 1);
    take_all(r.c, 0, 0, 1);
    rig_fini(&r);
}

static void what_had_spilled_lags_when_the_consumer_goes(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, PLENTY);
    send(&r, RING_BATCHES + 3);
    assert_int_equal(r.c->spill_count, 3);
    assert_false(channel_drain(r.c)); /* somebody takes, slowly: the task waits */
    channel_away(r.c, AWAY_LINK, 0);
    assert_true(channel_drain(r.c));
    assert_true(r.c->lags);
    assert_int_equal(r.from.chain.spilled, 1);
    send(&r, 2);
    channel_away(r.c, 0, AWAY_LINK);
    take_all(r.c, 0, 0, RING_BATCHES + 5); /* numbers as if nothing had been */
    assert_false(r.c->lags);
    rig_fini(&r);
}

static void a_full_budget_stops_the_task_and_nothing_is_dropped(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, 6 * bytes_of_a_batch());
    channel_away(r.c, AWAY_GONE, 0);
    send(&r, 6);
    assert_true(channel_drain(r.c));
    send(&r, 1);
    assert_false(channel_drain(r.c)); /* H23 */
    mark(&r, 5);
    send(&r, 1);
    assert_true(retain_reaches(log_of(&r), 0));
    assert_int_equal(log_of(&r)->waiting, 9);
    rig_fini(&r);
}

static void without_a_log_that_is_on_it_spills_as_ever(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, RETAIN_NOTHING, PLENTY);
    channel_away(r.c, AWAY_LINK, 0);
    send(&r, RING_BATCHES + 2);
    assert_false(r.c->lags);
    assert_int_equal(r.c->spill_count, 2);
    assert_false(channel_drain(r.c));
    mark(&r, 5); /* spilled before the log began: not in it */
    assert_false(channel_drain(r.c));
    assert_false(r.c->lags);
    rig_fini(&r);
}

static void who_is_gone_is_neither_given_anything_nor_told(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, RETAIN_NOTHING, PLENTY);
    send(&r, 1);
    end_wait_woken(&r.to);
    for (struct item it; ends_take(r.c, &it);) {
        batch_free(it.batch);
    }
    channel_away(r.c, AWAY_GONE, 0);
    send(&r, 2);
    assert_false(channel_drain(r.c)); /* the task waits: there is no log to wait in */
    assert_int_equal(ring_used(&r.c->ring), 0);
    assert_int_equal(r.c->spill_count, 2);
    assert_int_equal(end_wakes(&r.to), 0);
    rig_fini(&r);
}

/* ---------------------------------------------------------------- another consumer */

static void a_new_channel_sends_again_from_the_marker_on_then_what_follows(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 0, PLENTY);
    r.selected = true;
    send(&r, 2);
    mark(&r, 5);
    send(&r, 2);
    mark(&r, 6); /* given up: void */
    send(&r, RING_BATCHES);
    channel_away(r.c, AWAY_GONE, 0);
    (void)channel_drain(r.c);
    send(&r, 2);
    assert_int_equal(channel_succeed(r.next, r.c, 5), (RING_BATCHES + 4) * ROWS);
    assert_null(channel_log(r.c));
    struct channel *was = r.c;
    r.c = r.next;
    r.next = was;
    assert_true(r.c->lags);
    send(&r, 2); /* live, behind what comes again */
    mark(&r, 7);
    take_all(r.c, 0, 2 * ROWS, RING_BATCHES + 6); /* numbers from 0: it is another channel */
    take_mark(r.c, ITEM_MARKER_CHECKPOINT, (RING_BATCHES + 6) * ROWS);
    assert_false(r.c->lags);
    assert_int_equal(r.from.chain.spilled, 0);
    assert_true(retain_reaches(log_of(&r), 5)); /* the next loss is covered too */
    retain_trim(log_of(&r), 7);
    assert_int_equal(log_of(&r)->sent, 0);
    rig_fini(&r);
}

static void an_end_comes_again_too(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, PLENTY);
    send(&r, 1);
    channel_mark(r.c, ITEM_END, 0);
    assert_true(atomic_load(&r.c->ledger.end_sent));
    channel_away(r.c, AWAY_GONE, 0);
    assert_int_equal(channel_succeed(r.next, r.c, 3), ROWS);
    assert_true(atomic_load(&r.next->ledger.end_sent));
    take(r.next, 0, 0);
    take_mark(r.next, ITEM_END, ROWS);
    rig_fini(&r);
}

static void an_end_older_than_the_checkpoint_comes_again_too(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, PLENTY);
    send(&r, 1);
    channel_mark(r.c, ITEM_END, 0);
    mark(&r, 5);
    retain_trim(log_of(&r), 5);
    channel_away(r.c, AWAY_GONE, 0);
    assert_int_equal(channel_succeed(r.next, r.c, 5), 0);
    take_mark(r.next, ITEM_END, 0);
    channel_away(r.next, AWAY_GONE, 0); /* and to whoever comes after that one */
    assert_int_equal(channel_succeed(r.third, r.next, 5), 0);
    take_mark(r.third, ITEM_END, 0);
    rig_fini(&r);
}

static void a_second_loss_while_it_catches_up_begins_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3, PLENTY);
    send(&r, 3 * RING_BATCHES);
    channel_away(r.c, AWAY_GONE, 0);
    (void)channel_drain(r.c);
    (void)channel_succeed(r.next, r.c, 3);
    struct channel *third = r.third;
    take_all(r.next, 0, 0, RING_BATCHES / 2);
    channel_away(r.next, AWAY_GONE, 0);
    assert_true(retain_reaches(channel_log(r.next), 3));
    assert_int_equal(channel_succeed(third, r.next, 3), 3 * RING_BATCHES * ROWS);
    take_all(third, 0, 0, 3 * RING_BATCHES);
    assert_int_equal(r.from.chain.spilled, 0);
    rig_fini(&r);
}

/* ---------------------------------------------------------------- at random */

/* A naive log: every batch's first tuple since each marker. */
enum { STEPS = 400 };
struct naive {
    int64_t marks[STEPS]; /* tuples sent before marker k + 1 */
    uint64_t count;
    uint64_t taken; /* markers that have arrived: only such can be complete */
};

static void random_life(uint64_t seed)
{
    struct prng p = {seed};
    struct rig r;
    rig_init(&r, 0, (4 + prng_below(&p, 30)) * bytes_of_a_batch());
    r.selected = true;
    struct naive n = {.count = 0};
    int64_t taken = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        struct item it;
        switch (prng_below(&p, 8)) {
        case 0:
            n.marks[n.count++] = r.sent;
            mark(&r, n.count);
            break;
        case 1:
            retain_trim(log_of(&r), prng_below(&p, n.taken + 1));
            break;
        case 2:
            channel_away(r.c, prng_below(&p, 2) != 0 ? AWAY_LINK : 0, AWAY_LINK);
            break;
        case 3:
        case 4:
            send(&r, 1);
            break;
        default:
            (void)channel_drain(r.c);
            if (ends_take(r.c, &it)) {
                assert_int_equal(channel_account(r.c, &it), TAKE_OK);
                taken += it.kind == ITEM_BATCH ? ROWS : 0;
                n.taken = it.kind == ITEM_BATCH ? n.taken : it.epoch;
                batch_free(it.batch);
            }
        }
    }
    uint64_t reach = atomic_load(&log_of(&r)->reach);
    if (reach != 0) { /* B1 */
        int64_t begin = reach == 1 ? 0 : n.marks[reach - 2];
        int64_t again = r.sent - begin;
        channel_away(r.c, AWAY_GONE, 0);
        assert_int_equal(channel_succeed(r.next, r.c, reach - 1), again);
        take_all(r.next, 0, begin, (unsigned)(again / ROWS));
        assert_false(ends_take(r.next, &(struct item){0}));
    } else {
        channel_away(r.c, 0, AWAY_LINK);
        for (struct item it; (void)channel_drain(r.c), ends_take(r.c, &it);) {
            assert_int_equal(channel_account(r.c, &it), TAKE_OK);
            taken += it.kind == ITEM_BATCH ? ROWS : 0;
            batch_free(it.batch);
        }
        assert_int_equal(taken, r.sent);
    }
    assert_int_equal(atomic_load(&r.c->ledger.gaps) + atomic_load(&r.c->ledger.repeats) +
                         atomic_load(&r.c->ledger.mismatched),
                     0);
    rig_fini(&r);
}

static void at_random_nothing_is_missing_and_nothing_comes_twice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_life(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_reaches_back_to_its_beginning_then_to_what_is_complete),
        cmocka_unit_test(what_a_change_added_begins_with_the_first_marker),
        cmocka_unit_test(over_budget_it_begins_at_a_later_marker_or_is_off),
        cmocka_unit_test(where_most_would_be_dropped_again_nothing_is_kept),
        cmocka_unit_test(while_its_consumer_is_away_a_channel_lags_and_does_not_block),
        cmocka_unit_test(a_link_comes_up_before_its_sender_is_in_a_chain),
        cmocka_unit_test(what_had_spilled_lags_when_the_consumer_goes),
        cmocka_unit_test(a_full_budget_stops_the_task_and_nothing_is_dropped),
        cmocka_unit_test(without_a_log_that_is_on_it_spills_as_ever),
        cmocka_unit_test(who_is_gone_is_neither_given_anything_nor_told),
        cmocka_unit_test(a_new_channel_sends_again_from_the_marker_on_then_what_follows),
        cmocka_unit_test(an_end_comes_again_too),
        cmocka_unit_test(an_end_older_than_the_checkpoint_comes_again_too),
        cmocka_unit_test(a_second_loss_while_it_catches_up_begins_again),
        cmocka_unit_test(at_random_nothing_is_missing_and_nothing_comes_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
