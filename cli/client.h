/* cli/client.h - one HTTP call to the master: bytes out, bytes and JSON back.
 *
 * Threads: any one at a time; blocks until the reply is there, 5 s to connect,
 *          60 s in all and 1 s more for each MB of a body. */
#ifndef OXB_CLI_CLIENT_H
#define OXB_CLI_CLIENT_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client_reply {
    long status;  /* of HTTP: 200, 404, ... */
    char *body;   /* ends with NUL; never NULL after ERR_OK */
    size_t bytes; /* without the NUL */
    json_t *json; /* the body, when it is JSON; else NULL */
};

/* client_call - one request.
 * @base_url:     `http://HOST:PORT`, or `HOST:PORT`.
 * @path:         starts with '/', already escaped.
 * @content_type: of the body; NULL without one.
 * Return: ERR_OK for every HTTP status (look at out->status); ERR_CLOSED when nobody is there;
 *         ERR_TIMEOUT when somebody is but does not answer; ERR_LIMIT for a reply beyond 16 MiB;
 * ERR_INVALID for a malformed URL. */
MUST_CHECK enum err client_call(const char *base_url, const char *method, const char *path,
                                const char *content_type, const void *body, size_t bytes,
                                struct client_reply *out, struct fail *f);
/* client_call_for - the same, for a call that the master may hold for @more_us first. */
MUST_CHECK enum err client_call_for(const char *base_url, const char *method, const char *path,
                                    const char *content_type, const void *body, size_t bytes,
                                    uint64_t more_us, struct client_reply *out, struct fail *f);
/* client_follow - read an answer without end, line by line, until `on_line` says false.
 * @until_us: of clock_now_us.  @stop_fd: readable: stop; -1: none.
 * Return: ERR_OK when on_line had enough or stop_fd is readable; ERR_TIMEOUT when the time is over;
 *         ERR_CLOSED when the line has ended or cannot be had. */
MUST_CHECK enum err client_follow(const char *base_url, const char *path, uint64_t until_us,
                                  int stop_fd, bool (*on_line)(void *arg, const char *line),
                                  void *arg, struct fail *f);
void client_reply_fini(struct client_reply *r); /* accepts a zeroed reply */

#endif
