/* master/snapshots.c - snapshots come and go as files, beside the control connections. */
#include "master/snapshots.h"

#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/safefile.h"
#include "core/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct stream_conn { /* one upload or download */
    struct stream_conn *next;
    struct snapshots *owner;
    struct conn *conn; /* NULL: closed while the job runs */
    struct safefile file;
    bool is_put, committing;
    enum err result;
    struct fail fail;
    /* GET: the file that was asked for last */
    int fd;
    char *name;
};

static void on_message(void *arg, struct conn *c, struct msg *m);
static void on_closed(void *arg, struct conn *c, const char *why);
static const struct conn_ops stream_ops = {.on_message = on_message, .on_closed = on_closed};

enum err snapshots_init(struct snapshots *s, const char *data_dir, struct fail *f)
{
    s->dir = mem_printf("%s/checkpoints", data_dir);
    return file_make_dirs(s->dir, f);
}

static void stream_free(struct stream_conn *t)
{
    struct stream_conn **at = &t->owner->first;
    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    t->owner->count--;
    safefile_discard(&t->file);
    if (t->fd >= 0) {
        close(t->fd);
    }
    mem_free(t->name);
    mem_free(t);
}

void snapshots_fini(struct snapshots *s)
{
    while (s->first != NULL) {
        stream_free(s->first);
    }
    mem_free(s->dir);
    s->dir = NULL;
}

/* F3: names are checked by their characters. */
static char *path_of(const struct snapshots *s, const char *topology, uint64_t epoch,
                     const char *uid, uint64_t index)
{
    if (!text_is_name(topology) || !text_is_name(uid) || index >= PARALLELISM_MAX) {
        return NULL;
    }
    return mem_printf("%s/%s/%" PRIu64 ".%s.%" PRIu64, s->dir, topology, epoch, uid, index);
}

static void answer_stored(struct stream_conn *t)
{
    const struct msg m = {.kind = M_SNAPSHOT_STORED,
                          .SNAPSHOT_STORED = {t->result == ERR_OK, t->fail.what}};
    if (t->result != ERR_OK) {
        log_event(LOG_WARN, "snapshot.refused", "what=\"%s\"", t->fail.what);
    }
    if (t->conn != NULL) {
        conn_send(t->conn, &m);
        conn_close(t->conn, "the upload is over");
    }
}

static void refuse(struct stream_conn *t, enum err e, const char *what)
{
    safefile_discard(&t->file);
    t->result = t->fail.code != ERR_OK ? t->fail.code : fail_set(&t->fail, e, "", "%s", what);
    answer_stored(t);
}

static void open_upload(struct stream_conn *t, const struct msg_SNAPSHOT_PUT *m)
{
    struct snapshots *s = t->owner;
    char *path = path_of(s, m->topology, m->epoch, m->uid, m->index);
    t->is_put = true;
    if (path == NULL || !s->may(s->arg, m->worker, m->incarnation, m->topology, m->gen)) {
        refuse(t, ERR_STALE, "this generation of the topology does not run here");
    } else {
        char *dir = mem_printf("%s/%s", s->dir, m->topology);
        if (file_make_dirs(dir, &t->fail) != ERR_OK ||
            safefile_open(&t->file, path, &t->fail) != ERR_OK) {
            refuse(t, ERR_IO, "");
        }
        mem_free(dir);
    }
    mem_free(path);
}

static void commit_work(void *arg) /* helper thread */
{
    struct stream_conn *t = arg;
    t->result = safefile_commit(&t->file, &t->fail);
}

static void commit_done(void *arg)
{
    struct stream_conn *t = arg;
    t->committing = false;
    answer_stored(t);
    if (t->conn == NULL) {
        stream_free(t);
    }
}

static void take_chunk(struct stream_conn *t, const struct msg_SNAPSHOT_CHUNK *m)
{
    if (t->file.temporary == NULL || t->committing) {
        return; /* refused before */
    }
    if (m->offset != t->file.bytes) {
        refuse(t, ERR_INVALID, "a part of the upload is missing");
    } else if (safefile_add(&t->file, m->data.data, m->data.bytes, &t->fail) != ERR_OK) {
        refuse(t, ERR_IO, "");
    } else if (m->total != 0 && m->total != t->file.bytes) {
        refuse(t, ERR_INVALID, "the upload has another length than it says");
    } else if (m->total != 0 && !jobs_has_room(t->owner->jobs)) {
        commit_work(t); /* everybody is at it: this one waits on the loop */
        answer_stored(t);
    } else if (m->total != 0) {
        t->committing = true;
        job_start(t->owner->jobs, commit_work, commit_done, t);
    }
}

