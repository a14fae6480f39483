/* pe/infer/proto.h - ONNX's protobuf messages, unpacked within limits.
 *
 * The C code of the messages is generated at build time from the packaged onnx.proto.
 * Why:        protobuf-c recurses without a limit and allocates what counts claim, so bytes are
 *             scanned for depth first and unpacked with an allocator that has a budget. */
#ifndef OXB_PE_INFER_PROTO_H
#define OXB_PE_INFER_PROTO_H

#include "core/err.h"
#include "pe/infer/tensor.h"

#include <onnx/onnx.pb-c.h>

#define UNPACK_BYTES_BASE (24u << 20)
#define UNPACK_RATIO 3       /* of the bytes read, beside the base */
#define UNPACK_BLOCK_HEAD 8  /* before each block that protobuf-c gets */

/* proto_scan - is this a message of that type within the limits of depth, size, memory and counts?
 * Takes no memory itself.  Errors: ERR_INVALID, ERR_LIMIT. */
MUST_CHECK enum err proto_scan(const ProtobufCMessageDescriptor *descriptor, const char *what,
                               const void *bytes, size_t size, struct fail *f);
/* proto_scan_file - the same of a file, before it is read.  Errors: ERR_IO and ERR_NOTFOUND too. */
MUST_CHECK enum err proto_scan_file(const ProtobufCMessageDescriptor *descriptor, const char *what,
                                    const char *path, struct fail *f);
/* proto_too_much - the answer to what would unpack to more than the limits allow. */
MUST_CHECK enum err proto_too_much(const char *what, size_t size, struct fail *f);

struct proto_block;
struct proto_budget { /* of one unpacked message; lives until proto_free */
    size_t left;
    bool exceeded;
    struct proto_block *blocks; /* all there are */
    uint8_t *at;                /* in the newest chunk: where the next small block goes */
    size_t room;
    ProtobufCAllocator allocator;
};

/* proto_unpack - @what: "model" or "tensor", for messages.  On success *out is freed by
 * proto_free with the same budget.  Errors: ERR_INVALID, ERR_LIMIT. */
MUST_CHECK enum err proto_unpack(const ProtobufCMessageDescriptor *descriptor, const char *what,
                                 const void *bytes, size_t size, struct proto_budget *budget,
                                 ProtobufCMessage **out, struct fail *f);
void proto_free(ProtobufCMessage *m, struct proto_budget *budget); /* accepts NULL */

/* proto_tensor - decode any encoding of a TensorProto.  ERR_NOTFOUND: legal, but not supported
 * here (strings, external data, segments); ERR_INVALID: it contradicts itself. */
MUST_CHECK enum err proto_tensor(const Onnx__TensorProto *p, struct tensor *out, struct fail *f);

/* tensor_from_pb - a file's bytes holding one TensorProto.  tensor_to_pb: the same back, raw_data;
 * caller frees *bytes. */
MUST_CHECK enum err tensor_from_pb(const void *bytes, size_t size, struct tensor *out,
                                   struct fail *f);
void tensor_to_pb(const struct tensor *t, const char *name, void **bytes, size_t *size);

#endif
