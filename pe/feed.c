/* pe/feed.c - feeds and collectors: tuples that enter and leave topologies by function calls.
 *
 * Owns:       struct oxb_feed, struct collector; both live as long as the process, as types do.
 * Threads:    oxb_feed_*: one thread of the program.  The callbacks: the instance's thread.  They
 *             meet at the feed's mutex (leaf, but for the host's wake, which takes none of ours).
 * Invariants: O1 at most FEED_BATCHES batches wait; the program blocks when they do.
 *             O2 one instance at a time is attached, from start to stop.
 * Why:        after a stop the program waits FEED_RESTART_MS for the next instance, since a change
 *             of the topology replaces the instance; only then does it hear that all is over.
 * See:        pe/pe.h (embedding), tests/unit/pe/feed_test.c */
#include "core/clock.h"
#include "core/mem.h"
#include "pe/instance.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define FEED_BATCHES 8u
#define FEED_RESTART_MS 10000
#define FEED_POOL_BYTES (4u << 20)

struct oxb_feed {
    struct oxb_pe_type type;   /* first: a callback finds the feed by its type */
    struct oxb_port outputs[2];
    const struct oxb_schema *schema;
    struct pool *pool;
    struct builder rows;       /* the program's thread */
    bool dropped;              /* the program's thread: a batch found no taker */
    pthread_mutex_t lock;
    pthread_cond_t room;       /* a place is free, or the attachment changed */
    struct batch *queue[FEED_BATCHES];
    unsigned first, count;
    bool ended;
    bool was_attached;
    struct oxb_pe *pe;         /* attached instance, or NULL */
};

struct collector {
    struct oxb_pe_type type; /* first */
    void (*fn)(void *arg, const struct oxb_batch *batch);
    void *arg;
};

static int feed_start(struct oxb_pe *pe);
static int feed_produce(struct oxb_pe *pe, uint32_t rows_max);
static void feed_stop(struct oxb_pe *pe);
static void feed_on_full(void *arg, struct builder *b);
static bool wait_for_room(struct oxb_feed *f);
static int collector_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in);
static int collector_finish(struct oxb_pe *pe);

struct oxb_feed *oxb_feed_new(const char *type_name, const char *schema)
{
    const struct oxb_schema *parsed;
    if (schema_parse(schema, &parsed, NULL) != ERR_OK) {
        return NULL;
    }
    struct oxb_feed *f = mem_alloc(sizeof *f);
    f->schema = parsed;
    f->outputs[0] = (struct oxb_port){"out", parsed->text, "what the program pushes"};
    f->type = (struct oxb_pe_type){
        .abi = OXB_ABI,
        .flags = OXB_SOURCE | OXB_LOCAL,
        .name = mem_dup(type_name),
        .doc = "tuples pushed by the program that hosts the worker",
        .outputs = f->outputs,
        .state_version = 1,
        .start = feed_start,
        .produce = feed_produce,
        .stop = feed_stop,
    };
    if (oxb_register(&f->type) != 0) {
        mem_free((char *)(uintptr_t)f->type.name);
        mem_free(f);
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->room, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&f->lock, NULL);
    f->pool = pool_new(FEED_POOL_BYTES);
    builder_init(&f->rows, f->pool, parsed, feed_on_full, f);
    return f;
}

struct oxb_writer *oxb_feed_writer(struct oxb_feed *f)
{
    if (f->rows.pub.rows == 0) {
        f->rows.at_us = clock_wall_us();
    }
    return &f->rows.pub;
}

int oxb_feed_flush(struct oxb_feed *f)
{
    feed_on_full(f, &f->rows);
    return f->dropped ? -1 : 0;
}

void oxb_feed_end(struct oxb_feed *f)
{
    oxb_feed_flush(f);
    pthread_mutex_lock(&f->lock);
    f->ended = true;
    if (f->pe != NULL) {
        oxb_wake(f->pe);
    }
    pthread_mutex_unlock(&f->lock);
}

/* ---- the program's side ---- */

