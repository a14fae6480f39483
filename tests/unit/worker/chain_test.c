/* tests/unit/worker/chain_test.c - chains whose PEs emit on timers and descriptors, or poll.
 *
 * Goal:   while the output of a chain is blocked its events wait, so that memory stays bounded
 *         (C3), and come when it is free again; an executor serves everybody though one PE sets
 *         timers to the past or polls without pause.
 * Method: a collector that stops at a gate, on its own thread; sources that emit on each event; a
 *         clock on the same executor, which shows by its ticks that the others had every
 *         opportunity.  No time is asserted. */
#include "core/clock.h"
#include "core/mem.h"
#include "tests/support/local.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { TIMERS = 10000, TICKS = 300, DEADLINE_S = 60, EMPTY_CALLS = 3000, POLLED = 50 };
#define COUNTED "seq: i64"

/* What the PEs and the test share; one test at a time. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;            /* the gate: the collector waits */
    uint64_t ticks;         /* of the clock */
    uint64_t came, wrong;   /* at the collector */
    int64_t next;
    _Atomic bool stop;      /* the sources end */
    _Atomic uint64_t emitted;
} s = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}; /* tidy: test */

static void collect(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    pthread_mutex_lock(&s.lock);
    while (s.closed) {
        pthread_cond_wait(&s.changed, &s.lock);
    }
    if (b != NULL) {
        OXB_EACH (b, i) {
            s.came++;
            s.wrong += oxb_i64s(b, 0)[i] != s.next++ ? 1 : 0;
        }
    }
    pthread_mutex_unlock(&s.lock);
}

static void gate(bool closed)
{
    pthread_mutex_lock(&s.lock);
    s.closed = closed;
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&s.lock);
}

static void wait_ticks(uint64_t more)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    int waited = 0;
    pthread_mutex_lock(&s.lock);
    uint64_t enough = s.ticks + more;
    while (s.ticks < enough && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&s.changed, &s.lock, &until);
    }
    bool came = s.ticks >= enough;
    pthread_mutex_unlock(&s.lock);
    assert_true(came);
}

static void emit_one(struct oxb_pe *pe)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, (int64_t)atomic_fetch_add(&s.emitted, 1));
    oxb_commit(w);
}

static int idle_or_end(struct oxb_pe *pe, uint32_t rows_max)
{
    (void)pe;
    (void)rows_max;
    return atomic_load(&s.stop) ? OXB_END : OXB_IDLE;
}

/* ---- many-timers: each of its timers emits a row and is set again, to now ---- */
static int timers_start(struct oxb_pe *pe)
{
    for (uint64_t id = 0; id < TIMERS; id++) {
        oxb_timer_set(pe, id, oxb_mono_us(pe));
    }
    return OXB_OK;
}

static int timers_timer(struct oxb_pe *pe, uint64_t id)
{
    if (!atomic_load(&s.stop)) {
        emit_one(pe);
        oxb_timer_set(pe, id, oxb_mono_us(pe));
    }
    return OXB_OK;
}

/* ---- always-ready: its descriptor is always readable, each event emits a row ---- */
struct always {
    int fd;
};

static int always_start(struct oxb_pe *pe)
{
    struct always *a = oxb_self(pe);
    a->fd = eventfd(1, EFD_CLOEXEC);
    return oxb_watch(pe, a->fd, EPOLLIN) == 0 ? OXB_OK : oxb_fail(pe, "cannot watch");
}

static int always_ready(struct oxb_pe *pe, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    if (!atomic_load(&s.stop)) {
        emit_one(pe);
    }
    return OXB_OK;
}

static void always_stop(struct oxb_pe *pe)
{
    struct always *a = oxb_self(pe);
    close(a->fd);
}

/* ---- the clock: a timer that is set to the past each time; no rows ---- */
static int clock_start(struct oxb_pe *pe)
{
    oxb_timer_set(pe, 1, 1);
    return OXB_OK;
}

static int clock_timer(struct oxb_pe *pe, uint64_t id)
{
    oxb_timer_set(pe, id, 1);
    pthread_mutex_lock(&s.lock);
    s.ticks++;
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&s.lock);
    return OXB_OK;
}

/* ---- poller: answers OXB_OK without a row, many times for each row ---- */
struct poller {
    uint64_t calls;
};

static int poller_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct poller *p = oxb_self(pe);
    (void)rows_max;
    p->calls++;
    if (p->calls < EMPTY_CALLS || p->calls % 16 != 0) {
        return OXB_OK;
    }
    emit_one(pe);
    return atomic_load(&s.emitted) == POLLED ? OXB_END : OXB_OK;
}

static const struct oxb_port outputs[] = {{"out", COUNTED, "rows"}, {NULL, NULL, NULL}};

