/* pe/infer/ops/recurrent.c - RNN, GRU and LSTM.
 *
 * One cell, one direction and one sequence at a time, in double.  The gates of a step are the rows
 * of W x + R h: one block of `hidden` rows for RNN (i), three for GRU (z r h), four for LSTM
 * (i o f c).  A sequence shorter than the longest leaves zeros behind its end.
 * See:        https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html, onnx__RNN.html */
#include "pe/infer/ops/ops.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum cell { CELL_RNN, CELL_GRU, CELL_LSTM };

#define GATES_MAX 4
#define ACTS_MAX 3 /* per direction */

struct act {
    double (*fn)(double v, double alpha, double beta);
    double alpha, beta;
};

struct rnn {
    enum cell cell;
    unsigned gates, acts_count;
    int64_t dirs, steps, batch, input, hidden;
    bool batch_first;      /* layout=1 */
    bool backward;         /* the first direction */
    bool linear_before_reset, input_forget;
    double clip;           /* 0: none */
    struct act acts[2][ACTS_MAX];
    /* of the direction at hand, as doubles: */
    double *w, *r;         /* [gates * hidden][input], [gates * hidden][hidden] */
    double *wb, *rb;       /* [gates * hidden]: biases, zeros where there are none */
    double *p;             /* [3 * hidden]: peepholes (i o f) */
    /* of the sequence at hand: */
    double *x;             /* [input] */
    double *h, *c;         /* [hidden] */
    double *xg, *hg;       /* [gates * hidden]: W x + wb, R h + rb */
    double *reset;         /* [hidden]: r * h, of GRU */
};

/* ---- activations ---- */

#define ACT(name, value)                                                                           \
    static double act_##name(double x, double a, double b)                                         \
    {                                                                                              \
        (void)a, (void)b;                                                                          \
        return (value);                                                                            \
    }
ACT(affine, a * x + b)
ACT(elu, x < 0 ? a * expm1(x) : x)
ACT(hard_sigmoid, fmax(0, fmin(1, a * x + b)))
ACT(leaky_relu, x < 0 ? a * x : x)
ACT(relu, x < 0 ? 0 : x)
ACT(scaled_tanh, a * tanh(b * x))
ACT(sigmoid, 1 / (1 + exp(-x)))
ACT(softplus, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)))
ACT(softsign, x / (1 + fabs(x)))
ACT(tanh, tanh(x))
ACT(thresholded_relu, x > a ? x : 0)

static const struct {
    const char *name;
    double (*fn)(double v, double alpha, double beta);
    bool alpha, beta; /* takes one from activation_alpha, activation_beta */
    double alpha_default, beta_default;
} act_table[] = {
    {"Affine", act_affine, true, true, 1, 0},
    {"Elu", act_elu, true, false, 1, 0},
    {"HardSigmoid", act_hard_sigmoid, true, true, (double)0.2f, 0.5},
    {"LeakyRelu", act_leaky_relu, true, false, (double)0.01f, 0},
    {"Relu", act_relu, false, false, 0, 0},
    {"ScaledTanh", act_scaled_tanh, true, true, 1, 1},
    {"Sigmoid", act_sigmoid, false, false, 0, 0},
    {"Softplus", act_softplus, false, false, 0, 0},
    {"Softsign", act_softsign, false, false, 0, 0},
    {"Tanh", act_tanh, false, false, 0, 0},
    {"ThresholdedRelu", act_thresholded_relu, true, false, 1, 0},
};

static const char *const default_acts[3][ACTS_MAX] = {
    [CELL_RNN] = {"Tanh"},
    [CELL_GRU] = {"Sigmoid", "Tanh"},
    [CELL_LSTM] = {"Sigmoid", "Tanh", "Tanh"},
};

/* read_act - one activation by name; those that take scaling values consume them in order. */
static enum op_result read_act(struct op_ctx *ctx, const char *name, unsigned used[2],
                               struct act *out)
{
    unsigned counts[2];
    const float *alpha = op_attr_floats(ctx, "activation_alpha", &counts[0]);
    const float *beta = op_attr_floats(ctx, "activation_beta", &counts[1]);
    for (size_t k = 0; k < sizeof(act_table) / sizeof(act_table[0]); k++) {
        if (strcasecmp(name, act_table[k].name) == 0) {
            *out = (struct act){act_table[k].fn, act_table[k].alpha_default,
                                act_table[k].beta_default};
            if (act_table[k].alpha && used[0] < counts[0]) {
                out->alpha = (double)alpha[used[0]++];
            }
            if (act_table[k].beta && used[1] < counts[1]) {
                out->beta = (double)beta[used[1]++];
            }
            return OP_OK;
        }
    }
    return op_unsupported(ctx, "unknown activation '%.20s'", name);
}

