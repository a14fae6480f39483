/* master/store_kept.c - of the SQLite store: checkpoints, and how recoveries went.
 *
 * Runs on:    the master loop.
 * Invariants: those of master/store.h; every function is one transaction. */
#include "master/store_own.h"

#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <inttypes.h>
#include <stdlib.h>

/* With `keep` 0 the topology begins anew: all of them. */
enum err store_forget_checkpoints(struct store_sqlite *s, const char *topology, uint32_t keep,
                                  struct fail *f)
{
    static const char *const rows[] = {"DELETE FROM snapshots WHERE topology=? AND epoch NOT IN"
                                       " (SELECT epoch FROM checkpoints WHERE topology=?)",
                                       "DELETE FROM passed WHERE topology=? AND epoch NOT IN"
                                       " (SELECT epoch FROM checkpoints WHERE topology=?)"};
    enum err e = sql_run(
        s,
        sql_bound(s,
                  "DELETE FROM checkpoints WHERE topology=? AND epoch NOT IN"
                  " (SELECT epoch FROM checkpoints WHERE topology=? ORDER BY epoch DESC LIMIT ?)"
                  " AND (?=0 OR epoch NOT IN (SELECT coalesce(max(c.epoch), 0) FROM checkpoints c"
                  "  JOIN versions v ON v.topology=c.topology AND v.version=c.version"
                  "  WHERE c.topology=? AND v.digest<>(SELECT digest FROM versions"
                  "   WHERE topology=? AND decided=1 ORDER BY version DESC LIMIT 1)))",
                  "ttiitt", topology, topology, (uint64_t)keep, (uint64_t)keep, topology, topology),
        f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && e == ERR_OK; i++) {
        e = sql_run(s, sql_bound(s, rows[i], "tt", topology, topology), f);
    }
    return e;
}

enum err store_pass_checkpoint(struct store_sqlite *s, const char *topology, uint64_t epoch,
                               bool keep_output, struct fail *f)
{
    enum err e = sql_run(
        s,
        sql_bound(s, "DELETE FROM checkpoints WHERE topology=? AND epoch>?", "ti", topology, epoch),
        f);
    if (e == ERR_OK) {
        e = sql_run(s,
                    sql_bound(s,
                              "DELETE FROM snapshots WHERE topology=? AND epoch NOT IN"
                              " (SELECT epoch FROM checkpoints WHERE topology=?)",
                              "tt", topology, topology),
                    f);
    }
    if (e == ERR_OK && keep_output) {
        e = sql_run(
            s, sql_bound(s, "INSERT OR IGNORE INTO passed VALUES(?,?)", "ti", topology, epoch), f);
    }
    return e;
}

static char *epochs_text(const struct store_snapshot *n)
{
    struct strbuf text = {0};
    for (size_t i = 0; i < n->epoch_count; i++) {
        strbuf_printf(&text, i > 0 ? " %" PRIu64 : "%" PRIu64, n->epochs[i]);
    }
    return strbuf_take(&text);
}

/* R17: a change that was decided after the marker, or a recovery, makes it void. */
static enum err check_manifest(struct store_sqlite *s, const struct store_checkpoint *c,
                               struct fail *f)
{
    sqlite3_stmt *q = sql_bound(s,
                                "SELECT version, gen FROM versions WHERE topology=? AND decided=1"
                                " ORDER BY version DESC LIMIT 1",
                                "t", c->topology);
    bool same = q != NULL && sqlite3_step(q) == SQLITE_ROW && sql_number(q, 0) == c->version &&
                sql_number(q, 1) == c->gen;
    sqlite3_finalize(q);
    return same ? ERR_OK
                : fail_set(f, ERR_STALE, "", "checkpoint %" PRIu64 " of %s is void", c->epoch,
                           c->topology);
}

enum err store_manifest(struct store *base, const struct store_checkpoint *c, uint32_t keep,
                        struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    e = check_manifest(s, c, f);
    if (e == ERR_OK) {
        e = sql_run(s,
                    sql_bound(s, "INSERT INTO checkpoints VALUES(?,?,?,?,?,?,?)", "tiiiiii",
                              c->topology, c->epoch, c->gen, c->version, (uint64_t)c->created_at_us,
                              c->bytes, c->took_us),
                    f);
    }
    for (size_t i = 0; e == ERR_OK && i < c->snapshot_count; i++) {
        const struct store_snapshot *n = &c->snapshots[i];
        char *epochs = epochs_text(n);
        e = sql_run(s,
                    sql_bound(s, "INSERT INTO snapshots VALUES(?,?,?,?,?,?)", "titiit", c->topology,
                              c->epoch, n->uid, (uint64_t)n->index, (uint64_t)n->parallelism,
                              epochs),
                    f);
        mem_free(epochs);
    }
    if (e == ERR_OK) {
        e = store_forget_checkpoints(s, c->topology, keep, f);
    }
    return sql_commit(s, e, f);
}

