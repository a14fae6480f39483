/* master/master.h - one master: everything it holds, and how its files call each other.
 *
 * Owns:       struct master; main (or a test) owns the loop.
 * Runs on:    the loop.
 * Invariants: W1 nothing is sent before the term is durable.  W2 PREPARE only after the plan is in
 *             the store, GO only after the decision.  W3 a worker is told to STOP what no live
 *             topology knows. */
#ifndef OXB_MASTER_MASTER_H
#define OXB_MASTER_MASTER_H

#include "master/artifacts.h"
#include "master/deployment.h"
#include "master/events.h"
#include "master/http.h"
#include "master/job.h"
#include "master/members.h"
#include "master/snapshots.h"
#include "master/store.h"
#include "master/tally.h"
#include "master/types.h"
#include "master/wills.h"
#include "net/conn.h"

struct master_options {
    struct address listen;  /* control */
    struct address http;
    const char *data;       /* folder; made when missing */
    unsigned lost_ms;       /* a worker may be away for so long */
    unsigned rejoin_ms;     /* and for so long after a restart of the master */
    unsigned prepare_ms;    /* until every worker has said ready */
    unsigned request_ms;    /* one HTTP request */
};
#define MASTER_OPTIONS_DEFAULT                                                                     \
    {                                                                                              \
        .listen = {"127.0.0.1", 7400}, .http = {"127.0.0.1", 7480}, .data = "./oxbow-data",        \
        .lost_ms = WORKER_LOST_MS, .rejoin_ms = PEER_DEAD_MS + 2 * RECONNECT_MS_MAX,               \
        .prepare_ms = 30000, .request_ms = HTTP_REQUEST_MS_MAX                                     \
    }

struct master {
    /* fixed after master_new */
    struct master_options options;
    struct loop *loop;       /* borrowed */
    struct listener *listener;
    struct http *http;
    struct store *store;
    struct timer *tick;
    int lock;                /* fd of DATA/lock, held for our life */
    uint64_t term;
    uint64_t cluster;        /* of the store, for its life */
    /* now */
    struct artifacts artifacts;
    struct types types;
    struct snapshots snapshots;
    struct jobs jobs;
    struct members members;
    struct deployments deployments;
    struct wills wills;
    unsigned uploads;        /* in flight */
    struct deployment *replaced; /* linked by next; freed at the next tick */
    struct waiting *waiting;     /* ask.c: requests whose turn has not come, oldest first */
    unsigned waiting_count;
    struct events events;
    struct tally tally;
};

/* master_new - takes the lock and the next term, reads back what ran, listens.
 * Return: NULL with `f` set. */
struct master *master_new(struct loop *loop, const struct master_options *o, struct fail *f);
void master_free(struct master *m); /* after the loop has stopped */

/* ---- control.c: connections of workers ---- */
extern const struct conn_ops control_ops; /* arg: struct master */
/* control_send - to that process of that worker; dropped when it is not connected. */
void control_send(struct master *m, uint64_t worker_id, uint64_t incarnation,
                  const struct msg *msg);
void control_tick(struct master *m, uint64_t now_us); /* who is lost by now? */
/* control_may_save - for snapshots.h; arg: struct master. */
bool control_may_save(void *arg, const char *worker, uint64_t incarnation, const char *topology,
                      uint64_t gen);

/* ---- conduct.c: performs what the machines say ---- */
/* @why, @where: kept as the topology's error if this event makes it fail; may be NULL. */
void conduct_change(struct master *m, struct deployment *d, struct change_event in,
                    const struct fail *why, const char *where);
void conduct_life(struct master *m, struct deployment *d, enum life_event on,
                  const struct fail *why, const char *where);
void conduct_stop(struct master *m, struct deployment *d, bool now); /* asked by a user */
void conduct_report(struct master *m, struct member *w, const struct msg_REPORT *r);
void conduct_joined(struct master *m, struct member *w); /* all its reports are in */
void conduct_lost(struct master *m, const struct member *w, uint64_t incarnation);
void conduct_tick(struct master *m, uint64_t now_us);    /* deadlines */
/* conduct_decide_now - the change waited for a checkpoint; nothing if it does not (any more). */
void conduct_decide_now(struct master *m, struct deployment *next);
void conduct_ended(struct master *m, struct deployment *d); /* every part has ended */
/* conduct_supersede - give up the change of `d` that is not decided yet. */
void conduct_supersede(struct master *m, struct deployment *d, const char *why);

