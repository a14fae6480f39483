/* tests/unit/net/messages_test.c - control messages keep their meaning, between versions too.
 *
 * Goal:   today's program reads what every version sent, and writes its own byte for byte; older
 * and newer peers understand each other; what is malformed is refused with message and field named.
 * Method: one fully filled example of every message, generated from messages.def, against the
 *         golden bytes; versions are mixed by cutting or adding fields with msgpack-c, which knows
 *         nothing of our codec.  `messages_test write` prints the golden file anew: only for a new
 *         version, the old files never change. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "net/frame.h"
#include "net/messages.h"

#include <inttypes.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN_1 "tests/golden/messages_v1.txt"
#define GOLDEN_2 "tests/golden/messages_v2.txt"
#define GOLDEN_3 "tests/golden/messages_v3.txt"

/* ---- one filled example of every message ---- */
struct filler {
    msgpack_zone *zone; /* what the examples live in */
    unsigned version;   /* later rows stay empty */
    unsigned n;         /* fields filled so far; makes each value its own */
};

static void fill_u64(struct filler *f, const char *name, uint64_t *out)
{
    (void)name;
    *out = UINT64_C(0xF123456789ABCDEF) >> (f->n++ * 7 % 64);
}

__attribute__((unused)) static void fill_i64(struct filler *f, const char *name, int64_t *out)
{
    uint64_t n;
    fill_u64(f, name, &n);
    *out = f->n % 2 == 0 ? -(int64_t)(n >> 1) : (int64_t)(n >> 1);
}

__attribute__((unused)) static void fill_f64(struct filler *f, const char *name, double *out)
{
    (void)name;
    *out = (double)f->n++ + 0.5;
}

static void fill_flag(struct filler *f, const char *name, bool *out)
{
    (void)name;
    f->n++;
    *out = true;
}

static void fill_str(struct filler *f, const char *name, const char **out)
{
    char text[80];
    int bytes = snprintf(text, sizeof text, "%s \xC3\xA4 %u", name, f->n++);
    char *s = msgpack_zone_malloc(f->zone, (size_t)bytes + 1);
    memcpy(s, text, (size_t)bytes + 1);
    *out = s;
}

static void fill_bin(struct filler *f, const char *name, struct msg_bin *out)
{
    (void)name;
    out->bytes = f->n++ % 5 + 1;
    uint8_t *p = msgpack_zone_malloc(f->zone, out->bytes);
    for (size_t i = 0; i < out->bytes; i++) {
        p[i] = (uint8_t)(0xFE + f->n + i);
    }
    out->data = p;
}

#define FILL_FIELD(kind, name, since)                                                              \
    if ((since) <= f->version) {                                                                   \
        fill_##kind(f, #name, &r->name);                                                           \
    }
#define FILL_LIST(record, name, since)                                                             \
    if ((since) <= f->version) {                                                                   \
        r->name##_count = 2;                                                                       \
        r->name = msgpack_zone_malloc(f->zone, 2 * sizeof *r->name);                               \
        memset(r->name, 0, 2 * sizeof *r->name);                                                   \
        fill_rec_##record(f, &r->name[0]);                                                         \
        fill_rec_##record(f, &r->name[1]);                                                         \
    }
#define X(record)                                                                                  \
    static void fill_rec_##record(struct filler *f, struct rec_##record *r)                        \
    {                                                                                              \
        REC_##record(FILL_FIELD, FILL_LIST)                                                        \
    }
RECORDS(X)
#undef X
#define X(number, message, text)                                                                   \
    static void fill_msg_##message(struct filler *f, struct msg *m)                                \
    {                                                                                              \
        struct msg_##message *r = &m->message;                                                     \
        m->kind = M_##message;                                                                     \
        MSG_##message(FILL_FIELD, FILL_LIST)                                                       \
    }
MESSAGES(X)
#undef X

