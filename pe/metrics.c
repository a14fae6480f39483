/* pe/metrics.c - counters and gauges of a PE's own.
 *
 * Threads:    made by the instance's thread; added to and read by any.
 * Invariants: N1 a metric lives as long as its instance; the list only grows at its head. */
#include "core/mem.h"
#include "pe/instance.h"

struct oxb_metric *oxb_metric(struct oxb_pe *pe, const char *name, const char *doc)
{
    struct oxb_metric *head = atomic_load_explicit(&pe->metrics, memory_order_acquire);
    for (struct oxb_metric *m = head; m != NULL; m = m->next) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    struct oxb_metric *m = mem_alloc(sizeof *m);
    m->name = mem_dup(name);
    m->doc = mem_dup(doc != NULL ? doc : "");
    m->next = head;
    atomic_store_explicit(&pe->metrics, m, memory_order_release);
    return m;
}

void oxb_metric_add(struct oxb_metric *m, int64_t by)
{
    atomic_fetch_add_explicit(&m->value, by, memory_order_relaxed);
}

void oxb_metric_set(struct oxb_metric *m, int64_t value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void pe_metrics_each(struct oxb_pe *pe,
                     void (*fn)(void *arg, const char *name, const char *doc, int64_t value),
                     void *arg)
{
    struct oxb_metric *m = atomic_load_explicit(&pe->metrics, memory_order_acquire);
    for (; m != NULL; m = m->next) {
        fn(arg, m->name, m->doc, atomic_load_explicit(&m->value, memory_order_relaxed));
    }
}

void metrics_free(struct oxb_pe *pe)
{
    struct oxb_metric *m = atomic_load_explicit(&pe->metrics, memory_order_acquire);
    while (m != NULL) {
        struct oxb_metric *next = m->next;
        mem_free(m->name);
        mem_free(m->doc);
        mem_free(m);
        m = next;
    }
}
