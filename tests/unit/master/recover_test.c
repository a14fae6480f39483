/* tests/unit/master/recover_test.c - a whole master against workers made of messages: checkpoints
 * and recovery.
 *
 * Goal:   E1-E4 of master/keeping.h: what counts as complete, what a recovery tells whom, which
 *         checkpoint it takes, and what happens when none is whole.
 * Method: the test is the workers and an HTTP client, and reads as the conversation it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "net/states.h"
#include "tests/support/fake_worker.h"
#include "tests/support/running_master.h"

#include <string.h>
#include <unistd.h>

#define W1 101
#define W2 202

static struct running_master r;
static struct fake_worker a, b;

static const char yaml[] = "oxbow: 1\n"
                           "topology: t\n"
                           "fusion: off\n"
                           "pes:\n"
                           "  src: {use: sequence, with: {keys: 4}}\n"
                           "  sum: {use: count, with: {by: key}}\n"
                           "streams:\n"
                           "  - {from: src, to: sum, by: key}\n"
                           "checkpoint: {every: 1h, keep: 2}\n";

struct plan { /* what a PREPARE said */
    uint64_t term, gen, op, base;
    uint64_t instances[4], stays[4];
    size_t instance_count, restore_count, stay_count;
    uint64_t restored_epoch; /* last file of the first restore */
    uint64_t from_epoch, retain_bytes;
    uint64_t channels[4], replaces[4], removed[4];
    bool retained[4];
    size_t channel_count, removed_count;
    bool has_source;
};