static const struct {
    unsigned kind;
    const char *name;
    void (*fill)(struct filler *f, struct msg *m);
} messages[] = {
#define X(number, message, text) {number, #message, fill_msg_##message},
    MESSAGES(X)
#undef X
};
#define COUNT (sizeof messages / sizeof messages[0])

/* example_of - the whole frame of the i-th message, filled as far as `version` knew it; a body is
 * what follows the head. */
static struct strbuf example_of(size_t i, unsigned version)
{
    struct filler f = {
        .zone = msgpack_zone_new(8192), .n = messages[i].kind * 13, .version = version};
    struct msg m = {0};
    struct strbuf frame = {0};
    messages[i].fill(&f, &m);
    assert_int_equal(msg_encode(&m, &frame), ERR_OK);
    msgpack_zone_free(f.zone);
    return frame;
}

static struct strbuf example(size_t i)
{
    return example_of(i, PROTOCOL_VERSION);
}

static enum err decode(size_t i, const void *body, size_t bytes, struct msg *m, struct fail *f)
{
    return msg_decode(messages[i].kind, body, bytes, m, f);
}

static void assert_reencodes_to(size_t i, const char *body, size_t bytes, const char *expected,
                                size_t expected_bytes)
{
    struct msg m;
    struct fail f = {0};
    struct strbuf again = {0};
    if (decode(i, body, bytes, &m, &f) != ERR_OK) {
        fail_msg("%s: %s", messages[i].name, f.what);
    }
    assert_int_equal(msg_encode(&m, &again), ERR_OK);
    assert_int_equal(again.bytes, FRAME_HEAD_BYTES + expected_bytes);
    assert_memory_equal(again.data + FRAME_HEAD_BYTES, expected, expected_bytes);
    strbuf_fini(&again);
    msg_free(&m);
}

/* ---- golden bytes ---- */
static void write_golden(FILE *out)
{
    fprintf(out, "# one filled example of every message of protocol version %u: kind name frame\n",
            PROTOCOL_VERSION);
    for (size_t i = 0; i < COUNT; i++) {
        struct strbuf frame = example(i);
        fprintf(out, "%u %s ", messages[i].kind, messages[i].name);
        for (size_t k = 0; k < frame.bytes; k++) {
            fprintf(out, "%02x", (unsigned)(uint8_t)frame.data[k]);
        }
        fputc('\n', out);
        strbuf_fini(&frame);
    }
}

/* take_golden - one line of a golden file.  Return: false for a comment. */
static bool take_golden(const char *line, size_t *i, struct strbuf *frame)
{
    unsigned kind = 0;
    int at = 0;
    if (line[0] == '#') {
        return false;
    }
    assert_int_equal(sscanf(line, "%u %*s %n", &kind, &at), 1);
    for (unsigned byte; sscanf(line + at, "%2x", &byte) == 1; at += 2) {
        strbuf_char(frame, (char)byte);
    }
    for (*i = 0; *i < COUNT && messages[*i].kind != kind;) {
        (*i)++;
    }
    assert_true(*i < COUNT);
    uint8_t head[FRAME_HEAD_BYTES];
    uint32_t bytes;
    uint16_t head_kind;
    memcpy(head, frame->data, sizeof head);
    assert_true(frame_head_read(head, &bytes, &head_kind));
    assert_int_equal(head_kind, kind);
    assert_int_equal(bytes, frame->bytes - sizeof head);
    return true;
}

/* What that version sent says to today's program what its example says, the later rows empty. */
static size_t read_golden(const char *path, unsigned version)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char *line = NULL;
    size_t capacity = 0, seen = 0, i = 0;
    while (getline(&line, &capacity, in) > 0) {
        struct strbuf frame = {0};
        if (take_golden(line, &i, &frame)) {
            struct strbuf want = example_of(i, version);
            assert_reencodes_to(i, frame.data + FRAME_HEAD_BYTES, frame.bytes - FRAME_HEAD_BYTES,
                                want.data + FRAME_HEAD_BYTES, want.bytes - FRAME_HEAD_BYTES);
            if (version == PROTOCOL_VERSION) {
                assert_int_equal(want.bytes, frame.bytes);
                assert_memory_equal(want.data, frame.data, frame.bytes);
            }
            strbuf_fini(&want);
            seen++;
        }
        strbuf_fini(&frame);
    }
    free(line);
    fclose(in);
    return seen;
}

