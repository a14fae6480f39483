/* topology/parse_pe.c - the mapping `pes:`: one processing element after the other. */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

enum pe_key { USE, WITH, PARALLELISM, OUT, UID, STATE, ON_ERROR, PLACE, THREADS, ISOLATE, PE_KEYS };
static const char *const pe_keys[PE_KEYS] = {
    "use", "with", "parallelism", "out", "uid", "state", "on_error", "place", "threads", "isolate"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void read_on_error(struct draft *dr, struct pe *p, const struct ynode *n)
{
    static const char *const keys[] = {"retries", "then", "stuck_after"};
    static const char *const thens[] = {"stop", "drop", "hold", "dead-letter"};
    const struct ynode *v[COUNT(keys)];
    unsigned then = THEN_STOP;
    if (!read_map(dr->d, n, "'on_error'", keys, COUNT(keys), v)) {
        return;
    }
    if (v[0] != NULL) {
        (void)read_u32(dr->d, v[0], "'retries'", 0, 1000, &p->retries);
    }
    if (v[1] != NULL && read_choice(dr->d, v[1], "'then'", thens, COUNT(thens), &then)) {
        p->then = (enum error_then)then;
    }
    if (v[2] != NULL) {
        (void)read_duration_us(dr->d, v[2], "'stuck_after'", STUCK_AFTER_US_MIN,
                               &p->stuck_after_us);
    }
}

static void read_labels(struct draft *dr, struct pe *p, const struct ynode *n)
{
    if (n->kind != Y_MAP) {
        diags_error(dr->d, n->at, mem_dup("write {zone: a}"), "'labels' is %s, not a mapping",
                    ytree_kind_text(n));
        return;
    }
    if (n->count / 2 > LABELS_MAX) {
        diags_error(dr->d, n->at, mem_printf("use at most %d", LABELS_MAX), "too many labels");
        return;
    }
    p->labels = json_object();
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        const char *value;
        if (n->items[i]->kind == Y_SCALAR && read_text(dr->d, n->items[i + 1], "a label", &value)) {
            json_object_set_new(p->labels, n->items[i]->text, json_string(value));
        }
    }
}

static void read_place(struct draft *dr, struct pe *p, struct dpe *at, const struct ynode *n)
{
    static const char *const keys[] = {"labels", "device"};
    static const char *const devices[] = {"any", "cpu", "gpu"};
    const struct ynode *v[COUNT(keys)];
    unsigned device = 0;
    if (!read_map(dr->d, n, "'place'", keys, COUNT(keys), v)) {
        return;
    }
    if (v[0] != NULL) {
        read_labels(dr, p, v[0]);
    }
    if (v[1] != NULL && read_choice(dr->d, v[1], "'device'", devices, COUNT(devices), &device)) {
        mem_free(p->device);
        p->device = mem_dup(devices[device]);
        at->device = v[1];
    }
}

static void read_out_field(struct draft *dr, struct pe *p, const struct ynode *key,
                           const struct ynode *value)
{
    const char *text;
    char *hint = NULL;
    if (key->kind != Y_SCALAR || !read_text(dr->d, value, "a field's type", &text)) {
        return;
    }
    if (!text_is_field(key->text)) {
        diags_error(dr->d, key->at,
                    mem_dup("use letters, digits and _, not beginning with a digit"),
                    "'%.80s' cannot be the name of a field", key->text);
        return;
    }
    char *type = schema_type(text, &hint);
    if (type == NULL) {
        diags_error(dr->d, value->at, hint, "'%.80s' is not a type", text);
        return;
    }
    mschema_put(&p->declared_out, key->text, type);
    mem_free(type);
}

static void read_out(struct draft *dr, struct pe *p, const struct ynode *n)
{
    if (n->kind != Y_MAP || n->count == 0) {
        diags_error(dr->d, n->at, mem_dup("write {field: type, ...}"),
                    "'out' of '%s' is %s, not a mapping of fields to types", p->name,
                    ytree_kind_text(n));
        return;
    }
    if (n->count / 2 > FIELDS_MAX) {
        diags_error(dr->d, n->at, mem_printf("use at most %d", FIELDS_MAX), "too many fields");
        return;
    }
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        read_out_field(dr, p, n->items[i], n->items[i + 1]);
    }
    mschema_seal(&p->declared_out);
}

static void make_ports(struct port **ports, unsigned *count, const struct port_desc *desc,
                       unsigned desc_count)
{
    *ports = mem_array(desc_count, sizeof(struct port));
    *count = desc_count;
    for (unsigned i = 0; i < desc_count; i++) {
        (*ports)[i].name = mem_dup(desc[i].name);
    }
}

