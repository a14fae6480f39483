/* pe/instance.c - the life of one instance: from its parameters to its last callback.
 *
 * Owns:       struct oxb_pe.
 * Threads:    the instance's, except oxb_wake (any).
 * Invariants: P1, P2 of pe/host.h.  I1 every callback runs between emit_begin and emit_end.
 * See:        pe/emit.c (what callbacks emit), pe/params.c, tests/unit/pe/instance_test.c */
#include "pe/instance.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "pe/registry.h"
#include "pe/state.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void ports_init(struct oxb_pe *pe, const struct pe_spec *spec);
static void states_init(struct oxb_pe *pe);
static enum err as_err(struct oxb_pe *pe, int result, struct fail *f);

struct oxb_pe *pe_new(const struct pe_spec *spec, const struct pe_host *host, struct pool *pool)
{
    struct oxb_pe *pe = mem_alloc(sizeof *pe);
    pe->type = spec->type;
    pe->plugin = spec->plugin;
    pe->host = *host;
    pe->pool = pool;
    name_set(&pe->name, spec->name);
    pe->base_dir = mem_dup(spec->base_dir);
    pe->data_dir = mem_dup(spec->data_dir);
    pe->uid = mem_dup(spec->uid != NULL ? spec->uid : spec->name);
    pe->checkpoints = spec->checkpoints;
    pe->generation = spec->generation;
    pe->output_stays = spec->output_stays;
    pe->joins = spec->joins;
    pe->index = spec->index;
    pe->parallelism = spec->parallelism;
    pe->self = mem_alloc(spec->type->self_bytes);
    pe->params = NULL;
    struct fail f = {0};
    if (params_load(pe, spec->params, spec->artifact, &f) != ERR_OK) {
        snprintf(pe->error, sizeof pe->error, "%s", f.what); /* pe_prepare reports it */
    }
    ports_init(pe, spec);
    states_init(pe);
    return pe;
}

void pe_free(struct oxb_pe *pe)
{
    if (pe == NULL) {
        return;
    }
    pe_stop(pe);
    if (pe->phase != PE_NEW && pe->type->drop != NULL) {
        pe->type->drop(pe);
    }
    emit_fini(pe);
    for (unsigned i = 0; i < pe->state_count; i++) {
        state_free(pe->states[i]);
    }
    consts_free(pe);
    metrics_free(pe);
    strbuf_fini(&pe->bad_input);
    strbuf_fini(&pe->timer_key);
    params_free(pe);
    mem_free(pe->states);
    mem_free(pe->outputs);
    mem_free(pe->in_schemas);
    mem_free(pe->self);
    mem_free(pe->base_dir);
    mem_free(pe->data_dir);
    mem_free(pe->uid);
    name_fini(&pe->name);
    plugin_close(pe->plugin); /* last: the code may go with it */
    mem_free(pe);
}

void pe_settle(struct oxb_pe *pe, const char *name, unsigned parallelism)
{
    name_set(&pe->name, name);
    atomic_store(&pe->parallelism, parallelism);
}

enum err pe_prepare(struct oxb_pe *pe, struct fail *f)
{
    assert(pe->phase == PE_NEW);
    if (pe->error[0] != '\0') {
        return fail_set(f, ERR_INVALID, "", "%s", pe->error);
    }
    pe->phase = PE_PREPARED; /* also when it fails: drop frees what it had made */
    emit_begin(pe, NULL);
    int result = pe->type->prepare != NULL ? pe->type->prepare(pe) : OXB_OK;
    for (unsigned i = 0; i < pe->input_count && result >= 0 && !pe->failed; i++) {
        if (pe->type->bind != NULL && pe->in_schemas[i] != NULL) {
            result = pe->type->bind(pe, i, pe->in_schemas[i]);
        }
    }
    return as_err(pe, callback_end(pe, result), f);
}

enum err pe_start(struct oxb_pe *pe, struct fail *f)
{
    assert(pe->phase == PE_PREPARED);
    pe->phase = PE_STARTED;
    emit_begin(pe, NULL);
    int result = pe->type->start != NULL ? pe->type->start(pe) : OXB_OK;
    return as_err(pe, callback_end(pe, result), f);
}

int pe_process(struct oxb_pe *pe, unsigned port, struct batch *in)
{
    assert(pe->phase == PE_STARTED && port < pe->input_count); /* P1 */
    counter_add(&pe->counters.tuples_in, in->pub.live);
    counter_add(&pe->counters.batches_in, 1);
    counter_add(&pe->counters.bytes_in, batch_bytes(in));
    emit_begin(pe, in);
    pe->at_us = in->pub.at_us;
    return callback_end(pe, pe->type->process(pe, port, &in->pub));
}

