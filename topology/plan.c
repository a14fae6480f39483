/* topology/plan.c - puts a plan together: who does what, what moves, how long it will take.
 *
 * Invariants: L1, L2, L4, L5 of plan.h; L3 is plan_check.c's. */
#include "topology/plan.h"

#include "core/mem.h"
#include "core/sha256.h"
#include "core/strbuf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1024.0 * 1024.0)

static void make_moves(struct plan *p, const struct plan_input *in);
static void make_instructions(struct plan *p);
static void make_loads(struct plan *p);
static void predict(struct plan *p, const struct plan_input *in);
static void count_unchanged(struct plan *p);
static void make_digest(struct plan *p, const struct plan_input *in);

const char *instruction_name(enum instruction_kind kind)
{
    static const char *const names[DO_COUNT] = {
        [DO_FETCH] = "fetch",     [DO_CREATE] = "create",
        [DO_REPLACE] = "replace", [DO_OPEN] = "open",
        [DO_REWIRE] = "rewire",   [DO_EXPORT] = "export",
        [DO_IMPORT] = "import",   [DO_CLOSE] = "close",
        [DO_REMOVE] = "remove",   [DO_SET_POLICY] = "set-policy",
    };
    return names[kind];
}

struct plan *plan_make(const struct plan_input *in)
{
    struct plan *p = mem_alloc(sizeof *p);
    struct fail f = {0};
    p->base_version = in->base_version;
    p->gen = in->gen;
    p->next_id = in->next_id;
    p->diff = diff_topologies(in->running->topology, in->next);
    p->match = match_graphs(in->running, p->diff, in->workers, in->worker_count,
                            in->placer != NULL ? in->placer : &placer_default, &p->next_id, &f);
    count_unchanged(p);
    plan_check_state(p, in);
    plan_check_files(p);
    if (p->match == NULL) {
        plan_refuse(p, f.code, p->diff->to->name, mem_dup(f.what), f.hint);
    } else {
        struct cover_options options = cover_options_of(in->next);
        p->to = p->match->to;
        p->match->anew = p->drops;
        p->cover = cover_find(p->match, p->diff, in->cover != NULL ? in->cover : &options);
        make_moves(p, in);
        make_instructions(p);
        make_loads(p);
        predict(p, in);
    }
    plan_check_places(p, in);
    make_digest(p, in);
    return p;
}

void plan_free(struct plan *p)
{
    if (p == NULL) {
        return;
    }
    cover_free(p->cover);
    match_free(p->match);
    diff_free(p->diff);
    for (size_t i = 0; i < p->refusal_count; i++) {
        mem_free(p->refusals[i].what);
        mem_free(p->refusals[i].hint);
        mem_free(p->refusals[i].where);
    }
    for (size_t i = 0; i < p->note_count; i++) {
        mem_free(p->notes[i]);
    }
    mem_free(p->refusals);
    mem_free(p->notes);
    mem_free(p->instructions);
    mem_free(p->moves);
    mem_free(p->loads);
    mem_free(p->drops);
    mem_free(p);
}

bool plan_is_empty(const struct plan *p)
{
    return p->diff->count == 0 && p->instruction_count == 0;
}

struct pgraph *plan_take_graph(struct plan *p)
{
    struct pgraph *g = p->to;
    p->to = NULL;
    if (p->match != NULL) {
        p->match->to = NULL;
    }
    return g;
}

/* ---- state that changes hands */

static int by_instance(const void *a, const void *b)
{
    const struct state_size *x = a, *y = b;
    return x->instance < y->instance ? -1 : x->instance > y->instance;
}

static struct state_size size_of(const struct state_size *sorted, size_t count, uint64_t instance)
{
    struct state_size key = {.instance = instance};
    const struct state_size *s =
        count > 0 ? bsearch(&key, sorted, count, sizeof key, by_instance) : NULL;
    return s != NULL ? *s : key;
}

