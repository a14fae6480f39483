/* pe/infer/ops/matmul.c - MatMul and Gemm, and MatMul of quantised integers.
 *
 * All products are the same sum: a row of A times a panel of up to 256 columns of B, accumulated as
 * double (floats; integers of 8 bits, exactly) or as 64-bit integers that wrap.
 * See:        https://onnx.ai/onnx/operators/onnx__MatMul.html, numpy.matmul for the shapes */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>

struct matrix { /* a view into a tensor */
    const struct tensor *t;
    int64_t at, row, column; /* of element [0,0]; strides; in elements */
};

/* product_row - acc[k] = sum over i of a[row,i] * b[i, from + k], k < n <= BLOCK.
 * @a, @b: both of one class. */
static void product_row(const struct matrix *a, const struct matrix *b, int64_t row, int64_t depth,
                        int64_t from, size_t n, union block *acc)
{
    bool floats = dtype_is_float(a->t->dtype);
    union block left, right;
    memset(acc, 0, sizeof(*acc)); /* also 0.0 */
    for (int64_t i = 0; i < depth; i++) {
        size_t in_block = (size_t)i % BLOCK;
        if (in_block == 0) {
            block_load(&left, a->t->dtype, a->t->data, a->at + row * a->row + i * a->column,
                       a->column, block_len((size_t)i, (size_t)depth));
        }
        block_load(&right, b->t->dtype, b->t->data, b->at + i * b->row + from * b->column,
                   b->column, n);
        if (floats) {
            double v = left.f[in_block];
            for (size_t k = 0; k < n; k++) {
                acc->f[k] += v * right.f[k];
            }
        } else {
            uint64_t v = left.u[in_block];
            for (size_t k = 0; k < n; k++) {
                acc->u[k] += v * right.u[k];
            }
        }
    }
}

/* ---- shapes of MatMul ---- */

struct product {
    struct shape batch;  /* all dims but the last two, broadcast */
    int64_t rows, depth, columns;
    struct shape of_a, of_b; /* with vectors made matrices */
    struct shape out;
};

/* as_matrix - numpy.matmul: a vector is a row on the left, a column on the right. */
static struct shape as_matrix(const struct shape *s, bool left)
{
    if (s->rank != 1) {
        return *s;
    }
    return (struct shape){
        .rank = 2, .dims = {left ? 1 : s->dims[0], left ? s->dims[0] : 1}};
}

static struct shape batch_of(const struct shape *s)
{
    struct shape batch = *s;
    batch.rank -= 2;
    return batch;
}

static enum op_result product_of(struct op_ctx *ctx, unsigned a, unsigned b, struct product *p)
{
    const struct shape *sa = &op_in(ctx, a)->shape, *sb = &op_in(ctx, b)->shape;
    char text[2][SHAPE_TEXT_BYTES];
    if (sa->rank == 0 || sb->rank == 0) {
        return op_invalid(ctx, "a scalar has no matrix product");
    }
    p->of_a = as_matrix(sa, true);
    p->of_b = as_matrix(sb, false);
    struct shape batch_a = batch_of(&p->of_a), batch_b = batch_of(&p->of_b);
    p->rows = p->of_a.dims[p->of_a.rank - 2];
    p->depth = p->of_a.dims[p->of_a.rank - 1];
    p->columns = p->of_b.dims[p->of_b.rank - 1];
    if (p->depth != p->of_b.dims[p->of_b.rank - 2] ||
        !shape_broadcast(&batch_a, &batch_b, &p->batch)) {
        return op_invalid(ctx, "%s and %s do not multiply", shape_text(sa, text[0]),
                          shape_text(sb, text[1]));
    }
    p->out = p->batch;
    if (sa->rank > 1) {
        p->out.dims[p->out.rank++] = p->rows;
    }
    if (sb->rank > 1) {
        p->out.dims[p->out.rank++] = p->columns;
    }
    return OP_OK;
}

/* batch_walk - over the batch; ways: which matrix of a, of b. Visits even a batch of rank 0. */
static bool batch_walk(struct walk *w, const struct product *p)
{
    int64_t strides[TENSOR_RANK_MAX];
    struct shape a = batch_of(&p->of_a), b = batch_of(&p->of_b);
    walk_of(w, &p->batch, 2);
    shape_broadcast_strides(&a, &p->batch, strides);
    walk_way(w, 0, strides, 0);
    shape_broadcast_strides(&b, &p->batch, strides);
    walk_way(w, 1, strides, 0);
    return walk_start(w);
}

