/* tests/unit/worker/link_test.c - two workers in one process over real sockets, and a bad network.
 *
 * Goal:   whatever happens to connections between two living workers, every tuple arrives once and
 *         in order (L2, L3); a link never resumes with another incarnation (L4); links to nobody
 *         leave nothing behind (L5).
 * Method: two `struct local` with a proxy in front of each, which cuts in the middle of frames,
 *         drips, stalls and swallows, by a seeded generator; the collectors check the tuples, the
 *         ledgers of both ends are compared.  See peer_test.c for peers that lie. */
#include "core/mem.h"
#include "tests/support/local.h"
#include "tests/support/numbered.h"
#include "tests/support/proxy.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { KEYS = NUMBERED_KEYS, CUTS = 60 };

static struct numbered seen = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("collector", numbered_collect, &seen);
}

/* ---------------------------------------------------------------- two workers */

struct pair {
    struct local *a, *b;
    struct proxy *to_a, *to_b;
    struct part *at_a, *at_b;
    struct plan plan;
};

/* source@a -> `middle` unions@b -> `sinks` collectors@a, keyed; through the proxies. */
static void pair_init(struct pair *p, uint64_t seed, unsigned sources, unsigned middle,
                      unsigned sinks, const char *params)
{
    numbered_reset(&seen);
    p->a = local_new("a", 2);
    p->b = local_new("b", 2);
    p->to_a = proxy_new(local_address(p->a), seed);
    p->to_b = proxy_new(local_address(p->b), seed + 1000);
    plan_init(&p->plan, "t");
    unsigned source = plan_pe(&p->plan, "sequence", params, sources, "", NUMBERED, "a");
    unsigned mid = plan_pe(&p->plan, "union", "{}", middle, NUMBERED, NUMBERED, "b");
    unsigned out = plan_pe(&p->plan, "collector", "{}", sinks, NUMBERED, "", "a");
    plan_stream(&p->plan, source, mid, PLAN_KEYED, 1, false);
    plan_stream(&p->plan, mid, out, PLAN_KEYED, 1, false);
    p->plan.workers[0] = (struct rec_WORKER_ADDR){.name = "a", .id = 1,
                                                  .incarnation = local_incarnation(p->a),
                                                  .address = proxy_address(p->to_a)};
    p->plan.workers[1] = (struct rec_WORKER_ADDR){.name = "b", .id = 2,
                                                  .incarnation = local_incarnation(p->b),
                                                  .address = proxy_address(p->to_b)};
}

static void pair_deploy(struct pair *p)
{
    p->at_b = local_deploy(p->b, plan_for(&p->plan, "b"));
    p->at_a = local_deploy(p->a, plan_for(&p->plan, "a"));
}

static void pair_go(struct pair *p)
{
    local_go(p->b, p->at_b);
    local_go(p->a, p->at_a);
}

static const struct channel *find_channel(const struct part *d, uint64_t id)
{
    for (uint32_t k = 0; k < d->channel_count; k++) {
        if (d->channels[k]->id == id) {
            return d->channels[k];
        }
    }
    return NULL;
}

static void check_ledger(const struct ledger *l)
{
    assert_int_equal(atomic_load(&l->gaps), 0);
    assert_int_equal(atomic_load(&l->repeats), 0);
    assert_int_equal(atomic_load(&l->reordered), 0);
    assert_int_equal(atomic_load(&l->mismatched), 0);
}

/* Every channel's sender and receiver agree.  Return: tuples that left the sources. */
static uint64_t check_ledgers(const struct part *from, const struct part *to)
{
    uint64_t total = 0;
    for (uint32_t k = 0; k < from->channel_count; k++) {
        const struct channel *c = from->channels[k];
        if (c->kind != CHANNEL_OUT) {
            continue;
        }
        const struct channel *other = find_channel(to, c->id);
        assert_non_null(other);
        assert_int_equal(atomic_load(&c->ledger.sent), atomic_load(&other->ledger.received));
        assert_true(atomic_load(&other->ledger.compared) > 0);
        check_ledger(&c->ledger);
        check_ledger(&other->ledger);
        total += atomic_load(&c->ledger.sent);
    }
    return total;
}

