/* pe/infer/ops/num.c - numbers of any type, in blocks; walks over strided data.
 *
 * Invariants: A1, A2 of num.h. */
#include "pe/infer/ops/num.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Every real type: name of the constant, its C type, the class member it lives in. */
#define EACH_INT(X)                                                                                \
    X(DT_I8, int8_t, i)                                                                            \
    X(DT_I16, int16_t, i)                                                                          \
    X(DT_I32, int32_t, i)                                                                          \
    X(DT_I64, int64_t, i)                                                                          \
    X(DT_U8, uint8_t, u)                                                                           \
    X(DT_U16, uint16_t, u)                                                                         \
    X(DT_U32, uint32_t, u)                                                                         \
    X(DT_U64, uint64_t, u)

enum num_class num_class_of(enum dtype t)
{
    if (dtype_is_float(t)) {
        return NUM_FLOAT;
    }
    return dtype_is_signed(t) ? NUM_INT : NUM_UINT;
}

/* f32_odd - to f32 rounding to odd, so that a second rounding to bf16 is as good as one. */
static float f32_odd(double v)
{
    float f = (float)v;
    if ((double)f == v || isnan(v) || isinf(f)) {
        return f;
    }
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    if (fabs((double)f) > fabs(v)) {
        bits--;
    }
    bits |= 1;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* ---- loading ---- */

#define LOAD(type, value)                                                                          \
    do {                                                                                           \
        const type *p = (const type *)base + offset;                                               \
        for (size_t k = 0; k < count; k++) {                                                       \
            const type v = p[(int64_t)k * stride];                                                 \
            to[k] = (value);                                                                       \
        }                                                                                          \
        return;                                                                                    \
    } while (0)

void num_load_f64(double *to, enum dtype t, const void *base, int64_t offset, int64_t stride,
                  size_t count)
{
    switch (t) {
    case DT_F32:
        if (stride == 1) { /* the usual case; lets the compiler use vectors */
            const float *p = (const float *)base + offset;
            for (size_t k = 0; k < count; k++) {
                to[k] = (double)p[k];
            }
            return;
        }
        LOAD(float, (double)v);
    case DT_F64:
        LOAD(double, v);
    case DT_F16:
        LOAD(uint16_t, (double)f16_to_f32(v));
    case DT_BF16:
        LOAD(uint16_t, (double)bf16_to_f32(v));
    case DT_BOOL:
        LOAD(uint8_t, v != 0 ? 1.0 : 0.0);
#define X(dt, type, member)                                                                        \
    case dt:                                                                                       \
        LOAD(type, (double)v);
        EACH_INT(X)
#undef X
    default:
        assert(false && "a real type");
    }
}

static void load_i64(int64_t *to, enum dtype t, const void *base, int64_t offset, int64_t stride,
                     size_t count)
{
    switch (t) {
    case DT_I8: /* as clang-tidy wants it: no signed char is widened */
        LOAD(uint8_t, v < 128 ? v : (int64_t)v - 256);
    case DT_I16:
        LOAD(int16_t, v);
    case DT_I32:
        LOAD(int32_t, v);
    default:
        assert(t == DT_I64);
        LOAD(int64_t, v);
    }
}

static void load_u64(uint64_t *to, enum dtype t, const void *base, int64_t offset, int64_t stride,
                     size_t count)
{
    switch (t) {
    case DT_U8:
        LOAD(uint8_t, v);
    case DT_BOOL:
        LOAD(uint8_t, v != 0);
    case DT_U16:
        LOAD(uint16_t, v);
    case DT_U32:
        LOAD(uint32_t, v);
    default:
        assert(t == DT_U64);
        LOAD(uint64_t, v);
    }
}

void block_load(union block *b, enum dtype t, const void *base, int64_t offset, int64_t stride,
                size_t count)
{
    assert(count <= BLOCK);
    switch (num_class_of(t)) {
    case NUM_FLOAT:
        num_load_f64(b->f, t, base, offset, stride, count);
        return;
    case NUM_INT:
        load_i64(b->i, t, base, offset, stride, count);
        return;
    case NUM_UINT:
        load_u64(b->u, t, base, offset, stride, count);
        return;
    }
}

/* ---- storing ---- */

#define STORE(type, value)                                                                         \
    do {                                                                                           \
        type *p = (type *)base + offset;                                                           \
        for (size_t k = 0; k < count; k++) {                                                       \
            p[(int64_t)k * stride] = (value);                                                      \
        }                                                                                          \
        return;                                                                                    \
    } while (0)

static void store_float(const double *from, enum dtype t, void *base, int64_t offset,
                        int64_t stride, size_t count)
{
    switch (t) {
    case DT_F32:
        if (stride == 1) {
            float *p = (float *)base + offset;
            for (size_t k = 0; k < count; k++) {
                p[k] = (float)from[k];
            }
            return;
        }
        STORE(float, (float)from[k]);
    case DT_F64:
        STORE(double, from[k]);
    case DT_F16:
        STORE(uint16_t, f16_from_f64(from[k]));
    default:
        assert(t == DT_BF16);
        STORE(uint16_t, bf16_from_f32(f32_odd(from[k])));
    }
}

static void store_bits(const uint64_t *from, enum dtype t, void *base, int64_t offset,
                       int64_t stride, size_t count)
{
    switch (dtype_size(t)) {
    case 1:
        if (t == DT_BOOL) {
            STORE(uint8_t, from[k] != 0);
        }
        STORE(uint8_t, (uint8_t)from[k]);
    case 2:
        STORE(uint16_t, (uint16_t)from[k]);
    case 4:
        STORE(uint32_t, (uint32_t)from[k]);
    default:
        STORE(uint64_t, from[k]);
    }
}

void block_store(const union block *b, enum dtype t, void *base, int64_t offset, int64_t stride,
                 size_t count)
{
    assert(count <= BLOCK);
    if (num_class_of(t) == NUM_FLOAT) {
        store_float(b->f, t, base, offset, stride, count);
    } else {
        store_bits(b->u, t, base, offset, stride, count); /* i and u share their bits */
    }
}

/* integer_of - v, whole, as the bits of an integer of type t, saturated; NaN is 0. */
static uint64_t integer_of(double v, enum dtype t)
{
    unsigned bits = (unsigned)dtype_size(t) * 8;
    if (isnan(v)) {
        return 0;
    }
    if (t == DT_BOOL) {
        return v != 0;
    }
    if (dtype_is_signed(t)) {
        double end = ldexp(1, (int)bits - 1);
        int64_t most = (int64_t)((UINT64_C(1) << (bits - 1)) - 1);
        return (uint64_t)(v >= end ? most : v < -end ? -most - 1 : (int64_t)v);
    }
    uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    return v >= ldexp(1, (int)bits) ? most : v <= 0 ? 0 : (uint64_t)v;
}

void num_store_f64(const double *from, enum dtype t, void *base, int64_t offset, int64_t stride,
                   size_t count)
{
    if (num_class_of(t) == NUM_FLOAT) {
        store_float(from, t, base, offset, stride, count);
        return;
    }
    uint64_t bits[BLOCK];
    for (size_t done = 0; done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        for (size_t k = 0; k < n; k++) {
            bits[k] = integer_of(rint(from[done + k]), t);
        }
        store_bits(bits, t, base, offset + (int64_t)done * stride, stride, n);
    }
}

/* ---- converting ---- */

static void convert_block(union block *b, enum dtype to, enum dtype from, size_t n)
{
    enum num_class source = num_class_of(from), target = num_class_of(to);
    for (size_t k = 0; k < n; k++) {
        if (source == NUM_FLOAT && to == DT_BOOL) {
            b->u[k] = b->f[k] != 0 || isnan(b->f[k]);
        } else if (source == NUM_FLOAT && target != NUM_FLOAT) {
            b->u[k] = integer_of(b->f[k], to);
        } else if (source == NUM_INT && target == NUM_FLOAT) {
            b->f[k] = to == DT_F32 ? (double)(float)b->i[k] : (double)b->i[k];
        } else if (source == NUM_UINT && target == NUM_FLOAT) {
            b->f[k] = to == DT_F32 ? (double)(float)b->u[k] : (double)b->u[k];
        }
    }
}

void num_convert(enum dtype to, void *out, enum dtype from, const void *in, size_t count)
{
    if (to == from) {
        if (count > 0) {
            memmove(out, in, count * dtype_size(to));
        }
        return;
    }
    union block b;
    for (size_t done = 0; done < count; done += BLOCK) {
        size_t n = block_len(done, count);
        block_load(&b, from, in, (int64_t)done, 1, n);
        convert_block(&b, to, from, n);
        block_store(&b, to, out, (int64_t)done, 1, n);
    }
}

/* ---- walks ---- */

void walk_of(struct walk *w, const struct shape *s, unsigned ways)
{
    assert(ways <= WALK_WAYS);
    memset(w, 0, sizeof(*w));
    w->rank = s->rank;
    w->ways = ways;
    memcpy(w->dims, s->dims, s->rank * sizeof(s->dims[0]));
}

void walk_way(struct walk *w, unsigned way, const int64_t *strides, int64_t start)
{
    memcpy(w->strides[way], strides, w->rank * sizeof(strides[0]));
    w->at[way] = start;
}

/* joins - dim d can be walked as part of the kept dim before it. */
static bool joins(const struct walk *w, unsigned before, unsigned d)
{
    for (unsigned k = 0; k < w->ways; k++) {
        if (w->strides[k][before] != w->strides[k][d] * w->dims[d]) {
            return false;
        }
    }
    return true;
}

static void set_dim(struct walk *w, unsigned to, unsigned from, int64_t dim)
{
    w->dims[to] = dim;
    for (unsigned k = 0; k < w->ways; k++) {
        w->strides[k][to] = w->strides[k][from];
    }
}

bool walk_start(struct walk *w)
{
    unsigned kept = 0;
    for (unsigned d = 0; d < w->rank; d++) {
        if (w->dims[d] == 0) {
            return false;
        }
        if (w->dims[d] == 1) {
            continue;
        }
        if (kept > 0 && joins(w, kept - 1, d)) {
            set_dim(w, kept - 1, d, w->dims[kept - 1] * w->dims[d]);
        } else {
            set_dim(w, kept, d, w->dims[d]);
            kept++;
        }
    }
    w->rank = kept > 0 ? kept - 1 : 0;
    w->len = kept > 0 ? (size_t)w->dims[kept - 1] : 1;
    for (unsigned k = 0; k < w->ways; k++) {
        w->step[k] = kept > 0 ? w->strides[k][kept - 1] : 0;
    }
    memset(w->index, 0, sizeof(w->index));
    return true;
}

bool walk_next(struct walk *w)
{
    for (unsigned d = w->rank; d-- > 0;) {
        for (unsigned k = 0; k < w->ways; k++) {
            w->at[k] += w->strides[k][d];
        }
        if (++w->index[d] < w->dims[d]) {
            return true;
        }
        for (unsigned k = 0; k < w->ways; k++) {
            w->at[k] -= w->strides[k][d] * w->dims[d];
        }
        w->index[d] = 0;
    }
    return false;
}

void walk_broadcast(struct walk *w, const struct shape *out, const struct shape *const *in,
                    unsigned count)
{
    int64_t strides[TENSOR_RANK_MAX];
    walk_of(w, out, count + 1);
    shape_strides(out, strides);
    walk_way(w, 0, strides, 0);
    for (unsigned k = 0; k < count; k++) {
        shape_broadcast_strides(in[k], out, strides);
        walk_way(w, k + 1, strides, 0);
    }
}

#define COPY_ROW(type)                                                                             \
    do {                                                                                           \
        type *t = (type *)to + w->at[0];                                                           \
        const type *f = (const type *)from + w->at[1];                                             \
        for (size_t k = 0; k < w->len; k++) {                                                      \
            t[(int64_t)k * w->step[0]] = f[(int64_t)k * w->step[1]];                               \
        }                                                                                          \
    } while (0)

struct wide { /* an element of 16 bytes */
    uint64_t halves[2];
};

static void copy_row(const struct walk *w, size_t size, void *to, const void *from)
{
    if ((w->step[0] == 1 && w->step[1] == 1) || w->len == 1) {
        memcpy((uint8_t *)to + w->at[0] * (int64_t)size,
               (const uint8_t *)from + w->at[1] * (int64_t)size, w->len * size);
        return;
    }
    switch (size) {
    case 1:
        COPY_ROW(uint8_t);
        return;
    case 2:
        COPY_ROW(uint16_t);
        return;
    case 4:
        COPY_ROW(uint32_t);
        return;
    case 8:
        COPY_ROW(uint64_t);
        return;
    default:
        assert(size == sizeof(struct wide));
        COPY_ROW(struct wide);
        return;
    }
}

void num_copy(struct walk *w, size_t size, void *to, const void *from)
{
    if (!walk_start(w)) {
        return;
    }
    do {
        copy_row(w, size, to, from);
    } while (walk_next(w));
}

void num_fill(void *to, size_t size, const void *value, size_t count)
{
    uint8_t *p = to;
    for (size_t k = 0; k < count; k++) {
        memcpy(p + k * size, value, size);
    }
}
