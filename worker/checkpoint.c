/* worker/checkpoint.c - keepers: what happens on the instance's own thread. */
#include "core/clock.h"
#include "core/failpoint.h"
#include "core/mem.h"
#include "worker/aside.h"
#include "worker/checkpoint_own.h"
#include "worker/instance.h"

#include <assert.h>
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

/* give_up - after it nothing of the instance comes to the job any more.  Requires: lock. */
static void give_up(struct keeper *k)
{
    if (k->job != NULL) {
        k->job->keeper = NULL;
        k->job = NULL;
        k->chain_count = 0; /* H3 */
        pthread_cond_signal(&k->saver->work);
    }
}

static void free_readers(struct keeper *k)
{
    for (unsigned i = 0; i < k->reader_count; i++) {
        state_reader_free(k->readers[i]);
    }
    mem_free(k->readers);
    mem_free(k->deltas);
    k->readers = NULL;
    k->deltas = NULL;
    k->reader_count = 0;
    k->telling = false;
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
    mem_free(k->spans);
    mem_free(k->topology);
    mem_free(k->location);
    mem_free(k);
}

/* ---------------------------------------------------------------- what a file has of the tables */

/* stands - is there a chain of files that the next one may stand on? */
static bool stands(struct keeper *k)
{
    pthread_mutex_lock(&k->saver->lock);
    if (k->chain_count >= SNAPSHOT_CHAIN_MAX) {
        k->chain_count = 0;
    }
    bool yes = k->chain_count > 0;
    pthread_mutex_unlock(&k->saver->lock);
    return yes;
}

static void new_readers(struct keeper *k, unsigned count)
{
    k->readers = mem_array(count, sizeof(struct state_reader *));
    k->deltas = mem_array((size_t)count * KEY_GROUPS, sizeof *k->deltas);
    pthread_mutex_lock(&k->saver->lock);
    mem_free(k->spans);
    k->spans = mem_array((size_t)count * KEY_GROUPS, sizeof *k->spans);
    pthread_mutex_unlock(&k->saver->lock);
}

/* Readers of its tables; new ones copy everything. */
static void open_readers(struct keeper *k, struct oxb_pe *pe)
{
    unsigned count = pe_state_count(pe);
    if (!stands(k)) {
        free_readers(k);
    }
    if (k->readers != NULL || count == 0) {
        return;
    }
    new_readers(k, count);
    for (; k->reader_count < count; k->reader_count++) {
        k->readers[k->reader_count] = state_reader_new(pe_state_at(pe, k->reader_count));
    }
}

void restored_fini(struct restored *r)
{
    mem_free(r->epochs);
    mem_free(r->groups);
    *r = (struct restored){0};
}

static void resume_table(struct keeper *k, unsigned n, struct oxb_state *table,
                         const struct restored_group *groups)
{
    uint64_t told[KEY_GROUPS];
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        told[g] = groups[g].whole != 0 && !groups[g].foreign ? state_imported(table, g) : 0;
    }
    k->readers[n] = state_reader_new(table);
    if (!state_reader_resume(k->readers[n], told)) {
        return; /* all of it comes whole */
    }
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (told[g] != 0) {
            k->deltas[n * KEY_GROUPS + g] = groups[g].deltas;
            k->spans[n * KEY_GROUPS + g] = (struct span){groups[g].whole, groups[g].newest};
        }
    }
}

void keeper_resume(struct keeper *k, struct instance *i, const struct restored *r)
{
    unsigned count = pe_state_count(i->pe);
    if (r->epoch_count == 0 || r->epoch_count >= SNAPSHOT_CHAIN_MAX || r->groups == NULL ||
        count == 0) {
        return;
    }
    assert(k->readers == NULL && k->job == NULL);
    pthread_mutex_lock(&k->saver->lock);
    k->chain = mem_resize(k->chain, r->epoch_count, sizeof *k->chain);
    memcpy(k->chain, r->epochs, r->epoch_count * sizeof *k->chain);
    k->chain_count = r->epoch_count;
    pthread_mutex_unlock(&k->saver->lock);
    new_readers(k, count);
    for (unsigned n = 0; n < count; n++) {
        resume_table(k, n, pe_state_at(i->pe, n), &r->groups[n * KEY_GROUPS]);
    }
    k->reader_count = count;
    k->taken = r->epochs[r->epoch_count - 1]; /* turns go on: every group has its own some day */
}

/* choose - which groups are in the file, and which of them whole: when its deltas have come to
 * outweigh it, and in turn, so that files become superfluous one after the other and no
 * checkpoint is much dearer than the others. */
static void choose(const struct keeper *k, struct state_reader *r, const struct oxb_state *table,
                   uint32_t *deltas, struct save_state *s)
{
    unsigned turn = (unsigned)(k->taken % SNAPSHOT_TURNS);
    (void)state_changed(r, s->groups);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        uint64_t entries = state_group_count(table, g), changed = state_reader_changed(r, g);
        if (entries == 0 && state_reader_told(r, g) == 0) {
            s->groups[g] = false; /* as a rule it is another's now, in whose file it is */
        }
        bool in_turn = g % SNAPSHOT_TURNS == turn && deltas[g] > 0;
        s->entries[g] = (uint32_t)entries;
        s->whole[g] = in_turn || (s->groups[g] && deltas[g] + changed > entries);
        s->groups[g] = s->groups[g] || in_turn;
        deltas[g] = s->whole[g] ? 0 : (uint32_t)(deltas[g] + changed);
    }
    state_freeze(r, s->groups, s->whole);
    for (unsigned g = 0; g < KEY_GROUPS; g++) {
        if (s->groups[g] && state_reader_told(r, g) == 0) {
            s->whole[g] = true;
            deltas[g] = 0;
        }
    }
}

