/* pe/builtin/union.c - merges streams of one schema into one: batches pass as they come. */
#include "pe/builtin/builtin.h"

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_port outputs[] = {
    {"out", "*", "all inputs, each in its own order"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_union = {
    .abi = OXB_ABI,
    .flags = OXB_MERGES,
    .name = "union",
    .doc = "merges several streams of the same schema into one",
    .outputs = outputs,
    .state_version = 1,
    .process = process,
};
