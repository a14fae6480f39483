/* tests/unit/worker/checkpoint_test.c - what is saved at a marker comes back, whatever goes on.
 *
 * Goal:   H1-H3 of worker/checkpoint.h, J1 of worker/checkpoint_restore.h.
 * Method: an instance with keyed state is changed at random (puts, deletions, blobs), saved into a
 *         folder, changed again between the slices it tells, and at every epoch a fresh
 *         instance is restored from the files named and compared with a model of that epoch.  A
 *         folder that cannot be written and savings that are given up are in between.  Recovered
 *         instances go on saving on top of the files that they came from. */
#include "core/blockfile.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/prng.h"
#include "pe/state.h"
#include "worker/checkpoint.h"
#include "worker/checkpoint_restore.h"

#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { KEYS = 3000 };

static const struct oxb_value values[] = {{"n", OXB_I64}, {"blob", OXB_BYTES}, {NULL, OXB_NONE}};
static const struct oxb_state_decl states[] = {{"things", values}, {NULL, NULL}};

static int save_own(struct oxb_pe *pe, struct oxb_blob *out)
{
    oxb_blob_add(out, oxb_self(pe), sizeof(int64_t));
    return OXB_OK;
}

static int restore_own(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    if (bytes != sizeof(int64_t) || version != 3) {
        return oxb_fail(pe, "not mine");
    }
    memcpy(oxb_self(pe), data, bytes);
    return OXB_OK;
}

static const struct oxb_pe_type type = {.abi = OXB_ABI,
                                        .name = "things",
                                        .states = states,
                                        .state_version = 3,
                                        .self_bytes = sizeof(int64_t),
                                        .snapshot = save_own,
                                        .restore = restore_own};

struct model {
    int64_t n[KEYS]; /* 0: absent; the blob is as long as n mod 50 */
    int64_t own;
};

static struct pool *pool;
static struct loop *loop;
static struct saver *saver;
static char folder[64];
static struct saved last;    /* epochs: owned */
static struct restored back; /* of the last restore */

static void on_saved(void *arg, const struct saved *s)
{
    (void)arg;
    mem_free(last.epochs);
    last = *s;
    last.epochs = mem_array(s->epoch_count + 1, sizeof *last.epochs);
    if (s->epoch_count > 0) {
        memcpy(last.epochs, s->epochs, s->epoch_count * sizeof *last.epochs);
    }
    loop_quit(loop);
}

static unsigned wills_stored, wills_failed;

static bool on_will(void *arg, const struct saved *s)
{
    (void)arg;
    assert_true(s->is_will);
    wills_stored += s->ok;
    wills_failed += !s->ok;
    loop_quit(loop);
    return !s->ok;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/oxbow-saved-XXXXXX");
    assert_non_null(mkdtemp(folder));
    pool = pool_new(1u << 20);
    loop = loop_new();
    saver = saver_new(&(struct saver_options){
        .loop = loop, .worker = "w", .on_saved = on_saved, .on_will = on_will});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char *all = mem_printf("rm -rf %s", folder);
    saver_free(saver);
    loop_free(loop);
    pool_free(pool);
    mem_free(last.epochs);
    restored_fini(&back);
    last = (struct saved){0};
    int rc = system(all);
    mem_free(all);
    return rc;
}

static const struct oxb_pe_type plain = {.abi = OXB_ABI, .name = "plain"};

static struct instance *make_of(const struct oxb_pe_type *of, bool started)
{
    struct instance *i = instance_new(9, "things", 0, pool);
    struct pe_host host = instance_host(i);
    struct pe_spec spec = {.type = of, .name = "things", .params = "{}", .parallelism = 1};
    struct fail f;
    i->pe = pe_new(&spec, &host, pool);
    assert_int_equal(pe_prepare(i->pe, &f), ERR_OK);
    assert_true(!started || pe_start(i->pe, &f) == ERR_OK);
    return i;
}

static struct instance *make(bool started)
{
    return make_of(&type, started);
}

