/* pe/wiring.c - would a built-in PE take these parameters with these tuples?
 *
 * Threads:    any; blocks while a model file is read.
 * Invariants: no foreign code runs, and nothing outside memory changes. */
#include "pe/infer/fits.h"
#include "pe/registry.h"

#include <jansson.h>
#include <string.h>

static const struct oxb_pe_type *find_builtin(const char *use)
{
    for (unsigned i = 0; builtin_types[i] != NULL; i++) {
        if (strcmp(builtin_types[i]->name, use) == 0) {
            return builtin_types[i];
        }
    }
    return NULL;
}

/* A PE that looks at its input's schema decides there; sinks and sources open what is theirs. */
static bool binds_only(const struct oxb_pe_type *t)
{
    return t->bind != NULL && (t->flags & (OXB_SOURCE | OXB_EFFECTS)) == 0;
}

static enum err check_model(const char *params, const char *in, const char *out, struct fail *f)
{
    json_t *with = json_loads(params, 0, NULL);
    const char *model = json_string_value(json_object_get(with, "model"));
    enum err e = model != NULL ? model_fits(model, with, in, out, f) : ERR_OK;
    json_decref(with);
    return e;
}

enum err wiring_check(const char *use, const char *params, const char *in, const char *declared,
                      const char *out, struct fail *f)
{
    const struct oxb_pe_type *type = find_builtin(use);
    char why[512] = "";
    if (type != NULL && strcmp(use, "infer") == 0) {
        return check_model(params, in, out, f);
    }
    if (type == NULL || !binds_only(type)) {
        return ERR_OK;
    }
    struct oxb_harness *h = oxb_harness_new(type, params, in, declared, why, sizeof why);
    if (h == NULL) {
        return fail_set(f, ERR_INVALID, "", "%s", why);
    }
    oxb_harness_free(h);
    return ERR_OK;
}
