/* tests/unit/master/deploy_test.c - a whole master against workers made of messages.
 *
 * Goal:   deploy, refuse, lose, stop, restart: what workers are told and what users see.
 * Method: the master runs on a thread; the test is two workers and an HTTP client, and reads as the
 *         conversation it is.  Times are shortened (lost after 0.4 s, prepare 1.5 s). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "core/sha256.h"
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
                           "  src: {use: sequence, with: {count: 100, keys: 4}}\n"
                           "  sum: {use: count, with: {by: key}, parallelism: 2}\n"
                           "  end: {use: null-sink}\n"
                           "streams:\n"
                           "  - {from: src, to: sum, by: key}\n"
                           "  - {from: sum, to: end}\n";

static int start(void **state)
{
    (void)state;
    running_make_dir(&r);
    running_start(&r);
    fake_join(&a, r.control, "w1", W1);
    fake_report_end(&a, 0);
    fake_join(&b, r.control, "w2", W2);
    fake_report_end(&b, 0);
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

static void restart(void)
{
    running_stop(&r);
    fake_leave(&a);
    fake_leave(&b);
    running_start(&r);
}

static int post(const char *path, const char *type, const char *body)
{
    int status;
    mem_free(http_call(r.http, "POST", path, type, body, &status));
    return status;
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

/* expect_away - until the master has seen worker `name` go. */
static void expect_away(const char *name)
{
    for (int i = 0; i < 400; i++) {
        int status;
        size_t k;
        json_t *w, *all = http_json(r.http, "GET", "/v1/workers", NULL, NULL, &status);
        bool away = false;
        json_array_foreach(all, k, w)
        {
            const char *state = json_string_value(json_object_get(w, "state"));
            away = away || (strcmp(json_string_value(json_object_get(w, "name")), name) == 0 &&
                            state != NULL && strcmp(state, "up") != 0);
        }
        json_decref(all);
        if (away) {
            return;
        }
        usleep(5000);
    }
    fail_msg("the master does not see that %s is away", name);
}

static void expect_error(const char *part, const char *where)
{
    int status;
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    json_t *e = json_object_get(t, "error");
    assert_non_null(json_string_value(json_object_get(e, "message")));
    assert_non_null(strstr(json_string_value(json_object_get(e, "message")), part));
    assert_string_equal(json_string_value(json_object_get(e, "where")), where);
    json_decref(t);
}

struct plan { /* what a PREPARE said */
    uint64_t term, gen, op, version;
    uint64_t instances[8], channels[16];
    size_t instance_count, channel_count, stream_count, worker_count;
};

static struct plan expect_prepare(struct fake_worker *w)
{
    const struct msg_PREPARE *p = &fake_expect(w, M_PREPARE)->PREPARE;
    struct plan plan = {.term = p->term,
                        .gen = p->gen,
                        .op = p->op,
                        .version = p->version,
                        .instance_count = p->add_instances_count,
                        .channel_count = p->add_channels_count,
                        .stream_count = p->streams_count,
                        .worker_count = p->workers_count};
    assert_string_equal(p->topology, "t");
    assert_true(p->add_instances_count <= 8 && p->add_channels_count <= 16);
    for (size_t i = 0; i < p->add_instances_count; i++) {
        plan.instances[i] = p->add_instances[i].id;
    }
    for (size_t i = 0; i < p->add_channels_count; i++) {
        plan.channels[i] = p->add_channels[i].id;
    }
    return plan;
}

static void ready(struct fake_worker *w, const struct plan *p, const char *why_not)
{
    const struct msg m = {.kind = M_READY,
                          .READY = {.term = p->term,
                                    .topology = "t",
                                    .op = p->op,
                                    .incarnation = w->incarnation,
                                    .ok = why_not == NULL,
                                    .what = why_not,
                                    .hint = "try harder",
                                    .where = why_not != NULL ? "sum" : NULL}};
    fake_send(w, &m);
}

static void done(struct fake_worker *w, const struct plan *p, uint64_t term)
{
    const struct msg m = {
        .kind = M_DONE,
        .DONE = {.term = term, .topology = "t", .op = p->op, .incarnation = w->incarnation}};
    fake_send(w, &m);
}

