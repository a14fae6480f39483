/* worker/agent_own.h - the inside of the agent: agent.c, agent_parts.c, agent_artifacts.c,
 * agent_checkpoints.c.
 *
 * Threads:    the loop's. */
#ifndef OXB_WORKER_AGENT_OWN_H
#define OXB_WORKER_AGENT_OWN_H

#include "core/sha256.h"
#include "core/strbuf.h"
#include "worker/about.h"
#include "worker/agent.h"
#include "worker/checkpoint_acks.h"
#include "worker/wills.h"

struct fetch { /* one artifact at a time */
    char digest[SHA256_HEX_BYTES];
    struct strbuf bytes;
    bool active;
};

struct agent {
    struct agent_options o;
    struct part_env env;
    char *name, *artifact_dir, *host, *types;
    struct labels labels;
    struct conn *conn;
    bool joined;
    bool complained; /* that there is no master, since it was joined last */
    uint64_t term; /* highest seen */
    uint64_t retry_ms;
    struct timer *retry, *report;
    struct part *parts;
    struct saver *saver;
    struct acks acks; /* of the newest checkpoints: the master may ask again */
    struct wills wills;
    struct fetch fetch;
    struct crash *crash; /* not told yet; NULL: none */
    void (*on_idle)(void *arg);
    void *idle_arg;
};

/* agent.c */
/* agent_find - the part held of a topology that is not being dropped; NULL: none. */
struct part *agent_find(struct agent *a, const char *topology);
void agent_tell_parts(struct agent *a);
void agent_send_report(struct agent *a, struct part *d);
/* agent_report_soon - news that can wait for the next report of all. */
void agent_report_soon(struct agent *a, struct part *d);

/* agent_parts.c */
/* agent_follow_ - something has changed: what comes next in a part, if it can.
 * after: a recovery or a change that waited; change: a cut, what is retired. */
void agent_follow_after(struct agent *a, struct part *d);
/* agent_prepare, _go, _abort - the messages of that name. */
void agent_prepare(struct agent *a, const struct msg *m);
/* agent_on_ - what the worker's parts and wills tell: part_env, wills. */
void agent_on_prepared(void *arg, struct part *d);
void agent_follow_change(struct agent *a, struct part *d);
void agent_on_change(void *arg, struct part *d);
void agent_on_dropped(void *arg, struct part *d);
void agent_on_will_idle(void *arg);
void agent_go(struct agent *a, const struct msg_GO *m);
void agent_abort(struct agent *a, const struct msg_ABORT *m);

/* agent_artifacts.c */
/* agent_advance - fetch the next artifact somebody lacks, prepare those who lack none. */
void agent_advance(struct agent *a);
void agent_advance_all(void *arg);
void agent_on_lacking(void *arg, struct part *d);
void agent_artifact_chunk(struct agent *a, const struct msg_ARTIFACT_CHUNK *c);

/* agent_checkpoints.c */
void agent_on_saved(void *arg, const struct saved *s);
bool agent_on_will(void *arg, const struct saved *s);
void agent_send_from_will(void *arg, const struct msg *m);
/* agent_follow_commit - COMMITTED once the sinks here have committed what is complete. */
void agent_follow_commit(struct agent *a, struct part *d);
void agent_checkpoint(struct agent *a, const struct msg_CHECKPOINT *m);
void agent_checkpoint_complete(struct agent *a, const struct msg_CHECKPOINT_COMPLETE *m);

#endif
