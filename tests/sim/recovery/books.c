/* tests/sim/recovery/books.c - what must be true of every schedule.
 *
 * A tuple has one identity over all its replays: where it stands in its source, and what was made
 * of it by whom.  Each life keeps what it has processed; a recovery cuts that back to the
 * checkpoint.  So what is left at the end is one history, and it must be one that a run without any
 * failure could have had: both ends of every channel agree on it, every tuple is in it as often as
 * the version it belongs to asks for, in order, and never of two versions; and what was committed
 * is that history, no more and no less. */
#include "tests/sim/order.h"
#include "tests/sim/recovery/rs.h"

#include <string.h>

const char *wrong_name(enum wrong v)
{
    static const char *const names[WRONGS] = {"fine",
                                              "sequence",
                                              "channel ends differ",
                                              "mixed",
                                              "state",
                                              "order",
                                              "lost",
                                              "doubled",
                                              "after end",
                                              "two epochs",
                                              "gone unprepared",
                                              "committed",
                                              "not there",
                                              "stuck"};
    return names[v];
}

void rs_violate(struct rs *w, enum wrong v)
{
    if (w->found == NOTHING) {
        w->found = v;
    }
    RS_TRACE(w, "VIOLATION %s", wrong_name(v));
}

/* ---------------------------------------------------------------- identities */

void rs_books_reset(struct rs *w)
{
    const struct image *im = w->im;
    w->ident_count = 0;
    memset(w->born, 0xff, (size_t)im->source_count * RS_TUPLES * sizeof *w->born);
    memset(w->finals, 0xff, (size_t)im->pe_count * KEYS * sizeof *w->finals);
    for (uint32_t n = 0; n < im->node_count; n++) {
        w->frozen[n].count = w->outside[n].count = 0;
    }
}

static uint16_t new_ident(struct rs *w, struct rs_ident about)
{
    if (w->ident_count == RS_IDENTS) {
        w->too_big = true;
        return RS_IDENTS - 1;
    }
    w->idents[w->ident_count] = about;
    memset(w->children + (size_t)w->ident_count * w->im->pe_count, 0xff,
           w->im->pe_count * sizeof *w->children);
    return (uint16_t)w->ident_count++;
}

uint16_t rs_born_source(struct rs *w, uint32_t n, uint32_t position, uint8_t key)
{
    const struct inode *i = &w->im->nodes[n];
    uint16_t *at = &w->born[i->source * RS_TUPLES + position];
    if (*at == UINT16_MAX) {
        *at = new_ident(w, (struct rs_ident){.birth = (uint8_t)i->pe,
                                             .key = key,
                                             .source = (uint8_t)i->source,
                                             .parent = RS_IDENTS,
                                             .order = order_of_source(position + 1)});
    }
    return *at;
}

uint16_t rs_born_child(struct rs *w, uint16_t parent, uint32_t pe, unsigned k, uint32_t order)
{
    uint16_t *at = &w->children[(size_t)parent * w->im->pe_count + pe];
    const struct rs_ident *of = &w->idents[parent];
    if (*at == UINT16_MAX) {
        struct rs_ident about = {
            .birth = (uint8_t)pe, .key = of->key, .source = of->source, .parent = parent};
        uint16_t first = new_ident(w, about);
        at = &w->children[(size_t)parent * w->im->pe_count + pe];
        if (new_ident(w, about) != first + 1) {
            return first; /* too many: this schedule does not count */
        }
        *at = first;
    }
    w->idents[*at + k].order = order;
    return (uint16_t)(*at + k);
}

uint16_t rs_born_final(struct rs *w, uint32_t pe, unsigned key)
{
    uint16_t *at = &w->finals[pe * KEYS + key];
    if (*at == UINT16_MAX) {
        *at = new_ident(
            w, (struct rs_ident){
                   .birth = (uint8_t)pe, .key = (uint8_t)key, .source = 255, .parent = RS_IDENTS});
    }
    return *at;
}

void rs_note(struct rs *w, uint32_t p, uint32_t n, uint16_t ident, uint32_t stamp)
{
    struct rs_inst *x = rs_inst(w, p, n);
    struct rs_history *h = &x->done;
    if (h->count == h->capacity) {
        rs_history_copy(h, h, h->count + 32); /* makes room */
        h->count -= 32;
    }
    uint32_t before = h->count > 0 ? h->items[h->count - 1].chain : 0;
    h->items[h->count++] = (struct rs_done){.ident = ident,
                                            .side = !w->im->nodes[n].member ? 0
                                                    : x->cut                ? 2
                                                                            : 1,
                                            .step = (uint32_t)w->steps,
                                            .chain = rs_mix(before, rs_mix(ident, stamp))};
}

/* ---------------------------------------------------------------- the one history */

