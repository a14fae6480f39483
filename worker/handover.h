/* worker/handover.h - one move of state between two workers, as pure machines: who may send, ask,
 * be ready, be done.
 *
 *   giver  COPYING -(caught up, and the peer has all of it)-> FRESH -(its cut)-> CUT
 *          -(the taker has imported)-> GIVEN;   COPYING also -> FAILED
 *   taker  STAGING -(the last message)-> STAGED -(the instance took it in)-> IMPORTED;
 *          a message that cannot be true -> FAILED
 *
 * Threads:    none of its own; the shell (worker/moves.h) calls from the loop.
 * Invariants: H1 at most `window` messages beyond what the peer has taken in are on their way
 *                (R27); a message stays with the giver until it was.
 *             H2 the taker takes the messages 0, 1, 2 ... in order and each once: others are
 *                dropped, and it says where it stands when it is ready to take, after every
 *                (re)connection, and when asked; who comes later of the two thus hears it.
 *             H3 COPYING, FRESH: one slice is asked for at a time, and none while messages wait.
 *             H4 the last message is made once, at the cut, after everything else.
 *             H5 no way leads from FRESH or CUT to FAILED, for READY was said and GO may be on its
 *                way: who is refused says so and goes on, so that the taker gets the last message
 *                and fails, and the topology with it, instead of waiting for ever.
 *             H6 who cannot be caught up with in STATE_ROUNDS_MAX rounds is cut with what is left,
 *                if that is little, or not at all. */
#ifndef OXB_WORKER_HANDOVER_H
#define OXB_WORKER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

enum give_state { GIVE_COPYING, GIVE_FRESH, GIVE_CUT, GIVE_GIVEN, GIVE_FAILED };

struct give {
    enum give_state state;
    bool linked;      /* the peer has said where it stands */
    bool copies;      /* there is keyed state to copy */
    bool asked;       /* a slice is being told */
    bool caught_up;   /* the last slice said: nothing more at that moment */
    uint64_t made;    /* messages made */
    uint64_t sent;    /* of these sent on this connection */
    uint64_t taken;   /* of these taken in by the peer */
    uint64_t window;
    unsigned rounds;  /* of the mover's, until it had caught up */
};

enum give_input {
    GIVE_IN_START,    /* there is something to copy (`more`), or only the cut to wait for */
    GIVE_IN_ACK,      /* next, resume, imported */
    GIVE_IN_REFUSED,  /* the taker cannot take it, but has heard: next */
    GIVE_IN_UNLINKED,
    GIVE_IN_SLICE,    /* count, more, rounds, behind */
    GIVE_IN_TICK,     /* STATE_ROUND_MS have passed */
    GIVE_IN_FINAL,    /* the giver has cut: count messages, the last of them the last at all */
};

struct give_event {
    enum give_input kind;
    uint64_t next, count;
    bool resume, imported, more;
    unsigned rounds;
    uint64_t behind;  /* SLICE: entries written and not told */
};

enum give_do { /* bits */
    GIVE_DO_SEND = 1,   /* messages sent .. give_limit, then set `sent` */
    GIVE_DO_SLICE = 2,  /* ask the instance for a slice */
    GIVE_DO_READY = 4,  /* the pre-copy is done */
    GIVE_DO_DONE = 8,   /* the taker has it */
    GIVE_DO_FAIL = 16,
    GIVE_DO_FORGET = 32,/* messages below `taken` are not needed any more */
    GIVE_DO_ASK = 64    /* ask the taker where it stands */
};

void give_init(struct give *g, uint64_t window);
unsigned give_step(struct give *g, const struct give_event *in); /* bits of enum give_do */
static inline uint64_t give_limit(const struct give *g)
{
    uint64_t limit = g->taken + g->window;
    return limit < g->made ? limit : g->made;
}

enum take_state { TAKE_STAGING, TAKE_STAGED, TAKE_IMPORTED, TAKE_FAILED };
enum take_verdict { TAKE_ACCEPT, TAKE_DROP };

struct take_over {
    enum take_state state;
    uint64_t expected;
};

/* take_message - a message came.  @final: it says it is the last. */
enum take_verdict take_message(struct take_over *t, uint64_t number, bool final);
void take_imported(struct take_over *t);

#endif
