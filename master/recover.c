/* master/recover.c - a topology goes on from its last checkpoint after a worker was lost.
 *
 *   lost -> (every other worker of it is known to be up or lost) -> the checkpoint is chosen -> the
 *   graph of the same version with fresh instances and channels, kept where their workers live on
 *   -> gen + 1 durable with it -> PREPARE with what to restore: lower generations are dropped ->
 *   ready -> GO -> running.
 *
 * Who is rolled back is the recovery set of recovery.h: what was lost, all that depends on it, and
 * who feeds that and does not retain what it has sent since the checkpoint, as its worker has
 * reported.  What stays keeps its instances, places and channels, and takes over the generation.
 * Where it feeds the set, a new channel takes over the log of an old one: at GO, which is what
 * triggers a target, the log is sent again.  That is known here only as of the last report: the
 * worker looks again, and refuses if it has been dropped since.
 * A second loss meanwhile is one more try, under the next generation: what the try before it left
 * alone stays, where its worker lives on, and what it was to restore is as lost as what was lost
 * now; whatever workers have made of that try, they know (worker/discard.c).  After a change that
 * no checkpoint covers yet its covering set goes back with whatever is lost: its logs reach back
 * behind the change, for who feeds the set from outside was not changed.  When a worker could not
 * do what a try asked, after a loss in the middle of a change, and after two changes without a
 * checkpoint between them, the whole topology goes back.
 *
 * Runs on:    the master loop.
 * Invariants: E2, E4 of keeping.h.  A second loss meanwhile is one more try, under the next gen. */
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "master/keeping.h"
#include "master/master.h"
#include "master/upgrade.h"
#include "topology/recovery.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TRIES_MAX = 20, RETRY_US = 500000 };

static void fail_for_good(struct master *m, struct deployment *d, const struct fail *why);

bool recover_is_under_way(const struct deployment *d)
{
    return d->keeping != NULL && d->keeping->recovering;
}

bool recover_leaves(const struct deployment *d, uint32_t number)
{
    return recover_is_under_way(d) && d->keeping->stays != NULL && d->keeping->stays[number];
}

bool recover_spares(const struct deployment *d)
{
    return recover_is_under_way(d) && d->keeping->stays != NULL;
}

uint64_t recover_replaces(const struct deployment *d, uint32_t number)
{
    return recover_is_under_way(d) && d->keeping->replaces != NULL ? d->keeping->replaces[number]
                                                                   : 0;
}

static void keep(struct master *m, const struct deployment *d, json_t *receipt TAKES)
{
    struct fail f = {0};
    char *text = json_dumps(receipt, JSON_COMPACT | JSON_REAL_PRECISION(10));
    if (m->store->ops->recovered(m->store, d->name, d->token.gen, text, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.recovered", "topology=%s what=\"%s\"", d->name, f.what);
    }
    log_event(LOG_INFO, "topology.recovered", "topology=%s receipt=%s", d->name, text);
    tell_receipt(m, d, receipt);
    mem_free(text);
    json_decref(receipt);
}

/* R23: there is nothing to go on from.  It fails, and what was lost is not known. */
static void keep_loss(struct master *m, const struct deployment *d, const char *why)
{
    if (d->graph == NULL) {
        return;
    }
    char *text = mem_printf("there are no checkpoints to go on from: %s", why);
    keep(m, d,
         json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:f, s:n, s:n, s:n, s:I, s:I, s:n, s:s}",
                   "topology", d->name, "from", (json_int_t)d->version, "to",
                   (json_int_t)d->version, "result", "degraded", "gen", (json_int_t)d->token.gen,
                   "checkpoint", (json_int_t)0, "instances_touched", (json_int_t)d->instance_count,
                   "total_ms", 0.0, "lost", "duplicated", "reordered", "resent", (json_int_t)0,
                   "replayed", (json_int_t)0, "discarded", "unknown", text));
    mem_free(text);
}

/* Something kills its workers before it gets anywhere, a PE that crashes them as a rule: to begin
 * again and again helps nobody.  Return: it has failed for good. */
