/* tests/unit/infer/control_test.c - If: branches, what they capture, and what is refused.
 *
 * Goal:   the branch that the data says is taken, by whichever way the model runs; a branch sees
 * the values around it; what is wrong with a branch is said, never met while running. Method:
 * models built by hand; each is run node by node and compiled. */
#include "core/mem.h"
#include "pe/infer/graph.h"
#include "pe/infer/load.h"
#include "pe/infer/model.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { F32 = 1, BOOL = 9 };
static const int four[] = {4}, none[] = {0};

static void inputs_of_model(struct onnx_build *m)
{
    onnx_input(m, "c", BOOL, 0, none);
    onnx_input(m, "x", F32, 1, four);
}

/* A branch that gives OP(inputs) as NAME. */
static void branch(struct strbuf *attrs, const char *which, const char *op, const char *inputs,
                   const char *name)
{
    struct onnx_build b = {0};
    onnx_node(&b, op, inputs, name, NULL);
    onnx_output(&b, name, F32, 1, four);
    onnx_attr_graph(attrs, which, &b);
}

static struct graph *load(struct onnx_build *m, enum err want, struct fail *f)
{
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    onnx_finish(m, 13, &bytes);
    enum err e = graph_load(bytes.data, bytes.bytes, &g, f);
    strbuf_fini(&bytes);
    if (e != want) {
        fail_msg("got %s (%s), wanted %s", err_name(e), f->what, err_name(want));
    }
    return e == ERR_OK ? g : NULL;
}

/* The first element of the output for x = 1 2 3 4 and that condition. */
static enum err run(const struct graph *g, const char *device, bool c, float *first, struct fail *f)
{
    struct model_run how = {.device = device};
    struct shape s0 = {.rank = 0}, s1 = {.rank = 1, .dims = {4}};
    float x[] = {1, 2, 3, 4};
    struct tensor in[2] = {tensor_borrow(DT_BOOL, &s0, &c), tensor_borrow(DT_F32, &s1, x)};
    struct tensor out = {0};
    enum err e = model_infer_once(g, &how, in, &out, f);
    *first = e == ERR_OK ? ((const float *)out.data)[0] : 0;
    tensor_fini(&out);
    return e;
}

static void gives(struct graph *g, float when_true, float when_false)
{
    static const char *const ways[] = {"reference", "fused"};
    struct fail f = {0};
    float first = 0;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        for (int c = 0; c < 2; c++) {
            if (run(g, ways[i], c != 0, &first, &f) != ERR_OK) {
                fail_msg("%s: %s", ways[i], f.what);
            }
            assert_true(first == (c != 0 ? when_true : when_false));
        }
    }
    graph_free(g);
}

static void the_condition_chooses(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    struct fail f = {0};
    inputs_of_model(&m);
    branch(&attrs, "else_branch", "Neg", "x", "e"); /* either order */
    branch(&attrs, "then_branch", "Add", "x x", "t");
    onnx_node(&m, "If", "c", "y", &attrs);
    onnx_output(&m, "y", F32, 1, four);
    gives(load(&m, ERR_OK, &f), 2, -1);
}

/* `a` is made behind the If in the file, and each branch reads something else. */
static void branches_see_what_is_around_them(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    struct fail f = {0};
    const float w[] = {10, 10, 10, 10};
    inputs_of_model(&m);
    onnx_floats(&m, "w", 1, four, w);
    branch(&attrs, "then_branch", "Add", "a w", "t");
    branch(&attrs, "else_branch", "Mul", "x w", "t"); /* names inside are the branch's own */
    onnx_node(&m, "If", "c", "y", &attrs);
    onnx_node(&m, "Neg", "x", "a", NULL);
    onnx_output(&m, "y", F32, 1, four);
    struct graph *g = load(&m, ERR_OK, &f);
    assert_true(graph_check(g, &f));
    assert_string_equal(g->nodes[1].op, "If"); /* behind what its branch reads */
    gives(g, 9, 10);
}

