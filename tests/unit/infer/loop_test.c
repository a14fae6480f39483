/* tests/unit/infer/loop_test.c - Loop and Scan: trips, what is carried and piled up, what is
 * refused.
 *
 * Goal:   a body runs as often as the count and the condition say, by whichever way the model runs;
 *         a loop without end is stopped; what is wrong with a body is said.
 * Method: models built by hand; each is run node by node and, where shapes allow it, compiled. */
#include "core/mem.h"
#include "pe/infer/graph.h"
#include "pe/infer/load.h"
#include "pe/infer/model.h"
#include "pe/infer/specialise.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { F32 = 1, I64 = 7, BOOL = 9, OUT_MAX = 16 };
static const int none[] = {0}, two[] = {2}, any[] = {-1}, pairs[] = {3, 2};

struct answer {
    struct shape shape;
    float data[OUT_MAX];
};

static enum err load(struct onnx_build *m, int opset, struct graph **g, struct fail *f)
{
    struct strbuf bytes = {0};
    *g = NULL;
    onnx_finish(m, opset, &bytes);
    enum err e = graph_load(bytes.data, bytes.bytes, g, f);
    strbuf_fini(&bytes);
    return e;
}

static enum err run(const struct graph *g, const char *device, const struct tensor *in,
                    struct answer *out, struct fail *f)
{
    struct model_run how = {.device = device};
    struct tensor results[2] = {{.dtype = DT_NONE}};
    enum err e = model_infer_once(g, &how, in, results, f);
    for (uint32_t i = 0; i < g->output_count && e == ERR_OK; i++) {
        out[i].shape = results[i].shape;
        assert_true(tensor_count(&results[i]) <= OUT_MAX);
        memcpy(out[i].data, results[i].data, tensor_bytes(&results[i]));
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        tensor_fini(&results[i]);
    }
    return e;
}

static void is(const struct answer *a, unsigned count, const float *want)
{
    size_t have = 0;
    assert_true(shape_count(&a->shape, &have));
    assert_int_equal(have, count);
    for (unsigned i = 0; i < count; i++) {
        assert_true(a->data[i] == want[i]);
    }
}

/* Inputs m, c, x; y, ys = Loop(m, c, x) with the body  v -> v + v, v  while `op`(v, limit). */
static void doubling(struct onnx_build *m, const char *inputs, bool bounded)
{
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    const float limit = 20;
    onnx_input(m, "m", I64, 0, none);
    onnx_input(m, "c", BOOL, 0, none);
    onnx_input(m, "x", F32, 1, two);
    onnx_floats(m, "limit", 0, none, &limit);
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, two);
    onnx_node(&body, "Add", "v v", "w", NULL);
    if (bounded) {
        onnx_node(&body, "ReduceMax", "w", "most", NULL);
        onnx_node(&body, "Reshape", "most scalar", "top", NULL);
        onnx_ints(m, "scalar", 0, NULL);
        onnx_node(&body, "Less", "top limit", "on", NULL);
    } else {
        onnx_node(&body, "Identity", "go", "on", NULL);
    }
    onnx_node(&body, "Identity", "v", "before", NULL);
    onnx_output(&body, "on", BOOL, 0, none);
    onnx_output(&body, "w", F32, 1, two);
    onnx_output(&body, "before", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(m, "Loop", inputs, "y ys", &attrs);
    onnx_output(m, "y", F32, 1, two);
    onnx_output(m, "ys", F32, 2, (int[]){-1, 2});
}

static void trips(const char *inputs, bool bounded, int64_t count, bool condition, unsigned want)
{
    static const char *const ways[] = {"reference", "fused"};
    static const float piled[] = {1, 2, 2, 4, 4, 8, 8, 16, 16, 32};
    struct onnx_build m = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    struct shape scalar = {.rank = 0}, list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2}, last[] = {(float)(1 << want), (float)(2 << want)};
    struct tensor in[] = {tensor_borrow(DT_I64, &scalar, &count),
                          tensor_borrow(DT_BOOL, &scalar, &condition),
                          tensor_borrow(DT_F32, &list, x)};
    doubling(&m, inputs, bounded);
    if (load(&m, 13, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct answer out[2];
        if (run(g, ways[i], in, out, &f) != ERR_OK) {
            fail_msg("%s: %s", ways[i], f.what);
        }
        is(&out[0], 2, last);
        is(&out[1], 2 * want, piled);
        assert_int_equal(out[1].shape.rank, 2);
        assert_int_equal(out[1].shape.dims[0], want);
    }
    graph_free(g);
}

