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

struct writing {
    struct place place;
    struct blockfile_writer *blocks;
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
    json_t *meta = json_pack(
        "{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:o}", "format", (json_int_t)SNAPSHOT_FORMAT,
        "topology", r->topology, "uid", job->uid, "index", (json_int_t)job->index, "parallelism",
        (json_int_t)job->parallelism, "epoch", (json_int_t)r->epoch, "state_version",
        (json_int_t)job->state_version, "finished", (int)job->finished, "states", states);
    json_t *aside = json_array();
    for (unsigned g = 0; job->has_aside && g < KEY_GROUPS; g++) {
        if (job->aside[g]) {
            json_array_append_new(aside, json_integer((json_int_t)g));
        }
    }
    if (job->has_aside) {
        json_object_set(meta, "aside", aside);
    }
    json_decref(aside);
    char *text = json_dumps(meta, JSON_COMPACT);
    enum err e = blockfile_add(w, SNAPSHOT_META, 0, text, strlen(text), f);
    mem_free(text);
    json_decref(meta);
    return e;
}

/* add_numbers - one for each group of a table, little-endian. */
static enum err add_numbers(struct blockfile_writer *w, uint32_t kind, uint32_t state,
                            const uint64_t *numbers, struct fail *f)
{
    uint8_t bytes[KEY_GROUPS * 8];
    for (unsigned n = 0; n < sizeof bytes; n++) {
        bytes[n] = (uint8_t)(numbers[n / 8] >> (8 * (n % 8)));
    }
    return blockfile_add(w, kind, state, bytes, sizeof bytes, f);
}

static enum err add_entries(struct blockfile_writer *w, const struct save_job *job, struct fail *f)
{
    enum err e = ERR_OK;
    for (unsigned n = 0; n < job->state_count && e == ERR_OK; n++) {
        uint64_t entries[KEY_GROUPS];
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            entries[g] = job->states[n].entries[g];
        }
        e = add_numbers(w, SNAPSHOT_ENTRIES, n, entries, f);
    }
    return e;
}

static enum err add_whole(struct blockfile_writer *w, const struct save_job *job, struct fail *f)
{
    enum err e = ERR_OK;
    for (unsigned n = 0; n < job->state_count && e == ERR_OK; n++) {
        uint8_t bits[KEY_GROUPS / 8] = {0};
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            bool whole = job->states[n].groups[g] && job->states[n].whole[g];
            bits[g / 8] = (uint8_t)(bits[g / 8] | (unsigned)whole << g % 8);
        }
        e = blockfile_add(w, SNAPSHOT_WHOLE, n, bits, sizeof bits, f);
    }
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

void writing_free(struct writing *w)
{
    if (w != NULL) {
        blockfile_writer_free(w->blocks);
        place_close(&w->place);
        mem_free(w);
    }
}

enum err writing_begin(struct saver *s, struct save_job *job, struct fail *f)
{
    struct writing *w = mem_alloc(sizeof *w);
    w->place.file.fd = -1;
    job->writing = w;
    enum err e = place_open(&w->place, s, job, f);
    w->blocks = blockfile_begin(place_put, &w->place);
    if (e == ERR_OK) {
        e = add_meta(w->blocks, job, f);
    }
    if (e == ERR_OK) {
        e = add_whole(w->blocks, job, f);
    }
    if (e == ERR_OK) {
        e = add_entries(w->blocks, job, f);
    }
    if (e == ERR_OK && job->own.bytes > 0) {
        e = blockfile_add(w->blocks, SNAPSHOT_OWN, 0, job->own.data, job->own.bytes, f);
    }
    for (size_t n = 0; n < job->kept_count && e == ERR_OK; n++) {
        e = add_kept(w->blocks, &job->kept[n], f);
    }
    return e;
}

enum err writing_add(struct save_job *job, const struct save_piece *p, struct fail *f)
{
    return blockfile_add(job->writing->blocks, SNAPSHOT_GROUP, p->state << 8 | p->group,
                         p->bytes.data, p->bytes.bytes, f);
}

enum err writing_end(struct save_job *job, struct fail *f)
{
    struct writing *w = job->writing;
    enum err e = ERR_OK;
    for (unsigned n = 0; n < job->state_count && e == ERR_OK; n++) {
        e = add_numbers(w->blocks, SNAPSHOT_VERSIONS, n, job->states[n].versions, f);
    }
    if (e == ERR_OK) {
        e = blockfile_end(w->blocks, &job->result.bytes, f);
    }
    if (e == ERR_OK) {
        e = sync_files(&job->own, f);
    }
    return e == ERR_OK ? place_commit(&w->place, job->result.bytes, f) : e;
}
