/* tests/sim/control.c - master, workers and the messages between them, for the simulator.
 *
 * The coordinator is master/change.c itself; around it stands the thinnest shell: actions become
 * messages, messages become events.  Messages lie in one bag and are delivered in any order, which
 * stands for delay, for reordering between connections and for what an earlier connection still
 * had; a break loses some of them and is followed by a hello, as a reconnection is. */
#include "tests/sim/sim.h"

#include <string.h>

static void perform(struct world *w);

static void send(struct world *w, struct message m)
{
    if (w->message_count < MESSAGES) {
        w->messages[w->message_count++] = m;
    }
}

static void feed(struct world *w, enum change_input kind, const struct message *m)
{
    struct master *a = &w->master;
    if (!a->active) {
        return;
    }
    struct change_event e = {.kind = kind};
    if (m != NULL) {
        e.worker_id = m->worker + 1;
        e.incarnation = m->incarnation;
        e.term = m->term;
        e.op = m->op;
        if ((w->off & OFF_OP) != 0) {
            e.op = a->change.token.op;
        }
        if ((w->off & OFF_TERM) != 0) {
            e.term = a->change.token.term;
        }
        if ((w->off & OFF_INCARNATION) != 0) {
            e.incarnation = a->change.parts[m->worker].incarnation;
        }
    }
    change_step(&a->change, &e, &a->actions);
    perform(w);
}

/* ---------------------------------------------------------------- the master */

static void master_down(struct world *w, bool away)
{
    struct master *a = &w->master;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) { /* what it had not yet sent */
        const struct message *m = &w->messages[i];
        bool its = m->kind == SAY_PREPARE || m->kind == SAY_GO || m->kind == SAY_ABORT;
        if (!its || draw(w, 2) == 0) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
    TRACE(w, "master dies%s", away ? " for good" : "");
    a->up = false;
    a->away = away;
    if (a->active) {
        change_fini(&a->change);
        a->active = false;
    }
    a->timer = false;
    a->actions.count = 0;
}

static void begin(struct world *w, enum change_state at)
{
    struct master *a = &w->master;
    struct change_part parts[WORKERS];
    for (uint32_t k = 0; k < w->im->worker_count; k++) {
        parts[k] = (struct change_part){.worker_id = k + 1, .incarnation = a->seen[k]};
    }
    if (at == CHANGE_PLANNED) {
        a->op++;
        a->plan = ++a->tries;
    }
    struct change_token token = {.term = a->term, .gen = 1, .op = a->op, .epoch = EPOCH_SWITCH};
    change_init(&a->change, token, parts, w->im->worker_count, at);
    a->active = true;
    TRACE(w, "master, term %u: op %u", (unsigned)a->term, (unsigned)a->op);
    feed(w, CHANGE_IN_START, NULL);
}

static void master_up(struct world *w)
{
    struct master *a = &w->master;
    a->up = true;
    a->term++;
    if ((w->off & OFF_TERM) != 0 && a->decided == 0) {
        a->op = 0; /* H31: numbers begin anew */
    }
    TRACE(w, "master starts, term %u", (unsigned)a->term);
    for (uint32_t k = 0; k < w->im->worker_count; k++) {
        send(w, (struct message){.kind = SAY_HELLO,
                                 .worker = k,
                                 .incarnation = w->workers[k].incarnation,
                                 .term = w->workers[k].held_term,
                                 .held = w->workers[k].held});
    }
    if (a->decided != 0) {
        a->op = a->decided;
        a->plan = a->decided_plan;
        begin(w, CHANGE_DECIDED);
    } else if (w->k.many_tries && draw(w, 2) == 0) {
        begin(w, CHANGE_PLANNED); /* the next comes before all have reported */
    }
}

/* R3: the master's own check of what the workers have said. */
static bool ended_refuse(const struct world *w)
{
    bool ended[64];
    struct fail f = {0};
    const char *where;
    for (uint32_t n = 0; n < 64; n++) {
        ended[n] = (w->master.ended >> n & 1) != 0;
    }
    return plan_check_ended(w->im->plan, ended, &f, &where) != ERR_OK;
}

