/* master/http.c - a small HTTP/1.1 server on the loop: one request per connection. */
#include "master/http.h"

#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#define READ_CHUNK_BYTES (64u << 10)

struct http {
    struct loop *loop;
    struct evconnlistener *listener;
    const struct http_ops *ops;
    void *arg;
    unsigned request_ms_max;
    uint16_t port;
    struct exchange *first; /* connections */
    unsigned count;
};

enum exchange_state { X_HEAD, X_BODY, X_HANDLING, X_FOLLOWING, X_REPLYING };

struct exchange {
    struct http *http;
    struct exchange *next, **link;
    struct bufferevent *bev; /* NULL: the client has gone */
    struct event *deadline;
    enum exchange_state state;
    char *head_text;
    struct http_head head;
    struct strbuf body;
    uint64_t body_left;
    /* streamed bodies */
    bool (*on_data)(void *ctx, const void *data, size_t bytes);
    void (*on_gone)(void *ctx);
    void *ctx;
};

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int bytes,
                      void *arg);
static void on_accept_error(struct evconnlistener *l, void *arg);
static void on_read(struct bufferevent *bev, void *arg);
static void on_written(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);
static void on_deadline(evutil_socket_t fd, short what, void *arg);
static void arm(struct exchange *x, unsigned ms);
static void disconnect(struct exchange *x);
static void leave(struct exchange *x);

static struct evconnlistener *bind_at(struct http *h, const struct address *at, struct fail *f)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", at->port);
    int rc = getaddrinfo(at->host, port, &hints, &found);
    if (rc != 0) {
        fail_set(f, ERR_INVALID, "give --http an address of this machine", "cannot resolve %s: %s",
                 at->host, gai_strerror(rc));
        return NULL;
    }
    struct evconnlistener *l = evconnlistener_new_bind(
        loop_base(h->loop), on_accept, h,
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, 2 * HTTP_CONNS_MAX,
        found->ai_addr, (int)found->ai_addrlen);
    if (l == NULL) {
        fail_set(f, ERR_IO, "use another --http, or port 0", "cannot listen on %s:%u: %s",
                 at->host, at->port, strerror(errno));
    }
    freeaddrinfo(found);
    return l;
}

struct http *http_open(struct loop *l, const struct address *at, const struct http_ops *ops,
                       void *arg, unsigned request_ms_max, struct fail *f)
{
    struct http *h = mem_alloc(sizeof *h);
    *h = (struct http){.loop = l, .ops = ops, .arg = arg, .request_ms_max = request_ms_max};
    h->listener = bind_at(h, at, f);
    if (h->listener == NULL) {
        mem_free(h);
        return NULL;
    }
    evconnlistener_set_error_cb(h->listener, on_accept_error);
    struct sockaddr_storage bound;
    socklen_t bytes = sizeof bound;
    if (getsockname(evconnlistener_get_fd(h->listener), (struct sockaddr *)&bound, &bytes) == 0) {
        h->port = ntohs(bound.ss_family == AF_INET6
                            ? ((struct sockaddr_in6 *)&bound)->sin6_port
                            : ((struct sockaddr_in *)&bound)->sin_port);
    }
    return h;
}

void http_close(struct http *h)
{
    if (h == NULL) {
        return;
    }
    evconnlistener_free(h->listener);
    while (h->first != NULL) {
        struct exchange *x = h->first;
        if (x->state == X_HANDLING) {
            leave(x);
        } else {
            disconnect(x);
        }
    }
    mem_free(h);
}

uint16_t http_port(const struct http *h)
{
    return h->port;
}

const struct http_head *exchange_head(const struct exchange *x)
{
    return &x->head;
}

const char *exchange_body(const struct exchange *x, size_t *bytes)
{
    *bytes = x->body.bytes;
    return x->body.data != NULL ? x->body.data : "";
}

void exchange_stream(struct exchange *x, unsigned ms_max,
                     bool (*on_data)(void *ctx, const void *data, size_t bytes),
                     void (*on_gone)(void *ctx), void *ctx)
{
    assert(x->state == X_HEAD);
    x->on_data = on_data;
    x->on_gone = on_gone;
    x->ctx = ctx;
    arm(x, ms_max);
}

