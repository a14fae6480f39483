/* worker/grave.c - freeing what changes retired, when no executor can still hold a pointer to it.
 *
 * When:       its grace period is over, its chains are dead, and no move of state is under way. */
#include "worker/grave.h"

#include "core/mem.h"
#include "worker/moves.h"

/* Every executor that runs something of this part, private ones too, has to begin another turn. */
static void begin_grace(struct grace *g, const struct part *base)
{
    struct executor **own = mem_array(base->chain_count, sizeof(struct executor *));
    unsigned count = 0;
    for (uint32_t k = 0; k < base->chain_count; k++) {
        if (base->chains[k]->private_executor != NULL) {
            own[count++] = base->chains[k]->private_executor;
        }
    }
    grace_begin(g, base->env->executors, own, count);
    mem_free(own);
}

void grave_open(struct grave *g, struct part *base)
{
    begin_grace(&g->grace, base);
    g->next = base->graves;
    base->graves = g;
}

static void grave_free(struct grave *g)
{
    moves_free(g->moves); /* before the tables they look at */
    resends_fini(&g->resends);
    for (uint32_t k = 0; k < g->cut_count; k++) {
        cut_free(g->cuts[k]);
    }
    for (uint32_t k = 0; k < g->instance_count; k++) {
        mem_free(g->instances[k]->end_to_end_us);
        instance_free(g->instances[k]);
    }
    for (uint32_t k = 0; k < g->channel_count; k++) {
        channel_free(g->channels[k]);
    }
    for (uint32_t k = 0; k < g->chain_count; k++) {
        chain_free(g->chains[k]);
    }
    part_free(g->shell);
    mem_free(g->chains);
    mem_free(g->cuts);
    mem_free(g->instances);
    mem_free(g->channels);
    mem_free(g);
}

/* Chains that died because all of their members retired or left. */
static void sweep_chains(struct part *base)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < base->chain_count; k++) {
        struct chain *c = base->chains[k];
        if (c->dead && c->member_count == 0 && !base->dropping && base->graves == NULL &&
            base->change == NULL) { /* whose squeeze may still speak to it */
            chain_free(c);
        } else {
            base->chains[kept++] = c;
        }
    }
    base->chain_count = kept;
}

static bool chains_dead(const struct grave *g)
{
    for (uint32_t k = 0; k < g->chain_count; k++) {
        if (!g->chains[k]->dead) {
            return false;
        }
    }
    for (uint32_t k = 0; k < g->shell->chain_count; k++) {
        if (!g->shell->chains[k]->dead) {
            return false;
        }
    }
    return true;
}

bool change_is_clear(const struct part *base)
{
    for (const struct grave *g = base->graves; g != NULL; g = g->next) {
        if (g->shell->chain_count > 0 && !chains_dead(g)) {
            return false;
        }
    }
    return true;
}

bool change_sweep(struct part *base)
{
    struct grave **at = &base->graves;
    while (*at != NULL) {
        struct grave *g = *at;
        bool unknown = g->moves == NULL || moves_over(g->moves);
        if (chains_dead(g) && grace_over(&g->grace) && unknown) {
            *at = g->next;
            grave_free(g);
        } else {
            at = &g->next;
        }
    }
    sweep_chains(base);
    return base->graves != NULL;
}

void change_free_all(struct part *base)
{
    while (base->graves != NULL) {
        struct grave *g = base->graves;
        base->graves = g->next;
        grave_free(g);
    }
}
