/* worker/discard.c - a recovery leaves some instances of a part as they are: the rest is halted,
 * and freed when nobody can hold a pointer to it.
 *
 *   PREPARE --(what was prepared gives way)--> base->after --(nothing is in its way: the rest is
 *   discarded)--> --(that is dead)--> base->pending: prepared beside what stays, as any change
 *
 * A second loss within a recovery is one more of these, whatever has become of the one before it
 * here: never heard of, prepared, gone, made.  What stays stays in each, so only the channels that
 * lead from it have other ids; they are found by their place (resends_find). */
#include "worker/change.h"

#include "core/mem.h"
#include "worker/checkpoint.h"
#include "worker/grave.h"
#include "worker/moves.h"
#include "worker/resend.h"
#include "worker/retain.h"

#include <string.h>

static bool stays(const struct instance *i, const struct msg_PREPARE *plan)
{
    for (size_t n = 0; n < plan->stay_instances_count; n++) {
        if (plan->stay_instances[n].id == i->id) {
            return true;
        }
    }
    return false;
}

static bool is_replaced(const struct channel *c, const struct msg_PREPARE *plan)
{
    for (size_t n = 0; n < plan->add_channels_count; n++) {
        if (plan->add_channels[n].replaces == c->id) {
            return true;
        }
    }
    return false;
}

/* Would the channel lead over the border?  A consumer that a try before this one has discarded may
 * be freed by now. */
static bool crosses(const struct channel *c, bool from_stays, const struct msg_PREPARE *plan)
{
    if (c->from == NULL || c->to == NULL) {
        return false;
    }
    bool gone = (atomic_load(&c->away) & AWAY_GONE) != 0;
    return from_stays != (!gone && stays(c->to, plan));
}

/* No chain may cross the border, and no channel but those that are to be replaced, from who stays
 * and retains what it has sent. */
static bool can_part(const struct part *base, const struct msg_PREPARE *plan)
{
    size_t found = 0;
    for (uint32_t k = 0; k < base->instance_count; k++) {
        unsigned state = atomic_load(&base->instances[k]->state);
        if (stays(base->instances[k], plan)) {
            found += state == INSTANCE_RUNNING || state == INSTANCE_HELD || state == INSTANCE_ENDED;
        }
    }
    for (uint32_t n = 0; n < base->channel_count; n++) {
        const struct channel *c = base->channels[n];
        bool from = c->from != NULL && stays(c->from, plan);
        bool replaced = is_replaced(c, plan);
        bool retains = from && channel_log(c) != NULL;
        if (replaced ? !retains : crosses(c, from, plan)) {
            return false;
        }
    }
    return found == plan->stay_instances_count;
}

/* The consumers are no more: from here on what is sent to them waits in the logs (H23). */
static void part_borders(const struct part *base, const struct msg_PREPARE *plan)
{
    for (uint32_t n = 0; n < base->channel_count; n++) {
        if (is_replaced(base->channels[n], plan)) {
            channel_away(base->channels[n], AWAY_GONE, 0);
        }
    }
}

static void part_instances(struct part *base, struct part *shell, const struct msg_PREPARE *plan)
{
    uint32_t kept = 0;
    shell->instances = mem_array(base->instance_count, sizeof(struct instance *));
    for (uint32_t k = 0; k < base->instance_count; k++) {
        struct instance *i = base->instances[k];
        if (stays(i, plan)) {
            base->instances[kept++] = i;
        } else {
            shell->instances[shell->instance_count++] = i;
        }
    }
    base->instance_count = kept;
}

static bool is_instance(const struct part *d, const struct instance *i)
{
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (d->instances[k] == i) {
            return true;
        }
    }
    return false;
}

static void part_channels(struct part *base, struct part *shell)
{
    uint32_t kept = 0;
    shell->channels = mem_array(base->channel_count, sizeof(struct channel *));
    for (uint32_t n = 0; n < base->channel_count; n++) {
        struct channel *c = base->channels[n];
        if (is_instance(shell, c->from != NULL ? c->from : c->to)) {
            shell->channels[shell->channel_count++] = c;
        } else {
            base->channels[kept++] = c;
        }
    }
    base->channel_count = kept;
}

/* The chains that are heirs of nobody, emptied by a change before, stay with the base. */
static void part_chains(struct part *base, struct part *shell)
{
    uint32_t kept = 0;
    shell->chains = mem_array(base->chain_count, sizeof(struct chain *));
    for (uint32_t k = 0; k < base->chain_count; k++) {
        struct chain *c = base->chains[k];
        bool goes = false;
        for (uint32_t n = 0; n < shell->instance_count; n++) {
            goes = goes || atomic_load(&shell->instances[n]->chain) == c;
        }
        if (goes) {
            shell->chains[shell->chain_count++] = c;
        } else {
            base->chains[kept++] = c;
        }
    }
    base->chain_count = kept;
}

/* Whatever was prepared here gives way: it was not decided, or belongs to a try that has failed.
 * One of these that was told to go is soon made: it waits for its targets only. */
static bool give_way(struct part *base)
{
    if (change_is_going(base) && change_staged(base)->plan.PREPARE.stay_instances_count == 0) {
        return false;
    }
    part_put_after(base, NULL);
    if (base->pending != NULL && !base->pending->dropping) {
        part_unstage(base);
    }
    if (base->change != NULL && !change_is_going(base)) {
        change_abort(base);
    }
    return true;
}

bool beside_take(struct part *base, const struct msg *prepare)
{
    const struct msg_PREPARE *plan = &prepare->PREPARE;
    if (plan->base_version != base->version || base->state != DEPLOYMENT_RUNNING ||
        base->arriving != NULL || !give_way(base)) {
        return false;
    }
    for (uint32_t k = 0; k < base->instance_count; k++) {
        if (stays(base->instances[k], plan)) {
            keeper_follow(base->instances[k]->keeper, plan->gen);
        }
    }
    base->gen = plan->gen;
    struct part *after = part_new(base->env, prepare);
    after->discards = true;
    part_put_after(base, after);
    return true;
}

bool change_discard(struct part *base, struct msg_PREPARE *plan)
{
    if (base->state != DEPLOYMENT_RUNNING || !resends_find(base, plan) || !can_part(base, plan)) {
        return false;
    }
    struct part *shell = mem_alloc(sizeof *shell);
    struct grave *g = mem_alloc(sizeof *g);
    moves_free(base->moved); /* the change before is done everywhere (R15) */
    base->moved = NULL;
    shell->env = base->env;
    part_borders(base, plan);
    part_void(base, plan->epoch); /* a checkpoint that was under way is given up */
    part_instances(base, shell, plan);
    part_channels(base, shell);
    part_chains(base, shell);
    for (uint32_t k = 0; k < shell->chain_count; k++) {
        chain_halt(shell->chains[k]);
    }
    g->shell = shell;
    grave_open(g, base);
    return true;
}

enum beside beside_turn(struct part *base)
{
    struct part *after = base->after;
    if (after == NULL || base->pending != NULL || base->change != NULL) {
        return BESIDE_WAITS;
    }
    if (after->discards) {
        if (!change_discard(base, &after->plan.PREPARE)) {
            return BESIDE_REFUSED;
        }
        after->discards = false;
    }
    if (!change_is_clear(base)) {
        return BESIDE_WAITS;
    }
    base->pending = after;
    base->after = NULL;
    return BESIDE_BEGINS;
}
