/* tests/sim/recovery/world.c - one schedule from its seed: what happens next, until all is over. */
#include "tests/sim/recovery/rs.h"

#include "core/mem.h"

#include <stdarg.h>
#include <string.h>

enum { STEPS_MAX = 300000, IDLE_MAX = 400, LOTS_MAX = 8, TEMPTED = 10 };

static void make_tables(struct rs *w)
{
    const struct image *im = w->im;
    size_t nodes = im->node_count, channels = im->channel_count;
    w->insts = mem_array(RS_PROCS * nodes, sizeof *w->insts);
    w->outs = mem_array(RS_PROCS * channels, sizeof *w->outs);
    w->ins = mem_array(RS_PROCS * channels, sizeof *w->ins);
    w->holders = mem_array(nodes, 1);
    w->home = mem_array(nodes, 1);
    w->cluster = mem_array(nodes, sizeof *w->cluster);
    w->frozen = mem_array(nodes, sizeof *w->frozen);
    w->outside = mem_array(nodes, sizeof *w->outside);
    w->commits = mem_array(nodes, sizeof *w->commits);
    w->totals = mem_array(im->source_count, sizeof *w->totals);
    w->born = mem_array((size_t)im->source_count * RS_TUPLES, sizeof *w->born);
    w->children = mem_array((size_t)RS_IDENTS * im->pe_count, sizeof *w->children);
    w->finals = mem_array((size_t)im->pe_count * KEYS, sizeof *w->finals);
    w->counts = mem_array((size_t)RS_IDENTS * im->pe_count, 1);
    w->last = mem_array((size_t)im->source_count * KEYS, sizeof *w->last);
    w->truth = mem_array((size_t)im->pe_count * KEYS, sizeof *w->truth);
    for (int s = 0; s < RS_SLOTS; s++) {
        struct rs_slot *x = &w->slots[s];
        x->nodes = mem_array(nodes, sizeof *x->nodes);
        x->received = mem_array(channels, sizeof *x->received);
        x->received_hash = mem_array(channels, sizeof *x->received_hash);
        x->sent = mem_array(channels, sizeof *x->sent);
        x->sent_hash = mem_array(channels, sizeof *x->sent_hash);
        x->ended = mem_array(channels, sizeof *x->ended);
    }
    for (int k = 0; k < RS_PLANS; k++) {
        struct rs_plan *x = &w->plans[k];
        x->inst = mem_array(nodes, sizeof *x->inst);
        x->chan = mem_array(channels, sizeof *x->chan);
        x->stays = mem_array(nodes, sizeof *x->stays);
        x->logged = mem_array(channels, sizeof *x->logged);
    }
}

static void find_clusters(struct rs *w)
{
    const struct image *im = w->im;
    for (uint32_t n = 0; n < im->node_count; n++) {
        w->cluster[n] = n;
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t c = 0; c < im->channel_count; c++) {
            uint32_t *a = &w->cluster[im->channels[c].from], *b = &w->cluster[im->channels[c].to];
            if (im->channels[c].fused && *a != *b) {
                *a = *b = *a < *b ? *a : *b;
                more = true;
            }
        }
    }
}

struct rs *rs_new(const struct image *im)
{
    struct rs *w = mem_alloc(sizeof *w);
    w->im = im;
    make_tables(w);
    find_clusters(w);
    for (uint32_t p = 0; p < RS_PROCS; p++) {
        for (uint32_t n = 0; n < im->node_count; n++) {
            for (int side = 0; side < SIDES; side++) {
                align_init(&rs_inst(w, p, n)->align[side], im->nodes[n].side[side].input_count);
            }
        }
    }
    w->actor_count = im->node_count + im->channel_count + 4;
    w->lots = mem_array((size_t)w->actor_count * LOTS_MAX, sizeof *w->lots);
    return w;
}

