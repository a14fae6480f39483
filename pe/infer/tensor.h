/* pe/infer/tensor.h - typed, shaped, row-major data: what flows between operators.
 *
 * Owns:       struct tensor (a dtype, a shape, perhaps data), struct tensor_mem (shared bytes).
 * Threads:    a tensor belongs to one holder at a time; the memory below it is shared by reference
 *             count and immutable once a second reference exists.
 * Invariants: N1 data, where present, is contiguous, row-major, TENSOR_ALIGN-aligned when the
 *                tensor allocated it, and exactly shape_count() elements long.
 *             N2 every count and byte size derived from dims is checked for overflow against
 *                TENSOR_BYTES_MAX before anything is sized by it.
 *             N3 bools are 0 or 1. */
#ifndef OXB_PE_INFER_TENSOR_H
#define OXB_PE_INFER_TENSOR_H

#include "core/err.h"
#include "core/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TENSOR_ALIGN 128 /* bytes; also of every offset in an arena */

/* The numbers are those of TensorProto.DataType in onnx.proto. */
enum dtype {
    DT_NONE = 0,
    DT_F32 = 1,
    DT_U8 = 2,
    DT_I8 = 3,
    DT_U16 = 4,
    DT_I16 = 5,
    DT_I32 = 6,
    DT_I64 = 7,
    DT_STR = 8,  /* known by name; no tensor of it is ever made */
    DT_BOOL = 9, /* uint8_t, 0 or 1 */
    DT_F16 = 10, /* uint16_t holding IEEE 754 binary16 */
    DT_F64 = 11,
    DT_U32 = 12,
    DT_U64 = 13,
    DT_C64 = 14,  /* float[2]: re, im */
    DT_C128 = 15, /* double[2] */
    DT_BF16 = 16, /* uint16_t: the upper half of a binary32 */
    DT_COUNT
};

size_t dtype_size(enum dtype t);      /* bytes of one element; 0 for DT_NONE, DT_STR */
const char *dtype_name(enum dtype t); /* "f32"; static, never NULL */
bool dtype_is_float(enum dtype t);    /* f16 bf16 f32 f64 */
bool dtype_is_int(enum dtype t);      /* signed and unsigned; not bool */
bool dtype_is_signed(enum dtype t);   /* signed integers and floats */

/* ---- shapes ---- */

/* Dims of declared inputs and outputs may be free; those of a specialised graph never are. */
#define DIM_FREE (-1) /* unknown until inputs are there; usually the batch */

struct shape {
    uint32_t rank; /* 0: a scalar, one element */
    int64_t dims[TENSOR_RANK_MAX];
};

/* shape_of - literal shapes: shape_of(2, 3, 4) is [3,4]. */
struct shape shape_of(unsigned rank, ...);
bool shape_equal(const struct shape *a, const struct shape *b);
bool shape_is_known(const struct shape *s); /* no dim is DIM_FREE */
/* shape_count - elements.  Return: false when a dim is negative or the product leaves what
 * TENSOR_BYTES_MAX one-byte elements could be. */
MUST_CHECK bool shape_count(const struct shape *s, size_t *count);
/* shape_count_range - the product of dims[from..to); of a shape whose shape_count succeeded. */
size_t shape_count_range(const struct shape *s, unsigned from, unsigned to);
/* shape_broadcast - NumPy's rule, as ONNX names it "multidirectional".  Return: false when the two
 * do not go together. */
MUST_CHECK bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out);
/* shape_strides - row-major, in elements; strides[i] for dims[i]. */
void shape_strides(const struct shape *s, int64_t strides[TENSOR_RANK_MAX]);
/* shape_broadcast_strides - strides that walk a tensor of shape `s` in step with shape `out`, into
 * which it broadcasts: 0 along stretched dims.  [out->rank] */
void shape_broadcast_strides(const struct shape *s, const struct shape *out,
                             int64_t strides[TENSOR_RANK_MAX]);
#define SHAPE_TEXT_BYTES 192
/* shape_text - "[N,3,224]" with N for free dims; returns `out`. */
const char *shape_text(const struct shape *s, char out[SHAPE_TEXT_BYTES]);

/* ---- tensors ---- */

struct tensor_mem { /* bytes shared by tensors */
    atomic_uint refs;
    size_t bytes;
    void *data; /* TENSOR_ALIGN-aligned, inside */
    void *base; /* what was allocated */
};

struct tensor { /* a zeroed one is empty and valid */
    enum dtype dtype;
    struct shape shape;
    void *data;             /* NULL: the value is not known (yet) */
    struct tensor_mem *mem; /* holds `data`; NULL: borrowed from somebody who outlives it */
};

/* tensor_alloc - give the tensor zeroed memory of its own for `dtype` and `shape`; what it held is
 * dropped.  Errors: ERR_LIMIT beyond TENSOR_BYTES_MAX, ERR_NOMEM, ERR_INVALID for a free dim. */
MUST_CHECK enum err tensor_alloc(struct tensor *t, enum dtype dtype, const struct shape *shape,
                                 struct fail *f);
/* tensor_borrow - a tensor over somebody's memory. */
struct tensor tensor_borrow(enum dtype dtype, const struct shape *shape, void *data);
/* tensor_share - `to` becomes a second holder of what `from` holds (or borrows). */
void tensor_share(struct tensor *to, const struct tensor *from);
void tensor_fini(struct tensor *t); /* leaves it zeroed */
/* tensor_type - dtype and shape without data, for inference. */
void tensor_type(struct tensor *t, enum dtype dtype, const struct shape *shape);

size_t tensor_count(const struct tensor *t); /* elements; the shape has been checked */
size_t tensor_bytes(const struct tensor *t);

static inline float *tensor_f32(const struct tensor *t)
{
    return (float *)t->data;
}
static inline int64_t *tensor_i64(const struct tensor *t)
{
    return (int64_t *)t->data;
}
static inline uint8_t *tensor_u8(const struct tensor *t)
{
    return (uint8_t *)t->data;
}

/* One element, whatever its type: slow, for oracles, indices and tests.  Real types only.
 * to_i64 of floats truncates and saturates; from_* round to nearest even and saturate integers. */
double tensor_get_f64(const struct tensor *t, size_t i);
int64_t tensor_get_i64(const struct tensor *t, size_t i);
void tensor_set_f64(struct tensor *t, size_t i, double v);
void tensor_set_i64(struct tensor *t, size_t i, int64_t v);

/* ---- 16-bit floats (round to nearest even, NaN stays NaN) ---- */
float f16_to_f32(uint16_t h);
uint16_t f16_from_f32(float v);
uint16_t f16_from_f64(double v); /* one rounding, not two */
float bf16_to_f32(uint16_t h);
uint16_t bf16_from_f32(float v);

#endif