static void read_epochs(const char *text, struct store_snapshot *out)
{
    size_t capacity = 0;
    for (char *end = NULL; *text != '\0'; text = *end == ' ' ? end + 1 : end) {
        out->epochs = mem_grow(out->epochs, out->epoch_count, &capacity, sizeof *out->epochs);
        out->epochs[out->epoch_count++] = strtoull(text, &end, 10);
        if (end == text) {
            out->epoch_count--;
            return;
        }
    }
}

static enum err load_snapshots(struct store_sqlite *s, struct store_checkpoint *c, struct fail *f)
{
    size_t capacity = 0;
    sqlite3_stmt *q = sql_bound(s,
                                "SELECT uid, number, parallelism, epochs FROM snapshots"
                                " WHERE topology=? AND epoch=? ORDER BY uid, number",
                                "ti", c->topology, c->epoch);
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        c->snapshots = mem_grow(c->snapshots, c->snapshot_count, &capacity, sizeof *c->snapshots);
        struct store_snapshot *n = &c->snapshots[c->snapshot_count++];
        *n = (struct store_snapshot){.uid = sql_column(q, 0),
                                     .index = (uint32_t)sql_number(q, 1),
                                     .parallelism = (uint32_t)sql_number(q, 2)};
        char *epochs = sql_column(q, 3);
        read_epochs(epochs, n);
        mem_free(epochs);
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}

void store_checkpoint_fini(struct store_checkpoint *c)
{
    for (size_t i = 0; i < c->snapshot_count; i++) {
        mem_free(c->snapshots[i].uid);
        mem_free(c->snapshots[i].epochs);
    }
    mem_free(c->snapshots);
    mem_free(c->topology);
    *c = (struct store_checkpoint){0};
}

enum err store_checkpoints(struct store *base, const char *topology,
                           void (*fn)(void *arg, const struct store_checkpoint *c), void *arg,
                           struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q = sql_bound(s,
                                "SELECT epoch, gen, version, created_at_us, bytes, took_us,"
                                " EXISTS(SELECT 1 FROM passed p WHERE p.topology=c.topology"
                                "  AND p.epoch=c.epoch)"
                                " FROM checkpoints c WHERE topology=? ORDER BY epoch DESC",
                                "t", topology);
    int rc = SQLITE_ERROR;
    enum err e = ERR_OK;
    while (e == ERR_OK && q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct store_checkpoint c = {.topology = mem_dup(topology),
                                     .epoch = sql_number(q, 0),
                                     .gen = sql_number(q, 1),
                                     .version = sql_number(q, 2),
                                     .created_at_us = sqlite3_column_int64(q, 3),
                                     .bytes = sql_number(q, 4),
                                     .took_us = sql_number(q, 5),
                                     .is_passed = sql_number(q, 6) != 0};
        e = load_snapshots(s, &c, f);
        if (e == ERR_OK) {
            fn(arg, &c);
        }
        store_checkpoint_fini(&c);
    }
    sqlite3_finalize(q);
    return e != ERR_OK || rc == SQLITE_DONE ? e : sql_failed(s, "read", f);
}

enum err store_recovered(struct store *base, const char *topology, uint64_t gen,
                         const char *receipt, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    e = sql_run(s,
                sql_bound(s, "INSERT OR REPLACE INTO recoveries VALUES(?,?,?)", "tit", topology,
                          gen, receipt),
                f);
    if (e == ERR_OK) {
        e = sql_run(
            s,
            sql_bound(s,
                      "DELETE FROM recoveries WHERE topology=? AND gen NOT IN"
                      " (SELECT gen FROM recoveries WHERE topology=? ORDER BY gen DESC LIMIT ?)",
                      "tti", topology, topology, (uint64_t)RECOVERIES_KEPT),
            f);
    }
    return sql_commit(s, e, f);
}

enum err store_recoveries(struct store *base, const char *topology,
                          void (*fn)(void *arg, const char *receipt), void *arg, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q =
        sql_bound(s, "SELECT receipt FROM recoveries WHERE topology=? ORDER BY gen", "t", topology);
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        fn(arg, (const char *)sqlite3_column_text(q, 0));
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}
