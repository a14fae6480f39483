/* tests/unit/core/blockfile_test.c - files of blocks: what was put in comes out, or nothing does.
 *
 * Goal:   B1-B3 of core/blockfile.h, W1-W2 of core/safefile.h.
 * Method: every single bit of a small file is flipped, and it is cut at every byte: never may a
 *         damaged file be read to its end.  A file that outgrows RLIMIT_FSIZE is a full disk. */
#include "core/blockfile.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/prng.h"
#include "core/safefile.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

struct bytes {
    struct strbuf text;
    size_t at;
};

static enum err put(void *arg, const void *data, size_t bytes, struct fail *f)
{
    (void)f;
    strbuf_add(&((struct bytes *)arg)->text, data, bytes);
    return ERR_OK;
}

static enum err get(void *arg, void *to, size_t bytes, struct fail *f)
{
    struct bytes *b = arg;
    if (b->text.bytes - b->at < bytes) {
        return fail_set(f, ERR_CORRUPT, "", "it ends too early");
    }
    memcpy(to, b->text.data + b->at, bytes);
    b->at += bytes;
    return ERR_OK;
}

/* make - `count` blocks of up to `bytes_max` random bytes; kinds and tags by their number. */
static void make(struct bytes *out, uint32_t count, size_t bytes_max)
{
    struct prng p = {.state = 7};
    struct fail f;
    uint64_t stored = 0;
    struct blockfile_writer *w = blockfile_begin(put, out);
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = (size_t)prng_below(&p, bytes_max + 1);
        char *data = mem_alloc(bytes + 1);
        memset(data, 'a' + (int)(i % 26), bytes);
        assert_int_equal(blockfile_add(w, 1 + i % 3, i, data, bytes, &f), ERR_OK);
        mem_free(data);
    }
    assert_int_equal(blockfile_end(w, &stored, &f), ERR_OK);
    assert_int_equal(stored, out->text.bytes);
    blockfile_writer_free(w);
}

/* read_all - ERR_OK: whole.  @count: blocks read before the end or the damage. */
static enum err read_all(struct bytes *b, uint32_t *count)
{
    struct fail f = {0};
    struct block k;
    struct blockfile_reader *r = blockfile_open(get, b);
    enum err e;
    *count = 0;
    while ((e = blockfile_next(r, &k, &f)) == ERR_OK && k.kind != BLOCK_END) {
        assert_int_equal(k.tag, *count);
        assert_int_equal(k.kind, 1 + *count % 3);
        for (size_t i = 0; i < k.bytes; i++) {
            assert_int_equal(k.data[i], 'a' + (int)(*count % 26));
        }
        (*count)++;
    }
    blockfile_reader_free(r);
    return e;
}

static void what_was_put_in_comes_out(void **state)
{
    (void)state;
    for (uint32_t count = 0; count < 40; count += 13) {
        struct bytes b = {0};
        uint32_t seen;
        make(&b, count, 100000);
        assert_int_equal(read_all(&b, &seen), ERR_OK);
        assert_int_equal(seen, count);
        strbuf_fini(&b.text);
    }
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct bytes b = {0};
    uint32_t seen;
    make(&b, 4, 60);
    for (size_t bit = 0; bit < b.text.bytes * 8; bit++) {
        b.text.data[bit / 8] = (char)(b.text.data[bit / 8] ^ (1 << bit % 8));
        b.at = 0;
        assert_int_equal(read_all(&b, &seen), ERR_CORRUPT);
        b.text.data[bit / 8] = (char)(b.text.data[bit / 8] ^ (1 << bit % 8));
    }
    b.at = 0;
    assert_int_equal(read_all(&b, &seen), ERR_OK);
    strbuf_fini(&b.text);
}

static void every_torn_end_is_found(void **state)
{
    (void)state;
    struct bytes b = {0};
    uint32_t seen;
    make(&b, 4, 60);
    size_t whole = b.text.bytes;
    for (size_t bytes = 0; bytes < whole; bytes++) {
        b.text.bytes = bytes;
        b.at = 0;
        assert_int_equal(read_all(&b, &seen), ERR_CORRUPT);
    }
    strbuf_fini(&b.text);
}

static void a_block_that_was_left_out_is_found(void **state)
{
    (void)state;
    struct bytes one = {0}, two = {0};
    uint32_t seen;
    make(&one, 1, 60);
    make(&two, 2, 60);
    size_t end = 32 + 16; /* head and body of the end block */
    struct bytes mixed = {0};
    strbuf_add(&mixed.text, one.text.data, one.text.bytes - end);
    strbuf_add(&mixed.text, two.text.data + two.text.bytes - end, end);
    assert_int_equal(read_all(&mixed, &seen), ERR_CORRUPT);
    strbuf_fini(&one.text);
    strbuf_fini(&two.text);
    strbuf_fini(&mixed.text);
}

static void a_full_disk_leaves_what_was_there(void **state)
{
    (void)state;
    char dir[] = "/tmp/oxbow-safefile.XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = mem_printf("%s/file", dir);
    char *data = NULL;
    size_t bytes = 0;
    struct fail f = {0};
    struct safefile w;
    char block[1000] = {1};
    assert_int_equal(file_write_safe(path, "old", 3, &f), ERR_OK);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){5500, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(safefile_open(&w, path, &f), ERR_OK);
    enum err e = ERR_OK;
    for (int i = 0; i < 10 && e == ERR_OK; i++) {
        e = safefile_add(&w, block, sizeof block, &f);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(e, ERR_IO);
    assert_non_null(strstr(f.what, "cannot write"));
    assert_int_equal(file_read(path, 100, &data, &bytes, &f), ERR_OK);
    assert_string_equal(data, "old");
    char *again = mem_printf("ls %s | wc -l | grep -qx 1", dir);
    assert_int_equal(system(again), 0); /* no temporary file is left */
    assert_int_equal(safefile_open(&w, path, &f), ERR_OK);
    assert_int_equal(safefile_add(&w, "new", 3, &f), ERR_OK);
    assert_int_equal(safefile_commit(&w, &f), ERR_OK);
    mem_free(data);
    assert_int_equal(file_read(path, 100, &data, &bytes, &f), ERR_OK);
    assert_string_equal(data, "new");
    unlink(path);
    rmdir(dir);
    mem_free(data);
    mem_free(path);
    mem_free(again);
}

static void an_fsync_that_fails_is_an_error(void **state)
{
    (void)state;
    struct fail f = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0); /* fsync of a pipe: EINVAL */
    struct safefile w = {.path = mem_dup("/tmp/oxbow-never"),
                         .temporary = mem_dup("/tmp/oxbow-never.tmp"),
                         .fd = ends[1]};
    assert_int_equal(safefile_commit(&w, &f), ERR_IO);
    assert_int_equal(access("/tmp/oxbow-never", F_OK), -1);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_comes_out),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_torn_end_is_found),
        cmocka_unit_test(a_block_that_was_left_out_is_found),
        cmocka_unit_test(a_full_disk_leaves_what_was_there),
        cmocka_unit_test(an_fsync_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
