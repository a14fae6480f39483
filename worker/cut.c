/* worker/cut.c - carrying out a cut. */
#include "worker/aside.h"
#include "worker/care.h"
#include "worker/cut.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/checkpoint.h"
#include "worker/hold.h"
#include "worker/moves.h"
#include "worker/probe.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void cut_free(struct cut *k)
{
    if (k == NULL) {
        return;
    }
    for (uint32_t p = 0; p < k->port_count; p++) {
        route_fini(&k->ports[p]);
    }
    pe_free(k->pe);
    mem_free(k->ports);
    mem_free(k->inputs);
    mem_free(k->awaited);
    mem_free(k->marks);
    mem_free(k->closes);
    mem_free(k->opens);
    mem_free(k->pauses_us);
    mem_free(k);
}

void cut_install(struct instance *i, struct cut *k)
{
    assert(atomic_load(&i->cut) == NULL);
    atomic_store(&i->cut, k);
    instance_notify(i); /* its next turn tells the alignment whom to expect */
}

bool cut_due(const struct instance *i)
{
    struct cut *k = atomic_load(&i->cut);
    return k != NULL && k->head && atomic_load(&k->go) && atomic_load(&i->cut_epoch) < k->epoch;
}

static struct cut *cut_made(const struct instance *i) /* not yet merged; NULL: none */
{
    struct cut *k = atomic_load(&i->cut);
    return k != NULL && atomic_load(&i->cut_epoch) == k->epoch ? k : NULL;
}

bool cut_drain(struct instance *i)
{
    struct cut *k = cut_made(i);
    bool empty = true;
    for (uint32_t n = 0; k != NULL && n < k->close_count; n++) {
        struct channel *c = k->closes[n];
        empty = (!channel_has_spill(c) || channel_drain(c)) && empty;
    }
    return empty;
}

uint32_t cut_spills(const struct instance *i)
{
    struct cut *k = cut_made(i);
    uint32_t spills = 0;
    for (uint32_t n = 0; k != NULL && n < k->close_count; n++) {
        spills += channel_has_spill(k->closes[n]) ? 1 : 0;
    }
    return spills;
}

static bool is_input(const struct instance *i, const struct channel *c)
{
    for (uint32_t n = 0; n < i->input_count; n++) {
        if (i->inputs[n].channel == c) {
            return true;
        }
    }
    return false;
}

/* Inputs that are new wait for the cut from their first tuple on (R9). */
static void measure_new(const struct instance *i, struct cut *k, uint64_t end_us)
{
    for (uint32_t n = 0; n < k->input_count; n++) {
        struct input *in = &k->inputs[n];
        uint64_t since = atomic_load_explicit(&in->channel->first_us, memory_order_relaxed);
        if (since == 0 || is_input(i, in->channel)) {
            continue;
        }
        if (k->takes != NULL) {
            in->blocked_since_us = since;
        } else {
            k->pauses_us[k->pause_count++] = since < end_us ? (uint32_t)(end_us - since) : 0;
        }
    }
}

/* How long each input had something and was not served because of this change.  Where it waits on
 * for state, the time goes on: see moves_gate. */
static void measure(struct instance *i, struct cut *k, uint64_t start_us, uint64_t end_us)
{
    k->pauses_us = mem_array(i->input_count + k->input_count, sizeof *k->pauses_us);
    measure_new(i, k, end_us);
    for (uint32_t n = 0; n < i->input_count; n++) {
        struct input *in = &i->inputs[n];
        bool waiting = in->channel->kind != CHANNEL_FUSED && ring_peek(&in->channel->ring) != NULL;
        if (k->takes != NULL) {
            in->blocked_since_us = in->blocked_since_us == 0 && waiting ? start_us
                                                                        : in->blocked_since_us;
            continue;
        }
        if (in->blocked_since_us != 0) {
            k->pauses_us[k->pause_count++] = (uint32_t)(end_us - in->blocked_since_us);
        } else if (waiting) {
            k->pauses_us[k->pause_count++] = (uint32_t)(end_us - start_us);
        }
        in->blocked_since_us = 0;
    }
}

