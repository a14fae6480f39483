/* worker/checkpoint_acks.c - acknowledgements of checkpoints, kept and told. */
#include "worker/checkpoint_acks.h"

#include "core/mem.h"

#include <string.h>

static void drop(struct saved *s)
{
    mem_free(s->topology);
    mem_free(s->epochs);
}

void acks_fini(struct acks *a)
{
    for (size_t i = 0; i < a->count; i++) {
        drop(&a->items[i]);
    }
    mem_free(a->items);
    *a = (struct acks){0};
}

void acks_keep(struct acks *a, const struct saved *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i].topology, s->topology) == 0 && a->items[i].epoch != s->epoch) {
            drop(&a->items[i]);
        } else {
            a->items[kept++] = a->items[i];
        }
    }
    a->count = kept;
    a->items = mem_grow(a->items, a->count, &a->capacity, sizeof *a->items);
    struct saved *copy = &a->items[a->count++];
    *copy = *s;
    copy->topology = mem_dup(s->topology);
    copy->epochs = mem_array(s->epoch_count + 1, sizeof *copy->epochs);
    if (s->epoch_count > 0) {
        memcpy(copy->epochs, s->epochs, s->epoch_count * sizeof *copy->epochs);
    }
}

void acks_each(const struct acks *a, const char *topology, uint64_t gen, uint64_t epoch,
               void (*fn)(void *arg, const struct saved *s), void *arg)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct saved *s = &a->items[i];
        if (s->epoch == epoch && s->gen == gen && strcmp(s->topology, topology) == 0) {
            fn(arg, s);
        }
    }
}

void acks_message(const struct saved *s, uint64_t incarnation, struct msg *out)
{
    *out = (struct msg){.kind = M_CHECKPOINT_ACK};
    out->CHECKPOINT_ACK = (struct msg_CHECKPOINT_ACK){
        .topology = s->topology,
        .gen = s->gen,
        .epoch = s->epoch,
        .incarnation = incarnation,
        .instance = s->instance,
        .ok = s->ok,
        .what = s->ok ? "" : s->fail.what,
        .epochs = {(const uint8_t *)s->epochs, s->epoch_count * sizeof *s->epochs},
        .bytes = s->bytes,
        .pause_us = s->pause_us,
        .took_us = s->took_us,
        .tuples_in = s->tuples_in,
        .tuples_out = s->tuples_out};
}
