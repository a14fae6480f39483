/* topology/read.c - values of the kinds the YAML format has, each with its complaint. */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/text.h"

#include <string.h>

bool read_map(struct diags *d, const struct ynode *n, const char *what, const char *const *keys,
              size_t count, const struct ynode **values)
{
    for (size_t k = 0; k < count; k++) {
        values[k] = NULL;
    }
    if (n->kind != Y_MAP) {
        diags_error(d, n->at, mem_printf("write `%s: value` lines below it", keys[0]),
                    "%s is %s, not a mapping", what, ytree_kind_text(n));
        return false;
    }
    bool good = true;
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        const struct ynode *key = n->items[i];
        size_t k = 0;
        while (key->kind == Y_SCALAR && k < count && strcmp(keys[k], key->text) != 0) {
            k++;
        }
        if (key->kind != Y_SCALAR) {
            good = false; /* reported by ytree_parse */
        } else if (k < count) {
            values[k] = values[k] == NULL ? n->items[i + 1] : values[k];
        } else {
            diags_error(d, key->at, hint_nearest(key->text, keys, count),
                        "unknown key '%.80s' in %s", key->text, what);
            good = false;
        }
    }
    return good;
}

bool read_text(struct diags *d, const struct ynode *n, const char *what, const char **out)
{
    if (ytree_is_null(n) || n->kind != Y_SCALAR) {
        diags_error(d, n->at, mem_dup("write one value after the colon"), "%s is %s, not text",
                    what, ytree_kind_text(n));
        return false;
    }
    *out = n->text;
    return true;
}

/* name_hint - the name as it could be written. */
static char *name_hint(const char *name)
{
    char fixed[NAME_BYTES_MAX + 1];
    size_t bytes = 0;
    for (; name[bytes] != '\0' && bytes < NAME_BYTES_MAX; bytes++) {
        char c = name[bytes];
        fixed[bytes] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c == '_' || c == ' ' ? '-' : c;
    }
    fixed[bytes] = '\0';
    if (name[bytes] == '\0' && text_is_name(fixed)) {
        return mem_printf("write '%s'", fixed);
    }
    return mem_printf("use a to z, 0 to 9 and -, beginning with a letter, at most %d characters",
                      NAME_BYTES_MAX);
}

bool check_name(struct diags *d, struct place_at at, const char *what, const char *name)
{
    if (text_is_name(name)) {
        return true;
    }
    diags_error(d, at, name_hint(name), "'%.80s' cannot be the name of %s", name, what);
    return false;
}

bool read_name(struct diags *d, const struct ynode *n, const char *what, const char **out)
{
    const char *name;
    char *of = mem_printf("the name of %s", what);
    bool is_text = read_text(d, n, of, &name);
    mem_free(of);
    if (!is_text || !check_name(d, n->at, what, name)) {
        return false;
    }
    *out = name;
    return true;
}

bool read_u32(struct diags *d, const struct ynode *n, const char *what, uint32_t min, uint32_t max,
              uint32_t *out)
{
    int64_t value;
    if (n->kind != Y_SCALAR || n->quoted || !text_parse_i64(n->text, &value)) {
        diags_error(d, n->at, mem_printf("write a number from %u to %u", min, max),
                    "%s is %s, not a whole number", what,
                    n->kind == Y_SCALAR && n->text[0] != '\0' ? "text" : ytree_kind_text(n));
        return false;
    }
    if (value < min || value > max) {
        diags_error(d, n->at, mem_printf("use %u to %u", min, max), "%s is %lld", what,
                    (long long)value);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

bool read_size(struct diags *d, const struct ynode *n, const char *what, uint64_t max,
               uint64_t *out)
{
    int64_t bytes;
    if (n->kind != Y_SCALAR || !text_parse_size(n->text, &bytes) || bytes < 0) {
        diags_error(d, n->at, mem_dup("write 512, 64KiB, 1MiB or 2GB"), "%s is not a size", what);
        return false;
    }
    if ((uint64_t)bytes > max) {
        diags_error(d, n->at, mem_dup("use less"), "%s is too large", what);
        return false;
    }
    *out = (uint64_t)bytes;
    return true;
}

bool read_duration_us(struct diags *d, const struct ynode *n, const char *what, uint64_t min_us,
                      uint64_t *out)
{
    int64_t us;
    if (n->kind != Y_SCALAR || !text_parse_duration_us(n->text, &us)) {
        diags_error(d, n->at, mem_dup("write 10ms, 5s, 2m or 1h"), "%s is not a duration", what);
        return false;
    }
    if ((uint64_t)us < min_us) {
        char least[32];
        text_duration((int64_t)min_us, least, sizeof least);
        diags_error(d, n->at, mem_printf("use %s or more", least), "%s is too short", what);
        return false;
    }
    *out = (uint64_t)us;
    return true;
}

bool read_bool(struct diags *d, const struct ynode *n, const char *what, bool *out)
{
    if (n->kind == Y_SCALAR && !n->quoted) {
        if (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0) {
            *out = n->text[0] == 't';
            return true;
        }
    }
    diags_error(d, n->at, mem_dup("write true or false"), "%s is neither true nor false", what);
    return false;
}

bool read_choice(struct diags *d, const struct ynode *n, const char *what,
                 const char *const *choices, size_t count, unsigned *out)
{
    const char *word;
    if (!read_text(d, n, what, &word)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, choices[i]) == 0) {
            *out = (unsigned)i;
            return true;
        }
    }
    diags_error(d, n->at, hint_nearest(word, choices, count), "%s cannot be '%.80s'", what, word);
    return false;
}
