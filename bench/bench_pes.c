/* bench/bench_pes.c - the PEs of the measurements, a plug-in like any user's.
 *
 *   bench-rows   makes the five-field tuples of rows.h, by column, as fast as it can or at a rate
 *   bench-map    v = 3 v + 1            bench-filter  keeps 7 of 8
 *   bench-sum    running sum of v by k  bench-mark    notes when the first batch came
 *   bench-sink   counts, sums a checksum over the fields it reads, notes first and last, latencies
 *
 * Reports are one-line files `NAME=VALUE ...`, written when the PE ends, so that the clock is read
 * where the tuples are. */
#include "bench/rows.h"

#include "pe/pe.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LATENCIES_MAX 1000000u

enum { K, V, X, S, B };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---------------------------------------------------------------- bench-rows */

struct rows {
    uint64_t next;
    uint64_t count;
    uint64_t start_ns; /* of the first row; 0: none yet */
    uint64_t gap_ns;   /* between rows; 0: as fast as it can */
};

static int rows_prepare(struct oxb_pe *pe)
{
    struct rows *r = oxb_self(pe);
    double rate = oxb_param_f64(pe, "rate");
    r->count = (uint64_t)oxb_param_i64(pe, "count");
    r->gap_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    return OXB_OK;
}

/* rows_fill - `n` rows into columns of the writer, one column after the other.  A paced row carries
 * the time it was made in v. */
static void rows_fill(struct oxb_writer *w, uint64_t first, uint32_t n, bool paced)
{
    uint32_t at = w->rows;
    int64_t *k = (int64_t *)w->cols[K].data + at;
    int64_t *v = (int64_t *)w->cols[V].data + at;
    double *x = (double *)w->cols[X].data + at;
    struct oxb_ref *s = (struct oxb_ref *)w->cols[S].data + at;
    uint8_t *b = (uint8_t *)w->cols[B].data + at;
    uint8_t *heap = w->cols[S].heap + w->cols[S].heap_used;
    for (uint32_t r = 0; r < n; r++) {
        k[r] = row_key(first + r);
    }
    for (uint32_t r = 0; r < n; r++) {
        v[r] = row_value(first + r);
    }
    for (uint32_t r = 0; r < n; r++) {
        x[r] = row_real(first + r);
    }
    for (uint32_t r = 0; r < n; r++) {
        s[r] = (struct oxb_ref){w->cols[S].heap_used + r * ROW_TEXT_BYTES, ROW_TEXT_BYTES};
        memcpy(heap + (size_t)r * ROW_TEXT_BYTES, row_texts[(first + r) % ROW_TEXTS],
               ROW_TEXT_BYTES);
    }
    for (uint32_t r = 0; r < n; r++) {
        b[r] = (uint8_t)((first + r) & 1);
    }
    if (paced) {
        v[0] = (int64_t)now_ns();
    }
    uint32_t bytes = n * ROW_TEXT_BYTES;
    w->cols[S].heap_used += bytes;
    w->heap_left = bytes < w->heap_left ? w->heap_left - bytes : 0;
    w->rows += n;
}

static void rows_emit(struct oxb_pe *pe, struct rows *r, uint32_t n, bool paced)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    while (n > 0) {
        oxb_row(w); /* makes room */
        uint32_t part = w->rows_max - w->rows < n ? w->rows_max - w->rows : n;
        if (part * ROW_TEXT_BYTES > w->heap_left) {
            part = (w->heap_left + ROW_TEXT_BYTES - 1) / ROW_TEXT_BYTES;
        }
        if (part * ROW_TEXT_BYTES > w->cols[S].heap_max - w->cols[S].heap_used) {
            oxb_writer_heap(w, S, part * ROW_TEXT_BYTES);
        }
        rows_fill(w, r->next, part, paced);
        r->next += part;
        n -= part;
    }
}

