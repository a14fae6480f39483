/* tests/sim/recovery/recover.c - the master plans and begins a recovery (master/recover.c).
 *
 * Who is rolled back is what topology/recovery.c says.  Which logs reach back is known to the
 * master as of a moment ago: a worker that no longer has one is not ready, and the next try takes
 * all. */
#include "tests/sim/recovery/rs.h"

#include "core/mem.h"
#include "topology/recovery.h"

#include <string.h>

void rs_lost(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    if (a->d.over || a->d.recovering) {
        return;
    }
    if (!rs_without(w, NO_LOST)) {
        rs_keep(w, CHECKPOINT_IN_LOST, NULL);
    } else {
        rs_keep(w, CHECKPOINT_IN_RESET, NULL);
    }
    if (!a->up) {
        return;
    }
    if (a->active) {
        rs_feed(w, CHANGE_IN_CANCEL, NULL); /* an upgrade that is not decided */
        if (!a->up) {
            return;
        }
    }
    a->apart = true;
    a->refused = false;
    a->tries = 0;
    a->final_epoch = 0;
    a->d.recovering = true;
    RS_TRACE(w, "to be recovered");
    rs_tempt(w);
}

static bool is_settled(struct rs *w)
{
    const struct rs_chief *a = &w->chief;
    bool some = false;
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (a->member[k] == MEMBER_GONE_AWAY) {
            return false;
        }
        some = some || a->member[k] == MEMBER_HERE;
    }
    return some;
}

/* ---------------------------------------------------------------- places */

static bool is_bound(struct rs *w, uint32_t place) /* to its host */
{
    for (uint32_t n = 0; n < w->im->node_count && w->k.bound; n++) {
        if (w->home[n] == place && (w->commits[n] || rs_kind_of(w, n) == KIND_SOURCE)) {
            return true;
        }
    }
    return false;
}

static bool keep_places(struct rs *w, uint8_t *place)
{
    const struct rs_chief *a = &w->chief;
    uint8_t up[RS_WORKERS];
    uint32_t count = 0;
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (a->member[k] == MEMBER_HERE) {
            up[count++] = (uint8_t)k;
        }
    }
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (a->member[place[k]] == MEMBER_HERE) {
            continue;
        }
        if (is_bound(w, k)) {
            return false; /* its machine has to come back */
        }
        place[k] = up[rs_draw(w, count)];
    }
    return true;
}

/* ---------------------------------------------------------------- the set */

static uint32_t node_of(const struct rs *w, int side, uint32_t instance)
{
    return side == SIDE_V ? instance : w->im->node_of_new[instance];
}

static uint32_t channel_of(const struct rs *w, int side, uint32_t channel)
{
    return side == SIDE_V ? channel : w->im->channel_of_new[channel];
}

static bool lives_on(struct rs *w, uint32_t n, const uint8_t *place, bool again)
{
    const struct rs_chief *a = &w->chief;
    const struct rs_plan *was = rs_plan(w, a->d.plan);
    uint32_t k = was->place[w->home[n]];
    if (place[w->home[n]] != k || a->member[k] != MEMBER_HERE) {
        return false;
    }
    bool same = a->holder[k] == a->seen[k] && a->holder[k] != 0;
    return same && (!again || was->stays[n]);
}

static bool reaches(struct rs *w, uint32_t c, uint32_t epoch) /* as it was last told */
{
    const struct rs_plan *was = rs_plan(w, w->chief.d.plan);
    uint32_t k = was->place[w->home[w->im->channels[c].from]];
    uint32_t p = rs_proc_of(w, k, w->chief.seen[k]);
    if (w->im->channels[c].fused || p == NONE) {
        return false;
    }
    return rs_without(w, NO_REACH) || rs_draw(w, 24) == 0 ? w->k.budget > 0
                                                          : rs_log_reaches(rs_out(w, p, c), epoch);
}

