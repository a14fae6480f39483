/* topology/cover.c - computes the covering set on the union of both physical graphs.
 *
 * Invariants: C1 to C4 of cover.h.
 * Why:        the fixpoint is short: whoever paths and forks add has a member below it already, so
 *             the set "has a member at or below it" never changes, and two rounds are enough. */
#include "topology/cover.h"

#include "core/mem.h"
#include "core/strbuf.h"

#include <string.h>

/* Nodes are instances: those of V by number, then the ones of V' that are not in V. */
struct work {
    const struct match *m;
    const struct diff *d;
    unsigned closures;
    uint32_t node_count;
    uint32_t *node_new; /* [instances of V'] */
    unsigned *why;      /* [nodes]; 0: no member */
    uint32_t edge_count;
    uint32_t *from, *to;       /* [edges]: channels of V, then the new ones of V' */
    uint32_t *first_out, *out; /* [nodes + 1], [edges]: nodes below */
    uint32_t *first_in, *in;
    bool *below, *above; /* [nodes]: has a member at or below it; above it */
    uint32_t *queue;
};

struct cover_options cover_options_of(const struct topology *to)
{
    static const unsigned closures[] = {
        [CONSISTENCY_EXACT] = COVER_EXACT,
        [CONSISTENCY_PER_PE] = COVER_PER_PE, /* H33 */
        [CONSISTENCY_GLOBAL] = COVER_GLOBAL,
    };
    return (struct cover_options){closures[to->consistency]};
}

const char *cover_role_name(enum cover_role role)
{
    static const char *const names[] = {"old", "new", "staying", "adopted"};
    return names[role];
}

char *cover_why_text(unsigned why)
{
    static const char *const names[] = {"changed", "key groups", "channels",
                                        "path",    "fork",       "order",   "the whole"};
    struct strbuf text = {0};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((why >> i & 1u) != 0) {
            strbuf_printf(&text, "%s%s", text.bytes > 0 ? ", " : "", names[i]);
        }
    }
    strbuf_text(&text);
    return strbuf_take(&text);
}

/* ---- nodes and edges */

static void make_nodes(struct work *w)
{
    const struct pgraph *a = w->m->from, *b = w->m->to;
    w->node_count = a->instance_count;
    w->node_new = mem_array(b->instance_count, sizeof w->node_new[0]);
    for (uint32_t i = 0; i < b->instance_count; i++) {
        uint32_t old = w->m->instance_old[i];
        w->node_new[i] = old != INDEX_NONE ? old : w->node_count++;
    }
}

/* by_node - edges as adjacency; `keys` holds the node each edge belongs to. */
static void by_node(const struct work *w, const uint32_t *keys, const uint32_t *others,
                    uint32_t **first_out, uint32_t **list_out)
{
    uint32_t *first = mem_array((size_t)w->node_count + 2, sizeof first[0]);
    uint32_t *list = mem_array(w->edge_count, sizeof list[0]);
    for (uint32_t i = 0; i < w->edge_count; i++) {
        first[keys[i] + 2]++;
    }
    for (uint32_t i = 0; i < w->node_count; i++) {
        first[i + 2] += first[i + 1];
    }
    for (uint32_t i = 0; i < w->edge_count; i++) {
        list[first[keys[i] + 1]++] = others[i];
    }
    *first_out = first;
    *list_out = list;
}

static void make_edges(struct work *w)
{
    const struct pgraph *a = w->m->from, *b = w->m->to;
    size_t most = (size_t)a->channel_count + b->channel_count;
    w->from = mem_array(most, sizeof w->from[0]);
    w->to = mem_array(most, sizeof w->to[0]);
    for (uint32_t i = 0; i < a->channel_count; i++) {
        w->from[w->edge_count] = a->channels[i].from;
        w->to[w->edge_count++] = a->channels[i].to;
    }
    for (uint32_t i = 0; i < b->channel_count; i++) {
        if (w->m->channel_old[i] == INDEX_NONE) {
            w->from[w->edge_count] = w->node_new[b->channels[i].from];
            w->to[w->edge_count++] = w->node_new[b->channels[i].to];
        }
    }
    by_node(w, w->from, w->to, &w->first_out, &w->out);
    by_node(w, w->to, w->from, &w->first_in, &w->in);
}

