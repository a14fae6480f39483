/* worker/agent.h - the conversation with the master: joining, plans, reports, artifacts.
 *
 * Owns:       struct agent: the connection, the parts held, the artifact being fetched.
 * Threads:    the loop's.
 * Invariants: V1 a message of a lower term than the highest seen is ignored.
 *             V2 a worker without master keeps running and keeps trying.
 *             V3 after joining, every part held is reported, then REPORT_END.
 *             V4 a prepared part is dropped only when the master says so (R2). */
#ifndef OXB_WORKER_AGENT_H
#define OXB_WORKER_AGENT_H

#include "worker/part.h"
#include "worker/worker.h"

struct agent;
struct agent_options {
    struct loop *loop;
    struct pool *pool;
    struct executors *executors;
    struct links *links;
    struct address master;
    const char *name;
    const char *data_dir;
    const char *listen_host; /* of the peer listener; told to the master */
    unsigned slots, threads;
    const char *const *labels; /* "k=v", NULL at the end; may be NULL */
    uint64_t incarnation;
    const char *crash_path;  /* what the process before has left: worker/crash.h */
    struct worker_callbacks callbacks;
};

struct agent *agent_new(const struct agent_options *o, struct fail *f);
void agent_free(struct agent *a); /* no parts may be left */
void agent_go_from_peer(struct agent *a, const struct msg_LINK_GO *go);
void agent_links_open(struct agent *a);
void agent_links_drained(struct agent *a);
void agent_state(struct agent *a, const struct msg_LINK_STATE *m);
void agent_state_ack(struct agent *a, const struct msg_LINK_STATE_ACK *m);
void agent_peer_up(struct agent *a);
/* agent_halt - drop every part; on_idle(arg) when none is left. */
void agent_halt(struct agent *a, void (*on_idle)(void *arg), void *arg);

#endif