static void golden_bytes_of_older_versions_are_read(void **state)
{
    (void)state;
    assert_int_equal(read_golden(GOLDEN_1, 1), 29);
    assert_int_equal(read_golden(GOLDEN_2, 2), 32);
}

static void golden_bytes_of_this_version_are_read_and_written(void **state)
{
    (void)state;
    assert_int_equal(read_golden(GOLDEN_3, PROTOCOL_VERSION), COUNT); /* every message is there */
}

/* ---- mixed versions ---- */
enum change {
    CUT,  /* the sender does not know the last `n` rows */
    ZERO, /* what the receiver must make of that */
    ADD,  /* the sender knows `n` rows more */
};
enum level { FIELDS, RECORDS_OF_A_LIST };

static void pack_zero(msgpack_packer *to, const msgpack_object *like)
{
    switch (like->type) {
    case MSGPACK_OBJECT_STR:
        msgpack_pack_str(to, 0);
        break;
    case MSGPACK_OBJECT_BIN:
        msgpack_pack_bin(to, 0);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        msgpack_pack_false(to);
        break;
    case MSGPACK_OBJECT_ARRAY:
        msgpack_pack_array(to, 0);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        msgpack_pack_double(to, 0);
        break;
    default:
        msgpack_pack_int(to, 0);
    }
}

/* pack_newer - a field no version 1 peer has seen: a map in an array. */
static void pack_newer(msgpack_packer *to)
{
    msgpack_pack_array(to, 2);
    msgpack_pack_map(to, 1);
    msgpack_pack_str(to, 3);
    msgpack_pack_str_body(to, "new", 3);
    msgpack_pack_nil(to);
    msgpack_pack_double(to, 1.5);
}

static void repack(msgpack_packer *to, const msgpack_object *o, enum level level,
                   enum change change, uint32_t n)
{
    if (o->type != MSGPACK_OBJECT_ARRAY) {
        msgpack_pack_object(to, *o);
        return;
    }
    uint32_t size = o->via.array.size;
    bool fields = level == FIELDS;
    uint32_t kept = fields && change != ADD ? (size > n ? size - n : 0) : size;
    uint32_t added = fields && change == ADD ? n : 0;
    msgpack_pack_array(to, change == ZERO ? size : kept + added);
    for (uint32_t i = 0; i < kept; i++) {
        repack(to, &o->via.array.ptr[i], fields ? RECORDS_OF_A_LIST : FIELDS, change, n);
    }
    for (uint32_t i = kept; change == ZERO && i < size; i++) {
        pack_zero(to, &o->via.array.ptr[i]);
    }
    for (uint32_t i = 0; i < added; i++) {
        pack_newer(to);
    }
}

static msgpack_sbuffer changed(const struct strbuf *frame, enum change change, uint32_t n)
{
    msgpack_unpacked whole;
    msgpack_sbuffer out;
    msgpack_packer to;
    msgpack_unpacked_init(&whole);
    assert_int_equal(msgpack_unpack_next(&whole, frame->data + FRAME_HEAD_BYTES,
                                         frame->bytes - FRAME_HEAD_BYTES, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&to, &out, msgpack_sbuffer_write);
    repack(&to, &whole.data, FIELDS, change, n);
    msgpack_unpacked_destroy(&whole);
    return out;
}

static void rows_an_older_peer_does_not_send_are_zero_or_empty(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct strbuf frame = example(i);
        for (uint32_t n = 1; n < 20; n++) {
            msgpack_sbuffer sent = changed(&frame, CUT, n);
            msgpack_sbuffer meant = changed(&frame, ZERO, n);
            assert_reencodes_to(i, sent.data, sent.size, meant.data, meant.size);
            msgpack_sbuffer_destroy(&sent);
            msgpack_sbuffer_destroy(&meant);
        }
        strbuf_fini(&frame);
    }
}

