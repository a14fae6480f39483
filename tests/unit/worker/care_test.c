/* tests/unit/worker/care_test.c - an instance whose code has killed its process before.
 *
 * Goal:   G1, G2 of worker/care.h; CARE_HOLD on a worker.
 * Method: a child process dies of a tuple, and the record that it leaves gives its sum, as in life;
 *         an instance that is told of such sums meets equal tuples, others, and equal ones but for
 *         the time. */
#include "core/clock.h"
#include "core/mem.h"
#include "tests/support/local.h"
#include "tests/support/numbered.h"
#include "worker/care.h"
#include "worker/chain.h"
#include "worker/crash.h"
#include "worker/hold.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/oxbow-care.XXXXXX";
static struct pool *pool;
static const struct oxb_schema *schema;

static int setup(void **state)
{
    (void)state;
    struct fail f;
    int fd = mkstemp(path);
    pool = pool_new(1u << 20);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0 && schema_parse("seq: i64, name: str, at: time", &schema, &f) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    return unlink(path);
}

static struct batch *tuple(int64_t seq, const char *name, int64_t at)
{
    struct builder b;
    builder_init(&b, pool, schema, NULL, NULL);
    uint32_t row = oxb_row(&b.pub);
    oxb_put_i64(&b.pub, 0, row, seq);
    oxb_put_str(&b.pub, 1, row, name, (uint32_t)strlen(name));
    oxb_put_i64(&b.pub, 2, row, at);
    oxb_commit(&b.pub);
    struct batch *made = builder_finish(&b);
    builder_fini(&b);
    return made;
}

/* An instance that is given its tuples singly; it knows `count` sums of those that kill. */
static struct instance *careful(struct chain *chain, const uint64_t *sums, size_t count,
                                uint64_t from_epoch)
{
    uint8_t bytes[64];
    assert_true(8 * count <= sizeof bytes);
    for (size_t n = 0; n < 8 * count; n++) {
        bytes[n] = (uint8_t)(sums[n / 8] >> (8 * (n % 8)));
    }
    const struct rec_INSTANCE_SPEC spec = {
        .care = CARE_SINGLY, .crash = "it crashed", .killers = {bytes, 8 * count}};
    struct instance *i = instance_new(77, "pe", 0, pool);
    i->care = care_new(&spec, from_epoch);
    i->chain = chain;
    care_begin(i);
    return i;
}

static bool kills(struct instance *i, const char *stream, int64_t seq, const char *name, int64_t at)
{
    struct batch *row = tuple(seq, name, at);
    bool yes = care_kills(i, stream, row);
    crash_call_tuple(NULL);
    batch_free(row);
    return yes;
}

/* die_of - the sum in the record of a process that died of this tuple. */
static uint64_t die_of(const char *stream, int64_t seq, const char *name, int64_t at)
{
    struct crash c = {0};
    unlink(path);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        struct chain chain = {0};
        setrlimit(RLIMIT_CORE, &none);
        (void)!freopen("/dev/null", "w", stderr); /* a sanitizer reports what is meant here */
        signal(SIGSEGV, SIG_DFL);                 /* the test runner's would go on in the child */
        crash_setup(path, 5);
        crash_thread_begin();
        struct instance *i = careful(&chain, NULL, 0, 1);
        crash_call(77, "process");
        (void)care_kills(i, stream, tuple(seq, name, at));
        raise(SIGSEGV);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(crash_read(path, &c));
    assert_int_equal(c.instance, 77);
    assert_string_equal(c.stream, stream);
    char text[64];
    snprintf(text, sizeof text, "{\"seq\":%lld,", (long long)seq);
    assert_memory_equal(c.tuple, text, strlen(text));
    return c.sum;
}

/* G1 */
static void what_killed_is_known_again_so_often_as_it_has_killed(void **state)
{
    (void)state;
    struct chain chain = {0};
    uint64_t one = die_of("s", 7, "x", 1000), two = die_of("s", 8, "", 1000);
    assert_int_equal(die_of("s", 7, "x", 999), one); /* another time is no other tuple */
    assert_int_not_equal(die_of("t", 7, "x", 1000), one);
    assert_int_not_equal(one, two);
    const uint64_t sums[] = {one, two, one};
    struct instance *i = careful(&chain, sums, 3, 1);
    assert_false(kills(i, "s", 6, "x", 1));
    assert_false(kills(i, "s", 7, "y", 1));
    assert_false(kills(i, "t", 7, "x", 1)); /* of another stream */
    assert_true(kills(i, "s", 7, "x", 1));
    assert_true(kills(i, "s", 7, "x", 2));
    assert_false(kills(i, "s", 7, "x", 3)); /* two have killed; this one has not */
    assert_true(kills(i, "s", 8, "", 4));
    assert_false(kills(i, "s", 8, "", 5));
    assert_string_equal(care_error(i), "it crashed");
    i->chain = NULL;
    instance_free(i);
}

