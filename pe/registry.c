/* pe/registry.c - the PE types this process knows by name: built-in ones and registered ones.
 *
 * Owns:       the table of registered types.
 * Threads:    any; one leaf mutex.
 * Invariants: Y1 a name means one type for the life of the process.
 *             Y2 a type in the table passed type_check.
 * See:        pe/plugin.c for types out of shared objects */
#include "pe/registry.h"

#include "core/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    const struct oxb_pe_type **types;
    size_t count, capacity;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: registry */

static const struct oxb_pe_type *find_locked(const char *name);

const struct oxb_pe_type *registry_find(const char *name)
{
    pthread_mutex_lock(&registry.lock);
    const struct oxb_pe_type *type = find_locked(name);
    pthread_mutex_unlock(&registry.lock);
    return type;
}

int oxb_register(const struct oxb_pe_type *type)
{
    struct fail f = {0};
    if (type_check(type, &f) != ERR_OK) {
        return -1;
    }
    int result = -1;
    pthread_mutex_lock(&registry.lock);
    if (find_locked(type->name) == NULL) { /* Y1 */
        registry.types =
            mem_grow(registry.types, registry.count, &registry.capacity, sizeof *registry.types);
        registry.types[registry.count++] = type;
        result = 0;
    }
    pthread_mutex_unlock(&registry.lock);
    return result;
}

struct entry {
    const struct oxb_pe_type *type;
    bool builtin;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->type->name, ((const struct entry *)b)->type->name);
}

void registry_each(void (*fn)(void *arg, const struct oxb_pe_type *type, bool builtin), void *arg)
{
    size_t count = 0;
    while (builtin_types[count] != NULL) {
        count++;
    }
    size_t builtins = count;
    pthread_mutex_lock(&registry.lock);
    count += registry.count;
    struct entry *all = mem_array(count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i].builtin = i < builtins;
        all[i].type = i < builtins ? builtin_types[i] : registry.types[i - builtins];
    }
    pthread_mutex_unlock(&registry.lock);
    qsort(all, count, sizeof *all, by_name);
    for (size_t i = 0; i < count; i++) {
        fn(arg, all[i].type, all[i].builtin); /* outside the lock: fn may look names up */
    }
    mem_free(all);
}

static const struct oxb_pe_type *find_locked(const char *name)
{
    for (size_t i = 0; builtin_types[i] != NULL; i++) {
        if (strcmp(builtin_types[i]->name, name) == 0) {
            return builtin_types[i];
        }
    }
    for (size_t i = 0; i < registry.count; i++) {
        if (strcmp(registry.types[i]->name, name) == 0) {
            return registry.types[i];
        }
    }
    return NULL;
}
