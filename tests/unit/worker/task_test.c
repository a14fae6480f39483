/* tests/unit/worker/task_test.c - executors under load: nothing is run twice at once, no wake-up is
 * lost, timers and descriptors fire.
 *
 * Goal:   invariants X1-X4 of worker/task.h and the ring's K1-K2.
 * Method: tasks that pass numbered items through rings on several executors, with private ones in
 *         between; the test waits on a condition that only the last item sets, with a deadline that
 *         bounds failure.  Meant to run under SAN=thread as well. */
#include "core/clock.h"
#include "core/mem.h"
#include "worker/ring.h"
#include "worker/task.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

enum { STAGES = 6, ITEMS = 200000, DEADLINE_S = 60 };

struct gate { /* what the test waits for */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open;
};

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static void gate_wait(struct gate *g, int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    int waited = 0;
    pthread_mutex_lock(&g->lock);
    while (g->open < count && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    }
    int open = g->open;
    pthread_mutex_unlock(&g->lock);
    assert_true(open >= count);
}

#define GATE_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

struct stage {
    struct task task;
    struct ring *in, *out; /* NULL at the ends */
    struct stage *before, *after;
    uint64_t next;         /* number expected or to be made */
    _Atomic int inside;    /* X1 */
    _Atomic bool waits;
    struct gate *done, *dead;
};

static enum task_after stage_run(struct task *t)
{
    struct stage *s = (struct stage *)t;
    assert_int_equal(atomic_fetch_add(&s->inside, 1), 0);
    enum task_after after = AFTER_IDLE;
    if (atomic_load(&t->halt)) {
        atomic_fetch_sub(&s->inside, 1);
        return AFTER_DEAD;
    }
    for (int n = 0; n < 16; n++) {
        if (s->next == ITEMS) {
            break;
        }
        struct item it = {.kind = ITEM_BATCH, .first = s->next};
        struct item *slot = NULL;
        if (s->in != NULL) {
            slot = ring_peek(s->in);
            if (slot == NULL) {
                break;
            }
            assert_int_equal(slot->first, s->next); /* K2 */
        }
        if (s->out != NULL && !ring_push(s->out, &it, RING_BATCHES)) {
            atomic_store(&s->waits, true);
            if (!ring_push(s->out, &it, RING_BATCHES)) {
                break;
            }
        }
        if (slot != NULL) {
            ring_drop(s->in);
            if (atomic_load(&s->before->waits) && ring_used(s->in) <= RING_BATCHES / 2 &&
                atomic_exchange(&s->before->waits, false)) {
                task_notify(&s->before->task);
            }
        }
        if (s->after != NULL) {
            task_notify(&s->after->task);
        }
        s->next++;
        after = n == 15 ? AFTER_AGAIN : AFTER_IDLE;
        if (s->next == ITEMS && s->done != NULL) {
            gate_open(s->done);
        }
    }
    if (s->in == NULL && s->next < ITEMS && !atomic_load(&s->waits)) {
        after = AFTER_AGAIN;
    }
    atomic_fetch_sub(&s->inside, 1);
    return after;
}

static void stage_dead(struct task *t)
{
    gate_open(((struct stage *)t)->dead);
}

static void pipeline(unsigned executors, bool with_private)
{
    struct gate done = GATE_INIT, dead = GATE_INIT;
    struct executors *group = executors_new(executors);
    struct stage *s = mem_array(STAGES, sizeof *s);
    struct executor *own[STAGES] = {0};
    struct ring *rings = aligned_alloc(64, STAGES * sizeof *rings);
    memset(rings, 0, STAGES * sizeof *rings);
    for (int i = 0; i < STAGES; i++) {
        bool private = with_private && i % 2 == 1;
        own[i] = private ? executor_new_private() : NULL;
        task_init(&s[i].task, private ? own[i] : executors_place(group));
        s[i].task.run = stage_run;
        s[i].task.on_dead = stage_dead;
        s[i].dead = &dead;
        s[i].in = i > 0 ? &rings[i - 1] : NULL;
        s[i].out = i + 1 < STAGES ? &rings[i] : NULL;
        s[i].before = i > 0 ? &s[i - 1] : NULL;
        s[i].after = i + 1 < STAGES ? &s[i + 1] : NULL;
        s[i].done = i + 1 == STAGES ? &done : NULL;
    }
    task_notify(&s[0].task);
    gate_wait(&done, 1);
    for (int i = 0; i < STAGES; i++) {
        task_halt(&s[i].task);
    }
    gate_wait(&dead, STAGES);
    for (int i = 0; i < STAGES; i++) {
        assert_int_equal(s[i].next, ITEMS);
        executor_free_private(own[i]);
    }
    executors_free(group);
    free(rings);
    mem_free(s);
}

