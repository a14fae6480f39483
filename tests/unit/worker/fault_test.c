/* tests/unit/worker/fault_test.c - tuples on which a PE fails: exactly they, and nothing else.
 *
 * Goal:   U1-U3 of worker/fault.h, E1 and E2 of worker/hold.h, A1 and A2 of pe/attempt.c.
 * Method: numbers 0, 1, 2 ... through a PE that fails on every hundredth, written in each of the
 *         ways a PE can be written; what comes out, and what the dead letters say, is compared with
 *         what must.  Nothing is timed. */
#include "core/mem.h"
#include "tests/support/local.h"
#include "worker/fault.h"
#include "worker/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TUPLES = 5000, BAD = 100, COUNT_BAD = TUPLES / BAD };
#define NUMBER "seq: i64"
#define RESULT "seq: i64, passed: i64"
#define LETTER "pe: str, instance: i64, stream: str, error: str, at: time, tuple: str"

/* What came, by number; written by one collector's thread, read when all has ended or by atomics.
 */
static struct {
    _Atomic unsigned came[TUPLES], letters[TUPLES];
    _Atomic uint64_t count, wrong_order, wrong_passed;
    int64_t last, passed;
    _Atomic unsigned calls_until_good; /* `transient`: failures of the same tuple */
    const char *error;                 /* how the error of every dead letter begins */
} s;                                   /* tidy: test */

static bool is_bad(int64_t seq)
{
    return seq % BAD == BAD - 1;
}

/* ---- collectors ---- */
static void collect(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    if (b == NULL) {
        return;
    }
    OXB_EACH (b, i) {
        int64_t seq = oxb_i64s(b, 0)[i];
        s.wrong_order += seq <= s.last ? 1 : 0;
        s.wrong_passed += oxb_i64s(b, 1)[i] != s.passed++ ? 1 : 0;
        s.last = seq;
        s.came[seq]++;
        s.count++;
    }
}

static void collect_letters(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    if (b == NULL) {
        return;
    }
    OXB_EACH (b, i) {
        struct oxb_str tuple = oxb_str_at(b, 5, i), error = oxb_str_at(b, 3, i);
        char text[64] = "";
        memcpy(text, tuple.p, tuple.len < 63 ? tuple.len : 63);
        long long seq = -1;
        assert_int_equal(sscanf(text, "{\"seq\":%lld", &seq), 1);
        assert_memory_equal(error.p, s.error, strlen(s.error));
        s.letters[seq]++;
    }
}

/* ---- the ways to write it; `passed` counts what it has let through, in a field of its own ---- */
struct self {
    int64_t passed;
    int64_t failing; /* `transient`: the tuple, and how often it has failed */
    unsigned failures;
};

static void put(struct oxb_writer *w, int64_t seq, int64_t passed)
{
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, seq);
    oxb_put_i64(w, 1, row, passed);
    oxb_commit(w);
}

static int named(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct self *self = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    (void)port;
    OXB_EACH (in, i) {
        if (is_bad(oxb_i64s(in, 0)[i])) {
            return oxb_fail_at(pe, i, "bad luck");
        }
        put(w, oxb_i64s(in, 0)[i], self->passed++);
    }
    return OXB_OK;
}

/* Changes nothing of its own before it is sure; says only that it failed. */
static int unnamed(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct self *self = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    int64_t passed = self->passed;
    (void)port;
    OXB_EACH (in, i) {
        if (is_bad(oxb_i64s(in, 0)[i])) {
            return oxb_fail(pe, "bad luck");
        }
        put(w, oxb_i64s(in, 0)[i], passed++);
    }
    self->passed = passed;
    return OXB_OK;
}

static void flat_row(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
                     struct oxb_writer *out)
{
    struct self *self = oxb_self(pe);
    if (is_bad(oxb_i64s(in, 0)[i])) {
        oxb_fail(pe, "bad luck");
        return;
    }
    put(out, oxb_i64s(in, 0)[i], self->passed++);
}
OXB_FLATMAP(flat, flat_row)

static int64_t *map_out;
static void map_setup(struct oxb_pe *pe, struct oxb_batch *in, struct oxb_batch *out)
{
    (void)in;
    map_out = oxb_new_i64s(pe, out, 1);
}
static void map_row(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
                    struct oxb_batch *out)
{
    struct self *self = oxb_self(pe);
    (void)out;
    if (is_bad(oxb_i64s(in, 0)[i])) {
        oxb_fail(pe, "bad luck");
        return;
    }
    map_out[i] = self->passed++;
}
OXB_MAP(map, map_setup, map_row)

