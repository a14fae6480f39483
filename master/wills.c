/* master/wills.c - what removed PEs have left: rows, and who carries them out. */
#include "master/wills.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "master/master.h"
#include "master/translate.h"
#include "master/upgrade.h"
#include "net/frame.h"
#include "topology/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_US = 10000000, AGAIN_US = 1000000 };

static void copy_row(struct store_will *to, const struct store_will *from)
{
    *to = *from;
    to->topology = mem_dup(from->topology);
    to->uid = mem_dup(from->uid);
    to->type = mem_dup(from->type);
    to->host = mem_dup(from->host);
    to->body = mem_dup_n(from->body, from->bytes);
}

void wills_rows_free(struct store_will *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        store_will_fini(&rows[i]);
    }
    mem_free(rows);
}

void wills_fini(struct wills *w)
{
    for (size_t i = 0; i < w->count; i++) {
        store_will_fini(&w->items[i].row);
    }
    mem_free(w->items);
    *w = (struct wills){0};
}

/* ---- rows */

static void load_one(void *arg, const struct store_will *row)
{
    struct wills *w = arg;
    w->items = mem_grow(w->items, w->count, &w->capacity, sizeof *w->items);
    struct will *one = &w->items[w->count++];
    *one = (struct will){0};
    copy_row(&one->row, row);
}

enum err wills_load(struct master *m, struct fail *f)
{
    wills_fini(&m->wills);
    enum err e = m->store->ops->wills(m->store, load_one, &m->wills, f);
    if (e != ERR_OK) {
        log_event(LOG_ERROR, "store.wills", "what=\"%s\"", f->what);
    }
    return e;
}

static bool moves_as_a_whole(const struct plan *p, uint32_t old)
{
    for (size_t i = 0; i < p->move_count; i++) {
        if (p->moves[i].old == old && p->moves[i].other) {
            return true;
        }
    }
    return false;
}

bool wills_is_left(const struct plan *p, const struct cover_member *x)
{
    if (x->old == INDEX_NONE || p->diff->from->checkpoint_every_us == 0) {
        return false;
    }
    const struct pgraph *v = p->match->from;
    const struct pe_desc *was = v->topology->pes[v->instances[x->old].pe].desc;
    if (!was->commits) {
        return false;
    }
    if (x->role == ROLE_OLD) { /* else its heir gets the list */
        return !moves_as_a_whole(p, x->old);
    }
    const struct pinstance *n = x->new != INDEX_NONE ? &p->to->instances[x->new] : NULL;
    return x->role == ROLE_ADOPTED && n != NULL && p->drops[n->pe] &&
           strcmp(p->diff->to->pes[n->pe].desc->name, was->name) != 0;
}

/* make_body - the WILL as it will be sent, but for term and generation. */
static enum err make_body(const struct deployment *d, const struct deployment *next,
                          uint32_t number, struct store_will *row, struct fail *f)
{
    struct msg m = {.kind = M_WILL};
    struct msg own = {.kind = M_PREPARE}; /* as translate_prepare_fini wants it */
    struct strbuf frame = {0};
    const char *location = d->topology->checkpoint_location;
    own.PREPARE.add_instances = mem_array(1, sizeof *own.PREPARE.add_instances);
    own.PREPARE.add_instances_count = 1;
    translate_instance(d, number, &own.PREPARE.add_instances[0]);
    m.WILL = (struct msg_WILL){.topology = d->name,
                               .version = d->version,
                               .epoch = next->token.epoch,
                               .base_dir = d->base_dir,
                               .location = location != NULL ? location + sizeof "file://" - 1 : "",
                               .instances = own.PREPARE.add_instances,
                               .instances_count = 1};
    enum err e = msg_encode(&m, &frame);
    if (e == ERR_OK) {
        row->body = mem_dup_n(frame.data, frame.bytes);
        row->bytes = frame.bytes;
    } else {
        e = fail_set(f, e, "", "the description of %s does not fit a message", row->uid);
    }
    strbuf_fini(&frame);
    translate_prepare_fini(&own);
    return e;
}