static int start(void **state)
{
    (void)state;
    running_make_dir(&r);
    running_start(&r);
    fake_join(&a, r.control, "w1", W1);
    fake_report_end(&a, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_leave(&a);
    fake_leave(&b);
    if (r.master != NULL) {
        running_stop(&r);
    }
    running_remove_dir(&r);
    return 0;
}

static struct plan expect_prepare(struct fake_worker *w)
{
    const struct msg_PREPARE *p = &fake_expect(w, M_PREPARE)->PREPARE;
    struct plan plan = {.term = p->term,
                        .gen = p->gen,
                        .op = p->op,
                        .base = p->base_version,
                        .instance_count = p->add_instances_count,
                        .restore_count = p->restores_count,
                        .stay_count = p->stay_instances_count,
                        .from_epoch = p->from_epoch,
                        .retain_bytes = p->retain_bytes,
                        .channel_count = p->add_channels_count,
                        .removed_count = p->remove_channels_count};
    for (size_t i = 0; i < p->add_channels_count; i++) {
        plan.channels[i] = p->add_channels[i].id;
        plan.replaces[i] = p->add_channels[i].replaces;
        plan.retained[i] = p->add_channels[i].retain;
    }
    for (size_t i = 0; i < p->remove_channels_count; i++) {
        plan.removed[i] = p->remove_channels[i].id;
    }
    for (size_t i = 0; i < p->stay_instances_count; i++) {
        assert_true(p->stay_instances[i].id != 0);
        plan.stays[i] = p->stay_instances[i].id;
    }
    assert_true(p->checkpoints);
    for (size_t i = 0; i < p->add_instances_count; i++) {
        plan.instances[i] = p->add_instances[i].id;
        plan.has_source = plan.has_source || strcmp(p->add_instances[i].pe, "src") == 0;
    }
    if (p->restores_count > 0) {
        struct msg_bin e = p->restores[0].epochs;
        assert_true(e.bytes >= 8 && e.bytes % 8 == 0);
        memcpy(&plan.restored_epoch, e.data + e.bytes - 8, 8);
        assert_int_equal(p->restores[0].groups.bytes, 32);
    }
    return plan;
}

static void send_ready(struct fake_worker *w, const struct plan *p, uint64_t incarnation,
                       enum err code)
{
    const struct msg m = {.kind = M_READY,
                          .READY = {.term = p->term,
                                    .topology = "t",
                                    .op = p->op,
                                    .incarnation = incarnation,
                                    .ok = code == ERR_OK,
                                    .what = code == ERR_OK ? "" : "snapshot 7.sum.0: damaged",
                                    .code = (uint64_t)code}};
    fake_send(w, &m);
}

static void send_done(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    const struct msg m = {
        .kind = M_DONE,
        .DONE = {.term = p->term, .topology = "t", .op = p->op, .incarnation = incarnation}};
    fake_send(w, &m);
}

static void go_through(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    send_ready(w, p, incarnation, ERR_OK);
    assert_int_equal(fake_expect(w, M_GO)->GO.op, p->op);
    send_done(w, p, incarnation);
}

static void expect_state(const char *wanted)
{
    char last[32] = "";
    for (int i = 0; i < 400; i++) {
        int status;
        json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
        const char *state = json_string_value(json_object_get(t, "state"));
        snprintf(last, sizeof last, "%s", state != NULL ? state : "none");
        json_decref(t);
        if (strcmp(last, wanted) == 0) {
            return;
        }
        usleep(20000);
    }
    fail_msg("the topology is %s, not %s", last, wanted);
}

static struct plan deploy(void)
{
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", yaml, &status));
    assert_int_equal(status, 202);
    struct plan p = expect_prepare(&a);
    assert_int_equal(p.restore_count, 0);
    go_through(&a, &p, W1);
    expect_state("running");
    return p;
}

static void acknowledge(struct fake_worker *w, const struct plan *p, size_t which, uint64_t epoch,
                        uint64_t incarnation, bool ok)
{
    const struct msg m = {
        .kind = M_CHECKPOINT_ACK,
        .CHECKPOINT_ACK = {.topology = "t",
                           .gen = p->gen,
                           .epoch = epoch,
                           .incarnation = incarnation,
                           .instance = p->instances[which],
                           .ok = ok,
                           .what = ok ? "" : "no space left",
                           .epochs = {(const uint8_t *)&epoch, ok ? sizeof epoch : 0}}};
    fake_send(w, &m);
}

/* ask - one more checkpoint; Return: its epoch. */
static uint64_t ask(struct fake_worker *w)
{
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies/t/checkpoint", NULL, NULL, &status));
    assert_int_equal(status, 202);
    return fake_expect(w, M_CHECKPOINT)->CHECKPOINT.epoch;
}

static uint64_t complete(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    uint64_t epoch = ask(w);
    acknowledge(w, p, 0, epoch, incarnation, true);
    acknowledge(w, p, 1, epoch, incarnation, true);
    assert_int_equal(fake_expect(w, M_CHECKPOINT_COMPLETE)->CHECKPOINT_COMPLETE.epoch, epoch);
    return epoch;
}

static void a_checkpoint_counts_when_every_instance_is_saved(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t epoch = ask(&a);
    acknowledge(&a, &p, 0, epoch, W1, true);
    acknowledge(&a, &p, 0, epoch, W1, true);     /* told twice */
    acknowledge(&a, &p, 1, epoch, W1 + 1, true); /* by another process */
    fake_silent(&a, 300);
    acknowledge(&a, &p, 1, epoch, W1, true);
    assert_int_equal(fake_expect(&a, M_CHECKPOINT_COMPLETE)->CHECKPOINT_COMPLETE.epoch, epoch);
    epoch = ask(&a);
    acknowledge(&a, &p, 0, epoch, W1, false);
    acknowledge(&a, &p, 1, epoch, W1, true);
    fake_silent(&a, 300);
    int status;
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    json_t *c = json_object_get(t, "checkpoint");
    assert_int_equal(json_integer_value(json_object_get(c, "completed")), 1);
    assert_int_equal(json_integer_value(json_object_get(c, "failed")), 1);
    assert_string_equal(json_string_value(json_object_get(c, "error")), "no space left");
    json_decref(t);
}

static void a_lost_worker_is_replaced_and_the_newest_checkpoint_restored(void **state)
{
    (void)state;
    struct plan p = deploy();
    (void)complete(&a, &p, W1);
    uint64_t newest = complete(&a, &p, W1);
    fake_join(&b, r.control, "w2", W2);
    fake_report_end(&b, 0);
    fake_leave(&a);
    struct plan q = expect_prepare(&b);
    assert_int_equal(q.gen, p.gen + 1); /* E2 */
    assert_int_equal(q.base, 0);
    assert_int_equal(q.instance_count, 2);
    assert_int_equal(q.restore_count, 2);
    assert_int_equal(q.restored_epoch, newest); /* E4 */
    for (size_t i = 0; i < 2; i++) { /* R25: nothing of it has an id that was used before */
        assert_true(q.instances[i] > p.instances[0] && q.instances[i] > p.instances[1]);
    }
    expect_state("recovering");
    acknowledge(&b, &p, 0, newest, W2, true); /* of the old generation: nobody heeds it */
    go_through(&b, &q, W2);
    expect_state("running");
}

static void expect_receipt(const struct plan *q, uint64_t epoch)
{
    int status;
    json_t *list = http_json(r.http, "GET", "/v1/topologies/t/receipts", NULL, NULL, &status);
    assert_int_equal(status, 200);
    assert_int_equal(json_array_size(list), 1);
    json_t *one = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(one, "result")), "recovered");
    assert_int_equal(json_integer_value(json_object_get(one, "to")), 1);
    assert_int_equal(json_integer_value(json_object_get(one, "gen")), q->gen);
    assert_int_equal(json_integer_value(json_object_get(one, "checkpoint")), epoch);
    assert_int_equal(json_integer_value(json_object_get(one, "resent")), 0);
    assert_int_equal(json_integer_value(json_object_get(one, "replayed")), 0); /* none told of */
    assert_true(json_number_value(json_object_get(one, "total_ms")) > 0);
    json_t *all = http_json(r.http, "GET", "/v1/topologies/t/versions", NULL, NULL, &status);
    json_t *version = json_array_get(all, 0);
    assert_true(json_is_null(json_object_get(version, "receipt")));
    assert_true(json_equal(json_object_get(version, "recoveries"), list));
    json_decref(all);
    json_decref(list);
}

