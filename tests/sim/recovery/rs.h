/* tests/sim/recovery/rs.h - one schedule with checkpoints, deaths and recoveries.
 *
 * A topology runs from its first tuple to its last, an upgrade of it somewhere in between, while
 * processes die, come back, or are cut off from the master and go on.  What was committed to the
 * outside is then compared with one history in which nothing of all that happened.
 *
 * Owns:       struct rs: the state of everything during one schedule.  Made once per image and
 *             reset for every schedule.
 * Runs on:    one thread; no clock, no sockets: what happens next is drawn from the seed.
 * Real:       planner and recovery set (topology/), both coordinators (master/change.c and
 *             checkpoint.c), alignment (worker/align.c).
 * Modelled:   processes, instances, both ends of channels, retained logs, snapshots, the store, the
 *             master's shell (master/keeping.c, recover.c, restore.c), the network.
 * Terms:      a *node* is an instance of V or V' as image.h numbers it; a process that holds it has
 *             a *life* of it (struct rs_inst).  After a recovery the same node has another life
 *             elsewhere, and an old one may go on in a process that the master has given up.
 * Invariants: those of docs/PROTOCOL.md, each a `wrong` here; every rule that keeps them can be
 *             switched off, and then something must be found (rules_test.c).
 * See:        data.c (instances), wire.c (channels, logs), snap.c (checkpoints, what is restored),
 *             worker.c (processes), chief.c, members.c, recover.c (the master), books.c (what is
 *             right), world.c (what comes next). */
#ifndef OXB_TESTS_SIM_RECOVERY_RS_H
#define OXB_TESTS_SIM_RECOVERY_RS_H

#include "tests/sim/image.h"

#include "core/prng.h"
#include "master/change.h"
#include "master/checkpoint.h"
#include "worker/align.h"

#include <stdio.h>

enum rs_rule { /* bits: those that are switched off */
    NO_DESCENDANTS = 1 << 0,  /* R20: with whoever is in the set, all below it */
    NO_PRODUCERS = 1 << 1,    /* R20: and who feeds it without a log that reaches back */
    NO_COVERING = 1 << 2,     /* R20: decided and not covered: the whole covering set; repaired:
                               * all that has other code */
    NO_GEN = 1 << 3,          /* I6 I9: lower generations are refused by workers */
    NO_FRESH_IDS = 1 << 4,    /* R25: a recovery makes channels under new ids */
    NO_VOID = 1 << 5,         /* R17: a decision makes the live checkpoint void */
    NO_MANIFEST = 1 << 6,     /* R18: the manifest is durable before anybody commits */
    NO_DISCARD = 1 << 7,      /* R21: sinks in the set forget what came after the checkpoint */
    NO_TRIM_RULE = 1 << 8,    /* R26: what the link has acknowledged is still kept */
    NO_COUNT_BOTH = 1 << 9,   /* a restored receiver begins at the checkpoint's position */
    NO_ACK_FENCE = 1 << 10,   /* a checkpoint is acknowledged by the lives of this generation */
    NO_DURABLE = 1 << 11,     /* R18: acknowledged only when durable */
    NO_GEN_DURABLE = 1 << 12, /* R21: gen + 1 is durable before anybody hears of it */
    NO_PLACE = 1 << 13,       /* H24: snapshots can be read when their machine is gone */
    NO_LATE_COMMIT = 1 << 14, /* a sink that an upgrade removes waits for the next checkpoint */
    NO_OWN_EPOCH = 1 << 15,   /* a sink commits what its snapshot of that epoch covers, no more */
    NO_DROP = 1 << 16,        /* R21: what is of a lower generation is dropped before READY */
    NO_ONE = 1 << 17,         /* one checkpoint for the whole recovery */
    NO_LAST = 1 << 18,        /* E3: over only when a checkpoint after the end is committed */
    NO_HOLD = 1 << 19,        /* P2: none begins between a change's plan and its end */
    NO_REACH = 1 << 20,       /* a target whose log does not reach back is not ready */
    NO_END_AGAIN = 1 << 21,   /* R12 R21: a target that has ended says so again */
    NO_INCARNATION = 1 << 22, /* a process that starts anew is not the one that was there */
    NO_GO_FENCE = 1 << 23,    /* messages of a change name the generation it was planned in */
    NO_PROBE = 1 << 25,       /* R3: who has ended gets nothing new, also from who has by now */
    NO_HAD = 1 << 29,         /* R3: nor who had in the checkpoint it was restored from */
    NO_LOST = 1 << 27,        /* P2: none begins between a loss and the end of its recovery */
    NO_RELEASE = 1 << 28,     /* one that is injected releases what waits for earlier ones */
    NO_FLOOR = 1 << 26,       /* R21: void markers are neither sent again nor taken */
    NO_LACK = 1 << 30,        /* R2: what a worker comes back without is lost */
    NO_NEWEST = 1 << 24,      /* I8: no recovery goes below what was committed */
};

