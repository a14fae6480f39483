/* tests/unit/worker/moves_test.c - a PE with keyed state wanders, in a process and between two.
 *
 * Goal:   whatever moves, by pointer or over a link that is cut again and again, no count is lost,
 *         doubled or out of order, and what is given up leaves nothing behind.
 * Method: sequence -> count (by key, emit each) -> collector; the collector sees each key's counts
 *         as
 *         1, 2, 3 ... or says so.  For code of another state version a tally of two versions takes
 *         the place of count.  Worker `a` has both ends; count goes to `b` and back, under full
 *         load, with proxies between the two that cut in the middle of frames. */
#include "core/mem.h"
#include "tests/support/local.h"
#include "tests/support/proxy.h"
#include "tests/support/tallies.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NUMBERED "seq: i64, key: i64, at: time"
#define COUNTED "key: i64, count: i64"
enum { KEYS = 20000 };

struct seen {
    pthread_mutex_t lock;
    int64_t tuples, bad;
    int64_t counts[KEYS];
};
static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    if (b != NULL) {
        const int64_t *key = oxb_i64s(b, 0);
        const int64_t *count = oxb_i64s(b, 1);
        OXB_EACH (b, i) {
            s->tuples++;
            s->bad += count[i] != ++s->counts[key[i]] ? 1 : 0;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static bool moved_on(const void *arg)
{
    pthread_mutex_lock(&seen.lock);
    bool on = seen.tuples > *(const int64_t *)arg;
    pthread_mutex_unlock(&seen.lock);
    return on;
}

static int setup(void **state)
{
    (void)state;
    return tallies_register() != 0 ? -1 : oxb_collector_new("tail", collect, &seen);
}

/* ---- two workers and the way the PE takes ---- */
struct pair {
    struct local *a, *b;
    struct proxy *to_a, *to_b;
    struct part *at_a, *at_b;
    uint64_t op, next_id;
    uint64_t count, in, out;    /* ids: the instance, its channels */
    bool away;                  /* it is on b */
    const char *code;           /* it runs, from the next move on */
};

enum { SRC = 1, OUT = 3 };

struct edit {
    struct plan p;
    struct rec_ID removed_channels[2], removed_instances[1];
    struct rec_MEMBER_SPEC members[3];
    struct rec_STATE_MOVE moves[1];
    uint64_t awaited[3];
    uint8_t groups[KEY_GROUPS / 8];
};
static struct edit edit; /* tidy: large, test only */

static void fill_workers(const struct pair *p, struct plan *plan)
{
    plan->workers[0] = (struct rec_WORKER_ADDR){.name = "a", .incarnation = local_incarnation(p->a),
                                                .address = proxy_address(p->to_a)};
    if (p->b != NULL) {
        plan->workers[1] = (struct rec_WORKER_ADDR){.name = "b",
                                                    .incarnation = local_incarnation(p->b),
                                                    .address = proxy_address(p->to_b)};
    }
    plan->msg.PREPARE.workers = plan->workers;
    plan->msg.PREPARE.workers_count = p->b != NULL ? 2 : 1;
}

static const char *with(const char *code) /* its parameters */
{
    return strcmp(code, "count") == 0 ? "{\"by\":[\"key\"]}" : "{}";
}

static void pair_run(struct pair *p, bool two, const char *source, uint64_t seed, const char *code)
{
    static struct plan plan; /* tidy: large, test only */
    *p = (struct pair){.op = 1, .next_id = 100, .count = 2, .in = 1, .out = 2, .code = code};
    memset(seen.counts, 0, sizeof seen.counts);
    seen.tuples = seen.bad = 0;
    p->a = local_new("a", 2);
    p->to_a = proxy_new(local_address(p->a), seed);
    if (two) {
        p->b = local_new("b", 2);
        p->to_b = proxy_new(local_address(p->b), seed + 1);
    }
    plan_init(&plan, "t");
    fill_workers(p, &plan);
    unsigned src = plan_pe(&plan, "sequence", source, 1, "", NUMBERED, "a");
    unsigned mid = plan_pe(&plan, code, with(code), 1, NUMBERED, COUNTED, "a");
    unsigned out = plan_pe(&plan, "tail", "{}", 1, COUNTED, "", "a");
    plan_stream(&plan, src, mid, PLAN_KEYED, 1, false);
    plan_stream(&plan, mid, out, PLAN_BALANCED, 0, false);
    p->at_a = local_deploy(p->a, plan_for(&plan, "a"));
    local_go(p->a, p->at_a);
}
static void pair_start(struct pair *p, bool two, const char *source, uint64_t seed)
{
    pair_run(p, two, source, seed, "count");
}

static void add_member(uint64_t id, enum plan_role role, bool head, uint64_t awaits)
{
    size_t k = edit.p.msg.PREPARE.members_count++;
    edit.awaited[k] = awaits;
    edit.members[k] = (struct rec_MEMBER_SPEC){.id = id, .role = role, .head = head};
    if (awaits != 0) {
        edit.members[k].awaited =
            (struct msg_bin){(const uint8_t *)&edit.awaited[k], sizeof edit.awaited[k]};
    }
}

static void add_streams(struct plan *p)
{
    static const uint32_t key = 1;
    static const uint16_t owners[KEY_GROUPS] = {0};
    p->msg.PREPARE.streams_count = 2;
    p->streams[0] = (struct rec_STREAM_SPEC){
        .id = 1, .name = "in", .partitioning = PLAN_KEYED,
        .keys = {(const uint8_t *)&key, sizeof key},
        .owners = {(const uint8_t *)owners, sizeof owners}};
    p->streams[1] = (struct rec_STREAM_SPEC){.id = 2, .name = "out"};
}

/* What worker `me` hears of the move of the PE to `to`. */
static const struct msg *plan_move(const struct pair *p, const char *me, const char *to)
{
    const char *from = p->away ? "b" : "a";
    memset(&edit, 0, sizeof edit);
    plan_init(&edit.p, "t");
    fill_workers(p, &edit.p);
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    m->op = m->version = m->epoch = p->op;
    m->base_version = p->op - 1;
    m->remove_channels = edit.removed_channels;
    m->remove_instances = edit.removed_instances;
    m->members = edit.members;
    add_streams(&edit.p);
    if (strcmp(me, to) == 0) {
        plan_pe(&edit.p, p->code, with(p->code), 1, NUMBERED, COUNTED, me);
        edit.p.instances[0].id = p->next_id;
    }
    if (strcmp(me, "a") == 0) {
        add_member(SRC, PLAN_STAYING, true, 0);
        add_member(OUT, PLAN_STAYING, false, p->out);
    }
    bool old_here = strcmp(me, from) == 0;
    if (old_here) {
        edit.removed_instances[m->remove_instances_count++].id = p->count;
        add_member(p->count, PLAN_OLD, false, p->in);
    }
    if (old_here || strcmp(me, "a") == 0) {
        edit.removed_channels[m->remove_channels_count++].id = p->in;
        edit.removed_channels[m->remove_channels_count++].id = p->out;
    }
    if (strcmp(me, to) == 0 || strcmp(me, "a") == 0) {
        edit.p.channels[m->add_channels_count++] = (struct rec_CHANNEL_SPEC){
            .id = p->next_id + 1, .stream = 1, .from = SRC, .to = p->next_id, .from_worker = "a",
            .to_worker = to};
        edit.p.channels[m->add_channels_count++] = (struct rec_CHANNEL_SPEC){
            .id = p->next_id + 2, .stream = 2, .from = p->next_id, .to = OUT, .from_worker = to,
            .to_worker = "a"};
    }
    memset(edit.groups, 0xff, sizeof edit.groups);
    edit.moves[0] = (struct rec_STATE_MOVE){.giver = p->count, .taker = p->next_id,
                                            .from_worker = from, .to_worker = to,
                                            .groups = {edit.groups, sizeof edit.groups}};
    if (old_here || strcmp(me, to) == 0) {
        m->moves = edit.moves;
        m->moves_count = 1;
    }
    return &edit.p.msg;
}

static void add_up(struct change_result *sum, const struct change_result *r)
{
    sum->lost += r->lost + r->uncompared + r->duplicated + r->reordered;
    sum->exported += r->exported;
    sum->imported += r->imported;
    sum->state_bytes += r->state_bytes;
    mem_free(r->pauses_us);
}

/* The taker's worker prepares first here; in handover_test.c it is either. */
static void prepare_move(struct pair *p, const char *to)
{
    p->op++;
    if (p->b != NULL && p->at_b == NULL) {
        p->at_b = local_deploy(p->b, plan_move(p, "b", to));
    } else if (p->b != NULL && strcmp(to, "b") == 0) {
        local_change(p->b, p->at_b, plan_move(p, "b", to));
    }
    local_change_begin(p->a, p->at_a, plan_move(p, "a", to));
    if (p->b != NULL && strcmp(to, "a") == 0 && p->away) {
        local_change(p->b, p->at_b, plan_move(p, "b", to));
    }
    local_change_ready(p->a, p->at_a);
}

static struct change_result move_to(struct pair *p, const char *to)
{
    struct change_result r, sum = {0};
    bool b_is_in_it = p->b != NULL && (p->away || strcmp(to, "b") == 0);
    prepare_move(p, to);
    local_change_start(p->a, p->at_a);
    if (b_is_in_it) {
        local_change_start(p->b, p->at_b);
        local_change_wait(p->b, &r);
        add_up(&sum, &r);
    }
    local_change_wait(p->a, &r);
    add_up(&sum, &r);
    p->count = p->next_id;
    p->in = p->next_id + 1;
    p->out = p->next_id + 2;
    p->next_id += 10;
    p->away = strcmp(to, "b") == 0;
    assert_int_equal(sum.lost, 0);
    assert_int_equal(sum.exported, sum.imported); /* I3 */
    return sum;
}

static void see_tuples(struct pair *p, int64_t more)
{
    pthread_mutex_lock(&seen.lock);
    int64_t until = seen.tuples + more;
    pthread_mutex_unlock(&seen.lock);
    local_wait_for(p->a, moved_on, &until);
}

static void pair_end(struct pair *p)
{
    see_tuples(p, KEYS);
    pthread_mutex_lock(&seen.lock);
    assert_int_equal(seen.bad, 0);
    pthread_mutex_unlock(&seen.lock);
    if (p->b != NULL && p->at_b != NULL) {
        local_drop(p->b, p->at_b);
    }
    local_drop(p->a, p->at_a);
    if (p->b != NULL) {
        local_free(p->b);
        proxy_free(p->to_b);
    }
    local_free(p->a);
    proxy_free(p->to_a);
}

static const char full_load[] = "{\"keys\":20000,\"start\":0,\"bytes\":0}";
static const char light_load[] = "{\"keys\":20000,\"start\":0,\"bytes\":0,\"rate\":10000}";
static const char some_load[] = "{\"keys\":20000,\"start\":0,\"bytes\":0,\"rate\":100000}";

static void by_pointer_within_a_worker(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, false, full_load, 1);
    see_tuples(&p, 2 * KEYS);
    for (int round = 0; round < 50; round++) {
        struct change_result r = move_to(&p, "a");
        assert_int_equal(r.imported, KEYS);
        assert_int_equal(r.state_bytes, 0);
        see_tuples(&p, 1000);
    }
    local_wait_swept(p.a, p.at_a);
    pair_end(&p);
}

static void between_two_workers_and_back(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, true, some_load, 2);
    see_tuples(&p, 2 * KEYS);
    for (int round = 0; round < 10; round++) {
        struct change_result r = move_to(&p, p.away ? "a" : "b");
        assert_int_equal(r.imported, KEYS);
        assert_in_range(r.state_bytes, KEYS * 30, UINT64_MAX);
        see_tuples(&p, 1000);
    }
    pair_end(&p);
}

