/* pe/infer/load.c - ModelProto to graph.
 *
 * Owns:       struct loader: one graph or subgraph being read, and the names in its scope.
 * Order:      initialisers and inputs get their values first, then every node's outputs, then every
 *             node's inputs: files need not be sorted, graph_sort does that and finds cycles.
 * Subgraphs:  read when their node's inputs are, all outer names being known by then.  A name that
 *             is not its own becomes an input of the subgraph, its captures, and one of the node:
 *             so order, cycles and lifetimes see what a branch reads.
 * Invariants: L1, L2 of load.h. */
#include "pe/infer/load.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/names.h"
#include "pe/infer/op.h"
#include "pe/infer/proto.h"
#include "pe/infer/specialise.h"

#include <stdio.h>
#include <string.h>

struct census { /* of the model and all its subgraphs so far, what they capture included */
    size_t nodes, values, reads;
};

struct loader {
    const Onnx__ModelProto *model;
    struct loader *outer; /* of a subgraph: of the graph around it */
    struct graph *graph;
    struct names names;
    struct census *census;
    char place[200]; /* for messages: "in node 'l' (Loop), 'body': "; "" in the model itself */
    struct fail *fail;
};

/* ---- how much there is ----
 * A name that is captured through several subgraphs is a value in each, and an input of each node
 * around: little in the file, so the pre-scan does not see it. */

static enum err check_census(const struct loader *l, const struct node *at)
{
    const struct census *c = l->census;
    const struct {
        const char *things;
        size_t count, most;
    } all[] = {{"nodes", c->nodes, MODEL_NODES_MAX},
               {"values", c->values, MODEL_VALUES_MAX},
               {"inputs of nodes", c->reads, MODEL_READS_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].count > all[i].most) {
            return at == NULL
                       ? fail_set(l->fail, ERR_LIMIT, "", "%sthe model has more than %zu %s",
                                  l->place, all[i].most, all[i].things)
                       : fail_set(l->fail, ERR_LIMIT, "",
                                  "node '%.80s' (%.60s): with what its subgraphs capture the model "
                                  "has more than %zu %s",
                                  at->name, at->op, all[i].most, all[i].things);
        }
    }
    return ERR_OK;
}

static const char *text_of(const char *s)
{
    return s != NULL ? s : "";
}

/* ---- opsets ---- */

static bool is_main_domain(const char *domain)
{
    return domain == NULL || domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
}

static int opset_of(const Onnx__ModelProto *m, const char *domain)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = m->opset_import[i];
        bool same = is_main_domain(domain) ? is_main_domain(o->domain)
                                           : strcmp(text_of(o->domain), domain) == 0;
        if (same) {
            return o->version < 0 || o->version > 1000 ? -1 : (int)o->version;
        }
    }
    return 0;
}

static enum err check_opset(struct loader *l)
{
    int opset = opset_of(l->model, "");
    if (l->model->n_opset_import > MODEL_DOMAINS_MAX) {
        return fail_set(l->fail, ERR_LIMIT, "", "the model uses %zu domains; %d are the most",
                        l->model->n_opset_import, MODEL_DOMAINS_MAX);
    }
    if (opset == 0) {
        bool none_at_all = l->model->n_opset_import == 0;
        return none_at_all ? fail_set(l->fail, ERR_INVALID, "is it an ONNX model?",
                                      "the model does not say which opset it uses")
                           : fail_set(l->fail, ERR_NOTFOUND, "",
                                      "the model does not use ONNX's own operators");
    }
    if (opset < OPSET_MIN || opset > OPSET_MAX) {
        return fail_set(l->fail, ERR_NOTFOUND, "convert it with onnx.version_converter",
                        "the model uses opset %d; %d to %d are supported", opset, OPSET_MIN,
                        OPSET_MAX);
    }
    l->graph->opset = opset;
    return ERR_OK;
}

/* ---- values ---- */

