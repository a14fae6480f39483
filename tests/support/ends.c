/* tests/support/ends.c - channel ends that count their wake-ups, for tests of worker/. */
#include "tests/support/ends.h"

#include "core/prng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static struct end *end_of(struct task *t)
{
    return (struct end *)((char *)t - offsetof(struct end, chain.task));
}

static enum task_after run(struct task *t)
{
    sem_post(&end_of(t)->woken);
    return atomic_load(&t->halt) ? AFTER_DEAD : AFTER_IDLE;
}

static void on_dead(struct task *t)
{
    sem_post(&end_of(t)->dead);
}

void end_init(struct end *e, struct executors *executors)
{
    memset(e, 0, sizeof *e);
    sem_init(&e->woken, 0, 0);
    sem_init(&e->dead, 0, 0);
    e->instance.chain = &e->chain;
    e->instance.pe_name = (struct name){.text = "end"};
    task_init(&e->chain.task, executors_place(executors));
    e->chain.task.run = run;
    e->chain.task.on_dead = on_dead;
}

static void wait_for(sem_t *sem)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int failed;
    do {
        failed = sem_timedwait(sem, &until);
    } while (failed != 0 && errno == EINTR);
    assert_int_equal(failed, 0);
}

void end_fini(struct end *e)
{
    task_halt(&e->chain.task);
    wait_for(&e->dead);
    sem_destroy(&e->woken);
    sem_destroy(&e->dead);
}

void end_wait_woken(struct end *e)
{
    wait_for(&e->woken);
}

unsigned end_wakes(struct end *e)
{
    int value = 0;
    sem_getvalue(&e->woken, &value);
    return (unsigned)value;
}

const struct oxb_schema *ends_schema(void)
{
    const struct oxb_schema *s = NULL;
    assert_int_equal(schema_parse(ENDS_SCHEMA, &s, NULL), ERR_OK);
    return s;
}

static int64_t key_of(int64_t seq, int64_t keys)
{
    return (int64_t)(((uint64_t)seq * UINT64_C(0x9E3779B97F4A7C15) >> 33) % (uint64_t)keys);
}

struct batch *ends_batch(struct pool *p, int64_t first, uint32_t live, int64_t keys, bool selected)
{
    struct builder b;
    builder_init(&b, p, ends_schema(), NULL, NULL);
    uint16_t sel[BATCH_ROWS_MAX];
    uint32_t step = selected && live * 2 <= BATCH_ROWS_MAX ? 2 : 1;
    for (uint32_t i = 0; i < live * step; i++) {
        bool dead = i % step != 0;
        int64_t seq = dead ? -1 : first + i / step;
        int64_t key = dead ? -1 : key_of(seq, keys);
        char text[32];
        int len = snprintf(text, sizeof text, "n%lld", (long long)key);
        uint32_t r = oxb_row(&b.pub);
        oxb_put_i64(&b.pub, 0, r, seq);
        oxb_put_i64(&b.pub, 1, r, key);
        oxb_put_str(&b.pub, 2, r, text, (uint32_t)len);
        oxb_commit(&b.pub);
        sel[i / step] = (uint16_t)(i - i % step);
    }
    struct batch *out = builder_finish(&b);
    builder_fini(&b);
    if (step > 1) {
        batch_narrow(out, sel, live);
    }
    return out;
}

void ends_check(const struct batch *b, int64_t keys)
{
    OXB_EACH (&b->pub, i) {
        int64_t seq = oxb_i64s(&b->pub, 0)[i];
        int64_t key = oxb_i64s(&b->pub, 1)[i];
        char text[32];
        int len = snprintf(text, sizeof text, "n%lld", (long long)key);
        struct oxb_str name = oxb_str_at(&b->pub, 2, i);
        assert_true(seq >= 0);
        assert_int_equal(key, key_of(seq, keys));
        assert_int_equal(name.len, len);
        assert_memory_equal(name.p, text, name.len);
    }
}

struct channel *ends_channel(uint64_t id, struct pool *p, struct end *from, struct end *to)
{
    struct channel *c = channel_new(id, CHANNEL_LOCAL, ends_schema(), p);
    c->from = &from->instance;
    c->to = &to->instance;
    return c;
}

bool ends_take(struct channel *c, struct item *out)
{
    struct item *it = ring_peek(&c->ring);
    if (it == NULL) {
        return false;
    }
    *out = *it;
    ring_drop(&c->ring);
    channel_taken(c);
    return true;
}