static enum op_result read_acts(struct op_ctx *ctx, struct rnn *n)
{
    unsigned count, used[2] = {0, 0};
    char *const *names = op_attr_strings(ctx, "activations", &count);
    if (count != 0 && count < n->dirs * n->acts_count) {
        return op_invalid(ctx, "%u activations, want %u for each direction", count, n->acts_count);
    }
    for (unsigned k = 0; k < n->dirs * n->acts_count; k++) {
        const char *name = count != 0 ? names[k] : default_acts[n->cell][k % n->acts_count];
        TRY(read_act(ctx, name, used, &n->acts[k / n->acts_count][k % n->acts_count]));
    }
    return OP_OK;
}

/* ---- shapes ---- */

/* want_shape - input i, where there is one, has the type of X and this shape. */
static enum op_result want_shape(struct op_ctx *ctx, unsigned i, struct shape want)
{
    const struct tensor *t = op_in(ctx, i);
    char text[2][SHAPE_TEXT_BYTES];
    if (t != NULL && (t->dtype != op_in(ctx, 0)->dtype || !shape_equal(&t->shape, &want))) {
        return op_invalid(ctx, "input %u is %s%s, want %s%s", i, dtype_name(t->dtype),
                          shape_text(&t->shape, text[0]), dtype_name(op_in(ctx, 0)->dtype),
                          shape_text(&want, text[1]));
    }
    return OP_OK;
}

static struct shape dims3(int64_t a, int64_t b, int64_t c)
{
    return (struct shape){.rank = 3, .dims = {a, b, c}};
}

static struct shape state_shape(const struct rnn *n)
{
    return n->batch_first ? dims3(n->batch, n->dirs, n->hidden)
                          : dims3(n->dirs, n->batch, n->hidden);
}

static enum op_result check_shapes(struct op_ctx *ctx, const struct rnn *n)
{
    int64_t rows = n->gates * n->hidden;
    const struct tensor *lens = op_in(ctx, 4);
    TRY(want_shape(ctx, 1, dims3(n->dirs, rows, n->input)));
    TRY(want_shape(ctx, 2, dims3(n->dirs, rows, n->hidden)));
    TRY(want_shape(ctx, 3, (struct shape){.rank = 2, .dims = {n->dirs, 2 * rows}}));
    TRY(want_shape(ctx, 5, state_shape(n)));
    TRY(want_shape(ctx, 6, state_shape(n)));
    TRY(want_shape(ctx, 7, (struct shape){.rank = 2, .dims = {n->dirs, 3 * n->hidden}}));
    TRY(op_want_dtypes(ctx, 4, DT_BIT(DT_I32)));
    if (lens != NULL && (lens->shape.rank != 1 || lens->shape.dims[0] != n->batch)) {
        return op_invalid(ctx, "sequence_lens is not one number per sequence");
    }
    return OP_OK;
}

static enum op_result rnn_of(struct op_ctx *ctx, enum cell cell, struct rnn *n)
{
    static const unsigned gates[3] = {1, 3, 4}, acts[3] = {1, 2, 3};
    const struct shape *x = &op_in(ctx, 0)->shape, *r = &op_in(ctx, 2)->shape;
    const char *direction = op_attr_s(ctx, "direction", "forward");
    *n = (struct rnn){.cell = cell, .gates = gates[cell], .acts_count = acts[cell]};
    TRY(op_want_dtypes(ctx, 0, DTS_FLOAT));
    if (x->rank != 3 || r->rank != 3) {
        return op_invalid(ctx, "X or R has not 3 dims");
    }
    n->backward = strcmp(direction, "reverse") == 0;
    n->dirs = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    if (n->dirs == 1 && !n->backward && strcmp(direction, "forward") != 0) {
        return op_invalid(ctx, "unknown direction '%.20s'", direction);
    }
    n->batch_first = op_attr_i(ctx, "layout", 0) != 0;
    n->steps = x->dims[n->batch_first ? 1 : 0];
    n->batch = x->dims[n->batch_first ? 0 : 1];
    n->input = x->dims[2];
    n->hidden = r->dims[2];
    n->clip = (double)op_attr_f(ctx, "clip", 0);
    n->linear_before_reset = op_attr_i(ctx, "linear_before_reset", 0) != 0;
    n->input_forget = op_attr_i(ctx, "input_forget", 0) != 0;
    if (op_attr_i(ctx, "hidden_size", n->hidden) != n->hidden) {
        return op_invalid(ctx, "hidden_size is %lld, but R says %lld",
                          (long long)op_attr_i(ctx, "hidden_size", 0), (long long)n->hidden);
    }
    TRY(check_shapes(ctx, n));
    return read_acts(ctx, n);
}

