/* worker/align.h - marker alignment of one instance: when may it act on a marker, what must wait.
 *
 * Owns:       struct align, the set of inputs that have delivered the current marker.
 * Runs on:    the instance's thread; pure: no clock, no socket, no allocation after init.
 * Invariants: A1 at most one epoch is aligning at a time (PROTOCOL R17, I5).
 *             A2 an input is blocked exactly from its marker until the alignment completes or is
 *                released (R9).
 *             A3 completion happens once per epoch, when every input that takes part has delivered.
 *             A4 a switch marker of epoch e releases an alignment on a checkpoint epoch < e, and
 *                later markers of epochs < e are dropped (R17).
 *             A7 the marker of a newer checkpoint releases an alignment on an older one, and the
 *                older one's that come after it are dropped: the master injects a newer one only
 *                after it has given the older one up, but a worker it could not reach may never
 *                have heard of the older one, and so be ahead of those that have.
 *             A6 a switch waits for the inputs from inside the covering set only; the close of one
 *                counts as its marker (R8).
 *             A5 an ended input still delivers markers: the end is data, not closing (R12). */
#ifndef OXB_WORKER_ALIGN_H
#define OXB_WORKER_ALIGN_H

#include "worker/ring.h"

struct align {
    uint32_t input_count;
    uint32_t arrived_count;
    bool *arrived;          /* [input_count] */
    uint64_t epoch;         /* aligning on, if active */
    enum item_kind kind;
    bool active;
    uint64_t epoch_floor;   /* markers below are void */
    bool *in_set;           /* [input_count]: delivers the switch marker */
    uint32_t in_set_count;
};

enum align_action {
    ALIGN_WAIT,     /* block this input, go on with the others */
    ALIGN_COMPLETE, /* every input has it: act, pass the marker on, unblock all */
    ALIGN_DROP,     /* void: ignore it */
    ALIGN_CONFLICT, /* a second live epoch: a protocol error */
};

void align_init(struct align *a, uint32_t input_count);
void align_fini(struct align *a); /* accepts a zeroed struct */
/* align_marker - input `input` delivered a marker.  After ALIGN_COMPLETE the alignment is over. */
enum align_action align_marker(struct align *a, uint32_t input, enum item_kind kind,
                               uint64_t epoch);
/* align_switch - as align_marker for a switch marker, or the close that stands for one.
 * @in_set: [input_count], which inputs deliver it; NULL: all.  What it finds aligning on an older
 * checkpoint it releases (A4), so that is no reason not to look at the set. */
enum align_action align_switch(struct align *a, uint32_t input, uint64_t epoch,
                               const bool *in_set);
/* align_void - checkpoint epochs below `epoch` are void.  Return: did that release inputs? */
bool align_void(struct align *a, uint64_t epoch);
static inline bool align_blocks(const struct align *a, uint32_t input)
{
    return a->active && a->arrived[input];
}
/* align_switches - is it blocked by a change?  A checkpoint's wait is not the change's pause. */
static inline bool align_switches(const struct align *a, uint32_t input)
{
    return align_blocks(a, input) && a->kind == ITEM_MARKER_SWITCH;
}

#endif
