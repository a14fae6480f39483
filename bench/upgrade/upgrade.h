/* bench/upgrade/upgrade.h - one graph and load changed under several strategies, measured outside.
 *
 * A trial starts a cluster, deploys
 *
 *     source -> s1 -> ... -> sN -> keep (by key, keyed state) -> sink      every hop a queue
 *            \-> side -> side-sink                                         no part of any change
 *
 * lets it run, changes it by one strategy, lets it run on, and stops it.  Both sinks write number,
 * due time and arrival of every tuple, so that outage, latency, loss, doubles and order are judged
 * from what came out, alike for all strategies, and not from what the engine says of itself. */
#ifndef OXB_BENCH_UPGRADE_H
#define OXB_BENCH_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum strategy {
    RESTART,   /* stop the topology, drained, and deploy the next one: its state is gone */
    GLOBAL,    /* one marker from all sources through the whole graph */
    ALL_STATE, /* state that moves is not copied ahead: all of it at the cut */
    OURS,      /* covering set, queues squeezed, state copied ahead */
    STRATEGIES
};

struct scenario {
    const char *name;
    unsigned workers;
    double rate;        /* tuples per second; 0: as many as go through, so that queues are full */
    unsigned busy_ns;   /* of the slowest step, sN, per tuple */
    unsigned steps;     /* N */
    unsigned changed;   /* of them get another parameter, from s1 on */
    unsigned from, to;  /* parallelism of keep before and after; state moves where they differ */
    uint64_t keys;      /* of keep, loaded before anything is measured */
    bool stateful;      /* a strategy that loses state is no rival: RESTART is left out */
};

struct spread {         /* of latency in one window, ms */
    double p50, p99, max;
    uint64_t count;
};

struct outcome {
    bool ok;
    char why[300];          /* when not ok */
    double outage_ms;       /* longest time without an arrival in the window of the change ... */
    double quiet_ms;        /* ... and in a window of the same length before it */
    double side_outage_ms, side_quiet_ms; /* the same at the side branch */
    struct spread before, during, after;
    double total_ms;        /* of the change, as its caller sees it */
    double switch_ms;       /* by the receipt; negative: none */
    double pause_ms;        /* likewise: the longest of an input */
    double predicted_ms;
    double moved_bytes;
    uint64_t lost, doubled, disordered; /* by what arrived */
};

struct series;              /* of one trial, for drawing */

/* trial_run - a cluster of its own in folder `dir` (is made), programs in `bin`.  @s: takes the
 * main sink's arrivals; caller frees with series_free. */
struct outcome trial_run(const struct scenario *sc, enum strategy how, const char *bin,
                         const char *dir, struct series **s);
const char *strategy_name(enum strategy how);

/* ---- figures.c */
struct arrival {               /* as up-series writes it */
    uint64_t seq, key, due_ns, at_ns;
};
struct series {
    struct arrival *items; /* in order of arrival */
    size_t count;
    uint64_t begin_ns, end_ns; /* of the change */
};
struct series *series_read(const char *path); /* NULL: not there or empty */
void series_free(struct series *s);           /* accepts NULL */
/* series_judge - fill in latencies and counts. */
void series_judge(const struct series *s, struct outcome *o);
/* series_outage - longest time without arrival from begin to a second after end; `quiet`: in a
 * window of the same length that ends at begin. */
void series_outage(const struct series *s, double *outage_ms, double *quiet_ms);

/* ---- draw.c: latency over time, a line per strategy, logarithmic.  Return: false: cannot write */
bool draw(const char *path, const char *title, struct series *const s[STRATEGIES]);

#endif
