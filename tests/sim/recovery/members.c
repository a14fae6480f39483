/* tests/sim/recovery/members.c - the master: who is there, what they say, and what comes of it.
 *
 * A worker whose connection closed is away, and lost when it does not come back in time; it says
 * what it holds when it does.  The topology is over when everything has ended and a checkpoint
 * taken after that is committed. */
#include "tests/sim/recovery/rs.h"

#include <string.h>

/* ---------------------------------------------------------------- members */

static void lose(struct rs *w, uint32_t k, uint64_t incarnation)
{
    struct rs_chief *a = &w->chief;
    struct rs_message m = {.worker = (uint8_t)k, .incarnation = incarnation};
    w->moved++;
    RS_TRACE(w, "w%u is lost", k);
    uint32_t plan = a->d.plan;
    bool restarted = a->holder[k] == 0;
    if (incarnation == 0 && a->active && !a->is_recovery) {
        m.incarnation = a->d.decided_incarnation[k]; /* not seen since this master started */
    }
    rs_feed(w, CHANGE_IN_LOST, &m);
    bool had = a->up && plan == a->d.plan && rs_is_used(w, plan, k) &&
               (a->holder[k] == incarnation || restarted);
    if (had && !a->d.recovering &&
        !(a->active && !a->is_recovery && change_is_decided(&a->change))) {
        rs_lost(w);
    }
}

/* A recovery is prepared in which something stays, and it holds nothing (conduct.c): what was fed
 * to what it had prepared may be gone with that, so it is not enough to ask it once more. */
static bool came_bare(struct rs *w, const struct rs_message *m)
{
    const struct rs_chief *a = &w->chief;
    bool prepares = a->active && a->is_recovery && !change_is_decided(&a->change);
    if (!prepares || m->gen != 0 || !rs_is_used(w, a->d.plan, m->worker)) {
        return false;
    }
    const struct rs_plan *x = rs_plan(w, a->d.plan);
    bool any = false;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        any = any || x->stays[n];
    }
    return any;
}

/* It is decided that it holds something, and it says that it does not (conduct.c): as good as lost.
 */
static bool came_without(struct rs *w, const struct rs_message *m)
{
    struct rs_chief *a = &w->chief;
    uint32_t k = m->worker;
    bool decided = a->active && change_is_decided(&a->change);
    bool restores = decided && a->is_recovery;
    if (!rs_without(w, NO_LACK) && m->said >= a->heard[k] && came_bare(w, m)) {
        rs_feed(w, CHANGE_IN_LOST, m);
        return true;
    }
    if (rs_without(w, NO_LACK) || m->said < a->heard[k] || (a->d.recovering && !restores)) {
        return false;
    }
    bool here = a->holder[k] == m->incarnation && rs_is_used(w, a->d.plan, k);
    bool lacks_next = decided && !restores && m->held != a->change.token.op && m->gone == 0;
    bool lacks = restores ? m->gen != a->d.gen : here && (m->gen != a->d.gen || !m->running);
    if (decided && (lacks || lacks_next)) {
        rs_feed(w, CHANGE_IN_LOST, m); /* counts if it is of that change */
    } else if (lacks) {
        rs_lost(w);
    }
    return lacks;
}

/* A worker is connected again and says what it holds (R2). */
static void on_hello(struct rs *w, const struct rs_message *m)
{
    struct rs_chief *a = &w->chief;
    uint32_t k = m->worker;
    uint64_t before = a->seen[k];
    if (m->incarnation < before) { /* another one has its name: it is refused, and ends */
        uint32_t p = rs_proc_of(w, k, m->incarnation);
        if (p != NONE) {
            rs_proc_end(w, p);
        }
        return;
    }
    bool back = a->member[k] != MEMBER_HERE || before == m->incarnation;
    a->seen[k] = m->incarnation;
    if (before != 0 && before != m->incarnation && rs_without(w, NO_INCARNATION)) {
        a->holder[k] = m->incarnation; /* it is still the one that was there, is it */
    } else if (before != 0 && before != m->incarnation) {
        lose(w, k, before);
    }
    if (!a->up) {
        return;
    }
    bool given_up = a->member[k] == MEMBER_GIVEN_UP;
    a->member[k] = MEMBER_HERE;
    w->moved += !back;
    if (came_without(w, m) || !a->up) {
        return;
    }
    bool changing = a->active && !a->is_recovery && change_is_decided(&a->change);
    int side = rs_plan(w, a->d.plan)->side;
    if (m->gen == a->d.gen && m->running && !a->d.recovering) {
        a->holder[k] = a->holder[k] == 0 ? m->incarnation : a->holder[k];
        a->ended[k] = a->ended[k] ||
                      (m->ended && m->side == side && !changing && a->holder[k] == m->incarnation);
    } else if (a->holder[k] == 0 && rs_is_used(w, a->d.plan, k) && !a->d.recovering) {
        if (changing) {
            struct rs_message was = {.worker = (uint8_t)k,
                                     .incarnation = a->d.decided_incarnation[k]};
            rs_feed(w, CHANGE_IN_LOST, &was);
        } else {
            rs_lost(w); /* it came back without its part */
        }
    }
    if (!a->up) {
        return;
    }
    struct rs_message about = *m;
    bool of_recovery = a->active && a->is_recovery && a->change.token.gen == a->d.gen;
    if (m->gen != 0 && m->gen < a->d.gen && (!of_recovery || given_up || rs_draw(w, 2) == 0)) {
        rs_tell(w, k, (struct rs_message){.kind = TELL_DROP, .gen = m->gen});
    }
    if (a->active && !a->is_recovery && m->held != a->change.token.op && m->held != 0 &&
        m->gone == 0) {
        rs_tell(w, k, (struct rs_message){.kind = TELL_ABORT, .op = m->held});
    } else if (!a->active && m->held != 0 && m->gone == 0 && m->held != a->d.decided) {
        rs_tell(w, k, (struct rs_message){.kind = TELL_ABORT, .op = m->held});
    }
    rs_feed(w, CHANGE_IN_BACK, &about);
    if (a->up && !a->d.recovering) {
        rs_keep(w, CHECKPOINT_IN_BACK, m);
    }
}