static struct store_will make_row(struct master *m, const struct deployment *d,
                                  const struct deployment *next, uint32_t number)
{
    const struct pinstance *n = &d->graph->instances[number];
    const struct pe *pe = &d->topology->pes[n->pe];
    const struct member *w = members_by_id(&m->members, d->parts[n->worker].worker_id);
    bool bound = pe->desc->local && w != NULL && w->host != NULL;
    return (struct store_will){.topology = mem_dup(d->name),
                               .epoch = next->token.epoch,
                               .uid = mem_dup(pe->uid),
                               .index = n->index,
                               .type = mem_dup(pe->desc->name),
                               .host = mem_dup(bound ? w->host : "")};
}

struct store_will *wills_of(struct master *m, const struct deployment *next, size_t *count)
{
    const struct deployment *d = deployments_find(&m->deployments, next->name);
    const struct plan *p = next->upgrade != NULL ? next->upgrade->plan : NULL;
    struct store_will *rows = NULL;
    size_t capacity = 0;
    *count = 0;
    for (uint32_t i = 0; p != NULL && d != next && i < p->cover->member_count; i++) {
        const struct cover_member *x = &p->cover->members[i];
        if (!wills_is_left(p, x)) {
            continue;
        }
        struct fail f = {0};
        struct store_will row = make_row(m, d, next, x->old);
        if (make_body(d, next, x->old, &row, &f) != ERR_OK) {
            log_event(LOG_ERROR, "will.body", "topology=%s what=\"%s\"", d->name, f.what);
        }
        rows = mem_grow(rows, *count, &capacity, sizeof *rows);
        rows[(*count)++] = row;
    }
    return rows;
}

bool wills_bar_decision(struct master *m, const struct deployment *next)
{
    const struct deployment *d = deployments_find(&m->deployments, next->name);
    const struct plan *p = next->upgrade != NULL ? next->upgrade->plan : NULL;
    for (uint32_t i = 0; p != NULL && d != next && d->keeping != NULL && i < p->cover->member_count;
         i++) {
        const struct cover_member *x = &p->cover->members[i];
        if (wills_is_left(p, x) &&
            d->parts[d->graph->instances[x->old].worker].committed < d->keeping->machine.complete) {
            return true;
        }
    }
    return false;
}

static const struct pe *pe_of(const struct topology *t, const struct store_will *row)
{
    for (uint32_t i = 0; t != NULL && i < t->pe_count; i++) {
        if (strcmp(t->pes[i].uid, row->uid) == 0 && strcmp(t->pes[i].desc->name, row->type) == 0) {
            return &t->pes[i];
        }
    }
    return NULL;
}

bool wills_bar_return(const struct master *m, const struct deployment *next)
{
    for (size_t i = 0; i < m->wills.count; i++) {
        const struct will *w = &m->wills.items[i];
        if (strcmp(w->row.topology, next->name) == 0 && !w->failed &&
            pe_of(next->topology, &w->row) != NULL) {
            return true;
        }
    }
    return false;
}

