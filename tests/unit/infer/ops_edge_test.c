/* tests/unit/infer/ops_edge_test.c - what operators give at the edges of their types and shapes.
 *
 * Goal:   wrap-around, rounding, saturation, NaN, empty tensors, negative axes and steps are as in
 *         ONNX and NumPy; what is wrong is refused by a message that names node and operator.
 * Method: one line per case: inputs, attributes, and the expected outputs worked out by hand (or by
 *         NumPy where the comment says so), compared exactly. */
#include "tests/support/op_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct edge {
    const char *op;
    int opset;
    const char *in, *attrs;
    const char *want; /* outputs; or "! part of the message" */
};

static bool equal(const struct tensor *a, const struct tensor *b)
{
    if (a->dtype != b->dtype || !shape_equal(&a->shape, &b->shape)) {
        return false;
    }
    for (size_t k = 0; k < tensor_count(a); k++) {
        double x = tensor_get_f64(a, k), y = tensor_get_f64(b, k);
        bool both_nan = isnan(x) && isnan(y);
        if (!both_nan && (fabs(x - y) > 1e-6 * fabs(y) || isnan(x) != isnan(y)) && x != y) {
            return false;
        }
        if (!dtype_is_float(a->dtype) && tensor_get_i64(a, k) != tensor_get_i64(b, k)) {
            return false;
        }
    }
    return true;
}

static unsigned count_tensors(const char *s)
{
    unsigned n = 1;
    for (; *s != '\0'; s++) {
        n += *s == ' ';
    }
    return n;
}

static void check(const struct edge *e)
{
    bool refused = e->want[0] == '!';
    const struct op *row = op_find("", e->op, e->opset);
    assert_non_null(row);
    unsigned outs = refused ? row->out_min : count_tensors(e->want);
    struct prng random = {1};
    struct op_case c;
    op_case_init(&c, e->op, e->opset, e->in, e->attrs, outs, &random);
    enum op_result r = op_case_infer(&c);
    r = r == OP_OK ? op_case_run(&c, 0xa5) : r;
    if (refused ? r == OP_OK : r != OP_OK) {
        fail_msg("%s(%s) %s: answer %d, %s", e->op, e->in, e->attrs, (int)r, c.fail.what);
    }
    if (refused) {
        assert_non_null(strstr(c.fail.what, e->op));
        if (strstr(c.fail.what, e->want + 2) == NULL) {
            fail_msg("%s(%s): '%s' is not in '%s'", e->op, e->in, e->want + 2, c.fail.what);
        }
    }
    const char *s = e->want;
    for (unsigned k = 0; k < outs && !refused; k++, s += *s == ' ') {
        struct tensor want = op_case_tensor(&s, &random);
        if (!equal(&c.out[k], &want)) {
            char text[SHAPE_TEXT_BYTES];
            fprintf(stderr, "got %s%s:", dtype_name(c.out[k].dtype),
                    shape_text(&c.out[k].shape, text));
            for (size_t i = 0; i < tensor_count(&c.out[k]) && i < 20; i++) {
                fprintf(stderr, " %.9g", tensor_get_f64(&c.out[k], i));
            }
            fail_msg("\n%s(%s) %s: output %u is not %s", e->op, e->in, e->attrs, k, e->want);
        }
        free(want.data);
    }
    op_case_fini(&c);
}

#define CHECK_ALL(cases)                                                                           \
    for (size_t k = 0; k < sizeof(cases) / sizeof((cases)[0]); k++) {                              \
        check(&(cases)[k]);                                                                        \
    }

