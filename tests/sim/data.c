/* tests/sim/data.c - instances and channels of the simulator: taking, routing, cutting, moving.
 *
 * A step of a node is what an executor does between two looks at its inputs: one item, with all
 * that fused instances do in the same call.  What the real worker decides by worker/align.h is
 * decided by it here; what waits for what is the rules of docs/PROTOCOL.md, named where they
 * stand. */
#include "tests/sim/order.h"
#include "tests/sim/sim.h"

#include <assert.h>
#include <string.h>

static void take(struct world *w, uint32_t c, const struct entry *e);
static void cut(struct world *w, uint32_t n);

static const struct inode *info(const struct world *w, uint32_t n)
{
    return &w->im->nodes[n];
}

static int side_of(const struct world *w, uint32_t n)
{
    return w->nodes[n].cut ? SIDE_NEW : SIDE_V;
}

static enum kind kind_of(const struct world *w, uint32_t n)
{
    return w->im->pes[info(w, n)->pe].kind;
}

/* ---------------------------------------------------------------- queues */

static void queue_push(struct world *w, struct queue *q, const struct entry *e)
{
    if (q->count == QUEUE) {
        w->too_big = true;
        return;
    }
    q->slots[(q->first + q->count++) % QUEUE] = *e;
    w->queued++;
}

static struct entry queue_pop(struct world *w, struct queue *q)
{
    struct entry e = q->slots[q->first];
    q->first = (q->first + 1) % QUEUE;
    q->count--;
    w->queued--;
    return e;
}

static struct queue *receiving(struct world *w, uint32_t c)
{
    return w->im->channels[c].remote ? &w->chans[c].far : &w->chans[c].near;
}

static void push(struct world *w, uint32_t c, struct entry e)
{
    struct chan *ch = &w->chans[c];
    if (e.kind == ITEM_BATCH) {
        e.number = ++ch->sent;
    } else {
        e.number = ch->sent;
    }
    if (w->im->channels[c].fused) {
        take(w, c, &e);
    } else {
        queue_push(w, &ch->near, &e);
    }
}

bool link_step(struct world *w, uint32_t c)
{
    struct chan *ch = &w->chans[c];
    if (ch->near.count == 0 ||
        (ch->near.slots[ch->near.first].kind == ITEM_BATCH && ch->far.count >= w->k.capacity)) {
        return false;
    }
    struct entry e = queue_pop(w, &ch->near);
    queue_push(w, &ch->far, &e);
    return true;
}

/* ---------------------------------------------------------------- emitting */

static void emit(struct world *w, uint32_t n, struct entry e)
{
    const struct iwiring *out = &info(w, n)->side[side_of(w, n)];
    e.kind = ITEM_BATCH;
    for (uint32_t i = 0; i < out->stream_count; i++) {
        const struct istream *s = &out->streams[i];
        uint32_t to = 0;
        if (s->route == TO_KEY) {
            uint32_t group = s->by_seq ? (order_hash(e.order) + w->k.groups[0]) % KEY_GROUPS
                                       : w->k.groups[e.key];
            to = s->owners[group];
        } else if (s->route == TO_ANY) {
            to = draw(w, s->count);
        }
        for (uint32_t k = 0; k < s->count; k++) {
            if (s->route == TO_ALL || k == to) {
                push(w, s->channels[k], e);
            }
        }
    }
}

static void emit_many(struct world *w, uint32_t n, const struct entry *e)
{
    for (unsigned k = 0; k < 2; k++) {
        struct entry out = *e;
        out.ident = oracle_born(w, n);
        out.order = order_of_child(e->order, k);
        emit(w, n, out);
    }
}

static void emit_final(struct world *w, uint32_t n)
{
    uint32_t pe = info(w, n)->pe;
    for (unsigned key = 0; key < KEYS; key++) {
        bool mine = w->owner[pe * KEYS + key] == n && w->nodes[n].state[key] > 0;
        if (mine && (w->nodes[n].final_keys >> key & 1) == 0) {
            w->nodes[n].final_keys |= (uint8_t)(1u << key);
            oracle_final(w, n, key);
            emit(w, n,
                 (struct entry){.key = (uint8_t)key, .source = 255, .ident = oracle_born(w, n)});
        }
    }
}

static void pass_end(struct world *w, const uint32_t *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        push(w, list[i], (struct entry){.kind = ITEM_END});
    }
}

/* ---------------------------------------------------------------- waiting */

static bool awaits_state(const struct world *w, uint32_t n)
{
    const struct node *x = &w->nodes[n];
    return (w->off & OFF_GATE) == 0 && x->cut && (x->await_keys != 0 || x->await_other);
}

