/* core/strbuf.h - a growing byte string.  A zeroed struct is empty and valid. */
#ifndef OXB_CORE_STRBUF_H
#define OXB_CORE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct strbuf {
    char *data;      /* ends with NUL when bytes > 0 or after strbuf_text; NULL while empty */
    size_t bytes;    /* without the NUL */
    size_t capacity;
};

void strbuf_fini(struct strbuf *b);
void strbuf_clear(struct strbuf *b);                       /* keeps the memory */
void strbuf_add(struct strbuf *b, const void *p, size_t bytes);
void strbuf_text_add(struct strbuf *b, const char *s);
void strbuf_char(struct strbuf *b, char c);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *strbuf_text(struct strbuf *b);                 /* never NULL; borrowed until changed */
char *strbuf_take(struct strbuf *b);                       /* caller frees; b is empty after */

#endif