static enum op_result infer(struct op_ctx *ctx, enum cell cell)
{
    enum dtype t = op_in(ctx, 0)->dtype;
    struct rnn n;
    TRY(rnn_of(ctx, cell, &n));
    struct shape y = {.rank = 4, .dims = {n.steps, n.dirs, n.batch, n.hidden}};
    if (n.batch_first) {
        y = (struct shape){.rank = 4, .dims = {n.batch, n.steps, n.dirs, n.hidden}};
    }
    struct shape state = state_shape(&n);
    TRY(op_set_out(ctx, 0, t, &y));
    TRY(op_set_out(ctx, 1, t, &state));
    return op_set_out(ctx, 2, t, &state);
}

/* ---- one step ---- */

/* times - out = m v + bias; m is [rows][columns]. */
static void times(const double *m, const double *v, const double *bias, int64_t rows,
                  int64_t columns, double *out)
{
    for (int64_t j = 0; j < rows; j++) {
        double sum = bias[j];
        for (int64_t i = 0; i < columns; i++) {
            sum += m[j * columns + i] * v[i];
        }
        out[j] = sum;
    }
}

static double act(const struct rnn *n, const struct act *a, double v)
{
    if (n->clip > 0) {
        v = v > n->clip ? n->clip : v < -n->clip ? -n->clip : v;
    }
    return a->fn(v, a->alpha, a->beta);
}

static void step_rnn(struct rnn *n, const struct act *acts)
{
    for (int64_t j = 0; j < n->hidden; j++) {
        n->h[j] = act(n, &acts[0], n->xg[j] + n->hg[j]);
    }
}

static void step_gru(struct rnn *n, const struct act *acts)
{
    int64_t hidden = n->hidden;
    const double *wh = n->xg + 2 * hidden;
    double *rh = n->hg + 2 * hidden; /* R h + rb of the hidden gate */
    for (int64_t j = 0; j < hidden; j++) {
        double r = act(n, &acts[0], n->xg[hidden + j] + n->hg[hidden + j]);
        n->reset[j] = n->linear_before_reset ? r : r * n->h[j];
    }
    if (!n->linear_before_reset) {
        times(n->r + 2 * hidden * hidden, n->reset, n->rb + 2 * hidden, hidden, hidden, rh);
    }
    for (int64_t j = 0; j < hidden; j++) {
        double z = act(n, &acts[0], n->xg[j] + n->hg[j]);
        double past = n->linear_before_reset ? n->reset[j] * rh[j] : rh[j];
        n->h[j] = (1 - z) * act(n, &acts[1], wh[j] + past) + z * n->h[j];
    }
}

static void step_lstm(struct rnn *n, const struct act *acts)
{
    int64_t hidden = n->hidden;
    for (int64_t j = 0; j < hidden; j++) {
        double v[GATES_MAX];
        for (unsigned g = 0; g < 4; g++) {
            v[g] = n->xg[g * hidden + j] + n->hg[g * hidden + j];
        }
        double c = n->c[j];
        double i = act(n, &acts[0], v[0] + n->p[j] * c);
        double f = n->input_forget ? 1 - i : act(n, &acts[0], v[2] + n->p[2 * hidden + j] * c);
        c = f * c + i * act(n, &acts[1], v[3]);
        double o = act(n, &acts[0], v[1] + n->p[hidden + j] * c);
        n->c[j] = c;
        n->h[j] = o * acts[2].fn(c, acts[2].alpha, acts[2].beta);
    }
}

/* ---- running ---- */

static void load_part(double *to, const struct tensor *t, int64_t part, int64_t count)
{
    if (t == NULL) {
        memset(to, 0, (size_t)count * sizeof(*to));
    } else {
        num_load_f64(to, t->dtype, t->data, part * count, 1, (size_t)count);
    }
}

static enum op_result make_room(struct op_ctx *ctx, struct rnn *n)
{
    size_t hidden = (size_t)n->hidden, rows = n->gates * hidden;
    struct {
        double **to;
        size_t count;
    } parts[] = {{&n->w, rows * (size_t)n->input}, {&n->r, rows * hidden}, {&n->wb, 2 * rows},
                 {&n->p, 3 * hidden},              {&n->x, (size_t)n->input}, {&n->h, hidden},
                 {&n->c, hidden},                  {&n->xg, rows},         {&n->hg, rows},
                 {&n->reset, hidden}};
    for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
        *parts[k].to = op_scratch(ctx, parts[k].count, sizeof(double));
        if (*parts[k].to == NULL) {
            return op_failed(ctx, "out of memory");
        }
    }
    n->rb = n->wb + rows;
    return OP_OK;
}