static void free_tables(struct rs *w)
{
    for (int s = 0; s < RS_SLOTS; s++) {
        struct rs_slot *x = &w->slots[s];
        for (uint32_t n = 0; n < w->im->node_count; n++) {
            mem_free(x->nodes[n].done.items);
        }
        mem_free(x->nodes);
        mem_free(x->received);
        mem_free(x->received_hash);
        mem_free(x->sent);
        mem_free(x->sent_hash);
        mem_free(x->ended);
    }
    for (int k = 0; k < RS_PLANS; k++) {
        mem_free(w->plans[k].inst);
        mem_free(w->plans[k].chan);
        mem_free(w->plans[k].stays);
        mem_free(w->plans[k].logged);
    }
}

void rs_free(struct rs *w)
{
    if (w == NULL) {
        return;
    }
    for (uint32_t i = 0; i < RS_PROCS * w->im->node_count; i++) {
        align_fini(&w->insts[i].align[SIDE_V]);
        align_fini(&w->insts[i].align[SIDE_NEW]);
        mem_free(w->insts[i].done.items);
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        mem_free(w->frozen[n].items);
        mem_free(w->outside[n].items);
    }
    if (w->chief.active) {
        change_fini(&w->chief.change);
    }
    checkpoint_fini(&w->chief.keeping);
    change_actions_fini(&w->chief.actions);
    free_tables(w);
    mem_free(w->insts);
    mem_free(w->outs);
    mem_free(w->ins);
    mem_free(w->holders);
    mem_free(w->home);
    mem_free(w->cluster);
    mem_free(w->frozen);
    mem_free(w->outside);
    mem_free(w->commits);
    mem_free(w->totals);
    mem_free(w->born);
    mem_free(w->children);
    mem_free(w->finals);
    mem_free(w->counts);
    mem_free(w->last);
    mem_free(w->truth);
    mem_free(w->lots);
    mem_free(w);
}

void rs_trace(struct rs *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(w->trace, "%6u  ", (unsigned)w->steps);
    vfprintf(w->trace, fmt, ap);
    fputc('\n', w->trace);
    va_end(ap);
}

void rs_tempt(struct rs *w)
{
    if (rs_draw(w, 3) == 0) {
        w->tempted = TEMPTED;
    }
}

/* ---------------------------------------------------------------- the beginning */

static void draw_knobs(struct rs *w)
{
    static const uint32_t budgets[] = {0, 0, 3, 8, RS_LOG};
    static const uint8_t paces[] = {1, 3, 8, 8}; /* slow ones let others run far ahead */
    w->k = (struct rs_knobs){.capacity = 1 + rs_draw(w, 3),
                             .budget = budgets[rs_draw(w, 5)],
                             .kills = rs_draw(w, 4),
                             .crashes = rs_draw(w, 3) == 0 ? 1 + rs_draw(w, 2) : 0,
                             .losses = rs_draw(w, 4) == 0 ? 1 + rs_draw(w, 4) : 0,
                             .zombies = rs_draw(w, 3) == 0 ? 1 + rs_draw(w, 2) : 0,
                             .start =
                                 rs_draw(w, 5) == 0 ? UINT32_MAX : rs_draw(w, 20 * w->actor_count),
                             .every = (4 + rs_draw(w, 30)) * w->actor_count,
                             .naive_whole = rs_draw(w, 3) == 0,
                             .small_again = rs_draw(w, 2) == 0,
                             .bound = rs_draw(w, 3) == 0,
                             .stuck = rs_draw(w, 3) == 0,
                             .commits = (uint8_t)(rs_draw(w, 3) == 0 ? rs_draw(w, 256) : 255)};
    for (unsigned key = 0; key < KEYS; key++) {
        w->k.groups[key] = (uint8_t)rs_draw(w, KEY_GROUPS);
    }
    w->lot_count = 0;
    for (uint32_t a = 0; a < w->actor_count; a++) {
        bool fused = a >= w->im->node_count && a < w->im->node_count + w->im->channel_count &&
                     w->im->channels[a - w->im->node_count].fused;
        uint32_t pace = fused ? 0 : paces[rs_draw(w, 4)];
        pace = a + 1 == w->actor_count ? LOTS_MAX / 2 : a + 3 == w->actor_count ? LOTS_MAX : pace;
        for (uint32_t k = 0; k < pace; k++) {
            w->lots[w->lot_count++] = (uint16_t)a;
        }
    }
}