static void a_recovery_leaves_a_receipt_that_a_restart_keeps(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t newest = complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    go_through(&a, &q, W1 + 7);
    expect_state("running");
    expect_receipt(&q, newest);
    running_stop(&r);
    fake_leave(&a);
    running_start(&r);
    expect_receipt(&q, newest);
}

static void before_the_first_checkpoint_it_begins_anew(void **state)
{
    (void)state;
    struct plan p = deploy();
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7); /* started again: no need to wait for it to be lost */
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    assert_int_equal(q.gen, p.gen + 1);
    assert_int_equal(q.restore_count, 0);
    go_through(&a, &q, W1 + 7);
    expect_state("running");
}

static const char branches[] = "oxbow: 1\n"
                               "topology: t\n"
                               "fusion: off\n"
                               "pes:\n"
                               "  src: {use: sequence, with: {keys: 4}}\n"
                               "  sum: {use: count, with: {by: key}}\n"
                               "  other: {use: sequence, with: {keys: 4}}\n"
                               "  more: {use: count, with: {by: key}}\n"
                               "streams:\n"
                               "  - {from: src, to: sum}\n"
                               "  - {from: other, to: more}\n"
                               "checkpoint: {every: 1h, keep: 2}\n";

static void report_running(struct fake_worker *w, const struct plan *p)
{
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = 1,
                                     .gen = p->gen,
                                     .op = p->op,
                                     .at_us = 1,
                                     .state = DEPLOYMENT_RUNNING}};
    fake_send(w, &m);
}

/* Each worker holds a branch, and the checkpoint of both is complete. */
static void deploy_branches(struct plan *p, struct plan *q)
{
    int status;
    fake_join(&b, r.control, "w2", W2);
    fake_report_end(&b, 0);
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", branches, &status));
    assert_int_equal(status, 202);
    *p = expect_prepare(&a);
    *q = expect_prepare(&b);
    assert_int_equal(p->instance_count, 2);
    assert_int_equal(q->instance_count, 2);
    send_ready(&a, p, W1, ERR_OK);
    send_ready(&b, q, W2, ERR_OK);
    (void)fake_expect(&a, M_GO);
    (void)fake_expect(&b, M_GO);
    send_done(&a, p, W1);
    send_done(&b, q, W2);
    report_running(&a, p);
    report_running(&b, q);
    expect_state("running");
    uint64_t epoch = ask(&a);
    assert_int_equal(fake_expect(&b, M_CHECKPOINT)->CHECKPOINT.epoch, epoch);
    for (size_t i = 0; i < 2; i++) {
        acknowledge(&a, p, i, epoch, W1, true);
        acknowledge(&b, q, i, epoch, W2, true);
    }
    (void)fake_expect(&a, M_CHECKPOINT_COMPLETE);
    (void)fake_expect(&b, M_CHECKPOINT_COMPLETE);
}

static void a_branch_that_shares_no_stream_with_the_loss_stays(void **state)
{
    (void)state;
    struct plan p, q;
    deploy_branches(&p, &q);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan lost = expect_prepare(&a), kept = expect_prepare(&b);
    assert_int_equal(lost.gen, p.gen + 1);
    assert_int_equal(lost.base, 0);
    assert_int_equal(lost.instance_count, 2);
    assert_int_equal(lost.restore_count, 2);
    assert_int_equal(lost.stay_count, 0);
    assert_int_equal(kept.gen, p.gen + 1); /* R21: whatever speaks from now on, speaks of it */
    assert_int_equal(kept.base, 1);
    assert_int_equal(kept.instance_count, 0);
    assert_int_equal(kept.restore_count, 0);
    assert_int_equal(kept.stay_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(kept.stays[i] == q.instances[0] || kept.stays[i] == q.instances[1]);
        assert_true(lost.instances[i] > q.instances[0] && lost.instances[i] > q.instances[1]);
    }
    send_ready(&a, &lost, W1 + 7, ERR_OK);
    send_ready(&b, &kept, W2, ERR_OK);
    (void)fake_expect(&a, M_GO);
    (void)fake_expect(&b, M_GO);
    send_done(&a, &lost, W1 + 7);
    send_done(&b, &kept, W2);
    expect_state("running");
    (void)fake_expect(&a, M_CHECKPOINT_COMPLETE); /* who stays may not have committed it either */
    (void)fake_expect(&b, M_CHECKPOINT_COMPLETE);
    uint64_t epoch = ask(&a); /* both acknowledge under the new generation */
    (void)fake_expect(&b, M_CHECKPOINT);
    for (size_t i = 0; i < 2; i++) {
        acknowledge(&a, &lost, i, epoch, W1 + 7, true);
        q.gen = kept.gen;
        acknowledge(&b, &q, i, epoch, W2, true);
    }
    assert_int_equal(fake_expect(&b, M_CHECKPOINT_COMPLETE)->CHECKPOINT_COMPLETE.epoch, epoch);
}

