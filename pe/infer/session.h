/* pe/infer/session.h - a model open on a device for any number of rows up to a maximum.
 *
 * Owns:       the model's graph, the device, one compiled program per batch bucket.
 * Threads:    made on any thread (slow: compiles, warms up); used by one at a time.
 * Invariants: E1 rows r of a batch gives the same as r alone: a model for which a trial shows
 *                otherwise is run row by row.
 *             E2 a device that is lost is left for the next of its list (gpu, cpu, reference); the
 *                caller fills its inputs again and nothing is lost.
 * Why buckets: kernels and plans are made for whole batches; a request takes the smallest bucket
 *             that holds it and the rest of its rows is padding nobody reads. */
#ifndef OXB_PE_INFER_SESSION_H
#define OXB_PE_INFER_SESSION_H

#include "pe/infer/graph.h"

struct session;
struct compiled;

struct session_options {
    const char *device;       /* "gpu", "cpu", "any" or "reference" */
    int64_t batch_max;        /* 1..INFER_BATCH_MAX */
    const char *cache_dir;    /* NULL: none */
    unsigned index;           /* of the instance: several devices of a kind are dealt out by it */
    const struct shape *rows; /* [input_count] shape of one row, without the batch, of each input */
};

/* session_new - @model: TAKES.  Errors: ERR_INVALID the model and the rows do not fit, or its
 * shapes depend on data; ERR_NOTFOUND an operator is not supported. */
MUST_CHECK enum err session_new(struct graph *model TAKES, const struct session_options *o,
                                struct session **out, struct fail *f);
void session_free(struct session *s); /* accepts NULL */

const struct graph *session_model(const struct session *s);
int64_t session_batch_max(const struct session *s); /* E1: perhaps 1 */
const char *session_device(const struct session *s);
const char *session_kind(const struct session *s); /* of the device: gpu, cpu, reference; static */

/* session_slots - how many batches may be under way at a time: 1 on a device that works in the
 * calling thread.  Batches under way at once use different slots, whatever their programs. */
unsigned session_slots(const struct session *s);
/* session_is_open - false after a session_fall_back that found no device. */
bool session_is_open(const struct session *s);

/* session_pick - the program for `rows` (1..session_batch_max). */
struct compiled *session_pick(struct session *s, int64_t rows);
/* session_fall_back - leave the device for the next one; what was under way is gone, and programs
 * picked before are no more.  ERR_NOTFOUND: there is none. */
MUST_CHECK enum err session_fall_back(struct session *s, struct fail *f);

#endif
