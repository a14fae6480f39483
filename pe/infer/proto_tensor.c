/* pe/infer/proto_tensor.c - TensorProto to tensor, in each of its encodings, and back.
 *
 * A tensor's elements come as raw_data (little-endian, dense) or in the typed array that belongs to
 * its type: int32_data holds everything up to 32 bits that is not f32 or u32, 16-bit floats as
 * their bit patterns. */
#include "core/mem.h"
#include "pe/infer/proto.h"

#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian");

enum array { ARRAY_NONE, ARRAY_FLOAT, ARRAY_I32, ARRAY_I64, ARRAY_F64, ARRAY_U64 };

static const enum array array_of[DT_COUNT] = {
    [DT_F32] = ARRAY_FLOAT, [DT_C64] = ARRAY_FLOAT, [DT_U8] = ARRAY_I32,   [DT_I8] = ARRAY_I32,
    [DT_U16] = ARRAY_I32,   [DT_I16] = ARRAY_I32,   [DT_I32] = ARRAY_I32,  [DT_BOOL] = ARRAY_I32,
    [DT_F16] = ARRAY_I32,   [DT_BF16] = ARRAY_I32,  [DT_I64] = ARRAY_I64,  [DT_F64] = ARRAY_F64,
    [DT_C128] = ARRAY_F64,  [DT_U32] = ARRAY_U64,   [DT_U64] = ARRAY_U64,
};

static const char *label(const Onnx__TensorProto *p)
{
    return p->name != NULL ? p->name : "";
}

static size_t array_count(const Onnx__TensorProto *p, enum array a)
{
    switch (a) {
    case ARRAY_FLOAT:
        return p->n_float_data;
    case ARRAY_I32:
        return p->n_int32_data;
    case ARRAY_I64:
        return p->n_int64_data;
    case ARRAY_F64:
        return p->n_double_data;
    case ARRAY_U64:
        return p->n_uint64_data;
    default:
        return 0;
    }
}

/* Narrow an array element by element: the upper bits carry nothing. */
static void narrow(struct tensor *t, const Onnx__TensorProto *p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        switch (dtype_size(t->dtype)) {
        case 1:
            ((uint8_t *)t->data)[i] = (uint8_t)p->int32_data[i];
            break;
        case 2:
            ((uint16_t *)t->data)[i] = (uint16_t)p->int32_data[i];
            break;
        default:
            ((uint32_t *)t->data)[i] = t->dtype == DT_U32 ? (uint32_t)p->uint64_data[i]
                                                          : (uint32_t)p->int32_data[i];
            break;
        }
    }
}

static void copy_array(struct tensor *t, const Onnx__TensorProto *p, size_t count)
{
    switch (array_of[t->dtype]) {
    case ARRAY_FLOAT:
        memcpy(t->data, p->float_data, count * sizeof(float));
        break;
    case ARRAY_F64:
        memcpy(t->data, p->double_data, count * sizeof(double));
        break;
    case ARRAY_I64:
        memcpy(t->data, p->int64_data, count * sizeof(int64_t));
        break;
    case ARRAY_U64:
        if (t->dtype == DT_U64) {
            memcpy(t->data, p->uint64_data, count * sizeof(uint64_t));
            break;
        }
        narrow(t, p, count);
        break;
    default:
        narrow(t, p, count);
        break;
    }
}

static enum err check_form(const Onnx__TensorProto *p, struct shape *shape, struct fail *f)
{
    enum dtype type = (enum dtype)p->data_type;
    if (p->data_type <= 0 || p->data_type >= DT_COUNT) {
        return fail_set(f, ERR_NOTFOUND, "", "tensor '%.80s' has the unknown data type %d",
                        label(p), p->data_type);
    }
    if (dtype_size(type) == 0) {
        return fail_set(f, ERR_NOTFOUND, "", "tensor '%.80s': %ss are not supported", label(p),
                        dtype_name(type));
    }
    if (p->segment != NULL) {
        return fail_set(f, ERR_NOTFOUND, "", "tensor '%.80s' comes in segments", label(p));
    }
    if (p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL ||
        p->n_external_data > 0) {
        return fail_set(f, ERR_NOTFOUND, "save the model as one file",
                        "tensor '%.80s' lies in another file", label(p));
    }
    if (p->n_dims > TENSOR_RANK_MAX) {
        return fail_set(f, ERR_NOTFOUND, "", "tensor '%.80s' has rank %zu; %d is the most",
                        label(p), p->n_dims, TENSOR_RANK_MAX);
    }
    *shape = (struct shape){.rank = (uint32_t)p->n_dims};
    for (size_t i = 0; i < p->n_dims; i++) {
        shape->dims[i] = p->dims[i];
    }
    return ERR_OK;
}

