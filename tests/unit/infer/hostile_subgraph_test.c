/* tests/unit/infer/hostile_subgraph_test.c - models whose harm is in the bodies of Loop, Scan, If.
 *
 * Goal:   a subgraph is no way around a limit: nodes, values, depth, bytes and what folding may add
 *         are one budget of the model with all its subgraphs; each model is refused with a node and
 *         an operator named, or, where it is only odd, loaded for as little.
 * Method: tests/support/hostile.h; bodies are built by hand, nested as deep as it takes. */
#include "core/limits.h"
#include "core/mem.h"
#include "tests/support/hostile.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { F32 = 1, I64 = 7, BOOL = 9 };
enum { LEVELS = 18, MANY = 15000 }; /* bodies in bodies that the depth of messages lets in */
static const int free4[] = {-1, 4}, none[] = {0}, any[] = {-1};

/* ---- building */

static void model_input(struct onnx_build *m)
{
    onnx_input(m, "x", F32, 2, free4);
}

static void loop_inputs(struct onnx_build *body)
{
    onnx_input(body, "trip", I64, 0, none);
    onnx_input(body, "go", BOOL, 0, none);
    onnx_input(body, "v", F32, 2, free4);
}

static void loop_outputs(struct onnx_build *body, const char *value)
{
    onnx_output(body, "go", BOOL, 0, none);
    onnx_output(body, value, F32, 2, free4);
}

/* The model  y = Loop(-, -, x)  with that body. */
static struct hostile_file loop_of(struct onnx_build *m, struct onnx_build *body)
{
    struct strbuf attrs = {0};
    onnx_attr_graph(&attrs, "body", body);
    onnx_node(m, "Loop", "- - x", "y", &attrs);
    onnx_output(m, "y", F32, 2, free4);
    return hostile_model(m, 13);
}

/* The body  go, OP(inputs)  of a Loop in which one node is wrong. */
static void refused_body(const char *what, const char *op, const char *inputs, struct strbuf *attrs,
                         const char *text)
{
    struct onnx_build m = {0}, body = {0};
    model_input(&m);
    loop_inputs(&body);
    onnx_node(&body, op, inputs, "w", attrs);
    loop_outputs(&body, "w");
    struct hostile_file f = loop_of(&m, &body);
    hostile_refused(what, &f, text);
}

/* Loops around `inner`, which gives `w` of `v`: each around the one before. */
static struct hostile_file nested(struct onnx_build *m, struct onnx_build *inner, unsigned levels)
{
    for (unsigned i = 1; i < levels; i++) {
        struct onnx_build outer = {0};
        struct strbuf attrs = {0};
        loop_outputs(inner, "w");
        onnx_attr_graph(&attrs, "body", inner);
        loop_inputs(&outer);
        onnx_node(&outer, "Loop", "- - v", "w", &attrs);
        *inner = outer;
    }
    loop_outputs(inner, "w");
    return loop_of(m, inner);
}

/* Values a0, a1 ... beside the body, and the list of their names. */
static char *values_around(struct onnx_build *m, unsigned count)
{
    struct strbuf names = {0};
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%u", i);
        onnx_node(m, "Neg", "x", name, NULL);
        strbuf_printf(&names, "%s%s", i > 0 ? " " : "", name);
    }
    return strbuf_take(&names);
}

/* ---- depth and names */

static void bodies_in_bodies(void **state)
{
    (void)state;
    for (unsigned levels = LEVELS; levels <= 3 * LEVELS; levels += 2 * LEVELS) {
        struct onnx_build m = {0}, inner = {0};
        model_input(&m);
        loop_inputs(&inner);
        onnx_node(&inner, "Neg", "v", "w", NULL);
        struct hostile_file f = nested(&m, &inner, levels);
        if (levels == LEVELS) {
            hostile_loaded("loops 18 deep", &f);
        } else {
            hostile_refused("loops 54 deep", &f, "in node 'Loop(y)' (Loop): the model nests");
        }
    }
}

static void names_that_are_not_there(void **state)
{
    (void)state;
    refused_body("a body that reads what nobody makes", "Add", "v nobody", NULL,
                 "(Add) reads 'nobody', which nothing makes");
    refused_body("a body that reads its own node's output", "Add", "v y", NULL,
                 "'Loop(y)' (Loop) depends on its own output");
    refused_body("a body with a cycle", "Add", "v w", NULL, "(Add) depends on its own output");
    refused_body("an operator that nobody knows", "Frobnicate", "v", NULL, "(Frobnicate)");
    struct onnx_build m = {0}, one = {0}, two = {0};
    struct strbuf attrs = {0};
    model_input(&m);
    loop_inputs(&one);
    onnx_node(&one, "Neg", "v", "mine", NULL);
    loop_outputs(&one, "mine");
    onnx_attr_graph(&attrs, "body", &one);
    onnx_node(&m, "Loop", "- - x", "z", &attrs);
    loop_inputs(&two);
    onnx_node(&two, "Add", "v mine", "w", NULL);
    loop_outputs(&two, "w");
    struct hostile_file f = loop_of(&m, &two);
    hostile_refused("a body that reads out of another", &f, "(Add) reads 'mine'");
}

