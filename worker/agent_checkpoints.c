/* worker/agent_checkpoints.c - checkpoints: acknowledged, completed, committed, wills stored. */
#include "core/failpoint.h"
#include "core/mem.h"
#include "worker/agent_own.h"
#include "worker/change.h"

#include <stdio.h>
#include <string.h>

static void send_ack(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    struct msg m;
    acks_message(s, a->o.incarnation, &m);
    if (a->joined) {
        conn_send(a->conn, &m);
    }
}

void agent_on_saved(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    acks_keep(&a->acks, s);
    send_ack(a, s);
}

/* H1 of the change: DONE waits for it. */
bool agent_on_will(void *arg, const struct saved *s)
{
    struct agent *a = arg;
    struct part *d = agent_find(a, s->topology);
    FAILPOINT("will.stored");
    if (d == NULL || d->gen != s->gen || !change_on_will(d, s->instance, s->epoch, s->ok)) {
        return false;
    }
    if (s->ok) {
        agent_follow_change(a, d);
    }
    return !s->ok;
}

void agent_send_from_will(void *arg, const struct msg *m)
{
    struct agent *a = arg;
    if (a->joined) {
        conn_send(a->conn, m);
    }
}

/* The sinks here may have committed what is complete. */
void agent_follow_commit(struct agent *a, struct part *d)
{
    const char *pe = "";
    if (d->commit_epoch == d->committed_epoch || !a->joined || !part_committed(d, &pe)) {
        return;
    }
    char what[NAME_BYTES_MAX + 80] = "";
    if (pe[0] != '\0') {
        snprintf(what, sizeof what, "PE %s could not commit: see the worker's log", pe);
    }
    struct msg m = {.kind = M_COMMITTED};
    m.COMMITTED = (struct msg_COMMITTED){.topology = d->name,
                                         .gen = d->gen,
                                         .epoch = d->commit_epoch,
                                         .incarnation = a->o.incarnation,
                                         .ok = pe[0] == '\0',
                                         .what = what};
    d->committed_epoch = d->commit_epoch;
    FAILPOINT("checkpoint.committed");
    conn_send(a->conn, &m);
}

void agent_checkpoint(struct agent *a, const struct msg_CHECKPOINT *m)
{
    struct part *d = agent_find(a, m->topology);
    if (d != NULL && d->gen == m->gen && d->state >= DEPLOYMENT_RUNNING &&
        d->state <= DEPLOYMENT_ENDED) {
        acks_each(&a->acks, m->topology, m->gen, m->epoch, send_ack, a); /* asked again */
        part_inject(d, m->epoch);
    }
}

/* In a folder it is workers that remove what nobody needs. */
static void sweep_folder(struct agent *a, const struct part *d,
                         const struct msg_CHECKPOINT_COMPLETE *m)
{
    const char *location = d->plan.PREPARE.location;
    size_t count = m->needed.bytes / sizeof(uint64_t);
    if (location[0] == '\0' || count == 0) {
        return;
    }
    uint64_t *needed = mem_array(count, sizeof *needed);
    memcpy(needed, m->needed.data, count * sizeof *needed);
    saver_sweep(a->saver, location, d->name, needed, count, m->epoch);
}

void agent_checkpoint_complete(struct agent *a, const struct msg_CHECKPOINT_COMPLETE *m)
{
    struct part *d = agent_find(a, m->topology);
    if (d == NULL || d->gen != m->gen || d->state < DEPLOYMENT_RUNNING) {
        return;
    }
    if (m->epoch == d->committed_epoch) {
        d->committed_epoch = 0; /* told before, and asked again */
    }
    FAILPOINT("checkpoint.complete");
    sweep_folder(a, d, m);
    part_commit(d, m->epoch);
    agent_follow_commit(a, d);
}
