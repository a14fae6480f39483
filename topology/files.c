/* topology/files.c - the files that PEs write, each one's own.
 *
 * A sink fixes the offset at which a line goes before the line is there, so a file has one writer:
 * two instances never name the same one, and one that another has just left may still get lines of
 * that one, until the first checkpoint of the new version.
 *
 * What is compared is how a path is written, short of `.` and doubled slashes: links and mounts are
 * of machines that nobody here has seen.  Devices take any number of writers. */
#include "topology/draft.h"
#include "topology/plan.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

struct writer { /* an instance, and a file that it writes */
    const struct pe *pe;
    const char *param;
    uint32_t index;
    char *path;
};

struct writers { /* by path */
    struct writer *items;
    size_t count, capacity;
};

/* plain - without what says nothing.  Caller frees. */
static char *plain(const char *path)
{
    char *out = mem_dup(path), *to = out;
    for (const char *at = path; *at != '\0';) {
        bool begins = to == out || to[-1] == '/';
        if (begins && at[0] == '.' && at[1] == '/') {
            at += 2;
        } else if (at[0] == '/' && to > out && to[-1] == '/') {
            at++;
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return out;
}

static void add(struct writers *w, const struct pe *p, const struct param_desc *desc)
{
    const char *named = json_string_value(json_object_get(p->with, desc->name));
    if (named == NULL || strncmp(named, "/dev/", 5) == 0) {
        return;
    }
    char *path = plain(named);
    for (uint32_t n = 0; n < p->parallelism; n++) {
        w->items = mem_grow(w->items, w->count, &w->capacity, sizeof w->items[0]);
        w->items[w->count++] = (struct writer){
            p, desc->name, n, p->parallelism > 1 ? mem_printf("%s.%u", path, n) : mem_dup(path)};
    }
    mem_free(path);
}

static int by_path(const void *a, const void *b)
{
    const struct writer *x = a, *y = b;
    int order = strcmp(x->path, y->path);
    return order != 0 ? order : x->pe < y->pe ? -1 : x->pe > y->pe;
}

static struct writers writers_of(const struct topology *t)
{
    struct writers w = {0};
    for (uint32_t i = 0; i < t->pe_count; i++) {
        const struct pe *p = &t->pes[i];
        for (unsigned k = 0; p->desc != NULL && k < p->desc->param_count; k++) {
            if (p->desc->params[k].writes) {
                add(&w, p, &p->desc->params[k]);
            }
        }
    }
    if (w.count > 0) {
        qsort(w.items, w.count, sizeof w.items[0], by_path);
    }
    return w;
}

static void writers_fini(struct writers *w)
{
    for (size_t i = 0; i < w->count; i++) {
        mem_free(w->items[i].path);
    }
    mem_free(w->items);
}

void check_files(struct draft *dr)
{
    struct writers w = writers_of(dr->t);
    for (size_t i = 1; i < w.count; i++) {
        const struct writer *a = &w.items[i - 1], *b = &w.items[i];
        if (strcmp(a->path, b->path) != 0 || a->pe == b->pe) {
            continue;
        }
        const struct ynode *n = ytree_get(dr->pes[b->pe - dr->t->pes].with, b->param);
        const struct ynode *other = ytree_get(dr->pes[a->pe - dr->t->pes].with, a->param);
        struct place_at at = other != NULL ? other->at : a->pe->at;
        diags_error(dr->d, n != NULL ? n->at : b->pe->at, mem_dup("give each a file of its own"),
                    "'%s' would write to %s, which '%s' writes as well (line %u, column %u)",
                    b->pe->name, b->path, a->pe->name, at.line, at.column);
        while (i + 1 < w.count && w.items[i + 1].pe == b->pe) { /* said once for each pair */
            i++;
        }
    }
    writers_fini(&w);
}

static const struct writer *find(const struct writers *w, const char *path)
{
    for (size_t i = 0; i < w->count; i++) {
        if (strcmp(w->items[i].path, path) == 0) {
            return &w->items[i];
        }
    }
    return NULL;
}

void plan_check_files(struct plan *p)
{
    struct writers from = writers_of(p->diff->from), to = writers_of(p->diff->to);
    const struct pe *said = NULL;
    for (size_t i = 0; i < to.count; i++) {
        const struct writer *b = &to.items[i], *a = find(&from, b->path);
        bool is_same = a == NULL || (strcmp(a->pe->uid, b->pe->uid) == 0 && a->index == b->index);
        if (is_same || b->pe == said) {
            continue;
        }
        said = b->pe;
        plan_refuse(p, ERR_DENIED, b->pe->name,
                    mem_printf("'%s' would write to %s, for which '%s' may have lines that no"
                               " checkpoint covers yet",
                               b->pe->name, b->path, a->pe->name),
                    strcmp(a->pe->uid, b->pe->uid) == 0
                        ? "name another file, or make it two upgrades with a checkpoint between"
                        : "give it the same `uid:`, name another file, or make it two upgrades with"
                          " a checkpoint between");
    }
    writers_fini(&from);
    writers_fini(&to);
}