static void over_links_that_are_cut(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, true, light_load, 3);
    see_tuples(&p, KEYS);
    const struct proxy_manners bad = {.cut_bytes_max = 400 << 10};
    proxy_behave(p.to_a, bad);
    proxy_behave(p.to_b, bad);
    for (int round = 0; round < 6; round++) {
        struct change_result r = move_to(&p, p.away ? "a" : "b");
        assert_int_equal(r.imported, KEYS);
        see_tuples(&p, 1000);
    }
    proxy_wait_cuts(p.to_a, 3);
    proxy_wait_cuts(p.to_b, 3);
    proxy_behave(p.to_a, (struct proxy_manners){0});
    proxy_behave(p.to_b, (struct proxy_manners){0});
    pair_end(&p);
}

static void what_is_given_up_is_not_noticed(void **state)
{
    (void)state;
    struct pair p;
    pair_start(&p, true, some_load, 4);
    see_tuples(&p, 2 * KEYS);
    (void)move_to(&p, "b");
    for (int round = 0; round < 10; round++) {
        const char *to = p.away ? "a" : "b";
        prepare_move(&p, to);
        local_change_abort(p.a, p.at_a);
        local_change_abort(p.b, p.at_b);
        p.next_id += 10;
        see_tuples(&p, 1000);
        local_wait_swept(p.a, p.at_a);
        local_wait_swept(p.b, p.at_b);
        if (round % 3 == 0) {
            struct change_result r = move_to(&p, to);
            assert_int_equal(r.imported, KEYS);
        }
    }
    pair_end(&p);
}

