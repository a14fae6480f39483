/* worker/align.c - marker alignment, as a pure machine. */
#include "worker/align.h"

#include "core/mem.h"

#include <string.h>

void align_init(struct align *a, uint32_t input_count)
{
    *a = (struct align){.input_count = input_count};
    a->arrived = mem_array(input_count, sizeof *a->arrived);
}

void align_fini(struct align *a)
{
    mem_free(a->arrived);
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
    if (epoch < a->epoch_floor) {
        return ALIGN_DROP;
    }
    if (kind == ITEM_MARKER_SWITCH) {
        align_void(a, epoch);
    }
    if (a->active && a->epoch != epoch) {
        return ALIGN_CONFLICT;
    }
    if (a->active && a->arrived[input]) {
        return ALIGN_CONFLICT;
    }
    a->active = true;
    a->epoch = epoch;
    a->kind = kind;
    a->arrived[input] = true;
    a->arrived_count++;
    if (a->arrived_count < a->input_count) {
        return ALIGN_WAIT;
    }
    release(a);
    a->epoch_floor = epoch + 1;
    return ALIGN_COMPLETE;
}
