/* core/prompt.c - a short time slice for the calling thread, by sched_setattr. */
#include "core/prompt.h"

#include <assert.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RESET_ON_FORK = 1 }; /* SCHED_FLAG_RESET_ON_FORK */

struct attributes { /* the first version of the kernel's struct sched_attr, which no libc has */
    uint32_t bytes;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns;
    uint64_t deadline;
    uint64_t period;
};
static_assert(sizeof(struct attributes) == 48, "as the kernel has it");

void prompt_thread(uint32_t slice_us)
{
    struct attributes a = {.bytes = sizeof a};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 || a.policy != SCHED_OTHER) {
        return; /* somebody has given it a policy of its own */
    }
    a.flags |= RESET_ON_FORK;
    a.slice_ns = (uint64_t)slice_us * 1000;
    (void)syscall(SYS_sched_setattr, 0, &a, 0); /* as it was, where this is not allowed */
}
