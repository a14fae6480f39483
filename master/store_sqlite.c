/* master/store_sqlite.c - the store in one SQLite file: WAL, synchronous=FULL.
 *
 * Owns:       struct store_sqlite.
 * Runs on:    the master loop.
 * Invariants: those of master/store.h; every function is one transaction.
 * Failpoints: store.reserve, store.plan, store.decide, store.state, store.receipt, store.drained,
 *             store.manifest, store.recover, store.recovered, store.will_done, store.rollback:
 * `.before` (may fail) and `.after`. */
#include "master/store_own.h"

#include "core/failpoint.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION 1

static const char schema_sql[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS workers(name TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS drained(worker TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS carried(topology TEXT PRIMARY KEY, counters TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS versions("
    " topology TEXT NOT NULL, version INTEGER NOT NULL, gen INTEGER NOT NULL,"
    " op INTEGER NOT NULL, epoch INTEGER NOT NULL, decided INTEGER NOT NULL, state TEXT NOT NULL,"
    " yaml TEXT NOT NULL, canonical TEXT NOT NULL, digest TEXT NOT NULL, base_dir TEXT NOT NULL,"
    " artifacts TEXT NOT NULL, types TEXT NOT NULL, error TEXT NOT NULL, final TEXT NOT NULL,"
    " created_at_us INTEGER NOT NULL, PRIMARY KEY(topology, version)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS instances("
    " topology TEXT NOT NULL, version INTEGER NOT NULL, id INTEGER NOT NULL, pe TEXT NOT NULL,"
    " number INTEGER NOT NULL, worker TEXT NOT NULL, incarnation INTEGER NOT NULL,"
    " chain INTEGER NOT NULL, PRIMARY KEY(topology, version, id)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS key_groups(" /* that have moved: no row, where they were at first */
    " topology TEXT NOT NULL, version INTEGER NOT NULL, id INTEGER NOT NULL,"
    " owned TEXT NOT NULL, PRIMARY KEY(topology, version, id)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS channels("
    " topology TEXT NOT NULL, version INTEGER NOT NULL, id INTEGER NOT NULL, stream TEXT NOT NULL,"
    " from_id INTEGER NOT NULL, to_id INTEGER NOT NULL, fused INTEGER NOT NULL,"
    " PRIMARY KEY(topology, version, id)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS changes(" /* of what runs: no row, no base */
    " topology TEXT NOT NULL, version INTEGER NOT NULL, base INTEGER NOT NULL,"
    " parts TEXT NOT NULL, about TEXT NOT NULL, receipt TEXT NOT NULL,"
    " PRIMARY KEY(topology, version)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS checkpoints(" /* complete ones only */
    " topology TEXT NOT NULL, epoch INTEGER NOT NULL, gen INTEGER NOT NULL,"
    " version INTEGER NOT NULL, created_at_us INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " took_us INTEGER NOT NULL, PRIMARY KEY(topology, epoch)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS snapshots("
    " topology TEXT NOT NULL, epoch INTEGER NOT NULL, uid TEXT NOT NULL, number INTEGER NOT NULL,"
    " parallelism INTEGER NOT NULL, epochs TEXT NOT NULL," /* separated by blanks */
    " PRIMARY KEY(topology, epoch, uid, number)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS passed(" /* checkpoints: output that they do not cover stays */
    " topology TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY(topology, epoch)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS recoveries("
    " topology TEXT NOT NULL, gen INTEGER NOT NULL, receipt TEXT NOT NULL,"
    " PRIMARY KEY(topology, gen)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS wills("
    " topology TEXT NOT NULL, epoch INTEGER NOT NULL, uid TEXT NOT NULL, number INTEGER NOT NULL,"
    " type TEXT NOT NULL, host TEXT NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY(topology, epoch, uid, number)) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES('schema', 1), ('term', 0), ('next_id', 1);";

static const struct store_ops sqlite_ops;
static enum err take_cluster(struct store_sqlite *s, struct fail *f);
static enum err take_term(struct store_sqlite *s, struct fail *f);
static bool read_meta(struct store_sqlite *s, const char *key, int64_t *value);

enum err store_sqlite_open(const char *dir, struct store **out, struct fail *f)
{
    char *path = file_join(dir, "oxbow.db");
    struct store_sqlite *s = mem_alloc(sizeof *s);
    s->base.ops = &sqlite_ops;
    int64_t schema = 0;
    enum err e = ERR_OK;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK) {
        e = sql_failed(s, "open", f);
        goto failed;
    }
    sqlite3_busy_timeout(s->db, 2000);
    e = sql_exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                    "PRAGMA recursive_triggers=ON;", /* for REPLACE: see store_sums.c */
                 f);
    if (e == ERR_OK) {
        e = sql_exec(s, schema_sql, f);
    }
    if (e != ERR_OK) {
        goto failed;
    }
    if (!read_meta(s, "schema", &schema) || schema != SCHEMA_VERSION) {
        e = fail_set(f, ERR_VERSION, "use the program that made it, or another --data",
                     "%s has schema %" PRId64 ", this program reads %d", path, schema,
                     SCHEMA_VERSION);
        goto failed;
    }
    e = store_check_sums(s, f);
    if (e == ERR_OK) {
        e = take_cluster(s, f);
    }
    if (e == ERR_OK) {
        e = take_term(s, f);
    }
    if (e != ERR_OK) {
        goto failed;
    }
    mem_free(path);
    *out = &s->base;
    return ERR_OK;
failed:
    mem_free(path);
    sqlite3_close(s->db);
    mem_free(s);
    return e;
}

void store_version_fini(struct store_version *v)
{
    char *texts[] = {v->topology, v->state,     v->yaml,    v->canonical, v->digest,
                     v->base_dir, v->artifacts, v->types,   v->error,     v->final,
                     v->parts,    v->about,     v->receipt, v->carried};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        mem_free(texts[i]);
    }
    for (size_t i = 0; i < v->instance_count; i++) {
        mem_free(v->instances[i].pe);
        mem_free(v->instances[i].worker);
        mem_free(v->instances[i].groups);
    }
    for (size_t i = 0; i < v->channel_count; i++) {
        mem_free(v->channels[i].stream);
    }
    mem_free(v->instances);
    mem_free(v->channels);
    *v = (struct store_version){0};
}

/* ---- statements: bind by a short format, so that a query and its values stand on one page ---- */

enum err sql_failed(struct store_sqlite *s, const char *verb, struct fail *f)
{
    return fail_set(f, ERR_IO, "check the data folder: space, permissions",
                    "the store could not %s: %s", verb,
                    s->db != NULL ? sqlite3_errmsg(s->db) : "no memory");
}

enum err sql_exec(struct store_sqlite *s, const char *sql, struct fail *f)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK
                                                                   : sql_failed(s, "write", f);
}

static void bind_all(sqlite3_stmt *q, const char *kinds, va_list ap)
{
    for (int i = 0; kinds[i] != '\0'; i++) {
        if (kinds[i] == 't') {
            sqlite3_bind_text(q, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        } else if (kinds[i] == 'b') {
            const void *data = va_arg(ap, const void *);
            sqlite3_bind_blob64(q, i + 1, data, va_arg(ap, size_t), SQLITE_TRANSIENT);
        } else {
            sqlite3_bind_int64(q, i + 1, (sqlite3_int64)va_arg(ap, uint64_t));
        }
    }
}

/* A statement with its values: 't' text (NULL binds NULL), 'i' uint64_t. */
sqlite3_stmt *sql_bound(struct store_sqlite *s, const char *sql, const char *kinds, ...)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK) {
        return NULL;
    }
    va_list ap;
    va_start(ap, kinds);
    bind_all(q, kinds, ap);
    va_end(ap);
    return q;
}

/* One of many rows: `q` is used again. */
enum err sql_insert(sqlite3_stmt *q, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    bind_all(q, kinds, ap);
    va_end(ap);
    int rc = sqlite3_step(q);
    sqlite3_reset(q);
    return rc == SQLITE_DONE ? ERR_OK : ERR_IO;
}

enum err sql_run(struct store_sqlite *s, sqlite3_stmt *q, struct fail *f)
{
    int rc = q != NULL ? sqlite3_step(q) : SQLITE_ERROR;
    enum err e = rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "write", f);
    sqlite3_finalize(q);
    return e;
}

