/* topology/schema.c - field types, resolved schemas, and the expressions by which ports declare
 * them.
 *
 * See: pe/pe.h, struct oxb_port, for the language. */
#include "topology/schema.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

#define EXPR_DEPTH_MAX 8 /* brackets in brackets */

static const char *const scalars[] = {"i64", "f64", "bool", "str", "bytes", "time"};
#define SCALAR_COUNT (sizeof scalars / sizeof scalars[0])

/* ---- types */

static char *type_hint(const char *text)
{
    static const char *const others[][2] = {
        {"int", "i64"},       {"integer", "i64"},  {"long", "i64"},    {"int64", "i64"},
        {"i32", "i64"},       {"u64", "i64"},      {"float", "f64"},   {"double", "f64"},
        {"number", "f64"},    {"float64", "f64"},  {"string", "str"},  {"text", "str"},
        {"boolean", "bool"},  {"binary", "bytes"}, {"blob", "bytes"},  {"timestamp", "time"},
        {"datetime", "time"}, {"date", "time"},    {"f32", "f32[64]"}, {"tensor", "f32[64]"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i][0], text) == 0) {
            return mem_printf("did you mean '%s'?", others[i][1]);
        }
    }
    if (strncmp(text, "f32[", 4) == 0) {
        return mem_printf(
            "a tensor is f32[N] or f32[N,M,...]: 1 to %d dimensions from 1, at most %u"
            " elements",
            DIMS_MAX, TENSOR_ELEMENTS_MAX);
    }
    const char *nearest = text_nearest(text, scalars, SCALAR_COUNT);
    return nearest != NULL ? mem_printf("did you mean '%s'?", nearest)
                           : mem_dup("types are i64, f64, bool, str, bytes, time and f32[...]");
}

/* tensor - canonical "f32[1,28]" from dims "1, 28]"; NULL when malformed or too large. */
static char *tensor(const char *p)
{
    struct strbuf out = {0};
    uint64_t elements = 1;
    unsigned dims = 0;
    strbuf_text_add(&out, "f32[");
    for (;;) {
        uint64_t dim = 0;
        p += strspn(p, " ");
        size_t digits = strspn(p, "0123456789");
        for (size_t i = 0; i < digits && dim <= TENSOR_ELEMENTS_MAX; i++) {
            dim = dim * 10 + (uint64_t)(p[i] - '0');
        }
        p += digits;
        p += strspn(p, " ");
        elements *= dim;
        if (dim == 0 || ++dims > DIMS_MAX || elements > TENSOR_ELEMENTS_MAX) {
            break;
        }
        strbuf_printf(&out, "%s%llu", dims > 1 ? "," : "", (unsigned long long)dim);
        if (*p == ']' && p[1] == '\0') {
            strbuf_char(&out, ']');
            return strbuf_take(&out);
        }
        if (*p++ != ',') {
            break;
        }
    }
    strbuf_fini(&out);
    return NULL;
}

char *schema_type(const char *text, char **hint)
{
    for (size_t i = 0; i < SCALAR_COUNT; i++) {
        if (strcmp(text, scalars[i]) == 0) {
            return mem_dup(text);
        }
    }
    char *type = strncmp(text, "f32[", 4) == 0 ? tensor(text + 4) : NULL;
    if (type == NULL && hint != NULL) {
        *hint = type_hint(text);
    }
    return type;
}

bool schema_type_fits(const char *type, const char *wanted)
{
    size_t bytes = strlen(type);
    if (wanted[0] == '\0') {
        return true;
    }
    for (const char *p = wanted; p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, type, bytes) == 0 && (p[bytes] == '\0' || p[bytes] == '|')) {
            return true;
        }
    }
    return false;
}

/* ---- schemas */

void mschema_fini(struct mschema *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        mem_free(s->fields[i].name);
        mem_free(s->fields[i].type);
    }
    mem_free(s->fields);
    mem_free(s->text);
    *s = (struct mschema){0};
}

