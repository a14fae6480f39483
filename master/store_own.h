/* master/store_own.h - the inside of the SQLite store, for master/store_*.c only. */
#ifndef OXB_MASTER_STORE_OWN_H
#define OXB_MASTER_STORE_OWN_H

#include "master/store.h"

#include <sqlite3.h>

struct store_sqlite {
    struct store base;
    sqlite3 *db;
    uint64_t term, cluster;
};

/* ---- store_sqlite.c: statements ---- */
/* sql_bound - a statement with its values: 't' text (NULL binds NULL), 'i' uint64_t, 'b' pointer
 * and size_t.  Return: NULL when it cannot be prepared, which sql_run takes. */
sqlite3_stmt *sql_bound(struct store_sqlite *s, const char *sql, const char *kinds, ...);
MUST_CHECK enum err sql_run(struct store_sqlite *s, sqlite3_stmt *q TAKES, struct fail *f);
MUST_CHECK enum err sql_insert(sqlite3_stmt *q, const char *kinds, ...); /* `q` is used again */
MUST_CHECK enum err sql_exec(struct store_sqlite *s, const char *sql, struct fail *f);
MUST_CHECK enum err sql_failed(struct store_sqlite *s, const char *verb, struct fail *f);
/* sql_commit - or roll back, when something went wrong so far. */
MUST_CHECK enum err sql_commit(struct store_sqlite *s, enum err so_far, struct fail *f);
char *sql_column(sqlite3_stmt *q, int i); /* caller frees */
uint64_t sql_number(sqlite3_stmt *q, int i);

/* ---- store_sums.c ---- */
/* store_check_sums - ERR_CORRUPT: it is not what was written; else it is watched from now on. */
MUST_CHECK enum err store_check_sums(struct store_sqlite *s, struct fail *f);

/* ---- store_kept.c ---- */
/* store_forget_checkpoints - all but the newest `keep`; inside a transaction. */
MUST_CHECK enum err store_forget_checkpoints(struct store_sqlite *s, const char *topology,
                                             uint32_t keep, struct fail *f);
/* store_pass_checkpoint - those after `epoch` are void; inside a transaction. */
MUST_CHECK enum err store_pass_checkpoint(struct store_sqlite *s, const char *topology,
                                          uint64_t epoch, bool keep_output, struct fail *f);
MUST_CHECK enum err store_manifest(struct store *base, const struct store_checkpoint *c,
                                   uint32_t keep, struct fail *f);
MUST_CHECK enum err store_checkpoints(struct store *base, const char *topology,
                                      void (*fn)(void *arg, const struct store_checkpoint *c),
                                      void *arg, struct fail *f);
MUST_CHECK enum err store_recovered(struct store *base, const char *topology, uint64_t gen,
                                    const char *receipt, struct fail *f);
MUST_CHECK enum err store_recoveries(struct store *base, const char *topology,
                                     void (*fn)(void *arg, const char *receipt), void *arg,
                                     struct fail *f);


/* ---- store_wills.c; the first three inside a transaction ---- */
MUST_CHECK enum err store_add_wills(struct store_sqlite *s, const struct store_will *wills,
                                    size_t count, struct fail *f);
/* store_void_wills - those of changes after `epoch`. */
MUST_CHECK enum err store_void_wills(struct store_sqlite *s, const char *topology, uint64_t epoch,
                                     struct fail *f);
MUST_CHECK enum err store_wills(struct store *base,
                                void (*fn)(void *arg, const struct store_will *w), void *arg,
                                struct fail *f);
MUST_CHECK enum err store_will_done(struct store *base, const struct store_will *w,
                                    struct fail *f);

#endif