enum wrong {
    NOTHING,
    WRONG_SEQUENCE,   /* I1: numbers of a channel, or its count at a marker, end or close */
    WRONG_CHANNEL,    /* what its ends have sent and taken, all taken back left out, differs */
    WRONG_MIXED,      /* I2 */
    WRONG_STATE,      /* I3: state is not what was counted */
    WRONG_ORDER,      /* order per source instance and key, where promised */
    WRONG_LOST,       /* fewer processings than the topology asks for */
    WRONG_DOUBLED,    /* more */
    WRONG_AFTER_END,  /* a tuple after the end, or a second final result */
    WRONG_CONFLICT,   /* I5: two marker epochs met */
    WRONG_BOTH,       /* I7: GO without preparation */
    WRONG_COMMIT,     /* I8: output that was committed is not what the history says */
    WRONG_ABSENT,     /* to be restored from what is not there */
    WRONG_STUCK,      /* nothing can happen any more, or nothing leads anywhere */
    WRONGS
};

enum { RS_QUEUE = 48, RS_LOG = 32, RS_IDENTS = 3000, RS_WORKERS = 4, RS_PROCS = 8 };
enum { RS_MESSAGES = 256, RS_SLOTS = 4, RS_PLANS = 8, RS_IDS = 8192, RS_TUPLES = 16 };

struct rs_item {
    uint8_t kind;             /* enum item_kind */
    uint8_t key, source;      /* of a tuple; source 255: none */
    uint16_t ident;
    uint32_t order;           /* of a tuple, within its source */
    uint32_t number;          /* of a tuple in its channel; else how many were sent */
    uint32_t epoch;
    uint32_t stamp;           /* of a tuple: what it went through; else what was sent so far */
};

struct rs_queue {
    uint32_t first, count;
    struct rs_item slots[RS_QUEUE];
};

struct rs_out {               /* the sending end of a channel, in one process */
    uint32_t id;              /* 0: there is none */
    uint32_t sent, hash;
    bool log_ok;              /* the log reaches back to the marker of `log_base` */
    uint32_t log_base, log_count;
    struct rs_queue near;
    struct rs_item log[RS_LOG];
};

struct rs_in {                /* the receiving end */
    uint32_t id;
    uint32_t received, hash;
    bool ended;
    struct rs_queue far;
};

struct rs_done {              /* one processing, of a tuple with identity over all replays */
    uint16_t ident;
    uint8_t side;             /* 0: by no member; 1 old, 2 new */
    uint32_t step;
    uint32_t chain;           /* over all before it, and over what each went through */
};

struct rs_history {           /* of one life: what it has processed and was not taken back */
    struct rs_done *items;
    uint32_t count, capacity;
};

struct rs_inst {              /* a life of a node */
    bool there, started, cut, retired, finished, exported, await_other;
    bool had_ended;           /* in the checkpoint it was restored from */
    uint8_t final_keys, await_keys; /* bits */
    uint8_t saving;           /* bits of slots: frozen, not durable yet */
    uint32_t id;
    uint32_t inject, injected;/* epochs; 0: none */
    uint32_t position, total; /* of a source */
    uint32_t state[KEYS];
    uint32_t mark_epoch[RS_SLOTS], mark_count[RS_SLOTS]; /* of a sink: what a snapshot covers */
    struct align align[SIDES];
    struct rs_history done;
};

struct rs_proc {              /* a process of a worker */
    bool alive, cut_off;      /* cut_off: from the master only */
    uint32_t worker;
    uint64_t incarnation, term, fence_op;
    uint64_t said;            /* number of its newest message to the master */
    uint32_t gen;             /* accepted; 0: it holds nothing */
    uint32_t plan;            /* recovery that it prepared; 0: none */
    int side;                 /* version that it runs */
    bool running;             /* that generation was told to go */
    uint64_t held, gone;      /* op prepared, op that was told to go */
    uint32_t void_below, epoch; /* epoch: of the op that is held */
    bool done;
    uint32_t commit_epoch;    /* newest COMPLETE */
};

struct rs_saved {             /* of one node, at one marker */
    bool frozen, durable, finished;
    uint8_t final_keys;
    uint8_t on;               /* the worker whose disk has it */
    uint32_t position, total;
    uint32_t state[KEYS];
    struct rs_history done;
};

