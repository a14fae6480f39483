/* pe/builtin/tcp_sink.c - sends tuples as lines over a TCP connection, and reconnects.
 *
 * Runs on:    a thread of its own: a full buffer waits for the receiver, and names are looked up.
 * Invariants: T1 the buffer holds at most BUFFER_BYTES_MAX and one batch: a full one makes the next
 *             batch wait, for WAIT_US at most; then that batch fails as a whole, with nothing of it
 *             taken, and the engine's `on_error` decides.  That is the backpressure.
 *             T2 a new connection begins with a whole line: one sent in part is sent again.
 *             T3 a snapshot carries what was not sent.
 * Why:        what the kernel had taken from us before a connection broke is lost: TCP does not say
 *             what the receiver has read.  A receiver that must not lose needs a protocol of its
 *             own. */
#include "pe/builtin/address.h"
#include "pe/builtin/builtin.h"
#include "pe/builtin/outbuf.h"

#include "core/clock.h"
#include "core/limits.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES_MAX (1u << 20)
#define WAIT_US 5000000u
#define TIMER_RETRY 1u

struct tcp_sink {
    struct outbuf out;
    const char *to;
    int fd; /* -1: not connected */
    bool is_connecting;
    bool is_lost_logged;
    bool is_watched;
    uint64_t retry_at_us; /* monotonic; when to try again */
    uint64_t backoff_us;
    char why[160]; /* the last failure */
};

static int prepare(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    s->fd = -1;
    s->to = oxb_param_str(pe, "to");
    s->backoff_us = RECONNECT_MS_MIN * 1000u;
    outbuf_init(&s->out, pe);
    return OXB_OK;
}

static void unwatch(struct oxb_pe *pe, struct tcp_sink *s)
{
    if (s->is_watched) {
        oxb_watch(pe, s->fd, 0);
        s->is_watched = false;
    }
}

/* lose - the connection, or the attempt at one, has failed. */
static void lose(struct oxb_pe *pe, struct tcp_sink *s, const char *why)
{
    if (s->fd >= 0) {
        unwatch(pe, s);
        close(s->fd);
        s->fd = -1;
    }
    outbuf_rewind(&s->out); /* T2 */
    s->is_connecting = false;
    snprintf(s->why, sizeof s->why, "%s", why);
    if (!s->is_lost_logged) {
        oxb_log(pe, OXB_WARN, "no connection to %s: %s; trying again", s->to, why);
        s->is_lost_logged = true;
    }
    s->retry_at_us = clock_now_us() + s->backoff_us;
    s->backoff_us =
        s->backoff_us * 2 < RECONNECT_MS_MAX * 1000u ? s->backoff_us * 2 : RECONNECT_MS_MAX * 1000u;
}

static void connected(struct oxb_pe *pe, struct tcp_sink *s)
{
    s->is_connecting = false;
    s->is_lost_logged = false;
    s->backoff_us = RECONNECT_MS_MIN * 1000u;
    oxb_log(pe, OXB_INFO, "connected to %s", s->to);
}

static void try_connect(struct oxb_pe *pe, struct tcp_sink *s)
{
    const char *why = NULL;
    struct addrinfo *found = address_resolve(s->to, false, &why);
    if (found == NULL) {
        lose(pe, s, why);
        return;
    }
    int e = 0;
    for (const struct addrinfo *a = found; a != NULL && s->fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int one = 1;
        if (fd < 0) {
            e = errno;
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS) {
            s->fd = fd;
            s->is_connecting = true;
        } else {
            e = errno;
            close(fd);
        }
    }
    freeaddrinfo(found);
    if (s->fd < 0) {
        lose(pe, s, strerror(e));
    }
}

/* wait_for - sleep until the socket takes bytes, or until `until_us`. */
static void wait_for(struct tcp_sink *s, uint64_t until_us)
{
    uint64_t now_us = clock_now_us();
    uint64_t to_us = s->fd < 0 && s->retry_at_us < until_us ? s->retry_at_us : until_us;
    int wait_ms = to_us > now_us ? (int)((to_us - now_us + 999) / 1000) : 0;
    struct pollfd p = {.fd = s->fd, .events = POLLOUT}; /* fd -1: only the time counts */
    poll(&p, 1, wait_ms);
}

/* step - one attempt at getting on.  Return: false when it has to wait. */
static bool step(struct oxb_pe *pe, struct tcp_sink *s)
{
    if (s->fd < 0) {
        if (clock_now_us() < s->retry_at_us) {
            return false;
        }
        try_connect(pe, s);
        return s->fd >= 0;
    }
    if (s->is_connecting) {
        struct pollfd p = {.fd = s->fd, .events = POLLOUT};
        int e = 0;
        socklen_t size = sizeof e;
        if (poll(&p, 1, 0) <= 0) {
            return false;
        }
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &size);
        if (e != 0) {
            lose(pe, s, strerror(e));
            return false;
        }
        connected(pe, s);
        return true;
    }
    ssize_t n = send(s->fd, s->out.text.data + s->out.sent, outbuf_left(&s->out), MSG_NOSIGNAL);
    if (n >= 0) {
        outbuf_sent(&s->out, (size_t)n);
        return true;
    }
    if (errno == EINTR) {
        return true;
    }
    if (errno != EAGAIN) {
        lose(pe, s, strerror(errno));
    }
    return false;
}

