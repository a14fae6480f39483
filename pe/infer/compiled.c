/* pe/infer/compiled.c - a model for one batch size, ready to run.
 *
 * Invariants: C1-C3 of compiled.h. */
#include "pe/infer/compiled.h"

#include "core/failpoint.h"
#include "core/mem.h"
#include "pe/infer/call.h"
#include "pe/infer/fuse.h"
#include "pe/infer/arena_plan.h"
#include "pe/infer/specialise.h"

#include <assert.h>
#include <string.h>

struct range { /* of the arena, opened for a reference */
    size_t offset;
    size_t bytes;
    enum host_access access;
    void *host;
};

struct stage { /* one node that runs */
    uint32_t node;
    struct step *step;  /* NULL: by reference */
    struct step *chain; /* does this stage and those behind it, `chain_count` in all; or NULL */
    uint32_t chain_count;
    struct range *ranges; /* of a reference: distinct places it reads or writes */
    unsigned range_count;
    char *why; /* of a reference: what the device said */
};

struct compiled {
    struct graph *graph;
    struct compile_target target;
    struct arena_plan plan;
    struct arena *arenas[COMPILED_SLOTS_MAX]; /* one per slot */
    struct stage *stages;
    unsigned stage_count;
    struct tensor *values; /* [value_count] types; data set around a reference's call */
    struct call call;
};

/* ---- making ---- */

static struct place place_of(const struct compiled *c, uint32_t v)
{
    if (v == VALUE_NONE) {
        return (struct place){0};
    }
    const struct value *value = &c->graph->values[v];
    struct place p = {
        .type = &value->type,
        .offset = c->plan.offsets[v],
        .constant = value->kind == VALUE_CONST,
        .batched = value->batched,
    };
    if (p.batched) {
        p.scale = value->type.shape.dims[0] / c->graph->batch;
    }
    return p;
}

static enum err compile_step(struct compiled *c, const struct node *n, struct step **out,
                             struct fail *f)
{
    struct place *places = mem_array(n->input_count + n->output_count, sizeof *places);
    for (uint32_t i = 0; i < n->input_count; i++) {
        places[i] = place_of(c, n->inputs[i]);
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        places[n->input_count + i] = place_of(c, n->outputs[i]);
    }
    struct step_spec spec = {
        .node = n,
        .in = places,
        .out = places + n->input_count,
        .batch = c->graph->batch,
    };
    enum err e = c->target.backend->compile(c->target.device, &spec, out, f);
    mem_free(places);
    return e;
}

static void add_range(struct compiled *c, struct stage *s, uint32_t v, enum host_access access)
{
    if (v == VALUE_NONE || c->plan.offsets[v] == ARENA_NOWHERE) {
        return;
    }
    for (unsigned i = 0; i < s->range_count; i++) {
        if (s->ranges[i].offset == c->plan.offsets[v]) {
            s->ranges[i].access |= access;
            return;
        }
    }
    s->ranges[s->range_count++] = (struct range){
        .offset = c->plan.offsets[v],
        .bytes = tensor_bytes(&c->graph->values[v].type),
        .access = access,
    };
}

static void make_reference(struct compiled *c, struct stage *s, const struct node *n)
{
    s->ranges = mem_array(n->input_count + n->output_count, sizeof *s->ranges);
    for (uint32_t i = 0; i < n->input_count; i++) {
        add_range(c, s, n->inputs[i], HOST_READ);
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        add_range(c, s, n->outputs[i], HOST_WRITE);
    }
}

static enum err make_stages(struct compiled *c, struct fail *f)
{
    const struct graph *g = c->graph;
    c->stages = mem_array(g->node_count, sizeof *c->stages);
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (n->dead || arena_plan_is_alias(&c->plan, g, n)) {
            continue;
        }
        struct stage *s = &c->stages[c->stage_count++];
        struct fail why = {0};
        s->node = i;
        enum err e = compile_step(c, n, &s->step, &why);
        if (e == ERR_NOTFOUND) {
            s->step = NULL;
            s->why = mem_dup(why.what);
            make_reference(c, s, n);
        } else if (e != ERR_OK) {
            return fail_set(f, e, why.hint, "node '%.80s' (%.60s): %.300s", n->name, n->op,
                            why.what);
        }
    }
    return ERR_OK;
}

/* From stage `at` on: as many as there are on the device. */
static uint32_t on_device_from(const struct compiled *c, unsigned at)
{
    unsigned end = at;
    while (end < c->stage_count && c->stages[end].step != NULL) {
        end++;
    }
    return end - at;
}