static void count_and_condition_say_how_often(void **state)
{
    (void)state;
    trips("m c x", false, 3, true, 3);
    trips("m c x", false, 0, true, 0);
    trips("m c x", false, -1, true, 0);
    trips("m c x", false, 3, false, 0);
    trips("m - x", false, 2, false, 2);
    trips("m c x", true, 100, true, 4); /* until 32 is not less than 20 */
    trips("- c x", true, 0, true, 4);
    trips("- - x", true, 0, false, 4);
    trips("m c x", true, 2, true, 2);
}

/* With the count in the file and no way to stop earlier, all shapes are known beforehand. */
static void known_trips_have_known_shapes(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    const int64_t count = 3;
    onnx_input(&m, "x", F32, 1, two);
    onnx_ints(&m, "m", 1, &count);
    onnx_input(&body, "trip", I64, 1, (int[]){1}); /* a list of one, as some exporters say it */
    onnx_input(&body, "go", BOOL, 1, (int[]){1});
    onnx_input(&body, "v", F32, 1, two);
    onnx_node(&body, "Identity", "go", "on", NULL);
    onnx_node(&body, "Add", "v x", "w", NULL); /* x is captured */
    onnx_output(&body, "on", BOOL, 1, (int[]){1});
    onnx_output(&body, "w", F32, 1, two);
    onnx_node(&body, "Identity", "w", "copy", NULL);
    onnx_output(&body, "copy", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(&m, "Loop", "m - x", "y ys", &attrs);
    onnx_output(&m, "y", F32, 1, two);
    onnx_output(&m, "ys", F32, 2, (int[]){-1, 2});
    assert_int_equal(load(&m, 13, &g, &f), ERR_OK);
    struct graph *copy = graph_clone(g);
    struct shape list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2};
    struct tensor type = tensor_borrow(DT_F32, &list, NULL), in = tensor_borrow(DT_F32, &list, x);
    assert_int_equal(graph_specialise(copy, &type, &f), ERR_OK);
    assert_false(graph_is_dynamic(copy));
    assert_int_equal(copy->values[copy->outputs[1]].type.shape.dims[0], 3);
    struct answer out[2];
    assert_int_equal(run(g, "fused", &in, out, &f), ERR_OK);
    is(&out[0], 2, (float[]){4, 8});
    is(&out[1], 6, (float[]){2, 4, 3, 6, 4, 8});
    graph_free(copy);
    graph_free(g);
}

/* What is carried may be the number of the trip, and may grow. */
static void what_is_carried_may_change_its_shape(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0}, axis = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    const int64_t count = 2;
    onnx_input(&m, "x", F32, 1, two);
    onnx_ints(&m, "m", 1, &count);
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, any);
    onnx_attr_int(&axis, "axis", 0);
    onnx_node(&body, "Concat", "v x", "w", &axis);
    onnx_output(&body, "go", BOOL, 0, none);
    onnx_output(&body, "w", F32, 1, any);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(&m, "Loop", "m - x", "y", &attrs);
    onnx_output(&m, "y", F32, 1, any);
    assert_int_equal(load(&m, 13, &g, &f), ERR_OK);
    struct shape list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2};
    struct tensor in = tensor_borrow(DT_F32, &list, x);
    struct answer out;
    if (run(g, "fused", &in, &out, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    is(&out, 6, (float[]){1, 2, 1, 2, 1, 2});
    graph_free(g);
}

/* Loops in loops: the bound is on all of them together. */
static void a_loop_without_end_is_stopped(void **state)
{
    (void)state;
    struct onnx_build m = {0}, inner = {0}, outer = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_input(&m, "x", F32, 1, two);
    for (int i = 0; i < 2; i++) {
        struct onnx_build *b = i == 0 ? &inner : &outer;
        onnx_input(b, "trip", I64, 0, none);
        onnx_input(b, "go", BOOL, 0, none);
        onnx_input(b, "v", F32, 1, two);
    }
    onnx_output(&inner, "go", BOOL, 0, none);
    onnx_output(&inner, "v", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &inner);
    onnx_node(&outer, "Loop", "- - v", "w", &attrs);
    onnx_output(&outer, "go", BOOL, 0, none);
    onnx_output(&outer, "w", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &outer);
    onnx_node(&m, "Loop", "- - x", "y", &attrs);
    onnx_output(&m, "y", F32, 1, two);
    assert_int_equal(load(&m, 13, &g, &f), ERR_OK);
    struct shape list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2};
    struct tensor in = tensor_borrow(DT_F32, &list, x);
    struct answer out;
    assert_int_equal(run(g, "reference", &in, &out, &f), ERR_LIMIT);
    assert_non_null(strstr(f.what, "(Loop): loops would run more than"));
    graph_free(g);
}

