/* tests/unit/master/store_test.c - what is durable, and when.
 *
 * Goal:   terms grow, ids are never given twice, a plan comes back whole, a decision is there or it
 *         is not.
 * Method: a store in a temporary folder, closed and opened again; and one whose process is killed
 *         between plan and decision, and right after the decision (a child that _exits). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "master/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/oxbow-store-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"oxbow.db", "oxbow.db-wal", "oxbow.db-shm"};
    char path[128];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static struct store *open_store(void)
{
    struct store *s = NULL;
    struct fail f = {0};
    if (store_sqlite_open(dir, &s, &f) != ERR_OK) {
        fail_msg("%s", f.what);
    }
    return s;
}

static char groups[] = "ffffffffffffffffffffffffffffffff00000000000000000000000000000001";
static struct store_instance instances[] = {{1, (char *)"a", 0, (char *)"w1", UINT64_MAX, 1, NULL},
                                            {2, (char *)"b", 0, (char *)"w2", 77, 2, groups}};
static struct store_channel channels[] = {{3, (char *)"a->b", 1, 2, true}};

static struct store_version sample(void)
{
    return (struct store_version){.topology = (char *)"t",
                                  .version = 1,
                                  .gen = 4,
                                  .op = 10,
                                  .epoch = 11,
                                  .state = (char *)"deploying",
                                  .yaml = (char *)"oxbow: 1\n",
                                  .canonical = (char *)"{}",
                                  .digest = (char *)"d",
                                  .base_dir = (char *)"/x",
                                  .artifacts = (char *)"{\"./p.so\":\"0\"}",
                                  .types = (char *)"[]",
                                  .created_at_us = 123456789,
                                  .instances = instances,
                                  .instance_count = 2,
                                  .channels = channels,
                                  .channel_count = 1};
}

struct seen {
    unsigned count;
    bool decided;
    uint64_t version;
    char state[16];
    char final[64];
};

static void check_sample(void *arg, const struct store_version *v)
{
    struct seen *seen = arg;
    seen->count++;
    seen->decided = v->decided;
    seen->version = v->version;
    snprintf(seen->state, sizeof seen->state, "%s", v->state);
    snprintf(seen->final, sizeof seen->final, "%s", v->final);
    assert_string_equal(v->topology, "t");
    assert_int_equal(v->gen, 4);
    assert_int_equal(v->op, 10);
    assert_int_equal(v->epoch, 11);
    assert_string_equal(v->yaml, "oxbow: 1\n");
    assert_string_equal(v->base_dir, "/x");
    assert_string_equal(v->artifacts, "{\"./p.so\":\"0\"}");
    assert_int_equal(v->created_at_us, 123456789);
    assert_int_equal(v->instance_count, 2);
    assert_true(v->instances[0].incarnation == UINT64_MAX);
    assert_string_equal(v->instances[1].worker, "w2");
    assert_int_equal(v->channel_count, 1);
    assert_string_equal(v->channels[0].stream, "a->b");
    assert_true(v->channels[0].fused);
}

static struct seen look(struct store *s)
{
    struct seen seen = {0};
    struct fail f = {0};
    assert_int_equal(s->ops->newest(s, check_sample, &seen, &f), ERR_OK);
    return seen;
}

static void terms_grow_and_ids_are_never_given_twice(void **state)
{
    (void)state;
    struct fail f = {0};
    uint64_t last = 0, term = 0;
    for (int round = 0; round < 3; round++) {
        struct store *s = open_store();
        uint64_t first;
        assert_int_equal(s->ops->term(s), term + 1);
        term++;
        assert_int_equal(s->ops->reserve(s, 10, &first, &f), ERR_OK);
        assert_true(first > last);
        last = first + 9;
        assert_int_equal(s->ops->reserve(s, 0, &first, &f), ERR_OK);
        assert_int_equal(first, last + 1);
        s->ops->close(s);
    }
}

static void a_worker_keeps_its_id(void **state)
{
    (void)state;
    struct fail f = {0};
    uint64_t a, b, again;
    struct store *s = open_store();
    assert_int_equal(s->ops->worker_id(s, "w1", &a, &f), ERR_OK);
    assert_int_equal(s->ops->worker_id(s, "w2", &b, &f), ERR_OK);
    assert_int_not_equal(a, b);
    s->ops->close(s);
    s = open_store();
    assert_int_equal(s->ops->worker_id(s, "w1", &again, &f), ERR_OK);
    assert_int_equal(a, again);
    s->ops->close(s);
}

static void a_plan_comes_back_whole_and_moves_through_its_states(void **state)
{
    (void)state;
    struct fail f = {0};
    struct store *s = open_store();
    struct store_version v = sample();
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_IO); /* the same version twice */
    assert_false(look(s).decided);
    assert_int_equal(s->ops->decide(s, "t", 1, 9, NULL, 0, &f), ERR_STALE); /* another op */
    assert_int_equal(s->ops->decide(s, "t", 1, 10, NULL, 0, &f), ERR_OK);
    assert_int_equal(s->ops->state(s, "t", 1, "finished", NULL, "{\"x\":1}", &f), ERR_OK);
    s->ops->close(s);
    s = open_store();
    struct seen seen = look(s);
    assert_true(seen.decided);
    assert_string_equal(seen.state, "finished");
    assert_string_equal(seen.final, "{\"x\":1}");
    assert_int_equal(s->ops->decide(s, "t", 1, 10, NULL, 0, &f), ERR_STALE); /* it is over */
    v.version = 2;
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    seen = look(s);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.version, 2);
    s->ops->close(s);
}

