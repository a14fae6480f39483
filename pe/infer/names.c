/* pe/infer/names.c - a small hash table from names to numbers. */
#include "pe/infer/names.h"

#include "core/hash.h"
#include "core/mem.h"

#include <string.h>

static struct name_slot *slot_of(const struct names *n, const char *name)
{
    size_t at = hash_bytes(name, strlen(name)) & (n->capacity - 1);
    while (n->slots[at].name != NULL && strcmp(n->slots[at].name, name) != 0) {
        at = (at + 1) & (n->capacity - 1);
    }
    return &n->slots[at];
}

static void grow(struct names *n)
{
    struct names bigger = {.capacity = n->capacity != 0 ? n->capacity * 2 : 64, .count = n->count};
    bigger.slots = mem_array(bigger.capacity, sizeof *bigger.slots);
    for (size_t i = 0; i < n->capacity; i++) {
        if (n->slots[i].name != NULL) {
            *slot_of(&bigger, n->slots[i].name) = n->slots[i];
        }
    }
    mem_free(n->slots);
    *n = bigger;
}

void names_fini(struct names *n)
{
    mem_free(n->slots);
    *n = (struct names){0};
}

bool names_add(struct names *n, const char *name, uint32_t value)
{
    if (n->count * 2 >= n->capacity) {
        grow(n);
    }
    struct name_slot *s = slot_of(n, name);
    if (s->name != NULL) {
        return false;
    }
    *s = (struct name_slot){name, value};
    n->count++;
    return true;
}

uint32_t names_find(const struct names *n, const char *name)
{
    if (n->capacity == 0) {
        return UINT32_MAX;
    }
    const struct name_slot *s = slot_of(n, name);
    return s->name != NULL ? s->value : UINT32_MAX;
}
