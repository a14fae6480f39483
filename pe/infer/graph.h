/* pe/infer/graph.h - a model as the engine holds it: values, and the nodes that make them.
 *
 * Owns:       struct graph: everything below it, by index.
 * Threads:    one at a time; a loaded graph that nobody changes may be read by many.
 * Invariants: G1 SSA: a value is made by exactly one node output, or is an input, or is constant.
 *             G2 nodes[] is in an order in which every input is made before it is used; a graph
 *                that has no such order (a cycle) is refused at load.
 *             G3 indices in nodes and in inputs[]/outputs[] are valid or VALUE_NONE (an optional
 *                input or output left out); outputs[] of the graph are never VALUE_NONE.
 *             G4 a node that a pass removed stays in place with `dead` set; its values are unused.
 *             G5 in a *specialised* graph every live value has a dtype and a shape without free
 *                dims, except behind a node marked `dynamic`.
 *             G6 a subgraph, once it is in an attribute, never changes: copies of its node share it
 *                by reference count, and whoever works on one clones it first.
 * Why:        indices, not pointers: a clone per batch size is a copy, and passes can grow arrays.
 * See:        pe/infer/load.h (ONNX -> graph), specialise.h (shapes), fuse.h (rewrites),
 *             op.h (what a node means). */
#ifndef OXB_PE_INFER_GRAPH_H
#define OXB_PE_INFER_GRAPH_H

#include "pe/infer/tensor.h"

#include <stdatomic.h>

struct op;
struct graph;

#define VALUE_NONE UINT32_MAX
#define OXBOW_DOMAIN "oxbow" /* operators that only passes make: pe/infer/fuse.h */

enum value_kind {
    VALUE_UNUSED = 0,
    VALUE_INPUT, /* fed from outside */
    VALUE_CONST, /* an initialiser or folded: type.data is set */
    VALUE_NODE,  /* output `output` of node `node` */
};

struct value {
    enum value_kind kind;
    char *name;         /* as in the model; "oxbow_N" for what a pass made; never NULL */
    struct tensor type; /* DT_NONE: not known.  VALUE_CONST: with data */
    char *dim_names[TENSOR_RANK_MAX]; /* of an input's or output's free dims; NULL: no name */
    bool has_shape;     /* type.shape says something (declared, with DIM_FREE, or inferred) */
    bool batched;       /* specialised graphs: dims[0] is (a multiple of) the batch, see below */
    uint32_t node;      /* VALUE_NODE: index of its maker, and which output of it */
    uint32_t output;
};

enum attr_type { /* the numbers of AttributeProto.AttributeType */
    ATTR_NONE = 0,
    ATTR_FLOAT = 1,
    ATTR_INT = 2,
    ATTR_STRING = 3,
    ATTR_TENSOR = 4,
    ATTR_GRAPH = 5,
    ATTR_FLOATS = 6,
    ATTR_INTS = 7,
    ATTR_STRINGS = 8,
};

struct attr {
    char *name;
    enum attr_type type;
    uint32_t count;         /* of the array kinds; 1 otherwise */
    int64_t i;
    float f;
    char *s;                /* NUL added; s_bytes without it */
    size_t s_bytes;
    int64_t *ints;          /* [count] */
    float *floats;          /* [count] */
    char **strings;         /* [count], NUL-terminated */
    struct tensor tensor;
    struct graph *graph;    /* a subgraph (G6); NULL for operators that nobody here can do */
};

struct node {
    char *name;             /* as in the model, or "OP(first output)" */
    char *op;               /* "Conv" */
    char *domain;           /* "" is ai.onnx; OXBOW_DOMAIN is ours */
    int opset;              /* version of its domain that the model asks for */
    const struct op *row;   /* how to do it; NULL: nobody here can (a model check says so) */
    uint32_t *inputs;       /* [input_count] values */
    uint32_t *outputs;      /* [output_count] values */
    uint32_t input_count;
    uint32_t output_count;
    struct attr *attrs;     /* [attr_count] */
    uint32_t attr_count;
    bool dead;
    bool dynamic;           /* its output shapes are known only when it runs */
};

struct graph {
    char *name;
    int opset;              /* of ai.onnx */
    struct value *values;
    uint32_t value_count;
    struct node *nodes;
    uint32_t node_count;
    uint32_t *inputs;       /* [input_count]; without initialisers, which IR 3 lists here too */
    uint32_t input_count;
    uint32_t *outputs;      /* [output_count] */
    uint32_t output_count;
    uint32_t capture_count; /* of a subgraph: so many inputs, the last, are values from outside;
                             * its node reads them too, behind its own inputs, graph by graph */
    int64_t batch;          /* specialised for this batch size; 0: not specialised, or none */
    uint32_t value_capacity, node_capacity, input_capacity;
    atomic_uint refs;       /* holders; more than one only of a subgraph (G6) */
};

struct graph *graph_new(void);
void graph_free(struct graph *g);                 /* one holder less; accepts NULL */
/* graph_clone - nodes and values are copied, constants and subgraphs shared. */
struct graph *graph_clone(const struct graph *g);

/* Building, for the loader, passes and tests.  Names are copied. */
uint32_t graph_add_value(struct graph *g, enum value_kind kind, const char *name);
void graph_add_input(struct graph *g, uint32_t value); /* the last of inputs[] */
uint32_t graph_add_const(struct graph *g, const char *name, struct tensor *t TAKES);
/* graph_add_node - appended; its outputs become VALUE_NODEs of it; `row` is looked up. */
uint32_t graph_add_node(struct graph *g, const char *domain, const char *op, int opset,
                        const uint32_t *inputs, uint32_t input_count, const uint32_t *outputs,
                        uint32_t output_count);
void node_set_int(struct node *n, const char *name, int64_t v);
void node_set_float(struct node *n, const char *name, float v);
void node_set_string(struct node *n, const char *name, const char *v);
void node_set_ints(struct node *n, const char *name, const int64_t *v, uint32_t count);
void node_set_floats(struct node *n, const char *name, const float *v, uint32_t count);
void node_set_tensor(struct node *n, const char *name, const struct tensor *t); /* shares */
void node_set_graph(struct node *n, const char *name, struct graph *g TAKES);
void node_copy_attr(struct node *to, const struct attr *a);
const struct attr *node_attr(const struct node *n, const char *name); /* NULL: none */
void node_attrs_fini(struct node *n); /* forget them all */

/* graph_find - the value of that name, or VALUE_NONE. */
uint32_t graph_find(const struct graph *g, const char *name);
/* graph_sort - bring nodes into order (G2), stable.  Errors: ERR_INVALID, naming a node of the
 * cycle. */
MUST_CHECK enum err graph_sort(struct graph *g, struct fail *f);
/* graph_check - G1..G3; for tests and after passes (asserted there). */
bool graph_check(const struct graph *g, struct fail *f);
/* graph_uses - how many live node inputs and graph outputs read each value; [value_count], caller
 * frees. */
uint32_t *graph_uses(const struct graph *g);
/* graph_replace_uses - every reader of `from` reads `to` instead, graph outputs included. */
void graph_replace_uses(struct graph *g, uint32_t from, uint32_t to);

#endif
