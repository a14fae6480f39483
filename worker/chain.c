/* worker/chain.c - running chains: their turns, who joins and leaves them, their events. */
#include "worker/chain.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/checkpoint.h"
#include "worker/cut.h"
#include "worker/fault.h"
#include "worker/hold.h"
#include "worker/key_timers.h"
#include "worker/moves.h"
#include "worker/resend.h"
#include "worker/squeeze.h"
#include "worker/watch.h"

#include <inttypes.h>
#include <stddef.h>

static enum task_after chain_run(struct task *t);
static void chain_timer(struct task *t, void *who, uint64_t id);
static void chain_ready(struct task *t, void *who, int fd, uint32_t events);
static void chain_task_dead(struct task *t);

static inline struct chain *chain_of(struct task *t)
{
    return (struct chain *)((char *)t - offsetof(struct chain, task));
}

/* ---------------------------------------------------------------- making */

struct chain *chain_new(struct instance **members, uint32_t count, struct executor *home,
                        bool private_executor)
{
    struct chain *c = mem_alloc(sizeof *c);
    c->members = members;
    c->member_count = count;
    c->head = count > 0 ? members[0] : NULL;
    for (uint32_t i = 0; i < count; i++) {
        members[i]->chain = c;
    }
    if (private_executor) {
        c->private_executor = executor_new_private();
        home = c->private_executor;
    }
    task_init(&c->task, home);
    c->task.run = chain_run;
    c->task.on_timer = chain_timer;
    c->task.on_ready = chain_ready;
    c->task.on_dead = chain_task_dead;
    return c;
}

void chain_free(struct chain *c)
{
    if (c == NULL) {
        return;
    }
    executor_free_private(c->private_executor);
    for (uint32_t i = 0; i < c->member_count; i++) {
        instance_free(c->members[i]);
    }
    mem_free(c->members);
    mem_free(c);
}

void chain_go(struct chain *c)
{
    atomic_store(&c->go, true);
    task_notify(&c->task);
}

void chain_drain(struct chain *c)
{
    atomic_store(&c->drain, true);
    task_notify(&c->task);
}

void chain_inject(struct chain *c, uint64_t epoch)
{
    atomic_store(&c->inject, epoch);
    task_notify(&c->task);
}

static void raise(_Atomic uint64_t *v, uint64_t to)
{
    uint64_t seen = atomic_load(v);
    while (seen < to && !atomic_compare_exchange_weak(v, &seen, to)) {
    }
}

void chain_commit(struct chain *c, uint64_t epoch)
{
    raise(&c->commit, epoch);
    task_notify(&c->task);
}

void chain_void(struct chain *c, uint64_t epoch)
{
    raise(&c->void_below, epoch);
    task_notify(&c->task);
}

void chain_halt(struct chain *c)
{
    task_halt(&c->task);
}

/* ---------------------------------------------------------------- one turn of a chain */

static bool begin(struct chain *c)
{
    c->begun = true;
    for (uint32_t k = c->member_count; k-- > 0;) { /* sinks open before what feeds them */
        if (!c->members[k]->started && !instance_start(c->members[k])) {
            return false;
        }
    }
    return true;
}

static enum task_after end(struct chain *c)
{
    task_forget(&c->task);
    for (uint32_t k = 0; k < c->member_count; k++) {
        if (c->members[k]->started) {
            pe_stop(c->members[k]->pe);
            c->members[k]->started = false;
        }
    }
    return AFTER_DEAD;
}

static bool drain_spills(struct chain *c)
{
    bool empty = true;
    for (uint32_t k = 0; k < c->member_count && c->spilled > 0; k++) {
        for (uint32_t p = 0; p < c->members[k]->port_count; p++) {
            empty = route_drain(&c->members[k]->ports[p]) && empty;
        }
        empty = cut_drain(c->members[k]) && empty;
    }
    struct instance_stats *s = &c->members[0]->stats;
    uint64_t since = atomic_load_explicit(&s->blocked_since_ns, memory_order_relaxed);
    if (!empty && since == 0) {
        atomic_store_explicit(&s->blocked_since_ns, clock_now_ns(), memory_order_relaxed);
    } else if (empty && since != 0) {
        counter_add(&s->blocked_ns, clock_now_ns() - since);
        atomic_store_explicit(&s->blocked_since_ns, 0, memory_order_relaxed);
    }
    return empty;
}

