/* tests/sim/recovery/chief.c - the master: its shell around the two coordinators, and messages.
 *
 * The machines are master/change.c and master/checkpoint.c; around them stands the thinnest shell
 * that does what master/conduct.c, keeping.c and restore.c do.  What is durable is struct
 * rs_durable; everything else goes when the master dies.  Messages lie in one bag and come in any
 * order. */
#include "tests/sim/recovery/rs.h"

#include <string.h>

static void perform(struct rs *w);

/* ---------------------------------------------------------------- messages */

uint32_t rs_proc_of(const struct rs *w, uint32_t worker, uint64_t incarnation)
{
    for (uint32_t p = 0; p < RS_PROCS; p++) {
        const struct rs_proc *x = &w->procs[p];
        if (x->alive && x->worker == worker && x->incarnation == incarnation) {
            return p;
        }
    }
    return NONE;
}

static bool to_master(enum rs_kind kind)
{
    return kind == TELL_READY || kind == TELL_NOT_READY || kind == TELL_DONE ||
           kind == TELL_HELLO || kind == TELL_ACK || kind == TELL_COMMITTED || kind == TELL_ENDED;
}

void rs_send(struct rs *w, struct rs_message m)
{
    if (m.proc >= RS_PROCS || !w->procs[m.proc].alive ||
        (w->procs[m.proc].cut_off && m.kind != TELL_PEER_GO)) {
        return;
    }
    m.worker = (uint8_t)w->procs[m.proc].worker;
    m.incarnation = w->procs[m.proc].incarnation;
    if (w->message_count < RS_MESSAGES) {
        w->messages[w->message_count++] = m;
    } else {
        w->too_big = true;
    }
}

static void tell(struct rs *w, uint32_t worker, struct rs_message m) /* to who holds its part */
{
    struct rs_chief *a = &w->chief;
    uint32_t p = rs_proc_of(w, worker, a->seen[worker]);
    if (p != NONE && a->member[worker] == MEMBER_HERE) {
        m.proc = (uint8_t)p;
        m.term = a->d.term;
        m.gen = m.gen != 0 ? m.gen : a->d.gen;
        rs_send(w, m);
    }
}

bool rs_is_used(struct rs *w, uint32_t plan, uint32_t worker)
{
    const struct rs_plan *x = rs_plan(w, plan);
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if (x->place[k] == worker) {
            return true;
        }
    }
    return false;
}

bool rs_control_step(struct rs *w)
{
    static const char *const names[TELL_KINDS] = {
        "PREPARE", "READY", "NOT_READY", "GO", "PEER_GO", "ABORT", "DONE",
        "HELLO", "CHECKPOINT", "ACK", "COMPLETE", "COMMITTED", "ENDED", "DROP"};
    if (w->message_count == 0) {
        return false;
    }
    uint32_t at = rs_draw(w, w->message_count);
    struct rs_message m = w->messages[at];
    if (w->k.losses > 0 && rs_draw(w, 24) == 0) {
        w->k.losses--; /* it comes twice */
    } else {
        w->messages[at] = w->messages[--w->message_count];
    }
    const struct rs_proc *x = &w->procs[m.proc];
    bool master = to_master(m.kind);
    bool same = x->alive && x->incarnation == m.incarnation;
    if (!master && (!same || (x->cut_off && m.kind != TELL_PEER_GO))) {
        return true;
    }
    RS_TRACE(w, "%s %s %u (w%u), gen %u, op %u, epoch %u", names[m.kind], master ? "from" : "to",
             m.proc, m.worker, m.gen, (unsigned)m.op, m.epoch);
    if (master) {
        rs_chief_takes(w, &m);
    } else {
        rs_worker_takes(w, &m);
    }
    return true;
}

/* ---------------------------------------------------------------- dying */

void rs_chief_down(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) { /* what it had not yet sent */
        bool its = !to_master(w->messages[i].kind) && w->messages[i].kind != TELL_PEER_GO;
        if (!its || rs_draw(w, 2) == 0) {
            w->messages[kept++] = w->messages[i];
        }
    }
    w->message_count = kept;
    RS_TRACE(w, "master dies");
    w->stats.crashes++;
    if (rs_without(w, NO_GEN_DURABLE) && a->active && a->is_recovery) {
        a->d.gen--;
    }
    a->up = false;
    if (a->active) {
        change_fini(&a->change);
    }
    checkpoint_fini(&a->keeping);
    struct change_actions actions = a->actions;
    actions.count = 0;
    struct rs_durable kept_d = a->d;
    *a = (struct rs_chief){.d = kept_d, .actions = actions, .live_slot = -1,
                           .attempts = a->attempts};
}

