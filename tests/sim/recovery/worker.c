/* tests/sim/recovery/worker.c - processes: what they prepare, drop, refuse and answer.
 *
 * A process accepts one generation, and lower ones no more (I6).  One that is cut off from the
 * master goes on with what it has and with the peers it has: only what they and it are told of the
 * next generation stops that (I9). */
#include "tests/sim/recovery/rs.h"

#include <string.h>

static uint64_t ended_nodes(struct rs *w, uint32_t p);

static void answer(struct rs *w, uint32_t p, enum rs_kind kind, const struct rs_message *to)
{
    rs_send(w, (struct rs_message){.ended_nodes = to->recovery ? 0 : ended_nodes(w, p),
                                   .kind = kind,
                                   .proc = (uint8_t)p,
                                   .recovery = to->recovery,
                                   .gen = w->procs[p].gen,
                                   .term = to->term,
                                   .op = to->op});
}

/* ---------------------------------------------------------------- lives */

static void close_ends(struct rs *w, uint32_t p, uint32_t n)
{
    for (int side = 0; side < SIDES; side++) {
        const struct iwiring *x = &w->im->nodes[n].side[side];
        for (uint32_t k = 0; k < x->input_count; k++) {
            rs_in_close(w, p, x->inputs[k]);
        }
        for (uint32_t i = 0; i < x->stream_count; i++) {
            for (uint32_t k = 0; k < x->streams[i].count; k++) {
                rs_out_close(w, p, x->streams[i].channels[k]);
            }
        }
    }
}

void rs_drop_life(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    if (!x->there) {
        return;
    }
    if (rs_without(w, NO_DISCARD) && w->commits[n] && w->procs[p].gen + 1 == w->chief.d.gen) {
        rs_history_copy(&w->frozen[n], &x->done, x->done.count);
    }
    close_ends(w, p, n);
    x->there = false;
    x->saving = 0;
    w->holders[n] &= (uint8_t) ~(1u << p);
}

static struct rs_inst *new_life(struct rs *w, uint32_t p, uint32_t n, uint32_t id)
{
    struct rs_inst *x = rs_inst(w, p, n);
    struct rs_inst kept = *x;
    *x = (struct rs_inst){.there = true,
                          .id = id,
                          .align = {kept.align[SIDE_V], kept.align[SIDE_NEW]},
                          .done = kept.done};
    x->done.count = 0;
    for (int side = 0; side < SIDES; side++) {
        struct align *a = &x->align[side];
        a->active = false;
        a->arrived_count = 0;
        a->epoch_floor = 0;
        a->in_set_count = a->input_count;
        memset(a->arrived, 0, a->input_count * sizeof *a->arrived);
        memset(a->in_set, 1, a->input_count * sizeof *a->in_set);
    }
    w->holders[n] |= (uint8_t)(1u << p);
    return x;
}

uint32_t rs_proc_start(struct rs *w, uint32_t worker)
{
    for (uint32_t p = 0; p < RS_PROCS; p++) {
        if (!w->procs[p].alive) {
            w->procs[p] =
                (struct rs_proc){.alive = true, .worker = worker, .incarnation = ++w->incarnations};
            RS_TRACE(w, "%u: a process of w%u starts", p, worker);
            return p;
        }
    }
    return NONE;
}

static void drop_all(struct rs *w, uint32_t p)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        rs_drop_life(w, p, n);
    }
    struct rs_proc *x = &w->procs[p];
    x->plan = x->gen = x->void_below = x->commit_epoch = 0;
    x->held = x->gone = 0;
    x->running = x->done = false;
}

void rs_proc_end(struct rs *w, uint32_t p)
{
    RS_TRACE(w, "%u: the process of w%u dies", p, w->procs[p].worker);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) { /* what it had not yet sent */
        const struct rs_message *m = &w->messages[i];
        if (m->proc != p || rs_draw(w, 2) == 0) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
    for (int s = 0; s < RS_SLOTS && rs_without(w, NO_PLACE); s++) {
        for (uint32_t n = 0; n < w->im->node_count; n++) {
            struct rs_saved *x = &w->slots[s].nodes[n];
            x->durable = x->durable && x->on != w->procs[p].worker;
        }
    }
    drop_all(w, p);
    w->procs[p].alive = false;
}

