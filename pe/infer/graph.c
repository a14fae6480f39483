/* pe/infer/graph.c - building, copying, ordering and checking a graph.
 *
 * Invariants: G1-G3 of graph.h. */
#include "pe/infer/graph.h"

#include "core/mem.h"
#include "pe/infer/op.h"

#include <assert.h>
#include <string.h>

/* ---- life ---- */

struct graph *graph_new(void)
{
    struct graph *g = mem_alloc(sizeof *g);
    g->name = mem_dup("");
    atomic_init(&g->refs, 1);
    return g;
}

static void attr_fini(struct attr *a)
{
    mem_free(a->name);
    mem_free(a->s);
    mem_free(a->ints);
    mem_free(a->floats);
    for (uint32_t i = 0; a->strings != NULL && i < a->count; i++) {
        mem_free(a->strings[i]);
    }
    mem_free(a->strings);
    tensor_fini(&a->tensor);
    graph_free(a->graph);
}

void node_attrs_fini(struct node *n)
{
    for (uint32_t i = 0; i < n->attr_count; i++) {
        attr_fini(&n->attrs[i]);
    }
    mem_free(n->attrs);
    n->attrs = NULL;
    n->attr_count = 0;
}

static void node_fini(struct node *n)
{
    node_attrs_fini(n);
    mem_free(n->name);
    mem_free(n->op);
    mem_free(n->domain);
    mem_free(n->inputs);
    mem_free(n->outputs);
}

static void value_fini(struct value *v)
{
    mem_free(v->name);
    tensor_fini(&v->type);
    for (unsigned i = 0; i < TENSOR_RANK_MAX; i++) {
        mem_free(v->dim_names[i]);
    }
}

void graph_free(struct graph *g)
{
    if (g == NULL || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        node_fini(&g->nodes[i]);
    }
    for (uint32_t i = 0; i < g->value_count; i++) {
        value_fini(&g->values[i]);
    }
    mem_free(g->nodes);
    mem_free(g->values);
    mem_free(g->inputs);
    mem_free(g->outputs);
    mem_free(g->name);
    mem_free(g);
}

static void *copy_of(const void *p, size_t count, size_t size)
{
    if (p == NULL) {
        return NULL;
    }
    void *q = mem_array(count, size);
    memcpy(q, p, count * size);
    return q;
}

static void attr_copy(struct attr *to, const struct attr *a)
{
    *to = *a;
    to->name = mem_dup(a->name);
    to->s = a->s != NULL ? mem_dup_n(a->s, a->s_bytes) : NULL;
    to->ints = copy_of(a->ints, a->count, sizeof *a->ints);
    to->floats = copy_of(a->floats, a->count, sizeof *a->floats);
    to->strings = copy_of(a->strings, a->count, sizeof *a->strings);
    for (uint32_t i = 0; a->strings != NULL && i < a->count; i++) {
        to->strings[i] = mem_dup(a->strings[i]);
    }
    to->tensor = (struct tensor){0};
    tensor_share(&to->tensor, &a->tensor);
    if (a->graph != NULL) {
        atomic_fetch_add_explicit(&a->graph->refs, 1, memory_order_relaxed);
    }
}

static void node_copy(struct node *to, const struct node *n)
{
    *to = *n;
    to->name = mem_dup(n->name);
    to->op = mem_dup(n->op);
    to->domain = mem_dup(n->domain);
    to->inputs = copy_of(n->inputs, n->input_count, sizeof *n->inputs);
    to->outputs = copy_of(n->outputs, n->output_count, sizeof *n->outputs);
    to->attrs = mem_array(n->attr_count, sizeof *n->attrs);
    for (uint32_t i = 0; i < n->attr_count; i++) {
        attr_copy(&to->attrs[i], &n->attrs[i]);
    }
}