/* ---- less than a branch: who feeds the loss retains what it has sent ---- */

static const char spread[] = "oxbow: 1\n"
                             "topology: t\n"
                             "fusion: off\n"
                             "pes:\n"
                             "  src: {use: sequence, with: {keys: 4}}\n"
                             "  sum: {use: count, parallelism: 2, with: {by: key}}\n"
                             "streams:\n"
                             "  - {from: src, to: sum, by: key}\n"
                             "checkpoint: {every: 1h, keep: 2, retain: 1MiB}\n";

struct spread { /* the source and a sum are on `near`, the other sum is on `far` */
    struct fake_worker *near, *far;
    struct plan near_plan, far_plan;
    uint64_t border; /* channel from near to far */
    uint64_t epoch;  /* complete */
};

static void report_log(struct fake_worker *w, const struct plan *p, uint64_t channel,
                           uint64_t reach)
{
    struct rec_CHANNEL_STATUS log = {.id = channel, .reach = reach, .retained = 1000};
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = 1,
                                     .gen = p->gen,
                                     .op = p->op,
                                     .at_us = 2,
                                     .state = DEPLOYMENT_RUNNING,
                                     .channels = &log,
                                     .channels_count = channel != 0 ? 1 : 0}};
    fake_send(w, &m);
}

static void deploy_spread(struct spread *s)
{
    int status;
    fake_join(&b, r.control, "w2", W2);
    fake_report_end(&b, 0);
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", spread, &status));
    assert_int_equal(status, 202);
    struct plan p = expect_prepare(&a), q = expect_prepare(&b);
    assert_int_equal(p.instance_count + q.instance_count, 3);
    bool first = p.has_source;
    *s = (struct spread){.near = first ? &a : &b,
                         .far = first ? &b : &a,
                         .near_plan = first ? p : q,
                         .far_plan = first ? q : p};
    assert_int_equal(p.retain_bytes, 1 << 20);
    assert_int_equal(s->near_plan.instance_count, 2);
    assert_int_equal(s->near_plan.channel_count, 2);
    for (size_t i = 0; i < 2; i++) { /* R22: only the one whose ends may die apart */
        if (s->near_plan.channels[i] == s->far_plan.channels[0]) {
            assert_true(s->near_plan.retained[i]);
            s->border = s->near_plan.channels[i];
        } else {
            assert_false(s->near_plan.retained[i]);
        }
    }
    assert_true(s->border != 0);
    send_ready(&a, &p, W1, ERR_OK);
    send_ready(&b, &q, W2, ERR_OK);
    (void)fake_expect(&a, M_GO);
    (void)fake_expect(&b, M_GO);
    send_done(&a, &p, W1);
    send_done(&b, &q, W2);
    expect_state("running");
    s->epoch = ask(&a);
    assert_int_equal(fake_expect(&b, M_CHECKPOINT)->CHECKPOINT.epoch, s->epoch);
    for (size_t i = 0; i < 2; i++) {
        acknowledge(s->near, &s->near_plan, i, s->epoch, s->near->incarnation, true);
    }
    acknowledge(s->far, &s->far_plan, 0, s->epoch, s->far->incarnation, true);
    (void)fake_expect(&a, M_CHECKPOINT_COMPLETE);
    (void)fake_expect(&b, M_CHECKPOINT_COMPLETE);
    report_log(s->far, &s->far_plan, 0, 0);
}

/* The report on the log has come: what is retained is seen. */
static void wait_retained(void)
{
    for (int i = 0; i < 400; i++) {
        int status;
        json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
        json_t *stream = json_array_get(json_object_get(t, "streams"), 0);
        bool seen = json_integer_value(json_object_get(stream, "retained")) > 0;
        json_decref(t);
        if (seen) {
            return;
        }
        usleep(20000);
    }
    fail_msg("no report has come");
}

