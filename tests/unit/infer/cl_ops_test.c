/* tests/unit/infer/cl_ops_test.c - the smaller kernels and recurrent layers against the references.
 *
 * Goal:   the device's result is the reference's, tails and short batches included, also on devices
 *         that are asynchronous or have memory of their own.
 * Method: the operator's scalar reference as oracle; the CPU device made to look like others. */
#include "core/mem.h"
#include "pe/infer/cl/recipe.h"
#include "tests/support/cl_group.h"
#include "tests/support/step_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIMS(...) (const int64_t[]){__VA_ARGS__}

static void softmax_of_lines(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 5, 16, 33, 70};
    for (int i = 0; i < 5; i++) {
        struct step_case c;
        case_init(&c, cl_group_device(), 4, (uint64_t)i);
        float *x = case_input(&c, true, 3, DIMS(4, 3, widths[i]));
        x[0] = 300.0f; /* the others of its line are far below */
        case_output(&c, true, 3, DIMS(4, 3, widths[i]));
        node_set_int(case_node(&c, "", "Softmax"), "axis", -1);
        case_check(&c, 1 + i % 4, 1e-5f, 1e-12f);
        case_fini(&c);
    }
}

static void attention_scores_with_a_mask(void **state)
{
    (void)state;
    struct step_case c;
    case_init(&c, cl_group_device(), 3, 1);
    case_input(&c, true, 4, DIMS(3, 2, 7, 19));
    case_const(&c, 2, DIMS(7, 19));
    case_output(&c, true, 4, DIMS(3, 2, 7, 19));
    node_set_float(case_node(&c, OXBOW_DOMAIN, "AttnSoftmax"), "scale", 0.25f);
    case_check(&c, 2, 1e-5f, 1e-9f);
    case_fini(&c);
}

static void layers_are_normalised(void **state)
{
    (void)state;
    static const int64_t widths[] = {3, 16, 70};
    for (int i = 0; i < 3; i++) {
        struct step_case c;
        case_init(&c, cl_group_device(), 4, (uint64_t)i);
        float *x = case_input(&c, true, 3, DIMS(4, 2, widths[i]));
        for (int64_t j = 0; j < widths[i]; j++) {
            x[j] += 1000.0f; /* far from zero */
        }
        case_const(&c, 1, DIMS(widths[i]));
        case_const(&c, 1, DIMS(widths[i]));
        case_output(&c, true, 3, DIMS(4, 2, widths[i]));
        node_set_int(case_node(&c, "", "LayerNormalization"), "axis", -1);
        case_check(&c, 3, 1e-3f, 1e-3f);
        case_fini(&c);
    }
}

static void element_by_element(void **state)
{
    (void)state;
    static const char *const ops[] = {"Relu", "Sigmoid", "Tanh", "Exp", "Erf", "Neg", "Abs"};
    for (int i = 0; i < 7; i++) {
        struct step_case c;
        case_init(&c, cl_group_device(), 5, (uint64_t)i);
        float *x = case_input(&c, true, 2, DIMS(5, 37));
        for (int j = 0; j < 5 * 37; j++) {
            x[j] *= 8.0f;
        }
        case_output(&c, true, 2, DIMS(5, 37));
        case_node(&c, "", ops[i]);
        case_check(&c, 4, 1e-5f, 1e-6f);
        case_fini(&c);
    }
}

static void pair(const char *op, bool swapped, bool batched, unsigned rank, const int64_t *dims)
{
    struct step_case c;
    case_init(&c, cl_group_device(), 4, 3);
    for (int i = 0; i < 2; i++) {
        if ((i == 0) != swapped) {
            case_input(&c, true, 4, DIMS(4, 6, 5, 7));
        } else if (batched) {
            case_input(&c, true, rank, dims);
        } else {
            float *b = case_const(&c, rank, dims);
            b[0] += 2.0f;
        }
    }
    case_output(&c, true, 4, DIMS(4, 6, 5, 7));
    case_node(&c, "", op);
    case_check(&c, 3, 1e-4f, 1e-5f);
    case_fini(&c);
}

