/* master/translate.c - between the model and the messages. */
#include "master/translate.h"

#include "core/hist.h"
#include "core/limits.h"
#include "core/mem.h"
#include "master/upgrade.h"
#include "net/conn.h"
#include "net/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static_assert((int)PART_BALANCED == (int)PLAN_BALANCED && (int)PART_KEYED == (int)PLAN_KEYED &&
                  (int)PART_BROADCAST == (int)PLAN_BROADCAST,
              "the model's numbers go over the wire");
static_assert((int)THEN_STOP == (int)PLAN_STOP && (int)THEN_DROP == (int)PLAN_DROP &&
                  (int)THEN_HOLD == (int)PLAN_HOLD &&
                  (int)THEN_DEAD_LETTER == (int)PLAN_DEAD_LETTER,
              "the model's numbers go over the wire");

static char *own_address(const char *address, const char *peer_host);
static void fill_workers(const struct deployment *d, const struct members *ms,
                         struct msg_PREPARE *p);
static void fill_instances(const struct deployment *d, uint32_t part, struct msg_PREPARE *p);
static void fill_channels(const struct deployment *d, uint32_t part, struct msg_PREPARE *p);
static void fill_streams(const struct deployment *d, struct msg_PREPARE *p);
static enum err check_size(const struct msg *m, const char *worker, struct fail *f);

/* ---- joining ---- */

enum err translate_hello(const struct msg_HELLO *m, const char *peer_host,
                         struct member_hello *out, struct fail *f)
{
    json_t *types = m->types[0] != '\0' ? json_loads(m->types, JSON_REJECT_DUPLICATES, NULL)
                                        : json_array();
    if (!json_is_array(types)) {
        json_decref(types);
        return fail_set(f, ERR_INVALID, "use programs of the same release",
                        "the PE types of worker %.80s are not a JSON array", m->name);
    }
    if (m->labels_count > LABELS_MAX) {
        json_decref(types);
        return fail_set(f, ERR_LIMIT, "use fewer --label", "worker %.80s has %zu labels", m->name,
                        m->labels_count);
    }
    json_t *labels = json_object();
    for (size_t i = 0; i < m->labels_count; i++) {
        json_object_set_new(labels, m->labels[i].key, json_string(m->labels[i].value));
    }
    *out = (struct member_hello){.name = m->name,
                                 .address = own_address(m->address, peer_host),
                                 .host = m->host,
                                 .version = m->version,
                                 .protocol = m->protocol < PROTOCOL_VERSION ? m->protocol
                                                                            : PROTOCOL_VERSION,
                                 .incarnation = m->incarnation,
                                 .slots = m->slots,
                                 .threads = m->threads,
                                 .pid = m->pid,
                                 .term_seen = m->term_seen,
                                 .gpu = m->gpu,
                                 .renews = m->renews,
                                 .labels = labels,
                                 .types = types};
    return ERR_OK;
}

void translate_hello_fini(struct member_hello *h)
{
    mem_free((void *)(uintptr_t)h->address);
    json_decref(h->labels);
    json_decref(h->types);
    *h = (struct member_hello){0};
}

void translate_worker(const struct member *w, uint32_t slots_used, struct worker_info *out)
{
    *out = (struct worker_info){.id = w->id,
                                .incarnation = w->incarnation,
                                .slots = w->slots,
                                .slots_used = slots_used,
                                .has_gpu = w->gpu,
                                .labels = w->labels,
                                .types = w->type_names};
    memcpy(out->name, w->name, sizeof out->name);
    snprintf(out->host, sizeof out->host, "%s", w->host);
}

static char *own_address(const char *address, const char *peer_host)
{
    const char *port = strrchr(address, ':');
    if (port == address) {
        return mem_printf(strchr(peer_host, ':') != NULL ? "[%s]%s" : "%s%s", peer_host, port);
    }
    return mem_dup(address);
}

/* ---- PREPARE ---- */

static void fill_restores(const struct deployment *d, uint32_t part, struct msg_PREPARE *p)
{
    const struct keeping *k = recover_is_under_way(d) ? d->keeping : NULL;
    p->restores = mem_array(k != NULL ? k->restore_count : 0, sizeof *p->restores);
    for (size_t i = 0; k != NULL && i < k->restore_count; i++) {
        for (uint32_t n = 0; n < d->graph->instance_count; n++) {
            if (d->graph->instances[n].id == k->restores[i].instance &&
                d->graph->instances[n].worker == part) {
                p->restores[p->restores_count++] = k->restores[i];
            }
        }
    }
}

