/* topology/plan_json.c - a plan as programs read it. */
#include "topology/plan.h"

#include "core/mem.h"

#include <string.h>

static void set_text(json_t *to, const char *key, const char *text)
{
    if (text != NULL) {
        json_object_set_new(to, key, json_string(text));
    }
}

static void set_number(json_t *to, const char *key, uint64_t value)
{
    json_object_set_new(to, key, json_integer((json_int_t)value));
}

static json_t *changes_json(const struct diff *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->count; i++) {
        const struct diff_item *c = &d->items[i];
        json_t *one = json_object();
        set_text(one, "kind", change_kind_name(c->kind));
        set_text(one, "name", c->name);
        set_text(one, "before", c->before);
        set_text(one, "after", c->after);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *counts_json(const struct plan *p)
{
    const struct diff *d = p->diff;
    json_t *one = json_object();
    set_number(one, "pes_added", d->pes_added);
    set_number(one, "pes_removed", d->pes_removed);
    set_number(one, "pes_changed", d->pes_changed);
    set_number(one, "streams_added", d->streams_added);
    set_number(one, "streams_removed", d->streams_removed);
    set_number(one, "streams_updated", d->streams_updated);
    return one;
}

static const char *pe_name_old(const struct plan *p, uint32_t instance)
{
    return p->diff->from->pes[p->match->from->instances[instance].pe].name;
}

static const char *pe_name_new(const struct plan *p, uint32_t instance)
{
    return p->diff->to->pes[p->to->instances[instance].pe].name;
}

static json_t *member_json(const struct plan *p, const struct cover_member *m)
{
    json_t *one = json_object();
    bool is_new = m->new != INDEX_NONE;
    const struct pinstance *x =
        is_new ? &p->to->instances[m->new] : &p->match->from->instances[m->old];
    char *why = cover_why_text(m->why);
    set_text(one, "pe", is_new ? pe_name_new(p, m->new) : pe_name_old(p, m->old));
    set_number(one, "index", x->index);
    set_text(one, "worker",
             is_new ? p->to->workers[x->worker].name : p->match->from->workers[x->worker].name);
    set_text(one, "role", cover_role_name(m->role));
    json_object_set_new(one, "head", json_boolean(m->head));
    json_object_set_new(one, "relocated", json_boolean(m->relocated));
    json_object_set_new(one, "token", json_boolean(m->token));
    set_text(one, "why", why);
    mem_free(why);
    return one;
}

static json_t *cover_json(const struct plan *p)
{
    json_t *one = json_object(), *members = json_array();
    for (uint32_t i = 0; i < p->cover->member_count; i++) {
        json_array_append_new(members, member_json(p, &p->cover->members[i]));
    }
    json_object_set_new(one, "members", members);
    set_number(one, "heads", p->cover->head_count);
    set_number(one, "channels_inside", p->cover->channels_inside);
    set_number(one, "depth", p->cover->depth);
    return one;
}

static json_t *instruction_json(const struct plan *p, const struct instruction *i)
{
    json_t *one = json_object();
    set_text(one, "do", instruction_name(i->kind));
    if (i->new != INDEX_NONE || i->old != INDEX_NONE) {
        bool is_new = i->new != INDEX_NONE;
        const struct pinstance *x =
            is_new ? &p->to->instances[i->new] : &p->match->from->instances[i->old];
        set_text(one, "pe", is_new ? pe_name_new(p, i->new) : pe_name_old(p, i->old));
        set_number(one, "index", x->index);
        set_number(one, "instance", x->id);
    }
    if (i->channel != INDEX_NONE) {
        bool opens = i->kind == DO_OPEN;
        const struct pchannel *c =
            opens ? &p->to->channels[i->channel] : &p->match->from->channels[i->channel];
        set_number(one, "channel", c->id);
        set_text(one, "stream",
                 opens ? p->diff->to->streams[c->stream].name
                       : p->diff->from->streams[c->stream].name);
    }
    if (i->move != INDEX_NONE) {
        set_number(one, "move", i->move);
    }
    if (i->artifact != NULL) {
        json_object_set_new(one, "artifact", json_stringn(i->artifact, DIGEST_HEX_BYTES - 1));
    }
    return one;
}

static json_t *workers_json(const struct plan *p)
{
    json_t *list = json_array();
    size_t k = 0;
    for (uint32_t w = 0; w < p->to->worker_count; w++) {
        const struct worker_load *l = &p->loads[w];
        json_t *one = json_object(), *steps = json_array();
        for (; k < p->instruction_count && p->instructions[k].worker == w; k++) {
            json_array_append_new(steps, instruction_json(p, &p->instructions[k]));
        }
        set_text(one, "worker", p->to->workers[w].name);
        set_number(one, "instances_before", l->before);
        set_number(one, "instances_after", l->after);
        set_number(one, "instances_during", l->during);
        json_object_set_new(one, "instructions", steps);
        if (l->before > 0 || l->after > 0) {
            json_array_append(list, one);
        }
        json_decref(one);
    }
    return list;
}

static json_t *moves_json(const struct plan *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->move_count; i++) {
        const struct state_move *m = &p->moves[i];
        json_t *one = json_object(), *groups = json_array();
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            if (state_move_has(m, g)) {
                json_array_append_new(groups, json_integer(g));
            }
        }
        set_text(one, "pe", p->diff->to->pes[m->pe].name);
        set_number(one, "from", p->match->from->instances[m->old].id);
        set_number(one, "to", p->to->instances[m->new].id);
        set_text(one, "from_worker", p->to->workers[m->from_worker].name);
        set_text(one, "to_worker", p->to->workers[m->to_worker].name);
        json_object_set_new(one, "groups", groups);
        json_object_set_new(one, "whole", json_boolean(m->other));
        json_object_set_new(one, "migrates", json_boolean(state_move_migrates(p, m)));
        set_number(one, "bytes", m->bytes);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *refusals_json(const struct plan *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->refusal_count; i++) {
        json_t *one = json_object();
        set_text(one, "code", err_name(p->refusals[i].code));
        set_text(one, "message", p->refusals[i].what);
        set_text(one, "hint", p->refusals[i].hint);
        set_text(one, "where", p->refusals[i].where);
        json_array_append_new(list, one);
    }
    return list;
}

