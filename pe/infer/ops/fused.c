/* pe/infer/ops/fused.c - references of the internal operators that fusion makes (fuse.h).
 *
 * Each does what the nodes it stands for would have done, by calling their references one after the
 * other: fused = unfused is then a matter of fuse.c alone.
 * Types:      f32 only; fusion does not touch others. */
#include "pe/infer/fuse.h"
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

/* ---- activations ---- */

static const char *const activation_names[ACT_COUNT] = {
    [ACT_NONE] = "",         [ACT_RELU] = "relu",   [ACT_LEAKY] = "leaky",
    [ACT_SIGMOID] = "sigmoid", [ACT_TANH] = "tanh", [ACT_CLIP] = "clip",
    [ACT_GELU] = "gelu",     [ACT_HARDSWISH] = "hardswish", [ACT_SILU] = "silu",
};

static float number_of(const struct node *n, const char *name, float fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_FLOAT ? a->f : fallback;
}

const char *activation_name(enum activation a)
{
    return activation_names[a];
}

bool activation_of(const struct node *n, struct activation_spec *out)
{
    const struct attr *a = node_attr(n, "act");
    const char *name = a != NULL && a->type == ATTR_STRING ? a->s : "";
    for (unsigned i = 0; i < ACT_COUNT; i++) {
        if (strcmp(activation_names[i], name) == 0) {
            *out = (struct activation_spec){
                .kind = (enum activation)i,
                .alpha = number_of(n, "act_alpha", 0.01f),
                .min = number_of(n, "act_min", -INFINITY),
                .max = number_of(n, "act_max", INFINITY),
            };
            return true;
        }
    }
    return false;
}

static float activate(const struct activation_spec *a, float v)
{
    switch (a->kind) {
    case ACT_RELU:
        return v > 0 || isnan(v) ? v : 0;
    case ACT_LEAKY:
        return v < 0 ? a->alpha * v : v;
    case ACT_SIGMOID:
        return 1 / (1 + expf(-v));
    case ACT_TANH:
        return tanhf(v);
    case ACT_CLIP:
        v = v < a->min ? a->min : v;
        return v > a->max ? a->max : v;
    case ACT_GELU:
        return 0.5f * v * (1 + erff(v * 0.70710678f));
    case ACT_HARDSWISH: {
        float gate = v / 6 + 0.5f;
        gate = gate < 0 ? 0 : gate > 1 ? 1 : gate;
        return v * gate;
    }
    case ACT_SILU:
        return v / (1 + expf(-v));
    default:
        return v;
    }
}

void activation_apply(const struct activation_spec *a, float *v, size_t count)
{
    for (size_t i = 0; i < count && a->kind != ACT_NONE; i++) {
        v[i] = activate(a, v[i]);
    }
}

static enum op_result read_act(struct op_ctx *ctx, struct activation_spec *a)
{
    return activation_of(ctx->node, a)
               ? OP_OK
               : op_invalid(ctx, "unknown activation '%.40s'", op_attr_s(ctx, "act", ""));
}

/* ---- calling another operator's reference ---- */

struct inner { /* a call of ONNX operator `op` with this node's attributes */
    struct node node;
    struct op_ctx ctx;
    const struct tensor *in[3];
    struct tensor *out[1];
};

#define INNER_OPSET 17

static enum op_result inner_init(struct inner *in, struct op_ctx *ctx, const char *op,
                                 unsigned in_count, struct tensor *out)
{
    *in = (struct inner){.node = *ctx->node, .ctx = *ctx};
    in->node.row = op_find("", op, INNER_OPSET);
    in->node.opset = INNER_OPSET;
    if (in->node.row == NULL) {
        return op_unsupported(ctx, "%s has no reference", op);
    }
    for (unsigned i = 0; i < in_count; i++) {
        in->in[i] = op_in(ctx, i);
    }
    while (in_count > 0 && in->in[in_count - 1] == NULL) {
        in_count--;
    }
    in->out[0] = out;
    in->ctx.node = &in->node;
    in->ctx.opset = INNER_OPSET;
    in->ctx.in = in->in;
    in->ctx.in_count = in_count;
    in->ctx.out = in->out;
    in->ctx.out_count = 1;
    return OP_OK;
}

