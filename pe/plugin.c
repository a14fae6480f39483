/* pe/plugin.c - shared objects that export PE types: loaded, checked, counted, unloaded.
 *
 * Owns:       the list of loaded plug-ins.
 * Threads:    any; one mutex, held over dlopen, so that two openers of a file share one plug-in.
 *             A plug-in's constructors run under it: they must not call back into the registry.
 * Invariants: U1 one struct plugin per file (device and inode), however it is named.
 *             U2 its types are used only between plugin_open and the last plugin_close.
 *             U3 what dlclose does not unload (linked with -z nodelete, or C++ with unique symbols)
 *                is counted once, however often it comes and goes.
 * See:        pe/registry.h, tests/unit/pe/plugin_test.c */
#include "pe/registry.h"

#include "core/log.h"
#include "core/mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define PLUGIN_TYPES_MAX 256u /* a table without its end is found out */

struct plugin {
    struct plugin *next;
    dev_t device;
    ino_t inode;
    unsigned refs;
    char *file;
    void *handle;
    const struct oxb_pe_type *single;      /* behind the symbol oxb_pe, or NULL */
    const struct oxb_pe_type *const *many; /* the array oxb_pes, or NULL */
    unsigned count;
};

static struct {
    pthread_mutex_t lock;
    struct plugin *plugins;
    struct plugin_counts counts;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: registry */

static enum err load(const char *file, const struct stat *st, struct plugin **out,
                     struct fail *f);
static enum err find_types(struct plugin *p, const char *file, struct fail *f);
static void unload(struct plugin *p);
static const struct oxb_pe_type *type_at(const struct plugin *p, unsigned i);

enum err plugin_open(const char *file, struct plugin **out, struct fail *f)
{
    struct stat st;
    if (file[0] != '/') {
        return fail_set(f, ERR_INVALID, "", "the plug-in `%s` is no absolute path", file);
    }
    if (stat(file, &st) != 0) {
        return fail_set(f, ERR_NOTFOUND, "check the path after `use:`",
                        "cannot read the plug-in `%s`: %s", file, strerror(errno));
    }
    pthread_mutex_lock(&registry.lock);
    struct plugin *p = registry.plugins;
    while (p != NULL && (p->device != st.st_dev || p->inode != st.st_ino)) {
        p = p->next; /* U1 */
    }
    enum err e = ERR_OK;
    if (p != NULL) {
        p->refs++;
    } else {
        e = load(file, &st, &p, f);
    }
    if (e == ERR_OK) {
        *out = p;
    }
    pthread_mutex_unlock(&registry.lock);
    return e;
}

void plugin_close(struct plugin *p)
{
    if (p == NULL) {
        return;
    }
    pthread_mutex_lock(&registry.lock);
    if (--p->refs == 0) {
        struct plugin **at = &registry.plugins;
        while (*at != p) {
            at = &(*at)->next;
        }
        *at = p->next;
        unload(p);
    }
    pthread_mutex_unlock(&registry.lock);
}

struct plugin_counts plugin_counts(void)
{
    pthread_mutex_lock(&registry.lock);
    struct plugin_counts counts = registry.counts;
    pthread_mutex_unlock(&registry.lock);
    return counts;
}

const struct oxb_pe_type *plugin_find(struct plugin *p, const char *symbol)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (symbol == NULL || strcmp(type_at(p, i)->name, symbol) == 0) {
            return type_at(p, i);
        }
    }
    return NULL;
}

void plugin_each(struct plugin *p, void (*fn)(void *arg, const struct oxb_pe_type *type), void *arg)
{
    for (unsigned i = 0; i < p->count; i++) {
        fn(arg, type_at(p, i));
    }
}

static bool is_mapped(const char *file)
{
    void *handle = dlopen(file, RTLD_NOW | RTLD_NOLOAD);
    if (handle != NULL) {
        dlclose(handle);
    }
    return handle != NULL;
}

static void unload(struct plugin *p)
{
    dlclose(p->handle);
    registry.counts.loaded--;
    if (is_mapped(p->file)) {
        registry.counts.kept++;
        log_event(LOG_WARN, "plugin.kept", "file=%s why=\"it cannot be unloaded\"", p->file);
    }
    mem_free(p->file);
    mem_free(p);
}

static enum err load(const char *file, const struct stat *st, struct plugin **out, struct fail *f)
{
    bool was_here = is_mapped(file);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return fail_set(f, ERR_INVALID,
                        "build it with cc -shared -fPIC $(pkg-config --cflags oxbow)",
                        "cannot load the plug-in: %s", dlerror());
    }
    struct plugin *p = mem_alloc(sizeof *p);
    *p = (struct plugin){.device = st->st_dev,
                         .inode = st->st_ino,
                         .refs = 1,
                         .file = mem_dup(file),
                         .handle = handle};
    enum err e = find_types(p, file, f);
    if (e != ERR_OK) {
        dlclose(handle);
        mem_free(p->file);
        mem_free(p);
        return e;
    }
    registry.counts.kept -= was_here && registry.counts.kept > 0 ? 1 : 0; /* U3 */
    registry.counts.loaded++;
    p->next = registry.plugins;
    registry.plugins = p;
    *out = p;
    return ERR_OK;
}

static enum err find_types(struct plugin *p, const char *file, struct fail *f)
{
    p->many = (const struct oxb_pe_type *const *)dlsym(p->handle, "oxb_pes");
    if (p->many != NULL) {
        while (p->count < PLUGIN_TYPES_MAX && p->many[p->count] != NULL) {
            p->count++;
        }
    } else {
        p->single = (const struct oxb_pe_type *)dlsym(p->handle, "oxb_pe");
        p->count = p->single != NULL ? 1 : 0;
    }
    if (p->count == 0 || p->count == PLUGIN_TYPES_MAX) {
        return fail_set(f, ERR_INVALID,
                        "export `OXB_EXPORT const struct oxb_pe_type oxb_pe`, or oxb_pes[]",
                        "the plug-in `%s` exports %s PE types", file,
                        p->count == 0 ? "no" : "an endless list of");
    }
    for (unsigned i = 0; i < p->count; i++) {
        struct fail why = {0};
        enum err e = type_check(type_at(p, i), &why);
        if (e != ERR_OK) {
            return fail_set(f, e, why.hint, "the plug-in `%.200s` is refused: %s", file, why.what);
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(type_at(p, i)->name, type_at(p, k)->name) == 0) {
                return fail_set(f, ERR_INVALID, "", "the plug-in `%.200s` has two PE types `%s`",
                                file, type_at(p, i)->name);
            }
        }
    }
    return ERR_OK;
}

static const struct oxb_pe_type *type_at(const struct plugin *p, unsigned i)
{
    return p->many != NULL ? p->many[i] : p->single;
}