static enum err name_value(struct loader *l, uint32_t value)
{
    const char *name = l->graph->values[value].name;
    if (!names_add(&l->names, name, value)) {
        return fail_set(l->fail, ERR_INVALID, "each value is made once",
                        "%stwo things make the value '%.80s'", l->place, name);
    }
    return ERR_OK;
}

static enum err load_constants(struct loader *l, const Onnx__GraphProto *g)
{
    if (g->n_sparse_initializer > 0) {
        return fail_set(l->fail, ERR_NOTFOUND, "", "%ssparse initialisers are not supported",
                        l->place);
    }
    for (size_t i = 0; i < g->n_initializer; i++) {
        struct tensor t = {0};
        struct fail inner = {0};
        enum err e = proto_tensor(g->initializer[i], &t, &inner);
        if (e != ERR_OK) {
            return fail_set(l->fail, e, inner.hint, "%s%.300s", l->place, inner.what);
        }
        uint32_t v = graph_add_const(l->graph, text_of(g->initializer[i]->name), &t);
        e = name_value(l, v);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err load_dims(struct loader *l, struct value *v, const Onnx__TensorShapeProto *s)
{
    if (s->n_dim > TENSOR_RANK_MAX) {
        return fail_set(l->fail, ERR_NOTFOUND, "", "%svalue '%.80s' has rank %zu; %d is the most",
                        l->place, v->name, s->n_dim, TENSOR_RANK_MAX);
    }
    v->type.shape.rank = (uint32_t)s->n_dim;
    v->has_shape = true;
    for (size_t i = 0; i < s->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = s->dim[i];
        v->type.shape.dims[i] = DIM_FREE;
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            if (d->dim_value < 0) {
                return fail_set(l->fail, ERR_INVALID, "", "%svalue '%.80s': dimension %zu is %lld",
                                l->place, v->name, i, (long long)d->dim_value);
            }
            v->type.shape.dims[i] = d->dim_value;
        } else if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM) {
            mem_free(v->dim_names[i]); /* an output may be listed twice */
            v->dim_names[i] = mem_dup(d->dim_param);
        }
    }
    return ERR_OK;
}

/* The value of that name; one of an outer graph becomes an input here.  VALUE_NONE: there is none.
 */
static uint32_t find_value(struct loader *l, const char *name)
{
    uint32_t v = names_find(&l->names, name);
    if (v != VALUE_NONE || l->outer == NULL || find_value(l->outer, name) == VALUE_NONE) {
        return v;
    }
    struct graph *g = l->graph;
    v = graph_add_value(g, VALUE_INPUT, name);
    (void)names_add(&l->names, g->values[v].name, v); /* it was not there */
    graph_add_input(g, v);
    g->capture_count++;
    l->census->values++;
    return v;
}

/* The declared type of an input or output; an output may come without. */
static enum err load_type(struct loader *l, uint32_t value, const Onnx__TypeProto *t)
{
    struct value *v = &l->graph->values[value];
    if (t == NULL || t->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET) {
        return ERR_OK;
    }
    if (t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || t->tensor_type == NULL) {
        return fail_set(l->fail, ERR_NOTFOUND, "",
                        "%svalue '%.80s' is a sequence, map or optional; tensors are supported",
                        l->place, v->name);
    }
    int32_t type = t->tensor_type->elem_type;
    if (type <= 0 || type >= DT_COUNT || dtype_size((enum dtype)type) == 0) {
        return fail_set(l->fail, ERR_NOTFOUND, "", "%svalue '%.80s': data type %s is not supported",
                        l->place, v->name,
                        type > 0 && type < DT_COUNT ? dtype_name((enum dtype)type) : "?");
    }
    v->type.dtype = (enum dtype)type;
    return t->tensor_type->shape != NULL ? load_dims(l, v, t->tensor_type->shape) : ERR_OK;
}

