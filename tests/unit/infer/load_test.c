/* tests/unit/infer/load_test.c - ONNX files as the loader meets them: sound, wrong, hostile.
 *
 * Method: models are encoded by hand (tests/support/onnx_build.h), so that they can lie. */
#include "core/mem.h"
#include "pe/infer/compare.h"
#include "pe/infer/load.h"
#include "pe/infer/proto.h"
#include "pe/infer/specialise.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int free4[] = {-1, 4};

static struct graph *load(struct onnx_build *m, int opset, enum err want, struct fail *f)
{
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    onnx_finish(m, opset, &bytes);
    enum err e = graph_load(bytes.data, bytes.bytes, &g, f);
    strbuf_fini(&bytes);
    if (e != want) {
        fail_msg("got %s (%s), wanted %s", err_name(e), f->what, err_name(want));
    }
    return e == ERR_OK ? g : NULL;
}

static void refused(struct onnx_build *m, enum err code, const char *text)
{
    struct fail f = {0};
    assert_null(load(m, 13, code, &f));
    if (strstr(f.what, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f.what, text);
    }
}

static void nodes_are_brought_into_order(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct fail f = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Neg", "a", "y", NULL); /* before the node that makes what it reads */
    onnx_node(&m, "Abs", "x", "a", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    struct graph *g = load(&m, 13, ERR_OK, &f);
    assert_string_equal(g->nodes[0].op, "Abs");
    assert_true(graph_check(g, &f));
    graph_free(g);
}

static void a_cycle_is_refused_by_name(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Add", "x b", "a", NULL);
    onnx_node(&m, "Abs", "a", "b", NULL);
    onnx_output(&m, "b", 1, 2, free4);
    refused(&m, ERR_INVALID, "depends on its own output");
}

static void what_nobody_makes_is_named(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Add", "x ghost", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    refused(&m, ERR_INVALID, "'ghost', which nothing makes");
}

static void a_value_is_made_once(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Abs", "x", "y", NULL);
    onnx_node(&m, "Neg", "x", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    refused(&m, ERR_INVALID, "two things make the value 'y'");
}

static void an_opset_of_the_future_is_not_supported(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct fail f = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Abs", "x", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    assert_null(load(&m, OPSET_MAX + 1, ERR_NOTFOUND, &f));
    assert_non_null(strstr(f.what, "opset"));
}

static void an_unknown_operator_loads_and_says_so_when_it_is_run(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct fail f = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Frobnicate", "x", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    struct graph *g = load(&m, 13, ERR_OK, &f);
    struct shape s = shape_of(2, 1, 4);
    struct tensor x = tensor_borrow(DT_F32, &s, NULL);
    assert_int_equal(graph_specialise(g, &x, &f), ERR_NOTFOUND);
    assert_non_null(strstr(f.what, "Frobnicate"));
    graph_free(g);
}

/* A tensor whose dims claim far more than its bytes are; nothing may be allocated for the claim. */
static void lying_dims_are_refused(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf t = {0};
    pb_varint(&t, 1, 1u << 29);
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "w");
    pb_bytes(&t, 9, "abcd", 4);
    pb_message(&m.graph, 5, &t);
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Add", "x w", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    refused(&m, ERR_INVALID, "'w'");
    for (unsigned i = 0; i < 4; i++) { /* the product leaves 64 bits */
        pb_varint(&t, 1, 1ull << 40);
    }
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "w");
    pb_message(&m.graph, 5, &t);
    refused(&m, ERR_INVALID, "impossible shape");
    pb_varint(&t, 1, (uint64_t)-5);
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "w");
    pb_message(&m.graph, 5, &t);
    refused(&m, ERR_INVALID, "impossible shape");
}

