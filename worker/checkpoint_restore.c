/* worker/checkpoint_restore.c - reading snapshots from the master or a folder, block by block.
 *
 * Method:     this thread fetches and checks; decoders unpack the key groups and take them in
 *             (worker/checkpoint_decode.h).  The master is asked for several chunks ahead.
 *             An instance takes from all files that may have groups of it; whether it had finished
 *             follows from all of these (settle).
 * Twice:      first the beginnings of all files, which say what is whole where: pieces of a group
 *             before its newest whole copy are then not unpacked, and may be missing.  The newest
 *             file says which version each group has in the end, which is compared. */
#include "worker/checkpoint_restore.h"

#include "core/blockfile.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "net/direct.h"
#include "pe/state.h"
#include "worker/aside.h"
#include "worker/checkpoint.h"
#include "worker/checkpoint_decode.h"
#include "worker/hold.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What the chains say together. */
struct verdict {
    bool own;               /* one of them is of its own predecessor */
    unsigned parallelism;   /* when they were saved */
    unsigned counted;       /* chains that say whether it had finished: its own; those with entries
                             * for it; and when it has no predecessor, all */
    unsigned finished;      /* of these */
    bool aside[KEY_GROUPS]; /* final output has left */
};

struct taking {
    const struct restore_from *from;
    const struct rec_RESTORE *r;
    struct verdict *verdict;
    struct instance *i;
    uint64_t epoch; /* of the file being read */
    size_t number;  /* of it, from 1 on */
    bool last;
    bool looking; /* only at its beginning */
    /* where the bytes come from */
    FILE *file;
    struct direct *master;
    struct strbuf chunk;
    size_t chunk_at;
    uint64_t got;    /* bytes of the file that have come */
    uint64_t asked;  /* as far as was asked for */
    uint64_t total;  /* bytes of the file; known from the first chunk on */
    uint64_t stride; /* bytes of a chunk, likewise */
    /* of its meta block */
    json_t *meta;
    /* of the key groups */
    struct decoders *decoders; /* NULL: there was none yet */
    struct table_facts {
        uint64_t entries[KEY_GROUPS], versions[KEY_GROUPS];
        bool has_versions;
        size_t whole[KEY_GROUPS]; /* number of the newest file that has all of it; 0: none known */
    } * facts;                    /* [pe_state_count] */
    uint64_t bytes, skipped;      /* of all files; blocks that were not unpacked */
};

enum { CHUNKS_AHEAD = 8 };

/* ---- bytes */

static enum err ask(struct taking *t, struct fail *f)
{
    struct msg get = {.kind = M_SNAPSHOT_GET};
    get.SNAPSHOT_GET = (struct msg_SNAPSHOT_GET){.worker = t->from->worker,
                                                 .incarnation = t->from->incarnation,
                                                 .topology = t->from->topology,
                                                 .epoch = t->epoch,
                                                 .uid = t->r->uid,
                                                 .index = t->r->index,
                                                 .offset = t->asked};
    return direct_send(t->master, &get, f);
}

static enum err ends_too_early(struct fail *f)
{
    return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                    "it is damaged: it ends too early");
}

static enum err take_chunk(struct taking *t, const struct msg_SNAPSHOT_CHUNK *m, struct fail *f)
{
    if (m->missing || m->offset != t->got) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole", "it is not there");
    }
    if (t->got == 0) {
        t->total = m->total;
        t->stride = m->data.bytes;
        t->asked = t->stride;
    }
    uint64_t due = t->total - t->got < t->stride ? t->total - t->got : t->stride;
    if (m->data.bytes == 0 || m->total != t->total || m->data.bytes != due) {
        return ends_too_early(f);
    }
    strbuf_clear(&t->chunk);
    strbuf_add(&t->chunk, m->data.data, m->data.bytes);
    t->chunk_at = 0;
    t->got += m->data.bytes;
    return ERR_OK;
}