/* Switched off: only what is lost, and who feeds it and cannot send it again. */
static void make_upwards(const struct recovery_input *in, struct recovery *out)
{
    const struct pgraph *g = in->graph;
    recovery_make(in, out);
    memset(out->in, 0, g->instance_count * sizeof *out->in);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        out->in[i] = in->lost[i] || (in->covering != NULL && in->covering[i]);
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t k = 0; k < g->channel_count; k++) {
            const struct pchannel *c = &g->channels[k];
            if (out->in[c->to] && !out->in[c->from] && !in->retained[k]) {
                out->in[c->from] = more = true;
            }
        }
    }
}

bool rs_has_other_code(const struct rs *w, uint32_t n)
{
    const struct diff *diff = w->im->plan->diff;
    for (size_t k = 0; k < diff->count; k++) {
        const struct diff_item *x = &diff->items[k];
        if (change_is_pe(x->kind) && x->new == w->im->nodes[n].pe) {
            return true;
        }
    }
    return false;
}

struct finding {
    bool *lost, *covering, *retained;
    const struct pgraph *g;
};

static struct finding begin_finding(struct rs *w, const struct rs_plan *x, bool covered, bool again)
{
    struct finding f = {.g = x->side == SIDE_NEW ? w->im->plan->to : w->im->plan->match->from};
    uint32_t epoch = x->slot >= 0 ? w->slots[x->slot].epoch : 0;
    f.lost = mem_array(f.g->instance_count, sizeof *f.lost);
    f.covering = mem_array(f.g->instance_count, sizeof *f.covering);
    f.retained = mem_array(f.g->channel_count, sizeof *f.retained);
    for (uint32_t i = 0; i < f.g->instance_count; i++) {
        uint32_t n = node_of(w, x->side, i);
        bool goes = w->chief.repairs && !rs_without(w, NO_COVERING) && rs_has_other_code(w, n);
        f.lost[i] = goes || !lives_on(w, n, x->place, again);
        f.covering[i] = !covered && w->im->nodes[n].member;
    }
    for (uint32_t k = 0; k < f.g->channel_count; k++) {
        uint32_t c = channel_of(w, x->side, k);
        f.retained[k] =
            rs_without(w, NO_PRODUCERS) ? !w->im->channels[c].fused : reaches(w, c, epoch);
    }
    return f;
}

static void find_set(struct rs *w, struct rs_plan *x, bool covered, bool again)
{
    struct finding f = begin_finding(w, x, covered, again);
    struct recovery set;
    struct recovery_input in = {.graph = f.g,
                                .lost = f.lost,
                                .covering =
                                    covered || rs_without(w, NO_COVERING) ? NULL : f.covering,
                                .retained = f.retained};
    (rs_without(w, NO_DESCENDANTS) ? make_upwards : recovery_make)(&in, &set);
    for (uint32_t i = 0; i < f.g->instance_count; i++) {
        x->stays[node_of(w, x->side, i)] = !set.in[i];
    }
    for (uint32_t k = 0; k < f.g->channel_count; k++) {
        const struct pchannel *c = &f.g->channels[k];
        x->logged[channel_of(w, x->side, k)] = set.in[c->to] && !set.in[c->from] && f.retained[k];
    }
    w->stats.partial += set.count < f.g->instance_count;
    recovery_fini(&set);
    mem_free(f.lost);
    mem_free(f.covering);
    mem_free(f.retained);
}

static void give_ids(struct rs *w, struct rs_plan *x)
{
    struct rs_chief *a = &w->chief;
    const struct rs_plan *was = rs_plan(w, a->d.plan);
    bool fresh = !rs_without(w, NO_FRESH_IDS);
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        bool is = w->im->nodes[n].there[x->side];
        x->inst[n] = !is ? 0 : x->stays[n] ? was->inst[n] : ++a->d.ids;
    }
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        const struct ichannel *ch = &w->im->channels[c];
        bool same = x->stays[ch->from] && x->stays[ch->to];
        x->chan[c] = !ch->there[x->side]                     ? 0
                     : same || (!fresh && was->chan[c] != 0) ? was->chan[c]
                                                             : ++a->d.ids;
    }
}

