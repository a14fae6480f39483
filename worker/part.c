/* worker/part.c - the life of one topology's part on this worker. */
#include "worker/part.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/strbuf.h"
#include "worker/change.h"
#include "worker/moves.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *helper_main(void *arg);
static void prepared_on_loop(void *arg);

/* ---------------------------------------------------------------- preparing */

struct part *part_new(const struct part_env *env, const struct msg *prepare)
{
    assert(prepare->kind == M_PREPARE);
    struct part *d = mem_alloc(sizeof *d);
    d->env = env;
    d->state = DEPLOYMENT_PREPARING;
    msg_copy(prepare, &d->plan);
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    snprintf(d->name, sizeof d->name, "%s", plan->topology);
    d->version = plan->version;
    d->gen = plan->gen;
    d->op = plan->op;
    d->epoch = plan->epoch;
    d->retain_bytes = plan->retain_bytes;
    return d;
}

static const char *missing_artifact(const struct part *d, const struct rec_INSTANCE_SPEC *specs,
                                    size_t count)
{
    for (size_t k = 0; k < count; k++) {
        const char *digest = specs[k].artifact;
        if (digest[0] == '\0') {
            continue;
        }
        char *file = mem_printf("%s/%s.so", d->env->artifact_dir, digest);
        bool here = access(file, R_OK) == 0;
        mem_free(file);
        if (!here) {
            return digest;
        }
    }
    return NULL;
}

const char *part_artifact(const struct part *d)
{
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    const char *digest = missing_artifact(d, plan->add_instances, plan->add_instances_count);
    return digest != NULL
               ? digest
               : missing_artifact(d, plan->adopt_instances, plan->adopt_instances_count);
}

void part_prepare(struct part *d)
{
    d->preparing = true;
    if (pthread_create(&d->helper, NULL, helper_main, d) != 0) {
        d->preparing = false;
        d->failed = true;
        (void)fail_set(&d->fail, ERR_NOMEM, "end something on this machine",
                       "no thread could be started to prepare the topology");
        d->env->on_prepared(d->env->arg, d);
    }
}

/* What is in the folder may have been damaged since it was fetched: it is not used then, and
 * fetched anew. */
static bool artifacts_are_whole(const struct part *d, const struct rec_INSTANCE_SPEC *specs,
                                size_t count)
{
    bool whole = true;
    for (size_t k = 0; k < count; k++) {
        const char *digest = specs[k].artifact;
        bool seen = digest[0] == '\0';
        for (size_t n = 0; n < k && !seen; n++) {
            seen = strcmp(specs[n].artifact, digest) == 0;
        }
        if (seen) {
            continue;
        }
        char found[SHA256_HEX_BYTES] = "";
        struct fail f = {0};
        char *file = mem_printf("%s/%s.so", d->env->artifact_dir, digest);
        if (sha256_file(file, found, &f) != ERR_OK || strcmp(found, digest) != 0) {
            log_event(LOG_ERROR, "artifact.damaged", "file=%s what=\"%s\"", file,
                      f.what[0] != '\0' ? f.what : "its digest is another");
            unlink(file);
            whole = false;
        }
        mem_free(file);
    }
    return whole;
}

static void *helper_main(void *arg)
{
    struct part *d = arg;
    const struct msg_PREPARE *plan = &d->plan.PREPARE;
    pthread_setname_np(pthread_self(), "oxb-prepare");
    bool whole = artifacts_are_whole(d, plan->add_instances, plan->add_instances_count);
    d->lacking =
        !artifacts_are_whole(d, plan->adopt_instances, plan->adopt_instances_count) || !whole;
    d->failed = !d->lacking && build_instances(d) != ERR_OK;
    loop_post(d->env->loop, prepared_on_loop, d);
    return NULL;
}

