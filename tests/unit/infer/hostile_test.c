/* tests/unit/infer/hostile_test.c - model files made to hurt, and what refusing them costs.
 *
 * Goal:   each is refused with a reason, whichever way it is taken (`model check`, the check of a
 *         topology, the start of a PE), and no process grows by more than 64 MiB for it.
 * Method: tests/support/hostile.h. */
#include "core/limits.h"
#include "core/mem.h"
#include "tests/support/hostile.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const int free4[] = {-1, 4};

/* ---- what they are */

static void nested_without_end(void **state)
{
    (void)state;
    struct strbuf inner = {0}, model = {0};
    for (unsigned i = 0; i < 10000; i++) {
        struct strbuf attr = {0}, node = {0}, graph = {0};
        pb_message(&attr, 6, &inner);
        pb_message(&node, 5, &attr);
        pb_message(&graph, 1, &node);
        inner = graph;
    }
    pb_message(&model, 7, &inner);
    struct hostile_file f = hostile_of(&model);
    hostile_refused("nested 10,000 deep", &f, "");
}

/* A megabyte of weights, and then the file ends. */
static void cut_off(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf bytes = {0};
    size_t count = 1u << 18;
    float *w = mem_array(count, sizeof *w);
    onnx_input(&m, "x", 1, 2, free4);
    onnx_floats(&m, "w", 2, (int[]){4, (int)(count / 4)}, w);
    onnx_node(&m, "MatMul", "x w", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, (int)(count / 4)});
    onnx_finish(&m, 13, &bytes);
    struct hostile_file f = hostile_open();
    hostile_put(&f, &bytes, bytes.bytes * 3 / 4);
    strbuf_fini(&bytes);
    mem_free(w);
    hostile_refused("cut off", &f, "");
}

static void initialiser(struct onnx_build *m, const uint64_t *dims, size_t rank)
{
    struct strbuf t = {0};
    for (size_t i = 0; i < rank; i++) {
        pb_varint(&t, 1, dims[i]);
    }
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "w");
    pb_bytes(&t, 9, "abcd", 4);
    pb_message(&m->graph, 5, &t);
    onnx_input(m, "x", 1, 2, free4);
    onnx_node(m, "Add", "x w", "y", NULL);
    onnx_output(m, "y", 1, 2, free4);
}

static void dims_that_lie(void **state)
{
    (void)state;
    const uint64_t two_gib[] = {1u << 29}, too_far[] = {1ull << 40, 1ull << 40},
                   below[] = {(uint64_t)-4};
    struct onnx_build m = {0};
    initialiser(&m, two_gib, 1);
    struct hostile_file f = hostile_model(&m, 13);
    hostile_refused("four bytes that are to be 2 GiB", &f, "");
    initialiser(&m, too_far, 2);
    f = hostile_model(&m, 13);
    hostile_refused("dims whose product leaves 64 bits", &f, "");
    initialiser(&m, below, 1);
    f = hostile_model(&m, 13);
    hostile_refused("a dim below zero", &f, "");
}

/* The file's own lengths: a field of 2 GiB - 1 of which nothing is there, at each level. */
static void lengths_that_lie(void **state)
{
    (void)state;
    static const char claim[] = "\x3a\xff\xff\xff\xff\x07",       /* ModelProto.graph */
        inner[] = "\x3a\x0c\x2a\x0a\x4a\xff\xff\xff\xff\x07zzzz"; /* ... a tensor's raw_data */
    struct hostile_file f = hostile_open();
    assert_int_equal(fwrite(claim, 1, sizeof claim - 1, f.to), sizeof claim - 1);
    hostile_refused("a graph of 2 GiB", &f, "");
    f = hostile_open();
    assert_int_equal(fwrite(inner, 1, sizeof inner - 1, f.to), sizeof inner - 1);
    hostile_refused("raw data of 2 GiB", &f, "");
}

/* Files with holes: as large as they say, with nothing in them. */
static void large_files_with_nothing_in_them(void **state)
{
    (void)state;
    struct hostile_file f = hostile_open();
    assert_int_equal(ftruncate(fileno(f.to), 2ll << 30), 0);
    hostile_refused("a file of 2 GiB", &f, "");
    f = hostile_open();
    assert_int_equal(ftruncate(fileno(f.to), 200ll << 20), 0);
    hostile_refused("a file of 200 MiB of zeros", &f, "");
    /* One unknown field that holds everything, well formed, and then no graph. */
    static const char head[] = "\xa2\x06\x80\x80\x80\x60";
    f = hostile_open();
    assert_int_equal(fwrite(head, 1, sizeof head - 1, f.to), sizeof head - 1);
    assert_int_equal(fflush(f.to), 0);
    assert_int_equal(ftruncate(fileno(f.to), (192ll << 20) + (long)sizeof head - 1 - 5), 0);
    hostile_refused("192 MiB in one field, cut off", &f, "");
}

