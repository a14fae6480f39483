/* tests/support/step_case.c - describing, fencing and running one node. */
#include "tests/support/step_case.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FENCE_BYTES 256u
#define FENCE 0xa5

struct device *case_open(const char *kind, const char *dir)
{
    setenv("POCL_CACHE_DIR", dir, 0); /* and no cache of ours: it would compile all twice */
    struct device_options o = {.kind = kind};
    struct device *d = NULL;
    return backend_opencl->device_open(&o, &d, NULL) == ERR_OK ? d : NULL;
}

void case_init(struct step_case *c, struct device *d, int64_t batch, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->device = d;
    c->batch = batch;
    c->graph = graph_new();
    c->random = (struct prng){seed};
}

void case_fini(struct step_case *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        tensor_fini(&c->values[i].data);
    }
    graph_free(c->graph);
}

static struct case_value *value_new(struct step_case *c, unsigned rank, const int64_t *dims)
{
    assert_true(c->count < CASE_VALUES_MAX);
    struct case_value *v = &c->values[c->count++];
    struct shape s = {.rank = rank};
    for (unsigned i = 0; i < rank; i++) {
        s.dims[i] = dims[i];
    }
    assert_int_equal(tensor_alloc(&v->data, DT_F32, &s, NULL), ERR_OK);
    v->place.type = &v->data;
    return v;
}

static void fill(struct step_case *c, struct tensor *t)
{
    float *p = tensor_f32(t);
    for (size_t i = 0; i < tensor_count(t); i++) {
        p[i] = (float)((double)prng_below(&c->random, 2000001) * 1e-6 - 1.0);
    }
}

static void mark_batched(struct step_case *c, struct case_value *v, bool batched)
{
    v->place.batched = batched;
    v->place.scale = batched ? v->data.shape.dims[0] / c->batch : 1;
}

float *case_input(struct step_case *c, bool batched, unsigned rank, const int64_t *dims)
{
    struct case_value *v = value_new(c, rank, dims);
    mark_batched(c, v, batched);
    fill(c, &v->data);
    return tensor_f32(&v->data);
}

float *case_const(struct step_case *c, unsigned rank, const int64_t *dims)
{
    struct case_value *v = value_new(c, rank, dims);
    v->place.constant = true;
    fill(c, &v->data);
    return tensor_f32(&v->data);
}

void case_absent(struct step_case *c)
{
    assert_true(c->count < CASE_VALUES_MAX);
    c->count++;
}

void case_unwanted(struct step_case *c)
{
    case_absent(c);
    c->values[c->count - 1].is_output = true;
}

void case_output(struct step_case *c, bool batched, unsigned rank, const int64_t *dims)
{
    struct case_value *v = value_new(c, rank, dims);
    v->is_output = true;
    mark_batched(c, v, batched);
}

struct node *case_node(struct step_case *c, const char *domain, const char *op)
{
    uint32_t in[CASE_VALUES_MAX], out[CASE_VALUES_MAX];
    uint32_t in_count = 0, out_count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "v%u", i);
        bool is_output = c->values[i].is_output;
        uint32_t v = VALUE_NONE;
        if (c->values[i].place.type != NULL) {
            v = graph_add_value(c->graph, is_output ? VALUE_UNUSED : VALUE_INPUT, name);
        }
        if (is_output) {
            out[out_count++] = v;
        } else {
            in[in_count++] = v;
        }
    }
    int opset = *domain != '\0' ? 1 : 17;
    uint32_t at =
        graph_add_node(c->graph, domain, op, opset, in, in_count, out, out_count);
    c->node = &c->graph->nodes[at];
    return c->node;
}

/* ---- running */

static size_t lay_out(struct step_case *c)
{
    size_t at = FENCE_BYTES;
    for (uint32_t i = 0; i < c->count; i++) {
        struct case_value *v = &c->values[i];
        if (v->place.type == NULL || v->place.constant) {
            continue;
        }
        v->place.offset = at;
        at += (tensor_bytes(&v->data) + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
        at += FENCE_BYTES;
    }
    return at;
}

/* The arena as it must be, but for the outputs. */
static unsigned char *image(const struct step_case *c, size_t bytes)
{
    unsigned char *all = mem_alloc(bytes);
    memset(all, FENCE, bytes);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct case_value *v = &c->values[i];
        if (v->place.type != NULL && !v->place.constant && !v->is_output) {
            memcpy(all + v->place.offset, v->data.data, tensor_bytes(&v->data));
        }
    }
    return all;
}

static void put(struct arena *a, const unsigned char *all, size_t bytes)
{
    void *p = NULL;
    const struct backend *b = backend_opencl;
    assert_int_equal(b->host_begin(a, 0, bytes, HOST_WRITE, &p, NULL), ERR_OK);
    memcpy(p, all, bytes);
    assert_int_equal(b->host_end(a, 0, bytes, HOST_WRITE, p, NULL), ERR_OK);
}