/* Old code to new: state by pointer or, under another state version, by a move from the instance to
 * itself; positions by snapshot, ports and files by stop and start.  What is migrated is made by
 * the new code's `migrate` on another thread, so it starts when all of it has come: see
 * moves_gate. */
static void replace_code(struct instance *i, struct cut *k)
{
    void *snapshot = NULL;
    size_t bytes = 0;
    struct oxb_pe *old = i->pe;
    bool migrates = !k->anew && pe_type(old)->state_version != pe_type(k->pe)->state_version;
    bool aside[KEY_GROUPS]; /* none when it migrates: see moves.c */
    bool has_aside = aside_groups(i, aside) && !k->anew;
    if (has_aside) {
        aside_join(i);
    }
    aside_free(i);
    if (!k->anew && pe_snapshot(old, &snapshot, &bytes) != ERR_OK) {
        bytes = 0;
    }
    pe_stop(old);
    if (!k->anew && !migrates) {
        pe_take_states(k->pe, old);
    }
    if (bytes > 0 && pe_restore(k->pe, snapshot, bytes, pe_type(old)->state_version, &k->fail) !=
                         ERR_OK) {
        log_event(LOG_ERROR, "cut.restore", "pe=%s what=\"%s\"", name_text(&i->pe_name),
                  k->fail.what);
    }
    free(snapshot);
    pe_take_counters(k->pe, old);
    i->pe = k->pe;
    if (has_aside) {
        aside_put(i, aside);
    }
    i->sink = k->sink;
    atomic_store(&i->policy, k->policy);
    k->pe = old;
    /* What has ended starts too: it says nothing more, but is saved, commits and stops. */
    i->finish_waits = i->finish_waits && !i->source; /* the new code may have more to say */
    if (k->fail.code == ERR_OK && migrates && k->takes != NULL) {
        i->started = false;
        return;
    }
    if (k->fail.code != ERR_OK || pe_start(i->pe, &k->fail) != ERR_OK) {
        instance_fail(i, k->fail.what);
    }
}

static void swap_wiring(struct instance *i, struct cut *k)
{
    struct input *inputs = i->inputs;
    uint32_t input_count = i->input_count;
    for (uint32_t n = 0; n < k->input_count; n++) {
        struct input *in = &k->inputs[n];
        for (uint32_t o = 0; o < input_count; o++) {
            if (inputs[o].channel == in->channel) {
                in->ended = inputs[o].ended;
                in->blocked_since_us = inputs[o].blocked_since_us;
            }
        }
        in->channel->to_input = n;
    }
    struct out_port *ports = i->ports;
    uint32_t port_count = i->port_count;
    i->inputs = k->inputs;
    i->input_count = k->input_count;
    i->ports = k->ports;
    i->port_count = k->port_count;
    for (uint32_t p = 0; p < i->port_count; p++) { /* the first stream of a port, or the last */
        pe_connect(i->pe, p, i->ports[p].stream_count > 0);
    }
    k->inputs = inputs;
    k->input_count = input_count;
    k->ports = ports;
    k->port_count = port_count;
    uint64_t floor = i->align.epoch_floor > k->epoch + 1 ? i->align.epoch_floor : k->epoch + 1;
    align_fini(&i->align);
    align_init(&i->align, i->input_count);
    i->align.epoch_floor = floor;
}

/* Those that `i` calls directly and that have no cut of their own go where it goes: an instance is
 * run by its caller's thread. */