static struct state_move *move_between(struct plan *p, size_t first, uint32_t pe, uint32_t old,
                                       uint32_t new)
{
    for (size_t i = first; i < p->move_count; i++) {
        if (p->moves[i].old == old && p->moves[i].new == new) {
            return &p->moves[i];
        }
    }
    p->moves = mem_grow(p->moves, p->move_count, &p->move_capacity, sizeof p->moves[0]);
    struct state_move *m = &p->moves[p->move_count++];
    *m = (struct state_move){
        .pe = pe,
        .old = old,
        .new = new,
        .from_worker = p->match->worker_new[p->match->from->instances[old].worker],
        .to_worker = p->to->instances[new].worker,
    };
    return m;
}

bool state_move_migrates(const struct plan *p, const struct state_move *m)
{
    uint32_t old = p->diff->pe_old[m->pe];
    return m->group_count > 0 && p->diff->from->pes[old].desc->state_version !=
                                     p->diff->to->pes[m->pe].desc->state_version;
}

/* move_state - what of a PE's state is with another instance after the cut, or of another version.
 */
static void move_state(struct plan *p, uint32_t pe, uint32_t old)
{
    const struct match *m = p->match;
    const struct pe_desc *a = p->diff->from->pes[old].desc, *b = p->diff->to->pes[pe].desc;
    size_t first = p->move_count;
    bool migrates = a->state_version != b->state_version; /* where it stays, too: to itself */
    for (unsigned g = 0; a->stateful && b->stateful && g < KEY_GROUPS; g++) {
        uint32_t from = m->first_old[old] + pgraph_owner(m->from, old, g);
        uint32_t to = m->first_new[pe] + pgraph_owner(m->to, pe, g);
        if (m->instance_new[from] != to || migrates) {
            struct state_move *move = move_between(p, first, pe, from, to);
            move->groups[g / 8] |= (uint8_t)(1u << (g % 8));
            move->group_count++;
        }
    }
    for (uint32_t i = m->first_new[pe]; a->snapshots && b->snapshots && i < m->first_new[pe + 1];
         i++) {
        if (m->instance_old[i] == INDEX_NONE && m->heir_old[i] != INDEX_NONE) {
            move_between(p, first, pe, m->heir_old[i], i)->other = true;
        }
    }
}

static int by_pair(const void *a, const void *b)
{
    const struct state_move *x = a, *y = b;
    const uint32_t k[] = {x->pe, x->old, x->new}, l[] = {y->pe, y->old, y->new};
    for (unsigned i = 0; i < 3; i++) {
        if (k[i] != l[i]) {
            return k[i] < l[i] ? -1 : 1;
        }
    }
    return 0;
}

static uint64_t groups_owned(const struct match *m, uint32_t pe, uint32_t instance)
{
    uint64_t count = 0;
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        count += m->first_old[pe] + pgraph_owner(m->from, pe, g) == instance;
    }
    return count;
}

/* state_goes_on - the PE is in both and keeps its state. */
static bool state_goes_on(const struct plan *p, uint32_t pe)
{
    return p->diff->pe_old[pe] != INDEX_NONE && !p->drops[pe];
}

static void make_moves(struct plan *p, const struct plan_input *in)
{
    struct state_size *sizes = mem_array(in->size_count, sizeof sizes[0]);
    for (size_t i = 0; i < in->size_count; i++) {
        sizes[i] = in->sizes[i];
    }
    qsort(sizes, in->size_count, sizeof sizes[0], by_instance);
    for (uint32_t pe = 0; pe < p->diff->to->pe_count; pe++) {
        if (state_goes_on(p, pe)) {
            move_state(p, pe, p->diff->pe_old[pe]);
        }
    }
    if (p->move_count > 0) {
        qsort(p->moves, p->move_count, sizeof p->moves[0], by_pair);
    }
    for (size_t i = 0; i < p->move_count; i++) {
        struct state_move *m = &p->moves[i];
        const struct pinstance *from = &p->match->from->instances[m->old];
        struct state_size s = size_of(sizes, in->size_count, from->id);
        uint64_t owned = groups_owned(p->match, from->pe, m->old);
        double share = owned > 0 ? (double)m->group_count / (double)owned : 0;
        m->bytes = (uint64_t)((double)s.bytes * share) + (m->other ? s.other_bytes : 0);
        *(m->from_worker == m->to_worker ? &p->local_bytes : &p->remote_bytes) += m->bytes;
    }
    mem_free(sizes);
}

