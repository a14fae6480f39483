/* master/store_sums.c - of the SQLite store: is every row as it was written?
 *
 * SQLite finds damaged pages, not damaged values.  So each table has a sum in `meta`: of the hashes
 * of all its rows, modulo 2^64.  Temporary triggers keep it, in the transaction that changes a row:
 * no statement need think of it (triggers are recursive, or REPLACE would delete rows without).  At
 * the start all of it is read once and compared.
 *
 * Runs on:    the master loop, before anything else of the store but its schema.
 * Invariants: M1 a store in which any value of any table differs from what was written last is
 *             refused.  A store without sums, of an older program, gets them. */
#include "master/store_own.h"

#include "core/hash.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <string.h>

static const char *const tables[] = {
    "meta",     "workers", "drained",     "carried",   "versions", "instances",  "key_groups",
    "channels", "changes", "checkpoints", "snapshots", "passed",   "recoveries", "wills"};
enum { TABLES = sizeof tables / sizeof tables[0] };

/* row_hash(values...) - of types, lengths and bytes. */
static void row_hash(sqlite3_context *c, int count, sqlite3_value **values)
{
    uint64_t h = 0;
    for (int i = 0; i < count; i++) {
        int type = sqlite3_value_type(values[i]);
        sqlite3_int64 n = type == SQLITE_INTEGER ? sqlite3_value_int64(values[i]) : 0;
        const void *data =
            type == SQLITE_INTEGER ? (const void *)&n : sqlite3_value_blob(values[i]);
        size_t bytes = type == SQLITE_INTEGER ? sizeof n : (size_t)sqlite3_value_bytes(values[i]);
        uint64_t head[3] = {h, (uint64_t)type, bytes};
        h = XXH3_64bits_withSeed(data != NULL ? data : "", bytes, XXH3_64bits(head, sizeof head));
    }
    sqlite3_result_int64(c, (sqlite3_int64)h);
}

/* wrap(sum, gone, come) - sum - gone + come, modulo 2^64; SQLite's own would become a float. */
static void wrap(sqlite3_context *c, int count, sqlite3_value **values)
{
    (void)count;
    uint64_t sum = (uint64_t)sqlite3_value_int64(values[0]) -
                   (uint64_t)sqlite3_value_int64(values[1]) +
                   (uint64_t)sqlite3_value_int64(values[2]);
    sqlite3_result_int64(c, (sqlite3_int64)sum);
}

static enum err columns_of(struct store_sqlite *s, const char *table, const char *prefix,
                           struct strbuf *out, struct fail *f)
{
    sqlite3_stmt *q =
        sql_bound(s, "SELECT name FROM pragma_table_info(?) ORDER BY cid", "t", table);
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        strbuf_printf(out, "%s%s%s", out->bytes > 0 ? "," : "", prefix,
                      (const char *)sqlite3_column_text(q, 0));
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}

/* Sums are in `meta` too, under "sum.TABLE"; they are no part of its sum. */
static enum err add_trigger(struct store_sqlite *s, const char *table, const char *verb,
                            struct fail *f)
{
    struct strbuf old = {0}, new = {0};
    enum err e = columns_of(s, table, "OLD.", &old, f);
    if (e == ERR_OK) {
        e = columns_of(s, table, "NEW.", &new, f);
    }
    bool inserts = strcmp(verb, "INSERT") == 0, deletes = strcmp(verb, "DELETE") == 0;
    char *when = strcmp(table, "meta") != 0
                     ? mem_dup("")
                     : mem_printf("WHEN %s.key NOT LIKE 'sum.%%'", deletes ? "OLD" : "NEW");
    char *gone = inserts ? mem_dup("0") : mem_printf("row_hash(%s)", old.data);
    char *come = deletes ? mem_dup("0") : mem_printf("row_hash(%s)", new.data);
    char *sql = mem_printf("CREATE TEMP TRIGGER sum_%s_%s AFTER %s ON main.%s %s BEGIN"
                           " UPDATE meta SET value=wrap(value, %s, %s) WHERE key='sum.%s'; END",
                           table, verb, verb, table, when, gone, come, table);
    if (e == ERR_OK) {
        e = sql_exec(s, sql, f);
    }
    mem_free(sql);
    mem_free(come);
    mem_free(gone);
    mem_free(when);
    strbuf_fini(&old);
    strbuf_fini(&new);
    return e;
}