static bool may_die(struct rs *w, uint32_t odds) /* at a durable write */
{
    if (w->k.crashes > 0 && rs_draw(w, odds) == 0) {
        w->k.crashes--;
        return true;
    }
    return false;
}

void rs_acknowledge_by(struct rs *w)
{
    const struct rs_plan *plan = rs_plan(w, w->chief.d.plan);
    uint64_t ids[256];
    size_t count = 0;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        if (plan->inst[n] != 0 && w->im->nodes[n].there[plan->side]) {
            ids[count++] = plan->inst[n];
        }
    }
    checkpoint_of(&w->chief.keeping, ids, count);
}

static void chief_up(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    a->up = true;
    a->d.term++;
    RS_TRACE(w, "master starts, term %u", (unsigned)a->d.term);
    checkpoint_init(&a->keeping, w->k.every, w->now);
    rs_acknowledge_by(w);
    a->live_slot = -1;
    for (uint32_t p = 0; p < RS_PROCS; p++) {
        if (w->procs[p].alive) {
            rs_hello(w, p);
        }
    }
    for (uint32_t k = 0; k < w->worker_count; k++) {
        a->member[k] = MEMBER_GONE_AWAY;
    }
    if (a->d.decided != 0 && !a->d.done) {
        rs_begin_change(w, a->d.next_plan, false, CHANGE_DECIDED);
    }
}

/* ---------------------------------------------------------------- checkpoints */

static int free_slot(const struct rs *w)
{
    int best = -1;
    for (int s = 0; s < RS_SLOTS; s++) {
        const struct rs_slot *x = &w->slots[s];
        bool needed = x->epoch != 0 && (x->epoch == w->chief.d.complete || s == w->chief.live_slot);
        if (!needed && (best < 0 || x->epoch < w->slots[best].epoch)) {
            best = s;
        }
    }
    return best;
}

static void begin_checkpoint(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    a->live_slot = free_slot(w);
    struct rs_slot *s = &w->slots[a->live_slot];
    s->epoch = ++a->d.epoch;
    s->side = rs_plan(w, a->d.plan)->side;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        s->nodes[n].frozen = s->nodes[n].durable = false;
    }
    memset(s->received, 0, w->im->channel_count * sizeof *s->received);
    memset(s->received_hash, 0, w->im->channel_count * sizeof *s->received_hash);
    memset(s->sent, 0, w->im->channel_count * sizeof *s->sent);
    memset(s->sent_hash, 0, w->im->channel_count * sizeof *s->sent_hash);
    memset(s->ended, 0, w->im->channel_count * sizeof *s->ended);
    bool all = true;
    for (uint32_t k = 0; k < w->worker_count; k++) {
        all = all && (!rs_is_used(w, a->d.plan, k) || a->ended[k]);
    }
    a->final_epoch = all && !(a->active && !a->is_recovery) ? s->epoch : 0;
    RS_TRACE(w, "epoch %u begins", s->epoch);
    w->moved++;
    struct rs_message begun = {.epoch = s->epoch};
    rs_keep(w, CHECKPOINT_IN_BEGUN, &begun);
}

static void tell_complete(struct rs *w, uint32_t epoch, uint64_t worker_id)
{
    for (uint32_t k = 0; k < w->worker_count; k++) {
        if ((worker_id == 0 || worker_id == k + 1) && rs_is_used(w, w->chief.d.plan, k)) {
            tell(w, k, (struct rs_message){.kind = TELL_COMPLETE, .epoch = epoch});
        }
    }
}

static void store_manifest(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    uint32_t epoch = (uint32_t)a->keeping.epoch;
    rs_tempt(w);
    if (rs_without(w, NO_MANIFEST)) {
        tell_complete(w, epoch, 0);
    }
    if (may_die(w, 6)) {
        rs_chief_down(w);
        return;
    }
    bool stored = epoch >= a->d.void_below || rs_without(w, NO_VOID);
    if (stored) {
        a->d.complete = epoch;
        a->d.slot = a->live_slot;
        w->stats.checkpoints++;
        RS_TRACE(w, "epoch %u is complete", epoch);
    }
    if (may_die(w, 6)) {
        rs_chief_down(w);
        return;
    }
    rs_keep(w, stored ? CHECKPOINT_IN_STORED : CHECKPOINT_IN_NOT_STORED, NULL);
}

