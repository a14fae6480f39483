/* worker/checkpoint.c - keepers: what happens on the instance's own thread; the saver's thread. */
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

/* ---------------------------------------------------------------- keepers */

struct keeper *keeper_new(struct saver *s, const char *topology, uint64_t gen, const char *location)
{
    struct keeper *k = mem_alloc(sizeof *k);
    k->saver = s;
    k->topology = mem_dup(topology);
    k->location = mem_dup(location);
    atomic_init(&k->gen, gen);
    return k;
}

void keeper_follow(struct keeper *k, uint64_t gen)
{
    if (k != NULL) {
        atomic_store(&k->gen, gen);
    }
}

/* give_up - after it the saver is in none of the instance's tables.  Requires: lock. */
static void give_up(struct keeper *k)
{
    struct save_job *job = k->job;
    if (job == NULL) {
        return;
    }
    job->keeper = NULL;
    while (job->reading) {
        pthread_cond_wait(&k->saver->idle, &k->saver->lock);
    }
    k->job = NULL;
    k->chain_count = 0; /* H3 */
}

static void free_readers(struct keeper *k)
{
    for (unsigned i = 0; i < k->reader_count; i++) {
        state_reader_free(k->readers[i]);
    }
    mem_free(k->readers);
    k->readers = NULL;
    k->reader_count = 0;
}

void keeper_forget(struct keeper *k)
{
    if (k == NULL) {
        return;
    }
    pthread_mutex_lock(&k->saver->lock);
    give_up(k);
    k->chain_count = 0;
    pthread_mutex_unlock(&k->saver->lock);
    free_readers(k);
}

void keeper_free(struct keeper *k)
{
    if (k == NULL) {
        return;
    }
    keeper_forget(k);
    mem_free(k->chain);
    mem_free(k->topology);
    mem_free(k->location);
    mem_free(k);
}

/* take_chain - the files this one stands on; none: it is whole.  A chain that is long, or whose
 * deltas outweigh the base, ends: a restore reads all of it. */
static void take_chain(struct keeper *k, struct save_job *job)
{
    pthread_mutex_lock(&k->saver->lock);
    give_up(k);
    if (k->chain_count >= SNAPSHOT_CHAIN_MAX || k->delta_bytes > k->base_bytes) {
        k->chain_count = 0;
    }
    job->result.epoch_count = k->chain_count;
    job->result.epochs = mem_array(k->chain_count + 1, sizeof *job->result.epochs);
    for (size_t n = 0; n < k->chain_count; n++) {
        job->result.epochs[n] = k->chain[n];
    }
    pthread_mutex_unlock(&k->saver->lock);
}

static void freeze_states(struct keeper *k, struct save_job *job, struct oxb_pe *pe)
{
    unsigned count = pe_state_count(pe);
    if (job->result.epoch_count == 0) {
        free_readers(k);
    }
    if (k->readers == NULL && count > 0) {
        k->readers = mem_array(count, sizeof(struct state_reader *));
        for (; k->reader_count < count; k->reader_count++) {
            k->readers[k->reader_count] = state_reader_new(pe_state_at(pe, k->reader_count));
        }
    }
    job->states = mem_array(count, sizeof *job->states);
    job->state_count = count;
    for (unsigned n = 0; n < count; n++) {
        struct save_state *s = &job->states[n];
        s->name = mem_dup(state_decl(pe_state_at(pe, n))->name);
        s->reader = k->readers[n];
        state_changed(s->reader, s->groups);
        state_freeze(s->reader, s->groups);
    }
}

