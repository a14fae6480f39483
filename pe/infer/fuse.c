/* pe/infer/fuse.c - rewrites of a specialised graph: fewer, larger nodes that compute the same.
 *
 * Method:     one pass in topological order.  Each rule looks backwards from the node it is asked
 *             about and, where it matches, turns *that* node into the fused one: everything it
 *             reads is made before it, so the order stays right.  The nodes it swallowed die.
 * Invariants: U1 a value is swallowed only when the node at hand is its only reader and it is no
 *                output of the graph.
 *             U2 only f32 is touched; shapes of what remains do not change.
 *             U3 every rewrite lessens the number of live nodes or makes a node internal, so the
 *                pass ends. */
#include "pe/infer/fuse.h"

#include "core/mem.h"
#include "pe/infer/op.h"
#include "pe/infer/specialise.h"

#include <assert.h>
#include <math.h>
#include <string.h>

struct fuser {
    struct graph *graph;
    uint32_t *uses;  /* per value */
    uint32_t *same;  /* per value: what its readers are to read instead, itself if nothing */
    bool *is_output; /* per value: of the graph */
};

/* ---- looking ---- */

static bool is_op(const struct node *n, const char *domain, const char *op)
{
    return n != NULL && !n->dead && strcmp(n->op, op) == 0 && strcmp(n->domain, domain) == 0;
}

static bool is_onnx(const struct node *n, const char *op)
{
    return is_op(n, "", op);
}

static bool is_ours(const struct node *n, const char *op)
{
    return is_op(n, OXBOW_DOMAIN, op);
}

static uint32_t input_of(const struct node *n, uint32_t i)
{
    return i < n->input_count ? n->inputs[i] : VALUE_NONE;
}

static const struct tensor *type_of(const struct fuser *u, uint32_t v)
{
    return &u->graph->values[v].type;
}

static bool is_f32(const struct fuser *u, uint32_t v)
{
    return v != VALUE_NONE && type_of(u, v)->dtype == DT_F32;
}

static bool is_const(const struct fuser *u, uint32_t v)
{
    return v != VALUE_NONE && u->graph->values[v].kind == VALUE_CONST;
}

/* The live node that makes `v`, or NULL. */
static struct node *maker(const struct fuser *u, uint32_t v)
{
    if (v == VALUE_NONE || u->graph->values[v].kind != VALUE_NODE) {
        return NULL;
    }
    struct node *n = &u->graph->nodes[u->graph->values[v].node];
    return n->dead || n->dynamic ? NULL : n;
}

/* The maker of `v` if nobody but one reader wants it (U1). */
static struct node *sole_maker(const struct fuser *u, uint32_t v)
{
    struct node *n = maker(u, v);
    if (n == NULL || u->uses[v] != 1 || n->outputs[0] != v) {
        return NULL;
    }
    for (uint32_t i = 1; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE && u->uses[n->outputs[i]] > 0) {
            return NULL;
        }
    }
    return n;
}

/* `v` is a constant of one f32: its value. */
static bool scalar_of(const struct fuser *u, uint32_t v, float *out)
{
    if (!is_const(u, v) || !is_f32(u, v) || tensor_count(type_of(u, v)) != 1) {
        return false;
    }
    *out = tensor_f32(type_of(u, v))[0];
    return true;
}

static bool scalar_near(const struct fuser *u, uint32_t v, float want)
{
    float x;
    return scalar_of(u, v, &x) && fabsf(x - want) <= 1e-4f * fabsf(want);
}

static int64_t int_attr(const struct node *n, const char *name, int64_t fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_INT ? a->i : fallback;
}

static float float_attr(const struct node *n, const char *name, float fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_FLOAT ? a->f : fallback;
}

static const char *string_attr(const struct node *n, const char *name)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_STRING ? a->s : "";
}

static bool same_shape(const struct fuser *u, uint32_t a, uint32_t b)
{
    return shape_equal(&type_of(u, a)->shape, &type_of(u, b)->shape);
}

/* ---- changing ---- */

static void set_op(struct node *n, const char *domain, const char *op, int opset)
{
    mem_free(n->op);
    mem_free(n->domain);
    n->op = mem_dup(op);
    n->domain = mem_dup(domain);
    n->opset = opset;
    n->row = op_find(domain, op, opset);
    assert(n->row != NULL);
}

static void unread(struct fuser *u, uint32_t v);

