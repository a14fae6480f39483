/* tests/sim/live_os.h - what stands in for threads, links, loop and clock under the live simulator.
 *
 * Owns:       every task that is due, every channel between two workers, every posted function, the
 *             clock.  One of each in the process; live_os_reset empties them.
 * Why:        worker/{part,build,change,cut,instance,channel,route,align}.c run as they are; the
 *             executors (worker/task.h), the peer links (worker/link.h), loop_post, helper threads
 *             and the clock they stand on are replaced at link time by steps that a seed orders. */
#ifndef OXB_TESTS_SIM_LIVE_OS_H
#define OXB_TESTS_SIM_LIVE_OS_H

#include "core/prng.h"
#include "worker/link.h"

void live_os_reset(uint64_t seed);
bool live_task_step(struct prng *r);  /* run one task that is due; false: none is */
bool live_link_step(struct prng *r);  /* move one item to the other worker */
bool live_post_step(void);            /* run the oldest posted function */
bool live_timer_step(void);           /* nothing else happens: the next timer */
struct links *live_links(uint32_t worker); /* of the worker called w0, w1 ... */
/* live_say_step - deliver the oldest message that a worker said over a link. */
bool live_say_step(void (*deliver)(uint32_t worker, struct msg *m));
size_t live_tasks_due(void);
const struct task *live_running(void); /* the task whose callback this is; NULL: none */

#endif
