/* master/store_wills.c - of the SQLite store: what removed PEs have left (master/wills.h).
 *
 * Runs on:    the master loop.
 * Invariants: those of master/store.h. */
#include "master/store_own.h"

#include "core/mem.h"

void store_will_fini(struct store_will *w)
{
    mem_free(w->topology);
    mem_free(w->uid);
    mem_free(w->type);
    mem_free(w->host);
    mem_free(w->body);
    *w = (struct store_will){0};
}

enum err store_add_wills(struct store_sqlite *s, const struct store_will *wills, size_t count,
                         struct fail *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        const struct store_will *w = &wills[i];
        e = sql_run(s,
                    sql_bound(s, "INSERT INTO wills VALUES(?,?,?,?,?,?,?)",
                              "tititt"
                              "b",
                              w->topology, w->epoch, w->uid, (uint64_t)w->index, w->type, w->host,
                              w->body, w->bytes),
                    f);
    }
    return e;
}

enum err store_void_wills(struct store_sqlite *s, const char *topology, uint64_t epoch,
                          struct fail *f)
{
    return sql_run(
        s, sql_bound(s, "DELETE FROM wills WHERE topology=? AND epoch>?", "ti", topology, epoch),
        f);
}

enum err store_will_done(struct store *base, const struct store_will *w, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    return sql_run(s,
                   sql_bound(s,
                             "DELETE FROM wills WHERE topology=? AND epoch=? AND uid=?"
                             " AND number=?",
                             "titi", w->topology, w->epoch, w->uid, (uint64_t)w->index),
                   f);
}

enum err store_wills(struct store *base, void (*fn)(void *arg, const struct store_will *w),
                     void *arg, struct fail *f)
{
    struct store_sqlite *s = (struct store_sqlite *)base;
    sqlite3_stmt *q =
        sql_bound(s, "SELECT topology, epoch, uid, number, type, host, body FROM wills", "");
    int rc = SQLITE_ERROR;
    while (q != NULL && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        const void *body = sqlite3_column_blob(q, 6);
        struct store_will w = {.topology = sql_column(q, 0),
                               .epoch = sql_number(q, 1),
                               .uid = sql_column(q, 2),
                               .index = (uint32_t)sql_number(q, 3),
                               .type = sql_column(q, 4),
                               .host = sql_column(q, 5),
                               .bytes = (size_t)sqlite3_column_bytes(q, 6)};
        w.body = mem_dup_n(body != NULL ? body : "", w.bytes);
        fn(arg, &w);
        store_will_fini(&w);
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? ERR_OK : sql_failed(s, "read", f);
}
