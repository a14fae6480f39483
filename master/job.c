/* master/job.c - slow work beside the loop: one thread per job, its result back on the loop. */
#include "master/job.h"

#include "core/mem.h"

#include <assert.h>
#include <pthread.h>

struct job {
    struct jobs *jobs;
    struct job *next;
    pthread_t thread;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_loop(void *arg);

static void *body(void *arg)
{
    struct job *j = arg;
    j->work(j->arg);
    loop_post(j->jobs->loop, on_loop, j);
    return NULL;
}

void jobs_init(struct jobs *js, struct loop *loop)
{
    *js = (struct jobs){.loop = loop};
}

void jobs_fini(struct jobs *js)
{
    while (js->first != NULL) {
        on_loop(js->first);
    }
}

bool jobs_has_room(const struct jobs *js)
{
    return js->count < JOBS_MAX;
}

void job_start(struct jobs *js, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    assert(jobs_has_room(js));
    struct job *j = mem_alloc(sizeof *j);
    *j = (struct job){.jobs = js, .next = js->first, .work = work, .done = done, .arg = arg};
    js->first = j;
    js->count++;
    int rc = pthread_create(&j->thread, NULL, body, j);
    assert(rc == 0);
}

static void on_loop(void *arg)
{
    struct job *j = arg;
    struct jobs *js = j->jobs;
    pthread_join(j->thread, NULL); /* it has posted this as its last act, or is about to */
    struct job **link = &js->first;
    while (*link != j) {
        link = &(*link)->next;
    }
    *link = j->next;
    js->count--;
    j->done(j->arg);
    mem_free(j);
}