static void change(struct instance *i, struct model *m, struct prng *p, unsigned times)
{
    struct oxb_state *s = oxb_state(i->pe, "things");
    for (unsigned k = 0; k < times; k++) {
        int64_t key = (int64_t)prng_below(p, KEYS);
        struct oxb_key encoded = oxb_key_i64(&key);
        if (prng_below(p, 4) == 0) {
            assert_true(oxb_state_delete(s, encoded) == (m->n[key] != 0));
            m->n[key] = 0;
            continue;
        }
        char blob[50];
        uint64_t *cells = oxb_state_put(s, encoded);
        m->n[key] = 1 + (int64_t)prng_below(p, 1000000);
        memset(blob, (int)(key % 100), sizeof blob);
        memcpy(&cells[0], &m->n[key], sizeof m->n[key]);
        oxb_cell_set(s, &cells[1], blob, (uint32_t)(m->n[key] % 50));
    }
    m->own = (int64_t)prng_below(p, 1u << 30);
    memcpy(oxb_self(i->pe), &m->own, sizeof m->own);
}

static enum err restore(struct instance *i, struct fail *f)
{
    static uint8_t all[KEY_GROUPS / 8];
    memset(all, 0xff, sizeof all);
    struct restore_from from = {.worker = "w", .topology = "t", .location = folder};
    struct rec_RESTORE r = {.instance = 9,
                            .uid = "things",
                            .epochs = {(const uint8_t *)last.epochs, last.epoch_count * 8},
                            .groups = {all, sizeof all},
                            .own = true};
    restored_fini(&back);
    return restore_instance(&from, &r, i, &back, f);
}

static void expect_restored(const struct model *m)
{
    struct fail f = {0};
    struct instance *i = make(false);
    if (restore(i, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    struct oxb_state *s = oxb_state(i->pe, "things");
    uint64_t count = 0;
    for (int64_t key = 0; key < KEYS; key++) {
        const uint64_t *cells = oxb_state_get(s, oxb_key_i64(&key));
        assert_true((cells != NULL) == (m->n[key] != 0));
        if (cells == NULL) {
            continue;
        }
        count++;
        assert_memory_equal(&cells[0], &m->n[key], sizeof m->n[key]);
        struct oxb_str blob = oxb_cell_get(&cells[1]);
        assert_int_equal(blob.len, m->n[key] % 50);
        assert_true(blob.len == 0 || blob.p[blob.len - 1] == (char)(key % 100));
    }
    assert_int_equal(oxb_state_count(s), count);
    assert_memory_equal(oxb_self(i->pe), &m->own, sizeof m->own);
    instance_free(i);
}

static void wait_saved(uint64_t epoch)
{
    do {
        loop_run(loop);
    } while (last.epoch != epoch);
}

/* tell_all - as the instance's turns do; what is written in between is not of the checkpoint. */
static void tell_all(struct instance *i, struct model *m, struct prng *p)
{
    while (keeper_tells(i->keeper)) {
        change(i, m, p, (unsigned)prng_below(p, 5));
        if (!keeper_turn(i->keeper)) {
            sched_yield(); /* the saver makes room */
        }
    }
}

static void what_is_saved_comes_back_while_writing_goes_on(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 3};
    struct instance *i = make(true);
    i->keeper = keeper_new(saver, "t", 1, folder);
    size_t longest = 0;
    for (uint64_t epoch = 1; epoch <= 120; epoch++) {
        change(i, &now, &p, epoch % 10 == 1 ? 2000 : (unsigned)prng_below(&p, 40));
        struct model then = now;
        keeper_take(i->keeper, i, epoch);
        change(i, &now, &p, 300);      /* before it is told */
        if (prng_below(&p, 15) == 0) { /* the next one comes before this one is saved */
            then = now;
            keeper_take(i->keeper, i, ++epoch);
        }
        if (prng_below(&p, 15) == 0) {
            keeper_forget(i->keeper); /* a cut */
        }
        tell_all(i, &now, &p);
        wait_saved(epoch);
        if (last.ok) {
            longest = last.epoch_count > longest ? last.epoch_count : longest;
            expect_restored(&then);
        } else {
            assert_int_equal(last.fail.code, ERR_STALE);
        }
    }
    assert_true(longest >= 3); /* chains were restored, not only whole files */
    instance_free(i);
}

static void what_cannot_be_saved_is_said_and_the_next_one_is_whole(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 4};
    struct instance *i = make(true);
    char *nowhere = mem_printf("%s/file", folder);
    struct fail f;
    assert_int_equal(file_write_safe(nowhere, "", 0, &f), ERR_OK);
    i->keeper = keeper_new(saver, "t", 1, nowhere); /* a file is no folder, whoever asks */
    change(i, &now, &p, 100);
    keeper_take(i->keeper, i, 1);
    tell_all(i, &now, &p);
    wait_saved(1);
    assert_false(last.ok);
    assert_non_null(strstr(last.fail.what, "file"));
    unlink(nowhere);
    change(i, &now, &p, 10);
    keeper_take(i->keeper, i, 2);
    tell_all(i, &now, &p);
    wait_saved(2);
    assert_true(last.ok);
    assert_int_equal(last.epoch_count, 1); /* H3 */
    mem_free(nowhere);
    instance_free(i);
}

