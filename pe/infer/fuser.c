/* pe/infer/fuser.c - what the rewrites look at, and how they change a graph. */
#include "pe/infer/fuser.h"

#include "core/mem.h"
#include "pe/infer/op.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- looking ---- */

bool fuser_is_op(const struct node *n, const char *domain, const char *op)
{
    return n != NULL && !n->dead && strcmp(n->op, op) == 0 && strcmp(n->domain, domain) == 0;
}

bool fuser_is_onnx(const struct node *n, const char *op)
{
    return fuser_is_op(n, "", op);
}

bool fuser_is_ours(const struct node *n, const char *op)
{
    return fuser_is_op(n, OXBOW_DOMAIN, op);
}

uint32_t fuser_input_of(const struct node *n, uint32_t i)
{
    return i < n->input_count ? n->inputs[i] : VALUE_NONE;
}

const struct tensor *fuser_type_of(const struct fuser *u, uint32_t v)
{
    return &u->graph->values[v].type;
}

bool fuser_is_f32(const struct fuser *u, uint32_t v)
{
    return v != VALUE_NONE && fuser_type_of(u, v)->dtype == DT_F32;
}

bool fuser_is_const(const struct fuser *u, uint32_t v)
{
    return v != VALUE_NONE && u->graph->values[v].kind == VALUE_CONST;
}

struct node *fuser_maker(const struct fuser *u, uint32_t v)
{
    if (v == VALUE_NONE || u->graph->values[v].kind != VALUE_NODE) {
        return NULL;
    }
    struct node *n = &u->graph->nodes[u->graph->values[v].node];
    return n->dead || n->dynamic ? NULL : n;
}

struct node *fuser_sole_maker(const struct fuser *u, uint32_t v)
{
    struct node *n = fuser_maker(u, v);
    if (n == NULL || u->uses[v] != 1 || n->outputs[0] != v) {
        return NULL;
    }
    for (uint32_t i = 1; i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE && u->uses[n->outputs[i]] > 0) {
            return NULL;
        }
    }
    return n;
}

bool fuser_scalar_of(const struct fuser *u, uint32_t v, float *out)
{
    if (!fuser_is_const(u, v) || !fuser_is_f32(u, v) || tensor_count(fuser_type_of(u, v)) != 1) {
        return false;
    }
    *out = tensor_f32(fuser_type_of(u, v))[0];
    return true;
}

bool fuser_scalar_near(const struct fuser *u, uint32_t v, float want)
{
    float x;
    return fuser_scalar_of(u, v, &x) && fabsf(x - want) <= 1e-4f * fabsf(want);
}

int64_t fuser_int_attr(const struct node *n, const char *name, int64_t fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_INT ? a->i : fallback;
}

float fuser_float_attr(const struct node *n, const char *name, float fallback)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_FLOAT ? a->f : fallback;
}

const char *fuser_string_attr(const struct node *n, const char *name)
{
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->type == ATTR_STRING ? a->s : "";
}

bool fuser_same_shape(const struct fuser *u, uint32_t a, uint32_t b)
{
    return shape_equal(&fuser_type_of(u, a)->shape, &fuser_type_of(u, b)->shape);
}

/* ---- changing ---- */

void fuser_set_op(struct node *n, const char *domain, const char *op, int opset)
{
    mem_free(n->op);
    mem_free(n->domain);
    n->op = mem_dup(op);
    n->domain = mem_dup(domain);
    n->opset = opset;
    n->row = op_find(domain, op, opset);
    assert(n->row != NULL);
}

static void unread(struct fuser *u, uint32_t v);

void fuser_kill(struct fuser *u, struct node *n)
{
    n->dead = true;
    for (uint32_t i = 0; i < n->input_count; i++) {
        unread(u, n->inputs[i]);
    }
}

/* One reader of `v` has gone; what only it wanted goes too. */
static void unread(struct fuser *u, uint32_t v)
{
    if (v == VALUE_NONE || --u->uses[v] > 0) {
        return;
    }
    struct node *n = fuser_maker(u, v);
    for (uint32_t i = 0; n != NULL && i < n->output_count; i++) {
        if (n->outputs[i] != VALUE_NONE && u->uses[n->outputs[i]] > 0) {
            return;
        }
    }
    if (n != NULL) {
        fuser_kill(u, n);
    }
}

void fuser_become(struct fuser *u, struct node *n, const char *domain, const char *op, int opset,
                  const uint32_t *inputs, uint32_t count)
{
    uint32_t *old = n->inputs, old_count = n->input_count;
    n->inputs = mem_array(count, sizeof *n->inputs);
    n->input_count = count;
    for (uint32_t i = 0; i < count; i++) {
        n->inputs[i] = inputs[i];
        if (inputs[i] != VALUE_NONE) {
            u->uses[inputs[i]]++;
        }
    }
    while (n->input_count > 0 && n->inputs[n->input_count - 1] == VALUE_NONE) {
        n->input_count--;
    }
    fuser_set_op(n, domain, op, opset);
    for (uint32_t i = 0; i < old_count; i++) {
        unread(u, old[i]);
    }
    mem_free(old);
}

void fuser_swallow(struct fuser *u, struct node *n, const struct node *core, const uint32_t *inputs,
                   uint32_t count)
{
    node_attrs_fini(n);
    for (uint32_t i = 0; i < core->attr_count; i++) {
        node_copy_attr(n, &core->attrs[i]);
    }
    char *op = mem_dup(core->op), *domain = mem_dup(core->domain);
    int opset = core->opset;
    fuser_become(u, n, domain, op, opset, inputs, count);
    mem_free(op);
    mem_free(domain);
}

uint32_t fuser_add_const(struct fuser *u, struct tensor *t TAKES)
{
    uint32_t v = graph_add_const(u->graph, NULL, t);
    size_t count = u->graph->value_count;
    u->uses = mem_resize(u->uses, count, sizeof *u->uses);
    u->same = mem_resize(u->same, count, sizeof *u->same);
    u->is_output = mem_resize(u->is_output, count, sizeof *u->is_output);
    u->uses[v] = 0;
    u->same[v] = v;
    u->is_output[v] = false;
    return v;
}
