/* worker/wire.c - reading and writing the frames of a peer link. */
#include "worker/wire.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    QUEUE_FRAMES = 256,
    QUEUE_BYTES = 1 << 20,  /* enough for several batches per write */
    STAGE_BYTES = 16 << 10, /* heads and small bodies; large bodies go straight to their block */
    PIECES_MAX = 256,       /* iovecs per sendmsg */
    READS_MAX = 16,         /* per event, so that one link does not starve the loop */
    BODY_FIRST = 256 << 10, /* a length is believed up to this; then by what has arrived */
};

struct wire {
    struct loop *loop;
    struct pool *pool;
    int fd;
    struct wire_ops ops;
    void *arg;
    struct event *readable, *writable, *closing;
    struct timer *heartbeat;
    uint64_t heard_us;
    char why[128];
    bool closed;
    /* reading */
    uint8_t *stage;
    size_t stage_first, stage_bytes;
    struct frame_head head;
    bool have_head;
    struct buf *body; /* of the frame being read; bytes so far: body_bytes */
    size_t body_bytes;
    size_t body_room; /* <= the head's body_bytes */
    bool *freed;      /* set by wire_free while callbacks run */
    /* writing */
    struct strbuf control;
    size_t control_sent;
    const struct frame *queue[QUEUE_FRAMES];
    unsigned queue_first, queue_count;
    size_t queue_bytes;
    size_t front_sent; /* bytes of the front frame that have left */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_closing(evutil_socket_t fd, short what, void *arg);
static void on_heartbeat(void *arg);
static bool parse(struct wire *w);

struct wire *wire_new(struct loop *l, struct pool *pool, int fd, const void *rest,
                      size_t rest_bytes, const struct wire_ops *ops, void *arg)
{
    struct wire *w = mem_alloc(sizeof *w);
    *w = (struct wire){.loop = l, .pool = pool, .fd = fd, .ops = *ops, .arg = arg};
    w->stage = mem_alloc(rest_bytes > STAGE_BYTES ? rest_bytes : STAGE_BYTES);
    if (rest_bytes > 0) {
        memcpy(w->stage, rest, rest_bytes);
    }
    w->stage_bytes = rest_bytes;
    int on = 1;
    int user_timeout = TCP_USER_TIMEOUT_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    w->readable = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, on_readable, w);
    w->writable = event_new(loop_base(l), fd, EV_WRITE | EV_PERSIST, on_writable, w);
    w->closing = event_new(loop_base(l), -1, 0, on_closing, w);
    event_add(w->readable, NULL);
    w->heartbeat = timer_new(l, on_heartbeat, w);
    timer_set(w->heartbeat, HEARTBEAT_MS, true);
    w->heard_us = clock_now_us();
    if (rest_bytes > 0) {
        event_active(w->readable, EV_READ, 0);
    }
    return w;
}

void wire_free(struct wire *w)
{
    if (w == NULL) {
        return;
    }
    if (w->freed != NULL) {
        *w->freed = true;
    }
    event_free(w->readable);
    event_free(w->writable);
    event_free(w->closing);
    timer_free(w->heartbeat);
    close(w->fd);
    if (w->body != NULL) {
        buf_unref(w->body);
    }
    mem_free(w->stage);
    strbuf_fini(&w->control);
    mem_free(w);
}

void wire_close(struct wire *w, const char *why)
{
    if (w->closed) {
        return;
    }
    w->closed = true;
    snprintf(w->why, sizeof w->why, "%s", why);
    event_del(w->readable);
    event_del(w->writable);
    timer_stop(w->heartbeat);
    w->queue_count = 0;
    event_active(w->closing, EV_TIMEOUT, 0);
}

static void on_closing(evutil_socket_t fd, short what, void *arg)
{
    struct wire *w = arg;
    (void)fd;
    (void)what;
    w->ops.on_closed(w->arg, w->why);
}

static void on_heartbeat(void *arg)
{
    struct wire *w = arg;
    uint64_t now = clock_now_us();
    if (now - w->heard_us > (uint64_t)PEER_DEAD_MS * 1000) {
        wire_close(w, "the peer has been silent for too long");
        return;
    }
    struct msg m = {.kind = M_HEARTBEAT};
    m.HEARTBEAT.sent_at_us = now;
    wire_send(w, &m);
}

