/* topology/parse.c - the top level of the YAML format, and the order of all steps of reading it. */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum root_key { OXBOW, TOPOLOGY, PES, STREAMS, CHECKPOINT, UPGRADE, FUSION, ROOT_KEYS };
static const char *const root_keys[ROOT_KEYS] = {"oxbow",      "topology", "pes",   "streams",
                                                 "checkpoint", "upgrade",  "fusion"};

static void read_version(struct draft *dr, const struct ynode *n, struct place_at root)
{
    if (n == NULL) {
        diags_error(dr->d, root, mem_dup("write `oxbow: 1` as the first line"),
                    "the format version is missing");
        return;
    }
    uint32_t version;
    if (!read_u32(dr->d, n, "'oxbow' (the format version)", 1, UINT32_MAX, &version)) {
        return;
    }
    if (version != 1) {
        diags_error(dr->d, n->at, mem_dup("write 1, or use a newer oxbow"),
                    "format version %u is not known here", version);
    }
}

static void read_location(struct draft *dr, const struct ynode *n)
{
    const char *text;
    if (!read_text(dr->d, n, "'location'", &text) || strcmp(text, "master") == 0) {
        return;
    }
    if (strncmp(text, "file:///", 8) != 0 || strlen(text) >= PATH_BYTES_MAX) {
        diags_error(dr->d, n->at, mem_dup("write `master`, or file:///PATH of a folder all share"),
                    "checkpoints cannot be kept at '%.80s'", text);
        return;
    }
    dr->t->checkpoint_location = mem_dup(text);
}

static void read_checkpoint(struct draft *dr, const struct ynode *n)
{
    static const char *const keys[] = {"every", "keep", "location", "retain"};
    const struct ynode *v[COUNT(keys)];
    if (!read_map(dr->d, n, "'checkpoint'", keys, COUNT(keys), v) && n->kind != Y_MAP) {
        return;
    }
    if (v[0] == NULL) {
        diags_error(dr->d, n->at, mem_dup("write {every: 10s}"), "'checkpoint' lacks 'every'");
    } else {
        (void)read_duration_us(dr->d, v[0], "'every'", 10000, &dr->t->checkpoint_every_us);
    }
    if (v[1] != NULL) {
        (void)read_u32(dr->d, v[1], "'keep'", 1, 1000, &dr->t->checkpoint_keep);
    }
    if (v[2] != NULL) {
        read_location(dr, v[2]);
    }
    if (v[3] != NULL) {
        (void)read_size(dr->d, v[3], "'retain'", RETAIN_BYTES_MAX, &dr->t->checkpoint_retain_bytes);
    }
}

static const char *const consistencies[] = {"exact", "per-pe", "global"};

const char *consistency_name(enum consistency c)
{
    return consistencies[c];
}

static void read_upgrade(struct draft *dr, const struct ynode *n)
{
    static const char *const keys[] = {"consistency", "timeout"};
    const struct ynode *v[COUNT(keys)];
    unsigned choice = 0;
    if (!read_map(dr->d, n, "'upgrade'", keys, COUNT(keys), v) && n->kind != Y_MAP) {
        return;
    }
    if (v[0] != NULL && read_choice(dr->d, v[0], "'consistency'", consistencies,
                                    COUNT(consistencies), &choice)) {
        dr->t->consistency = (enum consistency)choice;
    }
    if (v[1] != NULL) {
        (void)read_duration_us(dr->d, v[1], "'timeout'", 1000, &dr->t->upgrade_timeout_us);
    }
}