/* ---- code of another state version ---- */

static void other_code(struct pair *p)
{
    p->code = strcmp(p->code, "tally1") == 0 ? "tally2" : "tally1";
}

/* The code is replaced where it is: the groups go from the instance to itself. */
static const struct msg *plan_replace(const struct pair *p)
{
    static struct rec_INSTANCE_SPEC adopted;   /* tidy: with `edit` */
    static struct rec_CHANNEL_SPEC keep[2];    /* tidy: with `edit` */
    memset(&edit, 0, sizeof edit);
    plan_init(&edit.p, "t");
    fill_workers(p, &edit.p);
    struct msg_PREPARE *m = &edit.p.msg.PREPARE;
    m->op = m->version = m->epoch = p->op;
    m->base_version = p->op - 1;
    m->members = edit.members;
    add_streams(&edit.p);
    plan_pe(&edit.p, p->code, with(p->code), 1, NUMBERED, COUNTED, "a");
    adopted = edit.p.instances[0];
    adopted.id = p->count;
    m->add_instances_count = 0;
    m->adopt_instances = &adopted;
    m->adopt_instances_count = 1;
    add_member(p->count, PLAN_ADOPTED, true, 0);
    keep[0] = (struct rec_CHANNEL_SPEC){.id = p->in, .stream = 1, .from = SRC, .to = p->count,
                                        .from_worker = "a", .to_worker = "a"};
    keep[1] = (struct rec_CHANNEL_SPEC){.id = p->out, .stream = 2, .from = p->count, .to = OUT,
                                        .from_worker = "a", .to_worker = "a"};
    m->keep_channels = keep;
    m->keep_channels_count = 2;
    memset(edit.groups, 0xff, sizeof edit.groups);
    edit.moves[0] = (struct rec_STATE_MOVE){.giver = p->count, .taker = p->count,
                                            .from_worker = "a", .to_worker = "a",
                                            .groups = {edit.groups, sizeof edit.groups}};
    m->moves = edit.moves;
    m->moves_count = 1;
    return &edit.p.msg;
}

