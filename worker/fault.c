/* worker/fault.c - trying again, and what on_error says. */
#include "worker/fault.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "worker/care.h"
#include "worker/dead_letter.h"
#include "worker/hold.h"
#include "worker/chain.h"
#include "worker/watch.h"

#include <inttypes.h>
#include <stdio.h>

static struct policy policy_of(const struct instance *i)
{
    return policy_unpack(atomic_load_explicit(&i->policy, memory_order_relaxed));
}

void instance_fail(struct instance *i, const char *text)
{
    if (i->chain->failed) {
        return;
    }
    i->chain->failed = true;
    snprintf(i->error, sizeof i->error, "%s", text[0] != '\0' ? text : "failed without a reason");
    log_event(LOG_ERROR, "instance.failed", "pe=%s index=%u error=\"%s\"", name_text(&i->pe_name),
              i->index, i->error);
    instance_set_state(i, INSTANCE_FAILED);
}

/* ---------------------------------------------------------------- giving up */

/* A stream of bad tuples must not be a flood of log lines: the 1st, 2nd, 4th, 8th ... are told. */
static void log_given_up(const struct instance *i, const char *event, const char *error)
{
    uint64_t n = atomic_load_explicit(&pe_counters(i->pe)->failed, memory_order_relaxed);
    if ((n & (n - 1)) == 0) {
        log_event(LOG_WARN, event, "pe=%s index=%u count=%" PRIu64 " error=\"%s\"",
                  name_text(&i->pe_name), i->index, n, error);
    }
}

void fault_give_up(struct instance *i, const char *stream, const struct batch *rest, bool letter,
                   const char *error)
{
    counter_add(&pe_counters(i->pe)->failed, 1);
    log_given_up(i, letter ? "instance.dead_letter" : "instance.dropped", error);
    if (!letter) {
        return;
    }
    struct strbuf tuple = {0};
    struct oxb_str raw;
    if (rest != NULL) {
        batch_json_row(&rest->pub, rest->pub.sel != NULL ? rest->pub.sel[0] : 0, &tuple);
    } else if (pe_bad_input(i->pe, &raw)) {
        strbuf_add(&tuple, raw.p, raw.len);
    }
    dead_letter_send(i, error, stream, &tuple);
    strbuf_fini(&tuple);
}

/* ---------------------------------------------------------------- batches */

static struct batch *rows_of(const struct batch *b, uint32_t first, uint32_t count)
{
    uint16_t sel[BATCH_ROWS_MAX];
    for (uint32_t k = 0; k < count; k++) {
        sel[k] = b->pub.sel != NULL ? b->pub.sel[first + k] : (uint16_t)(first + k);
    }
    return batch_select(b, sel, count);
}

/* The first `count` live rows are dealt with.  Return: NULL when those were all. */
static struct batch *behind(struct batch *rest TAKES, uint32_t count)
{
    if (count == 0) {
        return rest;
    }
    struct batch *left =
        count < rest->pub.live ? rows_of(rest, count, rest->pub.live - count) : NULL;
    batch_free(rest);
    return left;
}

struct trial {           /* of one batch */
    struct batch *rest;  /* not dealt with yet; NULL: all is */
    uint32_t failures;   /* of its first row, in a row */
    uint32_t one_by_one; /* so many rows at most are given singly: one of them fails */
};

/* By policy, for the first row of what is left, which has failed once too often. */
static void settle(struct instance *i, unsigned port, const char *stream, struct trial *t,
                   enum plan_then then, const char *why)
{
    char error[sizeof i->error];
    snprintf(error, sizeof error, "%s", why);
    switch (then) {
    case PLAN_STOP:
        instance_fail(i, error);
        break;
    case PLAN_HOLD:
        hold_begin(i, port, stream, t->rest, error);
        t->rest = NULL;
        break;
    case PLAN_DROP:
    case PLAN_DEAD_LETTER:
        fault_give_up(i, stream, t->rest, then == PLAN_DEAD_LETTER, error);
        t->rest = behind(t->rest, 1);
        t->failures = 0;
        break;
    }
}

