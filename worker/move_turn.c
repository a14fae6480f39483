/* worker/move_turn.c - moves of state, as the executors that run givers and takers carry them out.
 * */
#include "worker/moves_own.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

/* ---------------------------------------------------------------- givers */

static void send_out(struct move *m, struct parcel *p)
{
    struct moves *ms = m->set;
    p->move = m;
    pthread_mutex_lock(&ms->lock);
    parcels_add(&ms->outbox, p);
    pthread_mutex_unlock(&ms->lock);
}

static void begin_telling(struct move *m, struct oxb_pe *pe)
{
    if (m->movers == NULL) {
        m->mover_count = pe_state_count(pe);
        m->movers = mem_array(m->mover_count, sizeof(struct state_mover *));
        for (unsigned n = 0; n < m->mover_count; n++) {
            m->movers[n] = state_mover_new(pe_state_at(pe, n), m->groups);
        }
    }
}

/* About a slice's bytes of the first state that has something to tell.  Return: is there more? */
static bool tell(struct move *m, struct oxb_pe *pe, unsigned *rounds)
{
    bool more = false;
    size_t told = 0;
    for (unsigned n = 0; n < m->mover_count; n++) {
        struct strbuf bytes = {0};
        bool has_more = told >= STATE_SLICE_BYTES ||
                        state_mover_slice(m->movers[n], STATE_SLICE_BYTES - told, &bytes);
        more = more || has_more;
        told += bytes.bytes;
        *rounds =
            state_mover_rounds(m->movers[n]) > *rounds ? state_mover_rounds(m->movers[n]) : *rounds;
        if (bytes.bytes == 0) {
            strbuf_fini(&bytes);
            continue;
        }
        struct parcel *p = mem_alloc(sizeof *p);
        *p = (struct parcel){.kind = STATE_PIECES,
                             .state = mem_dup(state_decl(pe_state_at(pe, n))->name),
                             .version = pe_type(pe)->state_version,
                             .data = bytes};
        send_out(m, p);
    }
    return more;
}

static void stop_telling(struct move *m)
{
    for (unsigned n = 0; n < m->mover_count; n++) {
        state_mover_free(m->movers[n]);
    }
    mem_free(m->movers);
    m->movers = NULL;
    m->mover_count = 0;
}

void move_turn(struct instance *i)
{
    struct move *first = atomic_load(&i->gives);
    if (atomic_load(&first->cancelled)) {
        atomic_store(&i->gives, NULL);
        for (struct move *m = first, *next; m != NULL; m = next) {
            next = m->next_give;
            stop_telling(m);
            atomic_store(&m->released, true); /* it may be freed from here on */
        }
        return;
    }
    for (struct move *m = first; m != NULL; m = m->next_give) {
        unsigned wanted = atomic_load(&m->slices_wanted);
        if (wanted == 0) {
            continue;
        }
        begin_telling(m, i->pe);
        struct parcel end = {.slice_end = true};
        end.more = tell(m, i->pe, &end.rounds);
        wanted = end.more ? wanted - 1 : 0;
        atomic_store(&m->slices_wanted, wanted);
        if (wanted > 0) {
            instance_notify(i); /* its batches have their turn in between */
        } else {
            struct parcel *p = mem_alloc(sizeof *p);
            *p = end;
            for (unsigned n = 0; n < m->mover_count; n++) {
                p->behind += state_mover_behind(m->movers[n]);
            }
            send_out(m, p);
        }
        moves_post(m->set);
    }
}

static void collect_other(struct move *m, struct instance *i)
{
    void *data = NULL;
    size_t bytes = 0;
    if (!m->other || !i->started) {
        return;
    }
    if (pe_snapshot(i->pe, &data, &bytes) != ERR_OK) {
        instance_fail(i, pe_error(i->pe));
        return;
    }
    struct stage *to = m->told ? m->leaving : m->stage;
    to->other = data;
    to->other_bytes = bytes;
    to->other_version = pe_type(i->pe)->state_version;
}

void move_collect(struct instance *i)
{
    for (struct move *m = atomic_load(&i->gives); m != NULL; m = m->next_give) {
        struct stage *to = m->told ? m->leaving : m->stage;
        if (m->keyed && m->told) {
            unsigned rounds = 0;
            begin_telling(m, i->pe);
            while (tell(m, i->pe, &rounds)) { /* what was written since the last slice */
            }
        }
        stop_telling(m);
        if (m->keyed) {
            stage_from(to, i->pe);
            m->exported = stage_entries(to);
        }
        to->finished = i->finished || i->final_done;
        collect_other(m, i);
    }
}

