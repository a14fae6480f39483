/* worker/change.c - staging, going, merging and giving up a change of a running part.  What is
 * retired goes into graves: worker/grave.c frees it. */
#include "worker/change.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/grave.h"
#include "worker/moves.h"
#include "worker/resend.h"
#include "worker/squeeze.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct part *staged;
    struct wired_list wired;   /* keep_channels and add_channels */
    struct instance **members; /* that have a cut */
    uint32_t member_count;
    struct channel **removed;
    uint32_t removed_count;
    struct squeeze squeeze;
    struct change_result before;    /* what the ledgers of those that stay said at GO */
    struct moves *moves;            /* of state; NULL: none */
    struct resends resends;         /* of a recovery */
    struct fail fail;               /* why it cannot be made ready */
    uint32_t cut_seen, closed_seen; /* of members and removed: they have cut, they are closed */
    bool going;
    uint64_t go_us;
};

static const struct msg_PREPARE *plan_of(const struct part *staged)
{
    return &staged->plan.PREPARE;
}

/* ---------------------------------------------------------------- the channels of V' */

static void index_channels(const struct part *d, struct ids *out)
{
    for (uint32_t n = 0; n < d->channel_count; n++) {
        ids_add(out, d->channels[n]->id, d->channels[n]);
    }
}

static enum err list_kept(struct change *c, const struct ids *here)
{
    const struct msg_PREPARE *plan = plan_of(c->staged);
    size_t count = plan->keep_channels_count + plan->add_channels_count;
    struct wired *items = mem_array(count, sizeof *items);
    for (size_t n = 0; n < count; n++) {
        bool keep = n < plan->keep_channels_count;
        const struct rec_CHANNEL_SPEC *spec =
            keep ? &plan->keep_channels[n] : &plan->add_channels[n - plan->keep_channels_count];
        struct channel *ch = ids_find(here, spec->id);
        if (ch == NULL) {
            mem_free(items);
            return plan_malformed(c->staged, "a channel that is not here");
        }
        items[n] = (struct wired){ch, spec, ch->from, ch->to, keep};
    }
    wired_init(&c->wired, items, count, false);
    return ERR_OK;
}

static enum err list_removed(struct change *c, const struct ids *old)
{
    const struct msg_PREPARE *plan = plan_of(c->staged);
    c->removed = mem_array(plan->remove_channels_count, sizeof(struct channel *));
    for (size_t n = 0; n < plan->remove_channels_count; n++) {
        struct channel *ch = ids_find(old, plan->remove_channels[n].id);
        if (ch == NULL) {
            return plan_malformed(c->staged, "an old channel that is not here");
        }
        ch->leaves = true;
        c->removed[c->removed_count++] = ch;
    }
    return ERR_OK;
}

static enum err list_channels(struct change *c)
{
    struct ids here = {0}; /* first of V alone, then of both */
    index_channels(c->staged->base, &here);
    ids_sort(&here);
    enum err e = list_removed(c, &here);
    index_channels(c->staged, &here);
    ids_sort(&here);
    if (e == ERR_OK) {
        e = list_kept(c, &here);
    }
    ids_fini(&here);
    return e;
}

