/* master/http_head.c - the head of one HTTP/1.x request, taken apart strictly. */
#include "master/http_head.h"

#include <string.h>
#include <strings.h>

static bool is_token(const char *s);
static bool decode(char *s);
static int parse_line(char *line, struct http_head *out);
static int parse_header(char *line, struct http_head *out);
static int check_framing(struct http_head *h, bool is_1_1);

size_t http_head_end(const char *data, size_t bytes)
{
    const char *p = memmem(data, bytes, "\r\n\r\n", 4);
    return p != NULL ? (size_t)(p - data) + 4 : 0;
}

int http_head_parse(char *text, size_t bytes, struct http_head *out)
{
    *out = (struct http_head){0};
    if (bytes < 4 || memchr(text, '\0', bytes) != NULL) {
        return 400;
    }
    text[bytes - 2] = '\0'; /* the empty line; what is left are lines that end in CRLF */
    bool is_first = true;
    bool is_1_1 = false;
    for (char *line = text; *line != '\0';) {
        char *end = strstr(line, "\r\n");
        if (end == NULL) {
            return 400;
        }
        *end = '\0';
        if (strpbrk(line, "\r\n") != NULL) {
            return 400;
        }
        is_1_1 = is_1_1 || (is_first && strstr(line, " HTTP/1.1") != NULL);
        int status = is_first ? parse_line(line, out) : parse_header(line, out);
        if (status != 0) {
            return status;
        }
        is_first = false;
        line = end + 2;
    }
    return is_first ? 400 : check_framing(out, is_1_1);
}

const char *http_head_find(const struct http_head *h, const char *name)
{
    for (unsigned i = 0; i < h->header_count; i++) {
        if (strcasecmp(h->headers[i].name, name) == 0) {
            return h->headers[i].value;
        }
    }
    return NULL;
}

bool http_query(const char *query, const char *key, char *out, size_t bytes)
{
    size_t key_bytes = strlen(key);
    for (const char *p = query; *p != '\0';) {
        size_t n = strcspn(p, "&");
        if (n >= key_bytes && strncmp(p, key, key_bytes) == 0 &&
            (n == key_bytes || p[key_bytes] == '=')) {
            const char *value = n == key_bytes ? p + n : p + key_bytes + 1;
            size_t value_bytes = n == key_bytes ? 0 : n - key_bytes - 1;
            if (value_bytes >= bytes) {
                return false;
            }
            memcpy(out, value, value_bytes);
            out[value_bytes] = '\0';
            return decode(out);
        }
        p += n + (p[n] == '&');
    }
    return false;
}

/* ---- helpers ---- */

static bool is_token(const char *s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *p = s; *p != '\0'; p++) {
        bool ok = (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') ||
                  strchr(others, *p) != NULL;
        if (!ok) {
            return false;
        }
    }
    return *s != '\0';
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(char *s) /* %XX in place; no control characters come out */
{
    char *to = s;
    for (const char *p = s; *p != '\0'; p++) {
        int c = (unsigned char)*p;
        if (*p == '%') {
            int high = hex(p[1]);
            int low = high >= 0 ? hex(p[2]) : -1;
            if (low < 0) {
                return false;
            }
            c = high * 16 + low;
            p += 2;
        }
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
        *to++ = (char)c;
    }
    *to = '\0';
    return true;
}

static int parse_line(char *line, struct http_head *out)
{
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL) {
        return 400;
    }
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line) || strlen(line) > 16 || target[0] != '/') {
        return 400;
    }
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        return 505;
    }
    char *query = strchr(target, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    out->method = line;
    out->path = target;
    out->query = query != NULL ? query : target + strlen(target);
    /* decoding shortens the path; the query keeps pointing behind it or at its old end */
    return decode(out->path) ? 0 : 400;
}

static int parse_header(char *line, struct http_head *out)
{
    char *colon = strchr(line, ':');
    if (colon == NULL) {
        return 400;
    }
    *colon = '\0';
    if (!is_token(line)) { /* a folded line starts with a blank and fails here too */
        return 400;
    }
    if (out->header_count == HTTP_HEADERS_MAX) {
        return 431;
    }
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t n = strlen(value);
    while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t')) {
        value[--n] = '\0';
    }
    out->headers[out->header_count++] = (struct http_header){line, value};
    return 0;
}

static int check_framing(struct http_head *h, bool is_1_1)
{
    unsigned lengths = 0, hosts = 0;
    for (unsigned i = 0; i < h->header_count; i++) {
        const char *value = h->headers[i].value;
        if (strcasecmp(h->headers[i].name, "transfer-encoding") == 0) {
            return 411; /* bodies come with a Content-Length here */
        }
        hosts += strcasecmp(h->headers[i].name, "host") == 0;
        if (strcasecmp(h->headers[i].name, "content-length") != 0) {
            continue;
        }
        size_t n = strlen(value);
        if (++lengths > 1 || n == 0 || strspn(value, "0123456789") != n) {
            return 400;
        }
        if (n > 15) {
            return 413;
        }
        for (const char *p = value; *p != '\0'; p++) {
            h->body_bytes = h->body_bytes * 10 + (uint64_t)(*p - '0');
        }
    }
    if (hosts > 1 || (is_1_1 && hosts == 0)) {
        return 400;
    }
    const char *expect = http_head_find(h, "expect");
    if (expect != NULL && strcasecmp(expect, "100-continue") != 0) {
        return 417;
    }
    h->expects_continue = expect != NULL;
    return 0;
}