static bool is_fruitless(struct master *m, struct deployment *d, const char *why)
{
    const struct keeping *k = d->keeping;
    if (k->fruitless < FRUITLESS_RECOVERIES_MAX || k->machine.complete > k->fruitless_epoch) {
        return false;
    }
    struct fail f = {0};
    fail_set(&f, ERR_CLOSED,
             "see why the workers die: a PE that crashes them has to be repaired before it is "
             "deployed again",
             "it was recovered %u times in a row and never got to another checkpoint; the last "
             "time: %.200s",
             k->fruitless, why);
    fail_for_good(m, d, &f);
    return true;
}

/* Some PE has killed its workers more often than its on_error allows, and that says stop. */
static bool is_killed(struct master *m, struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        const struct pinstance *n = &d->graph->instances[i];
        const struct pe *pe = &d->topology->pes[n->pe];
        const struct crash_of *c = crashes_find(&d->keeping->crashes, pe, n->index);
        struct fail f = {0};
        if (c != NULL && crashes_then(c, pe) == CRASH_STOP) {
            fail_set(&f, ERR_CLOSED, "repair this PE, then deploy it again",
                     "%s; %u times from one checkpoint", c->error, c->count);
            fail_for_good(m, d, &f);
            return true;
        }
    }
    return false;
}

bool recover_lost(struct master *m, struct deployment *d, const char *why, uint64_t since_us)
{
    if (d->graph == NULL || d->topology->checkpoint_every_us == 0) {
        keep_loss(m, d, why);
        return false;
    }
    if (d->keeping == NULL) {
        d->keeping = keeping_new(d);
    }
    struct keeping *k = d->keeping;
    uint64_t now_us = clock_now_us();
    if (k->lost_us == 0 && (is_killed(m, d) || is_fruitless(m, d, why))) {
        return true;
    }
    if (k->lost_us == 0) {
        snprintf(k->cause, sizeof k->cause, "%s", why);
    }
    log_event(LOG_WARN, "topology.lost", "topology=%s gen=%" PRIu64 " why=\"%s\"", d->name,
              d->token.gen, why);
    keeping_lost(d);
    /* in the middle of a change, or of a recovery, who runs what is not known here */
    k->apart = k->apart || (d->state == TOPOLOGY_RUNNING && d->change.state == CHANGE_DONE);
    if (k->lost_us == 0) {
        k->lost_us = since_us != 0 ? since_us : now_us;
    }
    k->retry_us = 0;
    conduct_life(m, d, LIFE_LOST, NULL, NULL);
    recover_tick(m, d, now_us);
    return true;
}

/* ---- the checkpoint (E4) */

struct choosing {
    const struct deployment *d;
    struct store_checkpoint *out;
    uint64_t below; /* not this one, nor newer ones; 0: any */
};

static void choose(void *arg, const struct store_checkpoint *c)
{
    struct choosing *g = arg;
    if (g->out->epoch != 0 || (g->below != 0 && c->epoch >= g->below)) {
        return;
    }
    *g->out = *c;
    g->out->topology = NULL;
    g->out->snapshots = mem_array(c->snapshot_count + 1, sizeof *c->snapshots);
    for (size_t i = 0; i < c->snapshot_count; i++) {
        struct store_snapshot *s = &g->out->snapshots[i];
        *s = c->snapshots[i];
        s->uid = mem_dup(c->snapshots[i].uid);
        s->epochs = mem_array(s->epoch_count + 1, sizeof *s->epochs);
        memcpy(s->epochs, c->snapshots[i].epochs, s->epoch_count * sizeof *s->epochs);
    }
}

static void free_restores(struct keeping *k)
{
    for (size_t i = 0; i < k->restore_count; i++) {
        mem_free((void *)(uintptr_t)k->restores[i].uid);
        mem_free((void *)(uintptr_t)k->restores[i].epochs.data);
        mem_free((void *)(uintptr_t)k->restores[i].groups.data);
    }
    mem_free(k->restores);
    k->restores = NULL;
    k->restore_count = 0;
}