static void data_in_other_files_is_refused(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf t = {0}, entry = {0};
    pb_varint(&t, 1, 4);
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "w");
    pb_text(&entry, 1, "location");
    pb_text(&entry, 2, "../../etc/passwd");
    pb_message(&t, 13, &entry);
    pb_varint(&t, 14, 1);
    pb_message(&m.graph, 5, &t);
    refused(&m, ERR_NOTFOUND, "another file");
}

/* An attribute that holds a graph that holds a node with an attribute ... */
static void deep_nesting_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    struct strbuf inner = {0}, model = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    for (unsigned i = 0; i < 10000; i++) {
        struct strbuf attr = {0}, node = {0}, graph = {0};
        pb_message(&attr, 6, &inner);
        pb_message(&node, 5, &attr);
        pb_message(&graph, 1, &node);
        inner = graph;
    }
    pb_message(&model, 7, &inner);
    assert_int_equal(graph_load(model.data, model.bytes, &g, &f), ERR_LIMIT);
    assert_non_null(strstr(f.what, "nests"));
    strbuf_fini(&model);
}

/* Two bytes in the file, some 200 in memory: the budget ends it. */
static void empty_nodes_by_the_million_are_refused_within_the_budget(void **state)
{
    (void)state;
    struct strbuf graph = {0}, model = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    for (unsigned i = 0; i < 2000000; i++) {
        pb_bytes(&graph, 1, "", 0);
    }
    pb_message(&model, 7, &graph);
    assert_int_equal(graph_load(model.data, model.bytes, &g, &f), ERR_LIMIT);
    strbuf_fini(&model);
}

static void every_truncation_is_an_error_or_a_smaller_model(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf bytes = {0}, attrs = {0};
    float w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_floats(&m, "w", 2, (int[]){4, 2}, w);
    onnx_attr_int(&attrs, "transB", 0);
    onnx_attr_float(&attrs, "alpha", 2);
    onnx_node(&m, "Gemm", "x w", "y", &attrs);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 2});
    onnx_finish(&m, 13, &bytes);
    for (size_t n = 0; n < bytes.bytes; n++) {
        struct graph *g = NULL;
        struct fail f = {0};
        uint8_t *copy = malloc(n + 1); /* of its own, so that a read past its end shows */
        assert_non_null(copy);
        memcpy(copy, bytes.data, n);
        if (graph_load(copy, n, &g, &f) == ERR_OK) {
            assert_true(graph_check(g, &f));
            graph_free(g);
        }
        free(copy);
    }
    strbuf_fini(&bytes);
}

/* One value in each encoding that int32_data serves. */
static void typed_arrays_become_the_type_they_say(void **state)
{
    (void)state;
    static const struct {
        int type;
        int64_t stored;
        double want;
    } cases[] = {{DT_U8, 200, 200},       {DT_I8, 0xfffffffe, -2}, {DT_BOOL, 7, 1},
                 {DT_F16, 0x3c00, 1.0},   {DT_BF16, 0x4000, 2.0},  {DT_I16, 0xffffff00, -256},
                 {DT_U16, 65535, 65535.0}, {DT_I32, 12345, 12345}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf t = {0};
        struct tensor out = {0};
        struct fail f = {0};
        pb_varint(&t, 1, 1);
        pb_varint(&t, 2, (uint64_t)cases[i].type);
        pb_varint(&t, 5, (uint64_t)cases[i].stored);
        assert_int_equal(tensor_from_pb(t.data, t.bytes, &out, &f), ERR_OK);
        assert_true(tensor_get_f64(&out, 0) == cases[i].want);
        tensor_fini(&out);
        strbuf_fini(&t);
    }
}

