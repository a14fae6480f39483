/* tests/unit/infer/subgraph_share_test.c - copies of one model on several threads share its bodies.
 *
 * Goal:   while threads copy, specialise, compile, run and drop models with Loop, Scan and If, the
 *         bodies that the copies share stay as they are, and go with the last copy, whoever has it.
 * Method: each thread takes copies of copies, as the helpers that load for a batch size do; the
 *         model they come from is dropped meanwhile.  `make SAN=thread` sees what is not ordered,
 *         `make SAN=address` what is freed too early or not at all. */
#include "core/mem.h"
#include "pe/infer/compiled.h"
#include "pe/infer/exec.h"
#include "pe/infer/load.h"
#include "pe/infer/specialise.h"
#include "tests/support/onnx_build.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { F32 = 1, I64 = 7, BOOL = 9, THREADS = 3, ROUNDS = 200 };
static const int none[] = {0}, two[] = {2}, pairs[] = {3, 2};

/* ---- the model: y = x doubled (a Loop, twice) plus all of xs (a Scan), or less (an If) */

static void add_loop(struct onnx_build *m)
{
    static const int64_t count = 2;
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    onnx_ints(m, "count", 1, &count);
    onnx_input(&body, "trip", I64, 0, none);
    onnx_input(&body, "go", BOOL, 0, none);
    onnx_input(&body, "v", F32, 1, two);
    onnx_node(&body, "Add", "v x", "w", NULL);
    onnx_output(&body, "go", BOOL, 0, none);
    onnx_output(&body, "w", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_node(m, "Loop", "count - x", "l", &attrs);
}

static void add_scan(struct onnx_build *m)
{
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    onnx_input(&body, "v", F32, 1, two);
    onnx_input(&body, "e", F32, 1, two);
    onnx_node(&body, "Add", "v e", "w", NULL);
    onnx_output(&body, "w", F32, 1, two);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    onnx_node(m, "Scan", "l xs", "s", &attrs);
}

static struct graph *load(void)
{
    struct onnx_build m = {0}, then = {0}, other = {0};
    struct strbuf attrs = {0}, bytes = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    onnx_input(&m, "c", BOOL, 0, none);
    onnx_input(&m, "x", F32, 1, two);
    onnx_input(&m, "xs", F32, 2, pairs);
    add_loop(&m);
    add_scan(&m);
    onnx_node(&then, "Neg", "s", "t", NULL);
    onnx_output(&then, "t", F32, 1, two);
    onnx_attr_graph(&attrs, "then_branch", &then);
    onnx_node(&other, "Identity", "s", "o", NULL);
    onnx_output(&other, "o", F32, 1, two);
    onnx_attr_graph(&attrs, "else_branch", &other);
    onnx_node(&m, "If", "c", "y", &attrs);
    onnx_output(&m, "y", F32, 1, two);
    onnx_finish(&m, 13, &bytes);
    if (graph_load(bytes.data, bytes.bytes, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    strbuf_fini(&bytes);
    return g;
}

/* ---- threads */

struct user {
    struct graph *mine; /* a copy that it drops */
    pthread_barrier_t *all_have_one;
    pthread_t thread;
    unsigned wrong; /* results */
};

static bool is_right(const struct tensor *y, bool c)
{
    float sign = c ? -1 : 1;
    return y->data != NULL && tensor_f32(y)[0] == sign * (3 + 9) &&
           tensor_f32(y)[1] == sign * (6 + 12);
}

static unsigned run_compiled(const struct graph *model, const struct tensor *in, bool c)
{
    struct tensor types[3], y = {.dtype = DT_NONE};
    struct compile_target target = {.backend = &backend_host, .fuse = true};
    struct compiled *compiled = NULL;
    struct fail f = {0};
    struct graph *g = graph_clone(model);
    for (size_t i = 0; i < 3; i++) {
        types[i] = tensor_borrow(in[i].dtype, &in[i].shape, NULL);
    }
    if (graph_specialise(g, types, &f) != ERR_OK) {
        graph_free(g);
        return 1;
    }
    enum err e = compiled_new(g, &target, &compiled, &f);
    e = e == ERR_OK ? compiled_run_tensors(compiled, in, &y, &f) : e;
    unsigned wrong = e == ERR_OK && is_right(&y, c) ? 0 : 1;
    tensor_fini(&y);
    compiled_free(compiled);
    return wrong;
}

static unsigned run_once(const struct graph *model, bool c)
{
    struct shape scalar = {.rank = 0}, list = shape_of(1, 2), lists = shape_of(2, 3, 2);
    float x[] = {1, 2}, xs[] = {1, 2, 3, 4, 5, 6};
    struct tensor in[] = {tensor_borrow(DT_BOOL, &scalar, &c), tensor_borrow(DT_F32, &list, x),
                          tensor_borrow(DT_F32, &lists, xs)};
    struct tensor y = {.dtype = DT_NONE};
    struct fail f = {0};
    struct graph *copy = graph_clone(model);
    unsigned wrong = graph_run(copy, in, &y, &f) == ERR_OK && is_right(&y, c) ? 0 : 1;
    tensor_fini(&y);
    graph_free(copy);
    return wrong + run_compiled(model, in, c);
}

static void *use(void *arg)
{
    struct user *u = arg;
    pthread_barrier_wait(u->all_have_one);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct graph *next = graph_clone(u->mine);
        graph_free(u->mine);
        u->mine = next;
        u->wrong += run_once(u->mine, i % 2 == 0);
    }
    graph_free(u->mine);
    return NULL;
}

static void copies_on_many_threads_share_their_bodies(void **state)
{
    (void)state;
    struct graph *model = load();
    struct user users[THREADS];
    pthread_barrier_t all_have_one;
    assert_int_equal(pthread_barrier_init(&all_have_one, NULL, THREADS + 1), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (struct user){.mine = graph_clone(model), .all_have_one = &all_have_one};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
    const struct attr *body = node_attr(&model->nodes[0], "body");
    assert_ptr_equal(body->graph, node_attr(&users[0].mine->nodes[0], "body")->graph);
    pthread_barrier_wait(&all_have_one);
    graph_free(model); /* while all use what it shares */
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(users[i].thread, NULL), 0);
        assert_int_equal(users[i].wrong, 0);
    }
    pthread_barrier_destroy(&all_have_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_on_many_threads_share_their_bodies),
    };
    return cmocka_run_group_tests_name("infer/subgraph_share", tests, NULL, NULL);
}