static bool is_blocked(const struct chain *c) /* as far as drain_spills has found */
{
    return atomic_load_explicit(&c->members[0]->stats.blocked_since_ns, memory_order_relaxed) != 0;
}

static bool has_open(const struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct instance *i = c->members[k];
        if (pe_has_open(i->pe)) {
            return true;
        }
        for (uint32_t p = 0; p < i->port_count; p++) {
            if (route_has_open(&i->ports[p])) {
                return true;
            }
        }
    }
    return false;
}

static void flush_all(struct chain *c) /* the head first: its rows pass through the others */
{
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        struct instance *i = c->members[k];
        if (!i->finished && !i->retiring) {
            instance_flush(i);
            if (!hold_is_held(i) && fault_call(i, pe_flush_sink)) {
                instance_flush(i); /* what the PE gave out only now */
            }
        }
    }
    c->open_since_us = 0;
}

/* On a busy chain an open batch waits at most LINGER_US; asked once per turn. */
static void linger(struct chain *c)
{
    if (!has_open(c)) {
        c->open_since_us = 0;
        return;
    }
    uint64_t now = clock_now_us();
    if (c->open_since_us == 0) {
        c->open_since_us = now;
    } else if (now - c->open_since_us >= LINGER_US) {
        flush_all(c);
    }
}

/* A source that says it has more and emits nothing, turn after turn in no time, polls something: it
 * is asked a thousand times a second then, not a million times.  Return: rest until the timer. */
static bool rest(struct chain *c, uint64_t turn_ns, uint64_t emitted_before)
{
    struct instance *head = c->members[0];
    bool nothing = atomic_load_explicit(&pe_counters(head->pe)->tuples_out, memory_order_relaxed) ==
                       emitted_before &&
                   !pe_has_open(head->pe) && turn_ns < REST_TURN_NS;
    c->empty_turns = nothing ? c->empty_turns + 1 : 0;
    if (c->empty_turns < REST_TURNS) {
        return false;
    }
    c->empty_turns = REST_TURNS; /* one more empty turn and it rests again */
    task_timer_set(&c->task, c, 0, clock_now_us() + REST_US);
    return true;
}

static enum task_after run_source(struct chain *c)
{
    struct instance *head = c->members[0];
    if (hold_is_full(c)) {
        flush_all(c);
        return AFTER_IDLE;
    }
    uint64_t turn_ns = 0;
    uint64_t emitted =
        atomic_load_explicit(&pe_counters(head->pe)->tuples_out, memory_order_relaxed);
    for (int n = 0; n < RUN_BATCHES_MAX; n++) {
        if (head->finished || head->finish_waits || c->failed || hold_is_held(head)) {
            return AFTER_IDLE;
        }
        if (cut_due(head)) {
            cut_now(head);
            return AFTER_AGAIN;
        }
        if (head->had_finished || atomic_load_explicit(&c->drain, memory_order_relaxed)) {
            instance_finish(head);
            return AFTER_IDLE;
        }
        uint64_t start = clock_now_ns();
        head->child_ns = 0;
        uint32_t rows = chain_is_squeezed(c) ? chain_squeeze_rows(c) : BATCH_ROWS_MAX;
        if (rows == 0) {
            return AFTER_IDLE;
        }
        watch_begin(head, start, "produce");
        int result = pe_produce(head->pe, rows);
        watch_end(head);
        if (chain_is_squeezed(c)) {
            chain_squeeze_pass(c);
        }
        if (result == OXB_IDLE) {
            flush_all(c); /* first: at light load this is the tuple's way to the next thread */
        }
        uint64_t took = clock_now_ns() - start;
        turn_ns += took;
        counter_add(&head->stats.busy_ns, took > head->child_ns ? took - head->child_ns : 0);
        if (!fault_survives(head, result, true)) {
            flush_all(c);
            return AFTER_IDLE;
        }
        if (result == OXB_END) {
            instance_finish(head);
            if (head->finish_waits) { /* for a change: its last rows need not */
                flush_all(c);
            }
            return AFTER_IDLE;
        }
        if (result == OXB_IDLE || (c->spilled > 0 && !drain_spills(c)) || hold_is_full(c)) {
            return AFTER_IDLE;
        }
    }
    linger(c);
    return rest(c, turn_ns, emitted) ? AFTER_IDLE : AFTER_AGAIN;
}