/* What this worker keeps through a recovery: the rest of the message is what comes beside it. */
static void fill_staying(const struct deployment *d, uint32_t part, struct msg_PREPARE *p)
{
    const struct pgraph *g = d->graph;
    p->stay_instances = mem_array(g->instance_count, sizeof *p->stay_instances);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (recover_leaves(d, i) && g->instances[i].worker == part) {
            p->stay_instances[p->stay_instances_count++].id = g->instances[i].id;
        }
    }
    if (p->stay_instances_count > 0) {
        p->base_version = d->keeping->repairs != 0 ? d->keeping->repairs : d->version;
    }
}

enum err translate_prepare(const struct deployment *d, const struct members *ms, uint32_t part,
                           struct msg *out, struct fail *f)
{
    *out = (struct msg){.kind = M_PREPARE};
    struct msg_PREPARE *p = &out->PREPARE;
    p->term = d->token.term;
    p->topology = d->name;
    p->gen = d->token.gen;
    p->op = d->token.op;
    p->epoch = d->token.epoch;
    bool changes = d->upgrade != NULL && !recover_is_under_way(d);
    p->base_version = changes ? d->upgrade->base : 0; /* a deploy, a recovery: from nothing */
    p->checkpoints = d->topology->checkpoint_every_us > 0;
    const char *location = d->topology->checkpoint_location; /* file:///PATH */
    p->location = location != NULL ? location + sizeof "file://" - 1 : "";
    p->from_epoch = recover_is_under_way(d) ? d->keeping->from_epoch : 0;
    p->retain_bytes = p->checkpoints ? d->topology->checkpoint_retain_bytes : 0;
    p->output_stays = recover_is_under_way(d) && d->keeping->from_is_passed;
    p->version = d->version;
    p->base_dir = d->base_dir;
    fill_workers(d, ms, p);
    if (changes) {
        translate_change(d, part, p);
    } else {
        fill_staying(d, part, p);
        fill_restores(d, part, p);
        fill_instances(d, part, p);
        fill_channels(d, part, p);
    }
    fill_streams(d, p);
    enum err e = check_size(out, d->graph->workers[part].name, f);
    if (e != ERR_OK) {
        translate_prepare_fini(out);
    }
    return e;
}

static void free_instances(struct rec_INSTANCE_SPEC *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mem_free((void *)(uintptr_t)list[i].params);
        mem_free((void *)(uintptr_t)list[i].artifact);
        mem_free((void *)(uintptr_t)list[i].killers.data);
        mem_free(list[i].inputs);
        mem_free(list[i].outputs);
    }
    mem_free(list);
}

void translate_prepare_fini(struct msg *m)
{
    struct msg_PREPARE *p = &m->PREPARE;
    free_instances(p->add_instances, p->add_instances_count);
    free_instances(p->adopt_instances, p->adopt_instances_count);
    for (size_t i = 0; i < p->members_count; i++) {
        mem_free((void *)(uintptr_t)p->members[i].awaited.data);
        mem_free((void *)(uintptr_t)p->members[i].marks.data);
    }
    for (size_t i = 0; i < p->streams_count; i++) {
        mem_free((void *)(uintptr_t)p->streams[i].keys.data);
        mem_free((void *)(uintptr_t)p->streams[i].owners.data);
    }
    mem_free(p->moves);
    mem_free(p->workers);
    mem_free(p->members);
    mem_free(p->remove_instances);
    mem_free(p->remove_channels);
    mem_free(p->keep_channels);
    mem_free(p->restores);
    mem_free(p->stay_instances);
    mem_free(p->streams);
    mem_free(p->add_channels);
    *m = (struct msg){0};
}

static void fill_workers(const struct deployment *d, const struct members *ms,
                         struct msg_PREPARE *p)
{
    const struct pgraph *g = d->graph;
    p->workers = mem_array(g->worker_count, sizeof *p->workers);
    for (uint32_t i = 0; i < g->worker_count; i++) {
        const struct member *w = members_by_id(ms, d->parts[i].worker_id);
        if (!d->parts[i].involved) {
            continue;
        }
        p->workers[p->workers_count++] = (struct rec_WORKER_ADDR){
            .name = g->workers[i].name,
            .id = d->parts[i].worker_id,
            .incarnation = d->parts[i].incarnation,
            .address = w != NULL && w->address != NULL ? w->address : ""};
    }
}

