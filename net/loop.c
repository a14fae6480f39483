/* net/loop.c - one thread's event loop, the queue into it, its timers.
 *
 * Owns:       struct loop, struct timer.
 * Runs on:    the thread in loop_run; loop_post and loop_quit come from any thread.
 * Invariants: L1 posted functions run in the order of posting, never inside loop_post.
 *             L2 what was posted or closed before loop_quit still runs before loop_run returns.
 * Why:        libevent's own locking stays off: the queue is the one thing threads share, and its
 *             lock is a leaf.
 * See:        net/conn.h, tests/unit/net/conn_test.c */
#include "core/mem.h"
#include "net/internal.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

struct task {
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    struct event_base *base;
    struct event *wake;
    int wake_fd;
    struct loop_item items; /* head of a ring */
    /* who runs it */
    pthread_t thread; /* valid while running */
    atomic_bool running;
    /* under lock */
    pthread_mutex_t lock;
    struct task *tasks;
    size_t count;
    size_t capacity;
};

struct timer {
    struct loop *loop;
    struct event *event;
    void (*fn)(void *arg);
    void *arg;
};

static void run_tasks(int fd, short what, void *arg)
{
    (void)what;
    struct loop *l = arg;
    uint64_t wakes;
    if (read(fd, &wakes, sizeof wakes) < 0) {
        return; /* EAGAIN: woken for nothing */
    }
    pthread_mutex_lock(&l->lock);
    struct task *tasks = l->tasks;
    size_t count = l->count;
    l->tasks = NULL;
    l->count = l->capacity = 0;
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < count; i++) {
        tasks[i].fn(tasks[i].arg);
    }
    mem_free(tasks);
}

struct loop *loop_new(void)
{
    struct loop *l = mem_alloc(sizeof *l);
    l->items.prev = l->items.next = &l->items;
    pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    l->base = event_base_new();
    if (l->wake_fd >= 0 && l->base != NULL) {
        l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, run_tasks, l);
    }
    if (l->wake == NULL || event_add(l->wake, NULL) != 0) {
        loop_free(l);
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (l == NULL) {
        return;
    }
    assert(!atomic_load(&l->running));
    while (l->items.next != &l->items) {
        struct loop_item *item = l->items.next;
        loop_remove(item);
        item->drop(item);
    }
    if (l->wake != NULL) {
        event_free(l->wake);
    }
    if (l->base != NULL) {
        event_base_free(l->base);
    }
    if (l->wake_fd >= 0) {
        close(l->wake_fd);
    }
    pthread_mutex_destroy(&l->lock);
    mem_free(l->tasks);
    mem_free(l);
}

/* A write to a socket whose peer is gone raises SIGPIPE in the thread that writes.  An embedding
 * program's own handling must not change, so it is held back on this thread, for this time. */
static bool hold_sigpipe(void)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    return sigismember(&before, SIGPIPE) == 0;
}

static void release_sigpipe(void)
{
    const struct timespec now = {0};
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    while (sigtimedwait(&pipe, NULL, &now) == SIGPIPE) {
    }
    pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
}

void loop_run(struct loop *l)
{
    assert(!atomic_load(&l->running));
    bool held = hold_sigpipe();
    l->thread = pthread_self();
    atomic_store(&l->running, true);
    event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
    event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* L2 */
    atomic_store(&l->running, false);
    if (held) {
        release_sigpipe();
    }
}

static void quit_now(void *arg)
{
    struct loop *l = arg;
    event_base_loopbreak(l->base);
}

void loop_quit(struct loop *l)
{
    loop_post(l, quit_now, l);
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&l->lock);
    l->tasks = mem_grow(l->tasks, l->count, &l->capacity, sizeof *l->tasks);
    l->tasks[l->count++] = (struct task){.fn = fn, .arg = arg};
    if (l->count == 1 && write(l->wake_fd, &one, sizeof one) < 0) {
        /* the counter is full: the loop is awake anyway */
    }
    pthread_mutex_unlock(&l->lock);
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

void loop_assert(const struct loop *l)
{
    assert(!atomic_load(&l->running) || pthread_equal(l->thread, pthread_self()));
}

void loop_add(struct loop *l, struct loop_item *item)
{
    item->next = l->items.next;
    item->prev = &l->items;
    item->next->prev = item;
    item->prev->next = item;
}

void loop_remove(struct loop_item *item)
{
    item->next->prev = item->prev;
    item->prev->next = item->next;
    item->next = item->prev = item;
}

/* ---- timers ---- */
static void timer_fire(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct timer *t = arg;
    t->fn(t->arg); /* may free t */
}

struct timer *timer_new(struct loop *l, void (*fn)(void *arg), void *arg)
{
    loop_assert(l);
    struct timer *t = mem_alloc(sizeof *t);
    *t = (struct timer){.loop = l, .fn = fn, .arg = arg};
    t->event = event_new(l->base, -1, 0, timer_fire, t);
    assert(t->event != NULL);
    return t;
}

void timer_set(struct timer *t, uint64_t after_ms, bool repeat)
{
    loop_assert(t->loop);
    const struct timeval after = {.tv_sec = (time_t)(after_ms / 1000),
                                  .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    event_del(t->event);
    event_assign(t->event, t->loop->base, -1, repeat ? EV_PERSIST : 0, timer_fire, t);
    event_add(t->event, &after);
}

void timer_stop(struct timer *t)
{
    loop_assert(t->loop);
    event_del(t->event);
}

void timer_free(struct timer *t)
{
    if (t != NULL) {
        loop_assert(t->loop);
        event_free(t->event);
        mem_free(t);
    }
}