static void pair_end(struct pair *p, unsigned sinks)
{
    local_wait(p->a, p->at_a, DEPLOYMENT_ENDED);
    local_wait(p->b, p->at_b, DEPLOYMENT_ENDED);
    uint64_t n = check_ledgers(p->at_a, p->at_b);
    assert_int_equal(check_ledgers(p->at_b, p->at_a), n);
    assert_int_equal(seen.tuples, n);
    assert_int_equal(seen.sum, n * (n - 1) / 2);
    assert_int_equal(seen.out_of_order, 0);
    assert_int_equal(seen.ends, sinks);
}

static void pair_fini(struct pair *p)
{
    local_drop(p->a, p->at_a);
    local_drop(p->b, p->at_b);
    local_wait_links(p->a, 0); /* L5 */
    local_wait_links(p->b, 0);
    proxy_free(p->to_a);
    proxy_free(p->to_b);
    local_free(p->a); /* asserts that nothing is left in the pools */
    local_free(p->b);
}

#define ENDLESS "{\"keys\":1000,\"start\":0,\"bytes\":0}"
#define SLOW "{\"keys\":1000,\"start\":0,\"bytes\":0,\"rate\":20000}" /* small frames */

static void tuples_arrive_once_and_in_order(void **state)
{
    (void)state;
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, 1, 1, 3, 2, "{\"count\":300007,\"keys\":1000,\"start\":0,\"bytes\":0}");
    pair_deploy(&p);
    pair_go(&p);
    pair_end(&p, 2);
    assert_int_equal(seen.tuples, 300007);
    pair_fini(&p);
}

/* Run under `m` until both directions were cut often enough, then in peace to the end. */
static void run_badly(const char *source, struct proxy_manners m, uint64_t seed, unsigned cuts)
{
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, seed, 1, 3, 2, source);
    proxy_behave(p.to_a, m);
    proxy_behave(p.to_b, m);
    pair_deploy(&p);
    pair_go(&p);
    proxy_wait_cuts(p.to_a, cuts);
    proxy_wait_cuts(p.to_b, cuts);
    proxy_behave(p.to_a, (struct proxy_manners){0});
    proxy_behave(p.to_b, (struct proxy_manners){0});
    local_drain(p.a, p.at_a);
    pair_end(&p, 2);
    assert_true(seen.tuples > 0);
    pair_fini(&p);
}

static void a_hundred_cuts_lose_and_repeat_nothing(void **state)
{
    (void)state;
    run_badly(ENDLESS, (struct proxy_manners){.cut_bytes_max = 200 << 10}, 11, CUTS);
}

static void cuts_within_the_handshake_and_dripping_do_no_harm(void **state)
{
    (void)state;
    run_badly(SLOW, (struct proxy_manners){.cut_bytes_max = 50 << 10, .piece_max = 3}, 12,
              CUTS / 3);
    run_badly(SLOW, (struct proxy_manners){.cut_bytes_max = 60 << 10, .piece_max = 900,
                                           .stall_1_in = 4},
              13, CUTS / 3);
}

static void markers_pass_over_links_that_are_cut(void **state)
{
    (void)state;
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, 21, 2, 3, 2, ENDLESS);
    proxy_behave(p.to_a, (struct proxy_manners){.cut_bytes_max = 400 << 10});
    proxy_behave(p.to_b, (struct proxy_manners){.cut_bytes_max = 400 << 10});
    pair_deploy(&p);
    pair_go(&p);
    for (uint64_t epoch = 1; epoch <= 5; epoch++) {
        local_inject(p.a, p.at_a, epoch);
        local_wait_epoch(p.a, p.at_a, epoch);
        local_wait_epoch(p.b, p.at_b, epoch);
    }
    proxy_behave(p.to_a, (struct proxy_manners){0});
    proxy_behave(p.to_b, (struct proxy_manners){0});
    local_drain(p.a, p.at_a);
    local_wait(p.a, p.at_a, DEPLOYMENT_ENDED);
    local_wait(p.b, p.at_b, DEPLOYMENT_ENDED);
    assert_int_equal(check_ledgers(p.at_a, p.at_b), seen.tuples);
    pair_fini(&p);
}

