/* tests/support/local.h - a worker without master: deployments made from PREPARE messages by hand.
 *
 * Owns:    struct local: a loop on a thread of its own, pool, executors, links.
 * Threads: the test calls from its own thread; local_* run what they do on the loop and wait.
 * Use:     local_new; plan_* to describe a graph; local_deploy; local_wait; local_free. */
#ifndef OXB_TESTS_SUPPORT_LOCAL_H
#define OXB_TESTS_SUPPORT_LOCAL_H

#include "worker/change.h"

struct local;
struct local *local_new(const char *name, unsigned executors);
void local_free(struct local *l); /* asserts that nothing is left in the pool */
const char *local_address(const struct local *l); /* of its peer listener */
uint64_t local_incarnation(const struct local *l);
struct pool *local_pool(struct local *l);

/* ---- a plan, put together step by step; ids are 1, 2, 3 ... in order of the calls ---- */
enum { PLAN_MAX = 2048 };
struct plan {
    struct msg msg;
    struct rec_INSTANCE_SPEC instances[PLAN_MAX];
    struct rec_PORT_SPEC ports[PLAN_MAX][2]; /* input, output */
    struct rec_STREAM_SPEC streams[PLAN_MAX];
    uint32_t keys[PLAN_MAX];
    uint16_t owners[PLAN_MAX][KEY_GROUPS];
    struct rec_CHANNEL_SPEC channels[PLAN_MAX];
    struct rec_WORKER_ADDR workers[2];
    unsigned pe_first[PLAN_MAX], pe_count[PLAN_MAX], pes; /* instances by PE */
    const char *where[PLAN_MAX];                          /* worker of each instance */
};
void plan_init(struct plan *p, const char *topology);
/* plan_pe - `count` instances of a registered type.  Schemas as text; "" for none.
 * @worker: name; Return: number of the PE. */
unsigned plan_pe(struct plan *p, const char *type, const char *params, unsigned count,
                 const char *in_schema, const char *out_schema, const char *worker);
/* plan_stream - @key: field number for PLAN_KEYED.  @fused: only with equal counts. */
void plan_stream(struct plan *p, unsigned from, unsigned to, enum plan_partitioning how,
                 uint32_t key, bool fused);
/* plan_for - the part of the plan that `worker` gets; borrowed from `p` until the next call. */
const struct msg *plan_for(struct plan *p, const char *worker);

/* ---- running ---- */
struct part *local_deploy(struct local *l, const struct msg *prepare); /* until READY */
void local_go(struct local *l, struct part *d);
void local_drain(struct local *l, struct part *d);
void local_inject(struct local *l, struct part *d, uint64_t epoch);
/* local_wait - until the deployment's state is `state`; fails the test after 60 s. */
void local_wait(struct local *l, struct part *d, enum deployment_state state);
/* local_wait_epoch - until every instance has passed the marker. */
void local_wait_epoch(struct local *l, struct part *d, uint64_t epoch);
/* local_change - stage a change of `d` until READY; local_change_go - carry it out until done. */
void local_change(struct local *l, struct part *d, const struct msg *prepare);
void local_change_go(struct local *l, struct part *d, struct change_result *out);
void local_change_abort(struct local *l, struct part *d);
/* local_discard - a recovery: all but what stays is halted, until dead; local_change, _go follow.
 * Return: false when it was refused. */
bool local_discard(struct local *l, struct part *d, const struct msg *prepare);
/* local_change in two steps: the state that moves may need another worker to be prepared. */
void local_change_begin(struct local *l, struct part *d, const struct msg *prepare);
void local_change_ready(struct local *l, struct part *d);
/* local_change_go in two steps, for changes of several workers: GO, also of a new part that state
 * comes to; and until it is done there. */
void local_change_start(struct local *l, struct part *d);
void local_change_wait(struct local *l, struct change_result *out);
void local_wait_swept(struct local *l, struct part *d); /* until nothing retired is left */
/* local_wait_for - until the test's own condition holds; looked at often. */
void local_wait_for(struct local *l, bool (*is)(const void *arg), const void *arg);
void local_drop(struct local *l, struct part *d); /* waits until it is freed */
/* local_wait_links - until it holds `count` ends of links. */
void local_wait_links(struct local *l, unsigned count);

#endif