struct graph *graph_clone(const struct graph *g)
{
    struct graph *c = graph_new();
    mem_free(c->name);
    c->name = mem_dup(g->name);
    c->opset = g->opset;
    c->batch = g->batch;
    c->capture_count = g->capture_count;
    c->value_count = c->value_capacity = g->value_count;
    c->node_count = c->node_capacity = g->node_count;
    c->input_count = c->input_capacity = g->input_count;
    c->output_count = g->output_count;
    c->values = copy_of(g->values, g->value_count, sizeof *g->values);
    for (uint32_t i = 0; i < g->value_count; i++) {
        struct value *v = &c->values[i];
        v->name = mem_dup(v->name);
        v->type = (struct tensor){0};
        tensor_share(&v->type, &g->values[i].type);
        for (unsigned d = 0; d < TENSOR_RANK_MAX; d++) {
            v->dim_names[d] = mem_dup(v->dim_names[d]);
        }
    }
    c->nodes = mem_array(g->node_count, sizeof *g->nodes);
    for (uint32_t i = 0; i < g->node_count; i++) {
        node_copy(&c->nodes[i], &g->nodes[i]);
    }
    c->inputs = copy_of(g->inputs, g->input_count, sizeof *g->inputs);
    c->outputs = copy_of(g->outputs, g->output_count, sizeof *g->outputs);
    return c;
}

/* ---- building ---- */

uint32_t graph_add_value(struct graph *g, enum value_kind kind, const char *name)
{
    size_t capacity = g->value_capacity;
    g->values = mem_grow(g->values, g->value_count, &capacity, sizeof *g->values);
    g->value_capacity = (uint32_t)capacity;
    uint32_t v = g->value_count++;
    g->values[v] = (struct value){
        .kind = kind,
        .name = name != NULL ? mem_dup(name) : mem_printf("oxbow_%u", v),
        .node = VALUE_NONE,
    };
    return v;
}

void graph_add_input(struct graph *g, uint32_t value)
{
    size_t capacity = g->input_capacity;
    g->inputs = mem_grow(g->inputs, g->input_count, &capacity, sizeof *g->inputs);
    g->input_capacity = (uint32_t)capacity;
    g->inputs[g->input_count++] = value;
}

uint32_t graph_add_const(struct graph *g, const char *name, struct tensor *t TAKES)
{
    assert(t->data != NULL);
    uint32_t v = graph_add_value(g, VALUE_CONST, name);
    g->values[v].type = *t;
    g->values[v].has_shape = true;
    *t = (struct tensor){0};
    return v;
}

uint32_t graph_add_node(struct graph *g, const char *domain, const char *op, int opset,
                        const uint32_t *inputs, uint32_t input_count, const uint32_t *outputs,
                        uint32_t output_count)
{
    size_t capacity = g->node_capacity;
    g->nodes = mem_grow(g->nodes, g->node_count, &capacity, sizeof *g->nodes);
    g->node_capacity = (uint32_t)capacity;
    uint32_t at = g->node_count++;
    struct node *n = &g->nodes[at];
    *n = (struct node){
        .op = mem_dup(op),
        .domain = mem_dup(domain),
        .opset = opset,
        .row = op_find(domain, op, opset),
        .inputs = mem_array(input_count, sizeof *inputs),
        .input_count = input_count,
        .outputs = mem_array(output_count, sizeof *outputs),
        .output_count = output_count,
    };
    const char *first = "";
    for (uint32_t i = 0; i < input_count; i++) {
        n->inputs[i] = inputs[i];
    }
    for (uint32_t i = 0; i < output_count; i++) {
        n->outputs[i] = outputs[i];
        if (outputs[i] != VALUE_NONE) {
            struct value *v = &g->values[outputs[i]];
            v->kind = VALUE_NODE;
            v->node = at;
            v->output = i;
            first = *first == '\0' ? v->name : first;
        }
    }
    n->name = mem_printf("%s(%s)", op, first);
    return at;
}

static struct attr *attr_new(struct node *n, const char *name, enum attr_type type)
{
    for (uint32_t i = 0; i < n->attr_count; i++) {
        if (strcmp(n->attrs[i].name, name) == 0) {
            attr_fini(&n->attrs[i]);
            n->attrs[i] = (struct attr){.name = mem_dup(name), .type = type, .count = 1};
            return &n->attrs[i];
        }
    }
    n->attrs = mem_resize(n->attrs, n->attr_count + 1, sizeof *n->attrs);
    struct attr *a = &n->attrs[n->attr_count++];
    *a = (struct attr){.name = mem_dup(name), .type = type, .count = 1};
    return a;
}