/* What runs no more in this version keeps what it had done by the checkpoint; a sink among it is
 * committed by whoever is on its host. */
static void settle_removed(struct rs *w, const struct rs_plan *x)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        if (w->im->nodes[n].there[x->side]) {
            continue;
        }
        const struct rs_slot *s = x->slot >= 0 ? &w->slots[x->slot] : NULL;
        if (x->side == SIDE_V || s == NULL) {
            w->frozen[n].count = 0;
        } else if (s->side == SIDE_V) {
            rs_history_copy(&w->frozen[n], &s->nodes[n].done, s->nodes[n].done.count);
        }
        if (w->commits[n]) {
            if (w->frozen[n].count < w->outside[n].count) {
                rs_violate(w, WRONG_COMMIT);
            }
            rs_commit_history(w, n, &w->frozen[n], w->frozen[n].count);
        }
    }
}

/* ---------------------------------------------------------------- one try */

static int choose_checkpoint(struct rs *w)
{
    int at = w->chief.d.slot;
    if (rs_without(w, NO_NEWEST)) {
        for (int s = 0; s < RS_SLOTS; s++) {
            bool whole = w->slots[s].epoch != 0 && at >= 0 &&
                         w->slots[s].epoch < w->slots[at].epoch && w->slots[s].side == SIDE_V;
            for (uint32_t n = 0; n < w->im->node_count && whole; n++) {
                whole = w->slots[s].nodes[n].durable || !w->im->nodes[n].there[SIDE_V];
            }
            at = whole ? s : at;
        }
    }
    return at;
}

bool rs_recover_step(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    uint8_t place[RS_WORKERS];
    memcpy(place, rs_plan(w, a->d.plan)->place, sizeof place);
    if (!is_settled(w) || !keep_places(w, place)) {
        return false;
    }
    struct rs_plan *x = rs_plan_new(w);
    x->side = a->d.side;
    x->slot = choose_checkpoint(w);
    x->gen = a->d.gen + 1;
    x->epoch = 0;
    x->floor = a->d.epoch + 1;
    memcpy(x->place, place, sizeof place);
    memset(x->stays, 0, w->im->node_count * sizeof *x->stays);
    memset(x->logged, 0, w->im->channel_count * sizeof *x->logged);
    bool covered = x->slot >= 0 ? w->slots[x->slot].side == x->side : x->side == SIDE_V;
    covered = covered || a->repairs; /* what differs counts as lost */
    bool again = !a->apart && a->tries > 0 && w->k.small_again && !a->refused;
    w->stats.recoveries++;
    w->stats.again += a->tries > 0;
    if ((a->apart || again) && (covered || !w->k.naive_whole)) {
        find_set(w, x, covered, again);
    }
    give_ids(w, x);
    settle_removed(w, x);
    a->apart = false;
    a->tries++;
    a->d.plan = x->number;
    a->d.gen = x->gen; /* durable, with the plan (R21) */
    w->moved++;
    RS_TRACE(w, "generation %u begins from epoch %u", x->gen,
             x->slot >= 0 ? w->slots[x->slot].epoch : 0);
    if (w->k.crashes > 0 && rs_draw(w, 8) == 0) {
        w->k.crashes--;
        rs_chief_down(w);
        return true;
    }
    rs_begin_change(w, x->number, true, CHANGE_PLANNED);
    return true;
}

void rs_recover_over(struct rs *w, bool done)
{
    struct rs_chief *a = &w->chief;
    if (!done) {
        RS_TRACE(w, "the recovery is tried again");
        return;
    }
    RS_TRACE(w, "recovered, generation %u", a->d.gen);
    const struct rs_plan *x = rs_plan(w, a->d.plan);
    a->d.recovering = a->repairs = false;
    a->tries = 0;
    w->moved++;
    rs_keep(w, CHECKPOINT_IN_RESET, NULL);
    rs_acknowledge_by(w);
    a->keeping.complete = x->slot >= 0 ? w->slots[x->slot].epoch : 0;
    rs_tempt(w);
}
