/* worker/wills.c - making a removed PE once more, so that it commits what it has left. */
#include "worker/wills.h"

#include "core/failpoint.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/instance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void on_lacking(void *arg, struct part *d);
static void on_prepared(void *arg, struct part *d);
static void on_change(void *arg, struct part *d);
static void on_dropped(void *arg, struct part *d);

void wills_init(struct wills *w, const struct part_env *env)
{
    w->env = *env;
    w->env.on_lacking = on_lacking;
    w->env.on_prepared = on_prepared;
    w->env.on_change = on_change;
    w->env.on_dropped = on_dropped;
    w->env.arg = w;
}

static const struct rec_INSTANCE_SPEC *spec_of(const struct part *d)
{
    return &d->plan.PREPARE.add_instances[0];
}

static struct part *find(const struct wills *w, const char *topology, uint64_t epoch,
                         const char *uid, uint64_t index)
{
    struct part *d = w->first;
    while (d != NULL && (d->epoch != epoch || spec_of(d)->index != index ||
                         strcmp(d->name, topology) != 0 || strcmp(spec_of(d)->uid, uid) != 0)) {
        d = d->next;
    }
    return d;
}

static void answer(struct wills *w, const struct part *d, const char *what)
{
    struct msg m = {.kind = M_WILL_DONE};
    m.WILL_DONE = (struct msg_WILL_DONE){.topology = d->name,
                                         .epoch = d->epoch,
                                         .uid = spec_of(d)->uid,
                                         .index = spec_of(d)->index,
                                         .incarnation = w->env.incarnation,
                                         .ok = what == NULL,
                                         .what = what != NULL ? what : ""};
    log_event(what == NULL ? LOG_INFO : LOG_ERROR, "will.done",
              "topology=%s epoch=%" PRIu64 " uid=%s index=%" PRIu64 " what=\"%s\"", d->name,
              d->epoch, spec_of(d)->uid, spec_of(d)->index, what != NULL ? what : "");
    w->send(w->arg, &m);
}

void wills_take(struct wills *w, const struct msg_WILL *m)
{
    static const uint8_t all_groups[KEY_GROUPS / 8] = {0};
    if (m->instances_count != 1 ||
        find(w, m->topology, m->epoch, m->instances[0].uid, m->instances[0].index) != NULL) {
        return; /* N1 */
    }
    struct rec_RESTORE restore = {.instance = m->instances[0].id,
                                  .uid = m->instances[0].uid,
                                  .index = m->instances[0].index,
                                  .epochs = {(const uint8_t *)&m->epoch, sizeof m->epoch},
                                  .groups = {all_groups, sizeof all_groups},
                                  .own = true};
    struct msg prepare = {.kind = M_PREPARE};
    prepare.PREPARE = (struct msg_PREPARE){.term = m->term,
                                           .topology = m->topology,
                                           .gen = m->gen,
                                           .epoch = m->epoch,
                                           .version = m->version,
                                           .base_dir = m->base_dir,
                                           .checkpoints = true,
                                           .location = m->location,
                                           .cluster = m->cluster,
                                           .add_instances = m->instances,
                                           .add_instances_count = 1,
                                           .restores = &restore,
                                           .restores_count = 1};
    struct part *d = part_new(&w->env, &prepare);
    d->next = w->first;
    w->first = d;
    w->wanted(w->arg);
}

struct part *wills_waiting(struct wills *w, const struct part *after)
{
    struct part *d = after != NULL ? after->next : w->first;
    while (d != NULL && (d->dropping || d->preparing || d->state != DEPLOYMENT_PREPARING)) {
        d = d->next;
    }
    return d;
}

void wills_fail(struct wills *w, struct part *d)
{
    d->state = DEPLOYMENT_FAILED;
    answer(w, d, d->fail.what);
    part_drop(d);
}

static void on_lacking(void *arg, struct part *d)
{
    struct wills *w = arg;
    (void)d;
    w->wanted(w->arg);
}

static void on_prepared(void *arg, struct part *d)
{
    struct wills *w = arg;
    if (d->failed) {
        wills_fail(w, d);
        return;
    }
    FAILPOINT("will.restored");
    part_go(d);
    part_commit(d, d->epoch);
}

static void on_change(void *arg, struct part *d)
{
    struct wills *w = arg;
    const char *pe = "";
    (void)part_update(d);
    if (d->state == DEPLOYMENT_FAILED) {
        answer(w, d, d->instances[0]->error);
    } else if (!part_committed(d, &pe)) {
        return;
    } else {
        answer(w, d, pe[0] != '\0' ? pe_error(d->instances[0]->pe) : NULL);
    }
    part_drop(d);
}

static void on_dropped(void *arg, struct part *d)
{
    struct wills *w = arg;
    struct part **at = &w->first;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    part_free(d);
    if (w->first == NULL) {
        w->idle(w->arg);
    }
}

void wills_halt(struct wills *w)
{
    for (struct part *d = w->first; d != NULL;) {
        struct part *next = d->next;
        part_drop(d);
        d = next;
    }
}
