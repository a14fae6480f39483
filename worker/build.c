/* worker/build.c - from a PREPARE message to instances, channels and chains: the one file of the
 * worker that knows both the plan's messages and the running things. */
#include "worker/part.h"

#include "core/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct msg_PREPARE *plan_of(const struct part *d)
{
    return &d->plan.PREPARE;
}

/* ---------------------------------------------------------------- instances (helper thread) */

static enum err fail_at(struct part *d, const char *pe, enum err e)
{
    snprintf(d->fail_where, sizeof d->fail_where, "%s", pe);
    return e;
}

/* The type's code: registered in this process, or in a plug-in of the artifact folder. */
static enum err find_type(struct part *d, const struct rec_INSTANCE_SPEC *spec,
                          const struct oxb_pe_type **out)
{
    if (spec->artifact[0] == '\0') {
        *out = registry_find(spec->type);
        if (*out == NULL) {
            return fail_set(&d->fail, ERR_NOTFOUND, "place it on a worker that registers the type",
                            "this worker has no PE type \"%s\"", spec->type);
        }
        return ERR_OK;
    }
    char *file = mem_printf("%s/%s.so", d->env->artifact_dir, spec->artifact);
    struct plugin *plugin = NULL;
    enum err e = plugin_open(file, &plugin, &d->fail);
    mem_free(file);
    if (e != ERR_OK) {
        return e;
    }
    d->plugins = mem_resize(d->plugins, d->plugin_count + 1, sizeof *d->plugins);
    d->plugins[d->plugin_count++] = plugin;
    *out = plugin_find(plugin, spec->type[0] != '\0' ? spec->type : NULL);
    if (*out == NULL) {
        return fail_set(&d->fail, ERR_NOTFOUND, "name a type that the plug-in exports",
                        "the plug-in has no PE type \"%s\"", spec->type);
    }
    return ERR_OK;
}

static enum err port_specs(struct part *d, const struct rec_PORT_SPEC *in, size_t count,
                           struct pe_port_spec *out)
{
    for (size_t p = 0; p < count; p++) {
        out[p].name = in[p].name;
        out[p].connected = in[p].connected;
        out[p].schema = NULL;
        if (in[p].schema[0] != '\0') {
            enum err e = schema_parse(in[p].schema, &out[p].schema, &d->fail);
            if (e != ERR_OK) {
                return e;
            }
        }
    }
    return ERR_OK;
}

static enum err build_instance(struct part *d, const struct rec_INSTANCE_SPEC *spec,
                               struct instance **out)
{
    const struct oxb_pe_type *type = NULL;
    struct pe_port_spec inputs[PORTS_MAX], outputs[PORTS_MAX];
    if (spec->inputs_count > PORTS_MAX || spec->outputs_count > PORTS_MAX ||
        spec->parallelism > PARALLELISM_MAX) {
        return fail_set(&d->fail, ERR_LIMIT, "use fewer", "too many ports or instances");
    }
    enum err e = find_type(d, spec, &type);
    if (e == ERR_OK) {
        e = port_specs(d, spec->inputs, spec->inputs_count, inputs);
    }
    if (e == ERR_OK) {
        e = port_specs(d, spec->outputs, spec->outputs_count, outputs);
    }
    if (e != ERR_OK) {
        return e;
    }
    struct instance *i = instance_new(spec->id, spec->pe, (unsigned)spec->index, d->env->pool);
    struct pe_host host = instance_host(i);
    struct pe_spec pe = {.type = type,
                         .name = i->pe_name,
                         .params = spec->params,
                         .base_dir = plan_of(d)->base_dir,
                         .index = (unsigned)spec->index,
                         .parallelism = (unsigned)spec->parallelism,
                         .inputs = inputs,
                         .input_count = (unsigned)spec->inputs_count,
                         .outputs = outputs,
                         .output_count = (unsigned)spec->outputs_count};
    i->source = (type->flags & OXB_SOURCE) != 0;
    i->sink = spec->outputs_count == 0;
    i->drop_errors = spec->then == PLAN_DROP;
    if (i->sink) {
        i->end_to_end_us = mem_alloc(sizeof *i->end_to_end_us);
    }
    *out = i;
    i->pe = pe_new(&pe, &host, d->env->pool);
    return pe_prepare(i->pe, &d->fail);
}

enum err build_instances(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    d->instances = mem_array(plan->add_instances_count, sizeof(struct instance *));
    for (size_t k = 0; k < plan->add_instances_count; k++) {
        const struct rec_INSTANCE_SPEC *spec = &plan->add_instances[k];
        struct instance *made = NULL;
        enum err e = build_instance(d, spec, &made);
        if (made != NULL) {
            d->instances[d->instance_count++] = made;
        }
        if (e != ERR_OK) {
            return fail_at(d, spec->pe, e);
        }
    }
    return ERR_OK;
}

/* ---------------------------------------------------------------- channels (loop thread) */

