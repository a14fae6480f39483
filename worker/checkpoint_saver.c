/* worker/checkpoint_saver.c - the saver: one thread that writes what instances tell.
 *
 * Jobs:       a job whose instance has told everything is written at once, in order.  One that has
 *             more ahead than may wait is begun before that, a few at a time, and gets the thread
 *             whenever pieces of it are there: an instance that is slow to tell holds nobody up.
 * Priority:   the thread is nicer than those that run the flow, so that on a busy machine saving
 *             takes longer instead of tuples.
 * Invariants: H1-H3 of worker/checkpoint.h. */
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/checkpoint_own.h"
#include "worker/folder.h"
#include "worker/instance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE_MAX = 64, NICE = 5 };

/* ---------------------------------------------------------------- pieces */

static void pieces_free(struct save_piece *p)
{
    while (p != NULL) {
        struct save_piece *next = p->next;
        strbuf_fini(&p->bytes);
        mem_free(p);
        p = next;
    }
}

struct save_piece *saver_piece(struct saver *s)
{
    struct save_piece *p = s->spare;
    if (p == NULL) {
        return mem_alloc(sizeof *p);
    }
    s->spare = p->next;
    s->spare_count--;
    p->next = NULL;
    return p;
}

static void put_back(struct saver *s, struct save_piece *p)
{
    p->next = NULL;
    if (s->spare_count == SPARE_MAX || p->bytes.capacity > 2 * SNAPSHOT_SLICE_BYTES + 64) {
        pieces_free(p);
        return;
    }
    strbuf_clear(&p->bytes);
    p->next = s->spare;
    s->spare = p;
    s->spare_count++;
}

bool saver_has_room(struct saver *s, struct save_job *job)
{
    size_t most = s->ahead < SNAPSHOT_AHEAD_ALL ? SNAPSHOT_AHEAD_BYTES : SNAPSHOT_AHEAD_MIN;
    job->wants_room = job->ahead >= most;
    if (job->wants_room) {
        pthread_cond_signal(&s->work); /* it may have to be begun */
    }
    return !job->wants_room;
}

void saver_tell(struct saver *s, struct save_job *job, struct save_piece *piece)
{
    if (job == NULL || piece->bytes.bytes == 0) {
        put_back(s, piece);
        return;
    }
    if (job->last != NULL) {
        job->last->next = piece;
    } else {
        job->first = piece;
    }
    job->last = piece;
    job->ahead += piece->bytes.bytes;
    s->ahead += piece->bytes.bytes;
    if (job->begun) {
        pthread_cond_signal(&s->work);
    }
}

/* ---------------------------------------------------------------- results */

void save_job_free(struct save_job *job)
{
    for (unsigned n = 0; n < job->state_count; n++) {
        mem_free(job->states[n].name);
    }
    pe_snapshot_fini(&job->own);
    kept_free(job->kept, job->kept_count);
    pieces_free(job->first);
    writing_free(job->writing);
    mem_free(job->states);
    mem_free(job->uid);
    mem_free(job->location);
    mem_free(job->result.topology);
    mem_free(job->result.epochs);
    mem_free(job);
}

/* wake - instances that waited for room go on telling.  On the loop, which is who frees those that
 * have run, and their chains. */
static void wake(struct saver *s)
{
    struct save_job *job;
    do {
        struct instance *i = NULL;
        pthread_mutex_lock(&s->lock);
        job = s->wakes;
        if (job != NULL) {
            s->wakes = job->next_wake;
            job->waking = false;
            i = job->keeper != NULL ? job->instance : NULL;
        }
        pthread_mutex_unlock(&s->lock);
        if (i != NULL) {
            instance_notify(i);
        }
    } while (job != NULL);
}

static void results_on_loop(void *arg)
{
    struct saver *s = arg;
    wake(s);
    pthread_mutex_lock(&s->lock);
    struct save_job *job = s->done;
    s->done = NULL;
    pthread_mutex_unlock(&s->lock);
    while (job != NULL) {
        struct save_job *next = job->next;
        if (!job->result.is_will) {
            s->o.on_saved(s->o.arg, &job->result);
            save_job_free(job);
        } else if (s->o.on_will(s->o.arg, &job->result)) {
            job->next = s->again;
            s->again = job;
        } else {
            save_job_free(job);
        }
        job = next;
    }
}

void saver_again(struct saver *s)
{
    while (s->again != NULL) {
        struct save_job *job = s->again;
        s->again = job->next;
        job->next = NULL;
        job->result.fail = (struct fail){0};
        saver_put(s, job); /* it has all it needs: see keeper_leave */
    }
}

