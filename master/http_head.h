/* master/http_head.h - the head of one HTTP/1.x request, taken apart strictly.
 *
 * Strict on purpose: one spelling of line ends, no folded lines, no Transfer-Encoding, at most one
 * Content-Length.  What two readers could read differently is refused.
 *
 * Runs on:    anywhere; pure. */
#ifndef OXB_MASTER_HTTP_HEAD_H
#define OXB_MASTER_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEADERS_MAX 64

struct http_header {
    const char *name;  /* as sent; compare without case */
    const char *value; /* without surrounding blanks */
};

struct http_head { /* everything points into the caller's buffer, which the parser cuts up */
    const char *method;
    char *path;        /* percent-decoded, starts with '/' */
    char *query;       /* raw, "" when absent */
    struct http_header headers[HTTP_HEADERS_MAX];
    unsigned header_count;
    uint64_t body_bytes; /* Content-Length; 0 when absent */
    bool expects_continue;
};

/* http_head_end - bytes of the head including the empty line, or 0 when it is not complete. */
size_t http_head_end(const char *data, size_t bytes);

/* http_head_parse - `text` is the whole head and is changed in place.
 * Return: 0, or the HTTP status to refuse with. */
int http_head_parse(char *text, size_t bytes, struct http_head *out);
const char *http_head_find(const struct http_head *h, const char *name); /* NULL: absent */

/* http_query - the value of `key` in a query string, decoded; false: absent or too long. */
bool http_query(const char *query, const char *key, char *out, size_t bytes);

#endif