static enum err sum_of(struct store_sqlite *s, const char *table, uint64_t *sum, struct fail *f)
{
    struct strbuf columns = {0};
    enum err e = columns_of(s, table, "", &columns, f);
    char *sql = mem_printf("SELECT row_hash(%s) FROM %s %s", columns.data, table,
                           strcmp(table, "meta") == 0 ? "WHERE key NOT LIKE 'sum.%'" : "");
    sqlite3_stmt *q = e == ERR_OK ? sql_bound(s, sql, "") : NULL;
    int rc = SQLITE_ERROR;
    *sum = 0;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        *sum += sql_number(q, 0);
    }
    sqlite3_finalize(q);
    mem_free(sql);
    strbuf_fini(&columns);
    return rc == SQLITE_DONE ? ERR_OK : e != ERR_OK ? e : sql_failed(s, "read", f);
}

static enum err check(struct store_sqlite *s, const char *table, struct fail *f)
{
    uint64_t sum = 0;
    char *key = mem_printf("sum.%s", table);
    enum err e = sum_of(s, table, &sum, f);
    sqlite3_stmt *q = sql_bound(s, "SELECT value FROM meta WHERE key=?", "t", key);
    if (e == ERR_OK && q != NULL && sqlite3_step(q) == SQLITE_ROW) {
        if (sql_number(q, 0) != sum) {
            e = fail_set(f, ERR_CORRUPT,
                         "put back a copy of the data folder, or use another --data",
                         "the store is damaged: table %s is not as it was written", table);
        }
        sqlite3_finalize(q);
    } else {
        sqlite3_finalize(q);
        if (e == ERR_OK) {
            e = sql_run(s, sql_bound(s, "INSERT INTO meta VALUES(?,?)", "ti", key, sum), f);
        }
    }
    mem_free(key);
    return e;
}

static enum err check_pages(struct store_sqlite *s, struct fail *f)
{
    sqlite3_stmt *q = sql_bound(s, "PRAGMA quick_check(1)", "");
    const char *says = q != NULL && sqlite3_step(q) == SQLITE_ROW
                           ? (const char *)sqlite3_column_text(q, 0)
                           : NULL;
    enum err e = ERR_OK;
    if (says == NULL || strcmp(says, "ok") != 0) {
        e = fail_set(f, ERR_CORRUPT, "put back a copy of the data folder, or use another --data",
                     "the store is damaged: %.300s", says != NULL ? says : sqlite3_errmsg(s->db));
    }
    sqlite3_finalize(q);
    return e;
}

enum err store_check_sums(struct store_sqlite *s, struct fail *f)
{
    static const char *const verbs[] = {"INSERT", "UPDATE", "DELETE"};
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    enum err e = check_pages(s, f);
    if (e == ERR_OK &&
        (sqlite3_create_function(s->db, "row_hash", -1, flags, NULL, row_hash, NULL, NULL) !=
             SQLITE_OK ||
         sqlite3_create_function(s->db, "wrap", 3, flags, NULL, wrap, NULL, NULL) != SQLITE_OK)) {
        e = sql_failed(s, "be set up", f);
    }
    for (unsigned i = 0; i < TABLES && e == ERR_OK; i++) {
        e = check(s, tables[i], f);
    }
    for (unsigned i = 0; i < TABLES && e == ERR_OK; i++) {
        for (unsigned k = 0; k < 3 && e == ERR_OK; k++) {
            e = add_trigger(s, tables[i], verbs[k], f);
        }
    }
    return e;
}