static void lose_far(struct spread *s, uint64_t reach)
{
    const char *name = s->far->name;
    uint64_t incarnation = s->far->incarnation + 7;
    report_log(s->near, &s->near_plan, s->border, reach);
    wait_retained();
    fake_leave(s->far);
    fake_join(s->far, r.control, name, incarnation);
    fake_report_end(s->far, 0);
}

static void who_retains_what_it_has_sent_stays_and_sends_it_again(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    assert_int_equal(lost.gen, s.far_plan.gen + 1);
    assert_int_equal(lost.instance_count, 1);
    assert_true(lost.restore_count >= 1);
    assert_int_equal(lost.from_epoch, s.epoch);
    assert_int_equal(lost.channel_count, 1);
    assert_int_equal(lost.removed_count, 0); /* it died with its process */
    assert_int_equal(kept.stay_count, 2);
    assert_int_equal(kept.instance_count, 0);
    assert_int_equal(kept.restore_count, 0);
    assert_int_equal(kept.base, 1);
    assert_int_equal(kept.channel_count, 1);
    assert_int_equal(kept.replaces[0], s.border); /* whose log is sent again */
    assert_true(kept.channels[0] == lost.channels[0] && kept.channels[0] != s.border); /* R25 */
    assert_int_equal(kept.removed_count, 1);
    assert_int_equal(kept.removed[0], s.border);
    send_ready(s.far, &lost, s.far->incarnation, ERR_OK);
    fake_silent(s.near, 200); /* R21: triggered when all are ready */
    send_ready(s.near, &kept, s.near->incarnation, ERR_OK);
    assert_int_equal(fake_expect(s.near, M_GO)->GO.op, kept.op);
    (void)fake_expect(s.far, M_GO);
    struct msg done = {.kind = M_DONE,
                       .DONE = {.term = kept.term,
                                .topology = "t",
                                .op = kept.op,
                                .incarnation = s.near->incarnation,
                                .resent = 123}};
    fake_send(s.near, &done);
    fake_send(s.near, &done); /* told twice, counted once */
    send_done(s.far, &lost, s.far->incarnation);
    expect_state("running");
    int status;
    json_t *list = http_json(r.http, "GET", "/v1/topologies/t/receipts", NULL, NULL, &status);
    json_t *one = json_array_get(list, 0);
    assert_int_equal(json_integer_value(json_object_get(one, "instances_touched")), 1);
    assert_int_equal(json_integer_value(json_object_get(one, "resent")), 123);
    assert_int_equal(json_integer_value(json_object_get(one, "replayed")), 123);
    json_decref(list);
}

static void expect_whole(struct spread *s, uint64_t gen)
{
    struct plan far = expect_prepare(s->far), near = expect_prepare(s->near);
    assert_int_equal(far.gen, gen);
    assert_int_equal(near.stay_count + far.stay_count, 0);
    assert_int_equal(near.instance_count + far.instance_count, 3);
    assert_int_equal(near.removed_count, 0);
    for (size_t i = 0; i < near.channel_count; i++) {
        assert_int_equal(near.replaces[i], 0);
    }
}

static void who_does_not_reach_back_far_enough_goes_back_too(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 2); /* it begins later */
    expect_whole(&s, s.far_plan.gen + 1);
}

static void who_retains_nothing_goes_back_too(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, 0);
    expect_whole(&s, s.far_plan.gen + 1);
}

static void a_log_that_was_dropped_since_makes_all_go_back(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, 1); /* from the beginning, which is before the checkpoint */
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    assert_int_equal(kept.stay_count, 2);
    send_ready(s.near, &kept, s.near->incarnation, ERR_AGAIN);
    (void)fake_expect(s.near, M_ABORT);
    (void)fake_expect(s.far, M_ABORT);
    expect_whole(&s, lost.gen + 1);
}

/* both_go - they are ready, and told to go. */
static void both_go(struct spread *s, const struct plan *far, const struct plan *near)
{
    send_ready(s->far, far, s->far->incarnation, ERR_OK);
    send_ready(s->near, near, s->near->incarnation, ERR_OK);
    (void)fake_expect(s->near, M_GO);
    (void)fake_expect(s->far, M_GO);
}

static void start_far_again(struct spread *s)
{
    const char *name = s->far->name;
    uint64_t incarnation = s->far->incarnation + 7;
    fake_leave(s->far);
    fake_join(s->far, r.control, name, incarnation);
    fake_report_end(s->far, 0);
}