static void kill(struct fuser *u, struct node *n)
{
    n->dead = true;
    for (uint32_t i = 0; i < n->input_count; i++) {
        unread(u, n->inputs[i]);
    }
}

/* One reader of `v` has gone; what only it wanted goes too. */
static void unread(struct fuser *u, uint32_t v)
{
    if (v == VALUE_NONE || --u->uses[v] > 0) {
        return;
    }
    struct node *n = maker(u, v);
    for (uint32_t i = 0; n != NULL && i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE && u->uses[n->outputs[i]] > 0) {
            return;
        }
    }
    if (n != NULL) {
        kill(u, n);
    }
}

/* become - node `n` takes over operator, attributes and the given inputs; what it read before and
 * reads no longer loses a reader. */
static void become(struct fuser *u, struct node *n, const char *domain, const char *op, int opset,
                   const uint32_t *inputs, uint32_t count)
{
    uint32_t *old = n->inputs, old_count = n->input_count;
    n->inputs = mem_array(count, sizeof *n->inputs);
    n->input_count = count;
    for (uint32_t i = 0; i < count; i++) {
        n->inputs[i] = inputs[i];
        if (inputs[i] != VALUE_NONE) {
            u->uses[inputs[i]]++;
        }
    }
    while (n->input_count > 0 && n->inputs[n->input_count - 1] == VALUE_NONE) {
        n->input_count--;
    }
    set_op(n, domain, op, opset);
    for (uint32_t i = 0; i < old_count; i++) {
        unread(u, old[i]);
    }
    mem_free(old);
}

/* swallow - `n`, which alone reads `core`'s output, becomes `core` with more inputs; the caller
 * adds attributes after. */
static void swallow(struct fuser *u, struct node *n, const struct node *core,
                    const uint32_t *inputs, uint32_t count)
{
    node_attrs_fini(n);
    for (uint32_t i = 0; i < core->attr_count; i++) {
        node_copy_attr(n, &core->attrs[i]);
    }
    char *op = mem_dup(core->op), *domain = mem_dup(core->domain);
    int opset = core->opset;
    become(u, n, domain, op, opset, inputs, count);
    mem_free(op);
    mem_free(domain);
}

static uint32_t add_const(struct fuser *u, struct tensor *t TAKES)
{
    uint32_t v = graph_add_const(u->graph, NULL, t);
    size_t count = u->graph->value_count;
    u->uses = mem_resize(u->uses, count, sizeof *u->uses);
    u->same = mem_resize(u->same, count, sizeof *u->same);
    u->is_output = mem_resize(u->is_output, count, sizeof *u->is_output);
    u->uses[v] = 0;
    u->same[v] = v;
    u->is_output[v] = false;
    return v;
}

/* ---- what does nothing ---- */

static bool drop_identity(struct fuser *u, struct node *n)
{
    bool same = is_onnx(n, "Identity") || is_onnx(n, "Dropout");
    bool reshapes = is_onnx(n, "Reshape") || is_onnx(n, "Flatten") || is_onnx(n, "Squeeze") ||
                    is_onnx(n, "Unsqueeze") || is_onnx(n, "Cast") || is_onnx(n, "Expand");
    uint32_t from = input_of(n, 0), to = n->output_count > 0 ? n->outputs[0] : VALUE_NONE;
    if ((!same && !reshapes) || from == VALUE_NONE || to == VALUE_NONE ||
        (n->row->flags & OP_RANDOM) != 0 || type_of(u, from)->dtype != type_of(u, to)->dtype ||
        !same_shape(u, from, to)) {
        return false;
    }
    if (is_onnx(n, "Dropout") && (n->output_count > 1 || n->input_count > 2)) {
        return false; /* a mask is wanted, or it trains */
    }
    if (u->is_output[to]) {
        return false; /* outputs keep their names */
    }
    u->same[to] = from; /* its readers come later and look here first */
    u->uses[from] += u->uses[to];
    u->uses[to] = 0;
    kill(u, n);
    return true;
}

/* ---- making internal ---- */

