/* tests/sim/image.c - lays a plan out for simulation. */
#include "tests/sim/image.h"

#include "core/hash.h"
#include "core/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct making {
    struct image *im;
    const struct plan *p;
    const struct match *m;
    uint32_t *node_new, *channel_new; /* of V' -> number here */
};

/* ---------------------------------------------------------------- PEs */

static enum kind kind_of(const struct pe *pe, bool final)
{
    if (pe->input_count == 0) {
        return KIND_SOURCE;
    }
    if (pe->desc->stateful) {
        return final ? KIND_FINAL : KIND_KEYED;
    }
    if (pe->output_count == 0) {
        return KIND_SINK;
    }
    return pe->desc->many ? KIND_MANY : KIND_ONE;
}

static uint32_t pe_of(const struct making *k, int side, uint32_t pe)
{
    const struct diff *d = k->p->diff;
    if (side == SIDE_NEW) {
        return pe;
    }
    return d->pe_new[pe] != INDEX_NONE ? d->pe_new[pe] : d->to->pe_count + pe;
}

static void make_pes(struct making *k, uint64_t final_pes)
{
    const struct diff *d = k->p->diff;
    struct image *im = k->im;
    im->pe_count = d->to->pe_count + d->from->pe_count;
    im->pes = mem_array(im->pe_count, sizeof *im->pes);
    for (int side = SIDES; side-- > 0;) {
        const struct topology *t = side == SIDE_NEW ? d->to : d->from;
        for (uint32_t i = 0; i < t->pe_count; i++) {
            struct ipe *pe = &im->pes[pe_of(k, side, i)];
            unsigned uid = (unsigned)strtoul(t->pes[i].uid + 1, NULL, 10);
            pe->kind = kind_of(&t->pes[i], (final_pes >> uid % 64 & 1) != 0);
            pe->effects = pe->effects || t->pes[i].desc->effects;
            pe->there[side] = true;
            pe->owners[side] = mem_array(KEY_GROUPS, sizeof(uint16_t));
            for (unsigned g = 0; g < KEY_GROUPS && t->pes[i].parallelism <= KEY_GROUPS; g++) {
                pe->owners[side][g] = (uint16_t)pgraph_owner(
                    side == SIDE_NEW ? k->m->to : k->m->from, i, g);
            }
        }
    }
}

/* ---------------------------------------------------------------- nodes and channels */

static void make_nodes(struct making *k)
{
    struct image *im = k->im;
    const struct pgraph *v = k->m->from, *to = k->m->to;
    im->nodes = mem_array((size_t)v->instance_count + to->instance_count, sizeof *im->nodes);
    k->node_new = mem_array(to->instance_count, sizeof *k->node_new);
    im->node_count = v->instance_count;
    assert(v->instance_count <= 64); /* who has ended is told in bits: control.c */
    for (uint32_t i = 0; i < v->instance_count; i++) {
        im->nodes[i] = (struct inode){.pe = pe_of(k, SIDE_V, v->instances[i].pe),
                                      .index = v->instances[i].index,
                                      .worker = k->m->worker_new[v->instances[i].worker],
                                      .heir = NONE,
                                      .source = NONE,
                                      .there = {true, false}};
    }
    for (uint32_t i = 0; i < to->instance_count; i++) {
        uint32_t old = k->m->instance_old[i];
        k->node_new[i] = old != INDEX_NONE ? old : im->node_count++;
        struct inode *n = &im->nodes[k->node_new[i]];
        n->pe = to->instances[i].pe;
        n->index = to->instances[i].index;
        n->worker = to->instances[i].worker;
        n->heir = old == INDEX_NONE ? k->m->heir_old[i] : NONE;
        n->there[SIDE_NEW] = true;
        n->source = NONE;
    }
}

