/* tests/unit/master/recover_part_test.c - recoveries that leave alone what they can.
 *
 * Goal:   PROTOCOL R20-R22: who retains what it has sent stays, and sends it again; a second loss,
 *         a refusal or a return in the middle of that.
 * Method: as in recover_test.c. */
#include "tests/unit/master/recover_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_MASTER(test) cmocka_unit_test_setup_teardown(test, start, stop)
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