/* Pads, strides and dilations in full, whatever the file left out or let ONNX work out. */
static void spell_out_conv(const struct fuser *u, struct node *n)
{
    const struct shape *x = &type_of(u, n->inputs[0])->shape;
    const struct shape *w = &type_of(u, n->inputs[1])->shape;
    const struct shape *y = &type_of(u, n->outputs[0])->shape;
    const char *mode = string_attr(n, "auto_pad");
    bool same = strcmp(mode, "SAME_UPPER") == 0 || strcmp(mode, "SAME_LOWER") == 0;
    bool low_first = strcmp(mode, "SAME_LOWER") == 0;
    int64_t ones[TENSOR_RANK_MAX], pads[2 * TENSOR_RANK_MAX] = {0};
    uint32_t spatial = w->rank - 2;
    for (unsigned i = 0; i < spatial; i++) {
        ones[i] = 1;
    }
    if (node_attr(n, "strides") == NULL) {
        node_set_ints(n, "strides", ones, spatial);
    }
    if (node_attr(n, "dilations") == NULL) {
        node_set_ints(n, "dilations", ones, spatial);
    }
    const int64_t *strides = node_attr(n, "strides")->ints;
    const int64_t *dilations = node_attr(n, "dilations")->ints;
    for (unsigned i = 0; same && i < spatial; i++) {
        int64_t reach = (w->dims[i + 2] - 1) * dilations[i] + 1;
        int64_t total = (y->dims[i + 2] - 1) * strides[i] + reach - x->dims[i + 2];
        total = total < 0 ? 0 : total;
        pads[i] = low_first ? total - total / 2 : total / 2;
        pads[spatial + i] = total - pads[i];
    }
    if (same || strcmp(mode, "VALID") == 0 || node_attr(n, "pads") == NULL) {
        node_set_ints(n, "pads", pads, 2 * spatial);
    }
    node_set_string(n, "auto_pad", "NOTSET");
    node_set_ints(n, "kernel_shape", &w->dims[2], spatial);
    node_set_int(n, "group", int_attr(n, "group", 1));
}

static bool own_conv(struct fuser *u, struct node *n)
{
    if (!is_onnx(n, "Conv") || !is_f32(u, n->inputs[0])) {
        return false;
    }
    spell_out_conv(u, n);
    set_op(n, OXBOW_DOMAIN, "FusedConv", 1);
    return true;
}

static bool own_gemm(struct fuser *u, struct node *n)
{
    if (!is_onnx(n, "Gemm") || !is_f32(u, n->inputs[0])) {
        return false;
    }
    set_op(n, OXBOW_DOMAIN, "FusedGemm", 1);
    return true;
}

/* A 2-D product is a Gemm; others stay batched. */
static bool own_matmul(struct fuser *u, struct node *n)
{
    if (!is_onnx(n, "MatMul") || !is_f32(u, n->inputs[0])) {
        return false;
    }
    bool flat = type_of(u, n->inputs[0])->shape.rank == 2 &&
                type_of(u, n->inputs[1])->shape.rank == 2;
    set_op(n, OXBOW_DOMAIN, flat ? "FusedGemm" : "FusedMatMul", 1);
    return true;
}

/* ---- convolution and what follows it ---- */

/* A core that has taken an activation or a pool takes no more arithmetic. */
static bool is_open(const struct node *core)
{
    return string_attr(core, "act")[0] == '\0' && string_attr(core, "pool")[0] == '\0';
}

struct norm { /* per channel: y = x * scale + shift */
    float *scale;
    float *shift;
};

static bool norm_read(const struct fuser *u, const struct node *n, size_t channels,
                      struct norm *out)
{
    const float *p[4];
    for (unsigned i = 0; i < 4; i++) {
        uint32_t v = input_of(n, i + 1);
        if (!is_const(u, v) || !is_f32(u, v) || tensor_count(type_of(u, v)) != channels) {
            return false;
        }
        p[i] = tensor_f32(type_of(u, v));
    }
    float epsilon = float_attr(n, "epsilon", 1e-5f);
    out->scale = mem_array(channels, sizeof(float));
    out->shift = mem_array(channels, sizeof(float));
    for (size_t c = 0; c < channels; c++) {
        out->scale[c] = p[0][c] / sqrtf(p[3][c] + epsilon);
        out->shift[c] = p[1][c] - p[2][c] * out->scale[c];
    }
    return true;
}

