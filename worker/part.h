/* worker/part.h - one topology's part on this worker: from PREPARE to its last byte.
 *
 * Owns:       struct part: instances, chains, channels of one topology here.
 * Threads:    the loop's; preparation runs on a helper thread that touches only what it builds.
 * States:     PREPARING -(helper done, artifacts here)-> READY -(GO)-> RUNNING -(STOP)-> DRAINING
 *             RUNNING | DRAINING -(all ended, links drained)-> ENDED; any instance fails -> FAILED.
 *             From every state a drop leads to `dropping`, and the memory goes with the last chain.
 * Invariants: D1 an (op) is prepared at most once; GO for another op than the prepared is ignored.
 *             D2 nothing runs before GO.  D3 nothing is freed before every chain is dead.
 * See:        worker/build.c (PREPARE -> instances and channels), worker/agent.c (who calls). */
#ifndef OXB_WORKER_PART_H
#define OXB_WORKER_PART_H

#include "net/messages.h"
#include "net/states.h"
#include "pe/registry.h"
#include "worker/chain.h"
#include "worker/link.h"
#include "worker/wired.h"

#include <pthread.h>

struct part;
struct change;
struct moves;
struct grave;

struct part_env { /* what a deployment needs of its worker; borrowed */
    struct loop *loop;
    struct pool *pool;
    struct executors *executors;
    struct links *links;
    const char *worker_name;
    const char *artifact_dir;
    struct saver *saver;
    struct address master;
    uint64_t incarnation;     /* ours */
    /* Calls back on the loop's thread. */
    void (*on_lacking)(void *arg, struct part *d);  /* an artifact was damaged, and is gone */
    void (*on_prepared)(void *arg, struct part *d); /* READY, or failed: see d->fail */
    void (*on_change)(void *arg, struct part *d);   /* the state may have changed */
    void (*on_dropped)(void *arg, struct part *d);  /* freed by the callee */
    void *arg;
};

/* What a finished change did here, from the ledgers of the channels it closed. */
struct change_result {
    uint64_t op, compared, uncompared, lost, duplicated, reordered, switch_us;
    uint64_t state_bytes, exported, imported; /* sent to peers; keyed entries given and taken in */
    uint64_t resent; /* tuples that come again from logs */
    uint32_t *pauses_us;
    size_t pause_count;
};

struct part {
    struct part *next;
    const struct part_env *env;
    /* of the plan */
    char name[NAME_BYTES_MAX + 1];
    uint64_t version, gen, op, epoch;
    uint64_t retain_bytes;    /* for all logs of its channels: worker/retain.h */
    struct msg plan;          /* PREPARE, owned */
    /* life */
    enum deployment_state state;
    bool failed;              /* preparation failed: `fail`, `fail_where` */
    struct fail fail;
    char fail_where[NAME_BYTES_MAX + 1];
    uint64_t reported_us, report_took_us; /* the latest REPORT: when, and how long it took */
    uint64_t waits_since_us;  /* prepared, but not READY: see agent.c; 0: not waiting */
    bool dropping, preparing; /* a helper thread is at work */
    bool lacking;             /* its helper has found a damaged artifact */
    pthread_t helper;
    _Atomic bool change_posted;
    /* parts */
    struct instance **instances; /* [plan.add_instances]; borrowed: chains own them */
    uint32_t instance_count;
    struct chain **chains;
    uint32_t chain_count;
    struct channel **channels;
    uint32_t channel_count;
    uint64_t commit_epoch;    /* complete, sinks are committing it; 0: none */
    uint64_t committed_epoch; /* told to the master */
    /* a change of a running part, prepared beside it: worker/change.h */
    struct part *base;        /* what it changes; NULL: a new part */
    struct adopted {
        struct instance *instance; /* of base */
        struct oxb_pe *pe;         /* owned until the cut is made of it */
    } *adopted;
    uint32_t adopted_count;
    struct instance **chain_heads; /* [chain_count], of a staged part */
    struct part *pending;     /* of base: staged and not yet READY, or NULL */
    struct part *after;       /* of base: its turn comes when `pending`, given up, has gone */
    bool discards;            /* of `after`: what it does not leave alone is still here */
    struct change *change;    /* of base: the one under way, or NULL */
    struct change_result last_change;
    struct grave *graves;     /* of base: retired, not yet freed */
    struct moves *arriving;   /* of a new part: state that comes to it from elsewhere, or NULL */
    struct moves *moved;      /* of base: of its last change, for peers that ask again; or NULL */
};

