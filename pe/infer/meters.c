/* pe/infer/meters.c - what an `infer` PE counts: per model and device. */
#include "pe/infer/meters.h"

#include <stdio.h>

#define LABELS_BYTES 128
#define NAME_BYTES 192

static const int64_t upper[METERS_BUCKETS - 1] = {1, 8, 32, 128, 512, 1024};

static struct oxb_metric *counter(struct oxb_pe *pe, const char *name, const char *labels,
                                  const char *doc)
{
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "%.60s{%.127s}", name, labels);
    return oxb_metric(pe, full, doc);
}

void meters_open(struct meters *m, struct oxb_pe *pe, const char *model, const char *device)
{
    char labels[LABELS_BYTES], more[LABELS_BYTES];
    for (unsigned i = METERS_BUCKETS; i-- > 0;) { /* a list shows the newest first */
        char le[24] = "+Inf";
        if (i < METERS_BUCKETS - 1) {
            snprintf(le, sizeof le, "%lld", (long long)upper[i]);
        }
        snprintf(more, sizeof more, "model=\"%.12s\",device=\"%.16s\",le=\"%s\"", model, device,
                 le);
        m->buckets[i] = counter(pe, "infer_batch_size_bucket", more, "inferences by their rows");
    }
    snprintf(labels, sizeof labels, "model=\"%.12s\",device=\"%.16s\"", model, device);
    m->rows = counter(pe, "infer_batch_size_sum", labels, "tuples inferred");
    m->runs = counter(pe, "infer_batch_size_count", labels, "inferences made");
    m->device_us = counter(pe, "infer_device_us_total", labels, "microseconds spent inferring");
    snprintf(labels, sizeof labels, "model=\"%.12s\"", model);
    m->fallbacks = counter(pe, "infer_fallbacks_total", labels, "devices lost and left");
}

void meters_ran(struct meters *m, int64_t rows)
{
    for (unsigned i = 0; i < METERS_BUCKETS; i++) {
        if (i == METERS_BUCKETS - 1 || rows <= upper[i]) {
            oxb_metric_add(m->buckets[i], 1);
        }
    }
    oxb_metric_add(m->rows, rows);
    oxb_metric_add(m->runs, 1);
}

void meters_spent(struct meters *m, int64_t us)
{
    oxb_metric_add(m->device_us, us);
}

void meters_fell_back(struct meters *m)
{
    oxb_metric_add(m->fallbacks, 1);
}
