/* worker/key_timers.h - when the timers of a PE's keys are due.
 *
 * Owns:       one timer of the chain's task per member that has such timers, for the first of them;
 *             `key_timer_us` of an instance says for when it is set, and is its name.
 * Threads:    the chain's.
 * Invariants: V1 they are called between two batches, and not while the instance is held, keeps
 *             input, waits for its state or has ended: what its keys have waited for comes first.
 * See:        pe/state_timers.c. */
#ifndef OXB_WORKER_KEY_TIMERS_H
#define OXB_WORKER_KEY_TIMERS_H

struct chain;
struct instance;

/* key_timers_arm - at the end of a turn: by what the keys of the members say now. */
void key_timers_arm(struct chain *c);
/* key_timers_leave - the member goes to another chain, or for good. */
void key_timers_leave(struct chain *c, struct instance *i);
/* key_timers_of - whose the task's timer `who` is; NULL: no timer of keys. */
struct instance *key_timers_of(struct chain *c, const void *who);
/* key_timers_run - it has come: those of the keys that are due are called, a number at a time.
 * Return: as of the PE's callbacks. */
int key_timers_run(struct chain *c, struct instance *i);

#endif
