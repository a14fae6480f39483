/* tests/unit/builtin/file_source_test.c - reading files.
 *
 * Goal:   odd endings, wrong bytes, formats, errors with their place, ranges over instances,
 *         repetition, snapshots, following through truncation and rotation.
 * Method: small files in a folder of the test's own; what comes out as JSON lines. */
#include "core/mem.h"
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE "line: str"

static const char path[] = "in"; /* in a folder of the test's own, where it runs */

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
    unlink("in");
    unlink("in.1");
    return getcwd(folder, sizeof folder) != NULL && chdir("/") == 0 ? rmdir(folder) : -1;
}

static void put(const char *mode, const char *text, size_t bytes)
{
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* open_source - `rest` are further parameters, with a comma before them. */
static bool open_source(struct pe_run *r, const char *rest, const char *schema, unsigned index,
                        unsigned count)
{
    char *params = mem_printf("{\"path\":\"%s\"%s}", path, rest);
    bool good = pe_run_open(r, &builtin_file_source, params, NULL, schema, index, count);
    mem_free(params);
    return good;
}

static void expect(const char *file, const char *rest, const char *schema, const char *wanted)
{
    struct pe_run r;
    put("w", file, strlen(file));
    assert_true(open_source(&r, rest, schema, 0, 1));
    assert_true(pe_run_start(&r));
    if (pe_run_to_end(&r) != OXB_END) {
        fail_msg("%s", pe_error(r.pe));
    }
    assert_string_equal(pe_run_text(&r), wanted);
    pe_run_close(&r);
}

static void expect_error(const char *file, const char *rest, const char *schema, const char *why)
{
    struct pe_run r;
    put("w", file, strlen(file));
    assert_true(open_source(&r, rest, schema, 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_to_end(&r), OXB_ERROR);
    if (strstr(pe_error(r.pe), why) == NULL) {
        fail_msg("`%s` is not in `%s`", why, pe_error(r.pe));
    }
    pe_run_close(&r);
}

static void lines_of_any_ending_are_read(void **state)
{
    (void)state;
    expect("", "", LINE, "");
    expect("\n", "", LINE, "{\"line\":\"\"}\n");
    expect("a\nb", "", LINE, "{\"line\":\"a\"}\n{\"line\":\"b\"}\n");
    expect("a\r\n\r\nb\r\n", "", LINE, "{\"line\":\"a\"}\n{\"line\":\"\"}\n{\"line\":\"b\"}\n");
    expect("x\n", ",\"repeat\":3", LINE, "{\"line\":\"x\"}\n{\"line\":\"x\"}\n{\"line\":\"x\"}\n");
    expect("", ",\"repeat\":1000000000", LINE, "");
}

static void malformed_utf_8_is_replaced_only_where_it_is(void **state)
{
    (void)state;
    expect("ok \xc3\xa9\n\xff|\xc3\n\xe2\x82|\xed\xa0\x80\n\xf0\x9f\x98\x80\n", "", LINE,
           "{\"line\":\"ok \xc3\xa9\"}\n"
           "{\"line\":\"\xef\xbf\xbd|\xef\xbf\xbd\"}\n"
           "{\"line\":\"\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}\n"
           "{\"line\":\"\xf0\x9f\x98\x80\"}\n");
}

static void json_lines_fill_the_declared_fields(void **state)
{
    (void)state;
    expect("{\"s\":\"x\",\"n\":1}\n\n  \n{\"n\":2,\"s\":\"y\"}", ",\"format\":\"jsonl\"",
           "n: i64, s: str", "{\"n\":1,\"s\":\"x\"}\n{\"n\":2,\"s\":\"y\"}\n");
    expect_error("{\"n\":1}\n{\"n\":\"x\"}\n", ",\"format\":\"jsonl\"", "n: i64", "in:2: ");
    expect_error("{\"n\":1}\n\n{\"n\":", ",\"format\":\"jsonl\"", "n: i64", "in:3: ");
}

static void csv_columns_are_found_by_name(void **state)
{
    (void)state;
    static const char schema[] = "n: i64, s: str, f: f64, b: bool, t: time";
    expect("\xef\xbb\xbfs,extra,b,n,f,t\r\n"
           "\"a \"\"b\"\", c\",-,true,-3,0.5,2026-01-02T03:04:05Z\r\n"
           "\"two\nlines\",,0,4,1e3,1000000\r\n"
           "\r\n"
           "\"\",,1,5,2,0",
           ",\"format\":\"csv\"", schema,
           "{\"n\":-3,\"s\":\"a \\\"b\\\", c\",\"f\":0.5,\"b\":true,"
           "\"t\":\"2026-01-02T03:04:05.000000Z\"}\n"
           "{\"n\":4,\"s\":\"two\\nlines\",\"f\":1000.0,\"b\":false,"
           "\"t\":\"1970-01-01T00:00:01.000000Z\"}\n"
           "{\"n\":5,\"s\":\"\",\"f\":2.0,\"b\":true,\"t\":\"1970-01-01T00:00:00.000000Z\"}\n");
    expect("n\n1\n2\n", ",\"format\":\"csv\",\"repeat\":2", "n: i64",
           "{\"n\":1}\n{\"n\":2}\n{\"n\":1}\n{\"n\":2}\n");
}

static void csv_errors_name_the_line(void **state)
{
    (void)state;
    static const char csv[] = ",\"format\":\"csv\"";
    expect_error("", csv, "n: i64", "in:1: there is no header");
    expect_error("a,b\n1,2\n", csv, "n: i64", "in:1: the header has no column `n`");
    expect_error("n\n1\nx\n", csv, "n: i64", "in:3: column `n` is not a whole number");
    expect_error("a,n\n\"\n\",1\n\n2\n", csv, "n: i64", "in:5: column `n` is missing");
    expect_error("n\n\"1\n", csv, "n: i64", "in:2: a quote is never closed");
    expect_error("n\n\n", csv, "n: i64, m: f32[2]", "no column `m`");
}

static void what_is_no_file_is_an_error_before_it_starts(void **state)
{
    (void)state;
    struct pe_run r;
    unlink(path);
    assert_false(open_source(&r, "", LINE, 0, 1));
    assert_non_null(strstr(r.fail.what, "No such file"));
    pe_run_close(&r);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(open_source(&r, "", LINE, 0, 1));
    assert_non_null(strstr(r.fail.what, "a folder"));
    pe_run_close(&r);
    rmdir(path);
    assert_false(open_source(&r, ",\"follow\":true", LINE, 0, 2));
    pe_run_close(&r);
    assert_false(open_source(&r, ",\"format\":\"csv\"", "n: i64", 0, 2));
    pe_run_close(&r);
}

static void instances_share_the_lines_of_a_file(void **state)
{
    (void)state;
    char file[4000];
    size_t bytes = 0;
    for (unsigned i = 0; i < 300; i++) { /* lengths vary, some lines are empty */
        bytes += (size_t)snprintf(file + bytes, sizeof file - bytes, "%.*s%u\n", (int)(i % 9),
                                  "--------", i);
    }
    for (unsigned count = 1; count <= 400; count = count * 2 + 1) {
        put("w", file, bytes - 1); /* no newline at the end */
        unsigned seen = 0;
        unsigned sum = 0;
        for (unsigned i = 0; i < count; i++) {
            struct pe_run r;
            assert_true(open_source(&r, "", LINE, i, count));
            assert_true(pe_run_start(&r));
            assert_int_equal(pe_run_to_end(&r), OXB_END);
            for (const char *at = pe_run_text(&r); *at != '\0'; at = strchr(at, '\n') + 1) {
                unsigned n = (unsigned)strtoul(at + strcspn(at, "0123456789"), NULL, 10);
                assert_int_equal(n, seen); /* in order, over all instances */
                seen++;
                sum += n;
            }
            pe_run_close(&r);
        }
        assert_int_equal(seen, 300);
        assert_int_equal(sum, 299 * 300 / 2);
    }
}

static void a_restored_source_goes_on(void **state)
{
    (void)state;
    static const char *const formats[][3] = {
        {"", LINE, "line"},
        {",\"format\":\"csv\"", "n: str", "n"},
    };
    struct strbuf file = {0};
    strbuf_text_add(&file, "n\n");
    for (unsigned i = 0; i < 3000; i++) {
        strbuf_printf(&file, "%u\n", i);
    }
    for (unsigned f = 0; f < 2; f++) {
        struct pe_run a;
        struct pe_run b;
        void *saved;
        size_t bytes;
        put("w", strbuf_text(&file), file.bytes);
        assert_true(open_source(&a, formats[f][0], formats[f][1], 0, 1));
        assert_true(pe_run_start(&a));
        assert_int_equal(pe_run_turn(&a, 0), OXB_OK);
        assert_int_equal(pe_snapshot(a.pe, &saved, &bytes), ERR_OK);
        pe_flush_writers(a.pe);
        assert_true(open_source(&b, formats[f][0], formats[f][1], 0, 1));
        assert_int_equal(pe_restore(b.pe, saved, bytes, 1, &b.fail), ERR_OK);
        assert_true(pe_run_start(&b));
        assert_int_equal(pe_run_to_end(&b), OXB_END);
        assert_int_equal(a.rows + b.rows, f == 0 ? 3001 : 3000);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "{\"%s\":\"%u\"}\n", formats[f][2], f == 0 ? 1023 : 1024);
        assert_int_equal(strncmp(pe_run_text(&b), wanted, strlen(wanted)), 0);
        free(saved);
        pe_run_close(&a);
        pe_run_close(&b);
    }
    strbuf_fini(&file);
}

/* open_restored - one that is to read `name`, from where `saved` was. */
static void open_restored(struct pe_run *r, const char *name, const void *saved, size_t bytes)
{
    char params[64];
    snprintf(params, sizeof params, "{\"path\":\"%s\"}", name);
    assert_true(pe_run_open(r, &builtin_file_source, params, NULL, LINE, 0, 1));
    assert_int_equal(pe_restore(r->pe, saved, bytes, 1, &r->fail), ERR_OK);
    assert_true(pe_run_start(r));
    assert_int_equal(pe_run_to_end(r), OXB_END);
}

static void another_file_is_read_from_its_beginning(void **state)
{
    (void)state;
    struct pe_run a, b;
    void *saved;
    size_t bytes;
    expect("1\n2\n3\n", "", LINE, "{\"line\":\"1\"}\n{\"line\":\"2\"}\n{\"line\":\"3\"}\n");
    assert_true(open_source(&a, "", LINE, 0, 1));
    assert_true(pe_run_start(&a));
    assert_int_equal(pe_produce(a.pe, 2), OXB_OK);
    assert_int_equal(pe_snapshot(a.pe, &saved, &bytes), ERR_OK);
    pe_run_close(&a);
    assert_int_equal(rename("in", "in.1"), 0); /* renamed, it is the same one */
    open_restored(&b, "in.1", saved, bytes);
    assert_string_equal(pe_run_text(&b), "{\"line\":\"3\"}\n");
    pe_run_close(&b);
    put("w", "4\n5\n6\n", 6); /* put back by a copy, under the name it had */
    open_restored(&b, "in", saved, bytes);
    assert_string_equal(pe_run_text(&b), "{\"line\":\"6\"}\n");
    pe_run_close(&b);
    assert_int_equal(rename("in", "in.1"), 0);
    open_restored(&b, "in.1", saved, bytes);
    assert_string_equal(pe_run_text(&b),
                        "{\"line\":\"4\"}\n{\"line\":\"5\"}\n{\"line\":\"6\"}\n");
    pe_run_close(&b);
    free(saved);
}

static void a_bad_line_is_told_once_and_gone_past(void **state)
{
    (void)state;
    struct pe_run r;
    struct oxb_str bad;
    put("w", "{\"n\":1}\nbad\n{\"n\":2}\n", 20);
    assert_true(open_source(&r, ",\"format\":\"jsonl\"", "n: i64", 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_produce(r.pe, 1024), OXB_ERROR);
    assert_non_null(strstr(pe_error(r.pe), "in:2: "));
    assert_true(pe_bad_input(r.pe, &bad));
    assert_int_equal(bad.len, 3);
    assert_memory_equal(bad.p, "bad", 3);
    assert_int_equal(pe_produce(r.pe, 1024), OXB_END);
    assert_false(pe_bad_input(r.pe, &bad));
    pe_flush_writers(r.pe);
    assert_string_equal(pe_run_text(&r), "{\"n\":1}\n{\"n\":2}\n");
    pe_run_close(&r);
}

static void a_line_beyond_the_limit_is_an_error_with_its_number(void **state)
{
    (void)state;
    size_t bytes = (16u << 20) + 100;
    char *text = malloc(bytes);
    memset(text, 'x', bytes);
    memcpy(text, "ok\n", 3);
    put("w", text, bytes);
    free(text);
    struct pe_run r;
    assert_true(open_source(&r, "", LINE, 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_to_end(&r), OXB_ERROR);
    assert_non_null(strstr(pe_error(r.pe), "in:2: a record is longer than 16 MiB"));
    pe_run_close(&r);
}

/* turns - until the output is `wanted`, or too much time has gone. */
static void turns(struct pe_run *r, const char *wanted)
{
    for (unsigned i = 0; i < 100 && strcmp(pe_run_text(r), wanted) != 0; i++) {
        int result = pe_run_turn(r, 50);
        assert_true(result == OXB_OK || result == OXB_IDLE);
    }
    assert_string_equal(pe_run_text(r), wanted);
    strbuf_clear(&r->out);
}

static void a_followed_file_may_grow_shrink_and_be_replaced(void **state)
{
    (void)state;
    struct pe_run r;
    char old[72];
    snprintf(old, sizeof old, "%s.1", path);
    put("w", "one\ntw", 6);
    assert_true(open_source(&r, ",\"follow\":true", LINE, 0, 1));
    assert_true(pe_run_start(&r));
    turns(&r, "{\"line\":\"one\"}\n");
    assert_int_equal(pe_run_turn(&r, 0), OXB_IDLE); /* half a line waits */
    assert_string_equal(pe_run_text(&r), "");
    put("a", "o\nthree\n", 8);
    turns(&r, "{\"line\":\"two\"}\n{\"line\":\"three\"}\n");
    put("w", "new\n", 4);
    turns(&r, "{\"line\":\"new\"}\n");
    put("a", "last, without an end", 20);
    assert_int_equal(rename(path, old), 0);
    put("w", "first of the next\n", 18);
    turns(&r, "{\"line\":\"last, without an end\"}\n{\"line\":\"first of the next\"}\n");
    put("a", "and more\n", 9);
    turns(&r, "{\"line\":\"and more\"}\n");
    pe_run_close(&r);
}

static void a_rate_slows_a_file_down(void **state)
{
    (void)state;
    struct pe_run r;
    put("w", "1\n2\n3\n4\n5\n6\n", 12);
    assert_true(open_source(&r, ",\"rate\":100", LINE, 0, 1));
    assert_true(pe_run_start(&r));
    assert_int_equal(pe_run_to_end(&r), OXB_END);
    assert_int_equal(r.rows, 6);
    assert_true(r.last_us - r.first_us >= 45000);
    pe_run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_any_ending_are_read),
        cmocka_unit_test(malformed_utf_8_is_replaced_only_where_it_is),
        cmocka_unit_test(json_lines_fill_the_declared_fields),
        cmocka_unit_test(csv_columns_are_found_by_name),
        cmocka_unit_test(csv_errors_name_the_line),
        cmocka_unit_test(what_is_no_file_is_an_error_before_it_starts),
        cmocka_unit_test(instances_share_the_lines_of_a_file),
        cmocka_unit_test(a_restored_source_goes_on),
        cmocka_unit_test(another_file_is_read_from_its_beginning),
        cmocka_unit_test(a_bad_line_is_told_once_and_gone_past),
        cmocka_unit_test(a_line_beyond_the_limit_is_an_error_with_its_number),
        cmocka_unit_test(a_followed_file_may_grow_shrink_and_be_replaced),
        cmocka_unit_test(a_rate_slows_a_file_down),
    };
    return cmocka_run_group_tests(tests, enter_folder, remove_folder);
}
