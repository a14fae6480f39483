/* worker/link_own.h - what link.c, link_out.c and link_in.c know of each other; nobody else
 * includes it.
 *
 * Threads:    the loop's.
 * Invariants: L5 an end of a link is freed when it has no channel and nothing posted for it, the
 *                receiving one also only without connection: an incarnation that died leaves
 *                nothing behind once its channels are removed. */
#ifndef OXB_WORKER_LINK_OWN_H
#define OXB_WORKER_LINK_OWN_H

#include "core/limits.h"
#include "worker/channel_set.h"
#include "worker/link.h"
#include "worker/ready.h"
#include "worker/wire.h"

enum { RECORDS_MAX = 512 }; /* channels told of in one message: it stays below 64 KiB */

struct links {
    struct loop *loop;
    struct pool *pool;
    struct links_ops ops;
    void *arg;
    char name[NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    struct listener *listener;
    struct link_out *outs;
    struct link_in *ins;
};

struct link_out {
    struct link_out *next;
    struct links *links;
    char name[NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    struct address address;
    struct conn *conn;       /* during the handshake */
    struct wire *wire;       /* once linked */
    struct timer *retry;     /* reconnect, or the handshake's deadline */
    uint64_t retry_ms;
    bool refused;            /* it is another incarnation: never tried again (L4) */
    struct channel_set channels;
    struct ready ready;      /* channels with something to send */
    _Atomic bool notified;   /* out_pump is posted */
    unsigned reaps;          /* posted looks whether it can be freed */
    unsigned holds;          /* see link_out_hold */
};

struct link_in {
    struct link_in *next;
    struct links *links;
    char name[NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    struct wire *wire;       /* NULL: not connected at present */
    struct channel_set channels;
    struct ready ready;      /* channels with credit to tell */
    _Atomic bool notified;
    unsigned reaps;
};

/* ---- link_out.c ---- */
void out_remove(struct link_out *o, struct channel *c);
void out_free(struct link_out *o);

/* ---- link_in.c ---- */
void in_remove(struct link_in *i, struct channel *c);
void in_free(struct link_in *i);
/* in_accept - LINK_HELLO came on an accepted connection and names us. */
void in_accept(struct links *ls, struct conn *c, const struct msg_LINK_HELLO *hello);

#endif
