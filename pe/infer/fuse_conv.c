/* pe/infer/fuse_conv.c - convolutions take in the normalisation, bias, residual and pool that
 * follow them. */
#include "pe/infer/fuser.h"

#include "core/mem.h"

#include <math.h>
#include <string.h>

/* ---- making it internal ---- */

/* Pads, strides and dilations in full, whatever the file left out or let ONNX work out. */
static void spell_out_conv(const struct fuser *u, struct node *n)
{
    const struct shape *x = &fuser_type_of(u, n->inputs[0])->shape;
    const struct shape *w = &fuser_type_of(u, n->inputs[1])->shape;
    const struct shape *y = &fuser_type_of(u, n->outputs[0])->shape;
    const char *mode = fuser_string_attr(n, "auto_pad");
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
    node_set_int(n, "group", fuser_int_attr(n, "group", 1));
}

static bool own_conv(struct fuser *u, struct node *n)
{
    if (!fuser_is_onnx(n, "Conv") || !fuser_is_f32(u, n->inputs[0])) {
        return false;
    }
    spell_out_conv(u, n);
    fuser_set_op(n, OXBOW_DOMAIN, "FusedConv", 1);
    return true;
}

/* ---- convolution and what follows it ---- */

struct norm { /* per channel: y = x * scale + shift */
    float *scale;
    float *shift;
};

static bool norm_read(const struct fuser *u, const struct node *n, size_t channels,
                      struct norm *out)
{
    const float *p[4];
    for (unsigned i = 0; i < 4; i++) {
        uint32_t v = fuser_input_of(n, i + 1);
        if (!fuser_is_const(u, v) || !fuser_is_f32(u, v) ||
            tensor_count(fuser_type_of(u, v)) != channels) {
            return false;
        }
        p[i] = tensor_f32(fuser_type_of(u, v));
    }
    float epsilon = fuser_float_attr(n, "epsilon", 1e-5f);
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
    const struct tensor *w = fuser_type_of(u, conv->inputs[1]);
    uint32_t old_bias = fuser_input_of(conv, 2);
    size_t channels = (size_t)w->shape.dims[0], each = tensor_count(w) / channels;
    struct shape line = shape_of(1, (int)channels);
    struct tensor nw = {0}, nb = {0};
    if (tensor_alloc(&nw, DT_F32, &w->shape, NULL) != ERR_OK ||
        tensor_alloc(&nb, DT_F32, &line, NULL) != ERR_OK) {
        tensor_fini(&nw);
        return false;
    }
    for (size_t c = 0; c < channels; c++) {
        float b = old_bias != VALUE_NONE ? tensor_f32(fuser_type_of(u, old_bias))[c] : 0;
        tensor_f32(&nb)[c] = b * m->scale[c] + m->shift[c];
        for (size_t i = 0; i < each; i++) {
            tensor_f32(&nw)[c * each + i] = tensor_f32(w)[c * each + i] * m->scale[c];
        }
    }
    *weights = fuser_add_const(u, &nw);
    *bias = fuser_add_const(u, &nb);
    return true;
}

static bool is_inference_norm(const struct node *n)
{
    if (!fuser_is_onnx(n, "BatchNormalization") || fuser_int_attr(n, "training_mode", 0) != 0 ||
        (n->opset < 7 && fuser_int_attr(n, "is_test", 0) == 0) ||
        fuser_int_attr(n, "spatial", 1) == 0) {
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
    struct node *conv = is_inference_norm(n) ? fuser_sole_maker(u, n->inputs[0]) : NULL;
    struct norm m;
    uint32_t weights, bias;
    if (!fuser_is_ours(conv, "FusedConv") || !fuse_is_open(conv) ||
        fuser_input_of(conv, 3) != VALUE_NONE || !fuser_is_const(u, conv->inputs[1]) ||
        (fuser_input_of(conv, 2) != VALUE_NONE && !fuser_is_const(u, conv->inputs[2]))) {
        return false;
    }
    size_t channels = (size_t)fuser_type_of(u, conv->inputs[1])->shape.dims[0];
    if (channels == 0 || !norm_read(u, n, channels, &m)) {
        return false;
    }
    bool ok = scale_weights(u, conv, &m, &weights, &bias);
    mem_free(m.scale);
    mem_free(m.shift);
    if (ok) {
        fuser_swallow(u, n, conv, (uint32_t[]){conv->inputs[0], weights, bias}, 3);
    }
    return ok;
}

/* `v` adds one number per channel to a convolution's output of shape `y`: [C,1,1] or [1,C,1,1]. */
static bool is_channel_bias(const struct fuser *u, uint32_t v, const struct shape *y)
{
    const struct shape *s = &fuser_type_of(u, v)->shape;
    if (!fuser_is_const(u, v) || !fuser_is_f32(u, v) || s->rank + 1 < y->rank ||
        s->rank > y->rank) {
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
    for (unsigned side = 0; side < 2 && fuser_is_onnx(n, "Add"); side++) {
        struct node *conv = fuser_sole_maker(u, n->inputs[side]);
        uint32_t other = n->inputs[1 - side], y = n->outputs[0];
        if (!fuser_is_ours(conv, "FusedConv") || !fuse_is_open(conv) ||
            fuser_input_of(conv, 3) != VALUE_NONE || !fuser_same_shape(u, n->inputs[side], y)) {
            continue;
        }
        uint32_t in[4] = {conv->inputs[0], conv->inputs[1], fuser_input_of(conv, 2), VALUE_NONE};
        if (in[2] == VALUE_NONE && is_channel_bias(u, other, &fuser_type_of(u, y)->shape)) {
            struct tensor line = {0};
            struct shape shape = shape_of(1, (int)fuser_type_of(u, y)->shape.dims[1]);
            tensor_share(&line, fuser_type_of(u, other));
            line.shape = shape;
            in[2] = fuser_add_const(u, &line);
            fuser_swallow(u, n, conv, in, 3);
            return true;
        }
        if (fuser_is_f32(u, other) && fuser_same_shape(u, other, y)) {
            in[3] = other;
            fuser_swallow(u, n, conv, in, 4);
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
    const char *mode = fuser_string_attr(n, "auto_pad");
    const struct attr *kernel = node_attr(n, "kernel_shape");
    bool max = fuser_is_onnx(n, "MaxPool"), average = fuser_is_onnx(n, "AveragePool");
    return (max || average) && (mode[0] == '\0' || strcmp(mode, "NOTSET") == 0) &&
           fuser_int_attr(n, "ceil_mode", 0) == 0 && all_are(node_attr(n, "dilations"), 1) &&
           n->output_count == 1 && kernel != NULL && kernel->type == ATTR_INTS &&
           (max || all_are(node_attr(n, "pads"), 0));
}

static bool pool_conv(struct fuser *u, struct node *n)
{
    struct node *conv = is_plain_pool(n) ? fuser_sole_maker(u, n->inputs[0]) : NULL;
    if (!fuser_is_ours(conv, "FusedConv") || fuser_string_attr(conv, "pool")[0] != '\0') {
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
    node_set_string(&hold, "pool", fuser_is_onnx(n, "MaxPool") ? "max" : "average");
    fuser_swallow(u, n, conv, conv->inputs, conv->input_count);
    for (uint32_t i = 0; i < hold.attr_count; i++) {
        node_copy_attr(n, &hold.attrs[i]);
    }
    node_attrs_fini(&hold);
    return true;
}

const fuse_rule fuse_conv_rules[] = {own_conv, fold_norm, add_to_conv, pool_conv, NULL};