static void send_missing(struct stream_conn *t, uint64_t offset)
{
    const struct msg m = {.kind = M_SNAPSHOT_CHUNK,
                          .SNAPSHOT_CHUNK = {.offset = offset, .missing = true}};
    conn_send(t->conn, &m);
}

static void send_chunk(struct stream_conn *t, const struct msg_SNAPSHOT_GET *m)
{
    struct snapshots *s = t->owner;
    char *path = path_of(s, m->topology, m->epoch, m->uid, m->index);
    if (path == NULL || !s->may(s->arg, m->worker, m->incarnation, m->topology, 0)) {
        mem_free(path);
        send_missing(t, m->offset);
        return;
    }
    if (t->name == NULL || strcmp(t->name, path) != 0) {
        if (t->fd >= 0) {
            close(t->fd);
        }
        t->fd = open(path, O_RDONLY | O_CLOEXEC);
        mem_free(t->name);
        t->name = path;
    } else {
        mem_free(path);
    }
    struct stat now;
    uint8_t *data = mem_raw(SNAPSHOT_CHUNK_BYTES);
    ssize_t n = t->fd < 0 || fstat(t->fd, &now) != 0
                    ? -1
                    : pread(t->fd, data, SNAPSHOT_CHUNK_BYTES, (off_t)m->offset);
    if (n < 0) {
        send_missing(t, m->offset);
    } else {
        const struct msg out = {.kind = M_SNAPSHOT_CHUNK,
                                .SNAPSHOT_CHUNK = {.offset = m->offset,
                                                   .total = (uint64_t)now.st_size,
                                                   .data = {data, (size_t)n}}};
        conn_send(t->conn, &out);
    }
    mem_free(data);
}

static void on_message(void *arg, struct conn *c, struct msg *m)
{
    struct stream_conn *t = arg;
    if (m->kind == M_SNAPSHOT_CHUNK && t->is_put) {
        take_chunk(t, &m->SNAPSHOT_CHUNK);
    } else if (m->kind == M_SNAPSHOT_GET && !t->is_put) {
        send_chunk(t, &m->SNAPSHOT_GET);
    } else {
        conn_close(c, "sent what does not belong to a snapshot");
    }
}

static void on_closed(void *arg, struct conn *c, const char *why)
{
    struct stream_conn *t = arg;
    (void)c;
    (void)why;
    t->conn = NULL;
    if (!t->committing) {
        stream_free(t);
    }
}

void snapshots_take(struct snapshots *s, struct conn *c, const struct msg *first)
{
    if (s->count >= SNAPSHOT_UPLOADS_MAX) {
        conn_close(c, "too many snapshots at a time");
        return;
    }
    struct stream_conn *t = mem_alloc(sizeof *t);
    *t =
        (struct stream_conn){.next = s->first, .owner = s, .conn = c, .file = {.fd = -1}, .fd = -1};
    s->first = t;
    s->count++;
    conn_set(c, &stream_ops, t);
    conn_accepted(c);
    conn_limit(c, FRAME_BYTES_MAX);
    if (first->kind == M_SNAPSHOT_PUT) {
        open_upload(t, &first->SNAPSHOT_PUT);
    } else {
        send_chunk(t, &first->SNAPSHOT_GET);
    }
}

void snapshots_sweep(struct snapshots *s, const char *topology, const uint64_t *kept, size_t count,
                     uint64_t below)
{
    char *dir = mem_printf("%s/%s", s->dir, topology);
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char *end = NULL;
        uint64_t epoch = strtoull(e->d_name, &end, 10);
        bool needed = end == e->d_name || *end != '.' || epoch >= below;
        for (size_t i = 0; i < count && !needed; i++) {
            needed = kept[i] == epoch;
        }
        if (!needed) {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    mem_free(dir);
}
