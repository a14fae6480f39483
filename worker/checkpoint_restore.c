/* worker/checkpoint_restore.c - reading snapshots from the master or a folder, block by block. */
#include "worker/checkpoint_restore.h"

#include "core/blockfile.h"
#include "core/mem.h"
#include "net/direct.h"
#include "pe/state.h"
#include "worker/checkpoint.h"
#include "worker/hold.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct taking {
    const struct restore_from *from;
    const struct rec_RESTORE *r;
    struct instance *i;
    uint64_t epoch; /* of the file being read */
    uint64_t base;  /* of the file read before it; 0: this is the first */
    bool last;
    /* where the bytes come from */
    FILE *file;
    struct direct *master;
    struct strbuf chunk;
    size_t chunk_at;
    uint64_t asked; /* bytes asked for so far */
    uint64_t total;
    /* of its meta block */
    json_t *meta;
};

/* ---- bytes */

static enum err ask_more(struct taking *t, struct fail *f)
{
    const struct msg *m = NULL;
    struct msg get = {.kind = M_SNAPSHOT_GET};
    get.SNAPSHOT_GET = (struct msg_SNAPSHOT_GET){.worker = t->from->worker,
                                                 .incarnation = t->from->incarnation,
                                                 .topology = t->from->topology,
                                                 .epoch = t->epoch,
                                                 .uid = t->r->uid,
                                                 .index = t->r->index,
                                                 .offset = t->asked};
    enum err e = direct_send(t->master, &get, f);
    if (e == ERR_OK) {
        e = direct_receive(t->master, M_SNAPSHOT_CHUNK, &m, f);
    }
    if (e != ERR_OK) {
        return e;
    }
    if (m->SNAPSHOT_CHUNK.missing || m->SNAPSHOT_CHUNK.offset != t->asked) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole", "it is not there");
    }
    if (m->SNAPSHOT_CHUNK.data.bytes == 0) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                        "it is damaged: it ends too early");
    }
    strbuf_clear(&t->chunk);
    strbuf_add(&t->chunk, m->SNAPSHOT_CHUNK.data.data, m->SNAPSHOT_CHUNK.data.bytes);
    t->chunk_at = 0;
    t->asked += t->chunk.bytes;
    return ERR_OK;
}

static enum err take_bytes(void *arg, void *to, size_t bytes, struct fail *f)
{
    struct taking *t = arg;
    char *at = to;
    if (t->file != NULL) {
        return fread(to, 1, bytes, t->file) == bytes
                   ? ERR_OK
                   : fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                              "it is damaged: it ends too early");
    }
    while (bytes > 0) {
        if (t->chunk_at == t->chunk.bytes) {
            enum err e = ask_more(t, f);
            if (e != ERR_OK) {
                return e;
            }
        }
        size_t left = t->chunk.bytes - t->chunk_at;
        size_t n = bytes < left ? bytes : left;
        memcpy(at, t->chunk.data + t->chunk_at, n);
        t->chunk_at += n;
        at += n;
        bytes -= n;
    }
    return ERR_OK;
}

/* ---- blocks */

static bool meta_is(const json_t *meta, const char *key, uint64_t wanted)
{
    return (uint64_t)json_integer_value(json_object_get(meta, key)) == wanted;
}

static enum err take_meta(struct taking *t, const struct block *b, struct fail *f)
{
    json_decref(t->meta);
    t->meta = json_loadb(b->data, b->bytes, 0, NULL);
    const char *topology = json_string_value(json_object_get(t->meta, "topology"));
    const char *uid = json_string_value(json_object_get(t->meta, "uid"));
    if (topology == NULL || uid == NULL || strcmp(topology, t->from->topology) != 0 ||
        strcmp(uid, t->r->uid) != 0 || !meta_is(t->meta, "index", t->r->index) ||
        !meta_is(t->meta, "epoch", t->epoch) || !meta_is(t->meta, "base", t->base)) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                        "it is of another instance, or of another checkpoint");
    }
    return ERR_OK;
}

static enum err take_own(struct taking *t, const struct block *b, struct fail *f)
{
    if (!t->last || !t->r->own) {
        return ERR_OK;
    }
    uint64_t version = (uint64_t)json_integer_value(json_object_get(t->meta, "state_version"));
    return pe_restore(t->i->pe, b->data, b->bytes, (uint32_t)version, f);
}

static enum err take_group(struct taking *t, const struct block *b, struct fail *f)
{
    unsigned group = b->tag & 0xff;
    const char *name =
        json_string_value(json_array_get(json_object_get(t->meta, "states"), b->tag >> 8));
    if (name == NULL) {
        return fail_set(f, ERR_CORRUPT, "", "it names a state that it does not list");
    }
    if ((t->r->groups.data[group / 8] >> group % 8 & 1) == 0) {
        return ERR_OK;
    }
    uint64_t version = (uint64_t)json_integer_value(json_object_get(t->meta, "state_version"));
    for (unsigned n = 0; n < pe_state_count(t->i->pe); n++) {
        struct oxb_state *s = pe_state_at(t->i->pe, n);
        if (strcmp(state_decl(s)->name, name) == 0) {
            return pe_take_group(t->i->pe, name, (uint32_t)version, s, group, b->data, b->bytes, f);
        }
    }
    return fail_set(f, ERR_VERSION, "roll back to the version that wrote it",
                    "PE %s has no state \"%s\" any more", name_text(&t->i->pe_name), name);
}

