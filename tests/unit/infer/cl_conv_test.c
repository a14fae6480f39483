/* tests/unit/infer/cl_conv_test.c - convolutions on OpenCL against plain loops.
 *
 * Goal:   right for borders, strides, dilations, groups, residuals and pools, tails included.
 * Method: a table of kinds, random sizes for each; sums in double; fences around the results. */
#include "core/mem.h"
#include "tests/support/cl_group.h"
#include "tests/support/step_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kind {
    int64_t kernel[2], strides[2], dilations[2], pads[4], groups;
    bool bias, add, relu;
    const char *pool; /* "", "max", "average": 2x2 by 2 */
};

struct sizes {
    int64_t images, in, out, h, w; /* in, out: channels per group */
};

static int64_t conv_size(const struct kind *k, int axis, int64_t n)
{
    int64_t reach = (k->kernel[axis] - 1) * k->dilations[axis] + 1;
    return (n + k->pads[axis] + k->pads[axis + 2] - reach) / k->strides[axis] + 1;
}

static double sum_at(const struct kind *k, const struct sizes *s, const float *x, const float *w,
                     int64_t o, const int64_t at[2])
{
    double sum = 0;
    int64_t g = o / s->out;
    for (int64_t c = 0; c < s->in; c++) {
        for (int64_t i = 0; i < k->kernel[0]; i++) {
            for (int64_t j = 0; j < k->kernel[1]; j++) {
                int64_t y = at[0] * k->strides[0] + i * k->dilations[0] - k->pads[0];
                int64_t z = at[1] * k->strides[1] + j * k->dilations[1] - k->pads[1];
                if (y >= 0 && y < s->h && z >= 0 && z < s->w) {
                    sum += (double)x[((g * s->in + c) * s->h + y) * s->w + z] *
                           (double)w[((o * s->in + c) * k->kernel[0] + i) * k->kernel[1] + j];
                }
            }
        }
    }
    return sum;
}

/* One image: conv[out][ch][cw], then pooled in place. */
static void reference(const struct kind *k, const struct sizes *s, const float *x, const float *w,
                      const float *bias, const float *add, float *y)
{
    int64_t ch = conv_size(k, 0, s->h), cw = conv_size(k, 1, s->w), out = k->groups * s->out;
    for (int64_t o = 0; o < out; o++) {
        for (int64_t i = 0; i < ch * cw; i++) {
            double v = sum_at(k, s, x, w, o, (int64_t[]){i / cw, i % cw});
            v += bias != NULL ? (double)bias[o] : 0;
            v += add != NULL ? (double)add[o * ch * cw + i] : 0;
            y[o * ch * cw + i] = (float)(k->relu && v < 0 ? 0 : v);
        }
    }
    if (k->pool[0] == '\0') {
        return;
    }
    int64_t oh = ch / 2, ow = cw / 2;
    for (int64_t i = 0; i < out * oh * ow; i++) {
        const float *p = y + i / (oh * ow) * ch * cw + i / ow % oh * 2 * cw + i % ow * 2;
        float a = p[0] > p[1] ? p[0] : p[1], b = p[cw] > p[cw + 1] ? p[cw] : p[cw + 1];
        float mean = (p[0] + p[1] + p[cw] + p[cw + 1]) * 0.25f;
        y[i] = k->pool[0] == 'a' ? mean : a > b ? a : b;
    }
}

static void describe(struct node *n, const struct kind *k)
{
    node_set_ints(n, "strides", k->strides, 2);
    node_set_ints(n, "dilations", k->dilations, 2);
    node_set_ints(n, "pads", k->pads, 4);
    node_set_int(n, "group", k->groups);
    node_set_string(n, "act", k->relu ? "relu" : "");
    if (k->pool[0] != '\0') {
        node_set_string(n, "pool", k->pool);
        node_set_ints(n, "pool_kernel", (int64_t[]){2, 2}, 2);
        node_set_ints(n, "pool_strides", (int64_t[]){2, 2}, 2);
    }
}

