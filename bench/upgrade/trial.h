/* bench/upgrade/trial.h - a running topology to be changed: what trial.c and repeat.c share. */
#ifndef OXB_BENCH_TRIAL_H
#define OXB_BENCH_TRIAL_H

#include "bench/cluster.h"
#include "bench/upgrade/upgrade.h"

#define PATH_BYTES 4500u

struct trial {
    const struct scenario *sc;
    enum strategy how;
    const char *bin, *dir;
    struct cluster cluster;
    char yaml[PATH_BYTES], out[PATH_BYTES], main[PATH_BYTES], side[PATH_BYTES], far[PATH_BYTES];
    uint64_t zero_ns; /* when tuple 0 was due, for a source that is started again */
    uint64_t first;
    uint64_t preload;
};

/* trial_open - makes folder `dir`, starts a cluster there, deploys the scenario's topology, waits
 * until tuples arrive.  Return: false: o->why; trial_close all the same. */
bool trial_open(struct trial *t, const struct scenario *sc, enum strategy how, const char *bin,
                const char *dir, struct outcome *o);
void trial_close(struct trial *t);
/* trial_write - the topology as a file, before the change or after it (`next`). */
bool trial_write(const struct trial *t, bool next);
/* trial_command - what a user would type: oxbow VERB WHAT [MORE].  Return: false: o->why. */
bool trial_command(struct trial *t, struct outcome *o, const char *verb, const char *what,
                   const char *more);
/* trial_change - by the strategy of the trial, to the topology before or after the change. */
bool trial_change(struct trial *t, bool next, struct outcome *o);
void trial_sleep(unsigned ms);

#endif