static const struct rec_INSTANCE_SPEC *adoption_of(const struct part *staged,
                                                   const struct instance *i) /* NULL: none */
{
    const struct msg_PREPARE *plan = plan_of(staged);
    for (size_t k = 0; k < plan->adopt_instances_count; k++) {
        if (plan->adopt_instances[k].id == i->id && !plan->adopt_instances[k].settings) {
            return &plan->adopt_instances[k];
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- chains of V' */

static bool is_new(const struct change *c, const struct instance *i)
{
    for (uint32_t k = 0; k < c->staged->instance_count; k++) {
        if (c->staged->instances[k] == i) {
            return true;
        }
    }
    return false;
}

/* Who will call `i` directly.  The plan lists the channels of members only; the others stay. */
static struct instance *caller_of(const struct change *c, const struct instance *i)
{
    struct wired_range in = wired_to(&c->wired, i);
    for (size_t n = 0; n < in.count; n++) {
        if (in.items[n].at->channel->kind == CHANNEL_FUSED) {
            return in.items[n].at->from;
        }
    }
    bool member = is_new(c, i) || atomic_load(&i->cut) != NULL;
    for (uint32_t n = 0; !member && n < i->input_count; n++) { /* nobody changes them now */
        if (i->inputs[n].channel->kind == CHANNEL_FUSED) {
            return i->inputs[n].channel->from;
        }
    }
    return NULL;
}

static struct instance *head_of(const struct change *c, struct instance *i, uint32_t *depth)
{
    *depth = 0;
    for (struct instance *up = caller_of(c, i); up != NULL; up = caller_of(c, up)) {
        i = up;
        (*depth)++;
    }
    return i;
}

/* Has the chain that `head` will head a thread of its own? */
static bool own_thread(const struct change *c, const struct instance *head)
{
    const struct msg_PREPARE *plan = plan_of(c->staged);
    for (uint32_t k = 0; k < c->staged->instance_count; k++) {
        if (c->staged->instances[k] == head) {
            return plan->add_instances[k].own_thread;
        }
    }
    const struct rec_INSTANCE_SPEC *code = adoption_of(c->staged, head);
    return code != NULL ? code->own_thread : atomic_load(&head->chain)->private_executor != NULL;
}

/* The chain that will run what `head` heads: the one it heads already, or a new one. */
static struct chain *chain_for(struct change *c, struct instance *head)
{
    struct part *s = c->staged;
    struct chain *now = atomic_load(&head->chain);
    bool own = own_thread(c, head);
    if (!is_new(c, head) && now->head == head && (now->private_executor != NULL) == own) {
        return now;
    }
    for (uint32_t k = 0; k < s->chain_count; k++) {
        if (s->chain_heads[k] == head) {
            return s->chains[k];
        }
    }
    struct chain *made = chain_new(NULL, 0, own ? NULL : executors_place(s->env->executors), own);
    made->head = head;
    part_listen(s->base, made);
    s->chains = mem_resize(s->chains, s->chain_count + 1, sizeof(struct chain *));
    s->chain_heads = mem_resize(s->chain_heads, s->chain_count + 1, sizeof(struct instance *));
    s->chain_heads[s->chain_count] = head;
    s->chains[s->chain_count++] = made;
    return made;
}

static struct cut *cut_of(const struct change *c, const struct instance *i)
{
    (void)c;
    return atomic_load(&i->cut);
}

/* Instance `i` will run in `to`, where it is not yet: who is told to wait for it? */
static void announce(struct change *c, struct instance *i, struct chain *to)
{
    struct instance *up = caller_of(c, i);
    while (up != NULL && (is_new(c, up) || atomic_load(&up->chain) != to)) {
        up = caller_of(c, up);
    }
    struct cut *teller = up != NULL ? cut_of(c, up) : NULL;
    if (teller != NULL) {
        teller->arrivals++; /* a running chain waits from the cut of the caller on */
    } else {
        atomic_fetch_add(&to->missing, 1); /* a new chain starts when all are there */
    }
}

static void plan_chains(struct change *c)
{
    for (uint32_t k = 0; k < c->staged->instance_count; k++) {
        struct instance *i = c->staged->instances[k];
        struct instance *head = head_of(c, i, &i->order);
        struct chain *to = chain_for(c, head);
        i->future = to;
        announce(c, i, to);
        if (!atomic_load(&to->go)) {
            chain_arrive(to, i); /* its inputs may notify it from now on; it runs after GO */
        }
    }
    for (uint32_t k = 0; k < c->member_count; k++) {
        struct instance *i = c->members[k];
        struct cut *cut = cut_of(c, i);
        if (cut->retire) {
            continue;
        }
        uint32_t depth;
        cut->chain = chain_for(c, head_of(c, i, &depth));
        if (cut->chain != atomic_load(&i->chain)) {
            cut->order = depth;
            announce(c, i, cut->chain);
        }
    }
}

/* ---------------------------------------------------------------- cuts */

static bool holds(const struct msg_bin *ids, uint64_t id)
{
    for (size_t n = 0; n + sizeof id <= ids->bytes; n += sizeof id) {
        uint64_t one;
        memcpy(&one, ids->data + n, sizeof one);
        if (one == id) {
            return true;
        }
    }
    return false;
}

static void add_channel(struct channel ***list, uint32_t *count, struct channel *c)
{
    *list = mem_resize(*list, *count + 1, sizeof(struct channel *));
    (*list)[(*count)++] = c;
}

/* What it sends by; and, of channels inside the set to a peer, the sender's halves. */
static void list_outputs(struct change *c, const struct rec_MEMBER_SPEC *spec,
                         const struct instance *i, struct cut *k)
{
    struct wired_range from = wired_from(&c->wired, i);
    for (size_t n = 0; n < from.count; n++) {
        const struct wired *w = from.items[n].at;
        if (!w->old) {
            add_channel(&k->opens, &k->open_count, w->channel);
        } else if (holds(&spec->marks, w->channel->id)) {
            add_channel(&k->marks, &k->mark_count, w->channel);
            if (w->channel->kind == CHANNEL_OUT) {
                squeeze_add(&c->squeeze, w->channel);
            }
        }
    }
}

static void list_closes(struct change *c)
{
    for (uint32_t n = 0; n < c->removed_count; n++) {
        struct channel *ch = c->removed[n];
        struct cut *k = ch->from != NULL ? atomic_load(&ch->from->cut) : NULL;
        if (k != NULL) {
            add_channel(&k->closes, &k->close_count, ch);
            if (ch->kind == CHANNEL_OUT) {
                squeeze_add(&c->squeeze, ch);
            }
        }
    }
}

static struct oxb_pe *take_adopted(struct part *staged, const struct instance *i)
{
    for (uint32_t k = 0; k < staged->adopted_count; k++) {
        if (staged->adopted[k].instance == i) {
            struct oxb_pe *pe = staged->adopted[k].pe;
            staged->adopted[k].pe = NULL;
            return pe;
        }
    }
    return NULL;
}

static void prepare_code(struct change *c, const struct rec_INSTANCE_SPEC *spec, struct instance *i,
                         struct cut *k)
{
    k->pe = take_adopted(c->staged, i);
    k->anew = spec->anew;
    k->policy = part_policy(spec);
    k->sink = spec->outputs_count == 0;
    if (k->sink && i->end_to_end_us == NULL) {
        i->end_to_end_us = mem_alloc(sizeof *i->end_to_end_us);
    }
}

static enum err make_cut(struct change *c, const struct rec_MEMBER_SPEC *spec)
{
    struct part *staged = c->staged;
    struct instance *i = part_instance(staged->base, spec->id);
    if (i == NULL || atomic_load(&i->cut) != NULL) {
        return plan_malformed(staged, "a member that is not here, or twice");
    }
    struct wiring w;
    const struct rec_INSTANCE_SPEC *code = adoption_of(staged, i);
    uint32_t ports = code != NULL ? part_ports(code) : i->port_count;
    enum err e = build_wiring(staged, &c->wired, i, ports, &w);
    struct cut *k = mem_alloc(sizeof *k);
    *k = (struct cut){.epoch = staged->epoch,
                      .head = spec->head,
                      .retire = spec->role == PLAN_OLD,
                      .will = spec->will && i->keeper != NULL,
                      .inputs = w.inputs,
                      .input_count = w.input_count,
                      .ports = w.ports,
                      .port_count = w.port_count};
    k->awaited = mem_array(i->input_count, sizeof *k->awaited);
    for (uint32_t n = 0; n < i->input_count; n++) {
        k->awaited[n] = holds(&spec->awaited, i->inputs[n].channel->id);
        if (k->awaited[n]) {
            squeeze_add(&c->squeeze, i->inputs[n].channel);
        }
    }
    list_outputs(c, spec, i, k);
    if (code != NULL) {
        prepare_code(c, code, i, k);
    }
    c->members[c->member_count++] = i;
    atomic_store(&i->cut, k);
    instance_hold_end(i);
    return e;
}

static void wire_new_ones(struct change *c, enum err *e)
{
    for (uint32_t k = 0; k < c->staged->instance_count && *e == ERR_OK; k++) {
        struct instance *i = c->staged->instances[k];
        uint32_t ports = part_ports(&plan_of(c->staged)->add_instances[k]);
        struct wiring w;
        *e = build_wiring(c->staged, &c->wired, i, ports, &w);
        pe_connect(i->pe, ports - 1, w.ports[ports - 1].stream_count > 0);
        for (uint32_t n = 0; n < w.input_count; n++) {
            w.inputs[n].channel->to_input = n;
        }
        instance_wire(i, w.inputs, w.input_count, w.ports, w.port_count);
        if (plan_of(c->staged)->stay_instances_count > 0) { /* who feeds it may still pass void */
            i->align.epoch_floor = c->staged->epoch;        /* markers on (R17) */
        }
    }
}

enum err change_prepare(struct part *staged)
{
    struct part *base = staged->base;
    const struct msg_PREPARE *plan = plan_of(staged);
    assert(base->change == NULL); /* Z3 */
    struct change *c = mem_alloc(sizeof *c);
    c->staged = staged;
    c->members = mem_array(plan->members_count, sizeof(struct instance *));
    base->change = c;
    enum err e = build_channels(staged);
    if (e == ERR_OK) {
        e = list_channels(c);
    }
    if (e == ERR_OK) {
        wire_new_ones(c, &e);
    }
    for (size_t k = 0; k < plan->members_count && e == ERR_OK; k++) {
        if (plan->members[k].role != PLAN_NEW) {
            e = make_cut(c, &plan->members[k]);
        }
    }
    if (e == ERR_OK) {
        list_closes(c);
        moves_free(base->moved); /* the change before this one is done everywhere (R15) */
        base->moved = NULL;
        e = moves_new(staged, &c->moves);
    }
    if (e == ERR_OK && c->moves != NULL) {
        moves_begin(c->moves);
    }
    if (e == ERR_OK) {
        e = resends_make(staged, &c->resends);
    }
    if (e == ERR_OK) {
        resends_ask(&c->resends);
        plan_chains(c);
    }
    return e;
}

void change_squeeze(struct part *base)
{
    struct change *c = base->change;
    squeeze_begin(&c->squeeze, c->members, c->member_count, c->staged->op);
}

bool change_squeezed(const struct part *base)
{
    return squeeze_is_tight(&base->change->squeeze);
}

bool change_ends_are_known(const struct part *base)
{
    const struct change *c = base->change;
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct instance *i = c->members[k];
        unsigned state = atomic_load(&i->state);
        if (atomic_load(&i->ending) == ENDS && state != INSTANCE_ENDED &&
            state != INSTANCE_FAILED && state != INSTANCE_HELD) {
            return false;
        }
    }
    return true;
}

enum err change_expect(struct part *d)
{
    enum err e = moves_new(d, &d->arriving);
    if (e == ERR_OK && d->arriving != NULL) {
        moves_begin(d->arriving);
    }
    return e;
}

/* ---------------------------------------------------------------- going */

bool change_is_going(const struct part *base)
{
    return base->change != NULL && base->change->going;
}

bool change_is_ready(const struct part *base)
{
    const struct change *c = base->change;
    return c != NULL && moves_ready(c->moves) && resends_pinned(&c->resends);
}

const struct fail *change_fail(const struct part *base)
{
    struct change *c = base->change;
    const struct instance *lost = c != NULL ? resends_lost(&c->resends) : NULL;
    if (lost == NULL) {
        return c != NULL ? moves_fail(c->moves) : NULL;
    }
    (void)fail_set(&c->fail, ERR_AGAIN, "the whole topology is recovered instead",
                   "what %s[%u] retains does not reach back far enough", name_text(&lost->pe_name),
                   lost->index);
    return &c->fail;
}

void change_on_state(struct part *base, const struct msg_LINK_STATE *m)
{
    if (base->change != NULL) {
        (void)moves_on_state(base->change->moves, m);
    } else {
        (void)moves_on_state(base->arriving, m);
    }
}

void change_on_ack(struct part *base, const struct msg_LINK_STATE_ACK *m)
{
    if (base->change != NULL) {
        (void)moves_on_ack(base->change->moves, m);
    }
}

void change_on_peer(struct part *base)
{
    moves_on_peer(base->change != NULL ? base->change->moves : NULL);
    moves_on_peer(base->arriving);
    moves_on_peer(base->moved); /* its last answer may not have come through */
}

uint64_t change_op(const struct part *base)
{
    return base->change != NULL ? base->change->staged->op : 0;
}

struct instance *const *change_members(const struct part *base, uint32_t *count)
{
    *count = base->change != NULL ? base->change->member_count : 0;
    return base->change != NULL ? base->change->members : NULL;
}

struct part *change_staged(const struct part *base)
{
    return base->change->staged;
}

/* add_ledger - what the receiver of a channel has booked; the sender's half knows nothing. */
static void add_ledger(struct change_result *out, struct channel *ch, bool compared)
{
    struct ledger *l = &ch->ledger;
    if (ch->to == NULL) {
        return;
    }
    out->compared += compared ? 1 : 0;
    out->uncompared += compared ? 0 : 1;
    out->lost += counter_get(&l->gaps) + counter_get(&l->mismatched);
    out->duplicated += counter_get(&l->repeats);
    out->reordered += counter_get(&l->reordered);
}

/* add_staying - the channels between members that stay: the marker of `epoch` compared them. */
static void add_staying(struct change_result *out, const struct change *c, uint64_t epoch)
{
    for (size_t n = 0; n < c->squeeze.count; n++) {
        struct channel *ch = c->squeeze.inside[n];
        if (!ch->leaves) {
            add_ledger(out, ch, counter_get(&ch->ledger.switch_epoch) == epoch);
        }
    }
}

void change_go(struct part *base)
{
    struct change *c = base->change;
    c->going = true;
    c->go_us = clock_now_us();
    add_staying(&c->before, c, c->staged->epoch);
    part_settle(c->staged);
    resends_go(&c->resends);
    for (uint32_t k = 0; k < c->staged->instance_count; k++) {
        struct instance *i = c->staged->instances[k];
        if (atomic_load(&i->chain) == NULL) {
            chain_arrive(i->future, i);
        }
    }
    for (uint32_t k = 0; k < c->staged->chain_count; k++) {
        chain_go(c->staged->chains[k]);
    }
    for (uint32_t k = 0; k < c->member_count; k++) {
        struct cut *cut = atomic_load(&c->members[k]->cut);
        if (cut->head) {
            atomic_store(&cut->go, true);
            task_notify_soon(instance_task(c->members[k]));
        }
    }
}

/* Who has cut has cut: the next look begins with the first that had not. */
static bool all_cut(struct change *c)
{
    for (uint32_t k = c->cut_seen; k < c->member_count; c->cut_seen = ++k) {
        struct instance *i = c->members[k];
        const struct cut *cut = atomic_load(&i->cut);
        if (atomic_load(&i->settled_epoch) != c->staged->epoch ||
            (cut->retire && atomic_load(&i->state) != INSTANCE_RETIRED) ||
            (cut->will && !cut->will_stored)) {
            return false;
        }
    }
    if (!resends_sent(&c->resends)) {
        return false;
    }
    for (uint32_t n = c->closed_seen; n < c->removed_count; c->closed_seen = ++n) {
        struct channel *ch = c->removed[n];
        if ((atomic_load(&ch->away) & AWAY_GONE) != 0) {
            continue; /* who took from it is no more */
        }
        bool received = ch->to == NULL || atomic_load(&ch->ledger.closed);
        if (!received || (ch->kind == CHANNEL_OUT && !link_out_drained(ch))) {
            return false;
        }
    }
    return moves_done(c->moves);
}

bool change_on_will(struct part *base, uint64_t instance, uint64_t epoch, bool stored)
{
    const struct change *c = base->change;
    for (uint32_t k = 0; c != NULL && c->staged->epoch == epoch && k < c->member_count; k++) {
        if (c->members[k]->id == instance) {
            atomic_load(&c->members[k]->cut)->will_stored = stored;
            return true;
        }
    }
    return false;
}

static void collect_result(const struct change *c, struct change_result *out)
{
    *out = (struct change_result){.op = c->staged->op};
    uint64_t last = c->go_us;
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct cut *cut = atomic_load(&c->members[k]->cut);
        last = cut->cut_us > last ? cut->cut_us : last;
        out->pauses_us =
            mem_resize(out->pauses_us, out->pause_count + cut->pause_count, sizeof *out->pauses_us);
        memcpy(out->pauses_us + out->pause_count, cut->pauses_us,
               cut->pause_count * sizeof *out->pauses_us);
        out->pause_count += cut->pause_count;
    }
    out->switch_us = last - c->go_us;
    out->resent = resends_tuples(&c->resends);
    moves_facts(c->moves, out);
    for (uint32_t n = 0; n < c->removed_count; n++) {
        add_ledger(out, c->removed[n], counter_get(&c->removed[n]->ledger.compared) > 0);
    }
    add_staying(out, c, c->staged->epoch);
    out->lost -= c->before.lost;
    out->duplicated -= c->before.duplicated;
    out->reordered -= c->before.reordered;
}

/* ---------------------------------------------------------------- merging */

static void merge_instances(struct part *base, struct part *staged, struct grave *g)
{
    uint32_t kept = 0;
    g->instances = mem_array(base->instance_count, sizeof(struct instance *));
    for (uint32_t k = 0; k < base->instance_count; k++) {
        struct instance *i = base->instances[k];
        if (atomic_load(&i->state) == INSTANCE_RETIRED) {
            g->instances[g->instance_count++] = i;
        } else {
            base->instances[kept++] = i;
        }
    }
    base->instances =
        mem_resize(base->instances, kept + staged->instance_count, sizeof(struct instance *));
    memcpy(base->instances + kept, staged->instances,
           staged->instance_count * sizeof(struct instance *));
    base->instance_count = kept + staged->instance_count;
    staged->instance_count = 0;
}

static void merge_channels(struct part *base, struct change *c, struct grave *g)
{
    struct part *staged = c->staged;
    uint32_t kept = 0;
    for (uint32_t n = 0; n < base->channel_count; n++) {
        struct channel *ch = base->channels[n];
        if (!ch->leaves) {
            base->channels[kept++] = ch;
        } else {
            link_remove(ch);
        }
    }
    g->channels = c->removed;
    g->channel_count = c->removed_count;
    c->removed = NULL;
    base->channels =
        mem_resize(base->channels, kept + staged->channel_count, sizeof(struct channel *));
    memcpy(base->channels + kept, staged->channels,
           staged->channel_count * sizeof(struct channel *));
    base->channel_count = kept + staged->channel_count;
    staged->channel_count = 0;
}

static void merge_chains(struct part *base, struct part *staged)
{
    base->chains =
        mem_resize(base->chains, base->chain_count + staged->chain_count, sizeof(struct chain *));
    if (staged->chain_count > 0) { /* memcpy takes no NULL */
        memcpy(base->chains + base->chain_count, staged->chains,
               staged->chain_count * sizeof(struct chain *));
    }
    base->chain_count += staged->chain_count;
    staged->chain_count = 0;
}

static void merge(struct part *base)
{
    struct change *c = base->change;
    struct part *staged = c->staged;
    struct grave *g = mem_alloc(sizeof *g);
    squeeze_end(&c->squeeze);
    g->cuts = mem_array(c->member_count, sizeof(struct cut *));
    for (uint32_t k = 0; k < c->member_count; k++) {
        g->cuts[g->cut_count++] = atomic_exchange(&c->members[k]->cut, NULL);
    }
    resends_forget(&c->resends);
    g->resends = c->resends;
    merge_instances(base, staged, g);
    merge_channels(base, c, g);
    merge_chains(base, staged);
    base->moved = c->moves;
    base->version = staged->version;
    base->op = staged->op;
    base->epoch = staged->epoch;
    base->retain_bytes = staged->retain_bytes;
    retain_divide(base);
    grave_open(g, base);
    g->shell = staged;
    wired_fini(&c->wired);
    mem_free(c->members);
    squeeze_fini(&c->squeeze);
    mem_free(c);
    base->change = NULL;
}

bool change_is_made(struct part *base)
{
    return base->change != NULL && base->change->going && all_cut(base->change);
}

bool change_update(struct part *base, struct change_result *out)
{
    struct change *c = base->change;
    if (base->arriving != NULL && base->state >= DEPLOYMENT_RUNNING && moves_done(base->arriving)) {
        *out = (struct change_result){.op = base->op};
        moves_facts(base->arriving, out);
        base->moved = base->arriving;
        base->arriving = NULL;
        return true;
    }
    if (!change_is_made(base)) {
        return false;
    }
    collect_result(c, out);
    merge(base);
    return true;
}

/* ---------------------------------------------------------------- giving up */

static void forget_change(struct part *base)
{
    struct change *c = base->change;
    for (uint32_t k = 0; k < c->member_count; k++) {
        cut_free(atomic_exchange(&c->members[k]->cut, NULL));
    }
    wired_fini(&c->wired);
    mem_free(c->members);
    mem_free(c->removed);
    squeeze_fini(&c->squeeze);
    mem_free(c);
    base->change = NULL;
}

/* Hand all that is elsewhere to the base, so that one list of everything is dropped. */
static void absorb(struct part *base, struct part *staged)
{
    uint32_t count = base->instance_count + staged->instance_count;
    base->instances = mem_resize(base->instances, count, sizeof(struct instance *));
    memcpy(base->instances + base->instance_count, staged->instances,
           staged->instance_count * sizeof(struct instance *));
    base->instance_count = count;
    staged->instance_count = 0;
    count = base->channel_count + staged->channel_count;
    base->channels = mem_resize(base->channels, count, sizeof(struct channel *));
    memcpy(base->channels + base->channel_count, staged->channels,
           staged->channel_count * sizeof(struct channel *));
    base->channel_count = count;
    staged->channel_count = 0;
    merge_chains(base, staged);
}

void change_drop(struct part *base)
{
    if (base->change != NULL) {
        struct grave *g = mem_alloc(sizeof *g);
        absorb(base, base->change->staged);
        g->shell = base->change->staged;
        g->moves = base->change->moves;
        g->resends = base->change->resends;
        base->change->member_count = 0; /* cuts go with their instances */
        forget_change(base);
        g->next = base->graves;
        base->graves = g;
    }
    for (struct grave *g = base->graves; g != NULL; g = g->next) {
        if (g->shell->chain_count > 0) { /* discarded, and perhaps not dead yet */
            absorb(base, g->shell);
        }
        base->chains =
            mem_resize(base->chains, base->chain_count + g->chain_count, sizeof(struct chain *));
        if (g->chain_count > 0) {
            memcpy(base->chains + base->chain_count, g->chains,
                   g->chain_count * sizeof(struct chain *));
        }
        base->chain_count += g->chain_count;
        g->chain_count = 0;
    }
}

void change_abort(struct part *base)
{
    struct change *c = base->change;
    struct part *staged = c->staged;
    assert(!c->going); /* Z2 */
    struct grave *g = mem_alloc(sizeof *g);
    for (uint32_t n = 0; n < c->removed_count; n++) {
        c->removed[n]->leaves = false;
    }
    squeeze_end(&c->squeeze);
    g->cuts = mem_array(c->member_count, sizeof(struct cut *));
    for (uint32_t k = 0; k < c->member_count; k++) {
        g->cuts[g->cut_count++] = atomic_exchange(&c->members[k]->cut, NULL);
        instance_may_end(c->members[k]);
        task_notify(instance_task(c->members[k])); /* it may have put off its end */
    }
    c->member_count = 0;
    resends_forget(&c->resends);
    g->resends = c->resends;
    g->moves = c->moves;
    if (g->moves != NULL) {
        moves_cancel(g->moves);
    }
    forget_change(base);
    g->chains = staged->chains;
    g->chain_count = staged->chain_count;
    staged->chains = NULL;
    staged->chain_count = 0;
    for (uint32_t k = 0; k < g->chain_count; k++) {
        chain_halt(g->chains[k]);
    }
    g->shell = staged;
    grave_open(g, base);
}
