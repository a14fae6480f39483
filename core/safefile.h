/* core/safefile.h - a file written piece by piece that is there whole, or not at all.
 *
 * Owns:       struct safefile: the open temporary file beside the path.
 * Threads:    any; one at a time per struct.
 * Invariants: W1 the path names either what was there before or all that was added, also after a
 *             crash: fsync of the file, rename, fsync of the folder, in this order.
 *             W2 after an error nothing is retried on the same file: what an fsync that failed has
 *             left behind is unknown (see "Can applications recover from fsync failures?", Rebello
 *             et al., USENIX ATC 2020).  The temporary file is removed. */
#ifndef OXB_CORE_SAFEFILE_H
#define OXB_CORE_SAFEFILE_H

#include "core/err.h"

#include <stdint.h>

struct safefile {
    char *path, *temporary;
    int fd;         /* -1: not open */
    uint64_t bytes; /* added so far */
};

MUST_CHECK enum err safefile_open(struct safefile *w, const char *path, struct fail *f);
/* safefile_add - Return: ERR_IO, with the reason; the file is given up. */
MUST_CHECK enum err safefile_add(struct safefile *w, const void *data, size_t bytes,
                                 struct fail *f);
/* safefile_commit - W1.  Blocks until the bytes are on the disk.  Closed afterwards, either way. */
MUST_CHECK enum err safefile_commit(struct safefile *w, struct fail *f);
void safefile_discard(struct safefile *w); /* accepts a closed or zeroed one */
/* safefile_sync_dir - make the folder's entries durable. */
MUST_CHECK enum err safefile_sync_dir(const char *dir, struct fail *f);

#endif