static void rows_only_a_newer_peer_knows_are_skipped(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct strbuf frame = example(i);
        for (uint32_t n = 1; n < 4; n++) {
            msgpack_sbuffer sent = changed(&frame, ADD, n);
            assert_reencodes_to(i, sent.data, sent.size, frame.data + FRAME_HEAD_BYTES,
                                frame.bytes - FRAME_HEAD_BYTES);
            msgpack_sbuffer_destroy(&sent);
        }
        strbuf_fini(&frame);
    }
}

#define FIELD_HAS_TEXT(kind, name, since) HAS_TEXT_##kind(r->name)
#define HAS_TEXT_u64(v) (void)(v);
#define HAS_TEXT_i64(v) (void)(v);
#define HAS_TEXT_f64(v) (void)(v);
#define HAS_TEXT_flag(v) (void)(v);
#define HAS_TEXT_str(v) assert_string_equal(v, "");
#define HAS_TEXT_bin(v) assert_int_equal((v).bytes, 0);
#define LIST_IS_EMPTY(record, name, since) assert_int_equal(r->name##_count, 0);

static void absent_text_is_empty_and_never_null(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct msg m;
        assert_int_equal(decode(i, "\x90", 1, &m, NULL), ERR_OK);
        assert_null(m.arena);
        switch (m.kind) {
#define X(number, message, text)                                                                   \
    case number: {                                                                                 \
        const struct msg_##message *r = &m.message;                                                \
        MSG_##message(FIELD_HAS_TEXT, LIST_IS_EMPTY) break;                                        \
    }
            MESSAGES(X)
#undef X
        case MSG_NONE:
        default:
            fail();
        }
        msg_free(&m);
    }
}

/* ---- one field at a time ---- */
static void every_integer_form_is_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *body; /* WELCOME.protocol */
        size_t bytes;
        uint64_t value;
    } forms[] = {
        {"\x91\x07", 2, 7},
        {"\x91\xCC\x07", 3, 7},
        {"\x91\xCD\x00\x07", 4, 7},
        {"\x91\xCE\x00\x00\x00\x07", 6, 7},
        {"\x91\xCF\x00\x00\x00\x00\x00\x00\x00\x07", 10, 7},
        {"\x91\xD0\x07", 3, 7},
        {"\x91\xD1\x00\x07", 4, 7},
        {"\x91\xD2\x00\x00\x00\x07", 6, 7},
        {"\x91\xD3\x00\x00\x00\x00\x00\x00\x00\x07", 10, 7},
        {"\x91\xCF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct msg m;
        assert_int_equal(msg_decode(M_WELCOME, forms[i].body, forms[i].bytes, &m, NULL), ERR_OK);
        assert_true(m.WELCOME.protocol == forms[i].value);
        msg_free(&m);
    }
}

static void assert_refused(unsigned kind, const char *body, size_t bytes, const char *naming)
{
    struct msg m = {.kind = M_DONE, .arena = &m};
    struct fail f = {0};
    assert_int_equal(msg_decode(kind, body, bytes, &m, &f), ERR_INVALID);
    if (strstr(f.what, naming) == NULL) {
        fail_msg("\"%s\" does not name %s", f.what, naming);
    }
    assert_int_equal(m.kind, M_DONE); /* untouched */
    assert_ptr_equal(m.arena, &m);
}