/* As planned, or any other way: what a change does is the same wherever its instances are. */
static void draw_places(struct rs *w)
{
    const struct image *im = w->im;
    bool planned = rs_draw(w, 3) == 0;
    w->worker_count = planned ? im->worker_count : 1 + rs_draw(w, RS_WORKERS);
    for (uint32_t n = 0; n < im->node_count; n++) {
        w->home[n] = planned              ? (uint8_t)im->nodes[n].worker
                     : w->cluster[n] == n ? (uint8_t)rs_draw(w, w->worker_count)
                                          : w->home[w->cluster[n]];
    }
}

static void first_plan(struct rs *w)
{
    w->plan_count = 1;
    for (int k = 0; k < RS_PLANS; k++) {
        w->plans[k].number = 0;
    }
    struct rs_plan *x = rs_plan(w, 1);
    x->number = 1;
    x->gen = 1;
    x->side = SIDE_V;
    x->slot = -1;
    x->epoch = x->floor = 0;
    for (uint32_t k = 0; k < RS_WORKERS; k++) {
        x->place[k] = (uint8_t)k;
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        x->inst[n] = w->im->nodes[n].there[SIDE_V] ? ++w->chief.d.ids : 0;
        x->stays[n] = false;
    }
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        x->chan[c] = w->im->channels[c].there[SIDE_V] ? ++w->chief.d.ids : 0;
        x->logged[c] = false;
    }
}

/* All of V runs, on one process per worker: as if it had been recovered from nothing. */
static void deploy(struct rs *w)
{
    rs_chief_reset(w);
    first_plan(w);
    w->chief.d.plan = 1;
    rs_acknowledge_by(w);
    for (uint32_t p = 0; p < w->worker_count; p++) {
        struct rs_message m = {
            .recovery = true, .proc = (uint8_t)p, .gen = 1, .plan = 1, .term = 1};
        m.kind = TELL_PREPARE;
        rs_worker_takes(w, &m);
        m.kind = TELL_GO;
        rs_worker_takes(w, &m);
    }
    w->message_count = 0;
}

static void reset(struct rs *w, uint64_t seed, uint32_t off, FILE *trace)
{
    const struct image *im = w->im;
    w->r = (struct prng){seed};
    w->off = off;
    w->trace = NULL;
    w->steps = w->moved = w->now = 0;
    w->tempted = 0;
    w->found = NOTHING;
    w->too_big = w->hurry = w->upgraded = w->repaired = false;
    w->transfer_count = w->message_count = 0;
    draw_knobs(w);
    draw_places(w);
    memset(w->receiver, 0, sizeof w->receiver);
    memset(w->holders, 0, im->node_count);
    for (uint32_t i = 0; i < RS_PROCS * im->node_count; i++) {
        w->insts[i].there = false;
    }
    for (uint32_t i = 0; i < RS_PROCS * im->channel_count; i++) {
        w->outs[i].id = w->ins[i].id = 0;
    }
    for (int s = 0; s < RS_SLOTS; s++) {
        w->slots[s].epoch = 0;
    }
    uint32_t most = 300 / (im->amplification + 1);
    most = most < 1 ? 1 : most > RS_TUPLES - 1 ? RS_TUPLES - 1 : most;
    for (uint32_t s = 0; s < im->source_count; s++) {
        w->totals[s] = rs_draw(w, 8) == 0 ? 0 : rs_draw(w, most + 1);
    }
    for (uint32_t n = 0; n < im->node_count; n++) {
        w->commits[n] =
            rs_kind_of(w, n) == KIND_SINK && (w->k.commits >> im->nodes[n].pe % 8 & 1) != 0;
    }
    memset(w->procs, 0, sizeof w->procs);
    w->incarnations = 0;
    rs_books_reset(w);
    deploy(w);
    w->trace = trace;
}