static bool is_file(const char *use)
{
    size_t bytes = strlen(use);
    return strchr(use, '/') != NULL || (bytes > 3 && strcmp(use + bytes - 3, ".so") == 0) ||
           strstr(use, ".so:") != NULL;
}

static void unknown_use(struct draft *dr, const struct ynode *n)
{
    const char *colon = strrchr(n->text, ':');
    const char *nearest = catalog_nearest(dr->catalog, n->text);
    if (is_file(n->text) && colon != NULL) {
        char *file = mem_dup_n(n->text, (size_t)(colon - n->text));
        const struct pe_desc *first = catalog_find(dr->catalog, file, NULL);
        mem_free(file);
        if (first != NULL) {
            diags_error(dr->d, n->at, mem_printf("the first one in it is '%s'", first->name),
                        "the plug-in has no PE '%.80s'", colon + 1);
            return;
        }
    }
    if (is_file(n->text)) {
        diags_error(dr->d, n->at, mem_dup("build it first, and check the path"),
                    "the plug-in %.200s is not there or cannot be loaded", n->text);
        return;
    }
    char *hint = nearest != NULL ? mem_printf("did you mean '%s'?", nearest)
                                 : mem_dup("`oxbow pe list` shows those built in; a plug-in is"
                                           " written ./NAME.so");
    diags_error(dr->d, n->at, hint, "there is no PE '%.80s'", n->text);
}

/* The PE that runs a model has its ports described by the model's file, which is its code. */
static const struct pe_desc *find_desc(struct draft *dr, const struct ynode *use,
                                       const struct ynode *model, const char **digest)
{
    if (model == NULL) {
        const struct pe_desc *desc = catalog_find(dr->catalog, use->text, digest);
        if (desc == NULL) {
            unknown_use(dr, use);
        }
        return desc;
    }
    const struct pe_desc *desc = catalog_find(dr->catalog, model->text, digest);
    if (desc == NULL) {
        diags_error(dr->d, model->at, mem_dup("check the path"),
                    "the model %.200s is not there or cannot be read", model->text);
    }
    return desc;
}

/* Every PE has it, behind its own outputs and not counted among them: it is the engine's. */
static void add_dead_letters(struct pe *p)
{
    p->outputs = mem_resize(p->outputs, p->output_count + 1, sizeof p->outputs[0]);
    struct port *port = &p->outputs[p->output_count];
    *port = (struct port){.name = mem_dup(DEAD_LETTER_PORT)};
    mschema_put(&port->schema, "pe", "str");
    mschema_put(&port->schema, "instance", "i64");
    mschema_put(&port->schema, "stream", "str");
    mschema_put(&port->schema, "error", "str");
    mschema_put(&port->schema, "at", "time");
    mschema_put(&port->schema, "tuple", "str");
    mschema_seal(&port->schema);
}

static void read_use(struct draft *dr, struct pe *p, const struct ynode *n,
                     const struct ynode *model)
{
    const char *use, *digest = NULL;
    if (n == NULL) {
        diags_error(dr->d, p->at, mem_dup("add `use: NAME`, a PE built in, or ./PLUGIN.so"),
                    "'%s' does not say what it uses", p->name);
        return;
    }
    if (!read_text(dr->d, n, "'use'", &use)) {
        return;
    }
    p->use = mem_dup(use);
    p->desc = find_desc(dr, n, model, &digest);
    if (p->desc == NULL) {
        return;
    }
    p->code = digest != NULL ? mem_printf("%s:%s", digest, p->desc->name)
                             : mem_dup(is_file(use) ? use : p->desc->name);
    p->own_thread = p->desc->own_thread;
    make_ports(&p->inputs, &p->input_count, p->desc->inputs, p->desc->input_count);
    make_ports(&p->outputs, &p->output_count, p->desc->outputs, p->desc->output_count);
    add_dead_letters(p);
}

static void read_policies(struct draft *dr, struct pe *p, struct dpe *at, const struct ynode **v)
{
    static const char *const states[] = {"keep", "drop"};
    static const char *const threads[] = {"shared", "own"};
    static const char *const isolations[] = {"none", "process"};
    const char *uid = NULL;
    unsigned choice = 0;
    if (v[UID] != NULL) {
        (void)read_name(dr->d, v[UID], "a uid", &uid);
    }
    p->uid = mem_dup(uid != NULL ? uid : p->name);
    if (v[STATE] != NULL && read_choice(dr->d, v[STATE], "'state'", states, 2, &choice)) {
        p->state_drop = choice == 1;
    }
    if (v[THREADS] != NULL && read_choice(dr->d, v[THREADS], "'threads'", threads, 2, &choice)) {
        p->own_thread = choice == 1;
    }
    if (v[ISOLATE] != NULL && read_choice(dr->d, v[ISOLATE], "'isolate'", isolations, 2, &choice)) {
        p->isolate_process = choice == 1;
        at->isolate = v[ISOLATE];
    }
    if (v[ON_ERROR] != NULL) {
        read_on_error(dr, p, v[ON_ERROR]);
    }
    if (v[PLACE] != NULL) {
        read_place(dr, p, at, v[PLACE]);
    }
}

