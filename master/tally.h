/* master/tally.h - what changes have cost so far: counters for metrics, samples for predictions.
 *
 * Owns:       struct tally.
 * Runs on:    the master loop; pure.
 * Invariants: Y1 a change without an input that waited says nothing of the pause: it is no sample.
 *             Y2 at most PAUSE_SAMPLES samples, the newest. */
#ifndef OXB_MASTER_TALLY_H
#define OXB_MASTER_TALLY_H

#include "core/hist.h"
#include "topology/predict.h"

#include <jansson.h>

#define PAUSE_SAMPLES 128

enum tally_result { TALLY_DONE, TALLY_ABORTED, TALLY_FAILED, TALLY_RESULTS };

struct tally {
    uint64_t results[TALLY_RESULTS]; /* in this life of the master */
    struct hist pause_us;            /* largest pause of each change that had one; the same */
    struct pause_sample samples[PAUSE_SAMPLES];
    size_t count, next;              /* of samples: used, and where the next one goes */
};

const char *tally_result_name(enum tally_result r); /* "done" */
/* tally_count - a change is over.  @receipt: as it is kept. */
void tally_count(struct tally *t, const json_t *receipt);
/* tally_learn - of this receipt, or of an earlier one.  @features: as tally_features made them. */
void tally_learn(struct tally *t, const json_t *features, const json_t *receipt);
json_t *tally_features(const struct pause_features *f); /* caller decrefs */
struct pause_model tally_model(const struct tally *t);

#endif
