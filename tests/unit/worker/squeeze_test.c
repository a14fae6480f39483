/* tests/unit/worker/squeeze_test.c - who waits in a squeezed set, and for what.
 *
 * Goal:   a slice is the first rows of a batch and the rest keeps its numbers, and least where a
 *         member is held up; a member takes none
 *         while as much as may waits behind it, and is woken when that is less; who has cut waits
 *         for nobody (M2); a round-robin stream waits only when all its channels are taken.
 * Method: one sending and two receiving ends that only count their wake-ups; a cut set by hand. */
#include "core/mem.h"
#include "tests/support/ends.h"
#include "worker/cut.h"
#include "worker/squeeze.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

struct rig {
    struct pool *pool;
    struct executors *executors;
    struct end from, to[2];
    struct channel *channels[2];
    struct out_stream stream;
    struct out_port port;
    struct instance *member;
    struct cut cut;
    struct squeeze squeeze;
};

static void rig_init(struct rig *r, enum route_kind kind)
{
    memset(r, 0, sizeof *r);
    r->pool = pool_new(1 << 20);
    r->executors = executors_new(1);
    end_init(&r->from, r->executors);
    for (int n = 0; n < 2; n++) {
        end_init(&r->to[n], r->executors);
        r->channels[n] = ends_channel((uint64_t)n + 1, r->pool, &r->from, &r->to[n]);
        squeeze_add(&r->squeeze, r->channels[n]);
    }
    r->stream = (struct out_stream){.kind = kind, .channel_count = 2, .channels = r->channels};
    r->port = (struct out_port){.streams = &r->stream, .stream_count = 1};
    r->member = &r->from.instance;
    r->from.instance.ports = &r->port;
    r->from.instance.port_count = 1;
    r->from.chain.members = &r->member;
    r->from.chain.member_count = 1;
    r->cut.epoch = 5;
    atomic_store(&r->from.instance.cut, &r->cut);
    squeeze_begin(&r->squeeze, NULL, 0, 9);
}

static void rig_fini(struct rig *r)
{
    squeeze_end(&r->squeeze);
    squeeze_fini(&r->squeeze);
    end_fini(&r->from);
    end_fini(&r->to[0]);
    end_fini(&r->to[1]);
    executors_free(r->executors);
    channel_free(r->channels[0]);
    channel_free(r->channels[1]);
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

static void fill(struct rig *r, int n)
{
    for (int k = 0; k < SQUEEZE_BATCHES; k++) {
        channel_send(r->channels[n], ends_batch(r->pool, 0, 1, 100, false));
    }
}

static void empty(struct rig *r, int n)
{
    for (struct item it; ends_take(r->channels[n], &it);) {
        batch_free(it.batch);
    }
}

static void a_slice_is_the_first_rows_and_the_rest_keeps_its_numbers(void **state)
{
    (void)state;
    for (int selected = 0; selected < 2; selected++) {
        struct pool *pool = pool_new(1 << 20);
        struct batch *b = ends_batch(pool, 1000, 300, 7, selected == 1);
        struct item it = {.kind = ITEM_BATCH, .count = 300, .first = 40, .batch = b};
        uint64_t next = 40;
        int64_t seq = 1000;
        for (bool more = true; more; next = it.first) {
            more = it.count > 64;
            struct item slice = more ? item_split(&it, 64) : it;
            assert_int_equal(slice.first, next);
            assert_int_equal(slice.count, slice.batch->pub.live);
            assert_int_equal(slice.count, more ? 64 : 300 % 64);
            ends_check(slice.batch, 7);
            OXB_EACH (&slice.batch->pub, row) {
                assert_int_equal(oxb_i64s(&slice.batch->pub, 0)[row], seq++);
            }
            assert_int_equal(it.batch == slice.batch || it.count == it.batch->pub.live, true);
            batch_free(slice.batch);
        }
        assert_int_equal(seq, 1300);
        assert_int_equal(pool_bytes_used(pool), 0);
        pool_free(pool);
    }
}

/* M3: what is slow may be outside the set, so that no member's own work says so. */
static void who_is_held_up_takes_the_least_slices(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, ROUTE_KEYED);
    struct instance_stats *s = &r.from.instance.stats;
    r.from.chain.head = &r.from.instance;
    for (int n = 0; n < 2; n++) { /* held up now; for most of its time */
        atomic_store(&s->busy_ns, 1000);
        atomic_store(&s->blocked_since_ns, n == 0 ? 77 : 0);
        atomic_store(&s->blocked_ns, n == 1 ? 1001 : 1000);
        squeeze_end(&r.squeeze);
        mem_free(r.squeeze.chains);
        r.squeeze.chains = NULL;
        r.squeeze.chain_count = 0;
        assert_int_equal(chain_squeeze_rows(&r.from.chain), BATCH_ROWS_MAX);
        squeeze_begin(&r.squeeze, &r.member, 1, 10);
        assert_int_equal(chain_squeeze_rows(&r.from.chain), SQUEEZE_ROWS_MIN);
    }
    rig_fini(&r);
}

