/* tests/unit/infer/cl_device_test.c - devices, what a status means, programs and their cache.
 *
 * Goal:   a damaged cache costs time, never a program; a lost device is told apart from a fault.
 * Method: a real OpenCL device (PoCL); files damaged in every place; failures on order. */
#include "core/file.h"
#include "core/mem.h"
#include "pe/infer/cl/kernels.h"
#include "pe/infer/cl/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
    struct ocl_devices *devices;
    struct ocl_device *cpu;
};

static char dir[64]; /* one for the process: PoCL reads its own setting once */

static int make_dir(void **state)
{
    (void)state;
    memcpy(dir, "/tmp/oxbow-cl-XXXXXX", sizeof("/tmp/oxbow-cl-XXXXXX"));
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_below(const char *what)
{
    char *command = mem_printf("rm -rf %s%s", dir, what);
    int rc = system(command);
    mem_free(command);
    return rc;
}

static int remove_dir(void **state)
{
    (void)state;
    return remove_below("");
}

static int setup(void **state)
{
    struct scene *s = mem_alloc(sizeof(*s));
    s->devices = ocl_devices_ref(dir);
    s->cpu = ocl_devices_pick(s->devices, OCL_CHOICE_CPU, 0);
    assert_non_null(s->cpu);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    ocl_devices_unref(s->devices);
    mem_free(s);
    return remove_below("/cl/program-*");
}

static void the_synchronous_cpu_device_is_preferred(void **state)
{
    struct scene *s = *state;
    assert_true(s->cpu->synchronous);
    assert_true(s->cpu->unified);
    assert_int_equal(s->cpu->kind, OCL_CPU);
    assert_true(s->cpu->lanes == 8 || s->cpu->lanes == 16);
    assert_ptr_equal(ocl_devices_pick(s->devices, OCL_CHOICE_CPU, 7), s->cpu);
}

static void both_spellings_of_the_synchronous_device_are_known(void **state)
{
    (void)state;
    assert_true(ocl_device_is_synchronous_name("basic-skylake-avx512-X", "OpenCL 3.0 PoCL HSTR"));
    assert_true(ocl_device_is_synchronous_name("cpu-minimal-znver4-X", "OpenCL 3.0 PoCL HSTR"));
    assert_false(ocl_device_is_synchronous_name("pthread-skylake", "OpenCL 3.0 PoCL HSTR"));
    assert_false(ocl_device_is_synchronous_name("cpu-znver4", "OpenCL 3.0 PoCL HSTR"));
    assert_false(ocl_device_is_synchronous_name("basic", "OpenCL 3.0 Other"));
}

static void choices_are_parsed(void **state)
{
    (void)state;
    enum ocl_choice c = OCL_CHOICE_ANY;
    assert_true(ocl_device_choice_parse("gpu", &c));
    assert_int_equal(c, OCL_CHOICE_GPU);
    assert_true(ocl_device_choice_parse("cpu", &c));
    assert_int_equal(c, OCL_CHOICE_CPU);
    assert_true(ocl_device_choice_parse("any", &c));
    assert_int_equal(c, OCL_CHOICE_ANY);
    assert_false(ocl_device_choice_parse("tpu", &c));
}

static void a_status_is_a_loss_a_lack_or_a_fault(void **state)
{
    struct scene *s = *state;
    struct fail f = {0};
    assert_int_equal(ocl_device_check(s->cpu, CL_SUCCESS, "x", &f), ERR_OK);
    assert_int_equal(ocl_device_check(s->cpu, CL_MEM_OBJECT_ALLOCATION_FAILURE, "x", &f),
                     ERR_NOMEM);
    assert_int_equal(ocl_device_check(s->cpu, CL_INVALID_KERNEL_ARGS, "clSome", &f), ERR_INVALID);
    assert_non_null(strstr(f.what, "clSome"));
    assert_non_null(strstr(f.what, "CL_INVALID_KERNEL_ARGS"));
    assert_false(atomic_load(&s->cpu->lost));
    assert_int_equal(ocl_device_check(s->cpu, -9999, "x", &f), ERR_IO); /* a driver's own */
    assert_true(atomic_load(&s->cpu->lost));
}

static void a_lost_device_is_not_picked_again(void **state)
{
    struct scene *s = *state;
    atomic_store(&s->cpu->fail_in, 2);
    assert_int_equal(ocl_device_check(s->cpu, CL_SUCCESS, "x", NULL), ERR_OK);
    assert_int_equal(ocl_device_check(s->cpu, CL_SUCCESS, "x", NULL), ERR_IO);
    assert_int_equal(ocl_device_check(s->cpu, CL_SUCCESS, "x", NULL), ERR_OK);
    struct ocl_device *next = ocl_devices_pick(s->devices, OCL_CHOICE_CPU, 0);
    assert_ptr_not_equal(next, s->cpu);
}

/* ---- programs */

static const char SOURCE[] =
    "__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void twice(__global float *x)\n"
    "{ x[get_global_id(0)] *= 2.0f; }\n";

static void check_twice(struct ocl_device *d, cl_program program)
{
    cl_command_queue q = NULL;
    assert_int_equal(ocl_device_queue_new(d, &q, NULL), ERR_OK);
    float x[4] = {1, 2, 3, 4};
    cl_int status = 0;
    cl_mem m = clCreateBuffer(d->context, CL_MEM_COPY_HOST_PTR, sizeof(x), x, &status);
    assert_int_equal(status, CL_SUCCESS);
    cl_kernel k = clCreateKernel(program, "twice", &status);
    assert_int_equal(status, CL_SUCCESS);
    assert_int_equal(clSetKernelArg(k, 0, sizeof(m), &m), CL_SUCCESS);
    size_t global = 4, one = 1;
    assert_int_equal(clEnqueueNDRangeKernel(q, k, 1, NULL, &global, &one, 0, NULL, NULL),
                     CL_SUCCESS);
    assert_int_equal(clEnqueueReadBuffer(q, m, CL_TRUE, 0, sizeof(x), x, 0, NULL, NULL),
                     CL_SUCCESS);
    for (int i = 0; i < 4; i++) {
        assert_true(x[i] == 2.0f * (float)(i + 1));
    }
    clReleaseKernel(k);
    clReleaseMemObject(m);
    clReleaseCommandQueue(q);
    clReleaseProgram(program);
}

/* build_twice - Return: whether the cache had it. */
static bool build_twice(struct scene *s)
{
    struct ocl_program_request r = {SOURCE, "", ocl_devices_cache_dir(s->devices), false, 0};
    assert_non_null(r.cache_dir);
    cl_program p = NULL;
    bool cached = false;
    assert_int_equal(ocl_program_build(s->cpu, &r, &p, &cached, NULL), ERR_OK);
    check_twice(s->cpu, p);
    return cached;
}

static void a_program_is_compiled_once_and_then_loaded(void **state)
{
    struct scene *s = *state;
    assert_false(build_twice(s));
    assert_true(build_twice(s));
}

static void a_damaged_cache_file_is_compiled_anew_and_replaced(void **state)
{
    struct scene *s = *state;
    assert_false(build_twice(s));
    char *path = ocl_cache_path(s->cpu, ocl_devices_cache_dir(s->devices), "program", "", SOURCE);
    char *whole = NULL;
    size_t bytes = 0;
    assert_int_equal(file_read(path, 1u << 30, &whole, &bytes, NULL), ERR_OK);
    const size_t places[] = {0, 9, 17, 30, bytes / 2, bytes - 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        whole[places[i]] ^= 0x40;
        assert_int_equal(file_write_safe(path, whole, bytes, NULL), ERR_OK);
        whole[places[i]] ^= 0x40;
        assert_false(build_twice(s));
        assert_true(build_twice(s));
    }
    const size_t lengths[] = {0, 8, 23, 24, bytes / 2};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(file_write_safe(path, whole, lengths[i], NULL), ERR_OK);
        assert_false(build_twice(s));
    }
    mem_free(whole);
    mem_free(path);
}

