/* pe/infer/ops/window.h - kernels that slide over spatial dims: what Conv and the pools share. */
#ifndef OXB_PE_INFER_OPS_WINDOW_H
#define OXB_PE_INFER_OPS_WINDOW_H

#include "pe/infer/ops/ops.h"

#define SPATIAL_MAX (TENSOR_RANK_MAX - 2) /* dims after N and C */

struct window {
    unsigned dims;                 /* spatial dims, 1..SPATIAL_MAX */
    int64_t in[SPATIAL_MAX];       /* elements of the input along each */
    int64_t kernel[SPATIAL_MAX];
    int64_t stride[SPATIAL_MAX];
    int64_t dilation[SPATIAL_MAX];
    int64_t before[SPATIAL_MAX];   /* padding, >= 0 */
    int64_t after[SPATIAL_MAX];
    int64_t out[SPATIAL_MAX];      /* elements of the output along each */
    bool same_upper, same_lower;   /* auto_pad */
};

/* window_of - read the attributes over an input [N, C, ...]; `out` stays 0.
 * @kernel: the kernel's dims where weights say them, else NULL and `kernel_shape` must.  Every
 * number is checked: sizes >= 1, pads >= 0, none beyond TENSOR_BYTES_MAX. */
enum op_result window_of(struct op_ctx *ctx, const struct shape *in, const int64_t *kernel,
                         struct window *w);
/* window_slide - how often the window fits: `out`, and the pads that auto_pad means. */
enum op_result window_slide(struct op_ctx *ctx, struct window *w, bool ceil_mode);
/* window_extent - elements from the first to the last that the kernel touches along d. */
int64_t window_extent(const struct window *w, unsigned d);
/* window_shape - [n, c, out...] */
struct shape window_shape(const struct window *w, int64_t n, int64_t c);

#endif
