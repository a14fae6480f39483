/* tests/sim/recovery/snap.c - checkpoints: what is frozen, durable, restored, committed.
 *
 * A slot holds one checkpoint.  What an instance freezes at the marker is durable, and
 * acknowledged, some steps later; a process that dies between takes it along.  What is committed is
 * kept per node, as its outside would show it, and may only ever grow (I8). */
#include "tests/sim/recovery/rs.h"

#include "core/mem.h"

#include <string.h>

void rs_history_copy(struct rs_history *to, const struct rs_history *from, uint32_t count)
{
    if (to->capacity < count) {
        to->capacity = count + 32;
        to->items = mem_resize(to->items, to->capacity, sizeof *to->items);
    }
    if (count > 0) {
        memmove(to->items, from->items, count * sizeof *to->items);
    }
    to->count = count;
}

int rs_slot_of(const struct rs *w, uint32_t epoch)
{
    for (int s = 0; s < RS_SLOTS && epoch != 0; s++) {
        if (w->slots[s].epoch == epoch) {
            return s;
        }
    }
    return -1;
}

/* ---------------------------------------------------------------- freezing, saving */

static void freeze_channels(struct rs *w, uint32_t p, uint32_t n, struct rs_slot *s)
{
    const struct iwiring *x = &w->im->nodes[n].side[rs_side(rs_inst(w, p, n))];
    for (uint32_t k = 0; k < x->input_count; k++) {
        const struct rs_in *in = rs_in(w, p, x->inputs[k]);
        s->received[x->inputs[k]] = in->received;
        s->received_hash[x->inputs[k]] = in->hash;
        s->ended[x->inputs[k]] = in->ended;
    }
    for (uint32_t i = 0; i < x->stream_count; i++) {
        for (uint32_t k = 0; k < x->streams[i].count; k++) {
            uint32_t c = x->streams[i].channels[k];
            s->sent[c] = rs_out(w, p, c)->sent;
            s->sent_hash[c] = rs_out(w, p, c)->hash;
        }
    }
}

static void acknowledge(struct rs *w, uint32_t p, uint32_t n, uint32_t epoch)
{
    rs_send(w, (struct rs_message){.kind = TELL_ACK,
                                   .proc = (uint8_t)p,
                                   .epoch = epoch,
                                   .inst = rs_without(w, NO_ACK_FENCE)
                                               ? rs_plan(w, w->chief.d.plan)->inst[n]
                                               : rs_inst(w, p, n)->id,
                                   .gen = w->procs[p].gen});
}

void rs_freeze(struct rs *w, uint32_t p, uint32_t n, uint32_t epoch)
{
    int at = rs_slot_of(w, epoch);
    struct rs_inst *x = rs_inst(w, p, n);
    if (at < 0) {
        return; /* given up long ago */
    }
    struct rs_slot *s = &w->slots[at];
    struct rs_saved *to = &s->nodes[n];
    to->frozen = true;
    to->durable = false;
    to->finished = x->finished;
    to->final_keys = x->final_keys;
    to->position = x->position;
    to->total = x->total;
    to->on = (uint8_t)w->procs[p].worker;
    memcpy(to->state, x->state, sizeof to->state);
    rs_history_copy(&to->done, &x->done, x->done.count);
    freeze_channels(w, p, n, s);
    x->mark_epoch[at] = epoch;
    x->mark_count[at] = x->done.count;
    x->saving |= (uint8_t)(1u << at);
    if (rs_without(w, NO_DURABLE)) {
        acknowledge(w, p, n, epoch);
    }
}

bool rs_save_step(struct rs *w)
{
    uint32_t nodes = w->im->node_count, first = rs_draw(w, nodes);
    for (uint32_t k = 0; k < nodes; k++) {
        uint32_t n = (first + k) % nodes;
        unsigned holders = w->holders[n];
        for (uint32_t p = 0; holders != 0; p++, holders >>= 1) {
            struct rs_inst *x = rs_inst(w, p, n);
            if ((holders & 1) == 0 || x->saving == 0) {
                continue;
            }
            int at = __builtin_ctz(x->saving);
            x->saving &= (uint8_t)(x->saving - 1);
            if (w->slots[at].epoch == x->mark_epoch[at]) {
                w->slots[at].nodes[n].durable = true;
                if (!rs_without(w, NO_DURABLE)) {
                    acknowledge(w, p, n, x->mark_epoch[at]);
                }
            }
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- committing */

void rs_commit_history(struct rs *w, uint32_t n, const struct rs_history *h, uint32_t count)
{
    struct rs_history *out = &w->outside[n];
    uint32_t old = out->count;
    bool grows = count >= old;
    bool same = old == 0 || (grows && h->items[old - 1].chain == out->items[old - 1].chain);
    if (grows && same) {
        rs_history_copy(out, h, count);
    } else if (!same && grows) {
        rs_violate(w, WRONG_COMMIT); /* it holds what no history has */
    }
}

void rs_commit(struct rs *w, uint32_t p, uint32_t epoch)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        struct rs_inst *x = rs_inst(w, p, n);
        if (!x->there || !w->commits[n]) {
            continue;
        }
        int at = rs_slot_of(w, epoch);
        bool covered = at >= 0 && x->mark_epoch[at] == epoch;
        if (rs_without(w, NO_OWN_EPOCH)) {
            rs_commit_history(w, n, &x->done, x->done.count);
        } else if (x->retired) { /* COMPLETE of the first after its cut */
            rs_commit_history(w, n, &x->done, epoch > w->procs[p].epoch ? x->done.count : 0);
        } else if (covered) {
            rs_commit_history(w, n, &x->done, x->mark_count[at]);
        }
    }
}

/* ---------------------------------------------------------------- restoring */

static uint32_t width(const struct rs *w, uint32_t pe, int side)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        count += w->im->nodes[n].pe == pe && w->im->nodes[n].there[side];
    }
    return count;
}