struct rs_slot {              /* a checkpoint */
    uint32_t epoch;           /* 0: free */
    int side;
    struct rs_saved *nodes;
    uint32_t *received, *received_hash, *sent, *sent_hash; /* [channels] */
    bool *ended;              /* [channels]: for the books */
};

struct rs_transfer {
    uint32_t move, from, to;  /* processes */
    uint32_t gen;
    uint8_t keys, final_keys;
    uint32_t state[KEYS], position, total;
};

struct rs_ident {
    uint8_t birth;            /* PE */
    uint8_t key, source;
    uint8_t sides;            /* at the end: bits of sides met */
    uint16_t parent;          /* or RS_IDENTS */
    uint32_t order;
};

enum rs_kind {
    TELL_PREPARE, TELL_READY, TELL_NOT_READY, TELL_GO, TELL_PEER_GO, TELL_ABORT, TELL_DONE,
    TELL_HELLO, TELL_CHECKPOINT, TELL_ACK, TELL_COMPLETE, TELL_COMMITTED, TELL_ENDED, TELL_DROP,
    TELL_KINDS
};

struct rs_message {
    enum rs_kind kind;
    uint8_t proc;             /* to or from */
    uint8_t worker;
    bool recovery;            /* PREPARE .. DONE: of a recovery, not an upgrade */
    bool running, ended;      /* HELLO */
    int side;                 /* HELLO, ENDED: version */
    uint64_t ended_nodes;     /* READY of an upgrade: nodes of V that have ended */
    uint32_t gen, plan, epoch, inst;
    uint64_t incarnation, term, op, held, gone;
    uint64_t said;            /* to the master: ascending, over all processes of a worker */
};

struct rs_plan {              /* of an upgrade or a recovery */
    uint32_t number, gen, floor, epoch;
    int side;                 /* what will run */
    int slot;                 /* restored from; -1: from the beginning */
    uint8_t place[RS_WORKERS];/* home -> worker that stands for it */
    uint8_t proc[RS_WORKERS]; /* processes it was made for; RS_PROCS: none */
    uint32_t *inst, *chan;    /* ids: [nodes], [channels]; 0: not in it */
    bool *stays;              /* [nodes] */
    bool *logged;             /* [channels]: is sent again from the log */
};

struct rs_durable {           /* what the store has */
    uint64_t term, op;
    uint32_t gen, epoch, ids;
    int side;                 /* version */
    uint64_t decided, decided_incarnation[RS_WORKERS];
    bool done, recovering, over;
    uint32_t void_below, complete; /* newest complete epoch; 0: none */
    int slot;
    uint32_t plan;            /* whose ids and places run */
    uint32_t next_plan;       /* of the upgrade that was decided */
};

enum rs_member { MEMBER_UNKNOWN, MEMBER_HERE, MEMBER_GONE_AWAY, MEMBER_GIVEN_UP };

struct rs_chief {             /* the master's memory */
    bool up;
    struct rs_durable d;      /* survives it */
    uint64_t seen[RS_WORKERS];
    enum rs_member member[RS_WORKERS];
    uint64_t holder[RS_WORKERS]; /* incarnation that holds the part; 0: not heard of */
    uint64_t heard[RS_WORKERS];  /* highest `said`: a HELLO below it is not how things are */
    bool ended[RS_WORKERS];
    uint32_t committed[RS_WORKERS];
    struct change change;     /* of the upgrade or the recovery, if active */
    bool active, is_recovery, timer, waits;
    uint32_t plan;            /* its */
    struct change_actions actions;
    struct checkpoint keeping;
    int live_slot;
    uint64_t ended_nodes;     /* as READY told */
    uint32_t final_epoch, tries, attempts;
    bool apart, refused;      /* refused: a worker could not do what the last try asked */
    bool repairs;             /* what is under way, or asked for, is a repair (repair.c) */
};

struct rs_knobs {             /* of one schedule, drawn from its seed */
    uint32_t capacity, budget;
    uint32_t kills, crashes, losses, zombies;
    uint32_t start, every;
    bool stuck;               /* the upgrade replaces a stuck PE, where that can be */
    bool naive_whole;         /* not covered by a checkpoint: all is restored, as when the
                               * master does not know the covering set */
    bool small_again;         /* a second try leaves alone what the first left alone, as
                               * it does unless the master was restarted */
    bool bound;               /* sinks that commit, and sources, stay on their host */
    uint8_t commits;          /* bits of PE number % 8: its sinks commit with the checkpoint */
    uint8_t groups[KEYS];
};

struct rs_stats {
    uint64_t kills, forgot, zombies, crashes, recoveries, partial, again, in_upgrade, restored,
        kept, resent, checkpoints, voids, upgrades, repairs, aborts, too_big;
};