void rs_proc_forget(struct rs *w, uint32_t p)
{
    RS_TRACE(w, "%u: the process of w%u forgets all", p, w->procs[p].worker);
    drop_all(w, p);
    w->procs[p].done = false;
    rs_hello(w, p);
}

static bool is_ended(struct rs *w, uint32_t p)
{
    bool ended = w->procs[p].running;
    for (uint32_t n = 0; ended && n < w->im->node_count; n++) {
        const struct rs_inst *x = rs_inst(w, p, n);
        ended = !x->there || x->retired || (x->started && x->finished);
    }
    return ended;
}

void rs_hello(struct rs *w, uint32_t p)
{
    const struct rs_proc *x = &w->procs[p];
    rs_connect(w, p);
    rs_send(w, (struct rs_message){.kind = TELL_HELLO,
                                   .proc = (uint8_t)p,
                                   .gen = x->gen,
                                   .side = x->side,
                                   .running = x->running,
                                   .ended = is_ended(w, p),
                                   .held = x->held,
                                   .gone = x->gone});
}

/* ---------------------------------------------------------------- a recovery is prepared */

static bool is_here(struct rs *w, uint32_t p, uint32_t n, const struct rs_plan *plan)
{
    return plan->inst[n] != 0 && plan->place[w->home[n]] == w->procs[p].worker;
}

/* Is all there that is to stay, and does it still have what it is to send again? */
static bool can_stay(struct rs *w, uint32_t p, const struct rs_plan *plan)
{
    uint32_t epoch = plan->slot >= 0 ? w->slots[plan->slot].epoch : 0;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        const struct rs_inst *x = rs_inst(w, p, n);
        if (is_here(w, p, n, plan) && plan->stays[n] &&
            (!x->there || x->id != plan->inst[n] || !x->started)) {
            return false;
        }
    }
    for (uint32_t c = 0; c < w->im->channel_count && !rs_without(w, NO_REACH); c++) {
        if (plan->logged[c] && is_here(w, p, w->im->channels[c].from, plan) &&
            !rs_log_reaches(rs_out(w, p, c), epoch)) {
            return false;
        }
    }
    return true;
}

static void rewire(struct rs *w, uint32_t p, const struct rs_plan *plan)
{
    uint32_t epoch = plan->slot >= 0 ? w->slots[plan->slot].epoch : 0;
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        const struct ichannel *ch = &w->im->channels[c];
        bool is_in = plan->chan[c] != 0;
        struct rs_out *o = rs_out(w, p, c);
        struct rs_in *in = rs_in(w, p, c);
        if (!is_in) {
            rs_out_close(w, p, c);
            rs_in_close(w, p, c);
            continue;
        }
        if (is_here(w, p, ch->from, plan) && plan->stays[ch->from] && o->id != plan->chan[c]) {
            if (plan->logged[c]) {
                rs_resend(w, p, c, plan->chan[c], epoch);
            } else { /* only when producers are not in the set */
                o->id = plan->chan[c];
            }
        }
        if (is_here(w, p, ch->to, plan) && plan->stays[ch->to] && in->id != plan->chan[c]) {
            rs_in_close(w, p, c); /* only when descendants are not in the set */
            in->id = plan->chan[c];
            in->far.count = 0;
            w->receiver[in->id % RS_IDS] = (uint8_t)(p + 1);
        }
    }
}

static void drop_lower(struct rs *w, uint32_t p, const struct rs_plan *plan, bool all)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        bool here = is_here(w, p, n, plan);
        if ((!here && all) || (here && !plan->stays[n] && rs_inst(w, p, n)->id != plan->inst[n])) {
            rs_drop_life(w, p, n);
        }
    }
}

