/* tests/unit/infer/cl_gemm_test.c - products with packed weights against plain loops.
 *
 * Goal:   right for every shape, tails included, and nothing beyond the operands is written.
 * Method: random shapes in 1..70, random attributes, fewer rows than the batch; double sums. */
#include "core/mem.h"
#include "pe/infer/cl/recipe.h"
#include "tests/support/cl_group.h"
#include "tests/support/step_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float act(const char *name, float v)
{
    if (strcmp(name, "relu") == 0) {
        return v > 0 ? v : 0;
    }
    if (strcmp(name, "sigmoid") == 0) {
        return (float)(1 / (1 + exp(-(double)v)));
    }
    if (strcmp(name, "tanh") == 0) {
        return (float)tanh((double)v);
    }
    if (strcmp(name, "leaky") == 0) {
        return v < 0 ? v * 0.125f : v;
    }
    if (strcmp(name, "clip") == 0) {
        return v < -0.25f ? -0.25f : v > 0.5f ? 0.5f : v;
    }
    if (strcmp(name, "gelu") == 0) {
        return (float)(0.5 * (double)v * erfc(-(double)v * sqrt(0.5)));
    }
    if (strcmp(name, "hardswish") == 0) {
        double r = (double)v / 6 + 0.5;
        return (float)((double)v * (r < 0 ? 0 : r > 1 ? 1 : r));
    }
    if (strcmp(name, "silu") == 0) {
        return (float)((double)v / (1 + exp(-(double)v)));
    }
    return v;
}

struct shape3 {
    int64_t m, n, k;
};

struct options {
    bool trans_b, bias;
    float alpha, beta;
    const char *act;
};

static float *reference(const float *x, const float *w, const float *c, struct shape3 d,
                        const struct options *o)
{
    float *y = mem_array((size_t)(d.m * d.n), sizeof(float));
    for (int64_t i = 0; i < d.m; i++) {
        for (int64_t j = 0; j < d.n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < d.k; k++) {
                sum += (double)x[i * d.k + k] * (double)w[o->trans_b ? j * d.k + k : k * d.n + j];
            }
            sum *= (double)o->alpha;
            if (c != NULL) {
                sum += (double)o->beta * (double)c[j];
            }
            y[i * d.n + j] = act(o->act, (float)sum);
        }
    }
    return y;
}

static void try_gemm(struct shape3 d, int64_t rows, const struct options *o, uint64_t seed)
{
    struct step_case c;
    case_init(&c, cl_group_device(), d.m, seed);
    const float *x = case_input(&c, true, 2, (int64_t[]){d.m, d.k});
    const float *w =
        case_const(&c, 2, o->trans_b ? (int64_t[]){d.n, d.k} : (int64_t[]){d.k, d.n});
    const float *bias = o->bias ? case_const(&c, 1, (int64_t[]){d.n}) : NULL;
    case_output(&c, true, 2, (int64_t[]){d.m, d.n});
    struct node *n = case_node(&c, OXBOW_DOMAIN, "FusedGemm");
    node_set_int(n, "transB", o->trans_b);
    node_set_float(n, "alpha", o->alpha);
    node_set_float(n, "beta", o->beta);
    node_set_string(n, "act", o->act);
    node_set_float(n, "act_alpha", 0.125f);
    if (strcmp(o->act, "clip") == 0) {
        node_set_float(n, "act_min", -0.25f);
        node_set_float(n, "act_max", 0.5f);
    }
    float *want = reference(x, w, bias, d, o);
    assert_true(case_run(&c, rows));
    case_same(case_result(&c, 0), want, (size_t)(rows * d.n), 1e-5f, 2e-5f);
    mem_free(want);
    case_fini(&c);
}

static void products_of_random_shapes(void **state)
{
    (void)state;
    static const struct options kinds[] = {
        {.alpha = 1, .beta = 1, .act = ""},
        {.trans_b = true, .bias = true, .alpha = 0.75f, .beta = 1.5f, .act = "relu"},
        {.bias = true, .alpha = 1, .beta = 1, .act = "gelu"},
    };
    struct prng p = {42};
    for (unsigned i = 0; i < 30; i++) {
        struct shape3 d = {1 + (int64_t)prng_below(&p, 70), 1 + (int64_t)prng_below(&p, 70),
                           1 + (int64_t)prng_below(&p, 70)};
        try_gemm(d, 1 + (int64_t)prng_below(&p, (uint64_t)d.m), &kinds[i % 3], i);
    }
}

static void every_activation(void **state)
{
    (void)state;
    static const char *const acts[] = {"sigmoid", "tanh", "leaky", "clip", "hardswish", "silu"};
    for (unsigned i = 0; i < 6; i++) {
        struct options o = {.bias = true, .alpha = 3, .beta = 1, .act = acts[i]};
        try_gemm((struct shape3){19, 13, 20}, 19, &o, i);
    }
}

static void every_tail_of_lines(void **state)
{
    (void)state;
    struct options o = {.bias = true, .alpha = 1, .beta = 1, .act = "relu"};
    for (int64_t m = 1; m <= 26; m++) {
        try_gemm((struct shape3){26, 40, 33}, m, &o, 7);
    }
}

