/* topology/yaml.c - YAML text to a small tree that remembers where everything stood. */
#include "topology/yaml.h"

#include "core/mem.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    struct diags *diags;
    struct ynode *open[YAML_DEPTH_MAX]; /* collections not yet closed; borrowed from the root */
    unsigned depth;
    unsigned events;
    bool tensors_masked;
    struct ynode *root;
};

static struct place_at place_of(yaml_mark_t mark)
{
    return (struct place_at){(uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

void ytree_free(struct ynode *n)
{
    if (n == NULL) {
        return;
    }
    for (size_t i = 0; i < n->count; i++) {
        ytree_free(n->items[i]); /* recursion is bounded by Y1 */
    }
    mem_free(n->items);
    mem_free(n->text);
    mem_free(n);
}

bool ytree_is_null(const struct ynode *n)
{
    return n == NULL ||
           (n->kind == Y_SCALAR && !n->quoted &&
            (n->text[0] == '\0' || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0));
}

struct ynode *ytree_get(const struct ynode *n, const char *key)
{
    for (size_t i = 0; n != NULL && n->kind == Y_MAP && i + 1 < n->count; i += 2) {
        if (n->items[i]->kind == Y_SCALAR && strcmp(n->items[i]->text, key) == 0) {
            return n->items[i + 1];
        }
    }
    return NULL;
}

const char *ytree_kind_text(const struct ynode *n)
{
    if (ytree_is_null(n)) {
        return "nothing";
    }
    if (n->kind == Y_SCALAR) {
        return "a plain value";
    }
    return n->count == 0 ? (n->kind == Y_MAP ? "an empty mapping" : "an empty list")
                         : (n->kind == Y_MAP ? "a mapping" : "a list");
}

/* ---- tensors in flow context
 * `{img: f32[1,28]}` is what people write, but inside {} YAML takes [ ] and , for its own.  So that
 * it need not be quoted, f32[1,28] is read as f32(1;28), of the same length, and turned back in the
 * scalars.  A text that has "f32(" itself is left alone. */

/* tensor_end - the index of the closing bracket of a tensor type whose '[' is at `from`, or 0. */
static size_t tensor_end(const char *s, size_t from, size_t bytes, char close, char comma)
{
    for (size_t i = from + 1; i < bytes; i++) {
        if (s[i] == close) {
            return i > from + 1 ? i : 0;
        }
        if (!(s[i] >= '0' && s[i] <= '9') && s[i] != comma && s[i] != ' ') {
            return 0;
        }
    }
    return 0;
}

static void tensors_swap(char *s, size_t bytes, const char from[3], const char to[3])
{
    for (size_t i = 3; i < bytes; i++) {
        if (s[i] != from[0] || memcmp(s + i - 3, "f32", 3) != 0) {
            continue;
        }
        size_t end = tensor_end(s, i, bytes, from[2], from[1]);
        if (end == 0) {
            continue;
        }
        for (size_t j = i; j < end; j++) {
            s[j] = s[j] == from[1] ? to[1] : s[j];
        }
        s[i] = to[0];
        s[end] = to[2];
        i = end;
    }
}

/* ---- what libyaml need not see */

static bool precheck(const char *text, size_t bytes, struct diags *d)
{
    if (bytes > YAML_BYTES_MAX) {
        diags_error(d, (struct place_at){1, 1}, mem_dup("split it, or generate less"),
                    "the file has %zu bytes, at most %u are allowed", bytes, YAML_BYTES_MAX);
        return false;
    }
    uint32_t line = 1;
    const char *from = text, *end = text + bytes;
    while (from < end) {
        const char *newline = memchr(from, '\n', (size_t)(end - from));
        const char *to = newline != NULL ? newline : end;
        if (!text_is_utf8(from, (size_t)(to - from))) {
            diags_error(d, (struct place_at){line, 1}, mem_dup("save the file as UTF-8"),
                        "the line is not UTF-8 text");
            return false;
        }
        if (*from == '%') { /* libyaml is quadratic in the number of directives */
            diags_error(d, (struct place_at){line, 1}, mem_dup("remove the line, or indent it"),
                        "a line begins with %%: YAML directives are not used here");
            return false;
        }
        if (newline == NULL) {
            break;
        }
        from = newline + 1;
        line++;
    }
    return true;
}

/* ---- building the tree */

static const char *syntax_hint(const char *problem)
{
    static const char *const hints[][2] = {
        {"mapping values are not allowed",
         "put text with ': ' in quotes, and check the indentation of this line and the one above"},
        {"did not find expected ',' or ']'", "close the list with ], separate its items with ,"},
        {"did not find expected ',' or '}'", "close the mapping with }, separate its items with ,"},
        {"did not find expected key", "check the indentation of this line and the ones above"},
        {"did not find expected '-' indicator",
         "items of a list start with '- ', all in one column"},
        {"could not find expected ':'",
         "write a key as `name: value`, with a space after the colon"},
        {"cannot start any token",
         "indent with spaces, not tabs; quote text with @ or ` at its start"},
        {"unexpected end of stream", "close the quotes"},
        {"unexpected document indicator", "close the quotes"},
        {"unknown escape character", "write \\\\ for a backslash, or use single quotes"},
        {"block sequence entries are not allowed", "start the list on a line of its own"},
        {"control characters are not allowed", "remove the control character"},
    };
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strstr(problem, hints[i][0]) != NULL) {
            return hints[i][1];
        }
    }
    return "check quotes, brackets and indentation here";
}

static void add_syntax_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "unreadable";
    struct place_at at = place_of(p->error == YAML_READER_ERROR ? p->mark : p->problem_mark);
    if (p->context != NULL && p->context_mark.line != p->problem_mark.line) {
        diags_error(r->diags, at, mem_dup(syntax_hint(problem)), "not YAML: %s %s of line %zu",
                    problem, p->context, p->context_mark.line + 1);
    } else {
        diags_error(r->diags, at, mem_dup(syntax_hint(problem)), "not YAML: %s", problem);
    }
}

