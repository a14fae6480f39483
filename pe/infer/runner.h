/* pe/infer/runner.h - batches into inferences, and their results back into batches, in order.
 *
 * Owns:       struct runner: views of the batches that wait or are under way, and the flights: runs
 *             that were started on the device and whose results have not been read.
 * Life of a row: it waits (runner_add) -> it is under way: copied into the input of a slot, the run
 *             started -> it has left: results read into new columns, the batch handed on.
 * Threads:    the instance's; a callback of the PE is running.
 * Invariants: R1 after runner_go(RUN_LAND) nothing waits and nothing is under way: it is called
 *                before a marker, a cut or the end passes, so neither is ever part of a snapshot.
 *             R2 a row leaves exactly once: its view stays until its results have been read whole,
 *                and then all of a run is handed on.  A device that is lost takes every flight with
 *                it: their views wait again, in front, and are run on the next device.
 *             R3 rows leave in the order in which they came: flights are started and read first
 *                come, first served.
 * Why slots:  on a device that works beside the host, one run computes while the next is copied in
 *             and the one before is handed on; on one that works in this thread there is one slot,
 *             and a run is read as soon as it was started. */
#ifndef OXB_PE_INFER_RUNNER_H
#define OXB_PE_INFER_RUNNER_H

#include "core/sha256.h"
#include "pe/batch.h"
#include "pe/infer/bind.h"
#include "pe/infer/compiled.h"
#include "pe/infer/meters.h"
#include "pe/infer/session.h"

struct flight { /* a run under way */
    struct compiled *compiled;
    unsigned slot;
    size_t view_count;
    int64_t rows;
    uint64_t start_us; /* its first copy */
};

struct runner { /* a zeroed one is valid for runner_fini */
    /* the PE's, set before the first batch */
    struct session *session;
    struct binding binding;
    int64_t batch_max;
    char digest[SHA256_HEX_BYTES]; /* of the model's file */
    int digest_field;              /* of the output; -1: not asked for */
    struct oxb_const *digest_column;
    struct meters meters;
    /* the runner's */
    struct batch **views; /* hold their columns; oldest first, those under way before the others */
    size_t view_count, view_capacity;
    size_t flown;                              /* views under way */
    int64_t waiting_rows;                      /* of the others */
    struct flight flights[COMPILED_SLOTS_MAX]; /* oldest first */
    unsigned flight_count;
    unsigned next_slot;
    uint64_t read_us; /* when the last flight was read: time of the device counts from there */
};

enum runner_extent {
    RUN_WHOLE, /* start runs of batch_max rows */
    RUN_ALL,   /* start what waits, however little; the last flights stay under way */
    RUN_LAND,  /* and read all of them */
};

/* runner_add - the rows of `b` wait; borrowed for the call.  Return: did nothing wait before? */
bool runner_add(struct runner *r, struct batch *b);
/* runner_go - Return: OXB_OK, or oxb_fail's after a run that failed other than by its device: its
 * rows are gone, those before it have left, those behind it stay. */
int runner_go(struct oxb_pe *pe, struct runner *r, enum runner_extent extent);
/* runner_forget - what waits or is under way will not leave. */
void runner_forget(struct runner *r);
void runner_fini(struct runner *r);

#endif
