/* tests/support/onnx_build.c - small ONNX models for tests, encoded by hand.
 *
 * Field numbers are those of onnx.proto. */
#include "tests/support/onnx_build.h"

#include <string.h>

static void raw_varint(struct strbuf *b, uint64_t v)
{
    while (v >= 0x80) {
        strbuf_char(b, (char)(v | 0x80));
        v >>= 7;
    }
    strbuf_char(b, (char)v);
}

void pb_varint(struct strbuf *b, unsigned field, uint64_t v)
{
    raw_varint(b, (uint64_t)field << 3);
    raw_varint(b, v);
}

void pb_bytes(struct strbuf *b, unsigned field, const void *p, size_t bytes)
{
    raw_varint(b, (uint64_t)field << 3 | 2);
    raw_varint(b, bytes);
    strbuf_add(b, p, bytes);
}

void pb_text(struct strbuf *b, unsigned field, const char *s)
{
    pb_bytes(b, field, s, strlen(s));
}

void pb_message(struct strbuf *b, unsigned field, struct strbuf *inner)
{
    pb_bytes(b, field, inner->data != NULL ? inner->data : "", inner->bytes);
    strbuf_fini(inner);
    *inner = (struct strbuf){0};
}

static void value_info(struct onnx_build *m, unsigned field, const char *name, int type,
                       unsigned rank, const int *dims)
{
    struct strbuf shape = {0}, tensor = {0}, outer = {0}, info = {0};
    for (unsigned i = 0; i < rank; i++) {
        struct strbuf dim = {0};
        if (dims[i] < 0) {
            pb_text(&dim, 2, "N");
        } else {
            pb_varint(&dim, 1, (uint64_t)dims[i]);
        }
        pb_message(&shape, 1, &dim);
    }
    pb_varint(&tensor, 1, (uint64_t)type);
    pb_message(&tensor, 2, &shape);
    pb_message(&outer, 1, &tensor);
    pb_text(&info, 1, name);
    pb_message(&info, 2, &outer);
    pb_message(&m->graph, field, &info);
}

void onnx_input(struct onnx_build *m, const char *name, int type, unsigned rank, const int *dims)
{
    value_info(m, 11, name, type, rank, dims);
}

void onnx_output(struct onnx_build *m, const char *name, int type, unsigned rank, const int *dims)
{
    value_info(m, 12, name, type, rank, dims);
}

void onnx_floats(struct onnx_build *m, const char *name, unsigned rank, const int *dims,
                 const float *values)
{
    struct strbuf t = {0};
    size_t count = 1;
    for (unsigned i = 0; i < rank; i++) {
        pb_varint(&t, 1, (uint64_t)dims[i]);
        count *= (size_t)dims[i];
    }
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, name);
    pb_bytes(&t, 9, values, count * sizeof *values);
    pb_message(&m->graph, 5, &t);
}

void onnx_ints(struct onnx_build *m, const char *name, unsigned count, const int64_t *values)
{
    struct strbuf t = {0};
    pb_varint(&t, 1, count);
    pb_varint(&t, 2, 7);
    pb_text(&t, 8, name);
    pb_bytes(&t, 9, values, count * sizeof *values);
    pb_message(&m->graph, 5, &t);
}

static void names(struct strbuf *n, unsigned field, const char *list)
{
    while (*list != '\0') {
        size_t bytes = strcspn(list, " ");
        pb_bytes(n, field, list, bytes == 1 && *list == '-' ? 0 : bytes);
        list += bytes + (list[bytes] == ' ');
    }
}

void onnx_node(struct onnx_build *m, const char *op, const char *inputs, const char *outputs,
               struct strbuf *attrs)
{
    struct strbuf n = {0};
    names(&n, 1, inputs);
    names(&n, 2, outputs);
    pb_text(&n, 4, op);
    if (attrs != NULL && attrs->bytes > 0) {
        strbuf_add(&n, attrs->data, attrs->bytes);
        strbuf_fini(attrs);
        *attrs = (struct strbuf){0};
    }
    pb_message(&m->graph, 1, &n);
}

void onnx_attr_int(struct strbuf *attrs, const char *name, int64_t v)
{
    struct strbuf a = {0};
    pb_text(&a, 1, name);
    pb_varint(&a, 3, (uint64_t)v);
    pb_varint(&a, 20, 2);
    pb_message(attrs, 5, &a);
}

void onnx_attr_float(struct strbuf *attrs, const char *name, float v)
{
    struct strbuf a = {0};
    pb_text(&a, 1, name);
    raw_varint(&a, 2u << 3 | 5);
    strbuf_add(&a, &v, sizeof v);
    pb_varint(&a, 20, 1);
    pb_message(attrs, 5, &a);
}

void onnx_attr_ints(struct strbuf *attrs, const char *name, unsigned count, const int64_t *v)
{
    struct strbuf a = {0};
    pb_text(&a, 1, name);
    for (unsigned i = 0; i < count; i++) {
        pb_varint(&a, 8, (uint64_t)v[i]);
    }
    pb_varint(&a, 20, 7);
    pb_message(attrs, 5, &a);
}

void onnx_attr_graph(struct strbuf *attrs, const char *name, struct onnx_build *g)
{
    struct strbuf a = {0};
    pb_text(&a, 1, name);
    pb_text(&g->graph, 2, name);
    pb_message(&a, 6, &g->graph);
    pb_varint(&a, 20, 5);
    pb_message(attrs, 5, &a);
}

void onnx_finish(struct onnx_build *m, int opset, struct strbuf *out)
{
    struct strbuf import = {0};
    pb_text(&m->graph, 2, "test");
    pb_varint(out, 1, 8); /* IR version */
    pb_text(&import, 1, "");
    pb_varint(&import, 2, (uint64_t)opset);
    pb_message(out, 8, &import);
    pb_message(out, 7, &m->graph);
}