static void integer_arithmetic_wraps_and_divides_by_zero_to_zero(void **state)
{
    static const struct edge cases[] = {
        {"Add", 14, "i8[2]=127,-128 i8[2]=1,-1", "", "i8[2]=-128,127"},
        {"Sub", 14, "u8[2]=0,5 u8[1]=1", "", "u8[2]=255,4"},
        {"Mul", 14, "i64[1]=9223372036854775807 i64[1]=2", "", "i64[1]=-2"},
        {"Div", 14, "i32[4]=7,-7,-2147483648,5 i32[4]=2,2,-1,0", "", "i32[4]=3,-3,-2147483648,0"},
        {"Div", 14, "i64[1]=-9223372036854775808 i64[1]=-1", "", "i64[1]=-9223372036854775808"},
        {"Div", 14, "u32[2]=7,7 u32[2]=2,0", "", "u32[2]=3,0"},
        {"Div", 14, "f32[3]=1,-1,0 f32[3]=0,0,0", "", "f32[3]=inf,-inf,nan"},
        {"Mod", 13, "i32[4]=-5,5,-5,5 i32[4]=3,-3,-3,0", "", "i32[4]=1,-1,-2,0"},
        {"Mod", 13, "i32[3]=-5,5,-5 i32[3]=3,-3,-3", "fmod:i=1", "i32[3]=-2,2,-2"},
        {"Mod", 13, "i64[1]=-9223372036854775808 i64[1]=-1", "", "i64[1]=0"},
        {"Mod", 13, "f32[2]=-5.5,5.5 f32[2]=2,-2", "fmod:i=1", "f32[2]=-1.5,1.5"},
        {"Mod", 13, "f32[1]=5 f32[1]=2", "", "! fmod"},
        {"Neg", 13, "i8[2]=-128,5", "", "i8[2]=-128,-5"},
        {"Abs", 13, "i64[1]=-9223372036854775808", "", "i64[1]=-9223372036854775808"},
        {"Abs", 13, "u64[1]=18446744073709551615", "", "u64[1]=18446744073709551615"},
        {"Pow", 15, "i32[4]=2,-1,3,2 i32[4]=31,-3,-1,40", "", "i32[4]=-2147483648,-1,0,0"},
        {"Pow", 15, "f32[2]=2,4 i64[2]=3,-1", "", "f32[2]=8,0.25"},
        {"Pow", 15, "i32[2]=2,9 f32[2]=3.5,0.5", "", "i32[2]=11,3"},
        {"BitShift", 11, "u8[3]=255,1,1 u8[3]=1,9,200", "direction:s=LEFT", "u8[3]=254,0,0"},
        {"BitShift", 11, "u64[2]=18446744073709551615,8 u64[2]=63,64", "direction:s=RIGHT",
         "u64[2]=1,0"},
        {"ReduceSum", 13, "i8[2]=127,1", "keepdims:i=0", "i8[]=-128"},
        {"ReduceProd", 13, "i32[2]=65536,65536", "keepdims:i=0", "i32[]=0"},
        {"CumSum", 14, "i32[2]=2147483647,1 i32[]=0", "", "i32[2]=2147483647,-2147483648"},
        {"MatMul", 13, "i32[1,1]=65536 i32[1,1]=65536", "", "i32[1,1]=0"},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void casts_cut_saturate_and_round_once(void **state)
{
    static const struct edge cases[] = {
        {"Cast", 13, "f32[6]=2.9,-2.9,300,-300,nan,inf", "to:i=3", "i8[6]=2,-2,127,-128,0,127"},
        {"Cast", 13, "f32[3]=-1,1e20,254.9", "to:i=2", "u8[3]=0,255,254"},
        {"Cast", 13, "f64[2]=1e300,-1e300", "to:i=7",
         "i64[2]=9223372036854775807,-9223372036854775808"},
        {"Cast", 13, "f64[2]=1e300,-1", "to:i=13", "u64[2]=18446744073709551615,0"},
        {"Cast", 13, "i32[3]=300,-1,128", "to:i=2", "u8[3]=44,255,128"},
        {"Cast", 13, "i32[2]=200,-200", "to:i=3", "i8[2]=-56,56"},
        {"Cast", 13, "f32[4]=0,-0.0,0.25,nan", "to:i=9", "bool[4]=0,0,1,1"},
        {"Cast", 13, "bool[2]=1,0", "to:i=1", "f32[2]=1,0"},
        {"Cast", 13, "i64[1]=16777217", "to:i=1", "f32[1]=16777216"},
        {"Cast", 13, "f64[3]=65519.9,65520,2049", "to:i=10", "f16[3]=65504,inf,2048"},
        /* 1 + 2^-8 is half way between two bf16; a hair more must go up, in one rounding */
        {"Cast", 13, "f64[2]=1.00390625,1.0039062500001", "to:i=16", "bf16[2]=1,1.0078125"},
        {"Cast", 13, "f32[1]=1", "to:i=8", "! string"},
        {"Cast", 13, "f32[1]=1", "to:i=99", "! 99"},
        {"Cast", 13, "f32[1]=1", "", "! to"},
        {"Round", 11, "f32[6]=0.5,1.5,2.5,-0.5,-1.5,2.4", "", "f32[6]=0,2,2,-0.0,-2,2"},
        {"QuantizeLinear", 13, "f32[5]=0,2.5,3.5,-1000,1000 f32[]=1 u8[]=10", "",
         "u8[5]=10,12,14,0,255"},
        {"QuantizeLinear", 13, "f32[2]=nan,inf f32[]=1 i8[]=0", "", "i8[2]=0,127"},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void nan_goes_where_numpy_lets_it_go(void **state)
{
    static const struct edge cases[] = {
        {"Max", 13, "f32[3]=1,nan,3 f32[3]=2,2,nan", "", "f32[3]=2,nan,nan"},
        {"Min", 13, "f32[3]=1,nan,3 f32[3]=2,2,nan", "", "f32[3]=1,nan,nan"},
        {"ReduceMax", 13, "f32[3]=1,nan,3", "keepdims:i=0", "f32[]=nan"},
        {"ReduceMin", 13, "f32[3]=nan,1,3", "keepdims:i=0", "f32[]=nan"},
        {"ArgMax", 13, "f32[4]=1,nan,3,nan", "keepdims:i=0", "i64[]=1"},
        {"ArgMax", 13, "f32[3]=3,1,3", "keepdims:i=0", "i64[]=0"},
        {"ArgMax", 13, "f32[3]=3,1,3", "keepdims:i=0 select_last_index:i=1", "i64[]=2"},
        {"ArgMin", 13, "i32[3]=-2147483648,5,-2147483648", "keepdims:i=0", "i64[]=0"},
        {"Clip", 13, "f32[3]=nan,-5,5 f32[]=-1 f32[]=1", "", "f32[3]=nan,-1,1"},
        {"Clip", 13, "u64[2]=18446744073709551615,0 u64[]=1 u64[]=9", "", "u64[2]=9,1"},
        {"Relu", 14, "f32[3]=nan,-1,1", "", "f32[3]=nan,0,1"},
        {"Sign", 13, "f32[4]=nan,-2,0,inf", "", "f32[4]=nan,-1,0,1"},
        {"Equal", 13, "f32[2]=nan,1 f32[2]=nan,1", "", "bool[2]=0,1"},
        {"Less", 13, "u64[1]=1 u64[1]=18446744073709551615", "", "bool[1]=1"},
        {"MaxPool", 12, "f32[1,1,4]=1,nan,2,3", "kernel_shape:I=2 strides:I=2",
         "f32[1,1,2]=nan,3"},
        {"Softmax", 13, "f32[2]=1000,1000", "", "f32[2]=0.5,0.5"},
        {"LogSoftmax", 13, "f32[2]=-inf,0", "", "f32[2]=-inf,0"},
        {"Hardmax", 13, "f32[3]=1,3,3", "", "f32[3]=0,1,0"},
        {"ReduceLogSumExp", 13, "f32[2]=1000,1000", "keepdims:i=0", "f32[]=1000.693147"},
        {"ReduceLogSumExp", 13, "f32[2]=-inf,-inf", "keepdims:i=0", "f32[]=-inf"},
        {"IsInf", 10, "f32[3]=inf,-inf,nan", "detect_negative:i=0", "bool[3]=1,0,0"},
        {"TopK", 11, "f32[4]=1,nan,2,2 i64[1]=3", "", "f32[3]=nan,2,2 i64[3]=1,2,3"},
        {"NonZero", 13, "f32[3]=-0.0,nan,1", "", "i64[1,2]=1,2"},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void empty_tensors_have_answers(void **state)
{
    static const struct edge cases[] = {
        {"ReduceSum", 13, "f32[0,2]", "keepdims:i=0", "f32[]=0"},
        {"ReduceSum", 13, "f32[0,2] i64[1]=0", "keepdims:i=0", "f32[2]=0,0"},
        {"ReduceProd", 13, "i32[0]", "keepdims:i=0", "i32[]=1"},
        {"ReduceMax", 13, "i8[0]", "keepdims:i=0", "i8[]=-128"},
        {"ReduceMin", 13, "f32[0]", "keepdims:i=0", "f32[]=inf"},
        {"ReduceMean", 13, "f32[0]", "keepdims:i=0", "f32[]=nan"},
        {"ArgMax", 13, "f32[0]", "", "! empty"},
        {"MatMul", 13, "f32[2,0] f32[0,2]", "", "f32[2,2]=0,0,0,0"},
        {"Gemm", 13, "f32[1,0] f32[0,2] f32[2]=1,2", "", "f32[1,2]=1,2"},
        {"Concat", 13, "f32[0,2] f32[1,2]=1,2", "axis:i=0", "f32[1,2]=1,2"},
        {"Softmax", 13, "f32[2,0]", "", "f32[2,0]="},
        {"Gather", 13, "f32[0] i64[0]", "", "f32[0]="},
        {"Gather", 13, "f32[0] i64[1]=0", "", "! out of range"},
        {"Reshape", 14, "f32[0,3] i64[2]=0,-1", "", "! no place"},
        {"Reshape", 14, "f32[0,3] i64[2]=3,0", "allowzero:i=1", "f32[3,0]="},
        {"Tile", 13, "f32[2]=1,2 i64[1]=0", "", "f32[0]="},
        {"Pad", 13, "f32[0] i64[2]=1,1", "mode:s=edge", "! empty"},
        {"Pad", 13, "f32[0] i64[2]=1,1 f32[]=7", "", "f32[2]=7,7"},
        {"Expand", 13, "f32[1]=5 i64[1]=0", "", "f32[0]="},
        {"Unique", 11, "f32[0]", "", "f32[0]= i64[0]= i64[0]= i64[0]="},
        {"Range", 11, "i32[]=5 i32[]=5 i32[]=1", "", "i32[0]="},
        {"Conv", 11, "f32[0,1,3] f32[1,1,2]", "", "f32[0,1,2]="},
        {"NonZero", 13, "f32[0]", "", "i64[1,0]="},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void slices_pads_and_axes_count_from_both_ends(void **state)
{
    static const struct edge cases[] = {
        {"Slice", 13, "i32[4]=0,1,2,3 i64[1]=-1 i64[1]=-9223372036854775808 i64[1]=0 i64[1]=-1", "",
         "i32[4]=3,2,1,0"},
        {"Slice", 13, "i32[4]=0,1,2,3 i64[1]=3 i64[1]=0 i64[1]=-1 i64[1]=-2", "", "i32[2]=3,1"},
        {"Slice", 13, "i32[4]=0,1,2,3 i64[1]=1 i64[1]=9223372036854775807", "", "i32[3]=1,2,3"},
        {"Slice", 13, "i32[4]=0,1,2,3 i64[1]=1 i64[1]=3 i64[1]=0 i64[1]=9223372036854775807", "",
         "i32[1]=1"},
        {"Slice", 13, "i32[2]=0,1 i64[1]=0 i64[1]=2 i64[1]=0 i64[1]=0", "", "! step"},
        {"Slice", 13, "i32[2]=0,1 i64[1]=0 i64[1]=2 i64[1]=1", "", "! rank"},
        {"Slice", 9, "i32[2,2]=0,1,2,3", "starts:I=-1 ends:I=9 axes:I=1", "i32[2,1]=1,3"},
        {"Slice", 9, "i32[2]=0,1", "starts:I=0,0 ends:I=1", "! numbers"},
        {"Pad", 13, "i32[3]=1,2,3 i64[2]=2,4", "mode:s=reflect", "i32[9]=3,2,1,2,3,2,1,2,3"},
        {"Pad", 13, "i32[2]=1,2 i64[2]=2,1", "mode:s=edge", "i32[5]=1,1,1,2,2"},
        {"Pad", 19, "i32[3]=1,2,3 i64[2]=4,1", "mode:s=wrap", "i32[8]=3,1,2,3,1,2,3,1"},
        {"Pad", 13, "i32[3]=1,2,3 i64[2]=-1,-1", "", "i32[1]=2"},
        {"Pad", 13, "i32[3]=1,2,3 i64[2]=-2,-2", "", "! cut"},
        {"Pad", 13, "i32[1]=1 i64[2]=4611686018427387904,-4611686018427387904", "", "! too large"},
        {"Squeeze", 11, "f32[1,2,1]=1,2", "axes:I=-1", "f32[1,2]=1,2"},
        {"Squeeze", 13, "f32[1,2,1]=1,2", "", "f32[2]=1,2"},
        {"Squeeze", 13, "f32[2]=1,2 i64[1]=0", "", "! not 1"},
        {"Unsqueeze", 13, "f32[2]=1,2 i64[2]=0,-1", "", "f32[1,2,1]=1,2"},
        {"Unsqueeze", 13, "f32[2]=1,2 i64[2]=0,-4", "", "! axes"},
        {"Unsqueeze", 13, "f32[2]=1,2 i64[2]=0,0", "", "! twice"},
        {"Transpose", 13, "i32[2,2]=1,2,3,4", "perm:I=0,0", "! twice"},
        {"Flatten", 13, "i32[2,2]=1,2,3,4", "axis:i=2", "i32[4,1]=1,2,3,4"},
        {"Flatten", 13, "i32[2,2]=1,2,3,4", "axis:i=-1", "i32[2,2]=1,2,3,4"},
        {"Flatten", 13, "i32[2,2]=1,2,3,4", "axis:i=3", "! rank"},
        {"Gather", 13, "i32[3]=1,2,3 i64[2]=-1,0", "", "i32[2]=3,1"},
        {"Gather", 13, "i32[3]=1,2,3 i64[1]=-4", "", "! -4"},
        {"GatherND", 13, "i32[2,2]=1,2,3,4 i64[1,2]=1,-1", "", "i32[1]=4"},
        {"GatherND", 13, "i32[2,2]=1,2,3,4 i64[1,3]=1,1,1", "", "! indices"},
        {"ScatterND", 16, "i32[2]=1,2 i64[2,1]=1,1 i32[2]=5,6", "reduction:s=add", "i32[2]=1,13"},
        {"ScatterElements", 16, "i32[2]=1,2 i64[1]=2 i32[1]=5", "", "! out of range"},
        {"Split", 13, "i32[3]=1,2,3 i64[2]=1,2", "", "i32[1]=1 i32[2]=2,3"},
        {"Split", 13, "i32[3]=1,2,3 i64[1]=4", "", "! fit"},
        {"Split", 18, "i32[3]=1,2,3", "", "i32[2]=1,2 i32[1]=3"},
        {"Split", 13, "i32[3]=1,2,3", "", "i32[3]=1,2,3"},
        {"Reshape", 14, "i32[4]=1,2,3,4 i64[2]=-1,-1", "", "! -1"},
        {"Reshape", 14, "i32[4]=1,2,3,4 i64[2]=3,-1", "", "! no place"},
        {"Reshape", 14, "i32[4]=1,2,3,4 i64[2]=2147483648,2147483648", "", "! make"},
        {"Tile", 13, "i32[2]=1,2 i64[1]=9223372036854775807", "", "! large"},
        {"Range", 11, "i64[]=-9223372036854775808 i64[]=9223372036854775807 i64[]=1", "", "! many"},
        {"Range", 11, "i64[]=9223372036854775806 i64[]=9223372036854775807 i64[]=5", "",
         "i64[1]=9223372036854775806"},
        {"Range", 11, "f32[]=0 f32[]=1 f32[]=0", "", "! end"},
        {"OneHot", 11, "i64[3]=-1,5,0 i64[]=2 i32[2]=7,9", "", "i32[3,2]=7,9,7,7,9,7"},
        {"TopK", 11, "f32[2]=1,2 i64[1]=3", "", "! k is 3"},
        {"TopK", 11, "f32[2]=1,2 i64[1]=-1", "", "! k is -1"},
        {"EyeLike", 9, "f32[2,3]", "k:i=-9223372036854775808", "f32[2,3]=0,0,0,0,0,0"},
        {"Trilu", 14, "i32[2,2]=1,2,3,4 i64[]=-9223372036854775808", "upper:i=0",
         "i32[2,2]=0,0,0,0"},
        {"CumSum", 14, "i32[3]=1,2,3 i32[]=0", "reverse:i=1 exclusive:i=1", "i32[3]=5,3,0"},
        {"Compress", 11, "i32[2,2]=1,2,3,4 bool[2]=0,1", "axis:i=-1", "i32[2,1]=2,4"},
        {"Compress", 11, "i32[2]=1,2 bool[3]=0,1,1", "axis:i=0", "! longer"},
        {"Unique", 11, "i32[5]=3,1,3,2,1", "sorted:i=0",
         "i32[3]=3,1,2 i64[3]=0,1,3 i64[5]=0,1,0,2,1 i64[3]=2,2,1"},
        {"Shape", 15, "f32[2,3,4]", "start:i=-2 end:i=9", "i64[2]=3,4"},
        {"DepthToSpace", 13, "f32[1,3,1,1]", "blocksize:i=2", "! blocksize"},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void old_forms_of_operators_keep_their_meaning(void **state)
{
    static const struct edge cases[] = {
        {"Add", 6, "i32[2,2]=1,2,3,4 i32[2]=10,20", "broadcast:i=1 axis:i=0",
         "i32[2,2]=11,12,23,24"},
        {"Add", 6, "i32[2,2]=1,2,3,4 i32[2]=10,20", "broadcast:i=1", "i32[2,2]=11,22,13,24"},
        {"Add", 6, "i32[2,2]=1,2,3,4 i32[2]=10,20", "", "! broadcast"},
        {"Add", 6, "i32[2,2]=1,2,3,4 i32[2]=10,20", "broadcast:i=1 axis:i=7", "! axis"},
        {"Softmax", 11, "f32[1,2,2]=0,0,0,0", "axis:i=1", "f32[1,2,2]=0.25,0.25,0.25,0.25"},
        {"Softmax", 13, "f32[1,2,2]=0,0,0,0", "axis:i=1", "f32[1,2,2]=0.5,0.5,0.5,0.5"},
        {"PRelu", 6, "f32[1,2,2]=-1,-1,-1,-1 f32[2]=2,3", "", "f32[1,2,2]=-2,-2,-3,-3"},
        {"Clip", 6, "f32[2]=-9,9", "min:f=-1 max:f=1", "f32[2]=-1,1"},
        {"Dropout", 6, "f32[1]=3", "", "! random"},
        {"Dropout", 6, "f32[1]=3", "is_test:i=1", "f32[1]=3"},
        {"Dropout", 13, "f32[1]=3 f32[]=0.5 bool[]=1", "", "! random"},
        {"Dropout", 13, "f32[1]=3 f32[]=0 bool[]=1", "", "f32[1]=3 bool[1]=1"},
        {"TopK", 9, "f32[3]=1,3,2", "k:i=2", "f32[2]=3,2 i64[2]=1,2"},
        {"Upsample", 7, "f32[2]=1,2", "scales:F=2", "f32[4]=1,1,2,2"},
        {"BatchNormalization", 7, "f32[1,1,1]=1 f32[1]=1 f32[1]=0 f32[1]=0 f32[1]=1", "spatial:i=0",
         "! spatial"},
    };
    (void)state;
    CHECK_ALL(cases)
}

static void windows_and_products_check_what_fits(void **state)
{
    static const struct edge cases[] = {
        {"Conv", 11, "f32[1,2,3] f32[1,3,2]", "", "! channels"},
        {"Conv", 11, "f32[1,2,3] f32[1,1,2]", "group:i=0", "! groups"},
        {"Conv", 11, "f32[1,2,3] f32[3,1,2]", "group:i=2", "! groups"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,5]", "", "! spans"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "strides:I=0", "! strides"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "pads:I=-1,0", "! pads"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "pads:I=0,9223372036854775807", "! pads"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "pads:I=0,0,0", "! pads"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "kernel_shape:I=3", "! kernel_shape"},
        {"Conv", 11, "f32[1,1,3] f32[1,1,2]", "auto_pad:s=SOME", "! auto_pad"},
        {"Conv", 11, "f32[1,1,3]=1,2,3 f32[1,1,2]=1,10 f32[1]=100", "auto_pad:s=SAME_UPPER",
         "f32[1,1,3]=121,132,103"},
        {"Conv", 11, "f32[1,1,3]=1,2,3 f32[1,1,2]=1,10", "auto_pad:s=SAME_LOWER",
         "f32[1,1,3]=10,21,32"},
        {"Conv", 11, "f32[1,1,5]=1,2,3,4,5 f32[1,1,2]=1,10", "dilations:I=2 strides:I=2 pads:I=1,0",
         "f32[1,1,2]=20,42"},
        {"ConvTranspose", 11, "f32[1,1,2]=1,2 f32[1,1,2]=1,10", "strides:I=2 output_padding:I=1",
         "f32[1,1,5]=1,10,2,20,0"},
        {"ConvTranspose", 11, "f32[1,1,2]=1,2 f32[1,1,2]=1,10", "output_shape:I=-1",
         "! output_shape"},
        {"ConvTranspose", 11, "f32[1,1,2] f32[1,1,2]", "pads:I=4,4", "! cut"},
        {"MaxPool", 12, "i8[1,1,2]=-5,-7", "kernel_shape:I=2 pads:I=1,1",
         "i8[1,1,3]=-5,-5,-7 i64[1,1,3]=0,0,1"},
        {"MaxPool", 12, "f32[1,1,3]=1,2,3", "kernel_shape:I=2 strides:I=2 ceil_mode:i=1",
         "f32[1,1,2]=2,3"},
        {"AveragePool", 11, "f32[1,1,2]=2,4", "kernel_shape:I=2 pads:I=1,1",
         "f32[1,1,3]=2,3,4"},
        {"AveragePool", 11, "f32[1,1,2]=2,4", "kernel_shape:I=2 pads:I=1,1 count_include_pad:i=1",
         "f32[1,1,3]=1,3,2"},
        {"MatMul", 13, "f32[2,3] f32[2,3]", "", "! multiply"},
        {"MatMul", 13, "f32[] f32[2]", "", "! scalar"},
        {"MatMul", 13, "i32[2]=1,2 i32[2]=3,4", "", "i32[]=11"},
        {"Gemm", 13, "f32[1,2] f32[2,1] f32[3,3]", "", "! C is"},
        {"Gemm", 13, "i32[1,2]=1,2 i32[1,2]=3,4 i32[]=5", "transB:i=1", "i32[1,1]=16"},
        {"Einsum", 12, "i32[2,2]=1,2,3,4", "equation:s=ii", "i32[]=5"},
        {"Einsum", 12, "i32[2,2]=1,2,3,4", "equation:s=ji", "i32[2,2]=1,3,2,4"},
        {"Einsum", 12, "i32[2]=1,2 i32[3]=1,2,3", "equation:s=i,i->i", "! 'i'"},
        {"Einsum", 12, "i32[2]=1,2", "equation:s=i->k", "! 'k'"},
        {"Einsum", 12, "i32[2]=1,2", "equation:s=ij", "! dims"},
        {"Einsum", 12, "i32[2]=1,2", "equation:s=i,j", "! operands"},
        {"Einsum", 12, "i32[2]=1,2", "equation:s=i->i->i", "! operands"},
        {"MatMulInteger", 10, "u8[1,1]=3 u8[1,1]=4 u8[]=5 u8[]=6", "", "i32[1,1]=4"},
        {"LSTM", 14, "f32[1,1,1] f32[1,4,1] f32[1,4,2]", "", "! input 1"},
        {"GRU", 14, "f32[2,1,1] f32[1,3,1] f32[1,3,1] - i32[1]=3", "", "! length 3"},
        {"RNN", 14, "f32[1,1,1] f32[1,1,1] f32[1,1,1]", "activations:S=Nope", "! Nope"},
        {"LRN", 13, "f32[1,2,1]=1,1", "size:i=9223372036854775807 alpha:f=0 beta:f=1",
         "f32[1,2,1]=1,1"},
        {"Resize", 13, "f32[2]=1,2 - f32[1]=nan", "", "! scaled"},
        {"Resize", 13, "f32[2]=1,2 - f32[1]=1e30", "", "! scaled"},
        {"SoftmaxCrossEntropyLoss", 13, "f32[1,2] i64[1]=2", "", "! label 2"},
    };
    (void)state;
    CHECK_ALL(cases)
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_arithmetic_wraps_and_divides_by_zero_to_zero),
        cmocka_unit_test(casts_cut_saturate_and_round_once),
        cmocka_unit_test(nan_goes_where_numpy_lets_it_go),
        cmocka_unit_test(empty_tensors_have_answers),
        cmocka_unit_test(slices_pads_and_axes_count_from_both_ends),
        cmocka_unit_test(old_forms_of_operators_keep_their_meaning),
        cmocka_unit_test(windows_and_products_check_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