/* A process that dies without closing anything. */
static void die_after(bool deciding)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *s = NULL;
        struct fail f = {0};
        struct store_version v = sample();
        bool ok = store_sqlite_open(dir, &s, &f) == ERR_OK && s->ops->plan(s, &v, &f) == ERR_OK &&
                  (!deciding || s->ops->decide(s, "t", 1, 10, NULL, 0, &f) == ERR_OK);
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void killed_between_plan_and_decision_it_is_undecided(void **state)
{
    (void)state;
    die_after(false);
    struct store *s = open_store();
    struct seen seen = look(s);
    assert_int_equal(seen.count, 1);
    assert_false(seen.decided);
    s->ops->close(s);
}

static void killed_after_the_decision_it_is_decided(void **state)
{
    (void)state;
    die_after(true);
    struct store *s = open_store();
    assert_true(look(s).decided);
    s->ops->close(s);
}

/* ---- checkpoints */

static uint64_t chain[] = {20, 21};

static struct store_checkpoint manifest(uint64_t epoch, uint64_t version, uint64_t gen)
{
    static struct store_snapshot snapshots[] = {{(char *)"a", 0, 1, NULL, 0},
                                                {(char *)"b", 1, 2, chain, 2}};
    return (struct store_checkpoint){.topology = (char *)"t",
                                     .epoch = epoch,
                                     .gen = gen,
                                     .version = version,
                                     .created_at_us = 5,
                                     .bytes = 6,
                                     .took_us = 7,
                                     .snapshots = snapshots,
                                     .snapshot_count = 2};
}

struct found {
    uint64_t epochs[8];
    unsigned count;
};

static void on_checkpoint(void *arg, const struct store_checkpoint *c)
{
    struct found *found = arg;
    found->epochs[found->count++] = c->epoch;
    assert_string_equal(c->topology, "t");
    assert_int_equal(c->snapshot_count, 2);
    assert_string_equal(c->snapshots[0].uid, "a");
    assert_int_equal(c->snapshots[0].epoch_count, 0);
    assert_string_equal(c->snapshots[1].uid, "b");
    assert_int_equal(c->snapshots[1].index, 1);
    assert_int_equal(c->snapshots[1].parallelism, 2);
    assert_int_equal(c->snapshots[1].epoch_count, 2);
    assert_memory_equal(c->snapshots[1].epochs, chain, sizeof chain);
    assert_int_equal(c->bytes, 6);
    assert_int_equal(c->took_us, 7);
}

static struct found checkpoints_of(struct store *s)
{
    struct found found = {0};
    struct fail f;
    assert_int_equal(s->ops->checkpoints(s, "t", on_checkpoint, &found, &f), ERR_OK);
    return found;
}

static enum err put(struct store *s, uint64_t epoch, uint64_t version, uint64_t gen, uint32_t keep)
{
    struct fail f;
    struct store_checkpoint c = manifest(epoch, version, gen);
    return s->ops->manifest(s, &c, keep, &f);
}

