/* pe/builtin/set.c - adds constant fields to its input, or replaces fields by constants.
 *
 * Owns:       struct set: one shared constant column per field.
 * Why:        a constant is a column filled once, so that a batch costs a few pointers, however
 *             many rows it has. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/text.h"
#include "pe/builtin/builtin.h"

#include <jansson.h>

struct constant {
    unsigned field; /* of the output */
    struct oxb_const *column;
};

struct set {
    struct constant *constants;
    size_t count;
};

/* make_column - the constant as a column of the field's type; NULL: it does not fit that type. */
static struct oxb_const *make_column(struct oxb_pe *pe, enum oxb_type type, const json_t *value)
{
    int64_t us;
    switch (type) {
    case OXB_I64:
        return json_is_integer(value) ? oxb_const_i64(pe, json_integer_value(value)) : NULL;
    case OXB_F64:
        return json_is_number(value) ? oxb_const_f64(pe, json_number_value(value)) : NULL;
    case OXB_BOOL:
        return json_is_boolean(value) ? oxb_const_bool(pe, json_is_true(value)) : NULL;
    case OXB_STR:
    case OXB_BYTES:
        return json_is_string(value) ? oxb_const_str(pe, json_string_value(value),
                                                     (uint32_t)json_string_length(value))
                                     : NULL;
    case OXB_TIME:
        if (json_is_string(value) &&
            text_parse_rfc3339_us(json_string_value(value), json_string_length(value), &us)) {
            return oxb_const_i64(pe, us);
        }
        return NULL;
    case OXB_NONE:
    case OXB_F32:
        break;
    }
    return NULL;
}

static int add_constant(struct oxb_pe *pe, struct set *s, const char *name, const json_t *value)
{
    const struct oxb_schema *out = oxb_out_schema(pe, 0);
    int field = oxb_field(out, name);
    if (field < 0) {
        return oxb_fail(pe, "field `%s` is not in the output: %s", name, out->text);
    }
    struct constant *c = &s->constants[s->count];
    c->column = make_column(pe, out->fields[field].type, value);
    if (c->column == NULL) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        int r = oxb_fail(pe, "%s does not fit field `%s` of the output: %s",
                         text != NULL ? text : "the constant", name, out->text);
        free(text);
        return r;
    }
    c->field = (unsigned)field;
    s->count++;
    return OXB_OK;
}

static int prepare(struct oxb_pe *pe)
{
    struct set *s = oxb_self(pe);
    const char *text = oxb_param_json(pe, "fields");
    json_t *fields = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(fields) || json_object_size(fields) == 0) {
        json_decref(fields);
        return oxb_fail(pe, "`fields` names no field; write fields: {name: constant}");
    }
    if (json_object_size(fields) > FIELDS_MAX) {
        json_decref(fields);
        return oxb_fail(pe, "`fields` has more than %d entries", FIELDS_MAX);
    }
    s->constants = mem_array(json_object_size(fields), sizeof *s->constants);
    int r = OXB_OK;
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value)
    {
        r = add_constant(pe, s, name, value);
        if (r != OXB_OK) {
            break;
        }
    }
    json_decref(fields);
    return r;
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct set *s = oxb_self(pe);
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    (void)port;
    for (size_t i = 0; i < s->count; i++) {
        oxb_set_column(pe, out, s->constants[i].field, s->constants[i].column);
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}

static void drop(struct oxb_pe *pe)
{
    struct set *s = oxb_self(pe);
    mem_free(s->constants);
}

static const struct oxb_param params[] = {
    {.name = "fields",
     .type = OXB_P_MAP,
     .flags = OXB_REQUIRED,
     .doc = "name: constant; a field of that name in the input is replaced"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "*, +fields", "the input with the constants"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_set = {
    .abi = OXB_ABI,
    .name = "set",
    .doc = "adds constant fields, or replaces fields by constants",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct set),
    .prepare = prepare,
    .process = process,
    .drop = drop,
};
