/* worker/timers.h - the timers of one executor: a heap by due time, and every timer found by name.
 *
 * Owns:       struct timers.
 * Threads:    the executor's; pure: no clock.
 * Invariants: T1 at most one timer per (task, who, id).
 *             T2 index[] is a table by name whose entries and the heap's point at each other.
 * Why:        a PE may keep a timer per key: setting one of ten thousand must not look at all. */
#ifndef OXB_WORKER_TIMERS_H
#define OXB_WORKER_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct task;

struct timer_entry {
    uint64_t due_us;   /* UINT64_MAX: held back, see timers_hold */
    uint64_t held_due_us;
    uint64_t id;
    struct task *task;
    void *who;
    size_t slot;       /* in the index */
};

struct timers {
    struct timer_entry *heap; /* binary, by due_us */
    size_t count, capacity;
    size_t *index;            /* [slots]; position in the heap + 1, 0: empty */
    size_t slots;             /* 0 or a power of two, at least twice `count` */
};

void timers_fini(struct timers *t); /* accepts a zeroed struct */
void timers_set(struct timers *t, struct task *task, void *who, uint64_t id, uint64_t due_us);
void timers_clear(struct timers *t, const struct task *task, const void *who, uint64_t id);
/* timers_due - take out the first timer that is due.  Return: false when there is none. */
bool timers_due(struct timers *t, uint64_t now_us, struct timer_entry *out);
/* timers_next_us - when the first is due; 0: there is none. */
uint64_t timers_next_us(const struct timers *t);
/* timers_hold - put a timer that was due back, not to come again before timers_release. */
void timers_hold(struct timers *t, const struct timer_entry *due);
void timers_release(struct timers *t, const struct task *task);
/* timers_take - take out some timer of the task, of `who` if not NULL; false: there is none left.
 * @at: start with `count`, keep between calls; no other change in between. */
bool timers_take(struct timers *t, const struct task *task, const void *who, size_t *at,
                 struct timer_entry *out);

#endif
