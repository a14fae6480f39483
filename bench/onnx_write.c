/* bench/onnx_write.c - ModelProto by hand: protobuf's wire format is varints and lengths. */
#include "bench/onnx_write.h"

#include "core/file.h"
#include "core/mem.h"

#include <string.h>

enum { VARINT = 0, BYTES = 2, FIXED32 = 5 };

static void varint(struct strbuf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        strbuf_char(b, (char)(v | 0x80));
    }
    strbuf_char(b, (char)v);
}

static void number(struct strbuf *b, unsigned field, int64_t v)
{
    varint(b, field << 3 | VARINT);
    varint(b, (uint64_t)v);
}

static void bytes(struct strbuf *b, unsigned field, const void *p, size_t n)
{
    varint(b, field << 3 | BYTES);
    varint(b, n);
    strbuf_add(b, p, n);
}

static void text(struct strbuf *b, unsigned field, const char *s)
{
    bytes(b, field, s, strlen(s));
}

static void message(struct strbuf *b, unsigned field, struct strbuf *inner)
{
    bytes(b, field, strbuf_text(inner), inner->bytes);
    strbuf_fini(inner);
}

void onnx_init(struct onnx *o)
{
    *o = (struct onnx){.random = {17}};
}

static void end_node(struct onnx *o)
{
    if (o->node.bytes != 0) {
        message(&o->graph, 1, &o->node);
        o->node = (struct strbuf){0};
    }
}

static void names(struct strbuf *b, unsigned field, const char *list)
{
    while (*list != '\0') {
        size_t n = strcspn(list, " ");
        bytes(b, field, list, n == 1 && *list == '-' ? 0 : n);
        list += n;
        list += *list == ' ';
    }
}

void onnx_node(struct onnx *o, const char *op, const char *inputs, const char *outputs)
{
    end_node(o);
    names(&o->node, 1, inputs);
    names(&o->node, 2, outputs);
    text(&o->node, 4, op);
}

void onnx_int(struct onnx *o, const char *name, int64_t v)
{
    struct strbuf a = {0};
    text(&a, 1, name);
    number(&a, 3, v);
    number(&a, 20, 2);
    message(&o->node, 5, &a);
}

void onnx_ints(struct onnx *o, const char *name, unsigned count, const int64_t *v)
{
    struct strbuf a = {0};
    text(&a, 1, name);
    for (unsigned i = 0; i < count; i++) {
        number(&a, 8, v[i]);
    }
    number(&a, 20, 7);
    message(&o->node, 5, &a);
}

void onnx_text(struct onnx *o, const char *name, const char *v)
{
    struct strbuf a = {0};
    text(&a, 1, name);
    text(&a, 4, v);
    number(&a, 20, 3);
    message(&o->node, 5, &a);
}

static void tensor(struct onnx *o, const char *name, int64_t type, unsigned rank,
                   const int64_t *dims, const void *data, size_t size)
{
    struct strbuf t = {0};
    for (unsigned i = 0; i < rank; i++) {
        number(&t, 1, dims[i]);
    }
    number(&t, 2, type);
    text(&t, 8, name);
    bytes(&t, 9, data, size);
    end_node(o);
    message(&o->graph, 5, &t);
}

void onnx_weights(struct onnx *o, const char *name, unsigned rank, const int64_t *dims, float scale,
                  float fill)
{
    size_t count = 1;
    for (unsigned i = 0; i < rank; i++) {
        count *= (size_t)dims[i];
    }
    float *data = mem_array(count, sizeof(float));
    for (size_t i = 0; i < count; i++) {
        double unit = (double)prng_below(&o->random, 1u << 24) / (1u << 23) - 1.0;
        data[i] = scale != 0.0f ? (float)unit * scale : fill;
    }
    tensor(o, name, 1, rank, dims, data, count * sizeof(float));
    mem_free(data);
}

void onnx_shape(struct onnx *o, const char *name, unsigned count, const int64_t *v)
{
    const int64_t dims[1] = {count};
    tensor(o, name, 7, 1, dims, v, count * sizeof(int64_t));
}

void onnx_port(struct onnx *o, bool is_input, const char *name, unsigned rank, const int64_t *dims)
{
    struct strbuf shape = {0}, type = {0}, outer = {0}, port = {0};
    for (unsigned i = 0; i < rank; i++) {
        struct strbuf dim = {0};
        if (dims[i] < 0) {
            text(&dim, 2, "N");
        } else {
            number(&dim, 1, dims[i]);
        }
        message(&shape, 1, &dim);
    }
    number(&type, 1, 1);
    message(&type, 2, &shape);
    message(&outer, 1, &type);
    text(&port, 1, name);
    message(&port, 2, &outer);
    end_node(o);
    message(&o->graph, is_input ? 11 : 12, &port);
}

bool onnx_write(struct onnx *o, const char *path)
{
    struct strbuf model = {0}, opset = {0};
    end_node(o);
    text(&o->graph, 2, "bench");
    number(&model, 1, 8);
    message(&model, 7, &o->graph);
    text(&opset, 1, "");
    number(&opset, 2, 17);
    message(&model, 8, &opset);
    bool ok = file_write_safe(path, model.data, model.bytes, NULL) == ERR_OK;
    strbuf_fini(&model);
    return ok;
}
