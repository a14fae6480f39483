/* topology/place.c - the default placer.
 *
 * Instances that one-to-one streams join form a lane; a lane stays on one worker wherever it fits.
 * Lanes are placed producers first, each on the allowed worker that, in this order:
 *   1. has the fewest instances of the same PEs (parallelism is there to use several workers),
 *   2. leaves the fewest channels to instances elsewhere (hops),
 *   3. has the most free slots, 4. comes first by name.
 * A lane that fits nowhere as a whole is placed instance by instance in the same way.
 * Sources and PEs bound to files or ports stay on the host of the first worker they may use.
 *
 * Invariants: G3 and G4 of physical.h. */
#include "topology/physical.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE INDEX_NONE

struct placing {
    struct pgraph *g;
    uint32_t *free_slots; /* [workers] */
    bool *allowed;        /* [pes][workers] */
    uint32_t *copies;     /* [pes][workers]: instances of the PE placed there */
    uint32_t *lane;       /* [instances]: union-find, then the lane's head */
    uint32_t *next;       /* [instances]: next member of the lane + 1 */
    uint32_t *first;      /* [instances + 1]: channels of an instance in `links` */
    uint32_t *links;      /* [2 x channels]: the instance at the other end */
    uint32_t *near;       /* [workers]: scratch, channels of a lane that end there */
};

/* ---- what a PE allows */

static bool has_labels(const struct worker_info *w, const json_t *wanted)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)wanted, key, value)
    {
        const json_t *has = json_object_get(w->labels, key);
        if (has == NULL || !json_equal(has, value)) {
            return false;
        }
    }
    return true;
}

static bool lists_type(const struct worker_info *w, const char *type)
{
    for (size_t i = 0; i < json_array_size(w->types); i++) {
        const char *name = json_string_value(json_array_get(w->types, i));
        if (name != NULL && strcmp(name, type) == 0) {
            return true;
        }
    }
    return false;
}

/* is_registered - an embedding program brings the type: it runs there only. */
static bool is_registered(const struct pgraph *g, const struct pe *p)
{
    for (uint32_t w = 0; w < g->worker_count; w++) {
        if (lists_type(&g->workers[w], p->use)) {
            return true;
        }
    }
    return false;
}

static bool may_run(const struct worker_info *w, const struct pe *p, bool registered)
{
    return !w->draining && (!registered || lists_type(w, p->use)) &&
           (strcmp(p->device, "gpu") != 0 || w->has_gpu) && has_labels(w, p->labels);
}

bool place_may_run(const struct pgraph *g, uint32_t pe, uint32_t worker)
{
    const struct pe *p = &g->topology->pes[pe];
    return may_run(&g->workers[worker], p, is_registered(g, p));
}

static void find_allowed(const struct pgraph *g, uint32_t pe, bool *allowed)
{
    const struct pe *p = &g->topology->pes[pe];
    bool registered = is_registered(g, p);
    const char *host = g->hosts != NULL ? g->hosts[pe] : NULL;
    bool bound = host != NULL || p->desc->source || p->desc->local;
    for (uint32_t w = 0; w < g->worker_count; w++) {
        const struct worker_info *worker = &g->workers[w];
        allowed[w] = worker->slots_used < worker->slots && may_run(worker, p, registered);
        if (allowed[w] && host == NULL) {
            host = worker->host;
        }
        if (allowed[w] && bound && strcmp(worker->host, host) != 0) {
            allowed[w] = false;
        }
    }
}

/* ---- lanes */

static uint32_t lane_of(uint32_t *lane, uint32_t i)
{
    while (lane[i] != i) {
        lane[i] = lane[lane[i]];
        i = lane[i];
    }
    return i;
}

