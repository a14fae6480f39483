/* tests/unit/master/drain_test.c - a worker is emptied, and stays empty.
 *
 * Goal:   what is there goes elsewhere by an ordinary change; what cannot go refuses the drain and
 *         nothing changes; the mark outlives the master.
 * Method: a whole master, two fake workers; the topology's one source stays on its worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "tests/support/pair.h"

#include <stdio.h>
#include <string.h>

static struct pair p;
static struct told d[2];

static int start(void **state)
{
    (void)state;
    pair_start(&p);
    pair_deploy(&p, d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pair_stop(&p);
    return 0;
}

/* The worker that holds the source: 0 or 1. */
static unsigned source_at(void)
{
    size_t i;
    unsigned at = 0;
    json_t *t = pair_get(&p, "/v1/topologies/t"), *pe;
    json_array_foreach(json_object_get(t, "pes"), i, pe)
    {
        json_t *first = json_array_get(json_object_get(pe, "instances"), 0);
        if (strcmp(json_string_value(json_object_get(pe, "name")), "numbers") == 0) {
            at = strcmp(json_string_value(json_object_get(first, "worker")), "w2") == 0;
        }
    }
    json_decref(t);
    return at;
}

static json_t *ask(unsigned worker, const char *verb, int *status)
{
    char path[64];
    snprintf(path, sizeof path, "/v1/workers/w%u/%s", worker + 1, verb);
    return http_json(p.r.http, "POST", path, NULL, NULL, status);
}

static bool is_drained(unsigned worker)
{
    json_t *all = pair_get(&p, "/v1/workers"), *one;
    char name[4];
    size_t i;
    bool drained = false;
    snprintf(name, sizeof name, "w%u", worker + 1);
    json_array_foreach(all, i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) {
            drained = json_is_true(json_object_get(one, "draining"));
        }
    }
    json_decref(all);
    return drained;
}

static void instances_leave_and_none_come_until_undrain(void **state)
{
    (void)state;
    unsigned from = 1 - source_at(), to = 1 - from;
    struct told t[2];
    int status;
    json_t *answer = ask(from, "drain", &status);
    assert_int_equal(status, 202);
    assert_int_equal(json_array_size(json_object_get(answer, "changes")), 1);
    json_decref(answer);
    for (unsigned i = 0; i < 2; i++) {
        t[i] = told_prepare(&p.w[i]);
    }
    assert_int_equal(t[from].added, 0);
    assert_true(t[from].removed > 0);
    assert_int_equal(t[to].added, t[from].removed);
    told_all(&p, t);
    json_decref(pair_receipt(&p, 2));
    assert_true(fake_expect(&p.w[from], M_STOP)->STOP.retire); /* it forgets the topology */
    json_decref(pair_ask(&p, "upgrade", pair_yaml(6, 0), 202));
    t[to] = told_prepare(&p.w[to]);
    assert_int_equal(t[to].added, 4);
    told_ready(&p.w[to], &t[to], NULL);
    fake_expect(&p.w[to], M_GO);
    told_done(&p.w[to], &t[to]);
    json_decref(pair_receipt(&p, 3));
    json_decref(ask(from, "drain", &status)); /* again: nothing is there */
    assert_int_equal(status, 200);
    json_decref(ask(from, "undrain", &status));
    assert_int_equal(status, 200);
    assert_false(is_drained(from));
    json_decref(pair_ask(&p, "upgrade", pair_yaml(8, 0), 202));
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    assert_true(t[from].added > 0);
}

static void what_cannot_go_refuses_the_drain_and_nothing_changes(void **state)
{
    (void)state;
    int status;
    json_decref(ask(1 - source_at(), "drain", &status)); /* then there is no place left */
    assert_int_equal(status, 202);
    json_t *answer = NULL;
    struct told t[2];
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    told_all(&p, t);
    json_decref(pair_receipt(&p, 2));
    answer = ask(source_at(), "drain", &status);
    assert_int_equal(status, 422);
    json_t *error = json_object_get(answer, "error");
    assert_non_null(strstr(json_string_value(json_object_get(error, "message")), "topology t"));
    json_decref(answer);
    assert_false(is_drained(source_at()));
    json_decref(http_json(p.r.http, "POST", "/v1/workers/none/drain", NULL, NULL, &status));
    assert_int_equal(status, 404);
    json_decref(http_json(p.r.http, "POST", "/v1/workers/none/undrain", NULL, NULL, &status));
    assert_int_equal(status, 404);
}

static void the_mark_outlives_the_master(void **state)
{
    (void)state;
    unsigned from = 1 - source_at();
    int status;
    json_decref(ask(from, "drain", &status));
    assert_int_equal(status, 202);
    running_stop(&p.r);
    running_start(&p.r);
    assert_true(is_drained(from));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_PAIR(instances_leave_and_none_come_until_undrain),
        WITH_PAIR(what_cannot_go_refuses_the_drain_and_nothing_changes),
        WITH_PAIR(the_mark_outlives_the_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