/* Take no more than a slice, and nothing while a batch waits behind: worker/squeeze.h. */
static bool take_squeezed(struct chain *c, uint32_t k, struct item *slot)
{
    struct instance *head = c->members[0];
    struct channel *from = head->inputs[k].channel;
    uint32_t rows = slot->kind == ITEM_BATCH ? chain_squeeze_rows(c) : 1; /* M1 */
    if (rows == 0) {
        return false;
    }
    bool whole = slot->count <= rows;
    struct item it = whole ? *slot : item_split(slot, rows);
    if (whole) {
        ring_drop(&from->ring);
        channel_taken(from);
    }
    instance_take(head, k, &it);
    if (!c->changed) {
        chain_squeeze_pass(c);
        channel_look_squeezed(from);
    }
    return true;
}

/* Take the oldest item of input `k` of the head, if it may be taken.  Return: was there one? */
static bool take_one(struct chain *c, uint32_t k)
{
    struct instance *head = c->members[0];
    struct channel *from = head->inputs[k].channel;
    struct item *slot = ring_peek(&from->ring);
    if (slot == NULL) {
        return false;
    }
    bool closed = head->inputs[k].closed;
    if (align_blocks(&head->align, k) || closed) {
        bool change = closed || align_switches(&head->align, k);
        if (change && head->inputs[k].blocked_since_us == 0) {
            head->inputs[k].blocked_since_us = clock_now_us();
        }
        return false;
    }
    if (chain_is_squeezed(c)) {
        return take_squeezed(c, k, slot);
    }
    struct item it = *slot;
    ring_drop(&from->ring);
    channel_taken(from);
    instance_take(head, k, &it);
    return true;
}

static enum task_after run_inputs(struct chain *c)
{
    struct instance *head = c->members[0];
    uint32_t count = head->input_count;
    c->next_input = c->next_input < count ? c->next_input : 0;
    uint32_t idle = 0; /* inputs in a row that had nothing */
    uint64_t spent_ns = 0;
    for (uint32_t taken = 0; taken < RUN_BATCHES_MAX && spent_ns < RUN_NS_MAX;) {
        if (c->failed || c->changed) {
            return c->failed ? AFTER_IDLE : AFTER_AGAIN;
        }
        if ((c->spilled > 0 && !drain_spills(c)) || hold_is_full(c)) {
            return AFTER_IDLE;
        }
        if (count > 0 && take_one(c, c->next_input)) {
            taken++;
            idle = 0;
            spent_ns += c->changed ? 0 : head->took_ns; /* changed: it may run elsewhere now */
        } else if (++idle >= count) {
            if (!chain_is_squeezed(c) || chain_squeeze_rows(c) > 0) { /* else it only waits */
                flush_all(c);
            }
            return AFTER_IDLE;
        }
        c->next_input = c->next_input + 1 < count ? c->next_input + 1 : 0;
    }
    linger(c);
    return AFTER_AGAIN;
}

/* Old instances leave when the close of each of their outputs is on its way. */
static void leave_retired(struct chain *c)
{
    for (uint32_t k = c->member_count; k-- > 0;) {
        struct instance *i = c->members[k];
        if (i->retiring && instance_spilling(i) == 0) {
            chain_leave(c, i);
            atomic_store(&i->state, INSTANCE_RETIRED);
            c->on_change(c->arg, c);
        }
    }
}

