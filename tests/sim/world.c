/* tests/sim/world.c - one schedule from its seed: what happens next, until nothing can. */
#include "tests/sim/sim.h"

#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STEPS_MAX = 5000000, IDLE_MAX = 80, LOTS_MAX = 16 };

struct world *world_new(const struct image *im)
{
    struct world *w = mem_alloc(sizeof *w);
    w->im = im;
    w->nodes = mem_array(im->node_count, sizeof *w->nodes);
    w->chans = mem_array(im->channel_count, sizeof *w->chans);
    w->remotes = mem_array(im->channel_count, sizeof *w->remotes);
    w->transfers = mem_array(im->move_count, sizeof *w->transfers);
    w->counts = mem_array((size_t)IDENTS * im->pe_count, 1);
    w->truth = mem_array((size_t)im->pe_count * KEYS, sizeof *w->truth);
    w->owner = mem_array((size_t)im->pe_count * KEYS, sizeof *w->owner);
    w->final_seen = mem_array(im->pe_count, 1);
    w->last = mem_array((size_t)(im->node_count + im->pe_count) * im->source_count * KEYS,
                        sizeof *w->last);
    for (uint32_t c = 0; c < im->channel_count; c++) {
        if (im->channels[c].remote) {
            w->remotes[w->remote_count++] = c;
        }
    }
    w->actor_count = im->node_count + w->remote_count + 3;
    w->lots = mem_array((size_t)w->actor_count * LOTS_MAX, sizeof *w->lots);
    for (uint32_t n = 0; n < im->node_count; n++) {
        for (int side = 0; side < SIDES; side++) {
            align_init(&w->nodes[n].align[side], im->nodes[n].side[side].input_count);
        }
    }
    return w;
}

void world_free(struct world *w)
{
    if (w == NULL) {
        return;
    }
    for (uint32_t n = 0; n < w->im->node_count; n++) {
        align_fini(&w->nodes[n].align[SIDE_V]);
        align_fini(&w->nodes[n].align[SIDE_NEW]);
    }
    if (w->master.active) {
        change_fini(&w->master.change);
    }
    change_actions_fini(&w->master.actions);
    mem_free(w->nodes);
    mem_free(w->chans);
    mem_free(w->remotes);
    mem_free(w->transfers);
    mem_free(w->counts);
    mem_free(w->truth);
    mem_free(w->owner);
    mem_free(w->final_seen);
    mem_free(w->last);
    mem_free(w->lots);
    mem_free(w);
}

void trace_line(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(w->trace, "%6u  ", (unsigned)w->steps);
    vfprintf(w->trace, fmt, ap);
    fputc('\n', w->trace);
    va_end(ap);
}

/* ---------------------------------------------------------------- the beginning */

static void draw_knobs(struct world *w)
{
    w->k = (struct knobs){.capacity = 1 + draw(w, 3),
                          .pool = 24,
                          .crashes = draw(w, 4) == 0 ? 1 + draw(w, 2) : 0,
                          .losses = draw(w, 4) == 0 ? 1 + draw(w, 4) : 0,
                          .start = draw(w, 8 * w->actor_count),
                          .checkpoint = draw(w, 4) == 0,
                          .many_tries = draw(w, 6) == 0,
                          .dies_after_go = draw(w, 6) == 0};
    if (w->storm) {
        w->k.crashes = 1 + draw(w, 4);
        w->k.losses = draw(w, 8);
        w->k.many_tries = true;
    }
    for (unsigned key = 0; key < KEYS; key++) {
        w->k.groups[key] = (uint8_t)draw(w, KEY_GROUPS);
    }
    static const uint8_t paces[] = {1, 4, 16, 16}; /* slow ones let others run far ahead */
    w->lot_count = 0;
    for (uint32_t a = 0; a < w->actor_count; a++) {
        uint32_t pace = paces[draw(w, 4)];
        pace = a + 1 == w->actor_count ? LOTS_MAX / 2 : a + 2 == w->actor_count ? LOTS_MAX : pace;
        for (uint32_t k = 0; k < pace; k++) {
            w->lots[w->lot_count++] = (uint16_t)a;
        }
    }
}

static void align_reset(struct align *a, uint64_t floor)
{
    a->active = false;
    a->arrived_count = 0;
    a->epoch_floor = floor;
    a->in_set_count = a->input_count;
    memset(a->arrived, 0, a->input_count * sizeof *a->arrived);
    memset(a->in_set, 1, a->input_count * sizeof *a->in_set);
}