/* R23: said beforehand. */
static json_t *death_json(const struct topology *t)
{
    char *why = plan_worker_death(t);
    json_t *one = json_object();
    set_text(one, "result", why != NULL ? "degraded" : "recovered");
    json_object_set_new(one, "lost", why != NULL ? json_null() : json_integer(0));
    json_object_set_new(one, "why", why != NULL ? json_string(why) : json_null());
    mem_free(why);
    return one;
}

json_t *plan_json(const struct plan *p)
{
    json_t *doc = json_object(), *notes = json_array();
    for (size_t i = 0; i < p->note_count; i++) {
        json_array_append_new(notes, json_string(p->notes[i]));
    }
    set_text(doc, "topology", p->diff->to->name);
    set_number(doc, "base_version", p->base_version);
    json_object_set_new(doc, "empty", json_boolean(plan_is_empty(p)));
    json_object_set_new(doc, "counts", counts_json(p));
    json_object_set_new(doc, "changes", changes_json(p->diff));
    set_number(doc, "pes_unchanged", p->pes_unchanged);
    set_number(doc, "streams_unchanged", p->streams_unchanged);
    if (p->match != NULL) {
        json_object_set_new(doc, "cover", cover_json(p));
        json_object_set_new(doc, "workers", workers_json(p));
        json_object_set_new(doc, "moves", moves_json(p));
    }
    set_number(doc, "state_bytes_local", p->local_bytes);
    set_number(doc, "state_bytes_moved", p->remote_bytes);
    set_number(doc, "predicted_pause_us", p->predicted_pause_us);
    json_object_set_new(doc, "worker_death", death_json(p->diff->to));
    json_object_set_new(doc, "notes", notes);
    json_object_set_new(doc, "refusals", refusals_json(p));
    set_text(doc, "digest", p->digest);
    return doc;
}
