/* topology/predict.h - how long an upgrade will pause its inputs, learned from earlier receipts.
 *
 * Owns:       struct pause_model: microseconds per unit of each feature.
 * Runs on:    anywhere; pure.
 * Invariants: P1 no weight is negative.  P2 without samples the model is the default one, and a few
 *                samples move it only as far as they speak.
 *             P3 one receipt from a bad moment does not spoil it: what is far off weighs little. */
#ifndef OXB_TOPOLOGY_PREDICT_H
#define OXB_TOPOLOGY_PREDICT_H

#include <stddef.h>
#include <stdint.h>

enum pause_feature {
    PAUSE_BASE,          /* 1: a cut at all */
    PAUSE_MEMBERS,       /* instances that cut */
    PAUSE_DEPTH,         /* markers one after the other */
    PAUSE_HOPS,          /* channels inside the set between two workers, at most on one way */
    PAUSE_GROUPS,        /* key groups that change owner, per receiving instance at most */
    PAUSE_MIB_LOCAL,     /* state handed over within a worker or migrated in place */
    PAUSE_MIB_REMOTE,    /* state that goes to another worker */
    PAUSE_FEATURE_COUNT
};

struct pause_features {
    double v[PAUSE_FEATURE_COUNT];
};

struct pause_sample {
    struct pause_features features;
    double pause_us;     /* measured: the receipt's p99 */
};

struct pause_model {
    double us[PAUSE_FEATURE_COUNT]; /* per unit */
    uint32_t sample_count;          /* fitted to */
};

struct pause_model pause_model_default(void);
/* pause_model_fit - ridge regression towards the default, re-weighted against outliers. */
struct pause_model pause_model_fit(const struct pause_sample *samples, size_t count);
uint64_t pause_model_predict_us(const struct pause_model *m, const struct pause_features *f);
const char *pause_feature_name(enum pause_feature f); /* "members" */

#endif
