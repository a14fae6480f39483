/* tests/unit/worker/resend_test.c - who feeds a recovery from outside, on real executors and links.
 *
 * Goal:   a source whose consumer is lost goes on, untouched, and sends its log again to another
 *         one, inside a worker and to a peer: every number from the checkpoint on, once, in order
 *         (PROTOCOL R20-R22, H23); a log that does not reach back is said before anything happens.
 * Method: PREPARE messages made by hand; a collector that checks what it gets outside the engine's
 *         ledgers.  Nothing sleeps.  Meant to run under SAN=thread too. */
#include "core/mem.h"
#include "tests/support/local.h"
#include "worker/resend.h"
#include "worker/retain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NUMBERED "seq: i64, key: i64, at: time"
enum { EPOCH = 5, AFTERWARDS = 100000 };

static struct { /* what the collector saw since `fresh`; one runs at a time */
    _Atomic uint64_t tuples;
    _Atomic int64_t first, next; /* -1: none yet */
    _Atomic uint64_t out_of_order;
} seen; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    if (b == NULL) {
        return;
    }
    const int64_t *seq = oxb_i64s(b, 0);
    OXB_EACH (b, i) {
        if (seen.next < 0) {
            seen.first = seq[i];
        } else {
            seen.out_of_order += seq[i] != seen.next;
        }
        seen.next = seq[i] + 1;
    }
    seen.tuples += b->live;
}

static void fresh(void)
{
    seen.tuples = seen.out_of_order = 0;
    seen.first = seen.next = -1;
}

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("collector", collect, NULL);
}

static bool enough(const void *arg)
{
    return seen.tuples >= *(const uint64_t *)arg;
}

static void wait_seen(struct local *l, uint64_t tuples)
{
    local_wait_for(l, enough, &tuples);
}

/* source -> collector, and the same with another collector in its place. */
struct case_ {
    struct local *a, *b; /* b == a: one worker */
    struct part *from, *to;
    unsigned tries;           /* of the recovery before this one */
    struct plan first, again; /* large */
};

static void make_plans(struct case_ *c, uint64_t retain_bytes)
{
    const char *where = c->a == c->b ? "a" : "b";
    struct plan *p = &c->first;
    plan_init(p, "t");
    unsigned src = plan_pe(p, "sequence", "{\"rate\":200000,\"keys\":7,\"start\":0,\"bytes\":0}", 1,
                           "", NUMBERED, "a");
    unsigned out = plan_pe(p, "collector", "{}", 1, NUMBERED, "", where);
    plan_stream(p, src, out, PLAN_BALANCED, 0, false);
    p->channels[0].retain = true;
    p->msg.PREPARE.retain_bytes = retain_bytes;
    p->workers[0] = (struct rec_WORKER_ADDR){
        .name = "a", .incarnation = local_incarnation(c->a), .address = local_address(c->a)};
    p->workers[1] = (struct rec_WORKER_ADDR){
        .name = "b", .incarnation = local_incarnation(c->b), .address = local_address(c->b)};
}

/* again_at - the plan of the recovery for one worker: that of try `c->tries`, from 0 on. */
static const struct msg *again_at(struct case_ *c, bool source)
{
    static struct rec_ID stay, old;
    struct plan *p = &c->again;
    stay = (struct rec_ID){.id = 1};
    old = (struct rec_ID){.id = c->tries == 0 ? 1 : 19 + c->tries};
    *p = c->first;
    struct msg_PREPARE *m = &p->msg.PREPARE;
    bool one = c->a == c->b;
    p->instances[0] = c->first.instances[1];
    p->instances[0].id = 120 + c->tries;
    p->channels[0].id = 20 + c->tries;
    p->channels[0].to = 120 + c->tries;
    p->channels[0].replaces = old.id;
    m->add_instances = p->instances;
    m->add_instances_count = one || !source;
    m->streams = p->streams;
    m->add_channels = p->channels;
    m->workers = p->workers;
    m->workers_count = 2;
    m->op = 2 + c->tries;
    m->gen = 1 + c->tries;
    m->epoch = 9;
    m->from_epoch = EPOCH;
    if (source) {
        m->base_version = 1;
        m->stay_instances = &stay;
        m->stay_instances_count = 1;
        m->remove_channels = &old;
        m->remove_channels_count = 1;
    }
    return &p->msg;
}

static void begin(struct case_ *c, bool remote, uint64_t retain_bytes)
{
    fresh();
    c->a = local_new("a", 2);
    c->b = remote ? local_new("b", 1) : c->a;
    make_plans(c, retain_bytes);
    c->from = c->to = local_deploy(c->a, plan_for(&c->first, "a"));
    if (remote) {
        c->to = local_deploy(c->b, plan_for(&c->first, "b"));
        local_go(c->b, c->to);
    }
    local_go(c->a, c->from);
    wait_seen(c->b, 10000);
    local_inject(c->a, c->from, EPOCH);
    local_wait_epoch(c->b, c->to, EPOCH);
    wait_seen(c->b, seen.tuples + 10000);
}