/* G2 */
static void it_is_over_when_all_that_kill_are_met_and_a_checkpoint_is_complete(void **state)
{
    (void)state;
    struct chain chain = {0};
    const uint64_t sums[] = {die_of("s", 7, "x", 1)};
    struct instance *i = careful(&chain, sums, 1, 10);
    assert_true(care_is_on(i));
    atomic_store(&chain.commit, 11);
    assert_true(care_is_on(i)); /* it has not come yet: in the next run it would be new again */
    atomic_store(&chain.commit, 10);
    assert_true(kills(i, "s", 7, "x", 1));
    assert_true(care_is_on(i)); /* the checkpoint that it began at */
    atomic_store(&chain.commit, 11);
    assert_false(care_is_on(i));
    care_end(i);
    assert_false(care_is_on(i));
    i->chain = NULL;
    instance_free(i);
}

/* Nothing is known that kills: it is careful for a while, whatever checkpoints say. */
static void without_a_tuple_that_kills_it_is_on_for_its_time(void **state)
{
    (void)state;
    struct chain chain = {0};
    struct instance *i = careful(&chain, NULL, 0, 1);
    atomic_store(&chain.commit, 2);
    uint64_t begun_us = clock_now_us();
    bool on = care_is_on(i);
    assert_true(on || clock_now_us() - begun_us > 1000 * (uint64_t)CARE_MS / 2);
    i->chain = NULL;
    instance_free(i);
}

static void no_care_is_none(void **state)
{
    (void)state;
    const struct rec_INSTANCE_SPEC none = {0}, newer = {.care = 99};
    assert_null(care_new(&none, 1));
    assert_null(care_new(&newer, 1)); /* of a later release */
}

/* ---- on a worker ---- */

enum { TUPLES = 20000 };
static struct numbered seen = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static bool is_held(const void *arg)
{
    struct instance *i = (struct instance *)(uintptr_t)arg;
    struct strbuf error = {0}, text = {0}, stream = {0};
    struct held h = hold_read(i, &error, &text, &stream);
    if (h.number != 0) {
        assert_string_equal(strbuf_text(&error), "PE union crashed in start()");
        assert_int_equal(text.bytes, 0); /* no tuple */
    }
    strbuf_fini(&error);
    strbuf_fini(&text);
    strbuf_fini(&stream);
    return h.number != 0 && h.tuples > 0;
}

/* What killed was no tuple: it is held from its start, keeps what comes, lets markers pass, and
 * goes on with all of it when it is told to. */
static void who_is_held_from_its_start_loses_nothing(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    struct strbuf none[3] = {{0}};
    char params[64];
    numbered_reset(&seen);
    snprintf(params, sizeof params, "{\"keys\":%d,\"count\":%d}", NUMBERED_KEYS, TUPLES);
    plan_init(&p, "t");
    unsigned src = plan_pe(&p, "sequence", params, 1, "", NUMBERED, "w");
    unsigned mid = plan_pe(&p, "union", "{}", 1, NUMBERED, NUMBERED, "w");
    unsigned out = plan_pe(&p, "tail", "{}", 1, NUMBERED, "", "w");
    plan_stream(&p, src, mid, PLAN_BALANCED, 0, false);
    plan_stream(&p, mid, out, PLAN_BALANCED, 0, false);
    p.instances[1].care = CARE_HOLD;
    p.instances[1].crash = "PE union crashed in start()";
    p.instances[1].then = PLAN_HOLD;
    struct local *w = local_new("w", 2);
    struct part *part = local_deploy(w, plan_for(&p, "w"));
    struct instance *held = part->instances[1];
    local_go(w, part);
    local_wait_for(w, is_held, held);
    assert_int_equal(atomic_load(&held->state), INSTANCE_HELD);
    local_inject(w, part, 3);
    local_wait_epoch(w, part, 3);
    assert_int_equal(seen.tuples, 0);
    hold_skip(held, hold_read(held, &none[0], &none[1], &none[2]).number);
    for (unsigned n = 0; n < 3; n++) {
        strbuf_fini(&none[n]);
    }
    local_wait(w, part, DEPLOYMENT_ENDED);
    assert_int_equal(seen.tuples, TUPLES);
    assert_int_equal(seen.out_of_order, 0);
    assert_int_equal(seen.sum, (uint64_t)TUPLES * (TUPLES - 1) / 2);
    local_drop(w, part);
    local_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_killed_is_known_again_so_often_as_it_has_killed),
        cmocka_unit_test(it_is_over_when_all_that_kill_are_met_and_a_checkpoint_is_complete),
        cmocka_unit_test(without_a_tuple_that_kills_it_is_on_for_its_time),
        cmocka_unit_test(no_care_is_none),
        cmocka_unit_test(who_is_held_from_its_start_loses_nothing),
    };
    if (oxb_collector_new("tail", numbered_collect, &seen) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
