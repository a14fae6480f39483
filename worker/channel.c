/* worker/channel.c - sending, receiving and accounting on one channel. */
#include "worker/channel.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/frame.h"
#include "worker/instance.h"
#include "worker/link.h"
#include "worker/retain.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void on_builder_full(void *arg, struct builder *b);
static void put(struct channel *c, struct item *it);
static void send_item(struct channel *c, struct item *it);

struct channel *channel_new(uint64_t id, enum channel_kind kind, const struct oxb_schema *schema,
                            struct pool *pool)
{
    struct channel *c = aligned_alloc(64, (sizeof *c + 63) / 64 * 64);
    if (c == NULL) {
        abort();
    }
    memset(c, 0, sizeof *c);
    c->id = id;
    c->kind = kind;
    c->schema = schema;
    c->credit_items = RING_BATCHES; /* both ends exist before the first item: see worker/link.h */
    atomic_init(&c->credit_told, RING_BATCHES);
    atomic_init(&c->room, RING_BATCHES);
    if (kind == CHANNEL_LOCAL || kind == CHANNEL_OUT) {
        builder_init(&c->builder, pool, schema, on_builder_full, c);
        c->has_builder = true;
    }
    return c;
}

static void item_drop(struct item *it)
{
    if (it->frame != NULL) {
        frame_free(it->frame);
    } else {
        batch_free(it->batch);
    }
}

void channel_free(struct channel *c)
{
    if (c == NULL) {
        return;
    }
    if (c->has_builder) {
        batch_free(builder_finish(&c->builder));
        builder_fini(&c->builder);
    }
    for (struct item *it; (it = ring_peek(&c->ring)) != NULL; ring_drop(&c->ring)) {
        item_drop(it);
    }
    for (size_t i = 0; i < c->spill_count; i++) {
        item_drop(&c->spill[c->spill_first + i]);
    }
    for (size_t i = 0; i < c->unacked_count; i++) {
        item_drop(&c->unacked[c->unacked_first + i]);
    }
    retained_free(channel_log(c));
    mem_free(c->spill);
    mem_free(c->unacked);
    mem_free(c->stream);
    free(c);
}

/* ---------------------------------------------------------------- sender */

static void tell_consumer(struct channel *c)
{
    if (c->kind == CHANNEL_LOCAL) {
        instance_notify(c->to);
    } else {
        link_out_notify(c);
    }
}

static void spill(struct channel *c, const struct item *it)
{
    if (c->spill_count == 0) {
        c->spill_first = 0;
        instance_spills(c->from, +1);
    }
    if (c->spill_first > 64 && c->spill_first >= c->spill_count) {
        memmove(c->spill, c->spill + c->spill_first, c->spill_count * sizeof *c->spill);
        c->spill_first = 0;
    }
    size_t at = c->spill_first + c->spill_count;
    c->spill = mem_grow(c->spill, at, &c->spill_capacity, sizeof *c->spill);
    c->spill[at] = *it;
    c->spill_count++;
}

/* The last of a channel is in the ring and the consumer was told: only now may the loop find the
 * channel drained and take it off its link. */
static void note_last(struct channel *c, enum item_kind kind)
{
    if (kind == ITEM_END) {
        atomic_store(&c->ledger.end_sent, true);
    } else if (kind == ITEM_CLOSE) {
        atomic_store(&c->ledger.close_sent, true);
    }
}

void channel_note_first(struct channel *c, const struct item *it)
{
    if (it->first == 0 && it->kind == ITEM_BATCH) {
        atomic_store_explicit(&c->first_us, clock_now_us(), memory_order_relaxed);
    }
}

/* The item gets its number, and for a peer its form on the wire. */
static void number(struct channel *c, struct item *it)
{
    it->first = counter_get(&c->ledger.sent);
    counter_add(&c->ledger.sent, it->count);
    if (c->kind == CHANNEL_OUT) {
        it->frame = frame_new(c->id, c->sent_items++, it);
    } else if (c->kind == CHANNEL_LOCAL) {
        channel_note_first(c, it);
    }
}

static void put(struct channel *c, struct item *it)
{
    if (c->spill_count > 0 || !ring_push(&c->ring, it, atomic_load(&c->room))) {
        spill(c, it);
        return;
    }
    tell_consumer(c);
    note_last(c, it->kind);
}

/* ---------------------------------------------------------------- with a log */

static inline bool is_away(struct channel *c)
{
    return atomic_load_explicit(&c->away, memory_order_relaxed) != 0;
}

