/* topology/edit.c - small changes of a YAML text that keep everything else as its author wrote it.
 *
 * The tree says where a PE's mapping and its `parallelism` begin; the text between is cut there.
 * Why:        comments, order and layout are the author's; a text made anew from the model would
 *             lose them, and the next `oxbow upgrade` of the file would look like another one. */
#include "topology/edit.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "topology/yaml.h"

#include <stdio.h>
#include <string.h>

struct text {
    const char *at;
    size_t bytes;
};

/* offset_of - of a place, whose column counts characters; `bytes` when it is beyond the text. */
static size_t offset_of(const struct text *t, struct place_at at)
{
    size_t i = 0;
    for (uint32_t line = 1; line < at.line && i < t->bytes; i++) {
        bool pair = t->at[i] == '\r' && i + 1 < t->bytes && t->at[i + 1] == '\n';
        line += t->at[i] == '\n' || (t->at[i] == '\r' && !pair);
    }
    for (uint32_t column = 1; column < at.column && i < t->bytes; column++) {
        do {
            i++;
        } while (i < t->bytes && ((unsigned char)t->at[i] & 0xc0u) == 0x80u); /* UTF-8 goes on */
    }
    return i;
}

static struct ynode *pe_of(const struct ynode *root, const char *pe)
{
    return ytree_get(ytree_get(root, "pes"), pe);
}

/* is_same - the tree `b` is `a`, but for the PE's parallelism, which is `count`. */
static bool is_same(const struct ynode *a, const struct ynode *b, const char *count, bool is_pe);

static bool has_same(const struct ynode *a, const struct ynode *b, const char *count, bool is_pe)
{
    for (size_t i = 0; i + 1 < b->count; i += 2) {
        const char *key = b->items[i]->text;
        const struct ynode *value = b->items[i + 1];
        if (key == NULL) {
            return false;
        }
        if (is_pe && strcmp(key, "parallelism") == 0) {
            if (value->text == NULL || value->quoted || strcmp(value->text, count) != 0) {
                return false;
            }
        } else if (!is_same(ytree_get(a, key), value, count, false)) {
            return false;
        }
    }
    bool had = !is_pe || ytree_get(a, "parallelism") != NULL;
    return b->count == a->count + (had ? 0 : 2) &&
           (!is_pe || ytree_get(b, "parallelism") != NULL);
}

static bool is_same(const struct ynode *a, const struct ynode *b, const char *count, bool is_pe)
{
    if (a == NULL || b == NULL || a->kind != b->kind || a->quoted != b->quoted) {
        return a == b;
    }
    if (a->kind == Y_SCALAR) {
        return strcmp(a->text, b->text) == 0;
    }
    if (a->kind == Y_MAP) {
        return has_same(a, b, count, is_pe);
    }
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count && same; i++) {
        same = is_same(a->items[i], b->items[i], count, false);
    }
    return same;
}

/* is_edited - E1. */
static bool is_edited(const struct ynode *root, const char *text, const char *pe,
                      const char *count)
{
    struct diags d = {0};
    struct ynode *again = ytree_parse(text, strlen(text), &d);
    bool ok = again != NULL && d.errors == 0 && root->count == again->count &&
              is_same(pe_of(root, pe), pe_of(again, pe), count, true);
    const struct ynode *pes = ytree_get(root, "pes"), *after = ytree_get(again, "pes");
    for (size_t i = 0; ok && i + 1 < root->count; i += 2) { /* everything beside the PEs */
        const char *key = root->items[i]->text;
        ok = key != NULL && (strcmp(key, "pes") == 0 ||
                             is_same(root->items[i + 1], ytree_get(again, key), count, false));
    }
    for (size_t i = 0; ok && i + 1 < pes->count; i += 2) {
        const char *key = pes->items[i]->text;
        ok = key != NULL && (strcmp(key, pe) == 0 ||
                             is_same(pes->items[i + 1], ytree_get(after, key), count, false));
    }
    ytree_free(again);
    diags_fini(&d);
    return ok;
}

static void cut(const struct text *t, const struct ynode *map, const char *count,
                struct strbuf *out)
{
    const struct ynode *old = ytree_get(map, "parallelism");
    size_t from = offset_of(t, old != NULL ? old->at : map->at);
    size_t to = from + (old != NULL && old->text != NULL ? strlen(old->text) : 0);
    bool is_flow = old == NULL && from < t->bytes && t->at[from] == '{';
    from += is_flow;
    to += is_flow;
    to = to < t->bytes ? to : t->bytes;
    strbuf_add(out, t->at, from < t->bytes ? from : t->bytes);
    if (old != NULL) {
        strbuf_text_add(out, count);
    } else if (is_flow) {
        strbuf_printf(out, "parallelism: %s, ", count);
    } else { /* a line of its own before the first key */
        strbuf_printf(out, "parallelism: %s\n%*s", count, (int)map->at.column - 1, "");
    }
    strbuf_add(out, t->at + to, t->bytes - to);
}

enum err edit_parallelism(const char *yaml, size_t bytes, const char *pe, uint32_t count,
                          char **out, struct fail *f)
{
    const struct text t = {yaml, bytes};
    struct diags d = {0};
    struct strbuf edited = {0};
    char number[16];
    enum err e = ERR_OK;
    snprintf(number, sizeof number, "%u", (unsigned)count);
    struct ynode *root = ytree_parse(yaml, bytes, &d);
    const struct ynode *map = pe_of(root, pe);
    if (root == NULL || d.errors > 0) {
        e = fail_set(f, ERR_INVALID, "", "the text of the topology cannot be read");
    } else if (map == NULL) {
        e = fail_set(f, ERR_NOTFOUND, "see `oxbow status NAME`", "there is no PE '%.80s'", pe);
    } else if (map->kind == Y_MAP) {
        cut(&t, map, number, &edited);
    }
    if (e == ERR_OK && (edited.bytes == 0 || !is_edited(root, strbuf_text(&edited), pe, number))) {
        e = fail_set(f, ERR_INVALID, "set its parallelism in the file, then use `oxbow upgrade`",
                     "the parallelism of '%.80s' cannot be changed where the file says it", pe);
    }
    if (e == ERR_OK) {
        *out = strbuf_take(&edited);
    }
    strbuf_fini(&edited);
    ytree_free(root);
    diags_fini(&d);
    return e;
}
