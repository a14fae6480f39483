/* pe/infer/tensor.c - tensors: allocation, sharing, shapes, and access to one element.
 *
 * Invariants: N1, N2 of tensor.h.
 * See:        pe/infer/half.c for the 16-bit floats. */
#include "pe/infer/tensor.h"

#include "core/mem.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DT_COUNT] = {
    [DT_NONE] = {"none", 0}, [DT_F32] = {"f32", 4},   [DT_U8] = {"u8", 1},
    [DT_I8] = {"i8", 1},     [DT_U16] = {"u16", 2},   [DT_I16] = {"i16", 2},
    [DT_I32] = {"i32", 4},   [DT_I64] = {"i64", 8},   [DT_STR] = {"string", 0},
    [DT_BOOL] = {"bool", 1}, [DT_F16] = {"f16", 2},   [DT_F64] = {"f64", 8},
    [DT_U32] = {"u32", 4},   [DT_U64] = {"u64", 8},   [DT_C64] = {"complex64", 8},
    [DT_C128] = {"complex128", 16}, [DT_BF16] = {"bf16", 2},
};

size_t dtype_size(enum dtype t)
{
    return (unsigned)t < DT_COUNT ? dtypes[t].bytes : 0;
}

const char *dtype_name(enum dtype t)
{
    return (unsigned)t < DT_COUNT ? dtypes[t].name : "unknown";
}

bool dtype_is_float(enum dtype t)
{
    return t == DT_F32 || t == DT_F64 || t == DT_F16 || t == DT_BF16;
}

bool dtype_is_int(enum dtype t)
{
    return (t >= DT_U8 && t <= DT_I64) || t == DT_U32 || t == DT_U64;
}

bool dtype_is_signed(enum dtype t)
{
    return dtype_is_float(t) || t == DT_I8 || t == DT_I16 || t == DT_I32 || t == DT_I64;
}

/* ---- shapes ---- */

struct shape shape_of(unsigned rank, ...)
{
    assert(rank <= TENSOR_RANK_MAX);
    struct shape s = {.rank = rank};
    va_list args;
    va_start(args, rank);
    for (unsigned i = 0; i < rank; i++) {
        s.dims[i] = va_arg(args, int);
    }
    va_end(args);
    return s;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank) {
        return false;
    }
    for (unsigned i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i]) {
            return false;
        }
    }
    return true;
}

bool shape_is_known(const struct shape *s)
{
    for (unsigned i = 0; i < s->rank; i++) {
        if (s->dims[i] < 0) {
            return false;
        }
    }
    return true;
}

/* A dim of 0 makes the product 0, but does not excuse the others from being sane. */
bool shape_count(const struct shape *s, size_t *count)
{
    if (s->rank > TENSOR_RANK_MAX) {
        return false;
    }
    uint64_t product = 1;
    bool empty = false;
    for (unsigned i = 0; i < s->rank; i++) {
        int64_t d = s->dims[i];
        if (d < 0 || (uint64_t)d > TENSOR_BYTES_MAX) {
            return false;
        }
        if (d == 0) {
            empty = true;
            continue;
        }
        if (product > TENSOR_BYTES_MAX / (uint64_t)d) {
            return false;
        }
        product *= (uint64_t)d;
    }
    *count = empty ? 0 : (size_t)product;
    return true;
}

size_t shape_count_range(const struct shape *s, unsigned from, unsigned to)
{
    assert(from <= to && to <= s->rank);
    size_t product = 1;
    for (unsigned i = from; i < to; i++) {
        product *= (size_t)s->dims[i];
    }
    return product;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out)
{
    struct shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (unsigned i = 0; i < r.rank; i++) { /* i-th from the right */
        int64_t da = i < a->rank ? a->dims[a->rank - 1 - i] : 1;
        int64_t db = i < b->rank ? b->dims[b->rank - 1 - i] : 1;
        if (da != db && da != 1 && db != 1) {
            return false;
        }
        r.dims[r.rank - 1 - i] = da == 1 ? db : da;
    }
    *out = r;
    return true;
}

void shape_strides(const struct shape *s, int64_t strides[TENSOR_RANK_MAX])
{
    int64_t step = 1;
    for (unsigned i = s->rank; i-- > 0;) {
        strides[i] = step;
        step *= s->dims[i];
    }
}

