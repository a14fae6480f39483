/* master/upgrade.c - what of an upgrade needs no master: refusals, clock, facts, the receipt. */
#include "master/upgrade.h"

#include "core/clock.h"
#include "core/mem.h"
#include "master/deployment.h"
#include "master/master.h"
#include "net/states.h"
#include "topology/plan.h"

#include <stdlib.h>
#include <string.h>

#define NOT_YET "not possible in this version: "

void upgrade_free(struct upgrade *u, const struct pgraph *graph)
{
    if (u == NULL) {
        return;
    }
    if (u->plan != NULL && u->plan->to == graph) {
        (void)plan_take_graph(u->plan);
    }
    plan_free(u->plan);
    json_decref(u->about);
    mem_free(u->pauses_us);
    mem_free(u->covering);
    mem_free(u);
}

json_t *upgrade_drops(const struct plan *p)
{
    json_t *uids = json_array();
    for (uint32_t i = 0; i < p->diff->to->pe_count; i++) {
        if (p->drops[i]) {
            json_array_append_new(uids, json_string(p->diff->to->pes[i].uid));
        }
    }
    return uids;
}

/* Of two changes without a checkpoint between them the sets would have to be put together: then it
 * is not known, and all go back. */
void upgrade_keep_covering(struct deployment *d, const struct deployment *base)
{
    const struct plan *p = d->upgrade->plan;
    if (base == NULL || base->keeping == NULL || p == NULL || p->cover == NULL ||
        (base->upgrade != NULL && base->keeping->complete_version != base->version)) {
        return;
    }
    d->upgrade->covering = mem_array(p->to->instance_count, sizeof(bool));
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        d->upgrade->covering[i] = p->cover->of_new[i] != INDEX_NONE;
    }
}

void upgrade_mark(struct deployment *d)
{
    struct upgrade *u = d->upgrade;
    if (u != NULL && u->at_us[d->change.state] == 0) {
        u->at_us[d->change.state] = clock_now_us();
    }
}

/* ---- refusals */

