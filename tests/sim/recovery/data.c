/* tests/sim/recovery/data.c - instances: taking, routing, cutting, moving, freezing.
 *
 * As tests/sim/data.c, which says more, but of a life in a process; and what a marker of a
 * checkpoint completes is frozen here (snap.c). */
#include "tests/sim/order.h"
#include "tests/sim/recovery/rs.h"

#include <string.h>

static void cut(struct rs *w, uint32_t p, uint32_t n);

static const struct inode *info(const struct rs *w, uint32_t n)
{
    return &w->im->nodes[n];
}

/* ---------------------------------------------------------------- emitting */

static void emit(struct rs *w, uint32_t p, uint32_t n, struct rs_item e)
{
    const struct iwiring *out = &info(w, n)->side[rs_side(rs_inst(w, p, n))];
    e.kind = ITEM_BATCH;
    for (uint32_t i = 0; i < out->stream_count; i++) {
        const struct istream *s = &out->streams[i];
        uint32_t to = 0;
        if (s->route == TO_KEY) {
            uint32_t group = s->by_seq ? (order_hash(e.order) + w->k.groups[0]) % KEY_GROUPS
                                       : w->k.groups[e.key];
            to = s->owners[group];
        } else if (s->route == TO_ANY) {
            to = rs_draw(w, s->count);
        }
        for (uint32_t k = 0; k < s->count; k++) {
            if (s->route == TO_ALL || k == to) {
                rs_push(w, p, s->channels[k], e);
            }
        }
    }
}

static void emit_marker(struct rs *w, uint32_t p, uint32_t n, uint32_t epoch)
{
    const struct iwiring *out = &info(w, n)->side[rs_side(rs_inst(w, p, n))];
    for (uint32_t i = 0; i < out->stream_count; i++) {
        for (uint32_t k = 0; k < out->streams[i].count; k++) {
            rs_push(w, p, out->streams[i].channels[k],
                    (struct rs_item){.kind = ITEM_MARKER_CHECKPOINT, .epoch = epoch});
        }
    }
}

static void emit_many(struct rs *w, uint32_t p, uint32_t n, const struct rs_item *e)
{
    for (unsigned k = 0; k < 2; k++) {
        struct rs_item out = *e;
        out.order = order_of_child(e->order, k);
        out.ident = rs_born_child(w, e->ident, info(w, n)->pe, k, out.order);
        out.stamp = rs_mix(e->stamp, k);
        emit(w, p, n, out);
    }
}

static bool owns(const struct rs *w, uint32_t n, int side, unsigned key)
{
    const struct inode *i = info(w, n);
    return w->im->pes[i->pe].owners[side] != NULL &&
           w->im->pes[i->pe].owners[side][w->k.groups[key]] == i->index;
}

static void emit_final(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    for (unsigned key = 0; key < KEYS; key++) {
        bool mine = owns(w, n, rs_side(x), key) && x->state[key] > 0;
        if (mine && (x->final_keys >> key & 1) == 0) {
            x->final_keys |= (uint8_t)(1u << key);
            struct rs_item e = {.key = (uint8_t)key,
                                .source = 255,
                                .ident = rs_born_final(w, info(w, n)->pe, key),
                                .stamp = rs_mix(n, x->state[key])};
            rs_note(w, p, n, e.ident, e.stamp);
            emit(w, p, n, e);
        }
    }
}

void rs_pass_end(struct rs *w, uint32_t p, const uint32_t *channels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        rs_push(w, p, channels[i], (struct rs_item){.kind = ITEM_END});
    }
}

/* ---------------------------------------------------------------- waiting */

static bool awaits_state(const struct rs_inst *x)
{
    return x->cut && (x->await_keys != 0 || x->await_other);
}

/* R11: has every old life of the PE cut, wherever it runs in this generation? */
static bool token_missing(struct rs *w, uint32_t p, uint32_t n)
{
    for (uint32_t i = 0; rs_inst(w, p, n)->cut && i < w->im->node_count; i++) {
        const struct inode *o = info(w, i);
        if (o->pe != info(w, n)->pe || !o->member || !o->there[SIDE_V]) {
            continue;
        }
        for (uint32_t q = 0; q < RS_PROCS; q++) {
            struct rs_inst *x = rs_inst(w, q, i);
            if (w->procs[q].alive && w->procs[q].gen == w->procs[p].gen && x->there && !x->cut) {
                return true;
            }
        }
    }
    return false;
}

static bool gated(struct rs *w, uint32_t p, uint32_t n) /* may take no input at all */
{
    struct rs_inst *x = rs_inst(w, p, n);
    return (awaits_state(x) && x->await_other) || (info(w, n)->token && token_missing(w, p, n));
}

