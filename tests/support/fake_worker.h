/* tests/support/fake_worker.h - a worker made of nothing but messages, and a small HTTP client.
 *
 * Blocking and single-threaded, so that a test reads from top to bottom: what the master is sent,
 * what it must answer.  Whatever does not come within FAKE_WAIT_MS fails the test. */
#ifndef OXB_TESTS_FAKE_WORKER_H
#define OXB_TESTS_FAKE_WORKER_H

#include "core/strbuf.h"
#include "net/messages.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_WAIT_MS 8000

struct fake_worker {
    int fd;               /* -1: closed */
    const char *name;
    uint64_t incarnation;
    struct strbuf in;
    struct msg last;      /* what fake_expect returned; freed by the next */
};

/* fake_join - connect, HELLO, wait for WELCOME.  REPORTs and REPORT_END are the caller's. */
void fake_join(struct fake_worker *w, uint16_t port, const char *name, uint64_t incarnation);
void fake_connect(struct fake_worker *w, uint16_t port); /* no HELLO */
void fake_hello(struct fake_worker *w, const char *name, uint64_t incarnation);
void fake_send(struct fake_worker *w, const struct msg *m);
/* fake_report_end - the report is at its end, and the master has heard so: what is asked of it on
 * another connection from now on finds the worker joined. */
void fake_report_end(struct fake_worker *w, uint64_t count);
/* fake_expect - the next message but heartbeats must be of this kind. */
const struct msg *fake_expect(struct fake_worker *w, enum msg_kind kind);
/* fake_silent - nothing but heartbeats comes for so long. */
void fake_silent(struct fake_worker *w, unsigned ms);
void fake_expect_closed(struct fake_worker *w);
void fake_leave(struct fake_worker *w); /* closes; frees */

/* http_call - one request; caller frees.  @type, @body may be NULL. */
char *http_call(uint16_t port, const char *method, const char *path, const char *type,
                const char *body, int *status);
/* http_json - the same, parsed; caller decrefs. */
json_t *http_json(uint16_t port, const char *method, const char *path, const char *type,
                  const char *body, int *status);
int http_connect(uint16_t port);
/* http_raw - send bytes as they are, read until the end; caller frees.  *ms: how long it took. */
char *http_raw(uint16_t port, const void *bytes, size_t count, uint64_t *ms);

#endif
