/* tests/unit/infer/session_test.c - what a next model costs on a device that has run one already.
 *
 * Goal:   a model whose kernels are known compiles nothing: in the same process while another holds
 *         them, and in the next one from disk.
 * Method: PoCL's device counts the programs that its compiler made (struct ocl_device, `built`). */
#include "core/clock.h"
#include "core/mem.h"
#include "pe/infer/cl/compiler.h"
#include "pe/infer/cl/tune.h"
#include "pe/infer/load.h"
#include "pe/infer/session.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

/* The choice of tiles is there already: trying them is cl_tune_test's. */
static int make_dir(void **state)
{
    (void)state;
    memcpy(dir, "/tmp/oxbow-session-XXXXXX", sizeof("/tmp/oxbow-session-XXXXXX"));
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    struct ocl_devices *d = ocl_devices_ref(dir);
    char *path = tune_path(ocl_devices_pick(d, OCL_CHOICE_CPU, 0), ocl_devices_cache_dir(d));
    ocl_cache_store(path, "tile 0\n", 7);
    mem_free(path);
    ocl_devices_unref(d);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf %s", dir);
    int rc = system(command);
    mem_free(command);
    return rc;
}

/* Two dense layers; `first` goes into the weights only, `hidden` into the shapes. */
static struct session *open_model(float first, int hidden, bool apart)
{
    struct onnx_build m = {0};
    struct strbuf bytes = {0};
    struct graph *g = NULL;
    struct fail f = {0};
    float *w = mem_array((size_t)hidden * 8, sizeof *w);
    w[0] = first;
    onnx_input(&m, "x", 1, 2, (int[]){-1, 8});
    onnx_floats(&m, "w1", 2, (int[]){8, hidden}, w);
    onnx_floats(&m, "w2", 2, (int[]){hidden, 8}, w);
    onnx_node(&m, "MatMul", "x w1", "h", NULL);
    onnx_node(&m, "Relu", "h", "r", NULL);
    onnx_node(&m, "MatMul", "r w2", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 8});
    onnx_finish(&m, 13, &bytes);
    if (graph_load(bytes.data, bytes.bytes, &g, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    strbuf_fini(&bytes);
    mem_free(w);
    const struct shape row = {.rank = 1, .dims = {8}};
    struct session_options o = {
        .device = "cpu", .batch_max = 32, .cache_dir = dir, .apart = apart, .rows = &row};
    struct session *s = NULL;
    if (session_new(g, &o, &s, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    assert_string_equal(session_kind(s), "cpu");
    return s;
}

/* Programs that were compiled since the devices were found. */
static uint64_t built(struct ocl_devices *d)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ocl_devices_count(d); i++) {
        n += atomic_load(&ocl_devices_at(d, i)->built);
    }
    return n;
}

static void known_kernels_are_not_compiled_again(void **state)
{
    (void)state;
    struct ocl_devices *d = ocl_devices_ref(dir);
    struct session *one = open_model(1, 40, false);
    uint64_t first = built(d);
    assert_true(first > 0);
    struct session *two = open_model(2, 40, true); /* other weights */
    assert_int_equal(built(d), first);
    session_free(one);
    session_free(two);
    ocl_devices_unref(d); /* the last: the process knows nothing any more */

    d = ocl_devices_ref(dir);
    one = open_model(3, 40, true);
    assert_int_equal(built(d), 0);
    session_free(one);
    ocl_devices_unref(d);
}

/* Other sizes of the same layers: only what joins them has to be made, once for all batch sizes. */
static void other_sizes_need_one_program_at_most(void **state)
{
    (void)state;
    struct ocl_devices *d = ocl_devices_ref(dir);
    struct session *one = open_model(1, 40, false);
    uint64_t before = built(d);
    struct session *two = open_model(1, 48, true);
    assert_true(built(d) - before <= 1);
    session_free(one);
    session_free(two);
    ocl_devices_unref(d);
}

/* ---- compiling in a process of its own */

static const char SOURCE[] =
    "__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void twice(__global float *x)\n"
    "{ x[get_global_id(0)] *= 2.0f; }\n";

/* The worker of this build: BUILD/tests/unit/infer/session_test -> BUILD/oxbow-worker. */
static bool find_worker(char out[4096])
{
    ssize_t n = readlink("/proc/self/exe", out, 4000);
    out[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 4 && n > 0; up++) {
        char *slash = strrchr(out, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    strncat(out, "/oxbow-worker", 20);
    return access(out, X_OK) == 0;
}

/* @until_us: gently up to then. */
static void compile_elsewhere(const char *source, uint64_t until_us)
{
    char worker[4096];
    if (!find_worker(worker)) {
        fail_msg("there is no %s: `make unit` builds it first", worker);
    }
    setenv("OXBOW_COMPILER", worker, 1);
    struct ocl_devices *d = ocl_devices_ref(dir);
    struct ocl_device *cpu = ocl_devices_pick(d, OCL_CHOICE_CPU, 0);
    struct ocl_program_request r = {.source = source,
                                    .options = "",
                                    .cache_dir = ocl_devices_cache_dir(d),
                                    .apart = true,
                                    .gently_until_us = until_us};
    assert_true(compiler_run(cpu, &r));
    cl_program p = NULL;
    bool cached = false;
    assert_int_equal(ocl_program_build(cpu, &r, &p, &cached, NULL), ERR_OK);
    assert_true(cached);
    clReleaseProgram(p);
    ocl_devices_unref(d);
}

static void another_process_compiles_into_the_cache(void **state)
{
    (void)state;
    compile_elsewhere(SOURCE, UINT64_MAX);
}

/* It is told to hurry at once. */
static void what_is_gentle_for_too_long_goes_on_in_earnest(void **state)
{
    (void)state;
    char *source = mem_printf("%s// hurry\n", SOURCE);
    compile_elsewhere(source, clock_now_us() + 1000);
    mem_free(source);
}

static void what_no_other_process_compiles_is_compiled_here(void **state)
{
    (void)state;
    static const char *const programs[] = {"/bin/false", "/nonexistent", ""};
    struct ocl_devices *d = ocl_devices_ref(dir);
    struct ocl_device *cpu = ocl_devices_pick(d, OCL_CHOICE_CPU, 0);
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        char *source = mem_printf("%s// %zu\n", SOURCE, i);
        setenv("OXBOW_COMPILER", programs[i], 1);
        struct ocl_program_request r = {
            .source = source, .options = "", .cache_dir = ocl_devices_cache_dir(d), .apart = true};
        assert_false(compiler_run(cpu, &r));
        cl_program p = NULL;
        assert_int_equal(ocl_program_build(cpu, &r, &p, NULL, NULL), ERR_OK);
        clReleaseProgram(p);
        mem_free(source);
    }
    unsetenv("OXBOW_COMPILER");
    ocl_devices_unref(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_kernels_are_not_compiled_again),
        cmocka_unit_test(other_sizes_need_one_program_at_most),
        cmocka_unit_test(another_process_compiles_into_the_cache),
        cmocka_unit_test(what_is_gentle_for_too_long_goes_on_in_earnest),
        cmocka_unit_test(what_no_other_process_compiles_is_compiled_here),
    };
    return cmocka_run_group_tests_name("infer/session", tests, make_dir, remove_dir);
}
