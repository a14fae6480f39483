/* topology/catalog.c - reads descriptions of PE code from JSON and finds them by `use:`. */
#include "topology/catalog.h"

#include "core/limits.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>

struct entry {
    struct pe_desc desc;
    char *file;   /* NULL: known by name */
    char *digest; /* NULL: none */
};

struct catalog {
    struct entry **entries; /* each allocated, so that borrowed descriptions stay where they are */
    size_t count, capacity;
    catalog_check_fn check; /* NULL: nobody to ask */
};

static void param_fini(struct param_desc *p)
{
    mem_free(p->name);
    mem_free(p->type);
    json_decref(p->fallback);
    for (unsigned i = 0; i < p->choice_count; i++) {
        mem_free(p->choices[i]);
    }
    mem_free(p->choices);
    mem_free(p->doc);
}

static void ports_free(struct port_desc *ports, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        mem_free(ports[i].name);
        mem_free(ports[i].schema);
        mem_free(ports[i].doc);
    }
    mem_free(ports);
}

static void entry_free(struct entry *e)
{
    struct pe_desc *d = &e->desc;
    for (unsigned i = 0; i < d->param_count; i++) {
        param_fini(&d->params[i]);
    }
    mem_free(d->params);
    ports_free(d->inputs, d->input_count);
    ports_free(d->outputs, d->output_count);
    mem_free(d->name);
    mem_free(d->doc);
    json_decref(d->json);
    mem_free(e->file);
    mem_free(e->digest);
    mem_free(e);
}

struct catalog *catalog_new(void)
{
    return mem_alloc(sizeof(struct catalog));
}

void catalog_free(struct catalog *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        entry_free(c->entries[i]);
    }
    mem_free(c->entries);
    mem_free(c);
}

static char *text_of(const json_t *object, const char *key) /* NULL when absent; caller frees */
{
    return mem_dup(json_string_value(json_object_get(object, key)));
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static enum err read_param(struct param_desc *p, const json_t *json, struct fail *f)
{
    static const char *const types[] = {"i64",    "f64", "bool",     "str",  "enum",
                                        "path",   "map", "address",  "size", "field",
                                        "fields", "any", "duration", NULL};
    p->name = text_of(json, "name");
    p->type = text_of(json, "type");
    p->doc = text_of(json, "doc");
    p->required = is_true(json, "required");
    p->writes = is_true(json, "writes");
    const json_t *fallback = json_object_get(json, "default");
    p->fallback = fallback == NULL || json_is_null(fallback) ? NULL : json_deep_copy(fallback);
    p->min = json_number_value(json_object_get(json, "min"));
    p->max = json_number_value(json_object_get(json, "max"));
    const json_t *choices = json_object_get(json, "choices");
    p->choices = mem_array(json_array_size(choices), sizeof p->choices[0]);
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const char *choice = json_string_value(json_array_get(choices, i));
        if (choice != NULL) {
            p->choices[p->choice_count++] = mem_dup(choice);
        }
    }
    unsigned t = 0;
    while (p->type != NULL && types[t] != NULL && strcmp(types[t], p->type) != 0) {
        t++;
    }
    if (p->name == NULL || !text_is_field(p->name) || p->type == NULL || types[t] == NULL) {
        return fail_set(f, ERR_INVALID, "correct the PE's table of parameters",
                        "a parameter is named \"%.80s\" and has the type \"%.80s\"",
                        p->name != NULL ? p->name : "", p->type != NULL ? p->type : "");
    }
    return ERR_OK;
}

static enum err read_ports(struct port_desc **ports, unsigned *count, const json_t *list,
                           struct fail *f)
{
    size_t n = json_array_size(list);
    if (n > PORTS_MAX) {
        return fail_set(f, ERR_LIMIT, "use fewer ports",
                        "a PE has %zu ports, at most %d are allowed", n, PORTS_MAX);
    }
    *ports = mem_array(n, sizeof(struct port_desc));
    for (size_t i = 0; i < n; i++) {
        const json_t *json = json_array_get(list, i);
        struct port_desc *p = &(*ports)[(*count)++];
        p->name = text_of(json, "name");
        p->schema = text_of(json, "schema");
        p->doc = text_of(json, "doc");
        if (p->name == NULL || !(text_is_name(p->name) || text_is_field(p->name))) {
            return fail_set(f, ERR_INVALID, "name ports [a-z][a-z0-9-]*",
                            "a port is named \"%.80s\"", p->name != NULL ? p->name : "");
        }
    }
    return ERR_OK;
}