/* What an If in the body has to look at in each trip counts, taken or not. */
static void a_loop_pays_for_its_branches(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0}, b = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_input(&m, "x", F32, 1, two);
    for (int i = 0; i < 2; i++) {
        char from[16] = "v", to[16];
        for (int k = 0; k < 4000; k++) {
            snprintf(to, sizeof to, "n%d", k);
            onnx_node(&b, "Neg", from, to, NULL);
            memcpy(from, to, sizeof from);
        }
        onnx_output(&b, to, F32, 1, two);
        onnx_attr_graph(&attrs, i == 0 ? "then_branch" : "else_branch", &b);
    }
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, two);
    onnx_node(&body, "If", "go", "w", &attrs);
    onnx_output(&body, "go", BOOL, 0, none);
    onnx_output(&body, "w", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(&m, "Loop", "- - x", "y", &attrs);
    onnx_output(&m, "y", F32, 1, two);
    assert_int_equal(load(&m, 13, &g, &f), ERR_OK);
    struct shape list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2};
    struct tensor in = tensor_borrow(DT_F32, &list, x);
    struct answer out;
    alarm(120); /* without it some hours */
    assert_int_equal(run(g, "reference", &in, &out, &f), ERR_LIMIT);
    assert_non_null(strstr(f.what, "loops would run more than"));
    alarm(0);
    graph_free(g);
}

/* Of the weights alone, so that it could be worked out at load: it is not. */
static void loops_are_not_run_at_load(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_input(&m, "x", F32, 1, two);
    onnx_floats(&m, "k", 1, two, (float[]){1, 2});
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, two);
    onnx_output(&body, "go", BOOL, 0, none);
    onnx_output(&body, "v", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(&m, "Loop", "- - k", "l", &attrs);
    onnx_node(&m, "Add", "x l", "y", NULL);
    onnx_output(&m, "y", F32, 1, two);
    assert_int_equal(load(&m, 13, &g, &f), ERR_OK);
    struct shape list = {.rank = 1, .dims = {2}};
    struct tensor type = tensor_borrow(DT_F32, &list, NULL);
    assert_int_equal(graph_specialise(g, &type, &f), ERR_OK);
    assert_false(g->nodes[0].dead);
    graph_free(g);
}