static inline bool is_gone(struct channel *c) /* whoever took from it may be freed by now */
{
    return (atomic_load_explicit(&c->away, memory_order_relaxed) & AWAY_GONE) != 0;
}

/* make_room - drop what was sent, unless a recovery may need it.  Return: it is within budget. */
static bool make_room(struct channel *c, struct retained *log)
{
    if (retain_over(log) && !is_away(c) && !log->pinned) {
        retain_shed(log);
        c->spill_kept = false;
    }
    return !retain_over(log);
}

/* What is spilled was numbered and has not left: it waits in the log now, without a number. */
static void spill_to_log(struct channel *c)
{
    for (; c->spill_count > 0; c->spill_count--) {
        struct item *it = &c->spill[c->spill_first++];
        c->sent_items -= it->frame != NULL;
        atomic_store_explicit(&c->ledger.sent, counter_get(&c->ledger.sent) - it->count,
                              memory_order_relaxed);
        item_drop(it);
    }
}

/* begin_lag - C4, from here on.  Return: it may: the log has all that waits. */
static bool begin_lag(struct channel *c, struct retained *log)
{
    if (!log->on || (c->spill_count > 0 && !c->spill_kept)) {
        return false;
    }
    if (c->spill_count > 0) {
        retain_recall(log, c->spill_count);
        spill_to_log(c);
    } else {
        instance_spills(c->from, +1);
    }
    c->lags = true;
    return true;
}

/* lag_on - as much of what waits as there is room for leaves.  Return: the task may go on. */
static bool lag_on(struct channel *c, struct retained *log)
{
    uint32_t room = atomic_load(&c->room);
    const struct item *next = NULL;
    bool moved = false, ended = false, closed = false;
    while (!is_away(c) && (next = retain_next(log)) != NULL &&
           ring_has_room(&c->ring, next->kind, room)) {
        struct item it = *next;
        it.batch = it.batch != NULL ? batch_share(it.batch) : NULL;
        number(c, &it);
        retain_went(log, &it);
        (void)ring_push(&c->ring, &it, room);
        ended = ended || it.kind == ITEM_END;
        closed = closed || it.kind == ITEM_CLOSE;
        moved = true;
    }
    if (moved) {
        tell_consumer(c);
    }
    note_last(c, ended ? ITEM_END : ITEM_BATCH);
    note_last(c, closed ? ITEM_CLOSE : ITEM_BATCH);
    if (retain_next(log) == NULL) {
        c->lags = false;
        instance_spills(c->from, -1);
    }
    return make_room(c, log);
}

static bool drain_lag(struct channel *c)
{
    struct retained *log = channel_log(c);
    bool goes_on = lag_on(c, log);
    if (c->lags && !is_away(c)) {
        atomic_store(&c->producer_waits, true); /* then look once more: see channel_taken */
        goes_on = lag_on(c, log);
    }
    return goes_on;
}

uint64_t channel_succeed(struct channel *to, struct channel *from, uint64_t epoch)
{
    channel_flush(from);
    if (channel_has_spill(from)) {
        instance_spills(from->from, -1);
    }
    while (from->spill_count > 0) {
        item_drop(&from->spill[from->spill_first++]);
        from->spill_count--;
    }
    from->lags = false;
    struct retained *log = channel_log(from);
    retained_free(channel_log(to));
    atomic_store(&from->log, NULL);
    atomic_store(&to->log, log);
    uint64_t tuples = retain_rewind(log, epoch);
    log->pinned = false;
    to->ended = from->ended;
    if (from->ended) { /* R12: whoever is restored has to hear it again, even if it is older */
        retain_wait(log, &(struct item){.kind = ITEM_END});
    }
    if (retain_next(log) != NULL) {
        to->lags = true;
        instance_spills(to->from, +1);
        (void)drain_lag(to);
    }
    return tuples;
}

void channel_away(struct channel *c, unsigned set, unsigned clear)
{
    atomic_fetch_and(&c->away, ~clear);
    atomic_fetch_or(&c->away, set);
    if (c->from != NULL) {
        instance_notify(c->from);
    }
}

/* ---------------------------------------------------------------- draining, sending */

