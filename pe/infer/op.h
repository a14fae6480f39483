/* pe/infer/op.h - the operator table: what each ONNX operator means, in plain C.
 *
 * An operator is one row: its name, the opsets the row covers, a function that works out the types
 * and shapes of its outputs, and a scalar reference that computes them.  Several rows may share a
 * name when its meaning changed (Squeeze before and after opset 13).  The reference is the fallback
 * wherever no device kernel stands, and the oracle for those that do, so it is written for
 * clearness first: contiguous row-major data in, contiguous row-major data out.
 *
 * Threads:    rows are constant; a call works on its own op_ctx only.  Functions keep no state.
 * Life of a call: the engine checks the counts of inputs and outputs against the row, fills an
 *             op_ctx and calls infer; it then allocates the outputs (uninitialised or zeroed: do
 *             not rely on it) and calls run with the same ctx.
 * Invariants: O1 infer is pure: no allocation that outlives it, no data written.
 *             O2 run writes exactly the outputs as infer typed them; it never sees a free dim.
 *             O3 nothing in a model is trusted: attributes, axes, indices and shapes are checked
 *                (in infer where types and shapes show it, in run where only data does) and
 *                answered with op_invalid.  A reference never reads or writes out of bounds.
 * How infer sees inputs: dtype and shape always; `data` only where the value is known already: of
 *             constants while compiling, of all inputs when the graph runs node by node.  An
 *             operator whose output shape depends on the data of input i (Reshape's shape, Slice's
 *             starts, NonZero's everything) returns op_needs(ctx, i) when in[i]->data is NULL. */
#ifndef OXB_PE_INFER_OP_H
#define OXB_PE_INFER_OP_H

#include "pe/infer/graph.h"

enum op_result {
    OP_OK = 0,
    OP_UNSUPPORTED, /* legal ONNX that this row does not do; why: fail */
    OP_INVALID,     /* the model or its input is wrong; why: fail */
    OP_NEEDS_DATA,  /* infer only: ask again when the data is there */
    OP_FAILED,      /* out of memory or over a limit */
};

struct op_budget { /* of a graph together with all its subgraphs, however deep */
    uint64_t steps;    /* operators that subgraphs may still type or run in this inference */
    size_t fold_bytes; /* that folding may still add to the constants */
};

struct op_ctx {
    const struct node *node;
    int opset;                      /* of the node's domain in the model */
    const struct tensor *const *in; /* [in_count]; an entry is NULL where an input is left out */
    unsigned in_count;
    struct tensor *const *out;      /* [out_count]; an entry is NULL where nobody wants it */
    unsigned out_count;
    struct scratch *scratch;
    struct op_budget *budget;
    bool folds; /* infer says, where there is a subgraph: folding did all that run would do */
    struct fail *fail;
};

enum op_flags {
    OP_HEAVY = 1u << 0,    /* work grows faster than its bytes (Conv, MatMul, RNN ...): folded at
                            * load only when small */
    OP_SHRINKS = 1u << 1,  /* run may make outputs smaller than infer said, by op_shrink */
    OP_RANDOM = 1u << 2,   /* never folded, never compared */
    OP_ALIAS = 1u << 3,    /* the output is input 0's bytes under another shape (Reshape, Squeeze,
                            * Flatten, Identity ...): the plan may give both one place, and run must
                            * bear out[0]->data == in[0]->data */
    OP_IN_PLACE = 1u << 4, /* element i of output 0 depends on element i of input 0 (and others that
                            * do not overlap) alone: out[0]->data may be in[0]->data when both have
                            * one type and shape */
    OP_SHAPE_ONLY = 1u << 5, /* run reads no input's data, only shapes (Shape, Size) */
    OP_MAKES = 1u << 6,    /* where infer answers op_dynamic though all data is there, run makes the
                            * outputs: they come to it without type or data */
    OP_LOOPS = 1u << 7,    /* runs a subgraph as often as the data says: never folded at load */
};

struct op {
    const char *name;
    const char *domain; /* NULL or "": ai.onnx */
    int since, until;   /* opsets of the *model* that this row covers, inclusive */
    unsigned in_min, in_max;   /* OP_ANY: no upper bound */
    unsigned out_min, out_max;
    unsigned flags;     /* enum op_flags */
    enum op_result (*infer)(struct op_ctx *ctx);
    enum op_result (*run)(struct op_ctx *ctx);
};

