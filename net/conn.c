/* net/conn.c - framed control connections: limits, heartbeats, orderly ends.
 *
 * Owns:       struct conn, from conn_open or accept until on_closed returns.
 * Runs on:    the loop's thread.
 * Invariants: N1-N3 of net/conn.h.  N4 a connection ends in one place, conn_end, reached only from
 *             its own timer: no callback ever finds its connection freed under it.
 *             N5 unread input is at most one frame of the current limit.
 * See:        net/frame.h, net/listener.c, tests/unit/net/conn_test.c */
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "net/frame.h"
#include "net/internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum conn_state {
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_CLOSING,  /* on_closed is due */
    CONN_DETACHED, /* the socket is somebody else's */
};

struct conn {
    struct loop_item item;
    struct loop *loop;
    struct conn_ops ops;
    void *arg;
    struct listener *listener; /* that accepted it; NULL: we dialled */
    struct bufferevent *bev;
    enum conn_state state;
    /* dialling: the name being looked up, the addresses found, the next one to try */
    struct resolve *resolve;
    struct addrinfo *found;
    const struct addrinfo *next;
    struct timer *timer; /* connect or handshake deadline; then the end itself: N4 */
    struct timer *beat;  /* NULL until conn_heartbeat */
    size_t body_bytes_max;
    size_t large_out;     /* bytes that a large message may wait beyond CONN_OUT_BYTES_MAX */
    struct strbuf whole;  /* what has come of a message in fragments */
    size_t whole_bytes;   /* of it in all; 0: none is coming */
    unsigned whole_kind;
    uint64_t heard_us; /* when bytes last came */
    uint64_t echo_us;  /* sent_at_us of the peer's last heartbeat */
    char peer[320];
    char host[256];
    char why[320];
};

static void on_timer(void *arg);
static void on_readable(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

/* ---- beginning ---- */
static void set_options(int fd)
{
    static const struct {
        int level;
        int option;
        int value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 1}, /* seconds; probes see a peer that vanished while idle */
        {IPPROTO_TCP, TCP_KEEPINTVL, 1},
        {IPPROTO_TCP, TCP_KEEPCNT, 2},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        (void)setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(int));
    }
}

static void drop(struct loop_item *item)
{
    struct conn *c = (struct conn *)(void *)((char *)item - offsetof(struct conn, item));
    int fd = bufferevent_getfd(c->bev);
    bufferevent_free(c->bev);
    if (fd >= 0) {
        close(fd);
    }
    if (c->found != NULL) {
        freeaddrinfo(c->found);
    }
    resolve_cancel(c->resolve);
    timer_free(c->timer);
    timer_free(c->beat);
    strbuf_fini(&c->whole);
    if (c->listener != NULL) {
        listener_release(c->listener);
    }
    mem_free(c);
}

static struct conn *conn_new(struct loop *l, int fd, const struct conn_ops *ops, void *arg)
{
    loop_assert(l);
    struct conn *c = mem_alloc(sizeof *c);
    c->loop = l;
    c->ops = *ops;
    c->arg = arg;
    c->item.drop = drop;
    c->bev = bufferevent_socket_new(loop_base(l), fd, 0);
    assert(c->bev != NULL);
    c->timer = timer_new(l, on_timer, c);
    c->heard_us = clock_now_us();
    bufferevent_setcb(c->bev, on_readable, NULL, on_event, c);
    conn_limit(c, FRAME_PRE_AUTH_BYTES_MAX);
    loop_add(l, &c->item);
    return c;
}

struct conn *conn_adopt(struct loop *l, int fd, const struct conn_ops *ops, void *arg,
                        struct listener *from)
{
    struct conn *c = conn_new(l, fd, ops, arg);
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof peer;
    c->listener = from;
    c->state = CONN_OPEN;
    set_options(fd);
    if (getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0) {
        sockaddr_text(&peer, c->peer, sizeof c->peer, c->host, sizeof c->host);
    }
    timer_set(c->timer, HANDSHAKE_MS, false);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    return c;
}

