/* bench/upgrade/pes.c - the PEs of the upgrade measurements, a plug-in like any user's.
 *
 *   up-source  tuples that are due at a pace of their own, whatever the engine does: tuple n is due
 *              at `zero` + n / rate, so what was not taken in time shows as latency.  At the
 *              beginning it may send `preload` tuples of distinct keys, as fast as it can.
 *   up-step    hands batches on; spends `busy_ns` per tuple; `mark` is a parameter to change
 *   up-keep    keyed state of about 160 bytes per key, written by every tuple
 *   up-series  writes number, key, due time and arrival of every tuple, or one of so many, to a
 *              file */
#include "pe/pe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEQ, KEY, DUE };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---------------------------------------------------------------- up-source */

struct source {
    uint64_t next;    /* number of the next tuple */
    uint64_t loaded;  /* of the preload */
    uint64_t preload;
    uint64_t keys;
    uint64_t zero_ns; /* when tuple 0 is due; 0: not known yet */
    uint64_t gap_ns;  /* 0: unpaced, a tuple is due when it is made */
    uint64_t end_ns;
};

static int source_prepare(struct oxb_pe *pe)
{
    struct source *s = oxb_self(pe);
    double rate = oxb_param_f64(pe, "rate");
    s->next = (uint64_t)oxb_param_i64(pe, "first");
    s->preload = (uint64_t)oxb_param_i64(pe, "preload");
    s->keys = (uint64_t)oxb_param_i64(pe, "keys");
    s->zero_ns = (uint64_t)oxb_param_i64(pe, "zero");
    s->gap_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    return OXB_OK;
}

static int64_t key_of(const struct source *s, uint64_t n)
{
    return (int64_t)((n * UINT64_C(0x9E3779B97F4A7C15) >> 20) % s->keys);
}

static void source_row(struct oxb_writer *w, uint64_t seq, int64_t key, uint64_t due)
{
    uint32_t r = oxb_row(w);
    oxb_put_i64(w, SEQ, r, (int64_t)seq);
    oxb_put_i64(w, KEY, r, key);
    oxb_put_i64(w, DUE, r, (int64_t)due);
    oxb_commit(w);
}

static int source_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct source *s = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    if (s->loaded < s->preload) {
        for (uint32_t n = 0; n < rows_max && s->loaded < s->preload; n++) {
            source_row(w, 0, (int64_t)s->loaded++, 0); /* due 0: not measured */
        }
        return OXB_OK;
    }
    uint64_t now = now_ns();
    s->zero_ns = s->zero_ns != 0 ? s->zero_ns : now;
    for (uint32_t n = 0; n < rows_max; n++) {
        uint64_t due = s->gap_ns != 0 ? s->zero_ns + s->next * s->gap_ns : now;
        if (due > now) {
            oxb_timer_set(pe, 1, oxb_mono_us(pe) + (due - now) / 1000 + 1);
            return OXB_IDLE;
        }
        source_row(w, s->next, key_of(s, s->next), due);
        s->next++;
    }
    return OXB_OK;
}

struct source_position {
    uint64_t next, loaded, zero_ns;
};

static int source_snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    const struct source *s = oxb_self(pe);
    struct source_position p = {s->next, s->loaded, s->zero_ns};
    oxb_blob_add(out, &p, sizeof p);
    return OXB_OK;
}

static int source_restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct source *s = oxb_self(pe);
    struct source_position p;
    (void)version;
    if (bytes != sizeof p) {
        return oxb_fail(pe, "the saved position has %zu bytes, not %zu", bytes, sizeof p);
    }
    memcpy(&p, data, sizeof p);
    s->next = p.next;
    s->loaded = p.loaded;
    s->zero_ns = p.zero_ns;
    return OXB_OK;
}

