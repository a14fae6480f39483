/* tests/unit/infer/compiled_test.c - fused, planned and compiled gives what the model says.
 *
 * Method: small models with the patterns that fusion looks for are run node by node and compiled on
 *         the host, with the same pseudo-random numbers; outputs must agree, and the nodes that are
 *         left must be the fused ones.  The plan is checked against its invariants on random graphs
 *         by brute force. */
#include "core/mem.h"
#include "core/prng.h"
#include "pe/infer/compare.h"
#include "pe/infer/compiled.h"
#include "pe/infer/exec.h"
#include "pe/infer/fuse.h"
#include "pe/infer/load.h"
#include "pe/infer/arena_plan.h"
#include "pe/infer/specialise.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FLOATS_MAX 4096

static void random_floats(struct onnx_build *m, const char *name, unsigned rank, const int *dims,
                          uint64_t seed, float low)
{
    float v[FLOATS_MAX];
    struct prng p = {seed};
    size_t count = 1;
    for (unsigned i = 0; i < rank; i++) {
        count *= (size_t)dims[i];
    }
    assert_true(count <= FLOATS_MAX);
    for (size_t i = 0; i < count; i++) {
        v[i] = low + (float)prng_below(&p, 1000) / 1000.0f;
    }
    onnx_floats(m, name, rank, dims, v);
}

static void scalar(struct onnx_build *m, const char *name, float v)
{
    onnx_floats(m, name, 0, NULL, &v);
}

