/* bench/cluster.h - a master and some workers as real processes, for a measurement. */
#ifndef OXB_BENCH_CLUSTER_H
#define OXB_BENCH_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

#define CLUSTER_WORKERS_MAX 4u

struct cluster {
    pid_t master;
    pid_t worker[CLUSTER_WORKERS_MAX];
    unsigned workers;
    char url[160]; /* of the master, for --master */
    char control[128]; /* where workers join it */
};

/* cluster_start - programs of folder `bin`, data and logs below `dir` (exists).  Worker n carries
 * the label side=a, side=b, ...  Return: false when one of them did not get ready; call
 * cluster_stop all the same. */
bool cluster_start(struct cluster *c, const char *bin, const char *dir, unsigned workers);
/* cluster_kill - worker n dies at once (SIGKILL) and is started again.  False: not ready. */
bool cluster_kill(struct cluster *c, const char *bin, const char *dir, unsigned n);
void cluster_stop(struct cluster *c);

#endif
