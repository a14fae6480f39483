/* master/checkpoint.c - the coordinator of one topology's checkpoints. */
#include "master/checkpoint.h"

#include "core/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { VOIDS_MAX = 2 };

void checkpoint_init(struct checkpoint *c, uint64_t every_us, uint64_t now_us)
{
    *c = (struct checkpoint){.every_us = every_us, .due_us = now_us + every_us};
}

void checkpoint_fini(struct checkpoint *c)
{
    mem_free(c->instances);
    mem_free(c->acked);
    *c = (struct checkpoint){0};
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void checkpoint_of(struct checkpoint *c, const uint64_t *ids, size_t count)
{
    mem_free(c->instances);
    mem_free(c->acked);
    c->instances = mem_array(count, sizeof *c->instances);
    c->acked = mem_array(count, sizeof *c->acked);
    if (count > 0) {
        memcpy(c->instances, ids, count * sizeof *ids);
        qsort(c->instances, count, sizeof *c->instances, by_value);
    }
    c->instance_count = count;
    c->acked_count = 0;
}

bool checkpoint_is_live(const struct checkpoint *c)
{
    return c->state == CHECKPOINT_LIVE || c->state == CHECKPOINT_STORING;
}

bool checkpoint_bars_change(const struct checkpoint *c)
{
    return c->voids >= VOIDS_MAX && c->state != CHECKPOINT_IDLE;
}

static void add(struct checkpoint_actions *out, enum checkpoint_do what, uint64_t epoch,
                uint64_t worker_id)
{
    assert(out->count < CHECKPOINT_ACTIONS_MAX);
    out->items[out->count++] = (struct checkpoint_action){what, epoch, worker_id};
}

static void go_idle(struct checkpoint *c, uint64_t now_us)
{
    c->state = CHECKPOINT_IDLE;
    c->due_us = now_us + c->every_us;
}

/* begin_if_due - P1, P2: only from IDLE and while no change is between its plan and its end. */
static void begin_if_due(struct checkpoint *c, uint64_t now_us, struct checkpoint_actions *out)
{
    bool due = c->every_us > 0 && now_us >= c->due_us;
    if (c->state != CHECKPOINT_IDLE || c->held || c->lost || (!due && !c->asked)) {
        return;
    }
    c->state = CHECKPOINT_BEGINNING;
    c->asked = false;
    c->begun_us = now_us;
    add(out, CHECKPOINT_DO_BEGIN, 0, 0);
}

static void on_begun(struct checkpoint *c, const struct checkpoint_event *in,
                     struct checkpoint_actions *out)
{
    if (c->state != CHECKPOINT_BEGINNING) {
        return;
    }
    if (in->epoch == 0 || c->held || c->lost) { /* P2: a decision came in between */
        c->failed += in->epoch == 0;
        go_idle(c, in->now_us);
        return;
    }
    c->state = CHECKPOINT_LIVE;
    c->epoch = in->epoch;
    c->acked_count = 0;
    memset(c->acked, 0, c->instance_count * sizeof *c->acked);
    add(out, CHECKPOINT_DO_INJECT, c->epoch, 0);
}

static void give_up(struct checkpoint *c, uint64_t now_us, struct checkpoint_actions *out)
{
    if (checkpoint_is_live(c)) {
        add(out, CHECKPOINT_DO_GIVE_UP, c->epoch, 0);
    }
    go_idle(c, now_us);
}

static void on_ack(struct checkpoint *c, const struct checkpoint_event *in,
                   struct checkpoint_actions *out)
{
    uint64_t *at = c->instance_count == 0
                       ? NULL
                       : bsearch(&in->instance, c->instances, c->instance_count,
                                 sizeof *c->instances, by_value);
    if (c->state != CHECKPOINT_LIVE || in->epoch != c->epoch || at == NULL ||
        c->acked[at - c->instances]) {
        c->stale++;
        return;
    }
    if (in->kind == CHECKPOINT_IN_FAILED) {
        c->failed++;
        give_up(c, in->now_us, out);
        return;
    }
    c->acked[at - c->instances] = true;
    if (++c->acked_count == c->instance_count) {
        c->state = CHECKPOINT_STORING;
        add(out, CHECKPOINT_DO_STORE, c->epoch, 0);
    }
}

static void on_stored(struct checkpoint *c, const struct checkpoint_event *in,
                      struct checkpoint_actions *out)
{
    if (c->state != CHECKPOINT_STORING) {
        return;
    }
    if (in->kind == CHECKPOINT_IN_NOT_STORED) {
        c->failed++;
        give_up(c, in->now_us, out);
        return;
    }
    c->complete = c->epoch;
    c->completed++;
    c->voids = 0;
    c->last_us = in->now_us - c->begun_us;
    add(out, CHECKPOINT_DO_COMPLETE, c->epoch, 0);
    go_idle(c, in->now_us);
}

/* The commit that decided the change is what makes the epoch void: here it is only forgotten. */
static void on_decided(struct checkpoint *c, const struct checkpoint_event *in,
                       struct checkpoint_actions *out)
{
    c->held = true;
    if (checkpoint_is_live(c)) {
        c->voids++;
        c->voided++;
        give_up(c, in->now_us, out);
    }
}

static void on_back(const struct checkpoint *c, const struct checkpoint_event *in,
                    struct checkpoint_actions *out)
{
    if (c->complete != 0) {
        add(out, CHECKPOINT_DO_COMPLETE, c->complete, in->worker_id);
    }
    if (c->state == CHECKPOINT_LIVE) {
        add(out, CHECKPOINT_DO_INJECT, c->epoch, in->worker_id);
    }
}

void checkpoint_step(struct checkpoint *c, const struct checkpoint_event *in,
                     struct checkpoint_actions *out)
{
    switch (in->kind) {
    case CHECKPOINT_IN_TICK:
        break;
    case CHECKPOINT_IN_ASKED:
        c->asked = true;
        break;
    case CHECKPOINT_IN_BEGUN:
        on_begun(c, in, out);
        return;
    case CHECKPOINT_IN_ACK:
    case CHECKPOINT_IN_FAILED:
        on_ack(c, in, out);
        break;
    case CHECKPOINT_IN_STORED:
    case CHECKPOINT_IN_NOT_STORED:
        on_stored(c, in, out);
        break;
    case CHECKPOINT_IN_PLANNED:
        c->held = true;
        return;
    case CHECKPOINT_IN_ABORTED:
        c->held = false;
        break;
    case CHECKPOINT_IN_DECIDED:
        on_decided(c, in, out);
        return;
    case CHECKPOINT_IN_DONE:
        c->held = false;
        c->asked = true; /* R18: until it is complete the old version's is what there is */
        break;
    case CHECKPOINT_IN_LOST:
        give_up(c, in->now_us, out);
        c->lost = true;
        c->asked = false;
        return;
    case CHECKPOINT_IN_RESET:
        give_up(c, in->now_us, out);
        c->held = c->lost = false;
        c->asked = false;
        break;
    case CHECKPOINT_IN_BACK:
        on_back(c, in, out);
        return;
    case CHECKPOINT_INPUTS:
        return;
    }
    begin_if_due(c, in->now_us, out);
}
