/* pe/infer/proto_scan.c - looking at protobuf messages before anything is allocated for them.
 *
 * Invariants: Q3 a scan takes no memory that depends on what it reads: a file passes through a
 *                window, nesting has a stack of its own, values are stepped over.
 *             Q4 what has more nodes, values or reads than a model may have is refused here, where
 *                one costs nanoseconds; unpacked and as a graph it costs microseconds.
 * Why:        measured with protobuf-c 1.4: 10,000 nested subgraphs in 114 KB overflow the stack;
 *             an empty NodeProto takes 2 bytes in the file and some 200 in memory.  And a file of
 *             200 MB that is no model should not be read as a whole to find that out. */
#include "core/limits.h"
#include "pe/infer/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES 16384

struct source {           /* what is scanned: memory, or a file seen through a window */
    const uint8_t *bytes; /* of the window */
    uint64_t from, to;    /* the window's place in the whole */
    int fd;               /* -1: memory; the window is all of it */
    bool failed;          /* a read did; errno says why */
    uint8_t window[WINDOW_BYTES];
};

struct span { /* of the whole; the scan stands at `at` */
    uint64_t at, end;
};

struct level { /* a message that the scan is in */
    const ProtobufCMessageDescriptor *type;
    uint64_t begin;
    struct span span;
};

struct census { /* of a model, subgraphs counted in */
    uint64_t nodes;
    uint64_t values; /* initialisers, inputs, outputs of nodes */
    uint64_t reads;  /* inputs of nodes */
};

static bool look(struct source *s, uint64_t at)
{
    ssize_t n = s->fd < 0 ? 0 : pread(s->fd, s->window, sizeof s->window, (off_t)at);
    if (n <= 0) { /* past the end: of memory never, of a file that was cut meanwhile */
        s->failed = s->failed || n < 0;
        return false;
    }
    s->bytes = s->window;
    s->from = at;
    s->to = at + (uint64_t)n;
    return true;
}

static bool scan_varint(struct source *s, struct span *p, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        if ((p->at < s->from || p->at >= s->to) && !look(s, p->at)) {
            return false;
        }
        uint8_t b = s->bytes[p->at++ - s->from];
        v |= (uint64_t)(b & 0x7fu) << shift;
        if ((b & 0x80u) == 0) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool scan_skip(struct span *p, uint64_t bytes)
{
    if (bytes > p->end - p->at) {
        return false;
    }
    p->at += bytes;
    return true;
}

/* Numbers of fields in onnx.proto. */
static void count(struct census *c, const ProtobufCMessageDescriptor *d, uint64_t field)
{
    if (d == &onnx__node_proto__descriptor) {
        c->reads += field == 1;
        c->values += field == 2;
    } else if (d == &onnx__graph_proto__descriptor) {
        c->nodes += field == 1;
        c->values += field == 5 || field == 11;
    }
}

static enum err check_census(const struct census *c, const char *what, const char *place,
                             struct fail *f)
{
    const struct {
        const char *things;
        uint64_t count, most;
    } all[] = {{"nodes", c->nodes, MODEL_NODES_MAX},
               {"values", c->values, MODEL_VALUES_MAX},
               {"inputs of nodes", c->reads, MODEL_READS_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].count > all[i].most) {
            return fail_set(f, ERR_LIMIT, "", "%sthe %s has more than %llu %s", place, what,
                            (unsigned long long)all[i].most, all[i].things);
        }
    }
    return ERR_OK;
}

/* One field's value; *inner_type: NULL, or of the submessage that is left in *inner. */
static bool scan_field(struct source *s, struct span *p, const ProtobufCMessageDescriptor *d,
                       struct census *c, const ProtobufCMessageDescriptor **inner_type,
                       struct span *inner)
{
    uint64_t tag, v;
    *inner_type = NULL;
    if (!scan_varint(s, p, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) {
        return false;
    }
    switch (tag & 7) {
    case 0:
        return scan_varint(s, p, &v);
    case 1:
        return scan_skip(p, 8);
    case 5:
        return scan_skip(p, 4);
    case 2:
        break;
    default: /* groups do not occur in ONNX, and protobuf-c does not take them */
        return false;
    }
    if (!scan_varint(s, p, &v) || v > p->end - p->at) {
        return false;
    }
    *inner = (struct span){p->at, p->at + v};
    p->at += v;
    count(c, d, tag >> 3);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        *inner_type = field->descriptor;
    }
    return true;
}

/* ---- where it is ---- */

#define NAME_BYTES 64
#define PLACE_BYTES (3 * NAME_BYTES + 32)

static void read_text(struct source *s, uint64_t at, uint64_t bytes, char out[NAME_BYTES])
{
    size_t n = 0;
    while (n < bytes && n < NAME_BYTES - 1 && ((at >= s->from && at < s->to) || look(s, at))) {
        uint8_t c = s->bytes[at++ - s->from];
        out[n++] = c >= ' ' && c != 0x7f ? (char)c : '?';
    }
    out[n] = '\0';
}

/* "in node 'l' (Loop): " of the outermost node that the scan is in, by whose name the user knows
 * the place; "" outside of one.  Its name is looked for from its begin, as far as it can be read.
 */
