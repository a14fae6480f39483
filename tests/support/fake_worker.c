/* tests/support/fake_worker.c - a worker made of nothing but messages, and a small HTTP client. */
#include "tests/support/fake_worker.h"

#include "core/clock.h"
#include "core/mem.h"
#include "net/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BEAT_MS 200

static uint64_t now_ms(void)
{
    return clock_now_us() / 1000;
}

int http_connect(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

void fake_connect(struct fake_worker *w, uint16_t port)
{
    *w = (struct fake_worker){.fd = http_connect(port), .name = "?"};
}

void fake_hello(struct fake_worker *w, const char *name, uint64_t incarnation)
{
    w->name = name;
    w->incarnation = incarnation;
    const struct msg hello = {.kind = M_HELLO,
                              .HELLO = {.protocol = PROTOCOL_VERSION,
                                        .name = name,
                                        .incarnation = incarnation,
                                        .address = ":7001",
                                        .host = "machine",
                                        .slots = 64,
                                        .threads = 2,
                                        .version = "test"}};
    fake_send(w, &hello);
}

void fake_join(struct fake_worker *w, uint16_t port, const char *name, uint64_t incarnation)
{
    fake_connect(w, port);
    fake_hello(w, name, incarnation);
    fake_expect(w, M_WELCOME);
}

void fake_send(struct fake_worker *w, const struct msg *m)
{
    struct strbuf frame = {0};
    assert_int_equal(msg_encode(m, &frame), ERR_OK);
    for (size_t sent = 0; sent < frame.bytes;) {
        ssize_t n = send(w->fd, frame.data + sent, frame.bytes - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            break; /* the master has closed: the next read says so */
        }
        sent += (size_t)n;
    }
    strbuf_fini(&frame);
}

/* Take one whole message out of what was read.  false: there is none. */
static bool take(struct fake_worker *w)
{
    uint32_t bytes;
    uint16_t kind;
    struct fail f = {0};
    if (w->in.bytes < FRAME_HEAD_BYTES) {
        return false;
    }
    assert_true(frame_head_read((const uint8_t *)w->in.data, &bytes, &kind));
    if (w->in.bytes < FRAME_HEAD_BYTES + bytes) {
        return false;
    }
    msg_free(&w->last);
    assert_int_equal(msg_decode(kind, w->in.data + FRAME_HEAD_BYTES, bytes, &w->last, &f), ERR_OK);
    w->in.bytes -= FRAME_HEAD_BYTES + bytes;
    memmove(w->in.data, w->in.data + FRAME_HEAD_BYTES + bytes, w->in.bytes);
    return true;
}

enum got { GOT_MESSAGE, GOT_END, GOT_NOTHING };

/* receive - what comes within `ms`, in any pieces. */
static enum got receive(struct fake_worker *w, int ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    char chunk[65536];
    if (poll(&p, 1, ms) <= 0) {
        return GOT_NOTHING;
    }
    ssize_t n = recv(w->fd, chunk, sizeof chunk, 0);
    if (n <= 0) {
        return GOT_END;
    }
    strbuf_add(&w->in, chunk, (size_t)n);
    return GOT_MESSAGE;
}

static enum got next(struct fake_worker *w, unsigned ms)
{
    uint64_t until = now_ms() + ms, beat_at = 0;
    for (;;) {
        while (take(w)) {
            if (w->last.kind != M_HEARTBEAT) {
                return GOT_MESSAGE;
            }
        }
        uint64_t now = now_ms();
        if (now >= until) {
            return GOT_NOTHING;
        }
        if (now >= beat_at) {
            const struct msg beat = {.kind = M_HEARTBEAT};
            fake_send(w, &beat);
            beat_at = now + BEAT_MS;
        }
        if (receive(w, 50) == GOT_END) {
            return GOT_END;
        }
    }
}

/* cut - take the first message of `kind` out of what was read, whatever came before it. */
static bool cut(struct fake_worker *w, enum msg_kind wanted)
{
    uint32_t bytes;
    uint16_t kind;
    for (size_t at = 0; at + FRAME_HEAD_BYTES <= w->in.bytes; at += FRAME_HEAD_BYTES + bytes) {
        char *frame = w->in.data + at;
        assert_true(frame_head_read((const uint8_t *)frame, &bytes, &kind));
        size_t end = at + FRAME_HEAD_BYTES + bytes;
        if (kind == wanted && end <= w->in.bytes) {
            memmove(frame, w->in.data + end, w->in.bytes - end);
            w->in.bytes -= end - at;
            return true;
        }
    }
    return false;
}

/* Messages of one connection are heeded in order, so the answer to a question asked behind it says
 * that the end of the report was. */
void fake_report_end(struct fake_worker *w, uint64_t count)
{
    const struct msg end = {.kind = M_REPORT_END, .REPORT_END = {count}};
    const struct msg question = {.kind = M_ARTIFACT_GET, .ARTIFACT_GET = {.digest = "none"}};
    uint64_t until = now_ms() + FAKE_WAIT_MS;
    fake_send(w, &end);
    fake_send(w, &question);
    while (!cut(w, M_ARTIFACT_CHUNK)) {
        enum got got = receive(w, 50);
        if (got == GOT_END) {
            return; /* the next read says so */
        }
        assert_true(now_ms() < until);
    }
}

const struct msg *fake_expect(struct fake_worker *w, enum msg_kind kind)
{
    enum got got = next(w, FAKE_WAIT_MS);
    if (got != GOT_MESSAGE) {
        fail_msg("%s waited for %s, but %s", w->name, msg_name(kind),
                 got == GOT_END ? "the master closed" : "nothing came");
    }
    if (w->last.kind != kind) {
        char *text = msg_text(&w->last);
        fail_msg("%s waited for %s, got %s", w->name, msg_name(kind), text);
    }
    return &w->last;
}

void fake_silent(struct fake_worker *w, unsigned ms)
{
    enum got got = next(w, ms);
    if (got != GOT_NOTHING) {
        fail_msg("%s expected silence, got %s", w->name,
                 got == GOT_END ? "the end" : msg_name(w->last.kind));
    }
}

void fake_expect_closed(struct fake_worker *w)
{
    enum got got;
    while ((got = next(w, FAKE_WAIT_MS)) == GOT_MESSAGE) {
    }
    assert_int_equal(got, GOT_END);
}

void fake_leave(struct fake_worker *w)
{
    if (w->fd >= 0) {
        close(w->fd);
    }
    msg_free(&w->last);
    strbuf_fini(&w->in);
    *w = (struct fake_worker){.fd = -1};
}

/* ---- HTTP ---- */

static char *read_all(int fd)
{
    struct strbuf in = {0};
    char chunk[65536];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, FAKE_WAIT_MS) <= 0) {
            fail_msg("the server neither answered nor closed");
        }
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0) {
            return strbuf_take(&in);
        }
        strbuf_add(&in, chunk, (size_t)n);
    }
}