static enum err ask_more(struct taking *t, struct fail *f)
{
    const struct msg *m = NULL;
    enum err e = ERR_OK;
    if (t->got > 0 && t->got >= t->total) {
        return ends_too_early(f);
    }
    if (t->got == 0 || t->asked == t->got) { /* the first one, or nothing was asked for ahead */
        e = ask(t, f);
        t->asked += t->got > 0 ? t->stride : 0;
    }
    if (e == ERR_OK) {
        e = direct_receive(t->master, M_SNAPSHOT_CHUNK, &m, f);
    }
    if (e == ERR_OK) {
        e = take_chunk(t, &m->SNAPSHOT_CHUNK, f);
    }
    while (e == ERR_OK && !t->looking && t->asked < t->total &&
           t->asked - t->got < CHUNKS_AHEAD * t->stride) {
        e = ask(t, f);
        t->asked += t->stride;
    }
    return e;
}

static enum err take_bytes(void *arg, void *to, size_t bytes, struct fail *f)
{
    struct taking *t = arg;
    char *at = to;
    if (t->file != NULL) {
        return fread(to, 1, bytes, t->file) == bytes ? ERR_OK : ends_too_early(f);
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
    const json_t *format = json_object_get(t->meta, "format");
    json_int_t number = format != NULL ? json_integer_value(format) : 1;
    if (number != SNAPSHOT_FORMAT) {
        return fail_set(f, ERR_VERSION, "use a worker of the release that wrote it",
                        "it is of format %lld, and this release reads %d", (long long)number,
                        SNAPSHOT_FORMAT);
    }
    if (topology == NULL || uid == NULL || strcmp(topology, t->from->topology) != 0 ||
        strcmp(uid, t->r->uid) != 0 || !meta_is(t->meta, "index", t->r->index) ||
        !meta_is(t->meta, "epoch", t->epoch)) {
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
    enum err e = t->decoders != NULL ? decoders_wait(t->decoders, f) : ERR_OK;
    if (e != ERR_OK) {
        return e;
    }
    uint64_t version = (uint64_t)json_integer_value(json_object_get(t->meta, "state_version"));
    return pe_restore(t->i->pe, b->data, b->bytes, (uint32_t)version, f);
}

static bool is_wanted(const struct taking *t, unsigned group)
{
    return (t->r->groups.data[group / 8] >> group % 8 & 1) != 0;
}

/* find_state - the PE's table that the file calls number `n`.  Return: its own number. */
static enum err find_state(const struct taking *t, uint32_t n, unsigned *out, struct fail *f)
{
    const char *name = json_string_value(json_array_get(json_object_get(t->meta, "states"), n));
    if (name == NULL) {
        return fail_set(f, ERR_CORRUPT, "", "it names a state that it does not list");
    }
    for (unsigned k = 0; k < pe_state_count(t->i->pe); k++) {
        if (strcmp(state_decl(pe_state_at(t->i->pe, k))->name, name) == 0) {
            *out = k;
            return ERR_OK;
        }
    }
    return fail_set(f, ERR_VERSION, "roll back to the version that wrote it",
                    "PE %s has no state \"%s\" any more", name_text(&t->i->pe_name), name);
}

static enum err take_group(struct taking *t, const struct packed_block *b, struct fail *f)
{
    struct group_block to = {.group = b->tag & 0xff};
    if (!is_wanted(t, to.group)) {
        return ERR_OK;
    }
    enum err e = find_state(t, b->tag >> 8, &to.state, f);
    if (e != ERR_OK) {
        return e;
    }
    if (t->facts[to.state].whole[to.group] > t->number) {
        t->skipped++;
        return ERR_OK;
    }
    if (t->decoders == NULL) {
        t->decoders = decoders_new(t->i->pe);
    }
    to.version = (uint32_t)json_integer_value(json_object_get(t->meta, "state_version"));
    to.epoch = t->epoch;
    to.expected = t->facts[to.state].entries[to.group];
    decoders_put(t->decoders, b, to);
    return ERR_OK;
}

/* take_numbers - what a file says of all groups of a table. */
static enum err take_numbers(struct taking *t, const struct block *b, struct fail *f)
{
    if (b->bytes != KEY_GROUPS * 8) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                        "it is damaged: a table has another number of groups");
    }
    uint64_t numbers[KEY_GROUPS] = {0}, any = 0;
    for (unsigned n = 0; n < b->bytes; n++) {
        numbers[n / 8] |= (uint64_t)(uint8_t)b->data[n] << (8 * (n % 8));
        any |= is_wanted(t, n / 8) ? numbers[n / 8] : 0;
    }
    unsigned state = 0;
    enum err e = any != 0 ? find_state(t, b->tag, &state, f) : ERR_OK;
    if (any == 0 || e != ERR_OK) {
        return e;
    }
    struct table_facts *facts = &t->facts[state];
    memcpy(b->kind == SNAPSHOT_ENTRIES ? facts->entries : facts->versions, numbers, sizeof numbers);
    facts->has_versions = facts->has_versions || b->kind == SNAPSHOT_VERSIONS;
    return ERR_OK;
}

