/* pe/infer/names.h - names of values to their numbers, while a model is loaded.
 *
 * Open addressing over borrowed strings; the table lives shorter than they do. */
#ifndef OXB_PE_INFER_NAMES_H
#define OXB_PE_INFER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names { /* a zeroed one is empty and valid */
    struct name_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

struct name_slot {
    const char *name; /* NULL: free */
    uint32_t value;
};

void names_fini(struct names *n);
/* names_add - Return: false when the name is there already (its number stays). */
bool names_add(struct names *n, const char *name, uint32_t value);
/* names_find - the number, or UINT32_MAX. */
uint32_t names_find(const struct names *n, const char *name);

#endif