/* Specialise for `shape` (batch first) and fuse nothing yet. */
static struct graph *specialised(struct onnx_build *m, int opset, const struct shape *shape)
{
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_finish(m, opset, &bytes);
    if (graph_load(bytes.data, bytes.bytes, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    strbuf_fini(&bytes);
    struct tensor x = tensor_borrow(DT_F32, shape, NULL);
    if (graph_specialise(g, &x, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    g->batch = shape->dims[0];
    return g;
}

/* The live nodes of the compiled graph are `want`, in order, separated by spaces. */
static void check_nodes(const struct graph *g, const char *want)
{
    struct strbuf got = {0};
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead) {
            strbuf_printf(&got, "%s%s", got.bytes > 0 ? " " : "", g->nodes[i].op);
        }
    }
    assert_string_equal(strbuf_text(&got), want);
    strbuf_fini(&got);
}

static void same_as_reference(struct onnx_build *m, int opset, struct shape shape,
                              const char *nodes)
{
    struct fail f = {0};
    struct tensor x = {0}, want = {0}, got = {0};
    struct graph *g = specialised(m, opset, &shape);
    struct prng p = {7};
    assert_int_equal(tensor_alloc(&x, DT_F32, &shape, &f), ERR_OK);
    for (size_t i = 0; i < tensor_count(&x); i++) {
        tensor_f32(&x)[i] = (float)prng_below(&p, 2000) / 1000.0f - 1;
    }
    if (graph_run(g, &x, &want, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    struct compile_target target = {.backend = &backend_host, .fuse = true};
    struct compiled *c = NULL;
    if (compiled_new(g, &target, &c, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    check_nodes(compiled_graph(c), nodes);
    for (int round = 0; round < 2; round++) { /* twice: the arena is not what it was */
        tensor_fini(&got);
        if (compiled_run_tensors(c, &x, &got, &f) != ERR_OK ||
            tensor_close(&got, &want, 1e-4, 1e-5, &f) != ERR_OK) {
            fail_msg("%s", f.what);
        }
    }
    compiled_free(c);
    tensor_fini(&x);
    tensor_fini(&want);
    tensor_fini(&got);
}

static const int64_t two[] = {2, 2};

/* ---- convolutions ---- */

static void conv(struct onnx_build *m, const char *in, const char *out, const char *weights,
                 int channels_in, int channels_out)
{
    struct strbuf attrs = {0};
    const int64_t pads[] = {1, 1, 1, 1};
    random_floats(m, weights, 4, (int[]){channels_out, channels_in, 3, 3}, 3, -0.5f);
    onnx_attr_ints(&attrs, "pads", 4, pads);
    char *inputs = mem_printf("%s %s", in, weights);
    onnx_node(m, "Conv", inputs, out, &attrs);
    mem_free(inputs);
}

static void conv_norm_relu_pool_become_one(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    onnx_input(&m, "x", 1, 4, (int[]){-1, 3, 8, 8});
    conv(&m, "x", "c", "w", 3, 4);
    random_floats(&m, "scale", 1, (int[]){4}, 11, 0.5f);
    random_floats(&m, "shift", 1, (int[]){4}, 12, -0.5f);
    random_floats(&m, "mean", 1, (int[]){4}, 13, -0.5f);
    random_floats(&m, "var", 1, (int[]){4}, 14, 0.1f);
    onnx_node(&m, "BatchNormalization", "c scale shift mean var", "n", NULL);
    onnx_node(&m, "Relu", "n", "r", NULL);
    onnx_attr_ints(&attrs, "kernel_shape", 2, two);
    onnx_attr_ints(&attrs, "strides", 2, two);
    onnx_node(&m, "MaxPool", "r", "y", &attrs);
    onnx_output(&m, "y", 1, 4, (int[]){-1, 4, 4, 4});
    same_as_reference(&m, 13, shape_of(4, 2, 3, 8, 8), "FusedConv");
}

static void a_residual_is_added_before_the_activation(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 4, (int[]){-1, 3, 6, 6});
    random_floats(&m, "b", 4, (int[]){1, 3, 1, 1}, 5, -0.5f);
    conv(&m, "x", "c", "w", 3, 3);
    onnx_node(&m, "Add", "c b", "cb", NULL);
    onnx_node(&m, "Add", "x cb", "sum", NULL);
    onnx_node(&m, "Relu", "sum", "y", NULL);
    onnx_output(&m, "y", 1, 4, (int[]){-1, 3, 6, 6});
    same_as_reference(&m, 13, shape_of(4, 2, 3, 6, 6), "FusedConv");
}

static void what_others_read_is_not_swallowed(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 4, (int[]){-1, 2, 5, 5});
    conv(&m, "x", "c", "w", 2, 2);
    onnx_node(&m, "Relu", "c", "r", NULL);
    onnx_node(&m, "Add", "r c", "y", NULL); /* reads the convolution too */
    onnx_output(&m, "y", 1, 4, (int[]){-1, 2, 5, 5});
    same_as_reference(&m, 13, shape_of(4, 1, 2, 5, 5), "FusedConv Relu Add");
}

static void pads_that_onnx_works_out_are_spelled_out(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0}, pad = {0};
    onnx_input(&m, "x", 1, 4, (int[]){-1, 1, 7, 7});
    random_floats(&m, "w", 4, (int[]){2, 1, 3, 3}, 3, -0.5f);
    pb_text(&pad, 1, "auto_pad");
    pb_text(&pad, 4, "SAME_LOWER");
    pb_varint(&pad, 20, 3);
    pb_message(&attrs, 5, &pad);
    onnx_attr_ints(&attrs, "strides", 2, two);
    onnx_node(&m, "Conv", "x w", "c", &attrs);
    onnx_node(&m, "Sigmoid", "c", "y", NULL);
    onnx_output(&m, "y", 1, 4, (int[]){-1, 2, 4, 4});
    same_as_reference(&m, 13, shape_of(4, 1, 1, 7, 7), "FusedConv");
}

/* ---- products ---- */

static void dense_layers_take_bias_and_activation(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 6});
    random_floats(&m, "w1", 2, (int[]){6, 5}, 1, -0.5f);
    random_floats(&m, "b1", 1, (int[]){5}, 2, -0.5f);
    random_floats(&m, "w2", 2, (int[]){5, 3}, 3, -0.5f);
    random_floats(&m, "b2", 1, (int[]){3}, 4, -0.5f);
    onnx_node(&m, "Gemm", "x w1 b1", "h", NULL);
    onnx_node(&m, "Relu", "h", "r", NULL);
    onnx_node(&m, "Dropout", "r", "d", NULL);
    onnx_node(&m, "MatMul", "d w2", "p", NULL);
    onnx_node(&m, "Add", "b2 p", "s", NULL);
    onnx_node(&m, "Tanh", "s", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 3});
    same_as_reference(&m, 13, shape_of(2, 9, 6), "FusedGemm FusedGemm");
}

