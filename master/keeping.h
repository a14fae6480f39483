/* master/keeping.h - checkpoints and recovery of one topology: the shell around checkpoint.h.
 *
 * Owns:       struct keeping, of a deployment whose topology takes checkpoints; an upgrade hands it
 *             on to the next version.
 * Runs on:    the master loop.
 * Invariants: E1 manifest before COMPLETE (PROTOCOL R18); the store refuses one that a decision
 *                made void.  E2 gen + 1 and the new graph are durable before the first message of a
 *                recovery (R21).  E3 a topology that has ended is over only when a checkpoint taken
 *                after its end is complete and every sink has committed it.
 *             E4 a recovery restores one checkpoint, the newest that is whole. */
#ifndef OXB_MASTER_KEEPING_H
#define OXB_MASTER_KEEPING_H

#include "master/checkpoint.h"
#include "master/crashes.h"
#include "master/store.h"
#include "net/messages.h"

struct master;
struct deployment;
struct member;
struct part;

/* What an instance had taken and emitted at a checkpoint. */
struct tuples_at {
    uint64_t instance, in, out;
};

struct tuples_list { /* of one checkpoint; a zeroed struct is empty */
    uint64_t epoch;
    struct tuples_at *items;
    size_t count;
};

struct toll { /* of one recovery: tuples since its checkpoint, as last reported */
    uint64_t reread;    /* by sources that rewind */
    uint64_t discarded; /* that had reached sinks that go back */
    bool known;
};

struct keeping {
    struct checkpoint machine;
    struct store_checkpoint live; /* what was acknowledged of the live epoch */
    uint64_t live_pause_us;       /* longest of its instances */
    uint64_t final_epoch;         /* taken after everything had ended; 0: none yet */
    /* of the newest complete one */
    uint64_t complete_version;    /* 0: taken before this master started */
    uint64_t last_bytes, last_pause_us;
    struct tuples_list tuples, live_tuples; /* of the newest complete one; of the live one */
    char last_error[256];         /* why the newest one that failed did */
    /* recovery */
    uint64_t recoveries;
    uint64_t fruitless_epoch;     /* the checkpoint of the latest one */
    unsigned fruitless;           /* in a row from it, without a newer one complete since */
    struct crashes crashes;
    char cause[400];              /* of the loss that is recovered from */
    uint64_t lost_us;             /* when the first loss was; 0: none to recover from */
    uint64_t retry_us;            /* next try */
    unsigned tries;               /* in a row */
    uint64_t from_epoch;          /* being restored; 0: from the beginning */
    bool from_is_passed;          /* output was committed after it, and stays */
    uint64_t bad_epoch;           /* it, and newer ones, are not whole; 0: none */
    char bad_why[256];            /* what is damaged of it; valid if bad_epoch */
    uint64_t passed_epoch;        /* bad_epoch of the latest recovery that is over; 0: none */
    char passed_why[256];         /* bad_why of that one */
    bool recovering;              /* d->change is the recovery's */
    uint64_t repairs;             /* version whose PEs get other code by it (repair.h); 0: none */
    bool *repaired;               /* [PEs]: these; NULL as that */
    bool apart;                   /* what the loss does not touch may stay: it runs as planned */
    bool *stays;                  /* [instances of the graph]: not rolled back; NULL: all are */
    bool refused;                 /* somebody could not do, or in time, what the last try asked */
    uint64_t *replaces;           /* [channels of the graph]: id of the one whose log it takes over,
                                   * 0: none; NULL as `stays` */
    uint32_t restored;            /* instances that are rolled back */
    uint64_t resent;              /* tuples that logs have sent again, as told by DONE */
    struct toll toll;             /* what going back costs, as far as it is known */
    struct rec_RESTORE *restores;
    size_t restore_count;
};

/* keeping_new - for a deployment with a graph whose topology takes checkpoints; else NULL. */
struct keeping *keeping_new(const struct deployment *d);
void keeping_free(struct keeping *k);

/* ---- keeping.c: checkpoints.  Each accepts a deployment that takes none. */
void keeping_went(struct master *m, struct deployment *d);    /* it runs: who acknowledges? */
/* keeping_recall - after a restart: the newest complete one, which sinks may not have heard of. */
void keeping_recall(struct master *m, struct deployment *d);
void keeping_planned(struct deployment *d);
void keeping_aborted(struct master *m, struct deployment *d);
void keeping_decided(struct master *m, struct deployment *d);
/* keeping_lost - a part of it is gone: nothing is live, and none begins before it is recovered. */
void keeping_lost(struct deployment *d);
/* keeping_hand_on - `next` has taken the place of `d`. */
void keeping_hand_on(struct master *m, struct deployment *d, struct deployment *next);
void keeping_tick(struct master *m, struct deployment *d, uint64_t now_us);
void keeping_back(struct master *m, struct deployment *d, uint64_t worker_id);
void keeping_ack(struct master *m, struct member *w, const struct msg_CHECKPOINT_ACK *r);
void keeping_committed(struct master *m, struct member *w, const struct msg_COMMITTED *r);
/* keeping_ask - take one now; Requires: d->keeping.  One that is live does not count. */
void keeping_ask(struct master *m, struct deployment *d);
/* keeping_newest - epoch of the newest that is live or complete; 0: none. */
uint64_t keeping_newest(const struct deployment *d);
/* keeping_holds_end - everything has ended; is the last checkpoint still to come? */
bool keeping_holds_end(struct master *m, struct deployment *d);

/* ---- recover.c */
/* recover_lost - a worker, or what it held, is gone.
 * @since_us: since when; 0: since now.
 * Return: false when nothing can be recovered: the topology takes no checkpoints. */
bool recover_lost(struct master *m, struct deployment *d, const char *why, uint64_t since_us);
void recover_tick(struct master *m, struct deployment *d, uint64_t now_us);
/* recover_not_ready - a worker could not restore. */
void recover_not_ready(struct master *m, struct deployment *d, enum err code,
                       const struct fail *why);
/* recover_refused - it has not done so in time. */
void recover_refused(struct deployment *d);
/* recover_resent - a worker has done its part; so many tuples come again from logs there. */
void recover_resent(struct deployment *d, uint64_t tuples);
/* recover_over - its change is done, or was given up and is tried again. */
void recover_over(struct master *m, struct deployment *d, bool done);
bool recover_is_under_way(const struct deployment *d);
/* recover_leaves - a recovery is under way that leaves instance `number` of the graph as it is. */
bool recover_leaves(const struct deployment *d, uint32_t number);
/* recover_spares - a recovery is under way that leaves some instance as it is. */
bool recover_spares(const struct deployment *d);
/* recover_replaces - id of the channel whose place channel `number` of the graph takes; 0: none. */
uint64_t recover_replaces(const struct deployment *d, uint32_t number);

#endif