static void add_restore(struct keeping *k, const struct pgraph *g, uint32_t number,
                        const struct store_snapshot *s, bool own)
{
    const struct pinstance *n = &g->instances[number];
    uint8_t *groups = mem_alloc(KEY_GROUPS / 8);
    for (unsigned group = 0; group < KEY_GROUPS; group++) {
        if (pgraph_owner(g, n->pe, group) == n->index) {
            groups[group / 8] = (uint8_t)(groups[group / 8] | 1u << group % 8);
        }
    }
    uint64_t *epochs = mem_array(s->epoch_count + 1, sizeof *epochs);
    memcpy(epochs, s->epochs, s->epoch_count * sizeof *epochs);
    k->restores = mem_resize(k->restores, k->restore_count + 1, sizeof *k->restores);
    k->restores[k->restore_count++] =
        (struct rec_RESTORE){.instance = n->id,
                             .uid = mem_dup(s->uid),
                             .index = s->index,
                             .epochs = {(uint8_t *)epochs, s->epoch_count * sizeof *epochs},
                             .groups = {groups, KEY_GROUPS / 8},
                             .own = own};
}

/* drops_state - as the change to this version dropped it: what was saved under that version, or
 * under one of the same content, is the state it has had since. */
static bool drops_state(const struct deployment *d, const struct store_checkpoint *c,
                        const struct pe *pe)
{
    bool is_rollback = d->back.from != 0 && d->keeping->repairs == 0;
    size_t i;
    json_t *uid;
    json_array_foreach(d->drops, i, uid)
    {
        if (strcmp(json_string_value(uid), pe->uid) == 0) {
            return c->version != d->version && !is_rollback;
        }
    }
    return false;
}

/* What each instance takes: position and the like of its own predecessor, its key groups from
 * whoever had them. */
static enum err make_restores(const struct deployment *d, const struct pgraph *g,
                              const struct store_checkpoint *c, struct fail *f)
{
    struct keeping *k = d->keeping;
    free_restores(k);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pinstance *n = &g->instances[i];
        const struct pe *pe = &g->topology->pes[n->pe];
        bool none = drops_state(d, c, pe) || (k->stays != NULL && k->stays[i]);
        for (size_t s = 0; s < c->snapshot_count && !none; s++) {
            const struct store_snapshot *from = &c->snapshots[s];
            if (strcmp(from->uid, pe->uid) != 0 || from->epoch_count == 0) {
                continue;
            }
            bool same = from->parallelism == pe->parallelism;
            if (!same && pe->desc->snapshots && !pe->desc->effects) {
                return fail_set(f, ERR_VERSION, "roll back to the version that took it",
                                "the checkpoint has %u instances of %s, now there are %u, and its "
                                "state cannot be divided",
                                from->parallelism, pe->name, pe->parallelism);
            }
            /* What a sink has not committed yet is its own whatever their number, as in the change
             * that made it another one; of those that are gone all of it was committed before. */
            bool own = (same || pe->desc->effects) && from->index == n->index;
            /* Which of them held a group then is not known here: groups move.  Of others it also
             * asks whether they had finished, and whether they kept input that nobody could take
             * over. */
            if (own || !same || (pe->desc->stateful && pe->parallelism > 1)) {
                add_restore(k, g, i, from, own);
            }
        }
    }
    return ERR_OK;
}

/* ---- the graph */

/* Are all workers of it up, and stay so, or known to be lost? */
static bool is_settled(struct master *m, const struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        const struct part *p = &d->parts[i];
        const struct member *w = p->used ? members_by_id(&m->members, p->worker_id) : NULL;
        if (w != NULL && (w->state == MEMBER_AWAY || w->reporting || members_is_renewing(w))) {
            return false;
        }
    }
    return members_up(&m->members) > 0;
}