/* ---------------------------------------------------------------- writing */

bool wire_has_room(const struct wire *w)
{
    return !w->closed && w->queue_count < QUEUE_FRAMES && w->queue_bytes < QUEUE_BYTES;
}

void wire_queue(struct wire *w, const struct frame *f)
{
    w->queue[(w->queue_first + w->queue_count) % QUEUE_FRAMES] = f;
    w->queue_count++;
    w->queue_bytes += f->bytes;
}

bool wire_holds(const struct wire *w, const struct frame *f)
{
    for (unsigned q = 0; q < w->queue_count; q++) {
        if (w->queue[(w->queue_first + q) % QUEUE_FRAMES] == f) {
            return true;
        }
    }
    return false;
}

void wire_send(struct wire *w, const struct msg *m)
{
    if (w->closed) {
        return;
    }
    if (msg_encode(m, &w->control) != ERR_OK || w->control.bytes > CONN_OUT_BYTES_MAX) {
        wire_close(w, "the peer does not read its control messages");
        return;
    }
    msg_failpoint("send", m->kind, "before");
    wire_flush(w);
    msg_failpoint("send", m->kind, "after");
}

/* Pieces to write next: control first unless a frame is half sent. */
static int collect(struct wire *w, struct iovec *iov)
{
    int n = 0;
    size_t skip = w->front_sent;
    if (skip == 0 && w->control.bytes > w->control_sent) {
        iov[n++] = (struct iovec){w->control.data + w->control_sent,
                                  w->control.bytes - w->control_sent};
    }
    for (unsigned q = 0; q < w->queue_count && n < PIECES_MAX; q++) {
        const struct frame *f = w->queue[(w->queue_first + q) % QUEUE_FRAMES];
        for (int p = 0; p < f->piece_count && n < PIECES_MAX; p++) {
            struct iovec v = f->pieces[p];
            if (skip >= v.iov_len) {
                skip -= v.iov_len;
                continue;
            }
            v.iov_base = (char *)v.iov_base + skip;
            v.iov_len -= skip;
            skip = 0;
            iov[n++] = v;
        }
        if (q == 0 && w->front_sent > 0 && w->control.bytes > w->control_sent) {
            break; /* finish this frame, then the control messages */
        }
    }
    return n;
}

static void advance(struct wire *w, size_t sent)
{
    if (w->front_sent == 0 && w->control.bytes > w->control_sent) {
        size_t part = w->control.bytes - w->control_sent;
        part = sent < part ? sent : part;
        w->control_sent += part;
        sent -= part;
        if (w->control_sent == w->control.bytes) {
            strbuf_clear(&w->control);
            w->control_sent = 0;
        }
    }
    while (sent > 0) {
        const struct frame *f = w->queue[w->queue_first];
        size_t left = f->bytes - w->front_sent;
        if (sent < left) {
            w->front_sent += sent;
            return;
        }
        sent -= left;
        w->front_sent = 0;
        w->queue_bytes -= f->bytes;
        w->queue_first = (w->queue_first + 1) % QUEUE_FRAMES;
        w->queue_count--;
    }
}

