/* worker/route.h - from an output port to channels: forward, round-robin, keyed, broadcast.
 *
 * Owns:       struct out_stream (one stream leaving a port of one instance), struct out_port.
 * Threads:    the instance's.
 * Invariants: O1 every live tuple goes to exactly one channel of a stream, or to all (broadcast).
 *             O2 the tuples of one key go to one channel, in order; per channel, order of emission.
 *             O3 whole batches are routed: one hash pass, one counting sort, one selection per
 *                destination; rows are copied only for a peer, or where selections are tiny. */
#ifndef OXB_WORKER_ROUTE_H
#define OXB_WORKER_ROUTE_H

#include "core/limits.h"
#include "worker/channel.h"

enum route_kind { ROUTE_ONE, ROUTE_ROUND_ROBIN, ROUTE_KEYED, ROUTE_ALL };

struct out_stream {
    enum route_kind kind;
    uint32_t channel_count;
    struct channel **channels;      /* keyed: in order of the consumer's instance index */
    uint32_t turn;                  /* round-robin */
    unsigned key_count;
    unsigned keys[KEY_FIELDS_MAX];
    uint16_t owners[KEY_GROUPS];    /* keyed: key group -> index into channels */
};

struct out_port {
    struct out_stream *streams;
    uint32_t stream_count;
};

/* route_emit - @batch: TAKES; live > 0. */
void route_emit(struct out_port *port, struct batch *batch TAKES);
void route_flush(struct out_port *port);
bool route_has_open(const struct out_port *port);
void route_mark(struct out_port *port, enum item_kind kind, uint64_t epoch);
bool route_drain(struct out_port *port); /* true: nothing spilled */
uint32_t route_spills(const struct out_port *port); /* channels that spill */
void route_fini(struct out_port *port);  /* frees the arrays, not the channels */

#endif