bool wills_any(const struct master *m, const char *topology)
{
    for (size_t i = 0; i < m->wills.count; i++) {
        if (strcmp(m->wills.items[i].row.topology, topology) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- carrying them out */

static void forget(struct master *m, struct will *w)
{
    struct fail f = {0};
    if (m->store->ops->will_done(m->store, &w->row, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.will_done", "what=\"%s\"", f.what);
        w->worker_id = 0; /* once more: it is idempotent */
        w->again_us = clock_now_us() + AGAIN_US;
        return;
    }
    store_will_fini(&w->row);
    *w = m->wills.items[--m->wills.count];
}

/* One that is on its host; the one after `w->worker_id`, where that one has not managed. */
static struct member *choose(struct master *m, const struct will *w)
{
    struct member *first = NULL;
    for (size_t i = 0; i < m->members.count; i++) {
        struct member *x = m->members.items[i];
        bool may =
            x->state == MEMBER_UP && !x->reporting &&
            (w->row.host[0] == '\0' || (x->host != NULL && strcmp(x->host, w->row.host) == 0));
        if (may && x->id > w->worker_id) {
            return x;
        }
        first = may && first == NULL ? x : first;
    }
    return first;
}

static void send_will(struct master *m, const struct deployment *d, struct will *w, uint64_t now_us)
{
    struct member *x = choose(m, w);
    struct fail f = {0};
    struct msg msg;
    w->again_us = now_us + AGAIN_US;
    if (x == NULL) {
        return;
    }
    if (w->row.bytes < FRAME_HEAD_BYTES ||
        msg_decode(M_WILL, (const char *)w->row.body + FRAME_HEAD_BYTES,
                   w->row.bytes - FRAME_HEAD_BYTES, &msg, &f) != ERR_OK) {
        w->failed = true;
        log_event(LOG_ERROR, "will.body", "topology=%s uid=%s what=\"%s\"", w->row.topology,
                  w->row.uid, f.what);
        return;
    }
    w->worker_id = x->id;
    w->incarnation = x->incarnation;
    w->again_us = now_us + ANSWER_US;
    msg.WILL.term = m->term;
    msg.WILL.gen = d->token.gen;
    msg.WILL.cluster = m->cluster;
    control_send(m, x->id, x->incarnation, &msg);
    msg_free(&msg);
}

/* Is whoever was asked still there to answer? */
static bool is_asked(struct master *m, const struct will *w)
{
    const struct member *x = w->incarnation != 0 ? members_by_id(&m->members, w->worker_id) : NULL;
    return x != NULL && x->state == MEMBER_UP && x->incarnation == w->incarnation;
}

void wills_tick(struct master *m, uint64_t now_us)
{
    for (size_t i = m->wills.count; i-- > 0;) {
        struct will *w = &m->wills.items[i];
        struct deployment *d = deployments_find(&m->deployments, w->row.topology);
        bool runs = d != NULL && d->keeping != NULL &&
                    (d->state == TOPOLOGY_RUNNING || d->state == TOPOLOGY_DRAINING);
        if (!runs || d->keeping->machine.complete <= w->row.epoch) { /* L2 */
            continue;
        }
        if (w->failed && pe_of(d->topology, &w->row) != NULL) {
            log_event(LOG_ERROR, "will.lost",
                      "topology=%s uid=%s index=%u what=\"it could not be committed, and the PE is "
                      "back\"",
                      w->row.topology, w->row.uid, w->row.index);
            forget(m, w);
        } else if (now_us >= w->again_us || (w->incarnation != 0 && !is_asked(m, w))) {
            send_will(m, d, w, now_us);
        }
    }
}

static struct will *find(struct master *m, const struct msg_WILL_DONE *r)
{
    for (size_t i = 0; i < m->wills.count; i++) {
        struct will *w = &m->wills.items[i];
        if (w->row.epoch == r->epoch && w->row.index == r->index &&
            strcmp(w->row.topology, r->topology) == 0 && strcmp(w->row.uid, r->uid) == 0) {
            return w;
        }
    }
    return NULL;
}

void wills_done(struct master *m, struct member *x, const struct msg_WILL_DONE *r)
{
    struct deployment *d = deployments_find(&m->deployments, r->topology);
    struct will *w = find(m, r);
    if (w == NULL || w->worker_id != x->id || w->incarnation != r->incarnation) {
        return;
    }
    if (!r->ok) {
        w->failed = true;
        w->incarnation = 0;
        w->again_us = clock_now_us() + AGAIN_US;
        log_event(LOG_ERROR, "will.failed", "topology=%s uid=%s index=%u worker=%s what=\"%s\"",
                  w->row.topology, w->row.uid, w->row.index, x->name, r->what);
        if (d != NULL && d->keeping != NULL) {
            snprintf(d->keeping->last_error, sizeof d->keeping->last_error,
                     "what the removed PE %.60s has left: %.150s", w->row.uid, r->what);
        }
        return;
    }
    log_event(LOG_INFO, "will.done", "topology=%s uid=%s index=%u worker=%s", w->row.topology,
              w->row.uid, w->row.index, x->name);
    forget(m, w);
    if (d != NULL && !deployment_is_over(d) && deployment_all_ended(d) && d->next == NULL) {
        conduct_ended(m, d);
    }
}