static bool scale_weights(struct fuser *u, const struct node *conv, const struct norm *m,
                          uint32_t *weights, uint32_t *bias)
{
    const struct tensor *w = type_of(u, conv->inputs[1]);
    uint32_t old_bias = input_of(conv, 2);
    size_t channels = (size_t)w->shape.dims[0], each = tensor_count(w) / channels;
    struct shape line = shape_of(1, (int)channels);
    struct tensor nw = {0}, nb = {0};
    if (tensor_alloc(&nw, DT_F32, &w->shape, NULL) != ERR_OK ||
        tensor_alloc(&nb, DT_F32, &line, NULL) != ERR_OK) {
        tensor_fini(&nw);
        return false;
    }
    for (size_t c = 0; c < channels; c++) {
        float b = old_bias != VALUE_NONE ? tensor_f32(type_of(u, old_bias))[c] : 0;
        tensor_f32(&nb)[c] = b * m->scale[c] + m->shift[c];
        for (size_t i = 0; i < each; i++) {
            tensor_f32(&nw)[c * each + i] = tensor_f32(w)[c * each + i] * m->scale[c];
        }
    }
    *weights = add_const(u, &nw);
    *bias = add_const(u, &nb);
    return true;
}

static bool is_inference_norm(const struct node *n)
{
    if (!is_onnx(n, "BatchNormalization") || int_attr(n, "training_mode", 0) != 0 ||
        (n->opset < 7 && int_attr(n, "is_test", 0) == 0) || int_attr(n, "spatial", 1) == 0) {
        return false;
    }
    for (uint32_t i = 1; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            return false;
        }
    }
    return true;
}

static bool fold_norm(struct fuser *u, struct node *n)
{
    struct node *conv = is_inference_norm(n) ? sole_maker(u, n->inputs[0]) : NULL;
    struct norm m;
    uint32_t weights, bias;
    if (!is_ours(conv, "FusedConv") || !is_open(conv) || input_of(conv, 3) != VALUE_NONE ||
        !is_const(u, conv->inputs[1]) ||
        (input_of(conv, 2) != VALUE_NONE && !is_const(u, conv->inputs[2]))) {
        return false;
    }
    size_t channels = (size_t)type_of(u, conv->inputs[1])->shape.dims[0];
    if (channels == 0 || !norm_read(u, n, channels, &m)) {
        return false;
    }
    bool ok = scale_weights(u, conv, &m, &weights, &bias);
    mem_free(m.scale);
    mem_free(m.shift);
    if (ok) {
        swallow(u, n, conv, (uint32_t[]){conv->inputs[0], weights, bias}, 3);
    }
    return ok;
}

/* `v` adds one number per channel to a convolution's output of shape `y`: [C,1,1] or [1,C,1,1]. */
static bool is_channel_bias(const struct fuser *u, uint32_t v, const struct shape *y)
{
    const struct shape *s = &type_of(u, v)->shape;
    if (!is_const(u, v) || !is_f32(u, v) || s->rank + 1 < y->rank || s->rank > y->rank) {
        return false;
    }
    for (unsigned i = 0; i < s->rank; i++) {
        unsigned d = i + y->rank - s->rank;
        if (s->dims[i] != (d == 1 ? y->dims[1] : 1)) {
            return false;
        }
    }
    return true;
}

static bool add_to_conv(struct fuser *u, struct node *n)
{
    for (unsigned side = 0; side < 2 && is_onnx(n, "Add"); side++) {
        struct node *conv = sole_maker(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side], y = n->outputs[0];
        if (!is_ours(conv, "FusedConv") || !is_open(conv) ||
            input_of(conv, 3) != VALUE_NONE || !same_shape(u, n->inputs[side], y)) {
            continue;
        }
        uint32_t in[4] = {conv->inputs[0], conv->inputs[1], input_of(conv, 2), VALUE_NONE};
        if (in[2] == VALUE_NONE && is_channel_bias(u, other, &type_of(u, y)->shape)) {
            struct tensor line = {0};
            struct shape shape = shape_of(1, (int)type_of(u, y)->shape.dims[1]);
            tensor_share(&line, type_of(u, other));
            line.shape = shape;
            in[2] = add_const(u, &line);
            swallow(u, n, conv, in, 3);
            return true;
        }
        if (is_f32(u, other) && same_shape(u, other, y)) {
            in[3] = other;
            swallow(u, n, conv, in, 4);
            return true;
        }
    }
    return false;
}

static bool all_are(const struct attr *a, int64_t want)
{
    for (uint32_t i = 0; a != NULL && i < a->count; i++) {
        if (a->ints[i] != want) {
            return false;
        }
    }
    return true;
}

static bool is_plain_pool(const struct node *n)
{
    const char *mode = string_attr(n, "auto_pad");
    const struct attr *kernel = node_attr(n, "kernel_shape");
    bool max = is_onnx(n, "MaxPool"), average = is_onnx(n, "AveragePool");
    return (max || average) && (mode[0] == '\0' || strcmp(mode, "NOTSET") == 0) &&
           int_attr(n, "ceil_mode", 0) == 0 && all_are(node_attr(n, "dilations"), 1) &&
           n->output_count == 1 && kernel != NULL && kernel->type == ATTR_INTS &&
           (max || all_are(node_attr(n, "pads"), 0));
}

