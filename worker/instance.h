/* worker/instance.h - one instance: its PE, what comes in, what goes out, its markers and its end.
 *
 * Owns:       struct instance (PE, inputs, output routing, alignment, statistics).
 * Threads:    made on the loop thread and its helpers; from chain_go until the chain is dead
 *             everything here runs on the executor of its chain (worker/chain.h), but what says
 *             otherwise, and the counters.
 * Invariants: R3 per channel, what was emitted before a marker or the end leaves before it.
 *             R4 finish runs once, when every input has ended (or the source has), and the end is
 *                passed on once; an ended instance still passes markers (PROTOCOL R12).
 *             (R1, R2, R5, R6: worker/chain.h.)
 * See:        worker/chain.h, worker/channel.h, worker/route.h, worker/align.h. */
#ifndef OXB_WORKER_INSTANCE_H
#define OXB_WORKER_INSTANCE_H

#include "core/hist.h"
#include "core/name.h"
#include "net/states.h"
#include "pe/host.h"
#include "worker/align.h"
#include "worker/channel.h"
#include "worker/route.h"
#include "worker/task.h"

struct care;
struct chain;
struct cut;
struct hold;
struct move;
struct resend;
struct stage;

struct input {
    struct channel *channel;
    unsigned port;             /* of the PE */
    bool ended;                /* delivered ITEM_END */
    bool closed;               /* delivered ITEM_CLOSE: to be removed */
    uint64_t blocked_since_us; /* something waits here because of a change; 0: nothing */
};

struct instance_stats { /* relaxed; one writer */
    _Atomic uint64_t busy_ns, blocked_ns, blocked_since_ns, epoch_passed, state_bytes;
    struct hist service_us; /* per batch */
};

enum ending {
    MAY_END,      /* when its inputs have, or its source */
    MUST_NOT_END, /* R4: a change is prepared; what comes is put off */
    ENDS          /* it has, or is about to: INSTANCE_ENDED follows, or INSTANCE_FAILED */
};

struct instance {
    /* fixed */
    uint64_t id;
    struct name pe_name; /* the loop sets it */
    unsigned index;
    bool source;
    bool sink; /* has no outputs; end_to_end_us is there then */
    char *topology;
    _Atomic uint64_t policy;       /* worker/fault.h: packed; the loop sets it */
    uint32_t failures;             /* of calls without a tuple, in a row */
    uint32_t stubborn;             /* of these, given up: a source that does not get further */
    _Atomic(struct hold *) hold;   /* worker/hold.h; NULL: nothing was ever kept */
    _Atomic(struct chain *) chain; /* changed by its own thread, when it moves (worker/cut.h) */
    struct oxb_pe *pe;
    struct pool *pool;
    /* wiring: replaced as a whole at a batch boundary */
    struct input *inputs;
    uint32_t input_count;
    struct out_port *ports;
    uint32_t port_count;
    struct align align;
    /* changing: worker/cut.h */
    _Atomic(struct cut *) cut;      /* prepared; NULL: none */
    _Atomic uint64_t cut_epoch;     /* of the last cut made: it is not made twice */
    _Atomic uint64_t settled_epoch; /* of the last cut after which it is where it belongs */
    struct instance *next_arrival;
    struct chain *future;  /* loop: the chain a new instance of a change goes to */
    struct task_arm *arms; /* timers and watches while it moves between chains */
    int64_t key_timer_us;  /* worker/key_timers.h; 0: not set */
    size_t arm_count;
    bool retiring; /* its cut was its last act */
    /* state on the move: worker/moves.h */
    _Atomic(struct move *) gives; /* until its cut; NULL: none */
    struct move *takes;           /* its gate is closed until these have come; NULL: open */
    _Atomic(struct stage *) aside; /* worker/aside.h: from who had finished; NULL: nothing */
    bool final_done;              /* who it takes over from has emitted the final output */
    _Atomic unsigned ending;      /* enum ending */
    bool look_at_end;             /* it has cut: see end_late */
    bool finish_waits;            /* its end came while a change was prepared: after the cut (R4) */
    uint32_t order;               /* producers before consumers, within one topology */
    _Atomic(struct resend *) resend; /* a recovery asks for its logs: worker/resend.h; NULL: none */
    /* life */
    _Atomic unsigned state; /* enum instance_state */
    bool started, finished;
    _Atomic bool had_finished;      /* before the checkpoint it was restored from, or who it takes
                                     * over from had: a source ends at once, others when `end` has
                                     * come again; nothing else comes (R3) */
    struct keeper *keeper;          /* saves it at checkpoints; NULL: there are none */
    _Atomic uint64_t committed;     /* newest checkpoint whose output it has committed */
    _Atomic uint64_t uncommitted;   /* newest one whose output could not be */
    char error[512];                /* valid once state is INSTANCE_FAILED */
    uint64_t child_ns;              /* time spent in instances called from this one, per call */
    uint64_t took_ns;               /* the last batch */
    _Atomic uint64_t call_since_ns; /* worker/watch.h; 0: its code does not run */
    const char *call;               /* what for, then */
    struct care *care;              /* worker/care.h; NULL: none is needed */
    struct instance_stats stats;
    struct hist *end_to_end_us; /* of a sink; shared, own shard; may be NULL */
};