/* take_whole - what older files have of these groups is not needed.  A table that the PE does not
 * have any more is complained of where something of it is wanted. */
static enum err take_whole(struct taking *t, const struct block *b, struct fail *f)
{
    unsigned state = 0;
    struct fail ignored = {0};
    if (b->bytes != KEY_GROUPS / 8) {
        return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                        "it is damaged: a table has another number of groups");
    }
    if (find_state(t, b->tag, &state, &ignored) != ERR_OK) {
        return ERR_OK;
    }
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (((uint8_t)b->data[g / 8] >> g % 8 & 1) != 0) {
            t->facts[state].whole[g] = t->number;
        }
    }
    return ERR_OK;
}

/* check_versions - every group came as far as the newest file says. */
static enum err check_versions(const struct taking *t, struct fail *f)
{
    for (unsigned n = 0; n < pe_state_count(t->i->pe); n++) {
        const struct oxb_state *table = pe_state_at(t->i->pe, n);
        for (unsigned g = 0; t->facts[n].has_versions && g < KEY_GROUPS; g++) {
            uint64_t version = t->facts[n].versions[g]; /* 0: it was another's */
            if (is_wanted(t, g) && version != 0 && state_imported(table, g) != version) {
                return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole",
                                "state `%s`, group %u: something of it is missing",
                                state_decl(table)->name, g);
            }
        }
    }
    return ERR_OK;
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
    bool same = meta_is(t->meta, "parallelism", oxb_parallelism(i->pe));
    if (!t->last || (same && !t->r->own)) {
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
    if (have != wrote || !same) {
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
    hold_saved(i, t->epoch);
    return ERR_OK;
}

static enum err take_block(struct taking *t, const struct block *b, struct fail *f)
{
    if (b->kind != SNAPSHOT_META && t->meta == NULL) {
        return fail_set(f, ERR_CORRUPT, "", "it does not say what it is");
    }
    switch (b->kind) {
    case SNAPSHOT_META:
        return take_meta(t, b, f);
    case SNAPSHOT_WHOLE:
        return t->looking ? take_whole(t, b, f) : ERR_OK;
    case SNAPSHOT_OWN:
        return take_own(t, b, f);
    case SNAPSHOT_KEPT:
        return take_kept(t, b, f);
    case SNAPSHOT_ENTRIES: /* as many as come in the end: of the newest file that says so */
    case SNAPSHOT_VERSIONS:
        return b->kind == SNAPSHOT_VERSIONS || t->last ? take_numbers(t, b, f) : ERR_OK;
    default:
        return ERR_OK;
    }
}

static bool has_entries(const struct taking *t, unsigned group)
{
    bool any = false;
    for (unsigned n = 0; is_wanted(t, group) && n < pe_state_count(t->i->pe); n++) {
        any = any || t->facts[n].entries[group] != 0;
    }
    return any;
}

/* judge - what the newest file of a chain says of the final output. */
static void judge(struct taking *t)
{
    struct verdict *v = t->verdict;
    bool finished = json_is_true(json_object_get(t->meta, "finished"));
    bool any = false, aside[KEY_GROUPS];
    const json_t *listed = json_object_get(t->meta, "aside");
    memset(aside, finished, sizeof aside);
    for (size_t n = 0; n < json_array_size(listed); n++) {
        aside[(uint64_t)json_integer_value(json_array_get(listed, n)) % KEY_GROUPS] = true;
    }
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        bool has = has_entries(t, g);
        any = any || has;
        v->aside[g] = v->aside[g] || (has && aside[g]);
    }
    v->parallelism = (unsigned)json_integer_value(json_object_get(t->meta, "parallelism"));
    if (t->r->own || any || !v->own) {
        v->counted++;
        v->finished += finished;
    }
}

