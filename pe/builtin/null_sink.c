/* pe/builtin/null_sink.c - takes tuples and does nothing: the end of a benchmark. */
#include "pe/builtin/builtin.h"

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)pe;
    (void)port;
    (void)in;
    return OXB_OK;
}

const struct oxb_pe_type builtin_null_sink = {
    .abi = OXB_ABI,
    .flags = OXB_MERGES,
    .name = "null-sink",
    .doc = "takes tuples and drops them; the engine still counts them",
    .state_version = 1,
    .process = process,
};
