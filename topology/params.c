/* topology/params.c - `with:` against the table of parameters a PE declares.
 *
 * Invariants: P1 equal meaning gives equal JSON: durations become their shortest text, sizes a
 * number of bytes, paths absolute, `fields` always a list. */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

struct param_at { /* one value being read */
    struct draft *dr;
    const struct pe *pe;
    const struct param_desc *param;
};

static json_t *complain(const struct param_at *at, const struct ynode *n, char *hint TAKES,
                        const char *not_a)
{
    bool shown = n->kind == Y_SCALAR && n->text[0] != '\0';
    diags_error(at->dr->d, n->at, hint, "'%s' of '%s' is %s%.60s%s, not %s", at->param->name,
                at->pe->name, shown ? "'" : "", shown ? n->text : ytree_kind_text(n),
                shown ? "'" : "", not_a);
    return NULL;
}

static json_t *text_json(const char *s)
{
    return json_string(s); /* ytree_parse gives UTF-8 only */
}

static bool in_range(const struct param_at *at, const struct ynode *n, double value)
{
    const struct param_desc *p = at->param;
    if ((p->min == 0 && p->max == 0) || (value >= p->min && value <= p->max)) {
        return true;
    }
    diags_error(at->dr->d, n->at, mem_printf("use %g to %g", p->min, p->max),
                "'%s' of '%s' is %.60s: out of range", p->name, at->pe->name, n->text);
    return false;
}

static json_t *read_number(const struct param_at *at, const struct ynode *n)
{
    bool whole = strcmp(at->param->type, "i64") == 0;
    int64_t integer = 0;
    double real = 0;
    bool good = n->kind == Y_SCALAR && !n->quoted &&
                (whole ? text_parse_i64(n->text, &integer) : text_parse_f64(n->text, &real));
    if (!good) {
        bool quoted_number = n->kind == Y_SCALAR && n->quoted && text_parse_f64(n->text, &real);
        return complain(at, n, quoted_number ? mem_dup("remove the quotes") : NULL,
                        whole ? "a whole number" : "a number");
    }
    if (!in_range(at, n, whole ? (double)integer : real)) {
        return NULL;
    }
    return whole ? json_integer(integer) : json_real(real);
}

static json_t *read_unit(const struct param_at *at, const struct ynode *n)
{
    int64_t value;
    if (strcmp(at->param->type, "size") == 0) {
        if (n->kind != Y_SCALAR || !text_parse_size(n->text, &value)) {
            return complain(at, n, mem_dup("write 512, 64KiB, 1MiB or 2GB"), "a size");
        }
        return in_range(at, n, (double)value) ? json_integer(value) : NULL;
    }
    if (n->kind != Y_SCALAR || !text_parse_duration_us(n->text, &value)) {
        return complain(at, n, mem_dup("write 10ms, 5s, 2m or 1h"), "a duration");
    }
    char text[32];
    text_duration(value, text, sizeof text);
    return in_range(at, n, (double)value) ? text_json(text) : NULL;
}

static json_t *read_flag(const struct param_at *at, const struct ynode *n)
{
    if (n->kind == Y_SCALAR && !n->quoted && strcmp(n->text, "true") == 0) {
        return json_true();
    }
    if (n->kind == Y_SCALAR && !n->quoted && strcmp(n->text, "false") == 0) {
        return json_false();
    }
    return complain(at, n, mem_dup("write true or false"), "true or false");
}

static json_t *read_word(const struct param_at *at, const struct ynode *n)
{
    const struct param_desc *p = at->param;
    for (unsigned i = 0; n->kind == Y_SCALAR && i < p->choice_count; i++) {
        if (strcmp(p->choices[i], n->text) == 0) {
            return text_json(n->text);
        }
    }
    const char *word = n->kind == Y_SCALAR ? n->text : "";
    return complain(at, n, hint_nearest(word, (const char *const *)p->choices, p->choice_count),
                    "one of its choices");
}