static uint64_t counted(_Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

/* new_job - all that is the same for every instance. */
static struct save_job *new_job(struct keeper *k, struct instance *i, uint64_t epoch)
{
    struct save_job *job = mem_alloc(sizeof *job);
    struct oxb_pe *pe = i->pe;
    const struct oxb_pe_type *type = pe_type(pe);
    job->begun_us = clock_now_us();
    job->result = (struct saved){.topology = mem_dup(k->topology),
                                 .gen = atomic_load(&k->gen),
                                 .epoch = epoch,
                                 .instance = i->id,
                                 .tuples_in = counted(&pe_counters(pe)->tuples_in),
                                 .tuples_out = counted(&pe_counters(pe)->tuples_out)};
    job->uid = mem_dup(oxb_uid(pe));
    job->location = mem_dup(k->location);
    job->index = i->index;
    job->parallelism = oxb_parallelism(pe);
    job->state_version = type->state_version;
    job->finished = i->finished || i->final_done; /* its final output has left */
    return job;
}

bool keeper_leave(struct keeper *k, struct instance *i, uint64_t epoch)
{
    struct save_job *job = new_job(k, i, epoch);
    job->result.is_will = true;
    job->result.epochs = mem_array(1, sizeof *job->result.epochs);
    job->has_file = true;
    if (pe_snapshot_at(i->pe, epoch, &job->own) != ERR_OK) {
        save_job_free(job);
        return false;
    }
    saver_put(k->saver, job);
    return true;
}

void keeper_take(struct keeper *k, struct instance *i, uint64_t epoch)
{
    struct save_job *job = new_job(k, i, epoch);
    struct oxb_pe *pe = i->pe;
    const struct oxb_pe_type *type = pe_type(pe);
    job->has_file = pe_state_count(pe) > 0 || type->snapshot != NULL ||
                    i->finished || i->had_finished || !hold_is_empty(i);
    job->kept = hold_share(i, &job->kept_count);
    take_chain(k, job);
    if (pe_snapshot_at(pe, epoch, &job->own) != ERR_OK) {
        (void)fail_set(&job->result.fail, ERR_IO, "", "PE %s: %.400s", name_text(&i->pe_name),
                       pe_error(pe));
        keeper_forget(k);
    } else {
        freeze_states(k, job, pe);
        pthread_mutex_lock(&k->saver->lock);
        job->keeper = k;
        k->job = job;
        pthread_mutex_unlock(&k->saver->lock);
    }
    job->result.pause_us = clock_now_us() - job->begun_us;
    FAILPOINT("checkpoint.taken");
    saver_put(k->saver, job);
}

/* ---------------------------------------------------------------- the saver */

void save_job_free(struct save_job *job)
{
    for (unsigned n = 0; n < job->state_count; n++) {
        mem_free(job->states[n].name);
    }
    pe_snapshot_fini(&job->own);
    kept_free(job->kept, job->kept_count);
    mem_free(job->states);
    mem_free(job->uid);
    mem_free(job->location);
    mem_free(job->result.topology);
    mem_free(job->result.epochs);
    mem_free(job);
}

static void results_on_loop(void *arg)
{
    struct saver *s = arg;
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
        saver_put(s, job);
    }
}

/* settle - the chain goes on, or ends.  Requires: lock. */
static void settle(struct save_job *job)
{
    struct keeper *k = job->keeper;
    struct saved *r = &job->result;
    if (r->ok && job->has_file && !r->is_will) {
        r->epochs[r->epoch_count++] = r->epoch;
    }
    if (k == NULL) {
        return;
    }
    k->job = NULL;
    k->chain_count = 0;
    if (!r->ok) {
        return;
    }
    k->chain = mem_resize(k->chain, r->epoch_count, sizeof *k->chain);
    k->chain_count = r->epoch_count;
    memcpy(k->chain, r->epochs, r->epoch_count * sizeof *k->chain);
    k->base_bytes = r->epoch_count == 1 ? r->bytes : k->base_bytes;
    k->delta_bytes = r->epoch_count == 1 ? 0 : k->delta_bytes + r->bytes;
}

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

static void *saver_main(void *arg)
{
    struct saver *s = arg;
    pthread_setname_np(pthread_self(), "oxb-checkpoint");
    pthread_mutex_lock(&s->lock);
    for (;;) {
        sweep_folders(s);
        while (s->first == NULL && s->sweeps == NULL && !s->stopping) {
            pthread_cond_wait(&s->work, &s->lock);
        }
        if (s->stopping) {
            break;
        }
        struct save_job *job = s->first;
        if (job == NULL) {
            continue;
        }
        s->first = job->next;
        s->last = s->first == NULL ? NULL : s->last;
        pthread_mutex_unlock(&s->lock);
        struct saved *r = &job->result;
        r->ok =
            r->fail.code == ERR_OK && (!job->has_file || save_write(s, job, &r->fail) == ERR_OK);
        r->took_us = clock_now_us() - job->begun_us;
        FAILPOINT("checkpoint.saved");
        if (!r->ok) {
            log_event(LOG_WARN, "checkpoint.unsaved",
                      "topology=%s epoch=%" PRIu64 " uid=%s index=%u what=\"%s\"", r->topology,
                      r->epoch, job->uid, job->index, r->fail.what);
        }
        pthread_mutex_lock(&s->lock);
        settle(job);
        job->next = s->done;
        s->done = job;
        pthread_mutex_unlock(&s->lock);
        loop_post(s->o.loop, results_on_loop, s);
        pthread_mutex_lock(&s->lock);
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
    pthread_cond_init(&s->idle, NULL);
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
    while (s->sweeps != NULL) {
        struct sweep_job *w = s->sweeps;
        s->sweeps = w->next;
        sweep_job_free(w);
    }
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

void saver_put(struct saver *s, struct save_job *job)
{
    pthread_mutex_lock(&s->lock);
    if (s->last != NULL) {
        s->last->next = job;
    } else {
        s->first = job;
    }
    s->last = job;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}