enum err sql_commit(struct store_sqlite *s, enum err so_far, struct fail *f)
{
    if (so_far == ERR_OK) {
        so_far = sql_exec(s, "COMMIT", f);
    }
    if (so_far != ERR_OK) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return so_far;
}

static bool read_meta(struct store_sqlite *s, const char *key, int64_t *value)
{
    sqlite3_stmt *q = sql_bound(s, "SELECT value FROM meta WHERE key=?", "t", key);
    bool ok = q != NULL && sqlite3_step(q) == SQLITE_ROW;
    if (ok) {
        *value = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return ok;
}

static enum err take_cluster(struct store_sqlite *s, struct fail *f)
{
    int64_t cluster = 0;
    enum err e = sql_exec(s,
                          "INSERT INTO meta SELECT 'cluster', abs(random() / 2)"
                          " WHERE NOT EXISTS(SELECT 1 FROM meta WHERE key='cluster')",
                          f);
    if (e == ERR_OK && !read_meta(s, "cluster", &cluster)) {
        e = sql_failed(s, "read", f);
    }
    s->cluster = (uint64_t)cluster;
    return e;
}

static enum err take_term(struct store_sqlite *s, struct fail *f)
{
    int64_t term = 0;
    enum err e = sql_exec(s, "UPDATE meta SET value=value+1 WHERE key='term'", f);
    if (e == ERR_OK && !read_meta(s, "term", &term)) {
        e = sql_failed(s, "read", f);
    }
    s->term = (uint64_t)term;
    return e;
}

char *sql_column(sqlite3_stmt *q, int i)
{
    const char *text = (const char *)sqlite3_column_text(q, i);
    return mem_dup(text != NULL ? text : "");
}

uint64_t sql_number(sqlite3_stmt *q, int i)
{
    return (uint64_t)sqlite3_column_int64(q, i);
}

/* ---- the operations ---- */

static uint64_t op_term(struct store *base)
{
    return ((struct store_sqlite *)base)->term;
}

static uint64_t op_cluster(struct store *base)
{
    return ((struct store_sqlite *)base)->cluster;
}

static enum err op_reserve(struct store *base, uint64_t count, uint64_t *first, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    int64_t next = 0;
    enum err e = sql_run(
        s, sql_bound(s, "UPDATE meta SET value=value+? WHERE key='next_id'", "i", count), f);
    if (e == ERR_OK && !read_meta(s, "next_id", &next)) {
        e = sql_failed(s, "read", f);
    }
    if (e == ERR_OK) {
        *first = (uint64_t)next - count;
    }
    return e;
}

static enum err op_worker_id(struct store *base, const char *name, uint64_t *id, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_run(s,
                         sql_bound(s,
                                   "INSERT OR IGNORE INTO workers"
                                   " VALUES(?, (SELECT coalesce(max(id), 0) + 1 FROM workers))",
                                   "t", name),
                         f);
    if (e != ERR_OK) {
        return e;
    }
    sqlite3_stmt *q = sql_bound(s, "SELECT id FROM workers WHERE name=?", "t", name);
    if (q != NULL && sqlite3_step(q) == SQLITE_ROW) {
        *id = sql_number(q, 0);
    } else {
        e = sql_failed(s, "read", f);
    }
    sqlite3_finalize(q);
    return e;
}

static enum err op_drained(struct store *base, const char *worker, bool drained, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    return sql_run(s,
                   sql_bound(s,
                             drained ? "INSERT OR IGNORE INTO drained VALUES(?)"
                                     : "DELETE FROM drained WHERE worker=?",
                             "t", worker),
                   f);
}

static enum err op_each_drained(struct store *base, void (*fn)(void *arg, const char *worker),
                                void *arg, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q = sql_bound(s, "SELECT worker FROM drained", "");
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        fn(arg, (const char *)sqlite3_column_text(q, 0));
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}

static enum err insert_graph(struct store_sqlite *s, const struct store_version *v, struct fail *f)
{
    sqlite3_stmt *row = sql_bound(s, "INSERT INTO instances VALUES(?,?,?,?,?,?,?,?)", "");
    sqlite3_stmt *channel = sql_bound(s, "INSERT INTO channels VALUES(?,?,?,?,?,?,?)", "");
    enum err e = row != NULL && channel != NULL ? ERR_OK : ERR_IO;
    for (size_t i = 0; e == ERR_OK && i < v->instance_count; i++) {
        const struct store_instance *n = &v->instances[i];
        e = sql_insert(row, "tiititii", v->topology, v->version, n->id, n->pe, (uint64_t)n->index,
                       n->worker, n->incarnation, (uint64_t)n->chain);
        if (e == ERR_OK && n->groups != NULL && n->groups[0] != '\0') {
            e = sql_run(s,
                        sql_bound(s, "INSERT INTO key_groups VALUES(?,?,?,?)", "tiit", v->topology,
                                  v->version, n->id, n->groups),
                        f);
        }
    }
    for (size_t i = 0; e == ERR_OK && i < v->channel_count; i++) {
        const struct store_channel *c = &v->channels[i];
        e = sql_insert(channel, "tiitiii", v->topology, v->version, c->id, c->stream, c->from,
                       c->to, (uint64_t)c->fused);
    }
    if (e != ERR_OK) {
        e = sql_failed(s, "write", f);
    }
    sqlite3_finalize(row);
    sqlite3_finalize(channel);
    return e;
}

/* S4: graphs of this version and of the one it changes are all that a restart reads, those of
 * checkpoints all that a rollback does; of the rest the newest are kept for looking back. */
static enum err forget_old(struct store_sqlite *s, const struct store_version *v, struct fail *f)
{
#define OTHERS                                                                                     \
    " WHERE topology=? AND version<>? AND version<>? AND version NOT IN"                           \
    " (SELECT version FROM checkpoints WHERE topology=?)"
    static const char *const graphs[] = {"DELETE FROM instances" OTHERS,
                                         "DELETE FROM channels" OTHERS,
                                         "DELETE FROM key_groups" OTHERS};
#undef OTHERS
    static const char *const rows[] = {
        "DELETE FROM versions WHERE topology=? AND version<=? AND version<>?",
        "DELETE FROM changes WHERE topology=? AND version<=? AND version<>?"};
    uint64_t last = v->version > VERSIONS_KEPT ? v->version - VERSIONS_KEPT : 0;
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < sizeof graphs / sizeof graphs[0]; i++) {
        e = sql_run(
            s, sql_bound(s, graphs[i], "tiit", v->topology, v->version, v->base, v->topology), f);
    }
    for (size_t i = 0; e == ERR_OK && i < sizeof rows / sizeof rows[0]; i++) {
        e = sql_run(s, sql_bound(s, rows[i], "tii", v->topology, last, v->base), f);
    }
    return e;
}