/* ---------------------------------------------------------------- faults */

static uint32_t any_proc(struct rs *w, bool cut_off)
{
    uint32_t first = rs_draw(w, RS_PROCS);
    for (uint32_t k = 0; k < RS_PROCS; k++) {
        uint32_t p = (first + k) % RS_PROCS;
        if (w->procs[p].alive && w->procs[p].cut_off == cut_off) {
            return p;
        }
    }
    return NONE;
}

static void break_connection(struct rs *w, uint32_t p)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->message_count; i++) {
        const struct rs_message *m = &w->messages[i];
        if (m->proc != p || m->kind == TELL_PEER_GO || rs_draw(w, 2) == 0) {
            w->messages[kept++] = *m;
        }
    }
    w->message_count = kept;
    RS_TRACE(w, "%u: connection breaks", p);
}

static bool come_back(struct rs *w) /* a process that was cut off can be reached again */
{
    uint32_t p = any_proc(w, true);
    if (p == NONE) {
        return false;
    }
    struct rs_proc *x = &w->procs[p];
    RS_TRACE(w, "%u: w%u is reached again", p, x->worker);
    w->moved++;
    x->cut_off = false;
    for (uint32_t q = 0; q < RS_PROCS; q++) {
        if (w->procs[q].alive && w->procs[q].worker == x->worker &&
            w->procs[q].incarnation > x->incarnation) {
            rs_proc_end(w, p); /* another one has its name: it ends itself */
            return true;
        }
    }
    rs_hello(w, p);
    return true;
}

static bool start_again(struct rs *w) /* a worker that has no process, or one that is cut off */
{
    uint32_t first = rs_draw(w, w->worker_count);
    for (uint32_t i = 0; i < w->worker_count; i++) {
        uint32_t k = (first + i) % w->worker_count;
        bool there = false;
        for (uint32_t p = 0; p < RS_PROCS; p++) {
            const struct rs_proc *x = &w->procs[p];
            there = there || (x->alive && x->worker == k && !x->cut_off);
        }
        uint32_t p = there ? NONE : rs_proc_start(w, k);
        if (p != NONE) {
            w->moved++;
            rs_hello(w, p);
            return true;
        }
    }
    return false;
}

static bool fault(struct rs *w)
{
    uint32_t p = any_proc(w, false);
    switch (rs_draw(w, 5)) {
    case 0:
    case 1:
        if (w->k.kills > 0 && (p != NONE)) {
            p = rs_draw(w, 4) == 0 && any_proc(w, true) != NONE ? any_proc(w, true) : p;
            w->k.kills--;
            w->stats.kills++;
            rs_proc_end(w, p);
            return true;
        }
        return false;
    case 2:
        if (w->k.zombies > 0 && p != NONE) {
            w->k.zombies--;
            w->stats.zombies++;
            break_connection(w, p);
            RS_TRACE(w, "%u: w%u is cut off from the master", p, w->procs[p].worker);
            w->procs[p].cut_off = true;
            return true;
        }
        return false;
    case 3:
        if (w->k.crashes > 0 && w->chief.up) {
            w->k.crashes--;
            rs_chief_down(w);
            return true;
        }
        return false;
    default:
        if (w->k.losses > 0 && p != NONE) {
            w->k.losses--;
            break_connection(w, p);
            if (rs_draw(w, 4) == 0) {
                w->stats.forgot++;
                rs_proc_forget(w, p);
            } else {
                rs_hello(w, p);
            }
            return true;
        }
        return false;
    }
}

static bool event(struct rs *w, bool idle)
{
    bool now = w->tempted > 0 ? rs_draw(w, 3) == 0 : rs_draw(w, 40) == 0;
    if (now && fault(w)) {
        return true;
    }
    if ((!idle || rs_draw(w, 2) == 0) && rs_worker_event(w, idle)) {
        return true;
    }
    if (rs_chief_event(w, idle) || (w->message_count > 0 && rs_draw(w, 4) != 0)) {
        return true;
    }
    if (!idle) {
        return rs_draw(w, 12) == 0 && (rs_draw(w, 2) == 0 ? start_again(w) : come_back(w));
    }
    if (rs_draw(w, 2) == 0 ? start_again(w) || come_back(w) : come_back(w) || start_again(w)) {
        return true;
    }
    uint32_t p = rs_draw(w, 4) == 0 ? any_proc(w, false) : NONE;
    if (p != NONE) {
        rs_hello(w, p); /* what was lost with a connection is said again */
    }
    w->now += w->k.every;
    return true;
}

