/* pe/route.c - the hash of every live row's key, a whole column at a time.
 *
 * Invariants: R1 the hashes are those of pe/keys.h, by which keyed tables find their entries.
 * Threads:    any; pure.
 * Why:        the usual key is one dense column of integers: that loop has no branch in it.
 * See:        pe/keys.h, tests/unit/pe/batch_test.c */
#include "pe/batch.h"
#include "pe/keys.h"

#include <assert.h>

void batch_hash_keys(const struct oxb_batch *b, const unsigned *keys, unsigned key_count,
                     uint64_t *out)
{
    assert(key_count > 0);
    for (unsigned k = 0; k < key_count; k++) {
        assert(keys[k] < b->schema->field_count);
        enum oxb_type type = b->schema->fields[keys[k]].type;
        assert(key_type_ok(type));
        if (k == 0 && b->sel == NULL && (type == OXB_I64 || type == OXB_TIME)) {
            const int64_t *v = oxb_i64s(b, keys[k]);
            for (uint32_t i = 0; i < b->live; i++) {
                out[i] = hash_i64((uint64_t)v[i]);
            }
        } else {
            key_hash_column(b, keys[k], k > 0, out);
        }
    }
}