static uint32_t find_instance(const struct part *d, uint64_t id) /* UINT32_MAX: not here */
{
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (d->instances[k]->id == id) {
            return k;
        }
    }
    return UINT32_MAX;
}

static const struct rec_STREAM_SPEC *find_stream(const struct part *d, uint64_t id)
{
    const struct msg_PREPARE *plan = plan_of(d);
    for (size_t k = 0; k < plan->streams_count; k++) {
        if (plan->streams[k].id == id) {
            return &plan->streams[k];
        }
    }
    return NULL;
}

static const struct rec_WORKER_ADDR *find_worker(const struct part *d, const char *name)
{
    const struct msg_PREPARE *plan = plan_of(d);
    for (size_t k = 0; k < plan->workers_count; k++) {
        if (strcmp(plan->workers[k].name, name) == 0) {
            return &plan->workers[k];
        }
    }
    return NULL;
}

static enum err malformed(struct part *d, const char *what)
{
    return fail_set(&d->fail, ERR_INVALID, "this is a fault of the master: report it",
                    "malformed plan: %s", what);
}

static enum err build_channel(struct part *d, const struct rec_CHANNEL_SPEC *spec)
{
    uint32_t from = find_instance(d, spec->from);
    uint32_t to = find_instance(d, spec->to);
    const struct rec_STREAM_SPEC *stream = find_stream(d, spec->stream);
    if (stream == NULL || (from == UINT32_MAX && to == UINT32_MAX)) {
        return malformed(d, "a channel without a stream or without an end here");
    }
    bool here = from != UINT32_MAX && to != UINT32_MAX;
    enum channel_kind kind = here              ? (spec->fused ? CHANNEL_FUSED : CHANNEL_LOCAL)
                             : to == UINT32_MAX ? CHANNEL_OUT
                                                : CHANNEL_IN;
    const struct msg_PREPARE *plan = plan_of(d);
    const struct rec_INSTANCE_SPEC *end =
        &plan->add_instances[from != UINT32_MAX ? from : to];
    size_t port = from != UINT32_MAX ? stream->from_port : stream->to_port;
    size_t ports = from != UINT32_MAX ? end->outputs_count : end->inputs_count;
    const struct rec_PORT_SPEC *specs = from != UINT32_MAX ? end->outputs : end->inputs;
    const struct oxb_schema *schema = NULL;
    if (port >= ports || schema_parse(specs[port].schema, &schema, NULL) != ERR_OK) {
        return malformed(d, "a stream at a port that does not exist");
    }
    struct channel *c = channel_new(spec->id, kind, schema, d->env->pool);
    d->channels[d->channel_count++] = c;
    c->from = from != UINT32_MAX ? d->instances[from] : NULL;
    c->to = to != UINT32_MAX ? d->instances[to] : NULL;
    if (kind == CHANNEL_OUT || kind == CHANNEL_IN) {
        const struct rec_WORKER_ADDR *w =
            find_worker(d, kind == CHANNEL_OUT ? spec->to_worker : spec->from_worker);
        if (w == NULL) {
            return malformed(d, "a channel to a worker without an address");
        }
        if (kind == CHANNEL_OUT) {
            link_out_add(links_out(d->env->links, w->name, w->incarnation, w->address), c);
        } else {
            link_in_add(links_in(d->env->links, w->name, w->incarnation), c);
        }
    }
    return ERR_OK;
}

/* ---------------------------------------------------------------- wiring */

static struct out_stream *stream_at(struct out_port *port, const struct rec_STREAM_SPEC *spec,
                                    uint64_t *ids)
{
    for (uint32_t s = 0; s < port->stream_count; s++) {
        if (ids[s] == spec->id) {
            return &port->streams[s];
        }
    }
    port->streams = mem_resize(port->streams, port->stream_count + 1, sizeof *port->streams);
    ids[port->stream_count] = spec->id;
    struct out_stream *s = &port->streams[port->stream_count++];
    *s = (struct out_stream){.kind = ROUTE_ONE};
    s->key_count = (unsigned)(spec->keys.bytes / sizeof(uint32_t));
    s->key_count = s->key_count < KEY_FIELDS_MAX ? s->key_count : KEY_FIELDS_MAX;
    memcpy(s->keys, spec->keys.data, s->key_count * sizeof(uint32_t));
    if (spec->owners.bytes == sizeof s->owners) {
        memcpy(s->owners, spec->owners.data, sizeof s->owners);
    }
    return s;
}

static void settle_kind(struct out_stream *s, const struct rec_STREAM_SPEC *spec)
{
    if (spec->partitioning == PLAN_BROADCAST) {
        s->kind = ROUTE_ALL;
    } else if (spec->partitioning == PLAN_KEYED) {
        s->kind = ROUTE_KEYED;
    } else {
        s->kind = s->channel_count == 1 ? ROUTE_ONE : ROUTE_ROUND_ROBIN;
    }
}