/* ---------------------------------------------------------------- what happens next */

static bool act(struct rs *w, uint32_t a)
{
    const struct image *im = w->im;
    bool done;
    if (a < im->node_count) {
        done = rs_node_step(w, a);
    } else if (a < im->node_count + im->channel_count) {
        done = rs_link_step(w, a - im->node_count);
    } else if (a == w->actor_count - 4) {
        done = rs_transfer_step(w);
    } else if (a == w->actor_count - 2) {
        done = rs_save_step(w);
    } else {
        return a == w->actor_count - 3 && rs_control_step(w);
    }
    w->moved += done;
    return done;
}

static bool sweep(struct rs *w) /* one step of anybody who can make one */
{
    uint32_t first = rs_draw(w, w->actor_count);
    bool done = false;
    w->hurry = true;
    for (uint32_t k = 0; k < w->actor_count && !done; k++) {
        done = act(w, (first + k) % w->actor_count);
    }
    w->hurry = false;
    return done;
}

static void trace_stuck(struct rs *w) /* who has what, when nothing goes on */
{
    for (uint32_t p = 0; p < RS_PROCS && w->trace != NULL; p++) {
        for (uint32_t n = 0; n < w->im->node_count; n++) {
            const struct rs_inst *x = rs_inst(w, p, n);
            if (x->there) {
                RS_TRACE(w, "%u: p%u[%u] %s%s%s inject %u after %u", p, w->im->nodes[n].pe,
                         w->im->nodes[n].index, x->started ? "started " : "", x->cut ? "cut " : "",
                         x->finished ? "ended " : "", x->inject, x->injected);
            }
        }
        for (uint32_t c = 0; c < w->im->channel_count; c++) {
            const struct rs_out *o = rs_out(w, p, c);
            const struct rs_in *in = rs_in(w, p, c);
            if ((o->id != 0 && o->near.count > 0) || (in->id != 0 && in->far.count > 0)) {
                RS_TRACE(w, "%u: channel %u: id %u has %u, id %u has %u", p, c, o->id,
                         o->id != 0 ? o->near.count : 0, in->id, in->id != 0 ? in->far.count : 0);
            }
        }
    }
}

static void play(struct rs *w)
{
    uint32_t fails = 0, idle = 0; /* idle: events in a row that moved nothing */
    uint64_t moved = 0;
    while (w->found == NOTHING && !w->too_big && !w->chief.d.over) {
        if (++w->steps > STEPS_MAX || idle > IDLE_MAX) {
            rs_violate(w, WRONG_STUCK);
            trace_stuck(w);
            return;
        }
        w->now++;
        w->tempted -= w->tempted > 0;
        uint32_t a = w->lots[rs_draw(w, w->lot_count)];
        bool done = a == w->actor_count - 1 || w->tempted > 0 ? event(w, false) : act(w, a);
        fails = done ? 0 : fails + 1;
        idle = w->moved != moved ? 0 : idle;
        moved = w->moved;
        if (fails <= 4 + w->actor_count / 16) {
            continue;
        }
        fails = 0;
        if (sweep(w)) {
            idle += w->moved == moved;
            continue;
        }
        idle++;
        (void)event(w, true);
    }
}

enum wrong rs_run(struct rs *w, uint64_t seed, uint32_t off, FILE *trace)
{
    reset(w, seed, off, trace);
    play(w);
    w->stats.too_big += w->too_big;
    if (w->found == NOTHING && !w->too_big) {
        rs_books_end(w);
    }
    return w->too_big ? NOTHING : w->found;
}