static void work_init(struct work *w, const struct match *m, const struct diff *d,
                      const struct cover_options *options)
{
    *w = (struct work){.m = m, .d = d, .closures = options->closures};
    make_nodes(w);
    make_edges(w);
    w->why = mem_array(w->node_count, sizeof w->why[0]);
    w->below = mem_array(w->node_count, sizeof w->below[0]);
    w->above = mem_array(w->node_count, sizeof w->above[0]);
    w->queue = mem_array(w->node_count, sizeof w->queue[0]);
}

static void work_fini(struct work *w)
{
    mem_free(w->node_new);
    mem_free(w->why);
    mem_free(w->from);
    mem_free(w->to);
    mem_free(w->first_out);
    mem_free(w->out);
    mem_free(w->first_in);
    mem_free(w->in);
    mem_free(w->below);
    mem_free(w->above);
    mem_free(w->queue);
}

/* ---- D */

/* is_adopted - an instance that stays gets other code, parameters, schemas or threads, or loses its
 * state. */
static bool is_adopted(const struct work *w, uint32_t new)
{
    uint32_t pe = w->m->to->instances[new].pe, old = w->d->pe_old[pe];
    return (w->m->anew != NULL && w->m->anew[pe]) ||
           !pe_goes_on(&w->d->from->pes[old], &w->d->to->pes[pe]);
}

static void mark_changed(struct work *w)
{
    const struct match *m = w->m;
    for (uint32_t i = 0; i < m->from->instance_count; i++) {
        if (m->instance_new[i] == INDEX_NONE) {
            w->why[i] |= WHY_CHANGED;
        }
    }
    for (uint32_t i = 0; i < m->to->instance_count; i++) {
        if (m->instance_old[i] == INDEX_NONE || is_adopted(w, i)) {
            w->why[w->node_new[i]] |= WHY_CHANGED;
        }
    }
}

/* keyed_pes - who is fed by key in V or V', or keeps keyed state: the owner map means something. */
static bool *keyed_pes(const struct diff *d)
{
    const struct topology *a = d->from, *b = d->to;
    bool *keyed = mem_array(b->pe_count, sizeof keyed[0]);
    for (uint32_t i = 0; i < b->pe_count; i++) {
        keyed[i] = b->pes[i].desc->stateful && b->pes[i].parallelism <= KEY_GROUPS;
    }
    for (uint32_t i = 0; i < b->stream_count; i++) {
        keyed[b->streams[i].to_pe] |= b->streams[i].partitioning == PART_KEYED;
    }
    for (uint32_t i = 0; i < a->stream_count; i++) {
        uint32_t pe = d->pe_new[a->streams[i].to_pe];
        if (pe != INDEX_NONE && a->streams[i].partitioning == PART_KEYED) {
            keyed[pe] = b->pes[pe].parallelism <= KEY_GROUPS;
        }
    }
    return keyed;
}

/* mark_groups - winners and losers of key groups; `rerouted` gets the PEs concerned. */
static void mark_groups(struct work *w, bool *rerouted)
{
    const struct match *m = w->m;
    bool *keyed = keyed_pes(w->d);
    for (uint32_t pe = 0; pe < w->d->to->pe_count; pe++) {
        uint32_t old = w->d->pe_old[pe];
        if (old == INDEX_NONE || !keyed[pe]) {
            continue;
        }
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            uint32_t from = m->first_old[old] + pgraph_owner(m->from, old, g);
            uint32_t to = w->node_new[m->first_new[pe] + pgraph_owner(m->to, pe, g)];
            if (from != to) {
                w->why[from] |= WHY_GROUPS;
                w->why[to] |= WHY_GROUPS;
                rerouted[pe] = true;
            }
        }
    }
    mem_free(keyed);
}