/* ---- trouble.c: instances that are held or stuck ---- */
/* trouble_tell - events for what a report has changed. */
void trouble_tell(struct master *m, struct deployment *d);
/* trouble_crash - what a PE has done to the process before this one, if any has. */
void trouble_crash(struct master *m, struct member *w, const struct msg_HELLO *hello);
json_t *trouble_crashes(const struct deployment *d); /* for status */
json_t *trouble_held(const struct instance_view *v); /* for status; null: it is not held */
/* trouble_skip - POST .../skip?pe=NAME: answers `x`. */
void trouble_skip(struct master *m, struct deployment *d, struct exchange *x);

/* ---- deploy.c: from a request to a change under way ---- */
enum deploy_ask { ASK_DEPLOY, ASK_PLAN, ASK_UPGRADE, ASK_SCALE, ASK_ROLLBACK };
struct deploy_request {
    char *yaml;        /* ASK_SCALE, ASK_ROLLBACK: made from what runs when it is their turn */
    size_t yaml_bytes;
    char *base_dir;
    json_t *artifacts; /* object: name in the YAML -> digest */
    enum deploy_ask ask;
    char *name;        /* of the running topology, unless ASK_DEPLOY */
    char *digest;      /* of the plan that was agreed to; NULL: any */
    json_t *scale;     /* ASK_SCALE: object, PE -> parallelism */
    uint64_t to;       /* ASK_ROLLBACK: version; 0: the one before */
    bool to_checkpoint;/* ASK_ROLLBACK: and to the state it had */
    bool keep_output;  /* with it: what was committed since stays */
    uint64_t asked_us;
    uint64_t timeout_us; /* until it must be decided; 0: what the topology says */
};
void deploy_request_fini(struct deploy_request *r);
/* deploy_start - answers `x`, now or when the plug-ins are described. */
void deploy_start(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES);

/* deploy_parts - after d->graph and views: who is told, with which tokens.  @next: id after the
 * graph's; the change's op.  parts[].involved may have been set for more. */
void deploy_parts(struct master *m, struct deployment *d, uint64_t next);
MUST_CHECK enum err deploy_fits(struct master *m, struct deployment *d, struct fail *f);
/* deploy_keep - reserve `ids` (and two more) and store the plan.  @parts, @about: of a change. */
MUST_CHECK enum err deploy_keep(struct master *m, struct deployment *d, uint64_t ids,
                                struct fail *f);
/* deploy_recover - as deploy_keep: the same version under its next generation. */
MUST_CHECK enum err deploy_recover(struct master *m, struct deployment *d, uint64_t ids,
                                   struct fail *f);
/* deploy_rollback - `d` takes the place of version `base`, as it was at the checkpoint `epoch`.
 * @about: of the change. */
MUST_CHECK enum err deploy_rollback(struct master *m, struct deployment *d, uint64_t base,
                                    uint64_t epoch, bool keep_output, json_t *about TAKES,
                                    struct fail *f);
/* deploy_workers - those that are up, as placement sees them without `except`; caller frees. */
struct worker_info *deploy_workers(struct master *m, const struct deployment *except,
                                   uint32_t *count);

/* ---- ask.c: what is asked of running topologies: now, later or never ---- */
#define UPGRADE_TIMEOUT_US 60000000u /* where no topology says another */
/* ask_version_before - the newest version that `d` came from and whose content is another.
 * @digest: of its content.  ERR_NOTFOUND: there is none. */
MUST_CHECK enum err ask_version_before(struct master *m, const struct deployment *d,
                                       uint64_t *version, char digest[DIGEST_HEX_BYTES],
                                       struct fail *f);
void ask_change(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES);
void ask_drain(struct master *m, const char *worker, uint64_t timeout_us,
               struct exchange *x TAKES);
/* ask_again - its turn comes later: what it needs is not over.  @what: it waits for, for people. */
void ask_again(struct master *m, struct deploy_request *r TAKES, const char *what,
               struct exchange *x TAKES);
/* ask_must_wait - true: `r` and `x` are taken, their turn comes; what is under way and not decided
 * has been given up before false is returned. */
bool ask_must_wait(struct master *m, struct deploy_request *r, struct exchange *x);
void ask_resume(struct master *m); /* something is over, or some time has passed */
void ask_fini(struct master *m);

/* ---- drain.c: a worker is emptied ---- */
bool drain_must_wait(const struct master *m, const char *worker);
void drain_start(struct master *m, const char *worker, uint64_t timeout_us,
                 struct exchange *x TAKES);
void drain_end(struct master *m, const char *worker, struct exchange *x TAKES);

/* ---- tell.c: events ---- */
void tell_topology(struct master *m, const struct deployment *d);
void tell_phase(struct master *m, const struct deployment *d);
/* @answer: "ready", "not ready", "done".  @why: of "not ready", or NULL. */
void tell_answer(struct master *m, const struct deployment *d, const char *worker,
                 const char *answer, const struct fail *why);
