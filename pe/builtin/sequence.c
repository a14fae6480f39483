/* pe/builtin/sequence.c - a source that counts: for tests, benchmarks and demonstrations.
 *
 * Owns:       struct sequence: the position, the pace.
 * Invariants: S1 tuple n of the whole PE (n from 0) has seq = start + n; instance i of N emits the
 *             tuples with n mod N = i, in order, so any N gives the same tuples.
 *             S2 `count` and `rate` are of the whole PE.
 * Why:        rows are filled by column, straight into the open batch: the source must cost less
 *             than what it feeds. */
#include "pe/builtin/builtin.h"
#include "pe/builtin/pace.h"

#define TIMER_PACE 1u
#define PAD_BYTES_MAX (1 << 20)

enum { SEQ, KEY, AT, PAD };

struct sequence {
    uint64_t first; /* seq of this instance's first tuple, as two's complement */
    uint64_t step;  /* parallelism */
    int64_t keys;
    uint64_t rows_max; /* of this instance; UINT64_MAX: endless */
    uint64_t emitted;
    uint32_t pad_bytes;
    struct pace pace;
};

struct sequence_position { /* the snapshot */
    uint64_t emitted;
    uint64_t parallelism;
};

static int prepare(struct oxb_pe *pe)
{
    struct sequence *s = oxb_self(pe);
    uint64_t index = oxb_index(pe);
    s->step = oxb_parallelism(pe);
    s->first = (uint64_t)oxb_param_i64(pe, "start") + index;
    s->keys = oxb_param_i64(pe, "keys");
    s->pad_bytes = (uint32_t)oxb_param_i64(pe, "bytes");
    s->rows_max = UINT64_MAX;
    if (oxb_param_has(pe, "count")) {
        uint64_t count = (uint64_t)oxb_param_i64(pe, "count");
        s->rows_max = count > index ? (count - index + s->step - 1) / s->step : 0;
    }
    if (oxb_param_has(pe, "rate")) {
        s->pace.rate = oxb_param_f64(pe, "rate") / (double)s->step;
    }
    return OXB_OK;
}

/* fill - up to `want` rows into the open batch.  Return: how many. */
static uint32_t fill(struct sequence *s, struct oxb_writer *w, int64_t at_us, uint64_t want)
{
    uint32_t row = oxb_row(w);
    uint32_t room = w->rows_max - row;
    uint32_t n = s->pad_bytes > 0 ? 1 : want < room ? (uint32_t)want : room;
    uint64_t seq = s->first + s->emitted * s->step;
    int64_t key_step = (int64_t)(s->step % (uint64_t)s->keys);
    int64_t key = (int64_t)seq % s->keys;
    key += key < 0 ? s->keys : 0;
    int64_t *restrict seqs = (int64_t *)w->cols[SEQ].data + row;
    int64_t *restrict keys = (int64_t *)w->cols[KEY].data + row;
    int64_t *restrict ats = (int64_t *)w->cols[AT].data + row;
    for (uint32_t i = 0; i < n; i++) {
        seqs[i] = (int64_t)(seq + i * s->step);
        ats[i] = at_us;
    }
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = key;
        key += key_step;
        key -= key >= s->keys ? s->keys : 0;
    }
    if (s->pad_bytes > 0) {
        memset(oxb_put_space(w, PAD, row, s->pad_bytes), 'x', s->pad_bytes);
    }
    w->rows += n;
    s->emitted += n;
    return n;
}

static int produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct sequence *s = oxb_self(pe);
    if (s->emitted >= s->rows_max) {
        return OXB_END;
    }
    uint64_t now_us = s->pace.rate > 0 ? oxb_mono_us(pe) : 0;
    uint64_t room = pace_room(&s->pace, now_us);
    uint64_t want = s->rows_max - s->emitted;
    want = want < rows_max ? want : rows_max;
    bool used_up = room <= want;
    want = used_up ? room : want;
    s->pace.used += want;
    if (want > 0) {
        struct oxb_writer *w = oxb_writer(pe, 0);
        int64_t at_us = oxb_now_us(pe);
        for (uint64_t done = 0; done < want;) {
            done += fill(s, w, at_us, want - done);
        }
    }
    if (s->emitted >= s->rows_max) {
        return OXB_END;
    }
    if (used_up) {
        oxb_timer_set(pe, TIMER_PACE, pace_next_us(&s->pace, now_us));
        return OXB_IDLE;
    }
    return OXB_OK;
}

static int timer(struct oxb_pe *pe, uint64_t id) /* its coming makes the engine call produce */
{
    (void)pe;
    (void)id;
    return OXB_OK;
}

static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    const struct sequence *s = oxb_self(pe);
    struct sequence_position p = {s->emitted, s->step};
    oxb_blob_add(out, &p, sizeof p);
    return OXB_OK;
}

static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct sequence *s = oxb_self(pe);
    struct sequence_position p;
    (void)version;
    if (bytes != sizeof p) {
        return oxb_fail(pe, "the saved position has %zu bytes, not %zu", bytes, sizeof p);
    }
    memcpy(&p, data, sizeof p);
    if (p.parallelism != s->step) {
        return oxb_fail(pe,
                        "the saved position is of parallelism %llu, not %llu; keep it, or give "
                        "the PE another uid to begin anew",
                        (unsigned long long)p.parallelism, (unsigned long long)s->step);
    }
    s->emitted = p.emitted;
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "count",
     .type = OXB_P_I64,
     .min = 0,
     .max = 9e15,
     .doc = "tuples in all, over all instances; endless when absent"},
    {.name = "rate",
     .type = OXB_P_F64,
     .min = PACE_RATE_MIN,
     .max = PACE_RATE_MAX,
     .doc = "tuples per second, over all instances; as fast as it can when absent"},
    {.name = "start",
     .type = OXB_P_I64,
     .fallback = "0",
     .min = -9e15,
     .max = 9e15,
     .doc = "the first seq"},
    {.name = "keys",
     .type = OXB_P_I64,
     .fallback = "1",
     .min = 1,
     .max = 9e15,
     .doc = "distinct keys: key = seq mod keys"},
    {.name = "bytes",
     .type = OXB_P_I64,
     .fallback = "0",
     .min = 0,
     .max = PAD_BYTES_MAX,
     .doc = "length of the field `pad`, which makes tuples as large as wished"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "seq: i64, key: i64, at: time, ?bytes(pad: bytes)",
     "one tuple per number; `at` is the time it was made"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_sequence = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_REPLAYABLE,
    .name = "sequence",
    .doc = "emits consecutive numbers, at a rate or as fast as it can",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct sequence),
    .prepare = prepare,
    .produce = produce,
    .timer = timer,
    .snapshot = snapshot,
    .restore = restore,
};
