/* topology/physical.c - instances and channels of a topology, and which of them are fused.
 *
 * Invariants: G1 to G4 of physical.h; placement itself is place.c's. */
#include "topology/physical.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- making */

static void copy_workers(struct pgraph *g, const struct worker_info *workers, uint32_t count)
{
    g->workers = mem_array(count, sizeof g->workers[0]);
    g->worker_count = count;
    for (uint32_t i = 0; i < count; i++) {
        g->workers[i] = workers[i];
        json_incref(g->workers[i].labels);
        json_incref(g->workers[i].types);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct worker_info *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->id < y->id ? -1 : x->id > y->id ? 1 : 0;
}

/* make_instances - by PE, then index.  Return: first instance of each PE; caller frees. */
static uint32_t *make_instances(struct pgraph *g)
{
    const struct topology *t = g->topology;
    uint32_t *first = mem_array((size_t)t->pe_count + 1, sizeof first[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        first[i + 1] = first[i] + t->pes[i].parallelism;
    }
    g->instances = mem_array(first[t->pe_count], sizeof g->instances[0]);
    for (uint32_t pe = 0; pe < t->pe_count; pe++) {
        for (uint32_t i = 0; i < t->pes[pe].parallelism; i++) {
            g->instances[g->instance_count++] =
                (struct pinstance){.pe = pe, .index = i, .worker = INDEX_NONE};
        }
    }
    return first;
}

static void make_owners(struct pgraph *g)
{
    const struct topology *t = g->topology;
    g->owners = mem_array(t->pe_count, sizeof g->owners[0]);
    for (uint32_t pe = 0; pe < t->pe_count; pe++) {
        for (unsigned group = 0; group < KEY_GROUPS; group++) {
            g->owners[pe][group] = (uint16_t)physical_owner(group, t->pes[pe].parallelism);
        }
    }
}

static void make_channels(struct pgraph *g, const uint32_t *first)
{
    const struct topology *t = g->topology;
    size_t count = 0;
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint32_t from = t->pes[s->from_pe].parallelism, to = t->pes[s->to_pe].parallelism;
        count += stream_is_one_to_one(t, s) ? from : (size_t)from * to;
    }
    g->channels = mem_array(count, sizeof g->channels[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint32_t from = t->pes[s->from_pe].parallelism, to = t->pes[s->to_pe].parallelism;
        bool one = stream_is_one_to_one(t, s);
        for (uint32_t a = 0; a < from; a++) {
            for (uint32_t b = one ? a : 0; b < (one ? a + 1 : to); b++) {
                g->channels[g->channel_count++] = (struct pchannel){
                    .stream = i, .from = first[s->from_pe] + a, .to = first[s->to_pe] + b};
            }
        }
    }
}

/* ---- fusing */

/* fusible_streams - which streams may be fused by what the topology alone says (G1). */
static bool *fusible_streams(const struct topology *t)
{
    bool *fusible = mem_array(t->stream_count, sizeof fusible[0]);
    uint32_t *into = mem_array(t->pe_count, sizeof into[0]);
    uint32_t(*out)[PORTS_MAX] = mem_array(t->pe_count, sizeof out[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        into[t->streams[i].to_pe]++;
        out[t->streams[i].from_pe][t->streams[i].from_port]++;
    }
    for (uint32_t i = 0; i < t->stream_count && t->fusion; i++) {
        const struct stream *s = &t->streams[i];
        const struct pe *from = &t->pes[s->from_pe], *to = &t->pes[s->to_pe];
        fusible[i] = stream_is_one_to_one(t, s) && !from->own_thread && !to->own_thread &&
                     !from->isolate_process && !to->isolate_process && into[s->to_pe] == 1 &&
                     out[s->from_pe][s->from_port] == 1;
    }
    mem_free(into);
    mem_free(out);
    return fusible;
}

/* fuse - mark the channels of fusible streams whose two instances share a worker.  The way from a
 * chain's head stays below FUSION_DEPTH_MAX; streams are taken producers first, so that a long
 * chain is cut at its 32nd PE wherever names sort. */
static void fuse(struct pgraph *g)
{
    const struct topology *t = g->topology;
    bool *fusible = fusible_streams(t);
    uint32_t *depth = mem_array(g->instance_count, sizeof depth[0]);
    uint32_t *into = mem_array(g->instance_count, sizeof into[0]); /* channel + 1 to be fused */
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        bool apart = g->apart != NULL && g->apart[i];
        if (fusible[c->stream] && !apart &&
            g->instances[c->from].worker == g->instances[c->to].worker) {
            into[c->to] = i + 1;
        }
    }
    uint32_t *first = mem_array((size_t)t->pe_count + 1, sizeof first[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        first[i + 1] = first[i] + t->pes[i].parallelism;
    }
    for (uint32_t o = 0; o < t->pe_count; o++) {
        uint32_t pe = t->order[o];
        for (uint32_t i = first[pe]; i < first[pe + 1]; i++) {
            struct pchannel *c = into[i] != 0 ? &g->channels[into[i] - 1] : NULL;
            if (c != NULL && depth[c->from] + 1 < FUSION_DEPTH_MAX) {
                c->fused = true;
                depth[i] = depth[c->from] + 1;
                g->instances[i].chain = g->instances[c->from].chain;
            } else {
                g->instances[i].chain = i + 1; /* the head's number names its chain */
            }
        }
    }
    mem_free(first);
    mem_free(depth);
    mem_free(into);
    mem_free(fusible);
}

/* number_chains - from 1, without holes, in order of instance. */
static void number_chains(struct pgraph *g)
{
    uint32_t *number = mem_array((size_t)g->instance_count + 1, sizeof number[0]);
    uint32_t next = 1;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        uint32_t *n = &number[g->instances[i].chain];
        *n = *n != 0 ? *n : next++;
        g->instances[i].chain = *n;
    }
    mem_free(number);
}

/* ---- whole */

/* check_placed - a placer may be foreign: G3, and every worker number is one. */
static enum err check_placed(const struct pgraph *g, struct fail *f)
{
    uint32_t *used = mem_array(g->worker_count, sizeof used[0]);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < g->instance_count && e == ERR_OK; i++) {
        uint32_t w = g->instances[i].worker;
        if (w >= g->worker_count) {
            e = fail_set(f, ERR_INVALID, "", "the placer chose worker %u of %u", w,
                         g->worker_count);
        } else if (++used[w] + (uint64_t)g->workers[w].slots_used > g->workers[w].slots) {
            e = fail_set(f, ERR_FULL, "", "the placer put more on worker %s than it has slots",
                         g->workers[w].name);
        }
    }
    mem_free(used);
    return e;
}

struct pgraph *pgraph_outline(const struct topology *t, const struct worker_info *workers,
                              uint32_t worker_count)
{
    struct pgraph *g = mem_alloc(sizeof *g);
    g->topology = t;
    copy_workers(g, workers, worker_count);
    qsort(g->workers, worker_count, sizeof g->workers[0], by_name);
    uint32_t *first = make_instances(g);
    make_channels(g, first);
    make_owners(g);
    mem_free(first);
    return g;
}

enum err pgraph_place(struct pgraph *g, const struct placer *placer, struct fail *f)
{
    enum err e = placer->place(placer->ctx, g, f);
    if (e == ERR_OK) {
        e = check_placed(g, f);
    }
    if (e == ERR_OK) {
        fuse(g);
        number_chains(g);
    }
    return e;
}

struct pgraph *physical_expand(const struct topology *t, const struct worker_info *workers,
                               uint32_t worker_count, const struct placer *placer,
                               uint64_t *next_id, struct fail *f)
{
    struct pgraph *g = pgraph_outline(t, workers, worker_count);
    if (pgraph_place(g, placer, f) != ERR_OK) {
        pgraph_free(g);
        return NULL;
    }
    uint64_t id = *next_id;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        g->instances[i].id = id++;
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        g->channels[i].id = id++;
    }
    *next_id = id;
    return g;
}

void pgraph_free(struct pgraph *g)
{
    if (g == NULL) {
        return;
    }
    for (uint32_t i = 0; i < g->worker_count; i++) {
        json_decref(g->workers[i].labels);
        json_decref(g->workers[i].types);
    }
    mem_free(g->workers);
    mem_free(g->instances);
    mem_free(g->channels);
    mem_free(g->owners);
    mem_free(g->hosts);
    mem_free(g);
}