static void nothing_is_taken_while_as_much_as_may_waits_behind(void **state)
{
    (void)state;
    static const enum route_kind kinds[] = {ROUTE_KEYED, ROUTE_ALL};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct rig r;
        rig_init(&r, kinds[k]);
        assert_true(chain_is_squeezed(&r.from.chain));
        assert_true(chain_squeeze_rows(&r.from.chain) > 0);
        fill(&r, 1);
        while (end_wakes(&r.from) > 0) {
            end_wait_woken(&r.from);
        }
        assert_int_equal(chain_squeeze_rows(&r.from.chain), 0);
        empty(&r, 1);
        end_wait_woken(&r.from);
        assert_true(chain_squeeze_rows(&r.from.chain) > 0);
        rig_fini(&r);
    }
}

static void a_stream_in_turn_waits_when_all_its_channels_are_taken(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, ROUTE_ROUND_ROBIN);
    fill(&r, 0);
    assert_true(chain_squeeze_rows(&r.from.chain) > 0);
    for (int k = 0; k < SQUEEZE_BATCHES; k++) {
        route_emit(&r.port, ends_batch(r.pool, 0, 1, 100, false)); /* goes to the other */
    }
    assert_int_equal(ring_used(&r.channels[1]->ring), SQUEEZE_BATCHES);
    assert_int_equal(chain_squeeze_rows(&r.from.chain), 0);
    empty(&r, 0);
    assert_true(chain_squeeze_rows(&r.from.chain) > 0);
    empty(&r, 1);
    rig_fini(&r);
}

static void who_has_cut_waits_for_nobody(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, ROUTE_KEYED);
    fill(&r, 0);
    assert_int_equal(chain_squeeze_rows(&r.from.chain), 0);
    atomic_store(&r.from.instance.cut_epoch, r.cut.epoch);
    assert_true(chain_squeeze_rows(&r.from.chain) > 0);
    empty(&r, 0);
    rig_fini(&r);
}

static void when_the_change_is_over_batches_are_whole_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, ROUTE_KEYED);
    fill(&r, 0);
    assert_int_equal(chain_squeeze_rows(&r.from.chain), 0);
    while (end_wakes(&r.from) > 0) {
        end_wait_woken(&r.from);
    }
    squeeze_end(&r.squeeze);
    end_wait_woken(&r.from); /* it waited for an empty channel, and need not any more */
    assert_false(chain_is_squeezed(&r.from.chain));
    assert_int_equal(chain_squeeze_rows(&r.from.chain), BATCH_ROWS_MAX);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_the_first_rows_and_the_rest_keeps_its_numbers),
        cmocka_unit_test(who_is_held_up_takes_the_least_slices),
        cmocka_unit_test(nothing_is_taken_while_as_much_as_may_waits_behind),
        cmocka_unit_test(a_stream_in_turn_waits_when_all_its_channels_are_taken),
        cmocka_unit_test(who_has_cut_waits_for_nobody),
        cmocka_unit_test(when_the_change_is_over_batches_are_whole_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
