/* pe/infer/proto.c - scanning and unpacking of protobuf messages that nobody vouches for.
 *
 * Invariants: Q1 protobuf-c sees no bytes whose messages nest deeper than MODEL_DEPTH_MAX.
 *             Q2 unpacking allocates at most UNPACK_BYTES_BASE + UNPACK_RATIO bytes per byte read.
 * Why:        measured with protobuf-c 1.4: 10,000 nested subgraphs in 114 KB overflow the stack;
 *             an empty NodeProto takes 2 bytes in the file and some 200 in memory. */
#include "pe/infer/proto.h"

#include "core/limits.h"

#include <stdlib.h>
#include <string.h>

#define UNPACK_BYTES_BASE (24u << 20)
#define UNPACK_RATIO 3
#define BLOCK_HEAD 16 /* before each block that protobuf-c gets */

struct scan {
    const uint8_t *at;
    const uint8_t *end;
};

static bool scan_varint(struct scan *s, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        uint8_t b = *s->at++;
        v |= (uint64_t)(b & 0x7fu) << shift;
        if ((b & 0x80u) == 0) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool scan_skip(struct scan *s, uint64_t bytes)
{
    if (bytes > (uint64_t)(s->end - s->at)) {
        return false;
    }
    s->at += bytes;
    return true;
}

/* One field's value; a submessage is left in *inner, else inner->at is NULL. */
static bool scan_field(struct scan *s, const ProtobufCMessageDescriptor *d,
                       const ProtobufCMessageDescriptor **inner_type, struct scan *inner)
{
    uint64_t tag, v;
    *inner_type = NULL;
    if (!scan_varint(s, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) {
        return false;
    }
    switch (tag & 7) {
    case 0:
        return scan_varint(s, &v);
    case 1:
        return scan_skip(s, 8);
    case 5:
        return scan_skip(s, 4);
    case 2:
        break;
    default: /* groups do not occur in ONNX, and protobuf-c does not take them */
        return false;
    }
    if (!scan_varint(s, &v) || v > (uint64_t)(s->end - s->at)) {
        return false;
    }
    *inner = (struct scan){s->at, s->at + v};
    s->at += v;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        *inner_type = field->descriptor;
    }
    return true;
}

static enum err too_much(const char *what, size_t size, struct fail *f)
{
    return fail_set(f, ERR_LIMIT, "", "the %s has %zu bytes and unpacks to more than %zu", what,
                    size, UNPACK_BYTES_BASE + UNPACK_RATIO * size);
}

/* Walks with a stack of its own, so that the scan itself has no depth to exhaust.  What the messages
 * alone will take is added up, so that a file of nothing but messages is refused at once. */
static enum err scan_message(const ProtobufCMessageDescriptor *d, const char *what,
                             const uint8_t *bytes, size_t size, struct fail *f)
{
    struct {
        const ProtobufCMessageDescriptor *type;
        struct scan scan;
    } stack[MODEL_DEPTH_MAX];
    unsigned depth = 1;
    size_t unpacked = 0;
    stack[0].type = d;
    stack[0].scan = (struct scan){bytes, bytes + size};
    while (depth > 0) {
        struct scan *s = &stack[depth - 1].scan;
        const ProtobufCMessageDescriptor *inner_type;
        struct scan inner;
        if (s->at == s->end) {
            depth--;
            continue;
        }
        if (!scan_field(s, stack[depth - 1].type, &inner_type, &inner)) {
            return fail_set(f, ERR_INVALID, "is it an ONNX file, and whole?",
                            "the %s is not a readable protobuf message (at byte %zu)", what,
                            (size_t)(s->at - bytes));
        }
        if (inner_type == NULL) {
            continue;
        }
        unpacked += inner_type->sizeof_message + BLOCK_HEAD;
        if (unpacked > UNPACK_BYTES_BASE + UNPACK_RATIO * size) {
            return too_much(what, size, f);
        }
        if (depth == MODEL_DEPTH_MAX) {
            return fail_set(f, ERR_LIMIT, "", "the %s nests messages deeper than %d", what,
                            MODEL_DEPTH_MAX);
        }
        stack[depth].type = inner_type;
        stack[depth++].scan = inner;
    }
    return ERR_OK;
}

/* Sizes are kept before each block, so that what protobuf-c frees while it parses comes back. */
static void *budget_alloc(void *arg, size_t bytes)
{
    struct proto_budget *b = arg;
    if (bytes > b->left || b->left - bytes < BLOCK_HEAD) {
        b->exceeded = true;
        return NULL;
    }
    uint8_t *p = malloc(bytes + BLOCK_HEAD);
    if (p == NULL) {
        b->exceeded = true;
        return NULL;
    }
    b->left -= bytes + BLOCK_HEAD;
    memcpy(p, &bytes, sizeof bytes);
    return p + BLOCK_HEAD;
}

static void budget_free(void *arg, void *data)
{
    struct proto_budget *b = arg;
    if (data != NULL) {
        uint8_t *p = (uint8_t *)data - BLOCK_HEAD;
        size_t bytes;
        memcpy(&bytes, p, sizeof bytes);
        b->left += bytes + BLOCK_HEAD;
        free(p);
    }
}

enum err proto_unpack(const ProtobufCMessageDescriptor *descriptor, const char *what,
                      const void *bytes, size_t size, struct proto_budget *budget,
                      ProtobufCMessage **out, struct fail *f)
{
    if (size > MODEL_BYTES_MAX) {
        return fail_set(f, ERR_LIMIT, "", "the %s has %zu bytes; %u are the most", what, size,
                        MODEL_BYTES_MAX);
    }
    enum err e = scan_message(descriptor, what, bytes, size, f);
    if (e != ERR_OK) {
        return e;
    }
    *budget = (struct proto_budget){
        .left = UNPACK_BYTES_BASE + UNPACK_RATIO * size,
        .allocator = {budget_alloc, budget_free, budget},
    };
    ProtobufCMessage *m = protobuf_c_message_unpack(descriptor, &budget->allocator, size, bytes);
    if (m == NULL && budget->exceeded) {
        return too_much(what, size, f);
    }
    if (m == NULL) {
        return fail_set(f, ERR_INVALID, "is it an ONNX file, and whole?",
                        "the %s is not a readable protobuf message", what);
    }
    *out = m;
    return ERR_OK;
}

void proto_free(ProtobufCMessage *m, struct proto_budget *budget)
{
    if (m != NULL) {
        protobuf_c_message_free_unpacked(m, &budget->allocator);
    }
}