/* settle - all that it takes from has been read.  It had finished if all of them had; when some had
 * not it has still to, and what the others had given out is set aside. */
static void settle(struct instance *i, const struct verdict *v)
{
    unsigned all = v->own || v->counted > v->parallelism ? v->counted : v->parallelism;
    i->had_finished = v->counted > 0 && v->finished == all;
    i->final_done = i->had_finished;
    if (!i->had_finished) {
        aside_put(i, v->aside);
    }
}

static bool is_beginning(const struct packed_block *b)
{
    return b->kind == SNAPSHOT_META || b->kind == SNAPSHOT_WHOLE || b->kind == SNAPSHOT_ENTRIES;
}

/* take_blocks - those of the file, or the first of them. */
static enum err take_blocks(struct taking *t, struct fail *f)
{
    struct blockfile_reader *reader = blockfile_open(take_bytes, t);
    struct unpacker *unpacker = unpacker_new();
    struct packed_block b = {.kind = SNAPSHOT_META};
    enum err e = ERR_OK;
    while (e == ERR_OK && (e = blockfile_next_packed(reader, &b, f)) == ERR_OK &&
           b.kind != BLOCK_END && (!t->looking || is_beginning(&b))) {
        struct block raw;
        if (b.kind == SNAPSHOT_GROUP && t->meta != NULL) {
            e = take_group(t, &b, f);
            continue;
        }
        e = block_unpack(unpacker, &b, &raw, f);
        e = e == ERR_OK ? take_block(t, &raw, f) : e;
    }
    unpacker_free(unpacker);
    blockfile_reader_free(reader);
    return e;
}

