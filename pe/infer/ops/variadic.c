/* pe/infer/ops/variadic.c - operators that fold any number of broadcasting inputs, and Where.
 *
 * Max and Min hand NaN on, as NumPy's do.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

enum fold { FOLD_SUM, FOLD_MEAN, FOLD_MAX, FOLD_MIN };

static enum op_result fold_infer(struct op_ctx *ctx, unsigned types)
{
    struct shape shape = op_in(ctx, 0)->shape;
    for (unsigned i = 0; i < ctx->in_count; i++) {
        const struct tensor *x = op_in(ctx, i);
        if (x == NULL || x->dtype != op_in(ctx, 0)->dtype) {
            return op_invalid(ctx, "input %u is missing or of another type than the first", i);
        }
        TRY(op_want_dtypes(ctx, i, types));
        if (!shape_broadcast(&shape, &x->shape, &shape)) {
            return op_invalid(ctx, "the shape of input %u does not broadcast", i);
        }
    }
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &shape);
}

static enum op_result float_infer(struct op_ctx *ctx)
{
    return fold_infer(ctx, DTS_FLOAT);
}

static enum op_result number_infer(struct op_ctx *ctx)
{
    return fold_infer(ctx, DTS_NUMBER);
}

static double max_f(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

static double min_f(double a, double b)
{
    return a < b || isnan(a) ? a : b;
}

static void fold_block(enum fold fold, enum num_class class, union block *a, const union block *b,
                       size_t n)
{
    for (size_t k = 0; k < n; k++) {
        if (fold == FOLD_SUM || fold == FOLD_MEAN) { /* floats only */
            a->f[k] += b->f[k];
        } else if (class == NUM_FLOAT) {
            a->f[k] = fold == FOLD_MAX ? max_f(a->f[k], b->f[k]) : min_f(a->f[k], b->f[k]);
        } else if (class == NUM_INT) {
            a->i[k] = (b->i[k] > a->i[k]) == (fold == FOLD_MAX) ? b->i[k] : a->i[k];
        } else {
            a->u[k] = (b->u[k] > a->u[k]) == (fold == FOLD_MAX) ? b->u[k] : a->u[k];
        }
    }
}

/* fold_in - y = y fold x; the first input is only copied. */
static void fold_in(enum fold fold, struct tensor *y, const struct tensor *x, bool first)
{
    struct walk w;
    union block a, b;
    walk_broadcast(&w, &y->shape, (const struct shape *[]){&x->shape}, 1);
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t done = 0; done < w.len; done += BLOCK) {
            size_t n = block_len(done, w.len);
            int64_t out = w.at[0] + (int64_t)done;
            block_load(&b, x->dtype, x->data, w.at[1] + (int64_t)done * w.step[1], w.step[1], n);
            if (!first) {
                block_load(&a, y->dtype, y->data, out, 1, n);
                fold_block(fold, num_class_of(x->dtype), &a, &b, n);
            }
            block_store(first ? &b : &a, y->dtype, y->data, out, 1, n);
        }
    }
}

static enum op_result fold_run(struct op_ctx *ctx, enum fold fold)
{
    struct tensor *y = op_out(ctx, 0);
    for (unsigned i = 0; i < ctx->in_count; i++) {
        fold_in(fold, y, op_in(ctx, i), i == 0);
    }
    return OP_OK;
}

static enum op_result sum_run(struct op_ctx *ctx)
{
    return fold_run(ctx, FOLD_SUM);
}

static enum op_result max_run(struct op_ctx *ctx)
{
    return fold_run(ctx, FOLD_MAX);
}

static enum op_result min_run(struct op_ctx *ctx)
{
    return fold_run(ctx, FOLD_MIN);
}

static enum op_result mean_run(struct op_ctx *ctx)
{
    struct tensor *y = op_out(ctx, 0);
    union block b;
    TRY(fold_run(ctx, FOLD_SUM));
    for (size_t done = 0, count = tensor_count(y); done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        block_load(&b, y->dtype, y->data, (int64_t)done, 1, n);
        for (size_t k = 0; k < n; k++) {
            b.f[k] /= ctx->in_count;
        }
        block_store(&b, y->dtype, y->data, (int64_t)done, 1, n);
    }
    return OP_OK;
}

/* ---- Where ---- */

static enum op_result where_infer(struct op_ctx *ctx)
{
    struct shape shape;
    TRY(op_want_dtypes(ctx, 0, DTS_BOOL));
    TRY(op_want_dtypes(ctx, 1, DTS_ANY));
    if (op_in(ctx, 1)->dtype != op_in(ctx, 2)->dtype) {
        return op_invalid(ctx, "X is %s and Y %s", dtype_name(op_in(ctx, 1)->dtype),
                          dtype_name(op_in(ctx, 2)->dtype));
    }
    if (!shape_broadcast(&op_in(ctx, 0)->shape, &op_in(ctx, 1)->shape, &shape) ||
        !shape_broadcast(&shape, &op_in(ctx, 2)->shape, &shape)) {
        return op_invalid(ctx, "the shapes of the inputs do not broadcast");
    }
    return op_set_out(ctx, 0, op_in(ctx, 1)->dtype, &shape);
}

static enum op_result where_run(struct op_ctx *ctx)
{
    const struct tensor *choice = op_in(ctx, 0), *x = op_in(ctx, 1), *y = op_in(ctx, 2);
    struct tensor *out = op_out(ctx, 0);
    size_t size = dtype_size(out->dtype);
    struct walk w;
    walk_broadcast(&w, &out->shape,
                   (const struct shape *[]){&choice->shape, &x->shape, &y->shape}, 3);
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t k = 0; k < w.len; k++) {
            int64_t at = (int64_t)k;
            bool first = tensor_u8(choice)[w.at[1] + at * w.step[1]] != 0;
            unsigned way = first ? 2 : 3;
            const uint8_t *from = (first ? x : y)->data;
            memcpy((uint8_t *)out->data + (size_t)(w.at[0] + at) * size,
                   from + (size_t)(w.at[way] + at * w.step[way]) * size, size);
        }
    }
    return OP_OK;
}

const struct op ops_variadic[] = {
    {"Sum", NULL, 1, OP_LATEST, 1, OP_ANY, 1, 1, 0, float_infer, sum_run},
    {"Mean", NULL, 1, OP_LATEST, 1, OP_ANY, 1, 1, 0, float_infer, mean_run},
    {"Max", NULL, 1, OP_LATEST, 1, OP_ANY, 1, 1, 0, number_infer, max_run},
    {"Min", NULL, 1, OP_LATEST, 1, OP_ANY, 1, 1, 0, number_infer, min_run},
    {"Where", NULL, 9, OP_LATEST, 3, 3, 1, 1, 0, where_infer, where_run},
    {.name = NULL},
};
