/* tests/unit/worker/cut_test.c - where instances are after a cut.
 *
 * Goal:   an instance that a moving one calls directly goes with it, though it is no member of the
 *         change: else it would belong to one chain and be entered from another (X1 of task.h).
 *         And the other way round: a member whose callers are no members stays in their chain.
 * Method: a fused chain of five is cut at each place; who is a member of which chain is looked at
 *         afterwards, and one of those that went along has a timer, which must go along too, and
 *         says when two threads are in it. */
#include "core/mem.h"
#include "tests/support/local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define NUMBERED "seq: i64, key: i64, at: time"

static struct {
    _Atomic int inside;           /* threads in `follower` */
    _Atomic uint64_t met, ticks;  /* times there were two; timers that came */
    _Atomic uint64_t came, wrong;
    int64_t next;
} s; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    for (uint32_t k = 0; b != NULL && k < b->live; k++) {
        int64_t seq = oxb_i64s(b, 0)[b->sel != NULL ? b->sel[k] : k];
        atomic_fetch_add(&s.wrong, seq != s.next ? 1 : 0);
        s.next = seq + 1;
        atomic_fetch_add(&s.came, 1);
    }
}

static void enter(void)
{
    atomic_fetch_add(&s.met, atomic_fetch_add(&s.inside, 1) > 0 ? 1 : 0);
}

static void leave(void)
{
    atomic_fetch_sub(&s.inside, 1);
}

static int follower_start(struct oxb_pe *pe)
{
    oxb_timer_set(pe, 1, 1);
    return OXB_OK;
}

static int follower_timer(struct oxb_pe *pe, uint64_t id)
{
    enter();
    atomic_fetch_add(&s.ticks, 1);
    oxb_timer_set(pe, id, 1);
    leave();
    return OXB_OK;
}

static int follower_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    enter();
    oxb_forward(pe, 0, in);
    leave();
    return OXB_OK;
}

static const struct oxb_port any_in[] = {{"in", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_port any_out[] = {{"out", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_pe_type follower = {
    .abi = OXB_ABI,
    .name = "follower",
    .inputs = any_in,
    .outputs = any_out,
    .state_version = 1,
    .start = follower_start,
    .process = follower_process,
    .timer = follower_timer,
};

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("tail", collect, NULL) != 0 || oxb_register(&follower) != 0;
}

static struct part *start_chain(struct local *l)
{
    static struct plan p; /* tidy: large, test only */
    plan_init(&p, "t");
    unsigned last = plan_pe(&p, "sequence", "{}", 1, "", NUMBERED, "w");
    const char *const types[] = {"union", "union", "follower", "tail"};
    for (int k = 0; k < 4; k++) {
        unsigned pe = plan_pe(&p, types[k], "{}", 1, NUMBERED, k < 3 ? NUMBERED : "", "w");
        plan_stream(&p, last, pe, PLAN_BALANCED, 0, true);
        last = pe;
    }
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    return d;
}

/* Channel `k` of the chain becomes a ring; its ends, instances k and k + 1, are the only members.
 * They are told of the channels that stay on either side. */
static void split_at(struct local *l, struct part *d, uint64_t k)
{
    static struct plan p; /* tidy: large, test only */
    struct rec_ID removed = {.id = k};
    struct rec_MEMBER_SPEC members[2] = {
        {.id = k, .role = PLAN_STAYING, .head = true},
        {.id = k + 1, .role = PLAN_STAYING, .awaited = {(const uint8_t *)&k, sizeof k}}};
    struct rec_CHANNEL_SPEC keep[2];
    plan_init(&p, "t");
    struct msg_PREPARE *m = &p.msg.PREPARE;
    m->op = m->version = m->epoch = 2;
    m->base_version = 1;
    m->keep_channels = keep;
    for (uint64_t c = 1; c <= 4; c++) {
        p.streams[m->streams_count++] = (struct rec_STREAM_SPEC){.id = c, .name = "s"};
        struct rec_CHANNEL_SPEC spec = {.id = c, .stream = c, .from = c, .to = c + 1,
                                        .from_worker = "w", .to_worker = "w", .fused = true};
        if (c + 1 == k || c == k + 1) {
            keep[m->keep_channels_count++] = spec;
        } else if (c == k) {
            spec.id = 10;
            spec.fused = false;
            p.channels[m->add_channels_count++] = spec;
        }
    }
    m->remove_channels = &removed;
    m->remove_channels_count = 1;
    m->members = members;
    m->members_count = 2;
    struct change_result r;
    local_change(l, d, &p.msg);
    local_change_go(l, d, &r);
    assert_int_equal(r.lost + r.duplicated + r.reordered + r.uncompared, 0);
    mem_free(r.pauses_us);
}

static bool more_came(const void *arg)
{
    const uint64_t *before = arg;
    return atomic_load(&s.came) > before[0] && atomic_load(&s.ticks) >= before[1];
}

/* After the split instances 1..k run in one chain and the others in another, in order. */
static void check_split_at(uint64_t k)
{
    s.next = 0;
    struct local *l = local_new("w", 3);
    struct part *d = start_chain(l);
    split_at(l, d, k);
    /* The source's own chain fills the ring in every turn, and timers wait meanwhile. */
    uint64_t now[2] = {atomic_load(&s.came) + 100000, k < 3 ? atomic_load(&s.ticks) + 1000 : 0};
    local_wait_for(l, more_came, now);
    struct chain *first = atomic_load(&d->instances[0]->chain);
    struct chain *second = atomic_load(&d->instances[4]->chain);
    assert_ptr_not_equal(first, second);
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    assert_int_equal(first->member_count, k);
    assert_int_equal(second->member_count, 5 - k);
    for (uint64_t i = 0; i < 5; i++) {
        struct chain *of = i < k ? first : second;
        assert_ptr_equal(atomic_load(&d->instances[i]->chain), of);
        assert_ptr_equal(of->members[i < k ? i : i - k], d->instances[i]);
    }
    assert_int_equal(atomic_load(&s.met), 0);
    assert_int_equal(atomic_load(&s.wrong), 0);
    local_drop(l, d);
    local_free(l);
}

static void who_is_called_directly_goes_with_its_caller(void **state)
{
    (void)state;
    check_split_at(1);
}

static void a_member_stays_with_callers_that_are_none(void **state)
{
    (void)state;
    check_split_at(4);
    check_split_at(3);
    check_split_at(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_called_directly_goes_with_its_caller),
        cmocka_unit_test(a_member_stays_with_callers_that_are_none),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
