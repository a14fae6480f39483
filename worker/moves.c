/* worker/moves.c - moves of state: making them, talking with peers, the helper that builds tables.
 * What executors do of it: worker/move_turn.c. */
#include "worker/moves_own.h"

#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/aside.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void *helper_main(void *arg);
static void on_tick(void *arg);

/* ---------------------------------------------------------------- parcels */

void parcel_free(struct parcel *p)
{
    if (p != NULL) {
        strbuf_fini(&p->data);
        stage_free(p->trash);
        mem_free(p->state);
        mem_free(p);
    }
}

void parcels_add(struct parcels *list, struct parcel *p)
{
    p->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = p;
    list->last = p;
}

static struct parcel *parcels_pop(struct parcels *list)
{
    struct parcel *p = list->first;
    if (p != NULL) {
        list->first = p->next;
        list->last = list->first != NULL ? list->last : NULL;
    }
    return p;
}

static struct parcel *pop_locked(struct moves *ms, struct parcels *list)
{
    pthread_mutex_lock(&ms->lock);
    struct parcel *p = parcels_pop(list);
    pthread_mutex_unlock(&ms->lock);
    return p;
}

static void to_helper(struct moves *ms, struct parcel *p)
{
    pthread_mutex_lock(&ms->lock);
    parcels_add(p->trash != NULL ? &ms->rubbish : &ms->inbox, p);
    pthread_cond_signal(&ms->wake);
    pthread_mutex_unlock(&ms->lock);
}

/* ---------------------------------------------------------------- making */

static const struct rec_WORKER_ADDR *find_worker(const struct msg_PREPARE *plan, const char *name)
{
    for (size_t k = 0; k < plan->workers_count; k++) {
        if (strcmp(plan->workers[k].name, name) == 0) {
            return &plan->workers[k];
        }
    }
    return NULL;
}

static bool read_groups(struct move *m, const struct msg_bin *bits)
{
    if (bits->bytes != 0 && bits->bytes != KEY_GROUPS / 8) {
        return false;
    }
    for (unsigned g = 0; g < KEY_GROUPS && bits->bytes != 0; g++) {
        m->groups[g] = ((unsigned)bits->data[g / 8] >> (g % 8) & 1u) != 0;
        m->keyed = m->keyed || m->groups[g];
    }
    return true;
}

/* The other end is at a peer: a link to it, or its name to answer to. */
static enum err find_peer(struct moves *ms, struct move *m, const char *name)
{
    struct part *staged = ms->staged;
    const struct rec_WORKER_ADDR *w = find_worker(&staged->plan.PREPARE, name);
    if (w == NULL) {
        return plan_malformed(staged, "a move to or from a worker without an address");
    }
    m->peer = mem_dup(w->name);
    m->peer_incarnation = w->incarnation;
    if (m->giver == NULL) {
        return ERR_OK;
    }
    m->out = links_out(ms->env->links, w->name, w->incarnation, w->address, &staged->fail);
    if (m->out == NULL) {
        return staged->fail.code;
    }
    link_out_hold(m->out);
    return ERR_OK;
}

