/* pe/keys.h - what a key is: its hash and its encoded bytes, in one place for routing and state.
 *
 * Hash:       i64, time, f64 (its bits) and bool by hash_i64, str and bytes by hash_bytes; several
 *             fields: h = hash(first), then h = hash_mix(h, hash(next)).
 * Bytes:      i64, time, f64: 8 bytes little-endian; bool: 1 byte; str, bytes: the raw bytes when
 *             the field is the whole key, else a u32 length before them.
 *             f64: -0.0 is taken as 0.0, so that equal values are one key.
 * Invariants: K1 equal keys have equal hashes and equal bytes, in every process: state and routing
 *             agree on the group of a key only because both come from here.
 * Threads:    any; nothing is kept. */
#ifndef OXB_PE_KEYS_H
#define OXB_PE_KEYS_H

#include "core/hash.h"
#include "core/strbuf.h"
#include "pe/pe.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "keys are little-endian in memory");

static inline bool key_type_ok(enum oxb_type t)
{
    return t != OXB_NONE && t != OXB_F32;
}

static inline bool key_type_is_text(enum oxb_type t)
{
    return t == OXB_STR || t == OXB_BYTES;
}

/* key_word - the value of a field of 8 bytes, as bits. */
static inline uint64_t key_word(const struct oxb_batch *b, unsigned field, uint32_t row)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)b->cols[field].data + (size_t)row * sizeof(v), sizeof(v));
    bool negative_zero = v == 1ull << 63 && b->schema->fields[field].type == OXB_F64;
    return negative_zero ? 0 : v;
}

static inline uint64_t key_hash_field(const struct oxb_batch *b, unsigned field, uint32_t row)
{
    switch (b->schema->fields[field].type) {
    case OXB_STR:
    case OXB_BYTES: {
        struct oxb_str s = oxb_str_at(b, field, row);
        return hash_bytes(s.p, s.len);
    }
    case OXB_BOOL:
        return hash_i64(oxb_bools(b, field)[row]);
    default:
        return hash_i64(key_word(b, field, row));
    }
}

static inline uint64_t key_hash_row(const struct oxb_batch *b, const unsigned *keys,
                                    unsigned key_count, uint32_t row)
{
    uint64_t h = key_hash_field(b, keys[0], row);
    for (unsigned i = 1; i < key_count; i++) {
        h = hash_mix(h, key_hash_field(b, keys[i], row));
    }
    return h;
}

/* key_hash_column - the hashes of one field of all live rows; with `mix`, mixed into what is there.
 */
static inline void key_hash_column(const struct oxb_batch *b, unsigned field, bool mix,
                                   uint64_t *out /* [live] */)
{
    enum oxb_type type = b->schema->fields[field].type;
    bool words = !key_type_is_text(type) && type != OXB_BOOL;
    uint32_t k = 0;
    OXB_EACH (b, i) {
        uint64_t h = words ? hash_i64(key_word(b, field, i)) : key_hash_field(b, field, i);
        out[k] = mix ? hash_mix(out[k], h) : h;
        k++;
    }
}

/* key_hash_batch - out[k] = hash of the key of the k-th live row. */
static inline void key_hash_batch(const struct oxb_batch *b, const unsigned *keys,
                                  unsigned key_count, uint64_t *out /* [live] */)
{
    key_hash_column(b, keys[0], false, out);
    for (unsigned i = 1; i < key_count; i++) {
        key_hash_column(b, keys[i], true, out);
    }
}

/* key_encode_row - append the encoded key of one row. */
static inline void key_encode_row(const struct oxb_batch *b, const unsigned *keys,
                                  unsigned key_count, uint32_t row, struct strbuf *out)
{
    for (unsigned i = 0; i < key_count; i++) {
        enum oxb_type type = b->schema->fields[keys[i]].type;
        if (key_type_is_text(type)) {
            struct oxb_str s = oxb_str_at(b, keys[i], row);
            if (key_count > 1) {
                strbuf_add(out, &s.len, sizeof(s.len));
            }
            strbuf_add(out, s.p, s.len);
        } else if (type == OXB_BOOL) {
            strbuf_add(out, &oxb_bools(b, keys[i])[row], 1);
        } else {
            uint64_t v = key_word(b, keys[i], row);
            strbuf_add(out, &v, sizeof(v));
        }
    }
}

#endif
