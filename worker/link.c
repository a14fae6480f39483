/* worker/link.c - peer links: credit, resumption, delivery.  Reading and writing is wire.c's. */
#include "worker/link.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/instance.h"
#include "worker/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    struct channel *channels;
    _Atomic bool notified;
};

struct link_in {
    struct link_in *next;
    struct links *links;
    char name[NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    struct wire *wire;       /* NULL: not connected at present */
    struct channel *channels;
    _Atomic bool notified;
};

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

static void out_connect(void *arg);
static void out_pump(void *arg);
static void in_tell_credit(void *arg);
static void listener_message(void *arg, struct conn *c, struct msg *m);
static void listener_closed(void *arg, struct conn *c, const char *why);

static const struct conn_ops listener_ops = {.on_message = listener_message,
                                             .on_closed = listener_closed};

/* ---------------------------------------------------------------- the whole */

struct links *links_new(struct loop *l, struct pool *pool, const struct address *listen,
                        const struct links_ops *ops, void *arg, struct fail *f)
{
    struct links *ls = mem_alloc(sizeof *ls);
    *ls = (struct links){.loop = l, .pool = pool, .ops = *ops, .arg = arg};
    ls->listener = listener_open(l, listen, WORKERS_MAX, &listener_ops, ls, f);
    if (ls->listener == NULL) {
        mem_free(ls);
        return NULL;
    }
    return ls;
}

void links_identity(struct links *ls, const char *name, uint64_t incarnation)
{
    snprintf(ls->name, sizeof ls->name, "%s", name);
    ls->incarnation = incarnation;
}

uint16_t links_port(const struct links *ls)
{
    return listener_port(ls->listener);
}

static void out_free(struct link_out *o)
{
    if (o->conn != NULL) {
        static const struct conn_ops nobody = {0};
        conn_set(o->conn, &nobody, NULL);
        conn_close(o->conn, "the worker ends");
    }
    wire_free(o->wire);
    timer_free(o->retry);
    mem_free(o);
}

void links_free(struct links *ls)
{
    if (ls == NULL) {
        return;
    }
    listener_close(ls->listener);
    while (ls->outs != NULL) {
        struct link_out *o = ls->outs;
        ls->outs = o->next;
        out_free(o);
    }
    while (ls->ins != NULL) {
        struct link_in *i = ls->ins;
        ls->ins = i->next;
        wire_free(i->wire);
        mem_free(i);
    }
    mem_free(ls);
}

void links_send_go(struct links *ls, const struct msg_LINK_GO *go)
{
    struct msg m = {.kind = M_LINK_GO, .LINK_GO = *go};
    for (struct link_out *o = ls->outs; o != NULL; o = o->next) {
        if (o->wire != NULL) {
            wire_send(o->wire, &m);
        }
    }
}

void link_remove(struct channel *c)
{
    struct channel **at = c->kind == CHANNEL_OUT && c->out != NULL ? &c->out->channels
                          : c->kind == CHANNEL_IN && c->in != NULL ? &c->in->channels
                                                                   : NULL;
    while (at != NULL && *at != NULL && *at != c) {
        at = &(*at)->next;
    }
    if (at != NULL && *at == c) {
        *at = c->next;
    }
    /* Frames of it may still be queued on the wire: restart that link rather than tear frames. */
    if (c->kind == CHANNEL_OUT && c->out != NULL && c->out->wire != NULL && c->unacked_count > 0) {
        wire_close(c->out->wire, "a channel was dropped while it was being sent");
    }
    c->out = NULL;
    c->in = NULL;
}

/* ---------------------------------------------------------------- towards a peer */

struct link_out *links_out(struct links *ls, const char *name, uint64_t incarnation,
                           const char *address)
{
    for (struct link_out *o = ls->outs; o != NULL; o = o->next) {
        if (strcmp(o->name, name) == 0 && o->incarnation == incarnation) {
            return o;
        }
    }
    struct link_out *o = mem_alloc(sizeof *o);
    *o = (struct link_out){.links = ls, .incarnation = incarnation, .next = ls->outs};
    snprintf(o->name, sizeof o->name, "%s", name);
    struct fail f = {0};
    if (address_parse(address, &o->address, &f) != ERR_OK) {
        log_event(LOG_ERROR, "link.address", "peer=%s what=\"%s\"", name, f.what);
    }
    o->retry = timer_new(ls->loop, out_connect, o);
    o->retry_ms = RECONNECT_MS_MIN;
    ls->outs = o;
    out_connect(o);
    return o;
}

void link_out_add(struct link_out *o, struct channel *c)
{
    c->out = o;
    c->next = o->channels;
    o->channels = c;
}

static void out_retry(struct link_out *o)
{
    timer_set(o->retry, o->retry_ms, false);
    o->retry_ms = o->retry_ms * 2 < RECONNECT_MS_MAX ? o->retry_ms * 2 : RECONNECT_MS_MAX;
}

static void out_open(void *arg, struct conn *c)
{
    struct link_out *o = arg;
    struct msg m = {.kind = M_LINK_HELLO};
    m.LINK_HELLO.protocol = PROTOCOL_VERSION;
    m.LINK_HELLO.name = o->links->name;
    m.LINK_HELLO.incarnation = o->links->incarnation;
    m.LINK_HELLO.peer_incarnation = o->incarnation;
    conn_send(c, &m);
}

/* What the peer has (`next`) frees items; what it allows (`limit`) lets more go. */
static void out_credit(struct link_out *o, const struct rec_LINK_CHANNEL *r, size_t count)
{
    bool drained = false;
    for (size_t k = 0; k < count; k++) {
        struct channel *c = o->channels;
        while (c != NULL && c->id != r[k].id) {
            c = c->next;
        }
        if (c == NULL || r[k].next > c->next_item || r[k].next < c->acked_items) {
            continue; /* of a channel that is gone, or stale */
        }
        while (c->acked_items < r[k].next) {
            if (o->wire != NULL && wire_holds(o->wire, c->unacked[c->unacked_first].frame)) {
                wire_close(o->wire, "the peer acknowledged what was not sent");
                return;
            }
            frame_free(c->unacked[c->unacked_first].frame);
            c->unacked_first++;
            c->unacked_count--;
            c->acked_items++;
        }
        if (c->unacked_count == 0) {
            c->unacked_first = 0;
            drained = true;
        }
        if (c->resend_item < c->acked_items) {
            c->resend_item = c->acked_items;
        }
        if (r[k].limit > c->credit_items) {
            c->credit_items = r[k].limit;
        }
    }
    if (drained) {
        o->links->ops.on_drained(o->links->arg);
    }
}

/* The next item of the channel that may go on the wire now, or NULL. */
static const struct frame *next_frame(struct channel *c)
{
    if (c->resend_item < c->next_item) {
        size_t at = c->unacked_first + (size_t)(c->resend_item - c->acked_items);
        c->resend_item++;
        return c->unacked[at].frame;
    }
    struct item *it = ring_peek(&c->ring);
    if (it == NULL) {
        return NULL;
    }
    uint64_t extra = it->kind == ITEM_BATCH ? 0 : RING_SLOTS - RING_BATCHES;
    if (c->next_item >= c->credit_items + extra) {
        return NULL;
    }
    if (c->unacked_first > 64 && c->unacked_first >= c->unacked_count) {
        memmove(c->unacked, c->unacked + c->unacked_first, c->unacked_count * sizeof *c->unacked);
        c->unacked_first = 0;
    }
    size_t at = c->unacked_first + c->unacked_count;
    c->unacked = mem_grow(c->unacked, at, &c->unacked_capacity, sizeof *c->unacked);
    c->unacked[at] = *it;
    c->unacked_count++;
    c->next_item++;
    c->resend_item = c->next_item;
    const struct frame *f = it->frame;
    ring_drop(&c->ring);
    channel_taken(c);
    return f;
}

static void out_pump(void *arg)
{
    struct link_out *o = arg;
    atomic_store(&o->notified, false);
    if (o->wire == NULL) {
        return;
    }
    bool any = true;
    while (any) {
        any = false;
        for (struct channel *c = o->channels; c != NULL; c = c->next) {
            const struct frame *f = wire_has_room(o->wire) ? next_frame(c) : NULL;
            if (f != NULL) {
                wire_queue(o->wire, f);
                any = true;
            }
        }
    }
    wire_flush(o->wire);
}

void link_out_notify(struct link_out *o)
{
    if (!atomic_load(&o->notified) && !atomic_exchange(&o->notified, true)) {
        loop_post(o->links->loop, out_pump, o);
    }
}

static void out_wire_message(void *arg, struct msg *m)
{
    struct link_out *o = arg;
    if (m->kind == M_LINK_CREDIT) {
        out_credit(o, m->LINK_CREDIT.channels, m->LINK_CREDIT.channels_count);
        out_pump(o);
    }
}

static void out_wire_item(void *arg, struct buf *block, size_t bytes)
{
    struct link_out *o = arg;
    (void)bytes;
    buf_unref(block);
    wire_close(o->wire, "the receiving side sent data");
}

static void out_wire_closed(void *arg, const char *why)
{
    struct link_out *o = arg;
    log_event(LOG_WARN, "link.lost", "to=%s why=\"%s\"", o->name, why);
    wire_free(o->wire);
    o->wire = NULL;
    out_retry(o);
}

static const struct wire_ops out_wire_ops = {.on_item = out_wire_item,
                                             .on_message = out_wire_message,
                                             .on_room = out_pump,
                                             .on_closed = out_wire_closed};

static void out_message(void *arg, struct conn *c, struct msg *m)
{
    struct link_out *o = arg;
    if (m->kind != M_LINK_WELCOME || m->LINK_WELCOME.incarnation != o->incarnation) {
        conn_close(c, m->kind == M_REFUSED ? m->REFUSED.what : "not the expected peer");
        return;
    }
    for (struct channel *ch = o->channels; ch != NULL; ch = ch->next) {
        ch->resend_item = ch->acked_items;
    }
    out_credit(o, m->LINK_WELCOME.channels, m->LINK_WELCOME.channels_count);
    void *rest = NULL;
    size_t rest_bytes = 0;
    int fd = conn_detach(c, &rest, &rest_bytes);
    o->conn = NULL;
    if (fd < 0) {
        out_retry(o);
    } else {
        timer_stop(o->retry);
        o->retry_ms = RECONNECT_MS_MIN;
        o->wire = wire_new(o->links->loop, o->links->pool, fd, rest, rest_bytes, &out_wire_ops, o);
        log_event(LOG_INFO, "link.open", "to=%s incarnation=%" PRIx64, o->name, o->incarnation);
        out_pump(o);
    }
    mem_free(rest);
}

static void out_closed(void *arg, struct conn *c, const char *why)
{
    struct link_out *o = arg;
    if (o->conn == c) {
        log_event(LOG_INFO, "link.unreachable", "to=%s why=\"%s\"", o->name, why);
        o->conn = NULL;
        out_retry(o);
    }
}

static const struct conn_ops out_ops = {.on_open = out_open,
                                        .on_message = out_message,
                                        .on_closed = out_closed};

static void out_connect(void *arg)
{
    struct link_out *o = arg;
    if (o->conn != NULL) {
        conn_close(o->conn, "no answer to the link handshake"); /* on_closed retries */
        return;
    }
    if (o->wire == NULL) {
        o->conn = conn_open(o->links->loop, &o->address, &out_ops, o);
        timer_set(o->retry, HANDSHAKE_MS, false);
    }
}

bool link_out_drained(const struct channel *c)
{
    bool last = atomic_load(&c->ledger.end_sent) || atomic_load(&c->ledger.close_sent);
    return last && ring_used(&c->ring) == 0 && c->unacked_count == 0;
}

/* ---------------------------------------------------------------- from a peer */

struct link_in *links_in(struct links *ls, const char *name, uint64_t incarnation)
{
    for (struct link_in *i = ls->ins; i != NULL; i = i->next) {
        if (strcmp(i->name, name) == 0 && i->incarnation == incarnation) {
            return i;
        }
    }
    struct link_in *i = mem_alloc(sizeof *i);
    *i = (struct link_in){.links = ls, .incarnation = incarnation, .next = ls->ins};
    snprintf(i->name, sizeof i->name, "%s", name);
    ls->ins = i;
    return i;
}

void link_in_add(struct link_in *i, struct channel *c)
{
    c->in = i;
    c->next = i->channels;
    i->channels = c;
}

static void in_records(struct link_in *i, bool all, struct rec_LINK_CHANNEL *out, size_t *count)
{
    *count = 0;
    for (struct channel *c = i->channels; c != NULL; c = c->next) {
        uint64_t limit = atomic_load(&c->consumed_items) + RING_BATCHES;
        if (all || limit != atomic_load(&c->credit_told)) {
            atomic_store(&c->credit_told, limit);
            out[(*count)++] =
                (struct rec_LINK_CHANNEL){.id = c->id, .next = c->expected_item, .limit = limit};
        }
    }
}

static size_t in_channels(const struct link_in *i)
{
    size_t n = 0;
    for (const struct channel *c = i->channels; c != NULL; c = c->next) {
        n++;
    }
    return n;
}

static void in_tell_credit(void *arg)
{
    struct link_in *i = arg;
    atomic_store(&i->notified, false);
    if (i->wire == NULL) {
        return;
    }
    struct msg m = {.kind = M_LINK_CREDIT};
    m.LINK_CREDIT.channels = mem_array(in_channels(i), sizeof *m.LINK_CREDIT.channels);
    in_records(i, false, m.LINK_CREDIT.channels, &m.LINK_CREDIT.channels_count);
    if (m.LINK_CREDIT.channels_count > 0) {
        wire_send(i->wire, &m);
    }
    mem_free(m.LINK_CREDIT.channels);
}

void link_in_notify(struct link_in *i)
{
    if (!atomic_load(&i->notified) && !atomic_exchange(&i->notified, true)) {
        loop_post(i->links->loop, in_tell_credit, i);
    }
}

/* A marker or end asks for an answer at once: the sender waits for it to call itself drained. */
static void in_ack_now(struct link_in *i, struct channel *c)
{
    struct rec_LINK_CHANNEL r = {.id = c->id,
                                 .next = c->expected_item,
                                 .limit = atomic_load(&c->consumed_items) + RING_BATCHES};
    struct msg m = {.kind = M_LINK_CREDIT};
    m.LINK_CREDIT.channels = &r;
    m.LINK_CREDIT.channels_count = 1;
    wire_send(i->wire, &m);
}

static enum err in_decode(const struct channel *c, const struct item_head *head,
                          struct buf *block, size_t bytes, struct item *out)
{
    *out = (struct item){.kind = (enum item_kind)head->item,
                         .count = head->count,
                         .first = head->first,
                         .epoch = head->epoch};
    if (out->kind != ITEM_BATCH) {
        buf_unref(block);
        return ERR_OK;
    }
    enum err e = batch_decode(block, sizeof *head, bytes - sizeof *head, c->schema, &out->batch);
    if (e == ERR_OK && out->batch->pub.live != head->count) {
        batch_free(out->batch);
        e = ERR_INVALID;
    }
    return e;
}

static void in_wire_item(void *arg, struct buf *block, size_t bytes)
{
    struct link_in *i = arg;
    struct item_head head;
    if (frame_check_item(block->data, bytes, &head) != ERR_OK) {
        buf_unref(block);
        wire_close(i->wire, "a malformed or corrupted item");
        return;
    }
    struct channel *c = i->channels;
    while (c != NULL && c->id != head.channel) {
        c = c->next;
    }
    if (c == NULL || head.number < c->expected_item) {
        buf_unref(block); /* of a channel that was dropped here, or resent after a reconnect */
        return;
    }
    struct item it;
    if (head.number > c->expected_item) {
        buf_unref(block);
        log_event(LOG_ERROR, "link.gap", "from=%s channel=%" PRIu64 " expected=%" PRIu64
                  " got=%" PRIu64, i->name, c->id, c->expected_item, head.number);
        wire_close(i->wire, "items are missing on a channel");
        return;
    }
    if (in_decode(c, &head, block, bytes, &it) != ERR_OK) {
        wire_close(i->wire, "a batch that is malformed or of another schema");
        return;
    }
    if (!ring_push(&c->ring, &it)) {
        batch_free(it.batch);
        wire_close(i->wire, "more items than the credit allows");
        return;
    }
    c->expected_item++;
    task_notify(instance_task(c->to));
    if (it.kind != ITEM_BATCH) {
        in_ack_now(i, c);
    }
}

static void in_wire_message(void *arg, struct msg *m)
{
    struct link_in *i = arg;
    if (m->kind == M_LINK_GO) {
        i->links->ops.on_go(i->links->arg, &m->LINK_GO);
    }
}

static void in_wire_room(void *arg)
{
    (void)arg;
}

static void in_wire_closed(void *arg, const char *why)
{
    struct link_in *i = arg;
    log_event(LOG_INFO, "link.closed", "from=%s why=\"%s\"", i->name, why);
    wire_free(i->wire);
    i->wire = NULL;
}

static const struct wire_ops in_wire_ops = {.on_item = in_wire_item,
                                            .on_message = in_wire_message,
                                            .on_room = in_wire_room,
                                            .on_closed = in_wire_closed};

static void refuse(struct conn *c, const char *what)
{
    struct msg m = {.kind = M_REFUSED};
    m.REFUSED.what = what;
    m.REFUSED.hint = "";
    conn_send(c, &m);
    conn_close(c, what);
}

static void listener_message(void *arg, struct conn *c, struct msg *m)
{
    struct links *ls = arg;
    if (m->kind != M_LINK_HELLO) {
        conn_close(c, "expected LINK_HELLO");
        return;
    }
    if (m->LINK_HELLO.peer_incarnation != ls->incarnation) {
        refuse(c, "this is another incarnation of that worker");
        return;
    }
    if (strlen(m->LINK_HELLO.name) > NAME_BYTES_MAX || m->LINK_HELLO.protocol < 1) {
        refuse(c, "malformed LINK_HELLO");
        return;
    }
    struct link_in *i = links_in(ls, m->LINK_HELLO.name, m->LINK_HELLO.incarnation);
    struct msg welcome = {.kind = M_LINK_WELCOME};
    welcome.LINK_WELCOME.incarnation = ls->incarnation;
    welcome.LINK_WELCOME.channels =
        mem_array(in_channels(i), sizeof *welcome.LINK_WELCOME.channels);
    in_records(i, true, welcome.LINK_WELCOME.channels, &welcome.LINK_WELCOME.channels_count);
    conn_accepted(c);
    conn_send(c, &welcome);
    mem_free(welcome.LINK_WELCOME.channels);
    void *rest = NULL;
    size_t rest_bytes = 0;
    int fd = conn_detach(c, &rest, &rest_bytes);
    if (fd >= 0) {
        wire_free(i->wire); /* the peer has given the older connection up */
        i->wire = wire_new(ls->loop, ls->pool, fd, rest, rest_bytes, &in_wire_ops, i);
        log_event(LOG_INFO, "link.accepted", "from=%s incarnation=%" PRIx64, i->name,
                  i->incarnation);
    }
    mem_free(rest);
}

static void listener_closed(void *arg, struct conn *c, const char *why)
{
    (void)arg;
    log_event(LOG_INFO, "link.refused", "peer=%s why=\"%s\"", conn_peer(c), why);
}
