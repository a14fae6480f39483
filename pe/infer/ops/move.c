/* pe/infer/ops/move.c - operators that move elements without looking at them: Transpose, Slice ...
 *
 * Each is one or a few strided copies (num_copy): a view of the output and one of the input, with
 * the same dims and different strides.
 * See:        https://onnx.ai/onnx/operators/ */
#include "pe/infer/ops/ops.h"

#include <limits.h>
#include <string.h>

/* ---- Transpose ---- */

static enum op_result permutation(struct op_ctx *ctx, unsigned perm[TENSOR_RANK_MAX])
{
    uint32_t rank = op_in(ctx, 0)->shape.rank, seen = 0;
    unsigned count;
    const int64_t *given = op_attr_ints(ctx, "perm", &count);
    for (unsigned d = 0; d < rank; d++) {
        perm[d] = rank - 1 - d;
    }
    if (!op_attr_has(ctx, "perm")) {
        return OP_OK;
    }
    if (count != rank) {
        return op_invalid(ctx, "perm has %u numbers, the input %u dims", count, rank);
    }
    for (unsigned d = 0; d < rank; d++) {
        TRY(op_axis(ctx, "perm", given[d], rank, &perm[d]));
        if (seen & 1u << perm[d]) {
            return op_invalid(ctx, "perm lists axis %u twice", perm[d]);
        }
        seen |= 1u << perm[d];
    }
    return OP_OK;
}

static enum op_result transpose_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape out = {.rank = x->shape.rank};
    unsigned perm[TENSOR_RANK_MAX];
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(permutation(ctx, perm));
    for (unsigned d = 0; d < out.rank; d++) {
        out.dims[d] = x->shape.dims[perm[d]];
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result transpose_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    unsigned perm[TENSOR_RANK_MAX];
    int64_t of_x[TENSOR_RANK_MAX], way[TENSOR_RANK_MAX];
    struct walk w;
    TRY(permutation(ctx, perm));
    shape_strides(&x->shape, of_x);
    walk_of(&w, &y->shape, 2);
    shape_strides(&y->shape, way);
    walk_way(&w, 0, way, 0);
    for (unsigned d = 0; d < y->shape.rank; d++) {
        way[d] = of_x[perm[d]];
    }
    walk_way(&w, 1, way, 0);
    num_copy(&w, dtype_size(x->dtype), y->data, x->data);
    return OP_OK;
}

/* ---- Concat, Split: boxes of one tensor next to each other along an axis ---- */

/* copy_part - `part` lies in `whole` from `at` along `axis`; copied in or out. */
static void copy_part(const struct tensor *whole, const struct tensor *part, unsigned axis,
                      int64_t at, bool in)
{
    int64_t of_whole[TENSOR_RANK_MAX], of_part[TENSOR_RANK_MAX];
    struct walk w;
    shape_strides(&whole->shape, of_whole);
    shape_strides(&part->shape, of_part);
    walk_of(&w, &part->shape, 2);
    walk_way(&w, in ? 0 : 1, of_whole, at * of_whole[axis]);
    walk_way(&w, in ? 1 : 0, of_part, 0);
    num_copy(&w, dtype_size(part->dtype), in ? whole->data : part->data,
             in ? part->data : whole->data);
}

static enum op_result concat_axis(struct op_ctx *ctx, unsigned *axis)
{
    int64_t fallback = ctx->opset < 4 ? 1 : INT64_MAX;
    return op_axis(ctx, "axis", op_attr_i(ctx, "axis", fallback), op_in(ctx, 0)->shape.rank, axis);
}