static void mark_ends(struct work *w, const bool *rerouted)
{
    const struct match *m = w->m;
    for (uint32_t i = 0; i < m->from->channel_count; i++) {
        const struct pchannel *c = &m->from->channels[i];
        if (m->channel_new[i] == INDEX_NONE) {
            w->why[c->from] |= WHY_CHANNEL;
            w->why[c->to] |= WHY_CHANNEL;
        }
    }
    for (uint32_t i = 0; i < m->to->channel_count; i++) {
        const struct pchannel *c = &m->to->channels[i];
        const struct stream *s = &w->d->to->streams[c->stream];
        if (m->channel_old[i] == INDEX_NONE) {
            w->why[w->node_new[c->from]] |= WHY_CHANNEL;
            w->why[w->node_new[c->to]] |= WHY_CHANNEL;
        } else if (s->partitioning == PART_KEYED && rerouted[s->to_pe]) {
            w->why[w->node_new[c->from]] |= WHY_CHANNEL;
        }
    }
}

/* mark_order - closure c, which does not depend on who else is a member. */
static void mark_order(struct work *w, const struct relocation *r)
{
    const struct match *m = w->m;
    for (uint32_t i = 0; i < m->from->channel_count; i++) {
        const struct pchannel *c = &m->from->channels[i];
        uint32_t pe = w->d->pe_new[m->from->instances[c->from].pe];
        if (pe != INDEX_NONE && r->relocated[pe]) {
            w->why[c->to] |= WHY_ORDER;
        }
    }
    for (uint32_t i = 0; i < m->to->channel_count; i++) {
        const struct pchannel *c = &m->to->channels[i];
        if (r->relocated[m->to->instances[c->from].pe]) {
            w->why[w->node_new[c->to]] |= WHY_ORDER;
        }
    }
    for (uint32_t i = 0; i < m->to->instance_count; i++) {
        if (r->meets[m->to->instances[i].pe]) {
            w->why[w->node_new[i]] |= WHY_ORDER;
        }
    }
}

/* ---- closures a and b */

/* spread - who lies beyond the members along these edges; with `own`, the members themselves. */
static void spread(struct work *w, const uint32_t *first, const uint32_t *list, bool *out, bool own)
{
    uint32_t head = 0, count = 0;
    memset(out, 0, w->node_count * sizeof out[0]);
    bool *queued = mem_array(w->node_count, sizeof queued[0]);
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->why[i] != 0) {
            w->queue[count++] = i;
            queued[i] = true;
            out[i] = own;
        }
    }
    while (head < count) {
        uint32_t x = w->queue[head++];
        for (uint32_t k = first[x]; k < first[x + 1]; k++) {
            out[list[k]] = true;
            if (!queued[list[k]]) {
                queued[list[k]] = true;
                w->queue[count++] = list[k];
            }
        }
    }
    mem_free(queued);
}

static bool close_paths(struct work *w)
{
    bool changed = false;
    spread(w, w->first_out, w->out, w->above, false);
    for (uint32_t i = 0; i < w->node_count; i++) {
        if (w->why[i] == 0 && w->above[i] && w->below[i]) {
            w->why[i] |= WHY_PATH;
            changed = true;
        }
    }
    return changed;
}

/* close_forks - closure b: channels of V stand by stream, then sender; so the copies of one sender
 * over one stream are a run, and what several runs give one port is summed up. */
static bool close_forks(struct work *w)
{
    const struct pgraph *a = w->m->from;
    const struct topology *t = a->topology;
    uint8_t(*copies)[PORTS_MAX] = mem_array(a->instance_count, sizeof copies[0]);
    bool changed = false;
    for (uint32_t i = 0; i < a->channel_count;) {
        const struct pchannel *c = &a->channels[i];
        const struct stream *s = &t->streams[c->stream];
        uint32_t reach = 0, k = i;
        for (; k < a->channel_count && a->channels[k].stream == c->stream &&
               a->channels[k].from == c->from;
             k++) {
            reach += w->below[a->channels[k].to];
        }
        reach = s->partitioning == PART_BROADCAST ? reach : reach > 0;
        uint8_t *n = &copies[c->from][s->from_port];
        *n = (uint8_t)(*n + reach > 2 ? 2 : *n + reach);
        bool many = (w->closures & COVER_MANY) != 0 &&
                    t->pes[a->instances[c->from].pe].desc->many && reach > 0;
        if (w->why[c->from] == 0 && (*n > 1 || many)) {
            w->why[c->from] |= WHY_FORK;
            changed = true;
        }
        i = k;
    }
    mem_free(copies);
    return changed;
}

