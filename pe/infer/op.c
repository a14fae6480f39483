/* pe/infer/op.c - looking operators up, calling them, and what they ask their context for.
 *
 * Owns:       struct scratch: blocks that live for one call. */
#include "pe/infer/op.h"

#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static bool same_name(const struct op *row, const char *domain, const char *name)
{
    const char *own = row->domain != NULL ? row->domain : "";
    const char *want = domain != NULL && strcmp(domain, "ai.onnx") != 0 ? domain : "";
    return strcmp(row->name, name) == 0 && strcmp(own, want) == 0;
}

const struct op *op_find(const char *domain, const char *name, int opset)
{
    for (size_t i = 0; op_families[i] != NULL; i++) {
        for (const struct op *row = op_families[i]; row->name != NULL; row++) {
            if (opset >= row->since && opset <= row->until && same_name(row, domain, name)) {
                return row;
            }
        }
    }
    return NULL;
}

bool op_known(const char *domain, const char *name)
{
    for (size_t i = 0; op_families[i] != NULL; i++) {
        for (const struct op *row = op_families[i]; row->name != NULL; row++) {
            if (same_name(row, domain, name)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- calling ---- */

static enum op_result check_counts(struct op_ctx *ctx)
{
    const struct op *row = ctx->node->row;
    if (ctx->in_count < row->in_min || ctx->in_count > row->in_max) {
        return op_invalid(ctx, "%u inputs, want %u to %u", ctx->in_count, row->in_min,
                          row->in_max);
    }
    if (ctx->out_count < row->out_min || ctx->out_count > row->out_max) {
        return op_invalid(ctx, "%u outputs, want %u to %u", ctx->out_count, row->out_min,
                          row->out_max);
    }
    for (unsigned i = 0; i < row->in_min; i++) {
        if (ctx->in[i] == NULL) {
            return op_invalid(ctx, "input %u is left out, but not optional", i);
        }
    }
    return OP_OK;
}

enum op_result op_infer(struct op_ctx *ctx)
{
    const struct op *row = ctx->node->row;
    if (row == NULL) {
        return op_known(ctx->node->domain, ctx->node->op)
                   ? op_unsupported(ctx, "not at opset %d", ctx->opset)
                   : op_unsupported(ctx, "no such operator here (domain '%.40s', opset %d)",
                                    ctx->node->domain, ctx->opset);
    }
    enum op_result r = check_counts(ctx);
    if (r == OP_OK) {
        r = row->infer(ctx);
    }
    scratch_reset(ctx->scratch);
    return r;
}

enum op_result op_run(struct op_ctx *ctx)
{
    if (ctx->node->row->out_max == 1 && op_out(ctx, 0) == NULL) {
        return OP_OK; /* nobody wants the only output */
    }
    enum op_result r = ctx->node->row->run(ctx);
    scratch_reset(ctx->scratch);
    return r;
}

/* ---- answering ---- */

static void say(struct op_ctx *ctx, enum err code, const char *fmt, va_list args)
{
    char what[320];
    vsnprintf(what, sizeof what, fmt, args);
    fail_set(ctx->fail, code, "", "node '%.80s' (%.60s): %s", ctx->node->name, ctx->node->op,
             what);
}

enum op_result op_unsupported(struct op_ctx *ctx, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(ctx, ERR_NOTFOUND, fmt, args);
    va_end(args);
    return OP_UNSUPPORTED;
}

enum op_result op_invalid(struct op_ctx *ctx, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(ctx, ERR_INVALID, fmt, args);
    va_end(args);
    return OP_INVALID;
}

enum op_result op_failed(struct op_ctx *ctx, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(ctx, ERR_LIMIT, fmt, args);
    va_end(args);
    return OP_FAILED;
}

enum op_result op_needs(struct op_ctx *ctx, unsigned input)
{
    fail_set(ctx->fail, ERR_AGAIN, "", "node '%.80s' (%.60s): the value of input %u is not known",
             ctx->node->name, ctx->node->op, input);
    return OP_NEEDS_DATA;
}

enum op_result op_dynamic(struct op_ctx *ctx)
{
    fail_set(ctx->fail, ERR_AGAIN, "", "node '%.80s' (%.60s): its outputs' shapes depend on data",
             ctx->node->name, ctx->node->op);
    return OP_NEEDS_DATA;
}

enum op_result op_set_out(struct op_ctx *ctx, unsigned i, enum dtype dtype,
                          const struct shape *shape)
{
    char text[SHAPE_TEXT_BYTES];
    struct tensor *out = op_out(ctx, i);
    if (out == NULL) {
        return OP_OK;
    }
    if (dtype_size(dtype) == 0) {
        return op_unsupported(ctx, "output %u would be of type %s", i, dtype_name(dtype));
    }
    if (shape->rank > TENSOR_RANK_MAX) {
        return op_unsupported(ctx, "output %u would have rank %u; %u is the most", i, shape->rank,
                              TENSOR_RANK_MAX);
    }
    if (!shape_is_known(shape)) {
        return op_invalid(ctx, "output %u would have shape %s", i, shape_text(shape, text));
    }
    size_t count = 0;
    if (!shape_count(shape, &count) || count > TENSOR_BYTES_MAX / dtype_size(dtype)) {
        return op_failed(ctx, "output %u would be %s%s, more than %llu MiB", i, dtype_name(dtype),
                         shape_text(shape, text), TENSOR_BYTES_MAX >> 20);
    }
    tensor_type(out, dtype, shape);
    return OP_OK;
}

void op_shrink(struct op_ctx *ctx, unsigned i, const struct shape *shape)
{
    struct tensor *out = op_out(ctx, i);
    if (out != NULL) {
        out->shape = *shape;
    }
}

/* ---- inputs ---- */

enum op_result op_in_ints(struct op_ctx *ctx, unsigned i, int64_t *out, unsigned max,
                          unsigned *count)
{
    const struct tensor *t = op_in(ctx, i);
    *count = 0;
    if (t == NULL) {
        return OP_OK;
    }
    if (t->dtype != DT_I64 && t->dtype != DT_I32) {
        return op_invalid(ctx, "input %u is %s, want i64 or i32", i, dtype_name(t->dtype));
    }
    if (t->shape.rank > 1) {
        return op_invalid(ctx, "input %u has rank %u, want a list", i, t->shape.rank);
    }
    size_t n = tensor_count(t);
    if (n > max) {
        return op_invalid(ctx, "input %u has %zu elements, want at most %u", i, n, max);
    }
    if (t->data == NULL) {
        return op_needs(ctx, i);
    }
    for (size_t k = 0; k < n; k++) {
        out[k] = tensor_get_i64(t, k);
    }
    *count = (unsigned)n;
    return OP_OK;
}

enum op_result op_want_dtypes(struct op_ctx *ctx, unsigned i, unsigned mask)
{
    const struct tensor *t = op_in(ctx, i);
    if (t != NULL && (mask & 1u << t->dtype) == 0) {
        return op_invalid(ctx, "input %u may not be of type %s", i, dtype_name(t->dtype));
    }
    return OP_OK;
}

enum op_result op_axis(struct op_ctx *ctx, const char *name, int64_t axis, uint32_t rank,
                       unsigned *out)
{
    int64_t r = (int64_t)rank;
    if (axis < -r || axis >= r) {
        return op_invalid(ctx, "%s is %lld, but the rank is %u", name, (long long)axis, rank);
    }
    *out = (unsigned)(axis < 0 ? axis + r : axis);
    return OP_OK;
}

/* ---- attributes ---- */

static const struct attr *attr_of(const struct op_ctx *ctx, const char *name, enum attr_type type)
{
    const struct attr *a = node_attr(ctx->node, name);
    return a != NULL && a->type == type ? a : NULL;
}

bool op_attr_has(const struct op_ctx *ctx, const char *name)
{
    return node_attr(ctx->node, name) != NULL;
}

int64_t op_attr_i(const struct op_ctx *ctx, const char *name, int64_t fallback)
{
    const struct attr *a = attr_of(ctx, name, ATTR_INT);
    return a != NULL ? a->i : fallback;
}

float op_attr_f(const struct op_ctx *ctx, const char *name, float fallback)
{
    const struct attr *a = attr_of(ctx, name, ATTR_FLOAT);
    return a != NULL ? a->f : fallback;
}

const char *op_attr_s(const struct op_ctx *ctx, const char *name, const char *fallback)
{
    const struct attr *a = attr_of(ctx, name, ATTR_STRING);
    return a != NULL ? a->s : fallback;
}

const int64_t *op_attr_ints(const struct op_ctx *ctx, const char *name, unsigned *count)
{
    const struct attr *a = attr_of(ctx, name, ATTR_INTS);
    *count = a != NULL ? a->count : 0;
    return a != NULL ? a->ints : NULL;
}

const float *op_attr_floats(const struct op_ctx *ctx, const char *name, unsigned *count)
{
    const struct attr *a = attr_of(ctx, name, ATTR_FLOATS);
    *count = a != NULL ? a->count : 0;
    return a != NULL ? a->floats : NULL;
}

char *const *op_attr_strings(const struct op_ctx *ctx, const char *name, unsigned *count)
{
    const struct attr *a = attr_of(ctx, name, ATTR_STRINGS);
    *count = a != NULL ? a->count : 0;
    return a != NULL ? a->strings : NULL;
}

const struct tensor *op_attr_tensor(const struct op_ctx *ctx, const char *name)
{
    const struct attr *a = attr_of(ctx, name, ATTR_TENSOR);
    return a != NULL ? &a->tensor : NULL;
}

const struct graph *op_attr_graph(const struct op_ctx *ctx, const char *name)
{
    const struct attr *a = attr_of(ctx, name, ATTR_GRAPH);
    return a != NULL ? a->graph : NULL;
}

/* ---- scratch: a stack of blocks, freed but for the first when it is reset ---- */

#define SCRATCH_FIRST_BYTES (256u << 10)

struct scratch_block {
    struct scratch_block *next;
    size_t bytes;
    size_t used;
    uint8_t *data; /* 64-byte aligned */
};

struct scratch {
    struct scratch_block *top;
    size_t total; /* bytes of all blocks */
};

struct scratch *scratch_new(void)
{
    return mem_alloc(sizeof(struct scratch));
}

static void pop(struct scratch *s)
{
    struct scratch_block *b = s->top;
    s->top = b->next;
    s->total -= b->bytes;
    free(b->data);
    mem_free(b);
}

void scratch_free(struct scratch *s)
{
    if (s != NULL) {
        while (s->top != NULL) {
            pop(s);
        }
        mem_free(s);
    }
}

void scratch_reset(struct scratch *s)
{
    while (s->top != NULL && (s->top->next != NULL || s->top->bytes > SCRATCH_FIRST_BYTES)) {
        pop(s);
    }
    if (s->top != NULL) {
        s->top->used = 0;
    }
}

static struct scratch_block *push(struct scratch *s, size_t bytes)
{
    struct scratch_block *b = mem_try_alloc(sizeof *b);
    void *data = NULL;
    if (b == NULL || posix_memalign(&data, 64, bytes) != 0) {
        mem_free(b);
        return NULL;
    }
    *b = (struct scratch_block){.next = s->top, .bytes = bytes, .data = data};
    s->top = b;
    s->total += bytes;
    return b;
}

void *op_scratch(struct op_ctx *ctx, size_t count, size_t size)
{
    struct scratch *s = ctx->scratch;
    if (size != 0 && count > TENSOR_BYTES_MAX / size) {
        return NULL;
    }
    size_t bytes = (count * size + 64) / 64 * 64; /* never 0 */
    if (s->top == NULL || s->top->bytes - s->top->used < bytes) {
        size_t room = bytes > SCRATCH_FIRST_BYTES ? bytes : SCRATCH_FIRST_BYTES;
        if (s->total + room > TENSOR_BYTES_MAX + SCRATCH_FIRST_BYTES || push(s, room) == NULL) {
            return NULL;
        }
    }
    void *p = s->top->data + s->top->used;
    s->top->used += bytes;
    return p;
}
