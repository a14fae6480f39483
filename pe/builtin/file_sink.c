/* pe/builtin/file_sink.c - writes tuples to a file, a line each.
 *
 * Owns:       struct file_sink: the open file, or what is pending beside it.
 * Modes:      `commit: checkpoint` in a topology with checkpoints: lines wait beside the file until
 *             the checkpoint that covers them is complete (pending.h): exactly once.  Otherwise
 *             they appear as they are written; a recovery may write some again.
 * Why:        plain writes: into the page cache they take no longer than handing them to another
 *             thread would.  When the disk cannot keep up the kernel holds the writer;
 *             `threads: own` keeps that from its neighbours.
 * Invariants: K1 lines are only ever appended whole batches at a time, in order.
 *             K2 a snapshot covers what was written: it writes out the buffer first.
 *             K3 its file is emptied when the topology begins, and never again: an upgrade that
 *             leads to a file, perhaps back to it, goes on behind what it holds. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/outbuf.h"
#include "pe/builtin/pending.h"

#include "core/file.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_sink {
    struct outbuf out;
    struct pending pending;
    char *path;    /* with the instance's number if there are several */
    int fd;        /* -1: none; when lines appear as they are written */
    bool is_exact; /* lines wait for their checkpoint */
    bool is_restored;
    bool is_successor; /* restored from the instance before it, not from a checkpoint */
};

/* check_place - said before anything runs, or changes: the file can be written, or made; beside it
 * lines can wait. */
static int check_place(struct oxb_pe *pe, const struct file_sink *s)
{
    char host[65] = "this machine";
    char *folder = file_dir_of(s->path);
    struct stat now;
    bool is_there = stat(s->path, &now) == 0;
    bool is_folder = is_there && S_ISDIR(now.st_mode);
    bool is_open = (!is_there || access(s->path, W_OK) == 0) &&
                   ((is_there && !s->is_exact) || access(folder, W_OK | X_OK) == 0);
    const char *why = strerror(is_folder ? EISDIR : errno);
    mem_free(folder);
    if (is_open && !is_folder) {
        return OXB_OK;
    }
    (void)gethostname(host, sizeof host - 1);
    return oxb_fail(pe, "%s: cannot open it for writing on %s: %s", s->path, host, why);
}

static int prepare(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    const char *path = oxb_param_str(pe, "path");
    s->fd = -1;
    outbuf_init(&s->out, pe);
    s->path = oxb_parallelism(pe) > 1 ? mem_printf("%s.%u", path, oxb_index(pe)) : mem_dup(path);
    s->is_exact = oxb_checkpoints(pe) && strcmp(oxb_param_str(pe, "commit"), "checkpoint") == 0;
    pending_init(&s->pending, s->path, oxb_uid(pe), oxb_generation(pe));
    return check_place(pe, s);
}

static int start(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    enum pending_from fresh = oxb_begins(pe) ? PENDING_NOTHING : PENDING_NEWCOMER;
    if (s->is_exact) {
        enum pending_from from = !s->is_restored        ? fresh
                                 : s->is_successor      ? PENDING_HEIR
                                 : oxb_output_stays(pe) ? PENDING_PASSED
                                                        : PENDING_CHECKPOINT;
        return pending_begin(&s->pending, from) ? OXB_OK : oxb_fail(pe, "%s", s->pending.error);
    }
    if (!pending_commit(&s->pending, UINT64_MAX)) { /* the instance before it waited */
        return oxb_fail(pe, "%s", s->pending.error);
    }
    bool empties = !s->is_restored && fresh == PENDING_NOTHING;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    s->fd = open(s->path, flags | (empties ? O_TRUNC : 0), 0666);
    if (s->fd < 0) {
        return oxb_fail(pe, "%s: cannot open it for writing: %s", s->path, strerror(errno));
    }
    return OXB_OK;
}

