/* net/messages.c - the codec of the control messages, driven by the rows of messages.def.
 *
 * Owns:       the arena of a decoded message (a msgpack-c zone), until msg_free.
 * Runs on:    any thread; pure.
 * Invariants: M1 nothing is decoded that the pre-scan has not passed.  M2 a decoded message takes
 * at most ARENA_FACTOR times its bytes and ARENA_FLOOR more, whatever it claims. M3 what msg_encode
 * writes, msg_decode accepts. Why tables: the rows become constant tables once, and encoder,
 * decoder and printer are one loop each; they recurse only as deep as records nest in messages.def.
 * See:        net/messages.def, tests/unit/net/messages_test.c, tests/fuzz/messages_fuzz.c */
#include "net/messages.h"

#include "core/failpoint.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"
#include "net/frame.h"
#include "net/value.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_FACTOR 10 /* an INSTANCE_SPEC of empty fields takes 9 times its bytes */
#define ARENA_FLOOR 16384
#define ARENA_CHUNK_BYTES_MAX 8192

static_assert(FRAME_PRE_AUTH_BYTES_MAX * ARENA_FACTOR + ARENA_FLOOR < (1u << 20) - (256u << 10),
              "an unknown peer's message and its buffers stay below 1 MiB");

enum row_kind { ROW_u64, ROW_i64, ROW_f64, ROW_flag, ROW_str, ROW_bin, ROW_list };

struct table;
struct row {
    enum row_kind kind;
    const char *name;
    size_t offset;                       /* in the struct */
    size_t count_offset;                 /* list: where the number of records is */
    const struct table *(*record)(void); /* list: what it holds */
};
struct table { /* of a record or a message */
    const char *name;
    size_t bytes; /* of the struct */
    const struct row *rows;
    uint32_t count;
};