static void every_tail_of_columns(void **state)
{
    (void)state;
    struct options o = {.bias = true, .alpha = 1, .beta = 1, .act = ""};
    for (int64_t n = 1; n <= 34; n += n < 17 ? 2 : 3) {
        try_gemm((struct shape3){9, n, 17}, 9, &o, 7);
    }
}

static void activations_keep_nan_and_infinity(void **state)
{
    (void)state;
    static const char *const acts[] = {"", "relu", "sigmoid", "tanh", "gelu", "silu"};
    for (unsigned i = 0; i < 6; i++) {
        struct step_case c;
        case_init(&c, cl_group_device(), 4, 1);
        float *x = case_input(&c, true, 2, (int64_t[]){4, 1});
        float *w = case_const(&c, 2, (int64_t[]){1, 2});
        x[0] = NAN;
        x[1] = 200.0f;
        x[2] = -200.0f;
        x[3] = 0.0f;
        w[0] = w[1] = 1.0f;
        case_output(&c, true, 2, (int64_t[]){4, 2});
        node_set_string(case_node(&c, OXBOW_DOMAIN, "FusedGemm"), "act", acts[i]);
        assert_true(case_run(&c, 4));
        const float *y = case_result(&c, 0);
        if (strcmp(acts[i], "relu") != 0) {
            assert_true(isnan(y[0]));
        }
        for (int r = 1; r < 4; r++) {
            float want = act(acts[i], x[r]);
            case_same(&y[2 * r], &want, 1, 1e-5f, 1e-30f);
        }
        case_fini(&c);
    }
}

static void a_matrix_may_be_added_before_the_activation(void **state)
{
    (void)state;
    struct step_case c;
    case_init(&c, cl_group_device(), 3, 9);
    const float *x = case_input(&c, true, 3, (int64_t[]){3, 5, 7});
    const float *w = case_const(&c, 2, (int64_t[]){7, 37});
    const float *r = case_input(&c, true, 3, (int64_t[]){3, 5, 37});
    case_output(&c, true, 3, (int64_t[]){3, 5, 37});
    node_set_string(case_node(&c, OXBOW_DOMAIN, "FusedMatMul"), "act", "relu");
    struct options o = {.alpha = 1, .act = ""};
    float *want = reference(x, w, NULL, (struct shape3){15, 37, 7}, &o);
    for (int i = 0; i < 15 * 37; i++) {
        want[i] = act("relu", want[i] + r[i]);
    }
    assert_true(case_run(&c, 3));
    case_same(case_result(&c, 0), want, 15 * 37, 1e-5f, 1e-5f);
    assert_true(case_run(&c, 2));
    case_same(case_result(&c, 0), want, 10 * 37, 1e-5f, 1e-5f);
    mem_free(want);
    case_fini(&c);
}

static void what_it_cannot_do_is_declined(void **state)
{
    (void)state;
    struct step_case c;
    case_init(&c, cl_group_device(), 3, 9);
    case_input(&c, true, 2, (int64_t[]){3, 3});
    case_const(&c, 2, (int64_t[]){3, 3});
    case_output(&c, true, 2, (int64_t[]){3, 3});
    struct node *n = case_node(&c, OXBOW_DOMAIN, "FusedGemm");
    node_set_int(n, "transA", 1);
    assert_false(case_run(&c, 3));
    node_set_int(n, "transA", 0);
    node_set_string(n, "act", "softplus");
    assert_false(case_run(&c, 3));
    case_fini(&c);
}

/* The kernels for GPUs, on the device that is there: tiles of local memory, tails included. */
static void kernels_for_gpus_give_the_same(void **state)
{
    struct ocl_device *d = cl_group_device()->ocl;
    uint32_t found = d->lanes;
    d->kind = OCL_GPU;
    d->synchronous = false;
    for (int lanes = 8; lanes <= 16; lanes += 8) {
        d->lanes = (uint32_t)lanes;
        struct options o = {.bias = true, .alpha = 2, .beta = 1, .act = "relu"};
        try_gemm((struct shape3){150, 150, 37}, 150, &o, 1);
        try_gemm((struct shape3){150, 150, 37}, 65, &o, 2);
        try_gemm((struct shape3){64, 128, 32}, 64, &o, 3);
        try_gemm((struct shape3){1, 1, 1}, 1, &o, 4);
        a_matrix_may_be_added_before_the_activation(state);
        activations_keep_nan_and_infinity(state);
    }
    d->kind = OCL_CPU;
    d->synchronous = true;
    d->lanes = found;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_random_shapes),
        cmocka_unit_test(every_activation),
        cmocka_unit_test(every_tail_of_lines),
        cmocka_unit_test(every_tail_of_columns),
        cmocka_unit_test(activations_keep_nan_and_infinity),
        cmocka_unit_test(a_matrix_may_be_added_before_the_activation),
        cmocka_unit_test(kernels_for_gpus_give_the_same),
        cmocka_unit_test(what_it_cannot_do_is_declined),
    };
    return cmocka_run_group_tests_name("infer/cl_gemm", tests, cl_group_open, cl_group_close);
}
