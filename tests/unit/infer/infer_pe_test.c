/* tests/unit/infer/infer_pe_test.c - the PE that runs models: fields in, outputs out, in batches.
 *
 * Method: the test harness runs one PE; models are made here and written to files. */
#include "core/mem.h"
#include "core/sha256.h"
#include "core/strbuf.h"
#include "pe/builtin/builtin.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
    char path[64];
};

static struct file write_model(struct onnx_build *m)
{
    struct file f = {"/tmp/oxbow-model.XXXXXX"};
    struct strbuf bytes = {0};
    int fd = mkstemp(f.path);
    assert_true(fd >= 0);
    onnx_finish(m, 13, &bytes);
    assert_int_equal(write(fd, bytes.data, bytes.bytes), bytes.bytes);
    close(fd);
    strbuf_fini(&bytes);
    return f;
}

/* y = a x + b over f32[N,2] */
static struct file affine(float a, float b)
{
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 2});
    onnx_floats(&m, "a", 1, (int[]){1}, &a);
    onnx_floats(&m, "b", 1, (int[]){1}, &b);
    onnx_node(&m, "Mul", "x a", "ax", NULL);
    onnx_node(&m, "Add", "ax b", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 2});
    return write_model(&m);
}

static char *params_of(const struct file *model, const char *more)
{
    return mem_printf("{\"model\": \"%s\", \"device\": \"reference\"%s}", model->path, more);
}

static struct oxb_harness *start(const struct file *model, const char *more, const char *in,
                                 const char *out)
{
    char err[512] = "";
    char *params = params_of(model, more);
    struct oxb_harness *h = oxb_harness_new(&builtin_infer, params, in, out, err, sizeof err);
    if (h == NULL) {
        fail_msg("%s", err);
    }
    mem_free(params);
    return h;
}

static void check_output(struct oxb_harness *h, const char *want)
{
    assert_string_equal(oxb_harness_output(h, 0), want);
    oxb_harness_free(h);
}

static void the_only_tensor_field_is_the_input(void **state)
{
    (void)state;
    struct file model = affine(2, 1);
    struct oxb_harness *h = start(&model, "", "id: i64, img: f32[2]", "y: f32[2]");
    assert_int_equal(oxb_harness_feed(h, "{\"id\":1,\"img\":[1,2]}\n{\"id\":2,\"img\":[3,4]}\n"),
                     OXB_OK);
    check_output(h, "{\"id\":1,\"img\":[1,2],\"y\":[3,5]}\n{\"id\":2,\"img\":[3,4],\"y\":[7,9]}\n");
    unlink(model.path);
}

static void numbers_are_gathered_in_order_and_outputs_renamed(void **state)
{
    (void)state;
    struct file model = affine(10, 0);
    struct oxb_harness *h =
        start(&model, ", \"in\": {\"x\": [\"b\", \"a\"]}, \"out\": {\"scores\": \"y\"}",
              "a: i64, b: f64", "scores: f32[2]");
    assert_int_equal(oxb_harness_feed(h, "{\"a\":1,\"b\":0.5}\n"), OXB_OK);
    check_output(h, "{\"a\":1,\"b\":0.5,\"scores\":[5,10]}\n");
    unlink(model.path);
}

/* 100 rows in runs of at most 7, fed by 9s: each row once, in order. */
static void batches_of_any_size_keep_rows_and_order(void **state)
{
    (void)state;
    struct file model = affine(1, 0.5f);
    struct oxb_harness *h = start(&model, ", \"batch\": {\"max\": 7, \"delay\": \"1h\"}",
                                  "i: i64, img: f32[2]", "y: f32[2]");
    struct strbuf want = {0};
    for (int row = 0; row < 100;) {
        struct strbuf lines = {0};
        for (int k = 0; k < 9 && row < 100; k++, row++) {
            strbuf_printf(&lines, "{\"i\":%d,\"img\":[%d,0]}\n", row, row);
            strbuf_printf(&want, "{\"i\":%d,\"img\":[%d,0],\"y\":[%d.5,0.5]}\n", row, row, row);
        }
        assert_int_equal(oxb_harness_feed(h, strbuf_text(&lines)), OXB_OK);
        strbuf_fini(&lines);
    }
    assert_int_equal(oxb_harness_finish(h), OXB_OK);
    check_output(h, strbuf_text(&want));
    strbuf_fini(&want);
    unlink(model.path);
}