static bool pool_conv(struct fuser *u, struct node *n)
{
    struct node *conv = is_plain_pool(n) ? sole_maker(u, n->inputs[0]) : NULL;
    if (!is_ours(conv, "FusedConv") || string_attr(conv, "pool")[0] != '\0') {
        return false;
    }
    int64_t fill[2 * TENSOR_RANK_MAX];
    const struct attr *a[3] = {node_attr(n, "kernel_shape"), node_attr(n, "strides"),
                               node_attr(n, "pads")};
    struct node hold = {0}; /* keeps the pool's attributes while `n` is rewritten */
    node_set_ints(&hold, "pool_kernel", a[0]->ints, a[0]->count);
    for (unsigned i = 0; i < 2 * TENSOR_RANK_MAX; i++) {
        fill[i] = 1;
    }
    node_set_ints(&hold, "pool_strides", a[1] != NULL ? a[1]->ints : fill, a[0]->count);
    memset(fill, 0, sizeof fill);
    node_set_ints(&hold, "pool_pads", a[2] != NULL ? a[2]->ints : fill, 2 * a[0]->count);
    node_set_string(&hold, "pool", is_onnx(n, "MaxPool") ? "max" : "average");
    swallow(u, n, conv, conv->inputs, conv->input_count);
    for (uint32_t i = 0; i < hold.attr_count; i++) {
        node_copy_attr(n, &hold.attrs[i]);
    }
    node_attrs_fini(&hold);
    return true;
}

/* ---- products and what follows them ---- */

static bool add_to_product(struct fuser *u, struct node *n)
{
    for (unsigned side = 0; side < 2 && is_onnx(n, "Add"); side++) {
        struct node *core = sole_maker(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side];
        bool gemm = is_ours(core, "FusedGemm");
        if ((!gemm && !is_ours(core, "FusedMatMul")) || !is_open(core) ||
            input_of(core, 2) != VALUE_NONE || !is_f32(u, other) ||
            !same_shape(u, n->inputs[side], n->outputs[0]) ||
            (gemm && float_attr(core, "beta", 1) != 1)) {
            continue;
        }
        swallow(u, n, core, (uint32_t[]){core->inputs[0], core->inputs[1], other}, 3);
        return true;
    }
    return false;
}

/* Mul or Div by a constant behind a batched product. */
static bool scale_product(struct fuser *u, struct node *n)
{
    float c;
    bool mul = is_onnx(n, "Mul"), div = is_onnx(n, "Div");
    if ((!mul && !div) || n->input_count != 2) {
        return false;
    }
    unsigned side = mul && is_const(u, n->inputs[0]) ? 1 : 0;
    struct node *core = sole_maker(u, n->inputs[side]);
    if (!is_ours(core, "FusedMatMul") || !is_open(core) || input_of(core, 2) != VALUE_NONE ||
        !scalar_of(u, n->inputs[1 - side], &c) || (div && c == 0) ||
        !same_shape(u, n->inputs[side], n->outputs[0])) {
        return false;
    }
    float scale = float_attr(core, "scale", 1) * (div ? 1 / c : c);
    swallow(u, n, core, core->inputs, core->input_count);
    node_set_float(n, "scale", scale);
    return true;
}

/* MatMul(A, Transpose(K)) that exchanges the last two dims. */
static bool take_transpose(struct fuser *u, struct node *n)
{
    struct node *t = is_ours(n, "FusedMatMul") ? maker(u, n->inputs[1]) : NULL;
    const struct attr *perm = is_onnx(t, "Transpose") ? node_attr(t, "perm") : NULL;
    if (perm == NULL || perm->type != ATTR_INTS || perm->count < 2 ||
        int_attr(n, "trans_b", 0) != 0) {
        return false;
    }
    uint32_t rank = perm->count;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t want = i == rank - 2 ? rank - 1 : i == rank - 1 ? rank - 2 : i;
        if (perm->ints[i] != want) {
            return false;
        }
    }
    node_set_int(n, "trans_b", 1);
    become(u, n, OXBOW_DOMAIN, "FusedMatMul", 1,
           (uint32_t[]){n->inputs[0], t->inputs[0], input_of(n, 2)}, 3);
    return true;
}

