/* topology/wiring.c - asks the code of a PE, where it may, whether it takes what it would get.
 *
 * Schemas say which fields a PE needs.  That a constant does not fit the field it is compared with,
 * or fields the input of a model, only its code knows: catalog_set_check.
 *
 * Place:      the parameter that the answer begins with in backquotes; else the last key or value
 *             of `with:` that the answer quotes; else `with:`. */
#include "topology/draft.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* The value of the parameter in whose name, in backquotes, `text` begins; NULL: in none. */
static const struct ynode *named_first(const struct ynode *with, const char *text)
{
    for (size_t i = 0; text[0] == '`' && with->kind == Y_MAP && i + 1 < with->count; i += 2) {
        const char *name = with->items[i]->text;
        size_t bytes = name != NULL ? strlen(name) : 0;
        if (bytes > 0 && strncmp(text + 1, name, bytes) == 0 &&
            strchr("`:.", text[1 + bytes]) != NULL) {
            return with->items[i + 1];
        }
    }
    return NULL;
}

static bool quotes(const char *text, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *at = text; bytes > 0 && (at = strstr(at, word)) != NULL; at++) {
        if (at > text && (at[-1] == '\'' || at[-1] == '`') &&
            (at[bytes] == '\'' || at[bytes] == '`')) {
            return true;
        }
    }
    return false;
}

static const struct ynode *quoted_last(const struct ynode *n, const char *text)
{
    const struct ynode *found = n->kind == Y_SCALAR && quotes(text, n->text) ? n : NULL;
    for (size_t i = n->count; found == NULL && i-- > 0;) { /* YAML_DEPTH_MAX bounds this */
        found = quoted_last(n->items[i], text);
    }
    return found;
}

struct place_at place_in_with(const struct pe *p, const struct dpe *at, const char *text)
{
    if (at->with == NULL) {
        return p->at;
    }
    const struct ynode *n = named_first(at->with, text);
    n = n != NULL ? n : quoted_last(at->with, text);
    return n != NULL ? n->at : at->with->at;
}

void check_wiring(struct draft *dr, const struct pe *p, const struct dpe *at)
{
    const struct mschema *out = p->desc->output_count > 0 ? &p->outputs[0].schema : NULL;
    struct fail f = {0};
    if (p->input_count == 0 || !mschema_known(&p->inputs[0].schema)) {
        return;
    }
    char *with = json_dumps(p->with, JSON_COMPACT | JSON_ENCODE_ANY);
    const struct catalog_wiring w = {
        .use = p->use,
        .params = with,
        .in = p->inputs[0].schema.text,
        .declared = p->has_declared_out ? p->declared_out.text : NULL,
        .out = out != NULL && mschema_known(out) ? out->text : NULL,
    };
    if (catalog_check(dr->catalog, &w, &f) != ERR_OK) {
        char *hint =
            f.hint[0] != '\0' ? mem_dup(f.hint) : mem_printf("see `oxbow pe show %.80s`", p->use);
        diags_error(dr->d, place_in_with(p, at, f.what), hint, "'%s': %s", p->name, f.what);
    }
    free(with);
}
