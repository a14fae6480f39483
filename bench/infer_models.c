/* bench/infer_models.c - five small networks with random weights, as ONNX of opset 17. */
#include "bench/infer_models.h"

#include "bench/onnx_write.h"

#include <math.h>
#include <stdio.h>

#define DIMS(...)                                                                                  \
    (const int64_t[])                                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void dense(struct onnx *o, const char *in, const char *out, int64_t k, int64_t n)
{
    char w[32], b[32], inputs[128];
    snprintf(w, sizeof(w), "w_%s", out);
    snprintf(b, sizeof(b), "b_%s", out);
    snprintf(inputs, sizeof(inputs), "%s %s %s", in, w, b);
    onnx_weights(o, w, 2, DIMS(n, k), 1.0f / sqrtf((float)k), 0);
    onnx_weights(o, b, 1, DIMS(n), 0.1f, 0);
    onnx_node(o, "Gemm", inputs, out);
    onnx_int(o, "transB", 1);
}

bool bench_write_mlp(const char *path, int64_t hidden)
{
    struct onnx o;
    onnx_init(&o);
    onnx_port(&o, true, "x", 2, DIMS(-1, 64));
    onnx_port(&o, false, "y", 2, DIMS(-1, 10));
    dense(&o, "x", "g1", 64, hidden);
    onnx_node(&o, "Relu", "g1", "a1");
    dense(&o, "a1", "g2", hidden, hidden);
    onnx_node(&o, "Relu", "g2", "a2");
    dense(&o, "a2", "y", hidden, 10);
    return onnx_write(&o, path);
}

static bool write_mlp(const char *path)
{
    return bench_write_mlp(path, 256);
}

static void conv_pool(struct onnx *o, const char *in, const char *out, int64_t from, int64_t to)
{
    char w[32], b[32], c[32], r[32], inputs[128];
    snprintf(w, sizeof(w), "w_%s", out);
    snprintf(b, sizeof(b), "b_%s", out);
    snprintf(c, sizeof(c), "c_%s", out);
    snprintf(r, sizeof(r), "r_%s", out);
    snprintf(inputs, sizeof(inputs), "%s %s %s", in, w, b);
    onnx_weights(o, w, 4, DIMS(to, from, 3, 3), 1.0f / sqrtf((float)from * 9), 0);
    onnx_weights(o, b, 1, DIMS(to), 0.1f, 0);
    onnx_node(o, "Conv", inputs, c);
    onnx_ints(o, "kernel_shape", 2, DIMS(3, 3));
    onnx_ints(o, "pads", 4, DIMS(1, 1, 1, 1));
    onnx_node(o, "Relu", c, r);
    onnx_node(o, "MaxPool", r, out);
    onnx_ints(o, "kernel_shape", 2, DIMS(2, 2));
    onnx_ints(o, "strides", 2, DIMS(2, 2));
}

static bool write_cnn(const char *path)
{
    struct onnx o;
    onnx_init(&o);
    onnx_port(&o, true, "x", 4, DIMS(-1, 1, 28, 28));
    onnx_port(&o, false, "y", 2, DIMS(-1, 10));
    conv_pool(&o, "x", "p1", 1, 16);
    conv_pool(&o, "p1", "p2", 16, 32);
    onnx_node(&o, "Flatten", "p2", "f");
    dense(&o, "f", "g1", 1568, 128);
    onnx_node(&o, "Relu", "g1", "a1");
    dense(&o, "a1", "y", 128, 10);
    return onnx_write(&o, path);
}

/* [N, 16, 8] -> time first -> the layer -> its last state -> 4 classes. */
static bool write_rnn(const char *path, const char *op, int64_t gates)
{
    struct onnx o;
    onnx_init(&o);
    onnx_port(&o, true, "x", 3, DIMS(-1, 16, 8));
    onnx_port(&o, false, "y", 2, DIMS(-1, 4));
    onnx_weights(&o, "w", 3, DIMS(1, gates * 32, 8), 0.18f, 0);
    onnx_weights(&o, "r", 3, DIMS(1, gates * 32, 32), 0.18f, 0);
    onnx_weights(&o, "b", 2, DIMS(1, gates * 64), 0.18f, 0);
    onnx_shape(&o, "axis", 1, DIMS(0));
    onnx_node(&o, "Transpose", "x", "t");
    onnx_ints(&o, "perm", 3, DIMS(1, 0, 2));
    onnx_node(&o, op, "t w r b", "- h");
    onnx_int(&o, "hidden_size", 32);
    if (gates == 3) {
        onnx_int(&o, "linear_before_reset", 1);
    }
    onnx_node(&o, "Squeeze", "h axis", "s");
    dense(&o, "s", "y", 32, 4);
    return onnx_write(&o, path);
}

static bool write_gru(const char *path)
{
    return write_rnn(path, "GRU", 3);
}

