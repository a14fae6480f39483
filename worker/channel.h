/* worker/channel.h - one physical FIFO from one instance to one instance, and its ledger.
 *
 * Owns:       struct channel: ring, spill, open batch, counters of both ends.
 * Threads:    the sender half belongs to the sending instance's thread, the receiver half to the
 *             receiving instance's; on a channel to or from a peer the loop thread takes the other
 *             half (worker/link.h).  Counters are relaxed atomics that anyone may read.
 * Kinds:      FUSED  a direct call within one task; counted like any other.
 *             LOCAL  a ring between two tasks of this worker.
 *             OUT    the sender half; link_out takes items off the ring.
 *             IN     the receiver half; link_in puts items on the ring.
 * Invariants: C1 every batch carries the number of its first tuple; numbers are 0,1,2,... without
 *                gap per channel (I1).
 *             C2 at every marker, end and close the sender's count is compared with what was
 *                received; a difference is counted and logged, never mended silently.
 *             C3 what does not fit into the ring waits in the spill in order, and while any channel
 *                of a task spills the task takes no input: memory is bounded by one callback's
 *                output.
 *             C4 a channel with a log whose consumer is *away* lags instead: what is sent goes to
 *                the log alone, unnumbered, and only a full budget stops the task.  It is numbered
 *                when it leaves, in order, once somebody is there; a marker does not overtake it.
 * See:        worker/ring.h, worker/retain.h, docs/PROTOCOL.md. */
#ifndef OXB_WORKER_CHANNEL_H
#define OXB_WORKER_CHANNEL_H

#include "worker/ring.h"

struct instance;
struct link_out;
struct link_in;
struct retained;

enum channel_away {                /* bits: why nobody takes what is sent */
                    AWAY_LINK = 1, /* the peer is not connected; it may come back */
                    AWAY_GONE =
                        2, /* the consumer will not come back: another channel takes over the log */
};

enum channel_kind { CHANNEL_FUSED, CHANNEL_LOCAL, CHANNEL_OUT, CHANNEL_IN };

struct ledger {
    _Atomic uint64_t sent;         /* tuples numbered by the sender */
    _Atomic uint64_t received;     /* number the receiver expects next */
    _Atomic uint64_t gaps;         /* tuples that never came */
    _Atomic uint64_t repeats;      /* tuples that came again (and were dropped) */
    _Atomic uint64_t reordered;    /* tuples that came after later ones (and were dropped) */
    _Atomic uint64_t compared;     /* comparisons made */
    _Atomic uint64_t mismatched;   /* of these, counts that differed */
    _Atomic uint64_t switch_epoch; /* of the last switch marker that was compared; 0: none */
    _Atomic bool ended;            /* the end was received */
    _Atomic bool end_sent;         /* it is in the ring: nothing of the data is spilled */
    _Atomic bool close_sent;
    _Atomic bool closed;        /* the close was received: nothing follows */
    uint64_t gap_low, gap_high; /* latest gap: what tells a late tuple from a repeat */
};

struct channel {
    /* fixed while it exists */
    uint64_t id;
    enum channel_kind kind;
    const struct oxb_schema *schema;
    char *stream;               /* its name, for people; NULL: none */
    struct instance *from, *to; /* NULL at a peer */
    uint32_t to_input;          /* index into to's inputs */
    uint32_t to_index;          /* which instance of the stream's consumer it leads to */
    struct link_out *out;       /* CHANNEL_OUT */
    struct link_in *in;         /* CHANNEL_IN; loop thread */
    /* sender */
    bool has_builder;
    struct builder builder; /* rows gathered for this channel, not yet sent */
    uint64_t sent_items;    /* items numbered for the wire, CHANNEL_OUT */
    struct item *spill;     /* FIFO of what the ring had no room for */
    size_t spill_first, spill_count, spill_capacity;
    _Atomic(struct retained *) log; /* worker/retain.h; NULL: nothing is retained */
    bool spill_kept;                /* all that is spilled is in the log */
    bool lags;                      /* C4 */
    bool ended; /* its sender has ended: nothing but markers follows */
    _Atomic unsigned away;          /* bits of enum channel_away; set by the loop */
    _Atomic bool producer_waits;    /* tell the sender when half the ring is free */
    /* both */
    _Atomic uint64_t first_us;  /* monotonic, when its first batch was put in it; 0: none was */
    _Atomic uint32_t room;      /* batches that may wait in it, 1..RING_BATCHES */
    _Atomic bool squeeze_waits; /* tell the loop when it is squeezed: channel_is_squeezed */
    _Atomic uint64_t small_from; /* sender: slices of batches follow this number - 1; 0: not yet */
    struct ledger ledger;
    struct ring ring;
    /* loop thread, CHANNEL_OUT */
    bool synced;           /* the peer has said what it has, since the link is up */
    uint64_t next_item;    /* number of the next item put on the wire */
    uint64_t acked_items;  /* the peer has them */
    uint64_t credit_items; /* absolute limit: numbers below may be sent (R24) */
    struct item *unacked;  /* FIFO of sent items, oldest = acked_items */
    size_t unacked_first, unacked_count, unacked_capacity;
    uint64_t resend_item; /* after a reconnect: next unacked item to send again */
    /* loop thread, CHANNEL_IN */
    uint64_t expected_item;          /* number of the next item the peer must send */
    _Atomic uint64_t consumed_items; /* taken off the ring by the instance */
    _Atomic uint64_t credit_told;    /* last limit told to the peer */
    bool end_came;                   /* an END came over the link: no batch may follow */
    bool leaves; /* loop: the change that is under way removes it */
    /* see worker/ready.h */
    _Atomic bool called; /* on the link's stack: somebody has work for the link here */
    struct channel *called_next;
    bool waiting; /* in the link's list */
    struct channel *waiting_prev, *waiting_next;
};