static void operands_that_broadcast(void **state)
{
    (void)state;
    pair("Add", false, true, 4, DIMS(4, 6, 5, 7));
    pair("Sub", true, false, 1, DIMS(7));
    pair("Mul", false, false, 3, DIMS(6, 1, 1));
    pair("Add", false, false, 2, DIMS(5, 7));
    pair("Sub", false, false, 4, DIMS(1, 6, 5, 1 * 7));
    pair("Div", true, false, 0, DIMS(1));
}

static void products_of_computed_matrices(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{9, 20, 7}, {16, 16, 16}, {1, 5, 33}};
    for (int i = 0; i < 6; i++) {
        const int64_t *s = sizes[i / 2];
        bool trans = i & 1;
        struct step_case c;
        case_init(&c, cl_group_device(), 3, (uint64_t)i);
        case_input(&c, true, 4, DIMS(3, 2, s[0], s[2]));
        case_input(&c, true, 4, trans ? DIMS(3, 2, s[1], s[2]) : DIMS(3, 2, s[2], s[1]));
        case_output(&c, true, 4, DIMS(3, 2, s[0], s[1]));
        struct node *n = case_node(&c, OXBOW_DOMAIN, "FusedMatMul");
        node_set_int(n, "trans_b", trans);
        node_set_float(n, "scale", 0.5f);
        case_check(&c, 2, 1e-5f, 1e-5f);
        case_fini(&c);
    }
}

static void dims_in_another_order(void **state)
{
    (void)state;
    static const int64_t perms[][4] = {{0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 2, 1}, {0, 1, 3, 2}};
    const int64_t from[4] = {3, 4, 5, 17};
    for (int i = 0; i < 4; i++) {
        struct step_case c;
        case_init(&c, cl_group_device(), 3, (uint64_t)i);
        case_input(&c, true, 4, from);
        const int64_t *p = perms[i];
        case_output(&c, true, 4, DIMS(from[p[0]], from[p[1]], from[p[2]], from[p[3]]));
        node_set_ints(case_node(&c, "", "Transpose"), "perm", p, 4);
        case_check(&c, 2, 0, 0);
        case_fini(&c);
    }
    struct step_case c; /* the batch moves: all of it */
    case_init(&c, cl_group_device(), 3, 8);
    case_input(&c, true, 3, DIMS(3, 16, 9));
    case_output(&c, false, 3, DIMS(16, 3, 9));
    node_set_ints(case_node(&c, "", "Transpose"), "perm", DIMS(1, 0, 2), 3);
    case_check(&c, 3, 0, 0);
    case_fini(&c);
}

struct layer {
    const char *op, *direction;
    int64_t gates, dirs, lbr;
    bool states;
};

static void recurrent(const struct layer *l, int64_t batch, int64_t in, int64_t hidden)
{
    struct step_case c;
    case_init(&c, cl_group_device(), batch, (uint64_t)batch);
    case_input(&c, false, 3, DIMS(5, batch, in));
    case_const(&c, 3, DIMS(l->dirs, l->gates * hidden, in));
    case_const(&c, 3, DIMS(l->dirs, l->gates * hidden, hidden));
    case_const(&c, 2, DIMS(l->dirs, 2 * l->gates * hidden));
    if (l->states) {
        case_absent(&c);
        case_input(&c, false, 3, DIMS(l->dirs, batch, hidden));
        if (l->gates == 4) {
            case_input(&c, false, 3, DIMS(l->dirs, batch, hidden));
        }
    }
    case_output(&c, false, 4, DIMS(5, l->dirs, batch, hidden));
    case_output(&c, false, 3, DIMS(l->dirs, batch, hidden));
    if (l->gates == 4) {
        case_output(&c, false, 3, DIMS(l->dirs, batch, hidden));
    }
    struct node *n = case_node(&c, "", l->op);
    node_set_int(n, "hidden_size", hidden);
    node_set_string(n, "direction", l->direction);
    if (l->gates == 3) {
        node_set_int(n, "linear_before_reset", l->lbr);
    }
    case_check(&c, batch, 1e-4f, 1e-5f);
    case_fini(&c);
}

