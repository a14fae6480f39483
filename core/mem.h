/* core/mem.h - memory of the control plane: returns or dies.  Data uses pools (pe/batch.h).
 *
 * Threads: any.  Sizes that come from outside are checked against core/limits.h before they get
 * here; `mem_try_alloc` is for the few that may be large all the same (artifacts, state). */
#ifndef OXB_CORE_MEM_H
#define OXB_CORE_MEM_H

#include <stddef.h>
#include <string.h>

void *mem_alloc(size_t bytes);                        /* zeroed; caller frees; never NULL */
void *mem_raw(size_t bytes);                          /* NOT zeroed: to be written at once */
void *mem_array(size_t count, size_t size);           /* zeroed; overflow dies */
void *mem_resize(void *p, size_t count, size_t size); /* new part is NOT zeroed */
char *mem_dup(const char *s);                         /* s may be NULL -> NULL */
char *mem_dup_n(const char *s, size_t bytes);         /* adds the NUL */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *mem_try_alloc(size_t bytes); /* zeroed, or NULL */
void mem_free(void *p);            /* accepts NULL */

/* mem_pages - zeroed memory for a table, on large pages as far as it fills them and the kernel has
 * them: a page fault costs from a quarter to several microseconds, and a table of 1 GiB has 262144
 * of the small ones.  Dies like the others.  Freed with the same size.  Thread: any. */
#define MEM_PAGES_MIN ((size_t)1 << 20) /* smaller ones are like any memory */
void *mem_pages(size_t bytes);
void mem_pages_free(void *p, size_t bytes);

/* mem_keep_freed - for a program of its own, in main: what it frees at the end of its heap goes
 * back to the system only when it is much, for it will be wanted again soon. */
void mem_keep_freed(void);

/* mem_grow - make room for one more element in a dynamic array.
 * @items: the array (may be NULL); @count: used; @capacity: in/out; doubles from 8. */
void *mem_grow(void *items, size_t count, size_t *capacity, size_t size);

/* mem_copy - memcpy, but `from` may be NULL when there is nothing to copy. */
static inline void mem_copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0) {
        memcpy(to, from, bytes);
    }
}

#endif
