/* cli/load.c - a topology file with all it names: text, plug-ins and their digests, the model.
 *
 * Invariants: L1 foreign code runs only in the child of describe_plugin.
 * See:        tests/unit/cli/load_test.c */
#include "cli/load.h"

#include "core/file.h"
#include "core/mem.h"
#include "core/text.h"
#include "pe/registry.h"
#include "topology/diag.h"
#include "topology/yaml.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* real_dir_of - without symbolic links and `..`, so that equal places give equal digests. */
static char *real_dir_of(const char *file)
{
    char real[PATH_MAX];
    char *dir = file_dir_of(file);
    if (realpath(dir, real) != NULL) {
        mem_free(dir);
        return mem_dup(real);
    }
    return dir;
}

static void digest_file(struct load_file *file)
{
    file->missing = sha256_file(file->path, file->digest, &file->why) != ERR_OK;
}

enum err load_read(const char *file, struct loaded *out, struct fail *f)
{
    memset(out, 0, sizeof *out);
    enum err e = file_read(file, YAML_BYTES_MAX, &out->yaml, &out->yaml_bytes, f);
    if (e == ERR_LIMIT) { /* a problem of the file like any other */
        out->file = mem_dup(file);
        diags_error(&out->diags, (struct place_at){1, 1}, mem_dup("split it"),
                    "the file is larger than %u bytes", YAML_BYTES_MAX);
        return ERR_OK;
    }
    if (e != ERR_OK) {
        return e;
    }
    out->file = mem_dup(file);
    out->base_dir = real_dir_of(file);
    json_t *names = topology_files(out->yaml, out->yaml_bytes, &out->diags);
    out->file_count = json_array_size(names);
    out->files = mem_array(out->file_count, sizeof *out->files);
    for (size_t i = 0; i < out->file_count; i++) {
        const char *use = json_string_value(json_array_get(names, i));
        out->files[i].use = mem_dup(use);
        out->files[i].path = file_join(out->base_dir, strncmp(use, "./", 2) == 0 ? use + 2 : use);
        digest_file(&out->files[i]);
    }
    json_decref(names);
    return ERR_OK;
}

static void describe_file(struct loaded *l, struct load_file *file, const char *program)
{
    char *json = NULL;
    if (file->missing) {
        return;
    }
    enum err e = describe_plugin(program, file->path, &json, &file->why);
    if (e == ERR_OK) {
        e = catalog_add(l->catalog, json, file->use, file->digest, &file->why);
    }
    file->missing = e != ERR_OK;
    mem_free(json);
}

/* place_of - where the text names a file first, after `use:` or `model:`. */
static struct place_at place_of(const struct loaded *l, const char *use)
{
    struct place_at at = {1, 1};
    uint32_t line = 1;
    size_t use_bytes = strlen(use);
    const char *line_start = l->yaml;
    for (const char *p = l->yaml; p < l->yaml + l->yaml_bytes; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        } else if (strncmp(p, use, use_bytes) == 0) {
            size_t before = (size_t)(p - line_start);
            if (memmem(line_start, before, "use:", 4) != NULL ||
                memmem(line_start, before, "model:", 6) != NULL) {
                at.line = line;
                at.column = (uint32_t)(p - line_start) + 1;
                return at;
            }
        }
    }
    return at;
}

/* report_file - say why a plug-in is no use, instead of the model's "unknown PE" at that place. */
static void report_file(struct loaded *l, const struct load_file *file)
{
    struct diags *d = &l->diags;
    struct place_at at = place_of(l, file->use);
    char *hint = file->why.hint[0] != '\0' ? mem_dup(file->why.hint) : NULL;
    for (size_t i = 0; i < d->count; i++) {
        if (d->items[i].at.line == at.line && strstr(d->items[i].message, file->use) != NULL) {
            mem_free(d->items[i].message);
            mem_free(d->items[i].hint);
            d->items[i].message = mem_printf("%s: %s", file->use, file->why.what);
            d->items[i].hint = hint;
            return;
        }
    }
    diags_error(d, at, hint, "%s: %s", file->use, file->why.what);
    diags_sort(d);
}

static enum err check_wiring(const struct catalog_wiring *w, struct fail *f)
{
    return wiring_check(w->use, w->params, w->in, w->declared, w->out, f);
}

void load_check(struct loaded *l, const char *program)
{
    struct fail f;
    if (l->yaml == NULL) {
        return; /* load_read has said why */
    }
    l->catalog = catalog_new();
    char *builtins = describe_builtins();
    if (catalog_add(l->catalog, builtins, NULL, NULL, &f) != ERR_OK) {
        abort(); /* our own descriptions: a unit test holds them valid */
    }
    mem_free(builtins);
    catalog_set_check(l->catalog, check_wiring);
    for (size_t i = 0; i < l->file_count; i++) {
        describe_file(l, &l->files[i], program);
    }
    diags_fini(&l->diags); /* topology_parse reports what topology_files did, more fully */
    memset(&l->diags, 0, sizeof l->diags);
    l->topology = topology_parse(l->yaml, l->yaml_bytes, l->base_dir, l->catalog, &l->diags);
    for (size_t i = 0; i < l->file_count; i++) {
        if (l->files[i].missing) {
            report_file(l, &l->files[i]);
        }
    }
    if (l->diags.errors > 0) {
        topology_free(l->topology);
        l->topology = NULL;
    }
}

char *load_name(const struct loaded *l)
{
    struct diags d = {0};
    struct ynode *root = l->yaml != NULL ? ytree_parse(l->yaml, l->yaml_bytes, &d) : NULL;
    const struct ynode *name = ytree_get(root, "topology");
    bool ok = name != NULL && name->text != NULL && text_is_name(name->text);
    char *copy = ok ? mem_dup(name->text) : NULL;
    ytree_free(root);
    diags_fini(&d);
    return copy;
}

bool load_has_missing(const struct loaded *l)
{
    for (size_t i = 0; i < l->file_count; i++) {
        if (l->files[i].missing) {
            return true;
        }
    }
    return false;
}

void load_fini(struct loaded *l)
{
    topology_free(l->topology);
    if (l->catalog != NULL) {
        catalog_free(l->catalog);
    }
    diags_fini(&l->diags);
    for (size_t i = 0; i < l->file_count; i++) {
        mem_free(l->files[i].use);
        mem_free(l->files[i].path);
    }
    mem_free(l->files);
    mem_free(l->base_dir);
    mem_free(l->yaml);
    mem_free(l->file);
    memset(l, 0, sizeof *l);
}
