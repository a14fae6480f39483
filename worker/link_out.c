/* worker/link_out.c - the sending end of a peer link: connecting, credit, resumption.
 *
 * Owns:       struct link_out.
 * Threads:    the loop's, except link_out_notify.
 * Invariants: L1-L4 of worker/link.h, L5 of worker/link_own.h.
 *             L6 what a peer says of a channel is checked against what was handed to it; a peer
 *                that claims more, or takes back what it had, loses the connection.
 *             L7 the time between two attempts grows until the peer has acknowledged something. */
#include "core/log.h"
#include "core/mem.h"
#include "worker/instance.h"
#include "worker/link_own.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void out_connect(void *arg);
static void out_pump(void *arg);
static void out_reap_soon(struct link_out *o);

struct link_out *links_out(struct links *ls, const char *name, uint64_t incarnation,
                           const char *address, struct fail *f)
{
    for (struct link_out *o = ls->outs; o != NULL; o = o->next) {
        if (strcmp(o->name, name) == 0 && o->incarnation == incarnation) {
            return o;
        }
    }
    struct address parsed;
    if (address_parse(address, &parsed, f) != ERR_OK) {
        return NULL;
    }
    struct link_out *o = mem_alloc(sizeof *o);
    *o = (struct link_out){
        .links = ls, .incarnation = incarnation, .next = ls->outs, .address = parsed};
    snprintf(o->name, sizeof o->name, "%s", name);
    o->retry = timer_new(ls->loop, out_connect, o);
    o->retry_ms = RECONNECT_MS_MIN;
    ls->outs = o;
    out_connect(o);
    return o;
}

bool link_out_is_open(const struct link_out *o)
{
    return o->wire != NULL;
}

const char *link_out_name(const struct link_out *o)
{
    return o->name;
}

void out_free(struct link_out *o)
{
    struct link_out **at = &o->links->outs;
    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    if (o->conn != NULL) {
        static const struct conn_ops nobody = {0};
        conn_set(o->conn, &nobody, NULL);
        conn_close(o->conn, "nothing is sent to this peer any more");
    }
    wire_free(o->wire);
    timer_free(o->retry);
    channel_set_fini(&o->channels);
    mem_free(o);
}

void link_out_add(struct link_out *o, struct channel *c)
{
    c->out = o;
    c->synced = true; /* nothing of it was ever sent */
    channel_set_add(&o->channels, c);
}

void out_remove(struct link_out *o, struct channel *c)
{
    ready_collect(&o->ready);
    ready_remove(&o->ready, c);
    channel_set_remove(&o->channels, c);
    /* Frames of it may still be queued on the wire: restart that link rather than tear frames. */
    for (size_t k = 0; o->wire != NULL && k < c->unacked_count; k++) {
        if (wire_holds(o->wire, c->unacked[c->unacked_first + k].frame)) {
            wire_close(o->wire, "a channel was dropped while it was being sent");
        }
    }
    out_reap_soon(o);
}

/* Posted behind whatever was posted for it before; see L5. */
static void out_reap(void *arg)
{
    struct link_out *o = arg;
    if (--o->reaps == 0 && o->channels.count == 0 && o->holds == 0) {
        out_free(o);
    }
}

static void out_reap_soon(struct link_out *o)
{
    if (o->channels.count == 0) {
        o->reaps++;
        loop_post(o->links->loop, out_reap, o);
    }
}

void link_out_hold(struct link_out *o)
{
    o->holds++;
}

void link_out_release(struct link_out *o)
{
    o->holds--;
    out_reap_soon(o);
}

bool link_out_say(struct link_out *o, const struct msg *m)
{
    if (o->wire != NULL) {
        wire_send(o->wire, m);
    }
    return o->wire != NULL;
}

bool link_out_drained(const struct channel *c)
{
    bool last = atomic_load(&c->ledger.end_sent) || atomic_load(&c->ledger.close_sent);
    return last && ring_used(&c->ring) == 0 && c->unacked_count == 0;
}

/* ---------------------------------------------------------------- what the peer says */

