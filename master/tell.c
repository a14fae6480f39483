/* master/tell.c - the bodies of events: what docs/API.md says of each kind.
 *
 * Runs on:    the master loop. */
#include "master/master.h"

#include "core/log.h"
#include "master/upgrade.h"

#include <inttypes.h>
#include <string.h>

static json_t *about(const struct deployment *d)
{
    return json_pack("{s:s, s:I}", "topology", d->name, "version", (json_int_t)d->version);
}

void tell_topology(struct master *m, const struct deployment *d)
{
    json_t *body = about(d);
    json_object_set_new(body, "state", json_string(topology_state_name(d->state)));
    if (d->state == TOPOLOGY_FAILED) {
        json_object_set_new(body, "error", status_error(&d->fail, d->fail_where));
    }
    events_add(&m->events, "topology", d->name, body);
}

void tell_phase(struct master *m, const struct deployment *d)
{
    json_t *body = about(d);
    json_object_set_new(body, "from",
                        json_integer(d->upgrade != NULL ? (json_int_t)d->upgrade->base : 0));
    json_object_set_new(body, "op", json_integer((json_int_t)d->token.op));
    json_object_set_new(body, "phase", json_string(change_state_name(d->change.state)));
    events_add(&m->events, "phase", d->name, body);
}

void tell_answer(struct master *m, const struct deployment *d, const char *worker,
                 const char *answer, const struct fail *why)
{
    json_t *body = about(d);
    json_object_set_new(body, "op", json_integer((json_int_t)d->token.op));
    json_object_set_new(body, "worker", json_string(worker));
    json_object_set_new(body, "answer", json_string(answer));
    if (why != NULL) {
        json_object_set_new(body, "error", status_error(why, ""));
    }
    events_add(&m->events, "answer", d->name, body);
}

void tell_receipt(struct master *m, const struct deployment *d, const json_t *receipt)
{
    json_t *body = about(d);
    json_object_set_new(body, "receipt", json_deep_copy(receipt));
    events_add(&m->events, "receipt", d->name, body);
}

void tell_worker(struct master *m, const struct member *w)
{
    events_add(&m->events, "worker", NULL,
               json_pack("{s:s, s:s, s:b}", "worker", w->name, "state",
                         member_state_name(w->state), "draining",
                         (int)members_is_drained(&m->members, w->name)));
}

void tell_faults(struct master *m, struct deployment *d)
{
    struct fail f = {0};
    if (d->faults.gaps + d->faults.repeats + d->faults.reordered + d->faults.mismatched == 0) {
        return;
    }
    const char *stream = d->topology->streams[d->faults.stream].name;
    fail_set(&f, ERR_CORRUPT, "this is a fault of the engine or the network: report it",
             "the ledgers of topology %s found %" PRIu64 " tuples missing, %" PRIu64
             " repeated, %" PRIu64 " out of order, and %" PRIu64 " counts that differ", d->name,
             d->faults.gaps, d->faults.repeats, d->faults.reordered, d->faults.mismatched);
    log_event(LOG_ERROR, "ledger.fault", "topology=%s stream=%s what=\"%s\"", d->name, stream,
              f.what);
    tell_error(m, d, &f, stream);
    memset(&d->faults, 0, sizeof d->faults);
}

void tell_error(struct master *m, const struct deployment *d, const struct fail *f,
                const char *where)
{
    json_t *body = about(d), *error = status_error(f, where);
    json_object_set_new(error, "code", json_string(err_name(f->code)));
    json_object_set_new(body, "error", error);
    events_add(&m->events, "error", d->name, body);
}
