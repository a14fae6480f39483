/* core/mem.c - allocation that returns or dies. */
#include "core/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(size_t bytes)
{
    fprintf(stderr, "error: out of memory; %zu bytes were asked for; give it more memory\n", bytes);
    abort();
}

void *mem_alloc(size_t bytes)
{
    void *p = calloc(1, bytes != 0 ? bytes : 1);
    if (p == NULL) {
        die(bytes);
    }
    return p;
}

void *mem_array(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);
    if (p == NULL) {
        die(count > SIZE_MAX / (size != 0 ? size : 1) ? SIZE_MAX : count * size);
    }
    return p;
}

void *mem_resize(void *p, size_t count, size_t size)
{
    void *q = reallocarray(p, count != 0 ? count : 1, size != 0 ? size : 1);
    if (q == NULL) {
        die(count * size);
    }
    return q;
}

char *mem_dup(const char *s)
{
    return s != NULL ? mem_dup_n(s, strlen(s)) : NULL;
}

char *mem_dup_n(const char *s, size_t bytes)
{
    char *p = mem_alloc(bytes + 1);
    memcpy(p, s, bytes);
    return p;
}

char *mem_printf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&p, fmt, ap) < 0) {
        die(0);
    }
    va_end(ap);
    return p;
}

void *mem_try_alloc(size_t bytes)
{
    return calloc(1, bytes != 0 ? bytes : 1);
}

void mem_free(void *p)
{
    free(p);
}

void *mem_grow(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity != 0 ? *capacity * 2 : 8;
    return mem_resize(items, *capacity, size);
}