static bool refuse(struct reader *r, const yaml_event_t *e, const char *hint, const char *message)
{
    diags_error(r->diags, place_of(e->start_mark), mem_dup(hint), "%s", message);
    return false;
}

static void attach(struct reader *r, struct ynode *n)
{
    if (r->depth == 0) {
        r->root = n;
        return;
    }
    struct ynode *parent = r->open[r->depth - 1];
    parent->items =
        mem_grow(parent->items, parent->count, &parent->capacity, sizeof parent->items[0]);
    parent->items[parent->count++] = n;
}

/* plain_only - anchors and tags say what a topology must not depend on. */
static bool plain_only(struct reader *r, const yaml_event_t *e, const void *anchor, const void *tag)
{
    if (anchor != NULL) {
        return refuse(r, e, "write the value out where it is needed",
                      "anchors (&) are not used here");
    }
    if (tag != NULL) {
        return refuse(r, e, "quote the value to make it text", "tags (!) are not used here");
    }
    return true;
}

static bool add_scalar(struct reader *r, const yaml_event_t *e)
{
    size_t bytes = e->data.scalar.length;
    const char *value = (const char *)e->data.scalar.value;
    if (!plain_only(r, e, e->data.scalar.anchor, e->data.scalar.tag)) {
        return false;
    }
    if (bytes > YAML_SCALAR_BYTES_MAX) {
        return refuse(r, e, "put it into a file of its own", "a value is longer than 64 KiB");
    }
    if (memchr(value, '\0', bytes) != NULL) {
        return refuse(r, e, "remove the \\0", "a value contains a zero byte");
    }
    struct ynode *n = mem_alloc(sizeof *n);
    n->kind = Y_SCALAR;
    n->at = place_of(e->start_mark);
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = mem_dup_n(value, bytes);
    if (r->tensors_masked) {
        tensors_swap(n->text, bytes, "(;)", "[,]");
    }
    attach(r, n);
    return true;
}