static enum op_result inner_infer(struct op_ctx *ctx, const char *op, unsigned in_count,
                                  struct tensor *out)
{
    struct inner in;
    enum op_result r = inner_init(&in, ctx, op, in_count, out);
    return r == OP_OK ? in.node.row->infer(&in.ctx) : r;
}

static enum op_result inner_run(struct op_ctx *ctx, const char *op, unsigned in_count,
                                struct tensor *out)
{
    struct inner in;
    enum op_result r = inner_init(&in, ctx, op, in_count, out);
    return r == OP_OK ? in.node.row->run(&in.ctx) : r;
}

/* ---- FusedGemm ---- */

static enum op_result gemm_infer(struct op_ctx *ctx)
{
    struct activation_spec a;
    enum op_result r = read_act(ctx, &a);
    return r == OP_OK && op_out(ctx, 0) != NULL ? inner_infer(ctx, "Gemm", 3, op_out(ctx, 0)) : r;
}

static enum op_result gemm_run(struct op_ctx *ctx)
{
    struct activation_spec a;
    enum op_result r = read_act(ctx, &a);
    r = r == OP_OK ? inner_run(ctx, "Gemm", 3, op_out(ctx, 0)) : r;
    if (r == OP_OK) {
        activation_apply(&a, tensor_f32(op_out(ctx, 0)), tensor_count(op_out(ctx, 0)));
    }
    return r;
}

/* ---- FusedMatMul ---- */

/* B with its last two dims exchanged, where trans_b asks for it. */
static struct shape right_shape(const struct op_ctx *ctx)
{
    struct shape s = op_in(ctx, 1)->shape;
    if (op_attr_i(ctx, "trans_b", 0) != 0 && s.rank >= 2) {
        int64_t swap = s.dims[s.rank - 1];
        s.dims[s.rank - 1] = s.dims[s.rank - 2];
        s.dims[s.rank - 2] = swap;
    }
    return s;
}

static enum op_result transpose_right(struct op_ctx *ctx, const struct shape *to, float **out)
{
    const struct tensor *b = op_in(ctx, 1);
    size_t count = tensor_count(b);
    size_t rows = (size_t)to->dims[to->rank - 1], columns = (size_t)to->dims[to->rank - 2];
    float *p = op_scratch(ctx, count, sizeof *p);
    if (p == NULL) {
        return op_failed(ctx, "no memory to transpose");
    }
    for (size_t base = 0; base < count; base += rows * columns) {
        for (size_t i = 0; i < rows; i++) {
            for (size_t k = 0; k < columns; k++) {
                p[base + k * rows + i] = tensor_f32(b)[base + i * columns + k];
            }
        }
    }
    *out = p;
    return OP_OK;
}

static enum op_result matmul_infer(struct op_ctx *ctx)
{
    struct activation_spec a;
    struct inner in;
    struct shape right = right_shape(ctx);
    struct tensor b = tensor_borrow(op_in(ctx, 1)->dtype, &right, NULL);
    struct tensor y = {0};
    enum op_result r = read_act(ctx, &a);
    if (r == OP_OK) {
        r = inner_init(&in, ctx, "MatMul", 2, &y);
    }
    if (r != OP_OK) {
        return r;
    }
    in.in[1] = &b;
    r = in.node.row->infer(&in.ctx);
    const struct tensor *c = op_in(ctx, 2);
    struct shape both;
    if (r == OP_OK && c != NULL &&
        (!shape_broadcast(&y.shape, &c->shape, &both) || !shape_equal(&both, &y.shape))) {
        return op_invalid(ctx, "what is added does not fit the product");
    }
    return r == OP_OK ? op_set_out(ctx, 0, y.dtype, &y.shape) : r;
}

static void add_broadcast(struct tensor *y, const struct tensor *c, float scale)
{
    int64_t strides[TENSOR_RANK_MAX];
    int64_t at[TENSOR_RANK_MAX] = {0};
    float *p = tensor_f32(y);
    size_t count = tensor_count(y);
    if (c != NULL) {
        shape_broadcast_strides(&c->shape, &y->shape, strides);
    }
    int64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        p[i] = p[i] * scale + (c != NULL ? tensor_f32(c)[offset] : 0);
        for (unsigned d = y->shape.rank; c != NULL && d-- > 0;) {
            offset += strides[d];
            if (++at[d] < y->shape.dims[d]) {
                break;
            }
            offset -= strides[d] * y->shape.dims[d];
            at[d] = 0;
        }
    }
}

