/* worker/cut.h - the instant, per instance, at which the new configuration takes over.
 *
 * Owns:       struct cut: everything an instance needs to change over, prepared beforehand; after
 *             the cut it holds what the instance had before, until the loop frees it.
 * Threads:    prepared on the loop; carried out on the instance's executor, between two items.
 * When:       a head cuts when GO has come; every other member when each of its old inputs from
 *             inside the covering set has delivered the marker or its close (PROTOCOL R8).
 * What (R7):  flush; marker or close on every output from this set, with the count sent; hand the
 *             state over; swap code and wiring; unblock; the end on new outputs if it has ended.
 * Invariants: Y1 nothing the old configuration emitted leaves after anything of the new one.
 *             Y2 a cut waits only for channels of the old graph and for GO (I4).
 *             Y3 a cut happens once; a chain that gains members runs when all have arrived. */
#ifndef OXB_WORKER_CUT_H
#define OXB_WORKER_CUT_H

#include "worker/chain.h"

struct cut {
    uint64_t epoch;
    _Atomic bool go;             /* heads: may cut now */
    bool head;
    bool retire;                 /* an old instance: it is gone after the cut */
    bool will;                   /* what the old code has not committed is kept: keeper_leave */
    bool will_stored;            /* loop: that is durable */
    bool *awaited;               /* [inputs of V]: from inside the set */
    struct channel **marks;      /* stay, carry the marker */
    uint32_t mark_count;
    struct channel **closes;     /* old outputs */
    uint32_t close_count;
    struct channel **opens;      /* new outputs */
    uint32_t open_count;
    /* of V'; swapped with the instance's own */
    struct input *inputs;
    uint32_t input_count;
    struct out_port *ports;
    uint32_t port_count;
    struct oxb_pe *pe;           /* replacement, prepared; NULL: the code stays */
    bool anew;                   /* the replacement begins without the state there was */
    bool sink;                   /* the replacement has no outputs */
    uint64_t policy;             /* what becomes of a batch on which the replacement fails */
    struct chain *chain;         /* it runs in from now on */
    uint32_t order;              /* its place in that chain */
    struct move *takes;          /* what it waits for afterwards: worker/moves.h */
    uint32_t arrivals;           /* members that come to `chain` from elsewhere: told by its head */
    /* measured at the cut */
    uint64_t cut_us;             /* monotonic */
    uint32_t *pauses_us;         /* [pause_count]: per affected input */
    uint32_t pause_count;
    struct fail fail;            /* the replacement did not start */
};

void cut_free(struct cut *k); /* accepts NULL */
/* cut_install - loop: from now on markers of the epoch are understood. */
void cut_install(struct instance *i, struct cut *k);
/* cut_due - own thread: is this head to cut now? */
bool cut_due(const struct instance *i);
/* cut_drain - move on what spilled on the outputs closed at the cut; true: nothing is left.
 * cut_spills - on how many of them something still waits. */
bool cut_drain(struct instance *i);
uint32_t cut_spills(const struct instance *i);
/* cut_now - own thread, between two items. */
void cut_now(struct instance *i);

#endif