static bool add_collection(struct reader *r, const yaml_event_t *e)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    const void *anchor = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const void *tag = map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    if (!plain_only(r, e, anchor, tag)) {
        return false;
    }
    if (r->depth == YAML_DEPTH_MAX) {
        return refuse(r, e, "a topology needs about five levels", "nested deeper than 32 levels");
    }
    struct ynode *n = mem_alloc(sizeof *n);
    n->kind = map ? Y_MAP : Y_LIST;
    n->at = place_of(e->start_mark);
    attach(r, n);
    r->open[r->depth++] = n;
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct ynode *x = *(struct ynode *const *)a, *y = *(struct ynode *const *)b;
    int order = strcmp(x->text, y->text);
    if (order != 0) {
        return order;
    }
    bool before =
        x->at.line < y->at.line || (x->at.line == y->at.line && x->at.column < y->at.column);
    return before ? -1 : 1;
}

/* check_keys - keys are scalars, and differ (Y2). */
static void check_keys(struct reader *r, const struct ynode *map)
{
    struct ynode **keys = mem_array(map->count / 2, sizeof keys[0]);
    size_t count = 0;
    for (size_t i = 0; i + 1 < map->count; i += 2) {
        if (map->items[i]->kind == Y_SCALAR) {
            keys[count++] = map->items[i];
        } else {
            diags_error(r->diags, map->items[i]->at, mem_dup("use a plain word as the key"),
                        "a key is %s", ytree_kind_text(map->items[i]));
        }
    }
    qsort(keys, count, sizeof keys[0], by_key);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(keys[i]->text, keys[i - 1]->text) == 0) {
            diags_error(
                r->diags, keys[i]->at,
                mem_printf("the first one is in line %u; keep one of them", keys[i - 1]->at.line),
                "the key '%.80s' stands here a second time", keys[i]->text);
        }
    }
    mem_free(keys);
}

/* take - one event.  Return: false to stop. */
static bool take(struct reader *r, const yaml_event_t *e)
{
    if (++r->events > YAML_EVENTS_MAX) {
        return refuse(r, e, "split the topology, or generate less", "more than 100000 YAML items");
    }
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return refuse(r, e, "write the value out where it is needed",
                      "aliases (*) are not used here");
    case YAML_SCALAR_EVENT:
        return add_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return add_collection(r, e);
    case YAML_MAPPING_END_EVENT:
        check_keys(r, r->open[r->depth - 1]);
        r->depth--;
        return true;
    case YAML_SEQUENCE_END_EVENT:
        r->depth--;
        return true;
    case YAML_DOCUMENT_START_EVENT:
        return r->root == NULL ||
               refuse(r, e, "put it into another file", "a second document starts here");
    case YAML_STREAM_END_EVENT:
        return false;
    default:
        return true;
    }
}

struct ynode *ytree_parse(const char *text, size_t bytes, struct diags *d)
{
    struct reader r = {.diags = d};
    size_t errors = d->errors;
    if (!precheck(text, bytes, d)) {
        return NULL;
    }
    if (!yaml_parser_initialize(&r.parser)) {
        diags_error(d, (struct place_at){1, 1}, NULL, "out of memory");
        return NULL;
    }
    char *copy = mem_dup_n(text, bytes);
    r.tensors_masked = memmem(copy, bytes, "f32(", 4) == NULL;
    if (r.tensors_masked) {
        tensors_swap(copy, bytes, "[,]", "(;)");
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)copy, bytes);
    bool more = true, whole = true;
    while (more) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r.parser, &event)) {
            add_syntax_error(&r);
            whole = false;
            break;
        }
        more = take(&r, &event);
        whole = whole && (more || event.type == YAML_STREAM_END_EVENT);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&r.parser);
    mem_free(copy);
    if (whole && r.root == NULL && d->errors == errors) {
        diags_error(d, (struct place_at){1, 1}, mem_dup("`oxbow new topology NAME` writes a start"),
                    "the file is empty");
    }
    if (!whole) {
        ytree_free(r.root);
        return NULL;
    }
    return r.root;
}