/* part_new - @prepare: copied.  Preparation starts with part_prepare. */
struct part *part_new(const struct part_env *env, const struct msg *prepare);
/* part_artifact - a digest the plan needs that is not in the artifact folder; NULL: none. */
const char *part_artifact(const struct part *d);
void part_prepare(struct part *d); /* starts the helper; on_prepared follows */
void part_go(struct part *d);
void part_drain(struct part *d);
/* part_inject - a checkpoint's marker at the sources; earlier ones were given up, and release here
 * what waits for their markers: who feeds it may never have sent one, and wait for it in turn. */
void part_inject(struct part *d, uint64_t epoch);
void part_commit(struct part *d, uint64_t epoch); /* that checkpoint is complete: sinks commit */
void part_void(struct part *d, uint64_t epoch);   /* checkpoints below it are void */
/* part_committed - is commit_epoch committed here?  @what: why not, if one could not; else "". */
bool part_committed(struct part *d, const char **what);
void part_drop(struct part *d);    /* halt all; on_dropped follows, on a later turn */
void part_free(struct part *d);
/* part_update - recompute the state.  Return: did it change? */
bool part_update(struct part *d);
/* part_report - fill a zeroed REPORT; what it points to lives in `arena` until freed by
 * report_arena_free. */
struct report_arena;
struct report_arena *part_report(struct part *d, struct msg *m);
void report_arena_free(struct report_arena *a);

/* ---- worker/build.c ---- */
/* build_instances - helper thread: load code, make and prepare PEs.  ERR_*: d->fail is set. */
MUST_CHECK enum err build_instances(struct part *d);
/* part_stage - a change of `base`, as part_new; part_prepare and on_prepared follow as for any.
 * Requires: no change of base is staged or under way. */
struct part *part_stage(struct part *base, const struct msg *prepare);
/* part_put_after - what is to be staged when the pending part, which nobody wants any more, is
 * gone; on_change says when.  NULL: nothing. */
void part_put_after(struct part *base, struct part *after TAKES);
/* part_unstage - give up what is pending; it is freed when its helper is done with it. */
void part_unstage(struct part *base);
/* part_settle - loop, at GO: names and policies of instances that stay, as the plan has them. */
void part_settle(struct part *d);
/* part_unlinked - a peer that channels lead to and whose link is not up; NULL: none. */
const char *part_unlinked(const struct part *d);
/* part_moves_changed - the moves of its change have gone on: READY, failed, or done?
 * part_look_ready - READY or failed, after other news of what it waits for. */
void part_moves_changed(struct part *base);
void part_look_ready(struct part *base);
/* part_check_dropped - calls on_dropped once nothing of a dropping part runs any more. */
void part_check_dropped(struct part *d);
/* part_instance - by id, here or in the part this one changes; NULL.
 * part_code_of - the code an instance will run once the part has gone. */
struct instance *part_instance(const struct part *d, uint64_t id);
struct oxb_pe *part_code_of(const struct part *d, const struct instance *i);
/* part_policy - packed, as in struct instance.  part_ports - outputs, with the one behind them for
 * dead letters. */
uint64_t part_policy(const struct rec_INSTANCE_SPEC *spec);
static inline uint32_t part_ports(const struct rec_INSTANCE_SPEC *spec)
{
    return (uint32_t)spec->outputs_count + 1;
}
MUST_CHECK enum err plan_malformed(struct part *d, const char *what);
struct wiring {
    struct input *inputs;
    uint32_t input_count;
    struct out_port *ports;
    uint32_t port_count;
};
/* build_wiring - what `me` has of the channels listed. */
MUST_CHECK enum err build_wiring(struct part *d, const struct wired_list *list,
                                 struct instance *me, uint32_t port_count, struct wiring *out);
/* build_channels - loop thread: the new channels of the plan. */
MUST_CHECK enum err build_channels(struct part *d);
/* part_listen - news of the chain go to this part. */
void part_listen(struct part *d, struct chain *c);
/* build_graph - loop thread: channels, wiring, chains, links. */
MUST_CHECK enum err build_graph(struct part *d);

#endif