static void recurrent_layers(void **state)
{
    (void)state;
    static const struct layer kinds[] = {
        {"LSTM", "forward", 4, 1, 0, false},
        {"LSTM", "bidirectional", 4, 2, 0, true},
        {"GRU", "reverse", 3, 1, 0, false},
        {"GRU", "bidirectional", 3, 2, 1, true},
    };
    for (int i = 0; i < 4; i++) {
        recurrent(&kinds[i], 1, 3, 5);
        recurrent(&kinds[i], 6, 9, 33);
        recurrent(&kinds[i], 4, 1, 16);
    }
}

static void an_output_nobody_wants_is_left_out(void **state)
{
    (void)state;
    struct step_case c;
    case_init(&c, cl_group_device(), 2, 5);
    case_input(&c, false, 3, DIMS(3, 2, 4));
    case_const(&c, 3, DIMS(1, 18, 4));
    case_const(&c, 3, DIMS(1, 18, 6));
    case_unwanted(&c);
    case_output(&c, false, 3, DIMS(1, 2, 6));
    node_set_int(case_node(&c, "", "GRU"), "hidden_size", 6);
    case_check(&c, 2, 1e-4f, 1e-5f);
    case_fini(&c);
}

static void devices_of_other_kinds_give_the_same(void **state)
{
    (void)state;
    struct ocl_device *d = cl_group_device()->ocl;
    d->synchronous = false; /* several work-groups, mapping */
    products_of_computed_matrices(NULL);
    softmax_of_lines(NULL);
    d->unified = false; /* and a mirror */
    dims_in_another_order(NULL);
    products_of_computed_matrices(NULL);
    d->synchronous = d->unified = true;
}

static void a_device_lost_in_a_batch_is_told(void **state)
{
    (void)state;
    struct step_case c;
    case_init(&c, cl_group_device(), 2, 5);
    case_input(&c, true, 2, DIMS(2, 8));
    case_output(&c, true, 2, DIMS(2, 8));
    case_node(&c, "", "Relu");
    struct place in = c.values[0].place, out = c.values[1].place;
    out.offset = 256;
    struct step_spec spec = {c.node, &in, &out, 2};
    struct step *s = NULL;
    struct arena *a = NULL;
    void *p = NULL;
    const struct backend *b = backend_opencl;
    assert_int_equal(b->compile(cl_group_device(), &spec, &s, NULL), ERR_OK);
    assert_int_equal(b->arena_new(cl_group_device(), 512, &a, NULL), ERR_OK);
    assert_int_equal(b->run(s, a, 2, NULL), ERR_OK);
    atomic_store(&cl_group_device()->ocl->fail_in, 1);
    assert_int_equal(b->run(s, a, 2, NULL), ERR_IO);
    assert_int_equal(b->host_begin(a, 0, 512, HOST_READ, &p, NULL), ERR_IO);
    atomic_store(&cl_group_device()->ocl->lost, false);
    b->arena_free(a);
    b->step_free(s);
    case_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_of_lines),
        cmocka_unit_test(attention_scores_with_a_mask),
        cmocka_unit_test(layers_are_normalised),
        cmocka_unit_test(element_by_element),
        cmocka_unit_test(operands_that_broadcast),
        cmocka_unit_test(products_of_computed_matrices),
        cmocka_unit_test(dims_in_another_order),
        cmocka_unit_test(recurrent_layers),
        cmocka_unit_test(an_output_nobody_wants_is_left_out),
        cmocka_unit_test(devices_of_other_kinds_give_the_same),
        cmocka_unit_test(a_device_lost_in_a_batch_is_told),
    };
    return cmocka_run_group_tests_name("infer/cl_ops", tests, cl_group_open, cl_group_close);
}