/* A REPORT in which every instance has taken in `tuples`. */
static void report(struct fake_worker *w, const struct plan *p, unsigned part_state,
                   unsigned instance_state, uint64_t tuples, uint64_t at_us)
{
    struct rec_INSTANCE_STATUS instances[8] = {0};
    struct rec_CHANNEL_STATUS channels[16] = {0};
    for (size_t i = 0; i < p->instance_count; i++) {
        instances[i] = (struct rec_INSTANCE_STATUS){
            .id = p->instances[i],
            .state = instance_state,
            .tuples_in = tuples,
            .error = instance_state == INSTANCE_FAILED ? "disk \"full\"\xff" : NULL};
    }
    for (size_t i = 0; i < p->channel_count; i++) {
        channels[i] = (struct rec_CHANNEL_STATUS){
            .id = p->channels[i], .sent = tuples, .received = tuples, .compared = 1};
    }
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = p->version,
                                     .gen = p->gen,
                                     .op = part_state >= DEPLOYMENT_RUNNING ? p->op : 0,
                                     .state = part_state,
                                     .at_us = at_us,
                                     .instances = instances,
                                     .instances_count = p->instance_count,
                                     .channels = channels,
                                     .channels_count = p->channel_count}};
    fake_send(w, &m);
}

/* Deploy and let both go. */
static void run(struct plan *pa, struct plan *pb)
{
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    *pa = expect_prepare(&a);
    *pb = expect_prepare(&b);
    ready(&a, pa, NULL);
    ready(&b, pb, NULL);
    fake_expect(&a, M_GO);
    fake_expect(&b, M_GO);
    done(&a, pa, pa->term);
    done(&b, pb, pb->term);
    expect_state("running");
}

static void a_deploy_prepares_decides_goes_runs_and_finishes(void **state)
{
    (void)state;
    struct plan pa, pb;
    int status;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    pa = expect_prepare(&a);
    pb = expect_prepare(&b);
    assert_int_equal(pa.instance_count + pb.instance_count, 4);
    assert_int_equal(pa.worker_count, 2);
    assert_int_equal(pa.op, pb.op);
    ready(&a, &pa, NULL);
    fake_silent(&a, 200); /* the other one is not ready: no GO */
    ready(&b, &pb, NULL);
    const struct msg_GO *go = &fake_expect(&a, M_GO)->GO;
    assert_int_equal(go->op, pa.op);
    assert_int_equal(go->gen, 1);
    fake_expect(&b, M_GO);
    done(&a, &pa, pa.term);
    expect_state("deploying");
    done(&b, &pb, pb.term);
    expect_state("running");
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 409);
    report(&a, &pa, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 50, 1000000);
    report(&a, &pa, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 80, 2000000);
    report(&a, &pa, DEPLOYMENT_ENDED, INSTANCE_ENDED, 100, 3000000);
    report(&b, &pb, DEPLOYMENT_ENDED, INSTANCE_ENDED, 100, 3000000);
    const struct msg_STOP *retire = &fake_expect(&a, M_STOP)->STOP;
    assert_true(retire->retire && !retire->now);
    fake_expect(&b, M_STOP);
    expect_state("finished");
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    json_t *pe = json_array_get(json_object_get(t, "pes"), 0);
    assert_int_equal(json_integer_value(json_object_get(pe, "tuples_in")), 100);
    json_t *stream = json_array_get(json_object_get(t, "streams"), 0);
    assert_true(json_integer_value(json_object_get(stream, "tuples")) >= 100);
    json_decref(t);
    char *metrics = http_call(r.http, "GET", "/metrics", NULL, NULL, &status);
    assert_non_null(strstr(metrics, "oxbow_pe_tuples_in_total{topology=\"t\",pe=\"src\","
                                    "instance=\"0\",worker=\"w"));
    mem_free(metrics);
}

static void what_finished_may_be_deployed_again_as_the_next_version(void **state)
{
    (void)state;
    struct plan pa, pb, again;
    run(&pa, &pb);
    report(&a, &pa, DEPLOYMENT_ENDED, INSTANCE_ENDED, 1, 1);
    report(&b, &pb, DEPLOYMENT_ENDED, INSTANCE_ENDED, 1, 1);
    fake_expect(&a, M_STOP);
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    again = expect_prepare(&a);
    assert_int_equal(again.version, 2);
    assert_int_equal(again.gen, 2);
    assert_true(again.op > pa.op);
    assert_true(again.instances[0] > pa.op);                 /* ids are new */
    report(&a, &pa, DEPLOYMENT_ENDED, INSTANCE_ENDED, 1, 2); /* an echo of the first life */
    fake_silent(&a, 200);
}

