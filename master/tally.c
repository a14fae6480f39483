/* master/tally.c - what changes have cost so far: counters for metrics, samples for predictions. */
#include "master/tally.h"

#include <string.h>

const char *tally_result_name(enum tally_result r)
{
    static const char *const names[TALLY_RESULTS] = {"done", "aborted", "failed"};
    return names[r];
}

static double pause_of(const json_t *receipt, const char *key)
{
    return json_number_value(json_object_get(json_object_get(receipt, "pause_us"), key));
}

void tally_count(struct tally *t, const json_t *receipt)
{
    const char *result = json_string_value(json_object_get(receipt, "result"));
    for (unsigned i = 0; result != NULL && i < TALLY_RESULTS; i++) {
        t->results[i] += strcmp(result, tally_result_name(i)) == 0;
    }
    if (pause_of(receipt, "inputs") > 0) {
        hist_add(&t->pause_us, (uint64_t)pause_of(receipt, "max"), 1);
    }
}

void tally_learn(struct tally *t, const json_t *features, const json_t *receipt)
{
    const char *result = json_string_value(json_object_get(receipt, "result"));
    if (result == NULL || strcmp(result, "done") != 0 || !(pause_of(receipt, "inputs") > 0) ||
        json_array_size(features) != PAUSE_FEATURE_COUNT) {
        return; /* Y1 */
    }
    struct pause_sample *s = &t->samples[t->next];
    for (size_t i = 0; i < PAUSE_FEATURE_COUNT; i++) {
        s->features.v[i] = json_number_value(json_array_get(features, i));
    }
    s->pause_us = pause_of(receipt, "p99");
    t->next = (t->next + 1) % PAUSE_SAMPLES; /* Y2 */
    t->count += t->count < PAUSE_SAMPLES;
}

json_t *tally_features(const struct pause_features *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < PAUSE_FEATURE_COUNT; i++) {
        json_array_append_new(list, json_real(f->v[i]));
    }
    return list;
}

struct pause_model tally_model(const struct tally *t)
{
    return pause_model_fit(t->samples, t->count);
}
