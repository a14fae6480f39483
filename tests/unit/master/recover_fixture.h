/* tests/unit/master/recover_fixture.h - a master, two workers made of messages, a small topology.
 *
 * For recover_test.c and recover_part_test.c. */
#ifndef OXB_TESTS_UNIT_MASTER_RECOVER_FIXTURE_H
#define OXB_TESTS_UNIT_MASTER_RECOVER_FIXTURE_H

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

static inline int start(void **state)
{
    (void)state;
    running_make_dir(&r);
    running_start(&r);
    fake_join(&a, r.control, "w1", W1);
    fake_report_end(&a, 0);
    return 0;
}

static inline int stop(void **state)
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

static inline struct plan expect_prepare(struct fake_worker *w)
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

static inline void send_ready(struct fake_worker *w, const struct plan *p, uint64_t incarnation,
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

static inline void send_done(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    const struct msg m = {
        .kind = M_DONE,
        .DONE = {.term = p->term, .topology = "t", .op = p->op, .incarnation = incarnation}};
    fake_send(w, &m);
}

static inline void go_through(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    send_ready(w, p, incarnation, ERR_OK);
    assert_int_equal(fake_expect(w, M_GO)->GO.op, p->op);
    send_done(w, p, incarnation);
}

static inline void expect_state(const char *wanted)
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

static inline struct plan deploy(void)
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

static inline void acknowledge(struct fake_worker *w, const struct plan *p, size_t which,
                               uint64_t epoch, uint64_t incarnation, bool ok)
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
static inline uint64_t ask(struct fake_worker *w)
{
    int status;
    mem_free(http_call(r.http, "POST", "/v1/topologies/t/checkpoint", NULL, NULL, &status));
    assert_int_equal(status, 202);
    return fake_expect(w, M_CHECKPOINT)->CHECKPOINT.epoch;
}

static inline uint64_t complete(struct fake_worker *w, const struct plan *p, uint64_t incarnation)
{
    uint64_t epoch = ask(w);
    acknowledge(w, p, 0, epoch, incarnation, true);
    acknowledge(w, p, 1, epoch, incarnation, true);
    assert_int_equal(fake_expect(w, M_CHECKPOINT_COMPLETE)->CHECKPOINT_COMPLETE.epoch, epoch);
    return epoch;
}

static inline void report_running(struct fake_worker *w, const struct plan *p)
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
#endif
