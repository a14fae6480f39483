/* tests/unit/builtin/sinks_test.c - file-sink and stdout-sink.
 *
 * Goal:   lines reach the file in order, at flush and at the end; formats; names with parallelism;
 *         truncation only when fresh; a full disk is an error that loses and doubles nothing.
 * Method: files in a folder of the test's own; /dev/full for a full disk; the standard output
 *         replaced by a file. */
#include "core/file.h"
#include "core/mem.h"
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SCHEMA "n: i64, s: str"

static const char path[] = "out"; /* in a folder of the test's own, where it runs */

static int enter_folder(void **state)
{
    char folder[] = "/tmp/oxbow-test-XXXXXX";
    (void)state;
    return mkdtemp(folder) != NULL ? chdir(folder) : -1;
}

static int remove_folder(void **state)
{
    char folder[64];
    (void)state;
    unlink("out");
    unlink("out.1");
    return getcwd(folder, sizeof folder) != NULL && chdir("/") == 0 ? rmdir(folder) : -1;
}

static void expect_file(const char *name, const char *wanted)
{
    char *data;
    size_t bytes;
    assert_int_equal(file_read(name, 1u << 24, &data, &bytes, NULL), ERR_OK);
    assert_string_equal(data, wanted);
    mem_free(data);
}

static bool open_sink(struct pe_run *r, const char *to, const char *rest, unsigned index,
                      unsigned count)
{
    char *params = mem_printf("{\"path\":\"%s\"%s}", to, rest);
    bool good = pe_run_open(r, &builtin_file_sink, params, SCHEMA, NULL, index, count);
    mem_free(params);
    return good;
}

static void lines_are_in_the_file_after_a_flush(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(open_sink(&r, path, "", 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_feed(&r, "{\"n\":1,\"s\":\"a\\tb\"}\n{\"n\":2,\"s\":\"\"}"), OXB_OK);
    expect_file(path, "");
    assert_int_equal(pe_flush_sink(r.pe), OXB_OK);
    expect_file(path, "{\"n\":1,\"s\":\"a\\tb\"}\n{\"n\":2,\"s\":\"\"}\n");
    const uint16_t sel[] = {1};
    assert_int_equal(pe_run_sel(&r, "{\"n\":3,\"s\":\"\"}\n{\"n\":4,\"s\":\"\"}", sel, 1), OXB_OK);
    assert_int_equal(pe_finish(r.pe), OXB_OK);
    expect_file(path, "{\"n\":1,\"s\":\"a\\tb\"}\n{\"n\":2,\"s\":\"\"}\n{\"n\":4,\"s\":\"\"}\n");
    pe_run_close(&r);
}

static void tsv_and_the_number_of_the_instance(void **state)
{
    (void)state;
    struct pe_run r;
    char numbered[72];
    snprintf(numbered, sizeof numbered, "%s.1", path);
    assert_true(open_sink(&r, path, ",\"format\":\"tsv\"", 1, 2));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_feed(&r, "{\"n\":1,\"s\":\"a\\tb\"}"), OXB_OK);
    pe_run_close(&r); /* stopping writes out what is buffered */
    expect_file(numbered, "1\ta\\tb\n");
}

static void a_fresh_sink_truncates_and_any_other_appends(void **state)
{
    (void)state;
    struct pe_run a;
    struct pe_run b;
    void *saved;
    size_t bytes;
    assert_true(open_sink(&a, path, "", 0, 1));
    assert_true(pe_run_start(&a));
    expect_file(path, "");
    assert_int_equal(pe_run_feed(&a, "{\"n\":1,\"s\":\"\"}"), OXB_OK);
    assert_int_equal(pe_snapshot(a.pe, &saved, &bytes), ERR_OK);
    pe_run_close(&a);
    assert_true(open_sink(&b, path, "", 0, 1));
    assert_int_equal(pe_restore(b.pe, saved, bytes, 2, &b.fail), ERR_OK);
    assert_true(pe_run_start(&b));
    assert_int_equal(pe_run_feed(&b, "{\"n\":2,\"s\":\"\"}"), OXB_OK);
    pe_run_close(&b);
    expect_file(path, "{\"n\":1,\"s\":\"\"}\n{\"n\":2,\"s\":\"\"}\n");
    char numbered[72];
    snprintf(numbered, sizeof numbered, "%s.1", path);
    assert_int_equal(file_write_safe(numbered, "before\n", 7, NULL), ERR_OK);
    assert_true(open_sink(&b, path, "", 1, 2)); /* another file, which it may have written before */
    assert_int_equal(pe_restore(b.pe, saved, bytes, 2, &b.fail), ERR_OK);
    assert_true(pe_run_start(&b));
    pe_run_close(&b);
    free(saved);
    expect_file(numbered, "before\n");
    assert_true(open_sink(&b, path, "", 1, 2));
    assert_true(pe_run_start(&b));
    pe_run_close(&b);
    expect_file(numbered, "");
}