static void one_that_is_not_ready_fails_the_deploy_with_its_reason(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    struct plan pa = expect_prepare(&a), pb = expect_prepare(&b);
    ready(&a, &pa, NULL);
    ready(&b, &pb, "no such file");
    assert_int_equal(fake_expect(&a, M_ABORT)->ABORT.op, pa.op);
    fake_expect(&b, M_ABORT);
    expect_state("failed");
    expect_error("no such file", "sum");
}

static void workers_that_never_answer_are_named_when_the_time_is_over(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    struct plan pa = expect_prepare(&a);
    expect_prepare(&b);
    ready(&a, &pa, NULL);
    fake_silent(&a, 500);
    fake_silent(&b, 500);
    fake_expect(&a, M_ABORT);
    fake_expect(&b, M_ABORT);
    expect_state("failed");
    expect_error("missing: w2", "");
}

static void stale_and_foreign_answers_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    struct plan pa = expect_prepare(&a), pb = expect_prepare(&b), wrong = pa;
    ready(&b, &pb, NULL);
    wrong.term = pa.term + 1;
    ready(&a, &wrong, NULL);
    done(&a, &pa, pa.term); /* before GO */
    wrong = pa;
    wrong.op = pa.op - 1;
    ready(&a, &wrong, NULL); /* an op nobody knows: presumed abort */
    assert_int_equal(fake_expect(&a, M_ABORT)->ABORT.op, pa.op - 1);
    fake_silent(&b, 200);
    ready(&a, &pa, NULL);
    fake_expect(&a, M_GO);
    fake_expect(&b, M_GO);
}

static void a_failed_instance_fails_the_topology_and_stops_the_rest(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    report(&b, &pb, DEPLOYMENT_FAILED, INSTANCE_FAILED, 1, 1);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    assert_true(fake_expect(&b, M_STOP)->STOP.now);
    expect_state("failed");
}

static void a_lost_worker_fails_its_topologies_and_a_short_absence_does_not(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    fake_leave(&b);
    expect_away("w2");
    fake_join(&b, r.control, "w2", W2);
    report(&b, &pb, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 5, 1);
    fake_report_end(&b, 1);
    fake_silent(&b, 600);
    expect_state("running");
    fake_leave(&b);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    expect_state("failed");
    expect_error("worker w2 was lost", "w2");
}

static void another_process_under_the_name_means_the_first_was_lost(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    fake_leave(&b);
    expect_away("w2");
    fake_join(&b, r.control, "w2", W2 + 1);
    fake_report_end(&b, 0);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    expect_state("failed");
}

static void stop_drains_and_stop_now_drops(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    assert_int_equal(post("/v1/topologies/t/stop", NULL, NULL), 202);
    assert_false(fake_expect(&a, M_STOP)->STOP.now);
    fake_expect(&b, M_STOP);
    expect_state("draining");
    report(&a, &pa, DEPLOYMENT_ENDED, INSTANCE_ENDED, 9, 1);
    report(&b, &pb, DEPLOYMENT_ENDED, INSTANCE_ENDED, 9, 1);
    assert_true(fake_expect(&a, M_STOP)->STOP.retire);
    fake_expect(&b, M_STOP);
    expect_state("stopped");
    assert_int_equal(post("/v1/topologies/t/stop", NULL, NULL), 409);
    run(&pa, &pb);
    assert_int_equal(post("/v1/topologies/t/stop?now=1", NULL, NULL), 202);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    fake_expect(&b, M_STOP);
    expect_state("stopped");
}

static void stop_before_the_decision_aborts(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    expect_prepare(&a);
    expect_prepare(&b);
    assert_int_equal(post("/v1/topologies/t/stop", NULL, NULL), 202);
    fake_expect(&a, M_ABORT);
    fake_expect(&b, M_ABORT);
    expect_state("stopped");
}

static void a_master_restarted_before_the_decision_aborts(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    struct plan pa = expect_prepare(&a);
    expect_prepare(&b);
    restart();
    expect_state("failed");
    expect_error("before the change was decided", "");
    fake_join(&a, r.control, "w1", W1);
    assert_int_equal(a.last.WELCOME.term, pa.term + 1);
    report(&a, &pa, DEPLOYMENT_READY, INSTANCE_PREPARED, 0, 1);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    fake_report_end(&a, 1);
    ready(&a, &pa, NULL); /* it asks what became of it */
    assert_int_equal(fake_expect(&a, M_ABORT)->ABORT.op, pa.op);
}

