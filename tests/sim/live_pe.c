/* tests/sim/live_pe.c - whose PE is this?  A file of its own, because pe/ and worker/ each have a
 * `struct out_port`. */
#include "tests/sim/live_pe.h"

#include "pe/instance.h"

void *live_host_of(const struct oxb_pe *pe)
{
    return pe->host.ctx;
}
