/* tests/unit/worker/handover_test.c - the two machines of a move, on a network that cuts.
 *
 * Goal:   H1-H5 of worker/handover.h: whatever is cut and whoever is there first, the taker takes
 *         every
 *         message once and in order, nobody is ready before all of it was taken in, and it ends.
 * Method: giver, taker and a FIFO in both directions; the next thing to happen is drawn by a seed.
 *         */
#include "core/limits.h"
#include "core/prng.h"
#include "worker/handover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { WIRE = 4096, WINDOW = 4 };

struct ack {
    uint64_t next;
    bool resume, imported;
};

struct world {
    struct prng rng;
    struct give give;
    struct take_over take;
    bool started, expects;      /* giver's and taker's worker are prepared */
    bool up, noticed;           /* connection; the giver's side knows it is down */
    bool sliced, ready, done, failed;
    unsigned slices, ticks;
    uint64_t final;             /* number of the last message; 0: not made */
    uint64_t there[WIRE];       /* on the way to the taker; UINT64_MAX: where do you stand? */
    unsigned there_first, there_count;
    struct ack back[WIRE];
    unsigned back_first, back_count;
    uint64_t taken;             /* messages taken, for the check */
};

static void put(struct world *w, uint64_t number)
{
    assert_true(w->there_first + w->there_count < WIRE);
    w->there[w->there_first + w->there_count++] = number;
}

static void answer(struct world *w, bool resume)
{
    assert_true(w->back_first + w->back_count < WIRE);
    if (w->up) {
        w->back[w->back_first + w->back_count++] =
            (struct ack){w->take.expected, resume, w->take.state == TAKE_IMPORTED};
    }
}

static void perform(struct world *w, unsigned act)
{
    if ((act & GIVE_DO_ASK) != 0 && w->up) {
        put(w, UINT64_MAX);
    }
    if ((act & GIVE_DO_SEND) != 0 && w->up) {
        while (w->give.sent < give_limit(&w->give)) {
            assert_true(w->give.sent < w->give.taken + WINDOW); /* H1 */
            put(w, w->give.sent++);
        }
    }
    w->sliced = w->sliced || (act & GIVE_DO_SLICE) != 0;
    w->failed = w->failed || (act & GIVE_DO_FAIL) != 0;
    if ((act & GIVE_DO_READY) != 0) {
        assert_false(w->ready);
        assert_int_equal(w->take.expected, w->give.made);
        w->ready = true;
    }
    w->done = w->done || (act & GIVE_DO_DONE) != 0;
}

static void event(struct world *w, struct give_event in)
{
    perform(w, give_step(&w->give, &in));
}

static void deliver(struct world *w)
{
    uint64_t number = w->there[w->there_first++];
    w->there_count--;
    if (!w->expects) {
        return;
    }
    if (number == UINT64_MAX) {
        answer(w, true);
        return;
    }
    bool final = w->final != 0 && number == w->final;
    if (take_message(&w->take, number, final) == TAKE_ACCEPT) {
        assert_int_equal(number, w->taken); /* H2 */
        w->taken++;
        answer(w, false);
    }
}

static void reconnect(struct world *w)
{
    w->there_first = w->there_count = w->back_first = w->back_count = 0;
    w->up = true;
    if (w->expects) {
        answer(w, true);
    }
}

static void slice(struct world *w, bool endless, uint64_t behind)
{
    w->sliced = false;
    w->slices++;
    event(w, (struct give_event){.kind = GIVE_IN_SLICE,
                                 .count = prng_below(&w->rng, 4),
                                 .more = endless || w->slices < 30,
                                 .rounds = endless ? w->slices : 1,
                                 .behind = behind});
}

/* One thing happens. */
static void turn(struct world *w, bool cuts, bool endless, uint64_t behind)
{
    switch (prng_below(&w->rng, 10)) {
    case 0:
        if (!w->started) {
            w->started = true;
            event(w, (struct give_event){.kind = GIVE_IN_START, .more = true});
        }
        break;
    case 1:
        if (!w->expects) {
            w->expects = true;
            answer(w, true);
        }
        break;
    case 2:
        if (cuts && w->up && prng_below(&w->rng, 10) == 0) {
            w->up = false;
            w->there_count = w->back_count = 0;
        } else if (!w->up) {
            event(w, (struct give_event){.kind = GIVE_IN_UNLINKED});
            reconnect(w);
        }
        break;
    case 3:
        if (w->sliced) {
            slice(w, endless, behind);
        }
        break;
    case 4:
        if (w->started) {
            w->ticks++;
            event(w, (struct give_event){.kind = w->up ? GIVE_IN_TICK : GIVE_IN_UNLINKED});
        }
        break;
    case 5:
        if (w->ready && w->final == 0 && !w->sliced) {
            w->final = w->give.made + 2;
            event(w, (struct give_event){.kind = GIVE_IN_FINAL, .count = 3});
        }
        break;
    case 6:
        if (w->take.state == TAKE_STAGED) {
            take_imported(&w->take);
            answer(w, false);
        }
        break;
    case 7:
        if (w->back_count > 0 && w->started) {
            struct ack a = w->back[w->back_first++];
            w->back_count--;
            event(w, (struct give_event){.kind = GIVE_IN_ACK, .next = a.next, .resume = a.resume,
                                         .imported = a.imported});
        } else if (w->back_count > 0) {
            w->back_first++; /* the giver's worker knows of no move yet */
            w->back_count--;
        }
        break;
    default:
        if (w->there_count > 0) {
            deliver(w);
        }
        break;
    }
    if (w->there_count == 0) {
        w->there_first = 0;
    }
    if (w->back_count == 0) {
        w->back_first = 0;
    }
}

