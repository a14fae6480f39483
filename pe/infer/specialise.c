/* pe/infer/specialise.c - shapes for every value, constant folding, dead code.
 *
 * Invariants: G5 of graph.h.
 * Limits:     folding adds at most FOLD_BYTES_BASE and once more what the model's own constants
 *             have, subgraphs counted in; a heavy operator is folded only when small, and one with
 *             subgraphs only when all in them was, so that a hostile model cannot make loading
 *             slow. */
#include "pe/infer/specialise.h"

#include "core/mem.h"
#include "pe/infer/call.h"

#include <assert.h>

struct specialiser {
    struct graph *graph;
    struct call call;
    struct fail *fail;
};

/* ---- inputs ---- */

static enum err check_input(const struct value *v, const struct tensor *t, struct fail *f)
{
    char want[SHAPE_TEXT_BYTES], have[SHAPE_TEXT_BYTES];
    if (v->type.dtype != DT_NONE && v->type.dtype != t->dtype) {
        return fail_set(f, ERR_INVALID, "", "input '%.80s' is %s, the model wants %s", v->name,
                        dtype_name(t->dtype), dtype_name(v->type.dtype));
    }
    bool same = !v->has_shape || v->type.shape.rank == t->shape.rank;
    for (unsigned i = 0; same && v->has_shape && i < t->shape.rank; i++) {
        same = v->type.shape.dims[i] == DIM_FREE || v->type.shape.dims[i] == t->shape.dims[i];
    }
    size_t count;
    if (!same || !shape_count(&t->shape, &count)) {
        return fail_set(f, ERR_INVALID, "", "input '%.80s' has shape %s, the model wants %s",
                        v->name, shape_text(&t->shape, have), shape_text(&v->type.shape, want));
    }
    return ERR_OK;
}

enum err graph_check_inputs(const struct graph *g, const struct tensor *inputs, struct fail *f)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        enum err e = check_input(&g->values[g->inputs[i]], &inputs[i], f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static void take_inputs(struct graph *g, const struct tensor *inputs)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        struct value *v = &g->values[g->inputs[i]];
        tensor_share(&v->type, &inputs[i]);
        v->kind = inputs[i].data != NULL ? VALUE_CONST : VALUE_INPUT;
        v->has_shape = true;
    }
}

/* ---- folding ---- */

static size_t constant_bytes(const struct graph *g)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < g->value_count; i++) {
        if (g->values[i].kind == VALUE_CONST) {
            bytes += tensor_bytes(&g->values[i].type);
        }
    }
    return bytes;
}

static bool inputs_constant(const struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] != VALUE_NONE && g->values[n->inputs[i]].kind != VALUE_CONST) {
            return false;
        }
    }
    return true;
}

static size_t bytes_around(const struct graph *g, const uint32_t *values, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (values[i] != VALUE_NONE) {
            bytes += tensor_bytes(&g->values[values[i]].type);
        }
    }
    return bytes;
}

static bool has_subgraph(const struct node *n)
{
    for (uint32_t i = 0; i < n->attr_count; i++) {
        if (n->attrs[i].type == ATTR_GRAPH) {
            return true;
        }
    }
    return false;
}

static bool may_fold(const struct specialiser *s, const struct node *n)
{
    const struct graph *g = s->graph;
    unsigned flags = n->row->flags;
    if ((flags & (OP_RANDOM | OP_LOOPS)) != 0 || (has_subgraph(n) && !s->call.ctx.folds) ||
        ((flags & OP_SHAPE_ONLY) == 0 && !inputs_constant(g, n))) {
        return false;
    }
    size_t out = bytes_around(g, n->outputs, n->output_count);
    size_t in = (flags & OP_SHAPE_ONLY) != 0 ? 0 : bytes_around(g, n->inputs, n->input_count);
    return out <= s->call.ctx.budget->fold_bytes &&
           ((flags & OP_HEAVY) == 0 || out + in <= FOLD_HEAVY_BYTES_MAX);
}

static enum err fold(struct specialiser *s, struct node *n)
{
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            struct tensor *t = &s->graph->values[n->outputs[i]].type;
            enum err e = tensor_alloc(t, t->dtype, &t->shape, s->fail);
            if (e != ERR_OK) {
                return e;
            }
            s->call.ctx.budget->fold_bytes -= tensor_bytes(t);
        }
    }
    enum op_result r = op_run(&s->call.ctx);
    if (r != OP_OK) {
        return call_err(r);
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            s->graph->values[n->outputs[i]].kind = VALUE_CONST;
        }
    }
    n->dead = true;
    return ERR_OK;
}

/* ---- shapes ---- */