/* Whose place it takes: the same instance of the same PE in the version that was saved. */
static uint32_t predecessor(const struct rs *w, uint32_t n, int from, int to)
{
    const struct inode *i = &w->im->nodes[n];
    if (i->there[from]) {
        return n;
    }
    for (uint32_t k = 0; k < w->im->node_count; k++) {
        const struct inode *o = &w->im->nodes[k];
        if (o->pe == i->pe && o->index == i->index && o->there[from] &&
            width(w, i->pe, from) == width(w, i->pe, to)) {
            return k;
        }
    }
    return NONE;
}

static void take_groups(struct rs *w, struct rs_inst *x, uint32_t n, const struct rs_slot *s,
                        int side)
{
    const struct inode *i = &w->im->nodes[n];
    for (unsigned key = 0; key < KEYS; key++) {
        if (w->im->pes[i->pe].owners[side][w->k.groups[key]] != i->index) {
            continue;
        }
        for (uint32_t k = 0; k < w->im->node_count; k++) {
            const struct inode *o = &w->im->nodes[k];
            if (o->pe == i->pe && o->there[s->side] &&
                w->im->pes[i->pe].owners[s->side][w->k.groups[key]] == o->index) {
                x->state[key] = s->nodes[k].state[key];
                x->final_keys |= s->nodes[k].final_keys & (uint8_t)(1u << key);
                if (!s->nodes[k].durable) {
                    rs_violate(w, WRONG_ABSENT);
                }
            }
        }
    }
}

static void open_channels(struct rs *w, uint32_t p, uint32_t n, const struct rs_plan *plan,
                          const struct rs_slot *s)
{
    const struct iwiring *x = &w->im->nodes[n].side[plan->side];
    for (uint32_t k = 0; k < x->input_count; k++) {
        uint32_t c = x->inputs[k];
        rs_in_open(w, p, c, plan->chan[c]);
        if (s != NULL && w->im->channels[c].there[s->side]) {
            struct rs_in *in = rs_in(w, p, c);
            in->received = s->received[c];
            in->hash = s->received_hash[c];
        }
    }
    for (uint32_t i = 0; i < x->stream_count; i++) {
        for (uint32_t k = 0; k < x->streams[i].count; k++) {
            uint32_t c = x->streams[i].channels[k];
            rs_out_open(w, p, c, plan->chan[c]);
            if (s != NULL) {
                struct rs_out *o = rs_out(w, p, c);
                o->log_base = s->epoch;
                o->sent = w->im->channels[c].there[s->side] ? s->sent[c] : 0;
                o->hash = w->im->channels[c].there[s->side] ? s->sent_hash[c] : 0;
            }
        }
    }
}

/* Who had ended ends again: the end comes anew over all channels.  What it had said for good at its
 * end it does not say twice. */
static void restore_own(struct rs *w, struct rs_inst *x, uint32_t n, const struct rs_slot *s,
                        uint32_t from)
{
    const struct rs_saved *own = &s->nodes[from];
    if (!own->durable) {
        rs_violate(w, WRONG_ABSENT);
    }
    x->position = own->position;
    x->total = own->total;
    bool keeps = rs_without(w, NO_DISCARD) && w->commits[n] && x->done.count > own->done.count;
    if (from == n && !keeps) { /* else what it has done stays with whose place it takes */
        rs_history_copy(&x->done, &own->done, own->done.count);
    }
}

void rs_restore(struct rs *w, uint32_t p, uint32_t n, const struct rs_plan *plan)
{
    struct rs_inst *x = rs_inst(w, p, n);
    const struct rs_slot *s = plan->slot >= 0 ? &w->slots[plan->slot] : NULL;
    if (rs_without(w, NO_ONE) && s != NULL && rs_draw(w, 3) == 0) {
        for (int k = 0; k < RS_SLOTS; k++) { /* an older one that is still there */
            s = w->slots[k].epoch != 0 && w->slots[k].epoch < s->epoch &&
                        w->slots[k].nodes[n].durable ? &w->slots[k] : s;
        }
    }
    enum kind kind = rs_kind_of(w, n);
    uint32_t from = s != NULL ? predecessor(w, n, s->side, plan->side) : NONE;
    bool keep = rs_without(w, NO_DISCARD) && w->commits[n]; /* what was pending */
    rs_history_copy(&x->done, &w->frozen[n], keep ? w->frozen[n].count : 0);
    x->total = kind == KIND_SOURCE ? w->totals[w->im->nodes[n].source] : 0;
    x->cut = plan->side == SIDE_NEW;
    for (int side = 0; side < SIDES; side++) {
        x->align[side].epoch_floor = rs_without(w, NO_FLOOR) ? 0 : plan->floor;
    }
    x->injected = plan->floor > 0 ? plan->floor - 1 : 0;
    if (from != NONE) {
        restore_own(w, x, n, s, from);
    }
    if (s != NULL && (kind == KIND_KEYED || kind == KIND_FINAL)) {
        take_groups(w, x, n, s, plan->side);
    }
    open_channels(w, p, n, plan, s);
    if (w->commits[n] && s != NULL) {
        rs_commit_history(w, n, &x->done, x->done.count); /* what it covers, again */
    }
    if (w->commits[n] && x->done.count < w->outside[n].count) {
        rs_violate(w, WRONG_COMMIT); /* I8: back behind what was committed */
    }
    w->stats.restored++;
    RS_TRACE(w, "%u: p%u[%u] is restored from epoch %u: %u done, at %u", p, w->im->nodes[n].pe,
             w->im->nodes[n].index, s != NULL ? s->epoch : 0, x->done.count, x->position);
}