static void end(struct case_ *c)
{
    if (c->b != c->a) {
        local_drop(c->b, c->to);
    }
    local_drop(c->a, c->from);
    if (c->b != c->a) {
        local_free(c->b);
    }
    local_free(c->a);
}

struct goes_on {
    struct oxb_pe *pe;
    uint64_t above;
};

static bool has_emitted(const void *arg)
{
    const struct goes_on *g = arg;
    return atomic_load(&pe_counters(g->pe)->tuples_out) > g->above;
}

/* The consumer is gone: the source goes on all the same (H23). */
static void expect_going_on(struct case_ *c)
{
    struct goes_on g = {.pe = c->from->instances[0]->pe};
    g.above = atomic_load(&pe_counters(g.pe)->tuples_out) + AFTERWARDS;
    local_wait_for(c->a, has_emitted, &g);
}

static void recover(struct case_ *c)
{
    struct change_result result;
    bool remote = c->b != c->a;
    const struct instance *source = c->from->instances[0];
    if (remote) {
        local_drop(c->b, c->to);
    }
    const struct msg *plan = again_at(c, true);
    assert_true(local_discard(c->a, c->from, plan));
    assert_int_equal(c->from->instance_count, 1);
    uint64_t before = seen.tuples;
    expect_going_on(c);
    assert_int_equal(seen.tuples, before);
    fresh();
    uint64_t replaces = c->again.channels[0].replaces; /* as it was found here */
    if (remote) {
        c->to = local_deploy(c->b, again_at(c, false));
        local_go(c->b, c->to);
        plan = again_at(c, true);
        c->again.channels[0].replaces = replaces;
        c->again.msg.PREPARE.remove_channels[0].id = replaces;
    }
    local_change(c->a, c->from, plan);
    assert_int_equal(seen.tuples, 0); /* R21: nothing before GO */
    local_change_go(c->a, c->from, &result);
    assert_true(result.resent > AFTERWARDS);
    wait_seen(c->b, result.resent + 10000); /* and live */
    assert_true(seen.first > 0);            /* from the marker on, not from the beginning */
    assert_int_equal(seen.out_of_order, 0);
    assert_ptr_equal(c->from->instances[0], source);
}

static void a_source_sends_again_inside_its_worker(void **state)
{
    (void)state;
    struct case_ *c = mem_alloc(sizeof *c);
    begin(c, false, 1 << 30);
    recover(c);
    local_wait_swept(c->a, c->from);
    assert_int_equal(c->from->channel_count, 1);
    end(c);
    mem_free(c);
}

static void a_source_sends_again_to_a_peer(void **state)
{
    (void)state;
    struct case_ *c = mem_alloc(sizeof *c);
    begin(c, true, 1 << 30);
    recover(c);
    end(c);
    mem_free(c);
}

/* A second loss: the channel that the plan names was made here, or given up, or never heard of. */
static void a_further_try_finds_the_log_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned remote = 0; remote < 2; remote++) {
        struct case_ *c = mem_alloc(sizeof *c);
        begin(c, remote == 1, 1 << 30);
        c->tries = 3; /* three were planned, and none has come here */
        recover(c);
        c->tries++; /* made */
        recover(c);
        c->tries++;
        if (remote == 0) { /* given up before GO */
            const struct msg *plan = again_at(c, true);
            assert_true(local_discard(c->a, c->from, plan));
            local_change(c->a, c->from, plan);
            local_change_abort(c->a, c->from);
            local_wait_swept(c->a, c->from);
            c->tries++;
            recover(c);
        }
        end(c);
        mem_free(c);
    }
}

static bool is_lost(const void *arg)
{
    const struct part *base = arg;
    const struct fail *why = base->change != NULL ? change_fail(base) : NULL;
    return why != NULL && why->code == ERR_AGAIN;
}

static void a_log_that_does_not_reach_back_is_not_ready(void **state)
{
    (void)state;
    struct case_ *c = mem_alloc(sizeof *c);
    begin(c, false, 4096);
    assert_true(local_discard(c->a, c->from, again_at(c, true)));
    local_change_begin(c->a, c->from, again_at(c, true));
    local_wait_for(c->a, is_lost, c->from);
    local_change_abort(c->a, c->from);
    end(c);
    mem_free(c);
}

static void a_plan_that_would_part_a_channel_is_refused(void **state)
{
    (void)state;
    struct case_ *c = mem_alloc(sizeof *c);
    begin(c, false, 1 << 30);
    (void)again_at(c, true);
    c->again.channels[0].replaces = 0;
    assert_false(local_discard(c->a, c->from, &c->again.msg));
    assert_int_equal(c->from->instance_count, 2);
    wait_seen(c->a, seen.tuples + 10000); /* it runs on */
    end(c);
    mem_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_sends_again_inside_its_worker),
        cmocka_unit_test(a_source_sends_again_to_a_peer),
        cmocka_unit_test(a_further_try_finds_the_log_wherever_it_is),
        cmocka_unit_test(a_log_that_does_not_reach_back_is_not_ready),
        cmocka_unit_test(a_plan_that_would_part_a_channel_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