static enum op_result concat_infer(struct op_ctx *ctx)
{
    const struct tensor *first = op_in(ctx, 0);
    struct shape out = first->shape;
    unsigned axis = 0;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(concat_axis(ctx, &axis));
    for (unsigned i = 1; i < ctx->in_count; i++) {
        const struct tensor *x = op_in(ctx, i);
        if (x == NULL || x->dtype != first->dtype || x->shape.rank != out.rank) {
            return op_invalid(ctx, "input %u differs from input 0 in type or rank", i);
        }
        for (unsigned d = 0; d < out.rank; d++) {
            if (d != axis && x->shape.dims[d] != out.dims[d]) {
                return op_invalid(ctx, "dim %u of input %u is %lld, of input 0 %lld", d, i,
                                  (long long)x->shape.dims[d], (long long)out.dims[d]);
            }
        }
        if (!size_add(out.dims[axis], x->shape.dims[axis], &out.dims[axis])) {
            return op_failed(ctx, "the result is too large");
        }
    }
    return op_set_out(ctx, 0, first->dtype, &out);
}

static enum op_result concat_run(struct op_ctx *ctx)
{
    unsigned axis = 0;
    int64_t at = 0;
    TRY(concat_axis(ctx, &axis));
    for (unsigned i = 0; i < ctx->in_count; i++) {
        copy_part(op_out(ctx, 0), op_in(ctx, i), axis, at, true);
        at += op_in(ctx, i)->shape.dims[axis];
    }
    return OP_OK;
}

#define PARTS_MAX 4096 /* of one Split */

/* split_even - `parts` equal parts; since opset 18 the last may be smaller. */
static enum op_result split_even(struct op_ctx *ctx, int64_t dim, int64_t *sizes, unsigned parts)
{
    int64_t size = (dim + parts - 1) / parts, rest = dim;
    if (ctx->opset < 18 && dim % parts != 0) {
        return op_invalid(ctx, "%lld elements do not make %u equal parts", (long long)dim, parts);
    }
    for (unsigned k = 0; k < parts; k++) {
        sizes[k] = rest < size ? rest : size;
        rest -= sizes[k];
    }
    return OP_OK;
}

/* split_sizes - how many elements along the axis each output gets. */
static enum op_result split_sizes(struct op_ctx *ctx, unsigned *axis, int64_t **sizes)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    unsigned parts = ctx->out_count, count = 0;
    TRY(op_axis(ctx, "axis", op_attr_i(ctx, "axis", 0), in->rank, axis));
    *sizes = parts <= PARTS_MAX ? op_scratch(ctx, parts, sizeof(int64_t)) : NULL;
    if (*sizes == NULL) {
        return op_failed(ctx, "more than %u parts", PARTS_MAX);
    }
    if (ctx->opset < 13) {
        const int64_t *given = op_attr_ints(ctx, "split", &count);
        for (unsigned k = 0; k < count && k < parts; k++) {
            (*sizes)[k] = given[k];
        }
    } else {
        TRY(op_in_ints(ctx, 1, *sizes, parts, &count));
    }
    if (ctx->opset >= 13 ? op_in(ctx, 1) == NULL : !op_attr_has(ctx, "split")) {
        return split_even(ctx, in->dims[*axis], *sizes, parts);
    }
    int64_t left = in->dims[*axis];
    for (unsigned k = 0; k < count && count == parts; k++) {
        if ((*sizes)[k] < 0 || (*sizes)[k] > left) {
            return op_invalid(ctx, "part %u of %lld does not fit", k, (long long)(*sizes)[k]);
        }
        left -= (*sizes)[k];
    }
    if (count != parts || left != 0) {
        return op_invalid(ctx, "%u sizes for %u outputs, %lld elements left over", count, parts,
                          (long long)left);
    }
    return OP_OK;
}

static enum op_result split_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    unsigned axis = 0;
    int64_t *sizes;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(split_sizes(ctx, &axis, &sizes));
    for (unsigned k = 0; k < ctx->out_count; k++) {
        struct shape out = x->shape;
        out.dims[axis] = sizes[k];
        TRY(op_set_out(ctx, k, x->dtype, &out));
    }
    return OP_OK;
}

