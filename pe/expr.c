/* pe/expr.c - schema expressions of ports, for the harness.
 *
 * Threads:    any; pure.
 * Invariants: X1 items are taken in order; a later field of the same name replaces the earlier one
 *                in its place.
 * Why:        the model resolves expressions from JSON descriptions; the harness has a type at hand
 *             and no model, and pe/ does not include topology/.
 * See:        pe/pe.h (struct oxb_port), tests/unit/pe/harness_test.c */
#include "pe/expr.h"

#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/batch.h"

#include <stdio.h>

struct fields { /* the schema being put together: name and type text */
    char names[FIELDS_MAX][NAME_BYTES_MAX + 1];
    char *types[FIELDS_MAX];
    unsigned count;
};

struct scope {
    const struct oxb_schema *in;
    const json_t *params;
    const char *declared;
};

static enum err take_items(struct fields *to, const char *expr, const struct scope *s,
                           struct fail *f);
static enum err take_item(struct fields *to, char *item, const struct scope *s, struct fail *f);
static enum err take_input_field(struct fields *to, const char *as, const char *name,
                                 const struct scope *s, struct fail *f);
static bool condition_holds(char *text, const struct scope *s);
static enum err take_by(struct fields *to, const char *param, const struct scope *s,
                        struct fail *f);
static enum err take_constants(struct fields *to, const char *param, const struct scope *s,
                               struct fail *f);
static enum err add(struct fields *to, const char *name, const char *type, struct fail *f);
static char *type_text(const struct oxb_schema *s, unsigned field);
static void fields_fini(struct fields *fields);

enum err expr_output(const char *expr, const struct oxb_schema *in, const json_t *params,
                     const char *declared, const struct oxb_schema **out, struct fail *f)
{
    struct fields *fields = mem_alloc(sizeof *fields);
    struct scope scope = {in, params, declared};
    enum err e = take_items(fields, expr, &scope, f);
    if (e == ERR_OK) {
        struct strbuf text = {0};
        for (unsigned i = 0; i < fields->count; i++) {
            strbuf_printf(&text, "%s%s: %s", i > 0 ? ", " : "", fields->names[i],
                          fields->types[i]);
        }
        e = schema_parse(strbuf_text(&text), out, f);
        strbuf_fini(&text);
    }
    fields_fini(fields);
    return e;
}

enum err expr_input(const char *expr, const struct oxb_schema *in, const json_t *params,
                    struct fail *f)
{
    if (expr == NULL || strcmp(expr, "*") == 0) {
        return ERR_OK;
    }
    struct fields *fields = mem_alloc(sizeof *fields);
    struct scope scope = {in, params, NULL};
    enum err e = take_items(fields, expr, &scope, f);
    for (unsigned i = 0; e == ERR_OK && i < fields->count; i++) {
        int k = oxb_field(in, fields->names[i]);
        char *have = k >= 0 ? type_text(in, (unsigned)k) : NULL;
        if (have == NULL || strcmp(have, fields->types[i]) != 0) {
            e = fail_set(f, ERR_INVALID, "", "the input needs the field `%s: %s`; it has `%.200s`",
                         fields->names[i], fields->types[i], in->text);
        }
        mem_free(have);
    }
    fields_fini(fields);
    return e;
}

/* take_items - split at commas that are in no brackets. */
static enum err take_items(struct fields *to, const char *expr, const struct scope *s,
                           struct fail *f)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && expr != NULL && *expr != '\0') {
        const char *end = expr;
        int depth = 0;
        while (*end != '\0' && (depth > 0 || *end != ',')) {
            depth += *end == '[' || *end == '(' ? 1 : *end == ']' || *end == ')' ? -1 : 0;
            end++;
        }
        while (*expr == ' ') {
            expr++;
        }
        char *item = mem_dup_n(expr, end > expr ? (size_t)(end - expr) : 0);
        for (size_t n = strlen(item); n > 0 && item[n - 1] == ' '; n--) {
            item[n - 1] = '\0';
        }
        e = take_item(to, item, s, f);
        mem_free(item);
        expr = *end == ',' ? end + 1 : end;
    }
    return e;
}