static void begin_replacing(struct pair *p)
{
    p->op++;
    other_code(p);
    local_change_begin(p->a, p->at_a, plan_replace(p));
}

/* With all of its state, and only then.  DONE may come a moment before. */
static bool has_started(const void *arg)
{
    (void)arg;
    return atomic_load(&tallies_told.started) == KEYS;
}

static void code_of_another_state_version_takes_its_place(void **state)
{
    (void)state;
    static const char *const loads[] = {full_load, light_load};
    for (unsigned k = 0; k < 2; k++) {
        struct pair p;
        pair_run(&p, false, loads[k], 6, "tally1");
        see_tuples(&p, KEYS);
        for (int round = 0; round < 20; round++) {
            struct change_result r, sum = {0};
            atomic_store(&tallies_told.started, 0);
            begin_replacing(&p);
            local_change_ready(p.a, p.at_a);
            if (round % 4 == 3) { /* given up: the old code has noticed nothing */
                local_change_abort(p.a, p.at_a);
                other_code(&p);
                local_wait_swept(p.a, p.at_a);
            } else {
                local_change_go(p.a, p.at_a, &r);
                add_up(&sum, &r);
                assert_int_equal(sum.lost, 0);
                assert_int_equal(sum.exported, KEYS);
                assert_int_equal(sum.imported, KEYS);
                local_wait_for(p.a, has_started, NULL);
            }
            see_tuples(&p, 1000);
        }
        assert_in_range(atomic_load(&tallies_told.migrated), 20 * KEYS, UINT64_MAX);
        pair_end(&p);
    }
}

static void to_another_worker_and_state_version_at_once(void **state)
{
    (void)state;
    struct pair p;
    pair_run(&p, true, some_load, 7, "tally1");
    see_tuples(&p, 2 * KEYS);
    for (int round = 0; round < 8; round++) {
        other_code(&p);
        struct change_result r = move_to(&p, p.away ? "a" : "b");
        assert_int_equal(r.imported, KEYS);
        see_tuples(&p, 1000);
    }
    pair_end(&p);
}