void wire_flush(struct wire *w)
{
    struct iovec iov[PIECES_MAX];
    while (!w->closed) {
        int n = collect(w, iov);
        if (n == 0) {
            event_del(w->writable);
            return;
        }
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(w->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            event_add(w->writable, NULL);
            return;
        }
        if (sent < 0) {
            wire_close(w, strerror(errno));
            return;
        }
        advance(w, (size_t)sent);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct wire *w = arg;
    (void)fd;
    (void)what;
    wire_flush(w);
    if (wire_has_room(w)) {
        w->ops.on_room(w->arg);
    }
}

/* ---------------------------------------------------------------- reading */

static bool check_head(struct wire *w)
{
    const struct frame_head *h = &w->head;
    size_t max = h->kind == FRAME_ITEM ? BATCH_BYTES_MAX : FRAME_PRE_AUTH_BYTES_MAX;
    if (h->magic != FRAME_MAGIC || h->version != FRAME_VERSION) {
        wire_close(w, "the peer does not speak the link protocol");
    } else if (h->body_bytes > max ||
               (h->kind == FRAME_ITEM && h->body_bytes < sizeof(struct item_head))) {
        wire_close(w, "a frame with an impossible length");
    } else {
        w->body_room = h->body_bytes < BODY_FIRST ? h->body_bytes : BODY_FIRST;
        w->body = buf_new(w->pool, w->body_room > 0 ? w->body_room : 1);
        w->body_bytes = 0;
        w->have_head = true;
        return true;
    }
    return false;
}

/* The body has filled its block and is not complete: a larger one. */
static void grow_body(struct wire *w)
{
    size_t room = w->body_room * 4;
    room = room < w->head.body_bytes ? room : w->head.body_bytes;
    struct buf *larger = buf_new(w->pool, room);
    memcpy(larger->data, w->body->data, w->body_bytes);
    buf_unref(w->body);
    w->body = larger;
    w->body_room = room;
}

static void deliver(struct wire *w)
{
    struct buf *body = w->body;
    w->body = NULL;
    w->have_head = false;
    if (w->head.kind == FRAME_ITEM) {
        w->ops.on_item(w->arg, body, w->head.body_bytes);
        return;
    }
    struct msg m = {0};
    struct fail f = {0};
    enum err e = msg_decode(w->head.kind, body->data, w->head.body_bytes, &m, &f);
    buf_unref(body);
    if (e != ERR_OK) {
        wire_close(w, f.what);
        return;
    }
    if (m.kind != M_HEARTBEAT) {
        msg_failpoint("heard", m.kind, "before");
        w->ops.on_message(w->arg, &m);
        msg_failpoint("heard", m.kind, "after");
    }
    msg_free(&m);
}

/* Take whole frames out of the stage.  Return: false when the wire is closed or freed. */
static bool parse(struct wire *w)
{
    bool freed = false;
    w->freed = &freed;
    for (;;) {
        if (!w->have_head) {
            if (w->stage_bytes < sizeof w->head) {
                break;
            }
            memcpy(&w->head, w->stage + w->stage_first, sizeof w->head);
            w->stage_first += sizeof w->head;
            w->stage_bytes -= sizeof w->head;
            if (!check_head(w)) {
                break;
            }
        }
        size_t part = w->body_room - w->body_bytes;
        part = part < w->stage_bytes ? part : w->stage_bytes;
        memcpy(w->body->data + w->body_bytes, w->stage + w->stage_first, part);
        w->body_bytes += part;
        w->stage_first += part;
        w->stage_bytes -= part;
        if (w->body_bytes < w->head.body_bytes) {
            if (w->body_bytes < w->body_room) {
                break;
            }
            grow_body(w);
            continue;
        }
        deliver(w);
        if (freed) {
            return false;
        }
        if (w->closed) {
            break;
        }
    }
    w->freed = NULL;
    if (w->stage_bytes > 0 && w->stage_first > 0) {
        memmove(w->stage, w->stage + w->stage_first, w->stage_bytes);
    }
    w->stage_first = 0;
    return !w->closed;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct wire *w = arg;
    (void)what;
    if (w->stage_bytes > 0 && !parse(w)) {
        return;
    }
    for (int n = 0; n < READS_MAX; n++) {
        struct iovec iov[2];
        int count = 0;
        if (w->have_head) {
            iov[count++] = (struct iovec){w->body->data + w->body_bytes,
                                          w->body_room - w->body_bytes};
        }
        iov[count++] = (struct iovec){w->stage + w->stage_bytes, STAGE_BYTES - w->stage_bytes};
        ssize_t got = readv(fd, iov, count);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (got <= 0) {
            wire_close(w, got == 0 ? "the peer closed the link" : strerror(errno));
            return;
        }
        w->heard_us = clock_now_us();
        size_t direct = count == 2 ? iov[0].iov_len : 0;
        direct = (size_t)got < direct ? (size_t)got : direct;
        w->body_bytes += direct;
        w->stage_bytes += (size_t)got - direct;
        size_t asked = iov[0].iov_len + (count == 2 ? iov[1].iov_len : 0);
        if (!parse(w)) {
            return;
        }
        if ((size_t)got < asked) {
            return; /* the socket is empty: the next event will tell */
        }
    }
}