#define OP_ANY UINT32_MAX
#define OP_LATEST 99 /* until: still so today */

/* A family is an array of rows ending with name == NULL, one per file; op_table.c lists them. */
extern const struct op *const op_families[]; /* ends with NULL */
/* op_find - the row for that name at that opset, or NULL. */
const struct op *op_find(const char *domain, const char *name, int opset);
/* op_known - is there a row of that name for any opset? */
bool op_known(const char *domain, const char *name);

/* op_infer, op_run - call the row's functions with counts checked; errors name node and operator:
 * "node 'conv1' (Conv): weights want 3 channels, input has 4". */
MUST_CHECK enum op_result op_infer(struct op_ctx *ctx);
MUST_CHECK enum op_result op_run(struct op_ctx *ctx);

/* ---- answering ---- */
enum op_result op_unsupported(struct op_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum op_result op_invalid(struct op_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum op_result op_failed(struct op_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum op_result op_needs(struct op_ctx *ctx, unsigned input);
/* op_dynamic - infer: only run can say what the outputs are. */
enum op_result op_dynamic(struct op_ctx *ctx);

/* op_set_out - infer's answer for output i; nothing happens when nobody wants it.  The shape is
 * checked (N2).  Return: OP_OK, OP_INVALID (negative dim) or OP_FAILED (too large). */
MUST_CHECK enum op_result op_set_out(struct op_ctx *ctx, unsigned i, enum dtype dtype,
                                     const struct shape *shape);
/* op_shrink - run of an OP_SHRINKS row: output i is smaller than infer said.  Call before writing:
 * the data keeps its place, the elements must be contiguous under the new shape. */
void op_shrink(struct op_ctx *ctx, unsigned i, const struct shape *shape);

/* ---- inputs ---- */
static inline const struct tensor *op_in(const struct op_ctx *ctx, unsigned i) /* NULL: left out */
{
    return i < ctx->in_count ? ctx->in[i] : NULL;
}
static inline struct tensor *op_out(const struct op_ctx *ctx, unsigned i) /* NULL: not wanted */
{
    return i < ctx->out_count ? ctx->out[i] : NULL;
}
/* op_in_ints - input i as a list of at most `max` integers (i32 or i64, rank 0 or 1).
 * Return: OP_OK; OP_NEEDS_DATA when its value is not known; OP_INVALID. */
MUST_CHECK enum op_result op_in_ints(struct op_ctx *ctx, unsigned i, int64_t *out, unsigned max,
                                     unsigned *count);
/* op_want_dtypes - input i is one of the types in the mask (1u << DT_F32 | ...)?  Else OP_INVALID
 * when ONNX does not allow it either; say op_unsupported yourself for what is only not done. */
MUST_CHECK enum op_result op_want_dtypes(struct op_ctx *ctx, unsigned i, unsigned mask);
/* op_axis - -rank..rank-1 to 0..rank-1.  `name` is for the message ("axis"). */
MUST_CHECK enum op_result op_axis(struct op_ctx *ctx, const char *name, int64_t axis,
                                  uint32_t rank, unsigned *out);

/* ---- attributes; the fallback where it is absent or of another type ---- */
bool op_attr_has(const struct op_ctx *ctx, const char *name);
int64_t op_attr_i(const struct op_ctx *ctx, const char *name, int64_t fallback);
float op_attr_f(const struct op_ctx *ctx, const char *name, float fallback);
const char *op_attr_s(const struct op_ctx *ctx, const char *name, const char *fallback);
const int64_t *op_attr_ints(const struct op_ctx *ctx, const char *name, unsigned *count);
const float *op_attr_floats(const struct op_ctx *ctx, const char *name, unsigned *count);
char *const *op_attr_strings(const struct op_ctx *ctx, const char *name, unsigned *count);
const struct tensor *op_attr_tensor(const struct op_ctx *ctx, const char *name);
const struct graph *op_attr_graph(const struct op_ctx *ctx, const char *name);

/* ---- memory for the length of one call ---- */
/* op_scratch - uninitialised, 64-byte aligned, gone when infer or run returns.  NULL when it would
 * pass TENSOR_BYTES_MAX in all; then return op_failed. */
void *op_scratch(struct op_ctx *ctx, size_t count, size_t size);

/* A growing region; one per executor, reset per node. */
struct scratch;
struct scratch *scratch_new(void);
void scratch_free(struct scratch *s);
void scratch_reset(struct scratch *s);

#endif