/* Within a worker to another instance: by way of the helper, not by pointer. */
static void to_another_instance_and_state_version_at_once(void **state)
{
    (void)state;
    struct pair p;
    pair_run(&p, false, full_load, 8, "tally1");
    see_tuples(&p, 2 * KEYS);
    for (int round = 0; round < 20; round++) {
        other_code(&p);
        assert_int_equal(move_to(&p, "a").imported, KEYS);
        see_tuples(&p, 1000);
    }
    pair_end(&p);
}

static bool has_failed(const void *arg)
{
    return change_fail(arg) != NULL;
}

static void a_migrate_that_fails_refuses_the_change(void **state)
{
    (void)state;
    struct pair p;
    pair_run(&p, false, full_load, 9, "tally1");
    see_tuples(&p, 2 * KEYS);
    atomic_store(&tallies_told.fails, true);
    begin_replacing(&p);
    local_wait_for(p.a, has_failed, p.at_a);
    assert_string_equal(change_fail(p.at_a)->what,
                        "tally2: migrate of `counts` from version 1: as asked");
    atomic_store(&tallies_told.fails, false);
    local_change_abort(p.a, p.at_a);
    other_code(&p);
    local_wait_swept(p.a, p.at_a);
    pair_end(&p);
}

/* After the decision there is no way back: the instance fails, and says why. */
static void a_migrate_that_fails_at_the_cut_fails_the_instance(void **state)
{
    (void)state;
    struct pair p;
    pair_run(&p, false, full_load, 10, "tally1");
    see_tuples(&p, 2 * KEYS);
    begin_replacing(&p);
    local_change_ready(p.a, p.at_a);
    atomic_store(&tallies_told.fails, true);
    see_tuples(&p, KEYS); /* so much is left for the cut */
    local_change_start(p.a, p.at_a);
    local_wait(p.a, p.at_a, DEPLOYMENT_FAILED);
    assert_string_equal(part_instance(p.at_a, p.count)->error,
                        "tally2: migrate of `counts` from version 1: as asked");
    atomic_store(&tallies_told.fails, false);
    local_drop(p.a, p.at_a);
    local_free(p.a);
    proxy_free(p.to_a);
}

static void a_drop_while_state_is_migrated_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        struct pair p;
        pair_run(&p, false, full_load, 11, "tally1");
        see_tuples(&p, 2 * KEYS);
        begin_replacing(&p);
        if (round % 3 != 0) { /* on the way; when all is there; when it is decided */
            local_change_ready(p.a, p.at_a);
        }
        if (round % 3 == 2) {
            local_change_start(p.a, p.at_a);
        }
        local_drop(p.a, p.at_a);
        local_free(p.a);
        proxy_free(p.to_a);
    }
}

static void a_drop_while_state_moves_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        struct pair p;
        pair_start(&p, true, full_load, 5);
        see_tuples(&p, 2 * KEYS);
        p.op++;
        p.at_b = local_deploy(p.b, plan_move(&p, "b", "b"));
        local_change_begin(p.a, p.at_a, plan_move(&p, "a", "b"));
        if (round % 2 == 0) { /* once on the way, once when all is there */
            local_change_ready(p.a, p.at_a);
        }
        local_drop(p.b, p.at_b);
        local_drop(p.a, p.at_a);
        local_free(p.b);
        local_free(p.a);
        proxy_free(p.to_a);
        proxy_free(p.to_b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_pointer_within_a_worker),
        cmocka_unit_test(between_two_workers_and_back),
        cmocka_unit_test(over_links_that_are_cut),
        cmocka_unit_test(what_is_given_up_is_not_noticed),
        cmocka_unit_test(a_drop_while_state_moves_leaves_nothing_behind),
        cmocka_unit_test(code_of_another_state_version_takes_its_place),
        cmocka_unit_test(to_another_worker_and_state_version_at_once),
        cmocka_unit_test(to_another_instance_and_state_version_at_once),
        cmocka_unit_test(a_migrate_that_fails_refuses_the_change),
        cmocka_unit_test(a_migrate_that_fails_at_the_cut_fails_the_instance),
        cmocka_unit_test(a_drop_while_state_is_migrated_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
