/* pe/infer/ops/loss.c - NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
 *
 * Scores are [N, C, ...], labels [N, ...].  A label that is `ignore_index` counts for nothing; any
 * other must be a class, 0..C-1.
 * See:        https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

enum mean { MEAN_NONE, MEAN_SUM, MEAN_WEIGHTED };

struct loss {
    size_t images, classes, plane; /* scores as [images][classes][plane] */
    enum mean reduction;
    bool ignores;
    int64_t ignored;
};

static enum op_result loss_of(struct op_ctx *ctx, struct loss *l, struct shape *labels)
{
    const struct shape *s = &op_in(ctx, 0)->shape;
    const struct tensor *weights = op_in(ctx, 2);
    const char *reduction = op_attr_s(ctx, "reduction", "mean");
    if (s->rank < 2) {
        return op_invalid(ctx, "the scores have %u dims, want at least 2", s->rank);
    }
    *labels = (struct shape){.rank = s->rank - 1, .dims = {s->dims[0]}};
    memcpy(labels->dims + 1, s->dims + 2, (s->rank - 2) * sizeof(s->dims[0]));
    if (!shape_equal(labels, &op_in(ctx, 1)->shape)) {
        return op_invalid(ctx, "the labels have another shape than the scores without classes");
    }
    if (weights != NULL && (weights->shape.rank != 1 || weights->shape.dims[0] != s->dims[1] ||
                            weights->dtype != op_in(ctx, 0)->dtype)) {
        return op_invalid(ctx, "the weights are not one number per class");
    }
    bool none = strcmp(reduction, "none") == 0, sum = strcmp(reduction, "sum") == 0;
    if (!none && !sum && strcmp(reduction, "mean") != 0) {
        return op_invalid(ctx, "unknown reduction '%.20s'", reduction);
    }
    *l = (struct loss){.images = (size_t)s->dims[0],
                       .classes = (size_t)s->dims[1],
                       .plane = shape_count_range(s, 2, s->rank),
                       .reduction = none ? MEAN_NONE : sum ? MEAN_SUM : MEAN_WEIGHTED,
                       .ignores = op_attr_has(ctx, "ignore_index"),
                       .ignored = op_attr_i(ctx, "ignore_index", 0)};
    return OP_OK;
}

static enum op_result loss_infer(struct op_ctx *ctx)
{
    enum dtype t = op_in(ctx, 0)->dtype;
    struct shape labels, scalar = {0};
    struct loss l;
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    TRY(op_want_dtypes(ctx, 1, DTS_INDEX));
    TRY(loss_of(ctx, &l, &labels));
    TRY(op_set_out(ctx, 0, t, l.reduction == MEAN_NONE ? &labels : &scalar));
    return op_set_out(ctx, 1, t, &op_in(ctx, 0)->shape);
}

/* log_softmax - in place, over the classes. */
static void log_softmax(double *v, size_t classes)
{
    double most = -INFINITY, sum = 0;
    for (size_t c = 0; c < classes; c++) {
        most = v[c] > most || isnan(v[c]) ? v[c] : most;
    }
    for (size_t c = 0; c < classes; c++) {
        sum += exp(v[c] - most);
    }
    for (size_t c = 0; c < classes; c++) {
        v[c] -= most + log(sum);
    }
}

/* sample - the log-probabilities at place k of the labels, and what they cost. */
static enum op_result sample(struct op_ctx *ctx, const struct loss *l, size_t k, bool softmax,
                             double *v, double *cost, double *weight)
{
    const struct tensor *scores = op_in(ctx, 0), *weights = op_in(ctx, 2);
    struct tensor *log_prob = op_out(ctx, 1);
    int64_t at = (int64_t)(k / l->plane * l->classes * l->plane + k % l->plane);
    int64_t label = tensor_get_i64(op_in(ctx, 1), k), step = (int64_t)l->plane;
    num_load_f64(v, scores->dtype, scores->data, at, step, l->classes);
    if (softmax) {
        log_softmax(v, l->classes);
    }
    if (log_prob != NULL) {
        num_store_f64(v, log_prob->dtype, log_prob->data, at, step, l->classes);
    }
    *cost = *weight = 0;
    if (l->ignores && label == l->ignored) {
        return OP_OK;
    }
    if (label < 0 || label >= (int64_t)l->classes) {
        return op_invalid(ctx, "label %lld of %zu classes", (long long)label, l->classes);
    }
    *weight = weights != NULL ? tensor_get_f64(weights, (size_t)label) : 1;
    *cost = -v[label] * *weight;
    return OP_OK;
}

static enum op_result loss_run(struct op_ctx *ctx, bool softmax)
{
    struct tensor *y = op_out(ctx, 0);
    struct shape labels;
    struct loss l = {0};
    double total = 0, weights = 0;
    TRY(loss_of(ctx, &l, &labels));
    double *v = op_scratch(ctx, l.classes, sizeof(*v));
    if (v == NULL) {
        return op_failed(ctx, "out of memory");
    }
    for (size_t k = 0; k < l.images * l.plane; k++) {
        double cost = 0, weight = 0;
        TRY(sample(ctx, &l, k, softmax, v, &cost, &weight));
        total += cost;
        weights += weight;
        if (l.reduction == MEAN_NONE && y != NULL) {
            num_store_f64(&cost, y->dtype, y->data, (int64_t)k, 1, 1);
        }
    }
    if (l.reduction != MEAN_NONE && y != NULL) {
        total = l.reduction == MEAN_WEIGHTED ? total / weights : total;
        num_store_f64(&total, y->dtype, y->data, 0, 1, 1);
    }
    return OP_OK;
}

static enum op_result nll_run(struct op_ctx *ctx)
{
    return loss_run(ctx, false);
}

static enum op_result cross_entropy_run(struct op_ctx *ctx)
{
    return loss_run(ctx, true);
}

const struct op ops_loss[] = {
    {"NegativeLogLikelihoodLoss", NULL, 12, OP_LATEST, 2, 3, 1, 1, 0, loss_infer, nll_run},
    {"SoftmaxCrossEntropyLoss", NULL, 12, OP_LATEST, 2, 3, 1, 2, 0, loss_infer,
     cross_entropy_run},
    {.name = NULL},
};