static void prepare_recovery(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    const struct rs_plan *plan = rs_plan(w, m->plan);
    if (plan->number != m->plan || (m->gen < x->gen && !rs_without(w, NO_GEN))) {
        return;
    }
    if (x->plan == m->plan) {
        answer(w, p, x->running ? TELL_DONE : TELL_READY, m);
        return;
    }
    if (m->gen == x->gen) { /* of one generation there is one plan */
        if (rs_without(w, NO_GEN_DURABLE)) {
            x->plan = m->plan;
            answer(w, p, x->running ? TELL_DONE : TELL_READY, m);
        }
        return;
    }
    if (!can_stay(w, p, plan)) {
        answer(w, p, TELL_NOT_READY, m);
        return;
    }
    drop_lower(w, p, plan, !rs_without(w, NO_DROP));
    x->gen = m->gen;
    x->plan = m->plan;
    x->side = plan->side;
    x->running = x->done = false;
    x->held = x->gone = 0;
    x->void_below = x->commit_epoch = 0;
    rewire(w, p, plan);
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        if (is_here(w, p, n, plan) && !plan->stays[n]) {
            rs_drop_life(w, p, n); /* of a generation with the same ids */
            new_life(w, p, n, plan->inst[n]);
            rs_restore(w, p, n, plan);
        } else if (is_here(w, p, n, plan)) {
            w->stats.kept++;
        }
    }
    answer(w, p, TELL_READY, m);
}

static void start_all(struct rs *w, uint32_t p)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        struct rs_inst *x = rs_inst(w, p, n);
        x->started = x->started || x->there;
    }
}

static void go_recovery(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    if (x->gen != m->gen || x->plan != m->plan) {
        return;
    }
    if (!x->running) {
        RS_TRACE(w, "%u: goes on, generation %u", p, x->gen);
        drop_lower(w, p, rs_plan(w, m->plan), true);
        x->running = true;
        start_all(w, p);
    }
    answer(w, p, TELL_DONE, m);
}

/* ---------------------------------------------------------------- an upgrade */

/* Who has ended, or had in the checkpoint it was restored from and will again (R3). */
static uint64_t ended_nodes(struct rs *w, uint32_t p)
{
    uint64_t bits = 0;
    for (uint32_t n = 0; n < w->im->node_count && n < 64; n++) {
        const struct rs_inst *x = rs_inst(w, p, n);
        bool ended = x->finished || (x->had_ended && !rs_without(w, NO_HAD));
        bits |= (uint64_t)(x->there && w->im->nodes[n].there[SIDE_V] && ended) << n;
    }
    return bits;
}

static void await(struct rs *w, uint32_t n, struct rs_inst *x)
{
    x->await_keys = 0;
    x->await_other = false;
    for (uint32_t m = 0; m < w->im->move_count; m++) {
        const struct imove *move = &w->im->moves[m];
        if (move->to != n) {
            continue;
        }
        x->await_other = x->await_other || move->other;
        for (unsigned key = 0; key < KEYS; key++) {
            unsigned g = w->k.groups[key];
            if ((move->groups[g / 8] >> (g % 8) & 1) != 0) {
                x->await_keys |= (uint8_t)(1u << key);
            }
        }
    }
}

static void make_new(struct rs *w, uint32_t p, const struct rs_plan *plan)
{
    const struct image *im = w->im;
    for (uint32_t n = 0; n < im->node_count; n++) {
        if (!im->nodes[n].there[SIDE_NEW] || !is_here(w, p, n, plan)) {
            continue;
        }
        struct rs_inst *x = rs_inst(w, p, n);
        if (!im->nodes[n].there[SIDE_V]) {
            x = new_life(w, p, n, plan->inst[n]);
            x->cut = true; /* born cut */
            x->injected = plan->epoch;
            x->total = rs_kind_of(w, n) == KIND_SOURCE ? w->totals[im->nodes[n].source] : 0;
        }
        x->align[SIDE_NEW].epoch_floor = im->nodes[n].member ? plan->floor : 0;
        await(w, n, x);
    }
    for (uint32_t c = 0; c < im->channel_count; c++) {
        if (im->channels[c].new_side && is_here(w, p, im->channels[c].from, plan)) {
            rs_out_open(w, p, c, plan->chan[c]);
            rs_out(w, p, c)->log_ok = false;
        }
        if (im->channels[c].new_side && is_here(w, p, im->channels[c].to, plan)) {
            rs_in_open(w, p, c, plan->chan[c]);
        }
    }
}

