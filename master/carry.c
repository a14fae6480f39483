/* master/carry.c - counters of instances and channels that changes have removed. */
#include "master/carry.h"

#include "core/mem.h"
#include "master/deployment.h"

#include <string.h>

void carry_fini(struct carry *c)
{
    mem_free(c->pes);
    mem_free(c->streams);
    *c = (struct carry){0};
}

static void make(struct deployment *d)
{
    if (d->carry.pes == NULL) {
        d->carry.pes = mem_array(d->topology->pe_count, sizeof *d->carry.pes);
        d->carry.streams = mem_array(d->topology->stream_count, sizeof *d->carry.streams);
    }
}

static uint32_t pe_by_uid(const struct topology *t, const char *uid)
{
    uint32_t i = 0;
    while (i < t->pe_count && strcmp(t->pes[i].uid, uid) != 0) {
        i++;
    }
    return i;
}

static uint32_t stream_by_name(const struct topology *t, const char *name)
{
    uint32_t i = 0;
    while (i < t->stream_count && strcmp(t->streams[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void add_pe(struct carry_pe *to, const struct carry_pe *more)
{
    to->in += more->in;
    to->out += more->out;
    to->errors += more->errors;
}

static void add_stream(struct carry_stream *to, const struct carry_stream *more)
{
    to->sent += more->sent;
    to->gaps += more->gaps;
    to->repeats += more->repeats;
    to->reordered += more->reordered;
    to->compared += more->compared;
    to->mismatched += more->mismatched;
}

/* The report of an instance that stays moves along. */
static void keep_instance(struct instance_view *to, struct instance_view *from)
{
    if (to->state != 0) {
        return; /* it was reported under the new version already */
    }
    struct instance_view kept = *from;
    kept.number = to->number;
    *from = (struct instance_view){.id = from->id, .number = from->number};
    *to = kept;
}

static void over_instances(struct deployment *next, struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        struct instance_view *v = &d->instances[i];
        struct instance_view *stays = deployment_instance(next, v->id);
        if (stays != NULL) {
            keep_instance(stays, v);
            continue;
        }
        uint32_t pe = pe_by_uid(next->topology,
                                d->topology->pes[d->graph->instances[v->number].pe].uid);
        if (pe < next->topology->pe_count) {
            const struct carry_pe gone = {v->tuples_in, v->tuples_out, v->errors};
            add_pe(&next->carry.pes[pe], &gone);
        }
    }
}

static void over_channels(struct deployment *next, const struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->channel_count; i++) {
        const struct channel_view *v = &d->channels[i];
        struct channel_view *stays = deployment_channel(next, v->id);
        if (stays != NULL) {
            if (stays->sent == 0 && stays->received == 0) {
                const struct channel_view fixed = *stays;
                *stays = *v;
                stays->number = fixed.number;
                stays->from_part = fixed.from_part;
                stays->to_part = fixed.to_part;
            }
            continue;
        }
        uint32_t s = stream_by_name(
            next->topology, d->topology->streams[d->graph->channels[v->number].stream].name);
        if (s < next->topology->stream_count) {
            const struct carry_stream gone = {v->sent,      v->gaps,     v->repeats,
                                              v->reordered, v->compared, v->mismatched};
            add_stream(&next->carry.streams[s], &gone);
        }
    }
}

void carry_over(struct deployment *next, const struct deployment *from)
{
    struct deployment *d = (struct deployment *)(uintptr_t)from;
    if (d->graph == NULL || next->graph == NULL) {
        return;
    }
    make(next);
    for (uint32_t i = 0; d->carry.pes != NULL && i < d->topology->pe_count; i++) {
        uint32_t pe = pe_by_uid(next->topology, d->topology->pes[i].uid);
        if (pe < next->topology->pe_count) {
            add_pe(&next->carry.pes[pe], &d->carry.pes[i]);
        }
    }
    for (uint32_t i = 0; d->carry.streams != NULL && i < d->topology->stream_count; i++) {
        uint32_t s = stream_by_name(next->topology, d->topology->streams[i].name);
        if (s < next->topology->stream_count) {
            add_stream(&next->carry.streams[s], &d->carry.streams[i]);
        }
    }
    over_instances(next, d);
    over_channels(next, d);
    /* its views began at 0: what they found so far, channels that stay had told before */
    memset(&next->faults, 0, sizeof next->faults);
}

struct carry_pe carry_of_pe(const struct deployment *d, uint32_t pe)
{
    return d->carry.pes != NULL ? d->carry.pes[pe] : (struct carry_pe){0};
}

struct carry_stream carry_of_stream(const struct deployment *d, uint32_t stream)
{
    return d->carry.streams != NULL ? d->carry.streams[stream] : (struct carry_stream){0};
}

json_t *carry_json(const struct deployment *d)
{
    json_t *pes = json_object(), *streams = json_object();
    for (uint32_t i = 0; d->carry.pes != NULL && i < d->topology->pe_count; i++) {
        const struct carry_pe *c = &d->carry.pes[i];
        json_object_set_new(pes, d->topology->pes[i].uid,
                            json_pack("[I, I, I]", (json_int_t)c->in, (json_int_t)c->out,
                                      (json_int_t)c->errors));
    }
    for (uint32_t i = 0; d->carry.streams != NULL && i < d->topology->stream_count; i++) {
        const struct carry_stream *c = &d->carry.streams[i];
        json_object_set_new(streams, d->topology->streams[i].name,
                            json_pack("[I, I, I, I, I, I]", (json_int_t)c->sent,
                                      (json_int_t)c->gaps, (json_int_t)c->repeats,
                                      (json_int_t)c->reordered, (json_int_t)c->compared,
                                      (json_int_t)c->mismatched));
    }
    return json_pack("{s:o, s:o}", "pes", pes, "streams", streams);
}

static uint64_t at(const json_t *list, size_t i)
{
    return (uint64_t)json_integer_value(json_array_get(list, i));
}

void carry_read(struct deployment *d, const json_t *carried)
{
    const json_t *pes = json_object_get(carried, "pes");
    const json_t *streams = json_object_get(carried, "streams");
    make(d);
    for (uint32_t i = 0; i < d->topology->pe_count; i++) {
        const json_t *c = json_object_get(pes, d->topology->pes[i].uid);
        d->carry.pes[i] = (struct carry_pe){at(c, 0), at(c, 1), at(c, 2)};
    }
    for (uint32_t i = 0; i < d->topology->stream_count; i++) {
        const json_t *c = json_object_get(streams, d->topology->streams[i].name);
        d->carry.streams[i] = (struct carry_stream){at(c, 0), at(c, 1), at(c, 2),
                                                    at(c, 3), at(c, 4), at(c, 5)};
    }
}
