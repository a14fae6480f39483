/* pe/builtin/file_sink.c - writes tuples as lines to a file.
 *
 * Runs on:    a shared executor: a write of 64 KiB goes to the page cache and costs tens of us.
 *             When the disk cannot keep up the kernel holds the writer; `threads: own` keeps that
 *             from its neighbours.
 * Invariants: K1 lines are only ever appended whole batches at a time, in order.
 *             K2 a snapshot covers what was written: it writes out the buffer first, and says how
 *             long the file then is.
 *             K3 a fresh instance truncates its file; one restored from a snapshot of the same path
 *             appends. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/outbuf.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_sink {
    struct outbuf out;
    char *path; /* with the instance's number if there are several */
    int fd;     /* -1: none */
    bool is_restored;
};

struct file_sink_snapshot { /* followed by the path */
    uint64_t bytes;         /* length of the file */
};

static int prepare(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    const char *path = oxb_param_str(pe, "path");
    s->fd = -1;
    outbuf_init(&s->out, pe);
    s->path = oxb_parallelism(pe) > 1 ? mem_printf("%s.%u", path, oxb_index(pe)) : mem_dup(path);
    return OXB_OK;
}

static int start(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    s->fd = open(s->path, flags | (s->is_restored ? 0 : O_TRUNC), 0666);
    if (s->fd < 0) {
        return oxb_fail(pe, "%s: cannot open it for writing: %s", s->path, strerror(errno));
    }
    return OXB_OK;
}

static int flush(struct oxb_pe *pe)
{
    struct file_sink *s = oxb_self(pe);
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
        return;
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
    mem_free(s->path);
}

static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    struct file_sink *s = oxb_self(pe);
    struct stat now;
    if (flush(pe) != OXB_OK) { /* K2 */
        return OXB_ERROR;
    }
    if (fstat(s->fd, &now) != 0) {
        return oxb_fail(pe, "%s: %s", s->path, strerror(errno));
    }
    struct file_sink_snapshot saved = {(uint64_t)now.st_size};
    oxb_blob_add(out, &saved, sizeof saved);
    oxb_blob_add(out, s->path, strlen(s->path));
    return OXB_OK;
}

static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct file_sink *s = oxb_self(pe);
    size_t head = sizeof(struct file_sink_snapshot);
    (void)version;
    if (bytes < head) {
        return oxb_fail(pe, "the saved state has %zu bytes; at least %zu are needed", bytes, head);
    }
    s->is_restored = bytes - head == strlen(s->path) &&
                     memcmp((const char *)data + head, s->path, bytes - head) == 0; /* K3 */
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "path",
     .type = OXB_P_PATH,
     .flags = OXB_REQUIRED,
     .doc = "the file; with parallelism N: path.0 ... path.N-1"},
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
    .state_version = 1,
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
};