static void read_root(struct draft *dr, const struct ynode *root)
{
    static const char *const fusions[] = {"auto", "off"};
    const struct ynode *v[ROOT_KEYS];
    const char *name = NULL;
    unsigned choice = 0;
    (void)read_map(dr->d, root, "the topology", root_keys, ROOT_KEYS, v);
    if (root->kind != Y_MAP) {
        return;
    }
    read_version(dr, v[OXBOW], root->at);
    if (v[TOPOLOGY] == NULL) {
        diags_error(dr->d, root->at, mem_dup("write `topology: NAME`"), "the topology has no name");
    } else if (read_name(dr->d, v[TOPOLOGY], "a topology", &name)) {
        dr->t->name = mem_dup(name);
    }
    if (v[FUSION] != NULL && read_choice(dr->d, v[FUSION], "'fusion'", fusions, 2, &choice)) {
        dr->t->fusion = choice == 0;
    }
    if (v[CHECKPOINT] != NULL) {
        read_checkpoint(dr, v[CHECKPOINT]);
    }
    if (v[UPGRADE] != NULL) {
        read_upgrade(dr, v[UPGRADE]);
    }
    if (v[PES] == NULL) {
        diags_error(dr->d, root->at, mem_dup("add `pes:` with at least one PE"),
                    "the topology has no PEs");
    } else {
        parse_pes(dr, v[PES]);
    }
    if (v[STREAMS] != NULL) {
        parse_streams(dr, v[STREAMS]);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct stream *)a)->name, ((const struct stream *)b)->name);
}

struct topology *topology_parse(const char *yaml, size_t bytes, const char *base_dir,
                                const struct catalog *c, struct diags *d)
{
    size_t errors = d->errors;
    struct ynode *root = ytree_parse(yaml, bytes, d);
    if (root == NULL) {
        diags_sort(d);
        return NULL;
    }
    struct topology *t = mem_alloc(sizeof *t);
    struct draft dr = {.catalog = c, .base_dir = base_dir != NULL ? base_dir : "/", .d = d, .t = t};
    t->checkpoint_keep = 3;
    t->checkpoint_retain_bytes = RETAIN_BYTES_DEFAULT;
    t->consistency = CONSISTENCY_EXACT;
    t->fusion = true;
    t->upgrade_timeout_us = 60000000;
    read_root(&dr, root);
    check_topology(&dr);
    ytree_free(root);
    mem_free(dr.pes);
    mem_free(dr.streams);
    diags_sort(d);
    if (d->errors > errors) {
        topology_free(t);
        return NULL;
    }
    if (t->stream_count > 1) {
        qsort(t->streams, t->stream_count, sizeof t->streams[0], by_name);
    }
    digest_topology(t);
    return t;
}

static void add_file(json_t *files, json_t *seen, const char *text, size_t bytes)
{
    char *file = mem_dup_n(text, bytes);
    if (json_object_get(seen, file) == NULL) {
        json_object_set_new(seen, file, json_true());
        json_array_append_new(files, json_string(file));
    }
    mem_free(file);
}

const struct ynode *model_named(const struct ynode *pe)
{
    const struct ynode *use = ytree_get(pe, "use"), *with = ytree_get(pe, "with");
    const struct ynode *model = with != NULL && with->kind == Y_MAP ? ytree_get(with, "model")
                                                                    : NULL;
    bool runs = use != NULL && use->kind == Y_SCALAR && strcmp(use->text, "infer") == 0;
    return runs && model != NULL && model->kind == Y_SCALAR && model->text[0] != '\0' ? model
                                                                                      : NULL;
}

json_t *topology_files(const char *yaml, size_t bytes, struct diags *d)
{
    struct ynode *root = ytree_parse(yaml, bytes, d);
    if (root == NULL) {
        return NULL;
    }
    json_t *files = json_array(), *seen = json_object();
    const struct ynode *pes = ytree_get(root, "pes");
    for (size_t i = 0; pes != NULL && pes->kind == Y_MAP && i + 1 < pes->count; i += 2) {
        const struct ynode *use = ytree_get(pes->items[i + 1], "use");
        if (use == NULL || use->kind != Y_SCALAR) {
            continue;
        }
        const struct ynode *model = model_named(pes->items[i + 1]);
        if (model != NULL) {
            add_file(files, seen, model->text, strlen(model->text));
            continue;
        }
        const char *slash = strrchr(use->text, '/');
        const char *colon = strrchr(slash != NULL ? slash : use->text, ':');
        size_t length = colon != NULL ? (size_t)(colon - use->text) : strlen(use->text);
        bool so = length > 3 && memcmp(use->text + length - 3, ".so", 3) == 0;
        if (slash == NULL && !so) {
            continue;
        }
        add_file(files, seen, use->text, length);
    }
    json_decref(seen);
    ytree_free(root);
    return files;
}