static void place_of(struct source *s, const struct level *stack, unsigned depth,
                     char out[PLACE_BYTES])
{
    char first[NAME_BYTES] = "", name[NAME_BYTES] = "", op[NAME_BYTES] = "";
    unsigned i = 0;
    uint64_t tag, bytes;
    out[0] = '\0';
    while (i < depth && stack[i].type != &onnx__node_proto__descriptor) {
        i++;
    }
    if (i == depth) {
        return;
    }
    struct span p = {stack[i].begin, stack[i].span.end};
    while (p.at < p.end && scan_varint(s, &p, &tag) && (tag & 7) == 2 &&
           scan_varint(s, &p, &bytes) && bytes <= p.end - p.at) {
        char *to = tag >> 3 == 2 && first[0] == '\0' ? first
                   : tag >> 3 == 3                   ? name
                   : tag >> 3 == 4                   ? op
                                                     : NULL;
        if (to != NULL) {
            read_text(s, p.at, bytes, to);
        }
        p.at += bytes;
    }
    if (name[0] != '\0') {
        snprintf(out, PLACE_BYTES, "in node '%s' (%s): ", name, op);
    } else { /* as the loader calls it */
        snprintf(out, PLACE_BYTES, "in node '%.30s(%s)' (%s): ", op, first, op);
    }
}

static enum err too_much(const char *what, size_t size, const char *place, struct fail *f)
{
    return fail_set(f, ERR_LIMIT, "", "%sthe %s has %zu bytes and unpacks to more than %zu", place,
                    what, size, UNPACK_BYTES_BASE + UNPACK_RATIO * size);
}

enum err proto_too_much(const char *what, size_t size, struct fail *f)
{
    return too_much(what, size, "", f);
}

static enum err unreadable(const struct source *s, uint64_t at, const char *what, const char *place,
                           struct fail *f)
{
    return fail_set(f, s->failed ? ERR_IO : ERR_INVALID, "is it an ONNX file, and whole?",
                    "%sthe %s is not a readable protobuf message (at byte %llu)%s%s", place, what,
                    (unsigned long long)at, s->failed ? ": " : "",
                    s->failed ? strerror(errno) : "");
}

/* ---- the scan ---- */

/* What the messages alone will take is added up, so that a file of nothing but messages is refused
 * at once. */
static enum err scan(struct source *s, const ProtobufCMessageDescriptor *d, const char *what,
                     uint64_t size, struct fail *f)
{
    struct level stack[MODEL_DEPTH_MAX];
    struct census census = {0};
    char place[PLACE_BYTES];
    unsigned depth = 1;
    size_t unpacked = 0;
    stack[0] = (struct level){d, 0, {0, size}};
    while (depth > 0) {
        struct span *p = &stack[depth - 1].span;
        const ProtobufCMessageDescriptor *inner_type;
        struct span inner;
        if (p->at == p->end) {
            depth--;
            continue;
        }
        if (!scan_field(s, p, stack[depth - 1].type, &census, &inner_type, &inner)) {
            uint64_t at = p->at;
            place_of(s, stack, depth, place);
            return unreadable(s, at, what, place, f);
        }
        if (check_census(&census, what, "", NULL) != ERR_OK) {
            place_of(s, stack, depth, place);
            return check_census(&census, what, place, f);
        }
        if (inner_type == NULL) {
            continue;
        }
        unpacked += inner_type->sizeof_message + UNPACK_BLOCK_HEAD;
        if (unpacked > UNPACK_BYTES_BASE + UNPACK_RATIO * size) {
            place_of(s, stack, depth, place);
            return too_much(what, size, place, f);
        }
        if (depth == MODEL_DEPTH_MAX) {
            place_of(s, stack, depth, place);
            return fail_set(f, ERR_LIMIT, "", "%sthe %s nests messages deeper than %d", place, what,
                            MODEL_DEPTH_MAX);
        }
        stack[depth++] = (struct level){inner_type, inner.at, inner};
    }
    return ERR_OK;
}

static enum err check_size(const char *what, uint64_t size, struct fail *f)
{
    return size <= MODEL_BYTES_MAX
               ? ERR_OK
               : fail_set(f, ERR_LIMIT, "", "the %s has %llu bytes; %u are the most", what,
                          (unsigned long long)size, MODEL_BYTES_MAX);
}

enum err proto_scan(const ProtobufCMessageDescriptor *descriptor, const char *what,
                    const void *bytes, size_t size, struct fail *f)
{
    struct source s;
    s.bytes = bytes;
    s.from = 0;
    s.to = size;
    s.fd = -1;
    s.failed = false;
    enum err e = check_size(what, size, f);
    return e == ERR_OK ? scan(&s, descriptor, what, size, f) : e;
}

enum err proto_scan_file(const ProtobufCMessageDescriptor *descriptor, const char *what,
                         const char *path, struct fail *f)
{
    struct stat st;
    struct source s;
    s.from = s.to = 0;
    s.failed = false;
    s.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s.fd < 0 || fstat(s.fd, &st) != 0) {
        int code = errno;
        if (s.fd >= 0) {
            close(s.fd);
        }
        return fail_set(f, code == ENOENT ? ERR_NOTFOUND : ERR_IO,
                        "check the path and its permissions", "cannot open %.200s: %s", path,
                        strerror(code));
    }
    enum err e = S_ISREG(st.st_mode)
                     ? check_size(what, (uint64_t)st.st_size, f)
                     : fail_set(f, ERR_INVALID, "", "%.200s is not a regular file", path);
    if (e == ERR_OK) {
        e = scan(&s, descriptor, what, (uint64_t)st.st_size, f);
    }
    close(s.fd);
    return e;
}