static void keep_one(struct rs *w, struct checkpoint_action x)
{
    struct rs_chief *a = &w->chief;
    switch (x.what) {
    case CHECKPOINT_DO_BEGIN:
        begin_checkpoint(w);
        break;
    case CHECKPOINT_DO_INJECT:
        rs_tempt(w);
        for (uint32_t k = 0; k < w->worker_count; k++) {
            if (x.worker_id == 0 || x.worker_id == k + 1) {
                tell(w, k,
                     (struct rs_message){.kind = TELL_CHECKPOINT, .epoch = (uint32_t)x.epoch});
            }
        }
        break;
    case CHECKPOINT_DO_STORE:
        store_manifest(w);
        break;
    case CHECKPOINT_DO_COMPLETE:
        a->live_slot = x.worker_id == 0 ? -1 : a->live_slot;
        tell_complete(w, (uint32_t)x.epoch, x.worker_id);
        w->moved++;
        break;
    case CHECKPOINT_DO_GIVE_UP:
        a->live_slot = -1;
        a->final_epoch = 0;
        break;
    }
}

static void decide(struct rs *w);

void rs_keep(struct rs *w, enum checkpoint_input kind, const struct rs_message *m)
{
    struct rs_chief *a = &w->chief;
    struct checkpoint_event e = {.kind = kind, .now_us = w->now};
    struct checkpoint_actions out = {0};
    bool barred = checkpoint_bars_change(&a->keeping);
    if (m != NULL) {
        e.epoch = m->epoch;
        e.instance = m->inst;
        e.worker_id = (uint64_t)m->worker + 1;
    }
    checkpoint_step(&a->keeping, &e, &out);
    for (size_t i = 0; i < out.count && a->up; i++) {
        keep_one(w, out.items[i]);
    }
    if (a->up && barred && a->waits && !checkpoint_bars_change(&a->keeping)) {
        a->waits = false;
        decide(w);
        perform(w);
    }
}

/* ---------------------------------------------------------------- the change machine */

void rs_feed(struct rs *w, enum change_input kind, const struct rs_message *m)
{
    struct rs_chief *a = &w->chief;
    if (!a->active) {
        return;
    }
    struct change_event e = {.kind = kind};
    if (m != NULL) {
        e.worker_id = (uint64_t)m->worker + 1;
        e.incarnation = m->incarnation;
        e.term = m->term;
        e.op = m->op;
    }
    for (size_t k = 0; m != NULL && rs_without(w, NO_INCARNATION) && k < a->change.part_count;
         k++) {
        if (a->change.parts[k].worker_id == e.worker_id) {
            e.incarnation = a->change.parts[k].incarnation;
        }
    }
    change_step(&a->change, &e, &a->actions);
    perform(w);
}

void rs_begin_change(struct rs *w, uint32_t plan, bool recovery, enum change_state at)
{
    struct rs_chief *a = &w->chief;
    struct rs_plan *x = rs_plan(w, plan);
    struct change_part parts[RS_WORKERS];
    size_t count = 0;
    memset(x->proc, RS_PROCS, sizeof x->proc);
    for (uint32_t k = 0; k < w->worker_count; k++) {
        bool used = rs_is_used(w, plan, k) || (!recovery && rs_is_used(w, a->d.plan, k));
        uint64_t who = at == CHANGE_DECIDED ? a->d.decided_incarnation[k] : a->seen[k];
        if (used) {
            parts[count++] = (struct change_part){.worker_id = k + 1, .incarnation = who};
            uint32_t p = rs_proc_of(w, k, who);
            x->proc[k] = p != NONE ? (uint8_t)p : RS_PROCS;
        }
    }
    if (at == CHANGE_PLANNED) {
        a->d.op++;
    }
    struct change_token token = {.term = a->d.term,
                                 .gen = a->d.gen,
                                 .op = at == CHANGE_PLANNED ? a->d.op : a->d.decided,
                                 .epoch = x->epoch};
    change_init(&a->change, token, parts, count, at);
    a->active = true;
    a->is_recovery = recovery;
    a->plan = plan;
    RS_TRACE(w, "op %u, generation %u: %s", (unsigned)token.op, a->d.gen,
             recovery ? "a recovery" : "an upgrade");
    rs_tempt(w);
    if (!recovery) {
        rs_keep(w, at == CHANGE_PLANNED ? CHECKPOINT_IN_PLANNED : CHECKPOINT_IN_DECIDED, NULL);
    }
    rs_feed(w, CHANGE_IN_START, NULL);
}

