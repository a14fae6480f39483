/* cli/describe.c - descriptions of PE types as text and Markdown: `oxbow pe`, docs/PES.md.
 *
 * Runs on:    anywhere; pure.
 * Why:        the descriptions are the only source: what the program prints and what the
 *             documentation says is the same table.
 * See:        pe/registry.h for the JSON, tests/unit/cli/describe_test.c */
#include "cli/describe.h"

#include "cli/print.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static bool is_set(const json_t *type, const char *key)
{
    return json_is_true(json_object_get(type, key));
}

const char *describe_kind(const json_t *type)
{
    if (is_set(type, "source")) {
        return "source";
    }
    return json_array_size(json_object_get(type, "outputs")) == 0 ? "sink" : "transform";
}

static char *join(char *text TAKES, const char *separator, const char *more)
{
    char *longer = mem_printf("%s%s%s", text, text[0] != '\0' ? separator : "", more);
    mem_free(text);
    return longer;
}

/* traits_text - what a user should know of how it behaves; "" when there is nothing. */
static char *traits_text(const json_t *type)
{
    static const struct {
        const char *key;
        const char *text;
    } traits[] = {
        {"replayable", "can be replayed after a failure"},
        {"merges", "takes several streams on one input"},
        {"many", "emits other than one tuple per tuple"},
        {"own_thread", "runs on a thread of its own"},
        {"local", "bound to its host"},
        {"effects", "acts on the outside world"},
    };
    char *text = mem_dup("");
    for (unsigned i = 0; i < COUNT_OF(traits); i++) {
        if (is_set(type, traits[i].key)) {
            text = join(text, "; ", traits[i].text);
        }
    }
    if (json_array_size(json_object_get(type, "states")) > 0) {
        text = join(text, "; ", "keeps keyed state");
    }
    return text;
}

static char *fallback_text(const json_t *param)
{
    const json_t *fallback = json_object_get(param, "default");
    if (is_set(param, "required")) {
        return mem_dup("required");
    }
    if (fallback == NULL || json_is_null(fallback)) {
        return mem_dup("-");
    }
    if (json_is_string(fallback)) {
        return mem_dup(json_string_value(fallback));
    }
    char *json = json_dumps(fallback, JSON_ENCODE_ANY | JSON_COMPACT);
    char *text = mem_dup(json);
    free(json);
    return text;
}

/* number_text - a bound as people write it: durations and sizes are plain numbers here. */
static void number_text(double n, char out[NUMBER_TEXT_BYTES])
{
    snprintf(out, NUMBER_TEXT_BYTES, "%.12g", n);
}

/* type_text - "enum: each final", "i64 0..1024", "path". */
static char *type_text(const json_t *param)
{
    const char *type = json_text_of(param, "type");
    const json_t *choices = json_object_get(param, "choices");
    double min = json_real_of(param, "min"), max = json_real_of(param, "max");
    size_t i;
    json_t *choice;
    if (json_array_size(choices) > 0) {
        char *text = mem_dup("");
        json_array_foreach(choices, i, choice)
        {
            const char *word = json_string_value(choice);
            text = join(text, " or ", word != NULL ? word : "");
        }
        return text;
    }
    if (min != 0 || max != 0) {
        char low[NUMBER_TEXT_BYTES], high[NUMBER_TEXT_BYTES];
        number_text(min, low);
        number_text(max, high);
        return mem_printf("%s, %s..%s", type, low, high);
    }
    return mem_dup(type);
}

static void fill_params(struct table *t, const json_t *type)
{
    static const char *const heads[] = {"PARAMETER", "TYPE", "DEFAULT", "MEANING"};
    size_t i;
    json_t *param;
    table_init(t, heads, COUNT_OF(heads));
    json_array_foreach(json_object_get(type, "params"), i, param)
    {
        char *kind = type_text(param);
        char *fallback = fallback_text(param);
        table_cell(t, json_text_of(param, "name"));
        table_cell(t, kind);
        table_cell(t, fallback);
        table_cell(t, json_text_of(param, "doc"));
        mem_free(kind);
        mem_free(fallback);
    }
}

static void add_ports(struct table *t, const json_t *ports, const char *direction)
{
    size_t i;
    json_t *port;
    json_array_foreach(ports, i, port)
    {
        const char *schema = json_text_of(port, "schema");
        table_cell(t, direction);
        table_cell(t, json_text_of(port, "name"));
        table_cell(t, schema[0] != '\0' ? schema : "any");
        table_cell(t, json_text_of(port, "doc"));
    }
}

static void fill_ports(struct table *t, const json_t *type)
{
    static const char *const heads[] = {"PORT", "NAME", "FIELDS", "MEANING"};
    table_init(t, heads, COUNT_OF(heads));
    add_ports(t, json_object_get(type, "inputs"), "input");
    add_ports(t, json_object_get(type, "outputs"), "output");
}

void describe_list(const json_t *types, FILE *out, bool color)
{
    static const char *const heads[] = {"NAME", "KIND", "DOES"};
    struct table t;
    size_t i;
    json_t *type;
    table_init(&t, heads, COUNT_OF(heads));
    json_array_foreach(types, i, type)
    {
        table_cell(&t, json_text_of(type, "name"));
        table_cell(&t, describe_kind(type));
        table_cell(&t, json_text_of(type, "doc"));
    }
    table_print(&t, out, color);
    table_fini(&t);
}

void describe_text(const json_t *type, FILE *out, bool color)
{
    struct table t;
    char *traits = traits_text(type);
    fprintf(out, "%s (%s): %s\n", json_text_of(type, "name"), describe_kind(type),
            json_text_of(type, "doc"));
    if (traits[0] != '\0') {
        fprintf(out, "%s\n", traits);
    }
    mem_free(traits);
    fputc('\n', out);
    if (json_array_size(json_object_get(type, "params")) > 0) {
        fill_params(&t, type);
        table_print(&t, out, color);
        table_fini(&t);
        fputc('\n', out);
    }
    fill_ports(&t, type);
    table_print(&t, out, color);
    table_fini(&t);
}

void describe_markdown(const json_t *type, FILE *out)
{
    struct table t;
    char *traits = traits_text(type);
    fprintf(out, "## %s\n\nA %s: %s.\n", json_text_of(type, "name"), describe_kind(type),
            json_text_of(type, "doc"));
    if (traits[0] != '\0') {
        fprintf(out, "Traits: %s.\n", traits);
    }
    fputc('\n', out);
    mem_free(traits);
    if (json_array_size(json_object_get(type, "params")) > 0) {
        fill_params(&t, type);
        table_markdown(&t, out);
        table_fini(&t);
        fputc('\n', out);
    }
    fill_ports(&t, type);
    table_markdown(&t, out);
    table_fini(&t);
}

void describe_all_markdown(const json_t *types, FILE *out)
{
    size_t i;
    json_t *type;
    fprintf(
        out,
        "# The built-in PEs\n\n"
        "Generated by `make docs` from what `oxbow pe show NAME` prints; do not edit.\n\nField "
        "expressions: `*` all fields of the input, `$p` the fields that "
        "parameter `p` names,\n`name: $p` a field with the type of that one, `+p` the constants "
        "of parameter `p`, `?p(...)` only when `p` is set,\n`declared` what `out:` says.\n");
    json_array_foreach(types, i, type)
    {
        fputc('\n', out);
        describe_markdown(type, out);
    }
}