static bool reads_unknown(const struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] != VALUE_NONE && g->values[n->inputs[i]].type.dtype == DT_NONE) {
            return true;
        }
    }
    return false;
}

static void forget_outputs(struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            struct value *v = &g->values[n->outputs[i]];
            tensor_fini(&v->type); /* what a file declared about it is not relied on */
            v->has_shape = false;
        }
    }
}

static enum err specialise_node(struct specialiser *s, struct node *n)
{
    struct graph *g = s->graph;
    forget_outputs(g, n);
    call_bind(&s->call, n, &g->values[0].type, sizeof g->values[0]);
    if (n->row != NULL && reads_unknown(g, n)) {
        n->dynamic = true;
        return ERR_OK;
    }
    enum op_result r = op_infer(&s->call.ctx);
    if (r == OP_NEEDS_DATA ||
        (r == OP_OK && (n->row->flags & OP_SHRINKS) != 0 && !inputs_constant(g, n))) {
        forget_outputs(g, n);
        n->dynamic = true;
        return ERR_OK;
    }
    if (r != OP_OK) {
        return call_err(r);
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            g->values[n->outputs[i]].has_shape = true;
        }
    }
    return may_fold(s, n) ? fold(s, n) : ERR_OK;
}

void graph_drop_dead(struct graph *g)
{
    uint32_t *uses = graph_uses(g);
    for (uint32_t i = g->node_count; i-- > 0;) {
        struct node *n = &g->nodes[i];
        bool read = false;
        for (uint32_t k = 0; k < n->output_count; k++) {
            read = read || (n->outputs[k] != VALUE_NONE && uses[n->outputs[k]] > 0);
        }
        if (n->dead || read) {
            continue;
        }
        n->dead = true;
        for (uint32_t k = 0; k < n->input_count; k++) {
            if (n->inputs[k] != VALUE_NONE) {
                uses[n->inputs[k]]--;
            }
        }
    }
    mem_free(uses);
}

/* What nobody here can do is said before anything is worked out for the rest. */
static enum err refuse_unknown(struct specialiser *s)
{
    struct graph *g = s->graph;
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead && g->nodes[i].row == NULL) {
            call_bind(&s->call, &g->nodes[i], &g->values[0].type, sizeof g->values[0]);
            return call_err(op_infer(&s->call.ctx));
        }
    }
    return ERR_OK;
}

enum err graph_specialise(struct graph *g, const struct tensor *inputs, struct fail *f)
{
    struct op_budget budget = {INFER_LOOP_STEPS_MAX, FOLD_BYTES_BASE};
    return graph_specialise_within(g, inputs, &budget, f);
}

enum err graph_specialise_within(struct graph *g, const struct tensor *inputs,
                                 struct op_budget *budget, struct fail *f)
{
    enum err e = graph_check_inputs(g, inputs, f);
    if (e != ERR_OK) {
        return e;
    }
    take_inputs(g, inputs);
    graph_drop_dead(g);
    struct specialiser s = {.graph = g, .fail = f};
    call_init(&s.call, f);
    s.call.ctx.budget = budget;
    budget->fold_bytes += constant_bytes(g);
    e = refuse_unknown(&s);
    for (uint32_t i = 0; i < g->node_count && e == ERR_OK; i++) {
        if (!g->nodes[i].dead) {
            e = specialise_node(&s, &g->nodes[i]);
        }
    }
    call_fini(&s.call);
    if (e == ERR_OK) {
        graph_drop_dead(g);
    }
    return e;
}

const struct node *graph_dynamic_node(const struct graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead && g->nodes[i].dynamic) {
            return &g->nodes[i];
        }
    }
    return NULL;
}

bool graph_is_dynamic(const struct graph *g)
{
    return graph_dynamic_node(g) != NULL;
}

/* ---- the batch ---- */

void graph_mark_batched(struct graph *g, const struct graph *other)
{
    assert(g->value_count == other->value_count && g->batch > 0 && other->batch > 0);
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct shape *a = &g->values[i].type.shape;
        const struct shape *b = &other->values[i].type.shape;
        bool known = g->values[i].type.dtype != DT_NONE && a->rank == b->rank && a->rank > 0 &&
                     g->values[i].kind != VALUE_CONST;
        bool batched = known && a->dims[0] % g->batch == 0 && b->dims[0] % other->batch == 0 &&
                       a->dims[0] / g->batch == b->dims[0] / other->batch;
        for (unsigned d = 1; batched && d < a->rank; d++) {
            batched = a->dims[d] == b->dims[d];
        }
        g->values[i].batched = batched;
    }
}
