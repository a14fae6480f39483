/* worker/align.c - marker alignment, as a pure machine. */
#include "worker/align.h"

#include "core/mem.h"

#include <string.h>

void align_init(struct align *a, uint32_t input_count)
{
    *a = (struct align){.input_count = input_count};
    a->arrived = mem_array(input_count, sizeof *a->arrived);
    a->in_set = mem_array(input_count, sizeof *a->in_set);
    memset(a->in_set, 1, input_count * sizeof *a->in_set);
    a->in_set_count = input_count;
}

void align_fini(struct align *a)
{
    mem_free(a->arrived);
    mem_free(a->in_set);
    *a = (struct align){0};
}

static void release(struct align *a)
{
    a->active = false;
    a->arrived_count = 0;
    memset(a->arrived, 0, a->input_count * sizeof *a->arrived);
}

bool align_void(struct align *a, uint64_t epoch)
{
    if (epoch > a->epoch_floor) {
        a->epoch_floor = epoch;
    }
    bool stale = a->active && a->kind == ITEM_MARKER_CHECKPOINT && a->epoch < epoch;
    if (stale) {
        release(a);
    }
    return stale;
}

enum align_action align_marker(struct align *a, uint32_t input, enum item_kind kind, uint64_t epoch)
{
    bool overtaken = kind == ITEM_MARKER_CHECKPOINT && a->active && epoch < a->epoch;
    if (epoch < a->epoch_floor || overtaken) {
        return ALIGN_DROP;
    }
    if (kind == ITEM_MARKER_SWITCH || (a->active && a->epoch < epoch)) {
        align_void(a, epoch); /* a checkpoint was given up when a newer marker is on its way */
    }
    if (a->active && a->epoch != epoch) {
        return ALIGN_CONFLICT;
    }
    if ((a->active && a->arrived[input]) || (kind == ITEM_MARKER_SWITCH && !a->in_set[input])) {
        return ALIGN_CONFLICT;
    }
    a->active = true;
    a->epoch = epoch;
    a->kind = kind;
    a->arrived[input] = true;
    a->arrived_count++;
    if (a->arrived_count < (kind == ITEM_MARKER_SWITCH ? a->in_set_count : a->input_count)) {
        return ALIGN_WAIT;
    }
    release(a);
    a->epoch_floor = epoch + 1;
    return ALIGN_COMPLETE;
}

enum align_action align_switch(struct align *a, uint32_t input, uint64_t epoch, const bool *in_set)
{
    bool first = !a->active || a->epoch != epoch;
    for (uint32_t i = 0; first && i < a->input_count; i++) {
        a->in_set_count -= a->in_set[i] ? 1 : 0;
        a->in_set[i] = in_set == NULL || in_set[i];
        a->in_set_count += a->in_set[i] ? 1 : 0;
    }
    return align_marker(a, input, ITEM_MARKER_SWITCH, epoch);
}
