/* worker/task.h - executors: threads that run tasks, sleep when there is nothing to do, and steal.
 *
 * Owns:       struct task (a unit of scheduling: one fused chain), struct executor (one
 *             thread with its queue, timers and watched descriptors), struct executors (the shared
 *             ones of a worker).
 * Threads:    task_notify and task_halt: any.  Timers and watches: the task's own executor, inside
 *             one of its callbacks.
 * Invariants: X1 a task is in at most one queue, and run by at most one thread at a time.
 *             X2 a task that was notified after it last looked for work runs again: state goes
 *                IDLE -> QUEUED -> RUNNING -> (IDLE | QUEUED), and a notification while RUNNING
 *                leaves RUNNING_AGAIN behind.
 *             X3 no executor spins longer than SPIN_NS without work.
 *             X4 a pinned task runs on its home executor only; timers and watches pin it.
 * Why:        a wake-up of another core costs some 22 us, so a task notified by an executor stays
 *             on it while its home sleeps, and is taken over by another only when a queue is longer
 *             than one. */
#ifndef OXB_WORKER_TASK_H
#define OXB_WORKER_TASK_H

#include "core/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct executor;
struct executors;

enum task_state { TASK_IDLE, TASK_QUEUED, TASK_RUNNING, TASK_RUNNING_AGAIN, TASK_DEAD };
enum task_after {
    AFTER_IDLE,  /* nothing to do until notified */
    AFTER_AGAIN, /* more to do: run again after the others */
    AFTER_DEAD,  /* never again; on_dead is called */
};

struct task {
    _Atomic unsigned state;           /* enum task_state */
    _Atomic bool halt;                /* asked to end: run() must return AFTER_DEAD */
    _Atomic bool pinned;              /* X4; set by the task's own executor, while it runs there */
    bool held;                        /* see task_hold; its own executor's */
    _Atomic(struct executor *) home;  /* where it ran last */
    struct task *next;                /* in a queue */
    bool stealable;                   /* in a queue, and counted there as one others may take */
    enum task_after (*run)(struct task *t);
    /* Only on its own executor, between two runs, and never while it is held. */
    void (*on_timer)(struct task *t, void *who, uint64_t id);
    void (*on_ready)(struct task *t, void *who, int fd, uint32_t events);
    void (*on_dead)(struct task *t);  /* on the executor's thread, last call */
};

struct executors *executors_new(unsigned count);
void executors_free(struct executors *e); /* every task must be dead */
unsigned executors_count(const struct executors *e);
/* executors_place - a first home for a task: the shared executors in turn. */
struct executor *executors_place(struct executors *e);

/* A private executor, for a task whose callbacks may block. */
struct executor *executor_new_private(void);
void executor_free_private(struct executor *e); /* joins; the task must be dead */

/* Grace: has every executor come to rest, or begun another turn, since the stamp?  Then no
 * thread still holds a pointer to something that was unreachable at the stamp.
 * @extra: private executors to be asked too. */
struct grace {
    uint64_t turns[EXECUTORS_MAX];
    struct executor *asked[EXECUTORS_MAX];
    unsigned count;
};
void grace_begin(struct grace *g, const struct executors *shared, struct executor *const *extra,
                 unsigned extra_count);
bool grace_over(const struct grace *g);

void task_init(struct task *t, struct executor *home);
void task_notify(struct task *t);
/* task_notify_soon - likewise, and if its executor is at another task, one that sleeps takes it. */
void task_notify_soon(struct task *t);
void task_halt(struct task *t);
struct executor *executor_current(void); /* NULL off executors */

/* Timers: one per (who, id), replaced when set again.  `due_us` on the monotonic clock. */
void task_timer_set(struct task *t, void *who, uint64_t id, uint64_t due_us);
void task_timer_clear(struct task *t, void *who, uint64_t id);
/* task_watch - epoll events of `fd` for `who`; 0 stops.  Return: 0 or -errno. */
int task_watch(struct task *t, void *who, int fd, uint32_t events);
/* task_disarm - take `who`'s timers and watches off its task; task_rearm - put them on another's.
 * Each inside a callback of the task concerned.  The list: caller frees. */
struct task_arm {
    uint64_t id, due_us; /* a timer, if fd < 0 */
    int fd;
    uint32_t events;
};
struct task_arm *task_disarm(struct task *t, void *who, size_t *count);
void task_rearm(struct task *t, void *who, const struct task_arm *arms, size_t count);
/* task_hold - from now on neither timers nor descriptors call the task, which is run only when
 * notified; task_release: what came due meanwhile comes now.  For a task with blocked output. */
void task_hold(struct task *t);
void task_release(struct task *t);
/* task_forget - drop all timers and watches of the task; before it dies. */
void task_forget(struct task *t);

#endif
