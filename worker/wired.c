/* worker/wired.c - sorted lists, looked through by halving. */
#include "worker/wired.h"

#include "core/mem.h"

#include <stdlib.h>

/* ---------------------------------------------------------------- by id */

void ids_add(struct ids *x, uint64_t id, void *at)
{
    x->items = mem_grow(x->items, x->count, &x->capacity, sizeof *x->items);
    x->items[x->count++] = (struct id_at){id, at};
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct id_at *)a)->id, y = ((const struct id_at *)b)->id;
    return x < y ? -1 : x > y;
}

void ids_sort(struct ids *x)
{
    if (x->count > 1) {
        qsort(x->items, x->count, sizeof *x->items, by_id);
    }
}

void *ids_find(const struct ids *x, uint64_t id)
{
    const struct id_at key = {.id = id};
    const struct id_at *found =
        x->count > 0 ? bsearch(&key, x->items, x->count, sizeof *x->items, by_id) : NULL;
    return found != NULL ? found->at : NULL;
}

void ids_fini(struct ids *x)
{
    mem_free(x->items);
    *x = (struct ids){0};
}

/* ---------------------------------------------------------------- channels of V' */

static int by_place(const void *a, const void *b)
{
    const struct rec_CHANNEL_SPEC *x = ((const struct wired *)a)->spec;
    const struct rec_CHANNEL_SPEC *y = ((const struct wired *)b)->spec;
    if (x->stream != y->stream) {
        return x->stream < y->stream ? -1 : 1;
    }
    if (x->from_index != y->from_index) {
        return x->from_index < y->from_index ? -1 : 1;
    }
    return x->to_index < y->to_index ? -1 : x->to_index > y->to_index;
}

static int by_end(const void *a, const void *b)
{
    const struct wired_end *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->who, q = (uintptr_t)y->who;
    return p != q ? (p < q ? -1 : 1) : x->at < y->at ? -1 : x->at > y->at;
}

void wired_init(struct wired_list *l, struct wired *items, size_t count, bool sorted)
{
    *l = (struct wired_list){.items = items, .count = count};
    l->by_from = mem_array(count, sizeof *l->by_from);
    l->by_to = mem_array(count, sizeof *l->by_to);
    if (count == 0) {
        return;
    }
    if (!sorted) {
        qsort(items, count, sizeof *items, by_place);
    }
    for (size_t n = 0; n < count; n++) {
        l->by_from[n] = (struct wired_end){items[n].from, &items[n]};
        l->by_to[n] = (struct wired_end){items[n].to, &items[n]};
    }
    qsort(l->by_from, count, sizeof *l->by_from, by_end);
    qsort(l->by_to, count, sizeof *l->by_to, by_end);
}

void wired_fini(struct wired_list *l)
{
    mem_free(l->items);
    mem_free(l->by_from);
    mem_free(l->by_to);
    *l = (struct wired_list){0};
}

static struct wired_range range(const struct wired_end *ends, size_t count,
                                const struct instance *i)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uintptr_t)ends[mid].who < (uintptr_t)i) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    struct wired_range out = {.items = ends + low};
    while (low + out.count < count && ends[low + out.count].who == i) {
        out.count++;
    }
    return out;
}

struct wired_range wired_from(const struct wired_list *l, const struct instance *i)
{
    return range(l->by_from, l->count, i);
}

struct wired_range wired_to(const struct wired_list *l, const struct instance *i)
{
    return range(l->by_to, l->count, i);
}
