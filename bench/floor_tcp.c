/* bench/floor_tcp.c - raw bytes over loopback TCP, one thread writing, one reading. */
#include "bench/bench.h"
#include "core/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK_BYTES (256u << 10)

struct sender {
    int fd;
    uint64_t bytes;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    char *block = malloc(BLOCK_BYTES);
    if (block != NULL) {
        memset(block, 'x', BLOCK_BYTES);
        for (uint64_t left = s->bytes; left > 0;) {
            ssize_t n = write(s->fd, block, left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES);
            if (n <= 0) {
                break;
            }
            left -= (uint64_t)n;
        }
    }
    free(block);
    shutdown(s->fd, SHUT_WR);
    return NULL;
}

/* tcp_pair - two ends of one loopback connection.  Return: false when the system refuses. */
static bool tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[1] = -1;
    if (listener >= 0 && fds[0] >= 0 && bind(listener, (struct sockaddr *)&at, bytes) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&at, &bytes) == 0 &&
        connect(fds[0], (struct sockaddr *)&at, bytes) == 0) {
        fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (listener >= 0) {
        close(listener);
    }
    if (fds[1] < 0 && fds[0] >= 0) {
        close(fds[0]);
    }
    return fds[1] >= 0;
}

struct result floor_tcp(uint64_t bytes)
{
    int fds[2];
    if (!tcp_pair(fds)) {
        return result_fail("no loopback connection");
    }
    struct sender s = {fds[0], bytes};
    pthread_t thread;
    char *block = malloc(BLOCK_BYTES);
    uint64_t got = 0;
    uint64_t start = clock_now_ns();
    if (block == NULL || pthread_create(&thread, NULL, send_all, &s) != 0) {
        free(block);
        close(fds[0]);
        close(fds[1]);
        return result_fail("no thread");
    }
    for (;;) {
        ssize_t n = read(fds[1], block, BLOCK_BYTES);
        if (n <= 0) {
            break;
        }
        got += (uint64_t)n;
    }
    double ns = (double)(clock_now_ns() - start);
    pthread_join(thread, NULL);
    free(block);
    close(fds[0]);
    close(fds[1]);
    if (got != bytes) {
        return result_fail("%llu bytes of %llu arrived", (unsigned long long)got,
                           (unsigned long long)bytes);
    }
    return (struct result){.ok = true, .value = (double)bytes / ns};
}
