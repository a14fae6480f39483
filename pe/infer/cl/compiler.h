/* pe/infer/cl/compiler.h - compiling kernels in a process of its own, for a stream that runs
 * beside.
 *
 * Why a process: a driver may hold a lock that every launch takes while it compiles.  PoCL 3.1
 * does: launches of a running model wait for seconds, whatever the priority of the thread that
 * compiles.  A process has its own locks, can be given a low priority for good, and takes nothing
 * with it when a compiler dies.
 *
 * How: the worker's own program is started with COMPILER_FLAG; it reads what to compile from its
 * standard input and stores the binary in the cache that both share (program.h).  Where there is no
 * such program (a test, a host that embeds the engine) the caller compiles by itself. */
#ifndef OXB_PE_INFER_CL_COMPILER_H
#define OXB_PE_INFER_CL_COMPILER_H

#include "pe/infer/cl/program.h"

#define COMPILER_FLAG "--compile-kernels"

/* How gently: at first only what nobody wants, then a tenth and a quarter of what a busy thread
 * gets, at last as much.  Counted from the beginning of a device's life, for all that it compiles:
 * a change has a deadline, and so has a deploy, and on a machine that is busy with other things the
 * gentle ways would never end.
 *
 * Why idle first: a thread that is only said to be nice runs its slice, some milliseconds, before
 * one of the stream that wakes up; an idle one gives way at once. */
struct compiler_stage {
    const char *name;
    uint32_t until_ms; /* of the device's life */
    bool idle;         /* SCHED_IDLE */
    int nice;          /* added to the caller's */
};
enum { COMPILER_STAGES = 4 };
extern const struct compiler_stage compiler_stages[COMPILER_STAGES];

/* compiler_run - compile `r` for `d` elsewhere and wait.  Return: is the binary in the cache now?
 * Thread: any.  Blocks: for seconds. */
bool compiler_run(const struct ocl_device *d, const struct ocl_program_request *r);

/* compiler_main - what the program does when started so.  Return: its exit status. */
int compiler_main(void);

#endif
