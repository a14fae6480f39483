/* pe/builtin/delay.c - spends time on every tuple, then hands it on: stands in for real work.
 *
 * Runs on:    a thread of its own unless the topology says `threads: shared`: it may hold its
 *             thread for 1024 times `us`, asleep or busy, and others on a shared executor would
 *             wait.
 * Invariants: D1 the k-th live row of a batch is handed on no sooner than k * us after the batch
 *             came (k from 1), and time spent by those below it is not counted: the cost per
 *             tuple is kept.
 *             D2 what is done is handed on at least every PART_US, so that a tuple does not wait
 *             for the rest of its batch.
 *             D3 nothing is kept between two calls: no state, no loss at a cut.
 * Why:        keeping batches until a timer is due would need a queue without a bound, because
 *             input could not be refused meanwhile. */
#include "core/clock.h"
#include "core/limits.h"
#include "pe/builtin/builtin.h"

#include <errno.h>

#define PART_US 1000u

struct delay {
    uint64_t us;
    bool sleeps;
};

static int prepare(struct oxb_pe *pe)
{
    struct delay *s = oxb_self(pe);
    s->us = (uint64_t)oxb_param_i64(pe, "us");
    s->sleeps = strcmp(oxb_param_str(pe, "mode"), "sleep") == 0;
    return OXB_OK;
}

static void wait_until(const struct delay *s, uint64_t due_ns)
{
    if (!s->sleeps) {
        while (clock_now_ns() < due_ns) {
        }
        return;
    }
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
                           .tv_nsec = (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
    }
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct delay *s = oxb_self(pe);
    (void)port;
    if (s->us == 0) {
        oxb_forward(pe, 0, in);
        return OXB_OK;
    }
    uint32_t part_rows = s->us >= PART_US ? 1 : (uint32_t)(PART_US / s->us);
    uint64_t due_ns = clock_now_ns();
    for (uint32_t from = 0; from < in->live;) {
        uint32_t rows = in->live - from < part_rows ? in->live - from : part_rows;
        due_ns += (uint64_t)rows * s->us * 1000u;
        wait_until(s, due_ns);
        uint16_t sel[BATCH_ROWS_MAX];
        for (uint32_t k = 0; k < rows; k++) {
            sel[k] = in->sel != NULL ? in->sel[from + k] : (uint16_t)(from + k);
        }
        struct oxb_batch *part = oxb_derive(pe, 0, in);
        if (rows < in->live) {
            oxb_keep(part, sel, rows);
        }
        uint64_t before_ns = clock_now_ns();
        oxb_forward(pe, 0, part);
        oxb_keep(part, sel, 0); /* given up: it need not wait for the callback's end to leave */
        due_ns += clock_now_ns() - before_ns; /* D1; a sleep that took too long is made up for */
        from += rows;
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "us",
     .type = OXB_P_I64,
     .fallback = "0",
     .min = 0,
     .max = 60e6,
     .doc = "microseconds per tuple"},
    {.name = "mode",
     .type = OXB_P_ENUM,
     .fallback = "busy",
     .choices = "busy sleep",
     .doc = "busy: use the processor; sleep: leave it to others"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "*", "the input, later"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_delay = {
    .abi = OXB_ABI,
    .flags = OXB_OWN_THREAD,
    .name = "delay",
    .doc = "spends time on every tuple, busy or asleep, and hands it on",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct delay),
    .prepare = prepare,
    .process = process,
};