/* Where the old one is, if that process lives; machines of PEs bound to files and ports. */
static void keep_places(struct master *m, const struct deployment *d, struct pgraph *g)
{
    g->hosts = mem_array(g->topology->pe_count, sizeof *g->hosts);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pinstance *old = &d->graph->instances[i];
        const struct part *p = &d->parts[old->worker];
        const struct member *w = members_by_id(&m->members, p->worker_id);
        const struct pe *pe = &g->topology->pes[old->pe];
        if (w != NULL && w->host != NULL && (pe->desc->source || pe->desc->local)) {
            g->hosts[old->pe] = w->host;
        }
        bool lives = w != NULL && w->state == MEMBER_UP;
        for (uint32_t k = 0; lives && k < g->worker_count; k++) {
            if (g->workers[k].id == p->worker_id && place_may_run(g, old->pe, k)) {
                g->instances[i].worker = k;
            }
        }
    }
    if (d->graph->owners != NULL) {
        memcpy(g->owners, d->graph->owners, g->topology->pe_count * sizeof *g->owners);
    }
}

static void forget_staying(struct keeping *k)
{
    mem_free(k->stays);
    mem_free(k->replaces);
    k->stays = NULL;
    k->replaces = NULL;
}

static bool lives_on(struct master *m, const struct part *p)
{
    const struct member *w = members_by_id(&m->members, p->worker_id);
    return w != NULL && w->state == MEMBER_UP && w->incarnation == p->incarnation;
}

/* find_lost - what is not where it was, of what runs as planned or was left alone by the try before
 * this one.  Caller frees.  NULL: that is not known, and all counts as lost. */
static bool *find_lost(struct master *m, const struct deployment *d)
{
    const struct keeping *k = d->keeping;
    const struct pgraph *g = d->graph;
    bool again = !k->apart && k->stays != NULL && !k->refused;
    if (!k->apart && !again) {
        return NULL;
    }
    bool *lost = mem_array(g->instance_count, sizeof *lost);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct part *p = &d->parts[g->instances[i].worker];
        bool runs = again ? k->stays[i] : p->reported && p->state == DEPLOYMENT_RUNNING;
        lost[i] = !runs || !lives_on(m, p) ||
                  (k->repaired != NULL && k->repaired[g->instances[i].pe]);
    }
    return lost;
}

/* Which channels can be fed again from `epoch` on, as their senders have last said.  A log that
 * reaches back to an older checkpoint reaches back to this one: it is complete, so its marker has
 * passed there.  Caller frees. */
static bool *find_retained(struct deployment *d, uint64_t epoch)
{
    const struct pgraph *g = d->graph;
    bool *retained = mem_array(g->channel_count, sizeof *retained);
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct channel_view *v = deployment_channel(d, g->channels[i].id);
        retained[i] = v != NULL && !g->channels[i].fused && v->reach != 0 && v->reach - 1 <= epoch;
    }
    return retained;
}

/* Who may stay (recovery.h), by what runs now; NULL: nobody. */
static bool *find_staying(struct master *m, struct deployment *d,
                          const struct store_checkpoint *from)
{
    const struct pgraph *g = d->graph;
    const struct keeping *k = d->keeping;
    bool covered = from->epoch != 0
                       ? from->version == d->version || from->version == k->repairs
                       : d->upgrade == NULL;
    const bool *covering = covered || d->upgrade == NULL ? NULL : d->upgrade->covering;
    bool *lost = covered || covering != NULL ? find_lost(m, d) : NULL;
    if (lost == NULL) {
        return NULL;
    }
    struct recovery set;
    bool *stays = mem_array(g->instance_count, sizeof *stays);
    bool *retained = find_retained(d, from->epoch);
    recovery_make(&(struct recovery_input){.graph = g,
                                           .lost = lost,
                                           .covering = covering,
                                           .retained = retained},
                  &set);
    mem_free(retained);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        stays[i] = !set.in[i];
    }
    bool some = set.count < g->instance_count;
    recovery_fini(&set);
    mem_free(lost);
    if (!some) {
        mem_free(stays);
        return NULL;
    }
    return stays;
}

