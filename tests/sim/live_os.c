/* tests/sim/live_os.c - executors, links, loop, helper threads and clock as steps of one thread. */
#include "tests/sim/live_os.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "net/frame.h"
#include "worker/frame.h"
#include "worker/chain.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { DUE_MAX = 512, ENDS_MAX = 4096, POSTS_MAX = 4096, TIMERS_MAX = 512,
       SAID_MAX = 4096, WORKERS_HERE = 8 };

struct executor { int nothing; };
struct executors { struct executor one; };
struct link_out { uint32_t worker; };
struct link_in { int nothing; };
struct links { uint32_t worker; };
struct timer {
    void (*fn)(void *arg);
    void *arg;
    uint64_t due_us, every_us; /* due_us 0: stopped */
    struct timer *next;
};
struct said {
    uint32_t to;
    enum msg_kind kind;
    struct strbuf bytes;
};

struct timer_entry {
    struct task *task;
    void *who;
    uint64_t id, due_us;
};

static struct {
    struct prng r;
    uint64_t now_ns;
    struct task *running;
    struct task *due[DUE_MAX];
    size_t due_count;
    struct timer_entry timers[TIMERS_MAX];
    size_t timer_count;
    struct channel *outs[ENDS_MAX], *ins[ENDS_MAX];
    size_t out_count, in_count;
    struct { void (*fn)(void *arg); void *arg; } posts[POSTS_MAX];
    size_t post_first, post_count;
    struct executors executors;
    struct link_out outs_of[WORKERS_HERE];
    struct links links[WORKERS_HERE];
    struct link_in in;
    struct timer *clocks;
    struct said said[SAID_MAX];
    size_t said_first, said_count;
} os; /* one simulated machine room per process */

void live_os_reset(uint64_t seed)
{
    os.r = (struct prng){seed};
    os.due_count = os.timer_count = os.out_count = os.in_count = 0;
    os.post_first = os.post_count = 0;
    for (uint32_t k = 0; k < WORKERS_HERE; k++) {
        os.outs_of[k].worker = os.links[k].worker = k;
    }
    for (; os.said_count > 0; os.said_count--) { /* of a run that was broken off */
        strbuf_fini(&os.said[os.said_first].bytes);
        os.said_first = (os.said_first + 1) % SAID_MAX;
    }
}

static void must(bool ok)
{
    if (!ok) {
        abort(); /* a limit of this file */
    }
}

/* ---------------------------------------------------------------- clock, loop, helper threads */

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    os.now_ns += 1000 + prng_below(&os.r, 200000); /* now and then a batch has lingered */
    *t = (struct timespec){(time_t)(os.now_ns / 1000000000u), (long)(os.now_ns % 1000000000u)};
    return 0;
}

void __wrap_loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
void __wrap_loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    (void)l;
    must(os.post_count < POSTS_MAX);
    size_t at = (os.post_first + os.post_count++) % POSTS_MAX;
    os.posts[at].fn = fn;
    os.posts[at].arg = arg;
}

bool live_post_step(void)
{
    if (os.post_count == 0) {
        return false;
    }
    size_t at = os.post_first;
    os.post_first = (os.post_first + 1) % POSTS_MAX;
    os.post_count--;
    os.posts[at].fn(os.posts[at].arg);
    return true;
}

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    (void)a;
    *out = pthread_self();
    fn(arg); /* a helper touches only what it builds: when it runs makes no difference */
    return 0;
}

int __wrap_pthread_join(pthread_t t, void **result);
int __wrap_pthread_join(pthread_t t, void **result)
{
    (void)t;
    (void)result;
    return 0;
}

int __wrap_pthread_setname_np(pthread_t t, const char *name);
int __wrap_pthread_setname_np(pthread_t t, const char *name)
{
    (void)t;
    (void)name;
    return 0;
}

/* ---------------------------------------------------------------- worker/task.h */

struct executor *executors_place(struct executors *e)
{
    return &e->one;
}

struct executor *executor_new_private(void)
{
    return &os.executors.one;
}

void executor_free_private(struct executor *e)
{
    (void)e;
}

void grace_begin(struct grace *g, const struct executors *shared, struct executor *const *extra,
                 unsigned extra_count)
{
    (void)shared;
    (void)extra;
    (void)extra_count;
    g->count = 0;
}

bool grace_over(const struct grace *g)
{
    return g->count == 0; /* between two steps nobody is inside anything */
}

void task_init(struct task *t, struct executor *home)
{
    memset(t, 0, sizeof *t);
    atomic_init(&t->home, home);
}

static void enqueue(struct task *t)
{
    must(os.due_count < DUE_MAX);
    atomic_store(&t->state, TASK_QUEUED);
    os.due[os.due_count++] = t;
}

void task_notify(struct task *t)
{
    unsigned state = atomic_load(&t->state);
    if (state == TASK_IDLE) {
        enqueue(t);
    } else if (state == TASK_RUNNING) {
        atomic_store(&t->state, TASK_RUNNING_AGAIN);
    }
}

