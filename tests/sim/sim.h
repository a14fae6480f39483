/* tests/sim/sim.h - one schedule: a master, workers and their instances in one thread.
 *
 * Owns:       struct world: the state of everything while one upgrade happens, and the oracle's
 *             books.  It is made once per image and reset for every schedule.
 * Runs on:    one thread; no clock, no sockets: what happens next is drawn from the seed.
 * Real:       planner (topology/), coordinator (master/change.c), alignment (worker/align.c).
 * Modelled:   instances, channels, routing of single tuples, workers' answers, the store, network.
 * Invariants: the ones of docs/PROTOCOL.md, each a `violation` here; every rule that keeps them can
 *             be switched off, and the simulator must notice (rules_test.c).
 * See:        data.c (instances, channels), control.c (master, workers, messages), world.c (what
 *             comes next), oracle.c (what is right), tests/sim/README.md. */
#ifndef OXB_TESTS_SIM_SIM_H
#define OXB_TESTS_SIM_SIM_H

#include "tests/sim/image.h"

#include "core/prng.h"
#include "master/change.h"
#include "worker/align.h"

enum rule { /* bits: those that are switched off */
    OFF_PATH = 1 << 0,        /* closure a */
    OFF_FORK = 1 << 1,        /* closure b */
    OFF_ORDER = 1 << 2,       /* closure c */
    OFF_ENDS = 1 << 3,        /* both ends of changed channels are members */
    OFF_MIDDLE = 1 << 4,      /* R9: an input waits from its marker to the cut */
    OFF_NEW = 1 << 5,         /* R9: new inputs wait for the cut */
    OFF_FORWARD = 1 << 6,     /* R6: workers pass GO on */
    OFF_GATE = 1 << 7,        /* R10: state is taken in before its tuples */
    OFF_LATE_EXPORT = 1 << 8, /* R10: exported after all markers, not at the first */
    OFF_FINAL = 1 << 9,       /* R10: "final already emitted" travels with the state */
    OFF_TOKEN = 1 << 10,      /* R11 */
    OFF_STUB = 1 << 11,       /* R12: who has ended still takes GO */
    OFF_DEFER = 1 << 12,      /* R4 */
    OFF_PROBE = 1 << 13,      /* R3: who has ended takes no new tuples */
    OFF_NEW_END = 1 << 14,    /* R7: the end on new outputs */
    OFF_VOID = 1 << 15,       /* R17 */
    OFF_OP = 1 << 16,         /* messages are fenced by op */
    OFF_TERM = 1 << 17,       /* by term */
    OFF_INCARNATION = 1 << 18,/* by incarnation */
    OFF_ASK = 1 << 19,        /* R2: a ready worker gives up by itself */
    OFF_DURABLE = 1 << 20,    /* R5: GO before the decision is on disk */
    OFF_POOL = 1 << 21,       /* R27: rings share one pool */
};
enum { OFF_CLOSURES = OFF_PATH | OFF_FORK | OFF_ORDER | OFF_ENDS };

enum violation {
    FINE,
    V_SEQUENCE,   /* I1: numbers of a channel, or its count at a marker, end or close */
    V_MIXED,      /* I2 */
    V_OWNER,      /* I3: processed by an instance that does not own the key group */
    V_STATE,      /* I3: the state is not what was counted */
    V_BOTH,       /* I7: cut and dropped in one op, or GO without decision or preparation */
    V_ORDER,      /* order per source instance and key, where promised */
    V_LOST,       /* I10: fewer processings than the topology asks for */
    V_DOUBLED,    /* I10: more */
    V_AFTER_END,  /* a tuple after the end was passed on, or a second final */
    V_CONFLICT,   /* I5: two marker epochs met */
    V_STUCK,      /* I4: nothing can happen any more, and not everything has */
    V_COUNT
};

enum outcome { CHANGED, ABORTED, RECOVERING, OUTCOMES };

enum { QUEUE = 64, IDENTS = 6000, WORKERS = 4, MESSAGES = 256 };

struct entry {
    uint8_t kind;               /* enum item_kind */
    uint8_t key, source;        /* of a tuple; source 255: none */
    uint16_t ident;
    uint32_t order;             /* of a tuple, within its source */
    uint32_t number;            /* of a tuple in its channel; else how many were sent */
    uint64_t epoch;
};

struct queue {
    uint32_t first, count;
    struct entry slots[QUEUE];
};

struct chan {
    struct queue near, far;     /* far: the receiver's ring, if remote */
    uint32_t sent, received;
    bool ended;                 /* the end was received */
};

struct node {
    bool cut, retired, finished, inject;
    uint8_t final_keys, await_keys; /* bits */
    bool await_other;
    uint32_t state[KEYS];
    uint32_t position, total;   /* of a source */
    bool exported;
    struct align align[SIDES];
};

