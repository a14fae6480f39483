/* topology/edit.h - small changes of a YAML text that keep everything else as its author wrote it.
 *
 * Runs on:    anywhere; pure.
 * Invariants: E1 what comes out differs from what went in by the one value asked for: it is read
 *                again and compared before it is handed out. */
#ifndef OXB_TOPOLOGY_EDIT_H
#define OXB_TOPOLOGY_EDIT_H

#include "core/err.h"

#include <stddef.h>
#include <stdint.h>

/* edit_parallelism - the same text with `parallelism: count` at a PE.
 * @out: caller frees.
 * Return: ERR_NOTFOUND when there is no such PE; ERR_INVALID when the text cannot be edited. */
MUST_CHECK enum err edit_parallelism(const char *yaml, size_t bytes, const char *pe,
                                     uint32_t count, char **out, struct fail *f);

#endif