static void take(struct step_case *c, struct arena *a, unsigned char *all, size_t bytes)
{
    void *p = NULL;
    const struct backend *b = backend_opencl;
    assert_int_equal(b->host_begin(a, 0, bytes, HOST_READ, &p, NULL), ERR_OK);
    unsigned char *got = mem_alloc(bytes);
    memcpy(got, p, bytes);
    assert_int_equal(b->host_end(a, 0, bytes, HOST_READ, p, NULL), ERR_OK);
    for (uint32_t i = 0; i < c->count; i++) {
        struct case_value *v = &c->values[i];
        if (v->is_output && v->place.type != NULL) {
            memcpy(v->data.data, got + v->place.offset, tensor_bytes(&v->data));
            memcpy(all + v->place.offset, got + v->place.offset, tensor_bytes(&v->data));
        }
    }
    for (size_t i = 0; i < bytes; i++) {
        if (got[i] != all[i]) {
            fail_msg("byte %zu of the arena was written, which is no output's", i);
        }
    }
    mem_free(got);
}

static struct step *compile(struct step_case *c)
{
    struct place in[CASE_VALUES_MAX], out[CASE_VALUES_MAX];
    uint32_t in_count = 0, out_count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->values[i].is_output) {
            out[out_count++] = c->values[i].place;
        } else {
            in[in_count++] = c->values[i].place;
        }
    }
    struct step_spec spec = {c->node, in, out, c->batch};
    struct step *s = NULL;
    struct fail f = {0};
    enum err e = backend_opencl->compile(c->device, &spec, &s, &f);
    if (e != ERR_OK && e != ERR_NOTFOUND) {
        fail_msg("compile: %s", f.what);
    }
    return s;
}

bool case_run(struct step_case *c, int64_t rows)
{
    const struct backend *b = backend_opencl;
    size_t bytes = lay_out(c);
    struct step *s = compile(c);
    if (s == NULL) {
        return false;
    }
    unsigned char *all = image(c, bytes);
    struct arena *a[2] = {NULL, NULL}; /* a step serves several arenas in turn */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b->arena_new(c->device, bytes, &a[i], NULL), ERR_OK);
        put(a[i], all, bytes);
    }
    for (int i = 0; i < 3; i++) {
        struct fail f = {0};
        if (b->run(s, a[i & 1], rows, &f) != ERR_OK) {
            fail_msg("run: %s", f.what);
        }
    }
    take(c, a[1], all, bytes);
    take(c, a[0], all, bytes);
    mem_free(all);
    b->arena_free(a[0]);
    b->arena_free(a[1]);
    b->step_free(s);
    return true;
}

static void reference(struct step_case *c, struct tensor *results)
{
    const struct tensor *in[CASE_VALUES_MAX];
    struct tensor *out[CASE_VALUES_MAX];
    unsigned in_count = 0, out_count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct case_value *v = &c->values[i];
        if (!v->is_output) {
            in[in_count++] = v->place.type;
        } else {
            out[out_count] = NULL;
            if (v->place.type != NULL) {
                assert_int_equal(tensor_alloc(&results[out_count], v->data.dtype, &v->data.shape,
                                              NULL), ERR_OK);
                out[out_count] = &results[out_count];
            }
            out_count++;
        }
    }
    struct fail f = {0};
    struct op_budget budget = {INFER_LOOP_STEPS_MAX, FOLD_BYTES_BASE};
    struct op_ctx ctx = {.node = c->node,
                         .opset = c->node->opset,
                         .in = in,
                         .in_count = in_count,
                         .out = out,
                         .out_count = out_count,
                         .scratch = scratch_new(),
                         .budget = &budget,
                         .fail = &f};
    if (op_run(&ctx) != OP_OK) {
        fail_msg("reference: %s", f.what);
    }
    scratch_free(ctx.scratch);
}

void case_check(struct step_case *c, int64_t rows, float relative, float absolute)
{
    struct tensor results[CASE_VALUES_MAX] = {0};
    reference(c, results);
    if (!case_run(c, rows)) {
        fail_msg("%s was declined", c->node->op);
    }
    unsigned output = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct case_value *v = &c->values[i];
        if (v->is_output && v->place.type != NULL) {
            size_t count = tensor_count(&v->data);
            count = v->place.batched ? count / (size_t)c->batch * (size_t)rows : count;
            case_same(tensor_f32(&v->data), tensor_f32(&results[output]), count, relative,
                      absolute);
        }
        output += v->is_output;
    }
    for (unsigned i = 0; i < output; i++) {
        tensor_fini(&results[i]);
    }
}

const float *case_result(const struct step_case *c, unsigned output)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->values[i].is_output && output-- == 0) {
            return tensor_f32(&c->values[i].data);
        }
    }
    return NULL;
}

void case_same(const float *got, const float *want, size_t count, float relative, float absolute)
{
    for (size_t i = 0; i < count; i++) {
        bool same = isnan(want[i]) ? isnan(got[i])
                                   : fabsf(got[i] - want[i]) <=
                                             absolute + relative * fabsf(want[i]) ||
                                         got[i] == want[i];
        if (!same) {
            fail_msg("element %zu of %zu is %.9g, not %.9g", i, count, (double)got[i],
                     (double)want[i]);
        }
    }
}