/* keep_ids - both graphs are of one topology and in one order; what stays keeps its ids, and so
 * does a channel whose both ends do.  @replaces: of those that lead from who stays to who does not.
 * Return: false when what was to stay would come out different: somewhere else, or called directly
 * where it was not. */
static bool keep_ids(const struct pgraph *was, struct pgraph *g, const bool *stays,
                     uint64_t *replaces)
{
    if (was->instance_count != g->instance_count || was->channel_count != g->channel_count) {
        return false;
    }
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pinstance *a = &was->instances[i], *b = &g->instances[i];
        if (stays[i] && (a->pe != b->pe || a->index != b->index ||
                         was->workers[a->worker].id != g->workers[b->worker].id)) {
            return false;
        }
        g->instances[i].id = stays[i] ? a->id : 0;
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *a = &was->channels[i], *b = &g->channels[i];
        if (stays[b->from] && (a->stream != b->stream || a->from != b->from || a->to != b->to ||
                               a->fused != b->fused)) {
            return false;
        }
        g->channels[i].id = stays[b->to] ? a->id : 0;
        replaces[i] = stays[b->from] && !stays[b->to] ? a->id : 0;
    }
    return true;
}

/* find_borders - what the ends of these channels share is a log, never a call.  NULL: none are. */
static bool *find_borders(const struct pgraph *g, const bool *stays)
{
    bool *apart = stays != NULL ? mem_array(g->channel_count, sizeof *apart) : NULL;
    for (uint32_t i = 0; apart != NULL && i < g->channel_count; i++) {
        apart[i] = stays[g->channels[i].from] != stays[g->channels[i].to];
    }
    return apart;
}

static void take_ids(struct deployment *d, struct pgraph *g, uint64_t *next)
{
    struct keeping *k = d->keeping;
    k->replaces = mem_array(g->channel_count, sizeof *k->replaces);
    if (k->stays == NULL || !keep_ids(d->graph, g, k->stays, k->replaces)) {
        forget_staying(k);
    }
    const bool *stays = k->stays;
    k->restored = 0;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (stays == NULL || !stays[i]) {
            g->instances[i].id = (*next)++;
            k->restored++;
        }
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        if (stays == NULL || !stays[g->channels[i].to]) {
            g->channels[i].id = (*next)++;
        }
    }
}

static struct pgraph *plan_graph(struct master *m, struct deployment *d, uint64_t first,
                                 uint64_t *next, struct fail *f)
{
    uint32_t count = 0;
    struct worker_info *workers = deploy_workers(m, d, &count);
    struct pgraph *g = pgraph_outline(d->topology, workers, count);
    mem_free(workers);
    keep_places(m, d, g);
    bool *apart = find_borders(g, d->keeping->stays);
    g->apart = apart;
    enum err e = pgraph_place(g, &placer_default, f);
    mem_free(g->hosts);
    mem_free(apart);
    g->hosts = NULL; /* borrowed from members */
    g->apart = NULL;
    if (e != ERR_OK) {
        pgraph_free(g);
        return NULL;
    }
    *next = first;
    take_ids(d, g, next);
    return g;
}

/* The graph with its new ids takes the place of the old one.  What a log reaches it reaches under
 * the id of its successor, which a worker may have made by now or not. */
static void regraph(struct deployment *d, struct pgraph *g TAKES)
{
    const uint64_t *replaces = d->keeping->replaces;
    struct channel_view *was = mem_array(g->channel_count, sizeof *was);
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct channel_view *v =
            replaces != NULL && replaces[i] != 0 ? deployment_channel(d, replaces[i]) : NULL;
        was[i] = v != NULL ? *v : (struct channel_view){0};
    }
    deployment_regraph(d, g);
    for (uint32_t i = 0; i < g->channel_count; i++) {
        struct channel_view *v = was[i].id != 0 ? deployment_channel(d, g->channels[i].id) : NULL;
        if (v != NULL) {
            v->reach = was[i].reach;
            v->retained = was[i].retained;
        }
    }
    mem_free(was);
}