bool channel_drain(struct channel *c)
{
    struct retained *log = channel_log(c);
    if (c->lags || (log != NULL && c->spill_count > 0 && is_away(c) && begin_lag(c, log))) {
        return drain_lag(c);
    }
    if (c->spill_count > 0 && log != NULL && is_gone(c)) {
        return false;
    }
    bool moved = false, ended = false, closed = false;
    for (int tries = 0; c->spill_count > 0 && tries < 2; tries++) {
        uint32_t room = atomic_load(&c->room);
        while (c->spill_count > 0 && ring_push(&c->ring, &c->spill[c->spill_first], room)) {
            ended = ended || c->spill[c->spill_first].kind == ITEM_END;
            closed = closed || c->spill[c->spill_first].kind == ITEM_CLOSE;
            c->spill_first++;
            c->spill_count--;
            moved = true;
        }
        if (c->spill_count > 0 && tries == 0) {
            atomic_store(&c->producer_waits, true); /* then look once more: see channel_taken */
        }
    }
    bool empty = c->spill_count == 0;
    if (moved) {
        tell_consumer(c);
    }
    if (moved && empty) {
        instance_spills(c->from, -1);
    }
    note_last(c, ended ? ITEM_END : ITEM_BATCH);
    note_last(c, closed ? ITEM_CLOSE : ITEM_BATCH);
    return empty;
}

static void send_item(struct channel *c, struct item *it)
{
    struct retained *log = channel_log(c);
    if (log == NULL) {
        number(c, it);
        put(c, it);
        return;
    }
    if (c->lags || (is_away(c) && begin_lag(c, log))) {
        retain_wait(log, it);
        (void)make_room(c, log);
        return;
    }
    number(c, it);
    c->spill_kept = retain_sent(log, it) && (c->spill_count == 0 || c->spill_kept);
    (void)make_room(c, log);
    if (is_gone(c)) { /* and the log was dropped before: all that comes waits */
        spill(c, it);
        return;
    }
    put(c, it);
}

void channel_send(struct channel *c, struct batch *batch)
{
    struct item it = {.kind = ITEM_BATCH, .count = batch->pub.live, .batch = batch};
    assert(it.count > 0);
    if (c->kind == CHANNEL_FUSED) {
        number(c, &it);
        instance_take(c->to, c->to_input, &it);
        return;
    }
    send_item(c, &it);
}

void channel_mark(struct channel *c, enum item_kind kind, uint64_t epoch)
{
    channel_flush(c);
    c->ended = c->ended || kind == ITEM_END;
    struct item it = {.kind = kind, .epoch = epoch};
    if (c->kind == CHANNEL_FUSED) {
        number(c, &it);
        instance_take(c->to, c->to_input, &it);
        return;
    }
    send_item(c, &it);
}

static void on_builder_full(void *arg, struct builder *b)
{
    struct batch *full = builder_finish(b);
    if (full != NULL) {
        channel_send(arg, full);
    }
}

void channel_gather(struct channel *c, const struct batch *batch, const uint16_t *sel, uint32_t n)
{
    while (n > 0) {
        uint32_t taken = builder_gather(&c->builder, batch, sel, n, NULL);
        sel += taken;
        n -= taken;
        if (n > 0 || c->builder.pub.rows == c->builder.pub.rows_max) {
            channel_flush(c);
        }
    }
}

void channel_flush(struct channel *c)
{
    if (channel_has_open(c)) {
        on_builder_full(c, &c->builder);
    }
}

bool channel_has_open(const struct channel *c)
{
    return c->has_builder && c->builder.pub.rows > 0;
}

/* ---------------------------------------------------------------- receiver */

static void compare(struct channel *c, uint64_t sent)
{
    struct ledger *l = &c->ledger;
    counter_add(&l->compared, 1);
    if (sent != counter_get(&l->received)) {
        counter_add(&l->mismatched, 1);
        log_event(LOG_ERROR, "channel.mismatch",
                  "channel=%" PRIu64 " sent=%" PRIu64 " received=%" PRIu64, c->id, sent,
                  counter_get(&l->received));
    }
}

static enum take out_of_order(struct channel *c, const struct item *it)
{
    struct ledger *l = &c->ledger;
    uint64_t end = it->first + it->count;
    bool late = it->first >= l->gap_low && end <= l->gap_high;
    counter_add(late ? &l->reordered : &l->repeats, it->count);
    if (late && it->first == l->gap_low) { /* should it come again, it is a repeat */
        l->gap_low = end;
    } else if (late && end == l->gap_high) {
        l->gap_high = it->first;
    }
    log_event(LOG_ERROR, late ? "channel.reordered" : "channel.repeat",
              "channel=%" PRIu64 " first=%" PRIu64 " count=%u expected=%" PRIu64, c->id, it->first,
              it->count, counter_get(&l->received));
    return TAKE_REPEAT;
}

