/* topology/plan_check.c - why a plan must not be run, and what its user should know before.
 *
 * Invariants: L3 of plan.h.  State is lost only where somebody said so: `state: drop` on the PE, or
 *             plan_input.drop_state.
 * See:        docs/PROTOCOL.md section 5: H19, H28, H29, H30, H34. */
#include "topology/plan.h"

#include "core/mem.h"

#include <string.h>

void plan_refuse(struct plan *p, enum err code, const char *where, char *what TAKES,
                 const char *hint)
{
    p->refusals =
        mem_grow(p->refusals, p->refusal_count, &p->refusal_capacity, sizeof p->refusals[0]);
    p->refusals[p->refusal_count++] = (struct refusal){
        .code = code, .what = what, .hint = mem_dup(hint), .where = mem_dup(where)};
}

void plan_note(struct plan *p, char *text TAKES)
{
    p->notes = mem_grow(p->notes, p->note_count, &p->note_capacity, sizeof p->notes[0]);
    p->notes[p->note_count++] = text;
}

/* ---- what a PE remembers */

/* is_users - state that users mean by the word; a source's place and a sink's pending output end
 * with them. */
static bool is_users(const struct pe_desc *d)
{
    return !d->source && !d->effects && (d->stateful || d->snapshots);
}

/* may_lose - refuse, or note when the user has agreed.  Return: it is dropped. */
static bool may_lose(struct plan *p, const struct pe *pe, bool agreed, char *why TAKES,
                     const char *hint)
{
    if (agreed) {
        plan_note(p, mem_printf("%s: its state is dropped, as agreed: %s", pe->name, why));
        mem_free(why);
    } else {
        plan_refuse(p, ERR_DENIED, pe->name, why, hint);
    }
    return agreed;
}

static void check_removed(struct plan *p, bool drop_all)
{
    const struct diff *d = p->diff;
    for (uint32_t i = 0; i < d->from->pe_count; i++) {
        const struct pe *a = &d->from->pes[i];
        if (d->pe_new[i] != INDEX_NONE || !is_users(a->desc)) {
            continue;
        }
        const struct pe *like = NULL; /* was it meant to be renamed? */
        for (uint32_t k = 0; k < d->to->pe_count && like == NULL; k++) {
            bool same = strcmp(d->to->pes[k].code, a->code) == 0;
            like = same && d->pe_old[k] == INDEX_NONE ? &d->to->pes[k] : NULL;
        }
        char *hint = like != NULL
                         ? mem_printf("if '%s' is the same under another name, give it `uid: %s`;"
                                      " else set `state: drop` on '%s' first",
                                      like->name, a->uid, a->name)
                         : mem_printf("set `state: drop` on '%s' first, if that is meant", a->name);
        may_lose(p, a, a->state_drop || drop_all,
                 mem_printf("'%s' goes, and its state with it", a->name), hint);
        mem_free(hint);
    }
}

static const json_t *states_of(const struct pe *p)
{
    return json_object_get(p->desc->json, "states");
}

/* forgotten - a keyed state of the old code that the new one does not declare; NULL: none. */
static const char *forgotten(const struct pe *a, const struct pe *b)
{
    size_t i, k;
    const json_t *x, *y;
    json_array_foreach(states_of(a), i, x)
    {
        const char *name = json_string_value(json_object_get(x, "name"));
        bool found = false;
        json_array_foreach(states_of(b), k, y)
        {
            const char *other = json_string_value(json_object_get(y, "name"));
            found = found || (name != NULL && other != NULL && strcmp(name, other) == 0);
        }
        if (name != NULL && !found) {
            return name;
        }
    }
    return NULL;
}

/* code_loses - what the new code cannot take over, in words; NULL: nothing.  Caller frees. */
static char *code_loses(const struct pe *a, const struct pe *b)
{
    const struct pe_desc *x = a->desc, *y = b->desc;
    if (!is_users(x)) {
        return NULL;
    }
    if ((x->stateful && !y->stateful) || (x->snapshots && !y->snapshots)) {
        return mem_printf("'%s' has state, which its new code has no place for", a->name);
    }
    if (x->stateful && x->state_version != y->state_version && !y->migrates) {
        return mem_printf("the state of '%s' has version %u, its new code has version %u and no"
                          " `migrate`",
                          a->name, x->state_version, y->state_version);
    }
    const char *gone = forgotten(a, b);
    if (x->state_version != y->state_version && gone != NULL) {
        return mem_printf("'%s' has state '%s', which its new code does not declare", a->name,
                          gone);
    }
    if (x->stateful && x->state_version == y->state_version &&
        !json_equal(states_of(a), states_of(b))) {
        return mem_printf("the new code of '%s' declares other state under the same state version",
                          a->name);
    }
    return NULL;
}