static bool is_there(struct rs *w, uint32_t p, uint32_t n) /* may be called */
{
    struct rs_inst *x = rs_inst(w, p, n);
    return x->there && x->started && !x->retired;
}

static bool has_room(struct rs *w, uint32_t p, uint32_t n)
{
    const struct iwiring *out = &info(w, n)->side[rs_side(rs_inst(w, p, n))];
    for (uint32_t i = 0; i < out->stream_count; i++) {
        for (uint32_t k = 0; k < out->streams[i].count; k++) {
            uint32_t c = out->streams[i].channels[k], to = w->im->channels[c].to;
            if (!w->im->channels[c].fused) {
                if (!rs_has_slot(w, p, c)) {
                    return false;
                }
                continue;
            }
            bool come =
                is_there(w, p, to) && (!w->im->channels[c].new_side || rs_inst(w, p, to)->cut);
            if (!come || gated(w, p, to) || awaits_state(rs_inst(w, p, to)) ||
                !has_room(w, p, to)) {
                return false;
            }
        }
    }
    return true;
}

static bool may_take(struct rs *w, uint32_t p, uint32_t n, uint32_t c, uint32_t input)
{
    struct rs_queue *q = &rs_in(w, p, c)->far;
    struct rs_inst *x = rs_inst(w, p, n);
    if (q->count == 0) {
        return false;
    }
    const struct rs_item *e = &q->slots[q->first];
    if (align_blocks(&x->align[rs_side(x)], input)) {
        return false;
    }
    bool keyed = rs_kind_of(w, n) == KIND_KEYED || rs_kind_of(w, n) == KIND_FINAL;
    return !keyed || e->kind != ITEM_BATCH || !awaits_state(x) ||
           (x->await_keys >> e->key & 1) == 0; /* R10 */
}

/* ---------------------------------------------------------------- taking */

static void process(struct rs *w, uint32_t p, uint32_t n, struct rs_item e)
{
    struct rs_inst *x = rs_inst(w, p, n);
    e.stamp = rs_mix(rs_mix(e.stamp, n), x->done.count);
    rs_note(w, p, n, e.ident, e.stamp);
    switch (rs_kind_of(w, n)) {
    case KIND_KEYED:
    case KIND_FINAL:
        if ((x->final_keys >> e.key & 1) != 0) {
            rs_violate(w, WRONG_AFTER_END); /* it has said its last of that key */
        }
        x->state[e.key]++;
        if (rs_kind_of(w, n) == KIND_KEYED) {
            emit(w, p, n, e);
        }
        break;
    case KIND_ONE:
        emit(w, p, n, e);
        break;
    case KIND_MANY:
        emit_many(w, p, n, &e);
        break;
    case KIND_SOURCE:
    case KIND_SINK:
        break;
    }
}

static void export_groups(struct rs *w, uint32_t p, uint32_t n);

static void take_marker(struct rs *w, uint32_t p, uint32_t n, uint32_t input,
                        const struct rs_item *e)
{
    struct rs_inst *x = rs_inst(w, p, n);
    struct align *a = &x->align[rs_side(x)];
    enum item_kind kind = e->kind == ITEM_CLOSE ? ITEM_MARKER_SWITCH : (enum item_kind)e->kind;
    switch (kind == ITEM_MARKER_SWITCH
                ? align_switch(a, input, e->epoch, x->cut ? NULL : info(w, n)->awaited)
                : align_marker(a, input, kind, e->epoch)) {
    case ALIGN_COMPLETE:
        if (kind == ITEM_MARKER_SWITCH) {
            cut(w, p, n);
            break;
        }
        rs_freeze(w, p, n, e->epoch);
        emit_marker(w, p, n, e->epoch);
        break;
    case ALIGN_CONFLICT:
        rs_violate(w, WRONG_CONFLICT);
        break;
    case ALIGN_WAIT:
    case ALIGN_DROP:
        break;
    }
}