static enum op_result split_run(struct op_ctx *ctx)
{
    unsigned axis = 0;
    int64_t *sizes, at = 0;
    TRY(split_sizes(ctx, &axis, &sizes));
    for (unsigned k = 0; k < ctx->out_count; k++) {
        if (op_out(ctx, k) != NULL) {
            copy_part(op_in(ctx, 0), op_out(ctx, k), axis, at, false);
        }
        at += sizes[k];
    }
    return OP_OK;
}

/* ---- Slice: starts and ends as attributes before opset 10, as inputs since ---- */

struct slice {
    int64_t start[TENSOR_RANK_MAX], step[TENSOR_RANK_MAX], count[TENSOR_RANK_MAX];
};

struct slice_args {
    int64_t values[4][TENSOR_RANK_MAX]; /* starts, ends, axes, steps */
    unsigned counts[4];
};

static enum op_result slice_args(struct op_ctx *ctx, struct slice_args *args)
{
    static const char *const names[3] = {"starts", "ends", "axes"};
    memset(args, 0, sizeof(*args));
    for (unsigned k = 0; k < 3 && ctx->opset < 10; k++) {
        const int64_t *given = op_attr_ints(ctx, names[k], &args->counts[k]);
        if (args->counts[k] > TENSOR_RANK_MAX) {
            return op_invalid(ctx, "%s lists more than %u", names[k], TENSOR_RANK_MAX);
        }
        for (unsigned j = 0; j < args->counts[k]; j++) {
            args->values[k][j] = given[j];
        }
    }
    for (unsigned k = 0; k < 4 && ctx->opset >= 10; k++) {
        TRY(op_in_ints(ctx, k + 1, args->values[k], TENSOR_RANK_MAX, &args->counts[k]));
    }
    unsigned n = args->counts[0];
    if (args->counts[1] != n || (args->counts[2] != 0 && args->counts[2] != n) ||
        (args->counts[3] != 0 && args->counts[3] != n)) {
        return op_invalid(ctx, "starts, ends, axes and steps are %u, %u, %u and %u numbers", n,
                          args->counts[1], args->counts[2], args->counts[3]);
    }
    return OP_OK;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* slice_dim - as Python's slice.indices: where along `dim` to start, and how many to take. */
static void slice_dim(int64_t dim, int64_t start, int64_t end, int64_t step, int64_t *from,
                      int64_t *count)
{
    start = start < 0 && start >= -dim ? start + dim : start;
    end = end < 0 && end >= -dim ? end + dim : end;
    if (step > 0) {
        start = clamp(start, 0, dim);
        end = clamp(end, 0, dim);
        *count = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
        start = clamp(start, -1, dim - 1);
        end = clamp(end, -1, dim - 1);
        step = step == INT64_MIN ? INT64_MAX : -step;
        *count = start > end ? (start - end - 1) / step + 1 : 0;
    }
    *from = start;
}

static enum op_result slice_of(struct op_ctx *ctx, struct slice *s)
{
    const struct shape *in = &op_in(ctx, 0)->shape;
    struct slice_args args;
    uint32_t seen = 0;
    TRY(slice_args(ctx, &args));
    for (unsigned d = 0; d < in->rank; d++) {
        s->start[d] = 0;
        s->step[d] = 1;
        s->count[d] = in->dims[d];
    }
    for (unsigned k = 0; k < args.counts[0]; k++) {
        unsigned axis = 0;
        int64_t step = args.counts[3] > 0 ? args.values[3][k] : 1;
        TRY(op_axis(ctx, "axes", args.counts[2] > 0 ? args.values[2][k] : (int64_t)k, in->rank,
                    &axis));
        if (step == 0 || seen & 1u << axis) {
            return op_invalid(ctx, step == 0 ? "a step is 0" : "an axis is listed twice");
        }
        seen |= 1u << axis;
        slice_dim(in->dims[axis], args.values[0][k], args.values[1][k], step, &s->start[axis],
                  &s->count[axis]);
        s->step[axis] = s->count[axis] > 1 ? step : 1; /* no stride that is never taken */
    }
    return OP_OK;
}

static enum op_result slice_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct slice s;
    struct shape out = {.rank = x->shape.rank};
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(slice_of(ctx, &s));
    memcpy(out.dims, s.count, out.rank * sizeof(out.dims[0]));
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result slice_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    int64_t strides[TENSOR_RANK_MAX], start = 0;
    struct slice s;
    struct walk w;
    TRY(slice_of(ctx, &s));
    if (tensor_count(y) == 0) {
        return OP_OK;
    }
    walk_of(&w, &y->shape, 2);
    shape_strides(&y->shape, strides);
    walk_way(&w, 0, strides, 0);
    shape_strides(&x->shape, strides);
    for (unsigned d = 0; d < x->shape.rank; d++) {
        start += s.start[d] * strides[d];
        strides[d] *= s.step[d];
    }
    walk_way(&w, 1, strides, start);
    num_copy(&w, dtype_size(x->dtype), y->data, x->data);
    return OP_OK;
}

