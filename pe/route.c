/* pe/route.c - the hash of every live row's key, a whole column at a time.
 *
 * Invariants: R1 a key of one field hashes as the keyed tables hash it: i64, time and f64 bits by
 *                hash_i64, strings by hash_bytes; several fields are mixed in their order.
 *             R2 equal f64 values hash alike: -0.0 is taken as 0.0.
 * Threads:    any; pure.
 * See:        core/hash.h, tests/unit/pe/route_test.c */
#include "core/hash.h"
#include "pe/batch.h"

#include <assert.h>
#include <stdbool.h>

static void hash_field(const struct oxb_batch *b, unsigned field, bool mix, uint64_t *out);
static inline uint64_t f64_bits(double v);

/* One loop per type; `expr` gives the hash of row i. */
#define HASH_ROWS(expr)                                                                            \
    do {                                                                                           \
        if (b->sel == NULL && !mix) {                                                              \
            for (uint32_t i = 0; i < b->live; i++) {                                               \
                out[i] = (expr);                                                                   \
            }                                                                                      \
        } else {                                                                                   \
            for (uint32_t k = 0; k < b->live; k++) {                                               \
                uint32_t i = b->sel != NULL ? b->sel[k] : k;                                       \
                uint64_t h = (expr);                                                               \
                out[k] = mix ? hash_mix(out[k], h) : h;                                            \
            }                                                                                      \
        }                                                                                          \
    } while (0)

void batch_hash_keys(const struct oxb_batch *b, const unsigned *keys, unsigned key_count,
                     uint64_t *out)
{
    assert(key_count > 0);
    for (unsigned k = 0; k < key_count; k++) {
        assert(keys[k] < b->schema->field_count);
        hash_field(b, keys[k], k > 0, out);
    }
}

static void hash_field(const struct oxb_batch *b, unsigned field, bool mix, uint64_t *out)
{
    const struct oxb_field *f = &b->schema->fields[field];
    const struct oxb_col *c = &b->cols[field];
    switch (f->type) {
    case OXB_I64:
    case OXB_TIME: {
        const int64_t *v = c->data;
        HASH_ROWS(hash_i64((uint64_t)v[i]));
        break;
    }
    case OXB_F64: {
        const double *v = c->data;
        HASH_ROWS(hash_i64(f64_bits(v[i])));
        break;
    }
    case OXB_BOOL: {
        const uint8_t *v = c->data;
        HASH_ROWS(hash_i64(v[i]));
        break;
    }
    case OXB_STR:
    case OXB_BYTES: {
        const struct oxb_ref *v = c->data;
        HASH_ROWS(hash_bytes(c->heap + v[i].off, v[i].len));
        break;
    }
    case OXB_F32: {
        const uint8_t *v = c->data;
        size_t width = type_width(f);
        HASH_ROWS(hash_bytes(v + i * width, width));
        break;
    }
    case OXB_NONE:
        assert(false && "a schema has no fields of type none");
    }
}

static inline uint64_t f64_bits(double v)
{
    uint64_t bits;
    v = v == 0.0 ? 0.0 : v; /* R2 */
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
