/* worker/task.c - executors and the states of tasks. */
#include "worker/task.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/prompt.h"
#include "worker/crash.h"
#include "worker/timers.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct watch {
    struct watch *next;
    struct task *task;
    void *who;
    int fd;
    uint32_t events;
    bool off;  /* not in the epoll set while its task is held */
    bool gone; /* freed after the current round of events */
};

/* Where a sleeping executor waits.  Without descriptors to watch a futex does, which wakes a
 * microsecond sooner than epoll with an eventfd to read. */
enum parked { AWAKE, IN_EPOLL, IN_FUTEX };

struct executor {
    /* fixed */
    struct executors *group; /* NULL: private */
    pthread_t thread;
    int epoll_fd, event_fd;
    /* any thread */
    _Alignas(64) pthread_mutex_t lock; /* leaf: queue */
    struct task *queue_first, *queue_last;
    _Atomic unsigned queue_length;
    _Atomic unsigned stealable; /* tasks in the queue that others may take */
    _Atomic uint32_t parked; /* enum parked; also the futex word */
    _Atomic bool quit;
    _Atomic uint64_t turns; /* of its main loop */
    /* own thread */
    _Alignas(64) struct timers timers;
    uint64_t timers_us; /* of the latest round of timers; none is set to before its end */
    struct watch *watches;
    bool in_events;
};

struct executors {
    unsigned count;
    _Atomic unsigned next; /* of executors_place */
    struct executor *items[EXECUTORS_MAX];
};

static _Thread_local struct executor *current; /* tidy: which executor this thread is */

static void *executor_main(void *arg);

/* ---------------------------------------------------------------- making and ending */

static struct executor *executor_new(struct executors *group)
{
    struct executor *e = aligned_alloc(64, (sizeof *e + 63) / 64 * 64);
    if (e == NULL) {
        abort();
    }
    *e = (struct executor){.group = group};
    pthread_mutex_init(&e->lock, NULL);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (e->epoll_fd < 0 || e->event_fd < 0 ||
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->event_fd, &ev) != 0) {
        abort(); /* out of descriptors at start-up: nothing sensible is left to do */
    }
    return e;
}

static void executor_start(struct executor *e)
{
    if (pthread_create(&e->thread, NULL, executor_main, e) != 0) {
        abort();
    }
}

