/* tests/e2e/makemodel.c - writes small ONNX models for the end-to-end tests.
 *
 * Usage:  makemodel FILE affine A B   x: f32[N,4] -> y = A * x + B, f32[N,4]
 *         makemodel FILE sum W        x: f32[N,4] -> y = relu(W * (x0+x1+x2+x3)), f32[N,1]
 *         makemodel FILE three W      p: f32[N,2] -> q = W * p0 three times, f32[N,3]
 *         makemodel FILE deep W       x: f32[N,4] -> y = W * x0, f32[N,1], the long way: through
 *                                     dense layers of 256
 *         makemodel FILE loop W       x: f32[N,4] -> y = W * x0, f32[N,1]: a Loop adds x0 W times
 *         makemodel FILE scan W       the same by a Scan over W ones */
#include "tests/support/onnx_build.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int rows[] = {-1, 4};

static void affine(struct onnx_build *m, float a, float b)
{
    onnx_input(m, "x", 1, 2, rows);
    onnx_floats(m, "a", 1, (int[]){1}, &a);
    onnx_floats(m, "b", 1, (int[]){1}, &b);
    onnx_node(m, "Mul", "x a", "ax", NULL);
    onnx_node(m, "Add", "ax b", "y", NULL);
    onnx_output(m, "y", 1, 2, rows);
}

static void sum(struct onnx_build *m, float w)
{
    float weights[4] = {w, w, w, w};
    onnx_input(m, "x", 1, 2, rows);
    onnx_floats(m, "w", 2, (int[]){4, 1}, weights);
    onnx_node(m, "Gemm", "x w", "s", NULL);
    onnx_node(m, "Relu", "s", "y", NULL);
    onnx_output(m, "y", 1, 2, (int[]){-1, 1});
}

static void three(struct onnx_build *m, float w)
{
    float weights[6] = {w, w, w, 0, 0, 0};
    onnx_input(m, "p", 1, 2, (int[]){-1, 2});
    onnx_floats(m, "w", 2, (int[]){2, 3}, weights);
    onnx_node(m, "Gemm", "p w", "q", NULL);
    onnx_output(m, "q", 1, 2, (int[]){-1, 3});
}

/* Every result is exact: each layer passes on what is in its first column. */
static void deep(struct onnx_build *m, float w)
{
    enum { WIDE = 256 };
    static float first[4 * WIDE], layer[WIDE * WIDE], last[WIDE];
    first[0] = 1;
    last[0] = w;
    for (size_t i = 0; i < WIDE; i++) {
        layer[i * WIDE + i] = 1;
    }
    onnx_input(m, "x", 1, 2, rows);
    onnx_floats(m, "first", 2, (int[]){4, WIDE}, first);
    onnx_floats(m, "layer", 2, (int[]){WIDE, WIDE}, layer);
    onnx_floats(m, "last", 2, (int[]){WIDE, 1}, last);
    onnx_node(m, "Gemm", "x first", "a", NULL);
    onnx_node(m, "Gemm", "a layer", "b", NULL);
    onnx_node(m, "Gemm", "b layer", "c", NULL);
    onnx_node(m, "Gemm", "c last", "y", NULL);
    onnx_output(m, "y", 1, 2, (int[]){-1, 1});
}

/* s = x0, f32[N,1]. */
static void first_column(struct onnx_build *m)
{
    static const float first[4] = {1, 0, 0, 0};
    onnx_input(m, "x", 1, 2, rows);
    onnx_floats(m, "first", 2, (int[]){4, 1}, first);
    onnx_node(m, "MatMul", "x first", "s", NULL);
    onnx_node(m, "Sub", "s s", "zero", NULL);
}

/* The body reads s, which is outside of it. */
static void loop(struct onnx_build *m, int64_t w)
{
    static const int column[] = {-1, 1}, none[] = {0};
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    first_column(m);
    onnx_ints(m, "w", 1, &w);
    onnx_input(&body, "trip", 7, 0, none);
    onnx_input(&body, "go", 9, 0, none);
    onnx_input(&body, "v", 1, 2, column);
    onnx_node(&body, "Add", "v s", "more", NULL);
    onnx_output(&body, "go", 9, 0, none);
    onnx_output(&body, "more", 1, 2, column);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(m, "Loop", "w - zero", "y", &attrs);
    onnx_output(m, "y", 1, 2, column);
}

static void scan(struct onnx_build *m, int w)
{
    enum { MOST = 64 };
    static const int column[] = {-1, 1}, one[] = {1};
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    float ones[MOST];
    w = w < MOST ? w : MOST;
    for (int i = 0; i < w; i++) {
        ones[i] = 1;
    }
    first_column(m);
    onnx_floats(m, "ones", 2, (int[]){w, 1}, ones);
    onnx_input(&body, "v", 1, 2, column);
    onnx_input(&body, "e", 1, 1, one);
    onnx_node(&body, "Mul", "s e", "part", NULL);
    onnx_node(&body, "Add", "v part", "more", NULL);
    onnx_output(&body, "more", 1, 2, column);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    onnx_node(m, "Scan", "zero ones", "y", &attrs);
    onnx_output(m, "y", 1, 2, column);
}

int main(int argc, char **argv)
{
    struct onnx_build m = {0};
    struct strbuf out = {0};
    if (argc == 5 && strcmp(argv[2], "affine") == 0) {
        affine(&m, strtof(argv[3], NULL), strtof(argv[4], NULL));
    } else if (argc == 4 && strcmp(argv[2], "sum") == 0) {
        sum(&m, strtof(argv[3], NULL));
    } else if (argc == 4 && strcmp(argv[2], "three") == 0) {
        three(&m, strtof(argv[3], NULL));
    } else if (argc == 4 && strcmp(argv[2], "deep") == 0) {
        deep(&m, strtof(argv[3], NULL));
    } else if (argc == 4 && strcmp(argv[2], "loop") == 0) {
        loop(&m, atoi(argv[3]));
    } else if (argc == 4 && strcmp(argv[2], "scan") == 0) {
        scan(&m, atoi(argv[3]));
    } else {
        fprintf(stderr,
                "usage: makemodel FILE affine A B | sum W | three W | deep W | loop W | scan W\n");
        return 2;
    }
    onnx_finish(&m, 13, &out);
    FILE *file = fopen(argv[1], "wb");
    bool ok = file != NULL && fwrite(out.data, 1, out.bytes, file) == out.bytes;
    ok = file != NULL && fclose(file) == 0 && ok;
    strbuf_fini(&out);
    if (!ok) {
        perror(argv[1]);
    }
    return ok ? 0 : 1;
}
