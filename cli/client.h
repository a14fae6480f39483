/* cli/client.h - one HTTP call to the master: bytes out, bytes and JSON back.
 *
 * Threads: any one at a time; blocks until the reply is there, 5 s to connect,
 *          60 s in all and 1 s more for each MB of a body. */
#ifndef OXB_CLI_CLIENT_H
#define OXB_CLI_CLIENT_H

#include "core/err.h"

#include <jansson.h>
#include <stddef.h>

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
void client_reply_fini(struct client_reply *r); /* accepts a zeroed reply */

#endif