static void decided(struct store *s, uint64_t version, uint64_t op)
{
    struct store_version v = sample();
    struct fail f;
    v.version = version;
    v.op = op;
    v.base = version > 1 ? version - 1 : 0;
    v.parts = v.about = (char *)"{}";
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    assert_int_equal(s->ops->decide(s, "t", version, op, NULL, 0, &f), ERR_OK);
    assert_int_equal(s->ops->state(s, "t", version, "running", NULL, NULL, &f), ERR_OK);
}

static void the_newest_checkpoints_are_kept(void **state)
{
    (void)state;
    struct store *s = open_store();
    decided(s, 1, 10);
    for (uint64_t epoch = 20; epoch < 25; epoch++) {
        assert_int_equal(put(s, epoch, 1, 4, 3), ERR_OK);
    }
    s->ops->close(s);
    s = open_store(); /* also after a restart */
    struct found found = checkpoints_of(s);
    assert_int_equal(found.count, 3);
    assert_int_equal(found.epochs[0], 24);
    assert_int_equal(found.epochs[2], 22);
    s->ops->close(s);
}

static void a_decision_or_a_recovery_makes_a_checkpoint_void(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct fail f;
    decided(s, 1, 10);
    assert_int_equal(put(s, 20, 1, 4, 3), ERR_OK);
    decided(s, 2, 30);
    assert_int_equal(put(s, 25, 1, 4, 3), ERR_STALE); /* its marker was before the decision */
    assert_int_equal(put(s, 31, 2, 4, 3), ERR_OK);
    struct store_version v = sample();
    v.version = 2;
    v.gen = 5;
    assert_int_equal(s->ops->recover(s, &v, &f), ERR_OK);
    assert_int_equal(put(s, 40, 2, 4, 3), ERR_STALE);        /* of the generation before */
    assert_int_equal(s->ops->recover(s, &v, &f), ERR_STALE); /* not twice under one generation */
    assert_int_equal(put(s, 41, 2, 5, 3), ERR_OK);
    assert_int_equal(checkpoints_of(s).count, 3);
    s->ops->close(s);
}

static void a_topology_that_begins_anew_has_no_checkpoint(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct fail f;
    decided(s, 1, 10);
    assert_int_equal(put(s, 20, 1, 4, 3), ERR_OK);
    struct store_version v = sample();
    v.version = 2;
    v.op = 30;
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    assert_int_equal(checkpoints_of(s).count, 0);
    s->ops->close(s);
}

static void note_passed(void *arg, const struct store_checkpoint *c)
{
    uint64_t *seen = arg; /* epochs, newest first; 1000 more for those that output has passed */
    *seen = *seen * 10000 + c->epoch + (c->is_passed ? 1000 : 0);
}

static uint64_t passed_of(struct store *s)
{
    struct fail f;
    uint64_t seen = 0;
    assert_int_equal(s->ops->checkpoints(s, "t", note_passed, &seen, &f), ERR_OK);
    return seen;
}

static void note_graph(void *arg, const struct store_version *v)
{
    *(size_t *)arg += v->instance_count;
}

/* The newest checkpoint of the content before is kept beside `keep` others, and its graph with it;
 * a rollback to it takes the later ones away. */
static void the_version_before_can_be_gone_back_to(void **state)
{
    (void)state;
    struct fail f;
    struct store *s = open_store();
    decided(s, 1, 10);
    assert_int_equal(put(s, 20, 1, 4, 2), ERR_OK);
    assert_int_equal(put(s, 21, 1, 4, 2), ERR_OK);
    struct store_version v = sample();
    v.version = 2;
    v.op = 30;
    v.base = 1;
    v.digest = (char *)"another";
    v.parts = v.about = (char *)"{}";
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    assert_int_equal(s->ops->decide(s, "t", 2, 30, NULL, 0, &f), ERR_OK);
    for (uint64_t epoch = 31; epoch <= 35; epoch++) {
        assert_int_equal(put(s, epoch, 2, 4, 2), ERR_OK);
    }
    assert_int_equal(passed_of(s), 3500340021); /* 35, 34, 21 */
    v.version = 3; /* planned and given up: the graph of 1 is still there */
    v.op = 40;
    v.base = 2;
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    size_t rows = 0;
    assert_int_equal(s->ops->version(s, "t", 1, note_graph, &rows, &f), ERR_OK);
    assert_int_equal(rows, v.instance_count);
    struct store_version back = sample();
    back.version = 4;
    back.op = 50;
    back.base = 2;
    back.decided = true;
    back.parts = back.about = (char *)"{}";
    assert_int_equal(s->ops->rollback(s, &back, 21, true, &f), ERR_OK);
    s->ops->close(s);
    s = open_store();
    assert_int_equal(passed_of(s), 1021);
    assert_int_equal(put(s, 60, 2, 4, 2), ERR_STALE); /* of what was undone */
    assert_int_equal(put(s, 60, 4, 4, 1), ERR_OK);
    assert_int_equal(passed_of(s), 60); /* content as before: nothing else is kept */
    s->ops->close(s);
}