struct rs {
    const struct image *im;
    uint32_t off;
    struct prng r;
    struct rs_knobs k;
    FILE *trace;
    struct rs_proc procs[RS_PROCS];
    struct rs_inst *insts;    /* [procs][nodes] */
    struct rs_out *outs;      /* [procs][channels] */
    struct rs_in *ins;
    uint32_t worker_count;    /* drawn, as are the places: fused instances stay together */
    uint32_t *cluster;        /* [nodes]: those with the same one are fused, on either side */
    uint8_t *home;            /* [nodes]: place, which a plan maps to a worker */
    uint8_t *holders;         /* [nodes]: bits of processes */
    uint8_t receiver[RS_IDS]; /* channel id -> process + 1 */
    struct rs_slot slots[RS_SLOTS];
    struct rs_plan plans[RS_PLANS];
    uint32_t plan_count;
    struct rs_history *frozen;/* [nodes]: of those that run no more */
    struct rs_history *outside; /* [nodes]: committed */
    bool *commits;            /* [nodes] */
    uint32_t *totals;         /* [sources] */
    struct rs_ident idents[RS_IDENTS];
    uint32_t ident_count;
    uint16_t *born;           /* [sources][RS_TUPLES]: ident */
    uint16_t *children;       /* [idents][PEs] */
    uint16_t *finals;         /* [PEs][KEYS] */
    uint8_t *counts;          /* [idents][PEs] */
    uint32_t *last;           /* [sources][KEYS] */
    uint32_t *truth;          /* [PEs][KEYS] */
    struct rs_transfer transfers[64];
    uint32_t transfer_count;
    struct rs_message messages[RS_MESSAGES];
    uint32_t message_count;
    struct rs_chief chief;
    uint16_t *lots;
    uint32_t lot_count, actor_count;
    uint64_t steps, moved, now;
    uint64_t incarnations;
    uint32_t tempted;         /* something happened that a fault should follow */
    enum wrong found;
    bool too_big, hurry, upgraded;
    bool repaired;            /* as a repair: who has the same code is as good as no member */
    struct rs_stats stats;    /* over all schedules */
};

struct rs *rs_new(const struct image *im);
void rs_free(struct rs *w);
/* rs_run - one schedule.  Return: what went wrong, or NOTHING. */
enum wrong rs_run(struct rs *w, uint64_t seed, uint32_t off, FILE *trace);
const char *wrong_name(enum wrong v);

/* ---- among the files of the simulator */
static inline uint32_t rs_draw(struct rs *w, uint32_t bound) /* 0..bound-1 */
{
    return (uint32_t)prng_below(&w->r, bound);
}
static inline bool rs_without(const struct rs *w, uint32_t rule)
{
    return (w->off & rule) != 0;
}
static inline struct rs_inst *rs_inst(struct rs *w, uint32_t p, uint32_t n)
{
    return &w->insts[(size_t)p * w->im->node_count + n];
}
static inline struct rs_out *rs_out(struct rs *w, uint32_t p, uint32_t c)
{
    return &w->outs[(size_t)p * w->im->channel_count + c];
}
static inline struct rs_in *rs_in(struct rs *w, uint32_t p, uint32_t c)
{
    return &w->ins[(size_t)p * w->im->channel_count + c];
}
static inline enum kind rs_kind_of(const struct rs *w, uint32_t n)
{
    return w->im->pes[w->im->nodes[n].pe].kind;
}
static inline uint32_t rs_mix(uint32_t a, uint32_t b)
{
    uint32_t x = (a ^ b) * 0x9e3779b1u;
    return (x ^ x >> 15) * 0x85ebca77u + b;
}
static inline int rs_side(const struct rs_inst *x)
{
    return x->cut ? SIDE_NEW : SIDE_V;
}
#define RS_TRACE(w, ...)                                                                           \
    do {                                                                                           \
        if ((w)->trace != NULL) {                                                                  \
            rs_trace((w), __VA_ARGS__);                                                            \
        }                                                                                          \
    } while (0)