static void make_lanes(struct placing *p)
{
    const struct pgraph *g = p->g;
    for (uint32_t i = 0; i < g->instance_count; i++) {
        p->lane[i] = i;
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        if (stream_is_one_to_one(g->topology, &g->topology->streams[c->stream])) {
            uint32_t a = lane_of(p->lane, c->from), b = lane_of(p->lane, c->to);
            p->lane[a > b ? a : b] = a > b ? b : a;
        }
    }
    for (uint32_t i = g->instance_count; i-- > 0;) {
        uint32_t head = lane_of(p->lane, i);
        p->lane[i] = head;
        if (i != head) { /* descending, so that members stand in ascending order */
            p->next[i] = p->next[head];
            p->next[head] = i + 1;
        }
    }
}

static void make_links(struct placing *p)
{
    const struct pgraph *g = p->g;
    uint32_t *first = p->first;
    for (uint32_t i = 0; i < g->channel_count; i++) {
        first[g->channels[i].from + 2]++;
        first[g->channels[i].to + 2]++;
    }
    for (uint32_t i = 2; i < g->instance_count + 2; i++) {
        first[i] += first[i - 1];
    }
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        p->links[first[c->from + 1]++] = c->to;
        p->links[first[c->to + 1]++] = c->from;
    }
}

/* ---- placing */

/* count_near - how many channels of these members end on each worker. */
static void count_near(struct placing *p, uint32_t head, bool whole)
{
    memset(p->near, 0, p->g->worker_count * sizeof p->near[0]);
    for (uint32_t i = head + 1; i != 0; i = whole ? p->next[i - 1] : 0) {
        for (uint32_t k = p->first[i - 1]; k < p->first[i]; k++) {
            uint32_t w = p->g->instances[p->links[k]].worker;
            if (w != NOWHERE) {
                p->near[w]++;
            }
        }
    }
}

struct score {
    uint32_t copies, near, slots;
};

static bool is_better(const struct score *a, const struct score *b)
{
    if (a->copies != b->copies) {
        return a->copies < b->copies;
    }
    return a->near != b->near ? a->near > b->near : a->slots > b->slots;
}

/* place_members - a lane (whole) or one instance.  Return: false when no worker takes it. */
static bool place_members(struct placing *p, uint32_t head, bool whole)
{
    struct pgraph *g = p->g;
    uint32_t best = NOWHERE;
    struct score best_score = {0};
    count_near(p, head, whole);
    for (uint32_t w = 0; w < g->worker_count; w++) {
        struct score score = {0, p->near[w], p->free_slots[w]};
        uint32_t size = 0;
        bool fits = true;
        for (uint32_t i = head + 1; i != 0 && fits; i = whole ? p->next[i - 1] : 0) {
            size_t at = (size_t)g->instances[i - 1].pe * g->worker_count + w;
            score.copies += p->copies[at];
            fits = p->allowed[at] && ++size <= p->free_slots[w];
        }
        if (fits && (best == NOWHERE || is_better(&score, &best_score))) {
            best = w;
            best_score = score;
        }
    }
    if (best == NOWHERE) {
        return false;
    }
    for (uint32_t i = head + 1; i != 0; i = whole ? p->next[i - 1] : 0) {
        g->instances[i - 1].worker = best;
        p->free_slots[best]--;
        p->copies[(size_t)g->instances[i - 1].pe * g->worker_count + best]++;
    }
    return true;
}

static enum err no_room(const struct placing *p, uint32_t pe, struct fail *f)
{
    const struct pgraph *g = p->g;
    const struct pe *x = &g->topology->pes[pe];
    const bool *allowed = p->allowed + (size_t)pe * g->worker_count;
    uint32_t workers = 0;
    uint64_t slots = 0;
    for (uint32_t w = 0; w < g->worker_count; w++) {
        workers += allowed[w];
        slots += g->workers[w].slots > g->workers[w].slots_used && !g->workers[w].draining
                     ? g->workers[w].slots - g->workers[w].slots_used
                     : 0;
    }
    if (g->worker_count == 0) {
        return fail_set(f, ERR_FULL, "start one: oxbow-worker --master HOST:PORT",
                        "there is no worker");
    }
    if (workers == 0) {
        char *labels = x->labels != NULL ? json_dumps(x->labels, JSON_COMPACT) : NULL;
        enum err e =
            fail_set(f, ERR_NOTFOUND, "start a worker that fits, or change `place:`",
                     "no worker may run '%s' (%s%.200s)", x->name,
                     g->hosts != NULL && g->hosts[pe] != NULL
                         ? "it is bound to files or ports of its machine"
                     : labels != NULL ? "it asks for the labels "
                                      : "all are draining or full, or lack its code",
                     labels != NULL && (g->hosts == NULL || g->hosts[pe] == NULL) ? labels : "");
        mem_free(labels);
        return e;
    }
    return fail_set(
        f, ERR_FULL, "start another worker, give more --slots, or lower parallelism",
        "'%s' has no slot left: the topology has %u instances, the workers have %llu free"
        " slots",
        x->name, g->instance_count, (unsigned long long)slots);
}