int mschema_find(const struct mschema *s, const char *name)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (strcmp(s->fields[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

void mschema_put(struct mschema *s, const char *name, const char *type)
{
    int at = mschema_find(s, name);
    char *copy = mem_dup(type);
    if (at >= 0) {
        mem_free(s->fields[at].type);
        s->fields[at].type = copy;
        return;
    }
    if (s->count % 8 == 0) {
        s->fields = mem_resize(s->fields, s->count + 8, sizeof s->fields[0]);
    }
    s->fields[s->count++] = (struct mfield){mem_dup(name), copy};
}

void mschema_seal(struct mschema *s)
{
    struct strbuf text = {0};
    for (unsigned i = 0; i < s->count; i++) {
        strbuf_printf(&text, "%s%s: %s", i > 0 ? ", " : "", s->fields[i].name, s->fields[i].type);
    }
    mem_free(s->text);
    s->text = strbuf_take(&text);
}

void mschema_copy(struct mschema *to, const struct mschema *from)
{
    *to = (struct mschema){0};
    to->fields =
        from->count == 0 ? NULL : mem_array((from->count + 7u) / 8 * 8, sizeof to->fields[0]);
    to->count = from->count;
    for (unsigned i = 0; i < from->count; i++) {
        to->fields[i].name = mem_dup(from->fields[i].name);
        to->fields[i].type = mem_dup(from->fields[i].type);
    }
    to->text = mem_dup(from->text);
}

int port_default(const struct port *ports, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(ports[i].name, name) == 0) {
            return (int)i;
        }
    }
    return count > 0 ? 0 : -1;
}

/* ---- expressions */

struct eval {
    const struct schema_scope *scope;
    struct mschema *out;
    struct fail *f;
    bool input; /* asks for fields instead of giving them */
    unsigned depth;
};

static enum err eval_items(struct eval *v, const char *expr, size_t bytes);

static bool input_known(const struct eval *v)
{
    return v->scope->input != NULL && mschema_known(v->scope->input);
}

static enum err malformed(struct eval *v, const char *item)
{
    return fail_set(v->f, ERR_INVALID, "correct the PE's table of ports",
                    "the schema expression of a port is malformed at \"%.80s\"", item);
}

/* type_of_input - the type of an input field.  NULL with *e set when unknown. */
static const char *type_of_input(struct eval *v, const char *field, enum err *e)
{
    if (!input_known(v)) {
        *e = ERR_AGAIN;
        return NULL;
    }
    int at = mschema_find(v->scope->input, field);
    if (at < 0) {
        *e = ERR_AGAIN; /* reported where the parameter is checked */
        return NULL;
    }
    return v->scope->input->fields[at].type;
}

static enum err eval_all(struct eval *v)
{
    if (v->input) {
        return ERR_OK;
    }
    if (!input_known(v)) {
        return ERR_AGAIN;
    }
    for (unsigned i = 0; i < v->scope->input->count; i++) {
        mschema_put(v->out, v->scope->input->fields[i].name, v->scope->input->fields[i].type);
    }
    return ERR_OK;
}

static enum err eval_declared(struct eval *v)
{
    const struct mschema *declared = v->scope->declared;
    if (declared == NULL) {
        return ERR_NOTFOUND;
    }
    for (unsigned i = 0; i < declared->count; i++) {
        mschema_put(v->out, declared->fields[i].name, declared->fields[i].type);
    }
    return ERR_OK;
}

/* put_fields - the fields a parameter names; `type` NULL: with their types in the input. */
static enum err put_fields(struct eval *v, const char *param, const char *type)
{
    const json_t *value = json_object_get(v->scope->with, param);
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; value != NULL && i < count; i++) {
        const char *name =
            json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
        enum err e = ERR_INVALID;
        if (name == NULL) {
            continue; /* reported where the parameter is checked */
        }
        const char *give = type != NULL ? type : v->input ? "" : type_of_input(v, name, &e);
        if (give == NULL) {
            return e;
        }
        if (!text_is_field(name)) {
            return fail_set(v->f, ERR_INVALID, "use a letter, then letters, digits and _",
                            "'%.80s' cannot be the name of a field", name);
        }
        mschema_put(v->out, name, give);
    }
    return ERR_OK;
}