/* What the first try left alone stays: under which id its log goes on, its worker knows. */
static void expect_less_again(struct spread *s, const struct plan *kept)
{
    struct plan lost = expect_prepare(s->far), again = expect_prepare(s->near);
    assert_int_equal(lost.gen, kept->gen + 1);
    assert_int_equal(lost.instance_count, 1);
    assert_int_equal(lost.from_epoch, s->epoch);
    assert_int_equal(again.gen, lost.gen);
    assert_int_equal(again.base, 1);
    assert_int_equal(again.stay_count, 2);
    assert_int_equal(again.instance_count, 0);
    assert_int_equal(again.channel_count, 1);
    assert_int_equal(again.replaces[0], kept->channels[0]);
    assert_true(again.channels[0] > kept->channels[0]); /* R25 */
    for (size_t i = 0; i < 2; i++) {
        assert_true(again.stays[i] == kept->stays[0] || again.stays[i] == kept->stays[1]);
    }
    both_go(s, &lost, &again);
    send_done(s->near, &again, s->near->incarnation);
    send_done(s->far, &lost, s->far->incarnation);
    expect_state("running");
}

static void a_second_loss_leaves_alone_what_the_first_left(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    (void)expect_prepare(s.far);
    struct plan kept = expect_prepare(s.near);
    start_far_again(&s); /* while it prepares */
    (void)fake_expect(s.near, M_ABORT);
    expect_less_again(&s, &kept);
}

static void come_back(struct fake_worker *w)
{
    const char *name = w->name;
    uint64_t incarnation = w->incarnation;
    fake_leave(w);
    fake_join(w, r.control, name, incarnation);
}

/* What it had prepared may have been fed already by who stays; that is gone with it. */
static void who_loses_what_it_prepared_beside_others_that_stay_is_one_more_try(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    send_ready(s.far, &lost, s.far->incarnation, ERR_OK);
    come_back(s.far);
    fake_report_end(s.far, 0);
    (void)fake_expect(s.near, M_ABORT);
    (void)fake_expect(s.far, M_ABORT);
    expect_less_again(&s, &kept);
}

static void who_comes_back_with_the_part_that_stays_is_asked_once_more(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    come_back(s.near);
    report_log(s.near, &s.near_plan, s.border, s.epoch + 1);
    fake_report_end(s.near, 1);
    assert_int_equal(expect_prepare(s.near).op, kept.op);
    send_ready(s.near, &kept, s.near->incarnation, ERR_OK);
    send_ready(s.far, &lost, s.far->incarnation, ERR_OK);
    assert_int_equal(fake_expect(s.near, M_GO)->GO.op, kept.op);
    (void)fake_expect(s.far, M_GO);
    send_done(s.near, &kept, s.near->incarnation);
    send_done(s.far, &lost, s.far->incarnation);
    expect_state("running");
}

static void a_second_loss_after_go_leaves_alone_what_the_first_left(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    both_go(&s, &lost, &kept);
    send_done(s.near, &kept, s.near->incarnation);
    start_far_again(&s);
    expect_less_again(&s, &kept);
}

/* What a recovery left alone is for its own tries: the next loss, here of a topology that is being
 * stopped, finds its own. */
static void a_later_loss_does_not_go_by_what_an_earlier_one_left(void **state)
{
    (void)state;
    struct spread s;
    int status;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    both_go(&s, &lost, &kept);
    send_done(s.near, &kept, s.near->incarnation);
    send_done(s.far, &lost, s.far->incarnation);
    (void)fake_expect(s.near, M_CHECKPOINT_COMPLETE);
    expect_state("running");
    mem_free(http_call(r.http, "POST", "/v1/topologies/t/stop", NULL, NULL, &status));
    assert_int_equal(status, 202);
    (void)fake_expect(s.near, M_STOP);
    start_far_again(&s);
    struct plan all = expect_prepare(s.near);
    assert_int_equal(all.stay_count, 0);
    assert_int_equal(all.instance_count, 2);
}

static void a_second_loss_after_a_refusal_takes_all(void **state)
{
    (void)state;
    struct spread s;
    deploy_spread(&s);
    lose_far(&s, s.epoch + 1);
    struct plan lost = expect_prepare(s.far), kept = expect_prepare(s.near);
    send_ready(s.near, &kept, s.near->incarnation, ERR_AGAIN);
    (void)fake_expect(s.near, M_ABORT);
    start_far_again(&s);
    struct plan all = expect_prepare(s.near);
    assert_true(all.gen > lost.gen);
    assert_int_equal(all.stay_count, 0);
}

/* ---- R23: what cannot be made good is said ---- */

static void expect_degraded(const char *unknown)
{
    int status;
    json_t *list = http_json(r.http, "GET", "/v1/topologies/t/receipts", NULL, NULL, &status);
    json_t *one = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(one, "result")), "degraded");
    assert_true(json_is_null(json_object_get(one, "lost")));
    assert_non_null(strstr(json_string_value(json_object_get(one, "unknown")), unknown));
    json_decref(list);
}