static void run(uint64_t seed, bool cuts)
{
    struct world w = {.rng = {seed}, .up = true};
    give_init(&w.give, WINDOW);
    for (unsigned n = 0; n < 200000 && !w.done; n++) {
        turn(&w, cuts, false, 0);
        assert_false(w.failed);
    }
    assert_true(w.done); /* it ends */
    assert_int_equal(w.give.state, GIVE_GIVEN);
    assert_int_equal(w.taken, w.give.made);
    assert_int_equal(w.taken, w.final + 1);
}

static void every_message_is_taken_once_and_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        run(seed, false);
    }
}

static void whatever_is_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        run(seed, true);
    }
}

static void who_cannot_be_caught_up_with_fails(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct world w = {.rng = {seed}, .up = true};
        give_init(&w.give, WINDOW);
        for (unsigned n = 0; n < 200000 && !w.failed; n++) {
            turn(&w, true, true, STATE_BEHIND_MAX + 1);
        }
        assert_true(w.failed);
        assert_false(w.ready);
        assert_in_range(w.slices, STATE_ROUNDS_MAX, STATE_ROUNDS_MAX + 1);
    }
}

static void who_is_little_behind_is_cut_all_the_same(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct world w = {.rng = {seed}, .up = true};
        give_init(&w.give, WINDOW);
        for (unsigned n = 0; n < 200000 && !w.done; n++) {
            turn(&w, true, true, STATE_BEHIND_MAX);
            assert_false(w.failed);
        }
        assert_true(w.done);
        assert_int_equal(w.taken, w.final + 1);
    }
}

static void a_refusal_counts_before_the_cut_only(void **state)
{
    (void)state;
    struct give g;
    const struct give_event refused = {.kind = GIVE_IN_REFUSED};
    give_init(&g, WINDOW);
    assert_int_equal(give_step(&g, &refused), GIVE_DO_FAIL);
    assert_int_equal(g.state, GIVE_FAILED);
    give_init(&g, WINDOW);
    g.state = GIVE_CUT;
    assert_int_equal(give_step(&g, &refused), 0); /* H5 */
    assert_int_equal(g.state, GIVE_CUT);
}

/* Refused after READY, before GO: the last message still comes through, whatever the window. */
static void who_is_refused_when_ready_still_says_all_at_its_cut(void **state)
{
    (void)state;
    struct give g = {.state = GIVE_FRESH, .linked = true, .caught_up = true, .window = WINDOW};
    struct give_event slice = {.kind = GIVE_IN_SLICE, .count = 1};
    assert_int_equal(give_step(&g, &slice), GIVE_DO_SEND);
    g.sent = g.made;
    struct give_event refused = {.kind = GIVE_IN_REFUSED, .next = 1};
    assert_int_equal(give_step(&g, &refused), GIVE_DO_FAIL | GIVE_DO_FORGET);
    assert_int_equal(g.state, GIVE_FRESH);
    struct give_event last = {.kind = GIVE_IN_FINAL, .count = 3 * WINDOW};
    assert_int_equal(give_step(&g, &last), GIVE_DO_SEND);
    assert_int_equal(g.state, GIVE_CUT);
    while (g.sent < g.made) {
        g.sent = give_limit(&g);
        refused.next = g.sent;
        unsigned act = give_step(&g, &refused);
        assert_int_equal(act & GIVE_DO_FAIL, 0);
        assert_true((act & GIVE_DO_SEND) != 0 || g.sent == g.made);
    }
    assert_int_equal(g.taken, g.made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_taken_once_and_in_order),
        cmocka_unit_test(whatever_is_cut),
        cmocka_unit_test(who_cannot_be_caught_up_with_fails),
        cmocka_unit_test(who_is_little_behind_is_cut_all_the_same),
        cmocka_unit_test(a_refusal_counts_before_the_cut_only),
        cmocka_unit_test(who_is_refused_when_ready_still_says_all_at_its_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