/* ---- activations ---- */

static bool clip_bounds(const struct fuser *u, const struct node *n, float *low, float *high)
{
    *low = float_attr(n, "min", -INFINITY);
    *high = float_attr(n, "max", INFINITY);
    return (input_of(n, 1) == VALUE_NONE || scalar_of(u, n->inputs[1], low)) &&
           (input_of(n, 2) == VALUE_NONE || scalar_of(u, n->inputs[2], high));
}

/* Mul(x, Sigmoid(x)); *x is what the core makes. */
static bool is_silu(const struct fuser *u, const struct node *n, uint32_t *x)
{
    for (unsigned side = 0; side < 2 && is_onnx(n, "Mul"); side++) {
        struct node *gate = sole_maker(u, n->inputs[side]);
        if (is_onnx(gate, "Sigmoid") && gate->inputs[0] == n->inputs[1 - side]) {
            *x = n->inputs[1 - side];
            return true;
        }
    }
    return false;
}

static enum activation activation_in(const struct fuser *u, const struct node *n, uint32_t *x)
{
    static const struct {
        const char *domain, *op;
        enum activation act;
    } simple[] = {{"", "Relu", ACT_RELU},       {"", "LeakyRelu", ACT_LEAKY},
                  {"", "Sigmoid", ACT_SIGMOID}, {"", "Tanh", ACT_TANH},
                  {"", "Clip", ACT_CLIP},       {"", "HardSwish", ACT_HARDSWISH},
                  {OXBOW_DOMAIN, "Gelu", ACT_GELU}};
    *x = input_of(n, 0);
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++) {
        if (is_op(n, simple[i].domain, simple[i].op)) {
            return simple[i].act == ACT_GELU && int_attr(n, "tanh", 0) != 0 ? ACT_NONE
                                                                            : simple[i].act;
        }
    }
    return is_silu(u, n, x) ? ACT_SILU : ACT_NONE;
}

static bool take_activation(struct fuser *u, struct node *n)
{
    uint32_t x;
    float low = 0, high = 0, alpha = float_attr(n, "alpha", 0.01f);
    enum activation act = activation_in(u, n, &x);
    struct node *core = act == ACT_NONE ? NULL : maker(u, x);
    uint32_t readers = act == ACT_SILU ? 2 : 1; /* the gate and the product */
    if (core == NULL || u->uses[x] != readers || !is_open(core) ||
        (!is_ours(core, "FusedConv") && !is_ours(core, "FusedGemm") &&
         !is_ours(core, "FusedMatMul")) ||
        (act == ACT_CLIP && !clip_bounds(u, n, &low, &high))) {
        return false;
    }
    swallow(u, n, core, core->inputs, core->input_count);
    node_set_string(n, "act", activation_name(act));
    if (act == ACT_LEAKY) {
        node_set_float(n, "act_alpha", alpha);
    } else if (act == ACT_CLIP) {
        node_set_float(n, "act_min", low);
        node_set_float(n, "act_max", high);
    }
    return true;
}

/* ---- Gelu: x * 0.5 * (1 + erf(x / sqrt 2)), in the orders exporters write it ---- */

/* If `n` multiplies by about `c`, the other input; else VALUE_NONE. */
static uint32_t times(const struct fuser *u, const struct node *n, float c)
{
    for (unsigned side = 0; side < 2 && is_onnx(n, "Mul"); side++) {
        if (scalar_near(u, n->inputs[side], c)) {
            return n->inputs[1 - side];
        }
    }
    return VALUE_NONE;
}

/* The x of 1 + erf(x / sqrt 2), or VALUE_NONE. */
static uint32_t erf_gate(const struct fuser *u, uint32_t v)
{
    struct node *add = sole_maker(u, v);
    for (unsigned side = 0; side < 2 && is_onnx(add, "Add"); side++) {
        struct node *erf = sole_maker(u, add->inputs[side]);
        if (!is_onnx(erf, "Erf") || !scalar_near(u, add->inputs[1 - side], 1)) {
            continue;
        }
        struct node *inner = sole_maker(u, erf->inputs[0]);
        if (is_onnx(inner, "Div") && scalar_near(u, inner->inputs[1], 1.41421356f)) {
            return inner->inputs[0];
        }
        return inner != NULL ? times(u, inner, 0.70710678f) : VALUE_NONE;
    }
    return VALUE_NONE;
}

