/* master/crashes.h - PEs that have killed worker processes: how often, by what, and what follows.
 *
 *   a worker comes back and tells what its process died of -> counted per instance, as long as no
 *   newer checkpoint is complete -> fewer than on_error allows: it is tried again
 *   -> `then: stop`: the topology fails with that reason
 *   -> it was processing: from the next recovery on it is given its tuples one by one, and when it
 *      kills once more the tuple is known, and is no longer given to it: drop, dead-letter, hold
 *   -> there is no tuple (a timer, a flush ...): `hold` holds it from its start, the others stop
 *
 * Owns:       struct crashes: of one topology; an upgrade hands it on with its keeping.
 * Runs on:    anywhere; pure.
 * Invariants: K1 other code begins with nothing against it.
 *             K2 whatever the policy, a PE that kills is never begun again without end from one
 *                checkpoint: each time it is counted, or one more tuple is known.
 * See:        worker/crash.h, worker/care.h, tests/unit/master/crashes_test.c */
#ifndef OXB_MASTER_CRASHES_H
#define OXB_MASTER_CRASHES_H

#include "net/states.h"
#include "topology/model.h"

struct crash_of { /* one instance */
    char *uid;
    uint32_t index;
    char digest[DIGEST_HEX_BYTES]; /* of its code (K1) */
    uint64_t epoch;                /* complete when it first did */
    unsigned count;                /* since then */
    uint64_t incarnation;          /* of the latest process that it killed */
    bool has_tuple;                /* the latest one: it was processing */
    uint64_t killers[KILLERS_MAX]; /* sums of tuples; of equal ones each */
    size_t killer_count;
    char error[320];               /* of the latest, for people */
    char *tuple;                   /* JSON, of the newest killer that is known; NULL: none is */
};

struct crashes { /* a zeroed struct is empty */
    struct crash_of *items;
    size_t count, capacity;
};
void crashes_fini(struct crashes *cs);

struct crash_note {
    uint64_t incarnation; /* of the process; one is noted once */
    uint64_t epoch; /* newest complete checkpoint */
    bool processing;
    uint64_t sum;   /* of the tuple that it was given alone; 0: none */
    const char *tuple, *error;
};
/* crashes_note - Return: one more tuple is known. */
bool crashes_note(struct crashes *cs, const struct pe *pe, uint32_t index,
                  const struct crash_note *n);
/* crashes_find - what is held against an instance with this code; NULL: nothing. */
const struct crash_of *crashes_find(const struct crashes *cs, const struct pe *pe, uint32_t index);
/* crashes_forgive - a person lets it go on: what was counted is void, the tuples stay known. */
void crashes_forgive(struct crashes *cs, const struct pe *pe, uint32_t index);

enum crash_then { CRASH_AGAIN, CRASH_STOP, CRASH_HOLD, CRASH_SINGLY };
enum crash_then crashes_then(const struct crash_of *c, const struct pe *pe);

#endif
