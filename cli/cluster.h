/* cli/cluster.h - a whole local cluster as child processes: one master, some workers.
 *
 * Owns:       the children, their pipes and the data folder (removed at the end when temporary).
 * Runs on:    one thread, which must outlive the children (they die with it).
 * Invariants: K1 no child outlives this process: each asks the kernel to kill it with its parent.
 *             K2 Ctrl-C reaches only this process: each child leads a process group of its own. */
#ifndef OXB_CLI_CLUSTER_H
#define OXB_CLI_CLUSTER_H

#include "core/err.h"
#include "core/limits.h"
#include "core/strbuf.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct cluster_options {
    const char *program; /* path of `oxbow`: its siblings are tried before $PATH */
    const char *http;    /* HOST:PORT of the master's HTTP; NULL: any free port */
    const char *data;    /* NULL: a temporary folder */
    unsigned workers;
    const volatile sig_atomic_t *interrupts; /* starting gives up when it is not 0 */
};

struct child {
    char name[NAME_BYTES_MAX + 1]; /* "master", "w1" */
    pid_t pid;                     /* 0: not started, or reaped */
    int status;                    /* as waitpid gave it; valid if ended */
    bool ready, ended;
    int out_fd;         /* its stdout; -1: closed */
    char *log_path;     /* its stderr */
    struct strbuf line; /* stdout not yet a whole line */
};

struct cluster {
    char *data;
    bool temporary;
    struct child *children; /* [0] the master, then the workers */
    unsigned child_count;
    char *control;        /* HOST:PORT of the master */
    char *url;            /* of the master's HTTP */
    struct strbuf output; /* whole lines of the workers' stdout, for the caller to take */
};

/* cluster_start - start everything and wait until all are ready.  On failure call cluster_logs for
 * the reasons; cluster_stop in every case. */
MUST_CHECK enum err cluster_start(struct cluster *c, const struct cluster_options *o,
                                  struct fail *f);
/* cluster_pump - wait up to timeout_ms for output, append it to c->output, reap what ended. */
void cluster_pump(struct cluster *c, int timeout_ms);
const struct child *cluster_dead(const struct cluster *c); /* the first that ended; NULL */
char *child_end_text(const struct child *child);           /* "was killed by signal 9"; owned */
/* cluster_logs - the last lines of the log of `child`, or (NULL) of every child.
 * @problems: leave out lines of level info and debug. */
void cluster_logs(const struct cluster *c, const struct child *child, bool problems, FILE *out);
/* cluster_stop - SIGTERM, and SIGKILL after grace_ms; the rest of the output is in c->output. */
void cluster_stop(struct cluster *c, unsigned grace_ms);
void cluster_fini(struct cluster *c); /* after cluster_stop: removes a temporary folder */

/* cluster_ready_value - the value of `key=` in a `ready ...` line; caller frees; NULL: none. */
char *cluster_ready_value(const char *line, const char *key);

#endif