/* take_all - one member makes everybody one. */
static void take_all(struct work *w)
{
    bool any = false;
    for (uint32_t i = 0; i < w->node_count; i++) {
        any = any || w->why[i] != 0;
    }
    for (uint32_t i = 0; any && i < w->node_count; i++) {
        w->why[i] |= w->why[i] == 0 ? WHY_GLOBAL : 0;
    }
}

static void close_set(struct work *w)
{
    if ((w->closures & COVER_ALL) != 0) {
        take_all(w);
        return;
    }
    spread(w, w->first_in, w->in, w->below, true);
    for (bool changed = true; changed;) {
        changed = (w->closures & COVER_PATH) != 0 && close_paths(w);
        if ((w->closures & (COVER_FORK | COVER_MANY)) != 0) {
            changed = close_forks(w) || changed;
        }
    }
}

/* ---- what each member does */

static void make_members(struct cover *c, const struct work *w)
{
    const struct match *m = w->m;
    uint32_t olds = m->from->instance_count, news = m->to->instance_count;
    c->members = mem_array(w->node_count, sizeof c->members[0]);
    c->of_old = mem_array(olds, sizeof c->of_old[0]);
    c->of_new = mem_array(news, sizeof c->of_new[0]);
    for (uint32_t i = 0; i < olds; i++) {
        c->of_old[i] = w->why[i] != 0 ? c->member_count : INDEX_NONE;
        if (w->why[i] != 0) {
            c->members[c->member_count++] = (struct cover_member){
                .old = i, .new = m->instance_new[i], .role = ROLE_OLD, .why = w->why[i]};
        }
    }
    for (uint32_t i = 0; i < news; i++) {
        uint32_t node = w->node_new[i], old = m->instance_old[i], pe = m->to->instances[i].pe;
        c->of_new[i] = INDEX_NONE;
        if (w->why[node] == 0) {
            continue;
        }
        if (old == INDEX_NONE) {
            c->members[c->member_count] = (struct cover_member){
                .old = INDEX_NONE, .new = i, .role = ROLE_NEW, .why = w->why[node]};
        }
        c->of_new[i] = old != INDEX_NONE ? c->of_old[old] : c->member_count++;
        struct cover_member *x = &c->members[c->of_new[i]];
        if (old != INDEX_NONE) {
            x->role = is_adopted(w, i) ? ROLE_ADOPTED : ROLE_STAYING;
        }
        x->relocated = c->relocation.relocated[pe];
    }
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct cover_member *x = &c->members[i];
        uint32_t pe = x->new != INDEX_NONE ? m->to->instances[x->new].pe
                                           : w->d->pe_new[m->from->instances[x->old].pe];
        x->relocated = pe != INDEX_NONE && c->relocation.relocated[pe];
        x->token = x->relocated && (w->d->to->pes[pe].desc->effects ||
                                    w->d->from->pes[w->d->pe_old[pe]].desc->effects); /* R11 */
    }
}

/* put - one channel into a list of a member; without a pool it is only counted. */
static void put(struct cover *c, uint32_t *next, uint32_t member, enum cover_list list,
                uint32_t channel)
{
    struct index_list *l = &c->members[member].lists[list];
    if (c->pool == NULL) {
        l->count++;
    } else {
        c->pool[next[(size_t)member * LIST_COUNT + list]++] = channel;
    }
}

static void put_all(struct cover *c, const struct match *m, uint32_t *next)
{
    for (uint32_t i = 0; i < m->from->channel_count; i++) {
        const struct pchannel *x = &m->from->channels[i];
        uint32_t from = c->of_old[x->from], to = c->of_old[x->to];
        if (m->channel_new[i] == INDEX_NONE) {
            if (from != INDEX_NONE) {
                put(c, next, from, LIST_OLD_OUTPUTS, i);
            }
        } else if (from != INDEX_NONE && to != INDEX_NONE) {
            put(c, next, from, LIST_STAYING_OUTPUTS, i);
        }
        if (from != INDEX_NONE && to != INDEX_NONE) {
            put(c, next, to, LIST_OLD_INPUTS, i);
        }
    }
    for (uint32_t i = 0; i < m->to->channel_count; i++) {
        const struct pchannel *x = &m->to->channels[i];
        if (m->channel_old[i] != INDEX_NONE) {
            continue;
        }
        if (c->of_new[x->from] != INDEX_NONE) {
            put(c, next, c->of_new[x->from], LIST_NEW_OUTPUTS, i);
        }
        if (c->of_new[x->to] != INDEX_NONE) {
            put(c, next, c->of_new[x->to], LIST_NEW_INPUTS, i);
        }
    }
}