static enum err kept_is_damaged(struct fail *f)
{
    return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                    "its kept input is damaged");
}

/* take_kept - what waited at the instance when it was saved comes before anything else. */
static enum err take_kept(struct taking *t, const struct block *b, struct fail *f)
{
    struct instance *i = t->i;
    if (!t->last || !t->r->own) {
        return ERR_OK;
    }
    const char *stream = b->data, *end = b->data + b->bytes;
    const char *schema = memchr(stream, '\0', b->bytes);
    schema = schema != NULL ? schema + 1 : end;
    const char *body = memchr(schema, '\0', (size_t)(end - schema));
    size_t at = body != NULL ? ((size_t)(body + 1 - stream) + 7) / 8 * 8 : b->bytes;
    const struct oxb_schema *have = oxb_in_schema(i->pe, b->tag), *wrote = NULL;
    if (at >= b->bytes || schema_parse(schema, &wrote, f) != ERR_OK) {
        return kept_is_damaged(f);
    }
    if (have != wrote || !meta_is(t->meta, "parallelism", oxb_parallelism(i->pe))) {
        return fail_set(f, ERR_VERSION, "roll back to the version that kept it, and skip the tuple",
                        "PE %s kept input that is not for its instances any more",
                        name_text(&i->pe_name));
    }
    struct buf *block = buf_new(i->pool, b->bytes - at);
    memcpy(block->data, b->data + at, b->bytes - at);
    struct batch *batch = NULL;
    if (batch_decode(block, 0, b->bytes - at, wrote, &batch) != ERR_OK) {
        return kept_is_damaged(f);
    }
    hold_keep(i, b->tag, stream, batch);
    return ERR_OK;
}

static enum err take_blocks(struct taking *t, struct fail *f)
{
    struct blockfile_reader *reader = blockfile_open(take_bytes, t);
    struct block b = {.kind = SNAPSHOT_META};
    enum err e = ERR_OK;
    while (e == ERR_OK && (e = blockfile_next(reader, &b, f)) == ERR_OK && b.kind != BLOCK_END) {
        e = b.kind == SNAPSHOT_META    ? take_meta(t, &b, f)
            : t->meta == NULL          ? fail_set(f, ERR_CORRUPT, "", "it does not say what it is")
            : b.kind == SNAPSHOT_OWN   ? take_own(t, &b, f)
            : b.kind == SNAPSHOT_GROUP ? take_group(t, &b, f)
            : b.kind == SNAPSHOT_KEPT  ? take_kept(t, &b, f)
                                       : ERR_OK;
    }
    blockfile_reader_free(reader);
    if (e == ERR_OK && t->last && t->r->own) {
        t->i->had_finished = json_is_true(json_object_get(t->meta, "finished"));
        t->i->final_done = t->i->had_finished;
    }
    return e;
}

static enum err take_file(struct taking *t, struct fail *f)
{
    char *path = mem_printf("%s/%s/%" PRIu64 ".%s.%" PRIu64, t->from->location, t->from->topology,
                            t->epoch, t->r->uid, t->r->index);
    enum err e = ERR_OK;
    if (t->from->location[0] != '\0') {
        t->file = fopen(path, "rbe");
        if (t->file == NULL) {
            e = fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                         "it cannot be read: %s", strerror(errno));
        }
    }
    if (e == ERR_OK) {
        t->chunk_at = t->chunk.bytes = 0;
        t->asked = 0;
        e = take_blocks(t, f);
    }
    if (t->file != NULL) {
        fclose(t->file);
        t->file = NULL;
    }
    json_decref(t->meta);
    t->meta = NULL;
    mem_free(path);
    return e;
}

enum err restore_instance(const struct restore_from *from, const struct rec_RESTORE *r,
                          struct instance *i, struct fail *f)
{
    struct taking t = {.from = from, .r = r, .i = i};
    size_t count = r->epochs.bytes / sizeof(uint64_t);
    struct fail why = {0};
    enum err e = ERR_OK;
    if (r->groups.bytes != KEY_GROUPS / 8) {
        return fail_set(f, ERR_INVALID, "", "malformed plan: a restore without key groups");
    }
    if (from->location[0] == '\0' && count > 0) {
        t.master = direct_open(from->master, f);
        e = t.master != NULL ? ERR_OK : f->code;
    }
    for (size_t n = 0; n < count && e == ERR_OK; n++) {
        memcpy(&t.epoch, r->epochs.data + n * sizeof t.epoch, sizeof t.epoch);
        t.last = n + 1 == count;
        e = take_file(&t, &why);
        if (e != ERR_OK) {
            (void)fail_set(f, e, why.hint, "snapshot %" PRIu64 ".%s.%" PRIu64 ": %.400s", t.epoch,
                           r->uid, r->index, why.what);
        }
        t.base = t.epoch;
    }
    direct_close(t.master);
    strbuf_fini(&t.chunk);
    return e;
}