char *http_raw(uint16_t port, const void *bytes, size_t count, uint64_t *ms)
{
    uint64_t start = now_ms();
    int fd = http_connect(port);
    const char *p = bytes;
    while (count > 0) {
        ssize_t n = send(fd, p, count, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        p += n;
        count -= (size_t)n;
    }
    char *answer = read_all(fd);
    close(fd);
    *ms = now_ms() - start;
    return answer;
}

char *http_call(uint16_t port, const char *method, const char *path, const char *type,
                const char *body, int *status)
{
    struct strbuf out = {0};
    uint64_t ms;
    strbuf_printf(&out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path);
    if (type != NULL) {
        strbuf_printf(&out, "Content-Type: %s\r\n", type);
    }
    strbuf_printf(&out, "Content-Length: %zu\r\n\r\n%s", body != NULL ? strlen(body) : 0,
                  body != NULL ? body : "");
    char *answer = http_raw(port, out.data, out.bytes, &ms);
    strbuf_fini(&out);
    char *end = strstr(answer, "\r\n\r\n");
    if (sscanf(answer, "HTTP/1.1 %d", status) != 1 || end == NULL) {
        fail_msg("no HTTP answer: \"%s\"", answer);
    }
    char *result = mem_dup(end + 4);
    mem_free(answer);
    return result;
}

json_t *http_json(uint16_t port, const char *method, const char *path, const char *type,
                  const char *body, int *status)
{
    char *text = http_call(port, method, path, type, body, status);
    json_t *root = json_loads(text, 0, NULL);
    if (root == NULL) {
        fail_msg("%s %s answered what is not JSON: %s", method, path, text);
    }
    mem_free(text);
    return root;
}
