/* tests/unit/worker/part_test.c - whole graphs inside one process, on real executors.
 *
 * Goal:   every partitioning, fused and not, delivers each tuple once and each key in order; ends,
 *         markers and drops work at any moment; nothing is left in the pool.
 * Method: PREPARE messages made by hand, a source that numbers its tuples, collectors that check
 *         them outside the engine's own ledgers.  Meant to run under SAN=thread and address too. */
#include "core/mem.h"
#include "tests/support/local.h"
#include "tests/support/numbered.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { KEYS = NUMBERED_KEYS, SLOW_BATCHES = 64 };

/* ---- what the collector saw; one per test, reset in `fresh` ---- */
struct seen {
    struct numbered all; /* first: the collector's own */
    bool slow;           /* with the first SLOW_BATCHES */
};
static struct seen seen = {.all.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    struct seen *s = arg;
    numbered_collect(&s->all, b);
    pthread_mutex_lock(&s->all.lock);
    bool slow = s->slow && b != NULL && s->all.batches < SLOW_BATCHES;
    pthread_mutex_unlock(&s->all.lock);
    if (slow) {
        usleep(2000); /* the slowness is what is tested, not a wait for anything */
    }
}

static void fresh(void)
{
    numbered_reset(&seen.all);
    seen.slow = false;
}

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("collector", collect, &seen);
}

static char *numbers(uint64_t count)
{
    return mem_printf("{\"count\":%llu,\"keys\":%d,\"start\":0,\"bytes\":0}",
                      (unsigned long long)count, KEYS);
}

static void check_all(uint64_t count, uint64_t copies)
{
    assert_int_equal(seen.all.tuples, count * copies);
    assert_int_equal(seen.all.sum, count * (count - 1) / 2 * copies);
}

static void check_ledgers(const struct part *d)
{
    for (uint32_t k = 0; k < d->channel_count; k++) {
        struct channel *c = d->channels[k];
        assert_int_equal(atomic_load(&c->ledger.sent), atomic_load(&c->ledger.received));
        assert_int_equal(atomic_load(&c->ledger.gaps), 0);
        assert_int_equal(atomic_load(&c->ledger.repeats), 0);
        assert_int_equal(atomic_load(&c->ledger.mismatched), 0);
        assert_true(atomic_load(&c->ledger.compared) > 0);
    }
}

/* source(1) -> middle(n) -> collector(m) */
static void run_graph(enum plan_partitioning first, enum plan_partitioning second, unsigned n,
                      unsigned m, bool fused, unsigned executors, uint64_t count)
{
    static struct plan p; /* tidy: large, test only */
    fresh();
    char *params = numbers(count);
    plan_init(&p, "t");
    unsigned src = plan_pe(&p, "sequence", params, 1, "", NUMBERED, "w");
    unsigned mid = plan_pe(&p, "union", "{}", n, NUMBERED, NUMBERED, "w");
    unsigned out = plan_pe(&p, "collector", "{}", m, NUMBERED, "", "w");
    plan_stream(&p, src, mid, first, 1, fused && n == 1);
    plan_stream(&p, mid, out, second, 1, fused && n == m);
    struct local *l = local_new("w", executors);
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    check_all(count, first == PLAN_BROADCAST ? n : 1);
    assert_int_equal(seen.all.ends, m);
    bool keyed_path = (first == PLAN_KEYED || n == 1) && (second == PLAN_KEYED || n == m);
    if (keyed_path && first != PLAN_BROADCAST) {
        assert_int_equal(seen.all.out_of_order, 0);
    }
    check_ledgers(d);
    local_drop(l, d);
    local_free(l);
    mem_free(params);
}

static void a_fused_chain_delivers_each_tuple_once(void **state)
{
    (void)state;
    run_graph(PLAN_BALANCED, PLAN_BALANCED, 1, 1, true, 1, 1000003);
}

static void rings_deliver_each_tuple_once(void **state)
{
    (void)state;
    run_graph(PLAN_BALANCED, PLAN_BALANCED, 1, 1, false, 2, 1000003);
    run_graph(PLAN_BALANCED, PLAN_BALANCED, 4, 4, false, 3, 1000003);
    run_graph(PLAN_BALANCED, PLAN_BALANCED, 3, 1, false, 2, 300007);
}

static void keyed_streams_keep_the_order_of_each_key(void **state)
{
    (void)state;
    run_graph(PLAN_KEYED, PLAN_KEYED, 4, 3, false, 2, 500009);
    run_graph(PLAN_KEYED, PLAN_BALANCED, 5, 5, true, 3, 500009);
    run_graph(PLAN_KEYED, PLAN_KEYED, 7, 8, false, 1, 100003);
}