static enum op_result matmul_run(struct op_ctx *ctx)
{
    struct activation_spec a;
    struct inner in;
    struct tensor *y = op_out(ctx, 0);
    struct shape right = right_shape(ctx);
    float *transposed = tensor_f32(op_in(ctx, 1));
    enum op_result r = read_act(ctx, &a);
    if (r == OP_OK && op_attr_i(ctx, "trans_b", 0) != 0 && right.rank >= 2 &&
        tensor_count(op_in(ctx, 1)) > 0) {
        r = transpose_right(ctx, &right, &transposed);
    }
    struct tensor b = tensor_borrow(DT_F32, &right, transposed);
    if (r == OP_OK) {
        r = inner_init(&in, ctx, "MatMul", 2, y);
    }
    if (r == OP_OK) {
        in.in[1] = &b;
        r = in.node.row->run(&in.ctx);
    }
    if (r == OP_OK) {
        add_broadcast(y, op_in(ctx, 2), op_attr_f(ctx, "scale", 1));
        activation_apply(&a, tensor_f32(y), tensor_count(y));
    }
    return r;
}

/* ---- FusedConv ---- */

struct pool { /* the pooling behind a convolution, as a node that MaxPool's reference reads */
    struct node node;
    struct attr attrs[3];
    const char *op;
};

static void pool_attr(struct attr *to, const char *name, const struct op_ctx *ctx,
                      const char *from)
{
    unsigned count;
    const int64_t *ints = op_attr_ints(ctx, from, &count);
    *to = (struct attr){.name = (char *)(uintptr_t)name, .type = ATTR_INTS, .count = count};
    to->ints = (int64_t *)(uintptr_t)ints;
}

static void pool_init(struct pool *p, const struct op_ctx *ctx)
{
    const char *kind = op_attr_s(ctx, "pool", "");
    *p = (struct pool){.node = *ctx->node};
    p->op = strcmp(kind, "max") == 0 ? "MaxPool" : strcmp(kind, "average") == 0 ? "AveragePool"
                                                                                : NULL;
    pool_attr(&p->attrs[0], "kernel_shape", ctx, "pool_kernel");
    pool_attr(&p->attrs[1], "strides", ctx, "pool_strides");
    pool_attr(&p->attrs[2], "pads", ctx, "pool_pads");
    p->node.attrs = p->attrs;
    p->node.attr_count = 3;
    p->node.input_count = p->node.output_count = 1;
}

static enum op_result pool_call(struct pool *p, struct op_ctx *ctx, const struct tensor *x,
                                struct tensor *y, bool run)
{
    struct op_ctx inner = *ctx;
    p->node.row = op_find("", p->op, INNER_OPSET);
    if (p->node.row == NULL) {
        return op_unsupported(ctx, "%s has no reference", p->op);
    }
    inner.node = &p->node;
    inner.opset = INNER_OPSET;
    inner.in = &x;
    inner.in_count = 1;
    inner.out = &y;
    inner.out_count = 1;
    return run ? p->node.row->run(&inner) : p->node.row->infer(&inner);
}

static enum op_result conv_infer(struct op_ctx *ctx)
{
    struct activation_spec a;
    struct pool pool;
    struct tensor y = {0}, pooled = {0};
    enum op_result r = read_act(ctx, &a);
    r = r == OP_OK ? inner_infer(ctx, "Conv", 3, &y) : r;
    if (r != OP_OK) {
        return r;
    }
    const struct tensor *residual = op_in(ctx, 3);
    if (residual != NULL && !shape_equal(&residual->shape, &y.shape)) {
        return op_invalid(ctx, "what is added does not have the shape of the convolution");
    }
    pool_init(&pool, ctx);
    if (pool.op == NULL) {
        return op_set_out(ctx, 0, y.dtype, &y.shape);
    }
    r = pool_call(&pool, ctx, &y, &pooled, false);
    return r == OP_OK ? op_set_out(ctx, 0, pooled.dtype, &pooled.shape) : r;
}

