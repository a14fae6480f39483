/* tests/unit/builtin/pending_test.c - file-sink with checkpoints: exactly once, whatever dies when.
 *
 * Goal:   G1-G4 of pe/builtin/pending.h.
 * Method: a sink is driven through checkpoints by hand and abandoned at every point; the next one
 *         is restored from a snapshot, as a recovery does.  Half commits are made for every length
 *         a crash could leave. */
#include "core/file.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/builtin/builtin.h"
#include "pe/instance.h"
#include "tests/support/pe_run.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char path[] = "out";

static int enter_folder(void **state)
{
    char folder[] = "/tmp/oxbow-test-XXXXXX";
    (void)state;
    return mkdtemp(folder) != NULL ? chdir(folder) : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    return system("rm -rf \"$PWD\"") == 0 ? chdir("/") : -1;
}

static bool open_at(struct pe_run *r, const char *name, uint64_t generation)
{
    char params[64];
    snprintf(params, sizeof params, "{\"path\":\"%s\"}", name);
    return pe_run_open_exact(r, &builtin_file_sink, params, "n: i64", generation);
}

static bool open_exact(struct pe_run *r, uint64_t generation)
{
    return open_at(r, path, generation);
}

static void feed(struct pe_run *r, int n)
{
    char *row = mem_printf("{\"n\":%d}", n);
    assert_int_equal(pe_run_feed(r, row), OXB_OK);
    mem_free(row);
}

static char *text_of(const char *name)
{
    char *data;
    size_t bytes;
    assert_int_equal(file_read(name, 1u << 24, &data, &bytes, NULL), ERR_OK);
    return data;
}

static void expect(const char *wanted)
{
    char *data = text_of(path);
    assert_string_equal(data, wanted);
    mem_free(data);
}

