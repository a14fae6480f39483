/* tests/unit/master/recover_upgrade_test.c - a loss and an upgrade at once.
 *
 * Goal:   an upgrade that is not decided gives way to a recovery, however the loss is found out:
 *         before anything is told of the recovery it is given up, everywhere.  After one, what it
 *         covers goes back with whatever is lost, until a checkpoint is of the new version.
 * Method: two fake workers, one master; the test reads as the conversation it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/states.h"
#include "tests/support/pair.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pair p;

static int start(void **state)
{
    (void)state;
    pair_start(&p);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pair_stop(&p);
    return 0;
}

/* That of pair.h, with checkpoints that nobody takes by himself. */
static const char *yaml_of(int least)
{
    static char text[800];
    snprintf(text, sizeof text, "%scheckpoint: {every: 1h}\n", pair_yaml(2, least));
    return text;
}

static void begin_upgrade(struct told now[2], struct told next[2])
{
    pair_deploy_this(&p, yaml_of(0), now);
    pair_upgrade(&p, yaml_of(1), next);
}

static void expect_abort(unsigned i, const struct told *t)
{
    const struct msg_ABORT *m = &fake_expect(&p.w[i], M_ABORT)->ABORT;
    assert_int_equal(m->op, t->op);
}

static void expect_recovery(const struct told now[2])
{
    struct told t[2] = {told_prepare(&p.w[0]), told_prepare(&p.w[1])};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(t[i].gen, now[i].gen + 1);
        assert_int_equal(t[i].version, 1); /* what ran is what is recovered */
    }
    told_all(&p, t);
    pair_state(&p, "running");
    json_t *r = pair_receipt(&p, 2);
    assert_string_equal(json_string_value(json_object_get(r, "result")), "aborted");
    json_decref(r);
    json_decref(pair_ask(&p, "upgrade", yaml_of(2), 202)); /* nothing stands in its way */
}

/* The same process, and it holds nothing any more. */
static void come_back_without(unsigned i)
{
    const char *name = p.w[i].name;
    uint64_t incarnation = p.w[i].incarnation;
    fake_leave(&p.w[i]);
    fake_join(&p.w[i], p.r.control, name, incarnation);
    fake_report_end(&p.w[i], 0);
}

static void who_comes_back_without_its_part_ends_an_undecided_upgrade(void **state)
{
    (void)state;
    struct told now[2], next[2];
    begin_upgrade(now, next);
    come_back_without(1);
    expect_abort(0, &next[0]);
    expect_abort(1, &next[1]);
    expect_recovery(now);
}

static void a_lost_worker_ends_an_undecided_upgrade(void **state)
{
    (void)state;
    struct told now[2], next[2];
    begin_upgrade(now, next);
    fake_leave(&p.w[1]);
    fake_join(&p.w[1], p.r.control, "w2", 203);
    fake_report_end(&p.w[1], 0);
    expect_abort(0, &next[0]);
    expect_recovery(now);
}

/* Decided, it is the new version that is recovered. */
static void
who_comes_back_without_its_part_after_the_decision_recovers_the_new_version(void **state)
{
    (void)state;
    struct told now[2], next[2];
    begin_upgrade(now, next);
    for (unsigned i = 0; i < 2; i++) {
        told_ready(&p.w[i], &next[i], NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)fake_expect(&p.w[i], M_GO);
    }
    come_back_without(1);
    struct told t[2] = {told_prepare(&p.w[0]), told_prepare(&p.w[1])};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(t[i].gen, now[i].gen + 1);
        assert_int_equal(t[i].version, 2);
    }
    told_all(&p, t);
    (void)fake_expect(&p.w[0], M_CHECKPOINT); /* at once: the newest one is of the old version */
    (void)fake_expect(&p.w[1], M_CHECKPOINT);
    pair_state(&p, "running");
}