static void close_for(struct conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void close_for(struct conn *c, const char *fmt, ...)
{
    char why[sizeof c->why];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    conn_close(c, why);
}

/* dial_next - a name may stand for several addresses (localhost: ::1 and 127.0.0.1). */
static void dial_next(struct conn *c)
{
    const struct addrinfo *to = c->next;
    int fd = bufferevent_getfd(c->bev);
    c->next = to->ai_next;
    if (fd >= 0) {
        bufferevent_setfd(c->bev, -1);
        close(fd);
    }
    if (bufferevent_socket_connect(c->bev, to->ai_addr, (int)to->ai_addrlen) != 0) {
        close_for(c, "cannot connect to %s: %s", c->peer, strerror(errno));
    }
}

static void on_resolved(void *arg, int error, struct addrinfo *found)
{
    struct conn *c = arg;
    c->resolve = NULL;
    c->found = found;
    c->next = found;
    if (error != 0) {
        close_for(c, "cannot resolve %s: %s", c->peer, gai_strerror(error));
    } else {
        dial_next(c);
    }
}

struct conn *conn_open(struct loop *l, const struct address *to, const struct conn_ops *ops,
                       void *arg)
{
    struct conn *c = conn_new(l, -1, ops, arg);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)to->port);
    snprintf(c->host, sizeof c->host, "%s", to->host);
    snprintf(c->peer, sizeof c->peer, strchr(to->host, ':') != NULL ? "[%s]:%s" : "%s:%s", to->host,
             port);
    c->state = CONN_CONNECTING;
    timer_set(c->timer, PEER_DEAD_MS, false);
    if (to->host[0] == '\0') {
        conn_close(c, "cannot connect: the address has no host");
    } else if (getaddrinfo(to->host, port, &hints, &found) == 0) {
        on_resolved(c, 0, found);
    } else {
        c->resolve = resolve_start(l, to, on_resolved, c);
        if (c->resolve == NULL) {
            close_for(c, "cannot resolve %s: %s", c->peer, strerror(errno));
        }
    }
    return c;
}

/* is_self - dialling a dead port of one's own ephemeral range can connect a socket to itself. */
static bool is_self(int fd)
{
    struct sockaddr_storage a = {0}, b = {0};
    socklen_t a_bytes = sizeof a, b_bytes = sizeof b;
    return getsockname(fd, (struct sockaddr *)&a, &a_bytes) == 0 &&
           getpeername(fd, (struct sockaddr *)&b, &b_bytes) == 0 && a_bytes == b_bytes &&
           memcmp(&a, &b, a_bytes) == 0;
}

static void on_connected(struct conn *c)
{
    if (is_self(bufferevent_getfd(c->bev))) {
        close_for(c, "cannot connect to %s: nobody listens there", c->peer);
        return;
    }
    set_options(bufferevent_getfd(c->bev));
    timer_stop(c->timer);
    c->state = CONN_OPEN;
    c->heard_us = clock_now_us();
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    if (c->ops.on_open != NULL) {
        c->ops.on_open(c->arg, c);
    }
}

/* ---- receiving ---- */
static void deliver(struct conn *c, struct msg *m)
{
    if (m->kind == M_HEARTBEAT) {
        c->echo_us = m->HEARTBEAT.sent_at_us;
    } else if (c->ops.on_message != NULL) {
        msg_failpoint("heard", m->kind, "before");
        c->ops.on_message(c->arg, c, m);
        msg_failpoint("heard", m->kind, "after");
    }
}

/* take_fragment - one more piece; deliver the whole when it is the last. */
static void take_fragment(struct conn *c, const struct msg_FRAGMENT *p)
{
    bool begins = c->whole_bytes == 0;
    if (begins && c->body_bytes_max == FRAME_BYTES_MAX && msg_may_be_large((unsigned)p->kind) &&
        p->kind <= UINT16_MAX && p->total <= LARGE_BYTES_MAX && p->total > 0) { /* N3 */
        c->whole_bytes = p->total;
        c->whole_kind = (unsigned)p->kind;
    }
    if (c->whole_bytes == 0 || p->kind != c->whole_kind || p->total != c->whole_bytes ||
        p->offset != c->whole.bytes || p->data.bytes == 0 ||
        p->data.bytes > c->whole_bytes - c->whole.bytes) {
        close_for(c, "%s sent a fragment that does not fit", c->peer);
        return;
    }
    strbuf_add(&c->whole, p->data.data, p->data.bytes);
    if (c->whole.bytes < c->whole_bytes) {
        return;
    }
    struct msg m = {0};
    struct fail f = {0};
    enum err e = msg_decode_large(c->whole_kind, c->whole.data, c->whole.bytes, &m, &f);
    strbuf_fini(&c->whole);
    c->whole_bytes = 0;
    if (e != ERR_OK) {
        close_for(c, "%s sent what cannot be read: %.200s", c->peer, f.what);
        return;
    }
    deliver(c, &m);
    msg_free(&m);
}

