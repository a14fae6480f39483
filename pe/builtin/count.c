/* pe/builtin/count.c - counts tuples per group.
 *
 * Invariants: N1 with `emit: each` a tuple's count includes the tuple itself and those before it.
 *             N2 with `emit: final` nothing leaves before the input has ended.
 * Why:        `each` adds one new column to a view of the input; the fields of the group are shared
 *             with it, not copied. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/keyed.h"

struct count {
    struct keyed keyed;
    struct oxb_state *state;
};

static int prepare(struct oxb_pe *pe)
{
    struct count *s = oxb_self(pe);
    s->state = oxb_state(pe, "count");
    return OXB_OK;
}

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct count *s = oxb_self(pe);
    (void)port;
    return keyed_bind(pe, &s->keyed, schema);
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct count *s = oxb_self(pe);
    void *slots[BATCH_ROWS_MAX];
    (void)port;
    if (oxb_state_rows(s->state, in, s->keyed.by, s->keyed.by_count, slots) != OXB_OK) {
        return oxb_fail(pe, "the input cannot be grouped by these fields");
    }
    if (s->keyed.final) {
        for (uint32_t k = 0; k < in->live; k++) {
            ++*(int64_t *)slots[k];
        }
        return OXB_OK;
    }
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *counts = oxb_new_i64s(pe, out, s->keyed.by_count);
    uint32_t k = 0;
    OXB_EACH (in, i) {
        counts[i] = ++*(int64_t *)slots[k++];
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}

static bool emit_group(void *arg, struct oxb_key key, void *cells)
{
    struct oxb_pe *pe = arg;
    const struct count *s = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_key(w, oxb_out_schema(pe, 0), 0, s->keyed.by_count, row, key);
    oxb_put_i64(w, s->keyed.by_count, row, *(const int64_t *)cells);
    oxb_commit(w);
    return true;
}

static int finish(struct oxb_pe *pe)
{
    const struct count *s = oxb_self(pe);
    if (s->keyed.final && oxb_out_connected(pe, 0)) {
        oxb_state_each(s->state, emit_group, pe);
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {
    KEYED_BY,
    KEYED_EMIT,
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "$by, count: i64", "the group and its number of tuples"},
    {NULL, NULL, NULL},
};

static const struct oxb_value values[] = {{"count", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl states[] = {{"count", values}, {NULL, NULL}};

const struct oxb_pe_type builtin_count = {
    .abi = OXB_ABI,
    .name = "count",
    .doc = "counts tuples per group",
    .params = params,
    .outputs = outputs,
    .states = states,
    .state_version = 1,
    .self_bytes = sizeof(struct count),
    .prepare = prepare,
    .bind = bind,
    .process = process,
    .finish = finish,
};
