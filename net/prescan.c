/* net/prescan.c - is this one harmless MessagePack value?
 *
 * Runs on:    any thread; pure: one pass, no recursion, no allocation.
 * Invariants: P1 the values still to come, over all levels, never exceed the bytes left: each needs
 *             at least one.  So every declared count is covered before anyone relies on it.
 * See:        net/value.h, tests/unit/net/prescan_test.c */
#include "core/limits.h"
#include "net/messages.h"
#include "net/value.h"

#include <assert.h>

enum err msgpack_prescan(const void *data, size_t bytes, unsigned depth_max, size_t objects_max)
{
    assert(depth_max <= FRAME_DEPTH_MAX);
    uint64_t to_come[FRAME_DEPTH_MAX + 1] = {1}; /* per level of nesting */
    uint64_t pending = 1;                        /* their sum */
    size_t objects = 0;
    unsigned depth = 0;
    struct value_reader r = {.at = data, .left = bytes};
    while (pending > 0) {
        struct value v;
        enum err e = ++objects > objects_max ? ERR_LIMIT : value_next(&r, &v);
        if (e != ERR_OK) {
            return e;
        }
        to_come[depth]--;
        pending--;
        if (v.type == VALUE_ARRAY || v.type == VALUE_MAP) {
            if (depth == depth_max) {
                return ERR_LIMIT;
            }
            pending += v.children;
            if (pending > r.left) {
                return ERR_INVALID; /* P1 */
            }
            to_come[++depth] = v.children;
        }
        while (depth > 0 && to_come[depth] == 0) {
            depth--;
        }
    }
    return r.left == 0 ? ERR_OK : ERR_INVALID;
}
