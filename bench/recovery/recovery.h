/* bench/recovery/recovery.h - one cluster with keyed state, and what its arrivals say.
 *
 *   source -> step -> keep (keyed state, alone on the second worker) -> sink
 *
 * The source loads the state first, then makes tuples that are due at a pace of their own; the
 * sink notes number, due time and arrival of each (bench/upgrade/pes.c). */
#ifndef OXB_BENCH_RECOVERY_H
#define OXB_BENCH_RECOVERY_H

#include "bench/cluster.h"
#include "bench/upgrade/upgrade.h"

#include <stdbool.h>
#include <stdint.h>

#define MS UINT64_C(1000000) /* in ns */

struct run {
    char dir[4200], yaml[4300], out[4300], series[4300], log[4300]; /* log: the master's */
    struct cluster cluster;
    uint64_t keys;   /* that are loaded; 1 % of them change, or all where there are few */
    double rate;     /* tuples per second; 0: as many as go through */
    uint64_t one_of; /* so many arrivals is noted */
};

struct latency { /* of what arrived in a window, ms */
    double p50, p99, max, per_second;
};

struct spent { /* processor time since the processes or the machine began, ns */
    double ours;   /* of master and workers */
    double anyone; /* of all cores that somebody had, other machines included */
};

/* ---- run.c */
/* runs_set_up - where the programs are, and folders for data.  @budget: of `checkpoint: {retain}`;
 * NULL: none is given. */
bool runs_set_up(const char *budget);
bool runs_remove(void);
void pause_ms(unsigned ms);
/* run_begin - cluster and topology, the state loaded.  @every: between checkpoints. */
bool run_begin(struct run *r, uint64_t mib, double rate, const char *every);
bool run_every(struct run *r, const char *every); /* changed while it runs */
bool run_checkpoint(struct run *r);               /* one now; waits until it is complete */
bool run_kill(struct run *r);                     /* the worker of `keep`, started again at once */
bool run_grows(const struct run *r); /* wait until a thousand more arrivals are noted */
/* run_caught_up - wait until tuples arrive no later than `late_ms`, for half a second. */
bool run_caught_up(const struct run *r, double late_ms);
struct spent run_spent(const struct run *r);
bool run_end(struct run *r, bool good); /* says where its logs are if not good */

/* ---- figures of a series */
struct latency latency_of(const struct series *s, uint64_t one_of, uint64_t from_ns,
                          uint64_t to_ns);
double late_ms(const struct arrival *a);
double median(double *v, unsigned n); /* sorts */

/* ---- floor.c */
struct floor {
    double seconds;
    double times; /* that an entry is in the files, on average */
};
/* floor_keep - the files that a restore would read now, for floor_run, which is for when the
 * cluster has ended. */
bool floor_keep(const struct run *r);
bool floor_run(const struct run *r, struct floor *out);

/* ---- steady.c */
#define ROUNDS_MAX 99u
/* steady - a row.  @rate: 0: unpaced, of throughput; else of latency at that pace. */
bool steady(uint64_t mib, double rate, unsigned rounds);
/* capacity - tuples per second that go through unpaced without checkpoints; 0: it failed. */
double capacity(uint64_t mib);

#endif