static void decide(struct world *w)
{
    struct master *a = &w->master;
    if ((w->off & OFF_PROBE) == 0 && ended_refuse(w)) {
        feed(w, CHANGE_IN_UNDECIDABLE, NULL);
        return;
    }
    if (w->k.crashes > 0 && draw(w, 4) == 0) {
        w->k.crashes--;
        a->decided = draw(w, 2) == 0 ? a->op : 0; /* before or after it was written */
        a->decided_plan = a->plan;
        master_down(w, false);
        return;
    }
    if (draw(w, 24) == 0) {
        feed(w, CHANGE_IN_UNDECIDABLE, NULL);
        return;
    }
    if ((w->off & OFF_DURABLE) == 0) {
        a->decided = a->op;
        a->decided_plan = a->plan;
    }
    TRACE(w, "decided");
    feed(w, CHANGE_IN_DECIDED, NULL);
    if ((w->off & OFF_DURABLE) != 0 && draw(w, 4) == 0) {
        master_down(w, false);
    }
}

static void perform_one(struct world *w, struct change_action x)
{
    struct master *a = &w->master;
    struct message m = {.term = a->term, .op = a->change.token.op, .plan = a->plan};
    if (x.worker_id != 0) {
        m.worker = (uint32_t)x.worker_id - 1;
        m.incarnation = a->seen[m.worker];
    }
    switch (x.what) {
    case CHANGE_DO_PREPARE:
        m.kind = SAY_PREPARE;
        send(w, m);
        break;
    case CHANGE_DO_GO:
        m.kind = SAY_GO;
        send(w, m);
        break;
    case CHANGE_DO_ABORT:
        m.kind = SAY_ABORT;
        send(w, m);
        break;
    case CHANGE_DO_TIMER:
        a->timer = true;
        break;
    case CHANGE_DO_NO_TIMER:
        a->timer = false;
        break;
    case CHANGE_DO_DECIDE:
        decide(w);
        break;
    case CHANGE_DO_DONE:
        break;
    case CHANGE_DO_ABORTED:
        TRACE(w, "aborted");
        break;
    case CHANGE_DO_RECOVER:
        w->outcome = RECOVERING;
        break;
    }
}

static void perform(struct world *w)
{
    struct master *a = &w->master;
    while (a->actions.count > 0 && a->active) {
        struct change_action x = a->actions.items[0];
        a->actions.count--;
        memmove(a->actions.items, a->actions.items + 1, a->actions.count * sizeof x);
        perform_one(w, x);
    }
}

/* A worker is connected again and says what it holds (R2). */
static void on_hello(struct world *w, const struct message *m)
{
    struct master *a = &w->master;
    bool other = a->seen[m->worker] != m->incarnation;
    if (other && m->incarnation < a->seen[m->worker]) {
        return; /* of a process that is gone */
    }
    struct message about = *m;
    about.incarnation = a->seen[m->worker];
    a->seen[m->worker] = m->incarnation;
    feed(w, other && (w->off & OFF_INCARNATION) == 0 ? CHANGE_IN_LOST : CHANGE_IN_BACK, &about);
    bool known = a->active && m->held == a->change.token.op && !change_is_over(&a->change);
    if (m->held == 0 || known || !a->up) {
        return;
    }
    struct message answer = {.kind = m->held == a->decided ? SAY_GO : SAY_ABORT,
                             .worker = m->worker,
                             .term = a->term,
                             .op = m->held,
                             .incarnation = m->incarnation,
                             .plan = a->decided_plan};
    if (answer.kind == SAY_ABORT || !a->active) {
        send(w, answer);
    }
}

static void master_takes(struct world *w, const struct message *m)
{
    if (!w->master.up) {
        return;
    }
    if (m->kind == SAY_HELLO) {
        on_hello(w, m);
    } else {
        w->master.ended |= m->ended;
        feed(w, m->kind == SAY_READY       ? CHANGE_IN_READY
                : m->kind == SAY_NOT_READY ? CHANGE_IN_NOT_READY
                                           : CHANGE_IN_DONE, m);
    }
}

