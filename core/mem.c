/* core/mem.c - allocation that returns or dies. */
#include "core/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGE_PAGE = 2 << 20, KEPT_BYTES = 32 << 20, PAD_BYTES = 1 << 20 };

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

void *mem_raw(size_t bytes)
{
    void *p = malloc(bytes != 0 ? bytes : 1);
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
    char *p = mem_raw(bytes + 1);
    memcpy(p, s, bytes);
    p[bytes] = '\0';
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

/* Between what mmap gave and what is handed out lies less than a large page, which is given back.
 */
void *mem_pages(size_t bytes)
{
    if (bytes < MEM_PAGES_MIN) {
        return mem_alloc(bytes);
    }
    void *all = MAP_FAILED;
    if (bytes <= SIZE_MAX / 2) {
        all = mmap(NULL, bytes + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    }
    if (all == MAP_FAILED) {
        die(bytes);
    }
    uintptr_t from = (uintptr_t)all, at = (from + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (bytes + page - 1) & ~(page - 1);
    if (at > from) {
        munmap(all, at - from);
    }
    munmap((void *)(at + used), from + bytes + LARGE_PAGE - at - used);
    size_t filled = bytes & ~(size_t)(LARGE_PAGE - 1);
    if (filled > 0) {
        (void)madvise((void *)at, filled, MADV_HUGEPAGE); /* small ones are as right */
    }
    return (void *)at;
}

void mem_pages_free(void *p, size_t bytes)
{
    if (bytes < MEM_PAGES_MIN) {
        mem_free(p);
    } else if (p != NULL) {
        munmap(p, bytes);
    }
}

void mem_keep_freed(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, (int)MEM_PAGES_MIN);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    (void)mallopt(M_TOP_PAD, PAD_BYTES);
}

void *mem_grow(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity != 0 ? *capacity * 2 : 8;
    return mem_resize(items, *capacity, size);
}
