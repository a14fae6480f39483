/* core/blockfile.c - writing and checking files of compressed blocks. */
#include "core/blockfile.h"

#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"

#include <stdbool.h>
#include <string.h>
#include <zstd.h>

enum { HEAD_BYTES = 32, CHECKED_BYTES = 16, END_BYTES = 16, LEVEL = 1 };

static const char magic[8] = {'O', 'X', 'B', 'B', 'L', 'K', 1, 0};

struct blockfile_writer {
    blockfile_put *put;
    void *arg;
    ZSTD_CCtx *zstd;
    XXH3_state_t *all;
    struct strbuf stored;
    uint64_t blocks, bytes;
};

struct blockfile_reader {
    blockfile_get *get;
    void *arg;
    struct unpacker *unpacker;
    XXH3_state_t *all;
    struct strbuf stored;
    uint64_t blocks;
    bool begun;
};

struct unpacker {
    ZSTD_DCtx *zstd;
    struct strbuf raw;
};

static void put_u32(uint8_t *to, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (uint8_t)(v >> (8 * i));
    }
}

static void put_u64(uint8_t *to, uint64_t v)
{
    put_u32(to, (uint32_t)v);
    put_u32(to + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static XXH3_state_t *new_hash(void)
{
    XXH3_state_t *h = XXH3_createState(); /* aligned as it must be */
    if (h == NULL || XXH3_64bits_reset(h) != XXH_OK) {
        mem_free(mem_alloc(SIZE_MAX)); /* out of memory: dies */
    }
    return h;
}

static void reserve(struct strbuf *b, size_t bytes)
{
    if (b->capacity < bytes) {
        b->data = mem_resize(b->data, bytes, 1);
        b->capacity = bytes;
    }
    b->bytes = bytes;
}

/* ---- writing */

struct blockfile_writer *blockfile_begin(blockfile_put *put, void *arg)
{
    struct blockfile_writer *w = mem_alloc(sizeof *w);
    w->put = put;
    w->arg = arg;
    w->zstd = ZSTD_createCCtx();
    w->all = new_hash();
    return w;
}

void blockfile_writer_free(struct blockfile_writer *w)
{
    if (w == NULL) {
        return;
    }
    ZSTD_freeCCtx(w->zstd);
    XXH3_freeState(w->all);
    strbuf_fini(&w->stored);
    mem_free(w);
}

static enum err put(struct blockfile_writer *w, const void *data, size_t bytes, struct fail *f)
{
    XXH3_64bits_update(w->all, data, bytes);
    w->bytes += bytes;
    return w->put(w->arg, data, bytes, f);
}

static enum err put_block(struct blockfile_writer *w, uint32_t kind, uint32_t tag, size_t raw,
                          struct fail *f)
{
    uint8_t head[HEAD_BYTES];
    enum err e = w->bytes == 0 ? put(w, magic, sizeof magic, f) : ERR_OK;
    put_u32(head, kind);
    put_u32(head + 4, tag);
    put_u32(head + 8, (uint32_t)raw);
    put_u32(head + 12, (uint32_t)w->stored.bytes);
    put_u64(head + 16, hash_bytes(head, CHECKED_BYTES));
    put_u64(head + 24, hash_bytes(w->stored.data, w->stored.bytes));
    if (e == ERR_OK) {
        e = put(w, head, sizeof head, f);
    }
    return e == ERR_OK ? put(w, w->stored.data, w->stored.bytes, f) : e;
}

enum err blockfile_add(struct blockfile_writer *w, uint32_t kind, uint32_t tag, const void *data,
                       size_t bytes, struct fail *f)
{
    if (bytes > BLOCK_BYTES_MAX) {
        return fail_set(f, ERR_LIMIT, "keep smaller values, or spread them over more keys",
                        "%zu bytes of state in one piece; at most %u can be saved", bytes,
                        BLOCK_BYTES_MAX);
    }
    size_t bound = ZSTD_compressBound(bytes);
    reserve(&w->stored, bound);
    size_t stored = ZSTD_compressCCtx(w->zstd, w->stored.data, bound, data, bytes, LEVEL);
    if (ZSTD_isError(stored)) {
        return fail_set(f, ERR_NOMEM, "", "cannot compress: %s", ZSTD_getErrorName(stored));
    }
    w->stored.bytes = stored;
    enum err e = put_block(w, kind, tag, bytes, f);
    w->blocks++;
    return e;
}

enum err blockfile_end(struct blockfile_writer *w, uint64_t *stored, struct fail *f)
{
    uint8_t end[END_BYTES];
    if (w->bytes == 0) {
        enum err e = put(w, magic, sizeof magic, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    put_u64(end, w->blocks);
    put_u64(end + 8, XXH3_64bits_digest(w->all));
    reserve(&w->stored, sizeof end);
    memcpy(w->stored.data, end, sizeof end);
    enum err e = put_block(w, BLOCK_END, 0, sizeof end, f);
    *stored = w->bytes;
    return e;
}

/* ---- reading */

struct blockfile_reader *blockfile_open(blockfile_get *get, void *arg)
{
    struct blockfile_reader *r = mem_alloc(sizeof *r);
    r->get = get;
    r->arg = arg;
    r->unpacker = unpacker_new();
    r->all = new_hash();
    return r;
}

void blockfile_reader_free(struct blockfile_reader *r)
{
    if (r == NULL) {
        return;
    }
    unpacker_free(r->unpacker);
    XXH3_freeState(r->all);
    strbuf_fini(&r->stored);
    mem_free(r);
}

struct unpacker *unpacker_new(void)
{
    struct unpacker *u = mem_alloc(sizeof *u);
    u->zstd = ZSTD_createDCtx();
    return u;
}

void unpacker_free(struct unpacker *u)
{
    if (u == NULL) {
        return;
    }
    ZSTD_freeDCtx(u->zstd);
    strbuf_fini(&u->raw);
    mem_free(u);
}

static enum err damaged(struct fail *f, const char *what)
{
    return fail_set(f, ERR_CORRUPT, "an older checkpoint may be whole", "it is damaged: %s", what);
}

static enum err take_end(struct blockfile_reader *r, const uint8_t *head, struct fail *f)
{
    uint8_t end[END_BYTES];
    uint64_t all = XXH3_64bits_digest(r->all);
    if (get_u32(head + 12) != END_BYTES) {
        return damaged(f, "its end has another length");
    }
    enum err e = r->get(r->arg, end, sizeof end, f);
    if (e != ERR_OK) {
        return e;
    }
    if (hash_bytes(end, sizeof end) != get_u64(head + 24)) {
        return damaged(f, "the checksum of its end differs");
    }
    return get_u64(end) == r->blocks && get_u64(end + 8) == all
               ? ERR_OK
               : damaged(f, "a block is missing, or the checksum of the whole differs");
}

static enum err take_block(struct blockfile_reader *r, const uint8_t *head,
                           struct packed_block *out, struct fail *f)
{
    size_t raw = get_u32(head + 8), stored = get_u32(head + 12);
    if (raw > BLOCK_BYTES_MAX || stored > ZSTD_compressBound(raw)) {
        return damaged(f, "a length is impossible");
    }
    reserve(&r->stored, stored);
    enum err e = r->get(r->arg, r->stored.data, stored, f);
    if (e != ERR_OK) {
        return e;
    }
    if (hash_bytes(r->stored.data, stored) != get_u64(head + 24)) {
        return damaged(f, "the checksum of a block differs");
    }
    XXH3_64bits_update(r->all, head, HEAD_BYTES);
    XXH3_64bits_update(r->all, r->stored.data, stored);
    r->blocks++;
    out->data = r->stored.data;
    out->bytes = stored;
    out->raw_bytes = raw;
    return ERR_OK;
}

enum err block_unpack(struct unpacker *u, const struct packed_block *in, struct block *out,
                      struct fail *f)
{
    reserve(&u->raw, in->raw_bytes + 1);
    size_t got = ZSTD_decompressDCtx(u->zstd, u->raw.data, in->raw_bytes, in->data, in->bytes);
    if (ZSTD_isError(got) || got != in->raw_bytes) {
        return damaged(f, "a block does not decompress");
    }
    *out = (struct block){.kind = in->kind, .tag = in->tag, .data = u->raw.data, .bytes = got};
    return ERR_OK;
}

enum err blockfile_next_packed(struct blockfile_reader *r, struct packed_block *out, struct fail *f)
{
    uint8_t head[HEAD_BYTES];
    if (!r->begun) {
        enum err e = r->get(r->arg, head, sizeof magic, f);
        if (e != ERR_OK) {
            return e;
        }
        if (memcmp(head, magic, sizeof magic) != 0) {
            return damaged(f, "it does not begin as a file of blocks of this version");
        }
        XXH3_64bits_update(r->all, head, sizeof magic);
        r->begun = true;
    }
    enum err e = r->get(r->arg, head, sizeof head, f);
    if (e != ERR_OK) {
        return e;
    }
    if (hash_bytes(head, CHECKED_BYTES) != get_u64(head + 16)) {
        return damaged(f, "the checksum of a block's head differs");
    }
    *out = (struct packed_block){.kind = get_u32(head), .tag = get_u32(head + 4), .data = ""};
    return out->kind == BLOCK_END ? take_end(r, head, f) : take_block(r, head, out, f);
}

enum err blockfile_next(struct blockfile_reader *r, struct block *out, struct fail *f)
{
    struct packed_block packed = {0};
    enum err e = blockfile_next_packed(r, &packed, f);
    if (e == ERR_OK && packed.kind != BLOCK_END) {
        return block_unpack(r->unpacker, &packed, out, f);
    }
    *out = (struct block){.kind = packed.kind, .tag = packed.tag, .data = ""};
    return e;
}
