/* net/conn.h - the libevent loop and framed control connections on it; frames: net/frame.h.
 *
 * Owns:       struct loop (one thread's event loop), struct conn, struct listener.
 * Threads:    everything here runs on the loop's thread (assert_on_loop), but loop_post and
 *             loop_quit, which any thread may call.
 * Invariants: N1 no callback is made from inside conn_send; N2 on_closed is the last callback of a
 *             connection and its memory stays valid until it returns; N3 a frame larger than the
 *             connection's current limit closes it before anything is allocated for the body. */
#ifndef OXB_NET_CONN_H
#define OXB_NET_CONN_H

#include "core/err.h"
#include "net/messages.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop *loop_new(void); /* NULL: out of file descriptors */
/* loop_free - after loop_run has returned (or never ran).  Listeners and connections still there
 * are freed without callbacks; timers are their owners', to be freed before. */
void loop_free(struct loop *l);
void loop_run(struct loop *l);  /* until loop_quit; holds back SIGPIPE on this thread */
/* loop_quit - any thread.  What was posted or closed before is still delivered. */
void loop_quit(struct loop *l);
/* loop_post - run fn(arg) on the loop's thread, in order.  Any thread; never blocks. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
struct event_base *loop_base(struct loop *l);
void loop_assert(const struct loop *l);           /* on the loop's thread? */
struct timer;                                     /* repeating or single */
struct timer *timer_new(struct loop *l, void (*fn)(void *arg), void *arg);
void timer_set(struct timer *t, uint64_t after_ms, bool repeat); /* replaces */
void timer_stop(struct timer *t);
void timer_free(struct timer *t);

struct address {
    char host[256];
    uint16_t port;
};
/* address_parse - "HOST:PORT" or "[V6]:PORT"; port 0..65535.  The host may be empty (as connected);
 * to open such an address fails. */
MUST_CHECK enum err address_parse(const char *text, struct address *out, struct fail *f);
bool address_is_loopback(const struct address *a);

struct conn;
struct conn_ops {
    void (*on_open)(void *arg, struct conn *c);                   /* connected (clients) */
    void (*on_message)(void *arg, struct conn *c, struct msg *m); /* borrowed until it returns */
    void (*on_closed)(void *arg, struct conn *c, const char *why);/* the conn is freed afterwards */
};

/* conn_open - connect with deadline; TCP_NODELAY, keep-alive and TCP_USER_TIMEOUT set.
 * Heartbeats are sent and checked by the connection itself once conn_heartbeat was called.
 * Return: never NULL; what goes wrong, at once or later, comes to on_closed on a later turn. */
struct conn *conn_open(struct loop *l, const struct address *to, const struct conn_ops *ops,
                       void *arg);
/* conn_send - queue one message, also before the connection is there.  Bytes leave on the next loop
 * turn.  A peer that lets more than CONN_OUT_BYTES_MAX pile up (beside one large message) is
 * closed, and so is the connection when the message exceeds a frame; PREPARE and REPORT are cut
 * into fragments then, and put together before on_message: N3 holds for the whole, of
 * LARGE_BYTES_MAX, and only once conn_limit was called.  After conn_close: nothing.  Callback-safe:
 * yes. */
void conn_send(struct conn *c, const struct msg *m);
/* conn_flush - hand what is queued to the kernel now, as far as it takes it: only for who is about
 * to die on purpose. */
void conn_flush(struct conn *c);
/* conn_close - on_closed follows on a later turn.  Messages queued before are still handed to the
 * kernel as far as it takes them at once (a REFUSED, say).  A second call does nothing. */
void conn_close(struct conn *c, const char *why);
void conn_heartbeat(struct conn *c);              /* start sending and expecting heartbeats */
/* conn_limit - bodies up to this are taken from now on; FRAME_PRE_AUTH_BYTES_MAX until then, at
 * both ends: raise it once the peer is known. */
void conn_limit(struct conn *c, size_t body_bytes_max);
void conn_set(struct conn *c, const struct conn_ops *ops, void *arg); /* hand over */
/* conn_peer_is_gone - has the peer closed, though on_closed has not come yet? */
bool conn_peer_is_gone(const struct conn *c);
const char *conn_peer(const struct conn *c);      /* "127.0.0.1:40112" */
const char *conn_peer_host(const struct conn *c);
/* conn_detach - take the socket and the bytes already read off a connection and free it without
 * on_closed: for a peer link that goes on with its own reader.  Caller owns the fd (non-blocking,
 * options kept: with TCP_USER_TIMEOUT a peer that takes nothing for 3 s is given up by the kernel)
 * and *rest (mem_free).  What is queued is written first.  The connection no longer counts among
 * its listener's.
 * Return: -1 when it is not open or does not take what is queued; it is then closed as usual. */
int conn_detach(struct conn *c, void **rest, size_t *rest_bytes);

struct listener;
/* listener_open - accept connections; each new one gets ops/arg, and HANDSHAKE_MS until
 * conn_accepted.  Connections beyond `conns_max` are closed at once; EMFILE backs off.
 * Return: NULL, with `f` set, when it cannot listen there. */
struct listener *listener_open(struct loop *l, const struct address *at, unsigned conns_max,
                               const struct conn_ops *ops, void *arg, struct fail *f);
void listener_close(struct listener *l); /* its connections live on */
uint16_t listener_port(const struct listener *l);
unsigned listener_conns(const struct listener *l);
/* conn_accepted - the handshake is over: no more deadline. */
void conn_accepted(struct conn *c);

#endif