static void a_master_restarted_after_the_decision_sends_go_again(void **state)
{
    (void)state;
    assert_int_equal(post("/v1/topologies", "application/yaml", yaml), 202);
    struct plan pa = expect_prepare(&a), pb = expect_prepare(&b);
    ready(&a, &pa, NULL);
    ready(&b, &pb, NULL);
    fake_expect(&a, M_GO);
    restart();
    expect_state("deploying");
    fake_join(&a, r.control, "w1", W1);
    report(&a, &pa, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 3, 1); /* its GO had arrived */
    fake_report_end(&a, 1);
    fake_join(&b, r.control, "w2", W2);
    report(&b, &pb, DEPLOYMENT_READY, INSTANCE_PREPARED, 0, 1); /* its GO had not */
    fake_report_end(&b, 1);
    const struct msg_GO *go = &fake_expect(&b, M_GO)->GO;
    assert_int_equal(go->op, pb.op);
    assert_int_equal(go->term, pb.term + 1);
    done(&b, &pb, pb.term); /* an answer to the old master */
    expect_state("deploying");
    done(&b, &pb, pb.term + 1);
    expect_state("running");
    fake_silent(&a, 100);
}

static void a_restarted_master_lets_run_what_runs_and_drops_what_it_does_not_know(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    restart();
    fake_join(&a, r.control, "w1", W1);
    report(&a, &pa, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 7, 1);
    const struct msg unknown = {.kind = M_REPORT,
                                .REPORT = {.topology = "ghost", .gen = 3, .state = 3}};
    fake_send(&a, &unknown);
    const struct msg_STOP *drop = &fake_expect(&a, M_STOP)->STOP;
    assert_string_equal(drop->topology, "ghost");
    assert_true(drop->now);
    assert_int_equal(drop->gen, 3);
    fake_report_end(&a, 2);
    fake_join(&b, r.control, "w2", W2);
    report(&b, &pb, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 7, 1);
    fake_report_end(&b, 1);
    fake_silent(&a, 1000);
    fake_silent(&b, 1000);
    expect_state("running");
    report(&a, &pa, DEPLOYMENT_ENDED, INSTANCE_ENDED, 9, 2);
    report(&b, &pb, DEPLOYMENT_ENDED, INSTANCE_ENDED, 9, 2);
    expect_state("finished");
    restart();
    expect_state("finished"); /* and its counters are still there */
    int status;
    json_t *t = http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
    json_t *pe = json_array_get(json_object_get(t, "pes"), 0);
    assert_int_equal(json_integer_value(json_object_get(pe, "tuples_in")), 9);
    json_decref(t);
}

static void a_worker_that_does_not_return_to_a_restarted_master_is_lost(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    restart();
    fake_join(&a, r.control, "w1", W1);
    report(&a, &pa, DEPLOYMENT_RUNNING, INSTANCE_RUNNING, 7, 1);
    fake_report_end(&a, 1);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    expect_state("failed");
    expect_error("worker w2 was lost", "w2");
}

static void a_worker_that_came_back_without_its_part_fails_the_topology(void **state)
{
    (void)state;
    struct plan pa, pb;
    run(&pa, &pb);
    fake_leave(&b);
    fake_join(&b, r.control, "w2", W2);
    fake_report_end(&b, 0);
    assert_true(fake_expect(&a, M_STOP)->STOP.now);
    expect_state("failed");
    expect_error("without its part", "w2");
}

static void artifacts_go_in_over_http_and_out_to_workers_in_chunks(void **state)
{
    (void)state;
    char digest[SHA256_HEX_BYTES], path[128], unknown[SHA256_HEX_BYTES];
    int status;
    sha256_hex("some bytes", 10, digest);
    sha256_hex("others", 6, unknown);
    snprintf(path, sizeof path, "/v1/artifacts/%s", digest);
    mem_free(http_call(r.http, "PUT", path, NULL, "some bytez", &status));
    assert_int_equal(status, 422);
    mem_free(http_call(r.http, "PUT", path, NULL, "some bytes", &status));
    assert_int_equal(status, 201);
    mem_free(http_call(r.http, "PUT", path, NULL, "some bytes", &status));
    assert_int_equal(status, 200);
    struct msg get = {.kind = M_ARTIFACT_GET, .ARTIFACT_GET = {.digest = digest, .offset = 5}};
    fake_send(&a, &get);
    const struct msg_ARTIFACT_CHUNK *c = &fake_expect(&a, M_ARTIFACT_CHUNK)->ARTIFACT_CHUNK;
    assert_int_equal(c->total, 10);
    assert_int_equal(c->data.bytes, 5);
    assert_memory_equal(c->data.data, "bytes", 5);
    get.ARTIFACT_GET.digest = unknown;
    fake_send(&a, &get);
    assert_true(fake_expect(&a, M_ARTIFACT_CHUNK)->ARTIFACT_CHUNK.missing);
    get.ARTIFACT_GET.digest = "../lock";
    fake_send(&a, &get);
    assert_true(fake_expect(&a, M_ARTIFACT_CHUNK)->ARTIFACT_CHUNK.missing);
}