int pe_produce(struct oxb_pe *pe, uint32_t rows_max)
{
    assert(pe->phase == PE_STARTED && pe->type->produce != NULL);
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->produce(pe, rows_max));
}

int pe_ready(struct oxb_pe *pe, int fd, uint32_t events)
{
    assert(pe->phase == PE_STARTED);
    if (pe->type->ready == NULL) {
        return OXB_OK;
    }
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->ready(pe, fd, events));
}

int pe_timer(struct oxb_pe *pe, uint64_t id)
{
    assert(pe->phase == PE_STARTED);
    if (pe->type->timer == NULL) {
        return OXB_OK;
    }
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->timer(pe, id));
}

int64_t pe_key_timer_next(const struct oxb_pe *pe)
{
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < pe->state_count && pe_type_has_key_timer(pe->type); i++) {
        int64_t at = state_timer_next(pe->states[i]);
        next = at < next ? at : next;
    }
    return next;
}

int pe_key_timer(struct oxb_pe *pe, int64_t now_us)
{
    assert(pe->phase == PE_STARTED && pe_type_has_key_timer(pe->type));
    for (unsigned i = 0; i < pe->state_count; i++) {
        struct oxb_key key;
        unsigned cell;
        if (state_timer_take(pe->states[i], now_us, &pe->timer_key, &key, &cell)) {
            emit_begin(pe, NULL);
            return callback_end(pe, pe->type->key_timer(pe, pe->states[i], key, cell));
        }
    }
    return OXB_IDLE;
}

int pe_finish(struct oxb_pe *pe)
{
    assert(pe->phase == PE_STARTED);
    if (pe->type->finish == NULL) {
        return OXB_OK;
    }
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->finish(pe));
}

int pe_flush_sink(struct oxb_pe *pe)
{
    assert(pe->phase == PE_STARTED);
    if (pe->type->flush == NULL) {
        return OXB_OK;
    }
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->flush(pe));
}

void pe_stop(struct oxb_pe *pe)
{
    if (pe->phase != PE_STARTED) {
        return;
    }
    if (pe->type->stop != NULL) {
        emit_begin(pe, NULL);
        pe->type->stop(pe);
        callback_end(pe, OXB_OK);
    }
    pe->phase = PE_STOPPED; /* P1 */
}

const char *pe_data_dir(const struct oxb_pe *pe)
{
    return pe->data_dir;
}

const char *pe_error(const struct oxb_pe *pe)
{
    return pe->error;
}

struct pe_counters *pe_counters(struct oxb_pe *pe)
{
    return &pe->counters;
}

const struct oxb_pe_type *pe_type(const struct oxb_pe *pe)
{
    return pe->type;
}

/* ---- state ---- */

enum err pe_snapshot_at(struct oxb_pe *pe, uint64_t epoch, struct pe_snapshot *out)
{
    assert(pe->phase == PE_STARTED);
    struct oxb_blob blob = {0};
    int result = OXB_OK;
    if (pe->type->snapshot != NULL) {
        emit_begin(pe, NULL);
        pe->epoch = epoch;
        result = callback_end(pe, pe->type->snapshot(pe, &blob));
        pe->epoch = 0;
    }
    *out = (struct pe_snapshot){
        .bytes = blob.bytes.bytes, .files = blob.files, .file_count = blob.file_count};
    out->data = strbuf_take(&blob.bytes);
    if (result < 0) {
        pe_snapshot_fini(out);
        return ERR_INVALID;
    }
    return ERR_OK;
}

void pe_snapshot_fini(struct pe_snapshot *s)
{
    for (size_t i = 0; i < s->file_count; i++) {
        close(s->files[i].fd);
        mem_free(s->files[i].path);
    }
    mem_free(s->files);
    mem_free(s->data);
    *s = (struct pe_snapshot){0};
}

enum err pe_snapshot(struct oxb_pe *pe, void **data, size_t *bytes)
{
    struct pe_snapshot s;
    enum err e = pe_snapshot_at(pe, 0, &s);
    if (e == ERR_OK) {
        *data = s.data;
        *bytes = s.bytes;
        s.data = NULL;
        pe_snapshot_fini(&s);
    }
    return e;
}

bool pe_commits(const struct oxb_pe *pe)
{
    return (pe->type->abi & 0xffffu) >= 1 && pe->type->commit != NULL;
}