/* read_path - absolute against the folder of the topology, without "." and empty parts. */
static json_t *read_path(const struct param_at *at, const struct ynode *n)
{
    if (n->kind != Y_SCALAR || n->text[0] == '\0') {
        return complain(at, n, mem_dup("write the path of a file"), "a path");
    }
    struct strbuf out = {0};
    const char *parts[2] = {n->text[0] == '/' ? "" : at->dr->base_dir, n->text};
    for (size_t i = 0; i < 2; i++) {
        for (const char *p = parts[i]; *p != '\0';) {
            size_t bytes = strcspn(p, "/");
            if (bytes > 0 && !(bytes == 1 && p[0] == '.')) {
                strbuf_char(&out, '/');
                strbuf_add(&out, p, bytes);
            }
            p += bytes + (p[bytes] == '/');
        }
    }
    json_t *path = out.bytes < PATH_BYTES_MAX ? text_json(out.bytes > 0 ? strbuf_text(&out) : "/")
                                              : complain(at, n, NULL, "a path this system takes");
    strbuf_fini(&out);
    return path;
}

static json_t *read_address(const struct param_at *at, const struct ynode *n)
{
    const char *colon = n->kind == Y_SCALAR ? strrchr(n->text, ':') : NULL;
    int64_t port;
    if (colon == NULL || colon == n->text || colon[1] == '+' || !text_parse_i64(colon + 1, &port) ||
        port < 0 || port > 65535) {
        return complain(at, n, mem_dup("write HOST:PORT, for example 127.0.0.1:9000"),
                        "an address");
    }
    return text_json(n->text);
}

static json_t *read_field(const struct param_at *at, const struct ynode *n)
{
    if (n->kind != Y_SCALAR || !text_is_field(n->text)) {
        return complain(at, n, mem_dup("write the name of a field of the input"), "a field name");
    }
    return text_json(n->text);
}

static json_t *read_fields(const struct param_at *at, const struct ynode *n)
{
    json_t *list = json_array();
    size_t count = n->kind == Y_LIST ? n->count : 1;
    if (count == 0 || count > FIELDS_MAX) {
        json_decref(list);
        return complain(at, n, mem_dup("name at least one field"), "a list of fields");
    }
    for (size_t i = 0; i < count; i++) {
        const struct ynode *item = n->kind == Y_LIST ? n->items[i] : n;
        json_t *name = read_field(at, item);
        for (size_t k = 0; name != NULL && k < json_array_size(list); k++) {
            if (json_equal(name, json_array_get(list, k))) {
                diags_error(at->dr->d, item->at, mem_dup("name each field once"),
                            "'%s' of '%s' names the field '%s' twice", at->param->name,
                            at->pe->name, item->text);
            }
        }
        if (name == NULL) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, name);
    }
    return list;
}

/* read_scalar - a value without a declared type: what it looks like decides. */
static json_t *read_scalar(const struct param_at *at, const struct ynode *n)
{
    int64_t integer;
    double real;
    if (n->kind != Y_SCALAR || ytree_is_null(n)) {
        return complain(at, n, mem_dup("give a number, text, true or false"), "a single value");
    }
    if (n->quoted) {
        return text_json(n->text);
    }
    if (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0) {
        return json_boolean(n->text[0] == 't');
    }
    if (text_parse_i64(n->text, &integer)) {
        return json_integer(integer);
    }
    return text_parse_f64(n->text, &real) ? json_real(real) : text_json(n->text);
}

static json_t *read_names(const struct param_at *at, const struct ynode *n) /* a map */
{
    json_t *map = json_object();
    if (n->kind != Y_MAP) {
        json_decref(map);
        return complain(at, n, mem_dup("write {name: value, ...}"), "a mapping");
    }
    bool good = true;
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        const struct ynode *key = n->items[i], *value = n->items[i + 1];
        json_t *json = NULL;
        if (key->kind != Y_SCALAR) {
            good = false; /* reported by ytree_parse */
            continue;
        }
        if (value->kind == Y_LIST) { /* {MODEL_INPUT: [FIELD, ...]} */
            json = json_array();
            for (size_t k = 0; k < value->count; k++) {
                json_t *item = read_scalar(at, value->items[k]);
                good = good && item != NULL;
                json_array_append_new(json, item != NULL ? item : json_null());
            }
        } else {
            json = read_scalar(at, value);
        }
        good = good && json != NULL;
        json_object_set_new(map, key->text, json != NULL ? json : json_null());
    }
    if (!good) {
        json_decref(map);
        return NULL;
    }
    return map;
}

