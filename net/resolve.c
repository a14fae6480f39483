/* net/resolve.c - names to addresses without stopping the loop.
 *
 * Owns:       struct resolve, shared by the loop and one helper thread; the last one frees it.
 * Runs on:    the loop's thread; getaddrinfo alone on the helper, which knows nothing of the loop.
 * Why:        getaddrinfo may wait many seconds for a name server; heartbeats may not. */
#include "core/mem.h"
#include "net/internal.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct resolve {
    atomic_int refs;
    int done_fd;         /* the helper wakes the loop with it */
    atomic_bool is_done; /* `error` and `found` are set, and the loop's from now on */
    char host[256];
    char port[8];
    int error; /* EAI_ */
    struct addrinfo *found;
    /* the loop's alone */
    struct event *event;
    void (*done)(void *arg, int error, struct addrinfo *found);
    void *arg;
};

static void unref(struct resolve *r)
{
    if (atomic_fetch_sub(&r->refs, 1) == 1) {
        if (r->found != NULL) {
            freeaddrinfo(r->found);
        }
        if (r->done_fd >= 0) {
            close(r->done_fd);
        }
        mem_free(r);
    }
}

static void *helper(void *arg)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const uint64_t one = 1;
    struct resolve *r = arg;
    r->error = getaddrinfo(r->host, r->port, &hints, &r->found);
    if (r->error != 0 && strcmp(r->host, "localhost") == 0) {
        /* A machine without /etc/hosts: RFC 6761 says what the name means all the same. */
        r->error = getaddrinfo("127.0.0.1", r->port, &hints, &r->found);
    }
    atomic_store(&r->is_done, true);
    if (write(r->done_fd, &one, sizeof one) < 0) {
        assert(false && "an event counter takes its first count");
    }
    unref(r);
    return NULL;
}

static void on_done(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct resolve *r = arg;
    bool is_done = atomic_load(&r->is_done);
    assert(is_done);
    struct addrinfo *found = r->found;
    r->found = NULL;
    event_free(r->event);
    r->done(r->arg, r->error, found);
    unref(r);
}

/* start_helper - a thread that takes no signals: those are the program's. */
static bool start_helper(struct resolve *r)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, helper, r) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct resolve *resolve_start(struct loop *l, const struct address *what,
                              void (*done)(void *arg, int error, struct addrinfo *found), void *arg)
{
    struct resolve *r = mem_alloc(sizeof *r);
    r->done = done;
    r->arg = arg;
    snprintf(r->host, sizeof r->host, "%s", what->host);
    snprintf(r->port, sizeof r->port, "%u", (unsigned)what->port);
    r->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_init(&r->refs, 2);
    if (r->done_fd < 0 || !start_helper(r)) {
        atomic_store(&r->refs, 1);
        unref(r);
        return NULL;
    }
    r->event = event_new(loop_base(l), r->done_fd, EV_READ, on_done, r);
    assert(r->event != NULL);
    event_add(r->event, NULL);
    return r;
}

void resolve_cancel(struct resolve *r)
{
    if (r != NULL) {
        event_free(r->event);
        unref(r);
    }
}
