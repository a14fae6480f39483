/* tests/unit/master/artifacts_test.c - files by digest.
 *
 * Goal:   only whole files with the right digest get their name; nothing leaves the folder.
 * Method: uploads in a temporary folder: right, wrong, cut short, left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "master/artifacts.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static struct artifacts a;

static int make_dir(void **state)
{
    (void)state;
    struct fail f;
    snprintf(dir, sizeof dir, "/tmp/oxbow-artifacts-XXXXXX");
    return mkdtemp(dir) != NULL && artifacts_init(&a, dir, &f) == ERR_OK ? 0 : -1;
}

static unsigned each_file(bool remove)
{
    unsigned count = 0;
    DIR *d = opendir(a.dir);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            count++;
            if (remove) {
                unlinkat(dirfd(d), e->d_name, 0);
            }
        }
    }
    closedir(d);
    return count;
}

static int remove_dir(void **state)
{
    (void)state;
    each_file(true);
    rmdir(a.dir);
    artifacts_fini(&a);
    return rmdir(dir);
}

static enum err send(const char *digest, const char *bytes, size_t count)
{
    struct upload *u = NULL;
    struct fail f = {0};
    enum err e = upload_new(&a, digest, &u, &f);
    if (e == ERR_OK) {
        e = upload_write(u, bytes, count / 2, &f);
    }
    if (e == ERR_OK) {
        e = upload_write(u, bytes + count / 2, count - count / 2, &f);
    }
    if (e == ERR_OK) {
        e = upload_finish(u, &f);
    }
    upload_free(u);
    return e;
}

static void the_right_bytes_get_their_name_and_are_read_in_pieces(void **state)
{
    (void)state;
    char digest[SHA256_HEX_BYTES];
    char piece[4];
    size_t got;
    uint64_t total;
    sha256_hex("hello world", 11, digest);
    assert_false(artifacts_has(&a, digest));
    assert_int_equal(send(digest, "hello world", 11), ERR_OK);
    assert_true(artifacts_has(&a, digest));
    assert_int_equal(artifacts_read(&a, digest, 8, piece, 4, &got, &total), ERR_OK);
    assert_int_equal(got, 3);
    assert_int_equal(total, 11);
    assert_memory_equal(piece, "rld", 3);
    assert_int_equal(artifacts_read(&a, digest, 11, piece, 4, &got, &total), ERR_OK);
    assert_int_equal(got, 0);
    assert_int_equal(artifacts_read(&a, digest, 12, piece, 4, &got, &total), ERR_NOTFOUND);
    assert_int_equal(send(digest, "hello world", 11), ERR_OK); /* again is no harm */
    assert_int_equal(each_file(false), 1);
}

static void wrong_and_cut_bytes_leave_nothing(void **state)
{
    (void)state;
    char digest[SHA256_HEX_BYTES];
    sha256_hex("hello world", 11, digest);
    assert_int_equal(send(digest, "hello worlD", 11), ERR_CORRUPT);
    assert_int_equal(send(digest, "hello worl", 10), ERR_CORRUPT);
    assert_int_equal(send(digest, "", 0), ERR_CORRUPT);
    assert_false(artifacts_has(&a, digest));
    assert_int_equal(each_file(false), 0);
}

static void names_that_are_no_digests_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", "../../etc/passwd", "ABCDEF", "/etc/passwd",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"};
    char byte;
    size_t got;
    uint64_t total;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(send(names[i], "x", 1), ERR_INVALID);
        assert_false(artifacts_has(&a, names[i]));
        assert_int_equal(artifacts_read(&a, names[i], 0, &byte, 1, &got, &total), ERR_NOTFOUND);
    }
}

static void what_a_dead_master_left_behind_is_removed(void **state)
{
    (void)state;
    struct fail f;
    char *path = mem_printf("%s/incoming.abc", a.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    mem_free(path);
    artifacts_fini(&a);
    assert_int_equal(artifacts_init(&a, dir, &f), ERR_OK);
    assert_int_equal(each_file(false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
        IN_A_FOLDER(the_right_bytes_get_their_name_and_are_read_in_pieces),
        IN_A_FOLDER(wrong_and_cut_bytes_leave_nothing),
        IN_A_FOLDER(names_that_are_no_digests_are_refused),
        IN_A_FOLDER(what_a_dead_master_left_behind_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