static int flush(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    if (outbuf_left(&s->out) == 0) {
        return OXB_OK;
    }
    if (s->is_exact) {
        return pending_write(&s->pending, &s->out) ? OXB_OK : oxb_fail(pe, "%s", s->pending.error);
    }
    int e = outbuf_write(&s->out, s->fd);
    return e == 0 ? OXB_OK : oxb_fail(pe, "%s: cannot write: %s", s->path, strerror(e));
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct file_sink *s = oxb_self(pe);
    (void)port;
    if (outbuf_left(&s->out) >= OUTBUF_WRITE_BYTES && flush(pe) != OXB_OK) {
        return OXB_ERROR;
    }
    outbuf_add(&s->out, in);
    return OXB_OK;
}

static void stop(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    if (s->fd < 0) {
        return; /* what is pending is the checkpoint's, or its successor's */
    }
    int e = outbuf_write(&s->out, s->fd);
    if (e != 0) {
        oxb_log(pe, OXB_LOG_ERROR, "%s: %zu bytes are lost: %s", s->path, outbuf_left(&s->out),
                strerror(e));
    }
    close(s->fd);
    s->fd = -1;
}

static void drop(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    outbuf_fini(&s->out);
    pending_fini(&s->pending);
    mem_free(s->path);
}

static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    struct file_sink *s = oxb_self(pe);
    if (flush(pe) != OXB_OK) { /* K2 */
        return OXB_ERROR;
    }
    if (!pending_close(&s->pending, oxb_epoch(pe), oxb_epoch(pe) != 0 ? out : NULL)) {
        return oxb_fail(pe, "%s", s->pending.error);
    }
    json_t *saved = pending_save(&s->pending);
    json_object_set_new(saved, "successor", json_boolean(oxb_epoch(pe) == 0));
    char *text = json_dumps(saved, JSON_COMPACT);
    oxb_blob_add(out, text, strlen(text));
    free(text);
    json_decref(saved);
    return OXB_OK;
}

static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct file_sink *s = oxb_self(pe);
    json_t *saved = version == 2 ? json_loadb(data, bytes, 0, NULL) : NULL;
    if (!json_is_object(saved) || !pending_load(&s->pending, saved)) {
        json_decref(saved);
        return oxb_fail(pe, "the saved state is not one of this file-sink");
    }
    s->is_successor = json_is_true(json_object_get(saved, "successor"));
    s->is_restored = true;
    json_decref(saved);
    return OXB_OK;
}

static int commit(struct oxb_pe *pe, uint64_t epoch)
{
    struct file_sink *s = oxb_self(pe);
    if (epoch == UINT64_MAX && s->is_exact &&
        (flush(pe) != OXB_OK || !pending_close(&s->pending, 0, NULL))) {
        return OXB_ERROR;
    }
    return pending_commit(&s->pending, epoch) ? OXB_OK : oxb_fail(pe, "%s", s->pending.error);
}

static const struct oxb_param params[] = {
    {.name = "path",
     .type = OXB_P_PATH,
     .flags = OXB_REQUIRED | OXB_WRITES,
     .doc = "the file; with parallelism N: path.0 ... path.N-1. A deploy empties it, an upgrade "
            "that leads to it goes on behind what it holds"},
    OUTBUF_PARAM,
    {.name = "commit",
     .type = OXB_P_ENUM,
     .fallback = "checkpoint",
     .choices = "checkpoint flush",
     .doc = "when lines count: with the checkpoint that covers them, or as they are written"},
    {.name = NULL},
};

const struct oxb_pe_type builtin_file_sink = {
    .abi = OXB_ABI,
    .flags = OXB_LOCAL | OXB_EFFECTS | OXB_MERGES,
    .name = "file-sink",
    .doc = "writes tuples to a file, a line each",
    .params = params,
    .state_version = 2,
    .self_bytes = sizeof(struct file_sink),
    .prepare = prepare,
    .start = start,
    .process = process,
    .finish = flush,
    .stop = stop,
    .drop = drop,
    .snapshot = snapshot,
    .restore = restore,
    .flush = flush,
    .commit = commit,
};
