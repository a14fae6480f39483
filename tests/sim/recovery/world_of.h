/* tests/sim/recovery/world_of.h - the recovery simulator's world of a draft. */
#ifndef OXB_TESTS_SIM_RECOVERY_WORLD_OF_H
#define OXB_TESTS_SIM_RECOVERY_WORLD_OF_H

#include "tests/sim/draft.h"
#include "tests/sim/recovery/rs.h"

enum { AMPLIFICATION_MAX = 120 };

/* world_of - NULL: there is no change, it is refused, or it is too large to simulate. */
static inline struct rs *world_of(struct draft *d)
{
    const struct image *im = draft_image(d);
    return im != NULL && im->amplification <= AMPLIFICATION_MAX ? rs_new(im) : NULL;
}

#endif
