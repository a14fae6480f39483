/* worker/embed.c - a worker inside a program of the user's own (end of pe/pe.h).
 *
 * Owns:       struct oxb_worker: the worker and the thread its loop runs on.
 * Threads:    oxb_worker_start and oxb_worker_stop: any thread of the program, one at a time. */
#include "worker/worker.h"

#include "core/clock.h"
#include "core/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { JOIN_MS = 10000 };

struct oxb_worker {
    struct worker *worker;
    pthread_t thread;
    pthread_mutex_t lock; /* leaf: state */
    pthread_cond_t changed;
    enum { JOINING, JOINED, REFUSED } state;
    char why[512];
    unsigned parts;   /* topologies with a part here */
    bool had_parts;
};

static void set_state(struct oxb_worker *w, int state, const char *what, const char *hint)
{
    pthread_mutex_lock(&w->lock);
    if (w->state == JOINING) {
        w->state = state == JOINED ? JOINED : REFUSED;
        snprintf(w->why, sizeof w->why, "%s; %s", what, hint);
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void on_ready(void *arg, const char *name, uint16_t port)
{
    (void)name;
    (void)port;
    set_state(arg, JOINED, "", "");
}

static void on_refused(void *arg, const char *what, const char *hint)
{
    set_state(arg, REFUSED, what, hint);
}

static void on_parts(void *arg, unsigned parts)
{
    struct oxb_worker *w = arg;
    pthread_mutex_lock(&w->lock);
    w->parts = parts;
    w->had_parts = w->had_parts || parts > 0;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

int oxb_worker_wait(struct oxb_worker *w, unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int waited = 0;
    pthread_mutex_lock(&w->lock);
    while ((!w->had_parts || w->parts > 0) && waited != ETIMEDOUT) {
        waited = timeout_ms == 0 ? pthread_cond_wait(&w->changed, &w->lock)
                                 : pthread_cond_timedwait(&w->changed, &w->lock, &until);
    }
    bool over = w->had_parts && w->parts == 0;
    pthread_mutex_unlock(&w->lock);
    return over ? 0 : -1;
}

static void *thread_main(void *arg)
{
    struct oxb_worker *w = arg;
    worker_run(w->worker);
    return NULL;
}

struct oxb_worker *oxb_worker_start(const struct oxb_worker_options *o, char *err, size_t err_bytes)
{
    struct oxb_worker *w = mem_alloc(sizeof *w);
    struct worker_callbacks cb = {
        .on_ready = on_ready, .on_refused = on_refused, .on_parts = on_parts, .arg = w};
    struct fail f = {0};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->worker = worker_new(o, &cb, &f);
    if (w->worker == NULL || pthread_create(&w->thread, NULL, thread_main, w) != 0) {
        snprintf(err, err_bytes, "%s; %s", f.what, f.hint);
        worker_free(w->worker);
        mem_free(w);
        return NULL;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_MS / 1000;
    pthread_mutex_lock(&w->lock);
    int waited = 0;
    while (w->state == JOINING && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    }
    bool joined = w->state == JOINED;
    snprintf(err, err_bytes, "%s",
             joined             ? ""
             : waited == ETIMEDOUT ? "the master did not answer; is it running there?"
                                   : w->why);
    pthread_mutex_unlock(&w->lock);
    if (!joined) {
        oxb_worker_stop(w);
        return NULL;
    }
    return w;
}

void oxb_worker_stop(struct oxb_worker *w)
{
    if (w == NULL) {
        return;
    }
    worker_quit(w->worker);
    pthread_join(w->thread, NULL);
    worker_free(w->worker);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}