/* ---- Expand, Tile ---- */

static enum op_result expand_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct shape want = {0}, out;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_in_ints(ctx, 1, want.dims, TENSOR_RANK_MAX, &want.rank));
    if (!shape_is_known(&want) || !shape_broadcast(&x->shape, &want, &out)) {
        return op_invalid(ctx, "the input does not broadcast to the shape");
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result expand_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    struct walk w;
    walk_broadcast(&w, &y->shape, (const struct shape *[]){&x->shape}, 1);
    num_copy(&w, dtype_size(x->dtype), y->data, x->data);
    return OP_OK;
}

static enum op_result tile_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t repeats[TENSOR_RANK_MAX];
    struct shape out = x->shape;
    unsigned count;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_in_ints(ctx, 1, repeats, TENSOR_RANK_MAX, &count));
    if (count != out.rank) {
        return op_invalid(ctx, "%u repeats for %u dims", count, out.rank);
    }
    for (unsigned d = 0; d < count; d++) {
        if (repeats[d] < 0) {
            return op_invalid(ctx, "repeats %lld times", (long long)repeats[d]);
        }
        if (!size_mul(out.dims[d], repeats[d], &out.dims[d])) {
            return op_failed(ctx, "the result is too large");
        }
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result tile_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    struct tensor *y = op_out(ctx, 0);
    int64_t of_x[TENSOR_RANK_MAX], of_y[TENSOR_RANK_MAX];
    struct walk w = {.ways = 2};
    if (tensor_count(y) == 0) {
        return OP_OK;
    }
    shape_strides(&x->shape, of_x);
    shape_strides(&y->shape, of_y);
    for (unsigned d = 0; d < x->shape.rank; d++) { /* each dim is two: the copies, the elements */
        w.dims[w.rank] = y->shape.dims[d] / x->shape.dims[d];
        w.strides[0][w.rank] = of_y[d] * x->shape.dims[d];
        w.strides[1][w.rank++] = 0;
        w.dims[w.rank] = x->shape.dims[d];
        w.strides[0][w.rank] = of_y[d];
        w.strides[1][w.rank++] = of_x[d];
    }
    num_copy(&w, dtype_size(x->dtype), y->data, x->data);
    return OP_OK;
}

/* ---- DepthToSpace, SpaceToDepth: a transposition of [N, C, H, W] seen as six dims ---- */

static enum op_result blocks_infer(struct op_ctx *ctx, bool to_space)
{
    const struct tensor *x = op_in(ctx, 0);
    int64_t b = op_attr_i(ctx, "blocksize", 0);
    struct shape out = x->shape;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    if (out.rank != 4 || b < 1 || b > 32768) {
        return op_invalid(ctx, "want 4 dims and a blocksize of 1 to 32768");
    }
    int64_t *shrinks[2] = {&out.dims[1], &out.dims[1]}, *grows[2] = {&out.dims[2], &out.dims[3]};
    for (unsigned k = 0; k < 2; k++) {
        int64_t *less = to_space ? shrinks[k] : grows[k], *more = to_space ? grows[k] : shrinks[k];
        if (*less % b != 0) {
            return op_invalid(ctx, "the blocksize %lld does not divide the dims", (long long)b);
        }
        *less /= b;
        if (!size_mul(*more, b, more)) {
            return op_failed(ctx, "the result is too large");
        }
    }
    return op_set_out(ctx, 0, x->dtype, &out);
}