static void decide(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    if (a->is_recovery) { /* that was decided when its generation was written */
        change_step(&a->change, &(struct change_event){.kind = CHANGE_IN_DECIDED}, &a->actions);
        rs_tempt(w);
        return;
    }
    rs_tempt(w);
    if (may_die(w, 6)) {
        rs_chief_down(w);
        return;
    }
    if (rs_draw(w, 24) == 0) {
        change_step(&a->change, &(struct change_event){.kind = CHANGE_IN_UNDECIDABLE},
                    &a->actions);
        return;
    }
    a->d.decided = a->change.token.op;
    a->d.next_plan = a->plan;
    a->d.side = SIDE_NEW;
    if (!rs_without(w, NO_VOID)) {
        a->d.void_below = rs_plan(w, a->plan)->epoch;
    }
    for (size_t k = 0; k < a->change.part_count; k++) {
        a->d.decided_incarnation[a->change.parts[k].worker_id - 1] =
            a->change.parts[k].incarnation;
    }
    RS_TRACE(w, "decided");
    if (may_die(w, 6)) {
        rs_chief_down(w);
        return;
    }
    if (!rs_without(w, NO_VOID)) {
        w->stats.voids += checkpoint_is_live(&a->keeping);
        rs_keep(w, CHECKPOINT_IN_DECIDED, NULL);
    }
    change_step(&a->change, &(struct change_event){.kind = CHANGE_IN_DECIDED}, &a->actions);
}

static void end_change(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    change_fini(&a->change);
    a->active = a->timer = a->waits = false;
    a->actions.count = 0;
}

/* The version decided is what runs, or what will be recovered. */
static void hand_on(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    a->d.plan = a->d.next_plan;
    a->d.done = true;
    w->upgraded = true;
    w->moved++;
    rs_acknowledge_by(w);
}

static void say_over(struct rs *w, enum change_do what)
{
    struct rs_chief *a = &w->chief;
    bool recovery = a->is_recovery;
    uint64_t parts[RS_WORKERS] = {0};
    for (size_t k = 0; k < a->change.part_count; k++) {
        parts[a->change.parts[k].worker_id - 1] = a->change.parts[k].incarnation;
    }
    end_change(w);
    if (recovery) {
        if (what == CHANGE_DO_DONE) {
            memcpy(a->holder, parts, sizeof parts);
            memset(a->ended, 0, sizeof a->ended);
            memset(a->committed, 0, sizeof a->committed);
        }
        rs_recover_over(w, what == CHANGE_DO_DONE);
    } else if (what == CHANGE_DO_ABORTED) {
        RS_TRACE(w, "aborted");
        w->stats.aborts++;
        rs_keep(w, CHECKPOINT_IN_ABORTED, NULL);
    } else if (what == CHANGE_DO_DONE) {
        RS_TRACE(w, "changed");
        w->stats.upgrades++;
        hand_on(w);
        memcpy(a->holder, parts, sizeof parts);
        memset(a->ended, 0, sizeof a->ended);
        memset(a->committed, 0, sizeof a->committed);
        rs_keep(w, CHECKPOINT_IN_DONE, NULL);
        rs_tempt(w);
    } else {
        w->stats.in_upgrade++;
        hand_on(w);
        rs_lost(w);
    }
}

static void perform_one(struct rs *w, struct change_action x)
{
    struct rs_chief *a = &w->chief;
    struct rs_message m = {.recovery = a->is_recovery,
                           .op = a->change.token.op,
                           .gen = (uint32_t)a->change.token.gen,
                           .plan = a->plan};
    uint32_t k = (uint32_t)x.worker_id - 1;
    switch (x.what) {
    case CHANGE_DO_PREPARE:
        m.kind = TELL_PREPARE;
        tell(w, k, m);
        break;
    case CHANGE_DO_GO:
        m.kind = TELL_GO;
        tell(w, k, m);
        break;
    case CHANGE_DO_ABORT:
        m.kind = TELL_ABORT;
        tell(w, k, m);
        break;
    case CHANGE_DO_TIMER:
        a->timer = true;
        break;
    case CHANGE_DO_NO_TIMER:
        a->timer = false;
        break;
    case CHANGE_DO_DECIDE:
        a->waits = !a->is_recovery && checkpoint_bars_change(&a->keeping);
        if (!a->waits) {
            decide(w);
        }
        break;
    case CHANGE_DO_DONE:
    case CHANGE_DO_ABORTED:
    case CHANGE_DO_RECOVER:
        say_over(w, x.what);
        break;
    }
}