static void make_lists(struct cover *c, const struct match *m)
{
    uint32_t total = 0;
    put_all(c, m, NULL);
    uint32_t *next = mem_array((size_t)c->member_count * LIST_COUNT, sizeof next[0]);
    for (uint32_t i = 0; i < c->member_count; i++) {
        for (unsigned k = 0; k < LIST_COUNT; k++) {
            next[(size_t)i * LIST_COUNT + k] = total;
            total += c->members[i].lists[k].count;
        }
    }
    c->pool = mem_array((size_t)total + 1, sizeof c->pool[0]);
    for (uint32_t i = 0; i < c->member_count; i++) {
        for (unsigned k = 0; k < LIST_COUNT; k++) {
            c->members[i].lists[k].items = c->pool + next[(size_t)i * LIST_COUNT + k];
        }
    }
    put_all(c, m, next);
    mem_free(next);
    for (uint32_t i = 0; i < c->member_count; i++) {
        struct cover_member *x = &c->members[i];
        x->head = x->old != INDEX_NONE && x->lists[LIST_OLD_INPUTS].count == 0; /* C2 */
        c->head_count += x->head;
        c->channels_inside += x->lists[LIST_OLD_INPUTS].count;
    }
}

/* find_depth - PEs of V in topological order, so that each member's inputs are known before it
 * (C4). */
static void find_depth(struct cover *c, const struct match *m)
{
    const struct pgraph *g = m->from;
    uint32_t *depth = mem_array(c->member_count, sizeof depth[0]);
    uint32_t *hops = mem_array(c->member_count, sizeof hops[0]);
    for (uint32_t o = 0; o < g->topology->pe_count; o++) {
        uint32_t pe = g->topology->order[o];
        for (uint32_t i = m->first_old[pe]; i < m->first_old[pe + 1]; i++) {
            uint32_t x = c->of_old[i];
            if (x == INDEX_NONE) {
                continue;
            }
            const struct index_list *in = &c->members[x].lists[LIST_OLD_INPUTS];
            for (uint32_t k = 0; k < in->count; k++) {
                uint32_t from = g->channels[in->items[k]].from, up = c->of_old[from];
                uint32_t far = hops[up] + (g->instances[from].worker != g->instances[i].worker);
                depth[x] = depth[up] + 1 > depth[x] ? depth[up] + 1 : depth[x];
                hops[x] = far > hops[x] ? far : hops[x];
            }
            c->depth = depth[x] > c->depth ? depth[x] : c->depth;
            c->hops = hops[x] > c->hops ? hops[x] : c->hops;
        }
    }
    mem_free(depth);
    mem_free(hops);
}

struct cover *cover_find(const struct match *m, const struct diff *d,
                         const struct cover_options *options)
{
    struct cover *c = mem_alloc(sizeof *c);
    struct work w;
    work_init(&w, m, d, options);
    relocation_find(&c->relocation, d, m);
    c->rerouted = mem_array(d->to->pe_count, sizeof c->rerouted[0]);
    mark_changed(&w);
    mark_groups(&w, c->rerouted);
    if ((w.closures & COVER_ENDS) != 0) {
        mark_ends(&w, c->rerouted);
    }
    if ((w.closures & COVER_ORDER) != 0) {
        mark_order(&w, &c->relocation);
    }
    close_set(&w);
    make_members(c, &w);
    make_lists(c, m);
    find_depth(c, m);
    work_fini(&w);
    return c;
}

void cover_free(struct cover *c)
{
    if (c == NULL) {
        return;
    }
    mem_free(c->members);
    mem_free(c->of_old);
    mem_free(c->of_new);
    mem_free(c->pool);
    mem_free(c->rerouted);
    relocation_fini(&c->relocation);
    mem_free(c);
}
