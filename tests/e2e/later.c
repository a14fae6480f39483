/* tests/e2e/later.c - a PE that gives every tuple on after a while, by a timer of its key.
 *
 * with: {delay: DURATION}: as long after it came.  What still waits when its input ends is dropped.
 */
#include <oxbow/pe.h>

enum { SEQ, DUE };

static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct oxb_state *waiting = oxb_state(pe, "waiting");
    const int64_t *seq = oxb_i64s(in, 0);
    int64_t due = oxb_now_us(pe) + oxb_param_i64(pe, "delay");
    (void)port;
    OXB_EACH (in, i) {
        int64_t *cells = oxb_state_put(waiting, oxb_key_i64(&seq[i]));
        cells[SEQ] = seq[i];
        oxb_key_timer_set(waiting, cells, DUE, due);
    }
    return OXB_OK;
}

static int key_timer(struct oxb_pe *pe, struct oxb_state *s, struct oxb_key key, unsigned cell)
{
    const int64_t *cells = oxb_state_get(s, key);
    struct oxb_writer *w = oxb_writer(pe, 0);
    (void)cell;
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, 0, row, cells[SEQ]);
    oxb_commit(w);
    oxb_state_delete(s, key);
    return OXB_OK;
}

static const struct oxb_value values[] = {
    {.name = "seq", .type = OXB_I64}, {.name = "due", .type = OXB_TIME}, {.name = NULL}};
static const struct oxb_state_decl states[] = {{.name = "waiting", .values = values},
                                               {.name = NULL}};
static const struct oxb_param params[] = {
    {.name = "delay", .type = OXB_P_DURATION, .fallback = "1s"}, {.name = NULL}};
static const struct oxb_port inputs[] = {{.name = "in", .schema = "seq: i64"}, {.name = NULL}};
static const struct oxb_port outputs[] = {{.name = "out", .schema = "seq: i64"}, {.name = NULL}};

extern const struct oxb_pe_type oxb_pe;
OXB_EXPORT const struct oxb_pe_type oxb_pe = {.abi = OXB_ABI,
                                              .flags = OXB_MANY,
                                              .name = "later",
                                              .doc = "gives every tuple on after a while",
                                              .params = params,
                                              .inputs = inputs,
                                              .outputs = outputs,
                                              .states = states,
                                              .state_version = 1,
                                              .process = process,
                                              .key_timer = key_timer};
