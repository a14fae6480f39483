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

/* A HELLO is the first message of a connection.  Until it comes what is said to that process goes
 * to the connection before, and is lost; when it comes, nothing more comes from that one; and
 * nothing overtakes it. */
static bool is_hello_of(const struct rs_message *m, uint8_t proc)
{
    return m->kind == TELL_HELLO && m->proc == proc;
}

static bool connects(const struct rs *w, uint8_t proc)
{
    bool any = false;
    for (uint32_t i = 0; i < w->message_count; i++) {
        any = any || is_hello_of(&w->messages[i], proc);
    }
    return any;
}

static void drop_said_before(struct rs *w, const struct rs_message *hello)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) {
        const struct rs_message *m = &w->messages[i];
        if (m->proc != hello->proc || !to_master(m->kind) || m->said > hello->said) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
}

static uint32_t not_before_hello(const struct rs *w, uint32_t at)
{
    const struct rs_message *m = &w->messages[at];
    for (uint32_t i = 0; i < w->message_count && to_master(m->kind); i++) {
        const struct rs_message *h = &w->messages[i];
        if (is_hello_of(h, m->proc) && h->said < m->said) {
            return not_before_hello(w, i);
        }
    }
    return at;
}

void rs_connect(struct rs *w, uint32_t p)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) {
        const struct rs_message *m = &w->messages[i];
        if (m->proc != p || to_master(m->kind) || m->kind == TELL_PEER_GO) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
}

void rs_send(struct rs *w, struct rs_message m)
{
    if (m.proc >= RS_PROCS || !w->procs[m.proc].alive ||
        (w->procs[m.proc].cut_off && m.kind != TELL_PEER_GO)) {
        return;
    }
    bool on_its_connection = m.kind != TELL_PEER_GO;
    if (on_its_connection && (to_master(m.kind) ? !w->chief.up : connects(w, m.proc))) {
        return;
    }
    m.worker = (uint8_t)w->procs[m.proc].worker;
    m.incarnation = w->procs[m.proc].incarnation;
    m.said = to_master(m.kind) ? (m.incarnation << 32) + ++w->procs[m.proc].said : 0;
    if (w->message_count < RS_MESSAGES) {
        w->messages[w->message_count++] = m;
    } else {
        w->too_big = true;
    }
}

void rs_tell(struct rs *w, uint32_t worker, struct rs_message m) /* to who holds its part */
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
        "PREPARE", "READY",      "NOT_READY", "GO",       "PEER_GO",   "ABORT", "DONE",
        "HELLO",   "CHECKPOINT", "ACK",       "COMPLETE", "COMMITTED", "ENDED", "DROP"};
    if (w->message_count == 0) {
        return false;
    }
    uint32_t at = not_before_hello(w, rs_draw(w, w->message_count));
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
    if (m.kind == TELL_HELLO) {
        drop_said_before(w, &m);
    }
    if (master) {
        rs_chief_takes(w, &m);
    } else {
        rs_worker_takes(w, &m);
    }
    return true;
}

/* ---------------------------------------------------------------- dying */

/* Its connections end with it: nothing said to it reaches the next one, and what it had not yet
 * sent is lost. */
void rs_chief_down(struct rs *w)
{
    struct rs_chief *a = &w->chief;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) {
        const struct rs_message *m = &w->messages[i];
        bool on_the_way = !to_master(m->kind) && rs_draw(w, 2) == 0;
        if (m->kind == TELL_PEER_GO || on_the_way) {
            w->messages[kept++] = *m;
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
    *a = (struct rs_chief){
        .d = kept_d, .actions = actions, .live_slot = -1, .attempts = a->attempts};
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

void rs_chief_up(struct rs *w)
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
            rs_tell(w, k, (struct rs_message){.kind = TELL_COMPLETE, .epoch = epoch});
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
                rs_tell(w, k,
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
    bool ready = a->up && a->active && a->change.state == CHANGE_READY;
    if (ready && barred && a->waits && !checkpoint_bars_change(&a->keeping)) {
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
    if (!recovery && !rs_without(w, NO_HOLD)) {
        rs_keep(w, at == CHANGE_PLANNED ? CHECKPOINT_IN_PLANNED : CHECKPOINT_IN_DECIDED, NULL);
    }
    rs_feed(w, CHANGE_IN_START, NULL);
}

static bool ended_refuse(const struct rs *w) /* R3, as master/conduct.c asks it */
{
    bool ended[64];
    struct fail f = {0};
    const char *where;
    for (uint32_t n = 0; n < 64; n++) {
        ended[n] = (w->chief.ended_nodes >> n & 1) != 0;
    }
    return plan_check_ended(w->im->plan, ended, !rs_without(w, NO_PROBE), &f, &where) != ERR_OK;
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
    if (ended_refuse(w) || rs_draw(w, 24) == 0) {
        change_step(&a->change, &(struct change_event){.kind = CHANGE_IN_UNDECIDABLE}, &a->actions);
        return;
    }
    a->d.decided = a->change.token.op;
    a->d.next_plan = a->plan;
    a->d.side = SIDE_NEW;
    if (!rs_without(w, NO_VOID)) {
        a->d.void_below = rs_plan(w, a->plan)->epoch;
    }
    for (size_t k = 0; k < a->change.part_count; k++) {
        a->d.decided_incarnation[a->change.parts[k].worker_id - 1] = a->change.parts[k].incarnation;
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

void rs_hand_on(struct rs *w)
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
        rs_hand_on(w);
        memcpy(a->holder, parts, sizeof parts);
        memset(a->ended, 0, sizeof a->ended);
        memset(a->committed, 0, sizeof a->committed);
        rs_keep(w, CHECKPOINT_IN_DONE, NULL);
        rs_tempt(w);
    } else {
        w->stats.in_upgrade++;
        rs_hand_on(w);
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
        rs_tell(w, k, m);
        break;
    case CHANGE_DO_GO:
        m.kind = TELL_GO;
        rs_tell(w, k, m);
        break;
    case CHANGE_DO_ABORT:
        m.kind = TELL_ABORT;
        rs_tell(w, k, m);
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