void node_set_int(struct node *n, const char *name, int64_t v)
{
    attr_new(n, name, ATTR_INT)->i = v;
}

void node_set_float(struct node *n, const char *name, float v)
{
    attr_new(n, name, ATTR_FLOAT)->f = v;
}

void node_set_string(struct node *n, const char *name, const char *v)
{
    struct attr *a = attr_new(n, name, ATTR_STRING);
    a->s = mem_dup(v);
    a->s_bytes = strlen(v);
}

void node_set_ints(struct node *n, const char *name, const int64_t *v, uint32_t count)
{
    struct attr *a = attr_new(n, name, ATTR_INTS);
    a->ints = mem_array(count, sizeof *v);
    a->count = count;
    for (uint32_t i = 0; i < count; i++) {
        a->ints[i] = v[i];
    }
}

void node_set_floats(struct node *n, const char *name, const float *v, uint32_t count)
{
    struct attr *a = attr_new(n, name, ATTR_FLOATS);
    a->floats = mem_array(count, sizeof *v);
    a->count = count;
    for (uint32_t i = 0; i < count; i++) {
        a->floats[i] = v[i];
    }
}

void node_set_tensor(struct node *n, const char *name, const struct tensor *t)
{
    tensor_share(&attr_new(n, name, ATTR_TENSOR)->tensor, t);
}

void node_copy_attr(struct node *to, const struct attr *a)
{
    struct attr *slot = attr_new(to, a->name, a->type);
    struct attr copy;
    attr_copy(&copy, a);
    attr_fini(slot);
    *slot = copy;
}

void node_set_graph(struct node *n, const char *name, struct graph *g TAKES)
{
    attr_new(n, name, ATTR_GRAPH)->graph = g;
}

const struct attr *node_attr(const struct node *n, const char *name)
{
    for (uint32_t i = 0; i < n->attr_count; i++) {
        if (strcmp(n->attrs[i].name, name) == 0) {
            return &n->attrs[i];
        }
    }
    return NULL;
}

uint32_t graph_find(const struct graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->value_count; i++) {
        if (g->values[i].kind != VALUE_UNUSED && strcmp(g->values[i].name, name) == 0) {
            return i;
        }
    }
    return VALUE_NONE;
}

/* ---- order ----
 * Kahn's algorithm (1962): take what waits for nothing, then what that sets free.  Linear; a graph
 * that is in order already is left as it is. */

struct order {
    uint32_t *waiting;  /* per node: inputs not made yet */
    uint32_t *readers;  /* node numbers, grouped by the value they read */
    uint32_t *first;    /* [value_count + 1] where a value's readers begin */
    uint32_t *queue;    /* nodes in their new order */
    uint32_t queued;
};

static bool made_by_node(const struct graph *g, uint32_t v)
{
    return v != VALUE_NONE && g->values[v].kind == VALUE_NODE;
}

static void order_init(struct order *o, const struct graph *g)
{
    o->waiting = mem_array(g->node_count, sizeof *o->waiting);
    o->first = mem_array((size_t)g->value_count + 2, sizeof *o->first);
    o->queue = mem_array(g->node_count, sizeof *o->queue);
    o->queued = 0;
    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            uint32_t v = g->nodes[i].inputs[k];
            if (made_by_node(g, v)) {
                o->waiting[i]++;
                o->first[v + 2]++;
            }
        }
    }
    for (uint32_t v = 0; v < g->value_count; v++) {
        o->first[v + 2] += o->first[v + 1];
    }
    o->readers = mem_array(o->first[g->value_count + 1], sizeof *o->readers);
    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            uint32_t v = g->nodes[i].inputs[k];
            if (made_by_node(g, v)) {
                o->readers[o->first[v + 1]++] = i;
            }
        }
    }
}

static void order_fini(struct order *o)
{
    mem_free(o->waiting);
    mem_free(o->first);
    mem_free(o->queue);
    mem_free(o->readers);
}