int pe_commit(struct oxb_pe *pe, uint64_t epoch)
{
    assert(pe->phase == PE_STARTED);
    if (!pe_commits(pe)) {
        return OXB_OK;
    }
    emit_begin(pe, NULL);
    return callback_end(pe, pe->type->commit(pe, epoch));
}

enum err pe_restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version,
                    struct fail *f)
{
    assert(pe->phase == PE_PREPARED);
    if (pe->type->restore == NULL) {
        return bytes == 0 ? ERR_OK
                          : fail_set(f, ERR_VERSION, "", "the PE `%s` has no restore, but %zu "
                                     "bytes of state are there for it", oxb_name(pe), bytes);
    }
    emit_begin(pe, NULL);
    return as_err(pe, callback_end(pe, pe->type->restore(pe, data, bytes, version)), f);
}

unsigned pe_state_count(const struct oxb_pe *pe)
{
    return pe->state_count;
}

struct oxb_state *pe_state_at(struct oxb_pe *pe, unsigned i)
{
    return i < pe->state_count ? pe->states[i] : NULL;
}

void oxb_blob_add(struct oxb_blob *out, const void *data, size_t bytes)
{
    strbuf_add(&out->bytes, data, bytes);
}

void oxb_blob_file(struct oxb_blob *out, int fd, const char *path)
{
    struct pe_file file = {fcntl(fd, F_DUPFD_CLOEXEC, 0), mem_dup(path)};
    out->files = mem_resize(out->files, out->file_count + 1, sizeof *out->files);
    out->files[out->file_count++] = file;
}

uint64_t oxb_epoch(struct oxb_pe *pe)
{
    return pe->epoch;
}

bool oxb_checkpoints(struct oxb_pe *pe)
{
    return pe->checkpoints;
}

uint64_t oxb_generation(struct oxb_pe *pe)
{
    return pe->generation;
}

bool oxb_output_stays(struct oxb_pe *pe)
{
    return pe->output_stays;
}

bool oxb_begins(struct oxb_pe *pe)
{
    return !pe->joins;
}

const char *oxb_uid(struct oxb_pe *pe)
{
    return pe->uid;
}

struct oxb_state *oxb_state(struct oxb_pe *pe, const char *name)
{
    for (unsigned i = 0; i < pe->state_count; i++) {
        if (strcmp(state_decl(pe->states[i])->name, name) == 0) {
            return pe->states[i];
        }
    }
    return NULL;
}

/* ---- what an instance knows of itself ---- */

void *oxb_self(struct oxb_pe *pe)
{
    return pe->self;
}

const char *oxb_name(struct oxb_pe *pe)
{
    return name_text(&pe->name);
}

unsigned oxb_index(struct oxb_pe *pe)
{
    return pe->index;
}

unsigned oxb_parallelism(struct oxb_pe *pe)
{
    return pe->parallelism;
}

const struct oxb_schema *oxb_in_schema(struct oxb_pe *pe, unsigned port)
{
    return port < pe->input_count ? pe->in_schemas[port] : NULL;
}

const struct oxb_schema *oxb_out_schema(struct oxb_pe *pe, unsigned port)
{
    return port < pe->output_count ? pe->outputs[port].schema : NULL;
}

bool oxb_out_connected(struct oxb_pe *pe, unsigned port)
{
    return port < pe->output_count && pe->outputs[port].connected;
}

void pe_connect(struct oxb_pe *pe, unsigned port, bool connected)
{
    if (port < pe->output_count) {
        pe->outputs[port].connected = connected;
    }
}

void oxb_log(struct oxb_pe *pe, enum oxb_log_level level, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    enum log_level to = level == OXB_DEBUG  ? LOG_DEBUG
                        : level == OXB_INFO ? LOG_INFO
                        : level == OXB_WARN ? LOG_WARN
                                            : LOG_ERROR;
    log_event(to, "pe.log", "pe=%s index=%u text=\"%s\"", name_text(&pe->name), pe->index,
              text);
}

/* ---- time and descriptors ---- */

int64_t oxb_now_us(struct oxb_pe *pe)
{
    if (pe->now_us == 0 || pe->depth == 0) {
        pe->now_us = clock_wall_us() + (int64_t)pe->skew_us;
    }
    return pe->now_us;
}

uint64_t oxb_mono_us(struct oxb_pe *pe)
{
    if (pe->mono_us == 0 || pe->depth == 0) {
        pe->mono_us = clock_now_us() + pe->skew_us;
    }
    return pe->mono_us;
}