static void without_checkpoints_a_loss_degrades_and_the_topology_fails(void **state)
{
    (void)state;
    static const char bare[] = "oxbow: 1\n"
                               "topology: t\n"
                               "pes:\n"
                               "  src: {use: sequence, with: {keys: 4}}\n"
                               "  end: {use: null-sink}\n"
                               "streams:\n"
                               "  - {from: src, to: end}\n";
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", bare, &status));
    assert_int_equal(status, 202);
    const struct msg_PREPARE *prepare = &fake_expect(&a, M_PREPARE)->PREPARE;
    assert_int_equal(prepare->retain_bytes, 0);
    struct plan p = {.term = prepare->term, .gen = prepare->gen, .op = prepare->op};
    go_through(&a, &p, W1);
    expect_state("running");
    fake_leave(&a);
    expect_state("failed");
    expect_degraded("no checkpoints");
}

static void a_source_that_cannot_be_read_again_degrades_the_recovery(void **state)
{
    (void)state;
    static const char live[] = "oxbow: 1\n"
                               "topology: t\n"
                               "fusion: off\n"
                               "pes:\n"
                               "  src: {use: tcp-source, with: {listen: \"127.0.0.1:9\"}}\n"
                               "  end: {use: null-sink}\n"
                               "streams:\n"
                               "  - {from: src, to: end}\n"
                               "checkpoint: {every: 1h}\n";
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", live, &status));
    assert_int_equal(status, 202);
    struct plan p = expect_prepare(&a);
    go_through(&a, &p, W1);
    expect_state("running");
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    go_through(&a, &q, W1 + 7);
    expect_state("running");
    expect_degraded("'src' cannot be read again");
}

static void a_branch_that_cannot_stay_is_restored_with_the_rest(void **state)
{
    (void)state;
    struct plan p, q;
    deploy_branches(&p, &q);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan lost = expect_prepare(&a), kept = expect_prepare(&b);
    assert_int_equal(kept.stay_count, 2);
    send_ready(&b, &kept, W2, ERR_AGAIN);
    (void)fake_expect(&a, M_ABORT);
    (void)fake_expect(&b, M_ABORT);
    struct plan again = expect_prepare(&a), all = expect_prepare(&b);
    assert_int_equal(again.gen, lost.gen + 1);
    assert_int_equal(all.base, 0);
    assert_int_equal(all.stay_count, 0);
    assert_int_equal(all.instance_count, 2);
    assert_int_equal(all.restore_count, 2);
    assert_true(all.instances[0] > kept.stays[0] && all.instances[0] > kept.stays[1]);
}

static void a_damaged_checkpoint_gives_way_to_an_older_one_then_to_a_clear_stop(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t older = complete(&a, &p, W1);
    uint64_t newest = complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    assert_int_equal(q.restored_epoch, newest);
    send_ready(&a, &q, W1 + 7, ERR_CORRUPT);
    (void)fake_expect(&a, M_ABORT);
    q = expect_prepare(&a);
    assert_int_equal(q.gen, p.gen + 2);
    assert_int_equal(q.restored_epoch, older);
    send_ready(&a, &q, W1 + 7, ERR_CORRUPT);
    (void)fake_expect(&a, M_ABORT);
    expect_state("failed");
    int status;
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    assert_string_equal(json_string_value(json_object_get(json_object_get(t, "error"), "message")),
                        "no checkpoint of topology t is whole");
    json_decref(t);
}

/* What was damaged is in the past, with all that came before the recovery. */
static void checkpoints_behind_a_damaged_one_count(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t older = complete(&a, &p, W1);
    (void)complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    send_ready(&a, &q, W1 + 7, ERR_CORRUPT);
    (void)fake_expect(&a, M_ABORT);
    q = expect_prepare(&a);
    assert_int_equal(q.restored_epoch, older);
    go_through(&a, &q, W1 + 7);
    expect_state("running");
    int status;
    json_t *list = http_json(r.http, "GET", "/v1/topologies/t/receipts", NULL, NULL, &status);
    json_t *damaged = json_object_get(json_array_get(list, 0), "damaged");
    assert_int_equal(json_integer_value(damaged), older + 1);
    json_decref(list);
    const struct msg *told = fake_expect(&a, M_CHECKPOINT_COMPLETE); /* what it stands on */
    assert_int_equal(told->CHECKPOINT_COMPLETE.epoch, older);
    uint64_t newest = complete(&a, &q, W1 + 7);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 9);
    fake_report_end(&a, 0);
    q = expect_prepare(&a);
    assert_int_equal(q.restored_epoch, newest);
    go_through(&a, &q, W1 + 9);
    expect_state("running");
}