/* ---- keys: H28, H29 */

struct division {      /* how tuples come to the instances of a PE */
    const char **keys; /* of the keyed in-streams, each once, sorted; [count] */
    size_t count;
    bool unkeyed; /* some in-stream is not keyed */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void division_init(struct division *v, const struct topology *t, uint32_t pe)
{
    *v = (struct division){0};
    v->keys = mem_array(t->stream_count, sizeof v->keys[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        if (s->to_pe == pe && s->partitioning == PART_KEYED) {
            v->keys[v->count++] = stream_keys_text(t, s);
        }
        v->unkeyed = v->unkeyed || (s->to_pe == pe && s->partitioning != PART_KEYED);
    }
    if (v->count > 1) {
        qsort(v->keys, v->count, sizeof v->keys[0], by_text);
    }
    size_t kept = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (kept > 0 && strcmp(v->keys[i], v->keys[kept - 1]) == 0) {
            mem_free((void *)(uintptr_t)v->keys[i]);
        } else {
            v->keys[kept++] = v->keys[i];
        }
    }
    v->count = kept;
}

static void division_fini(struct division *v)
{
    for (size_t i = 0; i < v->count; i++) {
        mem_free((void *)(uintptr_t)v->keys[i]);
    }
    mem_free(v->keys);
}

static bool same_keys(const struct division *v, const struct division *w)
{
    bool same = v->count == w->count;
    for (size_t i = 0; i < v->count && same; i++) {
        same = strcmp(v->keys[i], w->keys[i]) == 0;
    }
    return same;
}

/* key_param - a parameter of type `fields` of a stateful PE names its key: has one changed? */
static const char *key_param(const struct pe *a, const struct pe *b)
{
    for (unsigned i = 0; i < b->desc->param_count; i++) {
        const struct param_desc *d = &b->desc->params[i];
        const json_t *x = json_object_get(a->with, d->name), *y = json_object_get(b->with, d->name);
        if (strcmp(d->type, "fields") == 0 && x != NULL && y != NULL && !json_equal(x, y)) {
            return d->name;
        }
    }
    return NULL;
}

/* keys_lose - what division of tuples makes the keyed state meaningless; NULL: nothing. */
static char *keys_lose(const struct diff *d, uint32_t old, uint32_t new)
{
    const struct pe *a = &d->from->pes[old], *b = &d->to->pes[new];
    if (!is_users(a->desc) || !a->desc->stateful) {
        return NULL;
    }
    const char *param = key_param(a, b);
    if (param != NULL) {
        return mem_printf("the state of '%s' is kept by the fields of '%s', which change", a->name,
                          param);
    }
    struct division v, w;
    division_init(&v, d->from, old);
    division_init(&w, d->to, new);
    char *why = NULL;
    bool blind_v = v.unkeyed && a->parallelism > 1, blind_w = w.unkeyed && b->parallelism > 1;
    if (v.count > 0 && w.count > 0 && !same_keys(&v, &w)) {
        why = mem_printf("'%s' has state by '%s' and would get its tuples by '%s'", a->name,
                         v.keys[0], w.keys[0]);
    } else if (a->parallelism != b->parallelism && (blind_v || blind_w)) {
        why = mem_printf("'%s' has state and gets tuples that are not divided by key: its state"
                         " cannot be divided between %u and %u instances",
                         a->name, a->parallelism, b->parallelism);
    } else if (blind_v != blind_w) {
        why = mem_printf("'%s' has state, and its keys would come to other instances than those"
                         " that hold it",
                         a->name);
    }
    division_fini(&v);
    division_fini(&w);
    return why;
}

static char *scale_loses(const struct pe *a, const struct pe *b)
{
    if (a->parallelism == b->parallelism || !a->desc->snapshots || a->desc->effects) {
        return NULL;
    }
    return mem_printf("'%s' %s, which cannot be divided between %u and %u instances", a->name,
                      a->desc->source ? "knows how far it has read" : "has state besides its keys",
                      a->parallelism, b->parallelism);
}

/* is_another - a source or sink of another type takes this one's place: how far that had read ends
 * with it, and what it has not committed is its will, as if it were removed. */
static bool is_another(const struct pe *a, const struct pe *b)
{
    return !is_users(a->desc) && a->desc->snapshots && strcmp(a->desc->name, b->desc->name) != 0;
}

void plan_check_state(struct plan *p, const struct plan_input *in)
{
    const struct diff *d = p->diff;
    p->drops = mem_array(d->to->pe_count, sizeof p->drops[0]);
    if (strcmp(d->from->name, d->to->name) != 0) {
        plan_refuse(p, ERR_INVALID, d->to->name,
                    mem_printf("the running topology is '%s'", d->from->name),
                    "deploy the other one beside it");
    }
    check_removed(p, in->drop_state);
    for (uint32_t i = 0; i < d->to->pe_count; i++) {
        uint32_t old = d->pe_old[i];
        if (old == INDEX_NONE) {
            continue;
        }
        const struct pe *a = &d->from->pes[old], *b = &d->to->pes[i];
        bool agreed = b->state_drop || in->drop_state;
        char *why = code_loses(a, b);
        const char *hint = "give the new code a `migrate`, or set `state: drop`";
        if (why == NULL) {
            why = keys_lose(d, old, i);
            hint = "set `state: drop` to begin anew";
        }
        if (why == NULL) {
            why = scale_loses(a, b);
        }
        if (why != NULL) {
            p->drops[i] = may_lose(p, b, agreed, why, hint);
        } else if (is_another(a, b)) {
            p->drops[i] = true;
            plan_note(p, mem_printf("%s: %s takes the place of %s, and begins anew", b->name,
                                    b->desc->name, a->desc->name));
        }
    }
}

/* ---- places and order */

static void check_moved(struct plan *p)
{
    const struct match *m = p->match;
    uint32_t last = INDEX_NONE;
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        uint32_t pe = p->to->instances[i].pe, from = m->heir_old[i];
        if (from == INDEX_NONE || m->instance_old[i] != INDEX_NONE || pe == last) {
            continue;
        }
        const struct pe *b = &p->diff->to->pes[pe];
        uint32_t before = m->worker_new[m->from->instances[from].worker];
        const struct worker_info *x = &p->to->workers[before];
        const struct worker_info *y = &p->to->workers[p->to->instances[i].worker];
        last = pe;
        if (b->desc->source && !b->desc->replayable) {
            plan_refuse(p, ERR_DENIED, b->name,
                        mem_printf("the source '%s' would move from %s to %s and cannot say how far"
                                   " it has read",
                                   b->name, x->name, y->name),
                        "leave it where it is, or remove it and add another");
        } else if (b->desc->local && strcmp(x->host, y->host) != 0) { /* H19 */
            plan_refuse(p, ERR_DENIED, b->name,
                        mem_printf("'%s' is bound to files or ports of %s and would move to %s",
                                   b->name, x->host, y->host),
                        "start another worker on the same machine");
        }
    }
}

