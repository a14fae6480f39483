/* topology/match.c - finds who stays, places the rest, and hands out ids and key groups.
 *
 * Invariants: K1 to K5 of match.h.
 * Why:        an upgrade touches what this does not match; so a cosmetic edit touches nothing. */
#include "topology/match.h"

#include "core/mem.h"

#include <string.h>

static uint32_t *nobody(uint32_t count)
{
    uint32_t *all = mem_array(count, sizeof all[0]);
    memset(all, 0xff, count * sizeof all[0]);
    return all;
}

static uint32_t *first_instances(const struct topology *t)
{
    uint32_t *first = mem_array((size_t)t->pe_count + 1, sizeof first[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        first[i + 1] = first[i] + t->pes[i].parallelism;
    }
    return first;
}

/* ---- workers */

static enum err match_workers(struct match *m, struct fail *f)
{
    const struct pgraph *a = m->from, *b = m->to;
    bool *used = mem_array(a->worker_count, sizeof used[0]);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < a->instance_count; i++) {
        used[a->instances[i].worker] = true;
    }
    m->worker_new = nobody(a->worker_count);
    for (uint32_t w = 0; w < a->worker_count && e == ERR_OK; w++) {
        for (uint32_t k = 0; k < b->worker_count; k++) {
            if (strcmp(a->workers[w].name, b->workers[k].name) == 0) {
                m->worker_new[w] = k;
            }
        }
        if (used[w] && m->worker_new[w] == INDEX_NONE) {
            e = fail_set(f, ERR_NOTFOUND, "wait until it is back, or until it is recovered from",
                         "worker '%s', which runs a part of the topology, is missing",
                         a->workers[w].name);
        }
    }
    mem_free(used);
    return e;
}

/* ---- instances */

/* bind_hosts - a PE that holds files or ports goes on where these are. */
static void bind_hosts(struct match *m, const struct diff *d)
{
    struct pgraph *g = m->to;
    g->hosts = mem_array(g->topology->pe_count, sizeof g->hosts[0]);
    for (uint32_t pe = 0; pe < g->topology->pe_count; pe++) {
        uint32_t old = d->pe_old[pe];
        if (old != INDEX_NONE && d->from->pes[old].desc->local) {
            uint32_t w = m->worker_new[m->from->instances[m->first_old[old]].worker];
            g->hosts[pe] = g->workers[w].host;
        }
    }
}

static void match_instances(struct match *m, const struct diff *d)
{
    struct pgraph *g = m->to;
    m->instance_old = nobody(g->instance_count);
    m->heir_old = nobody(g->instance_count);
    m->instance_new = nobody(m->from->instance_count);
    m->heir_new = nobody(m->from->instance_count);
    for (uint32_t pe = 0; pe < g->topology->pe_count; pe++) {
        uint32_t old = d->pe_old[pe];
        if (old == INDEX_NONE) {
            continue;
        }
        uint32_t a = d->from->pes[old].parallelism, b = d->to->pes[pe].parallelism;
        for (uint32_t i = 0; i < (a < b ? a : b); i++) {
            uint32_t x = m->first_old[old] + i, y = m->first_new[pe] + i;
            uint32_t w = m->worker_new[m->from->instances[x].worker];
            m->heir_old[y] = x;
            m->heir_new[x] = y;
            if (place_may_run(g, pe, w)) { /* K1 */
                m->instance_old[y] = x;
                m->instance_new[x] = y;
                g->instances[y].worker = w;
            }
        }
    }
}

/* ---- channels */

/* channel_at - the channel of a stream between two instance indices, or INDEX_NONE. */
static uint32_t channel_at(const struct topology *t, const uint32_t *first, uint32_t stream,
                           uint32_t from, uint32_t to)
{
    const struct stream *s = &t->streams[stream];
    if (stream_is_one_to_one(t, s)) {
        return from == to ? first[stream] + from : INDEX_NONE;
    }
    return first[stream] + from * t->pes[s->to_pe].parallelism + to;
}

static uint32_t *first_channels(const struct pgraph *g)
{
    const struct topology *t = g->topology;
    uint32_t *first = mem_array((size_t)t->stream_count + 1, sizeof first[0]);
    for (uint32_t i = 0; i < g->channel_count; i++) {
        first[g->channels[i].stream + 1]++;
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        first[i + 1] += first[i];
    }
    return first;
}

static void match_channels(struct match *m, const struct diff *d)
{
    const struct pgraph *a = m->from, *b = m->to;
    uint32_t *first = first_channels(a);
    bool *same = mem_array(b->topology->stream_count, sizeof same[0]);
    m->channel_old = nobody(b->channel_count);
    m->channel_new = nobody(a->channel_count);
    for (uint32_t i = 0; i < b->topology->stream_count; i++) {
        same[i] = d->stream_old[i] != INDEX_NONE && stream_same_channels(d, d->stream_old[i], i);
    }
    for (uint32_t i = 0; i < b->channel_count; i++) {
        const struct pchannel *c = &b->channels[i];
        uint32_t stream = d->stream_old[c->stream];
        uint32_t from = m->instance_old[c->from], to = m->instance_old[c->to];
        if (!same[c->stream] || from == INDEX_NONE || to == INDEX_NONE) {
            continue;
        }
        uint32_t k = channel_at(a->topology, first, stream, a->instances[from].index,
                                a->instances[to].index);
        if (k < a->channel_count && a->channels[k].from == from && a->channels[k].to == to &&
            a->channels[k].stream == stream && a->channels[k].fused == c->fused) { /* K2 */
            m->channel_old[i] = k;
            m->channel_new[k] = i;
        }
    }
    mem_free(first);
    mem_free(same);
}

