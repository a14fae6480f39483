/* tests/e2e/poison.c - a PE that cannot do certain tuples, as a plug-in of a user would not.
 *
 * with: {mode: error|crash|hang, at: SEQ, every: N}: it fails on the tuple SEQ, and with `every`
 * on each N-th after it.  `mode: none` is the repaired code.  What hangs does so until
 * it is killed.
 */
#include <oxbow/pe.h>
#include <unistd.h>

struct poison {
    int64_t at, every;
    char mode;
};

static int prepare(struct oxb_pe *pe)
{
    struct poison *p = oxb_self(pe);
    p->at = oxb_param_i64(pe, "at");
    p->every = oxb_param_i64(pe, "every");
    p->mode = oxb_param_str(pe, "mode")[0];
    return OXB_OK;
}

static bool is_bad(const struct poison *p, int64_t seq)
{
    return p->mode != 'n' &&
           (seq == p->at || (p->every > 0 && seq > p->at && (seq - p->at) % p->every == 0));
}

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct poison *p = oxb_self(pe);
    const int64_t *seq = oxb_i64s(in, 0);
    (void)port;
    OXB_EACH (in, i) {
        if (!is_bad(p, seq[i])) {
            continue;
        }
        if (p->mode == 'e') {
            return oxb_fail(pe, "cannot do %lld", (long long)seq[i]);
        }
        volatile int *nowhere = NULL;
        if (p->mode == 'c') {
            *nowhere = 1;
        }
        for (;;) {
            pause();
        }
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "mode", .type = OXB_P_ENUM, .fallback = "none", .choices = "none error crash hang"},
    {.name = "at", .type = OXB_P_I64, .fallback = "0"},
    {.name = "every", .type = OXB_P_I64, .fallback = "0"},
    {.name = NULL}};
static const struct oxb_port outputs[] = {{.name = "out", .schema = "*", .doc = "its input"},
                                          {.name = NULL}};
extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI, .name = "poison", .doc = "fails on some tuples", .params = params,
    .outputs = outputs, .state_version = 1, .self_bytes = sizeof(struct poison),
    .prepare = prepare, .process = process,
};
