/* master/artifacts.h - the files topologies need, by SHA-256, in DATA/artifacts.
 *
 * Owns:       the folder; an artifact is never changed once it bears its name.
 * Threads:    the loop; upload_finish may run on a helper thread (it touches only its upload).
 * Invariants: A1 a file named by a digest has that digest (checked before the rename, after fsync).
 *             A2 names come only from 64 hex digits: no path leaves the folder. */
#ifndef OXB_MASTER_ARTIFACTS_H
#define OXB_MASTER_ARTIFACTS_H

#include "core/err.h"
#include "core/sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct artifacts {
    char *dir;
};
MUST_CHECK enum err artifacts_init(struct artifacts *a, const char *data_dir, struct fail *f);
void artifacts_fini(struct artifacts *a);
bool artifacts_has(const struct artifacts *a, const char *digest);
char *artifacts_path(const struct artifacts *a, const char *digest); /* caller frees */

/* artifacts_read - up to `bytes` from `offset`.
 * Return: ERR_NOTFOUND when there is no such artifact or the offset lies behind its end. */
MUST_CHECK enum err artifacts_read(const struct artifacts *a, const char *digest, uint64_t offset,
                                   void *out, size_t bytes, size_t *got, uint64_t *total);

struct upload; /* one artifact on its way in */
MUST_CHECK enum err upload_new(const struct artifacts *a, const char *digest, struct upload **out,
                               struct fail *f);
MUST_CHECK enum err upload_write(struct upload *u, const void *data, size_t bytes, struct fail *f);
/* upload_finish - check the digest, fsync, rename, fsync the folder.  ERR_CORRUPT: other bytes. */
MUST_CHECK enum err upload_finish(struct upload *u, struct fail *f);
void upload_free(struct upload *u); /* removes what was not finished */

#endif