/* ---------------------------------------------------------------- a worker */

static void answer(struct world *w, uint32_t k, enum message_kind kind, const struct message *to)
{
    struct message m = {.kind = kind,
                        .worker = k,
                        .term = to->term,
                        .op = to->op,
                        .incarnation = w->workers[k].incarnation};
    for (uint32_t n = 0; n < w->im->node_count && kind == SAY_READY; n++) { /* R3 */
        bool here = w->im->nodes[n].there[SIDE_V] && w->im->nodes[n].worker == k;
        m.ended |= (uint64_t)(here && w->nodes[n].finished) << n % 64;
    }
    send(w, m);
}

static void on_prepare(struct world *w, const struct message *m)
{
    struct member_worker *x = &w->workers[m->worker];
    bool stale = m->term < x->fence_term || (m->term == x->fence_term && m->op <= x->fence_op);
    if ((w->off & OFF_TERM) != 0) {
        stale = m->op <= x->fence_op;
    }
    if (x->held != 0 && x->held == m->op &&
        (x->held_term == m->term || (w->off & OFF_TERM) != 0)) {
        answer(w, m->worker, x->done ? SAY_DONE : SAY_READY, m);
    } else if (stale && (w->off & OFF_OP) == 0) {
        return;
    } else if (x->held != 0) {
        answer(w, m->worker, SAY_NOT_READY, m);
    } else {
        x->held = m->op;
        x->held_term = m->term;
        x->held_plan = m->plan;
        answer(w, m->worker, SAY_READY, m);
    }
}

static void give_up(struct world *w, uint32_t k)
{
    struct member_worker *x = &w->workers[k];
    if (w->cut_any) {
        violate(w, V_BOTH, NONE);
    }
    TRACE(w, "w%u drops op %u", k, (unsigned)x->held);
    x->held = 0;
}

static void on_abort(struct world *w, const struct message *m)
{
    struct member_worker *x = &w->workers[m->worker];
    if (m->term > x->fence_term || (m->term == x->fence_term && m->op > x->fence_op)) {
        x->fence_term = m->term;
        x->fence_op = m->op;
    }
    if (x->gone == 0 && x->held != 0 && (x->held == m->op || (w->off & OFF_OP) != 0)) {
        give_up(w, m->worker);
    }
}

static void on_go(struct world *w, const struct message *m)
{
    struct member_worker *x = &w->workers[m->worker];
    if (x->gone != 0) {
        if (x->done && m->kind == SAY_GO) {
            answer(w, m->worker, SAY_DONE, m);
        }
        return;
    }
    if (x->held != m->op && !((w->off & OFF_OP) != 0 && x->held != 0)) {
        violate(w, V_BOTH, NONE); /* the process that said it was ready is not */
        return;
    }
    if (x->held_plan != m->plan) {
        violate(w, V_BOTH, NONE); /* it prepared another one */
        return;
    }
    TRACE(w, "w%u goes", m->worker);
    x->gone = m->op;
    for (uint32_t n = 0; n < w->im->node_count && (w->off & OFF_VOID) == 0; n++) {
        if (w->im->nodes[n].worker == m->worker) {
            node_void(w, n, EPOCH_SWITCH);
        }
    }
    x->voided = true;
    for (uint32_t k = 0; k < w->im->worker_count && (w->off & OFF_FORWARD) == 0; k++) {
        if (k != m->worker) { /* R6 */
            send(w, (struct message){.kind = SAY_PEER_GO,
                                     .worker = k,
                                     .term = m->term,
                                     .op = m->op,
                                     .incarnation = w->master.seen[k],
                                     .plan = m->plan});
        }
    }
}