#define ROW_F(kind, field, since) {ROW_##kind, #field, offsetof(self, field), 0, NULL},
#define ROW_L(record, field, since)                                                                \
    {ROW_list, #field, offsetof(self, field), offsetof(self, field##_count), record_##record},
#define TABLE(rows_of, named)                                                                      \
    static const struct row rows[] = {rows_of(ROW_F, ROW_L)};                                      \
    static const struct table table = {named, sizeof(self), rows, sizeof rows / sizeof rows[0]};   \
    return &table;

#define X(record)                                                                                  \
    static const struct table *record_##record(void)                                               \
    {                                                                                              \
        typedef struct rec_##record self;                                                          \
        TABLE(REC_##record, #record)                                                               \
    }
RECORDS(X)
#undef X
#define X(number, message, text)                                                                   \
    static const struct table *message_##message(void)                                             \
    {                                                                                              \
        typedef struct msg_##message self;                                                         \
        TABLE(MSG_##message, #message)                                                             \
    }
MESSAGES(X)
#undef X

static const struct table *message_table(unsigned kind)
{
    switch (kind) {
#define X(number, message, text)                                                                   \
    case number:                                                                                   \
        return message_##message();
        MESSAGES(X)
#undef X
    default:
        return NULL;
    }
}

const char *msg_name(unsigned kind)
{
    const struct table *t = message_table(kind);
    return t != NULL ? t->name : "?";
}

void msg_failpoint(const char *verb, unsigned kind, const char *when)
{
    if (failpoint_armed) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s.%s", verb, msg_name(kind), when);
        for (char *p = name; *p != '\0'; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
        FAILPOINT(name);
    }
}

/* All messages share one place in struct msg: the anonymous union. */
static const void *message_body(const struct msg *m)
{
    return &m->HELLO;
}

static const void *field_at(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

/* ---- encode ---- */
struct encoder {
    msgpack_packer packer;
    struct strbuf *out;
    size_t bytes_max; /* of out, head included */
    size_t objects;
    bool full;
};

static int encoder_write(void *data, const char *p, size_t bytes)
{
    struct encoder *e = data;
    e->full = e->full || e->out->bytes + bytes > e->bytes_max;
    if (!e->full) {
        strbuf_add(e->out, p, bytes);
    }
    return e->full ? -1 : 0;
}

/* encode_text - text from plug-ins may be cut in the middle of a character; a peer would close the
 * link over it, so what is not UTF-8 goes out as '?'. */
static void encode_text(struct encoder *e, const char *s)
{
    size_t bytes = strlen(s);
    char *mended = NULL;
    if (bytes <= e->bytes_max && !text_is_utf8(s, bytes)) {
        mended = mem_dup_n(s, bytes);
        for (size_t i = 0, step; i < bytes; i += step) {
            for (step = 1; step <= 4 && i + step <= bytes; step++) {
                if (text_is_utf8(mended + i, step)) {
                    break;
                }
            }
            if (step > 4 || i + step > bytes) {
                mended[i] = '?';
                step = 1;
            }
        }
    }
    msgpack_pack_str(&e->packer, bytes);
    msgpack_pack_str_body(&e->packer, mended != NULL ? mended : s, bytes);
    mem_free(mended);
}

static void encode_record(struct encoder *e, const struct table *t, const void *base)
{
    msgpack_pack_array(&e->packer, t->count);
    e->objects += t->count + 1;
    for (const struct row *row = t->rows; row < t->rows + t->count && !e->full; row++) {
        const void *at = field_at(base, row->offset);
        switch (row->kind) {
        case ROW_u64:
            msgpack_pack_uint64(&e->packer, *(const uint64_t *)at);
            break;
        case ROW_i64:
            msgpack_pack_int64(&e->packer, *(const int64_t *)at);
            break;
        case ROW_f64:
            msgpack_pack_double(&e->packer, *(const double *)at);
            break;
        case ROW_flag:
            (*(const bool *)at ? msgpack_pack_true : msgpack_pack_false)(&e->packer);
            break;
        case ROW_str: {
            const char *s = *(const char *const *)at;
            encode_text(e, s != NULL ? s : "");
            break;
        }
        case ROW_bin: {
            const struct msg_bin *bin = at;
            msgpack_pack_bin(&e->packer, bin->bytes);
            msgpack_pack_bin_body(&e->packer, bin->data, bin->bytes);
            break;
        }
        case ROW_list: {
            const struct table *record = row->record();
            const char *item = *(const char *const *)at;
            size_t count = *(const size_t *)field_at(base, row->count_offset);
            msgpack_pack_array(&e->packer, count);
            for (size_t i = 0; i < count && !e->full; i++) {
                encode_record(e, record, item + i * record->bytes);
            }
            break;
        }
        }
    }
}

struct bounds {
    size_t bytes, objects;
};
static const struct bounds one_frame = {FRAME_BYTES_MAX, FRAME_OBJECTS_MAX};
static const struct bounds fragments = {LARGE_BYTES_MAX, LARGE_OBJECTS_MAX};

static enum err encode(const struct msg *m, struct strbuf *out, const struct bounds *most)
{
    const struct table *t = message_table(m->kind);
    assert(t != NULL);
    size_t start = out->bytes;
    uint8_t head[FRAME_HEAD_BYTES] = {0};
    strbuf_add(out, head, sizeof head);
    struct encoder e = {.out = out, .bytes_max = start + sizeof head + most->bytes};
    msgpack_packer_init(&e.packer, &e, encoder_write);
    encode_record(&e, t, message_body(m));
    if (e.full || e.objects > most->objects) {
        out->bytes = start;
        out->data[start] = '\0';
        return ERR_LIMIT;
    }
    frame_head_write((uint32_t)(out->bytes - start - sizeof head), (uint16_t)m->kind, head);
    memcpy(out->data + start, head, sizeof head);
    return ERR_OK;
}

enum err msg_encode(const struct msg *m, struct strbuf *out)
{
    return encode(m, out, &one_frame);
}

enum err msg_encode_large(const struct msg *m, struct strbuf *out)
{
    return encode(m, out, &fragments);
}

bool msg_may_be_large(unsigned kind)
{
    return kind == M_PREPARE || kind == M_REPORT;
}

/* ---- decode ---- */
struct decoder {
    struct value_reader r;
    const struct table *message;
    struct fail *fail;
    msgpack_zone *arena;
    size_t arena_left; /* M2 */
};

static enum err wrong(struct decoder *d, const struct table *t, const struct row *row,
                      const char *expected)
{
    return fail_set(d->fail, ERR_INVALID, "the peer speaks another protocol or is damaged",
                    "message %s: %s.%s is not %s", d->message->name, t->name, row->name, expected);
}

/* arena_take - NOT zeroed. */
static enum err arena_take(struct decoder *d, size_t bytes, void *out)
{
    if (bytes > d->arena_left) {
        return fail_set(d->fail, ERR_LIMIT, "",
                        "message %s: unpacks to more than %d times its size", d->message->name,
                        ARENA_FACTOR);
    }
    d->arena_left -= bytes;
    if (d->arena == NULL) {
        size_t chunk = d->r.left + bytes + 64;
        d->arena = msgpack_zone_new(chunk < ARENA_CHUNK_BYTES_MAX ? chunk : ARENA_CHUNK_BYTES_MAX);
    }
    void *p = d->arena != NULL ? msgpack_zone_malloc(d->arena, bytes) : NULL;
    if (p == NULL) {
        return fail_set(d->fail, ERR_NOMEM, "", "message %s: out of memory", d->message->name);
    }
    memcpy(out, &p, sizeof p);
    return ERR_OK;
}

static enum err decode_bytes(struct decoder *d, const struct value *v, size_t extra, void *out)
{
    static const char empty[1] = "";
    const char *borrowed = empty;
    if (v->bytes == 0) {
        memcpy(out, &borrowed, sizeof borrowed);
        return ERR_OK;
    }
    char *p = NULL;
    enum err e = arena_take(d, v->bytes + extra, &p);
    if (e == ERR_OK) {
        memcpy(p, v->data, v->bytes);
        memset(p + v->bytes, 0, extra);
        memcpy(out, &p, sizeof p);
    }
    return e;
}

static enum err decode_fields(struct decoder *d, const struct table *t, uint64_t sent, void *base);

static enum err decode_list(struct decoder *d, const struct row *row, const struct value *list,
                            const struct table *t, void *base)
{
    const struct table *record = row->record();
    size_t count = (size_t)list->children; /* at most the bytes of the frame: M1 */
    char *items = NULL;
    if (count > 0) {
        enum err e = arena_take(d, count * record->bytes, &items);
        if (e != ERR_OK) {
            return e;
        }
        memset(items, 0, count * record->bytes);
    }
    for (size_t i = 0; i < count; i++) {
        struct value v;
        if (value_next(&d->r, &v) != ERR_OK || v.type != VALUE_ARRAY) {
            return wrong(d, t, row, "a list of records");
        }
        enum err e = decode_fields(d, record, v.children, items + i * record->bytes);
        if (e != ERR_OK) {
            return e;
        }
    }
    memcpy((char *)base + row->offset, &items, sizeof items);
    memcpy((char *)base + row->count_offset, &count, sizeof count);
    return ERR_OK;
}

static enum err decode_field(struct decoder *d, const struct table *t, const struct row *row,
                             void *base)
{
    char *at = (char *)base + row->offset;
    struct value v;
    enum err e = value_next(&d->r, &v);
    if (e != ERR_OK) {
        return wrong(d, t, row, "complete");
    }
    switch (row->kind) {
    case ROW_u64:
        if (v.type != VALUE_UINT) {
            return wrong(d, t, row, "a number >= 0");
        }
        memcpy(at, &v.number, sizeof v.number);
        return ERR_OK;
    case ROW_i64:
        if (v.type != VALUE_INT && (v.type != VALUE_UINT || v.number > INT64_MAX)) {
            return wrong(d, t, row, "a 64-bit number");
        }
        memcpy(at, &v.number, sizeof v.number);
        return ERR_OK;
    case ROW_f64:
        if (v.type != VALUE_FLOAT) {
            return wrong(d, t, row, "a floating-point number");
        }
        memcpy(at, &v.real, sizeof v.real);
        return ERR_OK;
    case ROW_flag:
        if (v.type != VALUE_FLAG) {
            return wrong(d, t, row, "true or false");
        }
        *(bool *)at = v.number != 0;
        return ERR_OK;
    case ROW_str:
        if (v.type != VALUE_STR || memchr(v.data, '\0', v.bytes) != NULL ||
            !text_is_utf8(v.data, v.bytes)) {
            return wrong(d, t, row, "UTF-8 text without NUL");
        }
        return decode_bytes(d, &v, 1, at);
    case ROW_bin:
        if (v.type != VALUE_BIN) {
            return wrong(d, t, row, "bytes");
        }
        ((struct msg_bin *)(void *)at)->bytes = v.bytes;
        return decode_bytes(d, &v, 0, at + offsetof(struct msg_bin, data));
    case ROW_list:
        return v.type != VALUE_ARRAY ? wrong(d, t, row, "a list")
                                     : decode_list(d, row, &v, t, base);
    }
    return ERR_INVALID;
}

/* decode_fields - rows the sender does not know stay 0 or empty; fields we do not know are skipped.
 * @base: zeroed. */
static enum err decode_fields(struct decoder *d, const struct table *t, uint64_t sent, void *base)
{
    static const struct value absent = {.type = VALUE_STR};
    for (uint32_t i = 0; i < t->count; i++) {
        const struct row *row = &t->rows[i];
        enum err e = ERR_OK;
        if (i < sent) {
            e = decode_field(d, t, row, base);
        } else if (row->kind == ROW_str || row->kind == ROW_bin) {
            e = decode_bytes(d, &absent, 0, (char *)base + row->offset);
        }
        if (e != ERR_OK) {
            return e;
        }
    }
    for (uint64_t i = t->count; i < sent; i++) {
        if (value_skip(&d->r) != ERR_OK) {
            return fail_set(d->fail, ERR_INVALID, "", "message %s: cut short", d->message->name);
        }
    }
    return ERR_OK;
}

static_assert(offsetof(struct msg_bin, data) == 0, "absent text and absent bytes are set alike");

static enum err decode(unsigned kind, const void *body, size_t bytes, struct msg *m,
                       const struct bounds *most, struct fail *f)
{
    const struct table *t = message_table(kind);
    if (t == NULL) {
        return fail_set(f, ERR_INVALID, "the peer is newer, or not of this cluster",
                        "unknown message kind %u", kind);
    }
    enum err e = bytes > most->bytes ? ERR_LIMIT
                                     : msgpack_prescan(body, bytes, FRAME_DEPTH_MAX, most->objects);
    if (e != ERR_OK) {
        return fail_set(f, e, "the peer speaks another protocol or is damaged", "message %s: %s",
                        t->name,
                        e == ERR_LIMIT ? "too large, too deep or too many values" : "malformed");
    }
    struct decoder d = {.r = {.at = body, .left = bytes},
                        .message = t,
                        .fail = f,
                        .arena_left = bytes * ARENA_FACTOR + ARENA_FLOOR};
    struct msg decoded = {.kind = (enum msg_kind)kind};
    struct value v;
    if (value_next(&d.r, &v) != ERR_OK || v.type != VALUE_ARRAY) {
        return fail_set(f, ERR_INVALID, "the peer speaks another protocol or is damaged",
                        "message %s: not an array of fields", t->name);
    }
    e = decode_fields(&d, t, v.children, &decoded.HELLO);
    if (e != ERR_OK) {
        msgpack_zone_free(d.arena);
        return e;
    }
    assert(d.r.left == 0); /* M1: exactly one value */
    decoded.arena = d.arena;
    *m = decoded;
    return ERR_OK;
}

enum err msg_decode(unsigned kind, const void *body, size_t bytes, struct msg *m, struct fail *f)
{
    return decode(kind, body, bytes, m, &one_frame, f);
}

enum err msg_decode_large(unsigned kind, const void *body, size_t bytes, struct msg *m,
                          struct fail *f)
{
    return decode(kind, body, bytes, m, &fragments, f);
}

void msg_copy(const struct msg *m, struct msg *out)
{
    struct strbuf bytes = {0};
    struct fail f = {0};
    if (encode(m, &bytes, &fragments) != ERR_OK ||
        decode(m->kind, bytes.data + FRAME_HEAD_BYTES, bytes.bytes - FRAME_HEAD_BYTES, out,
               &fragments, &f) != ERR_OK) {
        abort(); /* it was decoded before: M3 */
    }
    strbuf_fini(&bytes);
}

void msg_free(struct msg *m)
{
    if (m != NULL) {
        if (m->arena != NULL) {
            msgpack_zone_free(m->arena);
        }
        *m = (struct msg){0};
    }
}

/* ---- text ---- */
static void text_record(struct strbuf *out, const struct table *t, const void *base);

/* text_field - ` name=value`; nothing for 0, false and empty. */
static void text_field(struct strbuf *out, const struct row *row, const void *base)
{
    const void *at = field_at(base, row->offset);
    switch (row->kind) {
    case ROW_u64:
        if (*(const uint64_t *)at != 0) {
            strbuf_printf(out, " %s=%" PRIu64, row->name, *(const uint64_t *)at);
        }
        break;
    case ROW_i64:
        if (*(const int64_t *)at != 0) {
            strbuf_printf(out, " %s=%" PRId64, row->name, *(const int64_t *)at);
        }
        break;
    case ROW_f64:
        if (*(const double *)at < 0 || *(const double *)at > 0) {
            strbuf_printf(out, " %s=%.17g", row->name, *(const double *)at);
        }
        break;
    case ROW_flag:
        strbuf_printf(out, "%s%s", *(const bool *)at ? " " : "",
                      *(const bool *)at ? row->name : "");
        break;
    case ROW_str: {
        const char *s = *(const char *const *)at;
        if (s != NULL && s[0] != '\0') {
            strbuf_printf(out, " %s=", row->name);
            text_json_string(out, s, strlen(s));
        }
        break;
    }
    case ROW_bin:
        if (((const struct msg_bin *)at)->bytes > 0) {
            strbuf_printf(out, " %s=<%zu bytes>", row->name, ((const struct msg_bin *)at)->bytes);
        }
        break;
    case ROW_list: {
        const struct table *record = row->record();
        const char *items = *(const char *const *)at;
        size_t count = *(const size_t *)field_at(base, row->count_offset);
        for (size_t i = 0; i < count; i++) {
            strbuf_printf(out, "%s%s", i == 0 ? " " : ",", i == 0 ? row->name : "");
            strbuf_text_add(out, i == 0 ? "=[{" : "{");
            text_record(out, record, items + i * record->bytes);
            strbuf_text_add(out, i + 1 == count ? " }]" : " }");
        }
        break;
    }
    }
}

static void text_record(struct strbuf *out, const struct table *t, const void *base)
{
    for (uint32_t i = 0; i < t->count; i++) {
        text_field(out, &t->rows[i], base);
    }
}

char *msg_text(const struct msg *m)
{
    struct strbuf out = {0};
    strbuf_text_add(&out, msg_name(m->kind));
    const struct table *t = message_table(m->kind);
    if (t != NULL) {
        text_record(&out, t, message_body(m));
    }
    return strbuf_take(&out);
}