static bool is_last(const struct rs *w, const struct rs_slot *s) /* taken after the end */
{
    return s != NULL && w->chief.final_epoch != 0 && s->epoch >= w->chief.final_epoch;
}

static const struct rs_history *history_of(struct rs *w, uint32_t n, const struct rs_slot *last)
{
    const struct rs_plan *plan = rs_plan(w, w->chief.d.plan);
    if (!w->im->nodes[n].there[plan->side]) {
        return &w->frozen[n];
    }
    if (last != NULL) {
        return &last->nodes[n].done;
    }
    for (uint32_t p = 0; p < RS_PROCS; p++) {
        const struct rs_inst *x = rs_inst(w, p, n);
        if (w->procs[p].alive && x->there && x->id == plan->inst[n]) {
            return &x->done;
        }
    }
    return &w->outside[n];
}

static void check_channels(struct rs *w, const struct rs_slot *s, int side)
{
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        if (!w->im->channels[c].there[side]) {
            continue;
        }
        if (s->sent[c] != s->received[c] || !s->ended[c]) {
            RS_TRACE(w, "channel %u: %u sent, %u received, %s", c, s->sent[c], s->received[c],
                     s->ended[c] ? "ended" : "not ended");
            rs_violate(w, WRONG_SEQUENCE);
        } else if (s->sent_hash[c] != s->received_hash[c]) {
            RS_TRACE(w, "channel %u", c);
            rs_violate(w, WRONG_CHANNEL);
        }
    }
}

static void check_outside(struct rs *w, uint32_t n, const struct rs_history *h)
{
    const struct rs_history *out = &w->outside[n];
    bool same = out->count == h->count &&
                (h->count == 0 || out->items[h->count - 1].chain == h->items[h->count - 1].chain);
    if (!same) {
        RS_TRACE(w, "p%u[%u]: %u committed, %u done", w->im->nodes[n].pe, w->im->nodes[n].index,
                 out->count, h->count);
        rs_violate(w, out->count < h->count ? WRONG_LOST : WRONG_COMMIT);
    }
}

static void count_history(struct rs *w, uint32_t n, const struct rs_history *h)
{
    const struct image *im = w->im;
    uint32_t pe = im->nodes[n].pe;
    bool same = w->repaired && !rs_has_other_code(w, n);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct rs_done *d = &h->items[i];
        uint8_t side = (uint8_t)(1u << (same ? 0 : d->side));
        struct rs_ident *t = &w->idents[d->ident];
        uint8_t *count = &w->counts[(size_t)d->ident * im->pe_count + pe];
        *count = (uint8_t)(*count + (*count < 255));
        t->sides |= side;
        uint16_t child = w->children[(size_t)d->ident * im->pe_count + pe];
        if (child != UINT16_MAX) {
            w->idents[child].sides |= side;
            w->idents[child + 1].sides |= side;
        }
        bool own = t->birth == pe && t->parent == RS_IDENTS; /* it began here */
        w->truth[pe * KEYS + t->key] += !own;
    }
}

/* Order at each instance; for what an outsider sees of the whole PE, at the PE. */
static void check_order(struct rs *w, uint32_t pe, const struct rs_history *const *h,
                        uint32_t count)
{
    uint32_t at[64] = {0};
    memset(w->last, 0, (size_t)w->im->source_count * KEYS * sizeof *w->last);
    for (;;) {
        uint32_t first = NONE;
        for (uint32_t k = 0; k < count; k++) {
            bool left = at[k] < h[k]->count;
            if (left &&
                (first == NONE || h[k]->items[at[k]].step < h[first]->items[at[first]].step)) {
                first = k;
            }
        }
        if (first == NONE) {
            return;
        }
        const struct rs_ident *t = &w->idents[h[first]->items[at[first]++].ident];
        if (t->source == 255 || !w->im->pes[pe].ordered[t->source]) {
            continue;
        }
        uint32_t *last = &w->last[t->source * KEYS + t->key];
        if (t->order <= *last) {
            RS_TRACE(w, "p%u: order %u after %u of source %u, key %u", pe, t->order, *last,
                     t->source, t->key);
            rs_violate(w, WRONG_ORDER);
        }
        *last = t->order;
    }
}