/* take_frame - deliver the first frame of the input.  Return: false when there is no whole one. */
static bool take_frame(struct conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    uint8_t head[FRAME_HEAD_BYTES];
    uint32_t bytes = 0;
    uint16_t kind = 0;
    if (evbuffer_copyout(in, head, sizeof head) < (ev_ssize_t)sizeof head) {
        return false;
    }
    if (!frame_head_read(head, &bytes, &kind)) {
        close_for(c, "%s does not speak this protocol", c->peer);
        return false;
    }
    if (bytes > c->body_bytes_max) { /* N3 */
        close_for(c, "%s sent %s of %u bytes, at most %zu are taken", c->peer, msg_name(kind),
                  (unsigned)bytes, c->body_bytes_max);
        return false;
    }
    if (evbuffer_get_length(in) < sizeof head + bytes) {
        return false;
    }
    struct msg m = {0};
    struct fail f = {0};
    const uint8_t *frame = evbuffer_pullup(in, (ev_ssize_t)(sizeof head + bytes));
    enum err e = msg_decode(kind, frame + sizeof head, bytes, &m, &f);
    evbuffer_drain(in, sizeof head + bytes);
    if (e != ERR_OK) {
        close_for(c, "%s sent what cannot be read: %.200s", c->peer, f.what);
        return false;
    }
    if (kind == M_FRAGMENT) {
        take_fragment(c, &m.FRAGMENT);
    } else if (c->whole_bytes != 0) {
        close_for(c, "%s sent %s amid fragments", c->peer, msg_name(kind));
    } else {
        deliver(c, &m);
    }
    msg_free(&m);
    return true;
}

static void on_readable(struct bufferevent *bev, void *arg)
{
    (void)bev;
    struct conn *c = arg;
    c->heard_us = clock_now_us();
    while (c->state == CONN_OPEN && take_frame(c)) {
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;
    const char *error = strerror(errno);
    if (c->state == CONN_CONNECTING) {
        if ((what & BEV_EVENT_CONNECTED) != 0) {
            on_connected(c);
        } else if (c->next != NULL) {
            dial_next(c);
        } else {
            close_for(c, "cannot connect to %s: %s", c->peer, error);
        }
    } else if ((what & BEV_EVENT_EOF) != 0) {
        bool amid = evbuffer_get_length(bufferevent_get_input(bev)) > 0;
        close_for(c, "%s closed the connection%s", c->peer,
                  amid ? " in the middle of a frame" : "");
    } else if ((what & BEV_EVENT_ERROR) != 0) {
        close_for(c, "connection to %s lost: %s", c->peer, error);
    }
}

/* ---- sending ---- */
/* send_large - in fragments; for the peer, what it adds to the queue does not count as not read. */
static void send_large(struct conn *c, const struct msg *m)
{
    struct strbuf whole = {0}, frame = {0};
    if (!msg_may_be_large(m->kind) || msg_encode_large(m, &whole) != ERR_OK ||
        c->large_out > 0) {
        close_for(c, "%s to %s is larger than %s", msg_name(m->kind), c->peer,
                  c->large_out > 0 ? "what waits for it allows" : "a message can be");
        strbuf_fini(&whole);
        return;
    }
    size_t total = whole.bytes - FRAME_HEAD_BYTES;
    c->large_out = whole.bytes + whole.bytes / 16;
    for (size_t at = 0; at < total; at += FRAGMENT_BYTES) {
        size_t left = total - at;
        const struct msg part = {
            .kind = M_FRAGMENT,
            .FRAGMENT = {.kind = m->kind,
                         .total = total,
                         .offset = at,
                         .data = {(const uint8_t *)whole.data + FRAME_HEAD_BYTES + at,
                                  left < FRAGMENT_BYTES ? left : FRAGMENT_BYTES}}};
        strbuf_clear(&frame);
        if (msg_encode(&part, &frame) == ERR_OK) {
            bufferevent_write(c->bev, frame.data, frame.bytes);
        }
    }
    strbuf_fini(&frame);
    strbuf_fini(&whole);
}

void conn_send(struct conn *c, const struct msg *m)
{
    loop_assert(c->loop);
    if (c->state > CONN_OPEN) {
        return;
    }
    msg_failpoint("send", m->kind, "before");
    struct evbuffer *out = bufferevent_get_output(c->bev);
    struct strbuf frame = {0};
    size_t waiting = evbuffer_get_length(out);
    c->large_out = waiting > CONN_OUT_BYTES_MAX ? c->large_out : 0;
    if (msg_encode(m, &frame) != ERR_OK) {
        send_large(c, m);
    } else if (waiting + frame.bytes > CONN_OUT_BYTES_MAX + c->large_out) {
        close_for(c, "%s does not read: %zu bytes wait for it", c->peer, evbuffer_get_length(out));
    } else {
        bufferevent_write(c->bev, frame.data, frame.bytes);
    }
    strbuf_fini(&frame);
    if (failpoint_armed) {
        conn_flush(c); /* what dies behind this line has sent it */
        msg_failpoint("send", m->kind, "after");
    }
}

static void on_beat(void *arg)
{
    struct conn *c = arg;
    uint64_t now_us = clock_now_us();
    if (c->state == CONN_OPEN && now_us - c->heard_us > PEER_DEAD_MS * 1000u) {
        close_for(c, "no sign of life from %s for %u ms", c->peer, (unsigned)PEER_DEAD_MS);
        return;
    }
    const struct msg m = {.kind = M_HEARTBEAT,
                          .HEARTBEAT = {.sent_at_us = now_us, .echo_us = c->echo_us}};
    conn_send(c, &m);
}

void conn_heartbeat(struct conn *c)
{
    loop_assert(c->loop);
    if (c->beat == NULL && c->state <= CONN_OPEN) {
        c->heard_us = clock_now_us();
        c->beat = timer_new(c->loop, on_beat, c);
        timer_set(c->beat, HEARTBEAT_MS, true);
    }
}

/* ---- ending ---- */
/* end_soon - the rest happens on a later turn, from the connection's own timer: N4. */
static void end_soon(struct conn *c, enum conn_state state)
{
    c->state = state;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    if (c->beat != NULL) {
        timer_stop(c->beat);
    }
    resolve_cancel(c->resolve);
    c->resolve = NULL;
    timer_set(c->timer, 0, false);
}

/* flush - write what is queued, as far as the socket takes it now.  Return: bytes left. */
static size_t flush(struct conn *c)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    int fd = bufferevent_getfd(c->bev);
    evbuffer_unfreeze(out, 1);
    while (evbuffer_get_length(out) > 0 && evbuffer_write(out, fd) > 0) {
    }
    return evbuffer_get_length(out);
}