static void a_full_disk_is_an_error_with_path_and_reason(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(open_sink(&r, "/dev/full", "", 0, 1));
    assert_true(pe_run_start(&r));
    char row[] = "{\"n\":1,\"s\":\"0123456789012345678901234567890123456789\"}\n";
    struct strbuf rows = {0};
    for (unsigned i = 0; i < 900; i++) {
        strbuf_text_add(&rows, row);
    }
    assert_int_equal(pe_run_feed(&r, strbuf_text(&rows)), OXB_OK);
    assert_int_equal(pe_run_feed(&r, strbuf_text(&rows)), OXB_OK);
    for (unsigned i = 0; i < 2; i++) { /* refused before anything of it was taken */
        assert_int_equal(pe_run_feed(&r, strbuf_text(&rows)), OXB_ERROR);
        assert_string_equal(pe_error(r.pe), "/dev/full: cannot write: No space left on device");
    }
    strbuf_fini(&rows);
    assert_int_equal(pe_finish(r.pe), OXB_ERROR);
    pe_run_close(&r);
    assert_false(open_sink(&r, "/nowhere/at/all", "", 0, 1)); /* before it would start */
    assert_non_null(strstr(r.fail.what, "/nowhere/at/all: cannot open it"));
    pe_run_close(&r);
    assert_false(open_sink(&r, "/tmp", "", 0, 1));
    assert_non_null(strstr(r.fail.what, "/tmp: cannot open it for writing on "));
    assert_non_null(strstr(r.fail.what, ": Is a directory"));
    pe_run_close(&r);
}

static void many_batches_arrive_whole(void **state)
{
    (void)state;
    struct pe_run r;
    struct strbuf wanted = {0};
    assert_true(open_sink(&r, path, "", 0, 1));
    assert_true(pe_run_start(&r));
    for (unsigned i = 0; i < 200; i++) {
        struct strbuf rows = {0};
        for (unsigned k = 0; k < 40; k++) {
            strbuf_printf(&rows, "{\"n\":%u,\"s\":\"batch %u of many\"}\n", k, i);
        }
        strbuf_text_add(&wanted, strbuf_text(&rows));
        assert_int_equal(pe_run_feed(&r, strbuf_text(&rows)), OXB_OK);
        strbuf_fini(&rows);
    }
    assert_int_equal(pe_finish(r.pe), OXB_OK);
    expect_file(path, strbuf_text(&wanted));
    strbuf_fini(&wanted);
    pe_run_close(&r);
}

static void stdout_sink_prints_when_input_pauses(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(pe_run_open(&r, &builtin_stdout_sink, "{}", SCHEMA, NULL, 0, 1));
    assert_true(pe_run_start(&r));
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(dup2(fileno(f), STDOUT_FILENO) >= 0);
    int fed = pe_run_feed(&r, "{\"n\":1,\"s\":\"a\"}");
    int flushed = pe_flush_sink(r.pe);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    fclose(f);
    assert_int_equal(fed, OXB_OK);
    assert_int_equal(flushed, OXB_OK);
    expect_file(path, "{\"n\":1,\"s\":\"a\"}\n");
    pe_run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_in_the_file_after_a_flush),
        cmocka_unit_test(tsv_and_the_number_of_the_instance),
        cmocka_unit_test(a_fresh_sink_truncates_and_any_other_appends),
        cmocka_unit_test(a_full_disk_is_an_error_with_path_and_reason),
        cmocka_unit_test(many_batches_arrive_whole),
        cmocka_unit_test(stdout_sink_prints_when_input_pauses),
    };
    return cmocka_run_group_tests(tests, enter_folder, remove_folder);
}
