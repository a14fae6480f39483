/* tests/e2e/tcplines.c - a receiver of lines over TCP: `tcplines FILE`.
 *
 * Prints `ready port=N`, then takes any number of connections and appends what comes to FILE, whole
 * lines, in the order in which it came: of two connections that both hold something, the older one
 * is read first, until nothing is left in it.  So a line that was sent on an old connection before
 * another was sent on a new one stands before it.  Ends on SIGTERM. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64, LINE = 65536 };

struct connection {
    int fd; /* -1: it has ended */
    char rest[LINE];
    size_t used;
};

static struct connection connections[CONNECTIONS];
static struct pollfd polls[CONNECTIONS + 1]; /* the listener first */
static unsigned count;

/* Everything that is there, and the whole lines of it into the file. */
static void drain(struct connection *c, struct pollfd *p, FILE *out)
{
    ssize_t n;
    while ((n = recv(c->fd, c->rest + c->used, sizeof c->rest - c->used, MSG_DONTWAIT)) > 0) {
        size_t end = c->used += (size_t)n;
        while (end > 0 && c->rest[end - 1] != '\n') {
            end--;
        }
        fwrite(c->rest, 1, end, out);
        c->used -= end;
        memmove(c->rest, c->rest + end, c->used);
    }
    fflush(out);
    if (n == 0) {
        close(c->fd);
        c->fd = p->fd = -1;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    FILE *out = argc == 2 ? fopen(argv[1], "w") : NULL;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (out == NULL || bind(listener, (struct sockaddr *)&at, bytes) != 0 ||
        listen(listener, CONNECTIONS) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &bytes) != 0) {
        perror("tcplines");
        return 2;
    }
    printf("ready port=%u\n", (unsigned)ntohs(at.sin_port));
    fflush(stdout);
    polls[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    while (poll(polls, count + 1, -1) > 0) {
        for (unsigned i = 0; i < count; i++) {
            if (connections[i].fd >= 0) {
                drain(&connections[i], &polls[i + 1], out);
            }
        }
        if ((polls[0].revents & POLLIN) != 0 && count < CONNECTIONS) {
            connections[count].fd = accept(listener, NULL, NULL);
            polls[++count] = (struct pollfd){.fd = connections[count - 1].fd, .events = POLLIN};
        }
    }
    return 1;
}