/* Runs of steps as one, where the device gains by it. */
static enum err join_stages(struct compiled *c, struct fail *f)
{
    if (c->target.backend->join == NULL) {
        return ERR_OK;
    }
    struct step **steps = mem_array(c->stage_count, sizeof(*steps));
    enum err e = ERR_OK;
    for (unsigned i = 0; i < c->stage_count && e == ERR_OK;) {
        struct stage *s = &c->stages[i];
        uint32_t count = on_device_from(c, i);
        for (uint32_t j = 0; j < count; j++) {
            steps[j] = s[j].step;
        }
        if (count < 2) {
            i++;
            continue;
        }
        e = c->target.backend->join(c->target.device, steps, &count, &s->chain, f);
        s->chain_count = s->chain != NULL ? count : 0;
        e = e == ERR_NOTFOUND ? ERR_OK : e;
        i += count;
    }
    mem_free(steps);
    return e;
}

static enum err make_arenas(struct compiled *c, struct fail *f)
{
    enum err e = ERR_OK;
    for (unsigned i = 0; i < c->target.slots && e == ERR_OK; i++) {
        e = c->target.backend->arena_new(c->target.device, c->plan.arena_bytes + TENSOR_ALIGN,
                                         &c->arenas[i], f);
    }
    return e;
}