/* What is done with a finished row of sums before it is stored. */
typedef void finish_fn(struct op_ctx *ctx, union block *acc, int64_t row, int64_t from, size_t n);

/* multiply - y = finish(a x b) over the whole batch. */
static void multiply(struct op_ctx *ctx, const struct product *p, const struct tensor *a,
                     const struct tensor *b, finish_fn *finish)
{
    struct tensor *y = op_out(ctx, 0);
    struct walk w;
    int64_t out = 0;
    for (bool more = batch_walk(&w, p); more; more = walk_next(&w)) {
        for (size_t k = 0; k < w.len; k++) {
            int64_t step = (int64_t)k;
            struct matrix left = {a, (w.at[0] + step * w.step[0]) * p->rows * p->depth, p->depth,
                                  1};
            struct matrix right = {b, (w.at[1] + step * w.step[1]) * p->depth * p->columns,
                                   p->columns, 1};
            for (int64_t row = 0; row < p->rows; row++) {
                for (int64_t from = 0; from < p->columns; from += BLOCK) {
                    size_t n = block_len((size_t)from, (size_t)p->columns);
                    union block acc;
                    product_row(&left, &right, row, p->depth, from, n, &acc);
                    if (finish != NULL) {
                        finish(ctx, &acc, row, from, n);
                    }
                    block_store(&acc, y->dtype, y->data, out, 1, n);
                    out += (int64_t)n;
                }
            }
        }
    }
}

static enum op_result matmul_infer(struct op_ctx *ctx)
{
    struct product p;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    if (op_in(ctx, 0)->dtype != op_in(ctx, 1)->dtype) {
        return op_invalid(ctx, "A is %s and B %s", dtype_name(op_in(ctx, 0)->dtype),
                          dtype_name(op_in(ctx, 1)->dtype));
    }
    TRY(product_of(ctx, 0, 1, &p));
    return op_set_out(ctx, 0, op_in(ctx, 0)->dtype, &p.out);
}

static enum op_result matmul_run(struct op_ctx *ctx)
{
    struct product p;
    TRY(product_of(ctx, 0, 1, &p));
    multiply(ctx, &p, op_in(ctx, 0), op_in(ctx, 1), NULL);
    return OP_OK;
}

/* ---- Gemm ---- */

static enum op_result gemm_shape(struct op_ctx *ctx, struct shape *out, int64_t *depth)
{
    const struct shape *a = &op_in(ctx, 0)->shape, *b = &op_in(ctx, 1)->shape;
    unsigned trans_a = op_attr_i(ctx, "transA", 0) != 0, trans_b = op_attr_i(ctx, "transB", 0) != 0;
    char text[2][SHAPE_TEXT_BYTES];
    if (a->rank != 2 || b->rank != 2 || a->dims[1 - trans_a] != b->dims[trans_b]) {
        return op_invalid(ctx, "%s%s and %s%s do not multiply", shape_text(a, text[0]),
                          trans_a ? " transposed" : "", shape_text(b, text[1]),
                          trans_b ? " transposed" : "");
    }
    *depth = a->dims[1 - trans_a];
    *out = (struct shape){.rank = 2, .dims = {a->dims[trans_a], b->dims[1 - trans_b]}};
    return OP_OK;
}

static enum op_result gemm_infer(struct op_ctx *ctx)
{
    const struct tensor *c = op_in(ctx, 2);
    enum dtype t = op_in(ctx, 0)->dtype;
    struct shape out, wide;
    char text[2][SHAPE_TEXT_BYTES];
    int64_t depth;
    TRY(op_want_dtypes(ctx, 0, DTS_NUMBER));
    if (op_in(ctx, 1)->dtype != t || (c != NULL && c->dtype != t)) {
        return op_invalid(ctx, "A, B and C are of different types");
    }
    if (c == NULL && ctx->opset < 11) {
        return op_invalid(ctx, "C is missing");
    }
    TRY(gemm_shape(ctx, &out, &depth));
    if (c != NULL && (!shape_broadcast(&out, &c->shape, &wide) || !shape_equal(&out, &wide))) {
        return op_invalid(ctx, "C is %s, the product %s", shape_text(&c->shape, text[0]),
                          shape_text(&out, text[1]));
    }
    return op_set_out(ctx, 0, t, &out);
}

