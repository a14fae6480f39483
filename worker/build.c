/* worker/build.c - from a PREPARE message to instances, channels and chains: the one file of the
 * worker that knows both the plan's messages and the running things. */
#include "worker/care.h"
#include "worker/part.h"

#include "core/failpoint.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/describe.h"
#include "worker/checkpoint.h"
#include "worker/checkpoint_restore.h"
#include "worker/cut.h"
#include "worker/fault.h"
#include "worker/folder.h"
#include "worker/resend.h"
#include "worker/retain.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* The type's code: registered in this process, or in a plug-in of the artifact folder, which the
 * caller closes. */
static enum err find_type(struct part *d, const struct rec_INSTANCE_SPEC *spec,
                          const struct oxb_pe_type **out, struct plugin **plugin)
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
    *out = model_is_file(file) ? registry_find(spec->type) : NULL;
    if (*out != NULL) { /* a model: the built-in PE that runs it finds it there */
        mem_free(file);
        return ERR_OK;
    }
    enum err e = plugin_open(file, plugin, &d->fail);
    mem_free(file);
    if (e != ERR_OK) {
        return e;
    }
    *out = plugin_find(*plugin, spec->type[0] != '\0' ? spec->type : NULL);
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

/* joins - the topology has run before what is built now; a recovery from before the first
 * checkpoint is a beginning, of all or of a part. */
static bool joins(const struct msg_PREPARE *p)
{
    return p->from_epoch != 0 || (p->base_version != 0 && p->stay_instances_count == 0);
}

/* @i: the instance the code is for.  Return: *pe is set as soon as there is something to free. */
static enum err build_code(struct part *d, const struct rec_INSTANCE_SPEC *spec, struct instance *i,
                           struct oxb_pe **out)
{
    const struct oxb_pe_type *type = NULL;
    struct plugin *plugin = NULL;
    struct pe_port_spec inputs[PORTS_MAX], outputs[PORTS_MAX];
    if (spec->inputs_count > PORTS_MAX || spec->outputs_count > PORTS_MAX ||
        spec->parallelism > PARALLELISM_MAX) {
        return fail_set(&d->fail, ERR_LIMIT, "use fewer", "too many ports or instances");
    }
    enum err e = find_type(d, spec, &type, &plugin);
    if (e == ERR_OK) {
        e = port_specs(d, spec->inputs, spec->inputs_count, inputs);
    }
    if (e == ERR_OK) {
        e = port_specs(d, spec->outputs, spec->outputs_count, outputs);
    }
    if (e != ERR_OK) {
        plugin_close(plugin);
        return e;
    }
    struct pe_host host = instance_host(i);
    struct pe_spec pe = {.type = type,
                         .plugin = plugin,
                         .name = spec->pe,
                         .params = spec->params,
                         .base_dir = plan_of(d)->base_dir,
                         .index = (unsigned)spec->index,
                         .parallelism = (unsigned)spec->parallelism,
                         .inputs = inputs,
                         .input_count = (unsigned)spec->inputs_count,
                         .outputs = outputs,
                         .output_count = (unsigned)spec->outputs_count,
                         .uid = spec->uid[0] != '\0' ? spec->uid : NULL,
                         .checkpoints = plan_of(d)->checkpoints,
                         .generation = plan_of(d)->gen,
                         .dead_letters = true,
                         .output_stays = plan_of(d)->output_stays,
                         .joins = joins(plan_of(d))};
    char *artifact = spec->artifact[0] != '\0' && registry_find(spec->type) == type
                         ? mem_printf("%s/%s.so", d->env->artifact_dir, spec->artifact)
                         : NULL;
    char *data_dir = file_dir_of(d->env->artifact_dir);
    pe.artifact = artifact;
    pe.data_dir = data_dir;
    *out = pe_new(&pe, &host, d->env->pool);
    mem_free(artifact);
    mem_free(data_dir);
    return pe_prepare(*out, &d->fail);
}

uint64_t part_policy(const struct rec_INSTANCE_SPEC *spec)
{
    uint64_t stuck_ms = spec->stuck_after_ms < UINT32_MAX ? spec->stuck_after_ms : UINT32_MAX;
    return policy_pack((struct policy){
        .then = spec->then <= PLAN_DEAD_LETTER ? (enum plan_then)spec->then : PLAN_STOP,
        .retries = spec->retries < 1000 ? (uint32_t)spec->retries : 1000,
        .stuck_after_ms = (uint32_t)stuck_ms});
}

