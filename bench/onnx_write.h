/* bench/onnx_write.h - ONNX files for the bench, written field by field: no library needed.
 *
 * Only what its models need of the format: nodes with ints, floats and texts, f32 and i64
 * initialisers, inputs and outputs with a free batch.  Weights are random but alike each time. */
#ifndef OXB_BENCH_ONNX_WRITE_H
#define OXB_BENCH_ONNX_WRITE_H

#include "core/prng.h"
#include "core/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct onnx {
    struct strbuf graph; /* fields of GraphProto */
    struct strbuf node;  /* fields of the NodeProto being written */
    struct prng random;
};

void onnx_init(struct onnx *o);
/* onnx_node - @inputs, @outputs: names separated by spaces; `-` for one left out. */
void onnx_node(struct onnx *o, const char *op, const char *inputs, const char *outputs);
/* Attributes of the node written last. */
void onnx_int(struct onnx *o, const char *name, int64_t v);
void onnx_ints(struct onnx *o, const char *name, unsigned count, const int64_t *v);
void onnx_text(struct onnx *o, const char *name, const char *v);
/* onnx_weights - random in [-scale, scale); a scale of 0: all `fill`. */
void onnx_weights(struct onnx *o, const char *name, unsigned rank, const int64_t *dims, float scale,
                  float fill);
void onnx_shape(struct onnx *o, const char *name, unsigned count, const int64_t *v); /* i64 */
/* onnx_port - an f32 input or output; a dim of -1 is the batch. */
void onnx_port(struct onnx *o, bool is_input, const char *name, unsigned rank, const int64_t *dims);
/* onnx_write - finish the node under way, store the file (opset 17); ends the writer. */
bool onnx_write(struct onnx *o, const char *path);

#endif
