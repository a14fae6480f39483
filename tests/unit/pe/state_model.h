/* tests/unit/pe/state_model.h - the reference of the state tests: an array indexed by key number.
 *
 * A key number becomes an int64 key or a string key of some length, so that one test runs over
 * narrow and wide tables alike. */
#ifndef OXB_TESTS_STATE_MODEL_H
#define OXB_TESTS_STATE_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/limits.h"
#include "core/prng.h"
#include "core/strbuf.h"
#include "pe/state.h"

#include <stdio.h>
#include <string.h>

#define IDS 4000
#define KEY_ROOM (10 * 1024)

enum key_form { FORM_I64, FORM_STR, FORM_COUNT };

struct model {
    bool there[IDS];
    int64_t value[IDS];
    uint64_t count;
};

static const struct oxb_value model_values[] = {{"sum", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl model_decl = {"sums", model_values};

/* model_key - @room: KEY_ROOM bytes that the key borrows. */
static inline struct oxb_key model_key(enum key_form form, uint32_t id, uint8_t *room)
{
    if (form == FORM_I64) {
        int64_t v = (int64_t)id * 0x1000193 - 77;
        memcpy(room, &v, sizeof(v));
        struct oxb_key key = oxb_key_i64(&v);
        key.data = room;
        return key;
    }
    static const uint32_t lengths[] = {4, 8, 15, 16, 17, 31, 200};
    uint32_t bytes = id == 0 ? 0 : id == 1 ? KEY_ROOM : lengths[id % 7];
    memset(room, (int)(id % 251), bytes);
    memcpy(room, &id, bytes < 4 ? bytes : 4);
    return oxb_key_str((const char *)room, bytes);
}

static inline void model_put(struct model *m, uint32_t id, int64_t value)
{
    m->count += m->there[id] ? 0 : 1;
    m->there[id] = true;
    m->value[id] = value;
}

static inline bool model_delete(struct model *m, uint32_t id)
{
    bool was = m->there[id];
    m->count -= was ? 1 : 0;
    m->there[id] = false;
    return was;
}

struct model_walk {
    uint64_t count;
    uint64_t sum;
};

static inline bool model_visit(void *arg, struct oxb_key key, void *cells)
{
    struct model_walk *w = arg;
    (void)key;
    w->count++;
    w->sum += *(const uint64_t *)cells;
    return true;
}

/* model_check - the table holds exactly what the model holds; S3 with it. */
static inline void model_check(const struct model *m, struct oxb_state *s, enum key_form form)
{
    static uint8_t room[KEY_ROOM];
    struct model_walk walk = {0};
    uint64_t in_groups = 0, sum = 0;
    assert_int_equal(oxb_state_count(s), m->count);
    for (uint32_t id = 0; id < IDS; id++) {
        int64_t *cells = oxb_state_get(s, model_key(form, id, room));
        if (m->there[id]) {
            assert_non_null(cells);
            assert_int_equal(cells[0], m->value[id]);
            sum += (uint64_t)m->value[id];
        } else {
            assert_null(cells);
        }
    }
    oxb_state_each(s, model_visit, &walk);
    assert_int_equal(walk.count, m->count);
    assert_int_equal(walk.sum, sum);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        in_groups += state_group_count(s, g);
    }
    assert_int_equal(in_groups, m->count);
}

static inline void all_groups(bool groups[KEY_GROUPS])
{
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        groups[g] = true;
    }
}

#endif