enum take channel_account(struct channel *c, const struct item *it)
{
    struct ledger *l = &c->ledger;
    if (it->kind != ITEM_BATCH) {
        compare(c, it->first);
        if (it->kind == ITEM_MARKER_SWITCH) {
            atomic_store_explicit(&l->switch_epoch, it->epoch, memory_order_relaxed);
        } else if (it->kind == ITEM_END) {
            atomic_store_explicit(&l->ended, true, memory_order_relaxed);
        } else if (it->kind == ITEM_CLOSE) {
            atomic_store(&l->closed, true);
        }
        return TAKE_OK;
    }
    uint64_t expected = counter_get(&l->received);
    if (it->first < expected) {
        return out_of_order(c, it);
    }
    if (it->first > expected) {
        l->gap_low = expected;
        l->gap_high = it->first;
        counter_add(&l->gaps, it->first - expected);
        log_event(LOG_ERROR, "channel.gap",
                  "channel=%" PRIu64 " expected=%" PRIu64 " first=%" PRIu64, c->id, expected,
                  it->first);
    }
    atomic_store_explicit(&l->received, it->first + it->count, memory_order_relaxed);
    return TAKE_OK;
}

/* ---------------------------------------------------------------- both */

static void wake_producer(struct channel *c)
{
    if (atomic_exchange(&c->producer_waits, false)) {
        instance_notify(c->from);
    }
}

void channel_taken(struct channel *c)
{
    uint32_t room = atomic_load(&c->room);
    if (c->kind == CHANNEL_IN) {
        uint64_t consumed = counter_get(&c->consumed_items) + 1;
        atomic_store(&c->consumed_items, consumed);
        if (consumed + room > atomic_load(&c->credit_told) + (room - 1) / 2) {
            link_in_notify(c);
        }
    } else if (atomic_load(&c->producer_waits) && ring_used(&c->ring) <= room / 2) {
        wake_producer(c);
    }
    if (room < RING_BATCHES) {
        channel_look_squeezed(c);
    }
}

/* ---------------------------------------------------------------- squeezed */

void channel_squeeze(struct channel *c, uint32_t batches)
{
    if (c->kind == CHANNEL_FUSED || atomic_exchange(&c->room, batches) == batches) {
        return;
    }
    if (batches == RING_BATCHES) {
        atomic_store(&c->small_from, 0);
    }
    if (c->kind == CHANNEL_IN) {
        link_in_notify(c);
    } else {
        wake_producer(c); /* it looks at the room again */
    }
}

/* Of a channel to or from a peer one end is here: the other one is asked for at its own worker. */
static bool is_small(struct channel *c)
{
    uint64_t from = atomic_load(&c->small_from);
    bool known = c->from == NULL || from != 0;
    bool through = c->from == NULL || c->to == NULL || counter_get(&c->ledger.received) + 1 >= from;
    return known && through && ring_used(&c->ring) <= atomic_load(&c->room);
}

bool channel_is_squeezed(struct channel *c)
{
    if (c->kind == CHANNEL_FUSED) {
        return true;
    }
    atomic_store(&c->squeeze_waits, true); /* then look: see channel_look_squeezed */
    bool small = is_small(c);
    if (small) {
        atomic_store(&c->squeeze_waits, false);
    }
    return small;
}

void channel_look_squeezed(struct channel *c)
{
    atomic_thread_fence(memory_order_seq_cst); /* what made it small, then whether that is asked */
    if (atomic_load(&c->squeeze_waits) && is_small(c) &&
        atomic_exchange(&c->squeeze_waits, false)) {
        instance_tell(c->to != NULL ? c->to : c->from);
    }
}

void channel_note_squeezed(struct channel *c)
{
    if (c->kind == CHANNEL_FUSED || atomic_load(&c->room) == RING_BATCHES) {
        return;
    }
    atomic_store(&c->small_from, counter_get(&c->ledger.sent) + 1);
    channel_look_squeezed(c);
}

bool channel_is_in_the_way(struct channel *c)
{
    uint32_t room = atomic_load(&c->room);
    if (c->kind == CHANNEL_FUSED || room == RING_BATCHES || c->lags || is_away(c) ||
        ring_used(&c->ring) < room) { /* C4: what is sent goes to the log */
        return false;
    }
    atomic_store(&c->producer_waits, true); /* then look once more: see channel_taken */
    return ring_used(&c->ring) >= room;
}
