/* cli/client.h - one HTTP request to the master's API and its answer (docs/API.md), over libcurl.
 *
 * Threads: any; each call stands alone and blocks until its answer, its deadline or a failure. */
#ifndef OXB_CLI_CLIENT_H
#define OXB_CLI_CLIENT_H

#include "core/err.h"

#include <jansson.h>
#include <stddef.h>

#define CLIENT_BODY_BYTES_MAX (16u << 20) /* of an answer */

/* What went wrong is also the exit code of the CLI. */
enum client_exit {
    CLIENT_EXIT_REFUSED = 1,     /* the master answered with an error */
    CLIENT_EXIT_UNREACHABLE = 4, /* nobody answered */
    CLIENT_EXIT_TIMED_OUT = 5,
};

struct client_reply {  /* zeroed, or of a client_call; client_reply_fini releases it */
    long status;       /* of HTTP; 0: there was no answer */
    char *body;        /* as it came, with a NUL added; never NULL after client_call */
    size_t body_bytes;
    json_t *json;      /* of a JSON answer, error answers included; else NULL */
};

/* client_call - send one request, wait for the answer.
 * @base_url:     "http://127.0.0.1:7480"; a '/' at its end does not matter.
 * @method:       "GET", "POST", "PUT", "DELETE".
 * @path:         starts with '/'; may have a query.
 * @content_type: of the body; NULL: none or JSON.
 * @body:         may be NULL when `bytes` is 0; borrowed for the call.
 * @out:          always set; the caller calls client_reply_fini, also on failure.
 * Return: ERR_OK for 2xx.  ERR_CLOSED: unreachable.  ERR_TIMEOUT.  ERR_LIMIT: the answer is larger
 * than CLIENT_BODY_BYTES_MAX.  Else an error answer: ERR_INVALID 400, 405, 422; ERR_DENIED 401,
 * 403; ERR_NOTFOUND 404; ERR_EXISTS 409; ERR_LIMIT 413; ERR_AGAIN 503; ERR_IO others, or an answer
 * that is not HTTP.  `f` has the API's message and hint. */
MUST_CHECK enum err client_call(const char *base_url, const char *method, const char *path,
                                const char *content_type, const void *body, size_t bytes,
                                struct client_reply *out, struct fail *f);
void client_reply_fini(struct client_reply *r);

/* client_exit_code - the CLI's exit code for what client_call returned: 0, 1, 4 or 5. */
int client_exit_code(enum err e);

#endif
