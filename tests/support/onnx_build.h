/* tests/support/onnx_build.h - small ONNX models for tests, encoded by hand.
 *
 * Shares no code with the loader: protobuf's wire format is written out here. */
#ifndef OXB_TESTS_SUPPORT_ONNX_BUILD_H
#define OXB_TESTS_SUPPORT_ONNX_BUILD_H

#include "core/strbuf.h"

#include <stdint.h>

struct onnx_build { /* a zeroed one is empty and valid */
    struct strbuf graph;
};

/* Fields of a message, for tests that build what no sane program would. */
void pb_varint(struct strbuf *b, unsigned field, uint64_t v);
void pb_bytes(struct strbuf *b, unsigned field, const void *p, size_t bytes);
void pb_text(struct strbuf *b, unsigned field, const char *s);
void pb_message(struct strbuf *b, unsigned field, struct strbuf *inner); /* clears inner */

/* dims: -1 is free, named "N".  type: TensorProto.DataType. */
void onnx_input(struct onnx_build *m, const char *name, int type, unsigned rank, const int *dims);
void onnx_output(struct onnx_build *m, const char *name, int type, unsigned rank, const int *dims);
void onnx_floats(struct onnx_build *m, const char *name, unsigned rank, const int *dims,
                 const float *values);
void onnx_ints(struct onnx_build *m, const char *name, unsigned count, const int64_t *values);
/* Names separated by spaces; "-" is an input left out.  attrs: from onnx_attr_*; may be NULL. */
void onnx_node(struct onnx_build *m, const char *op, const char *inputs, const char *outputs,
               struct strbuf *attrs);
void onnx_attr_int(struct strbuf *attrs, const char *name, int64_t v);
void onnx_attr_float(struct strbuf *attrs, const char *name, float v);
void onnx_attr_ints(struct strbuf *attrs, const char *name, unsigned count, const int64_t *v);
void onnx_attr_graph(struct strbuf *attrs, const char *name, struct onnx_build *g); /* clears g */
/* The ModelProto; `out` is the caller's.  The build is empty after. */
void onnx_finish(struct onnx_build *m, int opset, struct strbuf *out);

#endif