/* ---- instructions */

static struct instruction *instruct(struct plan *p, enum instruction_kind kind, uint32_t worker)
{
    p->instructions = mem_grow(p->instructions, p->instruction_count, &p->instruction_capacity,
                               sizeof p->instructions[0]);
    struct instruction *i = &p->instructions[p->instruction_count++];
    *i = (struct instruction){.kind = kind,
                              .worker = worker,
                              .old = INDEX_NONE,
                              .new = INDEX_NONE,
                              .channel = INDEX_NONE,
                              .move = INDEX_NONE};
    return i;
}

/* fetch - the code of a PE on a worker, unless it is built in or runs there in V. */
static void fetch(struct plan *p, uint32_t new)
{
    const struct match *m = p->match;
    const struct pinstance *x = &p->to->instances[new];
    const char *code = p->diff->to->pes[x->pe].code;
    if (strcspn(code, ":") != DIGEST_HEX_BYTES - 1) {
        return;
    }
    for (uint32_t i = 0; i < m->from->instance_count; i++) {
        const struct pinstance *y = &m->from->instances[i];
        if (m->worker_new[y->worker] == x->worker &&
            strncmp(p->diff->from->pes[y->pe].code, code, DIGEST_HEX_BYTES - 1) == 0) {
            return;
        }
    }
    instruct(p, DO_FETCH, x->worker)->artifact = code;
}

static bool sends_anew(const struct plan *p, const struct cover_member *x)
{
    if (x->lists[LIST_NEW_OUTPUTS].count > 0 || x->lists[LIST_OLD_OUTPUTS].count > 0) {
        return true;
    }
    uint32_t pe = p->to->instances[x->new].pe;
    for (uint32_t i = 0; i < p->diff->to->stream_count; i++) {
        const struct stream *s = &p->diff->to->streams[i];
        if (s->from_pe == pe && s->partitioning == PART_KEYED && p->cover->rerouted[s->to_pe]) {
            return true;
        }
    }
    return false;
}

static void instruct_member(struct plan *p, const struct cover_member *x)
{
    uint32_t worker = x->new != INDEX_NONE
                          ? p->to->instances[x->new].worker
                          : p->match->worker_new[p->match->from->instances[x->old].worker];
    static const enum instruction_kind kinds[] = {[ROLE_OLD] = DO_REMOVE,
                                                  [ROLE_NEW] = DO_CREATE,
                                                  [ROLE_ADOPTED] = DO_REPLACE,
                                                  [ROLE_STAYING] = DO_COUNT};
    if (kinds[x->role] != DO_COUNT) {
        struct instruction *i = instruct(p, kinds[x->role], worker);
        i->old = x->old;
        i->new = x->new;
    }
    if (x->role == ROLE_NEW || x->role == ROLE_ADOPTED) {
        fetch(p, x->new);
    }
    if (x->old != INDEX_NONE && x->new != INDEX_NONE &&sends_anew(p, x)) {
        struct instruction *i = instruct(p, DO_REWIRE, worker);
        i->old = x->old;
        i->new = x->new;
    }
}

/* instruct_ends - an instruction at either end of a channel, one where both are on one worker. */
static void instruct_ends(struct plan *p, enum instruction_kind kind, uint32_t channel,
                          uint32_t from_worker, uint32_t to_worker)
{
    instruct(p, kind, from_worker)->channel = channel;
    if (to_worker != from_worker) {
        instruct(p, kind, to_worker)->channel = channel;
    }
}