/* Do the bytes that are there suffice for what the dims claim?  Before anything is allocated. */
static enum err check_amount(const Onnx__TensorProto *p, const struct shape *shape, size_t *count,
                             struct fail *f)
{
    char text[SHAPE_TEXT_BYTES];
    enum dtype type = (enum dtype)p->data_type;
    if (!shape_count(shape, count) || *count > TENSOR_BYTES_MAX / dtype_size(type)) {
        return fail_set(f, ERR_INVALID, "", "tensor '%.80s' claims the impossible shape %s",
                        label(p), shape_text(shape, text));
    }
    size_t have, want;
    if (p->has_raw_data) {
        have = p->raw_data.len;
        want = *count * dtype_size(type);
    } else {
        have = array_count(p, array_of[type]);
        want = type == DT_C64 || type == DT_C128 ? *count * 2 : *count;
    }
    if (have != want) {
        return fail_set(f, ERR_INVALID, "", "tensor '%.80s' is %s%s and needs %zu %s, but has %zu",
                        label(p), dtype_name(type), shape_text(shape, text), want,
                        p->has_raw_data ? "bytes" : "numbers", have);
    }
    return ERR_OK;
}

enum err proto_tensor(const Onnx__TensorProto *p, struct tensor *out, struct fail *f)
{
    struct shape shape;
    size_t count = 0;
    enum err e = check_form(p, &shape, f);
    if (e == ERR_OK) {
        e = check_amount(p, &shape, &count, f);
    }
    struct tensor t = {0};
    if (e == ERR_OK) {
        e = tensor_alloc(&t, (enum dtype)p->data_type, &shape, f);
    }
    if (e != ERR_OK) {
        return e;
    }
    if (count > 0 && p->has_raw_data) {
        memcpy(t.data, p->raw_data.data, p->raw_data.len);
    } else if (count > 0) {
        copy_array(&t, p, t.dtype == DT_C64 || t.dtype == DT_C128 ? count * 2 : count);
    }
    for (size_t i = 0; t.dtype == DT_BOOL && i < count; i++) { /* N3 */
        tensor_u8(&t)[i] = tensor_u8(&t)[i] != 0;
    }
    tensor_fini(out);
    *out = t;
    return ERR_OK;
}

enum err tensor_from_pb(const void *bytes, size_t size, struct tensor *out, struct fail *f)
{
    struct proto_budget budget;
    ProtobufCMessage *m = NULL;
    enum err e = proto_unpack(&onnx__tensor_proto__descriptor, "tensor", bytes, size, &budget, &m,
                              f);
    if (e == ERR_OK) {
        e = proto_tensor((const Onnx__TensorProto *)m, out, f);
        proto_free(m, &budget);
    }
    return e;
}

void tensor_to_pb(const struct tensor *t, const char *name, void **bytes, size_t *size)
{
    Onnx__TensorProto p = ONNX__TENSOR_PROTO__INIT;
    int64_t dims[TENSOR_RANK_MAX];
    for (unsigned i = 0; i < t->shape.rank; i++) {
        dims[i] = t->shape.dims[i];
    }
    char *copy = mem_dup(name);
    p.n_dims = t->shape.rank;
    p.dims = dims;
    p.has_data_type = 1;
    p.data_type = (int32_t)t->dtype;
    p.name = copy;
    p.has_raw_data = 1;
    p.raw_data = (ProtobufCBinaryData){.len = tensor_bytes(t), .data = t->data};
    *size = onnx__tensor_proto__get_packed_size(&p);
    *bytes = mem_alloc(*size);
    onnx__tensor_proto__pack(&p, *bytes);
    mem_free(copy);
}
