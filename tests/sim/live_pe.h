/* tests/sim/live_pe.h - from a PE inside a callback to the instance it runs in. */
#ifndef OXB_TESTS_SIM_LIVE_PE_H
#define OXB_TESTS_SIM_LIVE_PE_H

struct oxb_pe;
void *live_host_of(const struct oxb_pe *pe); /* a struct instance */

#endif
