/* worker/link_in.c - the receiving end of a peer link: checking, delivering, telling credit.
 *
 * Owns:       struct link_in.
 * Threads:    the loop's, except link_in_notify.
 * Invariants: L1-L4 of worker/link.h, L5 of worker/link_own.h.
 *             L8 whatever arrives is checked before it reaches a ring; what cannot be true closes
 *                the connection, and the sender resumes at the item expected here. */
#include "core/log.h"
#include "core/mem.h"
#include "worker/instance.h"
#include "worker/link_own.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void in_tell_credit(void *arg);

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

void in_free(struct link_in *i)
{
    struct link_in **at = &i->links->ins;
    while (*at != i) {
        at = &(*at)->next;
    }
    *at = i->next;
    wire_free(i->wire);
    channel_set_fini(&i->channels);
    mem_free(i);
}

void link_in_add(struct link_in *i, struct channel *c)
{
    c->in = i;
    channel_set_add(&i->channels, c);
}

static void in_reap(void *arg)
{
    struct link_in *i = arg;
    if (--i->reaps == 0 && i->channels.count == 0 && i->wire == NULL) {
        in_free(i);
    }
}

static void in_reap_soon(struct link_in *i)
{
    if (i->channels.count == 0 && i->wire == NULL) {
        i->reaps++;
        loop_post(i->links->loop, in_reap, i);
    }
}

void in_remove(struct link_in *i, struct channel *c)
{
    ready_collect(&i->ready);
    ready_remove(&i->ready, c);
    channel_set_remove(&i->channels, c);
    in_reap_soon(i);
}

/* ---------------------------------------------------------------- telling */

/* credit_due - never less than was told: a squeezed channel gives no new credit until it is empty
 * enough. */
static uint64_t credit_due(struct channel *c)
{
    uint64_t told = atomic_load(&c->credit_told);
    uint64_t limit = atomic_load(&c->consumed_items) + atomic_load(&c->room);
    return limit > told ? limit : told;
}

/* What the peer is to know of the channel: what came, and what may come. */
static struct rec_LINK_CHANNEL in_record(struct channel *c)
{
    uint64_t limit = credit_due(c);
    atomic_store(&c->credit_told, limit);
    return (struct rec_LINK_CHANNEL){.id = c->id, .next = c->expected_item, .limit = limit};
}

static void in_send_records(struct link_in *i, struct rec_LINK_CHANNEL *records, size_t *count)
{
    if (*count > 0) {
        struct msg m = {.kind = M_LINK_CREDIT};
        m.LINK_CREDIT.channels = records;
        m.LINK_CREDIT.channels_count = *count;
        wire_send(i->wire, &m);
        *count = 0;
    }
}

static void in_tell_credit(void *arg)
{
    struct link_in *i = arg;
    struct rec_LINK_CHANNEL records[RECORDS_MAX];
    size_t count = 0;
    atomic_store(&i->notified, false);
    ready_collect(&i->ready);
    while (i->ready.first != NULL) {
        struct channel *c = i->ready.first;
        ready_remove(&i->ready, c);
        if (i->wire == NULL || credit_due(c) == atomic_load(&c->credit_told)) {
            continue; /* the next handshake tells all; or it has been told */
        }
        records[count++] = in_record(c);
        if (count == RECORDS_MAX) {
            in_send_records(i, records, &count);
        }
    }
    in_send_records(i, records, &count);
}

void link_in_notify(struct channel *c)
{
    struct link_in *i = c->in;
    if (ready_call(&i->ready, c) && !atomic_exchange(&i->notified, true)) {
        loop_post(i->links->loop, in_tell_credit, i);
    }
}

/* ---------------------------------------------------------------- items */

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

