/* worker/handover.c - the two machines of a move. */
#include "worker/handover.h"

#include "core/limits.h"

#include <assert.h>
#include <stddef.h>

void give_init(struct give *g, uint64_t window)
{
    *g = (struct give){.state = GIVE_COPYING, .window = window};
}

static unsigned take_ack(struct give *g, const struct give_event *in)
{
    if (in->next > g->made || (in->next < g->taken && !in->imported)) {
        return 0; /* of another time, or not true */
    }
    unsigned act = in->next > g->taken ? GIVE_DO_FORGET : 0;
    g->taken = in->next > g->taken ? in->next : g->taken;
    if (in->resume) {
        g->linked = true;
        g->sent = g->taken;
    }
    g->sent = g->sent < g->taken ? g->taken : g->sent;
    if (in->imported && g->state == GIVE_CUT && g->taken == g->made) {
        g->state = GIVE_GIVEN;
        act |= GIVE_DO_DONE;
    }
    return act;
}

static unsigned take_slice(struct give *g, const struct give_event *in)
{
    g->asked = false;
    g->made += in->count;
    g->caught_up = !in->more;
    if (g->state == GIVE_COPYING) {
        g->rounds = in->rounds;
        if (g->rounds > STATE_ROUNDS_MAX && in->behind <= STATE_BEHIND_MAX) {
            g->caught_up = true; /* H6: few keys, written all the time */
        }
    }
    return 0;
}

/* What follows from where it stands now. */
static unsigned go_on(struct give *g, bool tick)
{
    unsigned act = 0;
    if (g->linked && g->sent < give_limit(g)) {
        act |= GIVE_DO_SEND;
    }
    if (g->state == GIVE_COPYING && g->caught_up && g->linked && g->taken == g->made) {
        g->state = GIVE_FRESH;
        return act | GIVE_DO_READY;
    }
    if (g->state == GIVE_COPYING && !g->caught_up && g->rounds > STATE_ROUNDS_MAX) {
        g->state = GIVE_FAILED; /* H6; PROTOCOL H27 */
        return act | GIVE_DO_FAIL;
    }
    bool room = g->linked && !g->asked && give_limit(g) == g->made; /* H3 */
    bool copies = g->state == GIVE_COPYING || g->state == GIVE_FRESH;
    bool again = g->state == GIVE_FRESH && g->copies && tick && g->taken == g->made;
    if (room && copies && (!g->caught_up || again)) {
        g->asked = true;
        act |= GIVE_DO_SLICE;
    }
    return act;
}

unsigned give_step(struct give *g, const struct give_event *in)
{
    unsigned act = 0;
    if (g->state == GIVE_GIVEN || g->state == GIVE_FAILED) {
        return 0;
    }
    switch (in->kind) {
    case GIVE_IN_START:
        act = GIVE_DO_ASK;
        g->copies = in->more;
        g->caught_up = !in->more;
        break;
    case GIVE_IN_ACK:
        act = take_ack(g, in);
        break;
    case GIVE_IN_REFUSED:
        if (g->state == GIVE_COPYING) {
            g->state = GIVE_FAILED;
            return GIVE_DO_FAIL;
        }
        act = take_ack(g, in) | (g->state == GIVE_FRESH ? GIVE_DO_FAIL : 0); /* H5 */
        break;
    case GIVE_IN_UNLINKED:
        g->linked = false;
        return 0;
    case GIVE_IN_SLICE:
        act = take_slice(g, in);
        break;
    case GIVE_IN_TICK:
        break;
    case GIVE_IN_FINAL:
        assert(g->state == GIVE_FRESH); /* there is no GO before READY */
        g->state = GIVE_CUT;            /* H4 */
        g->made += in->count;
        break;
    }
    return act | go_on(g, in->kind == GIVE_IN_TICK);
}

enum take_verdict take_message(struct take_over *t, uint64_t number, bool final)
{
    if (t->state != TAKE_STAGING || number != t->expected) {
        return TAKE_DROP; /* H2 */
    }
    t->expected++;
    if (final) {
        t->state = TAKE_STAGED;
    }
    return TAKE_ACCEPT;
}

void take_imported(struct take_over *t)
{
    assert(t->state == TAKE_STAGED);
    t->state = TAKE_IMPORTED;
}
