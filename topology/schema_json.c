/* topology/schema_json.c - the JSON Schema (draft-07) of the YAML format, for editors.
 *
 * Says as much as JSON Schema can: keys, kinds of values, and, per PE type of the catalogue, its
 * parameters.  What it lets through is still checked by topology_parse. */
#include "topology/model.h"

#include "core/mem.h"

#include <string.h>

#define NAME_PATTERN "^[a-z][a-z0-9-]{0,62}$"
#define FIELD_PATTERN "^[A-Za-z_][A-Za-z0-9_]{0,62}$"
#define DURATION_PATTERN "^[0-9]+(\\.[0-9]+)?(us|ms|s|m|h)$"
#define SIZE_PATTERN "^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$"

/* The fixed part; patterns and what the catalogue knows are added to it. */
static const char fixed[] =
    "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"title\":\"Oxbow topology\","
    "\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"oxbow\",\"topology\","
    "\"pes\"],"
    "\"properties\":{"
    "\"oxbow\":{\"const\":1,\"description\":\"format version\"},"
    "\"topology\":{\"$ref\":\"#/definitions/name\",\"description\":\"name of the topology\"},"
    "\"pes\":{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":{\"$ref\":"
    "\"#/definitions/name\"},\"additionalProperties\":{\"$ref\":\"#/definitions/pe\"}},"
    "\"streams\":{\"type\":[\"array\",\"null\"],\"items\":{\"$ref\":\"#/definitions/stream\"}},"
    "\"checkpoint\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"every\"],"
    "\"properties\":{\"every\":{\"$ref\":\"#/definitions/duration\"},"
    "\"keep\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":3},"
    "\"location\":{\"type\":\"string\",\"pattern\":\"^(master|file:///.*)$\"},"
    "\"retain\":{\"$ref\":\"#/definitions/size\"}}},"
    "\"upgrade\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"consistency\":{\"enum\":[\"exact\",\"per-pe\",\"global\"],\"default\":\"exact\"},"
    "\"timeout\":{\"$ref\":\"#/definitions/duration\"}}},"
    "\"fusion\":{\"enum\":[\"auto\",\"off\"],\"default\":\"auto\"}},"
    "\"definitions\":{"
    "\"name\":{\"type\":\"string\"},\"field\":{\"type\":\"string\"},"
    "\"duration\":{\"type\":\"string\",\"description\":\"10ms 5s 2m 1h\"},"
    "\"size\":{\"type\":[\"string\",\"integer\"],\"description\":\"512 64KiB 1GiB\"},"
    "\"fields\":{\"anyOf\":[{\"$ref\":\"#/definitions/field\"},{\"type\":\"array\",\"minItems\":1,"
    "\"items\":{\"$ref\":\"#/definitions/field\"},\"uniqueItems\":true}]},"
    "\"stream\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"from\",\"to\"],\"properties\":{"
    "\"from\":{\"type\":\"string\",\"description\":\"PE, or PE.PORT\"},"
    "\"to\":{\"type\":\"string\",\"description\":\"PE, or PE.PORT\"},"
    "\"name\":{\"$ref\":\"#/definitions/name\"},"
    "\"by\":{\"$ref\":\"#/definitions/fields\",\"description\":\"keyed: same key, same instance\"},"
    "\"to_all\":{\"type\":\"boolean\",\"description\":\"every instance gets every tuple\"}}},"
    "\"pe\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"use\"],"
    "\"properties\":{\"use\":{},"
    "\"with\":{\"type\":[\"object\",\"null\"],\"description\":\"parameters\"},"
    "\"parallelism\":{\"type\":\"integer\",\"minimum\":1,\"default\":1},"
    "\"out\":{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":"
    "{\"$ref\":\"#/definitions/field\"},\"additionalProperties\":{\"type\":\"string\",\"pattern\":"
    "\"^(i64|f64|bool|str|bytes|time|f32\\\\[[0-9, ]+\\\\])$\"}},"
    "\"uid\":{\"$ref\":\"#/definitions/name\"},"
    "\"state\":{\"enum\":[\"keep\",\"drop\"],\"default\":\"keep\"},"
    "\"on_error\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"retries\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000,\"default\":0},"
    "\"then\":{\"enum\":[\"hold\",\"dead-letter\",\"drop\",\"stop\"],\"default\":\"stop\"},"
    "\"stuck_after\":{\"$ref\":\"#/definitions/duration\"}}},"
    "\"place\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":"
    "[\"string\",\"number\",\"boolean\"]}},"
    "\"device\":{\"enum\":[\"gpu\",\"cpu\",\"any\"],\"default\":\"any\"}}},"
    "\"threads\":{\"enum\":[\"shared\",\"own\"]},"
    "\"isolate\":{\"enum\":[\"none\",\"process\"],\"default\":\"none\"}}}}}";

static json_t *text_type(const char *pattern)
{
    json_t *json = json_object();
    json_object_set_new(json, "type", json_string("string"));
    if (pattern != NULL) {
        json_object_set_new(json, "pattern", json_string(pattern));
    }
    return json;
}