/* add_version - its rows; inside a transaction. */
static enum err add_version(struct store_sqlite *s, const struct store_version *v, struct fail *f)
{
    enum err e =
        sql_run(s,
                sql_bound(s, "INSERT INTO versions VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                          "tiiiii"
                          "ttttttttt"
                          "i",
                          v->topology, v->version, v->gen, v->op, v->epoch, (uint64_t)v->decided,
                          v->state, v->yaml, v->canonical, v->digest, v->base_dir, v->artifacts,
                          v->types, v->error != NULL ? v->error : "",
                          v->final != NULL ? v->final : "", (uint64_t)v->created_at_us),
                f);
    if (e == ERR_OK && v->base != 0) {
        e = sql_run(s,
                    sql_bound(s, "INSERT INTO changes VALUES(?,?,?,?,?,'')", "tiitt", v->topology,
                              v->version, v->base, v->parts, v->about),
                    f);
    }
    if (e == ERR_OK) {
        e = insert_graph(s, v, f);
    }
    return e == ERR_OK ? forget_old(s, v, f) : e;
}

static enum err op_plan(struct store *base, const struct store_version *v, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    if (v->base == 0) { /* it begins anew: what was saved of it before is void */
        e = store_forget_checkpoints(s, v->topology, 0, f);
    }
    if (e == ERR_OK && v->base == 0) {
        e = sql_run(s, sql_bound(s, "DELETE FROM carried WHERE topology=?", "t", v->topology), f);
    }
    if (e == ERR_OK && v->base == 0) {
        e = store_void_wills(s, v->topology, 0, f);
    }
    if (e == ERR_OK) {
        e = add_version(s, v, f);
    }
    return sql_commit(s, e, f);
}

