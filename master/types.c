/* master/types.c - which PE types a topology may use: descriptions, never code. */
#include "master/types.h"

#include "core/log.h"
#include "core/mem.h"
#include "pe/registry.h"

#include <string.h>

void types_init(struct types *t)
{
    *t = (struct types){.builtins = describe_builtins()};
}

void types_fini(struct types *t)
{
    for (size_t i = 0; i < t->count; i++) {
        mem_free(t->plugins[i].json);
    }
    mem_free(t->plugins);
    mem_free(t->builtins);
    *t = (struct types){0};
}

const char *types_plugin(const struct types *t, const char *digest)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->plugins[i].digest, digest) == 0) {
            return t->plugins[i].json;
        }
    }
    return NULL;
}

void types_plugin_put(struct types *t, const char *digest, char *json TAKES)
{
    if (types_plugin(t, digest) != NULL || !sha256_is_hex(digest)) {
        mem_free(json);
        return;
    }
    t->plugins = mem_grow(t->plugins, t->count, &t->capacity, sizeof *t->plugins);
    struct plugin_types *p = &t->plugins[t->count++];
    memcpy(p->digest, digest, sizeof p->digest);
    p->json = json;
}

enum err types_describe(const char *path, char **json, struct fail *f)
{
    return describe_plugin("/proc/self/exe", path, json, f);
}

/* Add one more set of types to the catalogue and to the record. */
static enum err add(struct catalog *c, json_t *record, const char *json, const char *file,
                    const char *digest, struct fail *f)
{
    enum err e = catalog_add(c, json, file, digest, f);
    if (e == ERR_OK && record != NULL) {
        json_array_append_new(record, json_pack("{s:s?, s:s?, s:s}", "file", file, "digest",
                                                digest, "types", json));
    }
    return e;
}

static void add_members(struct catalog *c, json_t *record, const struct members *ms)
{
    for (size_t i = 0; i < ms->count; i++) {
        const struct member *w = ms->items[i];
        size_t k;
        json_t *type;
        if (w->state != MEMBER_UP) {
            continue;
        }
        json_array_foreach(w->types, k, type)
        {
            const char *name = json_string_value(json_object_get(type, "name"));
            if (name == NULL || catalog_find(c, name, NULL) != NULL) {
                continue; /* several workers of one program bring the same types */
            }
            struct fail f = {0};
            char *text = json_dumps(type, JSON_COMPACT);
            if (text == NULL || add(c, record, text, NULL, NULL, &f) != ERR_OK) {
                log_event(LOG_WARN, "types.refused", "worker=%s type=%s why=\"%s\"", w->name, name,
                          f.what);
            }
            mem_free(text);
        }
    }
}

enum err types_catalog(const struct types *t, const struct members *ms, json_t *artifacts,
                       struct catalog **out, char **record, struct fail *f)
{
    struct catalog *c = catalog_new();
    json_t *added = json_array();
    enum err e = add(c, NULL, t->builtins, NULL, NULL, f);
    add_members(c, added, ms);
    const char *file;
    json_t *digest;
    json_object_foreach(artifacts, file, digest)
    {
        const char *json = types_plugin(t, json_string_value(digest));
        if (e == ERR_OK && json != NULL) {
            e = add(c, added, json, file, json_string_value(digest), f);
        }
    }
    if (e != ERR_OK) {
        catalog_free(c);
    } else {
        *out = c;
        *record = json_dumps(added, JSON_COMPACT);
    }
    json_decref(added);
    return e;
}

enum err types_catalog_again(const struct types *t, const char *record, struct catalog **out,
                             struct fail *f)
{
    struct catalog *c = catalog_new();
    json_t *added = json_loads(record, 0, NULL);
    enum err e = add(c, NULL, t->builtins, NULL, NULL, f);
    size_t i;
    json_t *set;
    json_array_foreach(added, i, set)
    {
        const char *json = json_string_value(json_object_get(set, "types"));
        if (e == ERR_OK && json != NULL) {
            e = add(c, NULL, json, json_string_value(json_object_get(set, "file")),
                    json_string_value(json_object_get(set, "digest")), f);
        }
    }
    json_decref(added);
    if (e != ERR_OK) {
        catalog_free(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

json_t *types_json(const struct types *t, const struct members *ms)
{
    json_t *all = json_loads(t->builtins, 0, NULL);
    if (!json_is_array(all)) {
        json_decref(all);
        all = json_array();
    }
    for (size_t i = 0; i < ms->count; i++) {
        if (ms->items[i]->state == MEMBER_UP) {
            json_array_extend(all, ms->items[i]->types);
        }
    }
    return all;
}