static enum op_result depth_to_space_infer(struct op_ctx *ctx)
{
    const char *mode = op_attr_s(ctx, "mode", "DCR");
    if (strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0) {
        return op_invalid(ctx, "mode is '%.20s', not DCR or CRD", mode);
    }
    return blocks_infer(ctx, true);
}

static enum op_result space_to_depth_infer(struct op_ctx *ctx)
{
    return blocks_infer(ctx, false);
}

/* blocks_run - dims: n, c, block row, block column, h, w of the smaller picture. */
static enum op_result blocks_run(struct op_ctx *ctx, bool to_space, bool depth_first)
{
    const struct tensor *x = op_in(ctx, 0), *y = op_out(ctx, 0);
    const struct tensor *deep = to_space ? x : y, *wide = to_space ? y : x;
    int64_t b = op_attr_i(ctx, "blocksize", 1);
    int64_t c = wide->shape.dims[1], h = deep->shape.dims[2], w = deep->shape.dims[3];
    struct shape six = {.rank = 6, .dims = {x->shape.dims[0], c, b, b, h, w}};
    int64_t plane = h * w;
    int64_t of_wide[6] = {c * b * b * plane, b * b * plane, w * b, 1, w * b * b, b};
    int64_t of_deep[6] = {c * b * b * plane, depth_first ? plane : b * b * plane,
                          depth_first ? c * b * plane : b * plane,
                          depth_first ? c * plane : plane, w, 1};
    struct walk walk;
    walk_of(&walk, &six, 2);
    walk_way(&walk, to_space ? 0 : 1, of_wide, 0);
    walk_way(&walk, to_space ? 1 : 0, of_deep, 0);
    num_copy(&walk, dtype_size(x->dtype), y->data, x->data);
    return OP_OK;
}

static enum op_result depth_to_space_run(struct op_ctx *ctx)
{
    return blocks_run(ctx, true, strcmp(op_attr_s(ctx, "mode", "DCR"), "DCR") == 0);
}

static enum op_result space_to_depth_run(struct op_ctx *ctx)
{
    return blocks_run(ctx, false, true);
}

/* ---- ReverseSequence ---- */

static enum op_result reverse_axes(struct op_ctx *ctx, unsigned *batch, unsigned *time)
{
    uint32_t rank = op_in(ctx, 0)->shape.rank;
    TRY(op_axis(ctx, "batch_axis", op_attr_i(ctx, "batch_axis", 1), rank, batch));
    TRY(op_axis(ctx, "time_axis", op_attr_i(ctx, "time_axis", 0), rank, time));
    return *batch + *time == 1 ? OP_OK : op_invalid(ctx, "batch and time are axes 0 and 1");
}

static enum op_result reverse_infer(struct op_ctx *ctx)
{
    unsigned batch, time;
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    TRY(op_want_dtypes(ctx, 1, DT_BIT(DT_I64)));
    if (op_in(ctx, 0)->shape.rank < 2) {
        return op_invalid(ctx, "the input has less than 2 dims");
    }
    TRY(reverse_axes(ctx, &batch, &time));
    const struct shape *lens = &op_in(ctx, 1)->shape;
    if (lens->rank != 1 || lens->dims[0] != op_in(ctx, 0)->shape.dims[batch]) {
        return op_invalid(ctx, "sequence_lens is not one number per sequence");
    }
    return ops_same(ctx);
}

