/* pe/infer/call.c - one operator call: finds the tensors of a node's inputs and outputs. */
#include "pe/infer/call.h"

#include "core/limits.h"
#include "core/mem.h"

void call_init(struct call *c, struct fail *f)
{
    *c = (struct call){0};
    c->ctx.scratch = scratch_new();
    c->ctx.fail = f;
    c->ctx.budget = &c->budget;
    call_begin(c);
}

void call_begin(struct call *c)
{
    c->budget = (struct op_budget){INFER_LOOP_STEPS_MAX, FOLD_BYTES_BASE};
}

void call_fini(struct call *c)
{
    scratch_free(c->ctx.scratch);
    mem_free(c->in);
    mem_free(c->out);
    *c = (struct call){0};
}

void call_bind(struct call *c, const struct node *n, void *first, size_t stride)
{
    if (n->input_count > c->in_capacity) {
        c->in_capacity = n->input_count * 2;
        c->in = mem_resize(c->in, c->in_capacity, sizeof *c->in);
    }
    if (n->output_count > c->out_capacity) {
        c->out_capacity = n->output_count * 2;
        c->out = mem_resize(c->out, c->out_capacity, sizeof *c->out);
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        uint32_t v = n->inputs[i];
        c->in[i] = v != VALUE_NONE ? (void *)((uint8_t *)first + v * stride) : NULL;
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        uint32_t v = n->outputs[i];
        c->out[i] = v != VALUE_NONE ? (void *)((uint8_t *)first + v * stride) : NULL;
    }
    c->ctx.node = n;
    c->ctx.folds = false;
    c->ctx.opset = n->opset;
    c->ctx.in = c->in;
    c->ctx.in_count = n->input_count;
    c->ctx.out = c->out;
    c->ctx.out_count = n->output_count;
}

enum err call_err(enum op_result r)
{
    switch (r) {
    case OP_OK:
        return ERR_OK;
    case OP_UNSUPPORTED:
        return ERR_NOTFOUND;
    case OP_NEEDS_DATA:
        return ERR_AGAIN;
    case OP_FAILED:
        return ERR_LIMIT;
    default:
        return ERR_INVALID;
    }
}