static void cycles_and_unknown_operators(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Add", "x b", "a", NULL);
    onnx_node(&m, "Abs", "a", "b", NULL);
    onnx_output(&m, "b", 1, 2, free4);
    struct hostile_file f = hostile_model(&m, 13);
    hostile_refused("a cycle", &f, "");
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Frobnicate", "x", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("an unknown operator", &f, "");
}

/* Little in the file, much in memory. */
static void things_by_the_million(void **state)
{
    (void)state;
    struct strbuf graph = {0}, model = {0}, node = {0};
    for (unsigned i = 0; i < 2000000; i++) {
        pb_bytes(&graph, 1, "", 0);
    }
    pb_message(&model, 7, &graph);
    struct hostile_file f = hostile_of(&model);
    hostile_refused("two million empty nodes", &f, "");
    for (unsigned field = 1; field <= 2; field++) {
        for (unsigned i = 0; i < 1000000; i++) {
            pb_bytes(&node, field, "", 0);
        }
        pb_message(&graph, 1, &node);
        pb_message(&model, 7, &graph);
        f = hostile_of(&model);
        hostile_refused(
            field == 1 ? "a node with a million inputs" : "a node with a million outputs", &f, "");
    }
    struct strbuf t = {0};
    char *zeros = mem_alloc(6u << 20);
    pb_varint(&t, 1, 6u << 20);
    pb_varint(&t, 2, 7);
    pb_text(&t, 8, "w");
    pb_bytes(&t, 7, zeros, 6u << 20); /* packed: each byte becomes eight */
    pb_message(&graph, 5, &t);
    pb_message(&model, 7, &graph);
    f = hostile_of(&model);
    mem_free(zeros);
    hostile_refused("packed integers that swell", &f, "");
}

/* As many values as are let in, and one operator at the end that nobody knows. */
static void as_many_values_as_are_let_in(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    char from[16] = "x", to[16];
    onnx_input(&m, "x", 1, 2, free4);
    for (unsigned i = 0; i + 1 < MODEL_NODES_MAX; i++) {
        snprintf(to, sizeof to, "v%u", i);
        onnx_node(&m, "Neg", from, to, NULL);
        memcpy(from, to, sizeof from);
    }
    onnx_node(&m, "Frobnicate", from, "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    struct hostile_file f = hostile_model(&m, 13);
    hostile_refused("as many nodes as are let in, the last unknown", &f, "");
    onnx_input(&m, "x", 1, 2, free4);
    for (unsigned i = 0; i < 120000; i++) {
        snprintf(to, sizeof to, "v%u", i);
        onnx_node(&m, "Neg", "x", to, NULL);
    }
    onnx_output(&m, "v0", 1, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("120,000 nodes", &f, "");
}

/* Shapes inside that grow: by doubling, and by asking for them. */
static void values_that_grow(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    char from[16] = "x", to[16], twice[40];
    onnx_input(&m, "x", 1, 2, free4);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(to, sizeof to, "v%u", i);
        snprintf(twice, sizeof twice, "%s %s", from, from);
        onnx_attr_int(&attrs, "axis", 1);
        onnx_node(&m, "Concat", twice, to, &attrs);
        memcpy(from, to, sizeof from);
    }
    onnx_output(&m, to, 1, 2, free4);
    struct hostile_file f = hostile_model(&m, 13);
    hostile_refused("doubled sixty times", &f, "");
    const int64_t shape[] = {1ll << 20, 1ll << 20};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_ints(&m, "s", 2, shape);
    onnx_node(&m, "ConstantOfShape", "s", "c", NULL);
    onnx_node(&m, "Add", "x c", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("a constant of 4 TiB", &f, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_without_end),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(dims_that_lie),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(large_files_with_nothing_in_them),
        cmocka_unit_test(cycles_and_unknown_operators),
        cmocka_unit_test(things_by_the_million),
        cmocka_unit_test(as_many_values_as_are_let_in),
        cmocka_unit_test(values_that_grow),
    };
    return cmocka_run_group_tests_name("infer/hostile", tests, NULL, NULL);
}