static void items_arrive_in_order_on_one_executor(void **state)
{
    (void)state;
    pipeline(1, false);
}

static void items_arrive_in_order_with_stealing(void **state)
{
    (void)state;
    pipeline(3, false);
}

static void items_arrive_in_order_through_private_executors(void **state)
{
    (void)state;
    pipeline(2, true);
}

/* ---- timers and descriptors ---- */

struct waiter {
    struct task task;
    int pipe[2];
    uint64_t fired[4]; /* order in which the timers fired */
    unsigned count;
    bool begun, read;
    struct gate *done, *dead;
};

static enum task_after waiter_run(struct task *t)
{
    struct waiter *w = (struct waiter *)t;
    if (atomic_load(&t->halt)) {
        task_forget(t);
        return AFTER_DEAD;
    }
    if (!w->begun) {
        w->begun = true;
        uint64_t now = clock_now_us();
        task_timer_set(t, w, 3, now + 9000);
        task_timer_set(t, w, 1, now + 3000);
        task_timer_set(t, w, 2, now + 900000000);
        task_timer_set(t, w, 2, now + 6000); /* replaced */
        task_timer_set(t, w, 9, now + 1000);
        task_timer_clear(t, w, 9);
        assert_int_equal(task_watch(t, w, w->pipe[0], EPOLLIN), 0);
    }
    return AFTER_IDLE;
}

static void waiter_timer(struct task *t, void *who, uint64_t id)
{
    struct waiter *w = who;
    assert_ptr_equal(t, &w->task);
    w->fired[w->count++] = id;
    if (w->count == 3) {
        gate_open(w->done);
    }
}

static void waiter_ready(struct task *t, void *who, int fd, uint32_t events)
{
    struct waiter *w = who;
    char byte;
    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(fd, &byte, 1), 1);
    task_watch(t, w, fd, 0);
    w->read = true;
    gate_open(w->done);
}

static void waiter_dead(struct task *t)
{
    gate_open(((struct waiter *)t)->dead);
}

static void timers_fire_in_order_and_descriptors_are_watched(void **state)
{
    (void)state;
    struct gate done = GATE_INIT, dead = GATE_INIT;
    struct executors *group = executors_new(2);
    struct waiter w = {.done = &done, .dead = &dead};
    assert_int_equal(pipe(w.pipe), 0);
    task_init(&w.task, executors_place(group));
    w.task.run = waiter_run;
    w.task.on_timer = waiter_timer;
    w.task.on_ready = waiter_ready;
    w.task.on_dead = waiter_dead;
    task_notify(&w.task);
    assert_int_equal(write(w.pipe[1], "x", 1), 1);
    gate_wait(&done, 2);
    task_halt(&w.task);
    gate_wait(&dead, 1);
    assert_int_equal(w.count, 3);
    assert_int_equal(w.fired[0], 1);
    assert_int_equal(w.fired[1], 2);
    assert_int_equal(w.fired[2], 3);
    assert_true(w.read);
    executors_free(group);
    close(w.pipe[0]);
    close(w.pipe[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_arrive_in_order_on_one_executor),
        cmocka_unit_test(items_arrive_in_order_with_stealing),
        cmocka_unit_test(items_arrive_in_order_through_private_executors),
        cmocka_unit_test(timers_fire_in_order_and_descriptors_are_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
