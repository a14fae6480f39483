/* bench/upgrade/figures.c - what a series of arrivals says about a change. */
#include "bench/upgrade/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SECOND_NS UINT64_C(1000000000)

struct series *series_read(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL || fstat(fileno(f), &st) != 0 || st.st_size < (off_t)sizeof(struct arrival)) {
        if (f != NULL) {
            fclose(f);
        }
        return NULL;
    }
    struct series *s = calloc(1, sizeof *s);
    size_t count = (size_t)st.st_size / sizeof(struct arrival);
    if (s != NULL) {
        s->items = malloc(count * sizeof *s->items);
        s->count = s->items != NULL ? fread(s->items, sizeof *s->items, count, f) : 0;
    }
    fclose(f);
    return s;
}

void series_free(struct series *s)
{
    if (s != NULL) {
        free(s->items);
        free(s);
    }
}

static size_t first_at(const struct series *s, uint64_t at_ns)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->items[middle].at_ns < at_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static double longest_gap_ms(const struct series *s, uint64_t from_ns, uint64_t to_ns)
{
    uint64_t last = from_ns, longest = 0;
    for (size_t i = first_at(s, from_ns); i < s->count && s->items[i].at_ns < to_ns; i++) {
        uint64_t gap = s->items[i].at_ns - last;
        longest = gap > longest ? gap : longest;
        last = s->items[i].at_ns;
    }
    longest = to_ns - last > longest ? to_ns - last : longest;
    return (double)longest / 1e6;
}

void series_outage(const struct series *s, double *outage_ms, double *quiet_ms)
{
    uint64_t to = s->end_ns + SECOND_NS, length = to - s->begin_ns;
    length = length < 2 * SECOND_NS ? length : 2 * SECOND_NS; /* it flowed that long before */
    *outage_ms = longest_gap_ms(s, s->begin_ns, to);
    *quiet_ms = longest_gap_ms(s, s->begin_ns - length, s->begin_ns);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread series_spread(const struct series *s, uint64_t from_ns, uint64_t to_ns)
{
    struct spread out = {0};
    size_t from = first_at(s, from_ns), to = first_at(s, to_ns);
    double *ms = from < to ? malloc((to - from) * sizeof *ms) : NULL;
    if (ms == NULL) {
        return out;
    }
    for (size_t i = from; i < to; i++) {
        ms[i - from] = (double)(s->items[i].at_ns - s->items[i].due_ns) / 1e6;
    }
    out.count = to - from;
    qsort(ms, out.count, sizeof *ms, by_value);
    out.p50 = ms[out.count / 2];
    out.p99 = ms[out.count * 99 / 100];
    out.max = ms[out.count - 1];
    free(ms);
    return out;
}

void series_count(const struct series *s, struct outcome *o)
{
    uint64_t highest = 0, keys = 1;
    for (size_t i = 0; i < s->count; i++) {
        highest = s->items[i].seq > highest ? s->items[i].seq : highest;
        keys = s->items[i].key >= keys ? s->items[i].key + 1 : keys;
    }
    uint8_t *seen = calloc(highest + 1, sizeof *seen);
    uint64_t *next = calloc(keys, sizeof *next); /* of each key: above the last that came */
    if (seen == NULL || next == NULL) {
        o->ok = false;
        snprintf(o->why, sizeof o->why, "no memory to check %llu numbers",
                 (unsigned long long)highest);
        free(seen);
        free(next);
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct arrival *a = &s->items[i];
        o->doubled += seen[a->seq];
        seen[a->seq] = 1;
        o->disordered += a->seq < next[a->key];
        next[a->key] = a->seq + 1;
    }
    for (uint64_t n = 0; n <= highest; n++) {
        o->lost += seen[n] == 0;
    }
    free(seen);
    free(next);
}

void series_judge(const struct series *s, struct outcome *o)
{
    o->before = series_spread(s, s->begin_ns - 2 * SECOND_NS, s->begin_ns);
    o->during = series_spread(s, s->begin_ns, s->end_ns + SECOND_NS / 5);
    o->after = series_spread(s, s->end_ns + SECOND_NS / 5, UINT64_MAX);
    series_outage(s, &o->outage_ms, &o->quiet_ms);
    series_count(s, o);
}