static void instruct_channels(struct plan *p)
{
    const struct match *m = p->match;
    for (uint32_t i = 0; i < p->to->channel_count; i++) {
        const struct pchannel *c = &p->to->channels[i];
        if (m->channel_old[i] == INDEX_NONE) {
            instruct_ends(p, DO_OPEN, i, p->to->instances[c->from].worker,
                          p->to->instances[c->to].worker);
        }
    }
    for (uint32_t i = 0; i < m->from->channel_count; i++) {
        const struct pchannel *c = &m->from->channels[i];
        if (m->channel_new[i] == INDEX_NONE) {
            instruct_ends(p, DO_CLOSE, i, m->worker_new[m->from->instances[c->from].worker],
                          m->worker_new[m->from->instances[c->to].worker]);
        }
    }
}

/* has_other_settings - what an instance is told but does not act on: no cut is needed. */
static bool has_other_settings(const struct pe *a, const struct pe *b)
{
    return strcmp(a->name, b->name) != 0 || a->retries != b->retries || a->then != b->then ||
           a->stuck_after_us != b->stuck_after_us || a->state_drop != b->state_drop ||
           a->parallelism != b->parallelism;
}

static void instruct_settings(struct plan *p)
{
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        const struct pinstance *x = &p->to->instances[i];
        uint32_t old = p->diff->pe_old[x->pe], of = p->cover->of_new[i];
        bool adopted = of != INDEX_NONE && p->cover->members[of].role == ROLE_ADOPTED;
        if (p->match->instance_old[i] != INDEX_NONE && !adopted &&
            has_other_settings(&p->diff->from->pes[old], &p->diff->to->pes[x->pe])) {
            struct instruction *set = instruct(p, DO_SET_POLICY, x->worker);
            set->old = p->match->instance_old[i];
            set->new = i;
        }
    }
}

static int by_worker(const void *a, const void *b)
{
    const struct instruction *x = a, *y = b;
    if (x->kind == DO_FETCH && y->kind == DO_FETCH && x->worker == y->worker) {
        return strncmp(x->artifact, y->artifact, DIGEST_HEX_BYTES - 1);
    }
    const uint32_t k[] = {x->worker, (uint32_t)x->kind, x->new, x->old, x->channel, x->move};
    const uint32_t l[] = {y->worker, (uint32_t)y->kind, y->new, y->old, y->channel, y->move};
    for (unsigned i = 0; i < sizeof k / sizeof k[0]; i++) {
        if (k[i] != l[i]) {
            return k[i] < l[i] ? -1 : 1;
        }
    }
    return 0;
}

static void make_instructions(struct plan *p)
{
    for (uint32_t i = 0; i < p->cover->member_count; i++) {
        instruct_member(p, &p->cover->members[i]);
    }
    instruct_channels(p);
    instruct_settings(p);
    for (size_t i = 0; i < p->move_count; i++) {
        struct instruction *give = instruct(p, DO_EXPORT, p->moves[i].from_worker);
        give->old = p->moves[i].old;
        give->move = (uint32_t)i;
        struct instruction *take = instruct(p, DO_IMPORT, p->moves[i].to_worker);
        take->new = p->moves[i].new;
        take->move = (uint32_t)i;
    }
    if (p->instruction_count == 0) {
        return;
    }
    qsort(p->instructions, p->instruction_count, sizeof p->instructions[0], by_worker);
    size_t kept = 1;
    for (size_t i = 1; i < p->instruction_count; i++) { /* each artifact once per worker */
        if (by_worker(&p->instructions[i], &p->instructions[kept - 1]) != 0) {
            p->instructions[kept++] = p->instructions[i];
        }
    }
    p->instruction_count = kept;
}

/* ---- load, prediction, digest */

static void make_loads(struct plan *p)
{
    p->loads = mem_array(p->to->worker_count, sizeof p->loads[0]);
    const struct match *m = p->match;
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        struct worker_load *l = &p->loads[p->to->instances[i].worker];
        uint32_t of = p->cover->of_new[i];
        bool twice = of != INDEX_NONE && p->cover->members[of].role == ROLE_ADOPTED;
        l->after++;
        l->during += 1 + twice;
    }
    for (uint32_t i = 0; i < m->from->instance_count; i++) {
        struct worker_load *l = &p->loads[m->worker_new[m->from->instances[i].worker]];
        l->before++;
        l->during += m->instance_new[i] == INDEX_NONE;
    }
    for (uint32_t w = 0; w < p->to->worker_count; w++) {
        struct worker_load *l = &p->loads[w];
        l->charged = l->before > l->after ? l->before : l->after;
    }
}