static json_t *read_string(const struct param_at *at, const struct ynode *n)
{
    if (n->kind != Y_SCALAR || ytree_is_null(n)) {
        return complain(at, n, mem_dup("write text, in quotes where YAML needs them"), "text");
    }
    return text_json(n->text);
}

static json_t *read_value(const struct param_at *at, const struct ynode *n)
{
    static const struct {
        const char *type;
        json_t *(*read)(const struct param_at *at, const struct ynode *n);
    } readers[] = {
        {"i64", read_number},      {"f64", read_number},    {"bool", read_flag},
        {"str", read_string},      {"enum", read_word},     {"path", read_path},
        {"address", read_address}, {"duration", read_unit}, {"size", read_unit},
        {"field", read_field},     {"fields", read_fields}, {"any", read_scalar},
        {"map", read_names},
    };
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        if (strcmp(readers[i].type, at->param->type) == 0) {
            return readers[i].read(at, n);
        }
    }
    return complain(at, n, mem_dup("the PE's description is newer than this program"),
                    "of a type known here");
}

/* node_of - a default, which came as JSON, as if it stood in the YAML. */
static struct ynode *node_of(const json_t *json, const char *type)
{
    struct ynode *n = mem_alloc(sizeof *n);
    char number[64];
    n->kind = Y_SCALAR;
    n->quoted = json_is_string(json) && strcmp(type, "any") == 0;
    if (json_is_array(json)) {
        n->kind = Y_LIST;
        n->items = mem_array(json_array_size(json), sizeof n->items[0]);
        for (size_t i = 0; i < json_array_size(json); i++) {
            n->items[n->count++] = node_of(json_array_get(json, i), type);
        }
    } else if (json_is_string(json)) {
        n->text = mem_dup(json_string_value(json));
    } else if (json_is_integer(json)) {
        snprintf(number, sizeof number, "%lld%s", (long long)json_integer_value(json),
                 strcmp(type, "duration") == 0 ? "us" : "");
        n->text = mem_dup(number);
    } else if (json_is_real(json)) {
        char *text = json_dumps(json, JSON_ENCODE_ANY);
        n->text = mem_dup(text != NULL ? text : "0");
        mem_free(text);
    } else {
        n->text = mem_dup(json_is_true(json) ? "true" : json_is_false(json) ? "false" : "");
    }
    return n;
}

/* fill_default - P1 holds for defaults too, so they go through the same readers. */
static void fill_default(struct draft *dr, struct pe *p, const struct param_desc *desc)
{
    struct diags quiet = {0};
    struct draft silent = *dr;
    silent.d = &quiet;
    struct ynode *n = node_of(desc->fallback, desc->type);
    const struct param_at at = {&silent, p, desc};
    json_t *value =
        json_is_object(desc->fallback) ? json_deep_copy(desc->fallback) : read_value(&at, n);
    if (value != NULL) {
        json_object_set_new(p->with, desc->name, value);
    } else {
        diags_error(dr->d, p->at, mem_dup("correct the PE's table of parameters"),
                    "the default of '%s' of '%s' does not have its type", desc->name, p->use);
    }
    ytree_free(n);
    diags_fini(&quiet);
}

static const struct param_desc *find_param(const struct pe_desc *d, const char *name)
{
    for (unsigned i = 0; i < d->param_count; i++) {
        if (strcmp(d->params[i].name, name) == 0) {
            return &d->params[i];
        }
    }
    return NULL;
}