static size_t fill_ports(const struct port *ports, unsigned count, struct rec_PORT_SPEC **out)
{
    *out = mem_array(count, sizeof **out);
    for (unsigned i = 0; i < count; i++) {
        (*out)[i] = (struct rec_PORT_SPEC){.name = ports[i].name,
                                           .schema = ports[i].schema.text,
                                           .connected = ports[i].connected};
    }
    return count;
}

/* "9f..:words" -> the 64 hex digits; a built-in has none. */
static char *artifact_of(const struct pe *pe)
{
    const char *colon = strchr(pe->code, ':');
    return colon != NULL && colon - pe->code == DIGEST_HEX_BYTES - 1
               ? mem_dup_n(pe->code, DIGEST_HEX_BYTES - 1)
               : NULL;
}

void translate_instance(const struct deployment *d, uint32_t number, struct rec_INSTANCE_SPEC *out)
{
    const struct pinstance *from = &d->graph->instances[number];
    const struct pe *pe = &d->topology->pes[from->pe];
    *out = (struct rec_INSTANCE_SPEC){
        .id = from->id,
        .pe = pe->name,
        .uid = pe->uid,
        .index = from->index,
        .parallelism = pe->parallelism,
        .type = pe->desc->name,
        .artifact = artifact_of(pe),
        .params = json_dumps(pe->with, JSON_COMPACT | JSON_SORT_KEYS),
        .chain = from->chain,
        .own_thread = pe->own_thread,
        .digest = pe->digest,
        .then = pe->then,
        .retries = pe->retries,
        .stuck_after_ms = pe->stuck_after_us / 1000};
    out->inputs_count = fill_ports(pe->inputs, pe->input_count, &out->inputs);
    out->outputs_count = fill_ports(pe->outputs, pe->output_count, &out->outputs);
}

/* What is held against it for having killed workers, in a recovery (crashes.h). */
static void fill_care(const struct deployment *d, uint32_t number, struct rec_INSTANCE_SPEC *out)
{
    const struct pinstance *n = &d->graph->instances[number];
    const struct pe *pe = &d->topology->pes[n->pe];
    const struct crash_of *c = recover_is_under_way(d)
                                   ? crashes_find(&d->keeping->crashes, pe, n->index)
                                   : NULL;
    enum crash_then then = c != NULL ? crashes_then(c, pe) : CRASH_AGAIN;
    if (then != CRASH_HOLD && then != CRASH_SINGLY) {
        return;
    }
    out->care = then == CRASH_HOLD ? CARE_HOLD : CARE_SINGLY;
    out->crash = c->error;
    uint8_t *sums = mem_array(c->killer_count, 8);
    for (size_t k = 0; k < 8 * c->killer_count; k++) {
        sums[k] = (uint8_t)(c->killers[k / 8] >> (8 * (k % 8)));
    }
    out->killers = (struct msg_bin){sums, 8 * c->killer_count};
}

static void fill_instances(const struct deployment *d, uint32_t part, struct msg_PREPARE *p)
{
    const struct pgraph *g = d->graph;
    p->add_instances = mem_array(g->instance_count, sizeof *p->add_instances);
    for (uint32_t i = 0; i < g->instance_count; i++) {
        if (g->instances[i].worker == part && !recover_leaves(d, i)) {
            struct rec_INSTANCE_SPEC *spec = &p->add_instances[p->add_instances_count++];
            translate_instance(d, i, spec);
            fill_care(d, i, spec);
        }
    }
}

/* may_part - can its ends recover apart?  They live on two workers, or what it leads to may be held
 * by an error while the rest of its worker goes on. */
static bool may_part(const struct deployment *d, const struct pchannel *c)
{
    const struct pgraph *g = d->graph;
    const struct pinstance *from = &g->instances[c->from], *to = &g->instances[c->to];
    return !c->fused && d->topology->checkpoint_every_us > 0 &&
           (from->worker != to->worker || d->topology->pes[to->pe].then == THEN_HOLD);
}

void translate_channel(const struct deployment *d, uint32_t number, struct rec_CHANNEL_SPEC *out)
{
    const struct pgraph *g = d->graph;
    const struct pchannel *c = &g->channels[number];
    const struct pinstance *from = &g->instances[c->from], *to = &g->instances[c->to];
    *out = (struct rec_CHANNEL_SPEC){.id = c->id,
                                     .stream = c->stream,
                                     .from = from->id,
                                     .to = to->id,
                                     .from_index = from->index,
                                     .to_index = to->index,
                                     .from_worker = g->workers[from->worker].name,
                                     .to_worker = g->workers[to->worker].name,
                                     .fused = c->fused,
                                     .retain = may_part(d, c)};
}