/* Processes that held a part and will hold none: they drop it. */
static void drop_elsewhere(struct master *m, const struct deployment *d, const struct pgraph *g)
{
    const struct msg stop = {.kind = M_STOP, .STOP = {m->term, d->name, d->token.gen, true, true}};
    for (uint32_t i = 0; i < d->graph->worker_count; i++) {
        bool used = false;
        for (uint32_t n = 0; n < g->instance_count; n++) {
            used = used || g->workers[g->instances[n].worker].id == d->parts[i].worker_id;
        }
        if (d->parts[i].used && !used) {
            control_send(m, d->parts[i].worker_id, d->parts[i].incarnation, &stop);
        }
    }
}

/* ---- what it costs */

static const struct tuples_at *tuples_at(const struct tuples_list *list, uint64_t instance)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].instance == instance) {
            return &list->items[i];
        }
    }
    return NULL;
}

/* What goes back has done since the checkpoint, as it last said: what it did after that, up to half
 * a second, died with it. */
static struct toll find_toll(struct deployment *d)
{
    const struct keeping *k = d->keeping;
    const struct pgraph *g = d->graph;
    struct toll toll = {.known = true};
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pe *pe = &g->topology->pes[g->instances[i].pe];
        bool sink = pe->output_count == 0;
        if ((k->stays != NULL && k->stays[i]) || (!sink && !pe->desc->source)) {
            continue;
        }
        const struct instance_view *v = deployment_instance(d, g->instances[i].id);
        static const struct tuples_at beginning = {0};
        const struct tuples_at *then = k->from_epoch == 0 ? &beginning
                                       : k->tuples.epoch == k->from_epoch
                                           ? tuples_at(&k->tuples, v->id)
                                           : NULL;
        if (then == NULL) {
            toll.known = false;
            continue;
        }
        toll.discarded += sink && v->tuples_in > then->in ? v->tuples_in - then->in : 0;
        toll.reread += !sink && v->tuples_out > then->out ? v->tuples_out - then->out : 0;
    }
    return toll;
}

void recover_resent(struct deployment *d, uint64_t tuples)
{
    if (recover_is_under_way(d)) {
        d->keeping->resent += tuples;
    }
}

/* ---- one try */

static enum err begin(struct master *m, struct deployment *d, struct fail *f)
{
    struct keeping *k = d->keeping;
    struct store_checkpoint from = {0};
    struct choosing choosing = {d, &from, k->bad_epoch};
    uint64_t first = 0, next = 0;
    enum err e = m->store->ops->checkpoints(m->store, d->name, choose, &choosing, f);
    if (e == ERR_OK && from.epoch == 0 && k->bad_epoch != 0) {
        e = fail_set(f, ERR_CORRUPT, "deploy it anew; what was committed to files stays",
                     "no checkpoint of topology %s is whole", d->name);
    }
    if (e == ERR_OK) {
        e = m->store->ops->reserve(m->store, 0, &first, f);
    }
    bool *stays = e == ERR_OK ? find_staying(m, d, &from) : NULL;
    forget_staying(k);
    k->resent = 0;
    k->refused = false;
    k->stays = stays;
    struct pgraph *g = e == ERR_OK ? plan_graph(m, d, first, &next, f) : NULL;
    if (g == NULL) {
        store_checkpoint_fini(&from);
        return e != ERR_OK ? e : ERR_AGAIN;
    }
    e = make_restores(d, g, &from, f);
    k->from_epoch = from.epoch;
    k->from_is_passed = from.is_passed;
    store_checkpoint_fini(&from);
    if (e != ERR_OK) {
        pgraph_free(g);
        return e;
    }
    k->toll = find_toll(d);
    k->apart = false; /* from here on the workers may have been told something */
    drop_elsewhere(m, d, g);
    regraph(d, g);
    d->token.gen++;
    k->recovering = true;
    deploy_parts(m, d, next);
    e = deploy_fits(m, d, f);
    return e == ERR_OK ? deploy_recover(m, d, next - first, f) : e;
}