void rs_take(struct rs *w, uint32_t p, uint32_t c, const struct rs_item *e)
{
    struct rs_in *in = rs_in(w, p, c);
    uint32_t n = w->im->channels[c].to;
    struct rs_inst *x = rs_inst(w, p, n);
    uint32_t input = w->im->channels[c].input[rs_side(x)];
    RS_TRACE(w, "%u: p%u[%u]%s takes %s %u (tuple %u, key %u, epoch %u) from channel %u", p,
             info(w, n)->pe, info(w, n)->index, x->cut ? "'" : "",
             e->kind == ITEM_BATCH   ? "tuple"
             : e->kind == ITEM_END   ? "end"
             : e->kind == ITEM_CLOSE ? "close"
                                     : "marker",
             e->number, e->ident, e->key, e->epoch, c);
    bool again = rs_without(w, NO_DESCENDANTS) && e->number <= in->received;
    if (again && e->kind == ITEM_BATCH) {
        return; /* "it has that already": by its number */
    }
    if (!again &&
        (e->kind == ITEM_BATCH ? e->number != in->received + 1 : e->number != in->received)) {
        rs_violate(w, WRONG_SEQUENCE);
    }
    if (e->kind == ITEM_BATCH) {
        in->received++;
        in->hash = rs_mix(in->hash, rs_mix(e->ident, e->stamp));
        if (x->finished || in->ended) {
            rs_violate(w, WRONG_AFTER_END);
        }
        process(w, p, n, *e);
        return;
    }
    if (e->stamp != in->hash && (!again || e->number == in->received)) {
        rs_violate(w, WRONG_CHANNEL);
    }
    if (e->kind == ITEM_END) {
        in->ended = true;
    } else {
        take_marker(w, p, n, input, e);
    }
}

/* ---------------------------------------------------------------- the cut */

static void export_one(struct rs *w, uint32_t p, uint32_t n, uint32_t m)
{
    const struct imove *move = &w->im->moves[m];
    const struct rs_plan *plan = rs_plan(w, w->chief.d.next_plan);
    struct rs_inst *x = rs_inst(w, p, n);
    uint8_t worker = plan->place[w->home[move->to]];
    struct rs_transfer t = {.move = m, .from = p, .to = NONE, .gen = w->procs[p].gen};
    for (uint32_t q = 0; q < RS_PROCS; q++) { /* where it was prepared */
        if (w->procs[q].alive && w->procs[q].worker == worker && rs_inst(w, q, move->to)->there &&
            rs_inst(w, q, move->to)->id == plan->inst[move->to]) {
            t.to = q;
        }
    }
    t.position = x->position;
    t.total = x->total;
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned g = w->k.groups[key];
        if ((move->groups[g / 8] >> (g % 8) & 1) != 0) {
            t.keys |= (uint8_t)(1u << key);
            t.state[key] = x->state[key];
            x->state[key] = 0;
        }
    }
    t.final_keys = x->final_keys & t.keys;
    if (t.to != NONE) {
        w->transfers[w->transfer_count++] = t;
    }
}

static void export_groups(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    for (uint32_t m = 0; !x->exported && m < w->im->move_count; m++) {
        if (w->im->moves[m].from == n) {
            export_one(w, p, n, m);
        }
    }
    x->exported = true;
}

bool rs_transfer_step(struct rs *w)
{
    if (w->transfer_count == 0) {
        return false;
    }
    uint32_t at = rs_draw(w, w->transfer_count);
    struct rs_transfer t = w->transfers[at];
    w->transfers[at] = w->transfers[--w->transfer_count];
    const struct imove *move = &w->im->moves[t.move];
    struct rs_inst *x = rs_inst(w, t.to, move->to);
    if (!w->procs[t.to].alive || w->procs[t.to].gen != t.gen || !x->there ||
        (!w->procs[t.from].alive && rs_draw(w, 2) == 0)) {
        return true; /* of what is no more; or it died with who had it */
    }
    for (unsigned key = 0; key < KEYS; key++) {
        x->state[key] += (t.keys >> key & 1) != 0 ? t.state[key] : 0;
    }
    x->await_keys &= (uint8_t)~t.keys;
    x->final_keys |= t.final_keys;
    if (move->other) {
        x->await_other = false;
        x->position = t.position;
        x->total = t.total;
    }
    RS_TRACE(w, "%u: p%u[%u] takes in state", t.to, info(w, move->to)->pe,
             info(w, move->to)->index);
    return true;
}

static void cut(struct rs *w, uint32_t p, uint32_t n) /* R7 */
{
    const struct inode *i = info(w, n);
    struct rs_inst *x = rs_inst(w, p, n);
    struct rs_proc *at = &w->procs[p];
    RS_TRACE(w, "%u: p%u[%u] cuts", p, i->pe, i->index);
    if (x->cut || at->held == 0) {
        rs_violate(w, WRONG_BOTH);
        return;
    }
    struct rs_item marker = {.kind = ITEM_MARKER_SWITCH, .epoch = at->epoch};
    for (uint32_t k = 0; k < i->mark_count; k++) {
        rs_push(w, p, i->marks[k], marker);
    }
    marker.kind = ITEM_CLOSE;
    for (uint32_t k = 0; k < i->close_count; k++) {
        rs_push(w, p, i->closes[k], marker);
    }
    export_groups(w, p, n);
    x->cut = true;
    if (i->role == ROLE_OLD) {
        x->retired = true;
        if (at->gen == w->chief.d.gen) {
            rs_history_copy(&w->frozen[n], &x->done, x->done.count);
        }
        if (rs_without(w, NO_LATE_COMMIT) && w->commits[n]) {
            rs_commit_history(w, n, &x->done, x->done.count);
        }
    } else if (x->finished) {
        rs_pass_end(w, p, i->opens, i->open_count);
    }
}

