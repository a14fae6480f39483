/* pe/infer/meters.h - what an `infer` PE counts: per model and device.
 *
 * The counters of a device stay when it is lost; those of the next one begin beside them.
 * Threads:    the instance's. */
#ifndef OXB_PE_INFER_METERS_H
#define OXB_PE_INFER_METERS_H

#include "pe/pe.h"

#define METERS_BUCKETS 7 /* of the batch size: 1, 8, 32, 128, 512, 1024, more */

struct meters { /* borrowed: they live as long as the PE */
    struct oxb_metric *buckets[METERS_BUCKETS]; /* inferences of at most so many rows */
    struct oxb_metric *rows, *runs;
    struct oxb_metric *device_us;
    struct oxb_metric *fallbacks; /* of the model, whatever the device */
};

/* meters_open - count for this pair from now on.  @model: digits of its digest; @device: gpu, cpu,
 * reference.  Both are copied. */
void meters_open(struct meters *m, struct oxb_pe *pe, const char *model, const char *device);
/* meters_ran - @rows: tuples of one inference whose results have left, 1... */
void meters_ran(struct meters *m, int64_t rows);
/* meters_spent - @us: what an inference took, also one that failed. */
void meters_spent(struct meters *m, int64_t us);
void meters_fell_back(struct meters *m);

#endif
