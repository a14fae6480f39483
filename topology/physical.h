/* topology/physical.h - the physical graph: instances and channels, placed on workers.
 *
 * Owns:       struct pgraph.
 * Runs on:    anywhere; pure.
 * Invariants: G1 a fused channel joins two instances of one worker that are neighbours one-to-one:
 *                forward (or one instance on both sides), both on shared executors, the consumer
 *                has no other input channel and the producer's port no other stream.
 *             G2 per PE every key group has exactly one owner instance; no instance owns over one
 *                group more than another.
 *             G3 no worker holds more instances than slots.
 *             G4 placing the same topology on the same workers gives the same graph. */
#ifndef OXB_TOPOLOGY_PHYSICAL_H
#define OXB_TOPOLOGY_PHYSICAL_H

#include "topology/model.h"

struct worker_info {         /* what placement may know about one worker */
    char name[NAME_BYTES_MAX + 1];
    uint64_t id;
    uint64_t incarnation;    /* of its process */
    uint32_t slots;
    uint32_t slots_used;     /* by other topologies */
    bool draining;
    bool has_gpu;
    char host[256];          /* machine: OXB_LOCAL PEs are pinned to hosts */
    json_t *labels;          /* object of strings, or NULL */
    json_t *types;           /* names of PE types registered there only (array), or NULL */
};

#define INDEX_NONE UINT32_MAX  /* no PE, stream, instance, channel, worker */

struct pinstance {
    uint64_t id;             /* given by the caller's counter: never reused */
    uint32_t pe;             /* index in the topology */
    uint32_t index;          /* 0 .. parallelism-1 */
    uint32_t worker;         /* index into pgraph.workers; INDEX_NONE: not placed yet */
    uint32_t chain;          /* from 1; instances with the same chain run on the same executor */
};

struct pchannel {
    uint64_t id;             /* never reused */
    uint32_t stream;         /* index in the topology */
    uint32_t from, to;       /* indices into instances */
    bool fused;
};

struct pgraph {
    const struct topology *topology; /* borrowed */
    struct worker_info *workers;     /* those used or offered, in order of name */
    uint32_t worker_count;
    struct pinstance *instances;     /* by PE, then index */
    uint32_t instance_count;
    struct pchannel *channels;       /* by stream, then from, then to */
    uint32_t channel_count;
    uint16_t (*owners)[KEY_GROUPS];  /* [pes]: key group -> instance; NULL: physical_owner's */
    const char **hosts;              /* [pes] while placing: machine a PE is bound to, or NULL */
    const bool *apart;               /* [channels] while placing: not to be fused; NULL: none */
};

/* A placer chooses a worker for each instance that has none; a cluster scheduler may be another one
 * later. */
struct placer {
    void *ctx;
    enum err (*place)(void *ctx, struct pgraph *g, struct fail *f);
};
/* place.c: lanes of one-to-one streams stay together, the instances of one PE spread, then fewest
 * hops, then evenly by free slots; sources and OXB_LOCAL PEs on the host of the first worker. */
extern const struct placer placer_default;

/* physical_expand - instances and channels of a topology, placed and fused.
 * @next_id: in/out counter for instance and channel ids.  Return: NULL with `f` set when it does
 * not fit (too few slots, no worker with the labels). */
struct pgraph *physical_expand(const struct topology *t, const struct worker_info *workers,
                               uint32_t worker_count, const struct placer *placer,
                               uint64_t *next_id, struct fail *f);
void pgraph_free(struct pgraph *g);

/* physical_expand in two steps, for who has a say in places, ids and owners in between.
 * pgraph_outline: instances and channels without place, id, chain; owners by physical_owner.
 * pgraph_place:   places those that have no worker, then fuses and numbers chains from 1. */
struct pgraph *pgraph_outline(const struct topology *t, const struct worker_info *workers,
                              uint32_t worker_count);
MUST_CHECK enum err pgraph_place(struct pgraph *g, const struct placer *placer, struct fail *f);
/* place_may_run - labels, device, code and draining allow the PE on the worker, whatever slots. */
bool place_may_run(const struct pgraph *g, uint32_t pe, uint32_t worker);

/* physical_owner - which instance index (0..parallelism-1) owns a key group when nothing has moved:
 * contiguous ranges. */
static inline uint32_t physical_owner(unsigned group, uint32_t parallelism)
{
    return (uint32_t)(((uint64_t)group * parallelism) / KEY_GROUPS);
}

/* pgraph_owner - which instance index of a PE owns a key group in this graph. */
static inline uint32_t pgraph_owner(const struct pgraph *g, uint32_t pe, unsigned group)
{
    return g->owners != NULL ? g->owners[pe][group]
                             : physical_owner(group, g->topology->pes[pe].parallelism);
}

/* Drawings; `g` may be NULL for the logical graph only.  Caller frees. */
char *graph_text(const struct topology *t, const struct pgraph *g);
char *graph_dot(const struct topology *t, const struct pgraph *g);
char *graph_svg(const struct topology *t, const struct pgraph *g);
char *graph_json(const struct topology *t, const struct pgraph *g);

#endif