static void integers_and_classes_come_out_as_scalars(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 3});
    onnx_attr_int(&attrs, "axis", 1);
    onnx_attr_int(&attrs, "keepdims", 0);
    onnx_node(&m, "ArgMax", "x", "class", &attrs);
    onnx_output(&m, "class", 7, 1, (int[]){-1});
    struct file model = write_model(&m);
    struct oxb_harness *h = start(&model, "", "p: f32[3]", "class: i64");
    assert_int_equal(oxb_harness_feed(h, "{\"p\":[1,5,2]}\n{\"p\":[0,0,9]}\n"), OXB_OK);
    check_output(h, "{\"p\":[1,5,2],\"class\":1}\n{\"p\":[0,0,9],\"class\":2}\n");
    unlink(model.path);
}

/* The sum over the whole batch: rows influence each other, so each is run alone. */
static void a_model_that_mixes_rows_is_run_row_by_row(void **state)
{
    (void)state;
    struct onnx_build m = {0};
    struct strbuf attrs = {0};
    const int64_t first[] = {0};
    onnx_input(&m, "x", 1, 2, (int[]){-1, 2});
    onnx_ints(&m, "first", 1, first);
    onnx_attr_int(&attrs, "keepdims", 1);
    onnx_node(&m, "ReduceSum", "x first", "s", &attrs);
    onnx_node(&m, "Add", "x s", "y", NULL);
    onnx_output(&m, "y", 1, 2, (int[]){-1, 2});
    struct file model = write_model(&m);
    struct oxb_harness *h = start(&model, "", "p: f32[2]", "y: f32[2]");
    assert_int_equal(oxb_harness_feed(h, "{\"p\":[1,2]}\n{\"p\":[3,4]}\n"), OXB_OK);
    check_output(h, "{\"p\":[1,2],\"y\":[2,4]}\n{\"p\":[3,4],\"y\":[6,8]}\n");
    unlink(model.path);
}

static void the_digest_of_the_model_is_a_field_if_asked(void **state)
{
    (void)state;
    char digest[SHA256_HEX_BYTES] = "", want[128];
    struct fail f = {0};
    struct file model = affine(2, 0);
    assert_int_equal(sha256_file(model.path, digest, &f), ERR_OK);
    struct oxb_harness *h = start(&model, ", \"digest\": \"by\"", "p: f32[2]",
                                  "y: f32[2], by: str");
    assert_int_equal(oxb_harness_feed(h, "{\"p\":[1,2]}\n{\"p\":[3,4]}\n"), OXB_OK);
    snprintf(want, sizeof want,
             "{\"p\":[1,2],\"y\":[2,4],\"by\":\"%.12s\"}\n"
             "{\"p\":[3,4],\"y\":[6,8],\"by\":\"%.12s\"}\n",
             digest, digest);
    check_output(h, want);
    unlink(model.path);
}

static void refused(const struct file *model, const char *more, const char *in, const char *out,
                    const char *why)
{
    char err[512] = "";
    char *params = params_of(model, more);
    assert_null(oxb_harness_new(&builtin_infer, params, in, out, err, sizeof err));
    if (strstr(err, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err, why);
    }
    mem_free(params);
}

static void what_does_not_fit_is_refused_before_it_starts(void **state)
{
    (void)state;
    struct file model = affine(1, 0), none = {"/nonexistent/model.onnx"};
    refused(&none, "", "p: f32[2]", "y: f32[2]", "/nonexistent/model.onnx");
    refused(&model, "", "p: f32[3]", "y: f32[2]", "have 3 elements");
    refused(&model, ", \"in\": {\"z\": \"p\"}", "p: f32[2]", "y: f32[2]", "no input 'z'");
    refused(&model, ", \"in\": {\"x\": \"q\"}", "p: f32[2]", "y: f32[2]", "the field 'q'");
    refused(&model, "", "p: str", "y: f32[2]", "wants the field");
    refused(&model, "", "p: f32[2]", "y: f32[5]", "2 elements per tuple");
    refused(&model, ", \"batch\": {\"max\": 0}", "p: f32[2]", "y: f32[2]", "batch.max");
    refused(&model, ", \"batch\": {\"size\": 3}", "p: f32[2]", "y: f32[2]", "not `size`");
    refused(&model, ", \"digest\": \"p\"", "p: f32[2]", "y: f32[2]", "text field of its own");
    unlink(model.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_tensor_field_is_the_input),
        cmocka_unit_test(numbers_are_gathered_in_order_and_outputs_renamed),
        cmocka_unit_test(batches_of_any_size_keep_rows_and_order),
        cmocka_unit_test(integers_and_classes_come_out_as_scalars),
        cmocka_unit_test(a_model_that_mixes_rows_is_run_row_by_row),
        cmocka_unit_test(the_digest_of_the_model_is_a_field_if_asked),
        cmocka_unit_test(what_does_not_fit_is_refused_before_it_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
