/* worker/resend.c - targets of a recovery: asking, pinning, sending again; trimming. */
#include "worker/resend.h"

#include "core/failpoint.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/change.h"
#include "worker/retain.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { SWEEP_ITEMS = 256 }; /* freed per turn: some 50 us */

/* ---------------------------------------------------------------- the loop's side */

static struct channel *find(const struct part *d, uint64_t id)
{
    for (uint32_t n = 0; n < d->channel_count; n++) {
        if (d->channels[n]->id == id) {
            return d->channels[n];
        }
    }
    return NULL;
}

static const char *stream_of(const struct msg_PREPARE *plan, const struct rec_CHANNEL_SPEC *spec)
{
    for (size_t n = 0; n < plan->streams_count; n++) {
        if (plan->streams[n].id == spec->stream) {
            return plan->streams[n].name;
        }
    }
    return "";
}

static struct channel *find_by_place(const struct part *d, const struct msg_PREPARE *plan,
                                     const struct rec_CHANNEL_SPEC *spec)
{
    for (uint32_t n = 0; n < d->channel_count; n++) {
        struct channel *c = d->channels[n];
        if (c->from != NULL && c->from->id == spec->from && c->to_index == spec->to_index &&
            channel_log(c) != NULL && strcmp(channel_stream(c), stream_of(plan, spec)) == 0) {
            return c;
        }
    }
    return NULL;
}

bool resends_find(const struct part *base, struct msg_PREPARE *plan)
{
    for (size_t n = 0; n < plan->add_channels_count; n++) {
        struct rec_CHANNEL_SPEC *spec = &plan->add_channels[n];
        if (spec->replaces == 0 || part_instance(base, spec->from) == NULL ||
            find(base, spec->replaces) != NULL) {
            continue;
        }
        const struct channel *old = find_by_place(base, plan, spec);
        if (old == NULL) {
            return false;
        }
        for (size_t r = 0; r < plan->remove_channels_count; r++) {
            if (plan->remove_channels[r].id == spec->replaces) {
                plan->remove_channels[r].id = old->id;
            }
        }
        spec->replaces = old->id;
    }
    return true;
}

static struct resend *resend_of(struct resends *r, struct instance *target, uint64_t epoch)
{
    for (uint32_t n = 0; n < r->count; n++) {
        if (r->items[n]->target == target) {
            return r->items[n];
        }
    }
    r->items = mem_resize(r->items, r->count + 1, sizeof(struct resend *));
    struct resend *one = mem_alloc(sizeof *one);
    *one = (struct resend){.target = target, .epoch = epoch};
    r->items[r->count++] = one;
    return one;
}

enum err resends_make(struct part *staged, struct resends *out)
{
    const struct msg_PREPARE *plan = &staged->plan.PREPARE;
    for (size_t n = 0; n < plan->add_channels_count; n++) {
        const struct rec_CHANNEL_SPEC *spec = &plan->add_channels[n];
        struct channel *fresh = find(staged, spec->id);
        if (spec->replaces == 0 || fresh == NULL || fresh->from == NULL) {
            continue;
        }
        struct channel *old = find(staged->base, spec->replaces);
        if (old == NULL || old->from != fresh->from || channel_log(old) == NULL) {
            return plan_malformed(staged, "a channel that replaces none of its sender's");
        }
        struct resend *r = resend_of(out, fresh->from, plan->from_epoch);
        r->pairs = mem_resize(r->pairs, r->pair_count + 1, sizeof *r->pairs);
        r->pairs[r->pair_count++] = (struct resend_pair){old, fresh};
    }
    return ERR_OK;
}

void resends_fini(struct resends *r)
{
    for (uint32_t n = 0; n < r->count; n++) {
        mem_free(r->items[n]->pairs);
        mem_free(r->items[n]);
    }
    mem_free(r->items);
    *r = (struct resends){0};
}

void resends_ask(const struct resends *r)
{
    for (uint32_t n = 0; n < r->count; n++) {
        struct instance *i = r->items[n]->target;
        assert(atomic_load(&i->resend) == NULL); /* P2 */
        atomic_store(&i->resend, r->items[n]);
        instance_notify(i);
    }
}

void resends_forget(const struct resends *r)
{
    for (uint32_t n = 0; n < r->count; n++) {
        atomic_store(&r->items[n]->target->resend, NULL);
    }
}

static bool all_are(const struct resends *r, unsigned state)
{
    for (uint32_t n = 0; n < r->count; n++) {
        if (atomic_load(&r->items[n]->state) != state) {
            return false;
        }
    }
    return true;
}

bool resends_pinned(const struct resends *r)
{
    return all_are(r, RESEND_PINNED);
}

bool resends_sent(const struct resends *r)
{
    return all_are(r, RESEND_SENT);
}

