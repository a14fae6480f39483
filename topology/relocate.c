/* topology/relocate.c - finds relocated PEs, and those where an old and a new path meet.
 *
 * Invariants: R1 and R2 of relocate.h.
 * Why:        order per source instance and key is promised across the cut.  A tuple that takes the
 *             new way may be quicker than an older one on the old way; who stands where the two
 *             ways meet must wait for the old one, so it must be a member of the covering set. */
#include "topology/relocate.h"

#include "core/mem.h"

#include <string.h>

/* ---- streams as both topologies know them */

enum where { IN_V = 1, IN_NEW = 2, IN_BOTH = 3 };

struct edge {          /* a stream of V, of V', or of both when nothing about it changed */
    uint32_t from, to; /* nodes: PEs of V', then those of V that go */
    uint32_t next;     /* of the same producer, + 1 */
    enum where where;
};

struct map {
    const struct diff *d;
    struct edge *edges;
    uint32_t edge_count;
    uint32_t *first; /* [nodes], + 1 */
    uint32_t node_count;
};

static uint32_t node_of_old(const struct diff *d, uint32_t pe)
{
    return d->pe_new[pe] != INDEX_NONE ? d->pe_new[pe] : d->to->pe_count + pe;
}

static void add_edge(struct map *p, uint32_t from, uint32_t to, enum where where)
{
    p->edges[p->edge_count] = (struct edge){from, to, p->first[from], where};
    p->first[from] = ++p->edge_count;
}

static bool is_one_to_one(const struct topology *t, uint32_t stream)
{
    return stream_is_one_to_one(t, &t->streams[stream]);
}

/* is_kept - the stream joins the same two PEs: the same way, however it is divided. */
static bool is_kept(const struct diff *d, uint32_t old, uint32_t new)
{
    const struct stream *x = &d->from->streams[old], *y = &d->to->streams[new];
    return d->pe_new[x->from_pe] == y->from_pe && d->pe_new[x->to_pe] == y->to_pe;
}

static void map_init(struct map *p, const struct diff *d)
{
    const struct topology *a = d->from, *b = d->to;
    *p = (struct map){.d = d, .node_count = a->pe_count + b->pe_count};
    p->edges = mem_array((size_t)a->stream_count + b->stream_count, sizeof p->edges[0]);
    p->first = mem_array(p->node_count, sizeof p->first[0]);
    for (uint32_t i = 0; i < b->stream_count; i++) {
        const struct stream *s = &b->streams[i];
        uint32_t old = d->stream_old[i];
        bool kept = old != INDEX_NONE && is_kept(d, old, i);
        add_edge(p, s->from_pe, s->to_pe, kept ? IN_BOTH : IN_NEW);
    }
    for (uint32_t i = 0; i < a->stream_count; i++) {
        const struct stream *s = &a->streams[i];
        uint32_t new = d->stream_new[i];
        if (new == INDEX_NONE || !is_kept(d, i, new)) {
            add_edge(p, node_of_old(d, s->from_pe), node_of_old(d, s->to_pe), IN_V);
        }
    }
}

static void map_fini(struct map *p)
{
    mem_free(p->edges);
    mem_free(p->first);
}

/* ---- relocated by itself */

static bool has_moved(const struct diff *d, const struct match *m, uint32_t pe)
{
    uint32_t old = d->pe_old[pe];
    if (d->from->pes[old].parallelism != d->to->pes[pe].parallelism) {
        return true;
    }
    for (uint32_t i = m->first_new[pe]; i < m->first_new[pe + 1]; i++) {
        if (m->instance_old[i] == INDEX_NONE) {
            return true;
        }
    }
    return false;
}

/* mark_own - R1 but the last of its causes. */
static void mark_own(struct relocation *r, const struct diff *d, const struct match *m)
{
    const struct topology *a = d->from, *b = d->to;
    bool *anew = mem_array(b->pe_count, sizeof anew[0]);
    bool *added = mem_array(b->pe_count, sizeof added[0]);
    bool *removed = mem_array(b->pe_count, sizeof removed[0]);
    for (uint32_t i = 0; i < b->stream_count; i++) {
        uint32_t old = d->stream_old[i], to = b->streams[i].to_pe;
        if (old == INDEX_NONE) {
            added[to] = true;
        } else if (!is_kept(d, old, i)) {
            added[to] = true; /* re-pointed: removed from where it was */
        } else if (!stream_same_partitioning(a, &a->streams[old], b, &b->streams[i]) ||
                   is_one_to_one(a, old) != is_one_to_one(b, i)) {
            anew[to] = true;
        }
    }
    for (uint32_t i = 0; i < a->stream_count; i++) {
        uint32_t new = d->stream_new[i], to = d->pe_new[a->streams[i].to_pe];
        if (to != INDEX_NONE && (new == INDEX_NONE || !is_kept(d, i, new))) {
            removed[to] = true;
        }
    }
    for (uint32_t pe = 0; pe < b->pe_count; pe++) {
        bool several = b->pes[pe].parallelism > 1;
        r->relocated[pe] =
            d->pe_old[pe] != INDEX_NONE &&
            (has_moved(d, m, pe) || (several && (anew[pe] || (added[pe] && removed[pe]))));
    }
    mem_free(anew);
    mem_free(added);
    mem_free(removed);
}

/* ---- meeting */

struct reach {       /* from one source */
    bool *old, *new; /* [nodes]: by a path over a removed, an added stream */
    bool *any_old, *any_new;
    uint32_t *queue; /* [4 x nodes] */
};

