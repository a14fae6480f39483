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

static enum err check_census(const struct census *c, const char *what, struct fail *f)
{
    const struct {
        const char *things;
        uint64_t count, most;
    } all[] = {{"nodes", c->nodes, MODEL_NODES_MAX},
               {"values", c->values, MODEL_VALUES_MAX},
               {"inputs of nodes", c->reads, MODEL_READS_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].count > all[i].most) {
            return fail_set(f, ERR_LIMIT, "", "the %s has more than %llu %s", what,
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

enum err proto_too_much(const char *what, size_t size, struct fail *f)
{
    return fail_set(f, ERR_LIMIT, "", "the %s has %zu bytes and unpacks to more than %zu", what,
                    size, UNPACK_BYTES_BASE + UNPACK_RATIO * size);
}

/* What the messages alone will take is added up, so that a file of nothing but messages is refused
 * at once. */
static enum err scan(struct source *s, const ProtobufCMessageDescriptor *d, const char *what,
                     uint64_t size, struct fail *f)
{
    struct {
        const ProtobufCMessageDescriptor *type;
        struct span span;
    } stack[MODEL_DEPTH_MAX];
    struct census census = {0};
    unsigned depth = 1;
    size_t unpacked = 0;
    enum err e = ERR_OK;
    stack[0].type = d;
    stack[0].span = (struct span){0, size};
    while (depth > 0 && e == ERR_OK) {
        struct span *p = &stack[depth - 1].span;
        const ProtobufCMessageDescriptor *inner_type;
        struct span inner;
        if (p->at == p->end) {
            depth--;
            continue;
        }
        if (!scan_field(s, p, stack[depth - 1].type, &census, &inner_type, &inner)) {
            return fail_set(f, s->failed ? ERR_IO : ERR_INVALID, "is it an ONNX file, and whole?",
                            "the %s is not a readable protobuf message (at byte %llu)%s%s", what,
                            (unsigned long long)p->at, s->failed ? ": " : "",
                            s->failed ? strerror(errno) : "");
        }
        e = check_census(&census, what, f);
        if (inner_type == NULL) {
            continue;
        }
        unpacked += inner_type->sizeof_message + UNPACK_BLOCK_HEAD;
        if (unpacked > UNPACK_BYTES_BASE + UNPACK_RATIO * size) {
            return proto_too_much(what, size, f);
        }
        if (depth == MODEL_DEPTH_MAX) {
            return fail_set(f, ERR_LIMIT, "", "the %s nests messages deeper than %d", what,
                            MODEL_DEPTH_MAX);
        }
        stack[depth].type = inner_type;
        stack[depth++].span = inner;
    }
    return e;
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