/* The x of x * (1 + erf(x / sqrt 2)), or of (0.5 x) * (...) with *half set. */
static uint32_t gated(const struct fuser *u, const struct node *n, bool *half)
{
    *half = false;
    for (unsigned side = 0; side < 2 && is_onnx(n, "Mul"); side++) {
        uint32_t x = erf_gate(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side];
        if (x == VALUE_NONE) {
            continue;
        }
        if (other == x) {
            return x;
        }
        struct node *halved = sole_maker(u, other);
        if (halved != NULL && times(u, halved, 0.5f) == x) {
            *half = true;
            return x;
        }
    }
    return VALUE_NONE;
}

static bool take_gelu(struct fuser *u, struct node *n)
{
    bool half = false;
    uint32_t x = is_onnx(n, "Mul") ? gated(u, n, &half) : VALUE_NONE;
    if (x == VALUE_NONE || !half) { /* 0.5 * (x * (...)) */
        uint32_t inner = is_onnx(n, "Mul") ? times(u, n, 0.5f) : VALUE_NONE;
        struct node *product = inner != VALUE_NONE ? sole_maker(u, inner) : NULL;
        x = product != NULL ? gated(u, product, &half) : VALUE_NONE;
        if (x == VALUE_NONE || half) {
            return false;
        }
    }
    if (!is_f32(u, x) || !same_shape(u, x, n->outputs[0])) {
        return false;
    }
    node_attrs_fini(n);
    become(u, n, OXBOW_DOMAIN, "Gelu", 1, &x, 1);
    node_set_int(n, "tanh", 0);
    return true;
}

/* ---- LayerNormalization, spelled out ---- */

static bool last_axis_mean(const struct fuser *u, const struct node *n)
{
    if (!is_onnx(n, "ReduceMean") || int_attr(n, "keepdims", 1) == 0) {
        return false;
    }
    int64_t rank = type_of(u, n->inputs[0])->shape.rank;
    const struct attr *axes = node_attr(n, "axes");
    if (axes != NULL) {
        return axes->type == ATTR_INTS && axes->count == 1 &&
               (axes->ints[0] == -1 || axes->ints[0] == rank - 1);
    }
    uint32_t v = input_of(n, 1); /* opset 18 */
    return is_const(u, v) && tensor_count(type_of(u, v)) == 1 &&
           (tensor_get_i64(type_of(u, v), 0) == -1 ||
            tensor_get_i64(type_of(u, v), 0) == rank - 1);
}

/* x - mean(x): x, or VALUE_NONE. */
static uint32_t centred(const struct fuser *u, uint32_t v)
{
    struct node *sub = maker(u, v);
    struct node *mean = is_onnx(sub, "Sub") ? maker(u, sub->inputs[1]) : NULL;
    return mean != NULL && last_axis_mean(u, mean) && mean->inputs[0] == sub->inputs[0]
               ? sub->inputs[0]
               : VALUE_NONE;
}

/* sqrt(mean(d^2) + epsilon): true when `v` is that of `d`. */
static bool deviation(const struct fuser *u, uint32_t v, uint32_t d, float *epsilon)
{
    struct node *root = sole_maker(u, v);
    struct node *add = is_onnx(root, "Sqrt") ? sole_maker(u, root->inputs[0]) : NULL;
    for (unsigned side = 0; side < 2 && is_onnx(add, "Add"); side++) {
        struct node *mean = sole_maker(u, add->inputs[side]);
        if (mean == NULL || !last_axis_mean(u, mean) ||
            !scalar_of(u, add->inputs[1 - side], epsilon)) {
            continue;
        }
        struct node *square = sole_maker(u, mean->inputs[0]);
        if (is_onnx(square, "Pow") && square->inputs[0] == d) {
            return scalar_near(u, square->inputs[1], 2);
        }
        return is_onnx(square, "Mul") && square->inputs[0] == d && square->inputs[1] == d;
    }
    return false;
}

/* `v` is a vector as long as x's last dim. */
static bool is_row(const struct fuser *u, uint32_t v, uint32_t x)
{
    const struct shape *s = &type_of(u, x)->shape;
    return is_const(u, v) && is_f32(u, v) && type_of(u, v)->shape.rank == 1 &&
           type_of(u, v)->shape.dims[0] == s->dims[s->rank - 1];
}

