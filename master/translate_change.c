/* master/translate_change.c - the PREPARE of a change of what runs: a plan, as one worker hears it.
 *
 * Runs on:    the loop; pure.
 * Invariants: R1 of translate.h.  R3 channels and instances are named by their ids, which V and V'
 *             share where they stay; streams by their number in V'. */
#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"
#include "master/wills.h"
#include "net/states.h"
#include "topology/plan.h"

#include <string.h>

static_assert((int)ROLE_OLD == (int)PLAN_OLD && (int)ROLE_NEW == (int)PLAN_NEW &&
                  (int)ROLE_STAYING == (int)PLAN_STAYING &&
                  (int)ROLE_ADOPTED == (int)PLAN_ADOPTED,
              "the planner's roles go over the wire");

static uint32_t worker_of_old(const struct plan *p, uint32_t instance) /* number in V' */
{
    return p->match->worker_new[p->match->from->instances[instance].worker];
}

static struct msg_bin ids_of(const struct pgraph *v, const struct index_list *list)
{
    uint8_t *bytes = mem_array((size_t)list->count * 8, 1);
    for (uint32_t i = 0; i < list->count; i++) {
        for (unsigned k = 0; k < 8; k++) {
            bytes[8 * i + k] = (uint8_t)(v->channels[list->items[i]].id >> (8 * k));
        }
    }
    return (struct msg_bin){bytes, (size_t)list->count * 8};
}

static void fill_members(const struct deployment *d, const struct plan *p, uint32_t part,
                         struct msg_PREPARE *out)
{
    const struct cover *c = p->cover;
    const struct pgraph *v = p->match->from;
    out->add_instances = mem_array(c->member_count, sizeof *out->add_instances);
    size_t most = (size_t)c->member_count + p->to->instance_count;
    out->adopt_instances = mem_array(most, sizeof *out->adopt_instances);
    out->remove_instances = mem_array(c->member_count, sizeof *out->remove_instances);
    out->members = mem_array(c->member_count, sizeof *out->members);
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct cover_member *x = &c->members[i];
        uint32_t worker = x->new != INDEX_NONE ? p->to->instances[x->new].worker
                                               : worker_of_old(p, x->old);
        if (worker != part) {
            continue;
        }
        if (x->role == ROLE_NEW) {
            translate_instance(d, x->new, &out->add_instances[out->add_instances_count++]);
            continue;
        }
        if (x->role == ROLE_ADOPTED) {
            struct rec_INSTANCE_SPEC *spec = &out->adopt_instances[out->adopt_instances_count++];
            translate_instance(d, x->new, spec);
            spec->anew = p->drops[p->to->instances[x->new].pe];
        } else if (x->role == ROLE_OLD) {
            out->remove_instances[out->remove_instances_count++].id = v->instances[x->old].id;
        }
        out->members[out->members_count++] = (struct rec_MEMBER_SPEC){
            .id = v->instances[x->old].id,
            .role = x->role,
            .head = x->head,
            .awaited = ids_of(v, &x->lists[LIST_OLD_INPUTS]),
            .marks = ids_of(v, &x->lists[LIST_STAYING_OUTPUTS]),
            .will = wills_is_left(p, x)};
    }
}

/* Names and policies of those that stay as they are otherwise. */
static void fill_settings(const struct deployment *d, const struct plan *p, uint32_t part,
                          struct msg_PREPARE *out)
{
    for (size_t i = 0; i < p->instruction_count; i++) {
        const struct instruction *x = &p->instructions[i];
        if (x->kind == DO_SET_POLICY && x->worker == part) {
            struct rec_INSTANCE_SPEC *spec = &out->adopt_instances[out->adopt_instances_count++];
            translate_instance(d, x->new, spec);
            spec->settings = true;
        }
    }
}

static bool is_member_at(const struct plan *p, uint32_t instance, uint32_t part)
{
    return p->to->instances[instance].worker == part && p->cover->of_new[instance] != INDEX_NONE;
}