static void gelu_spelled_out_is_found(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct onnx_build m = {0};
        onnx_input(&m, "x", 1, 3, (int[]){-1, 2, 4});
        random_floats(&m, "w", 2, (int[]){4, 4}, 1, -0.5f);
        scalar(&m, "root", 1.41421356f);
        scalar(&m, "one", 1);
        scalar(&m, "half", 0.5f);
        onnx_node(&m, "MatMul", "x w", "h", NULL);
        onnx_node(&m, "Div", "h root", "d", NULL);
        onnx_node(&m, "Erf", "d", "e", NULL);
        onnx_node(&m, "Add", "e one", "g", NULL);
        if (order == 0) {
            onnx_node(&m, "Mul", "h g", "p", NULL);
            onnx_node(&m, "Mul", "p half", "y", NULL);
        } else {
            onnx_node(&m, "Mul", "h half", "p", NULL);
            onnx_node(&m, "Mul", "p g", "y", NULL);
        }
        onnx_output(&m, "y", 1, 3, (int[]){-1, 2, 4});
        same_as_reference(&m, 13, shape_of(3, 2, 2, 4), "FusedMatMul");
    }
}

static void layer_norm_spelled_out_is_found(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf a = {0}, b = {0};
    const int64_t last[] = {-1};
    onnx_input(&m, "x", 1, 3, (int[]){-1, 2, 8});
    scalar(&m, "two", 2);
    scalar(&m, "eps", 1e-5f);
    random_floats(&m, "scale", 1, (int[]){8}, 1, 0.5f);
    random_floats(&m, "bias", 1, (int[]){8}, 2, -0.5f);
    onnx_attr_ints(&a, "axes", 1, last);
    onnx_attr_ints(&b, "axes", 1, last);
    onnx_node(&m, "ReduceMean", "x", "mean", &a);
    onnx_node(&m, "Sub", "x mean", "d", NULL);
    onnx_node(&m, "Pow", "d two", "sq", NULL);
    onnx_node(&m, "ReduceMean", "sq", "var", &b);
    onnx_node(&m, "Add", "var eps", "ve", NULL);
    onnx_node(&m, "Sqrt", "ve", "sd", NULL);
    onnx_node(&m, "Div", "d sd", "n", NULL);
    onnx_node(&m, "Mul", "n scale", "ns", NULL);
    onnx_node(&m, "Add", "ns bias", "y", NULL);
    onnx_output(&m, "y", 1, 3, (int[]){-1, 2, 8});
    same_as_reference(&m, 13, shape_of(3, 3, 2, 8), "LayerNormalization");
}

static void attention_takes_scale_transpose_and_mask(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf perm = {0}, axis = {0};
    const int64_t swap[] = {0, 2, 1};
    onnx_input(&m, "x", 1, 3, (int[]){-1, 4, 6});
    random_floats(&m, "mask", 2, (int[]){4, 4}, 9, -1);
    scalar(&m, "root", 2.4494898f);
    onnx_attr_ints(&perm, "perm", 3, swap);
    onnx_attr_int(&axis, "axis", -1);
    onnx_node(&m, "Transpose", "x", "t", &perm);
    onnx_node(&m, "MatMul", "x t", "s", NULL);
    onnx_node(&m, "Div", "s root", "sc", NULL);
    onnx_node(&m, "Add", "sc mask", "sm", NULL);
    onnx_node(&m, "Softmax", "sm", "p", &axis);
    onnx_node(&m, "MatMul", "p x", "y", NULL);
    onnx_output(&m, "y", 1, 3, (int[]){-1, 4, 6});
    same_as_reference(&m, 13, shape_of(3, 2, 4, 6), "FusedMatMul AttnSoftmax FusedMatMul");
}

/* ---- shapes from shapes ---- */