static enum err make_move(struct moves *ms, const struct rec_STATE_MOVE *spec)
{
    struct part *staged = ms->staged;
    struct move *m = &ms->items[ms->count++];
    const char *me = ms->env->worker_name;
    bool gives = strcmp(spec->from_worker, me) == 0, takes = strcmp(spec->to_worker, me) == 0;
    *m = (struct move){.set = ms,
                       .giver_id = spec->giver,
                       .taker_id = spec->taker,
                       .other = spec->other,
                       .giver = gives && staged->base != NULL
                                    ? part_instance(staged->base, spec->giver)
                                    : NULL,
                       .taker = takes ? part_instance(staged, spec->taker) : NULL};
    if (!read_groups(m, &spec->groups) || (!gives && !takes) || (gives && m->giver == NULL) ||
        (takes && m->taker == NULL) ||
        (gives && atomic_load(&m->giver->cut) == NULL)) {
        return plan_malformed(staged, "a move of state whose ends are not here");
    }
    if (gives && m->keyed && !aside_is_empty(m->giver)) {
        return fail_set(&staged->fail, ERR_AGAIN, "try again when it has ended",
                        "%s[%u] keeps results of an instance that has ended, until it ends itself",
                        name_text(&m->giver->pe_name), m->giver->index);
    }
    m->code = takes ? part_code_of(staged, m->taker) : NULL;
    bool migrates = gives && takes && m->keyed &&
                    pe_type(m->giver->pe)->state_version != pe_type(m->code)->state_version;
    m->told = gives && (!takes || migrates);
    m->leaving = m->told ? stage_new(m->giver->pe, m->groups) : NULL;
    m->stage = takes ? stage_new(m->told ? m->code : gives ? m->giver->pe : m->code, m->groups)
                     : NULL;
    if (m->giver == m->taker && !migrates) {
        return plan_malformed(staged, "a move from an instance to itself under one state version");
    }
    const char *misfit = takes && m->keyed ? stage_misfit(m->stage, m->code) : NULL;
    if (misfit != NULL) {
        return fail_set(&staged->fail, ERR_VERSION, "keep the state's values, or drop it",
                        "the new code of %s has no state `%s` of the same values",
                        name_text(&m->taker->pe_name), misfit);
    }
    return gives && takes ? ERR_OK : find_peer(ms, m, gives ? spec->to_worker : spec->from_worker);
}