static enum err replace_running(struct store_sqlite *s, const char *topology, uint64_t version,
                                struct fail *f)
{
    return sql_run(s,
                   sql_bound(s,
                             "UPDATE versions SET state='replaced'"
                             " WHERE topology=? AND version<? AND state='running'",
                             "ti", topology, version),
                   f);
}

static enum err op_rollback(struct store *base, const struct store_version *v, uint64_t epoch,
                            bool keep_output, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    e = add_version(s, v, f);
    if (e == ERR_OK) {
        e = replace_running(s, v->topology, v->version, f);
    }
    if (e == ERR_OK) {
        e = store_pass_checkpoint(s, v->topology, epoch, keep_output, f);
    }
    if (e == ERR_OK) {
        e = store_void_wills(s, v->topology, epoch, f);
    }
    return sql_commit(s, e, f);
}

static enum err op_decide(struct store *base, const char *topology, uint64_t version, uint64_t op,
                          const struct store_will *wills, size_t will_count, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    e = sql_run(s,
                sql_bound(s,
                          "UPDATE versions SET decided=1"
                          " WHERE topology=? AND version=? AND op=? AND state='deploying'",
                          "tii", topology, version, op),
                f);
    if (e == ERR_OK && sqlite3_changes(s->db) != 1) {
        e = fail_set(f, ERR_STALE, "deploy again", "the plan of %s version %" PRIu64 " is gone",
                     topology, version);
    }
    if (e == ERR_OK) {
        e = replace_running(s, topology, version, f);
    }
    if (e == ERR_OK) {
        e = store_add_wills(s, wills, will_count, f);
    }
    return sql_commit(s, e, f);
}

