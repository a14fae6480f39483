/* tests/unit/worker/change_test.c - instances and channels come and go while tuples flow.
 *
 * Goal:   the cut of worker/cut.h and the changes of worker/change.h lose, double and reorder
 *         nothing, mix old and new behaviour on no tuple's way, and leave nothing behind.
 * Method: source -> middle -> collector in one process; a PE is inserted and removed, and code
 *         replaced, hundreds of times in a row under full load, fused and not; the collector checks
 *         numbered tuples outside the engine's ledgers. */
#include "core/mem.h"
#include "core/prng.h"
#include "tests/support/local.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NUMBERED "seq: i64, key: i64, at: time"

/* ---- the collector: every tuple once, in order; `key` carries how often it was marked ---- */
struct seen {
    pthread_mutex_t lock;
    int64_t next;       /* seq expected */
    uint64_t bad;       /* tuples out of order, lost or doubled */
    int64_t marked_now; /* marks on the latest tuple */
    uint64_t mixes;     /* changes of the mark in excess of the changes made */
    uint64_t ends;
};
static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    if (b == NULL) {
        s->ends++;
    } else {
        const int64_t *seq = oxb_i64s(b, 0);
        const int64_t *key = oxb_i64s(b, 1);
        OXB_EACH (b, i) {
            s->bad += seq[i] != s->next ? 1 : 0;
            s->next = seq[i] + 1;
            s->mixes += key[i] != s->marked_now ? 1 : 0;
            s->marked_now = key[i];
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static int64_t arrived(void)
{
    pthread_mutex_lock(&seen.lock);
    int64_t n = seen.next;
    pthread_mutex_unlock(&seen.lock);
    return n;
}

static bool moved_on(const void *arg)
{
    return arrived() > *(const int64_t *)arg;
}

/* Some tuple is seen after the change, so that the next one makes a difference that can be seen. */
static void see_a_tuple(struct local *l)
{
    int64_t now = arrived() + 20000; /* more than all rings hold */
    local_wait_for(l, moved_on, &now);
}

/* ---- a PE that adds one to `key`, and counts what it saw in keyed state ---- */
struct adder {
    struct oxb_state *counts;
};

static int adder_prepare(struct oxb_pe *pe)
{
    struct adder *self = oxb_self(pe);
    self->counts = oxb_state(pe, "seen");
    return OXB_OK;
}

static int adder_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    struct adder *self = oxb_self(pe);
    int64_t *key = oxb_own_i64s(pe, in, 1);
    int64_t zero = 0;
    int64_t *total = oxb_state_put(self->counts, oxb_key_i64(&zero));
    *total += in->live;
    OXB_EACH (in, i) {
        key[i]++;
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_value adder_values[] = {{"total", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl adder_states[] = {{"seen", adder_values}, {NULL, NULL}};
static const struct oxb_port any_in[] = {{"in", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_port any_out[] = {{"out", "*", NULL}, {NULL, NULL, NULL}};
static const struct oxb_pe_type adder = {
    .abi = OXB_ABI,
    .name = "adder",
    .doc = "adds one to the key",
    .inputs = any_in,
    .outputs = any_out,
    .states = adder_states,
    .state_version = 1,
    .self_bytes = sizeof(struct adder),
    .prepare = adder_prepare,
    .process = adder_process,
};

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("tail", collect, &seen) != 0 || oxb_register(&adder) != 0;
}

/* ---- one change, by hand ---- */
struct edit {
    struct plan p;
    struct rec_ID removed_channels[4], removed_instances[2];
    struct rec_MEMBER_SPEC members[4];
    struct rec_INSTANCE_SPEC adopted;
    uint64_t awaited[4];
};
static struct edit edit; /* tidy: large, test only */

enum { SRC = 1, MID = 2, OUT = 3 };

static void begin_edit(uint64_t op)
{
    memset(&edit, 0, sizeof edit);
    plan_init(&edit.p, "t");
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    m->op = op;
    m->version = op;
    m->base_version = op - 1;
    m->epoch = op;
    m->remove_channels = edit.removed_channels;
    m->remove_instances = edit.removed_instances;
    m->members = edit.members;
    m->streams_count = 2;
    edit.p.streams[0] = (struct rec_STREAM_SPEC){.id = 1, .name = "a"};
    edit.p.streams[1] = (struct rec_STREAM_SPEC){.id = 2, .name = "b"};
}

static void add_channel(uint64_t id, uint64_t stream, uint64_t from, uint64_t to, bool fused)
{
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    edit.p.channels[m->add_channels_count++] = (struct rec_CHANNEL_SPEC){.id = id,
                                                                         .stream = stream,
                                                                         .from = from,
                                                                         .to = to,
                                                                         .from_worker = "w",
                                                                         .to_worker = "w",
                                                                         .fused = fused};
}

static void remove_channel(uint64_t id)
{
    edit.removed_channels[edit.p.msg.PREPARE.remove_channels_count++].id = id;
}

static void member(uint64_t id, enum plan_role role, bool head, uint64_t awaits)
{
    size_t k = edit.p.msg.PREPARE.members_count++;
    edit.awaited[k] = awaits;
    edit.members[k] = (struct rec_MEMBER_SPEC){.id = id, .role = role, .head = head};
    if (awaits != 0) {
        edit.members[k].awaited =
            (struct msg_bin){(const uint8_t *)&edit.awaited[k], sizeof edit.awaited[k]};
    }
}

static void new_adder(uint64_t id)
{
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    size_t k = m->add_instances_count;
    unsigned pe = plan_pe(&edit.p, "adder", "{}", 1, NUMBERED, NUMBERED, "w");
    assert_int_equal(pe, 0);
    edit.p.instances[k].id = id;
}

/* middle -> new -> collector instead of middle -> collector; `old` is the channel in between */
static void plan_insert(uint64_t op, uint64_t old, uint64_t id, bool fused)
{
    begin_edit(op);
    new_adder(id);
    remove_channel(old);
    add_channel(id + 1, 2, MID, id, fused);
    add_channel(id + 2, 1, id, OUT, fused);
    edit.p.streams[0].name = "new"; /* leaves the new PE */
    member(MID, PLAN_STAYING, true, 0);
    member(id, PLAN_NEW, false, 0);
    member(OUT, PLAN_STAYING, false, old);
}

static void plan_remove(uint64_t op, uint64_t id, uint64_t fresh, bool fused)
{
    begin_edit(op);
    edit.removed_instances[0].id = id;
    edit.p.msg.PREPARE.remove_instances_count = 1;
    remove_channel(id + 1);
    remove_channel(id + 2);
    add_channel(fresh, 2, MID, OUT, fused);
    member(MID, PLAN_STAYING, true, 0);
    member(id, PLAN_OLD, false, id + 1);
    member(OUT, PLAN_STAYING, false, id + 2);
}

/* What MID's input and the source keep: nobody there is a member with a changed input. */
static void keep_input_of_mid(bool fused)
{
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    static struct rec_CHANNEL_SPEC keep; /* tidy: test only */
    keep = (struct rec_CHANNEL_SPEC){.id = 1,
                                     .stream = 3,
                                     .from = SRC,
                                     .to = MID,
                                     .from_worker = "w",
                                     .to_worker = "w",
                                     .fused = fused};
    m->keep_channels = &keep;
    m->keep_channels_count = 1;
    edit.p.streams[2] = (struct rec_STREAM_SPEC){.id = 3, .name = "in"};
    m->streams_count = 3;
}

static struct part *start_graph(struct local *l, bool fused, const char *middle)
{
    static struct plan p; /* tidy: large, test only */
    seen.next = 0;
    seen.bad = seen.mixes = seen.ends = 0;
    seen.marked_now = 0;
    plan_init(&p, "t");
    unsigned src =
        plan_pe(&p, "sequence", "{\"keys\":1,\"start\":0,\"bytes\":0}", 1, "", NUMBERED, "w");
    unsigned mid = plan_pe(&p, middle, "{}", 1, NUMBERED, NUMBERED, "w");
    unsigned out = plan_pe(&p, "tail", "{}", 1, NUMBERED, "", "w");
    plan_stream(&p, src, mid, PLAN_BALANCED, 0, fused);
    plan_stream(&p, mid, out, PLAN_BALANCED, 0, fused);
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    return d;
}

static void check_result(const struct change_result *r, uint64_t compared)
{
    assert_int_equal(r->compared, compared);
    assert_int_equal(r->uncompared, 0);
    assert_int_equal(r->lost, 0);
    assert_int_equal(r->duplicated, 0);
    assert_int_equal(r->reordered, 0);
    for (size_t k = 0; k < r->pause_count; k++) {
        assert_true(r->pauses_us[k] <= r->switch_us); /* both are from GO to a cut, at most */
    }
    mem_free(r->pauses_us);
}

static void end_graph(struct local *l, struct part *d, uint64_t mixes)
{
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    assert_int_equal(seen.bad, 0);
    assert_int_equal(seen.mixes, mixes);
    assert_int_equal(seen.ends, 1);
    local_drop(l, d);
}

static void insert_and_remove(unsigned executors, bool fused_first, int rounds)
{
    struct prng rng = {.state = executors * 2 + fused_first};
    struct local *l = local_new("w", executors);
    struct part *d = start_graph(l, fused_first, "union");
    uint64_t op = 1, next = 100, between = 2;
    for (int round = 0; round < rounds; round++) {
        struct change_result r;
        uint64_t id = next;
        plan_insert(++op, between, id, prng_below(&rng, 2) == 0);
        keep_input_of_mid(fused_first);
        local_change(l, d, &edit.p.msg);
        local_change_go(l, d, &r);
        check_result(&r, 1);
        see_a_tuple(l);
        plan_remove(++op, id, between = id + 3, prng_below(&rng, 2) == 0);
        keep_input_of_mid(fused_first);
        next += 10;
        local_change(l, d, &edit.p.msg);
        local_change_go(l, d, &r);
        check_result(&r, 2);
        see_a_tuple(l);
        assert_int_equal(d->instance_count, 3);
        assert_int_equal(d->channel_count, 2);
    }
    local_wait_swept(l, d);
    end_graph(l, d, (uint64_t)rounds * 2);
    local_free(l);
}

static void a_pe_comes_and_goes_between_rings(void **state)
{
    (void)state;
    insert_and_remove(1, false, 100);
    insert_and_remove(3, false, 100);
}

static void fused_chains_are_split_and_joined(void **state)
{
    (void)state;
    insert_and_remove(1, true, 100);
    insert_and_remove(3, true, 100);
}

static void code_is_replaced_in_place_and_keeps_its_state(void **state)
{
    (void)state;
    for (int fused = 0; fused < 2; fused++) {
        struct local *l = local_new("w", 2);
        struct part *d = start_graph(l, fused == 1, "adder");
        for (uint64_t op = 2; op < 100; op++) {
            struct change_result r;
            begin_edit(op);
            plan_pe(&edit.p, "adder", "{}", 1, NUMBERED, NUMBERED, "w");
            edit.adopted = edit.p.instances[0];
            edit.adopted.id = MID;
            edit.p.msg.PREPARE.add_instances_count = 0;
            edit.p.msg.PREPARE.adopt_instances = &edit.adopted;
            edit.p.msg.PREPARE.adopt_instances_count = 1;
            member(MID, PLAN_ADOPTED, true, 0);
            struct rec_CHANNEL_SPEC keep[2] = {
                {.id = 1, .stream = 1, .from = SRC, .to = MID, .fused = fused == 1},
                {.id = 2, .stream = 2, .from = MID, .to = OUT, .fused = fused == 1}};
            edit.p.msg.PREPARE.keep_channels = keep;
            edit.p.msg.PREPARE.keep_channels_count = 2;
            local_change(l, d, &edit.p.msg);
            local_change_go(l, d, &r);
            check_result(&r, 0);
        }
        local_drain(l, d);
        local_wait(l, d, DEPLOYMENT_ENDED);
        assert_int_equal(seen.bad, 0);
        assert_int_equal(seen.marked_now, 1);
        struct oxb_state *s = pe_state_at(d->instances[1]->pe, 0);
        int64_t zero = 0;
        assert_int_equal(*(int64_t *)oxb_state_get(s, oxb_key_i64(&zero)), seen.next);
        local_drop(l, d);
        local_free(l);
    }
}

/* The receipt's zeros are of every channel that the marker passed, not only of those that close. */
static void channels_that_stay_inside_the_set_are_compared_by_the_marker(void **state)
{
    (void)state;
    for (int fused = 0; fused < 2; fused++) {
        struct local *l = local_new("w", 2);
        struct part *d = start_graph(l, fused == 1, "union");
        for (uint64_t op = 2; op < 20; op++) {
            struct change_result r;
            begin_edit(op);
            keep_input_of_mid(fused == 1);
            struct rec_CHANNEL_SPEC keep[2] = {*edit.p.msg.PREPARE.keep_channels,
                                               {.id = 2,
                                                .stream = 1,
                                                .from = MID,
                                                .to = OUT,
                                                .from_worker = "w",
                                                .to_worker = "w",
                                                .fused = fused == 1}};
            edit.p.msg.PREPARE.keep_channels = keep;
            edit.p.msg.PREPARE.keep_channels_count = 2;
            member(MID, PLAN_STAYING, true, 0);
            static const uint64_t inner = 2;
            edit.members[0].marks = (struct msg_bin){(const uint8_t *)&inner, sizeof inner};
            member(OUT, PLAN_STAYING, false, inner);
            local_change(l, d, &edit.p.msg);
            local_change_go(l, d, &r);
            check_result(&r, 1);
        }
        end_graph(l, d, 0);
        local_free(l);
    }
}

/* Two sources into one collector.  A checkpoint's marker comes to it from one before the other, and
 * what waits meanwhile does not wait for the change that follows. */
static void the_wait_for_a_checkpoint_is_not_the_pause_of_the_next_change(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    struct local *l = local_new("w", 2);
    plan_init(&p, "t");
    unsigned src =
        plan_pe(&p, "sequence", "{\"keys\":1,\"start\":0,\"bytes\":0}", 2, "", NUMBERED, "w");
    unsigned out = plan_pe(&p, "tail", "{}", 1, NUMBERED, "", "w");
    plan_stream(&p, src, out, PLAN_BALANCED, 0, false);
    struct part *d = local_deploy(l, plan_for(&p, "w"));
    local_go(l, d);
    for (uint64_t op = 2; op < 40; op++) {
        struct change_result r;
        local_inject(l, d, op * 2);
        local_wait_epoch(l, d, op * 2);
        begin_edit(op);
        edit.p.msg.PREPARE.epoch = op * 2 + 1;
        struct rec_CHANNEL_SPEC keep[2];
        memcpy(keep, p.channels, sizeof keep);
        edit.p.msg.PREPARE.keep_channels = keep;
        edit.p.msg.PREPARE.keep_channels_count = 2;
        member(OUT, PLAN_STAYING, true, 0);
        local_change(l, d, &edit.p.msg);
        local_change_go(l, d, &r);
        check_result(&r, 0);
    }
    local_drain(l, d);
    local_wait(l, d, DEPLOYMENT_ENDED);
    local_drop(l, d);
    local_free(l);
}

static void an_aborted_change_is_not_noticed(void **state)
{
    (void)state;
    struct local *l = local_new("w", 2);
    struct part *d = start_graph(l, false, "union");
    for (uint64_t op = 2; op < 52; op++) {
        plan_insert(op, 2, op * 100, op % 2 == 0);
        keep_input_of_mid(false);
        local_change(l, d, &edit.p.msg);
        local_change_abort(l, d);
    }
    local_wait_swept(l, d);
    end_graph(l, d, 0);
    local_free(l);
}

static bool ends_are_known(const void *arg)
{
    return change_ends_are_known(arg);
}

/* R3, R4: the source is asked to end while a change is prepared.  Whoever is first, READY tells:
 * who has ended by then, and nobody else until the change is given up or made. */
static void at_ready_it_is_known_who_has_ended(void **state)
{
    (void)state;
    struct local *l = local_new("w", 3);
    unsigned had_ended = 0, put_off = 0;
    for (uint64_t round = 0; round < 300; round++) {
        struct part *d = start_graph(l, round % 2 == 0, "union");
        struct change_result r;
        bool ended[3];
        plan_insert(2, 2, 100, round % 4 < 2);
        keep_input_of_mid(round % 2 == 0);
        local_change_begin(l, d, &edit.p.msg);
        local_drain(l, d);
        local_change_ready(l, d);
        local_wait_for(l, ends_are_known, d);
        for (unsigned k = 1; k < 3; k++) { /* the source is no member */
            ended[k] = atomic_load(&d->instances[k]->state) == INSTANCE_ENDED;
            had_ended += ended[k];
            put_off += !ended[k];
        }
        if (round % 3 == 0) {
            local_change_go(l, d, &r);
            check_result(&r, 1);
        } else {
            for (unsigned k = 1; k < 3; k++) {
                assert_int_equal(atomic_load(&d->instances[k]->state) == INSTANCE_ENDED, ended[k]);
            }
            local_change_abort(l, d);
        }
        local_wait(l, d, DEPLOYMENT_ENDED);
        assert_int_equal(seen.bad, 0);
        assert_int_equal(seen.ends, 1);
        local_drop(l, d);
    }
    print_message("# %u had ended, %u were put off\n", had_ended, put_off);
    assert_true(put_off > 0);
    local_free(l);
}

static void a_drop_in_the_middle_of_a_change_leaves_nothing_behind(void **state)
{
    (void)state;
    struct local *l = local_new("w", 2);
    for (uint64_t round = 0; round < 40; round++) {
        struct part *d = start_graph(l, round % 2 == 0, "union");
        plan_insert(2, 2, 100, round % 3 == 0);
        keep_input_of_mid(round % 2 == 0);
        local_change(l, d, &edit.p.msg);
        if (round % 4 == 1) {
            struct change_result r;
            local_change_go(l, d, &r);
            check_result(&r, 1);
        }
        local_drop(l, d);
        assert_int_equal(pool_bytes_used(local_pool(l)), 0);
    }
    local_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pe_comes_and_goes_between_rings),
        cmocka_unit_test(fused_chains_are_split_and_joined),
        cmocka_unit_test(code_is_replaced_in_place_and_keeps_its_state),
        cmocka_unit_test(channels_that_stay_inside_the_set_are_compared_by_the_marker),
        cmocka_unit_test(the_wait_for_a_checkpoint_is_not_the_pause_of_the_next_change),
        cmocka_unit_test(an_aborted_change_is_not_noticed),
        cmocka_unit_test(at_ready_it_is_known_who_has_ended),
        cmocka_unit_test(a_drop_in_the_middle_of_a_change_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