static bool gated(const struct world *w, uint32_t n) /* may take no input at all */
{
    const struct node *x = &w->nodes[n];
    if (awaits_state(w, n) && x->await_other) {
        return true;
    }
    if (!info(w, n)->token || (w->off & OFF_TOKEN) != 0) {
        return false;
    }
    for (uint32_t i = 0; x->cut && i < w->im->node_count; i++) { /* R11 */
        const struct inode *o = info(w, i);
        if (o->pe == info(w, n)->pe && o->member && o->there[SIDE_V] && !w->nodes[i].cut) {
            return true;
        }
    }
    return false;
}

/* Whether what `n` emits now has room, also behind the calls. */
static bool has_room(const struct world *w, uint32_t n)
{
    const struct iwiring *out = &info(w, n)->side[side_of(w, n)];
    if ((w->off & OFF_POOL) != 0 && w->queued >= w->k.pool) {
        return false;
    }
    for (uint32_t i = 0; i < out->stream_count; i++) {
        for (uint32_t k = 0; k < out->streams[i].count; k++) {
            uint32_t c = out->streams[i].channels[k], to = w->im->channels[c].to;
            if (!w->im->channels[c].fused) {
                if (w->chans[c].near.count >= w->k.capacity) {
                    return false;
                }
                continue;
            }
            /* a chain runs when all of its members have come; one whose state is on its way cannot
             * be called */
            bool there = !w->im->channels[c].new_side || w->nodes[to].cut;
            if (!there || gated(w, to) || awaits_state(w, to) || !has_room(w, to)) {
                return false;
            }
        }
    }
    return true;
}

bool node_is_here(const struct world *w, uint32_t n)
{
    const struct member_worker *at = &w->workers[info(w, n)->worker];
    return !w->nodes[n].retired && (info(w, n)->there[SIDE_V] || at->gone != 0);
}

static bool may_take(struct world *w, uint32_t n, uint32_t c, uint32_t input)
{
    struct queue *q = receiving(w, c);
    int side = side_of(w, n);
    struct align *a = &w->nodes[n].align[side];
    if (q->count == 0) {
        return false;
    }
    const struct entry *e = &q->slots[q->first];
    bool blocked = align_blocks(a, input);
    if (blocked && (w->off & OFF_MIDDLE) != 0 && a->kind == ITEM_MARKER_SWITCH) {
        blocked = false;
    }
    if ((w->off & OFF_VOID) != 0 && a->active && a->epoch != e->epoch &&
        (e->kind == ITEM_MARKER_SWITCH || e->kind == ITEM_CLOSE ||
         e->kind == ITEM_MARKER_CHECKPOINT)) {
        blocked = true; /* without R17 another epoch waits for this one */
    }
    if (blocked) {
        return false;
    }
    bool keyed = kind_of(w, n) == KIND_KEYED || kind_of(w, n) == KIND_FINAL;
    return !keyed || e->kind != ITEM_BATCH || !awaits_state(w, n) ||
           (w->nodes[n].await_keys >> e->key & 1) == 0; /* R10 */
}

/* ---------------------------------------------------------------- taking */

static void process(struct world *w, uint32_t n, const struct entry *e)
{
    uint32_t pe = info(w, n)->pe;
    oracle_processed(w, n, e);
    switch (kind_of(w, n)) {
    case KIND_KEYED:
    case KIND_FINAL:
        w->nodes[n].state[e->key]++;
        if (w->nodes[n].state[e->key] != w->truth[pe * KEYS + e->key]) {
            violate(w, V_STATE, n);
        }
        if (kind_of(w, n) == KIND_KEYED) {
            emit(w, n, *e);
        }
        break;
    case KIND_ONE:
        emit(w, n, *e);
        break;
    case KIND_MANY:
        emit_many(w, n, e);
        break;
    case KIND_SOURCE:
    case KIND_SINK:
        break;
    }
}

static void export_groups(struct world *w, uint32_t n);

static void take_marker(struct world *w, uint32_t n, uint32_t input, const struct entry *e)
{
    struct node *x = &w->nodes[n];
    struct align *a = &x->align[side_of(w, n)];
    enum item_kind kind = e->kind == ITEM_CLOSE ? ITEM_MARKER_SWITCH : (enum item_kind)e->kind;
    switch (kind == ITEM_MARKER_SWITCH
                ? align_switch(a, input, e->epoch, x->cut ? NULL : info(w, n)->awaited)
                : align_marker(a, input, kind, e->epoch)) {
    case ALIGN_COMPLETE:
        if (kind == ITEM_MARKER_SWITCH) {
            cut(w, n);
            break;
        }
        const struct iwiring *out = &info(w, n)->side[side_of(w, n)];
        for (uint32_t i = 0; i < out->stream_count; i++) {
            for (uint32_t k = 0; k < out->streams[i].count; k++) {
                push(w, out->streams[i].channels[k],
                     (struct entry){.kind = ITEM_MARKER_CHECKPOINT, .epoch = e->epoch});
            }
        }
        break;
    case ALIGN_WAIT:
        if (kind == ITEM_MARKER_SWITCH && (w->off & OFF_LATE_EXPORT) != 0) {
            export_groups(w, n);
        }
        break;
    case ALIGN_CONFLICT:
        violate(w, V_CONFLICT, n);
        break;
    case ALIGN_DROP:
        break;
    }
}