static bool write_lstm(const char *path)
{
    return write_rnn(path, "LSTM", 4);
}

static void project(struct onnx *o, const char *in, const char *out, int64_t k, int64_t n)
{
    char w[32], b[32], m[32], inputs[128];
    snprintf(w, sizeof(w), "w_%s", out);
    snprintf(b, sizeof(b), "b_%s", out);
    snprintf(m, sizeof(m), "m_%s", out);
    onnx_weights(o, w, 2, DIMS(k, n), 1.0f / sqrtf((float)k), 0);
    onnx_weights(o, b, 1, DIMS(n), 0.1f, 0);
    snprintf(inputs, sizeof(inputs), "%s %s", in, w);
    onnx_node(o, "MatMul", inputs, m);
    snprintf(inputs, sizeof(inputs), "%s %s", m, b);
    onnx_node(o, "Add", inputs, out);
}

static void head(struct onnx *o, const char *in, const char *out, const int64_t *perm)
{
    char r[32], inputs[64];
    snprintf(r, sizeof(r), "r_%s", out);
    snprintf(inputs, sizeof(inputs), "%s heads", in);
    onnx_node(o, "Reshape", inputs, r);
    onnx_node(o, "Transpose", r, out);
    onnx_ints(o, "perm", 4, perm);
}

static void norm(struct onnx *o, const char *in, const char *out)
{
    char s[32], b[32], inputs[128];
    snprintf(s, sizeof(s), "s_%s", out);
    snprintf(b, sizeof(b), "b_%s", out);
    snprintf(inputs, sizeof(inputs), "%s %s %s", in, s, b);
    onnx_weights(o, s, 1, DIMS(64), 0, 1.0f);
    onnx_weights(o, b, 1, DIMS(64), 0.1f, 0);
    onnx_node(o, "LayerNormalization", inputs, out);
    onnx_int(o, "axis", -1);
}

static void attention(struct onnx *o)
{
    project(o, "x", "q", 64, 64);
    project(o, "x", "k", 64, 64);
    project(o, "x", "v", 64, 64);
    onnx_shape(o, "heads", 4, DIMS(0, 16, 4, 16));
    onnx_shape(o, "joined", 3, DIMS(0, 16, 64));
    head(o, "q", "qh", DIMS(0, 2, 1, 3));
    head(o, "k", "kh", DIMS(0, 2, 3, 1));
    head(o, "v", "vh", DIMS(0, 2, 1, 3));
    onnx_node(o, "MatMul", "qh kh", "scores");
    onnx_weights(o, "factor", 1, DIMS(1), 0, 0.25f);
    onnx_node(o, "Mul", "scores factor", "scaled");
    onnx_node(o, "Softmax", "scaled", "weights");
    onnx_int(o, "axis", -1);
    onnx_node(o, "MatMul", "weights vh", "mixed");
    onnx_node(o, "Transpose", "mixed", "back");
    onnx_ints(o, "perm", 4, DIMS(0, 2, 1, 3));
    onnx_node(o, "Reshape", "back joined", "flat");
    project(o, "flat", "attended", 64, 64);
}

static bool write_transformer(const char *path)
{
    struct onnx o;
    onnx_init(&o);
    onnx_port(&o, true, "x", 3, DIMS(-1, 16, 64));
    onnx_port(&o, false, "y", 3, DIMS(-1, 16, 64));
    attention(&o);
    onnx_node(&o, "Add", "x attended", "sum1");
    norm(&o, "sum1", "n1");
    project(&o, "n1", "wide", 64, 256);
    onnx_weights(&o, "root2", 1, DIMS(1), 0, 1.41421356f);
    onnx_weights(&o, "one", 1, DIMS(1), 0, 1.0f);
    onnx_weights(&o, "half", 1, DIMS(1), 0, 0.5f);
    onnx_node(&o, "Div", "wide root2", "e1");
    onnx_node(&o, "Erf", "e1", "e2");
    onnx_node(&o, "Add", "e2 one", "e3");
    onnx_node(&o, "Mul", "wide e3", "e4");
    onnx_node(&o, "Mul", "e4 half", "gelu");
    project(&o, "gelu", "narrow", 256, 64);
    onnx_node(&o, "Add", "n1 narrow", "sum2");
    norm(&o, "sum2", "y");
    return onnx_write(&o, path);
}

const struct bench_model bench_models[] = {
    {"mlp", write_mlp, {64}, {10}, 1, 1},
    {"cnn", write_cnn, {1, 28, 28}, {10}, 3, 1},
    {"gru", write_gru, {16, 8}, {4}, 2, 1},
    {"lstm", write_lstm, {16, 8}, {4}, 2, 1},
    {"transformer", write_transformer, {16, 64}, {16, 64}, 2, 2},
    {NULL, NULL, {0}, {0}, 0, 0},
};
