/* worker/about.h - what a worker says of itself when it joins: its host, the PE types it has.
 *
 * Threads:    any. */
#ifndef OXB_WORKER_ABOUT_H
#define OXB_WORKER_ABOUT_H

/* about_host - the id of the machine: workers of one host share files and ports.  Caller frees. */
char *about_host(void);
/* about_types - descriptions of the types that are not built in, a JSON array; "" when there is
 * none.  Caller frees. */
char *about_types(void);

#endif
