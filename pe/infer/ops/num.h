/* pe/infer/ops/num.h - numbers of any type, in blocks; walks over strided data.
 *
 * Elements are loaded from their dtype into blocks of one of three classes, computed there, and
 * stored back: floats as double, signed integers as int64_t, unsigned ones and bools as uint64_t.
 * A double holds every sum, product and quotient of two f32 exactly enough that rounding it to f32
 * gives the f32 result; 64-bit integers cut to a narrower type give its wrapped result.  So an
 * operator is written at most three times and never per dtype.
 *
 * Threads:    any; no state.
 * Invariants: A1 no function reads beyond what base, stride and count say; callers checked those.
 *             A2 integer arithmetic wraps (computed unsigned), it never overflows. */
#ifndef OXB_PE_INFER_OPS_NUM_H
#define OXB_PE_INFER_OPS_NUM_H

#include "pe/infer/op.h"

#define BLOCK 256 /* elements; two blocks stay in the first cache level */

enum num_class { NUM_FLOAT, NUM_INT, NUM_UINT };

union block {
    double f[BLOCK];
    int64_t i[BLOCK];
    uint64_t u[BLOCK];
};

union num { /* one element */
    double f;
    int64_t i;
    uint64_t u;
};

enum num_class num_class_of(enum dtype t); /* of a real type */

/* Masks for op_want_dtypes. */
#define DT_BIT(t) (1u << (t))
#define DTS_FLOAT (DT_BIT(DT_F16) | DT_BIT(DT_BF16) | DT_BIT(DT_F32) | DT_BIT(DT_F64))
#define DTS_SIGNED (DT_BIT(DT_I8) | DT_BIT(DT_I16) | DT_BIT(DT_I32) | DT_BIT(DT_I64))
#define DTS_UNSIGNED (DT_BIT(DT_U8) | DT_BIT(DT_U16) | DT_BIT(DT_U32) | DT_BIT(DT_U64))
#define DTS_INT (DTS_SIGNED | DTS_UNSIGNED)
#define DTS_NUMBER (DTS_FLOAT | DTS_INT)
#define DTS_BOOL DT_BIT(DT_BOOL)
#define DTS_REAL (DTS_NUMBER | DTS_BOOL)
#define DTS_INDEX (DT_BIT(DT_I32) | DT_BIT(DT_I64))
#define DTS_ANY (DTS_REAL | DT_BIT(DT_C64) | DT_BIT(DT_C128))

/* Elements at base[offset + k * stride], k < count <= BLOCK; offset and stride in elements. */
void block_load(union block *b, enum dtype t, const void *base, int64_t offset, int64_t stride,
                size_t count); /* into the class of `t` */
void block_store(const union block *b, enum dtype t, void *base, int64_t offset, int64_t stride,
                 size_t count); /* from the class of `t`; integers wrap, bools become 0 or 1 */
/* The same, any real type as double; any count.  Stored integers are rounded to even and saturate,
 * NaN becomes 0. */
void num_load_f64(double *to, enum dtype t, const void *base, int64_t offset, int64_t stride,
                  size_t count);
void num_store_f64(const double *from, enum dtype t, void *base, int64_t offset, int64_t stride,
                   size_t count);
/* num_convert - elements as Cast does it: floats to integers by cutting the fraction off, then
 * saturating; integers to narrower ones by wrapping; everything to bool as != 0. */
void num_convert(enum dtype to, void *out, enum dtype from, const void *in, size_t count);

/* ---- walks ---- */
#define WALK_WAYS 4 /* tensors walked in step */
#define WALK_RANK_MAX (2 * TENSOR_RANK_MAX) /* Tile and friends split dims */

/* A walk visits a shape row by row; a row is the innermost run in which every way has one stride.
 * Dims of one are dropped and dims that lie behind each other joined, so rows are long. */
struct walk {
    unsigned rank, ways;
    int64_t dims[WALK_RANK_MAX];
    int64_t strides[WALK_WAYS][WALK_RANK_MAX]; /* elements; 0 repeats, < 0 goes backward */
    int64_t at[WALK_WAYS];                     /* where the row starts in each way */
    /* set by walk_start: */
    int64_t index[WALK_RANK_MAX];
    size_t len;                                /* elements per row */
    int64_t step[WALK_WAYS];                   /* stride along the row */
};

void walk_of(struct walk *w, const struct shape *s, unsigned ways); /* dims; strides all 0 */
/* walk_way - strides and start of one way. @strides: [rank] */
void walk_way(struct walk *w, unsigned way, const int64_t *strides, int64_t start);
bool walk_start(struct walk *w);                                    /* false: nothing to visit */
bool walk_next(struct walk *w);                                     /* to the next row */
/* walk_broadcast - a walk over `out` with ways 0 = out, 1.. = the given tensors' shapes. */
void walk_broadcast(struct walk *w, const struct shape *out, const struct shape *const *in,
                    unsigned count);

/* num_copy - move elements of `size` bytes along a walk: way 0 is written, way 1 read. */
void num_copy(struct walk *w, size_t size, void *to, const void *from);
/* num_fill - `count` times the element of `size` bytes at `value`. */
void num_fill(void *to, size_t size, const void *value, size_t count);

/* ---- sizes ---- */
static inline bool size_mul(int64_t a, int64_t b, int64_t *out) /* false: overflow */
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline size_t block_len(size_t done, size_t all) /* of the next block */
{
    return all - done < BLOCK ? all - done : BLOCK;
}

#endif
