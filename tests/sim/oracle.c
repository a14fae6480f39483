/* tests/sim/oracle.c - what must be true of every schedule.
 *
 * The books are kept beside the simulated engine: what each tuple is, which members it has met,
 * how often each PE has processed it, and what each key's state should be.  At the end they are
 * compared with what the topology the tuple belongs to asks for. */
#include "tests/sim/sim.h"

#include <string.h>

const char *violation_name(enum violation v)
{
    static const char *const names[V_COUNT] = {
        "fine",    "sequence", "mixed",     "owner",    "state", "cut and dropped",
        "order",   "lost",     "doubled",   "after end", "two epochs", "stuck"};
    return names[v];
}

void violate(struct world *w, enum violation v, uint32_t node)
{
    if (w->found == FINE) {
        w->found = v;
        w->found_node = node;
    }
    TRACE(w, "VIOLATION %s at node %u", violation_name(v), node);
}

void oracle_reset(struct world *w)
{
    const struct image *im = w->im;
    w->ident_count = 0;
    memset(w->truth, 0, (size_t)im->pe_count * KEYS * sizeof *w->truth);
    memset(w->final_seen, 0, im->pe_count);
    memset(w->last, 0, (size_t)(im->node_count + im->pe_count) * im->source_count * KEYS *
                           sizeof *w->last);
    for (uint32_t n = 0; n < im->node_count; n++) {
        const struct inode *i = &im->nodes[n];
        int side = im->pes[i->pe].there[SIDE_V] ? SIDE_V : SIDE_NEW;
        for (unsigned key = 0; i->there[side] && key < KEYS; key++) {
            if (im->pes[i->pe].owners[side][w->k.groups[key]] == i->index) {
                w->owner[i->pe * KEYS + key] = n;
            }
        }
    }
}

static uint8_t side_now(const struct world *w, uint32_t n)
{
    return !w->im->nodes[n].member ? 0 : w->nodes[n].cut ? 2 : 1;
}

uint16_t oracle_born(struct world *w, uint32_t n)
{
    if (w->ident_count == IDENTS) {
        w->too_big = true;
        return IDENTS - 1;
    }
    uint32_t pe = w->im->nodes[n].pe;
    w->idents[w->ident_count] = (struct ident){.side = side_now(w, n), .birth = (uint8_t)pe};
    memset(w->counts + (size_t)w->ident_count * w->im->pe_count, 0, w->im->pe_count);
    return (uint16_t)w->ident_count++;
}

static void check_side(struct world *w, uint32_t n, struct ident *t)
{
    uint8_t side = side_now(w, n);
    if (side != 0 && t->side == 0) {
        t->side = side;
    } else if (side != 0 && t->side != side && w->im->exact) {
        violate(w, V_MIXED, n);
    }
}

/* Order at each instance; for what an outsider sees of the whole PE, at the PE. */
static void check_order(struct world *w, uint32_t n, const struct entry *e)
{
    const struct image *im = w->im;
    const struct ipe *pe = &im->pes[im->nodes[n].pe];
    if (e->source == 255 || !pe->ordered[e->source]) {
        return;
    }
    bool whole = pe->effects || pe->kind == KIND_KEYED || pe->kind == KIND_FINAL;
    uint32_t place = whole ? im->node_count + im->nodes[n].pe : n;
    uint32_t *last = &w->last[((size_t)place * im->source_count + e->source) * KEYS + e->key];
    if (e->order <= *last) {
        violate(w, V_ORDER, n);
    }
    *last = e->order;
}

void oracle_processed(struct world *w, uint32_t n, const struct entry *e)
{
    uint32_t pe = w->im->nodes[n].pe;
    check_side(w, n, &w->idents[e->ident]);
    check_order(w, n, e);
    uint8_t *count = &w->counts[(size_t)e->ident * w->im->pe_count + pe];
    *count = (uint8_t)(*count + (*count < 255));
    w->truth[pe * KEYS + e->key]++;
    enum kind kind = w->im->pes[pe].kind;
    if ((kind == KIND_KEYED || kind == KIND_FINAL) && w->owner[pe * KEYS + e->key] != n) {
        violate(w, V_OWNER, n);
    }
}

void oracle_final(struct world *w, uint32_t n, unsigned key)
{
    uint8_t *seen = &w->final_seen[w->im->nodes[n].pe];
    if ((*seen >> key & 1) != 0) {
        violate(w, V_AFTER_END, n);
    }
    *seen |= (uint8_t)(1u << key);
}

static void check_counts(struct world *w)
{
    const struct image *im = w->im;
    for (uint32_t t = 0; t < w->ident_count; t++) {
        const struct ipe *birth = &im->pes[w->idents[t].birth];
        int side = w->idents[t].side == 2 ? SIDE_NEW : SIDE_V;
        side = birth->there[side] ? side : !side;
        const uint8_t *counts = w->counts + (size_t)t * im->pe_count;
        for (uint32_t q = 0; q < im->pe_count; q++) {
            uint32_t want = birth->reach[side][q] < 255 ? birth->reach[side][q] : 255;
            if (counts[q] != want) {
                TRACE(w, "tuple %u born at p%u, side %u: processed %u times by p%u, not %u", t,
                      w->idents[t].birth, w->idents[t].side, counts[q], q, want);
                violate(w, counts[q] < want ? V_LOST : V_DOUBLED, NONE);
            }
        }
    }
}

static void check_finals(struct world *w)
{
    for (uint32_t q = 0; q < w->im->pe_count; q++) {
        bool last = w->im->pes[q].there[w->outcome == CHANGED ? SIDE_NEW : SIDE_V];
        for (unsigned key = 0; w->im->pes[q].kind == KIND_FINAL && last && key < KEYS; key++) {
            bool due = w->truth[q * KEYS + key] > 0;
            if (due != ((w->final_seen[q] >> key & 1) != 0)) {
                TRACE(w, "p%u: final result of key %u, %u tuples", q, key,
                      w->truth[q * KEYS + key]);
                violate(w, V_LOST, NONE);
            }
        }
    }
}

void oracle_end(struct world *w)
{
    const struct image *im = w->im;
    int side = w->outcome == CHANGED ? SIDE_NEW : SIDE_V;
    for (uint32_t n = 0; n < im->node_count; n++) {
        const struct inode *i = &im->nodes[n];
        bool should_cut = w->outcome == CHANGED && i->member && i->there[SIDE_V];
        bool born = !i->there[SIDE_V];
        if ((!born && w->nodes[n].cut != should_cut) ||
            (i->there[side] && !w->nodes[n].finished)) {
            TRACE(w, "p%u[%u] is %s, %s", i->pe, i->index, w->nodes[n].cut ? "cut" : "not cut",
                  w->nodes[n].finished ? "ended" : "not ended");
            violate(w, V_STUCK, n);
        }
    }
    for (uint32_t c = 0; c < im->channel_count; c++) {
        const struct chan *ch = &w->chans[c];
        if (ch->near.count + ch->far.count > 0) {
            violate(w, V_STUCK, im->channels[c].to);
        } else if (ch->sent != ch->received) {
            violate(w, V_SEQUENCE, im->channels[c].to);
        }
    }
    if (w->transfer_count > 0) {
        violate(w, V_STUCK, NONE);
    }
    if (im->exact && w->found == FINE) {
        check_counts(w);
        check_finals(w);
    }
}
