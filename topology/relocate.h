/* topology/relocate.h - where an upgrade may turn the order of a key around: closure c.
 *
 * Owns:       struct relocation: two answers per PE.
 * Runs on:    anywhere; pure.
 * Invariants: R1 a PE is relocated when a tuple of the same source instance and key may meet
 *                another instance of it after the change: it is scaled or an instance moves; it
 *                has several and an in-stream is divided anew, or one is removed and one added; it
 *                is fed by `forward` from a relocated PE; or it meets (R2), and its old and new
 *                in-streams are not all divided by one key.  A PE with one instance that stays is
 *                never.
 *             R2 a PE meets when a source's tuples come to it by other in-streams than before. */
#ifndef OXB_TOPOLOGY_RELOCATE_H
#define OXB_TOPOLOGY_RELOCATE_H

#include "topology/match.h"

struct relocation {
    bool *relocated; /* [PEs of V']; of PEs that stay only */
    bool *meets;     /* [PEs of V'] */
};

void relocation_find(struct relocation *r, const struct diff *d, const struct match *m);
void relocation_fini(struct relocation *r);

#endif
