/* pe/builtin/sum.c - adds up a field per group.
 *
 * Invariants: A1 with `emit: each` a tuple's sum includes the tuple itself and those before it.
 *             A2 with `emit: final` nothing leaves before the input has ended.
 *             A3 one of the two states is used, by the type of the field; the other stays empty.
 *             A4 an i64 sum wraps around at 2^63. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/keyed.h"

struct sum {
    struct keyed keyed;
    unsigned field; /* of the input */
    bool real;      /* f64, else i64 */
    struct oxb_state *state;
};

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct sum *s = oxb_self(pe);
    const char *name = oxb_param_str(pe, "field");
    (void)port;
    int field = oxb_field(schema, name);
    if (field < 0) {
        return oxb_fail(pe, "the input has no field `%s`; it has: %s", name, schema->text);
    }
    enum oxb_type type = schema->fields[field].type;
    if (type != OXB_I64 && type != OXB_F64) {
        return oxb_fail(pe, "field `%s` is no number (i64 or f64); the input has: %s", name,
                        schema->text);
    }
    s->field = (unsigned)field;
    s->real = type == OXB_F64;
    s->state = oxb_state(pe, s->real ? "sum-f64" : "sum-i64");
    return keyed_bind(pe, &s->keyed, schema);
}

static void add(const struct sum *s, const struct oxb_batch *in, void **slots)
{
    uint32_t k = 0;
    if (s->real) {
        const double *values = oxb_f64s(in, s->field);
        OXB_EACH (in, i) {
            *(double *)slots[k++] += values[i];
        }
        return;
    }
    const int64_t *values = oxb_i64s(in, s->field);
    OXB_EACH (in, i) {
        *(uint64_t *)slots[k++] += (uint64_t)values[i]; /* A4 */
    }
}

static void add_each(struct oxb_pe *pe, const struct sum *s, struct oxb_batch *in, void **slots)
{
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    uint32_t k = 0;
    if (s->real) {
        const double *values = oxb_f64s(in, s->field);
        double *sums = oxb_new_f64s(pe, out, s->keyed.by_count);
        OXB_EACH (in, i) {
            sums[i] = *(double *)slots[k++] += values[i];
        }
    } else {
        const int64_t *values = oxb_i64s(in, s->field);
        int64_t *sums = oxb_new_i64s(pe, out, s->keyed.by_count);
        OXB_EACH (in, i) {
            sums[i] = (int64_t)(*(uint64_t *)slots[k++] += (uint64_t)values[i]);
        }
    }
    oxb_forward(pe, 0, out);
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct sum *s = oxb_self(pe);
    void *slots[BATCH_ROWS_MAX];
    (void)port;
    if (oxb_state_rows(s->state, in, s->keyed.by, s->keyed.by_count, slots) != OXB_OK) {
        return oxb_fail(pe, "the input cannot be grouped by these fields");
    }
    if (s->keyed.final) {
        add(s, in, slots);
    } else {
        add_each(pe, s, in, slots);
    }
    return OXB_OK;
}

static bool emit_group(void *arg, struct oxb_key key, void *cells)
{
    struct oxb_pe *pe = arg;
    const struct sum *s = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_key(w, oxb_out_schema(pe, 0), 0, s->keyed.by_count, row, key);
    if (s->real) {
        oxb_put_f64(w, s->keyed.by_count, row, *(const double *)cells);
    } else {
        oxb_put_i64(w, s->keyed.by_count, row, *(const int64_t *)cells);
    }
    oxb_commit(w);
    return true;
}

static int finish(struct oxb_pe *pe)
{
    const struct sum *s = oxb_self(pe);
    if (s->keyed.final && oxb_out_connected(pe, 0)) {
        oxb_state_each(s->state, emit_group, pe);
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {
    KEYED_BY,
    {.name = "field", .type = OXB_P_FIELD, .flags = OXB_REQUIRED, .doc = "the number to add up"},
    KEYED_EMIT,
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "$by, sum: $field", "the group and its sum"},
    {NULL, NULL, NULL},
};

static const struct oxb_value integers[] = {{"sum", OXB_I64}, {NULL, OXB_NONE}};
static const struct oxb_value reals[] = {{"sum", OXB_F64}, {NULL, OXB_NONE}};
static const struct oxb_state_decl states[] = {
    {"sum-i64", integers}, {"sum-f64", reals}, {NULL, NULL}};

const struct oxb_pe_type builtin_sum = {
    .abi = OXB_ABI,
    .name = "sum",
    .doc = "adds up a field per group",
    .params = params,
    .outputs = outputs,
    .states = states,
    .state_version = 1,
    .self_bytes = sizeof(struct sum),
    .bind = bind,
    .process = process,
    .finish = finish,
};