/* ---------------------------------------------------------------- the files that are needed */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* mark - the files from..to of the chain are needed: +1 where they begin, -1 behind them. */
static void mark(const uint64_t *chain, size_t count, const struct span *s, int *marks)
{
    const uint64_t *from = bsearch(&s->whole, chain, count, sizeof *chain, by_value);
    const uint64_t *to = bsearch(&s->newest, chain, count, sizeof *chain, by_value);
    if (from != NULL && to != NULL) {
        marks[from - chain]++;
        marks[to - chain + 1]--;
    }
}

/* extend - the chain with the job's file at its end, and without files that no group is in any
 * more.  Requires: lock. */
static void extend(struct keeper *k, const struct save_job *job)
{
    size_t count = k->chain_count, kept = 0;
    uint64_t epoch = job->result.epoch;
    k->chain = mem_resize(k->chain, count + 1, sizeof *k->chain);
    k->chain[count++] = epoch;
    int *marks = mem_array(count + 1, sizeof *marks), needed = 0;
    for (unsigned n = 0; n < job->state_count * KEY_GROUPS; n++) {
        const struct save_state *s = &job->states[n / KEY_GROUPS];
        struct span *span = &k->spans[n];
        if (s->groups[n % KEY_GROUPS]) {
            span->newest = epoch;
            span->whole = s->whole[n % KEY_GROUPS] ? epoch : span->whole;
        }
        mark(k->chain, count, span, marks);
    }
    for (size_t n = 0; n < count; n++) {
        needed += marks[n];
        if (needed > 0 || n + 1 == count) { /* what is not of the tables is in the last one */
            k->chain[kept++] = k->chain[n];
        }
    }
    k->chain_count = kept;
    mem_free(marks);
}

/* settle - the chain goes on, or ends.  Requires: lock. */
static void settle(struct saver *s, struct save_job *job)
{
    struct keeper *k = job->keeper;
    struct saved *r = &job->result;
    for (struct save_job **at = &s->wakes; job->waking; at = &(*at)->next_wake) {
        if (*at == job) {
            *at = job->next_wake;
            job->waking = false;
        }
    }
    s->ahead -= job->ahead;
    if (k == NULL) {
        if (r->is_will && r->ok) {
            r->epochs = mem_array(1, sizeof *r->epochs);
            r->epochs[r->epoch_count++] = r->epoch;
        }
        return;
    }
    k->job = NULL;
    if (!r->ok || !job->has_file) {
        k->chain_count = 0;
        return;
    }
    extend(k, job);
    r->epochs = mem_array(k->chain_count, sizeof *r->epochs);
    memcpy(r->epochs, k->chain, k->chain_count * sizeof *k->chain);
    r->epoch_count = k->chain_count;
}

/* ---------------------------------------------------------------- folders */

static void sweep_job_free(struct sweep_job *w)
{
    mem_free(w->location);
    mem_free(w->topology);
    mem_free(w->needed);
    mem_free(w);
}

/* Requires: lock; released meanwhile. */
static void sweep_folders(struct saver *s)
{
    while (s->sweeps != NULL) {
        struct sweep_job *w = s->sweeps;
        s->sweeps = w->next;
        pthread_mutex_unlock(&s->lock);
        folder_sweep(w->location, w->topology, w->needed, w->count, w->below);
        sweep_job_free(w);
        pthread_mutex_lock(&s->lock);
    }
}