/* drain - send until at most `left` bytes remain or `until_us` has come. */
static void drain(struct oxb_pe *pe, struct tcp_sink *s, size_t left, uint64_t until_us)
{
    while (outbuf_left(&s->out) > left) {
        if (step(pe, s)) {
            continue;
        }
        if (clock_now_us() >= until_us) {
            return;
        }
        wait_for(s, until_us);
    }
}

/* arm - have the engine call when there is more to do. */
static void arm(struct oxb_pe *pe, struct tcp_sink *s)
{
    bool wants = s->fd >= 0 && outbuf_left(&s->out) > 0;
    if (wants && !s->is_watched) {
        oxb_watch(pe, s->fd, EPOLLOUT);
        s->is_watched = true;
    } else if (!wants) {
        unwatch(pe, s);
    }
    if (s->fd < 0 && outbuf_left(&s->out) > 0) {
        uint64_t now_us = clock_now_us();
        uint64_t wait_us = s->retry_at_us > now_us ? s->retry_at_us - now_us : 0;
        oxb_timer_set(pe, TIMER_RETRY, oxb_mono_us(pe) + wait_us);
    }
}

static int start(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    try_connect(pe, s); /* a receiver that is not there yet is no error */
    arm(pe, s);
    return OXB_OK;
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct tcp_sink *s = oxb_self(pe);
    (void)port;
    if (outbuf_left(&s->out) >= OUTBUF_WRITE_BYTES) {
        drain(pe, s, 0, clock_now_us());
    }
    if (outbuf_left(&s->out) >= BUFFER_BYTES_MAX) { /* T1 */
        drain(pe, s, BUFFER_BYTES_MAX / 2, clock_now_us() + WAIT_US);
        if (outbuf_left(&s->out) >= BUFFER_BYTES_MAX) {
            arm(pe, s);
            return oxb_fail(pe, "%s has taken nothing for %u s: %s", s->to, WAIT_US / 1000000u,
                            s->fd >= 0 ? "it does not read" : s->why);
        }
    }
    outbuf_add(&s->out, in);
    return OXB_OK;
}

static int flush(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    drain(pe, s, 0, clock_now_us());
    arm(pe, s);
    return OXB_OK;
}

static int ready(struct oxb_pe *pe, int fd, uint32_t events)
{
    (void)fd;
    (void)events;
    return flush(pe);
}

static int timer(struct oxb_pe *pe, uint64_t id)
{
    (void)id;
    return flush(pe);
}

static int finish(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    drain(pe, s, 0, clock_now_us() + WAIT_US);
    if (outbuf_left(&s->out) > 0) {
        return oxb_fail(pe, "%zu bytes could not be sent to %s: %s", outbuf_left(&s->out), s->to,
                        s->fd >= 0 ? "it does not read" : s->why);
    }
    return OXB_OK;
}

static void stop(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    if (s->fd >= 0) {
        unwatch(pe, s);
        close(s->fd);
        s->fd = -1;
    }
}

static void drop(struct oxb_pe *pe)
{
    struct tcp_sink *s = oxb_self(pe);
    outbuf_fini(&s->out);
}

static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    struct tcp_sink *s = oxb_self(pe);
    drain(pe, s, 0, clock_now_us());
    struct outbuf rest = s->out;
    outbuf_rewind(&rest); /* whoever goes on has another connection (T2) */
    if (outbuf_left(&s->out) > 0) {
        oxb_blob_add(out, rest.text.data + rest.sent, outbuf_left(&rest)); /* T3 */
    }
    return OXB_OK;
}

static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct tcp_sink *s = oxb_self(pe);
    (void)version;
    if (bytes > 0) {
        strbuf_add(&s->out.text, data, bytes);
    }
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "to", .type = OXB_P_ADDRESS, .flags = OXB_REQUIRED, .doc = "the receiver, HOST:PORT"},
    OUTBUF_PARAM,
    {.name = NULL},
};

const struct oxb_pe_type builtin_tcp_sink = {
    .abi = OXB_ABI,
    .flags = OXB_OWN_THREAD | OXB_EFFECTS | OXB_MERGES,
    .name = "tcp-sink",
    .doc = "sends tuples to a TCP receiver, a line each; connects again when it is lost",
    .params = params,
    .state_version = 1,
    .self_bytes = sizeof(struct tcp_sink),
    .prepare = prepare,
    .start = start,
    .process = process,
    .ready = ready,
    .timer = timer,
    .finish = finish,
    .stop = stop,
    .drop = drop,
    .snapshot = snapshot,
    .restore = restore,
    .flush = flush,
};