static void bodies_that_do_not_fit(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    model_input(&m);
    loop_inputs(&body);
    onnx_output(&body, "go", BOOL, 0, none);
    struct hostile_file f = loop_of(&m, &body);
    hostile_refused("fewer outputs than the node has", &f, "'Loop(y)' (Loop): a body of 3 inputs");
    model_input(&m);
    loop_inputs(&body);
    f = loop_of(&m, &body);
    hostile_refused("no outputs", &f, "in node 'Loop(y)' (Loop), 'body': it has no outputs");
    model_input(&m);
    loop_inputs(&body);
    onnx_output(&body, "go", BOOL, 0, none);
    onnx_output(&body, "elsewhere", F32, 2, free4);
    f = loop_of(&m, &body);
    hostile_refused("an output that nothing makes", &f,
                    "(Loop), 'body': nothing makes the output 'elsewhere'");
    model_input(&m);
    loop_inputs(&body);
    onnx_input(&body, "v", F32, 2, free4);
    loop_outputs(&body, "v");
    f = loop_of(&m, &body);
    hostile_refused("two inputs of one name", &f, "(Loop), 'body': two things make the value 'v'");
    model_input(&m);
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, any);
    loop_outputs(&body, "v");
    f = loop_of(&m, &body);
    hostile_refused("an input of another rank", &f, "'Loop(y)' (Loop): its subgraph: input 'v'");
    model_input(&m);
    onnx_attr_int(&attrs, "body", 1);
    onnx_node(&m, "Loop", "- - x", "y", &attrs);
    onnx_output(&m, "y", F32, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("a body that is a number", &f, "'Loop(y)' (Loop): the body is missing");
}

/* ---- claims */

static void initialiser(struct onnx_build *m, const uint64_t *dims, size_t rank)
{
    struct strbuf t = {0};
    for (size_t i = 0; i < rank; i++) {
        pb_varint(&t, 1, dims[i]);
    }
    pb_varint(&t, 2, 1);
    pb_text(&t, 8, "k");
    pb_bytes(&t, 9, "abcd", 4);
    pb_message(&m->graph, 5, &t);
}

static void dims_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint64_t dims[2];
        size_t rank;
    } all[] = {{"four bytes that are to be 2 GiB", {1u << 29}, 1},
               {"dims whose product leaves 64 bits", {1ull << 40, 1ull << 40}, 2},
               {"a dim below zero", {(uint64_t)-4}, 1}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct onnx_build m = {0}, body = {0};
        model_input(&m);
        loop_inputs(&body);
        initialiser(&body, all[i].dims, all[i].rank);
        onnx_node(&body, "Add", "v k", "w", NULL);
        loop_outputs(&body, "w");
        struct hostile_file f = loop_of(&m, &body);
        hostile_refused(all[i].what, &f, "in node 'Loop(y)' (Loop), 'body': ");
    }
}

/* A field of the body that claims more than its message has. */
static void lengths_that_lie(void **state)
{
    (void)state;
    static const char raw_data[] = "\x4a\xff\xff\xff\xff\x07zzzz", node[] = "\x0a\xf0\xff\x7f";
    for (unsigned i = 0; i < 2; i++) {
        struct onnx_build m = {0}, body = {0};
        struct strbuf t = {0};
        model_input(&m);
        loop_inputs(&body);
        if (i == 0) {
            strbuf_add(&t, raw_data, sizeof raw_data - 1);
            pb_message(&body.graph, 5, &t);
        } else {
            strbuf_add(&body.graph, node, sizeof node - 1);
        }
        loop_outputs(&body, "v");
        struct hostile_file f = loop_of(&m, &body);
        hostile_refused(i == 0 ? "raw data of 2 GiB" : "a node of 2 MiB", &f,
                        "in node 'Loop(y)' (Loop): the model is not a readable");
    }
}

