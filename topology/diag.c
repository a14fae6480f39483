/* topology/diag.c - collecting problems while a topology is read. */
#include "topology/diag.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES_MAX 500
#define HINT_WORDS_MAX 16 /* longer lists do not help */

void diags_fini(struct diags *d)
{
    for (size_t i = 0; i < d->count; i++) {
        mem_free(d->items[i].message);
        mem_free(d->items[i].hint);
    }
    mem_free(d->items);
    *d = (struct diags){0};
}

/* one_line - control characters would break the line in which a problem is shown. */
static void one_line(char *s)
{
    for (; s != NULL && *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            *s = ' ';
        }
    }
}

/* shorten - names in a message may be as long as their author liked; UTF-8 stays whole. */
static void shorten(char *s)
{
    size_t at = MESSAGE_BYTES_MAX;
    if (strlen(s) <= MESSAGE_BYTES_MAX + 3) {
        return;
    }
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80) {
        at--;
    }
    memcpy(s + at, "...", 4);
}

static void PRINTF_LIKE(5, 0) add(struct diags *d, enum diag_level level, struct place_at at,
                                  char *hint TAKES, const char *fmt, va_list ap)
{
    if (level == DIAG_ERROR) {
        d->errors++;
    }
    if (d->count == DIAGS_MAX) {
        d->dropped++;
        mem_free(hint);
        return;
    }
    char *message = NULL;
    if (vasprintf(&message, fmt, ap) < 0) {
        message = mem_dup("out of memory");
    }
    shorten(message);
    one_line(message);
    one_line(hint);
    d->items = mem_grow(d->items, d->count, &d->capacity, sizeof d->items[0]);
    d->items[d->count++] = (struct diag){level, at, message, hint};
}

void diags_error(struct diags *d, struct place_at at, char *hint TAKES, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(d, DIAG_ERROR, at, hint, fmt, ap);
    va_end(ap);
}

void diags_warning(struct diags *d, struct place_at at, char *hint TAKES, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(d, DIAG_WARNING, at, hint, fmt, ap);
    va_end(ap);
}

void diags_sort(struct diags *d)
{
    for (size_t i = 1; i < d->count; i++) { /* at most DIAGS_MAX, and stable */
        struct diag item = d->items[i];
        size_t j = i;
        for (; j > 0; j--) {
            const struct place_at *before = &d->items[j - 1].at;
            if (before->line < item.at.line ||
                (before->line == item.at.line && before->column <= item.at.column)) {
                break;
            }
            d->items[j] = d->items[j - 1];
        }
        d->items[j] = item;
    }
}

char *diags_text(const struct diags *d, const char *file)
{
    struct strbuf out = {0};
    for (size_t i = 0; i < d->count; i++) {
        const struct diag *item = &d->items[i];
        strbuf_printf(&out, "%s:%u:%u: %s%s", file, item->at.line, item->at.column,
                      item->level == DIAG_WARNING ? "warning: " : "", item->message);
        if (item->hint != NULL && item->hint[0] != '\0') {
            strbuf_printf(&out, " (%s)", item->hint);
        }
        strbuf_char(&out, '\n');
    }
    if (d->dropped > 0) {
        strbuf_printf(&out, "%s: %zu more problems are not shown\n", file, d->dropped);
    }
    return strbuf_take(&out);
}

char *hint_nearest(const char *word, const char *const *known, size_t count)
{
    const char *nearest = text_nearest(word, known, count);
    if (nearest != NULL) {
        return mem_printf("did you mean '%s'?", nearest);
    }
    if (count == 0 || count > HINT_WORDS_MAX) {
        return NULL;
    }
    struct strbuf out = {0};
    strbuf_text_add(&out, count == 1 ? "the only one is " : "known are ");
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(&out, "%s%s", i > 0 ? ", " : "", known[i]);
    }
    return strbuf_take(&out);
}
