/* worker/frame.h - one item of a channel in its form on a peer link.
 *
 * A link carries, after the handshake, frames with the control head of net/conn.h (u32 body bytes,
 * u16 kind, u8 version, u8 magic); kind FRAME_ITEM is an item of a channel, other kinds are control
 * messages (credit, heartbeat, go).  An item's body is struct item_head and, for a batch, the wire
 * form of pe/batch.h.  All integers little-endian.
 *
 * Owns:       struct frame: the head, the batch it points into, and the list of pieces to write.
 * Threads:    made by the sending instance's thread, then owned by the loop thread; what a channel
 *             retains refers to it too, so whoever lets go last frees it.  Only read once made.
 * Invariants: F1 body bytes <= BATCH_BYTES_MAX, checked before anything is allocated for them.
 *             F2 `check` is the XXH3-64 of everything after it in the body. */
#ifndef OXB_WORKER_FRAME_H
#define OXB_WORKER_FRAME_H

#include "worker/ring.h"

#include <assert.h>
#include <sys/uio.h>

#define FRAME_ITEM 0x100u
#define FRAME_MAGIC 0x4Fu
#define FRAME_VERSION 1u

struct frame_head { /* of every frame */
    uint32_t body_bytes;
    uint16_t kind;
    uint8_t version;
    uint8_t magic;
};
static_assert(sizeof(struct frame_head) == 8, "wire format");

struct item_head {
    uint64_t check;   /* F2 */
    uint64_t channel; /* id */
    uint64_t number;  /* of the item in its channel, from 0 */
    uint64_t first;   /* tuple number, or tuples sent so far (markers, end, close) */
    uint64_t epoch;
    uint32_t count;   /* live tuples */
    uint32_t item;    /* enum item_kind */
};
static_assert(sizeof(struct item_head) == 48, "wire format");

struct frame {
    struct frame_head head;
    struct item_head item;
    size_t bytes;         /* on the wire, head included */
    struct batch *batch;  /* owned; NULL for markers */
    uint8_t *wire_head;   /* owned; head of the batch's wire form */
    int piece_count;
    struct iovec *pieces; /* owned; piece 0 is head + item */
    _Atomic unsigned refs;
};

/* frame_new - @it: a batch in it is taken over.  Requires: the batch is dense. */
struct frame *frame_new(uint64_t channel_id, uint64_t number, const struct item *it);
void frame_ref(struct frame *f);
void frame_free(struct frame *f); /* accepts NULL; the last reference frees the batch too */

/* frame_check_item - is this the head of a well-formed item whose body has `bytes` bytes, and does
 * the check sum hold?  @body: item head and what follows. */
MUST_CHECK enum err frame_check_item(const uint8_t *body, size_t bytes, struct item_head *out);

#endif