static enum err eval_constants(struct eval *v, const char *param)
{
    const json_t *map = json_object_get(v->scope->with, param);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const char *type = json_is_integer(value)   ? "i64"
                           : json_is_real(value)    ? "f64"
                           : json_is_boolean(value) ? "bool"
                           : json_is_string(value)  ? "str"
                                                    : NULL;
        if (!text_is_field(name)) {
            return fail_set(v->f, ERR_INVALID, "fields are named [A-Za-z_][A-Za-z0-9_]*",
                            "'%.80s' in '%s' is not a field name", name, param);
        }
        if (type == NULL) {
            return fail_set(v->f, ERR_INVALID, "give a number, text, true or false",
                            "'%.80s' in '%s' is not a constant", name, param);
        }
        mschema_put(v->out, name, type);
    }
    return ERR_OK;
}

static const char *output_type(const json_t *outputs, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach((json_t *)(uintptr_t)outputs, i, one)
    {
        const char *own = json_string_value(json_object_get(one, "name"));
        if (own != NULL && strcmp(own, name) == 0) {
            return json_string_value(json_object_get(one, "type"));
        }
    }
    return NULL;
}

static enum err put_output(struct eval *v, const json_t *outputs, const char *field,
                           const char *output)
{
    const char *type = output_type(outputs, output);
    char *canonical = type != NULL ? schema_type(type, NULL) : NULL;
    if (canonical == NULL) {
        return fail_set(v->f, ERR_INVALID, "see `oxbow model check`",
                        "the model has no output '%.80s'", output);
    }
    if (!text_is_field(field)) {
        mem_free(canonical);
        return fail_set(v->f, ERR_INVALID, "name it in `out: {FIELD: OUTPUT}`",
                        "the model's output '%.80s' cannot be the name of a field", field);
    }
    mschema_put(v->out, field, canonical);
    mem_free(canonical);
    return ERR_OK;
}

/* eval_model - `~param`: outputs of the model, {FIELD: OUTPUT} or all under their own names. */
static enum err eval_model(struct eval *v, const char *param)
{
    const json_t *outputs = json_object_get(v->scope->model, "outputs");
    const json_t *map = json_object_get(v->scope->with, param);
    enum err e = ERR_OK;
    const char *field;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, field, value)
    {
        const char *name = json_string_value(value);
        e = e == ERR_OK ? put_output(v, outputs, field, name != NULL ? name : "") : e;
    }
    for (size_t i = 0; json_object_size(map) == 0 && i < json_array_size(outputs); i++) {
        const char *own =
            json_string_value(json_object_get(json_array_get(outputs, i), "name"));
        e = e == ERR_OK && own != NULL ? put_output(v, outputs, own, own) : e;
    }
    return e;
}

/* value_is - does a parameter have this value, as text? */
static bool value_is(const json_t *value, const char *text)
{
    char number[32];
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return strcmp(number, text) == 0;
    }
    if (json_is_boolean(value)) {
        return strcmp(json_is_true(value) ? "true" : "false", text) == 0;
    }
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_set(const json_t *value)
{
    return value != NULL && !json_is_false(value) && !json_is_null(value) &&
           !(json_is_integer(value) && json_integer_value(value) == 0) &&
           !(json_is_real(value) && json_real_value(value) == 0);
}

/* eval_condition - `?param(...)`, `?param=word(...)`, `?param!=word(...)`; `item` is after the '?'.
 */
static enum err eval_condition(struct eval *v, char *item)
{
    char *open = strchr(item, '(');
    size_t bytes = strlen(item);
    if (open == NULL || item[bytes - 1] != ')' || v->depth >= EXPR_DEPTH_MAX) {
        return malformed(v, item);
    }
    const char *inside = open + 1;
    size_t inside_bytes = bytes - (size_t)(inside - item) - 1;
    *open = '\0';
    char *equals = strchr(item, '=');
    bool holds;
    if (equals == NULL) {
        holds = is_set(json_object_get(v->scope->with, item));
    } else {
        bool negated = equals > item && equals[-1] == '!';
        equals[negated ? -1 : 0] = '\0';
        holds = value_is(json_object_get(v->scope->with, item), equals + 1) != negated;
    }
    if (!holds) {
        return ERR_OK;
    }
    v->depth++;
    enum err e = eval_items(v, inside, inside_bytes);
    v->depth--;
    return e;
}