void *exchange_stream_ctx(const struct exchange *x)
{
    return x->ctx;
}

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {400, "Bad Request"},
                   {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
                   {408, "Request Timeout"}, {409, "Conflict"}, {411, "Length Required"},
                   {413, "Content Too Large"}, {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"}, {422, "Unprocessable Content"},
                   {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
                   {503, "Service Unavailable"}, {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Status";
}

bool exchange_is_gone(const struct exchange *x)
{
    return x->bev == NULL;
}

bool exchange_follow(struct exchange *x, const char *type, void (*on_gone)(void *ctx), void *ctx)
{
    assert(x->state == X_HANDLING);
    if (x->bev == NULL) {
        leave(x);
        return false;
    }
    x->state = X_FOLLOWING;
    x->on_gone = on_gone;
    x->ctx = ctx;
    evbuffer_add_printf(bufferevent_get_output(x->bev),
                        "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n"
                        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n",
                        type);
    bufferevent_enable(x->bev, EV_READ); /* its end is how we learn that the client has gone */
    return true;
}

size_t exchange_push(struct exchange *x, const void *data, size_t bytes)
{
    assert(x->state == X_FOLLOWING);
    struct evbuffer *out = bufferevent_get_output(x->bev);
    evbuffer_add(out, data, bytes);
    return evbuffer_get_length(out);
}

void exchange_drop(struct exchange *x TAKES)
{
    assert(x->state == X_FOLLOWING);
    leave(x);
}

void exchange_reply(struct exchange *x TAKES, int status, const char *type, const char *headers,
                    const void *body, size_t bytes)
{
    assert(x->state != X_REPLYING && x->state != X_FOLLOWING); /* H4 */
    x->state = X_REPLYING;
    x->ctx = NULL;
    if (x->bev == NULL) {
        leave(x);
        return;
    }
    struct evbuffer *out = bufferevent_get_output(x->bev);
    evbuffer_add_printf(out,
                        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\nX-Content-Type-Options: nosniff\r\n"
                        "Cache-Control: no-store\r\n%s\r\n",
                        status, reason(status), type, bytes, headers != NULL ? headers : "");
    if (x->head.method == NULL || strcmp(x->head.method, "HEAD") != 0) {
        evbuffer_add(out, body, bytes);
    }
    arm(x, x->http->request_ms_max);
    bufferevent_enable(x->bev, EV_READ); /* what still comes is read and dropped, so that our
                                          * close does not reset the answer away */
}

/* ---- connections ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int bytes,
                      void *arg)
{
    (void)l;
    (void)sa;
    (void)bytes;
    struct http *h = arg;
    if (h->count >= HTTP_CONNS_MAX) { /* H1 */
        log_event(LOG_WARN, "http.full", "connections=%u", h->count);
        evutil_closesocket(fd);
        return;
    }
    struct exchange *x = mem_alloc(sizeof *x);
    x->http = h;
    x->bev = bufferevent_socket_new(loop_base(h->loop), fd, BEV_OPT_CLOSE_ON_FREE);
    x->deadline = evtimer_new(loop_base(h->loop), on_deadline, x);
    assert(x->bev != NULL && x->deadline != NULL);
    x->next = h->first;
    x->link = &h->first;
    if (h->first != NULL) {
        h->first->link = &x->next;
    }
    h->first = x;
    h->count++;
    bufferevent_setcb(x->bev, on_read, on_written, on_event, x);
    bufferevent_setwatermark(x->bev, EV_READ, 0, READ_CHUNK_BYTES);
    bufferevent_enable(x->bev, EV_READ | EV_WRITE);
    arm(x, h->request_ms_max); /* H2 */
}

static void on_accept_error(struct evconnlistener *l, void *arg)
{
    (void)l;
    (void)arg;
    log_event(LOG_WARN, "http.accept", "error=\"%s\"", strerror(errno));
}

static void refuse(struct exchange *x, int status)
{
    char body[160];
    int n = snprintf(body, sizeof body,
                     "{\"error\": {\"code\": \"%s\", \"message\": \"%s\", \"hint\": \"\", "
                     "\"where\": \"request\"}}\n",
                     status == 413 || status == 431 ? "LIMIT" : "INVALID", reason(status));
    exchange_reply(x, status, "application/json", NULL, body, (size_t)n);
}

/* Take the head, when it is complete.  false: not yet, or answered already. */
static bool take_head(struct exchange *x, struct evbuffer *in)
{
    size_t have = evbuffer_get_length(in);
    size_t look = have < HTTP_HEADER_BYTES_MAX ? have : HTTP_HEADER_BYTES_MAX;
    const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)look);
    size_t end = data != NULL ? http_head_end(data, look) : 0;
    if (end == 0) {
        if (have >= HTTP_HEADER_BYTES_MAX) { /* H3 */
            refuse(x, 431);
        }
        return false;
    }
    x->head_text = mem_dup_n(data, end);
    evbuffer_drain(in, end);
    int status = http_head_parse(x->head_text, end, &x->head);
    if (status != 0) {
        refuse(x, status);
        return false;
    }
    x->body_left = x->head.body_bytes;
    x->http->ops->on_head(x->http->arg, x);
    if (x->state == X_REPLYING) {
        return false;
    }
    if (x->on_data == NULL && x->body_left > HTTP_BODY_BYTES_MAX) {
        refuse(x, 413);
        return false;
    }
    x->state = X_BODY;
    if (x->head.expects_continue && x->body_left > 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        bufferevent_write(x->bev, go_on, sizeof go_on - 1);
    }
    return true;
}