/* ---------------------------------------------------------------- ending */

static bool all_ended(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    const struct iwiring *in = &info(w, n)->side[rs_side(x)];
    for (uint32_t k = 0; k < in->input_count; k++) {
        if (!rs_in(w, p, in->inputs[k])->ended) {
            return false;
        }
    }
    return rs_kind_of(w, n) != KIND_SOURCE || x->position == x->total;
}

static bool finish(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    if (x->finished || awaits_state(x) || !all_ended(w, p, n) || rs_defers(w, p, n)) {
        return false;
    }
    RS_TRACE(w, "%u: p%u[%u] ends", p, info(w, n)->pe, info(w, n)->index);
    if (rs_kind_of(w, n) == KIND_FINAL) {
        emit_final(w, p, n);
    }
    x->finished = true;
    const struct iwiring *out = &info(w, n)->side[rs_side(x)];
    for (uint32_t i = 0; i < out->stream_count; i++) {
        rs_pass_end(w, p, out->streams[i].channels, out->streams[i].count);
    }
    return true;
}

/* ---------------------------------------------------------------- a step */

static bool produce(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    if (x->finished || x->position == x->total) {
        return false;
    }
    uint32_t source = info(w, n)->source;
    uint32_t at = x->position++; /* what stands there is the same in every replay */
    struct rs_item e = {.source = (uint8_t)source,
                        .key =
                            (uint8_t)(rs_mix(source * 64 + w->k.groups[0], at) >> 8 & (KEYS - 1)),
                        .order = order_of_source(at + 1),
                        .stamp = rs_mix(n, at)};
    e.ident = rs_born_source(w, n, at, e.key);
    RS_TRACE(w, "%u: p%u[%u]%s produces tuple %u, key %u", p, info(w, n)->pe, info(w, n)->index,
             x->cut ? "'" : "", e.ident, e.key);
    rs_note(w, p, n, e.ident, e.stamp);
    emit(w, p, n, e);
    return true;
}

static bool inject(struct rs *w, uint32_t p, uint32_t n)
{
    struct rs_inst *x = rs_inst(w, p, n);
    uint32_t epoch = x->inject;
    x->inject = 0;
    if (epoch <= x->injected) {
        return false;
    }
    x->injected = epoch;
    RS_TRACE(w, "%u: p%u[%u] begins epoch %u", p, info(w, n)->pe, info(w, n)->index, epoch);
    rs_freeze(w, p, n, epoch);
    emit_marker(w, p, n, epoch);
    return true;
}

static bool take_any(struct rs *w, uint32_t p, uint32_t n)
{
    const struct iwiring *in = &info(w, n)->side[rs_side(rs_inst(w, p, n))];
    uint32_t first = in->input_count > 0 ? rs_draw(w, in->input_count) : 0;
    for (uint32_t k = 0; k < in->input_count; k++) {
        uint32_t input = (first + k) % in->input_count, c = in->inputs[input];
        if (!w->im->channels[c].fused && may_take(w, p, n, c, input)) {
            struct rs_item e = rs_pop(&rs_in(w, p, c)->far);
            rs_take(w, p, c, &e);
            return true;
        }
    }
    return false;
}

static bool step(struct rs *w, uint32_t p, uint32_t n)
{
    const struct inode *i = info(w, n);
    struct rs_inst *x = rs_inst(w, p, n);
    if (!is_there(w, p, n)) {
        return false;
    }
    if (i->head && !x->cut && w->procs[p].gone != 0 && (w->hurry || rs_draw(w, 2) == 0)) {
        cut(w, p, n); /* R8 */
        return true;
    }
    if (gated(w, p, n) || !has_room(w, p, n)) {
        return false;
    }
    if (rs_kind_of(w, n) == KIND_SOURCE &&
        ((x->inject != 0 && inject(w, p, n)) || produce(w, p, n))) {
        return true;
    }
    return take_any(w, p, n) || finish(w, p, n);
}

bool rs_node_step(struct rs *w, uint32_t n)
{
    unsigned left = w->holders[n];
    while (left != 0) { /* any of those that have a life of it */
        uint32_t skip = rs_draw(w, (uint32_t)__builtin_popcount(left));
        unsigned bits = left;
        while (skip-- > 0) {
            bits &= bits - 1;
        }
        uint32_t p = (uint32_t)__builtin_ctz(bits);
        if (step(w, p, n)) {
            return true;
        }
        left &= ~(1u << p);
    }
    return false;
}
