/* tests/unit/master/ask_test.c - changes asked for while others are under way.
 *
 * Goal:   a newer one gives up one that is not decided, waits for one that is, goes on from what
 *         runs then; what waits ends by its own time, or by a newer one; scale and rollback mean
 *         the version they find.
 * Method: a whole master, two fake workers that answer when the test says so; requests that must
 *         wait are sent from a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "tests/support/pair.h"

#include <pthread.h>
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

static void expect_result(uint64_t version, const char *result, const char *why)
{
    json_t *r = pair_receipt(&p, version);
    assert_string_equal(json_string_value(json_object_get(r, "result")), result);
    const char *message =
        json_string_value(json_object_get(json_object_get(r, "error"), "message"));
    if (why != NULL && (message == NULL || strstr(message, why) == NULL)) {
        fail_msg("\"%s\" does not say \"%s\"", message, why);
    }
    json_decref(r);
}

struct call { /* a request that is answered later */
    pthread_t thread;
    const char *path;
    char yaml[600];
    int status;
    json_t *answer;
};

static void *call(void *arg)
{
    struct call *c = arg;
    c->answer = http_json(p.r.http, "POST", c->path, c->yaml[0] != '\0' ? "application/yaml" : NULL,
                          c->yaml, &c->status);
    return NULL;
}

static void call_start(struct call *c, const char *path, const char *yaml)
{
    *c = (struct call){.path = path};
    snprintf(c->yaml, sizeof c->yaml, "%s", yaml);
    assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

static void call_end(struct call *c, int status)
{
    pthread_join(c->thread, NULL);
    assert_int_equal(c->status, status);
    json_decref(c->answer);
}

/* Until so many requests wait.  The count is the loop's; what is read here is only waited for. */
static void until_waiting(unsigned count)
{
    for (int i = 0; i < 400; i++) {
        if (__atomic_load_n(&p.r.master->waiting_count, __ATOMIC_RELAXED) == count) {
            return;
        }
        usleep(10000);
    }
    fail_msg("%u requests do not wait", count);
}

static void a_newer_upgrade_gives_up_one_that_is_not_decided(void **state)
{
    (void)state;
    struct told d[2], t[2], u[2];
    pair_deploy(&p, d);
    pair_upgrade(&p, pair_yaml(2, 5), t);
    told_ready(&p.w[0], &t[0], NULL);
    json_decref(pair_ask(&p, "upgrade", pair_yaml(2, 6), 202));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fake_expect(&p.w[i], M_ABORT)->ABORT.op, t[i].op);
        u[i] = told_prepare(&p.w[i]);
        assert_int_equal(u[i].base, 1);
        assert_true(u[i].op > t[i].op);
    }
    told_ready(&p.w[1], &t[1], NULL); /* late, of what was given up */
    assert_int_equal(fake_expect(&p.w[1], M_ABORT)->ABORT.op, t[1].op);
    told_all(&p, u);
    expect_result(2, "aborted", "a newer upgrade took its place");
    expect_result(3, "done", NULL);
}

static void one_that_is_decided_is_waited_for_and_gone_on_from(void **state)
{
    (void)state;
    struct told d[2], t[2], u[2];
    struct call c;
    pair_deploy(&p, d);
    pair_upgrade(&p, pair_yaml(2, 5), t);
    told_ready(&p.w[0], &t[0], NULL);
    told_ready(&p.w[1], &t[1], NULL);
    fake_expect(&p.w[0], M_GO);
    fake_expect(&p.w[1], M_GO);
    call_start(&c, "/v1/topologies/t/upgrade", pair_yaml(2, 6));
    until_waiting(1);
    told_done(&p.w[0], &t[0]);
    told_done(&p.w[1], &t[1]);
    for (unsigned i = 0; i < 2; i++) {
        u[i] = told_prepare(&p.w[i]);
        assert_int_equal(u[i].base, 2);
        assert_int_equal(u[i].version, 3);
    }
    call_end(&c, 202);
    told_all(&p, u);
    expect_result(2, "done", NULL);
    expect_result(3, "done", NULL);
}

static void what_waits_ends_by_its_own_time_or_by_a_newer_one(void **state)
{
    (void)state;
    struct told d[2], t[2];
    struct call old, new;
    pair_deploy(&p, d);
    pair_upgrade(&p, pair_yaml(2, 5), t);
    told_ready(&p.w[0], &t[0], NULL);
    told_ready(&p.w[1], &t[1], NULL);
    fake_expect(&p.w[0], M_GO);
    fake_expect(&p.w[1], M_GO);
    call_start(&old, "/v1/topologies/t/upgrade", pair_yaml(2, 6));
    until_waiting(1);
    call_start(&new, "/v1/topologies/t/upgrade?timeout=0.6", pair_yaml(2, 7));
    call_end(&old, 409);
    call_end(&new, 504);
    for (unsigned i = 0; i < 2; i++) {
        told_done(&p.w[i], &t[i]);
    }
    expect_result(2, "done", NULL);
}

static void not_decided_in_its_time_it_is_given_up(void **state)
{
    (void)state;
    struct told d[2], t[2];
    pair_deploy(&p, d);
    json_decref(pair_ask(&p, "upgrade?timeout=0.4", pair_yaml(2, 5), 202));
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    told_ready(&p.w[0], &t[0], NULL);
    fake_expect(&p.w[0], M_ABORT);
    fake_expect(&p.w[1], M_ABORT);
    expect_result(2, "aborted", "missing: w2");
    json_decref(pair_ask(&p, "upgrade?timeout=none", pair_yaml(2, 5), 400));
    json_decref(pair_ask(&p, "upgrade?timeout=-1", pair_yaml(2, 5), 400));
}

static void scale_edits_what_runs_and_rollback_finds_other_content(void **state)
{
    (void)state;
    struct told d[2], t[2];
    int status;
    pair_deploy(&p, d);
    const char *path = "/v1/topologies/t/scale";
    json_decref(http_json(p.r.http, "POST", path, "application/json",
                          "{\"parallelism\": {\"work\": 4}}", &status));
    assert_int_equal(status, 202);
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    assert_int_equal(t[0].added + t[1].added, 2);
    told_all(&p, t);
    expect_result(2, "done", NULL);
    json_decref(pair_ask(&p, "rollback", NULL, 202));
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    assert_int_equal(t[0].removed + t[1].removed, 2);
    told_all(&p, t);
    expect_result(3, "done", NULL);
    static const struct {
        const char *body;
        int status;
    } bad[] = {{"{\"parallelism\": {\"none\": 4}}", 404}, {"{\"parallelism\": {}}", 400},
               {"{\"parallelism\": {\"work\": 0}}", 400},
               {"{\"parallelism\": {\"work\": 2000}}", 400},
               {"{\"parallelism\": {\"work\": \"2\"}}", 400}, {"{", 400}, {"", 400}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_decref(http_json(p.r.http, "POST", path, "application/json", bad[i].body, &status));
        assert_int_equal(status, bad[i].status);
    }
    json_decref(http_json(p.r.http, "POST", path, "application/json",
                          "{\"parallelism\": {\"work\": 2}}", &status));
    assert_int_equal(status, 200); /* no change */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_PAIR(a_newer_upgrade_gives_up_one_that_is_not_decided),
        WITH_PAIR(one_that_is_decided_is_waited_for_and_gone_on_from),
        WITH_PAIR(what_waits_ends_by_its_own_time_or_by_a_newer_one),
        WITH_PAIR(not_decided_in_its_time_it_is_given_up),
        WITH_PAIR(scale_edits_what_runs_and_rollback_finds_other_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
