/* tests/unit/infer/runner_test.c - several batches under way on a device that works beside the
 * host.
 *
 * Goal:   whatever is under way, rows leave once, in order and with the right result; a device that
 *         is lost at any call takes nothing with it.
 * Method: PoCL's device with threads of its own counts as a GPU (OXBOW_CL_AS_GPU), so the GPU's
 *         kernels, copies and queues run.  The model is a dense layer, so that a device has work.
 */
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/builtin/builtin.h"
#include "pe/infer/cl/device.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BATCH 8
#define FEEDS 6

struct scene {
    char model[64];
    struct ocl_devices *devices;
    struct ocl_device *gpu;
    struct oxb_harness
        *keep[2]; /* programs of both devices stay, so that the rest need not compile */
};

static struct scene scene; /* of all tests; tidy: the devices are the process's too */

/* y = x W + b with W = 2 on the diagonal and 1 beside it, b = 0.5; negative sums become 0. */
static void write_model(char path[64])
{
    struct onnx_build m = {0};
    struct strbuf bytes = {0};
    const float w[4] = {2, 1, 1, 2}, b[2] = {0.5f, 0.5f};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 2});
    onnx_floats(&m, "w", 2, (int[]){2, 2}, w);
    onnx_floats(&m, "b", 1, (int[]){2}, b);
    onnx_node(&m, "Gemm", "x w b", "s", NULL);
    onnx_node(&m, "Relu", "s", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 2});
    onnx_finish(&m, 13, &bytes);
    memcpy(path, "/tmp/oxbow-runner.XXXXXX", sizeof "/tmp/oxbow-runner.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.bytes), bytes.bytes);
    close(fd);
    strbuf_fini(&bytes);
}

static struct oxb_harness *start(const char *device, const char *batch)
{
    char err[512] = "";
    char *params = mem_printf("{\"model\": \"%s\", \"device\": \"%s\", \"batch\": %s}", scene.model,
                              device, batch);
    struct oxb_harness *h =
        oxb_harness_new(&builtin_infer, params, "i: i64, p: f32[2]", "y: f32[2]", err, sizeof err);
    mem_free(params);
    if (h == NULL) {
        fail_msg("%s", err);
    }
    return h;
}

/* Rows [from, to), and what must come of them. */
static char *rows_of(int from, int to)
{
    struct strbuf b = {0};
    for (int i = from; i < to; i++) {
        strbuf_printf(&b, "{\"i\":%d,\"p\":[%d,%d]}\n", i, i, i % 3);
    }
    return strbuf_take(&b);
}

static char *results_of(int to)
{
    struct strbuf b = {0};
    for (int i = 0; i < to; i++) {
        strbuf_printf(&b, "{\"i\":%d,\"p\":[%d,%d],\"y\":[%d.5,%d.5]}\n", i, i, i % 3,
                      2 * i + i % 3, i + 2 * (i % 3));
    }
    return strbuf_take(&b);
}

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

static void feed(struct oxb_harness *h, int from, int to)
{
    char *rows = rows_of(from, to);
    if (oxb_harness_feed(h, rows) != OXB_OK) {
        fail_msg("%s", oxb_harness_error(h));
    }
    mem_free(rows);
}

static void all_has_left(struct oxb_harness *h, int rows)
{
    char *want = results_of(rows);
    assert_string_equal(oxb_harness_output(h, 0), want);
    mem_free(want);
}

static int set_up(void **state)
{
    (void)state;
    setenv("OXBOW_CL_AS_GPU", "pthread", 1);
    write_model(scene.model);
    scene.devices = ocl_devices_ref(NULL);
    scene.gpu = ocl_devices_pick(scene.devices, OCL_CHOICE_GPU, 0);
    if (scene.gpu == NULL || scene.gpu->synchronous) {
        return -1;
    }
    scene.keep[0] = start("gpu", "{\"max\": 8}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oxb_harness_free(scene.keep[0]);
    if (scene.keep[1] != NULL) {
        oxb_harness_free(scene.keep[1]);
    }
    ocl_devices_unref(scene.devices);
    return unlink(scene.model);
}

static void one_run_stays_under_way_until_another_is_started(void **state)
{
    (void)state;
    struct oxb_harness *h = start("gpu", "{\"max\": 8}");
    for (int k = 0; k < FEEDS; k++) {
        feed(h, k * BATCH, (k + 1) * BATCH);
        assert_int_equal(lines_of(oxb_harness_output(h, 0)), k * BATCH);
    }
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    all_has_left(h, FEEDS * BATCH);
    oxb_harness_free(h);
}

/* The smallest program, the largest and those between take turns with the slots. */
static void runs_of_all_sizes_keep_their_order(void **state)
{
    (void)state;
    struct oxb_harness *h = start("gpu", "{\"max\": 8}");
    int row = 0;
    for (int k = 0; k < 40; k++) {
        int rows = 1 + k * 5 % 19;
        feed(h, row, row + rows);
        row += rows;
    }
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    all_has_left(h, row);
    oxb_harness_free(h);
}

/* What waits for company is started by the timer, and read too. */
static void a_timer_reads_what_is_under_way(void **state)
{
    (void)state;
    struct oxb_harness *h = start("gpu", "{\"max\": 8, \"delay\": \"1ms\"}");
    feed(h, 0, 2 * BATCH + 3);
    assert_int_equal(lines_of(oxb_harness_output(h, 0)), BATCH);
    while (lines_of(oxb_harness_output(h, 0)) < 2 * BATCH + 3) {
        assert_int_equal(oxb_harness_run(h, 1), OXB_OK);
    }
    all_has_left(h, 2 * BATCH + 3);
    oxb_harness_free(h);
}

static void nothing_leaves_after_a_stop(void **state)
{
    (void)state;
    struct oxb_harness *h = start("gpu", "{\"max\": 8}");
    feed(h, 0, 2 * BATCH);
    oxb_harness_free(h); /* one is under way */
}

/* The n-th call of the device fails, for every n; nothing but the device is lost.  Of 6 runs some
 * are under way, started or read at that time. */
static void a_device_lost_at_any_call_loses_no_row(void **state)
{
    (void)state;
    unsigned lost = 0;
    bool fired = true;
    scene.keep[1] = start("cpu", "{\"max\": 8}");
    for (int n = 1; fired; n++) {
        struct oxb_harness *h = start("gpu", "{\"max\": 8}");
        feed(h, 0, BATCH);
        atomic_store(&scene.gpu->fail_in, n);
        for (int k = 1; k < FEEDS; k++) {
            feed(h, k * BATCH, (k + 1) * BATCH);
        }
        if (oxb_harness_finish(h) != OXB_OK) {
            fail_msg("call %d: %s", n, oxb_harness_error(h));
        }
        fired = atomic_exchange(&scene.gpu->fail_in, 0) <= 0;
        lost += fired;
        assert_true(atomic_load(&scene.gpu->lost) == fired);
        atomic_store(&scene.gpu->lost, false);
        all_has_left(h, FEEDS * BATCH);
        oxb_harness_free(h);
    }
    assert_true(lost >= 3 * (FEEDS - 1)); /* a run copies in, starts and copies out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_stays_under_way_until_another_is_started),
        cmocka_unit_test(runs_of_all_sizes_keep_their_order),
        cmocka_unit_test(a_timer_reads_what_is_under_way),
        cmocka_unit_test(nothing_leaves_after_a_stop),
        cmocka_unit_test(a_device_lost_at_any_call_loses_no_row),
    };
    return cmocka_run_group_tests_name("infer/runner", tests, set_up, tear_down);
}