static void order_run(struct order *o, const struct graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (o->waiting[i] == 0) {
            o->queue[o->queued++] = i;
        }
    }
    for (uint32_t done = 0; done < o->queued; done++) {
        const struct node *n = &g->nodes[o->queue[done]];
        for (uint32_t k = 0; k < n->output_count; k++) {
            uint32_t v = n->outputs[k];
            for (uint32_t r = v == VALUE_NONE ? 0 : o->first[v];
                 v != VALUE_NONE && r < o->first[v + 1]; r++) {
                if (--o->waiting[o->readers[r]] == 0) {
                    o->queue[o->queued++] = o->readers[r];
                }
            }
        }
    }
}

static bool is_sorted(const struct graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            uint32_t v = g->nodes[i].inputs[k];
            if (made_by_node(g, v) && g->values[v].node >= i) {
                return false;
            }
        }
    }
    return true;
}

static void apply_order(struct graph *g, const uint32_t *queue)
{
    struct node *sorted = mem_array(g->node_count, sizeof *sorted);
    for (uint32_t i = 0; i < g->node_count; i++) {
        sorted[i] = g->nodes[queue[i]];
        for (uint32_t k = 0; k < sorted[i].output_count; k++) {
            if (sorted[i].outputs[k] != VALUE_NONE) {
                g->values[sorted[i].outputs[k]].node = i;
            }
        }
    }
    mem_free(g->nodes);
    g->nodes = sorted;
    g->node_capacity = g->node_count;
}

enum err graph_sort(struct graph *g, struct fail *f)
{
    if (is_sorted(g)) {
        return ERR_OK;
    }
    enum err e = ERR_OK;
    struct order o;
    order_init(&o, g);
    order_run(&o, g);
    if (o.queued == g->node_count) {
        apply_order(g, o.queue);
    } else {
        uint32_t stuck = 0;
        while (o.waiting[stuck] == 0) {
            stuck++;
        }
        e = fail_set(f, ERR_INVALID, "a model is a graph without cycles",
                     "node '%.80s' (%.60s) depends on its own output", g->nodes[stuck].name,
                     g->nodes[stuck].op);
    }
    order_fini(&o);
    return e;
}

/* ---- checks and uses ---- */

static bool check_node(const struct graph *g, uint32_t at, struct fail *f)
{
    const struct node *n = &g->nodes[at];
    for (uint32_t k = 0; k < n->input_count; k++) {
        uint32_t v = n->inputs[k];
        if (v == VALUE_NONE) {
            continue;
        }
        if (v >= g->value_count || g->values[v].kind == VALUE_UNUSED ||
            (g->values[v].kind == VALUE_NODE && g->values[v].node >= at)) {
            fail_set(f, ERR_INVALID, "", "node '%s': input %u is not made before it", n->name, k);
            return false;
        }
    }
    for (uint32_t k = 0; k < n->output_count; k++) {
        uint32_t v = n->outputs[k];
        if (v == VALUE_NONE) {
            continue;
        }
        if (v >= g->value_count || g->values[v].kind != VALUE_NODE || g->values[v].node != at ||
            g->values[v].output != k) {
            fail_set(f, ERR_INVALID, "", "node '%s': output %u is not its own", n->name, k);
            return false;
        }
    }
    return true;
}

bool graph_check(const struct graph *g, struct fail *f)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!g->nodes[i].dead && !check_node(g, i, f)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        uint32_t v = g->outputs[i];
        if (v >= g->value_count || g->values[v].kind == VALUE_UNUSED ||
            (g->values[v].kind == VALUE_NODE && g->nodes[g->values[v].node].dead)) {
            fail_set(f, ERR_INVALID, "", "output %u of the graph is not made", i);
            return false;
        }
    }
    return true;
}

uint32_t *graph_uses(const struct graph *g)
{
    uint32_t *uses = mem_array(g->value_count, sizeof *uses);
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        for (uint32_t k = 0; k < n->input_count && !n->dead; k++) {
            if (n->inputs[k] != VALUE_NONE) {
                uses[n->inputs[k]]++;
            }
        }
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        uses[g->outputs[i]]++;
    }
    return uses;
}

void graph_replace_uses(struct graph *g, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            if (g->nodes[i].inputs[k] == from) {
                g->nodes[i].inputs[k] = to;
            }
        }
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        if (g->outputs[i] == from) {
            g->outputs[i] = to;
        }
    }
}
