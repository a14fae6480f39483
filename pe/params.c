/* pe/params.c - an instance's parameters: canonical JSON, defaults filled in, typed getters.
 *
 * Threads:    the instance's; texts are borrowed until the instance is freed.
 * Invariants: G1 after params_load every declared parameter with a default is in `params`.
 * Why:        a duration or size may be a text ("10ms") or a number already in us or bytes: both
 *             are canonical, so both are read.
 * See:        pe/pe.h (parameters), tests/unit/pe/params_test.c */
#include "core/file.h"
#include "core/mem.h"
#include "core/text.h"
#include "pe/instance.h"

#include <math.h>

static json_t *param(struct oxb_pe *pe, const char *name);
static const struct oxb_param *declared(const struct oxb_pe *pe, const char *name);
static void make_absolute(struct oxb_pe *pe, const struct oxb_param *p);

enum err params_load(struct oxb_pe *pe, const char *json, const char *artifact,
                     struct fail *f)
{
    json_error_t error;
    const char *text = json != NULL && json[0] != '\0' ? json : "{}";
    pe->params = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(pe->params)) {
        json_decref(pe->params);
        pe->params = json_object();
        return fail_set(f, ERR_INVALID, "", "the parameters are no JSON object: %s", error.text);
    }
    const struct oxb_param *p = pe->type->params;
    for (; p != NULL && p->name != NULL; p++) {
        if (param(pe, p->name) == NULL) {
            json_t *value = params_fallback(p);
            if (value != NULL) {
                json_object_set_new(pe->params, p->name, value); /* G1 */
            } else if ((p->flags & OXB_REQUIRED) != 0) {
                return fail_set(f, ERR_INVALID, p->doc != NULL ? p->doc : "",
                                "the parameter `%s` is missing", p->name);
            }
        }
        make_absolute(pe, p);
    }
    if (artifact != NULL && declared(pe, "model") != NULL) {
        json_object_set_new(pe->params, "model", json_string(artifact));
    }
    return ERR_OK;
}

void params_free(struct oxb_pe *pe)
{
    json_decref(pe->params);
}

json_t *params_fallback(const struct oxb_param *p)
{
    const char *text = p->fallback;
    int64_t i;
    double d;
    if (text == NULL) {
        return NULL;
    }
    bool any = p->type == OXB_P_ANY;
    if ((p->type == OXB_P_I64 || any) && text_parse_i64(text, &i)) {
        return json_integer(i);
    }
    if ((p->type == OXB_P_F64 || any) && text_parse_f64(text, &d)) {
        return json_real(d);
    }
    if ((p->type == OXB_P_BOOL || any) &&
        (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
        return json_boolean(text[0] == 't');
    }
    if (p->type == OXB_P_MAP) {
        return json_object();
    }
    return json_string(text);
}

/* ---- getters ---- */

bool oxb_param_has(struct oxb_pe *pe, const char *name)
{
    return param(pe, name) != NULL;
}

int64_t oxb_param_i64(struct oxb_pe *pe, const char *name)
{
    json_t *v = param(pe, name);
    if (json_is_integer(v)) {
        return json_integer_value(v);
    }
    if (json_is_real(v)) {
        double d = json_real_value(v);
        return fabs(d) < 9.2e18 ? (int64_t)d : 0;
    }
    if (json_is_boolean(v)) {
        return json_is_true(v) ? 1 : 0;
    }
    const struct oxb_param *p = declared(pe, name);
    int64_t out = 0;
    if (json_is_string(v) && p != NULL) {
        const char *s = json_string_value(v);
        bool good = p->type == OXB_P_DURATION ? text_parse_duration_us(s, &out)
                    : p->type == OXB_P_SIZE   ? text_parse_size(s, &out)
                                              : text_parse_i64(s, &out);
        out = good ? out : 0;
    }
    return out;
}

double oxb_param_f64(struct oxb_pe *pe, const char *name)
{
    json_t *v = param(pe, name);
    return json_is_number(v) ? json_number_value(v) : (double)oxb_param_i64(pe, name);
}

bool oxb_param_bool(struct oxb_pe *pe, const char *name)
{
    return json_is_true(param(pe, name));
}

const char *oxb_param_str(struct oxb_pe *pe, const char *name)
{
    return json_string_value(param(pe, name)); /* NULL when it is no string */
}

unsigned oxb_param_fields(struct oxb_pe *pe, const char *name, const char **names, unsigned max)
{
    json_t *v = param(pe, name);
    if (json_is_string(v)) {
        if (max > 0) {
            names[0] = json_string_value(v);
        }
        return max > 0 ? 1 : 0;
    }
    unsigned count = 0;
    for (size_t i = 0; i < json_array_size(v) && count < max; i++) {
        const char *field = json_string_value(json_array_get(v, i));
        if (field != NULL) {
            names[count++] = field;
        }
    }
    return count;
}

const char *oxb_param_json(struct oxb_pe *pe, const char *name)
{
    json_t *v = param(pe, name);
    if (v == NULL) {
        return NULL;
    }
    /* The text is kept beside the parameters, under a name no parameter can have. */
    char *key = mem_printf("\n%s", name);
    json_t *kept = json_object_get(pe->params, key);
    if (kept == NULL) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        kept = json_string(text != NULL ? text : "null");
        json_object_set_new(pe->params, key, kept);
        free(text);
    }
    mem_free(key);
    return json_string_value(kept);
}

/* ---- helpers ---- */

static json_t *param(struct oxb_pe *pe, const char *name)
{
    json_t *v = json_object_get(pe->params, name);
    return json_is_null(v) ? NULL : v;
}

static const struct oxb_param *declared(const struct oxb_pe *pe, const char *name)
{
    const struct oxb_param *p = pe->type->params;
    while (p != NULL && p->name != NULL && strcmp(p->name, name) != 0) {
        p++;
    }
    return p != NULL && p->name != NULL ? p : NULL;
}

static void make_absolute(struct oxb_pe *pe, const struct oxb_param *p)
{
    const char *path = p->type == OXB_P_PATH ? oxb_param_str(pe, p->name) : NULL;
    if (path == NULL || path[0] == '/' || path[0] == '\0' || pe->base_dir == NULL) {
        return;
    }
    char *whole = file_join(pe->base_dir, path);
    json_object_set_new(pe->params, p->name, json_string(whole));
    mem_free(whole);
}