static void arithmetic_on_shapes_folds_away(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    const int64_t zero[] = {0}, rest[] = {-1};
    struct strbuf axis = {0};
    onnx_input(&m, "x", 1, 3, (int[]){-1, 2, 3});
    onnx_ints(&m, "zero", 1, zero);
    onnx_ints(&m, "rest", 1, rest);
    onnx_attr_int(&axis, "axis", 0);
    onnx_node(&m, "Shape", "x", "s", NULL);
    onnx_node(&m, "Gather", "s zero", "n", NULL);
    onnx_node(&m, "Concat", "n rest", "to", &axis);
    onnx_node(&m, "Reshape", "x to", "flat", NULL);
    onnx_node(&m, "Neg", "flat", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 6});
    same_as_reference(&m, 13, shape_of(3, 5, 2, 3), "Reshape Neg");
}

/* ---- the plan ---- */

/* A random graph of Abs and Add nodes over one input, `count` nodes. */
static struct graph *random_graph(uint64_t seed, unsigned count)
{
    struct prng p = {seed};
    struct onnx_build m = {0};
    char in[64], out[16];
    onnx_input(&m, "v0", 1, 2, (int[]){-1, 5});
    for (unsigned i = 1; i <= count; i++) {
        snprintf(in, sizeof in, "v%u v%u", (unsigned)prng_below(&p, i),
                 (unsigned)prng_below(&p, i));
        snprintf(out, sizeof out, "v%u", i);
        onnx_node(&m, "Add", in, out, NULL);
    }
    snprintf(out, sizeof out, "v%u", count);
    onnx_output(&m, out, 1, 2, (int[]){-1, 5});
    snprintf(out, sizeof out, "v%u", count / 2);
    onnx_output(&m, out, 1, 2, (int[]){-1, 5});
    struct shape s = shape_of(2, (int)(1 + seed % 7), 5);
    return specialised(&m, 13, &s);
}

/* [from, to] of a value's life, in node numbers; inputs from -1, outputs to the end. */
static void life_of(const struct graph *g, uint32_t v, int64_t *from, int64_t *to)
{
    *from = g->values[v].kind == VALUE_INPUT ? -1 : (int64_t)g->values[v].node;
    *to = *from;
    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            if (!g->nodes[i].dead && g->nodes[i].inputs[k] == v) {
                *to = i;
            }
        }
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        *to = g->outputs[i] == v ? INT64_MAX : *to;
    }
}

static void no_two_values_alive_together_share_a_byte(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct graph *g = random_graph(seed, 30);
        struct arena_plan p;
        struct fail f = {0};
        assert_int_equal(arena_plan_init(&p, g, &f), ERR_OK);
        for (uint32_t a = 0; a < g->value_count; a++) {
            for (uint32_t b = 0; b < a; b++) {
                int64_t a0, a1, b0, b1;
                if (p.offsets[a] == ARENA_NOWHERE || p.offsets[b] == ARENA_NOWHERE) {
                    continue;
                }
                life_of(g, a, &a0, &a1);
                life_of(g, b, &b0, &b1);
                if (a0 > b1 || b0 > a1) {
                    continue;
                }
                size_t a_end = p.offsets[a] + tensor_bytes(&g->values[a].type);
                size_t b_end = p.offsets[b] + tensor_bytes(&g->values[b].type);
                assert_true(a_end <= p.offsets[b] || b_end <= p.offsets[a]);
                assert_true(a_end <= p.arena_bytes && p.offsets[a] % TENSOR_ALIGN == 0);
            }
        }
        assert_true(p.arena_bytes >= p.live_bytes_max);
        arena_plan_fini(&p);
        graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_norm_relu_pool_become_one),
        cmocka_unit_test(a_residual_is_added_before_the_activation),
        cmocka_unit_test(what_others_read_is_not_swallowed),
        cmocka_unit_test(pads_that_onnx_works_out_are_spelled_out),
        cmocka_unit_test(dense_layers_take_bias_and_activation),
        cmocka_unit_test(gelu_spelled_out_is_found),
        cmocka_unit_test(layer_norm_spelled_out_is_found),
        cmocka_unit_test(attention_takes_scale_transpose_and_mask),
        cmocka_unit_test(arithmetic_on_shapes_folds_away),
        cmocka_unit_test(no_two_values_alive_together_share_a_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