static void feed_on_full(void *arg, struct builder *b)
{
    struct oxb_feed *f = arg;
    struct batch *batch = builder_finish(b);
    if (batch == NULL) {
        return;
    }
    if (batch->pub.at_us == 0) {
        batch->pub.at_us = clock_wall_us();
    }
    bool too_large = b->tuple_bytes_over > 0;
    b->tuple_bytes_over = 0;
    pthread_mutex_lock(&f->lock);
    f->dropped = too_large || f->ended || !wait_for_room(f);
    if (!f->dropped) {
        f->queue[(f->first + f->count++) % FEED_BATCHES] = batch;
        if (f->pe != NULL) {
            oxb_wake(f->pe);
        }
    }
    pthread_mutex_unlock(&f->lock);
    if (f->dropped) {
        batch_free(batch);
    }
}

/* wait_for_room - false: the topology has stopped and did not come back. */
static bool wait_for_room(struct oxb_feed *f)
{
    while (f->count == FEED_BATCHES) { /* O1 */
        if (f->pe != NULL || !f->was_attached) {
            pthread_cond_wait(&f->room, &f->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += FEED_RESTART_MS / 1000;
        while (f->pe == NULL) {
            if (pthread_cond_timedwait(&f->room, &f->lock, &until) != 0 && f->pe == NULL) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the instance's side ---- */

static struct oxb_feed *feed_of(struct oxb_pe *pe)
{
    return (struct oxb_feed *)(uintptr_t)pe_type(pe);
}

static int feed_start(struct oxb_pe *pe)
{
    struct oxb_feed *f = feed_of(pe);
    if (oxb_out_schema(pe, 0) != f->schema) {
        return oxb_fail(pe, "the feed writes `%.200s`, not what the topology declares",
                        f->schema->text);
    }
    pthread_mutex_lock(&f->lock);
    bool taken = f->pe != NULL; /* O2 */
    if (!taken) {
        f->pe = pe;
        f->was_attached = true;
        pthread_cond_broadcast(&f->room);
    }
    pthread_mutex_unlock(&f->lock);
    return taken ? oxb_fail(pe, "a feed has one instance; use parallelism 1") : OXB_OK;
}

static int feed_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct oxb_feed *f = feed_of(pe);
    uint32_t rows = 0;
    int result = OXB_OK;
    while (rows < rows_max && result == OXB_OK) {
        struct batch *batch = NULL;
        pthread_mutex_lock(&f->lock);
        if (f->count > 0) {
            batch = f->queue[f->first];
            f->first = (f->first + 1) % FEED_BATCHES;
            f->count--;
            pthread_cond_signal(&f->room);
        } else {
            result = f->ended ? OXB_END : OXB_IDLE;
        }
        pthread_mutex_unlock(&f->lock);
        if (batch != NULL) {
            rows += batch->pub.live;
            emit_batch(pe, 0, batch);
        }
    }
    return result;
}

static void feed_stop(struct oxb_pe *pe)
{
    struct oxb_feed *f = feed_of(pe);
    pthread_mutex_lock(&f->lock);
    if (f->pe == pe) {
        f->pe = NULL;
        pthread_cond_broadcast(&f->room);
    }
    pthread_mutex_unlock(&f->lock);
}

/* ---- collectors ---- */

int oxb_collector_new(const char *type_name,
                      void (*fn)(void *arg, const struct oxb_batch *batch), void *arg)
{
    struct collector *c = mem_alloc(sizeof *c);
    c->fn = fn;
    c->arg = arg;
    c->type = (struct oxb_pe_type){
        .abi = OXB_ABI,
        .flags = OXB_LOCAL | OXB_EFFECTS | OXB_MERGES,
        .name = mem_dup(type_name),
        .doc = "calls a function of the program that hosts the worker",
        .state_version = 1,
        .process = collector_process,
        .finish = collector_finish,
    };
    if (oxb_register(&c->type) != 0) {
        mem_free((char *)(uintptr_t)c->type.name);
        mem_free(c);
        return -1;
    }
    return 0;
}

static int collector_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    struct collector *c = (struct collector *)(uintptr_t)pe_type(pe);
    c->fn(c->arg, in);
    return OXB_OK;
}

static int collector_finish(struct oxb_pe *pe)
{
    struct collector *c = (struct collector *)(uintptr_t)pe_type(pe);
    c->fn(c->arg, NULL);
    return OXB_OK;
}
