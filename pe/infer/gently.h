/* pe/infer/gently.h - work that must not be felt by the stream: on a thread of low priority.
 *
 * Compiling kernels takes seconds of a processor, and on a machine whose processors are all busy
 * it takes them from the stream.  A thread at GENTLY_NICE gets a tenth of what a busy thread of the
 * stream gets, and all that is idle.  Not SCHED_IDLE: under full load that would never end.
 * The thread is new each time, since a process without privileges cannot raise a priority again. */
#ifndef OXB_PE_INFER_GENTLY_H
#define OXB_PE_INFER_GENTLY_H

#include "core/err.h"

#define GENTLY_NICE 10
/* After so long a device's compiling goes on in earnest: a change has a deadline, and so has a
 * deploy (30 s). */
#define GENTLY_MS 15000

typedef enum err (*gently_fn)(void *arg, struct fail *f);

/* gently_run - call `fn` on such a thread and wait for it; in this thread where there is none to be
 * had.  Return: what it returned.  Thread: any.  Blocks: as long as `fn` takes, or longer. */
MUST_CHECK enum err gently_run(gently_fn fn, void *arg, struct fail *f);

#endif