static void count_will(void *arg, const struct store_will *w)
{
    assert_string_equal(w->topology, "t");
    assert_string_equal(w->uid, "sink");
    assert_string_equal(w->host, "here");
    assert_int_equal(w->bytes, 3);
    assert_memory_equal(w->body, "a\0b", 3);
    *(uint64_t *)arg = *(uint64_t *)arg * 1000 + w->epoch + w->index;
}

static uint64_t wills_of_store(struct store *s)
{
    struct fail f;
    uint64_t sum = 0;
    assert_int_equal(s->ops->wills(s, count_will, &sum, &f), ERR_OK);
    return sum;
}

/* Decided with its rows or not at all; void when a recovery goes back behind the change. */
static void wills_are_there_from_the_decision_until_done_or_void(void **state)
{
    (void)state;
    struct fail f;
    struct store *s = open_store();
    struct store_will rows[] = {
        {(char *)"t", 50, (char *)"sink", 0, (char *)"file-sink", (char *)"here", (char *)"a\0b",
         3},
        {(char *)"t", 50, (char *)"sink", 1, (char *)"file-sink", (char *)"here", (char *)"a\0b",
         3},
    };
    struct store_version v = sample();
    assert_int_equal(s->ops->plan(s, &v, &f), ERR_OK);
    assert_int_equal(s->ops->decide(s, "t", 1, 9, rows, 2, &f), ERR_STALE);
    assert_int_equal(wills_of_store(s), 0);
    assert_int_equal(s->ops->decide(s, "t", 1, 10, rows, 2, &f), ERR_OK);
    s->ops->close(s);
    s = open_store();
    assert_int_equal(wills_of_store(s), 50051);
    v.gen = 5;
    v.from_epoch = 60; /* a checkpoint taken after the change */
    assert_int_equal(s->ops->recover(s, &v, &f), ERR_OK);
    assert_int_equal(wills_of_store(s), 50051);
    assert_int_equal(s->ops->will_done(s, &rows[0], &f), ERR_OK);
    assert_int_equal(wills_of_store(s), 51);
    v.gen = 6;
    v.from_epoch = 40;
    assert_int_equal(s->ops->recover(s, &v, &f), ERR_OK);
    assert_int_equal(wills_of_store(s), 0);
    s->ops->close(s);
}

static void note_yaml(void *arg, const struct store_version *v)
{
    struct strbuf *out = arg;
    strbuf_printf(out, "%s %d %d %d %d %d %s %s %s %s %zu %zu\n", v->topology, (int)v->version,
                  (int)v->gen, (int)v->op, (int)v->epoch, (int)v->decided, v->state, v->yaml,
                  v->digest, v->types, v->instance_count, v->channel_count);
    for (size_t i = 0; i < v->instance_count; i++) {
        strbuf_printf(out, "%d %s %s %d\n", (int)v->instances[i].id, v->instances[i].pe,
                      v->instances[i].worker, (int)v->instances[i].incarnation);
    }
}

static void note_epochs(void *arg, const struct store_checkpoint *c)
{
    struct strbuf *out = arg;
    for (size_t i = 0; i < c->snapshot_count; i++) {
        strbuf_printf(out, "%d %s %d\n", (int)c->epoch, c->snapshots[i].uid,
                      c->snapshots[i].epoch_count > 0 ? (int)c->snapshots[i].epochs[0] : 0);
    }
}

/* what_it_says - all that matters, as text; caller frees. */
static char *what_it_says(struct store *s)
{
    struct strbuf out = {0};
    struct fail f;
    if (s->ops->newest(s, note_yaml, &out, &f) != ERR_OK ||
        s->ops->checkpoints(s, "t", note_epochs, &out, &f) != ERR_OK) {
        strbuf_printf(&out, "%s", "refused");
    }
    return strbuf_take(&out);
}