static void a_field_of_the_wrong_type_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused(M_WELCOME, "\x91\xA1x", 3, "WELCOME.protocol"); /* text for number */
    assert_refused(M_WELCOME, "\x91\xFF", 2, "WELCOME.protocol");  /* -1 */
    assert_refused(M_WELCOME, "\x91\xC0", 2, "WELCOME.protocol");  /* nil */
    assert_refused(M_WELCOME, "\x91\xCB\0\0\0\0\0\0\0\0", 10, "WELCOME.protocol"); /* 0.0 */
    assert_refused(M_REFUSED, "\x91\x01", 2, "REFUSED.what");
    assert_refused(M_REFUSED, "\x91\xC4\x01x", 4, "REFUSED.what"); /* bytes for text */
    assert_refused(M_READY, "\x95\x01\xA1x\x01\x01\x01", 7, "READY.ok");
    assert_refused(M_LINK_CREDIT, "\x91\x01", 2, "LINK_CREDIT.channels");
    assert_refused(M_LINK_CREDIT, "\x91\x91\x01", 3, "LINK_CREDIT.channels");
    assert_refused(M_LINK_CREDIT, "\x91\x91\x91\xC3", 4, "message LINK_CREDIT: LINK_CHANNEL.id");
    assert_refused(M_WELCOME, "\x80", 1, "WELCOME");
    assert_refused(M_WELCOME, "\x91", 1, "WELCOME");
    assert_refused(77, "\x90", 1, "kind 77");
}

static void text_that_is_not_utf8_or_has_a_nul_is_refused(void **state)
{
    (void)state;
    assert_refused(M_REFUSED, "\x91\xA2\xC3(", 4, "REFUSED.what");
    assert_refused(M_REFUSED, "\x91\xA1\xFF", 3, "REFUSED.what");
    assert_refused(M_REFUSED,
                   "\x91\xA3"
                   "a\0b",
                   5, "REFUSED.what");
}

static void text_that_is_not_utf8_is_mended_before_it_leaves(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        const char *sent;
    } texts[] = {
        {"fine \xC3\xA4", "fine \xC3\xA4"},
        {"cut \xC3", "cut ?"},
        {"\xFF\xC3\xA4\xE2\x82", "?\xC3\xA4??"},
        {NULL, ""},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct msg m = {.kind = M_REFUSED, .REFUSED = {.what = texts[i].given}};
        struct strbuf frame = {0};
        struct msg got;
        assert_int_equal(msg_encode(&m, &frame), ERR_OK);
        assert_int_equal(msg_decode(M_REFUSED, frame.data + FRAME_HEAD_BYTES,
                                    frame.bytes - FRAME_HEAD_BYTES, &got, NULL),
                         ERR_OK);
        assert_string_equal(got.REFUSED.what, texts[i].sent);
        msg_free(&got);
        strbuf_fini(&frame);
    }
}

/* ---- limits ---- */
static void a_message_larger_than_a_frame_is_not_encoded(void **state)
{
    (void)state;
    uint8_t *data = mem_alloc(FRAME_BYTES_MAX);
    struct rec_CHANNEL_STATUS *channels = mem_array(FRAME_OBJECTS_MAX, sizeof *channels);
    struct msg bytes = {.kind = M_ARTIFACT_CHUNK,
                        .ARTIFACT_CHUNK = {.data = {.data = data, .bytes = FRAME_BYTES_MAX}}};
    struct msg values = {.kind = M_REPORT,
                         .REPORT = {.channels = channels, .channels_count = 6000}};
    struct strbuf out = {0};
    strbuf_text_add(&out, "before");
    assert_int_equal(msg_encode(&bytes, &out), ERR_LIMIT);
    assert_int_equal(msg_encode(&values, &out), ERR_LIMIT);
    assert_string_equal(strbuf_text(&out), "before");
    bytes.ARTIFACT_CHUNK.data.bytes = ARTIFACT_CHUNK_BYTES;
    assert_int_equal(msg_encode(&bytes, &out), ERR_OK);
    strbuf_fini(&out);
    mem_free(channels);
    mem_free(data);
}