static void number_sources(struct making *k)
{
    struct image *im = k->im;
    im->source_pe = mem_array(im->node_count, sizeof *im->source_pe);
    for (uint32_t i = 0; i < im->node_count; i++) {
        struct inode *n = &im->nodes[i];
        if (im->pes[n->pe].kind == KIND_SOURCE) {
            n->source = n->heir != NONE ? im->nodes[n->heir].source : im->source_count++;
            im->source_pe[n->source] = n->pe;
        }
    }
}

static void wire(struct making *k, int side, uint32_t c, const struct pchannel *p,
                 const struct pgraph *g)
{
    struct image *im = k->im;
    struct ichannel *ch = &im->channels[c];
    const struct stream *s = &g->topology->streams[p->stream];
    struct iwiring *to = &im->nodes[ch->to].side[side], *from = &im->nodes[ch->from].side[side];
    ch->input[side] = to->input_count;
    to->inputs = mem_resize(to->inputs, to->input_count + 1, sizeof *to->inputs);
    to->inputs[to->input_count++] = c;
    /* channels come by stream, then sender: a stream's channels of one sender are a run */
    uint32_t last = from->stream_count;
    if (last == 0 || from->streams[last - 1].stream != p->stream) {
        from->streams = mem_resize(from->streams, last + 1, sizeof *from->streams);
        from->streams[from->stream_count++] =
            (struct istream){.route = TO_ANY, .stream = p->stream};
    }
    struct istream *out = &from->streams[from->stream_count - 1];
    out->channels = mem_resize(out->channels, out->count + 1, sizeof *out->channels);
    out->channels[out->count++] = c;
    out->owners = im->pes[pe_of(k, side, s->to_pe)].owners[side];
    if (s->partitioning == PART_BROADCAST) {
        out->route = TO_ALL;
    } else if (s->partitioning == PART_KEYED) {
        out->route = TO_KEY;
        out->by_seq = s->keys[0] == 0; /* schema: seq, key */
    } else if (out->count == 1) {
        out->route = TO_ONE;
    } else {
        out->route = TO_ANY;
    }
}

static void make_channels(struct making *k)
{
    struct image *im = k->im;
    const struct pgraph *v = k->m->from, *to = k->m->to;
    im->channels = mem_array((size_t)v->channel_count + to->channel_count, sizeof *im->channels);
    k->channel_new = mem_array(to->channel_count, sizeof *k->channel_new);
    im->channel_count = v->channel_count;
    for (uint32_t i = 0; i < v->channel_count; i++) {
        const struct pchannel *c = &v->channels[i];
        im->channels[i] = (struct ichannel){
            .from = c->from, .to = c->to, .fused = c->fused, .there = {true, false}};
    }
    for (uint32_t i = 0; i < to->channel_count; i++) {
        const struct pchannel *c = &to->channels[i];
        uint32_t old = k->m->channel_old[i];
        k->channel_new[i] = old != INDEX_NONE ? old : im->channel_count++;
        struct ichannel *ch = &im->channels[k->channel_new[i]];
        ch->from = k->node_new[c->from];
        ch->to = k->node_new[c->to];
        ch->fused = c->fused;
        ch->new_side = old == INDEX_NONE;
        ch->there[SIDE_NEW] = true;
    }
    for (uint32_t i = 0; i < im->channel_count; i++) {
        struct ichannel *ch = &im->channels[i];
        ch->remote = im->nodes[ch->from].worker != im->nodes[ch->to].worker;
    }
    for (uint32_t i = 0; i < v->channel_count; i++) {
        wire(k, SIDE_V, i, &v->channels[i], v);
    }
    for (uint32_t i = 0; i < to->channel_count; i++) {
        wire(k, SIDE_NEW, k->channel_new[i], &to->channels[i], to);
    }
}

/* ---------------------------------------------------------------- members and moves */

static uint32_t *copy_list(const struct index_list *l, const uint32_t *numbers, uint32_t *count)
{
    uint32_t *out = mem_array(l->count, sizeof *out);
    for (uint32_t i = 0; i < l->count; i++) {
        out[i] = numbers != NULL ? numbers[l->items[i]] : l->items[i];
    }
    *count = l->count;
    return out;
}

