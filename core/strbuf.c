/* core/strbuf.c - a growing byte string. */
#include "core/strbuf.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct strbuf *b, size_t more)
{
    size_t need = b->bytes + more + 1;
    if (need > b->capacity) {
        size_t capacity = b->capacity != 0 ? b->capacity : 64;
        while (capacity < need) {
            capacity *= 2;
        }
        b->data = mem_resize(b->data, capacity, 1);
        b->capacity = capacity;
    }
}

void strbuf_fini(struct strbuf *b)
{
    mem_free(b->data);
    *b = (struct strbuf){0};
}

void strbuf_clear(struct strbuf *b)
{
    b->bytes = 0;
    if (b->data != NULL) {
        b->data[0] = '\0';
    }
}

void strbuf_add(struct strbuf *b, const void *p, size_t bytes)
{
    reserve(b, bytes);
    if (bytes > 0) {
        memcpy(b->data + b->bytes, p, bytes);
    }
    b->bytes += bytes;
    b->data[b->bytes] = '\0';
}

void strbuf_text_add(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_char(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char probe[1]; /* not NULL: gcc 12 under the undefined sanitizer takes that for truncation */
    int bytes = vsnprintf(probe, 0, fmt, ap);
    va_end(ap);
    if (bytes <= 0) {
        return;
    }
    reserve(b, (size_t)bytes);
    va_start(ap, fmt);
    vsnprintf(b->data + b->bytes, (size_t)bytes + 1, fmt, ap);
    va_end(ap);
    b->bytes += (size_t)bytes;
}

const char *strbuf_text(struct strbuf *b)
{
    reserve(b, 0);
    b->data[b->bytes] = '\0';
    return b->data;
}

char *strbuf_take(struct strbuf *b)
{
    reserve(b, 0);
    b->data[b->bytes] = '\0';
    char *data = b->data;
    *b = (struct strbuf){0};
    return data;
}