static bool owners_fit(const struct out_stream *s)
{
    for (unsigned g = 0; s->kind == ROUTE_KEYED && g < KEY_GROUPS; g++) {
        if (s->owners[g] >= s->channel_count) {
            return false;
        }
    }
    return true;
}

/* Channels of the plan come ordered by stream, from, to: appending keeps the consumer's order. */
static enum err wire_instance(struct part *d, uint32_t k)
{
    const struct msg_PREPARE *plan = plan_of(d);
    struct instance *me = d->instances[k];
    uint32_t port_count = (uint32_t)plan->add_instances[k].outputs_count;
    struct input *inputs = NULL;
    uint32_t input_count = 0;
    struct out_port *ports = mem_array(port_count, sizeof *ports);
    uint64_t(*ids)[STREAMS_MAX] = mem_array(port_count, sizeof *ids);
    enum err e = ERR_OK;
    for (uint32_t n = 0; n < d->channel_count && e == ERR_OK; n++) {
        struct channel *c = d->channels[n];
        const struct rec_STREAM_SPEC *spec = find_stream(d, plan->add_channels[n].stream);
        if (c->to == me) {
            inputs = mem_resize(inputs, input_count + 1, sizeof *inputs);
            c->to_input = input_count;
            inputs[input_count++] = (struct input){.channel = c, .port = (unsigned)spec->to_port};
        }
        if (c->from == me) {
            struct out_stream *s = stream_at(&ports[spec->from_port], spec, ids[spec->from_port]);
            s->channels = mem_resize(s->channels, s->channel_count + 1, sizeof(struct channel *));
            s->channels[s->channel_count++] = c;
            settle_kind(s, spec);
        }
    }
    for (uint32_t p = 0; p < port_count && e == ERR_OK; p++) {
        for (uint32_t s = 0; s < ports[p].stream_count; s++) {
            e = owners_fit(&ports[p].streams[s]) ? e : malformed(d, "a key group without owner");
        }
    }
    mem_free(ids);
    instance_wire(me, inputs, input_count, ports, port_count);
    return e;
}

/* ---------------------------------------------------------------- chains */

static bool fed_by_call(const struct part *d, const struct instance *i)
{
    for (uint32_t n = 0; n < d->channel_count; n++) {
        if (d->channels[n]->kind == CHANNEL_FUSED && d->channels[n]->to == i) {
            return true;
        }
    }
    return false;
}

static void collect_chain(const struct part *d, struct instance *i,
                          struct instance **members, uint32_t *count)
{
    members[(*count)++] = i;
    for (uint32_t n = 0; n < d->channel_count; n++) {
        if (d->channels[n]->kind == CHANNEL_FUSED && d->channels[n]->from == i) {
            collect_chain(d, d->channels[n]->to, members, count);
        }
    }
}

static void on_chain_change(void *arg, struct chain *c);
static void on_chain_dead(void *arg, struct chain *c);

static void build_chain(struct part *d, uint32_t head)
{
    struct instance **members = mem_array(d->instance_count, sizeof(struct instance *));
    uint32_t count = 0;
    collect_chain(d, d->instances[head], members, &count);
    bool own = plan_of(d)->add_instances[head].own_thread;
    struct chain *c = chain_new(members, count, own ? NULL : executors_place(d->env->executors),
                                own);
    c->on_change = on_chain_change;
    c->on_dead = on_chain_dead;
    c->arg = d;
    d->chains[d->chain_count++] = c;
}

enum err build_graph(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    d->channels = mem_array(plan->add_channels_count, sizeof(struct channel *));
    d->chains = mem_array(d->instance_count, sizeof(struct chain *));
    for (size_t n = 0; n < plan->add_channels_count; n++) {
        enum err e = build_channel(d, &plan->add_channels[n]);
        if (e != ERR_OK) {
            return e;
        }
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        enum err e = wire_instance(d, k);
        if (e != ERR_OK) {
            return e;
        }
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (!fed_by_call(d, d->instances[k])) {
            build_chain(d, k);
        }
    }
    return ERR_OK;
}

/* ---------------------------------------------------------------- news from executors */

static void change_on_loop(void *arg)
{
    struct part *d = arg;
    atomic_store(&d->change_posted, false);
    if (!d->dropping) {
        d->env->on_change(d->env->arg, d);
    }
}

static void on_chain_change(void *arg, struct chain *c)
{
    struct part *d = arg;
    (void)c;
    if (!atomic_exchange(&d->change_posted, true)) {
        loop_post(d->env->loop, change_on_loop, d);
    }
}

static void dead_on_loop(void *arg)
{
    struct part *d = arg;
    if (++d->chains_dead == d->chain_count) {
        d->env->on_dropped(d->env->arg, d);
    }
}

static void on_chain_dead(void *arg, struct chain *c)
{
    struct part *d = arg;
    (void)c;
    loop_post(d->env->loop, dead_on_loop, d);
}
