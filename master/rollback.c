/* master/rollback.c - a running topology goes back to the last checkpoint of the version before.
 *
 *   asked -> which version, and its newest complete checkpoint n -> refused when a later one has
 *   shown output that is to be undone -> (that output is all committed) -> model and graph of that
 *   version from the store -> a new version of its content, decided in one commit, which also makes
 *   later checkpoints and wills of later changes void -> from here on a recovery: recover.c, which
 *   finds n to be the newest.
 *
 * The store keeps n, and with it the graph of its version, as long as a version of another content
 * runs (`manifest` of store.h); files and artifacts follow.  What was committed after n and stays
 * is told to whoever is restored from n: `is_passed` of the checkpoint, in the same commit.
 *
 * Runs on:    the master loop.
 * Invariants: B1 nothing has changed when it is refused.  B2 the present version cannot come back
 *             by itself: its checkpoints are gone with the commit.
 *             B3 no commit of an older generation is under way when output stays: sinks go on
 * behind what they find. */
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/master.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct back { /* where to */
    struct master *master;
    struct deployment *d; /* what runs */
    uint64_t before;      /* newest version of the content before */
    char digest[DIGEST_HEX_BYTES];
    uint64_t epoch, version; /* of the checkpoint; 0: there is none */
    struct deployment *next; /* made from its version */
    struct fail fail;
};

/* ---- where to */

static void take_newest(void *arg, const struct store_checkpoint *c)
{
    struct back *b = arg;
    if (b->epoch == 0 && c->version <= b->before) {
        b->epoch = c->epoch;
        b->version = c->version;
    }
}

static void make_next(void *arg, const struct store_version *v)
{
    struct back *b = arg;
    if (strcmp(v->digest, b->digest) != 0) {
        return; /* that checkpoint is of a version still older */
    }
    struct deployment *d = b->d, *next = mem_alloc(sizeof *next);
    *next = (struct deployment){.name = mem_dup(v->topology),
                                .version = d->last_version + 1,
                                .last_version = d->last_version + 1,
                                .token = {.term = b->master->term, .gen = d->token.gen},
                                .yaml = mem_dup(v->yaml),
                                .base_dir = mem_dup(v->base_dir),
                                .artifacts = mem_dup(v->artifacts),
                                .types = mem_dup(v->types),
                                .digest = mem_dup(v->digest),
                                .created_at_us = clock_wall_us(),
                                .state = TOPOLOGY_RECOVERING,
                                .back = {.from = d->version}};
    if (restore_graph(b->master, next, v, &b->fail) != ERR_OK) {
        deployment_free(next);
        return;
    }
    b->next = next;
}

static enum err find(struct back *b, struct fail *f)
{
    struct master *m = b->master;
    enum err e = ask_version_before(m, b->d, &b->before, b->digest, f);
    if (e == ERR_OK) {
        e = m->store->ops->checkpoints(m->store, b->d->name, take_newest, b, f);
    }
    if (e == ERR_OK && b->epoch != 0) {
        e = m->store->ops->version(m->store, b->d->name, b->version, make_next, b, f);
    }
    if (e == ERR_OK && b->next == NULL) {
        e = fail_set(f, ERR_DENIED, "`oxbow rollback` without --to-checkpoint keeps the state",
                     "no checkpoint of version %" PRIu64 " of topology %s is there%s%.200s",
                     b->before, b->d->name, b->fail.code != ERR_OK ? ": " : "", b->fail.what);
    }
    return e;
}

/* ---- what stands in the way */

static enum err check_running(const struct deployment *d, const char *name, struct fail *f)
{
    if (d == NULL) {
        return fail_set(f, ERR_NOTFOUND, "use `oxbow deploy`", "there is no topology %s", name);
    }
    if (d->state != TOPOLOGY_RUNNING || d->graph == NULL) {
        return fail_set(f, ERR_DENIED, "only what runs can be changed while it runs",
                        "topology %s is %s", name, topology_state_name(d->state));
    }
    if (d->keeping == NULL) {
        return fail_set(f, ERR_DENIED, "`oxbow rollback` without --to-checkpoint keeps the state",
                        "topology %s takes no checkpoints", name);
    }
    return ERR_OK;
}

static bool commits(const struct topology *t)
{
    for (uint32_t i = 0; i < t->pe_count; i++) {
        if (t->pes[i].desc->commits) {
            return true;
        }
    }
    return false;
}

/* H22: what readers have seen cannot be taken back. */
static enum err check_output(const struct back *b, bool keep_output, struct fail *f)
{
    uint64_t complete = b->d->keeping->machine.complete;
    if (keep_output || complete <= b->epoch ||
        (!commits(b->d->topology) && !commits(b->next->topology))) {
        return ERR_OK;
    }
    return fail_set(f, ERR_DENIED,
                    "--keep-output leaves it where it is and emits again what came since; "
                    "`oxbow rollback` without --to-checkpoint keeps the state",
                    "output was committed with checkpoint %" PRIu64 ", after checkpoint %" PRIu64
                    " of version %" PRIu64 ", and cannot be undone",
                    complete, b->epoch, b->version);
}