static enum err op_recover(struct store *base, const struct store_version *v, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e = sql_exec(s, "BEGIN IMMEDIATE", f);
    if (e != ERR_OK) {
        return e;
    }
    e = sql_run(s,
                sql_bound(s,
                          "UPDATE versions SET gen=?, op=?, epoch=?, state='recovering'"
                          " WHERE topology=? AND version=? AND decided=1 AND gen<?",
                          "iiitii", v->gen, v->op, v->epoch, v->topology, v->version, v->gen),
                f);
    if (e == ERR_OK && sqlite3_changes(s->db) != 1) {
        e = fail_set(f, ERR_STALE, "", "version %" PRIu64 " of %s is not what runs", v->version,
                     v->topology);
    }
    static const char *const rows[] = {"DELETE FROM instances WHERE topology=? AND version=?",
                                       "DELETE FROM key_groups WHERE topology=? AND version=?",
                                       "DELETE FROM channels WHERE topology=? AND version=?"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && e == ERR_OK; i++) {
        e = sql_run(s, sql_bound(s, rows[i], "ti", v->topology, v->version), f);
    }
    if (e == ERR_OK) {
        e = insert_graph(s, v, f);
    }
    if (e == ERR_OK) {
        e = store_void_wills(s, v->topology, v->from_epoch, f);
    }
    return sql_commit(s, e, f);
}

static enum err op_receipt(struct store *base, const char *topology, uint64_t version,
                           const char *receipt, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    return sql_run(s,
                   sql_bound(s, "UPDATE changes SET receipt=? WHERE topology=? AND version=?",
                             "tti", receipt, topology, version),
                   f);
}

static enum err op_carry(struct store *base, const char *topology, const char *carried,
                         struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    return sql_run(
        s, sql_bound(s, "INSERT OR REPLACE INTO carried VALUES(?,?)", "tt", topology, carried), f);
}

static enum err op_state(struct store *base, const char *topology, uint64_t version,
                         const char *state, const char *error, const char *final, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    return sql_run(s,
                   sql_bound(s,
                             "UPDATE versions SET state=?, error=coalesce(?, error),"
                             " final=coalesce(?, final) WHERE topology=? AND version=?",
                             "tttti", state, error, final, topology, version),
                   f);
}