enum err moves_new(struct part *staged, struct moves **out)
{
    const struct msg_PREPARE *plan = &staged->plan.PREPARE;
    *out = NULL;
    if (plan->moves_count == 0) {
        return ERR_OK;
    }
    struct moves *ms = mem_alloc(sizeof *ms);
    *out = ms;
    *ms = (struct moves){.staged = staged,
                         .base = staged->base != NULL ? staged->base : staged,
                         .env = staged->env,
                         .op = staged->op,
                         .gen = staged->gen};
    ms->topology = mem_dup(staged->name);
    ms->items = mem_array(plan->moves_count, sizeof *ms->items);
    pthread_mutex_init(&ms->lock, NULL);
    pthread_cond_init(&ms->wake, NULL);
    ms->tick = timer_new(ms->env->loop, on_tick, ms);
    for (size_t n = 0; n < plan->moves_count; n++) {
        enum err e = make_move(ms, &plan->moves[n]);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static void hang_up(struct move *m)
{
    if (m->giver != NULL) {
        m->next_give = atomic_load(&m->giver->gives);
        atomic_store(&m->giver->gives, m);
    }
    if (m->taker != NULL) {
        struct cut *k = atomic_load(&m->taker->cut);
        struct move **at = k != NULL ? &k->takes : &m->taker->takes;
        m->next_take = *at;
        *at = m;
    }
}

static void perform(struct move *m, unsigned act);

void moves_begin(struct moves *ms)
{
    uint32_t told = 0;
    for (uint32_t n = 0; n < ms->count; n++) {
        told += ms->items[n].told ? 1 : 0;
        ms->helped = ms->helped || ms->items[n].peer != NULL || ms->items[n].told;
    }
    if (ms->helped && pthread_create(&ms->helper, NULL, helper_main, ms) != 0) {
        ms->helped = false;
        (void)fail_set(&ms->fail, ERR_NOMEM, "end something on this machine",
                       "no thread could be started to take in state");
    }
    uint64_t window = told > 0 && STATE_WINDOW / told > 0 ? STATE_WINDOW / told : 1;
    for (uint32_t n = 0; n < ms->count; n++) {
        struct move *m = &ms->items[n];
        hang_up(m);
        m->heard_us = clock_now_us();
        give_init(&m->give, window);
        if (m->told) {
            struct give_event in = {.kind = GIVE_IN_START,
                                    .more = m->keyed && !FAILPOINT_FAILS("moves.ahead")};
            perform(m, give_step(&m->give, &in));
        }
    }
    moves_on_peer(ms);
    if (told > 0) {
        timer_set(ms->tick, STATE_ROUND_MS, true);
    }
}

/* ---------------------------------------------------------------- to the taker's worker, or the
 * helper here */

static struct message *message_add(struct move *m, const struct parcel *p)
{
    m->queue = mem_grow(m->queue, m->queue_first + m->queue_count, &m->queue_capacity,
                        sizeof *m->queue);
    struct message *to = &m->queue[m->queue_first + m->queue_count++];
    *to = (struct message){.kind = p->kind,
                           .state = p->state != NULL ? mem_dup(p->state) : NULL,
                           .version = p->version,
                           .entries = p->entries,
                           .finished = p->finished};
    return to;
}

/* A parcel as messages.  Return: how many. */
static uint64_t enqueue(struct move *m, const struct parcel *p)
{
    uint64_t count = 0;
    size_t at = 0;
    do {
        size_t part = p->data.bytes - at < STATE_MESSAGE_BYTES ? p->data.bytes - at
                                                               : STATE_MESSAGE_BYTES;
        struct message *to = message_add(m, p);
        strbuf_add(&to->data, part > 0 ? p->data.data + at : "", part);
        at += part;
        to->more = at < p->data.bytes;
        count++;
    } while (at < p->data.bytes);
    return count;
}

static void message_fini(struct message *x)
{
    strbuf_fini(&x->data);
    mem_free(x->state);
}

static void forget(struct move *m)
{
    while (m->queue_base < m->give.taken) {
        message_fini(&m->queue[m->queue_first++]);
        m->queue_count--;
        m->queue_base++;
    }
    if (m->queue_count == 0 || m->queue_first > 64) {
        memmove(m->queue, m->queue + m->queue_first, m->queue_count * sizeof *m->queue);
        m->queue_first = 0;
    }
}

static void hand_to_helper(struct move *m)
{
    while (m->give.sent < give_limit(&m->give)) {
        struct parcel *p = parcels_pop(&m->waiting);
        p->number = m->handed++;
        m->unsettled++;
        to_helper(m->set, p);
        m->give.sent++;
    }
}

static void send_more(struct move *m)
{
    struct moves *ms = m->set;
    if (m->out == NULL) {
        hand_to_helper(m);
        return;
    }
    while (m->give.sent < give_limit(&m->give)) {
        const struct message *x = &m->queue[m->queue_first + (m->give.sent - m->queue_base)];
        struct msg out = {.kind = M_LINK_STATE};
        out.LINK_STATE = (struct msg_LINK_STATE){
            .topology = ms->topology,
            .gen = ms->gen,
            .op = ms->op,
            .giver = m->giver_id,
            .taker = m->taker_id,
            .number = m->give.sent,
            .kind = x->kind,
            .state = x->state != NULL ? x->state : "",
            .more = x->more,
            .data = {(const uint8_t *)x->data.data, x->data.bytes},
            .version = x->version,
            .entries = x->entries,
            .finished = x->finished};
        if (!link_out_say(m->out, &out)) {
            struct give_event in = {.kind = GIVE_IN_UNLINKED};
            (void)give_step(&m->give, &in);
            return;
        }
        ms->bytes_sent += x->data.bytes;
        m->give.sent++;
    }
}

static void set_fail(struct moves *ms, enum err code, const char *what, const char *peer)
{
    if (ms->fail.code == ERR_OK) {
        (void)fail_set(&ms->fail, code, "see the logs of both workers, and try again", "%s %s",
                       what, peer);
    }
}

/* The taker is here: it takes in what the helper has taken in, and hears everything. */
static void answer_here(struct move *m, bool resume)
{
    struct give_event in = {.kind = GIVE_IN_ACK, .next = m->taken_in, .resume = resume,
                            .imported = atomic_load(&m->imported)};
    perform(m, give_step(&m->give, &in));
}

static void perform(struct move *m, unsigned act)
{
    if ((act & GIVE_DO_FORGET) != 0 && m->out != NULL) {
        forget(m);
    }
    if ((act & GIVE_DO_ASK) != 0 && m->out == NULL) {
        answer_here(m, true);
    } else if ((act & GIVE_DO_ASK) != 0) {
        struct msg where = {.kind = M_LINK_STATE};
        where.LINK_STATE = (struct msg_LINK_STATE){.topology = m->set->topology,
                                                   .gen = m->set->gen,
                                                   .op = m->set->op,
                                                   .giver = m->giver_id,
                                                   .taker = m->taker_id,
                                                   .kind = STATE_WHERE,
                                                   .state = ""};
        (void)link_out_say(m->out, &where);
    }
    if ((act & GIVE_DO_SLICE) != 0) {
        atomic_store(&m->slices_wanted, STATE_SLICES_AHEAD);
        task_notify(instance_task(m->giver));
    }
    if ((act & GIVE_DO_FAIL) != 0) {
        set_fail(m->set, ERR_AGAIN, "state changes faster than it can be copied to worker",
                 m->peer != NULL ? m->peer : m->set->env->worker_name);
    }
    if ((act & GIVE_DO_SEND) != 0) {
        send_more(m);
    }
}

/* A slice, or the last of all, came from an executor. */
static void take_parcel(struct move *m, struct parcel *p)
{
    if (p->trash != NULL) {
        to_helper(m->set, p);
        return;
    }
    bool goes_on = p->kind != 0 && m->out == NULL;
    struct give_event in = {.more = p->more, .rounds = p->rounds, .behind = p->behind};
    in.kind = p->slice_end ? GIVE_IN_SLICE : GIVE_IN_FINAL;
    bool ends = p->slice_end || p->kind == STATE_FINAL;
    if (goes_on) {
        parcels_add(&m->waiting, p);
        m->made++;
    } else if (p->kind != 0) {
        m->made += enqueue(m, p);
    }
    if (ends) {
        in.count = m->made;
        m->made = 0;
        perform(m, give_step(&m->give, &in));
    }
    if (!goes_on) {
        parcel_free(p);
    }
}

static struct move *find(struct moves *ms, const char *topology, uint64_t op, uint64_t giver,
                         uint64_t taker)
{
    for (uint32_t n = 0; ms != NULL && n < ms->count; n++) {
        struct move *m = &ms->items[n];
        if (m->giver_id == giver && m->taker_id == taker && op == ms->op &&
            strcmp(topology, ms->topology) == 0) {
            return m;
        }
    }
    return NULL;
}

bool moves_on_ack(struct moves *ms, const struct msg_LINK_STATE_ACK *a)
{
    struct move *m = find(ms, a->topology, a->op, a->giver, a->taker);
    if (m == NULL || m->out == NULL) {
        return false;
    }
    m->heard_us = clock_now_us();
    struct give_event in = {.kind = GIVE_IN_ACK, .next = a->next, .resume = a->resume,
                            .imported = a->imported};
    if (a->what[0] != '\0') {
        in.kind = GIVE_IN_REFUSED;
        if (m->give.state != GIVE_CUT) {
            set_fail(ms, ERR_INVALID, a->what, "");
        }
    }
    perform(m, give_step(&m->give, &in));
    moves_post(ms);
    return true;
}

static void on_tick(void *arg)
{
    struct moves *ms = arg;
    uint64_t now = clock_now_us();
    for (uint32_t n = 0; n < ms->count; n++) {
        struct move *m = &ms->items[n];
        if (!m->told || ms->cancelled) {
            continue;
        }
        bool open = m->out == NULL || link_out_is_open(m->out);
        struct give_event in = {.kind = open ? GIVE_IN_TICK : GIVE_IN_UNLINKED};
        perform(m, give_step(&m->give, &in));
        if (m->out == NULL) {
            continue;
        }
        bool waits = m->give.state == GIVE_COPYING && !link_out_is_open(m->out);
        m->heard_us = waits ? m->heard_us : now;
        if (now - m->heard_us > (uint64_t)HANDSHAKE_MS * 1000) {
            set_fail(ms, ERR_TIMEOUT, "no answer, for the state that moves there, from worker",
                     m->peer);
            moves_post(ms);
        }
    }
}

/* ---------------------------------------------------------------- at the taker's worker */

static void answer(struct move *m, bool resume, const char *what)
{
    struct moves *ms = m->set;
    struct msg out = {.kind = M_LINK_STATE_ACK};
    out.LINK_STATE_ACK =
        (struct msg_LINK_STATE_ACK){.topology = ms->topology,
                                    .op = ms->op,
                                    .giver = m->giver_id,
                                    .taker = m->taker_id,
                                    .next = resume ? m->take.expected : m->taken_in,
                                    .resume = resume,
                                    .imported = m->take.state == TAKE_IMPORTED,
                                    .what = what};
    (void)links_answer(ms->env->links, m->peer, m->peer_incarnation, &out);
}

void moves_on_peer(struct moves *ms)
{
    for (uint32_t n = 0; ms != NULL && n < ms->count; n++) {
        if (ms->items[n].peer != NULL && ms->items[n].out == NULL) {
            answer(&ms->items[n], true, "");
        }
    }
}

bool moves_on_state(struct moves *ms, const struct msg_LINK_STATE *s)
{
    struct move *m = find(ms, s->topology, s->op, s->giver, s->taker);
    if (m == NULL || m->peer == NULL || m->out != NULL || s->gen != ms->gen) {
        return false;
    }
    if (s->kind == STATE_WHERE) {
        answer(m, true, "");
        return true;
    }
    bool final = s->kind == STATE_FINAL && !s->more;
    if (take_message(&m->take, s->number, final) == TAKE_DROP) {
        return true;
    }
    strbuf_add(&m->assembling, s->data.data, s->data.bytes);
    if (s->more && m->assembling.bytes <= 4 * (size_t)BATCH_BYTES_MAX) {
        if (m->unsettled == 0) { /* else with what the helper has to do first: memory is bounded */
            m->taken_in = m->take.expected;
            answer(m, false, "");
        }
        return true;
    }
    struct parcel *p = mem_alloc(sizeof *p);
    *p = (struct parcel){.move = m,
                         .kind = s->more ? 0 : (enum state_kind)s->kind,
                         .state = mem_dup(s->state),
                         .data = m->assembling,
                         .version = (uint32_t)s->version,
                         .entries = s->entries,
                         .finished = s->finished,
                         .number = s->number};
    m->assembling = (struct strbuf){0};
    m->unsettled++;
    to_helper(ms, p);
    return true;
}

/* Helper thread: a parcel becomes part of the move's stage. */
static void take_in(struct parcel *p)
{
    struct stage *to = p->move->stage;
    switch (p->kind) {
    case STATE_PIECES:
        p->fail.code = stage_pieces(to, p->move->code, p->state, p->version, p->data.data,
                                    p->data.bytes, &p->fail);
        break;
    case STATE_OTHER:
        free(to->other);
        to->other_bytes = p->data.bytes;
        to->other = strbuf_take(&p->data);
        to->other_version = p->version;
        break;
    case STATE_FINAL:
        to->finished = p->finished;
        if (stage_entries(to) != p->entries) {
            (void)fail_set(&p->fail, ERR_CORRUPT, "",
                           "%" PRIu64 " entries were given and %" PRIu64 " came", p->entries,
                           stage_entries(to));
        }
        break;
    default:
        (void)fail_set(&p->fail, ERR_INVALID, "use workers of the same release",
                       "malformed state came");
        break;
    }
}

static void *helper_main(void *arg)
{
    struct moves *ms = arg;
    pthread_setname_np(pthread_self(), "oxb-state");
    pthread_mutex_lock(&ms->lock);
    for (;;) {
        struct parcel *p = parcels_pop(ms->inbox.first != NULL ? &ms->inbox : &ms->rubbish);
        ms->busy = p != NULL;
        if (p == NULL && ms->stop) {
            break;
        }
        if (p == NULL) {
            pthread_cond_wait(&ms->wake, &ms->lock);
            continue;
        }
        bool stop = ms->stop;
        pthread_mutex_unlock(&ms->lock);
        if (p->trash != NULL || stop) {
            parcel_free(p);
            p = NULL;
        } else {
            take_in(p);
        }
        pthread_mutex_lock(&ms->lock);
        if (p != NULL) {
            parcels_add(&ms->outcome, p);
        }
        moves_post(ms);
    }
    pthread_mutex_unlock(&ms->lock);
    return NULL;
}

/* Back on the loop: what the helper has done with a parcel. */
static void settle(struct move *m, struct parcel *p)
{
    bool whole = --m->unsettled == 0 && m->assembling.bytes > 0; /* what came of the next one */
    m->taken_in = whole ? m->take.expected : p->number + 1;
    if (p->fail.code != ERR_OK && m->fail.code == ERR_OK) {
        m->fail = p->fail;
        m->set->fail = m->set->fail.code == ERR_OK ? p->fail : m->set->fail;
        log_event(LOG_ERROR, "move.refused", "topology=%s from=%s what=\"%s\"", m->set->topology,
                  m->peer != NULL ? m->peer : m->set->env->worker_name, p->fail.what);
        if (m->told) {
            struct give_event in = {.kind = GIVE_IN_REFUSED, .next = m->taken_in};
            perform(m, give_step(&m->give, &in));
        } else {
            answer(m, false, p->fail.what);
        }
    } else if (m->told) {
        answer_here(m, false);
    } else {
        answer(m, false, "");
    }
    if (p->kind == STATE_FINAL) {
        atomic_store(&m->arrived, true);
        if (atomic_load(&m->taker->chain) != NULL) {
            task_notify(instance_task(m->taker));
        }
    }
    parcel_free(p);
}

/* ---------------------------------------------------------------- news */

static void moves_on_loop(void *arg)
{
    struct moves *ms = arg;
    atomic_store(&ms->posted, false);
    for (struct parcel *p; (p = pop_locked(ms, &ms->outbox)) != NULL;) {
        take_parcel(p->move, p);
    }
    for (struct parcel *p; (p = pop_locked(ms, &ms->outcome)) != NULL;) {
        settle(p->move, p);
    }
    for (uint32_t n = 0; n < ms->count; n++) {
        struct move *m = &ms->items[n];
        if (m->peer != NULL && m->out == NULL && m->take.state == TAKE_STAGED &&
            atomic_load(&m->imported)) {
            take_imported(&m->take);
            answer(m, false, "");
        }
        if (m->told && m->out == NULL && m->give.state == GIVE_CUT && atomic_load(&m->imported)) {
            answer_here(m, false);
        }
    }
    if (!ms->cancelled) {
        part_moves_changed(ms->base);
    }
}

void moves_post(struct moves *ms)
{
    if (!atomic_exchange(&ms->posted, true)) {
        loop_post(ms->env->loop, moves_on_loop, ms);
    }
}

bool moves_ready(const struct moves *ms)
{
    for (uint32_t n = 0; ms != NULL && n < ms->count; n++) {
        const struct move *m = &ms->items[n];
        if (m->told && m->give.state == GIVE_COPYING) {
            return false;
        }
    }
    return true;
}

const struct fail *moves_fail(const struct moves *ms)
{
    return ms != NULL && ms->fail.code != ERR_OK ? &ms->fail : NULL;
}

bool moves_done(const struct moves *ms)
{
    for (uint32_t n = 0; ms != NULL && n < ms->count; n++) {
        const struct move *m = &ms->items[n];
        if ((m->taker != NULL && !atomic_load(&m->imported)) ||
            (m->out != NULL && m->give.state != GIVE_GIVEN)) {
            return false;
        }
    }
    return true;
}

void moves_facts(struct moves *ms, struct change_result *out)
{
    for (uint32_t n = 0; ms != NULL && n < ms->count; n++) {
        struct move *m = &ms->items[n];
        out->exported += m->giver != NULL ? m->exported : 0;
        out->imported += m->taker != NULL ? m->imported_entries : 0;
        out->pauses_us = mem_resize(out->pauses_us, out->pause_count + m->pause_count,
                                    sizeof *out->pauses_us);
        if (m->pause_count > 0) { /* memcpy takes no NULL */
            memcpy(out->pauses_us + out->pause_count, m->pauses_us,
                   m->pause_count * sizeof *m->pauses_us);
        }
        out->pause_count += m->pause_count;
    }
    out->state_bytes += ms != NULL ? ms->bytes_sent : 0;
    if (ms != NULL) {
        timer_stop(ms->tick);
    }
}

void moves_cancel(struct moves *ms)
{
    ms->cancelled = true;
    timer_stop(ms->tick);
    for (uint32_t n = 0; n < ms->count; n++) {
        struct move *m = &ms->items[n];
        atomic_store(&m->cancelled, true);
        if (m->giver != NULL) {
            task_notify(instance_task(m->giver));
        }
    }
}

bool moves_over(struct moves *ms)
{
    bool over = !atomic_load(&ms->posted);
    for (uint32_t n = 0; n < ms->count; n++) {
        over = over && (ms->items[n].giver == NULL || atomic_load(&ms->items[n].released));
    }
    pthread_mutex_lock(&ms->lock);
    over = over && !ms->busy && ms->inbox.first == NULL && ms->rubbish.first == NULL &&
           ms->outbox.first == NULL && ms->outcome.first == NULL;
    pthread_mutex_unlock(&ms->lock);
    return over;
}

static void move_fini(struct move *m)
{
    for (unsigned n = 0; n < m->mover_count; n++) {
        state_mover_free(m->movers[n]);
    }
    for (size_t k = 0; k < m->queue_count; k++) {
        message_fini(&m->queue[m->queue_first + k]);
    }
    if (m->out != NULL) {
        link_out_release(m->out);
    }
    for (struct parcel *p; (p = parcels_pop(&m->waiting)) != NULL;) {
        parcel_free(p);
    }
    stage_free(m->leaving);
    stage_free(m->stage);
    strbuf_fini(&m->assembling);
    mem_free(m->movers);
    mem_free(m->queue);
    mem_free(m->pauses_us);
    mem_free(m->peer);
}

static void free_shell(void *arg) /* behind whatever was posted before */
{
    struct moves *ms = arg;
    pthread_cond_destroy(&ms->wake);
    pthread_mutex_destroy(&ms->lock);
    mem_free(ms);
}

void moves_free(struct moves *ms)
{
    if (ms == NULL) {
        return;
    }
    if (ms->helped) {
        pthread_mutex_lock(&ms->lock);
        ms->stop = true;
        pthread_cond_signal(&ms->wake);
        pthread_mutex_unlock(&ms->lock);
        pthread_join(ms->helper, NULL);
    }
    struct parcels *const lists[] = {&ms->inbox, &ms->rubbish, &ms->outbox, &ms->outcome};
    for (unsigned k = 0; k < sizeof lists / sizeof lists[0]; k++) {
        for (struct parcel *p; (p = parcels_pop(lists[k])) != NULL;) {
            parcel_free(p);
        }
    }
    for (uint32_t n = 0; n < ms->count; n++) {
        move_fini(&ms->items[n]);
    }
    timer_free(ms->tick);
    mem_free(ms->items);
    mem_free(ms->topology);
    ms->items = NULL;
    ms->count = 0;
    ms->cancelled = true;
    if (atomic_load(&ms->posted)) {
        loop_post(ms->env->loop, free_shell, ms);
    } else {
        free_shell(ms);
    }
}