static void on_inject(struct world *w, const struct message *m)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        const struct inode *i = &w->im->nodes[n];
        bool late = w->workers[m->worker].voided && (w->off & OFF_VOID) == 0;
        if (i->worker == m->worker && i->there[SIDE_V] && !late &&
            w->im->pes[i->pe].kind == KIND_SOURCE && !w->nodes[n].retired) {
            w->nodes[n].inject = true;
        }
    }
}

static void worker_takes(struct world *w, const struct message *m)
{
    struct member_worker *x = &w->workers[m->worker];
    bool fenced = (m->term < x->term && (w->off & OFF_TERM) == 0) ||
                  (m->incarnation != x->incarnation && (w->off & OFF_INCARNATION) == 0);
    if (fenced && m->kind != SAY_INJECT && m->kind != SAY_PEER_GO) {
        return;
    }
    if (m->kind == SAY_PEER_GO && m->incarnation != x->incarnation) {
        return; /* R25 */
    }
    x->term = m->term > x->term ? m->term : x->term;
    switch (m->kind) {
    case SAY_PREPARE:
        on_prepare(w, m);
        break;
    case SAY_ABORT:
        on_abort(w, m);
        break;
    case SAY_GO:
    case SAY_PEER_GO:
        on_go(w, m);
        break;
    case SAY_INJECT:
        on_inject(w, m);
        break;
    default:
        break;
    }
}

/* ---------------------------------------------------------------- steps */

bool control_step(struct world *w)
{
    static const char *const names[] = {"PREPARE", "READY", "NOT_READY", "GO",    "PEER_GO",
                                        "ABORT",   "DONE",  "HELLO",     "INJECT"};
    if (w->message_count == 0) {
        return false;
    }
    uint32_t at = draw(w, w->message_count);
    struct message m = w->messages[at];
    bool to_master = m.kind == SAY_READY || m.kind == SAY_NOT_READY || m.kind == SAY_DONE ||
                     m.kind == SAY_HELLO;
    bool again = w->k.losses > 0 && m.kind != SAY_INJECT && draw(w, 16) == 0; /* came twice */
    if (!again) {
        w->messages[at] = w->messages[--w->message_count];
    } else {
        w->k.losses--;
    }
    TRACE(w, "%s %s w%u, op %u, term %u", names[m.kind], to_master ? "from" : "to", m.worker,
          (unsigned)m.op, (unsigned)m.term);
    if (to_master) {
        master_takes(w, &m);
    } else {
        worker_takes(w, &m);
    }
    return true;
}

static void hello(struct world *w, uint32_t k)
{
    send(w, (struct message){.kind = SAY_HELLO,
                             .worker = k,
                             .incarnation = w->workers[k].incarnation,
                             .term = w->workers[k].held_term,
                             .held = w->workers[k].held});
}

static void break_connection(struct world *w, uint32_t k)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) {
        const struct message *m = &w->messages[i];
        bool safe = m->worker != k || m->kind == SAY_PEER_GO || m->kind == SAY_INJECT;
        if (safe || draw(w, 2) == 0) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
    TRACE(w, "connection of w%u breaks", k);
    if (w->master.up) {
        hello(w, k);
    }
}

static void worker_dies(struct world *w, uint32_t k)
{
    struct member_worker *x = &w->workers[k];
    if (x->has_v || x->gone != 0) {
        return; /* what ran there is a recovery's matter */
    }
    TRACE(w, "w%u dies and starts anew", k);
    w->lost_ready = w->lost_ready || x->held != 0;
    *x = (struct member_worker){.incarnation = x->incarnation + 100, .term = x->term};
    hello(w, k);
}

static bool say_done(struct world *w)
{
    for (uint32_t k = 0; k < w->im->worker_count; k++) {
        struct member_worker *x = &w->workers[k];
        bool done = x->gone != 0 && !x->done && w->transfer_count == 0;
        for (uint32_t n = 0; done && n < w->im->node_count; n++) {
            const struct inode *i = &w->im->nodes[n];
            done = i->worker != k || !i->member || !i->there[SIDE_V] || w->nodes[n].cut;
        }
        if (done) {
            x->done = true;
            send(w, (struct message){.kind = SAY_DONE,
                                     .worker = k,
                                     .term = x->term,
                                     .op = x->gone,
                                     .incarnation = x->incarnation});
            return true;
        }
    }
    return false;
}