static void parse_pe(struct draft *dr, struct pe *p, struct dpe *at, const struct ynode *key,
                     const struct ynode *n)
{
    const struct ynode *v[PE_KEYS];
    p->name = mem_dup(key->text);
    p->at = key->at;
    p->parallelism = 1;
    p->then = THEN_STOP;
    p->stuck_after_us = (uint64_t)STUCK_AFTER_MS * 1000;
    p->device = mem_dup("any");
    p->with = json_object();
    (void)check_name(dr->d, key->at, "a PE", p->name);
    char *what = mem_printf("the PE '%.80s'", p->name);
    if (ytree_is_null(n)) {
        diags_error(dr->d, key->at, mem_dup("add `use: NAME` below it, indented"), "%s is empty",
                    what);
        memset(v, 0, sizeof v);
    } else {
        (void)read_map(dr->d, n, what, pe_keys, PE_KEYS, v);
        if (n->kind == Y_MAP) {
            read_use(dr, p, v[USE], model_named(n));
        }
    }
    mem_free(what);
    if (v[PARALLELISM] != NULL) {
        (void)read_u32(dr->d, v[PARALLELISM], "'parallelism'", 1, PARALLELISM_MAX, &p->parallelism);
    }
    read_policies(dr, p, at, v);
    at->with = v[WITH];
    at->out = v[OUT];
    if (v[OUT] != NULL) {
        p->has_declared_out = true;
        read_out(dr, p, v[OUT]);
    }
    size_t errors = dr->d->errors;
    if (p->desc != NULL) {
        params_read(dr, p, at);
    }
    at->params_bad = dr->d->errors > errors;
}

struct entry { /* one key of `pes:`, for sorting */
    const struct ynode *key, *value;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key->text, ((const struct entry *)b)->key->text);
}

static int by_uid(const void *a, const void *b)
{
    const struct pe *x = *(struct pe *const *)a, *y = *(struct pe *const *)b;
    int order = strcmp(x->uid, y->uid);
    return order != 0 ? order : strcmp(x->name, y->name);
}

static void check_uids(struct draft *dr)
{
    struct topology *t = dr->t;
    struct pe **sorted = mem_array(t->pe_count, sizeof sorted[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        sorted[i] = &t->pes[i];
    }
    qsort(sorted, t->pe_count, sizeof sorted[0], by_uid);
    for (uint32_t i = 1; i < t->pe_count; i++) {
        if (strcmp(sorted[i]->uid, sorted[i - 1]->uid) == 0) {
            diags_error(dr->d, sorted[i]->at, mem_dup("give each PE a uid of its own"),
                        "'%s' and '%s' have the same uid '%s'", sorted[i - 1]->name,
                        sorted[i]->name, sorted[i]->uid);
        }
    }
    mem_free(sorted);
}

void parse_pes(struct draft *dr, const struct ynode *n)
{
    struct topology *t = dr->t;
    if (n->kind != Y_MAP || n->count == 0) {
        diags_error(dr->d, n->at, mem_dup("write `NAME: {use: ...}` lines below it"),
                    "'pes' is %s, not a mapping of names to PEs", ytree_kind_text(n));
        return;
    }
    if (n->count / 2 > PES_MAX) {
        diags_error(dr->d, n->at, mem_printf("at most %d are allowed", PES_MAX),
                    "the topology has %zu PEs", n->count / 2);
        return;
    }
    struct entry *entries = mem_array(n->count / 2, sizeof entries[0]);
    size_t count = 0;
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        if (n->items[i]->kind == Y_SCALAR) {
            entries[count++] = (struct entry){n->items[i], n->items[i + 1]};
        }
    }
    qsort(entries, count, sizeof entries[0], by_name);
    t->pes = mem_array(count, sizeof t->pes[0]);
    dr->pes = mem_array(count, sizeof dr->pes[0]);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(entries[i].key->text, entries[i - 1].key->text) != 0) {
            uint32_t at = t->pe_count++; /* a second one of that name is reported by ytree_parse */
            parse_pe(dr, &t->pes[at], &dr->pes[at], entries[i].key, entries[i].value);
        }
    }
    mem_free(entries);
    check_uids(dr);
}
