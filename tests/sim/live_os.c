/* tests/sim/live_os.c - executors, links, loop, helper threads and clock as steps of one thread. */
#include "tests/sim/live_os.h"

#include "core/mem.h"
#include "worker/frame.h"
#include "worker/instance.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { DUE_MAX = 512, ENDS_MAX = 4096, POSTS_MAX = 4096, TIMERS_MAX = 512 };

struct executor { int nothing; };
struct executors { struct executor one; };
struct link_out { int nothing; };
struct link_in { int nothing; };

struct timer_entry {
    struct task *task;
    void *who;
    uint64_t id, due_us;
};

static struct {
    struct prng r;
    uint64_t now_ns;
    struct task *due[DUE_MAX];
    size_t due_count;
    struct timer_entry timers[TIMERS_MAX];
    size_t timer_count;
    struct channel *outs[ENDS_MAX], *ins[ENDS_MAX];
    size_t out_count, in_count;
    struct { void (*fn)(void *arg); void *arg; } posts[POSTS_MAX];
    size_t post_first, post_count;
    struct executors executors;
    struct link_out out;
    struct link_in in;
} os; /* one simulated machine room per process */

void live_os_reset(uint64_t seed)
{
    os.r = (struct prng){seed};
    os.due_count = os.timer_count = os.out_count = os.in_count = 0;
    os.post_first = os.post_count = 0;
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

void task_halt(struct task *t)
{
    atomic_store(&t->halt, true);
    task_notify(t);
}

size_t live_tasks_due(void)
{
    return os.due_count;
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
    enum task_after after = t->run(t);
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

bool live_timer_step(void)
{
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
    (void)name;
    (void)incarnation;
    (void)address;
    (void)f;
    return &os.out;
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
        struct item copy = *it;
        copy.frame = NULL;
        copy.batch = it->frame->batch;
        if (!ring_push(&in->ring, &copy)) {
            return false;
        }
        it->frame->batch = NULL;
        frame_free(it->frame);
        ring_drop(&out->ring);
        channel_taken(out);
        task_notify(instance_task(in->to));
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