static enum err load_inputs(struct loader *l, const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = text_of(g->input[i]->name);
        uint32_t known = names_find(&l->names, name);
        if (known != VALUE_NONE && l->graph->values[known].kind == VALUE_CONST) {
            continue; /* IR version 3 lists initialisers here too */
        }
        uint32_t v = graph_add_value(l->graph, VALUE_INPUT, name);
        enum err e = name_value(l, v);
        if (e == ERR_OK) {
            e = load_type(l, v, g->input[i]->type);
        }
        if (e != ERR_OK) {
            return e;
        }
        graph_add_input(l->graph, v);
    }
    return ERR_OK;
}

static enum err load_outputs(struct loader *l, const Onnx__GraphProto *g)
{
    if (g->n_output == 0) {
        return fail_set(l->fail, ERR_INVALID, "", "%s%s", l->place,
                        l->outer == NULL ? "the model has no outputs" : "it has no outputs");
    }
    l->graph->outputs = mem_array(g->n_output, sizeof *l->graph->outputs);
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = text_of(g->output[i]->name);
        uint32_t v = find_value(l, name);
        if (v == VALUE_NONE) {
            return fail_set(l->fail, ERR_INVALID, "", "%snothing makes the output '%.80s'",
                            l->place, name);
        }
        enum err e =
            l->graph->values[v].kind == VALUE_NODE ? load_type(l, v, g->output[i]->type) : ERR_OK;
        if (e != ERR_OK) {
            return e;
        }
        l->graph->outputs[l->graph->output_count++] = v;
        if (l->census->values > MODEL_VALUES_MAX) {
            return check_census(l, NULL);
        }
    }
    return ERR_OK;
}

/* ---- attributes ---- */

static enum err load_attr_arrays(struct loader *l, struct node *n, const Onnx__AttributeProto *a)
{
    struct attr keep = {.name = a->name, .type = (enum attr_type)a->type};
    switch (a->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        node_set_floats(n, a->name, a->floats, (uint32_t)a->n_floats);
        return ERR_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        node_set_ints(n, a->name, a->ints, (uint32_t)a->n_ints);
        return ERR_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
        keep.count = (uint32_t)a->n_strings;
        keep.strings = mem_array(a->n_strings, sizeof *keep.strings);
        for (size_t i = 0; i < a->n_strings; i++) {
            keep.strings[i] = mem_dup_n((const char *)a->strings[i].data, a->strings[i].len);
        }
        node_copy_attr(n, &keep);
        for (size_t i = 0; i < a->n_strings; i++) {
            mem_free(keep.strings[i]);
        }
        mem_free(keep.strings);
        return ERR_OK;
    default:
        return fail_set(l->fail, ERR_NOTFOUND, "",
                        "node '%.80s' (%.60s): attribute '%.40s' is of a kind (%d) that is not "
                        "supported",
                        n->name, n->op, a->name, (int)a->type);
    }
}

static enum err load_attr_tensor(struct loader *l, struct node *n, const Onnx__AttributeProto *a)
{
    struct tensor t = {0};
    struct fail inner = {0};
    if (a->t == NULL) {
        return fail_set(l->fail, ERR_INVALID, "",
                        "node '%.80s' (%.60s): attribute '%.40s' has no value", n->name, n->op,
                        a->name);
    }
    enum err e = proto_tensor(a->t, &t, &inner);
    if (e != ERR_OK) {
        return fail_set(l->fail, e, inner.hint, "node '%.80s' (%.60s): attribute '%.40s': %.200s",
                        n->name, n->op, a->name, inner.what);
    }
    node_set_tensor(n, a->name, &t);
    tensor_fini(&t);
    return ERR_OK;
}