const struct instance *resends_lost(const struct resends *r)
{
    for (uint32_t n = 0; n < r->count; n++) {
        if (atomic_load(&r->items[n]->state) == RESEND_LOST) {
            return r->items[n]->target;
        }
    }
    return NULL;
}

void resends_go(const struct resends *r)
{
    for (uint32_t n = 0; n < r->count; n++) {
        atomic_store(&r->items[n]->state, RESEND_GOING);
        instance_notify(r->items[n]->target);
    }
}

uint64_t resends_tuples(const struct resends *r)
{
    uint64_t tuples = 0;
    for (uint32_t n = 0; n < r->count; n++) {
        tuples += r->items[n]->tuples;
    }
    return tuples;
}

static bool has_log(const struct channel *c)
{
    return channel_log(c) != NULL && (atomic_load(&c->away) & AWAY_GONE) == 0;
}

static uint32_t divide(struct part *d, uint64_t share) /* 0: only count */
{
    uint32_t logs = 0;
    for (uint32_t n = 0; d != NULL && n < d->channel_count; n++) {
        if (has_log(d->channels[n])) {
            logs++;
            if (share != 0) {
                atomic_store(&channel_log(d->channels[n])->budget, share);
            }
        }
    }
    return logs;
}

void retain_divide(struct part *d)
{
    uint32_t logs = divide(d, 0) + divide(d->base, 0);
    uint64_t share = logs > 0 ? d->retain_bytes / logs : 0;
    if (share > 0) {
        (void)divide(d, share);
        (void)divide(d->base, share);
    }
}

/* ---------------------------------------------------------------- the target's own thread */

static void pin(struct resend *r)
{
    bool reaches = true;
    for (uint32_t n = 0; n < r->pair_count; n++) {
        struct retained *log = channel_log(r->pairs[n].old);
        log->pinned = true;
        reaches = reaches && retain_reaches(log, r->epoch);
    }
    FAILPOINT("resend.pinned");
    atomic_store(&r->state, reaches ? RESEND_PINNED : RESEND_LOST);
}

static void rewire(struct instance *i, const struct resend_pair *pair)
{
    for (uint32_t p = 0; p < i->port_count; p++) {
        for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
            struct out_stream *stream = &i->ports[p].streams[s];
            for (uint32_t d = 0; d < stream->channel_count; d++) {
                if (stream->channels[d] == pair->old) {
                    stream->channels[d] = pair->fresh;
                }
            }
        }
    }
}

static void send_again(struct resend *r)
{
    FAILPOINT("resend.before");
    for (uint32_t n = 0; n < r->pair_count; n++) {
        const struct resend_pair *pair = &r->pairs[n];
        uint64_t tuples = channel_succeed(pair->fresh, pair->old, r->epoch);
        rewire(r->target, pair);
        r->tuples += tuples;
        log_event(LOG_INFO, "channel.resends",
                  "pe=%s index=%u channel=%" PRIu64 " was=%" PRIu64 " epoch=%" PRIu64
                  " tuples=%" PRIu64,
                  name_text(&r->target->pe_name), r->target->index, pair->fresh->id, pair->old->id,
                  r->epoch, tuples);
    }
    FAILPOINT("resend.after");
    atomic_store(&r->state, RESEND_SENT);
}

void resend_turn(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        struct resend *r = atomic_load(&c->members[k]->resend);
        unsigned state = r != NULL ? atomic_load(&r->state) : RESEND_SENT;
        if (state == RESEND_ASKED) {
            pin(r);
            instance_tell(c->members[k]);
        } else if (state == RESEND_GOING) {
            send_again(r);
            instance_tell(c->members[k]);
        }
    }
}

static bool turn_of(struct instance *i, uint64_t complete, bool trim)
{
    bool more = false;
    for (uint32_t p = 0; p < i->port_count; p++) {
        for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
            const struct out_stream *stream = &i->ports[p].streams[s];
            for (uint32_t d = 0; d < stream->channel_count; d++) {
                struct retained *log = channel_log(stream->channels[d]);
                if (log != NULL && trim) {
                    retain_trim(log, complete);
                }
                more = (log != NULL && retain_sweep(log, SWEEP_ITEMS)) || more;
            }
        }
    }
    return more;
}

bool retain_turn(struct chain *c)
{
    uint64_t complete = atomic_load_explicit(&c->commit, memory_order_relaxed);
    bool trim = complete > c->trimmed;
    if (!trim && !c->sweeps) {
        return false;
    }
    c->trimmed = complete;
    c->sweeps = false;
    for (uint32_t k = 0; k < c->member_count; k++) {
        c->sweeps = turn_of(c->members[k], complete, trim) || c->sweeps;
    }
    return c->sweeps;
}