static void a_second_loss_in_a_recovery_is_one_more_try(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t newest = complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    send_ready(&a, &q, W1 + 7, ERR_OK);
    (void)fake_expect(&a, M_GO);
    fake_leave(&a); /* after GO, before DONE */
    fake_join(&a, r.control, "w1", W1 + 9);
    fake_report_end(&a, 0);
    q = expect_prepare(&a);
    assert_int_equal(q.gen, p.gen + 2);
    assert_int_equal(q.restored_epoch, newest);
    go_through(&a, &q, W1 + 9);
    expect_state("running");
}

static void a_master_that_dies_in_a_recovery_begins_it_once_more(void **state)
{
    (void)state;
    struct plan p = deploy();
    uint64_t newest = complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    running_stop(&r);
    fake_leave(&a);
    running_start(&r);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan again = expect_prepare(&a);
    assert_true(again.term > q.term);
    assert_int_equal(again.gen, q.gen + 1);
    assert_int_equal(again.restored_epoch, newest);
    go_through(&a, &again, W1 + 7);
    expect_state("running");
}

/* lose - its worker dies and comes again; what was planned for it is carried out. */
static struct plan lose(uint64_t incarnation)
{
    fake_leave(&a);
    fake_join(&a, r.control, "w1", incarnation);
    fake_report_end(&a, 0);
    struct plan p = expect_prepare(&a);
    go_through(&a, &p, incarnation);
    (void)fake_expect(&a, M_CHECKPOINT_COMPLETE); /* has it committed what it was restored from? */
    expect_state("running");
    return p;
}

static void a_topology_that_never_gets_to_another_checkpoint_fails(void **state)
{
    (void)state;
    struct plan p = deploy();
    (void)complete(&a, &p, W1);
    uint64_t incarnation = W1 + 1;
    for (int n = 0; n < 3; n++) {
        p = lose(++incarnation);
    }
    (void)complete(&a, &p, incarnation); /* it has got somewhere: they are counted anew */
    for (int n = 0; n < FRUITLESS_RECOVERIES_MAX; n++) {
        (void)lose(++incarnation);
    }
    fake_leave(&a);
    fake_join(&a, r.control, "w1", ++incarnation);
    fake_report_end(&a, 0);
    expect_state("failed");
    int status;
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    const char *what =
        json_string_value(json_object_get(json_object_get(t, "error"), "message"));
    assert_non_null(strstr(what, "never got to another checkpoint"));
    json_decref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_MASTER(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_MASTER(a_checkpoint_counts_when_every_instance_is_saved),
        WITH_MASTER(a_lost_worker_is_replaced_and_the_newest_checkpoint_restored),
        WITH_MASTER(a_recovery_leaves_a_receipt_that_a_restart_keeps),
        WITH_MASTER(before_the_first_checkpoint_it_begins_anew),
        WITH_MASTER(a_branch_that_shares_no_stream_with_the_loss_stays),
        WITH_MASTER(without_checkpoints_a_loss_degrades_and_the_topology_fails),
        WITH_MASTER(a_source_that_cannot_be_read_again_degrades_the_recovery),
        WITH_MASTER(a_branch_that_cannot_stay_is_restored_with_the_rest),
        WITH_MASTER(who_retains_what_it_has_sent_stays_and_sends_it_again),
        WITH_MASTER(who_does_not_reach_back_far_enough_goes_back_too),
        WITH_MASTER(who_retains_nothing_goes_back_too),
        WITH_MASTER(a_log_that_was_dropped_since_makes_all_go_back),
        WITH_MASTER(a_second_loss_leaves_alone_what_the_first_left),
        WITH_MASTER(who_loses_what_it_prepared_beside_others_that_stay_is_one_more_try),
        WITH_MASTER(who_comes_back_with_the_part_that_stays_is_asked_once_more),
        WITH_MASTER(a_second_loss_after_go_leaves_alone_what_the_first_left),
        WITH_MASTER(a_later_loss_does_not_go_by_what_an_earlier_one_left),
        WITH_MASTER(a_second_loss_after_a_refusal_takes_all),
        WITH_MASTER(a_damaged_checkpoint_gives_way_to_an_older_one_then_to_a_clear_stop),
        WITH_MASTER(checkpoints_behind_a_damaged_one_count),
        WITH_MASTER(a_second_loss_in_a_recovery_is_one_more_try),
        WITH_MASTER(a_master_that_dies_in_a_recovery_begins_it_once_more),
        WITH_MASTER(a_topology_that_never_gets_to_another_checkpoint_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
