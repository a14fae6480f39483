/* master/upgrade.h - a running topology becomes another one: the plan, its change, its receipt.
 *
 *   request -> parsed as for a deploy -> planned against what runs -> refused, no change, or stored
 *   -> the change machine (change.h), on a deployment of its own that hangs at the running one's
 *   `next` -> DONE: it takes its place; ABORTED: it goes, and nothing has changed
 *
 * Owns:       struct upgrade.
 * Runs on:    the master loop.
 * Invariants: U1 what runs is not touched before DONE: an abort needs no undoing.
 *             U2 no receipt says 0 where a ledger was not compared.
 *             U3 times are the master's own clock, taken by the shell; what another life of the
 *                master measured is not made up. */
#ifndef OXB_MASTER_UPGRADE_H
#define OXB_MASTER_UPGRADE_H

#include "core/err.h"
#include "master/change.h"
#include "net/messages.h"

#include <jansson.h>

struct deployment;
struct pgraph;
struct plan;

struct upgrade {
    uint64_t base;              /* the version it replaces */
    struct plan *plan;          /* NULL: decided before this master started */
    json_t *about;              /* of the plan: changes, predicted_pause_us, ..._touched */
    /* the master's clock; 0: not in this life of it */
    uint64_t asked_us, parsed_us, planned_us, at_us[CHANGE_STATES];
    uint64_t deadline_us;       /* not decided by then: aborted; 0: decided in another life */
    bool overdue;               /* decided, and not over by then: said so */
    /* sums of what workers said */
    uint64_t compared, uncompared, lost, duplicated, reordered;
    uint64_t state_bytes;       /* of state sent between workers */
    uint64_t exported, imported;/* keyed entries given and taken in: equal (I3) */
    uint32_t *pauses_us;
    size_t pause_count, pause_capacity;
    bool silent;                /* some worker's answer was not heard: nothing is known */
    bool *covering;             /* [instances of the graph]: they go back with any loss before a
                                 * checkpoint of this version is complete (R20); NULL: not known */
};

/* upgrade_free - @graph: of the deployment; stays its owner's. */
void upgrade_free(struct upgrade *u, const struct pgraph *graph);
/* upgrade_keep_covering - before its plan goes.  @base: what it replaces; NULL: not known. */
void upgrade_keep_covering(struct deployment *d, const struct deployment *base);
/* upgrade_drops - uids of PEs that begin without the state there was: kept with the version, for
 * recoveries from before it.  Caller decrefs. */
json_t *upgrade_drops(const struct plan *p);
void upgrade_mark(struct deployment *d); /* the change may have stepped: note when */
void upgrade_note_done(struct deployment *d, const struct msg_DONE *r, uint64_t worker_id);
/* upgrade_receipt - INTERFACE of docs/API.md; caller decrefs.  @result: "done", "aborted", ... */
json_t *upgrade_receipt(const struct deployment *d, const char *result);
/* upgrade_about - what of the plan outlives it. */
json_t *upgrade_about(const struct plan *p);
/* upgrade_refusal - what no worker of this version can carry out, or the plan's own first refusal.
 * Return: ERR_OK, or the code with `f` set; where: PE or stream. */
MUST_CHECK enum err upgrade_refusal(const struct plan *p, struct fail *f, const char **where);
/* upgrade_check_ended - plan_check_ended, of what the workers of `base` have told with READY. */
MUST_CHECK enum err upgrade_check_ended(const struct deployment *next,
                                        const struct deployment *base, struct fail *f,
                                        const char **where);

#endif
