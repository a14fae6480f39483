/* tests/unit/master/repair_test.c - a whole master against workers made of messages: an upgrade
 * that replaces a stuck PE.
 *
 * Goal:   R1-R3 of master/repair.c: who is told to begin anew, what is sent to nobody before that
 *         has happened, who goes on, and what is refused.
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

/* Each of two workers holds a branch.  @BY: of sum, and maybe more of it. */
#define YAML(BY, PARALLELISM, CHECKPOINT)                                                          \
    "oxbow: 1\n"                                                                                   \
    "topology: t\n"                                                                                \
    "fusion: off\n"                                                                                \
    "pes:\n"                                                                                       \
    "  src: {use: sequence, with: {keys: 4}}\n"                                                    \
    "  sum: {use: count, state: drop, parallelism: " PARALLELISM ", with: {by: " BY "}}\n"         \
    "  other: {use: sequence, with: {keys: 4}}\n"                                                  \
    "  more: {use: count, with: {by: key}}\n"                                                      \
    "streams:\n"                                                                                   \
    "  - {from: src, to: sum, by: key}\n"                                                          \
    "  - {from: other, to: more}\n" CHECKPOINT
#define KEPT "checkpoint: {every: 1h, keep: 2}\n"

struct told { /* by PREPARE */
    uint64_t term, gen, op, version, base, from_epoch;
    uint64_t ids[4], sum; /* sum: the instance of that PE; 0: it is not among them */
    size_t count, stays, restores;
};

static struct told take_prepare(struct fake_worker *w)
{
    const struct msg_PREPARE *p = &fake_expect(w, M_PREPARE)->PREPARE;
    struct told t = {.term = p->term,
                     .gen = p->gen,
                     .op = p->op,
                     .version = p->version,
                     .base = p->base_version,
                     .from_epoch = p->from_epoch,
                     .count = p->add_instances_count,
                     .stays = p->stay_instances_count,
                     .restores = p->restores_count};
    for (size_t i = 0; i < t.count; i++) {
        t.ids[i] = p->add_instances[i].id;
        t.sum = strcmp(p->add_instances[i].pe, "sum") == 0 ? t.ids[i] : t.sum;
    }
    return t;
}

static void answer(struct fake_worker *w, const struct told *t)
{
    const struct msg m = {.kind = M_READY,
                          .READY = {.term = t->term,
                                    .topology = "t",
                                    .op = t->op,
                                    .incarnation = w->incarnation,
                                    .ok = true}};
    fake_send(w, &m);
}

static void finish(struct fake_worker *w, const struct told *t)
{
    assert_int_equal(fake_expect(w, M_GO)->GO.op, t->op);
    const struct msg m = {
        .kind = M_DONE,
        .DONE = {.term = t->term, .topology = "t", .op = t->op, .incarnation = w->incarnation}};
    fake_send(w, &m);
}

/* @stuck: an instance; 0: none. */
static void report(struct fake_worker *w, const struct told *t, uint64_t stuck)
{
    struct rec_INSTANCE_STATUS list[4] = {0};
    for (size_t i = 0; i < t->count; i++) {
        list[i] = (struct rec_INSTANCE_STATUS){.id = t->ids[i], .state = INSTANCE_RUNNING};
        if (t->ids[i] == stuck) {
            list[i].state = INSTANCE_STUCK;
            list[i].call_us = 40000000;
        }
    }
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = 1,
                                     .gen = t->gen,
                                     .op = t->op,
                                     .at_us = 1,
                                     .state = DEPLOYMENT_RUNNING,
                                     .instances = list,
                                     .instances_count = t->count}};
    fake_send(w, &m);
}

static json_t *status_of(void)
{
    int status;
    return http_json(r.http, "GET", "/v1/topologies/t", NULL, NULL, &status);
}

/* until - the topology's state, or that of its PE `sum`, is this one. */
static void until(const char *wanted, bool of_sum)
{
    for (int i = 0; i < 400; i++, usleep(20000)) {
        json_t *t = status_of();
        char *text = json_dumps(t, JSON_COMPACT);
        const char *state = json_string_value(json_object_get(t, "state"));
        bool is = of_sum ? strstr(text, "\"state\":\"stuck\"") != NULL
                         : state != NULL && strcmp(state, wanted) == 0;
        free(text);
        json_decref(t);
        if (is) {
            return;
        }
    }
    fail_msg("it does not become %s", wanted);
}

static void deploy(const char *yaml, struct told *p, struct told *q)
{
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies", "application/yaml", yaml, &status));
    assert_int_equal(status, 202);
    *p = take_prepare(&a);
    *q = take_prepare(&b);
    assert_int_equal(p->count, 2);
    assert_int_equal(q->count, 2);
    answer(&a, p);
    answer(&b, q);
    finish(&a, p);
    finish(&b, q);
    report(&a, p, p->sum);
    report(&b, q, q->sum);
    until("running", false);
    until("stuck", true);
}

