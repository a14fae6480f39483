/* master/change.c - the coordinator of one change of a topology: the table and its actions. */
#include "master/change.h"

#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>

typedef void run_fn(struct change *c, struct change_part *part, struct change_actions *out);

struct transition {
    enum change_verdict verdict; /* absent rows are VERDICT_IGNORED */
    enum change_state to;
    run_fn *run;
};

static run_fn send_prepare, prepare_again, wait_again, ask_decision, send_abort, abort_again,
    send_go, go_again, say_done, say_aborted, say_recover;

#define TO(state, run) {VERDICT_TAKEN, CHANGE_##state, run}
#define NEVER {VERDICT_ILLEGAL, CHANGE_PLANNED, NULL} /* our own shell would have to be wrong */

static const struct transition table[CHANGE_STATES][CHANGE_TRIGGERS] = {
    [CHANGE_PLANNED] = {
        [TRIGGER_START] = TO(PREPARING, send_prepare),
        [TRIGGER_LOST] = TO(ABORTED, say_aborted),
        [TRIGGER_CANCEL] = TO(ABORTED, say_aborted),
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_PREPARING] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_READY] = TO(PREPARING, NULL),
        [TRIGGER_ALL_READY] = TO(READY, ask_decision),
        [TRIGGER_NOT_READY] = TO(ABORTED, send_abort),
        [TRIGGER_DEADLINE] = TO(ABORTED, send_abort),
        [TRIGGER_LOST] = TO(ABORTED, send_abort),
        [TRIGGER_BACK] = TO(PREPARING, prepare_again),
        [TRIGGER_CANCEL] = TO(ABORTED, send_abort),
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_READY] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_DECIDED] = TO(GOING, send_go), /* point of no return */
        [TRIGGER_UNDECIDABLE] = TO(ABORTED, send_abort),
        [TRIGGER_NOT_READY] = TO(ABORTED, send_abort), /* any more: state that is not taken in */
        [TRIGGER_LOST] = TO(ABORTED, send_abort),
        [TRIGGER_BACK] = TO(PREPARING, wait_again), /* the decision waits for a checkpoint */
        [TRIGGER_CANCEL] = TO(ABORTED, send_abort),
    },
    [CHANGE_DECIDED] = {
        [TRIGGER_START] = TO(GOING, send_go),
        [TRIGGER_DONE] = TO(DECIDED, NULL),
        [TRIGGER_ALL_DONE] = TO(DONE, say_done),
        [TRIGGER_LOST] = TO(RECOVERING, say_recover),
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_GOING] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_DONE] = TO(GOING, NULL),
        [TRIGGER_ALL_DONE] = TO(DONE, say_done),
        [TRIGGER_DEADLINE] = TO(GOING, send_go),
        [TRIGGER_LOST] = TO(RECOVERING, say_recover),
        [TRIGGER_BACK] = TO(GOING, go_again),
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_DONE] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_ABORTED] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_BACK] = TO(ABORTED, abort_again), /* it may still hold what it prepared */
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
    [CHANGE_RECOVERING] = {
        [TRIGGER_START] = NEVER,
        [TRIGGER_DECIDED] = NEVER,
        [TRIGGER_UNDECIDABLE] = NEVER,
    },
};

static struct change_part *part_of(struct change *c, const struct change_event *in);
static bool classify(struct change *c, const struct change_event *in, struct change_part *part,
                     enum change_trigger *on);
static void set_state(struct change *c, enum change_state to);

void change_init(struct change *c, struct change_token token, const struct change_part *parts,
                 size_t part_count, enum change_state at)
{
    assert(part_count > 0);
    assert(at == CHANGE_PLANNED || at == CHANGE_DECIDED || at == CHANGE_DONE);
    *c = (struct change){.state = at,
                         .token = token,
                         .parts = mem_array(part_count, sizeof *parts),
                         .part_count = part_count};
    for (size_t i = 0; i < part_count; i++) {
        c->parts[i] = parts[i];
        c->parts[i].ready = at != CHANGE_PLANNED;
        c->parts[i].done = at == CHANGE_DONE;
    }
}

