/* net/value.c - the heads of MessagePack values.
 *
 * Runs on:    any thread; pure.
 * Invariants: V1 nothing outside [at, at + left) is read.  V2 no allocation, no recursion. */
#include "net/value.h"

#include <string.h>

/* take - a big-endian number of `width` bytes; the reader is known to hold them. */
static uint64_t take(struct value_reader *r, size_t width)
{
    uint64_t n = 0;
    for (size_t i = 0; i < width; i++) {
        n = n << 8 | r->at[i];
    }
    r->at += width;
    r->left -= width;
    return n;
}

static enum err payload(struct value_reader *r, struct value *out, enum value_type type,
                        uint64_t bytes)
{
    if (bytes > r->left) {
        return ERR_INVALID; /* V1 */
    }
    out->type = type;
    out->data = r->at;
    out->bytes = (size_t)bytes;
    r->at += bytes;
    r->left -= (size_t)bytes;
    return ERR_OK;
}

static enum err unsigned_number(struct value *out, uint64_t n)
{
    out->type = VALUE_UINT;
    out->number = n;
    return ERR_OK;
}

static enum err signed_number(struct value *out, uint64_t n, size_t width)
{
    unsigned shift = (unsigned)(64 - 8 * width);
    uint64_t sign = (uint64_t)1 << 63;
    n <<= shift;
    bool negative = (n & sign) != 0;
    n >>= shift;
    if (negative && shift > 0) {
        n |= ~(uint64_t)0 << (64 - shift);
    }
    out->type = negative ? VALUE_INT : VALUE_UINT;
    out->number = n;
    return ERR_OK;
}

static enum err real_number(struct value *out, uint64_t bits, size_t width)
{
    out->type = VALUE_FLOAT;
    if (width == 4) {
        uint32_t half = (uint32_t)bits;
        float f;
        memcpy(&f, &half, sizeof f);
        out->real = (double)f;
    } else {
        memcpy(&out->real, &bits, sizeof out->real);
    }
    return ERR_OK;
}

static enum err container(struct value *out, enum value_type type, uint64_t count)
{
    out->type = type;
    out->children = type == VALUE_MAP ? 2 * count : count;
    return ERR_OK;
}

/* wide - heads 0xC0..0xDF, where the byte names the type and the width of what follows. */
static enum err wide(struct value_reader *r, uint8_t head, struct value *out)
{
    static const uint8_t widths[32] = {
        [0x04] = 1, [0x05] = 2, [0x06] = 4, [0x0A] = 4, [0x0B] = 8, [0x0C] = 1, [0x0D] = 2,
        [0x0E] = 4, [0x0F] = 8, [0x10] = 1, [0x11] = 2, [0x12] = 4, [0x13] = 8, [0x19] = 1,
        [0x1A] = 2, [0x1B] = 4, [0x1C] = 2, [0x1D] = 4, [0x1E] = 2, [0x1F] = 4,
    };
    size_t width = widths[head & 0x1F];
    if (width > r->left) {
        return ERR_INVALID;
    }
    uint64_t n = take(r, width);
    switch (head) {
    case 0xC0:
        out->type = VALUE_NIL;
        return ERR_OK;
    case 0xC2:
    case 0xC3:
        out->type = VALUE_FLAG;
        out->number = head & 1u;
        return ERR_OK;
    case 0xC4:
    case 0xC5:
    case 0xC6:
        return payload(r, out, VALUE_BIN, n);
    case 0xCA:
    case 0xCB:
        return real_number(out, n, width);
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
        return unsigned_number(out, n);
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3:
        return signed_number(out, n, width);
    case 0xD9:
    case 0xDA:
    case 0xDB:
        return payload(r, out, VALUE_STR, n);
    case 0xDC:
    case 0xDD:
        return container(out, VALUE_ARRAY, n);
    case 0xDE:
    case 0xDF:
        return container(out, VALUE_MAP, n);
    default: /* 0xC1 means nothing; the rest are extension types */
        return ERR_INVALID;
    }
}

enum err value_next(struct value_reader *r, struct value *out)
{
    *out = (struct value){0};
    if (r->left == 0) {
        return ERR_INVALID;
    }
    uint8_t head = (uint8_t)take(r, 1);
    if (head <= 0x7F) {
        return unsigned_number(out, head);
    }
    if (head >= 0xE0) {
        return signed_number(out, head, 1);
    }
    if (head <= 0x8F) {
        return container(out, VALUE_MAP, head & 0x0Fu);
    }
    if (head <= 0x9F) {
        return container(out, VALUE_ARRAY, head & 0x0Fu);
    }
    if (head <= 0xBF) {
        return payload(r, out, VALUE_STR, head & 0x1Fu);
    }
    return wide(r, head, out);
}

enum err value_skip(struct value_reader *r)
{
    struct value v;
    for (uint64_t pending = 1; pending > 0; pending--) {
        enum err e = value_next(r, &v);
        if (e != ERR_OK) {
            return e;
        }
        pending += v.children; /* at most the bytes left: pre-scanned */
    }
    return ERR_OK;
}