/* ---- ids and chains */

static void give_ids(struct match *m, uint64_t *next_id)
{
    struct pgraph *g = m->to;
    uint64_t id = *next_id;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        uint32_t old = m->instance_old[i];
        g->instances[i].id = old != INDEX_NONE ? m->from->instances[old].id : id++; /* K3 */
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        uint32_t old = m->channel_old[i];
        g->channels[i].id = old != INDEX_NONE ? m->from->channels[old].id : id++;
    }
    *next_id = id;
}

/* keep_chains - K5; other chains get numbers that V does not use. */
static void keep_chains(struct match *m)
{
    struct pgraph *g = m->to;
    uint32_t last = 0;
    for (uint32_t i = 0; i < m->from->instance_count; i++) {
        last = m->from->instances[i].chain > last ? m->from->instances[i].chain : last;
    }
    uint32_t *number = mem_array((size_t)g->instance_count + 1, sizeof number[0]);
    bool *taken = mem_array((size_t)last + 1, sizeof taken[0]);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        uint32_t old = m->instance_old[i], *n = &number[g->instances[i].chain];
        if (old != INDEX_NONE && *n == 0 && !taken[m->from->instances[old].chain]) {
            *n = m->from->instances[old].chain;
            taken[*n] = true;
        }
    }
    for (uint32_t i = 0; i < g->instance_count; i++) {
        uint32_t *n = &number[g->instances[i].chain];
        *n = *n != 0 ? *n : ++last;
        g->instances[i].chain = *n;
    }
    mem_free(number);
    mem_free(taken);
}

/* ---- key groups */

uint32_t owners_rebalance(uint16_t owners[KEY_GROUPS], uint32_t count)
{
    uint32_t has[KEY_GROUPS] = {0}, may[KEY_GROUPS] = {0}, moved = 0;
    uint32_t least = KEY_GROUPS / count, spare = KEY_GROUPS % count; /* `spare` may have one more */
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (owners[g] < count) {
            has[owners[g]]++;
        }
    }
    for (uint32_t i = 0; i < count; i++) { /* who has more than the least keeps one more */
        bool more = has[i] > least && spare > 0;
        may[i] = least + more;
        spare -= more;
    }
    for (uint32_t i = count; i-- > 0 && spare > 0;) {
        if (may[i] == least) {
            may[i]++;
            spare--;
        }
    }
    uint32_t to = 0;
    uint32_t kept[KEY_GROUPS] = {0};
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (owners[g] < count && kept[owners[g]] < may[owners[g]]) {
            kept[owners[g]]++;
            continue;
        }
        while (has[to] >= may[to]) {
            to++; /* someone has room: the sum of `may` is KEY_GROUPS */
        }
        has[to]++;
        owners[g] = (uint16_t)to;
        moved++;
    }
    return moved;
}

static void give_owners(struct match *m, const struct diff *d)
{
    struct pgraph *g = m->to;
    for (uint32_t pe = 0; pe < g->topology->pe_count; pe++) {
        uint32_t old = d->pe_old[pe], count = g->topology->pes[pe].parallelism;
        if (old == INDEX_NONE || count > KEY_GROUPS) { /* not keyed, then: check_sizes */
            continue;
        }
        for (unsigned k = 0; k < KEY_GROUPS; k++) {
            g->owners[pe][k] = (uint16_t)pgraph_owner(m->from, old, k);
        }
        owners_rebalance(g->owners[pe], count);
    }
}

/* ---- whole */

struct match *match_graphs(const struct pgraph *running, const struct diff *diff,
                           const struct worker_info *workers, uint32_t worker_count,
                           const struct placer *placer, uint64_t *next_id, struct fail *f)
{
    struct match *m = mem_alloc(sizeof *m);
    m->from = running;
    m->to = pgraph_outline(diff->to, workers, worker_count);
    m->first_old = first_instances(diff->from);
    m->first_new = first_instances(diff->to);
    enum err e = ERR_OK;
    if (running->instance_count != m->first_old[diff->from->pe_count]) {
        e = fail_set(f, ERR_INVALID, "", "the running graph has %u instances, its topology %u",
                     running->instance_count, m->first_old[diff->from->pe_count]);
    }
    if (e == ERR_OK) {
        e = match_workers(m, f);
    }
    if (e == ERR_OK) {
        bind_hosts(m, diff);
        match_instances(m, diff);
        e = pgraph_place(m->to, placer, f);
        mem_free(m->to->hosts);
        m->to->hosts = NULL;
    }
    if (e != ERR_OK) {
        match_free(m);
        return NULL;
    }
    match_channels(m, diff);
    give_ids(m, next_id);
    keep_chains(m);
    give_owners(m, diff);
    return m;
}

void match_free(struct match *m)
{
    if (m == NULL) {
        return;
    }
    pgraph_free(m->to);
    mem_free(m->instance_old);
    mem_free(m->instance_new);
    mem_free(m->heir_old);
    mem_free(m->heir_new);
    mem_free(m->channel_old);
    mem_free(m->channel_new);
    mem_free(m->worker_new);
    mem_free(m->first_old);
    mem_free(m->first_new);
    mem_free(m);
}