/* Instances that came from other chains, in order: producers before consumers. */
static void take_arrivals(struct chain *c)
{
    struct instance *i = atomic_exchange(&c->arrivals, NULL);
    while (i != NULL) {
        struct instance *next = i->next_arrival;
        c->members = mem_resize(c->members, c->member_count + 1, sizeof(struct instance *));
        uint32_t at = c->member_count++;
        for (; at > 0 && c->members[at - 1]->order > i->order; at--) {
            c->members[at] = c->members[at - 1];
        }
        c->members[at] = i;
        c->failed = c->failed || atomic_load(&i->state) == INSTANCE_FAILED; /* at its cut */
        if (!i->started && i->takes != NULL) {
            c->begun = false; /* it starts when its gate has opened */
        } else if (!i->started && c->begun && !instance_start(i)) {
            return;
        }
        task_rearm(&c->task, i, i->arms, i->arm_count);
        mem_free(i->arms);
        i->arms = NULL;
        i->arm_count = 0;
        c->spilled += instance_spilling(i);
        i = next;
    }
}

void chain_leave(struct chain *from, struct instance *i)
{
    uint32_t at = 0;
    while (from->members[at] != i) {
        at++;
    }
    for (; at + 1 < from->member_count; at++) {
        from->members[at] = from->members[at + 1];
    }
    from->member_count--;
    from->changed = true;
    from->next_input = 0;
    from->spilled -= instance_spilling(i);
    key_timers_leave(from, i);
    i->arms = task_disarm(&from->task, i, &i->arm_count);
    task_notify(&from->task);
}

void chain_follow(struct chain *to, struct instance *i)
{
    i->chain = to;
    i->next_arrival = atomic_load(&to->arrivals);
    while (!atomic_compare_exchange_weak(&to->arrivals, &i->next_arrival, i)) {
    }
}

void chain_arrive(struct chain *to, struct instance *i)
{
    chain_follow(to, i);
    atomic_fetch_sub(&to->missing, 1);
    task_notify(&to->task);
}

/* Heads of the covering set need not be heads of their chain: they cut between two items. */
static void cut_heads(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count && !c->changed && !c->failed; k++) {
        if (c->members[k]->started && cut_due(c->members[k])) {
            cut_now(c->members[k]);
        }
    }
}

/* R17: what aligned on a checkpoint that a change made void, or that was given up, goes on. */
static void apply_void(struct chain *c)
{
    uint64_t below = atomic_load_explicit(&c->void_below, memory_order_relaxed);
    if (below == c->voided) {
        return;
    }
    c->voided = below;
    for (uint32_t k = 0; k < c->member_count; k++) {
        align_void(&c->members[k]->align, below);
    }
}

/* The checkpoint is complete.  What cannot be committed now is tried again with the next one. */
static void commit_members(struct chain *c)
{
    uint64_t epoch = atomic_load_explicit(&c->commit, memory_order_relaxed);
    for (uint32_t k = 0; epoch != 0 && k < c->member_count; k++) {
        struct instance *i = c->members[k];
        if (!i->started || !pe_commits(i->pe) || atomic_load(&i->committed) >= epoch ||
            atomic_load(&i->uncommitted) >= epoch) {
            continue;
        }
        crash_call(i->id, "commit");
        int result = pe_commit(i->pe, epoch);
        crash_call(0, "");
        if (result == OXB_ERROR) {
            counter_add(&pe_counters(i->pe)->errors, 1);
            log_event(LOG_ERROR, "instance.uncommitted",
                      "pe=%s index=%u epoch=%" PRIu64 " error=\"%s\"", name_text(&i->pe_name),
                      i->index, epoch, pe_error(i->pe));
            raise(&i->uncommitted, epoch);
        } else {
            atomic_store(&i->committed, epoch);
        }
        c->on_change(c->arg, c);
    }
}

static void inject_marker(struct chain *c)
{
    struct instance *head = c->members[0];
    uint64_t epoch = head->source ? atomic_exchange(&c->inject, 0) : 0;
    if (epoch > atomic_load_explicit(&head->stats.epoch_passed, memory_order_relaxed) &&
        epoch >= c->voided) {
        instance_pass_marker(head, ITEM_MARKER_CHECKPOINT, epoch);
    }
}

/* Members that still tell what a checkpoint froze; batches have their turn in between. */
static void tell_members(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        if (keeper_tells(c->members[k]->keeper) && keeper_turn(c->members[k]->keeper)) {
            task_notify(&c->task);
        }
    }
}

static void end_late(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        instance_end_late(c->members[k]);
    }
}