static enum op_result reverse_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    unsigned batch, time;
    int64_t strides[TENSOR_RANK_MAX];
    TRY(reverse_axes(ctx, &batch, &time));
    shape_strides(&x->shape, strides);
    int64_t times = x->shape.dims[time];
    size_t inner = shape_count_range(&x->shape, 2, x->shape.rank) * dtype_size(x->dtype);
    size_t size = dtype_size(x->dtype);
    for (int64_t b = 0; b < x->shape.dims[batch]; b++) {
        int64_t len = tensor_i64(op_in(ctx, 1))[b];
        if (len < 0 || len > times) {
            return op_invalid(ctx, "a sequence has length %lld of %lld", (long long)len,
                              (long long)times);
        }
        for (int64_t t = 0; t < times && inner > 0; t++) {
            int64_t from = b * strides[batch] + (t < len ? len - 1 - t : t) * strides[time];
            int64_t to = b * strides[batch] + t * strides[time];
            memcpy((uint8_t *)op_out(ctx, 0)->data + (size_t)to * size,
                   (const uint8_t *)x->data + (size_t)from * size, inner);
        }
    }
    return OP_OK;
}

/* ---- Trilu ---- */

static enum op_result trilu_infer(struct op_ctx *ctx)
{
    TRY(op_want_dtypes(ctx, 0, DTS_ANY));
    if (op_in(ctx, 0)->shape.rank < 2) {
        return op_invalid(ctx, "the input has less than 2 dims");
    }
    return ops_same(ctx);
}

static enum op_result trilu_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool upper = op_attr_i(ctx, "upper", 1) != 0;
    size_t size = dtype_size(x->dtype), rank = x->shape.rank;
    int64_t rows = x->shape.dims[rank - 2], columns = x->shape.dims[rank - 1], k = 0;
    unsigned count;
    TRY(op_in_ints(ctx, 1, &k, 1, &count));
    k = clamp(k, -rows, columns); /* further away is all or nothing already */
    TRY(ops_copy(ctx));
    for (size_t i = 0, lines = tensor_count(x) / (columns > 0 ? (size_t)columns : 1); i < lines;
         i++) {
        int64_t edge = clamp((int64_t)(i % (size_t)rows) + k + (upper ? 0 : 1), 0, columns);
        int64_t from = upper ? 0 : edge, to = upper ? edge : columns;
        memset((uint8_t *)op_out(ctx, 0)->data + (i * (size_t)columns + (size_t)from) * size, 0,
               (size_t)(to - from) * size);
    }
    return OP_OK;
}

const struct op ops_move[] = {
    {"Transpose", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, transpose_infer, transpose_run},
    {"Concat", NULL, 4, OP_LATEST, 1, OP_ANY, 1, 1, 0, concat_infer, concat_run},
    {"Split", NULL, 2, 12, 1, 1, 1, OP_ANY, 0, split_infer, split_run},
    {"Split", NULL, 13, OP_LATEST, 1, 2, 1, OP_ANY, 0, split_infer, split_run},
    {"Slice", NULL, 1, 9, 1, 1, 1, 1, 0, slice_infer, slice_run},
    {"Slice", NULL, 10, OP_LATEST, 3, 5, 1, 1, 0, slice_infer, slice_run},
    {"Expand", NULL, 8, OP_LATEST, 2, 2, 1, 1, 0, expand_infer, expand_run},
    {"Tile", NULL, 6, OP_LATEST, 2, 2, 1, 1, 0, tile_infer, tile_run},
    {"DepthToSpace", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, depth_to_space_infer,
     depth_to_space_run},
    {"SpaceToDepth", NULL, 1, OP_LATEST, 1, 1, 1, 1, 0, space_to_depth_infer,
     space_to_depth_run},
    {"ReverseSequence", NULL, 10, OP_LATEST, 2, 2, 1, 1, 0, reverse_infer, reverse_run},
    {"Trilu", NULL, 14, OP_LATEST, 1, 2, 1, 1, 0, trilu_infer, trilu_run},
    {.name = NULL},
};