enum err compiled_new(struct graph *graph TAKES, const struct compile_target *target,
                      struct compiled **out, struct fail *f)
{
    assert(!graph_is_dynamic(graph) && target->slots <= COMPILED_SLOTS_MAX);
    struct compiled *c = mem_alloc(sizeof *c);
    c->graph = graph;
    c->target = *target;
    c->target.slots = target->slots != 0 ? target->slots : 1;
    call_init(&c->call, f);
    if (target->fuse) {
        graph_fuse(graph);
    }
    enum err e = arena_plan_init(&c->plan, graph, f);
    if (e == ERR_OK) {
        e = make_arenas(c, f);
    }
    if (e == ERR_OK) {
        c->values = mem_array(graph->value_count, sizeof *c->values);
        for (uint32_t v = 0; v < graph->value_count; v++) {
            const struct tensor *t = &graph->values[v].type;
            c->values[v] = tensor_borrow(t->dtype, &t->shape, t->data);
        }
        e = make_stages(c, f);
    }
    if (e == ERR_OK) {
        e = join_stages(c, f);
    }
    if (e != ERR_OK) {
        compiled_free(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void compiled_free(struct compiled *c)
{
    if (c == NULL) {
        return;
    }
    for (unsigned i = 0; i < c->stage_count; i++) {
        c->target.backend->step_free(c->stages[i].chain);
        c->target.backend->step_free(c->stages[i].step);
        mem_free(c->stages[i].ranges);
        mem_free(c->stages[i].why);
    }
    for (unsigned i = 0; i < c->target.slots; i++) {
        c->target.backend->arena_free(c->arenas[i]);
    }
    mem_free(c->stages);
    mem_free(c->values);
    arena_plan_fini(&c->plan);
    call_fini(&c->call);
    graph_free(c->graph);
    mem_free(c);
}

const struct graph *compiled_graph(const struct compiled *c)
{
    return c->graph;
}

size_t compiled_arena_bytes(const struct compiled *c)
{
    return c->plan.arena_bytes;
}

unsigned compiled_step_count(const struct compiled *c, unsigned *on_device)
{
    *on_device = 0;
    for (unsigned i = 0; i < c->stage_count; i++) {
        *on_device += c->stages[i].step != NULL;
    }
    return c->stage_count;
}

unsigned compiled_call_count(const struct compiled *c)
{
    unsigned count = c->stage_count;
    for (unsigned i = 0; i < c->stage_count; i++) {
        count -= c->stages[i].chain != NULL ? c->stages[i].chain_count - 1 : 0;
    }
    return count;
}

void compiled_each(const struct compiled *c,
                   void (*fn)(void *arg, const struct node *n, bool on_device, const char *why),
                   void *arg)
{
    for (unsigned i = 0; i < c->stage_count; i++) {
        const struct stage *s = &c->stages[i];
        fn(arg, &c->graph->nodes[s->node], s->step != NULL, s->why != NULL ? s->why : "");
    }
}

/* ---- running ---- */

static void *host_of(const struct stage *s, size_t offset)
{
    for (unsigned i = 0; i < s->range_count; i++) {
        if (s->ranges[i].offset == offset) {
            return s->ranges[i].host;
        }
    }
    return NULL;
}

static void point(struct compiled *c, const struct stage *s, const uint32_t *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t v = values[i];
        if (v != VALUE_NONE && c->plan.offsets[v] != ARENA_NOWHERE) {
            c->values[v].data = host_of(s, c->plan.offsets[v]);
        }
    }
}

static enum err run_reference(struct compiled *c, struct arena *arena, struct stage *s,
                              struct fail *f)
{
    const struct node *n = &c->graph->nodes[s->node];
    const struct backend *b = c->target.backend;
    enum err e = ERR_OK;
    unsigned open = 0;
    for (; open < s->range_count && e == ERR_OK; open++) {
        struct range *r = &s->ranges[open];
        e = b->host_begin(arena, r->offset, r->bytes, r->access, &r->host, f);
    }
    if (e != ERR_OK) {
        open--;
    } else {
        point(c, s, n->inputs, n->input_count);
        point(c, s, n->outputs, n->output_count);
        call_bind(&c->call, n, c->values, sizeof *c->values);
        c->call.ctx.fail = f;
        e = call_err(op_run(&c->call.ctx));
    }
    for (unsigned i = 0; i < open; i++) {
        struct range *r = &s->ranges[i];
        enum err end = b->host_end(arena, r->offset, r->bytes, r->access, r->host, f);
        e = e == ERR_OK ? end : e;
    }
    return e;
}

enum err compiled_run(struct compiled *c, unsigned slot, int64_t rows, struct fail *f)
{
    assert(rows >= 0 && rows <= c->graph->batch && slot < c->target.slots);
    struct arena *arena = c->arenas[slot];
    call_begin(&c->call);
    for (unsigned i = 0; i < c->stage_count;) {
        struct stage *s = &c->stages[i];
        bool on_device = s->step != NULL || s->chain != NULL;
        if (on_device && FAILPOINT_FAILS("infer.step")) { /* as a driver says it */
            return fail_set(f, ERR_IO, "", "the device is lost");
        }
        if (s->chain != NULL) {
            enum err e = c->target.backend->run(s->chain, arena, rows, f);
            if (e != ERR_OK) {
                return e;
            }
            i += s->chain_count;
            continue;
        }
        i++;
        enum err e = s->step != NULL ? c->target.backend->run(s->step, arena, rows, f)
                                     : run_reference(c, arena, s, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

enum err compiled_input(struct compiled *c, unsigned slot, unsigned i, void **out, struct fail *f)
{
    uint32_t v = c->graph->inputs[i];
    assert(c->plan.offsets[v] != ARENA_NOWHERE);
    return c->target.backend->host_begin(c->arenas[slot], c->plan.offsets[v],
                                         tensor_bytes(&c->values[v]), HOST_WRITE, out, f);
}

enum err compiled_input_done(struct compiled *c, unsigned slot, unsigned i, void *p, struct fail *f)
{
    uint32_t v = c->graph->inputs[i];
    return c->target.backend->host_end(c->arenas[slot], c->plan.offsets[v],
                                       tensor_bytes(&c->values[v]), HOST_WRITE, p, f);
}

enum err compiled_output(struct compiled *c, unsigned slot, unsigned i, const void **out,
                         struct fail *f)
{
    uint32_t v = c->graph->outputs[i];
    if (c->plan.offsets[v] == ARENA_NOWHERE) {
        *out = c->values[v].data; /* a constant */
        return ERR_OK;
    }
    void *p = NULL;
    enum err e = c->target.backend->host_begin(c->arenas[slot], c->plan.offsets[v],
                                               tensor_bytes(&c->values[v]), HOST_READ, &p, f);
    *out = p;
    return e;
}

enum err compiled_output_done(struct compiled *c, unsigned slot, unsigned i, const void *p,
                              struct fail *f)
{
    uint32_t v = c->graph->outputs[i];
    if (c->plan.offsets[v] == ARENA_NOWHERE) {
        return ERR_OK;
    }
    return c->target.backend->host_end(c->arenas[slot], c->plan.offsets[v],
                                       tensor_bytes(&c->values[v]), HOST_READ, (void *)(uintptr_t)p,
                                       f);
}

/* ---- whole tensors ---- */

static enum err put_input(struct compiled *c, unsigned i, const struct tensor *t, struct fail *f)
{
    void *p = NULL;
    if (c->graph->values[c->graph->inputs[i]].kind == VALUE_CONST) {
        return ERR_OK;
    }
    enum err e = compiled_input(c, 0, i, &p, f);
    if (e == ERR_OK) {
        if (tensor_bytes(t) > 0) {
            memcpy(p, t->data, tensor_bytes(t));
        }
        e = compiled_input_done(c, 0, i, p, f);
    }
    return e;
}

static enum err get_output(struct compiled *c, unsigned i, struct tensor *t, struct fail *f)
{
    const struct tensor *type = &c->values[c->graph->outputs[i]];
    const void *p = NULL;
    enum err e = tensor_alloc(t, type->dtype, &type->shape, f);
    if (e == ERR_OK) {
        e = compiled_output(c, 0, i, &p, f);
    }
    if (e == ERR_OK) {
        if (tensor_bytes(t) > 0) {
            memcpy(t->data, p, tensor_bytes(t));
        }
        e = compiled_output_done(c, 0, i, p, f);
    }
    return e;
}

enum err compiled_run_tensors(struct compiled *c, const struct tensor *inputs,
                              struct tensor *outputs, struct fail *f)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->graph->input_count && e == ERR_OK; i++) {
        e = put_input(c, i, &inputs[i], f);
    }
    if (e == ERR_OK) {
        e = compiled_run(c, 0, c->graph->batch, f);
    }
    for (uint32_t i = 0; i < c->graph->output_count && e == ERR_OK; i++) {
        e = get_output(c, i, &outputs[i], f);
    }
    return e;
}