static enum op_result conv_run(struct op_ctx *ctx)
{
    struct activation_spec a;
    struct pool pool;
    struct tensor y = {0};
    enum op_result r = read_act(ctx, &a);
    pool_init(&pool, ctx);
    if (r == OP_OK && pool.op != NULL) { /* the convolution goes to scratch first */
        r = inner_infer(ctx, "Conv", 3, &y);
        y.data = r == OP_OK ? op_scratch(ctx, tensor_count(&y), sizeof(float)) : NULL;
        if (r == OP_OK && y.data == NULL) {
            return op_failed(ctx, "no memory for the convolution before the pool");
        }
    } else if (r == OP_OK) {
        y = *op_out(ctx, 0);
    }
    r = r == OP_OK ? inner_run(ctx, "Conv", 3, &y) : r;
    if (r != OP_OK) {
        return r;
    }
    add_broadcast(&y, op_in(ctx, 3), 1);
    activation_apply(&a, tensor_f32(&y), tensor_count(&y));
    return pool.op != NULL ? pool_call(&pool, ctx, &y, op_out(ctx, 0), true) : OP_OK;
}

/* ---- Gelu, AttnSoftmax ---- */

static enum op_result same_infer(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    return op_set_out(ctx, 0, x->dtype, &x->shape);
}

static enum op_result gelu_run(struct op_ctx *ctx)
{
    const struct tensor *x = op_in(ctx, 0);
    bool use_tanh = op_attr_i(ctx, "tanh", 0) != 0;
    size_t count = tensor_count(x);
    for (size_t i = 0; i < count; i++) {
        float v = tensor_f32(x)[i];
        float inner = use_tanh ? tanhf(0.79788456f * (v + 0.044715f * v * v * v))
                               : erff(v * 0.70710678f);
        tensor_f32(op_out(ctx, 0))[i] = 0.5f * v * (1 + inner);
    }
    return OP_OK;
}

static enum op_result attn_infer(struct op_ctx *ctx)
{
    const struct tensor *s = op_in(ctx, 0), *mask = op_in(ctx, 1);
    struct shape both;
    if (s->shape.rank == 0) {
        return op_invalid(ctx, "the scores are a scalar");
    }
    if (mask != NULL && (!shape_broadcast(&s->shape, &mask->shape, &both) ||
                         !shape_equal(&both, &s->shape))) {
        return op_invalid(ctx, "the mask does not fit the scores");
    }
    return op_set_out(ctx, 0, s->dtype, &s->shape);
}

static enum op_result attn_run(struct op_ctx *ctx)
{
    const struct tensor *s = op_in(ctx, 0);
    struct tensor *p = op_out(ctx, 0);
    size_t width = (size_t)s->shape.dims[s->shape.rank - 1];
    size_t count = tensor_count(s);
    if (p->data != s->data && count > 0) {
        memcpy(p->data, s->data, count * sizeof(float));
    }
    add_broadcast(p, op_in(ctx, 1), op_attr_f(ctx, "scale", 1));
    for (size_t base = 0; base < count; base += width) {
        float *row = tensor_f32(p) + base;
        float max = -INFINITY, sum = 0;
        for (size_t i = 0; i < width; i++) {
            max = row[i] > max ? row[i] : max;
        }
        for (size_t i = 0; i < width; i++) {
            row[i] = expf(row[i] - max);
            sum += row[i];
        }
        for (size_t i = 0; i < width; i++) {
            row[i] /= sum;
        }
    }
    return OP_OK;
}

const struct op ops_fused[] = {
    {"FusedGemm", OXBOW_DOMAIN, 1, 1, 2, 3, 1, 1, OP_HEAVY, gemm_infer, gemm_run},
    {"FusedMatMul", OXBOW_DOMAIN, 1, 1, 2, 3, 1, 1, OP_HEAVY, matmul_infer, matmul_run},
    {"FusedConv", OXBOW_DOMAIN, 1, 1, 2, 4, 1, 1, OP_HEAVY, conv_infer, conv_run},
    {"Gelu", OXBOW_DOMAIN, 1, 1, 1, 1, 1, 1, OP_IN_PLACE, same_infer, gelu_run},
    {"AttnSoftmax", OXBOW_DOMAIN, 1, 1, 1, 2, 1, 1, 0, attn_infer, attn_run},
    {.name = NULL},
};