static void a_small_frame_cannot_unpack_to_a_large_message(void **state)
{
    (void)state;
    enum { RECORDS_COUNT = 60000 };
    uint8_t *body = mem_alloc(RECORDS_COUNT + 32); /* PREPARE with 60,000 empty add_instances */
    static const uint8_t start[] = {0x9A, 0, 0xA0, 0, 0, 0, 0, 0, 0xA0, 0x90, 0xDC, 0xEA, 0x60};
    struct msg m;
    struct fail f = {0};
    memcpy(body, start, sizeof start);
    memset(body + sizeof start, 0x90, RECORDS_COUNT);
    assert_int_equal(msg_decode(M_PREPARE, body, sizeof start + RECORDS_COUNT, &m, &f), ERR_LIMIT);
    assert_non_null(strstr(f.what, "PREPARE"));
    mem_free(body);
}

static void no_cut_and_no_changed_byte_does_harm(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x00, 0x7F, 0x80, 0x9F, 0xA0, 0xC0, 0xC1, 0xC6,
                                    0xC9, 0xCF, 0xD9, 0xDB, 0xDC, 0xDD, 0xDF, 0xFF};
    for (size_t i = 0; i < COUNT; i++) {
        struct strbuf frame = example(i);
        size_t size = frame.bytes - FRAME_HEAD_BYTES;
        struct msg m;
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *body = mem_alloc(cut); /* its own block, so that a read beyond is seen */
            memcpy(body, frame.data + FRAME_HEAD_BYTES, cut);
            assert_int_equal(decode(i, body, cut, &m, NULL), ERR_INVALID);
            mem_free(body);
        }
        uint8_t *body = mem_alloc(size);
        memcpy(body, frame.data + FRAME_HEAD_BYTES, size);
        for (size_t at = 0; at < size; at++) {
            uint8_t was = body[at];
            for (size_t k = 0; k < sizeof bytes; k++) {
                body[at] = bytes[k];
                if (decode(i, body, size, &m, NULL) == ERR_OK) {
                    msg_free(&m);
                }
            }
            body[at] = was;
        }
        mem_free(body);
        strbuf_fini(&frame);
    }
}

/* ---- names ---- */
static void a_message_prints_as_one_line(void **state)
{
    (void)state;
    struct rec_LABEL labels[] = {{"zone", "a"}, {"gpu", ""}};
    struct msg m = {.kind = M_HELLO,
                    .HELLO = {.name = "w\n1", .gpu = true, .labels = labels, .labels_count = 2}};
    char *text = msg_text(&m);
    assert_string_equal(text, "HELLO name=\"w\\n1\" gpu labels=[{ key=\"zone\" value=\"a\" },"
                              "{ key=\"gpu\" }]");
    mem_free(text);
    assert_string_equal(msg_name(M_LINK_GO), "LINK_GO");
    assert_string_equal(msg_name(9999), "?");
    for (size_t i = 0; i < COUNT; i++) {
        struct strbuf frame = example(i);
        assert_int_equal(
            decode(i, frame.data + FRAME_HEAD_BYTES, frame.bytes - FRAME_HEAD_BYTES, &m, NULL),
            ERR_OK);
        text = msg_text(&m);
        assert_null(strchr(text, '\n'));
        mem_free(text);
        msg_free(&m);
        strbuf_fini(&frame);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes_of_older_versions_are_read),
        cmocka_unit_test(golden_bytes_of_this_version_are_read_and_written),
        cmocka_unit_test(rows_an_older_peer_does_not_send_are_zero_or_empty),
        cmocka_unit_test(rows_only_a_newer_peer_knows_are_skipped),
        cmocka_unit_test(absent_text_is_empty_and_never_null),
        cmocka_unit_test(every_integer_form_is_a_number),
        cmocka_unit_test(a_field_of_the_wrong_type_is_refused_by_name),
        cmocka_unit_test(text_that_is_not_utf8_or_has_a_nul_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_mended_before_it_leaves),
        cmocka_unit_test(a_message_larger_than_a_frame_is_not_encoded),
        cmocka_unit_test(a_small_frame_cannot_unpack_to_a_large_message),
        cmocka_unit_test(no_cut_and_no_changed_byte_does_harm),
        cmocka_unit_test(a_message_prints_as_one_line),
    };
    if (argc == 2 && strcmp(argv[1], "write") == 0) {
        write_golden(stdout);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