/* It cannot be recovered: this is the reason to show, not that of an earlier try. */
static void fail_for_good(struct master *m, struct deployment *d, const struct fail *why)
{
    d->fail = (struct fail){0};
    conduct_life(m, d, LIFE_FAILED, why, "recovery");
}

void recover_tick(struct master *m, struct deployment *d, uint64_t now_us)
{
    struct keeping *k = d->keeping;
    if (d->state != TOPOLOGY_RECOVERING || d->graph == NULL || k == NULL || k->recovering ||
        now_us < k->retry_us || !is_settled(m, d)) {
        return;
    }
    struct fail f = {0};
    enum err e = begin(m, d, &f);
    if (e == ERR_OK) {
        log_event(LOG_INFO, "topology.recovers",
                  "topology=%s gen=%" PRIu64 " from_epoch=%" PRIu64 " after_us=%" PRIu64, d->name,
                  d->token.gen, k->from_epoch, now_us - k->lost_us);
        conduct_change(m, d, (struct change_event){.kind = CHANGE_IN_START}, NULL, NULL);
        return;
    }
    log_event(LOG_WARN, "topology.unrecovered", "topology=%s what=\"%s\"", d->name, f.what);
    k->recovering = false;
    k->retry_us = now_us + RETRY_US;
    if (e == ERR_CORRUPT || e == ERR_VERSION || e == ERR_LIMIT) {
        fail_for_good(m, d, &f);
    }
}

void recover_not_ready(struct master *m, struct deployment *d, enum err code,
                       const struct fail *why)
{
    struct keeping *k = d->keeping;
    k->refused = true;
    if (code == ERR_CORRUPT && k->from_epoch != 0) {
        log_event(LOG_ERROR, "checkpoint.damaged", "topology=%s epoch=%" PRIu64 " what=\"%s\"",
                  d->name, k->from_epoch, why->what);
        k->bad_epoch = k->from_epoch;
        snprintf(k->bad_why, sizeof k->bad_why, "%.250s", why->what);
    } else if (++k->tries >= TRIES_MAX || code == ERR_VERSION || code == ERR_INVALID) {
        fail_for_good(m, d, why);
    }
}

void recover_refused(struct deployment *d)
{
    if (recover_is_under_way(d)) {
        d->keeping->refused = true;
    }
}

/* unreplayable - a source that goes back and cannot read again what it had read (R23); NULL: none.
 */
static const struct pe *unreplayable(const struct deployment *d)
{
    const struct pgraph *g = d->graph;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        const struct pe *pe = &g->topology->pes[g->instances[i].pe];
        bool back = d->keeping->stays == NULL || !d->keeping->stays[i];
        if (back && pe->desc->source && !pe->desc->replayable) {
            return pe;
        }
    }
    return NULL;
}

/* The receipt of the version that a rollback made. */
static void keep_rollback(struct master *m, struct deployment *d, uint64_t took_us)
{
    const struct keeping *k = d->keeping;
    struct fail f = {0};
    json_t *receipt = json_pack(
        "{s:s, s:I, s:I, s:s, s:I, s:b, s:I, s:I, s:f, s:n, s:n, s:n, s:n, s:s}", "topology",
        d->name, "from", (json_int_t)d->back.from, "to", (json_int_t)d->version, "result", "done",
        "checkpoint", (json_int_t)k->from_epoch, "output_stays", (int)k->from_is_passed, "gen",
        (json_int_t)d->token.gen, "instances_touched", (json_int_t)k->restored, "total_ms",
        (double)took_us / 1000.0, "lost", "duplicated", "reordered", "replayed", "unknown",
        k->from_is_passed
            ? "what came since the checkpoint is processed once more, and what was committed "
              "of it stays: those lines are there twice"
            : "what came since the checkpoint is processed once more; nobody counted it");
    char *text = json_dumps(receipt, JSON_COMPACT | JSON_REAL_PRECISION(10));
    if (m->store->ops->receipt(m->store, d->name, d->version, text, &f) != ERR_OK) {
        log_event(LOG_ERROR, "store.receipt", "topology=%s what=\"%s\"", d->name, f.what);
    }
    log_event(LOG_INFO, "topology.rolled_back", "topology=%s receipt=%s", d->name, text);
    tell_receipt(m, d, receipt);
    mem_free(text);
    json_decref(receipt);
    d->back.from = 0;
}

