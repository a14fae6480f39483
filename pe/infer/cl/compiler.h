/* pe/infer/cl/compiler.h - compiling kernels in a process of its own, for a stream that runs
 * beside.
 *
 * Why a process: a driver may hold a lock that every launch takes while it compiles.  PoCL 3.1
 * does: launches of a running model wait for seconds, whatever the priority of the thread that
 * compiles.  A process has its own locks, can be given a low priority for good, and takes nothing
 * with it when a compiler dies. How:        the worker's own program is started with COMPILER_FLAG;
 * it reads what to compile from its standard input and stores the binary in the cache that both
 * share (program.h). Where there is no such program (a test, a host that embeds the engine) the
 * caller compiles by itself. */
#ifndef OXB_PE_INFER_CL_COMPILER_H
#define OXB_PE_INFER_CL_COMPILER_H

#include "pe/infer/cl/program.h"

#define COMPILER_FLAG "--compile-kernels"
#define COMPILER_NICE                                                                              \
    10 /* a tenth of what a busy thread of the stream gets, and all that is idle */
/* After so long of a device's life what it compiles goes on at the caller's priority: a change has
 * a deadline, and so has a deploy (30 s), and on a machine that is busy with other things the low
 * priority would never end. */
#define COMPILER_NICE_MS 10000

/* compiler_run - compile `r` for `d` elsewhere and wait.  Return: is the binary in the cache now?
 * Thread: any.  Blocks: for seconds. */
bool compiler_run(const struct ocl_device *d, const struct ocl_program_request *r);

/* compiler_main - what the program does when started so.  Return: its exit status. */
int compiler_main(void);

#endif