static void a_whole_file_that_the_driver_refuses_is_compiled_anew(void **state)
{
    struct scene *s = *state;
    char *path = ocl_cache_path(s->cpu, ocl_devices_cache_dir(s->devices), "program", "", SOURCE);
    ocl_cache_store(path, "not a binary at all", 19);
    assert_false(build_twice(s));
    assert_true(build_twice(s));
    mem_free(path);
}

static void a_cache_that_cannot_be_written_costs_nothing_but_time(void **state)
{
    struct scene *s = *state;
    struct ocl_program_request r = {SOURCE, "", "/proc/no/such/folder", true, 0};
    cl_program p = NULL;
    bool cached = true;
    assert_int_equal(ocl_program_build(s->cpu, &r, &p, &cached, NULL), ERR_OK);
    assert_false(cached);
    check_twice(s->cpu, p);
}

static void text_that_does_not_compile_is_refused_with_the_log(void **state)
{
    struct scene *s = *state;
    struct ocl_program_request r = {"__kernel void f(__global float *x) { x[0] = nosuch; }", "",
                                    NULL, true, 0};
    cl_program p = NULL;
    struct fail f = {0};
    assert_int_equal(ocl_program_build(s->cpu, &r, &p, NULL, &f), ERR_INVALID);
    assert_non_null(strstr(f.what, "nosuch"));
}

static void kernels_travel_inside_the_library(void **state)
{
    (void)state;
    assert_non_null(strstr(ocl_kernel_text("part"), "CPU_KERNEL"));
    assert_non_null(strstr(ocl_kernel_text("gemm_cpu"), "gemm"));
    assert_null(ocl_kernel_text("nosuch"));
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_synchronous_cpu_device_is_preferred),
        T(both_spellings_of_the_synchronous_device_are_known),
        T(choices_are_parsed),
        T(a_status_is_a_loss_a_lack_or_a_fault),
        T(a_lost_device_is_not_picked_again),
        T(a_program_is_compiled_once_and_then_loaded),
        T(a_damaged_cache_file_is_compiled_anew_and_replaced),
        T(a_whole_file_that_the_driver_refuses_is_compiled_anew),
        T(a_cache_that_cannot_be_written_costs_nothing_but_time),
        T(text_that_does_not_compile_is_refused_with_the_log),
        T(kernels_travel_inside_the_library),
    };
    return cmocka_run_group_tests_name("infer/cl_device", tests, make_dir, remove_dir);
}
