/* pe/schema.c - schemas: parsed from text, interned, never freed.
 *
 * Owns:       the table of all schemas of the process.
 * Threads:    any; one leaf mutex.
 * Invariants: E1 equal canonical texts give the same pointer, so schemas are compared by pointer.
 *             E2 id = hash_bytes(canonical text): equal on every machine.
 * See:        pe/pe.h (struct oxb_schema), tests/unit/pe/schema_test.c */
#include "pe/schema.h"

#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"
#include "pe/batch.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 64u

static struct {
    pthread_mutex_t lock;
    struct schema *buckets[BUCKETS];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: registry */

struct draft { /* a schema while it is parsed */
    struct oxb_field fields[FIELDS_MAX];
    char names[FIELDS_MAX][NAME_BYTES_MAX + 1];
    uint32_t dims[FIELDS_MAX][DIMS_MAX];
    uint32_t count;
};

static const struct {
    const char *name;
    enum oxb_type type;
} types[] = {
    {"i64", OXB_I64},     {"f64", OXB_F64},   {"bool", OXB_BOOL}, {"str", OXB_STR},
    {"bytes", OXB_BYTES}, {"time", OXB_TIME}, {"f32", OXB_F32},
};

static enum err parse_field(struct draft *d, const char **at, struct fail *f);
static enum err parse_dims(struct draft *d, const char **at, struct fail *f);
static void canonical_text(const struct draft *d, struct strbuf *out);
static const struct oxb_schema *intern(const struct draft *d, const char *text, size_t bytes);
static struct schema *schema_make(const struct draft *d, const char *text, uint64_t id);
static const char *skip_space(const char *s);

enum err schema_parse(const char *text, const struct oxb_schema **out, struct fail *f)
{
    struct draft *d = mem_alloc(sizeof *d);
    const char *at = skip_space(text);
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        e = parse_field(d, &at, f);
        if (e != ERR_OK || *at == '\0') {
            break;
        }
        if (*at != ',') {
            e = fail_set(f, ERR_INVALID, "fields look like `name: type, name: type`",
                         "unexpected `%.20s` in schema `%.200s`", at, text);
            break;
        }
        at = skip_space(at + 1);
    }
    uint64_t row_bytes = 0;
    for (uint32_t i = 0; e == ERR_OK && i < d->count; i++) {
        row_bytes += type_width(&d->fields[i]);
    }
    if (e == ERR_OK && row_bytes > TUPLE_BYTES_MAX) {
        e = fail_set(f, ERR_LIMIT, "use smaller tensors",
                     "a tuple of schema `%.200s` has %" PRIu64 " bytes; at most %u are possible",
                     text, row_bytes, TUPLE_BYTES_MAX);
    }
    if (e == ERR_OK) {
        struct strbuf canonical = {0};
        canonical_text(d, &canonical);
        *out = intern(d, strbuf_text(&canonical), canonical.bytes);
        strbuf_fini(&canonical);
    }
    mem_free(d);
    return e;
}

uint32_t type_width(const struct oxb_field *field)
{
    static const uint8_t widths[] = {[OXB_I64] = 8, [OXB_F64] = 8,   [OXB_BOOL] = 1, [OXB_STR] = 8,
                                     [OXB_BYTES] = 8, [OXB_TIME] = 8, [OXB_F32] = 4};
    return (uint32_t)field->type < sizeof widths ? widths[field->type] * field->elements : 0;
}

bool type_has_heap(enum oxb_type t)
{
    return t == OXB_STR || t == OXB_BYTES;
}

const char *type_name(enum oxb_type t)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].type == t) {
            return types[i].name;
        }
    }
    return "none";
}

uint32_t schema_row_bytes(const struct oxb_schema *s)
{
    return schema_of(s)->row_bytes;
}

