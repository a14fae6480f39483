/* net/listener.c - accepts connections, as many as it may and no faster than descriptors allow.
 *
 * Owns:       struct listener, until listener_close and the end of its last connection.
 * Runs on:    the loop's thread.
 * Invariants: A1 never more than conns_max connections at a time.  A2 out of descriptors, the loop
 *             neither spins nor leaves a peer waiting: the spare one takes it and hangs up.
 * See:        net/conn.c, tests/unit/net/conn_test.c */
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "net/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 256         /* connections the kernel keeps for us while we are busy */
#define ACCEPTS_PER_TURN 64 /* so that a flood leaves room for everybody else */
#define BACK_OFF_MS 100     /* out of descriptors: some close within this time or none do */
#define WARN_US 1000000u    /* at most one line a second about refused connections */

struct listener {
    struct loop_item item;
    struct loop *loop;
    struct conn_ops ops;
    void *arg;
    int fd;       /* -1 once closed */
    int spare_fd; /* given up for a moment when there is no other: A2 */
    uint16_t port;
    struct event *readable;
    struct timer *back_off;
    unsigned conns;
    unsigned conns_max;
    /* refused since the last line about it */
    unsigned refused;
    uint64_t warned_us;
};

static void free_when_unused(struct listener *l)
{
    if (l->fd < 0 && l->conns == 0) {
        mem_free(l);
    }
}

static void shut(struct listener *l)
{
    timer_free(l->back_off);
    event_free(l->readable);
    close(l->fd);
    if (l->spare_fd >= 0) {
        close(l->spare_fd);
    }
    l->fd = l->spare_fd = -1;
    free_when_unused(l);
}

static void drop(struct loop_item *item)
{
    shut((struct listener *)(void *)((char *)item - offsetof(struct listener, item)));
}

void listener_close(struct listener *l)
{
    if (l != NULL) {
        loop_assert(l->loop);
        loop_remove(&l->item);
        shut(l);
    }
}

void listener_release(struct listener *l)
{
    l->conns--;
    free_when_unused(l);
}

/* ---- accepting ---- */
static void refuse(struct listener *l, int fd, const char *why)
{
    close(fd);
    l->refused++;
    uint64_t now_us = clock_now_us();
    if (l->warned_us == 0 || now_us - l->warned_us > WARN_US) {
        log_event(LOG_WARN, "net.refused", "port=%u connections=%u refused=%u why=\"%s\"",
                  (unsigned)l->port, l->conns, l->refused, why);
        l->warned_us = now_us;
        l->refused = 0;
    }
}

static void no_descriptors(struct listener *l)
{
    if (l->spare_fd >= 0) {
        close(l->spare_fd);
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            refuse(l, fd, "out of file descriptors");
        }
    }
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    event_del(l->readable);
    timer_set(l->back_off, BACK_OFF_MS, false);
}

static void on_back_off(void *arg)
{
    struct listener *l = arg;
    event_add(l->readable, NULL);
}

static void on_acceptable(int listening, short what, void *arg)
{
    (void)what;
    struct listener *l = arg;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && l->conns < l->conns_max) {
            l->conns++;
            (void)conn_adopt(l->loop, fd, &l->ops, l->arg, l);
        } else if (fd >= 0) {
            refuse(l, fd, "too many connections");
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            no_descriptors(l);
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } /* else: that peer gave up (ECONNABORTED and its like) */
    }
}

/* ---- opening ---- */
static int listen_at(const struct addrinfo *at)
{
    const int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static enum err open_socket(const struct address *at, int *fd, uint16_t *port, struct fail *f)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)at->port);
    int e = at->host[0] == '\0' ? EAI_NONAME : getaddrinfo(at->host, service, &hints, &found);
    if (e != 0) {
        return fail_set(f, ERR_INVALID, "name an address of this machine, such as 127.0.0.1",
                        "cannot listen on %s:%s: %s", at->host, service, gai_strerror(e));
    }
    *fd = listen_at(found);
    int error = errno;
    freeaddrinfo(found);
    if (*fd < 0) {
        return fail_set(f, ERR_IO,
                        error == EADDRINUSE ? "another program listens there; choose another port"
                                            : "name an address of this machine, such as 127.0.0.1",
                        "cannot listen on %s:%s: %s", at->host, service, strerror(error));
    }
    struct sockaddr_storage own = {0};
    socklen_t bytes = sizeof own;
    getsockname(*fd, (struct sockaddr *)&own, &bytes);
    *port = sockaddr_port(&own);
    return ERR_OK;
}

struct listener *listener_open(struct loop *l, const struct address *at, unsigned conns_max,
                               const struct conn_ops *ops, void *arg, struct fail *f)
{
    loop_assert(l);
    int fd = -1;
    uint16_t port = 0;
    if (open_socket(at, &fd, &port, f) != ERR_OK) {
        return NULL;
    }
    struct listener *new = mem_alloc(sizeof *new);
    *new = (struct listener){.item = {.drop = drop},
                             .loop = l,
                             .ops = *ops,
                             .arg = arg,
                             .fd = fd,
                             .spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
                             .port = port,
                             .conns_max = conns_max};
    new->back_off = timer_new(l, on_back_off, new);
    new->readable = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, on_acceptable, new);
    event_add(new->readable, NULL);
    loop_add(l, &new->item);
    return new;
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

unsigned listener_conns(const struct listener *l)
{
    return l->conns;
}