static void a_will_is_tried_again_until_it_is_stored(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 6};
    struct instance *i = make(true);
    char *nowhere = mem_printf("%s/file", folder);
    char *path = mem_printf("%s/file/t/7.things.0", folder);
    struct fail f;
    wills_stored = wills_failed = 0;
    assert_int_equal(file_write_safe(nowhere, "", 0, &f), ERR_OK);
    i->keeper = keeper_new(saver, "t", 1, nowhere);
    change(i, &now, &p, 100);
    assert_true(keeper_leave(i->keeper, i, 7));
    instance_free(i); /* it needs neither the instance nor its tables */
    for (unsigned tries = 1; tries <= 3; tries++) {
        loop_run(loop);
        assert_int_equal(wills_failed, tries);
        if (tries == 3) {
            assert_int_equal(unlink(nowhere), 0);
        }
        saver_again(saver);
    }
    loop_run(loop);
    assert_int_equal(wills_stored, 1);
    assert_int_equal(access(path, R_OK), 0);
    mem_free(nowhere);
    mem_free(path);
}

static void damaged_files_are_not_used(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 5};
    struct instance *i = make(true);
    i->keeper = keeper_new(saver, "t", 1, folder);
    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
        change(i, &now, &p, epoch == 1 ? 300 : 5);
        keeper_take(i->keeper, i, epoch);
        while (keeper_tells(i->keeper)) {
            (void)keeper_turn(i->keeper);
        }
        wait_saved(epoch);
    }
    assert_int_equal(last.epoch_count, 3);
    expect_restored(&now);
    char *path = mem_printf("%s/t/2.things.0", folder);
    char *other = mem_printf("%s/t/1.things.0", folder);
    char *data = NULL;
    size_t bytes = 0;
    struct fail f = {0};
    assert_int_equal(file_read(path, 1u << 24, &data, &bytes, &f), ERR_OK);
    for (size_t at = 0; at < bytes; at += 1 + bytes / 200) {
        data[at] = (char)(data[at] ^ 4);
        assert_int_equal(file_write_safe(path, data, bytes, &f), ERR_OK);
        struct instance *fresh = make(false);
        assert_int_equal(restore(fresh, &f), ERR_CORRUPT);
        assert_non_null(strstr(f.what, "snapshot 2.things.0"));
        instance_free(fresh);
        data[at] = (char)(data[at] ^ 4);
    }
    mem_free(data);
    assert_int_equal(rename(other, path), 0); /* whole, but of another epoch */
    struct instance *fresh = make(false);
    assert_int_equal(restore(fresh, &f), ERR_CORRUPT);
    instance_free(fresh);
    mem_free(path);
    mem_free(other);
    instance_free(i);
}

static void save(struct instance *i, uint64_t epoch)
{
    keeper_take(i->keeper, i, epoch);
    while (keeper_tells(i->keeper)) {
        if (!keeper_turn(i->keeper)) {
            sched_yield();
        }
    }
    wait_saved(epoch);
    assert_true(last.ok);
}

/* R3: a PE without any state too, and when it was saved once more before it has ended again. */
static void who_had_ended_is_known_to_have(void **state)
{
    (void)state;
    struct fail f = {0};
    struct instance *i = make_of(&plain, true);
    i->keeper = keeper_new(saver, "t", 1, folder);
    save(i, 1);
    assert_int_equal(last.epoch_count, 0); /* there is nothing to say of it */
    i->finished = true;
    save(i, 2);
    for (uint64_t epoch = 3; epoch <= 4; epoch++) {
        assert_int_equal(last.epoch_count, 1);
        struct instance *fresh = make_of(&plain, false);
        assert_int_equal(restore(fresh, &f), ERR_OK);
        assert_true(fresh->had_finished && fresh->final_done && !fresh->finished);
        assert_int_equal(pe_start(fresh->pe, &f), ERR_OK);
        fresh->keeper = keeper_new(saver, "t", 1, folder);
        save(fresh, epoch);
        instance_free(i);
        i = fresh;
    }
    instance_free(i);
}

/* Groups come whole in turn, so old files are needed no more; what never changes stays where it
 * is, and whatever is named is enough. */
