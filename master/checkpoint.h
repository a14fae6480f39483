/* master/checkpoint.h - the coordinator of one topology's checkpoints: when, and which count.
 *
 *   IDLE       nothing is under way; the next one is due at `due_us`, or when asked for
 *   BEGINNING  an epoch is being reserved
 *   LIVE       the marker is in the streams; acknowledgements of instances are missing
 *   STORING    all instances have acknowledged; the manifest is being written
 *
 * Timeline of a good one:    tick -> BEGINNING -> (epoch) LIVE, CHECKPOINT to every worker ->
 *                            all acks -> STORING -> (stored) IDLE, COMPLETE to every worker: sinks
 *                            commit -> files nobody needs any more go.
 * An upgrade is planned:     what is live goes on, but none begins, for its epoch would be above
 *                            the change's, and a marker only voids what is below it.
 * An upgrade decides meanwhile: it is void from that commit on (the store refuses its manifest),
 *                            late acks do not count; none begins before done(op), and one begins
 *                            right after it (PROTOCOL R17, R18).
 * An instance cannot save:   the checkpoint is given up and counted; the next one is tried in time.
 * A worker is lost:          what is live is given up, and none begins before the recovery is over:
 *                            one that old instances complete would lack what the lost ones had.
 * A worker comes back:       it is sent the live epoch again, or the last complete one.
 *
 * Owns:       struct checkpoint, struct checkpoint_actions.
 * Runs on:    anywhere; pure: no clock, no ids of its own.
 * Invariants: P1 at most one epoch is live (R17).  P2 nothing is injected while held or lost.
 *             P3 STORE is asked for once per epoch, when every instance has acknowledged it.
 *             P4 COMPLETE is only ever asked for after CHECKPOINT_IN_STORED.
 *             P5 after two epochs voided in a row a change has to wait for the third.
 * See:        tests/unit/master/checkpoint_test.c */
#ifndef OXB_MASTER_CHECKPOINT_H
#define OXB_MASTER_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checkpoint_state {
    CHECKPOINT_IDLE,
    CHECKPOINT_BEGINNING,
    CHECKPOINT_LIVE,
    CHECKPOINT_STORING
};

enum checkpoint_input {
    CHECKPOINT_IN_TICK,       /* now_us */
    CHECKPOINT_IN_ASKED,      /* by a person, or because it is the last one */
    CHECKPOINT_IN_BEGUN,      /* epoch: reserved; 0: it could not be */
    CHECKPOINT_IN_ACK,        /* epoch, instance: its snapshot is durable */
    CHECKPOINT_IN_FAILED,     /* epoch, instance: it cannot be saved */
    CHECKPOINT_IN_STORED,     /* the manifest is durable */
    CHECKPOINT_IN_NOT_STORED, /* it could not be written, or was refused */
    CHECKPOINT_IN_PLANNED,    /* a change has its epoch: none of a later epoch before its end */
    CHECKPOINT_IN_ABORTED,    /* that change was given up */
    CHECKPOINT_IN_DECIDED,    /* a change is decided: what is live is void */
    CHECKPOINT_IN_DONE,       /* that change is over */
    CHECKPOINT_IN_LOST,       /* it is to be recovered: nothing is live, none begins before RESET */
    CHECKPOINT_IN_RESET,      /* the instances are new ones (recovery): nothing is live */
    CHECKPOINT_IN_BACK,       /* a worker is connected again */
    CHECKPOINT_INPUTS
};

struct checkpoint_event {
    enum checkpoint_input kind;
    uint64_t now_us;    /* all: monotonic */
    uint64_t epoch;     /* BEGUN, ACK, FAILED */
    uint64_t instance;  /* ACK, FAILED */
    uint64_t worker_id; /* BACK */
};

enum checkpoint_do {
    CHECKPOINT_DO_BEGIN,    /* reserve an epoch, then feed BEGUN */
    CHECKPOINT_DO_INJECT,   /* CHECKPOINT(epoch) to every worker, or to `worker_id` */
    CHECKPOINT_DO_STORE,    /* write the manifest, then feed STORED or NOT_STORED */
    CHECKPOINT_DO_COMPLETE, /* COMPLETE(epoch) to every worker, or to `worker_id` */
    CHECKPOINT_DO_GIVE_UP,  /* epoch does not count: forget what was saved for it */
};

struct checkpoint_action {
    enum checkpoint_do what;
    uint64_t epoch;
    uint64_t worker_id; /* 0: every worker */
};

enum { CHECKPOINT_ACTIONS_MAX = 4 }; /* of one step */
struct checkpoint_actions {
    struct checkpoint_action items[CHECKPOINT_ACTIONS_MAX];
    size_t count;
};

struct checkpoint {
    /* fixed */
    uint64_t every_us;      /* 0: never by itself */
    /* the instances of what runs now */
    uint64_t *instances;    /* [instance_count], ascending; owned */
    bool *acked;            /* [instance_count] */
    size_t instance_count, acked_count;
    /* now */
    enum checkpoint_state state;
    uint64_t epoch;         /* LIVE, STORING */
    uint64_t begun_us;      /* the same */
    uint64_t due_us;        /* of the next */
    bool asked;             /* one is wanted as soon as possible */
    bool held;              /* between a change's plan and its end */
    bool lost;              /* between a loss and the end of its recovery */
    unsigned voids;         /* in a row */
    uint64_t complete;      /* newest complete epoch; 0: none */
    /* counted */
    uint64_t completed, failed, voided, stale;
    uint64_t last_us;       /* how long the last complete one took */
};

void checkpoint_init(struct checkpoint *c, uint64_t every_us, uint64_t now_us);
void checkpoint_fini(struct checkpoint *c);
/* checkpoint_of - who has to acknowledge from now on; copied.  @ids: in any order. */
void checkpoint_of(struct checkpoint *c, const uint64_t *ids, size_t count);
void checkpoint_step(struct checkpoint *c, const struct checkpoint_event *in,
                     struct checkpoint_actions *out);
/* checkpoint_bars_change - must a change that is ready wait before it decides (P5)? */
bool checkpoint_bars_change(const struct checkpoint *c);
bool checkpoint_is_live(const struct checkpoint *c);

#endif