/* take_all - the whole file is good, and what was taken from it. */
static enum err take_all(struct taking *t, struct fail *f)
{
    enum err e = take_blocks(t, f);
    if (t->decoders != NULL && e == ERR_OK) {
        e = decoders_wait(t->decoders, f); /* a failure is of this file */
    }
    if (e == ERR_OK && t->last) {
        e = check_versions(t, f);
    }
    if (e == ERR_OK && t->last) {
        judge(t);
    }
    t->bytes += t->got;
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
        t->asked = t->got = 0;
        e = t->looking ? take_blocks(t, f) : take_all(t, f);
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

/* take_files - all of them, in order. */
static enum err take_files(struct taking *t, bool looking, struct fail *f)
{
    const struct msg_bin *epochs = &t->r->epochs;
    size_t count = epochs->bytes / sizeof(uint64_t);
    struct fail why = {0};
    enum err e = ERR_OK;
    t->looking = looking;
    for (size_t n = 0; n < count && e == ERR_OK; n++) {
        memcpy(&t->epoch, epochs->data + n * sizeof t->epoch, sizeof t->epoch);
        t->number = n + 1;
        t->last = n + 1 == count;
        e = take_file(t, &why);
        if (e != ERR_OK) {
            (void)fail_set(f, e, why.hint, "snapshot %" PRIu64 ".%s.%" PRIu64 ": %.400s", t->epoch,
                           t->r->uid, t->r->index, why.what);
        }
    }
    return e;
}

/* note - what keeper_resume has to know.  A group may come from files of several instances. */
static void note(const struct taking *t, struct restored *out)
{
    unsigned count = pe_state_count(t->i->pe);
    out->skipped += t->skipped;
    if (out->groups == NULL) {
        out->groups = mem_array((size_t)count * KEY_GROUPS, sizeof *out->groups);
    }
    for (unsigned n = 0; n < count * KEY_GROUPS && t->decoders != NULL; n++) {
        const struct group_taken *from =
            decoders_taken(t->decoders, n / KEY_GROUPS, n % KEY_GROUPS);
        struct restored_group *g = &out->groups[n];
        if (from->newest != 0) {
            g->foreign = g->foreign || from->migrated || !t->r->own;
            g->whole = from->whole;
            g->newest = from->newest;
            g->deltas = from->deltas < UINT32_MAX ? (uint32_t)from->deltas : UINT32_MAX;
        }
    }
    if (t->r->own) {
        out->epoch_count = t->r->epochs.bytes / sizeof(uint64_t);
        out->epochs = mem_resize(out->epochs, out->epoch_count, sizeof *out->epochs);
        memcpy(out->epochs, t->r->epochs.data, out->epoch_count * sizeof *out->epochs);
    }
}

static enum err take_chain(const struct restore_from *from, const struct rec_RESTORE *r,
                           struct instance *i, struct verdict *v, struct restored *out,
                           struct fail *f)
{
    struct taking t = {.from = from, .r = r, .i = i, .verdict = v};
    uint64_t begun_us = clock_now_us();
    enum err e = ERR_OK;
    if (r->groups.bytes != KEY_GROUPS / 8) {
        return fail_set(f, ERR_INVALID, "", "malformed plan: a restore without key groups");
    }
    t.facts = mem_array(pe_state_count(i->pe), sizeof *t.facts);
    if (from->location[0] == '\0' && r->epochs.bytes > 0) {
        t.master = direct_open(from->master, f);
        e = t.master != NULL ? ERR_OK : f->code;
    }
    if (e == ERR_OK && r->epochs.bytes > sizeof(uint64_t)) { /* one file has nothing too many */
        e = take_files(&t, true, f);
    }
    if (e == ERR_OK) {
        e = take_files(&t, false, f);
    }
    if (e == ERR_OK) {
        note(&t, out);
        log_event(LOG_INFO, "instance.restored",
                  "topology=%s uid=%s index=%u of=%" PRIu64 " files=%zu bytes=%" PRIu64
                  " skipped=%" PRIu64 " took_us=%" PRIu64,
                  from->topology, r->uid, i->index, r->index, r->epochs.bytes / sizeof(uint64_t),
                  t.bytes, t.skipped, clock_now_us() - begun_us);
    }
    decoders_free(t.decoders);
    direct_close(t.master);
    strbuf_fini(&t.chunk);
    mem_free(t.facts);
    return e;
}

enum err restore_instance(const struct restore_from *from, const struct rec_RESTORE *list,
                          size_t count, struct instance *i, struct restored *out, struct fail *f)
{
    struct verdict v = {0};
    enum err e = ERR_OK;
    for (size_t n = 0; n < count; n++) {
        v.own = v.own || (list[n].instance == i->id && list[n].own);
    }
    for (size_t n = 0; n < count && e == ERR_OK; n++) {
        if (list[n].instance == i->id) {
            e = take_chain(from, &list[n], i, &v, out, f);
        }
    }
    if (e == ERR_OK) {
        settle(i, &v);
    }
    return e;
}