void rs_trace(struct rs *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rs_violate(struct rs *w, enum wrong v); /* the first one counts */
void rs_tempt(struct rs *w);                 /* a fault is likely in the next steps */

/* data.c */
bool rs_node_step(struct rs *w, uint32_t n);
bool rs_transfer_step(struct rs *w);
void rs_take(struct rs *w, uint32_t p, uint32_t c, const struct rs_item *e);
void rs_pass_end(struct rs *w, uint32_t p, const uint32_t *channels, uint32_t count);

/* wire.c */
bool rs_has_slot(struct rs *w, uint32_t p, uint32_t c);
void rs_push(struct rs *w, uint32_t p, uint32_t c, struct rs_item e);
struct rs_item rs_pop(struct rs_queue *q);
bool rs_link_step(struct rs *w, uint32_t c);
void rs_out_open(struct rs *w, uint32_t p, uint32_t c, uint32_t id);
void rs_in_open(struct rs *w, uint32_t p, uint32_t c, uint32_t id);
void rs_out_close(struct rs *w, uint32_t p, uint32_t c);
void rs_in_close(struct rs *w, uint32_t p, uint32_t c);
/* rs_resend - the channel goes on under a new id, from the marker of `epoch` in its log. */
void rs_resend(struct rs *w, uint32_t p, uint32_t c, uint32_t id, uint32_t epoch);
bool rs_log_reaches(const struct rs_out *o, uint32_t epoch);
void rs_log_trim(struct rs *w, uint32_t p, uint32_t epoch);

/* snap.c */
void rs_freeze(struct rs *w, uint32_t p, uint32_t n, uint32_t epoch);
bool rs_save_step(struct rs *w);
void rs_restore(struct rs *w, uint32_t p, uint32_t n, const struct rs_plan *plan);
void rs_commit(struct rs *w, uint32_t p, uint32_t epoch);
void rs_commit_history(struct rs *w, uint32_t n, const struct rs_history *h, uint32_t count);
void rs_history_copy(struct rs_history *to, const struct rs_history *from, uint32_t count);
int rs_slot_of(const struct rs *w, uint32_t epoch); /* -1: none */

/* worker.c */
void rs_worker_takes(struct rs *w, const struct rs_message *m);
uint32_t rs_proc_start(struct rs *w, uint32_t worker);
void rs_proc_end(struct rs *w, uint32_t p);
bool rs_worker_event(struct rs *w, bool idle); /* answers that are due */
void rs_hello(struct rs *w, uint32_t p); /* on a new connection */
void rs_connect(struct rs *w, uint32_t p); /* what was on its way to it is lost with the old one */
void rs_proc_forget(struct rs *w, uint32_t p); /* it drops all it holds, and lives */
void rs_drop_life(struct rs *w, uint32_t p, uint32_t n);
bool rs_defers(struct rs *w, uint32_t p, uint32_t n);

/* members.c: who is there, what they say, the end, the upgrade */
bool rs_chief_event(struct rs *w, bool idle);
void rs_chief_takes(struct rs *w, const struct rs_message *m);
void rs_upgrade_start(struct rs *w);
/* rs_hand_on - the version decided is what runs, or what will be recovered. */
void rs_hand_on(struct rs *w);
struct rs_plan *rs_plan_new(struct rs *w);

/* chief.c: messages, coordinators */
void rs_tell(struct rs *w, uint32_t worker, struct rs_message m); /* to who holds its part */
void rs_chief_up(struct rs *w);
void rs_chief_reset(struct rs *w);
void rs_chief_down(struct rs *w);
void rs_feed(struct rs *w, enum change_input kind, const struct rs_message *m);
void rs_keep(struct rs *w, enum checkpoint_input kind, const struct rs_message *m);
void rs_begin_change(struct rs *w, uint32_t plan, bool recovery, enum change_state at);
void rs_send(struct rs *w, struct rs_message m);
bool rs_control_step(struct rs *w);
uint32_t rs_proc_of(const struct rs *w, uint32_t worker, uint64_t incarnation); /* or NONE */
static inline struct rs_plan *rs_plan(struct rs *w, uint32_t number)
{
    return &w->plans[number % RS_PLANS];
}
void rs_acknowledge_by(struct rs *w); /* who must acknowledge checkpoints from now on */
bool rs_is_used(struct rs *w, uint32_t plan, uint32_t worker); /* holds something of it */

/* recover.c */
void rs_lost(struct rs *w);        /* something that runs is gone */
bool rs_recover_step(struct rs *w);
bool rs_has_other_code(const struct rs *w, uint32_t n); /* in V' */
void rs_recover_over(struct rs *w, bool done);

/* books.c */
void rs_books_reset(struct rs *w);
uint16_t rs_born_source(struct rs *w, uint32_t n, uint32_t position, uint8_t key);
uint16_t rs_born_child(struct rs *w, uint16_t parent, uint32_t pe, unsigned k, uint32_t order);
uint16_t rs_born_final(struct rs *w, uint32_t pe, unsigned key);
void rs_note(struct rs *w, uint32_t p, uint32_t n, uint16_t ident, uint32_t stamp);
void rs_books_end(struct rs *w);

#endif