/* What died with its process has taken its counters along: no number is made up for it. */
static void keep_receipt(struct master *m, const struct deployment *d, uint64_t took_us)
{
    const struct keeping *k = d->keeping;
    const struct pe *gone = unreplayable(d);
    json_t *receipt =
        json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:f, s:n, s:n, s:n, s:I}", "topology",
                  d->name, "from", (json_int_t)d->version, "to", (json_int_t)d->version, "result",
                  gone != NULL ? "degraded" : "recovered", "gen", (json_int_t)d->token.gen,
                  "checkpoint", (json_int_t)k->from_epoch, "instances_touched",
                  (json_int_t)k->restored, "total_ms", (double)took_us / 1000.0, "lost",
                  "duplicated", "reordered", "resent", (json_int_t)k->resent);
    bool known = k->toll.known && gone == NULL;
    json_object_set_new(receipt, "replayed",
                        known ? json_integer((json_int_t)(k->resent + k->toll.reread))
                              : json_null());
    json_object_set_new(receipt, "discarded",
                        k->toll.known ? json_integer((json_int_t)k->toll.discarded) : json_null());
    json_object_set_new(receipt, "cause", status_text(k->cause));
    json_object_set_new(receipt, "damaged",
                        k->bad_epoch != 0 ? json_integer((json_int_t)k->bad_epoch) : json_null());
    json_object_set_new(receipt, "damage",
                        k->bad_epoch != 0 ? status_text(k->bad_why) : json_null());
    char *why = gone != NULL ? mem_printf("'%s' cannot be read again: what it had read and no "
                                          "checkpoint covers is lost",
                                          gone->name)
                             : mem_dup("the counters of the lost worker died with it");
    json_object_set_new(receipt, "unknown", json_string(why));
    mem_free(why);
    keep(m, d, receipt);
}

/* What was restored counts from nothing, as of the checkpoint that it was restored from. */
static void count_anew(struct deployment *d)
{
    struct tuples_list *list = &d->keeping->tuples;
    const struct pgraph *g = d->graph;
    for (uint32_t i = 0; i < g->instance_count && list->epoch == d->keeping->from_epoch; i++) {
        if (tuples_at(list, g->instances[i].id) == NULL) {
            list->items = mem_resize(list->items, list->count + 1, sizeof *list->items);
            list->items[list->count++] = (struct tuples_at){.instance = g->instances[i].id};
        }
    }
}

void recover_over(struct master *m, struct deployment *d, bool done)
{
    struct keeping *k = d->keeping;
    uint64_t now_us = clock_now_us();
    k->recovering = false;
    if (!done) {
        k->retry_us = now_us + RETRY_US / 5;
        return;
    }
    uint64_t took_us = k->lost_us != 0 ? now_us - k->lost_us : 0;
    if (d->back.repairs != NULL) {
        repair_over(m, d, took_us);
    } else if (d->back.from != 0) {
        keep_rollback(m, d, took_us);
    } else {
        keep_receipt(m, d, took_us);
    }
    count_anew(d);
    free_restores(k);
    forget_staying(k); /* it was of this recovery's tries, and of this version's graph */
    d->fail = (struct fail){0};
    k->passed_epoch = k->bad_epoch;
    memcpy(k->passed_why, k->bad_why, sizeof k->passed_why);
    k->bad_epoch = 0; /* checkpoints of now on are newer, and whole as far as anybody knows */
    k->recoveries++;
    k->fruitless = k->from_epoch == k->fruitless_epoch ? k->fruitless + 1 : 1;
    k->fruitless_epoch = k->from_epoch;
    k->lost_us = 0;
    k->tries = 0;
    k->machine.complete = k->from_epoch;
    keeping_back(m, d, 0); /* what of it is committed is asked of all */
}
