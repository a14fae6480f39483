/* tests/unit/worker/cut_test.c - where instances are after a cut.
 *
 * Goal:   an instance that a moving one calls directly goes with it, though it is no member of the
 *         change: else it would belong to one chain and be entered from another (X1 of task.h).
 * Method: a fused chain of five is cut behind its first; who is a member of which chain is looked
 *         at afterwards, and one of those that went along has a timer, which must go along too, and
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

/* The first channel becomes a ring; its two ends are the only members. */
static void split_behind_the_first(struct local *l, struct part *d)
{
    static struct plan p; /* tidy: large, test only */
    static struct rec_ID removed = {.id = 1}; /* tidy: test only */
    uint64_t awaited = 1;
    struct rec_MEMBER_SPEC members[2] = {
        {.id = 1, .role = PLAN_STAYING, .head = true},
        {.id = 2, .role = PLAN_STAYING, .awaited = {(const uint8_t *)&awaited, sizeof awaited}}};
    struct rec_CHANNEL_SPEC keep = {.id = 2, .stream = 2, .from = 2, .to = 3, .from_worker = "w",
                                    .to_worker = "w", .fused = true};
    plan_init(&p, "t");
    struct msg_PREPARE *m = &p.msg.PREPARE;
    m->op = m->version = m->epoch = 2;
    m->base_version = 1;
    m->streams_count = 2;
    p.streams[0] = (struct rec_STREAM_SPEC){.id = 1, .name = "a"};
    p.streams[1] = (struct rec_STREAM_SPEC){.id = 2, .name = "b"};
    p.channels[0] = (struct rec_CHANNEL_SPEC){.id = 10, .stream = 1, .from = 1, .to = 2,
                                              .from_worker = "w", .to_worker = "w"};
    m->add_channels_count = 1;
    m->remove_channels = &removed;
    m->remove_channels_count = 1;
    m->members = members;
    m->members_count = 2;
    m->keep_channels = &keep;
    m->keep_channels_count = 1;
    struct change_result r;
    local_change(l, d, &p.msg);
    local_change_go(l, d, &r);
    assert_int_equal(r.lost + r.duplicated + r.reordered + r.uncompared, 0);
    mem_free(r.pauses_us);
}

static bool more_came(const void *arg)
{
    const uint64_t *before = arg;
    return atomic_load(&s.came) > before[0] && atomic_load(&s.ticks) > before[1];
}

static void who_is_called_directly_goes_with_its_caller(void **state)
{
    (void)state;
    struct local *l = local_new("w", 3);
    struct part *d = start_chain(l);
    split_behind_the_first(l, d);
    uint64_t now[2] = {atomic_load(&s.came) + 100000, atomic_load(&s.ticks) + 1000};
    local_wait_for(l, more_came, now);
    struct chain *first = atomic_load(&d->instances[0]->chain);
    struct chain *second = atomic_load(&d->instances[1]->chain);
    assert_ptr_not_equal(first, second);
    for (int k = 2; k < 5; k++) {
        assert_ptr_equal(atomic_load(&d->instances[k]->chain), second);
    }
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    assert_int_equal(first->member_count, 1);
    assert_int_equal(second->member_count, 4);
    for (uint32_t k = 0; k < 4; k++) {
        assert_ptr_equal(second->members[k], d->instances[k + 1]); /* in order of the calls */
    }
    assert_int_equal(atomic_load(&s.met), 0);
    assert_int_equal(atomic_load(&s.wrong), 0);
    local_drop(l, d);
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_called_directly_goes_with_its_caller),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