void shape_broadcast_strides(const struct shape *s, const struct shape *out,
                             int64_t strides[TENSOR_RANK_MAX])
{
    assert(s->rank <= out->rank);
    int64_t own[TENSOR_RANK_MAX];
    shape_strides(s, own);
    unsigned lead = out->rank - s->rank;
    for (unsigned i = 0; i < out->rank; i++) {
        strides[i] = i < lead || s->dims[i - lead] == 1 ? 0 : own[i - lead];
    }
}

const char *shape_text(const struct shape *s, char out[SHAPE_TEXT_BYTES])
{
    size_t at = 0;
    out[at++] = '[';
    for (unsigned i = 0; i < s->rank && i < TENSOR_RANK_MAX; i++) {
        const char *comma = i > 0 ? "," : "";
        int n = s->dims[i] < 0
                    ? snprintf(out + at, SHAPE_TEXT_BYTES - at, "%sN", comma)
                    : snprintf(out + at, SHAPE_TEXT_BYTES - at, "%s%lld", comma,
                               (long long)s->dims[i]);
        at += (size_t)n;
    }
    out[at++] = ']';
    out[at] = '\0';
    return out;
}
static_assert(TENSOR_RANK_MAX * 21 + 3 <= SHAPE_TEXT_BYTES, "a shape's text fits");

/* ---- tensors ---- */

/* Zeroed by calloc, so that a large one costs nothing until it is touched. */
static struct tensor_mem *mem_new(size_t bytes)
{
    struct tensor_mem *m = mem_try_alloc(sizeof *m);
    size_t rounded = (bytes + TENSOR_ALIGN) / TENSOR_ALIGN * TENSOR_ALIGN; /* never 0 */
    if (m == NULL || (m->base = mem_try_alloc(rounded + TENSOR_ALIGN)) == NULL) {
        mem_free(m);
        return NULL;
    }
    uintptr_t at = ((uintptr_t)m->base + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    m->data = (void *)at;
    m->bytes = rounded;
    atomic_init(&m->refs, 1);
    return m;
}

static void mem_unref(struct tensor_mem *m)
{
    if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(m->base);
        mem_free(m);
    }
}

enum err tensor_alloc(struct tensor *t, enum dtype dtype, const struct shape *shape,
                      struct fail *f)
{
    char text[SHAPE_TEXT_BYTES];
    size_t count = 0;
    size_t width = dtype_size(dtype);
    if (width == 0) {
        return fail_set(f, ERR_INVALID, "", "tensors of type %s are not supported",
                        dtype_name(dtype));
    }
    if (!shape_is_known(shape)) {
        return fail_set(f, ERR_INVALID, "", "shape %s is not known", shape_text(shape, text));
    }
    if (!shape_count(shape, &count) || count > TENSOR_BYTES_MAX / width) {
        return fail_set(f, ERR_LIMIT, "", "a tensor %s%s is larger than %llu MiB",
                        dtype_name(dtype), shape_text(shape, text), TENSOR_BYTES_MAX >> 20);
    }
    struct tensor_mem *m = mem_new(count * width);
    if (m == NULL) {
        return fail_set(f, ERR_NOMEM, "", "no memory for a tensor %s%s", dtype_name(dtype),
                        shape_text(shape, text));
    }
    struct shape kept = *shape; /* it may be t's own */
    tensor_fini(t);
    *t = (struct tensor){.dtype = dtype, .shape = kept, .data = m->data, .mem = m};
    return ERR_OK;
}

struct tensor tensor_borrow(enum dtype dtype, const struct shape *shape, void *data)
{
    return (struct tensor){.dtype = dtype, .shape = *shape, .data = data};
}

void tensor_share(struct tensor *to, const struct tensor *from)
{
    if (from->mem != NULL) {
        atomic_fetch_add_explicit(&from->mem->refs, 1, memory_order_relaxed);
    }
    struct tensor copy = *from;
    tensor_fini(to);
    *to = copy;
}

void tensor_fini(struct tensor *t)
{
    mem_unref(t->mem);
    *t = (struct tensor){0};
}

void tensor_type(struct tensor *t, enum dtype dtype, const struct shape *shape)
{
    struct shape kept = *shape;
    tensor_fini(t);
    t->dtype = dtype;
    t->shape = kept;
}