static void files_that_no_group_is_in_are_named_no_more(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 8};
    struct instance *i = make(true);
    size_t longest = 0;
    i->keeper = keeper_new(saver, "t", 1, folder);
    change(i, &now, &p, 4000);
    for (uint64_t epoch = 1; epoch <= 3 * SNAPSHOT_TURNS; epoch++) {
        if (epoch <= 2 * SNAPSHOT_TURNS) {
            change(i, &now, &p, 15);
        }
        save(i, epoch);
        assert_int_equal(last.epochs[last.epoch_count - 1], epoch);
        longest = last.epoch_count > longest ? last.epoch_count : longest;
        for (size_t n = 0; epoch > SNAPSHOT_TURNS && n < last.epoch_count; n++) {
            char *path = mem_printf("%s/t/%" PRIu64 ".things.0", folder, last.epochs[n]);
            assert_int_equal(access(path, R_OK), 0);
            mem_free(path);
        }
        if (epoch % 10 == 0) {
            expect_restored(&now);
        }
    }
    assert_true(longest > SNAPSHOT_TURNS / 2 && longest < SNAPSHOT_CHAIN_MAX);
    size_t old = 0;
    while (old < last.epoch_count && last.epochs[old] <= SNAPSHOT_TURNS) {
        old++;
    }
    assert_true(old < 8); /* only what groups are in that have not changed since */
    expect_restored(&now);
    instance_free(i);
}

/* A file of the chain is left out, which the version of some group tells. */
static void a_chain_without_one_of_its_files_is_refused(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 9};
    struct instance *i = make(true);
    struct fail f = {0};
    i->keeper = keeper_new(saver, "t", 1, folder);
    for (uint64_t epoch = 1; epoch <= 4; epoch++) {
        change(i, &now, &p, epoch == 1 ? 2000 : 20);
        save(i, epoch);
    }
    assert_int_equal(last.epoch_count, 4);
    uint64_t all[4];
    memcpy(all, last.epochs, sizeof all);
    last.epoch_count = 3;
    for (size_t without = 0; without < 3; without++) {
        for (size_t n = 0, to = 0; n < 4; n++) {
            last.epochs[to] = all[n];
            to += n != without;
        }
        struct instance *fresh = make(false);
        enum err e = restore(fresh, &f);
        assert_int_equal(e, ERR_CORRUPT);
        instance_free(fresh);
    }
    instance_free(i);
}