int oxb_field(const struct oxb_schema *schema, const char *name)
{
    if (schema == NULL || name == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < schema->field_count; i++) {
        if (strcmp(schema->fields[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static const char *skip_space(const char *s)
{
    while (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r') {
        s++;
    }
    return s;
}

static size_t word(const char *s) /* bytes of the word that starts here */
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_') {
        n++;
    }
    return n;
}

static enum err parse_field(struct draft *d, const char **at, struct fail *f)
{
    if (d->count == FIELDS_MAX) {
        return fail_set(f, ERR_LIMIT, "", "a schema has more than %d fields", FIELDS_MAX);
    }
    size_t bytes = word(*at);
    char *name = d->names[d->count];
    if (bytes > NAME_BYTES_MAX) {
        return fail_set(f, ERR_LIMIT, "", "the field name `%.70s...` is too long", *at);
    }
    memcpy(name, *at, bytes);
    name[bytes] = '\0';
    if (!text_is_field(name)) {
        return fail_set(f, ERR_INVALID, "names are letters, digits and _, no digit first",
                        "expected a field name at `%.40s`", *at);
    }
    for (uint32_t i = 0; i < d->count; i++) {
        if (strcmp(d->names[i], name) == 0) {
            return fail_set(f, ERR_INVALID, "", "the field `%s` is there twice", name);
        }
    }
    const char *p = skip_space(*at + bytes);
    if (*p != ':') {
        return fail_set(f, ERR_INVALID, "write `name: type`", "the field `%s` has no type", name);
    }
    p = skip_space(p + 1);
    size_t type_bytes = word(p);
    struct oxb_field *field = &d->fields[d->count];
    *field = (struct oxb_field){.name = name, .elements = 1, .dims = d->dims[d->count]};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strlen(types[i].name) == type_bytes && memcmp(types[i].name, p, type_bytes) == 0) {
            field->type = types[i].type;
        }
    }
    if (field->type == OXB_NONE) {
        return fail_set(f, ERR_INVALID, "types are i64 f64 bool str bytes time f32[...]",
                        "the field `%s` has the unknown type `%.*s`", name, (int)type_bytes, p);
    }
    *at = skip_space(p + type_bytes);
    enum err e = field->type == OXB_F32 ? parse_dims(d, at, f) : ERR_OK;
    d->count++;
    return e;
}

static enum err parse_dims(struct draft *d, const char **at, struct fail *f)
{
    struct oxb_field *field = &d->fields[d->count];
    const char *p = *at;
    uint64_t elements = 1;
    if (*p != '[') {
        return fail_set(f, ERR_INVALID, "write f32[4] or f32[1,28,28]",
                        "the tensor `%s` has no shape", field->name);
    }
    do {
        p = skip_space(p + 1);
        char *end;
        unsigned long dim = isdigit((unsigned char)*p) ? strtoul(p, &end, 10) : 0;
        if (dim == 0 || dim > TENSOR_ELEMENTS_MAX || field->dim_count == DIMS_MAX) {
            return fail_set(f, ERR_INVALID, "up to 8 dimensions, each 1 or more",
                            "the tensor `%s` has a bad shape", field->name);
        }
        elements *= dim;
        if (elements > TENSOR_ELEMENTS_MAX) {
            return fail_set(f, ERR_LIMIT, "", "the tensor `%s` has more than %u elements",
                            field->name, TENSOR_ELEMENTS_MAX);
        }
        d->dims[d->count][field->dim_count++] = (uint32_t)dim;
        p = skip_space(end);
    } while (*p == ',');
    if (*p != ']') {
        return fail_set(f, ERR_INVALID, "", "the shape of the tensor `%s` lacks its `]`",
                        field->name);
    }
    field->elements = (uint32_t)elements;
    *at = skip_space(p + 1);
    return ERR_OK;
}

static void canonical_text(const struct draft *d, struct strbuf *out)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const struct oxb_field *field = &d->fields[i];
        strbuf_printf(out, "%s%s: %s", i == 0 ? "" : ", ", field->name, type_name(field->type));
        for (uint32_t k = 0; k < field->dim_count; k++) {
            strbuf_printf(out, "%c%" PRIu32, k == 0 ? '[' : ',', field->dims[k]);
        }
        strbuf_text_add(out, field->dim_count > 0 ? "]" : "");
    }
}

static const struct oxb_schema *intern(const struct draft *d, const char *text, size_t bytes)
{
    uint64_t id = hash_bytes(text, bytes); /* E2 */
    struct schema **bucket = &registry.buckets[id % BUCKETS];
    pthread_mutex_lock(&registry.lock);
    struct schema *s = *bucket;
    while (s != NULL && strcmp(s->pub.text, text) != 0) {
        s = s->next;
    }
    if (s == NULL) {
        s = schema_make(d, text, id);
        s->next = *bucket;
        *bucket = s;
    }
    pthread_mutex_unlock(&registry.lock);
    return &s->pub;
}

static struct schema *schema_make(const struct draft *d, const char *text, uint64_t id)
{
    struct schema *s = mem_alloc(sizeof *s);
    struct oxb_field *fields = mem_array(d->count, sizeof *fields);
    s->name_bytes = mem_array(d->count, sizeof *s->name_bytes);
    s->json_keys = mem_array(d->count, sizeof *s->json_keys);
    for (uint32_t i = 0; i < d->count; i++) {
        fields[i] = d->fields[i];
        fields[i].name = mem_dup(d->names[i]);
        uint32_t *dims = NULL;
        if (fields[i].dim_count > 0) {
            dims = mem_array(fields[i].dim_count, sizeof *dims);
            memcpy(dims, d->dims[i], fields[i].dim_count * sizeof *dims);
        }
        fields[i].dims = dims;
        s->name_bytes[i] = (uint32_t)strlen(fields[i].name);
        s->json_keys[i] = mem_printf("\"%s\":", fields[i].name);
        s->row_bytes += type_width(&fields[i]);
        s->heap_count += type_has_heap(fields[i].type) ? 1 : 0;
    }
    s->pub = (struct oxb_schema){
        .id = id, .field_count = d->count, .fields = fields, .text = mem_dup(text)};
    return s;
}
