/* tests/sim/recovery/wire.c - both ends of channels, the logs of senders, the links between.
 *
 * A channel is what two ends with one id make of it.  A sender whose receiver is gone keeps what it
 * has and, when its ring is full, stands still.  Whatever is sent is also written to a log of a
 * drawn size; it is trimmed to the position of the newest complete checkpoint (R22), and one that
 * has overflowed begins anew at the next marker. */
#include "tests/sim/recovery/rs.h"

#include <string.h>

struct rs_item rs_pop(struct rs_queue *q)
{
    struct rs_item e = q->slots[q->first];
    q->first = (q->first + 1) % RS_QUEUE;
    q->count--;
    return e;
}

static void put(struct rs *w, struct rs_queue *q, const struct rs_item *e)
{
    if (q->count == RS_QUEUE) {
        w->too_big = true;
        return;
    }
    q->slots[(q->first + q->count++) % RS_QUEUE] = *e;
}

static struct rs_in *far_end(struct rs *w, uint32_t c, uint32_t id, uint32_t *process)
{
    uint32_t q = w->receiver[id % RS_IDS];
    if (q == 0 || rs_in(w, q - 1, c)->id != id) {
        return NULL;
    }
    *process = q - 1;
    return rs_in(w, q - 1, c);
}

bool rs_has_slot(struct rs *w, uint32_t p, uint32_t c)
{
    struct rs_out *o = rs_out(w, p, c);
    uint32_t q;
    struct rs_in *in = far_end(w, c, o->id, &q);
    if (in != NULL && q == p) {
        return o->near.count == 0 && in->far.count < w->k.capacity;
    }
    return o->near.count < w->k.capacity;
}

static void log_it(struct rs *w, struct rs_out *o, const struct rs_item *e)
{
    if (!o->log_ok) {
        if (e->kind == ITEM_MARKER_CHECKPOINT && w->k.budget > 0) {
            o->log_ok = true;
            o->log_base = e->epoch;
            o->log_count = 0;
        }
    } else if (o->log_count == w->k.budget) {
        o->log_ok = false;
    } else {
        o->log[o->log_count++] = *e;
    }
}

void rs_push(struct rs *w, uint32_t p, uint32_t c, struct rs_item e)
{
    struct rs_out *o = rs_out(w, p, c);
    if (e.kind == ITEM_BATCH) {
        e.number = ++o->sent;
        o->hash = rs_mix(o->hash, rs_mix(e.ident, e.stamp));
    } else {
        e.number = o->sent;
        e.stamp = o->hash;
    }
    if (w->im->channels[c].fused) {
        rs_take(w, p, c, &e);
        return;
    }
    log_it(w, o, &e);
    uint32_t q;
    struct rs_in *in = far_end(w, c, o->id, &q);
    if (in != NULL && q == p && o->near.count == 0) {
        put(w, &in->far, &e);
    } else {
        put(w, &o->near, &e);
    }
}

static bool move_one(struct rs *w, uint32_t p, uint32_t c)
{
    struct rs_out *o = rs_out(w, p, c);
    uint32_t q;
    struct rs_in *in = o->id != 0 && o->near.count > 0 ? far_end(w, c, o->id, &q) : NULL;
    if (in == NULL || (o->near.slots[o->near.first].kind == ITEM_BATCH &&
                       in->far.count >= w->k.capacity)) {
        return false;
    }
    struct rs_item e = rs_pop(&o->near);
    put(w, &in->far, &e);
    if (rs_without(w, NO_TRIM_RULE) && o->log_ok && o->log_count > 0) {
        o->log_count--; /* what was received is not needed any more, is it */
        memmove(o->log, o->log + 1, o->log_count * sizeof o->log[0]);
    }
    return true;
}

bool rs_link_step(struct rs *w, uint32_t c)
{
    unsigned holders = w->holders[w->im->channels[c].from];
    for (uint32_t p = 0; holders != 0; p++, holders >>= 1) {
        if ((holders & 1) != 0 && move_one(w, p, c)) {
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- ends */

void rs_out_open(struct rs *w, uint32_t p, uint32_t c, uint32_t id)
{
    struct rs_out *o = rs_out(w, p, c);
    o->id = id;
    o->sent = o->hash = 0;
    o->near.count = 0;
    o->log_ok = w->k.budget > 0;
    o->log_base = o->log_count = 0;
}

void rs_in_open(struct rs *w, uint32_t p, uint32_t c, uint32_t id)
{
    struct rs_in *in = rs_in(w, p, c);
    in->id = id;
    in->received = in->hash = 0;
    in->ended = false;
    in->far.count = 0;
    w->receiver[id % RS_IDS] = (uint8_t)(p + 1);
}

void rs_out_close(struct rs *w, uint32_t p, uint32_t c)
{
    rs_out(w, p, c)->id = 0;
}

void rs_in_close(struct rs *w, uint32_t p, uint32_t c)
{
    struct rs_in *in = rs_in(w, p, c);
    if (in->id != 0 && w->receiver[in->id % RS_IDS] == p + 1) {
        w->receiver[in->id % RS_IDS] = 0;
    }
    in->id = 0;
}

/* ---------------------------------------------------------------- logs */

static uint32_t log_find(const struct rs_out *o, uint32_t epoch) /* behind its marker; NONE */
{
    if (!o->log_ok) {
        return NONE;
    }
    if (o->log_base == epoch) {
        return 0;
    }
    for (uint32_t i = 0; i < o->log_count; i++) {
        if (o->log[i].kind == ITEM_MARKER_CHECKPOINT && o->log[i].epoch == epoch) {
            return i + 1;
        }
    }
    return NONE;
}

bool rs_log_reaches(const struct rs_out *o, uint32_t epoch)
{
    return o->id != 0 && log_find(o, epoch) != NONE;
}

void rs_log_trim(struct rs *w, uint32_t p, uint32_t epoch)
{
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        struct rs_out *o = rs_out(w, p, c);
        uint32_t from = o->id != 0 ? log_find(o, epoch) : NONE;
        if (from != NONE) {
            o->log_base = epoch;
            o->log_count -= from;
            memmove(o->log, o->log + from, o->log_count * sizeof o->log[0]);
        }
    }
}

void rs_resend(struct rs *w, uint32_t p, uint32_t c, uint32_t id, uint32_t epoch)
{
    struct rs_out *o = rs_out(w, p, c);
    uint32_t from = log_find(o, epoch);
    o->id = id;
    o->near.count = 0;
    if (from == NONE) { /* only when its reach is not asked for */
        from = o->log_ok ? 0 : o->log_count;
    }
    for (uint32_t i = from; i < o->log_count; i++) {
        if (o->log[i].kind != ITEM_MARKER_CHECKPOINT || rs_without(w, NO_FLOOR)) {
            put(w, &o->near, &o->log[i]);
            w->stats.resent++;
        }
    }
    const struct rs_queue *q = &o->near;
    bool says = q->count > 0 && q->slots[(q->first + q->count - 1) % RS_QUEUE].kind == ITEM_END;
    if (rs_inst(w, p, w->im->channels[c].from)->finished && !says &&
        !rs_without(w, NO_END_AGAIN)) { /* it ended before the marker */
        put(w, &o->near,
            &(struct rs_item){.kind = ITEM_END, .number = o->sent, .stamp = o->hash});
    }
}