void saver_sweep(struct saver *s, const char *location, const char *topology,
                 const uint64_t *needed TAKES, size_t count, uint64_t below)
{
    struct sweep_job *w = mem_alloc(sizeof *w);
    *w = (struct sweep_job){.location = mem_dup(location),
                            .topology = mem_dup(topology),
                            .needed = (uint64_t *)(uintptr_t)needed,
                            .count = count,
                            .below = below};
    pthread_mutex_lock(&s->lock);
    w->next = s->sweeps;
    s->sweeps = w;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- the thread */

static bool is_given_up(const struct save_job *job)
{
    return job->keeper == NULL && !job->all_told;
}

/* is_ready - is there something to be done for the job?  Requires: lock. */
static bool is_ready(const struct saver *s, const struct save_job *job)
{
    if (job->all_told || is_given_up(job)) {
        return true;
    }
    return job->begun ? job->first != NULL : job->wants_room && s->begun < SNAPSHOT_BEGUN_MAX;
}

/* pick - the first job that is ready, out of the list.  NULL: none.  Requires: lock. */
static struct save_job *pick(struct saver *s)
{
    struct save_job *before = NULL, *job = s->first;
    while (job != NULL && !is_ready(s, job)) {
        before = job;
        job = job->next;
    }
    if (job == NULL) {
        return NULL;
    }
    if (before != NULL) {
        before->next = job->next;
    } else {
        s->first = job->next;
    }
    s->last = job == s->last ? before : s->last;
    job->next = NULL;
    return job;
}

/* take_pieces - what was told so far; the instance may tell more.  Requires: lock. */
static struct save_piece *take_pieces(struct saver *s, struct save_job *job)
{
    struct save_piece *first = job->first;
    job->first = job->last = NULL;
    s->ahead -= job->ahead;
    job->ahead = 0;
    if (job->wants_room && job->keeper != NULL && !job->waking) {
        job->waking = true;
        job->next_wake = s->wakes;
        s->wakes = job;
    }
    job->wants_room = false;
    return first;
}

static enum err write_pieces(struct saver *s, struct save_job *job, struct save_piece *first)
{
    enum err e = job->writing == NULL ? writing_begin(s, job, &job->result.fail) : ERR_OK;
    while (first != NULL) {
        struct save_piece *p = first;
        first = p->next;
        if (e == ERR_OK) {
            e = writing_add(job, p, &job->result.fail);
        }
        pthread_mutex_lock(&s->lock);
        put_back(s, p);
        pthread_mutex_unlock(&s->lock);
    }
    return e;
}

/* work_on - write what there is of the job.  Return: it is over.  Requires: lock; released
 * meanwhile. */
static bool work_on(struct saver *s, struct save_job *job)
{
    struct saved *r = &job->result;
    bool all_told = job->all_told, bad = r->fail.code != ERR_OK, given_up = is_given_up(job);
    struct save_piece *pieces = take_pieces(s, job);
    if (!job->begun && !all_told && !bad && !given_up) {
        job->begun = true;
        s->begun++;
    }
    bool wakes = job->waking;
    pthread_mutex_unlock(&s->lock);
    if (wakes) {
        loop_post(s->o.loop, results_on_loop, s);
    }
    enum err e = r->fail.code;
    if (!bad && given_up) {
        e = fail_set(&r->fail, ERR_STALE, "", "the checkpoint was given up");
    }
    if (e == ERR_OK && job->has_file) {
        e = write_pieces(s, job, pieces);
    } else {
        pieces_free(pieces);
    }
    if (e == ERR_OK && job->has_file && all_told) {
        e = writing_end(job, &r->fail);
    }
    pthread_mutex_lock(&s->lock);
    r->ok = e == ERR_OK;
    return e != ERR_OK || all_told;
}

/* finish - the result goes to the loop.  Requires: lock; released meanwhile. */
static void finish(struct saver *s, struct save_job *job)
{
    struct saved *r = &job->result;
    s->begun -= job->begun;
    pthread_mutex_unlock(&s->lock);
    writing_free(job->writing);
    job->writing = NULL;
    r->took_us = clock_now_us() - job->begun_us;
    FAILPOINT("checkpoint.saved");
    if (!r->ok) {
        log_event(LOG_WARN, "checkpoint.unsaved",
                  "topology=%s epoch=%" PRIu64 " uid=%s index=%u what=\"%s\"", r->topology,
                  r->epoch, job->uid, job->index, r->fail.what);
    }
    pthread_mutex_lock(&s->lock);
    settle(s, job);
    struct save_job **end = &s->done; /* results come in order */
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    pthread_mutex_unlock(&s->lock);
    loop_post(s->o.loop, results_on_loop, s);
    pthread_mutex_lock(&s->lock);
}

static void append(struct saver *s, struct save_job *job)
{
    if (s->last != NULL) {
        s->last->next = job;
    } else {
        s->first = job;
    }
    s->last = job;
}

static void *saver_main(void *arg)
{
    struct saver *s = arg;
    pthread_setname_np(pthread_self(), "oxb-checkpoint");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + NICE);
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        sweep_folders(s);
        struct save_job *job = pick(s);
        if (job == NULL && s->sweeps == NULL && !s->stopping) {
            pthread_cond_wait(&s->work, &s->lock);
        }
        if (job == NULL) {
            continue;
        }
        if (work_on(s, job)) {
            finish(s, job);
        } else {
            append(s, job);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct saver *saver_new(const struct saver_options *o)
{
    struct saver *s = mem_alloc(sizeof *s);
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    if (pthread_create(&s->thread, NULL, saver_main, s) != 0) {
        log_event(LOG_ERROR, "checkpoint.thread", "what=\"no thread could be started\"");
        abort();
    }
    return s;
}

static void free_list(struct save_job *job)
{
    while (job != NULL) {
        struct save_job *next = job->next;
        save_job_free(job);
        job = next;
    }
}

void saver_free(struct saver *s)
{
    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    free_list(s->first);
    free_list(s->done);
    free_list(s->again);
    pieces_free(s->spare);
    while (s->sweeps != NULL) {
        struct sweep_job *w = s->sweeps;
        s->sweeps = w->next;
        sweep_job_free(w);
    }
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

void saver_put(struct saver *s, struct save_job *job)
{
    pthread_mutex_lock(&s->lock);
    append(s, job);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}
