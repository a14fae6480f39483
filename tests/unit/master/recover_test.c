/* tests/unit/master/recover_test.c - a whole master against workers made of messages: checkpoints
 * and recovery.
 *
 * Goal:   E1-E4 of master/keeping.h: what counts as complete, what a recovery tells whom, which
 *         checkpoint it takes, and what happens when none is whole.
 * Method: the test is the workers and an HTTP client, and reads as the conversation it is. */
#include "tests/unit/master/recover_fixture.h"

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

static void state_is_dropped_by_a_change_and_by_no_recovery(void **state)
{
    (void)state;
    static const char drops[] = "oxbow: 1\n"
                                "topology: t\n"
                                "fusion: off\n"
                                "pes:\n"
                                "  src: {use: sequence, with: {keys: 4}}\n"
                                "  sum: {use: count, with: {by: key}, state: drop}\n"
                                "streams:\n"
                                "  - {from: src, to: sum, by: key}\n"
                                "checkpoint: {every: 1h, keep: 2}\n";
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", drops, &status));
    assert_int_equal(status, 202);
    struct plan p = expect_prepare(&a);
    go_through(&a, &p, W1);
    expect_state("running");
    (void)complete(&a, &p, W1);
    fake_leave(&a);
    fake_join(&a, r.control, "w1", W1 + 7);
    fake_report_end(&a, 0);
    struct plan q = expect_prepare(&a);
    assert_int_equal(q.restore_count, 2); /* the count's, too */
    go_through(&a, &q, W1 + 7);
    expect_state("running");
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
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "damage")),
                        "snapshot 7.sum.0: damaged");
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
        WITH_MASTER(state_is_dropped_by_a_change_and_by_no_recovery),
        WITH_MASTER(before_the_first_checkpoint_it_begins_anew),
        WITH_MASTER(a_branch_that_shares_no_stream_with_the_loss_stays),
        WITH_MASTER(without_checkpoints_a_loss_degrades_and_the_topology_fails),
        WITH_MASTER(a_source_that_cannot_be_read_again_degrades_the_recovery),
        WITH_MASTER(a_branch_that_cannot_stay_is_restored_with_the_rest),
        WITH_MASTER(a_damaged_checkpoint_gives_way_to_an_older_one_then_to_a_clear_stop),
        WITH_MASTER(checkpoints_behind_a_damaged_one_count),
        WITH_MASTER(a_second_loss_in_a_recovery_is_one_more_try),
        WITH_MASTER(a_master_that_dies_in_a_recovery_begins_it_once_more),
        WITH_MASTER(a_topology_that_never_gets_to_another_checkpoint_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
