/* tests/unit/infer/cl_chain_test.c - models whose steps are joined to few launches.
 *
 * Goal:   what a chain gives is what the nodes give one by one, for each count of rows; it holds as
 *         many steps as it may, and stops where the reference takes a node.
 * Method: small models of random numbers, compiled for the CPU device and run node by node. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/infer/compare.h"
#include "pe/infer/compiled.h"
#include "pe/infer/exec.h"
#include "pe/infer/load.h"
#include "pe/infer/specialise.h"
#include "tests/support/cl_group.h"
#include "tests/support/onnx_build.h"
#include "tests/support/step_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLOATS_MAX 4096

static void weights(struct onnx_build *m, const char *name, unsigned rank, const int *dims)
{
    float v[FLOATS_MAX];
    struct prng p = {(uint64_t)name[1]};
    size_t count = 1;
    for (unsigned i = 0; i < rank; i++) {
        count *= (size_t)dims[i];
    }
    assert_true(count <= FLOATS_MAX);
    for (size_t i = 0; i < count; i++) {
        v[i] = (float)prng_below(&p, 1000) / 1000.0f - 0.5f;
    }
    onnx_floats(m, name, rank, dims, v);
}

static struct graph *specialised(struct onnx_build *m, const struct shape *shape)
{
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_finish(m, 17, &bytes);
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

static void run_rows(struct compiled *c, const struct tensor *x, const struct tensor *want,
                     int64_t rows)
{
    struct fail f = {0};
    size_t per_row = tensor_count(want) / (size_t)x->shape.dims[0];
    void *in = NULL;
    const void *out = NULL;
    assert_int_equal(compiled_input(c, 0, 0, &in, &f), ERR_OK);
    memcpy(in, x->data, tensor_bytes(x));
    assert_int_equal(compiled_input_done(c, 0, 0, in, &f), ERR_OK);
    if (compiled_run(c, 0, rows, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    assert_int_equal(compiled_output(c, 0, 0, &out, &f), ERR_OK);
    case_same(out, want->data, (size_t)rows * per_row, 1e-4f, 1e-5f);
    assert_int_equal(compiled_output_done(c, 0, 0, out, &f), ERR_OK);
}

/* Compiled, the model makes `calls` calls and gives what it gives node by node. */
static void check(struct onnx_build *m, struct shape shape, unsigned calls)
{
    struct fail f = {0};
    struct tensor x = {0}, want = {0};
    struct graph *g = specialised(m, &shape);
    struct prng p = {7};
    assert_int_equal(tensor_alloc(&x, DT_F32, &shape, &f), ERR_OK);
    for (size_t i = 0; i < tensor_count(&x); i++) {
        tensor_f32(&x)[i] = (float)prng_below(&p, 2000) / 1000.0f - 1;
    }
    if (graph_run(g, &x, &want, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    struct compile_target target = {
        .backend = backend_opencl, .device = cl_group_device(), .fuse = true};
    struct compiled *c = NULL;
    if (compiled_new(g, &target, &c, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    assert_int_equal(compiled_call_count(c), calls);
    for (int64_t rows = shape.dims[0]; rows > 0; rows--) {
        run_rows(c, &x, &want, rows);
    }
    compiled_free(c);
    tensor_fini(&x);
    tensor_fini(&want);
}

static void dense(struct onnx_build *m, const char *in, const char *out, int from, int to,
                  const char *act)
{
    char w[8], names[32], sum[8];
    snprintf(w, sizeof(w), "w%s", out);
    snprintf(names, sizeof(names), "%s %s", in, w);
    snprintf(sum, sizeof(sum), "s%s", out);
    weights(m, w, 2, (int[]){from, to});
    onnx_node(m, "Gemm", names, act != NULL ? sum : out, NULL);
    if (act != NULL) {
        onnx_node(m, act, sum, out, NULL);
    }
}

static void dense_layers_are_one_launch(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 19});
    dense(&m, "x", "a", 19, 40, "Relu");
    dense(&m, "a", "b", 40, 33, "Tanh");
    dense(&m, "b", "c", 33, 10, "Sigmoid");
    dense(&m, "c", "d", 10, 7, NULL);
    onnx_node(&m, "Softmax", "d", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 7});
    check(&m, shape_of(2, 11, 19), 1);
}

static void convolutions_and_dense_layers_are_one_launch(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    const int64_t pads[] = {1, 1, 1, 1};
    onnx_input(&m, "x", 1, 4, (int[]){-1, 2, 9, 7});
    weights(&m, "wa", 4, (int[]){18, 2, 3, 3});
    weights(&m, "wb", 4, (int[]){5, 18, 3, 3});
    onnx_attr_ints(&attrs, "pads", 4, pads);
    onnx_node(&m, "Conv", "x wa", "a", &attrs);
    onnx_node(&m, "Relu", "a", "r", NULL);
    onnx_node(&m, "Conv", "r wb", "b", NULL);
    onnx_node(&m, "Flatten", "b", "f", NULL);
    dense(&m, "f", "y", 5 * 7 * 5, 12, "Relu");
    onnx_output(&m, "y", 1, 2, (int[]){-1, 12});
    check(&m, shape_of(4, 3, 2, 9, 7), 1);
}

/* Twice as many steps as a chain takes, and one, which is alone. */
static void a_long_run_is_several_launches(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 3, (int[]){-1, 6, 17});
    char in[8] = "x", out[8];
    for (int i = 0; i < 2 * CL_CHAIN_MAX + 1; i++) {
        snprintf(out, sizeof(out), "v%d", i);
        onnx_node(&m, i % 3 == 0 ? "Softmax" : i % 3 == 1 ? "Neg" : "Exp", in, out, NULL);
        memcpy(in, out, sizeof(in));
    }
    onnx_output(&m, out, 1, 3, (int[]){-1, 6, 17});
    check(&m, shape_of(3, 2, 6, 17), 3);
}

static void the_reference_parts_chains(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 24});
    dense(&m, "x", "a", 24, 20, "Relu");
    dense(&m, "a", "b", 20, 20, "Relu");
    onnx_node(&m, "Sin", "b", "c", NULL);
    dense(&m, "c", "d", 20, 20, "Relu");
    dense(&m, "d", "e", 20, 20, "Relu");
    onnx_node(&m, "Cos", "e", "g", NULL);
    dense(&m, "g", "y", 20, 3, NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 3});
    check(&m, shape_of(2, 4, 24), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_layers_are_one_launch),
        cmocka_unit_test(convolutions_and_dense_layers_are_one_launch),
        cmocka_unit_test(a_long_run_is_several_launches),
        cmocka_unit_test(the_reference_parts_chains),
    };
    return cmocka_run_group_tests_name("infer/cl_chain", tests, cl_group_open, cl_group_close);
}
