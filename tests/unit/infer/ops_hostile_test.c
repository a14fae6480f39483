/* tests/unit/infer/ops_hostile_test.c - operators against models and inputs that lie.
 *
 * Goal:   whatever attributes, shapes, types and indices a model has, an operator answers: it never
 *         reads or writes out of bounds, overflows, or leaves part of an output unwritten; its
 *         flags (alias, in place) are true.
 * Method: one valid call per operator and form (`seeds`; a row of the table without one fails the
 *         test), first as it is, then hundreds of times with one to three things changed at random:
 *         dims, types, elements, inputs left out, attributes.  Tensors have exactly their bytes, so
 *         ASan and UBSan (`make SAN=address,undefined`) see every slip.
 * Replay: ROUNDS=n changes the number of rounds; a failure prints seed and round. */
#include "tests/support/op_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OUTPUT_BYTES_MAX (1u << 16) /* larger results are not run */

struct seed {
    const char *op;
    int opset;
    unsigned outs;
    const char *in, *attrs;
};

#define FLOAT_ONE "f32[2,3]", ""

static const struct seed seeds[] = {
    {"Identity", 13, 1, FLOAT_ONE},
    {"Dropout", 13, 2, "f32[2,3] f32[]=0.5 bool[]=0", ""},
    {"Abs", 13, 1, "i8[5]", ""},
    {"Neg", 13, 1, "i32[5]", ""},
    {"Relu", 14, 1, FLOAT_ONE},
    {"Sign", 13, 1, FLOAT_ONE},
    {"Acos", 7, 1, FLOAT_ONE},
    {"Acosh", 9, 1, FLOAT_ONE},
    {"Asin", 7, 1, FLOAT_ONE},
    {"Asinh", 9, 1, FLOAT_ONE},
    {"Atan", 7, 1, FLOAT_ONE},
    {"Atanh", 9, 1, FLOAT_ONE},
    {"Ceil", 13, 1, FLOAT_ONE},
    {"Celu", 12, 1, "f32[2,3]", "alpha:f=2"},
    {"Cos", 7, 1, FLOAT_ONE},
    {"Cosh", 9, 1, FLOAT_ONE},
    {"Elu", 6, 1, "f32[2,3]", "alpha:f=2"},
    {"Exp", 13, 1, FLOAT_ONE},
    {"Floor", 13, 1, FLOAT_ONE},
    {"HardSigmoid", 6, 1, "f32[2,3]", "alpha:f=0.3 beta:f=0.4"},
    {"HardSwish", 14, 1, FLOAT_ONE},
    {"LeakyRelu", 16, 1, "f32[2,3]", "alpha:f=0.3"},
    {"Log", 13, 1, FLOAT_ONE},
    {"Mish", 18, 1, FLOAT_ONE},
    {"Reciprocal", 13, 1, FLOAT_ONE},
    {"Round", 11, 1, FLOAT_ONE},
    {"Selu", 6, 1, "f32[2,3]", "alpha:f=1.5 gamma:f=2"},
    {"Sigmoid", 13, 1, FLOAT_ONE},
    {"Sin", 7, 1, FLOAT_ONE},
    {"Sinh", 9, 1, FLOAT_ONE},
    {"Softplus", 6, 1, FLOAT_ONE},
    {"Softsign", 6, 1, FLOAT_ONE},
    {"Sqrt", 13, 1, FLOAT_ONE},
    {"Swish", 24, 1, FLOAT_ONE},
    {"Tan", 7, 1, FLOAT_ONE},
    {"Tanh", 13, 1, FLOAT_ONE},
    {"ThresholdedRelu", 10, 1, "f32[2,3]", "alpha:f=0.3"},
    {"Erf", 13, 1, FLOAT_ONE},
    {"Gelu", 20, 1, "f32[2,3]", "approximate:s=tanh"},
    {"Shrink", 9, 1, "i16[2,3]", "bias:f=1 lambd:f=0.5"},
    {"Not", 6, 1, "bool[4]", ""},
    {"BitwiseNot", 18, 1, "u16[4]", ""},
    {"IsNaN", 13, 1, FLOAT_ONE},
    {"IsInf", 10, 1, "f32[2,3]", "detect_negative:i=0"},
    {"Cast", 13, 1, "f32[300]", "to:i=3"},
    {"CastLike", 15, 1, "f32[2,3] u8[1]", ""},
    {"Clip", 6, 1, "f32[2,3]", "min:f=-1 max:f=1"},
    {"Clip", 13, 1, "f32[2,3] f32[] f32[]", ""},
    {"Add", 14, 1, "f32[2,3] f32[3]", ""},
    {"Add", 6, 1, "f32[2,3,4] f32[3]", "broadcast:i=1 axis:i=1"},
    {"Sub", 14, 1, "i32[2,1,3] i32[2,1]", ""},
    {"Mul", 14, 1, "u8[2,3] u8[]", ""},
    {"Div", 14, 1, "i32[2,3] i32[3]", ""},
    {"Pow", 6, 1, "f32[2,3] f32[3]", "broadcast:i=1"},
    {"Pow", 15, 1, "i32[2,3] f32[3]", ""},
    {"Mod", 13, 1, "i16[2,3] i16[3]", "fmod:i=0"},
    {"PRelu", 16, 1, "f32[2,3,2] f32[3,1]", ""},
    {"PRelu", 6, 1, "f32[2,3,2] f32[3]", ""},
    {"And", 7, 1, "bool[2,3] bool[3]", ""},
    {"Or", 7, 1, "bool[2,3] bool[3]", ""},
    {"Xor", 7, 1, "bool[2,3] bool[3]", ""},
    {"BitwiseAnd", 18, 1, "i32[2,3] i32[3]", ""},
    {"BitwiseOr", 18, 1, "i32[2,3] i32[3]", ""},
    {"BitwiseXor", 18, 1, "i32[2,3] i32[3]", ""},
    {"BitShift", 11, 1, "u8[2,3] u8[3]", "direction:s=LEFT"},
    {"Equal", 13, 1, "i64[2,3] i64[3]", ""},
    {"Greater", 13, 1, "f32[2,3] f32[3]", ""},
    {"GreaterOrEqual", 16, 1, "f32[2,3] f32[3]", ""},
    {"Less", 13, 1, "u64[2,3] u64[3]", ""},
    {"LessOrEqual", 16, 1, "f32[2,3] f32[3]", ""},
    {"Sum", 13, 1, "f32[2,3] f32[3] f32[2,1]", ""},
    {"Mean", 13, 1, "f32[2,3] f32[3] f32[2,1]", ""},
    {"Max", 13, 1, "i8[2,3] i8[3] i8[2,1]", ""},
    {"Min", 13, 1, "u64[2,3] u64[3] u64[2,1]", ""},
    {"Where", 16, 1, "bool[2,3] f32[3] f32[2,1]", ""},
    {"ReduceSum", 11, 1, "f32[2,3,2]", "axes:I=-1 keepdims:i=0"},
    {"ReduceSum", 13, 1, "f32[2,3,2] i64[2]=0,2", "keepdims:i=1"},
    {"ReduceMean", 13, 1, "i32[2,3,2]", "axes:I=0,1"},
    {"ReduceMean", 18, 1, "f32[2,3,2] i64[0]", "noop_with_empty_axes:i=1"},
    {"ReduceMax", 13, 1, "i8[2,3,2]", "axes:I=1"},
    {"ReduceMax", 18, 1, "bool[2,3,2] i64[1]=1", ""},
    {"ReduceMin", 13, 1, "u8[2,3,2]", "axes:I=1"},
    {"ReduceMin", 18, 1, "f64[2,3,2] i64[1]=1", ""},
    {"ReduceProd", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceProd", 18, 1, "i64[2,3,2] i64[1]=1", ""},
    {"ReduceL1", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceL1", 18, 1, "i64[2,3,2] i64[1]=1", ""},
    {"ReduceL2", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceL2", 18, 1, "i64[2,3,2] i64[1]=1", ""},
    {"ReduceSumSquare", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceSumSquare", 18, 1, "i64[2,3,2] i64[1]=1", ""},
    {"ReduceLogSum", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceLogSum", 18, 1, "f32[2,3,2] i64[1]=1", ""},
    {"ReduceLogSumExp", 13, 1, "f32[2,3,2]", "axes:I=1"},
    {"ReduceLogSumExp", 18, 1, "f32[2,3,2] i64[1]=1", ""},
    {"ArgMax", 13, 1, "f32[2,3,2]", "axis:i=1 keepdims:i=0 select_last_index:i=1"},
    {"ArgMin", 13, 1, "u8[2,3,2]", "axis:i=-1"},
    {"CumSum", 14, 1, "f32[2,3,2] i64[]=1", "exclusive:i=1 reverse:i=1"},
    {"Reshape", 14, 1, "f32[2,3,2] i64[3]=0,-1,3", "allowzero:i=0"},
    {"Flatten", 13, 1, "f32[2,3,2]", "axis:i=2"},
    {"Squeeze", 11, 1, "f32[1,3,1]", "axes:I=0,-1"},
    {"Squeeze", 13, 1, "f32[1,3,1] i64[1]=2", ""},
    {"Unsqueeze", 11, 1, "f32[3]", "axes:I=0,-1"},
    {"Unsqueeze", 13, 1, "f32[3] i64[2]=0,2", ""},
    {"Shape", 15, 1, "f32[2,3,2]", "start:i=-2 end:i=2"},
    {"Size", 13, 1, "f32[2,3,2]", ""},
    {"Transpose", 13, 1, "f64[2,3,2]", "perm:I=2,0,1"},
    {"Concat", 13, 1, "f32[2,3] f32[2,1] f32[2,2]", "axis:i=1"},
    {"Split", 11, 2, "f32[2,3]", "axis:i=1 split:I=1,2"},
    {"Split", 13, 2, "f32[2,3] i64[2]=1,2", "axis:i=-1"},
    {"Split", 18, 2, "f32[2,3]", "axis:i=1 num_outputs:i=2"},
    {"Slice", 9, 1, "f32[3,4]", "starts:I=0,-3 ends:I=2,9 axes:I=0,1"},
    {"Slice", 13, 1, "f32[3,4] i64[2]=2,0 i64[2]=-9,4 i64[2]=0,1 i64[2]=-1,3", ""},
    {"Expand", 13, 1, "f32[3,1] i64[3]=2,1,4", ""},
    {"Tile", 13, 1, "f32[3,2] i64[2]=2,3", ""},
    {"DepthToSpace", 13, 1, "f32[1,8,2,3]", "blocksize:i=2 mode:s=CRD"},
    {"SpaceToDepth", 13, 1, "f32[1,2,4,6]", "blocksize:i=2"},
    {"ReverseSequence", 10, 1, "f32[4,2,3] i64[2]=3,4", "time_axis:i=0 batch_axis:i=1"},
    {"Trilu", 14, 1, "i64[2,3,4] i64[]=1", "upper:i=1"},
    {"Constant", 13, 1, "", "value:t=f32[2]=1,2"},
    {"Constant", 13, 1, "", "value_ints:I=1,2,3"},
    {"ConstantOfShape", 9, 1, "i64[2]=2,3", "value:t=i32[1]=7"},
    {"Range", 11, 1, "i32[]=1 i32[]=9 i32[]=2", ""},
    {"EyeLike", 9, 1, "i32[3,4]", "dtype:i=11 k:i=-1"},
    {"OneHot", 11, 1, "i64[2,2] f32[]=3 f32[2]=0,5", "axis:i=1"},
    {"Pad", 10, 1, "f32[2,3]", "pads:I=1,0,2,1 mode:s=constant value:f=3"},
    {"Pad", 13, 1, "f32[2,3] i64[4]=1,2,2,1 f32[]=5", "mode:s=reflect"},
    {"Pad", 19, 1, "f32[2,3] i64[2]=1,2 - i64[1]=1", "mode:s=wrap"},
    {"Gather", 13, 1, "f32[3,2] i64[2,2]", "axis:i=0"},
    {"GatherElements", 13, 1, "f32[4,2] i64[2,2]", "axis:i=0"},
    {"GatherND", 13, 1, "f32[4,4,2] i64[3,2]", "batch_dims:i=0"},
    {"GatherND", 13, 1, "f32[2,4,2] i64[2,3,1]", "batch_dims:i=1"},
    {"Scatter", 9, 1, "f32[4,2] i64[2,2] f32[2,2]", "axis:i=0"},
    {"ScatterElements", 16, 1, "f32[4,2] i64[2,2] f32[2,2]", "axis:i=0 reduction:s=mul"},
    {"ScatterND", 16, 1, "i32[4,2] i64[3,1] i32[3,2]", "reduction:s=add"},
    {"TopK", 9, 2, "f32[2,4]", "axis:i=1 k:i=3"},
    {"TopK", 11, 2, "f32[2,4] i64[1]=3", "axis:i=0 largest:i=0 sorted:i=0 axis:i=1"},
    {"NonZero", 13, 1, "i32[2,4]", ""},
    {"Compress", 11, 1, "f32[2,4] bool[3]", "axis:i=1"},
    {"Unique", 11, 4, "i32[3,2]", "axis:i=0 sorted:i=0"},
    {"Unique", 11, 4, "f32[3,2]", "sorted:i=1"},
    {"MatMul", 13, 1, "f32[2,1,2,3] f32[2,3,2]", ""},
    {"Gemm", 13, 1, "f32[3,2] f32[4,3] f32[4]", "transA:i=1 transB:i=1 alpha:f=2 beta:f=0.5"},
    {"MatMulInteger", 10, 1, "u8[2,3] i8[3,2] u8[2] i8[2]", ""},
    {"QLinearMatMul", 10, 1, "u8[2,3] f32[]=1 u8[]=1 u8[3,2] f32[]=2 u8[]=2 f32[]=3 u8[]=1", ""},
    {"Einsum", 12, 1, "f32[2,3,4] f32[2,4,2]", "equation:s=bij,bjk->bik"},
    {"Einsum", 12, 1, "f64[3,3]", "equation:s=...ii->...i"},
    {"Conv", 11, 1, "f32[1,4,5,4] f32[4,2,3,2] f32[4]",
     "group:i=2 pads:I=1,1,0,1 strides:I=2,1 dilations:I=1,2 kernel_shape:I=3,2"},
    {"Conv", 11, 1, "f32[2,1,7] f32[2,1,3]", "auto_pad:s=SAME_UPPER strides:I=2"},
    {"ConvTranspose", 11, 1, "f32[1,4,3,2] f32[4,2,3,2] f32[4]",
     "group:i=2 pads:I=1,1,0,1 strides:I=2,1 dilations:I=1,2 output_padding:I=1,0"},
    {"ConvTranspose", 11, 1, "f32[1,1,3] f32[1,1,3]", "output_shape:I=8 strides:I=2"},
    {"ConvInteger", 10, 1, "u8[1,2,4] i8[3,2,2] u8[]=1 i8[3]", "pads:I=1,0"},
    {"QLinearConv", 10, 1,
     "u8[1,2,4] f32[]=1 u8[]=1 i8[3,2,2] f32[3]=1,2,3 i8[3] f32[]=4 u8[]=2 i32[3]", "pads:I=1,1"},
    {"MaxPool", 12, 2, "f32[1,2,5,4]",
     "kernel_shape:I=3,2 pads:I=1,1,0,1 strides:I=2,1 dilations:I=1,2 ceil_mode:i=1 "
     "storage_order:i=1"},
    {"AveragePool", 19, 1, "f32[1,2,5]",
     "kernel_shape:I=2 pads:I=1,1 strides:I=2 count_include_pad:i=1 ceil_mode:i=1"},
    {"LpPool", 11, 1, "f32[1,2,5]", "kernel_shape:I=2 auto_pad:s=SAME_LOWER p:i=3"},
    {"GlobalMaxPool", 6, 1, "f32[2,3,4]", ""},
    {"GlobalAveragePool", 6, 1, "f32[2,3,4]", ""},
    {"GlobalLpPool", 6, 1, "f32[2,3,4]", "p:i=1"},
    {"BatchNormalization", 15, 3, "f32[2,3,4] f32[3] f32[3] f32[3] f32[3]", "training_mode:i=1"},
    {"BatchNormalization", 9, 1, "f32[2,3,4] f32[3] f32[3] f32[3] f32[3]", ""},
    {"InstanceNormalization", 6, 1, "f32[2,3,4] f32[3] f32[3]", "epsilon:f=0.1"},
    {"GroupNormalization", 18, 1, "f32[2,4,3] f32[2] f32[2]", "num_groups:i=2"},
    {"GroupNormalization", 21, 1, "f32[2,4,3] f32[4] f32[4]", "num_groups:i=2"},
    {"LayerNormalization", 17, 3, "f32[2,3,4] f32[3,4] f32[4]", "axis:i=1"},
    {"RMSNormalization", 23, 1, "f32[2,3,4] f32[3,4]", "axis:i=1"},
    {"MeanVarianceNormalization", 13, 1, "f32[2,3,2]", "axes:I=0,2"},
    {"LpNormalization", 6, 1, "f32[2,3,2]", "axis:i=1 p:i=1"},
    {"LRN", 13, 1, "f32[1,5,2]", "size:i=3 alpha:f=0.5 beta:f=0.5 bias:f=2"},
    {"Softmax", 11, 1, "f32[2,3,2]", "axis:i=1"},
    {"Softmax", 13, 1, "f32[2,3,2]", "axis:i=1"},
    {"LogSoftmax", 13, 1, "f32[2,3,2]", "axis:i=1"},
    {"Hardmax", 13, 1, "f32[2,3,2]", "axis:i=1"},
    {"RNN", 14, 2, "f32[3,2,4] f32[1,5,4] f32[1,5,5] f32[1,10] i32[2]=3,2 f32[1,2,5]",
     "activations:S=Affine activation_alpha:F=2 activation_beta:F=1 clip:f=1 hidden_size:i=5"},
    {"GRU", 14, 2, "f32[2,3,4] f32[2,6,4] f32[2,6,2] f32[2,12] - f32[2,2,2]",
     "direction:s=bidirectional layout:i=1 linear_before_reset:i=1"},
    {"LSTM", 14, 3,
     "f32[3,2,4] f32[1,8,4] f32[1,8,2] f32[1,16] i32[2]=1,3 f32[1,2,2] f32[1,2,2] f32[1,6]",
     "direction:s=reverse input_forget:i=1"},
    {"QuantizeLinear", 13, 1, "f32[2,3] f32[3]=1,2,3 i8[3]", "axis:i=1"},
    {"DequantizeLinear", 13, 1, "u8[2,3] f32[3]=1,2,3 u8[3]", "axis:i=1"},
    {"DynamicQuantizeLinear", 11, 3, FLOAT_ONE},
    {"NegativeLogLikelihoodLoss", 13, 1, "f32[2,4,3] i64[2,3] f32[4]", "ignore_index:i=1"},
    {"SoftmaxCrossEntropyLoss", 13, 2, "f32[2,4,3] i32[2,3] f32[4]", "reduction:s=none"},
    {"Resize", 10, 1, "f32[1,1,4] f32[3]=1,1,0.6", "mode:s=linear"},
    {"Resize", 13, 1, "f32[1,4,3] f32[6]=0,0,0.2,1,1,0.8 - i64[3]=1,6,2",
     "mode:s=cubic coordinate_transformation_mode:s=tf_crop_and_resize exclude_outside:i=1"},
    {"Resize", 13, 1, "i8[4,3] - f32[2]=1.5,2", "nearest_mode:s=ceil"},
    {"Upsample", 7, 1, "f32[2,3]", "scales:F=2,3"},
    {"Upsample", 9, 1, "f32[2,3] f32[2]=2,3", "mode:s=linear"},
    {"NonMaxSuppression", 11, 1, "f32[2,4,4] f32[2,3,4] i64[]=2 f32[]=0.5 f32[]=-1",
     "center_point_box:i=1"},
    {"RoiAlign", 16, 1, "f32[2,3,5,4] f32[2,4]=0,0,3,3,1,1,2,4 i64[2]=0,1",
     "output_height:i=2 output_width:i=3 sampling_ratio:i=0 spatial_scale:f=0.9 mode:s=avg "
     "coordinate_transformation_mode:s=half_pixel"},
    {"GridSample", 16, 1, "f32[2,2,4,3] f32[2,2,3,2]",
     "mode:s=bicubic padding_mode:s=reflection align_corners:i=1"},
    {"MaxUnpool", 11, 1, "f32[1,1,2,2] i64[1,1,2,2]=5,7,13,15", "kernel_shape:I=2,2 strides:I=2,2"},
    {"MaxUnpool", 11, 1, "f32[1,1,1,2] i64[1,1,1,2]=4,5 i64[4]=1,1,3,5", "kernel_shape:I=2,2"},
    {"Det", 11, 1, "f32[2,3,3]", ""},
};

#define SEEDS (sizeof(seeds) / sizeof(seeds[0]))

static void init(struct op_case *c, const struct seed *s, struct prng *random)
{
    op_case_init(c, s->op, s->opset, s->in, s->attrs, s->outs, random);
}

static bool small(const struct op_case *c)
{
    for (unsigned k = 0; k < c->ctx.out_count; k++) {
        if (c->out_at[k] != NULL && tensor_bytes(&c->out[k]) > OUTPUT_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

/* run_twice - on memory filled differently: what is not written shows as a difference. */
static void run_twice(struct op_case *c, const char *what)
{
    uint8_t *first[OP_CASE_TENSORS] = {NULL};
    enum op_result r = op_case_run(c, 0x5a);
    for (unsigned k = 0; k < c->ctx.out_count && r == OP_OK; k++) {
        size_t bytes = c->out_at[k] != NULL ? tensor_bytes(&c->out[k]) : 0;
        first[k] = malloc(bytes + 1);
        memcpy(first[k], bytes > 0 ? c->out[k].data : "", bytes);
    }
    if (r == OP_OK) {
        assert_int_equal(op_case_run(c, 0x00), OP_OK);
    }
    for (unsigned k = 0; k < c->ctx.out_count && r == OP_OK; k++) {
        size_t bytes = c->out_at[k] != NULL ? tensor_bytes(&c->out[k]) : 0;
        if (bytes > 0 && memcmp(first[k], c->out[k].data, bytes) != 0) {
            fail_msg("%s: output %u is not written whole, or not always the same", what, k);
        }
        free(first[k]);
    }
}

/* ---- tests ---- */

static void every_row_of_the_table_has_a_seed(void **state)
{
    (void)state;
    for (size_t f = 0; op_families[f] != NULL; f++) {
        for (const struct op *row = op_families[f]; row->name != NULL; row++) {
            bool found =
                (row->domain != NULL && row->domain[0] != '\0') || /* fuse's tests */
                (row->flags & OP_MAKES) != 0; /* it has subgraphs: control_test, loop_test */
            for (size_t k = 0; k < SEEDS && !found; k++) {
                found = strcmp(seeds[k].op, row->name) == 0 && seeds[k].opset >= row->since &&
                        seeds[k].opset <= row->until;
            }
            if (!found) {
                fail_msg("%s (opsets %d to %d) has no seed", row->name, row->since, row->until);
            }
        }
    }
}

static void every_seed_runs_and_writes_its_outputs_whole(void **state)
{
    (void)state;
    struct prng random = {7};
    for (size_t k = 0; k < SEEDS; k++) {
        struct op_case c;
        init(&c, &seeds[k], &random);
        if (op_case_infer(&c) != OP_OK || op_case_run(&c, 0) != OP_OK) {
            fail_msg("seed %zu: %s", k, c.fail.what);
        }
        run_twice(&c, seeds[k].op);
        op_case_fini(&c);
    }
}

static void what_may_run_in_place_gives_the_same_there(void **state)
{
    (void)state;
    struct prng random = {8};
    for (size_t k = 0; k < SEEDS; k++) {
        struct op_case c;
        init(&c, &seeds[k], &random);
        assert_int_equal(op_case_infer(&c), OP_OK);
        unsigned flags = c.node->row->flags;
        bool same = c.ctx.in_count > 0 && c.out[0].dtype == c.in[0].dtype &&
                    tensor_bytes(&c.out[0]) == tensor_bytes(&c.in[0]);
        bool place = (flags & OP_IN_PLACE) != 0 && shape_equal(&c.out[0].shape, &c.in[0].shape);
        if (same && (place || (flags & OP_ALIAS) != 0)) {
            assert_int_equal(op_case_run(&c, 0), OP_OK);
            void *apart = c.out[0].data;
            c.out[0].data = c.in[0].data;
            assert_int_equal(op_run(&c.ctx), OP_OK);
            if (memcmp(apart, c.in[0].data, tensor_bytes(&c.in[0])) != 0) {
                fail_msg("%s gives something else in place", seeds[k].op);
            }
            c.out[0].data = apart;
        }
        op_case_fini(&c);
    }
}

static void unknown_values_are_asked_for_or_not_needed(void **state)
{
    (void)state;
    struct prng random = {9};
    for (size_t k = 0; k < SEEDS; k++) {
        struct op_case c, without;
        init(&c, &seeds[k], &random);
        init(&without, &seeds[k], &random);
        for (unsigned i = 0; i < without.ctx.in_count; i++) {
            free(without.in[i].data);
            without.in[i].data = NULL;
        }
        assert_int_equal(op_case_infer(&c), OP_OK);
        enum op_result r = op_case_infer(&without);
        assert_true(r == OP_OK || r == OP_NEEDS_DATA);
        for (unsigned o = 0; o < c.ctx.out_count && r == OP_OK; o++) {
            assert_true(shape_equal(&c.out[o].shape, &without.out[o].shape));
        }
        op_case_fini(&c);
        op_case_fini(&without);
    }
}

/* ---- mutations ---- */

static int64_t strange_int(struct prng *random)
{
    static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, INT32_MIN,
                                  INT32_MAX, 1ll << 30,     1ll << 31, 1ll << 62,     -(1ll << 62)};
    if (prng_below(random, 3) == 0) {
        return far[prng_below(random, sizeof(far) / sizeof(far[0]))];
    }
    return (int64_t)prng_below(random, 10) - 4;
}

static void resize_tensor(struct tensor *t, struct prng *random)
{
    if (t->shape.rank > 0 && prng_below(random, 4) != 0) {
        t->shape.dims[prng_below(random, t->shape.rank)] = (int64_t)prng_below(random, 5);
    } else if (t->shape.rank > 0 && prng_below(random, 2) == 0) {
        t->shape.rank--;
    } else if (t->shape.rank < TENSOR_RANK_MAX) {
        t->shape.dims[t->shape.rank++] = (int64_t)prng_below(random, 3);
    }
    if (prng_below(random, 8) == 0) {
        static const enum dtype types[] = {DT_F32, DT_F64, DT_F16, DT_BF16, DT_I8,  DT_U8,
                                           DT_I32, DT_I64, DT_U64, DT_BOOL, DT_C64, DT_C128};
        t->dtype = types[prng_below(random, sizeof(types) / sizeof(types[0]))];
    }
    size_t count;
    if (!shape_count(&t->shape, &count) || count > 4096) {
        t->shape = (struct shape){0};
    }
    free(t->data);
    t->data = malloc(tensor_bytes(t) > 0 ? tensor_bytes(t) : 1);
    memset(t->data, 0, tensor_bytes(t));
    op_case_fill(t, random);
}

static void mutate_input(struct op_case *c, struct prng *random)
{
    unsigned i = (unsigned)prng_below(random, c->ctx.in_count);
    struct tensor *t = &c->in[i];
    if (t->data == NULL) {
        return;
    }
    bool indices = t->dtype == DT_I64 || t->dtype == DT_I32;
    size_t count = tensor_count(t);
    switch (prng_below(random, 8)) {
    case 0:
        c->in_at[i] = NULL;
        break;
    case 1:
        c->ctx.in_count = i + 1;
        break;
    case 2:
    case 3:
        resize_tensor(t, random);
        break;
    default:
        if (indices && count > 0) {
            tensor_set_i64(t, prng_below(random, count), strange_int(random));
        } else {
            op_case_fill(t, random);
        }
        break;
    }
}

static void mutate_attr(struct op_case *c, struct prng *random)
{
    static const char *const words[] = {"",         "edge",  "SAME_LOWER", "VALID", "cubic",
                                        "nonsense", "i,i->", "...a,...a",  "none",  "floor"};
    if (c->node->attr_count == 0) {
        return;
    }
    struct attr *a = &c->node->attrs[prng_below(random, c->node->attr_count)];
    switch (prng_below(random, 8)) {
    case 0:
        a->name[0] = '_'; /* as if it were absent */
        return;
    case 1:
        a->count -= a->count > 0 && a->type != ATTR_STRINGS; /* those are freed by count */
        return;
    default:
        break;
    }
    a->i = strange_int(random);
    a->f = (float)strange_int(random);
    for (uint32_t k = 0; k < a->count && a->ints != NULL; k++) {
        a->ints[k] = prng_below(random, 2) == 0 ? strange_int(random) : a->ints[k];
    }
    for (uint32_t k = 0; k < a->count && a->floats != NULL; k++) {
        a->floats[k] = (float)strange_int(random);
    }
    if (a->type == ATTR_STRING) {
        char attr[80];
        const char *word = words[prng_below(random, sizeof(words) / sizeof(words[0]))];
        snprintf(attr, sizeof(attr), "%s:s=%s", a->name, word);
        op_case_set(c->node, attr, random);
    }
}

static void mutate(struct op_case *c, struct prng *random)
{
    for (uint64_t n = prng_below(random, 3) + 1; n > 0; n--) {
        uint64_t what = prng_below(random, 8);
        if (what == 0 && c->ctx.out_count > 0) {
            c->out_at[prng_below(random, c->ctx.out_count)] = NULL;
        } else if (what < 4 && c->ctx.in_count > 0) {
            mutate_input(c, random);
        } else {
            mutate_attr(c, random);
        }
    }
}

static void changed_seeds_are_answered_and_never_overrun(void **state)
{
    const char *rounds = getenv("ROUNDS");
    unsigned long all = rounds != NULL ? strtoul(rounds, NULL, 10) : 200, ran = 0, refused = 0;
    (void)state;
    for (size_t k = 0; k < SEEDS; k++) {
        for (unsigned long round = 0; round < all; round++) {
            struct prng random = {k * 1000003 + round};
            struct op_case c;
            char what[80];
            init(&c, &seeds[k], &random);
            mutate(&c, &random);
            snprintf(what, sizeof(what), "seed %zu (%s), round %lu", k, seeds[k].op, round);
            enum op_result r = op_case_infer(&c);
            if (r == OP_OK && small(&c)) {
                run_twice(&c, what);
                ran++;
            } else if (r != OP_OK) {
                if (strstr(c.fail.what, seeds[k].op) == NULL) {
                    fail_msg("%s: the message is '%s'", what, c.fail.what);
                }
                refused++;
            }
            op_case_fini(&c);
        }
    }
    print_message("%lu changed calls ran, %lu were refused\n", ran, refused);
    assert_true(ran > SEEDS && refused > SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_has_a_seed),
        cmocka_unit_test(every_seed_runs_and_writes_its_outputs_whole),
        cmocka_unit_test(what_may_run_in_place_gives_the_same_there),
        cmocka_unit_test(unknown_values_are_asked_for_or_not_needed),
        cmocka_unit_test(changed_seeds_are_answered_and_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
