/* topology/plan.h - what an upgrade will do, before it does it.
 *
 * Owns:       struct plan: diff, V', covering set, instructions, state moves, prediction, refusals.
 * Runs on:    anywhere; pure: sizes of state, ids and earlier receipts come in.
 * Invariants: L1 applying the instructions to V gives V': plan_make(A, B) leads to B.
 *             L2 equal topologies on workers that may go on give no change and no instruction.
 *             L3 a plan with a refusal must not be run; all refusals are found, not the first only,
 *                as far as V' could be placed.
 *             L4 the digest covers base version, generation, workers with incarnations and content;
 *                not sizes, ids of what is new, or the prediction.
 *             L5 what is in no instruction goes on without notice. */
#ifndef OXB_TOPOLOGY_PLAN_H
#define OXB_TOPOLOGY_PLAN_H

#include "topology/cover.h"
#include "topology/predict.h"

struct state_size {          /* of one running instance, as its worker reported it */
    uint64_t instance;       /* id */
    uint64_t bytes;          /* keyed tables */
    uint64_t other_bytes;    /* what `snapshot` would write */
};

struct plan_input {
    const struct pgraph *running;      /* V: with its topology; borrowed for the plan's life */
    const struct topology *next;       /* borrowed for the plan's life */
    const struct worker_info *workers; /* all that are up; `slots_used` without this topology */
    uint32_t worker_count;
    const struct placer *placer;       /* NULL: placer_default */
    uint64_t base_version, gen;
    uint64_t next_id;                  /* counter for instances and channels */
    const struct state_size *sizes;
    size_t size_count;
    const struct pause_model *model;   /* NULL: the default one */
    const struct cover_options *cover; /* NULL: what the topology says */
    uint32_t overdraft_slots;          /* per worker, while old and new stand side by side; 0: as
                                        * many as it has slots */
    bool drop_state;                   /* the user agrees to lose state wherever it cannot stay */
};

enum instruction_kind {      /* in the order in which a worker takes them */
    DO_FETCH,                /* artifact */
    DO_CREATE,               /* instance `new` */
    DO_REPLACE,              /* instance `new` in the place of `old`, same id, its channels stay */
    DO_OPEN,                 /* channel (of V'), at both ends */
    DO_REWIRE,               /* instance `new` sends by new channels or another key map */
    DO_EXPORT,               /* move: freeze and send these groups, after all markers */
    DO_IMPORT,               /* move: take them in, before any of their tuples */
    DO_CLOSE,                /* channel (of V), at both ends, when its last tuple has gone */
    DO_REMOVE,               /* instance `old`, when it has drained */
    DO_SET_POLICY,           /* instance `new`: names, retries; no cut */
    DO_COUNT
};

struct instruction {
    enum instruction_kind kind;
    uint32_t worker;         /* of V' */
    uint32_t old, new;       /* instances in V and V', or INDEX_NONE */
    uint32_t channel;        /* of V' (open) or V (close) */
    uint32_t move;           /* in plan.moves */
    const char *artifact;    /* 64 hex digits of a PE's code (not ended there); borrowed from V' */
};

struct state_move {
    uint32_t pe;             /* of V' */
    uint32_t old, new;       /* giver in V, taker in V' */
    uint32_t from_worker, to_worker; /* of V' */
    uint8_t groups[KEY_GROUPS / 8];  /* bit g%8 of byte g/8 */
    uint32_t group_count;
    bool other;              /* what `snapshot` writes goes along: the instance moves as a whole */
    uint64_t bytes;          /* estimated from its share of the groups */
};

struct refusal {
    enum err code;
    char *what, *hint;
    char *where;             /* PE, stream or worker */
};

struct worker_load {         /* per worker of V'; H30 */
    uint32_t before, after;  /* instances of this topology in V and V' */
    uint32_t during;         /* at most, old and new side by side */
    uint32_t charged;        /* the larger of before and after */
};

