/* pe/infer/ops/einsum.c - Einsum: sums of products over named dims.
 *
 * Every letter is a dim of one loop nest: those of the output outside, the summed ones inside.  A
 * tensor's stride along a letter is the sum of its strides at the places the letter stands, so that
 * "ii" walks a diagonal.  The dims of "..." are named by digits from the right.
 * See:        https://onnx.ai/onnx/operators/onnx__Einsum.html, numpy.einsum */
#include "pe/infer/ops/ops.h"

#include <string.h>

#define OPERANDS_MAX (WALK_WAYS - 1)
#define LETTERS_MAX WALK_RANK_MAX

struct term {
    char names[TENSOR_RANK_MAX]; /* one per dim */
    unsigned rank;
    bool has_dots;
    unsigned dots_at; /* where in names the dims of "..." go */
};

struct einsum {
    struct term in[OPERANDS_MAX], out;
    unsigned count;             /* operands */
    bool explicit_out;
    unsigned dots;              /* dims of the longest "..." */
    char letters[LETTERS_MAX];  /* those of the output first */
    int64_t dims[LETTERS_MAX];
    unsigned letter_count, out_count;
};

/* ---- the equation ---- */

/* read_term - letters and at most one "..." up to ',', '-' or the end. */
static enum op_result read_term(struct op_ctx *ctx, const char **s, struct term *t)
{
    for (*t = (struct term){0}; **s != '\0' && **s != ',' && **s != '-'; (*s)++) {
        char c = **s;
        if (c == ' ') {
            continue;
        }
        if (strncmp(*s, "...", 3) == 0 && !t->has_dots) {
            t->has_dots = true;
            t->dots_at = t->rank;
            *s += 2;
        } else if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) &&
                   t->rank < TENSOR_RANK_MAX) {
            t->names[t->rank++] = c;
        } else {
            return op_invalid(ctx, "the equation has '%c' where a letter belongs", c);
        }
    }
    return OP_OK;
}

static enum op_result read_equation(struct op_ctx *ctx, struct einsum *e)
{
    const char *s = op_attr_s(ctx, "equation", "");
    for (;; s++) {
        if (e->count == OPERANDS_MAX) {
            return op_unsupported(ctx, "more than %u operands", OPERANDS_MAX);
        }
        TRY(read_term(ctx, &s, &e->in[e->count++]));
        if (*s != ',') {
            break;
        }
    }
    if (*s == '-') {
        if (s[1] != '>') {
            return op_invalid(ctx, "the equation has '-' without '>'");
        }
        s += 2;
        e->explicit_out = true;
        TRY(read_term(ctx, &s, &e->out));
    }
    if (*s != '\0' || e->count != ctx->in_count) {
        return op_invalid(ctx, "the equation has %u operands, the node %u inputs", e->count,
                          ctx->in_count);
    }
    return OP_OK;
}

/* open_dots - give the dims of "..." names: '0' is the last of them. */
static enum op_result open_dots(struct op_ctx *ctx, struct term *t, unsigned dots)
{
    if (!t->has_dots) {
        return OP_OK;
    }
    if (t->rank + dots > TENSOR_RANK_MAX) {
        return op_invalid(ctx, "a term has more than %u dims", TENSOR_RANK_MAX);
    }
    memmove(t->names + t->dots_at + dots, t->names + t->dots_at, t->rank - t->dots_at);
    for (unsigned k = 0; k < dots; k++) {
        t->names[t->dots_at + k] = (char)('0' + (dots - 1 - k));
    }
    t->rank += dots;
    return OP_OK;
}

/* ---- letters ---- */

static unsigned letter_index(const struct einsum *e, char name) /* letter_count: not there */
{
    unsigned k = 0;
    while (k < e->letter_count && e->letters[k] != name) {
        k++;
    }
    return k;
}

static enum op_result add_letter(struct op_ctx *ctx, struct einsum *e, char name)
{
    if (letter_index(e, name) < e->letter_count) {
        return OP_OK;
    }
    if (e->letter_count == LETTERS_MAX) {
        return op_unsupported(ctx, "more than %u different letters", LETTERS_MAX);
    }
    e->dims[e->letter_count] = 1;
    e->letters[e->letter_count++] = name;
    return OP_OK;
}

static unsigned uses(const struct einsum *e, char name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < e->count; i++) {
        for (unsigned d = 0; d < e->in[i].rank; d++) {
            n += e->in[i].names[d] == name;
        }
    }
    return n;
}

/* implied_out - without "->": the dims of "...", then all letters that stand once, sorted. */
static enum op_result implied_out(struct op_ctx *ctx, struct einsum *e)
{
    e->out.has_dots = e->dots > 0;
    TRY(open_dots(ctx, &e->out, e->dots));
    for (int c = 'A'; c <= 'z'; c++) {
        if (uses(e, (char)c) == 1) {
            if (e->out.rank == TENSOR_RANK_MAX) {
                return op_unsupported(ctx, "the result has more than %u dims", TENSOR_RANK_MAX);
            }
            e->out.names[e->out.rank++] = (char)c;
        }
    }
    return OP_OK;
}

