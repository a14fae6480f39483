/* tests/support/pair.c - a running master, two fake workers, and a topology that runs on them. */
#include "tests/support/pair.h"

#include "core/mem.h"
#include "net/states.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const names[2] = {"w1", "w2"};
static const uint64_t incarnations[2] = {101, 202};

void pair_start(struct pair *p)
{
    *p = (struct pair){0};
    running_make_dir(&p->r);
    running_start(&p->r);
    for (unsigned i = 0; i < 2; i++) {
        fake_join(&p->w[i], p->r.control, names[i], incarnations[i]);
        fake_report_end(&p->w[i], 0);
    }
}

void pair_stop(struct pair *p)
{
    fake_leave(&p->w[0]);
    fake_leave(&p->w[1]);
    if (p->r.master != NULL) {
        running_stop(&p->r);
    }
    running_remove_dir(&p->r);
}

void pair_rejoin(struct pair *p, unsigned i, const struct told *t)
{
    fake_leave(&p->w[i]);
    fake_join(&p->w[i], p->r.control, names[i], incarnations[i]);
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = t->version,
                                     .gen = t->gen,
                                     .op = t->op,
                                     .state = DEPLOYMENT_RUNNING,
                                     .at_us = ++p->at_us}};
    fake_send(&p->w[i], &m);
    fake_report_end(&p->w[i], 1);
}

const char *pair_yaml(unsigned count, int least)
{
    static char text[600];
    snprintf(text, sizeof text,
             "oxbow: 1\ntopology: t\nfusion: off\npes:\n"
             "  numbers: {use: sequence}\n"
             "  work: {use: filter, with: {field: seq, ge: %d}, parallelism: %u}\n"
             "  end: {use: null-sink}\n"
             "streams:\n  - {from: numbers, to: work}\n  - {from: work, to: end}\n",
             least, count);
    return text;
}

struct told told_prepare(struct fake_worker *w)
{
    const struct msg_PREPARE *m = &fake_expect(w, M_PREPARE)->PREPARE;
    struct told t = {.term = m->term,
                     .gen = m->gen,
                     .op = m->op,
                     .base = m->base_version,
                     .version = m->version,
                     .added = m->add_instances_count,
                     .removed = m->remove_instances_count,
                     .channels = m->add_channels_count,
                     .channel = m->add_channels_count > 0 ? m->add_channels[0].id : 0};
    for (size_t i = 0; i < m->add_instances_count && t.id_count < 64; i++) {
        t.outputs[t.id_count] = m->add_instances[i].outputs_count;
        t.ids[t.id_count++] = m->add_instances[i].id;
    }
    return t;
}

void told_ready(struct fake_worker *w, const struct told *t, const char *why_not)
{
    const struct msg m = {.kind = M_READY,
                          .READY = {.term = t->term,
                                    .topology = "t",
                                    .op = t->op,
                                    .incarnation = w->incarnation,
                                    .ok = why_not == NULL,
                                    .what = why_not,
                                    .hint = "try harder",
                                    .where = why_not != NULL ? "work" : NULL}};
    fake_send(w, &m);
}

void told_done(struct fake_worker *w, const struct told *t)
{
    static const uint8_t pause[4] = {100, 0, 0, 0};
    const struct msg m = {.kind = M_DONE,
                          .DONE = {.term = t->term,
                                   .topology = "t",
                                   .op = t->op,
                                   .incarnation = w->incarnation,
                                   .compared = 1,
                                   .pauses_us = {pause, sizeof pause}}};
    fake_send(w, &m);
}

void told_all(struct pair *p, const struct told t[2])
{
    for (unsigned i = 0; i < 2; i++) {
        told_ready(&p->w[i], &t[i], NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        fake_expect(&p->w[i], M_GO);
        told_done(&p->w[i], &t[i]);
    }
}

void pair_deploy(struct pair *p, struct told t[2])
{
    pair_deploy_this(p, pair_yaml(2, 0), t);
}

void pair_deploy_this(struct pair *p, const char *yaml, struct told t[2])
{
    int status;
    json_decref(http_json(p->r.http, "POST", "/v1/topologies", "application/yaml", yaml, &status));
    assert_int_equal(status, 202);
    t[0] = told_prepare(&p->w[0]);
    t[1] = told_prepare(&p->w[1]);
    told_all(p, t);
    pair_state(p, "running");
}

json_t *pair_ask(struct pair *p, const char *path, const char *yaml, int status)
{
    char full[200];
    int got;
    snprintf(full, sizeof full, "/v1/topologies/t/%s", path);
    json_t *answer =
        http_json(p->r.http, "POST", full, yaml != NULL ? "application/yaml" : NULL, yaml, &got);
    if (got != status) {
        fail_msg("%s was answered with %d: %s", full, got, json_dumps(answer, 0));
    }
    return answer;
}

json_t *pair_get(struct pair *p, const char *path)
{
    int status;
    json_t *answer = http_json(p->r.http, "GET", path, NULL, NULL, &status);
    assert_int_equal(status, 200);
    return answer;
}

json_t *pair_receipt(struct pair *p, uint64_t version)
{
    for (int i = 0; i < 400; i++) {
        size_t k;
        json_t *one, *found = NULL, *all = pair_get(p, "/v1/topologies/t/receipts");
        json_array_foreach(all, k, one)
        {
            if ((uint64_t)json_integer_value(json_object_get(one, "to")) == version) {
                found = json_incref(one);
            }
        }
        json_decref(all);
        if (found != NULL) {
            return found;
        }
        usleep(20000);
    }
    fail_msg("there is no receipt of version %" PRIu64, version);
    return NULL;
}

void pair_upgrade(struct pair *p, const char *yaml, struct told t[2])
{
    json_decref(pair_ask(p, "upgrade", yaml, 202));
    t[0] = told_prepare(&p->w[0]);
    t[1] = told_prepare(&p->w[1]);
}

void pair_state(struct pair *p, const char *wanted)
{
    char last[32] = "";
    for (int i = 0; i < 400; i++) {
        json_t *t = pair_get(p, "/v1/topologies/t");
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