/* B3 */
static bool is_committing(const struct back *b)
{
    const struct deployment *d = b->d;
    if (wills_any(b->master, d->name)) {
        return true;
    }
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        if (d->parts[i].used && d->parts[i].committed < d->keeping->machine.complete) {
            return true;
        }
    }
    return false;
}

/* ---- begin */

/* All that may hold a part of what ran: those that will hold none are told to drop it. */
static void note_holders(const struct deployment *d, struct deployment *next)
{
    struct pgraph *g = next->graph;
    uint32_t count = g->worker_count;
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        uint32_t k = 0;
        while (k < count && g->workers[k].id != d->graph->workers[i].id) {
            k++;
        }
        if (!d->parts[i].used) {
            continue;
        }
        if (k == count) {
            g->workers = mem_resize(g->workers, count + 1, sizeof *g->workers);
            next->parts = mem_resize(next->parts, count + 1, sizeof *next->parts);
            g->workers[count] = d->graph->workers[i];
            next->parts[count] = (struct part){.worker_id = d->parts[i].worker_id};
            g->worker_count = ++count;
        }
        next->parts[k].used = true;
        next->parts[k].incarnation = d->parts[i].incarnation;
    }
}

void rollback_take_place(struct master *m, struct deployment *d, struct deployment *next)
{
    struct checkpoint_event reset = {.kind = CHECKPOINT_IN_RESET, .now_us = clock_now_us()};
    struct checkpoint_actions none = {0};
    next->keeping = d->keeping;
    d->keeping = NULL;
    next->carry = d->carry;
    d->carry = (struct carry){0};
    next->keeping->machine.every_us = next->topology->checkpoint_every_us;
    checkpoint_step(&next->keeping->machine, &reset, &none);
    next->keeping->final_epoch = 0;
    next->keeping->lost_us = clock_now_us();
    next->keeping->retry_us = 0;
    next->keeping->apart = false;
    for (size_t i = 0; i < m->deployments.count; i++) {
        if (m->deployments.items[i] == d) {
            m->deployments.items[i] = next;
        }
    }
    d->next = m->replaced; /* freed at the next tick */
    m->replaced = d;
}

static enum err begin(struct back *b, bool keep_output, struct exchange *x, struct fail *f)
{
    struct master *m = b->master;
    struct deployment *d = b->d, *next = b->next;
    note_holders(d, next);
    json_t *about = json_pack("{s:I, s:b}", "to_checkpoint", (json_int_t)b->epoch, "output_stays",
                              (int)keep_output);
    enum err e = deploy_rollback(m, next, d->version, b->epoch, keep_output, about, f);
    if (e != ERR_OK) {
        return e;
    }
    struct fail unread = {0};
    if (wills_load(m, &unread) != ERR_OK) {
        log_event(LOG_ERROR, "rollback.wills", "what=\"%s\"", unread.what);
    }
    log_event(LOG_INFO, "topology.rolls_back",
              "topology=%s from=%" PRIu64 " to=%" PRIu64 " checkpoint=%" PRIu64 " keep_output=%d",
              d->name, d->version, next->version, b->epoch, (int)keep_output);
    json_t *body =
        json_pack("{s:s, s:I, s:I, s:I, s:I}", "topology", d->name, "from", (json_int_t)d->version,
                  "version", (json_int_t)next->version, "checkpoint", (json_int_t)b->epoch, "event",
                  (json_int_t)events_last(&m->events));
    b->next = NULL;
    rollback_take_place(m, d, next);
    tell_topology(m, next);
    recover_tick(m, next, clock_now_us());
    api_json(x, 202, body);
    return ERR_OK;
}

void rollback_start(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES)
{
    struct fail f = {0};
    struct back b = {.master = m, .d = deployments_find(&m->deployments, r->name)};
    enum err e = check_running(b.d, r->name, &f);
    if (e == ERR_OK) {
        e = find(&b, &f);
    }
    if (e == ERR_OK) {
        e = check_output(&b, r->keep_output, &f);
    }
    if (e == ERR_OK && r->keep_output && is_committing(&b)) {
        ask_again(m, r, "output to be committed", x);
    } else if (e != ERR_OK || (e = begin(&b, r->keep_output, x, &f)) != ERR_OK) {
        api_fail(x, e == ERR_NOTFOUND ? 404 : e == ERR_DENIED ? 409 : 503, &f, r->name);
    }
    deployment_free(b.next);
    deploy_request_fini(r);
}