struct transfer {
    uint32_t move;
    uint8_t keys, final_keys;
    uint32_t state[KEYS], position, total;
};

struct ident {                  /* of one tuple and its copies */
    uint8_t side;               /* 0: met no member; 1 old, 2 new */
    uint8_t birth;              /* PE */
};

enum message_kind {
    SAY_PREPARE, SAY_READY, SAY_NOT_READY, SAY_GO, SAY_PEER_GO, SAY_ABORT, SAY_DONE, SAY_HELLO,
    SAY_INJECT
};

struct message {
    enum message_kind kind;
    uint32_t worker;            /* to or from */
    uint64_t term, op, incarnation, held;
    uint64_t plan;              /* which PREPARE it is about: for the oracle only */
    uint64_t ended;             /* READY: nodes of V, bits */
};

struct member_worker {
    uint64_t incarnation, term, held, gone, fence_term, fence_op;
    uint64_t held_term, held_plan;
    bool done, has_v;
    bool voided;                /* R17: has heard of GO */
};

struct master {
    bool up, away;              /* away: it does not come back before all is cut */
    uint64_t term, op, decided; /* op decided, durable; 0: none */
    uint64_t plan, decided_plan; /* one number per plan ever made */
    uint64_t seen[WORKERS];     /* incarnations it knows */
    uint64_t ended;             /* nodes of V, bits: as READY told */
    struct change change;       /* if `active` */
    bool active, timer;
    uint32_t tries;
    struct change_actions actions;
};

struct knobs {                  /* of one schedule, drawn from its seed */
    uint32_t capacity, pool, crashes, losses;
    uint32_t start;             /* step from which the upgrade is asked for */
    bool checkpoint, many_tries, dies_after_go;
    uint8_t groups[KEYS];
};

struct world {
    const struct image *im;
    unsigned off;
    struct prng r;
    struct knobs k;
    FILE *trace;                /* or NULL */
    struct node *nodes;
    struct chan *chans;
    uint16_t *lots;             /* actors, the quick ones more often */
    uint32_t lot_count;
    uint32_t *remotes;
    uint32_t remote_count, actor_count;
    struct transfer *transfers;
    uint32_t transfer_count;
    struct ident idents[IDENTS];
    uint32_t ident_count, queued;
    uint8_t *counts;            /* [idents][PEs] */
    uint32_t *truth;            /* [PEs][KEYS]: processed */
    uint32_t *owner;            /* [PEs][KEYS]: node */
    uint8_t *final_seen;        /* [PEs]: bits of keys */
    uint32_t *last;             /* [nodes + PEs][sources][KEYS] */
    struct member_worker workers[WORKERS];
    struct master master;
    struct message messages[MESSAGES];
    uint32_t message_count;
    uint64_t steps, moved;      /* moved: those that moved data */
    enum violation found;
    uint32_t found_node;
    enum outcome outcome;
    bool cut_any, too_big;
    bool lost_ready;            /* a worker died with what it had prepared */
    bool storm;                 /* set by the caller: crashes and losses in every schedule */
    bool hurry;                 /* heads do not hesitate */
};

struct world *world_new(const struct image *im);
void world_free(struct world *w);
/* world_run - one schedule.  Return: what went wrong, or FINE. */
enum violation world_run(struct world *w, uint64_t seed, unsigned off, FILE *trace);
const char *violation_name(enum violation v);

/* ---- among the files of the simulator */
static inline uint32_t draw(struct world *w, uint32_t bound) /* 0..bound-1 */
{
    return (uint32_t)prng_below(&w->r, bound);
}
#define TRACE(w, ...)                                                                              \
    do {                                                                                           \
        if ((w)->trace != NULL) {                                                                  \
            trace_line((w), __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)
void trace_line(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void violate(struct world *w, enum violation v, uint32_t node); /* the first one counts */

/* data.c */
bool node_step(struct world *w, uint32_t n);    /* false: nothing to do there */
bool link_step(struct world *w, uint32_t c);
bool transfer_step(struct world *w);
void node_void(struct world *w, uint32_t n, uint64_t epoch);
bool node_is_here(const struct world *w, uint32_t n); /* exists and may run */
enum { EPOCH_CHECKPOINT = 1, EPOCH_SWITCH = 2 };

/* control.c */
void control_reset(struct world *w);
void control_start(struct world *w);            /* the upgrade is asked for */
bool control_step(struct world *w);             /* deliver a message */
bool control_event(struct world *w, bool idle); /* crash, restart, timer; idle: nothing else left */
bool control_defers(const struct world *w, uint32_t n);

/* oracle.c */
void oracle_reset(struct world *w);
uint16_t oracle_born(struct world *w, uint32_t n);
void oracle_processed(struct world *w, uint32_t n, const struct entry *e);
void oracle_final(struct world *w, uint32_t n, unsigned key);
void oracle_end(struct world *w);               /* everything has happened that could */

#endif