static void predict(struct plan *p, const struct plan_input *in)
{
    struct pause_model fallback = pause_model_default();
    double *v = p->features.v;
    uint32_t *taken = mem_array(p->to->instance_count, sizeof taken[0]);
    for (size_t i = 0; i < p->move_count; i++) {
        uint32_t *n = &taken[p->moves[i].new];
        *n += p->moves[i].group_count;
        v[PAUSE_GROUPS] = *n > v[PAUSE_GROUPS] ? *n : v[PAUSE_GROUPS];
    }
    mem_free(taken);
    v[PAUSE_BASE] = p->cover->member_count > 0;
    v[PAUSE_MEMBERS] = p->cover->member_count;
    v[PAUSE_DEPTH] = p->cover->depth;
    v[PAUSE_HOPS] = p->cover->hops;
    v[PAUSE_MIB_LOCAL] = (double)p->local_bytes / MIB;
    v[PAUSE_MIB_REMOTE] = (double)p->remote_bytes / MIB;
    p->predicted_pause_us =
        pause_model_predict_us(in->model != NULL ? in->model : &fallback, &p->features);
}

static void count_unchanged(struct plan *p)
{
    const struct diff *d = p->diff;
    p->pes_unchanged = d->to->pe_count - d->pes_added - d->pes_changed;
    p->streams_unchanged = d->to->stream_count - d->streams_added - d->streams_updated;
}

static void digest_instances(const struct plan *p, struct strbuf *text)
{
    for (uint32_t i = 0; i < p->to->instance_count; i++) {
        const struct pinstance *x = &p->to->instances[i];
        uint32_t old = p->match->instance_old[i], of = p->cover->of_new[i];
        const struct cover_member *m = of != INDEX_NONE ? &p->cover->members[of] : NULL;
        strbuf_printf(text, "instance %u %u %u %" PRIu64 " %d %u\n", x->pe, x->index, x->worker,
                      old != INDEX_NONE ? x->id : 0, m != NULL ? (int)m->role : -1,
                      m != NULL ? m->why : 0);
    }
    for (uint32_t i = 0; i < p->to->channel_count; i++) {
        const struct pchannel *c = &p->to->channels[i];
        strbuf_printf(text, "channel %u %u %u %d %" PRIu64 "\n", c->stream, c->from, c->to,
                      c->fused, p->match->channel_old[i] != INDEX_NONE ? c->id : 0);
    }
    for (size_t i = 0; i < p->move_count; i++) {
        const struct state_move *m = &p->moves[i];
        strbuf_printf(text, "move %u %u %u %d ", m->pe, m->old, m->new, m->other);
        for (unsigned k = 0; k < sizeof m->groups; k++) {
            strbuf_printf(text, "%02x", m->groups[k]);
        }
        strbuf_char(text, '\n');
    }
}

static void make_digest(struct plan *p, const struct plan_input *in)
{
    struct strbuf text = {0};
    strbuf_printf(&text, "base %" PRIu64 " gen %" PRIu64 "\nfrom %s\nto %s\n", p->base_version,
                  p->gen, p->diff->from->digest, p->diff->to->digest);
    const struct worker_info *workers = p->to != NULL ? p->to->workers : in->workers;
    for (uint32_t i = 0; i < in->worker_count; i++) {
        strbuf_printf(&text, "worker %s %" PRIu64 "\n", workers[i].name, workers[i].incarnation);
    }
    if (p->to != NULL) {
        digest_instances(p, &text);
    }
    for (size_t i = 0; i < p->refusal_count; i++) {
        strbuf_printf(&text, "refused %s\n", p->refusals[i].what);
    }
    sha256_hex(strbuf_text(&text), text.bytes, p->digest);
    strbuf_fini(&text);
}