static enum err load_attr(struct loader *l, struct node *n, const Onnx__AttributeProto *a)
{
    struct attr keep = {.name = a->name, .count = 1};
    if (a->name == NULL || a->name[0] == '\0' ||
        (a->ref_attr_name != NULL && a->ref_attr_name[0] != '\0')) {
        return fail_set(l->fail, ERR_INVALID, "",
                        "node '%.80s' (%.60s): an attribute without a name, or of a function",
                        n->name, n->op);
    }
    switch (a->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        node_set_float(n, a->name, a->f);
        return ERR_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        node_set_int(n, a->name, a->i);
        return ERR_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        keep.type = ATTR_STRING;
        keep.s = a->s.len > 0 ? (char *)a->s.data : (char *)(uintptr_t) "";
        keep.s_bytes = a->s.len;
        node_copy_attr(n, &keep);
        return ERR_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        return load_attr_tensor(l, n, a);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
        return ERR_OK; /* bind_subgraphs */
    default:
        return load_attr_arrays(l, n, a);
    }
}

/* ---- nodes ---- */

/* Outputs first: a node may be read by one that stands before it in the file. */
static enum err load_node(struct loader *l, const Onnx__NodeProto *p)
{
    const char *domain = is_main_domain(p->domain) ? "" : p->domain;
    if (strcmp(domain, OXBOW_DOMAIN) == 0) {
        return fail_set(l->fail, ERR_INVALID, "", "the domain '%s' is the engine's own", domain);
    }
    uint32_t *outputs = mem_array(p->n_output, sizeof *outputs);
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->n_output && e == ERR_OK; i++) {
        outputs[i] = VALUE_NONE;
        if (p->output[i][0] != '\0') {
            outputs[i] = graph_add_value(l->graph, VALUE_NODE, p->output[i]);
            e = name_value(l, outputs[i]);
        }
    }
    if (e == ERR_OK) {
        uint32_t at =
            graph_add_node(l->graph, domain, text_of(p->op_type), opset_of(l->model, domain), NULL,
                           0, outputs, (uint32_t)p->n_output);
        struct node *n = &l->graph->nodes[at];
        if (p->name != NULL && p->name[0] != '\0') {
            mem_free(n->name);
            n->name = mem_dup(p->name);
        }
        if (p->n_attribute > MODEL_ATTRS_MAX) {
            e = fail_set(l->fail, ERR_LIMIT, "", "node '%.80s' (%.60s) has %zu attributes", n->name,
                         n->op, p->n_attribute);
        }
        for (size_t i = 0; i < p->n_attribute && e == ERR_OK; i++) {
            e = load_attr(l, n, p->attribute[i]);
        }
    }
    mem_free(outputs);
    return e;
}

static enum err bind_node(struct loader *l, const Onnx__NodeProto *p, struct node *n)
{
    l->census->reads += p->n_input;
    enum err e = check_census(l, n);
    if (e != ERR_OK) {
        return e;
    }
    n->inputs = mem_resize(n->inputs, p->n_input, sizeof *n->inputs);
    for (size_t i = 0; i < p->n_input; i++) {
        n->inputs[i] = VALUE_NONE;
        if (p->input[i][0] != '\0') {
            n->inputs[i] = find_value(l, p->input[i]);
            if (n->inputs[i] == VALUE_NONE) {
                return fail_set(l->fail, ERR_INVALID, "",
                                "node '%.80s' (%.60s) reads '%.80s', which nothing makes", n->name,
                                n->op, p->input[i]);
            }
        }
        n->input_count = (uint32_t)i + 1;
        if (l->census->values > MODEL_VALUES_MAX) { /* with what was captured */
            return check_census(l, n);
        }
    }
    return ERR_OK;
}

static enum err load_body(struct loader *l, const Onnx__GraphProto *g);