static void unknown_param(struct draft *dr, const struct pe *p, const struct ynode *key)
{
    const char *names[PARAMS_MAX];
    for (unsigned i = 0; i < p->desc->param_count; i++) {
        names[i] = p->desc->params[i].name;
    }
    char *hint = p->desc->param_count == 0 ? mem_printf("'%s' takes no parameters", p->use)
                                           : hint_nearest(key->text, names, p->desc->param_count);
    diags_error(dr->d, key->at, hint, "'%s' has no parameter '%.80s'", p->use, key->text);
}

void params_read(struct draft *dr, struct pe *p, const struct dpe *at)
{
    const struct ynode *with = ytree_is_null(at->with) ? NULL : at->with;
    if (with != NULL && with->kind != Y_MAP) {
        diags_error(dr->d, with->at, mem_dup("write {name: value, ...}"),
                    "'with' of '%s' is %s, not a mapping", p->name, ytree_kind_text(with));
        return;
    }
    for (size_t i = 0; with != NULL && i + 1 < with->count; i += 2) {
        const struct ynode *key = with->items[i];
        const struct param_desc *desc =
            key->kind == Y_SCALAR ? find_param(p->desc, key->text) : NULL;
        if (key->kind != Y_SCALAR) {
            continue; /* reported by ytree_parse */
        }
        if (desc == NULL) {
            unknown_param(dr, p, key);
            continue;
        }
        const struct param_at where = {dr, p, desc};
        json_t *value = read_value(&where, with->items[i + 1]);
        if (value != NULL) {
            json_object_set_new(p->with, desc->name, value);
        }
    }
    for (unsigned i = 0; i < p->desc->param_count; i++) {
        const struct param_desc *desc = &p->desc->params[i];
        if (ytree_get(with, desc->name) != NULL) {
            continue;
        }
        if (desc->required) {
            diags_error(dr->d, p->at, mem_printf("add it: `with: {%s: ...}`", desc->name),
                        "'%s' lacks the parameter '%s' (%s) that '%s' requires", p->name,
                        desc->name, desc->type, p->use);
        } else if (desc->fallback != NULL) {
            fill_default(dr, p, desc);
        }
    }
}

/* check_field - one named field against the input.  @n: where it is named; NULL: a default. */
static void check_field(struct draft *dr, const struct pe *p, const struct param_desc *desc,
                        const char *name, const struct ynode *n)
{
    const struct mschema *input = &p->inputs[0].schema;
    if (mschema_find(input, name) >= 0) {
        return;
    }
    const char **names = mem_array(input->count, sizeof names[0]);
    for (unsigned i = 0; i < input->count; i++) {
        names[i] = input->fields[i].name;
    }
    char *hint = hint_nearest(name, names, input->count);
    if (n == NULL && hint == NULL) {
        hint = mem_printf("set '%s'", desc->name);
    }
    diags_error(dr->d, n != NULL ? n->at : p->at, hint,
                "'%s' of '%s' names the field '%s', which its input does not have", desc->name,
                p->name, name);
    mem_free(names);
}

void params_check_fields(struct draft *dr, const struct pe *p, const struct dpe *at)
{
    if (p->input_count == 0 || !mschema_known(&p->inputs[0].schema)) {
        return;
    }
    for (unsigned i = 0; i < p->desc->param_count; i++) {
        const struct param_desc *desc = &p->desc->params[i];
        const json_t *value = json_object_get(p->with, desc->name);
        const struct ynode *n = ytree_get(at->with, desc->name);
        if (strcmp(desc->type, "field") == 0 && value != NULL) {
            check_field(dr, p, desc, json_string_value(value), n);
        } else if (strcmp(desc->type, "fields") == 0) {
            for (size_t k = 0; k < json_array_size(value); k++) {
                const struct ynode *item = n != NULL && n->kind == Y_LIST ? n->items[k] : n;
                check_field(dr, p, desc, json_string_value(json_array_get(value, k)), item);
            }
        }
    }
}