static int segments(void)
{
    FILE *p = popen("ls -A | grep -c oxbow", "r");
    int n = -1;
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

static struct pe_snapshot save(struct pe_run *r, uint64_t epoch)
{
    struct pe_snapshot s;
    assert_int_equal(pe_snapshot_at(r->pe, epoch, &s), ERR_OK);
    return s;
}

static bool restore(struct pe_run *r, const struct pe_snapshot *s, uint64_t generation)
{
    assert_true(open_exact(r, generation));
    assert_int_equal(pe_restore(r->pe, s->data, s->bytes, 2, &r->fail), ERR_OK);
    return pe_run_start(r);
}

static void lines_show_when_their_checkpoint_is_complete(void **state)
{
    (void)state;
    struct pe_run r;
    assert_true(open_exact(&r, 1));
    assert_true(pe_run_start(&r));
    feed(&r, 1);
    assert_int_equal(pe_flush_sink(r.pe), OXB_OK);
    expect("");
    struct pe_snapshot s = save(&r, 5);
    assert_int_equal(s.file_count, 1); /* to be synced before it counts */
    feed(&r, 2);
    expect("");
    assert_int_equal(pe_commit(r.pe, 4), OXB_OK); /* an older one */
    expect("");
    assert_int_equal(pe_commit(r.pe, 5), OXB_OK);
    expect("{\"n\":1}\n");
    assert_int_equal(pe_commit(r.pe, 5), OXB_OK);
    expect("{\"n\":1}\n");
    pe_snapshot_fini(&s);
    s = save(&r, 6); /* given up: the next one covers it */
    pe_snapshot_fini(&s);
    feed(&r, 3);
    s = save(&r, 7);
    assert_int_equal(pe_commit(r.pe, 7), OXB_OK);
    expect("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_int_equal(segments(), 0);
    pe_snapshot_fini(&s);
    pe_run_close(&r);
}

static void a_recovery_takes_back_what_no_reader_saw(void **state)
{
    (void)state;
    struct pe_run a, b;
    assert_true(open_exact(&a, 1));
    assert_true(pe_run_start(&a));
    feed(&a, 1);
    struct pe_snapshot s = save(&a, 5);
    feed(&a, 2);
    feed(&a, 3);
    assert_int_equal(pe_flush_sink(a.pe), OXB_OK);
    pe_run_close(&a); /* dies after the manifest, before the commit */
    expect("");
    assert_true(restore(&b, &s, 2));
    expect("{\"n\":1}\n");
    assert_int_equal(segments(), 0); /* what was written after it is gone */
    feed(&b, 2);
    struct pe_snapshot t = save(&b, 9);
    assert_int_equal(pe_commit(b.pe, 9), OXB_OK);
    expect("{\"n\":1}\n{\"n\":2}\n");
    pe_run_close(&b);
    assert_true(restore(&b, &t, 3)); /* committed before: nothing is there twice */
    expect("{\"n\":1}\n{\"n\":2}\n");
    pe_run_close(&b);
    pe_snapshot_fini(&s);
    pe_snapshot_fini(&t);
}

static void a_half_commit_is_made_whole_at_every_length(void **state)
{
    (void)state;
    for (off_t half = 0; half <= 24; half++) {
        struct pe_run a, b;
        assert_true(open_exact(&a, 1));
        assert_true(pe_run_start(&a));
        feed(&a, 0);
        struct pe_snapshot s = save(&a, 4);
        assert_int_equal(pe_commit(a.pe, 4), OXB_OK);
        pe_snapshot_fini(&s);
        feed(&a, 1);
        s = save(&a, 5);
        pe_snapshot_fini(&s);
        feed(&a, 2);
        feed(&a, 3);
        s = save(&a, 6);
        pe_run_close(&a);
        FILE *f = fopen(path, "a"); /* what a crash left: a part, not synced, so of any content */
        for (off_t i = 0; i < half; i++) {
            fputc(0, f);
        }
        fclose(f);
        assert_true(restore(&b, &s, 2));
        expect("{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
        pe_run_close(&b);
        pe_snapshot_fini(&s);
    }
}

static void a_file_of_another_length_is_not_touched(void **state)
{
    (void)state;
    for (int longer = 0; longer < 2; longer++) {
        struct pe_run a, b;
        assert_true(open_exact(&a, 1));
        assert_true(pe_run_start(&a));
        feed(&a, 1);
        struct pe_snapshot s = save(&a, 5);
        assert_int_equal(pe_commit(a.pe, 5), OXB_OK);
        pe_run_close(&a);
        assert_int_equal(truncate(path, longer ? 100 : 3), 0);
        assert_false(restore(&b, &s, 2));
        assert_non_null(strstr(b.fail.what, "bytes"));
        struct stat now;
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_size, longer ? 100 : 3);
        pe_run_close(&b);
        pe_snapshot_fini(&s);
    }
}

/* expect_lines - the file holds 0 .. count-1, a line each, in order, and nothing else. */
static void expect_lines(int count)
{
    char *text = text_of(path), *at = text;
    for (int i = 0; i < count; i++) {
        int n = -1, used = 0;
        assert_int_equal(sscanf(at, "{\"n\":%d}%n", &n, &used), 1);
        assert_int_equal(n, i);
        at += used + 1;
    }
    assert_string_equal(at, "");
    mem_free(text);
}

/* Every bit of a segment, and every length that it may be torn to. */
static void a_damaged_segment_is_never_committed(void **state)
{
    (void)state;
    struct pe_run a;
    assert_true(open_exact(&a, 1));
    assert_true(pe_run_start(&a));
    feed(&a, 1);
    feed(&a, 22);
    struct pe_snapshot s = save(&a, 5);
    char *file = mem_dup(s.files[0].path), *data;
    size_t bytes;
    assert_int_equal(file_read(file, 1u << 20, &data, &bytes, NULL), ERR_OK);
    for (size_t bit = 0; bit < bytes * 8 + bytes; bit++) {
        size_t length = bit < bytes * 8 ? bytes : bit - bytes * 8;
        char *bad = mem_dup_n(data, bytes);
        bad[bit / 8 % bytes] = (char)(bad[bit / 8 % bytes] ^ (bit < bytes * 8 ? 1 << bit % 8 : 0));
        assert_int_equal(file_write_safe(file, bad, length, NULL), ERR_OK);
        assert_int_equal(pe_commit(a.pe, 5), OXB_ERROR);
        assert_non_null(strstr(pe_error(a.pe), "it is damaged"));
        expect("");
        mem_free(bad);
    }
    assert_int_equal(file_write_safe(file, data, bytes, NULL), ERR_OK);
    assert_int_equal(pe_commit(a.pe, 5), OXB_OK);
    expect("{\"n\":1}\n{\"n\":22}\n");
    pe_run_close(&a);
    pe_snapshot_fini(&s);
    mem_free(data);
    mem_free(file);
}

/* The disk is full in the middle: what was written counts, what was not taken is not there. */
static void a_segment_that_fills_the_disk_has_the_sum_of_what_fits(void **state)
{
    (void)state;
    struct rlimit before, small = {.rlim_cur = 300000};
    struct pe_run a;
    assert_true(open_exact(&a, 1));
    assert_true(pe_run_start(&a));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int n = 0, result = OXB_OK;
    for (; n < 100000 && result == OXB_OK; n += result == OXB_OK) {
        char *row = mem_printf("{\"n\":%d}", n);
        result = pe_run_feed(&a, row);
        mem_free(row);
    }
    assert_in_range(n, 1, 99999); /* this one was not taken (O1 of outbuf.h) */
    assert_non_null(strstr(pe_error(a.pe), "File too large"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    struct pe_snapshot s = save(&a, 5);
    assert_int_equal(pe_commit(a.pe, 5), OXB_OK);
    expect_lines(n);
    pe_run_close(&a);
    pe_snapshot_fini(&s);
}

static void bytes_of_somebody_else_are_not_written_over(void **state)
{
    (void)state;
    for (size_t more = 1; more <= 9; more += 4) { /* a part of the place, and more than all of it */
        struct pe_run a;
        assert_true(open_exact(&a, 1));
        assert_true(pe_run_start(&a));
        feed(&a, 1);
        struct pe_snapshot s = save(&a, 5);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite("otherwise", 1, more, f), more);
        fclose(f);
        assert_int_equal(pe_commit(a.pe, 5), OXB_ERROR);
        assert_non_null(strstr(pe_error(a.pe), "other bytes stand at 0"));
        char *now = text_of(path);
        assert_memory_equal(now, "otherwise", more);
        assert_int_equal(strlen(now), more);
        mem_free(now);
        pe_run_close(&a);
        pe_snapshot_fini(&s);
        assert_int_equal(unlink(path), 0);
    }
}

static void a_removed_one_leaves_a_will_that_another_process_carries_out(void **state)
{
    (void)state;
    struct pe_run a, b;
    assert_true(open_exact(&a, 1));
    assert_true(pe_run_start(&a));
    feed(&a, 1);
    struct pe_snapshot s = save(&a, 5);
    pe_snapshot_fini(&s);
    feed(&a, 2);
    s = save(&a, 7); /* at its cut: 7 is the epoch of the change */
    assert_int_equal(s.file_count, 1);
    pe_run_close(&a);
    expect("");
    for (int again = 0; again < 2; again++) { /* whoever asked may not have heard the answer */
        assert_true(restore(&b, &s, 1));
        assert_int_equal(pe_commit(b.pe, 7), OXB_OK);
        expect("{\"n\":1}\n{\"n\":2}\n");
        assert_int_equal(segments(), 0);
        pe_run_close(&b);
    }
    pe_snapshot_fini(&s);
}

static void a_successor_goes_on_with_what_is_pending(void **state)
{
    (void)state;
    struct pe_run a, b;
    assert_true(open_exact(&a, 1));
    assert_true(pe_run_start(&a));
    feed(&a, 1);
    struct pe_snapshot s = save(&a, 5);
    pe_snapshot_fini(&s);
    feed(&a, 2);
    s = save(&a, 0); /* replaced in place: not at a checkpoint */
    assert_true(restore(&b, &s, 1));
    pe_run_close(&a);
    expect("");
    feed(&b, 3);
    assert_int_equal(pe_commit(b.pe, 5), OXB_OK);
    expect("{\"n\":1}\n");
    pe_snapshot_fini(&s);
    s = save(&b, 8);
    assert_int_equal(pe_commit(b.pe, 8), OXB_OK);
    expect("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    feed(&b, 4);
    assert_int_equal(pe_commit(b.pe, UINT64_MAX), OXB_OK); /* removed by an upgrade */
    expect("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
    pe_run_close(&b);
    pe_snapshot_fini(&s);
}

static void another_file_goes_on_behind_what_it_holds(void **state)
{
    (void)state;
    struct pe_run r[5];
    struct pe_snapshot s;
    assert_int_equal(file_write_safe("other", "before\n", 7, NULL), ERR_OK);
    assert_true(open_exact(&r[0], 1));
    assert_true(pe_run_start(&r[0]));
    feed(&r[0], 1);
    for (int n = 1; n < 4; n++) { /* other, out, other: nothing is committed between */
        s = save(&r[n - 1], 0);
        assert_true(open_at(&r[n], n % 2 == 1 ? "other" : "out", 1));
        assert_int_equal(pe_restore(r[n].pe, s.data, s.bytes, 2, &r[n].fail), ERR_OK);
        assert_true(pe_run_start(&r[n]));
        pe_run_close(&r[n - 1]);
        pe_snapshot_fini(&s);
        feed(&r[n], n + 1);
    }
    expect("");
    s = save(&r[3], 9);
    pe_run_close(&r[3]); /* dies; the checkpoint was complete, and is of `other` */
    assert_true(open_at(&r[4], "out", 2));
    assert_int_equal(pe_restore(r[4].pe, s.data, s.bytes, 2, &r[4].fail), ERR_OK);
    assert_true(pe_run_start(&r[4]));
    pe_snapshot_fini(&s);
    expect("{\"n\":1}\n{\"n\":3}\n");
    char *other = text_of("other");
    assert_string_equal(other, "before\n{\"n\":2}\n{\"n\":4}\n");
    mem_free(other);
    feed(&r[4], 5);
    s = save(&r[4], 10);
    assert_int_equal(pe_commit(r[4].pe, 10), OXB_OK);
    expect("{\"n\":1}\n{\"n\":3}\n{\"n\":5}\n");
    assert_int_equal(segments(), 0);
    pe_snapshot_fini(&s);
    pe_run_close(&r[4]);
}

static void a_newcomer_to_what_runs_empties_nothing(void **state)
{
    (void)state;
    struct pe_run r;
    assert_int_equal(file_write_safe(path, "before\n", 7, NULL), ERR_OK);
    assert_true(open_exact(&r, 1));
    r.pe->joins = true;
    assert_true(pe_run_start(&r));
    feed(&r, 1);
    struct pe_snapshot s = save(&r, 3);
    assert_int_equal(pe_commit(r.pe, 3), OXB_OK);
    expect("before\n{\"n\":1}\n");
    pe_snapshot_fini(&s);
    pe_run_close(&r);
    assert_true(open_exact(&r, 1));
    assert_true(pe_run_start(&r));
    expect("");
    pe_run_close(&r);
}

/* Random lives: feed, checkpoint, complete, die and recover from the newest complete one. */
static void random_deaths_leave_every_line_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng p = {.state = seed};
        struct pe_run r;
        uint64_t epoch = 1, gen = 1;
        int next = 0, covered = 0, durable = 0;
        struct pe_snapshot live = {0}, complete = {0};
        bool is_live = false, is_committed = true;
        assert_true(open_exact(&r, gen));
        assert_true(pe_run_start(&r));
        for (int n = 0; n < 200; n++) {
            switch (prng_below(&p, 6)) {
            case 0:
            case 1:
                feed(&r, next++);
                break;
            case 2:
                pe_snapshot_fini(&live);
                live = save(&r, ++epoch);
                covered = next;
                is_live = true;
                break;
            case 3: /* the manifest is durable */
                if (is_live) {
                    pe_snapshot_fini(&complete);
                    complete = live;
                    live = (struct pe_snapshot){0};
                    durable = covered;
                    is_live = is_committed = false;
                }
                break;
            case 4:
                if (complete.data != NULL && !is_live && !is_committed) {
                    assert_int_equal(pe_commit(r.pe, epoch), OXB_OK);
                    is_committed = true;
                }
                break;
            default:
                if (prng_below(&p, 3) == 0) {
                    pe_run_close(&r);
                    gen++;
                    next = durable;
                    is_live = false;
                    if (complete.data == NULL) {
                        assert_true(open_exact(&r, gen));
                        assert_true(pe_run_start(&r));
                    } else {
                        assert_true(restore(&r, &complete, gen));
                        is_committed = true;
                    }
                }
                break;
            }
        }
        struct pe_snapshot last = save(&r, ++epoch);
        assert_int_equal(pe_commit(r.pe, epoch), OXB_OK);
        pe_run_close(&r);
        expect_lines(next);
        pe_snapshot_fini(&last);
        pe_snapshot_fini(&live);
        pe_snapshot_fini(&complete);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_show_when_their_checkpoint_is_complete),
        cmocka_unit_test(a_recovery_takes_back_what_no_reader_saw),
        cmocka_unit_test(a_half_commit_is_made_whole_at_every_length),
        cmocka_unit_test(a_file_of_another_length_is_not_touched),
        cmocka_unit_test(a_damaged_segment_is_never_committed),
        cmocka_unit_test(a_segment_that_fills_the_disk_has_the_sum_of_what_fits),
        cmocka_unit_test(bytes_of_somebody_else_are_not_written_over),
        cmocka_unit_test(a_removed_one_leaves_a_will_that_another_process_carries_out),
        cmocka_unit_test(a_successor_goes_on_with_what_is_pending),
        cmocka_unit_test(another_file_goes_on_behind_what_it_holds),
        cmocka_unit_test(a_newcomer_to_what_runs_empties_nothing),
        cmocka_unit_test(random_deaths_leave_every_line_once),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