size_t tensor_count(const struct tensor *t)
{
    size_t count = 0;
    bool ok = shape_count(&t->shape, &count);
    assert(ok);
    return count;
}

size_t tensor_bytes(const struct tensor *t)
{
    return tensor_count(t) * dtype_size(t->dtype);
}

/* ---- one element ---- */

double tensor_get_f64(const struct tensor *t, size_t i)
{
    switch (t->dtype) {
    case DT_F32:
        return (double)((const float *)t->data)[i];
    case DT_F64:
        return ((const double *)t->data)[i];
    case DT_F16:
        return (double)f16_to_f32(((const uint16_t *)t->data)[i]);
    case DT_BF16:
        return (double)bf16_to_f32(((const uint16_t *)t->data)[i]);
    case DT_U64:
        return (double)((const uint64_t *)t->data)[i];
    default:
        return (double)tensor_get_i64(t, i);
    }
}

static int64_t saturate(double v)
{
    if (isnan(v)) {
        return 0;
    }
    if (v >= 9223372036854775808.0) {
        return INT64_MAX;
    }
    return v < -9223372036854775808.0 ? INT64_MIN : (int64_t)v;
}

int64_t tensor_get_i64(const struct tensor *t, size_t i)
{
    switch (t->dtype) {
    case DT_I64:
        return ((const int64_t *)t->data)[i];
    case DT_I32:
        return ((const int32_t *)t->data)[i];
    case DT_I16:
        return ((const int16_t *)t->data)[i];
    case DT_I8:
        return ((const int8_t *)t->data)[i];
    case DT_U8:
    case DT_BOOL:
        return ((const uint8_t *)t->data)[i];
    case DT_U16:
        return ((const uint16_t *)t->data)[i];
    case DT_U32:
        return ((const uint32_t *)t->data)[i];
    case DT_U64: {
        uint64_t v = ((const uint64_t *)t->data)[i];
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
    default:
        return saturate(tensor_get_f64(t, i));
    }
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

void tensor_set_i64(struct tensor *t, size_t i, int64_t v)
{
    switch (t->dtype) {
    case DT_I64:
        ((int64_t *)t->data)[i] = v;
        break;
    case DT_I32:
        ((int32_t *)t->data)[i] = (int32_t)clamp(v, INT32_MIN, INT32_MAX);
        break;
    case DT_I16:
        ((int16_t *)t->data)[i] = (int16_t)clamp(v, INT16_MIN, INT16_MAX);
        break;
    case DT_I8:
        ((int8_t *)t->data)[i] = (int8_t)clamp(v, INT8_MIN, INT8_MAX);
        break;
    case DT_U8:
        ((uint8_t *)t->data)[i] = (uint8_t)clamp(v, 0, UINT8_MAX);
        break;
    case DT_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    case DT_U16:
        ((uint16_t *)t->data)[i] = (uint16_t)clamp(v, 0, UINT16_MAX);
        break;
    case DT_U32:
        ((uint32_t *)t->data)[i] = (uint32_t)clamp(v, 0, UINT32_MAX);
        break;
    case DT_U64:
        ((uint64_t *)t->data)[i] = v < 0 ? 0 : (uint64_t)v;
        break;
    default:
        tensor_set_f64(t, i, (double)v);
        break;
    }
}

void tensor_set_f64(struct tensor *t, size_t i, double v)
{
    switch (t->dtype) {
    case DT_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case DT_F64:
        ((double *)t->data)[i] = v;
        break;
    case DT_F16:
        ((uint16_t *)t->data)[i] = f16_from_f64(v);
        break;
    case DT_BF16:
        ((uint16_t *)t->data)[i] = bf16_from_f32((float)v);
        break;
    case DT_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    case DT_U64:
        ((uint64_t *)t->data)[i] = v >= 18446744073709551616.0 ? UINT64_MAX
                                   : v > 0                     ? (uint64_t)nearbyint(v)
                                                               : 0;
        break;
    case DT_C64:
    case DT_C128:
    case DT_STR:
        assert(false && "a real type");
        break;
    default:
        tensor_set_i64(t, i, saturate(nearbyint(v)));
        break;
    }
}