/* The inner If stands in the branch of an outer one and reads a value two graphs further out. */
static void branches_nest(void **state)
{
    (void)state;
    struct onnx_build m = {0}, outer = {0};
    struct strbuf inner = {0}, attrs = {0};
    struct fail f = {0};
    inputs_of_model(&m);
    branch(&inner, "then_branch", "Add", "x x", "t");
    branch(&inner, "else_branch", "Neg", "x", "e");
    onnx_node(&outer, "If", "c", "o", &inner);
    onnx_output(&outer, "o", F32, 1, four);
    onnx_attr_graph(&attrs, "then_branch", &outer);
    branch(&attrs, "else_branch", "Mul", "x x", "p");
    onnx_node(&m, "If", "c", "y", &attrs);
    onnx_output(&m, "y", F32, 1, four);
    struct graph *g = load(&m, ERR_OK, &f);
    struct strbuf ops = {0};
    model_ops(g, &ops);
    assert_string_equal(strbuf_text(&ops), "Add If Mul Neg");
    strbuf_fini(&ops);
    gives(g, 2, 1);
}

/* Then the shape is known only when the condition is: node by node. */
static void branches_may_differ_in_shape(void **state)
{
    (void)state;
    struct onnx_build m = {0}, b = {0};
    struct strbuf attrs = {0};
    struct fail f = {0};
    inputs_of_model(&m);
    branch(&attrs, "then_branch", "Neg", "x", "t");
    onnx_node(&b, "ReduceSum", "x", "s", NULL);
    onnx_output(&b, "s", F32, 1, four);
    onnx_attr_graph(&attrs, "else_branch", &b);
    onnx_node(&m, "If", "c", "y", &attrs);
    onnx_output(&m, "y", F32, 1, four);
    gives(load(&m, ERR_OK, &f), -1, 10);
}

static void refused(struct onnx_build *m, struct strbuf *attrs, const char *text)
{
    struct fail f = {0};
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    float first = 0;
    inputs_of_model(m);
    onnx_node(m, "If", "c", "y", attrs);
    onnx_output(m, "y", F32, 1, four);
    onnx_finish(m, 13, &bytes);
    enum err e = graph_load(bytes.data, bytes.bytes, &g, &f);
    e = e == ERR_OK ? run(g, "fused", true, &first, &f) : e;
    assert_int_not_equal(e, ERR_OK);
    if (strstr(f.what, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f.what, text);
    }
    strbuf_fini(&bytes);
    graph_free(g);
}

static void what_is_wrong_with_a_branch_is_said(void **state)
{
    (void)state;
    struct onnx_build m = {0}, b = {0};
    struct strbuf attrs = {0};
    branch(&attrs, "then_branch", "Neg", "x", "t");
    refused(&m, &attrs, "a branch is missing");

    branch(&attrs, "then_branch", "Neg", "x", "t");
    branch(&attrs, "else_branch", "Neg", "z", "e");
    refused(&m, &attrs, "which nothing makes");

    branch(&attrs, "then_branch", "Neg", "x", "t");
    branch(&attrs, "else_branch", "Neg", "y", "e"); /* its own If's output */
    refused(&m, &attrs, "depends on its own output");

    branch(&attrs, "then_branch", "Neg", "x", "t");
    branch(&attrs, "else_branch", "Frobnicate", "x", "e");
    refused(&m, &attrs, "Frobnicate");

    branch(&attrs, "then_branch", "Neg", "x", "t");
    branch(&attrs, "then_branch", "Abs", "x", "t");
    branch(&attrs, "else_branch", "Neg", "x", "e");
    refused(&m, &attrs, "two attributes");

    branch(&attrs, "then_branch", "Neg", "x", "t");
    onnx_input(&b, "own", F32, 1, four);
    onnx_node(&b, "Neg", "own", "e", NULL);
    onnx_output(&b, "e", F32, 1, four);
    onnx_attr_graph(&attrs, "else_branch", &b);
    refused(&m, &attrs, "inputs of its own");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_condition_chooses),
        cmocka_unit_test(branches_see_what_is_around_them),
        cmocka_unit_test(branches_nest),
        cmocka_unit_test(branches_may_differ_in_shape),
        cmocka_unit_test(what_is_wrong_with_a_branch_is_said),
    };
    return cmocka_run_group_tests_name("infer/control", tests, NULL, NULL);
}
