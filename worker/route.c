/* worker/route.c - routing of whole batches. */
#include "worker/route.h"

#include "core/mem.h"

#include <string.h>

enum { TINY_ROWS = 16 }; /* below this many rows per destination, copying beats a view each */

static void send_whole(struct channel *c, struct batch *batch)
{
    bool remote = c->kind == CHANNEL_OUT;
    if (!remote) {
        channel_flush(c);
        channel_send(c, batch);
        return;
    }
    bool dense = batch->pub.sel == NULL;
    if (dense && batch->pub.rows >= BATCH_ROWS_MAX / 4 && !channel_has_open(c)) {
        channel_send(c, batch);
        return;
    }
    uint16_t all[BATCH_ROWS_MAX];
    const uint16_t *sel = batch->pub.sel;
    if (sel == NULL) {
        for (uint32_t k = 0; k < batch->pub.live; k++) {
            all[k] = (uint16_t)k;
        }
        sel = all;
    }
    channel_gather(c, batch, sel, batch->pub.live);
    batch_free(batch);
}

static struct channel *next_with_room(struct out_stream *s)
{
    for (uint32_t tries = 0; tries < s->channel_count; tries++) {
        struct channel *c = s->channels[(s->turn + tries) % s->channel_count];
        if (!channel_has_spill(c) && ring_used(&c->ring) < atomic_load(&c->room)) {
            s->turn = (s->turn + tries + 1) % s->channel_count;
            return c;
        }
    }
    struct channel *c = s->channels[s->turn];
    s->turn = (s->turn + 1) % s->channel_count;
    return c;
}

/* Counting sort of the live rows by destination: order[start[d] .. start[d+1]) are d's rows. */
static void sort_by_destination(const struct out_stream *s, const struct oxb_batch *b,
                                uint16_t *order, uint32_t *start)
{
    uint64_t hashes[BATCH_ROWS_MAX];
    uint16_t dest[BATCH_ROWS_MAX];
    batch_hash_keys(b, s->keys, s->key_count, hashes);
    memset(start, 0, (s->channel_count + 1) * sizeof *start);
    for (uint32_t k = 0; k < b->live; k++) {
        dest[k] = s->owners[key_group(hashes[k])];
        start[dest[k] + 1]++;
    }
    for (uint32_t d = 0; d < s->channel_count; d++) {
        start[d + 1] += start[d];
    }
    uint32_t at[PARALLELISM_MAX];
    memcpy(at, start, s->channel_count * sizeof *at);
    if (b->sel == NULL) {
        for (uint32_t k = 0; k < b->live; k++) {
            order[at[dest[k]]++] = (uint16_t)k;
        }
    } else {
        for (uint32_t k = 0; k < b->live; k++) {
            order[at[dest[k]]++] = b->sel[k];
        }
    }
}

static void send_keyed(struct out_stream *s, struct batch *batch)
{
    uint16_t order[BATCH_ROWS_MAX];
    uint32_t start[PARALLELISM_MAX + 1];
    if (s->channel_count == 1) {
        send_whole(s->channels[0], batch);
        return;
    }
    sort_by_destination(s, &batch->pub, order, start);
    bool tiny = batch->pub.live < TINY_ROWS * s->channel_count;
    for (uint32_t d = 0; d < s->channel_count; d++) {
        uint32_t n = start[d + 1] - start[d];
        struct channel *c = s->channels[d];
        if (n == 0) {
            continue;
        }
        if (c->kind == CHANNEL_OUT || (tiny && c->has_builder)) {
            channel_gather(c, batch, order + start[d], n);
        } else {
            channel_flush(c);
            channel_send(c, batch_select(batch, order + start[d], n));
        }
    }
    batch_free(batch);
}

static void send_all(struct out_stream *s, struct batch *batch)
{
    for (uint32_t d = 0; d + 1 < s->channel_count; d++) {
        send_whole(s->channels[d], batch_share(batch));
    }
    send_whole(s->channels[s->channel_count - 1], batch);
}

static void stream_emit(struct out_stream *s, struct batch *batch)
{
    if (s->channel_count == 0) { /* nobody reads it: dropped, as from a port without streams */
        batch_free(batch);
        return;
    }
    switch (s->kind) {
    case ROUTE_ONE:
        send_whole(s->channels[0], batch);
        break;
    case ROUTE_ROUND_ROBIN:
        send_whole(next_with_room(s), batch);
        break;
    case ROUTE_KEYED:
        send_keyed(s, batch);
        break;
    case ROUTE_ALL:
        send_all(s, batch);
        break;
    }
}

void route_emit(struct out_port *port, struct batch *batch)
{
    if (port->stream_count == 0) {
        batch_free(batch);
        return;
    }
    for (uint32_t i = 0; i + 1 < port->stream_count; i++) {
        stream_emit(&port->streams[i], batch_share(batch));
    }
    stream_emit(&port->streams[port->stream_count - 1], batch);
}

/* ---------------------------------------------------------------- all channels of a port */

void route_flush(struct out_port *port)
{
    for (uint32_t i = 0; i < port->stream_count; i++) {
        for (uint32_t d = 0; d < port->streams[i].channel_count; d++) {
            channel_flush(port->streams[i].channels[d]);
        }
    }
}

bool route_has_open(const struct out_port *port)
{
    for (uint32_t i = 0; i < port->stream_count; i++) {
        for (uint32_t d = 0; d < port->streams[i].channel_count; d++) {
            if (channel_has_open(port->streams[i].channels[d])) {
                return true;
            }
        }
    }
    return false;
}

void route_mark(struct out_port *port, enum item_kind kind, uint64_t epoch)
{
    for (uint32_t i = 0; i < port->stream_count; i++) {
        for (uint32_t d = 0; d < port->streams[i].channel_count; d++) {
            channel_mark(port->streams[i].channels[d], kind, epoch);
        }
    }
}

bool route_drain(struct out_port *port)
{
    bool empty = true;
    for (uint32_t i = 0; i < port->stream_count; i++) {
        for (uint32_t d = 0; d < port->streams[i].channel_count; d++) {
            struct channel *c = port->streams[i].channels[d];
            empty = (!channel_has_spill(c) || channel_drain(c)) && empty;
        }
    }
    return empty;
}

uint32_t route_spills(const struct out_port *port)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < port->stream_count; i++) {
        for (uint32_t d = 0; d < port->streams[i].channel_count; d++) {
            n += channel_has_spill(port->streams[i].channels[d]) ? 1 : 0;
        }
    }
    return n;
}

void route_fini(struct out_port *port)
{
    for (uint32_t i = 0; i < port->stream_count; i++) {
        mem_free(port->streams[i].channels);
    }
    mem_free(port->streams);
}