static void prepared_on_loop(void *arg)
{
    struct part *d = arg;
    pthread_join(d->helper, NULL);
    d->preparing = false;
    if (d->dropping && d->base == NULL) {
        d->env->on_dropped(d->env->arg, d);
        return;
    }
    if (d->lacking && !d->dropping) {
        d->lacking = false;
        d->env->on_lacking(d->env->arg, d);
        return;
    }
    if (d->base != NULL && (d->dropping || !d->failed)) { /* what failed stays until its ABORT */
        d->base->pending = NULL;
    }
    if (d->dropping) { /* a staged change that nobody wants any more */
        struct part *base = d->base;
        part_free(d);
        if (base->after != NULL && !base->dropping) {
            base->env->on_change(base->env->arg, base);
        }
        part_check_dropped(base);
        return;
    }
    if (!d->failed) {
        d->failed = (d->base != NULL ? change_prepare(d) : build_graph(d)) != ERR_OK;
    }
    if (!d->failed && d->base == NULL) {
        d->failed = change_expect(d) != ERR_OK;
    }
    if (!d->failed && d->base != NULL && !change_is_ready(d->base)) {
        return; /* state is being copied, logs are asked for: part_look_ready */
    }
    d->state = d->failed ? DEPLOYMENT_FAILED : DEPLOYMENT_READY;
    if (!d->failed && d->base != NULL) {
        change_squeeze(d->base);
    }
    d->env->on_prepared(d->env->arg, d);
}

void part_moves_changed(struct part *base)
{
    if (base->arriving != NULL && !base->dropping) {
        base->env->on_change(base->env->arg, base);
    }
    if (base->change == NULL) {
        return;
    }
    struct part *staged = change_staged(base);
    bool fails = !change_is_going(base) && !staged->failed && change_fail(base) != NULL;
    if (staged->state != DEPLOYMENT_PREPARING && !fails) {
        base->env->on_change(base->env->arg, base);
        return;
    }
    part_look_ready(base);
}

void part_look_ready(struct part *base)
{
    struct part *staged = base->change != NULL ? change_staged(base) : NULL;
    if (staged == NULL) {
        return;
    }
    const struct fail *why = change_is_going(base) || staged->failed ? NULL : change_fail(base);
    if (staged->state != DEPLOYMENT_PREPARING && why == NULL) {
        return;
    }
    if (why != NULL) { /* READY may have been said: the master takes it back, or has decided */
        staged->failed = true;
        staged->fail = *why;
        staged->state = DEPLOYMENT_FAILED;
        staged->env->on_prepared(staged->env->arg, staged);
    } else if (change_is_ready(base)) {
        staged->state = DEPLOYMENT_READY;
        change_squeeze(base);
        staged->env->on_prepared(staged->env->arg, staged);
    }
}

/* ---------------------------------------------------------------- running */

void part_go(struct part *d)
{
    if (d->state != DEPLOYMENT_READY) {
        return;
    }
    d->state = DEPLOYMENT_RUNNING;
    for (uint32_t k = d->chain_count; k-- > 0;) {
        chain_go(d->chains[k]);
    }
}

void part_drain(struct part *d)
{
    if (d->state != DEPLOYMENT_RUNNING) {
        return;
    }
    d->state = DEPLOYMENT_DRAINING;
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (d->instances[k]->source) {
            chain_drain(atomic_load(&d->instances[k]->chain));
        }
    }
}

void part_inject(struct part *d, uint64_t epoch)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_void(d->chains[k], epoch); /* what was before it was given up (R17) */
    }
    /* Who is in a chain only its own thread knows, which a source that has just moved may not have
     * come to yet. */
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (d->instances[k]->source) {
            chain_inject(atomic_load(&d->instances[k]->chain), epoch);
        }
    }
}

void part_commit(struct part *d, uint64_t epoch)
{
    if (epoch <= d->commit_epoch) {
        return;
    }
    d->commit_epoch = epoch;
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_commit(d->chains[k], epoch);
    }
}

void part_void(struct part *d, uint64_t epoch)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_void(d->chains[k], epoch);
    }
}

bool part_committed(struct part *d, const char **what)
{
    *what = "";
    for (uint32_t k = 0; k < d->instance_count; k++) {
        struct instance *i = d->instances[k];
        if (!pe_commits(i->pe) || atomic_load(&i->committed) >= d->commit_epoch) {
            continue;
        }
        if (atomic_load(&i->uncommitted) < d->commit_epoch) {
            return false;
        }
        *what = name_text(&i->pe_name);
    }
    return true;
}

static bool any_runs(const struct part *d)
{
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (atomic_load(&d->instances[k]->state) != INSTANCE_ENDED) {
            return true;
        }
    }
    return false;
}

