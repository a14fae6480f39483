/* net/address.c - HOST:PORT as people write it.
 *
 * Runs on:    any thread; pure. */
#include "net/internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define HINT "write HOST:PORT, 127.0.0.1:PORT or [V6]:PORT; PORT is 0..65535"

static bool parse_port(const char *s, uint16_t *out)
{
    unsigned n = 0;
    size_t digits = strspn(s, "0123456789");
    if (digits == 0 || digits > 5 || s[digits] != '\0') {
        return false;
    }
    for (; *s != '\0'; s++) {
        n = n * 10 + (unsigned)(*s - '0');
    }
    *out = (uint16_t)n;
    return n <= UINT16_MAX;
}

/* host_ok - numeric V6, or what a name or numeric V4 is made of; empty means "any" or "as
 * connected" and is judged by who uses it. */
static bool host_ok(const char *host, bool bracketed)
{
    struct in6_addr v6;
    if (bracketed) {
        return inet_pton(AF_INET6, host, &v6) == 1;
    }
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
           strlen(host);
}

enum err address_parse(const char *text, struct address *out, struct fail *f)
{
    bool bracketed = text[0] == '[';
    const char *host = bracketed ? text + 1 : text;
    const char *end = bracketed ? strchr(host, ']') : strrchr(host, ':');
    const char *colon = end != NULL && bracketed ? end + 1 : end;
    struct address a = {0};
    if (colon == NULL || *colon != ':' || !parse_port(colon + 1, &a.port)) {
        return fail_set(f, ERR_INVALID, HINT, "\"%.300s\" is not an address", text);
    }
    size_t bytes = (size_t)(end - host);
    if (bytes >= sizeof a.host) {
        return fail_set(f, ERR_LIMIT, HINT, "the host in \"%.300s\" is longer than %zu bytes", text,
                        sizeof a.host - 1);
    }
    memcpy(a.host, host, bytes);
    if (!host_ok(a.host, bracketed)) {
        return fail_set(f, ERR_INVALID, HINT, "\"%.300s\" is not an address", text);
    }
    *out = a;
    return ERR_OK;
}

bool address_is_loopback(const struct address *a)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, a->host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (inet_pton(AF_INET6, a->host, &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    }
    return strcmp(a->host, "localhost") == 0;
}

void sockaddr_text(const struct sockaddr_storage *at, char *text, size_t text_bytes, char *host,
                   size_t host_bytes)
{
    char numeric[INET6_ADDRSTRLEN] = "?";
    bool v6 = at->ss_family == AF_INET6;
    const struct sockaddr_in *in4 = (const void *)at;
    const struct sockaddr_in6 *in6 = (const void *)at;
    inet_ntop(at->ss_family, v6 ? (const void *)&in6->sin6_addr : (const void *)&in4->sin_addr,
              numeric, sizeof numeric);
    if (text != NULL) {
        snprintf(text, text_bytes, v6 ? "[%s]:%u" : "%s:%u", numeric, (unsigned)sockaddr_port(at));
    }
    if (host != NULL) {
        snprintf(host, host_bytes, "%s", numeric);
    }
}

uint16_t sockaddr_port(const struct sockaddr_storage *at)
{
    const struct sockaddr_in *in4 = (const void *)at;
    const struct sockaddr_in6 *in6 = (const void *)at;
    return ntohs(at->ss_family == AF_INET6 ? in6->sin6_port : in4->sin_port);
}
