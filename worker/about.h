/* worker/about.h - what a worker says of itself when it joins: its host, its labels, the PE types
 * it has.
 *
 * Threads:    any. */
#ifndef OXB_WORKER_ABOUT_H
#define OXB_WORKER_ABOUT_H

#include "core/limits.h"
#include "net/messages.h"

/* about_host - the id of the machine: workers of one host share files and ports.  Caller frees. */
char *about_host(void);
/* about_types - descriptions of the types that are not built in, a JSON array; "" when there is
 * none.  Caller frees. */
char *about_types(void);

struct labels {
    struct rec_LABEL items[LABELS_MAX];
    char *text[LABELS_MAX]; /* what they point into */
    size_t count;
};
/* about_labels - from "k=v" texts, NULL at the end; @texts may be NULL.  labels_fini also after an
 * error. */
MUST_CHECK enum err about_labels(const char *const *texts, struct labels *out, struct fail *f);
void labels_fini(struct labels *l);

#endif