struct channel *channel_new(uint64_t id, enum channel_kind kind, const struct oxb_schema *schema,
                            struct pool *pool);
void channel_free(struct channel *c); /* accepts NULL; frees what is still in it */

static inline const char *channel_stream(const struct channel *c)
{
    return c->stream != NULL ? c->stream : "";
}

/* channel_log - what it retains, or NULL. */
static inline struct retained *channel_log(const struct channel *c)
{
    return atomic_load_explicit(&c->log, memory_order_acquire);
}

/* ---- sender ---- */
/* channel_send - number a batch and hand it over.  @batch: TAKES; live > 0. */
void channel_send(struct channel *c, struct batch *batch TAKES);
/* channel_gather - copy rows into the channel's open batch; full ones are sent. */
void channel_gather(struct channel *c, const struct batch *batch, const uint16_t *sel, uint32_t n);
void channel_flush(struct channel *c); /* send the open batch */
bool channel_has_open(const struct channel *c);
/* channel_mark - put a marker, end or close behind everything sent so far. */
void channel_mark(struct channel *c, enum item_kind kind, uint64_t epoch);
/* channel_drain - spill or log -> ring.  Return: nothing is in the way of more output. */
bool channel_drain(struct channel *c);
static inline bool channel_has_spill(const struct channel *c) /* or lags */
{
    return c->spill_count > 0 || c->lags;
}
/* channel_succeed - `to`, new and of the same sender, takes the place of `from`, whose consumer is
 * gone: what was sent since the marker of `epoch` is sent again, then what follows.
 * Requires: retain_reaches(from->log, epoch).  Return: how many tuples come again. */
uint64_t channel_succeed(struct channel *to, struct channel *from, uint64_t epoch);

/* ---- receiver ---- */
/* channel_note_first - before an item is put in the receiver's ring, by whoever puts it there. */
void channel_note_first(struct channel *c, const struct item *it);
enum take { TAKE_OK, TAKE_REPEAT };
/* channel_account - book an item that was received.  TAKE_REPEAT: drop it. */
enum take channel_account(struct channel *c, const struct item *it);
/* channel_taken - an item was removed from the ring: give room back to the sender. */
void channel_taken(struct channel *c);

/* ---- loop ---- */
/* channel_away - set or clear bits, and let the sender look. */
void channel_away(struct channel *c, unsigned set, unsigned clear);
/* channel_squeeze - from now on at most `batches` wait in it (H21: what waits inside a covering set
 * makes its cut wait); RING_BATCHES: as usual again.  What is in it already stays, credit that was
 * given is not taken back. */
void channel_squeeze(struct channel *c, uint32_t batches);
/* channel_is_squeezed - is there no more in it than may be, all of it sent since the sender knows?
 * If not, the instance that takes from it (or sends to a peer) tells the loop once it is:
 * instance_tell. */
bool channel_is_squeezed(struct channel *c);
/* channel_note_squeezed - sender: what is sent from now on is in slices, if it is squeezed.
 * channel_look_squeezed - receiver: after an item was processed.
 * channel_is_in_the_way - sender: does as much wait in it as may, so that its squeezed chain must
 * wait?  Then it is notified when that is less. */
void channel_note_squeezed(struct channel *c);
void channel_look_squeezed(struct channel *c);
bool channel_is_in_the_way(struct channel *c);

#endif