/* instance_new - the PE is made by the caller with instance_host() as host and set afterwards. */
struct instance *instance_new(uint64_t id, const char *pe_name, unsigned index, struct pool *pool);
struct pe_host instance_host(struct instance *i);
void instance_free(struct instance *i); /* frees the PE and routing, not the channels */
/* instance_wire - before chain_go: the inputs and ports it has.  Both arrays: TAKES. */
void instance_wire(struct instance *i, struct input *inputs TAKES, uint32_t input_count,
                   struct out_port *ports TAKES, uint32_t port_count);

struct task *instance_task(struct instance *i);
/* instance_notify - the chain that runs it has a turn.  Nothing when none does yet: a new instance
 * of a change may join a running chain, at GO, and that is when it looks at everything.  Any
 * thread. */
void instance_notify(struct instance *i);
void instance_spills(struct instance *i, int by);
void instance_tell(struct instance *i); /* the loop looks at its part again; any thread */
/* instance_take - an item arrives at input `input`; the batch in it is taken over. */
void instance_take(struct instance *i, uint32_t input, struct item *it);
void instance_fail(struct instance *i, const char *text);
/* instance_process - own thread: a batch that was taken before. */
void instance_process(struct instance *i, unsigned port, const char *stream,
                      struct batch *batch TAKES);
/* For its chain and worker/cut.c, own thread. */
bool instance_start(struct instance *i);  /* false: it has failed */
void instance_finish(struct instance *i); /* R4; put off while a change is prepared */
void instance_pass_marker(struct instance *i, enum item_kind kind, uint64_t epoch);
uint32_t instance_spilling(const struct instance *i); /* how many of its channels do */
/* instance_end_late - Ends that came while a change was prepared, which has been made or given up;
 * and ends that a cut brings about: who has ended calls somebody new, or all inputs that are left
 * have ended.  Not in the cut itself: whom it calls may still run elsewhere. */
void instance_end_late(struct instance *i);
void instance_flush(struct instance *i); /* everything emitted so far leaves for its channel */
void instance_set_state(struct instance *i, enum instance_state state);
void instance_check_ended(struct instance *i); /* finish if every input has ended */

/* instance_hold_end - from now on it does not end, unless it does already.  Any thread.
 * instance_may_end - the cut is made, or the change given up. */
static inline void instance_hold_end(struct instance *i)
{
    unsigned now = MAY_END;
    atomic_compare_exchange_strong(&i->ending, &now, MUST_NOT_END);
}

static inline void instance_may_end(struct instance *i)
{
    unsigned now = MUST_NOT_END;
    atomic_compare_exchange_strong(&i->ending, &now, MAY_END);
}

#endif
