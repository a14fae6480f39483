/* pe/builtin/address.c - HOST:PORT as sockets want it: names, IPv4, [IPv6]; no host means any. */
#include "pe/builtin/address.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_BYTES_MAX 256u

struct addrinfo *address_resolve(const char *text, bool to_listen, const char **why)
{
    char host[HOST_BYTES_MAX];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0') {
        *why = "write HOST:PORT";
        return NULL;
    }
    const char *from = text;
    size_t bytes = (size_t)(colon - text);
    if (bytes >= 2 && from[0] == '[' && from[bytes - 1] == ']') {
        from++;
        bytes -= 2;
    }
    if (bytes >= sizeof host) {
        *why = "the host's name is too long";
        return NULL;
    }
    memcpy(host, from, bytes);
    host[bytes] = '\0';
    bool is_any = bytes == 0 || strcmp(host, "*") == 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_ADDRCONFIG | (to_listen ? AI_PASSIVE : 0)};
    struct addrinfo *found = NULL;
    int e = getaddrinfo(is_any ? NULL : host, colon + 1, &hints, &found);
    if (e == EAI_NONAME || e == EAI_ADDRFAMILY) { /* a machine without a network but loopback */
        hints.ai_flags &= ~AI_ADDRCONFIG;
        e = getaddrinfo(is_any ? NULL : host, colon + 1, &hints, &found);
    }
    if (e != 0) {
        *why = gai_strerror(e);
        return NULL;
    }
    return found;
}

void socket_own_text(int fd, char *out, unsigned bytes)
{
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    char host[HOST_BYTES_MAX];
    char port[32];
    if (getsockname(fd, (struct sockaddr *)&at, &size) != 0 ||
        getnameinfo((struct sockaddr *)&at, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(out, bytes, "?");
        return;
    }
    bool is_v6 = at.ss_family == AF_INET6;
    snprintf(out, bytes, "%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
}
