/* pe/infer/fuse.c - rewrites of a specialised graph: fewer, larger nodes that compute the same.
 *
 * Method:     one pass in topological order.  Each rule looks backwards from the node it is asked
 *             about and, where it matches, turns *that* node into the fused one: everything it
 *             reads is made before it, so the order stays right.  The nodes it swallowed die.
 * Invariants: U1 a value is swallowed only when the node at hand is its only reader and it is no
 *                output of the graph.
 *             U2 only f32 is touched; shapes of what remains do not change.
 *             U3 every rewrite lessens the number of live nodes or makes a node internal, so the
 *                pass ends.
 * See:        fuser.h; the rules are in fuse_conv.c, fuse_product.c and fuse_spelled.c. */
#include "core/mem.h"
#include "pe/infer/fuser.h"
#include "pe/infer/op.h"
#include "pe/infer/specialise.h"

#include <assert.h>

/* ---- steps ---- */

/* A core that has taken an activation or a pool takes no more arithmetic. */
bool fuse_is_open(const struct node *core)
{
    return fuser_string_attr(core, "act")[0] == '\0' && fuser_string_attr(core, "pool")[0] == '\0';
}

/* ---- what does nothing ---- */

static bool drop_identity(struct fuser *u, struct node *n)
{
    bool same = fuser_is_onnx(n, "Identity") || fuser_is_onnx(n, "Dropout");
    bool reshapes = fuser_is_onnx(n, "Reshape") || fuser_is_onnx(n, "Flatten") ||
                    fuser_is_onnx(n, "Squeeze") || fuser_is_onnx(n, "Unsqueeze") ||
                    fuser_is_onnx(n, "Cast") || fuser_is_onnx(n, "Expand");
    uint32_t from = fuser_input_of(n, 0), to = n->output_count > 0 ? n->outputs[0] : VALUE_NONE;
    if ((!same && !reshapes) || from == VALUE_NONE || to == VALUE_NONE ||
        (n->row->flags & OP_RANDOM) != 0 ||
        fuser_type_of(u, from)->dtype != fuser_type_of(u, to)->dtype ||
        !fuser_same_shape(u, from, to)) {
        return false;
    }
    if (fuser_is_onnx(n, "Dropout") && (n->output_count > 1 || n->input_count > 2)) {
        return false; /* a mask is wanted, or it trains */
    }
    if (u->is_output[to]) {
        return false; /* outputs keep their names */
    }
    u->same[to] = from; /* its readers come later and look here first */
    u->uses[from] += u->uses[to];
    u->uses[to] = 0;
    fuser_kill(u, n);
    return true;
}

/* ---- the pass ---- */

static const fuse_rule drop_rules[] = {drop_identity, NULL};

/* What becomes internal first, activations last: they follow all else. */
static const fuse_rule *const all_rules[] = {drop_rules, fuse_conv_rules, fuse_product_rules,
                                             fuse_spelled_rules, fuse_activation_rules};

static bool apply_all(struct fuser *u, uint32_t at)
{
    bool changed = false;
    for (size_t k = 0; k < sizeof all_rules / sizeof all_rules[0]; k++) {
        for (const fuse_rule *r = all_rules[k]; *r != NULL && !u->graph->nodes[at].dead; r++) {
            changed = (*r)(u, &u->graph->nodes[at]) || changed;
        }
    }
    return changed;
}

void graph_fuse(struct graph *g)
{
    struct fuser u = {.graph = g, .uses = graph_uses(g)};
    u.same = mem_array(g->value_count, sizeof *u.same);
    u.is_output = mem_array(g->value_count, sizeof *u.is_output);
    for (uint32_t v = 0; v < g->value_count; v++) {
        u.same[v] = v;
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        u.is_output[g->outputs[i]] = true;
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        bool changed = true;
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++) {
            uint32_t v = g->nodes[i].inputs[k];
            g->nodes[i].inputs[k] = v != VALUE_NONE ? u.same[v] : VALUE_NONE;
        }
        while (changed && !g->nodes[i].dead && !g->nodes[i].dynamic) {
            changed = apply_all(&u, i);
        }
    }
    mem_free(u.uses);
    mem_free(u.same);
    mem_free(u.is_output);
    graph_drop_dead(g);
    struct fail f = {0};
    bool sound = graph_check(g, &f);
    assert(sound);
}