/* place_one - the lane of an instance if it can go whole, else the instance alone. */
static enum err place_one(struct placing *p, uint32_t i, struct fail *f)
{
    uint32_t head = p->lane[i];
    struct pinstance *instance = &p->g->instances[i];
    if (instance->worker != NOWHERE) {
        return ERR_OK;
    }
    bool broken = false; /* another member went alone before */
    for (uint32_t m = head + 1; m != 0; m = p->next[m - 1]) {
        broken = broken || p->g->instances[m - 1].worker != NOWHERE;
    }
    if ((!broken && place_members(p, head, true)) || place_members(p, i, false)) {
        return ERR_OK;
    }
    return no_room(p, instance->pe, f);
}

static void placing_init(struct placing *p, struct pgraph *g)
{
    size_t cells = (size_t)g->topology->pe_count * g->worker_count;
    size_t n = g->instance_count;
    *p = (struct placing){
        .g = g,
        .free_slots = mem_array(g->worker_count, sizeof(uint32_t)),
        .allowed = mem_array(cells, sizeof(bool)),
        .copies = mem_array(cells, sizeof(uint32_t)),
        .lane = mem_array(n, sizeof(uint32_t)),
        .next = mem_array(n, sizeof(uint32_t)),
        .first = mem_array(n + 2, sizeof(uint32_t)),
        .links = mem_array((size_t)2 * g->channel_count, sizeof(uint32_t)),
        .near = mem_array(g->worker_count, sizeof(uint32_t)),
    };
    for (uint32_t w = 0; w < g->worker_count; w++) {
        const struct worker_info *worker = &g->workers[w];
        p->free_slots[w] =
            worker->slots > worker->slots_used ? worker->slots - worker->slots_used : 0;
    }
    for (uint32_t i = 0; i < g->topology->pe_count; i++) {
        find_allowed(g, i, p->allowed + (size_t)i * g->worker_count);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w = g->instances[i].worker;
        if (w != NOWHERE) { /* placed by who knows better */
            p->free_slots[w] -= p->free_slots[w] > 0;
            p->copies[(size_t)g->instances[i].pe * g->worker_count + w]++;
        }
    }
    make_lanes(p);
    make_links(p);
}

static void placing_fini(struct placing *p)
{
    mem_free(p->free_slots);
    mem_free(p->allowed);
    mem_free(p->copies);
    mem_free(p->lane);
    mem_free(p->next);
    mem_free(p->first);
    mem_free(p->links);
    mem_free(p->near);
}

static enum err place(void *ctx, struct pgraph *g, struct fail *f)
{
    (void)ctx;
    const struct topology *t = g->topology;
    struct placing p;
    enum err e = ERR_OK;
    placing_init(&p, g);
    uint32_t *start = mem_array((size_t)t->pe_count + 1, sizeof start[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        start[i + 1] = start[i] + t->pes[i].parallelism;
    }
    for (uint32_t o = 0; o < t->pe_count && e == ERR_OK; o++) {
        uint32_t pe = t->order[o];
        for (uint32_t i = start[pe]; i < start[pe + 1] && e == ERR_OK; i++) {
            e = place_one(&p, i, f);
        }
    }
    mem_free(start);
    placing_fini(&p);
    return e;
}

const struct placer placer_default = {NULL, place};