static void topologies_that_cannot_be_are_refused_with_every_problem(void **state)
{
    (void)state;
    int status;
    json_t *root = http_json(r.http, "POST", "/v1/topologies", "application/yaml",
                             "oxbow: 1\ntopology: t\npes:\n  a: {use: sequenze}\n"
                             "  b: {use: nul-sink}\nstreams:\n  - {from: a, to: b}\n",
                             &status);
    assert_int_equal(status, 422);
    json_t *diags = json_object_get(json_object_get(root, "error"), "diags");
    assert_int_equal(json_array_size(diags), 2);
    json_decref(root);
    root =
        http_json(r.http, "POST", "/v1/topologies", "application/json",
                  "{\"yaml\": \"oxbow: 1\\ntopology: t\\npes:\\n  a: {use: ./p.so}\\n\"}", &status);
    assert_int_equal(status, 422);
    json_decref(root);
    assert_int_equal(post("/v1/topologies", "application/json", "{\"yaml\": 7}"), 400);
    assert_int_equal(post("/v1/topologies", "application/json", "{"), 400);
    assert_int_equal(post("/v1/topologies", "text/plain", yaml), 415);
    assert_int_equal(post("/v1/topologies/none/stop", NULL, NULL), 404);
}

static void strangers_and_doubles_are_refused(void **state)
{
    (void)state;
    struct fake_worker w;
    fake_connect(&w, r.control);
    fake_report_end(&w, 0); /* spoke before HELLO */
    fake_expect_closed(&w);
    fake_leave(&w);
    fake_connect(&w, r.control);
    fake_hello(&w, "w1", 999); /* the name is taken */
    assert_non_null(strstr(fake_expect(&w, M_REFUSED)->REFUSED.what, "connected already"));
    fake_expect_closed(&w);
    fake_leave(&w);
    fake_connect(&w, r.control);
    fake_hello(&w, "w1", W1); /* the same process: its old connection was half open */
    fake_expect(&w, M_WELCOME);
    fake_expect_closed(&a);
    fake_leave(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_TWO_WORKERS(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_TWO_WORKERS(a_deploy_prepares_decides_goes_runs_and_finishes),
        WITH_TWO_WORKERS(what_finished_may_be_deployed_again_as_the_next_version),
        WITH_TWO_WORKERS(one_that_is_not_ready_fails_the_deploy_with_its_reason),
        WITH_TWO_WORKERS(workers_that_never_answer_are_named_when_the_time_is_over),
        WITH_TWO_WORKERS(stale_and_foreign_answers_change_nothing),
        WITH_TWO_WORKERS(a_failed_instance_fails_the_topology_and_stops_the_rest),
        WITH_TWO_WORKERS(a_lost_worker_fails_its_topologies_and_a_short_absence_does_not),
        WITH_TWO_WORKERS(another_process_under_the_name_means_the_first_was_lost),
        WITH_TWO_WORKERS(stop_drains_and_stop_now_drops),
        WITH_TWO_WORKERS(stop_before_the_decision_aborts),
        WITH_TWO_WORKERS(a_master_restarted_before_the_decision_aborts),
        WITH_TWO_WORKERS(a_master_restarted_after_the_decision_sends_go_again),
        WITH_TWO_WORKERS(a_restarted_master_lets_run_what_runs_and_drops_what_it_does_not_know),
        WITH_TWO_WORKERS(a_worker_that_does_not_return_to_a_restarted_master_is_lost),
        WITH_TWO_WORKERS(a_worker_that_came_back_without_its_part_fails_the_topology),
        WITH_TWO_WORKERS(artifacts_go_in_over_http_and_out_to_workers_in_chunks),
        WITH_TWO_WORKERS(topologies_that_cannot_be_are_refused_with_every_problem),
        WITH_TWO_WORKERS(strangers_and_doubles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