static enum err load_graph(struct store_sqlite *s, struct store_version *v, struct fail *f)
{
    size_t capacity = 0;
    sqlite3_stmt *q = sql_bound(s,
                                "SELECT id, pe, number, worker, incarnation, chain,"
                                " coalesce(owned, '') FROM instances"
                                " LEFT JOIN key_groups USING(topology, version, id)"
                                " WHERE topology=? AND version=? ORDER BY pe, number",
                                "ti", v->topology, v->version);
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        v->instances = mem_grow(v->instances, v->instance_count, &capacity, sizeof *v->instances);
        v->instances[v->instance_count++] =
            (struct store_instance){.id = sql_number(q, 0),
                                    .pe = sql_column(q, 1),
                                    .index = (uint32_t)sql_number(q, 2),
                                    .worker = sql_column(q, 3),
                                    .incarnation = sql_number(q, 4),
                                    .chain = (uint32_t)sql_number(q, 5),
                                    .groups = sql_column(q, 6)};
    }
    sqlite3_finalize(q);
    if (rc != SQLITE_DONE) {
        return sql_failed(s, "read", f);
    }
    capacity = 0;
    rc = SQLITE_ERROR;
    q = sql_bound(s,
                  "SELECT id, stream, from_id, to_id, fused FROM channels"
                  " WHERE topology=? AND version=? ORDER BY stream, id",
                  "ti", v->topology, v->version);
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        v->channels = mem_grow(v->channels, v->channel_count, &capacity, sizeof *v->channels);
        v->channels[v->channel_count++] = (struct store_channel){.id = sql_number(q, 0),
                                                                 .stream = sql_column(q, 1),
                                                                 .from = sql_number(q, 2),
                                                                 .to = sql_number(q, 3),
                                                                 .fused = sql_number(q, 4) != 0};
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}

#define VERSION_COLUMNS                                                                            \
    " v.topology, v.version, v.gen, v.op, v.epoch, v.decided, v.state, v.yaml, v.canonical,"       \
    " v.digest, v.base_dir, v.artifacts, v.types, v.error, v.final, v.created_at_us,"              \
    " coalesce(c.base, 0), coalesce(c.parts, ''), coalesce(c.about, ''),"                          \
    " coalesce(c.receipt, ''),"                                                                    \
    " coalesce((SELECT counters FROM carried k WHERE k.topology=v.topology), ''),"                 \
    " (SELECT max(version) FROM versions w WHERE w.topology=v.topology)"                           \
    " FROM versions v LEFT JOIN changes c ON c.topology=v.topology AND c.version=v.version"

static struct store_version read_version(sqlite3_stmt *q)
{
    return (struct store_version){.topology = sql_column(q, 0),
                                  .version = sql_number(q, 1),
                                  .gen = sql_number(q, 2),
                                  .op = sql_number(q, 3),
                                  .epoch = sql_number(q, 4),
                                  .decided = sql_number(q, 5) != 0,
                                  .state = sql_column(q, 6),
                                  .yaml = sql_column(q, 7),
                                  .canonical = sql_column(q, 8),
                                  .digest = sql_column(q, 9),
                                  .base_dir = sql_column(q, 10),
                                  .artifacts = sql_column(q, 11),
                                  .types = sql_column(q, 12),
                                  .error = sql_column(q, 13),
                                  .final = sql_column(q, 14),
                                  .created_at_us = (int64_t)sql_number(q, 15),
                                  .base = sql_number(q, 16),
                                  .parts = sql_column(q, 17),
                                  .about = sql_column(q, 18),
                                  .receipt = sql_column(q, 19),
                                  .carried = sql_column(q, 20),
                                  .last = sql_number(q, 21)};
}

static enum err each_version(struct store_sqlite *s, sqlite3_stmt *q TAKES, bool graphs,
                             void (*fn)(void *arg, const struct store_version *v), void *arg,
                             struct fail *f)
{
    int rc = SQLITE_ERROR;
    enum err e = ERR_OK;
    while (e == ERR_OK && q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct store_version v = read_version(q);
        if (graphs) {
            e = load_graph(s, &v, f);
        }
        if (e == ERR_OK) {
            fn(arg, &v);
        }
        store_version_fini(&v);
    }
    if (e == ERR_OK && rc != SQLITE_DONE) {
        e = sql_failed(s, "read", f);
    }
    sqlite3_finalize(q);
    return e;
}

static enum err op_history(struct store *base, const char *topology,
                           void (*fn)(void *arg, const struct store_version *v), void *arg,
                           struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q = sql_bound(
        s, "SELECT" VERSION_COLUMNS " WHERE v.topology=? ORDER BY v.version", "t", topology);
    return each_version(s, q, false, fn, arg, f);
}

static enum err op_version(struct store *base, const char *topology, uint64_t version,
                           void (*fn)(void *arg, const struct store_version *v), void *arg,
                           struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q = sql_bound(s, "SELECT" VERSION_COLUMNS " WHERE v.topology=? AND v.version=?",
                                "ti", topology, version);
    return each_version(s, q, true, fn, arg, f);
}

