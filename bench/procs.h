/* bench/procs.h - starting programs, waiting for them, and reading what they say. */
#ifndef OXB_BENCH_PROCS_H
#define OXB_BENCH_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* proc_start - run argv[0] with stdout and stderr to the file `log`.  Return: pid, -1: failed. */
pid_t proc_start(const char *const argv[], const char *log);
/* proc_wait - at most `seconds`, then SIGKILL.  Return: status; 128 + signal; -1: timed out. */
int proc_wait(pid_t pid, unsigned seconds);
void proc_end(pid_t pid); /* SIGTERM, two seconds, SIGKILL; accepts -1 */
/* proc_said - wait up to `seconds` for a line in `log` that begins with "ready"; the text between
 * `key` and the next blank goes to out. */
bool proc_said(const char *log, const char *key, char *out, size_t bytes, unsigned seconds);
/* proc_cpu_ns - processor time that a process has had, all its threads; 0: it is not there. */
double proc_cpu_ns(pid_t pid);
/* cores_busy_ns - of all cores together, since the machine started: what somebody had, this machine
 * or another one on the same hardware (steal); in steps of 10 ms.  0: not known. */
double cores_busy_ns(void);
/* log_tail - the last line of a log that is not empty, for a message. */
void log_tail(const char *log, char *out, size_t bytes);

#endif