static void describe_instance(struct instance *i, const struct rec_INSTANCE_SPEC *spec)
{
    i->source = i->pe != NULL && (pe_type(i->pe)->flags & OXB_SOURCE) != 0;
    i->sink = spec->outputs_count == 0;
    atomic_store(&i->policy, part_policy(spec));
    if (i->sink) {
        i->end_to_end_us = mem_alloc(sizeof *i->end_to_end_us);
    }
}

static enum err build_adopted(struct part *d, const struct rec_INSTANCE_SPEC *spec)
{
    struct adopted *a = &d->adopted[d->adopted_count];
    a->instance = d->base != NULL ? part_instance(d->base, spec->id) : NULL;
    if (a->instance == NULL) {
        return plan_malformed(d, "code for an instance that is not here");
    }
    enum err e = build_code(d, spec, a->instance, &a->pe);
    d->adopted_count += a->pe != NULL ? 1 : 0;
    return e;
}

/* What a recovery gives the instance back; its position, keyed state, and whether it had ended. */
static enum err restore_state(struct part *d, struct instance *i, struct restored *out)
{
    const struct msg_PREPARE *plan = plan_of(d);
    struct restore_from from = {.master = &d->env->master,
                                .worker = d->env->worker_name,
                                .incarnation = d->env->incarnation,
                                .topology = plan->topology,
                                .location = plan->location};
    if (plan->restores_count > 0) {
        FAILPOINT("recovery.restores");
    }
    return restore_instance(&from, plan->restores, plan->restores_count, i, out, &d->fail);
}

enum err build_instances(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    enum err placed = folder_check(plan, d->env->worker_name, &d->fail);
    if (placed != ERR_OK) {
        return placed;
    }
    d->instances = mem_array(plan->add_instances_count, sizeof(struct instance *));
    d->adopted = mem_array(plan->adopt_instances_count, sizeof *d->adopted);
    for (size_t k = 0; k < plan->add_instances_count; k++) {
        const struct rec_INSTANCE_SPEC *spec = &plan->add_instances[k];
        struct instance *i = instance_new(spec->id, spec->pe, (unsigned)spec->index, d->env->pool);
        struct oxb_pe *pe = NULL;
        enum err e = build_code(d, spec, i, &pe);
        i->pe = pe;
        i->topology = mem_dup(d->name);
        d->instances[d->instance_count++] = i;
        if (e != ERR_OK) {
            return fail_at(d, spec->pe, e);
        }
        describe_instance(i, spec);
        i->care = care_new(spec, plan->from_epoch);
        struct restored restored = {0};
        e = restore_state(d, i, &restored);
        if (e == ERR_OK && plan->checkpoints) {
            i->keeper = keeper_new(d->env->saver, plan->topology, plan->gen, plan->location);
            keeper_resume(i->keeper, i, &restored);
        }
        restored_fini(&restored);
        if (e != ERR_OK) {
            return fail_at(d, spec->pe, e);
        }
    }
    for (size_t k = 0; k < plan->adopt_instances_count; k++) {
        const struct rec_INSTANCE_SPEC *spec = &plan->adopt_instances[k];
        enum err e = spec->settings ? ERR_OK : build_adopted(d, spec);
        if (e != ERR_OK) {
            return fail_at(d, plan->adopt_instances[k].pe, e);
        }
    }
    return ERR_OK;
}

void part_settle(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    for (size_t k = 0; k < plan->adopt_instances_count; k++) {
        const struct rec_INSTANCE_SPEC *spec = &plan->adopt_instances[k];
        struct instance *i = part_instance(d, spec->id);
        if (i == NULL) {
            continue;
        }
        name_set(&i->pe_name, spec->pe);
        if (spec->settings) { /* else its code is replaced: its policy begins with it, at the cut */
            atomic_store(&i->policy, part_policy(spec));
            if (atomic_load(&i->hold) != NULL) {
                instance_notify(i); /* what it is held for may go on now */
            }
            pe_settle(i->pe, spec->pe, (unsigned)spec->parallelism);
        }
    }
}

/* ---------------------------------------------------------------- channels (loop thread) */

struct instance *part_instance(const struct part *d, uint64_t id)
{
    for (const struct part *p = d; p != NULL; p = p->base) {
        for (uint32_t k = 0; k < p->instance_count; k++) {
            if (p->instances[k]->id == id) {
                return p->instances[k];
            }
        }
    }
    return NULL;
}

