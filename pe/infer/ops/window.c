/* pe/infer/ops/window.c - kernels that slide over spatial dims: what Conv and the pools share. */
#include "pe/infer/ops/window.h"

#include <string.h>

/* numbers - a list attribute of `count` numbers in low..TENSOR_BYTES_MAX; all the fallback where
 * it is absent. */
static enum op_result numbers(struct op_ctx *ctx, const char *name, unsigned count, int64_t low,
                              int64_t fallback, int64_t *out)
{
    unsigned given;
    const int64_t *v = op_attr_ints(ctx, name, &given);
    if (op_attr_has(ctx, name) && given != count) {
        return op_invalid(ctx, "%s has %u numbers, not %u", name, given, count);
    }
    for (unsigned k = 0; k < count; k++) {
        out[k] = given == count ? v[k] : fallback;
        if (out[k] < low || out[k] > (int64_t)TENSOR_BYTES_MAX) {
            return op_invalid(ctx, "%s has %lld", name, (long long)out[k]);
        }
    }
    return OP_OK;
}

static enum op_result pads(struct op_ctx *ctx, struct window *w)
{
    const char *mode = op_attr_s(ctx, "auto_pad", "NOTSET");
    int64_t given[2 * SPATIAL_MAX];
    w->same_upper = strcmp(mode, "SAME_UPPER") == 0;
    w->same_lower = strcmp(mode, "SAME_LOWER") == 0;
    TRY(numbers(ctx, "pads", 2 * w->dims, 0, 0, given));
    if (strcmp(mode, "NOTSET") == 0 || mode[0] == '\0') {
        memcpy(w->before, given, w->dims * sizeof(given[0]));
        memcpy(w->after, given + w->dims, w->dims * sizeof(given[0]));
    } else if (!w->same_upper && !w->same_lower && strcmp(mode, "VALID") != 0) {
        return op_invalid(ctx, "unknown auto_pad '%.20s'", mode);
    }
    return OP_OK;
}

enum op_result window_of(struct op_ctx *ctx, const struct shape *in, const int64_t *kernel,
                         struct window *w)
{
    memset(w, 0, sizeof(*w));
    if (in->rank < 3) {
        return op_invalid(ctx, "the input has %u dims, want at least 3", in->rank);
    }
    w->dims = in->rank - 2;
    memcpy(w->in, in->dims + 2, w->dims * sizeof(w->in[0]));
    TRY(numbers(ctx, "kernel_shape", w->dims, 1, 1, w->kernel));
    if (kernel == NULL && !op_attr_has(ctx, "kernel_shape")) {
        return op_invalid(ctx, "kernel_shape is missing");
    }
    for (unsigned d = 0; d < w->dims && kernel != NULL; d++) {
        if (op_attr_has(ctx, "kernel_shape") && w->kernel[d] != kernel[d]) {
            return op_invalid(ctx, "kernel_shape differs from the weights in dim %u", d);
        }
        w->kernel[d] = kernel[d];
        if (kernel[d] < 1) {
            return op_invalid(ctx, "the kernel is empty");
        }
    }
    TRY(numbers(ctx, "strides", w->dims, 1, 1, w->stride));
    TRY(numbers(ctx, "dilations", w->dims, 1, 1, w->dilation));
    return pads(ctx, w);
}

int64_t window_extent(const struct window *w, unsigned d)
{
    return (w->kernel[d] - 1) * w->dilation[d] + 1; /* both below 2^31 */
}

enum op_result window_slide(struct op_ctx *ctx, struct window *w, bool ceil_mode)
{
    for (unsigned d = 0; d < w->dims; d++) {
        int64_t extent = window_extent(w, d), stride = w->stride[d];
        if (w->same_upper || w->same_lower) {
            w->out[d] = (w->in[d] + stride - 1) / stride;
            int64_t total = (w->out[d] - 1) * stride + extent - w->in[d];
            total = total < 0 ? 0 : total;
            w->before[d] = w->same_upper ? total / 2 : total - total / 2;
            w->after[d] = total - w->before[d];
            continue;
        }
        int64_t room = w->in[d] + w->before[d] + w->after[d] - extent;
        if (room < 0) {
            return op_invalid(ctx, "the kernel spans %lld, dim %u only %lld", (long long)extent, d,
                              (long long)(room + extent));
        }
        w->out[d] = room / stride + 1;
        /* A window more where the last one is only partly inside; none that is all padding. */
        if (ceil_mode && room % stride != 0 &&
            w->out[d] * stride < w->in[d] + w->before[d]) {
            w->out[d]++;
        }
    }
    return OP_OK;
}

struct shape window_shape(const struct window *w, int64_t n, int64_t c)
{
    struct shape s = {.rank = w->dims + 2, .dims = {n, c}};
    memcpy(s.dims + 2, w->out, w->dims * sizeof(w->out[0]));
    return s;
}