/* state_at - where the state of sequence b in direction d starts. */
static int64_t state_at(const struct rnn *n, int64_t d, int64_t b)
{
    return (n->batch_first ? b * n->dirs + d : d * n->batch + b) * n->hidden;
}

static void load_state(const struct rnn *n, const struct tensor *t, int64_t at, double *to)
{
    if (t == NULL) {
        memset(to, 0, (size_t)n->hidden * sizeof(*to));
    } else {
        num_load_f64(to, t->dtype, t->data, at, 1, (size_t)n->hidden);
    }
}

static void store_state(const struct rnn *n, struct tensor *t, int64_t at, const double *from)
{
    if (t != NULL) {
        num_store_f64(from, t->dtype, t->data, at, 1, (size_t)n->hidden);
    }
}

/* run_sequence - sequence b, of `len` steps, in direction d. */
static void run_sequence(struct op_ctx *ctx, struct rnn *n, int64_t d, int64_t b, int64_t len)
{
    const struct tensor *x = op_in(ctx, 0);
    bool backward = d == 1 || n->backward;
    int64_t rows = n->gates * n->hidden, state = state_at(n, d, b);
    load_state(n, op_in(ctx, 5), state, n->h);
    load_state(n, op_in(ctx, 6), state, n->c);
    for (int64_t k = 0; k < len; k++) {
        int64_t t = backward ? len - 1 - k : k;
        int64_t from = (n->batch_first ? b * n->steps + t : t * n->batch + b) * n->input;
        num_load_f64(n->x, x->dtype, x->data, from, 1, (size_t)n->input);
        times(n->w, n->x, n->wb, rows, n->input, n->xg);
        times(n->r, n->h, n->rb, rows, n->hidden, n->hg);
        if (n->cell == CELL_LSTM) {
            step_lstm(n, n->acts[d]);
        } else if (n->cell == CELL_GRU) {
            step_gru(n, n->acts[d]);
        } else {
            step_rnn(n, n->acts[d]);
        }
        int64_t to = n->batch_first ? (b * n->steps + t) * n->dirs + d
                                    : (t * n->dirs + d) * n->batch + b;
        store_state(n, op_out(ctx, 0), to * n->hidden, n->h);
    }
    store_state(n, op_out(ctx, 1), state, n->h);
    store_state(n, op_out(ctx, 2), state, n->c);
}

static enum op_result run(struct op_ctx *ctx, enum cell cell)
{
    struct tensor *y = op_out(ctx, 0);
    struct rnn n;
    TRY(rnn_of(ctx, cell, &n));
    TRY(make_room(ctx, &n));
    int64_t rows = n.gates * n.hidden;
    if (y != NULL && tensor_bytes(y) > 0) {
        memset(y->data, 0, tensor_bytes(y));
    }
    for (int64_t d = 0; d < n.dirs; d++) {
        load_part(n.w, op_in(ctx, 1), d, rows * n.input);
        load_part(n.r, op_in(ctx, 2), d, rows * n.hidden);
        load_part(n.wb, op_in(ctx, 3), d, 2 * rows);
        load_part(n.p, op_in(ctx, 7), d, 3 * n.hidden);
        for (int64_t b = 0; b < n.batch; b++) {
            int64_t len = n.steps;
            if (op_in(ctx, 4) != NULL) {
                len = tensor_get_i64(op_in(ctx, 4), (size_t)b);
            }
            if (len < 0 || len > n.steps) {
                return op_invalid(ctx, "a sequence has length %lld of %lld", (long long)len,
                                  (long long)n.steps);
            }
            run_sequence(ctx, &n, d, b, len);
        }
    }
    return OP_OK;
}

#define CELL(name, cell)                                                                           \
    static enum op_result name##_infer(struct op_ctx *ctx)                                         \
    {                                                                                              \
        return infer(ctx, cell);                                                                   \
    }                                                                                              \
    static enum op_result name##_run(struct op_ctx *ctx)                                           \
    {                                                                                              \
        return run(ctx, cell);                                                                     \
    }
CELL(rnn, CELL_RNN)
CELL(gru, CELL_GRU)
CELL(lstm, CELL_LSTM)

const struct op ops_recurrent[] = {
    {"RNN", NULL, 1, OP_LATEST, 3, 6, 0, 2, OP_HEAVY, rnn_infer, rnn_run},
    {"GRU", NULL, 3, OP_LATEST, 3, 6, 0, 2, OP_HEAVY, gru_infer, gru_run},
    {"LSTM", NULL, 1, OP_LATEST, 3, 8, 0, 3, OP_HEAVY, lstm_infer, lstm_run},
    {.name = NULL},
};