/* check_room - H30: while old and new stand side by side. */
static void check_room(struct plan *p, const struct plan_input *in)
{
    for (uint32_t w = 0; w < p->to->worker_count; w++) {
        const struct worker_info *x = &p->to->workers[w];
        uint32_t more = in->overdraft_slots != 0 ? in->overdraft_slots : x->slots;
        uint64_t most = (uint64_t)x->slots + more;
        const struct worker_load *l = &p->loads[w];
        if (l->after > 0 && (uint64_t)l->during + x->slots_used > most) {
            plan_refuse(p, ERR_FULL, x->name,
                        mem_printf("worker %s would hold %u instances while old and new stand side"
                                   " by side; it has %u slots and may overdraw %u",
                                   x->name, l->during + x->slots_used, x->slots, more),
                        "upgrade in smaller steps, or give it more --slots");
        }
    }
}

/* is_ordered - a key's tuples stay in order over this stream, sender by sender. */
static bool is_ordered(const struct topology *t, const struct stream *s)
{
    return s->partitioning == PART_KEYED || stream_is_one_to_one(t, s) ||
           (s->partitioning == PART_BALANCED && t->pes[s->to_pe].parallelism == 1);
}

static void note_order(struct plan *p)
{
    const struct diff *d = p->diff;
    for (uint32_t i = 0; i < d->to->stream_count; i++) {
        const struct stream *y = &d->to->streams[i];
        uint32_t old = d->stream_old[i];
        if (old != INDEX_NONE && y->partitioning == PART_BALANCED && !is_ordered(d->to, y) &&
            is_ordered(d->from, &d->from->streams[old])) {
            plan_note(p, mem_printf("order ends here: %s goes round-robin to %u instances; before,"
                                    " each key's tuples stayed in order",
                                    y->name, d->to->pes[y->to_pe].parallelism));
        }
    }
}

char *plan_worker_death(const struct topology *t)
{
    if (t->checkpoint_every_us == 0) {
        return mem_dup("there are no checkpoints: if a worker dies, what it held is lost");
    }
    for (uint32_t i = 0; i < t->pe_count; i++) {
        if (t->pes[i].desc->source && !t->pes[i].desc->replayable) {
            return mem_printf("'%s' cannot be read again: if a worker dies, some of its tuples may"
                              " be lost",
                              t->pes[i].name);
        }
    }
    return NULL;
}

static void note_recovery(struct plan *p) /* R23 */
{
    char *cost = plan_worker_death(p->diff->to);
    if (cost != NULL) {
        plan_note(p, cost);
    }
}

