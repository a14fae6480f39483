/* master/http.h - a small HTTP/1.1 server on the loop: one request per connection.
 *
 * Why not evhttp: it keeps whole bodies in memory, shows a request only when the body is there, and
 * has neither deadlines nor a cap on connections (a client that sends a byte every two seconds
 * holds one for ever).  Here a body can go straight to disk, and every limit is ours.
 *
 * Owns:       struct http (listener, connections), struct exchange (a request and its answer).
 * Runs on:    the loop.
 * Invariants: H1 at most HTTP_CONNS_MAX connections.  H2 a request that is not complete within its
 *             deadline is closed, whatever arrives.  H3 nothing is buffered beyond the limit that
 *             is in force.  H4 each exchange is answered exactly once; until then its memory is
 *             valid, also when the client has gone.  H5 a follower that does not read is the
 *             owner's to drop: exchange_push tells how much waits. */
#ifndef OXB_MASTER_HTTP_H
#define OXB_MASTER_HTTP_H

#include "master/http_head.h"
#include "net/conn.h"

struct http;
struct exchange;

struct http_ops {
    /* The head is there.  May call exchange_reply (refused), exchange_stream, or neither: then
     * the body is collected up to HTTP_BODY_BYTES_MAX. */
    void (*on_head)(void *arg, struct exchange *x);
    /* All is there.  Must lead to exchange_reply, now or later. */
    void (*on_request)(void *arg, struct exchange *x);
};

struct http *http_open(struct loop *l, const struct address *at, const struct http_ops *ops,
                       void *arg, unsigned request_ms_max, struct fail *f);
void http_close(struct http *h); /* exchanges not answered yet are the caller's to answer first */
uint16_t http_port(const struct http *h);

const struct http_head *exchange_head(const struct exchange *x);
const char *exchange_body(const struct exchange *x, size_t *bytes); /* ends with NUL */

/* exchange_stream - hand the body on as it comes instead of collecting it.
 * The caller has checked the head's body_bytes against its own limit.
 * @ms_max:  the deadline in place of the usual one.
 * @on_data: false: no more; it has answered the exchange itself.
 * @on_gone: the client left, or was too slow, before the body was complete. */
void exchange_stream(struct exchange *x, unsigned ms_max,
                     bool (*on_data)(void *ctx, const void *data, size_t bytes),
                     void (*on_gone)(void *ctx), void *ctx);
void *exchange_stream_ctx(const struct exchange *x); /* NULL: not streamed */

/* exchange_reply - answer; the exchange must not be used afterwards.
 * @headers: further lines "Name: value\r\n", or NULL. */
void exchange_reply(struct exchange *x TAKES, int status, const char *type, const char *headers,
                    const void *body, size_t bytes);

/* exchange_is_gone - has the client left before the answer? */
bool exchange_is_gone(const struct exchange *x);

/* exchange_follow - answer without an end: what is pushed goes out until one side leaves.
 * @on_gone: the client left, or the server closes; the exchange is freed.
 * Return: false when the client has gone already; the exchange is freed, on_gone is not called. */
bool exchange_follow(struct exchange *x, const char *type, void (*on_gone)(void *ctx), void *ctx);
/* exchange_push - Return: bytes that wait for the client. */
size_t exchange_push(struct exchange *x, const void *data, size_t bytes);
void exchange_drop(struct exchange *x TAKES); /* a follower; on_gone is not called */

#endif