static void take_along(struct instance *i, struct chain *from, struct chain *to, uint32_t order)
{
    for (uint32_t p = 0; p < i->port_count; p++) {
        for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
            struct out_stream *stream = &i->ports[p].streams[s];
            for (uint32_t d = 0; d < stream->channel_count; d++) {
                struct instance *y = stream->channels[d]->to;
                if (stream->channels[d]->kind == CHANNEL_FUSED && atomic_load(&y->chain) == from &&
                    atomic_load(&y->cut) == NULL && y->started) {
                    take_along(y, from, to, order + 1);
                    chain_leave(from, y);
                    y->order = order;
                    chain_follow(to, y);
                }
            }
        }
    }
}

static void move_chain(struct instance *i, struct cut *k)
{
    struct chain *from = i->chain;
    if (k->retire) {
        i->retiring = true; /* it leaves when its outputs have taken the close */
        return;
    }
    from->begun = from->begun && i->started; /* where it goes, take_arrivals sees to it */
    if (k->chain != NULL && k->chain != from) {
        take_along(i, from, k->chain, k->order + 1);
        chain_leave(from, i);
        i->order = k->order;
        chain_arrive(k->chain, i);
    } else if (k->arrivals > 0) {
        atomic_fetch_add(&from->missing, (int)k->arrivals);
        from->changed = true;
    }
}

void cut_now(struct instance *i)
{
    struct cut *k = atomic_load(&i->cut);
    uint64_t start_us = clock_now_us();
    const char *why = hold_is_empty(i) && !hold_is_held(i) ? NULL : probe_hold_fits(i, k);
    if (why != NULL) { /* since READY; nobody could know */
        instance_fail(i, why);
        return;
    }
    instance_flush(i);
    keeper_forget(i->keeper); /* tables change hands; what it was saving is void (R17) */
    if (pe_flush_sink(i->pe) != OXB_OK ||
        (k->will && i->started && !keeper_leave(i->keeper, i, k->epoch))) {
        instance_fail(i, pe_error(i->pe));
        return;
    }
    for (uint32_t n = 0; n < k->mark_count; n++) {
        channel_mark(k->marks[n], ITEM_MARKER_SWITCH, k->epoch);
    }
    for (uint32_t n = 0; n < k->close_count; n++) {
        channel_mark(k->closes[n], ITEM_CLOSE, k->epoch);
    }
    bool gives = atomic_load(&i->gives) != NULL;
    if (gives) {
        move_collect(i);
    }
    if (k->pe != NULL) {
        replace_code(i, k);
        care_end(i);
        hold_recode(i);
    } else if (k->retire && i->started) {
        if (!gives && !k->will && pe_commit(i->pe, UINT64_MAX) == OXB_ERROR) {
            log_event(LOG_ERROR, "cut.commit", "pe=%s what=\"%s\"", name_text(&i->pe_name),
                      pe_error(i->pe)); /* nobody does it later */
        }
        pe_stop(i->pe);
        i->started = false;
    }
    if (gives) {
        move_publish(i);
    }
    i->takes = k->takes;
    k->cut_us = clock_now_us();
    measure(i, k, start_us, k->cut_us);
    swap_wiring(i, k);
    for (uint32_t n = 0; i->finished && n < k->open_count; n++) {
        if (k->opens[n]->kind != CHANNEL_FUSED) { /* those are called when all are there */
            channel_mark(k->opens[n], ITEM_END, 0); /* R12: who has ended says so to newcomers */
        }
    }
    i->chain->changed = true;
    struct chain *chain = i->chain;
    atomic_store(&i->cut_epoch, k->epoch);
    instance_may_end(i);
    i->look_at_end = !k->retire;
    log_event(LOG_DEBUG, "instance.cut", "pe=%s index=%u epoch=%" PRIu64,
              name_text(&i->pe_name), i->index, k->epoch);
    uint64_t epoch = k->epoch;
    move_chain(i, k);
    /* Only now may the change count as made here: the next one asks which chain this one is in. */
    atomic_store(&i->settled_epoch, epoch);
    if (chain->on_change != NULL) {
        chain->on_change(chain->arg, chain);
    }
}