static void reset_nodes(struct world *w)
{
    const struct image *im = w->im;
    uint32_t most = 400 / (im->amplification + 1);
    most = most < 1 ? 1 : most > 20 ? 20 : most;
    for (uint32_t n = 0; n < im->node_count; n++) {
        const struct inode *i = &im->nodes[n];
        struct node kept = w->nodes[n];
        w->nodes[n] = (struct node){.align = {kept.align[SIDE_V], kept.align[SIDE_NEW]}};
        struct node *x = &w->nodes[n];
        bool naive = (w->off & OFF_VOID) != 0;
        align_reset(&x->align[SIDE_V], 0);
        align_reset(&x->align[SIDE_NEW], naive ? 0 : EPOCH_SWITCH + 1);
        x->cut = !i->there[SIDE_V]; /* born cut */
        if (im->pes[i->pe].kind == KIND_SOURCE) {
            x->total = draw(w, 8) == 0 ? 0 : draw(w, most + 1);
        }
    }
    for (uint32_t m = 0; m < im->move_count; m++) {
        const struct imove *move = &im->moves[m];
        struct node *to = &w->nodes[move->to];
        to->await_other = to->await_other || move->other;
        for (unsigned key = 0; key < KEYS; key++) {
            unsigned g = w->k.groups[key];
            if ((move->groups[g / 8] >> (g % 8) & 1) != 0) {
                to->await_keys |= (uint8_t)(1u << key);
            }
        }
    }
}

static void reset(struct world *w, uint64_t seed, unsigned off, FILE *trace)
{
    w->r = (struct prng){seed};
    w->off = off;
    w->trace = trace;
    w->steps = w->moved = 0;
    w->found = FINE;
    w->outcome = ABORTED;
    w->cut_any = w->too_big = false;
    w->transfer_count = 0;
    w->queued = 0;
    draw_knobs(w);
    for (uint32_t c = 0; c < w->im->channel_count; c++) {
        struct chan *ch = &w->chans[c];
        ch->near.count = ch->far.count = 0;
        ch->sent = ch->received = 0;
        ch->ended = false;
    }
    reset_nodes(w);
    oracle_reset(w);
    control_reset(w);
}

/* ---------------------------------------------------------------- what happens next */

static bool act(struct world *w, uint32_t a)
{
    bool done;
    if (a < w->im->node_count) {
        done = node_step(w, a);
    } else if (a < w->im->node_count + w->remote_count) {
        done = link_step(w, w->remotes[a - w->im->node_count]);
    } else if (a == w->im->node_count + w->remote_count) {
        done = transfer_step(w);
    } else {
        return a + 1 < w->actor_count && control_step(w);
    }
    w->moved += done;
    return done;
}

static bool sweep(struct world *w) /* one step of anybody who can make one */
{
    uint32_t first = draw(w, w->actor_count);
    bool done = false;
    w->hurry = true;
    for (uint32_t k = 0; k < w->actor_count && !done; k++) {
        done = act(w, (first + k) % w->actor_count);
    }
    w->hurry = false;
    return done;
}

static void play(struct world *w)
{
    uint32_t fails = 0, idle = 0; /* idle: events in a row that moved no data */
    uint64_t moved = 0;
    while (w->found == FINE && !w->too_big && w->outcome != RECOVERING) {
        if (++w->steps > STEPS_MAX) {
            violate(w, V_STUCK, NONE);
            return;
        }
        if (w->steps == w->k.start) {
            control_start(w);
        }
        uint32_t a = w->lots[draw(w, w->lot_count)];
        bool event = a == w->actor_count - 1;
        bool done = event ? control_event(w, false) : act(w, a);
        fails = done ? 0 : fails + 1;
        idle = w->moved != moved ? 0 : idle;
        moved = w->moved;
        if (fails <= w->actor_count) {
            continue;
        }
        fails = 0;
        if (sweep(w)) {
            idle += w->moved == moved;
            continue;
        }
        if (idle++ > IDLE_MAX || !control_event(w, true)) {
            return;
        }
    }
}

enum violation world_run(struct world *w, uint64_t seed, unsigned off, FILE *trace)
{
    reset(w, seed, off, trace);
    play(w);
    if (w->found == FINE && !w->too_big && w->outcome != RECOVERING) {
        w->outcome = w->cut_any || w->master.decided != 0 ? CHANGED : ABORTED;
        if (w->outcome == CHANGED && w->lost_ready) {
            w->outcome = RECOVERING; /* nobody is left who holds that part of V' */
        }
        if (w->outcome != RECOVERING) {
            oracle_end(w);
        }
    }
    return w->found;
}