static bool all_ended(const struct part *d) /* and what it sent has come */
{
    for (uint32_t k = 0; k < d->channel_count; k++) {
        if (d->channels[k]->kind == CHANNEL_OUT && !link_out_drained(d->channels[k])) {
            return false;
        }
    }
    return !any_runs(d);
}

bool part_update(struct part *d)
{
    enum deployment_state before = d->state;
    if (before < DEPLOYMENT_RUNNING || before > DEPLOYMENT_ENDED) {
        return false;
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        if (atomic_load(&d->instances[k]->state) == INSTANCE_FAILED) {
            d->state = DEPLOYMENT_FAILED;
        }
    }
    bool waits = d->change != NULL || d->pending != NULL || d->after != NULL; /* for new ones */
    if (d->state == DEPLOYMENT_ENDED && any_runs(d)) {
        d->state = DEPLOYMENT_RUNNING; /* a change has brought some */
    } else if (d->state != DEPLOYMENT_FAILED && !waits && all_ended(d)) {
        d->state = DEPLOYMENT_ENDED;
    }
    return d->state != before;
}

/* ---------------------------------------------------------------- ending */

static void dropped_on_loop(void *arg)
{
    part_check_dropped(arg);
}

void part_check_dropped(struct part *d)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        if (!d->chains[k]->dead) {
            return;
        }
    }
    if (d->dropping && d->pending == NULL) {
        d->env->on_dropped(d->env->arg, d);
    }
}

const char *part_unlinked(const struct part *d)
{
    for (uint32_t k = 0; k < d->channel_count; k++) {
        const struct channel *c = d->channels[k];
        if (c->kind == CHANNEL_OUT && c->out != NULL && !link_out_is_open(c->out)) {
            return link_out_name(c->out);
        }
    }
    return NULL;
}

void part_unstage(struct part *base)
{
    struct part *d = base->pending;
    d->dropping = true;
    if (!d->preparing) { /* it waits for an artifact */
        base->pending = NULL;
        part_free(d);
    }
}

struct part *part_stage(struct part *base, const struct msg *prepare)
{
    struct part *d = part_new(base->env, prepare);
    assert(base->pending == NULL && base->change == NULL);
    d->base = base;
    base->pending = d;
    return d;
}

void part_put_after(struct part *base, struct part *after TAKES)
{
    if (base->after != NULL) {
        part_free(base->after);
    }
    base->after = after;
    if (after != NULL) {
        after->base = base;
    }
}

void part_drop(struct part *d)
{
    if (d->dropping) {
        return;
    }
    d->dropping = true;
    part_put_after(d, NULL);
    if (d->pending != NULL) {
        part_unstage(d);
    }
    if (d->preparing) {
        return; /* prepared_on_loop goes on from here */
    }
    change_drop(d);
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_halt(d->chains[k]);
    }
    if (d->chain_count == 0) {
        loop_post(d->env->loop, dropped_on_loop, d);
    }
}

static bool in_a_chain(const struct part *d, const struct instance *i)
{
    for (uint32_t k = 0; k < d->chain_count; k++) {
        for (uint32_t m = 0; m < d->chains[k]->member_count; m++) {
            if (d->chains[k]->members[m] == i) {
                return true;
            }
        }
    }
    return false;
}

void part_free(struct part *d)
{
    part_put_after(d, NULL);
    change_free_all(d);
    moves_free(d->moved);
    moves_free(d->arriving);
    for (uint32_t k = 0; k < d->channel_count; k++) {
        link_remove(d->channels[k]);
        channel_free(d->channels[k]);
    }
    for (uint32_t k = 0; k < d->instance_count; k++) {
        mem_free(d->instances[k]->end_to_end_us);
        if (!in_a_chain(d, d->instances[k])) { /* a build that failed half-way */
            instance_free(d->instances[k]);
        }
    }
    for (uint32_t k = 0; k < d->chain_count; k++) {
        chain_free(d->chains[k]);
    }
    for (uint32_t k = 0; k < d->adopted_count; k++) {
        pe_free(d->adopted[k].pe);
    }
    mem_free(d->adopted);
    mem_free(d->last_change.pauses_us);
    mem_free(d->chain_heads);
    mem_free(d->channels);
    mem_free(d->instances);
    mem_free(d->chains);
    msg_free(&d->plan);
    mem_free(d);
}