static enum err read_desc(struct pe_desc *d, json_t *json, struct fail *f)
{
    d->json = json_incref(json);
    d->name = text_of(json, "name");
    d->doc = text_of(json, "doc");
    d->source = is_true(json, "source");
    d->many = is_true(json, "many");
    d->replayable = is_true(json, "replayable");
    d->own_thread = is_true(json, "own_thread");
    d->local = is_true(json, "local");
    d->effects = is_true(json, "effects");
    d->merges = is_true(json, "merges");
    d->stateful = json_array_size(json_object_get(json, "states")) > 0;
    d->snapshots = is_true(json, "snapshots");
    d->commits = d->snapshots && is_true(json, "commits");
    d->migrates = is_true(json, "migrates");
    json_int_t version = json_integer_value(json_object_get(json, "state_version"));
    d->state_version = version > 0 && version <= UINT32_MAX ? (uint32_t)version : 1;
    if (d->name == NULL || !text_is_name(d->name)) {
        return fail_set(f, ERR_INVALID, "name PE types [a-z][a-z0-9-]*",
                        "a PE type is named \"%.80s\"", d->name != NULL ? d->name : "");
    }
    const json_t *params = json_object_get(json, "params");
    if (json_array_size(params) > PARAMS_MAX) {
        return fail_set(f, ERR_LIMIT, "use a parameter of type map for open lists",
                        "%s has %zu parameters, at most %d are allowed", d->name,
                        json_array_size(params), PARAMS_MAX);
    }
    d->params = mem_array(json_array_size(params), sizeof d->params[0]);
    for (size_t i = 0; i < json_array_size(params); i++) {
        enum err e = read_param(&d->params[d->param_count++], json_array_get(params, i), f);
        if (e != ERR_OK) {
            return e;
        }
    }
    enum err e = read_ports(&d->inputs, &d->input_count, json_object_get(json, "inputs"), f);
    return e != ERR_OK
               ? e
               : read_ports(&d->outputs, &d->output_count, json_object_get(json, "outputs"), f);
}

static bool same_text(const char *a, const char *b) /* NULL equals NULL only */
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static enum err add_one(struct catalog *c, json_t *json, const char *file, const char *digest,
                        struct fail *f)
{
    struct entry *e = mem_alloc(sizeof *e);
    e->file = mem_dup(file);
    e->digest = mem_dup(digest);
    enum err err = read_desc(&e->desc, json, f);
    for (size_t i = 0; err == ERR_OK && i < c->count; i++) {
        if (same_text(c->entries[i]->file, file) &&
            strcmp(c->entries[i]->desc.name, e->desc.name) == 0) {
            err = fail_set(f, ERR_EXISTS, "give one of them another name",
                           "the PE type %s is described twice", e->desc.name);
        }
    }
    if (err != ERR_OK) {
        entry_free(e);
        return err;
    }
    c->entries = mem_grow(c->entries, c->count, &c->capacity, sizeof(struct entry *));
    c->entries[c->count++] = e;
    return ERR_OK;
}

enum err catalog_add(struct catalog *c, const char *text, const char *file, const char *digest,
                     struct fail *f)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        return fail_set(f, ERR_INVALID, "", "a description of PE types is not JSON: %s",
                        error.text);
    }
    enum err err = ERR_OK;
    if (json_is_array(json)) {
        for (size_t i = 0; err == ERR_OK && i < json_array_size(json); i++) {
            err = add_one(c, json_array_get(json, i), file, digest, f);
        }
    } else {
        err = add_one(c, json, file, digest, f);
    }
    json_decref(json);
    return err;
}

/* matches - `use` is the name, the file, or file:name of this entry. */
static bool matches(const struct entry *e, const char *use)
{
    if (e->file == NULL) {
        return strcmp(e->desc.name, use) == 0;
    }
    size_t bytes = strlen(e->file);
    if (strncmp(e->file, use, bytes) != 0) {
        return false;
    }
    return use[bytes] == '\0' || (use[bytes] == ':' && strcmp(use + bytes + 1, e->desc.name) == 0);
}

const struct pe_desc *catalog_find(const struct catalog *c, const char *use, const char **digest)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct entry *e = c->entries[i];
        if (matches(e, use)) {
            if (digest != NULL) {
                *digest = e->digest;
            }
            return &e->desc;
        }
    }
    return NULL;
}

const char *catalog_nearest(const struct catalog *c, const char *use)
{
    const char **names = mem_array(c->count, sizeof names[0]);
    for (size_t i = 0; i < c->count; i++) {
        const struct entry *e = c->entries[i];
        names[i] = e->file != NULL ? e->file : e->desc.name;
    }
    const char *nearest = text_nearest(use, names, c->count);
    mem_free(names);
    return nearest;
}

void catalog_each(const struct catalog *c, void (*fn)(void *arg, const struct pe_desc *d),
                  void *arg)
{
    for (size_t i = 0; i < c->count; i++) {
        fn(arg, &c->entries[i]->desc);
    }
}

void catalog_set_check(struct catalog *c, catalog_check_fn fn)
{
    c->check = fn;
}

enum err catalog_check(const struct catalog *c, const struct catalog_wiring *w, struct fail *f)
{
    return c->check != NULL ? c->check(w, f) : ERR_OK;
}