static const struct oxb_param source_params[] = {
    {.name = "rate", .type = OXB_P_F64, .fallback = "0", .doc = "tuples per second; 0: unpaced"},
    {.name = "keys", .type = OXB_P_I64, .fallback = "1024", .min = 1, .max = 1e12, .doc = "keys"},
    {.name = "preload", .type = OXB_P_I64, .fallback = "0", .doc = "tuples before the measured"},
    {.name = "first", .type = OXB_P_I64, .fallback = "0", .doc = "number of the first tuple"},
    {.name = "zero", .type = OXB_P_I64, .fallback = "0",
     .doc = "monotonic ns at which tuple 0 is due; 0: when the preload is through"},
    {.name = NULL},
};
static const struct oxb_port source_out[] = {
    {.name = "out", .schema = "seq: i64, key: i64, due: i64", .doc = "the tuples"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- up-step */

static int step_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    uint64_t busy = (uint64_t)oxb_param_i64(pe, "busy_ns") * in->live;
    (void)port;
    if (busy > 0) {
        uint64_t end = now_ns() + busy;
        while (now_ns() < end) {
        }
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_param step_params[] = {
    {.name = "busy_ns", .type = OXB_P_I64, .fallback = "0", .doc = "nanoseconds per tuple"},
    {.name = "mark", .type = OXB_P_I64, .fallback = "0", .doc = "something to change"},
    {.name = NULL},
};
static const struct oxb_port same_out[] = {
    {.name = "out", .schema = "*", .doc = "the tuples"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- up-keep */

static int keep_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    static const unsigned key[] = {KEY};
    void *slots[1024];
    const int64_t *seq = oxb_i64s(in, SEQ);
    (void)port;
    int r = oxb_state_rows(oxb_state(pe, "kept"), in, key, 1, slots);
    if (r != OXB_OK) {
        return r;
    }
    uint32_t n = 0;
    OXB_EACH (in, i) {
        int64_t *cell = slots[n++];
        cell[0]++;
        cell[1 + (seq[i] & 7)] = seq[i];
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_value keep_values[] = {
    {.name = "count", .type = OXB_I64}, {.name = "a", .type = OXB_I64},
    {.name = "b", .type = OXB_I64},     {.name = "c", .type = OXB_I64},
    {.name = "d", .type = OXB_I64},     {.name = "e", .type = OXB_I64},
    {.name = "f", .type = OXB_I64},     {.name = "g", .type = OXB_I64},
    {.name = "h", .type = OXB_I64},     {.name = "i", .type = OXB_I64},
    {.name = "j", .type = OXB_I64},     {.name = "k", .type = OXB_I64},
    {.name = NULL},
};
static const struct oxb_state_decl keep_states[] = {
    {.name = "kept", .values = keep_values},
    {.name = NULL},
};
static const struct oxb_port keyed_in[] = {
    {.name = "in", .schema = "seq: i64, key: i64, due: i64", .doc = "the tuples"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- up-series */

struct arrival { /* as figures.c reads it */
    uint64_t seq, key, due_ns, at_ns;
};

struct series {
    FILE *file;
    uint64_t one_of; /* so many is written */
};

static int series_start(struct oxb_pe *pe)
{
    struct series *s = oxb_self(pe);
    const char *path = oxb_param_str(pe, "path");
    s->one_of = (uint64_t)oxb_param_i64(pe, "one_of");
    s->file = fopen(path, "ae"); /* a restarted topology goes on in the same file */
    return s->file != NULL ? OXB_OK : oxb_fail(pe, "cannot write %s", path);
}

static int series_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    const struct series *s = oxb_self(pe);
    const int64_t *seq = oxb_i64s(in, SEQ);
    const int64_t *key = oxb_i64s(in, KEY);
    const int64_t *due = oxb_i64s(in, DUE);
    uint64_t now = now_ns();
    (void)port;
    OXB_EACH (in, i) {
        struct arrival a = {(uint64_t)seq[i], (uint64_t)key[i], (uint64_t)due[i], now};
        if (a.due_ns != 0 && a.seq % s->one_of == 0 && fwrite(&a, sizeof a, 1, s->file) != 1) {
            return oxb_fail(pe, "cannot write the series");
        }
    }
    return OXB_OK;
}

static int series_flush(struct oxb_pe *pe)
{
    const struct series *s = oxb_self(pe);
    return fflush(s->file) == 0 ? OXB_OK : oxb_fail(pe, "cannot write the series");
}

static void series_stop(struct oxb_pe *pe)
{
    struct series *s = oxb_self(pe);
    if (s->file != NULL) {
        fclose(s->file);
        s->file = NULL;
    }
}

static const struct oxb_param series_params[] = {
    {.name = "path", .type = OXB_P_STR, .flags = OXB_REQUIRED, .doc = "file to append to"},
    {.name = "one_of", .type = OXB_P_I64, .fallback = "1", .min = 1, .max = 1e6,
     .doc = "tuples whose number is divided by it are noted"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- the plug-in */

static const struct oxb_pe_type source_type = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_REPLAYABLE,
    .name = "up-source",
    .doc = "tuples due at a pace",
    .params = source_params,
    .outputs = source_out,
    .state_version = 1,
    .self_bytes = sizeof(struct source),
    .prepare = source_prepare,
    .produce = source_produce,
    .snapshot = source_snapshot,
    .restore = source_restore,
};
static const struct oxb_pe_type step_type = {
    .abi = OXB_ABI, .name = "up-step", .doc = "hands batches on", .params = step_params,
    .outputs = same_out, .state_version = 1, .process = step_process,
};
static const struct oxb_pe_type keep_type = {
    .abi = OXB_ABI, .name = "up-keep", .doc = "state by key", .inputs = keyed_in,
    .outputs = same_out, .states = keep_states, .state_version = 1, .process = keep_process,
};
static const struct oxb_pe_type series_type = {
    .abi = OXB_ABI, .flags = OXB_EFFECTS, .name = "up-series", .doc = "notes every arrival",
    .params = series_params, .inputs = keyed_in, .state_version = 1,
    .self_bytes = sizeof(struct series), .start = series_start, .process = series_process,
    .flush = series_flush, .stop = series_stop,
};

extern const struct oxb_pe_type *const oxb_pes[];
OXB_EXPORT const struct oxb_pe_type *const oxb_pes[] = {&source_type, &step_type, &keep_type,
                                                        &series_type, NULL};