static enum task_after run_turn(struct task *t)
{
    struct chain *c = chain_of(t);
    /* Asked first: who is no longer missing now is among the arrivals taken next.  The other way
     * round an instance may arrive in between, and a new chain would take itself for empty. */
    bool waiting = atomic_load(&c->missing) > 0;
    take_arrivals(c);
    if (!waiting) {
        resend_turn(c);
    }
    bool spilled = c->spilled > 0 && !drain_spills(c); /* also of old outputs: others wait for it */
    leave_retired(c);
    if (waiting) {
        return AFTER_IDLE; /* the last to arrive notifies */
    }
    if (c->member_count == 0) {
        return end(c); /* all have retired or left */
    }
    tell_members(c);
    chain_squeeze_turn(c);
    bool gated = moves_gate(c);
    if (!c->failed && !gated && !c->begun && !begin(c)) {
        return AFTER_IDLE;
    }
    if (!gated && !spilled && hold_turn(c)) {
        return AFTER_AGAIN;
    }
    apply_void(c);
    if (!hold_goes_on(c)) {
        cut_heads(c); /* what old code goes on with is the old code's (I2) */
    }
    if (c->changed) {
        c->changed = false;
        return AFTER_AGAIN;
    }
    if (gated && !c->failed) {
        task_hold(t);
        return AFTER_IDLE; /* who has state for it notifies */
    }
    end_late(c);
    if (!c->failed) {
        commit_members(c);
    }
    bool sweeps = retain_turn(c);
    if (c->failed || spilled) {
        if (spilled) {
            task_hold(t);
        }
        return AFTER_IDLE;
    }
    task_release(t);
    struct instance *head = c->members[0];
    inject_marker(c);
    enum task_after after = head->source ? run_source(c) : run_inputs(c);
    /* What the turn's last flush or end spilled asks for a wake-up here, or nobody would. */
    if (after == AFTER_IDLE && c->spilled > 0) {
        bool blocked = is_blocked(c);
        if (!drain_spills(c)) {
            task_hold(t);
        } else if (blocked || c->spilled == 0) {
            return AFTER_AGAIN; /* else what lags goes on when its consumer has room */
        }
    }
    return after == AFTER_IDLE && sweeps ? AFTER_AGAIN : after;
}

static enum task_after chain_run(struct task *t)
{
    struct chain *c = chain_of(t);
    if (atomic_load(&t->halt)) {
        return end(c);
    }
    if (!atomic_load(&c->go)) {
        return AFTER_IDLE;
    }
    enum task_after after = run_turn(t);
    if (after != AFTER_DEAD) {
        key_timers_arm(c);
    }
    return after;
}

/* ---------------------------------------------------------------- other events */

/* What the callback emitted is flushed by the run that follows, together with what other events of
 * this moment emit.  While the output is blocked no more events are taken: C3. */
static void after_event(struct chain *c, struct instance *i, int result)
{
    if (fault_survives(i, result, false)) {
        if (c->spilled > 0 && !drain_spills(c)) {
            task_hold(&c->task);
        }
        task_notify(&c->task);
    }
}

static void chain_timer(struct task *t, void *who, uint64_t id)
{
    struct chain *c = chain_of(t);
    struct instance *i = who, *of_keys = key_timers_of(c, who);
    if (who == c) { /* see rest */
        task_notify(t);
    } else if (of_keys != NULL) {
        if (!atomic_load(&t->halt)) {
            after_event(c, of_keys, key_timers_run(c, of_keys));
        }
    } else if (!c->failed && !atomic_load(&t->halt) && !i->finished && i->started) {
        watch_begin(i, clock_now_ns(), "timer");
        int result = pe_timer(i->pe, id);
        watch_end(i);
        after_event(c, i, result);
    }
}

static void chain_ready(struct task *t, void *who, int fd, uint32_t events)
{
    struct chain *c = chain_of(t);
    struct instance *i = who;
    if (!c->failed && !atomic_load(&t->halt) && !i->finished && i->started) {
        watch_begin(i, clock_now_ns(), "ready");
        int result = pe_ready(i->pe, fd, events);
        watch_end(i);
        after_event(c, i, result);
    }
}

static void chain_task_dead(struct task *t)
{
    struct chain *c = chain_of(t);
    if (c->on_dead != NULL) {
        c->on_dead(c->arg, c);
    }
}