static enum err refuse_change(const struct plan *p, const struct diff_item *c, struct fail *f)
{
    const struct pe *a = c->old != INDEX_NONE ? &p->diff->from->pes[c->old] : NULL;
    const struct pe *b = c->new != INDEX_NONE ? &p->diff->to->pes[c->new] : NULL;
    if (!change_is_pe(c->kind) || a == NULL || b == NULL) {
        return ERR_OK;
    }
    bool keeps = a->desc->stateful && b->desc->stateful; /* a snapshot goes through restore */
    switch (c->kind) {
    case CHANGE_PE_CODE:
        if (a->desc->source != b->desc->source) {
            return fail_set(f, ERR_DENIED, "give the new one a uid of its own",
                            "%s %s a source; it cannot become %s while it runs", b->name,
                            a->desc->source ? "is" : "is no", a->desc->source ? "none" : "one");
        }
        if (keeps && !p->drops[c->new] && a->desc->state_version != b->desc->state_version &&
            !b->desc->migrates) {
            return fail_set(f, ERR_DENIED, "keep the state version, or deploy it anew",
                            "the state of %s has version %u, its new code has version %u and no"
                            " `migrate`",
                            b->name, a->desc->state_version, b->desc->state_version);
        }
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

enum err upgrade_refusal(const struct plan *p, struct fail *f, const char **where)
{
    *where = "";
    if (p->refusal_count > 0) {
        const struct refusal *r = &p->refusals[0];
        *where = r->where;
        return fail_set(f, r->code != ERR_OK ? r->code : ERR_DENIED, r->hint, "%s", r->what);
    }
    const struct topology *from = p->diff->from, *to = p->diff->to;
    bool moves = strcmp(from->checkpoint_location != NULL ? from->checkpoint_location : "",
                        to->checkpoint_location != NULL ? to->checkpoint_location : "") != 0;
    if ((from->checkpoint_every_us == 0) != (to->checkpoint_every_us == 0) || moves) {
        *where = "checkpoint";
        return fail_set(f, ERR_DENIED, "stop it and deploy it anew",
                        NOT_YET "checkpoints are %s", moves ? "kept elsewhere"
                                : to->checkpoint_every_us == 0 ? "switched off"
                                                               : "switched on");
    }
    for (size_t i = 0; i < p->diff->count; i++) {
        enum err e = refuse_change(p, &p->diff->items[i], f);
        if (e != ERR_OK) {
            *where = p->diff->items[i].name;
            return e;
        }
    }
    return ERR_OK;
}

enum err upgrade_check_ended(const struct deployment *next, const struct deployment *base,
                             struct fail *f, const char **where)
{
    const struct plan *p = next->upgrade != NULL ? next->upgrade->plan : NULL;
    if (p == NULL || p->match == NULL || p->match->from != base->graph) {
        return ERR_OK; /* no change of what runs */
    }
    bool *ended = mem_array(base->graph->instance_count, sizeof *ended);
    for (uint32_t i = 0; i < base->instance_count; i++) {
        const struct instance_view *v = &base->instances[i];
        ended[v->number] = v->state == INSTANCE_ENDED || v->had_ended;
    }
    bool goes_back = base->topology->checkpoint_every_us > 0;
    enum err e = plan_check_ended(p, ended, goes_back, f, where);
    mem_free(ended);
    return e;
}

/* ---- facts and the receipt */

void upgrade_note_done(struct deployment *d, const struct msg_DONE *r, uint64_t worker_id)
{
    struct upgrade *u = d->upgrade;
    for (size_t i = 0; u != NULL && i < d->change.part_count; i++) {
        const struct change_part *p = &d->change.parts[i];
        if (p->worker_id != worker_id || p->incarnation != r->incarnation || p->done ||
            r->op != d->token.op || r->term != d->token.term ||
            !change_is_decided(&d->change)) {
            continue;
        }
        u->compared += r->compared;
        u->uncompared += r->uncompared;
        u->lost += r->lost;
        u->duplicated += r->duplicated;
        u->reordered += r->reordered;
        u->state_bytes += r->state_bytes;
        u->exported += r->exported;
        u->imported += r->imported;
        for (size_t k = 0; k + 4 <= r->pauses_us.bytes; k += 4) {
            u->pauses_us = mem_grow(u->pauses_us, u->pause_count, &u->pause_capacity,
                                    sizeof *u->pauses_us);
            memcpy(&u->pauses_us[u->pause_count++], r->pauses_us.data + k, 4);
        }
    }
}

json_t *upgrade_about(const struct plan *p)
{
    json_t *doc = plan_json(p);
    json_t *about = json_object();
    size_t touched = 0;
    bool *workers = mem_array(p->to->worker_count, sizeof *workers);
    json_object_set(about, "changes", json_object_get(doc, "counts"));
    json_object_set(about, "predicted_pause_us", json_object_get(doc, "predicted_pause_us"));
    json_object_set(about, "plan", json_object_get(doc, "digest"));
    for (size_t i = 0; i < p->instruction_count; i++) {
        touched += !workers[p->instructions[i].worker];
        workers[p->instructions[i].worker] = true;
    }
    json_object_set_new(about, "instances_touched",
                        json_integer((json_int_t)p->cover->member_count));
    json_object_set_new(about, "workers_touched", json_integer((json_int_t)touched));
    json_object_set_new(about, "drops", upgrade_drops(p));
    json_object_set_new(about, "features", tally_features(&p->features));
    json_object_set_new(about, "state_bytes_moved", json_integer((json_int_t)p->remote_bytes));
    mem_free(workers);
    json_decref(doc);
    return about;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static json_t *pause_json(const struct upgrade *u)
{
    if (u->pause_count > 0) {
        qsort(u->pauses_us, u->pause_count, sizeof *u->pauses_us, by_value);
    }
    size_t at = u->pause_count > 0 ? (u->pause_count * 99 + 99) / 100 - 1 : 0;
    uint32_t max = u->pause_count > 0 ? u->pauses_us[u->pause_count - 1] : 0;
    uint32_t p99 = u->pause_count > 0 ? u->pauses_us[at] : 0;
    return json_pack("{s:I, s:I, s:I}", "max", (json_int_t)max, "p99", (json_int_t)p99, "inputs",
                     (json_int_t)u->pause_count);
}

/* NULL when one of the two was not seen by this master (U3). */
static json_t *span_json(uint64_t from_us, uint64_t to_us)
{
    return from_us != 0 && to_us >= from_us ? json_real((double)(to_us - from_us) / 1000.0)
                                            : json_null();
}

static json_t *phases_json(const struct upgrade *u)
{
    const struct {
        const char *name;
        uint64_t from_us, to_us;
    } phases[] = {
        {"validate", u->asked_us, u->parsed_us},
        {"plan", u->parsed_us, u->planned_us},
        {"record", u->planned_us, u->at_us[CHANGE_PREPARING]}, /* the version, durable */
        {"prepare", u->at_us[CHANGE_PREPARING], u->at_us[CHANGE_READY]},
        {"decide", u->at_us[CHANGE_READY], u->at_us[CHANGE_GOING]},
        {"switch", u->at_us[CHANGE_GOING], u->at_us[CHANGE_DONE]},
    };
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        json_t *ms = span_json(phases[i].from_us, phases[i].to_us);
        if (!json_is_null(ms)) {
            json_array_append_new(list, json_pack("{s:s, s:O}", "name", phases[i].name, "ms", ms));
        }
        json_decref(ms);
    }
    return list;
}

static void set_losses(json_t *r, const struct upgrade *u, bool is_done)
{
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {{"lost", u->lost}, {"duplicated", u->duplicated}, {"reordered", u->reordered}};
    bool whole = u->exported == u->imported;
    bool known = !is_done || (u->uncompared == 0 && whole && !u->silent); /* not done: no change */
    for (size_t i = 0; i < 3; i++) {
        json_object_set_new(r, counts[i].name,
                            known ? json_integer((json_int_t)counts[i].count) : json_null());
    }
    if (!known) {
        json_object_set_new(r, "unknown",
                            json_string(u->silent ? "a worker was lost before it had answered"
                                        : whole   ? "not every old channel could be compared"
                                                  : "not all the state that was given came in"));
    }
    if (is_done) {
        json_object_set_new(r, "state_bytes_moved", json_integer((json_int_t)u->state_bytes));
        json_object_set_new(r, "state_entries_moved", json_integer((json_int_t)u->imported));
    }
    json_object_set_new(r, "replayed", json_integer(0));
    json_object_set_new(r, "channels_compared", json_integer((json_int_t)u->compared));
}

json_t *upgrade_receipt(const struct deployment *d, const char *result)
{
    const struct upgrade *u = d->upgrade;
    bool aborted = strcmp(result, "aborted") == 0;
    json_t *r = json_pack("{s:s, s:I, s:I, s:s}", "topology", d->name, "from",
                          (json_int_t)u->base, "to", (json_int_t)d->version, "result", result);
    json_object_update(r, u->about);
    json_object_del(r, "features");
    set_losses(r, u, !aborted);
    json_object_set_new(r, "pause_us", pause_json(u));
    json_object_set_new(r, "prepare_ms",
                        span_json(u->at_us[CHANGE_PREPARING], u->at_us[CHANGE_READY]));
    json_object_set_new(r, "switch_ms",
                        span_json(u->at_us[CHANGE_GOING], u->at_us[CHANGE_DONE]));
    json_object_set_new(r, "total_ms", span_json(u->asked_us, clock_now_us()));
    json_object_set_new(r, "phases", phases_json(u));
    if (strcmp(result, "done") != 0) {
        json_t *error = status_error(&d->fail, d->fail_where);
        json_object_set_new(error, "code", json_string(err_name(d->fail.code)));
        json_object_set_new(r, "error", error);
    }
    return r;
}