static void failed(struct instance *i, unsigned port, const char *stream, struct trial *t,
                   const struct pe_attempt *a, struct policy p)
{
    if (a->spoilt) {
        char text[sizeof i->error];
        snprintf(text, sizeof text,
                 "%.400s (it had changed its state and did not name the tuple: "
                 "see oxb_fail_at)",
                 pe_error(i->pe));
        instance_fail(i, text);
        return;
    }
    if (!a->named) { /* one of them; find out which */
        t->one_by_one = t->rest->pub.live;
        return;
    }
    t->one_by_one = 0;
    if (a->done > 0) {
        t->rest = behind(t->rest, a->done);
        t->failures = 0;
    }
    if (++t->failures > p.retries) {
        settle(i, port, stream, t, p.then, pe_error(i->pe));
    }
}

void fault_process(struct instance *i, unsigned port, const char *stream, struct batch *batch)
{
    struct policy p = policy_of(i);
    if (p.then == PLAN_STOP && p.retries == 0) {
        if (pe_process(i->pe, port, batch) == OXB_ERROR) {
            instance_fail(i, pe_error(i->pe));
        }
        return;
    }
    struct trial t = {.rest = batch};
    bool care = care_is_on(i);
    while (t.rest != NULL && !i->chain->failed) {
        bool whole = t.one_by_one == 0 && !care;
        struct batch *now = whole ? batch_share(t.rest) : rows_of(t.rest, 0, 1);
        struct pe_attempt a;
        if (care && care_kills(i, stream, now)) {
            batch_free(now);
            settle(i, port, stream, &t, p.then, care_error(i));
            continue;
        }
        int result = pe_attempt(i->pe, port, now, &a);
        if (care) {
            crash_call_tuple(NULL);
        }
        if (result == OXB_OK) {
            t.rest = behind(t.rest, a.done);
            t.failures = 0;
            t.one_by_one -= t.one_by_one > 0 ? 1 : 0;
        } else {
            failed(i, port, stream, &t, &a, p);
        }
    }
    batch_free(t.rest);
    counter_add(&pe_counters(i->pe)->batches_in, 1);
}

/* ---------------------------------------------------------------- calls without a tuple */

bool fault_survives(struct instance *i, int result, bool comes_again)
{
    if (result != OXB_ERROR) {
        i->failures = 0;
        i->stubborn = 0;
        return true;
    }
    struct policy p = policy_of(i);
    struct oxb_str raw;
    bool same = comes_again && !pe_bad_input(i->pe, &raw); /* it has not gone past anything */
    if (same && ++i->failures <= p.retries) {
        return true;
    }
    if (same && ++i->stubborn > SOURCE_FAILURES_MAX) {
        instance_fail(i, pe_error(i->pe));
        return false;
    }
    i->failures = 0;
    if (hold_is_held(i)) { /* a flush at a marker: it does not pass */
        return false;
    }
    char error[sizeof i->error];
    snprintf(error, sizeof error, "%s", pe_error(i->pe));
    switch (p.then) {
    case PLAN_STOP:
        instance_fail(i, error);
        return false;
    case PLAN_HOLD:
        if (comes_again && !same) { /* the source is past it: a recovery would not find it again */
            fault_give_up(i, "", NULL, true, error);
        }
        hold_begin(i, 0, "", NULL, error);
        return false;
    case PLAN_DROP:
    case PLAN_DEAD_LETTER:
        break;
    }
    fault_give_up(i, "", NULL, p.then == PLAN_DEAD_LETTER, error);
    return true;
}

bool fault_call(struct instance *i, int (*call)(struct oxb_pe *pe))
{
    uint32_t tries = policy_of(i).retries;
    watch_begin(i, clock_now_ns(), call == pe_finish ? "finish" : "flush");
    int result = call(i->pe);
    while (result == OXB_ERROR && tries-- > 0) {
        result = call(i->pe);
    }
    watch_end(i);
    return fault_survives(i, result, false);
}