static void give_up(struct rs *w, uint32_t p)
{
    RS_TRACE(w, "%u: drops op %u", p, (unsigned)w->procs[p].held);
    w->procs[p].held = 0;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        if (!w->im->nodes[n].there[SIDE_V]) {
            rs_drop_life(w, p, n);
        }
    }
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        if (w->im->channels[c].new_side) {
            rs_out_close(w, p, c);
            rs_in_close(w, p, c);
        }
    }
}

static void prepare_upgrade(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    const struct rs_plan *plan = rs_plan(w, m->plan);
    if (plan->number != m->plan || m->gen != x->gen) {
        return;
    }
    if (x->held == m->op) {
        answer(w, p, x->done ? TELL_DONE : TELL_READY, m);
    } else if (m->op <= x->fence_op) {
        return;
    } else if (x->held != 0 || !x->running) {
        answer(w, p, TELL_NOT_READY, m);
    } else {
        x->held = m->op;
        x->epoch = plan->epoch;
        make_new(w, p, plan);
        answer(w, p, TELL_READY, m);
    }
}

static void on_abort(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    x->fence_op = m->op > x->fence_op ? m->op : x->fence_op;
    if (x->gone == 0 && x->held == m->op && !m->recovery) {
        give_up(w, p);
    }
}

static void go_upgrade(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    const struct rs_plan *plan = rs_plan(w, m->plan);
    if (m->gen != x->gen && !rs_without(w, NO_GO_FENCE)) {
        return;
    }
    if (x->gone != 0) {
        if (x->done && m->kind == TELL_GO) {
            answer(w, p, TELL_DONE, m);
        }
        return;
    }
    if (x->held != m->op) {
        rs_violate(w, WRONG_BOTH); /* the process that said it was ready is not */
        return;
    }
    RS_TRACE(w, "%u: goes, op %u", p, (unsigned)m->op);
    rs_tempt(w);
    x->gone = m->op;
    x->void_below = plan->epoch;
    start_all(w, p);
    for (uint32_t n = 0; n < w->im->node_count && !rs_without(w, NO_VOID); n++) {
        struct rs_inst *i = rs_inst(w, p, n);
        if (i->there) {
            align_void(&i->align[rs_side(i)], plan->epoch);
            i->inject = i->inject < plan->epoch ? 0 : i->inject;
        }
    }
    for (uint32_t k = 0; k < RS_WORKERS; k++) { /* R6 */
        if (plan->proc[k] < RS_PROCS && plan->proc[k] != p) {
            struct rs_message on = *m;
            on.kind = TELL_PEER_GO;
            on.proc = plan->proc[k];
            rs_send(w, on);
        }
    }
}

bool rs_defers(struct rs *w, uint32_t p, uint32_t n) /* R4 */
{
    const struct inode *i = &w->im->nodes[n];
    return i->member && i->there[SIDE_V] && !rs_inst(w, p, n)->cut && w->procs[p].held != 0;
}

/* ---------------------------------------------------------------- checkpoints */

static void on_checkpoint(struct rs *w, uint32_t p, const struct rs_message *m)
{
    int at = rs_slot_of(w, m->epoch);
    if (m->epoch < w->procs[p].void_below && !rs_without(w, NO_VOID)) {
        return;
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        struct rs_inst *x = rs_inst(w, p, n);
        if (!x->there || !x->started || x->retired) {
            continue;
        }
        if (!rs_without(w, NO_RELEASE)) {
            align_void(&x->align[rs_side(x)], m->epoch);
        }
        bool saved = at >= 0 && x->mark_epoch[at] == m->epoch && (x->saving >> at & 1) == 0;
        if (saved) { /* a master that was away asks again */
            rs_send(w, (struct rs_message){.kind = TELL_ACK,
                                           .proc = (uint8_t)p,
                                           .epoch = m->epoch,
                                           .inst = x->id,
                                           .gen = w->procs[p].gen});
        } else if (rs_kind_of(w, n) == KIND_SOURCE && m->epoch > x->inject) {
            x->inject = m->epoch;
        }
    }
}