/* Each bad tuple fails a few times, as something outside might. */
static int transient(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct self *self = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    (void)port;
    OXB_EACH (in, i) {
        int64_t seq = oxb_i64s(in, 0)[i];
        if (is_bad(seq)) {
            self->failures = self->failing == seq ? self->failures : 0;
            self->failing = seq;
            if (self->failures++ < s.calls_until_good) {
                return oxb_fail_at(pe, i, "bad luck");
            }
        }
        put(w, seq, self->passed++);
    }
    return OXB_OK;
}

/* Writes its table and does not say how far it came. */
static int spoils(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    static const unsigned key[] = {0};
    void *slots[BATCH_ROWS_MAX];
    (void)port;
    if (oxb_state_rows(oxb_state(pe, "seen"), in, key, 1, slots) != OXB_OK) {
        return oxb_fail(pe, "no key");
    }
    return unnamed(pe, port, in);
}

/* Fails for ever, without getting further. */
static int broken(struct oxb_pe *pe, uint32_t rows_max)
{
    (void)rows_max;
    return oxb_fail(pe, "bad luck");
}

static const struct oxb_port outputs[] = {{"out", RESULT, "rows"}, {NULL, NULL, NULL}};
static const struct oxb_value cells[] = {{"n", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl states[] = {{"seen", cells}, {NULL, NULL}};
#define TYPE(n, fn, st)                                                                            \
    {                                                                                              \
        .abi = OXB_ABI, .name = n, .doc = "t", .outputs = outputs, .states = st,                   \
        .self_bytes = sizeof(struct self), .process = fn, .state_version = 1                       \
    }
static const struct oxb_pe_type types[] = {
    TYPE("named", named, NULL),
    TYPE("unnamed", unnamed, NULL),
    TYPE("flat", flat, NULL),
    {.abi = OXB_ABI,
     .flags = OXB_SOURCE,
     .name = "broken",
     .doc = "t",
     .outputs = outputs,
     .produce = broken,
     .state_version = 1},
    TYPE("map", map, NULL),
    TYPE("transient", transient, NULL),
    TYPE("spoils", spoils, states),
};

static int setup(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        assert_int_equal(oxb_register(&types[k]), 0);
    }
    return oxb_collector_new("results", collect, NULL) |
           oxb_collector_new("letters", collect_letters, NULL);
}

/* ---------------------------------------------------------------- running */

struct running {
    struct local *w;
    struct part *part;
    struct plan plan;
    struct instance *pe; /* the one that fails */
    unsigned until_good; /* of `transient` */
};

static void start(struct running *r, const char *type, struct policy p, bool fused)
{
    memset(&s, 0, sizeof s);
    s.last = -1;
    s.calls_until_good = r->until_good;
    s.error = "bad luck";
    plan_init(&r->plan, "t");
    char params[64];
    snprintf(params, sizeof params, "{\"count\":%d}", TUPLES);
    unsigned from =
        plan_pe(&r->plan, "sequence", params, 1, "", "seq: i64, key: i64, at: time", "w");
    unsigned pe = plan_pe(&r->plan, type, "{}", 1, "seq: i64, key: i64, at: time", RESULT, "w");
    unsigned to = plan_pe(&r->plan, "results", "{}", 1, RESULT, "", "w");
    unsigned letters = plan_pe(&r->plan, "letters", "{}", 1, LETTER, "", "w");
    plan_stream(&r->plan, from, pe, PLAN_BALANCED, 0, fused);
    plan_stream(&r->plan, pe, to, PLAN_BALANCED, 0, fused);
    plan_stream(&r->plan, pe, letters, PLAN_BALANCED, 0, false);
    r->plan.streams[2].from_port = 1; /* behind its own outputs */
    r->plan.instances[1].then = p.then;
    r->plan.instances[1].retries = p.retries;
    r->w = local_new("w", 2);
    r->part = local_deploy(r->w, plan_for(&r->plan, "w"));
    r->pe = r->part->instances[1];
    local_go(r->w, r->part);
}

static void end(struct running *r)
{
    local_drop(r->w, r->part);
    local_free(r->w); /* asserts that the pool is empty */
}

/* Every good tuple once and in order, the count in the PE's own state is right, the others
 * `letters` times in the dead letters. */
static void judge(const struct running *r, unsigned letters)
{
    for (int64_t n = 0; n < TUPLES; n++) {
        assert_int_equal(s.came[n], is_bad(n) ? 0 : 1);
        assert_int_equal(s.letters[n], is_bad(n) ? letters : 0);
    }
    assert_int_equal(s.wrong_order, 0);
    assert_int_equal(s.wrong_passed, 0);
    assert_int_equal(pe_counters(r->pe->pe)->failed, COUNT_BAD);
    assert_int_equal(pe_counters(r->pe->pe)->tuples_in, TUPLES - COUNT_BAD); /* I10 */
}

static void bad_tuples_alone_are_given_up(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    static const char *const ways[] = {"named", "unnamed", "flat", "map"};
    for (unsigned k = 0; k < 16; k++) {
        bool letters = k / 4 % 2 != 0;
        struct policy p = {.then = letters ? PLAN_DEAD_LETTER : PLAN_DROP, .retries = k % 3};
        start(&r, ways[k % 4], p, k / 8 != 0);
        local_wait(r.w, r.part, DEPLOYMENT_ENDED);
        judge(&r, letters ? 1 : 0);
        end(&r);
    }
}

static void what_succeeds_in_the_end_is_not_given_up(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    r.until_good = 3;
    start(&r, "transient", (struct policy){.then = PLAN_DROP, .retries = 3}, false);
    local_wait(r.w, r.part, DEPLOYMENT_ENDED);
    assert_int_equal(s.count, TUPLES);
    assert_int_equal(s.wrong_order + s.wrong_passed, 0);
    end(&r);
    r.until_good = 3;
    start(&r, "transient", (struct policy){.then = PLAN_STOP, .retries = 2}, false);
    local_wait(r.w, r.part, DEPLOYMENT_FAILED);
    assert_string_equal(r.pe->error, "bad luck");
    end(&r);
}

static void a_spoilt_state_is_not_worked_on(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    start(&r, "spoils", (struct policy){.then = PLAN_DROP}, false);
    local_wait(r.w, r.part, DEPLOYMENT_FAILED);
    assert_non_null(strstr(r.pe->error, "oxb_fail_at"));
    end(&r);
}

/* ---------------------------------------------------------------- sources */

static bool is_over(const void *arg)
{
    const struct part *d = arg;
    return d->state == DEPLOYMENT_ENDED || d->state == DEPLOYMENT_FAILED;
}

/* file-source -> results; lines 3 and 7 of 10 are bad.  Return: how it ended. */
static enum deployment_state read_file(const char *format, enum plan_then then)
{
    static struct running r; /* tidy: large, test only */
    char path[] = "/tmp/oxbow-fault-XXXXXX", params[128];
    int fd = mkstemp(path);
    bool csv = strcmp(format, "csv") == 0;
    assert_true(fd >= 0);
    if (csv) {
        dprintf(fd, "seq,passed\n");
    }
    for (int n = 0, passed = 0; n < 10; n++) {
        bool bad = n == 3 || n == 7;
        dprintf(fd, csv ? "%d,%s%d\n" : "{\"seq\":%d,\"passed\":%s%d}\n", n, bad ? "x" : "",
                passed);
        passed += bad ? 0 : 1;
    }
    close(fd);
    memset(&s, 0, sizeof s);
    s.last = -1;
    s.error = path;
    snprintf(params, sizeof params, "{\"path\":\"%s\",\"format\":\"%s\"}", path, format);
    plan_init(&r.plan, "t");
    unsigned from = plan_pe(&r.plan, "file-source", params, 1, "", RESULT, "w");
    unsigned to = plan_pe(&r.plan, "results", "{}", 1, RESULT, "", "w");
    plan_stream(&r.plan, from, to, PLAN_BALANCED, 0, false);
    if (!csv) { /* of those the dead letters are looked at */
        unsigned letters = plan_pe(&r.plan, "letters", "{}", 1, LETTER, "", "w");
        plan_stream(&r.plan, from, letters, PLAN_BALANCED, 0, false);
        r.plan.streams[1].from_port = 1;
    }
    r.plan.instances[0].then = then;
    r.plan.instances[0].retries = 2; /* a line does not get better */
    r.w = local_new("w", 2);
    r.part = local_deploy(r.w, plan_for(&r.plan, "w"));
    local_go(r.w, r.part);
    local_wait_for(r.w, is_over, r.part);
    enum deployment_state ended = r.part->state;
    end(&r);
    unlink(path);
    return ended;
}

static void a_source_goes_past_a_bad_line_once(void **state)
{
    (void)state;
    assert_int_equal(read_file("jsonl", PLAN_DEAD_LETTER), DEPLOYMENT_ENDED);
    assert_int_equal(s.count, 8);
    assert_int_equal(s.wrong_order + s.wrong_passed, 0);
    assert_int_equal(s.letters[3] + s.letters[7], 2);
    assert_int_equal(read_file("csv", PLAN_DROP), DEPLOYMENT_ENDED);
    assert_int_equal(s.count, 8);
    assert_int_equal(s.wrong_order + s.wrong_passed, 0);
    assert_int_equal(read_file("csv", PLAN_STOP), DEPLOYMENT_FAILED);
}

static void a_source_that_never_gets_further_fails(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    plan_init(&r.plan, "t");
    unsigned from = plan_pe(&r.plan, "broken", "{}", 1, "", RESULT, "w");
    unsigned to = plan_pe(&r.plan, "results", "{}", 1, RESULT, "", "w");
    plan_stream(&r.plan, from, to, PLAN_BALANCED, 0, false);
    r.plan.instances[0].then = PLAN_DROP;
    r.w = local_new("w", 1);
    r.part = local_deploy(r.w, plan_for(&r.plan, "w"));
    local_go(r.w, r.part);
    local_wait(r.w, r.part, DEPLOYMENT_FAILED);
    end(&r);
}

/* ---------------------------------------------------------------- holding */

struct hold_wanted {
    const struct running *r;
    uint64_t after;
    uint64_t number; /* out */
};

static bool is_held_again(const void *arg)
{
    struct hold_wanted *h = (struct hold_wanted *)(uintptr_t)arg;
    struct strbuf error = {0}, tuple = {0}, stream = {0};
    h->number = hold_read(h->r->pe, &error, &tuple, &stream).number;
    bool held = h->number > h->after;
    if (held) {
        assert_string_equal(strbuf_text(&error), "bad luck");
        assert_non_null(strstr(strbuf_text(&tuple), "\"seq\":"));
        assert_string_equal(strbuf_text(&stream), "s");
        assert_int_equal(atomic_load(&h->r->pe->state), INSTANCE_HELD);
    }
    strbuf_fini(&error);
    strbuf_fini(&tuple);
    strbuf_fini(&stream);
    return held;
}

static void hold_and_skip(const char *type, bool fused)
{
    static struct running r; /* tidy: large, test only */
    start(&r, type, (struct policy){.then = PLAN_HOLD, .retries = 1}, fused);
    struct hold_wanted h = {.r = &r};
    for (uint64_t n = 0; n < COUNT_BAD; n++) {
        local_wait_for(r.w, is_held_again, &h);
        local_inject(r.w, r.part, n + 1);
        local_wait_epoch(r.w, r.part, n + 1); /* the marker overtakes what is kept */
        hold_skip(r.pe, h.number + 1);        /* another one: nothing happens */
        hold_skip(r.pe, h.number);
        h.after = h.number;
    }
    local_wait(r.w, r.part, DEPLOYMENT_ENDED);
    judge(&r, 1);
    end(&r);
}

static void held_tuples_are_skipped_one_by_one(void **state)
{
    (void)state;
    hold_and_skip("named", false);
    hold_and_skip("unnamed", true);
    hold_and_skip("map", true);
}

static bool good_ones_came(const void *arg)
{
    (void)arg;
    return s.count == TUPLES - COUNT_BAD;
}

static void another_policy_lets_the_held_go_on(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    start(&r, "flat", (struct policy){.then = PLAN_HOLD}, false);
    struct hold_wanted h = {.r = &r};
    local_wait_for(r.w, is_held_again, &h);
    atomic_store(&r.pe->policy, policy_pack((struct policy){.then = PLAN_DEAD_LETTER}));
    instance_notify(r.pe);
    local_wait_for(r.w, good_ones_came, NULL);
    local_wait(r.w, r.part, DEPLOYMENT_ENDED);
    judge(&r, 1);
    end(&r);
}

static void a_held_one_can_be_dropped_with_what_it_keeps(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    start(&r, "map", (struct policy){.then = PLAN_HOLD}, true);
    struct hold_wanted h = {.r = &r};
    local_wait_for(r.w, is_held_again, &h);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_tuples_alone_are_given_up),
        cmocka_unit_test(what_succeeds_in_the_end_is_not_given_up),
        cmocka_unit_test(a_spoilt_state_is_not_worked_on),
        cmocka_unit_test(a_source_goes_past_a_bad_line_once),
        cmocka_unit_test(a_source_that_never_gets_further_fails),
        cmocka_unit_test(held_tuples_are_skipped_one_by_one),
        cmocka_unit_test(another_policy_lets_the_held_go_on),
        cmocka_unit_test(a_held_one_can_be_dropped_with_what_it_keeps),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