static void take(struct world *w, uint32_t c, const struct entry *e)
{
    struct chan *ch = &w->chans[c];
    uint32_t n = w->im->channels[c].to;
    uint32_t input = w->im->channels[c].input[side_of(w, n)];
    TRACE(w, "p%u[%u]%s takes %s %u (tuple %u, key %u) from channel %u", info(w, n)->pe,
          info(w, n)->index, w->nodes[n].cut ? "'" : "",
          e->kind == ITEM_BATCH   ? "tuple"
          : e->kind == ITEM_END   ? "end"
          : e->kind == ITEM_CLOSE ? "close"
                                  : "marker",
          e->number, e->ident, e->key, c);
    if (e->kind == ITEM_BATCH ? e->number != ch->received + 1 : e->number != ch->received) {
        violate(w, V_SEQUENCE, n);
    }
    if (e->kind == ITEM_BATCH) {
        ch->received++;
        if (w->nodes[n].finished || ch->ended) {
            violate(w, V_AFTER_END, n);
        }
        process(w, n, e);
    } else if (e->kind == ITEM_END) {
        ch->ended = true;
    } else {
        take_marker(w, n, input, e);
    }
}

/* ---------------------------------------------------------------- the cut */

static void export_one(struct world *w, uint32_t n, uint32_t m)
{
    const struct imove *move = &w->im->moves[m];
    struct node *x = &w->nodes[n];
    struct transfer *t = &w->transfers[w->transfer_count++];
    *t = (struct transfer){.move = m, .position = x->position, .total = x->total};
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned g = w->k.groups[key];
        if ((move->groups[g / 8] >> (g % 8) & 1) != 0) {
            t->keys |= (uint8_t)(1u << key);
            t->state[key] = x->state[key];
            x->state[key] = 0;
            w->owner[info(w, n)->pe * KEYS + key] = NONE;
        }
    }
    if ((w->off & OFF_FINAL) == 0) {
        t->final_keys = x->final_keys & t->keys;
    }
}

static void export_groups(struct world *w, uint32_t n)
{
    for (uint32_t m = 0; !w->nodes[n].exported && m < w->im->move_count; m++) {
        if (w->im->moves[m].from == n) {
            export_one(w, n, m);
        }
    }
    w->nodes[n].exported = true;
}

bool transfer_step(struct world *w)
{
    if (w->transfer_count == 0) {
        return false;
    }
    uint32_t at = draw(w, w->transfer_count);
    struct transfer t = w->transfers[at];
    w->transfers[at] = w->transfers[--w->transfer_count];
    const struct imove *move = &w->im->moves[t.move];
    struct node *x = &w->nodes[move->to];
    uint32_t pe = info(w, move->to)->pe;
    for (unsigned key = 0; key < KEYS; key++) {
        if ((t.keys >> key & 1) != 0) {
            x->state[key] += t.state[key];
            w->owner[pe * KEYS + key] = move->to;
        }
    }
    x->await_keys &= (uint8_t)~t.keys;
    x->final_keys |= t.final_keys;
    if (move->other) {
        x->await_other = false;
        x->position = t.position;
        x->total = t.total;
    }
    TRACE(w, "p%u[%u] takes in state", pe, info(w, move->to)->index);
    return true;
}

static void cut(struct world *w, uint32_t n) /* R7 */
{
    const struct inode *i = info(w, n);
    struct node *x = &w->nodes[n];
    TRACE(w, "p%u[%u] cuts", i->pe, i->index);
    struct entry marker = {.kind = ITEM_MARKER_SWITCH, .epoch = EPOCH_SWITCH};
    if (x->cut || w->workers[i->worker].held == 0) {
        violate(w, V_BOTH, n);
    }
    for (uint32_t k = 0; k < i->mark_count; k++) {
        push(w, i->marks[k], marker);
    }
    marker.kind = ITEM_CLOSE;
    for (uint32_t k = 0; k < i->close_count; k++) {
        push(w, i->closes[k], marker);
    }
    export_groups(w, n);
    x->cut = true;
    w->cut_any = true;
    if (i->role == ROLE_OLD) {
        x->retired = true;
    } else if (x->finished && (w->off & OFF_NEW_END) == 0) {
        pass_end(w, i->opens, i->open_count);
    }
}