/* gemm_add - acc = alpha * acc + beta * c, the latter if there is one. */
static void gemm_add(struct op_ctx *ctx, enum num_class class, union block *acc,
                     const union block *c, size_t n)
{
    double alpha = (double)op_attr_f(ctx, "alpha", 1), beta = (double)op_attr_f(ctx, "beta", 1);
    for (size_t k = 0; k < n; k++) {
        if (class == NUM_FLOAT) {
            acc->f[k] = alpha * acc->f[k] + (c != NULL ? beta * c->f[k] : 0);
        } else if (alpha == 1 && beta == 1) {
            acc->u[k] += c != NULL ? c->u[k] : 0;
        } else if (class == NUM_INT) {
            double v = alpha * (double)acc->i[k] + (c != NULL ? beta * (double)c->i[k] : 0);
            num_store_f64(&v, DT_I64, &acc->i[k], 0, 1, 1);
        } else {
            double v = alpha * (double)acc->u[k] + (c != NULL ? beta * (double)c->u[k] : 0);
            num_store_f64(&v, DT_U64, &acc->u[k], 0, 1, 1);
        }
    }
}

static enum op_result gemm_run(struct op_ctx *ctx)
{
    const struct tensor *a = op_in(ctx, 0), *b = op_in(ctx, 1), *c = op_in(ctx, 2);
    struct tensor *y = op_out(ctx, 0);
    bool trans_a = op_attr_i(ctx, "transA", 0) != 0, trans_b = op_attr_i(ctx, "transB", 0) != 0;
    struct shape out = {0};
    int64_t depth = 0, of_c[TENSOR_RANK_MAX] = {0};
    TRY(gemm_shape(ctx, &out, &depth));
    struct matrix left = {a, 0, trans_a ? 1 : depth, trans_a ? out.dims[0] : 1};
    struct matrix right = {b, 0, trans_b ? 1 : out.dims[1], trans_b ? depth : 1};
    if (c != NULL) {
        shape_broadcast_strides(&c->shape, &out, of_c);
    }
    for (int64_t row = 0; row < out.dims[0]; row++) {
        for (int64_t from = 0; from < out.dims[1]; from += BLOCK) {
            size_t n = block_len((size_t)from, (size_t)out.dims[1]);
            union block acc, add;
            product_row(&left, &right, row, depth, from, n, &acc);
            if (c != NULL) {
                block_load(&add, c->dtype, c->data, row * of_c[0] + from * of_c[1], of_c[1], n);
            }
            gemm_add(ctx, num_class_of(y->dtype), &acc, c != NULL ? &add : NULL, n);
            block_store(&acc, y->dtype, y->data, row * out.dims[1] + from, 1, n);
        }
    }
    return OP_OK;
}

/* ---- MatMulInteger, QLinearMatMul: zero points are taken off first ---- */

/* per_line - input i (a zero point or scale) is one number, or one per row of A or column of B. */
static enum op_result per_line(struct op_ctx *ctx, unsigned i, int64_t lines)
{
    const struct tensor *t = op_in(ctx, i);
    if (t != NULL && tensor_count(t) != 1 &&
        !(tensor_count(t) == (size_t)lines && t->shape.rank <= 2)) {
        return op_invalid(ctx, "input %u is neither one number nor one per row or column", i);
    }
    return OP_OK;
}

static double line_value(const struct tensor *t, int64_t line, double fallback)
{
    if (t == NULL) {
        return fallback;
    }
    return tensor_get_f64(t, tensor_count(t) == 1 ? 0 : (size_t)line);
}

/* centre - a copy of the matrices of `t` as f64, its zero points taken off. */
static enum op_result centre(struct op_ctx *ctx, const struct tensor *t, const struct tensor *zero,
                             int64_t rows, int64_t columns, bool by_row, struct tensor *out)
{
    size_t count = tensor_count(t);
    double *v = op_scratch(ctx, count, sizeof(*v));
    if (v == NULL) {
        return op_failed(ctx, "out of memory");
    }
    num_load_f64(v, t->dtype, t->data, 0, 1, count);
    for (size_t k = 0; k < count; k++) {
        size_t line = by_row ? k / (size_t)columns % (size_t)rows : k % (size_t)columns;
        v[k] -= line_value(zero, (int64_t)line, 0);
    }
    *out = tensor_borrow(DT_F64, &t->shape, v);
    return OP_OK;
}

