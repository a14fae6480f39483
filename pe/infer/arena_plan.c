/* pe/infer/arena_plan.c - where values lie in the arena: liveness and first-fit.
 *
 * Invariants: M1-M3 of plan.h. */
#include "pe/infer/arena_plan.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/op.h"

#include <string.h>

/* Beyond so many blocks alive at once a new one goes to the end: keeps planning linear. */
#define GAPS_LOOKED_AT_MAX 4096

struct block { /* one place in use */
    size_t offset;
    size_t bytes;
    uint32_t owner; /* value */
};

struct planner {
    const struct graph *graph;
    struct arena_plan *plan;
    uint32_t *origin;  /* per value: the value whose place it shares, itself if none */
    uint32_t *pending; /* per origin: reads to come, of all its aliases; outputs count one more */
    struct block *live; /* by offset */
    size_t count, capacity;
    size_t live_bytes;
};

static size_t round_up(size_t bytes)
{
    size_t rounded = (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    return rounded != 0 ? rounded : TENSOR_ALIGN; /* empty tensors too have a place of their own */
}

static bool has_place(const struct graph *g, uint32_t v)
{
    return v != VALUE_NONE &&
           (g->values[v].kind == VALUE_INPUT || g->values[v].kind == VALUE_NODE);
}

static bool aliases(const struct graph *g, const struct node *n)
{
    if (n->row == NULL || (n->row->flags & OP_ALIAS) == 0 || n->input_count == 0 ||
        !has_place(g, n->inputs[0]) || n->output_count == 0 || n->outputs[0] == VALUE_NONE) {
        return false;
    }
    for (uint32_t i = 1; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            return false; /* Dropout's mask has to be computed */
        }
    }
    return tensor_bytes(&g->values[n->inputs[0]].type) ==
           tensor_bytes(&g->values[n->outputs[0]].type);
}

static void find_origins(struct planner *p)
{
    const struct graph *g = p->graph;
    uint32_t *uses = graph_uses(g);
    for (uint32_t v = 0; v < g->value_count; v++) {
        p->origin[v] = v;
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (!n->dead && aliases(g, n)) {
            p->origin[n->outputs[0]] = p->origin[n->inputs[0]];
        }
    }
    for (uint32_t v = 0; v < g->value_count; v++) {
        p->pending[p->origin[v]] += uses[v];
    }
    mem_free(uses);
}

static size_t find_gap(const struct planner *p, size_t bytes, size_t *at)
{
    size_t offset = 0;
    if (p->count > GAPS_LOOKED_AT_MAX) {
        *at = p->count;
        return p->live[p->count - 1].offset + p->live[p->count - 1].bytes;
    }
    for (size_t i = 0; i < p->count; i++) {
        if (p->live[i].offset - offset >= bytes) {
            *at = i;
            return offset;
        }
        offset = p->live[i].offset + p->live[i].bytes;
    }
    *at = p->count;
    return offset;
}

static void place(struct planner *p, uint32_t v)
{
    size_t bytes = round_up(tensor_bytes(&p->graph->values[v].type));
    size_t at = 0;
    size_t offset = find_gap(p, bytes, &at);
    p->live = mem_grow(p->live, p->count, &p->capacity, sizeof *p->live);
    memmove(&p->live[at + 1], &p->live[at], (p->count - at) * sizeof *p->live);
    p->live[at] = (struct block){offset, bytes, v};
    p->count++;
    p->plan->offsets[v] = offset;
    p->live_bytes += bytes;
    if (offset + bytes > p->plan->arena_bytes) {
        p->plan->arena_bytes = offset + bytes;
    }
    if (p->live_bytes > p->plan->live_bytes_max) {
        p->plan->live_bytes_max = p->live_bytes;
    }
}

static void release(struct planner *p, uint32_t origin)
{
    size_t low = 0, high = p->count;
    while (low < high) { /* live is sorted by offset */
        size_t middle = (low + high) / 2;
        if (p->live[middle].offset < p->plan->offsets[origin]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    p->live_bytes -= p->live[low].bytes;
    memmove(&p->live[low], &p->live[low + 1], (p->count - low - 1) * sizeof *p->live);
    p->count--;
}

static void plan_node(struct planner *p, const struct node *n)
{
    for (uint32_t i = 0; i < n->output_count; i++) {
        uint32_t v = n->outputs[i];
        if (v == VALUE_NONE) {
            continue;
        }
        if (p->origin[v] == v) {
            place(p, v);
        } else {
            p->plan->offsets[v] = p->plan->offsets[p->origin[v]];
        }
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        uint32_t v = n->inputs[i];
        if (has_place(p->graph, v) && --p->pending[p->origin[v]] == 0) {
            release(p, p->origin[v]);
        }
    }
    for (uint32_t i = 0; i < n->output_count; i++) { /* what nobody reads */
        uint32_t v = n->outputs[i];
        if (v != VALUE_NONE && p->origin[v] == v && p->pending[v] == 0) {
            release(p, v);
        }
    }
}

enum err arena_plan_init(struct arena_plan *plan, const struct graph *g, struct fail *f)
{
    *plan = (struct arena_plan){.offsets = mem_array(g->value_count, sizeof(size_t))};
    struct planner p = {
        .graph = g,
        .plan = plan,
        .origin = mem_array(g->value_count, sizeof(uint32_t)),
        .pending = mem_array(g->value_count, sizeof(uint32_t)),
    };
    for (uint32_t v = 0; v < g->value_count; v++) {
        plan->offsets[v] = ARENA_NOWHERE;
    }
    find_origins(&p);
    for (uint32_t i = 0; i < g->input_count; i++) { /* M3; they may be empty, but have a place */
        if (g->values[g->inputs[i]].kind == VALUE_INPUT) {
            place(&p, g->inputs[i]);
        }
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead) {
            plan_node(&p, &g->nodes[i]);
        }
    }
    mem_free(p.origin);
    mem_free(p.pending);
    mem_free(p.live);
    if (plan->arena_bytes > ARENA_BYTES_MAX) {
        arena_plan_fini(plan);
        return fail_set(f, ERR_LIMIT, "use smaller batches", "the model needs more than %llu MiB",
                        ARENA_BYTES_MAX >> 20);
    }
    return ERR_OK;
}

void arena_plan_fini(struct arena_plan *p)
{
    mem_free(p->offsets);
    *p = (struct arena_plan){0};
}

bool arena_plan_is_alias(const struct arena_plan *p, const struct graph *g, const struct node *n)
{
    return aliases(g, n) && p->offsets[n->outputs[0]] == p->offsets[n->inputs[0]];
}