/* s = sum so far, out of pairs; sequence and result backward; results along axis 1. */
static void scan_goes_through_sequences(void **state)
{
    (void)state;
    static const char *const ways[] = {"reference", "fused"};
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    const int64_t one = 1, last = -1;
    onnx_input(&m, "s", F32, 1, two);
    onnx_input(&m, "x", F32, 2, pairs);
    onnx_input(&body, "v", F32, 1, two);
    onnx_input(&body, "e", F32, 1, two);
    onnx_node(&body, "Add", "v e", "w", NULL);
    onnx_node(&body, "Identity", "w", "copy", NULL);
    onnx_output(&body, "w", F32, 1, two);
    onnx_output(&body, "copy", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    onnx_attr_ints(&attrs, "scan_input_directions", 1, &one);
    onnx_attr_ints(&attrs, "scan_output_directions", 1, &one);
    onnx_attr_ints(&attrs, "scan_output_axes", 1, &last);
    onnx_node(&m, "Scan", "s x", "y ys", &attrs);
    onnx_output(&m, "y", F32, 1, two);
    onnx_output(&m, "ys", F32, 2, (int[]){2, 3});
    if (load(&m, 11, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    struct shape list = {.rank = 1, .dims = {2}}, lists = {.rank = 2, .dims = {3, 2}};
    float s[] = {100, 200}, x[] = {1, 2, 3, 4, 5, 6};
    struct tensor in[] = {tensor_borrow(DT_F32, &list, s), tensor_borrow(DT_F32, &lists, x)};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct answer out[2];
        if (run(g, ways[i], in, out, &f) != ERR_OK) {
            fail_msg("%s: %s", ways[i], f.what);
        }
        is(&out[0], 2, (float[]){109, 212});
        is(&out[1], 6, (float[]){109, 108, 105, 212, 210, 206});
    }
    graph_free(g);
}

/* Before opset 9: rows of a batch, each as long as it says. */
static void old_scans_have_batches_and_lengths(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    const int64_t lengths[] = {1, 3};
    const int twice[] = {2, 1}, rows[] = {2, 3, 1}, single[] = {1};
    onnx_input(&m, "s", F32, 2, twice);
    onnx_input(&m, "x", F32, 3, rows);
    onnx_ints(&m, "l", 2, lengths);
    onnx_input(&body, "v", F32, 1, single);
    onnx_input(&body, "e", F32, 1, single);
    onnx_node(&body, "Add", "v e", "w", NULL);
    onnx_node(&body, "Identity", "w", "copy", NULL);
    onnx_output(&body, "w", F32, 1, single);
    onnx_output(&body, "copy", F32, 1, single);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    onnx_node(&m, "Scan", "l s x", "y ys", &attrs);
    onnx_output(&m, "y", F32, 2, twice);
    onnx_output(&m, "ys", F32, 3, rows);
    if (load(&m, 8, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    struct shape states = {.rank = 2, .dims = {2, 1}}, sequences = {.rank = 3, .dims = {2, 3, 1}};
    float s[] = {10, 20}, x[] = {1, 2, 3, 4, 5, 6};
    struct tensor in[] = {tensor_borrow(DT_F32, &states, s), tensor_borrow(DT_F32, &sequences, x)};
    struct answer out[2];
    if (run(g, "fused", in, out, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    is(&out[0], 2, (float[]){11, 35});
    is(&out[1], 6, (float[]){11, 0, 0, 24, 29, 35});
    graph_free(g);
}

/* ---- what is wrong */

static void refused(struct onnx_build *m, const char *op, const char *inputs, struct strbuf *attrs,
                    const char *text)
{
    struct graph *g = NULL;
    struct fail f = {0};
    struct shape list = {.rank = 1, .dims = {2}};
    float x[] = {1, 2};
    struct tensor in = tensor_borrow(DT_F32, &list, x);
    struct answer out;
    onnx_input(m, "x", F32, 1, two);
    onnx_node(m, op, inputs, "y", attrs);
    onnx_output(m, "y", F32, 1, any);
    enum err e = load(m, 13, &g, &f);
    e = e == ERR_OK ? run(g, "fused", &in, &out, &f) : e;
    assert_int_not_equal(e, ERR_OK);
    if (strstr(f.what, text) == NULL || strstr(f.what, op) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f.what, text);
    }
    graph_free(g);
}

/* A body of three inputs and the outputs `go` and OP(inputs). */
static void body_of(struct strbuf *attrs, const char *op, const char *inputs, const char *condition)
{
    struct onnx_build b = {0};
    onnx_input(&b, "trip", I64, 0, none);
    onnx_input(&b, "go", BOOL, 0, none);
    onnx_input(&b, "v", F32, 1, two);
    onnx_node(&b, op, inputs, "w", NULL);
    onnx_output(&b, condition, BOOL, 0, none);
    onnx_output(&b, "w", F32, 1, any);
    onnx_attr_graph(attrs, "body", &b);
}

static void what_is_wrong_with_a_body_is_said(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    refused(&m, "Loop", "- - x", NULL, "the body is missing");
    body_of(&attrs, "Neg", "v", "go");
    refused(&m, "Loop", "-", &attrs, "want at least 2");
    body_of(&attrs, "Neg", "v", "go");
    refused(&m, "Loop", "- - x x", &attrs, "does not fit");
    body_of(&attrs, "Neg", "v", "go");
    refused(&m, "Loop", "x - x", &attrs, "input 0 may not be of type");
    body_of(&attrs, "Neg", "v", "v");
    refused(&m, "Loop", "- - x", &attrs, "no condition");
    body_of(&attrs, "Shape", "v", "go");
    refused(&m, "Loop", "- - x", &attrs, "of carried value 0");
    body_of(&attrs, "Neg", "v", "go");
    refused(&m, "Scan", "x", &attrs, "num_scan_inputs is 0");
    body_of(&attrs, "Neg", "v", "go");
    onnx_attr_int(&attrs, "num_scan_inputs", INT64_MAX);
    refused(&m, "Scan", "x", &attrs, "num_scan_inputs");
    body_of(&attrs, "Neg", "v", "go");
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    refused(&m, "Scan", "x", &attrs, "does not fit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count_and_condition_say_how_often),
        cmocka_unit_test(known_trips_have_known_shapes),
        cmocka_unit_test(what_is_carried_may_change_its_shape),
        cmocka_unit_test(a_loop_without_end_is_stopped),
        cmocka_unit_test(a_loop_pays_for_its_branches),
        cmocka_unit_test(loops_are_not_run_at_load),
        cmocka_unit_test(scan_goes_through_sequences),
        cmocka_unit_test(old_scans_have_batches_and_lengths),
        cmocka_unit_test(what_is_wrong_with_a_body_is_said),
    };
    return cmocka_run_group_tests_name("infer/loop", tests, NULL, NULL);
}