/* set_dims - what each letter counts; 1 stretches under "...". */
static enum op_result set_dims(struct op_ctx *ctx, struct einsum *e)
{
    for (unsigned i = 0; i < e->count; i++) {
        for (unsigned d = 0; d < e->in[i].rank; d++) {
            TRY(add_letter(ctx, e, e->in[i].names[d]));
            int64_t *dim = &e->dims[letter_index(e, e->in[i].names[d])];
            int64_t own = op_in(ctx, i)->shape.dims[d];
            if (*dim != 1 && own != 1 && *dim != own) {
                return op_invalid(ctx, "'%c' is %lld and %lld", e->in[i].names[d],
                                  (long long)*dim, (long long)own);
            }
            *dim = *dim == 1 ? own : *dim;
        }
    }
    return OP_OK;
}

static enum op_result einsum_of(struct op_ctx *ctx, struct einsum *e)
{
    *e = (struct einsum){0};
    TRY(read_equation(ctx, e));
    for (unsigned i = 0; i < e->count; i++) {
        unsigned rank = op_in(ctx, i)->shape.rank, named = e->in[i].rank;
        unsigned dots = rank - named;
        if (named > rank || (dots > 0 && !e->in[i].has_dots)) {
            return op_invalid(ctx, "operand %u has %u dims, the equation names %u", i, rank, named);
        }
        TRY(open_dots(ctx, &e->in[i], dots));
        e->dots = dots > e->dots ? dots : e->dots;
    }
    TRY(e->explicit_out ? open_dots(ctx, &e->out, e->dots) : implied_out(ctx, e));
    for (unsigned d = 0; d < e->out.rank; d++) {
        char name = e->out.names[d];
        if (letter_index(e, name) < e->letter_count || uses(e, name) == 0) {
            return op_invalid(ctx, "'%c' is twice in the output, or not in the inputs", name);
        }
        TRY(add_letter(ctx, e, name));
    }
    e->out_count = e->letter_count;
    return set_dims(ctx, e);
}

static enum op_result einsum_infer(struct op_ctx *ctx)
{
    struct einsum e;
    struct shape out = {0};
    for (unsigned i = 0; i < ctx->in_count; i++) {
        TRY(op_want_dtypes(ctx, i, DTS_NUMBER));
        if (op_in(ctx, i) == NULL || op_in(ctx, i)->dtype != op_in(ctx, 0)->dtype) {
            return op_invalid(ctx, "input %u is missing or of another type", i);
        }
    }
    TRY(einsum_of(ctx, &e));
    out.rank = e.out.rank;
    memcpy(out.dims, e.dims, out.rank * sizeof(out.dims[0]));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &out);
}

/* ---- the loop nest ---- */

/* ways_of - strides of each operand along letters from..to, as ways of a walk. */
static void ways_of(struct op_ctx *ctx, const struct einsum *e, unsigned from, unsigned to,
                    struct walk *w)
{
    *w = (struct walk){.rank = to - from, .ways = e->count};
    memcpy(w->dims, e->dims + from, w->rank * sizeof(w->dims[0]));
    for (unsigned i = 0; i < e->count; i++) {
        int64_t strides[TENSOR_RANK_MAX];
        const struct shape *s = &op_in(ctx, i)->shape;
        shape_strides(s, strides);
        for (unsigned d = 0; d < s->rank; d++) {
            unsigned k = letter_index(e, e->in[i].names[d]);
            if (k >= from && k < to && s->dims[d] != 1) {
                w->strides[i][k - from] += strides[d];
            }
        }
    }
}

/* dot - the sum over `w` of the products of all operands. */
static void dot(struct op_ctx *ctx, struct walk w, union block *sum)
{
    bool floats = dtype_is_float(op_in(ctx, 0)->dtype);
    union block product, v;
    memset(sum, 0, sizeof(sum->u[0]));
    for (bool more = walk_start(&w); more; more = walk_next(&w)) {
        for (size_t done = 0; done < w.len; done += BLOCK) {
            size_t n = block_len(done, w.len);
            for (unsigned i = 0; i < w.ways; i++) {
                const struct tensor *t = op_in(ctx, i);
                block_load(i == 0 ? &product : &v, t->dtype, t->data,
                           w.at[i] + (int64_t)done * w.step[i], w.step[i], n);
                for (size_t k = 0; k < n && i > 0; k++) {
                    if (floats) {
                        product.f[k] *= v.f[k];
                    } else {
                        product.u[k] *= v.u[k];
                    }
                }
            }
            for (size_t k = 0; k < n; k++) {
                if (floats) {
                    sum->f[0] += product.f[k];
                } else {
                    sum->u[0] += product.u[k];
                }
            }
        }
    }
}

static enum op_result einsum_run(struct op_ctx *ctx)
{
    struct tensor *y = op_out(ctx, 0);
    struct einsum e = {0};
    struct walk outer, inner;
    int64_t to = 0;
    TRY(einsum_of(ctx, &e));
    ways_of(ctx, &e, 0, e.out_count, &outer);
    ways_of(ctx, &e, e.out_count, e.letter_count, &inner);
    for (bool more = walk_start(&outer); more; more = walk_next(&outer)) {
        for (size_t k = 0; k < outer.len; k++, to++) {
            union block sum;
            for (unsigned i = 0; i < e.count; i++) {
                inner.at[i] = outer.at[i] + (int64_t)k * outer.step[i];
            }
            dot(ctx, inner, &sum);
            block_store(&sum, y->dtype, y->data, to, 1, 1);
        }
    }
    return OP_OK;
}

const struct op ops_einsum[] = {
    {"Einsum", NULL, 12, OP_LATEST, 1, OP_ANY, 1, 1, OP_HEAVY, einsum_infer, einsum_run},
    {.name = NULL},
};
