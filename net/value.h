/* net/value.h - reads MessagePack one value head at a time, from bytes that are all there.
 *
 * Owns:       nothing; it never allocates, so a lying length costs nothing.
 * Threads:    any; pure.
 * Why:        msgpack-c's unpacker reserves what a length claims (a 6-byte map: 275 GB) and spends
 *             24 bytes per object; the pre-scan and the decoder need neither.
 * See:        https://github.com/msgpack/msgpack/blob/master/spec.md, net/prescan.c */
#ifndef OXB_NET_VALUE_H
#define OXB_NET_VALUE_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

enum value_type {
    VALUE_NIL,
    VALUE_FLAG,
    VALUE_UINT,  /* any integer >= 0, whatever its form on the wire */
    VALUE_INT,   /* an integer < 0 */
    VALUE_FLOAT, /* either width */
    VALUE_STR,
    VALUE_BIN,
    VALUE_ARRAY,
    VALUE_MAP,
};

struct value {
    enum value_type type;
    uint64_t number;     /* UINT: the number; INT: its two's complement; FLAG: 0 or 1 */
    double real;         /* FLOAT */
    const uint8_t *data; /* STR, BIN: borrowed from the reader's bytes */
    size_t bytes;        /* STR, BIN */
    uint64_t children;   /* ARRAY: elements; MAP: keys and values together; else 0 */
};

struct value_reader {
    const uint8_t *at;
    size_t left;
};

/* value_next - read one head, and the payload of text and bytes; children follow as values.
 * Return: ERR_INVALID: cut short, an extension type, or the one byte that has no meaning. */
MUST_CHECK enum err value_next(struct value_reader *r, struct value *out);

/* value_skip - read past one value and all its children.  Only on bytes that were pre-scanned,
 * whose declared counts are true. */
MUST_CHECK enum err value_skip(struct value_reader *r);

#endif
