/* topology/digest.c - what a PE and a topology say, independent of how the YAML says it.
 *
 * Invariants: T3 of model.h.  A PE's digest covers its code, parameters and schemas: what it does
 * to tuples; not its name, routing, policies or placement. Why:        an upgrade compares digests:
 * equal means that nothing is to be done. */
#include "topology/draft.h"

#include "core/limits.h"
#include "core/mem.h"
#include "core/sha256.h"

#include <string.h>

#define CANONICAL (JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY)

static_assert(DIGEST_HEX_BYTES == SHA256_HEX_BYTES, "a digest is a SHA-256");

static json_t *ports_json(const struct port *ports, unsigned count)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++) {
        json_t *port = json_object();
        json_object_set_new(port, "name", json_string(ports[i].name));
        json_object_set_new(port, "schema",
                            mschema_known(&ports[i].schema) ? json_string(ports[i].schema.text)
                                                            : json_null());
        json_array_append_new(list, port);
    }
    return list;
}

static json_t *behaviour_json(const struct pe *p)
{
    json_t *json = json_object();
    json_object_set_new(json, "code", json_string(p->code));
    json_object_set_new(json, "state_version", json_integer(p->desc->state_version));
    json_object_set(json, "with", p->with);
    json_object_set_new(json, "inputs", ports_json(p->inputs, p->input_count));
    json_object_set_new(json, "outputs", ports_json(p->outputs, p->output_count));
    return json;
}

static json_t *pe_json(const struct pe *p)
{
    static const char *const thens[] = {"stop", "drop", "hold", "dead-letter"};
    json_t *json = behaviour_json(p);
    json_object_set_new(json, "uid", json_string(p->uid));
    json_object_set_new(json, "use", json_string(p->use));
    json_object_set_new(json, "parallelism", json_integer(p->parallelism));
    json_object_set_new(json, "threads", json_string(p->own_thread ? "own" : "shared"));
    json_object_set_new(json, "isolate", json_string(p->isolate_process ? "process" : "none"));
    json_object_set_new(json, "state", json_string(p->state_drop ? "drop" : "keep"));
    json_object_set_new(json, "retries", json_integer(p->retries));
    json_object_set_new(json, "then", json_string(thens[p->then]));
    if (p->stuck_after_us != (uint64_t)STUCK_AFTER_MS * 1000) { /* as before there was such a thing */
        json_object_set_new(json, "stuck_after_us", json_integer((json_int_t)p->stuck_after_us));
    }
    json_object_set_new(json, "device", json_string(p->device));
    json_object_set(json, "labels", p->labels != NULL ? p->labels : json_null());
    return json;
}

static json_t *stream_json(const struct topology *t, const struct stream *s)
{
    static const char *const partitionings[] = {"balanced", "keyed", "broadcast"};
    const struct pe *from = &t->pes[s->from_pe], *to = &t->pes[s->to_pe];
    const struct mschema *schema = &from->outputs[s->from_port].schema;
    json_t *json = json_object(), *by = json_array();
    for (unsigned i = 0; i < s->key_count; i++) {
        json_array_append_new(by, json_string(schema->fields[s->keys[i]].name));
    }
    json_object_set_new(json, "from", json_string(from->name));
    json_object_set_new(json, "from_port", json_string(from->outputs[s->from_port].name));
    json_object_set_new(json, "to", json_string(to->name));
    json_object_set_new(json, "to_port", json_string(to->inputs[s->to_port].name));
    json_object_set_new(json, "partitioning", json_string(partitionings[s->partitioning]));
    json_object_set_new(json, "by", by);
    return json;
}

static char *dump(json_t *json TAKES)
{
    char *text = json_dumps(json, CANONICAL);
    json_decref(json);
    return text != NULL ? text : mem_dup("null");
}

void digest_topology(struct topology *t)
{
    json_t *json = json_object(), *pes = json_object(), *streams = json_object();
    for (uint32_t i = 0; i < t->pe_count; i++) {
        struct pe *p = &t->pes[i];
        char *behaviour = dump(behaviour_json(p));
        sha256_hex(behaviour, strlen(behaviour), p->digest);
        mem_free(behaviour);
        json_object_set_new(pes, p->name, pe_json(p));
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        json_object_set_new(streams, t->streams[i].name, stream_json(t, &t->streams[i]));
    }
    json_object_set_new(json, "oxbow", json_integer(1));
    json_object_set_new(json, "topology", json_string(t->name));
    json_object_set_new(json, "pes", pes);
    json_object_set_new(json, "streams", streams);
    json_object_set_new(json, "checkpoint_every_us",
                        json_integer((json_int_t)t->checkpoint_every_us));
    json_object_set_new(json, "checkpoint_keep", json_integer(t->checkpoint_keep));
    json_object_set_new(json, "checkpoint_location",
                        t->checkpoint_location != NULL ? json_string(t->checkpoint_location)
                                                       : json_null());
    if (t->checkpoint_retain_bytes != RETAIN_BYTES_DEFAULT) { /* as older texts have it: absent */
        json_object_set_new(json, "checkpoint_retain_bytes",
                            json_integer((json_int_t)t->checkpoint_retain_bytes));
    }
    json_object_set_new(json, "upgrade_consistency",
                        json_string(consistency_name(t->consistency)));
    json_object_set_new(json, "upgrade_timeout_us",
                        json_integer((json_int_t)t->upgrade_timeout_us));
    json_object_set_new(json, "fusion", json_boolean(t->fusion));
    t->canonical = dump(json);
    sha256_hex(t->canonical, strlen(t->canonical), t->digest);
}
