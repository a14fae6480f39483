/* master/trouble.c - instances that are held or stuck, or have killed their worker: what is told of
 * them, and `skip`.
 *
 * Runs on:    the master loop.
 * Invariants: O1 each hold is told once, and its end once; so is being stuck.
 *             O2 a skip names the hold it means, so that it never hits the next tuple.
 *             O3 that a tuple was let go of lasts from the next checkpoint on, which is taken at
 *                once. */
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
            if (d->keeping != NULL && d->state == TOPOLOGY_RUNNING) {
                keeping_ask(m, d); /* O3 */
            }
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

/* ---- PEs that kill their workers */

/* Whose was it?  NULL: of nobody that runs. */
static struct deployment *killed_by(struct master *m, uint64_t instance, struct instance_view **v)
{
    for (size_t i = 0; i < m->deployments.count; i++) {
        struct deployment *d = m->deployments.items[i];
        *v = deployment_is_over(d) ? NULL : deployment_instance(d, instance);
        if (*v != NULL) {
            return d;
        }
    }
    return NULL;
}

static void note_crash(struct deployment *d, const struct instance_view *v,
                       const struct msg_HELLO *h, const char *error)
{
    const struct pinstance *n = &d->graph->instances[v->number];
    struct keeping *k = d->keeping;
    bool found = k != NULL && crashes_note(&k->crashes, &d->topology->pes[n->pe], n->index,
                                           &(struct crash_note){
                                               .incarnation = h->crash_incarnation,
                                               .epoch = k->machine.complete,
                                               .processing = strcmp(h->crash_call, "process") == 0,
                                               .sum = h->crash_sum,
                                               .tuple = h->crash_tuple,
                                               .error = error});
    if (found) {
        k->fruitless = 0; /* the next one knows more */
    }
}

void trouble_crash(struct master *m, struct member *w, const struct msg_HELLO *h)
{
    struct instance_view *v = NULL;
    struct deployment *d =
        h->crash_instance != 0 ? killed_by(m, h->crash_instance, &v) : NULL;
    if (d == NULL) {
        w->crash[0] = '\0';
        return;
    }
    const struct pinstance *n = &d->graph->instances[v->number];
    snprintf(w->crash, sizeof w->crash, "PE %s[%u] crashed worker %s: signal %u (%s) in %.15s()",
             d->topology->pes[n->pe].name, n->index, w->name, (unsigned)h->crash_signal,
             h->crash_signal < 65 ? strsignal((int)h->crash_signal) : "?", h->crash_call);
    note_crash(d, v, h, w->crash);
    tell(m, d, v, "crashed",
         json_pack("{s:I, s:o, s:o, s:o, s:o}", "signal", (json_int_t)h->crash_signal, "call",
                   status_text(h->crash_call), "error", status_text(w->crash), "stream",
                   status_text(h->crash_stream), "tuple",
                   h->crash_tuple[0] != '\0' ? tuple_json(h->crash_tuple) : json_null()));
}

json_t *trouble_crashes(const struct deployment *d)
{
    static const char *const thens[] = {"again", "stop", "hold", "singly"};
    json_t *list = json_array();
    for (uint32_t i = 0; d->keeping != NULL && d->graph != NULL && i < d->graph->instance_count;
         i++) {
        const struct pinstance *n = &d->graph->instances[i];
        const struct pe *pe = &d->topology->pes[n->pe];
        const struct crash_of *c = crashes_find(&d->keeping->crashes, pe, n->index);
        if (c != NULL) {
            json_array_append_new(
                list, json_pack("{s:s, s:i, s:i, s:o, s:o, s:i, s:s}", "pe", pe->name, "instance",
                                (int)n->index, "count", (int)c->count, "error",
                                status_text(c->error), "tuple", tuple_json(c->tuple), "tuples",
                                (int)c->killer_count, "then", thens[crashes_then(c, pe)]));
        }
    }
    return list;
}

/* ---- skip */

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
        if (d->keeping != NULL) {
            crashes_forgive(&d->keeping->crashes, &d->topology->pes[pe], n->index);
        }
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
             json_pack("{s:s, s:s, s:o, s:s}", "topology", d->name, "pe", name, "skipped", skipped,
                       "lasts",
                       d->keeping != NULL
                           ? "once a checkpoint is complete that begins after it, which is taken "
                             "at once; a recovery before that holds the tuple again"
                           : "until the topology ends"));
}
