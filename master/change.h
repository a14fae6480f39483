/* master/change.h - the coordinator of one change of a topology: prepare, decide, go.
 *
 * Every change (today: deploy) walks through this machine; there is no other way to change what
 * runs.  States, in order:
 *
 *   PLANNED    the plan exists, nobody was told                       memory and store (intent)
 *   PREPARING  PREPARE is out; answers are missing                    memory
 *   READY      every worker is ready; the decision is being written   memory
 *   DECIDED    the decision is durable; no GO in this term yet        store: the point of no return
 *   GOING      GO is out; answers are missing                         store says DECIDED
 *   DONE       every worker has changed over                          store
 *   ABORTED    given up before the decision: all prepared is dropped  store
 *   RECOVERING a worker was lost after the decision                   memory
 *
 * A worker that is slow:          PREPARING --deadline--> ABORTED, ABORT to all; its late READY
 *                                 is ignored.
 * A worker that dies after GO:    GOING --lost--> RECOVERING; never back to what ran before.
 * A master that dies:             before DECIDED the next term aborts (no record = abort); from
 *                                 DECIDED on, the next term starts in DECIDED and sends GO again.
 *
 * Owns:       struct change, struct change_actions.
 * Runs on:    anywhere; pure: no clock, no sockets.
 * Invariants: C1 GO is only ever asked for after CHANGE_IN_DECIDED.  C2 ABORT is only ever asked
 *             for before it.  C3 an answer counts only with this change's term and op and its
 *             worker's incarnation.  C4 DECIDE is asked for when every worker is ready; one that
 *             comes back before it is written has to say so again.
 * See:        tests/unit/master/change_test.c */
#ifndef OXB_MASTER_CHANGE_H
#define OXB_MASTER_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum change_state {
    CHANGE_PLANNED,
    CHANGE_PREPARING,
    CHANGE_READY,
    CHANGE_DECIDED,
    CHANGE_GOING,
    CHANGE_DONE,
    CHANGE_ABORTED,
    CHANGE_RECOVERING,
    CHANGE_STATES
};

enum change_input {
    CHANGE_IN_START,       /* begin (or, restored after a restart, go on) */
    CHANGE_IN_READY,       /* a worker is ready */
    CHANGE_IN_NOT_READY,   /* a worker cannot be made ready */
    CHANGE_IN_DEADLINE,    /* the timer asked for has run out */
    CHANGE_IN_DECIDED,     /* the decision is on disk */
    CHANGE_IN_UNDECIDABLE, /* the decision could not be written */
    CHANGE_IN_DONE,        /* a worker has changed over */
    CHANGE_IN_LOST,        /* a worker will not come back */
    CHANGE_IN_BACK,        /* a worker is connected again, same incarnation */
    CHANGE_IN_CANCEL       /* somebody wants this change no more */
};

struct change_token { /* fences every message of the change */
    uint64_t term, gen, op, epoch;
};

struct change_event {
    enum change_input kind;
    uint64_t worker_id;   /* READY, NOT_READY, DONE, LOST, BACK */
    uint64_t incarnation; /* the same */
    uint64_t term, op;    /* READY, NOT_READY, DONE: as answered */
};

enum change_do {
    CHANGE_DO_PREPARE, /* send PREPARE to the worker */
    CHANGE_DO_GO,      /* send GO to the worker */
    CHANGE_DO_ABORT,   /* send ABORT to the worker */
    CHANGE_DO_TIMER,   /* start the prepare timer again */
    CHANGE_DO_NO_TIMER,
    CHANGE_DO_DECIDE,  /* write the decision, then feed DECIDED or UNDECIDABLE */
    CHANGE_DO_DONE,    /* the change is complete */
    CHANGE_DO_ABORTED, /* the change was given up; nothing changed */
    CHANGE_DO_RECOVER  /* a worker was lost after the decision */
};

struct change_action {
    enum change_do what;
    uint64_t worker_id; /* PREPARE, GO, ABORT */
};

struct change_actions { /* in the order to perform them; a zeroed struct is empty */
    struct change_action *items;
    size_t count, capacity;
};
void change_actions_fini(struct change_actions *a);

struct change_part { /* one worker of the plan */
    uint64_t worker_id;
    uint64_t incarnation;
    bool ready;
    bool done;
};

struct change {
    enum change_state state;
    struct change_token token;
    struct change_part *parts;
    size_t part_count;
    uint64_t stale; /* answers that did not count */
};

/* change_init - a change among `part_count` workers (>= 1).
 * @at: PLANNED; or, restored from the store, DECIDED or DONE. */
void change_init(struct change *c, struct change_token token, const struct change_part *parts,
                 size_t part_count, enum change_state at);
void change_fini(struct change *c);

/* change_step - take one event; appends what is to be done to `out`.
 * Return: false when the event did not count here (stale, late, not of this change). */
bool change_step(struct change *c, const struct change_event *in, struct change_actions *out);

bool change_is_over(const struct change *c);    /* DONE, ABORTED or RECOVERING */
bool change_is_decided(const struct change *c); /* only forward from here */
const char *change_state_name(enum change_state s);

/* What the table says of one pair, for the test that walks all of them. */
enum change_trigger {
    TRIGGER_START,
    TRIGGER_READY,     /* some are still missing */
    TRIGGER_ALL_READY, /* this was the last one */
    TRIGGER_NOT_READY,
    TRIGGER_DEADLINE,
    TRIGGER_DECIDED,
    TRIGGER_UNDECIDABLE,
    TRIGGER_DONE,
    TRIGGER_ALL_DONE,
    TRIGGER_LOST,
    TRIGGER_BACK,
    TRIGGER_CANCEL,
    CHANGE_TRIGGERS
};
enum change_verdict { VERDICT_IGNORED, VERDICT_TAKEN, VERDICT_ILLEGAL };
enum change_verdict change_table(enum change_state from, enum change_trigger on,
                                 enum change_state *to);

#endif