/* Why the record cannot be true; NULL: it can. */
static const char *record_problem(const struct link_out *o, const struct channel *c,
                                  const struct rec_LINK_CHANNEL *r)
{
    uint64_t sent = c->synced ? c->resend_item : c->next_item;
    if (r->next > sent) {
        return "the peer acknowledged what was not sent";
    }
    if (r->next < c->acked_items) {
        return "the peer took an acknowledgement back";
    }
    if (r->limit > r->next + RING_BATCHES) {
        return "the peer gave more credit than a ring has room";
    }
    for (uint64_t k = 0; o->wire != NULL && k < r->next - c->acked_items; k++) {
        if (wire_holds(o->wire, c->unacked[c->unacked_first + k].frame)) {
            return "the peer acknowledged what was not sent";
        }
    }
    return NULL;
}

static void forget_acked(struct channel *c, uint64_t next)
{
    while (c->acked_items < next) {
        frame_free(c->unacked[c->unacked_first].frame);
        c->unacked_first++;
        c->unacked_count--;
        c->acked_items++;
    }
    if (c->unacked_count == 0) {
        c->unacked_first = 0;
    }
}

/* What the peer has (`next`) frees items; what it allows (`limit`) lets more go.
 * Return: NULL, or why the peer is not to be believed. */
static const char *out_credit(struct link_out *o, const struct rec_LINK_CHANNEL *r, size_t count)
{
    bool drained = false;
    for (size_t k = 0; k < count; k++) {
        struct channel *c = channel_set_find(&o->channels, r[k].id);
        if (c == NULL) {
            continue; /* it was dropped here */
        }
        const char *problem = record_problem(o, c, &r[k]);
        if (problem != NULL) {
            log_event(LOG_ERROR, "link.record",
                      "to=%s channel=%" PRIu64 " next=%" PRIu64 " limit=%" PRIu64 " acked=%" PRIu64
                      " sent=%" PRIu64, o->name, c->id, r[k].next, r[k].limit, c->acked_items,
                      c->next_item);
            return problem;
        }
        if (r[k].next > c->acked_items) {
            o->retry_ms = RECONNECT_MS_MIN; /* L7 */
            forget_acked(c, r[k].next);
            drained = drained || c->unacked_count == 0;
        }
        if (!c->synced) {
            c->synced = true;
            c->resend_item = c->acked_items; /* L2 */
        }
        if (r[k].limit > c->credit_items) {
            c->credit_items = r[k].limit;
        }
        ready_add(&o->ready, c);
    }
    if (drained) {
        o->links->ops.on_drained(o->links->arg);
    }
    return NULL;
}

/* ---------------------------------------------------------------- sending */