/* Little in the file, much in memory. */
static void things_by_the_million(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    model_input(&m);
    loop_inputs(&body);
    for (unsigned i = 0; i < 2000000; i++) {
        pb_bytes(&body.graph, 1, "", 0);
    }
    loop_outputs(&body, "v");
    struct hostile_file f = loop_of(&m, &body);
    hostile_refused("two million empty nodes", &f,
                    "in node 'Loop(y)' (Loop): the model has more than");
    /* No body has too many, all together do. */
    model_input(&m);
    for (unsigned i = 0; i < 3; i++) {
        struct strbuf attrs = {0};
        loop_inputs(&body);
        for (unsigned k = 0; k < MODEL_NODES_MAX / 2; k++) {
            char name[16];
            snprintf(name, sizeof name, "n%u", k);
            onnx_node(&body, "Neg", "v", name, NULL);
        }
        loop_outputs(&body, "n0");
        onnx_attr_graph(&attrs, "body", &body);
        onnx_node(&m, "Loop", "- - x", i == 0 ? "a" : i == 1 ? "b" : "c", &attrs);
    }
    onnx_output(&m, "a", F32, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("three bodies of 10,000 nodes", &f,
                    "in node 'Loop(b)' (Loop): the model has more than");
}

/* ---- what is captured */

/* Each is read once in the file and is a value in every body around. */
static void captures_multiply(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned count, levels;
    } all[] = {{"15,000 values captured", MANY, 1},
               {"a thousand through 18 bodies", 1000, LEVELS},
               {"15,000 through 18 bodies", MANY, LEVELS}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct onnx_build m = {0}, inner = {0};
        model_input(&m);
        char *names = values_around(&m, all[i].count);
        loop_inputs(&inner);
        onnx_node(&inner, "Sum", names, "s", NULL);
        onnx_node(&inner, "Add", "v s", "w", NULL);
        mem_free(names);
        struct hostile_file f = nested(&m, &inner, all[i].levels);
        if (all[i].count * all[i].levels < MODEL_VALUES_MAX) {
            hostile_loaded(all[i].what, &f);
        } else {
            hostile_refused(all[i].what, &f,
                            "'Sum(s)' (Sum): with what its subgraphs capture the model has more");
        }
    }
}

/* A body that only names what it gives: outputs capture, too. */
static void outputs_capture(void **state)
{
    (void)state;
    struct onnx_build m = {0}, inner = {0};
    model_input(&m);
    char *names = values_around(&m, MANY), *save = NULL;
    loop_inputs(&inner);
    onnx_output(&inner, "go", BOOL, 0, none);
    for (char *n = strtok_r(names, " ", &save); n != NULL; n = strtok_r(NULL, " ", &save)) {
        onnx_output(&inner, n, F32, 2, free4);
    }
    mem_free(names);
    for (unsigned i = 1; i < LEVELS; i++) {
        struct onnx_build outer = {0};
        struct strbuf attrs = {0};
        onnx_attr_graph(&attrs, "body", &inner);
        loop_inputs(&outer);
        onnx_node(&outer, "Loop", "- - v", "w", &attrs);
        loop_outputs(&outer, "w");
        inner = outer;
    }
    struct hostile_file f = loop_of(&m, &inner);
    hostile_refused("15,000 outputs through 18 bodies", &f, "(Loop), 'body': the model has more");
}

/* ---- shapes and folding */

static void shapes_that_grow(void **state)
{
    (void)state;
    struct onnx_build m = {0}, body = {0};
    struct strbuf attrs = {0};
    char from[16] = "v", to[16], twice[40];
    model_input(&m);
    loop_inputs(&body);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(to, sizeof to, "v%u", i);
        snprintf(twice, sizeof twice, "%s %s", from, from);
        onnx_attr_int(&attrs, "axis", 1);
        onnx_node(&body, "Concat", twice, to, &attrs);
        memcpy(from, to, sizeof from);
    }
    loop_outputs(&body, to);
    struct hostile_file f = loop_of(&m, &body);
    hostile_refused("doubled sixty times in a body", &f, "(Concat)");
    /* Piled up as often as a number can say. */
    const int64_t count = INT64_MAX;
    model_input(&m);
    onnx_ints(&m, "m", 1, &count);
    loop_inputs(&body);
    loop_outputs(&body, "v");
    onnx_output(&body, "v", F32, 2, free4);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(&m, "Loop", "m - x", "z y", &attrs);
    onnx_output(&m, "y", F32, 2, free4);
    f = hostile_model(&m, 13);
    hostile_refused("piled up without end", &f, "'Loop(z)' (Loop)");
}