static void try_conv(const struct kind *k, const struct sizes *s, int64_t rows, uint64_t seed)
{
    int64_t ch = conv_size(k, 0, s->h), cw = conv_size(k, 1, s->w);
    int64_t in = k->groups * s->in, out = k->groups * s->out;
    bool pooled = k->pool[0] != '\0';
    struct step_case c;
    case_init(&c, cl_group_device(), s->images, seed);
    const float *x = case_input(&c, true, 4, (int64_t[]){s->images, in, s->h, s->w});
    const float *w = case_const(&c, 4, (int64_t[]){out, s->in, k->kernel[0], k->kernel[1]});
    const float *bias = NULL, *add = NULL;
    if (k->bias) {
        bias = case_const(&c, 1, (int64_t[]){out});
    } else {
        case_absent(&c);
    }
    if (k->add) {
        add = case_input(&c, true, 4, (int64_t[]){s->images, out, ch, cw});
    }
    int64_t oh = pooled ? ch / 2 : ch, ow = pooled ? cw / 2 : cw;
    case_output(&c, true, 4, (int64_t[]){s->images, out, oh, ow});
    describe(case_node(&c, OXBOW_DOMAIN, "FusedConv"), k);
    assert_true(case_run(&c, rows));
    float *want = mem_array((size_t)(out * ch * cw), sizeof(float));
    for (int64_t i = 0; i < rows; i++) {
        reference(k, s, x + i * in * s->h * s->w, w, bias,
                  add != NULL ? add + i * out * ch * cw : NULL, want);
        case_same(case_result(&c, 0) + i * out * oh * ow, want, (size_t)(out * oh * ow), 1e-4f,
                  1e-4f);
    }
    mem_free(want);
    case_fini(&c);
}

static void try_sizes(const struct kind *k, int times)
{
    struct prng p = {(uint64_t)k->kernel[0] * 100 + (uint64_t)k->groups};
    static const int64_t widths[] = {9, 31};
    for (int i = 0; i < times; i++) {
        struct sizes s = {1 + (int64_t)prng_below(&p, 3), 1 + (int64_t)prng_below(&p, 5),
                          1 + (int64_t)prng_below(&p, 40), 7 + (int64_t)prng_below(&p, 8),
                          widths[i & 1]};
        try_conv(k, &s, 1 + (int64_t)prng_below(&p, (uint64_t)s.images), (uint64_t)i);
    }
}

#define KIND(test, times, ...)                                                                    \
    static void test(void **state)                                                                \
    {                                                                                             \
        (void)state;                                                                              \
        try_sizes(&(struct kind)__VA_ARGS__, times);                                              \
    }

KIND(filters_of_3x3_with_a_border, 2,
     {{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, 1, true, false, true, ""})
KIND(max_pools_behind_a_filter, 2,
     {{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, 1, true, false, true, "max"})
KIND(average_pools_behind_a_filter, 2,
     {{3, 3}, {1, 1}, {1, 1}, {0, 1, 0, 1}, 1, false, false, false, "average"})
KIND(filters_of_one_pixel, 2, {{1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, 1, true, false, true, ""})
KIND(strides_and_uneven_borders, 2,
     {{5, 3}, {2, 3}, {1, 1}, {2, 0, 1, 2}, 1, true, false, false, ""})
KIND(dilations, 2, {{3, 2}, {1, 1}, {2, 3}, {0, 0, 0, 0}, 1, false, false, true, ""})
KIND(groups, 2, {{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, 3, true, false, true, ""})
KIND(a_residual_before_the_activation, 2,
     {{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, 1, true, true, true, ""})

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_of_3x3_with_a_border),
        cmocka_unit_test(max_pools_behind_a_filter),
        cmocka_unit_test(average_pools_behind_a_filter),
        cmocka_unit_test(filters_of_one_pixel),
        cmocka_unit_test(strides_and_uneven_borders),
        cmocka_unit_test(dilations),
        cmocka_unit_test(groups),
        cmocka_unit_test(a_residual_before_the_activation),
    };
    return cmocka_run_group_tests_name("infer/cl_conv", tests, cl_group_open, cl_group_close);
}