/* walk - all nodes a source reaches in V (or V'), and those by a path that is not in the other. */
static void walk(const struct map *p, uint32_t source, enum where side, bool *any, bool *own,
                 uint32_t *queue)
{
    size_t head = 0, count = 0;
    memset(any, 0, p->node_count * sizeof any[0]);
    memset(own, 0, p->node_count * sizeof own[0]);
    any[source] = true;
    queue[count++] = source;
    while (head < count) {
        uint32_t x = queue[head++];
        for (uint32_t k = p->first[x]; k != 0; k = p->edges[k - 1].next) {
            const struct edge *e = &p->edges[k - 1];
            if ((e->where & side) == 0) {
                continue;
            }
            bool mine = own[x] || e->where != IN_BOTH;
            if (!any[e->to] || (mine && !own[e->to])) {
                any[e->to] = true;
                own[e->to] = own[e->to] || mine;
                queue[count++] = e->to; /* at most twice each */
            }
        }
    }
}

/* mark_met - R2 for one source: nodes reached both ways, by different in-streams. */
static void mark_met(const struct map *p, const struct reach *r, bool *meets)
{
    for (uint32_t i = 0; i < p->edge_count; i++) {
        const struct edge *e = &p->edges[i];
        if (!r->old[e->to] || !r->new[e->to] || e->to >= p->d->to->pe_count) {
            continue;
        }
        bool by_old = (e->where & IN_V) != 0 && r->any_old[e->from] &&
                      (r->old[e->from] || e->where != IN_BOTH);
        bool by_new = (e->where & IN_NEW) != 0 && r->any_new[e->from] &&
                      (r->new[e->from] || e->where != IN_BOTH);
        if (by_old != by_new) {
            meets[e->to] = true;
        }
    }
}

static void find_meetings(struct relocation *r, const struct map *p)
{
    const struct diff *d = p->d;
    bool changed = false;
    for (uint32_t i = 0; i < p->edge_count; i++) {
        changed = changed || p->edges[i].where != IN_BOTH;
    }
    struct reach reach = {
        .old = mem_array(p->node_count, sizeof(bool)),
        .new = mem_array(p->node_count, sizeof(bool)),
        .any_old = mem_array(p->node_count, sizeof(bool)),
        .any_new = mem_array(p->node_count, sizeof(bool)),
        .queue = mem_array((size_t)2 * p->node_count, sizeof(uint32_t)),
    };
    for (uint32_t pe = 0; pe < d->to->pe_count && changed; pe++) {
        if (d->pe_old[pe] != INDEX_NONE && d->to->pes[pe].input_count == 0) {
            walk(p, pe, IN_V, reach.any_old, reach.old, reach.queue);
            walk(p, pe, IN_NEW, reach.any_new, reach.new, reach.queue);
            mark_met(p, &reach, r->meets);
        }
    }
    mem_free(reach.old);
    mem_free(reach.new);
    mem_free(reach.any_old);
    mem_free(reach.any_new);
    mem_free(reach.queue);
}

/* divides_by - whether all in-streams of a PE are divided by one key, `*keys`; NULL: whichever. */
static bool divides_by(const struct topology *t, uint32_t pe, char **keys)
{
    bool one = true;
    for (uint32_t i = 0; i < t->stream_count && one; i++) {
        const struct stream *s = &t->streams[i];
        if (s->to_pe != pe) {
            continue;
        }
        char *k = stream_keys_text(t, s);
        one = s->partitioning == PART_KEYED && (*keys == NULL || strcmp(*keys, k) == 0);
        mem_free(*keys);
        *keys = k;
    }
    return one;
}

/* one_key - the old in-streams of a PE and the new ones are divided by the same key, so that its
 * tuples come to the same instance by whichever of them. */
static bool one_key(const struct diff *d, uint32_t pe)
{
    char *keys = NULL;
    bool one = divides_by(d->to, pe, &keys) && divides_by(d->from, d->pe_old[pe], &keys);
    mem_free(keys);
    return one;
}

/* ---- handed on by forward */

static void pass_on(struct relocation *r, const struct diff *d)
{
    const struct topology *a = d->from, *b = d->to;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < b->stream_count; i++) {
            const struct stream *s = &b->streams[i];
            if (r->relocated[s->from_pe] && !r->relocated[s->to_pe] && is_one_to_one(b, i) &&
                b->pes[s->to_pe].parallelism > 1 && d->pe_old[s->to_pe] != INDEX_NONE) {
                more = r->relocated[s->to_pe] = true;
            }
        }
        for (uint32_t i = 0; i < a->stream_count; i++) {
            const struct stream *s = &a->streams[i];
            uint32_t from = d->pe_new[s->from_pe], to = d->pe_new[s->to_pe];
            if (from != INDEX_NONE && to != INDEX_NONE && r->relocated[from] && !r->relocated[to] &&
                is_one_to_one(a, i) && a->pes[s->to_pe].parallelism > 1) {
                more = r->relocated[to] = true;
            }
        }
    }
}

void relocation_find(struct relocation *r, const struct diff *d, const struct match *m)
{
    struct map p;
    r->relocated = mem_array(d->to->pe_count, sizeof r->relocated[0]);
    r->meets = mem_array(d->to->pe_count, sizeof r->meets[0]);
    mark_own(r, d, m);
    map_init(&p, d);
    find_meetings(r, &p);
    map_fini(&p);
    for (uint32_t pe = 0; pe < d->to->pe_count; pe++) {
        if (r->meets[pe] && d->pe_old[pe] != INDEX_NONE && d->to->pes[pe].parallelism > 1 &&
            !r->relocated[pe]) {
            r->relocated[pe] = !one_key(d, pe);
        }
    }
    pass_on(r, d);
}

void relocation_fini(struct relocation *r)
{
    mem_free(r->relocated);
    mem_free(r->meets);
    *r = (struct relocation){0};
}