static void take_body(struct exchange *x, struct evbuffer *in)
{
    while (x->body_left > 0 && evbuffer_get_length(in) > 0) {
        size_t n = evbuffer_get_contiguous_space(in);
        n = n < x->body_left ? n : (size_t)x->body_left;
        const void *data = evbuffer_pullup(in, (ev_ssize_t)n);
        if (x->on_data == NULL) {
            strbuf_add(&x->body, data, n);
        } else if (!x->on_data(x->ctx, data, n)) {
            evbuffer_drain(in, evbuffer_get_length(in)); /* answered already */
            return;
        }
        evbuffer_drain(in, n);
        x->body_left -= n;
    }
    if (x->body_left == 0) {
        x->state = X_HANDLING;
        evtimer_del(x->deadline);
        bufferevent_disable(x->bev, EV_READ);
        x->http->ops->on_request(x->http->arg, x);
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct exchange *x = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    if (x->state == X_HEAD && !take_head(x, in) && x->state == X_HEAD) {
        return;
    }
    if (x->state == X_BODY) {
        take_body(x, in);
        return; /* x may be gone */
    }
    if (x->state == X_REPLYING || x->state == X_FOLLOWING) {
        evbuffer_drain(in, evbuffer_get_length(in));
    }
}

static void on_written(struct bufferevent *bev, void *arg)
{
    struct exchange *x = arg;
    if (x->state == X_REPLYING && evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
        shutdown(bufferevent_getfd(bev), SHUT_WR); /* the client closes; else the deadline does */
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    struct exchange *x = arg;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        disconnect(x);
    }
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct exchange *x = arg;
    if (x->state != X_REPLYING) {
        log_event(LOG_WARN, "http.slow", "state=%d", (int)x->state);
    }
    disconnect(x);
}

static void arm(struct exchange *x, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(x->deadline, &tv);
}

/* The client has gone, or must go.  While a request is being handled its memory stays (H4). */
static void disconnect(struct exchange *x)
{
    void (*on_gone)(void *ctx) = x->on_gone;
    void *ctx = x->ctx;
    if (x->state == X_HANDLING) {
        bufferevent_free(x->bev);
        x->bev = NULL;
        evtimer_del(x->deadline);
        return;
    }
    bool was_streaming = (x->state == X_BODY || x->state == X_FOLLOWING) && on_gone != NULL &&
                         ctx != NULL;
    leave(x);
    if (was_streaming) {
        on_gone(ctx);
    }
}

static void leave(struct exchange *x)
{
    *x->link = x->next;
    if (x->next != NULL) {
        x->next->link = x->link;
    }
    x->http->count--;
    if (x->bev != NULL) {
        bufferevent_free(x->bev);
    }
    event_free(x->deadline);
    strbuf_fini(&x->body);
    mem_free(x->head_text);
    mem_free(x);
}
