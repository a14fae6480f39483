/* tests/e2e/hostile.c - says something hostile to a port, then checks that it was told to go.
 *
 * usage: hostile HOST:PORT ATTACK [SEED]
 * ATTACK:
 *   random     1 MiB of seeded random bytes
 *   lying      a control frame head that claims 4 GiB - 1, a few bytes of body
 *   large      a control frame head that claims just more than the limit before HELLO
 *   arrays     a valid frame whose MessagePack claims an array of 2^32 - 1
 *   nested     a valid frame of 60,000 nested arrays (below the frame limit)
 *   brackets   an HTTP POST of 100,000 `[` as a topology
 *   header     an HTTP request whose header never ends
 *   length     an HTTP POST with a Content-Length of 10^15
 *   drip       one byte, then nothing
 * It writes, then reads until the peer closes or DEADLINE_S passes.  Exit: 0 closed or answered by
 * an HTTP error, 1 still open, 2 usage, 3 could not connect. */
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_S 20
#define RANDOM_BYTES (1u << 20)
#define NESTING 60000u
#define BRACKETS 100000u

struct bytes {
    uint8_t *data;
    size_t count;
};

static uint64_t random_next(uint64_t *state) /* xorshift64 */
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct bytes make(size_t count)
{
    struct bytes b = {calloc(count, 1), count};
    if (b.data == NULL) {
        fputs("hostile: out of memory\n", stderr);
        exit(2);
    }
    return b;
}

/* frame - u32 body bytes, u16 kind (1), u8 version (1), u8 magic; claimed may lie. */
static struct bytes frame(uint32_t claimed, size_t body)
{
    struct bytes b = make(8 + body);
    for (unsigned i = 0; i < 4; i++) {
        b.data[i] = (uint8_t)(claimed >> (8 * i));
    }
    b.data[4] = 1;
    b.data[6] = 1;
    b.data[7] = 0x4F;
    return b;
}

static struct bytes attack_random(uint64_t seed)
{
    struct bytes b = make(RANDOM_BYTES);
    for (size_t i = 0; i < b.count; i++) {
        b.data[i] = (uint8_t)random_next(&seed);
    }
    return b;
}
static struct bytes attack_arrays(void)
{
    static const uint8_t claim[] = {0xdd, 0xff, 0xff, 0xff, 0xff}; /* array 32 */
    struct bytes b = frame(5, 5);
    memcpy(b.data + 8, claim, sizeof claim);
    return b;
}
static struct bytes attack_nested(void)
{
    struct bytes b = frame(NESTING, NESTING);
    memset(b.data + 8, 0x91, NESTING); /* array of one */
    return b;
}

static struct bytes attack_http(const char *what)
{
    static const char brackets[] = "POST /v1/topologies HTTP/1.1\r\nHost: x\r\n"
                                   "Content-Type: application/yaml\r\n"
                                   "Content-Length: 100000\r\n\r\n";
    static const char length[] = "POST /v1/topologies HTTP/1.1\r\nHost: x\r\n"
                                 "Content-Length: 1000000000000000\r\n\r\nabc";
    static const char header[] = "GET /healthz HTTP/1.1\r\nX-Long: ";
    struct bytes b;
    if (strcmp(what, "length") == 0) {
        b = make(sizeof length - 1);
        memcpy(b.data, length, b.count);
    } else if (strcmp(what, "header") == 0) {
        b = make(sizeof header - 1 + RANDOM_BYTES);
        memset(b.data, 'a', b.count);
        memcpy(b.data, header, sizeof header - 1);
    } else {
        b = make(sizeof brackets - 1 + BRACKETS);
        memset(b.data, '[', b.count);
        memcpy(b.data, brackets, sizeof brackets - 1);
    }
    return b;
}

static bool attack_make(const char *what, uint64_t seed, struct bytes *out)
{
    if (strcmp(what, "random") == 0) {
        *out = attack_random(seed);
    } else if (strcmp(what, "lying") == 0) {
        *out = frame(UINT32_MAX, 100);
    } else if (strcmp(what, "large") == 0) {
        *out = frame(64u * 1024u + 1u, 100);
    } else if (strcmp(what, "arrays") == 0) {
        *out = attack_arrays();
    } else if (strcmp(what, "nested") == 0) {
        *out = attack_nested();
    } else if (strcmp(what, "drip") == 0) {
        *out = make(1);
    } else if (strcmp(what, "brackets") == 0 || strcmp(what, "header") == 0 ||
               strcmp(what, "length") == 0) {
        *out = attack_http(what);
    } else {
        return false;
    }
    return true;
}

static int dial(const char *address)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int fd = -1;
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        return -1;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &list) == 0) {
        fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
        freeaddrinfo(list);
    }
    return fd;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* talk - send what fits, read until the end.  Return: true when the peer closed or refused. */
static bool talk(int fd, const struct bytes *b)
{
    char answer[4096];
    size_t sent = 0;
    int64_t deadline = now_ms() + DEADLINE_S * 1000;
    while (now_ms() < deadline) {
        short want = (short)(POLLIN | (sent < b->count ? POLLOUT : 0));
        struct pollfd p = {fd, want, 0};
        if (poll(&p, 1, 1000) <= 0) {
            continue;
        }
        if ((p.revents & POLLIN) != 0) {
            ssize_t n = recv(fd, answer, sizeof answer, 0);
            if (n <= 0 || (n > 9 && memcmp(answer, "HTTP/1.", 7) == 0 && answer[9] == '4')) {
                return true;
            }
        } else if ((p.revents & (POLLERR | POLLHUP)) != 0) {
            return true;
        } else if ((p.revents & POLLOUT) != 0) {
            ssize_t n = send(fd, b->data + sent, b->count - sent, MSG_NOSIGNAL);
            if (n <= 0) {
                return true;
            }
            sent += (size_t)n;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct bytes b;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (argc < 3 || !attack_make(argv[2], seed * 0x9e3779b97f4a7c15u + 1, &b)) {
        fputs("usage: hostile HOST:PORT ATTACK [SEED]\n", stderr);
        return 2;
    }
    int fd = dial(argv[1]);
    if (fd < 0) {
        fprintf(stderr, "hostile: cannot connect to %s\n", argv[1]);
        return 3;
    }
    bool gone = talk(fd, &b);
    close(fd);
    free(b.data);
    if (!gone) {
        fprintf(stderr, "hostile: %s still open after %d s\n", argv[1], DEADLINE_S);
    }
    return gone ? 0 : 1;
}