void conn_flush(struct conn *c)
{
    loop_assert(c->loop);
    if (c->state == CONN_OPEN) {
        (void)flush(c);
        evbuffer_freeze(bufferevent_get_output(c->bev), 1);
    }
}

void conn_close(struct conn *c, const char *why)
{
    loop_assert(c->loop);
    if (c->state > CONN_OPEN) {
        return;
    }
    snprintf(c->why, sizeof c->why, "%s", why != NULL ? why : "closed");
    if (c->state == CONN_OPEN) {
        (void)flush(c); /* a last word, such as REFUSED */
    }
    end_soon(c, CONN_CLOSING);
}

static void conn_end(struct conn *c)
{
    if (c->state == CONN_CLOSING && c->ops.on_closed != NULL) {
        c->ops.on_closed(c->arg, c, c->why); /* N2 */
    }
    loop_remove(&c->item);
    drop(&c->item);
}

static void on_timer(void *arg)
{
    struct conn *c = arg;
    if (c->state > CONN_OPEN) {
        conn_end(c);
    } else if (c->state == CONN_CONNECTING) {
        close_for(c, "cannot connect to %s: no answer for %u ms", c->peer, (unsigned)PEER_DEAD_MS);
    } else {
        close_for(c, "%s did not introduce itself within %u ms", c->peer, (unsigned)HANDSHAKE_MS);
    }
}

int conn_detach(struct conn *c, void **rest, size_t *rest_bytes)
{
    loop_assert(c->loop);
    if (c->state != CONN_OPEN) {
        return -1;
    }
    if (flush(c) > 0) {
        close_for(c, "%s does not read", c->peer);
        return -1;
    }
    struct evbuffer *in = bufferevent_get_input(c->bev);
    int fd = bufferevent_getfd(c->bev);
    *rest_bytes = evbuffer_get_length(in);
    *rest = mem_alloc(*rest_bytes);
    evbuffer_copyout(in, *rest, *rest_bytes);
    end_soon(c, CONN_DETACHED);
    bufferevent_setfd(c->bev, -1);
    return fd;
}

/* ---- the rest ---- */
void conn_limit(struct conn *c, size_t body_bytes_max)
{
    loop_assert(c->loop);
    c->body_bytes_max = body_bytes_max;
    bufferevent_setwatermark(c->bev, EV_READ, 0, FRAME_HEAD_BYTES + body_bytes_max); /* N5 */
}

void conn_set(struct conn *c, const struct conn_ops *ops, void *arg)
{
    loop_assert(c->loop);
    c->ops = *ops;
    c->arg = arg;
}

void conn_accepted(struct conn *c)
{
    loop_assert(c->loop);
    if (c->state == CONN_OPEN) {
        timer_stop(c->timer);
    }
}

bool conn_peer_is_gone(const struct conn *c)
{
    if (c->state != CONN_OPEN) {
        return c->state != CONN_CONNECTING;
    }
    struct pollfd p = {.fd = bufferevent_getfd(c->bev), .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

const char *conn_peer(const struct conn *c)
{
    return c->peer;
}

const char *conn_peer_host(const struct conn *c)
{
    return c->host;
}