/* ---------------------------------------------------------------- the end */

static bool everything_ended(struct rs *w)
{
    const struct rs_chief *a = &w->chief;
    bool all = !a->d.recovering && !(a->active && change_is_decided(&a->change));
    for (uint32_t k = 0; k < w->worker_count && all; k++) {
        all = !rs_is_used(w, a->d.plan, k) || (a->ended[k] && a->holder[k] != 0);
    }
    return all;
}

static bool final_is_committed(struct rs *w) /* E3 */
{
    const struct rs_chief *a = &w->chief;
    if (rs_without(w, NO_LAST)) {
        return true;
    }
    if (a->final_epoch == 0 || a->keeping.complete < a->final_epoch) {
        return false;
    }
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (rs_is_used(w, a->d.plan, k) && a->committed[k] < a->final_epoch) {
            return false;
        }
    }
    return true;
}

static void check_end(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    if (!everything_ended(w)) {
        return;
    }
    if (a->active && !a->is_recovery) {
        rs_feed(w, CHANGE_IN_CANCEL, NULL);
        if (!a->up || a->active) {
            return;
        }
    }
    if (final_is_committed(w)) {
        RS_TRACE(w, "over");
        a->d.over = true;
    } else if (a->final_epoch == 0 && a->keeping.state == CHECKPOINT_IDLE) {
        rs_keep(w, CHECKPOINT_IN_ASKED, NULL);
    }
}

void rs_chief_takes(struct rs *w, const struct rs_message *m)
{
    struct rs_chief *a = &w->chief;
    uint32_t k = m->worker;
    if (!a->up) {
        return;
    }
    bool of_part = m->gen == a->d.gen && a->holder[k] == m->incarnation;
    a->heard[k] = m->said > a->heard[k] ? m->said : a->heard[k];
    switch (m->kind) {
    case TELL_HELLO:
        on_hello(w, m);
        break;
    case TELL_READY:
        a->ended_nodes |= m->ended_nodes;
        rs_feed(w, CHANGE_IN_READY, m);
        break;
    case TELL_NOT_READY:
        a->refused = true;
        rs_feed(w, CHANGE_IN_NOT_READY, m);
        break;
    case TELL_DONE:
        rs_feed(w, CHANGE_IN_DONE, m);
        break;
    case TELL_ACK:
        if (of_part || rs_without(w, NO_ACK_FENCE)) {
            rs_keep(w, CHECKPOINT_IN_ACK, m);
        }
        break;
    case TELL_COMMITTED:
        if (of_part && m->epoch > a->committed[k]) {
            a->committed[k] = m->epoch;
            w->moved++;
        }
        check_end(w);
        break;
    case TELL_ENDED:
        if (of_part && m->side == rs_plan(w, a->d.plan)->side && !a->d.recovering &&
            !(a->active && change_is_decided(&a->change))) {
            w->moved += !a->ended[k];
            a->ended[k] = true;
        }
        check_end(w);
        break;
    default:
        break;
    }
}

/* ---------------------------------------------------------------- events */

static bool all_settled_here(struct rs *w)
{
    const struct rs_chief *a = &w->chief;
    for (uint32_t k = 0; k < w->worker_count; k++) {
        bool used = rs_is_used(w, a->d.plan, k);
        if (used && (a->member[k] != MEMBER_HERE || a->holder[k] != a->seen[k])) {
            return false;
        }
    }
    return true;
}

/* A change of code alone: the same instances, the same channels, nothing that moves (repair.c). */
static bool is_of_code(const struct image *im)
{
    bool same = im->move_count == 0;
    for (uint32_t n = 0; n < im->node_count; n++) {
        same = same && im->nodes[n].there[SIDE_V] == im->nodes[n].there[SIDE_NEW];
    }
    for (uint32_t c = 0; c < im->channel_count; c++) {
        same = same && im->channels[c].there[SIDE_V] == im->channels[c].there[SIDE_NEW];
    }
    return same;
}