static bool idle_event(struct world *w)
{
    struct master *a = &w->master;
    if (!a->up && !a->away) {
        master_up(w);
        return true;
    }
    bool over = !a->active || change_is_over(&a->change);
    for (uint32_t k = 0; k < w->im->worker_count && a->up; k++) {
        const struct member_worker *x = &w->workers[k];
        if (x->held != 0 && x->gone == 0 && (over || x->held != a->change.token.op)) {
            hello(w, k);
            return true;
        }
    }
    if (a->up && a->active && a->timer) {
        feed(w, CHANGE_IN_DEADLINE, NULL);
        return true;
    }
    if (a->up && over && a->decided == 0 && a->tries < (w->k.many_tries ? 6u : 2u)) {
        if (a->active) {
            change_fini(&a->change);
            a->active = false;
        }
        begin(w, CHANGE_PLANNED);
        return true;
    }
    return false;
}

void control_start(struct world *w)
{
    if (w->master.up && w->master.tries == 0) {
        begin(w, CHANGE_PLANNED);
    }
}

bool control_event(struct world *w, bool idle)
{
    struct master *a = &w->master;
    if (say_done(w)) {
        return true;
    }
    if (idle) {
        return idle_event(w);
    }
    bool gone = false;
    for (uint32_t k = 0; k < w->im->worker_count; k++) {
        gone = gone || w->workers[k].gone != 0;
    }
    if (gone && w->k.dies_after_go && a->up && a->decided != 0) {
        master_down(w, true);
        return true;
    }
    switch (draw(w, 12)) {
    case 0:
        return (a->up ? draw(w, 4) == 0 : !a->away) && idle_event(w);
    case 1:
        if (w->k.crashes > 0 && a->up) {
            w->k.crashes--;
            master_down(w, false);
        }
        return true;
    case 2:
        if (w->k.losses > 0) {
            w->k.losses--;
            break_connection(w, draw(w, w->im->worker_count));
        }
        return true;
    case 3:
        if (w->k.losses > 0) {
            w->k.losses--;
            worker_dies(w, draw(w, w->im->worker_count));
        }
        return true;
    case 4:
        if (w->k.many_tries && a->up && draw(w, 4) == 0) {
            feed(w, CHANGE_IN_CANCEL, NULL);
        }
        return true;
    case 5:
        for (uint32_t k = 0; k < w->im->worker_count; k++) {
            if ((w->off & OFF_ASK) != 0 && w->workers[k].held != 0 && w->workers[k].gone == 0) {
                give_up(w, k);
                return true;
            }
        }
        return true;
    default:
        return false;
    }
}

void control_reset(struct world *w)
{
    struct master *a = &w->master;
    if (a->active) {
        change_fini(&a->change);
    }
    struct change_actions kept = a->actions;
    kept.count = 0;
    *a = (struct master){.up = true, .term = 1, .actions = kept};
    w->message_count = 0;
    w->lost_ready = false;
    for (uint32_t k = 0; k < WORKERS; k++) {
        w->workers[k] = (struct member_worker){.incarnation = k + 1, .term = 1};
        a->seen[k] = k + 1;
        if (k < w->im->worker_count && w->k.checkpoint) {
            send(w, (struct message){.kind = SAY_INJECT, .worker = k});
        }
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        const struct inode *i = &w->im->nodes[n];
        w->workers[i->worker].has_v = w->workers[i->worker].has_v || i->there[SIDE_V];
    }
}

bool control_defers(const struct world *w, uint32_t n)
{
    const struct inode *i = &w->im->nodes[n];
    return (w->off & OFF_DEFER) == 0 && i->member && i->there[SIDE_V] && !w->nodes[n].cut &&
           w->workers[i->worker].held != 0;
}
