/* bench/upgrade/upgrade.h - one graph and load changed under several strategies, measured outside.
 *
 * A trial starts a cluster, deploys
 *
 *     source -> s1 -> ... -> sN -> keep (by key, keyed state) -> sink      every hop a queue
 *            \-> side -> side-sink                                         no part of any change
 *     far-source -> far -> far-sink              nor this, which shares no more than the processors
 *
 * lets it run, changes it by one strategy, lets it run on, and stops it.  The sinks write number,
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
    double rate;       /* tuples per second; 0: as many as go through, so that queues are full */
    unsigned busy_ns;  /* of the slowest step, sN, per tuple */
    unsigned steps;    /* N */
    unsigned changed;  /* of them get another parameter, from s1 on */
    unsigned width;    /* instances of each of them */
    bool stream;       /* instead: a stream from s1 to a branch of another source, there or not */
    unsigned from, to; /* parallelism of keep before and after; state moves where they differ */
    uint64_t keys;     /* of keep, loaded before anything is measured */
    bool stateful;     /* a strategy that loses state is no rival: RESTART is left out */
};

struct spread { /* of latency in one window, ms */
    double p50, p99, max;
    uint64_t count;
};

struct outcome {
    bool ok;
    char why[300];    /* when not ok */
    double outage_ms; /* longest time without an arrival in the window of the change ... */
    double quiet_ms;  /* ... and in a window of the same length before it */
    double side_outage_ms, side_quiet_ms; /* the same at the side branch */
    struct spread before, during, after;
    double total_ms;  /* of the change, as its caller sees it */
    double switch_ms; /* by the receipt; negative: none */
    double pause_ms;  /* likewise: the longest of an input */
    double predicted_ms;
    double moved_bytes;
    uint64_t lost, doubled, disordered; /* by what arrived */
};

struct series; /* of one trial, for drawing */

/* trial_run - a cluster of its own in folder `dir` (is made), programs in `bin`.  @s: takes the
 * main sink's arrivals; caller frees with series_free. */
struct outcome trial_run(const struct scenario *sc, enum strategy how, const char *bin,
                         const char *dir, struct series **s);
const char *strategy_name(enum strategy how);

/* ---- repeat.c: many changes of one running topology, there and back */
#define CHANGES_MAX 1000u
struct changes {
    /* asked */
    unsigned wanted;   /* at most CHANGES_MAX */
    unsigned quiet_ms; /* before them; 0: neither that nor the commands that change nothing */
    /* answered */
    unsigned count;
    double switch_ms[CHANGES_MAX], pause_ms[CHANGES_MAX], total_ms[CHANGES_MAX];
    struct spread quiet;    /* latency at the side branch: before, nobody asks for anything ... */
    struct spread commands; /* ... the same commands come, and change nothing ... */
    struct spread during;   /* ... and while the changes are made */
    struct spread far_commands, far_during; /* the same at the branch with a source of its own */
};
/* repeat_run - Return: as of the last change, but counts of all. */
struct outcome repeat_run(const struct scenario *sc, enum strategy how, const char *bin,
                          const char *dir, struct changes *c);

/* ---- figures.c */
struct arrival { /* as up-series writes it */
    uint64_t seq, key, due_ns, at_ns;
};
struct series {
    struct arrival *items; /* in order of arrival */
    size_t count;
    uint64_t begin_ns, end_ns; /* of the change */
};
struct series *series_read(const char *path); /* NULL: not there or empty */
void series_free(struct series *s);           /* accepts NULL */
/* series_spread - of the latencies of what arrived in [from, to). */
struct spread series_spread(const struct series *s, uint64_t from_ns, uint64_t to_ns);
/* series_count - lost, doubled and disordered: every number from 0 on once, ascending by key. */
void series_count(const struct series *s, struct outcome *o);
/* series_judge - fill in latencies and counts. */
void series_judge(const struct series *s, struct outcome *o);
/* series_outage - longest time without arrival from begin to a second after end; `quiet`: in a
 * window of the same length that ends at begin. */
void series_outage(const struct series *s, double *outage_ms, double *quiet_ms);

/* ---- the program */
struct bench {
    char bin[4000], scratch[4096];
    unsigned trials; /* names their folders */
    unsigned rounds;
    unsigned changes; /* of one running topology, in rows.c */
    char **only;      /* texts that the name of a scenario must contain, each; NULL at the end */
    const char *draw; /* folder for the drawings; NULL: none */
    bool whole;       /* sweeps: every point */
    bool keep;
};
void bench_folder(struct bench *b, char *dir, size_t bytes); /* of the next trial */
bool is_wanted(const struct bench *b, const char *name);
double median_of(const double *v, unsigned n);
/* percentile_of - of n values, which are sorted. */
double percentile_of(double *v, unsigned n, unsigned percent);
/* rows_run - many changes in a row, a row per strategy.  sweeps_run - one thing varied at a time.
 * Return: false when one failed, or ours lost, doubled or disordered a tuple. */
bool rows_run(struct bench *b);
bool sweeps_run(struct bench *b);

/* ---- draw.c.  Return: false: cannot write */
/* draw - latency over time, a line per strategy, logarithmic. */
bool draw(const char *path, const char *title, struct series *const s[STRATEGIES]);
/* draw_sweep - switch and pause over what was varied; a strategy's figures are negative where it
 * has none. */
#define POINTS_MAX 8u
struct sweep_line {
    double switch_ms[POINTS_MAX], pause_ms[POINTS_MAX];
};
bool draw_sweep(const char *path, const char *title, const char *const points[], unsigned count,
                const struct sweep_line lines[STRATEGIES]);

#endif
