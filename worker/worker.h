/* worker/worker.h - the whole worker: what oxbow-worker runs and what a program can embed.
 *
 * Owns:       struct worker: loop, pool, executors, links, parts, the agent.
 * Threads:    worker_run holds the calling thread as the loop's; worker_quit: any.
 * See:        worker/agent.c for the conversation with the master. */
#ifndef OXB_WORKER_WORKER_H
#define OXB_WORKER_WORKER_H

#include "core/err.h"
#include "pe/pe.h"

struct worker;

struct worker_callbacks {
    /* The master accepted it (each time): name, peer port. */
    void (*on_ready)(void *arg, const char *name, uint16_t peer_port);
    /* It cannot go on (refused by the master): text for a person. */
    void (*on_refused)(void *arg, const char *what, const char *hint);
    /* How many topologies have a part here; may be NULL. */
    void (*on_parts)(void *arg, unsigned parts);
    /* A call of a PE hangs and only the end of the process ends it: replace the process by a new
     * one, or end it; does not return.  NULL: this program cannot. */
    void (*on_renew)(void *arg, const char *why);
    void *arg;
};

struct worker *worker_new(const struct oxb_worker_options *o, const struct worker_callbacks *cb,
                          struct fail *f);
void worker_run(struct worker *w);  /* until worker_quit and everything has ended */
void worker_quit(struct worker *w); /* any thread: halt every topology here, then return */
void worker_free(struct worker *w);

#endif