static enum op_result integer_infer(struct op_ctx *ctx)
{
    const unsigned bytes = DT_BIT(DT_U8) | DT_BIT(DT_I8);
    struct product p;
    TRY(op_want_dtypes(ctx, 0, bytes));
    TRY(op_want_dtypes(ctx, 1, bytes));
    TRY(product_of(ctx, 0, 1, &p));
    for (unsigned i = 2; i < 4; i++) {
        if (op_in(ctx, i) != NULL && op_in(ctx, i)->dtype != op_in(ctx, i - 2)->dtype) {
            return op_invalid(ctx, "the zero point in input %u is of another type", i);
        }
        TRY(per_line(ctx, i, i == 2 ? p.rows : p.columns));
    }
    return op_set_out(ctx, 0, DT_I32, &p.out);
}

/* whole - sums of products of bytes are whole numbers; as int32 they wrap. */
static void whole(struct op_ctx *ctx, union block *acc, int64_t row, int64_t from, size_t n)
{
    (void)ctx, (void)row, (void)from;
    for (size_t k = 0; k < n; k++) {
        acc->i[k] = (int64_t)acc->f[k];
    }
}

static enum op_result integer_run(struct op_ctx *ctx)
{
    struct product p = {0};
    struct tensor a = {0}, b = {0};
    TRY(product_of(ctx, 0, 1, &p));
    TRY(centre(ctx, op_in(ctx, 0), op_in(ctx, 2), p.rows, p.depth, true, &a));
    TRY(centre(ctx, op_in(ctx, 1), op_in(ctx, 3), p.depth, p.columns, false, &b));
    multiply(ctx, &p, &a, &b, whole);
    return OP_OK;
}

static enum op_result qlinear_infer(struct op_ctx *ctx)
{
    unsigned bytes = DT_BIT(DT_U8) | DT_BIT(DT_I8);
    struct product p;
    for (unsigned i = 0; i < 8; i++) {
        bool scale = i == 1 || i == 4 || i == 6;
        TRY(op_want_dtypes(ctx, i, scale ? DTS_FLOAT : bytes));
    }
    if (op_in(ctx, 0)->dtype != op_in(ctx, 2)->dtype ||
        op_in(ctx, 3)->dtype != op_in(ctx, 5)->dtype) {
        return op_invalid(ctx, "a zero point is of another type than its matrix");
    }
    TRY(product_of(ctx, 0, 3, &p));
    for (unsigned i = 1; i < 8; i++) {
        if (i != 3) {
            TRY(per_line(ctx, i, i == 4 || i == 5 ? p.columns : p.rows));
        }
    }
    return op_set_out(ctx, 0, op_in(ctx, 7)->dtype, &p.out);
}

static void requantise(struct op_ctx *ctx, union block *acc, int64_t row, int64_t from, size_t n)
{
    double least = op_in(ctx, 7)->dtype == DT_I8 ? -128 : 0;
    double a = line_value(op_in(ctx, 1), row, 1), y = line_value(op_in(ctx, 6), row, 1);
    double zero = line_value(op_in(ctx, 7), row, 0);
    for (size_t k = 0; k < n; k++) {
        double scale = a * line_value(op_in(ctx, 4), from + (int64_t)k, 1) / y;
        double v = rint(acc->f[k] * scale) + zero;
        v = v < least ? least : v > least + 255 ? least + 255 : v; /* NaN becomes 0 */
        acc->i[k] = isnan(v) ? 0 : (int64_t)v;
    }
}

static enum op_result qlinear_run(struct op_ctx *ctx)
{
    struct product p = {0};
    struct tensor a = {0}, b = {0};
    TRY(product_of(ctx, 0, 3, &p));
    TRY(centre(ctx, op_in(ctx, 0), op_in(ctx, 2), p.rows, p.depth, true, &a));
    TRY(centre(ctx, op_in(ctx, 3), op_in(ctx, 5), p.depth, p.columns, false, &b));
    multiply(ctx, &p, &a, &b, requantise);
    return OP_OK;
}

const struct op ops_matmul[] = {
    {"MatMul", NULL, 1, OP_LATEST, 2, 2, 1, 1, OP_HEAVY, matmul_infer, matmul_run},
    {"Gemm", NULL, 1, OP_LATEST, 2, 3, 1, 1, OP_HEAVY, gemm_infer, gemm_run},
    {"MatMulInteger", NULL, 10, OP_LATEST, 2, 4, 1, 1, OP_HEAVY, integer_infer, integer_run},
    {"QLinearMatMul", NULL, 10, OP_LATEST, 8, 8, 1, 1, OP_HEAVY, qlinear_infer, qlinear_run},
    {.name = NULL},
};