void node_void(struct world *w, uint32_t n, uint64_t epoch)
{
    align_void(&w->nodes[n].align[side_of(w, n)], epoch);
    w->nodes[n].inject = false;
}

/* ---------------------------------------------------------------- ending */

static bool all_ended(const struct world *w, uint32_t n)
{
    const struct iwiring *in = &info(w, n)->side[side_of(w, n)];
    for (uint32_t k = 0; k < in->input_count; k++) {
        if (!w->chans[in->inputs[k]].ended) {
            return false;
        }
    }
    return kind_of(w, n) != KIND_SOURCE || w->nodes[n].position == w->nodes[n].total;
}

static bool finish(struct world *w, uint32_t n)
{
    struct node *x = &w->nodes[n];
    if (x->finished || awaits_state(w, n) || !all_ended(w, n) || control_defers(w, n)) {
        return false;
    }
    TRACE(w, "p%u[%u] ends", info(w, n)->pe, info(w, n)->index);
    if (kind_of(w, n) == KIND_FINAL) {
        emit_final(w, n);
    }
    x->finished = true;
    const struct iwiring *out = &info(w, n)->side[side_of(w, n)];
    for (uint32_t i = 0; i < out->stream_count; i++) {
        pass_end(w, out->streams[i].channels, out->streams[i].count);
    }
    return true;
}

/* ---------------------------------------------------------------- a step */

static bool produce(struct world *w, uint32_t n)
{
    struct node *x = &w->nodes[n];
    if (x->position == x->total) {
        return false;
    }
    struct entry e = {.source = (uint8_t)info(w, n)->source, .ident = oracle_born(w, n)};
    e.key = (uint8_t)draw(w, KEYS);
    e.order = order_of_source(++x->position);
    TRACE(w, "p%u[%u]%s produces tuple %u, key %u", info(w, n)->pe, info(w, n)->index,
          x->cut ? "'" : "", e.ident, e.key);
    emit(w, n, e);
    return true;
}

static bool inject(struct world *w, uint32_t n)
{
    if (!w->nodes[n].inject) {
        return false;
    }
    w->nodes[n].inject = false;
    const struct iwiring *out = &info(w, n)->side[side_of(w, n)];
    for (uint32_t i = 0; i < out->stream_count; i++) {
        for (uint32_t k = 0; k < out->streams[i].count; k++) {
            push(w, out->streams[i].channels[k],
                 (struct entry){.kind = ITEM_MARKER_CHECKPOINT, .epoch = EPOCH_CHECKPOINT});
        }
    }
    return true;
}

static bool take_from(struct world *w, uint32_t n, int side)
{
    const struct iwiring *in = &info(w, n)->side[side];
    uint32_t first = in->input_count > 0 ? draw(w, in->input_count) : 0;
    for (uint32_t k = 0; k < in->input_count; k++) {
        uint32_t input = (first + k) % in->input_count, c = in->inputs[input];
        if (w->im->channels[c].fused) {
            continue;
        }
        bool early = side != side_of(w, n); /* R9 switched off */
        struct queue *q = receiving(w, c);
        if (early ? q->count > 0 && w->im->channels[c].new_side &&
                        q->slots[q->first].kind == ITEM_BATCH
                  : may_take(w, n, c, input)) {
            struct entry e = queue_pop(w, q);
            take(w, c, &e);
            return true;
        }
    }
    return false;
}

bool node_step(struct world *w, uint32_t n)
{
    const struct inode *i = info(w, n);
    struct node *x = &w->nodes[n];
    if (!node_is_here(w, n)) {
        return false;
    }
    bool stub = x->finished && (w->off & OFF_STUB) != 0;
    if (i->head && !x->cut && w->workers[i->worker].gone != 0 && !stub &&
        (w->hurry || draw(w, 2) == 0)) {
        cut(w, n); /* R8 */
        return true;
    }
    if (gated(w, n) || !has_room(w, n)) {
        return false;
    }
    if (kind_of(w, n) == KIND_SOURCE && (inject(w, n) || (!x->finished && produce(w, n)))) {
        return true;
    }
    bool early = (w->off & OFF_NEW) != 0 && !x->cut && i->there[SIDE_NEW];
    if (early && draw(w, 2) == 0 && take_from(w, n, SIDE_NEW)) {
        return true;
    }
    return take_from(w, n, side_of(w, n)) || finish(w, n);
}