static void scans_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *what, *attr, *text;
        int64_t sequences, value;
    } all[] = {{"more sequences than inputs", NULL, "num_scan_inputs", INT64_MAX, 0},
               {"no sequence", NULL, "num_scan_inputs", 0, 0},
               {"an axis far off", "scan_input_axes", "scan_input_axes", 1, INT64_MIN},
               {"a result along no axis", "scan_output_axes", "scan_output_axes", 1, 1 << 30}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct onnx_build m = {0}, body = {0};
        struct strbuf attrs = {0};
        model_input(&m);
        onnx_input(&body, "e", F32, 1, any);
        onnx_node(&body, "Neg", "e", "w", NULL);
        onnx_output(&body, "w", F32, 1, any);
        onnx_attr_graph(&attrs, "body", &body);
        onnx_attr_int(&attrs, "num_scan_inputs", all[i].sequences);
        if (all[i].attr != NULL) {
            onnx_attr_ints(&attrs, all[i].attr, 1, &all[i].value);
        }
        onnx_node(&m, "Scan", "x", "y", &attrs);
        onnx_output(&m, "y", F32, 2, free4);
        struct hostile_file f = hostile_model(&m, 13);
        char *text = mem_printf("'Scan(y)' (Scan): %s", all[i].text);
        hostile_refused(all[i].what, &f, text);
        mem_free(text);
    }
}

static void branch(struct strbuf *attrs, const char *which, struct onnx_build *b, const char *gives)
{
    onnx_output(b, gives, F32, 0, none);
    onnx_attr_graph(attrs, which, b);
}

/* A gigabyte in a branch that the file itself decides for: not made while the model is loaded. The
 * second is read by nobody. */
static void nothing_large_is_folded_in_a_branch(void **state)
{
    (void)state;
    static const char *const sums[] = {"s", "small"};
    static const int64_t size = 1 << 28;
    const float one = 1;
    for (size_t i = 0; i < 2; i++) {
        struct onnx_build m = {0}, then = {0}, other = {0};
        struct strbuf attrs = {0}, t = {0}, keep = {0};
        model_input(&m);
        pb_varint(&t, 2, BOOL);
        pb_text(&t, 8, "yes");
        pb_bytes(&t, 9, "\1", 1);
        pb_message(&m.graph, 5, &t);
        onnx_ints(&then, "size", 1, &size);
        onnx_node(&then, "ConstantOfShape", "size", "big", NULL);
        onnx_attr_int(&keep, "keepdims", 0);
        onnx_node(&then, "ReduceSum", "big", "s", &keep);
        onnx_floats(&then, "k", 0, none, &one);
        onnx_node(&then, "Neg", "k", "small", NULL);
        branch(&attrs, "then_branch", &then, sums[i]);
        onnx_floats(&other, "k", 0, none, &one);
        onnx_node(&other, "Neg", "k", "small", NULL);
        branch(&attrs, "else_branch", &other, "small");
        onnx_node(&m, "If", "yes", "b", &attrs);
        onnx_node(&m, "Add", "x b", "y", NULL);
        onnx_output(&m, "y", F32, 2, free4);
        struct hostile_file f = hostile_model(&m, 13);
        hostile_loaded(i == 0 ? "a gigabyte in a branch" : "a gigabyte that nobody reads", &f);
    }
}

/* Each body may fold, all of them together no more than one. */
static void folding_has_one_budget(void **state)
{
    (void)state;
    static const int64_t size = FOLD_BYTES_BASE / sizeof(float) / 2;
    struct onnx_build m = {0}, inner = {0};
    struct strbuf attrs = {0};
    model_input(&m);
    for (unsigned i = 0; i < LEVELS; i++) {
        struct onnx_build outer = {0};
        loop_inputs(&outer);
        onnx_ints(&outer, "size", 1, &size);
        onnx_node(&outer, "ConstantOfShape", "size", "big", NULL);
        onnx_attr_int(&attrs, "keepdims", 0);
        onnx_node(&outer, "ReduceMax", "big", "s", &attrs);
        if (i > 0) {
            loop_outputs(&inner, "w");
            onnx_attr_graph(&attrs, "body", &inner);
            onnx_node(&outer, "Loop", "- - v", "l", &attrs);
        }
        onnx_node(&outer, "Add", i > 0 ? "l s" : "v s", "w", NULL);
        inner = outer;
    }
    loop_outputs(&inner, "w");
    struct hostile_file f = loop_of(&m, &inner);
    hostile_loaded("2 MiB to fold in each of 18 bodies", &f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_in_bodies),
        cmocka_unit_test(names_that_are_not_there),
        cmocka_unit_test(bodies_that_do_not_fit),
        cmocka_unit_test(dims_that_lie),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(things_by_the_million),
        cmocka_unit_test(captures_multiply),
        cmocka_unit_test(outputs_capture),
        cmocka_unit_test(shapes_that_grow),
        cmocka_unit_test(scans_that_lie),
        cmocka_unit_test(nothing_large_is_folded_in_a_branch),
        cmocka_unit_test(folding_has_one_budget),
    };
    return cmocka_run_group_tests_name("infer/hostile_subgraph", tests, NULL, NULL);
}