static json_t *upgrade(const char *yaml, int *status)
{
    return http_json(r.http, "POST", "/v1/topologies/t/upgrade", "application/yaml", yaml, status);
}

static void hello(struct fake_worker *w, const char *name, uint64_t incarnation, bool renews)
{
    fake_connect(w, r.control);
    w->name = name;
    w->incarnation = incarnation;
    const struct msg m = {.kind = M_HELLO,
                          .HELLO = {.protocol = PROTOCOL_VERSION,
                                    .name = name,
                                    .incarnation = incarnation,
                                    .address = ":7001",
                                    .host = "machine",
                                    .slots = 64,
                                    .threads = 2,
                                    .version = "test",
                                    .renews = renews}};
    fake_send(w, &m);
    (void)fake_expect(w, M_WELCOME);
    fake_report_end(w, 0);
}

static int start(void **state)
{
    (void)state;
    running_make_dir(&r);
    running_start(&r);
    hello(&a, "w1", W1, true);
    hello(&b, "w2", W2, true);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_leave(&a);
    fake_leave(&b);
    running_stop(&r);
    running_remove_dir(&r);
    return 0;
}

static void it_is_recovered_when_its_process_has_gone(void **state)
{
    (void)state;
    struct told p, q;
    int status;
    deploy(YAML("key", "1", KEPT), &p, &q);
    bool on_a = p.sum != 0;
    struct fake_worker *near = on_a ? &a : &b, *far = on_a ? &b : &a;
    json_t *body = upgrade(YAML("key, emit: final", "1", KEPT), &status);
    assert_int_equal(status, 202);
    assert_int_equal(json_array_size(json_object_get(body, "repairs")), 1);
    assert_int_equal(json_integer_value(json_object_get(body, "version")), 2);
    json_decref(body);
    const struct msg_RENEW *renew = &fake_expect(near, M_RENEW)->RENEW;
    assert_int_equal(renew->incarnation, on_a ? W1 : W2);
    fake_silent(far, 300); /* R2 */
    fake_leave(near);
    hello(near, on_a ? "w1" : "w2", 77, true);
    struct told new = take_prepare(near), kept = take_prepare(far);
    assert_int_equal(new.gen, p.gen + 1);
    assert_int_equal(new.version, 2);
    assert_int_equal(new.base, 0);
    assert_int_equal(new.count, 2);
    assert_int_equal(kept.version, 2);
    assert_int_equal(kept.base, 1); /* it holds the version before */
    assert_int_equal(kept.count, 0);
    assert_int_equal(kept.stays, 2);
    answer(near, &new);
    answer(far, &kept);
    finish(near, &new);
    finish(far, &kept);
    until("running", false);
    json_t *list = http_json(r.http, "GET", "/v1/topologies/t/receipts", NULL, NULL, &status);
    json_t *one = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(one, "result")), "done");
    assert_int_equal(json_integer_value(json_object_get(one, "to")), 2);
    assert_int_equal(json_integer_value(json_object_get(one, "instances_touched")), 2);
    assert_int_equal(json_array_size(json_object_get(one, "repairs")), 1);
    json_decref(list);
}

static void refused(const char *yaml, const char *why)
{
    int status;
    json_t *body = upgrade(yaml, &status);
    char *text = json_dumps(body, JSON_COMPACT);
    assert_int_equal(status, 422);
    if (strstr(text, why) == NULL) {
        fail_msg("no \"%s\" in %s", why, text);
    }
    free(text);
    json_decref(body);
    fake_silent(&a, 100);
    fake_silent(&b, 100);
    until("running", false);
}

static void it_changes_no_shape(void **state)
{
    (void)state;
    struct told p, q;
    deploy(YAML("key", "1", KEPT), &p, &q);
    refused(YAML("key, emit: final", "2", KEPT), "cannot add, remove or move");
}

static void without_checkpoints_it_is_refused(void **state)
{
    (void)state;
    struct told p, q;
    deploy(YAML("key", "1", ""), &p, &q);
    refused(YAML("key, emit: final", "1", ""), "takes no checkpoints");
}

static void a_worker_inside_a_program_is_left_alone(void **state)
{
    (void)state;
    struct told p, q;
    fake_leave(&a);
    fake_leave(&b);
    hello(&a, "w1", W1 + 1, false);
    hello(&b, "w2", W2 + 1, false);
    deploy(YAML("key", "1", KEPT), &p, &q);
    refused(YAML("key, emit: final", "1", KEPT), "cannot begin anew by itself");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_recovered_when_its_process_has_gone, start, stop),
        cmocka_unit_test_setup_teardown(it_changes_no_shape, start, stop),
        cmocka_unit_test_setup_teardown(without_checkpoints_it_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_worker_inside_a_program_is_left_alone, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