/* put_named - `name: type`, `name: $param`; in an input also `name: i64|f64`. */
static enum err put_named(struct eval *v, const char *name, const char *type)
{
    if (type[0] == '$') {
        const char *field = json_string_value(json_object_get(v->scope->with, type + 1));
        enum err e = ERR_AGAIN;
        const char *give = v->input ? "" : field != NULL ? type_of_input(v, field, &e) : NULL;
        if (give == NULL) {
            return e;
        }
        mschema_put(v->out, name, give);
        return ERR_OK;
    }
    if (v->input) {
        mschema_put(v->out, name, type);
        return ERR_OK;
    }
    char *canonical = schema_type(type, NULL);
    if (canonical == NULL || !text_is_field(name)) {
        mem_free(canonical);
        return malformed(v, name);
    }
    mschema_put(v->out, name, canonical);
    mem_free(canonical);
    return ERR_OK;
}

static enum err eval_item(struct eval *v, char *item)
{
    if (strcmp(item, "*") == 0) {
        return eval_all(v);
    }
    if (strcmp(item, "declared") == 0) {
        return eval_declared(v);
    }
    if (item[0] == '?') {
        return eval_condition(v, item + 1);
    }
    if (item[0] == '+') {
        return eval_constants(v, item + 1);
    }
    if (item[0] == '~') {
        return eval_model(v, item + 1);
    }
    char *colon = strchr(item, ':');
    const char *type = NULL;
    if (colon != NULL) {
        type = colon + 1 + strspn(colon + 1, " ");
        while (colon > item && colon[-1] == ' ') {
            colon--;
        }
        *colon = '\0';
    }
    if (item[0] == '$') {
        return put_fields(v, item + 1, type);
    }
    return type != NULL ? put_named(v, item, type) : malformed(v, item);
}

/* eval_items - the comma-separated items of expr[0..bytes). */
static enum err eval_items(struct eval *v, const char *expr, size_t bytes)
{
    size_t from = 0;
    int nested = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i <= bytes && e == ERR_OK; i++) {
        char c = i < bytes ? expr[i] : ',';
        nested += c == '(' || c == '[' ? 1 : c == ')' || c == ']' ? -1 : 0;
        if (i < bytes && (c != ',' || nested != 0)) {
            continue;
        }
        size_t to = i;
        while (from < to && expr[from] == ' ') {
            from++;
        }
        while (to > from && expr[to - 1] == ' ') {
            to--;
        }
        if (to > from) {
            char *item = mem_dup_n(expr + from, to - from);
            e = eval_item(v, item);
            mem_free(item);
        }
        from = i + 1;
    }
    return e;
}

enum err schema_output(const char *expr, const struct schema_scope *scope, struct mschema *out,
                       struct fail *f)
{
    struct eval v = {.scope = scope, .out = out, .f = f};
    *out = (struct mschema){0};
    const char *text = expr != NULL ? expr : "*";
    enum err e = eval_items(&v, text, strlen(text));
    if (e == ERR_OK && out->count > FIELDS_MAX) {
        e = fail_set(f, ERR_INVALID, "use fewer fields",
                     "an output has %u fields, at most %d are"
                     " allowed",
                     out->count, FIELDS_MAX);
    }
    if (e != ERR_OK) {
        mschema_fini(out);
        return e;
    }
    mschema_seal(out);
    return ERR_OK;
}

enum err schema_input(const char *expr, const struct schema_scope *scope, struct mschema *wanted,
                      struct fail *f)
{
    struct eval v = {.scope = scope, .out = wanted, .f = f, .input = true};
    *wanted = (struct mschema){0};
    enum err e = expr != NULL ? eval_items(&v, expr, strlen(expr)) : ERR_OK;
    if (e != ERR_OK) {
        mschema_fini(wanted);
    }
    return e;
}