static void broadcast_gives_every_consumer_all(void **state)
{
    (void)state;
    run_graph(PLAN_BROADCAST, PLAN_KEYED, 3, 2, false, 2, 200003);
}

static void the_end_arrives_behind_full_rings(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    for (unsigned executors = 1; executors <= 2; executors++) {
        fresh();
        seen.slow = true;
        char *params = numbers(40000);
        plan_init(&p, "t");
        unsigned src = plan_pe(&p, "sequence", params, 1, "", NUMBERED, "w");
        unsigned out = plan_pe(&p, "collector", "{}", 1, NUMBERED, "", "w");
        plan_stream(&p, src, out, PLAN_BALANCED, 0, false);
        struct local *l = local_new("w", executors);
        struct part *d = local_deploy(l, plan_for(&p, "w"));
        local_go(l, d);
        local_wait(l, d, DEPLOYMENT_ENDED);
        check_all(40000, 1);
        local_drop(l, d);
        local_free(l);
        mem_free(params);
    }
}

static void markers_pass_every_instance_and_are_compared(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    fresh();
    plan_init(&p, "t");
    unsigned src = plan_pe(&p, "sequence", "{\"keys\":1000,\"start\":0,\"bytes\":0}", 2, "",
                           NUMBERED, "w");
    unsigned mid = plan_pe(&p, "union", "{}", 3, NUMBERED, NUMBERED, "w");
    unsigned out = plan_pe(&p, "collector", "{}", 2, NUMBERED, "", "w");
    plan_stream(&p, src, mid, PLAN_KEYED, 1, false);
    plan_stream(&p, mid, out, PLAN_KEYED, 1, false);
    struct local *l = local_new("w", 2);
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    for (uint64_t epoch = 1; epoch <= 50; epoch++) {
        local_inject(l, d, epoch);
        local_wait_epoch(l, d, epoch);
    }
    for (uint32_t k = 0; k < d->channel_count; k++) {
        assert_int_equal(atomic_load(&d->channels[k]->ledger.compared), 50);
        assert_int_equal(atomic_load(&d->channels[k]->ledger.mismatched), 0);
    }
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    check_ledgers(d);
    local_drop(l, d);
    local_free(l);
}

static void markers_pass_after_the_end(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    fresh();
    plan_init(&p, "t");
    unsigned a = plan_pe(&p, "sequence", "{\"count\":10,\"keys\":10,\"start\":0,\"bytes\":0}", 1,
                         "", NUMBERED, "w");
    unsigned b = plan_pe(&p, "sequence", "{\"keys\":10,\"start\":0,\"bytes\":0,\"rate\":1000}", 1,
                         "", NUMBERED, "w");
    unsigned out = plan_pe(&p, "collector", "{}", 1, NUMBERED, "", "w");
    plan_stream(&p, a, out, PLAN_KEYED, 1, false);
    plan_stream(&p, b, out, PLAN_KEYED, 1, false);
    struct local *l = local_new("w", 2);
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
        local_inject(l, d, epoch);
        local_wait_epoch(l, d, epoch);
    }
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    local_drop(l, d);
    local_free(l);
}

static void a_drop_at_any_moment_leaves_nothing_behind(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    struct local *l = local_new("w", 2);
    for (int round = 0; round < 30; round++) {
        fresh();
        seen.slow = round % 3 == 0;
        plan_init(&p, "t");
        unsigned src = plan_pe(&p, "sequence", "{\"keys\":1000,\"start\":0,\"bytes\":0}", 1, "",
                               NUMBERED, "w");
        unsigned mid = plan_pe(&p, "union", "{}", 3, NUMBERED, NUMBERED, "w");
        unsigned out = plan_pe(&p, "collector", "{}", 2, NUMBERED, "", "w");
        plan_stream(&p, src, mid, PLAN_KEYED, 1, false);
        plan_stream(&p, mid, out, PLAN_KEYED, 1, false);
        struct part *d = local_deploy(l, plan_for(&p, "w"));
        if (round % 5 != 0) {
            local_go(l, d);
        }
        if (round % 5 > 1) {
            local_inject(l, d, 1);
            local_wait_epoch(l, d, 1);
        }
        local_drop(l, d);
        assert_int_equal(pool_bytes_used(local_pool(l)), 0);
    }
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fused_chain_delivers_each_tuple_once),
        cmocka_unit_test(rings_deliver_each_tuple_once),
        cmocka_unit_test(keyed_streams_keep_the_order_of_each_key),
        cmocka_unit_test(broadcast_gives_every_consumer_all),
        cmocka_unit_test(the_end_arrives_behind_full_rings),
        cmocka_unit_test(markers_pass_every_instance_and_are_compared),
        cmocka_unit_test(markers_pass_after_the_end),
        cmocka_unit_test(a_drop_at_any_moment_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
