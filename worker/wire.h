/* worker/wire.h - the framed socket of a peer link: batches read straight into pool blocks, written
 * straight from their columns.
 *
 * Owns:       struct wire: the descriptor, what is being read, the queue of frames being written.
 * Threads:    the loop's.
 * Invariants: W1 frames leave in the order queued; control messages go between two frames.
 *             W2 a body larger than its kind allows closes the wire before anything is allocated, and
 *                what is allocated for one that is allowed follows the bytes that have come.
 *             W3 on_closed is the last callback and comes from the loop, never from inside a
 *                call of this module; wire_free may be called in any callback.
 * Why:        not net/conn.h, because its buffers would copy every byte twice more. */
#ifndef OXB_WORKER_WIRE_H
#define OXB_WORKER_WIRE_H

#include "net/conn.h"
#include "worker/frame.h"

struct wire;
struct wire_ops {
    /* @block: TAKES; the body is data[0 .. bytes): an item head and what follows. */
    void (*on_item)(void *arg, struct buf *block, size_t bytes);
    void (*on_message)(void *arg, struct msg *m); /* borrowed */
    void (*on_room)(void *arg);                   /* the queue went below its mark */
    void (*on_closed)(void *arg, const char *why);
};

/* wire_new - takes over a connected non-blocking socket and bytes already read from it. */
struct wire *wire_new(struct loop *l, struct pool *pool, int fd, const void *rest,
                      size_t rest_bytes, const struct wire_ops *ops, void *arg);
void wire_free(struct wire *w); /* accepts NULL; closes the socket; no further callback */
void wire_send(struct wire *w, const struct msg *m);
bool wire_has_room(const struct wire *w);
/* wire_queue - borrowed until it was written or the wire is closed or freed.
 * Requires: wire_has_room. */
void wire_queue(struct wire *w, const struct frame *f);
bool wire_holds(const struct wire *w, const struct frame *f); /* queued, not yet written */
/* wire_flush - write now what is queued; call once after a round of wire_queue. */
void wire_flush(struct wire *w);
void wire_close(struct wire *w, const char *why); /* on_closed follows */

#endif