static int rows_end(struct oxb_pe *pe, const struct rows *r)
{
    const char *path = oxb_param_str(pe, "report");
    FILE *f = path != NULL ? fopen(path, "w") : NULL;
    if (path != NULL && f == NULL) {
        return oxb_fail(pe, "cannot write %s", path);
    }
    if (f != NULL) {
        fprintf(f, "first_ns=%llu count=%llu\n", (unsigned long long)r->start_ns,
                (unsigned long long)r->next);
        fclose(f);
    }
    return OXB_END;
}

static int rows_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct rows *r = oxb_self(pe);
    if (r->start_ns == 0) {
        r->start_ns = now_ns();
    }
    if (r->gap_ns == 0) {
        uint64_t left = r->count - r->next;
        rows_emit(pe, r, left < rows_max ? (uint32_t)left : rows_max, false);
        return r->next == r->count ? rows_end(pe, r) : OXB_OK;
    }
    uint64_t now = now_ns();
    for (uint32_t n = 0; n < rows_max && r->next < r->count; n++) {
        if (r->start_ns + r->next * r->gap_ns > now) {
            break;
        }
        rows_emit(pe, r, 1, true);
    }
    if (r->next == r->count) {
        return rows_end(pe, r);
    }
    uint64_t due_ns = r->start_ns + r->next * r->gap_ns;
    oxb_timer_set(pe, 1, oxb_mono_us(pe) + (due_ns > now ? (due_ns - now) / 1000 : 0) + 1);
    return OXB_IDLE;
}