static const struct oxb_pe_type types[] = {
    {.abi = OXB_ABI, .flags = OXB_SOURCE, .name = "many-timers", .doc = "t", .outputs = outputs,
     .start = timers_start, .produce = idle_or_end, .timer = timers_timer, .state_version = 1},
    {.abi = OXB_ABI, .flags = OXB_SOURCE, .name = "always-ready", .doc = "t", .outputs = outputs,
     .self_bytes = sizeof(struct always), .start = always_start, .produce = idle_or_end,
     .ready = always_ready, .stop = always_stop, .state_version = 1},
    {.abi = OXB_ABI, .flags = OXB_SOURCE, .name = "past-clock", .doc = "t", .outputs = outputs,
     .start = clock_start, .produce = idle_or_end, .timer = clock_timer, .state_version = 1},
    {.abi = OXB_ABI, .flags = OXB_SOURCE, .name = "poller", .doc = "t", .outputs = outputs,
     .self_bytes = sizeof(struct poller), .produce = poller_produce, .state_version = 1},
};

static int setup(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        assert_int_equal(oxb_register(&types[k]), 0);
    }
    return oxb_collector_new("gated", collect, NULL);
}

/* ---------------------------------------------------------------- tests */

struct running {
    struct local *w;
    struct part *part;
    struct plan plan;
};

/* `source` -> gated collector (own thread), and the clock, on one shared executor. */
static void start(struct running *r, const char *source)
{
    s.ticks = s.came = s.wrong = 0;
    s.next = 0;
    atomic_store(&s.stop, false);
    atomic_store(&s.emitted, 0);
    plan_init(&r->plan, "t");
    unsigned from = plan_pe(&r->plan, source, "{}", 1, "", COUNTED, "w");
    unsigned to = plan_pe(&r->plan, "gated", "{}", 1, COUNTED, "", "w");
    (void)plan_pe(&r->plan, "past-clock", "{}", 1, "", COUNTED, "w");
    plan_stream(&r->plan, from, to, PLAN_BALANCED, 0, false);
    r->plan.instances[1].own_thread = true;
    r->w = local_new("w", 1);
    r->part = local_deploy(r->w, plan_for(&r->plan, "w"));
    local_go(r->w, r->part);
}

static void end(struct running *r)
{
    atomic_store(&s.stop, true);
    local_drain(r->w, r->part);
    local_wait(r->w, r->part, DEPLOYMENT_ENDED);
    assert_int_equal(s.came, atomic_load(&s.emitted));
    assert_int_equal(s.wrong, 0);
    local_drop(r->w, r->part);
    local_free(r->w); /* asserts that the pool is empty */
}

/* While the gate is closed the source may fill the ring, and what one round of events emits. */
static void events_wait_for_the_output(const char *source, uint64_t round)
{
    static struct running r; /* tidy: large, test only */
    gate(true);
    start(&r, source);
    wait_ticks(TICKS);
    uint64_t bound = (RING_BATCHES + 4) * (uint64_t)BATCH_ROWS_MAX + 2 * round;
    uint64_t emitted = atomic_load(&s.emitted);
    assert_true(emitted <= bound);
    wait_ticks(TICKS);
    assert_true(atomic_load(&s.emitted) <= bound);
    gate(false);
    wait_ticks(1);
    while (atomic_load(&s.emitted) <= emitted) { /* it goes on: a tick at a time is enough */
        wait_ticks(1);
    }
    end(&r);
}

static void timers_wait_while_the_output_is_blocked(void **state)
{
    (void)state;
    events_wait_for_the_output("many-timers", TIMERS);
}

static void descriptors_wait_while_the_output_is_blocked(void **state)
{
    (void)state;
    events_wait_for_the_output("always-ready", 64);
}

static void a_source_that_polls_gets_to_its_rows(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    gate(false);
    start(&r, "poller");
    while (atomic_load(&s.emitted) < POLLED) {
        wait_ticks(1);
    }
    end(&r);
    assert_int_equal(s.came, POLLED);
}

static void a_drop_while_events_wait_leaves_nothing(void **state)
{
    (void)state;
    static struct running r; /* tidy: large, test only */
    static const char *const sources[] = {"many-timers", "always-ready", "poller"};
    for (size_t k = 0; k < 3; k++) {
        gate(true);
        start(&r, sources[k]);
        wait_ticks(TICKS / 10);
        gate(false);
        local_drop(r.w, r.part);
        local_free(r.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_wait_while_the_output_is_blocked),
        cmocka_unit_test(descriptors_wait_while_the_output_is_blocked),
        cmocka_unit_test(a_source_that_polls_gets_to_its_rows),
        cmocka_unit_test(a_drop_while_events_wait_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
