/* worker/squeeze.c - narrowing the channels inside a covering set, and slicing what goes there. */
#include "worker/squeeze.h"

#include "core/counter.h"
#include "core/mem.h"
#include "worker/cut.h"

#include <string.h>

#define ROWS_BITS 11 /* of chain.squeeze; the rest is the change */
static_assert(SQUEEZE_BATCHES < RING_BATCHES, "a channel with full room is not squeezed");
static_assert(BATCH_ROWS_MAX < 1u << ROWS_BITS, "rows fit");

/* ---------------------------------------------------------------- the loop's */

void squeeze_fini(struct squeeze *s)
{
    mem_free(s->inside);
    mem_free(s->chains);
}

void squeeze_add(struct squeeze *s, struct channel *ch)
{
    s->inside = mem_grow(s->inside, s->count, &s->capacity, sizeof(struct channel *));
    s->inside[s->count++] = ch;
}

/* Nanoseconds that a member has spent per tuple, so far. */
static uint64_t tuple_ns(struct instance *i)
{
    struct pe_counters *n = pe_counters(i->pe);
    uint64_t tuples = counter_get(i->source ? &n->tuples_out : &n->tuples_in);
    return tuples > 0 ? counter_get(&i->stats.busy_ns) / tuples : 0;
}

/* is_held_up - has it waited for room longer than it has worked, or does it now?  Then who comes
 * after it is slower than it is, maybe outside the set, and it has time to spare (M3). */
static bool is_held_up(struct instance *i)
{
    struct chain *c = atomic_load(&i->chain);
    struct instance_stats *s = &(c != NULL ? c->head : i)->stats;
    return atomic_load_explicit(&s->blocked_since_ns, memory_order_relaxed) != 0 ||
           counter_get(&s->blocked_ns) > counter_get(&s->busy_ns);
}

static uint32_t slice_rows(struct instance *const *members, uint32_t member_count)
{
    uint64_t slowest = 1;
    for (uint32_t k = 0; k < member_count; k++) {
        if (is_held_up(members[k])) {
            return SQUEEZE_ROWS_MIN;
        }
        uint64_t ns = tuple_ns(members[k]);
        slowest = ns > slowest ? ns : slowest;
    }
    uint64_t rows = SQUEEZE_SLICE_NS / slowest;
    rows = rows < SQUEEZE_ROWS_MIN ? SQUEEZE_ROWS_MIN : rows;
    return rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX;
}

static void add_chain(struct squeeze *s, struct instance *i)
{
    if (i == NULL) {
        return; /* at a peer */
    }
    struct chain *c = atomic_load(&i->chain);
    for (size_t k = 0; k < s->chain_count; k++) {
        if (s->chains[k] == c) {
            return;
        }
    }
    s->chains[s->chain_count++] = c;
}

void squeeze_begin(struct squeeze *s, struct instance *const *members, uint32_t member_count,
                   uint64_t op)
{
    uint64_t how = op << ROWS_BITS | slice_rows(members, member_count);
    s->chains = mem_array(2 * s->count, sizeof(struct chain *));
    for (size_t n = 0; n < s->count; n++) {
        if (s->inside[n]->kind != CHANNEL_FUSED) {
            channel_squeeze(s->inside[n], SQUEEZE_BATCHES);
            add_chain(s, s->inside[n]->from);
            add_chain(s, s->inside[n]->to);
        }
    }
    for (size_t k = 0; k < s->chain_count; k++) {
        atomic_store(&s->chains[k]->squeeze, how);
        task_notify(&s->chains[k]->task);
    }
}

void squeeze_end(struct squeeze *s)
{
    for (size_t k = 0; k < s->chain_count; k++) {
        atomic_store(&s->chains[k]->squeeze, 0);
        task_notify(&s->chains[k]->task); /* it may have waited for an empty channel */
    }
    for (size_t n = 0; n < s->count; n++) {
        if (!s->inside[n]->leaves) {
            channel_squeeze(s->inside[n], RING_BATCHES);
        }
    }
}

bool squeeze_is_tight(const struct squeeze *s)
{
    for (size_t n = 0; n < s->count; n++) {
        if (!channel_is_squeezed(s->inside[n])) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the chain's */

/* Is it held back?  Who has cut is not: what it feeds now is of the new graph (M2). */
static bool is_held_back(const struct instance *i)
{
    const struct cut *cut = atomic_load(&i->cut);
    return cut != NULL && atomic_load(&i->cut_epoch) != cut->epoch;
}

/* Would the next batch on this stream have to wait? */
static bool is_in_the_way(const struct out_stream *s)
{
    uint32_t waiting = 0;
    for (uint32_t d = 0; d < s->channel_count; d++) {
        waiting += channel_is_in_the_way(s->channels[d]) ? 1 : 0;
    }
    return waiting > 0 && (s->kind != ROUTE_ROUND_ROBIN || waiting == s->channel_count);
}

static bool any_in_the_way(const struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct instance *i = c->members[k];
        for (uint32_t p = 0; is_held_back(i) && p < i->port_count; p++) {
            for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
                if (is_in_the_way(&i->ports[p].streams[s])) {
                    return true;
                }
            }
        }
    }
    return false;
}

static void note_outputs(const struct instance *i)
{
    for (uint32_t p = 0; p < i->port_count; p++) {
        for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
            for (uint32_t d = 0; d < i->ports[p].streams[s].channel_count; d++) {
                channel_note_squeezed(i->ports[p].streams[s].channels[d]);
            }
        }
    }
}

void chain_squeeze_turn(struct chain *c)
{
    uint64_t now = atomic_load(&c->squeeze);
    if (now == c->squeeze_seen) {
        return;
    }
    c->squeeze_seen = now;
    if (now != 0) {
        chain_squeeze_pass(c);
        for (uint32_t k = 0; k < c->member_count; k++) {
            note_outputs(c->members[k]);
        }
    }
}

uint32_t chain_squeeze_rows(const struct chain *c)
{
    uint64_t how = atomic_load_explicit(&c->squeeze, memory_order_relaxed);
    if (how != 0 && any_in_the_way(c)) {
        return 0;
    }
    return how != 0 ? (uint32_t)(how & ((1u << ROWS_BITS) - 1)) : BATCH_ROWS_MAX;
}

void chain_squeeze_pass(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        struct instance *i = c->members[k];
        if (i->started && !i->finished && !i->retiring) {
            instance_flush(i);
        }
    }
}

struct item item_split(struct item *it, uint32_t rows)
{
    uint16_t sel[BATCH_ROWS_MAX];
    struct batch *b = it->batch;
    for (uint32_t k = 0; k < it->count; k++) {
        sel[k] = b->pub.sel != NULL ? b->pub.sel[k] : (uint16_t)k;
    }
    struct item first = *it;
    first.count = rows;
    first.batch = batch_select(b, sel, rows);
    it->first += rows;
    it->count -= rows;
    batch_narrow(b, sel + rows, it->count);
    return first;
}
