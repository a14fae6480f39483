/* proc.c - a source that reads /proc at an interval: processor, memory and load
 * of this machine.
 *
 * It never blocks: it samples, sets a timer for the next time and says OXB_IDLE; the engine calls
 * produce again when the timer is due. */
#include <oxbow/pe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT, METRIC, VALUE }; /* fields of the output */

#define FILE_BYTES_MAX 65536

struct cpu {
    uint64_t busy, total; /* clock ticks since the machine started */
};

struct self {
    uint64_t interval_us;
    int64_t left;    /* samples still to take; < 0: endless */
    uint64_t due_us; /* monotonic time of the next sample; 0: at once */
    struct cpu last;
    char text[FILE_BYTES_MAX];
};

static int prepare(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    self->interval_us = (uint64_t)oxb_param_i64(pe, "interval");
    self->left = oxb_param_i64(pe, "count");
    self->left = self->left > 0 ? self->left : -1;
    return OXB_OK;
}

/* read_text - a whole small file into self->text. */
static int read_text(struct oxb_pe *pe, const char *path)
{
    struct self *self = oxb_self(pe);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return oxb_fail(pe, "cannot read %s: is /proc mounted?", path);
    }
    size_t bytes = fread(self->text, 1, sizeof self->text - 1, f);
    fclose(f);
    self->text[bytes] = '\0';
    return OXB_OK;
}

static void put(struct oxb_pe *pe, const char *metric, double value)
{
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, AT, row, oxb_now_us(pe));
    oxb_put_str(w, METRIC, row, metric, (uint32_t)strlen(metric));
    oxb_put_f64(w, VALUE, row, value);
    oxb_commit(w);
}

/* sample_cpu - the share of time not idle since the last sample, 0..1. */
static int sample_cpu(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    if (read_text(pe, "/proc/stat") != OXB_OK) {
        return OXB_ERROR;
    }
    struct cpu now = {0, 0};
    char *p = self->text + strcspn(self->text, " "); /* behind the word `cpu` */
    for (unsigned i = 0; i < 8; i++) { /* user nice system idle iowait irq softirq steal */
        uint64_t ticks = strtoull(p, &p, 10);
        now.total += ticks;
        now.busy += i == 3 || i == 4 ? 0 : ticks;
    }
    uint64_t total = now.total - self->last.total;
    put(pe, "cpu", total > 0 ? (double)(now.busy - self->last.busy) / (double)total : 0.0);
    self->last = now;
    return OXB_OK;
}

static int sample_memory(struct oxb_pe *pe)
{
    static const struct {
        const char *key, *metric;
    } wanted[] = {{"MemTotal:", "mem_total_kib"}, {"MemAvailable:", "mem_available_kib"}};
    struct self *self = oxb_self(pe);
    if (read_text(pe, "/proc/meminfo") != OXB_OK) {
        return OXB_ERROR;
    }
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *p = strstr(self->text, wanted[i].key);
        if (p == NULL) {
            return oxb_fail(pe, "/proc/meminfo has no %s", wanted[i].key);
        }
        put(pe, wanted[i].metric, strtod(p + strlen(wanted[i].key), NULL));
    }
    return OXB_OK;
}

static int sample_load(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    if (read_text(pe, "/proc/loadavg") != OXB_OK) {
        return OXB_ERROR;
    }
    put(pe, "load1", strtod(self->text, NULL));
    return OXB_OK;
}

static int produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct self *self = oxb_self(pe);
    uint64_t now_us = oxb_mono_us(pe);
    (void)rows_max;
    if (now_us < self->due_us) {
        oxb_timer_set(pe, 1, self->due_us);
        return OXB_IDLE;
    }
    if (sample_cpu(pe) != OXB_OK || sample_memory(pe) != OXB_OK || sample_load(pe) != OXB_OK) {
        return OXB_ERROR;
    }
    if (self->left > 0 && --self->left == 0) {
        return OXB_END;
    }
    self->due_us = (self->due_us != 0 ? self->due_us : now_us) + self->interval_us;
    if (self->due_us <= now_us) { /* the machine slept: do not catch up */
        self->due_us = now_us + self->interval_us;
    }
    oxb_timer_set(pe, 1, self->due_us);
    return OXB_IDLE;
}

static const struct oxb_param params[] = {
    {.name = "interval",
     .type = OXB_P_DURATION,
     .fallback = "1s",
     .min = 1000,
     .max = 3.6e9,
     .doc = "time between samples"},
    {.name = "count",
     .type = OXB_P_I64,
     .fallback = "0",
     .min = 0,
     .max = 1e9,
     .doc = "samples to take; 0: until it is stopped"},
    {.name = NULL},
};
static const struct oxb_port outputs[] = {
    {.name = "out",
     .schema = "at: time, metric: str, value: f64",
     .doc = "cpu (0..1), mem_total_kib, mem_available_kib, load1 per sample"},
    {.name = NULL},
};

OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_LOCAL,
    .name = "proc",
    .doc = "samples /proc/stat, /proc/meminfo and /proc/loadavg",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct self),
    .prepare = prepare,
    .produce = produce,
};