static void publish_the_rest(struct move *m) /* to the peer, or the helper here */
{
    struct stage *s = m->leaving;
    if (s->other != NULL) {
        struct parcel *other = mem_alloc(sizeof *other);
        *other = (struct parcel){.kind = STATE_OTHER, .version = s->other_version};
        strbuf_add(&other->data, s->other, s->other_bytes);
        send_out(m, other);
    }
    struct parcel *last = mem_alloc(sizeof *last);
    *last = (struct parcel){.kind = STATE_FINAL, .entries = m->exported, .finished = s->finished};
    send_out(m, last);
    struct parcel *trash = mem_alloc(sizeof *trash);
    *trash = (struct parcel){.trash = s};
    m->leaving = NULL;
    send_out(m, trash);
}

void move_publish(struct instance *i)
{
    struct move *m = atomic_load(&i->gives);
    atomic_store(&i->gives, NULL);
    for (struct move *next; m != NULL; m = next) {
        next = m->next_give;
        struct moves *ms = m->set;
        if (m->told) {
            publish_the_rest(m);
        } else {
            struct instance *taker = m->taker;
            atomic_store(&m->arrived, true);
            instance_notify(taker);
        }
        atomic_store(&m->released, true);
        moves_post(ms);
    }
}

/* ---------------------------------------------------------------- takers */

static bool take_one(struct instance *i, struct move *m)
{
    struct stage *s = m->stage;
    struct fail f = {0};
    if (m->fail.code != ERR_OK) {
        instance_fail(i, m->fail.what);
        return false;
    }
    if (s->other != NULL && !i->started &&
        pe_restore(i->pe, s->other, s->other_bytes, s->other_version, &f) != ERR_OK) {
        instance_fail(i, f.what);
        return false;
    }
    if (m->other && s->finished) {
        i->final_done = i->had_finished = true;
    }
    m->imported_entries = stage_entries(s);
    if (m->keyed && s->finished && !i->finished && !i->final_done) {
        s->next = i->kept; /* its final output has left already: see instance.c, finish */
        i->kept = s;
        m->stage = NULL;
        return true;
    }
    if (m->keyed && stage_into(s, i->pe, &f) != ERR_OK) {
        instance_fail(i, f.what);
        return false;
    }
    return true;
}

bool move_ready(const struct instance *i)
{
    bool ready = true;
    for (struct move *m = i->takes; m != NULL && ready; m = m->next_take) {
        ready = atomic_load(&m->arrived);
    }
    return ready;
}

bool move_take(struct instance *i)
{
    if (!move_ready(i)) {
        return false;
    }
    struct move *m = i->takes;
    i->takes = NULL;
    for (struct move *next; m != NULL; m = next) {
        next = m->next_take;
        struct moves *ms = m->set;
        if (!take_one(i, m)) {
            return false;
        }
        log_event(LOG_DEBUG, "instance.took", "pe=%s index=%u entries=%" PRIu64,
                  name_text(&i->pe_name), i->index, m->imported_entries);
        atomic_store(&m->imported, true);
        moves_post(ms);
    }
    return true;
}

void move_pause(struct instance *i, uint32_t us)
{
    struct move *m = i->takes;
    m->pauses_us = mem_resize(m->pauses_us, m->pause_count + 1, sizeof *m->pauses_us);
    m->pauses_us[m->pause_count++] = us;
}

/* ---------------------------------------------------------------- the chain's turn */

bool moves_gate(struct chain *c)
{
    bool closed = false;
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        struct instance *i = c->members[k];
        if (atomic_load(&i->gives) != NULL) {
            move_turn(i);
        }
        closed = closed || i->takes != NULL;
    }
    if (!closed || c->failed) {
        return false;
    }
    struct instance *head = c->members[0];
    uint64_t now = clock_now_us();
    closed = false;
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        struct instance *i = c->members[k];
        for (uint32_t n = 0; i->takes != NULL && n < head->input_count; n++) {
            uint64_t since = head->inputs[n].blocked_since_us;
            if (since != 0 && move_ready(i)) {
                move_pause(i, (uint32_t)(now - since));
                head->inputs[n].blocked_since_us = 0;
            }
        }
        closed = (i->takes != NULL && !move_take(i)) || closed;
    }
    for (uint32_t n = 0; closed && n < head->input_count; n++) {
        struct input *in = &head->inputs[n];
        if (in->blocked_since_us == 0 && in->channel->kind != CHANNEL_FUSED &&
            ring_peek(&in->channel->ring) != NULL) {
            in->blocked_since_us = now;
        }
    }
    return closed && !c->failed;
}
