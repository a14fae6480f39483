/* worker/checkpoint_write.c - one snapshot as a file: its blocks, and where they go.
 *
 * Runs on:    the saver's thread.
 * Invariants: H1, H2 of worker/checkpoint.h. */
#include "core/blockfile.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/safefile.h"
#include "net/direct.h"
#include "worker/checkpoint_own.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

struct place { /* where the bytes go: a file, or the master */
    struct safefile file;
    struct direct *master;
    struct strbuf chunk; /* gathered for the master */
    uint64_t sent;
};

static enum err send_chunk(struct place *p, uint64_t total, struct fail *f)
{
    struct msg m = {.kind = M_SNAPSHOT_CHUNK};
    m.SNAPSHOT_CHUNK =
        (struct msg_SNAPSHOT_CHUNK){.offset = p->sent,
                                    .total = total,
                                    .data = {(const uint8_t *)p->chunk.data, p->chunk.bytes}};
    enum err e = direct_send(p->master, &m, f);
    p->sent += p->chunk.bytes;
    strbuf_clear(&p->chunk);
    return e;
}

static enum err place_put(void *arg, const void *data, size_t bytes, struct fail *f)
{
    struct place *p = arg;
    const char *at = data;
    if (p->master == NULL) {
        return safefile_add(&p->file, data, bytes, f);
    }
    while (bytes > 0) {
        size_t room = SNAPSHOT_CHUNK_BYTES - p->chunk.bytes;
        size_t n = bytes < room ? bytes : room;
        strbuf_add(&p->chunk, at, n);
        at += n;
        bytes -= n;
        enum err e = p->chunk.bytes == SNAPSHOT_CHUNK_BYTES ? send_chunk(p, 0, f) : ERR_OK;
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err place_open(struct place *p, struct saver *s, const struct save_job *job,
                           struct fail *f)
{
    const struct saved *r = &job->result;
    if (job->location[0] != '\0') {
        char *dir = mem_printf("%s/%s", job->location, r->topology);
        char *path = mem_printf("%s/%" PRIu64 ".%s.%u", dir, r->epoch, job->uid, job->index);
        enum err e = file_make_dirs(dir, f);
        if (e == ERR_OK) {
            e = safefile_open(&p->file, path, f);
        }
        mem_free(dir);
        mem_free(path);
        return e;
    }
    p->master = direct_open(&s->o.master, f);
    if (p->master == NULL) {
        return f->code;
    }
    struct msg m = {.kind = M_SNAPSHOT_PUT};
    m.SNAPSHOT_PUT = (struct msg_SNAPSHOT_PUT){.worker = s->o.worker,
                                               .incarnation = s->o.incarnation,
                                               .topology = r->topology,
                                               .gen = r->gen,
                                               .epoch = r->epoch,
                                               .uid = job->uid,
                                               .index = job->index};
    return direct_send(p->master, &m, f);
}

/* place_commit - durable when it returns ERR_OK. */
static enum err place_commit(struct place *p, uint64_t total, struct fail *f)
{
    if (p->master == NULL) {
        return safefile_commit(&p->file, f);
    }
    const struct msg *answer = NULL;
    enum err e = send_chunk(p, total, f);
    if (e == ERR_OK) {
        e = direct_receive(p->master, M_SNAPSHOT_STORED, &answer, f);
    }
    if (e == ERR_OK && !answer->SNAPSHOT_STORED.ok) {
        e = fail_set(f, ERR_IO, "see the master's log", "%.500s", answer->SNAPSHOT_STORED.what);
    }
    return e;
}

static void place_close(struct place *p)
{
    safefile_discard(&p->file);
    direct_close(p->master);
    strbuf_fini(&p->chunk);
}

static enum err add_meta(struct blockfile_writer *w, const struct save_job *job, struct fail *f)
{
    const struct saved *r = &job->result;
    json_t *states = json_array();
    for (unsigned n = 0; n < job->state_count; n++) {
        json_array_append_new(states, json_string(job->states[n].name));
    }
    uint64_t base = r->epoch_count > 0 ? r->epochs[r->epoch_count - 1] : 0;
    json_t *meta = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "topology", r->topology, "uid", job->uid,
        "index", (json_int_t)job->index, "parallelism", (json_int_t)job->parallelism, "epoch",
        (json_int_t)r->epoch, "base", (json_int_t)base, "state_version",
        (json_int_t)job->state_version, "finished", (int)job->finished, "states", states);
    char *text = json_dumps(meta, JSON_COMPACT);
    enum err e = blockfile_add(w, SNAPSHOT_META, 0, text, strlen(text), f);
    mem_free(text);
    json_decref(meta);
    return e;
}

/* H2: between the two the table is the saver's to read. */
static bool enter_table(struct saver *s, struct save_job *job)
{
    pthread_mutex_lock(&s->lock);
    job->reading = job->keeper != NULL && !s->stopping;
    bool may = job->reading;
    pthread_mutex_unlock(&s->lock);
    return may;
}

static void leave_table(struct saver *s, struct save_job *job)
{
    pthread_mutex_lock(&s->lock);
    job->reading = false;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

static enum err add_groups(struct saver *s, struct save_job *job, struct blockfile_writer *w,
                           struct fail *f)
{
    struct strbuf bytes = {0};
    enum err e = ERR_OK;
    for (unsigned n = 0; n < job->state_count && e == ERR_OK; n++) {
        for (unsigned g = 0; g < KEY_GROUPS && e == ERR_OK; g++) {
            if (!job->states[n].groups[g]) {
                continue;
            }
            strbuf_clear(&bytes);
            if (!enter_table(s, job)) {
                e = fail_set(f, ERR_STALE, "", "the checkpoint was given up");
                break;
            }
            e = state_read_group(job->states[n].reader, g, &bytes);
            leave_table(s, job);
            if (e == ERR_OK) {
                e = blockfile_add(w, SNAPSHOT_GROUP, n << 8 | g, bytes.data, bytes.bytes, f);
            }
        }
    }
    strbuf_fini(&bytes);
    return e;
}

/* add_kept - one batch that waits at a held instance.  Its rows are gathered first: the wire form
 * knows no selection. */
static enum err add_kept(struct blockfile_writer *w, const struct kept *k, struct fail *f)
{
    const struct batch *b = k->batch;
    struct builder dense;
    struct strbuf bytes = {0};
    enum err e = ERR_OK;
    builder_init(&dense, b->pool, b->pub.schema, NULL, NULL);
    for (uint32_t done = 0; done < b->pub.live && e == ERR_OK;) {
        uint16_t rows[BATCH_ROWS_MAX];
        uint32_t left = b->pub.live - done;
        for (uint32_t n = 0; n < left; n++) {
            rows[n] = b->pub.sel != NULL ? b->pub.sel[done + n] : (uint16_t)(done + n);
        }
        done += builder_gather(&dense, b, rows, left, NULL);
        struct batch *part = builder_finish(&dense);
        uint8_t *head = mem_alloc(batch_wire_head_bytes(b->pub.schema));
        struct iovec *iov = mem_array(WIRE_IOV_MAX, sizeof *iov);
        size_t total = 0;
        int pieces = batch_encode(part, head, iov, &total);
        strbuf_clear(&bytes);
        strbuf_add(&bytes, k->stream, strlen(k->stream) + 1);
        strbuf_add(&bytes, b->pub.schema->text, strlen(b->pub.schema->text) + 1);
        while (bytes.bytes % 8 != 0) {
            strbuf_char(&bytes, '\0');
        }
        for (int n = 0; n < pieces; n++) {
            strbuf_add(&bytes, iov[n].iov_base, iov[n].iov_len);
        }
        e = blockfile_add(w, SNAPSHOT_KEPT, k->port, bytes.data, bytes.bytes, f);
        mem_free(iov);
        mem_free(head);
        batch_free(part);
    }
    strbuf_fini(&bytes);
    builder_fini(&dense);
    return e;
}

/* sync_files - what the PE has written itself, and its folders. */
static enum err sync_files(const struct pe_snapshot *own, struct fail *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < own->file_count && e == ERR_OK; i++) {
        if (own->files[i].fd < 0 || fsync(own->files[i].fd) != 0) {
            return fail_set(f, ERR_IO, "check the disk", "cannot sync %s: %s", own->files[i].path,
                            strerror(errno));
        }
        char *dir = file_dir_of(own->files[i].path);
        e = safefile_sync_dir(dir, f);
        mem_free(dir);
    }
    return e;
}

enum err save_write(struct saver *s, struct save_job *job, struct fail *f)
{
    struct place p = {.file = {.fd = -1}};
    uint64_t total = 0;
    enum err e = place_open(&p, s, job, f);
    struct blockfile_writer *w = blockfile_begin(place_put, &p);
    if (e == ERR_OK) {
        e = add_meta(w, job, f);
    }
    if (e == ERR_OK && job->own.bytes > 0) {
        e = blockfile_add(w, SNAPSHOT_OWN, 0, job->own.data, job->own.bytes, f);
    }
    for (size_t n = 0; n < job->kept_count && e == ERR_OK; n++) {
        e = add_kept(w, &job->kept[n], f);
    }
    if (e == ERR_OK) {
        e = add_groups(s, job, w, f);
    }
    if (e == ERR_OK) {
        e = blockfile_end(w, &total, f);
    }
    if (e == ERR_OK) {
        e = sync_files(&job->own, f);
    }
    if (e == ERR_OK) {
        e = place_commit(&p, total, f);
    }
    job->result.bytes = total;
    blockfile_writer_free(w);
    place_close(&p);
    return e;
}