static enum err op_newest(struct store *base, void (*fn)(void *arg, const struct store_version *v),
                          void *arg, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    enum err e =
        sql_exec(s,
                 "UPDATE versions SET state='aborted' WHERE decided=0 AND state='deploying'"
                 " AND EXISTS (SELECT 1 FROM changes c WHERE c.topology=versions.topology"
                 " AND c.version=versions.version)",
                 f);
    if (e != ERR_OK) {
        return e;
    }
    sqlite3_stmt *q = sql_bound(s,
                                "SELECT" VERSION_COLUMNS " WHERE v.version=(SELECT max(n.version)"
                                " FROM versions n WHERE n.topology=v.topology AND (n.decided=1 OR"
                                " NOT EXISTS (SELECT 1 FROM changes d WHERE d.topology=n.topology"
                                " AND d.version=n.version))) ORDER BY v.topology",
                                "");
    return each_version(s, q, true, fn, arg, f);
}

/* ---- the same, with places to die at */

#define op_manifest store_manifest /* of store_kept.c */
#define op_recovered store_recovered
#define op_will_done store_will_done

static enum err fail_before(const char *name, struct fail *f)
{
    return FAILPOINT_FAILS(name) ? fail_set(f, ERR_IO, "", "the store was made to fail at %s", name)
                                 : ERR_OK;
}

#define WITH_FAILPOINTS(op, parameters, arguments)                                                 \
    static enum err tested_##op parameters                                                         \
    {                                                                                              \
        enum err e = fail_before("store." #op ".before", f);                                       \
        if (e == ERR_OK) {                                                                         \
            e = op_##op arguments;                                                                 \
            FAILPOINT("store." #op ".after");                                                      \
        }                                                                                          \
        return e;                                                                                  \
    }

WITH_FAILPOINTS(reserve, (struct store * s, uint64_t count, uint64_t *first, struct fail *f),
                (s, count, first, f))
WITH_FAILPOINTS(plan, (struct store * s, const struct store_version *v, struct fail *f), (s, v, f))
WITH_FAILPOINTS(decide,
                (struct store * s, const char *topology, uint64_t version, uint64_t op,
                 const struct store_will *wills, size_t will_count, struct fail *f),
                (s, topology, version, op, wills, will_count, f))
WITH_FAILPOINTS(will_done, (struct store * s, const struct store_will *w, struct fail *f),
                (s, w, f))
WITH_FAILPOINTS(state,
                (struct store * s, const char *topology, uint64_t version, const char *state,
                 const char *error, const char *final, struct fail *f),
                (s, topology, version, state, error, final, f))
WITH_FAILPOINTS(receipt,
                (struct store * s, const char *topology, uint64_t version, const char *receipt,
                 struct fail *f),
                (s, topology, version, receipt, f))
WITH_FAILPOINTS(drained, (struct store * s, const char *worker, bool drained, struct fail *f),
                (s, worker, drained, f))

WITH_FAILPOINTS(manifest,
                (struct store * s, const struct store_checkpoint *c, uint32_t keep, struct fail *f),
                (s, c, keep, f))
WITH_FAILPOINTS(recovered,
                (struct store * s, const char *topology, uint64_t gen, const char *receipt,
                 struct fail *f),
                (s, topology, gen, receipt, f))
WITH_FAILPOINTS(rollback,
                (struct store * s, const struct store_version *v, uint64_t epoch, bool keep_output,
                 struct fail *f),
                (s, v, epoch, keep_output, f))
WITH_FAILPOINTS(recover, (struct store * s, const struct store_version *v, struct fail *f),
                (s, v, f))

static void op_close(struct store *base)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_close(s->db);
    mem_free(s);
}

static const struct store_ops sqlite_ops = {
    .term = op_term,
    .cluster = op_cluster,
    .reserve = tested_reserve,
    .worker_id = op_worker_id,
    .drained = tested_drained,
    .each_drained = op_each_drained,
    .plan = tested_plan,
    .decide = tested_decide,
    .state = tested_state,
    .receipt = tested_receipt,
    .carry = op_carry,
    .history = op_history,
    .newest = op_newest,
    .manifest = tested_manifest,
    .checkpoints = store_checkpoints,
    .rollback = tested_rollback,
    .version = op_version,
    .recover = tested_recover,
    .recovered = tested_recovered,
    .recoveries = store_recoveries,
    .wills = store_wills,
    .will_done = tested_will_done,
    .close = op_close,
};
