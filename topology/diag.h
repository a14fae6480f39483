/* topology/diag.h - collecting problems while a topology is read. */
#ifndef OXB_TOPOLOGY_DIAG_H
#define OXB_TOPOLOGY_DIAG_H

#include "topology/model.h"

/* diags_error, diags_warning - add one problem; beyond DIAGS_MAX it is only counted.
 * @hint: what to do, TAKES; may be NULL. */
void diags_error(struct diags *d, struct place_at at, char *hint TAKES, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void diags_warning(struct diags *d, struct place_at at, char *hint TAKES, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void diags_sort(struct diags *d); /* by place; equal places keep their order */

/* hint_nearest - "did you mean 'x'?", or "one of a, b, c" where nothing is near and the list is
 * short, or NULL.  Caller frees. */
char *hint_nearest(const char *word, const char *const *known, size_t count);

#endif