void task_notify_soon(struct task *t)
{
    task_notify(t);
}

void task_halt(struct task *t)
{
    atomic_store(&t->halt, true);
    task_notify(t);
}

size_t live_tasks_due(void)
{
    return os.due_count;
}

const struct task *live_running(void)
{
    return os.running;
}

bool live_task_step(struct prng *r)
{
    if (os.due_count == 0) {
        return false;
    }
    size_t at = prng_below(r, os.due_count);
    struct task *t = os.due[at];
    os.due[at] = os.due[--os.due_count];
    atomic_store(&t->state, TASK_RUNNING);
    os.running = t;
    enum task_after after = t->run(t);
    os.running = NULL;
    if (after == AFTER_DEAD) {
        atomic_store(&t->state, TASK_DEAD);
        t->on_dead(t);
    } else if (after == AFTER_AGAIN || atomic_load(&t->state) == TASK_RUNNING_AGAIN) {
        enqueue(t);
    } else {
        atomic_store(&t->state, TASK_IDLE);
    }
    return true;
}

void task_hold(struct task *t)
{
    t->held = true;
}

void task_release(struct task *t)
{
    t->held = false;
}

/* ---------------------------------------------------------------- timers */

void task_timer_clear(struct task *t, void *who, uint64_t id)
{
    for (size_t i = 0; i < os.timer_count; i++) {
        struct timer_entry *x = &os.timers[i];
        if (x->task == t && x->who == who && x->id == id) {
            *x = os.timers[--os.timer_count];
            return;
        }
    }
}

void task_timer_set(struct task *t, void *who, uint64_t id, uint64_t due_us)
{
    task_timer_clear(t, who, id);
    must(os.timer_count < TIMERS_MAX);
    os.timers[os.timer_count++] = (struct timer_entry){t, who, id, due_us};
}

int task_watch(struct task *t, void *who, int fd, uint32_t events)
{
    (void)t;
    (void)who;
    (void)fd;
    (void)events;
    abort(); /* no PE here has descriptors */
}

struct task_arm *task_disarm(struct task *t, void *who, size_t *count)
{
    struct task_arm *list = mem_array(os.timer_count, sizeof *list);
    *count = 0;
    for (size_t i = os.timer_count; i-- > 0;) {
        if (os.timers[i].task == t && os.timers[i].who == who) {
            list[(*count)++] = (struct task_arm){os.timers[i].id, os.timers[i].due_us, -1, 0};
            os.timers[i] = os.timers[--os.timer_count];
        }
    }
    return list;
}

void task_rearm(struct task *t, void *who, const struct task_arm *arms, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        task_timer_set(t, who, arms[i].id, arms[i].due_us);
    }
}

void task_forget(struct task *t)
{
    for (size_t i = os.timer_count; i-- > 0;) {
        if (os.timers[i].task == t) {
            os.timers[i] = os.timers[--os.timer_count];
        }
    }
}

struct timer *__wrap_timer_new(struct loop *l, void (*fn)(void *arg), void *arg);
struct timer *__wrap_timer_new(struct loop *l, void (*fn)(void *arg), void *arg)
{
    (void)l;
    struct timer *t = mem_alloc(sizeof *t);
    *t = (struct timer){.fn = fn, .arg = arg, .next = os.clocks};
    os.clocks = t;
    return t;
}

void __wrap_timer_set(struct timer *t, uint64_t after_ms, bool repeat);
void __wrap_timer_set(struct timer *t, uint64_t after_ms, bool repeat)
{
    t->every_us = repeat ? after_ms * 1000 : 0;
    t->due_us = os.now_ns / 1000 + after_ms * 1000 + 1;
}

void __wrap_timer_stop(struct timer *t);
void __wrap_timer_stop(struct timer *t)
{
    t->due_us = 0;
}

void __wrap_timer_free(struct timer *t);
void __wrap_timer_free(struct timer *t)
{
    struct timer **at = &os.clocks;
    while (t != NULL && *at != t) {
        at = &(*at)->next;
    }
    if (t != NULL) {
        *at = t->next;
        mem_free(t);
    }
}

static bool loop_timer_step(void)
{
    struct timer *first = NULL;
    for (struct timer *t = os.clocks; t != NULL; t = t->next) {
        if (t->due_us != 0 && (first == NULL || t->due_us < first->due_us)) {
            first = t;
        }
    }
    if (first == NULL) {
        return false;
    }
    os.now_ns = os.now_ns > first->due_us * 1000 ? os.now_ns : first->due_us * 1000;
    first->due_us = first->every_us != 0 ? os.now_ns / 1000 + first->every_us : 0;
    first->fn(first->arg);
    return true;
}