/* The next item of the channel that may go on the wire now, or NULL. */
static const struct frame *next_frame(struct channel *c)
{
    if (!c->synced) {
        return NULL;
    }
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

/* The channels in turn, one item each, as long as the wire takes more.  A channel leaves the list
 * when it has nothing or no credit; what changes that calls it again. */
static void out_pump(void *arg)
{
    struct link_out *o = arg;
    atomic_store(&o->notified, false);
    if (o->wire == NULL) {
        return;
    }
    ready_collect(&o->ready);
    do {
        while (o->ready.first != NULL && wire_has_room(o->wire)) {
            struct channel *c = o->ready.first;
            const struct frame *f = next_frame(c);
            ready_remove(&o->ready, c);
            if (f != NULL) {
                wire_queue(o->wire, f);
                ready_add(&o->ready, c);
            }
        }
        wire_flush(o->wire); /* on_room comes only if the socket did not take all of it */
    } while (o->ready.first != NULL && wire_has_room(o->wire));
}

void link_out_notify(struct channel *c)
{
    struct link_out *o = c->out;
    if (ready_call(&o->ready, c) && !atomic_exchange(&o->notified, true)) {
        loop_post(o->links->loop, out_pump, o);
    }
}

/* ---------------------------------------------------------------- the linked socket */

static void out_wire_message(void *arg, struct msg *m)
{
    struct link_out *o = arg;
    if (m->kind == M_LINK_GO) {
        o->links->ops.on_go(o->links->arg, &m->LINK_GO);
    } else if (m->kind == M_LINK_STATE_ACK && o->links->ops.on_state_ack != NULL) {
        o->retry_ms = m->LINK_STATE_ACK.next > 0 ? RECONNECT_MS_MIN : o->retry_ms; /* L7 */
        o->links->ops.on_state_ack(o->links->arg, &m->LINK_STATE_ACK);
    } else if (m->kind == M_LINK_CREDIT) {
        const char *problem = out_credit(o, m->LINK_CREDIT.channels, m->LINK_CREDIT.channels_count);
        if (problem != NULL) {
            wire_close(o->wire, problem);
        } else {
            out_pump(o);
        }
    }
}

static void out_wire_item(void *arg, struct buf *block, size_t bytes)
{
    struct link_out *o = arg;
    (void)bytes;
    buf_unref(block);
    wire_close(o->wire, "the receiving side sent data");
}

static void out_retry(struct link_out *o)
{
    if (o->refused) {
        return;
    }
    timer_set(o->retry, o->retry_ms, false);
    o->retry_ms = o->retry_ms * 2 < RECONNECT_MS_MAX ? o->retry_ms * 2 : RECONNECT_MS_MAX;
}

/* Whoever sends on this link learns whether anybody takes it (C4 of worker/channel.h). */
static void out_tell(struct link_out *o, unsigned set, unsigned clear)
{
    size_t at = 0;
    for (struct channel *c; (c = channel_set_next(&o->channels, &at)) != NULL;) {
        channel_away(c, set, clear);
    }
}

static void out_wire_closed(void *arg, const char *why)
{
    struct link_out *o = arg;
    out_tell(o, AWAY_LINK, 0);
    log_event(LOG_WARN, "link.lost", "to=%s why=\"%s\"", o->name, why);
    wire_free(o->wire);
    o->wire = NULL;
    out_retry(o);
}

static const struct wire_ops out_wire_ops = {.on_item = out_wire_item,
                                             .on_message = out_wire_message,
                                             .on_room = out_pump,
                                             .on_closed = out_wire_closed};

/* ---------------------------------------------------------------- the handshake */

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

/* Until the peer has told what it has of a channel, nothing of that channel is sent (L2).  What the
 * WELCOME has no room for follows in LINK_CREDIT messages. */
static void out_unsync(struct link_out *o)
{
    size_t at = 0;
    for (struct channel *c; (c = channel_set_next(&o->channels, &at)) != NULL;) {
        c->synced = c->next_item == 0;
        ready_add(&o->ready, c);
    }
}

static void out_message(void *arg, struct conn *c, struct msg *m)
{
    struct link_out *o = arg;
    if (m->kind == M_REFUSED || m->kind != M_LINK_WELCOME ||
        m->LINK_WELCOME.incarnation != o->incarnation) {
        o->refused = m->kind == M_REFUSED || m->kind == M_LINK_WELCOME;
        conn_close(c, m->kind == M_REFUSED ? m->REFUSED.what : "not the expected peer");
        return;
    }
    out_unsync(o);
    const char *problem = out_credit(o, m->LINK_WELCOME.channels, m->LINK_WELCOME.channels_count);
    if (problem != NULL) {
        conn_close(c, problem);
        return;
    }
    void *rest = NULL;
    size_t rest_bytes = 0;
    int fd = conn_detach(c, &rest, &rest_bytes);
    if (fd >= 0) { /* else it is closed as usual */
        o->conn = NULL;
        timer_stop(o->retry);
        o->wire = wire_new(o->links->loop, o->links->pool, fd, rest, rest_bytes, &out_wire_ops, o);
        out_tell(o, 0, AWAY_LINK);
        o->links->ops.on_open(o->links->arg);
        log_event(LOG_INFO, "link.open", "to=%s incarnation=%" PRIx64, o->name, o->incarnation);
        out_pump(o);
    }
    mem_free(rest);
}

static void out_closed(void *arg, struct conn *c, const char *why)
{
    struct link_out *o = arg;
    if (o->conn == c) {
        log_event(o->refused ? LOG_WARN : LOG_INFO, "link.unreachable", "to=%s why=\"%s\"", o->name,
                  why);
        o->conn = NULL;
        timer_stop(o->retry);
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
        timer_set(o->retry, PEER_DEAD_MS, false);
    }
}
