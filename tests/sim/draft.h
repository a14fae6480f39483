/* tests/sim/draft.h - what a seed stands for: a topology, its upgrade, and one schedule of it. */
#ifndef OXB_TESTS_SIM_DRAFT_H
#define OXB_TESTS_SIM_DRAFT_H

#include "tests/sim/sim.h"

enum { SCHEDULES_PER_PLAN = 32 }; /* a seed is plan * SCHEDULES_PER_PLAN + schedule */

struct draft;
struct draft *draft_new(uint64_t plan_seed, unsigned off); /* random */
/* draft_of - from the `pes:` and `streams:` of V and V', over so many workers before and after.
 * @drain:  worker 0 is to be left.
 * @finals: bit n: the keyed PE with uid un emits at its end only. */
struct draft *draft_of(const char *a, const char *b, uint32_t workers_a, uint32_t workers_b,
                       bool drain, uint64_t finals, unsigned off);
void draft_free(struct draft *d);
/* draft_world - NULL: the planner refuses it, or it is no change, or too large to simulate. */
struct world *draft_world(struct draft *d);
const struct image *draft_image(const struct draft *d); /* NULL: as draft_world */
char *draft_text(const struct draft *d); /* both topologies and the plan; caller frees */

#endif
