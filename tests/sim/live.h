/* tests/sim/live.h - the worker's own code under a seeded scheduler: parts, chains, cuts, changes.
 *
 * Real:       what sim.h names, and worker/{part,build,change,cut,instance,channel,route}.c, the
 *             master's translation of plans, keyed state, batches.  Slower than the model by a
 *             hundred times; it tests the lines that run in production.
 * Replaced:   executors, links, loop, helper threads, clock: live_os.h.
 * Modelled:   the agent's few decisions (stage, go, abort), in live.c. */
#ifndef OXB_TESTS_SIM_LIVE_H
#define OXB_TESTS_SIM_LIVE_H

#include "tests/sim/draft.h"

struct live_result {
    enum violation found;
    bool changed, aborted, refused; /* refused: today's worker does not carry it out */
    uint64_t steps, tuples;
    const char *why;                /* of a violation, in words; static */
};

/* live_run - one change of a draft, by seed.  @crumbs: every step is told there, or NULL. */
struct live_result live_run(struct draft *d, uint64_t seed, FILE *trace);

#endif