/* One bit in each of many places: refused with a reason, or what it says is what was written. */
/* What is written over is another row: the sums of tables must forget the old one. */
static void what_was_written_over_is_not_taken_for_damage(void **state)
{
    (void)state;
    struct fail f;
    struct store *s = open_store();
    decided(s, 1, 10);
    for (unsigned k = 0; k < 2; k++) {
        const char *said = k == 0 ? "{}" : "{\"x\":1}";
        assert_int_equal(s->ops->carry(s, "t", said, &f), ERR_OK);
        assert_int_equal(s->ops->recovered(s, "t", 5, said, &f), ERR_OK);
        assert_int_equal(s->ops->receipt(s, "t", 1, said, &f), ERR_OK);
    }
    s->ops->close(s);
    s = open_store();
    decided(s, 2, 20);
    s->ops->close(s);
    s = open_store();
    s->ops->close(s);
}

static void a_store_with_a_flipped_bit_says_nothing_wrong(void **state)
{
    (void)state;
    char path[128], *data;
    size_t bytes, refused = 0, trials = 0;
    struct fail f;
    struct store *s = open_store();
    decided(s, 1, 10);
    decided(s, 2, 20);
    assert_int_equal(put(s, 30, 2, 4, 3), ERR_OK);
    assert_int_equal(put(s, 31, 2, 4, 3), ERR_OK);
    char *wanted = what_it_says(s);
    s->ops->close(s);
    snprintf(path, sizeof path, "%s/oxbow.db", dir);
    assert_int_equal(file_read(path, 1u << 24, &data, &bytes, &f), ERR_OK);
    size_t written = 0; /* bytes that are not 0: the rest is free */
    for (size_t at = 0; at < bytes; at++) {
        written += data[at] != 0;
        if (data[at] == 0 || written % 67 != 0) {
            continue;
        }
        trials++;
        data[at] = (char)(data[at] ^ 1 << at % 8);
        assert_int_equal(remove_dir(NULL), 0);
        assert_int_equal(mkdir(dir, 0700), 0);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, bytes, file), bytes);
        fclose(file);
        data[at] = (char)(data[at] ^ 1 << at % 8);
        f = (struct fail){0};
        if (store_sqlite_open(dir, &s, &f) != ERR_OK) {
            assert_true(f.what[0] != '\0');
            refused++;
            continue;
        }
        char *says = what_it_says(s);
        if (strstr(says, "refused") == NULL) {
            assert_string_equal(says, wanted);
        }
        mem_free(says);
        s->ops->close(s);
    }
    assert_in_range(refused, trials / 2, trials);
    mem_free(wanted);
    mem_free(data);
}

static void a_file_that_is_no_store_is_refused_with_a_reason(void **state)
{
    (void)state;
    char path[128];
    struct store *s = NULL;
    struct fail f = {0};
    snprintf(path, sizeof path, "%s/oxbow.db", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        fputs("this is not a database\n", file);
    }
    fclose(file);
    assert_int_not_equal(store_sqlite_open(dir, &s, &f), ERR_OK);
    assert_true(f.what[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
        IN_A_FOLDER(terms_grow_and_ids_are_never_given_twice),
        IN_A_FOLDER(a_worker_keeps_its_id),
        IN_A_FOLDER(a_plan_comes_back_whole_and_moves_through_its_states),
        IN_A_FOLDER(killed_between_plan_and_decision_it_is_undecided),
        IN_A_FOLDER(killed_after_the_decision_it_is_decided),
        IN_A_FOLDER(the_newest_checkpoints_are_kept),
        IN_A_FOLDER(a_decision_or_a_recovery_makes_a_checkpoint_void),
        IN_A_FOLDER(a_topology_that_begins_anew_has_no_checkpoint),
        IN_A_FOLDER(the_version_before_can_be_gone_back_to),
        IN_A_FOLDER(wills_are_there_from_the_decision_until_done_or_void),
        IN_A_FOLDER(what_was_written_over_is_not_taken_for_damage),
        IN_A_FOLDER(a_store_with_a_flipped_bit_says_nothing_wrong),
        IN_A_FOLDER(a_file_that_is_no_store_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