/* A recovery that is told to go, and one of them has nothing to go on with: one more try. */
static void who_comes_back_without_its_part_in_a_recovery_is_one_more_try(void **state)
{
    (void)state;
    struct told now[2], t[2];
    pair_deploy_this(&p, yaml_of(0), now);
    come_back_without(1);
    for (unsigned i = 0; i < 2; i++) {
        t[i] = told_prepare(&p.w[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        told_ready(&p.w[i], &t[i], NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)fake_expect(&p.w[i], M_GO);
    }
    come_back_without(1);
    for (unsigned i = 0; i < 2; i++) {
        t[i] = told_prepare(&p.w[i]);
        assert_int_equal(t[i].gen, now[i].gen + 2);
    }
    told_all(&p, t);
    pair_state(&p, "running");
}

/* It said that it was ready, and has lost what it prepared: it is asked again before GO. */
static void who_comes_back_is_asked_again_whether_it_is_ready(void **state)
{
    (void)state;
    struct told now[2], t[2];
    pair_deploy_this(&p, yaml_of(0), now);
    come_back_without(1);
    for (unsigned i = 0; i < 2; i++) {
        t[i] = told_prepare(&p.w[i]);
    }
    told_ready(&p.w[1], &t[1], NULL);
    come_back_without(1);
    assert_int_equal(told_prepare(&p.w[1]).op, t[1].op);
    told_ready(&p.w[0], &t[0], NULL);
    fake_silent(&p.w[0], 200); /* the other has not said so again */
    told_all(&p, t);
    pair_state(&p, "running");
}

/* The channel from `numbers` to `end` would be new, and `end` had ended: of that its worker tells,
 * as it was restored. */
static void who_had_ended_gets_no_new_input(void **state)
{
    (void)state;
    static const char yaml[] = "oxbow: 1\ntopology: t\nfusion: off\npes:\n"
                               "  numbers: {use: sequence}\n"
                               "  work: {use: filter, with: {field: seq, ge: 0}, parallelism: 2}\n"
                               "  end: {use: null-sink}\n"
                               "streams:\n  - {from: numbers, to: work}\n"
                               "  - {from: work, to: end}\n  - {from: numbers, to: end}\n"
                               "checkpoint: {every: 1h}\n";
    struct told now[2], next[2];
    pair_deploy_this(&p, yaml_of(0), now);
    pair_upgrade(&p, yaml, next);
    for (unsigned i = 0; i < 2; i++) {
        struct rec_INSTANCE_STATUS status[64];
        for (size_t k = 0; k < now[i].id_count; k++) {
            status[k] = (struct rec_INSTANCE_STATUS){.id = now[i].ids[k],
                                                     .state = INSTANCE_RUNNING,
                                                     .had_ended = now[i].outputs[k] == 0};
        }
        const struct msg m = {.kind = M_REPORT,
                              .REPORT = {.topology = "t",
                                         .version = 1,
                                         .gen = now[i].gen,
                                         .op = now[i].op,
                                         .state = DEPLOYMENT_RUNNING,
                                         .at_us = 7,
                                         .instances = status,
                                         .instances_count = now[i].id_count}};
        fake_send(&p.w[i], &m);
        told_ready(&p.w[i], &next[i], NULL);
    }
    expect_abort(0, &next[0]);
    expect_abort(1, &next[1]);
    json_t *r = pair_receipt(&p, 2), *error = json_object_get(r, "error");
    assert_non_null(
        strstr(json_string_value(json_object_get(error, "message")), "end[0] has ended"));
    json_decref(r);
}

/* ---- a loss behind an upgrade, before its first checkpoint ---- */

/* Two branches, one on each worker. */
static const char *branches(int least)
{
    static char text[600];
    snprintf(text, sizeof text,
             "oxbow: 1\ntopology: t\nfusion: off\npes:\n"
             "  numbers: {use: sequence}\n"
             "  work: {use: filter, with: {field: seq, ge: %d}}\n"
             "  end: {use: null-sink}\n"
             "  others: {use: sequence}\n"
             "  same: {use: filter, with: {field: seq, ge: 0}}\n"
             "  rest: {use: null-sink}\n"
             "streams:\n  - {from: numbers, to: work}\n  - {from: work, to: end}\n"
             "  - {from: others, to: same}\n  - {from: same, to: rest}\n"
             "checkpoint: {every: 1h}\n",
             least);
    return text;
}

/* That all runs as told, and that every log there reaches back to the beginning. */
static void report_logs(unsigned i, const struct told *now, const struct told *changed)
{
    struct rec_INSTANCE_STATUS instances[64];
    struct rec_CHANNEL_STATUS logs[2];
    for (size_t k = 0; k < now->id_count; k++) {
        instances[k] = (struct rec_INSTANCE_STATUS){.id = now->ids[k], .state = INSTANCE_RUNNING};
    }
    for (size_t k = 0; k < 2; k++) {
        logs[k] = (struct rec_CHANNEL_STATUS){.id = now->channel + k, .reach = 1, .retained = 1000};
    }
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = 2,
                                     .gen = changed->gen,
                                     .op = changed->op,
                                     .state = DEPLOYMENT_RUNNING,
                                     .at_us = 7,
                                     .instances = instances,
                                     .instances_count = now->id_count,
                                     .channels = logs,
                                     .channels_count = 2}};
    fake_send(&p.w[i], &m);
}

