/* pe/builtin/stdout_sink.c - prints tuples on the standard output of the worker's process.
 *
 * Runs on:    a thread of its own: a terminal or pipe that nobody reads holds its writer. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/outbuf.h"

#include <unistd.h>

struct stdout_sink {
    struct outbuf out;
};

static int prepare(struct oxb_pe *pe)
{
    struct stdout_sink *s = oxb_self(pe);
    outbuf_init(&s->out, pe);
    return OXB_OK;
}

static int flush(struct oxb_pe *pe)
{
    struct stdout_sink *s = oxb_self(pe);
    int e = outbuf_write(&s->out, STDOUT_FILENO);
    return e == 0 ? OXB_OK : oxb_fail(pe, "cannot write to the standard output: %s", strerror(e));
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct stdout_sink *s = oxb_self(pe);
    (void)port;
    if (outbuf_left(&s->out) >= OUTBUF_WRITE_BYTES && flush(pe) != OXB_OK) {
        return OXB_ERROR;
    }
    outbuf_add(&s->out, in);
    return OXB_OK;
}

static void drop(struct oxb_pe *pe)
{
    struct stdout_sink *s = oxb_self(pe);
    outbuf_fini(&s->out);
}

static const struct oxb_param params[] = {
    OUTBUF_PARAM,
    {.name = NULL},
};

const struct oxb_pe_type builtin_stdout_sink = {
    .abi = OXB_ABI,
    .flags = OXB_OWN_THREAD | OXB_EFFECTS | OXB_MERGES,
    .name = "stdout-sink",
    .doc = "prints tuples on the worker's standard output",
    .params = params,
    .state_version = 1,
    .self_bytes = sizeof(struct stdout_sink),
    .prepare = prepare,
    .process = process,
    .finish = flush,
    .drop = drop,
    .flush = flush,
};