/* n = (d / deviation(d)) * scale + bias */
static bool take_layer_norm(struct fuser *u, struct node *n)
{
    for (unsigned a = 0; a < 4 && is_onnx(n, "Add"); a++) {
        struct node *mul = sole_maker(u, n->inputs[a & 1]);
        uint32_t bias = n->inputs[1 - (a & 1)];
        if (!is_onnx(mul, "Mul")) {
            continue;
        }
        struct node *div = sole_maker(u, mul->inputs[a >> 1]);
        uint32_t scale = mul->inputs[1 - (a >> 1)];
        uint32_t x = is_onnx(div, "Div") ? centred(u, div->inputs[0]) : VALUE_NONE;
        float epsilon = 0;
        if (x == VALUE_NONE || !is_f32(u, x) || type_of(u, x)->shape.rank == 0 ||
            !deviation(u, div->inputs[1], div->inputs[0], &epsilon) || !is_row(u, scale, x) ||
            !is_row(u, bias, x) || op_find("", "LayerNormalization", 17) == NULL) {
            continue;
        }
        node_attrs_fini(n);
        become(u, n, "", "LayerNormalization", 17, (uint32_t[]){x, scale, bias}, 3);
        node_set_int(n, "axis", -1);
        node_set_float(n, "epsilon", epsilon);
        return true;
    }
    return false;
}

/* ---- attention's softmax ---- */

static bool last_axis_softmax(const struct fuser *u, const struct node *n)
{
    int64_t rank = type_of(u, n->inputs[0])->shape.rank;
    int64_t axis = int_attr(n, "axis", n->opset < 13 ? 1 : -1);
    return rank > 0 && (axis == -1 || axis == rank - 1);
}

static bool take_softmax(struct fuser *u, struct node *n)
{
    if (!is_onnx(n, "Softmax") || !is_f32(u, n->inputs[0]) || !last_axis_softmax(u, n)) {
        return false;
    }
    uint32_t scores = n->inputs[0], mask = VALUE_NONE;
    struct node *add = sole_maker(u, scores);
    if (is_onnx(add, "Add") && same_shape(u, add->inputs[0], scores)) {
        scores = add->inputs[0];
        mask = add->inputs[1];
    }
    float scale = 1, c;
    struct node *scaled = mask != VALUE_NONE ? sole_maker(u, scores) : sole_maker(u, n->inputs[0]);
    if (is_onnx(scaled, "Div") && scalar_of(u, scaled->inputs[1], &c) && c != 0 &&
        same_shape(u, scaled->inputs[0], scores)) {
        scores = scaled->inputs[0];
        scale = 1 / c;
    } else if (is_onnx(scaled, "Mul") && scalar_of(u, scaled->inputs[1], &c) &&
               same_shape(u, scaled->inputs[0], scores)) {
        scores = scaled->inputs[0];
        scale = c;
    }
    node_attrs_fini(n);
    become(u, n, OXBOW_DOMAIN, "AttnSoftmax", 1, (uint32_t[]){scores, mask}, 2);
    node_set_float(n, "scale", scale);
    return true;
}

/* ---- the pass ---- */

typedef bool (*rule_fn)(struct fuser *u, struct node *n);

static const rule_fn rules[] = {
    drop_identity,  own_conv,      own_gemm,       own_matmul,      take_transpose,
    fold_norm,      add_to_conv,   pool_conv,      add_to_product,  scale_product,
    take_gelu,      take_layer_norm, take_softmax, take_activation,
};

void graph_fuse(struct graph *g)
{
    struct fuser u = {.graph = g, .uses = graph_uses(g)};
    u.same = mem_array(g->value_count, sizeof *u.same);
    u.is_output = mem_array(g->value_count, sizeof *u.is_output);
    for (uint32_t v = 0; v < g->value_count; v++) {
        u.same[v] = v;
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        u.is_output[g->outputs[i]] = true;
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        bool changed = true;
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            uint32_t v = g->nodes[i].inputs[k];
            g->nodes[i].inputs[k] = v != VALUE_NONE ? u.same[v] : VALUE_NONE;
        }
        while (changed && !g->nodes[i].dead && !g->nodes[i].dynamic) {
            changed = false;
            for (size_t r = 0; r < sizeof rules / sizeof rules[0] && !g->nodes[i].dead; r++) {
                changed = rules[r](&u, &g->nodes[i]) || changed;
            }
        }
    }
    mem_free(u.uses);
    mem_free(u.same);
    mem_free(u.is_output);
    graph_drop_dead(g);
    struct fail f = {0};
    bool sound = graph_check(g, &f);
    assert(sound);
}
