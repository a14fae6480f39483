/* worker/link.h - peer links: one TCP connection per pair of workers and direction, many channels.
 *
 * Owns:       struct links, link_out (towards a peer: takes items off CHANNEL_OUT rings), link_in
 *             (from a peer: puts items on CHANNEL_IN rings).
 * Threads:    the loop's, except link_out_notify and link_in_notify (any).
 * Invariants: L1 credit is an absolute item number per channel (R24); both ends start with
 *                RING_BATCHES, because both are registered before anything is sent.
 *             L2 an item stays with the sender until the receiver says it has it; after a reconnect
 *                the sender resumes at the item the receiver expects.
 *             L3 the receiver drops items below the one it expects, and closes the link on a gap.
 *             L4 a link names both incarnations; another incarnation is another link, never a
 *                resumption (R25). */
#ifndef OXB_WORKER_LINK_H
#define OXB_WORKER_LINK_H

#include "net/conn.h"
#include "worker/channel.h"

struct links;
struct links_ops {
    void (*on_go)(void *arg, const struct msg_LINK_GO *go);  /* passed on by a peer (R6) */
    void (*on_open)(void *arg);    /* some link towards a peer is up */
    void (*on_drained)(void *arg); /* some CHANNEL_OUT has nothing left that the peer lacks */
    /* State on the move; each may be NULL.  on_peer: that peer's link to here is up (again). */
    void (*on_state)(void *arg, const struct msg_LINK_STATE *m);
    void (*on_state_ack)(void *arg, const struct msg_LINK_STATE_ACK *m);
    void (*on_peer)(void *arg);
};

struct links *links_new(struct loop *l, struct pool *pool, const struct address *listen,
                        const struct links_ops *ops, void *arg, struct fail *f);
void links_free(struct links *ls);
void links_identity(struct links *ls, const char *name, uint64_t incarnation);
uint16_t links_port(const struct links *ls);

/* links_out, links_in - the link to or from that process, made when it does not exist.
 * links_out: NULL, `f` set, when the address is malformed. */
struct link_out *links_out(struct links *ls, const char *name, uint64_t incarnation,
                           const char *address, struct fail *f);
bool link_out_is_open(const struct link_out *o);
const char *link_out_name(const struct link_out *o);
struct link_in *links_in(struct links *ls, const char *name, uint64_t incarnation);
/* link_out_hold - it stays though no channel uses it; link_out_release gives that up. */
void link_out_hold(struct link_out *o);
void link_out_release(struct link_out *o);
/* link_out_say - a message behind the frame being written, before all others.  false: not up. */
bool link_out_say(struct link_out *o, const struct msg *m);
/* links_answer - the same to who sends to us; name and incarnation as for links_in. */
bool links_answer(struct links *ls, const char *name, uint64_t incarnation, const struct msg *m);
void link_out_add(struct link_out *o, struct channel *c);
void link_in_add(struct link_in *i, struct channel *c);
/* link_remove - the channel's task is dead; nothing of it is sent or delivered any more. */
void link_remove(struct channel *c);
/* link_out_drained - the end or the close was sent, and the peer has everything. */
bool link_out_drained(const struct channel *c);

void link_out_notify(struct channel *c); /* an item was put on its ring */
void link_in_notify(struct channel *c);  /* room was made in its ring */
unsigned links_count(const struct links *ls); /* ends of links held at present */
void links_send_go(struct links *ls, const struct msg_LINK_GO *go); /* to every peer linked */

#endif
