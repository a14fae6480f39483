/* pe/infer/ops/ops.h - the families of operators; each is an array of rows in a file of its own.
 *
 * A new family: declare it here, list it in table.c. */
#ifndef OXB_PE_INFER_OPS_OPS_H
#define OXB_PE_INFER_OPS_OPS_H

#include "pe/infer/op.h"
#include "pe/infer/ops/num.h"

extern const struct op ops_identity[];  /* Identity and other operators that only rename */
extern const struct op ops_unary[];     /* one element in, one out: Relu, Exp, Cast, Clip ... */
extern const struct op ops_binary[];    /* two in step: Add, Equal, And, Pow ... */
extern const struct op ops_variadic[];  /* any number in step: Sum, Max, Where */
extern const struct op ops_reduce[];    /* ReduceSum ..., ArgMax, CumSum */
extern const struct op ops_shape[];     /* other shape, same order: Reshape, Squeeze, Shape ... */
extern const struct op ops_move[];      /* Transpose, Concat, Slice, Pad, Tile ... */
extern const struct op ops_make[];      /* from nothing much: Constant, Range, EyeLike, OneHot */
extern const struct op ops_gather[];    /* by index: Gather*, Scatter* */
extern const struct op ops_select[];    /* by value: TopK, NonZero, Compress, Unique */
extern const struct op ops_matmul[];    /* MatMul, Gemm and their integer forms */
extern const struct op ops_einsum[];    /* Einsum */
extern const struct op ops_conv[];      /* Conv, ConvTranspose and their integer forms */
extern const struct op ops_pool[];      /* MaxPool, AveragePool, LpPool, Global* */
extern const struct op ops_norm[];      /* BatchNormalization, LayerNormalization, LRN ... */
extern const struct op ops_softmax[];   /* Softmax, LogSoftmax, Hardmax */
extern const struct op ops_recurrent[]; /* RNN, GRU, LSTM */
extern const struct op ops_quantise[];  /* QuantizeLinear and back */
extern const struct op ops_loss[];      /* NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss */
extern const struct op ops_fused[];     /* the internal ones that fusion makes: fuse.h */
extern const struct op ops_resize[];    /* Upsample, Resize */
extern const struct op ops_control[];   /* If */
extern const struct op ops_loop[];      /* Loop */
extern const struct op ops_scan[];      /* Scan */
extern const struct op ops_vision[];    /* boxes, regions, sampling grids; Det */

/* TRY - hand on any answer but OP_OK. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum op_result answer = (call);                                                            \
        if (answer != OP_OK) {                                                                     \
            return answer;                                                                         \
        }                                                                                          \
    } while (0)

/* ops_same - infer: output 0 has the type and shape of input 0. */
enum op_result ops_same(struct op_ctx *ctx);
/* ops_copy - run: output 0 has the bytes of input 0 (and may be in its place). */
enum op_result ops_copy(struct op_ctx *ctx);
/* ops_axes - the list of axes in input `input` (where the op has one, else UINT_MAX) or in the
 * attribute `axes`, each once and in 0..rank-1, as a mask.  *given: was there a list at all? */
enum op_result ops_axes(struct op_ctx *ctx, unsigned input, uint32_t rank, uint32_t *mask,
                        bool *given);
/* ops_input_f - one element of input i as a double; the fallback where it is left out.
 * Errors: OP_INVALID when it has not one element. */
enum op_result ops_input_f(struct op_ctx *ctx, unsigned i, double fallback, double *out);

#endif