bool live_timer_step(void)
{
    if (loop_timer_step()) {
        return true;
    }
    size_t first = os.timer_count;
    for (size_t i = 0; i < os.timer_count; i++) {
        if (!os.timers[i].task->held &&
            (first == os.timer_count || os.timers[i].due_us < os.timers[first].due_us)) {
            first = i;
        }
    }
    if (first == os.timer_count) {
        return false;
    }
    struct timer_entry x = os.timers[first];
    os.timers[first] = os.timers[--os.timer_count];
    os.now_ns = os.now_ns > x.due_us * 1000 ? os.now_ns : x.due_us * 1000;
    x.task->on_timer(x.task, x.who, x.id);
    return true;
}

/* ---------------------------------------------------------------- worker/link.h */

struct link_out *links_out(struct links *ls, const char *name, uint64_t incarnation,
                           const char *address, struct fail *f)
{
    (void)ls;
    (void)incarnation;
    (void)address;
    (void)f;
    return &os.outs_of[name[1] - '0'];
}

void link_out_hold(struct link_out *o)
{
    (void)o;
}

void link_out_release(struct link_out *o)
{
    (void)o;
}

static void say(uint32_t to, const struct msg *m)
{
    must(os.said_count < SAID_MAX);
    struct said *s = &os.said[(os.said_first + os.said_count++) % SAID_MAX];
    *s = (struct said){.to = to, .kind = m->kind};
    must(msg_encode(m, &s->bytes) == ERR_OK);
}

bool link_out_say(struct link_out *o, const struct msg *m)
{
    say(o->worker, m);
    return true;
}

bool links_answer(struct links *ls, const char *name, uint64_t incarnation, const struct msg *m)
{
    (void)ls;
    (void)incarnation;
    say((uint32_t)(name[1] - '0'), m);
    return true;
}

struct links *live_links(uint32_t worker)
{
    return &os.links[worker];
}

bool live_say_step(void (*deliver)(uint32_t worker, struct msg *m))
{
    if (os.said_count == 0) {
        return false;
    }
    struct said s = os.said[os.said_first];
    os.said_first = (os.said_first + 1) % SAID_MAX;
    os.said_count--;
    struct msg m;
    struct fail f;
    must(msg_decode(s.kind, s.bytes.data + FRAME_HEAD_BYTES, s.bytes.bytes - FRAME_HEAD_BYTES, &m,
                    &f) == ERR_OK);
    deliver(s.to, &m);
    msg_free(&m);
    strbuf_fini(&s.bytes);
    return true;
}

struct link_in *links_in(struct links *ls, const char *name, uint64_t incarnation)
{
    (void)ls;
    (void)name;
    (void)incarnation;
    return &os.in;
}

bool link_out_is_open(const struct link_out *o)
{
    (void)o;
    return true;
}

const char *link_out_name(const struct link_out *o)
{
    (void)o;
    return "peer";
}

void link_out_add(struct link_out *o, struct channel *c)
{
    must(os.out_count < ENDS_MAX);
    c->out = o;
    os.outs[os.out_count++] = c;
}

void link_in_add(struct link_in *i, struct channel *c)
{
    must(os.in_count < ENDS_MAX);
    c->in = i;
    os.ins[os.in_count++] = c;
}

static void take_off(struct channel **list, size_t *count, const struct channel *c)
{
    for (size_t i = 0; i < *count; i++) {
        if (list[i] == c) {
            list[i] = list[--*count];
            return;
        }
    }
}

void link_remove(struct channel *c)
{
    take_off(os.outs, &os.out_count, c);
    take_off(os.ins, &os.in_count, c);
    c->out = NULL;
    c->in = NULL;
}

bool link_out_drained(const struct channel *c)
{
    bool last = atomic_load(&c->ledger.end_sent) || atomic_load(&c->ledger.close_sent);
    return last && ring_used(&c->ring) == 0;
}

void link_out_notify(struct channel *c)
{
    (void)c; /* every link is looked at by chance */
}

void link_in_notify(struct channel *c)
{
    (void)c;
}

static bool move_item(struct channel *out)
{
    struct item *it = ring_peek(&out->ring);
    for (size_t i = 0; it != NULL && i < os.in_count; i++) {
        struct channel *in = os.ins[i];
        if (in->id != out->id) {
            continue;
        }
        struct item copy = *it; /* the frame may be in the sender's log as well */
        copy.frame = NULL;
        copy.batch = it->frame->batch != NULL ? batch_share(it->frame->batch) : NULL;
        if (!ring_push(&in->ring, &copy, RING_BATCHES)) {
            if (copy.batch != NULL) {
                batch_free(copy.batch);
            }
            return false;
        }
        frame_free(it->frame);
        ring_drop(&out->ring);
        channel_taken(out);
        instance_notify(in->to);
        return true;
    }
    return false;
}

bool live_link_step(struct prng *r)
{
    size_t first = os.out_count > 0 ? prng_below(r, os.out_count) : 0;
    for (size_t k = 0; k < os.out_count; k++) {
        if (move_item(os.outs[(first + k) % os.out_count])) {
            return true;
        }
    }
    return false;
}
