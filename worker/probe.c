/* worker/probe.c - held and stuck members of a change. */
#include "worker/probe.h"

#include "core/clock.h"
#include "worker/change.h"
#include "worker/grave.h"
#include "worker/hold.h"
#include "worker/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool same_inputs(struct oxb_pe *a, struct oxb_pe *b, const struct instance *i)
{
    for (uint32_t n = 0; n < i->input_count; n++) {
        unsigned port = i->inputs[n].port;
        if (oxb_in_schema(a, port) != oxb_in_schema(b, port)) {
            return false;
        }
    }
    return true;
}

const char *probe_hold_fits(const struct instance *i, const struct cut *k)
{
    if (k->pe == NULL || k->retire) {
        return "only new code for it may meet the input it keeps";
    }
    if (!same_inputs(i->pe, k->pe, i)) {
        return "the input it keeps has another schema than its new code takes";
    }
    if (oxb_parallelism(i->pe) != oxb_parallelism(k->pe)) {
        return "the input it keeps would be for other instances";
    }
    return NULL;
}

static enum probe refuse(const struct instance *i, struct fail *f, char *where, const char *hint,
                         const char *what)
{
    snprintf(where, NAME_BYTES_MAX + 1, "%s", name_text(&i->pe_name));
    (void)fail_set(f, ERR_DENIED, hint, "PE %s[%u] %s", name_text(&i->pe_name), i->index, what);
    return PROBE_NO;
}

static bool hangs(const struct instance *i)
{
    return watch_stuck_us(i, clock_now_us()) > 0 ||
           watch_call_us(i, clock_now_us()) > (uint64_t)CUT_PROBE_MS * 1000;
}

static enum probe ask(const struct part *base, const struct instance *i, uint64_t waited_us,
                      struct fail *f, char *where)
{
    const struct cut *k = atomic_load(&i->cut);
    bool is_held = atomic_load(&i->state) == INSTANCE_HELD;
    bool lingers = hold_lingers(i, base->commit_epoch);
    const char *why = is_held || lingers ? probe_hold_fits(i, k) : NULL;
    if (why != NULL && !is_held) {
        return refuse(i, f, where,
                      "wait for a newer checkpoint; `oxbow checkpoint NAME` takes one now",
                      "has kept input that a recovery would still give to it: no checkpoint is "
                      "complete since");
    }
    if (why != NULL) {
        char what[200];
        snprintf(what, sizeof what, "is held by a tuple it cannot process: %s", why);
        return refuse(i, f, where, "skip the tuple, or first repair this PE by a change of its own",
                      what);
    }
    uint64_t call_us = watch_call_us(i, clock_now_us());
    if (hangs(i)) {
        char what[200];
        snprintf(what, sizeof what,
                 "is stuck: its code has not come back from one call for %" PRIu64
                 " s, so it cannot be changed over",
                 call_us / 1000000);
        return refuse(i, f, where, "leave it out of the change", what);
    }
    return call_us > waited_us ? PROBE_WAIT : PROBE_YES;
}

enum probe probe_members(const struct part *base, uint64_t waited_us, struct fail *f, char *where)
{
    uint32_t count;
    struct instance *const *members = change_members(base, &count);
    enum probe all = PROBE_YES;
    for (uint32_t k = 0; k < count && all != PROBE_NO; k++) {
        enum probe one = ask(base, members[k], waited_us, f, where);
        all = one == PROBE_YES ? all : one;
    }
    return all;
}

static const struct instance *find_hanging(struct instance *const *list, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        if (hangs(list[k])) {
            return list[k];
        }
    }
    return NULL;
}

/* In what has to go before `d` or what waits behind it can begin; NULL: nothing hangs there. */
static const struct instance *in_the_way(const struct part *parts, const struct part *d)
{
    const struct instance *found = NULL;
    for (const struct part *p = parts; p != NULL && found == NULL; p = p->next) {
        if (p->dropping && p->gen < d->gen && strcmp(p->name, d->name) == 0) {
            found = find_hanging(p->instances, p->instance_count);
        }
    }
    for (const struct grave *g = d->graves; g != NULL && found == NULL; g = g->next) {
        if (d->after != NULL && g->shell->chain_count > 0) {
            found = find_hanging(g->shell->instances, g->shell->instance_count);
        }
    }
    return found;
}

bool probe_must_renew(const struct part *parts, char *why, size_t why_bytes)
{
    for (const struct part *d = parts; d != NULL; d = d->next) {
        const struct instance *i = d->dropping ? NULL : in_the_way(parts, d);
        if (i != NULL) {
            snprintf(why, why_bytes, "PE %s[%u] of topology %s has to go and hangs in a call",
                     name_text(&i->pe_name), i->index, d->name);
            return true;
        }
    }
    return false;
}