void tell_receipt(struct master *m, const struct deployment *d, const json_t *receipt);
void tell_worker(struct master *m, const struct member *w);
void tell_faults(struct master *m, struct deployment *d); /* of the ledgers, once each */
void tell_error(struct master *m, const struct deployment *d, const struct fail *f,
                const char *where);

/* ---- change_running.c: a running topology becomes another one ---- */
struct plan;
/* running_plan_make - `next`, parsed, against what runs.
 * @timeout_us: 0: what `next` says.  @first: the id its plan starts from. */
MUST_CHECK enum err running_plan_make(struct master *m, const struct deployment *d,
                                      struct deployment *next, uint64_t asked_us,
                                      uint64_t timeout_us, struct plan **out, uint64_t *first,
                                      struct fail *f);
/* running_begin - store it and hang it up at `d`; the change is the caller's to start.
 * @p: next's on ERR_OK, else still the caller's. */
MUST_CHECK enum err running_begin(struct master *m, struct deployment *d, struct deployment *next,
                                  struct plan *p, uint64_t first_id, struct fail *f);
json_t *running_answer(const struct master *m, const struct deployment *d,
                       const struct deployment *next, const struct plan *p);
/* running_plan - `next` is parsed: plan it against what runs; answer, and begin when asked to. */
void running_plan(struct master *m, struct deployment *next TAKES, const struct deploy_request *r,
                  struct exchange *x TAKES);
void running_history(struct master *m, const char *name, bool receipts, struct exchange *x TAKES);
/* running_over - `next`'s change is over: its receipt is kept; it takes the place of what it
 * replaces unless it was aborted.  Both stay valid until the next tick. */
void running_over(struct master *m, struct deployment *next, const char *result);
/* running_of_op - the deployment of that name whose change has this op; NULL: none. */
struct deployment *running_of_op(struct master *m, const char *name, uint64_t op);
void running_sweep(struct master *m); /* free what was replaced */

/* ---- restore.c: after a restart ---- */
MUST_CHECK enum err restore_all(struct master *m, struct fail *f);
/* restore_graph - model, graph and views of `d` from its rows. */
MUST_CHECK enum err restore_graph(struct master *m, struct deployment *d,
                                  const struct store_version *v, struct fail *f);

/* ---- rollback.c: a running topology goes back to a checkpoint of the version before ---- */
void rollback_start(struct master *m, struct deploy_request *r TAKES, struct exchange *x TAKES);
/* rollback_take_place - `next`, decided, is what there is of it from now on; `d` is freed later. */
void rollback_take_place(struct master *m, struct deployment *d, struct deployment *next);

/* ---- repair.c: an upgrade that gives other code to a PE that is stuck ---- */
/* repair_of - the stuck instances whose code it changes, [{pe, instance, worker}]; NULL: none, it
 * is an upgrade as any. */
json_t *repair_of(const struct deployment *d, const struct plan *p);
/* repair_check - what stands in the way; nothing has changed. */
MUST_CHECK enum err repair_check(struct master *m, const struct deployment *d, const struct plan *p,
                                 const json_t *repairs, struct fail *f);
/* repair_begin - ERR_OK: `x` is answered, `next` and `p` are in use.  Requires: repair_check. */
MUST_CHECK enum err repair_begin(struct master *m, struct deployment *d, struct deployment *next,
                                 struct plan *p, json_t *repairs, struct exchange *x,
                                 struct fail *f);
/* repair_renew - tell it (again) to begin anew: `renewing` of the member says which process. */
void repair_renew(struct master *m, const struct member *w);
void repair_over(struct master *m, struct deployment *d, uint64_t took_us); /* it runs */

/* ---- api.c: the routes ---- */
extern const struct http_ops api_ops; /* arg: struct master */
/* api_fail - answer with an error body.  @where: file or field, or "". */
void api_fail(struct exchange *x TAKES, int status, const struct fail *f, const char *where);
void api_json(struct exchange *x TAKES, int status, json_t *body TAKES);
void api_diags(struct exchange *x TAKES, const struct diags *d);

/* ---- status.c, metrics.c: what people and Prometheus see; pure ---- */
json_t *status_topology(const struct deployment *d);      /* caller decrefs */
json_t *status_topologies(const struct deployments *ds);
json_t *status_workers(const struct members *ms, const struct deployments *ds, uint64_t now_us);
json_t *status_error(const struct fail *f, const char *where);
json_t *status_text(const char *s); /* a JSON string even if `s` is not UTF-8 */
uint32_t status_slots_used(const struct deployments *ds, uint64_t worker_id);
void metrics_text(const struct members *ms, const struct deployments *ds, const struct tally *t,
                  struct strbuf *out);

#endif
