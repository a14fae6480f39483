/* net/messages.h - structs and codec of the control messages, generated from messages.def.
 *
 * A message struct owns its strings, bytes and lists: msg_free releases them.  For sending, fill a
 * zeroed struct; strings are then borrowed and nothing is freed.
 * Threads: any; pure. */
#ifndef OXB_NET_MESSAGES_H
#define OXB_NET_MESSAGES_H

#include "core/err.h"
#include "net/messages.def"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 3u

struct msg_bin {
    const uint8_t *data;
    size_t bytes;
};

#define MSG_TYPE_u64 uint64_t
#define MSG_TYPE_i64 int64_t
#define MSG_TYPE_f64 double
#define MSG_TYPE_flag bool
#define MSG_TYPE_str const char * /* decoded: never NULL.  Encoding: NULL is sent as "" */
#define MSG_TYPE_bin struct msg_bin

#define MSG_FIELD(kind, name, since) MSG_TYPE_##kind name;
#define MSG_LIST(record, name, since)                                                              \
    struct rec_##record *name;                                                                     \
    size_t name##_count;
#define X(record)                                                                                  \
    struct rec_##record;
RECORDS(X)
#undef X
#define X(record)                                                                                  \
    struct rec_##record {                                                                          \
        REC_##record(MSG_FIELD, MSG_LIST)                                                          \
    };
RECORDS(X)
#undef X
#define X(number, message, text)                                                                   \
    struct msg_##message {                                                                         \
        MSG_##message(MSG_FIELD, MSG_LIST)                                                         \
    };
MESSAGES(X)
#undef X

enum msg_kind {
    MSG_NONE = 0,
#define X(number, message, text) M_##message = number,
    MESSAGES(X)
#undef X
};

struct msg { /* one decoded message */
    enum msg_kind kind;
    union {
#define X(number, message, text) struct msg_##message message;
        MESSAGES(X)
#undef X
    };
    void *arena; /* what the strings and lists live in */
};

struct strbuf;

/* msg_encode - append one whole frame (head and body) to `out`.  Text that is not UTF-8 (cut in the
 * middle of a character, say) goes out with '?' in place of the bad bytes.
 * Return: ERR_LIMIT when it would exceed FRAME_BYTES_MAX or FRAME_OBJECTS_MAX (out unchanged). */
MUST_CHECK enum err msg_encode(const struct msg *m, struct strbuf *out);
/* msg_decode - the body of a frame whose head said `kind`.  Pre-scans (depth, objects, lengths)
 * before anything is allocated.  ERR_INVALID, ERR_LIMIT: refused, `m` untouched. */
MUST_CHECK enum err msg_decode(unsigned kind, const void *body, size_t bytes, struct msg *m,
                               struct fail *f);
/* msg_encode_large, msg_decode_large - the same up to LARGE_BYTES_MAX and LARGE_OBJECTS_MAX: for a
 * body that travels in fragments.  Head bytes are there and mean nothing. */
MUST_CHECK enum err msg_encode_large(const struct msg *m, struct strbuf *out);
MUST_CHECK enum err msg_decode_large(unsigned kind, const void *body, size_t bytes, struct msg *m,
                                     struct fail *f);
/* msg_may_be_large - may this kind travel in fragments? */
bool msg_may_be_large(unsigned kind);
/* msg_copy - a decoded message once more, with memory of its own; msg_free. */
void msg_copy(const struct msg *m, struct msg *out);
void msg_free(struct msg *m);
const char *msg_name(unsigned kind); /* "HELLO"; "?" when unknown */
/* msg_failpoint - pass the place VERB.KIND.WHEN of core/failpoint.h, in lower case:
 * "send.go.after". Whoever sends or takes a message passes two of them; free when none is armed. */
void msg_failpoint(const char *verb, unsigned kind, const char *when);
/* msg_text - one line for logs and tests; caller frees. */
char *msg_text(const struct msg *m);

/* prescan - is this one well-formed MessagePack value within depth, object and length limits, with
 * every declared count and length covered by the bytes left and no ext types? */
MUST_CHECK enum err msgpack_prescan(const void *data, size_t bytes, unsigned depth_max,
                                    size_t objects_max);

#endif
