/* tests/e2e/makemodel.c - writes small ONNX models for the end-to-end tests.
 *
 * Usage:  makemodel FILE affine A B   x: f32[N,4] -> y = A * x + B, f32[N,4]
 *         makemodel FILE sum W        x: f32[N,4] -> y = relu(W * (x0+x1+x2+x3)), f32[N,1] */
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

int main(int argc, char **argv)
{
    struct onnx_build m = {0};
    struct strbuf out = {0};
    if (argc == 5 && strcmp(argv[2], "affine") == 0) {
        affine(&m, strtof(argv[3], NULL), strtof(argv[4], NULL));
    } else if (argc == 4 && strcmp(argv[2], "sum") == 0) {
        sum(&m, strtof(argv[3], NULL));
    } else {
        fprintf(stderr, "usage: makemodel FILE affine A B | makemodel FILE sum W\n");
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