static void executor_wake(struct executor *e)
{
    switch (atomic_exchange(&e->parked, AWAKE)) {
    case IN_FUTEX:
        syscall(SYS_futex, &e->parked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        break;
    case IN_EPOLL: {
        uint64_t one = 1;
        if (write(e->event_fd, &one, sizeof one) < 0) {
            return; /* the counter is full: it will wake all the same */
        }
        break;
    }
    default:
        break;
    }
}

/* Wake an executor for good: it looks at `quit` before it sleeps again. */
static void executor_wake_to_quit(struct executor *e)
{
    atomic_store(&e->quit, true);
    uint64_t one = 1;
    atomic_exchange(&e->parked, AWAKE);
    syscall(SYS_futex, &e->parked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (write(e->event_fd, &one, sizeof one) < 0) {
        return;
    }
}

static void executor_join(struct executor *e)
{
    executor_wake_to_quit(e);
    pthread_join(e->thread, NULL);
    while (e->watches != NULL) {
        struct watch *w = e->watches;
        e->watches = w->next;
        mem_free(w);
    }
    timers_fini(&e->timers);
    close(e->epoll_fd);
    close(e->event_fd);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

struct executors *executors_new(unsigned count)
{
    assert(count >= 1 && count <= EXECUTORS_MAX);
    struct executors *group = mem_alloc(sizeof *group);
    group->count = count;
    for (unsigned i = 0; i < count; i++) {
        group->items[i] = executor_new(group);
    }
    for (unsigned i = 0; i < count; i++) {
        executor_start(group->items[i]);
    }
    return group;
}

void executors_free(struct executors *group)
{
    if (group == NULL) {
        return;
    }
    /* All must have stopped stealing before any is freed. */
    for (unsigned i = 0; i < group->count; i++) {
        executor_wake_to_quit(group->items[i]);
    }
    for (unsigned i = 0; i < group->count; i++) {
        pthread_join(group->items[i]->thread, NULL);
    }
    for (unsigned i = 0; i < group->count; i++) {
        struct executor *e = group->items[i];
        timers_fini(&e->timers);
        close(e->epoll_fd);
        close(e->event_fd);
        pthread_mutex_destroy(&e->lock);
        free(e);
    }
    mem_free(group);
}

unsigned executors_count(const struct executors *group)
{
    return group->count;
}

struct executor *executors_place(struct executors *group)
{
    return group->items[atomic_fetch_add(&group->next, 1) % group->count];
}

struct executor *executor_new_private(void)
{
    struct executor *e = executor_new(NULL);
    executor_start(e);
    return e;
}

void executor_free_private(struct executor *e)
{
    if (e != NULL) {
        executor_join(e);
    }
}

struct executor *executor_current(void)
{
    return current;
}

static void ask(struct grace *g, struct executor *e)
{
    g->asked[g->count] = e;
    g->turns[g->count++] = atomic_load(&e->turns);
}

void grace_begin(struct grace *g, const struct executors *shared, struct executor *const *extra,
                 unsigned extra_count)
{
    g->count = 0;
    for (unsigned i = 0; i < shared->count; i++) {
        ask(g, shared->items[i]);
    }
    for (unsigned i = 0; i < extra_count && g->count < EXECUTORS_MAX; i++) {
        ask(g, extra[i]);
    }
}

bool grace_over(const struct grace *g)
{
    for (unsigned i = 0; i < g->count; i++) {
        struct executor *e = g->asked[i];
        if (atomic_load(&e->parked) == AWAKE && atomic_load(&e->turns) == g->turns[i]) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- notifying */

void task_init(struct task *t, struct executor *home)
{
    atomic_init(&t->state, TASK_IDLE);
    atomic_init(&t->halt, false);
    atomic_init(&t->home, home);
    atomic_init(&t->pinned, home->group == NULL);
    t->next = NULL;
}

static void wake_a_thief(const struct executors *group, const struct executor *loaded)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct executor *e = group->items[i];
        if (e != loaded && atomic_load(&e->parked) != AWAKE) {
            executor_wake(e);
            return;
        }
    }
}

static void enqueue(struct task *t)
{
    struct executor *to = atomic_load(&t->home);
    bool pinned = atomic_load(&t->pinned);
    if (!pinned && current != NULL && current->group == to->group && atomic_load(&to->parked)) {
        to = current; /* a neighbour that is awake is nearer than a sleeping home */
    }
    pthread_mutex_lock(&to->lock);
    t->next = NULL;
    if (to->queue_last != NULL) {
        to->queue_last->next = t;
    } else {
        to->queue_first = t;
    }
    to->queue_last = t;
    unsigned length = atomic_load_explicit(&to->queue_length, memory_order_relaxed) + 1;
    atomic_store(&to->queue_length, length);
    t->stealable = !pinned;
    if (!pinned) {
        atomic_fetch_add(&to->stealable, 1);
    }
    pthread_mutex_unlock(&to->lock);
    if (atomic_load(&to->parked)) {
        executor_wake(to);
    } else if (length > 1 && atomic_load(&to->stealable) > 0) {
        wake_a_thief(to->group, to);
    }
}

void task_notify(struct task *t)
{
    unsigned s = atomic_load(&t->state);
    for (;;) {
        if (s == TASK_IDLE) {
            if (atomic_compare_exchange_weak(&t->state, &s, TASK_QUEUED)) {
                enqueue(t);
                return;
            }
        } else if (s == TASK_RUNNING) {
            if (atomic_compare_exchange_weak(&t->state, &s, TASK_RUNNING_AGAIN)) {
                return;
            }
        } else {
            return;
        }
    }
}

void task_notify_soon(struct task *t)
{
    task_notify(t);
    const struct executor *home = atomic_load(&t->home);
    if (home->group != NULL && atomic_load(&t->state) == TASK_QUEUED) {
        wake_a_thief(home->group, home);
    }
}

void task_halt(struct task *t)
{
    atomic_store(&t->halt, true);
    task_notify(t);
}

/* ---------------------------------------------------------------- running */

static struct task *queue_take(struct executor *e, bool stealing)
{
    if (atomic_load(stealing ? &e->stealable : &e->queue_length) == 0) {
        return NULL;
    }
    pthread_mutex_lock(&e->lock);
    struct task *before = NULL;
    struct task *t = e->queue_first;
    while (t != NULL && stealing && !t->stealable) {
        before = t;
        t = t->next;
    }
    if (t != NULL) {
        if (before != NULL) {
            before->next = t->next;
        } else {
            e->queue_first = t->next;
        }
        if (e->queue_last == t) {
            e->queue_last = before;
        }
        unsigned length = atomic_load_explicit(&e->queue_length, memory_order_relaxed);
        atomic_store(&e->queue_length, length - 1);
        if (t->stealable) {
            atomic_fetch_sub(&e->stealable, 1);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return t;
}

static struct task *find_task(struct executor *e)
{
    struct task *t = queue_take(e, false);
    for (unsigned i = 0; t == NULL && e->group != NULL && i < e->group->count; i++) {
        if (e->group->items[i] != e) {
            t = queue_take(e->group->items[i], true);
        }
    }
    return t;
}

static void run_task(struct executor *e, struct task *t)
{
    atomic_store(&t->home, e);
    atomic_store(&t->state, TASK_RUNNING);
    enum task_after after = t->run(t);
    if (after == AFTER_DEAD) {
        atomic_store(&t->state, TASK_DEAD);
        t->on_dead(t);
        return;
    }
    unsigned expected = TASK_RUNNING;
    if (after == AFTER_IDLE &&
        atomic_compare_exchange_strong(&t->state, &expected, TASK_IDLE)) {
        return;
    }
    atomic_store(&t->state, TASK_QUEUED);
    enqueue(t);
}

/* Those due now, each once: what is set to the past meanwhile is due behind them. */
static bool run_timers(struct executor *e)
{
    if (e->timers.count == 0) {
        return false;
    }
    bool any = false;
    uint64_t now = clock_now_us();
    struct timer_entry due;
    e->timers_us = now;
    while (timers_due(&e->timers, now, &due)) {
        if (due.task->held) {
            timers_hold(&e->timers, &due);
        } else {
            due.task->on_timer(due.task, due.who, due.id);
            any = true;
        }
    }
    return any;
}

static void sweep_watches(struct executor *e)
{
    struct watch **at = &e->watches;
    while (*at != NULL) {
        struct watch *w = *at;
        if (w->gone) {
            *at = w->next;
            mem_free(w);
        } else {
            at = &w->next;
        }
    }
}

/* Wait for descriptors, timers or a wake-up, at most `timeout_us` (negative: for ever). */
static bool poll_events(struct executor *e, int64_t timeout_us)
{
    struct epoll_event events[32];
    struct timespec t = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    int n = epoll_pwait2(e->epoll_fd, events, 32, timeout_us < 0 ? NULL : &t, NULL);
    if (n < 0 && errno == ENOSYS) { /* before Linux 5.11: to the millisecond */
        int64_t ms = timeout_us < 0 ? -1 : (timeout_us + 999) / 1000;
        n = epoll_wait(e->epoll_fd, events, 32, ms < INT_MAX ? (int)ms : INT_MAX);
    }
    bool any = false;
    atomic_store(&e->parked, AWAKE); /* before any callback: a grace period counts on it */
    e->in_events = true;
    for (int i = 0; i < n; i++) {
        struct watch *w = events[i].data.ptr;
        if (w == NULL) {
            uint64_t drained;
            if (read(e->event_fd, &drained, sizeof drained) < 0) {
                continue;
            }
        } else if (w->task->held && !w->gone) {
            epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
            w->off = true;
        } else if (!w->gone) {
            w->task->on_ready(w->task, w->who, w->fd, events[i].events);
            any = true;
        }
    }
    e->in_events = false;
    sweep_watches(e);
    return any;
}

static inline void relax(void) /* tell the core that this is a spin */
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool spin_for_work(struct executor *e)
{
    uint64_t until = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(&e->queue_length, memory_order_relaxed) > 0) {
                return true;
            }
            relax();
        }
    } while (clock_now_ns() < until);
    return false;
}

static bool others_have_work(const struct executor *e)
{
    for (unsigned i = 0; e->group != NULL && i < e->group->count; i++) {
        const struct executor *o = e->group->items[i];
        if (o != e && atomic_load(&o->queue_length) > 1 && atomic_load(&o->stealable) > 0) {
            return true;
        }
    }
    return false;
}

/* Sleep until woken or `until_us` (0: for ever) on the monotonic clock. */
static void futex_sleep(struct executor *e, uint64_t until_us)
{
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000 * 1000)};
    syscall(SYS_futex, &e->parked, FUTEX_WAIT_BITSET_PRIVATE, IN_FUTEX,
            until_us != 0 ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void park(struct executor *e)
{
    bool watches = e->watches != NULL;
    atomic_store(&e->parked, watches ? IN_EPOLL : IN_FUTEX);
    if (atomic_load(&e->queue_length) > 0 || others_have_work(e) || atomic_load(&e->quit)) {
        atomic_store(&e->parked, AWAKE);
        return;
    }
    uint64_t until_us = timers_next_us(&e->timers);
    if (!watches) {
        futex_sleep(e, until_us);
    } else if (until_us == 0) {
        poll_events(e, -1);
    } else {
        uint64_t now = clock_now_us();
        poll_events(e, until_us > now ? (int64_t)(until_us - now) : 0);
    }
    atomic_store(&e->parked, AWAKE);
}

static void *executor_main(void *arg)
{
    struct executor *e = arg;
    current = e;
    pthread_setname_np(pthread_self(), e->group != NULL ? "oxb-executor" : "oxb-private");
    crash_thread_begin();
    prompt_thread(PROMPT_EXECUTOR_US);
    unsigned since_poll = 0;
    while (!atomic_load_explicit(&e->quit, memory_order_relaxed)) {
        /* One writer, so no locked add; the queue's lock orders it before the next task. */
        atomic_store_explicit(&e->turns, atomic_load_explicit(&e->turns, memory_order_relaxed) + 1,
                              memory_order_release);
        struct task *t = find_task(e);
        if (t != NULL) {
            run_task(e, t);
            if (++since_poll >= 32) {
                since_poll = 0;
                if (e->watches != NULL) {
                    poll_events(e, 0);
                }
            }
            run_timers(e);
            continue;
        }
        since_poll = 0;
        if (!run_timers(e) && !spin_for_work(e)) {
            park(e);
        }
    }
    crash_thread_end();
    return NULL;
}

/* ---------------------------------------------------------------- timers and watches */

static struct executor *own_executor(struct task *t)
{
    struct executor *e = atomic_load(&t->home);
    assert(current == e && "timers and watches are set from the task's own callbacks");
    atomic_store(&t->pinned, true);
    return e;
}

void task_timer_clear(struct task *t, void *who, uint64_t id)
{
    timers_clear(&own_executor(t)->timers, t, who, id);
}

void task_timer_set(struct task *t, void *who, uint64_t id, uint64_t due_us)
{
    struct executor *e = own_executor(t);
    timers_set(&e->timers, t, who, id, due_us > e->timers_us ? due_us : e->timers_us + 1);
}

int task_watch(struct task *t, void *who, int fd, uint32_t events)
{
    struct executor *e = own_executor(t);
    struct watch *w = e->watches;
    while (w != NULL && (w->gone || w->task != t || w->fd != fd)) {
        w = w->next;
    }
    if (events == 0) {
        if (w != NULL) {
            epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            w->gone = true;
            if (!e->in_events) {
                sweep_watches(e);
            }
        }
        return 0;
    }
    bool known = w != NULL;
    if (!known) {
        w = mem_alloc(sizeof *w);
        *w = (struct watch){.next = e->watches, .task = t, .who = who, .fd = fd};
        e->watches = w;
    }
    w->events = events;
    if (w->off) {
        return 0; /* task_release adds it */
    }
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int failed = epoll_ctl(e->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
    if (failed != 0 && known && errno == ENOENT) { /* closed meanwhile, and the number used anew */
        failed = epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
    }
    int error = errno;
    if (failed != 0 && !known) {
        w->gone = true;
    }
    return failed != 0 ? -error : 0;
}

void task_hold(struct task *t)
{
    t->held = true;
}

void task_release(struct task *t)
{
    if (!t->held) {
        return;
    }
    t->held = false;
    struct executor *e = atomic_load(&t->home);
    timers_release(&e->timers, t);
    for (struct watch *w = e->watches; w != NULL; w = w->next) {
        if (w->task == t && w->off && !w->gone) {
            struct epoll_event ev = {.events = w->events, .data.ptr = w};
            w->off = false;
            (void)epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev); /* fails for a closed one */
        }
    }
}

struct task_arm *task_disarm(struct task *t, void *who, size_t *count)
{
    struct task_arm *arms = NULL;
    size_t capacity = 0;
    *count = 0;
    struct executor *e = atomic_load(&t->home);
    size_t at = e->timers.count;
    for (struct timer_entry timer; timers_take(&e->timers, t, who, &at, &timer);) {
        uint64_t due_us = timer.held_due_us != 0 ? timer.held_due_us : timer.due_us;
        arms = mem_grow(arms, *count, &capacity, sizeof *arms);
        arms[(*count)++] = (struct task_arm){timer.id, due_us, -1, 0};
    }
    for (struct watch *w = e->watches; w != NULL; w = w->next) {
        if (w->task == t && w->who == who && !w->gone) {
            arms = mem_grow(arms, *count, &capacity, sizeof *arms);
            arms[(*count)++] = (struct task_arm){0, 0, w->fd, w->events};
            epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
            w->gone = true;
        }
    }
    if (!e->in_events) {
        sweep_watches(e);
    }
    return arms;
}

void task_rearm(struct task *t, void *who, const struct task_arm *arms, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (arms[i].fd < 0) {
            task_timer_set(t, who, arms[i].id, arms[i].due_us);
        } else {
            task_watch(t, who, arms[i].fd, arms[i].events);
        }
    }
}

void task_forget(struct task *t)
{
    struct executor *e = own_executor(t);
    size_t at = e->timers.count;
    for (struct timer_entry timer; timers_take(&e->timers, t, NULL, &at, &timer);) {
    }
    for (struct watch *w = e->watches; w != NULL; w = w->next) {
        if (w->task == t && !w->gone) {
            epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
            w->gone = true;
        }
    }
    if (!e->in_events) {
        sweep_watches(e);
    }
}