static void make_members(struct making *k)
{
    const struct cover *c = k->p->cover;
    for (uint32_t i = 0; i < c->member_count; i++) {
        const struct cover_member *x = &c->members[i];
        struct inode *n = &k->im->nodes[x->old != INDEX_NONE ? x->old : k->node_new[x->new]];
        n->member = true;
        n->head = x->head;
        n->token = x->token;
        n->role = x->role;
        n->marks = copy_list(&x->lists[LIST_STAYING_OUTPUTS], NULL, &n->mark_count);
        n->closes = copy_list(&x->lists[LIST_OLD_OUTPUTS], NULL, &n->close_count);
        n->opens = copy_list(&x->lists[LIST_NEW_OUTPUTS], k->channel_new, &n->open_count);
        n->awaited = mem_array(n->side[SIDE_V].input_count, sizeof *n->awaited);
        for (uint32_t j = 0; j < x->lists[LIST_OLD_INPUTS].count; j++) {
            uint32_t ch = x->lists[LIST_OLD_INPUTS].items[j];
            n->awaited[k->im->channels[ch].input[SIDE_V]] = true;
        }
    }
}

static void make_moves(struct making *k)
{
    struct image *im = k->im;
    im->moves = mem_array(k->p->move_count, sizeof *im->moves);
    for (size_t i = 0; i < k->p->move_count; i++) {
        const struct state_move *m = &k->p->moves[i];
        im->moves[im->move_count++] = (struct imove){
            .from = m->old, .to = k->node_new[m->new], .groups = m->groups, .other = m->other};
    }
}

/* ---------------------------------------------------------------- what the oracle knows */

static bool passes_on(enum kind kind) /* its output is the same tuple */
{
    return kind == KIND_ONE || kind == KIND_KEYED;
}

static void find_reach(struct making *k, int side, uint32_t birth)
{
    struct image *im = k->im;
    const struct topology *t = side == SIDE_NEW ? k->p->diff->to : k->p->diff->from;
    uint16_t *reach = mem_array(im->pe_count, sizeof *reach);
    im->pes[birth].reach[side] = reach;
    uint32_t sum = 0;
    for (uint32_t o = 0; o < t->pe_count; o++) {
        uint32_t q = t->order[o], to = pe_of(k, side, q);
        uint32_t n = 0;
        for (uint32_t i = 0; i < t->stream_count; i++) {
            const struct stream *s = &t->streams[i];
            uint32_t from = pe_of(k, side, s->from_pe);
            uint32_t copies = s->partitioning == PART_BROADCAST ? t->pes[q].parallelism : 1;
            if (s->to_pe == q && from == birth) {
                n += copies;
            } else if (s->to_pe == q && passes_on(im->pes[from].kind)) {
                n += copies * reach[from];
            }
        }
        reach[to] = (uint16_t)(n < 60000 ? n : 60000);
        sum += n;
    }
    im->amplification = sum > im->amplification ? sum : im->amplification;
}

struct ways {                     /* from one source PE to each PE, on one side */
    uint8_t *count;               /* 0 none, 1 one that keeps keys together, 2 any other */
    uint64_t *path;               /* which PEs the one leads over */
};

static void find_ways(const struct making *k, int side, uint32_t source, struct ways *out)
{
    const struct topology *t = side == SIDE_NEW ? k->p->diff->to : k->p->diff->from;
    memset(out->count, 0, k->im->pe_count);
    if (!k->im->pes[source].there[side]) {
        return;
    }
    out->count[source] = 1;
    out->path[source] = hash_i64(source);
    for (uint32_t o = 0; o < t->pe_count; o++) {
        uint32_t q = t->order[o], to = pe_of(k, side, q);
        for (uint32_t i = 0; i < t->stream_count; i++) {
            const struct stream *s = &t->streams[i];
            uint32_t from = pe_of(k, side, s->from_pe);
            if (s->to_pe != q || out->count[from] == 0) {
                continue;
            }
            bool keeps = (s->partitioning == PART_KEYED && s->keys[0] == 1) ||
                         stream_is_one_to_one(t, s) || t->pes[q].parallelism == 1;
            out->count[to] = out->count[to] == 0 && out->count[from] == 1 && keeps ? 1 : 2;
            out->path[to] = hash_i64(out->path[from] + to);
        }
    }
}

