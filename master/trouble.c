/* master/trouble.c - instances that are held or stuck: what is told of them, and `skip`.
 *
 * Runs on:    the master loop.
 * Invariants: O1 each hold is told once, and its end once; so is being stuck.
 *             O2 a skip names the hold it means, so that it never hits the next tuple. */
#include "master/master.h"

#include "core/log.h"
#include "core/mem.h"
#include "net/states.h"

#include <inttypes.h>
#include <string.h>

/* The tuple as it is; what is no JSON (a source's input) as text. */
static json_t *tuple_json(const char *text)
{
    json_t *tuple = text != NULL ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return tuple != NULL ? tuple : text != NULL ? status_text(text) : json_null();
}

json_t *trouble_held(const struct instance_view *v)
{
    if (v->held == 0) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:o, s:I}", "error", status_text(v->error), "stream",
                     status_text(v->held_stream), "tuple", tuple_json(v->held_tuple), "kept",
                     (json_int_t)v->kept);
}

static void tell(struct master *m, const struct deployment *d, const struct instance_view *v,
                 const char *kind, json_t *more TAKES)
{
    const struct pinstance *n = &d->graph->instances[v->number];
    json_t *body = json_pack("{s:s, s:I, s:s, s:i, s:s}", "topology", d->name, "version",
                             (json_int_t)d->version, "pe", d->topology->pes[n->pe].name, "instance",
                             (int)n->index, "worker", d->graph->workers[n->worker].name);
    json_object_update(body, more);
    json_decref(more);
    log_event(LOG_WARN, "instance.trouble", "topology=%s pe=%s instance=%u kind=%s", d->name,
              d->topology->pes[n->pe].name, n->index, kind);
    events_add(&m->events, kind, d->name, body);
}

void trouble_tell(struct master *m, struct deployment *d)
{
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        struct instance_view *v = &d->instances[i];
        bool stuck = v->state == INSTANCE_STUCK;
        if (v->told_held != 0 && v->held != v->told_held) {
            v->told_held = 0;
            tell(m, d, v, "released", json_object());
        }
        if (v->held != 0 && v->told_held == 0) {
            v->told_held = v->held;
            tell(m, d, v, "held", trouble_held(v));
        }
        if (stuck != v->told_stuck) {
            v->told_stuck = stuck;
            tell(m, d, v, stuck ? "stuck" : "unstuck",
                 json_pack("{s:f}", "seconds", (double)v->call_us / 1e6));
        }
    }
}

/* Has the topology such a PE, and is any of its instances held?  The skipped ones: answered. */
static json_t *skip_held(struct master *m, struct deployment *d, uint32_t pe)
{
    json_t *skipped = json_array();
    for (uint32_t i = 0; i < d->graph->instance_count; i++) {
        struct instance_view *v = &d->instances[i];
        const struct pinstance *n = &d->graph->instances[v->number];
        if (n->pe != pe || v->held == 0) {
            continue;
        }
        const struct part *p = &d->parts[n->worker];
        const struct msg skip = {.kind = M_SKIP,
                                 .SKIP = {.term = m->term,
                                          .topology = d->name,
                                          .gen = d->token.gen,
                                          .instance = v->id,
                                          .held = v->held}};
        control_send(m, p->worker_id, p->incarnation, &skip);
        json_t *one = trouble_held(v);
        json_object_set_new(one, "instance", json_integer(n->index));
        json_array_append_new(skipped, one);
    }
    return skipped;
}

static void refuse(struct exchange *x, int status, const char *hint, const char *what,
                   const char *where)
{
    struct fail f = {0};
    fail_set(&f, status == 404 ? ERR_NOTFOUND : ERR_DENIED, hint, "%s", what);
    api_fail(x, status, &f, where);
}

void trouble_skip(struct master *m, struct deployment *d, struct exchange *x)
{
    char name[NAME_BYTES_MAX + 1] = "", what[3 * NAME_BYTES_MAX];
    (void)http_query(exchange_head(x)->query, "pe", name, sizeof name);
    const struct pe *pe = d->topology != NULL ? topology_pe(d->topology, name) : NULL;
    if (pe == NULL) {
        snprintf(what, sizeof what, "topology %s has no PE \"%s\"", d->name, name);
        refuse(x, 404, "say which with ?pe=NAME", what, "pe");
        return;
    }
    if (d->graph == NULL || deployment_is_over(d)) {
        snprintf(what, sizeof what, "topology %s is %s", d->name, topology_state_name(d->state));
        refuse(x, 409, "only of a running one a tuple can be skipped", what, d->name);
        return;
    }
    json_t *skipped = skip_held(m, d, (uint32_t)(pe - d->topology->pes));
    if (json_array_size(skipped) == 0) {
        json_decref(skipped);
        snprintf(what, sizeof what, "PE %s of topology %s holds no tuple", name, d->name);
        refuse(x, 409, "see `oxbow status`", what, name);
        return;
    }
    api_json(x, 202,
             json_pack("{s:s, s:s, s:o}", "topology", d->name, "pe", name, "skipped", skipped));
}
