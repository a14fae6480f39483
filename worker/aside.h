/* worker/aside.h - key groups of an instance whose final output has left already.
 *
 * Owns:       the stage that `aside` of an instance points to: NULL, or the groups set aside.
 * Threads:    the instance's; on the thread that prepares it before it runs.  Any may ask whether
 *             there are some.
 * Why:        who had finished gives its groups to one that goes on.  Its PE must not see them, or
 *             they are emitted once more when it ends; and they must not be lost, so they are in
 *             its snapshots, and join its tables when it has ended.
 * Invariants: I1 a group set aside has no entries in the tables of the PE, and is declared as they
 *             are: no code but that of the PE itself is needed for it.
 *             I2 a snapshot has the groups set aside, and says which they are. */
#ifndef OXB_WORKER_ASIDE_H
#define OXB_WORKER_ASIDE_H

#include "core/limits.h"

#include <stdbool.h>

struct instance;

/* aside_put - besides those that are: the groups leave the tables, by pointer. */
void aside_put(struct instance *i, const bool *groups /* [KEY_GROUPS] */);
/* aside_groups - which are set aside.  Return: are there any? */
bool aside_groups(const struct instance *i, bool *groups /* [KEY_GROUPS] */);
/* aside_join - all of them are in the tables again. */
void aside_join(struct instance *i);
bool aside_is_empty(const struct instance *i);
void aside_free(struct instance *i); /* what is left of them goes */

#endif