static void on_complete(struct rs *w, uint32_t p, const struct rs_message *m)
{
    struct rs_proc *x = &w->procs[p];
    if (m->epoch > x->commit_epoch) {
        x->commit_epoch = m->epoch;
        rs_commit(w, p, m->epoch);
        rs_log_trim(w, p, m->epoch);
    }
    rs_send(w, (struct rs_message){.kind = TELL_COMMITTED,
                                   .proc = (uint8_t)p,
                                   .epoch = x->commit_epoch,
                                   .gen = x->gen});
}

/* ---------------------------------------------------------------- messages */

void rs_worker_takes(struct rs *w, const struct rs_message *m)
{
    uint32_t p = m->proc;
    struct rs_proc *x = &w->procs[p];
    if (m->term < x->term && m->kind != TELL_PEER_GO) {
        return;
    }
    x->term = m->term > x->term ? m->term : x->term;
    bool other = m->gen != x->gen && !rs_without(w, NO_GEN); /* I6 I9 */
    switch (m->kind) {
    case TELL_PREPARE:
        (m->recovery ? prepare_recovery : prepare_upgrade)(w, p, m);
        break;
    case TELL_GO:
    case TELL_PEER_GO:
        (m->recovery ? go_recovery : go_upgrade)(w, p, m);
        break;
    case TELL_ABORT:
        on_abort(w, p, m);
        break;
    case TELL_CHECKPOINT:
        if (!other) {
            on_checkpoint(w, p, m);
        }
        break;
    case TELL_COMPLETE:
        if (!other) {
            on_complete(w, p, m);
        }
        break;
    case TELL_DROP:
        if (x->gen <= m->gen && x->gen != 0 && !rs_without(w, NO_GEN)) {
            RS_TRACE(w, "%u: drops generation %u", p, x->gen);
            drop_all(w, p);
        }
        break;
    default:
        break;
    }
}

static bool say_done(struct rs *w, uint32_t p)
{
    struct rs_proc *x = &w->procs[p];
    bool done = x->gone != 0 && !x->done;
    for (uint32_t n = 0; done && n < w->im->node_count; n++) {
        const struct inode *i = &w->im->nodes[n];
        const struct rs_inst *l = rs_inst(w, p, n);
        done = !l->there || !i->member ||
               (l->cut && (l->retired || (l->await_keys == 0 && !l->await_other)));
    }
    if (done) {
        x->done = true;
        x->side = SIDE_NEW;
        rs_send(w, (struct rs_message){.kind = TELL_DONE,
                                       .proc = (uint8_t)p,
                                       .gen = x->gen,
                                       .term = x->term,
                                       .op = x->gone});
    }
    return done;
}

bool rs_worker_event(struct rs *w, bool idle)
{
    bool some = false;
    for (uint32_t p = 0; p < RS_PROCS && !some; p++) {
        some = w->procs[p].alive && say_done(w, p);
    }
    uint32_t p = rs_draw(w, RS_PROCS);
    for (uint32_t k = 0; k < RS_PROCS && !some; k++, p = (p + 1) % RS_PROCS) {
        const struct rs_proc *x = &w->procs[p];
        if (x->alive && x->held != 0 && x->gone == 0 && !x->cut_off && rs_draw(w, 16) == 0) {
            rs_hello(w, p); /* R2: it asks */
            return true;
        }
        if (!x->alive || !is_ended(w, p) || x->cut_off || (!idle && rs_draw(w, 2) == 0)) {
            continue;
        }
        rs_send(w, (struct rs_message){.kind = TELL_ENDED,
                                       .proc = (uint8_t)p,
                                       .gen = x->gen,
                                       .side = x->side,
                                       .ended = true});
        return true;
    }
    return some;
}