static json_t *reference(const char *definition)
{
    json_t *json = json_object();
    char *text = mem_printf("#/definitions/%s", definition);
    json_object_set_new(json, "$ref", json_string(text));
    mem_free(text);
    return json;
}

static json_t *choices_json(const struct param_desc *p)
{
    json_t *json = json_object(), *list = json_array();
    for (unsigned i = 0; i < p->choice_count; i++) {
        json_array_append_new(list, json_string(p->choices[i]));
    }
    json_object_set_new(json, "enum", list);
    return json;
}

static json_t *number_json(const struct param_desc *p, const char *type)
{
    json_t *json = json_object();
    json_object_set_new(json, "type", json_string(type));
    if (p->min != 0 || p->max != 0) {
        json_object_set_new(json, "minimum", json_real(p->min));
        json_object_set_new(json, "maximum", json_real(p->max));
    }
    return json;
}

static json_t *param_json(const struct param_desc *p)
{
    static const char *const definitions[] = {"duration", "size", "field", "fields"};
    json_t *json = NULL;
    for (size_t i = 0; i < sizeof definitions / sizeof definitions[0]; i++) {
        json = strcmp(p->type, definitions[i]) == 0 ? reference(p->type) : json;
    }
    if (json == NULL && strcmp(p->type, "i64") == 0) {
        json = number_json(p, "integer");
    } else if (json == NULL && strcmp(p->type, "f64") == 0) {
        json = number_json(p, "number");
    } else if (json == NULL && strcmp(p->type, "enum") == 0) {
        json = choices_json(p);
    } else if (json == NULL && strcmp(p->type, "address") == 0) {
        json = text_type("^.+:[0-9]+$");
    } else if (json == NULL && strcmp(p->type, "path") == 0) {
        json = text_type(NULL);
    } else if (json == NULL) {
        json = json_object();
        if (strcmp(p->type, "bool") == 0 || strcmp(p->type, "map") == 0) {
            json_object_set_new(json, "type",
                                json_string(p->type[0] == 'b' ? "boolean" : "object"));
        }
    }
    if (p->doc != NULL && json_object_get(json, "$ref") == NULL) {
        json_object_set_new(json, "description", json_string(p->doc));
    }
    if (p->fallback != NULL && json_object_get(json, "$ref") == NULL) {
        json_object_set(json, "default", p->fallback);
    }
    return json;
}

/* rule_for - `if use is this one, then its parameters are these`. */
static json_t *rule_for(const struct pe_desc *d)
{
    json_t *properties = json_object(), *required = json_array(), *rule = json_object();
    for (unsigned i = 0; i < d->param_count; i++) {
        json_object_set_new(properties, d->params[i].name, param_json(&d->params[i]));
        if (d->params[i].required) {
            json_array_append_new(required, json_string(d->params[i].name));
        }
    }
    json_t *with =
        json_pack("{s:[s,s], s:b, s:o, s:o}", "type", "object", "null", "additionalProperties", 0,
                  "properties", properties, "required", required);
    json_t *then = json_pack("{s:{s:o}}", "properties", "with", with);
    if (json_array_size(required) > 0) {
        json_object_set_new(then, "required", json_pack("[s]", "with"));
    }
    json_object_set_new(rule, "if",
                        json_pack("{s:{s:{s:s}}, s:[s]}", "properties", "use", "const", d->name,
                                  "required", "use"));
    json_object_set_new(rule, "then", then);
    return rule;
}

struct rules {
    json_t *names, *list;
};

static void add_rule(void *arg, const struct pe_desc *d)
{
    struct rules *r = arg;
    json_array_append_new(r->names, json_string(d->name));
    json_array_append_new(r->list, rule_for(d));
}

char *topology_schema_json(const struct catalog *c)
{
    static const char *const patterns[][2] = {
        {"name", NAME_PATTERN},
        {"field", FIELD_PATTERN},
        {"duration", DURATION_PATTERN},
        {"size", SIZE_PATTERN},
    };
    struct rules rules = {json_array(), json_array()};
    json_t *json = json_loads(fixed, 0, NULL);
    json_t *definitions = json_object_get(json, "definitions");
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        json_object_set_new(json_object_get(definitions, patterns[i][0]), "pattern",
                            json_string(patterns[i][1]));
    }
    catalog_each(c, add_rule, &rules);
    json_t *pe = json_object_get(definitions, "pe");
    json_object_set_new(json_object_get(pe, "properties"), "use",
                        json_pack("{s:s, s:[{s:o}, {s:s, s:s}]}", "description",
                                  "a built-in PE, ./PLUGIN.so or ./PLUGIN.so:NAME", "anyOf", "enum",
                                  rules.names, "type", "string", "pattern", "(/|\\.so(:|$))"));
    if (json_array_size(rules.list) > 0) {
        json_object_set(pe, "allOf", rules.list);
    }
    json_decref(rules.list);
    char *text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    return text != NULL ? text : mem_dup("{}");
}