static bool has_log(const char *stream)
{
    json_t *t = pair_get(&p, "/v1/topologies/t"), *one;
    size_t k;
    bool has = false;
    json_array_foreach(json_object_get(t, "streams"), k, one)
    {
        has = has || (strcmp(json_string_value(json_object_get(one, "from")), stream) == 0 &&
                      json_integer_value(json_object_get(one, "retained")) > 0);
    }
    json_decref(t);
    return has;
}

static void wait_log(const char *from)
{
    for (int i = 0; !has_log(from); i++) {
        assert_true(i < 400);
        usleep(20000);
    }
}

/* What was lost is the other branch; what the upgrade changed goes back with it, and what depends
 * on that, for no checkpoint is of the new version.  Who feeds it and has a log stays. */
static void what_an_upgrade_covers_goes_back_with_a_loss_before_its_checkpoint(void **state)
{
    (void)state;
    struct told now[2], next[2];
    pair_deploy_this(&p, branches(0), now);
    pair_upgrade(&p, branches(1), next); /* the first one's branch: numbers, work, end */
    unsigned changed = 0;
    const struct msg *m = NULL;
    told_all(&p, next);
    pair_state(&p, "running");
    (void)fake_expect(&p.w[0], M_CHECKPOINT); /* never answered: no checkpoint is complete */
    (void)fake_expect(&p.w[1], M_CHECKPOINT);
    report_logs(0, &now[0], &next[0]);
    report_logs(1, &now[1], &next[0]);
    wait_log("numbers");
    wait_log("others");
    fake_leave(&p.w[1]);
    fake_join(&p.w[1], p.r.control, "w2", 203);
    fake_report_end(&p.w[1], 0);
    m = fake_expect(&p.w[0], M_PREPARE);
    assert_int_equal(m->PREPARE.gen, now[0].gen + 1);
    assert_int_equal(m->PREPARE.version, 2);
    assert_int_equal(m->PREPARE.stay_instances_count, 1);
    assert_int_equal(m->PREPARE.add_instances_count, 2);
    for (size_t k = 0; k < 2; k++) {
        changed += strcmp(m->PREPARE.add_instances[k].pe, "work") == 0 ||
                   strcmp(m->PREPARE.add_instances[k].pe, "end") == 0;
    }
    assert_int_equal(changed, 2);
    assert_int_equal(told_prepare(&p.w[1]).added, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_MASTER(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_MASTER(who_comes_back_without_its_part_ends_an_undecided_upgrade),
        WITH_MASTER(a_lost_worker_ends_an_undecided_upgrade),
        WITH_MASTER(who_comes_back_without_its_part_after_the_decision_recovers_the_new_version),
        WITH_MASTER(who_comes_back_without_its_part_in_a_recovery_is_one_more_try),
        WITH_MASTER(who_comes_back_is_asked_again_whether_it_is_ready),
        WITH_MASTER(who_had_ended_gets_no_new_input),
        WITH_MASTER(what_an_upgrade_covers_goes_back_with_a_loss_before_its_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