/* More channels than one handshake message holds, in both directions, with cuts. */
static void a_link_of_many_channels_opens_and_resumes(void **state)
{
    (void)state;
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, 31, 36, 28, 30, "{\"keys\":1000,\"start\":0,\"bytes\":0,\"rate\":200000}");
    proxy_behave(p.to_a, (struct proxy_manners){.cut_bytes_max = 300 << 10});
    proxy_behave(p.to_b, (struct proxy_manners){.cut_bytes_max = 300 << 10});
    pair_deploy(&p);
    pair_go(&p);
    proxy_wait_cuts(p.to_a, 5);
    proxy_wait_cuts(p.to_b, 5);
    proxy_behave(p.to_a, (struct proxy_manners){0});
    proxy_behave(p.to_b, (struct proxy_manners){0});
    local_drain(p.a, p.at_a);
    local_wait(p.a, p.at_a, DEPLOYMENT_ENDED);
    local_wait(p.b, p.at_b, DEPLOYMENT_ENDED);
    uint64_t n = check_ledgers(p.at_a, p.at_b);
    assert_int_equal(check_ledgers(p.at_b, p.at_a), n);
    assert_int_equal(seen.tuples, n);
    pair_fini(&p);
}

/* The connection stays, the bytes do not arrive: both ends must find out, and connect anew. */
static void swallow(bool up, bool down)
{
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, 41, 1, 3, 2, "{\"keys\":1000,\"start\":0,\"bytes\":0,\"rate\":50000}");
    pair_deploy(&p);
    pair_go(&p);
    proxy_wait_pairs(p.to_b, 1);
    local_inject(p.a, p.at_a, 1);
    local_wait_epoch(p.b, p.at_b, 1); /* data flows */
    proxy_behave(p.to_b, (struct proxy_manners){.swallow_up = up, .swallow_down = down});
    proxy_wait_pairs(p.to_b, 2);
    local_inject(p.a, p.at_a, 2);
    local_wait_epoch(p.b, p.at_b, 2);
    local_drain(p.a, p.at_a);
    pair_end(&p, 2);
    pair_fini(&p);
}

static void a_link_whose_data_is_swallowed_is_made_anew(void **state)
{
    (void)state;
    swallow(true, true);
}

static void a_link_whose_answers_are_swallowed_is_made_anew(void **state)
{
    (void)state;
    swallow(false, true);
}

static void another_incarnation_is_refused_for_good(void **state)
{
    (void)state;
    static struct pair p; /* tidy: large, test only */
    pair_init(&p, 51, 1, 1, 1, ENDLESS);
    p.plan.workers[1].incarnation++; /* b was started again since the plan was made */
    pair_deploy(&p);
    pair_go(&p);
    proxy_wait_pairs(p.to_b, 1);
    local_wait_links(p.a, 3); /* towards and from who was meant, and from who is there */
    assert_int_equal(seen.tuples, 0);
    for (uint32_t k = 0; k < p.at_b->channel_count; k++) {
        assert_int_equal(atomic_load(&p.at_b->channels[k]->ledger.received), 0);
    }
    pair_fini(&p); /* memory is back though nothing was ever taken */
}

static void a_drop_while_data_flows_leaves_nothing_behind(void **state)
{
    (void)state;
    static struct pair p; /* tidy: large, test only */
    for (uint64_t seed = 61; seed < 67; seed++) {
        pair_init(&p, seed, 1, 3, 2, ENDLESS);
        proxy_behave(p.to_b, (struct proxy_manners){.cut_bytes_max = 300 << 10});
        pair_deploy(&p);
        pair_go(&p);
        proxy_wait_cuts(p.to_b, (unsigned)(seed % 3));
        local_inject(p.a, p.at_a, 1);
        local_wait_epoch(p.b, p.at_b, 1);
        pair_fini(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuples_arrive_once_and_in_order),
        cmocka_unit_test(a_hundred_cuts_lose_and_repeat_nothing),
        cmocka_unit_test(cuts_within_the_handshake_and_dripping_do_no_harm),
        cmocka_unit_test(markers_pass_over_links_that_are_cut),
        cmocka_unit_test(a_link_of_many_channels_opens_and_resumes),
        cmocka_unit_test(a_link_whose_data_is_swallowed_is_made_anew),
        cmocka_unit_test(a_link_whose_answers_are_swallowed_is_made_anew),
        cmocka_unit_test(another_incarnation_is_refused_for_good),
        cmocka_unit_test(a_drop_while_data_flows_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