/* recover - what a recovery does: a fresh instance, restored, whose files go on. */
static struct instance *recover(struct instance *was)
{
    struct fail f = {0};
    instance_free(was);
    struct instance *fresh = make(false);
    if (restore(fresh, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    fresh->keeper = keeper_new(saver, "t", 2, folder);
    keeper_resume(fresh->keeper, fresh, &back);
    assert_int_equal(pe_start(fresh->pe, &f), ERR_OK);
    return fresh;
}

static void a_restored_instance_saves_only_what_changes_from_then_on(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 10};
    struct instance *i = make(true);
    i->keeper = keeper_new(saver, "t", 1, folder);
    change(i, &now, &p, 4000);
    save(i, 1);
    uint64_t whole = last.bytes;
    bool recovered = false;
    for (uint64_t epoch = 2; epoch <= 3 * SNAPSHOT_TURNS / 2; epoch++) {
        change(i, &now, &p, (unsigned)prng_below(&p, 20));
        struct model then = now;
        keeper_take(i->keeper, i, epoch);
        change(i, &now, &p, 5); /* copied before it is written */
        tell_all(i, &now, &p);
        wait_saved(epoch);
        assert_true(last.ok);
        assert_true(!recovered || (last.epoch_count > 1 && last.bytes < whole / 2));
        recovered = prng_below(&p, 4) == 0;
        if (recovered) {
            expect_restored(&then);
            i = recover(i);
            now = then;
        }
    }
    assert_true(last.epoch_count < SNAPSHOT_TURNS + 8); /* groups come whole in turn as ever */
    instance_free(i);
}

static void what_a_newer_file_has_whole_is_not_unpacked(void **state)
{
    (void)state;
    struct model now = {0};
    struct prng p = {.state = 11};
    struct instance *i = make(true);
    i->keeper = keeper_new(saver, "t", 1, folder);
    for (uint64_t epoch = 1; epoch <= 3; epoch++) {
        change(i, &now, &p, 4000); /* more than there are: most groups come whole each time */
        save(i, epoch);
    }
    change(i, &now, &p, 3);
    save(i, 4);
    last.epochs = mem_resize(last.epochs, 5, sizeof *last.epochs);
    for (size_t n = 0; n < 4; n++) {
        last.epochs[n] = n + 1; /* all of them, needed or not */
    }
    last.epoch_count = 4;
    expect_restored(&now);
    assert_true(back.skipped > KEY_GROUPS);
    instance_free(i);
}

static enum err put_to_file(void *arg, const void *data, size_t bytes, struct fail *f)
{
    (void)f;
    return fwrite(data, 1, bytes, arg) == bytes ? ERR_OK : ERR_IO;
}

static void files_of_another_format_are_refused(void **state)
{
    (void)state;
    static const char *const formats[] = {"", "\"format\":1,", "\"format\":3,"};
    char *dir = mem_printf("%s/t", folder), *path = mem_printf("%s/7.things.0", dir);
    struct fail f = {0};
    assert_int_equal(file_make_dirs(dir, &f), ERR_OK);
    last.epochs = mem_array(1, sizeof *last.epochs);
    last.epochs[0] = 7;
    last.epoch_count = 1;
    for (unsigned n = 0; n < sizeof formats / sizeof formats[0]; n++) {
        char *meta = mem_printf("{%s\"topology\":\"t\",\"uid\":\"things\",\"index\":0,"
                                "\"epoch\":7,\"base\":0,\"state_version\":3,\"states\":[]}",
                                formats[n]);
        uint64_t stored = 0;
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        struct blockfile_writer *w = blockfile_begin(put_to_file, file);
        assert_int_equal(blockfile_add(w, SNAPSHOT_META, 0, meta, strlen(meta), &f), ERR_OK);
        assert_int_equal(blockfile_end(w, &stored, &f), ERR_OK);
        blockfile_writer_free(w);
        assert_int_equal(fclose(file), 0);
        struct instance *fresh = make(false);
        assert_int_equal(restore(fresh, &f), ERR_VERSION);
        assert_non_null(strstr(f.what, "format"));
        instance_free(fresh);
        mem_free(meta);
    }
    mem_free(path);
    mem_free(dir);
}

/* More than may wait is told only as the saver gets on. */
static void a_large_state_is_told_as_it_is_stored(void **state)
{
    (void)state;
    struct instance *i = make(true);
    struct oxb_state *s = oxb_state(i->pe, "things");
    enum { MANY = 90000, BLOB = 300 };
    char blob[BLOB];
    memset(blob, 'x', sizeof blob);
    for (int64_t key = 0; key < MANY; key++) {
        uint64_t *cells = oxb_state_put(s, oxb_key_i64(&key));
        cells[0] = (uint64_t)key;
        oxb_cell_set(s, &cells[1], blob, sizeof blob);
    }
    i->keeper = keeper_new(saver, "t", 1, folder);
    save(i, 1);
    assert_true(last.bytes > 0);
    struct instance *fresh = make(false);
    struct fail f = {0};
    assert_int_equal(restore(fresh, &f), ERR_OK);
    struct oxb_state *table = oxb_state(fresh->pe, "things");
    assert_int_equal(oxb_state_count(table), MANY);
    for (int64_t key = 0; key < MANY; key++) {
        const uint64_t *cells = oxb_state_get(table, oxb_key_i64(&key));
        assert_non_null(cells);
        assert_int_equal(cells[0], (uint64_t)key);
        assert_int_equal(oxb_cell_get(&cells[1]).len, BLOB);
    }
    instance_free(fresh);
    instance_free(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        IN_A_FOLDER(what_is_saved_comes_back_while_writing_goes_on),
        IN_A_FOLDER(what_cannot_be_saved_is_said_and_the_next_one_is_whole),
        IN_A_FOLDER(a_will_is_tried_again_until_it_is_stored),
        IN_A_FOLDER(damaged_files_are_not_used),
        IN_A_FOLDER(who_had_ended_is_known_to_have),
        IN_A_FOLDER(files_that_no_group_is_in_are_named_no_more),
        IN_A_FOLDER(a_chain_without_one_of_its_files_is_refused),
        IN_A_FOLDER(a_restored_instance_saves_only_what_changes_from_then_on),
        IN_A_FOLDER(what_a_newer_file_has_whole_is_not_unpacked),
        IN_A_FOLDER(files_of_another_format_are_refused),
        IN_A_FOLDER(a_large_state_is_told_as_it_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
