/* pe/infer/ops/shape.c - operators that change or tell a shape and leave the elements in order.
 *
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>

static enum op_result any_infer(struct op_ctx *ctx, const struct shape *out)
{
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, out);
}

/* ---- Reshape, Flatten ---- */

/* fill_free - give the one -1 of `out` the size that makes the counts equal. */
static enum op_result fill_free(struct op_ctx *ctx, struct shape *out, unsigned free_dim)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    char text[2][SHAPE_TEXT_BYTES];
    size_t have = tensor_count(op_in(ctx, 0)), want;
    if (free_dim < out->rank) {
        out->dims[free_dim] = 1;
        if (!shape_count(out, &want) || want == 0 || have % want != 0) {
            out->dims[free_dim] = DIM_FREE;
            return op_invalid(ctx, "%s has no place in %s", shape_text(in, text[0]),
                              shape_text(out, text[1]));
        }
        out->dims[free_dim] = (int64_t)(have / want);
        return OP_OK;
    }
    if (!shape_count(out, &want) || want != have) {
        return op_invalid(ctx, "%s does not make %s", shape_text(in, text[0]),
                          shape_text(out, text[1]));
    }
    return OP_OK;
}

static enum op_result reshape_infer(struct op_ctx *ctx)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    bool zero_is_zero = op_attr_i(ctx, "allowzero", 0) != 0;
    struct shape out = {0};
    unsigned free_dim = UINT_MAX;
    TRY(op_in_ints(ctx, 1, out.dims, TENSOR_RANK_MAX, &out.rank));
    for (unsigned d = 0; d < out.rank; d++) {
        if (out.dims[d] == 0 && !zero_is_zero) {
            if (d >= in->rank) {
                return op_invalid(ctx, "dim %u is to be kept, but the rank is %u", d, in->rank);
            }
            out.dims[d] = in->dims[d];
        } else if (out.dims[d] == -1 && free_dim == UINT_MAX) {
            free_dim = d;
        } else if (out.dims[d] < 0) {
            return op_invalid(ctx, "dim %u is %lld", d, (long long)out.dims[d]);
        }
    }
    TRY(fill_free(ctx, &out, free_dim));
    return any_infer(ctx, &out);
}

static enum op_result flatten_infer(struct op_ctx *ctx)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    int64_t given = op_attr_i(ctx, "axis", 1);
    unsigned axis = in->rank; /* allowed here, one beyond the last */
    if (given != (int64_t)in->rank) {
        TRY(op_axis(ctx, "axis", given, in->rank, &axis));
    }
    struct shape out = {.rank = 2};
    out.dims[0] = (int64_t)shape_count_range(in, 0, axis);
    out.dims[1] = (int64_t)shape_count_range(in, axis, in->rank);
    return any_infer(ctx, &out);
}

/* ---- Squeeze, Unsqueeze: axes as an attribute before opset 13, as an input since ---- */

static enum op_result squeeze_infer(struct op_ctx *ctx)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    struct shape out = {0};
    uint32_t mask;
    bool given;
    TRY(ops_axes(ctx, ctx->opset < 13 ? UINT_MAX : 1, in->rank, &mask, &given));
    for (unsigned d = 0; d < in->rank; d++) {
        bool listed = given ? (mask & 1u << d) != 0 : in->dims[d] == 1;
        if (!listed) {
            out.dims[out.rank++] = in->dims[d];
        } else if (in->dims[d] != 1) {
            return op_invalid(ctx, "dim %u is %lld, not 1", d, (long long)in->dims[d]);
        }
    }
    return any_infer(ctx, &out);
}

static enum op_result unsqueeze_infer(struct op_ctx *ctx)
{
    const struct tensor *axes = op_in(ctx, 1);
    const struct shape *in = &op_in(ctx, 0)->shape;
    struct shape out = {0};
    uint32_t mask;
    bool given;
    unsigned count = 0, from = 0;
    if (ctx->opset < 13) {
        op_attr_ints(ctx, "axes", &count);
    } else if (axes != NULL) {
        count = (unsigned)(tensor_count(axes) < 64 ? tensor_count(axes) : 64);
    }
    out.rank = in->rank + count;
    if (out.rank > TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "the result would have more than %u dims", TENSOR_RANK_MAX);
    }
    TRY(ops_axes(ctx, ctx->opset < 13 ? UINT_MAX : 1, out.rank, &mask, &given));
    if (!given) {
        return op_invalid(ctx, "axes are missing");
    }
    for (unsigned d = 0; d < out.rank; d++) {
        out.dims[d] = mask & 1u << d ? 1 : in->dims[from++];
    }
    return any_infer(ctx, &out);
}

/* ---- Shape, Size ---- */

/* shape_span - the dims that Shape tells: all, or start..end since opset 15. */
static void shape_span(struct op_ctx *ctx, unsigned *start, unsigned *end)
{
    int64_t rank = op_in(ctx, 0)->shape.rank;
    int64_t span[2] = {op_attr_i(ctx, "start", 0), op_attr_i(ctx, "end", rank)};
    for (unsigned k = 0; k < 2; k++) {
        span[k] = span[k] < -rank ? 0 : span[k] < 0 ? span[k] + rank : span[k];
        span[k] = span[k] > rank ? rank : span[k];
    }
    *start = (unsigned)span[0];
    *end = (unsigned)(span[1] < span[0] ? span[0] : span[1]);
}

static enum op_result shape_infer(struct op_ctx *ctx)
{
    unsigned start, end;
    shape_span(ctx, &start, &end);
    struct shape out = {.rank = 1, .dims = {end - start}};
    return op_set_out(ctx, 0, DT_I64, &out);
}

static enum op_result shape_run(struct op_ctx *ctx)
{
    unsigned start, end;
    shape_span(ctx, &start, &end);
    for (unsigned d = start; d < end; d++) {
        tensor_i64(op_out(ctx, 0))[d - start] = op_in(ctx, 0)->shape.dims[d];
    }
    return OP_OK;
}

static enum op_result size_infer(struct op_ctx *ctx)
{
    struct shape scalar = {0};
    return op_set_out(ctx, 0, DT_I64, &scalar);
}

static enum op_result size_run(struct op_ctx *ctx)
{
    tensor_i64(op_out(ctx, 0))[0] = (int64_t)tensor_count(op_in(ctx, 0));
    return OP_OK;
}

const struct op ops_shape[] = {
    {"Reshape", NULL, 5, OP_LATEST, 2, 2, 1, 1, OP_ALIAS, reshape_infer, ops_copy},
    {"Flatten", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_ALIAS, flatten_infer, ops_copy},
    {"Squeeze", NULL, 1, 12, 1, 1, 1, 1, OP_ALIAS, squeeze_infer, ops_copy},
    {"Squeeze", NULL, 13, OP_LATEST, 1, 2, 1, 1, OP_ALIAS, squeeze_infer, ops_copy},
    {"Unsqueeze", NULL, 1, 12, 1, 1, 1, 1, OP_ALIAS, unsqueeze_infer, ops_copy},
    {"Unsqueeze", NULL, 13, OP_LATEST, 2, 2, 1, 1, OP_ALIAS, unsqueeze_infer, ops_copy},
    {"Shape", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_SHAPE_ONLY, shape_infer, shape_run},
    {"Size", NULL, 1, OP_LATEST, 1, 1, 1, 1, OP_SHAPE_ONLY, size_infer, size_run},
    {.name = NULL},
};
