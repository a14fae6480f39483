/* tests/support/proxy.c - one thread that forwards between pairs of sockets, badly. */
#include "tests/support/proxy.h"

#include "core/mem.h"
#include "core/prng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { PAIRS_MAX = 16, BUFFER = 64 << 10 };

struct way { /* one direction of a pair */
    uint8_t bytes[BUFFER];
    size_t first, count;
    unsigned stalled; /* rounds it still waits */
    bool swallow;
};

struct pair {
    bool used;
    int fds[2]; /* who dialled us; whom we dialled */
    struct way ways[2];
    uint64_t cut_after; /* bytes; 0: never */
};

struct proxy {
    struct sockaddr_in to;
    int listen_fd;
    char address[64];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    struct proxy_manners manners;
    bool swallow_now; /* not yet handed to the pairs */
    bool quit;
    unsigned cuts, accepted;
    /* the proxy's thread */
    struct prng prng;
    struct pair pairs[PAIRS_MAX];
};

static void *thread_main(void *arg);

struct proxy *proxy_new(const char *to, uint64_t seed)
{
    struct proxy *p = mem_alloc(sizeof *p);
    const char *colon = strrchr(to, ':');
    assert_non_null(colon);
    p->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof here;
    p->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(p->listen_fd, 16), 0);
    assert_int_equal(getsockname(p->listen_fd, (struct sockaddr *)&here, &bytes), 0);
    snprintf(p->address, sizeof p->address, "127.0.0.1:%u", ntohs(here.sin_port));
    p->prng.state = seed;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    assert_int_equal(pthread_create(&p->thread, NULL, thread_main, p), 0);
    return p;
}

void proxy_free(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    close(p->listen_fd);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    mem_free(p);
}

const char *proxy_address(const struct proxy *p)
{
    return p->address;
}

void proxy_behave(struct proxy *p, struct proxy_manners m)
{
    pthread_mutex_lock(&p->lock);
    p->manners = m;
    p->swallow_now = m.swallow_up || m.swallow_down;
    while (p->swallow_now) { /* the thread has seen it, at the latest a round later */
        pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

static void wait_for(struct proxy *p, const unsigned *what, unsigned count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int timed_out = 0;
    pthread_mutex_lock(&p->lock);
    while (*what < count && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&p->changed, &p->lock, &until);
    }
    unsigned now = *what;
    pthread_mutex_unlock(&p->lock);
    assert_true(now >= count);
}

void proxy_wait_cuts(struct proxy *p, unsigned count)
{
    wait_for(p, &p->cuts, count);
}

void proxy_wait_pairs(struct proxy *p, unsigned count)
{
    wait_for(p, &p->accepted, count);
}

/* ---------------------------------------------------------------- the proxy's thread */

static void told(struct proxy *p, unsigned *what)
{
    pthread_mutex_lock(&p->lock);
    ++*what;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void end_pair(struct proxy *p, struct pair *pair, bool cut)
{
    if (cut && prng_below(&p->prng, 2) == 0) { /* half of the cuts are resets */
        struct linger hard = {.l_onoff = 1};
        setsockopt(pair->fds[0], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        setsockopt(pair->fds[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    close(pair->fds[0]);
    close(pair->fds[1]);
    pair->used = false;
    if (cut) {
        told(p, &p->cuts);
    }
}

static void accept_one(struct proxy *p, const struct proxy_manners *m)
{
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    struct pair *pair = p->pairs;
    while (pair < p->pairs + PAIRS_MAX && pair->used) {
        pair++;
    }
    int up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair == p->pairs + PAIRS_MAX ||
        connect(up, (const struct sockaddr *)&p->to, sizeof p->to) != 0) {
        close(fd);
        close(up);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(up, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    memset(pair, 0, sizeof *pair);
    pair->used = true;
    pair->fds[0] = fd;
    pair->fds[1] = up;
    pair->cut_after = m->cut_bytes_max > 0 ? 1 + prng_below(&p->prng, m->cut_bytes_max) : 0;
    told(p, &p->accepted);
}

/* Read into and write out of one direction.  Return: false when the pair is over. */
static bool move(struct proxy *p, struct pair *pair, unsigned w, const struct proxy_manners *m)
{
    struct way *way = &pair->ways[w];
    if (way->count == 0) {
        way->first = 0;
        ssize_t got = recv(pair->fds[w], way->bytes, BUFFER, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        way->count = got > 0 && !way->swallow ? (size_t)got : 0;
    }
    if (way->stalled > 0) {
        way->stalled--;
        return true;
    }
    while (way->count > 0) {
        size_t piece = m->piece_max > 0 && m->piece_max < way->count
                           ? 1 + (size_t)prng_below(&p->prng, m->piece_max)
                           : way->count;
        if (m->cut_bytes_max > 0 && pair->cut_after > 0 && pair->cut_after <= piece) {
            (void)send(pair->fds[1 - w], way->bytes + way->first, pair->cut_after - 1,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
            end_pair(p, pair, true);
            return true;
        }
        ssize_t sent = send(pair->fds[1 - w], way->bytes + way->first, piece,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        way->first += (size_t)sent;
        way->count -= (size_t)sent;
        pair->cut_after -= pair->cut_after > 0 ? (uint64_t)sent : 0;
        if (m->stall_1_in > 0 && prng_below(&p->prng, m->stall_1_in) == 0) {
            way->stalled = 1 + (unsigned)prng_below(&p->prng, 20);
            return true;
        }
    }
    return true;
}

static bool round_of(struct proxy *p)
{
    struct pollfd fds[1 + 2 * PAIRS_MAX];
    nfds_t n = 1;
    fds[0] = (struct pollfd){.fd = p->listen_fd, .events = POLLIN};
    for (struct pair *pair = p->pairs; pair < p->pairs + PAIRS_MAX; pair++) {
        for (unsigned w = 0; w < 2 && pair->used; w++) {
            bool reads = pair->ways[w].count == 0, writes = pair->ways[1 - w].count > 0;
            fds[n++] = (struct pollfd){
                .fd = pair->fds[w],
                .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
        }
    }
    (void)poll(fds, n, 1); /* a stall is counted in rounds of a millisecond */
    pthread_mutex_lock(&p->lock);
    struct proxy_manners m = p->manners;
    bool quit = p->quit, swallow = p->swallow_now;
    p->swallow_now = false;
    for (struct pair *pair = p->pairs; swallow && pair < p->pairs + PAIRS_MAX; pair++) {
        pair->ways[0].swallow = m.swallow_up;
        pair->ways[1].swallow = m.swallow_down;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    accept_one(p, &m);
    for (struct pair *pair = p->pairs; pair < p->pairs + PAIRS_MAX; pair++) {
        for (unsigned w = 0; w < 2 && pair->used; w++) {
            if (!move(p, pair, w, &m)) {
                end_pair(p, pair, false);
            }
        }
    }
    return !quit;
}

static void *thread_main(void *arg)
{
    struct proxy *p = arg;
    while (round_of(p)) {
    }
    for (struct pair *pair = p->pairs; pair < p->pairs + PAIRS_MAX; pair++) {
        if (pair->used) {
            end_pair(p, pair, false);
        }
    }
    return NULL;
}