/* Nothing is prepared: V' is decided, the worker of what is stuck begins anew, and the rest is a
 * recovery of V' in which all that has other code counts as lost. */
static void repair(struct rs *w, const struct rs_plan *x)
{
    struct rs_chief *a = &w->chief;
    uint32_t k = rs_draw(w, w->worker_count);
    uint32_t p = rs_proc_of(w, k, a->seen[k]);
    RS_TRACE(w, "a PE of w%u is repaired", k);
    w->stats.repairs++;
    w->repaired = true;
    a->d.decided = ++a->d.op;
    a->d.next_plan = x->number;
    a->d.side = SIDE_NEW;
    a->d.void_below = x->epoch;
    memcpy(a->d.decided_incarnation, a->seen, sizeof a->seen);
    rs_hand_on(w);
    rs_tempt(w);
    if (p != NONE) {
        rs_proc_end(w, p);
    }
    rs_lost(w);
    a->repairs = a->up;
}

/* rs_upgrade_start - the upgrade is asked for, if it can be and is not done. */
void rs_upgrade_start(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    if (!a->up || a->active || a->d.recovering || a->d.decided != 0 || a->d.over ||
        a->attempts >= 3 || !all_settled_here(w)) {
        return;
    }
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (a->member[k] != MEMBER_HERE) {
            return; /* somebody may be needed that V does not use */
        }
    }
    const struct rs_plan *now = rs_plan(w, a->d.plan);
    struct rs_plan *x = rs_plan_new(w);
    x->gen = a->d.gen;
    x->side = SIDE_NEW;
    x->slot = -1;
    x->epoch = ++a->d.epoch;
    x->floor = x->epoch + 1;
    memcpy(x->place, now->place, sizeof x->place);
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        const struct inode *i = &w->im->nodes[n];
        x->stays[n] = i->there[SIDE_V];
        x->inst[n] = !i->there[SIDE_NEW] ? 0 : i->there[SIDE_V] ? now->inst[n] : ++a->d.ids;
    }
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        const struct ichannel *ch = &w->im->channels[c];
        x->logged[c] = false;
        x->chan[c] = !ch->there[SIDE_NEW] ? 0 : ch->there[SIDE_V] ? now->chan[c] : ++a->d.ids;
    }
    a->attempts++;
    a->ended_nodes = 0;
    if (w->k.stuck && is_of_code(w->im)) {
        repair(w, x);
        return;
    }
    rs_begin_change(w, x->number, false, CHANGE_PLANNED);
}

struct rs_plan *rs_plan_new(struct rs *w)
{
    const struct rs_chief *a = &w->chief;
    for (;;) {
        uint32_t at = ++w->plan_count % RS_PLANS;
        bool used =
            at == a->d.plan % RS_PLANS || (a->d.decided != 0 && at == a->d.next_plan % RS_PLANS);
        if (!used) {
            w->plans[at].number = w->plan_count;
            return &w->plans[at];
        }
    }
}

static bool notice(struct rs *w, bool idle) /* connections that closed, and patience that ends */
{
    struct rs_chief *a = &w->chief;
    uint32_t first = rs_draw(w, w->worker_count);
    for (uint32_t i = 0; i < w->worker_count; i++) {
        uint32_t k = (first + i) % w->worker_count;
        uint32_t p = rs_proc_of(w, k, a->seen[k]);
        bool gone = p == NONE || w->procs[p].cut_off;
        if (a->member[k] == MEMBER_HERE && gone) {
            a->member[k] = MEMBER_GONE_AWAY;
            w->moved++;
            return true;
        }
        if (a->member[k] == MEMBER_GONE_AWAY && gone && (idle || rs_draw(w, 4) == 0)) {
            a->member[k] = MEMBER_GIVEN_UP;
            lose(w, k, a->seen[k]);
            return true;
        }
    }
    return false;
}

bool rs_chief_event(struct rs *w, bool idle)
{
    struct rs_chief *a = &w->chief;
    if (!a->up) {
        if (idle || rs_draw(w, 3) == 0) {
            rs_chief_up(w);
            return true;
        }
        return false;
    }
    if (notice(w, idle) || !a->up) {
        return true;
    }
    if (a->d.recovering && !a->active && rs_recover_step(w)) {
        return true;
    }
    if (!a->d.recovering) {
        enum checkpoint_state before = a->keeping.state;
        rs_keep(w, CHECKPOINT_IN_TICK, NULL);
        if (!a->up || a->keeping.state != before) {
            return true;
        }
    }
    if (w->steps >= w->k.start && !a->active && rs_draw(w, 4) == 0) {
        rs_upgrade_start(w);
        return a->active;
    }
    if (a->active && a->timer && idle) {
        rs_feed(w, CHANGE_IN_DEADLINE, NULL);
        return true;
    }
    if (idle && everything_ended(w)) {
        check_end(w);
    }
    return false;
}
