/* worker/crash.h - which PE's code ran when a signal ended the process.
 *
 *   a call of a PE begins: its thread notes whose -> SIGSEGV, SIGABRT ... on that thread: a handler
 *   writes one record to a file, and lets the signal go its way (core dump, sanitizer) -> the next
 *   process with that data folder reads it, and tells the master
 *
 * Owns:       the record's path, the handler; per thread: the call and a stack for the handler.
 * Threads:    crash_setup once, before the others; the rest: each for itself.
 * Invariants: S1 nothing is recorded but on the thread that was in the call, and for signals that
 * it raised itself: what others send (kill) is no PE's doing. C2 the handler calls what may be
 * called in one, takes no lock, allocates nothing. Not seen:   SIGKILL (out of memory), exit called
 * by a PE, a host that goes. See:        worker/watch.h (who sets the call),
 * tests/unit/worker/crash_test.c */
#ifndef OXB_WORKER_CRASH_H
#define OXB_WORKER_CRASH_H

#include "core/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_tuple { /* that a call was given alone; texts are borrowed while the call lasts */
    uint64_t instance;
    uint64_t sum; /* of stream and tuple; 0: none */
    const char *tuple, *stream;
    size_t tuple_bytes, stream_bytes;
};

struct crash { /* as read; texts end with 0 */
    uint64_t incarnation, instance, signal, sum;
    char call[16];
    char stream[2 * NAME_BYTES_MAX + 8];
    char tuple[CRASH_TUPLE_BYTES]; /* "": it is longer */
};

/* crash_setup - from now on crashes are recorded in `path`.  @incarnation: of this process. */
void crash_setup(const char *path, uint64_t incarnation);
/* crash_thread_begin, _end - a thread that runs PEs: a stack of its own for the handler, for a PE
 * that has used up the thread's. */
void crash_thread_begin(void);
void crash_thread_end(void);
/* crash_call - the code of `instance` is about to be called on this thread; 0: it has come back.
 * @call: literal. */
void crash_call(uint64_t instance, const char *call);
void crash_call_tuple(const struct crash_tuple *tuple); /* NULL: no longer */

/* crash_read - what the process before left.  Return: false when it left nothing. */
bool crash_read(const char *path, struct crash *out);

#endif