static void fill_channels(const struct deployment *d, const struct plan *p, uint32_t part,
                          struct msg_PREPARE *out)
{
    const struct pgraph *v = p->match->from, *to = p->to;
    out->add_channels = mem_array(to->channel_count, sizeof *out->add_channels);
    out->keep_channels = mem_array(to->channel_count, sizeof *out->keep_channels);
    out->remove_channels = mem_array(v->channel_count, sizeof *out->remove_channels);
    for (uint32_t i = 0; i < to->channel_count; i++) {
        const struct pchannel *c = &to->channels[i];
        bool is_new = p->match->channel_old[i] == INDEX_NONE;
        bool here = to->instances[c->from].worker == part || to->instances[c->to].worker == part;
        if (is_new && here) {
            translate_channel(d, i, &out->add_channels[out->add_channels_count++]);
        } else if (!is_new &&
                   (is_member_at(p, c->from, part) || is_member_at(p, c->to, part))) {
            translate_channel(d, i, &out->keep_channels[out->keep_channels_count++]);
        }
    }
    for (uint32_t i = 0; i < v->channel_count; i++) {
        const struct pchannel *c = &v->channels[i];
        if (p->match->channel_new[i] == INDEX_NONE &&
            (worker_of_old(p, c->from) == part || worker_of_old(p, c->to) == part)) {
            out->remove_channels[out->remove_channels_count++].id = c->id;
        }
    }
}

/* ---- state that changes hands */

static struct rec_STATE_MOVE *add_move(const struct plan *p, uint32_t old, uint32_t new,
                                       struct msg_PREPARE *out, size_t *capacity)
{
    const struct pinstance *taker = &p->to->instances[new];
    out->moves = mem_grow(out->moves, out->moves_count, capacity, sizeof *out->moves);
    struct rec_STATE_MOVE *m = &out->moves[out->moves_count++];
    *m = (struct rec_STATE_MOVE){.giver = p->match->from->instances[old].id,
                                 .taker = taker->id,
                                 .from_worker = p->to->workers[worker_of_old(p, old)].name,
                                 .to_worker = p->to->workers[taker->worker].name};
    return m;
}

static bool has_move(const struct plan *p, uint32_t old, uint32_t new)
{
    for (size_t i = 0; i < p->move_count; i++) {
        if (p->moves[i].old == old && p->moves[i].new == new) {
            return true;
        }
    }
    return false;
}

/* Where a PE with effects is relocated, each of its instances waits for all the old ones (R11);
 * what gives it state says so anyway. */
static void fill_tokens(const struct plan *p, uint32_t part, struct msg_PREPARE *out,
                        size_t *capacity)
{
    const struct cover *c = p->cover;
    const struct match *m = p->match;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct cover_member *x = &c->members[i];
        if (!x->token || x->new == INDEX_NONE) {
            continue;
        }
        uint32_t pe = p->diff->pe_old[p->to->instances[x->new].pe];
        for (uint32_t old = m->first_old[pe]; old < m->first_old[pe + 1]; old++) {
            bool here = worker_of_old(p, old) == part || p->to->instances[x->new].worker == part;
            if (old != x->old && here && c->of_old[old] != INDEX_NONE &&
                !has_move(p, old, x->new)) {
                (void)add_move(p, old, x->new, out, capacity);
            }
        }
    }
}

static void fill_moves(const struct plan *p, uint32_t part, struct msg_PREPARE *out)
{
    size_t capacity = 0;
    for (size_t i = 0; i < p->move_count; i++) {
        const struct state_move *x = &p->moves[i];
        if (x->from_worker != part && x->to_worker != part) {
            continue;
        }
        struct rec_STATE_MOVE *m = add_move(p, x->old, x->new, out, &capacity);
        m->other = x->other;
        if (x->group_count > 0) {
            m->groups = (struct msg_bin){x->groups, sizeof x->groups};
        }
    }
    fill_tokens(p, part, out, &capacity);
}

void translate_change(const struct deployment *d, uint32_t part, struct msg_PREPARE *out)
{
    const struct plan *p = d->upgrade->plan;
    fill_members(d, p, part, out);
    fill_settings(d, p, part, out);
    fill_channels(d, p, part, out);
    fill_moves(p, part, out);
}
