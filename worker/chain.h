/* worker/chain.h - chains: a head and the instances fused behind it, one task of an executor.
 *
 * Owns:       struct chain and its members.
 * Threads:    made on the loop thread; from chain_go until on_dead everything here runs on the
 *             task's executor, but the calls that say so.
 * One turn:   arrivals, what spills, retired members, the start, what is kept, due cuts, late ends,
 *             commits, then the head's input or its source (chain_run).
 * Invariants: R1 only the head of a chain has rings to read; the others are called directly.
 *             R2 a chain takes no input while a channel of one of its members spills (C3).
 *             R5 after a failure nothing of the chain runs but its stop.
 *             R6 what an instance keeps (worker/hold.h) goes before anything its chain takes.
 * See:        worker/instance.h, worker/task.h. */
#ifndef OXB_WORKER_CHAIN_H
#define OXB_WORKER_CHAIN_H

#include "worker/instance.h"

struct chain {
    struct task task;
    struct instance **members; /* the head first, then in order of the calls */
    uint32_t member_count;
    struct executor *private_executor; /* or NULL */
    struct instance *head;             /* fixed: a chain lives as long as its head is in it */
    uint32_t next_input;               /* of the head: where the round goes on */
    uint32_t spilled;                  /* channels of members that spill or lag */
    uint64_t trimmed;                  /* logs are, up to this checkpoint: retain_turn */
    bool sweeps;                       /* and something of them is still to be freed */
    uint32_t empty_turns;              /* of a source, in a row */
    uint64_t open_since_us;            /* something unflushed is open since; 0: nothing */
    bool begun, failed;
    bool changed;        /* members or wiring changed during this turn: start afresh */
    _Atomic int missing; /* members announced and not yet arrived */
    _Atomic(struct instance *) arrivals; /* stack of instances that moved here */
    _Atomic bool go;                     /* decided: may start */
    _Atomic bool drain;                  /* the source is asked to end */
    _Atomic uint64_t inject;     /* epoch of a checkpoint marker to inject at a source; 0: none */
    _Atomic uint64_t commit;     /* complete checkpoint to be committed; 0: none */
    _Atomic uint64_t squeeze;    /* worker/squeeze.h; 0: not squeezed */
    _Atomic uint64_t void_below; /* checkpoint epochs below are void (PROTOCOL R17) */
    uint64_t squeeze_seen;       /* its own: of the latest turn */
    uint64_t voided;             /* its own: as far as its members know */
    bool dead;                   /* loop: on_dead has come */
    void (*on_change)(void *arg, struct chain *c); /* a state changed; any executor thread */
    void (*on_dead)(void *arg, struct chain *c);
    void *arg;
};

/* chain_new - members[0] is the head.  @home: first executor.  The chain owns its members. */
struct chain *chain_new(struct instance **members TAKES, uint32_t count, struct executor *home,
                        bool private_executor);
void chain_free(struct chain *c);  /* dead, or never begun */
void chain_go(struct chain *c);    /* start callbacks, then run; any thread */
void chain_drain(struct chain *c); /* sources: end as if the input had ended; any thread */
void chain_inject(struct chain *c, uint64_t epoch); /* sources: a checkpoint marker; any thread */
void chain_commit(struct chain *c, uint64_t epoch); /* it is complete: sinks commit; any thread */
void chain_void(struct chain *c, uint64_t epoch);   /* release alignments below it; any thread */
void chain_halt(struct chain *c);                   /* stop callbacks, then on_dead; any thread */

/* chain_arrive - give an instance that left its chain to `to`.  Thread: the one it left on. */
void chain_arrive(struct chain *to, struct instance *i);
/* chain_follow - as chain_arrive for one that was not announced: it goes before its caller. */
void chain_follow(struct chain *to, struct instance *i);
void chain_leave(struct chain *from, struct instance *i); /* from's own thread */

#endif
