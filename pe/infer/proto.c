/* pe/infer/proto.c - unpacking of protobuf messages that nobody vouches for.
 *
 * Owns:       struct proto_budget's blocks: small ones lie one after the other in chunks, since a
 *             model has twenty for each node and they all end together; others stand alone, so
 *             that what protobuf-c needs while it parses comes back.
 * Invariants: Q1 protobuf-c sees no bytes whose messages nest deeper than MODEL_DEPTH_MAX.
 *             Q2 unpacking allocates at most UNPACK_BYTES_BASE + UNPACK_RATIO bytes per byte read,
 *                and a chunk.
 * See:        proto_scan.c looks at the bytes before. */
#include "pe/infer/proto.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_HEAD UNPACK_BLOCK_HEAD
#define SMALL_BYTES 1024
#define CHUNK_BYTES (64u << 10)

struct proto_block { /* of the list: a block that stands alone, or a chunk */
    struct proto_block *next, *prev;
    size_t bytes; /* must come last: every block has its size before its data */
};
static_assert(sizeof(size_t) == BLOCK_HEAD && alignof(max_align_t) % BLOCK_HEAD == 0,
              "a size before each block leaves it aligned for 64 bits");

static void *block_new(struct proto_budget *b, size_t bytes)
{
    struct proto_block *p = malloc(sizeof *p + bytes);
    if (p == NULL) {
        b->exceeded = true;
        return NULL;
    }
    *p = (struct proto_block){.next = b->blocks, .bytes = bytes};
    if (b->blocks != NULL) {
        b->blocks->prev = p;
    }
    b->blocks = p;
    return p + 1;
}

static void block_free(struct proto_budget *b, void *data)
{
    struct proto_block *p = (struct proto_block *)data - 1;
    if (p->next != NULL) {
        p->next->prev = p->prev;
    }
    *(p->prev != NULL ? &p->prev->next : &b->blocks) = p->next;
    free(p);
}

static void blocks_free(struct proto_budget *b)
{
    while (b->blocks != NULL) {
        struct proto_block *p = b->blocks;
        b->blocks = p->next;
        free(p);
    }
}

static void *small_new(struct proto_budget *b, size_t bytes)
{
    size_t whole = BLOCK_HEAD + (bytes + BLOCK_HEAD - 1) / BLOCK_HEAD * BLOCK_HEAD;
    if (whole > b->room) {
        b->at = block_new(b, CHUNK_BYTES);
        b->room = b->at != NULL ? CHUNK_BYTES : 0;
    }
    if (b->at == NULL) {
        return NULL;
    }
    uint8_t *p = b->at;
    memcpy(p, &bytes, sizeof bytes);
    b->at += whole;
    b->room -= whole;
    return p + BLOCK_HEAD;
}

static void *budget_alloc(void *arg, size_t bytes)
{
    struct proto_budget *b = arg;
    if (bytes > b->left || b->left - bytes < BLOCK_HEAD) {
        b->exceeded = true;
        return NULL;
    }
    b->left -= bytes + BLOCK_HEAD;
    return bytes <= SMALL_BYTES ? small_new(b, bytes) : block_new(b, bytes);
}

static void budget_free(void *arg, void *data)
{
    struct proto_budget *b = arg;
    size_t bytes;
    if (data == NULL) {
        return;
    }
    memcpy(&bytes, (uint8_t *)data - BLOCK_HEAD, sizeof bytes);
    if (bytes > SMALL_BYTES) {
        b->left += bytes + BLOCK_HEAD;
        block_free(b, data);
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
    if (m == NULL) {
        blocks_free(budget);
    }
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
        blocks_free(budget); /* all that it consists of */
    }
}