static void freeze_states(struct keeper *k, struct save_job *job, struct oxb_pe *pe)
{
    unsigned count = pe_state_count(pe);
    open_readers(k, pe);
    job->states = mem_array(count, sizeof *job->states);
    job->state_count = count;
    for (unsigned n = 0; n < count; n++) {
        const struct oxb_state *table = pe_state_at(pe, n);
        job->states[n].name = mem_dup(state_decl(table)->name);
        choose(k, k->readers[n], table, &k->deltas[n * KEY_GROUPS], &job->states[n]);
    }
    k->taken++;
    k->state = 0;
    k->telling = count > 0;
}

/* finish_telling - the job has everything.  Requires: lock. */
static void finish_telling(struct keeper *k, struct save_job *job)
{
    for (unsigned n = 0; n < job->state_count; n++) {
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            job->states[n].versions[g] = state_reader_told(k->readers[n], g);
        }
    }
    job->all_told = true;
    k->telling = false;
    pthread_cond_signal(&k->saver->work);
}

/* tell_slice - the next piece of what was frozen.  Return: may more be told now? */
static bool tell_slice(struct keeper *k)
{
    struct saver *s = k->saver;
    pthread_mutex_lock(&s->lock);
    struct save_job *job = k->job;
    if (job == NULL || !saver_has_room(s, job)) {
        k->telling = job != NULL; /* else it has failed */
        pthread_mutex_unlock(&s->lock);
        return false;
    }
    struct save_piece *p = saver_piece(s);
    pthread_mutex_unlock(&s->lock);
    p->state = k->state;
    if (!state_reader_slice(k->readers[k->state], SNAPSHOT_SLICE_BYTES, &p->bytes, &p->group)) {
        k->state++;
    }
    pthread_mutex_lock(&s->lock);
    saver_tell(s, k->job, p);
    if (k->job == NULL) {
        k->telling = false;
    } else if (k->state == k->reader_count) {
        finish_telling(k, k->job);
    }
    pthread_mutex_unlock(&s->lock);
    return k->telling;
}

bool keeper_tells(const struct keeper *k)
{
    return k != NULL && k->telling;
}

/* A slice at least, and more where turns are long: a small share of the time in any case. */
bool keeper_turn(struct keeper *k)
{
    uint64_t now = clock_now_us();
    uint64_t share = (now - k->turn_us) / SNAPSHOT_SHARE;
    uint64_t until = now + (share < SNAPSHOT_TURN_US_MAX ? share : SNAPSHOT_TURN_US_MAX);
    bool more = true;
    do {
        more = tell_slice(k);
    } while (more && (now = clock_now_us()) < until);
    k->turn_us = now;
    return more;
}

/* ---------------------------------------------------------------- at the marker */

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

/* With what is set aside, which the PE does not see meanwhile: as it goes aside again it is copied,
 * at once.  That is as rare as it costs: who keeps it is about to end. */
static void freeze_all(struct keeper *k, struct save_job *job, struct instance *i)
{
    job->has_aside = aside_groups(i, job->aside);
    aside_join(i);
    freeze_states(k, job, i->pe);
    if (job->has_aside) {
        aside_put(i, job->aside);
    }
}

bool keeper_leave(struct keeper *k, struct instance *i, uint64_t epoch)
{
    struct save_job *job = new_job(k, i, epoch);
    job->result.is_will = true;
    job->has_file = job->all_told = true;
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
    job->has_file = pe_state_count(pe) > 0 || type->snapshot != NULL || i->finished ||
                    i->had_finished || !hold_is_empty(i);
    job->kept = hold_share(i, &job->kept_count);
    hold_saved(i, epoch);
    job->instance = i;
    pthread_mutex_lock(&k->saver->lock);
    give_up(k);
    pthread_mutex_unlock(&k->saver->lock);
    if (pe_snapshot_at(pe, epoch, &job->own) != ERR_OK) {
        (void)fail_set(&job->result.fail, ERR_IO, "", "PE %s: %.400s", name_text(&i->pe_name),
                       pe_error(pe));
        keeper_forget(k);
    } else {
        freeze_all(k, job, i);
        pthread_mutex_lock(&k->saver->lock);
        job->keeper = k;
        k->job = job;
        job->all_told = !k->telling;
        pthread_mutex_unlock(&k->saver->lock);
    }
    bool more = k->telling && tell_slice(k);
    k->turn_us = clock_now_us();
    job->result.pause_us = k->turn_us - job->begun_us;
    FAILPOINT("checkpoint.taken");
    saver_put(k->saver, job);
    if (more) {
        instance_notify(i);
    }
}
