/* worker/care.h - an instance whose code has killed the process that it ran in before.
 *
 *   CARE_HOLD    it is held from its start: what killed was no tuple
 *   CARE_SINGLY  it is given its tuples one by one, each noted beforehand for the record of a crash
 *                (worker/crash.h), so that the next process knows which one kills; a tuple that is
 *                known to is not given to it, but counts as failed for the last time: on_error
 *
 * Threads:    made beside the loop, then the instance's.
 * Invariants: G1 a tuple that kills costs the process once more, at most: it is known by the sum of
 *                its stream and content (but times), so it is found again wherever it comes in the
 *                next run.  Of equal ones so many are held back as have killed, the first ones.
 *             G2 it is over when a newer checkpoint is complete and all that kill have been met, or
 *                nothing has killed for CARE_MS; or with new code.
 * See:        worker/fault.c, master/crashes.h (who decides). */
#ifndef OXB_WORKER_CARE_H
#define OXB_WORKER_CARE_H

#include "net/messages.h"
#include "pe/batch.h"

#include <stdbool.h>

struct care;
struct instance;

/* care_new - NULL when the plan asks for none.  @from_epoch: the checkpoint it begins at. */
struct care *care_new(const struct rec_INSTANCE_SPEC *spec, uint64_t from_epoch);
void care_free(struct care *c);
void care_begin(struct instance *i);       /* its code has started */
void care_end(struct instance *i);         /* it has other code */
bool care_is_on(const struct instance *i); /* are tuples given one by one? */
/* care_kills - `row`, of one tuple, is next: is it one that kills?  If not, it is noted until
 * crash_call_tuple(NULL).  Requires: care_is_on. */
bool care_kills(struct instance *i, const char *stream, const struct batch *row);
const char *care_error(const struct instance *i);

#endif