static enum err bind_subgraph(struct loader *l, uint32_t at, const Onnx__AttributeProto *a)
{
    struct loader inner = {
        .model = l->model, .outer = l, .graph = graph_new(), .census = l->census, .fail = l->fail};
    inner.graph->opset = l->graph->opset;
    snprintf(inner.place, sizeof inner.place,
             "in node '%.80s' (%.60s), '%.40s': ", l->graph->nodes[at].name, l->graph->nodes[at].op,
             text_of(a->name));
    enum err e = a->g != NULL
                     ? load_body(&inner, a->g)
                     : fail_set(l->fail, ERR_INVALID, "", "%sthere is no graph", inner.place);
    names_fini(&inner.names);
    if (e != ERR_OK) {
        graph_free(inner.graph);
        return e;
    }
    const struct graph *g = inner.graph;
    struct node *n = &l->graph->nodes[at];
    n->inputs = mem_resize(n->inputs, n->input_count + g->capture_count, sizeof *n->inputs);
    for (uint32_t i = g->input_count - g->capture_count; i < g->input_count; i++) {
        n->inputs[n->input_count++] = find_value(l, g->values[g->inputs[i]].name);
    }
    l->census->reads += g->capture_count;
    graph_drop_dead(inner.graph); /* what nobody reads is never run, typed or folded */
    node_set_graph(n, a->name, inner.graph);
    return check_census(l, n);
}

/* Of operators that take subgraphs; those of others stay unread, their nodes are unsupported. */
static enum err bind_subgraphs(struct loader *l, const Onnx__NodeProto *p, uint32_t at)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->n_attribute && e == ERR_OK; i++) {
        const Onnx__AttributeProto *a = p->attribute[i];
        if (a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH &&
            l->graph->nodes[at].row != NULL) {
            e = node_attr(&l->graph->nodes[at], a->name) == NULL
                    ? bind_subgraph(l, at, a)
                    : fail_set(l->fail, ERR_INVALID, "", "node '%.80s': two attributes '%.40s'",
                               l->graph->nodes[at].name, a->name);
        }
    }
    return e;
}

static enum err load_nodes(struct loader *l, const Onnx__GraphProto *g)
{
    l->census->nodes += g->n_node;
    l->census->values += g->n_input + g->n_initializer;
    for (size_t i = 0; i < g->n_node; i++) {
        l->census->values += g->node[i]->n_output;
    }
    enum err e = check_census(l, NULL);
    for (size_t i = 0; i < g->n_node && e == ERR_OK; i++) {
        e = load_node(l, g->node[i]);
    }
    for (size_t i = 0; i < g->n_node && e == ERR_OK; i++) {
        e = bind_node(l, g->node[i], &l->graph->nodes[i]);
        e = e == ERR_OK ? bind_subgraphs(l, g->node[i], (uint32_t)i) : e;
    }
    return e;
}

/* A graph or subgraph, in the order of the head comment. */
static enum err load_body(struct loader *l, const Onnx__GraphProto *g)
{
    mem_free(l->graph->name);
    l->graph->name = mem_dup(text_of(g->name));
    enum err e = load_constants(l, g);
    if (e == ERR_OK) {
        e = load_inputs(l, g);
    }
    if (e == ERR_OK) {
        e = load_nodes(l, g);
    }
    if (e == ERR_OK) {
        e = load_outputs(l, g);
    }
    return e == ERR_OK ? graph_sort(l->graph, l->fail) : e;
}

static enum err load_graph(struct loader *l)
{
    const Onnx__GraphProto *g = l->model->graph;
    if (g == NULL) {
        return fail_set(l->fail, ERR_INVALID, "is it an ONNX model?", "the file has no graph");
    }
    enum err e = check_opset(l);
    return e == ERR_OK ? load_body(l, g) : e;
}

enum err graph_load(const void *bytes, size_t size, struct graph **out, struct fail *f)
{
    struct proto_budget budget;
    ProtobufCMessage *m = NULL;
    enum err e = proto_unpack(&onnx__model_proto__descriptor, "model", bytes, size, &budget, &m, f);
    if (e != ERR_OK) {
        return e;
    }
    struct census census = {0};
    struct loader l = {
        .model = (const Onnx__ModelProto *)m,
        .graph = graph_new(),
        .census = &census,
        .fail = f,
    };
    e = load_graph(&l);
    names_fini(&l.names); /* it borrows names of the graph */
    proto_free(m, &budget);
    if (e != ERR_OK) {
        graph_free(l.graph);
        return e;
    }
    *out = l.graph;
    return ERR_OK;
}