struct oxb_pe *part_code_of(const struct part *d, const struct instance *i)
{
    for (uint32_t k = 0; k < d->adopted_count; k++) {
        if (d->adopted[k].instance == i) { /* its cut has it, once that is made */
            const struct cut *cut = atomic_load(&i->cut);
            return d->adopted[k].pe != NULL || cut == NULL ? d->adopted[k].pe : cut->pe;
        }
    }
    return i->pe;
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

enum err plan_malformed(struct part *d, const char *what)
{
    return fail_set(&d->fail, ERR_INVALID, "this is a fault of the master: report it",
                    "malformed plan: %s", what);
}

/* The schema at one end: what the code that will run there says of its port. */
static const struct oxb_schema *schema_at(struct part *d, struct instance *i, bool output,
                                          size_t port)
{
    struct oxb_pe *pe = part_code_of(d, i);
    return output ? oxb_out_schema(pe, (unsigned)port) : oxb_in_schema(pe, (unsigned)port);
}

/* begins_at - the checkpoint that new channels begin at; what a change adds begins between two. */
static uint64_t begins_at(const struct part *d)
{
    bool changes = plan_of(d)->base_version != 0 && plan_of(d)->stay_instances_count == 0;
    return changes ? RETAIN_NOTHING : plan_of(d)->from_epoch;
}

static enum err build_channel(struct part *d, const struct ids *instances,
                              const struct rec_CHANNEL_SPEC *spec)
{
    struct instance *from = ids_find(instances, spec->from);
    struct instance *to = ids_find(instances, spec->to);
    const struct rec_STREAM_SPEC *stream = find_stream(d, spec->stream);
    if (stream == NULL || (from == NULL && to == NULL)) {
        return plan_malformed(d, "a channel without a stream or without an end here");
    }
    bool here = from != NULL && to != NULL;
    enum channel_kind kind = here         ? (spec->fused ? CHANNEL_FUSED : CHANNEL_LOCAL)
                             : to == NULL ? CHANNEL_OUT
                                          : CHANNEL_IN;
    const struct oxb_schema *schema = from != NULL ? schema_at(d, from, true, stream->from_port)
                                                   : schema_at(d, to, false, stream->to_port);
    if (schema == NULL) {
        return plan_malformed(d, "a stream at a port that does not exist");
    }
    struct channel *c = channel_new(spec->id, kind, schema, d->env->pool);
    d->channels[d->channel_count++] = c;
    c->stream = mem_dup(stream->name);
    c->to_index = (uint32_t)spec->to_index;
    c->from = from;
    c->to = to;
    if (spec->retain && spec->replaces == 0 && from != NULL && kind != CHANNEL_FUSED &&
        d->retain_bytes > 0) {
        atomic_store(&c->log, retained_new(begins_at(d), 0)); /* retain_divide follows */
    }
    if (kind == CHANNEL_OUT || kind == CHANNEL_IN) {
        const struct rec_WORKER_ADDR *w =
            find_worker(d, kind == CHANNEL_OUT ? spec->to_worker : spec->from_worker);
        if (w == NULL) {
            return plan_malformed(d, "a channel to a worker without an address");
        }
        if (kind == CHANNEL_OUT) {
            struct link_out *o =
                links_out(d->env->links, w->name, w->incarnation, w->address, &d->fail);
            if (o == NULL) {
                return d->fail.code;
            }
            link_out_add(o, c);
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

static void wire_output(struct part *d, const struct wired *w, struct wiring *out,
                        uint64_t (*ids)[STREAMS_MAX])
{
    const struct rec_STREAM_SPEC *spec = find_stream(d, w->spec->stream);
    if (spec->from_port < out->port_count) {
        struct out_stream *s = stream_at(&out->ports[spec->from_port], spec, ids[spec->from_port]);
        s->channels = mem_resize(s->channels, s->channel_count + 1, sizeof(struct channel *));
        s->channels[s->channel_count++] = w->channel;
        settle_kind(s, spec);
    }
}

/* A range comes ordered by stream, from, to: appending keeps the consumers' order. */
enum err build_wiring(struct part *d, const struct wired_list *list, struct instance *me,
                      uint32_t port_count, struct wiring *out)
{
    struct wired_range in = wired_to(list, me), from = wired_from(list, me);
    *out = (struct wiring){.inputs = mem_array(in.count, sizeof *out->inputs),
                           .input_count = (uint32_t)in.count,
                           .ports = mem_array(port_count, sizeof *out->ports),
                           .port_count = port_count};
    uint64_t(*ids)[STREAMS_MAX] = mem_array(port_count, sizeof *ids);
    enum err e = ERR_OK;
    for (size_t n = 0; n < in.count; n++) {
        const struct wired *w = in.items[n].at;
        out->inputs[n] = (struct input){.channel = w->channel,
                                        .port = (unsigned)find_stream(d, w->spec->stream)->to_port};
    }
    for (size_t n = 0; n < from.count; n++) {
        wire_output(d, from.items[n].at, out, ids);
    }
    for (uint32_t p = 0; p < port_count && e == ERR_OK; p++) {
        for (uint32_t s = 0; s < out->ports[p].stream_count; s++) {
            if (e == ERR_OK && !owners_fit(&out->ports[p].streams[s])) {
                e = plan_malformed(d, "a key group without owner");
            }
        }
    }
    mem_free(ids);
    return e;
}

static enum err wire_new(struct part *d, const struct wired_list *list, uint32_t k)
{
    struct wiring w;
    struct instance *me = d->instances[k];
    uint32_t ports = part_ports(&plan_of(d)->add_instances[k]);
    enum err e = build_wiring(d, list, me, ports, &w);
    pe_connect(me->pe, ports - 1, w.ports[ports - 1].stream_count > 0);
    for (uint32_t n = 0; n < w.input_count; n++) {
        w.inputs[n].channel->to_input = n;
    }
    instance_wire(me, w.inputs, w.input_count, w.ports, w.port_count);
    return e;
}

/* ---------------------------------------------------------------- chains */

static bool fed_by_call(const struct instance *i)
{
    for (uint32_t n = 0; n < i->input_count; n++) {
        if (i->inputs[n].channel->kind == CHANNEL_FUSED) {
            return true;
        }
    }
    return false;
}

static void collect_chain(const struct wired_list *list, struct instance *i,
                          struct instance **members, uint32_t *count)
{
    struct wired_range from = wired_from(list, i);
    i->order = *count;
    members[(*count)++] = i;
    for (size_t n = 0; n < from.count; n++) {
        const struct wired *w = from.items[n].at;
        if (w->channel->kind == CHANNEL_FUSED) {
            collect_chain(list, w->to, members, count);
        }
    }
}

static void build_chain(struct part *d, const struct wired_list *list, uint32_t head)
{
    struct instance **members = mem_array(d->instance_count, sizeof(struct instance *));
    uint32_t count = 0;
    collect_chain(list, d->instances[head], members, &count);
    bool own = plan_of(d)->add_instances[head].own_thread;
    struct chain *c =
        chain_new(members, count, own ? NULL : executors_place(d->env->executors), own);
    part_listen(d, c);
    d->chains[d->chain_count++] = c;
}

enum err build_channels(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    struct ids instances = {0};
    enum err e = ERR_OK;
    for (const struct part *p = d; p != NULL; p = p->base) {
        for (uint32_t k = 0; k < p->instance_count; k++) {
            ids_add(&instances, p->instances[k]->id, p->instances[k]);
        }
    }
    ids_sort(&instances);
    d->channels = mem_array(plan->add_channels_count, sizeof(struct channel *));
    for (size_t n = 0; n < plan->add_channels_count && e == ERR_OK; n++) {
        e = build_channel(d, &instances, &plan->add_channels[n]);
    }
    ids_fini(&instances);
    if (e == ERR_OK) {
        retain_divide(d);
    }
    return e;
}

static enum err wire_all(struct part *d, const struct wired_list *list)
{
    enum err e = ERR_OK;
    for (uint32_t k = 0; k < d->instance_count && e == ERR_OK; k++) {
        e = wire_new(d, list, k);
    }
    for (uint32_t k = 0; k < d->instance_count && e == ERR_OK; k++) {
        if (!fed_by_call(d->instances[k])) {
            build_chain(d, list, k);
        }
    }
    return e;
}

enum err build_graph(struct part *d)
{
    const struct msg_PREPARE *plan = plan_of(d);
    d->chains = mem_array(d->instance_count, sizeof(struct chain *));
    enum err e = build_channels(d);
    if (e != ERR_OK) {
        return e;
    }
    struct wired_list list;
    struct wired *items = mem_array(d->channel_count, sizeof *items);
    for (uint32_t n = 0; n < d->channel_count; n++) {
        struct channel *c = d->channels[n];
        items[n] = (struct wired){c, &plan->add_channels[n], c->from, c->to, false};
    }
    wired_init(&list, items, d->channel_count, true); /* as the plan has them */
    e = wire_all(d, &list);
    wired_fini(&list);
    return e;
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
    struct chain *c = arg;
    struct part *d = c->arg;
    c->dead = true;
    if (d->dropping) {
        part_check_dropped(d);
    } else {
        d->env->on_change(d->env->arg, d); /* a chain whose members have all retired */
    }
}

static void on_chain_dead(void *arg, struct chain *c)
{
    struct part *d = arg;
    loop_post(d->env->loop, dead_on_loop, c);
}

void part_listen(struct part *d, struct chain *c)
{
    c->on_change = on_chain_change;
    c->on_dead = on_chain_dead;
    c->arg = d;
}
