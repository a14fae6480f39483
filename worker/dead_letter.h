/* worker/dead_letter.h - where a tuple goes that nobody could process.
 *
 * To the stream `from: PE.dead-letter` if the topology has one; else to the file
 * DATA/dead-letters/TOPOLOGY/PE.INDEX.jsonl of this worker, which is for people: after a recovery
 * it may hold a tuple twice.  When it has DEAD_FILE_BYTES_MAX it becomes PE.INDEX.jsonl.1.
 * Thread: the instance's. */
#ifndef OXB_WORKER_DEAD_LETTER_H
#define OXB_WORKER_DEAD_LETTER_H

#include "core/strbuf.h"

struct instance;

/* dead_letter_send - @tuple: JSON, or what a source had read; empty: a call without a tuple. */
void dead_letter_send(struct instance *i, const char *error, const char *stream,
                      const struct strbuf *tuple);

#endif
