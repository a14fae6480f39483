/* pe/infer/compiled.h - a model for one batch size, ready to run: a list of steps and an arena.
 *
 * Owns:       struct compiled: the specialised graph, the plan, one step per node that runs, and
 *             as many arenas as batches may be in flight.
 * Threads:    made on any thread; used by one at a time.
 * Invariants: C1 nothing is allocated while it runs.
 *             C2 a node no device takes runs as reference on the same arena, between host_begin and
 *                host_end.
 *             C3 what runs in one slot (an arena of its own) touches no other slot: a batch may be
 *                under way in one while another is filled or read. */
#ifndef OXB_PE_INFER_COMPILED_H
#define OXB_PE_INFER_COMPILED_H

#include "pe/infer/backend.h"
#include "pe/infer/graph.h"

#define COMPILED_SLOTS_MAX 3

struct compiled;

struct compile_target {
    const struct backend *backend;
    struct device *device; /* opened by the caller; outlives what is compiled */
    bool fuse;
    unsigned slots; /* batches that may be under way at a time, 1..COMPILED_SLOTS_MAX; 0: one */
};

/* compiled_new - @graph: TAKES; specialised, not dynamic.  Errors: ERR_LIMIT, ERR_NOMEM, and what
 * the device says. */
MUST_CHECK enum err compiled_new(struct graph *graph TAKES, const struct compile_target *target,
                                 struct compiled **out, struct fail *f);
void compiled_free(struct compiled *c); /* accepts NULL */

/* What it runs: for checks and tests. */
const struct graph *compiled_graph(const struct compiled *c);
size_t compiled_arena_bytes(const struct compiled *c);
unsigned compiled_step_count(const struct compiled *c, unsigned *on_device);
/* compiled_call_count - how often one run calls the device or a reference: steps that the device
 * joined are one call. */
unsigned compiled_call_count(const struct compiled *c);
/* compiled_each - the nodes that run, in order; @why: what a device said that declined, or "". */
void compiled_each(const struct compiled *c,
                   void (*fn)(void *arg, const struct node *n, bool on_device, const char *why),
                   void *arg);

/* One inference, in one slot: fill the inputs, run, read the outputs.
 * compiled_input - memory of input i to write, at full batch; NULL never on success.  Give it back
 * by compiled_input_done before compiled_run.  An input that became a constant cannot be had.
 * compiled_output - likewise for reading, after compiled_run; waits for it. */
MUST_CHECK enum err compiled_input(struct compiled *c, unsigned slot, unsigned i, void **out,
                                   struct fail *f);
MUST_CHECK enum err compiled_input_done(struct compiled *c, unsigned slot, unsigned i, void *p,
                                        struct fail *f);
/* compiled_run - start it, or do it where the device is one that does not overlap.
 * @rows: 1..batch; 0 where there is no batch.  Errors: ERR_IO the device is lost; what a reference
 * said. */
MUST_CHECK enum err compiled_run(struct compiled *c, unsigned slot, int64_t rows, struct fail *f);
MUST_CHECK enum err compiled_output(struct compiled *c, unsigned slot, unsigned i, const void **out,
                                    struct fail *f);
MUST_CHECK enum err compiled_output_done(struct compiled *c, unsigned slot, unsigned i,
                                         const void *p, struct fail *f);

/* compiled_run_tensors - all of the above at full batch, in slot 0, by copies. */
MUST_CHECK enum err compiled_run_tensors(struct compiled *c, const struct tensor *inputs,
                                         struct tensor *outputs, struct fail *f);

#endif