static void a_tensor_survives_its_own_file(void **state)
{
    (void)state;
    struct shape s = shape_of(2, 2, 3);
    struct tensor a = {0}, b = {0};
    struct fail f = {0};
    void *bytes = NULL;
    size_t size = 0;
    assert_int_equal(tensor_alloc(&a, DT_F64, &s, &f), ERR_OK);
    for (size_t i = 0; i < 6; i++) {
        tensor_set_f64(&a, i, 1.0 / (double)(i + 1));
    }
    tensor_to_pb(&a, "a", &bytes, &size);
    assert_int_equal(tensor_from_pb(bytes, size, &b, &f), ERR_OK);
    assert_true(shape_equal(&a.shape, &b.shape));
    assert_memory_equal(a.data, b.data, tensor_bytes(&a));
    tensor_fini(&a);
    tensor_fini(&b);
    mem_free(bytes);
}

static void half_floats_round_to_even_and_keep_their_specials(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) { /* each goes there and back */
        float v = f16_to_f32((uint16_t)h);
        if (v == v) {
            assert_int_equal(f16_from_f32(v), h);
        }
    }
    assert_int_equal(f16_from_f32(2049), f16_from_f32(2048)); /* a tie */
    assert_int_equal(f16_from_f32(2051), f16_from_f32(2052));
    assert_int_equal(f16_from_f32(65520), 0x7c00);
    assert_int_equal(f16_from_f32(65519), 0x7bff);
    assert_int_equal(f16_from_f64(0x1p-25), 0); /* a tie with zero */
    assert_int_equal(f16_from_f64(0x1.1p-25), 1);
    assert_int_equal(bf16_from_f32(1.00390625f), 0x3f80);
    assert_int_equal(bf16_from_f32(1.01171875f), 0x3f82);
}

static enum err bf16_close(uint16_t a, uint16_t b)
{
    struct shape one = shape_of(1, 1);
    struct tensor x = tensor_borrow(DT_BF16, &one, &a), y = tensor_borrow(DT_BF16, &one, &b);
    struct fail f = {0};
    return tensor_close(&x, &y, RTOL_DEFAULT, ATOL_DEFAULT, &f);
}

static void one_step_of_bf16_is_close_and_two_are_not(void **state)
{
    (void)state;
    assert_int_equal(bf16_close(0x3f80, 0x3f81), ERR_OK); /* 1 and the next */
    assert_int_equal(bf16_close(0x3fff, 0x4000), ERR_OK); /* over a power of two */
    assert_int_equal(bf16_close(0xbf80, 0xbf7f), ERR_OK);
    assert_int_equal(bf16_close(0x8001, 0x0000), ERR_OK); /* about zero */
    assert_int_equal(bf16_close(0x3f80, 0x3f82), ERR_CORRUPT);
    assert_int_equal(bf16_close(0x3f80, 0xbf80), ERR_CORRUPT);
    assert_int_equal(bf16_close(0x7f7f, 0x7f80), ERR_CORRUPT); /* the largest, infinity */
    assert_int_equal(bf16_close(0x7fc0, 0x7fc1), ERR_OK);      /* NaN both */
    assert_int_equal(bf16_close(0x7fc0, 0x3f80), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_brought_into_order),
        cmocka_unit_test(a_cycle_is_refused_by_name),
        cmocka_unit_test(what_nobody_makes_is_named),
        cmocka_unit_test(a_value_is_made_once),
        cmocka_unit_test(an_opset_of_the_future_is_not_supported),
        cmocka_unit_test(an_unknown_operator_loads_and_says_so_when_it_is_run),
        cmocka_unit_test(lying_dims_are_refused),
        cmocka_unit_test(data_in_other_files_is_refused),
        cmocka_unit_test(deep_nesting_is_refused_before_it_is_parsed),
        cmocka_unit_test(empty_nodes_by_the_million_are_refused_within_the_budget),
        cmocka_unit_test(every_truncation_is_an_error_or_a_smaller_model),
        cmocka_unit_test(typed_arrays_become_the_type_they_say),
        cmocka_unit_test(a_tensor_survives_its_own_file),
        cmocka_unit_test(one_step_of_bf16_is_close_and_two_are_not),
        cmocka_unit_test(half_floats_round_to_even_and_keep_their_specials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