static void fill_channels(const struct deployment *d, uint32_t part, struct msg_PREPARE *p)
{
    const struct pgraph *g = d->graph;
    p->add_channels = mem_array(g->channel_count, sizeof *p->add_channels);
    p->remove_channels = mem_array(g->channel_count, sizeof *p->remove_channels);
    for (uint32_t i = 0; i < g->channel_count; i++) {
        const struct pchannel *c = &g->channels[i];
        bool here = g->instances[c->from].worker == part || g->instances[c->to].worker == part;
        if (!here || recover_leaves(d, c->to)) {
            continue;
        }
        struct rec_CHANNEL_SPEC *spec = &p->add_channels[p->add_channels_count++];
        translate_channel(d, i, spec);
        spec->replaces = recover_replaces(d, i);
        if (spec->replaces != 0 && g->instances[c->from].worker == part) {
            p->remove_channels[p->remove_channels_count++].id = spec->replaces;
        }
    }
}

static struct msg_bin keys_of(const struct stream *s)
{
    uint8_t *bytes = mem_array(s->key_count, 4);
    for (unsigned i = 0; i < s->key_count; i++) {
        for (unsigned k = 0; k < 4; k++) {
            bytes[4 * i + k] = (uint8_t)(s->keys[i] >> (8 * k));
        }
    }
    return (struct msg_bin){bytes, (size_t)s->key_count * 4};
}

static struct msg_bin owners_of(const struct pgraph *g, uint32_t pe)
{
    uint8_t *bytes = mem_array(KEY_GROUPS, 2);
    for (unsigned group = 0; group < KEY_GROUPS; group++) {
        uint32_t owner = pgraph_owner(g, pe, group);
        bytes[2 * group] = (uint8_t)owner;
        bytes[2 * group + 1] = (uint8_t)(owner >> 8);
    }
    return (struct msg_bin){bytes, (size_t)KEY_GROUPS * 2};
}

/* The streams of the channels that are in the message already. */
static void fill_streams(const struct deployment *d, struct msg_PREPARE *p)
{
    const struct topology *t = d->topology;
    bool *seen = mem_array(t->stream_count, sizeof *seen);
    p->streams = mem_array(t->stream_count, sizeof *p->streams);
    for (size_t i = 0; i < p->add_channels_count; i++) {
        seen[p->add_channels[i].stream] = true;
    }
    for (size_t i = 0; i < p->keep_channels_count; i++) {
        seen[p->keep_channels[i].stream] = true;
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        if (!seen[i]) {
            continue;
        }
        struct rec_STREAM_SPEC *out = &p->streams[p->streams_count++];
        *out = (struct rec_STREAM_SPEC){.id = i,
                                        .name = s->name,
                                        .from_port = s->from_port,
                                        .to_port = s->to_port,
                                        .partitioning = s->partitioning};
        if (s->partitioning == PART_KEYED) {
            out->keys = keys_of(s);
            out->owners = owners_of(d->graph, s->to_pe);
        }
    }
    mem_free(seen);
}

static enum err check_size(const struct msg *m, const char *worker, struct fail *f)
{
    struct strbuf frame = {0};
    enum err e = msg_encode_large(m, &frame);
    if (e == ERR_OK) { /* the receiver will look at it with the same eyes */
        e = msgpack_prescan(frame.data + FRAME_HEAD_BYTES, frame.bytes - FRAME_HEAD_BYTES,
                            FRAME_DEPTH_MAX, LARGE_OBJECTS_MAX);
    }
    strbuf_fini(&frame);
    if (e != ERR_OK) {
        return fail_set(f, ERR_LIMIT, "use less parallelism, or more workers",
                        "the plan for worker %s is too large: %zu instances, "
                        "%zu channels", worker, m->PREPARE.add_instances_count,
                        m->PREPARE.add_channels_count);
    }
    return ERR_OK;
}

/* ---- REPORT ---- */

static void keep_hist(struct strbuf *to, struct msg_bin from)
{
    struct hist scratch = {0};
    if (from.bytes > 0 && hist_decode(&scratch, from.data, from.bytes) == 0) {
        strbuf_clear(to);
        strbuf_add(to, from.data, from.bytes);
    }
}

static void keep_text(char **to, const char *from)
{
    if (*to == NULL ? from[0] == '\0' : strcmp(*to, from) == 0) {
        return;
    }
    mem_free(*to);
    *to = from[0] != '\0' ? mem_dup(from) : NULL;
}

