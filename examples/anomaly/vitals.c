/* vitals.c - a source that reads /proc/stat at an interval: one tuple per sample with what the
 * machine did since the last one.
 *
 * It never blocks: it samples, sets a timer for the next time and says OXB_IDLE. */
#include <oxbow/pe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N, AT, BUSY, KERNEL, SWITCHES, INTERRUPTS, FORKS }; /* fields of the output */

#define FILE_BYTES_MAX 65536

struct totals { /* since the machine started */
    double ticks, busy, kernel;          /* clock ticks of all processors */
    double switches, interrupts, forks;
};

struct self {
    uint64_t interval_us;
    int64_t count; /* samples to give; 0: endless */
    int64_t n;
    uint64_t due_us; /* monotonic time of the next sample; 0: at once, and only to compare with */
    uint64_t last_us;
    struct totals last;
    char text[FILE_BYTES_MAX];
};

static int prepare(struct oxb_pe *pe)
{
    struct self *self = oxb_self(pe);
    self->interval_us = (uint64_t)oxb_param_i64(pe, "interval");
    self->count = oxb_param_i64(pe, "count");
    return OXB_OK;
}

/* first_number - behind `key` at the start of a line; 0 when there is none. */
static double first_number(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    return p != NULL ? strtod(p + strlen(key), NULL) : 0;
}

static int read_totals(struct oxb_pe *pe, struct totals *t)
{
    struct self *self = oxb_self(pe);
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL) {
        return oxb_fail(pe, "cannot read /proc/stat: is /proc mounted?");
    }
    size_t bytes = fread(self->text, 1, sizeof self->text - 1, f);
    fclose(f);
    self->text[bytes] = '\0';
    char *p = self->text + strcspn(self->text, " "); /* behind the word `cpu` */
    *t = (struct totals){0};
    for (unsigned i = 0; i < 8; i++) { /* user nice system idle iowait irq softirq steal */
        double ticks = strtod(p, &p);
        t->ticks += ticks;
        t->busy += i == 3 || i == 4 ? 0 : ticks;
        t->kernel += i == 2 || i == 5 || i == 6 ? ticks : 0;
    }
    t->switches = first_number(self->text, "\nctxt ");
    t->interrupts = first_number(self->text, "\nintr ");
    t->forks = first_number(self->text, "\nprocesses ");
    return OXB_OK;
}

static void give(struct oxb_pe *pe, const struct totals *now, uint64_t now_us)
{
    struct self *self = oxb_self(pe);
    const struct totals *last = &self->last;
    double seconds = (double)(now_us - self->last_us) / 1e6;
    double ticks = now->ticks - last->ticks > 0 ? now->ticks - last->ticks : 1;
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t row = oxb_row(w);
    oxb_put_i64(w, N, row, self->n++);
    oxb_put_i64(w, AT, row, oxb_now_us(pe));
    oxb_put_f64(w, BUSY, row, (now->busy - last->busy) / ticks);
    oxb_put_f64(w, KERNEL, row, (now->kernel - last->kernel) / ticks);
    oxb_put_f64(w, SWITCHES, row, (now->switches - last->switches) / seconds);
    oxb_put_f64(w, INTERRUPTS, row, (now->interrupts - last->interrupts) / seconds);
    oxb_put_f64(w, FORKS, row, (now->forks - last->forks) / seconds);
    oxb_commit(w);
}

static int produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct self *self = oxb_self(pe);
    uint64_t now_us = oxb_mono_us(pe);
    struct totals now;
    (void)rows_max;
    if (now_us < self->due_us) {
        oxb_timer_set(pe, 1, self->due_us);
        return OXB_IDLE;
    }
    if (read_totals(pe, &now) != OXB_OK) {
        return OXB_ERROR;
    }
    if (self->due_us != 0) {
        give(pe, &now, now_us);
    }
    self->last = now;
    self->last_us = now_us;
    if (self->count > 0 && self->n == self->count) {
        return OXB_END;
    }
    self->due_us = now_us + self->interval_us;
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
     .doc = "samples to give; 0: until it is stopped"},
    {.name = NULL},
};
static const struct oxb_port outputs[] = {
    {.name = "out",
     .schema = "n: i64, at: time, busy: f64, kernel: f64, switches: f64, interrupts: f64, "
               "forks: f64",
     .doc = "busy and kernel are shares of all processors' time, the others are per second"},
    {.name = NULL},
};

OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_LOCAL,
    .name = "vitals",
    .doc = "samples /proc/stat",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct self),
    .prepare = prepare,
    .produce = produce,
};
