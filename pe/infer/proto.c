/* pe/infer/proto.c - unpacking of protobuf messages that nobody vouches for.
 *
 * Invariants: Q1 protobuf-c sees no bytes whose messages nest deeper than MODEL_DEPTH_MAX.
 *             Q2 unpacking allocates at most UNPACK_BYTES_BASE + UNPACK_RATIO bytes per byte read.
 * See:        proto_scan.c looks at the bytes before. */
#include "pe/infer/proto.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_HEAD UNPACK_BLOCK_HEAD

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
    enum err e = proto_scan(descriptor, what, bytes, size, f);
    if (e != ERR_OK) {
        return e;
    }
    *budget = (struct proto_budget){
        .left = UNPACK_BYTES_BASE + UNPACK_RATIO * size,
        .allocator = {budget_alloc, budget_free, budget},
    };
    ProtobufCMessage *m = protobuf_c_message_unpack(descriptor, &budget->allocator, size, bytes);
    if (m == NULL && budget->exceeded) {
        return proto_too_much(what, size, f);
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