static void count_instance(struct instance_view *v, const struct rec_INSTANCE_STATUS *s)
{
    v->tuples_in = s->tuples_in;
    v->tuples_out = s->tuples_out;
    v->batches_in = s->batches_in;
    v->batches_out = s->batches_out;
    v->bytes_in = s->bytes_in;
    v->bytes_out = s->bytes_out;
    v->errors = s->errors;
    v->busy_us = s->busy_us;
    v->blocked_us = s->blocked_us;
}

static void fold_instance(struct instance_view *v, const struct rec_INSTANCE_STATUS *s,
                          uint64_t at_us)
{
    v->state = (unsigned)s->state;
    count_instance(v, s);
    v->state_bytes = s->state_bytes;
    v->failed = s->failed;
    v->held = s->held;
    v->kept = s->kept;
    v->call_us = s->call_us;
    v->had_ended = s->had_ended;
    keep_text(&v->held_tuple, s->held_tuple);
    keep_text(&v->held_stream, s->held_stream);
    keep_text(&v->error, s->error);
    keep_text(&v->metrics, s->metrics);
    keep_hist(&v->latency, s->latency);
    samples_add(&v->samples, (struct sample){.at_us = at_us,
                                             .in = s->tuples_in,
                                             .out = s->tuples_out,
                                             .busy_us = s->busy_us,
                                             .blocked_us = s->blocked_us});
}

static uint64_t above(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* The ledger is checked all the time, not only when a receipt is made. */
static void note_faults(struct deployment *d, const struct channel_view *v,
                        const struct rec_CHANNEL_STATUS *s)
{
    uint64_t gaps = above(s->gaps, v->gaps), repeats = above(s->repeats, v->repeats);
    uint64_t reordered = above(s->reordered, v->reordered);
    uint64_t mismatched = above(s->mismatched, v->mismatched);
    if (gaps + repeats + reordered + mismatched > 0) {
        d->faults.gaps += gaps;
        d->faults.repeats += repeats;
        d->faults.reordered += reordered;
        d->faults.mismatched += mismatched;
        d->faults.stream = d->graph->channels[v->number].stream;
    }
}

static void fold_channel(struct deployment *d, const struct part *p, struct channel_view *v,
                         const struct rec_CHANNEL_STATUS *s, uint64_t at_us)
{
    bool is_sender = &d->parts[v->from_part] == p;
    bool is_receiver = &d->parts[v->to_part] == p;
    if (is_sender) {
        v->sent = s->sent;
        v->depth_from = is_receiver ? 0 : s->depth;
        v->reach = s->reach;
        v->retained = s->retained;
        samples_add(&v->samples, (struct sample){.at_us = at_us, .out = s->sent});
    }
    if (is_receiver) {
        note_faults(d, v, s);
        v->received = s->received;
        v->depth_to = s->depth;
        v->gaps = s->gaps;
        v->repeats = s->repeats;
        v->reordered = s->reordered;
        v->compared = s->compared;
        v->mismatched = s->mismatched;
        v->ended = s->ended;
    }
}

void translate_report(struct deployment *d, struct part *p, const struct msg_REPORT *m,
                      const struct instance_view **failed)
{
    *failed = NULL;
    for (size_t i = 0; i < m->instances_count; i++) {
        const struct rec_INSTANCE_STATUS *s = &m->instances[i];
        struct instance_view *v = deployment_instance(d, s->id);
        if (v == NULL || s->state < INSTANCE_PREPARED || s->state > INSTANCE_STUCK ||
            &d->parts[d->graph->instances[v->number].worker] != p) { /* R2 */
            continue;
        }
        if (s->state == INSTANCE_RETIRED) { /* the last of it: see carry.h */
            count_instance(v, s);
            continue;
        }
        fold_instance(v, s, m->at_us);
        if (v->state == INSTANCE_FAILED && *failed == NULL) {
            *failed = v;
        }
    }
    for (size_t i = 0; i < m->channels_count; i++) {
        struct channel_view *v = deployment_channel(d, m->channels[i].id);
        if (v != NULL) {
            fold_channel(d, p, v, &m->channels[i], m->at_us);
        }
    }
    if (m->state >= DEPLOYMENT_PREPARING && m->state <= DEPLOYMENT_FAILED) {
        p->state = (unsigned)m->state;
    }
    p->pool_bytes = m->pool_bytes;
    p->reported = true;
    keep_hist(&p->latency, m->latency);
}
