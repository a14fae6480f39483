/* pe/builtin/pending.h - what a sink has written and not yet committed, beside the file it is for.
 *
 * Lines go to a segment of their own, `.NAME.oxbow.UID.GENERATION.NUMBER` in the file's folder.  A
 * checkpoint closes it; when that checkpoint is complete the segment is copied behind what the file
 * holds, at the offset it was given when it was closed, and removed.
 *
 * A segment's XXH3-64 is in the snapshot and is compared before it is copied.
 *
 * Owns:       struct pending: the open segment, the list of closed ones in order.
 * Runs on:    the instance's thread.
 * Invariants: G1 a file only ever grows by whole segments of complete checkpoints, in order.
 *             G2 to commit is idempotent: the offset is fixed, the bytes are the same, and the
 *                segment goes only after the file was synced; a half copy is written over.
 *             G3 a file that is shorter than its segments say, or longer, is not touched, nor one
 *                in which somebody else's bytes stand where a segment goes.
 *             G4 where another file was written before, this one goes on behind what it holds and
 *                what still waits for it: it may have been written to before that.
 * See:        pe/builtin/file_sink.c, tests/unit/builtin/pending_test.c */
#ifndef OXB_PE_BUILTIN_PENDING_H
#define OXB_PE_BUILTIN_PENDING_H

#include "pe/builtin/outbuf.h"
#include "pe/pe.h"

#include <jansson.h>

struct segment {
    char *path;     /* of the file it is for */
    char *file;     /* its own */
    uint64_t start; /* offset in `path` */
    uint64_t bytes;
    uint64_t epoch; /* of the checkpoint that covers it; 0: none yet */
    uint64_t sum;   /* XXH3-64; 0: not known, an older program wrote it */
};

struct pending { /* a zeroed struct is empty */
    char *path;
    char *uid;
    char *prefix;    /* of the segments' paths, up to UID and a dot */
    uint64_t generation;
    uint64_t end;    /* length `path` has when everything closed is committed */
    struct segment *list;
    size_t count, capacity;
    char *before;    /* the file of the snapshot it was restored from; NULL: of none */
    uint64_t number; /* of the next segment */
    int fd;          /* of the open one; -1: none */
    void *hash;      /* of what was written to it */
    char *file;
    char error[600]; /* what went wrong last */
};

void pending_init(struct pending *p, const char *path, const char *uid, uint64_t generation);
void pending_fini(struct pending *p);
/* pending_write - all of `out` to the open segment, made when there is none.  What could not be
 * written stays in `out`.  Return: false, see `error`. */
bool pending_write(struct pending *p, struct outbuf *out);
/* pending_close - the open segment joins the list, covered by `epoch` (0: by none yet), as do those
 * that wait for one.  @blob: is told of the file; may be NULL.  Return: false, see `error`. */
bool pending_close(struct pending *p, uint64_t epoch, struct oxb_blob *blob);
/* pending_commit - everything that checkpoints up to `epoch` cover; UINT64_MAX: everything.
 * Return: false, see `error`; what was not committed is tried again next time. */
bool pending_commit(struct pending *p, uint64_t epoch);
/* pending_save - as JSON, for a snapshot; pending_load: Return: false when malformed. */
json_t *pending_save(const struct pending *p);
bool pending_load(struct pending *p, const json_t *saved);
enum pending_from {
    PENDING_NOTHING,   /* the topology begins: the file is emptied */
    PENDING_NEWCOMER,  /* it runs already: on behind what is there */
    PENDING_CHECKPOINT,/* what it covers is committed; G3 */
    PENDING_PASSED,    /* the same, but more was committed after it, and stays: on behind that */
    PENDING_HEIR       /* the instance before it: what it has closed waits for its checkpoints */
};
/* pending_begin - at start.  Segments that nobody knows are removed, beside this file and those it
 * was restored for.
 * Return: false, see `error`. */
bool pending_begin(struct pending *p, enum pending_from from);

#endif