static enum err take_item(struct fields *to, char *item, const struct scope *s, struct fail *f)
{
    if (strcmp(item, "*") == 0) {
        enum err e = ERR_OK;
        for (unsigned i = 0; e == ERR_OK && s->in != NULL && i < s->in->field_count; i++) {
            const char *name = s->in->fields[i].name;
            e = take_input_field(to, name, name, s, f);
        }
        return e;
    }
    if (strcmp(item, "declared") == 0) {
        return s->declared != NULL ? take_items(to, s->declared, s, f)
                                   : fail_set(f, ERR_INVALID, "give the schema of the output", "%s",
                                              "the PE's output schema has to be declared");
    }
    if (item[0] == '$') {
        return take_by(to, item + 1, s, f);
    }
    if (item[0] == '+') {
        return take_constants(to, item + 1, s, f);
    }
    if (item[0] == '?') {
        char *open = strchr(item, '(');
        char *close = strrchr(item, ')');
        if (open == NULL || close == NULL || close < open) {
            return fail_set(f, ERR_INVALID, "", "malformed schema item `%.100s`", item);
        }
        *open = *close = '\0';
        return condition_holds(item + 1, s) ? take_items(to, open + 1, s, f) : ERR_OK;
    }
    char *colon = strchr(item, ':');
    if (colon == NULL) {
        return fail_set(f, ERR_INVALID, "", "malformed schema item `%.100s`", item);
    }
    *colon = '\0';
    char *type = colon + 1;
    while (*type == ' ') {
        type++;
    }
    if (type[0] != '$') {
        return add(to, item, type, f);
    }
    const char *name = json_string_value(json_object_get(s->params, type + 1));
    return name != NULL ? take_input_field(to, item, name, s, f)
                        : fail_set(f, ERR_INVALID, "", "the parameter `%s` names no field",
                                   type + 1);
}

/* condition_holds - `p`, `p=word` or `p!=word`; changes the text. */
static bool condition_holds(char *text, const struct scope *s)
{
    char *equals = strchr(text, '=');
    bool negated = equals != NULL && equals > text && equals[-1] == '!';
    if (equals != NULL) {
        equals[negated ? -1 : 0] = '\0';
    }
    const json_t *v = json_object_get(s->params, text);
    if (equals != NULL) {
        const char *word = json_string_value(v);
        return negated != (word != NULL && strcmp(word, equals + 1) == 0);
    }
    return v != NULL && !json_is_null(v) && !json_is_false(v) &&
           !(json_is_number(v) && json_number_value(v) == 0) &&
           !(json_is_string(v) && strcmp(json_string_value(v), "0") == 0);
}

static enum err take_input_field(struct fields *to, const char *as, const char *name,
                                 const struct scope *s, struct fail *f)
{
    int k = oxb_field(s->in, name);
    if (k < 0) {
        return fail_set(f, ERR_INVALID, "", "the input has no field `%s`; it has `%.200s`", name,
                        s->in != NULL ? s->in->text : "");
    }
    char *type = type_text(s->in, (unsigned)k);
    enum err e = add(to, as, type, f);
    mem_free(type);
    return e;
}

static enum err take_by(struct fields *to, const char *param, const struct scope *s,
                        struct fail *f)
{
    const json_t *v = json_object_get(s->params, param);
    if (json_is_string(v)) {
        const char *name = json_string_value(v);
        return take_input_field(to, name, name, s, f);
    }
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        e = take_input_field(to, name != NULL ? name : "", name != NULL ? name : "", s, f);
    }
    return e;
}

static enum err take_constants(struct fields *to, const char *param, const struct scope *s,
                               struct fail *f)
{
    const char *name;
    json_t *v;
    json_object_foreach (json_object_get(s->params, param), name, v) {
        const char *type = json_is_integer(v)   ? "i64"
                           : json_is_real(v)    ? "f64"
                           : json_is_boolean(v) ? "bool"
                           : json_is_string(v)  ? "str"
                                                : NULL;
        if (type == NULL) {
            return fail_set(f, ERR_INVALID, "", "the constant `%.60s` is no scalar", name);
        }
        enum err e = add(to, name, type, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err add(struct fields *to, const char *name, const char *type, struct fail *f)
{
    size_t bytes = strlen(name);
    while (bytes > 0 && name[bytes - 1] == ' ') {
        bytes--;
    }
    unsigned i = 0;
    while (i < to->count &&
           (strncmp(to->names[i], name, bytes) != 0 || to->names[i][bytes] != '\0')) {
        i++;
    }
    if (bytes > NAME_BYTES_MAX || i == FIELDS_MAX) {
        return fail_set(f, ERR_LIMIT, "", "too many fields, or the name `%.70s` is too long", name);
    }
    if (i == to->count) {
        memcpy(to->names[i], name, bytes);
        to->names[i][bytes] = '\0';
        to->count++;
    }
    mem_free(to->types[i]);
    to->types[i] = mem_dup(type);
    return ERR_OK;
}

static char *type_text(const struct oxb_schema *s, unsigned field)
{
    const struct oxb_field *f = &s->fields[field];
    struct strbuf out = {0};
    strbuf_text_add(&out, type_name(f->type));
    for (uint32_t d = 0; d < f->dim_count; d++) {
        strbuf_printf(&out, "%c%u", d == 0 ? '[' : ',', f->dims[d]);
    }
    strbuf_text_add(&out, f->dim_count > 0 ? "]" : "");
    return strbuf_take(&out);
}

static void fields_fini(struct fields *fields)
{
    for (unsigned i = 0; i < fields->count; i++) {
        mem_free(fields->types[i]);
    }
    mem_free(fields);
}