/* find_order - where there is one way in each of V and V' (or only one of them).  `per-pe` promises
 * nothing across two ways: one tuple may take both, or neither. */
static void find_order(struct making *k)
{
    struct image *im = k->im;
    struct ways w[SIDES];
    for (int side = 0; side < SIDES; side++) {
        w[side].count = mem_array(im->pe_count, 1);
        w[side].path = mem_array(im->pe_count, sizeof(uint64_t));
    }
    for (uint32_t q = 0; q < im->pe_count; q++) {
        im->pes[q].ordered = mem_array(im->source_count, sizeof(bool));
    }
    for (uint32_t s = 0; s < im->source_count; s++) {
        find_ways(k, SIDE_V, im->source_pe[s], &w[SIDE_V]);
        find_ways(k, SIDE_NEW, im->source_pe[s], &w[SIDE_NEW]);
        for (uint32_t q = 0; q < im->pe_count; q++) {
            uint8_t old = w[SIDE_V].count[q], new = w[SIDE_NEW].count[q];
            bool same = w[SIDE_V].path[q] == w[SIDE_NEW].path[q];
            im->pes[q].ordered[s] = old + new > 0 && old < 2 && new < 2 &&
                                    (im->exact || (old == 1 && new == 1 && same));
        }
    }
    for (int side = 0; side < SIDES; side++) {
        mem_free(w[side].count);
        mem_free(w[side].path);
    }
}

struct image *image_make(const struct plan *p, uint64_t final_pes)
{
    struct image *im = mem_alloc(sizeof *im);
    struct making k = {.im = im, .p = p, .m = p->match};
    im->plan = p;
    im->exact = p->diff->to->consistency != CONSISTENCY_PER_PE;
    im->worker_count = p->to->worker_count;
    make_pes(&k, final_pes);
    make_nodes(&k);
    number_sources(&k);
    make_channels(&k);
    make_members(&k);
    make_moves(&k);
    for (int side = 0; side < SIDES; side++) {
        for (uint32_t q = 0; q < im->pe_count; q++) {
            enum kind kind = im->pes[q].kind;
            if (im->pes[q].there[side] && !passes_on(kind) && kind != KIND_SINK) {
                find_reach(&k, side, q);
            }
        }
    }
    find_order(&k);
    im->node_of_new = k.node_new;
    im->channel_of_new = k.channel_new;
    return im;
}

void image_free(struct image *im)
{
    if (im == NULL) {
        return;
    }
    for (uint32_t i = 0; i < im->node_count; i++) {
        struct inode *n = &im->nodes[i];
        for (int side = 0; side < SIDES; side++) {
            for (uint32_t s = 0; s < n->side[side].stream_count; s++) {
                mem_free(n->side[side].streams[s].channels);
            }
            mem_free(n->side[side].streams);
            mem_free(n->side[side].inputs);
        }
        mem_free(n->awaited);
        mem_free(n->marks);
        mem_free(n->closes);
        mem_free(n->opens);
    }
    for (uint32_t q = 0; q < im->pe_count; q++) {
        mem_free(im->pes[q].ordered);
        mem_free(im->pes[q].owners[SIDE_V]);
        mem_free(im->pes[q].owners[SIDE_NEW]);
        mem_free(im->pes[q].reach[SIDE_V]);
        mem_free(im->pes[q].reach[SIDE_NEW]);
    }
    mem_free(im->nodes);
    mem_free(im->channels);
    mem_free(im->pes);
    mem_free(im->moves);
    mem_free(im->source_pe);
    mem_free(im->node_of_new);
    mem_free(im->channel_of_new);
    mem_free(im);
}