void change_fini(struct change *c)
{
    mem_free(c->parts);
    *c = (struct change){0};
}

void change_actions_fini(struct change_actions *a)
{
    mem_free(a->items);
    *a = (struct change_actions){0};
}

bool change_step(struct change *c, const struct change_event *in, struct change_actions *out)
{
    struct change_part *part = part_of(c, in);
    enum change_trigger on;
    if (!classify(c, in, part, &on)) {
        c->stale++;
        return false;
    }
    const struct transition *t = &table[c->state][on];
    assert(t->verdict != VERDICT_ILLEGAL);
    if (t->verdict == VERDICT_IGNORED) {
        c->stale++;
        return false;
    }
    set_state(c, t->to);
    if (t->run != NULL) {
        t->run(c, part, out);
    }
    return true;
}

bool change_is_over(const struct change *c)
{
    return c->state == CHANGE_DONE || c->state == CHANGE_ABORTED || c->state == CHANGE_RECOVERING;
}

bool change_is_decided(const struct change *c)
{
    return c->state == CHANGE_DECIDED || c->state == CHANGE_GOING || c->state == CHANGE_DONE ||
           c->state == CHANGE_RECOVERING;
}

const char *change_state_name(enum change_state s)
{
    static const char *const names[CHANGE_STATES] = {"planned", "preparing", "ready",
                                                     "decided", "going",     "done",
                                                     "aborted", "recovering"};
    return (unsigned)s < CHANGE_STATES ? names[s] : "unknown";
}

enum change_verdict change_table(enum change_state from, enum change_trigger on,
                                 enum change_state *to)
{
    const struct transition *t = &table[from][on];
    *to = t->verdict == VERDICT_TAKEN ? t->to : from;
    return t->verdict;
}

/* ---- helpers ---- */

static bool names_a_worker(enum change_input kind)
{
    return kind == CHANGE_IN_READY || kind == CHANGE_IN_NOT_READY || kind == CHANGE_IN_DONE ||
           kind == CHANGE_IN_LOST || kind == CHANGE_IN_BACK;
}

static bool is_answer(enum change_input kind)
{
    return kind == CHANGE_IN_READY || kind == CHANGE_IN_NOT_READY || kind == CHANGE_IN_DONE;
}

static struct change_part *part_of(struct change *c, const struct change_event *in)
{
    if (!names_a_worker(in->kind)) {
        return NULL;
    }
    for (size_t i = 0; i < c->part_count; i++) {
        if (c->parts[i].worker_id == in->worker_id &&
            c->parts[i].incarnation == in->incarnation) {
            return &c->parts[i];
        }
    }
    return NULL;
}

static bool all_ready(const struct change *c)
{
    for (size_t i = 0; i < c->part_count; i++) {
        if (!c->parts[i].ready) {
            return false;
        }
    }
    return true;
}

static bool all_done(const struct change *c)
{
    for (size_t i = 0; i < c->part_count; i++) {
        if (!c->parts[i].done) {
            return false;
        }
    }
    return true;
}

