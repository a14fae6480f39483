/* net/direct.c - blocking frames over TCP. */
#include "net/direct.h"

#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "net/frame.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct direct {
    int fd;
    char peer[300];
    struct strbuf frame;
    struct msg got;
};

static void set_options(int fd)
{
    struct timeval wait = {SNAPSHOT_IO_MS / 1000, SNAPSHOT_IO_MS % 1000 * 1000};
    int on = 1, user_ms = TCP_USER_TIMEOUT_MS;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait); /* connect() heeds it as well */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof user_ms);
}

static enum err broken(const struct direct *d, const char *verb, struct fail *f)
{
    return fail_set(f, errno == EAGAIN ? ERR_TIMEOUT : ERR_CLOSED, "check the network",
                    "cannot %s %s: %s", verb, d->peer, strerror(errno));
}

struct direct *direct_open(const struct address *to, struct fail *f)
{
    struct direct *d = mem_alloc(sizeof *d);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)to->port);
    snprintf(d->peer, sizeof d->peer, "%s:%s", to->host, port);
    d->fd = -1;
    int bad = getaddrinfo(to->host, port, &hints, &found);
    if (bad != 0) {
        (void)fail_set(f, ERR_CLOSED, "check the name", "cannot resolve %s: %s", to->host,
                       gai_strerror(bad));
        direct_close(d);
        return NULL;
    }
    for (struct addrinfo *a = found; a != NULL && d->fd < 0; a = a->ai_next) {
        d->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        if (d->fd >= 0) {
            set_options(d->fd);
        }
        if (d->fd >= 0 && connect(d->fd, a->ai_addr, a->ai_addrlen) != 0) {
            int e = errno;
            close(d->fd);
            d->fd = -1;
            errno = e;
        }
    }
    freeaddrinfo(found);
    if (d->fd < 0) {
        (void)broken(d, "connect to", f);
        direct_close(d);
        return NULL;
    }
    return d;
}

void direct_close(struct direct *d)
{
    if (d == NULL) {
        return;
    }
    if (d->fd >= 0) {
        close(d->fd);
    }
    msg_free(&d->got);
    strbuf_fini(&d->frame);
    mem_free(d);
}

enum err direct_send(struct direct *d, const struct msg *m, struct fail *f)
{
    strbuf_clear(&d->frame);
    if (msg_encode(m, &d->frame) != ERR_OK) {
        return fail_set(f, ERR_LIMIT, "", "a message does not fit a frame");
    }
    msg_failpoint("send", m->kind, "before");
    for (size_t done = 0; done < d->frame.bytes;) {
        ssize_t n = send(d->fd, d->frame.data + done, d->frame.bytes - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return broken(d, "send to", f);
        }
        done += (size_t)n;
    }
    msg_failpoint("send", m->kind, "after");
    return ERR_OK;
}

static enum err read_all(struct direct *d, void *to, size_t bytes, struct fail *f)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = recv(d->fd, (char *)to + done, bytes - done, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            return fail_set(f, ERR_CLOSED, "", "%s closed the connection", d->peer);
        }
        if (n < 0) {
            return broken(d, "hear from", f);
        }
        done += (size_t)n;
    }
    return ERR_OK;
}

enum err direct_receive(struct direct *d, enum msg_kind kind, const struct msg **out,
                        struct fail *f)
{
    uint8_t head[FRAME_HEAD_BYTES];
    uint32_t bytes = 0;
    uint16_t got = 0;
    enum err e = read_all(d, head, sizeof head, f);
    if (e != ERR_OK) {
        return e;
    }
    if (!frame_head_read(head, &bytes, &got) || bytes > FRAME_BYTES_MAX) {
        return fail_set(f, ERR_INVALID, "is it a master?", "%s sent what is no frame", d->peer);
    }
    char *body = mem_raw((size_t)bytes + 1);
    e = read_all(d, body, bytes, f);
    if (e == ERR_OK && got != kind) {
        e = fail_set(f, ERR_INVALID, "see the master's log", "%s answered %s, not %s", d->peer,
                     msg_name(got), msg_name(kind));
    }
    if (e == ERR_OK) {
        msg_free(&d->got);
        d->got = (struct msg){0};
        e = msg_decode(got, body, bytes, &d->got, f);
        *out = &d->got;
    }
    mem_free(body);
    return e;
}