static void perform(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    while (a->up && a->active && a->actions.count > 0) {
        struct change_action x = a->actions.items[0];
        a->actions.count--;
        memmove(a->actions.items, a->actions.items + 1, a->actions.count * sizeof x);
        perform_one(w, x);
    }
}

/* ---------------------------------------------------------------- members */

static void lose(struct rs *w, uint32_t k, uint64_t incarnation)
{
    struct rs_chief *a = &w->chief;
    struct rs_message m = {.worker = (uint8_t)k, .incarnation = incarnation};
    w->moved++;
    if (rs_without(w, NO_INCARNATION)) {
        return;
    }
    RS_TRACE(w, "w%u is lost", k);
    uint32_t plan = a->d.plan;
    bool restarted = a->holder[k] == 0;
    if (incarnation == 0 && a->active && !a->is_recovery) {
        m.incarnation = a->d.decided_incarnation[k]; /* not seen since this master started */
    }
    rs_feed(w, CHANGE_IN_LOST, &m);
    bool had = a->up && plan == a->d.plan && rs_is_used(w, plan, k) &&
               (a->holder[k] == incarnation || restarted);
    if (had && !a->d.recovering && !(a->active && !a->is_recovery && change_is_decided(&a->change))) {
        rs_lost(w);
    }
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
    if (before != 0 && before != m->incarnation) {
        lose(w, k, before);
    }
    if (!a->up) {
        return;
    }
    bool given_up = a->member[k] == MEMBER_GIVEN_UP;
    a->member[k] = MEMBER_HERE;
    w->moved += !back;
    bool changing = a->active && !a->is_recovery && change_is_decided(&a->change);
    if (m->gen == a->d.gen && m->running && !a->d.recovering) {
        a->holder[k] = a->holder[k] == 0 ? m->incarnation : a->holder[k];
        a->ended[k] = a->ended[k] || (m->ended && a->holder[k] == m->incarnation && !changing);
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
        tell(w, k, (struct rs_message){.kind = TELL_DROP, .gen = m->gen});
    }
    if (a->active && !a->is_recovery && m->held != a->change.token.op && m->held != 0 &&
        m->gone == 0) {
        tell(w, k, (struct rs_message){.kind = TELL_ABORT, .op = m->held});
    } else if (!a->active && m->held != 0 && m->gone == 0 && m->held != a->d.decided) {
        tell(w, k, (struct rs_message){.kind = TELL_ABORT, .op = m->held});
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
    switch (m->kind) {
    case TELL_HELLO:
        on_hello(w, m);
        break;
    case TELL_READY:
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
        if (of_part && !a->d.recovering && !(a->active && change_is_decided(&a->change))) {
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
    rs_begin_change(w, x->number, false, CHANGE_PLANNED);
}

struct rs_plan *rs_plan_new(struct rs *w)
{
    const struct rs_chief *a = &w->chief;
    for (;;) {
        uint32_t at = ++w->plan_count % RS_PLANS;
        bool used = at == a->d.plan % RS_PLANS ||
                    (a->d.decided != 0 && at == a->d.next_plan % RS_PLANS);
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
            chief_up(w);
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

void rs_chief_reset(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    if (a->active) {
        change_fini(&a->change);
    }
    checkpoint_fini(&a->keeping);
    struct change_actions kept = a->actions;
    kept.count = 0;
    *a = (struct rs_chief){.up = true, .actions = kept, .live_slot = -1};
    a->d = (struct rs_durable){.term = 1, .gen = 1, .side = SIDE_V, .slot = -1};
    a->d.plan = w->plan_count;
    for (uint32_t k = 0; k < w->worker_count; k++) {
        uint32_t p = rs_proc_start(w, k);
        a->seen[k] = a->holder[k] = w->procs[p].incarnation;
        a->member[k] = MEMBER_HERE;
        w->procs[p].term = 1;
    }
    checkpoint_init(&a->keeping, w->k.every, w->now);
    rs_acknowledge_by(w);
}