/* Turn an event into a column of the table, marking the part.  false: it does not count (C3). */
static bool classify(struct change *c, const struct change_event *in, struct change_part *part,
                     enum change_trigger *on)
{
    if (names_a_worker(in->kind) && part == NULL) {
        return false;
    }
    if (is_answer(in->kind) && (in->term != c->token.term || in->op != c->token.op)) {
        return false;
    }
    switch (in->kind) {
    case CHANGE_IN_READY:
        if (c->state != CHANGE_PREPARING || part->ready) {
            return false;
        }
        part->ready = true;
        *on = all_ready(c) ? TRIGGER_ALL_READY : TRIGGER_READY;
        return true;
    case CHANGE_IN_DONE:
        if ((c->state != CHANGE_GOING && c->state != CHANGE_DECIDED) || part->done) {
            return false;
        }
        part->done = true;
        *on = all_done(c) ? TRIGGER_ALL_DONE : TRIGGER_DONE;
        return true;
    case CHANGE_IN_START:
        *on = TRIGGER_START;
        return true;
    case CHANGE_IN_NOT_READY:
        *on = TRIGGER_NOT_READY;
        return true;
    case CHANGE_IN_DEADLINE:
        *on = TRIGGER_DEADLINE;
        return true;
    case CHANGE_IN_DECIDED:
        *on = TRIGGER_DECIDED;
        return true;
    case CHANGE_IN_UNDECIDABLE:
        *on = TRIGGER_UNDECIDABLE;
        return true;
    case CHANGE_IN_LOST:
        *on = TRIGGER_LOST;
        return true;
    case CHANGE_IN_BACK:
        *on = TRIGGER_BACK;
        return true;
    case CHANGE_IN_CANCEL:
        *on = TRIGGER_CANCEL;
        return true;
    }
    return false;
}

static void set_state(struct change *c, enum change_state to)
{
    if (c->state != to) {
        log_event(LOG_INFO, "change.state", "op=%" PRIu64 " from=%s to=%s", c->token.op,
                  change_state_name(c->state), change_state_name(to));
        c->state = to;
    }
}

static void add(struct change_actions *out, enum change_do what, uint64_t worker_id)
{
    out->items = mem_grow(out->items, out->count, &out->capacity, sizeof *out->items);
    out->items[out->count++] = (struct change_action){what, worker_id};
}

static void send_prepare(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)part;
    add(out, CHANGE_DO_TIMER, 0);
    for (size_t i = 0; i < c->part_count; i++) {
        add(out, CHANGE_DO_PREPARE, c->parts[i].worker_id);
    }
}

/* A worker that was away may have lost the PREPARE, or we its READY: ask again. */
/* Only it knows whether it still holds what it had prepared: it says so once more. */
static void prepare_again(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)c;
    part->ready = false;
    add(out, CHANGE_DO_PREPARE, part->worker_id);
}

static void wait_again(struct change *c, struct change_part *part, struct change_actions *out)
{
    add(out, CHANGE_DO_TIMER, 0);
    prepare_again(c, part, out);
}

static void ask_decision(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)part;
    assert(all_ready(c)); /* C4 */
    add(out, CHANGE_DO_NO_TIMER, 0);
    add(out, CHANGE_DO_DECIDE, 0);
}

static void send_abort(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)part;
    assert(!change_is_decided(c)); /* C2 */
    for (size_t i = 0; i < c->part_count; i++) {
        add(out, CHANGE_DO_ABORT, c->parts[i].worker_id);
    }
    say_aborted(c, NULL, out);
}

static void abort_again(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)c;
    add(out, CHANGE_DO_ABORT, part->worker_id);
}

static void send_go(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)part;
    add(out, CHANGE_DO_TIMER, 0);
    for (size_t i = 0; i < c->part_count; i++) {
        if (!c->parts[i].done) {
            go_again(c, &c->parts[i], out);
        }
    }
}

static void go_again(struct change *c, struct change_part *part, struct change_actions *out)
{
    assert(change_is_decided(c)); /* C1 */
    if (!part->done) {
        add(out, CHANGE_DO_GO, part->worker_id);
    }
}

static void say_done(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)c;
    (void)part;
    add(out, CHANGE_DO_NO_TIMER, 0);
    add(out, CHANGE_DO_DONE, 0);
}

static void say_aborted(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)c;
    (void)part;
    add(out, CHANGE_DO_NO_TIMER, 0);
    add(out, CHANGE_DO_ABORTED, 0);
}

static void say_recover(struct change *c, struct change_part *part, struct change_actions *out)
{
    (void)c;
    (void)part;
    add(out, CHANGE_DO_NO_TIMER, 0);
    add(out, CHANGE_DO_RECOVER, 0);
}
