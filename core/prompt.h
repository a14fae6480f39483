/* core/prompt.h - a thread that others wait for asks the scheduler for short, early turns.
 *
 * Why: with more runnable threads than cores a thread that wakes waits for the time slice of one
 *      that runs: some three milliseconds.  Who does little at a time and is waited for asks for a
 *      short slice instead, which the scheduler honours by an earlier turn, not by more time.
 *      No privilege is needed.  Kernels that do not know it (before Linux 6.12) change nothing. */
#ifndef OXB_CORE_PROMPT_H
#define OXB_CORE_PROMPT_H

#include <stdint.h>

/* prompt_thread - the calling thread; those that it starts afterwards are as they would be
 * without.  @slice_us: 100..100000. */
void prompt_thread(uint32_t slice_us);

#endif