/* The item is the next of its channel.  Return: NULL, or why the link must be closed. */
static const char *in_deliver(struct link_in *i, struct channel *c, const struct item_head *head,
                              struct buf *block, size_t bytes)
{
    struct item it;
    if (c->end_came && head->item == ITEM_BATCH) {
        buf_unref(block);
        return "a batch after the end of its channel";
    }
    if (in_decode(c, head, block, bytes, &it) != ERR_OK) {
        return "a batch that is malformed or of another schema";
    }
    channel_note_first(c, &it);
    if (!ring_push(&c->ring, &it, RING_BATCHES)) {
        batch_free(it.batch);
        return "more items than the credit allows";
    }
    c->expected_item++;
    c->end_came = c->end_came || it.kind == ITEM_END;
    instance_notify(c->to);
    if (it.kind != ITEM_BATCH) { /* the sender waits for the answer to call itself drained */
        struct rec_LINK_CHANNEL record = in_record(c);
        size_t one = 1;
        in_send_records(i, &record, &one);
    }
    return NULL;
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
    struct channel *c = channel_set_find(&i->channels, head.channel);
    if (c == NULL || head.number < c->expected_item) {
        buf_unref(block); /* of a channel that was dropped here, or resent after a reconnect */
        return;
    }
    if (head.number > c->expected_item) {
        buf_unref(block);
        log_event(LOG_ERROR, "link.gap", "from=%s channel=%" PRIu64 " expected=%" PRIu64
                  " got=%" PRIu64, i->name, c->id, c->expected_item, head.number);
        wire_close(i->wire, "items are missing on a channel");
        return;
    }
    const char *problem = in_deliver(i, c, &head, block, bytes);
    if (problem != NULL) {
        wire_close(i->wire, problem);
    }
}

/* ---------------------------------------------------------------- the linked socket */

static void in_wire_message(void *arg, struct msg *m)
{
    struct link_in *i = arg;
    if (m->kind == M_LINK_GO) {
        i->links->ops.on_go(i->links->arg, &m->LINK_GO);
    } else if (m->kind == M_LINK_STATE && i->links->ops.on_state != NULL) {
        i->links->ops.on_state(i->links->arg, &m->LINK_STATE);
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
    in_reap_soon(i);
}

static const struct wire_ops in_wire_ops = {.on_item = in_wire_item,
                                            .on_message = in_wire_message,
                                            .on_room = in_wire_room,
                                            .on_closed = in_wire_closed};

/* Where each channel stands: the first ones in the WELCOME, the rest behind it. */
void in_accept(struct links *ls, struct conn *c, const struct msg_LINK_HELLO *hello)
{
    struct link_in *i = links_in(ls, hello->name, hello->incarnation);
    struct rec_LINK_CHANNEL records[RECORDS_MAX];
    size_t at = 0, count = 0;
    struct msg welcome = {.kind = M_LINK_WELCOME};
    struct channel *ch;
    while (count < RECORDS_MAX && (ch = channel_set_next(&i->channels, &at)) != NULL) {
        records[count++] = in_record(ch);
    }
    welcome.LINK_WELCOME.incarnation = ls->incarnation;
    welcome.LINK_WELCOME.channels = records;
    welcome.LINK_WELCOME.channels_count = count;
    conn_accepted(c);
    conn_send(c, &welcome);
    void *rest = NULL;
    size_t rest_bytes = 0;
    int fd = conn_detach(c, &rest, &rest_bytes);
    if (fd >= 0) {
        wire_free(i->wire); /* the peer has given the older connection up */
        i->wire = wire_new(ls->loop, ls->pool, fd, rest, rest_bytes, &in_wire_ops, i);
        log_event(LOG_INFO, "link.accepted", "from=%s incarnation=%" PRIx64, i->name,
                  i->incarnation);
        for (count = 0; (ch = channel_set_next(&i->channels, &at)) != NULL;) {
            records[count++] = in_record(ch);
            if (count == RECORDS_MAX) {
                in_send_records(i, records, &count);
            }
        }
        in_send_records(i, records, &count);
        if (ls->ops.on_peer != NULL) {
            ls->ops.on_peer(ls->arg);
        }
    }
    mem_free(rest);
    in_reap_soon(i);
}
