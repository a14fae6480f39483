/* pe/infer/fuse.h - rewrites of a specialised graph: fewer, larger nodes that compute the same.
 *
 * Each internal operator (domain OXBOW_DOMAIN, opset 1) has a reference like any other, so that
 * fused = unfused can be tested on any model.
 *
 *  FusedGemm    (A, B, C?) -> Y      act(alpha * A' * B' + beta * C); Gemm's attributes, `act`
 *  FusedMatMul  (A, B, C?) -> Y      act(scale * A x B + C), batched as MatMul; C broadcasts;
 *                                    attributes `trans_b` (last two dims of B), `scale`, `act`
 *  FusedConv    (X, W, B?, R?) -> Y  pool(act(Conv(X, W, B) + R)), NCHW; Conv's attributes, `act`;
 *                                    where `pool` is "max" or "average": pool_kernel,
 *                                    pool_strides, pool_pads (as MaxPool's; no dilation, no ceil);
 *                                    R (a residual) has the shape of the convolution's output
 *  Gelu         (X) -> Y             `tanh`: 0 exact (erf), 1 the tanh approximation
 *  AttnSoftmax  (S, M?) -> P         softmax over the last axis of scale * S + M; `scale`
 *  LayerNormalization is ONNX's own (opset 17), also where a model spelled it out.
 *
 * `act` is "" (none), "relu", "leaky" (act_alpha), "sigmoid", "tanh", "clip" (act_min, act_max),
 * "gelu", "hardswish", "silu" (x * sigmoid x). */
#ifndef OXB_PE_INFER_FUSE_H
#define OXB_PE_INFER_FUSE_H

#include "pe/infer/graph.h"

enum activation {
    ACT_NONE,
    ACT_RELU,
    ACT_LEAKY,
    ACT_SIGMOID,
    ACT_TANH,
    ACT_CLIP,
    ACT_GELU,
    ACT_HARDSWISH,
    ACT_SILU,
    ACT_COUNT
};

struct activation_spec { /* read from `act` and its parameters */
    enum activation kind;
    float alpha;    /* ACT_LEAKY */
    float min, max; /* ACT_CLIP */
};

/* activation_of - Return: false when the node's `act` is unknown. */
bool activation_of(const struct node *n, struct activation_spec *out);
const char *activation_name(enum activation a); /* what `act` says */
void activation_apply(const struct activation_spec *a, float *v, size_t count); /* in place */

/* graph_fuse - apply all rewrites until none fits; live nodes stay in order. */
void graph_fuse(struct graph *g);

#endif
