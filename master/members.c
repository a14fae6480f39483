/* master/members.c - which workers there are: joined, away for a moment, or lost. */
#include "master/members.h"

#include "core/mem.h"
#include "core/text.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define THREADS_MAX EXECUTORS_MAX

static void forget_hello(struct member *w);
static json_t *names_of(json_t *types);
static struct member *add(struct members *ms, const char *name, uint64_t id);

void members_fini(struct members *ms)
{
    for (size_t i = 0; i < ms->count; i++) {
        forget_hello(ms->items[i]);
        mem_free(ms->items[i]);
    }
    mem_free(ms->items);
    json_decref(ms->drained);
    *ms = (struct members){0};
}

bool members_is_drained(const struct members *ms, const char *name)
{
    return json_object_get(ms->drained, name) != NULL;
}

void members_set_drained(struct members *ms, const char *name, bool drained)
{
    if (ms->drained == NULL) {
        ms->drained = json_object();
    }
    if (drained) {
        json_object_set_new(ms->drained, name, json_true());
    } else {
        json_object_del(ms->drained, name);
    }
}

struct member *members_find(const struct members *ms, const char *name)
{
    for (size_t i = 0; i < ms->count; i++) {
        if (strcmp(ms->items[i]->name, name) == 0) {
            return ms->items[i];
        }
    }
    return NULL;
}

struct member *members_by_id(const struct members *ms, uint64_t id)
{
    for (size_t i = 0; i < ms->count; i++) {
        if (ms->items[i]->id == id) {
            return ms->items[i];
        }
    }
    return NULL;
}

struct member *members_by_conn(const struct members *ms, const void *conn)
{
    for (size_t i = 0; i < ms->count; i++) {
        if (ms->items[i]->state == MEMBER_UP && ms->items[i]->conn == conn) {
            return ms->items[i];
        }
    }
    return NULL;
}

size_t members_up(const struct members *ms)
{
    size_t up = 0;
    for (size_t i = 0; i < ms->count; i++) {
        up += ms->items[i]->state == MEMBER_UP;
    }
    return up;
}

struct member *members_expect(struct members *ms, const char *name, uint64_t id,
                              uint64_t incarnation, uint64_t deadline_us)
{
    struct member *w = members_find(ms, name);
    if (w == NULL) {
        w = add(ms, name, id);
    }
    w->incarnation = incarnation;
    w->state = MEMBER_AWAY;
    w->deadline_us = deadline_us;
    return w;
}

enum err members_check(const struct members *ms, const struct member_hello *h, uint64_t term,
                       struct fail *f)
{
    if (h->protocol == 0) {
        return fail_set(f, ERR_VERSION, "use programs of the same release",
                        "no common protocol version");
    }
    if (!text_is_name(h->name)) {
        return fail_set(f, ERR_INVALID, "use lower-case letters, digits and '-', a letter first",
                        "not a worker name: \"%.80s\"", h->name);
    }
    if (h->incarnation == 0 || h->slots == 0 || h->slots > INSTANCES_MAX ||
        h->threads > THREADS_MAX) {
        return fail_set(f, ERR_INVALID, "see --slots and --threads",
                        "worker %s offers %" PRIu64 " slots and %" PRIu64 " threads", h->name,
                        h->slots, h->threads);
    }
    if (h->term_seen > term) {
        return fail_set(f, ERR_STALE, "point the worker at the newest master",
                        "worker %s has met a master of term %" PRIu64 ", this one is of term "
                        "%" PRIu64, h->name, h->term_seen, term);
    }
    const struct member *w = members_find(ms, h->name);
    if (w == NULL) {
        return ms->count < WORKERS_MAX
                   ? ERR_OK
                   : fail_set(f, ERR_LIMIT, "remove workers", "there are %zu workers already",
                              ms->count);
    }
    if (w->state == MEMBER_UP && w->incarnation != h->incarnation) { /* M1 */
        return fail_set(f, ERR_EXISTS, "choose another --name",
                        "a worker named %s is connected already", h->name);
    }
    if (w->lost_incarnation == h->incarnation) { /* M3 */
        return fail_set(f, ERR_STALE, "restart the worker",
                        "worker %s was away for too long and was given up", h->name);
    }
    return ERR_OK;
}

struct member *members_join(struct members *ms, const struct member_hello *h, uint64_t id,
                            void *conn, uint64_t now_us, uint64_t *lost)
{
    struct member *w = members_find(ms, h->name);
    *lost = 0;
    if (w == NULL) {
        w = add(ms, h->name, id);
    } else if (w->incarnation != h->incarnation && w->state == MEMBER_AWAY) {
        *lost = w->incarnation;
        w->lost_incarnation = w->incarnation;
    }
    forget_hello(w);
    w->incarnation = h->incarnation;
    w->address = mem_dup(h->address);
    w->host = mem_dup(h->host);
    w->version = mem_dup(h->version);
    w->pid = h->pid;
    w->slots = (uint32_t)h->slots;
    w->threads = (uint32_t)h->threads;
    w->gpu = h->gpu;
    w->renews = h->renews;
    w->labels = h->labels != NULL ? json_incref(h->labels) : json_object();
    w->types = h->types != NULL ? json_incref(h->types) : json_array();
    w->type_names = names_of(w->types);
    w->state = MEMBER_UP;
    w->reporting = true;
    w->heard_at_us = now_us;
    w->conn = conn;
    return w;
}

void members_closed(struct member *w, uint64_t now_us, uint64_t patience_us)
{
    assert(w->state == MEMBER_UP);
    w->state = MEMBER_AWAY;
    w->reporting = false;
    w->conn = NULL;
    w->left_us = now_us;
    w->deadline_us = now_us + patience_us;
}

struct member *members_overdue(struct members *ms, uint64_t now_us)
{
    for (size_t i = 0; i < ms->count; i++) {
        struct member *w = ms->items[i];
        if (w->state == MEMBER_AWAY && w->deadline_us <= now_us) {
            w->state = MEMBER_LOST;
            w->lost_incarnation = w->incarnation;
            return w;
        }
    }
    return NULL;
}

const char *member_state_name(enum member_state s)
{
    static const char *const names[] = {"up", "away", "lost"};
    return names[s];
}

static json_t *names_of(json_t *types)
{
    json_t *names = json_array();
    size_t i;
    json_t *type;
    json_array_foreach(types, i, type)
    {
        json_t *name = json_object_get(type, "name");
        if (json_is_string(name)) {
            json_array_append(names, name);
        }
    }
    return names;
}

static struct member *add(struct members *ms, const char *name, uint64_t id)
{
    struct member *w = mem_alloc(sizeof *w);
    assert(strlen(name) <= NAME_BYTES_MAX);
    memcpy(w->name, name, strlen(name) + 1);
    w->id = id;
    w->state = MEMBER_LOST;
    ms->items = mem_grow(ms->items, ms->count, &ms->capacity, sizeof(struct member *));
    ms->items[ms->count++] = w;
    return w;
}

static void forget_hello(struct member *w)
{
    mem_free(w->address);
    mem_free(w->host);
    mem_free(w->version);
    json_decref(w->labels);
    json_decref(w->types);
    w->address = w->host = w->version = NULL;
    json_decref(w->type_names);
    w->labels = w->types = w->type_names = NULL;
}