static const struct oxb_param rows_params[] = {
    {.name = "count", .type = OXB_P_I64, .flags = OXB_REQUIRED, .doc = "tuples to make"},
    {.name = "rate", .type = OXB_P_F64, .fallback = "0", .doc = "tuples per second; 0: unpaced"},
    {.name = "report", .type = OXB_P_STR, .doc = "file to write at the end"},
    {.name = NULL},
};
static const struct oxb_port rows_out[] = {
    {.name = "out", .schema = "k: i64, v: i64, x: f64, s: str, b: bool", .doc = "the tuples"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- bench-map, bench-filter */

static int map_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    int64_t *v = oxb_own_i64s(pe, in, V);
    (void)port;
    OXB_EACH (in, i) {
        v[i] = row_map(v[i]);
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static bool keep(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i)
{
    (void)pe;
    return row_keep(oxb_i64s(in, V)[i]);
}
OXB_FILTER(filter_process, keep)

static const struct oxb_port same_in[] = {
    {.name = "in", .schema = "k: i64, v: i64, x: f64, s: str, b: bool", .doc = "the tuples"},
    {.name = NULL},
};
static const struct oxb_port same_out[] = {
    {.name = "out", .schema = "*", .doc = "the tuples"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- bench-sum */

static int sum_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    static const unsigned key[] = {K};
    void *slots[1024];
    struct oxb_batch *out = oxb_derive(pe, 0, in);
    int64_t *sum = oxb_new_i64s(pe, out, 1);
    const int64_t *v = oxb_i64s(in, V);
    (void)port;
    int r = oxb_state_rows(oxb_state(pe, "sums"), in, key, 1, slots);
    if (r != OXB_OK) {
        return r;
    }
    uint32_t n = 0;
    OXB_EACH (in, i) {
        int64_t *cell = slots[n++];
        *cell += v[i];
        sum[i] = *cell;
    }
    oxb_forward(pe, 0, out);
    return OXB_OK;
}

static const struct oxb_port sum_out[] = {
    {.name = "out", .schema = "k: i64, sum: i64", .doc = "running sum of v by k"},
    {.name = NULL},
};
static const struct oxb_value sum_values[] = {
    {.name = "sum", .type = OXB_I64},
    {.name = NULL},
};
static const struct oxb_state_decl sum_states[] = {
    {.name = "sums", .values = sum_values},
    {.name = NULL},
};

/* ---------------------------------------------------------------- bench-mark */

struct mark {
    bool seen;
};

static int mark_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct mark *m = oxb_self(pe);
    (void)port;
    if (!m->seen) {
        const char *path = oxb_param_str(pe, "report");
        FILE *f = fopen(path, "w");
        if (f == NULL) {
            return oxb_fail(pe, "cannot write %s", path);
        }
        m->seen = true;
        fprintf(f, "first_ns=%llu\n", (unsigned long long)now_ns());
        fclose(f);
    }
    oxb_forward(pe, 0, in);
    return OXB_OK;
}

static const struct oxb_param mark_params[] = {
    {.name = "report", .type = OXB_P_STR, .flags = OXB_REQUIRED, .doc = "file to write"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- bench-sink */

#define FIELDS 8u

struct sink {
    unsigned count; /* fields it reads */
    const char *names[FIELDS];
    unsigned field[FIELDS];
    enum oxb_type type[FIELDS];
    bool latency;   /* the first field is the time the tuple was made */
    uint64_t rows;
    uint64_t check;
    uint64_t last_ns;
    uint32_t *latency_ns; /* [rows], at most LATENCIES_MAX */
    uint64_t acc[1024];   /* one batch: per row */
};

static int sink_prepare(struct oxb_pe *pe)
{
    struct sink *s = oxb_self(pe);
    s->count = oxb_param_fields(pe, "fields", s->names, FIELDS);
    s->latency = oxb_param_bool(pe, "latency");
    if (s->latency) {
        s->latency_ns = calloc(LATENCIES_MAX, sizeof *s->latency_ns);
        if (s->latency_ns == NULL) {
            return oxb_fail(pe, "out of memory");
        }
    }
    return OXB_OK;
}

static int sink_bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct sink *s = oxb_self(pe);
    (void)port;
    for (unsigned i = 0; i < s->count; i++) {
        int f = oxb_field(schema, s->names[i]);
        if (f < 0) {
            return oxb_fail(pe, "no field %s", s->names[i]);
        }
        s->field[i] = (unsigned)f;
        s->type[i] = schema->fields[f].type;
    }
    return OXB_OK;
}

static uint64_t text_word(struct oxb_str text) /* its first eight bytes */
{
    uint64_t word = 0;
    memcpy(&word, text.p, text.len < sizeof word ? text.len : sizeof word);
    return word;
}

/* sink_add - fold one column into the rows' accumulators. */
static void sink_add(struct sink *s, const struct oxb_batch *in, unsigned n)
{
    unsigned f = s->field[n];
    uint32_t k = 0;
    switch (s->type[n]) {
    case OXB_STR:
        OXB_EACH (in, i) {
            s->acc[k++] ^= text_word(oxb_str_at(in, f, i));
        }
        break;
    case OXB_BOOL:
        OXB_EACH (in, i) {
            s->acc[k++] ^= oxb_bools(in, f)[i];
        }
        break;
    default: /* 8-byte cells: i64, f64, time, by their bits */
        OXB_EACH (in, i) {
            s->acc[k++] ^= ((const uint64_t *)in->cols[f].data)[i];
        }
        break;
    }
}

static void sink_time(struct sink *s, const struct oxb_batch *in)
{
    uint64_t now = now_ns();
    const int64_t *made = oxb_i64s(in, s->field[0]);
    uint64_t n = s->rows;
    OXB_EACH (in, i) {
        uint64_t took = now - (uint64_t)made[i];
        if (n < LATENCIES_MAX) {
            s->latency_ns[n++] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
        }
    }
}

static int sink_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    struct sink *s = oxb_self(pe);
    uint64_t check = 0;
    (void)port;
    if (s->latency) {
        sink_time(s, in);
    } else if (s->count == 2 && s->type[0] == OXB_I64 && s->type[1] == OXB_I64) {
        const int64_t *a = oxb_i64s(in, s->field[0]);
        const int64_t *b = oxb_i64s(in, s->field[1]);
        OXB_EACH (in, i) {
            check += (uint64_t)a[i] ^ (uint64_t)b[i];
        }
    } else {
        memset(s->acc, 0, in->live * sizeof s->acc[0]);
        for (unsigned n = 0; n < s->count; n++) {
            sink_add(s, in, n);
        }
        for (uint32_t k = 0; k < in->live; k++) {
            check += s->acc[k];
        }
    }
    s->check += check;
    s->rows += in->live;
    s->last_ns = now_ns();
    return OXB_OK;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int sink_finish(struct oxb_pe *pe)
{
    struct sink *s = oxb_self(pe);
    const char *path = oxb_param_str(pe, "report");
    uint64_t p50 = 0;
    uint64_t p99 = 0;
    if (s->latency && s->rows > 0) {
        uint64_t n = s->rows < LATENCIES_MAX ? s->rows : LATENCIES_MAX;
        qsort(s->latency_ns, n, sizeof *s->latency_ns, by_value);
        p50 = s->latency_ns[n / 2];
        p99 = s->latency_ns[n * 99 / 100];
    }
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        return oxb_fail(pe, "cannot write %s", path);
    }
    fprintf(f, "last_ns=%llu count=%llu check=%llu p50_ns=%llu p99_ns=%llu\n",
            (unsigned long long)s->last_ns, (unsigned long long)s->rows,
            (unsigned long long)s->check, (unsigned long long)p50, (unsigned long long)p99);
    fclose(f);
    return OXB_OK;
}

static void sink_drop(struct oxb_pe *pe)
{
    struct sink *s = oxb_self(pe);
    free(s->latency_ns);
}

static const struct oxb_param sink_params[] = {
    {.name = "fields", .type = OXB_P_FIELDS, .flags = OXB_REQUIRED, .doc = "fields it reads"},
    {.name = "latency", .type = OXB_P_BOOL, .fallback = "false",
     .doc = "the first field is the monotonic time in ns at which the tuple was made"},
    {.name = "report", .type = OXB_P_STR, .flags = OXB_REQUIRED, .doc = "file to write at the end"},
    {.name = NULL},
};

/* ---------------------------------------------------------------- the plug-in */

static const struct oxb_pe_type rows_type = {
    .abi = OXB_ABI, .flags = OXB_SOURCE, .name = "bench-rows", .doc = "five-field tuples",
    .params = rows_params, .outputs = rows_out, .state_version = 1,
    .self_bytes = sizeof(struct rows), .prepare = rows_prepare, .produce = rows_produce,
};
static const struct oxb_pe_type map_type = {
    .abi = OXB_ABI, .name = "bench-map", .doc = "v = 3 v + 1", .inputs = same_in,
    .outputs = same_out, .state_version = 1, .process = map_process,
};
static const struct oxb_pe_type filter_type = {
    .abi = OXB_ABI, .name = "bench-filter", .doc = "keeps 7 of 8", .inputs = same_in,
    .outputs = same_out, .state_version = 1, .process = filter_process,
};
static const struct oxb_pe_type sum_type = {
    .abi = OXB_ABI, .name = "bench-sum", .doc = "running sum of v by k", .inputs = same_in,
    .outputs = sum_out, .states = sum_states, .state_version = 1, .process = sum_process,
};
static const struct oxb_pe_type mark_type = {
    .abi = OXB_ABI, .name = "bench-mark", .doc = "notes when the first batch came",
    .params = mark_params, .outputs = same_out, .state_version = 1,
    .self_bytes = sizeof(struct mark), .process = mark_process,
};
static const struct oxb_pe_type sink_type = {
    .abi = OXB_ABI, .flags = OXB_EFFECTS, .name = "bench-sink", .doc = "counts and checks",
    .params = sink_params, .state_version = 1, .self_bytes = sizeof(struct sink),
    .prepare = sink_prepare, .bind = sink_bind, .process = sink_process, .finish = sink_finish,
    .drop = sink_drop,
};

extern const struct oxb_pe_type *const oxb_pes[];
OXB_EXPORT const struct oxb_pe_type *const oxb_pes[] = {&rows_type, &map_type,  &filter_type,
                                                        &sum_type,  &mark_type, &sink_type,
                                                        NULL};