struct plan {
    uint64_t base_version, gen;
    struct diff *diff;
    struct match *match;            /* NULL when V' could not be placed */
    struct pgraph *to;              /* V': the match's; plan_take_graph */
    struct cover *cover;            /* NULL when V' could not be placed */
    uint64_t next_id;               /* counter after this plan */
    struct instruction *instructions; /* by worker, then kind */
    size_t instruction_count, instruction_capacity;
    struct state_move *moves;       /* by PE, giver, taker */
    size_t move_count, move_capacity;
    struct worker_load *loads;      /* [workers of V'] */
    bool *drops;                    /* [PEs of V']: starts without the state it had; agreed to */
    uint64_t local_bytes, remote_bytes; /* of state, estimated */
    struct pause_features features;
    uint64_t predicted_pause_us;
    struct refusal *refusals;
    size_t refusal_count, refusal_capacity;
    char **notes;                   /* what the user should know, a line each */
    size_t note_count, note_capacity;
    uint32_t pes_unchanged, streams_unchanged;
    char digest[DIGEST_HEX_BYTES];
};

/* plan_make - Return: never NULL; look at refusal_count, then at plan_is_empty. */
struct plan *plan_make(const struct plan_input *in);
void plan_free(struct plan *p);
/* plan_is_empty - nothing to do: no change and no instruction. */
bool plan_is_empty(const struct plan *p);
/* plan_take_graph - V' as the caller's own, to become the running graph; the plan must not be used
 * for anything but plan_free after that. */
struct pgraph *plan_take_graph(struct plan *p);
const char *instruction_name(enum instruction_kind kind); /* "create" */
/* state_move_migrates - the taker's code has another state version than the giver's: entries go
 * through its `migrate`.  So does what stays: a move from an instance to itself. */
bool state_move_migrates(const struct plan *p, const struct state_move *m);
static inline bool state_move_has(const struct state_move *m, unsigned group)
{
    return ((unsigned)m->groups[group / 8] >> (group % 8) & 1u) != 0;
}

/* plan_may_copy - H34: may a PE run beside itself, on a share of the keys (canary) or on a copy of
 * the input (shadow)?  ERR_DENIED with `f` set when that would double outside effects or split
 * state. */
MUST_CHECK enum err plan_may_copy(const struct pe *pe, bool shadow, struct fail *f);

/* plan_check_ended - R3: may it be decided when these instances have ended and, until their cut, no
 * other of its members does?  Who has ended has said so, and can take neither tuples nor keys from
 * who has not; nor may keys that have ended go to who gets tuples; who moves has ended when the one
 * it follows has.  No worker sees both ends.
 * @goes_back: it may be recovered from a checkpoint of V, when some of them had not ended yet: so
 * an input from one that has ended counts as well, but for those that go on as they were.
 * @ended: [instances of V].  @where: set with ERR_DENIED to the PE; borrowed from the plan.  Other
 * facts of the plan are not looked at: see refusals. */
MUST_CHECK enum err plan_check_ended(const struct plan *p, const bool *ended, bool goes_back,
                                     struct fail *f, const char **where);

/* plan_text - for a person: `+ ~ -` lines, covering set, moves, prediction, notes, refusals.
 * plan_json - the same for a program; caller decrefs.  Callers free. */
char *plan_text(const struct plan *p);
json_t *plan_json(const struct plan *p);

/* ---- plan_check.c: for plan.c only */
void plan_check_state(struct plan *p, const struct plan_input *in);
void plan_check_places(struct plan *p, const struct plan_input *in);
void plan_check_files(struct plan *p); /* files.c */
void plan_refuse(struct plan *p, enum err code, const char *where, char *what TAKES,
                 const char *hint);
void plan_note(struct plan *p, char *text TAKES);
/* plan_worker_death - what the death of a worker costs for good while `t` runs (PROTOCOL R23);
 * NULL: nothing.  Caller frees. */
char *plan_worker_death(const struct topology *t);

#endif
