/* tests/sim/driver.h - what `sim` and `sim-recovery` have in common: options, jobs, time, counts.
 *
 *   NAME                 schedules until the time is over, on every core
 *   NAME --seed N        one schedule, with the topologies, the plan and every step
 *
 * A seed stands for one plan and one schedule of it (draft.h) and gives the same output always.
 *
 * Owns:       struct driver_tally, in memory that its jobs (processes) share.
 * Threads:    none; a job is a process of one thread. */
#ifndef OXB_TESTS_SIM_DRIVER_H
#define OXB_TESTS_SIM_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

struct driver_options {
    uint64_t seed, from, seconds, count; /* count: plans of each job; 0: until the time is over */
    unsigned jobs, off;
    bool one, storm;
};

enum { DRIVER_KINDS_MAX = 16, DRIVER_OWN_MAX = 24 };

struct driver_tally { /* nothing but counters: those of all jobs are added up */
    uint64_t plans, refused, schedules, steps;
    uint64_t found[DRIVER_KINDS_MAX]; /* schedules, by what was found; 0: nothing */
    uint64_t own[DRIVER_OWN_MAX];     /* the simulator's own */
};

struct driver {
    const char *name;
    const char *(*kind)(unsigned found); /* its name */
    /* one - show this schedule.  Return: what was found. */
    unsigned (*one)(uint64_t seed, const struct driver_options *o);
    /* plan - all schedules of a plan; each is told to driver_count. */
    void (*plan)(uint64_t plan, const struct driver_options *o, struct driver_tally *t);
    void (*print)(const struct driver_tally *sum);
};

/* driver_count - one schedule is over; the first of a kind in this job is shown. */
void driver_count(const struct driver *d, struct driver_tally *t, uint64_t seed, uint64_t steps,
                  unsigned found);
int driver_main(const struct driver *d, int argc, char **argv);

#endif