void oxb_timer_set(struct oxb_pe *pe, uint64_t id, uint64_t due_mono_us)
{
    pe->host.timer_set(pe->host.ctx, id, due_mono_us);
}

void oxb_timer_clear(struct oxb_pe *pe, uint64_t id)
{
    pe->host.timer_clear(pe->host.ctx, id);
}

int oxb_watch(struct oxb_pe *pe, int fd, uint32_t events)
{
    return pe->host.watch(pe->host.ctx, fd, events);
}

void oxb_wake(struct oxb_pe *pe)
{
    pe->host.wake(pe->host.ctx);
}

/* ---- helpers ---- */

static void ports_init(struct oxb_pe *pe, const struct pe_spec *spec)
{
    pe->input_count = spec->input_count;
    pe->in_schemas = mem_array(spec->input_count, sizeof *pe->in_schemas);
    for (unsigned i = 0; i < spec->input_count; i++) {
        pe->in_schemas[i] = spec->inputs[i].schema;
    }
    pe->output_count = spec->output_count;
    pe->outputs = mem_array((size_t)spec->output_count + 1, sizeof *pe->outputs);
    for (unsigned i = 0; i < spec->output_count; i++) {
        pe->outputs[i] = (struct out_port){
            .pe = pe,
            .index = i,
            .schema = spec->outputs[i].schema,
            .connected = spec->outputs[i].connected,
        };
        if (pe->outputs[i].schema == NULL) { /* pe_prepare reports it */
            snprintf(pe->error, sizeof pe->error, "the output port `%s` has no schema",
                     spec->outputs[i].name);
        }
    }
    const struct oxb_schema *letters = NULL;
    if (spec->dead_letters && schema_parse(DEAD_LETTER_SCHEMA, &letters, NULL) == ERR_OK) {
        pe->outputs[pe->output_count] =
            (struct out_port){.pe = pe, .index = pe->output_count, .schema = letters};
        pe->output_count++;
        pe->dead_letters = true;
    }
}

void pe_take_states(struct oxb_pe *to, struct oxb_pe *from)
{
    for (unsigned i = 0; i < to->state_count; i++) {
        for (unsigned k = 0; k < from->state_count; k++) {
            const char *name = state_decl(from->states[k])->name;
            if (strcmp(state_decl(to->states[i])->name, name) == 0) {
                state_swap(to->states[i], from->states[k]);
            }
        }
    }
}

static void take(_Atomic uint64_t *to, _Atomic uint64_t *from)
{
    atomic_store_explicit(to, atomic_load_explicit(from, memory_order_relaxed),
                          memory_order_relaxed);
}

void pe_take_counters(struct oxb_pe *to, struct oxb_pe *from)
{
    struct pe_counters *a = &to->counters, *b = &from->counters;
    take(&a->tuples_in, &b->tuples_in);
    take(&a->tuples_out, &b->tuples_out);
    take(&a->batches_in, &b->batches_in);
    take(&a->batches_out, &b->batches_out);
    take(&a->bytes_in, &b->bytes_in);
    take(&a->bytes_out, &b->bytes_out);
    take(&a->errors, &b->errors);
    take(&a->failed, &b->failed);
}

static void states_init(struct oxb_pe *pe)
{
    const struct oxb_state_decl *d = pe->type->states;
    while (d != NULL && d[pe->state_count].name != NULL) {
        pe->state_count++;
    }
    pe->states = mem_array(pe->state_count, sizeof(struct oxb_state *));
    for (unsigned i = 0; i < pe->state_count; i++) {
        pe->states[i] = state_new(&d[i]);
        state_keep_timers(pe->states[i], pe_type_has_key_timer(pe->type));
    }
}

int callback_end(struct oxb_pe *pe, int result)
{
    emit_end(pe);
    pe->has_bad_input = false;
    if (result >= 0 && !pe->failed) {
        return result;
    }
    if (pe->bad_input.bytes > 0) {
        pe->has_bad_input = true;
    }
    if (!pe->failed) {
        snprintf(pe->error, sizeof pe->error, "the PE failed without saying why (result %d)",
                 result);
    }
    pe->failed = false;
    counter_add(&pe->counters.errors, 1);
    return OXB_ERROR;
}

static enum err as_err(struct oxb_pe *pe, int result, struct fail *f)
{
    return result >= 0 ? ERR_OK : fail_set(f, ERR_INVALID, "", "%s", pe->error);
}
