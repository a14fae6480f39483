/* pe/infer/exec.c - runs a graph node by node with the references. */
#include "pe/infer/exec.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/call.h"
#include "pe/infer/specialise.h"

static enum err run_node(const struct node *n, struct call *call, struct tensor *values,
                         struct fail *f)
{
    call_bind(call, n, values, sizeof *values);
    enum op_result r = op_infer(&call->ctx);
    bool makes = r == OP_NEEDS_DATA && (n->row->flags & OP_MAKES) != 0;
    if (r != OP_OK && !makes) {
        return call_err(r);
    }
    if (makes && f != NULL) {
        f->what[0] = '\0'; /* it was no failure */
    }
    for (uint32_t i = 0; i < n->output_count && !makes; i++) {
        if (n->outputs[i] != VALUE_NONE) {
            struct tensor *t = &values[n->outputs[i]];
            enum err e = tensor_alloc(t, t->dtype, &t->shape, f);
            if (e != ERR_OK) {
                return e;
            }
        }
    }
    return call_err(op_run(&call->ctx));
}

static void release(struct tensor *values, uint32_t *uses, const uint32_t *list, uint32_t count,
                    bool read)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = list[i];
        if (v != VALUE_NONE && (read ? --uses[v] == 0 : uses[v] == 0)) {
            tensor_fini(&values[v]);
        }
    }
}

enum err graph_run(const struct graph *g, const struct tensor *inputs, struct tensor *outputs,
                   struct fail *f)
{
    struct op_budget budget = {INFER_LOOP_STEPS_MAX, FOLD_BYTES_BASE};
    return graph_run_within(g, inputs, outputs, &budget, f);
}

enum err graph_run_within(const struct graph *g, const struct tensor *inputs,
                          struct tensor *outputs, struct op_budget *budget, struct fail *f)
{
    enum err e = graph_check_inputs(g, inputs, f);
    if (e != ERR_OK) {
        return e;
    }
    struct tensor *values = mem_array(g->value_count, sizeof *values);
    uint32_t *uses = graph_uses(g);
    struct call call;
    call_init(&call, f);
    call.ctx.budget = budget;
    for (uint32_t i = 0; i < g->value_count; i++) {
        if (g->values[i].kind == VALUE_CONST) {
            tensor_share(&values[i], &g->values[i].type);
        }
    }
    for (uint32_t i = 0; i < g->input_count; i++) {
        tensor_share(&values[g->inputs[i]], &inputs[i]);
    }
    for (uint32_t i = 0; i < g->node_count && e == ERR_OK; i++) {
        const struct node *n = &g->nodes[i];
        if (!n->dead) {
            e = run_node(n, &call, values, f);
            release(values, uses, n->inputs, n->input_count, true);
            release(values, uses, n->outputs, n->output_count, false);
        }
    }
    for (uint32_t i = 0; i < g->output_count && e == ERR_OK; i++) {
        tensor_share(&outputs[i], &values[g->outputs[i]]);
    }
    for (uint32_t i = 0; i < g->value_count; i++) {
        tensor_fini(&values[i]);
    }
    call_fini(&call);
    mem_free(uses);
    mem_free(values);
    return e;
}