void plan_check_places(struct plan *p, const struct plan_input *in)
{
    if (p->match != NULL) {
        check_moved(p);
        check_room(p, in);
    }
    note_order(p);
    if (p->diff->count > 0 || p->instruction_count > 0) {
        note_recovery(p);
    }
}

enum err plan_may_copy(const struct pe *pe, bool shadow, struct fail *f)
{
    if (pe->desc->source || pe->desc->effects) {
        return fail_set(f, ERR_DENIED, "put the copy before it",
                        "'%s' acts on the outside: a second one would do everything twice",
                        pe->name);
    }
    if (!shadow && is_users(pe->desc)) {
        return fail_set(f, ERR_DENIED, "use shadow, or upgrade it whole",
                        "'%s' has state: a share of its tuples would split it", pe->name);
    }
    return ERR_OK;
}

/* ---- R3: ended, and tuples to come */

struct ended { /* who of V' has, when these of V have */
    const struct plan *p;
    const bool *old;
};

static bool has_ended(const struct ended *x, uint32_t new)
{
    uint32_t before = x->p->match->heir_old[new];
    return before != INDEX_NONE && x->old[before];
}

static const char *pe_name(const struct ended *x, uint32_t new)
{
    return x->p->diff->to->pes[x->p->to->instances[new].pe].name;
}

/* Was there a channel between those whose places its ends take? */
static bool goes_on(const struct plan *p, const struct pchannel *new)
{
    uint32_t from = p->match->heir_old[new->from], to = p->match->heir_old[new->to];
    const struct pgraph *v = p->match->from;
    for (uint32_t c = 0; c < v->channel_count; c++) {
        if (v->channels[c].from == from && v->channels[c].to == to) {
            return true;
        }
    }
    return false;
}

/* Somebody that has not ended feeds it, a channel of V' each; INDEX_NONE: nobody.  Caller frees. */
static uint32_t *find_feeders(const struct ended *x)
{
    const struct pgraph *to = x->p->to;
    uint32_t *feeder = mem_array(to->instance_count, sizeof *feeder);
    for (uint32_t i = 0; i < to->instance_count; i++) {
        feeder[i] = INDEX_NONE;
    }
    for (uint32_t c = 0; c < to->channel_count; c++) {
        if (!has_ended(x, to->channels[c].from)) {
            feeder[to->channels[c].to] = to->channels[c].from;
        }
    }
    return feeder;
}

/* Keys have ended with who had them: their final output has left. */
static enum err check_moves(const struct ended *x, struct fail *f, const char **where)
{
    const struct plan *p = x->p;
    const struct pinstance *v = p->to->instances;
    uint32_t *feeder = find_feeders(x);
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->move_count && e == ERR_OK; i++) {
        const struct state_move *m = &p->moves[i];
        uint32_t from = feeder[m->new];
        if (has_ended(x, m->new) && !x->old[m->old]) {
            *where = pe_name(x, m->new);
            e = fail_set(f, ERR_DENIED, "wait until all of its instances have ended",
                         "%s[%u] has ended, and would take over keys of an instance that has not",
                         *where, v[m->new].index);
        } else if (!has_ended(x, m->new) && x->old[m->old] && m->group_count > 0 &&
                   from != INDEX_NONE) {
            *where = pe_name(x, m->new);
            e = fail_set(f, ERR_DENIED, "leave its inputs as they are, or deploy the topology anew",
                         "%s[%u] would take over keys of an instance that has ended, and get tuples"
                         " from %s[%u], which has not",
                         *where, v[m->new].index, pe_name(x, from), v[from].index);
        }
    }
    mem_free(feeder);
    return e;
}

enum err plan_check_ended(const struct plan *p, const bool *ended, bool goes_back, struct fail *f,
                          const char **where)
{
    const struct ended x = {p, ended};
    const struct pinstance *v = p->to->instances;
    for (uint32_t c = 0; c < p->to->channel_count; c++) {
        const struct pchannel *ch = &p->to->channels[c];
        bool quiet = has_ended(&x, ch->from) && (!goes_back || goes_on(p, ch));
        if (p->match->channel_old[c] == INDEX_NONE && has_ended(&x, ch->to) && !quiet) {
            *where = pe_name(&x, ch->to);
            return fail_set(
                f, ERR_DENIED, "leave its inputs as they are, or deploy the topology anew",
                "%s[%u] has ended, and would get tuples from %s[%u], which %s", *where,
                v[ch->to].index, pe_name(&x, ch->from), v[ch->from].index,
                has_ended(&x, ch->from) ? "had not at the last checkpoint, perhaps" : "has not");
        }
    }
    return check_moves(&x, f, where);
}