static void check_counts(struct rs *w)
{
    const struct image *im = w->im;
    for (uint32_t t = 0; t < w->ident_count; t++) {
        const struct rs_ident *x = &w->idents[t];
        const struct ipe *birth = &im->pes[x->birth];
        const uint8_t *counts = w->counts + (size_t)t * im->pe_count;
        uint32_t born = x->parent == RS_IDENTS
                            ? counts[x->birth]
                            : w->counts[(size_t)x->parent * im->pe_count + x->birth];
        if ((x->sides & 6) == 6) {
            RS_TRACE(w, "tuple %u met both versions", t);
            rs_violate(w, WRONG_MIXED);
        }
        if (x->parent == RS_IDENTS && born > 1) {
            RS_TRACE(w, "tuple %u came %u times from p%u", t, born, x->birth);
            rs_violate(w, x->source == 255 ? WRONG_AFTER_END : WRONG_DOUBLED);
        }
        int side = (x->sides & 4) != 0 ? SIDE_NEW : SIDE_V;
        side = birth->there[side] ? side : !side;
        for (uint32_t q = 0; q < im->pe_count; q++) {
            uint32_t want = q == x->birth ? counts[q] : born * birth->reach[side][q];
            want = want < 255 ? want : 255;
            if (counts[q] != want) {
                RS_TRACE(w, "tuple %u born at p%u, side %d: processed %u times by p%u, not %u", t,
                         x->birth, side, counts[q], q, want);
                rs_violate(w, counts[q] < want ? WRONG_LOST : WRONG_DOUBLED);
            }
        }
    }
}

static void check_sources(struct rs *w, int side)
{
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        const struct inode *i = &w->im->nodes[n];
        for (uint32_t k = 0; i->source != NONE && i->there[side] && k < w->totals[i->source]; k++) {
            uint16_t t = w->born[i->source * RS_TUPLES + k];
            if (t == UINT16_MAX || w->counts[(size_t)t * w->im->pe_count + i->pe] == 0) {
                RS_TRACE(w, "tuple at %u of source %u was not produced", k, i->source);
                rs_violate(w, WRONG_LOST);
            }
        }
    }
}

static void check_state(struct rs *w, const struct rs_slot *s, int side)
{
    const struct image *im = w->im;
    for (uint32_t q = 0; q < im->pe_count; q++) {
        bool keyed = im->pes[q].kind == KIND_KEYED || im->pes[q].kind == KIND_FINAL;
        for (unsigned key = 0; keyed && im->pes[q].there[side] && key < KEYS; key++) {
            uint32_t sum = 0;
            for (uint32_t n = 0; n < im->node_count; n++) {
                const struct inode *i = &im->nodes[n];
                sum += i->pe == q && i->there[side] ? s->nodes[n].state[key] : 0;
            }
            uint32_t truth = w->truth[q * KEYS + key];
            if (sum != truth) {
                RS_TRACE(w, "p%u, key %u: state %u, counted %u", q, key, sum, truth);
                rs_violate(w, WRONG_STATE);
            }
            uint16_t t = w->finals[q * KEYS + key];
            bool came = t != UINT16_MAX && w->counts[(size_t)t * im->pe_count + q] > 0;
            if (im->pes[q].kind == KIND_FINAL && came != (truth > 0) && im->exact) {
                rs_violate(w, WRONG_LOST);
            }
        }
    }
}

static void check_orders(struct rs *w, const struct rs_slot *last)
{
    const struct image *im = w->im;
    for (uint32_t q = 0; q < im->pe_count; q++) {
        const struct ipe *pe = &im->pes[q];
        const struct rs_history *all[64];
        uint32_t count = 0;
        bool whole = pe->effects || pe->kind == KIND_KEYED || pe->kind == KIND_FINAL;
        for (uint32_t n = 0; n < im->node_count && pe->kind != KIND_SOURCE; n++) {
            const struct rs_history *h = history_of(w, n, last);
            if (im->nodes[n].pe == q && whole && count < 64) {
                all[count++] = h;
            } else if (im->nodes[n].pe == q) {
                check_order(w, q, &h, 1);
            }
        }
        if (whole) {
            check_order(w, q, all, count);
        }
    }
}

void rs_books_end(struct rs *w)
{
    const struct image *im = w->im;
    const struct rs_chief *a = &w->chief;
    int side = rs_plan(w, a->d.plan)->side;
    const struct rs_slot *last = a->d.slot >= 0 ? &w->slots[a->d.slot] : NULL;
    last = is_last(w, last) ? last : NULL;
    memset(w->counts, 0, (size_t)w->ident_count * im->pe_count);
    memset(w->truth, 0, (size_t)im->pe_count * KEYS * sizeof *w->truth);
    for (uint32_t t = 0; t < w->ident_count; t++) {
        w->idents[t].sides = 0;
    }
    for (uint32_t n = 0; n < im->node_count; n++) {
        const struct rs_history *h = history_of(w, n, last);
        count_history(w, n, h);
        if (w->commits[n]) {
            check_outside(w, n, h);
        }
    }
    if (last != NULL) {
        check_channels(w, last, side);
        check_state(w, last, side);
    }
    check_sources(w, side);
    check_orders(w, last);
    if (im->exact) {
        check_counts(w);
    }
}
